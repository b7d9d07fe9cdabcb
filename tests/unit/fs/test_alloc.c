/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: I2 a block is free, or referenced, never both; references are counted right; the reserve is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include "base/types.h"
#include "fs/alloc.h"
#include "rnd.h"

#define BLOCKS 4096u
#define HELD   512u

/* The arbiter makes real receipts (tests/unit/lease); here nothing can reach a block. */
static const char nothing_leased;
static const struct drained gone = {(const struct lease_drain_proof *)&nothing_leased, 0, {0, UINT64_MAX}};

struct model {
	unsigned refs[BLOCKS];
	struct run held[HELD];
	unsigned held_count;
};

static uint64_t model_free(const struct model *m)
{
	uint64_t n = 0;

	for (unsigned i = 1; i < BLOCKS - 1; i++)
		n += m->refs[i] == 0;
	return n;
}

static void model_check(struct alloc *a, const struct model *m)
{
	struct alloc *want;

	assert_int_equal(alloc_new(BLOCKS, false, &want), 0);
	for (unsigned i = 0; i < m->held_count; i++)
		assert_int_equal(alloc_mark(want, m->held[i]), 0);
	assert_int_equal(alloc_free_blocks(a), model_free(m));
	assert_int_equal(alloc_compare(a, want, NULL, NULL), 0);
	for (unsigned i = 1; i < BLOCKS - 1; i++) {
		uint64_t alike;

		if (m->refs[i] > 0)
			assert_int_equal(alloc_shared(a, (struct run){i, 1}, &alike), m->refs[i] > 1);
	}
	alloc_free(want);
}

static void model_ref(struct model *m, struct run r, int by)
{
	for (uint64_t i = r.start; i < r.start + r.blocks; i++)
		m->refs[i] += (unsigned)by;
}

static void step_take(struct rnd *r, struct alloc *a, struct model *m)
{
	struct run got;
	uint64_t want = 1 + rnd_below(r, rnd_below(r, 8) == 0 ? 600 : 40);
	int err = alloc_take(a, want, rnd_below(r, 2) ? rnd_below(r, BLOCKS) : 0, &got);

	if (err != 0) {
		assert_int_equal(err, -ENOSPC);
		assert_int_equal(model_free(m), 0);
		return;
	}
	assert_true(got.blocks >= 1 && got.blocks <= want && got.start >= 1 && got.start + got.blocks < BLOCKS);
	for (uint64_t i = got.start; i < got.start + got.blocks; i++)
		assert_int_equal(m->refs[i], 0);
	model_ref(m, got, 1);
	m->held[m->held_count++] = got;
}

static struct run part_of(struct rnd *r, struct run whole)
{
	uint64_t skip = rnd_below(r, whole.blocks);

	return (struct run){whole.start + skip, 1 + rnd_below(r, whole.blocks - skip)};
}

static void step_share(struct rnd *r, struct alloc *a, struct model *m)
{
	struct run part = part_of(r, m->held[rnd_below(r, m->held_count)]);

	assert_int_equal(alloc_share_prepare(a, part), 0);
	if (rnd_below(r, 4) == 0) {
		alloc_share_cancel(a, part);
		return;
	}
	alloc_share(a, part);
	model_ref(m, part, 1);
	m->held[m->held_count++] = part;
}

/* Drops a part of one reference; what is left of it stays held. */
static void step_release(struct rnd *r, struct alloc *a, struct model *m, uint64_t seq)
{
	unsigned which = (unsigned)rnd_below(r, m->held_count);
	struct run whole = m->held[which];
	struct run part = m->held_count + 2 < HELD ? part_of(r, whole) : whole;

	m->held[which] = m->held[--m->held_count];
	if (part.start > whole.start)
		m->held[m->held_count++] = (struct run){whole.start, part.start - whole.start};
	if (part.start + part.blocks < whole.start + whole.blocks)
		m->held[m->held_count++] =
		    (struct run){part.start + part.blocks, whole.start + whole.blocks - part.start - part.blocks};
	alloc_release(a, &gone, part, seq);
	model_ref(m, part, -1);
}

static void random_work(bool defer_free)
{
	static struct model m;
	struct rnd r = rnd_start();
	struct alloc *a;
	uint64_t seq = 0;

	memset(&m, 0, sizeof(m));
	assert_int_equal(alloc_new(BLOCKS, defer_free, &a), 0);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned what = (unsigned)rnd_below(&r, 10);

		if (m.held_count == 0 || (what < 4 && m.held_count < HELD - 4))
			step_take(&r, a, &m);
		else if (what < 6 && m.held_count < HELD - 4)
			step_share(&r, a, &m);
		else
			step_release(&r, a, &m, ++seq);
		if (defer_free)
			alloc_settle(a, seq);
		if (i % 500 == 0)
			model_check(a, &m);
	}
	while (m.held_count > 0)
		step_release(&r, a, &m, ++seq);
	alloc_settle(a, seq);
	model_check(a, &m);
	assert_int_equal(alloc_avail_blocks(a), BLOCKS - 2);
	alloc_free(a);
}

static void random_work_matches_a_model(void **state)
{
	(void)state;
	random_work(false);
	random_work(true);
}

static void large_runs_start_at_2_mib(void **state)
{
	struct alloc *a;
	struct run r;

	(void)state;
	assert_int_equal(alloc_new(1 << 16, false, &a), 0);
	assert_int_equal(alloc_take(a, 3, 0, &r), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(alloc_take(a, 512 + i * 13, 0, &r), 0);
		assert_int_equal(r.blocks, 512 + i * 13);
		assert_int_equal(r.start % 512, 0);
	}
	alloc_free(a);
}

static void an_append_continues_at_its_goal(void **state)
{
	struct alloc *a;
	struct run first, next;

	(void)state;
	assert_int_equal(alloc_new(1 << 16, false, &a), 0);
	assert_int_equal(alloc_take(a, 600, 0, &first), 0);
	assert_int_equal(alloc_take(a, 700, first.start + first.blocks, &next), 0);
	assert_int_equal(next.start, first.start + first.blocks);
	assert_int_equal(next.blocks, 700);
	alloc_free(a);
}

static void the_reserve_is_for_the_log_only(void **state)
{
	struct alloc *a;
	struct run r;
	uint64_t taken = 0;

	(void)state;
	assert_int_equal(alloc_new(1000, false, &a), 0);
	alloc_set_reserve(a, 100);
	assert_int_equal(alloc_avail_blocks(a), 898);
	while (alloc_take(a, 64, 0, &r) == 0)
		taken += r.blocks;
	assert_int_equal(taken, 898);
	assert_int_equal(alloc_take_meta(a, 4, false, &r), -ENOSPC);
	assert_int_equal(alloc_take_reserved(a, 4, 0, &r), 0);
	assert_int_equal(r.blocks, 4);
	assert_int_equal(alloc_free_blocks(a), 96);
	alloc_release_meta(a, (struct run){r.start + 1, 2});
	alloc_release_meta(a, (struct run){r.start, 1});
	alloc_release_meta(a, (struct run){r.start + 3, 1});
	assert_int_equal(alloc_free_blocks(a), 100);
	assert_int_equal(alloc_avail_blocks(a), 0);
	alloc_free(a);
}

/* Architecture, decision 5. */
static void freed_blocks_wait_for_their_record(void **state)
{
	struct alloc *a;
	struct run r, other;

	(void)state;
	assert_int_equal(alloc_new(100, true, &a), 0);
	assert_int_equal(alloc_take(a, 98, 0, &r), 0);
	alloc_release(a, &gone, r, 7);
	assert_int_equal(alloc_pending_blocks(a), 98);
	assert_int_equal(alloc_free_blocks(a), 98);
	assert_int_equal(alloc_take(a, 1, 0, &other), -ENOSPC);
	alloc_settle(a, 6);
	assert_int_equal(alloc_take(a, 1, 0, &other), -ENOSPC);
	alloc_settle(a, 7);
	assert_int_equal(alloc_pending_blocks(a), 0);
	assert_int_equal(alloc_take(a, 1, 0, &other), 0);
	alloc_free(a);
}

/* I2, I8: what an extent on the medium may not name. */
static void marks_outside_or_over_metadata_are_refused(void **state)
{
	struct alloc *a;
	uint64_t alike;

	(void)state;
	assert_int_equal(alloc_new(1000, false, &a), 0);
	assert_int_equal(alloc_mark(a, (struct run){0, 1}), -EUCLEAN);
	assert_int_equal(alloc_mark(a, (struct run){999, 1}), -EUCLEAN);
	assert_int_equal(alloc_mark(a, (struct run){990, 10}), -EUCLEAN);
	assert_int_equal(alloc_mark(a, (struct run){10, UINT64_MAX - 5}), -EUCLEAN);
	assert_int_equal(alloc_mark_meta(a, (struct run){100, 10}), 0);
	assert_int_equal(alloc_mark(a, (struct run){90, 11}), -EUCLEAN);
	assert_int_equal(alloc_mark(a, (struct run){109, 1}), -EUCLEAN);
	assert_int_equal(alloc_mark(a, (struct run){110, 10}), 0);
	assert_int_equal(alloc_mark_meta(a, (struct run){119, 2}), -EUCLEAN);
	assert_int_equal(alloc_mark_meta(a, (struct run){105, 2}), -EUCLEAN);
	assert_int_equal(alloc_mark(a, (struct run){115, 10}), 0);
	assert_false(alloc_shared(a, (struct run){110, 15}, &alike));
	assert_int_equal(alike, 5);
	assert_true(alloc_shared(a, (struct run){115, 10}, &alike));
	assert_int_equal(alike, 5);
	alloc_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_work_matches_a_model),
	    cmocka_unit_test(large_runs_start_at_2_mib),
	    cmocka_unit_test(an_append_continues_at_its_goal),
	    cmocka_unit_test(the_reserve_is_for_the_log_only),
	    cmocka_unit_test(freed_blocks_wait_for_their_record),
	    cmocka_unit_test(marks_outside_or_over_metadata_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
