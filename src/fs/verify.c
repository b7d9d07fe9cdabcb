/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck of the mounted state: everything that is derived is derived once more and compared. Call it while nothing
 * changes; under traffic it may report what was just changing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/acl.h"
#include "fs/core.h"
#include "fs/dir.h"
#include "fs/layout.h"
#include "fs/limit.h"

#define FINDING_MAX 256u

struct count {
	uint64_t ino;
	uint32_t links;
};

struct verify {
	struct fs *fs;
	struct alloc *alloc;  /* counted anew */
	struct count *counts; /* open addressing by number; 0: free */
	uint64_t room;
	int findings;
	void (*each)(void *ctx, const char *finding);
	void *ctx;
};

static void finding(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void finding(struct verify *v, const char *fmt, ...)
{
	char text[FINDING_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v->findings++;
	if (v->each)
		v->each(v->ctx, text);
}

static struct count *count_of(struct verify *v, uint64_t ino)
{
	uint64_t k = (ino * 0x9e3779b97f4a7c15u) & (v->room - 1);

	while (v->counts[k].ino && v->counts[k].ino != ino)
		k = (k + 1) & (v->room - 1);
	v->counts[k].ino = ino;
	return &v->counts[k];
}

static void verify_names(struct verify *v, const struct inode *i)
{
	const struct dir *d = i->dir;
	const struct entry *e;
	struct dir_walk w;
	uint64_t last = 0;
	uint32_t live = 0;

	dir_walk_begin(&w, &d->list, 0);
	for (e = dir_walk_next(&w); e; e = dir_walk_next(&w)) {
		live++;
		if (e->cookie <= last || e->cookie >= d->next_cookie)
			finding(v, "directory %" PRIu64 ": cookie %" PRIu64 " is out of order", ino_of(i), e->cookie);
		last = e->cookie;
		if (dir_find(d, e->name, e->len) != e)
			finding(v, "directory %" PRIu64 ": \"%s\" is not found by its name", ino_of(i), e->name);
		count_of(v, ino_of(e->inode))->links++;
		if (e->inode->type != e->type)
			finding(v, "directory %" PRIu64 ": \"%s\" has the wrong type", ino_of(i), e->name);
		if (e->type != DT_DIR)
			continue;
		count_of(v, ino_of(i))->links++;
		if (e->inode->dir->parent != i)
			finding(v, "directory %" PRIu64 ": is not the parent of \"%s\"", ino_of(i), e->name);
	}
	if (live != d->live)
		finding(v, "directory %" PRIu64 ": %u entries, counted as %u", ino_of(i), live, d->live);
	/* "." of itself; its name, or ".." of the root. */
	count_of(v, ino_of(i))->links += i == v->fs->root ? 2 : 1;
}

static void verify_extents(struct verify *v, const struct inode *i)
{
	struct extent e;

	if (!extmap_sound(&i->map))
		finding(v, "inode %" PRIu64 ": the extent map is not sound", ino_of(i));
	for (uint64_t b = 0; extmap_find(&i->map, b, &e); b = e.off + e.blocks) {
		int err = alloc_mark(v->alloc, (struct run){e.start, e.blocks});

		if (err)
			finding(v, "inode %" PRIu64 ": blocks %" PRIu64 " to %" PRIu64 " cannot be its own (%d)",
				ino_of(i), e.start, e.start + e.blocks, err);
	}
}

static int verify_inode(void *ctx, struct inode *i)
{
	struct verify *v = ctx;

	rwlock_take_read(&i->lock);
	if (!i->gone && i->type == DT_DIR)
		verify_names(v, i);
	else if (!i->gone && i->type == DT_REG)
		verify_extents(v, i);
	if (i->type == DT_LNK && i->target_len != i->attr.size)
		finding(v, "inode %" PRIu64 ": symlink of another length than its size", ino_of(i));
	if (!i->gone && acl_rule(i))
		finding(v, "inode %" PRIu64 ": %s", ino_of(i), acl_rule(i));
	if (ino_of(i) >= atomic_load(&v->fs->next_ino))
		finding(v, "inode %" PRIu64 ": 6.9 the next number is lower", ino_of(i));
	rwlock_drop(&i->lock);
	return 0;
}

static int verify_links(void *ctx, struct inode *i)
{
	struct verify *v = ctx;
	uint32_t links;

	rwlock_take_read(&i->lock);
	links = count_of(v, ino_of(i))->links;
	if (!i->gone && links != i->nlink)
		finding(v, "inode %" PRIu64 ": %u links, counted as %u", ino_of(i), links, i->nlink);
	rwlock_drop(&i->lock);
	return 0;
}

/* After all references are counted anew: what the file thinks of sharing. */
static int verify_shares(void *ctx, struct inode *i)
{
	struct verify *v = ctx;
	struct extent e;

	if (i->type != DT_REG)
		return 0;
	rwlock_take_read(&i->lock);
	for (uint64_t b = 0; layout_next(i, b, BLOCKS_END, &e);) {
		struct run r = {e.start, e.blocks};
		uint64_t alike, mine;
		bool shared = alloc_shared(v->alloc, r, &alike);

		r.blocks = alike;
		if (alloc_shared(v->fs->alloc, r, &mine) != shared || mine != alike)
			finding(v, "inode %" PRIu64 ": sharing of block %" PRIu64 " is not as counted", ino_of(i),
				e.start);
		else if (shared && !i->may_share)
			finding(v, "inode %" PRIu64 ": does not know that it shares block %" PRIu64, ino_of(i),
				e.start);
		b = e.off + alike;
	}
	rwlock_drop(&i->lock);
	return 0;
}

static int verify_run(struct verify *v)
{
	struct inode *dead = NULL;
	uint64_t free_blocks, known;
	int err = journal_mark_space(v->fs->journal, v->alloc);

	if (!err)
		err = itable_each(v->fs, verify_inode, v, &dead);
	inodes_put_dead(v->fs, dead);
	if (!err)
		err = itable_each(v->fs, verify_links, v, &dead);
	inodes_put_dead(v->fs, dead);
	if (!err)
		err = itable_each(v->fs, verify_shares, v, &dead);
	inodes_put_dead(v->fs, dead);
	free_blocks = alloc_free_blocks(v->alloc);
	known = alloc_free_blocks(v->fs->alloc) + alloc_held_blocks(v->fs->alloc);
	if (!err && free_blocks != known)
		finding(v, "free space: %" PRIu64 " blocks, counted as %" PRIu64, free_blocks, known);
	if (!err) {
		int over = limit_verify(v->fs, v->each, v->ctx);

		err = over < 0 ? over : 0;
		v->findings += over > 0 ? over : 0;
	}
	return err;
}

int fs_verify(struct fs *fs, void (*each)(void *ctx, const char *finding), void *ctx)
{
	struct verify v = {.fs = fs, .each = each, .ctx = ctx, .room = 64};
	int err;

	while (v.room < atomic_load(&fs->files) * 2 + 64)
		v.room *= 2;
	v.counts = calloc(v.room, sizeof(*v.counts));
	err = v.counts ? alloc_new(alloc_pool_blocks(fs->alloc), false, &v.alloc) : -ENOMEM;
	if (!err && !fs->read_only)
		err = journal_sync(fs->journal);
	if (!err)
		err = verify_run(&v);
	alloc_free(v.alloc);
	free(v.counts);
	return err ? err : v.findings;
}
