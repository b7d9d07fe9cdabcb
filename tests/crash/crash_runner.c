/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The crash runner (crash_runner.h). One run of the act yields one crash point; its outcomes are forks of the capture,
 * so the act runs once per event and not once per state.
 *
 * Two levels share one loop over outcomes: level 1 is the act's crash, level 2 that of a recovery. What differs is
 * where the captured pool comes from.
 */
#include "crash_runner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define DEFAULT_SEED       0x1ea5e401du
#define DEFAULT_OUTCOMES   1100u
#define DEFAULT_TORN       8u
#define DEFAULT_R_STATES   2u
#define DEFAULT_R_EVENTS   6u
#define DEFAULT_R_OUTCOMES 4u
#define FULL_TORN          64u
#define FULL_R_OUTCOMES    64u
#define CHOSEN_MAX         16u /* states per event whose recovery is crashed, at most */
#define PROGRESS_STATES    20000u
#define SEEN_START         1024u

/* One outcome of a captured pool: a mask's number, or a torn one's. */
struct outcome {
	bool torn;
	uint64_t index;
};

/* An id in parts. */
struct crash_id {
	char name[64];
	unsigned levels; /* 0: all, 1: event and outcome, 2: both twice */
	uint64_t event[2];
	struct outcome outcome[2];
};

/* Hashes of the states verified; open addressing, 0 is empty. */
struct seen {
	uint64_t *slot;
	uint64_t slots; /* a power of two */
	uint64_t count;
};

struct run {
	const struct crash_case *c;
	struct crash_result *r;
	struct crash_id only;
	struct crash_id at; /* where we are, for messages */
	uint64_t seed;
	bool full;
	struct pool *origin; /* after setup */
	struct seen seen;
};

static unsigned limit(unsigned asked, unsigned otherwise)
{
	if (asked == CRASH_NONE)
		return 0;
	return asked ? asked : otherwise;
}

/* The slot of the hash: its own, or the free one where it belongs. */
static uint64_t *seen_slot(struct seen *s, uint64_t hash)
{
	uint64_t i = hash & (s->slots - 1);

	while (s->slot[i] && s->slot[i] != hash)
		i = (i + 1) & (s->slots - 1);
	return &s->slot[i];
}

static bool seen_grow(struct seen *s)
{
	struct seen bigger = {.slots = s->slots ? s->slots * 2 : SEEN_START, .count = s->count};

	bigger.slot = calloc(bigger.slots, sizeof(bigger.slot[0]));
	if (!bigger.slot)
		return false;
	for (uint64_t i = 0; i < s->slots; i++)
		if (s->slot[i])
			*seen_slot(&bigger, s->slot[i]) = s->slot[i];
	free(s->slot);
	*s = bigger;
	return true;
}

/* Whether the hash is new; remembers it. Without memory everything is new, which is slow and right. */
static bool seen_add(struct seen *s, uint64_t hash)
{
	uint64_t *slot;

	hash = hash ? hash : 1;
	if (s->count * 2 >= s->slots && !seen_grow(s))
		return true;
	slot = seen_slot(s, hash);
	if (*slot)
		return false;
	*slot = hash;
	s->count++;
	return true;
}

static void id_print(const struct crash_id *id, char *to, size_t size)
{
	size_t n = (size_t)snprintf(to, size, "%s", id->name);

	for (unsigned l = 0; l < id->levels && n < size; l++)
		n += (size_t)snprintf(to + n, size - n, ":%" PRIu64 ":%s%" PRIu64, id->event[l],
				      id->outcome[l].torn ? "t" : "", id->outcome[l].index);
}

static bool parse_number(const char **text, uint64_t *out)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*out = strtoull(*text, &end, 10);
	*text = end;
	return errno == 0;
}

static int id_parse(const char *text, struct crash_id *out)
{
	size_t n = strcspn(text, ":");

	memset(out, 0, sizeof(*out));
	if (n == 0 || n >= sizeof(out->name))
		return -EINVAL;
	memcpy(out->name, text, n);
	text += n;
	while (*text) {
		unsigned l = out->levels;

		if (l == ARRAY_LEN(out->event) || *text++ != ':' || !parse_number(&text, &out->event[l]) ||
		    *text++ != ':')
			return -EINVAL;
		if (*text == 't') {
			out->outcome[l].torn = true;
			text++;
		}
		if (!parse_number(&text, &out->outcome[l].index))
			return -EINVAL;
		out->levels++;
	}
	return 0;
}

static int broken(const struct run *run, const char *what, int err)
{
	char id[CRASH_ID_MAX];

	id_print(&run->at, id, sizeof(id));
	fprintf(stderr, "crash: %s: the test is broken: %s returned %d (%s)\n", id, what, err, fail_text());
	return err < 0 ? err : -EINVAL;
}

static void report_failure(struct run *run, int err)
{
	char id[CRASH_ID_MAX];

	id_print(&run->at, id, sizeof(id));
	if (run->r->failed++ == 0)
		memcpy(run->r->first_id, id, sizeof(id));
	if (run->c->quiet)
		return;
	fprintf(stderr, "crash: FAILED %s: verify returned %d%s%s; again with:", id, err, *fail_text() ? ": " : "",
		fail_text());
	if (run->seed != (run->c->seed ? run->c->seed : DEFAULT_SEED))
		fprintf(stderr, " CRASH_SEED=%" PRIu64, run->seed);
	fprintf(stderr, " CRASH=%s\n", id);
}

static int outcome_fork(const struct run *run, const struct pool *captured, struct outcome o, struct pool **out)
{
	uint64_t mask[SIM_MASK_WORDS];
	unsigned pending = sim_pending(captured);

	if (o.torn)
		return sim_fork_torn(captured, run->seed ^ (o.index + 1) * 0xe7037ed1a0b428dbull, out);
	if (o.index >= sim_outcomes(pending))
		return fail(-EINVAL, "there is no outcome %" PRIu64 " with %u units pending", o.index, pending);
	sim_outcome(pending, o.index, run->seed, mask);
	return sim_fork(captured, mask, out);
}

/* Forks one outcome and verifies it, unless an equal one was. *is_new tells. 0, or the test is broken. */
static int verify_outcome(struct run *run, const struct pool *captured, struct outcome o, bool finished, bool *is_new)
{
	struct pool *crashed;
	uint64_t hash;
	int err = outcome_fork(run, captured, o, &crashed);

	if (err)
		return broken(run, "building the state", err);
	hash = sim_hash(crashed) ^ (sim_marked(crashed) * 2 + finished + 1) * 0x9fb21c651e98df25ull;
	*is_new = seen_add(&run->seen, hash);
	if (!*is_new && run->only.levels == 0) {
		run->r->repeated++;
		pool_close(crashed);
		return 0;
	}
	run->r->states++;
	run->r->recovery_states += run->at.levels == 2;
	fail_clear();
	err = run->c->verify(crashed, finished, run->c->ctx);
	if (err)
		report_failure(run, err);
	pool_close(crashed);
	if (!run->c->quiet && run->r->states % PROGRESS_STATES == 0)
		fprintf(stderr, "crash: %s: event %" PRIu64 ", %" PRIu64 " states so far\n", run->c->name,
			run->at.event[0], run->r->states);
	return 0;
}

/*
 * The k-th of `max` outcomes when there are more, `all`: none and all first, then in turn the seeded subsets (last in
 * sim_outcome's order) and any. Repetitions cost a hash.
 */
static uint64_t pick_outcome(struct run *run, uint64_t k, unsigned pending, uint64_t all)
{
	bool subsets = pending <= SIM_SUBSETS_UNITS;
	uint64_t state = run->seed ^ (run->at.event[0] << 32) ^ (run->at.event[1] << 16) ^ k;

	if (k == 0)
		return 0;
	if (k == 1)
		return subsets ? all - 1 : 1;
	if (!subsets && k % 2 == 0 && k / 2 - 1 < SIM_SAMPLES)
		return all - SIM_SAMPLES + k / 2 - 1;
	return sim_random(&state) % all;
}

/* States whose recovery will be crashed: a seeded sample of the new ones of an event (reservoir). */
struct chosen {
	struct outcome o[CHOSEN_MAX];
	unsigned count;
	unsigned max;
	uint64_t offered;
	uint64_t random;
};

static void chosen_offer(struct chosen *ch, struct outcome o)
{
	uint64_t at = ch->offered++;

	if (at >= ch->max)
		at = sim_random(&ch->random) % ch->offered;
	if (at >= ch->max)
		return;
	ch->o[at] = o;
	if (ch->count <= at)
		ch->count = (unsigned)at + 1;
}

/* Verifies outcomes of a capture, at most max and then `torn` torn ones. ch may be NULL. */
static int verify_outcomes(struct run *run, const struct pool *captured, bool finished, uint64_t max, unsigned torn,
			   struct chosen *ch)
{
	unsigned level = run->at.levels - 1, pending = sim_pending(captured);
	uint64_t all = sim_outcomes(pending), n = min_u64(all, max);
	int err = 0;

	run->r->untried += level == 0 ? all - n : 0;
	if (pending == 0)
		torn = 0;
	for (uint64_t k = 0; k < n + torn && !err && run->r->failed < CRASH_FAILED_MAX; k++) {
		struct outcome o = {.torn = k >= n};
		bool is_new;

		if (o.torn)
			o.index = k - n;
		else
			o.index = n == all ? k : pick_outcome(run, k, pending, all);
		run->at.outcome[level] = o;
		err = verify_outcome(run, captured, o, finished, &is_new);
		if (!err && is_new && ch)
			chosen_offer(ch, o);
	}
	return err;
}

static int recover(struct run *run, struct pool *p, bool finished)
{
	if (run->c->recover)
		return run->c->recover(p, run->c->ctx);
	return run->c->verify(p, finished, run->c->ctx);
}

/*
 * Recovers one outcome of the act's capture, crashed at event `at` of that; *recovered is the pool with the capture. A
 * recovery that fails is no news here: the same state was verified before.
 */
static int crash_recovery_at(struct run *run, const struct pool *captured, bool finished, uint64_t at,
			     struct pool **recovered, uint64_t *events)
{
	int err = outcome_fork(run, captured, run->at.outcome[0], recovered);

	if (err)
		return broken(run, "building the state", err);
	sim_arm(*recovered, at);
	(void)recover(run, *recovered, finished);
	*events = sim_events(*recovered);
	sim_capture(*recovered);
	return 0;
}

/* Crashes the recovery of one outcome at a seeded event of each of some equal stretches; the last is its end. */
static int crash_recovery(struct run *run, const struct pool *captured, bool finished)
{
	uint64_t points, tries, random = run->seed ^ run->at.event[0] ^ run->at.outcome[0].index << 20;
	struct pool *recovered;
	int err;

	err = crash_recovery_at(run, captured, finished, UINT64_MAX, &recovered, &points);
	if (err)
		return err;
	pool_close(recovered);
	points++;
	tries = run->full ? points : min_u64(points, limit(run->c->recovery_events, DEFAULT_R_EVENTS));
	for (uint64_t i = 0; i < tries && !err && run->r->failed < CRASH_FAILED_MAX; i++) {
		uint64_t from = i * points / tries, to = (i + 1) * points / tries, events;
		uint64_t at = i == tries - 1 ? points - 1 : from + sim_random(&random) % (to - from);

		err = crash_recovery_at(run, captured, finished, at, &recovered, &events);
		if (err)
			return err;
		run->at.levels = 2;
		run->at.event[1] = at;
		err =
		    verify_outcomes(run, recovered, finished,
				    run->full ? FULL_R_OUTCOMES : limit(run->c->recovery_outcomes, DEFAULT_R_OUTCOMES),
				    run->c->torn == CRASH_NONE ? 0 : 1, NULL);
		pool_close(recovered);
		run->at.levels = 1;
		run->at.event[1] = 0;
	}
	return err;
}

/* Runs the act on a fresh fork and crashes it before event `at`; *out has the capture. */
static int act_run(struct run *run, uint64_t at, struct pool **out, bool *finished)
{
	const struct crash_case *c = run->c;
	const uint64_t nothing[SIM_MASK_WORDS] = {0};
	struct pool *p;
	int err;

	run->at.levels = 0;
	err = sim_fork(run->origin, nothing, &p);
	if (err)
		return broken(run, "copying the pool", err);
	err = c->begin ? c->begin(p, c->ctx) : 0;
	if (err) {
		pool_close(p);
		return broken(run, "begin", err);
	}
	sim_arm(p, at);
	err = c->act(p, c->ctx);
	if (err)
		err = broken(run, "act", err);
	*finished = !sim_captured(p);
	sim_capture(p);
	if (c->end) {
		int end_err = c->end(p, c->ctx);

		if (end_err && !err)
			err = broken(run, "end", end_err);
	}
	if (err) {
		pool_close(p);
		return err;
	}
	*out = p;
	return 0;
}

/* All outcomes of the crash before one event, and the crashes of some of their recoveries. */
static int run_event(struct run *run, uint64_t at, bool *finished)
{
	const struct crash_case *c = run->c;
	struct chosen ch = {.random = run->seed + at};
	struct pool *captured;
	int err;

	ch.max = run->full ? CHOSEN_MAX : limit(c->recovery_states, DEFAULT_R_STATES);
	ch.max = ch.max < CHOSEN_MAX ? ch.max : CHOSEN_MAX;
	err = act_run(run, at, &captured, finished);
	if (err)
		return err;
	run->at.levels = 1;
	run->at.event[0] = at;
	err =
	    verify_outcomes(run, captured, *finished, run->full ? UINT64_MAX : limit(c->outcomes_max, DEFAULT_OUTCOMES),
			    run->full ? FULL_TORN : limit(c->torn, DEFAULT_TORN), &ch);
	for (unsigned i = 0; i < ch.count && !err && run->r->failed < CRASH_FAILED_MAX; i++) {
		run->at.outcome[0] = ch.o[i];
		err = crash_recovery(run, captured, *finished);
	}
	pool_close(captured);
	return err;
}

static int run_all(struct run *run)
{
	bool finished = false;
	int err = 0;

	for (uint64_t at = run->c->first_event; !finished && !err && run->r->failed < CRASH_FAILED_MAX; at++) {
		if (at == CRASH_EVENTS_MAX) {
			fail(-E2BIG, "the act has not ended after %u events", CRASH_EVENTS_MAX);
			return broken(run, "act", -E2BIG);
		}
		run->r->events++;
		err = run_event(run, at, &finished);
	}
	return err;
}

/* Exactly the state of run->only. */
static int run_only(struct run *run)
{
	const struct crash_id *only = &run->only;
	struct pool *captured, *recovered;
	bool finished, is_new;
	uint64_t events;
	int err;

	err = act_run(run, only->event[0], &captured, &finished);
	if (err)
		return err;
	run->at = *only;
	if (only->levels == 1) {
		err = verify_outcome(run, captured, only->outcome[0], finished, &is_new);
	} else {
		err = crash_recovery_at(run, captured, finished, only->event[1], &recovered, &events);
		if (!err) {
			err = verify_outcome(run, recovered, only->outcome[1], finished, &is_new);
			pool_close(recovered);
		}
	}
	pool_close(captured);
	return err;
}

static int make_origin(struct run *run)
{
	const struct crash_case *c = run->c;
	struct pool *p;
	uint64_t size = c->pool_size ? c->pool_size : POOL_SIZE_MIN;
	int err = sim_create_room(size, c->pool_room ? c->pool_room : size, c->class, NULL, &p);

	if (err)
		return broken(run, "making the pool", err);
	err = c->setup(p, c->ctx);
	if (err) {
		err = broken(run, "setup", err);
	} else {
		err = sim_copy(p, &run->origin);
		if (err)
			err = broken(run, "copying the pool", err);
		else
			sim_capture(run->origin);
	}
	pool_close(p);
	return err;
}

static void print_result(const struct run *run)
{
	const struct crash_result *r = run->r;

	printf("crash: %s: %" PRIu64 " events, %" PRIu64 " crash states (%" PRIu64 " during recovery), %" PRIu64
	       " failed; %" PRIu64 " equal ones skipped, %" PRIu64
	       " outcomes beyond the limits not tried, seed %" PRIu64 "\n",
	       run->c->name, r->events, r->states, r->recovery_states, r->failed, r->repeated, r->untried, run->seed);
	if (r->failed >= CRASH_FAILED_MAX)
		printf("crash: %s: gave up after %u failures\n", run->c->name, CRASH_FAILED_MAX);
	fflush(stdout);
}

int crash_run_id(const struct crash_case *c, const char *id, struct crash_result *out)
{
	const char *seed = getenv("CRASH_SEED");
	struct run run = {.c = c, .r = out};
	int err;

	memset(out, 0, sizeof(*out));
	snprintf(run.at.name, sizeof(run.at.name), "%s", c->name);
	run.seed = c->seed ? c->seed : DEFAULT_SEED;
	if (seed)
		run.seed = strtoull(seed, NULL, 0);
	run.full = getenv("CRASH_FULL") != NULL;
	if (id && id_parse(id, &run.only) != 0) {
		fprintf(stderr, "crash: %s is no id: case:event:outcome[:event2:outcome2]\n", id);
		return -EINVAL;
	}
	if (id && strcmp(run.only.name, c->name) != 0) {
		out->skipped = true;
		return 0;
	}
	err = make_origin(&run);
	if (!err)
		err = run.only.levels ? run_only(&run) : run_all(&run);
	if (!err && !c->quiet && (!c->brief || out->failed))
		print_result(&run);
	pool_close(run.origin);
	free(run.seen.slot);
	return err;
}

int crash_run(const struct crash_case *c, struct crash_result *out)
{
	return crash_run_id(c, getenv("CRASH"), out);
}
