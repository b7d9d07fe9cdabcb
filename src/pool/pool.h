/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pool: byte-addressable memory that one process maps. This module knows no structures, only bytes, and is the only
 * one that stores to the pool's memory (the movers of fabric/ land a peer's bytes in ranges that they were given).
 *
 * Durability classes (docs/design.md, decision 5):
 *   POOL_CACHE_FLUSH  devdax, FS-DAX with MAP_SYNC: pool_flush + pool_fence make stores durable
 *   POOL_MSYNC        plain file on a disk filesystem: only pool_sync makes stores durable, a page at a time, in any
 * order POOL_VOLATILE     memfd, tmpfs, hugetlbfs: nothing survives a power loss; flush and fence cost nothing
 *
 * Thread safety: every call may run in parallel with every other except pool_close. Overlapping stores are the caller's
 * business.
 */
#ifndef LH_POOL_POOL_H
#define LH_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/types.h"

#define POOL_SIZE_MIN ((uint64_t)16 << 20)
#define POOL_SIZE_MAX ((uint64_t)16 << 40)

enum pool_class { POOL_CACHE_FLUSH, POOL_MSYNC, POOL_VOLATILE };
enum pool_kind {
	POOL_KIND_FILE,
	POOL_KIND_TMPFS,
	POOL_KIND_HUGETLBFS,
	POOL_KIND_FSDAX,
	POOL_KIND_DEVDAX,
	POOL_KIND_MEMFD,
	POOL_KIND_SIM
};

struct pool_hooks; /* the simulated pool's recorder (pool/hooks.h); NULL for real memory */

/* Fields are read-only for others. */
struct pool {
	uint8_t *base;
	uint64_t size; /* bytes, a multiple of LH_BLOCK_SIZE; pool_resize changes it: read it by pool_size() */
	uint64_t room; /* bytes of address space from base on, so that base stays when the pool grows */
	enum pool_class class;
	enum pool_kind kind;
	bool read_only;
	int fd;         /* -1 for the simulated pool */
	char name[256]; /* for messages: the path, or "memfd" */
	const struct pool_hooks *hooks;
	void *hooks_ctx;
};

struct pool_create_args {
	const char *path; /* NULL or "mem:", also "mem:NAME", makes an anonymous memfd; "/dev/daxX.Y" takes the device's
			     size when size is 0 */
	uint64_t size;    /* bytes; rounded down to whole blocks; POOL_SIZE_MIN to POOL_SIZE_MAX, else -EINVAL */
	bool overwrite;   /* an existing non-empty file is -EEXIST without it */
};

/*
 * Makes the memory, maps it, takes the owner's lock. Content: zero for new files, whatever was there on devices.
 * The caller closes it with pool_close. Blocks on the filesystem below.
 * Files are allocated in full, so that a full filesystem below is -ENOSPC here and not SIGBUS later; a memfd stays
 * sparse. The size is rounded down to whole huge pages on hugetlbfs and to the device's alignment on device DAX; read
 * it from
 * (*out)->size. A file that a failed call made is removed again.
 * Errors, each with fail_text(): -EINVAL size, -EEXIST, -EBUSY owned by another process (names its pid), -ENOSPC,
 * -ENODEV, -EISDIR, -EACCES, and what open, ftruncate, fallocate and mmap return.
 */
int pool_create(const struct pool_create_args *args, struct pool **out);
/*
 * Opens and locks an existing pool. read_only maps it PROT_READ and takes a shared lock (dump, fsck).
 * -EUCLEAN: shorter than POOL_SIZE_MIN, longer than POOL_SIZE_MAX or not whole blocks. -EBUSY: somebody else's;
 * fail_text() names the pid. -EINVAL: "mem:", which is gone when it is closed. Otherwise as pool_create.
 */
int pool_open(const char *path, bool read_only, struct pool **out);
/*
 * Takes the page faults of first use now: allocates a memfd's memory in full (it is sparse otherwise) and maps every
 * page. For pools that are to be fast from the first byte; costs one to two seconds per GiB, the faults on the way
 * three to eight. -ENOSPC or -ENOMEM; the pool stays usable.
 */
int pool_populate(struct pool *p);
/* Unmaps and unlocks. Nothing is flushed. NULL is allowed. */
void pool_close(struct pool *p);

const char *pool_class_name(enum pool_class c); /* "cache-flush", "msync", "volatile" */
const char *pool_kind_name(enum pool_kind k);   /* "plain file", "tmpfs", ... */

/* Whole pool now, in bytes. What was inside once may be outside after a shrink, whose caller took care of it. */
static inline uint64_t pool_size(const struct pool *p)
{
	return __atomic_load_n(&p->size, __ATOMIC_ACQUIRE);
}
static inline bool pool_has(const struct pool *p, uint64_t off, uint64_t len)
{
	uint64_t size = pool_size(p);

	return off <= size && len <= size - off;
}

/*
 * Makes the pool longer or shorter while it is in use; base stays. Growing allocates in full and makes the new length
 * durable; new bytes are zero. Shrinking cuts the file and gives the addresses back: nobody may use the bytes any more.
 * One call at a time. -EOPNOTSUPP: device DAX, hugetlbfs, read-only; -ENOMEM: longer than the address space that was
 * set aside at open (64 times the size then, at least 64 GiB, less where the system has less): open it anew to grow
 * further. -EINVAL size, -ENOSPC.
 */
int pool_resize(struct pool *p, uint64_t size);

/*
 * Memory that cannot be read or written (base/busguard.h). Stores remember the first fault of the thread; whoever
 * stored asks once before he relies on it: 0, or -EIO with fail_text() naming the place, and it is forgotten. pool_sync
 * and pool_publish ask by themselves. Until then a store to bad memory is no error, it just did not happen.
 */
int pool_fault(struct pool *p);
/* The same without forgetting or text: the pool byte of the fault. */
bool pool_faulted(const struct pool *p, uint64_t *off);
/* Copies out of the pool. -EIO at once, with fail_text(). */
int pool_read(const struct pool *p, uint64_t off, void *to, uint64_t len);
/* Whether all of it can be read: 0, or -EIO with fail_text(). For bytes that are then looked at in place. */
int pool_probe(const struct pool *p, uint64_t off, uint64_t len);
/* Whether two ranges have the same bytes: 1, 0, or -EIO. */
int pool_equal(const struct pool *p, uint64_t a, uint64_t b, uint64_t len);

/* Slow paths of the calls below: the simulated pool, and the flush instructions of a cache-flush pool. */
void pool_hook_store(struct pool *p, uint64_t off, const void *src, uint64_t len);
void pool_hook_zero(struct pool *p, uint64_t off, uint64_t len);
void pool_hook_window(struct pool *p, uint64_t off, uint64_t len);
void pool_slow_flush(struct pool *p, uint64_t off, uint64_t len);
void pool_slow_fence(struct pool *p);
void pool_guard_store(struct pool *p, uint64_t off, const void *src, uint64_t len);
void pool_guard_zero(struct pool *p, uint64_t off, uint64_t len);

/*
 * The pool's memory at a byte offset; [off, off + len) must be inside (asserted). Read through it, never store. A fault
 * of the medium is SIGBUS here: pool_read or pool_probe first.
 */
static inline const void *pool_at(const struct pool *p, uint64_t off, uint64_t len)
{
	assert(pool_has(p, off, len));
	return p->base + off;
}
/*
 * The same for a mover that will land bytes there (fabric/): the one writable view. Landed bytes become durable like
 * stored ones, by flush and fence or sync of their range.
 */
static inline void *pool_window(struct pool *p, uint64_t off, uint64_t len)
{
	assert(pool_has(p, off, len) && !p->read_only);
	if (unlikely(p->hooks != NULL))
		pool_hook_window(p, off, len);
	return p->base + off;
}

/*
 * Stores 1, 2, 4 or 8 bytes to an address that is a multiple of their number as one store, so that neither a reader nor
 * a crash sees half of them; anything else is memcpy.
 */
static inline void pool_store_bytes(void *to, const void *src, uint64_t len)
{
	if (len == 8 && (uintptr_t)to % 8 == 0) {
		uint64_t v;

		memcpy(&v, src, 8);
		__atomic_store_n((uint64_t *)to, v, __ATOMIC_RELEASE);
	} else if (len == 4 && (uintptr_t)to % 4 == 0) {
		uint32_t v;

		memcpy(&v, src, 4);
		__atomic_store_n((uint32_t *)to, v, __ATOMIC_RELEASE);
	} else if (len == 2 && (uintptr_t)to % 2 == 0) {
		uint16_t v;

		memcpy(&v, src, 2);
		__atomic_store_n((uint16_t *)to, v, __ATOMIC_RELEASE);
	} else {
		memcpy(to, src, len);
	}
}

/* Stores bytes. Visible at once, durable after flush and fence (or sync). Aligned 1, 2, 4 and 8 bytes are one store. */
static inline void pool_store(struct pool *p, uint64_t off, const void *src, uint64_t len)
{
	assert(pool_has(p, off, len) && !p->read_only);
	if (unlikely(p->hooks != NULL))
		pool_hook_store(p, off, src, len);
	else
		pool_guard_store(p, off, src, len);
}
static inline void pool_zero(struct pool *p, uint64_t off, uint64_t len)
{
	assert(pool_has(p, off, len) && !p->read_only);
	if (unlikely(p->hooks != NULL))
		pool_hook_zero(p, off, len);
	else
		pool_guard_zero(p, off, len);
}
/* Copies inside the pool; the ranges do not overlap. */
void pool_copy(struct pool *p, uint64_t to, uint64_t from, uint64_t len);
/* Starts writing the lines of the range back. A no-op for POOL_VOLATILE and POOL_MSYNC. */
static inline void pool_flush(struct pool *p, uint64_t off, uint64_t len)
{
	assert(pool_has(p, off, len) && !p->read_only);
	if (p->class == POOL_CACHE_FLUSH || unlikely(p->hooks != NULL))
		pool_slow_flush(p, off, len);
}
/* Everything flushed before is durable when this returns. A no-op for POOL_VOLATILE and POOL_MSYNC. */
static inline void pool_fence(struct pool *p)
{
	if (p->class == POOL_CACHE_FLUSH || unlikely(p->hooks != NULL))
		pool_slow_fence(p);
}
/*
 * The commit point: one aligned 8-byte store of a little-endian value, flushed and fenced (cache-flush) or synced
 * (msync). The caller has made durable all that the value points to.
 */
int pool_publish(struct pool *p, uint64_t off, le64 value);
/* POOL_MSYNC: msync of the pages of the range, blocking; -EIO and the like are returned. Otherwise flush + fence, 0. */
int pool_sync(struct pool *p, uint64_t off, uint64_t len);
/* POOL_MSYNC: fdatasync of the whole pool, mapped stores included. Otherwise a fence. */
int pool_sync_all(struct pool *p);

#endif
