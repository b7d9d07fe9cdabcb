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

static struct node *shared_insert(struct group *g, struct run r, uint64_t refs, enum node_use use)
{
	struct node *n = node_take(g, NODE_ANY);
	struct node *clash;

	if (n == NULL && use != NODE_ANY)
		n = node_take(g, use);
	if (n == NULL)
		return NULL;
	n->run = r;
	n->value = refs;
	clash = RB_INSERT(start_tree, &g->shared, n);
	assert(clash == NULL);
	return n;
}

static void shared_remove(struct group *g, struct node *n)
{
	RB_REMOVE(start_tree, &g->shared, n);
	node_put(g, n);
}

/* Makes `block` a boundary of the map. false: no memory. */
static bool shared_split(struct group *g, uint64_t block, enum node_use use)
{
	struct node *n = tree_from(&g->shared, block);
	uint64_t right;

	if (n == NULL || n->run.start >= block)
		return true;
	right = run_end(n->run) - block;
	n->run.blocks -= right;
	if (shared_insert(g, (struct run){block, right}, n->value, use) != NULL)
		return true;
	n->run.blocks += right;
	return false;
}

/* Joins n with its left neighbour when they continue each other. */
static void shared_join(struct group *g, struct node *n)
{
	struct node *prev;

	if (n == NULL)
		return;
	prev = RB_PREV(start_tree, &g->shared, n);
	if (prev == NULL || run_end(prev->run) != n->run.start || prev->value != n->value)
		return;
	prev->run.blocks += n->run.blocks;
	shared_remove(g, n);
}

static void shared_join_range(struct group *g, struct run r)
{
	struct node *n = tree_from(&g->shared, r.start);

	while (n != NULL && n->run.start <= run_end(r)) {
		struct node *next = RB_NEXT(start_tree, &g->shared, n);

		shared_join(g, n);
		n = next;
	}
}

int share_add(struct group *g, struct run r, bool promised)
{
	enum node_use use = promised ? NODE_PROMISED : NODE_ANY;
	uint64_t at = r.start;

	if (!shared_split(g, r.start, use) || !shared_split(g, run_end(r), use))
		return -ENOMEM;
	while (at < run_end(r)) {
		struct node *n = tree_from(&g->shared, at);
		struct run gap = {at, run_end(r) - at};

		if (n != NULL && n->run.start == at) {
			n->value++;
			at = run_end(n->run);
			continue;
		}
		if (n != NULL)
			gap.blocks = min_u64(gap.blocks, n->run.start - at);
		if (shared_insert(g, gap, 2, use) == NULL)
			return -ENOMEM;
		at = run_end(gap);
	}
	shared_join_range(g, r);
	return 0;
}

/* How many nodes share_add may need at most, as the map is now. Cancel must find the same number, so it is a bound by
 * size. */
static uint64_t promise_size(struct run r)
{
	return 3 + min_u64(r.blocks, PROMISE_SLACK);
}

static int prepare(struct group *g, struct run r)
{
	uint64_t pieces = 0;
	int err;

	for (struct node *n = tree_from(&g->shared, r.start); n != NULL && n->run.start < run_end(r);
	     n = RB_NEXT(start_tree, &g->shared, n))
		pieces++;
	err = nodes_ensure(g, promise_size(r) + pieces + 1);
	if (err == 0)
		g->promised += promise_size(r);
	return err;
}

void alloc_share_cancel(struct alloc *a, struct run r)
{
	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		assert(g->promised >= promise_size(piece));
		g->promised -= promise_size(piece);
		lock_drop(&g->lock);
	}
}

int alloc_share_prepare(struct alloc *a, struct run r)
{
	struct run rest = r;
	int err = 0;

	while (err == 0 && rest.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &rest, &g);

		lock_take(&g->lock);
		err = prepare(g, piece);
		lock_drop(&g->lock);
		if (err != 0)
			alloc_share_cancel(a, (struct run){r.start, piece.start - r.start});
	}
	return err;
}

void alloc_share(struct alloc *a, struct run r)
{
	int err = 0;

	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		assert(g->promised >= promise_size(piece));
		g->promised -= promise_size(piece);
		err |= share_add(g, piece, true);
		lock_drop(&g->lock);
	}
	if (unlikely(err != 0)) {
		/* The record is durable and an uncounted reference would let a block be freed under a file. */
		log_error("alloc", "out of memory while counting a shared run: stopping, the pool is consistent");
		abort();
	}
}

/* A run of the map loses one reference. */
static void shared_drop(struct group *g, struct node *n)
{
	assert(n->value >= 2);
	n->value--;
	if (n->value == 1)
		shared_remove(g, n);
}

static void release(struct alloc *a, struct group *g, struct run r, uint64_t seq)
{
	uint64_t at = r.start;

	if (unlikely(!shared_split(g, r.start, NODE_RELEASE) || !shared_split(g, run_end(r), NODE_RELEASE))) {
		atomic_fetch_add(&a->lost_blocks, r.blocks);
		log_error("alloc", "out of memory: %llu blocks at %llu stay counted until the next mount",
			  (unsigned long long)r.blocks, (unsigned long long)r.start);
		at = run_end(r);
	}
	while (at < run_end(r)) {
		struct node *n = tree_from(&g->shared, at);
		struct run last = {at, run_end(r) - at};

		if (n != NULL && n->run.start == at) {
			at = run_end(n->run);
			shared_drop(g, n);
			continue;
		}
		if (n != NULL)
			last.blocks = min_u64(last.blocks, n->run.start - at);
		space_release(a, g, last, seq);
		at = run_end(last);
	}
	shared_join_range(g, r);
}

void alloc_release(struct alloc *a, const struct drained *gone, struct run r, uint64_t seq)
{
	assert(gone != NULL && gone->proof != NULL && r.blocks > 0);
	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		release(a, g, piece, seq);
		lock_drop(&g->lock);
	}
}

static bool shared(struct group *g, struct run r, uint64_t *alike)
{
	struct node *n = tree_from(&g->shared, r.start);
	uint64_t end;

	if (n == NULL || n->run.start > r.start) {
		*alike = n != NULL ? min_u64(r.blocks, n->run.start - r.start) : r.blocks;
		return false;
	}
	end = run_end(n->run);
	/* Runs of other counts that follow at once are shared too. */
	while (end < run_end(r)) {
		n = RB_NEXT(start_tree, &g->shared, n);
		if (n == NULL || n->run.start != end)
			break;
		end = run_end(n->run);
	}
	*alike = min_u64(end, run_end(r)) - r.start;
	return true;
}

bool alloc_shared(struct alloc *a, struct run r, uint64_t *alike)
{
	bool first = false, more = true;

	assert(r.blocks > 0);
	*alike = 0;
	while (more && r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);
		uint64_t here;
		bool is;

		lock_take(&g->lock);
		is = shared(g, piece, &here);
		lock_drop(&g->lock);
		if (*alike == 0)
			first = is;
		else if (is != first)
			return first;
		*alike += here;
		more = here == piece.blocks;
	}
	return first;
}

bool alloc_any_shared(struct alloc *a)
{
	bool any = false;

	for (unsigned k = 0; !any && k < atomic_load(&a->group_count); k++) {
		struct group *g = atomic_load(&a->groups[k]);

		lock_take(&g->lock);
		any = !RB_EMPTY(&g->shared);
		lock_drop(&g->lock);
	}
	return any;
}

/* --- comparing ------------------------------------------------------------------------------------------------------
 */

/* References of the block at `at`, and up to where they stay the same. Pending frees and held blocks have none. */
static uint64_t refs_at(struct alloc *a, uint64_t at, uint64_t *until)
{
	struct group *g = group_of(a, at);
	struct node *n = tree_from(&g->free_by_start, at);
	struct node *s = tree_from(&g->shared, at);
	struct node *h = tree_from(&g->held, at);
	struct node *p;

	*until = min_u64(*until, g->end);
	STAILQ_FOREACH (p, &g->pending, queue) {
		if (p->run.start <= at && at < run_end(p->run)) {
			*until = min_u64(*until, run_end(p->run));
			return 0;
		}
		if (p->run.start > at)
			*until = min_u64(*until, p->run.start);
	}
	if (h != NULL && h->run.start <= at) {
		*until = min_u64(*until, run_end(h->run));
		return 0;
	}
	if (h != NULL)
		*until = min_u64(*until, h->run.start);
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

	assert(alloc_pool_blocks(have) == alloc_pool_blocks(want));
	end = alloc_pool_blocks(have) - 1;
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
