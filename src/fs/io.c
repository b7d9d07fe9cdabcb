/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and writing by calls. Reads take INODE shared, writes exclusive, so that calls see each other whole; direct
 * writers of leases go past both.
 *
 * Times are lazy, as with the kernel's lazytime and relatime: a read, and a write that changes nothing but bytes in
 * place, leaves its time in memory; it reaches the log with the file's next record, fsync, checkpoint or unmount.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "fs/keeper.h"
#include "fs/layout.h"
#include "fs/perm.h"

int64_t time_now(void)
{
	return (int64_t)clock_real_coarse_ns();
}

static void raise_to(_Atomic uint64_t *v, uint64_t to)
{
	uint64_t old = atomic_load(v);

	while (old < to && !atomic_compare_exchange_weak(v, &old, to))
		;
}

void hazard_note(struct fs *fs, uint64_t seq)
{
	if (fs->pool->class == POOL_MSYNC)
		raise_to(&fs->hazard_seq, seq);
}

int hazard_settle(struct fs *fs)
{
	uint64_t seq = atomic_load(&fs->hazard_seq);
	int err;

	if (likely(seq <= atomic_load(&fs->settled_seq)))
		return 0;
	err = journal_sync(fs->journal);
	if (!err)
		raise_to(&fs->settled_seq, seq);
	return err;
}

void hazard_remapped(struct fs *fs, struct inode *i, uint64_t seq)
{
	hazard_note(fs, seq);
	i->remapped = fs->pool->class == POOL_MSYNC;
}

int hazard_settle_in_place(struct fs *fs, struct inode *i)
{
	int err;

	if (!i->may_share && !i->remapped)
		return 0;
	err = hazard_settle(fs);
	if (!err)
		i->remapped = false;
	return err;
}

int commit_content(struct fs *fs, struct jtxn *t, uint64_t *seq)
{
	int err = pool_fault(fs->pool);

	if (unlikely(err))
		return err;
	pool_fence(fs->pool);
	return jtxn_commit(fs->journal, t, seq);
}

void inode_dirty(struct inode *i, uint64_t off, uint64_t end)
{
	if (i->dirty_end == 0) {
		i->dirty_off = off;
		i->dirty_end = end;
		return;
	}
	i->dirty_off = min_u64(i->dirty_off, off);
	i->dirty_end = max_u64(i->dirty_end, end);
}

void inode_dirty_as(struct inode *to, uint64_t to_off, const struct inode *from, struct range r)
{
	struct range dirty = range_cut(r, (struct range){from->dirty_off, from->dirty_end});

	if (!range_empty(dirty))
		inode_dirty(to, dirty.start - r.start + to_off, dirty.end - r.start + to_off);
}

struct inode_attr attr_changed(const struct inode *i, const struct fs_caller *who)
{
	struct inode_attr a = i->attr;

	a.mtime_ns = time_now();
	a.ctime_ns = a.mtime_ns;
	a.mode = mode_after_write(&a, &who->cred);
	return a;
}

/* The pool's text says where in the pool; this adds which bytes of which file. */
int media_error(const struct inode *i, uint64_t off, uint64_t len)
{
	char where[LH_ERROR_TEXT_MAX];

	snprintf(where, sizeof(where), "%s", fail_text());
	return fail(-EIO, "inode %llu, bytes %llu to %llu: %s", (unsigned long long)ino_of(i), (unsigned long long)off,
		    (unsigned long long)(off + len), where);
}

/* Under INODE. [off, off + len) is inside the file. -EIO: the memory fails there. */
static int read_range(struct fs *fs, const struct inode *i, uint8_t *buf, size_t len, uint64_t off)
{
	while (len > 0) {
		struct extent e;
		uint64_t n;
		bool found = extmap_find(&i->map, block_of(off), &e);
		uint64_t into = off - block_bytes(e.off);

		if (!found) {
			memset(buf, 0, len);
			return 0;
		}
		if (e.off > block_of(off)) {
			n = min_u64(len, block_bytes(e.off) - off);
			memset(buf, 0, n);
		} else {
			n = min_u64(len, block_bytes(e.blocks) - into);
			if (unlikely(e.flags == EXT_UNWRITTEN))
				memset(buf, 0, n);
			else if (unlikely(pool_read(fs->pool, block_bytes(e.start) + into, buf, n)))
				return media_error(i, off, n);
		}
		buf += n;
		off += n;
		len -= n;
	}
	return 0;
}

ssize_t fs_read(struct fs_handle *h, const struct fs_caller *who, void *buf, size_t len, uint64_t off)
{
	struct inode *i = h->inode;
	int err = 0;

	(void)who;
	if (unlikely(i->type != DT_REG))
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (unlikely(!h->readable))
		return -EBADF;
	if (unlikely(len > SSIZE_MAX))
		len = SSIZE_MAX;
	rwlock_take_read(&i->lock);
	if (unlikely(i->gone))
		err = inode_stale(i);
	if (err || off >= i->attr.size)
		len = 0;
	else
		len = min_u64(len, i->attr.size - off);
	if (len > 0) {
		err = read_range(h->fs, i, buf, len, off);
		inode_touch_atime(h->fs, i);
	}
	rwlock_drop(&i->lock);
	return err ? err : (ssize_t)len;
}

/* One run that is there, is ours alone and inside the file: nothing but bytes and lazy times change. Under INODE
 * exclusive. */
static bool write_in_place(struct fs *fs, struct inode *i, const struct fs_caller *who, const void *buf, size_t len,
			   uint64_t off)
{
	struct extent e;

	if (i->may_share || i->remapped || i->gone || off > i->attr.size || len > i->attr.size - off || len == 0)
		return false;
	if (mode_after_write(&i->attr, &who->cred) != i->attr.mode)
		return false;
	if (!extmap_find(&i->map, block_of(off), &e) || e.off > block_of(off) || e.flags)
		return false;
	if (off + len > block_bytes(e.off + e.blocks))
		return false;
	pool_store(fs->pool, block_bytes(e.start) + (off - block_bytes(e.off)), buf, len);
	inode_dirty(i, off, off + len);
	i->attr.mtime_ns = time_now();
	i->attr.ctime_ns = i->attr.mtime_ns;
	atomic_store_explicit(&i->lazy, true, memory_order_relaxed);
	inode_changed(fs, i, CHANGED_DATA, who);
	return true;
}

/* No lock held. The rest, where space can be made; but nothing may come between the parts of an append. */
static int write_again(struct store *s)
{
	bool tried = s->append && s->started;
	int err = -ENOSPC;

	while (orphans_made_room(s->fs, err, &tried)) {
		rwlock_take_write(&s->inode->lock);
		err = store_run(s);
		rwlock_drop(&s->inode->lock);
		gate_end(s->gate);
	}
	return err;
}

ssize_t fs_write(struct fs_handle *h, const struct fs_caller *who, const void *buf, size_t len, uint64_t off)
{
	struct inode *i = h->inode;
	struct gate gate = {0};
	struct store s = {.fs = h->fs, .inode = i, .who = who, .gate = &gate, .src = buf, .kind = STORE_DATA};
	ssize_t done;
	int err;

	if (i->type != DT_REG)
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (!h->writable)
		return -EBADF;
	len = min_u64(len, SSIZE_MAX);
	if (len == 0)
		return 0;
	s.append = h->append;
	s.pos = h->append ? 0 : off;
	if (add_overflows(s.pos, len, &s.end) || s.pos >= FS_SIZE_MAX)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	s.end = min_u64(s.end, FS_SIZE_MAX);
	rwlock_take_write(&i->lock);
	if (!h->append && write_in_place(h->fs, i, who, buf, len, off)) {
		err = pool_fault(h->fs->pool) ? media_error(i, off, len) : 0;
		rwlock_drop(&i->lock);
		return err ? err : (ssize_t)len;
	}
	err = store_run(&s);
	rwlock_drop(&i->lock);
	gate_end(&gate);
	if (unlikely(err == -ENOSPC))
		err = write_again(&s);
	done = (const uint8_t *)s.src - (const uint8_t *)buf;
	return done > 0 ? done : err;
}

void *fs_run_window(struct fs *fs, const struct fs_run *run)
{
	return pool_window(fs->pool, run->pool_off, run->len);
}

void fs_run_flush(struct fs *fs, uint64_t pool_off, uint64_t len)
{
	pool_flush(fs->pool, pool_off, len);
}
