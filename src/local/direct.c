/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Direct access: look up the key for the place, move the bytes by key, fault when the key has gone.
 *
 * Nothing is held while bytes move, so a break may kill the key in between; the mover then refuses (-ESTALE) and the
 * piece is done again from its start at wherever the bytes are now. Each retry means that somebody else's break went
 * through, and after LOCAL_TRIES_MAX of them the piece goes as a call (decision 8: direct access is never a condition).
 *
 * Without injected faults the loop member moves bytes in the caller's thread, so a queue's operations are complete when
 * they were submitted; only their completions wait.
 */
#include "local/local.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define BUFFER_ALIGN 4096u

/* One operation by key: 0 or -errno. */
static int move(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len, enum fabric_dir dir)
{
	struct fabric_op op = {
	    .key = key, .offset = key_off, .buf = buf, .len = len, .dir = dir, .flags = FABRIC_OP_WAITED};
	struct fabric_op *one = &op;
	int err;

	/* Busy: more threads than the path is deep are in here; theirs finish without us. */
	for (err = fabric_post(fs->conn, &op); err == -EBUSY; err = fabric_post(fs->conn, &op))
		sched_yield();
	if (err)
		return err;
	err = fabric_wait(fs->conn, &one, 1, UINT64_MAX);
	return err ? err : op.status;
}

/* What of [off, off + n) is before the end of the file; looks at the inode only when the last look does not suffice. */
static int size_clip(struct lh_lease *lease, uint64_t off, size_t *n)
{
	struct fs_attr attr;
	uint64_t changes;
	bool inside;
	int err;

	lock_take(&lease->lock);
	inside = off + *n <= lease->size;
	changes = lease->changes;
	lock_drop(&lease->lock);
	if (inside)
		return 0;
	err = fs_fstat(lease->head.file->handle, &attr);
	if (err)
		return err;
	lock_take(&lease->lock);
	if (lease->changes == changes)
		lease->size = attr.size;
	lock_drop(&lease->lock);
	*n = attr.size <= off ? 0 : (size_t)min_u64(*n, attr.size - off);
	return 0;
}

/* Moves some bytes through one span: how many, 0 at the end of the file, -ESTALE when the place is not reached now. */
static ssize_t piece_try(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir)
{
	const struct span *found;
	struct span s;
	size_t n;
	int err = 0;

	n = (size_t)min_u64(len, LOCAL_PIECE_MAX);
	if (dir == FABRIC_OP_READ)
		err = size_clip(lease, off, &n);
	if (err || n == 0)
		return err;
	lock_take(&lease->lock);
	found = part_find(lease, off);
	if (found != NULL)
		s = *found;
	lock_drop(&lease->lock);
	if (found == NULL)
		return -ESTALE;
	n = (size_t)min_u64(n, s.off + s.len - off);
	if (s.hole)
		memset(buf, 0, n);
	else
		err = move(lease->fs, s.key.number, off - s.off, buf, n, dir);
	return s.hole || err == 0 ? (ssize_t)n : err;
}

/* A faulting key could not serve the piece as things are: they are made so. */
static int piece_fault(struct lh_lease *lease, uint64_t off, size_t len, enum fabric_dir dir)
{
	struct range range = {off, off + min_u64(len, LOCAL_PIECE_MAX)};
	/* Not the lease's, which may change now. */
	enum lease_mode mode = dir == FABRIC_OP_WRITE ? LEASE_WRITE : LEASE_READ;
	uint64_t changes, size = 0;
	int err;

	assert(lease->by_place);
	atomic_fetch_add(&lease->faults, 1);
	lock_take(&lease->lock);
	changes = lease->changes;
	lock_drop(&lease->lock);
	err = fs_lease_fault(lease->head.file->handle, local_who(lease->fs), mode, range, &size);
	if (err || dir == FABRIC_OP_WRITE)
		return err;
	lock_take(&lease->lock);
	if (lease->changes == changes)
		lease->size = size;
	lock_drop(&lease->lock);
	return 0;
}

static ssize_t piece_by_call(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir)
{
	const struct fs_caller *who = local_who(lease->fs);
	struct fs_handle *h = lease->head.file->handle;

	len = len < LOCAL_PIECE_MAX ? len : LOCAL_PIECE_MAX;
	if (dir == FABRIC_OP_READ)
		return fs_read(h, who, buf, len, off);
	if (lease->head.file->append)
		return fail(-EAGAIN, "lease: the range is being changed without end; try again");
	return fs_write(h, who, buf, len, off);
}

static ssize_t piece(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir)
{
	for (unsigned i = 0; i < LOCAL_TRIES_MAX; i++) {
		ssize_t n = piece_try(lease, buf, len, off, dir);
		int err;

		/* The memory fails: a call says where. */
		if (n == -EIO)
			break;
		if (n != -ESTALE && n != -EAGAIN)
			return n;
		err = n == -EAGAIN ? piece_fault(lease, off, len, dir) : lease_fault(lease, off);
		if (err == -ENODATA)
			return 0;
		/* At a limit of pins (L18), which came after the lease was first got: slower, not an error (L15). */
		if (err == -ENOMEM || err == -EDQUOT)
			break;
		if (err)
			return err;
	}
	return piece_by_call(lease, buf, len, off, dir);
}

/* L30: before the write returns, so that a commit that follows finds it. */
static void written(struct lh_file *file, uint64_t end)
{
	unsigned long long seen = atomic_load_explicit(&file->written_end, memory_order_relaxed);

	while (seen < end && !atomic_compare_exchange_weak(&file->written_end, &seen, end))
		;
}

static ssize_t direct(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir)
{
	uint64_t end;
	size_t done = 0;

	if ((lease->mode == LEASE_WRITE) != (dir == FABRIC_OP_WRITE))
		return fail(-EACCES, "lease: a %s lease is for %s only", lease->mode == LEASE_WRITE ? "WRITE" : "READ",
			    lease->mode == LEASE_WRITE ? "writing" : "reading");
	if (len > INT64_MAX || add_overflows(off, (uint64_t)len, &end) ||
	    !range_covers(lease->range, (struct range){off, end}))
		return fail(-ERANGE, "lease: %zu bytes at %llu are not inside the lease's %llu at %llu", len,
			    (unsigned long long)off, (unsigned long long)(lease->range.end - lease->range.start),
			    (unsigned long long)lease->range.start);
	while (done < len) {
		ssize_t n = piece(lease, buf + done, len - done, off + done, dir);

		if (n < 0 && done == 0)
			return n;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (dir == FABRIC_OP_WRITE && done > 0)
		written(lease->head.file, off + done);
	return (ssize_t)done;
}

ssize_t local_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off)
{
	return direct(lease, buf, len, off, FABRIC_OP_READ);
}

ssize_t local_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off)
{
	return direct(lease, (char *)(uintptr_t)buf, len, off, FABRIC_OP_WRITE);
}

static ssize_t raw(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len, enum fabric_dir dir)
{
	int err = move(fs, key, key_off, buf, len, dir);

	return err ? err : (ssize_t)len;
}

ssize_t local_raw_read(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len)
{
	return raw(fs, key, key_off, buf, len, FABRIC_OP_READ);
}

ssize_t local_raw_write(struct lh_fs *fs, uint64_t key, uint64_t key_off, const void *buf, size_t len)
{
	return raw(fs, key, key_off, (void *)(uintptr_t)buf, len, FABRIC_OP_WRITE);
}

void *local_buffer_get(struct lh_fs *fs, size_t len)
{
	void *buf = NULL;

	(void)fs;
	return posix_memalign(&buf, BUFFER_ALIGN, len) == 0 ? buf : NULL;
}

void local_buffer_put(struct lh_fs *fs, void *buf)
{
	(void)fs;
	free(buf);
}

/* --- queues --- */

struct lh_queue {
	struct lh_queue_head head;
	unsigned depth, first, count;
	struct lh_completion done[];
};

int local_queue_new(struct lh_fs *fs, unsigned depth, struct lh_queue **out)
{
	struct lh_queue *q;

	if (depth == 0 || depth > LOCAL_QUEUE_MAX)
		return fail(-EINVAL, "queue: depth %u is not 1 to %u", depth, LOCAL_QUEUE_MAX);
	q = calloc(1, sizeof(*q) + depth * sizeof(q->done[0]));
	if (q == NULL)
		return -ENOMEM;
	q->head.be = fs->head.be;
	q->head.fs = fs;
	q->depth = depth;
	atomic_fetch_add(&fs->open_handles, 1);
	*out = q;
	return 0;
}

void local_queue_free(struct lh_queue *q)
{
	if (q == NULL)
		return;
	atomic_fetch_sub(&q->head.fs->open_handles, 1);
	free(q);
}

static int queue_add(struct lh_queue *q, struct lh_lease *lease, char *buf, size_t len, uint64_t off, void *cookie,
		     enum fabric_dir dir)
{
	uint64_t end;

	if (q->count == q->depth)
		return -EBUSY;
	if (lease->fs != q->head.fs)
		return fail(-EXDEV, "queue: the lease is of another filesystem");
	if (add_overflows(off, (uint64_t)len, &end) || !range_covers(lease->range, (struct range){off, end}))
		return fail(-ERANGE, "queue: %zu bytes at %llu are not inside the lease", len, (unsigned long long)off);
	q->done[(q->first + q->count) % q->depth] =
	    (struct lh_completion){.cookie = cookie, .result = direct(lease, buf, len, off, dir)};
	q->count++;
	return 0;
}

int local_queue_read(struct lh_queue *q, struct lh_lease *lease, void *buf, size_t len, uint64_t off, void *cookie)
{
	return queue_add(q, lease, buf, len, off, cookie, FABRIC_OP_READ);
}

int local_queue_write(struct lh_queue *q, struct lh_lease *lease, const void *buf, size_t len, uint64_t off,
		      void *cookie)
{
	return queue_add(q, lease, (char *)(uintptr_t)buf, len, off, cookie, FABRIC_OP_WRITE);
}

int local_queue_wait(struct lh_queue *q, unsigned min, struct lh_completion *out, unsigned max)
{
	unsigned n = 0;

	(void)min; /* all that is outstanding is complete */
	for (; n < max && q->count > 0; n++, q->count--) {
		out[n] = q->done[q->first];
		q->first = (q->first + 1) % q->depth;
	}
	return (int)n;
}
