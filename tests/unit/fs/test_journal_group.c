/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L38 with many threads: what a commit has acknowledged is there after a crash at any moment, although records of
 * all threads are stored at the same time (journal_append.c); the log never overtakes a checkpoint, however slow it is;
 * and what a burst took comes back.
 */
#include "journal_rig.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/types.h"
#include "pool/hooks.h"
#include "pool/sim.h"
#include "rnd.h"

#define POOL_SIZE ((uint64_t)16 << 20)
#define THREADS   4u
#define COMMITS   150u
#define FIRST_INO 10u

struct committer {
	struct rig *rig;
	unsigned number;
	_Atomic unsigned acknowledged;
	int err;
};

static void *commit_run(void *ctx)
{
	struct committer *c = ctx;

	for (unsigned k = 1; k <= COMMITS && c->err == 0; k++) {
		c->err = rig_set(c->rig, FIRST_INO + c->number, k, false);
		if (c->err == 0)
			atomic_store(&c->acknowledged, k);
	}
	return NULL;
}

/* The outcome mounts, and has what was acknowledged before the crash. */
static void check_outcome(struct pool *p, const unsigned *acknowledged)
{
	struct rig r;
	int err = rig_open(&r, p, false);

	if (err != 0)
		fprintf(stderr, "mount after the crash: %d %s\n", err, fail_text());
	assert_int_equal(err, 0);
	for (unsigned t = 0; t < THREADS; t++) {
		uint64_t size = r.state->ino[FIRST_INO + t].size;

		if (size < acknowledged[t] || size > COMMITS)
			fprintf(stderr, "thread %u: %llu there, %u acknowledged\n", t, (unsigned long long)size,
				acknowledged[t]);
		assert_true(size >= acknowledged[t] && size <= COMMITS);
	}
	rig_close(&r);
}

static void crash_once(struct rnd *rnd)
{
	static uint64_t mask[SIM_MASK_WORDS];
	struct committer c[THREADS];
	pthread_t thread[THREADS];
	unsigned before[THREADS];
	struct pool *p, *fork;
	struct rig r;
	uint64_t outcomes;
	unsigned stop = (unsigned)rnd_below(rnd, COMMITS);

	assert_int_equal(sim_create(POOL_SIZE, POOL_CACHE_FLUSH, NULL, &p), 0);
	assert_int_equal(rig_format(p), 0);
	assert_int_equal(rig_open(&r, p, false), 0);
	sim_arm(p, UINT64_MAX);
	for (unsigned t = 0; t < THREADS; t++) {
		c[t] = (struct committer){.rig = &r, .number = t};
		assert_int_equal(pthread_create(&thread[t], NULL, commit_run, &c[t]), 0);
	}
	while (atomic_load(&c[0].acknowledged) < stop)
		sched_yield();
	for (unsigned t = 0; t < THREADS; t++)
		before[t] = atomic_load(&c[t].acknowledged);
	sim_capture(p);
	for (unsigned t = 0; t < THREADS; t++) {
		pthread_join(thread[t], NULL);
		assert_int_equal(c[t].err, 0);
	}
	outcomes = sim_outcomes(sim_pending(p));
	for (uint64_t k = 0; k < min_u64(outcomes, 12); k++) {
		sim_outcome(sim_pending(p), rnd_below(rnd, outcomes), rnd_next(rnd), mask);
		assert_int_equal(sim_fork(p, mask, &fork), 0);
		check_outcome(fork, before);
		pool_close(fork);
	}
	rig_close(&r);
	pool_close(p);
}

static void what_threads_were_told_is_durable_is_there(void **state)
{
	struct rnd rnd = rnd_start();

	for (unsigned round = 0; round < 12; round++)
		crash_once(&rnd);
}

/* --- the log beside a slow checkpoint --------------------------------------------------------------------------------
 */

struct slow {
	struct rig *rig;
	unsigned commits; /* while the checkpoint is made */
	int err;
};

/* Each inode is written, and behind it the log grows. */
static int slow_walk(void *ctx, struct checkpoint *cp)
{
	struct slow *s = ctx;
	int err = rig_walk(s->rig, cp);

	for (unsigned k = 0; err == 0 && s->err == 0 && k < s->commits; k++)
		s->err = rig_set(s->rig, FIRST_INO + k % 300, 1000000 + k, false);
	return err;
}

static void expect_sizes(struct rig *r, unsigned commits)
{
	for (unsigned k = commits > 300 ? commits - 300 : 0; k < commits; k++)
		assert_int_equal(r->state->ino[FIRST_INO + k % 300].size, 1000000 + k);
}

static void thousands_of_records_during_a_checkpoint_are_kept(void **state)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	struct slow s = {.commits = 20000};
	struct pool *p;
	struct rig r;

	assert_int_equal(pool_create(&args, &p), 0);
	assert_int_equal(rig_format(p), 0);
	assert_int_equal(rig_open(&r, p, false), 0);
	s.rig = &r;
	for (unsigned k = 0; k < 400; k++)
		assert_int_equal(rig_set(&r, FIRST_INO + k % 300, k, false), 0);
	assert_int_equal(journal_checkpoint(r.j, slow_walk, &s, false), 0);
	assert_int_equal(s.err, 0);
	rig_close(&r);
	assert_int_equal(rig_open(&r, p, false), 0);
	expect_sizes(&r, s.commits);
	rig_close(&r);
	pool_close(p);
}

/* The log fills all there is while the checkpoint is made: refused in time, nothing that was accepted is lost. */
static void a_log_that_fills_the_pool_during_a_checkpoint_is_refused(void **state)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	struct slow s = {.commits = UINT32_MAX};
	uint64_t after;
	struct pool *p;
	struct rig r;
	unsigned accepted = 0;

	assert_int_equal(pool_create(&args, &p), 0);
	assert_int_equal(rig_format(p), 0);
	assert_int_equal(rig_open(&r, p, false), 0);
	s.rig = &r;
	journal_checkpoint(r.j, slow_walk, &s, false);
	assert_int_equal(s.err, -ENOSPC);
	rig_close(&r);
	assert_int_equal(rig_open(&r, p, false), 0);
	for (unsigned k = 0; k < 300; k++) {
		uint64_t size = r.state->ino[FIRST_INO + k].size;

		assert_true(size >= 1000000);
		accepted = size - 1000000 >= accepted ? (unsigned)(size - 1000000) + 1 : accepted;
	}
	assert_true(accepted > 10000);
	expect_sizes(&r, accepted);
	/* The reserve is enough for one more, and then the space is there again. */
	assert_int_equal(rig_checkpoint(&r, false), 0);
	after = alloc_free_blocks(r.alloc);
	assert_true(after * 10 > alloc_pool_blocks(r.alloc) * 8);
	assert_int_equal(rig_set(&r, FIRST_INO, 5, false), 0);
	rig_close(&r);
	pool_close(p);
}

static void the_space_of_a_burst_comes_back(void **state)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	uint64_t before, least;
	struct pool *p;
	struct rig r;

	assert_int_equal(pool_create(&args, &p), 0);
	assert_int_equal(rig_format(p), 0);
	assert_int_equal(rig_open(&r, p, false), 0);
	assert_int_equal(rig_checkpoint(&r, false), 0);
	before = alloc_free_blocks(r.alloc);
	for (unsigned burst = 0; burst < 3; burst++) {
		for (unsigned k = 0; k < 40000; k++)
			assert_int_equal(rig_set(&r, FIRST_INO + k % 300, k, false), 0);
		least = alloc_free_blocks(r.alloc);
		assert_true(before - least > 1000); /* of 128 bytes and more each */
		assert_int_equal(rig_checkpoint(&r, false), 0);
		assert_int_equal(rig_checkpoint(&r, false), 0);
		assert_true(before - alloc_free_blocks(r.alloc) < 64);
	}
	rig_close(&r);
	pool_close(p);
}

/* --- POOL_MSYNC
 * ------------------------------------------------------------------------------------------------------- */

/* Syncs of the pool, counted, and slow as those of a disk. */
static _Atomic unsigned syncs;
static int (*sync_below)(struct pool *p, uint64_t off, uint64_t len);

static int sync_counted(struct pool *p, uint64_t off, uint64_t len)
{
	atomic_fetch_add(&syncs, 1);
	usleep(500);
	return sync_below(p, off, len);
}

#define FSYNCS 40u

static void *fsync_run(void *ctx)
{
	struct committer *c = ctx;

	for (unsigned k = 1; k <= FSYNCS && c->err == 0; k++) {
		c->err = rig_set(c->rig, FIRST_INO + c->number, k, false);
		if (c->err == 0)
			c->err = journal_sync(c->rig->j);
	}
	return NULL;
}

static void callers_of_fsync_share_their_syncs(void **state)
{
	struct committer c[2 * THREADS];
	pthread_t thread[2 * THREADS];
	struct pool_hooks hooks;
	struct pool *p;
	struct rig r;

	assert_int_equal(sim_create(POOL_SIZE, POOL_MSYNC, NULL, &p), 0);
	assert_int_equal(rig_format(p), 0);
	assert_int_equal(rig_open(&r, p, false), 0);
	hooks = *p->hooks;
	sync_below = hooks.sync;
	hooks.sync = sync_counted;
	p->hooks = &hooks;
	for (unsigned t = 0; t < ARRAY_LEN(c); t++) {
		c[t] = (struct committer){.rig = &r, .number = t};
		assert_int_equal(pthread_create(&thread[t], NULL, fsync_run, &c[t]), 0);
	}
	for (unsigned t = 0; t < ARRAY_LEN(c); t++) {
		pthread_join(thread[t], NULL);
		assert_int_equal(c[t].err, 0);
	}
	print_message("%u fsyncs by %u syncs\n", (unsigned)ARRAY_LEN(c) * FSYNCS, atomic_load(&syncs));
	assert_true(atomic_load(&syncs) < ARRAY_LEN(c) * FSYNCS / 2);
	rig_close(&r);
	pool_close(p);
}

/* Decision 5: what the medium still shows as another file's is not written over. */
static void freed_blocks_wait_until_their_record_is_durable(void **state)
{
	static const char nothing;
	struct drained gone = {.proof = (const void *)&nothing, .range = {0, UINT64_MAX}};
	uint64_t seq, free_before;
	struct run a, b;
	struct jtxn t;
	struct pool *p;
	struct rig r;

	assert_int_equal(sim_create(POOL_SIZE, POOL_MSYNC, NULL, &p), 0);
	assert_int_equal(rig_format(p), 0);
	assert_int_equal(rig_open(&r, p, false), 0);
	assert_int_equal(alloc_take(r.alloc, 8, 0, &a), 0);
	free_before = alloc_free_blocks(r.alloc);
	jtxn_init(&t);
	jtxn_forget(&t, 77);
	assert_int_equal(jtxn_commit(r.j, &t, &seq), 0);
	jtxn_fini(&t);
	alloc_release(r.alloc, &gone, a, seq);
	assert_int_equal(alloc_pending_blocks(r.alloc), 8);
	assert_int_equal(alloc_free_blocks(r.alloc), free_before + 8);
	/* Nobody gets them now, wherever he would like to be. */
	assert_int_equal(alloc_take(r.alloc, 8, a.start, &b), 0);
	assert_true(b.start + b.blocks <= a.start || b.start >= a.start + a.blocks);
	assert_int_equal(journal_sync(r.j), 0);
	assert_int_equal(alloc_pending_blocks(r.alloc), 0);
	alloc_undo(r.alloc, b);
	assert_int_equal(alloc_take(r.alloc, 8, a.start, &b), 0);
	assert_int_equal(b.start, a.start);
	alloc_undo(r.alloc, b);
	rig_close(&r);
	pool_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_threads_were_told_is_durable_is_there),
	    cmocka_unit_test(thousands_of_records_during_a_checkpoint_are_kept),
	    cmocka_unit_test(a_log_that_fills_the_pool_during_a_checkpoint_is_refused),
	    cmocka_unit_test(the_space_of_a_burst_comes_back),
	    cmocka_unit_test(callers_of_fsync_share_their_syncs),
	    cmocka_unit_test(freed_blocks_wait_until_their_record_is_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
