/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L38, I1, I7): operations crashed at every event, judged by the reference filesystem.
 *
 *	crash_seq ops [SHARD/SHARDS [VARIANTS]]		every kind of operation by itself, in several variants
 *	crash_seq random [SHARD/SHARDS [FIRST COUNT]]	seeded sequences of several operations
 *	crash_seq soak SHARD/SHARDS SECONDS [FIRST]		the same from seed 1,000,000 on, until the time is over
 *
 * A failure prints an id; CRASH=id with the same program and first argument reruns exactly that state.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crash_make.h"

#define VARIANTS     10u
#define RANDOM_COUNT 4600u
#define SOAK_FIRST   1000000u
#define FAILED_MAX   5u

struct limits {
	unsigned outcomes, torn, states, events, recovery_outcomes;
};

/* 0, or the test is to end. */
static int run(struct world *w, const char *name, const struct limits *l)
{
	struct crash_result r;
	struct crash_case c;
	int err;

	world_case(w, &c);
	c.name = name;
	c.outcomes_max = l->outcomes;
	c.torn = l->torn;
	c.recovery_states = l->states;
	c.recovery_events = l->events;
	c.recovery_outcomes = l->recovery_outcomes;
	c.quiet = false;
	c.brief = true;
	err = crash_run_counted(&c, &r);
	if (err || r.failed) {
		fprintf(stderr, "%s: operations:\n", name);
		world_print(w, stderr);
	}
	return err || crash_totals.failed >= FAILED_MAX;
}

/* --- one operation at a time -----------------------------------------------------------------------------------------
 */

static int run_op(enum fsop_kind kind, unsigned variant, enum pool_class class)
{
	static const struct limits all = {0, 8, 2, 6, 4};
	struct world *w = world_new();
	char name[64];
	int stop = 0;

	snprintf(name, sizeof(name), "op-%s-%u-%s", fsop_name(kind), variant, pool_class_name(class));
	if (!getenv("CRASH") || strncmp(getenv("CRASH"), name, strlen(name)) == 0) {
		if (!world_make_op(w, kind, variant)) {
			fprintf(stderr, "%s: no such operation that succeeds was found\n", name);
			crash_totals.failed++;
		} else {
			w->unmounted = variant % 2;
			w->checkpoint_first = variant % 3 == 2;
			world_prepare(w, class);
			stop = run(w, name, &all);
			world_free(w);
		}
	}
	free(w);
	return stop;
}

static void run_ops(unsigned shard, unsigned shards, unsigned variants)
{
	unsigned n = 0;

	for (unsigned kind = 0; kind < FSOP_KINDS; kind++) {
		if ((fsop_missing | WORLD_READ_ONLY_OPS) & FSOP_BIT(kind))
			continue;
		for (unsigned v = 0; v < variants; v++) {
			for (unsigned c = 0; c < 2; c++) {
				if (n++ % shards == shard &&
				    run_op((enum fsop_kind)kind, v, c ? POOL_MSYNC : POOL_CACHE_FLUSH))
					return;
			}
		}
	}
}

/* --- sequences -------------------------------------------------------------------------------------------------------
 */

static int run_seed(uint64_t seed)
{
	static const struct limits some = {120, 4, 1, 3, 3};
	enum pool_class class = seed % 3 ? POOL_CACHE_FLUSH : POOL_MSYNC;
	struct world *w = world_new();
	char name[64];
	int stop;

	world_make_ops(w, seed);
	world_prepare(w, class);
	snprintf(name, sizeof(name), "seq-%" PRIu64 "-%s", seed, pool_class_name(class));
	stop = run(w, name, &some);
	world_free(w);
	free(w);
	return stop;
}

static void run_random(unsigned shard, unsigned shards, uint64_t first, uint64_t count, uint64_t seconds)
{
	const char *only = getenv("CRASH");
	time_t began = time(NULL);

	if (only) {
		uint64_t seed;

		if (sscanf(only, "seq-%" SCNu64, &seed) == 1)
			run_seed(seed);
		return;
	}
	for (uint64_t k = 0; k < count; k++) {
		if (k % shards != shard)
			continue;
		if (run_seed(first + k))
			return;
		if (seconds && (uint64_t)(time(NULL) - began) >= seconds)
			return;
		if (seconds && k % 256 == shard)
			fprintf(stderr, "soak: %" PRIu64 " s of %" PRIu64 ", %" PRIu64 " states, %" PRIu64 " failed\n",
				(uint64_t)(time(NULL) - began), seconds, crash_totals.verified + crash_totals.equal,
				crash_totals.failed);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned shard = 0, shards = 1;

	world_init();
	if (argc > 2 && (sscanf(argv[2], "%u/%u", &shard, &shards) != 2 || shards == 0 || shard >= shards))
		return 2;
	if (strcmp(what, "ops") == 0)
		run_ops(shard, shards, argc > 3 ? (unsigned)atoi(argv[3]) : VARIANTS);
	else if (strcmp(what, "random") == 0)
		run_random(shard, shards, argc > 3 ? strtoull(argv[3], NULL, 0) : 1,
			   argc > 4 ? strtoull(argv[4], NULL, 0) : RANDOM_COUNT, 0);
	else if (strcmp(what, "soak") == 0 && argc > 3)
		run_random(shard, shards, argc > 4 ? strtoull(argv[4], NULL, 0) : SOAK_FIRST, UINT64_MAX,
			   strtoull(argv[3], NULL, 0));
	else
		return 2;
	crash_totals_print();
	return crash_totals.failed != 0;
}
