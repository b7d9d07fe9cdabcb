/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a session outlives its connection, for whoever has its token and for nobody else, and for no longer than the
 * lease time: P50 to P57, L16, L34.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h" /* before cmocka, whose fail() is a macro */

#include <cmocka.h>

#include "fixture.h"

/* A sanitizer keeps what was freed for a while, or a shadow of it. */
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GROWTH_KIB (1l << 20)
#endif
#endif
#ifndef GROWTH_KIB
#define GROWTH_KIB 4096l
#endif

#define LEASE_NS (600 * NS_PER_MS)
#define LONG_NS  (60 * NS_PER_SEC)

static struct rig *start(uint64_t lease_ns, void (*change)(struct server_limits *limits))
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct server_limits limits = server_limits_default;

	limits.lease_ns = lease_ns;
	if (change)
		change(&limits);
	rig_start(rig, D_LONG, &limits, NULL);
	rig_file(rig, "/f", 16 * BLOCK, 'a');
	return rig;
}

static void stop(struct rig *rig)
{
	rig_stop(rig);
	free(rig);
}

static uint64_t opened(struct raw *r)
{
	uint64_t h;

	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &h), 0);
	return h;
}

/* L16: handles, leases and keys are there after the connection was lost and another took its place. */
static void a_session_outlives_its_connection(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address);
	struct raw_event lease;
	uint64_t h = opened(r);

	assert_int_equal(raw_lease(r, h, PROTO_READ, 0, BLOCK, 0, &lease), 0);
	raw_cut(r);
	rig_wait_stats(rig, 1, 2);
	assert_int_equal(raw_resume(r, rig->address, r->received), 0);
	assert_int_equal(raw_ping(r), 0);
	rig_wait_stats(rig, 1, 2);
	assert_int_equal(raw_release(r, lease.lease, 0, UINT64_MAX), 0);
	assert_int_equal(raw_file_close(r, h), 0);
	raw_close(r);
	stop(rig);
}

/* P50: without being asked for, the session ends with its connection, and so does one that said goodbye. */
static void who_says_goodbye_is_gone(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address);
	struct raw *plain = raw_open(rig->address);
	struct proto_header h = {.type = PROTO_GOODBYE, .epoch = r->epoch};
	union proto_body bye = {0};
	uint8_t buf[128];
	ssize_t n = proto_encode(&h, &bye, buf, sizeof(buf));

	opened(r);
	opened(plain);
	rig_wait_stats(rig, 0, 3);
	raw_send_bytes(r, buf, (size_t)n);
	rig_wait_stats(rig, 0, 2);
	assert_int_equal(raw_resume(r, rig->address, r->received), -ESTALE);
	raw_cut(plain);
	rig_wait_stats(rig, 0, 1);
	assert_int_equal(raw_resume(plain, rig->address, 0), -ESTALE);
	raw_close(r);
	raw_close(plain);
	stop(rig);
}

/* P51, P55: what the client did not have comes again, in order, and nothing that it had. */
static void what_was_missed_comes_again(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address);
	uint64_t had = 0, seq;

	r->silent_acks = true;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(raw_ping(r), 0);
	for (had = 0; had <= 10; had++) {
		assert_int_equal(raw_resume(r, rig->address, had), 0);
		assert_int_equal(r->seq, 11);
		for (uint64_t k = had; k < 10; k++) {
			assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
			assert_int_equal(r->h.type, PROTO_PING);
			assert_int_equal(r->h.seq, 2 + k);
		}
		assert_int_equal(raw_recv(r, 20 * NS_PER_MS), -ETIMEDOUT);
	}
	r->silent_acks = false;
	/* And a request that was lost on the way is had once. */
	seq = raw_send(r, PROTO_PING, 0, NULL);
	assert_int_equal(raw_answer(r, seq), 0);
	raw_close(r);
	stop(rig);
}

/* A request that runs while the connection is lost is finished, once, and its answer kept. */
static void a_request_in_progress_is_answered_later(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address), *holder = raw_open(rig->address);
	uint64_t h = opened(r), hh = opened(holder), seq;
	union proto_body cut = {.file_truncate = {.handle = h, .size = 0}};
	struct raw_event lease, e;

	assert_int_equal(raw_lease(holder, hh, PROTO_READ, 0, BLOCK, 0, &lease), 0);
	seq = raw_send(r, PROTO_FILE_TRUNCATE, 0, &cut);
	assert_true(raw_event(holder, PROTO_RECALL, RAW_WAIT_NS, &e));
	raw_cut(r);
	assert_int_equal(raw_release(holder, lease.lease, 0, UINT64_MAX), 0);
	assert_int_equal(raw_resume(r, rig->address, r->received), 0);
	assert_int_equal(r->seq, seq);
	assert_int_equal(raw_answer(r, seq), 0);
	raw_close(r);
	raw_close(holder);
	stop(rig);
}

/* A recall that nobody could be told is told when he is back, and answered in time (L6). */
static void a_recall_waits_for_the_holder(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address), *other = raw_open(rig->address);
	uint64_t h = opened(r), oh = opened(other), seq;
	union proto_body cut = {.file_truncate = {.handle = oh, .size = 0}};
	struct raw_event lease, e;

	assert_int_equal(raw_lease(r, h, PROTO_READ, 0, BLOCK, 0, &lease), 0);
	raw_cut(r);
	seq = raw_send(other, PROTO_FILE_TRUNCATE, 0, &cut);
	assert_int_equal(raw_recv(other, 50 * NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(raw_resume(r, rig->address, r->received), 0);
	assert_true(raw_event(r, PROTO_RECALL, RAW_WAIT_NS, &e));
	assert_int_equal(e.lease, lease.lease);
	assert_int_equal(raw_release(r, lease.lease, 0, UINT64_MAX), 0);
	assert_int_equal(raw_answer(other, seq), 0);
	raw_close(r);
	raw_close(other);
	stop(rig);
}

/* L34: silence for the lease time is death: leases and charges are gone. A word in time is life. */
static void silence_is_death(void **state)
{
	struct rig *rig = start(LEASE_NS, NULL);
	struct raw *away = raw_open_resumable(rig->address), *silent = raw_open_resumable(rig->address);
	struct raw *lively = raw_open_resumable(rig->address);
	struct raw_event lease;
	struct lease_stats stats;
	uint64_t until = clock_now_ns() + 3 * LEASE_NS;

	assert_int_equal(raw_lease(away, opened(away), PROTO_READ, 0, BLOCK, 0, &lease), 0);
	assert_int_equal(raw_lease(silent, opened(silent), PROTO_READ, 0, BLOCK, 0, &lease), 0);
	assert_int_equal(raw_lease(lively, opened(lively), PROTO_READ, 0, BLOCK, 0, &lease), 0);
	raw_cut(away);
	while (clock_now_ns() < until) {
		assert_int_equal(raw_ping(lively), 0);
		usleep(20000);
	}
	rig_wait_stats(rig, 1, 2);
	lease_stats_read(fs_arbiter(rig->fs), &stats);
	assert_int_equal(stats.pinned_bytes, BLOCK);
	raw_expect_goodbye(silent, PROTO_BYE_TIMEOUT, "P56 ");
	assert_int_equal(raw_resume(away, rig->address, away->received), -ESTALE);
	raw_close(away);
	raw_close(silent);
	raw_close(lively);
	stop(rig);
}

static uint64_t fake_now = 1;
static uint64_t fake_clock(void)
{
	return __atomic_load_n(&fake_now, __ATOMIC_SEQ_CST);
}

static void with_fake_clock(struct server_limits *limits)
{
	limits->clock_ns = fake_clock;
}

/* The server has noticed that its connection is gone. */
static void wait_until_away(struct rig *rig, const struct raw *r)
{
	bool away = false;
	uint64_t idle;

	while (!away) {
		assert_true(session_look(rig->server, r->session, &away, &idle));
		usleep(1000);
	}
}

/* L34: to the nanosecond of its clock a session lives no shorter than its lease time. */
static void not_a_nanosecond_early(void **state)
{
	struct rig *rig = start(LEASE_NS, with_fake_clock);
	struct raw *r = raw_open_resumable(rig->address);

	raw_cut(r);
	wait_until_away(rig, r);
	rig_wait_stats(rig, 0, 2);
	__atomic_add_fetch(&fake_now, LEASE_NS, __ATOMIC_SEQ_CST);
	usleep(300000);
	rig_wait_stats(rig, 0, 2);
	__atomic_add_fetch(&fake_now, 1, __ATOMIC_SEQ_CST);
	rig_wait_stats(rig, 0, 1);
	raw_close(r);
	stop(rig);
}

/* L7, P57: a client whose process is gone is not waited for at all on a unix socket. */
static void a_dead_process_ends_its_session(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	int tell[2], status;
	pid_t pid;
	char c;

	assert_int_equal(pipe(tell), 0);
	pid = fork();
	if (pid == 0) {
		struct raw *r = raw_open_resumable(rig->address);
		struct raw_event lease;

		raw_lease(r, opened(r), PROTO_READ, 0, BLOCK, 0, &lease);
		if (write(tell[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(tell[0], &c, 1), 1);
	rig_wait_stats(rig, 1, 2);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	rig_wait_stats(rig, 0, 1);
	close(tell[0]);
	close(tell[1]);
	stop(rig);
}

/* --- hostile --- */

/* P54: without the token there is no session, whatever else is right; and nothing tells one refusal from another. */
static void the_token_is_what_counts(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *victim = raw_open_resumable(rig->address), *thief = raw_new(rig->address);

	opened(victim);
	for (unsigned i = 0; i < 300; i++) {
		thief->session = i % 3 ? victim->session : victim->session + i;
		thief->epoch = victim->epoch + (i % 5 == 1);
		memcpy(thief->token, victim->token, 16);
		thief->token[i % 16] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(raw_resume(thief, rig->address, 0), -ESTALE);
		assert_int_equal(raw_recv(thief, RAW_WAIT_NS), 0);
	}
	memcpy(thief->token, victim->token, 16);
	thief->session = victim->session;
	thief->epoch = victim->epoch + 1;
	assert_int_equal(raw_resume(thief, rig->address, 0), -ESTALE);
	/* The victim has noticed nothing. */
	assert_int_equal(raw_ping(victim), 0);
	thief->epoch = 0;
	raw_close(thief);
	raw_close(victim);
	stop(rig);
}

/* P54: another user with the token is another user. */
static void another_user_resumes_nothing(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *victim = raw_open_resumable(rig->address);
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		raw_close(victim);
		stop(rig);
		skip();
	}
	chmod(rig->dir, 0777);
	chmod(rig->address + 5, 0777);
	pid = fork();
	if (pid == 0) {
		struct raw *thief;

		if (setgid(65534) || setuid(65534))
			_exit(9);
		thief = raw_new(rig->address);
		thief->session = victim->session;
		thief->epoch = victim->epoch;
		memcpy(thief->token, victim->token, 16);
		_exit(raw_resume(thief, rig->address, 0) == -EACCES ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(raw_ping(victim), 0);
	raw_close(victim);
	stop(rig);
}

/* P52: an acknowledgement of what was never sent ends the session that said it; one that runs behind is fine. */
static void acknowledgements_do_not_run_ahead(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address), *back;

	assert_int_equal(raw_ping(r), 0);
	r->received += 2;
	raw_send(r, PROTO_PING, 0, NULL);
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, "P52 ");
	raw_close(r);
	back = raw_open_resumable(rig->address);
	assert_int_equal(raw_ping(back), 0);
	assert_int_equal(raw_ping(back), 0);
	back->received = 0; /* behind what it said before */
	raw_send(back, PROTO_PING, 0, NULL);
	raw_expect_goodbye(back, PROTO_BYE_PROTOCOL, "P52 ");
	raw_close(back);
	stop(rig);
}

/* P55: neither may RESUME say to have had what was not sent, or want again what it acknowledged. */
static void a_resume_says_what_can_be(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address);
	uint64_t had;

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(raw_ping(r), 0);
	had = r->received;
	assert_int_equal(had, 5);
	assert_int_equal(raw_resume(r, rig->address, 6), -EPROTO);
	assert_int_equal(raw_resume(r, rig->address, UINT64_MAX), -EPROTO);
	assert_int_equal(raw_resume(r, rig->address, 3), -EPROTO);
	assert_int_equal(raw_resume(r, rig->address, had), 0);
	assert_int_equal(raw_ping(r), 0);
	raw_close(r);
	stop(rig);
}

static void with_little_room(struct server_limits *limits)
{
	limits->kept_max = 64u << 10;
}

/* P53: a client that reads and never acknowledges is kept for only so much. */
static void who_never_acknowledges_is_sent_away(void **state)
{
	struct rig *rig = start(LONG_NS, with_little_room);
	struct raw *r = raw_open_resumable(rig->address), *good = raw_open_resumable(rig->address);
	bool ended = false;

	r->silent_acks = true;
	for (unsigned i = 0; i < 4000 && !ended; i++) {
		assert_int_equal(raw_ping(good), 0);
		raw_send(r, PROTO_PING, 0, NULL);
		ended = raw_recv(r, RAW_WAIT_NS) == 0 || r->h.type == PROTO_GOODBYE;
	}
	assert_true(ended);
	assert_int_equal(raw_ping(good), 0);
	raw_close(r);
	raw_close(good);
	stop(rig);
}

/* The same session taken over again and again, by ever new connections: each gets what is missed, the last one lives.
 */
static void a_flood_of_resumes_is_answered(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address);
	uint64_t h = opened(r);

	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(raw_resume(r, rig->address, 1), 0);
	assert_int_equal(raw_ping(r), 0);
	assert_int_equal(raw_file_close(r, h), 0);
	raw_close(r);
	stop(rig);
}

static void with_few_places(struct server_limits *limits)
{
	limits->sessions_max = 100;
}

/* 10,000 sessions that connect and vanish: there is always room for the next one, and memory returns. */
static void ten_thousand_that_vanish(void **state)
{
	struct rig *rig = start(LONG_NS, with_few_places);
	struct raw *kept = raw_open_resumable(rig->address);
	struct rusage before, after;
	uint64_t h = opened(kept);

	raw_cut(kept);
	for (unsigned i = 0; i < 10000; i++) {
		struct raw *r = raw_open_resumable(rig->address);

		raw_cut(r);
		raw_close(r);
		if (i == 2000)
			getrusage(RUSAGE_SELF, &before);
	}
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < GROWTH_KIB);
	/* One with open files is not what gives way. */
	assert_int_equal(raw_resume(kept, rig->address, kept->received), 0);
	assert_int_equal(raw_file_close(kept, h), 0);
	raw_close(kept);
	stop(rig);
}

/* P54: a resume is one message and waits for its answer; after it, nothing of before is left to confuse it. */
static void a_resume_waits_for_its_answer(void **state)
{
	struct rig *rig = start(LONG_NS, NULL);
	struct raw *r = raw_open_resumable(rig->address);
	struct proto_header h = {.type = PROTO_RESUME, .seq = 1};
	union proto_body b = {
	    .resume = {.magic = PROTO_MAGIC, .version = PROTO_VERSION_MAX, .session = r->session, .epoch = r->epoch}};
	uint8_t buf[256];
	ssize_t n;

	/* Half a message, then the line is cut: it never was. */
	raw_send_bytes(r, "\x20\0\0\0\x02\0", 6);
	raw_cut(r);
	memcpy(b.resume.token, r->token, 16);
	n = proto_encode(&h, &b, buf, sizeof(buf));
	memcpy(buf + n, "\x20\0\0\0\x02\0", 6);
	r->fd = raw_socket(rig->address);
	raw_send_bytes(r, buf, (size_t)n + 6);
	assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
	assert_int_equal(r->h.type, PROTO_GOODBYE);
	assert_int_equal(raw_resume(r, rig->address, 0), 0);
	assert_int_equal(r->seq, 1);
	assert_int_equal(raw_ping(r), 0);
	raw_close(r);
	stop(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_session_outlives_its_connection),
	    cmocka_unit_test(who_says_goodbye_is_gone),
	    cmocka_unit_test(what_was_missed_comes_again),
	    cmocka_unit_test(a_request_in_progress_is_answered_later),
	    cmocka_unit_test(a_recall_waits_for_the_holder),
	    cmocka_unit_test(silence_is_death),
	    cmocka_unit_test(not_a_nanosecond_early),
	    cmocka_unit_test(a_dead_process_ends_its_session),
	    cmocka_unit_test(the_token_is_what_counts),
	    cmocka_unit_test(another_user_resumes_nothing),
	    cmocka_unit_test(acknowledgements_do_not_run_ahead),
	    cmocka_unit_test(a_resume_says_what_can_be),
	    cmocka_unit_test(who_never_acknowledges_is_sent_away),
	    cmocka_unit_test(a_flood_of_resumes_is_answered),
	    cmocka_unit_test(ten_thousand_that_vanish),
	    cmocka_unit_test(a_resume_waits_for_its_answer),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
