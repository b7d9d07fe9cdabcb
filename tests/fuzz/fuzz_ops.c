/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operation sequences against the reference filesystem of tests/oracle (L37): 16 bytes make an operation. Answers must
 * be the same one by one, and the trees at the end and after a remount.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "drive.h"
#include "fuzz.h"
#include "pool/sim.h"

#define OPS_MAX 48u

static const struct fs_mount_options quiet = {
    .no_checkpoint_thread = true, .commit_interval_ns = UINT64_MAX / 4, .lease = {.no_timer_thread = true}};

static void must(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s: %s\n", what, fail_text());
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oracle *o;
	struct drive d = {0};
	struct pool *p;
	size_t count;

	if (size < 1 + FSOP_BYTES)
		return 0;
	count = (size - 1) / FSOP_BYTES;
	o = oracle_new(false);
	must(sim_create(POOL_SIZE_MIN, data[0] % 2 ? POOL_MSYNC : POOL_CACHE_FLUSH, NULL, &p) == 0, "pool");
	must(fs_format(p, NULL) == 0 && fs_mount(p, &quiet, &d.fs) == 0, "mkfs");
	for (size_t i = 0; i < count && i < OPS_MAX; i++) {
		struct fsop op;

		fsop_decode(data + 1 + i * FSOP_BYTES, &op);
		if ((fsop_missing & FSOP_BIT(op.kind)) == 0)
			must(drive_both(&d, o, &op), "an operation answers as the reference does not");
	}
	must(drive_same(&d, o), "the tree is not the reference's");
	drive_close_all(&d);
	oracle_close_all(o);
	must(fs_unmount(d.fs) == 0 && fs_mount(p, &quiet, &d.fs) == 0, "remount");
	must(drive_same(&d, o), "the tree is not the reference's after a remount");
	fs_abandon(d.fs);
	pool_close(p);
	oracle_free(o);
	return 0;
}

/* Operations that meet each other: every kind on the first paths and slots. */
int fuzz_seeds(const char *dir)
{
	uint8_t input[1 + 12 * FSOP_BYTES];
	uint64_t random = 7;
	char path[4096];

	for (unsigned n = 0; n < 24; n++) {
		FILE *f;

		for (size_t i = 0; i < sizeof(input); i++) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			input[i] = (uint8_t)((random >> 40) % (i % FSOP_BYTES < 8 ? 64 : 4));
		}
		snprintf(path, sizeof(path), "%s/seed-%03u", dir, n);
		f = fopen(path, "wb");
		if (f == NULL || fwrite(input, sizeof(input), 1, f) != 1 || fclose(f) != 0)
			return -1;
	}
	return 0;
}
