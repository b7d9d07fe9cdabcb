/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L3, L5, L11, L13, L20, L24, L25, L26, L36: holding, pins, receipts, listing, revoking, the end. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

/* L20: many holders share a range, READ and WRITE alike. */
static void many_hold_one_range(void **state)
{
	struct rig *r = *state;

	grant(r, &r->a, 1, R(0, K), LEASE_READ);
	grant(r, &r->a, 1, R(0, K), LEASE_READ);
	grant(r, &r->b, 1, R(0, K), LEASE_WRITE);
	grant(r, &r->c, 1, R(0, K), LEASE_WRITE);
	assert_true(lease_conflicts(&r->file, R(0, 1), LEASE_WRITE, r->b.session));
	assert_false(lease_conflicts(&r->file, R(K, 2 * K), LEASE_ANY_MODE, NULL));
	lease_session_close(r->c.session);
	assert_false(lease_conflicts(&r->file, R(0, 1), LEASE_WRITE, r->b.session));
	assert_true(lease_conflicts(&r->file, R(0, 1), LEASE_READ, r->b.session));
	assert_false(lease_conflicts(&r->file, R(0, 1), LEASE_READ, r->a.session));
	assert_int_equal(lease_session_open(r->arbiter, &holder_ops, &r->c, NULL, &r->c.session), 0);
}

/* L3: a file whose last lease was released is quiet again, however often. */
static void a_file_is_quiet_after_its_last_lease(void **state)
{
	struct rig *r = *state;

	for (int i = 0; i < 100; i++) {
		uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);

		assert_true(lease_busy(&r->file));
		assert_int_equal(lease_release(r->a.session, la, R_ALL), 0);
		assert_false(lease_busy(&r->file));
	}
}

static void nonsense_is_refused(void **state)
{
	struct rig *r = *state;

	assert_int_equal(try_grant(r, &r->a, R(K, K), LEASE_READ), -EINVAL);
	assert_int_equal(try_grant(r, &r->a, R(K, 0), LEASE_READ), -EINVAL);
	assert_int_equal(try_grant(r, &r->a, R(0, K), (enum lease_mode)3), -EINVAL);
	assert_int_equal(try_grant(r, &r->a, R(0, K), (enum lease_mode)0), -EINVAL);
	assert_false(lease_busy(&r->file));
}

/* L18: a session's number of leases is limited; nothing is half granted; what ends makes room. */
static void a_session_over_its_limit_is_refused(void **state)
{
	struct rig *r = *state;
	uint64_t la = 0;

	for (int i = 0; i < 8; i++)
		la = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	assert_int_equal(try_grant(r, &r->a, R(0, K), LEASE_READ), -EDQUOT);
	grant(r, &r->b, 1, R(0, K), LEASE_READ);
	lease_release(r->a.session, la, R_ALL);
	grant(r, &r->a, 1, R(0, K), LEASE_READ);
}

/* L24: leases end with the close of their handle, and only those; pins are drained first. */
static void leases_end_with_their_handle(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	uint64_t lb = grant(r, &r->a, 2, R(0, K), LEASE_WRITE);

	attach(r, la, &r->pin[0]);
	lease_handle_close(r->a.session, 1);
	assert_false(look(r, la, NULL));
	assert_true(look(r, lb, NULL));
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->pin[0].gone, 1);
	lease_handle_close(r->a.session, 1);
	lease_handle_close(r->a.session, 99);
	assert_true(look(r, lb, NULL));
}

/* L13: no receipt while a pin is attached; each release drains its own part. */
static void no_receipt_while_a_pin_reaches_the_range(void **state)
{
	struct rig *r = *state;
	uint64_t la;

	assert_receipt(r, R_ALL, 0);
	la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	attach(r, la, &r->pin[0]);
	assert_receipt(r, R(0, K), -EBUSY);
	assert_receipt(r, R(64 * K, RANGE_MAX), 0);
	lease_release(r->a.session, la, R(0, 16 * K));
	assert_range(r->pin[0].last, 0, 16 * K);
	assert_receipt(r, R(0, 16 * K), 0);
	assert_receipt(r, R(0, 16 * K + 1), -EBUSY);
	lease_release(r->a.session, la, R_ALL);
	assert_int_equal(r->pin[0].drains, 2);
	assert_int_equal(r->pin[0].gone, 1);
	assert_receipt(r, R_ALL, 0);
}

/* I3: nor while a fresh lease could still get a pin for the blocks of now. */
static void no_receipt_while_a_pin_may_be_in_the_making(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);

	assert_receipt(r, R(0, K), -EBUSY);
	assert_int_equal(lease_own_drain(&r->file, R(0, K), r->a.session), 0);
	assert_receipt(r, R(0, K), 0);
	assert_int_equal(lease_pin_attach(r->arbiter, la, &fake_pin_ops, &r->pin[0], 1), -ESTALE);
}

/* I4: a pin is refused unless the lease is as it was granted. */
static void a_pin_needs_an_unchanged_lease(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	uint64_t lb = grant(r, &r->b, 1, R(0, 64 * K), LEASE_READ);
	struct lease_break *b = start_break(r, NULL, R(0, K), 0);

	assert_int_equal(lease_pin_attach(r->arbiter, la, &fake_pin_ops, &r->pin[0], 1), -ESTALE);
	lease_release(r->a.session, la, R(0, K));
	assert_int_equal(lease_pin_attach(r->arbiter, la, &fake_pin_ops, &r->pin[0], 1), -ESTALE);
	forward(r, D_NS);
	lease_break_end(b);
	assert_int_equal(lease_pin_attach(r->arbiter, lb, &fake_pin_ops, &r->pin[0], 1), -ESTALE);
	assert_int_equal(lease_pin_attach(r->arbiter, 12345, &fake_pin_ops, &r->pin[0], 1), -ESTALE);
	assert_int_equal(lease_pin_attach(r->arbiter, 0, &fake_pin_ops, &r->pin[0], 1), -ESTALE);
	assert_int_equal(r->pin[0].drains + r->pin[0].gone, 0);
}

struct placed {
	unsigned n;
	struct range last;
	void *pin;
	uint64_t lease;
	uint32_t seq;
};

static void place(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part, void *pin)
{
	struct placed *p = ctx;

	assert_int_equal(mode, LEASE_WRITE);
	p->n++;
	p->last = part;
	p->pin = pin;
	p->lease = lease;
	p->seq = seq;
}

/* L5: the caller's lease gets no notice; its pins leave the moving range and come back afterwards. */
static void own_pins_are_drained_and_placed_anew(void **state)
{
	struct rig *r = *state;
	struct placed placed = {0};
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_WRITE);
	uint64_t lb = grant(r, &r->b, 1, R(32 * K, 64 * K), LEASE_READ);
	struct lease_info info;

	attach(r, la, &r->pin[0]);
	attach(r, lb, &r->pin[1]);
	assert_int_equal(lease_own_drain(&r->file, R(16 * K, 40 * K), r->a.session), 0);
	assert_int_equal(r->pin[0].drains, 1);
	assert_range(r->pin[0].last, 16 * K, 40 * K);
	assert_int_equal(r->pin[1].drains, 0);
	assert_receipt(r, R(16 * K, 32 * K), 0);
	assert_receipt(r, R(16 * K, 40 * K), -EBUSY); /* the other's */
	assert_receipt(r, R(0, 17 * K), -EBUSY);
	assert_true(look(r, la, &info));
	assert_int_equal(info.state, LEASE_GRANTED);
	assert_true(info.seq > 1);

	assert_int_equal(lease_own_each(&r->file, R(16 * K, 40 * K), r->a.session, place, &placed), 0);
	assert_int_equal(placed.n, 1);
	assert_range(placed.last, 16 * K, 40 * K);
	assert_ptr_equal(placed.pin, &r->pin[0]);
	assert_int_equal(placed.lease, la);
	assert_true(placed.seq >= info.seq);
	assert_receipt(r, R(16 * K, 17 * K), -EBUSY);
	assert_int_equal(r->a.n + r->b.n, 0);
	assert_int_equal(r->pin[0].gone, 0);

	/* Cut and joined again: one release drains the whole in one go. */
	lease_release(r->a.session, la, R_ALL);
	assert_int_equal(r->pin[0].drains, 2);
	assert_range(r->pin[0].last, 0, 64 * K);
}

/* L5: moving a lease's blocks here and there, in any order, leaves it in one piece and fully pinned. */
static void moving_parts_in_any_order_leaves_one_lease(void **state)
{
	struct rig *r = *state;
	struct placed placed = {0};
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_WRITE);
	uint32_t dice = 1;

	attach(r, la, &r->pin[0]);
	for (int i = 0; i < 2000; i++) {
		uint64_t from, to;

		dice = dice * 1664525 + 1013904223;
		from = (dice >> 8) % 63;
		to = from + 1 + (dice >> 20) % (64 - from);
		if (i % 3 != 0) /* every third time only placed, as after an allocation into a hole */
			assert_int_equal(lease_own_drain(&r->file, R(from * K, to * K), r->a.session), 0);
		if (i % 5 != 0) /* and sometimes not placed, as after a punch */
			assert_int_equal(lease_own_each(&r->file, R(from * K, to * K), r->a.session, place, &placed),
					 0);
	}
	assert_int_equal(lease_own_each(&r->file, R_ALL, r->a.session, place, &placed), 0);
	r->pin[0].drains = 0;
	lease_release(r->a.session, la, R_ALL);
	assert_int_equal(r->pin[0].drains, 1);
	assert_range(r->pin[0].last, 0, 64 * K);
}

/* L5: pins that are not placed anew (the range was punched) stay away and do not block a later receipt. */
static void own_pins_may_stay_away(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_WRITE);

	attach(r, la, &r->pin[0]);
	for (uint64_t at = 0; at < 64 * K; at += K)
		assert_int_equal(lease_own_drain(&r->file, R(at, at + K), r->a.session), 0);
	assert_receipt(r, R_ALL, 0);
	assert_true(look(r, la, NULL));
	lease_release(r->a.session, la, R_ALL);
	assert_int_equal(r->pin[0].drains, 64 + 1);
	assert_int_equal(r->pin[0].gone, 1);
}

/* L7, L5: another's break and the owner's own change may overlap: the recall stays, the rest is drained once more. */
static void own_drain_during_another_break(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_WRITE);
	struct lease_break *b;

	attach(r, la, &r->pin[0]);
	b = start_break(r, &r->c, R(0, 32 * K), 0);
	assert_int_equal(lease_own_drain(&r->file, R(16 * K, 48 * K), r->a.session), 0);
	assert_false(lease_break_done(b));
	assert_receipt(r, R(16 * K, 48 * K), 0);
	forward(r, D_NS);
	assert_true(lease_break_done(b));
	assert_int_equal(r->pin[0].gone, 0);
	lease_break_end(b);
	lease_release(r->a.session, la, R_ALL);
	assert_int_equal(r->pin[0].gone, 1);
}

/* L11: seq rises with every change, so that of two messages the later one is known. */
static void seq_rises_with_every_change(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	uint32_t last = 1;
	struct lease_info info;
	struct lease_break *b;

	lease_release(r->a.session, la, R(0, K));
	assert_true(look(r, la, &info));
	assert_true(info.seq > last);
	last = info.seq;
	b = start_break(r, NULL, R(0, 2 * K), 0);
	assert_true(r->a.notes[0].text.seq > last);
	last = r->a.notes[0].text.seq;
	forward(r, D_NS);
	assert_true(r->a.notes[1].text.seq > last);
	lease_break_end(b);
}

/* L4: one notice for a lease that has many parts in the range. */
static void one_notice_for_a_lease_with_holes(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct lease_break *b;

	lease_release(r->a.session, la, R(8 * K, 16 * K));
	lease_release(r->a.session, la, R(24 * K, 32 * K));
	b = start_break(r, NULL, R(4 * K, 48 * K), 0);
	assert_int_equal(r->a.n, 1);
	assert_range(r->a.notes[0].text.range, 4 * K, 48 * K);
	lease_release(r->a.session, la, r->a.notes[0].text.range);
	assert_true(lease_break_done(b));
	lease_break_end(b);
}

/* L26: listings by file and by session say who, what, how long and what is pinned. */
static void listings_tell_who_holds_what(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 7, R(0, 64 * K), LEASE_WRITE);
	struct lease_info info;

	attach(r, la, &r->pin[0]);
	r->now_ns += 5;
	assert_true(look(r, la, &info));
	assert_int_equal(info.object, 77);
	assert_int_equal(info.handle, 7);
	assert_int_equal(info.session, lease_session_id(r->a.session));
	assert_int_equal(info.who.uid, 1001);
	assert_string_equal(info.who.host, "test");
	assert_int_equal(info.mode, LEASE_WRITE);
	assert_int_equal(info.pinned_bytes, 64 * K);
	assert_int_equal(info.bytes, 64 * K);
	assert_int_equal(info.age_ns, 5);
	assert_int_equal(info.recall_left_ns, 0);
}

static void count_info(void *ctx, const struct lease_info *info)
{
	unsigned *n = ctx;

	(*n)++;
}

static unsigned listed(struct rig *r, uint64_t object, uint64_t session)
{
	unsigned n = 0;

	assert_int_equal(lease_list(r->arbiter, object, session, count_info, &n), 0);
	return n;
}

static void listings_filter(void **state)
{
	struct rig *r = *state;

	grant(r, &r->a, 1, R(0, K), LEASE_READ);
	grant(r, &r->a, 1, R(0, K), LEASE_READ);
	grant(r, &r->b, 1, R(0, K), LEASE_READ);
	assert_int_equal(listed(r, 0, 0), 3);
	assert_int_equal(listed(r, 77, 0), 3);
	assert_int_equal(listed(r, 78, 0), 0);
	assert_int_equal(listed(r, 0, lease_session_id(r->a.session)), 2);
	assert_int_equal(listed(r, 77, lease_session_id(r->c.session)), 0);
}

/* L26: an administrator revokes by lease, file, session or uid, at once and without the holder's help. */
static void an_administrator_revokes_by_any_filter(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);

	attach(r, la, &r->pin[0]);
	grant(r, &r->a, 1, R(0, K), LEASE_READ);
	grant(r, &r->b, 1, R(0, K), LEASE_READ);
	grant(r, &r->c, 1, R(0, K), LEASE_READ);
	assert_int_equal(lease_revoke(r->arbiter, la, 0, 0, UINT32_MAX, "test"), 1);
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->pin[0].gone, 1);
	assert_int_equal(r->a.n, 1);
	assert_true(r->a.notes[0].revoked);
	assert_int_equal(r->a.notes[0].text.reason, LEASE_FOR_ADMIN);
	assert_int_equal(lease_revoke(r->arbiter, la, 0, 0, UINT32_MAX, "test"), 0);
	assert_int_equal(lease_revoke(r->arbiter, 0, 78, 0, UINT32_MAX, "test"), 0);
	assert_int_equal(lease_revoke(r->arbiter, 0, 0, 0, 1002, "test"), 1);
	assert_int_equal(r->b.n, 1);
	assert_int_equal(lease_revoke(r->arbiter, 0, 0, lease_session_id(r->c.session), UINT32_MAX, NULL), 1);
	assert_int_equal(lease_revoke(r->arbiter, 0, 77, 0, UINT32_MAX, "test"), 1);
	assert_false(lease_busy(&r->file));
}

/* L36: after unmount nothing is held and nothing is granted; whoever had notice and did not answer was forced. */
static void after_unmount_nothing_is_held_or_granted(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);

	attach(r, la, &r->pin[0]);
	lease_unmount(r->arbiter, 0);
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->pin[0].gone, 1);
	assert_true(r->a.notes[0].revoked);
	assert_int_equal(r->a.notes[0].text.reason, LEASE_FOR_UNMOUNT);
	assert_false(lease_busy(&r->file));
	assert_int_equal(try_grant(r, &r->a, R(0, K), LEASE_READ), -ESHUTDOWN);
	assert_false(lease_busy(&r->file));
	lease_unmount(r->arbiter, 0);
}

/* L26: the trace tells grant, recall, release, revoke and break, in order, and how long each took. */
static void the_trace_tells_what_happened(void **state)
{
	static const enum lease_event want[] = {LEASE_EV_GRANT,   LEASE_EV_GRANT,  LEASE_EV_RECALL, LEASE_EV_RECALL,
						LEASE_EV_RELEASE, LEASE_EV_REVOKE, LEASE_EV_BREAK};
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	uint64_t lb = grant(r, &r->b, 1, R(0, K), LEASE_WRITE);
	struct lease_break *b = start_break(r, &r->c, R(0, K), 0);
	struct lease_trace got[16];
	uint64_t cursor = 0;

	r->now_ns += 3;
	lease_release(r->a.session, la, R_ALL);
	forward(r, D_NS);
	lease_break_end(b);
	/* In two bites. */
	assert_int_equal(lease_trace_read(r->arbiter, &cursor, got, 2), 2);
	assert_int_equal(lease_trace_read(r->arbiter, &cursor, got + 2, 14), 5);
	assert_int_equal(lease_trace_read(r->arbiter, &cursor, got, 16), 0);
	for (unsigned i = 0; i < 7; i++) {
		/* Both notices leave at the same moment, in either order; so do the revocation and the break's end. */
		assert_int_equal(got[i].event, want[i]);
		assert_int_equal(got[i].object, 77);
		assert_range(got[i].range, 0, K);
	}
	assert_int_equal(got[4].took_ns, 3);
	assert_int_equal(got[4].lease, la);
	assert_int_equal(got[5].took_ns, D_NS + 3);
	assert_int_equal(got[5].lease, lb);
	assert_int_equal(got[5].mode, LEASE_WRITE);
	assert_int_equal(got[6].session, lease_session_id(r->c.session));
	assert_int_equal(got[6].reason, LEASE_FOR_RELOCATE);
}

/* The ring keeps the last LEASE_TRACE_MAX events; a slow reader skips what fell out. */
static void a_slow_reader_of_the_trace_skips(void **state)
{
	struct rig *r = *state;
	static struct lease_trace got[256];
	uint64_t cursor = 0, before = 0;
	unsigned n, total = 0;

	for (unsigned i = 0; i < LEASE_TRACE_MAX; i++) {
		r->now_ns++;
		lease_release(r->a.session, grant(r, &r->a, 1, R(0, K), LEASE_READ), R_ALL);
	}
	for (n = lease_trace_read(r->arbiter, &cursor, got, 256); n;
	     n = lease_trace_read(r->arbiter, &cursor, got, 256)) {
		for (unsigned i = 0; i < n; i++) {
			assert_true(got[i].at_ns >= before);
			before = got[i].at_ns;
		}
		total += n;
	}
	assert_int_equal(total, LEASE_TRACE_MAX);
	assert_int_equal(before, r->now_ns);
}

/* The totals add up. */
static void the_totals_add_up(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	struct lease_stats s;

	grant(r, &r->b, 1, R(0, K), LEASE_READ);
	attach(r, la, &r->pin[0]);
	lease_stats_read(r->arbiter, &s);
	assert_int_equal(s.leases, 2);
	assert_int_equal(s.sessions, 3);
	assert_int_equal(s.pinned_bytes, K);
	lease_break_detach(start_break(r, NULL, R_ALL, 0));
	lease_release(r->a.session, la, R_ALL);
	forward(r, D_NS);
	lease_stats_read(r->arbiter, &s);
	assert_int_equal(s.grants, 2);
	assert_int_equal(s.recalls, 2);
	assert_int_equal(s.releases, 1);
	assert_int_equal(s.released_in_time, 1);
	assert_int_equal(s.forced, 1);
	assert_int_equal(s.leases, 0);
	assert_int_equal(s.pinned_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_case(many_hold_one_range),
	    test_case(a_file_is_quiet_after_its_last_lease),
	    test_case(nonsense_is_refused),
	    test_case(a_session_over_its_limit_is_refused),
	    test_case(leases_end_with_their_handle),
	    test_case(no_receipt_while_a_pin_reaches_the_range),
	    test_case(no_receipt_while_a_pin_may_be_in_the_making),
	    test_case(a_pin_needs_an_unchanged_lease),
	    test_case(own_pins_are_drained_and_placed_anew),
	    test_case(moving_parts_in_any_order_leaves_one_lease),
	    test_case(own_pins_may_stay_away),
	    test_case(own_drain_during_another_break),
	    test_case(seq_rises_with_every_change),
	    test_case(one_notice_for_a_lease_with_holes),
	    test_case(listings_tell_who_holds_what),
	    test_case(listings_filter),
	    test_case(an_administrator_revokes_by_any_filter),
	    test_case(after_unmount_nothing_is_held_or_granted),
	    test_case(the_trace_tells_what_happened),
	    test_case(a_slow_reader_of_the_trace_skips),
	    test_case(the_totals_add_up),
	};

	return cmocka_run_group_tests_name("lease: holding", tests, NULL, NULL);
}
