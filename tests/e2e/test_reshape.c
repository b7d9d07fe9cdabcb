/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: whoever reshapes a file, its holder or somebody else, and by whatever call: the next access through a lease
 * shows what pread shows, with no error and no reopen, and no key that still works leads anywhere else (L1, L5, L12,
 * L15, L21). One case per row of the table of rule L1 and per actor.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE  (256 * KIB + 1000)
#define ROOM  (512 * KIB)
#define KEYS  128
#define SEED  77u
#define SHIFT (64 * KIB)

static struct rig rig;
static struct lh_fs *a, *b;

static int setup(void **state)
{
	a = rig_open(&rig);
	b = rig_open(&rig);
	return 0;
}

static int teardown(void **state)
{
	assert_ok(lh_fs_close(a));
	assert_ok(lh_fs_close(b));
	return 0;
}

/* What an operation works on. other has the same content as file at first. */
struct work {
	struct lh_fs *fs;
	struct lh_file *file, *other;
};

static int64_t do_truncate(const struct work *w)
{
	return lh_file_truncate(w->file, 100 * KIB + 7);
}
static int64_t do_extend(const struct work *w)
{
	return lh_file_truncate(w->file, ROOM - 5);
}
static int64_t do_punch(const struct work *w)
{
	return lh_file_punch(w->file, 10000, 50000);
}
static int64_t do_allocate(const struct work *w)
{
	return lh_file_fallocate(w->file, 0, 0, ROOM - 4096);
}
static int64_t do_zero(const struct work *w)
{
	return lh_file_fallocate(w->file, FALLOC_FL_ZERO_RANGE, 10000, 300000);
}
static int64_t do_collapse(const struct work *w)
{
	return lh_file_fallocate(w->file, FALLOC_FL_COLLAPSE_RANGE, 16 * KIB, SHIFT);
}
static int64_t do_insert(const struct work *w)
{
	return lh_file_fallocate(w->file, FALLOC_FL_INSERT_RANGE, 16 * KIB, SHIFT);
}
static int64_t do_unshare(const struct work *w)
{
	return lh_file_fallocate(w->file, FALLOC_FL_UNSHARE_RANGE, 0, SIZE);
}
static int64_t do_clone_to(const struct work *w)
{
	return lh_file_clone_range(w->file, 32 * KIB, w->other, 64 * KIB, 128 * KIB);
}
static int64_t do_clone_from(const struct work *w)
{
	return lh_file_clone_range(w->other, 32 * KIB, w->file, 64 * KIB, 128 * KIB);
}
static int64_t do_dedupe_to(const struct work *w)
{
	return lh_file_dedupe_range(w->file, 0, w->other, 0, SIZE);
}
static int64_t do_dedupe_from(const struct work *w)
{
	return lh_file_dedupe_range(w->other, 0, w->file, 0, SIZE);
}
static int64_t do_exchange(const struct work *w)
{
	return lh_file_exchange_range(w->file, 32 * KIB, w->other, 64 * KIB, 128 * KIB);
}
static int64_t do_exchange_inside(const struct work *w)
{
	return lh_file_exchange_range(w->file, 0, w->file, 128 * KIB, 64 * KIB);
}
static int64_t do_copy(const struct work *w)
{
	ssize_t n = lh_file_copy_range(w->file, 5 * KIB, w->other, 64 * KIB, 300 * KIB);

	return n < 0 ? n : 0;
}
static int64_t do_write_shared(const struct work *w)
{
	ssize_t n = lh_file_write(w->file, "written", 7, 33333);

	return n < 0 ? n : 0;
}
static int64_t do_relocate(const struct work *w)
{
	int64_t n = lh_file_relocate(w->file, 0, SIZE);

	return n < 0 ? n : 0;
}
static int64_t do_defragment(const struct work *w)
{
	return lh_file_defragment(w->file, NULL);
}
static int64_t do_snapshot(const struct work *w)
{
	int64_t err = lh_fs_snapshot(w->fs, "/dir", "/shot", LH_SNAPSHOT_READ_ONLY);

	return err ? err : lh_fs_snapshot_delete(w->fs, "/shot");
}
static int64_t do_resize(const struct work *w)
{
	int64_t err = lh_fs_resize(w->fs, 32 * MIB, NULL, NULL);

	return err ? err : lh_fs_resize(w->fs, 64 * MIB, NULL, NULL);
}

/* shared: other is a clone of file. keeps: content stays where it is. */
static const struct operation {
	const char *name;
	int64_t (*run)(const struct work *w);
	bool shared, keeps;
} operations[] = {{"truncate down", do_truncate, false, false},
		  {"truncate up", do_extend, false, true},
		  {"punch", do_punch, false, false},
		  {"allocate", do_allocate, false, true},
		  {"zero range", do_zero, false, false},
		  {"zero range, shared", do_zero, true, false},
		  {"collapse", do_collapse, false, false},
		  {"insert", do_insert, false, false},
		  {"unshare", do_unshare, true, true},
		  {"clone, destination", do_clone_to, false, false},
		  {"clone, source", do_clone_from, false, true},
		  {"dedupe, destination", do_dedupe_to, false, false},
		  {"dedupe, source", do_dedupe_from, false, true},
		  {"exchange", do_exchange, false, false},
		  {"exchange inside", do_exchange_inside, false, false},
		  {"copy", do_copy, false, false},
		  {"copy on write", do_write_shared, true, false},
		  {"relocate", do_relocate, false, true},
		  {"defragment", do_defragment, false, true},
		  {"snapshot", do_snapshot, false, true},
		  {"shrink", do_resize, false, true}};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static uint8_t through_lease[ROOM], through_call[ROOM];

/* The lease and pread agree on every byte, and on where the file ends. */
static void agree(const char *what, struct lh_lease *lease, struct lh_file *file)
{
	ssize_t n = lh_file_read(file, through_call, ROOM, 0);
	ssize_t m = lh_lease_read(lease, through_lease, ROOM, 0);

	if (n != m)
		fail_msg("%s: %zd bytes by call, %zd by the lease: %s", what, n, m, lh_error_text());
	for (ssize_t i = 0; i < n; i++) {
		if (through_lease[i] != through_call[i])
			fail_msg("%s: byte %zd is %#x by call and %#x by the lease", what, i, through_call[i],
				 through_lease[i]);
	}
}

/* A key that lived before and lives still is one that the lease has now, for the same bytes. */
static void old_keys(const char *what, struct lh_fs *fs, struct lh_lease *lease, const struct lh_lease_extent *old,
		     int count)
{
	struct lh_lease_extent now[KEYS];
	int n = lh_lease_extents(lease, now, KEYS);
	uint8_t buf[BLOCK];

	assert_true(n >= 0);
	for (int i = 0; i < count; i++) {
		bool has = false;
		ssize_t got;

		if (!old[i].key)
			continue;
		got = lh_raw_read(fs, old[i].key, 0, buf, 100);
		if (got == -ESTALE)
			continue;
		for (int k = 0; k < n; k++)
			has |= now[k].key == old[i].key && now[k].file_off <= old[i].file_off;
		if (!has)
			fail_msg("%s: an old key of %llu still works (%zd)", what, (unsigned long long)old[i].file_off,
				 got);
	}
}

static struct lh_file *make(const char *path, unsigned seed)
{
	struct lh_file *f;

	lh_path_unlink(a, path);
	f = rig_file(a, path, SIZE, seed);
	return f;
}

static void reshape(const struct operation *op, struct lh_fs *actor)
{
	struct lh_file *held = make("/dir/f", SEED);
	struct lh_file *other = make("/dir/o", SEED);
	struct lh_lease *r, *w;
	struct lh_lease_extent old[KEYS];
	struct work work = {.fs = actor};
	char what[64];
	int keys;

	snprintf(what, sizeof(what), "%s by %s", op->name, actor == a ? "the holder" : "another");
	if (op->shared)
		assert_ok(lh_file_clone_range(other, 0, held, 0, 0));
	r = rig_lease(held, 0, ROOM, LH_LEASE_READ);
	w = rig_lease(held, 0, 48 * KIB, LH_LEASE_WRITE);
	agree(what, r, held);
	/* A write that was not committed belongs to the file, wherever its block goes. */
	assert_int_equal(lh_lease_write(w, "before", 6, 20000), 6);
	keys = lh_lease_extents(r, old, KEYS);
	assert_true(keys > 0);
	work.file = rig_reopen(actor, "/dir/f", O_RDWR);
	work.other = rig_reopen(actor, "/dir/o", O_RDWR);
	if (op->run(&work) < 0)
		fail_msg("%s: %s", what, lh_error_text());
	old_keys(what, a, r, old, keys);
	agree(what, r, held);
	assert_int_equal(lh_lease_write(w, "after", 5, 40000), 5);
	assert_ok(lh_lease_commit(w, 0, 48 * KIB));
	agree(what, r, held);
	assert_int_equal(lh_file_read(held, through_call, 5, 40000), 5);
	assert_memory_equal(through_call, "after", 5);
	/* Nobody lost anything by force. */
	assert_int_equal(rig_state(r).revocations, 0);
	assert_int_equal(rig_state(w).revocations, 0);
	assert_ok(lh_lease_release(w));
	assert_ok(lh_lease_release(r));
	assert_ok(lh_file_close(work.other));
	assert_ok(lh_file_close(work.file));
	assert_ok(lh_file_close(other));
	assert_ok(lh_file_close(held));
}

static void by_the_holder(void **state)
{
	for (unsigned i = 0; i < OPERATIONS; i++)
		reshape(&operations[i], a);
}

static void by_another(void **state)
{
	for (unsigned i = 0; i < OPERATIONS; i++)
		reshape(&operations[i], b);
}

/* What was written through a key, and not committed, is where it was after everything that keeps content. */
static void keep(const struct operation *op, struct lh_fs *actor)
{
	struct lh_file *held = make("/dir/f", SEED);
	struct lh_file *other = make("/dir/o", SEED);
	struct lh_lease *w = rig_lease(held, 0, 256 * KIB, LH_LEASE_WRITE);
	struct work work = {.fs = actor};
	uint8_t buf[6];

	assert_int_equal(lh_lease_write(w, "before", 6, 20000), 6);
	assert_int_equal(lh_lease_write(w, "before", 6, 100000), 6);
	work.file = rig_reopen(actor, "/dir/f", O_RDWR);
	work.other = rig_reopen(actor, "/dir/o", O_RDWR);
	if (op->run(&work) < 0)
		fail_msg("%s: %s", op->name, lh_error_text());
	assert_int_equal(lh_file_read(held, buf, 6, 20000), 6);
	assert_memory_equal(buf, "before", 6);
	assert_int_equal(lh_file_read(held, buf, 6, 100000), 6);
	assert_memory_equal(buf, "before", 6);
	assert_ok(lh_lease_release(w));
	assert_ok(lh_file_close(work.other));
	assert_ok(lh_file_close(work.file));
	assert_ok(lh_file_close(other));
	assert_ok(lh_file_close(held));
}

static void uncommitted_writes_move_along(void **state)
{
	for (unsigned i = 0; i < OPERATIONS; i++) {
		if (!operations[i].keeps)
			continue;
		keep(&operations[i], a);
		keep(&operations[i], b);
	}
}

/* L9: with nowait a change starts the break and says so; a later try finds the way free. */
static void nowait_starts_the_break(void **state)
{
	for (unsigned i = 0; i < OPERATIONS; i++) {
		const struct operation *op = &operations[i];
		struct lh_file *held = make("/dir/f", SEED);
		struct lh_file *other = make("/dir/o", SEED);
		struct lh_lease *w;
		struct work work = {.fs = b};
		uint64_t until = rig_now() + 10 * SECONDS;
		int64_t err;

		if (op->shared)
			assert_ok(lh_file_clone_range(other, 0, held, 0, 0));
		w = rig_lease(held, 0, 256 * KIB, op->shared ? LH_LEASE_READ : LH_LEASE_WRITE);
		work.file = rig_reopen(b, "/dir/f", O_RDWR);
		work.other = rig_reopen(b, "/dir/o", O_RDWR);
		lh_fs_set_nowait(b, true);
		do
			err = op->run(&work);
		while ((err == -EWOULDBLOCK) && rig_now() < until);
		lh_fs_set_nowait(b, false);
		if (err < 0)
			fail_msg("%s: %s", op->name, lh_error_text());
		assert_ok(lh_lease_release(w));
		assert_ok(lh_file_close(work.other));
		assert_ok(lh_file_close(work.file));
		assert_ok(lh_file_close(other));
		assert_ok(lh_file_close(held));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(by_the_holder, setup, teardown),
	    cmocka_unit_test_setup_teardown(by_another, setup, teardown),
	    cmocka_unit_test_setup_teardown(uncommitted_writes_move_along, setup, teardown),
	    cmocka_unit_test_setup_teardown(nowait_starts_the_break, setup, teardown),
	};
	struct lh_fs *fs;
	int failed;

	rig_init(argc, argv);
	rig_start(&rig, "mem:64M", 5 * SECONDS);
	fs = rig_open(&rig);
	assert_ok(lh_path_mkdir(fs, "/dir", 0755));
	assert_ok(lh_fs_close(fs));
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
