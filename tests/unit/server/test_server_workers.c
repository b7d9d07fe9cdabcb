/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L19): a user whose sessions fill the workers with requests that wait leaves threads for others, who are served
 * at once; what waits for its share runs when there is room, each exactly once; a session has its own limit besides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/server.h"

#include <cmocka.h>

#define THREADS  16u
#define SESSIONS 4u
#define JOBS     8u
#define WAIT_NS  (20 * NS_PER_SEC)

struct house {
	struct workers *w;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned running[3], done[3]; /* by uid */
	bool open;                    /* jobs may end */
	struct session s[3][SESSIONS];
	struct job job[3][SESSIONS][JOBS];
};
static struct house h;

static void job_run(struct job *job)
{
	unsigned uid = job->session->cred.uid;

	pthread_mutex_lock(&h.lock);
	h.running[uid]++;
	pthread_cond_broadcast(&h.moved);
	while (!h.open)
		pthread_cond_wait(&h.moved, &h.lock);
	h.running[uid]--;
	h.done[uid]++;
	pthread_cond_broadcast(&h.moved);
	pthread_mutex_unlock(&h.lock);
}

static void submit(unsigned uid, unsigned session, unsigned job, unsigned limit)
{
	struct job *j = &h.job[uid][session][job];

	*j = (struct job){.session = &h.s[uid][session], .run = job_run};
	assert_int_equal(workers_submit(h.w, j, limit), 0);
}

/* Until so many jobs of the uid run; and that it stays so is looked at by the caller. */
static unsigned running(unsigned uid, unsigned wanted)
{
	uint64_t until = clock_now_ns() + WAIT_NS;
	unsigned n = 0;

	while (clock_now_ns() < until) {
		pthread_mutex_lock(&h.lock);
		n = h.running[uid];
		pthread_mutex_unlock(&h.lock);
		if (n >= wanted)
			break;
		usleep(1000);
	}
	return n;
}

static int setup(void **state)
{
	(void)state;
	h = (struct house){.open = false};
	pthread_mutex_init(&h.lock, NULL);
	pthread_cond_init(&h.moved, NULL);
	for (unsigned u = 0; u < 3; u++) {
		for (unsigned k = 0; k < SESSIONS; k++) {
			struct session *s = &h.s[u][k];

			s->cred.uid = u;
			atomic_init(&s->refs, 1);
			s->waiting_tail = &s->waiting_head;
		}
	}
	return workers_new(THREADS, &h.w);
}

static int teardown(void **state)
{
	(void)state;
	pthread_mutex_lock(&h.lock);
	h.open = true;
	pthread_cond_broadcast(&h.moved);
	pthread_mutex_unlock(&h.lock);
	workers_free(h.w); /* runs what is there */
	return 0;
}

static void a_user_who_fills_the_house_leaves_room(void **state)
{
	(void)state;
	for (unsigned k = 0; k < SESSIONS; k++) {
		for (unsigned j = 0; j < JOBS; j++)
			submit(1, k, j, JOBS);
	}
	assert_int_equal(running(1, THREADS / 2), THREADS / 2);
	usleep(50000);
	assert_int_equal(running(1, 0), THREADS / 2); /* 32 are here, and no more run */
	submit(2, 0, 0, JOBS);
	submit(2, 1, 0, JOBS);
	assert_int_equal(running(2, 2), 2);
	teardown(state);
	assert_int_equal(h.done[1], SESSIONS * JOBS);
	assert_int_equal(h.done[2], 2);
	assert_int_equal(h.running[1] + h.running[2], 0);
	setup(state);
}

static void what_is_not_limited_is_nobodys(void **state)
{
	(void)state;
	for (unsigned k = 0; k < SESSIONS; k++) {
		for (unsigned j = 0; j < JOBS / 2; j++)
			submit(1, k, j, 0);
	}
	assert_int_equal(running(1, THREADS), THREADS);
}

static void a_session_has_its_own_limit(void **state)
{
	(void)state;
	for (unsigned j = 0; j < JOBS; j++)
		submit(1, 0, j, 3);
	assert_int_equal(running(1, 3), 3);
	usleep(50000);
	assert_int_equal(running(1, 0), 3);
	submit(1, 1, 0, 3);
	assert_int_equal(running(1, 4), 4);
}

/* Users above their share are served in turn, also when one of them asks for much more. */
static void shares_are_served_in_turn(void **state)
{
	(void)state;
	for (unsigned k = 0; k < SESSIONS; k++) {
		for (unsigned j = 0; j < JOBS; j++)
			submit(1, k, j, JOBS);
	}
	for (unsigned k = 0; k < SESSIONS; k++)
		submit(2, k, 0, JOBS);
	assert_int_equal(running(2, THREADS / 8), THREADS / 8);
	teardown(state);
	assert_int_equal(h.done[1], SESSIONS * JOBS);
	assert_int_equal(h.done[2], SESSIONS);
	setup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_user_who_fills_the_house_leaves_room, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_not_limited_is_nobodys, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_session_has_its_own_limit, setup, teardown),
	    cmocka_unit_test_setup_teardown(shares_are_served_in_turn, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
