/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: I2 a block is free, or referenced, never both; references are counted right; the reserve is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
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
	assert_int_equal(alloc_take_meta(a, 4, ALLOC_PLAIN, &r), -ENOSPC);
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

/* --- groups ---------------------------------------------------------------------------------------------------------
 */

#define GIB_BLOCKS (1u << 18)

/* A file larger than a group has one run a group, and they continue each other. */
static void a_large_file_goes_on_across_groups(void **state)
{
	struct run r, last = {0, 0};
	uint64_t got = 0, breaks = 0;
	struct alloc *a;

	(void)state;
	assert_int_equal(alloc_new(GIB_BLOCKS, false, &a), 0);
	while (got < GIB_BLOCKS / 2) {
		assert_int_equal(alloc_take(a, GIB_BLOCKS / 2 - got, got ? last.start + last.blocks : 0, &r), 0);
		breaks += got && r.start != last.start + last.blocks;
		got += r.blocks;
		last = r;
	}
	assert_true(breaks <= 2);
	alloc_free(a);
}

struct taker {
	struct alloc *a;
	pthread_t thread;
	uint64_t seed;
	struct run held[400];
	unsigned count;
};

static void *taker_main(void *ctx)
{
	struct taker *t = ctx;
	struct rnd r = {t->seed};

	for (unsigned k = 0; k < 30000; k++) {
		unsigned which;

		if (t->count < 300 && rnd_below(&r, 2)) {
			struct run got;

			if (alloc_take(t->a, 1 + rnd_below(&r, 40), 0, &got) == 0)
				t->held[t->count++] = got;
			continue;
		}
		if (t->count == 0)
			continue;
		which = (unsigned)rnd_below(&r, t->count);
		switch (rnd_below(&r, 4)) {
		case 0:
			assert(alloc_share_prepare(t->a, t->held[which]) == 0);
			alloc_share(t->a, t->held[which]);
			alloc_release(t->a, &gone, t->held[which], k);
			break;
		case 1:
			alloc_undo(t->a, t->held[which]);
			t->held[which] = t->held[--t->count];
			break;
		default:
			alloc_release(t->a, &gone, t->held[which], k);
			t->held[which] = t->held[--t->count];
		}
	}
	return NULL;
}

/* Threads take, share and release at once; nothing is handed out twice and nothing is lost. */
static void threads_share_the_pool(void **state)
{
	static struct taker t[4];
	struct alloc *a, *want;

	(void)state;
	assert_int_equal(alloc_new(40000, false, &a), 0);
	alloc_set_reserve(a, 100);
	for (unsigned k = 0; k < 4; k++) {
		t[k] = (struct taker){.a = a, .seed = 77 + k};
		assert_int_equal(pthread_create(&t[k].thread, NULL, taker_main, &t[k]), 0);
	}
	assert_int_equal(alloc_new(40000, false, &want), 0);
	for (unsigned k = 0; k < 4; k++) {
		pthread_join(t[k].thread, NULL);
		for (unsigned n = 0; n < t[k].count; n++)
			assert_int_equal(alloc_mark(want, t[k].held[n]), 0);
	}
	assert_int_equal(alloc_compare(a, want, NULL, NULL), 0);
	assert_int_equal(alloc_free_blocks(a), alloc_free_blocks(want));
	alloc_free(want);
	alloc_free(a);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static bool no_memory;

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

/* Groups keep nodes back: what is given back while memory is out is free, and not lost until the next mount. */
static void releases_work_without_memory(void **state)
{
	struct alloc *a;
	struct run r;

	(void)state;
	for (unsigned deferred = 0; deferred < 2; deferred++) {
		assert_int_equal(alloc_new(BLOCKS, deferred, &a), 0);
		assert_int_equal(alloc_take(a, BLOCKS - 2, 0, &r), 0);
		assert_int_equal(alloc_share_prepare(a, (struct run){1000, 100}), 0);
		alloc_share(a, (struct run){1000, 100});
		no_memory = true;
		for (unsigned k = 0; k < 60; k++)
			alloc_release(a, &gone, (struct run){10 + k * 10, 1}, 1);
		for (unsigned k = 0; k < 10; k++)
			alloc_release(a, &gone, (struct run){1000 + k * 7, 2}, 1);
		/* What may fail, fails. */
		assert_int_equal(alloc_share_prepare(a, (struct run){2000, 10}), -ENOMEM);
		no_memory = false;
		alloc_settle(a, 1);
		assert_int_equal(alloc_free_blocks(a), 60);
		assert_int_equal(alloc_share_prepare(a, (struct run){2000, 10}), 0);
		alloc_share_cancel(a, (struct run){2000, 10});
		alloc_free(a);
	}
}

/* --- fences ---------------------------------------------------------------------------------------------------------
 */

static void fenced_blocks_are_held_and_not_handed_out(void **state)
{
	struct run fence = {8000, 1000}, used = {8100, 50}, r;
	struct alloc *a;

	(void)state;
	assert_int_equal(alloc_new(20000, false, &a), 0);
	assert_int_equal(alloc_mark(a, used), 0);
	assert_int_equal(alloc_fence(a, fence, ALLOC_FENCE_MOVING), 0);
	assert_int_equal(alloc_held(a, fence), 950);
	assert_int_equal(alloc_free_blocks(a), 19998 - 1000);
	while (alloc_take(a, 100, 8000, &r) == 0)
		assert_true(r.start + r.blocks <= fence.start || r.start >= fence.start + fence.blocks);
	alloc_release(a, &gone, used, 1);
	assert_int_equal(alloc_held(a, fence), 1000);
	assert_int_equal(alloc_take(a, 1, 0, &r), -ENOSPC);
	alloc_unfence(a, fence);
	assert_int_equal(alloc_free_blocks(a), 1000);
	assert_int_equal(alloc_held_blocks(a), 0);
	alloc_free(a);
}

static void bad_blocks_stay_bad_when_a_fence_goes(void **state)
{
	struct run bad = {500, 20}, wide = {400, 300}, r;
	struct alloc *a;

	(void)state;
	assert_int_equal(alloc_new(20000, false, &a), 0);
	assert_int_equal(alloc_fence(a, bad, ALLOC_FENCE_BAD), 0);
	assert_int_equal(alloc_fence(a, wide, ALLOC_FENCE_MOVING), 0);
	assert_int_equal(alloc_held(a, wide), 300);
	alloc_unfence(a, wide);
	assert_int_equal(alloc_held_blocks(a), 20);
	r = alloc_bad_from(a, 1);
	assert_int_equal(r.start, 500);
	assert_int_equal(r.blocks, 20);
	assert_int_equal(alloc_bad_from(a, 520).blocks, 0);
	/* A part of it is good again. */
	alloc_unfence_bad(a, (struct run){505, 5});
	assert_int_equal(alloc_held_blocks(a), 15);
	r = alloc_bad_from(a, 1);
	assert_int_equal(r.blocks, 5);
	alloc_free(a);
}

static void a_pool_gets_longer_and_shorter(void **state)
{
	struct run tail = {9999, 90001}, r;
	struct alloc *a;

	(void)state;
	assert_int_equal(alloc_new(20000, false, &a), 0);
	assert_int_equal(alloc_resize(a, 100000), 0);
	assert_int_equal(alloc_free_blocks(a), 99998);
	assert_int_equal(alloc_take(a, 10, 50000, &r), 0);
	assert_int_equal(r.start, 50000);
	tail.blocks = 100000 - 1 - tail.start;
	assert_int_equal(alloc_fence(a, tail, ALLOC_FENCE_MOVING), 0);
	assert_int_equal(alloc_held(a, tail), tail.blocks - 10);
	alloc_release(a, &gone, r, 1);
	assert_int_equal(alloc_held(a, tail), tail.blocks);
	assert_int_equal(alloc_resize(a, 10000), 0);
	assert_int_equal(alloc_free_blocks(a), 9998);
	assert_int_equal(alloc_held_blocks(a), 0);
	assert_int_equal(alloc_resize(a, 30000), 0);
	assert_int_equal(alloc_free_blocks(a), 29998);
	alloc_free(a);
}

/* --- age ------------------------------------------------------------------------------------------------------------
 *
 * A day of churn: files come and go, most of them small, some large, with the pool this full all the time. What is
 * asked for then comes in few pieces: bounds on pieces, not on time.
 */

#define AGED_FILES 60000u
#define AGED_RUNS  160u

struct aged_file {
	struct run runs[AGED_RUNS];
	unsigned count;
};

static uint64_t aged_size(struct rnd *r)
{
	switch (rnd_below(r, 10)) {
	case 0:
		return 64 + rnd_below(r, 1000);
	case 1:
	case 2:
		return 8 + rnd_below(r, 56);
	default:
		return 1 + rnd_below(r, 8);
	}
}

static uint64_t aged_make(struct alloc *a, struct aged_file *f, uint64_t blocks)
{
	uint64_t goal = 0, got = 0;

	f->count = 0;
	while (got < blocks && f->count < AGED_RUNS) {
		struct run *run = &f->runs[f->count];

		if (alloc_take(a, blocks - got, goal, run) != 0)
			break;
		got += run->blocks;
		goal = run->start + run->blocks;
		f->count++;
	}
	return got;
}

static void aged_drop(struct alloc *a, struct aged_file *f)
{
	for (unsigned k = 0; k < f->count; k++)
		alloc_undo(a, f->runs[k]);
	f->count = 0;
}

/* Pieces of 1000 files of so many blocks, taken and given back. */
static double pieces_of(struct alloc *a, uint64_t blocks)
{
	struct aged_file f;
	uint64_t pieces = 0, made = 0;

	for (unsigned k = 0; k < 1000; k++) {
		if (aged_make(a, &f, blocks) == blocks) {
			pieces += f.count;
			made++;
		}
		aged_drop(a, &f);
	}
	return made ? (double)pieces / (double)made : 1e9;
}

static void age(unsigned percent, double most_small, double most_mib)
{
	static struct aged_file files[AGED_FILES];
	struct rnd r = {12345};
	uint64_t used = 0, full = (uint64_t)(GIB_BLOCKS - 2) * percent / 100, low = full - GIB_BLOCKS / 200;
	bool filling = true;
	unsigned count = 0;
	struct alloc *a;
	double small, mib;

	assert_int_equal(alloc_new(GIB_BLOCKS, false, &a), 0);
	for (unsigned k = 0; k < 400000; k++) {
		filling = used >= full || count == AGED_FILES ? false : used < low ? true : filling;
		if (filling) {
			uint64_t got = aged_make(a, &files[count], min_u64(aged_size(&r), full - used));

			used += got;
			count += got > 0;
		} else {
			unsigned which = (unsigned)rnd_below(&r, count);

			for (unsigned n = 0; n < files[which].count; n++)
				used -= files[which].runs[n].blocks;
			aged_drop(a, &files[which]);
			files[which] = files[--count];
		}
	}
	small = pieces_of(a, 8);
	mib = pieces_of(a, 256);
	printf("%u %% full, aged: %.2f pieces of 32 KiB, %.2f of 1 MiB\n", percent, small, mib);
	assert_true(small <= most_small && mib <= most_mib);
	alloc_free(a);
}

static void an_aged_pool_gives_long_runs(void **state)
{
	(void)state;
	age(50, 1.0, 1.0);
	age(90, 1.0, 1.5);
	age(99, 1.5, 8.0);
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
	    cmocka_unit_test(a_large_file_goes_on_across_groups),
	    cmocka_unit_test(threads_share_the_pool),
	    cmocka_unit_test(releases_work_without_memory),
	    cmocka_unit_test(fenced_blocks_are_held_and_not_handed_out),
	    cmocka_unit_test(bad_blocks_stay_bad_when_a_fence_goes),
	    cmocka_unit_test(a_pool_gets_longer_and_shorter),
	    cmocka_unit_test(an_aged_pool_gives_long_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
