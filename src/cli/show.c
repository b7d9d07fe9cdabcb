/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define TARGET_MAX 4097u

json_t *show_stat_json(const char *path, const struct lh_stat *st, const char *target)
{
	char mode[8];
	json_t *j;

	snprintf(mode, sizeof(mode), "%04o", st->mode & 07777);
	j = json_pack("{s:s%, s:s, s:s, s:I, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "path", path, strlen(path),
		      "type", cli_type_name(st->mode), "mode", mode, "ino", (json_int_t)st->ino, "nlink",
		      (int)st->nlink, "uid", (json_int_t)st->uid, "gid", (json_int_t)st->gid, "size",
		      (json_int_t)st->size, "blocks", (json_int_t)st->blocks, "atime_ns", (json_int_t)st->atime_ns,
		      "mtime_ns", (json_int_t)st->mtime_ns, "ctime_ns", (json_int_t)st->ctime_ns, "btime_ns",
		      (json_int_t)st->btime_ns);
	/* A name that is not UTF-8 cannot be in JSON; the entry is there, without it. */
	if (j == NULL)
		j = json_pack("{s:n, s:s, s:s, s:I, s:I}", "path", "type", cli_type_name(st->mode), "mode", mode, "ino",
			      (json_int_t)st->ino, "size", (json_int_t)st->size);
	if (j != NULL && (S_ISCHR(st->mode) || S_ISBLK(st->mode))) {
		json_object_set_new(j, "major", json_integer(major(st->rdev)));
		json_object_set_new(j, "minor", json_integer(minor(st->rdev)));
	}
	if (j != NULL && st->tree)
		json_object_set_new(j, "tree", json_integer(st->tree));
	if (j != NULL && st->flags) {
		json_object_set_new(j, "snapshot", json_boolean(st->flags & LH_STAT_SNAPSHOT));
		json_object_set_new(j, "read_only", json_boolean(st->flags & LH_STAT_READ_ONLY));
	}
	if (j != NULL && target != NULL)
		json_object_set_new(j, "target", json_string(target));
	return j;
}

void show_json(json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
}

char *show_target(struct lh_fs *fs, const char *path, int *err)
{
	char *buf = malloc(TARGET_MAX);
	ssize_t n = buf != NULL ? lh_path_readlink(fs, path, buf, TARGET_MAX - 1) : -ENOMEM;

	if (n < 0) {
		*err = (int)n;
		free(buf);
		return NULL;
	}
	buf[n] = '\0';
	return buf;
}

static int entry_compare(const void *a, const void *b)
{
	return strcmp(((const struct show_entry *)a)->name, ((const struct show_entry *)b)->name);
}

void show_entries_free(struct show_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(entries[i].name);
	free(entries);
}

static int entry_add(struct show_entry **list, size_t *count, size_t *capacity, const struct lh_dirent *d)
{
	if (*count == *capacity) {
		size_t more = *capacity ? *capacity * 2 : 64;
		struct show_entry *grown = reallocarray(*list, more, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		*list = grown;
		*capacity = more;
	}
	(*list)[*count].name = strdup(d->name);
	(*list)[*count].type = d->type;
	if ((*list)[*count].name == NULL)
		return -ENOMEM;
	(*count)++;
	return 0;
}

int show_entries(struct lh_fs *fs, const char *path, struct show_entry **out, size_t *count)
{
	struct show_entry *list = NULL;
	size_t n = 0, capacity = 0;
	struct lh_dirent d;
	struct lh_dir *dir;
	int err;

	err = lh_dir_open(fs, path, &dir);
	if (err)
		return err;
	for (;;) {
		err = lh_dir_next(dir, &d);
		if (err <= 0)
			break;
		err = entry_add(&list, &n, &capacity, &d);
		if (err)
			break;
	}
	lh_dir_close(dir);
	if (err) {
		show_entries_free(list, n);
		return err;
	}
	if (n > 0)
		qsort(list, n, sizeof(*list), entry_compare);
	*out = list;
	*count = n;
	return 0;
}
