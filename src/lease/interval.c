/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interval index. libbsd's tree calls RB_AUGMENT for the nodes whose links change, not for all above them, so
 * insert and remove walk once from the deepest changed node to the root. That suffices: a node that is no ancestor of
 * that place in the final tree had only unchanged subtrees when a rotation recomputed it.
 */
#include <stddef.h>
#include <stdint.h>

struct piece;
static void piece_augment(struct piece *p);
#define RB_AUGMENT(p) piece_augment(p)

#include "lease/interval.h"

static void piece_augment(struct piece *p)
{
	const struct piece *l = RB_LEFT(p, node);
	const struct piece *r = RB_RIGHT(p, node);
	uint64_t end = p->range.end;

	if (l && l->max_end > end)
		end = l->max_end;
	if (r && r->max_end > end)
		end = r->max_end;
	p->max_end = end;
}

static int piece_cmp(const struct piece *a, const struct piece *b)
{
	if (a->range.start != b->range.start)
		return a->range.start < b->range.start ? -1 : 1;
	if (a == b)
		return 0;
	return (uintptr_t)a < (uintptr_t)b ? -1 : 1;
}

RB_GENERATE_INTERNAL(piece_tree, piece, node, piece_cmp, __attribute__((unused)) static)

static void augment_up(struct piece *p)
{
	for (; p; p = RB_PARENT(p, node))
		piece_augment(p);
}

void interval_init(struct interval_index *ix)
{
	RB_INIT(&ix->tree);
}

void interval_insert(struct interval_index *ix, struct piece *p)
{
	struct piece *twin;

	p->max_end = p->range.end;
	twin = RB_INSERT(piece_tree, &ix->tree, p);
	assert(!twin);
	(void)twin;
	augment_up(p);
}

/* The deepest node whose subtree loses p: the parent of what the tree really unlinks. */
static struct piece *unlink_place(struct piece *p)
{
	struct piece *next;

	if (!RB_LEFT(p, node) || !RB_RIGHT(p, node))
		return RB_PARENT(p, node);
	next = RB_RIGHT(p, node);
	while (RB_LEFT(next, node))
		next = RB_LEFT(next, node);
	return RB_PARENT(next, node) == p ? next : RB_PARENT(next, node);
}

void interval_remove(struct interval_index *ix, struct piece *p)
{
	struct piece *place = unlink_place(p);

	RB_REMOVE(piece_tree, &ix->tree, p);
	augment_up(place);
}

void interval_set_end(struct piece *p, uint64_t end)
{
	p->range.end = end;
	augment_up(p);
}

/* The leftmost piece below p that ends after range.start and starts before range.end. */
static struct piece *subtree_first(struct piece *p, struct range range)
{
	while (p && p->max_end > range.start) {
		struct piece *l = RB_LEFT(p, node);

		/* If one on the left reaches far enough, the answer is there: all start before p does. */
		if (l && l->max_end > range.start) {
			p = l;
			continue;
		}
		if (p->range.start >= range.end)
			return NULL;
		if (p->range.end > range.start)
			return p;
		p = RB_RIGHT(p, node);
	}
	return NULL;
}

struct piece *interval_first(const struct interval_index *ix, struct range range)
{
	return range_empty(range) ? NULL : subtree_first(RB_ROOT(&ix->tree), range);
}

struct piece *interval_next(struct piece *p, struct range range)
{
	for (;;) {
		struct piece *r = RB_RIGHT(p, node);
		struct piece *from;

		if (r && r->max_end > range.start)
			return subtree_first(r, range);
		do {
			from = p;
			p = RB_PARENT(p, node);
		} while (p && from == RB_RIGHT(p, node));
		if (!p || p->range.start >= range.end)
			return NULL;
		if (p->range.end > range.start)
			return p;
	}
}
