/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold ls */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "cli/show.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {'l', "long", NULL, "mode, links, owner, size, time"},
    {'d', "directory", NULL, "directories themselves, not what is in them"},
    {'R', "recursive", NULL, "what is in directories below, too"},
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "ls",
    .operands = "[PATH...]",
    .text = "Lists directories, by name. Default: the root directory.\n",
    .example = "leasehold -p unix:/run/lh.sock ls -l /data\n"
	       "leasehold -p /dev/shm/a.pool ls --json / | jq '.[].path'\n",
    .options = options,
    .max = -1,
    .paths = PATHS_ALL,
};

struct ls {
	struct lh_fs *fs;
	bool wide, self, recursive;
	json_t *json; /* NULL: text */
	int status;
};

static int show(struct ls *ls, const char *path, const char *name)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	char mode[CLI_MODE_MAX], when[CLI_TIME_MAX];
	char *target = NULL;
	int err;

	if (!ls->wide && ls->json == NULL) {
		cli_print_name(stdout, name);
		putchar('\n');
		return 0;
	}
	err = lh_path_stat(ls->fs, path, false, &st);
	if (!err && S_ISLNK(st.mode))
		target = show_target(ls->fs, path, &err);
	/* Gone between the listing and the look. */
	if (err == -ENOENT)
		return 0;
	if (err)
		return err;
	if (ls->json != NULL) {
		json_array_append_new(ls->json, show_stat_json(path, &st, target));
	} else {
		cli_time_text(st.mtime_ns, when)[19] = '\0';
		printf("%s %3u %5u %5u %12llu %s ", cli_mode_text(st.mode, mode), st.nlink, st.uid, st.gid,
		       (unsigned long long)st.size, when);
		cli_print_name(stdout, name);
		if (target != NULL) {
			fputs(" -> ", stdout);
			cli_print_name(stdout, target);
		}
		putchar('\n');
	}
	free(target);
	return 0;
}

static void list(struct ls *ls, const char *path, bool title);

static void below(struct ls *ls, const char *path, const struct show_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *full;

		if (entries[i].type != 4 /* DT_DIR */)
			continue;
		full = cli_join(path, entries[i].name);
		if (full == NULL) {
			ls->status = cli_error(-ENOMEM, "%s", path);
			return;
		}
		list(ls, full, true);
		free(full);
	}
}

/* What is in one directory. */
static void list(struct ls *ls, const char *path, bool title)
{
	struct show_entry *entries;
	size_t count;
	int err;

	err = show_entries(ls->fs, path, &entries, &count);
	if (err) {
		ls->status = cli_error(err, "%s", path);
		return;
	}
	if (title && ls->json == NULL) {
		putchar('\n');
		cli_print_name(stdout, path);
		puts(":");
	}
	for (size_t i = 0; i < count; i++) {
		char *full = cli_join(path, entries[i].name);

		err = full != NULL ? show(ls, full, entries[i].name) : -ENOMEM;
		if (err)
			ls->status = cli_error(err, "%s/%s", path, entries[i].name);
		free(full);
	}
	if (ls->recursive)
		below(ls, path, entries, count);
	show_entries_free(entries, count);
}

static void operand(struct ls *ls, const char *path, bool title)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err;

	err = lh_path_stat(ls->fs, path, !ls->self, &st);
	if (!err && (ls->self || !S_ISDIR(st.mode)))
		err = show(ls, path, path);
	else if (!err)
		list(ls, path, title);
	if (err)
		ls->status = cli_error(err, "%s", path);
}

int verb_ls(int argc, char **argv)
{
	struct ls ls = {0};
	bool json = false;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'l')
			ls.wide = true;
		else if (key == 'd')
			ls.self = true;
		else if (key == 'R')
			ls.recursive = true;
		else
			json = true;
	}
	if (cli_open(&ls.fs, false) != CLI_OK)
		return CLI_FAILED;
	if (json)
		ls.json = json_array();
	if (optind == argc)
		operand(&ls, "/", false);
	for (int i = optind; i < argc; i++)
		operand(&ls, argv[i], argc - optind > 1);
	if (ls.json != NULL)
		show_json(ls.json);
	return cli_close(ls.fs, ls.status);
}
