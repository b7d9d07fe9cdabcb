/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leases as the application sees them: they stay while the grants behind them come and go.
 *
 * A fault gets only the missing piece (L4: the rest stays usable meanwhile, whatever happens to its neighbours). After
 * many of them, one grant over everything replaces the pieces.
 */
#include "local/local.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"

#define LEASE_FLAGS                                                                                                    \
	(LH_LEASE_READ | LH_LEASE_WRITE | LH_LEASE_NOWAIT | LH_LEASE_MANUAL | LH_LEASE_NOW | LH_LEASE_EXCLUSIVE |      \
	 LH_LEASE_FAULTING)

static int options_check(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt)
{
	uint64_t end;

	if (opt != NULL && (opt->flags & ~LEASE_FLAGS) != 0)
		return fail(-EINVAL, "lease: unknown flags 0x%x", opt->flags & ~LEASE_FLAGS);
	if (opt != NULL && (opt->flags & LH_LEASE_READ) && (opt->flags & LH_LEASE_WRITE))
		return fail(-EINVAL, "lease: READ and WRITE at once; get one lease for each");
	if (len == 0 || add_overflows(off, len, &end) || end > (uint64_t)FS_SIZE_MAX)
		return fail(-EINVAL, "lease: range of %llu bytes at %llu is empty or beyond the largest file",
			    (unsigned long long)len, (unsigned long long)off);
	if (file->fs->read_only)
		return fail(-EROFS, "lease: the pool is open read-only and cannot be exposed; use lh_file_read");
	return 0;
}

static struct lh_lease *lease_new(struct lh_file *file, struct range range, const struct lh_lease_options *opt)
{
	uint32_t flags = opt != NULL ? opt->flags : 0;
	uint64_t deadline_ns = opt != NULL ? opt->deadline_ns : 0;
	struct lh_lease *lease = calloc(1, sizeof(*lease));

	if (lease == NULL)
		return NULL;
	lease->head.be = file->head.be;
	lease->head.file = file;
	lease->fs = file->fs;
	lease->mode = flags & LH_LEASE_WRITE ? LEASE_WRITE : LEASE_READ;
	lease->manual = (flags & LH_LEASE_MANUAL) != 0;
	lease->exclusive = (flags & LH_LEASE_EXCLUSIVE) != 0;
	lease->max_age_ns = opt != NULL ? opt->max_age_ns : 0;
	lease->by_place = (flags & LH_LEASE_FAULTING) != 0;
	lease->resolver = local_resolver;
	/* LEASE_DEADLINE_NOW is the largest number: an application that asks for as long as possible does not mean it.
	 */
	lease->deadline_ns = min_u64(deadline_ns, LEASE_DEADLINE_NOW - 1);
	if (flags & LH_LEASE_NOW)
		lease->deadline_ns = LEASE_DEADLINE_NOW;
	lease->range = range;
	atomic_init(&lease->refs, 1);
	lock_init_keyed(&lease->lock, RANK_PIN, 1 + atomic_fetch_add(&file->fs->serial, 1));
	cond_init(&lease->turn);
	TAILQ_INIT(&lease->parts);
	return lease;
}

int local_lease_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
		    struct lh_lease **out)
{
	bool nowait = (opt != NULL && (opt->flags & LH_LEASE_NOWAIT)) || local_who(file->fs)->nowait;
	struct lh_lease *lease;
	int err;

	err = options_check(file, off, len, opt);
	if (err)
		return err;
	lease = lease_new(file, (struct range){off, off + len}, opt);
	if (lease == NULL)
		return -ENOMEM;
	err = part_get(lease, lease->range, nowait);
	if (err) {
		lease_unref(lease);
		return err;
	}
	lock_take(&file->fs->table);
	TAILQ_INSERT_TAIL(&file->leases, lease, in_file);
	lock_drop(&file->fs->table);
	*out = lease;
	return 0;
}

/* The smallest number above `after` among the lease's grants that are not `but`; 0: none. */
static uint64_t next_number(struct lh_lease *lease, uint64_t after, const uint64_t but)
{
	uint64_t found = 0;
	struct part *p;

	lock_take(&lease->lock);
	TAILQ_FOREACH (p, &lease->parts, in_lease) {
		if (p->number > after && p->number != but && (found == 0 || p->number < found))
			found = p->number;
	}
	lock_drop(&lease->lock);
	return found;
}

int local_lease_release(struct lh_lease *lease)
{
	struct lh_fs *fs = lease->fs;
	uint64_t number = 0;

	local_events_forget(lease);
	lock_take(&fs->table);
	TAILQ_REMOVE(&lease->head.file->leases, lease, in_file);
	lock_drop(&fs->table);
	for (;;) {
		number = next_number(lease, number, 0);
		if (number == 0)
			break;
		(void)lease_release(fs->session, number, RANGE_ALL);
	}
	lease_unref(lease);
	return 0;
}

/* --- faults --- */

static uint64_t newest_number(struct lh_lease *lease)
{
	struct part *p;
	uint64_t number;

	lock_take(&lease->lock);
	p = TAILQ_LAST(&lease->parts, part_list);
	number = p != NULL ? p->number : 0;
	lock_drop(&lease->lock);
	return number;
}

/* Many small grants become one. */
static int lease_merge(struct lh_lease *lease, bool nowait)
{
	uint64_t number = 0;
	uint64_t whole;
	int err;

	err = part_get(lease, lease->range, nowait);
	if (err)
		return err;
	whole = newest_number(lease);
	for (;;) {
		number = next_number(lease, number, whole);
		if (number == 0)
			return 0;
		(void)lease_release(lease->fs->session, number, RANGE_ALL);
	}
}

/* Gets the piece around off. Only the thread whose turn it is. */
static int fault_in(struct lh_lease *lease, uint64_t off)
{
	struct range gap;
	bool many;

	lock_take(&lease->lock);
	gap = part_gap(lease, off, lease->range);
	many = lease->part_count >= LOCAL_PARTS_MAX;
	lock_drop(&lease->lock);
	if (many && lease_merge(lease, true) == 0)
		return 0;
	return part_get(lease, gap, local_who(lease->fs)->nowait);
}

/* Another thread asks. Its call ends when it is interrupted, and so does ours. Caller holds the lock. */
static int turn_wait(struct lh_lease *lease, uint64_t before)
{
	cond_wait(&lease->turn, &lease->lock);
	return atomic_load(&lease->fs->interrupts) == before ? 0 : -EINTR;
}

static void turn_drop(struct lh_lease *lease)
{
	lock_take(&lease->lock);
	lease->faulting = false;
	cond_wake_all(&lease->turn);
	lock_drop(&lease->lock);
}

int lease_fault(struct lh_lease *lease, uint64_t off)
{
	uint64_t before = atomic_load(&lease->fs->interrupts);
	struct fs_attr attr;
	bool there;
	int err = 0;

	/*
	 * A change by this very session drains its own pins and places them again before it drops INODE (L5). So one
	 * look at the inode waits for it; what is missing afterwards was taken by others.
	 */
	err = fs_fstat(lease->head.file->handle, &attr);
	if (err)
		return err;
	lock_take(&lease->lock);
	while (!err && lease->faulting)
		err = turn_wait(lease, before);
	there = part_find(lease, off) != NULL;
	if (!err && !there && !lease->manual)
		lease->faulting = true;
	lock_drop(&lease->lock);
	if (there || err)
		return there ? 0 : err;
	if (lease->mode == LEASE_READ && off >= attr.size)
		err = -ENODATA;
	else if (lease->manual)
		err = fail(-ESTALE, "lease: byte %llu was recalled or revoked; release the lease and get a new one",
			   (unsigned long long)off);
	if (lease->manual)
		return err;
	if (!err)
		err = fault_in(lease, off);
	if (!err)
		atomic_fetch_add(&lease->faults, 1);
	turn_drop(lease);
	return err;
}

/* --- commit and looking --- */

int local_lease_commit(struct lh_lease *lease, uint64_t off, uint64_t len)
{
	struct lh_file *file = lease->head.file;
	struct fs_attr attr;
	uint64_t end;
	int err;

	if (lease->mode != LEASE_WRITE)
		return fail(-EBADF, "commit: this is a READ lease");
	if (add_overflows(off, len, &end) || !range_covers(lease->range, (struct range){off, end}))
		return fail(-ERANGE, "commit: %llu bytes at %llu are not inside the lease", (unsigned long long)len,
			    (unsigned long long)off);
	/* As on a client: what nobody wrote does not make the file longer. */
	err = fs_fstat(file->handle, &attr);
	if (err)
		return err;
	end = min_u64(end, max_u64(attr.size, atomic_load(&file->written_end)));
	return end <= off ? 0 : fs_commit(file->handle, local_who(lease->fs), off, end - off);
}

/* Whether every byte of the range has its span. Caller holds the lease's lock. */
static bool covered(struct lh_lease *lease, struct range range)
{
	uint64_t at = range.start;

	while (at < range.end) {
		const struct span *s = part_find(lease, at);

		if (s == NULL)
			return false;
		at = s->off + s->len;
	}
	return true;
}

/* Whether all of it is there that can be. Caller holds the lease's lock. */
static bool held(struct lh_lease *lease, struct range there)
{
	lease->missing = range_cut(lease->missing, there);
	if (!range_empty(lease->missing) && covered(lease, lease->missing))
		lease->missing = (struct range){0, 0};
	return lease->part_count > 0 && range_empty(lease->missing);
}

int local_lease_state(struct lh_lease *lease, struct lh_lease_state *out)
{
	struct range there = lease->range;
	uint64_t now = clock_now_ns();
	struct fs_attr attr;
	int err;

	err = fs_fstat(lease->head.file->handle, &attr);
	if (err)
		return err;
	/* What was cut off the file is not missing: there is nothing to read. */
	if (lease->mode == LEASE_READ)
		there.end = min_u64(there.end, attr.size);
	out->mode = lease->mode == LEASE_WRITE ? LH_LEASE_WRITE : LH_LEASE_READ;
	out->flags = lease->by_place ? LH_LEASE_FAULTING : 0;
	out->off = lease->range.start;
	out->len = lease->range.end - lease->range.start;
	out->faults = atomic_load(&lease->faults);
	out->recalls = atomic_load(&lease->recalls);
	out->revocations = atomic_load(&lease->revocations);
	out->number = newest_number(lease);
	lock_take(&lease->lock);
	out->held = held(lease, there);
	out->flags |= lease->exclusive ? LH_LEASE_EXCLUSIVE : 0;
	out->exclusive_left_ns = lease->part_count > 0 && lease->deny_until_ns > now ? lease->deny_until_ns - now : 0;
	lock_drop(&lease->lock);
	return 0;
}

/* --- another mode (L23) --- */

static int broken(void)
{
	return fail(-ESTALE, "lease: it was recalled or revoked meanwhile, and has the mode that it had");
}

/* The one grant that is all of the lease; made anew when it has several. Only the thread whose turn it is. */
static int change_number(struct lh_lease *lease, uint64_t *number)
{
	struct range there = lease->range;
	struct fs_attr attr;
	bool here, whole;
	int err;

	err = fs_fstat(lease->head.file->handle, &attr);
	if (err)
		return err;
	if (lease->mode == LEASE_READ)
		there.end = min_u64(there.end, attr.size);
	lock_take(&lease->lock);
	here = held(lease, there);
	whole = lease->part_count == 1 && !lease->broken;
	lock_drop(&lease->lock);
	if (!here)
		return broken();
	if (!whole)
		err = lease_merge(lease, local_who(lease->fs)->nowait);
	*number = newest_number(lease);
	return err;
}

static int change(struct lh_lease *lease, const struct fs_lease_args *args)
{
	struct fs_lease got = {0};
	uint64_t number = 0;
	int err;

	err = change_number(lease, &number);
	if (err)
		return err;
	err = fs_lease_change(lease->head.file->handle, local_who(lease->fs), number, args, &got);
	lock_take(&lease->lock);
	lease->broken = err == -ESTALE;
	if (!err) {
		lease->mode = args->mode;
		lease->exclusive = args->exclusive;
		lease->max_age_ns = args->max_age_ns;
		lease->deny_until_ns = args->exclusive ? clock_now_ns() + got.exclusive_left_ns : 0;
	}
	lease->size = 0;
	lease->changes++;
	lock_drop(&lease->lock);
	return err == -ESTALE ? broken() : err;
}

int local_lease_change(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns)
{
	uint64_t before = atomic_load(&lease->fs->interrupts);
	struct fs_lease_args args = {.range = lease->range,
				     .mode = flags & LH_LEASE_WRITE ? LEASE_WRITE : LEASE_READ,
				     .handle_number = lease->head.file->number,
				     .deadline_ns = lease->deadline_ns,
				     .exclusive = (flags & LH_LEASE_EXCLUSIVE) != 0,
				     .faulting = lease->by_place,
				     .max_age_ns = max_age_ns};
	int err = 0;

	lock_take(&lease->lock);
	while (!err && lease->faulting)
		err = turn_wait(lease, before);
	if (!err)
		lease->faulting = true;
	lock_drop(&lease->lock);
	if (err)
		return err;
	err = change(lease, &args);
	turn_drop(lease);
	return err;
}

static int extent_compare(const void *a, const void *b)
{
	uint64_t x = ((const struct lh_lease_extent *)a)->file_off;
	uint64_t y = ((const struct lh_lease_extent *)b)->file_off;

	return x < y ? -1 : x > y;
}

int local_lease_extents(struct lh_lease *lease, struct lh_lease_extent *out, unsigned max)
{
	unsigned n = 0;
	struct part *p;

	lock_take(&lease->lock);
	TAILQ_FOREACH (p, &lease->parts, in_lease) {
		for (unsigned i = 0; i < p->count && n < max; i++) {
			const struct span *s = &p->spans[i];

			if (!s->hole)
				out[n++] = (struct lh_lease_extent){s->off, s->len, s->key.number, 0};
		}
	}
	lock_drop(&lease->lock);
	if (n > 0)
		qsort(out, n, sizeof(*out), extent_compare);
	return (int)n;
}
