/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold pins: what devices can reach now, lease by lease or summed up. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cli/table.h"

enum { OPT_JSON = 256, OPT_BY };

static const struct cli_option options[] = {
    {OPT_BY, "by", "WHAT", "sums by uid, session or file instead"},
    FILTER_OPTIONS,
    OPTION_WATCH,
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "pins",
    .operands = "[PATH]",
    .text = "Shows what devices can reach now: the pins of leases, what kind of device they are for, and how many "
	    "bytes are\n"
	    "charged for them (L18). Leases without a pin are not shown; `leases` has them.\n",
    .example = "leasehold -p unix:/run/lh.sock pins\n"
	       "leasehold -p unix:/run/lh.sock pins --by uid\n",
    .options = options,
    .max = 1,
    .paths = PATHS_ALL,
};

enum by { BY_NOTHING, BY_UID, BY_SESSION, BY_FILE };

static const struct column columns[] = {
    {"DEVICE", "pin", LEFT},
    {"PINS", "pins", RIGHT},
    {"PINNED", "pinned_bytes", RIGHT},
    {"MODE", "mode", LEFT},
    {"UID", "uid", RIGHT},
    {"PID", "pid", RIGHT},
    {"SESSION", "session", RIGHT},
    {"LEASE", "lease", RIGHT},
    {"INODE", "ino", RIGHT},
    {"OFFSET", "off", RIGHT},
    {NULL, "len", RIGHT},
    {"AGE", "age_ns", RIGHT},
    {"HOST", "host", LEFT},
    {0},
};
static const struct column sums[][6] = {
    [BY_UID] = {{"UID", "uid", RIGHT},
		{"LEASES", "leases", RIGHT},
		{"PINS", "pins", RIGHT},
		{"PINNED", "pinned_bytes", RIGHT},
		{0}},
    [BY_SESSION] = {{"SESSION", "session", RIGHT},
		    {"LEASES", "leases", RIGHT},
		    {"PINS", "pins", RIGHT},
		    {"PINNED", "pinned_bytes", RIGHT},
		    {0}},
    [BY_FILE] = {{"INODE", "ino", RIGHT},
		 {"LEASES", "leases", RIGHT},
		 {"PINS", "pins", RIGHT},
		 {"PINNED", "pinned_bytes", RIGHT},
		 {0}},
};

struct sum {
	uint64_t key, leases, pins, bytes;
};

struct listing {
	struct lh_fs *fs;
	struct lh_revoke_filter filter;
	bool json;
	enum by by;
	uint64_t every_ns;
	struct table *table;
	struct sum *sums; /* one for each lease; summed up afterwards */
	size_t count, room;
	bool failed;
	uint64_t bytes, pins;
};

static void sum_add(struct listing *l, const struct lh_lease_info *i)
{
	uint64_t key = l->by == BY_UID ? i->uid : l->by == BY_SESSION ? i->session : i->ino;

	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		struct sum *bigger = reallocarray(l->sums, room, sizeof(*bigger));

		if (!bigger) {
			l->failed = true;
			return;
		}
		l->sums = bigger;
		l->room = room;
	}
	l->sums[l->count++] = (struct sum){key, 1, i->pins, i->pinned_bytes};
}

static void row(void *ctx, const struct lh_lease_info *i)
{
	struct listing *l = ctx;
	struct table *t = l->table;

	if (i->pins == 0)
		return;
	l->bytes += i->pinned_bytes;
	l->pins += i->pins;
	if (l->by != BY_NOTHING) {
		sum_add(l, i);
		return;
	}
	table_name(t, i->pin);
	table_number(t, i->pins);
	table_bytes(t, i->pinned_bytes);
	table_name(t, lease_mode_text(i->mode));
	table_number(t, i->uid);
	table_cell(t, json_integer(i->pid), "%d", i->pid);
	table_number(t, i->session);
	table_number(t, i->number);
	table_number(t, i->ino);
	table_number(t, i->off);
	table_number(t, i->len);
	table_time(t, i->age_ns);
	table_name(t, i->host);
}

static int by_key(const void *x, const void *y)
{
	const struct sum *a = x, *b = y;

	return a->key < b->key ? -1 : a->key > b->key;
}

static int by_bytes(const void *x, const void *y)
{
	const struct sum *a = x, *b = y;

	return a->bytes != b->bytes ? (a->bytes < b->bytes ? 1 : -1) : by_key(x, y);
}

static void sums_show(struct listing *l)
{
	size_t n = 0;

	if (l->count)
		qsort(l->sums, l->count, sizeof(*l->sums), by_key);
	for (size_t i = 0; i < l->count; i++) {
		if (n && l->sums[n - 1].key == l->sums[i].key) {
			l->sums[n - 1].leases++;
			l->sums[n - 1].pins += l->sums[i].pins;
			l->sums[n - 1].bytes += l->sums[i].bytes;
		} else {
			l->sums[n++] = l->sums[i];
		}
	}
	if (n)
		qsort(l->sums, n, sizeof(*l->sums), by_bytes);
	for (size_t i = 0; i < n; i++) {
		table_number(l->table, l->sums[i].key);
		table_number(l->table, l->sums[i].leases);
		table_number(l->table, l->sums[i].pins);
		table_bytes(l->table, l->sums[i].bytes);
	}
}

static int show(void *ctx)
{
	struct listing *l = ctx;
	char text[SIZE_TEXT_MAX], total[96];
	int err;

	l->count = 0;
	l->bytes = l->pins = 0;
	l->table = table_new(l->by == BY_NOTHING ? columns : sums[l->by], l->json);
	if (!l->table)
		return CLI_FAILED;
	err = lh_fs_leases_matching(l->fs, &l->filter, row, l);
	if (err || l->failed) {
		table_free(l->table);
		return err ? cli_error(err, "%s", filter_where(&l->filter)) : cli_fail("out of memory");
	}
	sums_show(l);
	snprintf(total, sizeof(total), "%llu pins, %s", (unsigned long long)l->pins, size_text(l->bytes, text));
	table_print(l->table, "no pins", total);
	return CLI_OK;
}

static enum by by_of(const char *what)
{
	if (strcmp(what, "uid") == 0)
		return BY_UID;
	if (strcmp(what, "session") == 0)
		return BY_SESSION;
	if (strcmp(what, "file") == 0)
		return BY_FILE;
	cli_usage("--by %s: uid, session or file", what);
}

int verb_pins(int argc, char **argv)
{
	struct listing l = {.filter = {.size = sizeof(l.filter)}};
	int status;

	for (int key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'w')
			l.every_ns = optarg ? cli_duration(optarg, "--watch") : WATCH_DEFAULT_NS;
		else if (key == OPT_BY)
			l.by = by_of(optarg);
		else if (!filter_option(&l.filter, key))
			l.json = true;
	}
	if (optind < argc)
		l.filter.path = argv[optind];
	if (ledger_open(&l.fs) != CLI_OK)
		return CLI_FAILED;
	status = watch(l.every_ns, show, &l);
	free(l.sums);
	return cli_close(l.fs, status);
}
