/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold sessions */
#include "cli/table.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {OPT_SESSION, "session", "NUMBER", "this one"},
    {OPT_UID, "uid", "UID", "of this user"},
    OPTION_WATCH,
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "sessions",
    .operands = "",
    .text =
	"Shows who is connected, what each holds, how it answers recalls, and what its user may pin. SLOWEST is "
	"its slowest\n"
	"answer; \"away\" is one whose connection is lost and whose lease time runs. This command is a session too.\n",
    .example = "leasehold -p unix:/run/lh.sock sessions\n"
	       "leasehold -p unix:/run/lh.sock sessions --uid 1000 --watch 2s\n",
    .options = options,
};

static const struct column columns[] = {
    {"SESSION", "number", RIGHT},
    {"STATE", "state", LEFT},
    {"UID", "uid", RIGHT},
    {NULL, "gid", RIGHT},
    {"PID", "pid", RIGHT},
    {"LEASES", "leases", RIGHT},
    {"PINNED", "pinned_bytes", RIGHT},
    {"MAY PIN", "bytes_limit", RIGHT},
    {"MAY LEASE", "leases_limit", RIGHT},
    {"RECALLS", "recalls", RIGHT},
    {"FORCED", "forced", RIGHT},
    {"SLOWEST", "slowest_ns", RIGHT},
    {"AGE", "age_ns", RIGHT},
    {"IDLE", "idle_ns", RIGHT},
    {"HOST", "host", LEFT},
    {0},
};

struct listing {
	struct lh_fs *fs;
	struct lh_revoke_filter filter; /* session and uid */
	bool json;
	uint64_t every_ns;
	struct table *table;
};

static void row(void *ctx, const struct lh_session_info *i)
{
	struct listing *l = ctx;
	struct table *t = l->table;

	if ((l->filter.session && l->filter.session != i->number) || (l->filter.by_uid && l->filter.uid != i->uid))
		return;
	table_number(t, i->number);
	table_name(t, i->state);
	table_number(t, i->uid);
	table_number(t, i->gid);
	table_cell(t, json_integer(i->pid), "%d", i->pid);
	table_number(t, i->leases);
	table_bytes(t, i->pinned_bytes);
	table_bytes(t, i->bytes_limit);
	table_number(t, i->leases_limit);
	table_number(t, i->recalls);
	table_number(t, i->forced);
	table_time(t, i->slowest_ns);
	table_time(t, i->age_ns);
	table_time(t, i->idle_ns);
	table_name(t, i->host);
}

static int show(void *ctx)
{
	struct listing *l = ctx;
	int err;

	l->table = table_new(columns, l->json);
	if (!l->table)
		return CLI_FAILED;
	err = lh_fs_sessions(l->fs, row, l);
	if (err) {
		table_free(l->table);
		return cli_error(err, "%s", cli_pool());
	}
	table_print(l->table, "no sessions", NULL);
	return CLI_OK;
}

int verb_sessions(int argc, char **argv)
{
	struct listing l = {.filter = {.size = sizeof(l.filter)}};

	for (int key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'w')
			l.every_ns = optarg ? cli_duration(optarg, "--watch") : WATCH_DEFAULT_NS;
		else if (!filter_option(&l.filter, key))
			l.json = true;
	}
	if (ledger_open(&l.fs) != CLI_OK)
		return CLI_FAILED;
	return cli_close(l.fs, watch(l.every_ns, show, &l));
}
