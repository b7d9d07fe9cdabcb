/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold audit: what was taken by force. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/table.h"

#define BATCH 256u

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    FILTER_OPTIONS,
    {'n', "last", "NUMBER", "only the last so many"},
    OPTION_WATCH,
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "audit",
    .operands = "[PATH]",
    .text = "Shows which leases were taken by force: from whom, who asked and why, how long it took since the recall. "
	    "The\n"
	    "server keeps the last 16,384. Conditions are about the holder. With --watch: what is new since the last "
	    "look.\n",
    .example = "leasehold -p unix:/run/lh.sock audit --last 20\n"
	       "leasehold -p unix:/run/lh.sock audit --uid 1000 --json\n",
    .options = options,
    .max = 1,
    .paths = PATHS_ALL,
};

static const struct column columns[] = {
    {"NUMBER", "number", RIGHT},    {"TIME", "at_ns", LEFT},       {"LEASE", "lease", RIGHT},
    {"MODE", "mode", LEFT},         {"INODE", "ino", RIGHT},       {"OFFSET", "off", RIGHT},
    {"BYTES", "len", RIGHT},        {"SESSION", "session", RIGHT}, {"UID", "uid", RIGHT},
    {"PID", "pid", RIGHT},          {"REASON", "reason", LEFT},    {"TOOK", "took_ns", RIGHT},
    {NULL, "asker_session", RIGHT}, {NULL, "asker_uid", RIGHT},    {NULL, "asker_pid", RIGHT},
    {NULL, "asked_by", RIGHT},      {"ASKED BY", NULL, LEFT},      {0},
};

struct listing {
	struct lh_fs *fs;
	struct lh_revoke_filter filter;
	uint64_t ino; /* of filter.path; 0: any */
	bool json, again;
	uint64_t every_ns, cursor, last; /* last: UINT64_MAX is all */
	struct lh_audit *list;
	size_t count, room;
};

static bool is_wanted(const struct listing *l, const struct lh_audit *a)
{
	const struct lh_revoke_filter *f = &l->filter;

	return (!f->number || f->number == a->lease) && (!f->session || f->session == a->session) &&
	       (!f->by_uid || f->uid == a->uid) && (!l->ino || l->ino == a->ino);
}

static void asked_by(struct table *t, const struct lh_audit *a)
{
	if (a->asker_session)
		table_cell(t, NULL, "session %llu (uid %u, pid %d)%s%s", (unsigned long long)a->asker_session,
			   a->asker_uid, a->asker_pid, a->asked_by[0] ? ": " : "", a->asked_by);
	else
		table_cell(t, NULL, "%s", a->asked_by[0] ? a->asked_by : "the filesystem");
}

static void row(struct table *t, const struct lh_audit *a)
{
	char time[CLI_TIME_MAX];

	cli_time_text(a->at_ns, time);
	table_number(t, a->number);
	table_cell(t, json_integer(a->at_ns), "%.23s", time); /* milliseconds do */
	table_number(t, a->lease);
	table_name(t, lease_mode_text(a->mode));
	table_number(t, a->ino);
	table_number(t, a->off);
	table_bytes(t, a->len);
	table_number(t, a->session);
	table_number(t, a->uid);
	table_cell(t, json_integer(a->pid), "%d", a->pid);
	table_name(t, a->reason);
	table_time(t, a->took_ns);
	table_number(t, a->asker_session);
	table_number(t, a->asker_uid);
	table_cell(t, json_integer(a->asker_pid), "%d", a->asker_pid);
	table_name(t, a->asked_by);
	asked_by(t, a);
}

/* Reads what is new, behind what is there: 0 or an error. */
static int collect(struct listing *l)
{
	int n = 1;

	while (n > 0) {
		if (l->count + BATCH > l->room) {
			size_t room = l->room + 16 * BATCH;
			struct lh_audit *bigger = reallocarray(l->list, room, sizeof(*bigger));

			if (!bigger)
				return -ENOMEM;
			l->list = bigger;
			l->room = room;
		}
		n = lh_fs_audit(l->fs, &l->cursor, &l->list[l->count], BATCH);
		for (int k = 0, from = (int)l->count; k < n; k++) {
			struct lh_audit a = l->list[from + k];

			if (is_wanted(l, &a))
				l->list[l->count++] = a;
		}
	}
	return n;
}

static int show(void *ctx)
{
	struct listing *l = ctx;
	bool quiet = l->again && !l->json;
	struct table *t;
	int err;

	l->count = 0;
	if (isatty(STDOUT_FILENO))
		l->cursor = 0; /* the screen was cleared; elsewhere only what is new is shown */
	err = collect(l);
	if (err)
		return cli_error(err, "%s", filter_where(&l->filter));
	l->again = true;
	if (quiet && l->count == 0 && !isatty(STDOUT_FILENO))
		return CLI_OK;
	t = table_new(columns, l->json);
	if (!t)
		return CLI_FAILED;
	for (size_t i = l->count > l->last ? l->count - l->last : 0; i < l->count; i++)
		row(t, &l->list[i]);
	table_print(t, "no lease was taken by force", NULL);
	return CLI_OK;
}

static int file_number(struct listing *l)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = lh_path_stat(l->fs, l->filter.path, true, &st);

	l->ino = st.ino;
	return err ? cli_error(err, "%s", l->filter.path) : CLI_OK;
}

int verb_audit(int argc, char **argv)
{
	struct listing l = {.filter = {.size = sizeof(l.filter)}, .last = UINT64_MAX};
	int status = CLI_OK;

	for (int key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'w')
			l.every_ns = optarg ? cli_duration(optarg, "--watch") : WATCH_DEFAULT_NS;
		else if (key == 'n')
			l.last = cli_number(optarg, "--last", UINT64_MAX);
		else if (!filter_option(&l.filter, key))
			l.json = true;
	}
	if (optind < argc)
		l.filter.path = argv[optind];
	if (ledger_open(&l.fs) != CLI_OK)
		return CLI_FAILED;
	if (l.filter.path)
		status = file_number(&l);
	if (status == CLI_OK)
		status = watch(l.every_ns, show, &l);
	free(l.list);
	return cli_close(l.fs, status);
}
