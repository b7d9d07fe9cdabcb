/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a faulting lease sees and stores what pread and pwrite would, whatever happens to the file, and is never
 * recalled for it (L33: "its key names (file, range) and is resolved for every chunk or page, so moves need no recall
 * and the holder never notices; truncate and punch give it the errors and zeroes that pread would").
 */
#include "local_test.h"

#define BLOCKS 16u
#define SIZE   ((uint64_t)BLOCKS * BLOCK)

struct world {
	struct lh_fs *fs;
	struct lh_file *file;
	struct other other;
	struct lh_lease *reader, *writer;
};

static void world_open(struct world *w)
{
	w->fs = mem_open(0);
	w->file = file_make(w->fs, "/f");
	write_pattern(w->file, 0, SIZE, 1);
	other_open(&w->other, w->fs, "/f");
	w->reader = lease_get(w->file, 0, SIZE, LH_LEASE_READ | LH_LEASE_FAULTING);
	w->writer = lease_get(w->file, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_FAULTING);
}

static void world_close(struct world *w)
{
	struct fs *fs = local_fs(w->fs);

	assert_int_equal(state_of(w->reader).recalls, 0);
	assert_int_equal(state_of(w->writer).recalls, 0);
	assert_true(state_of(w->reader).held);
	assert_int_equal(fs_verify(fs, NULL, NULL), 0);
	other_close(&w->other);
	ok(lh_lease_release(w->reader));
	ok(lh_lease_release(w->writer));
	ok(lh_file_close(w->file));
	ok(lh_fs_close(w->fs));
}

static void direct_write(struct world *w, uint64_t off, size_t len, uint8_t version)
{
	uint8_t *buf = malloc(len);

	fill(buf, len, off, version);
	assert_int_equal(lh_lease_write(w->writer, buf, len, off), len);
	free(buf);
}

static void direct_expect(struct world *w, uint64_t off, size_t len, uint8_t version)
{
	uint8_t *buf = malloc(len);

	assert_int_equal(lh_lease_read(w->reader, buf, len, off), len);
	expect_pattern(buf, len, off, version);
	free(buf);
}

static void direct_zeroes(struct world *w, uint64_t off, size_t len)
{
	uint8_t *buf = malloc(len);

	memset(buf, 0xee, len);
	assert_int_equal(lh_lease_read(w->reader, buf, len, off), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

static void one_key_names_the_whole_range(void **state)
{
	struct lh_lease_extent e[4];
	struct world w;

	world_open(&w);
	ok(fs_relocate(w.other.handle, &w.other.who, 4 * BLOCK, 4 * BLOCK, NULL));
	assert_int_equal(lh_lease_extents(w.reader, e, 4), 1);
	assert_int_equal(e[0].file_off, 0);
	assert_int_equal(e[0].len, SIZE);
	assert_int_equal(state_of(w.reader).flags, LH_LEASE_FAULTING);
	world_close(&w);
}

static void moves_are_not_noticed(void **state)
{
	struct world w;
	uint64_t key;
	struct lh_lease_extent e;

	world_open(&w);
	assert_int_equal(lh_lease_extents(w.reader, &e, 1), 1);
	key = e.key;
	for (unsigned i = 0; i < 8; i++) {
		ok(fs_relocate(w.other.handle, &w.other.who, 0, SIZE, NULL));
		direct_expect(&w, 0, SIZE, (uint8_t)(1 + i));
		direct_write(&w, 0, SIZE, (uint8_t)(2 + i));
		direct_expect(&w, 0, SIZE, (uint8_t)(2 + i));
	}
	assert_int_equal(state_of(w.reader).faults, 0);
	assert_int_equal(state_of(w.writer).faults, 0);
	assert_int_equal(lh_lease_extents(w.reader, &e, 1), 1);
	assert_int_equal(e.key, key);
	world_close(&w);
}

static void a_shared_block_is_copied_at_the_fault(void **state)
{
	struct world w;
	struct lh_file *clone;
	uint8_t buf[SIZE];

	world_open(&w);
	clone = file_make(w.fs, "/clone");
	ok(lh_file_clone_range(clone, 0, w.file, 0, 0));
	direct_write(&w, 2 * BLOCK + 100, 3 * BLOCK, 9);
	assert_int_equal(state_of(w.writer).faults, 1);
	direct_expect(&w, 2 * BLOCK + 100, 3 * BLOCK, 9);
	direct_expect(&w, 0, 2 * BLOCK + 100, 1);
	assert_int_equal(lh_file_read(clone, buf, SIZE, 0), SIZE);
	expect_pattern(buf, SIZE, 0, 1);
	ok(lh_file_close(clone));
	world_close(&w);
}

static void a_snapshot_stays_as_it_was(void **state)
{
	struct world w;
	struct lh_file *old;
	uint8_t buf[SIZE];

	world_open(&w);
	direct_write(&w, 0, SIZE, 4);
	ok(lh_fs_snapshot(w.fs, "/", "/snap", LH_SNAPSHOT_READ_ONLY));
	direct_write(&w, 0, SIZE, 5);
	ok(lh_file_open(w.fs, "/snap/f", O_RDONLY, 0, &old));
	assert_int_equal(lh_file_read(old, buf, SIZE, 0), SIZE);
	expect_pattern(buf, SIZE, 0, 4);
	direct_expect(&w, 0, SIZE, 5);
	ok(lh_file_close(old));
	world_close(&w);
}

static void a_hole_reads_as_zeroes_and_is_filled_at_the_fault(void **state)
{
	struct world w;

	world_open(&w);
	ok(fs_allocate(w.other.handle, &w.other.who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * BLOCK, 2 * BLOCK));
	direct_expect(&w, 0, 3 * BLOCK, 1);
	direct_zeroes(&w, 3 * BLOCK, 2 * BLOCK);
	direct_expect(&w, 5 * BLOCK, SIZE - 5 * BLOCK, 1);
	assert_int_equal(state_of(w.reader).faults, 0);
	direct_write(&w, 3 * BLOCK + 10, 50, 7);
	direct_expect(&w, 3 * BLOCK + 10, 50, 7);
	direct_zeroes(&w, 3 * BLOCK, 10);
	direct_zeroes(&w, 3 * BLOCK + 60, 2 * BLOCK - 60);
	world_close(&w);
}

static void preallocated_blocks_read_as_zeroes(void **state)
{
	struct world w;

	world_open(&w);
	ok(fs_allocate(w.other.handle, &w.other.who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE));
	ok(fs_allocate(w.other.handle, &w.other.who, 0, 0, SIZE));
	direct_zeroes(&w, 0, SIZE);
	direct_write(&w, BLOCK + 1, BLOCK, 3);
	direct_expect(&w, BLOCK + 1, BLOCK, 3);
	direct_zeroes(&w, 0, BLOCK + 1);
	world_close(&w);
}

static void behind_a_cut_there_is_nothing_and_then_zeroes(void **state)
{
	uint8_t buf[SIZE];
	struct world w;

	world_open(&w);
	ok(fs_truncate(w.other.handle, &w.other.who, 5 * BLOCK + 7));
	assert_int_equal(lh_lease_read(w.reader, buf, SIZE, 0), 5 * BLOCK + 7);
	expect_pattern(buf, 5 * BLOCK + 7, 0, 1);
	assert_int_equal(lh_lease_read(w.reader, buf, BLOCK, 6 * BLOCK), 0);
	ok(fs_truncate(w.other.handle, &w.other.who, SIZE));
	direct_expect(&w, 0, 5 * BLOCK + 7, 1);
	direct_zeroes(&w, 5 * BLOCK + 7, SIZE - 5 * BLOCK - 7);
	world_close(&w);
}

static void the_size_grows_at_commit(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	uint8_t buf[SIZE];
	struct world w;

	world_open(&w);
	ok(fs_truncate(w.other.handle, &w.other.who, 3 * BLOCK + 100));
	direct_write(&w, 2 * BLOCK, 6 * BLOCK, 8);
	ok(lh_file_stat(w.file, &st));
	assert_int_equal(st.size, 3 * BLOCK + 100);
	assert_int_equal(lh_lease_read(w.reader, buf, SIZE, 0), 3 * BLOCK + 100);
	ok(lh_lease_commit(w.writer, 2 * BLOCK, 6 * BLOCK));
	ok(lh_file_stat(w.file, &st));
	assert_int_equal(st.size, 8 * BLOCK);
	direct_expect(&w, 0, 2 * BLOCK, 1);
	direct_expect(&w, 2 * BLOCK, 6 * BLOCK, 8);
	world_close(&w);
}

/* The bytes that were cut off do not come back behind what is written where the file ends. */
static void a_cut_tail_never_shows(void **state)
{
	struct world w;

	world_open(&w);
	for (unsigned i = 0; i < 20; i++) {
		ok(fs_truncate(w.other.handle, &w.other.who, BLOCK + 100));
		direct_write(&w, BLOCK + 200, 50, 6);
		ok(lh_lease_commit(w.writer, BLOCK + 200, 50));
		direct_zeroes(&w, BLOCK + 100, 100);
		direct_expect(&w, BLOCK + 200, 50, 6);
		ok(fs_truncate(w.other.handle, &w.other.who, 2 * BLOCK));
		direct_zeroes(&w, BLOCK + 250, BLOCK - 250);
		direct_write(&w, BLOCK, BLOCK, 7);
	}
	world_close(&w);
}

static void modes_are_kept(void **state)
{
	struct lh_lease_extent r, wr;
	struct lh_file *readable;
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_WRITE | LH_LEASE_FAULTING};
	struct lh_lease *lease;
	uint8_t buf[64] = {0};
	struct world w;

	world_open(&w);
	assert_int_equal(lh_lease_extents(w.reader, &r, 1), 1);
	assert_int_equal(lh_lease_extents(w.writer, &wr, 1), 1);
	assert_int_equal(lh_raw_write(w.fs, r.key, 0, buf, 64), -EACCES);
	assert_int_equal(lh_raw_read(w.fs, wr.key, 0, buf, 64), -EACCES);
	assert_int_equal(lh_raw_read(w.fs, r.key, SIZE - 63, buf, 64), -ERANGE);
	assert_int_equal(lh_raw_read(w.fs, r.key + (1ull << 20), 0, buf, 64), -ESTALE);
	ok(lh_file_open(w.fs, "/f", O_RDONLY, 0, &readable));
	refused(-EBADF, lh_lease_get(readable, 0, SIZE, &o, &lease));
	ok(lh_file_close(readable));
	world_close(&w);
}

static void a_released_or_revoked_key_is_dead(void **state)
{
	struct lh_revoke_filter one = {.size = sizeof(one)};
	struct lh_lease_extent e, again;
	struct lh_lease *lease;
	uint8_t buf[64];
	struct world w;

	world_open(&w);
	lease = lease_get(w.file, 0, SIZE, LH_LEASE_READ | LH_LEASE_FAULTING);
	assert_int_equal(lh_lease_extents(lease, &e, 1), 1);
	assert_int_equal(lh_raw_read(w.fs, e.key, 0, buf, 64), 64);
	ok(lh_lease_release(lease));
	assert_int_equal(lh_raw_read(w.fs, e.key, 0, buf, 64), -ESTALE);
	/* An administrator takes it; the next access has another. */
	assert_int_equal(lh_lease_extents(w.reader, &e, 1), 1);
	one.number = state_of(w.reader).number;
	assert_int_equal(lh_fs_revoke(w.fs, &one), 1);
	assert_int_equal(lh_raw_read(w.fs, e.key, 0, buf, 64), -ESTALE);
	direct_expect(&w, 0, SIZE, 1);
	assert_int_equal(lh_lease_extents(w.reader, &again, 1), 1);
	assert_int_not_equal(again.key, e.key);
	direct_write(&w, 0, SIZE, 2);
	world_close(&w);
}

/* The file goes while its key lives: what the holder has open stays readable, and nobody else's blocks show. */
static void an_unlinked_file_lives_on(void **state)
{
	struct world w;
	struct lh_file *next;

	world_open(&w);
	ok(lh_path_unlink(w.fs, "/f"));
	next = file_make(w.fs, "/next");
	write_pattern(next, 0, SIZE, 50);
	direct_expect(&w, 0, SIZE, 1);
	direct_write(&w, 0, SIZE, 2);
	direct_expect(&w, 0, SIZE, 2);
	ok(lh_file_close(next));
	world_close(&w);
}

/* A pinned holder is broken by a faulting write into a hole, as by any write; a faulting one by nobody's. */
static void both_kinds_side_by_side(void **state)
{
	struct lh_lease *pinned;
	uint8_t buf[BLOCK];
	struct world w;

	world_open(&w);
	pinned = lease_get(w.file, 0, SIZE, LH_LEASE_READ);
	ok(fs_relocate(w.other.handle, &w.other.who, 0, SIZE, NULL));
	assert_int_equal(state_of(pinned).recalls, 1);
	assert_int_equal(lh_lease_read(pinned, buf, BLOCK, 0), BLOCK);
	expect_pattern(buf, BLOCK, 0, 1);
	direct_expect(&w, 0, SIZE, 1);
	assert_int_equal(state_of(w.reader).faults, 0);
	ok(lh_lease_release(pinned));
	world_close(&w);
}

/* --- where and when a store may be made in place ----------------------------------------------------------------- */

static int store_try(struct world *w, uint64_t off, uint64_t *len)
{
	struct fs_chunk c = {0};
	int err = fs_fault_enter(w->other.handle, LEASE_WRITE, off, BLOCK, &c);

	if (!err)
		fs_fault_leave(w->other.handle, LEASE_WRITE);
	*len = c.len;
	return err;
}

/* The end of the file is cut, the bytes before it are written in place, a commit says that there is more (nobody wrote
 * that, L30), and then the file grows. */
static void no_old_bytes_by_a_commit(struct world *w)
{
	struct lh_file *file = file_make(w->fs, "/tail");
	struct lh_lease *writer;
	uint8_t buf[BLOCK] = {7};

	write_pattern(file, 0, BLOCK, 1);
	writer = lease_get(file, 0, BLOCK, LH_LEASE_WRITE | LH_LEASE_FAULTING);
	ok(lh_file_truncate(file, 1000));
	assert_int_equal(lh_lease_write(writer, buf, 500, 500), 500);
	ok(lh_lease_commit(writer, 500, 2000));
	assert_int_equal(lh_file_read(file, buf, BLOCK, 0), 1000);
	ok(lh_file_truncate(file, 2500));
	assert_int_equal(lh_file_read(file, buf, BLOCK, 0), 2500);
	for (unsigned i = 1000; i < 2500; i++)
		assert_int_equal(buf[i], 0);
	ok(lh_lease_release(writer));
	ok(lh_file_close(file));
}

/*
 * A block that a clone has given back is ours alone in memory, but on a plain file not before that is durable: bytes
 * stored in place might reach the disk earlier, and show in the clone after a crash.
 */
static void on_a_plain_file_sharing_ends_when_that_is_durable(void **state)
{
	char path[64];
	struct lh_make_options make = {.size = sizeof(make), .pool_size = 64 << 20, .overwrite = true};
	struct lh_open_options opt = {.size = sizeof(opt)};
	struct lh_statfs st = {.size = sizeof(st)};
	struct lh_file *clone;
	uint64_t len, size;
	struct world w;

	snprintf(path, sizeof(path), "/var/tmp/leasehold-faulting-%d", (int)getpid());
	ok(lh_pool_make(path, &make));
	ok(lh_fs_open(path, &opt, &w.fs));
	ok(lh_fs_stat(w.fs, &st));
	if (strcmp(st.pool_class, "msync") != 0) {
		ok(lh_fs_close(w.fs));
		unlink(path);
		skip();
	}
	w.file = file_make(w.fs, "/f");
	write_pattern(w.file, 0, SIZE, 1);
	other_open(&w.other, w.fs, "/f");
	w.reader = lease_get(w.file, 0, SIZE, LH_LEASE_READ | LH_LEASE_FAULTING);
	w.writer = lease_get(w.file, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_FAULTING);
	assert_int_equal(store_try(&w, 0, &len), 0);
	clone = file_make(w.fs, "/clone");
	ok(lh_file_clone_range(clone, 0, w.file, 0, 0));
	assert_int_equal(store_try(&w, 0, &len), -EAGAIN);
	ok(lh_file_truncate(clone, 0));
	assert_int_equal(store_try(&w, 0, &len), -EAGAIN);
	ok(fs_lease_fault(w.other.handle, &w.other.who, LEASE_WRITE, (struct range){0, BLOCK}, &size));
	assert_int_equal(store_try(&w, 0, &len), 0);
	/* The same for what lies behind a cut. */
	ok(lh_file_truncate(w.file, 100));
	assert_int_equal(store_try(&w, 50, &len), -EAGAIN);
	direct_write(&w, 50, 100, 3);
	ok(lh_lease_commit(w.writer, 50, 100));
	direct_expect(&w, 50, 100, 3);
	no_old_bytes_by_a_commit(&w);
	ok(lh_file_close(clone));
	world_close(&w);
	unlink(path);
}

static void in_place_is_what_nobody_else_can_see(void **state)
{
	struct world w;
	uint64_t len, size;

	world_open(&w);
	assert_int_equal(store_try(&w, 0, &len), 0);
	assert_int_equal(len, BLOCK);
	assert_int_equal(store_try(&w, SIZE, &len), -EAGAIN);
	ok(fs_lease_fault(w.other.handle, &w.other.who, LEASE_WRITE, (struct range){SIZE, SIZE + BLOCK}, &size));
	assert_int_equal(size, SIZE);
	assert_int_equal(store_try(&w, SIZE, &len), 0);
	/* Preallocated inside the file: a record first. */
	ok(fs_allocate(w.other.handle, &w.other.who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK));
	assert_int_equal(store_try(&w, 0, &len), -EAGAIN);
	ok(fs_allocate(w.other.handle, &w.other.who, 0, 0, BLOCK));
	assert_int_equal(store_try(&w, 0, &len), -EAGAIN);
	ok(fs_lease_fault(w.other.handle, &w.other.who, LEASE_WRITE, (struct range){10, 20}, &size));
	assert_int_equal(store_try(&w, 0, &len), 0);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_key_names_the_whole_range),
	    cmocka_unit_test(moves_are_not_noticed),
	    cmocka_unit_test(a_shared_block_is_copied_at_the_fault),
	    cmocka_unit_test(a_snapshot_stays_as_it_was),
	    cmocka_unit_test(a_hole_reads_as_zeroes_and_is_filled_at_the_fault),
	    cmocka_unit_test(preallocated_blocks_read_as_zeroes),
	    cmocka_unit_test(behind_a_cut_there_is_nothing_and_then_zeroes),
	    cmocka_unit_test(the_size_grows_at_commit),
	    cmocka_unit_test(a_cut_tail_never_shows),
	    cmocka_unit_test(modes_are_kept),
	    cmocka_unit_test(a_released_or_revoked_key_is_dead),
	    cmocka_unit_test(an_unlinked_file_lives_on),
	    cmocka_unit_test(both_kinds_side_by_side),
	    cmocka_unit_test(in_place_is_what_nobody_else_can_see),
	    cmocka_unit_test(on_a_plain_file_sharing_ends_when_that_is_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
