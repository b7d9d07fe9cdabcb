/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: the extent map is the array of blocks that it stands for, after any changes (extmap.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/types.h"
#include "fs/extmap.h"
#include "rnd.h"

#define MODEL 4096u

struct cell {
	uint64_t start; /* 0: hole */
	uint32_t flags;
};

static void check_model(const struct extmap *m, const struct cell *model)
{
	uint64_t at = 0, used = 0;
	struct extent e;

	assert_true(extmap_sound(m));
	while (at < MODEL) {
		uint64_t to = extmap_find(m, at, &e) ? e.off : MODEL;

		if (to <= at) {
			for (; at < e.off + e.blocks; at++) {
				assert_int_equal(model[at].start, e.start + (at - e.off));
				assert_int_equal(model[at].flags, e.flags);
				used++;
			}
			continue;
		}
		for (; at < to; at++)
			assert_int_equal(model[at].start, 0);
	}
	assert_int_equal(m->blocks, used);
}

static void random_changes(struct rnd *r, unsigned rounds, uint64_t longest)
{
	static struct cell model[MODEL];
	struct extmap m;

	memset(model, 0, sizeof(model));
	extmap_init(&m);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t off = rnd_below(r, MODEL);
		uint64_t blocks = 1 + rnd_below(r, min_u64(longest, MODEL - off));

		assert_int_equal(extmap_reserve(&m, 1), 0);
		if (rnd_below(r, 3) == 0) {
			extmap_clear(&m, off, blocks);
			for (uint64_t k = 0; k < blocks; k++)
				model[off + k] = (struct cell){0, 0};
		} else {
			/* Few places, so that neighbours often continue each other. */
			struct extent e = {off, off + 10000 * (1 + rnd_below(r, 2)), blocks, (uint32_t)rnd_below(r, 2)};

			extmap_set(&m, &e);
			for (uint64_t k = 0; k < blocks; k++)
				model[off + k] = (struct cell){e.start + k, e.flags};
		}
		if (i % 16 == 0)
			check_model(&m, model);
	}
	check_model(&m, model);
	extmap_reserve(&m, 1);
	extmap_clear(&m, 0, UINT64_MAX);
	assert_int_equal(m.extents, 0);
	assert_int_equal(m.blocks, 0);
	extmap_fini(&m);
}

static void random_changes_match_a_naive_model(void **state)
{
	struct rnd r = rnd_start();

	(void)state;
	random_changes(&r, 3000, 4);
	random_changes(&r, 3000, 64);
	random_changes(&r, 1000, 1500);
	for (unsigned i = 0; i < 200; i++)
		random_changes(&r, 20, 8);
}

static void many_changes_in_one_reserve_do_not_fail(void **state)
{
	struct rnd r = rnd_start();
	struct extmap m;

	(void)state;
	extmap_init(&m);
	for (unsigned round = 0; round < 200; round++) {
		assert_int_equal(extmap_reserve(&m, 50), 0);
		for (unsigned i = 0; i < 50; i++) {
			uint64_t off = rnd_below(&r, 100000);

			if (rnd_below(&r, 4) == 0)
				extmap_clear(&m, off, 1 + rnd_below(&r, 30));
			else
				extmap_set(&m,
					   &(struct extent){off, 1 + rnd_below(&r, 1000000), 1 + rnd_below(&r, 30), 0});
		}
		assert_true(extmap_sound(&m));
	}
	assert_true(m.extents > 1000);
	extmap_fini(&m);
}

static void appending_in_order_stays_one_extent(void **state)
{
	struct extmap m;
	struct extent e;

	(void)state;
	extmap_init(&m);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(extmap_reserve(&m, 1), 0);
		extmap_set(&m, &(struct extent){i, 500 + i, 1, 0});
	}
	assert_int_equal(m.extents, 1);
	assert_true(extmap_find(&m, 999, &e));
	assert_int_equal(e.off, 0);
	assert_int_equal(e.blocks, 1000);
	assert_false(extmap_find(&m, 1000, &e));
	extmap_fini(&m);
}

static void filling_a_hole_joins_both_sides(void **state)
{
	struct extmap m;

	(void)state;
	extmap_init(&m);
	assert_int_equal(extmap_reserve(&m, 3), 0);
	extmap_set(&m, &(struct extent){0, 100, 10, 0});
	extmap_set(&m, &(struct extent){20, 120, 10, 0});
	assert_int_equal(m.extents, 2);
	extmap_set(&m, &(struct extent){10, 110, 10, 0});
	assert_int_equal(m.extents, 1);
	assert_int_equal(m.blocks, 30);
	assert_true(extmap_sound(&m));
	extmap_fini(&m);
}

static void a_million_scattered_extents_are_found(void **state)
{
	struct extmap m;
	struct extent e;
	const uint64_t n = 300000;

	(void)state;
	extmap_init(&m);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = (i * 7919) % n;

		assert_int_equal(extmap_reserve(&m, 1), 0);
		extmap_set(&m, &(struct extent){at * 2, 1 + at * 3, 1, 0});
	}
	assert_int_equal(m.extents, n);
	assert_true(extmap_sound(&m));
	for (uint64_t i = 0; i < n; i++) {
		assert_true(extmap_find(&m, i * 2, &e));
		assert_int_equal(e.start, 1 + i * 3);
	}
	extmap_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_changes_match_a_naive_model),
	    cmocka_unit_test(many_changes_in_one_reserve_do_not_fail),
	    cmocka_unit_test(appending_in_order_stays_one_extent),
	    cmocka_unit_test(filling_a_hole_joins_both_sides),
	    cmocka_unit_test(a_million_scattered_extents_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
