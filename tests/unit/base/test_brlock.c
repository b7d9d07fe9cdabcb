/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: who has a big-reader lock closed is alone, newcomers wait, nested entries do not, and an rwlock inside one
 * takes its exclusive holders in. Who only tries waits for nobody, and lets writers who wait go first. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/brlock.h"
#include "base/lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define THREADS 4u
#define CLOSES  100u

struct world {
	struct brlock *b;
	struct rwlock in[THREADS];
	_Atomic uint64_t inside, passed;
	_Atomic bool closed, stop;
	uint64_t plain[THREADS]; /* each its thread's, read by the closer: a race without the lock */
};

static int world_new(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->b = aligned_alloc(_Alignof(struct brlock), sizeof(*w->b));
	brlock_init(w->b, RANK_FREEZE);
	for (unsigned k = 0; k < THREADS; k++) {
		rwlock_init(&w->in[k], RANK_INODE, k + 1);
		rwlock_set_outer(&w->in[k], w->b);
	}
	*state = w;
	return 0;
}

static int world_free(void **state)
{
	struct world *w = *state;

	for (unsigned k = 0; k < THREADS; k++)
		rwlock_destroy(&w->in[k]);
	brlock_destroy(w->b);
	free(w->b);
	free(w);
	return 0;
}

struct member {
	struct world *w;
	unsigned id;
	pthread_t thread;
};

static void pass(struct member *m)
{
	struct world *w = m->w;

	if (atomic_load(&w->closed))
		abort();
	atomic_fetch_add(&w->inside, 1);
	w->plain[m->id]++;
	atomic_fetch_add(&w->passed, 1);
	atomic_fetch_sub(&w->inside, 1);
}

static void *member_main(void *ctx)
{
	struct member *m = ctx;
	struct world *w = m->w;

	while (!atomic_load(&w->stop)) {
		brlock_enter(w->b);
		pass(m);
		/* The exclusive rwlock comes in once more. */
		rwlock_take_write(&w->in[m->id]);
		pass(m);
		rwlock_drop(&w->in[m->id]);
		brlock_leave(w->b);
		rwlock_take_write(&w->in[m->id]);
		pass(m);
		rwlock_drop(&w->in[m->id]);
	}
	return NULL;
}

static void who_has_it_closed_is_alone(void **state)
{
	struct world *w = *state;
	struct member m[THREADS];

	for (unsigned k = 0; k < THREADS; k++) {
		m[k] = (struct member){.w = w, .id = k};
		assert_int_equal(pthread_create(&m[k].thread, NULL, member_main, &m[k]), 0);
	}
	for (unsigned n = 0; n < CLOSES; n++) {
		uint64_t sum = 0;
		uint64_t passed;

		brlock_close(w->b);
		assert_true(brlock_is_mine(w->b));
		assert_int_equal(atomic_load(&w->inside), 0);
		atomic_store(&w->closed, true);
		/* The closer itself may take what is inside. */
		rwlock_take_write(&w->in[n % THREADS]);
		rwlock_drop(&w->in[n % THREADS]);
		passed = atomic_load(&w->passed);
		for (unsigned k = 0; k < THREADS; k++)
			sum += w->plain[k];
		sched_yield();
		assert_int_equal(sum, passed);
		assert_int_equal(atomic_load(&w->passed), passed);
		atomic_store(&w->closed, false);
		brlock_open(w->b);
		assert_false(brlock_is_mine(w->b));
		while (atomic_load(&w->passed) == passed)
			sched_yield();
	}
	atomic_store(&w->stop, true);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(m[k].thread, NULL);
}

static void *closer_main(void *ctx)
{
	struct member *m = ctx;

	for (unsigned n = 0; n < CLOSES; n++) {
		brlock_close(m->w->b);
		m->w->plain[0]++;
		brlock_open(m->w->b);
	}
	return NULL;
}

static void closers_take_turns(void **state)
{
	struct world *w = *state;
	struct member m[THREADS];

	for (unsigned k = 0; k < THREADS; k++) {
		m[k] = (struct member){.w = w, .id = k};
		assert_int_equal(pthread_create(&m[k].thread, NULL, closer_main, &m[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(m[k].thread, NULL);
	assert_int_equal(w->plain[0], THREADS * CLOSES);
}

static void shared_holders_of_the_rwlock_do_not_care(void **state)
{
	struct world *w = *state;

	brlock_close(w->b);
	rwlock_take_read(&w->in[0]);
	rwlock_drop(&w->in[0]);
	brlock_open(w->b);
	rwlock_take_read(&w->in[0]);
	rwlock_take_read(&w->in[1]);
	rwlock_drop(&w->in[1]);
	rwlock_drop(&w->in[0]);
}

static void *close_it(void *arg)
{
	struct world *w = arg;

	brlock_close(w->b);
	atomic_store(&w->closed, true);
	while (!atomic_load(&w->stop))
		sched_yield();
	brlock_open(w->b);
	return NULL;
}

static void a_try_finds_it_closed_and_does_not_wait(void **state)
{
	struct world *w = *state;
	pthread_t thread;

	assert_true(brlock_try_enter(w->b));
	assert_true(brlock_try_enter(w->b)); /* nests */
	brlock_leave(w->b);
	assert_int_equal(pthread_create(&thread, NULL, close_it, w), 0);
	sched_yield();
	assert_false(atomic_load(&w->closed));
	brlock_leave(w->b);
	while (!atomic_load(&w->closed))
		sched_yield();
	assert_false(brlock_try_enter(w->b));
	atomic_store(&w->stop, true);
	pthread_join(thread, NULL);
	assert_true(brlock_try_enter(w->b));
	brlock_leave(w->b);
}

static void *write_it(void *arg)
{
	struct world *w = arg;

	rwlock_take_write(&w->in[0]);
	atomic_fetch_add(&w->passed, 1);
	rwlock_drop(&w->in[0]);
	return NULL;
}

/* Four threads that hold it by tries, so that it is never free, would keep a writer out for ever (L8). */
static void *try_on(void *arg)
{
	struct world *w = arg;

	while (!atomic_load(&w->stop)) {
		if (!rwlock_try_read(&w->in[0]))
			continue;
		atomic_fetch_add(&w->inside, 1);
		for (unsigned k = 0; k < 100; k++)
			sched_yield();
		rwlock_drop(&w->in[0]);
	}
	return NULL;
}

static void tries_do_not_starve_a_writer(void **state)
{
	struct world *w = *state;
	pthread_t readers[THREADS], writer;

	for (unsigned k = 0; k < THREADS; k++)
		assert_int_equal(pthread_create(&readers[k], NULL, try_on, w), 0);
	for (unsigned k = 0; k < 20; k++) {
		while (atomic_load(&w->inside) < (k + 1) * THREADS)
			sched_yield();
		assert_int_equal(pthread_create(&writer, NULL, write_it, w), 0);
		pthread_join(writer, NULL);
	}
	assert_int_equal(atomic_load(&w->passed), 20);
	atomic_store(&w->stop, true);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(readers[k], NULL);
}

static void a_try_fails_while_it_is_held_exclusively(void **state)
{
	struct world *w = *state;

	assert_true(rwlock_try_read(&w->in[1]));
	/* In any order, and twice: nobody waits. */
	assert_true(rwlock_try_read(&w->in[0]));
	assert_true(rwlock_try_read(&w->in[1]));
	rwlock_drop(&w->in[1]);
	rwlock_drop(&w->in[0]);
	rwlock_drop(&w->in[1]);
	rwlock_take_write(&w->in[1]);
	assert_false(rwlock_try_read(&w->in[1]));
	rwlock_drop(&w->in[1]);
	assert_true(rwlock_try_read(&w->in[1]));
	rwlock_drop(&w->in[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(who_has_it_closed_is_alone, world_new, world_free),
	    cmocka_unit_test_setup_teardown(closers_take_turns, world_new, world_free),
	    cmocka_unit_test_setup_teardown(shared_holders_of_the_rwlock_do_not_care, world_new, world_free),
	    cmocka_unit_test_setup_teardown(a_try_finds_it_closed_and_does_not_wait, world_new, world_free),
	    cmocka_unit_test_setup_teardown(a_try_fails_while_it_is_held_exclusively, world_new, world_free),
	    cmocka_unit_test_setup_teardown(tries_do_not_starve_a_writer, world_new, world_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
