/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: after a break the next access is right, unseen, and nothing old works any more (L12, L15, L16, L32). */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

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

/* L12: after the operation has returned no old key reads or writes the old blocks, which are another file's by now. */
static void old_keys_are_dead(void **state)
{
	struct lh_file *fa = rig_file(a, "/l12", MIB, 12);
	struct lh_file *fb = rig_reopen(b, "/l12", O_RDWR);
	struct lh_lease *r = rig_lease(fa, 0, MIB, LH_LEASE_READ);
	struct lh_lease *w = rig_lease(fa, 0, MIB, LH_LEASE_WRITE);
	struct lh_lease_extent er[16], ew[16];
	int nr = lh_lease_extents(r, er, 16);
	int nw = lh_lease_extents(w, ew, 16);
	struct lh_file *other;
	uint8_t buf[BLOCK] = {0};
	uint8_t *all = malloc(MIB);

	assert_true(nr > 0 && nw > 0);
	assert_int_equal(lh_raw_read(a, er[0].key, 0, buf, BLOCK), BLOCK);
	rig_same(buf, BLOCK, 12, er[0].file_off);
	assert_ok(lh_file_truncate(fb, 0));
	other = rig_file(b, "/l12-other", MIB, 13);
	memset(buf, 0xee, sizeof(buf));
	for (int i = 0; i < nr; i++)
		assert_int_equal(lh_raw_read(a, er[i].key, 0, buf, BLOCK), -ESTALE);
	for (int i = 0; i < nw; i++)
		assert_int_equal(lh_raw_write(a, ew[i].key, 0, buf, BLOCK), -ESTALE);
	assert_int_equal(lh_file_read(other, all, MIB, 0), MIB);
	rig_same(all, MIB, 13, 0);
	/* A key that never was, and somebody else's. */
	assert_int_equal(lh_raw_read(a, 0x1234567, 0, buf, BLOCK), -ESTALE);
	free(all);
	assert_ok(lh_lease_release(r));
	assert_ok(lh_lease_release(w));
	assert_ok(lh_file_close(other));
	assert_ok(lh_file_close(fa));
	assert_ok(lh_file_close(fb));
}

/* L15: after truncate and punch by others the next access shows what pread would: short reads, then zeroes. */
static void cuts_show_as_pread_would(void **state)
{
	struct lh_file *fa = rig_file(a, "/l15", 64 * KIB, 15);
	struct lh_file *fb = rig_reopen(b, "/l15", O_RDWR);
	struct lh_lease *lease = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ);
	uint8_t buf[64 * KIB], zero[64 * KIB] = {0};

	assert_ok(lh_file_punch(fb, 8 * KIB, 8 * KIB));
	assert_int_equal(lh_lease_read(lease, buf, 64 * KIB, 0), 64 * KIB);
	rig_same(buf, 8 * KIB, 15, 0);
	assert_memory_equal(buf + 8 * KIB, zero, 8 * KIB);
	rig_same(buf + 16 * KIB, 48 * KIB, 15, 16 * KIB);
	/* In the middle of a block. */
	assert_ok(lh_file_truncate(fb, 20 * KIB + 100));
	assert_int_equal(lh_lease_read(lease, buf, 64 * KIB, 0), 20 * KIB + 100);
	rig_same(buf + 16 * KIB, 4 * KIB + 100, 15, 16 * KIB);
	assert_int_equal(lh_lease_read(lease, buf, BLOCK, 32 * KIB), 0);
	assert_ok(lh_file_truncate(fb, 40 * KIB));
	assert_int_equal(lh_lease_read(lease, buf, 64 * KIB, 0), 40 * KIB);
	rig_same(buf + 16 * KIB, 4 * KIB + 100, 15, 16 * KIB);
	assert_memory_equal(buf + 20 * KIB + 100, zero, 20 * KIB - 100);
	/* Somebody writes behind the end: the file grows, and the reader sees it. */
	memset(buf, 7, BLOCK);
	assert_int_equal(lh_file_write(fb, buf, BLOCK, 40 * KIB), BLOCK);
	assert_int_equal(lh_lease_read(lease, buf, 64 * KIB, 0), 44 * KIB);
	assert_int_equal(buf[40 * KIB], 7);
	assert_int_equal(rig_state(lease).revocations, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(fa));
	assert_ok(lh_file_close(fb));
}

/* L15: the same when it is the session itself that cuts. */
static void own_cuts_show_as_pread_would(void **state)
{
	struct lh_file *file = rig_file(a, "/l15own", 64 * KIB, 15);
	struct lh_lease *r = rig_lease(file, 0, 64 * KIB, LH_LEASE_READ);
	struct lh_lease *w = rig_lease(file, 0, 64 * KIB, LH_LEASE_WRITE);
	uint8_t buf[64 * KIB], zero[64 * KIB] = {0};

	assert_ok(lh_file_truncate(file, 10 * KIB));
	assert_int_equal(lh_lease_read(r, buf, 64 * KIB, 0), 10 * KIB);
	rig_same(buf, 10 * KIB, 15, 0);
	assert_ok(lh_file_truncate(file, 64 * KIB));
	assert_int_equal(lh_lease_read(r, buf, 64 * KIB, 0), 64 * KIB);
	assert_memory_equal(buf + 10 * KIB, zero, 54 * KIB);
	assert_ok(lh_file_punch(file, 0, 8 * KIB));
	assert_int_equal(lh_lease_read(r, buf, 8 * KIB, 0), 8 * KIB);
	assert_memory_equal(buf, zero, 8 * KIB);
	/* L27: a write into the hole inside the own lease gets its blocks. */
	rig_fill(buf, 64 * KIB, 16, 0);
	assert_int_equal(lh_lease_write(w, buf, 64 * KIB, 0), 64 * KIB);
	assert_ok(lh_lease_commit(w, 0, 64 * KIB));
	rig_read_same(r, 64 * KIB, 16, 0);
	assert_ok(lh_lease_release(r));
	assert_ok(lh_lease_release(w));
	assert_ok(lh_file_close(file));
}

/* L15: clones, copies on write and moves are not seen by readers or writers at all. */
static void moves_are_not_seen(void **state)
{
	struct lh_file *fa = rig_file(a, "/move", MIB, 30);
	struct lh_file *fb = rig_reopen(b, "/move", O_RDWR);
	struct lh_file *clone = rig_reopen(b, "/move-clone", O_RDWR | O_CREAT);
	struct lh_lease *r = rig_lease(fa, 0, MIB, LH_LEASE_READ);
	struct lh_lease *w = rig_lease(fa, 0, MIB, LH_LEASE_WRITE);
	uint8_t *buf = malloc(MIB);

	for (unsigned round = 0; round < 20; round++) {
		assert_ok(lh_file_clone_range(clone, 0, fb, 0, 0));
		rig_fill(buf, MIB, 31 + round, 0);
		/* Copies the shared blocks, and moves them. */
		assert_int_equal(lh_lease_write(w, buf, MIB / 2, 0), MIB / 2);
		assert_int_equal(lh_file_write(fb, buf + MIB / 2, MIB / 2, MIB / 2), MIB / 2);
		rig_read_same(r, MIB, 31 + round, 0);
		assert_true(lh_file_relocate(fb, 0, MIB) > 0);
		rig_read_same(r, MIB, 31 + round, 0);
		/* The clone keeps what was before. */
		assert_int_equal(lh_file_read(clone, buf, MIB, 0), MIB);
		rig_same(buf, MIB, 30 + round, 0);
	}
	assert_int_equal(rig_state(r).revocations + rig_state(w).revocations, 0);
	assert_true(rig_state(r).faults > 0);
	free(buf);
	assert_ok(lh_lease_release(r));
	assert_ok(lh_lease_release(w));
	assert_ok(lh_file_close(clone));
	assert_ok(lh_file_close(fa));
	assert_ok(lh_file_close(fb));
}

/* L16: one lease taken by force costs its session nothing else. */
static void a_revoked_lease_costs_nothing_else(void **state)
{
	struct lh_file *fa = rig_file(a, "/l16", 64 * KIB, 16);
	struct lh_file *fb = rig_reopen(b, "/l16", O_RDWR);
	struct lh_file *other = rig_file(a, "/l16-other", 64 * KIB, 17);
	struct lh_lease_options now = {.size = sizeof(now), .flags = LH_LEASE_READ | LH_LEASE_NOW};
	struct lh_lease *manual = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ | LH_LEASE_MANUAL | LH_LEASE_NOW);
	struct lh_lease *keeps = rig_lease(other, 0, 64 * KIB, LH_LEASE_READ);
	struct lh_lease *heals;
	struct lh_event e;
	uint8_t buf[BLOCK];

	assert_ok(lh_lease_get(fa, 0, 64 * KIB, &now, &heals));
	assert_true(lh_file_relocate(fb, 0, 64 * KIB) > 0);
	e = rig_event(a);
	assert_int_equal(e.type, LH_EVENT_REVOKED);
	assert_ptr_equal(e.lease, manual);
	assert_int_equal(lh_lease_read(manual, buf, BLOCK, 0), -ESTALE);
	assert_false(rig_state(manual).held);
	assert_int_equal(rig_state(manual).revocations, 1);
	/* The other lease, the connection, and a lease that heals. */
	rig_read_same(keeps, 64 * KIB, 17, 0);
	assert_int_equal(rig_state(keeps).faults, 0);
	rig_read_same(heals, 64 * KIB, 16, 0);
	assert_int_equal(rig_state(heals).faults, 1);
	assert_ok(lh_lease_release(manual));
	assert_ok(lh_lease_release(heals));
	assert_ok(lh_lease_release(keeps));
	assert_ok(lh_file_close(other));
	assert_ok(lh_file_close(fa));
	assert_ok(lh_file_close(fb));
}

/* L15: a queue heals as well; what needs more than one key is done too. */
static void a_queue_heals(void **state)
{
	struct lh_file *fa = rig_file(a, "/queue", MIB, 40);
	struct lh_file *fb = rig_reopen(b, "/queue", O_RDWR);
	struct lh_lease *r = rig_lease(fa, 0, 2 * MIB, LH_LEASE_READ);
	struct lh_completion done[64];
	struct lh_queue *q;
	uint8_t *buf = lh_buffer_get(a, 64 * 16 * KIB);
	unsigned got = 0;

	assert_non_null(buf);
	assert_ok(lh_queue_new(a, 64, &q));
	assert_int_equal(lh_queue_read(q, r, buf, BLOCK, 2 * MIB, NULL), -ERANGE);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 64; i++)
			assert_ok(lh_queue_read(q, r, buf + i * 16 * KIB, 16 * KIB, i * 16 * KIB, buf + i * 16 * KIB));
		assert_int_equal(lh_queue_read(q, r, buf, BLOCK, 0, NULL), -EBUSY);
		if (round % 2)
			assert_true(lh_file_relocate(fb, 0, MIB) > 0);
		for (got = 0; got < 64;) {
			int n = lh_queue_wait(q, 1, done, 64);

			assert_true(n > 0);
			for (int i = 0; i < n; i++)
				assert_int_equal(done[i].result, 16 * KIB);
			got += (unsigned)n;
		}
		rig_same(buf, MIB, 40, 0);
		memset(buf, 0, MIB);
	}
	/* Past the end of the file, within the lease. */
	assert_ok(lh_queue_read(q, r, buf, 16 * KIB, MIB - BLOCK, NULL));
	/* A lease that a queue still uses does not go. */
	assert_int_equal(lh_lease_release(r), -EBUSY);
	assert_int_equal(lh_file_close(fa), -EBUSY);
	assert_int_equal(lh_queue_wait(q, 1, done, 64), 1);
	assert_int_equal(done[0].result, BLOCK);
	assert_int_equal(lh_queue_wait(q, 1, done, 64), 0);
	lh_queue_free(q);
	lh_buffer_put(a, buf);
	assert_ok(lh_lease_release(r));
	assert_ok(lh_file_close(fa));
	assert_ok(lh_file_close(fb));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(old_keys_are_dead, setup, teardown),
	    cmocka_unit_test_setup_teardown(cuts_show_as_pread_would, setup, teardown),
	    cmocka_unit_test_setup_teardown(own_cuts_show_as_pread_would, setup, teardown),
	    cmocka_unit_test_setup_teardown(moves_are_not_seen, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_revoked_lease_costs_nothing_else, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_queue_heals, setup, teardown),
	};
	int failed;

	rig_init(argc, argv);
	rig_start(&rig, "mem:64M", 20 * SECONDS);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
