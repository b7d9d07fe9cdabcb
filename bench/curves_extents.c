/* SPDX-License-Identifier: BSD-2-Clause */
/* At 1 to 10^6 extents of a file: lookup, append of a block, punch of one, clone of one, and clone of the whole file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "curves.h"
#include "population.h"

#define EXTENTS_MAX 1000000u
#define LOOKUPS     100000u
#define CHANGES     2000u
#define ROUNDS      5u
#define BLOCK       4096ull

enum change { APPEND, PUNCH, CLONE, CHANGE_KINDS };
static const char *const change_names[CHANGE_KINDS] = {"append a block", "punch a block", "clone a block"};

/* Change number i; each leaves the number of extents as it was, or (append) adds one that the round takes away. */
static int change(struct extents *e, struct lh_file *other, enum change kind, uint64_t i)
{
	uint64_t at = next_random(&e->seed) % e->count * 2 * BLOCK;
	int err;

	switch (kind) {
	case APPEND:
		return lh_file_allocate(e->file, (e->count + i) * 2 * BLOCK, BLOCK, false);
	case PUNCH:
		err = lh_file_punch(e->file, at, BLOCK);
		return err ? err : lh_file_allocate(e->file, at, BLOCK, true);
	case CLONE:
		return lh_file_clone_range(other, i * 2 * BLOCK, e->file, at, BLOCK);
	case CHANGE_KINDS:
		break;
	}
	return -EINVAL;
}

static int change_round(struct extents *e, enum change kind, double *ns)
{
	struct lh_file *other;
	uint64_t start;
	int err = lh_file_open(e->fs, "/other", O_RDWR | O_CREAT | O_TRUNC, 0600, &other);

	if (err)
		return err;
	start = clock_now_ns();
	for (uint64_t i = 0; i < CHANGES && !err; i++)
		err = change(e, other, kind, i);
	*ns = (double)(clock_now_ns() - start) / CHANGES;
	if (!err && kind == APPEND)
		err = lh_file_truncate(e->file, e->count * 2 * BLOCK);
	lh_file_close(other);
	return err;
}

static int clone_whole(struct extents *e, double *us)
{
	struct lh_file *other;
	uint64_t start;
	int err = lh_file_open(e->fs, "/whole", O_RDWR | O_CREAT | O_TRUNC, 0600, &other);

	if (err)
		return err;
	start = clock_now_ns();
	err = lh_file_clone_range(other, 0, e->file, 0, 0);
	*us = (double)(clock_now_ns() - start) / 1e3;
	lh_file_close(other);
	return err ? err : lh_path_unlink(e->fs, "/whole");
}

struct point {
	double lookup, change[CHANGE_KINDS], whole;
};

static int measure(uint64_t count, struct point *out)
{
	double lookup[ROUNDS], ns[CHANGE_KINDS][ROUNDS], whole[ROUNDS];
	struct extents e = {0};
	struct lh_fs *fs;
	int err = lh_fs_open("mem:6G", NULL, &fs);

	if (err)
		return err;
	err = extents_fill(&e, fs, "/file", count);
	for (unsigned k = 0; k < ROUNDS && !err; k++) {
		err = extents_lookup(&e, LOOKUPS, &lookup[k]);
		for (enum change c = APPEND; c < CHANGE_KINDS && !err; c++)
			err = change_round(&e, c, &ns[c][k]);
		if (!err)
			err = clone_whole(&e, &whole[k]);
	}
	if (err)
		fprintf(stderr, "leasehold-bench: %llu extents: %s\n", (unsigned long long)count, lh_error_text());
	extents_close(&e);
	lh_fs_close(fs);
	if (err)
		return err;
	out->lookup = quantile(lookup, ROUNDS, 0.5);
	for (unsigned c = 0; c < CHANGE_KINDS; c++)
		out->change[c] = quantile(ns[c], ROUNDS, 0.5);
	out->whole = quantile(whole, ROUNDS, 0.5);
	return 0;
}

int curves_extents(void)
{
	struct point p[8];
	uint64_t count[8];
	unsigned n = 0;

	for (uint64_t c = 1; c <= EXTENTS_MAX; c *= 10) {
		int err = measure(c, &p[n]);

		if (err)
			return err;
		count[n] = c;
		curve_say("%9llu extents: lookup %.0f ns, append %.0f ns, punch %.0f ns, clone of a block %.0f ns, of "
			  "all %.0f us",
			  (unsigned long long)c, p[n].lookup, p[n].change[APPEND], p[n].change[PUNCH],
			  p[n].change[CLONE], p[n].whole);
		n++;
	}
	curve_figure("extents_cost", "Cost of an operation on a file", "extents of the file", "ns", LOG_X);
	for (unsigned i = 0; i < n; i++) {
		curve_point("lookup (read of 8 bytes)", (double)count[i], p[i].lookup);
		for (unsigned c = 0; c < CHANGE_KINDS; c++)
			curve_point(change_names[c], (double)count[i], p[i].change[c]);
	}
	curve_figure("extents_clone", "Clone of a whole file", "extents of the file", "us", LOG_X | LOG_Y);
	for (unsigned i = 0; i < n; i++)
		curve_point("clone", (double)count[i], p[i].whole);
	return 0;
}
