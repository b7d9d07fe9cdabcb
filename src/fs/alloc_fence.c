/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that are not to be handed out, because they fail (BAD) or because they are being emptied (MOVING), and pools
 * that change their size. A fence says which blocks; of those, the ones that nobody uses are held: when all of a
 * fenced run is held, nothing is in it any more.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/alloc_impl.h"

/* The next part of r from `at` on that no fence covers; blocks 0: none. */
static struct run unfenced_from(struct group *g, struct run r, uint64_t at)
{
	struct node *n;

	while (at < run_end(r)) {
		n = tree_from(&g->fences, at);
		if (n == NULL || n->run.start >= run_end(r))
			return (struct run){at, run_end(r) - at};
		if (n->run.start > at)
			return (struct run){at, n->run.start - at};
		at = run_end(n->run);
	}
	return (struct run){0, 0};
}

/* How many nodes fence_piece can need. */
static uint64_t nodes_for(struct group *g, struct run r)
{
	uint64_t count = 4;

	for (struct node *n = tree_from(&g->fences, r.start); n != NULL && n->run.start < run_end(r);
	     n = RB_NEXT(start_tree, &g->fences, n))
		count += 2;
	for (struct node *n = tree_from(&g->free_by_start, r.start); n != NULL && n->run.start < run_end(r);
	     n = RB_NEXT(start_tree, &g->free_by_start, n))
		count += 3;
	return count;
}

/* Makes `block` a border between fences. Nodes are there. */
static void fence_split(struct group *g, uint64_t block)
{
	struct node *n = tree_from(&g->fences, block), *right;

	if (n == NULL || n->run.start >= block)
		return;
	right = node_take(g, NODE_RELEASE);
	assert(right != NULL);
	right->run = (struct run){block, run_end(n->run) - block};
	right->value = n->value;
	n->run.blocks = block - n->run.start;
	RB_INSERT(start_tree, &g->fences, right);
}

/* What is free in r is held from now on. */
static void free_to_held(struct alloc *a, struct group *g, struct run r)
{
	struct node *n;

	while ((n = tree_from(&g->free_by_start, r.start)) != NULL && n->run.start < run_end(r)) {
		uint64_t from = max_u64(n->run.start, r.start);
		struct run part = {from, min_u64(run_end(n->run), run_end(r)) - from};
		int err = free_cut(a, g, n, part);

		assert(err == 0);
		(void)err;
		atomic_fetch_sub(&a->free_blocks, (int64_t)part.blocks);
		free_add(a, g, part);
	}
}

static int fence_piece(struct alloc *a, struct group *g, struct run r, enum alloc_fence kind)
{
	struct run part;
	int err = nodes_ensure(g, nodes_for(g, r));

	if (err != 0)
		return err;
	fence_split(g, r.start);
	fence_split(g, run_end(r));
	for (struct node *n = tree_from(&g->fences, r.start); n != NULL && n->run.start < run_end(r);
	     n = RB_NEXT(start_tree, &g->fences, n)) {
		if (kind == ALLOC_FENCE_BAD)
			n->value = kind;
	}
	for (part = unfenced_from(g, r, r.start); part.blocks > 0; part = unfenced_from(g, r, run_end(part))) {
		struct node *n = node_take(g, NODE_RELEASE);

		assert(n != NULL);
		n->run = part;
		n->value = kind;
		RB_INSERT(start_tree, &g->fences, n);
	}
	free_to_held(a, g, r);
	return 0;
}

int alloc_fence(struct alloc *a, struct run r, enum alloc_fence kind)
{
	struct run rest = r;
	int err = 0;

	while (err == 0 && rest.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &rest, &g);

		lock_take(&g->lock);
		err = fence_piece(a, g, piece, kind);
		lock_drop(&g->lock);
		if (err != 0 && piece.start > r.start) {
			struct run done = {r.start, piece.start - r.start};

			if (kind == ALLOC_FENCE_BAD)
				alloc_unfence_bad(a, done);
			else
				alloc_unfence(a, done);
		}
	}
	return err;
}

/* What is held in r is free again where no fence is left. */
static void held_to_free(struct alloc *a, struct group *g, struct run r)
{
	struct node *n = tree_from(&g->held, r.start);

	while (n != NULL && n->run.start < run_end(r)) {
		struct node *next = RB_NEXT(start_tree, &g->held, n);
		struct run whole = n->run;

		RB_REMOVE(start_tree, &g->held, n);
		atomic_fetch_sub(&a->held_blocks, whole.blocks);
		node_put(g, n);
		/* Comes back here where it is still fenced, in front of `next`. */
		free_add(a, g, whole);
		n = next;
	}
}

static void unfence(struct alloc *a, struct run r, enum alloc_fence kind)
{
	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);
		struct node *n, *next;

		lock_take(&g->lock);
		fence_split(g, piece.start);
		fence_split(g, run_end(piece));
		for (n = tree_from(&g->fences, piece.start); n != NULL && n->run.start < run_end(piece); n = next) {
			next = RB_NEXT(start_tree, &g->fences, n);
			if (n->value != kind)
				continue;
			RB_REMOVE(start_tree, &g->fences, n);
			node_put(g, n);
		}
		held_to_free(a, g, piece);
		lock_drop(&g->lock);
	}
}

void alloc_unfence(struct alloc *a, struct run r)
{
	unfence(a, r, ALLOC_FENCE_MOVING);
}

void alloc_unfence_bad(struct alloc *a, struct run r)
{
	unfence(a, r, ALLOC_FENCE_BAD);
}

void alloc_bad_to_moving(struct alloc *a, struct run r)
{
	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		fence_split(g, piece.start);
		fence_split(g, run_end(piece));
		for (struct node *n = tree_from(&g->fences, piece.start); n != NULL && n->run.start < run_end(piece);
		     n = RB_NEXT(start_tree, &g->fences, n))
			n->value = ALLOC_FENCE_MOVING;
		lock_drop(&g->lock);
	}
}

static uint64_t sum_in(struct start_tree *t, struct run r)
{
	uint64_t sum = 0;

	for (struct node *n = tree_from(t, r.start); n != NULL && n->run.start < run_end(r);
	     n = RB_NEXT(start_tree, t, n))
		sum += min_u64(run_end(n->run), run_end(r)) - max_u64(n->run.start, r.start);
	return sum;
}

uint64_t alloc_held(struct alloc *a, struct run r)
{
	uint64_t sum = 0;

	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		sum += sum_in(&g->held, piece);
		lock_drop(&g->lock);
	}
	return sum;
}

uint64_t alloc_free_in(struct alloc *a, struct run r)
{
	uint64_t sum = 0;

	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		sum += sum_in(&g->free_by_start, piece);
		lock_drop(&g->lock);
	}
	return sum;
}

uint64_t alloc_held_blocks(struct alloc *a)
{
	return atomic_load(&a->held_blocks);
}

struct run alloc_bad_from(struct alloc *a, uint64_t block)
{
	struct run rest = {block, 0}, found = {0, 0};

	if (block >= alloc_pool_blocks(a))
		return found;
	rest.blocks = alloc_pool_blocks(a) - block;
	while (found.blocks == 0 && rest.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &rest, &g);
		struct node *n;

		lock_take(&g->lock);
		n = tree_from(&g->fences, piece.start);
		while (n != NULL && n->value != ALLOC_FENCE_BAD)
			n = RB_NEXT(start_tree, &g->fences, n);
		if (n != NULL)
			found = n->run;
		lock_drop(&g->lock);
	}
	return found;
}

/* --- another size ---------------------------------------------------------------------------------------------------
 */

/* Everything of r is held, under fences: gone. */
static void forget(struct alloc *a, struct group *g, struct run r)
{
	struct node *n, *next;

	assert(sum_in(&g->held, r) == r.blocks);
	fence_split(g, r.start);
	for (n = tree_from(&g->fences, r.start); n != NULL; n = next) {
		next = RB_NEXT(start_tree, &g->fences, n);
		RB_REMOVE(start_tree, &g->fences, n);
		node_put(g, n);
	}
	for (n = tree_from(&g->held, r.start); n != NULL; n = next) {
		uint64_t keep = n->run.start < r.start ? r.start - n->run.start : 0;

		next = RB_NEXT(start_tree, &g->held, n);
		atomic_fetch_sub(&a->held_blocks, n->run.blocks - keep);
		n->run.blocks = keep;
		if (keep > 0)
			continue;
		RB_REMOVE(start_tree, &g->held, n);
		node_put(g, n);
	}
}

int alloc_resize_prepare(struct alloc *a, uint64_t pool_blocks)
{
	return groups_grow(a, pool_blocks);
}

int alloc_resize(struct alloc *a, uint64_t pool_blocks)
{
	uint64_t old = atomic_load(&a->pool_blocks);
	struct run r = {pool_blocks - 1, old - pool_blocks};
	int err;

	if (pool_blocks == old)
		return 0;
	if (pool_blocks > old) {
		err = groups_grow(a, pool_blocks);
		if (err != 0)
			return err;
		atomic_store(&a->pool_blocks, pool_blocks);
		alloc_undo(a, (struct run){old - 1, pool_blocks - old});
		return 0;
	}
	atomic_store(&a->pool_blocks, pool_blocks);
	while (r.blocks > 0) {
		struct group *g;
		struct run piece = run_cut(a, &r, &g);

		lock_take(&g->lock);
		forget(a, g, piece);
		lock_drop(&g->lock);
	}
	return 0;
}
