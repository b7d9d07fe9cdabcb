/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The crash runner: does a piece of work on a simulated pool again and again, crashes it at event 0, 1, 2 ... until it
 * survives, builds what each crash may have left on the medium and asks the test to recover from it and to judge. Then
 * it crashes the recovery, too. It knows no filesystem: the test gives it functions over a pool.
 *
 *   setup    makes the starting state (mkfs, files). Once; not crashed; its end is durable in full.
 *   begin    optional; gets ready (mount). Before every act; not crashed, but what it leaves unflushed is pending.
 *   act      the work. Every event in it is a crash point; the moment after it returns is one as well (act_finished).
 *            Must do the same events every time: no timers, no random numbers without a seed.
 *   end      optional; gives back what begin and act hold in memory (unmount). Nothing that it stores is looked at.
 *   verify   recovers (mounts), checks everything (fsck, the oracle), unmounts. Gets a pool of its own, may store to
 * it, and returns 0, or anything else after saying what is wrong (fail() text is printed). With act_finished everything
 * that act promised must be there; without, the operation under way whole or absent. sim_marked(crashed) is the last
 * number that act gave to sim_mark: how many of several operations had returned. recover  optional; recovery alone
 * (mount, unmount), for the crashes during recovery. verify takes its place.
 *
 * States that were verified already (equal content, mark and act_finished) are not verified again. A failure prints an
 * id: CRASH=case:event:outcome[:event2:outcome2] outcome is the number of sim_outcome, or t and the seed's number of a
 * torn one (sim_fork_torn). The same test run with that environment variable runs exactly this state, and skips the
 * other cases. CRASH_SEED=n takes other samples (printed, when it is set, with the id). CRASH_FULL=1 tries all outcomes
 * of every event, 64 torn ones, and crashes 16 recoveries per event at each of their events.
 */
#ifndef LH_TESTS_CRASH_RUNNER_H
#define LH_TESTS_CRASH_RUNNER_H

#include "pool/sim.h"

struct crash_case {
	const char *name;   /* for the id: no ':' and no spaces */
	uint64_t pool_size; /* 0: POOL_SIZE_MIN */
	uint64_t pool_room; /* that it can grow to; 0: pool_size */
	enum pool_class class;
	int (*setup)(struct pool *p, void *ctx);
	int (*begin)(struct pool *p, void *ctx);
	int (*act)(struct pool *p, void *ctx);
	int (*end)(struct pool *p, void *ctx);
	int (*verify)(struct pool *crashed, bool act_finished, void *ctx);
	int (*recover)(struct pool *crashed, void *ctx);
	void *ctx;
	/* Limits; 0 is the default in brackets. They make samples out of all states, and the counts printed say so. */
	uint64_t seed;
	uint64_t first_event;  /* crash points before it are left out: another case has them */
	unsigned outcomes_max; /* outcomes per event (1,100: more than all subsets of 10 units) */
	unsigned torn; /* torn outcomes per event (8); CRASH_NONE for none, on a medium whose lines are atomic */
	unsigned recovery_states;   /* states per event whose recovery is crashed (2); CRASH_NONE */
	unsigned recovery_events;   /* crash points per such recovery, its end included (6) */
	unsigned recovery_outcomes; /* outcomes per such point (4) */
	bool quiet;                 /* print nothing but an abort: for tests of the runner itself */
	bool brief;                 /* no line when all is well: for programs with thousands of cases */
};
#define CRASH_NONE UINT32_MAX

#define CRASH_EVENTS_MAX 1000000u /* an act that does not end by then is a mistake: -E2BIG */
#define CRASH_FAILED_MAX 10u      /* failures after which a case gives up */
#define CRASH_ID_MAX     160u

struct crash_result {
	uint64_t events;          /* crash points of the act, the one after its end included */
	uint64_t states;          /* states verified, both kinds */
	uint64_t recovery_states; /* of these, after a crash during recovery */
	uint64_t repeated;        /* states not verified because an equal one was */
	uint64_t untried;         /* outcomes of the act's crashes beyond outcomes_max */
	uint64_t failed;
	bool skipped;                /* CRASH names another case */
	char first_id[CRASH_ID_MAX]; /* of the first failure: the CRASH variable's value */
};

/*
 * Runs the case. 0: it ran; look at out->failed. Otherwise the test is broken, said on standard error: -E2BIG, -EINVAL
 * (an id in CRASH that does not exist), or what setup, begin, act or end returned.
 */
int crash_run(const struct crash_case *c, struct crash_result *out);
/* The same, taking the id and the seed as arguments instead of from the environment; NULL runs all. */
int crash_run_id(const struct crash_case *c, const char *id, struct crash_result *out);

#endif
