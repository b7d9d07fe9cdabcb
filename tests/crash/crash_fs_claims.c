/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L35: after a crash at any store, an EXCLUSIVE lease that a client had been given can be had again, and one that
 * it had lost, by release, by force or by change, cannot. What was under way may be either. On every medium: a grant
 * promises it, and a revocation too.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "crash_fs.h"

#undef fail /* cmocka's; ours is a function */

#define B   4096u
#define OPS 8u

static const struct fs_mount_options quiet = {
    .no_checkpoint_thread = true, .commit_interval_ns = 3600 * NS_PER_SEC, .lease = {.no_timer_thread = true}};

static const uint8_t anna[16] = "anna", berta[16] = "berta";

/* Who has what, after so many operations: anna [0, 2B) and [2B, 4B) to write, berta [4B, 8B) to read. */
static const struct holds {
	bool anna_low, anna_high, berta;
} holds_after[OPS + 1] = {
    {false, false, false}, /* nothing yet */
    {true, true, false},   /* anna was given [0, 4B) */
    {true, true, true},    /* berta was */
    {true, true, true},    /* a checkpoint */
    {true, false, true},   /* a relocation took [2B, 4B) */
    {true, false, false},  /* berta's denies nothing any more */
    {true, false, true},   /* it does again */
    {false, false, true},  /* an administrator revoked anna's */
    {false, false, false}, /* berta released */
};

struct world {
	struct fs *fs;
	struct lease_session *session;
	struct fs_caller who;
	struct fs_handle *h;
	struct fs_lease anna, berta;
};

static int setup(struct pool *p, void *ctx)
{
	struct fs *fs;
	int err = fs_format(p, NULL);

	(void)ctx;
	if (!err)
		err = fs_mount(p, &quiet, &fs);
	if (err)
		return err;
	err = x_create(fs, "/f");
	if (!err)
		err = x_write(fs, "/f", 'f', 8 * B, 0);
	return err ? err : fs_unmount(fs);
}

static int begin(struct pool *p, void *ctx)
{
	static const struct lease_session_ops ops;
	static const struct lease_identity who = {.pid = 1};
	struct world *w = ctx;
	int err = fs_mount(p, &quiet, &w->fs);

	if (!err)
		err = lease_session_open(fs_arbiter(w->fs), &ops, w, &who, &w->session);
	w->who = (struct fs_caller){.session = w->session};
	return err ? err : fs_open(w->fs, &w->who, "/f", O_RDWR, 0, &w->h);
}

static int end(struct pool *p, void *ctx)
{
	struct world *w = ctx;

	(void)p;
	fs_close(w->h, w->session, 7);
	lease_session_close(w->session);
	fs_abandon(w->fs);
	return 0;
}

static struct fs_lease_args args_of(const uint8_t *client)
{
	struct fs_lease_args a = {
	    .range = {0, 4 * B}, .mode = LEASE_WRITE, .handle_number = 7, .exclusive = true, .client = client};

	if (client == berta) {
		a.range = (struct range){4 * B, 8 * B};
		a.mode = LEASE_READ;
	}
	return a;
}

static int get(struct world *w, const uint8_t *client, struct fs_lease *out)
{
	struct fs_lease_args a = args_of(client);

	return fs_lease_get(w->h, &w->who, &a, out);
}

static int op(struct world *w, unsigned n)
{
	struct fs_caller other = {.deadline_ns = LEASE_DEADLINE_NOW};
	struct fs_lease_args a = args_of(berta);
	int done;

	switch (n) {
	case 0:
		return get(w, anna, &w->anna);
	case 1:
		return get(w, berta, &w->berta);
	case 2:
		return fs_checkpoint(w->fs);
	case 3:
		return fs_relocate(w->h, &other, 2 * B, 2 * B, NULL);
	case 4:
		a.exclusive = false;
		return fs_lease_change(w->h, &w->who, w->berta.lease, &a, &w->berta);
	case 5:
		return fs_lease_change(w->h, &w->who, w->berta.lease, &a, &w->berta);
	case 6:
		done = lease_revoke(fs_arbiter(w->fs), w->anna.lease, 0, 0, UINT32_MAX, "crash test");
		return done == 1 ? 0 : -EINVAL;
	}
	return lease_release(w->session, w->berta.lease, RANGE_ALL);
}

static int act(struct pool *p, void *ctx)
{
	struct world *w = ctx;

	for (unsigned n = 0; n < OPS; n++) {
		int err = op(w, n);

		if (err)
			return fail(err, "operation %u: %s", n, fail_text());
		sim_mark(p, n + 1);
	}
	return 0;
}

/* Whether the client has it again. */
static bool comes_back(struct world *w, const uint8_t *client, uint64_t off, uint64_t end)
{
	struct fs_lease_args a = args_of(client);
	struct fs_lease l;

	a.range = (struct range){off, end};
	a.reclaim = true;
	return fs_lease_get(w->h, &w->who, &a, &l) == 0;
}

static bool agrees(struct holds is, struct holds may, struct holds or)
{
	return (is.anna_low == may.anna_low || is.anna_low == or.anna_low) &&
	       (is.anna_high == may.anna_high || is.anna_high == or.anna_high) &&
	       (is.berta == may.berta || is.berta == or.berta);
}

/* Whoever has not come back does not stand in the way of others beyond the grace; whoever may, does within it. */
static int denied(struct world *w, uint64_t off)
{
	const struct fs_caller other = {0};

	return fs_allocate(w->h, &other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, B);
}

static void say(void *ctx, const char *finding)
{
	(void)ctx;
	fprintf(stderr, "fs_verify: %s\n", finding);
}

static int judge(struct world *w, struct holds may, struct holds or)
{
	bool stood = denied(w, 0) == -ETXTBSY;
	struct holds is = {comes_back(w, anna, 0, 2 * B), comes_back(w, anna, 2 * B, 4 * B),
			   comes_back(w, berta, 4 * B, 8 * B)};

	if (fs_verify(w->fs, say, NULL) != 0)
		return fail(-EUCLEAN, "fs_verify has findings");
	if (!agrees(is, may, or))
		return fail(-EUCLEAN, "came back: anna %d %d berta %d; should: %d %d %d or %d %d %d", is.anna_low,
			    is.anna_high, is.berta, may.anna_low, may.anna_high, may.berta, or.anna_low, or.anna_high,
			    or.berta);
	if (stood != is.anna_low)
		return fail(-EUCLEAN, "anna's claim stands or comes back, but not both");
	/* Nobody gets anything twice, or what is somebody else's. */
	if (comes_back(w, anna, 0, 2 * B) || comes_back(w, berta, 4 * B, 8 * B) || comes_back(w, berta, 0, B))
		return fail(-EUCLEAN, "something came back twice");
	return 0;
}

static int verify(struct pool *crashed, bool act_finished, void *ctx)
{
	unsigned done = act_finished ? OPS : (unsigned)sim_marked(crashed);
	struct world w = {0};
	int err = begin(crashed, &w);

	(void)ctx;
	if (err)
		return err;
	err = judge(&w, holds_after[done], holds_after[done < OPS && !act_finished ? done + 1 : done]);
	end(crashed, &w);
	return err;
}

static int recover(struct pool *crashed, void *ctx)
{
	struct fs *fs;
	int err = fs_mount(crashed, &quiet, &fs);

	(void)ctx;
	if (!err)
		fs_abandon(fs);
	return err;
}

static void run_class(enum pool_class class)
{
	struct world w = {0};
	char name[64];
	struct crash_case cc = {.name = name,
				.class = class,
				.setup = setup,
				.begin = begin,
				.act = act,
				.end = end,
				.verify = verify,
				.recover = recover,
				.ctx = &w,
				.outcomes_max = 100,
				.torn = 4,
				.recovery_states = 1,
				.recovery_events = 2,
				.recovery_outcomes = 2};
	struct crash_result result;

	snprintf(name, sizeof(name), "claims-%s", pool_class_name(class));
	assert_int_equal(crash_run(&cc, &result), 0);
	assert_int_equal(result.failed, 0);
}

static void claims_with_cache_flush(void **state)
{
	(void)state;
	run_class(POOL_CACHE_FLUSH);
}

static void claims_with_msync(void **state)
{
	(void)state;
	run_class(POOL_MSYNC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(claims_with_cache_flush),
					   cmocka_unit_test(claims_with_msync)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
