/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L39, I7): a crash at any store, flush or fence of a repair loses nothing: repaired again, the pool holds what
 * an undisturbed repair would have left. On cache-flush and on plain-file semantics.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "look.h"
#include "pool/sim.h"
#include "seed_pool.h"

#include <cmocka.h>
#undef fail

#define OUTCOMES 4u /* none, all, and so many minus two samples of what was pending */

static struct seed seed;
static unsigned states;

static void zero(uint64_t off, uint64_t len)
{
	memset(seed.pool.base + off, 0, len);
}

/* Damages of every sort of place; each leaves something to be saved. */
static void damage(unsigned kind)
{
	seed_reset(&seed);
	switch (kind) {
	case 0: /* half of the first chunk: names */
		zero(seed_find(&seed, "chunk 0") + 512, 512);
		break;
	case 1: /* block 0 */
		zero(0, 4096);
		break;
	case 2: /* block 0 and the copy */
		zero(0, 4096);
		zero((SEED_BLOCKS - 1) * 4096, 4096);
		break;
	case 3: /* the copy alone */
		zero((SEED_BLOCKS - 1) * 4096, 4096);
		break;
	case 4: /* a durable record */
		zero(seed_find(&seed, "record 107") + 64, 16);
		break;
	case 5: /* the checkpoint header: the one before takes its place */
		zero(seed_find(&seed, "header"), 4096);
		break;
	case 6: /* root word and a name that leads nowhere */
		zero(seed_find(&seed, "words"), 8);
		zero(seed_find(&seed, "inode 11") + 4, 4);
		seed_seal(&seed, false);
		break;
	}
}
#define DAMAGES 7u

static void crash_check(struct pool *crashed, uint64_t want, unsigned kind, uint64_t event, unsigned outcome)
{
	char *text;
	int n = look_repair(crashed, &text);
	uint64_t digest;

	states++;
	if (n < 0 || look_fsck(crashed, NULL) != 0 || look_mount(crashed, false, &digest) != 0 || digest != want) {
		print_error("damage %u, crash at event %lu, outcome %u: second repair %d: %s\n%s\n", kind,
			    (unsigned long)event, outcome, n, fail_text(), text);
		assert_true(false);
	}
	free(text);
	pool_close(crashed);
}

static void crash_everywhere(enum pool_class class, unsigned kind)
{
	static uint64_t mask[SIM_MASK_WORDS];
	struct pool *p, *crashed;
	uint64_t want, event = 0;
	bool more = true;

	damage(kind);
	assert_int_equal(sim_create(SEED_BYTES, class, seed.pool.base, &p), 0);
	assert_true(look_repair(p, NULL) > 0);
	assert_int_equal(look_mount(p, false, &want), 0);
	pool_close(p);
	for (; more; event++) {
		assert_int_equal(sim_create(SEED_BYTES, class, seed.pool.base, &p), 0);
		sim_arm(p, event);
		assert_true(look_repair(p, NULL) > 0);
		more = sim_captured(p);
		sim_capture(p);
		for (unsigned k = 0; k < OUTCOMES; k++) {
			unsigned pending = sim_pending(p);

			memset(mask, k == 1 ? 0xff : 0, sizeof(mask));
			if (k >= 2 && pending > 0)
				sim_outcome(pending, sim_outcomes(pending) * (k - 1) / (OUTCOMES - 1), event, mask);
			assert_int_equal(sim_fork(p, mask, &crashed), 0);
			crash_check(crashed, want, kind, event, k);
		}
		assert_int_equal(sim_fork_torn(p, event, &crashed), 0);
		crash_check(crashed, want, kind, event, OUTCOMES);
		pool_close(p);
	}
	printf("damage %u: %lu events\n", kind, (unsigned long)event);
}

static void a_crash_of_a_repair_loses_nothing_on_dax(void **state)
{
	for (unsigned kind = 0; kind < DAMAGES; kind++)
		crash_everywhere(POOL_CACHE_FLUSH, kind);
}

static void a_crash_of_a_repair_loses_nothing_on_a_plain_file(void **state)
{
	for (unsigned kind = 0; kind < DAMAGES; kind += 2)
		crash_everywhere(POOL_MSYNC, kind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_crash_of_a_repair_loses_nothing_on_dax),
	    cmocka_unit_test(a_crash_of_a_repair_loses_nothing_on_a_plain_file),
	};
	int failed;

	setenv("LEASEHOLD_LOG", "error", 1);
	seed_new(&seed);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	seed_free(&seed);
	printf("%u states after a crash\n", states);
	return failed;
}
