/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L1, "unlinked file's blocks wanted": open files without a name, with a limit and without. And files that are opened
 * by their number. Time is the test's own.
 */
#include "fsrig.h"

#include <sched.h>
#include <time.h>

#define N     16 /* blocks of the file */
#define LIMIT (60 * NS_PER_SEC)

static _Atomic uint64_t fake_now = 1000 * NS_PER_SEC;

static uint64_t fake_clock(void *ctx)
{
	(void)ctx;
	return fake_now;
}

static int setup(void **state)
{
	struct rig *r;

	if (rig_setup(state))
		return -1;
	r = *state;
	r->mount.lease.clock.now_ns = fake_clock;
	r->mount.lease.no_timer_thread = true;
	r->mount.orphan_limit_ns = LIMIT;
	rig_remount(r, false);
	return 0;
}

/* Every call on a handle of a file that was reclaimed. */
static void all_is_stale(struct rig *r, struct fs_handle *h)
{
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0600};
	struct fs_lease_args args = {.range = {0, BLK}, .mode = LEASE_READ, .handle_number = 9};
	struct fs_handle *other;
	struct fs_lease lease;
	struct fs_chunk chunk;
	struct holder s;
	struct fs_attr a;
	uint64_t n;
	char buf[16] = "";

	rig_file(r, "/other", 'o', N * BLK);
	other = rig_open(r, "/other", O_RDWR);
	holder_open(&s, r, "/other", false);
	assert_int_equal(fs_read(h, &r->root, buf, 1, 0), -ESTALE);
	assert_int_equal(fs_read(h, &r->root, buf, 1, 1000 * BLK), -ESTALE);
	assert_int_equal(fs_write(h, &r->root, buf, 1, 0), -ESTALE);
	assert_int_equal(fs_write(h, &r->root, buf, 1, 1000 * BLK), -ESTALE);
	assert_int_equal(fs_truncate(h, &r->root, 0), -ESTALE);
	assert_int_equal(fs_truncate(h, &r->root, N * BLK), -ESTALE);
	assert_int_equal(fs_truncate(h, &r->root, 100 * BLK), -ESTALE);
	assert_int_equal(fs_allocate(h, &r->root, 0, 0, BLK), -ESTALE);
	assert_int_equal(fs_allocate(h, &r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLK), -ESTALE);
	assert_int_equal(fs_allocate(h, &r->root, FALLOC_FL_ZERO_RANGE, 0, BLK), -ESTALE);
	assert_int_equal(fs_allocate(h, &r->root, FALLOC_FL_UNSHARE_RANGE, 0, BLK), -ESTALE);
	assert_int_equal(fs_allocate(h, &r->root, FALLOC_FL_COLLAPSE_RANGE, 0, BLK), -ESTALE);
	assert_int_equal(fs_allocate(h, &r->root, FALLOC_FL_INSERT_RANGE, 0, BLK), -ESTALE);
	assert_int_equal(fs_clone_range(other, 0, h, 0, BLK, &r->root), -ESTALE);
	assert_int_equal(fs_clone_range(h, 0, other, 0, BLK, &r->root), -ESTALE);
	assert_int_equal(fs_exchange_range(h, 0, other, 0, BLK, &r->root), -ESTALE);
	assert_int_equal(fs_copy_range(h, 0, other, 0, BLK, &r->root), -ESTALE);
	assert_int_equal(fs_copy_range(other, 0, h, 0, BLK, &r->root), -ESTALE);
	assert_int_equal(fs_dedupe_range(other, 0, h, 0, BLK, &r->root), -ESTALE);
	assert_int_equal(fs_relocate(h, &r->root, 0, BLK, &n), -ESTALE);
	assert_int_equal(fs_defragment(h, &r->root, NULL, NULL), -ESTALE);
	assert_int_equal(fs_seek(h, 0, SEEK_DATA), -ESTALE);
	assert_int_equal(fs_sync(h, false), -ESTALE);
	assert_int_equal(fs_commit(h, &r->root, 0, BLK), -ESTALE);
	assert_int_equal(fs_fstat(h, &a), -ESTALE);
	assert_int_equal(fs_fsetattr(h, &r->root, &set), -ESTALE);
	assert_int_equal(fs_fxattr_set(h, &r->root, "user.a", "b", 1, 0), -ESTALE);
	assert_int_equal(fs_lease_get(h, &s.who, &args, &lease), -ESTALE);
	args.mode = LEASE_WRITE;
	assert_int_equal(fs_lease_get(h, &s.who, &args, &lease), -ESTALE);
	assert_int_equal(fs_fault_enter(h, LEASE_READ, 0, BLK, &chunk), -EAGAIN);
	assert_int_equal(fs_fault_enter(h, LEASE_WRITE, 0, BLK, &chunk), -EAGAIN);
	assert_int_equal(fs_lease_fault(h, &s.who, LEASE_READ, (struct range){0, BLK}, &n), -ESTALE);
	assert_int_equal(fs_lease_fault(h, &s.who, LEASE_WRITE, (struct range){0, BLK}, &n), -ESTALE);
	assert_int_not_equal(fs_link_handle(h, &r->root, "/again"), 0);
	holder_close(&s);
	fs_close(other, NULL, 0);
}

static void without_a_limit_an_open_file_lives_without_a_name(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	r->mount.orphan_limit_ns = 0;
	rig_remount(r, false);
	rig_file(r, "/f", 'f', N * BLK);
	h = rig_open(r, "/f", O_RDWR);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
	fake_now += 1000 * LIMIT;
	fs_keeper_run(r->fs);
	rig_expect(r, h, 'f', N * BLK, 0);
	rig_fill(r, h, 'g', BLK, 0);
	fs_close(h, NULL, 0);
}

static void over_the_limit_the_blocks_are_free_and_handles_stale(void **state)
{
	struct rig *r = *state;
	uint64_t before = rig_free_blocks(r);
	struct fs_handle *h, *g;

	rig_file(r, "/f", 'f', N * BLK);
	rig_file(r, "/g", 'g', N * BLK);
	h = rig_open(r, "/f", O_RDWR);
	g = rig_open(r, "/g", O_RDWR);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
	fake_now += LIMIT / 2;
	assert_int_equal(fs_rename(r->fs, &r->root, "/g", "/h", 0), 0);
	rig_file(r, "/i", 'i', BLK);
	/* Replaced by a rename: it has lost its last name then. */
	assert_int_equal(fs_rename(r->fs, &r->root, "/i", "/h", 0), 0);
	fs_keeper_run(r->fs);
	rig_expect(r, h, 'f', N * BLK, 0);
	fake_now += LIMIT / 2;
	fs_keeper_run(r->fs);
	rig_expect(r, g, 'g', N * BLK, 0);
	assert_int_equal(rig_free_blocks(r), before - N - 1);
	all_is_stale(r, h);
	fake_now += LIMIT / 2;
	fs_keeper_run(r->fs);
	all_is_stale(r, g);
	rig_check(r);
	/* After a crash, too, they are gone. */
	fs_close(h, NULL, 0);
	fs_close(g, NULL, 0);
}

static void its_leases_are_broken_all_of_them(void **state)
{
	static const struct {
		enum lease_mode mode;
		bool exclusive, faulting;
	} kinds[] = {{LEASE_READ, false, false},
		     {LEASE_WRITE, false, false},
		     {LEASE_READ, true, false},
		     {LEASE_WRITE, true, false},
		     {LEASE_WRITE, false, true}};
	struct rig *r = *state;

	for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
		struct holder a;
		struct fs_lease_args args = {.range = {0, N * BLK},
					     .mode = kinds[k].mode,
					     .handle_number = 7,
					     .exclusive = kinds[k].exclusive,
					     .faulting = kinds[k].faulting,
					     .pin = &a.pin.pin};

		rig_file(r, "/f", 'f', N * BLK);
		holder_open(&a, r, "/f", true);
		pin_init(&a.pin, r);
		assert_int_equal(fs_lease_get(a.h, &a.who, &args, &a.lease), 0);
		assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
		fake_now += LIMIT;
		assert_int_equal(a.recalls, 0);
		fs_keeper_run(r->fs);
		assert_int_equal(a.recalls, 1);
		assert_int_equal(a.last.reason, LEASE_FOR_RECLAIM);
		assert_int_equal(a.last.kind, LEASE_STOP);
		assert_int_equal(a.last.range.start, 0);
		assert_int_equal(a.last.range.end, N * BLK);
		assert_int_equal(a.pin.gone, 1);
		assert_int_equal(fs_read(a.h, &r->root, &args, 1, 0), -ESTALE);
		holder_close(&a);
	}
}

static void files_that_never_had_a_name_or_have_one_again_stay(void **state)
{
	struct rig *r = *state;
	struct fs_handle *tmp = rig_open(r, "/", O_RDWR | O_TMPFILE);
	struct fs_handle *excl = rig_open(r, "/", O_RDWR | O_TMPFILE | O_EXCL);
	struct fs_handle *two;

	rig_fill(r, tmp, 't', BLK, 0);
	rig_fill(r, excl, 'e', BLK, 0);
	rig_file(r, "/two", '2', BLK);
	assert_int_equal(fs_link(r->fs, &r->root, "/two", "/names"), 0);
	two = rig_open(r, "/two", O_RDWR);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/two"), 0);
	fake_now += 10 * LIMIT;
	fs_keeper_run(r->fs);
	rig_expect(r, tmp, 't', BLK, 0);
	rig_expect(r, excl, 'e', BLK, 0);
	rig_expect(r, two, '2', BLK, 0);
	fs_close(tmp, NULL, 0);
	fs_close(excl, NULL, 0);
	fs_close(two, NULL, 0);
}

static void fill_up(struct rig *r, struct fs_handle *h)
{
	uint8_t *buf = calloc(1, MIB);
	uint64_t at = 0;
	ssize_t n;

	while ((n = fs_write(h, &r->root, buf, MIB, at)) > 0)
		at += (uint64_t)n;
	assert_int_equal(n, -ENOSPC);
	free(buf);
}

/* What nobody has looked at since it was due gives its space at once. */
static void who_finds_no_space_takes_that_of_old_ones(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h[4], *full, *w;
	struct holder a;

	for (unsigned k = 0; k < ARRAY_LEN(h); k++) {
		rig_file(r, "/f", 'f', MIB);
		h[k] = rig_open(r, "/f", O_RDWR);
		assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
		fake_now += LIMIT / 4;
		/* The first is due when all are there; the second a quarter later... */
	}
	fake_now -= 1;
	full = rig_open(r, "/full", O_RDWR | O_CREAT);
	fill_up(r, full);
	rig_expect(r, h[0], 'f', BLK, 0);
	fake_now += 1;
	w = rig_open(r, "/w", O_RDWR | O_CREAT);
	rig_fill(r, w, 'w', 16 * BLK, 0);
	all_is_stale(r, h[0]);
	rig_expect(r, h[1], 'f', BLK, 0);
	fill_up(r, full);
	fake_now += LIMIT / 4;
	assert_int_equal(fs_allocate(w, &r->root, 0, 16 * BLK, 100 * BLK), 0);
	assert_int_equal(fs_read(h[1], &r->root, &a, 1, 0), -ESTALE);
	rig_expect(r, h[2], 'f', BLK, 0);
	fill_up(r, full);
	fake_now += LIMIT / 4;
	holder_open(&a, r, "/w", false);
	holder_get(&a, LEASE_WRITE, 200 * BLK, 100 * BLK);
	holder_close(&a);
	assert_int_equal(fs_read(h[2], &r->root, &a, 1, 0), -ESTALE);
	rig_expect(r, h[3], 'f', BLK, 0);
	for (unsigned k = 0; k < ARRAY_LEN(h); k++)
		fs_close(h[k], NULL, 0);
	fs_close(full, NULL, 0);
	fs_close(w, NULL, 0);
}

/* With the thread, and a clock that goes. */
static void the_thread_does_it(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;
	char c;

	r->mount.lease.clock.now_ns = NULL;
	r->mount.lease.no_timer_thread = false;
	r->mount.no_checkpoint_thread = false;
	r->mount.orphan_limit_ns = 20 * NS_PER_MS;
	rig_remount(r, false);
	rig_file(r, "/f", 'f', N * BLK);
	h = rig_open(r, "/f", O_RDWR);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
	while (fs_read(h, &r->root, &c, 1, 0) == 1)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(fs_read(h, &r->root, &c, 1, 0), -ESTALE);
	fs_close(h, NULL, 0);
}

/* --- in the middle of everything ---------------------------------------------------------------------------------- */

#define USERS  4u
#define ROUNDS 12u

struct user {
	struct rig *r;
	struct holder h;
	struct fs_handle *other;
	unsigned seed;
	pthread_t thread;
};

static int use(struct user *u, unsigned what, uint64_t off)
{
	static const int modes[] = {0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_INSERT_RANGE};
	struct fs_handle *h = u->h.h;
	struct fake_pin *pin = &u->h.pin;
	struct fs_lease_args args = {.range = {off, off + 4 * BLK}, .handle_number = 7, .pin = &pin->pin};
	const struct fs_caller *who = &u->h.who;
	uint8_t buf[100] = "x";
	int err;

	switch (what) {
	case 0:
		return (int)fs_read(h, who, buf, sizeof(buf), off + 17);
	case 1:
		return (int)fs_write(h, who, buf, sizeof(buf), off + 17);
	case 2:
		return fs_truncate(h, who, off);
	case 3:
		return fs_allocate(h, who, modes[off / BLK % ARRAY_LEN(modes)], off, BLK);
	case 4:
		return fs_clone_range(u->other, off, h, off, BLK, who);
	case 5:
		return fs_commit(h, who, off, 10);
	}
	args.mode = what == 6 ? LEASE_READ : LEASE_WRITE;
	/* Somebody else may be at its end when the release has returned. */
	pin_init(pin, u->r);
	err = fs_lease_get(h, who, &args, &u->h.lease);
	if (!err)
		lease_release(u->h.session, u->h.lease.lease, RANGE_ALL);
	while (!err && atomic_load(&pin->gone) == 0)
		sched_yield();
	return err;
}

static void *user_main(void *ctx)
{
	struct user *u = ctx;
	int err = 0;

	while (err != -ESTALE) {
		u->seed = u->seed * 1103515245u + 12345u;
		err = use(u, u->seed >> 16 & 7, (u->seed >> 20) % N * BLK);
	}
	/* And it stays so. */
	for (unsigned what = 0; what < 8; what++)
		assert(use(u, what, 0) == -ESTALE);
	return NULL;
}

static void it_goes_in_the_middle_of_everything(void **state)
{
	struct rig *r = *state;

	r->mount.lease.clock.now_ns = NULL;
	r->mount.lease.no_timer_thread = false;
	r->mount.no_checkpoint_thread = false;
	r->mount.orphan_limit_ns = 3 * NS_PER_MS;
	rig_remount(r, false);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct user u[USERS] = {0};

		rig_file(r, "/f", 'f', N * BLK);
		rig_file(r, "/other", 'o', N * BLK);
		for (unsigned k = 0; k < USERS; k++) {
			u[k].r = r;
			u[k].seed = round * USERS + k;
			holder_open(&u[k].h, r, "/f", true);
			u[k].other = rig_open(r, "/other", O_RDWR);
		}
		for (unsigned k = 0; k < USERS; k++)
			assert_int_equal(pthread_create(&u[k].thread, NULL, user_main, &u[k]), 0);
		assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
		for (unsigned k = 0; k < USERS; k++)
			pthread_join(u[k].thread, NULL);
		rig_check(r);
		for (unsigned k = 0; k < USERS; k++) {
			holder_close(&u[k].h);
			fs_close(u[k].other, NULL, 0);
		}
	}
	/* The record is there as well. */
	rig_remount(r, true);
}

static void a_file_is_opened_by_its_number(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h, *again;
	struct fs_attr a;

	rig_file(r, "/f", 'f', N * BLK);
	h = rig_open(r, "/f", O_RDWR);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino, a.btime_ns, O_RDWR, &again), 0);
	rig_expect(r, again, 'f', N * BLK, 0);
	rig_fill(r, again, 'g', BLK, 0);
	rig_expect(r, h, 'g', BLK, 0);
	fs_close(again, NULL, 0);
	/* As of now: 0644 and root's. */
	assert_int_equal(fs_open_ino(r->fs, &r->user, a.ino, a.btime_ns, O_RDWR, &again), -EACCES);
	assert_int_equal(fs_open_ino(r->fs, &r->user, a.ino, a.btime_ns, O_RDONLY, &again), 0);
	assert_int_equal(fs_write(again, &r->user, "x", 1, 0), -EBADF);
	fs_close(again, NULL, 0);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino, a.btime_ns + 1, O_RDWR, &again), -ESTALE);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino + 1000, a.btime_ns, O_RDWR, &again), -ESTALE);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino, a.btime_ns, O_RDWR | O_CREAT, &again), -EINVAL);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino, a.btime_ns, O_RDWR | O_TRUNC, &again), -EINVAL);
	/* As long as somebody has it open it is there; then it is not. */
	assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino, a.btime_ns, O_RDWR, &again), 0);
	fs_close(h, NULL, 0);
	fs_close(again, NULL, 0);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino, a.btime_ns, O_RDWR, &again), -ESTALE);
	/* A server that was started anew. */
	rig_file(r, "/f", 'f', N * BLK);
	assert_int_equal(fs_stat(r->fs, &r->root, "/f", true, &a), 0);
	rig_remount(r, true);
	assert_int_equal(fs_open_ino(r->fs, &r->root, a.ino, a.btime_ns, O_RDWR | O_APPEND, &again), 0);
	rig_fill(r, again, 'a', 1, 0);
	assert_int_equal(rig_size(again), N * BLK + 1);
	fs_close(again, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(without_a_limit_an_open_file_lives_without_a_name, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(over_the_limit_the_blocks_are_free_and_handles_stale, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(its_leases_are_broken_all_of_them, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(files_that_never_had_a_name_or_have_one_again_stay, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(who_finds_no_space_takes_that_of_old_ones, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(the_thread_does_it, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(it_goes_in_the_middle_of_everything, setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_file_is_opened_by_its_number, setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
