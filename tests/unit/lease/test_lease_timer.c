/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L7 with the real clock and the arbiter's own timer thread: a break ends after its deadline and not before, with
 * a thousand silent holders, while a re-requester loops (L8), and without waiting when nobody is there (L3). The tests
 * assert only generous bounds, since the machine may be busy; the 10 ms of L7 are the benchmark's row break_forced.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "lease/lease.h"

#define HOLDERS     1000
#define D_NS        (50 * NS_PER_MS)
#define GENEROUS_NS (5 * NS_PER_SEC)

static _Atomic unsigned recalls, revocations, drains, gones;

static void on_recall(void *ctx, const struct lease_recall *r)
{
	recalls++;
}
static void on_revoked(void *ctx, const struct lease_recall *r)
{
	revocations++;
}
static const struct lease_session_ops silent = {.recall = on_recall, .revoked = on_revoked};

static void on_drain(void *pin, struct range range)
{
	drains++;
}
static void on_gone(void *pin)
{
	gones++;
}
static const struct lease_pin_ops pin_ops = {.drain = on_drain, .gone = on_gone};

struct fixture {
	struct lease_arbiter *arbiter;
	struct lease_session *session;
	struct lease_anchor file;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct lease_options opt = {.deadline_ns = D_NS};

	assert_non_null(f);
	recalls = revocations = drains = gones = 0;
	assert_int_equal(lease_arbiter_new(&opt, &f->arbiter), 0);
	assert_int_equal(lease_session_open(f->arbiter, &silent, f, NULL, &f->session), 0);
	lease_anchor_init(&f->file, 5);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lease_session_close(f->session);
	lease_anchor_fini(&f->file);
	lease_arbiter_free(f->arbiter);
	free(f);
	return 0;
}

static int grant(struct fixture *f, uint64_t handle, struct lease_grant *out)
{
	struct lease_grant_args args = {
	    .anchor = &f->file, .session = f->session, .handle = handle, .range = {0, 1 << 20}, .mode = LEASE_READ};

	return lease_grant(f->arbiter, &args, out);
}

static struct lease_break *start(struct fixture *f, uint64_t deadline_ns)
{
	struct lease_break_args args = {.anchor = &f->file,
					.range = {4096, 8192},
					.modes = LEASE_ANY_MODE,
					.reason = LEASE_FOR_PUNCH,
					.kind = LEASE_STOP,
					.deadline_ns = deadline_ns};
	struct lease_break *b;

	assert_int_equal(lease_break_start(f->arbiter, &args, &b), 0);
	return b;
}

/* L7 */
static void a_thousand_silent_holders_are_gone_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct lease_grant g;
	struct lease_break *b;
	struct drained receipt;
	uint64_t before;

	for (uint64_t i = 0; i < HOLDERS; i++) {
		assert_int_equal(grant(f, i, &g), 0);
		assert_int_equal(lease_pin_attach(f->arbiter, g.lease, &pin_ops, f, 4096), 0);
	}
	before = clock_now_ns();
	b = start(f, 0);
	assert_int_equal(recalls, HOLDERS);
	lease_break_wait(b);
	assert_true(clock_now_ns() - before >= D_NS);
	assert_true(clock_now_ns() - before < D_NS + GENEROUS_NS);
	assert_int_equal(drains, HOLDERS);
	assert_int_equal(lease_drained(&f->file, (struct range){4096, 8192}, &receipt), 0);
	lease_break_end(b);
	assert_int_equal(gones, 0); /* the rest of each lease works on */
}

struct looper {
	struct fixture *f;
	_Atomic bool stop;
};

static void *re_request(void *ctx)
{
	struct looper *l = ctx;
	struct lease_grant g;

	while (!l->stop) {
		if (grant(l->f, 9, &g) != 0)
			lease_gate_wait(l->f->arbiter, &l->f->file, (struct range){0, 1 << 20}, UINT64_MAX, NULL, 0);
		lease_handle_close(l->f->session, 9);
	}
	return NULL;
}

/* L7, L8, I6: whoever asks again in a loop does not starve the breaker, and gets nothing inside the gate. */
static void a_re_requester_does_not_starve_the_breaker(void **state)
{
	struct fixture *f = *state;
	struct looper l = {.f = f};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, re_request, &l), 0);
	for (int i = 0; i < 50; i++) {
		struct lease_break *b = start(f, NS_PER_MS);

		lease_break_wait(b);
		for (int k = 0; k < 100; k++)
			assert_false(lease_conflicts(&f->file, (struct range){4096, 8192}, LEASE_ANY_MODE, NULL));
		lease_break_end(b);
	}
	l.stop = true;
	pthread_join(thread, NULL);
}

/* L7: a shorter deadline that comes later wakes the timer earlier. */
static void a_shorter_deadline_overtakes(void **state)
{
	struct fixture *f = *state;
	struct lease_anchor other;
	struct lease_grant g;
	struct lease_grant_args slow = {.anchor = &other,
					.session = f->session,
					.range = {0, 4096},
					.mode = LEASE_READ,
					.deadline_ns = 30 * NS_PER_SEC};
	uint64_t before = clock_now_ns();
	struct lease_break *b;

	lease_anchor_init(&other, 6);
	assert_int_equal(lease_grant(f->arbiter, &slow, &g), 0);
	assert_int_equal(
	    lease_break_start(f->arbiter,
			      &(struct lease_break_args){.anchor = &other, .range = RANGE_ALL, .modes = LEASE_ANY_MODE},
			      &b),
	    0);
	lease_break_detach(b);
	assert_int_equal(grant(f, 1, &g), 0);
	b = start(f, 0);
	lease_break_wait(b);
	lease_break_end(b);
	assert_true(clock_now_ns() - before < D_NS + GENEROUS_NS);
	assert_true(lease_busy(&other));
	assert_int_equal(lease_revoke(f->arbiter, 0, 6, 0, UINT32_MAX, "test"), 1);
	lease_anchor_fini(&other);
}

/* L8: waiting for a gate ends with its time. */
static void waiting_for_a_gate_times_out(void **state)
{
	struct fixture *f = *state;
	struct lease_break *b = start(f, 0);

	assert_int_equal(
	    lease_gate_wait(f->arbiter, &f->file, (struct range){0, 1 << 20}, clock_now_ns() + 5 * NS_PER_MS, NULL, 0),
	    -ETIMEDOUT);
	assert_int_equal(lease_gate_wait(f->arbiter, &f->file, (struct range){8192, 1 << 20}, 0, NULL, 0), 0);
	lease_break_end(b);
}

/* L36: unmount gives notice, then forces, and returns only when nothing is left. */
static void unmount_forces_after_its_notice(void **state)
{
	struct fixture *f = *state;
	struct lease_grant g;
	uint64_t before = clock_now_ns();

	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(grant(f, i, &g), 0);
		assert_int_equal(lease_pin_attach(f->arbiter, g.lease, &pin_ops, f, 4096), 0);
	}
	lease_unmount(f->arbiter, 10 * NS_PER_MS);
	assert_true(clock_now_ns() - before >= 10 * NS_PER_MS);
	assert_int_equal(recalls, 100);
	assert_int_equal(drains, 100);
	assert_int_equal(grant(f, 1, &g), -ESHUTDOWN);
}

#define test_case(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_case(a_thousand_silent_holders_are_gone_at_the_deadline),
	    test_case(a_re_requester_does_not_starve_the_breaker),
	    test_case(a_shorter_deadline_overtakes),
	    test_case(waiting_for_a_gate_times_out),
	    test_case(unmount_forces_after_its_notice),
	};

	/* A thousand audit lines would bury the result. */
	setenv("LEASEHOLD_LOG", "error", 1);
	return cmocka_run_group_tests_name("lease: the timer", tests, NULL, NULL);
}
