/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What alloc.c (free space, log and checkpoint space), share.c (reference counts) and alloc_fence.c (blocks that are
 * not handed out; other sizes) share.
 *
 * The pool is cut into groups of equal size. Everything that is known about a block is known by its group, under the
 * group's lock: no node spans a border, and whoever has a run that does works piece by piece. Never two groups' locks
 * at once. What all groups sum up to is in atomic counters.
 */
#ifndef LH_FS_ALLOC_IMPL_H
#define LH_FS_ALLOC_IMPL_H

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "base/types.h"
#include "fs/alloc.h"

#define GROUPS_MAX 4096u
/* Runs that any item of log and checkpoint fits in. */
#define LONG_BLOCKS 32u

/*
 * A run of blocks in one of the maps: free (both trees), meta (by_start), shared (by_start; value is the reference
 * count), pending (queue; value is the record's number), fence (by_start; value is an enum alloc_fence), held
 * (by_start).
 */
struct node {
	RB_ENTRY(node) by_start;
	union {
		RB_ENTRY(node) by_size;
		STAILQ_ENTRY(node) queue;
		struct node *next_unused;
	};
	struct run run;
	uint64_t value;
};

RB_HEAD(start_tree, node);
RB_HEAD(size_tree, node);
STAILQ_HEAD(node_queue, node);

struct slab;
struct group {
	struct lock lock;
	uint64_t end; /* the first block of the next group */
	struct start_tree free_by_start;
	struct size_tree free_by_size;
	struct start_tree meta, shared;
	struct start_tree fences; /* blocks not to be handed out */
	struct start_tree held;   /* those of them that nobody uses */
	struct node_queue pending;
	_Atomic uint64_t largest; /* free run; a hint without the lock */
	struct node *unused;
	uint64_t unused_count;
	uint64_t promised; /* unused nodes that alloc_share_prepare promised away */
	struct slab *slabs;
};

struct alloc {
	_Atomic uint64_t pool_blocks;
	uint64_t group_blocks;
	bool defer_free;
	/* Free blocks that nobody has claimed: a taker claims first and looks for a place then. */
	_Atomic int64_t free_blocks;
	_Atomic uint64_t pending_blocks, held_blocks, reserve, checkpoint_reserve;
	_Atomic uint64_t long_blocks; /* free blocks in runs of at least LONG_BLOCKS */
	_Atomic uint64_t lost_blocks; /* leaked until the next mount because a node could not be had */
	_Atomic uint64_t fail_in;     /* tests: the take that fails, counted down; 0: none */
	_Atomic unsigned group_count;
	struct group *_Atomic groups[GROUPS_MAX];
};

RB_PROTOTYPE(start_tree, node, by_start, node_start_cmp)

int node_start_cmp(struct node *a, struct node *b);

static inline uint64_t run_end(struct run r)
{
	return r.start + r.blocks;
}

static inline unsigned group_index(const struct alloc *a, uint64_t block)
{
	return (unsigned)min_u64(block / a->group_blocks, GROUPS_MAX - 1);
}
/* Of a block inside the pool. */
static inline struct group *group_of(const struct alloc *a, uint64_t block)
{
	return atomic_load_explicit(&a->groups[group_index(a, block)], memory_order_acquire);
}
/* Takes the part of the run that lies in its first group off its front. */
static inline struct run run_cut(const struct alloc *a, struct run *r, struct group **g)
{
	struct run piece = *r;

	*g = group_of(a, r->start);
	piece.blocks = min_u64(r->blocks, (*g)->end - r->start);
	r->start += piece.blocks;
	r->blocks -= piece.blocks;
	return piece;
}

/* From here on under the group's lock. */

/*
 * Makes sure that `count` nodes beyond the promised ones are there, and beyond those that are kept back for releases.
 * -ENOMEM.
 */
int nodes_ensure(struct group *g, uint64_t count);
/* Who asks for a node: what may fail, a share that was promised it, or a release, which must not fail. */
enum node_use { NODE_ANY, NODE_PROMISED, NODE_RELEASE };
struct node *node_take(struct group *g, enum node_use use);
void node_put(struct group *g, struct node *n);
/* The first run of the tree that ends after block. */
struct node *tree_from(struct start_tree *t, uint64_t block);
bool tree_touches(struct start_tree *t, struct run r);

/* Blocks whose last reference went. */
void space_release(struct alloc *a, struct group *g, struct run r, uint64_t seq);
/* Takes a part out of a free run. -ENOMEM when it lies in the middle and there is no node. The claim is the caller's.
 */
int free_cut(struct alloc *a, struct group *g, struct node *n, struct run r);
/* Adds a run to free space (and its blocks to what can be claimed), or to the held blocks where there is a fence. */
void free_add(struct alloc *a, struct group *g, struct run r);
/* One reference more, by a node of the promised ones or (mount) of fresh ones: -ENOMEM. */
int share_add(struct group *g, struct run r, bool promised);

/* Makes groups so that the pool can have so many blocks. No lock held. -ENOMEM. */
int groups_grow(struct alloc *a, uint64_t pool_blocks);

#endif
