/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was written directly and is not committed yet, file by file (L28-L30).
 *
 * A write enters its bytes after they have landed and before its call returns, so that a commit asks for exactly what
 * was written, and the size grows to that and no further. `since` is the count of the server's restarts when the write
 * began: a write that one server acknowledged and the next one knows nothing of goes to what is lost, whichever thread
 * comes first (L29).
 *
 * A commit takes its bytes out before it asks and puts them back when it fails, so that what is written meanwhile stays
 * dirty; another commit of the same bytes waits for it, because it may not succeed before they are durable.
 */
#include "client/client.h"

#include <assert.h>

/* Dirty ranges this close go in one message: the bytes between them are flushed for nothing. */
#define COMMIT_JOIN_BYTES ((uint64_t)64 << 10)

/* A commit under way; on the stack of its caller. */
struct committing {
	struct committing *next;
	struct range range;
};

void client_dirty_init(struct lh_file *file)
{
	struct lh_fs *fs = file->head.fs;
	struct dirty *d = &file->dirty;

	lock_init(&d->lock, RANK_PIN);
	cond_init(&d->done);
	ranges_init(&d->written);
	ranges_init(&d->lost);
	ranges_init(&d->unreported);
	d->committing = NULL;
	lock_take(&fs->lock);
	if (!fs->written_boot)
		fs->written_boot = fs->welcome.boot;
	lock_drop(&fs->lock);
}

void client_dirty_fini(struct lh_file *file)
{
	struct dirty *d = &file->dirty;

	assert(!d->committing);
	ranges_fini(&d->written);
	ranges_fini(&d->lost);
	ranges_fini(&d->unreported);
	cond_destroy(&d->done);
	lock_destroy(&d->lock);
}

unsigned client_restarts(struct lh_fs *fs)
{
	return atomic_load_explicit(&fs->restarts, memory_order_acquire);
}

/* Caller holds the lock. What `from` has of r is lost. */
static void lose(struct dirty *d, struct ranges *from, struct range r)
{
	const struct range *a = ranges_at(from);

	for (unsigned i = ranges_find(from, r.start); i < from->count && a[i].start < r.end; i++)
		ranges_add(&d->unreported, range_cut(a[i], r));
	ranges_move(from, r, &d->lost);
}

void client_dirty_add(struct lh_file *file, struct range r, unsigned since)
{
	struct dirty *d = &file->dirty;

	lock_take(&d->lock);
	if (likely(since == client_restarts(file->head.fs))) {
		ranges_add(&d->written, r);
	} else {
		ranges_add(&d->lost, r);
		ranges_add(&d->unreported, r);
	}
	lock_drop(&d->lock);
}

void client_lost_all(struct lh_fs *fs)
{
	struct lh_file *file;

	lock_take(&fs->lock);
	atomic_fetch_add(&fs->restarts, 1);
	fs->written_boot = fs->welcome.boot;
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		lock_take(&file->dirty.lock);
		lose(&file->dirty, &file->dirty.written, RANGE_ALL);
		lock_drop(&file->dirty.lock);
	}
	lock_drop(&fs->lock);
}

/* --- the layout changes under it --- */

void client_dirty_cut(struct lh_file *file, struct range r)
{
	lock_take(&file->dirty.lock);
	ranges_cut(&file->dirty.written, r);
	lock_drop(&file->dirty.lock);
}

void client_dirty_doom(struct lh_fs *fs, uint64_t ino, struct range r, struct doomed *out)
{
	struct lh_file *file;

	ranges_init(&out->ranges);
	out->since = client_restarts(fs);
	lock_take(&fs->lock);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		if (file->ino != ino)
			continue;
		lock_take(&file->dirty.lock);
		ranges_move(&file->dirty.written, r, &out->ranges);
		lock_drop(&file->dirty.lock);
	}
	lock_drop(&fs->lock);
}

void client_dirty_doomed(struct lh_fs *fs, uint64_t ino, struct doomed *d, bool done)
{
	const struct range *a = ranges_at(&d->ranges);
	struct lh_file *file;

	if (!done && d->ranges.count) {
		lock_take(&fs->lock);
		/* To every handle: whichever commits does it for all. */
		TAILQ_FOREACH (file, &fs->files, in_fs) {
			for (unsigned i = 0; file->ino == ino && i < d->ranges.count; i++)
				client_dirty_add(file, a[i], d->since);
		}
		lock_drop(&fs->lock);
	}
	ranges_fini(&d->ranges);
}

/* --- commit --- */

/* Caller holds the lock, which is dropped while it waits. Nobody else commits anything of c's range from here on. */
static void committing_begin(struct dirty *d, struct committing *c)
{
	const struct committing *other = d->committing;

	while (other) {
		if (!range_overlaps(other->range, c->range)) {
			other = other->next;
			continue;
		}
		cond_wait(&d->done, &d->lock);
		other = d->committing;
	}
	c->next = d->committing;
	d->committing = c;
}

static void committing_end(struct dirty *d, struct committing *c)
{
	struct committing **at = &d->committing;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	cond_wake_all(&d->done);
}

/* Caller holds the lock. Takes out what is dirty in r, up to the first wide gap. The hull of it; empty: nothing. */
static struct range take_piece(struct dirty *d, struct range r, struct ranges *out)
{
	const struct range *a = ranges_at(&d->written);
	unsigned i = ranges_find(&d->written, r.start);
	struct range hull;

	if (i == d->written.count || a[i].start >= r.end)
		return (struct range){0, 0};
	hull = range_cut(a[i], r);
	for (i++; i < d->written.count && a[i].start < r.end && a[i].start - hull.end <= COMMIT_JOIN_BYTES; i++)
		hull.end = min_u64(a[i].end, r.end);
	ranges_move(&d->written, hull, out);
	return hull;
}

static int ask_commit(struct lh_file *file, struct range r, struct proto_committed *out)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.file_range = {.handle = file->handle, .range = {r.start, r.end - r.start}}};
	struct call call;
	int err;

	call_init(&call);
	err = conn_call(fs->conn, &call, PROTO_LEASE_COMMIT, client_flags(fs), &body);
	if (!err)
		*out = call.reply.committed;
	call_fini(&call);
	return err;
}

/* One message. 1: there is no more in r; the next one starts at r->start. */
static int commit_piece(struct lh_file *file, struct range *r, uint64_t *size)
{
	struct lh_fs *fs = file->head.fs;
	struct dirty *d = &file->dirty;
	struct proto_committed reply;
	struct ranges taken;
	struct range hull;
	unsigned since;
	uint64_t boot;
	int err;

	ranges_init(&taken);
	lock_take(&fs->lock);
	lock_take(&d->lock);
	boot = fs->written_boot;
	since = client_restarts(fs);
	hull = take_piece(d, *r, &taken);
	lock_drop(&d->lock);
	lock_drop(&fs->lock);
	if (range_empty(hull))
		return 1;
	err = ask_commit(file, hull, &reply);
	lock_take(&d->lock);
	if (!err && reply.boot != boot) {
		lose(d, &taken, RANGE_ALL); /* L29 */
	} else if (!err) {
		*size = reply.size;
	} else if (since != client_restarts(fs)) {
		lose(d, &taken, RANGE_ALL);
		err = 0; /* the caller finds what is lost, and says so */
	} else {
		ranges_move(&taken, RANGE_ALL, &d->written);
	}
	lock_drop(&d->lock);
	ranges_fini(&taken);
	r->start = hull.end;
	return err;
}

/* Says once what is lost of r. */
static int report_lost(struct lh_file *file, struct range r)
{
	struct dirty *d = &file->dirty;
	struct ranges told;
	struct range first;
	int err = 0;

	ranges_init(&told);
	lock_take(&d->lock);
	ranges_move(&d->unreported, r, &told);
	lock_drop(&d->lock);
	if (told.count) {
		first = ranges_at(&told)[0];
		err = fail(-EIO,
			   "the server restarted since the write: %llu bytes at %llu%s may be lost (%llu bytes in %u "
			   "ranges, lh_file_lost() tells them); write them again",
			   (unsigned long long)(first.end - first.start), (unsigned long long)first.start,
			   told.count > 1 ? " and more" : "", (unsigned long long)ranges_bytes(&told), told.count);
	}
	ranges_fini(&told);
	return err;
}

int client_commit(struct lh_file *file, struct range r, uint64_t *size)
{
	struct committing c = {.range = r};
	struct dirty *d = &file->dirty;
	struct range left = r;
	int err = 0;
	int lost;

	lock_take(&d->lock);
	committing_begin(d, &c);
	lock_drop(&d->lock);
	while (!err)
		err = commit_piece(file, &left, size);
	lock_take(&d->lock);
	committing_end(d, &c);
	lock_drop(&d->lock);
	if (err > 0)
		err = 0;
	lost = report_lost(file, r);
	return lost ? lost : err;
}

/* The handle after this one, kept from being closed; NULL: none. */
static struct lh_file *next_file(struct lh_fs *fs, uint64_t ino, uint64_t after)
{
	struct lh_file *next = NULL;
	struct lh_file *file;

	lock_take(&fs->lock);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		if ((!ino || file->ino == ino) && file->handle > after && (!next || file->handle < next->handle))
			next = file;
	}
	if (next)
		next->users++;
	lock_drop(&fs->lock);
	return next;
}

int client_commit_inode(struct lh_fs *fs, uint64_t ino)
{
	struct lh_file *file = next_file(fs, ino, 0);
	uint64_t size;
	int err = 0;

	while (file && !err) {
		struct lh_file *next;

		err = client_commit(file, RANGE_ALL, &size);
		next = err ? NULL : next_file(fs, ino, file->handle);
		lock_take(&fs->lock);
		if (--file->users == 0)
			cond_wake_all(&fs->unused);
		lock_drop(&fs->lock);
		file = next;
	}
	return err;
}

int client_file_lost(struct lh_file *file, struct lh_range *out, unsigned max)
{
	struct dirty *d = &file->dirty;
	unsigned count;

	lock_take(&d->lock);
	/* The session ended for good: nobody will ever commit these. */
	if (conn_error(file->head.fs->conn))
		lose(d, &d->written, RANGE_ALL);
	fail_clear();
	count = d->lost.count;
	for (unsigned i = 0; i < count && i < max; i++) {
		struct range r = ranges_at(&d->lost)[i];

		out[i] = (struct lh_range){.off = r.start, .len = r.end - r.start};
	}
	for (unsigned i = 0; i < count && i < max; i++)
		ranges_cut(&d->lost, (struct range){out[i].off, out[i].off + out[i].len});
	lock_drop(&d->lock);
	return (int)count;
}
