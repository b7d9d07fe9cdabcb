/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: the simulated pool leaves after a crash exactly what the crash model of docs/design.md allows: aligned 8-byte
 * stores are atomic; a line stored since the last fence may or may not have arrived, in any order, also without a
 * flush; a flushed and fenced one has; an msync pool writes pages back in any order between syncs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "pool/sim.h"

#define SIZE     ((uint64_t)1 << 20)
#define LINE(n)  ((uint64_t)(n)*64)
#define PAGE(n)  ((uint64_t)(n)*4096)
#define ALL_BITS UINT64_MAX

static struct pool *sim_of_class(enum pool_class class)
{
	struct pool *p;

	assert_int_equal(sim_create(SIZE, class, NULL, &p), 0);
	return p;
}

static void put(struct pool *p, uint64_t off, uint64_t value)
{
	pool_store(p, off, &value, sizeof(value));
}

static uint64_t get(const struct pool *p, uint64_t off)
{
	uint64_t v;

	memcpy(&v, pool_at(p, off, 8), 8);
	return v;
}

/* The word at off in the outcome with these bits. */
static uint64_t after_crash(const struct pool *p, uint64_t bits, uint64_t off)
{
	uint64_t mask[SIM_MASK_WORDS] = {bits};
	struct pool *crashed;
	uint64_t v;

	assert_int_equal(sim_fork(p, mask, &crashed), 0);
	v = get(crashed, off);
	pool_close(crashed);
	return v;
}

static void a_store_is_visible_at_once_and_pending_until_flush_and_fence(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	put(p, LINE(1), 7);
	assert_int_equal(get(p, LINE(1)), 7);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 1);
	assert_int_equal(after_crash(p, 0, LINE(1)), 0);
	assert_int_equal(after_crash(p, 1, LINE(1)), 7);

	pool_flush(p, LINE(1), 8);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 1);

	pool_fence(p);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 0);
	assert_int_equal(after_crash(p, 0, LINE(1)), 7);
	pool_close(p);
}

static void a_line_never_flushed_stays_pending_through_later_fences(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	put(p, LINE(1), 7);
	for (int i = 2; i < 50; i++) {
		put(p, LINE(i), 1);
		pool_flush(p, LINE(i), 8);
		pool_fence(p);
	}
	sim_capture(p);
	assert_int_equal(sim_pending(p), 1);
	assert_int_equal(after_crash(p, 0, LINE(1)), 0);
	assert_int_equal(after_crash(p, 0, LINE(49)), 1);
	pool_close(p);
}

static void a_line_stored_again_after_its_flush_may_leave_any_of_three_contents(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	put(p, LINE(1), 1);
	pool_flush(p, LINE(1), 8);
	put(p, LINE(1), 2);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 2);
	assert_int_equal(after_crash(p, 0, LINE(1)), 0);
	assert_int_equal(after_crash(p, 1, LINE(1)), 1);
	assert_int_equal(after_crash(p, 2, LINE(1)), 2);
	assert_int_equal(after_crash(p, 3, LINE(1)), 2);

	pool_fence(p);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 1);
	assert_int_equal(after_crash(p, 0, LINE(1)), 1);
	assert_int_equal(after_crash(p, 1, LINE(1)), 2);

	pool_fence(p);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 1);
	pool_close(p);
}

static void a_fence_settles_only_what_was_flushed_before_it(void **state)
{
	struct pool *p = sim_of_class(POOL_VOLATILE);

	put(p, LINE(1), 1);
	put(p, LINE(2), 2);
	pool_flush(p, LINE(2), 8);
	pool_fence(p);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 1);
	assert_int_equal(after_crash(p, 0, LINE(1)), 0);
	assert_int_equal(after_crash(p, 0, LINE(2)), 2);
	pool_close(p);
}

static void the_crash_comes_just_before_the_armed_event(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	for (uint64_t at = 0; at < 5; at++) {
		sim_arm(p, at);
		put(p, LINE(1), at + 1);     /* 0 */
		put(p, LINE(2), at + 1);     /* 1 */
		pool_flush(p, LINE(1), 128); /* 2 */
		pool_fence(p);               /* 3 */
		assert_int_equal(sim_events(p), 4);
		assert_int_equal(sim_captured(p), at < 4);
		sim_capture(p);
		assert_int_equal(after_crash(p, 0, LINE(1)), at < 4 ? at : at + 1);
		assert_int_equal(after_crash(p, ALL_BITS, LINE(1)), at >= 1 ? at + 1 : at);
		assert_int_equal(after_crash(p, ALL_BITS, LINE(2)), at >= 2 ? at + 1 : at);
	}
	pool_close(p);
}

static void the_run_after_the_capture_changes_no_outcome(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	put(p, LINE(1), 1);
	sim_capture(p);
	put(p, LINE(1), 9);
	put(p, LINE(2), 9);
	pool_sync(p, 0, PAGE(1));
	assert_int_equal(after_crash(p, 1, LINE(1)), 1);
	assert_int_equal(after_crash(p, ALL_BITS, LINE(2)), 0);
	assert_int_equal(get(p, LINE(1)), 9);
	pool_close(p);
}

static void stores_that_change_nothing_are_not_pending(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	pool_zero(p, 0, PAGE(2));
	sim_capture(p);
	assert_int_equal(sim_pending(p), 0);
	pool_close(p);
}

static void an_image_and_a_fork_of_the_same_mask_are_equal(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH), *crashed, *again;
	uint8_t *image = malloc(SIZE);
	uint64_t mask[SIM_MASK_WORDS];
	uint64_t random = 42;

	for (int i = 0; i < 300; i++) {
		uint64_t off = sim_random(&random) % (SIZE - 200), len = sim_random(&random) % 200;
		uint8_t bytes[200];

		memset(bytes, i + 1, sizeof(bytes));
		pool_store(p, off, bytes, len);
		if (i % 3 == 0)
			pool_flush(p, off, len);
		if (i % 17 == 0)
			pool_fence(p);
	}
	sim_capture(p);
	for (uint64_t k = 0; k < sim_outcomes(sim_pending(p)); k += 13) {
		sim_outcome(sim_pending(p), k, 5, mask);
		sim_image(p, mask, image);
		assert_int_equal(sim_fork(p, mask, &crashed), 0);
		assert_memory_equal(image, pool_at(crashed, 0, SIZE), SIZE);
		/* A fork of the fork, too, and its hash. */
		sim_capture(crashed);
		assert_int_equal(sim_pending(crashed), 0);
		assert_int_equal(sim_fork(crashed, mask, &again), 0);
		assert_memory_equal(image, pool_at(again, 0, SIZE), SIZE);
		assert_true(sim_hash(again) == sim_hash(crashed));
		put(again, LINE(3), 0xabcdef);
		pool_sync(again, LINE(3), 8);
		assert_true(sim_hash(again) != sim_hash(crashed));
		pool_close(again);
		pool_close(crashed);
	}
	free(image);
	pool_close(p);
}

static void a_copy_is_what_loads_return_and_all_of_it_durable(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH), *copy;

	put(p, LINE(1), 1);
	assert_int_equal(sim_copy(p, &copy), 0);
	sim_capture(copy);
	assert_int_equal(sim_pending(copy), 0);
	assert_int_equal(after_crash(copy, 0, LINE(1)), 1);
	pool_close(copy);
	pool_close(p);
}

static void on_msync_flush_and_fence_do_nothing_and_sync_settles_its_pages(void **state)
{
	struct pool *p = sim_of_class(POOL_MSYNC);

	put(p, PAGE(1), 1);
	put(p, PAGE(1) + 8, 1);
	put(p, PAGE(2), 2);
	put(p, PAGE(3), 3);
	sim_arm(p, UINT64_MAX);
	pool_flush(p, 0, SIZE);
	pool_fence(p);
	assert_int_equal(sim_events(p), 0);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 3);
	assert_int_equal(after_crash(p, 1, PAGE(1) + 8), 1);
	assert_int_equal(after_crash(p, 2, PAGE(1) + 8), 0);

	assert_int_equal(pool_sync(p, PAGE(2) + 100, 8), 0);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 2);
	assert_int_equal(after_crash(p, 0, PAGE(2)), 2);
	assert_int_equal(after_crash(p, 0, PAGE(1)), 0);

	assert_int_equal(pool_sync_all(p), 0);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 0);
	pool_close(p);
}

static void a_publish_is_all_or_nothing_in_every_torn_outcome(void **state)
{
	static const enum pool_class classes[] = {POOL_CACHE_FLUSH, POOL_MSYNC};

	for (size_t c = 0; c < ARRAY_LEN(classes); c++) {
		struct pool *p = sim_of_class(classes[c]), *torn;
		bool seen_old = false, seen_new = false;

		sim_arm(p, 1); /* stored, neither flushed nor synced */
		assert_int_equal(pool_publish(p, LINE(5), le64_of(0x1122334455667788)), 0);
		for (uint64_t seed = 0; seed < 200; seed++) {
			uint64_t v;

			assert_int_equal(sim_fork_torn(p, seed, &torn), 0);
			v = get(torn, LINE(5));
			assert_true(v == 0 || v == 0x1122334455667788);
			seen_old |= v == 0;
			seen_new |= v != 0;
			pool_close(torn);
		}
		assert_true(seen_old && seen_new);
		assert_int_equal(get(p, LINE(5)), 0x1122334455667788);
		pool_close(p);
	}
}

static void several_words_of_one_line_tear_and_stores_keep_their_order_in_it(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH), *torn;
	uint64_t two[2] = {1, 1};
	bool half = false, between = false;

	pool_store(p, LINE(1), two, sizeof(two));
	put(p, LINE(2), 1);
	put(p, LINE(2) + 8, 1);
	sim_capture(p);
	for (uint64_t seed = 0; seed < 500; seed++) {
		assert_int_equal(sim_fork_torn(p, seed, &torn), 0);
		half |= get(torn, LINE(1)) != get(torn, LINE(1) + 8);
		/* x86 keeps the order of stores inside a line: the second never without the first. */
		assert_true(get(torn, LINE(2)) >= get(torn, LINE(2) + 8));
		between |= get(torn, LINE(2)) > get(torn, LINE(2) + 8);
		pool_close(torn);
	}
	assert_true(half && between);
	pool_close(p);
}

static void a_long_history_forgets_states_between_but_not_the_flushed_one(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	for (uint64_t i = 1; i <= 100; i++) {
		put(p, LINE(1) + i % 8 * 8, i);
		if (i == 50)
			pool_flush(p, LINE(1), 64);
	}
	sim_capture(p);
	assert_int_equal(after_crash(p, 0, LINE(1)), 0);
	assert_int_equal(after_crash(p, 1, LINE(1) + 50 % 8 * 8), 50);
	assert_int_equal(after_crash(p, 2, LINE(1) + 100 % 8 * 8), 100);
	pool_fence(p);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(after_crash(p, 0, LINE(1) + 50 % 8 * 8), 50);
	assert_int_equal(after_crash(p, 0, LINE(1) + 51 % 8 * 8), 43);
	pool_close(p);
}

static void bytes_landed_through_a_window_are_pending_until_synced(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);

	memset(pool_window(p, PAGE(1), 200), 0x55, 200);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 4);
	assert_int_equal(after_crash(p, 0, PAGE(1)), 0);
	pool_flush(p, PAGE(1), 64);
	pool_fence(p);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 3);
	assert_int_equal(after_crash(p, 0, PAGE(1)), 0x5555555555555555);
	pool_close(p);
}

static void all_subsets_up_to_ten_units_and_the_named_ones_beyond(void **state)
{
	uint64_t mask[SIM_MASK_WORDS], again[SIM_MASK_WORDS];

	assert_int_equal(sim_outcomes(0), 1);
	assert_int_equal(sim_outcomes(10), 1024);
	for (uint64_t i = 0; i < 1024; i++) {
		sim_outcome(10, i, 1, mask);
		assert_int_equal(mask[0], i);
	}
	assert_int_equal(sim_outcomes(100), 2 + 200 + 64);
	sim_outcome(100, 0, 1, mask);
	assert_true(mask[0] == 0 && mask[1] == 0);
	sim_outcome(100, 1, 1, mask);
	assert_true(mask[0] == UINT64_MAX && mask[1] == ((uint64_t)1 << 36) - 1);
	sim_outcome(100, 2 + 70, 1, mask);
	assert_true(mask[0] == UINT64_MAX && mask[1] == (((uint64_t)1 << 36) - 1 - (1 << 6)));
	sim_outcome(100, 2 + 100 + 70, 1, mask);
	assert_true(mask[0] == 0 && mask[1] == 1 << 6);
	sim_outcome(100, 2 + 200 + 3, 1, mask);
	sim_outcome(100, 2 + 200 + 3, 1, again);
	assert_memory_equal(mask, again, 16);
	sim_outcome(100, 2 + 200 + 3, 2, again);
	assert_memory_not_equal(mask, again, 16);
	assert_true(mask[1] >> 36 == 0);
}

static void a_megabyte_of_pending_lines_works_and_beyond_the_limit_the_rest_is_one(void **state)
{
	uint64_t size = ((uint64_t)SIM_PENDING_MAX + 100) * 64, mask[SIM_MASK_WORDS] = {0};
	uint8_t *bytes = malloc(size), *image = malloc(size);
	struct pool *p, *crashed;

	size = round_down_u64(size, 4096);
	memset(bytes, 0xee, size);
	assert_int_equal(sim_create(size, POOL_CACHE_FLUSH, NULL, &p), 0);
	pool_store(p, 0, bytes, size);
	sim_capture(p);
	assert_int_equal(sim_pending(p), SIM_PENDING_MAX);
	mask[SIM_MASK_WORDS - 1] = (uint64_t)1 << 63;
	assert_int_equal(sim_fork(p, mask, &crashed), 0);
	assert_int_equal(get(crashed, LINE(SIM_PENDING_MAX - 2)), 0);
	assert_true(get(crashed, LINE(SIM_PENDING_MAX - 1)) != 0);
	assert_true(get(crashed, size - 8) != 0);
	sim_image(p, mask, image);
	assert_memory_equal(image, pool_at(crashed, 0, size), size);
	pool_close(crashed);
	pool_close(p);
	free(bytes);
	free(image);
}

static void a_mark_is_the_one_of_the_capture(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH), *crashed;
	uint64_t mask[SIM_MASK_WORDS] = {0};

	sim_mark(p, 3);
	sim_capture(p);
	sim_mark(p, 4);
	assert_int_equal(sim_marked(p), 3);
	assert_int_equal(sim_fork(p, mask, &crashed), 0);
	assert_int_equal(sim_marked(crashed), 3);
	pool_close(crashed);
	pool_close(p);
}

static void a_size_that_is_not_whole_blocks_is_refused(void **state)
{
	struct pool *p;

	assert_int_equal(sim_create(5000, POOL_CACHE_FLUSH, NULL, &p), -EINVAL);
	assert_int_equal(sim_create(0, POOL_CACHE_FLUSH, NULL, &p), -EINVAL);
}

#define THREADS 4
#define ROUNDS  500

struct worker {
	struct pool *p;
	unsigned id;
};

/* Each thread owns a page, and ends with all of its lines flushed and fenced. */
static void *work(void *arg)
{
	const struct worker *w = arg;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t off = PAGE(w->id) + LINE(i % 64);

		put(w->p, off, i + 1);
		pool_flush(w->p, off, 8);
		if (i % 7 == 0)
			pool_fence(w->p);
		if (i % 50 == 0)
			sim_capture(w->p);
	}
	pool_fence(w->p);
	return NULL;
}

static void threads_record_beside_each_other(void **state)
{
	struct pool *p = sim_of_class(POOL_CACHE_FLUSH);
	struct worker w[THREADS];
	pthread_t t[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){p, i};
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_pending(p), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(after_crash(p, 0, PAGE(i) + LINE((ROUNDS - 1) % 64)), ROUNDS);
	pool_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_store_is_visible_at_once_and_pending_until_flush_and_fence),
	    cmocka_unit_test(a_line_never_flushed_stays_pending_through_later_fences),
	    cmocka_unit_test(a_line_stored_again_after_its_flush_may_leave_any_of_three_contents),
	    cmocka_unit_test(a_fence_settles_only_what_was_flushed_before_it),
	    cmocka_unit_test(the_crash_comes_just_before_the_armed_event),
	    cmocka_unit_test(the_run_after_the_capture_changes_no_outcome),
	    cmocka_unit_test(stores_that_change_nothing_are_not_pending),
	    cmocka_unit_test(an_image_and_a_fork_of_the_same_mask_are_equal),
	    cmocka_unit_test(a_copy_is_what_loads_return_and_all_of_it_durable),
	    cmocka_unit_test(on_msync_flush_and_fence_do_nothing_and_sync_settles_its_pages),
	    cmocka_unit_test(a_publish_is_all_or_nothing_in_every_torn_outcome),
	    cmocka_unit_test(several_words_of_one_line_tear_and_stores_keep_their_order_in_it),
	    cmocka_unit_test(a_long_history_forgets_states_between_but_not_the_flushed_one),
	    cmocka_unit_test(bytes_landed_through_a_window_are_pending_until_synced),
	    cmocka_unit_test(all_subsets_up_to_ten_units_and_the_named_ones_beyond),
	    cmocka_unit_test(a_megabyte_of_pending_lines_works_and_beyond_the_limit_the_rest_is_one),
	    cmocka_unit_test(a_mark_is_the_one_of_the_capture),
	    cmocka_unit_test(a_size_that_is_not_whole_blocks_is_refused),
	    cmocka_unit_test(threads_record_beside_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
