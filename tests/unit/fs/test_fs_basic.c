/* SPDX-License-Identifier: BSD-2-Clause */
/* Thin and end to end: names, content, leases, and all of it again after a remount (L37, L38). */
#include "fsrig.h"

static void what_was_written_is_read(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = rig_open(r, "/f", O_RDWR | O_CREAT);

	rig_fill(r, h, 'a', 10000, 0);
	rig_fill(r, h, 'b', 100, 5000);
	rig_expect(r, h, 'a', 5000, 0);
	rig_expect(r, h, 'b', 100, 5000);
	rig_expect(r, h, 'a', 4900, 5100);
	assert_int_equal(rig_size(h), 10000);
	fs_close(h, NULL, 0);
}

static void everything_is_there_after_unmount_and_after_a_crash(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;
	struct fs_attr a, b;

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d", 0755), 0);
	rig_file(r, "/d/f", 'x', 123456);
	assert_int_equal(fs_symlink(r->fs, &r->root, "d/f", "/s"), 0);
	assert_int_equal(fs_link(r->fs, &r->root, "/d/f", "/l"), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/s", true, &a), 0);
	for (int k = 0; k < 4; k++) {
		rig_remount(r, k & 1);
		assert_int_equal(fs_stat(r->fs, &r->root, "/s", true, &b), 0);
		assert_int_equal(a.ino, b.ino);
		assert_int_equal(a.size, b.size);
		assert_int_equal(b.nlink, 2);
		h = rig_open(r, "/l", O_RDONLY);
		rig_expect(r, h, 'x', 123456, 0);
		fs_close(h, NULL, 0);
		if (k == 2)
			assert_int_equal(fs_checkpoint(r->fs), 0);
	}
}

static void a_lease_shows_the_memory_of_the_file(void **state)
{
	struct rig *r = *state;
	struct holder o;

	rig_file(r, "/f", 'q', 3 * BLK);
	holder_open(&o, r, "/f", false);
	holder_get(&o, LEASE_READ, 0, 100 * BLK);
	assert_int_equal(o.lease.range.end, 3 * BLK);
	assert_int_equal(*pin_at(&o.pin, BLK + 5), 'q');
	rig_fill(r, o.h, 'z', 1, BLK + 5);
	assert_int_equal(*pin_at(&o.pin, BLK + 5), 'z');
	assert_int_equal(o.recalls, 0);
	holder_close(&o);
	assert_int_equal(o.pin.gone, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_was_written_is_read, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(everything_is_there_after_unmount_and_after_a_crash, rig_setup,
					    rig_teardown),
	    cmocka_unit_test_setup_teardown(a_lease_shows_the_memory_of_the_file, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
