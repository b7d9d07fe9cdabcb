/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free space: two trees over the same runs, by start and by size. Log and checkpoint runs in a small third tree, so
 * that an extent from the medium that reaches into them is noticed (I2, I8).
 *
 * Order of choice: at the goal (files stay contiguous), a large want at a 2 MiB boundary (a lease is then few keys and
 * a mapping can use huge pages), else the smallest run that fits (large runs stay whole), else the largest there is.
 *
 * Releasing cannot fail. When memory for a node cannot be had the run is lost until the next mount recomputes
 * everything: safe, because a lost block is only taken for used.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/types.h"
#include "fs/alloc_impl.h"

#define HUGE_BLOCKS ((2u << 20) / LH_BLOCK_SIZE)
#define SLAB_NODES  64u
/* How many candidates are looked at for an aligned fit before an unaligned one is taken. */
#define ALIGNED_TRIES 16u

struct slab {
	struct slab *next;
	struct node nodes[SLAB_NODES];
};

int node_start_cmp(struct node *a, struct node *b)
{
	return a->run.start < b->run.start ? -1 : a->run.start > b->run.start;
}

/* Runs of one size: the lowest first. */
static int node_size_cmp(struct node *a, struct node *b)
{
	if (a->run.blocks != b->run.blocks)
		return a->run.blocks < b->run.blocks ? -1 : 1;
	return node_start_cmp(a, b);
}

RB_GENERATE(start_tree, node, by_start, node_start_cmp)
RB_GENERATE_INTERNAL(size_tree, node, by_size, node_size_cmp, static __attribute__((unused)))

/* --- nodes ----------------------------------------------------------------------------------------------------------
 */

void node_put(struct alloc *a, struct node *n)
{
	n->next_unused = a->unused;
	a->unused = n;
	a->unused_count++;
}

int nodes_ensure(struct alloc *a, uint64_t count)
{
	while (a->unused_count < a->promised + count) {
		struct slab *s = malloc(sizeof(*s));

		if (s == NULL)
			return -ENOMEM;
		s->next = a->slabs;
		a->slabs = s;
		for (unsigned i = 0; i < SLAB_NODES; i++)
			node_put(a, &s->nodes[i]);
	}
	return 0;
}

struct node *node_take(struct alloc *a, bool promised)
{
	struct node *n;

	if (!promised && unlikely(nodes_ensure(a, 1) != 0))
		return NULL;
	n = a->unused;
	if (n != NULL) {
		a->unused = n->next_unused;
		a->unused_count--;
	}
	return n;
}

struct node *tree_from(struct start_tree *t, uint64_t block)
{
	struct node *n = RB_ROOT(t), *best = NULL;

	while (n != NULL) {
		if (run_end(n->run) > block) {
			best = n;
			n = RB_LEFT(n, by_start);
		} else {
			n = RB_RIGHT(n, by_start);
		}
	}
	return best;
}

/* --- free runs ------------------------------------------------------------------------------------------------------
 */

static void free_insert(struct alloc *a, struct node *n)
{
	struct node *clash = RB_INSERT(start_tree, &a->free_by_start, n);

	assert(clash == NULL);
	clash = RB_INSERT(size_tree, &a->free_by_size, n);
	assert(clash == NULL);
}

static void free_remove(struct alloc *a, struct node *n)
{
	RB_REMOVE(start_tree, &a->free_by_start, n);
	RB_REMOVE(size_tree, &a->free_by_size, n);
	node_put(a, n);
}

/* Changes a free run in place; it keeps its order by start, and by size it moves only when it must. */
static void free_resize(struct alloc *a, struct node *n, struct run r)
{
	struct node probe = {.run = r};
	struct node *prev = RB_PREV(size_tree, &a->free_by_size, n);
	struct node *next = RB_NEXT(size_tree, &a->free_by_size, n);

	if ((prev == NULL || node_size_cmp(prev, &probe) < 0) && (next == NULL || node_size_cmp(&probe, next) < 0)) {
		n->run = r;
		return;
	}
	RB_REMOVE(size_tree, &a->free_by_size, n);
	n->run = r;
	RB_INSERT(size_tree, &a->free_by_size, n);
}

/* Takes a part out of a free run. -ENOMEM when it lies in the middle and there is no node. */
static int free_cut(struct alloc *a, struct node *n, struct run r)
{
	uint64_t left = r.start - n->run.start;
	uint64_t right = run_end(n->run) - run_end(r);

	assert(r.start >= n->run.start && run_end(r) <= run_end(n->run));
	if (left != 0 && right != 0) {
		struct node *tail = node_take(a, false);

		if (tail == NULL)
			return -ENOMEM;
		tail->run = (struct run){run_end(r), right};
		free_resize(a, n, (struct run){n->run.start, left});
		free_insert(a, tail);
	} else if (left != 0) {
		free_resize(a, n, (struct run){n->run.start, left});
	} else if (right != 0) {
		free_resize(a, n, (struct run){run_end(r), right});
	} else {
		free_remove(a, n);
	}
	a->free_blocks -= r.blocks;
	return 0;
}

/* Adds a run to free space and joins it with its neighbours. */
static void free_add(struct alloc *a, struct run r)
{
	struct node *next = tree_from(&a->free_by_start, r.start);
	struct node *prev;
	bool joins_next, joins_prev;

	assert(next == NULL || next->run.start >= run_end(r)); /* freed twice */
	prev = next != NULL ? RB_PREV(start_tree, &a->free_by_start, next) : RB_MAX(start_tree, &a->free_by_start);
	joins_next = next != NULL && next->run.start == run_end(r);
	joins_prev = prev != NULL && run_end(prev->run) == r.start;
	if (joins_prev && joins_next) {
		struct run whole = {prev->run.start, run_end(next->run) - prev->run.start};

		free_remove(a, next);
		free_resize(a, prev, whole);
	} else if (joins_prev) {
		free_resize(a, prev, (struct run){prev->run.start, prev->run.blocks + r.blocks});
	} else if (joins_next) {
		free_resize(a, next, (struct run){r.start, next->run.blocks + r.blocks});
	} else {
		struct node *n = node_take(a, false);

		if (n == NULL) {
			a->lost_blocks += r.blocks;
			log_error("alloc", "out of memory: %llu free blocks at %llu are lost until the next mount",
				  (unsigned long long)r.blocks, (unsigned long long)r.start);
			return;
		}
		n->run = r;
		free_insert(a, n);
	}
	a->free_blocks += r.blocks;
}

/* --- choosing -------------------------------------------------------------------------------------------------------
 */

static struct node *size_from(struct alloc *a, uint64_t blocks)
{
	struct node probe = {.run = {0, blocks}};

	return RB_NFIND(size_tree, &a->free_by_size, &probe);
}

/* The part of a free run for `want` blocks from its first 2 MiB boundary; false: less than 2 MiB would be left there.
 */
static bool aligned_part(const struct node *n, uint64_t want, struct run *out)
{
	uint64_t start = round_up_u64(n->run.start, HUGE_BLOCKS);
	uint64_t end = run_end(n->run);

	if (start >= end || end - start < min_u64(want, HUGE_BLOCKS))
		return false;
	*out = (struct run){start, min_u64(want, end - start)};
	return true;
}

static bool choose_at_goal(struct alloc *a, uint64_t want, uint64_t goal, struct node **from, struct run *out)
{
	struct node *n = tree_from(&a->free_by_start, goal);
	uint64_t left;

	if (n == NULL || n->run.start > goal)
		return false;
	left = run_end(n->run) - goal;
	/* A stump is worse than a new place, unless it is all that was asked for. */
	if (left < want && left < HUGE_BLOCKS)
		return false;
	*from = n;
	*out = (struct run){goal, min_u64(want, left)};
	return true;
}

static bool choose_aligned(struct alloc *a, uint64_t want, struct node **from, struct run *out)
{
	struct node *n = size_from(a, want);
	unsigned tries = ALIGNED_TRIES;

	for (; n != NULL && tries > 0; tries--) {
		if (aligned_part(n, want, out) && out->blocks == want) {
			*from = n;
			return true;
		}
		n = RB_NEXT(size_tree, &a->free_by_size, n);
	}
	/* Long enough for any misalignment; else the best of the largest. */
	n = size_from(a, want + HUGE_BLOCKS - 1);
	if (n == NULL)
		n = RB_MAX(size_tree, &a->free_by_size);
	*from = n;
	return n != NULL && aligned_part(n, want, out);
}

static bool choose(struct alloc *a, uint64_t want, uint64_t goal, struct node **from, struct run *out)
{
	struct node *n;

	if (goal != 0 && choose_at_goal(a, want, goal, from, out))
		return true;
	if (want >= HUGE_BLOCKS && choose_aligned(a, want, from, out))
		return true;
	n = size_from(a, want);
	if (n == NULL)
		n = RB_MAX(size_tree, &a->free_by_size);
	if (n == NULL)
		return false;
	*from = n;
	*out = (struct run){n->run.start, min_u64(want, n->run.blocks)};
	return true;
}

/* floor: free blocks that must be left. */
static int take(struct alloc *a, uint64_t want, uint64_t goal, uint64_t floor, struct run *out)
{
	struct node *from;

	if (a->free_blocks <= floor)
		return -ENOSPC;
	want = min_u64(want, a->free_blocks - floor);
	if (!choose(a, want, goal, &from, out))
		return -ENOSPC;
	return free_cut(a, from, *out);
}

int alloc_take(struct alloc *a, uint64_t want, uint64_t goal, struct run *out)
{
	int err;

	assert(want > 0);
	lock_take(&a->lock);
	err = take(a, want, goal, a->reserve, out);
	lock_drop(&a->lock);
	return err;
}

int alloc_take_meta(struct alloc *a, uint64_t want, bool reserved, struct run *out)
{
	struct node *n, *clash;
	int err;

	assert(want > 0);
	lock_take(&a->lock);
	n = node_take(a, false);
	err = n == NULL ? -ENOMEM : take(a, want, 0, reserved ? 0 : a->reserve, out);
	if (err == 0) {
		n->run = *out;
		clash = RB_INSERT(start_tree, &a->meta, n);
		assert(clash == NULL);
	} else if (n != NULL) {
		node_put(a, n);
	}
	lock_drop(&a->lock);
	return err;
}

int alloc_take_reserved(struct alloc *a, uint64_t want, uint64_t goal, struct run *out)
{
	(void)goal;
	return alloc_take_meta(a, want, true, out);
}

/* --- giving back ----------------------------------------------------------------------------------------------------
 */

void alloc_undo(struct alloc *a, struct run r)
{
	lock_take(&a->lock);
	free_add(a, r);
	lock_drop(&a->lock);
}

void alloc_release_meta(struct alloc *a, struct run r)
{
	struct node *n;
	struct run whole;

	lock_take(&a->lock);
	n = tree_from(&a->meta, r.start);
	assert(n != NULL && n->run.start <= r.start && run_end(r) <= run_end(n->run));
	whole = n->run;
	if (whole.start < r.start) {
		n->run.blocks = r.start - whole.start;
	} else {
		RB_REMOVE(start_tree, &a->meta, n);
		node_put(a, n);
	}
	if (run_end(r) < run_end(whole)) {
		n = node_take(a, false);
		/* Without a node the rest is merely no longer known as meta. */
		if (n != NULL) {
			n->run = (struct run){run_end(r), run_end(whole) - run_end(r)};
			RB_INSERT(start_tree, &a->meta, n);
		}
	}
	free_add(a, r);
	lock_drop(&a->lock);
}

void space_release(struct alloc *a, struct run r, uint64_t seq)
{
	struct node *n;

	if (!a->defer_free) {
		free_add(a, r);
		return;
	}
	n = node_take(a, false);
	if (n == NULL) {
		a->lost_blocks += r.blocks;
		log_error("alloc", "out of memory: %llu freed blocks at %llu are lost until the next mount",
			  (unsigned long long)r.blocks, (unsigned long long)r.start);
		return;
	}
	n->run = r;
	n->value = seq;
	STAILQ_INSERT_TAIL(&a->pending, n, queue);
	a->pending_blocks += r.blocks;
}

/* Records get their numbers in another order than their blocks come here, so the whole list is looked at. */
void alloc_settle(struct alloc *a, uint64_t seq)
{
	struct node_queue kept = STAILQ_HEAD_INITIALIZER(kept);

	if (!a->defer_free)
		return;
	lock_take(&a->lock);
	while (!STAILQ_EMPTY(&a->pending)) {
		struct node *n = STAILQ_FIRST(&a->pending);
		struct run r = n->run;

		STAILQ_REMOVE_HEAD(&a->pending, queue);
		if (n->value > seq) {
			STAILQ_INSERT_TAIL(&kept, n, queue);
			continue;
		}
		a->pending_blocks -= r.blocks;
		node_put(a, n);
		free_add(a, r);
	}
	STAILQ_CONCAT(&a->pending, &kept);
	lock_drop(&a->lock);
}

/* --- mount ----------------------------------------------------------------------------------------------------------
 */

int space_claim(struct alloc *a, struct run r)
{
	struct node *n = tree_from(&a->free_by_start, r.start);

	assert(n != NULL && n->run.start <= r.start && run_end(r) <= run_end(n->run));
	return free_cut(a, n, r);
}

static bool run_inside(const struct alloc *a, struct run r)
{
	return r.start >= 1 && r.blocks >= 1 && r.start < a->pool_blocks - 1 &&
	       r.blocks <= a->pool_blocks - 1 - r.start;
}

static bool touches(struct start_tree *t, struct run r)
{
	struct node *n = tree_from(t, r.start);

	return n != NULL && n->run.start < run_end(r);
}

int alloc_mark_meta(struct alloc *a, struct run r)
{
	struct node *n;
	int err = -EUCLEAN;

	lock_take(&a->lock);
	if (!run_inside(a, r))
		goto out;
	n = tree_from(&a->free_by_start, r.start);
	if (n == NULL || n->run.start > r.start || run_end(r) > run_end(n->run))
		goto out;
	err = nodes_ensure(a, 2);
	if (err != 0)
		goto out;
	err = space_claim(a, r);
	assert(err == 0);
	n = node_take(a, false);
	n->run = r;
	RB_INSERT(start_tree, &a->meta, n);
out:
	lock_drop(&a->lock);
	return err;
}

/* The parts of r that are free become allocated, the others get one reference more. */
static int mark_parts(struct alloc *a, struct run r)
{
	uint64_t at = r.start;
	int err = 0;

	while (err == 0 && at < run_end(r)) {
		struct node *n = tree_from(&a->free_by_start, at);
		struct run part = {at, run_end(r) - at};

		if (n == NULL || n->run.start >= run_end(r)) {
			err = share_add(a, part, false);
		} else if (n->run.start > at) {
			part.blocks = n->run.start - at;
			err = share_add(a, part, false);
		} else {
			part.blocks = min_u64(part.blocks, run_end(n->run) - at);
			err = free_cut(a, n, part);
		}
		at = run_end(part);
	}
	return err;
}

int alloc_mark(struct alloc *a, struct run r)
{
	int err = -EUCLEAN;

	lock_take(&a->lock);
	if (run_inside(a, r) && !touches(&a->meta, r))
		err = mark_parts(a, r);
	lock_drop(&a->lock);
	return err;
}

/* --- life -----------------------------------------------------------------------------------------------------------
 */

int alloc_new(uint64_t pool_blocks, bool defer_free, struct alloc **out)
{
	struct alloc *a = calloc(1, sizeof(*a));
	int err;

	assert(pool_blocks > 2);
	if (a == NULL)
		return -ENOMEM;
	lock_init(&a->lock, RANK_ALLOC);
	a->pool_blocks = pool_blocks;
	a->defer_free = defer_free;
	RB_INIT(&a->free_by_start);
	RB_INIT(&a->free_by_size);
	RB_INIT(&a->meta);
	RB_INIT(&a->shared);
	STAILQ_INIT(&a->pending);
	err = nodes_ensure(a, 1);
	if (err != 0) {
		alloc_free(a);
		return err;
	}
	free_add(a, (struct run){1, pool_blocks - 2});
	*out = a;
	return 0;
}

void alloc_free(struct alloc *a)
{
	if (a == NULL)
		return;
	while (a->slabs != NULL) {
		struct slab *s = a->slabs;

		a->slabs = s->next;
		free(s);
	}
	lock_destroy(&a->lock);
	free(a);
}

void alloc_set_reserve(struct alloc *a, uint64_t blocks)
{
	lock_take(&a->lock);
	a->reserve = blocks;
	lock_drop(&a->lock);
}

uint64_t alloc_pool_blocks(const struct alloc *a)
{
	return a->pool_blocks;
}

uint64_t alloc_free_blocks(struct alloc *a)
{
	uint64_t blocks;

	lock_take(&a->lock);
	blocks = a->free_blocks + a->pending_blocks;
	lock_drop(&a->lock);
	return blocks;
}

uint64_t alloc_avail_blocks(struct alloc *a)
{
	uint64_t blocks;

	lock_take(&a->lock);
	blocks = a->free_blocks + a->pending_blocks;
	blocks = blocks > a->reserve ? blocks - a->reserve : 0;
	lock_drop(&a->lock);
	return blocks;
}

uint64_t alloc_pending_blocks(struct alloc *a)
{
	uint64_t blocks;

	lock_take(&a->lock);
	blocks = a->pending_blocks;
	lock_drop(&a->lock);
	return blocks;
}
