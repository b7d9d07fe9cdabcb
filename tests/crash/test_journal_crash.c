/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L38, I1, I7: after a crash at any event of append, segment switch, split record, checkpoint, clean unmount and
 * mount, the journal opens by itself, has every operation that had returned, and the one under way whole or not at all.
 */
#include "../unit/fs/journal_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "crash_runner.h"

#define MAPPED 3000u

/* What act does. Operation n (from 1) sets inode 2 + n % INODES to n; some do something else as well. */
#define INODES 40u

struct crash_ctx {
	struct rig rig;
	bool msync;
	unsigned fill;   /* operations of begin, in the same generation as act's */
	unsigned before; /* operations of setup and begin */
	int (*act)(struct crash_ctx *c, struct pool *p);
	unsigned ops; /* that act does in all */
};

static int op(struct crash_ctx *c, struct pool *p, unsigned n)
{
	int err = rig_set(&c->rig, 2 + n % INODES, n, false);

	/* On POOL_MSYNC an operation counts when it was synced. */
	if (err == 0 && c->msync)
		err = journal_sync(c->rig.j);
	if (err == 0)
		sim_mark(p, n);
	return err;
}

static int ops(struct crash_ctx *c, struct pool *p, unsigned from, unsigned to)
{
	int err = 0;

	for (unsigned n = from; err == 0 && n <= to; n++)
		err = op(c, p, n);
	return err;
}

static int act_append(struct crash_ctx *c, struct pool *p)
{
	return ops(c, p, c->before + 1, c->before + c->ops);
}

/* A record in several segments between others; its inode is 100. */
static int act_split(struct crash_ctx *c, struct pool *p)
{
	int err = ops(c, p, c->before + 1, c->before + 2);

	if (err == 0)
		err = rig_map_many(&c->rig, 100, MAPPED);
	return err != 0 ? err : ops(c, p, c->before + 3, c->before + c->ops);
}

static int act_checkpoint(struct crash_ctx *c, struct pool *p)
{
	int err = ops(c, p, c->before + 1, c->before + 2);

	if (err == 0)
		err = rig_checkpoint(&c->rig, false);
	if (err == 0)
		err = ops(c, p, c->before + 3, c->before + 4);
	if (err == 0)
		err = rig_checkpoint(&c->rig, false);
	return err != 0 ? err : ops(c, p, c->before + 5, c->before + c->ops);
}

static int act_unmount(struct crash_ctx *c, struct pool *p)
{
	int err = ops(c, p, c->before + 1, c->before + c->ops);

	return err != 0 ? err : rig_checkpoint(&c->rig, true);
}

/* The second one changes nothing: the checkpoint that is there is confirmed. */
static int act_unmount_unchanged(struct crash_ctx *c, struct pool *p)
{
	int err = ops(c, p, c->before + 1, c->before + c->ops);

	if (err == 0)
		err = rig_checkpoint(&c->rig, false);
	if (err == 0 && !journal_unchanged(c->rig.j))
		err = -EINVAL;
	return err != 0 ? err : journal_checkpoint(c->rig.j, NULL, NULL, true);
}

static int setup(struct pool *p, void *ctx)
{
	struct crash_ctx *c = ctx;
	int err = rig_format(p);

	if (err == 0)
		err = rig_open(&c->rig, p, false);
	if (err != 0)
		return err;
	err = ops(c, p, 1, c->before - c->fill);
	rig_close(&c->rig);
	return err;
}

static int begin(struct pool *p, void *ctx)
{
	struct crash_ctx *c = ctx;

	int err = rig_open(&c->rig, p, false);

	sim_mark(p, c->before - c->fill);
	return err != 0 ? err : ops(c, p, c->before - c->fill + 1, c->before);
}

static int act(struct pool *p, void *ctx)
{
	struct crash_ctx *c = ctx;

	return c->act(c, p);
}

static int end(struct pool *p, void *ctx)
{
	struct crash_ctx *c = ctx;

	(void)p;
	rig_close(&c->rig);
	return 0;
}

/* How inode `ino` looks after operation n. */
static uint64_t expected(uint64_t ino, uint64_t n)
{
	uint64_t last = n - (n + INODES - (ino - 2)) % INODES;

	return last > n ? 0 : last;
}

static bool state_is(const struct rig_state *s, uint64_t n)
{
	for (uint64_t i = 2; i < 2 + INODES; i++) {
		if (s->ino[i].size != expected(i, n))
			return false;
	}
	return s->ino[100].maps == 0 || s->ino[100].maps == MAPPED;
}

static int verify(struct pool *p, bool act_finished, void *ctx)
{
	struct crash_ctx *c = ctx;
	uint64_t done = sim_marked(p);
	struct rig r;
	int err = rig_open(&r, p, false);
	bool good;

	if (err != 0)
		return err;
	good = state_is(r.state, done) || (!act_finished && state_is(r.state, done + 1));
	if (act_finished && c->act == act_split && r.state->ino[100].maps != MAPPED)
		good = false;
	/* It goes on: another operation, and another mount has it. */
	if (good)
		err = rig_set(&r, 200, 7, false);
	if (good && err == 0)
		err = rig_checkpoint(&r, false);
	rig_close(&r);
	if (!good)
		return (fail)(-EIO, "state is neither that of operation %llu nor of the next",
			      (unsigned long long)done);
	if (err == 0)
		err = rig_open(&r, p, false);
	if (err == 0) {
		good = r.state->ino[200].size == 7;
		rig_close(&r);
	}
	return err != 0 ? err : good ? 0 : (fail)(-EIO, "an operation after recovery is lost");
}

static int recover(struct pool *p, void *ctx)
{
	struct rig r;
	int err = rig_open(&r, p, false);

	(void)ctx;
	if (err == 0)
		rig_close(&r);
	return err;
}

static void run(const char *name, enum pool_class class, int (*what)(struct crash_ctx *c, struct pool *p),
		unsigned before, unsigned fill, unsigned count)
{
	struct crash_ctx *ctx = calloc(1, sizeof(*ctx));
	struct crash_case c = {.name = name,
			       .class = class,
			       .setup = setup,
			       .begin = begin,
			       .act = act,
			       .end = end,
			       .verify = verify,
			       .recover = recover,
			       .ctx = ctx,
			       .outcomes_max = 40};
	struct crash_result out;

	ctx->msync = class == POOL_MSYNC;
	ctx->before = before + fill;
	ctx->fill = fill;
	ctx->act = what;
	ctx->ops = count;
	assert_int_equal(crash_run(&c, &out), 0);
	free(ctx);
	assert_int_equal(out.failed, 0);
}

static void appends_survive_a_crash_at_any_event(void **state)
{
	(void)state;
	run("journal-append", POOL_CACHE_FLUSH, act_append, 5, 0, 8);
	run("journal-append-msync", POOL_MSYNC, act_append, 5, 0, 6);
}

/* 508 records fill the first segment of 64 KiB. */
static void segment_switches_survive_a_crash_at_any_event(void **state)
{
	(void)state;
	run("journal-switch", POOL_CACHE_FLUSH, act_append, 5, 508, 6);
	run("journal-switch-msync", POOL_MSYNC, act_append, 5, 508, 6);
}

static void split_records_survive_a_crash_at_any_event(void **state)
{
	(void)state;
	run("journal-split", POOL_CACHE_FLUSH, act_split, 5, 0, 4);
	run("journal-split-msync", POOL_MSYNC, act_split, 5, 0, 4);
}

static void checkpoints_survive_a_crash_at_any_event(void **state)
{
	(void)state;
	run("journal-checkpoint", POOL_CACHE_FLUSH, act_checkpoint, 5, 0, 6);
	run("journal-checkpoint-msync", POOL_MSYNC, act_checkpoint, 5, 0, 6);
}

static void a_clean_unmount_survives_a_crash_at_any_event(void **state)
{
	(void)state;
	run("journal-unmount", POOL_CACHE_FLUSH, act_unmount, 5, 0, 2);
	run("journal-unmount-msync", POOL_MSYNC, act_unmount, 5, 0, 2);
	run("journal-unmount-unchanged", POOL_CACHE_FLUSH, act_unmount_unchanged, 5, 0, 2);
	run("journal-unmount-unchanged-msync", POOL_MSYNC, act_unmount_unchanged, 5, 0, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(appends_survive_a_crash_at_any_event),
	    cmocka_unit_test(segment_switches_survive_a_crash_at_any_event),
	    cmocka_unit_test(split_records_survive_a_crash_at_any_event),
	    cmocka_unit_test(checkpoints_survive_a_crash_at_any_event),
	    cmocka_unit_test(a_clean_unmount_survives_a_crash_at_any_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
