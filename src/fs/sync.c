/* SPDX-License-Identifier: BSD-2-Clause */
/* Making content durable: fsync of written ranges, commit of direct writes (L28, L30), and everything at once. */
#include <errno.h>

#include "base/error.h"
#include "fs/layout.h"
#include "fs/perm.h"

#define SYNC_EXTENTS 1024u /* conversions in one record */

/*
 * Under INODE exclusive. Hands the content of [off, end) to the journal and turns what memory calls zeroed into
 * written, as items of t. Extents that lie beyond eof (blocks) stay: nobody may see them after a crash. Returns the
 * next block.
 */
static uint64_t collect(struct fs *fs, struct inode *i, uint64_t first, uint64_t end, uint64_t eof, struct jtxn *t,
			unsigned *count)
{
	uint64_t b = first;
	struct extent e;

	*count = 0;
	while (*count < SYNC_EXTENTS && layout_next(i, b, end, &e)) {
		if ((e.flags & EXT_ZEROED) && e.off < eof)
			e.blocks = min_u64(e.blocks, eof - e.off);
		b = e.off + e.blocks;
		if (e.flags == EXT_UNWRITTEN)
			continue;
		journal_data(fs->journal, block_bytes(e.start), block_bytes(e.blocks));
		if (!(e.flags & EXT_ZEROED) || e.off >= eof)
			continue;
		e.flags = 0;
		jtxn_map(t, ino_of(i), &e);
		(*count)++;
	}
	return *count < SYNC_EXTENTS ? end : b;
}

/* The memory side of collect: the same walk after the record is durable. */
static void convert(struct inode *i, uint64_t first, uint64_t end, uint64_t eof)
{
	uint64_t b = first;
	struct extent e;

	end = min_u64(end, eof);
	while (layout_next(i, b, end, &e)) {
		b = e.off + e.blocks;
		if (!(e.flags & EXT_ZEROED))
			continue;
		e.flags = 0;
		extmap_set(&i->map, &e);
	}
}

/* Under INODE exclusive: the content of r, conversions inside the file, and with_attr the attributes, in records as
 * needed. */
static int sync_range(struct fs *fs, struct inode *i, struct range r, const struct inode_attr *attr, bool with_attr)
{
	uint64_t eof = block_up(attr->size);
	uint64_t b = block_of(r.start);
	uint64_t end = block_up(r.end);
	bool last;
	int err;

	do {
		struct jtxn t;
		unsigned count;
		uint64_t next;
		uint64_t seq;

		jtxn_init(&t);
		t.frees = true;
		next = collect(fs, i, b, end, eof, &t, &count);
		last = next >= end;
		jtxn_inode(&t, last ? attr : &i->attr);
		err = extmap_reserve(&i->map, count);
		if (!err && (count || (last && with_attr)))
			err = commit_content(fs, &t, &seq);
		jtxn_fini(&t);
		if (!err && count)
			convert(i, b, next, eof);
		b = next;
	} while (!err && !last);
	if (!err && with_attr) {
		inode_attr_set(fs, i, attr, CHANGED_NOTHING, NULL);
		atomic_store_explicit(&i->lazy, false, memory_order_relaxed);
	}
	return err;
}

/* Names and symlinks have nothing but times that the log may not know. */
static int sync_attr(struct fs *fs, struct inode *i)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	t.frees = true;
	jtxn_inode(&t, &i->attr);
	err = jtxn_commit(fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (!err)
		atomic_store_explicit(&i->lazy, false, memory_order_relaxed);
	return err;
}

/* Under INODE exclusive. */
static int sync_locked(struct fs *fs, struct inode *i, bool with_attr)
{
	struct range r = {i->dirty_off, i->dirty_end};
	int err = 0;

	with_attr = with_attr && atomic_load_explicit(&i->lazy, memory_order_relaxed);
	if (i->gone || fs->read_only || (i->dirty_end == 0 && !with_attr))
		return 0;
	if (i->type != DT_REG)
		return sync_attr(fs, i);
	err = sync_range(fs, i, r, &i->attr, with_attr);
	if (!err)
		i->dirty_off = i->dirty_end = 0;
	return err;
}

/* What is written already must become durable on a full pool too: these records may use the log's reserve. */
static int sync_inode(struct fs *fs, struct inode *i, bool with_attr)
{
	unsigned tries = 0;
	int err;

	do {
		rwlock_take_write(&i->lock);
		err = sync_locked(fs, i, with_attr);
		rwlock_drop(&i->lock);
	} while (walk_made_room(fs, err, &tries));
	return err;
}

struct sync_all {
	struct fs *fs;
	bool with_attr;
};

static int inode_sync(void *ctx, struct inode *i)
{
	const struct sync_all *all = ctx;

	if (!all->with_attr && atomic_load_explicit(&i->lazy, memory_order_relaxed))
		atomic_store_explicit(&all->fs->lazy_left, true, memory_order_relaxed);
	return sync_inode(all->fs, i, all->with_attr);
}

int fs_sync(struct fs_handle *h, bool data_only)
{
	struct fs *fs = h->fs;
	int err;

	if (fs->read_only)
		return 0;
	rwlock_take_read(&h->inode->lock);
	err = h->inode->type == DT_REG ? inode_stale(h->inode) : 0;
	rwlock_drop(&h->inode->lock);
	if (!err)
		err = sync_inode(fs, h->inode, !data_only);
	if (err)
		return err;
	pool_fence(fs->pool);
	return journal_sync(fs->journal);
}

int sync_all(struct fs *fs, bool with_attr)
{
	struct sync_all all = {fs, with_attr};
	struct inode *dead;
	int err;

	if (fs->read_only)
		return 0;
	atomic_store_explicit(&fs->lazy_left, false, memory_order_relaxed);
	err = itable_each(fs, inode_sync, &all, &dead);
	inodes_put_dead(fs, dead);
	if (err)
		return err;
	pool_fence(fs->pool);
	return journal_sync(fs->journal);
}

int fs_sync_all(struct fs *fs)
{
	return sync_all(fs, true);
}

/* How far a commit makes the file longer: to where it says, not at all, to where somebody can have written. */
enum commit_reach { COMMIT_ALL, COMMIT_INSIDE, COMMIT_WRITTEN };

/*
 * Under INODE. Where what was written directly in [off, end) ends at most: behind the end of file blocks are there for
 * writers alone (L27), and what a cut has taken is not there any more.
 */
static uint64_t written_end(const struct inode *i, uint64_t off, uint64_t end)
{
	uint64_t size = i->attr.size, last = min_u64(end, size);
	uint64_t b = block_of(max_u64(off, size));
	struct extent e;

	/* The writer of a byte behind the end has had the rest of its block zeroed. */
	if (i->tail_stale && b == block_of(size))
		b++;
	for (; end > size && layout_next(i, b, block_up(end), &e); b = e.off + e.blocks) {
		if (e.flags != EXT_UNWRITTEN)
			last = min_u64(end, block_bytes(e.off + e.blocks));
	}
	return last;
}

/* Under INODE exclusive, which store_gap may drop: then everything is looked at again. */
static int commit_locked(struct store *gap, uint64_t off, uint64_t end, enum commit_reach reach)
{
	struct inode *i = gap->inode;
	struct inode_attr attr;
	bool record;
	int err;

	err = inode_stale(i);
	if (err)
		return err;
	if (reach == COMMIT_INSIDE)
		end = min_u64(end, i->attr.size);
	if (reach == COMMIT_WRITTEN)
		end = written_end(i, off, end);
	if (off >= end)
		return 0;
	do {
		gap->dropped = false;
		err = 0;
		/* What a cut has left in the last block is no direct writer's: he would have had it zeroed first. */
		if (off > i->attr.size || (i->tail_stale && end > i->attr.size))
			err = store_gap(gap, max_u64(off, i->attr.size));
	} while (!err && gap->dropped);
	if (err)
		return err;
	attr = i->attr;
	attr.size = max_u64(attr.size, end);
	attr.mode = mode_after_write(&attr, &gap->who->cred);
	attr.mtime_ns = time_now();
	attr.ctime_ns = attr.mtime_ns;
	record = attr.size != i->attr.size || attr.mode != i->attr.mode;
	err = sync_range(gap->fs, i, (struct range){off, end}, &attr, record);
	if (!err && !record) {
		inode_attr_set(gap->fs, i, &attr, CHANGED_NOTHING, NULL);
		atomic_store_explicit(&i->lazy, true, memory_order_relaxed);
	}
	/* Also after a failure: the bytes are there, whatever became of the size. */
	inode_changed(gap->fs, i, CHANGED_DATA, gap->who);
	return err;
}

static int commit(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len, enum commit_reach reach)
{
	struct gate gate = {0};
	struct store gap = {.fs = h->fs, .inode = h->inode, .who = who, .gate = &gate, .promised = true};
	unsigned tries = 0;
	uint64_t end;
	int err;

	if (h->inode->type != DT_REG)
		return -EINVAL;
	if (!h->writable)
		return fail(-EBADF, "commit needs a handle that is open for writing");
	if (add_overflows(off, len, &end) || end > FS_SIZE_MAX)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	if (len == 0)
		return 0;
	do {
		rwlock_take_write(&h->inode->lock);
		err = commit_locked(&gap, off, end, reach);
		rwlock_drop(&h->inode->lock);
	} while (walk_made_room(h->fs, err, &tries));
	gate_end(&gate);
	if (err)
		return err;
	pool_fence(h->fs->pool);
	return journal_sync(h->fs->journal);
}

int fs_commit(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len)
{
	return commit(h, who, off, len, COMMIT_ALL);
}

int fs_commit_inside(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len)
{
	return commit(h, who, off, len, COMMIT_INSIDE);
}

int fs_commit_written(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len)
{
	return commit(h, who, off, len, COMMIT_WRITTEN);
}
