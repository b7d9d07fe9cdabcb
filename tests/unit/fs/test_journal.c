/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L38, L39, I1, I7, I8: what was committed comes back, once and whole; what is damaged is refused with its rule.
 */
#include "journal_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc.h"
#include "format/format.h"
#include "fs/scan.h"
#include "pool/sim.h"

#define POOL_SIZE ((uint64_t)16 << 20)

static struct pool *pool_fresh(void)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	struct pool *p;

	assert_int_equal(pool_create(&args, &p), 0);
	assert_int_equal(rig_format(p), 0);
	return p;
}

static struct pool *sim_fresh(enum pool_class class)
{
	struct pool *p;

	assert_int_equal(sim_create(POOL_SIZE, class, NULL, &p), 0);
	assert_int_equal(rig_format(p), 0);
	return p;
}

static void open_ok(struct rig *r, struct pool *p)
{
	int err = rig_open(r, p, false);

	if (err != 0)
		fprintf(stderr, "%s\n", fail_text());
	assert_int_equal(err, 0);
}

static void expect_rule(int err, int want, const char *rule)
{
	if (err != want || strstr(fail_text(), rule) == NULL)
		fprintf(stderr, "got %d \"%s\", not %d with \"%s\"\n", err, fail_text(), want, rule);
	assert_int_equal(err, want);
	assert_non_null(strstr(fail_text(), rule));
}

/* --- coming back ----------------------------------------------------------------------------------------------------
 */

static void records_come_back_without_an_unmount(void **state)
{
	struct pool *p = pool_fresh();
	struct rig r;

	(void)state;
	for (uint64_t round = 1; round < 6; round++) {
		open_ok(&r, p);
		for (uint64_t i = 2; i < 200; i++) {
			assert_int_equal(r.state->ino[i].size, round == 1 ? 0 : (round - 1) * 1000 + i);
			assert_int_equal(rig_set(&r, i, round * 1000 + i, false), 0);
		}
		assert_int_equal(journal_next_ino(r.j), 200);
		rig_close(&r);
	}
	open_ok(&r, p);
	assert_int_equal(r.state->ino[77].size, 5077);
	rig_close(&r);
	pool_close(p);
}

static void a_clean_pool_mounts_without_replay(void **state)
{
	struct pool *p = pool_fresh();
	struct journal_stats st;
	struct rig r;

	(void)state;
	open_ok(&r, p);
	assert_int_equal(rig_set(&r, 9, 99, false), 0);
	assert_int_equal(rig_set(&r, 400, 1, false), 0);
	assert_int_equal(rig_forget_one(&r, 400), 0);
	assert_int_equal(rig_checkpoint(&r, true), 0);
	assert_int_equal(rig_set(&r, 9, 98, false), -EROFS);
	assert_int_equal(alloc_free_blocks(r.alloc), POOL_SIZE / LH_BLOCK_SIZE - 2 - 2);
	rig_close(&r);
	open_ok(&r, p);
	journal_stats_read(r.j, &st);
	assert_true(st.was_clean);
	assert_int_equal(st.records, 0);
	assert_int_equal(r.state->ino[9].size, 99);
	assert_false(r.state->ino[400].there);
	/* Numbers are never reused, also not after the highest is gone. */
	assert_int_equal(journal_next_ino(r.j), 401);
	rig_close(&r);
	open_ok(&r, p);
	journal_stats_read(r.j, &st);
	assert_false(st.was_clean);
	rig_close(&r);
	pool_close(p);
}

static void log_and_checkpoints_reuse_their_space(void **state)
{
	struct pool *p = pool_fresh();
	struct rig r;
	uint64_t least = UINT64_MAX;

	(void)state;
	open_ok(&r, p);
	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 3000; i++)
			assert_int_equal(rig_set(&r, 2 + i % 500, round * 10000 + i, false), 0);
		assert_int_equal(rig_checkpoint(&r, false), 0);
		least = min_u64(least, alloc_free_blocks(r.alloc));
	}
	/* 60 x 3,000 x 128 bytes went through, more than the pool is large. */
	assert_true(least > POOL_SIZE / LH_BLOCK_SIZE - 200);
	rig_close(&r);
	open_ok(&r, p);
	assert_int_equal(r.state->ino[2 + 2999 % 500].size, 59 * 10000 + 2999);
	rig_close(&r);
	pool_close(p);
}

/* Format 5.5. */
static void an_operation_larger_than_a_segment_is_whole(void **state)
{
	struct pool *p = pool_fresh();
	struct rig r;

	(void)state;
	open_ok(&r, p);
	assert_int_equal(rig_map_many(&r, 3, 30000), 0);
	assert_int_equal(rig_set(&r, 4, 5, false), 0);
	rig_close(&r);
	open_ok(&r, p);
	assert_int_equal(r.state->ino[3].maps, 30000);
	assert_int_equal(r.state->ino[4].size, 5);
	assert_int_equal(rig_checkpoint(&r, false), 0);
	rig_close(&r);
	open_ok(&r, p);
	assert_int_equal(r.state->ino[3].maps, 30000);
	rig_close(&r);
	pool_close(p);
}

struct appender {
	struct rig *r;
	uint64_t ino;
	unsigned count;
};

static void *append_run(void *arg)
{
	const struct appender *a = arg;

	for (unsigned i = 1; i <= a->count; i++) {
		if (rig_set(a->r, a->ino + i % 100, i, false) != 0)
			return (void *)1;
	}
	return NULL;
}

static void checkpoints_beside_appending_threads_lose_nothing(void **state)
{
	struct pool *p = pool_fresh();
	struct appender a[2];
	pthread_t t[2];
	struct rig_state *want;
	struct rig r;

	(void)state;
	open_ok(&r, p);
	for (unsigned i = 0; i < 2; i++) {
		a[i] = (struct appender){&r, 100 + i * 200, 40000};
		assert_int_equal(pthread_create(&t[i], NULL, append_run, &a[i]), 0);
	}
	for (unsigned i = 0; i < 30; i++)
		assert_int_equal(rig_checkpoint(&r, false), 0);
	for (unsigned i = 0; i < 2; i++) {
		void *failed;

		pthread_join(t[i], &failed);
		assert_null(failed);
	}
	want = malloc(sizeof(*want));
	*want = *r.state;
	rig_close(&r);
	open_ok(&r, p);
	want->ino[1] = r.state->ino[1];
	assert_memory_equal(want, r.state, sizeof(*want));
	rig_close(&r);
	free(want);
	pool_close(p);
}

static void a_full_pool_can_delete_and_checkpoint(void **state)
{
	struct pool *p = pool_fresh();
	struct run run;
	struct rig r;
	unsigned i;
	int err = 0;

	(void)state;
	open_ok(&r, p);
	while (alloc_take(r.alloc, 1000, 0, &run) == 0)
		;
	for (i = 0; err == 0 && i < 100000; i++)
		err = rig_set(&r, 2 + i % 500, i, false);
	assert_int_equal(err, -ENOSPC);
	for (i = 2; i < 500; i++)
		assert_int_equal(rig_forget_one(&r, i), 0);
	assert_int_equal(rig_checkpoint(&r, false), 0);
	/* The checkpoint gave the log's space back. */
	assert_int_equal(rig_set(&r, 5, 55, false), 0);
	rig_close(&r);
	open_ok(&r, p);
	assert_int_equal(r.state->ino[5].size, 55);
	assert_false(r.state->ino[6].there);
	rig_close(&r);
	pool_close(p);
}

static void a_read_only_mount_writes_nothing(void **state)
{
	struct pool *p = pool_fresh();
	uint8_t *before = malloc(POOL_SIZE);
	struct rig r;

	(void)state;
	open_ok(&r, p);
	assert_int_equal(rig_set(&r, 5, 50, false), 0);
	rig_close(&r);
	memcpy(before, p->base, POOL_SIZE);
	assert_int_equal(rig_open(&r, p, true), 0);
	assert_int_equal(r.state->ino[5].size, 50);
	assert_int_equal(rig_set(&r, 5, 51, false), -EROFS);
	assert_int_equal(rig_checkpoint(&r, false), -EROFS);
	rig_close(&r);
	assert_memory_equal(before, p->base, POOL_SIZE);
	free(before);
	pool_close(p);
}

/* --- POOL_MSYNC -----------------------------------------------------------------------------------------------------
 */

static struct pool *crash_now(struct pool *p)
{
	uint64_t none[SIM_MASK_WORDS] = {0};
	struct pool *after;

	sim_arm(p, UINT64_MAX);
	sim_capture(p);
	assert_int_equal(sim_fork(p, none, &after), 0);
	return after;
}

static void msync_records_are_durable_at_sync_and_not_before(void **state)
{
	struct pool *p = sim_fresh(POOL_MSYNC), *after;
	struct rig r, s;

	(void)state;
	open_ok(&r, p);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(rig_set(&r, 2 + i % 100, 1000 + i, false), 0);
	assert_int_equal(journal_sync(r.j), 0);
	assert_int_equal(rig_set(&r, 7, 7, false), 0);
	after = crash_now(p);
	open_ok(&s, after);
	assert_int_equal(s.state->ino[101].size, 2999);
	assert_int_equal(s.state->ino[7].size, 2905);
	rig_close(&s);
	pool_close(after);
	/* A checkpoint makes them durable too. */
	assert_int_equal(rig_checkpoint(&r, false), 0);
	after = crash_now(p);
	open_ok(&s, after);
	assert_int_equal(s.state->ino[7].size, 7);
	rig_close(&s);
	pool_close(after);
	rig_close(&r);
	pool_close(p);
}

static void the_interval_syncs_by_itself(void **state)
{
	struct pool *p = sim_fresh(POOL_MSYNC), *after;
	struct rig r, s;
	bool there = false;

	(void)state;
	open_ok(&r, p);
	assert_int_equal(journal_set_interval(r.j, 1000000), 0);
	assert_int_equal(rig_set(&r, 7, 7, false), 0);
	for (unsigned i = 0; !there && i < 5000; i++) {
		usleep(2000);
		after = crash_now(p);
		open_ok(&s, after);
		there = s.state->ino[7].size == 7;
		rig_close(&s);
		pool_close(after);
	}
	assert_true(there);
	rig_close(&r);
	pool_close(p);
}

/* --- damage ---------------------------------------------------------------------------------------------------------
 */

/* Flips one bit of each of the bytes and expects a refusal that names one of the section's rules. */
static void flips_are_refused(struct pool *p, uint64_t off, uint64_t len, const char *section)
{
	char word[32];
	struct rig r;

	snprintf(word, sizeof(word), "format %s", section);
	for (uint64_t i = 0; i < len; i++) {
		uint8_t bit = (uint8_t)(1u << (i * 5 + 3) % 8);
		int err;

		p->base[off + i] ^= bit;
		err = rig_open(&r, p, true);
		p->base[off + i] ^= bit;
		if (err == 0 || strstr(fail_text(), word) == NULL)
			fprintf(stderr, "byte %llu + %llu: %d \"%s\"\n", (unsigned long long)off, (unsigned long long)i,
				err, fail_text());
		assert_true(err == -EUCLEAN || err == -EBADMSG);
		assert_non_null(strstr(fail_text(), word));
	}
}

static void every_flip_in_a_clean_pool_is_refused(void **state)
{
	struct pool *p = pool_fresh();
	struct scan_ops ops = {0};
	struct scan s;
	struct rig r;

	(void)state;
	open_ok(&r, p);
	for (uint64_t i = 2; i < 50; i++)
		assert_int_equal(rig_set(&r, i, i, false), 0);
	assert_int_equal(rig_checkpoint(&r, true), 0);
	rig_close(&r);
	assert_int_equal(scan_pool(&s, p, &ops, NULL), 0);
	flips_are_refused(p, 0, FORMAT_ROOT_OFFSET, "2.1");
	flips_are_refused(p, FORMAT_ROOT_OFFSET, 8, "2.3");
	flips_are_refused(p, FORMAT_SIZE_OFFSET, 8, "2.4");
	flips_are_refused(p, FORMAT_SIZE_OFFSET + 8, LH_BLOCK_SIZE - FORMAT_SIZE_OFFSET - 8, "2.1");
	flips_are_refused(p, s.head.block << LH_BLOCK_SHIFT, LH_BLOCK_SIZE, "3.1");
	flips_are_refused(p, s.chunks[0].start << LH_BLOCK_SHIFT, sizeof(struct m_chunk) + s.head.bytes, "3.2");
	scan_fini(&s);
	pool_close(p);
}

/* A dirty pool with records 2 .. count + 1; where each lies. */
struct dirty {
	struct pool *p;
	struct scan_at at[64];
	uint32_t length[64];
	unsigned count;
};

static void dirty_record(void *ctx, const struct record_head *h, const struct scan_at *at, const void *bytes)
{
	struct dirty *d = ctx;

	(void)bytes;
	if ((h->flags & RECORD_LINK) != 0)
		return;
	d->at[d->count] = *at;
	d->length[d->count++] = h->length;
}

static void dirty_scan(struct dirty *d, struct pool *p)
{
	const struct scan_ops ops = {.record = dirty_record};
	struct scan s;

	d->p = p;
	d->count = 0;
	assert_int_equal(scan_pool(&s, p, &ops, d), 0);
	scan_fini(&s);
}

static uint64_t dirty_offset(const struct dirty *d, unsigned i)
{
	return (d->at[i].block << LH_BLOCK_SHIFT) + d->at[i].offset;
}

static void dirty_make(struct dirty *d, unsigned count)
{
	struct pool *p = pool_fresh();
	struct rig r;

	open_ok(&r, p);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(rig_set(&r, 2 + i, 1000 + i, false), 0);
	rig_close(&r);
	dirty_scan(d, p);
	assert_int_equal(d->count, count);
}

/* Format 5.4a. */
static void a_flip_in_the_middle_of_the_log_is_refused(void **state)
{
	struct dirty d;

	(void)state;
	dirty_make(&d, 20);
	flips_are_refused(d.p, dirty_offset(&d, 0), d.length[0], "5.4a");
	flips_are_refused(d.p, dirty_offset(&d, 10), d.length[10], "5.4a");
	flips_are_refused(d.p, dirty_offset(&d, 18), d.length[18], "5.4a");
	flips_are_refused(d.p, d.at[0].block << LH_BLOCK_SHIFT, sizeof(struct m_segment), "5.1");
	pool_close(d.p);
}

/* Format 5.4: the last record cannot be told from a torn tail. */
static void a_torn_tail_is_dropped(void **state)
{
	struct dirty d;
	struct rig r;

	(void)state;
	dirty_make(&d, 20);
	for (unsigned i = 0; i < d.length[19]; i++) {
		d.p->base[dirty_offset(&d, 19) + i] ^= 1;
		assert_int_equal(rig_open(&r, d.p, true), 0);
		assert_int_equal(r.state->ino[20].size, 1018);
		assert_false(r.state->ino[21].there);
		rig_close(&r);
		d.p->base[dirty_offset(&d, 19) + i] ^= 1;
	}
	/* And the log goes on behind it: the dropped record never comes back. */
	d.p->base[dirty_offset(&d, 19)] ^= 1;
	open_ok(&r, d.p);
	assert_int_equal(rig_set(&r, 30, 3, false), 0);
	rig_close(&r);
	open_ok(&r, d.p);
	assert_false(r.state->ino[21].there);
	assert_int_equal(r.state->ino[30].size, 3);
	rig_close(&r);
	pool_close(d.p);
}

/* Format 5.4b: the link to a new generation is anchored in the checkpoint header. */
static void a_damaged_link_between_generations_is_refused(void **state)
{
	struct dirty d;
	uint64_t link;
	struct rig r;

	(void)state;
	dirty_make(&d, 20);
	link = dirty_offset(&d, 19) + d.length[19];
	open_ok(&r, d.p);
	assert_int_equal(rig_set(&r, 40, 4, false), 0);
	rig_close(&r);
	flips_are_refused(d.p, link, sizeof(struct m_link), "5.4b");
	pool_close(d.p);
}

/* Format 5.4a across segments: the link itself is damaged, the next segment proves it. */
static void a_damaged_link_between_segments_is_refused(void **state)
{
	struct pool *p = pool_fresh();
	const struct scan_ops ops = {0};
	struct scan s;
	struct rig r;
	uint64_t link;

	(void)state;
	open_ok(&r, p);
	for (unsigned i = 0; i < 1500; i++)
		assert_int_equal(rig_set(&r, 2 + i % 500, i, false), 0);
	rig_close(&r);
	assert_int_equal(scan_pool(&s, p, &ops, NULL), 0);
	assert_true(s.segment_count >= 2);
	/* Records of 128 bytes each: the link of the first segment lies behind the last that fits. */
	link = sizeof(struct m_segment);
	while (link + 128 + sizeof(struct m_link) <= s.segments[0].run.blocks * LH_BLOCK_SIZE)
		link += 128;
	link += s.segments[0].run.start << LH_BLOCK_SHIFT;
	flips_are_refused(p, link, sizeof(struct m_link), "5.4a");
	scan_fini(&s);
	pool_close(p);
}

static void super_rewrite(struct pool *p, void (*change)(struct m_super *m))
{
	struct m_super m;

	memcpy(&m, p->base, sizeof(m));
	change(&m);
	m.sb_crc = le32_of(crc32c(0, &m, offsetof(struct m_super, sb_crc)));
	memcpy(p->base, &m, sizeof(m));
}
static void change_version(struct m_super *m)
{
	m->sb_version = le32_of(2);
}
static void change_incompat(struct m_super *m)
{
	m->sb_incompat = le64_of(4);
}
static void change_ro_compat(struct m_super *m)
{
	m->sb_ro_compat = le64_of(4);
}
static void change_compat(struct m_super *m)
{
	m->sb_compat = le64_of(4);
}

static void versions_and_features_are_respected(void **state)
{
	struct pool *p = pool_fresh();
	struct rig r;

	(void)state;
	super_rewrite(p, change_version);
	expect_rule(rig_open(&r, p, false), -EPROTONOSUPPORT, "format 2.1c");
	assert_int_equal(rig_format(p), 0);
	super_rewrite(p, change_incompat);
	expect_rule(rig_open(&r, p, true), -EPROTONOSUPPORT, "format 2.1d");
	assert_int_equal(rig_format(p), 0);
	super_rewrite(p, change_ro_compat);
	expect_rule(rig_open(&r, p, false), -EROFS, "format 2.1i");
	assert_int_equal(rig_open(&r, p, true), 0);
	rig_close(&r);
	assert_int_equal(rig_format(p), 0);
	super_rewrite(p, change_compat);
	open_ok(&r, p);
	rig_close(&r);
	pool_close(p);
}

static void what_is_no_pool_is_said_to_be_none(void **state)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	struct pool *p;
	struct rig r;

	(void)state;
	assert_int_equal(pool_create(&args, &p), 0);
	expect_rule(rig_open(&r, p, false), -EMEDIUMTYPE, "not a leasehold pool");
	assert_int_equal(rig_format(p), 0);
	/* The copy tells damage from something else. */
	memset(p->base, 0, LH_BLOCK_SIZE);
	expect_rule(rig_open(&r, p, false), -EUCLEAN, "its copy in the last block is good");
	pool_close(p);
}

static void a_truncated_pool_is_refused(void **state)
{
	struct pool *p = pool_fresh(), *shorter;
	struct rig r;

	(void)state;
	assert_int_equal(sim_create(POOL_SIZE - LH_BLOCK_SIZE, POOL_VOLATILE, p->base, &shorter), 0);
	expect_rule(rig_open(&r, shorter, false), -EUCLEAN, "truncated");
	pool_close(shorter);
	pool_close(p);
}

/* Format 2.2a. */
static void a_damaged_copy_is_written_anew(void **state)
{
	struct pool *p = pool_fresh();
	uint8_t before[LH_BLOCK_SIZE];
	struct rig r;

	(void)state;
	memcpy(before, p->base + POOL_SIZE - LH_BLOCK_SIZE, LH_BLOCK_SIZE);
	p->base[POOL_SIZE - 50] ^= 1;
	open_ok(&r, p);
	rig_close(&r);
	assert_memory_equal(before, p->base + POOL_SIZE - LH_BLOCK_SIZE, LH_BLOCK_SIZE);
	pool_close(p);
}

/* --- forged records -------------------------------------------------------------------------------------------------
 */

/*
 * A user wrote bytes that look like a record into a file, whose block became log space. He may know everything but the
 * generation's salt.
 */
static void a_forged_record_at_the_tail_is_not_replayed(void **state)
{
	uint8_t buf[256] __attribute__((aligned(8)));
	const struct inode_attr a = {.ino = 66, .size = 666, .mode = S_IFREG};
	struct record_head h = {.items = 1, .length = 48 + 80};
	const struct scan_ops ops = {0};
	struct dirty d;
	struct scan s;
	struct jtxn t;
	struct rig r;

	(void)state;
	dirty_make(&d, 20);
	assert_int_equal(scan_pool(&s, d.p, &ops, NULL), 0);
	jtxn_init(&t);
	jtxn_inode(&t, &a);
	memcpy(buf + 48, t.buf + 48, 80);
	jtxn_fini(&t);
	h.seq = s.end_seq;
	h.durable_seq = s.end_seq - 1;
	h.generation = s.end_generation;
	h.salt = s.end_salt ^ 1;
	record_seal(&h, buf);
	memcpy(d.p->base + dirty_offset(&d, 19) + d.length[19], buf, h.length);
	/* And one further on that would prove the tail damaged, if its salt were right. */
	h.seq += 5;
	h.durable_seq = h.seq - 1;
	record_seal(&h, buf);
	memcpy(d.p->base + dirty_offset(&d, 19) + d.length[19] + 512, buf, h.length);
	open_ok(&r, d.p);
	assert_false(r.state->ino[66].there);
	assert_int_equal(r.state->ino[21].size, 1019);
	rig_close(&r);
	scan_fini(&s);
	pool_close(d.p);
}

/* Stale records of this generation in a segment that is used again: their numbers are too low. */
static void stale_records_in_reused_segments_are_not_replayed(void **state)
{
	struct pool *p = pool_fresh();
	struct rig r;

	(void)state;
	open_ok(&r, p);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 300 + round * 17; i++)
			assert_int_equal(rig_set(&r, 2 + i % 400, round * 1000 + i, false), 0);
		assert_int_equal(rig_set(&r, 450, round, false), 0);
		if (round % 3 != 2)
			assert_int_equal(rig_checkpoint(&r, false), 0);
		if (round % 5 == 4) {
			rig_close(&r);
			open_ok(&r, p);
			assert_int_equal(r.state->ino[450].size, round);
			assert_int_equal(r.state->ino[2].size, round * 1000 + (300 + round * 17 - 1) / 400 * 400);
		}
	}
	rig_close(&r);
	pool_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records_come_back_without_an_unmount),
	    cmocka_unit_test(a_clean_pool_mounts_without_replay),
	    cmocka_unit_test(log_and_checkpoints_reuse_their_space),
	    cmocka_unit_test(an_operation_larger_than_a_segment_is_whole),
	    cmocka_unit_test(checkpoints_beside_appending_threads_lose_nothing),
	    cmocka_unit_test(a_full_pool_can_delete_and_checkpoint),
	    cmocka_unit_test(a_read_only_mount_writes_nothing),
	    cmocka_unit_test(msync_records_are_durable_at_sync_and_not_before),
	    cmocka_unit_test(the_interval_syncs_by_itself),
	    cmocka_unit_test(every_flip_in_a_clean_pool_is_refused),
	    cmocka_unit_test(a_flip_in_the_middle_of_the_log_is_refused),
	    cmocka_unit_test(a_torn_tail_is_dropped),
	    cmocka_unit_test(a_damaged_link_between_generations_is_refused),
	    cmocka_unit_test(a_damaged_link_between_segments_is_refused),
	    cmocka_unit_test(versions_and_features_are_respected),
	    cmocka_unit_test(what_is_no_pool_is_said_to_be_none),
	    cmocka_unit_test(a_truncated_pool_is_refused),
	    cmocka_unit_test(a_damaged_copy_is_written_anew),
	    cmocka_unit_test(a_forged_record_at_the_tail_is_not_replayed),
	    cmocka_unit_test(stale_records_in_reused_segments_are_not_replayed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
