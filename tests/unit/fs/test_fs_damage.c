/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L39, a damaged pool is refused with the rule that it breaks, or mounted read-only as it was before the damage
 * when the checkpoint is whole; features of newer formats (format 2.1d, 2.1i). And: a clean unmount writes anew only
 * what changed.
 */
#include "fsrig.h"

#include <time.h>

#include "base/crc.h"
#include "base/types.h"
#include "format/format.h"
#include "fs/scan.h"

#define POOL_BYTES (32 * MIB)

/* The place of every record of the log. */
#define RECORDS_MAX 4096u
struct records {
	struct checkpoint_head head;
	struct scan_at at[RECORDS_MAX];
	uint64_t segment[RECORDS_MAX];
	unsigned count, segments;
};

static void note_record(void *ctx, const struct record_head *h, const struct scan_at *at, const void *bytes)
{
	struct records *r = ctx;

	if (r->count < RECORDS_MAX)
		r->at[r->count++] = *at;
}

static void note_segment(void *ctx, const struct segment_head *h, const void *bytes)
{
	struct records *r = ctx;

	if (r->segments < RECORDS_MAX)
		r->segment[r->segments++] = h->block;
}

static void read_records(struct pool *p, struct records *r)
{
	static const struct scan_ops ops = {.record = note_record, .segment = note_segment};
	struct scan s;

	memset(r, 0, sizeof(*r));
	assert_int_equal(scan_pool(&s, p, &ops, r), 0);
	r->head = s.head;
	scan_fini(&s);
}

static struct records recs;

/* Files 0 .. count - 1, and nothing unmounted. With `checkpoint`, that many of them are in it. */
static void make(struct rig *r, unsigned count, unsigned checkpoint)
{
	char path[32];

	assert_int_equal(rig_new(r, POOL_BYTES), 0);
	for (unsigned k = 0; k < count; k++) {
		if (checkpoint != 0 && k == checkpoint)
			assert_int_equal(fs_checkpoint(r->fs), 0);
		snprintf(path, sizeof(path), "/f%u", k);
		rig_file(r, path, (int)k, 100);
	}
	fs_abandon(r->fs);
	r->fs = NULL;
	read_records(r->pool, &recs);
}

static void flip(struct pool *p, uint64_t block, uint64_t offset)
{
	uint8_t byte = *(const uint8_t *)pool_at(p, (block << LH_BLOCK_SHIFT) + offset, 1) ^ 0x10;

	pool_store(p, (block << LH_BLOCK_SHIFT) + offset, &byte, 1);
}

static int mount_as(struct rig *r, bool read_only)
{
	struct fs_mount_options opt = r->mount;

	opt.read_only = read_only;
	return fs_mount(r->pool, &opt, &r->fs);
}

static void expect_refused(struct rig *r, bool read_only, int want, const char *rule)
{
	int err = mount_as(r, read_only);

	if (err != want || !strstr(fail_text(), rule))
		fprintf(stderr, "got %d \"%s\", not %d \"%s\"\n", err, fail_text(), want, rule);
	assert_int_equal(err, want);
	assert_non_null(strstr(fail_text(), rule));
}

/* How many of the files are there: the first ones, with their content. */
static unsigned files_there(struct rig *r, unsigned count)
{
	unsigned there = 0;
	char path[32];

	for (unsigned k = 0; k < count; k++) {
		struct fs_attr a;

		snprintf(path, sizeof(path), "/f%u", k);
		if (fs_stat(r->fs, &r->root, path, true, &a) != 0)
			continue;
		assert_int_equal(k, there);
		there++;
	}
	return there;
}

static void end(struct rig *r)
{
	if (r->fs)
		fs_abandon(r->fs);
	pool_close(r->pool);
}

static void a_log_that_is_damaged_is_read_up_to_the_damage(void **state)
{
	struct fs_handle *h;
	struct rig r;

	/* Two records a file: the last ones prove that the one in the middle was durable (5.4a). */
	make(&r, 40, 0);
	flip(r.pool, recs.at[40].block, recs.at[40].offset + 60);
	expect_refused(&r, false, -EBADMSG, "5.4a");
	assert_int_equal(mount_as(&r, true), 0);
	assert_in_range(files_there(&r, 40), 18, 21);
	assert_int_equal(fs_open(r.fs, &r.root, "/new", O_CREAT | O_RDWR, 0644, &h), -EROFS);
	rig_check(&r);
	assert_int_equal(fs_unmount(r.fs), 0);
	/* Nothing was written: it is refused as before. */
	expect_refused(&r, false, -EBADMSG, "5.4a");
	r.fs = NULL;
	end(&r);
}

/* 5.4b: what the checkpoint needs. */
static void damage_of_what_the_checkpoint_needs_is_refused_for_reading_too(void **state)
{
	struct rig r;

	make(&r, 20, 10);
	/* The checkpoint's must_seq is in the log when the mount's anchor was written behind it. */
	assert_int_equal(mount_as(&r, false), 0);
	fs_abandon(r.fs);
	r.fs = NULL;
	read_records(r.pool, &recs);
	assert_true(recs.head.must_seq >= recs.at[5].seq);
	flip(r.pool, recs.at[5].block, recs.at[5].offset + 60);
	expect_refused(&r, false, -EBADMSG, "5.4b");
	expect_refused(&r, true, -EBADMSG, "5.4b");
	end(&r);
}

static void a_damaged_checkpoint_is_refused_for_reading_too(void **state)
{
	struct rig r;

	make(&r, 20, 10);
	flip(r.pool, recs.head.chunk_start, 70);
	expect_refused(&r, false, -EBADMSG, "3.2c");
	expect_refused(&r, true, -EBADMSG, "3.2c");
	flip(r.pool, recs.head.chunk_start, 70);
	flip(r.pool, recs.head.block, 100);
	expect_refused(&r, false, -EBADMSG, "3.1b");
	expect_refused(&r, true, -EBADMSG, "3.1b");
	flip(r.pool, recs.head.block, 100);
	flip(r.pool, 0, FORMAT_ROOT_OFFSET + 1);
	expect_refused(&r, true, -EBADMSG, "2.3a");
	flip(r.pool, 0, FORMAT_ROOT_OFFSET + 1);
	flip(r.pool, 0, 60);
	expect_refused(&r, true, -EBADMSG, "2.1b");
	flip(r.pool, 0, 60);
	assert_int_equal(mount_as(&r, true), 0);
	assert_int_equal(files_there(&r, 20), 20);
	end(&r);
}

/* 5.1: a good link never leads to a bad header. */
static void a_damaged_segment_header_ends_a_read_only_log(void **state)
{
	struct rig r;
	unsigned there;

	make(&r, 600, 0);
	assert_true(recs.segments > 1);
	flip(r.pool, recs.segment[recs.segments - 1], 20);
	expect_refused(&r, false, -EBADMSG, "5.1b");
	assert_int_equal(mount_as(&r, true), 0);
	there = files_there(&r, 600);
	assert_in_range(there, 1, 599);
	rig_check(&r);
	end(&r);
}

/* --- features -------------------------------------------------------------------------------------------------------
 */

static void super_change(struct pool *p, uint64_t ro_compat, uint64_t incompat, uint64_t compat)
{
	uint64_t places[] = {0, p->size - LH_BLOCK_SIZE};

	for (unsigned k = 0; k < ARRAY_LEN(places); k++) {
		struct m_super m;

		memcpy(&m, pool_at(p, places[k], sizeof(m)), sizeof(m));
		m.sb_ro_compat = le64_of(ro_compat);
		m.sb_incompat = le64_of(incompat);
		m.sb_compat = le64_of(compat);
		m.sb_crc = le32_of(crc32c(0, &m, offsetof(struct m_super, sb_crc)));
		pool_store(p, places[k], &m, sizeof(m));
	}
}

static void features_of_newer_formats_are_honoured(void **state)
{
	struct rig r;

	make(&r, 5, 0);
	super_change(r.pool, (uint64_t)1 << 40, 0, 0);
	expect_refused(&r, false, -EROFS, "2.1i");
	assert_int_equal(mount_as(&r, true), 0);
	assert_int_equal(files_there(&r, 5), 5);
	assert_int_equal(fs_unlink(r.fs, &r.root, "/f0"), -EROFS);
	assert_int_equal(fs_unmount(r.fs), 0);
	super_change(r.pool, 0, (uint64_t)1 << 40, 0);
	expect_refused(&r, false, -EPROTONOSUPPORT, "2.1d");
	expect_refused(&r, true, -EPROTONOSUPPORT, "2.1d");
	super_change(r.pool, 0, 0, (uint64_t)1 << 40);
	assert_int_equal(mount_as(&r, false), 0);
	assert_int_equal(files_there(&r, 5), 5);
	assert_int_equal(fs_unmount(r.fs), 0);
	r.fs = NULL;
	end(&r);
}

/* --- a clean unmount ------------------------------------------------------------------------------------------------
 */

static void an_unmount_without_changes_keeps_the_checkpoint(void **state)
{
	struct fs_statfs before, after;
	struct fs_attr a;
	struct rig r;
	uint64_t chunks;
	char byte;

	make(&r, 20, 10);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(mount_as(&r, false), 0);
		if (round == 2)
			fs_statfs(r.fs, &before);
		assert_int_equal(fs_unmount(r.fs), 0);
		read_records(r.pool, &recs);
		assert_int_equal(recs.head.flags, CHECKPOINT_CLEAN);
		if (round > 0)
			assert_int_equal(recs.head.chunk_number, chunks);
		chunks = recs.head.chunk_number;
	}
	/* A name that came and went is a change; so is a time that only memory knows. */
	assert_int_equal(mount_as(&r, false), 0);
	fs_statfs(r.fs, &after);
	assert_int_equal(after.free_blocks, before.free_blocks);
	rig_file(&r, "/x", 1, 1);
	assert_int_equal(fs_unlink(r.fs, &r.root, "/x"), 0);
	assert_int_equal(fs_unmount(r.fs), 0);
	read_records(r.pool, &recs);
	assert_true(recs.head.chunk_number > chunks);
	chunks = recs.head.chunk_number;
	assert_int_equal(mount_as(&r, false), 0);
	{
		struct fs_handle *h = rig_open(&r, "/f3", O_RDONLY);
		struct timespec tick = {0, 20000000};

		/* The clock of file times has steps of some milliseconds. */
		nanosleep(&tick, NULL);
		assert_int_equal(fs_read(h, &r.root, &byte, 1, 0), 1);
		fs_close(h, NULL, 0);
	}
	assert_int_equal(fs_stat(r.fs, &r.root, "/f3", true, &a), 0);
	assert_int_equal(fs_unmount(r.fs), 0);
	read_records(r.pool, &recs);
	assert_true(recs.head.chunk_number > chunks);
	assert_int_equal(mount_as(&r, false), 0);
	{
		struct fs_attr again;

		assert_int_equal(fs_stat(r.fs, &r.root, "/f3", true, &again), 0);
		assert_int_equal(again.atime_ns, a.atime_ns);
	}
	rig_check(&r);
	assert_int_equal(fs_unmount(r.fs), 0);
	r.fs = NULL;
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_log_that_is_damaged_is_read_up_to_the_damage),
	    cmocka_unit_test(damage_of_what_the_checkpoint_needs_is_refused_for_reading_too),
	    cmocka_unit_test(a_damaged_checkpoint_is_refused_for_reading_too),
	    cmocka_unit_test(a_damaged_segment_header_ends_a_read_only_log),
	    cmocka_unit_test(features_of_newer_formats_are_honoured),
	    cmocka_unit_test(an_unmount_without_changes_keeps_the_checkpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
