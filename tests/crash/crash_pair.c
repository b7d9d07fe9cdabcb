/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L38): two operations at once, crashed at every event: after the crash both, one or none of them is there, each
 * whole, and one that had returned is (msync: after the next sync).
 *
 * Two threads in lock step. Thread A does the first operation; before its event number `window` it is held, and thread
 * B does the second one until that has returned or waits for something that A has. Then A goes on to its end; should B
 * be woken meanwhile, its next event waits until A has returned or waits itself. So the order of all events is the same
 * in every run, and an id means the same state again. Windows are all events of A, or a seeded three of them.
 *
 * What may be seen: the states of the reference after none, one, and both in either order, as far as the answers of the
 * two agree with that order. Answers that agree with neither order are a failure, too.
 *
 *	crash_pair [SHARD/SHARDS [VARIANTS]]
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "crash_make.h"

#define WINDOWS    3u
#define TREES      12u
#define PROBES     200u
#define FAILED_MAX 5u
#define POLL_NS    20000
#define DONE_A     1u
#define DONE_B     2u
#define DONE_SYNC  4u

struct pair {
	struct world *w; /* its last two operations are the pair; its states end before them */
	struct fsop op[2];
	struct fsop_result result[2];
	struct oracle *chain[2][3];      /* none, one, both: A first, B first */
	struct fsop_result answer[2][2]; /* by chain and operation */
	bool chain_ok[2];
	uint64_t window;
};

/* --- the schedule ----------------------------------------------------------------------------------------------------
 */

struct schedule {
	struct pair *pair;
	struct pool *pool;
	sem_t go;
	pthread_t a;
	atomic_int tid[2];
	atomic_uint done;      /* DONE_* */
	atomic_bool b_started; /* in its operation */
	atomic_bool resumed;   /* B was found waiting, A went on */
	atomic_bool held[2];   /* in watch(), waiting for the other */
	uint64_t a_events;
};
static _Thread_local unsigned me;

static void pause_a_little(void)
{
	struct timespec ts = {0, POLL_NS};

	nanosleep(&ts, NULL);
}

/* Whether the thread sleeps: it waits for a lock or a condition. One who is only slow is running, or ready to. */
static bool sleeps(int tid)
{
	char path[64], text[256];
	const char *state;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'S';
}

static bool waits(struct schedule *s, unsigned who)
{
	for (unsigned k = 0; k < 3; k++) {
		if (atomic_load(&s->held[who]) || !sleeps(atomic_load(&s->tid[who])))
			return false;
		pause_a_little();
	}
	return true;
}

static void run_b(struct schedule *s)
{
	sem_post(&s->go);
	atomic_store(&s->held[0], true);
	while (!(atomic_load(&s->done) & DONE_B)) {
		pause_a_little();
		if (atomic_load(&s->b_started) && waits(s, 1)) {
			atomic_store(&s->resumed, true);
			break;
		}
	}
	atomic_store(&s->held[0], false);
}

/* Before every event. */
static void watch(void *ctx)
{
	struct schedule *s = ctx;

	if (me == 0) {
		if (s->a_events++ == s->pair->window)
			run_b(s);
		return;
	}
	if (!atomic_load(&s->resumed))
		return;
	atomic_store(&s->held[1], true);
	while (!(atomic_load(&s->done) & DONE_A) && !waits(s, 0))
		pause_a_little();
	atomic_store(&s->held[1], false);
}

static void did(struct schedule *s, unsigned what)
{
	sim_mark(s->pool, atomic_load(&s->done) | what);
	atomic_fetch_or(&s->done, what);
}

static void *thread_b(void *ctx)
{
	struct schedule *s = ctx;

	me = 1;
	atomic_store(&s->tid[1], (int)syscall(SYS_gettid));
	while (sem_wait(&s->go) != 0)
		;
	atomic_store(&s->b_started, true);
	drive_do(&s->pair->w->drive, &s->pair->op[1], &s->pair->result[1]);
	did(s, DONE_B);
	return NULL;
}

/* --- the runner's functions ------------------------------------------------------------------------------------------
 */

static struct crash_case world_fns;

static int setup(struct pool *p, void *ctx)
{
	return world_fns.setup(p, ((struct pair *)ctx)->w);
}

/* What came before the pair is durable on msync, too. */
static int begin(struct pool *p, void *ctx)
{
	struct pair *pr = ctx;
	int err = world_fns.begin(p, pr->w);

	return err || pr->w->class != POOL_MSYNC ? err : fs_sync_all(pr->w->drive.fs);
}

static int end(struct pool *p, void *ctx)
{
	return world_fns.end(p, ((struct pair *)ctx)->w);
}

static bool answered(const struct pair *pr, unsigned chain)
{
	return pr->result[0].value == pr->answer[chain][0].value && pr->result[1].value == pr->answer[chain][1].value;
}

static int act(struct pool *p, void *ctx)
{
	const struct fsop sync = {.kind = OP_SYNC_ALL};
	struct pair *pr = ctx;
	struct schedule s = {.pair = pr, .pool = p};
	struct fsop_result r;
	pthread_t b;

	sem_init(&s.go, 0, 0);
	sim_mark(p, 0);
	me = 0;
	atomic_store(&s.tid[0], (int)syscall(SYS_gettid));
	if (pthread_create(&b, NULL, thread_b, &s) != 0)
		return -ENOMEM;
	while (!atomic_load(&s.tid[1]))
		pause_a_little();
	sim_watch(p, watch, &s);
	drive_do(&pr->w->drive, &pr->op[0], &pr->result[0]);
	did(&s, DONE_A);
	/* A had no such event. */
	if (s.a_events <= pr->window)
		sem_post(&s.go);
	pthread_join(b, NULL);
	sim_watch(p, NULL, NULL);
	sem_destroy(&s.go);
	if (pr->w->class == POOL_MSYNC) {
		drive_do(&pr->w->drive, &sync, &r);
		did(&s, DONE_SYNC);
	}
	pr->chain_ok[0] = answered(pr, 0);
	pr->chain_ok[1] = answered(pr, 1);
	if (!pr->chain_ok[0] && !pr->chain_ok[1])
		return fail(-EIO, "the answers %lld and %lld are those of neither order",
			    (long long)pr->result[0].value, (long long)pr->result[1].value);
	return 0;
}

/* The first state of the chain that must be reached: what has returned is there. */
static unsigned lowest_of(const struct pair *pr, unsigned chain, unsigned done)
{
	unsigned lowest = 0;

	if (done & DONE_SYNC)
		return 2;
	for (unsigned k = 0; k < 2; k++) {
		unsigned who = k ^ chain;
		bool durable = pr->w->class != POOL_MSYNC || pr->op[who].kind == OP_DIRECT;

		if ((done >> who & 1) && durable)
			lowest = k + 1;
	}
	return lowest;
}

static bool fits(const struct tree *t, const struct pair *pr, unsigned done, FILE *why)
{
	for (unsigned chain = 0; chain < 2; chain++) {
		uint64_t partial = 0;

		if (!pr->chain_ok[chain])
			continue;
		for (unsigned k = 0; k < 2; k++)
			if (fsop_is_partial(&pr->op[k ^ chain]))
				partial |= (uint64_t)1 << (k + 1);
		for (unsigned at = lowest_of(pr, chain, done); at <= 2; at++) {
			if (why)
				fprintf(why, "--- not %u of the two, %s first: ", at, chain ? "B" : "A");
			if (tree_is(t, pr->chain[chain], at, 2, partial, why))
				return true;
		}
	}
	return false;
}

static void say(void *ctx, const char *finding)
{
	(void)ctx;
	fprintf(stderr, "fs_verify: %s\n", finding);
}

static int verify(struct pool *crashed, bool act_finished, void *ctx)
{
	const struct pair *pr = ctx;
	unsigned done = (unsigned)sim_marked(crashed);
	struct tree *t = NULL;
	struct fs *fs;
	int err = fs_mount(crashed, &world_quiet, &fs);

	(void)act_finished;
	if (err)
		return err;
	if (fs_verify(fs, say, NULL) != 0)
		err = fail(-EUCLEAN, "fs_verify has findings");
	else
		t = tree_read(fs);
	if (!err && !t)
		err = fail(-EUCLEAN, "the tree cannot be read");
	if (!err && !fits(t, pr, done, NULL)) {
		fprintf(stderr, "--- found:\n");
		tree_print(t, stderr);
		fits(t, pr, done, stderr);
		err = fail(-EUCLEAN, "the tree is in no state that it may be in (done: %u)", done);
	}
	tree_free(t);
	fs_abandon(fs);
	return err;
}

/* --- making pairs ----------------------------------------------------------------------------------------------------
 */

static bool opens(enum fsop_kind kind)
{
	return kind == OP_OPEN || kind == OP_TMPFILE || kind == OP_CLOSE;
}

/* Handles are closed and opened by one thread only. */
static bool slots_clash(const struct fsop *a, const struct fsop *b)
{
	return (opens(a->kind) || opens(b->kind)) && (a->h == b->h || a->h == b->h2 || a->h2 == b->h);
}

/* The second meets the first: the same file or the same names. */
static void bring_together(struct fsop *b, const struct fsop *a, uint64_t dice)
{
	if (!opens(a->kind) && !opens(b->kind)) {
		b->h = dice & 1 ? a->h : a->h2;
		b->h2 = dice & 2 ? a->h2 : a->h;
	}
	if (dice & 4)
		b->a = dice & 8 ? a->a : a->b;
	if (dice & 16)
		b->b = dice & 32 ? a->a : a->b;
}

static bool does(struct oracle *o, const struct fsop *op)
{
	struct oracle *copy = oracle_copy(o);
	struct fsop_result r;
	bool ok;

	oracle_do(copy, op, &r);
	ok = r.value >= 0 && oracle_was_atomic(copy);
	oracle_free(copy);
	return ok;
}

/* Both do something in the world's last state. */
static bool find_pair(struct pair *pr, enum fsop_kind ka, enum fsop_kind kb, unsigned variant)
{
	for (unsigned probe = 0; probe < TREES; probe++) {
		struct fsop_maker m = {.random = 5 + ka * 1009ull + kb * 104729ull + variant * 7919ull + probe * 31ull,
				       .without = fsop_missing | WORLD_READ_ONLY_OPS};
		struct oracle *o;
		bool have[2] = {false, false};

		world_make_ops(pr->w, m.random);
		pr->w->warm = pr->w->ops;
		o = oracle_new(false);
		for (unsigned k = 0; k < pr->w->setup + pr->w->ops; k++) {
			struct fsop_result r;

			if (k == pr->w->setup)
				oracle_close_all(o);
			oracle_do(o, &pr->w->op[k], &r);
		}
		m.open = 15;
		for (unsigned n = 0; n < PROBES && !(have[0] && have[1]); n++) {
			struct fsop op;

			m.only = (have[0] ? kb : ka) + 1u;
			fsop_make(&m, &op);
			op.who = 0;
			if (!have[0] && op.kind == ka && does(o, &op)) {
				pr->op[0] = op;
				have[0] = true;
				continue;
			}
			if (!have[0] || op.kind != kb)
				continue;
			bring_together(&op, &pr->op[0], sim_random(&m.random));
			if (slots_clash(&pr->op[0], &op) || !does(o, &op))
				continue;
			pr->op[1] = op;
			have[1] = true;
		}
		oracle_free(o);
		if (have[0] && have[1])
			return true;
	}
	return false;
}

/* false: an order in which one takes several steps. */
static bool prepare(struct pair *pr, enum pool_class class)
{
	bool atomic_ops = true;

	world_prepare(pr->w, class);
	for (unsigned chain = 0; chain < 2; chain++) {
		struct oracle *o = oracle_copy(pr->w->state[pr->w->ops]);

		pr->chain[chain][0] = oracle_copy(o);
		for (unsigned k = 0; k < 2; k++) {
			unsigned who = k ^ chain;

			oracle_do(o, &pr->op[who], &pr->answer[chain][who]);
			atomic_ops = atomic_ops && oracle_was_atomic(o);
			pr->chain[chain][k + 1] = oracle_copy(o);
		}
		oracle_free(o);
	}
	return atomic_ops;
}

static void pair_free(struct pair *pr)
{
	for (unsigned chain = 0; chain < 2; chain++)
		for (unsigned k = 0; k < 3; k++)
			oracle_free(pr->chain[chain][k]);
	world_free(pr->w);
	free(pr->w);
}

/* --- running ---------------------------------------------------------------------------------------------------------
 */

static void print_pair(const struct pair *pr)
{
	char text[256];

	world_print(pr->w, stderr);
	for (unsigned k = 0; k < 2; k++) {
		fsop_text(&pr->op[k], text, sizeof(text));
		fprintf(stderr, "  %c  %s = %" PRId64 " (A first: %" PRId64 ", B first: %" PRId64 ")\n", k ? 'B' : 'A',
			text, pr->result[k].value, pr->answer[0][k].value, pr->answer[1][k].value);
	}
}

/* Events of the first operation alone. */
static uint64_t count_windows(struct pair *pr)
{
	uint64_t events = 0;
	struct fsop_result r;
	struct pool *p;

	if (sim_create(POOL_SIZE_MIN, pr->w->class, NULL, &p) != 0)
		return 0;
	if (setup(p, pr) == 0 && begin(p, pr) == 0) {
		sim_arm(p, UINT64_MAX);
		drive_do(&pr->w->drive, &pr->op[0], &r);
		events = sim_events(p);
		end(p, pr);
	}
	pool_close(p);
	return events;
}

static int run_window(struct pair *pr, const char *kinds, unsigned variant)
{
	struct crash_result r;
	struct crash_case c;
	char name[128];
	int err;

	snprintf(name, sizeof(name), "pair-%s-%u-%s-w%" PRIu64, kinds, variant, pool_class_name(pr->w->class),
		 pr->window);
	c = (struct crash_case){.name = name,
				.class = pr->w->class,
				.setup = setup,
				.begin = begin,
				.act = act,
				.end = end,
				.verify = verify,
				.ctx = pr,
				.first_event = pr->window,
				.outcomes_max = 32,
				.torn = 1,
				.recovery_states = CRASH_NONE,
				.brief = true};
	err = crash_run_counted(&c, &r);
	if (err || r.failed)
		print_pair(pr);
	return err || crash_totals.failed >= FAILED_MAX;
}

static int run_pair(enum fsop_kind ka, enum fsop_kind kb, unsigned variant, enum pool_class class)
{
	struct pair pr = {.w = world_new()};
	char kinds[64], wanted[128];
	const char *only = getenv("CRASH");
	uint64_t windows, tries, dice = variant;
	int stop = 0;

	snprintf(kinds, sizeof(kinds), "%s-%s", fsop_name(ka), fsop_name(kb));
	snprintf(wanted, sizeof(wanted), "pair-%s-%u-%s-", kinds, variant, pool_class_name(class));
	if ((only && strncmp(only, wanted, strlen(wanted)) != 0) || !find_pair(&pr, ka, kb, variant)) {
		free(pr.w);
		return 0;
	}
	if (prepare(&pr, class)) {
		windows = count_windows(&pr);
		tries = only || windows < WINDOWS ? windows : WINDOWS;
		for (uint64_t k = 0; k < tries && !stop; k++) {
			uint64_t from = k * windows / tries, to = (k + 1) * windows / tries;

			pr.window = from + sim_random(&dice) % (to - from);
			stop = run_window(&pr, kinds, variant);
		}
	}
	pair_free(&pr);
	return stop;
}

int main(int argc, char **argv)
{
	const uint64_t out = fsop_missing | WORLD_READ_ONLY_OPS;
	unsigned shard = 0, shards = 1, variants = argc > 2 ? (unsigned)atoi(argv[2]) : 1, n = 0;
	struct world none = {0};

	if (argc > 1 && (sscanf(argv[1], "%u/%u", &shard, &shards) != 2 || shards == 0 || shard >= shards))
		return 2;
	world_init();
	world_case(&none, &world_fns);
	for (unsigned a = 0; a < FSOP_KINDS; a++) {
		for (unsigned b = 0; b < FSOP_KINDS; b++) {
			if ((FSOP_BIT(a) | FSOP_BIT(b)) & out)
				continue;
			for (unsigned v = 0; v < variants; v++) {
				/* On msync nothing but syncs has events of its own to be interrupted at. */
				enum pool_class class = n % 3 == 2 ? POOL_MSYNC : POOL_CACHE_FLUSH;

				if (n++ % shards == shard && run_pair((enum fsop_kind)a, (enum fsop_kind)b, v, class)) {
					crash_totals_print();
					return 1;
				}
			}
		}
	}
	crash_totals_print();
	return crash_totals.failed != 0;
}
