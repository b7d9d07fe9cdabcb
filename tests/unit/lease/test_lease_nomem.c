/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: without memory the arbiter refuses and forgets nothing: whichever allocation fails, the call says -ENOMEM, no
 * gate stays closed, no lease and no pin is lost, and what holders must lose by force needs no memory at all (L7).
 *
 * The linker puts our malloc before the real one (--wrap); the n-th allocation fails, for n = 1, 2, 3 until none does.
 */
#include "rig.h"

#include <stdlib.h>

static unsigned countdown; /* 0: never fail */
static bool failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool fails_now(void)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t size)
{
	return fails_now() ? NULL : __real_realloc(p, size);
}

static void check_err(int err)
{
	assert_true(err == 0 || err == -ENOMEM);
}

static void ignore(void *ctx, const struct lease_info *info)
{
}

static void place(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part, void *pin)
{
}

/* L22, L23: refused for want of memory it denies nothing, and is as it was. */
static void exclusive(struct rig *r)
{
	struct lease_grant_args args = {.anchor = &r->file,
					.session = r->c.session,
					.range = R(96 * K, 128 * K),
					.mode = LEASE_READ,
					.exclusive = true,
					.max_age_ns = D_NS};
	struct lease_change_args change = {.mode = LEASE_WRITE, .exclusive = true, .max_age_ns = D_NS};
	struct lease_grant got;
	int err = lease_grant(r->arbiter, &args, &got);
	int denied = lease_conflicts(&r->file, R(96 * K, 128 * K), LEASE_ANY_MODE, NULL);

	check_err(err);
	assert_int_equal(denied, err ? 0 : -ETXTBSY);
	args.range = R(160 * K, 192 * K);
	args.exclusive = false;
	err = lease_grant(r->arbiter, &args, &got);
	check_err(err);
	if (err)
		return;
	err = lease_change(r->c.session, got.lease, &change, &got);
	check_err(err);
	assert_int_equal(lease_conflicts(&r->file, R(160 * K, 192 * K), LEASE_WRITE, NULL), err ? 0 : -ETXTBSY);
}

/* A bit of everything; every call may fail. */
static void everything(struct rig *r)
{
	struct lease_grant_args args = {.anchor = &r->file, .range = R(0, 64 * K), .mode = LEASE_WRITE};
	struct lease_break_args broken = {.anchor = &r->file, .range = R(16 * K, 48 * K), .modes = LEASE_ANY_MODE};
	struct holder *who[] = {&r->a, &r->b, &r->c};
	struct lease_grant got[3] = {0};
	struct lease_break *b = NULL;
	bool attached[2];
	int err;

	for (int i = 0; i < 3; i++) {
		args.session = who[i]->session;
		check_err(lease_grant(r->arbiter, &args, &got[i]));
	}
	for (int i = 0; i < 2; i++) {
		err = got[i].lease ? lease_pin_attach(r->arbiter, got[i].lease, &fake_pin_ops, &r->pin[i], 1) : -ENOMEM;
		check_err(err);
		attached[i] = err == 0;
	}
	exclusive(r);
	check_err(lease_list(r->arbiter, 0, 0, ignore, NULL));
	check_err(lease_own_drain(&r->file, R(8 * K, 20 * K), r->a.session));
	check_err(lease_own_each(&r->file, R(8 * K, 20 * K), r->a.session, place, NULL));
	broken.owner = r->c.session;
	err = lease_break_start(r->arbiter, &broken, &b);
	check_err(err);
	if (err) {
		assert_int_equal(lease_gate_wait(r->arbiter, &r->file, R_ALL, r->now_ns, NULL, 0), 0);
	} else {
		check_err(lease_release(r->b.session, got[1].lease, R(20 * K, 24 * K)));
		countdown = 0;
		forward(r, D_NS); /* L7: never for want of memory */
		assert_true(lease_break_done(b));
		lease_break_end(b);
	}
	check_err(lease_release(r->c.session, got[2].lease, R(1 * K, 2 * K)));
	check_err(lease_revoke(r->arbiter, 0, 0, lease_session_id(r->b.session), UINT32_MAX, "test") > 0 ? 0 : -ENOMEM);
	lease_unmount(r->arbiter, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(r->pin[i].gone, attached[i]);
}

static void whichever_allocation_fails_nothing_is_lost(void **state)
{
	unsigned n = 0;

	do {
		void *rig;

		n++;
		rig_setup(&rig);
		failed = false;
		countdown = n;
		everything(rig);
		countdown = 0;
		rig_teardown(&rig);
	} while (failed);
	assert_true(n > 10);
}

/* An arbiter and a session come whole or not at all. */
static void an_arbiter_comes_whole_or_not_at_all(void **state)
{
	struct lease_options opt = {.no_timer_thread = true};
	struct lease_arbiter *a = NULL;
	struct lease_session *s = NULL;
	unsigned n = 0;

	do {
		countdown = ++n;
	} while (lease_arbiter_new(&opt, &a) == -ENOMEM);
	countdown = 0;
	assert_int_equal(n, 5);
	n = 0;
	do {
		countdown = ++n;
	} while (lease_session_open(a, &holder_ops, NULL, NULL, &s) == -ENOMEM);
	countdown = 0;
	assert_int_equal(n, 4);
	lease_session_close(s);
	lease_arbiter_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whichever_allocation_fails_nothing_is_lost),
	    cmocka_unit_test(an_arbiter_comes_whole_or_not_at_all),
	};

	return cmocka_run_group_tests_name("lease: no memory", tests, NULL, NULL);
}
