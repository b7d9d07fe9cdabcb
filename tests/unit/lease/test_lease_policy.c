/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L22 EXCLUSIVE denies others' changes at once and the holder's own, for its age and no longer, and is taken by
 * who may; L23 a change of mode is whole or fails; L33 a faulting lease hears of no move; L26 the last recall and the
 * kind of pin are told.
 */
#include "rig.h"

#include <string.h>

#define AGE_NS     (5 * NS_PER_SEC)
#define AGE_MAX_NS (60 * NS_PER_SEC) /* the arbiter's default */

static int try_break(struct rig *r, const struct holder *owner, struct range range, unsigned modes,
		     struct lease_break **out)
{
	struct lease_break_args args = {.anchor = &r->file,
					.range = range,
					.modes = modes,
					.reason = LEASE_FOR_TRUNCATE,
					.kind = LEASE_STOP,
					.owner = owner ? owner->session : NULL};

	return lease_break_start(r->arbiter, &args, out);
}

/* It must be possible. */
static struct lease_break *start_modes(struct rig *r, const struct holder *owner, struct range range, unsigned modes)
{
	struct lease_break *b = NULL;

	assert_int_equal(try_break(r, owner, range, modes, &b), 0);
	return b;
}

static uint64_t grant_as(struct rig *r, struct holder *h, struct range range, struct lease_grant_args args)
{
	struct lease_grant got = {0};

	args.anchor = &r->file;
	args.session = h->session;
	args.handle = 1;
	args.range = range;
	assert_int_equal(lease_grant(r->arbiter, &args, &got), 0);
	return got.lease;
}

static uint64_t grant_exclusive(struct rig *r, struct holder *h, struct range range, enum lease_mode mode,
				uint64_t age_ns)
{
	return grant_as(r, h, range, (struct lease_grant_args){.mode = mode, .exclusive = true, .max_age_ns = age_ns});
}

static int change(struct holder *h, uint64_t lease, enum lease_mode mode, bool exclusive, uint32_t *seq)
{
	struct lease_change_args args = {.mode = mode, .exclusive = exclusive};
	struct lease_grant got = {0};
	int err = lease_change(h->session, lease, &args, &got);

	if (!err)
		assert_int_equal(got.lease, lease);
	if (seq)
		*seq = got.seq;
	return err;
}

/* L22: others get -ETXTBSY, the holder -EDEADLK; nobody is recalled, no gate is left, and other ranges are free. */
static void an_exclusive_lease_denies_changes_at_once(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant_exclusive(r, &r->a, R(0, 16 * K), LEASE_READ, 0);
	struct lease_break *b = NULL;

	grant(r, &r->b, 1, R(0, 64 * K), LEASE_READ);
	assert_int_equal(try_break(r, &r->c, R(8 * K, 32 * K), LEASE_ANY_MODE, &b), -ETXTBSY);
	assert_int_equal(try_break(r, NULL, R(8 * K, 32 * K), LEASE_ANY_MODE, &b), -ETXTBSY);
	assert_int_equal(try_break(r, &r->a, R(8 * K, 32 * K), LEASE_ANY_MODE, &b), -EDEADLK);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, r->c.session), -ETXTBSY);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, r->a.session), -EDEADLK);
	assert_int_equal(r->a.n + r->b.n, 0);
	assert_int_equal(try_grant(r, &r->c, R_ALL, LEASE_WRITE), 0);

	assert_int_equal(lease_conflicts(&r->file, R(16 * K, 32 * K), LEASE_ANY_MODE, r->c.session), 1);
	lease_break_end(start_modes(r, &r->c, R(16 * K, 32 * K), LEASE_ANY_MODE));
	lease_release(r->a.session, lease, R_ALL);
	lease_break_end(start_modes(r, &r->c, R(0, 16 * K), LEASE_ANY_MODE));
}

/* L22: what does not take the lease's mode is not denied (a clone of what an exclusive reader reads). */
static void an_exclusive_reader_minds_no_clone(void **state)
{
	struct rig *r = *state;

	grant_exclusive(r, &r->a, R(0, K), LEASE_READ, 0);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_WRITE, r->b.session), 0);
	lease_break_end(start_modes(r, &r->b, R_ALL, LEASE_WRITE));
	assert_int_equal(r->a.n, 0);
}

/* L22: relocation for failing memory and the administrator override it. */
static void who_may_takes_an_exclusive_lease(void **state)
{
	struct rig *r = *state;
	uint64_t one = grant_exclusive(r, &r->a, R(0, K), LEASE_READ, 0);
	uint64_t two = grant_exclusive(r, &r->a, R(K, 2 * K), LEASE_READ, 0);
	struct lease_break *b;

	assert_int_equal(lease_conflicts(&r->file, R(0, K), LEASE_ANY_MODE | LEASE_EXCLUSIVE, r->b.session), 1);
	b = start_modes(r, &r->b, R(0, K), LEASE_ANY_MODE | LEASE_EXCLUSIVE);
	assert_int_equal(r->a.n, 1);
	assert_int_equal(r->a.notes[0].text.lease, one);
	/* While it is being taken it still denies: its holder has not let go. */
	assert_int_equal(lease_conflicts(&r->file, R(0, K), LEASE_ANY_MODE, r->c.session), -ETXTBSY);
	forward(r, D_NS);
	assert_true(lease_break_done(b));
	lease_break_end(b);
	assert_false(look(r, one, NULL));
	assert_int_equal(lease_revoke(r->arbiter, two, 0, 0, UINT32_MAX, "test"), 1);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, NULL), 0);
}

/* L22: with its age over it is an ordinary lease: recalled, not denied. By the clock alone. */
static void its_age_ends_the_denial(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant_exclusive(r, &r->a, R(0, K), LEASE_WRITE, AGE_NS);
	struct lease_break *b = NULL;
	struct lease_info info;

	assert_true(look(r, lease, &info));
	assert_true(info.exclusive);
	assert_int_equal(info.exclusive_left_ns, AGE_NS);
	r->now_ns += AGE_NS - 1;
	assert_int_equal(try_break(r, NULL, R_ALL, LEASE_ANY_MODE, &b), -ETXTBSY);
	r->now_ns += 1;
	assert_true(look(r, lease, &info));
	assert_true(info.exclusive);
	assert_int_equal(info.exclusive_left_ns, 0);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, NULL), 1);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, r->a.session), 0);
	b = start_modes(r, NULL, R_ALL, LEASE_ANY_MODE);
	assert_int_equal(r->a.n, 1);
	forward(r, D_NS);
	assert_true(lease_break_done(b));
	lease_break_end(b);
}

/* L22: nobody denies for longer than the pool's maximum, whatever he asks for, and by no change of mode. */
static void no_age_is_longer_than_the_maximum(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant_exclusive(r, &r->a, R(0, K), LEASE_READ, UINT64_MAX);
	struct lease_info info;

	assert_true(look(r, lease, &info));
	assert_int_equal(info.exclusive_left_ns, AGE_MAX_NS);
	r->now_ns += AGE_MAX_NS / 2;
	assert_int_equal(change(&r->a, lease, LEASE_READ, false, NULL), 0);
	assert_true(look(r, lease, &info));
	assert_false(info.exclusive);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, NULL), 1);
	assert_int_equal(change(&r->a, lease, LEASE_READ, true, NULL), 0);
	assert_true(look(r, lease, &info));
	assert_int_equal(info.exclusive_left_ns, AGE_MAX_NS / 2);
	r->now_ns += AGE_MAX_NS / 2;
	assert_int_equal(change(&r->a, lease, LEASE_READ, true, NULL), -ETIMEDOUT);
	assert_int_equal(change(&r->a, lease, LEASE_WRITE, false, NULL), 0);
}

/* L22: a break that was under way when the age ended, and one from before the denial, both end; counts stay exact. */
static void a_break_over_the_end_of_the_age_is_counted_exactly(void **state)
{
	struct rig *r = *state;
	struct lease_break *b, *c;

	grant_exclusive(r, &r->a, R(0, K), LEASE_READ, D_NS / 2);
	grant(r, &r->b, 1, R(0, K), LEASE_WRITE);
	b = start_modes(r, NULL, R_ALL, LEASE_ANY_MODE | LEASE_EXCLUSIVE);
	c = start_modes(r, NULL, R_ALL, LEASE_WRITE);
	forward(r, D_NS / 2);
	lease_release(r->b.session, r->b.notes[0].text.lease, R_ALL);
	assert_true(lease_break_done(c));
	assert_false(lease_break_done(b));
	forward(r, D_NS / 2);
	assert_true(lease_break_done(b));
	lease_break_end(c);
	lease_break_end(b);
}

/* L23: the new mode counts at once, and seq rises. */
static void a_change_of_mode_counts_at_once(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	struct lease_info info;
	uint32_t seq;

	attach(r, lease, &r->pin[0]);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_WRITE, NULL), 0);
	assert_int_equal(change(&r->a, lease, LEASE_WRITE, false, &seq), 0);
	assert_int_equal(seq, 2);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_WRITE, NULL), 1);
	assert_int_equal(change(&r->a, lease, LEASE_READ, true, &seq), 0);
	assert_int_equal(seq, 3);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_WRITE, NULL), 0);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_READ, NULL), -ETXTBSY);
	assert_true(look(r, lease, &info));
	assert_int_equal(info.mode, LEASE_READ);
	assert_int_equal(info.seq, 3);
	assert_int_equal(info.pins, 1);
	assert_int_equal(lease_change(r->a.session, lease, &(struct lease_change_args){.mode = 0}, NULL), -EINVAL);
	lease_release(r->a.session, lease, R_ALL);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_READ, NULL), 0);
}

/* L23: after any part was recalled, given back or revoked there is nothing to change; its own moves do not count. */
static void a_broken_lease_cannot_be_changed(void **state)
{
	struct rig *r = *state;
	uint64_t recalled = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	uint64_t cut = grant(r, &r->a, 1, R(K, 4 * K), LEASE_READ);
	uint64_t moved = grant(r, &r->a, 1, R(8 * K, 16 * K), LEASE_READ);
	uint64_t gone = grant(r, &r->a, 1, R(32 * K, 33 * K), LEASE_READ);
	struct lease_info info;

	lease_break_end(start_break(r, &r->c, R(0, K), 0));
	assert_int_equal(change(&r->a, recalled, LEASE_WRITE, false, NULL), -ESTALE);
	assert_true(look(r, recalled, &info));
	assert_int_equal(info.mode, LEASE_READ);
	assert_int_equal(lease_release(r->a.session, cut, R(2 * K, 3 * K)), 0);
	assert_int_equal(change(&r->a, cut, LEASE_WRITE, true, NULL), -ESTALE);
	attach(r, moved, &r->pin[0]);
	assert_int_equal(lease_own_drain(&r->file, R(8 * K, 12 * K), r->a.session), 0);
	assert_int_equal(change(&r->a, moved, LEASE_WRITE, false, NULL), 0);
	assert_int_equal(lease_revoke(r->arbiter, gone, 0, 0, UINT32_MAX, "test"), 1);
	assert_int_equal(change(&r->a, gone, LEASE_WRITE, false, NULL), -ESTALE);
	assert_int_equal(change(&r->b, moved, LEASE_WRITE, false, NULL), -ESTALE);
}

/* L23, I6: inside a gate nothing changes, not even what the break leaves alone: it counts by mode. */
static void a_gate_lets_no_change_in(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	struct lease_break *b = start_modes(r, NULL, R_ALL, LEASE_WRITE);

	assert_true(lease_break_done(b));
	assert_int_equal(change(&r->a, lease, LEASE_WRITE, false, NULL), -EAGAIN);
	assert_int_equal(change(&r->a, lease, LEASE_READ, true, NULL), -EAGAIN);
	lease_break_end(b);
	assert_int_equal(change(&r->a, lease, LEASE_WRITE, true, NULL), 0);
}

/* L33: moves pass a faulting lease by; it stops no receipt and its own pins are left alone. */
static void a_faulting_lease_hears_of_no_move(void **state)
{
	struct rig *r = *state;
	uint64_t lease = grant_as(r, &r->a, R(0, K), (struct lease_grant_args){.mode = LEASE_READ, .faulting = true});
	struct lease_stats stats;
	struct lease_info info;

	attach(r, lease, &r->pin[0]);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, NULL), 0);
	lease_break_end(start_modes(r, NULL, R_ALL, LEASE_ANY_MODE));
	assert_int_equal(lease_own_drain(&r->file, R_ALL, r->a.session), 0);
	assert_receipt(r, R_ALL, 0);
	assert_int_equal(r->a.n, 0);
	assert_int_equal(r->pin[0].drains, 0);
	assert_true(look(r, lease, &info));
	assert_true(info.faulting);
	assert_int_equal(info.seq, 1);
	assert_int_equal(info.pins, 1);
	assert_int_equal(info.pinned_bytes, 0);
	lease_stats_read(r->arbiter, &stats);
	assert_int_equal(stats.pinned_bytes, 0);
}

static void note_place(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part, void *pin)
{
	struct fake_pin *p = pin;

	assert_int_equal(mode, LEASE_WRITE);
	assert_int_equal(p->gone, 0);
	assert_range(part, 0, K);
	*(uint64_t *)ctx = lease;
}

/* L23, L33: the pins of the one lease that changes are drained and placed anew, of a faulting one too; others' are not.
 */
static void a_change_moves_the_pins_of_that_lease_only(void **state)
{
	struct rig *r = *state;
	struct lease_grant_args faulting = {.mode = LEASE_READ, .faulting = true};
	uint64_t lease = grant_as(r, &r->a, R(0, K), faulting);
	uint64_t other = grant(r, &r->a, 1, R(0, K), LEASE_READ);
	uint64_t placed = 0;

	attach(r, lease, &r->pin[0]);
	attach(r, other, &r->pin[1]);
	assert_int_equal(lease_change_drain(&r->file, r->a.session, lease), 0);
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->pin[1].drains, 0);
	assert_int_equal(change(&r->a, lease, LEASE_WRITE, false, NULL), 0);
	assert_int_equal(lease_change_place(&r->file, r->a.session, lease, note_place, &placed), 0);
	assert_int_equal(placed, lease);
	assert_int_equal(lease_change_drain(&r->file, r->a.session, 12345), 0);
}

/* L33: what concerns it takes it: a break that says so, an administrator, the close. It is drained like any other. */
static void what_concerns_a_faulting_lease_takes_it(void **state)
{
	struct rig *r = *state;
	struct lease_grant_args args = {.mode = LEASE_READ, .faulting = true};
	uint64_t one = grant_as(r, &r->a, R(0, K), args);
	uint64_t two = grant_as(r, &r->a, R(K, 2 * K), args);
	struct lease_break *b;

	attach(r, one, &r->pin[0]);
	attach(r, two, &r->pin[1]);
	assert_int_equal(lease_conflicts(&r->file, R(0, K), LEASE_ANY_MODE | LEASE_FAULTING, NULL), 1);
	b = start_modes(r, NULL, R(0, K), LEASE_ANY_MODE | LEASE_FAULTING);
	assert_int_equal(r->a.n, 1);
	forward(r, D_NS);
	assert_true(lease_break_done(b));
	assert_int_equal(r->pin[0].drains, 1);
	assert_int_equal(r->pin[0].gone, 1);
	lease_break_end(b);
	assert_int_equal(lease_revoke(r->arbiter, two, 0, 0, UINT32_MAX, "test"), 1);
	assert_int_equal(r->pin[1].drains, 1);
	args.exclusive = true;
	grant_as(r, &r->a, R(0, K), args);
	assert_int_equal(lease_conflicts(&r->file, R_ALL, LEASE_ANY_MODE, NULL), -ETXTBSY);
	lease_unmount(r->arbiter, 0);
	assert_false(lease_busy(&r->file));
}

/* L26: when and why it was recalled last, and through what a device reaches it. */
static void the_last_recall_and_the_pin_are_told(void **state)
{
	struct rig *r = *state;
	static struct lease_pin_ops ops;
	uint64_t lease = grant(r, &r->a, 1, R(0, 16 * K), LEASE_READ);
	uint64_t other = grant(r, &r->b, 1, R(32 * K, 64 * K), LEASE_READ);
	struct lease_info info;

	assert_true(look(r, lease, &info));
	assert_string_equal(info.pin, "");
	assert_int_equal(info.pins, 0);
	assert_int_equal(info.recalled_ns, UINT64_MAX);
	ops = fake_pin_ops;
	ops.name = "mapping";
	assert_int_equal(lease_pin_attach(r->arbiter, lease, &ops, &r->pin[1], K), 0);
	attach(r, lease, &r->pin[0]);
	attach(r, other, &r->pin[2]);
	assert_true(look(r, other, &info));
	assert_string_equal(info.pin, "pin");
	r->now_ns += 3 * NS_PER_SEC;
	lease_break_end(start_modes(r, NULL, R(0, K), LEASE_ANY_MODE));
	r->now_ns += NS_PER_SEC / 2;
	assert_true(look(r, lease, &info));
	assert_string_equal(info.pin, "mapping");
	assert_int_equal(info.pins, 2);
	assert_int_equal(info.recalled_ns, NS_PER_SEC / 2);
	assert_int_equal(info.last_reason, LEASE_FOR_TRUNCATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_case(an_exclusive_lease_denies_changes_at_once),
	    test_case(an_exclusive_reader_minds_no_clone),
	    test_case(who_may_takes_an_exclusive_lease),
	    test_case(its_age_ends_the_denial),
	    test_case(no_age_is_longer_than_the_maximum),
	    test_case(a_break_over_the_end_of_the_age_is_counted_exactly),
	    test_case(a_change_of_mode_counts_at_once),
	    test_case(a_broken_lease_cannot_be_changed),
	    test_case(a_gate_lets_no_change_in),
	    test_case(a_faulting_lease_hears_of_no_move),
	    test_case(a_change_moves_the_pins_of_that_lease_only),
	    test_case(what_concerns_a_faulting_lease_takes_it),
	    test_case(the_last_recall_and_the_pin_are_told),
	};

	return cmocka_run_group_tests_name("lease: exclusive, change, faulting", tests, NULL, NULL);
}
