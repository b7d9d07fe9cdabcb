/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making a state consistent. Each step takes one sort of contradiction away and makes none of an earlier sort:
 *
 *   1. inodes that items speak of but whose attributes are lost get some, by what is known of them
 *   2. what an inode may not have for its type goes (a directory's extents, a file's target, ...)
 *   3. names that lead nowhere go, types in names follow the inode
 *   4. the tree: from the root every directory is reached once; what is not reached hangs below lost+found
 *   5. names are unique in a directory: the later one gets ~INO behind it
 *   6. files without a name, if names may have been lost, get one in lost+found
 *   7. extents over metadata or behind the pool's end become holes
 *
 * A file without a name on a pool that lost no names is an unlinked one that was open: it stays so, and mount forgets
 * it.
 */
#include "tools/repair.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "tools/salvage.h"

#define PATH_ROOM    1200u
#define SHELTER      "lost+found"
#define SHELTER_MODE (S_IFDIR | 0700)
#define SAY_MAX      10000u /* lines printed; all are counted */

static const char *const kind_names[] = {
    [REPAIR_SAVED] = "saved", [REPAIR_LOST] = "lost", [REPAIR_CHANGED] = "changed", [REPAIR_DOUBT] = "doubtful"};

void repair_say(struct repair *r, enum repair_kind kind, const char *path, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	switch (kind) {
	case REPAIR_SAVED:
		r->saved++;
		break;
	case REPAIR_LOST:
		r->lost++;
		break;
	case REPAIR_CHANGED:
		r->changed++;
		break;
	case REPAIR_DOUBT:
		r->doubtful++;
		break;
	}
	if (r->saved + r->lost + r->changed + r->doubtful > SAY_MAX)
		return;
	if (!r->f->as_json)
		fprintf(r->f->out, "%s: %s: %s\n", kind_names[kind], path, text);
	else if (json_array_append_new(
		     r->list, json_pack("{s:s, s:s, s:s}", "kind", kind_names[kind], "path", path, "text", text)) != 0)
		r->error = -ENOMEM;
}

/* --- 1 and 2: inodes -----------------------------------------------------------------------------------------------
 */

static bool has_entries(struct repair *r, uint64_t ino)
{
	const struct fsck_entry *e = fsck_entry_from(r->s, ino, 0);

	return e != NULL && e->dir == ino;
}

static void attributes_make(struct repair *r, struct fsck_inode *i, uint32_t mode, uint64_t size)
{
	i->there = true;
	i->attr = (struct inode_attr){.ino = i->ino,
				      .mode = mode,
				      .size = size,
				      .atime_ns = r->now_ns,
				      .mtime_ns = r->now_ns,
				      .ctime_ns = r->now_ns,
				      .btime_ns = r->now_ns};
}

static uint64_t map_end(const struct fsck_inode *i)
{
	uint64_t end = 0;
	struct extent e;

	while (extmap_find(&i->map, end, &e))
		end = e.off + e.blocks;
	return end;
}

/* Its attributes were lost. Returns whether it stays. */
static bool lone_inode(struct repair *r, struct fsck_inode *i)
{
	char path[PATH_ROOM];

	fsck_path(r->s, i->ino, path, sizeof(path));
	if (has_entries(r, i->ino) || i->ino == FORMAT_ROOT_INO) {
		attributes_make(r, i, S_IFDIR | (i->ino == FORMAT_ROOT_INO ? 0755 : 0700), 0);
		repair_say(r, REPAIR_CHANGED, path,
			   "owner, mode and times of this directory were lost: mode %#o of uid 0",
			   i->attr.mode & 07777);
	} else if (i->map.extents != 0) {
		uint64_t end = map_end(i);

		attributes_make(r, i, S_IFREG | 0600,
				end > (uint64_t)INT64_MAX >> LH_BLOCK_SHIFT ? INT64_MAX : end << LH_BLOCK_SHIFT);
		repair_say(r, REPAIR_CHANGED, path,
			   "owner, mode, times and exact size of this file were lost: %" PRIu64
			   " bytes, mode 0600 of uid 0",
			   i->attr.size);
	} else if (i->target != NULL) {
		attributes_make(r, i, S_IFLNK | 0777, i->target_len);
	} else {
		return false;
	}
	return true;
}

static void extents_drop(struct fsck_inode *i)
{
	extmap_fini(&i->map);
	extmap_init(&i->map);
}

static void inode_type(struct repair *r, struct fsck_inode *i)
{
	char path[PATH_ROOM];

	fsck_path(r->s, i->ino, path, sizeof(path));
	if (i->ino == FORMAT_ROOT_INO && !S_ISDIR(i->attr.mode)) {
		i->attr.mode = S_IFDIR | 0755;
		repair_say(r, REPAIR_CHANGED, path, "the root is a directory again");
	}
	if (i->map.extents != 0 && !S_ISREG(i->attr.mode)) {
		repair_say(r, REPAIR_LOST, path, "%" PRIu64 " blocks of content, which only regular files have",
			   i->map.blocks);
		extents_drop(i);
	}
	if (i->target != NULL && !S_ISLNK(i->attr.mode)) {
		repair_say(r, REPAIR_LOST, path, "a target, which only symbolic links have");
		free(i->target);
		i->target = NULL;
		i->target_len = 0;
	}
	if (S_ISLNK(i->attr.mode) && i->target != NULL && i->attr.size != i->target_len) {
		i->attr.size = i->target_len;
		repair_say(r, REPAIR_CHANGED, path, "the symbolic link's size is its target's length");
	}
}

static void xattr_drop(struct fsck_inode *i, const struct fsck_xattr *x)
{
	struct fsck_xattr **at = &i->xattrs;

	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	free((void *)x);
}

/* Never gives more than both said: a bad access ACL takes what the group might have by it along. */
static void acls_mend(struct repair *r, struct fsck_inode *i)
{
	struct fsck_xattr *next;
	char path[PATH_ROOM];

	for (struct fsck_xattr *x = i->xattrs; x != NULL; x = next) {
		enum fsck_acl acl = fsck_acl(i, x);

		next = x->next;
		if (acl != FSCK_ACL_BAD && acl != FSCK_ACL_MODE)
			continue;
		fsck_path(r->s, i->ino, path, sizeof(path));
		repair_say(r, REPAIR_LOST, path, "its %.*s; the group has no permission now", (int)x->name_len,
			   (const char *)x->bytes);
		if (!S_ISLNK(i->attr.mode))
			i->attr.mode &= ~0070u;
		xattr_drop(i, x);
	}
}

static void inodes_mend(struct repair *r)
{
	struct fsck_inode *next;

	/* Directories that only entries speak of. */
	for (struct fsck_entry *e = fsck_entry_first(r->s); e != NULL; e = fsck_entry_next(e)) {
		if (fsck_inode_get(r->s, e->dir) == NULL)
			return;
	}
	fsck_inode_get(r->s, FORMAT_ROOT_INO);
	fsck_count_names(r->s);
	for (struct fsck_inode *i = fsck_inode_first(r->s); i != NULL; i = next) {
		char path[PATH_ROOM];

		next = fsck_inode_next(i);
		if (!i->there && !lone_inode(r, i)) {
			/* Names that lead to it are told where they go. */
			fsck_inode_drop(r->s, i);
			continue;
		}
		inode_type(r, i);
		acls_mend(r, i);
		if (S_ISLNK(i->attr.mode) && i->target == NULL) {
			fsck_path(r->s, i->ino, path, sizeof(path));
			repair_say(r, REPAIR_LOST, path, "a symbolic link whose target is lost");
			fsck_inode_drop(r->s, i);
		}
	}
}

/* --- 3: names ------------------------------------------------------------------------------------------------------
 */

static void entry_path(struct repair *r, const struct fsck_entry *e, char *buf, size_t room)
{
	size_t at;

	fsck_path(r->s, e->dir, buf, room);
	at = strlen(buf);
	if (at + 8 >= room)
		return;
	if (at == 0 || buf[at - 1] != '/')
		buf[at++] = '/';
	fsck_name(e->name, e->len, buf + at, room - at);
}

static void entry_drop(struct repair *r, struct fsck_entry *e, const char *why)
{
	char path[PATH_ROOM];

	entry_path(r, e, path, sizeof(path));
	repair_say(r, REPAIR_LOST, path, "%s (inode %" PRIu64 ")", why, e->ino);
	fsck_entry_drop(r->s, e);
}

static void entries_mend(struct repair *r)
{
	struct fsck_entry *next;

	fsck_count_names(r->s);
	for (struct fsck_entry *e = fsck_entry_first(r->s); e != NULL; e = next) {
		const struct fsck_inode *dir = fsck_inode_find(r->s, e->dir), *to = fsck_inode_find(r->s, e->ino);

		next = fsck_entry_next(e);
		if (dir == NULL || !S_ISDIR(dir->attr.mode)) {
			entry_drop(r, e, "a name in what is no directory");
			r->names_lost = true;
		} else if (to == NULL) {
			entry_drop(r, e, "a name whose inode is lost");
		} else if (to->ino == FORMAT_ROOT_INO) {
			entry_drop(r, e, "another name of the root");
		} else if (e->dtype != IFTODT(to->attr.mode)) {
			e->dtype = (uint8_t)IFTODT(to->attr.mode);
			r->changed++;
		}
	}
	fsck_count_names(r->s);
}

/* --- lost+found ----------------------------------------------------------------------------------------------------
 */

/* The last cookie of a directory, 0: none. *same: the entry with this name. */
static uint64_t cookie_last(struct repair *r, uint64_t dir, const char *name, struct fsck_entry **same)
{
	uint64_t last = 0;

	for (struct fsck_entry *e = fsck_entry_from(r->s, dir, 0); e != NULL && e->dir == dir; e = fsck_entry_next(e)) {
		last = e->cookie;
		if (same != NULL && strcmp(e->name, name) == 0)
			*same = e;
	}
	return last;
}

/* A cookie of the directory that is free, behind all others where there is one. */
static uint64_t cookie_free(struct repair *r, uint64_t dir)
{
	uint64_t last = cookie_last(r, dir, NULL, NULL), want = 1;

	if (last < (uint64_t)INT64_MAX)
		return last + 1;
	for (struct fsck_entry *e = fsck_entry_from(r->s, dir, 0); e != NULL && e->dir == dir && e->cookie == want;
	     e = fsck_entry_next(e))
		want++;
	return want;
}

static int shelter_make(struct repair *r)
{
	char name[32] = SHELTER;
	struct fsck_entry *same;
	struct fsck_inode *i;

	for (unsigned n = 1;; n++) {
		same = NULL;
		cookie_last(r, FORMAT_ROOT_INO, name, &same);
		if (same == NULL)
			break;
		if (same->dtype == DT_DIR) {
			r->shelter = same->ino;
			r->shelter_cookie = cookie_last(r, same->ino, NULL, NULL);
			return 0;
		}
		snprintf(name, sizeof(name), SHELTER ".%u", n);
	}
	i = fsck_inode_get(r->s, r->next_ino);
	if (i == NULL || fsck_entry_put(r->s, FORMAT_ROOT_INO, cookie_free(r, FORMAT_ROOT_INO), r->next_ino, DT_DIR,
					name, (uint32_t)strlen(name)) != 0)
		return -ENOMEM;
	attributes_make(r, i, SHELTER_MODE, 0);
	i->seen = 1;
	r->shelter = r->next_ino++;
	r->shelter_cookie = 0;
	return 0;
}

/* Gives it the name lost+found/#INO. */
static int shelter_take(struct repair *r, struct fsck_inode *i, const char *what)
{
	struct fsck_entry *same = NULL;
	char name[48], path[64];
	int err = r->shelter == 0 ? shelter_make(r) : 0;
	unsigned n = 0;

	if (err != 0)
		return err;
	snprintf(name, sizeof(name), "#%" PRIu64, i->ino);
	/* An earlier repair may have left this name to another file; then the whole directory is looked at. */
	if (r->shelter_cookie > 0)
		cookie_last(r, r->shelter, name, &same);
	while (same != NULL) {
		snprintf(name, sizeof(name), "#%" PRIu64 ".%u", i->ino, ++n);
		same = NULL;
		cookie_last(r, r->shelter, name, &same);
	}
	r->shelter_cookie =
	    r->shelter_cookie < (uint64_t)INT64_MAX ? r->shelter_cookie + 1 : cookie_free(r, r->shelter);
	if (fsck_entry_put(r->s, r->shelter, r->shelter_cookie, i->ino, (uint8_t)IFTODT(i->attr.mode), name,
			   (uint32_t)strlen(name)) != 0)
		return -ENOMEM;
	i->names++;
	snprintf(path, sizeof(path), "/" SHELTER "/%s", name);
	repair_say(r, REPAIR_SAVED, path, "%s whose name is lost", what);
	return 0;
}

/* --- 4: the tree ---------------------------------------------------------------------------------------------------
 */

struct queue {
	uint64_t *inos, at, count, room;
};

static int queue_add(struct queue *q, uint64_t ino)
{
	if (q->count == q->room) {
		uint64_t room = q->room == 0 ? 256 : q->room * 2;
		uint64_t *bigger = reallocarray(q->inos, room, sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		q->inos = bigger;
		q->room = room;
	}
	q->inos[q->count++] = ino;
	return 0;
}

/* Everything below a directory is reached; second ways to a directory go. */
static int tree_reach(struct repair *r, struct queue *q, struct fsck_inode *top)
{
	int err = queue_add(q, top->ino);

	top->seen = 1;
	for (; err == 0 && q->at < q->count; q->at++) {
		uint64_t dir = q->inos[q->at];
		struct fsck_entry *e = fsck_entry_from(r->s, dir, 0), *next;

		for (; err == 0 && e != NULL && e->dir == dir; e = next) {
			struct fsck_inode *to;

			next = fsck_entry_next(e);
			if (e->dtype != DT_DIR)
				continue;
			to = fsck_inode_find(r->s, e->ino);
			if (to->seen != 0) {
				entry_drop(r, e, "a second name of a directory");
				continue;
			}
			to->seen = 1;
			err = queue_add(q, to->ino);
		}
	}
	return err;
}

static int tree_shelter(struct repair *r, struct queue *q, struct fsck_inode *i)
{
	int err = shelter_take(r, i, "a directory");

	return err != 0 ? err : tree_reach(r, q, i);
}

/* The one way to a directory in a loop: cut. */
static void loop_cut(struct repair *r, uint64_t ino)
{
	struct fsck_entry *e = fsck_entry_first(r->s), *next;

	for (; e != NULL; e = next) {
		next = fsck_entry_next(e);
		if (e->ino == ino)
			entry_drop(r, e, "a name below the directory itself");
	}
}

static int tree_mend(struct repair *r)
{
	struct fsck_inode *root = fsck_inode_find(r->s, FORMAT_ROOT_INO);
	struct queue q = {0};
	int err;

	for (struct fsck_inode *i = fsck_inode_first(r->s); i != NULL; i = fsck_inode_next(i))
		i->seen = 0;
	err = tree_reach(r, &q, root);
	/* First those that nothing names, then those that only name each other. */
	for (unsigned loops = 0; err == 0 && loops < 2; loops++) {
		for (struct fsck_inode *i = fsck_inode_first(r->s); err == 0 && i != NULL; i = fsck_inode_next(i)) {
			if (i->seen != 0 || !S_ISDIR(i->attr.mode) || (loops == 0 && i->names != 0))
				continue;
			if (loops != 0)
				loop_cut(r, i->ino);
			err = tree_shelter(r, &q, i);
		}
	}
	free(q.inos);
	return err;
}

/* --- 5: equal names ------------------------------------------------------------------------------------------------
 */

static int name_cmp(const struct fsck_entry *a, const struct fsck_entry *b)
{
	int order = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);

	return order != 0 ? order : (int)a->len - (int)b->len;
}

static int entry_order(const void *pa, const void *pb)
{
	const struct fsck_entry *a = *(struct fsck_entry *const *)pa, *b = *(struct fsck_entry *const *)pb;
	int order = name_cmp(a, b);

	return order != 0 ? order : a->cookie < b->cookie ? -1 : a->cookie > b->cookie;
}

static int entry_rename(struct repair *r, const struct fsck_entry *e)
{
	const struct fsck_entry old = *e;
	char name[FORMAT_NAME_MAX + 1], tail[48], path[PATH_ROOM], shown[PATH_ROOM];
	struct fsck_entry *same;
	unsigned n = 0;
	size_t keep;

	entry_path(r, e, path, sizeof(path));
	do {
		snprintf(tail, sizeof(tail), n == 0 ? "~%" PRIu64 : "~%" PRIu64 ".%u", e->ino, n);
		n++;
		keep = e->len + strlen(tail) <= FORMAT_NAME_MAX ? e->len : FORMAT_NAME_MAX - strlen(tail);
		memcpy(name, e->name, keep);
		strcpy(name + keep, tail);
		same = NULL;
		cookie_last(r, e->dir, name, &same);
	} while (same != NULL);
	if (fsck_entry_put(r->s, old.dir, old.cookie, old.ino, old.dtype, name, (uint32_t)strlen(name)) != 0)
		return -ENOMEM;
	fsck_name(name, (uint32_t)strlen(name), shown, sizeof(shown));
	repair_say(r, REPAIR_CHANGED, path, "is \"%.300s\" now: another file has this name", shown);
	return 0;
}

static int names_unique(struct repair *r, struct fsck_entry **list, size_t count)
{
	int err = 0;

	qsort(list, count, sizeof(struct fsck_entry *), entry_order);
	/* From the end: a renamed entry is another piece of memory. */
	for (size_t i = count; err == 0 && i-- > 1;) {
		if (name_cmp(list[i - 1], list[i]) == 0)
			err = entry_rename(r, list[i]);
	}
	return err;
}

static int names_mend(struct repair *r)
{
	uint64_t count = 0, total = 0;
	struct fsck_entry **list;
	int err = 0;

	for (struct fsck_entry *e = fsck_entry_first(r->s); e != NULL; e = fsck_entry_next(e))
		total++;
	list = calloc(total + 1, sizeof(struct fsck_entry *));
	if (list == NULL)
		return -ENOMEM;
	for (struct fsck_entry *e = fsck_entry_first(r->s), *next; err == 0 && e != NULL; e = next) {
		next = fsck_entry_next(e);
		list[count++] = e;
		if (next == NULL || next->dir != e->dir) {
			err = names_unique(r, list, count);
			count = 0;
		}
	}
	free(list);
	return err;
}

/* --- 6: files without a name ---------------------------------------------------------------------------------------
 */

static int files_shelter(struct repair *r)
{
	const struct salvage *s = r->f->salvage;
	int err = 0;

	fsck_count_names(r->s);
	if (!r->names_lost && (s == NULL || !s->lost))
		return 0;
	for (struct fsck_inode *i = fsck_inode_first(r->s); err == 0 && i != NULL; i = fsck_inode_next(i)) {
		if (i->names == 0 && !S_ISDIR(i->attr.mode))
			err = shelter_take(r, i, S_ISREG(i->attr.mode) ? "a file" : "a special file or symbolic link");
	}
	return err;
}

/* --- 7: extents ----------------------------------------------------------------------------------------------------
 */

static int extent_cut(struct repair *r, struct fsck_inode *i, uint64_t off, uint64_t blocks, const char *why)
{
	char path[PATH_ROOM];

	fsck_path(r->s, i->ino, path, sizeof(path));
	repair_say(r, REPAIR_LOST, path, "bytes %" PRIu64 " to %" PRIu64 ", which lay %s, are a hole now",
		   off << LH_BLOCK_SHIFT, (off + blocks) << LH_BLOCK_SHIFT, why);
	if (extmap_reserve(&i->map, 1) != 0)
		return -ENOMEM;
	extmap_clear(&i->map, off, blocks);
	return 0;
}

static int extents_mend(struct repair *r, struct fsck_inode *i, uint64_t longest)
{
	uint64_t end = r->f->pool->size >> LH_BLOCK_SHIFT, at = 0;
	int err = 0;
	struct extent e;

	if (r->f->salvage != NULL && r->f->salvage->super.blocks < end)
		end = r->f->salvage->super.blocks;
	end--;
	while (err == 0 && extmap_find(&i->map, at, &e)) {
		const struct runs_one *over = runs_over(&r->f->meta, (struct run){e.start, e.blocks}, longest);
		uint64_t from = e.start, to = e.start + e.blocks;

		at = e.off + e.blocks;
		if (to > end) {
			from = e.start > end ? e.start : end;
			err = extent_cut(r, i, e.off + (from - e.start), to - from, "behind the pool's end");
			at = e.off;
		} else if (over != NULL) {
			from = over->run.start > from ? over->run.start : from;
			to = over->run.start + over->run.blocks < to ? over->run.start + over->run.blocks : to;
			err = extent_cut(r, i, e.off + (from - e.start), to - from, "over metadata");
			at = e.off;
		}
	}
	return err;
}

static int blocks_mend(struct repair *r)
{
	uint64_t longest = runs_longest(&r->f->meta);
	int err = 0;

	for (struct fsck_inode *i = fsck_inode_first(r->s); err == 0 && i != NULL; i = fsck_inode_next(i))
		err = extents_mend(r, i, longest);
	return err;
}

static void doubts_tell(struct repair *r)
{
	for (struct fsck_inode *i = fsck_inode_first(r->s); i != NULL; i = fsck_inode_next(i)) {
		char path[PATH_ROOM];

		if (!i->doubtful)
			continue;
		fsck_path(r->s, i->ino, path, sizeof(path));
		repair_say(r, REPAIR_DOUBT, path,
			   "kept, from a chunk that is damaged elsewhere: compare it with a copy");
	}
}

static uint64_t ino_after(const struct repair *r)
{
	uint64_t next = r->f->salvage != NULL ? r->f->salvage->max_ino + 1 : r->f->scan.next_ino;

	for (struct fsck_inode *i = fsck_inode_first(r->s); i != NULL; i = fsck_inode_next(i))
		next = i->ino >= next ? i->ino + 1 : next;
	for (struct fsck_entry *e = fsck_entry_first(r->s); e != NULL; e = fsck_entry_next(e)) {
		next = e->ino >= next ? e->ino + 1 : next;
		next = e->dir >= next ? e->dir + 1 : next;
	}
	return next < 2 ? 2 : next;
}

int repair_state(struct repair *r)
{
	int err;

	r->now_ns = (int64_t)clock_real_ns();
	r->next_ino = ino_after(r);
	if (r->next_ino >= FORMAT_INO_MAX)
		return fail(-EOVERFLOW, "pool %s: inode numbers are used up", r->f->pool->name);
	inodes_mend(r);
	entries_mend(r);
	err = r->s->error;
	if (err == 0)
		err = tree_mend(r);
	if (err == 0)
		err = names_mend(r);
	if (err == 0)
		err = files_shelter(r);
	fsck_count_names(r->s);
	if (err == 0)
		err = blocks_mend(r);
	doubts_tell(r);
	return err != 0 ? err : r->error;
}

/* --- all -----------------------------------------------------------------------------------------------------------
 */

bool repair_needs_checkpoint(const struct repair *r)
{
	const struct salvage *s = r->f->salvage;
	unsigned of_supers = (s != NULL ? s->super_told : 0) + r->f->copy_findings;

	return r->f->findings > of_supers;
}

static int repair_report(struct repair *r, unsigned left)
{
	json_t *o;

	if (!r->f->as_json) {
		if (r->saved + r->lost + r->changed + r->doubtful > SAY_MAX)
			fprintf(r->f->out, "... and %u more\n",
				r->saved + r->lost + r->changed + r->doubtful - SAY_MAX);
		fprintf(r->f->out, "%s: repaired: %u saved, %u lost, %u changed, %u doubtful\n", r->f->pool->name,
			r->saved, r->lost, r->changed, r->doubtful);
		return 0;
	}
	o = fsck_object(r->f);
	if (o == NULL || json_object_set_new(o, "repaired", json_boolean(r->f->findings > 0)) != 0 ||
	    json_object_set_new(o, "left", json_integer(left)) != 0 ||
	    json_object_set_new(o, "saved", json_integer(r->saved)) != 0 ||
	    json_object_set_new(o, "lost", json_integer(r->lost)) != 0 ||
	    json_object_set_new(o, "changed", json_integer(r->changed)) != 0 ||
	    json_object_set_new(o, "doubtful", json_integer(r->doubtful)) != 0 ||
	    json_object_set(o, "actions", r->list) != 0) {
		json_decref(o);
		return -ENOMEM;
	}
	json_dumpf(o, r->f->out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	fputc('\n', r->f->out);
	json_decref(o);
	return 0;
}

/* Looks again, and counts only. */
static int repair_verify(struct repair *r, unsigned *left)
{
	char first[sizeof(r->f->first)];
	struct fsck again;
	int err = fsck_begin(&again, r->f->pool, r->f->out, false, true);

	*left = again.findings;
	snprintf(first, sizeof(first), "%s", again.first);
	fsck_end(&again);
	if (err == 0 && *left != 0)
		err = fail(-EUCLEAN, "pool %s: %u findings are left after the repair, first: %s", r->f->pool->name,
			   *left, first);
	return err;
}

static int repair_run(struct repair *r)
{
	const struct super *super = r->f->salvage != NULL ? &r->f->salvage->super : &r->f->scan.super;
	unsigned left = 0;
	int err;

	if ((super->ro_compat & ~FORMAT_RO_COMPAT_KNOWN) != 0)
		return fail(-EROFS, "pool %s: format 2.1i made by a newer leasehold: repair it with that",
			    r->f->pool->name);
	if (!r->f->as_json)
		fsck_summary(r->f);
	err = repair_needs_checkpoint(r) ? repair_state(r) : 0;
	if (err == 0)
		err = repair_write(r);
	if (err == 0)
		err = repair_verify(r, &left);
	return err != 0 ? err : repair_report(r, left);
}

int tool_repair_pool(struct pool *pool, FILE *out, bool json, unsigned *findings)
{
	struct fsck f;
	struct repair r = {.f = &f, .s = &f.state, .list = json_array()};
	int err = r.list == NULL ? -ENOMEM : 0;
	int looked = fsck_begin(&f, pool, out, json, false);

	*findings = f.findings;
	if (err == 0)
		err = looked;
	if (err == 0 && f.findings == 0)
		err = fsck_report(&f);
	else if (err == 0)
		err = repair_run(&r);
	fsck_end(&f);
	json_decref(r.list);
	return err == -ENOMEM ? fail(err, "repair of %s: out of memory", pool->name) : err;
}

int tool_repair(const char *path, FILE *out, bool json, unsigned *findings)
{
	struct pool *pool;
	int err = pool_open(path, false, &pool);

	*findings = 0;
	if (err != 0)
		return err;
	err = tool_repair_pool(pool, out, json, findings);
	pool_close(pool);
	return err;
}
