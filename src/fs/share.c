/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reference counts above one, as an ordered map of runs with equal counts. A block that is neither here nor free nor
 * meta has exactly one reference (I2).
 *
 * Sharing a run makes at most two nodes for its cut ends and one for each gap between runs of the map, so that
 * alloc_share_prepare can promise enough. Others may cut the map between prepare and share; PROMISE_SLACK covers that,
 * and fresh memory is tried first.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/types.h"
#include "fs/alloc_impl.h"

#define PROMISE_SLACK 16u

static struct node *shared_insert(struct alloc *a, struct run r, uint64_t refs, bool promised)
{
	struct node *n = node_take(a, false);
	struct node *clash;

	if (n == NULL && promised)
		n = node_take(a, true);
	if (n == NULL)
		return NULL;
	n->run = r;
	n->value = refs;
	clash = RB_INSERT(start_tree, &a->shared, n);
	assert(clash == NULL);
	return n;
}

static void shared_remove(struct alloc *a, struct node *n)
{
	RB_REMOVE(start_tree, &a->shared, n);
	node_put(a, n);
}

/* Makes `block` a boundary of the map. false: no memory. */
static bool shared_split(struct alloc *a, uint64_t block, bool promised)
{
	struct node *n = tree_from(&a->shared, block);
	uint64_t right;

	if (n == NULL || n->run.start >= block)
		return true;
	right = run_end(n->run) - block;
	n->run.blocks -= right;
	if (shared_insert(a, (struct run){block, right}, n->value, promised) != NULL)
		return true;
	n->run.blocks += right;
	return false;
}

/* Joins n with its left neighbour when they continue each other. */
static void shared_join(struct alloc *a, struct node *n)
{
	struct node *prev;

	if (n == NULL)
		return;
	prev = RB_PREV(start_tree, &a->shared, n);
	if (prev == NULL || run_end(prev->run) != n->run.start || prev->value != n->value)
		return;
	prev->run.blocks += n->run.blocks;
	shared_remove(a, n);
}

static void shared_join_range(struct alloc *a, struct run r)
{
	struct node *n = tree_from(&a->shared, r.start);

	while (n != NULL && n->run.start <= run_end(r)) {
		struct node *next = RB_NEXT(start_tree, &a->shared, n);

		shared_join(a, n);
		n = next;
	}
}

int share_add(struct alloc *a, struct run r, bool promised)
{
	uint64_t at = r.start;

	if (!shared_split(a, r.start, promised) || !shared_split(a, run_end(r), promised))
		return -ENOMEM;
	while (at < run_end(r)) {
		struct node *n = tree_from(&a->shared, at);
		struct run gap = {at, run_end(r) - at};

		if (n != NULL && n->run.start == at) {
			n->value++;
			at = run_end(n->run);
			continue;
		}
		if (n != NULL)
			gap.blocks = min_u64(gap.blocks, n->run.start - at);
		if (shared_insert(a, gap, 2, promised) == NULL)
			return -ENOMEM;
		at = run_end(gap);
	}
	shared_join_range(a, r);
	return 0;
}

/* How many nodes share_add may need at most, as the map is now. Cancel must find the same number, so it is a bound by
 * size. */
static uint64_t promise_size(const struct run *r)
{
	return 3 + min_u64(r->blocks, PROMISE_SLACK);
}

int alloc_share_prepare(struct alloc *a, struct run r)
{
	uint64_t pieces = 0;
	int err;

	lock_take(&a->lock);
	for (struct node *n = tree_from(&a->shared, r.start); n != NULL && n->run.start < run_end(r);
	     n = RB_NEXT(start_tree, &a->shared, n))
		pieces++;
	err = nodes_ensure(a, promise_size(&r) + pieces + 1);
	if (err == 0)
		a->promised += promise_size(&r);
	lock_drop(&a->lock);
	return err;
}

void alloc_share_cancel(struct alloc *a, struct run r)
{
	lock_take(&a->lock);
	assert(a->promised >= promise_size(&r));
	a->promised -= promise_size(&r);
	lock_drop(&a->lock);
}

void alloc_share(struct alloc *a, struct run r)
{
	int err;

	lock_take(&a->lock);
	assert(a->promised >= promise_size(&r));
	a->promised -= promise_size(&r);
	err = share_add(a, r, true);
	lock_drop(&a->lock);
	if (unlikely(err != 0)) {
		/* The record is durable and an uncounted reference would let a block be freed under a file. */
		log_error("alloc", "out of memory while counting a shared run: stopping, the pool is consistent");
		abort();
	}
}

/* A run of the map loses one reference. */
static void shared_drop(struct alloc *a, struct node *n)
{
	assert(n->value >= 2);
	n->value--;
	if (n->value == 1)
		shared_remove(a, n);
}

void alloc_release(struct alloc *a, const struct drained *gone, struct run r, uint64_t seq)
{
	uint64_t at = r.start;

	assert(gone != NULL && gone->proof != NULL && r.blocks > 0);
	lock_take(&a->lock);
	if (unlikely(!shared_split(a, r.start, true) || !shared_split(a, run_end(r), true))) {
		a->lost_blocks += r.blocks;
		log_error("alloc", "out of memory: %llu blocks at %llu stay counted until the next mount",
			  (unsigned long long)r.blocks, (unsigned long long)r.start);
		at = run_end(r);
	}
	while (at < run_end(r)) {
		struct node *n = tree_from(&a->shared, at);
		struct run last = {at, run_end(r) - at};

		if (n != NULL && n->run.start == at) {
			at = run_end(n->run);
			shared_drop(a, n);
			continue;
		}
		if (n != NULL)
			last.blocks = min_u64(last.blocks, n->run.start - at);
		space_release(a, last, seq);
		at = run_end(last);
	}
	shared_join_range(a, r);
	lock_drop(&a->lock);
}

bool alloc_shared(struct alloc *a, struct run r, uint64_t *alike)
{
	struct node *n;
	bool shared;

	assert(r.blocks > 0);
	lock_take(&a->lock);
	n = tree_from(&a->shared, r.start);
	shared = n != NULL && n->run.start <= r.start;
	if (!shared) {
		*alike = n != NULL ? min_u64(r.blocks, n->run.start - r.start) : r.blocks;
	} else {
		uint64_t end = run_end(n->run);

		/* Runs of other counts that follow at once are shared too. */
		while (end < run_end(r)) {
			n = RB_NEXT(start_tree, &a->shared, n);
			if (n == NULL || n->run.start != end)
				break;
			end = run_end(n->run);
		}
		*alike = min_u64(end, run_end(r)) - r.start;
	}
	lock_drop(&a->lock);
	return shared;
}

/* --- comparing ------------------------------------------------------------------------------------------------------
 */

/* References of the block at `at`, and up to where they stay the same. Pending frees have none. */
static uint64_t refs_at(struct alloc *a, uint64_t at, uint64_t *until)
{
	struct node *n = tree_from(&a->free_by_start, at);
	struct node *s = tree_from(&a->shared, at);
	struct node *p;

	STAILQ_FOREACH (p, &a->pending, queue) {
		if (p->run.start <= at && at < run_end(p->run)) {
			*until = min_u64(*until, run_end(p->run));
			return 0;
		}
		if (p->run.start > at)
			*until = min_u64(*until, p->run.start);
	}
	if (n != NULL && n->run.start <= at) {
		*until = min_u64(*until, run_end(n->run));
		return 0;
	}
	if (n != NULL)
		*until = min_u64(*until, n->run.start);
	if (s != NULL && s->run.start <= at) {
		*until = min_u64(*until, run_end(s->run));
		return s->value;
	}
	if (s != NULL)
		*until = min_u64(*until, s->run.start);
	return 1;
}

uint64_t alloc_compare(struct alloc *have, struct alloc *want,
		       void (*each)(void *ctx, struct run r, uint64_t have_refs, uint64_t want_refs), void *ctx)
{
	uint64_t found = 0, at = 1, end;

	assert(have->pool_blocks == want->pool_blocks);
	end = have->pool_blocks - 1;
	while (at < end) {
		uint64_t until = end;
		uint64_t a = refs_at(have, at, &until);
		uint64_t b = refs_at(want, at, &until);

		if (a != b) {
			if (each != NULL)
				each(ctx, (struct run){at, until - at}, a, b);
			found++;
		}
		at = until;
	}
	return found;
}
