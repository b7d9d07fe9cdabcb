/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L23: upgrade and downgrade between READ, WRITE and EXCLUSIVE, the fs's side: the layout is made fit first, the pins
 * reach what the new mode may reach, and what fails leaves the lease as it was.
 */
#include "fsrig.h"

#include <sched.h>

#define N 16 /* blocks of the file */

struct fx {
	struct rig *r;
	struct fs_handle *f, *s;
	struct holder a, b;
};

/* /f, whose blocks [4, 8) belong to /s too; a leases it all. */
static void begin(struct fx *x, void **state, enum lease_mode mode)
{
	x->r = *state;
	rig_file(x->r, "/f", 'f', N * BLK);
	x->f = rig_open(x->r, "/f", O_RDWR);
	x->s = rig_open(x->r, "/s", O_RDWR | O_CREAT);
	assert_int_equal(fs_clone_range(x->s, 0, x->f, 4 * BLK, 4 * BLK, &x->r->root), 0);
	holder_open(&x->a, x->r, "/f", true);
	holder_open(&x->b, x->r, "/f", true);
	holder_get(&x->a, mode, 0, N * BLK);
}

static void end(struct fx *x)
{
	holder_close(&x->a);
	holder_close(&x->b);
	fs_close(x->f, NULL, 0);
	fs_close(x->s, NULL, 0);
	rig_check(x->r);
}

static int change(struct holder *h, enum lease_mode mode, bool exclusive)
{
	struct fs_lease_args args = {.mode = mode, .exclusive = exclusive};

	return fs_lease_change(h->h, &h->who, h->lease.lease, &args, &h->lease);
}

/* The lease is whole, and of this kind. */
static void is(struct holder *h, enum lease_mode mode, bool exclusive)
{
	struct lease_info info;

	assert_int_equal(lease_look(h->session, h->lease.lease, &info), 0);
	assert_int_equal(info.mode, mode);
	assert_int_equal(info.exclusive, exclusive);
	assert_int_equal(info.exclusive_left_ns > 0, exclusive);
	assert_int_equal(info.seq, h->lease.seq);
	assert_int_equal(info.bytes, h->lease.range.end - h->lease.range.start);
}

static void an_upgrade_copies_what_is_shared_and_breaks_who_reads_it(void **state)
{
	struct fx x;
	uint32_t seq;

	begin(&x, state, LEASE_READ);
	holder_get(&x.b, LEASE_READ, 0, N * BLK);
	seq = x.a.lease.seq;
	assert_int_equal(change(&x.a, LEASE_WRITE, false), 0);
	assert_true(x.a.lease.seq > seq);
	is(&x.a, LEASE_WRITE, false);
	assert_int_equal(x.b.recalls, 1);
	assert_int_equal(x.b.last.reason, LEASE_FOR_COPY_ON_WRITE);
	assert_int_equal(x.b.last.range.start, 4 * BLK);
	assert_int_equal(x.b.last.range.end, 8 * BLK);
	assert_int_equal(x.a.recalls, 0);
	/* L27: what the device stores is this file's alone. */
	memset(pin_at(&x.a.pin, 5 * BLK), 'd', BLK);
	rig_expect(x.r, x.f, 'd', BLK, 5 * BLK);
	rig_expect(x.r, x.s, 'f', 4 * BLK, 0);
	end(&x);
}

static void an_upgrade_fills_holes(void **state)
{
	struct fx x;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	begin(&x, state, LEASE_READ);
	lease_release(x.a.session, x.a.lease.lease, RANGE_ALL);
	assert_int_equal(fs_allocate(x.f, &x.r->root, mode, 4 * BLK, 4 * BLK), 0);
	holder_get(&x.a, LEASE_READ, 0, N * BLK);
	assert_null(pin_at(&x.a.pin, 5 * BLK));
	assert_int_equal(change(&x.a, LEASE_WRITE, false), 0);
	assert_int_equal(*pin_at(&x.a.pin, 5 * BLK), 0);
	memset(pin_at(&x.a.pin, 5 * BLK), 'd', BLK);
	rig_expect(x.r, x.f, 'd', BLK, 5 * BLK);
	end(&x);
}

static void a_downgrade_keeps_the_bytes_and_lets_clones_pass(void **state)
{
	struct fx x;

	begin(&x, state, LEASE_WRITE);
	memset(pin_at(&x.a.pin, 5 * BLK), 'd', BLK);
	assert_int_equal(change(&x.a, LEASE_READ, false), 0);
	is(&x.a, LEASE_READ, false);
	assert_int_equal(*pin_at(&x.a.pin, 5 * BLK), 'd');
	assert_int_equal(fs_clone_range(x.s, 0, x.f, 0, N * BLK, &x.r->root), 0);
	assert_int_equal(x.a.recalls, 0);
	rig_expect(x.r, x.s, 'd', BLK, 5 * BLK);
	end(&x);
}

static void exclusive_comes_and_goes_without_touching_pins(void **state)
{
	struct fx x;
	unsigned drains;

	begin(&x, state, LEASE_READ);
	drains = x.a.pin.drains;
	assert_int_equal(change(&x.a, LEASE_READ, true), 0);
	is(&x.a, LEASE_READ, true);
	assert_int_equal(fs_truncate(x.f, &x.r->root, 0), -ETXTBSY);
	assert_int_equal(change(&x.a, LEASE_READ, false), 0);
	is(&x.a, LEASE_READ, false);
	assert_int_equal(x.a.pin.drains, drains);
	assert_non_null(pin_at(&x.a.pin, 0));
	assert_int_equal(fs_truncate(x.f, &x.r->root, 10 * BLK), 0);
	assert_int_equal(x.a.recalls, 1);
	end(&x);
}

/* L22: what it denies it does not deny its own change. */
static void an_exclusive_lease_is_upgraded_over_shared_blocks(void **state)
{
	struct fx x;

	begin(&x, state, LEASE_READ);
	assert_int_equal(change(&x.a, LEASE_READ, true), 0);
	assert_int_equal(change(&x.a, LEASE_WRITE, true), 0);
	is(&x.a, LEASE_WRITE, true);
	memset(pin_at(&x.a.pin, 5 * BLK), 'd', BLK);
	rig_expect(x.r, x.s, 'f', 4 * BLK, 0);
	end(&x);
}

static void what_another_denies_leaves_the_lease_as_it_was(void **state)
{
	struct fx x;

	begin(&x, state, LEASE_READ);
	holder_get(&x.b, LEASE_READ, 6 * BLK, BLK);
	assert_int_equal(change(&x.b, LEASE_READ, true), 0);
	assert_int_equal(change(&x.a, LEASE_WRITE, false), -ETXTBSY);
	is(&x.a, LEASE_READ, false);
	assert_int_equal(*pin_at(&x.a.pin, 6 * BLK), 'f');
	assert_int_equal(x.b.recalls, 0);
	lease_release(x.b.session, x.b.lease.lease, RANGE_ALL);
	assert_int_equal(change(&x.a, LEASE_WRITE, false), 0);
	end(&x);
}

static void a_lease_that_lost_a_part_is_not_changed(void **state)
{
	struct fx x;
	struct holder other;

	begin(&x, state, LEASE_READ);
	assert_int_equal(fs_truncate(x.f, &x.r->root, 10 * BLK), 0);
	assert_int_equal(change(&x.a, LEASE_WRITE, false), -ESTALE);
	assert_int_equal(change(&x.a, LEASE_READ, true), -ESTALE);
	assert_non_null(pin_at(&x.a.pin, 0));
	/* Nor one of another session, or of another file, or that never was. */
	holder_open(&other, x.r, "/s", false);
	other.lease = x.a.lease;
	assert_int_equal(change(&other, LEASE_WRITE, false), -ESTALE);
	holder_get(&other, LEASE_READ, 0, BLK);
	fs_close(other.h, NULL, 0);
	other.h = rig_open(x.r, "/f", O_RDWR);
	assert_int_equal(change(&other, LEASE_WRITE, false), -ESTALE);
	other.lease.lease = 12345;
	assert_int_equal(change(&other, LEASE_WRITE, false), -ESTALE);
	holder_close(&other);
	end(&x);
}

/* L17, L22 */
static void who_may_not_have_the_mode_does_not_get_it_by_a_change(void **state)
{
	struct fx x;
	struct fs_handle *all;
	struct fs_lease_args args = {.mode = LEASE_WRITE};

	begin(&x, state, LEASE_READ);
	all = x.a.h;
	assert_int_equal(fs_open(x.r->fs, &x.a.who, "/f", O_RDONLY, 0, &x.a.h), 0);
	assert_int_equal(change(&x.a, LEASE_WRITE, false), -EBADF);
	fs_close(x.a.h, NULL, 0);
	x.a.h = all;
	x.a.who.cred = x.r->user.cred;
	assert_int_equal(change(&x.a, LEASE_READ, true), -EPERM);
	x.a.who.cred = x.r->root.cred;
	is(&x.a, LEASE_READ, false);
	args.mode = 0;
	assert_int_equal(fs_lease_change(x.a.h, &x.a.who, x.a.lease.lease, &args, &x.a.lease), -EINVAL);
	end(&x);
}

/* L9 */
static void an_impatient_change_leaves_the_break_going_on(void **state)
{
	struct fs_lease_args args = {.mode = LEASE_WRITE, .nowait = true};
	struct holder slow;
	struct fx x;

	begin(&x, state, LEASE_READ);
	holder_open(&slow, x.r, "/f", false);
	holder_get(&slow, LEASE_READ, 0, N * BLK);
	assert_int_equal(fs_lease_change(x.a.h, &x.a.who, x.a.lease.lease, &args, &x.a.lease), -EWOULDBLOCK);
	is(&x.a, LEASE_READ, false);
	assert_int_equal(slow.recalls, 1);
	lease_release(slow.session, slow.lease.lease, RANGE_ALL);
	assert_int_equal(fs_lease_change(x.a.h, &x.a.who, x.a.lease.lease, &args, &x.a.lease), 0);
	is(&x.a, LEASE_WRITE, false);
	holder_close(&slow);
	end(&x);
}

/* While somebody moves, clones and cuts the file: each change happens whole, or says that the lease was broken. */
struct mover {
	struct fx *x;
	_Atomic bool stop;
	pthread_t thread;
};

static void *mover_main(void *ctx)
{
	struct mover *m = ctx;
	unsigned n = 0;

	while (!atomic_load(&m->stop)) {
		uint64_t at = n % (N - 2) * BLK;

		(void)fs_relocate(m->x->f, &m->x->r->root, at, 2 * BLK, NULL);
		if (n++ % 3 == 0)
			(void)fs_clone_range(m->x->s, 0, m->x->f, 0, N * BLK, &m->x->r->root);
	}
	return NULL;
}

static void changes_under_moves_and_clones(void **state)
{
	struct mover m = {0};
	struct fx x;
	unsigned changed = 0;

	begin(&x, state, LEASE_READ);
	m.x = &x;
	assert_int_equal(pthread_create(&m.thread, NULL, mover_main, &m), 0);
	for (unsigned n = 0; n < 300 || changed == 0; n++) {
		int err = change(&x.a, n % 2 ? LEASE_READ : LEASE_WRITE, n % 5 == 0);

		assert_true(err == 0 || err == -ESTALE || err == -ETIMEDOUT);
		changed += err == 0;
		if (err) {
			lease_release(x.a.session, x.a.lease.lease, RANGE_ALL);
			/* The releaser may be at its end. */
			while (atomic_load(&x.a.pin.gone) == 0)
				sched_yield();
			holder_get(&x.a, n % 2 ? LEASE_WRITE : LEASE_READ, 0, N * BLK);
		}
	}
	atomic_store(&m.stop, true);
	pthread_join(m.thread, NULL);
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(an_upgrade_copies_what_is_shared_and_breaks_who_reads_it, rig_setup,
					    rig_teardown),
	    cmocka_unit_test_setup_teardown(an_upgrade_fills_holes, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_downgrade_keeps_the_bytes_and_lets_clones_pass, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(exclusive_comes_and_goes_without_touching_pins, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(an_exclusive_lease_is_upgraded_over_shared_blocks, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(what_another_denies_leaves_the_lease_as_it_was, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_lease_that_lost_a_part_is_not_changed, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(who_may_not_have_the_mode_does_not_get_it_by_a_change, rig_setup,
					    rig_teardown),
	    cmocka_unit_test_setup_teardown(an_impatient_change_leaves_the_break_going_on, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(changes_under_moves_and_clones, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
