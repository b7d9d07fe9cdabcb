/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: the map of a lease's runs says for every byte what was last said about it (L4, protocol P40, P42). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/map.h"

#define SPACE  512u
#define ROUNDS 20000u

static struct run run_of(uint64_t start, uint64_t end, uint64_t key, uint64_t key_off, uint64_t lease)
{
	return (struct run){.range = {start, end}, .key = key, .key_off = key_off, .lease = lease};
}

/* P42: runs learnt earlier are cut to what lies outside, and their keys' offsets go along. */
static void a_cut_in_the_middle_keeps_both_ends(void **state)
{
	struct map m = {0};
	struct run run = run_of(0, 100, 7, 1000, 1);

	assert_int_equal(map_put(&m, &run), 0);
	assert_true(map_cut(&m, (struct range){40, 60}, 1));
	assert_int_equal(m.count, 2);
	assert_int_equal(m.runs[0].range.end, 40);
	assert_int_equal(m.runs[1].range.start, 60);
	assert_int_equal(m.runs[1].key_off, 1060);
	assert_null(map_at(&m, 40));
	assert_null(map_at(&m, 59));
	assert_non_null(map_at(&m, 60));
	assert_false(map_cut(&m, (struct range){40, 60}, 1));
	map_free(&m);
}

/* L4: what another number reaches is not touched. */
static void a_cut_takes_only_the_runs_of_its_lease(void **state)
{
	struct map m = {0};
	struct run one = run_of(0, 50, 7, 0, 1);
	struct run two = run_of(50, 100, 8, 0, 2);

	assert_int_equal(map_put(&m, &one), 0);
	assert_int_equal(map_put(&m, &two), 0);
	assert_true(map_cut(&m, RANGE_ALL, 1));
	assert_int_equal(m.count, 1);
	assert_int_equal(m.runs[0].lease, 2);
	map_free(&m);
}

static void a_gap_ends_where_something_is_known(void **state)
{
	struct map m = {0};
	struct run one = run_of(10, 20, 7, 0, 1);
	struct run two = run_of(40, 50, 0, 0, 1);
	struct range window = {5, 100};

	assert_int_equal(map_put(&m, &two), 0);
	assert_int_equal(map_put(&m, &one), 0);
	assert_int_equal(map_gap(&m, 7, window).start, 5);
	assert_int_equal(map_gap(&m, 7, window).end, 10);
	assert_int_equal(map_gap(&m, 30, window).start, 20);
	assert_int_equal(map_gap(&m, 30, window).end, 40);
	assert_int_equal(map_gap(&m, 60, window).start, 50);
	assert_int_equal(map_gap(&m, 60, window).end, 100);
	assert_true(range_empty(map_gap(&m, 45, window)));
	assert_true(map_covers(&m, (struct range){12, 20}));
	assert_false(map_covers(&m, (struct range){12, 21}));
	map_free(&m);
}

/* Against a plain array that remembers for every byte where it is. */
static void it_agrees_with_a_model(void **state)
{
	unsigned seed = getenv("SEED") ? (unsigned)strtoul(getenv("SEED"), NULL, 0) : 20240607;
	uint64_t where[SPACE] = {0}; /* key << 32 | offset, 0 unknown */
	uint64_t whose[SPACE] = {0};
	struct map m = {0};

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t start = (uint64_t)rand_r(&seed) % SPACE;
		uint64_t end = start + 1 + (uint64_t)rand_r(&seed) % (SPACE - start);
		uint64_t lease = 1 + (uint64_t)rand_r(&seed) % 3;
		struct run run = run_of(start, end, 1 + round, 5 * round, lease);
		bool put = rand_r(&seed) % 2;

		if (put)
			assert_int_equal(map_put(&m, &run), 0);
		else
			map_cut(&m, run.range, lease);
		for (uint64_t i = start; i < end; i++) {
			if (put) {
				where[i] = (run.key << 32) + run.key_off + (i - start);
				whose[i] = lease;
			} else if (whose[i] == lease) {
				where[i] = whose[i] = 0;
			}
		}
		for (uint64_t i = 0; i < SPACE; i++) {
			const struct run *at = map_at(&m, i);
			uint64_t is = at ? (at->key << 32) + at->key_off + (i - at->range.start) : 0;

			if (is != where[i])
				fail_msg("SEED=%u round %u: byte %llu", seed, round, (unsigned long long)i);
		}
	}
	map_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_cut_in_the_middle_keeps_both_ends),
	    cmocka_unit_test(a_cut_takes_only_the_runs_of_its_lease),
	    cmocka_unit_test(a_gap_ends_where_something_is_known),
	    cmocka_unit_test(it_agrees_with_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
