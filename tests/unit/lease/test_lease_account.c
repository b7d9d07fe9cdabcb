/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L18, L19, L26, I5: what is pinned is charged to its uid and returned exactly once, whatever ends it; limits say
 * which one was reached and leave nothing half granted; forced ends are on record with who asked, why, how long; a
 * session's listing counts. A stress test sums up again and again; it prints its seed (LEASE_STRESS_SEED sets it).
 */
#include "base/error.h"
#include "rig.h"
#undef fail

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct lease_limit used_by(struct rig *r, enum lease_limit_kind kind, uint32_t uid)
{
	struct lease_limit l = {.kind = kind, .uid = uid};

	lease_limit_get(r->arbiter, &l);
	return l;
}

static void limit(struct rig *r, enum lease_limit_kind kind, uint32_t uid, uint64_t bytes, uint64_t leases)
{
	struct lease_limit l = {.kind = kind, .uid = uid, .bytes = bytes, .leases = leases};

	assert_int_equal(lease_limit_set(r->arbiter, &l), 0);
}

static void limit_none(struct rig *r, enum lease_limit_kind kind, uint32_t uid)
{
	struct lease_limit l = {.kind = kind, .uid = uid, .none = true};

	assert_int_equal(lease_limit_set(r->arbiter, &l), 0);
}

static int try_attach(struct rig *r, uint64_t lease, struct fake_pin *pin)
{
	return lease_pin_attach(r->arbiter, lease, &fake_pin_ops, pin, 1);
}

static struct lease_session *more_of(struct rig *r, uint32_t uid, uint64_t memlock)
{
	struct lease_identity who = {.uid = uid, .memlock_bytes = memlock};
	struct lease_session *s;

	assert_int_equal(lease_session_open(r->arbiter, NULL, NULL, &who, &s), 0);
	return s;
}

static uint64_t grant_to(struct rig *r, struct lease_session *s, struct range range, bool faulting)
{
	struct lease_grant_args args = {
	    .anchor = &r->file, .session = s, .handle = 1, .range = range, .mode = LEASE_READ, .faulting = faulting};
	struct lease_grant got;

	assert_int_equal(lease_grant(r->arbiter, &args, &got), 0);
	return got.lease;
}

/* L18: the charge begins with the first pin that reaches bytes and goes with each part, not before and not twice. */
static void a_charge_lives_from_the_pin_to_the_drain_of_each_part(void **state)
{
	struct rig *r = *state;
	uint64_t l = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);

	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).leases_used, 1);
	assert_int_equal(lease_pin_attach(r->arbiter, l, &fake_pin_ops, &r->pin[0], 0), 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 0);
	assert_int_equal(try_attach(r, l, &r->pin[1]), 0);
	assert_int_equal(try_attach(r, l, &r->pin[2]), 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 64 * K);
	assert_int_equal(lease_release(r->a.session, l, R(16 * K, 32 * K)), 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 48 * K);
	assert_int_equal(lease_release(r->a.session, l, R(16 * K, 32 * K)), 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_POOL, 0).bytes_used, 48 * K);
	assert_true(lease_ledger_holds(r->arbiter));
	assert_int_equal(lease_release(r->a.session, l, R_ALL), 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).leases_used, 0);
	assert_true(lease_ledger_holds(r->arbiter));
}

/* L18: also on revocation, deadline and the end of the session. */
static void a_charge_returns_however_the_lease_ends(void **state)
{
	struct rig *r = *state;
	struct lease_session *s = more_of(r, 1001, 0);
	uint64_t l = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct lease_break *b;

	attach(r, l, &r->pin[0]);
	b = start_break(r, NULL, R(0, 16 * K), 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 64 * K);
	forward(r, D_NS);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 48 * K);
	lease_break_end(b);
	assert_int_equal(lease_revoke(r->arbiter, l, 0, 0, UINT32_MAX, "test"), 1);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 0);
	attach(r, grant_to(r, s, R(0, 8 * K), false), &r->pin[1]);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 8 * K);
	lease_session_close(s);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 0);
	assert_true(lease_ledger_holds(r->arbiter));
}

/* L33: a faulting lease pins no bytes, and counts as a lease. */
static void a_faulting_lease_counts_but_weighs_nothing(void **state)
{
	struct rig *r = *state;

	limit(r, LEASE_LIMIT_UID, 1001, 0, 1);
	assert_int_equal(try_attach(r, grant_to(r, r->a.session, R(0, 64 * K), true), &r->pin[0]), 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).leases_used, 1);
	assert_int_equal(try_grant(r, &r->a, R(0, K), LEASE_READ), -EDQUOT);
}

/* L18: over RLIMIT_MEMLOCK it is ENOMEM and says what to raise; it is the uid's, over all of its sessions. */
static void over_memlock_is_enomem_with_the_way_out(void **state)
{
	struct rig *r = *state;
	struct lease_session *s = more_of(r, 500, 64 * K), *t = more_of(r, 500, 64 * K);
	struct lease_session *root = more_of(r, 500, UINT64_MAX);
	uint64_t l = grant_to(r, t, R(0, 32 * K), false);

	attach(r, grant_to(r, s, R(0, 48 * K), false), &r->pin[0]);
	assert_int_equal(try_attach(r, l, &r->pin[1]), -ENOMEM);
	assert_non_null(strstr(fail_text(), "RLIMIT_MEMLOCK"));
	assert_non_null(strstr(fail_text(), "uid 500"));
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 500).bytes_used, 48 * K);
	assert_int_equal(r->pin[1].drains, 0);
	/* Exempt (CAP_IPC_LOCK), though the uid is the same. */
	attach(r, grant_to(r, root, R(0, 128 * K), false), &r->pin[2]);
	/* An administrator's limit stands instead. */
	limit(r, LEASE_LIMIT_UID, 500, 1024 * K, UINT64_MAX);
	assert_int_equal(try_attach(r, l, &r->pin[1]), 0);
	assert_true(lease_ledger_holds(r->arbiter));
	limit_none(r, LEASE_LIMIT_UID, 500);
	lease_session_close(s);
	lease_session_close(t);
	lease_session_close(root);
}

/* L18: over an administrator's limit it is EDQUOT: of the uid, by default, of the pool; nothing half granted. */
static void over_an_administrators_limit_is_edquot(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	uint64_t lb = grant(r, &r->b, 1, R(0, 64 * K), LEASE_READ);
	uint64_t lc = grant(r, &r->c, 1, R(0, 64 * K), LEASE_READ);

	limit(r, LEASE_LIMIT_DEFAULT, 0, 32 * K, 1);
	limit(r, LEASE_LIMIT_UID, 1002, 64 * K, 2);
	limit(r, LEASE_LIMIT_POOL, 0, 100 * K, 4);
	assert_int_equal(try_attach(r, la, &r->pin[0]), -EDQUOT);
	assert_int_equal(try_attach(r, lb, &r->pin[1]), 0);
	limit_none(r, LEASE_LIMIT_DEFAULT, 0);
	assert_int_equal(try_attach(r, lc, &r->pin[2]), -EDQUOT);
	assert_non_null(strstr(fail_text(), "pool"));
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1003).bytes_used, 0);
	assert_int_equal(try_grant(r, &r->a, R(0, K), LEASE_READ), 0);
	assert_int_equal(try_grant(r, &r->b, R(0, K), LEASE_READ), -EDQUOT);
	assert_non_null(strstr(fail_text(), "pool"));
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1002).leases_used, 1);
	assert_true(lease_ledger_holds(r->arbiter));
}

/* A limit below what is used takes nothing away, and the default is not for root. */
static void what_is_over_stays_and_root_has_no_default(void **state)
{
	struct rig *r = *state;
	struct lease_session *root = more_of(r, 0, UINT64_MAX);
	uint64_t l = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);

	attach(r, l, &r->pin[0]);
	limit(r, LEASE_LIMIT_DEFAULT, 0, K, 0);
	assert_int_equal(used_by(r, LEASE_LIMIT_UID, 1001).bytes_used, 64 * K);
	assert_int_equal(try_grant(r, &r->a, R(0, K), LEASE_READ), -EDQUOT);
	attach(r, grant_to(r, root, R(0, 64 * K), false), &r->pin[1]);
	assert_true(used_by(r, LEASE_LIMIT_UID, 1001).none);
	lease_session_close(root);
}

struct seen {
	unsigned n;
	struct lease_session_info info[8];
};

static bool see(void *ctx, const struct lease_session_info *info)
{
	struct seen *s = ctx;

	s->info[s->n++] = *info;
	return s->n < 8;
}

/* L26: sessions are listed by number, in pages, with what they hold and how they answer. */
static void sessions_are_listed_with_how_they_answer(void **state)
{
	struct rig *r = *state;
	uint64_t l = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	struct seen s = {0};
	struct lease_break *b;

	attach(r, l, &r->pin[0]);
	b = start_break(r, NULL, R(0, 16 * K), 0);
	forward(r, D_NS / 2);
	lease_release(r->a.session, l, R(0, 16 * K));
	lease_break_end(b);
	limit(r, LEASE_LIMIT_UID, 1001, 99, 7);
	assert_int_equal(lease_sessions(r->arbiter, 0, see, &s), 0);
	assert_int_equal(s.n, 3);
	assert_int_equal(s.info[0].session, lease_session_id(r->a.session));
	assert_int_equal(s.info[0].leases, 1);
	assert_int_equal(s.info[0].pinned_bytes, 48 * K);
	assert_int_equal(s.info[0].recalls, 1);
	assert_int_equal(s.info[0].slowest_ns, D_NS / 2);
	assert_int_equal(s.info[0].age_ns, D_NS / 2);
	assert_int_equal(s.info[0].bytes_limit, 99);
	assert_int_equal(s.info[0].leases_limit, 7);
	assert_int_equal(s.info[1].bytes_limit, UINT64_MAX);
	s.n = 0;
	assert_int_equal(lease_sessions(r->arbiter, lease_session_id(r->b.session), see, &s), 0);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.info[0].who.uid, 1003);
}

/* L26: every forced revocation leaves a record: who asked, why, how long it took; the oldest fall out. */
static void forced_revocations_are_on_record(void **state)
{
	struct rig *r = *state;
	uint64_t la = grant(r, &r->a, 1, R(0, 64 * K), LEASE_READ);
	uint64_t lb = grant(r, &r->b, 1, R(0, 64 * K), LEASE_WRITE);
	struct lease_audit got[4];
	uint64_t cursor = 0;
	struct lease_break *b;

	b = start_break(r, &r->b, R(0, 16 * K), 0);
	forward(r, D_NS);
	lease_break_end(b);
	assert_int_equal(lease_revoke_for(r->arbiter, lb, 0, 0, UINT32_MAX, r->c.session, "cleaning up"), 1);
	assert_int_equal(lease_audit_read(r->arbiter, &cursor, got, 4), 2);
	assert_int_equal(cursor, 2);
	assert_int_equal(got[0].number, 1);
	assert_int_equal(got[0].lease, la);
	assert_int_equal(got[0].who.uid, 1001);
	assert_range(got[0].range, 0, 16 * K);
	assert_int_equal(got[0].reason, LEASE_FOR_RELOCATE);
	assert_int_equal(got[0].took_ns, D_NS);
	assert_int_equal(got[0].asker_uid, 1002);
	assert_int_equal(got[0].asker_session, lease_session_id(r->b.session));
	assert_int_equal(got[1].lease, lb);
	assert_int_equal(got[1].reason, LEASE_FOR_ADMIN);
	assert_int_equal(got[1].asker_uid, 1003);
	assert_int_equal(got[1].mode, LEASE_WRITE);
	assert_string_equal(got[1].asked_by, "cleaning up");
	assert_true(got[1].at_ns >= got[0].at_ns);
	assert_int_equal(lease_audit_read(r->arbiter, &cursor, got, 4), 0);
	(void)la;
}

/* Revokes many by force with standard error in a file: how many lines, and whether one counts those left out. */
static unsigned long log_lines(struct rig *r, unsigned n, bool *counted)
{
	FILE *log = tmpfile();
	int err = dup(STDERR_FILENO);
	unsigned long lines = 0;
	char line[1024];

	assert_non_null(log);
	fflush(stderr);
	dup2(fileno(log), STDERR_FILENO);
	for (unsigned i = 0; i < n; i++) {
		grant(r, &r->a, 1, R(0, K), LEASE_READ);
		r->a.n = 0;
		lease_revoke(r->arbiter, 0, 0, 0, 1001, "flood");
		if (i + 1 == n - 1)
			usleep(300000);
	}
	fflush(stderr);
	dup2(err, STDERR_FILENO);
	close(err);
	rewind(log);
	while (fgets(line, sizeof(line), log)) {
		lines += strstr(line, "revoked by force") != NULL;
		*counted = *counted || strstr(line, "were left out");
	}
	fclose(log);
	return lines;
}

/* A hostile peer cannot fill the log: the rate is limited, the gap is counted, the ring has all that it can keep. */
static void a_flood_of_revocations_does_not_fill_the_log(void **state)
{
	struct rig *r = *state;
	uint64_t cursor = 0;
	struct lease_audit got;
	bool counted = false;
	unsigned long lines = log_lines(r, LEASE_AUDIT_MAX + 10, &counted);

	assert_in_range(lines, 2, LEASE_AUDIT_MAX / 4);
	assert_true(counted);
	assert_int_equal(lease_audit_read(r->arbiter, &cursor, &got, 1), 1);
	assert_int_equal(got.number, 11);
	assert_int_equal(cursor, 11);
}

/* --- I5 under load --------------------------------------------------------------------------------------------------
 */

#define THREADS 4
#define UIDS    3
#define KEEP    16

struct stress {
	struct lease_arbiter *arbiter;
	struct lease_anchor file[4];
	pthread_rwlock_t pause; /* whoever works holds it shared, who sums exclusively */
	pthread_mutex_t inode[4];
	atomic_bool stop;
	_Atomic unsigned long refused, attached, forced, closed;
	uint64_t seed;
};

static uint64_t rnd(uint64_t *s, uint64_t below)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return (*s >> 11) % below;
}

static void drain_nothing(void *pin, struct range range)
{
}

static void gone_nothing(void *pin)
{
}
static const struct lease_session_ops no_session_ops = {0};
static const struct lease_pin_ops no_ops = {.drain = drain_nothing, .gone = gone_nothing};

static struct range some_range(uint64_t *s)
{
	uint64_t start = rnd(s, 32);

	return R(start * K, (start + 1 + rnd(s, 32)) * K);
}

struct hands {
	struct stress *st;
	uint64_t rnd;
	struct lease_session *session;
	uint64_t lease[KEEP];
};

static void hands_open(struct hands *h)
{
	struct lease_identity who = {.uid = (uint32_t)rnd(&h->rnd, UIDS), .memlock_bytes = 96 * K};

	assert_int_equal(lease_session_open(h->st->arbiter, &no_session_ops, NULL, &who, &h->session), 0);
	memset(h->lease, 0, sizeof(h->lease));
}

static void do_grant(struct hands *h)
{
	struct stress *st = h->st;
	unsigned f = (unsigned)rnd(&h->rnd, 4);
	struct lease_grant_args args = {.anchor = &st->file[f],
					.session = h->session,
					.handle = rnd(&h->rnd, 3),
					.range = some_range(&h->rnd),
					.mode = rnd(&h->rnd, 2) ? LEASE_READ : LEASE_WRITE,
					.deadline_ns = rnd(&h->rnd, 2) ? LEASE_DEADLINE_NOW : NS_PER_MS,
					.faulting = rnd(&h->rnd, 8) == 0};
	struct lease_grant got;
	int err;

	pthread_mutex_lock(&st->inode[f]);
	err = lease_grant(st->arbiter, &args, &got);
	pthread_mutex_unlock(&st->inode[f]);
	if (err) {
		st->refused++;
		return;
	}
	h->lease[rnd(&h->rnd, KEEP)] = got.lease;
	for (uint64_t n = rnd(&h->rnd, 3); n > 0; n--) {
		if (lease_pin_attach(st->arbiter, got.lease, &no_ops, h, rnd(&h->rnd, 4)) == 0)
			st->attached++;
		else
			st->refused++;
	}
}

static void do_break(struct hands *h)
{
	struct lease_break_args args = {.anchor = &h->st->file[rnd(&h->rnd, 4)],
					.range = some_range(&h->rnd),
					.modes = LEASE_ALL,
					.reason = LEASE_FOR_PUNCH,
					.kind = LEASE_STOP,
					.owner = rnd(&h->rnd, 2) ? h->session : NULL,
					.deadline_ns = rnd(&h->rnd, 2) ? LEASE_DEADLINE_NOW : 0};
	struct lease_break *b;

	if (lease_break_start(h->st->arbiter, &args, &b) == 0)
		lease_break_detach(b);
}

static void do_limit(struct hands *h)
{
	struct lease_limit l = {.kind = (enum lease_limit_kind)rnd(&h->rnd, 3),
				.uid = (uint32_t)rnd(&h->rnd, UIDS),
				.none = rnd(&h->rnd, 2),
				.bytes = rnd(&h->rnd, 256 * K),
				.leases = rnd(&h->rnd, 64)};

	assert_int_equal(lease_limit_set(h->st->arbiter, &l), 0);
}

static void step(struct hands *h)
{
	struct stress *st = h->st;

	switch (rnd(&h->rnd, 16)) {
	case 0 ... 7:
		do_grant(h);
		break;
	case 8 ... 10:
		lease_release(h->session, h->lease[rnd(&h->rnd, KEEP)],
			      rnd(&h->rnd, 2) ? some_range(&h->rnd) : RANGE_ALL);
		break;
	case 11:
		lease_handle_close(h->session, rnd(&h->rnd, 3));
		break;
	case 12 ... 13:
		do_break(h);
		break;
	case 14:
		st->forced += (unsigned long)lease_revoke(st->arbiter, 0, 0, 0, (uint32_t)rnd(&h->rnd, UIDS), "stress");
		do_limit(h);
		break;
	default:
		if (rnd(&h->rnd, 8))
			break;
		lease_session_close(h->session);
		hands_open(h);
		st->closed++;
	}
}

static void *worker(void *arg)
{
	struct hands *h = arg;

	hands_open(h);
	while (!atomic_load(&h->st->stop)) {
		pthread_rwlock_rdlock(&h->st->pause);
		for (unsigned i = 0; i < 20; i++)
			step(h);
		lease_tick(h->st->arbiter);
		pthread_rwlock_unlock(&h->st->pause);
	}
	lease_session_close(h->session);
	return NULL;
}

/* I5: partial releases, breaks, force, revocation and vanishing sessions, with limits that change. */
static void charges_are_the_sum_over_live_pins(void **state)
{
	const char *given = getenv("LEASE_STRESS_SEED");
	struct stress *st = calloc(1, sizeof(*st));
	struct lease_options opt = {.no_timer_thread = true, .deadline_ns = NS_PER_MS};
	struct hands *hands = calloc(THREADS, sizeof(*hands));
	pthread_t thread[THREADS];
	pthread_rwlockattr_t attr;
	uint64_t end = clock_now_ns() + 2 * NS_PER_SEC;
	unsigned checks = 0;

	(void)state;
	setenv("LEASEHOLD_LOG", "error", 1);
	st->seed = given ? strtoull(given, NULL, 0) : clock_now_ns() | 1;
	printf("seed %llu\n", (unsigned long long)st->seed);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&st->pause, &attr);
	assert_int_equal(lease_arbiter_new(&opt, &st->arbiter), 0);
	for (unsigned f = 0; f < 4; f++) {
		lease_anchor_init(&st->file[f], 100 + f);
		pthread_mutex_init(&st->inode[f], NULL);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		hands[i] = (struct hands){.st = st, .rnd = st->seed * 31 + i * 7919 + 1};
		pthread_create(&thread[i], NULL, worker, &hands[i]);
	}
	while (clock_now_ns() < end) {
		usleep(2000);
		pthread_rwlock_wrlock(&st->pause);
		assert_true(lease_ledger_holds(st->arbiter));
		pthread_rwlock_unlock(&st->pause);
		checks++;
	}
	st->stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_true(lease_ledger_holds(st->arbiter));
	printf("%u checks; %lu pins attached, %lu refused, %lu leases revoked, %lu sessions closed\n", checks,
	       st->attached, st->refused, st->forced, st->closed);
	assert_true(st->attached > 0 && st->refused > 0 && st->forced > 0 && st->closed > 0);
	lease_arbiter_free(st->arbiter);
	free(hands);
	free(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_case(a_charge_lives_from_the_pin_to_the_drain_of_each_part),
	    test_case(a_charge_returns_however_the_lease_ends),
	    test_case(a_faulting_lease_counts_but_weighs_nothing),
	    test_case(over_memlock_is_enomem_with_the_way_out),
	    test_case(over_an_administrators_limit_is_edquot),
	    test_case(what_is_over_stays_and_root_has_no_default),
	    test_case(sessions_are_listed_with_how_they_answer),
	    test_case(forced_revocations_are_on_record),
	    test_case(a_flood_of_revocations_does_not_fill_the_log),
	    cmocka_unit_test(charges_are_the_sum_over_live_pins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
