/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Durability: what flush, fence, sync and publish do for each class, for real memory and for the simulated pool.
 *
 * The stores themselves are inline in pool.h. Plain cached stores are used for data too, not non-temporal ones: a
 * reader on the same host usually follows, and the flush that makes data durable finds the lines in the cache.
 */
#include "pool/pool.h"

#include <errno.h>
#include <libpmem.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "pool/hooks.h"
#include "pool/internal.h"

void pool_hook_store(struct pool *p, uint64_t off, const void *src, uint64_t len)
{
	p->hooks->store(p, off, src, len);
}

void pool_hook_zero(struct pool *p, uint64_t off, uint64_t len)
{
	p->hooks->zero(p, off, len);
}

void pool_hook_window(struct pool *p, uint64_t off, uint64_t len)
{
	p->hooks->window(p, off, len);
}

void pool_slow_flush(struct pool *p, uint64_t off, uint64_t len)
{
	if (len == 0)
		return;
	if (p->hooks)
		p->hooks->flush(p, off, len);
	else
		pool_guard_flush(p, off, len);
}

void pool_slow_fence(struct pool *p)
{
	if (p->hooks)
		p->hooks->fence(p);
	else
		pmem_drain();
}

int pool_publish(struct pool *p, uint64_t off, le64 value)
{
	assert(off % sizeof(value) == 0);
	pool_store(p, off, &value, sizeof(value));
	return pool_sync(p, off, sizeof(value));
}

int pool_sync(struct pool *p, uint64_t off, uint64_t len)
{
	static uint64_t page_size; /* the same whoever writes it */
	uint64_t page, start;
	int err;

	assert(pool_has(p, off, len) && !p->read_only);
	if (len == 0)
		return 0;
	if (p->class != POOL_MSYNC) {
		pool_flush(p, off, len);
		pool_fence(p);
		return pool_fault(p);
	}
	err = pool_fault(p);
	if (err)
		return err;
	if (p->hooks)
		return p->hooks->sync(p, off, len);
	page = __atomic_load_n(&page_size, __ATOMIC_RELAXED);
	if (page == 0) {
		page = (uint64_t)sysconf(_SC_PAGESIZE);
		__atomic_store_n(&page_size, page, __ATOMIC_RELAXED);
	}
	start = round_down_u64(off, page);
	if (msync(p->base + start, off + len - start, MS_SYNC) != 0) {
		err = -errno;
		return fail(err,
			    "pool %s: writing back bytes %llu to %llu failed (%s): check the disk and its log, then "
			    "run fsck on the pool",
			    p->name, (unsigned long long)off, (unsigned long long)(off + len), strerror(-err));
	}
	return 0;
}

int pool_sync_all(struct pool *p)
{
	assert(!p->read_only);
	if (p->class != POOL_MSYNC) {
		pool_fence(p);
		return 0;
	}
	if (p->hooks)
		return p->hooks->sync(p, 0, pool_size(p));
	if (fdatasync(p->fd) != 0) {
		int err = -errno;

		return fail(err, "pool %s: writing it back failed (%s): check the disk and its log, then run fsck",
			    p->name, strerror(-err));
	}
	return 0;
}

void pool_close(struct pool *p)
{
	if (!p)
		return;
	if (p->hooks) {
		p->hooks->close(p);
		return;
	}
	if (p->base)
		munmap(p->base, max_u64(p->size, p->room));
	/* Closing the descriptor drops both locks of owner.c. */
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

const char *pool_class_name(enum pool_class c)
{
	switch (c) {
	case POOL_CACHE_FLUSH:
		return "cache-flush";
	case POOL_MSYNC:
		return "msync";
	case POOL_VOLATILE:
		return "volatile";
	}
	return "unknown";
}

const char *pool_kind_name(enum pool_kind k)
{
	switch (k) {
	case POOL_KIND_FILE:
		return "plain file";
	case POOL_KIND_TMPFS:
		return "tmpfs";
	case POOL_KIND_HUGETLBFS:
		return "hugetlbfs";
	case POOL_KIND_FSDAX:
		return "FS-DAX";
	case POOL_KIND_DEVDAX:
		return "device DAX";
	case POOL_KIND_MEMFD:
		return "memfd";
	case POOL_KIND_SIM:
		return "simulated";
	}
	return "unknown";
}
