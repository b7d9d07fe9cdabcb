/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold leases */
#include <string.h>

#include "cli/table.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    FILTER_OPTIONS,
    OPTION_WATCH,
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "leases",
    .operands = "[PATH]",
    .text =
	"Shows who holds leases: of one file, or all that the caller may see (root and the pool's owner: all; others:\n"
	"their own). Every condition that is given must hold. Ask a server; a pool that is opened for this has none.\n"
	"LAST says for what it was recalled last.\n",
    .example = "leasehold -p unix:/run/lh.sock leases\n"
	       "leasehold -p unix:/run/lh.sock leases --watch 1s /data/table\n"
	       "leasehold -p unix:/run/lh.sock leases --uid 1000 --json\n",
    .options = options,
    .max = 1,
    .paths = PATHS_ALL,
};

static const struct column columns[] = {
    {"LEASE", "number", RIGHT},
    {"MODE", "mode", LEFT},
    {"STATE", "state", LEFT},
    {"INODE", "ino", RIGHT},
    {"OFFSET", "off", RIGHT},
    {NULL, "len", RIGHT},
    {"BYTES", "bytes", RIGHT},
    {"PINNED", "pinned_bytes", RIGHT},
    {"PINS", "pins", RIGHT},
    {"DEVICE", "pin", LEFT},
    {"SESSION", "session", RIGHT},
    {"UID", "uid", RIGHT},
    {NULL, "gid", RIGHT},
    {"PID", "pid", RIGHT},
    {"AGE", "age_ns", RIGHT},
    {"LEFT", "recall_left_ns", RIGHT},
    {"LAST", "last_reason", LEFT},
    {NULL, "recalled_ns", RIGHT},
    {NULL, "exclusive", RIGHT},
    {NULL, "faulting", RIGHT},
    {NULL, "exclusive_left_ns", RIGHT},
    {"HOST", "host", LEFT},
    {NULL, "handle", RIGHT},
    {0},
};

struct listing {
	struct lh_fs *fs;
	struct lh_revoke_filter filter;
	bool json;
	uint64_t every_ns;
	struct table *table;
};

static void row(void *ctx, const struct lh_lease_info *i)
{
	struct table *t = ((struct listing *)ctx)->table;
	const char *mode = lease_mode_text(i->mode);

	table_number(t, i->number);
	table_cell(t, json_string(mode), "%s%s%s", mode, i->flags & LH_LEASE_EXCLUSIVE ? ",excl" : "",
		   i->flags & LH_LEASE_FAULTING ? ",fault" : "");
	table_name(t, i->state);
	table_number(t, i->ino);
	table_number(t, i->off);
	table_number(t, i->len);
	table_bytes(t, i->bytes);
	table_bytes(t, i->pinned_bytes);
	table_number(t, i->pins);
	table_name(t, i->pin);
	table_number(t, i->session);
	table_number(t, i->uid);
	table_number(t, i->gid);
	table_cell(t, json_integer(i->pid), "%d", i->pid);
	table_time(t, i->age_ns);
	if (strcmp(i->state, "recalling") == 0)
		table_time(t, i->recall_left_ns);
	else
		table_cell(t, json_integer(0), "-");
	table_name(t, i->last_reason);
	table_time(t, i->recalled_ns);
	table_cell(t, json_boolean(i->flags & LH_LEASE_EXCLUSIVE), "%s", "");
	table_cell(t, json_boolean(i->flags & LH_LEASE_FAULTING), "%s", "");
	table_number(t, i->exclusive_left_ns);
	table_name(t, i->host);
	table_number(t, i->handle);
}

static int show(void *ctx)
{
	struct listing *l = ctx;
	int err;

	l->table = table_new(columns, l->json);
	if (!l->table)
		return CLI_FAILED;
	err = lh_fs_leases_matching(l->fs, &l->filter, row, l);
	if (err) {
		table_free(l->table);
		return cli_error(err, "%s", filter_where(&l->filter));
	}
	table_print(l->table, "no leases", NULL);
	return CLI_OK;
}

int verb_leases(int argc, char **argv)
{
	struct listing l = {.filter = {.size = sizeof(l.filter)}};

	for (int key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'w')
			l.every_ns = optarg ? cli_duration(optarg, "--watch") : WATCH_DEFAULT_NS;
		else if (!filter_option(&l.filter, key))
			l.json = true;
	}
	if (optind < argc)
		l.filter.path = argv[optind];
	if (ledger_open(&l.fs) != CLI_OK)
		return CLI_FAILED;
	return cli_close(l.fs, watch(l.every_ns, show, &l));
}
