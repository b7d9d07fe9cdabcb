/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: leases, recalls, keys and data paths over the wire: L4 to L7, L10 to L17, L24, L27; P40 to P49. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fixture.h"

#define ALL UINT64_MAX

/* --- somebody in this process who changes the layout meanwhile --- */

enum act { TRUNCATE, PUNCH, RELOCATE };
struct breaker {
	struct rig *rig;
	pthread_t thread;
	enum act act;
	uint64_t off, len;
	uint64_t took_ns;
	int err;
};

static void *breaker_main(void *arg)
{
	struct breaker *b = arg;
	struct fs_handle *h = rig_open(b->rig, "/f", O_RDWR);
	uint64_t start_ns = clock_now_ns();

	switch (b->act) {
	case TRUNCATE:
		b->err = fs_truncate(h, &b->rig->root, b->off);
		break;
	case PUNCH:
		b->err = fs_allocate(h, &b->rig->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, b->off, b->len);
		break;
	case RELOCATE:
		b->err = fs_relocate(h, &b->rig->root, b->off, b->len, NULL);
		break;
	}
	b->took_ns = clock_now_ns() - start_ns;
	fs_close(h, NULL, 0);
	return NULL;
}

static void break_begin(struct breaker *b, struct rig *rig, enum act act, uint64_t off, uint64_t len)
{
	*b = (struct breaker){.rig = rig, .act = act, .off = off, .len = len};
	assert_int_equal(pthread_create(&b->thread, NULL, breaker_main, b), 0);
}

static void break_end(struct breaker *b)
{
	pthread_join(b->thread, NULL);
	assert_int_equal(b->err, 0);
}

/* --- grants --- */

static void a_grant_tells_runs_that_work(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	struct raw_event g;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 100, 2 * BLOCK, 0, &g), 0);
	assert_int_equal(g.range.off, 0); /* whole blocks */
	assert_int_equal(g.range.len, 3 * BLOCK);
	assert_int_equal(g.size, 16 * BLOCK);
	assert_true(g.run_count >= 1);
	assert_int_equal(g.run.file_off, 0);
	assert_int_equal(move_read(c, g.run.key, g.run.key_off, g.run.len < BLOCK ? g.run.len : BLOCK, 'a'), 0);
	assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
	assert_int_equal(move_read(c, g.run.key, g.run.key_off, 1, 'a'), -ESTALE);
	fabric_conn_close(c);
}

/* L17: the mode of a lease needs the handle's, and a key's direction is the lease's. */
static void a_key_is_no_wider_than_its_lease(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	struct raw_event g;
	char byte = 'x';
	uint64_t ro, wo;

	assert_int_equal(raw_file_open(f->r, "/f", PROTO_O_READ, &ro), 0);
	assert_int_equal(raw_file_open(f->r, "/f", PROTO_O_WRITE, &wo), 0);
	assert_int_equal(raw_lease(f->r, ro, PROTO_WRITE, 0, BLOCK, 0, NULL), -EBADF);
	assert_int_equal(raw_lease(f->r, wo, PROTO_READ, 0, BLOCK, 0, NULL), -EBADF);
	assert_int_equal(raw_lease(f->r, ro, PROTO_READ, 0, BLOCK, 0, &g), 0);
	assert_int_equal(move(c, FABRIC_OP_WRITE, g.run.key, 0, &byte, 1), -EACCES);
	assert_int_equal(move_read(c, g.run.key, g.run.len, 1, 0), -ERANGE);
	assert_int_equal(move_read(c, g.run.key + 1, 0, 1, 0), -ESTALE);
	assert_int_equal(raw_lease(f->r, wo, PROTO_WRITE, 0, BLOCK, 0, &g), 0);
	assert_int_equal(move(c, FABRIC_OP_READ, g.run.key, 0, &byte, 1), -EACCES);
	assert_int_equal(move(c, FABRIC_OP_WRITE, g.run.key, 0, &byte, 1), 0);
	fabric_conn_close(c);
}

static void holes_are_told_to_readers(void **state)
{
	struct fixture *f = *state;
	struct raw_event g;

	assert_int_equal(raw_truncate(f->r, f->h, 0), 0);
	assert_int_equal(raw_truncate(f->r, f->h, 8 * BLOCK), 0);
	assert_int_equal(raw_write(f->r, f->h, "x", 1, 4 * BLOCK), 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 8 * BLOCK, 0, &g), 0);
	assert_int_equal(f->r->run_count, 3);
	assert_int_equal(f->r->runs[0].key, 0);
	assert_int_equal(f->r->runs[0].len, 4 * BLOCK);
	assert_true(f->r->runs[1].key != 0);
	assert_int_equal(f->r->runs[2].key, 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 8 * BLOCK, BLOCK, 0, &g), -ENODATA);
}

/* P41 */
static void a_grant_of_many_runs_comes_in_parts(void **state)
{
	struct fixture *f = *state;
	const unsigned blocks = 2100;
	struct raw_event g;
	uint64_t at = 0, h;

	assert_int_equal(raw_file_open(f->r, "/many", PROTO_O_READ | PROTO_O_WRITE | PROTO_O_CREAT, &h), 0);
	for (unsigned i = 0; i < blocks; i++)
		assert_int_equal(raw_write(f->r, h, "x", 1, (uint64_t)i * 2 * BLOCK), 0);
	assert_int_equal(raw_lease(f->r, h, PROTO_READ, 0, blocks * 2 * BLOCK, 0, &g), 0);
	assert_true(g.run_count == PROTO_RUNS_MAX);
	assert_int_equal(f->r->run_count, 2 * blocks - 1);
	for (unsigned i = 0; i < f->r->run_count; i++) {
		assert_int_equal(f->r->runs[i].file_off, at);
		at += f->r->runs[i].len;
	}
	assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
}

/* L27, L28, L30 */
static void direct_writes_are_there_after_commit(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	union proto_body b;
	struct raw_event g;
	uint64_t h;

	assert_int_equal(raw_file_open(f->r, "/new", PROTO_O_READ | PROTO_O_WRITE | PROTO_O_CREAT, &h), 0);
	assert_int_equal(raw_lease(f->r, h, PROTO_WRITE, 0, 2 * BLOCK, 0, &g), 0);
	assert_int_equal(move(c, FABRIC_OP_WRITE, g.run.key, 10, "direct", 6), 0);
	b = (union proto_body){.file_range = {.handle = h, .range = {0, 16}}};
	assert_int_equal(raw_call(f->r, PROTO_LEASE_COMMIT, 0, &b), 0);
	assert_int_equal(f->r->body.committed.boot, f->r->boot);
	assert_int_equal(f->r->body.committed.size, 16);
	b = (union proto_body){.file_read = {.handle = h, .off = 0, .len = 100}};
	assert_int_equal(raw_call(f->r, PROTO_FILE_READ, 0, &b), 0);
	assert_int_equal(f->r->body.data.data.len, 16);
	assert_memory_equal(f->r->body.data.data.bytes, "\0\0\0\0\0\0\0\0\0\0direct", 16);
	fabric_conn_close(c);
}

/* --- breaks --- */

/* L6, L10: released in time, nobody is forced and the change goes on at once. */
static void a_release_in_time_lets_the_change_go_on(void **state)
{
	struct fixture *f = *state;
	struct lease_stats st;
	struct raw_event g, e;
	struct breaker b;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	break_begin(&b, &f->rig, TRUNCATE, 4 * BLOCK, 0);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	assert_int_equal(e.lease, g.lease);
	assert_true(e.seq > g.seq);
	assert_int_equal(e.range.off, 4 * BLOCK);
	assert_int_equal(e.kind, PROTO_STOP);
	assert_int_equal(e.reason, LEASE_FOR_TRUNCATE);
	assert_true(e.left_ns > 0 && e.left_ns <= D_LONG);
	assert_int_equal(raw_release(f->r, e.lease, e.range.off, e.range.len), 0);
	break_end(&b);
	assert_true(b.took_ns < D_LONG / 2);
	lease_stats_read(fs_arbiter(f->rig.fs), &st);
	assert_int_equal(st.forced, 0);
	assert_int_equal(st.released_in_time, 1);
}

/* L4, P42, P43: what the recall did not name stays usable, under a new key that is told before the release is answered.
 */
static void the_rest_of_a_recalled_lease_stays_usable(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	struct raw_event g, e, left;
	struct breaker b;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	assert_int_equal(g.run_count, 1);
	break_begin(&b, &f->rig, PUNCH, 4 * BLOCK, 4 * BLOCK);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	assert_int_equal(e.range.off, 4 * BLOCK);
	assert_int_equal(e.range.len, 4 * BLOCK);
	assert_int_equal(raw_release(f->r, e.lease, e.range.off, e.range.len), 0);
	assert_true(raw_event(f->r, PROTO_LAYOUT, 0, &left));
	assert_true(left.before_reply);
	assert_int_equal(left.lease, g.lease);
	assert_int_equal(left.range.off, 0);
	assert_int_equal(left.range.len, 16 * BLOCK);
	assert_int_equal(left.run_count, 2);
	assert_int_equal(left.run.file_off, 0);
	assert_int_equal(left.run.len, 4 * BLOCK);
	break_end(&b);
	assert_int_equal(move_read(c, g.run.key, 0, BLOCK, 'a'), -ESTALE);
	assert_int_equal(move_read(c, left.run.key, left.run.key_off, BLOCK, 'a'), 0);
	assert_int_equal(move_read(c, left.run.key, left.run.key_off + 4 * BLOCK, 1, 'a'), -ERANGE);
	fabric_conn_close(c);
}

/* L7, L12, L16: who never answers is forced at the deadline, and loses nothing else. */
static void who_does_not_release_is_forced_and_keeps_the_rest(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	struct raw_event g, other, e;
	struct breaker b;
	uint64_t h;

	rig_file(&f->rig, "/other", BLOCK, 'o');
	assert_int_equal(raw_file_open(f->r, "/other", PROTO_O_READ, &h), 0);
	assert_int_equal(raw_lease(f->r, h, PROTO_READ, 0, BLOCK, 0, &other), 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	break_begin(&b, &f->rig, TRUNCATE, 0, 0);
	break_end(&b);
	assert_true(b.took_ns >= D_SHORT);
	assert_true(b.took_ns < D_SHORT + NS_PER_SEC); /* 10 ms on an idle machine: the benchmark's business */
	assert_int_equal(move_read(c, g.run.key, 0, 1, 'a'), -ESTALE);
	assert_int_equal(move_read(c, other.run.key, 0, BLOCK, 'o'), 0);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	assert_true(raw_event(f->r, PROTO_REVOKED, RAW_WAIT_NS, &e));
	assert_int_equal(e.lease, g.lease);
	assert_int_equal(e.left_ns, 0);
	assert_int_equal(raw_ping(f->r), 0);
	/* L15: asked anew, the lease is granted again, here over nothing. */
	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, BLOCK, 0, &g), -ENODATA);
	fabric_conn_close(c);
}

static void a_deadline_of_now_is_revoked_without_notice(void **state)
{
	struct fixture *f = *state;
	struct raw_event g, e;
	struct breaker b;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, BLOCK, PROTO_DEADLINE_NOW, &g), 0);
	break_begin(&b, &f->rig, TRUNCATE, 0, 0);
	break_end(&b);
	assert_true(b.took_ns < D_LONG / 2);
	assert_true(raw_event(f->r, PROTO_REVOKED, RAW_WAIT_NS, &e));
	assert_int_equal(e.lease, g.lease);
}

/* L5, P42, P43: the holder's own change moves its keys before the call returns, with no recall. */
static void ones_own_change_tells_the_new_place_first(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	union proto_body b;
	struct raw_event g, e;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	b = (union proto_body){.file_range = {.handle = f->h, .range = {0, 16 * BLOCK}}};
	assert_int_equal(raw_call(f->r, PROTO_FILE_RELOCATE, 0, &b), 0);
	assert_int_equal(f->r->body.count.count, 16);
	assert_true(raw_event(f->r, PROTO_LAYOUT, 0, &e));
	assert_true(e.before_reply);
	assert_int_equal(e.lease, g.lease);
	assert_true(e.seq > g.seq);
	assert_true(e.run.key != g.run.key);
	assert_false(raw_event(f->r, PROTO_RECALL, 0, &e) && e.lease == g.lease);
	assert_int_equal(move_read(c, g.run.key, 0, 1, 'a'), -ESTALE);
	fabric_conn_close(c);
}

/* L21: two holders; the one that changes breaks the other only. */
static void a_holder_breaks_the_others_not_itself(void **state)
{
	struct fixture *f = *state;
	struct raw *o = raw_open(f->rig.address);
	struct raw_event mine, theirs, e;
	union proto_body b = {.file_range = {.handle = f->h, .range = {0, 16 * BLOCK}}};
	uint64_t seq, h;

	assert_int_equal(raw_file_open(o, "/f", PROTO_O_READ, &h), 0);
	assert_int_equal(raw_lease(o, h, PROTO_READ, 0, 16 * BLOCK, 0, &theirs), 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_WRITE, 0, 16 * BLOCK, 0, &mine), 0);
	seq = raw_send(f->r, PROTO_FILE_RELOCATE, 0, &b);
	assert_true(raw_event(o, PROTO_RECALL, RAW_WAIT_NS, &e));
	assert_int_equal(e.lease, theirs.lease);
	assert_int_equal(raw_release(o, theirs.lease, 0, ALL), 0);
	assert_int_equal(raw_answer(f->r, seq), 0);
	assert_false(raw_event(f->r, PROTO_RECALL, 0, &e));
	raw_close(o);
}

/* L9 */
static void nowait_starts_the_break_and_returns(void **state)
{
	struct fixture *f = *state;
	struct raw *o = raw_open(f->rig.address);
	union proto_body b = {0};
	struct raw_event g, e;
	uint64_t h;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	assert_int_equal(raw_file_open(o, "/f", PROTO_O_WRITE, &h), 0);
	b.file_truncate.handle = h;
	assert_int_equal(raw_call(o, PROTO_FILE_TRUNCATE, PROTO_NOWAIT, &b), -EWOULDBLOCK);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
	assert_int_equal(raw_truncate(o, h, 0), 0);
	raw_close(o);
}

/* L8: a lease asked for during a break waits for it, or says so. */
static void a_lease_during_a_break_waits(void **state)
{
	struct fixture *f = *state;
	struct raw *o = raw_open(f->rig.address);
	union proto_body b = {0};
	struct raw_event g, e;
	struct breaker brk;
	uint64_t h, seq;

	assert_int_equal(raw_file_open(o, "/f", PROTO_O_READ, &h), 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 16 * BLOCK, 0, &g), 0);
	break_begin(&brk, &f->rig, TRUNCATE, BLOCK, 0);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	b.lease_get = (struct proto_lease_get){.handle = h, .range = {BLOCK, BLOCK}, .mode = PROTO_READ};
	assert_int_equal(raw_call(o, PROTO_LEASE_GET, PROTO_NOWAIT, &b), -EAGAIN);
	seq = raw_send(o, PROTO_LEASE_GET, 0, &b);
	assert_int_equal(raw_recv(o, 50 * NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
	break_end(&brk);
	assert_int_equal(raw_answer(o, seq), -ENODATA);
	raw_close(o);
}

/* --- L11, P47, P48 --- */

static void releasing_what_one_does_not_hold_succeeds(void **state)
{
	struct fixture *f = *state;
	struct raw *o = raw_open(f->rig.address);
	struct raw_event g;

	assert_int_equal(raw_release(f->r, 12345678, 0, ALL), 0);
	assert_int_equal(raw_release(f->r, 0, 0, 0), 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, BLOCK, 0, &g), 0);
	assert_int_equal(raw_release(o, g.lease, 0, ALL), 0); /* not its own: nothing happens */
	rig_wait_stats(&f->rig, 1, 3);
	assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
	assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
	raw_close(o);
}

#define CROSSINGS 300

struct crosser {
	struct rig *rig;
	atomic_bool stop;
};

static void *cross_main(void *arg)
{
	struct crosser *x = arg;
	struct fs_handle *h = rig_open(x->rig, "/f", O_RDWR);

	while (!atomic_load(&x->stop)) {
		assert_int_equal(fs_truncate(h, &x->rig->root, 999 * BLOCK), 0);
		assert_int_equal(fs_truncate(h, &x->rig->root, 1000 * BLOCK), 0);
	}
	fs_close(h, NULL, 0);
	return NULL;
}

/* Answers what has come; notices of `unknown` (no lease of ours) set *crossed. */
static void answer_notices(struct raw *r, uint64_t held, uint64_t *dead, unsigned *dead_count)
{
	struct raw_event e;

	while (r->event_count) {
		e = r->events[0];
		r->event_count--;
		memmove(&r->events[0], &r->events[1], r->event_count * sizeof(e));
		if (e.type == PROTO_LAYOUT)
			continue;
		if (e.lease != held && *dead_count < 64)
			dead[(*dead_count)++] = e.lease;
		assert_int_equal(raw_release(r, e.lease, 0, ALL), 0);
	}
}

/* While another thread breaks without pause, grants and recalls cross all the time; both sides end with the same
 * belief. */
static void recalls_that_cross_grants_leave_one_belief(void **state)
{
	struct fixture *f = *state;
	struct crosser x = {.rig = &f->rig};
	unsigned crossed = 0, unknown = 0;
	pthread_t thread;

	/* Many runs, so that composing the answer takes a while. */
	assert_int_equal(raw_truncate(f->r, f->h, 0), 0);
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(raw_write(f->r, f->h, "x", 1, (uint64_t)i * 2 * BLOCK), 0);
	assert_int_equal(pthread_create(&thread, NULL, cross_main, &x), 0);
	for (unsigned i = 0; i < CROSSINGS; i++) {
		uint64_t dead[64];
		unsigned dead_count = 0;
		struct raw_event g;
		bool gone = false;

		assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 1000 * BLOCK, 0, &g), 0);
		/* P48: noticed before it was granted: forgotten. */
		for (unsigned k = 0; k < f->r->event_count; k++)
			gone |= f->r->events[k].lease == g.lease;
		crossed += gone;
		answer_notices(f->r, gone ? 0 : g.lease, dead, &dead_count);
		unknown += dead_count;
		if (!gone)
			assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
	}
	atomic_store(&x.stop, true);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t dead[64];
		unsigned dead_count = 0;

		assert_int_equal(raw_ping(f->r), 0);
		answer_notices(f->r, 0, dead, &dead_count);
		usleep(1000);
	}
	pthread_join(thread, NULL);
	print_message("%u of %u grants were crossed by their recall; %u notices of unknown numbers\n", crossed,
		      CROSSINGS, unknown);
	rig_wait_stats(&f->rig, 0, 2);
}

/* P30: with every worker waiting for a break, the release that it waits for gets through. */
static void a_release_overtakes_requests_that_wait(void **state)
{
	struct fixture *f = *state;
	struct raw *o = raw_open(f->rig.address);
	union proto_body b = {0};
	struct raw_event g, e;
	uint64_t seq[8], h;

	assert_int_equal(raw_file_open(o, "/f", PROTO_O_WRITE, &h), 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_WRITE, 0, 16 * BLOCK, 0, &g), 0);
	b.file_truncate.handle = h;
	for (unsigned i = 0; i < 8; i++)
		seq[i] = raw_send(o, PROTO_FILE_TRUNCATE, 0, &b);
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	b.file_truncate.handle = f->h;
	raw_send(f->r, PROTO_FILE_TRUNCATE, 0, &b); /* one of its own waits too */
	b.lease_release = (struct proto_lease_release){.lease = g.lease, .range = {0, ALL}};
	raw_send(f->r, PROTO_LEASE_RELEASE, 0, &b);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(raw_recv(f->r, RAW_WAIT_NS), 1);
		assert_int_equal(f->r->h.status, 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(raw_recv(o, RAW_WAIT_NS), 1);
		assert_int_equal(o->h.status, 0);
	}
	(void)seq;
	raw_close(o);
}

static int setup_one_worker(void **state)
{
	struct server_limits limits = server_limits_default;

	limits.workers_max = 1;
	limits.running_max = 1;
	fixture_start(state, D_LONG, &limits);
	return 0;
}

/* --- ends --- */

/* L24 */
static void closing_the_handle_ends_its_leases(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	struct raw_event g;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, BLOCK, 0, &g), 0);
	assert_int_equal(move_read(c, g.run.key, 0, 1, 'a'), 0);
	assert_int_equal(raw_file_close(f->r, f->h), 0);
	assert_int_equal(move_read(c, g.run.key, 0, 1, 'a'), -ESTALE);
	rig_wait_stats(&f->rig, 0, 2);
	fabric_conn_close(c);
}

/* P27: with requests of its own still waiting, a client that vanishes holds nobody up and leaves nothing. */
static void a_client_that_vanishes_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct raw *o = raw_open(f->rig.address);
	union proto_body b = {0};
	struct raw_event g, e;
	uint64_t h;

	assert_int_equal(raw_file_open(o, "/f", PROTO_O_READ | PROTO_O_WRITE, &h), 0);
	assert_int_equal(raw_lease(o, h, PROTO_READ, 8 * BLOCK, 8 * BLOCK, 0, NULL), 0);
	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, 4 * BLOCK, 0, &g), 0);
	b.file_truncate.handle = h;
	raw_send(o, PROTO_FILE_TRUNCATE, 0, &b); /* waits for us */
	assert_true(raw_event(f->r, PROTO_RECALL, RAW_WAIT_NS, &e));
	b = (union proto_body){.lease_get = {.handle = h, .range = {0, BLOCK}, .mode = PROTO_READ}};
	raw_send(o, PROTO_LEASE_GET, 0, &b); /* waits for the gate */
	assert_int_equal(raw_recv(o, 20 * NS_PER_MS), -ETIMEDOUT);
	raw_close(o);
	/* Its lease went at once, and its truncate and its LEASE_GET waited no longer: nobody is there to hear of them.
	 */
	rig_wait_stats(&f->rig, 1, 2);
	assert_int_equal(raw_release(f->r, g.lease, 0, ALL), 0);
	rig_wait_stats(&f->rig, 0, 2);
	/* No gate was left closed. */
	assert_int_equal(raw_truncate(f->r, f->h, 4 * BLOCK), 0);
	b = (union proto_body){.lease_get = {.handle = f->h, .range = {0, BLOCK}, .mode = PROTO_READ}};
	assert_int_equal(raw_call(f->r, PROTO_LEASE_GET, PROTO_NOWAIT, &b), 0);
}

/* --- who holds what, L26 --- */

static void leases_are_listed_and_revoked(void **state)
{
	struct fixture *f = *state;
	union proto_body b = {0};
	struct proto_lease_info info;
	struct raw_event g, e;
	uint32_t cursor = 0;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_WRITE, BLOCK, BLOCK, 0, &g), 0);
	assert_int_equal(raw_call(f->r, PROTO_FS_LEASES, 0, &b), 0);
	assert_int_equal(f->r->body.lease_list.leases.count, 1);
	assert_int_equal(f->r->body.lease_list.more, 0);
	assert_true(proto_lease_info_next(&f->r->body.lease_list.leases, &cursor, &info));
	assert_int_equal(info.number, g.lease);
	assert_int_equal(info.session, f->r->session);
	assert_int_equal(info.mode, PROTO_WRITE);
	assert_int_equal(info.pid, getpid());
	assert_int_equal(info.range.off, BLOCK);
	assert_int_equal(info.pinned_bytes, BLOCK);
	assert_memory_equal(info.host.bytes, "test?", 5);
	assert_int_equal(raw_call(f->r, PROTO_FS_REVOKE, 0, &b), -EINVAL);
	b.fs_revoke.path = proto_str_of("/f");
	assert_int_equal(raw_call(f->r, PROTO_FS_REVOKE, 0, &b), 0);
	assert_int_equal(f->r->body.count.count, 1);
	assert_true(raw_event(f->r, PROTO_REVOKED, RAW_WAIT_NS, &e));
	assert_int_equal(e.lease, g.lease);
	b = (union proto_body){.fs_leases = {.path = proto_str_of("/f")}};
	assert_int_equal(raw_call(f->r, PROTO_FS_LEASES, 0, &b), 0);
	assert_int_equal(f->r->body.lease_list.leases.count, 0);
}

static void a_long_list_comes_in_pages(void **state)
{
	struct fixture *f = *state;
	const unsigned count = 600;
	union proto_body b = {0};
	struct proto_lease_info info = {0};
	unsigned seen = 0, more;

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, (i % 16) * BLOCK, BLOCK, 0, NULL), 0);
	do {
		uint64_t last = info.number;
		uint32_t cursor = 0;

		b.fs_leases.after = last;
		assert_int_equal(raw_call(f->r, PROTO_FS_LEASES, 0, &b), 0);
		more = f->r->body.lease_list.more;
		while (proto_lease_info_next(&f->r->body.lease_list.leases, &cursor, &info)) {
			assert_true(info.number > last);
			last = info.number;
			seen++;
		}
	} while (more);
	assert_int_equal(seen, count);
}

int main(void)
{
#define T(f)     cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
#define SHORT(f) cmocka_unit_test_setup_teardown(f, fixture_short, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    T(a_grant_tells_runs_that_work),
	    T(a_key_is_no_wider_than_its_lease),
	    T(holes_are_told_to_readers),
	    T(a_grant_of_many_runs_comes_in_parts),
	    T(direct_writes_are_there_after_commit),
	    T(a_release_in_time_lets_the_change_go_on),
	    T(the_rest_of_a_recalled_lease_stays_usable),
	    SHORT(who_does_not_release_is_forced_and_keeps_the_rest),
	    T(a_deadline_of_now_is_revoked_without_notice),
	    T(ones_own_change_tells_the_new_place_first),
	    T(a_holder_breaks_the_others_not_itself),
	    T(nowait_starts_the_break_and_returns),
	    T(a_lease_during_a_break_waits),
	    T(releasing_what_one_does_not_hold_succeeds),
	    T(recalls_that_cross_grants_leave_one_belief),
	    cmocka_unit_test_setup_teardown(a_release_overtakes_requests_that_wait, setup_one_worker, fixture_teardown),
	    T(closing_the_handle_ends_its_leases),
	    T(a_client_that_vanishes_leaves_nothing),
	    T(leases_are_listed_and_revoked),
	    T(a_long_list_comes_in_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
