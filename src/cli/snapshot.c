/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold snapshot */
#include <string.h>

#include "base/size.h"
#include "cli/show.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {'r', "read-only", NULL, "create: nothing in it can be changed"},
    {OPT_JSON, "json", NULL, "list: an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "snapshot",
    .operands = "create FROM TO | delete PATH... | list",
    .text = "Takes a copy of everything below a directory as it is at one moment, as the new directory TO; blocks are "
	    "shared, so\n"
	    "that it costs as much as the tree has files, not bytes. A snapshot is removed whole.\n",
    .example = "leasehold -p unix:/run/lh.sock snapshot create --read-only /data /monday\n"
	       "leasehold -p unix:/run/lh.sock snapshot list\n"
	       "leasehold -p unix:/run/lh.sock snapshot delete /monday\n",
    .options = options,
    .min = 1,
    .max = -1,
    .paths = PATHS_AFTER_FIRST,
};

struct list {
	json_t *json; /* NULL: text */
	unsigned count;
	uint32_t block_size;
};

static void row(void *ctx, const struct lh_snapshot_info *s)
{
	struct list *l = ctx;
	char when[CLI_TIME_MAX], bytes[SIZE_TEXT_MAX];

	l->count++;
	if (l->json != NULL) {
		/* NULL when the path is not UTF-8. */
		json_t *path = json_string(s->path);

		json_array_append_new(l->json,
				      json_pack("{s:o, s:I, s:b, s:I, s:I, s:I}", "path", path ? path : json_null(),
						"ino", (json_int_t)s->ino, "read_only", s->read_only, "created_ns",
						(json_int_t)s->created_ns, "inodes", (json_int_t)s->inodes, "blocks",
						(json_int_t)s->blocks));
		return;
	}
	if (l->count == 1)
		printf("%-19s  %-9s %10s %10s  %s\n", "CREATED", "ACCESS", "INODES", "BYTES", "PATH");
	cli_time_text(s->created_ns, when)[19] = '\0';
	printf("%-19s  %-9s %10llu %10s  ", when, s->read_only ? "read-only" : "writable",
	       (unsigned long long)s->inodes, size_text(s->blocks * l->block_size, bytes));
	cli_print_name(stdout, s->path[0] != '\0' ? s->path : "(not reachable)");
	putchar('\n');
}

static int list(struct lh_fs *fs, bool json)
{
	struct list l = {.json = json ? json_array() : NULL};
	struct lh_statfs st = {.size = sizeof(st)};
	int n = lh_fs_stat(fs, &st);

	l.block_size = st.block_size;
	if (n == 0)
		n = lh_fs_snapshots(fs, row, &l);

	if (n >= 0 && json)
		show_json(json_incref(l.json));
	json_decref(l.json);
	if (n < 0)
		return cli_error(n, "%s", cli_pool());
	if (n == 0 && !json)
		puts("no snapshots");
	return CLI_OK;
}

static int delete (struct lh_fs *fs, char **paths, int count)
{
	int status = CLI_OK;

	for (int i = 0; i < count; i++) {
		int err = lh_fs_snapshot_delete(fs, paths[i]);

		if (err)
			status = cli_error(err, "%s", paths[i]);
	}
	return status;
}

static int create(struct lh_fs *fs, const char *from, const char *to, bool read_only)
{
	int err = lh_fs_snapshot(fs, from, to, read_only ? LH_SNAPSHOT_READ_ONLY : 0);

	return err ? cli_error(err, "%s as %s", from, to) : CLI_OK;
}

int verb_snapshot(int argc, char **argv)
{
	bool json = false, read_only = false;
	const char *what;
	char **args;
	struct lh_fs *fs;
	int status, count, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		json |= key == OPT_JSON;
		read_only |= key == 'r';
	}
	what = argv[optind];
	args = argv + optind + 1;
	count = argc - optind - 1;
	if (strcmp(what, "create") == 0   ? count != 2
	    : strcmp(what, "delete") == 0 ? count < 1
					  : strcmp(what, "list") != 0 || count != 0)
		cli_usage("expected: %s", verb.operands);
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	if (what[0] == 'c')
		status = create(fs, args[0], args[1], read_only);
	else if (what[0] == 'd')
		status = delete (fs, args, count);
	else
		status = list(fs, json);
	return cli_close(fs, status);
}
