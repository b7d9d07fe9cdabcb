/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The runs of a lease: which bytes of the file a key reaches. Ascending, not overlapping. A run without a key is a hole
 * and reads as zeroes; what no run covers is unknown and faults.
 *
 * Cutting never fails: an event that takes something away must take effect also without memory. When a run would have
 * to be split and there is none, the rest behind the cut becomes unknown too, which costs a fault. No locks, no I/O.
 */
#ifndef LH_CLIENT_MAP_H
#define LH_CLIENT_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

/* A lease has at most this many; what does not fit stays unknown. */
#define MAP_RUNS_MAX 65536u

struct run {
	struct range range; /* bytes of the file */
	uint64_t key;       /* 0: a hole */
	uint64_t key_off;   /* where range.start is */
	uint64_t lease;     /* the number under which the run was granted */
};

struct map {
	struct run *runs;
	unsigned count, room;
};

#define MAP_ANY_LEASE 0u

void map_free(struct map *m);
/* Forgets what is in r, of this lease only, or of all with MAP_ANY_LEASE. true: something was there. */
bool map_cut(struct map *m, struct range r, uint64_t lease);
/* Puts run in place of whatever its range covered. -ENOMEM, -ENOSPC: the range is unknown now. */
int map_put(struct map *m, const struct run *run);
/* The same for n runs, ascending and apart; what finds no memory is unknown now. */
void map_put_all(struct map *m, const struct run *runs, unsigned n);
/* The index of the first run that ends behind off; m->count: none. */
unsigned map_find(const struct map *m, uint64_t off);
/* The run that holds off, or NULL. */
const struct run *map_at(const struct map *m, uint64_t off);
/* The unknown bytes around off, inside window; empty when off is known. */
struct range map_gap(const struct map *m, uint64_t off, struct range window);
bool map_covers(const struct map *m, struct range r);

#endif
