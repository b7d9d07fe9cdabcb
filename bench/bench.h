/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The benchmark's rows. A row measures ours and a peer in pairs, interleaved, in one run (docs/benchmarks.md). `ours`
 * and `peer` return one figure of one round; a time when `rate` is false (smaller is better), a rate otherwise.
 */
#ifndef LH_BENCH_BENCH_H
#define LH_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHY_MAX 256

struct row {
	const char *name, *unit, *peer_name;
	double goal;
	bool rate;
	/* prepare runs once before any row of the run measures (it may fork); ready right before the row's first round.
	 * NULL: nothing to do. -errno and a reason skip the row. */
	int (*prepare)(const struct row *r, char *why);
	int (*ready)(const struct row *r, char *why);
	int (*ours)(const struct row *r, double *out);
	int (*peer)(const struct row *r, double *out);
	void (*done)(const struct row *r);
	/* After the row's line: what else people look at (a table, a histogram), and the same for bench.json, where it
	 * is the row's "details" (the caller frees it). NULL: nothing. */
	void (*report)(const struct row *r);
	struct json_t *(*details)(const struct row *r);
	/* A count that must be 0: ratio is 1 when every round of ours was, else 0. */
	bool must_be_zero;
	/* The row's parameters, as its functions need them. */
	size_t len;
	unsigned depth;
	bool write;
};

extern const struct row direct_rows[], local_rows[], lease_rows[], remote_rows[], stream_rows[], ledger_rows[],
    ttl_rows[], meta_rows[], space_rows[], growth_rows[], fault_rows[], mount_rows[], job_rows[], fio_rows[];
extern const unsigned direct_row_count, local_row_count, lease_row_count, remote_row_count, stream_row_count,
    ledger_row_count, ttl_row_count, meta_row_count, space_row_count, growth_row_count, fault_row_count,
    mount_row_count, job_row_count, fio_row_count;

/* After the last row: stops processes, removes files. */
void direct_finish(void);
void local_finish(void);
void lease_finish(void);
void remote_finish(void);
void stream_finish(void);
void meta_finish(void);
void space_finish(void);
void growth_finish(void);
void job_finish(void);
void mount_finish(void);
void fio_finish(void);

/* Sorts v; the p-quantile (0 to 1). */
double quantile(double *v, unsigned count, double p);
uint64_t quantile_u64(uint64_t *v, unsigned count, double p);
/* A fast generator of offsets; the same for both sides of a pair. */
uint64_t next_random(uint64_t *seed);
/* A directory of ours on tmpfs, made at first use and removed at exit; NULL when /dev/shm is not usable. */
const char *tmpfs_dir(void);
int bench_skip(char *why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
