/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L37): seeded random operations give the same answers and the same trees as the reference filesystem, through
 * remounts and checkpoints too.
 *
 *	test_ops [SEQUENCES [FIRST SEED [OPERATIONS]]]
 *
 * A difference prints the seed and the operation, and ends the run: `test_ops 1 SEED` is the same again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "drive.h"
#include "pool/sim.h"

#define SEQUENCES  150u
#define OPERATIONS 120u
#define COMPARE    10u /* operations between comparisons of the whole trees */
#define REMOUNT    40u

static const struct fs_mount_options quiet = {
    .no_checkpoint_thread = true, .commit_interval_ns = UINT64_MAX / 4, .lease = {.no_timer_thread = true}};

static bool remount(struct drive *d, struct oracle *o, struct pool *p)
{
	int err;

	drive_close_all(d);
	oracle_close_all(o);
	err = fs_unmount(d->fs);
	if (!err)
		err = fs_mount(p, &quiet, &d->fs);
	if (err)
		fprintf(stderr, "remount: error %d %s\n", err, fail_text());
	return !err;
}

static bool sequence(uint64_t seed, unsigned operations)
{
	struct fsop_maker maker = {.random = seed, .without = fsop_missing};
	enum pool_class class = seed % 2 ? POOL_MSYNC : POOL_CACHE_FLUSH;
	struct oracle *o = oracle_new(false);
	struct drive d = {0};
	struct pool *p;
	bool ok = sim_create(POOL_SIZE_MIN, class, NULL, &p) == 0;

	ok = ok && fs_format(p, NULL) == 0 && fs_mount(p, &quiet, &d.fs) == 0;
	for (unsigned n = 1; ok && n <= operations; n++) {
		struct fsop op;

		fsop_make(&maker, &op);
		if (getenv("OPS_TRACE")) {
			char text[256];

			fsop_text(&op, text, sizeof(text));
			fprintf(stderr, "%u %s\n", n, text);
		}
		ok = drive_both(&d, o, &op);
		if (ok && n % COMPARE == 0)
			ok = drive_same(&d, o);
		if (ok && n % REMOUNT == 0) {
			maker.open = 0;
			ok = remount(&d, o, p) && drive_same(&d, o);
		}
		if (!ok)
			fprintf(stderr, "seed %" PRIu64 ", operation %u; again with: test_ops 1 %" PRIu64 "\n", seed, n,
				seed);
	}
	drive_close_all(&d);
	fs_abandon(d.fs);
	pool_close(p);
	oracle_free(o);
	return ok;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : SEQUENCES;
	uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	unsigned operations = argc > 3 ? (unsigned)atoi(argv[3]) : OPERATIONS;

	for (uint64_t seed = first; seed < first + count; seed++)
		if (!sequence(seed, operations))
			return 1;
	printf("%u sequences of %u operations gave the reference's answers\n", count, operations);
	return 0;
}
