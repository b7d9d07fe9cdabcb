/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pool that is 50, 90 and 99 % full, fresh and aged: how long an allocation of 1 MiB takes and how long its runs are.
 * Aged: files of 16 KiB to 4 MiB are removed and made again until AGE_TURNS times the pool's content has been replaced,
 * which is what a busy day does to a store.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "curves.h"

#define POOL_TEXT   "mem:4G"
#define FILE_MIN    (16u << 10)
#define FILE_SPAN   (4u << 20)
#define FILES_MAX   65536u
#define AGE_TURNS   5u
#define AGE_STEP    64u
#define PROBE_BYTES (1ull << 20)
#define PROBES      200u
#define RUNS_ROOM   512u

struct aged {
	struct lh_fs *fs;
	uint64_t bytes[FILES_MAX]; /* 0: not there */
	uint64_t used, limit, seed;
	unsigned files;
	unsigned empty[FILES_MAX]; /* a ring of slots to fill again */
	uint64_t empties, refilled;
};

/* Small files are much more frequent than large ones. */
static uint64_t file_bytes(struct aged *a)
{
	uint64_t span = FILE_SPAN >> (next_random(&a->seed) % 8);

	return (FILE_MIN + next_random(&a->seed) % span + 4095) & ~4095ull;
}

static int file_make(struct aged *a, unsigned slot)
{
	struct lh_file *file;
	uint64_t bytes = file_bytes(a);
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/file-%05u", slot);
	err = lh_file_open(a->fs, path, O_RDWR | O_CREAT, 0600, &file);
	if (err)
		return err;
	err = lh_file_allocate(file, 0, bytes, false);
	lh_file_close(file);
	if (!err) {
		a->bytes[slot] = bytes;
		a->used += bytes;
	}
	return err;
}

static int file_remove(struct aged *a, unsigned slot)
{
	char path[64];

	snprintf(path, sizeof(path), "/file-%05u", slot);
	a->used -= a->bytes[slot];
	a->bytes[slot] = 0;
	return lh_path_unlink(a->fs, path);
}

static int fill(struct aged *a)
{
	int err = 0;

	while (a->used < a->limit && a->files < FILES_MAX && !err)
		err = file_make(a, a->files++);
	return err;
}

/* Removes some at random, then makes them anew with other sizes as long as there is room. */
static int age(struct aged *a)
{
	uint64_t moved = 0;
	int err = 0;

	while (moved < AGE_TURNS * a->limit && !err) {
		for (unsigned k = 0; k < AGE_STEP && !err; k++) {
			unsigned slot = (unsigned)(next_random(&a->seed) % a->files);

			moved += a->bytes[slot];
			if (a->bytes[slot])
				err = file_remove(a, slot);
			if (!err)
				a->empty[a->empties++ % FILES_MAX] = slot;
		}
		while (a->used < a->limit && a->empties > a->refilled && !err) {
			unsigned slot = a->empty[a->refilled++ % FILES_MAX];

			if (!a->bytes[slot])
				err = file_make(a, slot);
		}
		/* More room than removed files: new ones. */
		while (a->used < a->limit && a->files < FILES_MAX && !err)
			err = file_make(a, a->files++);
	}
	return err;
}

/* Allocates 1 MiB and gives it back, PROBES times: the median time and the mean run length in KiB. */
static int probe(struct lh_fs *fs, double *us, double *run_kib)
{
	static struct lh_extent extents[RUNS_ROOM];
	double times[PROBES];
	uint64_t runs = 0;
	int err = 0;

	for (unsigned i = 0; i < PROBES && !err; i++) {
		struct lh_file *file;
		uint64_t start;

		err = lh_file_open(fs, "/probe", O_RDWR | O_CREAT, 0600, &file);
		if (err)
			break;
		start = clock_now_ns();
		err = lh_file_allocate(file, 0, PROBE_BYTES, false);
		times[i] = (double)(clock_now_ns() - start) / 1e3;
		if (!err) {
			int n = lh_file_extents(file, 0, PROBE_BYTES, extents, RUNS_ROOM);

			err = n < 0 ? n : 0;
			runs += err ? 0 : (uint64_t)n;
		}
		lh_file_close(file);
		if (!err)
			err = lh_path_unlink(fs, "/probe");
	}
	if (err)
		return err;
	*us = quantile(times, PROBES, 0.5);
	*run_kib = (double)PROBE_BYTES / 1024 * PROBES / (double)runs;
	return 0;
}

static int measure(unsigned percent, double us[2], double run_kib[2])
{
	struct aged *a = calloc(1, sizeof(*a));
	struct lh_statfs st = {.size = sizeof(st)};
	int err;

	if (!a)
		return -ENOMEM;
	err = lh_fs_open(POOL_TEXT, NULL, &a->fs);
	if (!err)
		err = lh_fs_stat(a->fs, &st);
	a->seed = 0x9e3779b97f4a7c15ull;
	a->limit = st.avail_blocks * st.block_size / 100 * percent - 2 * PROBE_BYTES;
	/* The last file may go beyond the limit by its size. */
	a->limit -= FILE_SPAN;
	if (!err)
		err = fill(a);
	if (!err)
		err = probe(a->fs, &us[0], &run_kib[0]);
	if (!err)
		err = age(a);
	if (!err)
		err = probe(a->fs, &us[1], &run_kib[1]);
	if (err)
		fprintf(stderr, "leasehold-bench: %u %% full: %s\n", percent, lh_error_text());
	lh_fs_close(a->fs);
	free(a);
	return err;
}

int curves_space(void)
{
	static const unsigned percent[] = {10, 50, 90, 99};
	double us[ARRAY_LEN(percent)][2], run[ARRAY_LEN(percent)][2];

	for (unsigned k = 0; k < ARRAY_LEN(percent); k++) {
		int err = measure(percent[k], us[k], run[k]);

		if (err)
			return err;
		curve_say("%2u %% full: 1 MiB in %.1f us, runs of %.0f KiB; aged: %.1f us, %.0f KiB", percent[k],
			  us[k][0], run[k][0], us[k][1], run[k][1]);
	}
	curve_figure("space_time", "Allocation of 1 MiB in a pool of 4 GiB", "percent full", "us", LOG_Y);
	for (unsigned k = 0; k < ARRAY_LEN(percent); k++) {
		curve_point("fresh", percent[k], us[k][0]);
		curve_point("aged", percent[k], us[k][1]);
	}
	curve_figure("space_runs", "Mean run of such an allocation", "percent full", "KiB", LOG_Y);
	for (unsigned k = 0; k < ARRAY_LEN(percent); k++) {
		curve_point("fresh", percent[k], run[k][0]);
		curve_point("aged", percent[k], run[k][1]);
	}
	return 0;
}
