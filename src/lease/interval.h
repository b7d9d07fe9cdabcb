/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pieces of leases overlap a range of one object: a B+ tree by start (then address), where every inner node also
 * knows the greatest end below each child, so that a query goes down one path. Nodes hold what a query looks at
 * (starts, ends, whose it is), not only pointers to it: a query among 10^6 leases reads some ten cache lines where a
 * binary tree of pieces read forty.
 */
#ifndef LH_LEASE_INTERVAL_H
#define LH_LEASE_INTERVAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/types.h"

struct lease;
struct recall;
struct interval_node;

/* PIECE_GOING: released or revoked as soon as it is drained. PIECE_OWN: its pins are being moved, it stays. */
enum piece_work { PIECE_IDLE, PIECE_GOING, PIECE_OWN };

/* One contiguous part of a lease. */
struct piece {
	struct range range;
	struct lease *lease;
	LIST_ENTRY(piece) of_lease;
	struct recall *recall; /* NULL: granted */
	struct piece *batch;   /* next one that the same thread works on */
	uint32_t own_seq;      /* PIECE_OWN: the lease's seq when it was marked */
	uint8_t work;          /* enum piece_work */
	bool pinned;           /* the lease's pins, if it has any, may reach it */
};

/* class: LEASE_READ or LEASE_WRITE, with LEASE_FAULTING. */
#define PIECE_TAG(session, class) ((uint64_t)(session) << 8 | (class))

/* Starts as zeroes. */
struct interval_index {
	struct interval_node *root; /* NULL: nothing was ever in it */
	uint64_t count;
};

void interval_init(struct interval_index *ix);
/* Nothing is in it. */
void interval_fini(struct interval_index *ix);
static inline bool interval_empty(const struct interval_index *ix)
{
	return ix->count == 0;
}
/* -ENOMEM: nothing changed. p->range.start stays as it is while p is in the index. tag: PIECE_TAG, for
 * interval_conflict. */
int interval_insert(struct interval_index *ix, struct piece *p, uint64_t tag);
/* Needs no memory. Keeps a little for the next one when it was the last. */
void interval_remove(struct interval_index *ix, struct piece *p);
/* Moves the end of a piece in the index. */
void interval_set_end(struct interval_index *ix, struct piece *p, uint64_t end);
void interval_set_tag(struct interval_index *ix, struct piece *p, uint64_t tag);
/*
 * Whether a piece of another session than `owner` overlaps that has one of the modes; a faulting one counts only with
 * LEASE_FAULTING among them.
 */
bool interval_conflict(const struct interval_index *ix, struct range range, unsigned modes, uint64_t owner);
/* The pieces that overlap range, by ascending start. interval_next continues after p, which must be in the index. */
struct piece *interval_first(const struct interval_index *ix, struct range range);
struct piece *interval_next(const struct interval_index *ix, const struct piece *p, struct range range);

#endif
