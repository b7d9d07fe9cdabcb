/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L35: after a crash only holders of EXCLUSIVE leases may have them again, for a grace; who was revoked may not. The
 * crash is a copy of the pool's memory, taken at any moment; what its mount says is what the dead process left behind.
 * Time is the test's own.
 */
#include "fsrig.h"

#include "base/clock.h"
#include "format/format.h"
#include "fs/core.h"

#define N 8 /* blocks of the file */

static uint64_t fake_now = 1000 * NS_PER_SEC;

static uint64_t fake_clock(void *ctx)
{
	(void)ctx;
	return fake_now;
}

static const uint8_t anna[16] = "anna", berta[16] = "berta";

static int setup(void **state)
{
	struct rig *r = malloc(sizeof(*r));
	struct pool_create_args args = {.size = 64 * MIB};
	struct pool *pool;

	*state = r;
	if (pool_create(&args, &pool) || rig_new_in(r, pool))
		return -1;
	/* The same mount with a clock that stands. */
	r->mount.lease.clock.now_ns = fake_clock;
	r->mount.lease.no_timer_thread = true;
	r->mount.grace_ns = 10 * NS_PER_SEC;
	rig_remount(r, false);
	rig_file(r, "/f", 'f', N * BLK);
	return 0;
}

/* The rig goes on where its process died: in another pool with the same bytes. The old one is closed in order. */
static void crash(struct rig *r, struct holder *a)
{
	struct pool_create_args args = {.size = 64 * MIB};
	struct pool *copy;

	assert_int_equal(pool_create(&args, &copy), 0);
	memcpy(pool_window(copy, 0, 64 * MIB), pool_window(r->pool, 0, 64 * MIB), 64 * MIB);
	if (a)
		holder_close(a);
	assert_int_equal(fs_unmount(r->fs), 0);
	pool_close(r->pool);
	r->pool = copy;
	assert_int_equal(fs_mount(r->pool, &r->mount, &r->fs), 0);
	rig_check(r);
}

static int get(struct holder *a, enum lease_mode mode, uint64_t off, uint64_t len, const uint8_t *client, bool reclaim)
{
	struct fs_lease_args args = {.range = {off, off + len},
				     .mode = mode,
				     .handle_number = 7,
				     .exclusive = true,
				     .client = client,
				     .reclaim = reclaim,
				     .pin = &a->pin.pin};

	pin_init(&a->pin, a->rig);
	return fs_lease_get(a->h, &a->who, &args, &a->lease);
}

static int punch(struct rig *r, uint64_t first, uint64_t blocks)
{
	struct fs_handle *h = rig_open(r, "/f", O_RDWR);
	int err = fs_allocate(h, &r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * BLK, blocks * BLK);

	fs_close(h, NULL, 0);
	return err;
}

static void a_claimed_lease_survives_and_denies_and_its_client_has_it_again(void **state)
{
	struct rig *r = *state;
	struct holder a;

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	assert_true(a.lease.exclusive_left_ns > 0);
	memset(pin_at(&a.pin, BLK), 'd', BLK);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 10 * NS_PER_SEC);
	/* As if it were held: others' changes are denied, there and only there. */
	assert_int_equal(punch(r, 1, 1), -ETXTBSY);
	assert_int_equal(punch(r, 5, 1), 0);
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, berta, true), -ESTALE);
	assert_int_equal(get(&a, LEASE_READ, 0, 4 * BLK, anna, true), -ESTALE);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 5 * BLK, anna, true), -ESTALE);
	a.who.cred.uid = 1000;
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), -ESTALE);
	a.who.cred.uid = 0;
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), 0);
	assert_int_equal(*pin_at(&a.pin, BLK), 'd');
	assert_int_equal(fs_grace_left(r->fs), 0);
	assert_int_equal(punch(r, 1, 1), -ETXTBSY);
	/* Twice it is not there. */
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), -ESTALE);
	holder_close(&a);
	assert_int_equal(punch(r, 1, 1), 0);
}

static void a_reclaimed_lease_is_claimed_again(void **state)
{
	struct rig *r = *state;
	struct holder a;

	for (unsigned round = 0; round < 3; round++) {
		holder_open(&a, r, "/f", false);
		assert_int_equal(get(&a, LEASE_READ, 0, N * BLK, anna, round > 0), 0);
		crash(r, &a);
	}
	assert_int_equal(punch(r, 1, 1), -ETXTBSY);
	/* Also when a checkpoint came between. */
	assert_int_equal(fs_checkpoint(r->fs), 0);
	crash(r, NULL);
	assert_int_equal(punch(r, 1, 1), -ETXTBSY);
}

static void the_grace_ends(void **state)
{
	struct rig *r = *state;
	struct holder a;

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	crash(r, &a);
	fake_now += 4 * NS_PER_SEC;
	assert_int_equal(fs_grace_left(r->fs), 6 * NS_PER_SEC);
	fs_keeper_run(r->fs);
	assert_int_equal(punch(r, 1, 1), -ETXTBSY);
	fake_now += 6 * NS_PER_SEC;
	assert_int_equal(fs_grace_left(r->fs), 0);
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), -ESTALE);
	assert_int_equal(punch(r, 1, 1), 0);
	fs_keeper_run(r->fs);
	/* The record is gone, too. */
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);
	assert_int_equal(punch(r, 0, 1), 0);
}

static void without_a_crash_there_is_nothing_to_claim(void **state)
{
	struct rig *r = *state;
	struct holder a;

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	holder_close(&a);
	rig_remount(r, false);
	assert_int_equal(fs_grace_left(r->fs), 0);
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), -ESTALE);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, NULL, true), -EINVAL);
	/* Leases without a client are not remembered, and neither are ordinary ones. */
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, NULL, false), 0);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);
	assert_int_equal(punch(r, 1, 1), 0);
}

static void who_released_or_was_revoked_cannot_reclaim(void **state)
{
	struct rig *r = *state;
	struct holder a;
	uint64_t moved;

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	lease_release(a.session, a.lease.lease, RANGE_ALL);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	assert_int_equal(lease_revoke(fs_arbiter(r->fs), a.lease.lease, 0, 0, UINT32_MAX, "test"), 1);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);

	/* A part of it, taken by a relocation: the rest can be had again. */
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 6 * BLK, anna, false), 0);
	r->root.deadline_ns = LEASE_DEADLINE_NOW;
	assert_int_equal(fs_relocate(a.h, &r->root, 2 * BLK, BLK, &moved), 0);
	r->root.deadline_ns = 0;
	crash(r, &a);
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 6 * BLK, anna, true), -ESTALE);
	assert_int_equal(get(&a, LEASE_WRITE, 2 * BLK, BLK, anna, true), -ESTALE);
	assert_int_equal(punch(r, 2, 1), 0);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 2 * BLK, anna, true), 0);
	assert_int_equal(get(&a, LEASE_WRITE, 4 * BLK, 2 * BLK, anna, true), 0);
	/* What of the claim is left unclaimed stands still. */
	assert_int_equal(punch(r, 3, 1), -ETXTBSY);
	holder_close(&a);
}

/* L22: a revoked claim, too, is gone for good; relocation and the administrator override it within the grace. */
static void a_ghost_gives_way_to_relocation_and_to_the_administrator(void **state)
{
	struct rig *r = *state;
	struct holder a;
	uint64_t moved;

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	assert_int_equal(get(&a, LEASE_READ, 4 * BLK, 4 * BLK, berta, false), 0);
	crash(r, &a);
	holder_open(&a, r, "/f", false);
	assert_int_equal(fs_relocate(a.h, &r->root, 0, 4 * BLK, &moved), 0);
	assert_int_equal(moved, 4);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), -ESTALE);
	assert_int_equal(punch(r, 4, 1), -ETXTBSY);
	assert_int_equal(lease_revoke(fs_arbiter(r->fs), 0, fs_handle_ino(a.h), 0, UINT32_MAX, "test"), 1);
	assert_int_equal(punch(r, 4, 1), 0);
	assert_int_equal(get(&a, LEASE_READ, 4 * BLK, 4 * BLK, berta, true), -ESTALE);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);
}

/* L23 */
static void changing_a_lease_changes_its_claim(void **state)
{
	struct rig *r = *state;
	struct fs_lease_args args = {.mode = LEASE_WRITE};
	struct holder a;

	holder_open(&a, r, "/f", false);
	holder_get(&a, LEASE_READ, 0, 4 * BLK);
	args.exclusive = true;
	args.client = anna;
	assert_int_equal(fs_lease_change(a.h, &a.who, a.lease.lease, &args, &a.lease), 0);
	crash(r, &a);
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), 0);
	args.exclusive = false;
	assert_int_equal(fs_lease_change(a.h, &a.who, a.lease.lease, &args, &a.lease), 0);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);
	/* A change that fails leaves the claim that there was. */
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	args = (struct fs_lease_args){.mode = LEASE_READ, .exclusive = true, .client = berta};
	a.who.cred.uid = 1000;
	assert_int_equal(fs_lease_change(a.h, &a.who, a.lease.lease, &args, &a.lease), -EPERM);
	a.who.cred.uid = 0;
	crash(r, &a);
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, true), 0);
	holder_close(&a);
}

static void a_claim_goes_with_its_file_and_with_its_age(void **state)
{
	struct rig *r = *state;
	struct fs_lease_args args = {.range = {0, BLK},
				     .mode = LEASE_READ,
				     .handle_number = 7,
				     .exclusive = true,
				     .client = anna,
				     .max_age_ns = 1};
	struct holder a;

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 4 * BLK, anna, false), 0);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);
	rig_file(r, "/f", 'x', N * BLK);
	holder_open(&a, r, "/f", false);
	assert_int_equal(fs_lease_get(a.h, &a.who, &args, &a.lease), 0);
	crash(r, &a);
	assert_int_equal(fs_grace_left(r->fs), 0);
	assert_int_equal(punch(r, 0, 1), 0);
}

/* A claim that covers a hole: the client's lease is made fit in spite of what its own ghost denies. */
static void a_ghost_denies_its_client_nothing(void **state)
{
	struct rig *r = *state;
	struct holder a;
	struct fs_handle *g;

	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 16 * BLK, anna, false), 0);
	/* Behind the end: what no commit made part of the file may be given up by a crash, but not the claim. */
	crash(r, &a);
	g = rig_open(r, "/f", O_RDWR);
	assert_int_equal(fs_allocate(g, &r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 12 * BLK, BLK), -ETXTBSY);
	fs_close(g, NULL, 0);
	holder_open(&a, r, "/f", false);
	assert_int_equal(get(&a, LEASE_WRITE, 0, 16 * BLK, anna, true), 0);
	assert_non_null(pin_at(&a.pin, 15 * BLK));
	holder_close(&a);
}

/* format 4.12c. */
static void too_many_claims_are_refused(void **state)
{
	struct journal_claim c = {.ino = 2, .end = BLK, .until_ns = INT64_MAX, .mode = ITEM_CLAIM_READ};
	struct fs *fs;
	struct rig r;

	(void)state;
	assert_int_equal(rig_new(&r, 64 * MIB), 0);
	while (c.id <= FORMAT_CLAIMS_MAX) {
		struct jtxn t;
		uint64_t seq;

		jtxn_init(&t);
		for (unsigned k = 0; k < 512 && c.id <= FORMAT_CLAIMS_MAX; k++) {
			c.id++;
			jtxn_claim(&t, &c);
		}
		assert_int_equal(jtxn_commit(r.fs->journal, &t, &seq), 0);
		jtxn_fini(&t);
	}
	fs_abandon(r.fs);
	assert_int_equal(fs_mount(r.pool, &r.mount, &fs), -EUCLEAN);
	assert_non_null(strstr(fail_text(), "4.12c"));
	pool_close(r.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_claimed_lease_survives_and_denies_and_its_client_has_it_again, setup,
					    rig_teardown),
	    cmocka_unit_test_setup_teardown(a_reclaimed_lease_is_claimed_again, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(the_grace_ends, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(without_a_crash_there_is_nothing_to_claim, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(who_released_or_was_revoked_cannot_reclaim, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_ghost_gives_way_to_relocation_and_to_the_administrator, setup,
					    rig_teardown),
	    cmocka_unit_test_setup_teardown(changing_a_lease_changes_its_claim, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_claim_goes_with_its_file_and_with_its_age, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_ghost_denies_its_client_nothing, setup, rig_teardown),
	    cmocka_unit_test(too_many_claims_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
