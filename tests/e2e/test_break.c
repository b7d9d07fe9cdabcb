/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: what breaks leases and what does not, who waits for whom and how long, over the wire (L2-L6, L9, L10, L20,
 * L21). */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE (20 * SECONDS) /* long: a test that waits for it is wrong, and slow */

static struct rig rig;
static struct lh_fs *a, *b; /* the holder and the one who changes things */

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

/* Both sessions' handles of a new file. */
static void both(const char *path, uint64_t size, unsigned seed, struct lh_file **fa, struct lh_file **fb)
{
	*fa = rig_file(a, path, size, seed);
	*fb = rig_reopen(b, path, O_RDWR);
}

static void close_both(struct lh_file *fa, struct lh_file *fb)
{
	assert_ok(lh_file_close(fa));
	assert_ok(lh_file_close(fb));
}

/* L2: opening for write, reading, writing in place and changing attributes break nothing. */
static void in_place_work_breaks_nothing(void **state)
{
	struct lh_file *fa, *fb, *fc;
	struct lh_lease *lease;
	uint64_t recalls;
	uint8_t buf[BLOCK];

	both("/l2", 64 * KIB, 2, &fa, &fb);
	lease = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ);
	recalls = rig_stats(b).recalls;
	fc = rig_reopen(b, "/l2", O_RDWR);
	assert_int_equal(lh_file_read(fb, buf, BLOCK, BLOCK), BLOCK);
	rig_fill(buf, BLOCK, 3, BLOCK);
	assert_int_equal(lh_file_write(fb, buf, BLOCK, BLOCK), BLOCK);
	assert_ok(lh_path_chmod(b, "/l2", 0600));
	assert_ok(lh_path_set_times(b, "/l2", true, 1, 2));
	assert_int_equal(rig_stats(b).recalls, recalls);
	assert_int_equal(rig_state(lease).recalls, 0);
	/* And the holder sees what was written in place. */
	rig_read_same(lease, BLOCK, 3, BLOCK);
	rig_read_same(lease, BLOCK, 2, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(fc));
	close_both(fa, fb);
}

/* L3: a range that nobody leased changes without a message to anybody. */
static void unleased_ranges_change_at_once(void **state)
{
	struct lh_file *fa, *fb;
	struct lh_lease *lease;
	struct lh_lease_stats before, after;

	both("/l3", 256 * KIB, 3, &fa, &fb);
	lease = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ);
	before = rig_stats(b);
	assert_ok(lh_file_punch(fb, 128 * KIB, 64 * KIB));
	assert_ok(lh_file_truncate(fb, 100 * KIB));
	after = rig_stats(b);
	assert_int_equal(after.recalls, before.recalls);
	assert_int_equal(after.forced, before.forced);
	rig_read_same(lease, 64 * KIB, 3, 0);
	assert_int_equal(rig_state(lease).faults, 0);
	assert_ok(lh_lease_release(lease));
	close_both(fa, fb);
}

/* L4: only the changed range is recalled; the rest of the lease stays usable under the same number. */
static void only_the_changed_range_is_recalled(void **state)
{
	struct lh_file *fa, *fb;
	struct lh_lease *lease;
	struct lh_lease_state s;
	uint64_t number;

	both("/l4", 256 * KIB, 4, &fa, &fb);
	lease = rig_lease(fa, 0, 256 * KIB, LH_LEASE_READ);
	number = rig_state(lease).number;
	assert_true(lh_file_relocate(fb, 64 * KIB, 64 * KIB) > 0);
	s = rig_state(lease);
	assert_int_equal(s.recalls, 1);
	assert_int_equal(s.revocations, 0);
	assert_false(s.held);
	rig_read_same(lease, 64 * KIB, 4, 0);
	rig_read_same(lease, 128 * KIB, 4, 128 * KIB);
	assert_int_equal(rig_state(lease).faults, 0);
	assert_int_equal(rig_state(lease).number, number);
	/* L15, L32: what went comes back with the next access, unseen. */
	rig_read_same(lease, 256 * KIB, 4, 0);
	s = rig_state(lease);
	assert_int_equal(s.faults, 1);
	assert_true(s.held);
	assert_ok(lh_lease_release(lease));
	close_both(fa, fb);
}

/* L5, L21: the session's own change gets no notice, and its next access goes to the new place without a fault. */
static void own_changes_swap_the_keys(void **state)
{
	struct lh_file *fa = rig_file(a, "/l5", 256 * KIB, 5);
	struct lh_lease *lease = rig_lease(fa, 0, 256 * KIB, LH_LEASE_READ);
	struct lh_lease_extent before, after;
	struct lh_lease_state s;

	assert_int_equal(lh_lease_extents(lease, &before, 1), 1);
	assert_true(lh_file_relocate(fa, 0, 256 * KIB) > 0);
	rig_read_same(lease, 256 * KIB, 5, 0);
	s = rig_state(lease);
	assert_int_equal(s.recalls, 0);
	assert_int_equal(s.faults, 0);
	assert_int_equal(lh_lease_extents(lease, &after, 1), 1);
	assert_int_not_equal(before.key, after.key);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(fa));
}

struct change {
	struct lh_file *file;
	uint64_t took_ns;
	int64_t result;
};

static void *truncate_thread(void *arg)
{
	struct change *c = arg;
	uint64_t start = rig_now();

	c->result = lh_file_truncate(c->file, 0);
	c->took_ns = rig_now() - start;
	return NULL;
}

/* L6: a holder who releases in time is never forced, and the operation goes on the moment that it has. */
static void a_release_in_time_is_not_forced(void **state)
{
	struct lh_file *fa, *fb;
	struct lh_lease *lease;
	struct lh_lease_stats before, after;
	struct change change;
	pthread_t thread;
	struct lh_event e;

	both("/l6", 64 * KIB, 6, &fa, &fb);
	lease = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ | LH_LEASE_MANUAL);
	before = rig_stats(b);
	change.file = fb;
	assert_int_equal(pthread_create(&thread, NULL, truncate_thread, &change), 0);
	e = rig_event(a);
	assert_int_equal(e.type, LH_EVENT_RECALL);
	assert_ptr_equal(e.lease, lease);
	/* L10: truncate says stop; the text is for people. */
	assert_true(e.stop);
	assert_string_equal(e.reason, "truncate");
	assert_true(e.deadline_left_ns > DEADLINE / 2 && e.deadline_left_ns <= DEADLINE);
	usleep(20000);
	/* Still held: the data stays valid until the release. */
	rig_read_same(lease, 64 * KIB, 6, 0);
	assert_ok(lh_lease_release(lease));
	pthread_join(thread, NULL);
	assert_int_equal(change.result, 0);
	assert_true(change.took_ns < DEADLINE / 2);
	after = rig_stats(b);
	assert_int_equal(after.forced, before.forced);
	assert_int_equal(after.released_in_time, before.released_in_time + 1);
	close_both(fa, fb);
}

/* L9: NOWAIT starts the break and returns EWOULDBLOCK; the break goes on by itself. */
static void nowait_starts_the_break(void **state)
{
	struct lh_file *fa, *fb;
	struct lh_lease *lease;

	both("/l9", 64 * KIB, 9, &fa, &fb);
	lease = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ | LH_LEASE_MANUAL);
	lh_fs_set_nowait(b, true);
	assert_int_equal(lh_file_truncate(fb, 0), -EWOULDBLOCK);
	assert_int_equal(rig_event(a).type, LH_EVENT_RECALL);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_truncate(fb, 0));
	lh_fs_set_nowait(b, false);
	close_both(fa, fb);
}

/* L10: a drain keeps what was written directly before the release. */
static void a_drain_keeps_direct_writes(void **state)
{
	struct lh_file *fa, *fb;
	struct lh_lease *lease;
	uint8_t *buf = malloc(64 * KIB);

	both("/l10", 64 * KIB, 10, &fa, &fb);
	lease = rig_lease(fa, 0, 64 * KIB, LH_LEASE_WRITE);
	rig_fill(buf, 64 * KIB, 11, 0);
	assert_int_equal(lh_lease_write(lease, buf, 64 * KIB, 0), 64 * KIB);
	assert_true(lh_file_relocate(fb, 0, 64 * KIB) > 0);
	assert_int_equal(rig_state(lease).revocations, 0);
	memset(buf, 0, 64 * KIB);
	assert_int_equal(lh_file_read(fb, buf, 64 * KIB, 0), 64 * KIB);
	rig_same(buf, 64 * KIB, 11, 0);
	/* And the next write goes to the new place, unseen. */
	rig_fill(buf, BLOCK, 12, 0);
	assert_int_equal(lh_lease_write(lease, buf, BLOCK, 0), BLOCK);
	assert_int_equal(lh_file_read(fb, buf, BLOCK, 0), BLOCK);
	rig_same(buf, BLOCK, 12, 0);
	assert_ok(lh_lease_release(lease));
	free(buf);
	close_both(fa, fb);
}

/* L20: READ and WRITE leases of several sessions on the same bytes. */
static void many_hold_the_same_range(void **state)
{
	struct lh_file *fa, *fb;
	struct lh_lease *ra, *rb, *wb;
	uint8_t buf[BLOCK];

	both("/l20", 64 * KIB, 20, &fa, &fb);
	ra = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ);
	rb = rig_lease(fb, 0, 64 * KIB, LH_LEASE_READ);
	wb = rig_lease(fb, 0, 64 * KIB, LH_LEASE_WRITE);
	rig_fill(buf, BLOCK, 21, BLOCK);
	assert_int_equal(lh_lease_write(wb, buf, BLOCK, BLOCK), BLOCK);
	rig_read_same(ra, BLOCK, 21, BLOCK);
	rig_read_same(rb, BLOCK, 21, BLOCK);
	rig_read_same(ra, BLOCK, 20, 0);
	assert_int_equal(rig_state(ra).recalls + rig_state(rb).recalls + rig_state(wb).recalls, 0);
	assert_ok(lh_lease_release(ra));
	assert_ok(lh_lease_release(rb));
	assert_ok(lh_lease_release(wb));
	close_both(fa, fb);
}

/* L21: a holder may change the layout of what it leases; the others are broken, it is not. */
static void a_holder_breaks_the_others_only(void **state)
{
	struct lh_file *fa, *fb;
	struct lh_lease *la, *lb;

	both("/l21", 64 * KIB, 21, &fa, &fb);
	la = rig_lease(fa, 0, 64 * KIB, LH_LEASE_READ);
	lb = rig_lease(fb, 0, 64 * KIB, LH_LEASE_READ);
	assert_true(lh_file_relocate(fb, 0, 64 * KIB) > 0);
	assert_int_equal(rig_state(la).recalls, 1);
	assert_int_equal(rig_state(lb).recalls, 0);
	rig_read_same(la, 64 * KIB, 21, 0);
	rig_read_same(lb, 64 * KIB, 21, 0);
	assert_int_equal(rig_state(lb).faults, 0);
	assert_ok(lh_lease_release(la));
	assert_ok(lh_lease_release(lb));
	close_both(fa, fb);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(in_place_work_breaks_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(unleased_ranges_change_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(only_the_changed_range_is_recalled, setup, teardown),
	    cmocka_unit_test_setup_teardown(own_changes_swap_the_keys, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_release_in_time_is_not_forced, setup, teardown),
	    cmocka_unit_test_setup_teardown(nowait_starts_the_break, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_drain_keeps_direct_writes, setup, teardown),
	    cmocka_unit_test_setup_teardown(many_hold_the_same_range, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_holder_breaks_the_others_only, setup, teardown),
	};
	int failed;

	rig_init(argc, argv);
	rig_start(&rig, "mem:64M", DEADLINE);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
