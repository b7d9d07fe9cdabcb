/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance, L1 to L5, L20 and L21: which operation breaks whose leases, and which does not. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SIZE   (64 * CF_KIB)
#define PART   (16 * CF_KIB) /* most operations change [PART, 2 * PART) */
#define TO_END UINT64_MAX

/* --- L1: the table --- */

enum breaks { NOBODY, THEM, NOT_MADE };

struct op {
	const char *name;
	/* f is the leased file, g another one of the same size. */
	void (*prepare)(struct cf *c, struct lh_file *f, struct lh_file *g);
	int64_t (*run)(struct lh_file *f, struct lh_file *g);
	enum breaks read, write; /* leases of that mode */
	uint64_t off, end;       /* what is recalled of f */
	bool stop;
};

static int64_t op_truncate(struct lh_file *f, struct lh_file *g)
{
	return lh_file_truncate(f, 2 * PART);
}
static int64_t op_punch(struct lh_file *f, struct lh_file *g)
{
	return lh_file_punch(f, PART, PART);
}
static int64_t op_collapse(struct lh_file *f, struct lh_file *g)
{
	return lh_file_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, PART, PART);
}
static int64_t op_insert(struct lh_file *f, struct lh_file *g)
{
	return lh_file_fallocate(f, FALLOC_FL_INSERT_RANGE, PART, PART);
}
static int64_t op_zero(struct lh_file *f, struct lh_file *g)
{
	return lh_file_fallocate(f, FALLOC_FL_ZERO_RANGE, PART, PART);
}
static int64_t op_clone_from(struct lh_file *f, struct lh_file *g)
{
	return lh_file_clone_range(g, PART, f, PART, PART);
}
static int64_t op_clone_to(struct lh_file *f, struct lh_file *g)
{
	return lh_file_clone_range(f, PART, g, PART, PART);
}
static int64_t op_dedupe_from(struct lh_file *f, struct lh_file *g)
{
	return lh_file_dedupe_range(g, PART, f, PART, PART);
}
static int64_t op_dedupe_to(struct lh_file *f, struct lh_file *g)
{
	return lh_file_dedupe_range(f, PART, g, PART, PART);
}
static int64_t op_exchange(struct lh_file *f, struct lh_file *g)
{
	return lh_file_exchange_range(f, PART, g, PART, PART);
}
static int64_t op_exchange_back(struct lh_file *f, struct lh_file *g)
{
	return lh_file_exchange_range(g, PART, f, PART, PART);
}
static int64_t op_write(struct lh_file *f, struct lh_file *g)
{
	static const uint8_t block[CF_BLOCK] = {1};

	return lh_file_write(f, block, CF_BLOCK, PART);
}
static int64_t op_allocate(struct lh_file *f, struct lh_file *g)
{
	return lh_file_allocate(f, PART, PART, false);
}
static int64_t op_unshare(struct lh_file *f, struct lh_file *g)
{
	return lh_file_fallocate(f, FALLOC_FL_UNSHARE_RANGE, 0, SIZE);
}
static int64_t op_relocate(struct lh_file *f, struct lh_file *g)
{
	return lh_file_relocate(f, PART, PART);
}
static int64_t op_defragment(struct lh_file *f, struct lh_file *g)
{
	return lh_file_defragment(f, NULL);
}

static void same_content(struct cf *c, struct lh_file *f, struct lh_file *g)
{
	static uint8_t buf[PART];

	IS(c, lh_file_read(f, buf, PART, PART), (int64_t)PART);
	IS(c, lh_file_write(g, buf, PART, PART), (int64_t)PART);
}
static void shared(struct cf *c, struct lh_file *f, struct lh_file *g)
{
	OK(c, lh_file_clone_range(g, PART, f, PART, PART));
}
static void hole(struct cf *c, struct lh_file *f, struct lh_file *g)
{
	OK(c, lh_file_punch(f, PART, PART));
}
static void in_pieces(struct cf *c, struct lh_file *f, struct lh_file *g)
{
	for (uint64_t off = 0; off < SIZE; off += 2 * CF_BLOCK)
		OK(c, lh_file_relocate(f, off, CF_BLOCK));
}

static const struct op ops[] = {
    {"truncate", NULL, op_truncate, THEM, THEM, 2 * PART, TO_END, true},
    {"punch", NULL, op_punch, THEM, THEM, PART, 2 * PART, true},
    {"collapse", NULL, op_collapse, THEM, THEM, PART, TO_END, true},
    {"insert", NULL, op_insert, THEM, THEM, PART, TO_END, false},
    {"zero in place", NULL, op_zero, NOBODY, NOBODY, 0, 0, false},
    {"clone, source", NULL, op_clone_from, NOBODY, THEM, PART, 2 * PART, false},
    {"clone, destination", NULL, op_clone_to, THEM, THEM, PART, 2 * PART, true},
    {"dedupe, source", same_content, op_dedupe_from, NOBODY, THEM, PART, 2 * PART, false},
    {"dedupe, destination", same_content, op_dedupe_to, THEM, THEM, PART, 2 * PART, false},
    {"exchange, one side", NULL, op_exchange, THEM, THEM, PART, 2 * PART, false},
    {"exchange, other side", NULL, op_exchange_back, THEM, THEM, PART, 2 * PART, false},
    {"copy on write", shared, op_write, THEM, NOT_MADE, PART, PART + CF_BLOCK, false},
    {"write into a hole", hole, op_write, THEM, NOT_MADE, PART, PART + CF_BLOCK, false},
    {"allocate a hole", hole, op_allocate, THEM, NOT_MADE, PART, 2 * PART, false},
    {"unshare", shared, op_unshare, THEM, NOT_MADE, PART, 2 * PART, false},
    {"relocate", NULL, op_relocate, THEM, THEM, PART, 2 * PART, false},
    {"defragment", in_pieces, op_defragment, THEM, THEM, 0, SIZE, false},
};

static void recalled_as_it_should(struct cf *c, const struct op *o, struct lh_lease *lease)
{
	uint64_t low = UINT64_MAX, high = 0;
	struct lh_event e;

	/* An operation on several runs may say it run by run. */
	do {
		e = cf_event(c, c->a);
		NEED(c, e.type == LH_EVENT_RECALL && e.lease == lease, "%s: not a recall of the lease", o->name);
		NEED(c, o->name[0] == 'c' || e.stop == o->stop, "%s: the recall says %s", o->name,
		     e.stop ? "stop" : "drain");
		NEED(c, e.reason[0] != '\0', "%s: the recall gives no reason", o->name);
		low = min_u64(low, e.off);
		high = max_u64(high, e.off + e.len);
		if (e.len == 0)
			high = max_u64(high, e.off);
	} while (!cf_no_event(c->a) && low > o->off);
	NEED(c,
	     low >= o->off && low < min_u64(o->end, SIZE) &&
		 high <= min_u64(round_up_u64(min_u64(o->end, SIZE), CF_BLOCK), SIZE),
	     "%s: recalled [%llu, %llu), not [%llu, %llu)", o->name, (unsigned long long)low, (unsigned long long)high,
	     (unsigned long long)o->off, (unsigned long long)min_u64(o->end, SIZE));
}

static void table_row(struct cf *c, const struct op *o, uint32_t mode)
{
	enum breaks expected = mode == LH_LEASE_READ ? o->read : o->write;
	struct cf_made mf, mg;
	struct lh_file *f = cf_make(c, c->b, SIZE, &mf), *g = cf_make(c, c->b, SIZE, &mg), *held;
	struct lh_lease *lease;
	int64_t got;

	if (o->prepare != NULL)
		o->prepare(c, f, g);
	held = cf_open(c, c->a, &mf, O_RDWR);
	lease = cf_lease(c, held, 0, SIZE, mode | LH_LEASE_MANUAL);
	lh_fs_set_nowait(c->b, true);
	got = o->run(f, g);
	lh_fs_set_nowait(c->b, false);
	if (expected == THEM) {
		NEED(c, got == -EWOULDBLOCK, "%s under a %s lease: %lld, it broke nobody", o->name,
		     mode == LH_LEASE_READ ? "READ" : "WRITE", (long long)got);
		recalled_as_it_should(c, o, lease);
		cf_release(c, lease);
		OK(c, o->run(f, g));
	} else {
		NEED(c, got >= 0, "%s under a %s lease: %s", o->name, mode == LH_LEASE_READ ? "READ" : "WRITE",
		     lh_error_text());
		NEED(c, cf_no_event(c->a) && cf_state(c, lease).recalls == 0,
		     "%s: recalled a lease that is not in its way", o->name);
		cf_release(c, lease);
	}
	cf_close(c, held);
	cf_close(c, f);
	cf_close(c, g);
}

static void every_operation_breaks(struct cf *c)
{
	unsigned rows = 0;

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
		for (uint32_t mode = LH_LEASE_READ; mode <= LH_LEASE_WRITE; mode++) {
			if ((mode == LH_LEASE_READ ? ops[i].read : ops[i].write) == NOT_MADE)
				continue;
			table_row(c, &ops[i], mode);
			rows++;
		}
	}
	cf_saw(c,
	       "%u operations under READ and WRITE leases: %u times the right range, mode and kind of recall, or none",
	       (unsigned)ARRAY_LEN(ops), rows);
}

/* The other file of a shared block keeps its leases. */
static void copy_on_write_spares_the_other_file(struct cf *c)
{
	struct cf_made mf, mg;
	struct lh_file *f = cf_make(c, c->b, SIZE, &mf), *g = cf_make(c, c->b, SIZE, &mg), *held;
	struct lh_lease *lease;

	shared(c, f, g);
	held = cf_open(c, c->a, &mg, O_RDONLY);
	lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	OK(c, op_write(f, g));
	NEED(c, cf_state(c, lease).recalls == 0, "the file that shares the block lost its lease");
	cf_lease_same(c, lease, 0, PART, mg.owner);
	cf_lease_same(c, lease, PART, PART, mf.owner);
}

/* A snapshot shares everything: whoever writes directly is recalled, readers stay. */
static void a_snapshot_breaks_writers(struct cf *c)
{
	struct cf_made mf, mg;
	struct lh_file *f, *g;
	struct lh_lease *w, *r;
	char dir[200], snap[200];
	int64_t got;

	f = cf_make(c, c->a, SIZE, &mf);
	g = cf_make(c, c->a, SIZE, &mg);
	w = cf_lease(c, f, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_MANUAL);
	r = cf_lease(c, g, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	snprintf(dir, sizeof(dir), "%s", c->config->work);
	snprintf(snap, sizeof(snap), "%s.snap", c->config->work);
	lh_fs_set_nowait(c->b, true);
	got = lh_fs_snapshot(c->b, dir, snap, 0);
	lh_fs_set_nowait(c->b, false);
	if (got == -EPERM)
		cf_skip(c, "needs the owner of the directory");
	IS(c, got, -EWOULDBLOCK);
	NEED(c, cf_event(c, c->a).lease == w, "the writer was not recalled");
	NEED(c, cf_state(c, r).recalls == 0, "a reader was recalled");
	cf_release(c, w);
	OK(c, lh_fs_snapshot(c->b, dir, snap, 0));
	cf_lease_same(c, r, 0, SIZE, mg.owner);
	OK(c, lh_fs_snapshot_delete(c->b, snap));
}

/* Evacuating takes memory away for good, and shrinking changes the pool: only of a pool that is ours alone. */
static void failing_memory_breaks(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held;
	struct lh_extent e[16];
	struct lh_lease *lease;
	int n;

	if (strncmp(c->config->pool, "mem:", 4) != 0)
		cf_skip(c, "would take memory of the pool away for good: only with mem: pools");
	held = cf_open(c, c->a, &made, O_RDONLY);
	n = (int)OK(c, lh_file_extents(c->variant.holder == CF_END_LOCAL ? held : f, 0, SIZE, e, 16));
	NEED(c, n > 0 && e[0].pool_off != 0, "no place of the file is told");
	lease = cf_lease_within(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL, CF_DEADLINE);
	OK(c, lh_fs_evacuate(c->local, e[0].pool_off, CF_BLOCK, NULL, NULL));
	if (c->variant.holder != CF_END_LOCAL)
		NEED(c, cf_state(c, lease).recalls == 1, "evacuating did not recall");
	cf_same(c, f, 0, SIZE, made.owner);
}

/* --- L2 --- */

static void in_place_breaks_nobody(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR), *again;
	struct lh_lease *r = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_lease *w = cf_lease(c, held, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_MANUAL);
	uint64_t recalls = cf_stats(c, c->b).recalls;

	again = cf_open(c, c->b, &made, O_RDWR);
	cf_same(c, again, 0, SIZE, made.owner);
	cf_fill(c, f, PART, PART, made.owner, 7);
	OK(c, lh_file_chmod(f, 0640));
	OK(c, lh_file_set_times(f, 1, 2));
	OK(c, lh_file_sync(f));
	OK(c, lh_file_truncate(f, 2 * SIZE));
	IS(c, lh_file_write(f, "x", 1, 3 * SIZE), 1);
	NEED(c, cf_no_event(c->a) && cf_state(c, r).recalls == 0 && cf_state(c, w).recalls == 0,
	     "opening, reading, writing in place, attributes or growing recalled a lease");
	if (c->config->owned)
		NEED(c, cf_stats(c, c->b).recalls == recalls, "recalls were counted");
	cf_lease_same(c, r, 0, SIZE, made.owner);
	cf_saw(c, "open, read, write, chmod, times, sync, growth: no recall, and the holder reads the new bytes");
}

/* --- L3 --- */

static void relocate_timed(struct cf *c, struct lh_file *f, uint64_t off, struct cf_numbers *n)
{
	uint64_t began = clock_now_ns();

	OK(c, lh_file_relocate(f, off, CF_BLOCK));
	cf_number(c, n, clock_now_ns() - began);
}

static void the_unleased_changes_at_once(struct cf *c)
{
	unsigned leases = cf_scaled(c, 300, 50), times = cf_scaled(c, 200, 40);
	uint64_t size = (uint64_t)leases * CF_BLOCK, without, with, recalls;
	struct cf_numbers n[2] = {{0}};
	struct cf_made made, plain;
	struct lh_file *f = cf_make(c, c->b, size + CF_BLOCK, &made), *g = cf_make(c, c->b, SIZE, &plain);
	struct lh_file *held = cf_open(c, c->a, &made, O_RDONLY);

	for (unsigned i = 0; i < leases; i++)
		cf_lease(c, held, i * CF_BLOCK, CF_BLOCK, LH_LEASE_READ | LH_LEASE_MANUAL);
	recalls = cf_stats(c, c->b).recalls;
	/* By turns: what else the machine does meets both alike. */
	for (unsigned i = 0; i < times; i++) {
		relocate_timed(c, g, 0, &n[0]);
		relocate_timed(c, f, size, &n[1]);
	}
	without = cf_percentile(&n[0], 50);
	with = cf_percentile(&n[1], 50);
	cf_numbers_free(&n[0]);
	cf_numbers_free(&n[1]);
	if (c->config->owned)
		NEED(c, cf_stats(c, c->b).recalls == recalls, "a range that nobody leased caused recalls");
	NEED(c, cf_no_event(c->a), "a holder was told");
	/* What waits for anybody takes a deadline; the rest is noise of the machine. */
	NEED(c, with < 4 * without + 2 * NS_PER_MS, "moving a block takes %.1f us beside %u leases, %.1f us without",
	     (double)with / 1e3, leases, (double)without / 1e3);
	cf_saw(c,
	       "moving an unleased block takes %.1f us beside %u leases of the file, %.1f us in a file without (p50)",
	       (double)with / 1e3, leases, (double)without / 1e3);
}

/* --- L4 --- */

static void only_the_range_is_recalled(struct cf *c)
{
	struct cf_made made, beside;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_file *other = cf_make(c, c->a, SIZE, &beside);
	struct lh_lease *whole = cf_lease(c, held, 0, SIZE, LH_LEASE_READ);
	struct lh_lease *apart = cf_lease(c, held, 3 * PART, PART, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_lease *elsewhere = cf_lease(c, other, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_lease_state before = cf_state(c, whole), after;

	OK(c, lh_file_relocate(f, PART, PART));
	cf_lease_same(c, whole, 0, PART, made.owner);
	cf_lease_same(c, whole, 2 * PART, 2 * PART, made.owner);
	after = cf_state(c, whole);
	NEED(c, after.number == before.number && after.faults == 0, "the rest of the lease had to be got again");
	NEED(c, after.recalls == 1 && after.revocations == 0, "%llu recalls, %llu revocations of the lease",
	     (unsigned long long)after.recalls, (unsigned long long)after.revocations);
	NEED(c, cf_state(c, apart).recalls == 0 && cf_state(c, elsewhere).recalls == 0,
	     "a lease of another range or file was recalled");
	cf_lease_same(c, apart, 3 * PART, PART, made.owner);
	cf_lease_same(c, elsewhere, 0, SIZE, beside.owner);
	/* And what went comes back. */
	cf_lease_same(c, whole, 0, SIZE, made.owner);
	NEED(c, cf_state(c, whole).faults == 1, "%llu faults for one hole",
	     (unsigned long long)cf_state(c, whole).faults);
	cf_saw(c, "one recall of [16K, 32K); the rest, another range and another file went on without a fault");
}

/* --- L5 --- */

static void own_pins_are_replaced(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made);
	struct lh_lease *r = cf_lease(c, f, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_lease *w = cf_lease(c, f, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_MANUAL);
	struct lh_lease_extent old = cf_key(c, r);
	uint8_t buf[CF_BLOCK];
	uint64_t at;

	for (unsigned i = 0; i < 4; i++) {
		OK(c, lh_file_relocate(f, 0, SIZE));
		NEED(c, cf_no_event(c->a), "the caller was told of its own change");
		NEED(c, lh_raw_read(c->a, old.key, old.key_off, buf, CF_BLOCK) == -ESTALE,
		     "the key of the old place lives");
		old = cf_key(c, r);
		cf_lease_same(c, r, 0, SIZE, made.owner);
		at = cf_draw(c, SIZE / CF_BLOCK) * CF_BLOCK;
		cf_stamp(buf, CF_BLOCK, made.owner, at, 2 + i);
		IS(c, lh_lease_write(w, buf, CF_BLOCK, at), (int64_t)CF_BLOCK);
		cf_same(c, f, 0, SIZE, made.owner);
	}
	NEED(c, cf_state(c, r).recalls == 0 && cf_state(c, r).faults == 0 && cf_state(c, w).faults == 0,
	     "the caller's lease was recalled or had to be got again");
	cf_saw(c, "4 moves by the holder: no notice, old keys dead, the next access at the new place without a fault");
}

static void own_copy_on_write_is_replaced(struct cf *c)
{
	struct cf_made mf, mg;
	struct lh_file *f = cf_make(c, c->a, SIZE, &mf), *g = cf_make(c, c->a, SIZE, &mg);
	struct lh_lease *r;

	shared(c, f, g);
	r = cf_lease(c, f, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	cf_fill(c, f, PART, PART, mf.owner, 9);
	cf_lease_same(c, r, 0, SIZE, mf.owner);
	NEED(c, cf_state(c, r).recalls == 0, "the caller was told of its own copy on write");
	cf_same(c, g, PART, PART, mf.owner);
}

/* --- L20, L21 --- */

static void many_hold_the_same(struct cf *c)
{
	struct cf_made made;
	struct lh_file *fa = cf_make(c, c->a, SIZE, &made), *fb = cf_open(c, c->b, &made, O_RDWR);
	struct lh_lease *ra = cf_lease(c, fa, 0, SIZE, LH_LEASE_READ), *rb = cf_lease(c, fb, 0, SIZE, LH_LEASE_READ);
	struct lh_lease *wa = cf_lease(c, fa, 0, SIZE, LH_LEASE_WRITE), *wb = cf_lease(c, fb, 0, SIZE, LH_LEASE_WRITE);
	uint8_t buf[CF_BLOCK];

	for (unsigned i = 0; i < 16; i++) {
		struct cf_seen s = {0};
		uint64_t at = i * CF_BLOCK;

		cf_stamp(buf, CF_BLOCK, made.owner, at, 2 + i);
		IS(c, lh_lease_write(i % 2 ? wa : wb, buf, CF_BLOCK, at), (int64_t)CF_BLOCK);
		IS(c, lh_lease_read(i % 2 ? rb : ra, buf, CF_BLOCK, at), (int64_t)CF_BLOCK);
		cf_look(buf, CF_BLOCK, made.owner, at, &s);
		NEED(c, s.own == CF_BLOCK / CF_CELL && s.low == 2 + i,
		     "a direct write was not seen at once by another reader");
	}
	NEED(c,
	     cf_state(c, ra).recalls + cf_state(c, rb).recalls + cf_state(c, wa).recalls + cf_state(c, wb).recalls == 0,
	     "sharing recalled a lease");
	cf_saw(c, "2 READ and 2 WRITE leases of two sessions on the same bytes; each sees the others' writes at once");
}

static void a_holder_breaks_only_others(struct cf *c)
{
	struct cf_made made;
	struct lh_file *fa = cf_make(c, c->a, SIZE, &made), *fb = cf_open(c, c->b, &made, O_RDWR);
	struct lh_lease *la = cf_lease(c, fa, 0, SIZE, LH_LEASE_READ), *lb = cf_lease(c, fb, 0, SIZE, LH_LEASE_READ);

	OK(c, lh_file_relocate(fb, 0, SIZE));
	NEED(c, cf_state(c, la).recalls == 1, "the other holder was not recalled");
	NEED(c, cf_state(c, lb).recalls == 0, "the one who changes was recalled");
	cf_lease_same(c, la, 0, SIZE, made.owner);
	cf_lease_same(c, lb, 0, SIZE, made.owner);
	NEED(c, cf_state(c, lb).faults == 0, "the one who changes had to get its lease again");
	OK(c, lh_file_punch(fa, 0, PART));
	NEED(c, cf_state(c, lb).recalls == 1 && cf_state(c, la).recalls == 1, "a punch broke the wrong one");
	cf_saw(c, "relocate and punch by a holder: the other is recalled once, itself never");
}

static const struct cf_case cases_1[] = {
    {"changes a leased file in every way of the table, without waiting", every_operation_breaks, 0,
     "an operation changes under a lease, recalls another range or mode, says the wrong kind, or recalls for nothing"},
    {"writes to a block that another, leased file shares", copy_on_write_spares_the_other_file, CF_FAULTING,
     "the other file's holder is recalled or sees the new bytes"},
    {"takes a snapshot of a tree with direct writers and readers", a_snapshot_breaks_writers, CF_ADMIN,
     "a writer keeps its lease, or a reader loses it"},
    {"evacuates leased memory", failing_memory_breaks, CF_ADMIN | CF_HERE, "a lease keeps blocks that are given up"},
};
CF_RULE(1, "every operation that can change a layout breaks the leases of others in its way");
static const struct cf_case cases_2[] = {
    {"opens, reads, writes in place, changes attributes and grows a leased file", in_place_breaks_nobody, CF_FAULTING,
     "any of these recalls"},
};
CF_RULE(2, "opening, reading, writing in place, attributes: no break");
static const struct cf_case cases_3[] = {
    {"moves a block beside hundreds of leases, and one in a file without", the_unleased_changes_at_once, 0,
     "a message is sent, or it costs more than 4 times as much and 2 ms"},
};
CF_RULE(3, "a range that nobody leased changes at once");
static const struct cf_case cases_4[] = {
    {"moves 16 KiB under a lease of 64 KiB, beside other leases", only_the_range_is_recalled, 0,
     "anything but the 16 KiB is recalled or has to be got again"},
};
CF_RULE(4, "only the changed range is recalled; the rest stays usable");
static const struct cf_case cases_5[] = {
    {"moves blocks under its own leases", own_pins_are_replaced, 0,
     "it gets a notice, has to get the lease again, reads or writes the old place, or the old key lives"},
    {"copies on write under its own lease", own_copy_on_write_is_replaced, CF_FAULTING, "it reads the old block"},
};
CF_RULE(5, "the caller's own leases get no notice, their pins follow before the call returns");
static const struct cf_case cases_20[] = {
    {"takes READ and WRITE leases of two sessions on the same bytes", many_hold_the_same, CF_FAULTING,
     "one of them is refused or recalled, or a write is not seen"},
};
CF_RULE(20, "many holders share a range: a lease is about layout, not a lock on data");
static const struct cf_case cases_21[] = {
    {"changes a file that it and another lease", a_holder_breaks_only_others, 0,
     "it is broken itself, or the other is not"},
};
CF_RULE(21, "a holder may change the layout of what it leases; the others are broken");
