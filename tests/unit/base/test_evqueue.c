/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: the event descriptor of a session tells the truth: readable exactly while a record is waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>

#include "base/evqueue.h"

struct record {
	uint64_t number;
	uint32_t tail;
};

static bool readable(struct evqueue *q)
{
	struct pollfd p = {.fd = evqueue_fd(q), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void push(struct evqueue *q, uint64_t number)
{
	struct record r = {.number = number, .tail = ~(uint32_t)number};

	assert_int_equal(evqueue_push(q, &r), 0);
}

static uint64_t pop(struct evqueue *q)
{
	struct record r;

	assert_int_equal(evqueue_pop(q, &r), 1);
	assert_int_equal(r.tail, ~(uint32_t)r.number);
	return r.number;
}

static void records_come_out_in_order_and_the_descriptor_follows(void **state)
{
	struct evqueue *q;
	struct record r;

	assert_int_equal(evqueue_new(sizeof(struct record), 3, &q), 0);
	assert_false(readable(q));
	for (unsigned round = 0; round < 5; round++) {
		push(q, round);
		push(q, round + 100);
		assert_true(readable(q));
		assert_int_equal(pop(q), round);
		assert_true(readable(q));
		assert_int_equal(pop(q), round + 100);
		assert_false(readable(q));
		assert_int_equal(evqueue_pop(q, &r), 0);
	}
	evqueue_free(q);
}

static void a_full_queue_refuses_and_counts_what_was_lost(void **state)
{
	struct record r = {.number = 9};
	struct evqueue *q;

	assert_int_equal(evqueue_new(sizeof(struct record), 2, &q), 0);
	push(q, 1);
	push(q, 2);
	assert_int_equal(evqueue_push(q, &r), -ENOSPC);
	assert_int_equal(evqueue_lost(q), 1);
	assert_int_equal(evqueue_count(q), 2);
	assert_int_equal(pop(q), 1);
	push(q, 3);
	assert_int_equal(pop(q), 2);
	assert_int_equal(pop(q), 3);
	evqueue_free(q);
}

static bool is_odd(void *ctx, const void *record)
{
	(void)ctx;
	return ((const struct record *)record)->number % 2 == 1;
}
static bool is_any(void *ctx, const void *record)
{
	(void)ctx;
	(void)record;
	return true;
}

static void removal_keeps_the_order_of_the_rest(void **state)
{
	struct evqueue *q;

	assert_int_equal(evqueue_new(sizeof(struct record), 5, &q), 0);
	push(q, 0);
	push(q, 0);
	(void)pop(q);
	(void)pop(q);
	for (uint64_t i = 1; i <= 5; i++)
		push(q, i);
	assert_int_equal(evqueue_remove(q, is_odd, NULL), 3);
	assert_int_equal(pop(q), 2);
	assert_true(readable(q));
	assert_int_equal(evqueue_remove(q, is_any, NULL), 1);
	assert_false(readable(q));
	assert_int_equal(evqueue_remove(q, is_any, NULL), 0);
	evqueue_free(q);
}

static void zero_sizes_are_refused(void **state)
{
	struct evqueue *q;

	assert_int_equal(evqueue_new(0, 4, &q), -EINVAL);
	assert_int_equal(evqueue_new(4, 0, &q), -EINVAL);
	evqueue_free(NULL);
}

#define PRODUCERS 4u
#define EACH      5000u

static void *produce(void *arg)
{
	struct evqueue *q = arg;

	for (uint64_t i = 0; i < EACH; i++)
		push(q, i);
	return NULL;
}

static void many_threads_lose_nothing_and_wake_the_reader(void **state)
{
	pthread_t threads[PRODUCERS];
	struct evqueue *q;
	unsigned got = 0;

	assert_int_equal(evqueue_new(sizeof(struct record), PRODUCERS * EACH, &q), 0);
	for (unsigned i = 0; i < PRODUCERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, produce, q), 0);
	while (got < PRODUCERS * EACH) {
		struct pollfd p = {.fd = evqueue_fd(q), .events = POLLIN};

		assert_int_equal(poll(&p, 1, 10000), 1);
		(void)pop(q);
		got++;
	}
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	assert_false(readable(q));
	evqueue_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records_come_out_in_order_and_the_descriptor_follows),
	    cmocka_unit_test(a_full_queue_refuses_and_counts_what_was_lost),
	    cmocka_unit_test(removal_keeps_the_order_of_the_rest),
	    cmocka_unit_test(zero_sizes_are_refused),
	    cmocka_unit_test(many_threads_lose_nothing_and_wake_the_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
