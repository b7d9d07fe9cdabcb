/* SPDX-License-Identifier: BSD-2-Clause */
/* What alloc.c (free space, log and checkpoint space) and share.c (reference counts) share. Everything under ALLOC. */
#ifndef LH_FS_ALLOC_IMPL_H
#define LH_FS_ALLOC_IMPL_H

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "base/lock.h"
#include "fs/alloc.h"

/*
 * A run of blocks in one of the maps: free (both trees), meta (by_start), shared (by_start; value is the reference
 * count), pending (queue; value is the record's number).
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
struct alloc {
	struct lock lock;
	uint64_t pool_blocks;
	bool defer_free;
	struct start_tree free_by_start;
	struct size_tree free_by_size;
	struct start_tree meta;
	struct start_tree shared;
	struct node_queue pending;
	uint64_t free_blocks, pending_blocks, reserve;
	uint64_t lost_blocks; /* leaked until the next mount because a node could not be had */
	struct node *unused;
	uint64_t unused_count;
	uint64_t promised; /* unused nodes that alloc_share_prepare promised away */
	struct slab *slabs;
};

RB_PROTOTYPE(start_tree, node, by_start, node_start_cmp)

int node_start_cmp(struct node *a, struct node *b);

static inline uint64_t run_end(struct run r)
{
	return r.start + r.blocks;
}

/* Makes sure that `count` nodes beyond the promised ones are there. -ENOMEM. */
int nodes_ensure(struct alloc *a, uint64_t count);
/* NULL when memory is out and only promised ones are left, unless `promised`. */
struct node *node_take(struct alloc *a, bool promised);
void node_put(struct alloc *a, struct node *n);
/* The first run of the tree that ends after block. */
struct node *tree_from(struct start_tree *t, uint64_t block);

/* Blocks whose last reference went. */
void space_release(struct alloc *a, struct run r, uint64_t seq);
/* Takes the run out of free space, which must hold all of it. -ENOMEM. */
int space_claim(struct alloc *a, struct run r);
/* One reference more, by a node of the promised ones or (mount) of fresh ones: -ENOMEM. */
int share_add(struct alloc *a, struct run r, bool promised);

#endif
