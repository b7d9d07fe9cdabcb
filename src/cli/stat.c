/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold stat */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/size.h"
#include "base/types.h"
#include "cli/show.h"

#define EXTENTS_BATCH 256u

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {'L', "follow", NULL, "what a symbolic link points to, not the link"},
    {'e', "extents", NULL, "where the bytes are: the layout of a file"},
    {OPT_JSON, "json", NULL, "an object"},
    {0},
};
static const struct cli_verb verb = {
    .name = "stat",
    .operands = "[PATH]",
    .text = "Shows a file's attributes. Without PATH: the filesystem's size, free space and durability.\n",
    .example = "leasehold -p /dev/shm/a.pool stat\n"
	       "leasehold -p /dev/shm/a.pool stat --extents /data/table\n",
    .options = options,
    .max = 1,
    .paths = PATHS_ALL,
    .links = true,
};

static void uuid_text(const uint8_t uuid[16], char out[37])
{
	unsigned n = 0;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[n++] = '-';
		n += (unsigned)sprintf(out + n, "%02x", uuid[i]);
	}
}

static int show_fs(struct lh_fs *fs, bool json)
{
	struct lh_statfs s = {.size = sizeof(s)};
	char total[SIZE_TEXT_MAX], avail[SIZE_TEXT_MAX], uuid[37];
	int err;

	err = lh_fs_stat(fs, &s);
	if (err)
		return cli_error(err, "%s", cli_pool());
	uuid_text(s.uuid, uuid);
	if (json) {
		show_json(json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "uuid", uuid, "class",
				    s.pool_class, "kind", s.pool_kind, "block_size", (int)s.block_size, "blocks",
				    (json_int_t)s.blocks, "free_blocks", (json_int_t)s.free_blocks, "avail_blocks",
				    (json_int_t)s.avail_blocks, "files", (json_int_t)s.files, "log_bytes",
				    (json_int_t)s.log_bytes, "checkpoints", (json_int_t)s.checkpoints));
		return CLI_OK;
	}
	printf("pool:       %s\nuuid:       %s\nmemory:     %s\ndurability: %s\n", cli_pool(), uuid, s.pool_kind,
	       s.pool_class);
	printf("size:       %s in %llu blocks of %u\navailable:  %s in %llu blocks\n",
	       size_text(s.blocks * s.block_size, total), (unsigned long long)s.blocks, s.block_size,
	       size_text(s.avail_blocks * s.block_size, avail), (unsigned long long)s.avail_blocks);
	printf("files:      %llu\nlog:        %llu bytes since the last of %llu checkpoints\n",
	       (unsigned long long)s.files, (unsigned long long)s.log_bytes, (unsigned long long)s.checkpoints);
	return CLI_OK;
}

static void extent_show(const struct lh_extent *e, json_t *list)
{
	bool unwritten = e->flags & LH_EXTENT_UNWRITTEN;
	bool shared = e->flags & LH_EXTENT_SHARED;

	if (list != NULL)
		json_array_append_new(list, json_pack("{s:I, s:I, s:I, s:b, s:b}", "off", (json_int_t)e->file_off,
						      "len", (json_int_t)e->len, "pool_off", (json_int_t)e->pool_off,
						      "unwritten", unwritten, "shared", shared));
	else
		printf("  %14llu %14llu %16llu%s%s\n", (unsigned long long)e->file_off, (unsigned long long)e->len,
		       (unsigned long long)e->pool_off, unwritten ? " unwritten" : "", shared ? " shared" : "");
}

/* list NULL: as text. */
static int extents(struct lh_fs *fs, const char *path, json_t *list)
{
	struct lh_extent batch[EXTENTS_BATCH];
	struct lh_file *file;
	uint64_t off = 0;
	int n;

	n = lh_file_open(fs, path, O_RDONLY, 0, &file);
	if (n < 0)
		return n;
	if (list == NULL)
		printf("extents:\n  %14s %14s %16s\n", "OFFSET", "BYTES", "IN THE POOL AT");
	for (;;) {
		n = lh_file_extents(file, off, INT64_MAX - off, batch, EXTENTS_BATCH);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			extent_show(&batch[i], list);
		off = batch[n - 1].file_off + batch[n - 1].len;
	}
	lh_file_close(file);
	return n;
}

static void show_text(const char *path, const struct lh_stat *st, const char *target)
{
	char mode[CLI_MODE_MAX], when[CLI_TIME_MAX];

	fputs("path:     ", stdout);
	cli_print_name(stdout, path);
	if (target != NULL) {
		fputs(" -> ", stdout);
		cli_print_name(stdout, target);
	}
	printf("\ntype:     %s\nmode:     %s (%04o)\ninode:    %llu\nlinks:    %u\n", cli_type_name(st->mode),
	       cli_mode_text(st->mode, mode), st->mode & 07777, (unsigned long long)st->ino, st->nlink);
	printf("owner:    uid %u gid %u\nsize:     %llu\nblocks:   %llu\n", st->uid, st->gid,
	       (unsigned long long)st->size, (unsigned long long)st->blocks);
	if (S_ISCHR(st->mode) || S_ISBLK(st->mode))
		printf("device:   %u, %u\n", major(st->rdev), minor(st->rdev));
	if (st->tree)
		printf("limits:   of tree %u\n", st->tree);
	if (st->flags)
		printf("snapshot: %s%s\n", st->flags & LH_STAT_SNAPSHOT ? "root" : "inside",
		       st->flags & LH_STAT_READ_ONLY ? ", read-only" : "");
	printf("accessed: %s\n", cli_time_text(st->atime_ns, when));
	printf("modified: %s\n", cli_time_text(st->mtime_ns, when));
	printf("changed:  %s\n", cli_time_text(st->ctime_ns, when));
	printf("born:     %s\n", cli_time_text(st->btime_ns, when));
}

static int show_path(struct lh_fs *fs, const char *path, bool follow, bool with_extents, bool json)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	json_t *list = json ? json_array() : NULL;
	char *target = NULL;
	int err;

	err = lh_path_stat(fs, path, follow, &st);
	if (!err && S_ISLNK(st.mode))
		target = show_target(fs, path, &err);
	if (!err && !json)
		show_text(path, &st, target);
	if (!err && with_extents && S_ISREG(st.mode))
		err = extents(fs, path, list);
	if (!err && json) {
		json_t *j = show_stat_json(path, &st, target);

		if (with_extents && S_ISREG(st.mode))
			json_object_set(j, "extents", list);
		show_json(j);
	}
	json_decref(list);
	free(target);
	return err ? cli_error(err, "%s", path) : CLI_OK;
}

int verb_stat(int argc, char **argv)
{
	bool follow = false, with_extents = false, json = false;
	struct lh_fs *fs;
	int status, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'L')
			follow = true;
		else if (key == 'e')
			with_extents = true;
		else
			json = true;
	}
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	if (optind == argc)
		status = show_fs(fs, json);
	else
		status = show_path(fs, argv[optind], follow, with_extents, json);
	return cli_close(fs, status);
}
