/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clock and random numbers of the programs that link this are our own (--wrap): the same operations make the same bytes
 * in every run, so that equal states are seen to be equal and an id means the same state again.
 */
#include "crash_world.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

#define FURTHER_EVERY 8u

struct crash_totals crash_totals;
const struct fs_mount_options world_quiet = {
    .no_checkpoint_thread = true, .commit_interval_ns = UINT64_MAX / 4, .lease = {.no_timer_thread = true}};

/* --- the world's clock and dice --------------------------------------------------------------------------------------
 */

static uint64_t dice = 1;
static int64_t real_ns = 1700000000ll * 1000000000ll;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int64_t now;

	if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)
		return __real_clock_gettime(id, ts);
	now = __atomic_load_n(&real_ns, __ATOMIC_RELAXED);
	*ts = (struct timespec){now / 1000000000, now % 1000000000};
	return 0;
}

ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < size; i++)
		((uint8_t *)to)[i] = (uint8_t)(sim_random(&dice) >> 8);
	return (ssize_t)size;
}

/* Big blocks by mmap, always: malloc would learn to keep them, and then calloc zeroes what nobody touches. */
void world_init(void)
{
	mallopt(M_MMAP_THRESHOLD, 400 << 10);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

/* --- states ----------------------------------------------------------------------------------------------------------
 */

static bool syncs_all(const struct fsop *op, const struct fsop_result *r)
{
	return r->value >= 0 &&
	       (op->kind == OP_SYNC || op->kind == OP_SYNC_ALL || op->kind == OP_CHECKPOINT || op->kind == OP_DIRECT);
}

void world_prepare(struct world *w, enum pool_class class)
{
	const struct fsop sync = {.kind = OP_SYNC_ALL};
	struct oracle *o = oracle_new(true);
	struct fsop_result r;

	w->class = class;
	for (unsigned k = 0; k < w->setup; k++)
		oracle_do(o, &w->op[k], &r);
	oracle_close_all(o);
	oracle_do(o, &sync, &r);
	w->state[0] = oracle_copy(o);
	w->synced[0] = 0;
	for (unsigned k = 1; k <= w->ops; k++) {
		const struct fsop *op = &w->op[w->setup + k - 1];

		oracle_do(o, op, &w->result[k]);
		w->state[k] = oracle_copy(o);
		w->synced[k] = class == POOL_MSYNC && !syncs_all(op, &w->result[k]) ? w->synced[k - 1] : k;
	}
	oracle_free(o);
}

void world_free(struct world *w)
{
	for (unsigned k = 0; k <= w->ops; k++)
		oracle_free(w->state[k]);
	memset(w->state, 0, sizeof(w->state));
}

void world_print(struct world *w, FILE *to)
{
	char text[256];

	for (unsigned k = 0; k < w->setup + w->ops; k++) {
		fsop_text(&w->op[k], text, sizeof(text));
		if (k < w->setup)
			fprintf(to, "  setup  %s\n", text);
		else
			fprintf(to, "  %2u %s %s = %" PRId64 "\n", k - w->setup + 1,
				k < w->setup + w->warm ? "warm" : "act ", text, w->result[k - w->setup + 1].value);
	}
}

/* --- the runner's functions ------------------------------------------------------------------------------------------
 */

static int do_ops(struct world *w, struct pool *p, unsigned from, unsigned to)
{
	for (unsigned k = from; k <= to; k++) {
		struct fsop_result r;

		drive_do(&w->drive, &w->op[w->setup + k - 1], &r);
		if (r.value != w->result[k].value)
			return fail(-EIO, "operation %u answered %lld, the reference says %lld", k, (long long)r.value,
				    (long long)w->result[k].value);
		sim_mark(p, k);
	}
	return 0;
}

static int setup(struct pool *p, void *ctx)
{
	struct world *w = ctx;
	struct fsop_result r;
	int err;

	dice = 1;
	err = fs_format(p, NULL);
	if (!err)
		err = fs_mount(p, &world_quiet, &w->drive.fs);
	if (err)
		return err;
	for (unsigned k = 0; k < w->setup; k++)
		drive_do(&w->drive, &w->op[k], &r);
	drive_close_all(&w->drive);
	if (w->unmounted)
		return fs_unmount(w->drive.fs);
	err = fs_sync_all(w->drive.fs);
	fs_abandon(w->drive.fs);
	return err;
}

static int begin(struct pool *p, void *ctx)
{
	struct world *w = ctx;
	int err;

	dice = 2;
	err = fs_mount(p, &world_quiet, &w->drive.fs);
	if (!err)
		err = do_ops(w, p, 1, w->warm);
	if (!err && w->checkpoint_first)
		err = fs_checkpoint(w->drive.fs);
	dice = 3;
	return err;
}

static int act(struct pool *p, void *ctx)
{
	struct world *w = ctx;

	return do_ops(w, p, w->warm + 1, w->ops);
}

static int end(struct pool *p, void *ctx)
{
	struct world *w = ctx;

	(void)p;
	drive_close_all(&w->drive);
	fs_abandon(w->drive.fs);
	w->drive.fs = NULL;
	return 0;
}

/* --- judging ---------------------------------------------------------------------------------------------------------
 */

static void say(void *ctx, const char *finding)
{
	(void)ctx;
	fprintf(stderr, "fs_verify: %s\n", finding);
}

/* Whether the operation after state k may have left a part of its bytes: op[k] makes state k + 1. */
static uint64_t next_partial(const struct fsop *op, unsigned k, unsigned highest)
{
	return k < highest && fsop_is_partial(&op[k]) ? (uint64_t)1 << (k + 1) : 0;
}

static int compare(struct fs *fs, struct oracle *const *state, const struct fsop *op, unsigned lowest, unsigned highest)
{
	struct tree *t;
	bool found = false;

	if (fs_verify(fs, say, NULL) != 0)
		return fail(-EUCLEAN, "fs_verify has findings");
	t = tree_read(fs);
	if (!t)
		return fail(-EUCLEAN, "the tree cannot be read");
	for (unsigned k = highest + 1; !found && k-- > lowest;)
		found = tree_is(t, state, k, highest, next_partial(op, k, highest), NULL);
	if (!found) {
		fprintf(stderr, "--- found:\n");
		tree_print(t, stderr);
		for (unsigned k = lowest; k <= highest; k++) {
			fprintf(stderr, "--- it is not the state after operation %u: ", k);
			tree_is(t, state, k, highest, next_partial(op, k, highest), stderr);
		}
	}
	tree_free(t);
	return found ? 0 : fail(-EUCLEAN, "the tree is in no state that it may be in");
}

/* Something is made, found after another mount, and gone again. */
static int use_further(struct pool *p, struct fs **fs)
{
	const struct fs_caller root = {0};
	struct fs_handle *h;
	char bytes[5000] = "after the crash";
	int err = fs_open(*fs, &root, "/after the crash", O_RDWR | O_CREAT | O_EXCL, 0600, &h);

	if (!err) {
		err = fs_write(h, &root, bytes, sizeof(bytes), 3000) == (ssize_t)sizeof(bytes) ? 0 : -EIO;
		fs_close(h, NULL, 0);
	}
	if (!err)
		err = fs_unmount(*fs);
	else
		fs_abandon(*fs);
	*fs = NULL;
	if (!err)
		err = fs_mount(p, &world_quiet, fs);
	return err ? err : fs_unlink(*fs, &root, "/after the crash");
}

int world_judge(struct pool *p, struct oracle *const *state, const struct fsop *op, unsigned lowest, unsigned highest,
		bool further)
{
	struct fs *fs = NULL;
	int err;

	dice = 4;
	err = fs_mount(p, &world_quiet, &fs);
	if (err)
		return err;
	err = compare(fs, state, op, lowest, highest);
	if (!err && further)
		err = use_further(p, &fs);
	if (!err && further)
		err = compare(fs, state, op, lowest, highest);
	fs_abandon(fs);
	return err;
}

static int verify(struct pool *crashed, bool act_finished, void *ctx)
{
	static uint64_t count;
	struct world *w = ctx;
	unsigned done = (unsigned)sim_marked(crashed);
	unsigned highest = act_finished || done == w->ops ? w->ops : done + 1;
	bool further = count++ % FURTHER_EVERY == 0 || getenv("CRASH");

	return world_judge(crashed, w->state, w->op + w->setup, w->synced[done], highest, further);
}

static int recover(struct pool *crashed, void *ctx)
{
	struct fs *fs;
	int err;

	(void)ctx;
	dice = 5;
	err = fs_mount(crashed, &world_quiet, &fs);
	if (!err)
		fs_abandon(fs);
	return err;
}

void world_case(struct world *w, struct crash_case *c)
{
	*c = (struct crash_case){.class = w->class,
				 .setup = setup,
				 .begin = begin,
				 .act = act,
				 .end = end,
				 .verify = verify,
				 .recover = recover,
				 .ctx = w};
}

/* --- counting --------------------------------------------------------------------------------------------------------
 */

int crash_run_counted(const struct crash_case *c, struct crash_result *out)
{
	int err = crash_run(c, out);

	crash_totals.cases += !out->skipped;
	crash_totals.verified += out->states;
	crash_totals.equal += out->repeated;
	crash_totals.untried += out->untried;
	crash_totals.failed += out->failed + (err != 0);
	return err;
}

void crash_totals_print(void)
{
	printf("crash states: %" PRIu64 " checked (%" PRIu64 " verified, %" PRIu64 " equal to one verified), %" PRIu64
	       " failed; %" PRIu64 " cases, %" PRIu64 " outcomes beyond the limits left out\n",
	       crash_totals.verified + crash_totals.equal, crash_totals.verified, crash_totals.equal,
	       crash_totals.failed, crash_totals.cases, crash_totals.untried);
	fflush(stdout);
}
