/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of the table of breaking operations (L1) for collapse, insert, zero range, unshare, dedupe, exchange and
 * copy: exactly the right range and modes are recalled. L4, L5, L9, L10 and L21 of the same.
 */
#include "fsrig.h"

#include <time.h>
#include <unistd.h>

#define N        16 /* blocks of a file */
#define PUNCH    (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO     FALLOC_FL_ZERO_RANGE
#define COLLAPSE FALLOC_FL_COLLAPSE_RANGE
#define INSERT   FALLOC_FL_INSERT_RANGE
#define UNSHARE  FALLOC_FL_UNSHARE_RANGE

/* /f has 'f' in N blocks, /g has 'g'; reader and writer hold leases on all of /f, or of /g. */
struct bench {
	struct rig *r;
	struct fs_handle *f, *g;
	struct holder reader, writer;
};

static void bench_open(struct bench *b, void **state, const char *leased)
{
	b->r = *state;
	rig_file(b->r, "/f", 'f', N * BLK);
	rig_file(b->r, "/g", 'g', N * BLK);
	b->f = rig_open(b->r, "/f", O_RDWR);
	b->g = rig_open(b->r, "/g", O_RDWR);
	holder_open(&b->reader, b->r, leased, true);
	holder_open(&b->writer, b->r, leased, true);
}

static void bench_lease(struct bench *b)
{
	holder_get(&b->writer, LEASE_WRITE, 0, N * BLK);
	holder_get(&b->reader, LEASE_READ, 0, N * BLK);
}

static void bench_close(struct bench *b)
{
	holder_close(&b->reader);
	holder_close(&b->writer);
	fs_close(b->f, NULL, 0);
	fs_close(b->g, NULL, 0);
	rig_check(b->r);
}

static void recalled(struct holder *o, enum lease_reason reason, enum lease_kind kind, uint64_t first, uint64_t end)
{
	assert_int_equal(o->recalls, 1);
	assert_int_equal(o->revokes, 0);
	assert_int_equal(o->last.reason, reason);
	assert_int_equal(o->last.kind, kind);
	assert_int_equal(o->last.range.start, first * BLK);
	assert_int_equal(o->last.range.end, end * BLK);
	/* L12 inside, L4 outside. */
	assert_null(pin_at(&o->pin, first * BLK));
	assert_null(pin_at(&o->pin, end * BLK - 1));
	if (first > 0)
		assert_non_null(pin_at(&o->pin, first * BLK - 1));
	if (end < N)
		assert_non_null(pin_at(&o->pin, end * BLK));
}

static void both_recalled(struct bench *b, enum lease_reason reason, enum lease_kind kind, uint64_t first, uint64_t end)
{
	recalled(&b->reader, reason, kind, first, end);
	recalled(&b->writer, reason, kind, first, end);
}

static void nobody_recalled(struct bench *b)
{
	assert_int_equal(b->reader.recalls + b->reader.revokes, 0);
	assert_int_equal(b->writer.recalls + b->writer.revokes, 0);
}

static int as_root(struct bench *b, struct fs_handle *h, int mode, uint64_t first, uint64_t blocks)
{
	return fs_allocate(h, &b->r->root, mode, first * BLK, blocks * BLK);
}

static void l1_collapse_breaks_to_the_end_of_file(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	bench_lease(&b);
	assert_int_equal(as_root(&b, b.f, COLLAPSE, 4, 2), 0);
	both_recalled(&b, LEASE_FOR_COLLAPSE, LEASE_STOP, 4, N);
	bench_close(&b);
}

static void l1_insert_breaks_to_the_end_of_file(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	bench_lease(&b);
	/* L10: what was written before the release moves along. */
	memset(pin_at(&b.writer.pin, 5 * BLK), 'w', BLK);
	assert_int_equal(as_root(&b, b.f, INSERT, 4, 3), 0);
	both_recalled(&b, LEASE_FOR_INSERT, LEASE_DRAIN, 4, N);
	rig_expect(b.r, b.f, 'w', BLK, 8 * BLK);
	bench_close(&b);
}

static void l1_zero_range_in_place_breaks_nobody(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	bench_lease(&b);
	assert_int_equal(fs_allocate(b.f, &b.r->root, ZERO, 3 * BLK + 5, 6 * BLK), 0);
	nobody_recalled(&b);
	assert_int_equal(*pin_at(&b.reader.pin, 3 * BLK + 4), 'f');
	assert_int_equal(*pin_at(&b.reader.pin, 3 * BLK + 5), 0);
	assert_int_equal(*pin_at(&b.writer.pin, 9 * BLK), 0);
	assert_int_equal(*pin_at(&b.writer.pin, 9 * BLK + 5), 'f');
	/* Still the same blocks. */
	*pin_at(&b.writer.pin, 5 * BLK) = 'W';
	rig_expect(b.r, b.f, 'W', 1, 5 * BLK);
	bench_close(&b);
}

static void l1_zero_range_over_a_hole_breaks_the_hole(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	assert_int_equal(as_root(&b, b.f, PUNCH, 6, 2), 0);
	holder_get(&b.reader, LEASE_READ, 0, N * BLK);
	assert_int_equal(as_root(&b, b.f, ZERO, 4, 6), 0);
	recalled(&b.reader, LEASE_FOR_ALLOCATE, LEASE_DRAIN, 6, 8);
	rig_expect(b.r, b.f, 0, 6 * BLK, 4 * BLK);
	bench_close(&b);
}

static void l1_zero_range_over_shared_blocks_breaks_their_run(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	assert_int_equal(fs_clone_range(b.g, 0, b.f, 5 * BLK, 3 * BLK, &b.r->root), 0);
	holder_get(&b.reader, LEASE_READ, 0, N * BLK);
	assert_int_equal(as_root(&b, b.f, ZERO, 2, 10), 0);
	recalled(&b.reader, LEASE_FOR_COPY_ON_WRITE, LEASE_DRAIN, 5, 8);
	assert_int_equal(*pin_at(&b.reader.pin, 4 * BLK), 0);
	rig_expect(b.r, b.f, 0, 10 * BLK, 2 * BLK);
	rig_expect(b.r, b.g, 'f', 3 * BLK, 0);
	bench_close(&b);
}

static void l1_unshare_breaks_its_shared_runs(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	assert_int_equal(fs_clone_range(b.g, 0, b.f, 5 * BLK, 3 * BLK, &b.r->root), 0);
	holder_get(&b.reader, LEASE_READ, 0, N * BLK);
	assert_int_equal(as_root(&b, b.f, UNSHARE, 0, N), 0);
	recalled(&b.reader, LEASE_FOR_UNSHARE, LEASE_DRAIN, 5, 8);
	bench_close(&b);
}

static void l1_dedupe_breaks_writers_of_the_source_only(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	rig_fill(b.r, b.g, 'f', 4 * BLK, 2 * BLK);
	bench_lease(&b);
	assert_int_equal(fs_dedupe_range(b.g, 2 * BLK, b.f, 3 * BLK, 4 * BLK, &b.r->root), 0);
	recalled(&b.writer, LEASE_FOR_DEDUPE, LEASE_DRAIN, 3, 7);
	assert_int_equal(b.reader.recalls, 0);
	assert_int_equal(*pin_at(&b.reader.pin, 3 * BLK), 'f');
	bench_close(&b);
}

static void l1_dedupe_breaks_everybody_at_the_destination(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	rig_fill(b.r, b.g, 'f', 4 * BLK, 2 * BLK);
	bench_lease(&b);
	assert_int_equal(fs_dedupe_range(b.f, 3 * BLK, b.g, 2 * BLK, 4 * BLK, &b.r->root), 0);
	both_recalled(&b, LEASE_FOR_DEDUPE, LEASE_DRAIN, 3, 7);
	bench_close(&b);
}

static void ranges_that_differ_cost_nobody_a_lease(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	bench_lease(&b);
	assert_int_equal(fs_dedupe_range(b.f, 3 * BLK, b.g, 2 * BLK, 4 * BLK, &b.r->root), 1);
	nobody_recalled(&b);
	bench_close(&b);
}

/* L10: bytes written before the release count, so that the answer is another one then. */
static void l10_dedupe_compares_what_was_written_before_the_release(void **state)
{
	struct bench b;
	struct holder slow;
	struct fs_caller who;

	bench_open(&b, state, "/g");
	rig_fill(b.r, b.g, 'f', N * BLK, 0);
	holder_open(&slow, b.r, "/f", false);
	holder_get(&slow, LEASE_WRITE, 0, N * BLK);
	who = b.r->root;
	who.nowait = true;
	assert_int_equal(fs_dedupe_range(b.g, 0, b.f, 0, 4 * BLK, &who), -EWOULDBLOCK);
	*pin_at(&slow.pin, 2 * BLK) = 'x';
	assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
	assert_int_equal(fs_dedupe_range(b.g, 0, b.f, 0, 4 * BLK, &who), 1);
	rig_expect(b.r, b.f, 'x', 1, 2 * BLK);
	rig_expect(b.r, b.g, 'f', N * BLK, 0);
	holder_close(&slow);
	bench_close(&b);
}

struct waiting_dedupe {
	struct bench *b;
	int result;
};

static void *dedupe_main(void *ctx)
{
	struct waiting_dedupe *d = ctx;

	d->result = fs_dedupe_range(d->b->g, 0, d->b->f, 0, 4 * BLK, &d->b->r->root);
	return NULL;
}

/* The same, by a call that waits: it ends with the answer. */
static void l10_a_dedupe_that_waited_finds_the_difference(void **state)
{
	struct bench b;
	struct waiting_dedupe d = {.b = &b};
	struct holder slow;
	pthread_t t;

	bench_open(&b, state, "/g");
	rig_fill(b.r, b.g, 'f', N * BLK, 0);
	holder_open(&slow, b.r, "/f", false);
	holder_get(&slow, LEASE_WRITE, 0, N * BLK);
	assert_int_equal(pthread_create(&t, NULL, dedupe_main, &d), 0);
	while (slow.recalls == 0)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	*pin_at(&slow.pin, 2 * BLK) = 'x';
	assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
	pthread_join(t, NULL);
	assert_int_equal(d.result, 1);
	rig_expect(b.r, b.g, 'f', N * BLK, 0);
	holder_close(&slow);
	bench_close(&b);
}

static void l1_exchange_breaks_everybody_on_both_sides(void **state)
{
	struct bench b;
	struct holder other;

	bench_open(&b, state, "/f");
	bench_lease(&b);
	holder_open(&other, b.r, "/g", true);
	holder_get(&other, LEASE_READ, 0, N * BLK);
	memset(pin_at(&b.writer.pin, 3 * BLK), 'w', BLK);
	assert_int_equal(fs_exchange_range(b.f, 3 * BLK, b.g, 7 * BLK, 2 * BLK, &b.r->root), 0);
	both_recalled(&b, LEASE_FOR_EXCHANGE, LEASE_DRAIN, 3, 5);
	recalled(&other, LEASE_FOR_EXCHANGE, LEASE_DRAIN, 7, 9);
	rig_expect(b.r, b.g, 'w', BLK, 7 * BLK);
	rig_expect(b.r, b.f, 'g', 2 * BLK, 3 * BLK);
	holder_close(&other);
	bench_close(&b);
}

static void l1_exchange_within_one_file_breaks_both_ranges(void **state)
{
	struct bench b;
	struct holder low, high, between;

	bench_open(&b, state, "/f");
	holder_open(&low, b.r, "/f", true);
	holder_open(&high, b.r, "/f", true);
	holder_open(&between, b.r, "/f", true);
	holder_get(&low, LEASE_READ, 0, 4 * BLK);
	holder_get(&high, LEASE_WRITE, 10 * BLK, 6 * BLK);
	holder_get(&between, LEASE_WRITE, 4 * BLK, 6 * BLK);
	assert_int_equal(fs_exchange_range(b.f, 11 * BLK, b.f, BLK, 2 * BLK, &b.r->root), 0);
	assert_int_equal(low.last.range.start, BLK);
	assert_int_equal(low.last.range.end, 3 * BLK);
	assert_int_equal(high.last.range.start, 11 * BLK);
	assert_int_equal(high.last.range.end, 13 * BLK);
	assert_int_equal(between.recalls, 0);
	holder_close(&low);
	holder_close(&high);
	holder_close(&between);
	bench_close(&b);
}

static void l1_copy_breaks_as_the_clone_that_it_is(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	bench_lease(&b);
	assert_int_equal(fs_copy_range(b.g, 0, b.f, 3 * BLK, 2 * BLK, &b.r->root), 2 * BLK);
	recalled(&b.writer, LEASE_FOR_CLONE_SOURCE, LEASE_DRAIN, 3, 5);
	assert_int_equal(b.reader.recalls, 0);
	/* By bytes: a read of the source, a write in place of the destination. */
	assert_int_equal(fs_copy_range(b.g, 1, b.f, 8 * BLK, 2 * BLK, &b.r->root), 2 * BLK);
	assert_int_equal(b.writer.recalls, 1);
	bench_close(&b);
}

static void l2_seek_and_extents_break_nobody(void **state)
{
	struct bench b;

	bench_open(&b, state, "/f");
	bench_lease(&b);
	assert_int_equal(fs_seek(b.f, 0, SEEK_HOLE), N * BLK);
	assert_int_equal(fs_seek(b.f, BLK, SEEK_DATA), BLK);
	nobody_recalled(&b);
	bench_close(&b);
}

/* --- the caller's own ----------------------------------------------------------------------------------------------
 */

static void shows(struct holder *o, uint64_t block, char c)
{
	const uint8_t *at = pin_at(&o->pin, block * BLK);

	assert_non_null(at);
	assert_int_equal(*at, c);
}

static void l5_own_pins_follow_collapse_insert_and_exchange(void **state)
{
	struct bench b;
	struct holder *o = &b.writer;

	bench_open(&b, state, "/f");
	for (int k = 0; k < N; k++)
		rig_fill(b.r, b.f, 'a' + k, BLK, (uint64_t)k * BLK);
	holder_get(o, LEASE_WRITE, 0, N * BLK);
	assert_int_equal(fs_allocate(o->h, &o->who, COLLAPSE, 2 * BLK, 3 * BLK), 0);
	shows(o, 1, 'b');
	shows(o, 2, 'f');
	shows(o, N - 4, 'p');
	assert_null(pin_at(&o->pin, (N - 3) * BLK));
	assert_int_equal(fs_allocate(o->h, &o->who, INSERT, BLK, BLK), 0);
	assert_null(pin_at(&o->pin, BLK));
	shows(o, 2, 'b');
	shows(o, 3, 'f');
	assert_int_equal(fs_exchange_range(o->h, 4 * BLK, b.g, 0, 2 * BLK, &o->who), 0);
	shows(o, 4, 'g');
	shows(o, 6, 'i');
	assert_int_equal(fs_exchange_range(o->h, 2 * BLK, o->h, 6 * BLK, BLK, &o->who), 0);
	shows(o, 2, 'i');
	shows(o, 6, 'b');
	/* L12: what is written goes to the new place and shows. */
	*pin_at(&o->pin, 4 * BLK) = 'N';
	rig_expect(b.r, b.f, 'N', 1, 4 * BLK);
	rig_expect(b.r, b.g, 'g', BLK, 2 * BLK);
	assert_int_equal(o->recalls, 0);
	bench_close(&b);
}

static void l5_own_pins_follow_zero_unshare_and_dedupe(void **state)
{
	struct bench b;
	struct holder *o = &b.writer;

	bench_open(&b, state, "/f");
	holder_get(o, LEASE_WRITE, 0, N * BLK);
	assert_int_equal(fs_allocate(o->h, &o->who, ZERO, 0, 2 * BLK), 0);
	shows(o, 1, 0);
	rig_fill(b.r, b.g, 'f', 4 * BLK, 0);
	assert_int_equal(fs_dedupe_range(o->h, 4 * BLK, b.g, 0, 4 * BLK, &o->who), 0);
	/* Shared: a direct write would show in /g. */
	assert_null(pin_at(&o->pin, 4 * BLK));
	assert_int_equal(fs_allocate(o->h, &o->who, UNSHARE, 4 * BLK, 2 * BLK), 0);
	shows(o, 5, 'f');
	*pin_at(&o->pin, 5 * BLK) = 'u';
	assert_null(pin_at(&o->pin, 6 * BLK));
	rig_expect(b.r, b.g, 'f', 4 * BLK, 0);
	rig_expect(b.r, b.f, 'u', 1, 5 * BLK);
	assert_int_equal(fs_allocate(o->h, &o->who, ZERO, 6 * BLK, 2 * BLK), 0);
	shows(o, 6, 0);
	rig_expect(b.r, b.g, 'f', 4 * BLK, 0);
	assert_int_equal(o->recalls, 0);
	bench_close(&b);
}

/* --- L9 ------------------------------------------------------------------------------------------------------------
 */

enum { DO_COLLAPSE, DO_INSERT, DO_ZERO_HOLE, DO_UNSHARE, DO_DEDUPE, DO_EXCHANGE, DO_EXCHANGE_BACK, DO_COPY, DO_COUNT };

static int run(struct bench *b, const struct fs_caller *who, int what)
{
	ssize_t n;

	switch (what) {
	case DO_COLLAPSE:
		return fs_allocate(b->f, who, COLLAPSE, BLK, BLK);
	case DO_INSERT:
		return fs_allocate(b->f, who, INSERT, BLK, BLK);
	case DO_ZERO_HOLE:
		return fs_allocate(b->f, who, ZERO, 2 * BLK, 4 * BLK);
	case DO_UNSHARE:
		return fs_allocate(b->f, who, UNSHARE, 8 * BLK, 4 * BLK);
	case DO_DEDUPE:
		return fs_dedupe_range(b->f, 12 * BLK, b->g, 12 * BLK, BLK, who);
	case DO_EXCHANGE:
		return fs_exchange_range(b->f, 0, b->g, 0, 2 * BLK, who);
	case DO_EXCHANGE_BACK:
		return fs_exchange_range(b->g, 0, b->f, 0, 2 * BLK, who);
	default:
		n = fs_copy_range(b->f, 0, b->g, 0, 2 * BLK, who);
		return n < 0 ? (int)n : 0;
	}
}

static void l9_nowait_starts_the_break_and_changes_nothing(void **state)
{
	for (int what = 0; what < DO_COUNT; what++) {
		struct bench b;
		struct holder slow;
		struct fs_caller who;
		static uint8_t before[2][N * LH_BLOCK_SIZE], after[2][N * LH_BLOCK_SIZE];

		bench_open(&b, state, "/g");
		assert_int_equal(as_root(&b, b.f, PUNCH, 3, 2), 0);
		assert_int_equal(fs_clone_range(b.f, 9 * BLK, b.g, 9 * BLK, 2 * BLK, &b.r->root), 0);
		rig_fill(b.r, b.f, 'g', BLK, 12 * BLK);
		holder_open(&slow, b.r, "/f", false);
		holder_get(&slow, LEASE_READ, 0, N * BLK);
		who = b.r->root;
		who.nowait = true;
		assert_int_equal(fs_read(b.f, &who, before[0], N * BLK, 0), N * BLK);
		assert_int_equal(fs_read(b.g, &who, before[1], N * BLK, 0), N * BLK);
		assert_int_equal(run(&b, &who, what), -EWOULDBLOCK);
		assert_int_equal(slow.recalls, 1);
		assert_int_equal(rig_size(b.f), N * BLK);
		assert_int_equal(fs_read(b.f, &who, after[0], N * BLK, 0), N * BLK);
		assert_int_equal(fs_read(b.g, &who, after[1], N * BLK, 0), N * BLK);
		assert_memory_equal(before, after, sizeof(before));
		assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
		assert_int_equal(run(&b, &who, what), 0);
		holder_close(&slow);
		bench_close(&b);
	}
}

/* L7: two silent holders cost one deadline, not two. */
static void both_files_are_broken_before_either_is_waited_for(void **state)
{
	struct bench b;
	struct holder left, right;
	struct fs_caller who;

	for (int what = DO_DEDUPE; what <= DO_EXCHANGE; what++) {
		bench_open(&b, state, "/g");
		rig_fill(b.r, b.f, 'g', BLK, 12 * BLK);
		holder_open(&left, b.r, "/f", false);
		holder_open(&right, b.r, "/g", false);
		holder_get(&left, LEASE_WRITE, 0, N * BLK);
		holder_get(&right, LEASE_WRITE, 0, N * BLK);
		who = b.r->root;
		who.nowait = true;
		assert_int_equal(run(&b, &who, what), -EWOULDBLOCK);
		assert_int_equal(left.recalls, 1);
		assert_int_equal(right.recalls, 1);
		who.nowait = false;
		who.deadline_ns = 20 * NS_PER_MS;
		assert_int_equal(run(&b, &who, what), 0);
		assert_null(pin_at(&left.pin, 12 * BLK * (what == DO_DEDUPE)));
		assert_null(pin_at(&right.pin, 12 * BLK * (what == DO_DEDUPE)));
		holder_close(&left);
		holder_close(&right);
		bench_close(&b);
	}
}

static void *collapse_main(void *ctx)
{
	struct bench *b = ctx;

	assert(as_root(b, b->f, COLLAPSE, 2, 4) == 0);
	return NULL;
}

/* I3: reachable, so not free; and nothing moves before. */
static void l13_collapsed_blocks_come_back_only_after_the_drain(void **state)
{
	struct bench b;
	struct holder slow;
	uint64_t before;
	pthread_t t;

	bench_open(&b, state, "/g");
	holder_open(&slow, b.r, "/f", false);
	holder_get(&slow, LEASE_WRITE, 0, N * BLK);
	before = rig_free_blocks(b.r);
	assert_int_equal(pthread_create(&t, NULL, collapse_main, &b), 0);
	while (slow.recalls == 0)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	assert_int_equal(rig_free_blocks(b.r), before);
	assert_int_equal(rig_size(b.f), N * BLK);
	assert_non_null(pin_at(&slow.pin, 3 * BLK));
	assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
	pthread_join(t, NULL);
	assert_int_equal(rig_free_blocks(b.r), before + 4);
	holder_close(&slow);
	bench_close(&b);
}

/* L4, L21: an appender breaks what it allocates and nothing else; in place it breaks nobody. */
static void an_append_breaks_what_it_changes(void **state)
{
	struct bench b;
	struct fs_handle *ap;
	uint8_t buf[100] = {'p'};

	bench_open(&b, state, "/f");
	ap = rig_open(b.r, "/f", O_WRONLY | O_APPEND);
	assert_int_equal(fs_truncate(b.f, &b.r->root, 3 * BLK + 10), 0);
	holder_get(&b.writer, LEASE_WRITE, 0, 5 * BLK);
	for (unsigned k = 0; k < 2 * BLK / sizeof(buf); k++)
		assert_int_equal(fs_write(ap, &b.r->root, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(b.writer.recalls, 0);
	assert_int_equal(fs_truncate(b.g, &b.r->root, 0), 0);
	assert_int_equal(fs_clone_range(b.g, 0, b.f, 0, 0, &b.r->root), 0);
	holder_get(&b.reader, LEASE_READ, 0, 6 * BLK);
	assert_int_equal(fs_write(ap, &b.r->root, buf, sizeof(buf), 0), sizeof(buf));
	/* Copy on write of the block with the end. */
	assert_int_equal(b.reader.recalls, 1);
	assert_int_equal(b.reader.last.range.start, 4 * BLK);
	assert_int_equal(b.reader.last.range.end, 5 * BLK);
	fs_close(ap, NULL, 0);
	bench_close(&b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(l1_collapse_breaks_to_the_end_of_file),
	    T(l1_insert_breaks_to_the_end_of_file),
	    T(l1_zero_range_in_place_breaks_nobody),
	    T(l1_zero_range_over_a_hole_breaks_the_hole),
	    T(l1_zero_range_over_shared_blocks_breaks_their_run),
	    T(l1_unshare_breaks_its_shared_runs),
	    T(l1_dedupe_breaks_writers_of_the_source_only),
	    T(l1_dedupe_breaks_everybody_at_the_destination),
	    T(ranges_that_differ_cost_nobody_a_lease),
	    T(l10_dedupe_compares_what_was_written_before_the_release),
	    T(l10_a_dedupe_that_waited_finds_the_difference),
	    T(l1_exchange_breaks_everybody_on_both_sides),
	    T(l1_exchange_within_one_file_breaks_both_ranges),
	    T(l1_copy_breaks_as_the_clone_that_it_is),
	    T(l2_seek_and_extents_break_nobody),
	    T(l5_own_pins_follow_collapse_insert_and_exchange),
	    T(l5_own_pins_follow_zero_unshare_and_dedupe),
	    T(l9_nowait_starts_the_break_and_changes_nothing),
	    T(both_files_are_broken_before_either_is_waited_for),
	    T(l13_collapsed_blocks_come_back_only_after_the_drain),
	    T(an_append_breaks_what_it_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
