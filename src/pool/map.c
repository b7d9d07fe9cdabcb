/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mapping, and the durability class that it reveals: a file whose filesystem accepts MAP_SYNC is FS-DAX, so its
 * metadata is durable before a store can reach it and flushing lines is enough; any other file on a disk needs msync.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "pool/internal.h"

#define HUGE_PAGE ((uint64_t)2 << 20)

/*
 * Maps at a multiple of the huge page, so that the kernel can use huge pages where it wants to (the offset in the file
 * and the address must agree modulo 2 MiB). NULL with errno set on failure.
 */
static void *map_aligned(int fd, uint64_t size, int prot, int flags)
{
	uint64_t room = size + HUGE_PAGE;
	uint8_t *area = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *start;
	int err;

	if (area == MAP_FAILED)
		return NULL;
	start = area + (HUGE_PAGE - (uintptr_t)area % HUGE_PAGE) % HUGE_PAGE;
	if (mmap(start, size, prot, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
		err = errno;
		munmap(area, room);
		errno = err;
		return NULL;
	}
	if (start > area)
		munmap(area, (size_t)(start - area));
	if (start + size < area + room)
		munmap(start + size, (size_t)(area + room - (start + size)));
	return start;
}

/* The kernel knows what address devices and huge pages want. NULL with errno set on failure. */
static void *map_anywhere(int fd, uint64_t size, int prot, int flags)
{
	void *at = mmap(NULL, size, prot, flags, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static void *map_file(struct pool *p, int prot)
{
	void *at = map_aligned(p->fd, p->size, prot, MAP_SHARED_VALIDATE | MAP_SYNC);

	if (at) {
		p->kind = POOL_KIND_FSDAX;
		p->class = POOL_CACHE_FLUSH;
		return at;
	}
	if (errno != EOPNOTSUPP && errno != EINVAL)
		return NULL;
	p->class = POOL_MSYNC;
	return map_aligned(p->fd, p->size, prot, MAP_SHARED);
}

int pool_map(struct pool *p, enum pool_kind kind)
{
	int prot = p->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	void *at = NULL;

	p->kind = kind;
	p->class = POOL_VOLATILE;
	switch (kind) {
	case POOL_KIND_FILE:
	case POOL_KIND_FSDAX:
		at = map_file(p, prot);
		break;
	case POOL_KIND_DEVDAX:
		p->class = POOL_CACHE_FLUSH;
		at = map_anywhere(p->fd, p->size, prot, MAP_SHARED);
		break;
	case POOL_KIND_HUGETLBFS:
		at = map_anywhere(p->fd, p->size, prot, MAP_SHARED);
		break;
	case POOL_KIND_TMPFS:
	case POOL_KIND_MEMFD:
		at = map_aligned(p->fd, p->size, prot, MAP_SHARED);
		break;
	case POOL_KIND_SIM:
		assert(!"a simulated pool is not mapped from a file");
	}
	if (!at) {
		int err = -errno;

		return fail(err, "pool %s: mapping %llu bytes failed (%s)%s", p->name, (unsigned long long)p->size,
			    strerror(-err),
			    err == -ENOMEM ? ": check ulimit -v, and /proc/sys/vm/nr_hugepages for hugetlbfs" : "");
	}
	p->base = at;
	/* Both are advice. User data has no business in a core file; huge pages save TLB misses where the kernel allows
	 * them. */
	(void)madvise(at, p->size, MADV_DONTDUMP);
	if (kind == POOL_KIND_TMPFS || kind == POOL_KIND_MEMFD)
		(void)madvise(at, p->size, MADV_HUGEPAGE);
	return 0;
}

int pool_populate(struct pool *p)
{
	static const struct pool_place memory = {.kind = POOL_KIND_TMPFS, .grain = LH_BLOCK_SIZE};
	/* Write faults would mark every page of a plain file dirty. */
	int advice = p->read_only || p->class == POOL_MSYNC ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;

	if (p->hooks)
		return 0;
	if (p->kind == POOL_KIND_MEMFD) {
		int err = place_allocate(p->fd, &memory, p->size, p->name);

		if (err)
			return err;
	}
	/* EINVAL: a kernel before 5.14 knows no such advice, and the faults come later. */
	if (madvise(p->base, p->size, advice) != 0 && errno != EINVAL) {
		int err = -errno;

		return fail(err, "pool %s: mapping its memory failed (%s)", p->name, strerror(-err));
	}
	return 0;
}
