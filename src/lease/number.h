/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lease number -> lease, for one shard: linear hashing. The table grows and shrinks by one bucket at a time, so that no
 * grant ever pays for moving a million entries. Numbers are handed out in order, so that the low bits spread them
 * evenly.
 */
#ifndef LH_LEASE_NUMBER_H
#define LH_LEASE_NUMBER_H

#include <stdint.h>

struct lease;

#define NUMBER_SEGMENT 64u /* buckets a segment */

struct number_table {
	struct lease ***segments;
	unsigned segments_max; /* room in segments */
	unsigned low;          /* power of two; buckets is in [low, 2 low) */
	unsigned buckets;
	unsigned count;
};

/* 0, or -ENOMEM. The number must not be there. */
int number_insert(struct number_table *t, struct lease *l);
void number_remove(struct number_table *t, struct lease *l);
struct lease *number_find(const struct number_table *t, uint64_t number);
/* Calls each() for every lease; it must not change the table. */
void number_each(const struct number_table *t, void (*each)(void *ctx, struct lease *l), void *ctx);
void number_fini(struct number_table *t);

#endif
