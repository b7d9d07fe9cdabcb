/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L34: "the client, by its own clock minus a margin, has already stopped": however wrong both clocks run, however
 * late messages arrive and threads are scheduled, never a client that still trusts its leases while the server has
 * revoked them. Thousands of random schedules with the functions that the client itself uses; a failure prints its
 * seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

#include "client/margin.h"

#include <cmocka.h>

#define SCHEDULES 20000u
#define STEPS     400u
#define LEASE_NS  10000000000ull
#define MESSAGES  64u

/* Both clocks, in parts of a million of real time; and where they began. */
struct clocks {
	int64_t client_ppm, server_ppm;
	uint64_t client_off, server_off;
};

struct message {
	uint64_t sent;     /* the client's clock */
	uint64_t arrives;  /* real time */
	uint64_t answered; /* real time; 0: lost */
};

struct world {
	struct clocks clocks;
	struct margin margin;
	struct message flying[MESSAGES];
	unsigned count;
	uint64_t real;
	uint64_t heard; /* the server's clock */
	bool revoked;
};

static uint64_t random_below(unsigned *seed, uint64_t n)
{
	return (((uint64_t)rand_r(seed) << 31) ^ (uint64_t)rand_r(seed)) % n;
}

static uint64_t client_now(const struct world *w)
{
	return w->clocks.client_off + w->real + (uint64_t)((int64_t)(w->real / 1000) * w->clocks.client_ppm / 1000);
}

static uint64_t server_now(const struct world *w)
{
	return w->clocks.server_off + w->real + (uint64_t)((int64_t)(w->real / 1000) * w->clocks.server_ppm / 1000);
}

static void send(struct world *w, unsigned *seed)
{
	struct message *m;
	uint64_t way = random_below(seed, random_below(seed, 4) ? LEASE_NS / 50 : LEASE_NS);

	if (w->count == MESSAGES)
		return;
	m = &w->flying[w->count++];
	m->sent = client_now(w);
	m->arrives = w->real + way;
	m->answered = random_below(seed, 5) ? m->arrives + random_below(seed, LEASE_NS / 20) : 0;
}

/* What has arrived by now, at either side. */
static void deliver(struct world *w)
{
	for (unsigned i = 0; i < w->count;) {
		struct message *m = &w->flying[i];

		if (m->arrives && m->arrives <= w->real) {
			/* A session that is dead answers nothing. The server reads late at worst: that only helps. */
			if (w->revoked)
				m->answered = 0;
			else
				w->heard = server_now(w);
			m->arrives = 0;
		}
		if (!m->arrives && m->answered && m->answered <= w->real) {
			margin_confirm(&w->margin, m->sent);
			m->answered = 0;
		}
		if (!m->arrives && !m->answered)
			*m = w->flying[--w->count];
		else
			i++;
	}
}

/* How often it trusted. */
static unsigned schedule(unsigned number, const struct clocks *clocks)
{
	unsigned seed = number;
	struct world w = {.clocks = *clocks};
	unsigned trusted = 0;

	w.clocks.client_off = random_below(&seed, LEASE_NS * 100);
	w.clocks.server_off = random_below(&seed, LEASE_NS * 100);
	margin_init(&w.margin, LEASE_NS, client_now(&w));
	w.heard = server_now(&w);
	for (unsigned i = 0; i < STEPS; i++) {
		bool stopped = random_below(&seed, 60) == 0;

		w.real += random_below(&seed, stopped ? 2 * LEASE_NS : LEASE_NS / 20);
		deliver(&w);
		if (!w.revoked && server_now(&w) - w.heard > LEASE_NS)
			w.revoked = true;
		if (margin_trusted(&w.margin, client_now(&w))) {
			trusted++;
			if (w.revoked)
				fail_msg("schedule %u, client %+lld ppm, server %+lld ppm: trusted and revoked", number,
					 (long long)clocks->client_ppm, (long long)clocks->server_ppm);
		}
		if (random_below(&seed, 3) == 0)
			send(&w, &seed);
	}
	return trusted;
}

/* Server fast and client slow by up to 5 % each: far more than clocks are ever wrong. */
static void never_trusted_and_revoked(void **state)
{
	uint64_t trusted = 0;

	for (unsigned i = 1; i <= SCHEDULES; i++) {
		unsigned seed = i;
		struct clocks c = {.client_ppm = -(int64_t)random_below(&seed, 50000),
				   .server_ppm = (int64_t)random_below(&seed, 50000)};

		trusted += schedule(i, &c);
	}
	/* Or else nothing was tested. */
	assert_true(trusted > SCHEDULES * 10);
}

/* The test has teeth: what the margin is for happens without it. */
static void without_a_margin_both_happen(void **state)
{
	struct margin m;
	uint64_t real;

	/* Client 5 % slow, server 5 % fast; the last message was sent and heard at 0. */
	margin_init(&m, LEASE_NS, 0);
	atomic_store(&m.trust_ns, LEASE_NS);
	real = LEASE_NS;
	assert_true(real + real / 20 > LEASE_NS);          /* the server has revoked */
	assert_true(margin_trusted(&m, real - real / 20)); /* and the client would go on */
	margin_init(&m, LEASE_NS, 0);
	assert_false(margin_trusted(&m, real - real / 20));
}

static void trust_begins_with_the_sending(void **state)
{
	struct margin m;

	margin_init(&m, LEASE_NS, 1000);
	assert_true(margin_trusted(&m, 1000));
	assert_true(margin_trusted(&m, 999 + LEASE_NS - margin_of(LEASE_NS)));
	assert_false(margin_trusted(&m, 1000 + LEASE_NS - margin_of(LEASE_NS)));
	margin_confirm(&m, 5000);
	assert_true(margin_trusted(&m, 4999 + LEASE_NS - margin_of(LEASE_NS)));
	/* Answers that overtake each other take nothing back. */
	margin_confirm(&m, 4000);
	assert_true(margin_trusted(&m, 4999 + LEASE_NS - margin_of(LEASE_NS)));
	/* A server without lease time is believed for ever. */
	margin_init(&m, 0, 0);
	assert_true(margin_trusted(&m, UINT64_MAX - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(trust_begins_with_the_sending),
	    cmocka_unit_test(never_trusted_and_revoked),
	    cmocka_unit_test(without_a_margin_both_happen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
