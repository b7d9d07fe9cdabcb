/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Emptying a run of the pool, file by file, for shrinking and for failing memory. The run is fenced: what is free in it
 * is held, and whatever is released there is held too, so that "all of it is held" means that nothing is in it.
 *
 * After the fence was made, a pass takes INODE of every file there is. Whoever took blocks of the run before the fence
 * did so under that lock and has given them a place in his map by then; so one pass finds all, but for what a snapshot
 * or a clone names meanwhile, which the next pass finds.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/journal_size.h"
#include "fs/move.h"

/* Snapshots in a loop could keep blocks ahead of the sweep. */
#define SWEEP_PASSES 32u

static bool touches(const struct inode *i, struct run r)
{
	struct extent e;

	for (uint64_t b = 0; extmap_find(&i->map, b, &e); b = e.off + e.blocks) {
		if (e.start < r.start + r.blocks && r.start < e.start + e.blocks)
			return true;
	}
	return false;
}

static void say_progress(const struct sweep *s)
{
	if (s->progress)
		s->progress(s->ctx, min_u64(s->moved, s->total), s->total);
}

/* One batch of one file. */
static int sweep_batch(struct move *m)
{
	int err = 0;

	rwlock_take_write(&m->inode->lock);
	if (m->inode->gone)
		m->next = m->end;
	else
		err = move_batch(m);
	rwlock_drop(&m->inode->lock);
	return err;
}

static int sweep_inode(void *ctx, struct inode *i)
{
	struct sweep *s = ctx;
	struct gate gate = {0};
	struct move m = {.fs = s->fs, .inode = i, .who = s->who, .gate = &gate, .sweep = s, .end = BLOCKS_END};
	unsigned tries = 0;
	bool any;
	int err = 0;

	if (i->type != DT_REG)
		return 0;
	rwlock_take_read(&i->lock);
	any = !i->gone && touches(i, s->run);
	rwlock_drop(&i->lock);
	while (!err && any && m.next < m.end) {
		err = sweep_batch(&m);
		if (!err) {
			s->moved += m.blocks;
			gate_end(&gate);
			say_progress(s);
		} else if (err == NEED_GATE) {
			err = gate_break(&gate, s->fs, i, &m.need, s->who);
		} else if (walk_made_room(s->fs, err, &tries)) {
			err = 0;
		}
	}
	gate_end(&gate);
	move_fini(&m);
	return err;
}

/* Every file has been there: nobody names the old blocks any more. */
static void kept_release(struct sweep *s)
{
	struct lease_anchor nobody;
	struct journal_stats now;
	struct drained gone;
	int err;

	if (s->kept_count == 0)
		return;
	/* No key ever reached a block through these references. */
	lease_anchor_init(&nobody, 0);
	err = lease_drained(&nobody, RANGE_ALL, &gone);
	assert(err == 0);
	(void)err;
	/* POOL_MSYNC: behind every record that dropped an old block. */
	journal_stats_read(s->fs->journal, &now);
	for (uint64_t k = 0; k < s->kept_count; k++) {
		alloc_release(s->fs->alloc, &gone, (struct run){s->kept[k].from, s->kept[k].blocks}, now.seq);
		alloc_release(s->fs->alloc, &gone, (struct run){s->kept[k].to, s->kept[k].blocks}, now.seq);
	}
	hazard_note(s->fs, now.seq);
	s->kept_count = 0;
	lease_anchor_fini(&nobody);
}

int sweep_files(struct sweep *s)
{
	struct inode *dead;
	int err = itable_each(s->fs, sweep_inode, s, &dead);

	inodes_put_dead(s->fs, dead);
	kept_release(s);
	return err;
}

/* A record that changes nothing, so that the next checkpoint begins another segment. */
static int root_record(struct fs *fs)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	t.frees = true;
	rwlock_take_write(&fs->root->lock);
	jtxn_inode(&t, &fs->root->attr);
	err = jtxn_commit(fs->journal, &t, &seq);
	rwlock_drop(&fs->root->lock);
	jtxn_fini(&t);
	return err;
}

/* A checkpoint goes to a new place, and begins the log in a new segment: the one that was announced, which may lie in
 * the run too, but the one after it does not. */
int sweep_journal(struct sweep *s)
{
	int err = 0;

	for (unsigned pass = 0; !err && pass < SWEEP_PASSES && journal_lies_in(s->fs->journal, s->run); pass++) {
		journal_drop_spares(s->fs->journal, s->run);
		err = root_record(s->fs);
		if (!err)
			err = walk_checkpoint(s->fs, false);
	}
	return err;
}

static bool is_empty(const struct sweep *s)
{
	return alloc_held(s->fs->alloc, s->run) == s->run.blocks;
}

int sweep_all(struct sweep *s)
{
	int err = 0;

	s->total = s->run.blocks - alloc_held(s->fs->alloc, s->run);
	say_progress(s);
	for (unsigned pass = 0; !err && !is_empty(s) && pass < SWEEP_PASSES; pass++) {
		err = sweep_files(s);
		if (!err)
			err = sweep_journal(s);
		/* POOL_MSYNC: what was freed waits for its record. */
		if (!err)
			err = journal_sync(s->fs->journal);
	}
	if (!err && !is_empty(s))
		err = fail(-EBUSY, "%llu blocks could not be moved away: they belong to files that are being deleted",
			   (unsigned long long)(s->run.blocks - alloc_held(s->fs->alloc, s->run)));
	return err;
}

void sweep_fini(struct sweep *s)
{
	assert(s->kept_count == 0);
	free(s->kept);
	free(s->losses);
	s->kept = NULL;
	s->losses = NULL;
	s->loss_count = 0;
}
