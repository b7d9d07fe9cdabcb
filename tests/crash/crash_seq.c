/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L38, I1, I7): operations crashed at every event, judged by the reference filesystem.
 *
 *	crash_seq ops [SHARD/SHARDS [VARIANTS]]		every kind of operation by itself, in several variants
 *	crash_seq random [SHARD/SHARDS [FIRST COUNT]]	seeded sequences of several operations
 *	crash_seq soak SHARD/SHARDS SECONDS		the same from seed 1,000,000 on, until the time is over
 *
 * A failure prints an id; CRASH=id with the same program and first argument reruns exactly that state.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crash_world.h"

#define VARIANTS     10u
#define RANDOM_COUNT 400u
#define SOAK_FIRST   1000000u
#define PROBES       4000u
#define FAILED_MAX   5u
#define RANDOM_OPS   4u
#define READ_ONLY_OPS                                                                                                  \
	(FSOP_BIT(OP_READLINK) | FSOP_BIT(OP_STAT) | FSOP_BIT(OP_READDIR) | FSOP_BIT(OP_READ) |                        \
	 FSOP_BIT(OP_XATTR_GET) | FSOP_BIT(OP_XATTR_LIST) | FSOP_BIT(OP_SEEK))

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

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	return w;
}

/* --- one operation at a time -----------------------------------------------------------------------------------------
 */

/* A seeded tree and, from where its operations end, the first that is of the kind and does something. */
static bool find_op(struct world *w, enum fsop_kind kind, unsigned variant)
{
	for (uint64_t probe = 0; probe < PROBES; probe++) {
		struct fsop_maker m = {.random = 77 + kind * 1000003ull + variant * 7919ull + probe * 104729ull,
				       .without = fsop_missing | READ_ONLY_OPS};
		struct oracle *o = oracle_new(false);
		struct fsop_result r = {.value = -1};
		struct fsop op;

		w->setup = 14 + (unsigned)(probe % 10);
		w->warm = 8;
		for (unsigned k = 0; k < w->setup + w->warm; k++) {
			if (k == w->setup) {
				oracle_close_all(o);
				m.open = 0;
			}
			fsop_make(&m, &w->op[k]);
			oracle_do(o, &w->op[k], &r);
		}
		for (unsigned tries = 0; tries < 400; tries++) {
			struct oracle *before = oracle_copy(o);

			fsop_make(&m, &op);
			if (op.kind != kind || (kind == OP_CLOSE && tries < 100)) {
				oracle_free(before);
				continue;
			}
			oracle_do(before, &op, &r);
			if (r.value >= 0 && oracle_was_atomic(before)) {
				oracle_free(before);
				oracle_free(o);
				w->op[w->setup + w->warm] = op;
				w->ops = w->warm + 1;
				return true;
			}
			oracle_free(before);
		}
		oracle_free(o);
	}
	return false;
}

static int run_op(enum fsop_kind kind, unsigned variant, enum pool_class class)
{
	static const struct limits all = {0, 8, 2, 6, 4};
	struct world *w = world_new();
	char name[64];
	int stop = 0;

	snprintf(name, sizeof(name), "op-%s-%u-%s", fsop_name(kind), variant, pool_class_name(class));
	if (!getenv("CRASH") || strncmp(getenv("CRASH"), name, strlen(name)) == 0) {
		if (!find_op(w, kind, variant)) {
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
		if ((fsop_missing | READ_ONLY_OPS) & FSOP_BIT(kind))
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

/* Operations that take several steps are left out: a crash between these is no state of the reference. */
static void make_ops(struct world *w, uint64_t seed)
{
	struct fsop_maker m = {.random = seed, .without = fsop_missing | READ_ONLY_OPS};
	struct oracle *o = oracle_new(false);
	uint64_t dice = seed * 77;
	struct fsop_result r;
	unsigned total;

	w->setup = 6 + (unsigned)(sim_random(&dice) % 20);
	w->warm = (unsigned)(sim_random(&dice) % 10);
	w->ops = w->warm + 1 + (unsigned)(sim_random(&dice) % RANDOM_OPS);
	w->unmounted = sim_random(&dice) % 2;
	w->checkpoint_first = sim_random(&dice) % 4 == 0;
	total = w->setup + w->ops;
	for (unsigned k = 0; k < total; k++) {
		struct oracle *before;

		if (k == w->setup) {
			oracle_close_all(o);
			m.open = 0;
		}
		before = oracle_copy(o);
		fsop_make(&m, &w->op[k]);
		oracle_do(o, &w->op[k], &r);
		/* What is refused is tested elsewhere. */
		if (!oracle_was_atomic(o) || (r.value < 0 && sim_random(&dice) % 8)) {
			oracle_free(o);
			o = before;
			k--;
		} else {
			oracle_free(before);
		}
	}
	oracle_free(o);
}

static int run_seed(uint64_t seed)
{
	static const struct limits some = {40, 3, 1, 3, 3};
	enum pool_class class = seed % 3 ? POOL_CACHE_FLUSH : POOL_MSYNC;
	struct world *w = world_new();
	char name[64];
	int stop;

	make_ops(w, seed);
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
		run_random(shard, shards, SOAK_FIRST, UINT64_MAX, strtoull(argv[3], NULL, 0));
	else
		return 2;
	crash_totals_print();
	return crash_totals.failed != 0;
}
