/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that fails: every access of ours to the pool's memory is under the guard of base/busguard.h.
 *
 * Stores are many and sit deep inside operations that commit at the end, so that a store does not return an error: the
 * thread remembers its first fault, and the commit asks (pool_fault). Reads are few and return theirs.
 */
#include <libpmem.h>

#include "base/busguard.h"
#include "base/error.h"
#include "pool/hooks.h"
#include "pool/internal.h"

static _Thread_local struct {
	const struct pool *pool; /* NULL: none */
	uint64_t off;
} noted;

static uint64_t fault_offset(const struct pool *p)
{
	const uint8_t *at = busguard_address();

	return at >= p->base && at < p->base + p->room ? (uint64_t)(at - p->base) : 0;
}

static void note(const struct pool *p)
{
	if (noted.pool)
		return;
	noted.pool = p;
	noted.off = fault_offset(p);
}

static int fault_text(const struct pool *p, uint64_t off)
{
	return fail(-EIO,
		    "pool %s: its memory fails at byte %llu (block %llu): was the file below cut or replaced? Else the "
		    "disk or the memory fails: move the data away with evacuate, check it with fsck",
		    p->name, (unsigned long long)off, (unsigned long long)(off >> LH_BLOCK_SHIFT));
}

int pool_fault(struct pool *p)
{
	uint64_t off = noted.off;

	if (likely(noted.pool != p))
		return 0;
	noted.pool = NULL;
	return fault_text(p, off);
}

bool pool_faulted(const struct pool *p, uint64_t *off)
{
	if (noted.pool != p)
		return false;
	*off = noted.off;
	return true;
}

struct stored {
	void *to;
	const void *src;
	uint64_t len;
};

static void do_store(void *ctx)
{
	const struct stored *s = ctx;

	pool_store_bytes(s->to, s->src, s->len);
}

void pool_guard_store(struct pool *p, uint64_t off, const void *src, uint64_t len)
{
	struct stored s = {p->base + off, src, len};
	struct busguard_area area = {.start = s.to, .len = len};

	if (unlikely(busguard_run(&area, do_store, &s) != 0))
		note(p);
}

void pool_guard_zero(struct pool *p, uint64_t off, uint64_t len)
{
	if (unlikely(busguard_zero(p->base + off, len) != 0))
		note(p);
}

void pool_copy(struct pool *p, uint64_t to, uint64_t from, uint64_t len)
{
	int err;

	assert(to <= from ? len <= from - to : len <= to - from);
	assert(pool_has(p, to, len) && pool_has(p, from, len) && !p->read_only);
	if (unlikely(p->hooks != NULL)) {
		err = busguard_probe(p->base + from, len);
		if (!err)
			p->hooks->store(p, to, p->base + from, len);
	} else {
		err = busguard_copy(p->base + to, p->base + from, len, BUSGUARD_TO | BUSGUARD_FROM);
	}
	if (unlikely(err != 0))
		note(p);
}

static void do_flush(void *ctx)
{
	const struct stored *s = ctx;

	pmem_flush(s->to, s->len);
}

void pool_guard_flush(struct pool *p, uint64_t off, uint64_t len)
{
	struct stored s = {p->base + off, NULL, len};
	struct busguard_area area = {.start = s.to, .len = len};

	if (unlikely(busguard_run(&area, do_flush, &s) != 0))
		note(p);
}

int pool_read(const struct pool *p, uint64_t off, void *to, uint64_t len)
{
	assert(pool_has(p, off, len));
	if (likely(busguard_copy(to, p->base + off, len, BUSGUARD_FROM) == 0))
		return 0;
	return fault_text(p, fault_offset(p));
}

int pool_probe(const struct pool *p, uint64_t off, uint64_t len)
{
	assert(pool_has(p, off, len));
	if (likely(busguard_probe(p->base + off, len) == 0))
		return 0;
	return fault_text(p, fault_offset(p));
}

int pool_equal(const struct pool *p, uint64_t a, uint64_t b, uint64_t len)
{
	int same;

	assert(pool_has(p, a, len) && pool_has(p, b, len));
	if (likely(busguard_equal(p->base + a, p->base + b, len, &same) == 0))
		return same;
	return fault_text(p, fault_offset(p));
}
