/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: format 2.4: after a crash the pool has the old size or the new one, and all files; what an evacuation or a
 * defragmentation moves is whole wherever it lies.
 */
#include "crash_fs.h"

#define B   4096u
#define MIB ((uint64_t)1 << 20)

/* /f, /g and /clone of it lie behind 16 MiB, as far as the pool has so much; a hole is in front. */
static int prepare(struct fs *fs)
{
	int err = x_create(fs, "/ballast");

	if (!err)
		err = x_allocate(fs, "/ballast", FALLOC_FL_KEEP_SIZE, 0, 15 * MIB);
	if (!err)
		err = x_create(fs, "/filler");
	if (!err)
		err = x_allocate(fs, "/filler", FALLOC_FL_KEEP_SIZE, 0, 3 * MIB / 2);
	if (!err)
		err = x_create(fs, "/f");
	for (unsigned k = 0; !err && k < 6; k++)
		err = x_write(fs, k % 2 ? "/g" : "/f", (int)('a' + k), 2 * B + 10, k / 2 * 2 * B);
	if (!err)
		err = x_create(fs, "/clone");
	if (!err)
		err = x_clone(fs, "/f", "/clone", 0, 0, 0);
	if (!err)
		err = x_write(fs, "/clone", 'C', 20, B + 5);
	if (!err)
		err = x_truncate(fs, "/ballast", 0);
	return err ? err : x_sync(fs);
}

static int prepare_files(struct fs *fs)
{
	int err = x_create(fs, "/g");

	return err ? err : prepare(fs);
}

static int resize(struct fs *fs, uint64_t mib)
{
	return fs_resize(fs, &x_root, mib * MIB, NULL, NULL);
}

static int grow(struct fs *fs)
{
	return resize(fs, 20);
}
static int shrink(struct fs *fs)
{
	return resize(fs, 16);
}
static int write_more(struct fs *fs)
{
	return x_write(fs, "/f", 'm', 3 * B, 20 * B);
}
static int fill_new(struct fs *fs)
{
	return x_allocate(fs, "/new", FALLOC_FL_KEEP_SIZE, 0, 2 * MIB);
}
static int create_new(struct fs *fs)
{
	return x_create(fs, "/new");
}

static void grows(void **state)
{
	const struct fscrash c = {.name = "grow",
				  .prepare = prepare_files,
				  .op = {grow, write_more, create_new, fill_new},
				  .checkpoint_at = -1,
				  .durable = 1,
				  .pool_size = 18 * MIB,
				  .pool_room = 24 * MIB};

	(void)state;
	fscrash_run(&c);
}

static void shrinks(void **state)
{
	const struct fscrash c = {.name = "shrink",
				  .prepare = prepare_files,
				  .op = {shrink, write_more},
				  .checkpoint_at = -1,
				  .durable = 1,
				  .pool_size = 18 * MIB,
				  .pool_room = 24 * MIB};

	(void)state;
	fscrash_run(&c);
}

static void shrinks_and_grows(void **state)
{
	const struct fscrash c = {.name = "shrink-grow",
				  .prepare = prepare_files,
				  .op = {shrink, grow, write_more},
				  .checkpoint_at = 1,
				  .durable = 3,
				  .pool_size = 18 * MIB,
				  .pool_room = 24 * MIB};

	(void)state;
	fscrash_run(&c);
}

static struct fs_run first_run;

static bool take_run(void *ctx, const struct fs_run *run, unsigned flags)
{
	(void)ctx, (void)flags;
	first_run = *run;
	return false;
}

static int evacuate(struct fs *fs)
{
	struct fs_handle *h;
	int err = fs_open(fs, &x_root, "/clone", O_RDONLY, 0, &h);

	if (!err)
		err = fs_extents(h, 2 * B, B, take_run, NULL);
	if (err)
		return err;
	fs_close(h, NULL, 0);
	return fs_evacuate(fs, &x_root, first_run.pool_off, 2 * B, NULL, NULL);
}

static int evacuate_log(struct fs *fs)
{
	return fs_evacuate(fs, &x_root, B, 40 * B, NULL, NULL);
}

static void evacuates(void **state)
{
	const struct fscrash c = {.name = "evacuate",
				  .prepare = prepare_files,
				  .op = {evacuate, x_sync, write_more, evacuate_log},
				  .checkpoint_at = -1,
				  .pool_size = 18 * MIB};

	(void)state;
	fscrash_run(&c);
}

static int defragment(struct fs *fs)
{
	struct fs_handle *h;
	uint64_t before, after;
	int err = fs_open(fs, &x_root, "/f", O_RDWR, 0, &h);

	if (!err)
		err = fs_defragment(h, &x_root, &before, &after);
	if (!err && (before < 2 || after != 1))
		err = -EINVAL;
	fs_close(h, NULL, 0);
	return err;
}

static void defragments(void **state)
{
	const struct fscrash c = {.name = "defragment",
				  .prepare = prepare_files,
				  .op = {defragment, x_sync, write_more},
				  .checkpoint_at = -1,
				  .pool_size = 18 * MIB};

	(void)state;
	fscrash_run(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(grows),     cmocka_unit_test(shrinks),     cmocka_unit_test(shrinks_and_grows),
	    cmocka_unit_test(evacuates), cmocka_unit_test(defragments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
