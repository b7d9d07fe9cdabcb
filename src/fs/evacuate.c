/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Failing memory: a run of the pool that is given up.
 *
 *   1. the record: the run is bad. From here on it is never handed out, also after a crash
 *   2. files, log and checkpoint move out; what cannot be read becomes a hole in its file, in the same record that
 * moves the rest
 *   3. each loss is told with a name of its file
 *
 * A crash after 1 leaves files in the run; they work as well as the memory does, and a second call goes on.
 */
#include "fs/evacuate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/dir.h"
#include "fs/move.h"

int space_work_begin(struct fs *fs)
{
	if (atomic_exchange(&fs->space_busy, true))
		return fail(-EBUSY, "the pool is being resized or evacuated already: wait until that is done");
	return 0;
}

void space_work_end(struct fs *fs)
{
	atomic_store(&fs->space_busy, false);
}

/* --- the list of bad runs ----------------------------------------------------------------------------------------- */

static int list_add(struct fs *fs, struct run r)
{
	if ((fs->bad_count & (fs->bad_count - 1)) == 0) {
		struct run *more = reallocarray(fs->bad, fs->bad_count ? fs->bad_count * 2ul : 1, sizeof(*more));

		if (!more)
			return -ENOMEM;
		fs->bad = more;
	}
	fs->bad[fs->bad_count++] = r;
	return 0;
}

/* Leaves nothing of r on the list: cuts, splits, removes. */
static int list_cut(struct fs *fs, struct run r)
{
	uint64_t end = r.start + r.blocks;
	int err = 0;

	for (unsigned k = 0; !err && k < fs->bad_count;) {
		struct run b = fs->bad[k];
		uint64_t b_end = b.start + b.blocks;

		if (b.start >= end || r.start >= b_end) {
			k++;
			continue;
		}
		fs->bad[k] = fs->bad[--fs->bad_count];
		if (b.start < r.start)
			err = list_add(fs, (struct run){b.start, r.start - b.start});
		if (!err && b_end > end)
			err = list_add(fs, (struct run){end, b_end - end});
	}
	return err;
}

const char *bad_apply(void *ctx, struct run r, bool good)
{
	struct fs *fs = ctx;
	int err = list_cut(fs, r);

	if (!err && !good)
		err = list_add(fs, r);
	if (err) {
		fs->apply_error = err;
		return "out of memory";
	}
	return fs->bad_count > BAD_RUNS_MAX ? "4.11c more than 4096 bad runs" : NULL;
}

int bad_finish(struct fs *fs)
{
	int err = 0;

	for (unsigned k = 0; !err && k < fs->bad_count; k++)
		err = alloc_fence(fs->alloc, fs->bad[k], ALLOC_FENCE_BAD);
	free(fs->bad);
	fs->bad = NULL;
	fs->bad_count = 0;
	return err;
}

void bad_walk(struct fs *fs, struct jtxn *t)
{
	struct run r = alloc_bad_from(fs->alloc, 1);

	for (; r.blocks > 0; r = alloc_bad_from(fs->alloc, r.start + r.blocks))
		jtxn_bad(t, r, false);
}

static int bad_record(struct fs *fs, const struct run *runs, unsigned count, bool good)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	t.frees = true;
	for (unsigned k = 0; k < count; k++)
		jtxn_bad(&t, runs[k], good);
	err = jtxn_commit(fs->journal, &t, &seq);
	jtxn_fini(&t);
	return err;
}

int bad_take(struct fs *fs, struct run r, struct run **out, unsigned *count)
{
	uint64_t end = r.start + r.blocks;
	struct run b;
	int err;

	*out = NULL;
	*count = 0;
	for (b = alloc_bad_from(fs->alloc, r.start); b.blocks > 0 && b.start < end;
	     b = alloc_bad_from(fs->alloc, b.start + b.blocks)) {
		struct run *more = reallocarray(*out, *count + 1ul, sizeof(*more));

		if (!more)
			return -ENOMEM;
		*out = more;
		if (b.start < r.start)
			b = (struct run){r.start, b.start + b.blocks - r.start};
		b.blocks = min_u64(b.blocks, end - b.start);
		more[(*count)++] = b;
	}
	if (*count == 0)
		return 0;
	err = bad_record(fs, *out, *count, true);
	for (unsigned k = 0; !err && k < *count; k++)
		alloc_bad_to_moving(fs->alloc, (*out)[k]);
	if (err)
		*count = 0;
	return err;
}

void bad_put_back(struct fs *fs, const struct run *runs, unsigned count)
{
	if (count == 0)
		return;
	(void)bad_record(fs, runs, count, false);
	for (unsigned k = 0; k < count; k++)
		(void)alloc_fence(fs->alloc, runs[k], ALLOC_FENCE_BAD);
}

/* --- a name for an inode ------------------------------------------------------------------------------------------ */

struct find {
	uint64_t ino;      /* what is looked for */
	struct inode *dir; /* with a reference: where it was found */
	char name[FS_NAME_MAX + 1];
};

/* Under INODE. The entry of the directory that leads to the inode; NULL: none. */
static const struct entry *entry_of(const struct inode *dir, uint64_t ino)
{
	const struct entry *e;
	struct dir_walk w;

	dir_walk_begin(&w, &dir->dir->list, 0);
	do {
		e = dir_walk_next(&w);
	} while (e && ino_of(e->inode) != ino);
	return e;
}

static int find_in(void *ctx, struct inode *i)
{
	struct find *f = ctx;
	const struct entry *e;

	if (i->type != DT_DIR || f->dir)
		return 0;
	rwlock_take_read(&i->lock);
	e = i->gone ? NULL : entry_of(i, f->ino);
	if (e) {
		snprintf(f->name, sizeof(f->name), "%.*s", (int)e->len, e->name);
		inode_get(i);
		f->dir = i;
	}
	rwlock_drop(&i->lock);
	return 0;
}

/* Puts "/name" in front of what is in buf from *at on. */
static void put_front(char *buf, size_t *at, const char *name, size_t len)
{
	if (*at < len + 1)
		return;
	*at -= len;
	memcpy(buf + *at, name, len);
	buf[--*at] = '/';
}

/* Into buf of FS_PATH_MAX bytes; returns where it begins. Names that do not fit are left out in front. */
static const char *path_of(struct fs *fs, uint64_t ino, char *buf)
{
	struct find f = {.ino = ino};
	size_t at = FS_PATH_MAX - 1;
	struct inode *dead, *d;

	buf[at] = '\0';
	(void)itable_each(fs, find_in, &f, &dead);
	inodes_put_dead(fs, dead);
	if (!f.dir)
		return "(no name: open and unlinked)";
	put_front(buf, &at, f.name, strlen(f.name));
	lock_take(&fs->rename);
	for (d = f.dir; d && d != fs->root; d = d->dir->parent) {
		struct inode *parent = d->dir->parent;
		const struct entry *e;

		if (!parent)
			break;
		rwlock_take_read(&parent->lock);
		e = entry_of(parent, ino_of(d));
		if (e)
			put_front(buf, &at, e->name, e->len);
		rwlock_drop(&parent->lock);
	}
	lock_drop(&fs->rename);
	inode_put(fs, f.dir);
	return buf + at;
}

static int tell_losses(struct fs *fs, const struct sweep *s, void (*each)(void *ctx, const struct fs_loss *loss),
		       void *ctx)
{
	char *buf = each && s->loss_count ? malloc(FS_PATH_MAX) : NULL;
	const char *path = "(out of memory)";

	for (uint64_t k = 0; each && k < s->loss_count; k++) {
		const struct move_loss *l = &s->losses[k];

		if (buf && (k == 0 || s->losses[k - 1].ino != l->ino))
			path = path_of(fs, l->ino, buf);
		each(ctx, &(struct fs_loss){l->ino, block_bytes(l->off), block_bytes(l->blocks), path});
	}
	free(buf);
	return (int)min_u64(s->loss_count, INT_MAX);
}

/* --- the call ----------------------------------------------------------------------------------------------------- */

static unsigned bad_runs(struct fs *fs)
{
	unsigned count = 0;
	struct run r = alloc_bad_from(fs->alloc, 1);

	for (; r.blocks > 0; r = alloc_bad_from(fs->alloc, r.start + r.blocks))
		count++;
	return count;
}

static int give_up(struct sweep *s)
{
	struct fs *fs = s->fs;
	int err;

	/* A run can become one in each group that it touches. */
	if (bad_runs(fs) + s->run.blocks / LH_BLOCK_SIZE + 4 > BAD_RUNS_MAX)
		return fail(-ENOSPC, "the pool has too many bad runs to remember more: copy it to good memory");
	err = bad_record(fs, &s->run, 1, false);
	if (!err)
		err = alloc_fence(fs->alloc, s->run, ALLOC_FENCE_BAD);
	return err ? err : sweep_all(s);
}

int fs_evacuate(struct fs *fs, const struct fs_caller *who, uint64_t off, uint64_t len,
		void (*each)(void *ctx, const struct fs_loss *loss), void *ctx)
{
	struct sweep s = {.fs = fs, .who = who, .salvage = true};
	uint64_t blocks = alloc_pool_blocks(fs->alloc);
	uint64_t end;
	int losses;
	int err;

	if (!cred_is_super(&who->cred))
		return fail(-EPERM, "only root can give up blocks of a pool");
	if (fs->read_only)
		return fail(-EROFS, "the filesystem is mounted read-only");
	if (len == 0 || add_overflows(off, len, &end) || off >= block_bytes(blocks))
		return fail(-EINVAL, "the range is empty or outside of the pool");
	end = min_u64(block_up(end), blocks - 1);
	s.run.start = max_u64(block_of(off), 1);
	if (s.run.start >= end)
		return fail(-EINVAL, "the superblock and its copy cannot be moved");
	s.run.blocks = end - s.run.start;
	err = space_work_begin(fs);
	if (err)
		return err;
	err = give_up(&s);
	losses = tell_losses(fs, &s, each, ctx);
	sweep_fini(&s);
	space_work_end(fs);
	return err ? err : losses;
}
