/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L38, I1: what changes a file's layout or size happened or did not, and names only durable content. */
#include "crash_fs.h"

#define B 4096u

static int prepare(struct fs *fs)
{
	int err = x_create(fs, "/f");

	if (!err)
		err = x_write(fs, "/f", 'f', 6 * B + 100, 0);
	if (!err)
		err = x_create(fs, "/g");
	return err ? err : x_write(fs, "/g", 'g', 3 * B, 0);
}

static int write_hole(struct fs *fs)
{
	return x_write(fs, "/f", 'h', 2 * B + 5, 10 * B + 7);
}
static int write_hole_again(struct fs *fs)
{
	return x_write(fs, "/f", 'H', B, 8 * B);
}
static int append(struct fs *fs)
{
	return x_write(fs, "/f", 'p', 300, 6 * B + 100);
}
static int append_blocks(struct fs *fs)
{
	return x_write(fs, "/f", 'P', 2 * B, 6 * B + 400);
}
static int in_place(struct fs *fs)
{
	return x_write(fs, "/f", 'i', B, B + 50);
}
static int cut(struct fs *fs)
{
	return x_truncate(fs, "/f", 2 * B + 50);
}
static int grow(struct fs *fs)
{
	return x_truncate(fs, "/f", 9 * B);
}
static int punch(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * B, 2 * B);
}
static int preallocate(struct fs *fs)
{
	return x_allocate(fs, "/f", 0, 8 * B, 4 * B);
}
static int write_unwritten(struct fs *fs)
{
	return x_write(fs, "/f", 'u', B + 9, 9 * B + 3);
}
static int clone(struct fs *fs)
{
	return x_clone(fs, "/f", "/g", B, 0, 4 * B);
}
static int copy_on_write(struct fs *fs)
{
	return x_write(fs, "/f", 'c', B + 100, 2 * B + 30);
}
static int copy_on_write_g(struct fs *fs)
{
	return x_write(fs, "/g", 'C', 10, 5);
}
static int relocate(struct fs *fs)
{
	return x_relocate(fs, "/f", B, 3 * B);
}

static void writes(void **state)
{
	const struct fscrash c = {
	    .name = "write", .prepare = prepare, .op = {write_hole, x_sync, write_hole_again}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void appends(void **state)
{
	const struct fscrash c = {
	    .name = "append", .prepare = prepare, .op = {append, append_blocks, x_sync}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void writes_in_place(void **state)
{
	const struct fscrash c = {
	    .name = "inplace", .prepare = prepare, .op = {in_place, x_sync}, .mixed = "/f", .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void truncates(void **state)
{
	const struct fscrash c = {
	    .name = "truncate", .prepare = prepare, .op = {cut, grow, x_sync, cut}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void punches(void **state)
{
	const struct fscrash c = {
	    .name = "punch", .prepare = prepare, .op = {punch, x_sync, write_hole, punch}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void preallocates(void **state)
{
	const struct fscrash c = {.name = "preallocate",
				  .prepare = prepare,
				  .op = {preallocate, write_unwritten, x_sync},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void clones(void **state)
{
	const struct fscrash c = {.name = "clone",
				  .prepare = prepare,
				  .op = {clone, x_sync, copy_on_write, copy_on_write_g, cut},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static int unlink_g(struct fs *fs)
{
	return fs_unlink(fs, &x_root, "/g");
}

/* The blocks are the file's own again; until that is durable (msync) they must not change under the other. */
static void writes_to_what_was_shared(void **state)
{
	const struct fscrash c = {.name = "unshared",
				  .prepare = prepare,
				  .op = {clone, x_sync, unlink_g, copy_on_write, x_sync},
				  .mixed = "/f",
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static int direct_past_end(struct fs *fs)
{
	return x_direct(fs, "/f", 'D', 2 * B, 6 * B + 100);
}
static int direct_inside(struct fs *fs)
{
	return x_direct(fs, "/f", 'd', B + 9, B + 30);
}

/* L28: what a commit has returned for is durable. L30: before it nothing past the end shows. */
static void commits_past_the_end(void **state)
{
	const struct fscrash c = {.name = "commit",
				  .prepare = prepare,
				  .op = {direct_past_end, x_sync, clone, direct_past_end},
				  .checkpoint_at = -1,
				  .durable = 9};

	(void)state;
	fscrash_run(&c);
}

static void commits_inside(void **state)
{
	const struct fscrash c = {.name = "commit-inside",
				  .prepare = prepare,
				  .op = {direct_inside, x_sync},
				  .mixed = "/f",
				  .checkpoint_at = -1,
				  .durable = 1};

	(void)state;
	fscrash_run(&c);
}

static void relocates(void **state)
{
	const struct fscrash c = {
	    .name = "relocate", .prepare = prepare, .op = {relocate, x_sync, clone, relocate}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

/* --- ranges --------------------------------------------------------------------------------------------------------
 */

/* Every block of /f is another letter; /g as above, and /same equals blocks 1 to 3 of /f. */
static int prepare_letters(struct fs *fs)
{
	int err = prepare(fs);

	for (unsigned k = 0; k < 6 && !err; k++)
		err = x_write(fs, "/f", 'a' + (int)k, B, k * B);
	if (!err)
		err = x_create(fs, "/same");
	for (unsigned k = 0; k < 3 && !err; k++)
		err = x_write(fs, "/same", 'b' + (int)k, B, k * B);
	return err;
}

enum pair { EXCHANGE, DEDUPE, COPY };

static int pair_op(struct fs *fs, enum pair what, const char *dst, uint64_t dst_off, const char *src, uint64_t src_off,
		   uint64_t len)
{
	struct fs_handle *d, *s;
	ssize_t n = 0;
	int err = fs_open(fs, &x_root, dst, O_RDWR, 0, &d);

	if (err)
		return err;
	err = fs_open(fs, &x_root, src, O_RDWR, 0, &s);
	if (!err) {
		if (what == EXCHANGE)
			err = fs_exchange_range(d, dst_off, s, src_off, len, &x_root);
		else if (what == DEDUPE)
			err = fs_dedupe_range(d, dst_off, s, src_off, len, &x_root);
		else
			n = fs_copy_range(d, dst_off, s, src_off, len, &x_root);
		fs_close(s, NULL, 0);
	}
	fs_close(d, NULL, 0);
	return err ? err : n < 0 ? (int)n : 0;
}

static int collapse(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_COLLAPSE_RANGE, B, 2 * B);
}
static int insert(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_INSERT_RANGE, 2 * B, 3 * B);
}
static int zero_blocks(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_ZERO_RANGE, B, 3 * B);
}
static int zero_past_end(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_ZERO_RANGE, 5 * B, 3 * B + 9);
}
static int zero_unaligned(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_ZERO_RANGE, B + 40, 3 * B);
}
static int punch_unaligned(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, B + 40, 3 * B);
}
static int unshare(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_UNSHARE_RANGE, 0, 6 * B);
}
static int exchange(struct fs *fs)
{
	return pair_op(fs, EXCHANGE, "/f", 2 * B, "/g", 0, 2 * B);
}
static int exchange_within(struct fs *fs)
{
	return pair_op(fs, EXCHANGE, "/f", 4 * B, "/f", B, B);
}
static int dedupe(struct fs *fs)
{
	return pair_op(fs, DEDUPE, "/same", 0, "/f", B, 3 * B);
}
static int dedupe_again(struct fs *fs)
{
	return pair_op(fs, DEDUPE, "/same", 0, "/f", B, B);
}
/* The end, too, is shared: one record. */
static int copy_all(struct fs *fs)
{
	return pair_op(fs, COPY, "/g", B, "/f", B, 100 * B);
}
/* Over the borders of blocks: what changed its place has bytes of its own. */
static int in_place_words(struct fs *fs)
{
	return x_write(fs, "/f", 'I', 2 * B, B + 48);
}
static int write_into_zeroes(struct fs *fs)
{
	return x_write(fs, "/f", 'z', B + 100, 2 * B);
}

static int own_collapse(struct fs_handle *h, const struct fs_caller *who)
{
	return fs_allocate(h, who, FALLOC_FL_COLLAPSE_RANGE, B, 2 * B);
}
/* All blocks are alike, so that what the collapse alone leaves is a mix of before and after, too. */
static int collapse_under_own_lease(struct fs *fs)
{
	return x_direct_during(fs, "/f", 'O', B + 16, B + 8, own_collapse);
}

static void collapses_and_inserts(void **state)
{
	const struct fscrash c = {.name = "shift",
				  .prepare = prepare_letters,
				  .op = {collapse, x_sync, insert, collapse, x_sync, insert},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

/* Bytes stored in place after a remap show at the place of then, never at that of before. */
static void writes_to_what_moved(void **state)
{
	const struct fscrash shifted = {.name = "shifted-inplace",
					.prepare = prepare_letters,
					.op = {collapse, in_place_words, x_sync, insert, in_place_words},
					.mixed = "/f",
					.checkpoint_at = -1};
	const struct fscrash swapped = {.name = "swapped-inplace",
					.prepare = prepare_letters,
					.op = {exchange, in_place_words, x_sync, exchange_within, in_place_words},
					.mixed = "/f",
					.checkpoint_at = -1};
	const struct fscrash direct = {.name = "shifted-direct",
				       .prepare = prepare_letters,
				       .op = {collapse, direct_inside, x_sync},
				       .mixed = "/f",
				       .checkpoint_at = -1,
				       .durable = 2};
	const struct fscrash own = {.name = "shifted-own",
				    .prepare = prepare,
				    .op = {collapse_under_own_lease, x_sync},
				    .mixed = "/f",
				    .checkpoint_at = -1,
				    .durable = 1};

	(void)state;
	fscrash_run(&shifted);
	fscrash_run(&swapped);
	fscrash_run(&direct);
	fscrash_run(&own);
}

static void exchanges(void **state)
{
	const struct fscrash c = {.name = "exchange",
				  .prepare = prepare_letters,
				  .op = {exchange, x_sync, exchange_within, exchange},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void zeroes_ranges(void **state)
{
	const struct fscrash whole = {.name = "zero",
				      .prepare = prepare_letters,
				      .op = {zero_blocks, x_sync, write_into_zeroes, zero_past_end},
				      .checkpoint_at = -1};
	const struct fscrash filled = {.name = "zero-filled",
				       .prepare = prepare_letters,
				       .op = {zero_blocks, write_into_zeroes, x_sync},
				       .checkpoint_at = -1};
	const struct fscrash shared = {
	    .name = "zero-shared", .prepare = prepare_letters, .op = {clone, zero_blocks, x_sync}, .checkpoint_at = -1};
	const struct fscrash parts = {.name = "zero-edges",
				      .prepare = prepare_letters,
				      .op = {zero_unaligned, x_sync},
				      .mixed = "/f",
				      .checkpoint_at = -1};

	(void)state;
	fscrash_run(&whole);
	fscrash_run(&filled);
	fscrash_run(&shared);
	fscrash_run(&parts);
}

/* The edges are data, the rest goes whole. */
static void punches_with_edges(void **state)
{
	const struct fscrash c = {.name = "punch-edges",
				  .prepare = prepare_letters,
				  .op = {punch_unaligned, x_sync},
				  .mixed = "/f",
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void unshares(void **state)
{
	const struct fscrash c = {.name = "unshare",
				  .prepare = prepare_letters,
				  .op = {clone, unshare, in_place_words, x_sync},
				  .mixed = "/f",
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void dedupes_and_copies(void **state)
{
	const struct fscrash same = {.name = "dedupe",
				     .prepare = prepare_letters,
				     .op = {dedupe, x_sync, write_into_zeroes, dedupe_again},
				     .checkpoint_at = -1};
	const struct fscrash all = {
	    .name = "copy", .prepare = prepare_letters, .op = {copy_all, x_sync, unlink_g}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&same);
	fscrash_run(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(writes),
	    cmocka_unit_test(appends),
	    cmocka_unit_test(writes_in_place),
	    cmocka_unit_test(truncates),
	    cmocka_unit_test(punches),
	    cmocka_unit_test(preallocates),
	    cmocka_unit_test(writes_to_what_was_shared),
	    cmocka_unit_test(clones),
	    cmocka_unit_test(commits_past_the_end),
	    cmocka_unit_test(commits_inside),
	    cmocka_unit_test(relocates),
	    cmocka_unit_test(collapses_and_inserts),
	    cmocka_unit_test(writes_to_what_moved),
	    cmocka_unit_test(exchanges),
	    cmocka_unit_test(zeroes_ranges),
	    cmocka_unit_test(punches_with_edges),
	    cmocka_unit_test(unshares),
	    cmocka_unit_test(dedupes_and_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
