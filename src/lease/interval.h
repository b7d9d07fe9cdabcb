/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pieces of leases overlap a range of one object: a red-black tree by start (then address), where every node also
 * knows the greatest end below it, so that a query costs the depth of the tree plus what it finds.
 */
#ifndef LH_LEASE_INTERVAL_H
#define LH_LEASE_INTERVAL_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/types.h"

struct lease;
struct recall;

/* PIECE_GOING: released or revoked as soon as it is drained. PIECE_OWN: its pins are being moved, it stays. */
enum piece_work { PIECE_IDLE, PIECE_GOING, PIECE_OWN };

/* One contiguous part of a lease. */
struct piece {
	RB_ENTRY(piece) node;
	struct range range;
	uint64_t max_end; /* greatest end in the subtree */
	struct lease *lease;
	LIST_ENTRY(piece) of_lease;
	struct recall *recall; /* NULL: granted */
	struct piece *batch;   /* next one that the same thread works on */
	uint32_t own_seq;      /* PIECE_OWN: the lease's seq when it was marked */
	uint8_t work;          /* enum piece_work */
	bool pinned;           /* the lease's pins, if it has any, may reach it */
};

RB_HEAD(piece_tree, piece);
struct interval_index {
	struct piece_tree tree;
};

void interval_init(struct interval_index *ix);
static inline bool interval_empty(const struct interval_index *ix)
{
	return ix->tree.rbh_root == NULL;
}
void interval_insert(struct interval_index *ix, struct piece *p);
void interval_remove(struct interval_index *ix, struct piece *p);
/* Moves the end of a piece in the index. */
void interval_set_end(struct piece *p, uint64_t end);
/* The pieces that overlap range, by ascending start. interval_next continues after p, which must be in the index. */
struct piece *interval_first(const struct interval_index *ix, struct range range);
struct piece *interval_next(struct piece *p, struct range range);

#endif
