/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: the crash runner finds what it is there to find. A toy store of eight slots with a redo journal is crashed
 * everywhere: the correct one passes, and each deliberate mistake (a missing flush, a missing fence, a record taken for
 * atomic, a recovery that cannot be repeated) is found, with an id that reruns exactly the failing state.
 *
 * The toy: slots at SLOTS, a record {sum, value[8]} at RECORD, a commit word at COMMIT. An update writes the record,
 * makes it durable, publishes COMMIT = 1, changes the slots, makes them durable, publishes COMMIT = 0. Recovery repeats
 * the second half.
 */
#include "crash_runner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMMIT   0u
#define RECORD   4096u
#define SLOTS    8192u
#define NSLOTS   8u
#define SLOT_GAP 64u /* a line each; a page each on msync */

enum mistake { NONE, NO_FLUSH, NO_FENCE, NO_SYNC, TORN_RECORD, CLEAR_FIRST };

struct toy {
	enum mistake mistake;
	uint64_t gap;
	unsigned updates; /* of the act */
};

struct record {
	uint64_t sum;
	uint64_t value[NSLOTS];
};

static uint64_t word(const struct pool *p, uint64_t off)
{
	uint64_t v;

	memcpy(&v, pool_at(p, off, 8), 8);
	return v;
}

static uint64_t sum_of(const struct record *r)
{
	uint64_t sum = 12345;

	for (unsigned i = 0; i < NSLOTS; i++)
		sum = sum * 31 + r->value[i];
	return sum;
}

static void apply(struct pool *p, const struct toy *t, const struct record *r)
{
	for (unsigned i = 0; i < NSLOTS; i++) {
		pool_store(p, SLOTS + i * t->gap, &r->value[i], 8);
		if (t->mistake != NO_FLUSH || i != 5)
			pool_flush(p, SLOTS + i * t->gap, 8);
	}
	if (p->class == POOL_MSYNC && t->mistake != NO_SYNC)
		pool_sync(p, SLOTS, NSLOTS * t->gap);
	else
		pool_fence(p);
}

static int update(struct pool *p, const struct toy *t, uint64_t value)
{
	struct record r;

	for (unsigned i = 0; i < NSLOTS; i++)
		r.value[i] = value;
	r.sum = sum_of(&r);
	pool_store(p, RECORD, &r, sizeof(r));
	pool_flush(p, RECORD, sizeof(r));
	if (p->class == POOL_MSYNC)
		pool_sync(p, RECORD, sizeof(r));
	else if (t->mistake != NO_FENCE)
		pool_fence(p);
	if (t->mistake == NO_FENCE) {
		/* Flushed together with the record that it stands for. */
		pool_store(p, COMMIT, &(uint64_t){1}, 8);
		pool_flush(p, COMMIT, 8);
		pool_fence(p);
	} else {
		pool_publish(p, COMMIT, le64_of(1));
	}
	apply(p, t, &r);
	return pool_publish(p, COMMIT, le64_of(0));
}

/* Two slots in one line, stored at once and believed to arrive at once. */
static int update_torn(struct pool *p, uint64_t value)
{
	uint64_t pair[2] = {value, value};

	pool_store(p, SLOTS, pair, sizeof(pair));
	return pool_sync(p, SLOTS, sizeof(pair));
}

static int toy_setup(struct pool *p, void *ctx)
{
	const struct toy *t = ctx;

	for (unsigned i = 0; i < NSLOTS; i++)
		pool_store(p, SLOTS + i * t->gap, &(uint64_t){100}, 8);
	if (t->mistake == TORN_RECORD)
		pool_store(p, SLOTS + 8, &(uint64_t){100}, 8);
	return 0;
}

static int toy_act(struct pool *p, void *ctx)
{
	const struct toy *t = ctx;
	int err = 0;

	for (unsigned i = 1; i <= t->updates && !err; i++) {
		err = t->mistake == TORN_RECORD ? update_torn(p, 100 + i) : update(p, t, 100 + i);
		sim_mark(p, i);
	}
	return err;
}

static int toy_recover(struct pool *p, void *ctx)
{
	const struct toy *t = ctx;
	struct record r;

	if (word(p, COMMIT) != 1)
		return 0;
	memcpy(&r, pool_at(p, RECORD, sizeof(r)), sizeof(r));
	if (r.sum != sum_of(&r))
		return -EUCLEAN;
	if (t->mistake == CLEAR_FIRST)
		pool_publish(p, COMMIT, le64_of(0));
	apply(p, t, &r);
	if (t->mistake != CLEAR_FIRST)
		pool_publish(p, COMMIT, le64_of(0));
	return 0;
}

static int toy_verify(struct pool *p, bool act_finished, void *ctx)
{
	const struct toy *t = ctx;
	unsigned slots = t->mistake == TORN_RECORD ? 2 : NSLOTS;
	uint64_t done = act_finished ? t->updates : sim_marked(p);
	uint64_t first;
	int err = toy_recover(p, ctx);

	if (err)
		return err;
	first = word(p, SLOTS);
	for (unsigned i = 1; i < slots; i++)
		if (word(p, SLOTS + i * (t->mistake == TORN_RECORD ? 8 : t->gap)) != first)
			return -EUCLEAN;
	/* What has returned is there; the one under way may be. */
	if (first != 100 + done && first != 100 + done + 1)
		return -ENODATA;
	return act_finished && first != 100 + done ? -ENODATA : 0;
}

static struct crash_case toy_case(struct toy *t, enum mistake m, enum pool_class class)
{
	*t = (struct toy){.mistake = m, .gap = class == POOL_MSYNC ? 4096 : SLOT_GAP, .updates = 2};
	return (struct crash_case){
	    .name = "toy",
	    .class = class,
	    .setup = toy_setup,
	    .act = toy_act,
	    .verify = toy_verify,
	    .recover = toy_recover,
	    .ctx = t,
	    .quiet = true,
	};
}

static void must_pass(enum pool_class class)
{
	struct crash_result r;
	struct crash_case c;
	struct toy t;

	c = toy_case(&t, NONE, class);
	c.quiet = false;
	assert_int_equal(crash_run_id(&c, NULL, &r), 0);
	assert_int_equal(r.failed, 0);
	assert_true(r.events > 10 && r.states > 100 && r.recovery_states > 0);
}

static void must_find(enum mistake m, enum pool_class class)
{
	struct crash_result r, again;
	char id[CRASH_ID_MAX];
	struct crash_case c;
	struct toy t;

	c = toy_case(&t, m, class);
	assert_int_equal(crash_run_id(&c, NULL, &r), 0);
	assert_true(r.failed > 0);
	memcpy(id, r.first_id, sizeof(id));
	print_message("found: CRASH=%s\n", id);
	assert_int_equal(crash_run_id(&c, id, &again), 0);
	assert_int_equal(again.states, 1);
	assert_int_equal(again.failed, 1);
	assert_string_equal(again.first_id, id);
}

static void a_correct_journal_passes_on_cache_flush(void **state)
{
	must_pass(POOL_CACHE_FLUSH);
}
static void a_correct_journal_passes_on_volatile_too(void **state)
{
	must_pass(POOL_VOLATILE);
}
static void a_correct_journal_passes_on_msync(void **state)
{
	must_pass(POOL_MSYNC);
}
static void a_missing_flush_is_found(void **state)
{
	must_find(NO_FLUSH, POOL_CACHE_FLUSH);
}
static void a_missing_fence_is_found(void **state)
{
	must_find(NO_FENCE, POOL_CACHE_FLUSH);
}
static void a_missing_sync_is_found(void **state)
{
	must_find(NO_SYNC, POOL_MSYNC);
}
static void two_words_taken_for_atomic_are_found(void **state)
{
	must_find(TORN_RECORD, POOL_CACHE_FLUSH);
	must_find(TORN_RECORD, POOL_MSYNC);
}
static void a_recovery_that_cannot_be_repeated_is_found(void **state)
{
	struct crash_result r;
	struct crash_case c;
	struct toy t;

	must_find(CLEAR_FIRST, POOL_CACHE_FLUSH);
	must_find(CLEAR_FIRST, POOL_MSYNC);
	/* Only by crashing the recovery: at depth 1 it is right. */
	c = toy_case(&t, CLEAR_FIRST, POOL_CACHE_FLUSH);
	c.recovery_states = CRASH_NONE;
	assert_int_equal(crash_run_id(&c, NULL, &r), 0);
	assert_int_equal(r.failed, 0);
	assert_int_equal(r.recovery_states, 0);
}

static void two_runs_try_the_same_states(void **state)
{
	struct crash_result a, b;
	struct crash_case c;
	struct toy t;

	c = toy_case(&t, NONE, POOL_CACHE_FLUSH);
	assert_int_equal(crash_run_id(&c, NULL, &a), 0);
	assert_int_equal(crash_run_id(&c, NULL, &b), 0);
	assert_memory_equal(&a, &b, sizeof(a));
}

static void limits_are_kept_and_what_they_leave_out_is_counted(void **state)
{
	struct crash_result all, few;
	struct crash_case c;
	struct toy t;

	c = toy_case(&t, NONE, POOL_CACHE_FLUSH);
	c.recovery_states = CRASH_NONE;
	assert_int_equal(crash_run_id(&c, NULL, &all), 0);
	assert_int_equal(all.untried, 0);
	c.outcomes_max = 5;
	c.torn = CRASH_NONE;
	assert_int_equal(crash_run_id(&c, NULL, &few), 0);
	assert_true(few.states <= 5 * few.events && few.untried > 0 && few.states < all.states);
}

static int act_fails(struct pool *p, void *ctx)
{
	return -EIO;
}

static void a_broken_test_is_an_error_and_not_a_pass(void **state)
{
	struct crash_result r;
	struct crash_case c;
	struct toy t;

	c = toy_case(&t, NONE, POOL_CACHE_FLUSH);
	assert_int_equal(crash_run_id(&c, "toy", &r), 0);
	assert_int_equal(crash_run_id(&c, "toy:1", &r), -EINVAL);
	assert_int_equal(crash_run_id(&c, "toy:1:x", &r), -EINVAL);
	assert_int_equal(crash_run_id(&c, "toy:1:2:3", &r), -EINVAL);
	assert_int_equal(crash_run_id(&c, "toy:0:5000", &r), -EINVAL);
	assert_int_equal(crash_run_id(&c, "another:1:2", &r), 0);
	assert_true(r.skipped && r.states == 0);
	c.act = act_fails;
	assert_int_equal(crash_run_id(&c, NULL, &r), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_correct_journal_passes_on_cache_flush),
	    cmocka_unit_test(a_correct_journal_passes_on_volatile_too),
	    cmocka_unit_test(a_correct_journal_passes_on_msync),
	    cmocka_unit_test(a_missing_flush_is_found),
	    cmocka_unit_test(a_missing_fence_is_found),
	    cmocka_unit_test(a_missing_sync_is_found),
	    cmocka_unit_test(two_words_taken_for_atomic_are_found),
	    cmocka_unit_test(a_recovery_that_cannot_be_repeated_is_found),
	    cmocka_unit_test(two_runs_try_the_same_states),
	    cmocka_unit_test(limits_are_kept_and_what_they_leave_out_is_counted),
	    cmocka_unit_test(a_broken_test_is_an_error_and_not_a_pass),
	};

	/* The ids here are the test's own. */
	unsetenv("CRASH");
	unsetenv("CRASH_SEED");
	unsetenv("CRASH_FULL");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
