/* SPDX-License-Identifier: BSD-2-Clause */
/* docs/format.md 6: what all items together must say. Every check goes on after a finding. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/acl.h"
#include "tools/fsck.h"
#include "tools/salvage.h"

#define UNMOUNTABLE "the pool cannot be mounted"
#define N(v)        ((unsigned long long)(v))
#define PATH_DEPTH  128u
#define PATH_ROOM   1200u

static bool is_type(const struct fsck_inode *i, uint32_t type)
{
	return i->there && (i->attr.mode & S_IFMT) == type;
}

enum fsck_acl fsck_acl(const struct fsck_inode *i, const struct fsck_xattr *x)
{
	/* As aligned as the filesystem keeps them. */
	uint32_t value[FORMAT_XATTR_VALUE_MAX / sizeof(uint32_t)];
	bool access = x->name_len == strlen(ACL_ACCESS_NAME) && memcmp(x->bytes, ACL_ACCESS_NAME, x->name_len) == 0;
	bool dflt = x->name_len == strlen(ACL_DEFAULT_NAME) && memcmp(x->bytes, ACL_DEFAULT_NAME, x->name_len) == 0;
	bool minimal;

	if (!access && !dflt)
		return FSCK_ACL_NONE;
	memcpy(value, x->bytes + x->name_len, x->value_len);
	if (acl_check(value, x->value_len) != NULL || (access ? is_type(i, S_IFLNK) : !is_type(i, S_IFDIR)))
		return FSCK_ACL_BAD;
	if (access && acl_mode(value, x->value_len, &minimal) != (i->attr.mode & 0777))
		return FSCK_ACL_MODE;
	return FSCK_ACL_GOOD;
}

/* --- paths ---------------------------------------------------------------------------------------------------------
 */

void fsck_count_names(struct fsck_state *s)
{
	for (struct fsck_inode *i = fsck_inode_first(s); i != NULL; i = fsck_inode_next(i)) {
		i->names = 0;
		i->named_by = NULL;
	}
	for (struct fsck_entry *e = fsck_entry_first(s); e != NULL; e = fsck_entry_next(e)) {
		struct fsck_inode *i = fsck_inode_find(s, e->ino);

		if (i == NULL)
			continue;
		i->names++;
		if (i->named_by == NULL)
			i->named_by = e;
	}
}

void fsck_path(struct fsck_state *s, uint64_t ino, char *buf, size_t room)
{
	const struct fsck_entry *way[PATH_DEPTH];
	const struct fsck_inode *i = fsck_inode_find(s, ino);
	unsigned depth = 0;
	size_t at = 0;

	while (i != NULL && i->ino != FORMAT_ROOT_INO && i->named_by != NULL && depth < PATH_DEPTH) {
		way[depth++] = i->named_by;
		i = fsck_inode_find(s, i->named_by->dir);
	}
	if (i == NULL || i->ino != FORMAT_ROOT_INO || depth == 0) {
		if (ino == FORMAT_ROOT_INO)
			snprintf(buf, room, "/");
		else
			snprintf(buf, room, "inode %llu", N(ino));
		return;
	}
	buf[0] = '\0';
	while (depth > 0 && at + 2 < room) {
		const struct fsck_entry *e = way[--depth];

		buf[at++] = '/';
		fsck_name(e->name, e->len, buf + at, room - at);
		at += strlen(buf + at);
	}
}

/* --- names ---------------------------------------------------------------------------------------------------------
 */

static void check_root(struct fsck *f)
{
	const struct fsck_inode *root = fsck_inode_find(&f->state, FORMAT_ROOT_INO);

	if (root == NULL || !is_type(root, S_IFDIR))
		fsck_finding(f, "6.1 inode 1 is the root directory", UNMOUNTABLE, "inode 1");
}

/* 6.2, 6.3 */
static void check_entry(struct fsck *f, const struct fsck_entry *e)
{
	const struct fsck_inode *dir = fsck_inode_find(&f->state, e->dir);
	const struct fsck_inode *to = fsck_inode_find(&f->state, e->ino);
	char name[1100];

	fsck_name(e->name, e->len, name, sizeof(name));
	if (dir == NULL || !is_type(dir, S_IFDIR))
		fsck_finding(f, "6.3 an entry's directory exists", "the name cannot be reached; " UNMOUNTABLE,
			     "directory %llu cookie %llu \"%.200s\"", N(e->dir), N(e->cookie), name);
	if (to == NULL || !to->there)
		fsck_finding(f, "6.2 an entry's inode exists", "the name leads nowhere; " UNMOUNTABLE,
			     "directory %llu cookie %llu \"%.200s\" to inode %llu", N(e->dir), N(e->cookie), name,
			     N(e->ino));
	else if (e->dtype != IFTODT(to->attr.mode))
		fsck_finding(f, "6.2 an entry has its inode's type", UNMOUNTABLE,
			     "directory %llu cookie %llu \"%.200s\" to inode %llu", N(e->dir), N(e->cookie), name,
			     N(e->ino));
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
	for (e = fsck_entry_first(&f->state); e != NULL; e = fsck_entry_next(e)) {
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
		i = i->named_by != NULL ? fsck_inode_find(&f->state, i->named_by->dir) : NULL;
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

/* --- inodes --------------------------------------------------------------------------------------------------------
 */

static void check_lone(struct fsck *f, const struct fsck_inode *i)
{
	/* Names of what is not there are 6.2. */
	if (i->target != NULL || i->map.extents != 0)
		fsck_finding(f, "4.4 an inode has attributes", UNMOUNTABLE, "inode %llu has only %s", N(i->ino),
			     i->target != NULL ? "a target" : "extents");
	else if (i->xattrs != NULL)
		fsck_finding(f, "6.11 extended attributes belong to an inode", UNMOUNTABLE, "inode %llu", N(i->ino));
}

/* 6.12, 6.13: what the filesystem checks when it gets one. */
static void check_acls(struct fsck *f, const struct fsck_inode *i)
{
	for (const struct fsck_xattr *x = i->xattrs; x != NULL; x = x->next) {
		enum fsck_acl acl = fsck_acl(i, x);

		if (acl == FSCK_ACL_BAD)
			fsck_finding(f, "6.12 ACLs are valid, and belong to what can have one", UNMOUNTABLE,
				     "inode %llu: %.*s", N(i->ino), (int)x->name_len, (const char *)x->bytes);
		if (acl == FSCK_ACL_MODE)
			fsck_finding(f, "6.13 an access ACL agrees with the mode", UNMOUNTABLE, "inode %llu: mode %#o",
				     N(i->ino), i->attr.mode & 0777);
	}
}

/* 6.6, ownership here; places in check_blocks. 6.8. */
static void check_inode(struct fsck *f, struct fsck_inode *i)
{
	if (!i->there) {
		check_lone(f, i);
		return;
	}
	f->inode_count++;
	f->extent_count += i->map.extents;
	if (i->map.extents != 0 && !is_type(i, S_IFREG))
		fsck_finding(f, "6.6 extents belong to regular files", UNMOUNTABLE, "inode %llu", N(i->ino));
	if (is_type(i, S_IFLNK) ? i->target == NULL || i->target_len != i->attr.size : i->target != NULL)
		fsck_finding(f, "6.8 a symlink has a target as long as its size", UNMOUNTABLE,
			     "inode %llu: size %llu, target of %u bytes", N(i->ino), N(i->attr.size), i->target_len);
	check_acls(f, i);
	if (i->names == 0 && !is_type(i, S_IFDIR))
		f->orphans++;
}

/* --- blocks --------------------------------------------------------------------------------------------------------
 */

static int meta_collect(struct fsck *f)
{
	const struct scan *s = &f->scan;
	int err = 0;

	if (f->salvage != NULL) {
		for (uint64_t i = 0; err == 0 && i < f->salvage->meta.count; i++)
			err = runs_add(&f->meta, f->salvage->meta.list[i].run, f->salvage->meta.list[i].what);
	} else {
		err = runs_add(&f->meta, (struct run){s->head.block, 1}, "checkpoint header");
		for (uint64_t i = 0; err == 0 && i < s->chunk_count; i++)
			err = runs_add(&f->meta, s->chunks[i], "checkpoint chunk");
		for (uint64_t i = 0; err == 0 && i < s->segment_count; i++)
			err = runs_add(&f->meta, s->segments[i].run, "log segment");
	}
	runs_sort(&f->meta);
	return err;
}

/* 6.7. Where headers were looked for, one lies over another's chunk only by chance: told once. */
static void check_meta(struct fsck *f)
{
	uint64_t end = 0;

	for (uint64_t i = 0; i < f->meta.count; i++) {
		const struct runs_one *m = &f->meta.list[i];
		bool same = i > 0 && m->run.start == m[-1].run.start && m->run.blocks == m[-1].run.blocks &&
			    m->what == m[-1].what;

		if (m->run.start < end && !same)
			fsck_finding(f, "6.7 runs of checkpoint and log lie over each other nowhere", UNMOUNTABLE,
				     "%s at blocks %llu to %llu, over a %s at blocks %llu to %llu", m->what,
				     N(m->run.start), N(m->run.start + m->run.blocks), m[-1].what, N(m[-1].run.start),
				     N(m[-1].run.start + m[-1].run.blocks));
		end = m->run.start + m->run.blocks > end ? m->run.start + m->run.blocks : end;
	}
}

static void check_extents(struct fsck *f, struct fsck_inode *i, uint64_t longest)
{
	uint64_t blocks = f->pool->size >> LH_BLOCK_SHIFT;
	char path[PATH_ROOM];
	struct extent e;

	for (uint64_t at = 0; extmap_find(&i->map, at, &e); at = e.off + e.blocks) {
		const struct runs_one *over = runs_over(&f->meta, (struct run){e.start, e.blocks}, longest);

		if (over != NULL) {
			fsck_path(&f->state, i->ino, path, sizeof(path));
			fsck_finding(f, "6.6 extents lie over no metadata",
				     "writing to the file would destroy the pool; " UNMOUNTABLE,
				     "inode %llu blocks %llu to %llu at pool block %llu, over a %s (%.200s)", N(i->ino),
				     N(e.off), N(e.off + e.blocks), N(e.start), over->what, path);
		}
		if (e.start + e.blocks > blocks) {
			fsck_path(&f->state, i->ino, path, sizeof(path));
			fsck_finding(f, "2.1f pool shorter than its superblock says (truncated?)",
				     "the file's content there is lost",
				     "inode %llu blocks %llu to %llu at pool block %llu (%.200s)", N(i->ino), N(e.off),
				     N(e.off + e.blocks), N(e.start), path);
		}
	}
}

static int check_blocks(struct fsck *f)
{
	uint64_t longest;
	int err = meta_collect(f);

	if (err != 0)
		return err;
	check_meta(f);
	longest = runs_longest(&f->meta);
	for (struct fsck_inode *i = fsck_inode_first(&f->state); i != NULL; i = fsck_inode_next(i))
		check_extents(f, i, longest);
	return 0;
}

/* Items that mount refuses when they come, although all together say nothing wrong. */
static void check_early(struct fsck *f)
{
	for (unsigned k = 0; k < f->state.early_count; k++) {
		const struct fsck_early *e = &f->state.early[k];

		fsck_finding(f, e->rule, UNMOUNTABLE, "inode %llu, item at block %llu offset %llu", N(e->ino),
			     N(e->at.block), N(e->at.offset));
	}
}

int fsck_check(struct fsck *f)
{
	unsigned before = f->findings;
	uint64_t mark = 0;
	int err;

	fsck_count_names(&f->state);
	check_root(f);
	for (struct fsck_entry *e = fsck_entry_first(&f->state); e != NULL; e = fsck_entry_next(e)) {
		f->entry_count++;
		check_entry(f, e);
	}
	err = check_names(f);
	for (struct fsck_inode *i = fsck_inode_first(&f->state); i != NULL; i = fsck_inode_next(i)) {
		i->seen = 0;
		check_inode(f, i);
	}
	for (struct fsck_inode *i = fsck_inode_first(&f->state); i != NULL; i = fsck_inode_next(i)) {
		if (is_type(i, S_IFDIR))
			check_directory(f, i, ++mark);
	}
	if (err == 0)
		err = check_blocks(f);
	if (f->findings == before && (f->salvage == NULL || !f->salvage->lost))
		check_early(f);
	return err;
}
