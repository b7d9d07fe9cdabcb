/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold limit */
#include <errno.h>
#include <string.h>

#include "base/size.h"
#include "cli/table.h"
#include "cli/show.h"

#define BAR 20u /* characters */

enum { OPT_JSON = 256, OPT_TREE, OPT_PINS, OPT_DEFAULT, OPT_TOTAL };

static const struct cli_option options[] = {
    {OPT_PINS, "pins", NULL, "of pinned memory: with --uid, --default or --total"},
    {OPT_DEFAULT, "default", NULL, "pins: of every user (but root) without a limit of his own"},
    {OPT_TOTAL, "total", NULL, "pins: of all together"},
    {OPT_UID, "uid", "UID", "of everything that this user owns"},
    {OPT_TREE, "tree", "PATH", "of everything below this directory"},
    {'b', "bytes", "SIZE", "set: at most so many bytes; none (of space also 0): no limit"},
    {'i', "inodes", "NUMBER", "set: at most so many files and directories; 0 or none: no limit"},
    {'l', "leases", "NUMBER", "set, pins: at most so many leases; none: no limit"},
    {OPT_JSON, "json", NULL, "show: an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "limit",
    .operands = "set | show | clear",
    .text =
	"Sets or shows limits of space and files, of a user or of a directory's tree. Both 0 remove one. What would "
	"go over a\n"
	"limit fails. Setting is for root and the pool's owner. show without --uid or --tree: all.\n"
	"With --pins: of pinned memory and leases, instead of the user's RLIMIT_MEMLOCK; 0 is nothing at all, and "
	"clear takes\n"
	"the limit away.\n",
    .example = "leasehold -p unix:/run/lh.sock limit set --uid 1000 --bytes 1G --inodes 10000\n"
	       "leasehold -p unix:/run/lh.sock limit set --tree /data --bytes 10G\n"
	       "leasehold -p unix:/run/lh.sock limit set --pins --uid 1000 --bytes 4G --leases 10000\n"
	       "leasehold -p unix:/run/lh.sock limit show\n",
    .options = options,
    .min = 1,
    .max = 1,
    .paths = PATHS_AFTER_FIRST, /* none, but of --tree */
};

static const struct cli_option limits_options[] = {
    {OPT_UID, "uid", "UID", "of this user"},
    {OPT_PINS, "pins", NULL, "of pinned memory"},
    OPTION_WATCH,
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb limits_verb = {
    .name = "limits",
    .operands = "",
    .text = "Shows all limits and what is used of them: space and files of users and trees, pinned memory and leases. "
	    "`limit`\n"
	    "sets them; `sessions` shows what applies to who is connected, also by RLIMIT_MEMLOCK.\n",
    .example = "leasehold -p unix:/run/lh.sock limits\n"
	       "leasehold -p unix:/run/lh.sock limits --pins --watch 2s\n",
    .options = limits_options,
};

struct rows {
	json_t *json; /* NULL: text */
	unsigned count;
	bool pins, by_uid; /* only these */
	uint32_t uid;
};

static bool of_pins(uint32_t kind)
{
	return kind >= LH_LIMIT_PINS && kind <= LH_LIMIT_PINS_POOL;
}

static const char *kind_text(uint32_t kind)
{
	switch (kind) {
	case LH_LIMIT_UID:
		return "uid";
	case LH_LIMIT_TREE:
		return "tree";
	case LH_LIMIT_PINS:
		return "pins-uid";
	case LH_LIMIT_PINS_DEFAULT:
		return "pins-default";
	case LH_LIMIT_PINS_POOL:
		return "pins-total";
	default:
		return "?";
	}
}

/* used of limit as "####......", " 40%"; nothing when there is no limit. */
static const char *bar(uint64_t used, uint64_t limit, char buf[BAR + 8])
{
	double part = limit ? (double)used / (double)limit : 1;
	unsigned full = part >= 1 ? BAR : (unsigned)(part * BAR);

	buf[0] = '\0';
	if (limit == UINT64_MAX)
		return buf;
	memset(buf, '#', full);
	memset(buf + full, '.', BAR - full);
	snprintf(buf + BAR, 8, " %3.0f%%", part * 100 > 999 ? 999.0 : part * 100);
	return buf;
}

/* UINT64_MAX: there is none, of either kind. */
static uint64_t max_of(const struct lh_limit *l, uint64_t max)
{
	return max == 0 && !of_pins(l->kind) ? UINT64_MAX : max;
}

static json_t *max_json(const struct lh_limit *l, uint64_t max)
{
	/* Of space 0 is none, as it is set. */
	return of_pins(l->kind) && max == UINT64_MAX ? json_null() : json_integer((json_int_t)max);
}

static void row_json(json_t *list, const struct lh_limit *l)
{
	json_array_append_new(list,
			      json_pack("{s:s, s:I, s:I, s:o, s:o, s:I, s:I}", "kind", kind_text(l->kind), "id",
					(json_int_t)l->id, "ino", (json_int_t)l->ino, "bytes", max_json(l, l->bytes),
					of_pins(l->kind) ? "leases" : "inodes", max_json(l, l->inodes), "bytes_used",
					(json_int_t)l->bytes_used, of_pins(l->kind) ? "leases_used" : "inodes_used",
					(json_int_t)l->inodes_used));
}

static void row(void *ctx, const struct lh_limit *l)
{
	char used[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX], files[24], ino[24] = "-", of[BAR + 8];
	uint64_t bytes = max_of(l, l->bytes), inodes = max_of(l, l->inodes);
	struct rows *r = ctx;

	if ((r->pins && !of_pins(l->kind)) || (r->by_uid && (l->id != r->uid || l->kind == LH_LIMIT_TREE)))
		return;
	r->count++;
	if (r->json != NULL) {
		row_json(r->json, l);
		return;
	}
	if (r->count == 1)
		printf("%-12s %10s %10s  %10s %10s %-25s  %12s %10s %s\n", "KIND", "ID", "INODE", "BYTES", "LIMIT", "",
		       "FILES/LEASES", "LIMIT", "");
	if (l->ino)
		snprintf(ino, sizeof(ino), "%llu", (unsigned long long)l->ino);
	printf("%-12s %10u %10s  %10s %10s %-25s", kind_text(l->kind), l->id, ino, size_text(l->bytes_used, used),
	       bytes != UINT64_MAX ? size_text(bytes, limit) : "-", bar(l->bytes_used, bytes, of));
	snprintf(files, sizeof(files), "%llu", (unsigned long long)l->inodes);
	printf("  %12llu %10s %s\n", (unsigned long long)l->inodes_used, inodes != UINT64_MAX ? files : "-",
	       bar(l->inodes_used, inodes, of));
}

/* No kind: show all that are of pins. */
#define ANY_PINS UINT32_MAX

static int show(struct lh_fs *fs, struct lh_limit *one, const char *tree, bool json)
{
	struct rows r = {.json = json ? json_array() : NULL, .pins = one->kind == ANY_PINS};
	int err;

	if (one->kind && one->kind != ANY_PINS) {
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
		if (of_pins(l.kind))
			l.bytes = l.inodes = UINT64_MAX;
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
	return err ? cli_error(err, "%s %u", kind_text(wanted->kind), wanted->id) : CLI_OK;
}

static int clear(struct lh_fs *fs, struct lh_limit *limit)
{
	int err = lh_fs_limit_clear(fs, limit);

	return err ? cli_error(err, "%s %u", kind_text(limit->kind), limit->id) : CLI_OK;
}

struct args {
	struct lh_limit limit;
	const char *tree;
	bool bytes, inodes, leases, json, pins, uid, by_default, total;
};

/* A number, or UINT64_MAX for "none". */
static uint64_t number_or_none(const char *text, const char *what, uint64_t (*parse)(const char *, const char *))
{
	return strcmp(text, "none") == 0 ? UINT64_MAX : parse(text, what);
}

static uint64_t count_parse(const char *text, const char *what)
{
	return cli_number(text, what, UINT64_MAX);
}

static void option(struct args *a, int key)
{
	switch (key) {
	case OPT_UID:
		a->uid = true;
		a->limit.id = (uint32_t)cli_number(optarg, "--uid", UINT32_MAX - 1);
		break;
	case OPT_PINS:
		a->pins = true;
		break;
	case OPT_DEFAULT:
		a->by_default = true;
		break;
	case OPT_TOTAL:
		a->total = true;
		break;
	case 'l':
		a->limit.inodes = number_or_none(optarg, "--leases", count_parse);
		a->leases = true;
		break;
	case OPT_TREE:
		a->tree = optarg;
		break;
	case 'b':
		a->limit.bytes = number_or_none(optarg, "--bytes", cli_size);
		a->bytes = true;
		break;
	case 'i':
		a->limit.inodes = number_or_none(optarg, "--inodes", count_parse);
		a->inodes = true;
		break;
	default:
		a->json = true;
		break;
	}
}

/* What the options together name; 0: everything. */
static uint32_t kind_of(const struct args *a)
{
	if (a->uid + (a->tree != NULL) + a->by_default + a->total > 1)
		cli_usage("--uid, --tree, --default and --total contradict each other");
	if (!a->pins && (a->by_default || a->total || a->leases))
		cli_usage("--default, --total and --leases are of limits with --pins");
	if (a->pins && (a->tree || a->inodes))
		cli_usage("a limit of pins is of users and leases: not --tree, nor --inodes");
	if (a->by_default)
		return LH_LIMIT_PINS_DEFAULT;
	if (a->total)
		return LH_LIMIT_PINS_POOL;
	if (a->uid)
		return a->pins ? LH_LIMIT_PINS : LH_LIMIT_UID;
	if (a->tree)
		return LH_LIMIT_TREE;
	return a->pins ? ANY_PINS : 0;
}

/* Of space "none" is 0. */
static void space_none(struct lh_limit *l)
{
	l->bytes = l->bytes == UINT64_MAX ? 0 : l->bytes;
	l->inodes = l->inodes == UINT64_MAX ? 0 : l->inodes;
}

int verb_limit(int argc, char **argv)
{
	struct args a = {.limit = {.size = sizeof(a.limit)}};
	const char *what;
	struct lh_fs *fs;
	bool named;
	int key, status;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv))
		option(&a, key);
	what = argv[optind];
	if (strcmp(what, "set") != 0 && strcmp(what, "show") != 0 && strcmp(what, "clear") != 0)
		cli_usage("expected: %s", verb.operands);
	a.limit.kind = kind_of(&a);
	named = a.limit.kind != 0 && a.limit.kind != ANY_PINS;
	if (strcmp(what, "set") == 0 && (!named || !(a.bytes || a.inodes || a.leases)))
		cli_usage("whose limit, and which? Give --uid or --tree, and --bytes or --inodes; or --pins, --uid, "
			  "--default or --total, and --bytes or --leases");
	if (strcmp(what, "clear") == 0 && (!named || !a.pins))
		cli_usage("which limit? Give --pins, and --uid, --default or --total; of space, set 0");
	if (!a.pins)
		space_none(&a.limit);
	if (ledger_open(&fs) != CLI_OK)
		return CLI_FAILED;
	if (strcmp(what, "set") == 0)
		status = set(fs, &a.limit, a.tree, a.bytes, a.inodes || a.leases);
	else if (strcmp(what, "clear") == 0)
		status = clear(fs, &a.limit);
	else
		status = show(fs, &a.limit, a.tree, a.json);
	return cli_close(fs, status);
}

/* --- leasehold limits --- */

struct limits {
	struct lh_fs *fs;
	struct rows rows;
	bool json;
	uint64_t every_ns;
};

static int limits_show(void *ctx)
{
	struct limits *l = ctx;
	int err;

	l->rows.count = 0;
	l->rows.json = l->json ? json_array() : NULL;
	err = lh_fs_limits(l->fs, row, &l->rows);
	if (err >= 0 && l->json)
		show_json(json_incref(l->rows.json));
	else if (err >= 0 && l->rows.count == 0)
		puts("no limits");
	json_decref(l->rows.json);
	return err < 0 ? cli_error(err, "%s", cli_pool()) : CLI_OK;
}

int verb_limits(int argc, char **argv)
{
	struct limits l = {.json = false};

	for (int key = cli_next(&limits_verb, argc, argv); key != -1; key = cli_next(&limits_verb, argc, argv)) {
		if (key == 'w') {
			l.every_ns = optarg ? cli_duration(optarg, "--watch") : WATCH_DEFAULT_NS;
		} else if (key == OPT_UID) {
			l.rows.by_uid = true;
			l.rows.uid = (uint32_t)cli_number(optarg, "--uid", UINT32_MAX - 1);
		} else if (key == OPT_PINS) {
			l.rows.pins = true;
		} else {
			l.json = true;
		}
	}
	if (ledger_open(&l.fs) != CLI_OK)
		return CLI_FAILED;
	return cli_close(l.fs, watch(l.every_ns, limits_show, &l));
}
