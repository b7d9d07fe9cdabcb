/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L3, L4: overlap queries find exactly what a search through all pieces finds, and the table of numbers finds
 * each lease, while both grow and shrink.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lease/interval.h"
#include "lease/lease_internal.h"
#include "lease/number.h"

#define PIECES 3000
#define SPAN   2000
#define ROUNDS 200000

static uint64_t seed = 20240611;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static struct range some_range(void)
{
	uint64_t start = rnd(SPAN);
	uint64_t len = rnd(20) == 0 ? 1 + rnd(SPAN) : 1 + rnd(30);

	return (struct range){start, rnd(50) == 0 ? RANGE_MAX : start + len};
}

static void check_query(const struct interval_index *ix, struct piece *all, const bool *in, struct range q)
{
	unsigned want = 0, got = 0;
	uint64_t last = 0;

	for (unsigned i = 0; i < PIECES; i++)
		want += in[i] && range_overlaps(all[i].range, q);
	for (struct piece *p = interval_first(ix, q); p; p = interval_next(ix, p, q)) {
		assert_true(in[p - all]);
		assert_true(range_overlaps(p->range, q));
		assert_true(p->range.start >= last);
		last = p->range.start;
		got++;
	}
	assert_int_equal(got, want);
	for (unsigned owner = 0; owner < 8; owner++) {
		bool conflict = false;

		for (unsigned i = 0; i < PIECES; i++)
			conflict |= in[i] && range_overlaps(all[i].range, q) && i % 2 == 1 && i % 7 != owner;
		assert_int_equal(interval_conflict(ix, q, LEASE_WRITE, owner), conflict);
	}
}

static void queries_agree_with_a_full_search(void **state)
{
	struct piece *all = calloc(PIECES, sizeof(*all));
	bool in[PIECES] = {false};
	struct interval_index ix;

	print_message("seed %llu\n", (unsigned long long)seed);
	assert_non_null(all);
	interval_init(&ix);
	for (unsigned n = 0; n < ROUNDS; n++) {
		/* Waves: full, then nearly empty. */
		unsigned keep = (n / 20000) % 2 ? 10 : 90;
		unsigned i = (unsigned)rnd(PIECES);

		if (!in[i] && rnd(100) < keep) {
			all[i].range = some_range();
			assert_int_equal(interval_insert(&ix, &all[i], PIECE_TAG(i % 7, 1 + i % 2)), 0);
			in[i] = true;
		} else if (in[i] && rnd(100) >= keep) {
			interval_remove(&ix, &all[i]);
			in[i] = false;
		} else if (in[i]) {
			interval_set_end(&ix, &all[i], all[i].range.start + 1 + rnd(100));
		}
		if (n % 32 == 0)
			check_query(&ix, all, in, some_range());
	}
	for (unsigned i = 0; i < PIECES; i++) {
		if (in[i])
			interval_remove(&ix, &all[i]);
	}
	assert_true(interval_empty(&ix));
	interval_fini(&ix);
	free(all);
}

/* Many holders of the same range: the address alone tells them apart. */
static void the_same_range_many_times(void **state)
{
	struct piece *all = calloc(PIECES, sizeof(*all));
	struct interval_index ix;
	unsigned seen = 0;

	assert_non_null(all);
	interval_init(&ix);
	for (unsigned i = 0; i < PIECES; i++) {
		all[i].range = (struct range){0, SPAN};
		assert_int_equal(interval_insert(&ix, &all[i], PIECE_TAG(i % 7, 1 + i % 2)), 0);
	}
	for (struct piece *p = interval_first(&ix, RANGE_ALL); p; p = interval_next(&ix, p, RANGE_ALL))
		seen++;
	assert_int_equal(seen, PIECES);
	for (unsigned i = 0; i < PIECES; i++) {
		interval_remove(&ix, &all[i * 7 % PIECES]);
		assert_true(interval_empty(&ix) == (i + 1 == PIECES));
	}
	interval_fini(&ix);
	free(all);
}

static void an_empty_query_finds_nothing(void **state)
{
	struct piece p = {.range = {0, RANGE_MAX}};
	struct interval_index ix;

	interval_init(&ix);
	assert_null(interval_first(&ix, RANGE_ALL));
	assert_int_equal(interval_insert(&ix, &p, PIECE_TAG(1, 1)), 0);
	assert_null(interval_first(&ix, (struct range){5, 5}));
	assert_ptr_equal(interval_first(&ix, (struct range){RANGE_MAX - 1, RANGE_MAX}), &p);
	interval_remove(&ix, &p);
	interval_fini(&ix);
}

#define NUMBERS 20000u

static void count_each(void *ctx, struct lease *l)
{
	unsigned *n = ctx;

	(*n)++;
}

static void numbers_are_found_while_the_table_grows_and_shrinks(void **state)
{
	struct lease *all = calloc(NUMBERS, sizeof(*all));
	struct number_table t = {0};
	unsigned n = 0;

	assert_non_null(all);
	assert_null(number_find(&t, 1));
	for (unsigned i = 0; i < NUMBERS; i++) {
		all[i].number = ((uint64_t)i + 1) << LEASE_SHARD_BITS | 3;
		assert_int_equal(number_insert(&t, &all[i]), 0);
		assert_ptr_equal(number_find(&t, all[i / 2].number), &all[i / 2]);
	}
	number_each(&t, count_each, &n);
	assert_int_equal(n, NUMBERS);
	assert_true(t.buckets >= NUMBERS / 2);
	for (unsigned i = 0; i < NUMBERS; i += 2)
		number_remove(&t, &all[i]);
	for (unsigned i = 0; i < NUMBERS; i++)
		assert_ptr_equal(number_find(&t, all[i].number), i % 2 ? &all[i] : NULL);
	for (unsigned i = 1; i < NUMBERS; i += 2) {
		number_remove(&t, &all[i]);
		assert_null(number_find(&t, all[i].number));
		if (i + 2 < NUMBERS)
			assert_ptr_equal(number_find(&t, all[NUMBERS - 1].number), &all[NUMBERS - 1]);
	}
	assert_int_equal(t.count, 0);
	assert_true(t.buckets <= 2 * NUMBER_SEGMENT);
	number_fini(&t);
	free(all);
}

/* bench.md: at most 256 bytes a lease, with its share of the tables (two pointers) and malloc's header. */
static void a_lease_is_small(void **state)
{
	assert_true(sizeof(struct lease) + 4 * sizeof(void *) <= 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(queries_agree_with_a_full_search),
	    cmocka_unit_test(an_empty_query_finds_nothing),
	    cmocka_unit_test(the_same_range_many_times),
	    cmocka_unit_test(numbers_are_found_while_the_table_grows_and_shrinks),
	    cmocka_unit_test(a_lease_is_small),
	};

	return cmocka_run_group_tests_name("lease: indexes", tests, NULL, NULL);
}
