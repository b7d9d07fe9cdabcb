/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free space: per group two trees over the same runs, by start and by size. Log and checkpoint runs in a small third
 * tree, so that an extent from the medium that reaches into them is noticed (I2, I8).
 *
 * Taking is two steps. *Claim* blocks from the counter of all free ones, which keeps the reserve whole without a common
 * lock; then find a place for them, group by group, and give back what the place is too small for. Order of choice: at
 * the goal (files stay contiguous, also across a border), a run of the whole length at a 2 MiB boundary when it is
 * large (a lease is then few keys and a mapping can use huge pages), the smallest run that fits (large runs stay
 * whole), each first in the thread's own group, then in the others; else the longest run of all. Each group's longest
 * run is known without its lock, so that a full group costs one load.
 *
 * Releasing cannot fail: every group keeps nodes back for it. Only when memory stays out for more releases than that is
 * a run lost until the next mount recomputes everything: safe, because a lost block is only taken for used.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "fs/alloc_impl.h"

#define HUGE_BLOCKS ((2u << 20) / LH_BLOCK_SIZE)
#define SLAB_NODES  64u
/* Kept back for releases. */
#define SPARE_NODES 96u
/* How many candidates are looked at for an aligned fit before an unaligned one is taken. */
#define ALIGNED_TRIES 16u
/* A group's longest run may be gone when its lock is there. */
#define LONGEST_TRIES 8u

#define GROUP_SHARE      16u
#define GROUP_SHARE_HUGE 64u
#define GROUP_LEAST      ((32u << 20) / LH_BLOCK_SIZE)
#define GROUP_GIB        ((1u << 30) / LH_BLOCK_SIZE)

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

void node_put(struct group *g, struct node *n)
{
	n->next_unused = g->unused;
	g->unused = n;
	g->unused_count++;
}

int nodes_ensure(struct group *g, uint64_t count)
{
	while (g->unused_count < g->promised + SPARE_NODES + count) {
		struct slab *s = malloc(sizeof(*s));

		if (s == NULL)
			return -ENOMEM;
		s->next = g->slabs;
		g->slabs = s;
		for (unsigned i = 0; i < SLAB_NODES; i++)
			node_put(g, &s->nodes[i]);
	}
	return 0;
}

struct node *node_take(struct group *g, enum node_use use)
{
	struct node *n;
	bool fresh = nodes_ensure(g, 1) == 0;

	switch (use) {
	case NODE_ANY:
		if (unlikely(!fresh))
			return NULL;
		break;
	case NODE_RELEASE:
		if (unlikely(!fresh && g->unused_count <= g->promised))
			return NULL;
		break;
	case NODE_PROMISED:
		break;
	}
	n = g->unused;
	if (n != NULL) {
		g->unused = n->next_unused;
		g->unused_count--;
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

bool tree_touches(struct start_tree *t, struct run r)
{
	struct node *n = tree_from(t, r.start);

	return n != NULL && n->run.start < run_end(r);
}

/* --- free runs ------------------------------------------------------------------------------------------------------
 */

static void longest_update(struct group *g)
{
	struct node *n = RB_MAX(size_tree, &g->free_by_size);

	atomic_store_explicit(&g->largest, n != NULL ? n->run.blocks : 0, memory_order_relaxed);
}

static uint64_t long_part(struct run r)
{
	return r.blocks >= LONG_BLOCKS ? r.blocks : 0;
}

static void free_insert(struct alloc *a, struct group *g, struct node *n)
{
	struct node *clash = RB_INSERT(start_tree, &g->free_by_start, n);

	assert(clash == NULL);
	clash = RB_INSERT(size_tree, &g->free_by_size, n);
	assert(clash == NULL);
	atomic_fetch_add_explicit(&a->long_blocks, long_part(n->run), memory_order_relaxed);
}

static void free_remove(struct alloc *a, struct group *g, struct node *n)
{
	atomic_fetch_sub_explicit(&a->long_blocks, long_part(n->run), memory_order_relaxed);
	RB_REMOVE(start_tree, &g->free_by_start, n);
	RB_REMOVE(size_tree, &g->free_by_size, n);
	node_put(g, n);
}

/* Changes a free run in place; it keeps its order by start, and by size it moves only when it must. */
static void free_resize(struct alloc *a, struct group *g, struct node *n, struct run r)
{
	struct node probe = {.run = r};
	struct node *prev = RB_PREV(size_tree, &g->free_by_size, n);
	struct node *next = RB_NEXT(size_tree, &g->free_by_size, n);

	/* Unsigned: what gets less wraps to the right sum. */
	atomic_fetch_add_explicit(&a->long_blocks, long_part(r) - long_part(n->run), memory_order_relaxed);
	if ((prev == NULL || node_size_cmp(prev, &probe) < 0) && (next == NULL || node_size_cmp(&probe, next) < 0)) {
		n->run = r;
		return;
	}
	RB_REMOVE(size_tree, &g->free_by_size, n);
	n->run = r;
	RB_INSERT(size_tree, &g->free_by_size, n);
}

int free_cut(struct alloc *a, struct group *g, struct node *n, struct run r)
{
	uint64_t left = r.start - n->run.start;
	uint64_t right = run_end(n->run) - run_end(r);

	assert(r.start >= n->run.start && run_end(r) <= run_end(n->run));
	/* Also keeps the nodes for the release of what is taken now. */
	if (unlikely(nodes_ensure(g, 1) != 0))
		return -ENOMEM;
	if (left != 0 && right != 0) {
		struct node *tail = node_take(g, NODE_ANY);

		if (tail == NULL)
			return -ENOMEM;
		tail->run = (struct run){run_end(r), right};
		free_resize(a, g, n, (struct run){n->run.start, left});
		free_insert(a, g, tail);
	} else if (left != 0) {
		free_resize(a, g, n, (struct run){n->run.start, left});
	} else if (right != 0) {
		free_resize(a, g, n, (struct run){run_end(r), right});
	} else {
		free_remove(a, g, n);
	}
	longest_update(g);
	return 0;
}

static void run_lost(struct alloc *a, struct run r)
{
	atomic_fetch_add(&a->lost_blocks, r.blocks);
	log_error("alloc", "out of memory: %llu free blocks at %llu are lost until the next mount",
		  (unsigned long long)r.blocks, (unsigned long long)r.start);
}

/* Joins the run with its neighbours in free space. */
static void free_join(struct alloc *a, struct group *g, struct run r)
{
	struct node *next = tree_from(&g->free_by_start, r.start);
	struct node *prev;
	bool joins_next, joins_prev;

	assert(next == NULL || next->run.start >= run_end(r)); /* freed twice */
	prev = next != NULL ? RB_PREV(start_tree, &g->free_by_start, next) : RB_MAX(start_tree, &g->free_by_start);
	joins_next = next != NULL && next->run.start == run_end(r);
	joins_prev = prev != NULL && run_end(prev->run) == r.start;
	if (joins_prev && joins_next) {
		struct run whole = {prev->run.start, run_end(next->run) - prev->run.start};

		free_remove(a, g, next);
		free_resize(a, g, prev, whole);
	} else if (joins_prev) {
		free_resize(a, g, prev, (struct run){prev->run.start, prev->run.blocks + r.blocks});
	} else if (joins_next) {
		free_resize(a, g, next, (struct run){r.start, next->run.blocks + r.blocks});
	} else {
		struct node *n = node_take(g, NODE_RELEASE);

		if (n == NULL) {
			run_lost(a, r);
			return;
		}
		n->run = r;
		free_insert(a, g, n);
	}
	longest_update(g);
	atomic_fetch_add(&a->free_blocks, (int64_t)r.blocks);
}

static void held_add(struct alloc *a, struct group *g, struct run r)
{
	struct node *n = node_take(g, NODE_RELEASE), *clash;

	if (n == NULL) {
		run_lost(a, r);
		return;
	}
	n->run = r;
	clash = RB_INSERT(start_tree, &g->held, n);
	assert(clash == NULL);
	atomic_fetch_add(&a->held_blocks, r.blocks);
}

void free_add(struct alloc *a, struct group *g, struct run r)
{
	lock_assert_held(RANK_ALLOC);
	while (r.blocks > 0) {
		struct node *fence = RB_EMPTY(&g->fences) ? NULL : tree_from(&g->fences, r.start);
		struct run part = r;

		if (fence != NULL && fence->run.start <= r.start)
			part.blocks = min_u64(r.blocks, run_end(fence->run) - r.start);
		else if (fence != NULL)
			part.blocks = min_u64(r.blocks, fence->run.start - r.start);
		if (fence != NULL && fence->run.start <= r.start)
			held_add(a, g, part);
		else
			free_join(a, g, part);
		r.start += part.blocks;
		r.blocks -= part.blocks;
	}
}

/* --- choosing, in one group -----------------------------------------------------------------------------------------
 */

static struct node *size_from(struct group *g, uint64_t blocks)
{
	struct node probe = {.run = {0, blocks}};

	return RB_NFIND(size_tree, &g->free_by_size, &probe);
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

static struct node *choose_at_goal(struct group *g, uint64_t want, uint64_t goal, struct run *out)
{
	struct node *n = tree_from(&g->free_by_start, goal);
	uint64_t left;

	if (n == NULL || n->run.start > goal)
		return NULL;
	left = run_end(n->run) - goal;
	/* A stump is worse than a new place, unless it is all that was asked for, or goes on in the next group. */
	if (left < want && left < HUGE_BLOCKS && run_end(n->run) != g->end)
		return NULL;
	*out = (struct run){goal, min_u64(want, left)};
	return n;
}

static struct node *choose_aligned(struct group *g, uint64_t want, struct run *out)
{
	struct node *n = size_from(g, want);
	unsigned tries = ALIGNED_TRIES;

	for (; n != NULL && tries > 0; tries--) {
		if (aligned_part(n, want, out) && out->blocks == want)
			return n;
		n = RB_NEXT(size_tree, &g->free_by_size, n);
	}
	/* Long enough for any misalignment. */
	n = size_from(g, want + HUGE_BLOCKS - 1);
	return n != NULL && aligned_part(n, want, out) ? n : NULL;
}

static struct node *choose_fit(struct group *g, uint64_t want, struct run *out)
{
	struct node *n = size_from(g, want);

	if (n != NULL)
		*out = (struct run){n->run.start, want};
	return n;
}

static struct node *choose_longest(struct group *g, uint64_t want, struct run *out)
{
	struct node *n = RB_MAX(size_tree, &g->free_by_size);

	if (n != NULL && (want < HUGE_BLOCKS || !aligned_part(n, want, out)))
		*out = (struct run){n->run.start, min_u64(want, n->run.blocks)};
	return n;
}

/* The smallest fit below LONG_BLOCKS, or else the longest there. */
static struct node *choose_short(struct group *g, uint64_t want, struct run *out)
{
	struct node *n = size_from(g, want);

	if (n == NULL || n->run.blocks >= LONG_BLOCKS) {
		n = size_from(g, LONG_BLOCKS);
		n = n != NULL ? RB_PREV(size_tree, &g->free_by_size, n) : RB_MAX(size_tree, &g->free_by_size);
	}
	if (n != NULL)
		*out = (struct run){n->run.start, min_u64(want, n->run.blocks)};
	return n;
}

/* --- taking ---------------------------------------------------------------------------------------------------------
 */

/* How many of `want` blocks may be taken so that `floor` stay free. */
static uint64_t claim(struct alloc *a, uint64_t want, uint64_t floor)
{
	int64_t have = atomic_load(&a->free_blocks);
	uint64_t n;

	do {
		if (have <= (int64_t)floor)
			return 0;
		n = min_u64(want, (uint64_t)have - floor);
	} while (!atomic_compare_exchange_weak(&a->free_blocks, &have, have - (int64_t)n));
	return n;
}

static void unclaim(struct alloc *a, uint64_t blocks)
{
	if (blocks > 0)
		atomic_fetch_add(&a->free_blocks, (int64_t)blocks);
}

/* Threads begin in different groups, each always in the same: its files lie together, and apart from the others'. */
static unsigned own_group(unsigned count)
{
	static _Atomic unsigned threads;
	static _Thread_local unsigned mine = UINT32_MAX;

	if (unlikely(mine == UINT32_MAX))
		mine = atomic_fetch_add(&threads, 1) & INT32_MAX;
	return mine % count;
}

typedef struct node *(*choose_fn)(struct group *g, uint64_t want, struct run *out);

static int take_in(struct alloc *a, struct group *g, choose_fn choose, uint64_t want, struct run *out)
{
	struct node *n;
	int err;

	lock_take(&g->lock);
	n = choose(g, want, out);
	err = n == NULL ? -ENOSPC : free_cut(a, g, n, *out);
	lock_drop(&g->lock);
	return err;
}

static int take_at_goal(struct alloc *a, struct group *g, uint64_t want, uint64_t goal, struct run *out)
{
	struct node *n;
	int err;

	lock_take(&g->lock);
	n = choose_at_goal(g, want, goal, out);
	err = n == NULL ? -ENOSPC : free_cut(a, g, n, *out);
	lock_drop(&g->lock);
	return err;
}

/* The first group from `first` on that may have a whole run. */
static int take_whole(struct alloc *a, choose_fn choose, uint64_t want, unsigned first, struct run *out)
{
	unsigned count = atomic_load(&a->group_count);

	for (unsigned k = 0; k < count; k++) {
		struct group *g = atomic_load_explicit(&a->groups[(first + k) % count], memory_order_acquire);
		int err;

		if (atomic_load_explicit(&g->largest, memory_order_relaxed) < want)
			continue;
		err = take_in(a, g, choose, want, out);
		if (err != -ENOSPC)
			return err;
	}
	return -ENOSPC;
}

static int take_longest(struct alloc *a, uint64_t want, struct run *out)
{
	unsigned count = atomic_load(&a->group_count);
	int err = -ENOSPC;

	for (unsigned tries = 0; err == -ENOSPC && tries < LONGEST_TRIES; tries++) {
		struct group *best = NULL;
		uint64_t most = 0;

		for (unsigned k = 0; k < count; k++) {
			struct group *g = atomic_load_explicit(&a->groups[k], memory_order_acquire);
			uint64_t largest = atomic_load_explicit(&g->largest, memory_order_relaxed);

			if (largest > most) {
				most = largest;
				best = g;
			}
		}
		if (best == NULL)
			return -ENOSPC;
		err = take_in(a, best, choose_longest, want, out);
	}
	return err;
}

/* Only short runs, of the first group that has one. */
static int take_short(struct alloc *a, uint64_t want, unsigned first, struct run *out)
{
	unsigned count = atomic_load(&a->group_count);
	int err = -ENOSPC;

	for (unsigned k = 0; err == -ENOSPC && k < count; k++) {
		struct group *g = atomic_load_explicit(&a->groups[(first + k) % count], memory_order_acquire);

		if (atomic_load_explicit(&g->largest, memory_order_relaxed) > 0)
			err = take_in(a, g, choose_short, want, out);
	}
	return err;
}

/*
 * keep: long runs that are better left, because the reserve must be of long runs: on a pool whose free space is in
 * single blocks no checkpoint with a long name's item in it could be written.
 */
static int find(struct alloc *a, uint64_t want, uint64_t goal, uint64_t keep, unsigned first, struct run *out)
{
	int err = -ENOSPC;

	if (keep > 0 && atomic_load_explicit(&a->long_blocks, memory_order_relaxed) < keep + want + LONG_BLOCKS) {
		err = take_short(a, want, first, out);
		if (err != -ENOSPC)
			return err;
	}
	if (goal != 0 && goal < atomic_load(&a->pool_blocks)) {
		first = group_index(a, goal);
		err = take_at_goal(a, group_of(a, goal), want, goal, out);
	}
	if (err == -ENOSPC && want >= HUGE_BLOCKS)
		err = take_whole(a, choose_aligned, want, first, out);
	if (err == -ENOSPC)
		err = take_whole(a, choose_fit, want, first, out);
	return err == -ENOSPC ? take_longest(a, want, out) : err;
}

static bool fails_now(struct alloc *a)
{
	return unlikely(atomic_load_explicit(&a->fail_in, memory_order_relaxed) > 0) &&
	       atomic_fetch_sub(&a->fail_in, 1) == 1;
}

/* floor: free blocks that must be left; keep: of the long runs, better. */
static int take(struct alloc *a, uint64_t want, uint64_t goal, uint64_t floor, uint64_t keep, unsigned first,
		struct run *out)
{
	uint64_t claimed;
	int err;

	assert(want > 0);
	if (fails_now(a))
		return -ENOSPC;
	claimed = claim(a, want, floor);
	if (claimed == 0)
		return -ENOSPC;
	err = find(a, claimed, goal, keep, first, out);
	unclaim(a, err != 0 ? claimed : claimed - out->blocks);
	return err;
}

int alloc_take(struct alloc *a, uint64_t want, uint64_t goal, struct run *out)
{
	uint64_t reserve = atomic_load(&a->reserve);

	return take(a, want, goal, reserve, reserve, own_group(atomic_load(&a->group_count)), out);
}

int alloc_take_promised(struct alloc *a, uint64_t want, uint64_t goal, struct run *out)
{
	uint64_t floor = atomic_load(&a->checkpoint_reserve);

	return take(a, want, goal, floor, floor, own_group(atomic_load(&a->group_count)), out);
}

/* From the first group on: what belongs to no file stays together. */
int alloc_take_meta(struct alloc *a, uint64_t want, enum alloc_use use, struct run *out)
{
	const uint64_t all = atomic_load(&a->reserve), part = atomic_load(&a->checkpoint_reserve);
	const uint64_t floors[] = {all, part, 0, 0}, keeps[] = {all, part, 0, part};
	int err = take(a, want, 0, floors[use], keeps[use], 0, out);
	struct group *g;
	struct node *n, *clash;

	if (err != 0)
		return err;
	g = group_of(a, out->start);
	lock_take(&g->lock);
	n = node_take(g, NODE_ANY);
	if (n != NULL) {
		n->run = *out;
		clash = RB_INSERT(start_tree, &g->meta, n);
		assert(clash == NULL);
	} else {
		free_add(a, g, *out);
		err = -ENOMEM;
	}
	lock_drop(&g->lock);
	return err;
}

int alloc_take_reserved(struct alloc *a, uint64_t want, uint64_t goal, struct run *out)
{
	(void)goal;
	return alloc_take_meta(a, want, ALLOC_CHECKPOINT, out);
}

void alloc_fail_take(struct alloc *a, uint64_t n)
{
	atomic_store(&a->fail_in, n);
}

uint64_t alloc_fail_left(const struct alloc *a)
{
	return atomic_load(&a->fail_in);
}

/* --- giving back ----------------------------------------------------------------------------------------------------
 */

void alloc_undo(struct alloc *a, struct run r)
{
	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		free_add(a, g, piece);
		lock_drop(&g->lock);
	}
}

static void release_meta(struct alloc *a, struct group *g, struct run r)
{
	struct node *n = tree_from(&g->meta, r.start);
	struct run whole;

	assert(n != NULL && n->run.start <= r.start && run_end(r) <= run_end(n->run));
	whole = n->run;
	if (whole.start < r.start) {
		n->run.blocks = r.start - whole.start;
	} else {
		RB_REMOVE(start_tree, &g->meta, n);
		node_put(g, n);
	}
	if (run_end(r) < run_end(whole)) {
		n = node_take(g, NODE_RELEASE);
		/* Without a node the rest is merely no longer known as meta. */
		if (n != NULL) {
			n->run = (struct run){run_end(r), run_end(whole) - run_end(r)};
			RB_INSERT(start_tree, &g->meta, n);
		}
	}
	free_add(a, g, r);
}

void alloc_release_meta(struct alloc *a, struct run r)
{
	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		release_meta(a, g, piece);
		lock_drop(&g->lock);
	}
}

void space_release(struct alloc *a, struct group *g, struct run r, uint64_t seq)
{
	struct node *n;

	if (!a->defer_free) {
		free_add(a, g, r);
		return;
	}
	n = node_take(g, NODE_RELEASE);
	if (n == NULL) {
		run_lost(a, r);
		return;
	}
	n->run = r;
	n->value = seq;
	STAILQ_INSERT_TAIL(&g->pending, n, queue);
	atomic_fetch_add(&a->pending_blocks, r.blocks);
}

/* Records get their numbers in another order than their blocks come here, so the whole list is looked at. */
static void settle(struct alloc *a, struct group *g, uint64_t seq)
{
	struct node_queue kept = STAILQ_HEAD_INITIALIZER(kept);

	while (!STAILQ_EMPTY(&g->pending)) {
		struct node *n = STAILQ_FIRST(&g->pending);
		struct run r = n->run;

		STAILQ_REMOVE_HEAD(&g->pending, queue);
		if (n->value > seq) {
			STAILQ_INSERT_TAIL(&kept, n, queue);
			continue;
		}
		atomic_fetch_sub(&a->pending_blocks, r.blocks);
		node_put(g, n);
		free_add(a, g, r);
	}
	STAILQ_CONCAT(&g->pending, &kept);
}

void alloc_settle(struct alloc *a, uint64_t seq)
{
	unsigned count = atomic_load(&a->group_count);

	for (unsigned k = 0; k < count && atomic_load(&a->pending_blocks) > 0; k++) {
		struct group *g = atomic_load_explicit(&a->groups[k], memory_order_acquire);

		lock_take(&g->lock);
		settle(a, g, seq);
		lock_drop(&g->lock);
	}
}

/* --- mount ----------------------------------------------------------------------------------------------------------
 */

static bool run_inside(struct alloc *a, struct run r)
{
	uint64_t blocks = atomic_load(&a->pool_blocks);

	return r.start >= 1 && r.blocks >= 1 && r.start < blocks - 1 && r.blocks <= blocks - 1 - r.start;
}

static int mark_meta(struct alloc *a, struct group *g, struct run r)
{
	struct node *n = tree_from(&g->free_by_start, r.start);
	int err;

	if (n == NULL || n->run.start > r.start || run_end(r) > run_end(n->run))
		return -EUCLEAN;
	err = nodes_ensure(g, 2);
	if (err != 0)
		return err;
	err = free_cut(a, g, n, r);
	assert(err == 0);
	atomic_fetch_sub(&a->free_blocks, (int64_t)r.blocks);
	n = node_take(g, NODE_ANY);
	n->run = r;
	RB_INSERT(start_tree, &g->meta, n);
	return 0;
}

int alloc_mark_meta(struct alloc *a, struct run r)
{
	int err = run_inside(a, r) ? 0 : -EUCLEAN;

	while (err == 0 && r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		err = mark_meta(a, g, piece);
		lock_drop(&g->lock);
	}
	return err;
}

/* The parts of r that are free become allocated, the others get one reference more. */
static int mark_parts(struct alloc *a, struct group *g, struct run r)
{
	uint64_t at = r.start;
	int err = 0;

	while (err == 0 && at < run_end(r)) {
		struct node *n = tree_from(&g->free_by_start, at);
		struct run part = {at, run_end(r) - at};

		if (n == NULL || n->run.start >= run_end(r)) {
			err = share_add(g, part, false);
		} else if (n->run.start > at) {
			part.blocks = n->run.start - at;
			err = share_add(g, part, false);
		} else {
			part.blocks = min_u64(part.blocks, run_end(n->run) - at);
			err = free_cut(a, g, n, part);
			if (err == 0)
				atomic_fetch_sub(&a->free_blocks, (int64_t)part.blocks);
		}
		at = run_end(part);
	}
	return err;
}

int alloc_mark(struct alloc *a, struct run r)
{
	int err = run_inside(a, r) ? 0 : -EUCLEAN;

	while (err == 0 && r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		err = tree_touches(&g->meta, piece) ? -EUCLEAN : mark_parts(a, g, piece);
		lock_drop(&g->lock);
	}
	return err;
}

/* --- life -----------------------------------------------------------------------------------------------------------
 */

static uint64_t group_size(uint64_t pool_blocks)
{
	uint64_t blocks = round_up_u64(pool_blocks / GROUP_SHARE, HUGE_BLOCKS);

	if (blocks > GROUP_GIB)
		blocks = max_u64(GROUP_GIB, round_up_u64(pool_blocks / GROUP_SHARE_HUGE, HUGE_BLOCKS));
	return max_u64(blocks, GROUP_LEAST);
}

static struct group *group_new(const struct alloc *a, unsigned index)
{
	struct group *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	lock_init_keyed(&g->lock, RANK_ALLOC, index);
	g->end = index == GROUPS_MAX - 1 ? UINT64_MAX : (index + 1) * a->group_blocks;
	RB_INIT(&g->free_by_start);
	RB_INIT(&g->free_by_size);
	RB_INIT(&g->meta);
	RB_INIT(&g->shared);
	RB_INIT(&g->fences);
	RB_INIT(&g->held);
	STAILQ_INIT(&g->pending);
	if (nodes_ensure(g, 1) == 0)
		return g;
	lock_destroy(&g->lock);
	free(g);
	return NULL;
}

static void group_free(struct group *g)
{
	while (g->slabs != NULL) {
		struct slab *s = g->slabs;

		g->slabs = s->next;
		free(s);
	}
	lock_destroy(&g->lock);
	free(g);
}

int groups_grow(struct alloc *a, uint64_t pool_blocks)
{
	unsigned count = group_index(a, pool_blocks - 1) + 1;

	for (unsigned k = atomic_load(&a->group_count); k < count; k++) {
		struct group *g = group_new(a, k);

		if (g == NULL)
			return -ENOMEM;
		atomic_store_explicit(&a->groups[k], g, memory_order_release);
		atomic_store(&a->group_count, k + 1);
	}
	return 0;
}

int alloc_new(uint64_t pool_blocks, bool defer_free, struct alloc **out)
{
	struct alloc *a = calloc(1, sizeof(*a));
	int err;

	assert(pool_blocks > 2);
	if (a == NULL)
		return -ENOMEM;
	atomic_init(&a->pool_blocks, pool_blocks);
	a->group_blocks = group_size(pool_blocks);
	a->defer_free = defer_free;
	err = groups_grow(a, pool_blocks);
	if (err != 0) {
		alloc_free(a);
		return err;
	}
	alloc_undo(a, (struct run){1, pool_blocks - 2});
	*out = a;
	return 0;
}

void alloc_free(struct alloc *a)
{
	if (a == NULL)
		return;
	for (unsigned k = 0; k < atomic_load(&a->group_count); k++)
		group_free(atomic_load(&a->groups[k]));
	free(a);
}

/* --- numbers --------------------------------------------------------------------------------------------------------
 */

void alloc_set_reserve(struct alloc *a, uint64_t blocks)
{
	atomic_store(&a->reserve, blocks);
}

void alloc_set_checkpoint_reserve(struct alloc *a, uint64_t blocks)
{
	atomic_store(&a->checkpoint_reserve, blocks);
}

uint64_t alloc_pool_blocks(const struct alloc *a)
{
	return atomic_load(&a->pool_blocks);
}

uint64_t alloc_free_blocks(struct alloc *a)
{
	int64_t free_blocks = atomic_load(&a->free_blocks);

	return (free_blocks > 0 ? (uint64_t)free_blocks : 0) + atomic_load(&a->pending_blocks);
}

uint64_t alloc_avail_blocks(struct alloc *a)
{
	uint64_t blocks = alloc_free_blocks(a), reserve = atomic_load(&a->reserve);

	return blocks > reserve ? blocks - reserve : 0;
}

uint64_t alloc_pending_blocks(struct alloc *a)
{
	return atomic_load(&a->pending_blocks);
}
