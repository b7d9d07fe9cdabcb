/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * growth_files, growth_extents: the cost of one operation where there is much, against the same where there is little;
 * ours on both sides. create_durable: a create that is durable when it returns (flush and fence of a cache-flush pool),
 * against one on a volatile pool. Machines without persistent memory flush ordinary memory: the instructions and the
 * lines are the same, the medium behind them is not.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "fs/fs.h"
#include "pool/pool.h"
#include "population.h"

#include <fcntl.h>

#define FILES_LITTLE   1000u
#define FILES_MUCH     1000000u
#define EXTENTS_LITTLE 100u
#define EXTENTS_MUCH   1000000u
#define FILE_OPS       20000u
#define EXTENT_OPS     200000u
#define DURABLE_FILES  10000u
#define DURABLE_POOL   ((uint64_t)256 << 20)

static struct {
	struct lh_fs *files_fs[2], *extents_fs;
	struct files files[2];
	struct extents extents[2];
	struct pool *pool[2];
	struct fs *fs[2];
} env;

/* --- files ---------------------------------------------------------------------------------------------------------
 */

static int files_ready(const struct row *r, char *why)
{
	static const uint64_t count[2] = {FILES_MUCH, FILES_LITTLE};
	int err = 0;

	for (unsigned k = 0; k < 2 && !err && !env.files_fs[k]; k++) {
		err = lh_fs_open("mem:1G", NULL, &env.files_fs[k]);
		if (!err)
			err = files_fill(&env.files[k], env.files_fs[k], count[k], false);
	}
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

static int files_cost(unsigned k, double *out)
{
	double ns[FILE_STEPS];
	int err = files_round(&env.files[k], FILE_OPS, ns);

	*out = (ns[FILE_CREATE] + ns[FILE_LOOKUP] + ns[FILE_UNLINK]) / 1e3;
	return err;
}

static int files_much(const struct row *r, double *out)
{
	return files_cost(0, out);
}

static int files_little(const struct row *r, double *out)
{
	return files_cost(1, out);
}

static void files_done(const struct row *r)
{
	for (unsigned k = 0; k < 2; k++) {
		lh_fs_close(env.files_fs[k]);
		env.files_fs[k] = NULL;
	}
}

/* --- extents -------------------------------------------------------------------------------------------------------
 */

static int extents_ready(const struct row *r, char *why)
{
	static const struct {
		const char *path;
		uint64_t count;
	} file[2] = {{"/much", EXTENTS_MUCH}, {"/little", EXTENTS_LITTLE}};
	int err;

	if (env.extents_fs)
		return 0;
	err = lh_fs_open("mem:6G", NULL, &env.extents_fs);
	for (unsigned k = 0; k < 2 && !err; k++)
		err = extents_fill(&env.extents[k], env.extents_fs, file[k].path, file[k].count);
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

static int extents_much(const struct row *r, double *out)
{
	return extents_lookup(&env.extents[0], EXTENT_OPS, out);
}

static int extents_little(const struct row *r, double *out)
{
	return extents_lookup(&env.extents[1], EXTENT_OPS, out);
}

static void extents_done(const struct row *r)
{
	extents_close(&env.extents[0]);
	extents_close(&env.extents[1]);
	lh_fs_close(env.extents_fs);
	env.extents_fs = NULL;
}

/* --- durable -------------------------------------------------------------------------------------------------------
 */

static int durable_ready(const struct row *r, char *why)
{
	const struct pool_create_args args = {.size = DURABLE_POOL};
	int err = 0;

	for (unsigned k = 0; k < 2 && !err && !env.fs[k]; k++) {
		err = pool_create(&args, &env.pool[k]);
		if (err)
			break;
		/* Before anything is stored: from here on this memory is flushed and fenced like persistent memory. */
		env.pool[k]->class = k == 0 ? POOL_CACHE_FLUSH : POOL_VOLATILE;
		err = pool_populate(env.pool[k]);
		if (!err)
			err = fs_format(env.pool[k], &(struct fs_format_options){0});
		if (!err)
			err = fs_mount(env.pool[k], &(struct fs_mount_options){0}, &env.fs[k]);
	}
	return err ? bench_skip(why, err, "cannot mount two pools in memory") : 0;
}

static int durable_round(struct fs *fs, double *out)
{
	const struct fs_caller root = {0};
	struct fs_handle *h;
	char path[64];
	uint64_t start = clock_now_ns();
	int err = 0;

	for (unsigned i = 0; i < DURABLE_FILES && !err; i++) {
		snprintf(path, sizeof(path), "/file-%05u", i);
		err = fs_open(fs, &root, path, O_RDWR | O_CREAT | O_EXCL, 0600, &h);
		if (!err)
			fs_close(h, NULL, 0);
	}
	*out = DURABLE_FILES / ((double)(clock_now_ns() - start) / 1e9) / 1e3;
	for (unsigned i = 0; i < DURABLE_FILES && !err; i++) {
		snprintf(path, sizeof(path), "/file-%05u", i);
		err = fs_unlink(fs, &root, path);
	}
	return err;
}

static int durable_ours(const struct row *r, double *out)
{
	return durable_round(env.fs[0], out);
}

static int durable_peer(const struct row *r, double *out)
{
	return durable_round(env.fs[1], out);
}

const struct row growth_rows[] = {
    {.name = "create_durable",
     .unit = "k/s",
     .peer_name = "ours on a volatile pool",
     .goal = 0.5,
     .rate = true,
     .ready = durable_ready,
     .ours = durable_ours,
     .peer = durable_peer},
    {.name = "growth_files",
     .unit = "us",
     .peer_name = "ours at 10^3 files: create + lookup + unlink",
     .goal = 0.5,
     .ready = files_ready,
     .ours = files_much,
     .peer = files_little,
     .done = files_done},
    {.name = "growth_extents",
     .unit = "ns",
     .peer_name = "ours at 10^2 extents: a read of 8 bytes",
     .goal = 0.4,
     .ready = extents_ready,
     .ours = extents_much,
     .peer = extents_little,
     .done = extents_done},
};
const unsigned growth_row_count = ARRAY_LEN(growth_rows);

void growth_finish(void)
{
	for (unsigned k = 0; k < 2; k++) {
		if (env.fs[k])
			fs_unmount(env.fs[k]);
		pool_close(env.pool[k]);
	}
}
