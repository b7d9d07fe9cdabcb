/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold leases */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "cli/show.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {'w', "watch", "TIME", "again every TIME (for example 1s) until interrupted"},
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "leases",
    .operands = "[PATH]",
    .text =
	"Shows who holds leases: of one file, or all that the caller may see (root and the pool's owner: all; others:\n"
	"their own). Ask a server; a pool that is opened for this has none.\n",
    .example = "leasehold -p unix:/run/lh.sock leases\n"
	       "leasehold -p unix:/run/lh.sock leases --watch 1s /data/table\n",
    .options = options,
    .max = 1,
};

struct rows {
	json_t *json; /* NULL: text */
	unsigned count;
};

static const char *mode_name(uint32_t mode)
{
	return mode == LH_LEASE_WRITE ? "WRITE" : "READ";
}

static void row_json(json_t *list, const struct lh_lease_info *i)
{
	json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:s, s:I, s:I, s:I}",
					      "number", (json_int_t)i->number, "mode", mode_name(i->mode), "state",
					      i->state, "ino", (json_int_t)i->ino, "off", (json_int_t)i->off, "len",
					      (json_int_t)i->len, "bytes", (json_int_t)i->bytes, "pinned_bytes",
					      (json_int_t)i->pinned_bytes, "uid", (json_int_t)i->uid, "pid",
					      (int)i->pid, "host", i->host, "session", (json_int_t)i->session, "age_ns",
					      (json_int_t)i->age_ns, "recall_left_ns", (json_int_t)i->recall_left_ns));
}

static void row(void *ctx, const struct lh_lease_info *i)
{
	struct rows *r = ctx;
	char bytes[SIZE_TEXT_MAX], pinned[SIZE_TEXT_MAX], left[24] = "-";

	r->count++;
	if (r->json != NULL) {
		row_json(r->json, i);
		return;
	}
	if (r->count == 1)
		printf("%-8s %-5s %-9s %8s %14s %10s %10s %8s %6s %7s %8s %8s %s\n", "LEASE", "MODE", "STATE", "INODE",
		       "OFFSET", "BYTES", "PINNED", "SESSION", "UID", "PID", "AGE", "LEFT", "HOST");
	if (i->recall_left_ns > 0)
		snprintf(left, sizeof(left), "%.3fs", (double)i->recall_left_ns / NS_PER_SEC);
	printf("%-8llu %-5s %-9s %8llu %14llu %10s %10s %8llu %6u %7d %7.1fs %8s ", (unsigned long long)i->number,
	       mode_name(i->mode), i->state, (unsigned long long)i->ino, (unsigned long long)i->off,
	       size_text(i->bytes, bytes), size_text(i->pinned_bytes, pinned), (unsigned long long)i->session, i->uid,
	       i->pid, (double)i->age_ns / NS_PER_SEC, left);
	cli_print_name(stdout, i->host);
	putchar('\n');
}

static int show(struct lh_fs *fs, const char *path, bool json)
{
	struct rows r = {.json = json ? json_array() : NULL};
	int err;

	err = lh_fs_leases(fs, path, row, &r);
	if (r.json != NULL && !err)
		show_json(r.json);
	else
		json_decref(r.json);
	if (err)
		return cli_error(err, "%s", path != NULL ? path : cli_pool());
	if (r.count == 0 && !json)
		puts("no leases");
	fflush(stdout);
	return CLI_OK;
}

int verb_leases(int argc, char **argv)
{
	uint64_t watch_ns = 0;
	bool json = false;
	const char *path;
	struct lh_fs *fs;
	int status, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'w')
			watch_ns = cli_duration(optarg, "--watch");
		else
			json = true;
	}
	path = optind < argc ? argv[optind] : NULL;
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	for (;;) {
		struct timespec pause = {(time_t)(watch_ns / NS_PER_SEC), (long)(watch_ns % NS_PER_SEC)};

		status = show(fs, path, json);
		if (status != CLI_OK || watch_ns == 0 || ferror(stdout))
			break;
		nanosleep(&pause, NULL);
		if (!json)
			puts("");
	}
	return cli_close(fs, status);
}
