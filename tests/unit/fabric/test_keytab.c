/* SPDX-License-Identifier: BSD-2-Clause */
/* The key table: L12 (dead keys), L14 (numbers), F1, F2, F16 (faulting keys), and the receipt. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/types.h"
#include "fabric/fabric.h"
#include "fabric/keytab.h"

#define BYTES 1048576u

static struct keytab *kt;
static struct key_owner mine, other;
static char mem[BYTES] __attribute__((aligned(4096)));

static int setup(void **state)
{
	mine = other = (struct key_owner){0};
	return keytab_new(&kt);
}

static int teardown(void **state)
{
	key_kill_all(kt, &mine);
	key_kill_all(kt, &other);
	keytab_free(kt);
	return 0;
}

static uint64_t make(uint64_t len, unsigned access)
{
	uint64_t n;

	assert_int_equal(key_make(kt, &mine, &(struct key_target){.base = mem, .len = len, .access = access}, &n), 0);
	return n;
}

static int enter(const struct key_owner *owner, uint64_t n, enum fabric_access a, uint64_t offset, uint64_t len)
{
	struct key_want want = {.owner = owner, .number = n, .access = a, .offset = offset, .len = len};
	struct key_hold hold;
	int err = key_enter(kt, &want, &hold);

	if (err)
		return err;
	assert_true((uintptr_t)hold.mem == (uintptr_t)mem + offset);
	key_leave(&hold);
	return 0;
}

/* L19: a user who takes keys without end gets half of them and no more, and others get theirs. */
static void keys_of_one_user_end_where_others_need_them(void **state)
{
	struct key_target at = {.base = mem, .len = 4096, .access = FABRIC_READ};
	uint64_t n;
	int err = 0;

	mine.group = 7;
	other.group = 8;
	while (!err)
		err = key_make(kt, &mine, &at, &n);
	assert_int_equal(err, -EDQUOT);
	assert_int_equal(keytab_live(kt), FABRIC_KEYS_MAX / 2);
	for (unsigned i = 0; i < KEY_GROUP_SHARE; i++)
		assert_int_equal(key_make(kt, &other, &at, &n), 0);
	assert_int_equal(key_make(kt, &other, &at, &n), -EDQUOT);
	key_kill_all(kt, &mine);
	assert_int_equal(key_make(kt, &other, &at, &n), 0);
	assert_int_equal(key_make(kt, &mine, &at, &n), 0);
}

/* F2: stale, access, range, in this order. */
static void refusals_come_in_order(void **state)
{
	uint64_t n = make(4096, FABRIC_READ);

	assert_int_equal(enter(&mine, n, FABRIC_READ, 0, 4096), 0);
	assert_int_equal(enter(&mine, n, FABRIC_READ, 4095, 1), 0);
	assert_int_equal(enter(&mine, n, FABRIC_READ, 4096, 0), 0);
	assert_int_equal(enter(&mine, n, FABRIC_READ, 4096, 1), -ERANGE);
	assert_int_equal(enter(&mine, n, FABRIC_READ, 1, UINT64_MAX), -ERANGE);
	assert_int_equal(enter(&mine, n, FABRIC_READ, UINT64_MAX, 2), -ERANGE);
	assert_int_equal(enter(&mine, n, FABRIC_WRITE, 1, UINT64_MAX), -EACCES);
	assert_int_equal(enter(&other, n, FABRIC_WRITE, 1, UINT64_MAX), -ESTALE);
	assert_int_equal(enter(&mine, n ^ (1ull << 40), FABRIC_READ, 0, 1), -ESTALE);
	assert_int_equal(enter(&mine, 0, FABRIC_READ, 0, 1), -ESTALE);
	assert_int_equal(enter(&mine, UINT64_MAX, FABRIC_READ, 0, 1), -ESTALE);
}

/* L12: a dead key lets nobody in; a second kill is told so, and has its proof. */
static void dead_keys_stay_dead(void **state)
{
	uint64_t n = make(4096, FABRIC_WRITE);
	struct fabric_receipt gone;

	assert_int_equal(key_kill(kt, &other, n, &gone), -ESTALE);
	assert_int_equal(gone.number, 0);
	assert_int_equal(enter(&mine, n, FABRIC_WRITE, 0, 1), 0);
	assert_int_equal(key_kill(kt, &mine, n, &gone), 0);
	assert_int_equal(gone.number, n);
	assert_int_equal(enter(&mine, n, FABRIC_WRITE, 0, 1), -ESTALE);
	assert_int_equal(key_kill(kt, &mine, n, &gone), -ESTALE);
	assert_int_equal(gone.number, n);
	assert_int_equal(keytab_live(kt), 0);
	assert_int_equal(keytab_killed(kt), 1);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* L14: no number twice, though slots are used again. */
static void numbers_never_repeat(void **state)
{
	enum { N = 50000 };
	uint64_t *seen = calloc(N, sizeof(*seen)), ones = 0;
	struct fabric_receipt gone;

	for (int i = 0; i < N; i++) {
		seen[i] = make(64, FABRIC_READ);
		ones += (uint64_t)__builtin_popcountll(seen[i] >> 20);
		assert_int_equal(key_kill(kt, &mine, seen[i], &gone), 0);
	}
	qsort(seen, N, sizeof(*seen), compare);
	for (int i = 1; i < N; i++)
		assert_true(seen[i] != seen[i - 1]);
	/* The upper 44 bits look random: half of them are set, give or take a hundredth. */
	assert_in_range(ones, N * 22ull * 99 / 100, N * 22ull * 101 / 100);
	free(seen);
}

/* The hull is what was written, outwards to cache lines, and is forgotten once taken. */
static void receipt_carries_the_dirty_hull(void **state)
{
	uint64_t n = make(100000, FABRIC_WRITE), start, end;
	struct key_want want = {.owner = &mine, .number = n, .access = FABRIC_WRITE};
	struct fabric_receipt gone;
	struct key_hold hold;

	want.offset = 1000, want.len = 10;
	assert_int_equal(key_enter(kt, &want, &hold), 0);
	key_dirty(&hold, 10);
	key_leave(&hold);
	assert_int_equal(key_dirty_take(kt, &mine, n, &start, &end), 0);
	assert_int_equal(start, 960);
	assert_int_equal(end, 1024);
	assert_int_equal(key_dirty_take(kt, &mine, n, &start, &end), 0);
	assert_int_equal(start, end);
	for (int i = 0; i < 2; i++) {
		want.offset = i ? 64 : 99999, want.len = 1;
		assert_int_equal(key_enter(kt, &want, &hold), 0);
		key_dirty(&hold, 1);
		key_leave(&hold);
	}
	assert_int_equal(key_kill(kt, &mine, n, &gone), 0);
	assert_int_equal(gone.dirty_start, 64);
	assert_int_equal(gone.dirty_end, 100000);
}

/* A 16 TiB range still has a hull. */
static void huge_ranges_have_a_hull(void **state)
{
	uint64_t len = 16ull << 40, n = make(len, FABRIC_WRITE);
	struct key_want want = {.owner = &mine, .number = n, .access = FABRIC_WRITE, .offset = len - 1, .len = 1};
	struct fabric_receipt gone;
	struct key_hold hold;

	assert_int_equal(key_enter(kt, &want, &hold), 0);
	key_dirty(&hold, 1);
	key_leave(&hold);
	assert_int_equal(key_kill(kt, &mine, n, &gone), 0);
	assert_int_equal(gone.dirty_end, len);
	assert_in_range(gone.dirty_start, len - 65536, len - 1);
}

static void table_full_is_told(void **state)
{
	uint64_t n, i = 0;
	int err = 0;

	for (; i <= FABRIC_KEYS_MAX && err == 0; i++)
		err = key_make(kt, i % 2 ? &mine : &other,
			       &(struct key_target){.base = mem, .len = 64, .access = FABRIC_READ}, &n);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(keytab_live(kt), FABRIC_KEYS_MAX);
	key_kill_all(kt, &other);
	assert_int_equal(keytab_live(kt), FABRIC_KEYS_MAX / 2);
	assert_int_equal(key_make(kt, &mine, &(struct key_target){.base = mem, .len = 64, .access = FABRIC_READ}, &n),
			 0);
}

struct racer {
	_Atomic uint64_t number; /* the live key */
	_Atomic bool stop;
	_Atomic bool dead; /* the range belongs to nobody */
	_Atomic uint64_t inside, entered, violations;
};

static void *racer_run(void *arg)
{
	struct racer *r = arg;

	while (!atomic_load(&r->stop)) {
		struct key_want want = {
		    .owner = &mine, .number = atomic_load(&r->number), .access = FABRIC_WRITE, .len = 64};
		struct key_hold hold;

		if (key_enter(kt, &want, &hold))
			continue;
		atomic_fetch_add(&r->entered, 1);
		if (atomic_load(&r->dead))
			atomic_fetch_add(&r->violations, 1);
		key_leave(&hold);
	}
	return NULL;
}

/* L12, L13: when the kill has returned nobody is inside, and nobody gets in. */
static void kill_waits_for_movers(void **state)
{
	struct racer r = {.number = make(64, FABRIC_WRITE)};
	uint64_t end = clock_now_ns() + NS_PER_SEC;
	struct fabric_receipt gone;
	pthread_t threads[2];
	unsigned kills = 0;

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, racer_run, &r), 0);
	while (clock_now_ns() < end) {
		assert_int_equal(key_kill(kt, &mine, atomic_load(&r.number), &gone), 0);
		atomic_store(&r.dead, true);
		kills++;
		for (int spin = 0; spin < 100; spin++)
			atomic_load(&r.dead);
		atomic_store(&r.dead, false);
		atomic_store(&r.number, make(64, FABRIC_WRITE));
	}
	atomic_store(&r.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(r.violations, 0);
	assert_true(kills > 100);
	assert_true(r.entered > 100);
}

struct holder {
	struct key_hold hold;
	_Atomic bool left;
};

static void *holder_run(void *arg)
{
	struct holder *h = arg;
	struct timespec ts = {.tv_nsec = 20000000};

	nanosleep(&ts, NULL);
	atomic_store(&h->left, true);
	key_leave(&h->hold);
	return NULL;
}

/* A mover that was scheduled away while inside is waited for, asleep; a second killer waits too. */
static void kill_sleeps_for_a_slow_mover(void **state)
{
	uint64_t n = make(64, FABRIC_WRITE);
	struct key_want want = {.owner = &mine, .number = n, .access = FABRIC_WRITE, .len = 64};
	struct holder h = {.left = false};
	struct fabric_receipt gone;
	pthread_t thread;

	assert_int_equal(key_enter(kt, &want, &h.hold), 0);
	assert_int_equal(pthread_create(&thread, NULL, holder_run, &h), 0);
	assert_int_equal(key_kill(kt, &mine, n, &gone), 0);
	assert_true(atomic_load(&h.left));
	pthread_join(thread, NULL);
}

/* --- faulting keys --- */

struct oracle {
	struct fabric_resolver resolver;
	unsigned entered, left;
	uint64_t at, len; /* as asked last */
	uint64_t give;    /* how long a place is at most */
	int err;
	void *mem;
};

static int oracle_enter(struct fabric_resolver *r, enum fabric_access access, uint64_t at, uint64_t len,
			struct fabric_place *out)
{
	struct oracle *o = container_of(r, struct oracle, resolver);

	o->at = at;
	o->len = len;
	if (o->err)
		return o->err;
	o->entered++;
	*out = (struct fabric_place){.mem = o->mem, .len = min_u64(len, o->give)};
	return 0;
}

static void oracle_leave(struct fabric_resolver *r, enum fabric_access access)
{
	container_of(r, struct oracle, resolver)->left++;
}

static void a_faulting_key_is_asked_for_every_chunk(void **state)
{
	struct oracle o = {.resolver = {oracle_enter, oracle_leave}, .give = 4096, .mem = mem};
	const struct key_target target = {
	    .resolver = &o.resolver, .at = 1ull << 40, .len = BYTES, .access = FABRIC_READ | FABRIC_WRITE};
	struct key_want want = {.owner = &mine, .access = FABRIC_READ, .offset = 100, .len = BYTES - 100};
	struct fabric_receipt gone;
	struct key_hold h;

	assert_int_equal(key_make(kt, &mine, &target, &want.number), 0);
	assert_int_equal(key_enter(kt, &want, &h), 0);
	assert_int_equal(o.at, (1ull << 40) + 100);
	assert_int_equal(o.len, FABRIC_CHUNK);
	assert_ptr_equal(h.mem, mem);
	assert_int_equal(h.len, 4096);
	key_leave(&h);
	assert_int_equal(o.left, 1);
	/* Nothing there: zeroes, for readers. */
	o.mem = NULL;
	assert_int_equal(key_enter(kt, &want, &h), 0);
	for (unsigned i = 0; i < h.len; i++)
		assert_int_equal(h.mem[i], 0);
	key_leave(&h);
	o.err = -EAGAIN;
	assert_int_equal(key_enter(kt, &want, &h), -EAGAIN);
	/* What is refused is refused before anybody is asked, and a look at the key asks nobody. */
	o.at = 7;
	want.len = BYTES;
	assert_int_equal(key_enter(kt, &want, &h), -ERANGE);
	want.len = 0;
	assert_int_equal(key_enter(kt, &want, &h), 0);
	key_leave(&h);
	want.owner = &other;
	assert_int_equal(key_enter(kt, &want, &h), -ESTALE);
	assert_int_equal(o.at, 7);
	/* A fault leaves nobody inside: killing does not wait. */
	assert_int_equal(key_kill(kt, &mine, want.number, &gone), 0);
	assert_int_equal(o.entered, 2);
	assert_int_equal(o.left, 2);
}

static void a_faulting_keys_hull_is_by_its_own_offsets(void **state)
{
	struct oracle o = {.resolver = {oracle_enter, oracle_leave}, .give = 4096, .mem = mem};
	const struct key_target target = {
	    .resolver = &o.resolver, .at = 1ull << 40, .len = BYTES, .access = FABRIC_WRITE};
	struct key_want want = {.owner = &mine, .access = FABRIC_WRITE, .offset = 8192, .len = 128};
	struct fabric_receipt gone;
	struct key_hold h;

	assert_int_equal(key_make(kt, &mine, &target, &want.number), 0);
	assert_int_equal(key_enter(kt, &want, &h), 0);
	key_dirty(&h, 128);
	key_leave(&h);
	assert_int_equal(key_kill(kt, &mine, want.number, &gone), 0);
	assert_int_equal(gone.dirty_start, 8192);
	assert_int_equal(gone.dirty_end, 8192 + 128);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(keys_of_one_user_end_where_others_need_them, setup, teardown),
	    cmocka_unit_test_setup_teardown(refusals_come_in_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(dead_keys_stay_dead, setup, teardown),
	    cmocka_unit_test_setup_teardown(numbers_never_repeat, setup, teardown),
	    cmocka_unit_test_setup_teardown(receipt_carries_the_dirty_hull, setup, teardown),
	    cmocka_unit_test_setup_teardown(huge_ranges_have_a_hull, setup, teardown),
	    cmocka_unit_test_setup_teardown(table_full_is_told, setup, teardown),
	    cmocka_unit_test_setup_teardown(kill_waits_for_movers, setup, teardown),
	    cmocka_unit_test_setup_teardown(kill_sleeps_for_a_slow_mover, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_faulting_key_is_asked_for_every_chunk, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_faulting_keys_hull_is_by_its_own_offsets, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
