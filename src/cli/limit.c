/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold limit */
#include <errno.h>
#include <string.h>

#include "base/size.h"
#include "cli/show.h"

#define BAR 20u /* characters */

enum { OPT_JSON = 256, OPT_UID, OPT_TREE };

static const struct cli_option options[] = {
    {OPT_UID, "uid", "UID", "of everything that this user owns"},
    {OPT_TREE, "tree", "PATH", "of everything below this directory"},
    {'b', "bytes", "SIZE", "set: at most so many bytes; 0: no limit"},
    {'i', "inodes", "NUMBER", "set: at most so many files and directories; 0: no limit"},
    {OPT_JSON, "json", NULL, "show: an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "limit",
    .operands = "set | show",
    .text =
	"Sets or shows limits of space and files, of a user or of a directory's tree. Both 0 remove one. What would "
	"go over a\n"
	"limit fails. Setting is for root and the pool's owner. show without --uid or --tree: all.\n",
    .example = "leasehold -p unix:/run/lh.sock limit set --uid 1000 --bytes 1G --inodes 10000\n"
	       "leasehold -p unix:/run/lh.sock limit set --tree /data --bytes 10G\n"
	       "leasehold -p unix:/run/lh.sock limit show\n",
    .options = options,
    .min = 1,
    .max = 1,
};

struct rows {
	json_t *json; /* NULL: text */
	unsigned count;
};

/* used of limit as "####......", " 40%"; nothing when there is no limit. */
static const char *bar(uint64_t used, uint64_t limit, char buf[BAR + 8])
{
	double part = limit ? (double)used / (double)limit : 0;
	unsigned full = part >= 1 ? BAR : (unsigned)(part * BAR);

	buf[0] = '\0';
	if (limit == 0)
		return buf;
	memset(buf, '#', full);
	memset(buf + full, '.', BAR - full);
	snprintf(buf + BAR, 8, " %3.0f%%", part * 100 > 999 ? 999.0 : part * 100);
	return buf;
}

static void row_json(json_t *list, const struct lh_limit *l)
{
	json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "kind",
					      l->kind == LH_LIMIT_UID ? "uid" : "tree", "id", (json_int_t)l->id, "ino",
					      (json_int_t)l->ino, "bytes", (json_int_t)l->bytes, "inodes",
					      (json_int_t)l->inodes, "bytes_used", (json_int_t)l->bytes_used,
					      "inodes_used", (json_int_t)l->inodes_used));
}

static void row(void *ctx, const struct lh_limit *l)
{
	char used[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX], files[24], ino[24] = "-", of[BAR + 8];
	struct rows *r = ctx;

	r->count++;
	if (r->json != NULL) {
		row_json(r->json, l);
		return;
	}
	if (r->count == 1)
		printf("%-5s %10s %10s  %10s %10s %-25s  %10s %10s %s\n", "KIND", "ID", "INODE", "BYTES", "LIMIT", "",
		       "FILES", "LIMIT", "");
	if (l->ino)
		snprintf(ino, sizeof(ino), "%llu", (unsigned long long)l->ino);
	printf("%-5s %10u %10s  %10s %10s %-25s", l->kind == LH_LIMIT_UID ? "uid" : "tree", l->id, ino,
	       size_text(l->bytes_used, used), l->bytes ? size_text(l->bytes, limit) : "-",
	       bar(l->bytes_used, l->bytes, of));
	snprintf(files, sizeof(files), "%llu", (unsigned long long)l->inodes);
	printf("  %10llu %10s %s\n", (unsigned long long)l->inodes_used, l->inodes ? files : "-",
	       bar(l->inodes_used, l->inodes, of));
}

static int show(struct lh_fs *fs, struct lh_limit *one, const char *tree, bool json)
{
	struct rows r = {.json = json ? json_array() : NULL};
	int err;

	if (one->kind) {
		err = lh_fs_limit_get(fs, tree, one);
		if (!err)
			row(&r, one);
		else if (err == -ENODATA)
			err = 0;
	} else {
		err = lh_fs_limits(fs, row, &r);
	}
	if (err >= 0 && json)
		show_json(json_incref(r.json));
	else if (err >= 0 && r.count == 0)
		puts("no limits");
	json_decref(r.json);
	return err < 0 ? cli_error(err, "%s", tree ? tree : cli_pool()) : CLI_OK;
}

/* What is not given stays as it is. */
static int set(struct lh_fs *fs, const struct lh_limit *wanted, const char *tree, bool bytes, bool inodes)
{
	struct lh_limit l = *wanted;
	int err = lh_fs_limit_get(fs, tree, &l);

	if (err == -ENODATA) {
		l = *wanted;
		err = 0;
	}
	if (bytes)
		l.bytes = wanted->bytes;
	if (inodes)
		l.inodes = wanted->inodes;
	if (!err)
		err = lh_fs_limit_set(fs, tree, &l);
	if (err && tree)
		return cli_error(err, "%s", tree);
	return err ? cli_error(err, "uid %u", wanted->id) : CLI_OK;
}

struct args {
	struct lh_limit limit;
	const char *tree;
	bool bytes, inodes, json;
};

static void option(struct args *a, int key)
{
	switch (key) {
	case OPT_UID:
		a->limit.kind = LH_LIMIT_UID;
		a->limit.id = (uint32_t)cli_number(optarg, "--uid", UINT32_MAX - 1);
		break;
	case OPT_TREE:
		a->limit.kind = LH_LIMIT_TREE;
		a->tree = optarg;
		break;
	case 'b':
		a->limit.bytes = cli_size(optarg, "--bytes");
		a->bytes = true;
		break;
	case 'i':
		a->limit.inodes = cli_number(optarg, "--inodes", UINT64_MAX);
		a->inodes = true;
		break;
	default:
		a->json = true;
		break;
	}
}

int verb_limit(int argc, char **argv)
{
	struct args a = {.limit = {.size = sizeof(a.limit)}};
	struct lh_fs *fs;
	bool sets;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv))
		option(&a, key);
	sets = strcmp(argv[optind], "set") == 0;
	if (!sets && strcmp(argv[optind], "show") != 0)
		cli_usage("expected: %s", verb.operands);
	if (a.tree != NULL && a.limit.kind == LH_LIMIT_UID)
		cli_usage("--uid and --tree contradict each other");
	if (sets && (a.limit.kind == 0 || !(a.bytes || a.inodes)))
		cli_usage("whose limit, and which? Give --uid or --tree, and --bytes or --inodes");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	return cli_close(fs, sets ? set(fs, &a.limit, a.tree, a.bytes, a.inodes) : show(fs, &a.limit, a.tree, a.json));
}
