/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A list of runs of blocks with a name each: what lies where, as an offline tool sees it. Kept apart from the
 * filesystem's allocator, so that a mistake there is not repeated here. Costs memory per run, nothing per block.
 */
#ifndef LH_TOOLS_RUNS_H
#define LH_TOOLS_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/alloc.h"

struct runs_one {
	struct run run;
	const char *what; /* static text */
};
struct runs {
	struct runs_one *list;
	uint64_t count, room;
	bool sorted;
};

/* -ENOMEM. Empty runs are left out. */
int runs_add(struct runs *r, struct run run, const char *what);
/* By start. Needed before the calls below. */
void runs_sort(struct runs *r);
/* The first of the list (sorted) that lies over `run`; NULL: none. `longest`: no run of the list has more blocks. */
const struct runs_one *runs_over(const struct runs *r, struct run run, uint64_t longest);
uint64_t runs_longest(const struct runs *r);
/*
 * The first gap at or behind *from of up to `want` blocks between the runs (sorted), below `end`. *at is a cursor: 0 at
 * first, and *from only grows. false: nothing is free any more.
 */
bool runs_gap(const struct runs *r, uint64_t *at, uint64_t *from, uint64_t end, uint64_t want, struct run *out);
void runs_fini(struct runs *r);

#endif
