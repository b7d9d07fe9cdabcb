/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: the wire of L22, L23 and of interrupted waits: EXCLUSIVE in LEASE_GET, LEASE_CHANGE (P66), CANCEL (P65), and
 * that a session which ends waits for nothing any more (P39).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fixture.h"

#define WAITING 12u

/* Another session with the fixture's file open. */
struct peer {
	struct raw *r;
	uint64_t h;
};

static struct peer peer_open(struct fixture *f)
{
	struct peer p = {.r = raw_open(f->rig.address)};

	assert_int_equal(raw_file_open(p.r, "/f", PROTO_O_READ | PROTO_O_WRITE, &p.h), 0);
	return p;
}

static int lease_as(struct raw *r, uint64_t handle, unsigned mode, uint32_t flags, uint64_t max_age_ns)
{
	union proto_body b = {
	    .lease_get = {
		.handle = handle, .range = {0, 16 * BLOCK}, .mode = mode, .flags = flags, .max_age_ns = max_age_ns}};

	return raw_call(r, PROTO_LEASE_GET, 0, &b);
}

static int change(struct raw *r, uint64_t lease, unsigned mode, uint32_t flags)
{
	union proto_body b = {.lease_change = {.lease = lease, .mode = mode, .flags = flags}};

	return raw_call(r, PROTO_LEASE_CHANGE, 0, &b);
}

static uint64_t send_truncate(const struct peer *p)
{
	union proto_body b = {.file_truncate = {.handle = p->h}};

	return raw_send(p->r, PROTO_FILE_TRUNCATE, 0, &b);
}

static uint64_t send_cancel(struct raw *r, uint64_t request)
{
	union proto_body b = {.cancel = {.request = request}};

	return raw_send(r, PROTO_CANCEL, 0, &b);
}

/* Reads until there were so many answers; the status of each by its sequence. */
static void collect(struct raw *r, unsigned count, int *status, uint64_t max)
{
	while (count > 0) {
		assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
		if (!(r->h.flags & PROTO_REPLY))
			continue;
		assert_true(r->h.seq < max);
		status[r->h.seq] = -(int)r->h.status;
		count--;
	}
}

/* L22: EXCLUSIVE is granted with its time, others get ETXTBSY, the holder EDEADLK; RECLAIM needs it. */
static void exclusive_is_asked_for_and_told(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	uint64_t lease;

	assert_int_equal(lease_as(f->r, f->h, PROTO_READ, PROTO_LEASE_RECLAIM, 0), -EINVAL);
	assert_int_equal(lease_as(f->r, f->h, PROTO_READ, PROTO_LEASE_EXCLUSIVE, 20 * NS_PER_SEC), 0);
	lease = f->r->body.lease_granted.lease;
	assert_int_equal(f->r->body.lease_granted.flags, PROTO_LEASE_EXCLUSIVE);
	assert_in_range(f->r->body.lease_granted.exclusive_left_ns, 1, 20 * NS_PER_SEC);
	assert_int_equal(raw_truncate(p.r, p.h, 0), -ETXTBSY);
	assert_int_equal(raw_truncate(f->r, f->h, 0), -EDEADLK);
	assert_int_equal(raw_release(f->r, lease, 0, UINT64_MAX), 0);
	assert_int_equal(raw_truncate(p.r, p.h, 0), 0);
	raw_close(p.r);
}

/* P66, P43: the new keys come before the answer, which has none; the old ones are not among them. */
static void a_change_tells_new_keys_before_its_answer(void **state)
{
	struct fixture *f = *state;
	const struct proto_lease_granted *g = &f->r->body.lease_granted;
	struct raw_event granted, e;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &granted), 0);
	assert_int_equal(change(f->r, granted.lease, PROTO_WRITE, PROTO_LEASE_EXCLUSIVE), 0);
	assert_int_equal(g->lease, granted.lease);
	assert_int_equal(g->mode, PROTO_WRITE);
	assert_int_equal(g->flags, PROTO_LEASE_EXCLUSIVE);
	assert_true(g->exclusive_left_ns > 0);
	assert_true(g->seq > granted.seq);
	assert_int_equal(g->runs.count, 0);
	assert_true(raw_event(f->r, PROTO_LAYOUT, 0, &e));
	assert_true(e.before_reply);
	assert_int_equal(e.lease, granted.lease);
	assert_int_equal(e.range.off, 0);
	assert_int_equal(e.range.len, 16 * BLOCK);
	assert_true(e.run_count > 0 && e.run.key != granted.run.key);
	assert_int_equal(change(f->r, granted.lease, PROTO_WRITE, 0), 0);
	assert_int_equal(g->exclusive_left_ns, 0);
	assert_false(raw_event(f->r, PROTO_LAYOUT, 0, &e)); /* nothing moved */
}

/* P66: of another's lease, of none, and of one that was broken: ESTALE. */
static void what_is_not_held_whole_cannot_be_changed(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct raw_event g;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	assert_int_equal(change(p.r, g.lease, PROTO_WRITE, 0), -ESTALE);
	assert_int_equal(change(f->r, 0, PROTO_WRITE, 0), -ESTALE);
	assert_int_equal(change(f->r, UINT64_MAX, PROTO_WRITE, 0), -ESTALE);
	assert_int_equal(raw_release(f->r, g.lease, BLOCK, BLOCK), 0);
	assert_int_equal(change(f->r, g.lease, PROTO_WRITE, 0), -ESTALE);
	raw_close(p.r);
}

/* P65: all that was sent before the CANCEL, whether it waits already, is queued, or was not looked at; nothing later.
 */
static void cancel_of_all_is_exact(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	int status[64] = {0};
	uint64_t first, cancel, later;
	struct raw_event g;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	first = send_truncate(&p);
	for (unsigned i = 1; i < WAITING; i++)
		send_truncate(&p);
	cancel = send_cancel(p.r, 0);
	later = send_truncate(&p);
	collect(p.r, WAITING + 1, status, 64);
	assert_int_equal(status[cancel], 0);
	for (uint64_t n = first; n < cancel; n++)
		assert_int_equal(status[n], -EINTR);
	assert_int_equal(raw_release(f->r, g.lease, 0, UINT64_MAX), 0);
	assert_int_equal(raw_answer(p.r, later), 0);
	raw_close(p.r);
}

/* P65: by its number: that one, no other; of an unknown or an answered number nothing happens. */
static void cancel_of_one_leaves_the_others(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	union proto_body b = {.lease_get = {.handle = p.h, .range = {0, BLOCK}, .mode = PROTO_READ}};
	int status[64] = {0};
	uint64_t one, two;
	struct raw_event g, e;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	one = send_truncate(&p);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	two = raw_send(p.r, PROTO_LEASE_GET, 0, &b);
	send_cancel(p.r, 1);
	send_cancel(p.r, 1u << 30);
	collect(p.r, 2, status, 64);
	/* It begins to wait some time after the recall. */
	for (unsigned i = 0; status[one] == 0; i++) {
		assert_true(i < 1000);
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
		send_cancel(p.r, one);
		if (raw_recv(p.r, RAW_WAIT_NS) == 1)
			status[p.r->h.seq] = -(int)p.r->h.status;
	}
	assert_int_equal(status[one], -EINTR);
	/* The gate is open: what waited at it goes on, not interrupted. */
	while (p.r->h.seq != two)
		assert_int_equal(raw_recv(p.r, RAW_WAIT_NS), 1);
	assert_int_equal(p.r->h.status, 0);
	raw_close(p.r);
}

/* P18: CANCEL gets through when no more requests are allowed. */
static void cancel_is_not_counted(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	unsigned n = p.r->outstanding_max;
	int *status = calloc(n + 64, sizeof(*status));
	struct raw_event g;
	uint64_t first;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	first = send_truncate(&p);
	for (unsigned i = 1; i < n; i++)
		send_truncate(&p);
	send_cancel(p.r, 0);
	collect(p.r, n + 1, status, n + 64);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(status[first + i], -EINTR);
	free(status);
	raw_close(p.r);
}

/* P39, L8: the session is gone, and so is the gate that its request kept closed, long before the holder's deadline. */
static void a_session_that_ends_leaves_no_gate(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f), other = peer_open(f);
	uint64_t begin;
	struct raw_event g, e;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	for (unsigned i = 0; i < WAITING; i++)
		send_truncate(&p);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	begin = clock_now_ns();
	raw_close(p.r);
	assert_int_equal(raw_lease(other.r, other.h, PROTO_READ, 0, 16 * BLOCK, 0, NULL), 0);
	assert_true(clock_now_ns() - begin < D_LONG / 2);
	assert_int_equal(raw_release(f->r, g.lease, 0, UINT64_MAX), 0);
	raw_close(other.r);
}

int main(void)
{
#define test_case(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    test_case(exclusive_is_asked_for_and_told),          test_case(a_change_tells_new_keys_before_its_answer),
	    test_case(what_is_not_held_whole_cannot_be_changed), test_case(cancel_of_all_is_exact),
	    test_case(cancel_of_one_leaves_the_others),          test_case(cancel_is_not_counted),
	    test_case(a_session_that_ends_leaves_no_gate),
	};

	return cmocka_run_group_tests_name("server: exclusive, change, cancel", tests, NULL, NULL);
}
