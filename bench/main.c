/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold-bench: chooses rows, runs ours and the peer in turn, prints a table, writes JSON. Rows are in rows_*.c. */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/types.h"
#include "bench.h"
#include "curves.h"
#include "loop_peer.h"

#define ROWS_MAX    96
#define PAIRS_MIN   9
#define PAIRS_MAX   99
#define PATTERN_MAX 16

struct result {
	const struct row *row;
	double ours, peer, ratio, spread;
	unsigned pairs;
	char skipped[WHY_MAX];
};

static char tmp_path[64];

double quantile(double *v, unsigned count, double p)
{
	for (unsigned i = 1; i < count; i++) {
		double x = v[i];
		unsigned j = i;

		for (; j > 0 && v[j - 1] > x; j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
	return v[(unsigned)(p * (count - 1) + 0.5)];
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t quantile_u64(uint64_t *v, unsigned count, double p)
{
	qsort(v, count, sizeof(*v), compare_u64);
	return v[(unsigned)(p * (count - 1) + 0.5)];
}

uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

const char *tmpfs_dir(void)
{
	if (!tmp_path[0]) {
		strcpy(tmp_path, "/dev/shm/leasehold-bench-XXXXXX");
		if (!mkdtemp(tmp_path))
			tmp_path[0] = '\0';
	}
	return tmp_path[0] ? tmp_path : NULL;
}

int bench_skip(char *why, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, WHY_MAX, fmt, ap);
	va_end(ap);
	return err;
}

static bool row_wanted(const struct row *r, char *const *patterns, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (fnmatch(patterns[i], r->name, 0) == 0)
			return true;
	}
	return count == 0;
}

static void row_measure(const struct row *r, unsigned pairs, struct result *out)
{
	double ours[PAIRS_MAX], peer[PAIRS_MAX], ratio[PAIRS_MAX];
	bool zero = true;
	int err = r->ready ? r->ready(r, out->skipped) : 0;

	if (err) {
		if (!out->skipped[0])
			snprintf(out->skipped, WHY_MAX, "%s", strerror(-err));
		return;
	}
	/* One round of each first, not counted: caches, page tables, connections. */
	for (unsigned i = 0; i <= pairs && !err; i++) {
		unsigned at = i ? i - 1 : 0;

		err = r->ours(r, &ours[at]);
		if (!err)
			err = r->peer(r, &peer[at]);
		if (!err)
			ratio[at] = r->rate ? ours[at] / peer[at] : peer[at] / ours[at];
		zero = zero && !err && ours[at] == 0;
	}
	if (r->done)
		r->done(r);
	if (err) {
		snprintf(out->skipped, WHY_MAX, "failed: %s", strerror(-err));
		return;
	}
	out->pairs = pairs;
	out->ours = quantile(ours, pairs, 0.5);
	out->peer = quantile(peer, pairs, 0.5);
	out->ratio = quantile(ratio, pairs, 0.5);
	out->spread = (quantile(ratio, pairs, 0.9) - quantile(ratio, pairs, 0.1)) / out->ratio;
	if (r->must_be_zero) {
		/* The median would hide a round in which it was not. */
		out->ours = quantile(ours, pairs, 1);
		out->ratio = zero ? 1 : 0;
		out->spread = 0;
	}
}

static void print_head(void)
{
	printf("%-20s %12s %12s %-8s %7s %6s %7s  %-8s %s\n", "row", "ours", "peer", "unit", "ratio", "goal", "spread",
	       "", "peer is");
}

static void print_row(const struct result *res)
{
	const struct row *r = res->row;

	if (res->skipped[0]) {
		printf("%-20s skipped: %s\n", r->name, res->skipped);
	} else {
		const char *verdict = res->ratio >= r->goal ? "reached" : "MISSED";

		printf("%-20s %12.3g %12.3g %-8s %7.2f %6.2f %6.0f%%  %-8s %s\n", r->name, res->ours, res->peer,
		       r->unit, res->ratio, r->goal, res->spread * 100, verdict, r->peer_name);
		if (r->report)
			r->report(r);
	}
	fflush(stdout);
}

static int write_json(const char *path, const struct result *res, unsigned count)
{
	json_t *all = json_array();
	int err;

	for (unsigned i = 0; i < count; i++) {
		const struct row *r = res[i].row;
		json_t *o = json_pack("{ss ss ss sf}", "name", r->name, "unit", r->unit, "peer_name", r->peer_name,
				      "goal", r->goal);

		if (res[i].skipped[0]) {
			json_object_set_new(o, "skipped", json_string(res[i].skipped));
		} else {
			json_object_set_new(o, "ours", json_real(res[i].ours));
			json_object_set_new(o, "peer", json_real(res[i].peer));
			json_object_set_new(o, "ratio", json_real(res[i].ratio));
			json_object_set_new(o, "runs", json_integer(res[i].pairs));
			json_object_set_new(o, "spread", json_real(res[i].spread));
			if (r->details)
				json_object_set_new(o, "details", r->details(r));
		}
		json_array_append_new(all, o);
	}
	err = json_dump_file(all, path, JSON_INDENT(1));
	json_decref(all);
	return err;
}

static void usage(FILE *out)
{
	fprintf(
	    out,
	    "usage: leasehold-bench [--rows 'PATTERN ...'] [--pairs N] [--json FILE] [--list]\n"
	    "       leasehold-bench --curves DIR ['files' 'extents' 'space']\n"
	    "\n"
	    "Measures Leasehold against its peers, interleaved (docs/benchmarks.md).\n"
	    "  --rows 'rma_* local_*'  only rows that match a shell pattern\n"
	    "  --pairs N               rounds of ours and the peer, %d to %d (default %d)\n"
	    "  --json FILE             write the results\n"
	    "  --list                  print the rows and their goals\n"
	    "  --curves DIR            how cost grows, instead of rows: draws it, saves DIR/*.svg and DIR/curves.json\n"
	    "\n"
	    "Example: leasehold-bench --rows 'ring_*' --json ring.json\n",
	    PAIRS_MIN, PAIRS_MAX, PAIRS_MIN);
}

static unsigned collect(const struct row **rows, char *const *patterns, unsigned count)
{
	const struct {
		const struct row *rows;
		unsigned count;
	} groups[] = {{direct_rows, direct_row_count}, {local_rows, local_row_count},   {lease_rows, lease_row_count},
		      {remote_rows, remote_row_count}, {stream_rows, stream_row_count}, {ledger_rows, ledger_row_count},
		      {ttl_rows, ttl_row_count},       {meta_rows, meta_row_count},     {space_rows, space_row_count},
		      {growth_rows, growth_row_count}, {fault_rows, fault_row_count},   {mount_rows, mount_row_count},
		      {job_rows, job_row_count},       {fio_rows, fio_row_count}};
	unsigned n = 0;

	for (unsigned g = 0; g < ARRAY_LEN(groups); g++) {
		for (unsigned i = 0; i < groups[g].count && n < ROWS_MAX; i++) {
			if (row_wanted(&groups[g].rows[i], patterns, count))
				rows[n++] = &groups[g].rows[i];
		}
	}
	return n;
}

static void finish(void)
{
	direct_finish();
	local_finish();
	lease_finish();
	remote_finish();
	stream_finish();
	meta_finish();
	space_finish();
	growth_finish();
	job_finish();
	mount_finish();
	fio_finish();
	loop_finish();
	if (tmp_path[0] && rmdir(tmp_path))
		fprintf(stderr, "leasehold-bench: cannot remove %s: %s\n", tmp_path, strerror(errno));
}

static unsigned run(const struct row **rows, unsigned count, unsigned pairs, const char *json)
{
	static struct result results[ROWS_MAX];
	unsigned missed = 0;

	/* All processes are forked before the first row starts threads here. */
	for (unsigned i = 0; i < count; i++) {
		results[i].row = rows[i];
		if (rows[i]->prepare && rows[i]->prepare(rows[i], results[i].skipped) && !results[i].skipped[0])
			snprintf(results[i].skipped, WHY_MAX, "cannot be prepared here");
	}
	print_head();
	for (unsigned i = 0; i < count; i++) {
		if (!results[i].skipped[0])
			row_measure(rows[i], pairs, &results[i]);
		print_row(&results[i]);
		missed += !results[i].skipped[0] && results[i].ratio < rows[i]->goal;
	}
	finish();
	printf("%u rows, %u goals missed\n", count, missed);
	if (json && write_json(json, results, count))
		fprintf(stderr, "leasehold-bench: cannot write %s\n", json);
	return missed;
}

/*
 * Some rows load our library twice more (dlopen), and each has 0.6 KiB of thread-local memory that must lie in the room
 * which the dynamic linker sets aside at the start.
 */
static void want_tls_room(char **argv)
{
	if (getenv("GLIBC_TUNABLES"))
		return;
	setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=8192", 1);
	execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"rows", required_argument, NULL, 'r'},
						{"pairs", required_argument, NULL, 'n'},
						{"json", required_argument, NULL, 'j'},
						{"list", no_argument, NULL, 'l'},
						{"help", no_argument, NULL, 'h'},
						{"curves", required_argument, NULL, 'c'},
						{0}};
	const struct row *rows[ROWS_MAX];
	char *patterns[PATTERN_MAX], *json = NULL, *curves = NULL, *word, *rest = NULL;
	unsigned pattern_count = 0, count, pairs = PAIRS_MIN;
	bool list = false;
	int c;

	want_tls_room(argv);
	/* Thousands of leases are revoked by force here: that is no news. */
	setenv("LEASEHOLD_LOG", "error", 0);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			for (word = strtok_r(optarg, " ,", &rest); word && pattern_count < PATTERN_MAX;
			     word = strtok_r(NULL, " ,", &rest))
				patterns[pattern_count++] = word;
			break;
		case 'n':
			pairs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			json = optarg;
			break;
		case 'c':
			curves = optarg;
			break;
		case 'l':
			list = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (curves) {
		int err = curves_run(curves, argv + optind, (unsigned)(argc - optind));

		finish();
		return err ? 1 : 0;
	}
	if (optind < argc || pairs < PAIRS_MIN || pairs > PAIRS_MAX) {
		usage(stderr);
		return 2;
	}
	count = collect(rows, patterns, pattern_count);
	if (!count) {
		fprintf(stderr, "leasehold-bench: no row matches; --list shows them\n");
		return 2;
	}
	for (unsigned i = 0; list && i < count; i++)
		printf("%-20s goal %.2f against %s\n", rows[i]->name, rows[i]->goal, rows[i]->peer_name);
	if (!list)
		run(rows, count, pairs, json);
	return 0;
}
