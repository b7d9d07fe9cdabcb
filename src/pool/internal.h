/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of pool/ share: where a pool lives (probe.c), who owns it (owner.c), how it is mapped (map.c). */
#ifndef LH_POOL_INTERNAL_H
#define LH_POOL_INTERNAL_H

#include "pool/pool.h"

/* What is behind a path, found out before anything is mapped. */
struct pool_place {
	enum pool_kind kind; /* FILE stands for FSDAX too until mmap has told them apart */
	uint64_t size;       /* bytes there now: the file's length, the device's size */
	uint64_t grain;      /* sizes are multiples of this: block, huge page, device alignment */
};

/*
 * Looks at an open descriptor. name is for messages. Sizes are not judged here.
 * -EISDIR, -ENODEV (block device, other special file, character device that is not DAX), -EIO from sysfs; fail_text()
 * set.
 */
int place_probe(int fd, const char *name, struct pool_place *out);
/*
 * Size and alignment of a DAX device, from the files that the kernel shows at dir ("/sys/dev/char/253:0").
 * -ENODEV: not a DAX device. -EIO: it is one, but its files are missing or make no sense.
 */
int place_devdax(const char *dir, uint64_t *size, uint64_t *align);
/* Makes sure that every byte of [0, size) has its storage. -ENOSPC and what fallocate returns; fail_text() set. */
int place_allocate(int fd, const struct pool_place *place, uint64_t size, const char *name);

/* Takes the owner's lock (exclusive) or a reader's (shared), without waiting. -EBUSY names the pid in fail_text(). */
int owner_lock(int fd, bool exclusive, const char *name);

/* Maps p->fd at p->size and decides p->kind, p->class and p->room. fail_text() set. */
int pool_map(struct pool *p, enum pool_kind kind);
/* Maps the bytes [from, to) of the file behind what is mapped already. Inside of room. */
int pool_map_more(struct pool *p, uint64_t from, uint64_t to);
/* Gives the memory of [from, to) back; the addresses stay set aside. */
int pool_map_less(struct pool *p, uint64_t from, uint64_t to);

void pool_guard_flush(struct pool *p, uint64_t off, uint64_t len);

#endif
