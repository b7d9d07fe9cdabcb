/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fs's side of leases: one case for each row of the table of breaking operations (L1), and L2-L5, L8-L10, L13, L17,
 * L20, L21, L24, L27, L28, L30. Holders are sessions that write down what they are told; polite ones release from a
 * thread of their own.
 */
#include "fsrig.h"

#include <time.h>

#define N 16 /* blocks of the file */

struct file {
	struct rig *r;
	struct fs_handle *h;
	struct holder a; /* the one who is broken */
};

static void with_lease(struct file *f, void **state, enum lease_mode mode, uint64_t off, uint64_t len)
{
	f->r = *state;
	rig_file(f->r, "/f", 'f', N * BLK);
	f->h = rig_open(f->r, "/f", O_RDWR);
	holder_open(&f->a, f->r, "/f", true);
	if (len)
		holder_get(&f->a, mode, off * BLK, len * BLK);
}

static void done(struct file *f)
{
	holder_close(&f->a);
	fs_close(f->h, NULL, 0);
	rig_check(f->r);
}

/* Exactly one recall, of these blocks, for this reason. */
static void was_recalled(struct file *f, enum lease_reason reason, enum lease_kind kind, uint64_t first, uint64_t end)
{
	assert_int_equal(f->a.recalls, 1);
	assert_int_equal(f->a.revokes, 0);
	assert_int_equal(f->a.last.reason, reason);
	assert_int_equal(f->a.last.kind, kind);
	assert_int_equal(f->a.last.range.start, first * BLK);
	assert_int_equal(f->a.last.range.end, end * BLK);
	assert_null(pin_at(&f->a.pin, first * BLK));
	assert_null(pin_at(&f->a.pin, end * BLK - 1));
}

static void l1_truncate_down_breaks_from_the_new_end(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_READ, 0, N);
	assert_int_equal(fs_truncate(f.h, &f.r->root, 10 * BLK), 0);
	was_recalled(&f, LEASE_FOR_TRUNCATE, LEASE_STOP, 10, N);
	/* L4: the rest of the lease stays. */
	assert_non_null(pin_at(&f.a.pin, 9 * BLK));
	assert_int_equal(fs_truncate(f.h, &f.r->root, 20 * BLK), 0);
	assert_int_equal(f.a.recalls, 1);
	done(&f);
}

static void l1_opening_with_o_trunc_breaks(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_WRITE, 0, N);
	fs_close(rig_open(f.r, "/f", O_WRONLY | O_TRUNC), NULL, 0);
	was_recalled(&f, LEASE_FOR_TRUNCATE, LEASE_STOP, 0, N);
	done(&f);
}

static void l1_punch_breaks_the_range(void **state)
{
	struct file f;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	with_lease(&f, state, LEASE_WRITE, 0, N);
	assert_int_equal(fs_allocate(f.h, &f.r->root, mode, 3 * BLK, 2 * BLK), 0);
	was_recalled(&f, LEASE_FOR_PUNCH, LEASE_STOP, 3, 5);
	assert_non_null(pin_at(&f.a.pin, 3 * BLK - 1));
	assert_non_null(pin_at(&f.a.pin, 5 * BLK));
	rig_expect(f.r, f.h, 0, 2 * BLK, 3 * BLK);
	done(&f);
}

static void l1_clone_breaks_writers_of_the_source_and_leaves_readers(void **state)
{
	struct file f;
	struct holder reader;
	struct fs_handle *g;

	with_lease(&f, state, LEASE_WRITE, 0, N);
	holder_open(&reader, f.r, "/f", true);
	holder_get(&reader, LEASE_READ, 0, N * BLK);
	g = rig_open(f.r, "/g", O_RDWR | O_CREAT);
	assert_int_equal(fs_clone_range(g, 0, f.h, 2 * BLK, 4 * BLK, &f.r->root), 0);
	was_recalled(&f, LEASE_FOR_CLONE_SOURCE, LEASE_DRAIN, 2, 6);
	assert_int_equal(reader.recalls, 0);
	assert_int_equal(*pin_at(&reader.pin, 3 * BLK), 'f');
	fs_close(g, NULL, 0);
	holder_close(&reader);
	done(&f);
}

static void l1_clone_breaks_everybody_at_the_destination(void **state)
{
	struct file f;
	struct fs_handle *g;

	with_lease(&f, state, LEASE_READ, 0, N);
	rig_file(f.r, "/g", 'g', N * BLK);
	g = rig_open(f.r, "/g", O_RDWR);
	assert_int_equal(fs_clone_range(f.h, 4 * BLK, g, 0, 4 * BLK, &f.r->root), 0);
	was_recalled(&f, LEASE_FOR_CLONE_TARGET, LEASE_STOP, 4, 8);
	rig_expect(f.r, f.h, 'g', 4 * BLK, 4 * BLK);
	fs_close(g, NULL, 0);
	done(&f);
}

static void l1_copy_on_write_breaks_the_run_of_that_file_only(void **state)
{
	struct file f;
	struct holder b;
	struct fs_handle *g;

	with_lease(&f, state, LEASE_READ, 0, 0);
	g = rig_open(f.r, "/g", O_RDWR | O_CREAT);
	assert_int_equal(fs_clone_range(g, 0, f.h, 0, 0, &f.r->root), 0);
	holder_get(&f.a, LEASE_READ, 0, N * BLK);
	holder_open(&b, f.r, "/g", true);
	holder_get(&b, LEASE_READ, 0, N * BLK);
	rig_fill(f.r, f.h, 'w', 10, 6 * BLK + 5);
	was_recalled(&f, LEASE_FOR_COPY_ON_WRITE, LEASE_DRAIN, 6, 7);
	assert_int_equal(b.recalls, 0);
	assert_int_equal(*pin_at(&b.pin, 6 * BLK + 5), 'f');
	rig_expect(f.r, f.h, 'w', 10, 6 * BLK + 5);
	rig_expect(f.r, g, 'f', N * BLK, 0);
	fs_close(g, NULL, 0);
	holder_close(&b);
	done(&f);
}

static void l1_writing_into_a_hole_under_a_lease_breaks_the_run(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_READ, 0, 0);
	assert_int_equal(fs_allocate(f.h, &f.r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLK, 8 * BLK), 0);
	holder_get(&f.a, LEASE_READ, 0, N * BLK);
	assert_null(pin_at(&f.a.pin, 5 * BLK));
	rig_fill(f.r, f.h, 'w', BLK, 5 * BLK);
	was_recalled(&f, LEASE_FOR_ALLOCATE, LEASE_DRAIN, 5, 6);
	done(&f);
}

static void l1_preallocating_a_hole_under_a_lease_breaks_the_run(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_READ, 0, 0);
	assert_int_equal(fs_allocate(f.h, &f.r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLK, 8 * BLK), 0);
	holder_get(&f.a, LEASE_READ, 0, N * BLK);
	assert_int_equal(fs_allocate(f.h, &f.r->root, 0, 2 * BLK, 4 * BLK), 0);
	was_recalled(&f, LEASE_FOR_ALLOCATE, LEASE_DRAIN, 4, 6);
	done(&f);
}

static void l1_relocate_breaks_and_l10_keeps_what_was_written_before(void **state)
{
	struct file f;
	uint64_t moved;

	with_lease(&f, state, LEASE_WRITE, 0, N);
	memset(pin_at(&f.a.pin, 3 * BLK), 'd', 10);
	assert_int_equal(fs_relocate(f.h, &f.r->root, 2 * BLK, 4 * BLK, &moved), 0);
	assert_int_equal(moved, 4);
	was_recalled(&f, LEASE_FOR_RELOCATE, LEASE_DRAIN, 2, 6);
	rig_expect(f.r, f.h, 'd', 10, 3 * BLK);
	rig_expect(f.r, f.h, 'f', 2 * BLK, 4 * BLK);
	done(&f);
}

static void l1_reclaim_of_an_unlinked_file_breaks_all(void **state)
{
	struct file f;
	struct fs_handle *h;

	/* The session's handle is closed without ending its leases (a broken caller): the last close finds them. */
	with_lease(&f, state, LEASE_WRITE, 0, N);
	assert_int_equal(fs_unlink(f.r->fs, &f.r->root, "/f"), 0);
	fs_close(f.h, NULL, 0);
	h = f.a.h;
	fs_close(h, NULL, 0);
	assert_int_equal(f.a.recalls, 1);
	assert_int_equal(f.a.last.reason, LEASE_FOR_RECLAIM);
	assert_int_equal(f.a.last.kind, LEASE_STOP);
	assert_int_equal(f.a.pin.count, 0);
	rig_file(f.r, "/f", 'x', BLK);
	f.h = rig_open(f.r, "/f", O_RDWR);
	f.a.h = rig_open(f.r, "/f", O_RDWR);
	done(&f);
}

static void l36_unmount_revokes_all(void **state)
{
	struct rig *r = *state;
	struct holder a;

	rig_file(r, "/f", 'f', BLK);
	holder_open(&a, r, "/f", false);
	holder_get(&a, LEASE_READ, 0, BLK);
	lease_unmount(fs_arbiter(r->fs), LEASE_DEADLINE_NOW);
	assert_int_equal(a.pin.count, 0);
	assert_int_equal(a.revokes, 1);
	holder_close(&a);
}

static void l2_no_break_for_opens_reads_writes_in_place_and_attributes(void **state)
{
	struct file f;
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0600};

	with_lease(&f, state, LEASE_WRITE, 0, N);
	fs_close(rig_open(f.r, "/f", O_RDWR), NULL, 0);
	rig_fill(f.r, f.h, 'w', 5 * BLK, 100);
	rig_expect(f.r, f.h, 'w', 5 * BLK, 100);
	assert_int_equal(fs_fsetattr(f.h, &f.r->root, &set), 0);
	assert_int_equal(fs_sync(f.h, false), 0);
	assert_int_equal(fs_rename(f.r->fs, &f.r->root, "/f", "/g", 0), 0);
	assert_int_equal(fs_rename(f.r->fs, &f.r->root, "/g", "/f", 0), 0);
	/* Unwritten becoming written is no change of layout. */
	rig_fill(f.r, f.h, 'a', 10, N * BLK);
	assert_int_equal(f.a.recalls, 0);
	assert_int_equal(*pin_at(&f.a.pin, 200), 'w');
	done(&f);
}

static void l2_unwritten_blocks_under_a_read_lease_show_later_writes(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_READ, 0, 0);
	assert_int_equal(fs_truncate(f.h, &f.r->root, 0), 0);
	assert_int_equal(fs_allocate(f.h, &f.r->root, 0, 0, 4 * BLK), 0);
	holder_get(&f.a, LEASE_READ, 0, 4 * BLK);
	assert_int_equal(*pin_at(&f.a.pin, BLK), 0);
	rig_fill(f.r, f.h, 'u', 10, BLK);
	assert_int_equal(f.a.recalls, 0);
	assert_int_equal(*pin_at(&f.a.pin, BLK + 9), 'u');
	assert_int_equal(*pin_at(&f.a.pin, BLK + 10), 0);
	done(&f);
}

static void l3_what_nobody_leased_changes_without_a_message(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_READ, 0, 4);
	assert_int_equal(fs_truncate(f.h, &f.r->root, 8 * BLK), 0);
	assert_int_equal(fs_relocate(f.h, &f.r->root, 4 * BLK, 4 * BLK, NULL), 0);
	rig_file(f.r, "/other", 'o', N * BLK);
	assert_int_equal(f.a.recalls, 0);
	done(&f);
}

static void l5_the_callers_own_pin_follows_its_blocks_and_l21_it_is_not_broken(void **state)
{
	struct file f;
	uint32_t seq;
	uint8_t *before;

	with_lease(&f, state, LEASE_WRITE, 0, N);
	seq = f.a.lease.seq;
	before = pin_at(&f.a.pin, 3 * BLK);
	assert_int_equal(fs_relocate(f.a.h, &f.a.who, 2 * BLK, 4 * BLK, NULL), 0);
	assert_int_equal(f.a.recalls, 0);
	assert_true(f.a.pin.drains > 0);
	assert_int_equal(f.a.pin.places, 2);
	assert_ptr_not_equal(pin_at(&f.a.pin, 3 * BLK), before);
	*pin_at(&f.a.pin, 3 * BLK) = 'N';
	rig_expect(f.r, f.h, 'N', 1, 3 * BLK);
	(void)seq;
	/* L21: truncate, punch and hole filling of its own. */
	assert_int_equal(fs_truncate(f.a.h, &f.a.who, 10 * BLK), 0);
	assert_null(pin_at(&f.a.pin, 10 * BLK));
	assert_int_equal(fs_allocate(f.a.h, &f.a.who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLK), 0);
	assert_null(pin_at(&f.a.pin, 0));
	assert_int_equal(fs_write(f.a.h, &f.a.who, "hello", 5, 0), 5);
	assert_int_equal(*pin_at(&f.a.pin, 0), 'h');
	assert_int_equal(f.a.recalls, 0);
	done(&f);
}

static void l5_own_writers_lose_what_a_clone_shares(void **state)
{
	struct file f;
	struct fs_handle *g;

	with_lease(&f, state, LEASE_WRITE, 0, N);
	g = rig_open(f.r, "/g", O_RDWR | O_CREAT);
	assert_int_equal(fs_clone_range(g, 0, f.a.h, 0, 4 * BLK, &f.a.who), 0);
	assert_int_equal(f.a.recalls, 0);
	/* The next direct write there faults: it would show in the clone. */
	assert_null(pin_at(&f.a.pin, 0));
	assert_non_null(pin_at(&f.a.pin, 4 * BLK));
	assert_int_equal(fs_write(f.a.h, &f.a.who, "w", 1, 0), 1);
	assert_int_equal(*pin_at(&f.a.pin, 0), 'w');
	rig_expect(f.r, g, 'f', 4 * BLK, 0);
	fs_close(g, NULL, 0);
	done(&f);
}

struct delayed {
	struct file *f;
	int result;
	_Atomic bool returned;
};

static void *truncate_main(void *ctx)
{
	struct delayed *d = ctx;

	d->result = fs_truncate(d->f->h, &d->f->r->root, 0);
	atomic_store(&d->returned, true);
	return NULL;
}

static void wait_for_recall(struct holder *o)
{
	while (atomic_load(&o->recalls) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void l8_new_leases_wait_until_the_change_is_done(void **state)
{
	struct file f;
	struct delayed d = {.f = &f};
	struct holder slow, late;
	struct fs_lease_args args = {.range = {0, BLK}, .mode = LEASE_READ, .nowait = true};
	pthread_t t;

	with_lease(&f, state, LEASE_READ, 0, 0);
	holder_open(&slow, f.r, "/f", false);
	holder_get(&slow, LEASE_READ, 0, N * BLK);
	holder_open(&late, f.r, "/f", false);
	assert_int_equal(pthread_create(&t, NULL, truncate_main, &d), 0);
	wait_for_recall(&slow);
	assert_int_equal(fs_lease_get(late.h, &late.who, &args, &late.lease), -EAGAIN);
	assert_false(atomic_load(&d.returned));
	assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
	/* Waits for the gate, then finds the file empty. */
	args.nowait = false;
	assert_int_equal(fs_lease_get(late.h, &late.who, &args, &late.lease), -ENODATA);
	pthread_join(t, NULL);
	assert_int_equal(d.result, 0);
	holder_close(&slow);
	holder_close(&late);
	done(&f);
}

static void l9_nowait_starts_the_break_and_returns(void **state)
{
	struct file f;
	struct holder slow;
	struct fs_caller who;

	with_lease(&f, state, LEASE_READ, 0, 0);
	holder_open(&slow, f.r, "/f", false);
	holder_get(&slow, LEASE_READ, 0, N * BLK);
	who = f.r->root;
	who.nowait = true;
	assert_int_equal(fs_truncate(f.h, &who, 0), -EWOULDBLOCK);
	assert_int_equal(slow.recalls, 1);
	assert_int_equal(rig_size(f.h), N * BLK);
	assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
	assert_int_equal(fs_truncate(f.h, &who, 0), 0);
	holder_close(&slow);
	done(&f);
}

static void l7_a_silent_holder_is_forced_at_the_deadline(void **state)
{
	struct file f;
	struct holder silent;
	struct fs_caller who;
	uint64_t start = clock_now_ns();

	with_lease(&f, state, LEASE_READ, 0, 0);
	holder_open(&silent, f.r, "/f", false);
	holder_get(&silent, LEASE_WRITE, 0, N * BLK);
	who = f.r->root;
	who.deadline_ns = 30 * NS_PER_MS;
	assert_int_equal(fs_truncate(f.h, &who, 0), 0);
	assert_true(clock_now_ns() - start >= 30 * NS_PER_MS);
	assert_int_equal(silent.pin.count, 0);
	/* The holder is told after the one who waited. */
	while (silent.revokes == 0)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	assert_int_equal(silent.revokes, 1);
	holder_close(&silent);
	done(&f);
}

static void l13_blocks_come_back_only_after_the_drain(void **state)
{
	struct file f;
	struct delayed d = {.f = &f};
	struct holder slow;
	uint64_t before;
	pthread_t t;

	with_lease(&f, state, LEASE_READ, 0, 0);
	holder_open(&slow, f.r, "/f", false);
	holder_get(&slow, LEASE_READ, 0, N * BLK);
	before = rig_free_blocks(f.r);
	assert_int_equal(pthread_create(&t, NULL, truncate_main, &d), 0);
	wait_for_recall(&slow);
	/* I3: reachable, so not free. */
	assert_non_null(pin_at(&slow.pin, 0));
	assert_int_equal(rig_free_blocks(f.r), before);
	assert_int_equal(slow.pin.drains, 0);
	assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
	pthread_join(t, NULL);
	assert_true(slow.pin.drains > 0);
	assert_int_equal(rig_free_blocks(f.r), before + N);
	holder_close(&slow);
	done(&f);
}

static void l17_a_lease_needs_a_handle_opened_for_it(void **state)
{
	struct file f;
	struct fs_lease_args args = {.range = {0, BLK}, .mode = LEASE_WRITE};
	struct fs_handle *rd, *wr, *dir;
	struct fs_lease out;

	with_lease(&f, state, LEASE_READ, 0, 0);
	rd = rig_open(f.r, "/f", O_RDONLY);
	wr = rig_open(f.r, "/f", O_WRONLY);
	dir = rig_open(f.r, "/", O_RDONLY);
	assert_int_equal(fs_lease_get(rd, &f.a.who, &args, &out), -EBADF);
	assert_int_equal(fs_lease_get(dir, &f.a.who, &args, &out), -EINVAL);
	args.mode = LEASE_READ;
	assert_int_equal(fs_lease_get(wr, &f.a.who, &args, &out), -EBADF);
	args.range.end = 0;
	assert_int_equal(fs_lease_get(rd, &f.a.who, &args, &out), -EINVAL);
	args.range = (struct range){N * BLK, 2 * N * BLK};
	assert_int_equal(fs_lease_get(rd, &f.a.who, &args, &out), -ENODATA);
	fs_close(rd, NULL, 0);
	fs_close(wr, NULL, 0);
	fs_close(dir, NULL, 0);
	done(&f);
}

static void l20_many_hold_the_same_range(void **state)
{
	struct file f;
	struct holder b, c;

	with_lease(&f, state, LEASE_WRITE, 0, N);
	holder_open(&b, f.r, "/f", true);
	holder_open(&c, f.r, "/f", true);
	holder_get(&b, LEASE_WRITE, 0, N * BLK);
	holder_get(&c, LEASE_READ, 0, N * BLK);
	*pin_at(&b.pin, 0) = 'b';
	assert_int_equal(*pin_at(&c.pin, 0), 'b');
	assert_int_equal(f.a.recalls + b.recalls + c.recalls, 0);
	assert_int_equal(fs_truncate(f.h, &f.r->root, 0), 0);
	assert_int_equal(f.a.recalls + b.recalls + c.recalls, 3);
	holder_close(&b);
	holder_close(&c);
	done(&f);
}

static void l24_leases_end_with_their_handle(void **state)
{
	struct rig *r = *state;
	struct holder a;
	struct fs_handle *h;

	rig_file(r, "/f", 'f', N * BLK);
	holder_open(&a, r, "/f", false);
	holder_get(&a, LEASE_READ, 0, N * BLK);
	fs_close(a.h, a.session, 7);
	assert_int_equal(a.pin.gone, 1);
	assert_int_equal(a.pin.count, 0);
	h = rig_open(r, "/f", O_RDWR);
	assert_int_equal(fs_truncate(h, &r->root, 0), 0);
	assert_int_equal(a.recalls, 0);
	a.h = h;
	holder_close(&a);
}

static void l27_a_write_grant_allocates_copies_and_zeroes(void **state)
{
	struct file f;
	struct holder reader;
	struct fs_handle *g;

	with_lease(&f, state, LEASE_READ, 0, 0);
	/* Something was where the new blocks will come from. */
	rig_file(f.r, "/secret", 's', 20 * MIB);
	assert_int_equal(fs_unlink(f.r->fs, &f.r->root, "/secret"), 0);
	g = rig_open(f.r, "/g", O_RDWR | O_CREAT);
	assert_int_equal(fs_clone_range(g, 0, f.h, 0, 4 * BLK, &f.r->root), 0);
	assert_int_equal(fs_allocate(f.h, &f.r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * BLK, 4 * BLK), 0);
	holder_open(&reader, f.r, "/f", true);
	holder_get(&reader, LEASE_READ, 0, N * BLK);
	holder_get(&f.a, LEASE_WRITE, 0, 2 * N * BLK);
	/* L1: others were broken where blocks came and moved. */
	assert_int_equal(reader.recalls, 2);
	for (uint64_t b = 0; b < 2 * N; b++) {
		const uint8_t *at = pin_at(&f.a.pin, b * BLK);

		assert_non_null(at);
		assert_int_equal(at[BLK - 1], b < 8 || (b >= 12 && b < N) ? 'f' : 0);
	}
	memset(pin_at(&f.a.pin, 0), 'D', BLK);
	rig_expect(f.r, g, 'f', 4 * BLK, 0);
	rig_expect(f.r, f.h, 'D', BLK, 0);
	assert_int_equal(rig_size(f.h), N * BLK);
	fs_close(g, NULL, 0);
	holder_close(&reader);
	done(&f);
}

static void l27_a_write_lease_larger_than_the_pool_takes_nothing(void **state)
{
	struct file f;
	uint64_t before;

	with_lease(&f, state, LEASE_READ, 0, 0);
	before = rig_free_blocks(f.r);
	assert_int_equal(holder_try(&f.a, LEASE_WRITE, 0, (uint64_t)1 << 40), -ENOSPC);
	assert_int_equal(rig_free_blocks(f.r), before);
	assert_int_equal(holder_try(&f.a, LEASE_WRITE, 0, FS_SIZE_MAX), -EFBIG);
	done(&f);
}

static void l28_commits_are_durable_and_l30_the_size_grows_by_them_only(void **state)
{
	struct file f;
	struct rig *r = *state;

	with_lease(&f, state, LEASE_WRITE, N - 1, 3);
	memset(pin_at(&f.a.pin, (N - 1) * BLK), '1', BLK);
	memset(pin_at(&f.a.pin, N * BLK), '2', BLK);
	memset(pin_at(&f.a.pin, (N + 1) * BLK), '3', BLK);
	assert_int_equal(rig_size(f.h), N * BLK);
	rig_expect(r, f.h, '1', BLK, (N - 1) * BLK);
	assert_int_equal(fs_commit(f.a.h, &f.a.who, (N - 1) * BLK, BLK + 100), 0);
	assert_int_equal(rig_size(f.h), N * BLK + 100);
	done(&f);
	rig_remount(r, true);
	f.h = rig_open(r, "/f", O_RDWR);
	rig_expect(r, f.h, '1', BLK, (N - 1) * BLK);
	rig_expect(r, f.h, '2', 100, N * BLK);
	/* What was not committed does not show when the file grows. */
	assert_int_equal(fs_truncate(f.h, &r->root, (N + 3) * BLK), 0);
	rig_expect(r, f.h, 0, 3 * BLK - 100, N * BLK + 100);
	fs_close(f.h, NULL, 0);
}

static void l10_uncommitted_writes_past_the_end_survive_a_move_and_a_new_grant(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_WRITE, N - 1, 3);
	assert_int_equal(fs_truncate(f.a.h, &f.a.who, (N - 1) * BLK + 50), 0);
	assert_int_equal(lease_release(f.a.session, f.a.lease.lease, RANGE_ALL), 0);
	holder_get(&f.a, LEASE_WRITE, (N - 1) * BLK, 3 * BLK);
	memset(pin_at(&f.a.pin, (N - 1) * BLK + 50), 'u', BLK - 50);
	memset(pin_at(&f.a.pin, N * BLK), 'v', BLK);
	assert_int_equal(fs_relocate(f.h, &f.r->root, 0, 2 * N * BLK, NULL), 0);
	assert_true(f.a.recalls > 0);
	while (!f.a.pin.gone)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	holder_get(&f.a, LEASE_WRITE, (N - 1) * BLK, 3 * BLK);
	assert_int_equal(fs_commit(f.a.h, &f.a.who, (N - 1) * BLK + 50, 2 * BLK - 50), 0);
	rig_expect(f.r, f.h, 'u', BLK - 50, (N - 1) * BLK + 50);
	rig_expect(f.r, f.h, 'v', BLK, N * BLK);
	done(&f);
}

static void a_holder_that_lost_its_lease_does_not_show_when_others_grow_the_file(void **state)
{
	struct file f;

	with_lease(&f, state, LEASE_WRITE, N, 2);
	memset(pin_at(&f.a.pin, N * BLK), 'x', 2 * BLK);
	assert_int_equal(lease_release(f.a.session, f.a.lease.lease, RANGE_ALL), 0);
	rig_fill(f.r, f.h, 'y', 10, (N + 1) * BLK + 20);
	rig_expect(f.r, f.h, 0, BLK + 20, N * BLK);
	rig_expect(f.r, f.h, 'y', 10, (N + 1) * BLK + 20);
	done(&f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(l1_truncate_down_breaks_from_the_new_end),
	    T(l1_opening_with_o_trunc_breaks),
	    T(l1_punch_breaks_the_range),
	    T(l1_clone_breaks_writers_of_the_source_and_leaves_readers),
	    T(l1_clone_breaks_everybody_at_the_destination),
	    T(l1_copy_on_write_breaks_the_run_of_that_file_only),
	    T(l1_writing_into_a_hole_under_a_lease_breaks_the_run),
	    T(l1_preallocating_a_hole_under_a_lease_breaks_the_run),
	    T(l1_relocate_breaks_and_l10_keeps_what_was_written_before),
	    T(l1_reclaim_of_an_unlinked_file_breaks_all),
	    T(l36_unmount_revokes_all),
	    T(l2_no_break_for_opens_reads_writes_in_place_and_attributes),
	    T(l2_unwritten_blocks_under_a_read_lease_show_later_writes),
	    T(l3_what_nobody_leased_changes_without_a_message),
	    T(l5_the_callers_own_pin_follows_its_blocks_and_l21_it_is_not_broken),
	    T(l5_own_writers_lose_what_a_clone_shares),
	    T(l8_new_leases_wait_until_the_change_is_done),
	    T(l9_nowait_starts_the_break_and_returns),
	    T(l7_a_silent_holder_is_forced_at_the_deadline),
	    T(l13_blocks_come_back_only_after_the_drain),
	    T(l17_a_lease_needs_a_handle_opened_for_it),
	    T(l20_many_hold_the_same_range),
	    T(l24_leases_end_with_their_handle),
	    T(l27_a_write_grant_allocates_copies_and_zeroes),
	    T(l27_a_write_lease_larger_than_the_pool_takes_nothing),
	    T(l28_commits_are_durable_and_l30_the_size_grows_by_them_only),
	    T(l10_uncommitted_writes_past_the_end_survive_a_move_and_a_new_grant),
	    T(a_holder_that_lost_its_lease_does_not_show_when_others_grow_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
