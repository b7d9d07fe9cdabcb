/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mapping, and the durability class that it reveals: a file whose filesystem accepts MAP_SYNC is FS-DAX, so its
 * metadata is durable before a store can reach it and flushing lines is enough; any other file on a disk needs msync.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/busguard.h"
#include "base/error.h"
#include "pool/internal.h"

#define HUGE_PAGE ((uint64_t)2 << 20)

/* How much address space is set aside: room to grow in, without the pool ever moving. */
#define ROOM_TIMES 64u
#define ROOM_LEAST ((uint64_t)64 << 30)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROOM_LIMITED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define ROOM_LIMITED 1
#endif
#endif
#ifdef ROOM_LIMITED
/* Sanitizers own most of the addresses. */
#define ROOM_MOST ((uint64_t)4 << 30)
#else
#define ROOM_MOST POOL_SIZE_MAX
#endif

/* Addresses without memory: at least `size` bytes, *room tells how many. NULL with errno set. */
static uint8_t *room_reserve(uint64_t size, uint64_t *room)
{
	uint64_t want = size > ROOM_MOST / ROOM_TIMES ? ROOM_MOST : max_u64(size * ROOM_TIMES, ROOM_LEAST);

	want = min_u64(want, ROOM_MOST);
	for (;;) {
		void *at;

		want = max_u64(want, size);
		at = mmap(NULL, want, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at != MAP_FAILED) {
			*room = want;
			return at;
		}
		if (want == size)
			return NULL;
		want /= 2;
	}
}

/*
 * Maps at a multiple of the huge page, so that the kernel can use huge pages where it wants to (the offset in the file
 * and the address must agree modulo 2 MiB). NULL with errno set on failure. *room: addresses from the start on.
 */
static void *map_aligned(int fd, uint64_t size, int prot, int flags, uint64_t *room)
{
	uint64_t whole;
	uint8_t *area = room_reserve(size + HUGE_PAGE, &whole);
	uint8_t *start;
	int err;

	if (!area)
		return NULL;
	start = area + (HUGE_PAGE - (uintptr_t)area % HUGE_PAGE) % HUGE_PAGE;
	if (mmap(start, size, prot, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
		err = errno;
		munmap(area, whole);
		errno = err;
		return NULL;
	}
	if (start > area)
		munmap(area, (size_t)(start - area));
	*room = whole - (uint64_t)(start - area);
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
	void *at = map_aligned(p->fd, p->size, prot, MAP_SHARED_VALIDATE | MAP_SYNC, &p->room);

	if (at) {
		p->kind = POOL_KIND_FSDAX;
		p->class = POOL_CACHE_FLUSH;
		return at;
	}
	if (errno != EOPNOTSUPP && errno != EINVAL)
		return NULL;
	p->class = POOL_MSYNC;
	return map_aligned(p->fd, p->size, prot, MAP_SHARED, &p->room);
}

/* Advice. User data has no business in a core file; huge pages save TLB misses where the kernel allows them. */
static void map_advise(const struct pool *p, uint64_t off, uint64_t len)
{
	(void)madvise(p->base + off, len, MADV_DONTDUMP);
	if (p->kind == POOL_KIND_TMPFS || p->kind == POOL_KIND_MEMFD)
		(void)madvise(p->base + off, len, MADV_HUGEPAGE);
}

int pool_map(struct pool *p, enum pool_kind kind)
{
	int prot = p->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	void *at = NULL;

	/* Not having the handler costs a clear message only. */
	(void)busguard_install();
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
		at = map_aligned(p->fd, p->size, prot, MAP_SHARED, &p->room);
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
	map_advise(p, 0, p->size);
	return 0;
}

int pool_map_more(struct pool *p, uint64_t from, uint64_t to)
{
	int flags = p->kind == POOL_KIND_FSDAX ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;

	assert(from <= to && to <= p->room && !p->read_only);
	if (mmap(p->base + from, to - from, PROT_READ | PROT_WRITE, flags | MAP_FIXED, p->fd, (off_t)from) ==
	    MAP_FAILED) {
		int err = -errno;

		return fail(err, "pool %s: mapping %llu bytes more failed (%s)", p->name,
			    (unsigned long long)(to - from), strerror(-err));
	}
	map_advise(p, from, to - from);
	return 0;
}

int pool_map_less(struct pool *p, uint64_t from, uint64_t to)
{
	assert(from <= to && to <= p->room);
	if (from < to && mmap(p->base + from, to - from, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
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
		int err = place_allocate(p->fd, &memory, pool_size(p), p->name);

		if (err)
			return err;
	}
	/* EINVAL: a kernel before 5.14 knows no such advice, and the faults come later. */
	if (madvise(p->base, pool_size(p), advice) != 0 && errno != EINVAL) {
		int err = -errno;

		return fail(err, "pool %s: mapping its memory failed (%s)", p->name, strerror(-err));
	}
	return 0;
}
