/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another size for a pool in use. The mapping never moves, because pointers into it are everywhere (keys, runs): the
 * addresses behind it were set aside when it was opened.
 *
 * Growing: file longer and allocated, its length durable, mapped, then the size is published. Shrinking: the size
 * first, so that nobody new comes, then the mapping, then the file.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "pool/hooks.h"
#include "pool/internal.h"

#define MIB ((uint64_t)1 << 20)

static void size_publish(struct pool *p, uint64_t size)
{
	__atomic_store_n(&p->size, size, __ATOMIC_RELEASE);
}

static int set_length(struct pool *p, uint64_t size)
{
	int err;

	if (ftruncate(p->fd, (off_t)size) == 0)
		return 0;
	err = -errno;
	return fail(err, "pool %s: setting its size to %" PRIu64 " MiB failed (%s)", p->name, size / MIB,
		    strerror(-err));
}

static int grow(struct pool *p, uint64_t size)
{
	struct pool_place place = {.kind = p->kind, .size = p->size, .grain = LH_BLOCK_SIZE};
	int err = set_length(p, size);

	/* A memfd stays sparse. */
	if (!err && p->kind != POOL_KIND_MEMFD)
		err = place_allocate(p->fd, &place, size, p->name);
	if (!err && fsync(p->fd) != 0) {
		err = -errno;
		err = fail(err, "pool %s: making its new size durable failed (%s)", p->name, strerror(-err));
	}
	if (!err)
		err = pool_map_more(p, p->size, size);
	if (err) {
		(void)ftruncate(p->fd, (off_t)p->size);
		return err;
	}
	size_publish(p, size);
	return 0;
}

static int shrink(struct pool *p, uint64_t size)
{
	uint64_t old = p->size;
	int err;

	size_publish(p, size);
	err = pool_map_less(p, size, old);
	if (err)
		return fail(err, "pool %s: giving back its addresses failed (%s)", p->name, strerror(-err));
	return set_length(p, size);
}

static int check(const struct pool *p, uint64_t size)
{
	if (p->read_only)
		return fail(-EROFS, "pool %s: opened read-only", p->name);
	if (p->kind == POOL_KIND_DEVDAX || p->kind == POOL_KIND_HUGETLBFS)
		return fail(-EOPNOTSUPP, "pool %s: %s cannot change its size: make another pool and copy", p->name,
			    pool_kind_name(p->kind));
	if (size % LH_BLOCK_SIZE || size < POOL_SIZE_MIN || size > POOL_SIZE_MAX)
		return fail(-EINVAL, "pool %s: its size must be whole blocks, at least %" PRIu64 " MiB, at most 16 TiB",
			    p->name, POOL_SIZE_MIN / MIB);
	if (size > p->room)
		return fail(-ENOMEM,
			    "pool %s: only %" PRIu64 " MiB of addresses were set aside when it was opened: grow to "
			    "that first, close it, open it, and go on",
			    p->name, p->room / MIB);
	return 0;
}

int pool_resize(struct pool *p, uint64_t size)
{
	int err = check(p, size);

	if (err || size == p->size)
		return err;
	if (p->hooks)
		return p->hooks->resize(p, size);
	return size > p->size ? grow(p, size) : shrink(p, size);
}
