/* SPDX-License-Identifier: BSD-2-Clause */
/* docs/format.md 6: what all items together must say. Every check goes on after a finding. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/fsck.h"

#define UNMOUNTABLE "the pool cannot be mounted"
#define N(v)        ((unsigned long long)(v))

static bool is_type(const struct fsck_inode *i, uint32_t type)
{
	return i->there && (i->mode & S_IFMT) == type;
}

static void check_root(struct fsck *f)
{
	const struct fsck_inode *root = fsck_inode_find(f, FORMAT_ROOT_INO);

	if (root == NULL || !is_type(root, S_IFDIR))
		fsck_finding(f, "6.1 inode 1 is the root directory", UNMOUNTABLE, "inode 1");
}

/* 6.2, 6.3: and counts the names of each inode. */
static void check_entry(struct fsck *f, const struct fsck_entry *e)
{
	const struct fsck_inode *dir = fsck_inode_find(f, e->dir);
	struct fsck_inode *to = fsck_inode_find(f, e->ino);
	char name[1100];

	fsck_name(e->name, e->len, name, sizeof(name));
	if (dir == NULL || !is_type(dir, S_IFDIR))
		fsck_finding(f, "6.3 an entry's directory exists", "the name cannot be reached",
			     "directory %llu cookie %llu \"%.200s\"", N(e->dir), N(e->cookie), name);
	if (to == NULL || !to->there)
		fsck_finding(f, "6.2 an entry's inode exists", "the name leads nowhere; " UNMOUNTABLE,
			     "directory %llu cookie %llu \"%.200s\" to inode %llu", N(e->dir), N(e->cookie), name,
			     N(e->ino));
	else if (e->dtype != IFTODT(to->mode))
		fsck_finding(f, "6.2 an entry has its inode's type", UNMOUNTABLE,
			     "directory %llu cookie %llu \"%.200s\" to inode %llu", N(e->dir), N(e->cookie), name,
			     N(e->ino));
	if (to != NULL) {
		to->names++;
		to->parent = e->dir;
	}
}

static int name_cmp(const void *pa, const void *pb)
{
	const struct fsck_entry *a = *(struct fsck_entry *const *)pa, *b = *(struct fsck_entry *const *)pb;
	int order = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);

	return order != 0 ? order : (int)a->len - (int)b->len;
}

static void names_compare(struct fsck *f, struct fsck_entry **list, size_t count)
{
	char name[1100];

	qsort(list, count, sizeof(struct fsck_entry *), name_cmp);
	for (size_t i = 1; i < count; i++) {
		if (name_cmp(&list[i - 1], &list[i]) != 0)
			continue;
		fsck_name(list[i]->name, list[i]->len, name, sizeof(name));
		fsck_finding(f, "6.5 names are unique in a directory", "one of the two cannot be reached; " UNMOUNTABLE,
			     "directory %llu cookies %llu and %llu \"%.200s\"", N(list[i]->dir), N(list[i - 1]->cookie),
			     N(list[i]->cookie), name);
	}
}

/* 6.5, a directory at a time: entries are ordered by directory. */
static int check_names(struct fsck *f)
{
	struct fsck_entry **list, *e;
	uint64_t count = 0;

	list = calloc(f->entry_count + 1, sizeof(struct fsck_entry *));
	if (list == NULL)
		return -ENOMEM;
	for (e = fsck_entry_first(f); e != NULL; e = fsck_entry_next(e)) {
		if (count > 0 && list[count - 1]->dir != e->dir) {
			names_compare(f, list, count);
			count = 0;
		}
		list[count++] = e;
	}
	names_compare(f, list, count);
	free(list);
	return 0;
}

/* Climbs to the root, to a directory that was on another climb, or round a loop. mark: of this climb. */
static bool reaches_root(struct fsck *f, struct fsck_inode *i, uint64_t mark)
{
	while (i != NULL && i->ino != FORMAT_ROOT_INO) {
		if (i->seen != 0)
			return i->seen != mark;
		i->seen = mark;
		i = i->names > 0 ? fsck_inode_find(f, i->parent) : NULL;
	}
	return i != NULL;
}

/* 6.4 */
static void check_directory(struct fsck *f, struct fsck_inode *i, uint64_t mark)
{
	bool root = i->ino == FORMAT_ROOT_INO;

	if (root ? i->names != 0 : i->names > 1)
		fsck_finding(f, "6.4 a directory has exactly one name", UNMOUNTABLE, "directory %llu has %llu names",
			     N(i->ino), N(i->names));
	if (!root && i->names == 0)
		fsck_finding(f, "6.4 a directory is reached from the root",
			     "its content cannot be reached; " UNMOUNTABLE, "directory %llu has no name", N(i->ino));
	else if (!root && !reaches_root(f, i, mark))
		fsck_finding(f, "6.4 a directory is reached from the root",
			     "what is below it cannot be reached; " UNMOUNTABLE, "directory %llu is in a loop",
			     N(i->ino));
}

/* 6.6: ownership here; places in check_blocks. */
static void check_inode(struct fsck *f, struct fsck_inode *i)
{
	if (!i->there) {
		fsck_finding(f, "4.4 an inode has attributes", UNMOUNTABLE, "inode %llu has only %s", N(i->ino),
			     i->target_len != 0    ? "a target"
			     : i->map.extents != 0 ? "extents"
						   : "names");
		return;
	}
	f->inode_count++;
	f->extent_count += i->map.extents;
	if (i->map.extents != 0 && !is_type(i, S_IFREG))
		fsck_finding(f, "6.6 extents belong to regular files", UNMOUNTABLE, "inode %llu", N(i->ino));
	if (is_type(i, S_IFLNK) ? i->target_len == 0 || i->target_len != i->size : i->target_len != 0)
		fsck_finding(f, "6.8 a symlink has a target as long as its size", UNMOUNTABLE,
			     "inode %llu: size %llu, target of %llu bytes", N(i->ino), N(i->size), N(i->target_len));
	if (i->names == 0 && !is_type(i, S_IFDIR))
		f->orphans++;
}

/* --- blocks ---------------------------------------------------------------------------------------------------------
 */

static int meta_mark(struct fsck *f, struct alloc *a, struct run r, const char *what)
{
	int err = alloc_mark_meta(a, r);

	if (err != -EUCLEAN)
		return err;
	fsck_finding(f, "6.7 runs of checkpoint and log lie over each other nowhere", UNMOUNTABLE,
		     "%s at blocks %llu to %llu", what, N(r.start), N(r.start + r.blocks));
	return 0;
}

static int blocks_mark(struct fsck *f, struct alloc *a)
{
	int err = meta_mark(f, a, (struct run){f->scan.head.block, 1}, "checkpoint header");

	for (uint64_t i = 0; err == 0 && i < f->scan.chunk_count; i++)
		err = meta_mark(f, a, f->scan.chunks[i], "checkpoint chunk");
	for (uint64_t i = 0; err == 0 && i < f->scan.segment_count; i++)
		err = meta_mark(f, a, f->scan.segments[i].run, "log segment");
	for (struct fsck_inode *i = fsck_inode_first(f); err == 0 && i != NULL; i = fsck_inode_next(i)) {
		struct extent e;

		for (uint64_t at = 0; err == 0 && extmap_find(&i->map, at, &e); at = e.off + e.blocks) {
			err = alloc_mark(a, (struct run){e.start, e.blocks});
			if (err != -EUCLEAN)
				continue;
			fsck_finding(f, "6.6 extents lie over no metadata",
				     "writing to the file would destroy the pool; " UNMOUNTABLE,
				     "inode %llu blocks %llu to %llu at pool block %llu", N(i->ino), N(e.off),
				     N(e.off + e.blocks), N(e.start));
			err = 0;
		}
	}
	return err;
}

static int check_blocks(struct fsck *f)
{
	struct alloc *a;
	int err = alloc_new(f->scan.super.blocks, false, &a);

	if (err != 0)
		return err;
	err = blocks_mark(f, a);
	alloc_free(a);
	return err;
}

int fsck_check(struct fsck *f)
{
	uint64_t mark = 0;
	int err;

	check_root(f);
	for (struct fsck_entry *e = fsck_entry_first(f); e != NULL; e = fsck_entry_next(e)) {
		f->entry_count++;
		check_entry(f, e);
	}
	err = check_names(f);
	for (struct fsck_inode *i = fsck_inode_first(f); i != NULL; i = fsck_inode_next(i)) {
		check_inode(f, i);
		if (is_type(i, S_IFDIR))
			check_directory(f, i, ++mark);
	}
	return err != 0 ? err : check_blocks(f);
}
