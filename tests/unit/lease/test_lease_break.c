/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L4, L6, L7, L8, L9, L10, L11, I6: a break recalls exactly what is in its way, lets nobody in, forces whom it
 * must, and ends in time.
 */
#include "rig.h"

/* L6: a holder who releases in time is never forced, and the break ends the moment the last one has released. */
static void a_holder_that_releases_in_time_is_not_forced(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	uint64_t lb = grant(r, &r->b, 1, R(0, 64 * K), LEASE_WRITE);
	struct lease_break *b = start_break(r, &r->c, R(0, 64 * K), 0);

	assert_int_equal(r->a.n, 1);
	assert_int_equal(r->b.n, 1);
	assert_false(lease_break_done(b));
	assert_int_equal(lease_release(r->a.session, la, R_ALL), 0);
	assert_false(lease_break_done(b));
	assert_int_equal(lease_release(r->b.session, lb, R_ALL), 0);
	assert_true(lease_break_done(b));
	lease_break_wait(b);
	lease_break_end(b);
	forward(r, 10 * D_NS);
	assert_int_equal(r->a.n, 1); /* never told `revoked` */
	assert_int_equal(r->b.n, 1);
}

/* L7: whoever does not answer is forced at the deadline, not before. */
static void a_silent_holder_is_forced_at_the_deadline(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct lease_break *b;

	attach(r, la, &r->pin[0]);
	b = start_break(r, &r->c, R(0, 64 * K), 0);
	forward(r, D_NS - 1);
	assert_false(lease_break_done(b));
	assert_int_equal(r->pin[0].drains, 0);
	forward(r, 1);
	assert_true(lease_break_done(b));
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->pin[0].gone, 1);
	assert_int_equal(r->a.n, 2);
	assert_true(r->a.notes[1].revoked);
	assert_int_equal(r->a.notes[1].text.lease, la);
	assert_true(r->a.notes[1].text.seq > r->a.notes[0].text.seq);
	assert_false(look(r, la, NULL));
	lease_break_end(b);
}

/* L4: only the changed range is recalled; the rest of the lease stays granted and usable. */
static void only_the_changed_range_is_recalled_and_lost(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct lease_info info;
	struct lease_break *b;

	attach(r, la, &r->pin[0]);
	b = start_break(r, &r->c, R(16 * K, 48 * K), 0);
	assert_range(r->a.notes[0].text.range, 16 * K, 48 * K);
	assert_true(look(r, la, &info));
	assert_int_equal(info.state, LEASE_RECALLING);
	assert_int_equal(info.recall_left_ns, D_NS);
	forward(r, D_NS);
	assert_true(lease_break_done(b));
	assert_range(r->pin[0].last, 16 * K, 48 * K);
	assert_int_equal(r->pin[0].gone, 0);
	assert_true(look(r, la, &info));
	assert_int_equal(info.state, LEASE_GRANTED);
	assert_int_equal(info.bytes, 32 * K);
	assert_range(info.range, 0, 64 * K);
	assert_receipt(r, R(16 * K, 48 * K), 0);
	assert_receipt(r, R(0, 16 * K), -EBUSY);
	lease_break_end(b);
	assert_int_equal(lease_release(r->a.session, la, R_ALL), 0);
	assert_int_equal(r->pin[0].gone, 1);
}

/* L4: a lease that the range does not touch hears nothing. */
static void a_lease_beside_the_range_hears_nothing(void **state)
{
	struct rig *r = *state;
	struct lease_break *b;

	grant(r, &r->a, 1, R(0, 16 * K), LEASE_READ);
	grant(r, &r->a, 1, R(48 * K, RANGE_MAX), LEASE_WRITE);
	b = start_break(r, NULL, R(16 * K, 48 * K), 0);
	assert_int_equal(r->a.n, 0);
	assert_true(lease_break_done(b));
	lease_break_end(b);
}

/* L1, L21: the caller's session is spared. L6 for the modes: a clone's source keeps its readers. */
static void the_caller_and_other_modes_are_spared(void **state)
{
	struct rig *r = *state;
	struct lease_break *b;

	grant(r, &r->a, 1, R(0, 64 * K), LEASE_WRITE);
	grant(r, &r->b, 1, R(0, 64 * K), LEASE_READ);
	b = start_break_as(r, &(struct lease_break_args){.anchor = &r->file,
							 .range = R_ALL,
							 .modes = LEASE_WRITE,
							 .reason = LEASE_FOR_CLONE_SOURCE,
							 .owner = r->a.session});
	assert_int_equal(r->a.n, 0);
	assert_int_equal(r->b.n, 0);
	assert_true(lease_break_done(b));
	lease_break_end(b);
}

/* L8, I6: from the start of the break until its end no lease on the range is granted, not to anyone. */
static void the_gate_holds_from_start_to_end(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct lease_break *b = start_break(r, &r->c, R(16 * K, 48 * K), 0);

	assert_int_equal(try_grant(r, &r->a, R(0, 64 * K), LEASE_READ), -EAGAIN);
	assert_int_equal(try_grant(r, &r->c, R(47 * K, 48 * K), LEASE_WRITE), -EAGAIN);
	grant(r, &r->b, 1, R(48 * K, 64 * K), LEASE_READ);
	lease_release(r->a.session, la, R_ALL);
	assert_true(lease_break_done(b));
	assert_int_equal(try_grant(r, &r->a, R(0, 64 * K), LEASE_READ), -EAGAIN);
	lease_break_end(b);
	grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
}

/* L8: an anchor that nobody leased can be gated too, and is quiet afterwards (L3). */
static void a_gate_on_an_unleased_file_leaves_no_trace(void **state)
{
	struct rig *r = *state;
	struct lease_break *b = start_break(r, NULL, R_ALL, 0);

	assert_true(lease_busy(&r->file));
	assert_true(lease_break_done(b));
	assert_int_equal(lease_gate_wait(r->arbiter, &r->file, R(0, 1), r->now_ns, NULL, 0), -ETIMEDOUT);
	lease_break_end(b);
	assert_false(lease_busy(&r->file));
	assert_int_equal(lease_gate_wait(r->arbiter, &r->file, R(0, 1), r->now_ns, NULL, 0), 0);
}

/* L7: the smaller of the lease's and the break's deadline counts, and nobody gets more than the maximum. */
static void the_smaller_deadline_counts(void **state)
{
	struct rig *r = *state;
	struct lease_grant_args args = {.anchor = &r->file,
					.session = r->a.session,
					.range = R(0, K),
					.mode = LEASE_READ,
					.deadline_ns = 1000 * D_NS};
	struct lease_grant got;
	struct lease_break *b;

	assert_int_equal(lease_grant(r->arbiter, &args, &got), 0);
	grant(r, &r->b, 1, R(0, K), LEASE_READ);
	b = start_break(r, NULL, R_ALL, 3 * D_NS);
	assert_int_equal(r->a.notes[0].text.deadline_ns - r->now_ns, 3 * D_NS);
	assert_int_equal(r->b.notes[0].text.deadline_ns - r->now_ns, D_NS);
	lease_break_end(b);
	lease_release(r->a.session, got.lease, R_ALL);
	assert_int_equal(lease_grant(r->arbiter, &args, &got), 0);
	b = start_break(r, &r->b, R_ALL, 0);
	assert_int_equal(r->a.notes[1].text.deadline_ns - r->now_ns, 10 * D_NS);
	lease_break_end(b);
}

/* L7: D = 0, of the break or of the lease, forces before lease_break_start returns; the holder is told once. */
static void no_time_means_at_once(void **state)
{
	struct rig *r = *state;
	struct lease_grant_args args = {.anchor = &r->file,
					.session = r->b.session,
					.range = R(0, K),
					.mode = LEASE_READ,
					.deadline_ns = LEASE_DEADLINE_NOW};
	struct lease_grant got;
	struct lease_break *b;

	attach(r, grant(r, &r->a, 1, R(0, K), LEASE_READ), &r->pin[0]);
	b = start_break(r, NULL, R_ALL, LEASE_DEADLINE_NOW);
	assert_true(lease_break_done(b));
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->a.n, 1);
	assert_true(r->a.notes[0].revoked);
	lease_break_end(b);
	assert_int_equal(lease_grant(r->arbiter, &args, &got), 0);
	b = start_break(r, NULL, R_ALL, 0);
	assert_true(lease_break_done(b));
	lease_break_end(b);
}

/* L6: a part that is recalled already is not recalled again, unless the time gets shorter or drain becomes stop (L10).
 */
static void a_second_break_says_only_what_is_new(void **state)
{
	struct rig *r = *state;
	struct lease_break_args stop = {.anchor = &r->file,
					.range = R(0, 8 * K),
					.modes = LEASE_ANY_MODE,
					.reason = LEASE_FOR_TRUNCATE,
					.kind = LEASE_STOP};
	struct lease_break *b1, *b2, *b3, *b4;

	grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	b1 = start_break(r, NULL, R(0, 16 * K), 0);
	assert_int_equal(r->a.n, 1);
	b2 = start_break(r, NULL, R(0, 16 * K), 0);
	assert_int_equal(r->a.n, 1);
	b3 = start_break(r, NULL, R(8 * K, 32 * K), D_NS / 2);
	assert_int_equal(r->a.n, 2);
	assert_range(r->a.notes[1].text.range, 8 * K, 32 * K);
	assert_int_equal(r->a.notes[1].text.deadline_ns, r->now_ns + D_NS / 2);
	assert_true(r->a.notes[1].text.seq > r->a.notes[0].text.seq);
	b4 = start_break_as(r, &stop);
	assert_int_equal(r->a.n, 3);
	assert_range(r->a.notes[2].text.range, 0, 8 * K);
	assert_int_equal(r->a.notes[2].text.kind, LEASE_STOP);
	assert_int_equal(r->a.notes[2].text.deadline_ns, r->now_ns + D_NS);

	forward(r, D_NS / 2); /* [8K, 32K) goes: b3 only */
	assert_true(lease_break_done(b3));
	assert_false(lease_break_done(b1));
	forward(r, D_NS / 2);
	assert_true(lease_break_done(b1));
	assert_true(lease_break_done(b2));
	assert_true(lease_break_done(b4));
	lease_break_end(b4);
	lease_break_end(b3);
	lease_break_end(b2);
	lease_break_end(b1);
}

/* L4, L11: a holder may give back part of what is recalled; the break waits for the rest, and only for that. */
static void a_partial_release_is_counted_exactly(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct lease_break *b1 = start_break(r, NULL, R(0, 32 * K), 0);
	struct lease_break *b2 = start_break(r, NULL, R(16 * K, 64 * K), 0);

	lease_release(r->a.session, la, R(20 * K, 24 * K));
	lease_release(r->a.session, la, R(0, 20 * K));
	assert_false(lease_break_done(b1));
	lease_release(r->a.session, la, R(24 * K, 40 * K));
	assert_true(lease_break_done(b1));
	assert_false(lease_break_done(b2));
	lease_release(r->a.session, la, R(39 * K, 64 * K));
	assert_true(lease_break_done(b2));
	assert_false(look(r, la, NULL));
	lease_break_end(b1);
	lease_break_end(b2);
}

/* L11: a number that is unknown, over, or another's counts as released, and changes nothing. */
static void releasing_what_one_does_not_hold_is_fine(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);

	assert_int_equal(lease_release(r->a.session, 0, R_ALL), 0);
	assert_int_equal(lease_release(r->a.session, la + (1 << 20), R_ALL), 0);
	assert_int_equal(lease_release(r->b.session, la, R_ALL), 0);
	assert_true(look(r, la, NULL));
	assert_int_equal(lease_release(r->a.session, la, R(K, 2 * K)), 0);
	assert_int_equal(lease_release(r->a.session, la, R(5, 5)), 0);
	assert_true(look(r, la, NULL));
	assert_int_equal(lease_release(r->a.session, la, R_ALL), 0);
	assert_int_equal(lease_release(r->a.session, la, R_ALL), 0);
	assert_false(look(r, la, NULL));
}

/* L9: a caller who does not wait finds nobody when it tries again; the gate opens by itself. */
static void a_detached_break_goes_on_and_opens_by_itself(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);

	lease_break_detach(start_break(r, &r->c, R(0, 32 * K), 0));
	assert_int_equal(try_grant(r, &r->b, R(0, K), LEASE_READ), -EAGAIN);
	/* Trying again in a loop piles up nothing: the gate still opens exactly when the first break is over. */
	for (int i = 0; i < 100; i++)
		lease_break_detach(start_break(r, &r->c, R(0, 32 * K), 0));
	assert_int_equal(r->a.n, 1);
	forward(r, D_NS);
	assert_int_equal(r->a.n, 2);
	assert_int_equal(lease_gate_wait(r->arbiter, &r->file, R(0, 32 * K), r->now_ns, NULL, 0), 0);
	grant(r, &r->b, 1, R(0, K), LEASE_READ);
	assert_true(look(r, la, NULL));
}

/* L9: detaching a break that is over already opens its gate at once. */
static void detaching_a_finished_break_opens_its_gate(void **state)
{
	struct rig *r = *state;

	lease_break_detach(start_break(r, NULL, R_ALL, 0));
	assert_false(lease_busy(&r->file));
}

/* L6: a break that is given up opens its gate; what was recalled stays under its deadline. */
static void a_break_given_up_leaves_its_recalls(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct lease_break *b = start_break(r, NULL, R(0, 32 * K), 0);
	struct lease_info info;

	lease_break_end(b);
	grant(r, &r->b, 1, R(0, 64 * K), LEASE_READ);
	forward(r, D_NS);
	assert_true(look(r, la, &info));
	assert_range(info.range, 32 * K, 64 * K);
	assert_int_equal(r->b.n, 0);
}

/* L16: one revoked lease costs its session nothing else. */
static void other_leases_of_the_session_survive_a_revocation(void **state)
{
	struct rig *r = *state;
	uint64_t lost = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	uint64_t kept = grant(r, &r->a, 1, R(K, 2 * K), LEASE_READ);
	struct lease_break *b = start_break(r, NULL, R(0, K), 0);

	forward(r, D_NS);
	lease_break_end(b);
	assert_false(look(r, lost, NULL));
	assert_true(look(r, kept, NULL));
	grant(r, &r->a, 1, R(0, K), LEASE_READ);
}

/* L24: the session or the handle closes while a break waits for it: the break goes on at once. */
static void closing_during_a_break_lets_it_go_on(void **state)
{
	struct rig *r = *state;
	struct lease_break *b;

	attach(r, grant(r, &r->a, 5, R(0, K), LEASE_READ), &r->pin[0]);
	attach(r, grant(r, &r->a, 6, R(0, K), LEASE_READ), &r->pin[1]);
	b = start_break(r, NULL, R_ALL, 0);
	lease_handle_close(r->a.session, 5);
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->pin[0].gone, 1);
	assert_int_equal(r->pin[1].drains, 0);
	assert_false(lease_break_done(b));
	lease_handle_close(r->a.session, 6);
	assert_int_equal(r->pin[1].gone, 1);
	assert_true(lease_break_done(b));
	lease_break_end(b);
}

/* L7: one break with many holders, each with more than one part, ends at one deadline. */
static void many_holders_end_at_one_deadline(void **state)
{
	struct rig *r = *state;
	struct lease_break *b;
	struct lease_stats stats;

	for (int i = 0; i < 8; i++) {
		grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
		lease_release(r->b.session, grant(r, &r->b, 1, R(0, 64 * K), LEASE_WRITE), R(8 * K, 16 * K));
		grant(r, &r->b, 1, R(i * K, 64 * K), LEASE_WRITE);
		if (i == 3)
			break; /* b is at its limit */
	}
	b = start_break(r, NULL, R(0, 64 * K), 0);
	assert_int_equal(r->a.n, 4);
	assert_int_equal(r->b.n, 8);
	forward(r, D_NS);
	assert_true(lease_break_done(b));
	lease_break_end(b);
	lease_stats_read(r->arbiter, &stats);
	assert_int_equal(stats.leases, 0);
	assert_int_equal(stats.breaks, 1);
	assert_int_equal(stats.breaks_waited, 1);
}

/* A notice may be answered from inside the callback. */
static void releasing_inside_the_recall_is_allowed(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	struct lease_break *b = start_break(r, NULL, R(0, K), 0);

	assert_int_equal(lease_release(r->a.session, r->a.notes[0].text.lease, r->a.notes[0].text.range), 0);
	assert_true(lease_break_done(b));
	assert_false(look(r, la, NULL));
	lease_break_end(b);
}

static void a_break_must_name_a_range_and_modes(void **state)
{
	struct rig *r = *state;
	struct lease_break_args args = {.anchor = &r->file, .range = R(1, 1), .modes = LEASE_ANY_MODE};
	struct lease_break *b;

	assert_int_equal(lease_break_start(r->arbiter, &args, &b), -EINVAL);
	args.range = R_ALL;
	args.modes = 0;
	assert_int_equal(lease_break_start(r->arbiter, &args, &b), -EINVAL);
	args.modes = 8;
	assert_int_equal(lease_break_start(r->arbiter, &args, &b), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_case(a_holder_that_releases_in_time_is_not_forced),
	    test_case(a_silent_holder_is_forced_at_the_deadline),
	    test_case(only_the_changed_range_is_recalled_and_lost),
	    test_case(a_lease_beside_the_range_hears_nothing),
	    test_case(the_caller_and_other_modes_are_spared),
	    test_case(the_gate_holds_from_start_to_end),
	    test_case(a_gate_on_an_unleased_file_leaves_no_trace),
	    test_case(the_smaller_deadline_counts),
	    test_case(no_time_means_at_once),
	    test_case(a_second_break_says_only_what_is_new),
	    test_case(a_partial_release_is_counted_exactly),
	    test_case(releasing_what_one_does_not_hold_is_fine),
	    test_case(a_detached_break_goes_on_and_opens_by_itself),
	    test_case(detaching_a_finished_break_opens_its_gate),
	    test_case(a_break_given_up_leaves_its_recalls),
	    test_case(other_leases_of_the_session_survive_a_revocation),
	    test_case(closing_during_a_break_lets_it_go_on),
	    test_case(many_holders_end_at_one_deadline),
	    test_case(releasing_inside_the_recall_is_allowed),
	    test_case(a_break_must_name_a_range_and_modes),
	};

	return cmocka_run_group_tests_name("lease: breaks", tests, NULL, NULL);
}
