/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Collapse and insert: what lies behind a place in a file moves down or up by whole blocks. No data is copied: one
 * record unmaps the rest of the file and maps it anew, so that a crash leaves the file as it was or as it becomes.
 *
 * The whole rest is broken, also where the map stays equal by chance (L1: "to end of file").
 */
#include <errno.h>

#include "base/error.h"
#include "fs/extmap_move.h"
#include "fs/layout.h"

/* A record of more bytes than this may not use what is set aside for the log of a full pool: that must be left for
 * operations that certainly give space back. */
#define SMALL_RECORD (16u << 10)

struct shift {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	uint64_t off, len; /* bytes */
	bool insert;
	struct extmap_piece rest; /* blocks: what moves */
	struct extmap_patch patch;
	struct inode_attr attr;
	uint64_t extents; /* before */
};

/* Under INODE: the rules of fallocate(2). */
static int shift_check(const struct shift *s)
{
	const struct inode *i = s->inode;
	struct extent e;

	if (i->gone)
		return inode_stale(i);
	if (s->off % LH_BLOCK_SIZE || s->len % LH_BLOCK_SIZE)
		return fail(-EINVAL, "%s range: offset and length must be multiples of %u",
			    s->insert ? "insert" : "collapse", LH_BLOCK_SIZE);
	if (!s->insert && s->off + s->len >= i->attr.size)
		return fail(-EINVAL, "collapse range: the range must end before the file does: use truncate");
	if (s->insert && s->len > FS_SIZE_MAX - i->attr.size)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	if (s->insert && s->off >= i->attr.size)
		return fail(-EINVAL, "insert range: the range must begin before the file's end: use truncate");
	if (s->insert && layout_next(i, BLOCKS_END - block_of(s->len), BLOCKS_END, &e))
		return fail(-EFBIG, "insert range: blocks reserved behind the end would pass the longest file");
	return 0;
}

static void shift_items(const struct shift *s, struct jtxn *t)
{
	uint64_t first = block_of(s->off);
	struct extmap_walk w;
	struct extent e;

	jtxn_inode(t, &s->attr);
	jtxn_unmap(t, s->attr.ino, first, BLOCKS_END - first);
	extmap_walk_start(&w, &s->rest);
	while (!t->error && extmap_walk_next(&w, &e))
		jtxn_map(t, s->attr.ino, &e);
}

/* What is not flushed has moved: the hull covers the old place and the new one. */
static void shift_dirty(struct shift *s)
{
	struct inode *i = s->inode;

	if (i->dirty_end <= s->off)
		return;
	if (s->insert)
		i->dirty_end = min_u64(i->dirty_end + s->len, FS_SIZE_MAX);
	else
		i->dirty_off = min_u64(i->dirty_off, max_u64(s->off, i->dirty_off - min_u64(s->len, i->dirty_off)));
}

/* Cannot fail. */
static void shift_apply(struct shift *s, struct change *c, uint64_t seq)
{
	struct inode *i = s->inode;
	bool stale = i->tail_stale;

	if (!s->insert)
		release_blocks(c, block_of(s->off), s->rest.first, seq);
	extmap_patch_apply(&s->patch);
	shift_dirty(s);
	inode_attr_set(s->fs, i, &s->attr, CHANGED_DATA, s->who);
	/* The block with the end of file is the same as before. */
	i->tail_stale = stale;
	atomic_store_explicit(&i->lazy, false, memory_order_relaxed);
	hazard_remapped(s->fs, i, seq);
	walk_account(s->fs, ((int64_t)i->map.extents - (int64_t)s->extents) * WALK_EXTENT_BYTES);
}

/* Under INODE exclusive, nobody else leases the rest of the file. */
static int shift_change(struct shift *s)
{
	uint64_t first = block_of(s->off);
	uint64_t blocks = block_of(s->len);
	struct change c = {0};
	struct jtxn t;
	uint64_t seq;
	int err;

	s->rest = (struct extmap_piece){.from = &s->inode->map, .first = first, .end = BLOCKS_END, .to = first};
	if (s->insert)
		s->rest.to += blocks;
	else
		s->rest.first += blocks;
	s->extents = s->inode->map.extents;
	s->attr = attr_changed(s->inode, s->who);
	s->attr.size = s->insert ? s->attr.size + s->len : s->attr.size - s->len;
	err = extmap_patch_prepare(&s->patch, &s->inode->map, first, BLOCKS_END, &s->rest, 1);
	if (err)
		return err;
	if (layout_cuts_in_two(s->inode, first, s->insert ? first : s->rest.first))
		err = layout_extents_fit(s->fs, s->extents + 1);
	if (!err)
		err = change_begin(&c, s->fs, s->inode, (struct range){s->off, RANGE_MAX}, s->who);
	if (!err) {
		jtxn_init(&t);
		shift_items(s, &t);
		t.frees = !s->insert && t.len <= SMALL_RECORD;
		err = commit_content(s->fs, &t, &seq);
		jtxn_fini(&t);
	}
	if (!err)
		shift_apply(s, &c, seq);
	extmap_patch_drop(&s->patch);
	change_end(&c);
	return err;
}

int shift_range(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len, bool insert)
{
	struct inode *i = h->inode;
	struct shift s = {.fs = h->fs, .inode = i, .who = who, .off = off, .len = len, .insert = insert};
	struct gate gate = {0};
	struct gate_need need = {{off, RANGE_MAX},
				 LEASE_ANY_MODE,
				 insert ? LEASE_FOR_INSERT : LEASE_FOR_COLLAPSE,
				 insert ? LEASE_DRAIN : LEASE_STOP};
	struct store again = {.fs = h->fs, .inode = i, .who = who, .gate = &gate};
	unsigned tries = 0;
	int err;

	do {
		rwlock_take_write(&i->lock);
		err = shift_check(&s);
		if (!err)
			err = layout_check(&gate, i, &need, who);
		if (!err)
			err = shift_change(&s);
		rwlock_drop(&i->lock);
	} while (change_again(&again, &need, &tries, &err));
	gate_end(&gate);
	return err;
}
