/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L37: fallocate's modes, exchange, dedupe, copy and seek have the rules, errors and limits of Linux. Each case ends
 * with a silent fs_verify (the rig's teardown).
 */
#include "fsrig.h"

#include <unistd.h>

#include "fs/core.h"

/* cmocka's macro and ours. */
#undef fail

#define MAX_     ((uint64_t)FS_SIZE_MAX)
#define PUNCH    (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO     FALLOC_FL_ZERO_RANGE
#define KEEP     FALLOC_FL_KEEP_SIZE
#define COLLAPSE FALLOC_FL_COLLAPSE_RANGE
#define INSERT   FALLOC_FL_INSERT_RANGE
#define UNSHARE  FALLOC_FL_UNSHARE_RANGE

/* Blocks 'a', 'b', 'c', ... */
static struct fs_handle *letters(struct rig *r, const char *path, unsigned n)
{
	struct fs_handle *h = rig_open(r, path, O_RDWR | O_CREAT | O_TRUNC);

	for (unsigned k = 0; k < n; k++)
		rig_fill(r, h, 'a' + (int)k, BLK, k * BLK);
	return h;
}

/* One letter a block; '.' is zeroes. */
static void expect(struct rig *r, struct fs_handle *h, const char *blocks)
{
	assert_int_equal(rig_size(h), strlen(blocks) * BLK);
	for (unsigned k = 0; blocks[k]; k++)
		rig_expect(r, h, blocks[k] == '.' ? 0 : blocks[k], BLK, k * BLK);
}

static int alloc_as(struct rig *r, struct fs_handle *h, int mode, uint64_t off, uint64_t len)
{
	return fs_allocate(h, &r->root, mode, off, len);
}

static void modes_exclude_each_other_as_in_linux(void **state)
{
	static const int refused[] = {FALLOC_FL_PUNCH_HOLE, COLLAPSE | KEEP, INSERT | KEEP,   COLLAPSE | INSERT,
				      PUNCH | ZERO,         UNSHARE | ZERO,  UNSHARE | PUNCH, 1 << 20};
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 4);
	struct fs_handle *ro = rig_open(r, "/f", O_RDONLY);
	struct fs_handle *dir = rig_open(r, "/", O_RDONLY);

	for (unsigned k = 0; k < ARRAY_LEN(refused); k++)
		assert_int_equal(alloc_as(r, h, refused[k], 0, BLK), -EOPNOTSUPP);
	assert_int_equal(alloc_as(r, h, 0, 0, 0), -EINVAL);
	assert_int_equal(alloc_as(r, ro, ZERO, 0, BLK), -EBADF);
	assert_int_equal(alloc_as(r, dir, ZERO, 0, BLK), -EBADF);
	expect(r, h, "abcd");
	fs_close(dir, NULL, 0);
	fs_close(ro, NULL, 0);
	fs_close(h, NULL, 0);
}

static void collapse_takes_blocks_out(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 6);
	uint64_t before = rig_free_blocks(r);

	assert_int_equal(alloc_as(r, h, COLLAPSE, BLK, 2 * BLK), 0);
	expect(r, h, "adef");
	assert_int_equal(rig_free_blocks(r), before + 2);
	/* EINVAL: not aligned; reaches or passes the end. */
	assert_int_equal(alloc_as(r, h, COLLAPSE, BLK + 1, BLK), -EINVAL);
	assert_int_equal(alloc_as(r, h, COLLAPSE, BLK, BLK - 1), -EINVAL);
	assert_int_equal(alloc_as(r, h, COLLAPSE, 3 * BLK, BLK), -EINVAL);
	assert_int_equal(alloc_as(r, h, COLLAPSE, 9 * BLK, BLK), -EINVAL);
	/* The last block is not whole: it may be passed up to its start only. */
	assert_int_equal(fs_truncate(h, &r->root, 3 * BLK + 100), 0);
	assert_int_equal(alloc_as(r, h, COLLAPSE, 2 * BLK, BLK), 0);
	assert_int_equal(rig_size(h), 2 * BLK + 100);
	rig_expect(r, h, 'f', 100, 2 * BLK);
	assert_int_equal(alloc_as(r, h, COLLAPSE, 2 * BLK, BLK), -EINVAL);
	/* What lies behind the end of file comes along and stays zeroes. */
	assert_int_equal(fs_truncate(h, &r->root, 4 * BLK), 0);
	rig_expect(r, h, 0, 2 * BLK - 100, 2 * BLK + 100);
	fs_close(h, NULL, 0);
	rig_remount(r, true);
}

static void insert_makes_a_hole(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 4);
	uint64_t before = rig_free_blocks(r);

	assert_int_equal(alloc_as(r, h, INSERT, 2 * BLK, 2 * BLK), 0);
	expect(r, h, "ab..cd");
	assert_int_equal(rig_free_blocks(r), before);
	assert_int_equal(fs_seek(h, 0, SEEK_HOLE), 2 * BLK);
	assert_int_equal(alloc_as(r, h, INSERT, 0, BLK), 0);
	expect(r, h, ".ab..cd");
	/* The inside of an extent. */
	assert_int_equal(alloc_as(r, h, COLLAPSE, 0, BLK), 0);
	assert_int_equal(alloc_as(r, h, INSERT, BLK, BLK), 0);
	expect(r, h, "a.b..cd");
	assert_int_equal(alloc_as(r, h, INSERT, BLK + 7, BLK), -EINVAL);
	assert_int_equal(alloc_as(r, h, INSERT, BLK, 7), -EINVAL);
	assert_int_equal(alloc_as(r, h, INSERT, 7 * BLK, BLK), -EINVAL);
	fs_close(h, NULL, 0);
}

static void zero_range_zeroes_and_allocates(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 6);
	struct fs_attr a;

	assert_int_equal(alloc_as(r, h, PUNCH, 2 * BLK, BLK), 0);
	assert_int_equal(alloc_as(r, h, ZERO, BLK + 100, 3 * BLK), 0);
	rig_expect(r, h, 'b', 100, BLK);
	rig_expect(r, h, 0, 3 * BLK, BLK + 100);
	rig_expect(r, h, 'e', BLK - 100, 4 * BLK + 100);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.blocks, 6);
	/* Whole blocks became unwritten, nothing was stored: they are a hole to SEEK_HOLE. */
	assert_int_equal(fs_seek(h, 0, SEEK_HOLE), 2 * BLK);
	assert_int_equal(fs_seek(h, 2 * BLK, SEEK_DATA), 4 * BLK);
	/* Past the end, with and without KEEP_SIZE. */
	assert_int_equal(alloc_as(r, h, ZERO | KEEP, 5 * BLK, 4 * BLK), 0);
	assert_int_equal(rig_size(h), 6 * BLK);
	assert_int_equal(alloc_as(r, h, ZERO, 7 * BLK, 2 * BLK + 11), 0);
	assert_int_equal(rig_size(h), 9 * BLK + 11);
	rig_expect(r, h, 0, 4 * BLK + 11, 5 * BLK);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.blocks, 10);
	fs_close(h, NULL, 0);
}

static void zero_range_of_shared_blocks_leaves_the_other_file(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 6);
	struct fs_handle *g = rig_open(r, "/g", O_RDWR | O_CREAT);
	uint64_t before;

	assert_int_equal(fs_clone_range(g, 0, h, 0, 0, &r->root), 0);
	before = rig_free_blocks(r);
	assert_int_equal(alloc_as(r, h, ZERO, BLK, 4 * BLK), 0);
	expect(r, h, "a....f");
	expect(r, g, "abcdef");
	assert_int_equal(rig_free_blocks(r), before - 4);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
}

static void unshare_gives_a_file_its_own_blocks(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 6);
	struct fs_handle *g = rig_open(r, "/g", O_RDWR | O_CREAT);
	uint64_t before;

	assert_int_equal(fs_clone_range(g, 0, h, 0, 0, &r->root), 0);
	before = rig_free_blocks(r);
	assert_int_equal(alloc_as(r, g, UNSHARE | KEEP, BLK, 2 * BLK), 0);
	assert_int_equal(rig_free_blocks(r), before - 2);
	assert_int_equal(alloc_as(r, g, UNSHARE | KEEP, 0, 9 * BLK), 0);
	/* And no later write lacks space: holes are filled, too. */
	assert_int_equal(rig_free_blocks(r), before - 9);
	expect(r, g, "abcdef");
	expect(r, h, "abcdef");
	assert_int_equal(alloc_as(r, g, UNSHARE, 6 * BLK, BLK), 0);
	expect(r, g, "abcdef.");
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
}

static void exchange_swaps_two_files_or_parts_of_one(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 6);
	struct fs_handle *g = rig_open(r, "/g", O_RDWR | O_CREAT);
	struct fs_handle *ro = rig_open(r, "/f", O_RDONLY);
	struct fs_handle *ap = rig_open(r, "/f", O_RDWR | O_APPEND);

	rig_fill(r, g, 'X', BLK, BLK);
	rig_fill(r, g, 'Y', 100, 4 * BLK);
	assert_int_equal(fs_exchange_range(h, 2 * BLK, g, 0, 2 * BLK, &r->root), 0);
	expect(r, h, "ab.Xef");
	rig_expect(r, g, 'c', BLK, 0);
	rig_expect(r, g, 'd', BLK, BLK);
	assert_int_equal(rig_size(g), 4 * BLK + 100);
	assert_int_equal(fs_exchange_range(h, 4 * BLK, h, 0, 2 * BLK, &r->root), 0);
	expect(r, h, "ef.Xab");
	assert_int_equal(fs_exchange_range(h, 0, h, BLK, BLK, &r->root), 0);
	expect(r, h, "fe.Xab");
	/* To both ends of file. */
	assert_int_equal(fs_truncate(h, &r->root, 5 * BLK + 100), 0);
	assert_int_equal(fs_exchange_range(h, 4 * BLK, g, 3 * BLK, BLK + 100, &r->root), 0);
	rig_expect(r, h, 'Y', 100, 5 * BLK);
	rig_expect(r, g, 'a', BLK, 3 * BLK);
	rig_expect(r, g, 'b', 100, 4 * BLK);
	assert_int_equal(fs_truncate(g, &r->root, 5 * BLK), 0);
	rig_expect(r, g, 0, BLK - 100, 4 * BLK + 100);
	/* Refused: not aligned, behind an end, only one at its end, overlapping, the wrong handle. */
	assert_int_equal(fs_exchange_range(h, 1, g, 0, BLK, &r->root), -EINVAL);
	assert_int_equal(fs_exchange_range(h, 0, g, 0, 100, &r->root), -EINVAL);
	assert_int_equal(fs_exchange_range(h, 5 * BLK, g, 0, 100, &r->root), -EINVAL);
	assert_int_equal(fs_exchange_range(h, 0, g, 4 * BLK, 2 * BLK, &r->root), -EINVAL);
	assert_int_equal(fs_exchange_range(h, 0, h, BLK, 2 * BLK, &r->root), -EINVAL);
	assert_int_equal(fs_exchange_range(h, 0, g, 0, UINT64_MAX - BLK + 1, &r->root), -EINVAL);
	assert_int_equal(fs_exchange_range(ro, 0, g, 0, BLK, &r->root), -EBADF);
	assert_int_equal(fs_exchange_range(g, 0, ap, 0, BLK, &r->root), -EBADF);
	assert_int_equal(fs_exchange_range(h, 0, g, 0, 0, &r->root), 0);
	fs_close(ap, NULL, 0);
	fs_close(ro, NULL, 0);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
}

static void dedupe_shares_what_is_the_same(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 6);
	struct fs_handle *g = letters(r, "/g", 6);
	struct fs_handle *ro = rig_open(r, "/g", O_RDONLY);
	struct fs_attr before, after;
	uint64_t blocks = rig_free_blocks(r);

	assert_int_equal(fs_fstat(g, &before), 0);
	assert_int_equal(fs_dedupe_range(g, BLK, h, BLK, 4 * BLK, &r->root), 0);
	assert_int_equal(rig_free_blocks(r), blocks + 4);
	assert_int_equal(fs_fstat(g, &after), 0);
	assert_int_equal(after.mtime_ns, before.mtime_ns);
	expect(r, g, "abcdef");
	rig_fill(r, g, 'Z', 1, 2 * BLK + 5);
	/* Bytes differ: nothing changes. */
	blocks = rig_free_blocks(r);
	assert_int_equal(fs_dedupe_range(g, 0, h, 0, 6 * BLK, &r->root), 1);
	assert_int_equal(rig_free_blocks(r), blocks);
	expect(r, h, "abcdef");
	/* A hole is the same as zeroes. */
	rig_fill(r, h, 0, BLK, 5 * BLK);
	assert_int_equal(alloc_as(r, g, PUNCH, 5 * BLK, BLK), 0);
	assert_int_equal(fs_dedupe_range(h, 5 * BLK, g, 5 * BLK, BLK, &r->root), 0);
	assert_int_equal(fs_seek(h, 5 * BLK, SEEK_DATA), -ENXIO);
	/* Both ends of file, not whole blocks; behind them zeroes stay. */
	assert_int_equal(fs_truncate(h, &r->root, 4 * BLK + 50), 0);
	assert_int_equal(fs_truncate(g, &r->root, 4 * BLK + 50), 0);
	assert_int_equal(fs_dedupe_range(g, 3 * BLK, h, 3 * BLK, BLK + 50, &r->root), 0);
	assert_int_equal(fs_truncate(g, &r->root, 6 * BLK), 0);
	rig_expect(r, g, 0, 2 * BLK - 50, 4 * BLK + 50);
	/* Refused. */
	assert_int_equal(fs_dedupe_range(g, 0, h, 0, 50, &r->root), -EINVAL);
	assert_int_equal(fs_dedupe_range(g, 0, h, 4 * BLK, BLK, &r->root), -EINVAL);
	assert_int_equal(fs_dedupe_range(g, 6 * BLK, h, 0, BLK, &r->root), -EINVAL);
	assert_int_equal(fs_dedupe_range(g, 1, h, 0, BLK, &r->root), -EINVAL);
	assert_int_equal(fs_dedupe_range(g, BLK, g, 0, 2 * BLK, &r->root), -EINVAL);
	assert_int_equal(fs_dedupe_range(ro, 0, h, 0, BLK, &r->user), -EPERM);
	assert_int_equal(fs_dedupe_range(ro, 0, h, 0, BLK, &r->root), 0);
	fs_close(ro, NULL, 0);
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/", "/snap", true), 0);
	ro = rig_open(r, "/snap/g", O_RDONLY);
	assert_int_equal(fs_dedupe_range(ro, 0, h, 0, BLK, &r->root), -EROFS);
	fs_close(ro, NULL, 0);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
}

static void copy_shares_what_it_can(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 8);
	struct fs_handle *g = rig_open(r, "/g", O_RDWR | O_CREAT);
	uint64_t blocks = rig_free_blocks(r);

	assert_int_equal(fs_truncate(h, &r->root, 7 * BLK + 10), 0);
	/* All of it, the end that is not whole, too: no block is taken. */
	assert_int_equal(fs_copy_range(g, 0, h, 0, 100 * BLK, &r->root), 7 * BLK + 10);
	assert_int_equal(rig_size(g), 7 * BLK + 10);
	rig_expect(r, g, 'h', 10, 7 * BLK);
	assert_int_equal(rig_free_blocks(r), blocks);
	assert_int_equal(fs_copy_range(g, 0, h, 7 * BLK + 10, BLK, &r->root), 0);
	assert_int_equal(fs_copy_range(g, 0, h, 0, 0, &r->root), 0);
	/* Alike in their blocks: the edges are copied. */
	assert_int_equal(fs_truncate(g, &r->root, 0), 0);
	blocks = rig_free_blocks(r);
	assert_int_equal(fs_copy_range(g, 100, h, BLK + 100, 4 * BLK, &r->root), 4 * BLK);
	rig_expect(r, g, 0, 100, 0);
	rig_expect(r, g, 'b', BLK - 100, 100);
	rig_expect(r, g, 'c', BLK, BLK);
	rig_expect(r, g, 'f', 100, 4 * BLK);
	assert_int_equal(rig_free_blocks(r), blocks - 2);
	/* Not alike; and within one file. */
	assert_int_equal(fs_copy_range(g, 7, h, 3 * BLK + 1, 2 * BLK, &r->root), 2 * BLK);
	rig_expect(r, g, 'd', BLK - 1, 7);
	rig_expect(r, g, 'e', BLK, BLK + 6);
	assert_int_equal(fs_copy_range(h, 5 * BLK, h, 0, 2 * BLK, &r->root), 2 * BLK);
	rig_expect(r, h, 'b', BLK, 6 * BLK);
	assert_int_equal(fs_copy_range(h, BLK, h, 0, BLK + 1, &r->root), -EINVAL);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
}

/* All but dedupe, which changes no content. */
static void every_change_of_a_range_sets_the_times(void **state)
{
	static const int modes[] = {0, KEEP, PUNCH, ZERO, ZERO | KEEP, COLLAPSE, INSERT, UNSHARE, UNSHARE | KEEP};
	const struct fs_setattr old = {.mask = FS_SET_ATIME | FS_SET_MTIME, .atime_ns = 1, .mtime_ns = 1};
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 6);
	struct fs_handle *g = letters(r, "/g", 6);
	struct fs_attr a;

	for (unsigned k = 0; k < ARRAY_LEN(modes); k++) {
		assert_int_equal(fs_fsetattr(h, &r->root, &old), 0);
		assert_int_equal(alloc_as(r, h, modes[k], BLK, BLK), 0);
		assert_int_equal(fs_fstat(h, &a), 0);
		assert_true(a.mtime_ns > 1 && a.ctime_ns >= a.mtime_ns);
	}
	assert_int_equal(fs_fsetattr(h, &r->root, &old), 0);
	assert_int_equal(fs_fsetattr(g, &r->root, &old), 0);
	assert_int_equal(fs_exchange_range(h, 0, g, 0, BLK, &r->root), 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_true(a.mtime_ns > 1);
	assert_int_equal(fs_fstat(g, &a), 0);
	assert_true(a.mtime_ns > 1);
	/* And set-user-id goes, when it is not root who changes. */
	fs_close(h, NULL, 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &(struct fs_setattr){FS_SET_MODE, .mode = 04777}), 0);
	assert_int_equal(fs_open(r->fs, &r->user, "/f", O_RDWR, 0, &h), 0);
	assert_int_equal(fs_allocate(h, &r->user, COLLAPSE, 0, BLK), 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.mode & 07777, 0777);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
}

static void seek_finds_data_and_holes(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = rig_open(r, "/f", O_RDWR | O_CREAT);

	assert_int_equal(fs_seek(h, 0, SEEK_DATA), -ENXIO);
	assert_int_equal(fs_seek(h, 0, SEEK_HOLE), -ENXIO);
	rig_fill(r, h, 'x', 10, 2 * BLK);
	assert_int_equal(alloc_as(r, h, 0, 3 * BLK, 3 * BLK), 0);
	assert_int_equal(fs_seek(h, 0, SEEK_DATA), 2 * BLK);
	assert_int_equal(fs_seek(h, 0, SEEK_HOLE), 0);
	assert_int_equal(fs_seek(h, 2 * BLK + 5, SEEK_DATA), 2 * BLK + 5);
	assert_int_equal(fs_seek(h, 2 * BLK + 5, SEEK_HOLE), 3 * BLK);
	/* Unwritten is a hole. */
	assert_int_equal(fs_seek(h, 3 * BLK, SEEK_DATA), -ENXIO);
	assert_int_equal(fs_seek(h, 4 * BLK + 1, SEEK_HOLE), 4 * BLK + 1);
	rig_fill(r, h, 'y', 10, 6 * BLK);
	assert_int_equal(fs_seek(h, 3 * BLK, SEEK_DATA), 6 * BLK);
	/* The end of file is a hole, where it lies. */
	assert_int_equal(fs_seek(h, 6 * BLK, SEEK_HOLE), 6 * BLK + 10);
	assert_int_equal(fs_seek(h, 6 * BLK + 10, SEEK_HOLE), -ENXIO);
	assert_int_equal(fs_seek(h, UINT64_MAX, SEEK_DATA), -ENXIO);
	assert_int_equal(fs_seek(h, 0, SEEK_SET), -EINVAL);
	fs_close(h, NULL, 0);
}

static bool has_unwritten(void *ctx, const struct fs_run *run, unsigned flags)
{
	(void)run;
	*(bool *)ctx |= flags & FS_RUN_UNWRITTEN;
	return true;
}

/* A copy that leaves out what is called unwritten, or a hole, must not lose what a device has written. */
static void what_a_lease_has_shown_counts_as_data(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = rig_open(r, "/f", O_RDWR | O_CREAT);
	bool unwritten = false;
	struct holder o;

	assert_int_equal(alloc_as(r, h, 0, 0, 4 * BLK), 0);
	assert_int_equal(fs_extents(h, 0, UINT64_MAX, has_unwritten, &unwritten), 0);
	assert_true(unwritten);
	holder_open(&o, r, "/f", true);
	holder_get(&o, LEASE_READ, 0, 4 * BLK);
	unwritten = false;
	assert_int_equal(fs_extents(h, 0, UINT64_MAX, has_unwritten, &unwritten), 0);
	assert_false(unwritten);
	assert_int_equal(fs_seek(h, 0, SEEK_DATA), 0);
	holder_close(&o);
	fs_close(h, NULL, 0);
}

/* A pool that is full of a file in pieces: a collapse may lack space for its record, a truncate never does. */
static void a_full_pool_with_many_extents_can_be_emptied(void **state)
{
	struct fs_handle *h, *rest;
	struct fs_statfs st;
	struct rig r;
	int err;

	(void)state;
	assert_int_equal(rig_new(&r, POOL_SIZE_MIN), 0);
	h = rig_open(&r, "/f", O_RDWR | O_CREAT);
	assert_int_equal(alloc_as(&r, h, 0, 0, 2000 * BLK), 0);
	for (uint64_t k = 0; k < 1000; k++)
		assert_int_equal(alloc_as(&r, h, PUNCH, 2 * k * BLK, BLK), 0);
	rest = rig_open(&r, "/rest", O_RDWR | O_CREAT);
	fs_statfs(r.fs, &st);
	assert_int_equal(alloc_as(&r, rest, 0, 0, (st.avail_blocks - 16) * BLK), 0);
	for (unsigned k = 0; k < 300; k++) {
		err = alloc_as(&r, h, COLLAPSE, 0, 2 * BLK);
		assert_true(err == 0 || err == -ENOSPC);
		err = alloc_as(&r, h, INSERT, 0, 2 * BLK);
		assert_true(err == 0 || err == -ENOSPC);
		err = fs_exchange_range(h, 0, rest, 0, 500 * BLK, &r.root);
		assert_true(err == 0 || err == -ENOSPC);
	}
	rig_check(&r);
	assert_int_equal(fs_truncate(h, &r.root, 0), 0);
	assert_int_equal(fs_truncate(rest, &r.root, 0), 0);
	fs_close(h, NULL, 0);
	fs_close(rest, NULL, 0);
	rig_free(&r);
}

#define PIECES 200u

/* FS_EXTENTS_MAX, at the edge: what may add pieces is refused whole, the rest goes on. */
static void a_file_has_only_so_many_extents(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h, *g;

	r->mount.extents_max = PIECES;
	rig_remount(r, false);
	h = rig_open(r, "/f", O_RDWR | O_CREAT);
	g = letters(r, "/g", 8);
	for (unsigned k = 0; k < PIECES; k++)
		rig_fill(r, h, 'e', BLK, 2 * k * BLK);
	assert_int_equal(fs_write(h, &r->root, "x", 1, (2 * PIECES + 1) * BLK), -EFBIG);
	assert_int_equal(alloc_as(r, h, 0, 0, 3 * BLK), -EFBIG);
	assert_int_equal(alloc_as(r, h, ZERO, 0, 3 * BLK), -EFBIG);
	assert_int_equal(fs_clone_range(h, BLK, g, 0, BLK, &r->root), -EFBIG);
	assert_int_equal(fs_exchange_range(h, BLK, g, 0, BLK, &r->root), -EFBIG);
	rig_expect(r, h, 'e', BLK, 0);
	rig_expect(r, h, 0, BLK, BLK);
	/* In place, and what only takes away. */
	rig_fill(r, h, 'i', 10, 2 * BLK);
	assert_int_equal(alloc_as(r, h, COLLAPSE, 0, 2 * BLK), 0);
	rig_expect(r, h, 'i', 10, 0);
	assert_int_equal(alloc_as(r, h, PUNCH, 0, 4 * BLK), 0);
	assert_int_equal(fs_write(h, &r->root, "x", 1, (2 * PIECES + 1) * BLK), 1);
	/* A punch that cuts a piece in two adds one. */
	assert_int_equal(fs_truncate(h, &r->root, 0), 0);
	assert_int_equal(alloc_as(r, h, 0, 0, (2 * PIECES + 2) * BLK), 0);
	for (unsigned k = 1; k < PIECES; k++)
		assert_int_equal(alloc_as(r, h, PUNCH, (2 * k - 1) * BLK, BLK), 0);
	assert_int_equal(alloc_as(r, h, PUNCH, 2 * PIECES * BLK, BLK), -EFBIG);
	assert_int_equal(alloc_as(r, h, INSERT, 2 * PIECES * BLK, BLK), -EFBIG);
	assert_int_equal(alloc_as(r, h, COLLAPSE, 2 * PIECES * BLK, BLK), -EFBIG);
	assert_int_equal(alloc_as(r, h, PUNCH, 0, BLK), 0);
	assert_int_equal(alloc_as(r, h, PUNCH, 2 * PIECES * BLK, BLK), 0);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
	rig_remount(r, true);
}

static void the_longest_file_is_the_same_for_every_call(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = rig_open(r, "/f", O_RDWR | O_CREAT);
	struct fs_handle *g = letters(r, "/g", 3);
	struct fs_handle *ap = rig_open(r, "/f", O_WRONLY | O_APPEND);
	uint64_t last = round_down_u64(MAX_, BLK);
	char two[2] = "zz";

	assert_int_equal(fs_truncate(h, &r->root, MAX_ + 1), -EFBIG);
	assert_int_equal(fs_truncate(h, &r->root, MAX_), 0);
	/* A write is cut at the limit, one behind it is refused. */
	assert_int_equal(fs_write(h, &r->root, two, 2, MAX_ - 1), 1);
	assert_int_equal(fs_write(h, &r->root, two, 2, MAX_), -EFBIG);
	assert_int_equal(fs_write(ap, &r->root, two, 2, 0), -EFBIG);
	rig_expect(r, h, 'z', 1, MAX_ - 1);
	assert_int_equal(fs_seek(h, 0, SEEK_DATA), (int64_t)last);
	assert_int_equal(fs_seek(h, MAX_ - 1, SEEK_HOLE), (int64_t)MAX_);
	assert_int_equal(fs_truncate(h, &r->root, MAX_ - 1), 0);
	assert_int_equal(fs_write(ap, &r->root, two, 2, 0), 1);
	/* fallocate: all modes up to the limit, none beyond it. */
	assert_int_equal(alloc_as(r, h, 0, MAX_ - 1, 2), -EFBIG);
	assert_int_equal(alloc_as(r, h, 0, UINT64_MAX, 2), -EFBIG);
	assert_int_equal(alloc_as(r, h, ZERO, MAX_ - BLK, BLK + 1), -EFBIG);
	assert_int_equal(alloc_as(r, h, 0, MAX_ - BLK, BLK), 0);
	assert_int_equal(alloc_as(r, h, ZERO, MAX_ - BLK, BLK), 0);
	rig_expect(r, h, 0, BLK, MAX_ - BLK);
	assert_int_equal(alloc_as(r, h, UNSHARE, MAX_ - BLK, BLK), 0);
	assert_int_equal(alloc_as(r, h, INSERT, 0, BLK), -EFBIG);
	rig_fill(r, h, 'e', BLK - 1, last);
	assert_int_equal(alloc_as(r, h, COLLAPSE, 0, BLK), 0);
	assert_int_equal(rig_size(h), MAX_ - BLK);
	rig_expect(r, h, 'e', BLK - 1, last - BLK);
	assert_int_equal(alloc_as(r, h, INSERT, BLK, 2 * BLK), -EFBIG);
	assert_int_equal(alloc_as(r, h, INSERT, BLK, BLK), 0);
	assert_int_equal(rig_size(h), MAX_);
	rig_expect(r, h, 'e', BLK - 1, last);
	assert_int_equal(alloc_as(r, h, PUNCH, 0, MAX_), 0);
	/* Blocks that were reserved behind the end may be what does not fit. */
	assert_int_equal(fs_truncate(h, &r->root, BLK), 0);
	assert_int_equal(alloc_as(r, h, KEEP, last, BLK - 1), 0);
	assert_int_equal(alloc_as(r, h, INSERT, 0, BLK), -EFBIG);
	/* Clone, copy, exchange. */
	assert_int_equal(fs_clone_range(h, last, g, 0, BLK, &r->root), -EFBIG);
	assert_int_equal(fs_clone_range(h, last - BLK, g, 0, BLK, &r->root), 0);
	assert_int_equal(fs_copy_range(h, MAX_, g, 0, BLK, &r->root), -EFBIG);
	assert_int_equal(fs_copy_range(h, last, g, 0, 2 * BLK, &r->root), BLK - 1);
	assert_int_equal(rig_size(h), MAX_);
	rig_expect(r, h, 'a', BLK - 1, last);
	assert_int_equal(fs_exchange_range(h, last - BLK, g, BLK, BLK, &r->root), 0);
	rig_expect(r, h, 'b', BLK, last - BLK);
	assert_int_equal(fs_truncate(g, &r->root, BLK - 1), 0);
	assert_int_equal(fs_exchange_range(h, last, g, 0, BLK - 1, &r->root), 0);
	fs_close(ap, NULL, 0);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
	rig_remount(r, true);
}

static void fsync_of_a_file_covers_what_came_to_it_from_another(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = letters(r, "/f", 4);
	struct fs_handle *g = letters(r, "/g", 4);

	assert_int_equal(fs_sync_all(r->fs), 0);
	/* In place, not flushed; then it changes its file. */
	rig_fill(r, h, 'N', 10, BLK + 5);
	assert_int_equal(fs_exchange_range(g, 2 * BLK, h, BLK, BLK, &r->root), 0);
	assert_true(g->inode->dirty_off <= 2 * BLK + 5 && g->inode->dirty_end >= 2 * BLK + 15);
	assert_int_equal(fs_sync(g, false), 0);
	assert_int_equal(g->inode->dirty_end, 0);
	rig_fill(r, h, 'M', 10, 5);
	assert_int_equal(fs_clone_range(g, 0, h, 0, BLK, &r->root), 0);
	assert_true(g->inode->dirty_off <= 5 && g->inode->dirty_end >= 15);
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(modes_exclude_each_other_as_in_linux),
	    T(collapse_takes_blocks_out),
	    T(insert_makes_a_hole),
	    T(zero_range_zeroes_and_allocates),
	    T(zero_range_of_shared_blocks_leaves_the_other_file),
	    T(unshare_gives_a_file_its_own_blocks),
	    T(exchange_swaps_two_files_or_parts_of_one),
	    T(dedupe_shares_what_is_the_same),
	    T(copy_shares_what_it_can),
	    T(every_change_of_a_range_sets_the_times),
	    T(seek_finds_data_and_holes),
	    T(what_a_lease_has_shown_counts_as_data),
	    cmocka_unit_test(a_full_pool_with_many_extents_can_be_emptied),
	    T(a_file_has_only_so_many_extents),
	    T(the_longest_file_is_the_same_for_every_call),
	    T(fsync_of_a_file_covers_what_came_to_it_from_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
