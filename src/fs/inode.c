/* SPDX-License-Identifier: BSD-2-Clause */
/* Inodes: life, references, locking several. The rules of life are in core.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "format/format.h"
#include "fs/core.h"
#include "fs/dir.h"
#include "fs/freeze.h"
#include "fs/layout.h"
#include "fs/limit.h"
#include "fs/xattr.h"

#define ATIME_MAX_AGE_NS (24 * 3600 * (int64_t)NS_PER_SEC)

uint8_t mode_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return IFTODT(mode);
	}
	return DT_UNKNOWN;
}

int inode_new(struct fs *fs, const struct inode_attr *attr, struct inode **out)
{
	struct inode *i = calloc(1, sizeof(*i));
	int err;

	if (!i)
		return -ENOMEM;
	i->attr = *attr;
	i->type = mode_type(attr->mode);
	assert(i->type != DT_UNKNOWN);
	if (i->type == DT_DIR) {
		err = dir_new(fs, &i->dir);
		if (err) {
			free(i);
			return err;
		}
	} else if (i->type == DT_REG) {
		extmap_init(&i->map);
	}
	rwlock_init(&i->lock, RANK_INODE, attr->ino);
	freeze_join(fs, &i->lock);
	lease_anchor_init(&i->anchor, attr->ino);
	atomic_init(&i->refs, 1);
	*out = i;
	return 0;
}

void inode_free(struct inode *i)
{
	if (!i)
		return;
	switch (i->type) {
	case DT_REG:
		extmap_fini(&i->map);
		break;
	case DT_DIR:
		dir_free(i->dir);
		break;
	case DT_LNK:
		free(i->target);
		break;
	}
	xattrs_free(i->xattrs);
	lease_anchor_fini(&i->anchor);
	rwlock_destroy(&i->lock);
	free(i);
}

void inode_get(struct inode *i)
{
	uint32_t old = atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);

	assert(old != REF_ORPHAN);
	(void)old;
}

void inode_orphan(struct inode *i)
{
	i->nlink = 0;
	if (i->type == DT_DIR)
		i->dir->parent = NULL;
	atomic_fetch_or_explicit(&i->refs, REF_ORPHAN, memory_order_acq_rel);
}

void inode_named(struct inode *i)
{
	if (i->nlink++ > 0)
		return;
	assert(i->linkable);
	i->linkable = false;
	atomic_fetch_and_explicit(&i->refs, ~REF_ORPHAN, memory_order_acq_rel);
}

bool inode_unused(const struct inode *i)
{
	return (atomic_load_explicit(&i->refs, memory_order_acquire) & ~REF_ORPHAN) == 1 && !lease_busy(&i->anchor);
}

int blocks_take(struct fs *fs, uint64_t want, uint64_t goal, struct run *out)
{
	int err = alloc_take(fs->alloc, want, goal, out);

	if (err != -ENOSPC || alloc_pending_blocks(fs->alloc) == 0)
		return err;
	err = journal_sync(fs->journal);
	return err ? err : alloc_take(fs->alloc, want, goal, out);
}

int blocks_take_promised(struct fs *fs, uint64_t want, uint64_t goal, struct run *out)
{
	int err = blocks_take(fs, want, goal, out);

	return err == -ENOSPC ? alloc_take_promised(fs->alloc, want, goal, out) : err;
}

static void blocks_release(struct fs *fs, struct inode *i, uint64_t seq)
{
	struct drained gone;
	struct extent e;
	int err;

	if (i->type != DT_REG || i->map.extents == 0)
		return;
	err = lease_drained(&i->anchor, RANGE_ALL, &gone);
	assert(err == 0);
	(void)err;
	for (uint64_t b = 0; extmap_find(&i->map, b, &e); b = e.off + e.blocks)
		alloc_release(fs->alloc, &gone, (struct run){e.start, e.blocks}, seq);
	if (i->may_share)
		hazard_note(fs, seq);
	walk_account(fs, -(int64_t)(i->map.extents * WALK_EXTENT_BYTES));
	extmap_fini(&i->map);
	extmap_init(&i->map);
}

void inode_forgotten(struct fs *fs, struct inode *i, uint64_t seq)
{
	blocks_release(fs, i, seq);
	limit_forget(fs, i);
	i->gone = true;
	itable_remove(fs, i);
	walk_account(fs, -walk_inode_bytes(i));
}

static int reclaim_once(struct fs *fs, struct inode *i)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	t.frees = true;
	jtxn_forget(&t, ino_of(i));
	rwlock_take_write(&i->lock);
	err = fs->read_only ? -EROFS : jtxn_commit(fs->journal, &t, &seq);
	if (!err)
		inode_forgotten(fs, i, seq);
	rwlock_drop(&i->lock);
	jtxn_fini(&t);
	return err;
}

/* It waits on the list of orphans, with the reference that orphans_reclaim gives back. */
static void orphan_keep(struct fs *fs, struct inode *i)
{
	atomic_store_explicit(&i->refs, REF_ORPHAN | 1, memory_order_release);
	i->next_dead = atomic_load(&fs->orphans);
	while (!atomic_compare_exchange_weak(&fs->orphans, &i->next_dead, i))
		;
}

void orphans_reclaim(struct fs *fs)
{
	struct inode *list;

	if (likely(!atomic_load(&fs->orphans)) || atomic_exchange(&fs->orphans_busy, true))
		return;
	list = atomic_exchange(&fs->orphans, NULL);
	inodes_put_dead(fs, list);
	atomic_store(&fs->orphans_busy, false);
}

/*
 * Nobody can reach the inode any more but by leases that were left behind. false: memory or log space was out, and it
 * waits for the next checkpoint. After an error of the medium its blocks wait for the next mount.
 */
static bool reclaim(struct fs *fs, struct inode *i)
{
	struct gate_need need = {RANGE_ALL, LEASE_ALL, LEASE_FOR_RECLAIM, LEASE_STOP};
	struct fs_caller nobody = {0};
	struct gate gate = {0};
	unsigned tries = 0;
	int err = 0;

	if (lease_busy(&i->anchor) && lease_conflicts(&i->anchor, RANGE_ALL, LEASE_ALL, NULL) == 1)
		err = gate_break(&gate, fs, i, &need, &nobody);
	if (!err) {
		do {
			err = reclaim_once(fs, i);
		} while (walk_made_room(fs, err, &tries));
	}
	gate_end(&gate);
	if (!err)
		return true;
	if (err == -ENOSPC || err == -ENOMEM) {
		orphan_keep(fs, i);
		return false;
	}
	rwlock_take_write(&i->lock);
	itable_remove(fs, i);
	i->gone = true;
	rwlock_drop(&i->lock);
	log_warn("fs", "inode %llu: reclaim failed (%s); its blocks come back with the next mount",
		 (unsigned long long)ino_of(i), strerror(-err));
	return true;
}

void inode_put(struct fs *fs, struct inode *i)
{
	uint32_t old;

	if (!i)
		return;
	old = atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel);
	assert((old & ~REF_ORPHAN) > 0);
	if (old != (REF_ORPHAN | 1))
		return;
	if (i->type == DT_DIR && i->gone)
		itable_unnamed_free(fs, i);
	if (i->gone || reclaim(fs, i))
		inode_free(i);
}

void inode_attr_read(const struct inode *i, struct fs_attr *out)
{
	const struct inode_attr *a = &i->attr;

	*out = (struct fs_attr){.ino = a->ino,
				.mode = a->mode,
				.nlink = i->nlink,
				.uid = a->uid,
				.gid = a->gid,
				.rdev = a->rdev,
				.size = a->size,
				.blocks = i->type == DT_REG ? i->map.blocks : 0,
				.atime_ns = __atomic_load_n(&a->atime_ns, __ATOMIC_RELAXED),
				.mtime_ns = a->mtime_ns,
				.ctime_ns = a->ctime_ns,
				.btime_ns = a->btime_ns};
	if (i->type == DT_DIR)
		out->size = i->dir->live;
	out->tree = a->tree;
	if (a->flags & INODE_SNAPSHOT)
		out->flags |= FS_ATTR_SNAPSHOT;
	if (a->flags & INODE_READ_ONLY)
		out->flags |= FS_ATTR_READ_ONLY;
}

struct inode_attr inode_attr_copy(const struct inode *i)
{
	const size_t atime = offsetof(struct inode_attr, atime_ns), behind = atime + sizeof(i->attr.atime_ns);
	struct inode_attr a;

	memcpy(&a, &i->attr, atime);
	a.atime_ns = __atomic_load_n(&i->attr.atime_ns, __ATOMIC_RELAXED);
	memcpy((char *)&a + behind, (const char *)&i->attr + behind, sizeof(a) - behind);
	return a;
}

void inode_tell(struct inode *i, const struct fs_caller *who)
{
	if (likely(!who->attr))
		return;
	rwlock_take_read(&i->lock);
	inode_attr_read(i, who->attr);
	rwlock_drop(&i->lock);
}

void inode_touch_atime(struct fs *fs, struct inode *i)
{
	int64_t atime = __atomic_load_n(&i->attr.atime_ns, __ATOMIC_RELAXED);
	int64_t now;
	int64_t age;

	if (fs->read_only || (i->attr.flags & INODE_READ_ONLY))
		return;
	now = time_now();
	if (atime > i->attr.mtime_ns && atime > i->attr.ctime_ns && !__builtin_sub_overflow(now, atime, &age) &&
	    age < ATIME_MAX_AGE_NS)
		return;
	if (atime == now)
		return;
	__atomic_store_n(&i->attr.atime_ns, now, __ATOMIC_RELAXED);
	atomic_store_explicit(&i->lazy, true, memory_order_relaxed);
}

/* --- several at once ---------------------------------------------------------------------------------------------- */

void lockset_add(struct lockset *s, struct inode *i)
{
	unsigned at = s->count;

	if (!i)
		return;
	for (unsigned k = 0; k < s->count; k++) {
		if (s->in[k] == i)
			return;
	}
	assert(s->count < ARRAY_LEN(s->in));
	for (; at > 0 && ino_of(s->in[at - 1]) > ino_of(i); at--)
		s->in[at] = s->in[at - 1];
	s->in[at] = i;
	s->count++;
}

void lockset_take(struct lockset *s)
{
	for (unsigned k = 0; k < s->count; k++)
		rwlock_take_write(&s->in[k]->lock);
}

void lockset_drop(struct lockset *s)
{
	for (unsigned k = s->count; k-- > 0;)
		rwlock_drop(&s->in[k]->lock);
}
