/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking a snapshot: a copy of all inodes of a tree whose extents name the same blocks, as one operation in the log.
 *
 *   again:  freeze; collect the tree; does somebody else hold a WRITE lease in it?
 *             yes: thaw with new WRITE grants held back, recall them all at once (drain: what they wrote belongs to the
 *             snapshot, L10), wait, again
 *           copies in memory, which nobody can reach; shares counted; limits charged
 *           one record: all copies, the name of the top, and conversions of what only memory calls zeroed
 *           copies into the table, then the name; thaw
 *
 * Until the record is durable everything can be taken back: copies are freed, shares uncounted. Crash before its last
 * part: nothing of it counts (format 5.5), and shares are derived anyway. Crash after: the whole tree is there.
 *
 * The content must be durable before the record that names it a second time (I1): bytes written in place that nobody
 * has synced are handed to the journal first, so that the snapshot shows after a crash what it showed before.
 *
 * Snapshots inside the tree are copied like the rest, unless the new one lies in the tree itself: then they are left
 * out, as empty directories, or each would hold all earlier ones.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/format.h"
#include "fs/freeze.h"
#include "fs/layout.h"
#include "fs/limit.h"
#include "fs/path.h"
#include "fs/namespace.h"
#include "fs/tree.h"
#include "fs/xattr.h"

/* A break that was waited for; its gate is closed until the end. */
struct snap_gate {
	struct inode *inode;
	struct lease_break *brk;
};

struct snap {
	struct fs *fs;
	const struct fs_caller *who;
	struct inode *from; /* counted */
	struct walk to;
	bool read_only;
	bool inside; /* the new one lies in the tree that it shows */
	bool holds;  /* new WRITE grants wait */
	uint32_t from_flags, tree_id;
	struct tree tree;
	struct snap_gate *gates;
	unsigned gate_count, gate_room, gates_waited;
	/* One try. */
	struct jtxn t;
	struct entry *entry; /* of the top, in to.dir */
	struct inode_attr dir;
	uint64_t drained, copied, shared, charged; /* members */
	int64_t bytes;                             /* more for a checkpoint */
};

/* --- looking at the tree ---------------------------------------------------------------------------------------------
 */

static int conflict_note(struct snap *s, struct inode *i)
{
	if (s->gate_count == s->gate_room) {
		unsigned room = s->gate_room ? s->gate_room * 2 : 16;
		struct snap_gate *g = reallocarray(s->gates, room, sizeof(*g));

		if (!g)
			return -ENOMEM;
		s->gates = g;
		s->gate_room = room;
	}
	inode_get(i);
	s->gates[s->gate_count++] = (struct snap_gate){.inode = i};
	return 0;
}

static int member_look(void *ctx, struct inode *i)
{
	struct snap *s = ctx;
	int found;

	if (!cred_is_super(&s->who->cred) && s->who->cred.uid != i->attr.uid)
		return fail(-EPERM, "inode %llu in the tree belongs to somebody else: only root may take this snapshot",
			    (unsigned long long)ino_of(i));
	if (i->type != DT_REG || likely(!lease_busy(&i->anchor)))
		return 0;
	found = lease_conflicts(&i->anchor, RANGE_ALL, LEASE_WRITE, s->who->session);
	return found > 0 ? conflict_note(s, i) : layout_denied(i, RANGE_ALL, found);
}

static enum tree_do dir_look(void *ctx, const struct inode *i)
{
	const struct snap *s = ctx;

	return s->inside && (i->attr.flags & INODE_SNAPSHOT) ? TREE_LEAF : TREE_ENTER;
}

static bool lies_in(const struct inode *dir, const struct inode *top)
{
	while (dir && dir != top && dir->dir->parent != dir)
		dir = dir->dir->parent;
	return dir == top;
}

/* Frozen. */
static int snap_check(struct snap *s)
{
	struct entry *e;
	int err = dir_writable(&s->to);

	if (err)
		return err;
	err = walk_look(&s->to, &e);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	if (s->from->nlink == 0)
		return -ENOENT;
	if (!cred_is_super(&s->who->cred) && s->who->cred.uid != s->from->attr.uid)
		return fail(-EPERM, "only root and the owner of a directory may take snapshots of it");
	if (s->to.dir->nlink >= FS_LINKS_MAX)
		return -EMLINK;
	s->inside = lies_in(s->to.dir, s->from);
	s->from_flags = s->from->attr.flags;
	s->tree_id = s->to.dir->attr.tree;
	return 0;
}

/* --- copies ----------------------------------------------------------------------------------------------------------
 */

static uint32_t copy_flags(const struct snap *s, const struct tree_member *m)
{
	uint32_t flags = m->inode->attr.flags;

	/* What was part of a read-only snapshot may be changed in a writable one of it. */
	if (s->from_flags & INODE_READ_ONLY)
		flags &= ~(uint32_t)INODE_READ_ONLY;
	if (m->leaf || m->inode == s->from)
		flags &= ~(uint32_t)INODE_SNAPSHOT;
	if (m->leaf)
		flags &= ~(uint32_t)INODE_READ_ONLY;
	if (s->read_only)
		flags |= INODE_READ_ONLY;
	return m->inode == s->from ? flags | INODE_SNAPSHOT : flags;
}

static int copy_target(struct inode *to, const struct inode *from)
{
	to->target = malloc(from->target_len + 1ul);
	if (!to->target)
		return -ENOMEM;
	memcpy(to->target, from->target, from->target_len + 1ul);
	to->target_len = from->target_len;
	return 0;
}

/* The extents that the copy names too: inside the file and written, or zeroed in memory. */
static bool next_shared(const struct inode *i, uint64_t *b, struct extent *e)
{
	while (layout_next(i, *b, block_up(i->attr.size), e)) {
		*b = e->off + e->blocks;
		if (e->flags != EXT_UNWRITTEN)
			return true;
	}
	return false;
}

/* What may not have reached the medium. A device's writes are known to nobody but its lease. */
static void content_flush(struct snap *s, const struct inode *i, const struct extent *e)
{
	struct range whole = block_range(e->off, e->blocks);
	struct range dirty = {i->dirty_off, i->dirty_end};

	if ((e->flags & EXT_ZEROED) || lease_busy(&i->anchor))
		dirty = whole;
	dirty = range_cut(whole, dirty);
	if (!range_empty(dirty))
		journal_data(s->fs->journal, block_bytes(e->start) + (dirty.start - whole.start),
			     dirty.end - dirty.start);
}

static int copy_extents(struct snap *s, struct inode *from, struct inode *to)
{
	unsigned converts = 0;
	struct extent e;
	int err;

	for (uint64_t b = 0; next_shared(from, &b, &e);) {
		struct extent written = {e.off, e.start, e.blocks, 0};

		err = extmap_reserve(&to->map, 1);
		if (err)
			return err;
		content_flush(s, from, &e);
		extmap_set(&to->map, &written);
		jtxn_map(&s->t, ino_of(to), &written);
		if (!(e.flags & EXT_ZEROED))
			continue;
		if (converts++ == 0)
			jtxn_inode(&s->t, &from->attr);
		jtxn_map(&s->t, ino_of(from), &written);
	}
	s->bytes += (int64_t)to->map.extents * WALK_EXTENT_BYTES;
	if (converts == 0)
		return 0;
	rwlock_take_write(&from->lock);
	err = extmap_reserve(&from->map, converts);
	rwlock_drop(&from->lock);
	return err;
}

static int copy_inode(struct snap *s, struct tree_member *m)
{
	struct inode_attr a = inode_attr_copy(m->inode);
	int err;

	a.ino = atomic_fetch_add_explicit(&s->fs->next_ino, 1, memory_order_relaxed);
	a.flags = copy_flags(s, m);
	a.tree = s->tree_id;
	if (m->inode == s->from)
		a.btime_ns = s->dir.ctime_ns;
	err = inode_new(s->fs, &a, &m->copy);
	if (err)
		return err;
	m->copy->nlink = m->names;
	m->copy->tail_stale = true;
	jtxn_inode(&s->t, &a);
	if (a.mode && m->inode->type == DT_LNK) {
		err = copy_target(m->copy, m->inode);
		if (!err)
			jtxn_symlink(&s->t, a.ino, m->copy->target, m->copy->target_len);
	}
	if (!err && m->inode->xattrs) {
		err = xattrs_copy(m->inode, m->copy);
		if (!err)
			xattrs_record(&s->t, m->copy);
	}
	if (!err && m->inode->type == DT_REG)
		err = copy_extents(s, m->inode, m->copy);
	s->bytes += walk_inode_bytes(m->copy);
	return err;
}

static int copy_names(struct snap *s, const struct tree_member *m, uint64_t *next)
{
	const struct dir *from = m->inode->dir;
	struct inode *to = m->copy;
	const struct entry *e;
	struct dir_walk w;
	int err = 0;

	to->nlink = 2;
	dir_walk_begin(&w, &from->list, 0);
	for (e = dir_walk_next(&w); !err && e; e = dir_walk_next(&w)) {
		struct inode *child;
		struct entry *copy;

		child = tree_child(&s->tree, e->inode, next)->copy;
		copy = entry_new(to->dir, child, e->name, e->len);
		err = copy ? dir_reserve(to->dir, copy) : -ENOMEM;
		if (err) {
			free(copy);
			return err;
		}
		dir_add(to->dir, copy);
		if (child->type == DT_DIR) {
			child->dir->parent = to;
			to->nlink++;
		}
		jtxn_dirent(&s->t, ino_of(to), copy->cookie, ino_of(child), copy->type, copy->name, copy->len);
		s->bytes += WALK_DIRENT_BYTES + copy->len;
	}
	return err;
}

/* All copies, and all items of the record but for the last. */
static int copy_tree(struct snap *s)
{
	uint64_t next = 1;
	int err = 0;

	s->dir = inode_attr_copy(s->to.dir);
	s->dir.mtime_ns = s->dir.ctime_ns = time_now();
	jtxn_inode(&s->t, &s->dir);
	for (; !err && s->copied < s->tree.count; s->copied++)
		err = copy_inode(s, &s->tree.m[s->copied]);
	for (uint64_t k = 0; !err && k < s->tree.count; k++) {
		const struct tree_member *m = &s->tree.m[k];

		if (m->inode->type == DT_DIR && !m->leaf)
			err = copy_names(s, m, &next);
		else if (m->inode->type == DT_DIR)
			m->copy->nlink = 2;
	}
	return err ? err : s->t.error;
}

static int name_prepare(struct snap *s)
{
	struct inode *top = s->tree.m[0].copy;
	int err;

	rwlock_take_write(&s->to.dir->lock);
	s->entry = entry_new(s->to.dir->dir, top, s->to.name, s->to.len);
	err = s->entry ? dir_reserve(s->to.dir->dir, s->entry) : -ENOMEM;
	rwlock_drop(&s->to.dir->lock);
	if (err)
		return err;
	jtxn_dirent(&s->t, s->dir.ino, s->entry->cookie, ino_of(top), DT_DIR, s->entry->name, s->entry->len);
	s->bytes += WALK_DIRENT_BYTES + s->entry->len;
	return 0;
}

/* The record, and the reserve that follows the next checkpoint's size: a pool that is full then must still be able to
 * write one. */
static int space_check(const struct snap *s)
{
	uint64_t bytes = s->t.len + (uint64_t)s->bytes + (uint64_t)s->bytes / 16;

	if (block_up(bytes) <= alloc_avail_blocks(s->fs->alloc))
		return 0;
	return fail(-ENOSPC, "the snapshot's names and extents need %llu bytes of free space",
		    (unsigned long long)bytes);
}

/* --- shares and charges, and taking them back
 * -------------------------------------------------------------------------- */

/* Of the first `count` extents of a copy: nobody ever leased it, that is proof enough. The source's references stay. */
static void unshare_extents(struct snap *s, struct inode *copy, uint64_t count)
{
	struct drained gone;
	struct extent e;
	int err = lease_drained(&copy->anchor, RANGE_ALL, &gone);

	assert(err == 0);
	(void)err;
	for (uint64_t b = 0; count-- > 0 && extmap_find(&copy->map, b, &e); b = e.off + e.blocks)
		alloc_release(s->fs->alloc, &gone, (struct run){e.start, e.blocks}, 0);
}

static int share_extents(struct snap *s, struct inode *copy)
{
	uint64_t done = 0;
	struct extent e;

	for (uint64_t b = 0; extmap_find(&copy->map, b, &e); b = e.off + e.blocks) {
		int err = alloc_share_prepare(s->fs->alloc, (struct run){e.start, e.blocks});

		if (err) {
			unshare_extents(s, copy, done);
			return err;
		}
		alloc_share(s->fs->alloc, (struct run){e.start, e.blocks});
		done++;
	}
	return 0;
}

static int share_tree(struct snap *s)
{
	int err = 0;

	for (; !err && s->shared < s->tree.count; s->shared += !err) {
		struct inode *copy = s->tree.m[s->shared].copy;

		err = copy->type == DT_REG ? share_extents(s, copy) : 0;
	}
	return err;
}

static uint64_t blocks_of(const struct inode *i)
{
	return i->type == DT_REG ? i->map.blocks : 0;
}

static int charge_tree(struct snap *s)
{
	int err = 0;

	for (; !err && s->charged < s->tree.count; s->charged += !err) {
		struct inode *copy = s->tree.m[s->charged].copy;

		err = limit_charge(s->fs, &copy->attr, blocks_of(copy), 1);
		copy->charged = blocks_of(copy);
	}
	return err;
}

static void snap_undo(struct snap *s)
{
	while (s->charged > 0) {
		const struct inode *copy = s->tree.m[--s->charged].copy;

		limit_return(s->fs, &copy->attr, blocks_of(copy), 1);
	}
	while (s->shared > 0) {
		struct inode *copy = s->tree.m[--s->shared].copy;

		if (copy->type == DT_REG)
			unshare_extents(s, copy, copy->map.extents);
	}
	for (uint64_t k = 0; k < s->tree.count; k++) {
		inode_free(s->tree.m[k].copy);
		s->tree.m[k].copy = NULL;
	}
	free(s->entry);
	s->entry = NULL;
	s->copied = 0;
}

/* --- making it so
 * ------------------------------------------------------------------------------------------------------ */

/* Cannot fail. The source's writers get copies from now on. */
static void apply_source(struct inode *i)
{
	struct extent e;

	rwlock_take_write(&i->lock);
	i->may_share = true;
	for (uint64_t b = 0; next_shared(i, &b, &e);) {
		if (!(e.flags & EXT_ZEROED))
			continue;
		e.flags = 0;
		extmap_set(&i->map, &e);
	}
	rwlock_drop(&i->lock);
}

static void apply_tree(struct snap *s)
{
	struct inode *dir = s->to.dir;

	for (uint64_t k = 0; k < s->tree.count; k++) {
		const struct tree_member *m = &s->tree.m[k];

		if (m->inode->type == DT_REG && m->copy->map.extents > 0) {
			apply_source(m->inode);
			m->copy->may_share = true;
		}
		atomic_store_explicit(&m->copy->refs, 0, memory_order_relaxed);
		itable_add(s->fs, m->copy);
	}
	rwlock_take_write(&dir->lock);
	s->tree.m[0].copy->dir->parent = dir;
	inode_attr_set(s->fs, dir, &s->dir, CHANGED_NOTHING, NULL); /* the name tells */
	atomic_store_explicit(&dir->lazy, false, memory_order_relaxed);
	dir->nlink++;
	dir_add(dir->dir, s->entry);
	name_changed(s->fs, dir, s->entry->name, s->entry->len, s->who);
	rwlock_drop(&dir->lock);
	walk_account(s->fs, s->bytes);
}

static bool may_be_own(const struct snap *s, const struct inode *i)
{
	return s->who->session && i->type == DT_REG && lease_busy(&i->anchor);
}

/* The caller's own WRITE leases: their pins go before the record, and are placed anew on what is not shared. */
static int own_pins_drain(struct snap *s)
{
	int err = 0;

	for (; !err && s->drained < s->tree.count; s->drained += !err) {
		struct inode *i = s->tree.m[s->drained].inode;
		struct change c;

		if (!may_be_own(s, i))
			continue;
		rwlock_take_write(&i->lock);
		err = change_begin_shared(&c, s->fs, i, RANGE_ALL, s->who);
		rwlock_drop(&i->lock);
	}
	return err;
}

static void own_pins_place(struct snap *s)
{
	while (s->drained > 0) {
		struct inode *i = s->tree.m[--s->drained].inode;
		struct change c = {.fs = s->fs, .inode = i, .range = RANGE_ALL, .owner = s->who->session};

		if (!may_be_own(s, i))
			continue;
		rwlock_take_write(&i->lock);
		change_end(&c);
		rwlock_drop(&i->lock);
	}
}

/* Frozen, the tree is collected and nobody writes to it. */
static int snap_make(struct snap *s)
{
	uint64_t seq;
	int err;

	jtxn_init(&s->t);
	s->bytes = 0;
	err = own_pins_drain(s);
	if (!err)
		err = copy_tree(s);
	if (!err)
		err = name_prepare(s);
	if (!err)
		err = space_check(s);
	if (!err)
		err = share_tree(s);
	if (!err)
		err = charge_tree(s);
	if (!err)
		err = commit_content(s->fs, &s->t, &seq);
	jtxn_fini(&s->t);
	if (err)
		snap_undo(s);
	else
		apply_tree(s);
	own_pins_place(s);
	return err;
}

/* One try. NEED_GATE: others write in the tree. */
static int snap_frozen(struct snap *s)
{
	const struct tree_filter look = {.dir = dir_look, .each = member_look, .ctx = s};
	unsigned before = s->gate_count;
	int err;

	freeze_begin(s->fs);
	tree_init(&s->tree, false);
	s->drained = s->copied = s->shared = s->charged = 0;
	err = snap_check(s);
	if (!err)
		err = tree_collect(&s->tree, s->from, &look);
	if (!err && s->gate_count > before)
		err = NEED_GATE;
	if (err == NEED_GATE && !s->holds) {
		freeze_hold_grants(s->fs);
		s->holds = true;
	}
	if (!err)
		err = snap_make(s);
	freeze_end(s->fs);
	tree_fini(&s->tree);
	return err;
}

/* --- waiting for writers
 * ---------------------------------------------------------------------------------------------- */

static void gates_open(struct snap *s)
{
	for (unsigned k = 0; k < s->gate_count; k++) {
		lease_break_end(s->gates[k].brk);
		inode_put(s->fs, s->gates[k].inode);
	}
	free(s->gates);
	s->gates = NULL;
	s->gate_count = s->gate_room = 0;
}

/*
 * All that were found are recalled before one is waited for. Who turns up in the tree while we waited (a file moved in)
 * has no time of its own: the deadline is for the whole operation (L7).
 */
static int gates_break(struct snap *s)
{
	bool first = s->gates_waited == 0;
	int err = 0;

	for (unsigned k = s->gates_waited; !err && k < s->gate_count; k++) {
		struct lease_break_args args = {.anchor = &s->gates[k].inode->anchor,
						.range = RANGE_ALL,
						.modes = LEASE_WRITE,
						.reason = LEASE_FOR_CLONE_SOURCE,
						.kind = LEASE_DRAIN,
						.owner = s->who->session,
						.deadline_ns = first ? s->who->deadline_ns : LEASE_DEADLINE_NOW,
						.tag = s->who->tag};

		err = lease_break_start(s->fs->arbiter, &args, &s->gates[k].brk);
		err = layout_denied(s->gates[k].inode, RANGE_ALL, err);
	}
	for (unsigned k = s->gates_waited; !err && s->who->nowait && k < s->gate_count; k++) {
		if (!lease_break_done(s->gates[k].brk))
			err = fail(-EWOULDBLOCK, "others write in the tree by leases; they have been asked to release "
						 "them: try again");
	}
	for (unsigned k = s->gates_waited; k < s->gate_count; k++) {
		if (err == -EWOULDBLOCK && s->gates[k].brk) {
			lease_break_detach(s->gates[k].brk);
			s->gates[k].brk = NULL;
		} else if (!err) {
			/* After -EINTR, as after every other error, gates_open opens them. */
			err = lease_break_wait(s->gates[k].brk);
		}
	}
	s->gates_waited = s->gate_count;
	return err;
}

static int snap_run(struct snap *s)
{
	unsigned tries = 0;
	int err;

	for (;;) {
		err = snap_frozen(s);
		if (walk_made_room(s->fs, err, &tries))
			continue;
		if (err != NEED_GATE)
			break;
		err = gates_break(s);
		if (err)
			break;
	}
	gates_open(s);
	if (s->holds)
		freeze_drop_grants(s->fs);
	return err;
}

int fs_snapshot(struct fs *fs, const struct fs_caller *who, const char *from, const char *to, bool read_only)
{
	struct snap s = {.fs = fs, .who = who, .read_only = read_only};
	int err = path_inode(fs, who, from, true, &s.from);

	if (err)
		return err;
	err = s.from->type == DT_DIR ? walk_path(&s.to, fs, who, 1, to) : -ENOTDIR;
	if (!err) {
		err = s.to.last == LAST_NAME ? snap_run(&s) : -EEXIST;
		walk_end(&s.to);
	}
	inode_put(fs, s.from);
	return err;
}
