/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L8: whoever waits for a break or a gate can be let go: by tag, by session, for good; others wait on, and the
 * gate of the one who was let go opens when he ends it.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>

struct waiter {
	struct rig *rig;
	struct lease_session *who;
	struct lease_break *brk; /* NULL: waits for the gate */
	uint64_t tag;
	pthread_t thread;
	_Atomic bool over;
	int result;
};

static void *waiter_main(void *ctx)
{
	struct waiter *w = ctx;

	if (w->brk)
		w->result = lease_break_wait(w->brk);
	else
		w->result = lease_gate_wait(w->rig->arbiter, &w->rig->file, R(0, K), UINT64_MAX, w->who, w->tag);
	w->over = true;
	return NULL;
}

static void waiter_start(struct waiter *w, struct rig *r, struct holder *h, uint64_t tag, bool breaks)
{
	*w = (struct waiter){.rig = r, .who = h->session, .tag = tag};
	if (breaks)
		w->brk = start_break_as(r, &(struct lease_break_args){.anchor = &r->file,
								      .range = R(0, K),
								      .modes = LEASE_ANY_MODE,
								      .reason = LEASE_FOR_PUNCH,
								      .owner = h->session,
								      .tag = tag});
	assert_int_equal(pthread_create(&w->thread, NULL, waiter_main, w), 0);
}

static void waiter_join(struct waiter *w, int result)
{
	pthread_join(w->thread, NULL);
	assert_int_equal(w->result, result);
}

/* Waits that begin later are not concerned: so again until it was there. */
static void interrupt_until_over(struct waiter *w, uint64_t tag)
{
	while (!w->over) {
		lease_interrupt(w->who, tag, false);
		sched_yield();
	}
	waiter_join(w, -EINTR);
}

/* A breaker with the tag is let go, another waits on; the gate opens with lease_break_end, the recall stays. */
static void a_breaker_is_let_go_by_its_tag(void **state)
{
	struct rig *r = *state;
	struct waiter one, two;
	struct lease_info info;
	uint64_t lease = grant(r, &r->a, 1, R(0, K), LEASE_READ);

	waiter_start(&one, r, &r->b, 7, true);
	waiter_start(&two, r, &r->b, 8, true);
	interrupt_until_over(&one, 7);
	assert_false(lease_break_done(one.brk));
	lease_break_end(one.brk);
	assert_int_equal(try_grant(r, &r->c, R(0, K), LEASE_READ), -EAGAIN); /* the other's gate */
	assert_false(two.over);
	assert_true(look(r, lease, &info));
	assert_int_equal(info.state, LEASE_RECALLING);
	lease_release(r->a.session, lease, R_ALL);
	waiter_join(&two, 0);
	lease_break_end(two.brk);
	assert_int_equal(try_grant(r, &r->c, R(0, K), LEASE_READ), 0);
}

/* Another session's interrupt, and one of another tag, concern nobody. Tag 0: everyone of the session. */
static void only_the_session_s_own_waits_are_concerned(void **state)
{
	struct rig *r = *state;
	struct lease_break *gate;
	struct waiter one, two, other;
	uint64_t lease = grant(r, &r->a, 1, R(0, K), LEASE_READ);

	gate = start_break(r, NULL, R(0, K), 0);
	waiter_start(&one, r, &r->b, 1, false);
	waiter_start(&two, r, &r->b, 2, true);
	waiter_start(&other, r, &r->c, 1, false);
	for (int i = 0; i < 1000; i++) {
		lease_interrupt(r->a.session, 0, false);
		lease_interrupt(r->b.session, 3, false);
		sched_yield();
	}
	assert_false(one.over || two.over || other.over);
	while (!one.over || !two.over) {
		lease_interrupt(r->b.session, 0, false);
		sched_yield();
	}
	waiter_join(&one, -EINTR);
	waiter_join(&two, -EINTR);
	lease_break_end(two.brk);
	assert_false(other.over);
	lease_release(r->a.session, lease, R_ALL);
	lease_break_end(gate);
	waiter_join(&other, 0);
}

/* A session that is gone: its waits end, also those that only begin; what need not be waited for is no error. */
static void for_good_ends_later_waits_too(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	struct lease_break *late;
	struct waiter early, stays;

	waiter_start(&early, r, &r->b, 5, true);
	lease_interrupt(r->b.session, 0, true);
	waiter_join(&early, -EINTR);
	lease_break_end(early.brk);
	late = start_break(r, &r->b, R(0, K), 0);
	assert_int_equal(lease_break_wait(late), -EINTR);
	assert_int_equal(lease_gate_wait(r->arbiter, &r->file, R(0, K), UINT64_MAX, r->b.session, 9), -EINTR);
	waiter_start(&stays, r, &r->b, 9 | LEASE_TAG_STAYS, false);
	lease_interrupt(r->b.session, 0, true);
	assert_false(stays.over);
	interrupt_until_over(&stays, 9);
	lease_release(r->a.session, lease, R_ALL);
	assert_int_equal(lease_break_wait(late), 0);
	lease_break_end(late);
	assert_int_equal(lease_gate_wait(r->arbiter, &r->file, R(0, K), UINT64_MAX, r->b.session, 9), 0);
}

/* Tags that count up: what was asked for before is let go, whenever it begins to wait; what comes later is not. */
static void below_a_tag_nothing_escapes(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	struct waiter early, after, untagged;
	struct lease_break *late;

	waiter_start(&early, r, &r->b, 5, true);
	waiter_start(&after, r, &r->b, 7, true);
	waiter_start(&untagged, r, &r->b, 0, true);
	lease_interrupt_below(r->b.session, 7);
	waiter_join(&early, -EINTR);
	lease_interrupt_below(r->b.session, 3); /* takes nothing back */
	late = start_break_as(
	    r, &(struct lease_break_args){
		   .anchor = &r->file, .range = R(0, K), .modes = LEASE_ANY_MODE, .owner = r->b.session, .tag = 6});
	assert_int_equal(lease_break_wait(late), -EINTR);
	lease_break_end(late);
	lease_break_end(early.brk);
	assert_false(after.over || untagged.over);
	lease_release(r->a.session, lease, R_ALL);
	waiter_join(&after, 0);
	waiter_join(&untagged, 0);
	lease_break_end(after.brk);
	lease_break_end(untagged.brk);
}

/* A break of nobody (the filesystem's own) cannot be interrupted. */
static void a_break_of_nobody_waits_on(void **state)
{
	struct rig *r = *state;
	struct waiter w = {.rig = r};
	uint64_t lease = grant(r, &r->a, 1, R(0, K), LEASE_READ);

	w.brk = start_break(r, NULL, R(0, K), 0);
	assert_int_equal(pthread_create(&w.thread, NULL, waiter_main, &w), 0);
	for (int i = 0; i < 1000; i++) {
		lease_interrupt(r->a.session, 0, false);
		lease_interrupt(r->b.session, 0, true);
		sched_yield();
	}
	assert_false(w.over);
	lease_release(r->a.session, lease, R_ALL);
	waiter_join(&w, 0);
	lease_break_end(w.brk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_case(a_breaker_is_let_go_by_its_tag), test_case(only_the_session_s_own_waits_are_concerned),
	    test_case(for_good_ends_later_waits_too),  test_case(below_a_tag_nothing_escapes),
	    test_case(a_break_of_nobody_waits_on),
	};

	return cmocka_run_group_tests_name("lease: interrupting", tests, NULL, NULL);
}
