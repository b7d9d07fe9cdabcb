/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L28, L29: the set of dirty ranges holds exactly the bytes that were put in, joined; at its limit it holds more,
 * never fewer. Against a bitmap, with a seed that is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ranges.h"

#define BYTES 4096u

static unsigned seed;

static void ranges_are_in_order(const struct ranges *s)
{
	const struct range *a = ranges_at(s);

	assert_true(s->count <= RANGES_MAX);
	for (unsigned i = 0; i < s->count; i++) {
		assert_true(a[i].start < a[i].end);
		if (i > 0 && a[i - 1].end >= a[i].start)
			fail_msg("SEED=%u: ranges %u and %u touch", seed, i - 1, i);
	}
}

static bool holds(const struct ranges *s, uint64_t byte)
{
	unsigned i = ranges_find(s, byte);

	return i < s->count && ranges_at(s)[i].start <= byte;
}

static void same(const struct ranges *s, const bool *map)
{
	ranges_are_in_order(s);
	for (unsigned i = 0; i < BYTES; i++) {
		if (holds(s, i) != map[i])
			fail_msg("SEED=%u: byte %u is %s the set", seed, i, map[i] ? "missing in" : "too much in");
	}
}

/* Below the limit the set is exact. */
static void a_set_is_what_was_put_in(void **state)
{
	bool map[BYTES] = {false};
	struct ranges s, out;

	ranges_init(&s);
	for (unsigned i = 0; i < 4000; i++) {
		uint64_t start = (unsigned)rand_r(&seed) % BYTES;
		uint64_t end = start + 1 + (unsigned)rand_r(&seed) % 64;
		struct range r = {start, min_u64(end, BYTES)};

		switch (rand_r(&seed) % 3) {
		case 0:
			assert_true(ranges_cut(&s, r));
			memset(map + r.start, false, r.end - r.start);
			break;
		case 1:
			ranges_init(&out);
			ranges_move(&s, r, &out);
			for (uint64_t b = r.start; b < r.end; b++)
				assert_int_equal(holds(&out, b), map[b]);
			ranges_fini(&out);
			memset(map + r.start, false, r.end - r.start);
			break;
		default:
			ranges_add(&s, r);
			memset(map + r.start, true, r.end - r.start);
		}
		if (i % 16 == 0)
			same(&s, map);
	}
	same(&s, map);
	ranges_fini(&s);
}

/* What touches is one range. */
static void neighbours_are_joined(void **state)
{
	struct ranges s;

	ranges_init(&s);
	ranges_add(&s, (struct range){0, 10});
	ranges_add(&s, (struct range){20, 30});
	assert_int_equal(s.count, 2);
	ranges_add(&s, (struct range){10, 20});
	assert_int_equal(s.count, 1);
	assert_int_equal(ranges_at(&s)[0].end, 30);
	assert_int_equal(ranges_bytes(&s), 30);
	ranges_add(&s, (struct range){5, 5});
	assert_int_equal(s.count, 1);
	assert_true(ranges_cut(&s, (struct range){30, RANGE_MAX}));
	assert_true(ranges_cut(&s, RANGE_ALL));
	assert_int_equal(s.count, 0);
	ranges_fini(&s);
}

/* At the limit the nearest become one: every byte that was put in is in it, and the set stays small. */
static void a_full_set_forgets_nothing(void **state)
{
	static uint64_t put[4 * RANGES_MAX];
	struct ranges s;

	ranges_init(&s);
	for (unsigned i = 0; i < ARRAY_LEN(put); i++) {
		put[i] = (uint64_t)rand_r(&seed) << 12;
		ranges_add(&s, (struct range){put[i], put[i] + 1 + (unsigned)rand_r(&seed) % 4096});
		ranges_are_in_order(&s);
	}
	assert_int_equal(s.count, RANGES_MAX);
	for (unsigned i = 0; i < ARRAY_LEN(put); i++)
		assert_true(holds(&s, put[i]));
	/* No room for two ends: it says so, and keeps all. */
	{
		struct range whole = ranges_at(&s)[0];
		struct range middle = {whole.start + (whole.end - whole.start) / 2, 0};

		middle.end = middle.start + 1;
		if (whole.end - whole.start > 4) {
			assert_false(ranges_cut(&s, middle));
			assert_true(holds(&s, middle.start));
		}
	}
	ranges_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_set_is_what_was_put_in),
	    cmocka_unit_test(neighbours_are_joined),
	    cmocka_unit_test(a_full_set_forgets_nothing),
	};
	const char *given = getenv("SEED");

	seed = given ? (unsigned)strtoul(given, NULL, 0) : 20261122;
	print_message("SEED=%u\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
