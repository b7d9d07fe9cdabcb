/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L18: an administrator's limits of pinned memory are kept in the pool, hold after a crash, are given back to
 * nothing when cleared, and a refused grant leaves nothing behind. */
#include "fsrig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#undef fail /* cmocka's; ours is a function */

static int set(struct rig *r, const struct fs_caller *who, enum fs_limit_kind kind, uint32_t id, uint64_t bytes,
	       uint64_t leases)
{
	struct fs_limit l = {.kind = kind, .id = id, .blocks = bytes, .inodes = leases};

	return fs_limit_set(r->fs, who, NULL, &l);
}

static void expect(struct rig *r, enum fs_limit_kind kind, uint32_t id, uint64_t bytes, uint64_t leases)
{
	struct fs_limit l = {.kind = kind, .id = id};

	assert_int_equal(fs_limit_get(r->fs, &r->user, NULL, &l), 0);
	assert_true(l.blocks == bytes && l.inodes == leases);
}

static int clear(struct rig *r, enum fs_limit_kind kind, uint32_t id)
{
	struct fs_limit l = {.kind = kind, .id = id};

	return fs_limit_clear(r->fs, &r->root, &l);
}

static void limits_of_pins_survive_a_crash_and_a_checkpoint(void **state)
{
	struct rig *r = *state;

	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS, 1000, 5 * MIB, 7), 0);
	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS, 1001, 0, 0), 0);
	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS_DEFAULT, 0, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS_POOL, 0, UINT64_MAX - 1, 9), 0);
	for (int i = 0; i < 3; i++) {
		struct lease_limit in = {.kind = LEASE_LIMIT_UID, .uid = 1000};

		expect(r, FS_LIMIT_PINS, 1000, 5 * MIB, 7);
		expect(r, FS_LIMIT_PINS, 1001, 0, 0);
		expect(r, FS_LIMIT_PINS_DEFAULT, 0, UINT64_MAX, UINT64_MAX);
		expect(r, FS_LIMIT_PINS_POOL, 0, UINT64_MAX, 9); /* 2^64 - 2 is none too */
		lease_limit_get(fs_arbiter(r->fs), &in);
		assert_false(in.none);
		assert_int_equal(in.bytes, 5 * MIB);
		rig_check(r);
		rig_remount(r, i == 0);
	}
	assert_int_equal(clear(r, FS_LIMIT_PINS, 1000), 0);
	assert_int_equal(clear(r, FS_LIMIT_PINS_DEFAULT, 0), 0);
	assert_int_equal(clear(r, FS_LIMIT_PINS, 1000), -ENODATA);
	rig_remount(r, true);
	assert_int_equal(clear(r, FS_LIMIT_PINS, 1000), -ENODATA);
	assert_int_equal(clear(r, FS_LIMIT_PINS_DEFAULT, 0), -ENODATA);
	expect(r, FS_LIMIT_PINS, 1001, 0, 0);
}

static void only_root_sets_them_and_only_uids_have_numbers(void **state)
{
	struct rig *r = *state;

	assert_int_equal(set(r, &r->user, FS_LIMIT_PINS, 1000, 1, 1), -EPERM);
	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS, FS_ID_NONE, 1, 1), -EINVAL);
	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS_POOL, 3, 1, 1), -EINVAL);
	assert_int_equal(clear(r, FS_LIMIT_UID, 1000), -EINVAL);
}

static void count(void *ctx, const struct fs_limit *limit)
{
	unsigned *n = ctx;

	assert_true(limit->kind == FS_LIMIT_PINS || limit->kind == FS_LIMIT_PINS_POOL);
	*n += 1;
}

/* Pins are charged to no file, and files to no limit of pins. */
static void they_are_listed_and_count_no_blocks(void **state)
{
	struct rig *r = *state;
	unsigned n = 0;

	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS, 0, 4 * BLK, 1), 0);
	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS_POOL, 0, 5 * BLK, 1), 0);
	rig_file(r, "/f", 'a', 64 * BLK);
	assert_int_equal(fs_limits(r->fs, count, &n), 0);
	assert_int_equal(n, 2);
}

/* Nothing half granted: no lease, no key, no charge; what fits is granted. */
static void a_refused_grant_leaves_nothing_behind(void **state)
{
	struct rig *r = *state;
	struct lease_stats stats;
	struct holder o;

	rig_file(r, "/f", 'a', 16 * BLK);
	assert_int_equal(set(r, &r->root, FS_LIMIT_PINS, 0, 4 * BLK, 2), 0);
	holder_open(&o, r, "/f", false);
	assert_int_equal(holder_try(&o, LEASE_READ, 0, 5 * BLK), -EDQUOT);
	assert_non_null(strstr(fail_text(), "uid 0"));
	assert_null(pin_at(&o.pin, 0));
	lease_stats_read(fs_arbiter(r->fs), &stats);
	assert_int_equal(stats.leases, 0);
	assert_int_equal(stats.pinned_bytes, 0);
	holder_get(&o, LEASE_READ, 0, 4 * BLK);
	assert_non_null(pin_at(&o.pin, 0));
	assert_true(lease_ledger_holds(fs_arbiter(r->fs)));
	holder_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(limits_of_pins_survive_a_crash_and_a_checkpoint, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(only_root_sets_them_and_only_uids_have_numbers, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(they_are_listed_and_count_no_blocks, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_refused_grant_leaves_nothing_behind, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
