/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: faulting leases over the wire (L33): moves need no recall and the holder never notices; a snapshot is of one
 * moment although holders store all the time; L12, L14: their keys are nobody else's and die like all keys.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE (1 * MIB)

static struct rig rig;

static struct lh_lease *faulting(struct lh_file *file, uint64_t len, uint32_t flags)
{
	return rig_lease(file, 0, len, flags | LH_LEASE_FAULTING);
}

static uint64_t key_of(struct lh_lease *lease)
{
	struct lh_lease_extent e;

	assert_int_equal(lh_lease_extents(lease, &e, 1), 1);
	return e.key;
}

/* --- snapshots --- */

struct counter {
	atomic_bool stop;
	atomic_ullong count;
};

/* Writes the number to the first file, then to the second; never to the second before the first one has it. */
static void *count_on(void *arg)
{
	struct counter *c = arg;
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file[2] = {rig_reopen(fs, "/s/a", O_RDWR), rig_reopen(fs, "/s/b", O_RDWR)};
	struct lh_lease *lease[2];

	for (unsigned i = 0; i < 2; i++)
		lease[i] = faulting(file[i], SIZE, LH_LEASE_WRITE);
	for (uint64_t k = 1; !atomic_load(&c->stop); k++) {
		for (unsigned i = 0; i < 2; i++) {
			/* In the middle of some block, so that what is around it must come along with a copy. */
			uint64_t at = k % 64 * BLOCK + 800;

			if (lh_lease_write(lease[i], &k, sizeof(k), at) != sizeof(k) ||
			    lh_lease_write(lease[i], &k, sizeof(k), 8) != sizeof(k))
				fail_msg("write: %s", lh_error_text());
		}
		atomic_store(&c->count, k);
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rig_state(lease[i]).recalls, 0);
		assert_true(rig_state(lease[i]).held);
		assert_ok(lh_lease_release(lease[i]));
		assert_ok(lh_file_close(file[i]));
	}
	assert_ok(lh_fs_close(fs));
	return NULL;
}

static uint64_t *content(struct lh_fs *fs, const char *path)
{
	struct lh_file *file = rig_reopen(fs, path, O_RDONLY);
	uint64_t *buf = malloc(SIZE);

	assert_non_null(buf);
	assert_int_equal(lh_file_read(file, buf, SIZE, 0), SIZE);
	assert_ok(lh_file_close(file));
	return buf;
}

static void a_snapshot_is_of_one_moment(void **state)
{
	struct counter c = {.stop = false};
	struct lh_fs *fs = rig_open(&rig);
	pthread_t thread;

	assert_ok(lh_path_mkdir(fs, "/s", 0755));
	assert_ok(lh_file_close(rig_file(fs, "/s/a", SIZE, 1)));
	assert_ok(lh_file_close(rig_file(fs, "/s/b", SIZE, 2)));
	assert_int_equal(pthread_create(&thread, NULL, count_on, &c), 0);
	while (atomic_load(&c.count) < 100)
		usleep(1000);
	for (unsigned i = 0; i < 30; i++) {
		uint64_t *a, *b, *again, from;

		assert_ok(lh_fs_snapshot(fs, "/s", "/t", LH_SNAPSHOT_READ_ONLY));
		a = content(fs, "/t/a");
		b = content(fs, "/t/b");
		/* A store is of one chunk: the first file is never behind, and at most one ahead. */
		if (a[1] != b[1] && a[1] != b[1] + 1)
			fail_msg("the snapshot has %llu in one file and %llu in the other", (unsigned long long)a[1],
				 (unsigned long long)b[1]);
		from = atomic_load(&c.count);
		while (atomic_load(&c.count) < from + 70)
			usleep(100);
		again = content(fs, "/t/a");
		assert_memory_equal(a, again, SIZE);
		free(again);
		again = content(fs, "/t/b");
		assert_memory_equal(b, again, SIZE);
		free(again);
		free(a);
		free(b);
		assert_ok(lh_fs_snapshot_delete(fs, "/t"));
	}
	atomic_store(&c.stop, true);
	pthread_join(thread, NULL);
	print_message("%llu counts\n", (unsigned long long)atomic_load(&c.count));
	assert_ok(lh_fs_close(fs));
}

/* --- moves --- */

static void moves_cost_no_message(void **state)
{
	struct lh_fs *fs = rig_open(&rig), *other = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/moves", SIZE, 3), *theirs = rig_reopen(other, "/moves", O_RDWR);
	struct lh_lease *lease = faulting(file, SIZE, LH_LEASE_READ);
	uint64_t key = key_of(lease), before = rig_stats(fs).recalls;

	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(lh_file_relocate(theirs, i * BLOCK, 64 * BLOCK), 64);
		rig_read_same(lease, SIZE, 3, 0);
	}
	assert_int_equal(rig_state(lease).recalls, 0);
	assert_int_equal(rig_stats(fs).recalls, before);
	assert_int_equal(key_of(lease), key);
	assert_int_equal(rig_state(lease).flags, LH_LEASE_FAULTING);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_close(theirs));
	assert_ok(lh_fs_close(other));
	assert_ok(lh_fs_close(fs));
}

/* Many pieces in the pool, odd offsets and lengths, holes between: one key, and what lh_file_read gives. */
static void pieces_are_put_together(void **state)
{
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/pieces", SIZE, 4);
	struct lh_lease *lease;
	uint8_t *got = malloc(SIZE), *want = malloc(SIZE);
	unsigned seed = 5;

	for (uint64_t b = 0; b < SIZE / BLOCK; b += 3)
		assert_int_equal(lh_file_relocate(file, b * BLOCK, BLOCK), 1);
	for (uint64_t b = 1; b < SIZE / BLOCK; b += 7)
		assert_ok(lh_file_punch(file, b * BLOCK, BLOCK));
	assert_ok(lh_file_truncate(file, SIZE - 1000));
	lease = faulting(file, SIZE, LH_LEASE_READ);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t off = (uint64_t)rand_r(&seed) % SIZE, len = 1 + (uint64_t)rand_r(&seed) % (SIZE - off);
		ssize_t n = lh_file_read(file, want, len, off);

		assert_ok(n);
		assert_int_equal(lh_lease_read(lease, got, len, off), n);
		assert_memory_equal(got, want, (size_t)n);
	}
	free(got);
	free(want);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
}

static void a_queue_is_the_same(void **state)
{
	enum { DEPTH = 16, OPS = 400, PIECE = 20000 };
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/queue", SIZE, 6), *copy = rig_reopen(fs, "/queue2", O_RDWR | O_CREAT);
	struct lh_lease *reader = faulting(file, SIZE, LH_LEASE_READ), *writer = faulting(file, SIZE, LH_LEASE_WRITE);
	uint8_t *buf = malloc((size_t)DEPTH * PIECE);
	struct lh_completion done[DEPTH];
	struct lh_queue *q;

	assert_ok(lh_queue_new(fs, DEPTH, &q));
	for (unsigned i = 0; i < OPS; i += DEPTH) {
		unsigned n = 0;

		assert_ok(lh_file_clone_range(copy, 0, file, 0, 0));
		for (unsigned k = 0; k < DEPTH; k++) {
			uint64_t off = (uint64_t)(i + k) * 977 % (SIZE - PIECE);

			rig_fill(buf + (size_t)k * PIECE, PIECE, 6, off);
			if (k % 2)
				assert_ok(lh_queue_write(q, writer, buf + (size_t)k * PIECE, PIECE, off, NULL));
			else
				assert_ok(lh_queue_read(q, reader, buf + (size_t)k * PIECE, PIECE, off,
							buf + (size_t)k * PIECE));
		}
		while (n < DEPTH) {
			int got = lh_queue_wait(q, 1, done, DEPTH);

			assert_ok(got);
			for (int k = 0; k < got; k++)
				assert_int_equal(done[k].result, PIECE);
			n += (unsigned)got;
		}
		for (unsigned k = 0; k < DEPTH; k += 2)
			rig_same(buf + (size_t)k * PIECE, PIECE, 6, (uint64_t)(i + k) * 977 % (SIZE - PIECE));
	}
	assert_true(rig_state(writer).faults > 0);
	assert_int_equal(rig_state(writer).recalls + rig_state(reader).recalls, 0);
	lh_queue_free(q);
	free(buf);
	assert_ok(lh_lease_release(reader));
	assert_ok(lh_lease_release(writer));
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_close(copy));
	assert_ok(lh_fs_close(fs));
}

/* Others who write by calls have the file's lock most of the time: that shows in no result. */
static void *write_on(void *arg)
{
	struct counter *c = arg;
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_reopen(fs, "/busy", O_RDWR);
	uint8_t *buf = malloc(SIZE);

	rig_fill(buf, SIZE, 7, 0);
	while (!atomic_load(&c->stop)) {
		assert_int_equal(lh_file_write(file, buf, SIZE, 0), SIZE);
		atomic_fetch_add(&c->count, 1);
	}
	free(buf);
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	return NULL;
}

static void a_busy_file_is_only_slower(void **state)
{
	struct counter c = {.stop = false};
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/busy", SIZE, 7);
	struct lh_lease *reader = faulting(file, SIZE, LH_LEASE_READ);
	struct lh_lease *writer = faulting(file, SIZE, LH_LEASE_WRITE);
	uint8_t *buf = malloc(SIZE);
	pthread_t thread;

	rig_fill(buf, SIZE, 7, 0);
	assert_int_equal(pthread_create(&thread, NULL, write_on, &c), 0);
	for (unsigned i = 0; i < 200 || atomic_load(&c.count) < 20; i++) {
		rig_read_same(reader, 200 * KIB, 7, i * 3000 % (800 * KIB));
		assert_int_equal(lh_lease_write(writer, buf + 5000, 100 * KIB, 5000), 100 * KIB);
	}
	atomic_store(&c.stop, true);
	pthread_join(thread, NULL);
	print_message("%llu faults\n", (unsigned long long)(rig_state(reader).faults + rig_state(writer).faults));
	free(buf);
	assert_ok(lh_lease_release(reader));
	assert_ok(lh_lease_release(writer));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
}

/* --- keys --- */

static void keys_are_their_sessions_alone(void **state)
{
	struct lh_fs *fs = rig_open(&rig), *other = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/keys", SIZE, 8);
	struct lh_lease *lease = faulting(file, SIZE, LH_LEASE_WRITE);
	uint64_t key = key_of(lease), x = key;
	uint8_t buf[64];

	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(lh_raw_write(other, key, 0, buf, 64), -ESTALE);
	assert_int_equal(lh_raw_read(fs, key, 0, buf, 64), -EACCES);
	assert_int_equal(lh_raw_write(fs, key, SIZE - 63, buf, 64), -ERANGE);
	assert_int_equal(lh_raw_write(fs, key, UINT64_MAX - 4095, buf, 64), -ERANGE);
	for (unsigned i = 0; i < 20000; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		/* The slot is easy to guess, the rest is not. */
		assert_int_equal(lh_raw_write(other, (x & ~0xfffffull) | (key & 0xfffff), 0, buf, 64), -ESTALE);
	}
	assert_ok(lh_lease_release(lease));
	assert_int_equal(lh_raw_write(fs, key, 0, buf, 64), -ESTALE);
	lease = rig_lease(file, 0, SIZE, LH_LEASE_READ);
	rig_read_same(lease, SIZE, 8, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(other));
	assert_ok(lh_fs_close(fs));
}

/* The key outlives the blocks that it led to: what is behind it then is the file's, never the blocks' next owner's. */
static void blocks_that_went_to_another_file_are_not_reached(void **state)
{
	struct lh_fs *fs = rig_open(&rig), *other = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/gone", SIZE, 9), *theirs = rig_reopen(other, "/gone", O_RDWR), *next;
	struct lh_lease *reader = faulting(file, SIZE, LH_LEASE_READ);
	struct lh_lease *writer = faulting(file, SIZE, LH_LEASE_WRITE);
	uint64_t rkey = key_of(reader), wkey = key_of(writer);
	uint8_t buf[BLOCK];

	assert_ok(lh_file_punch(theirs, 0, SIZE / 2));
	assert_ok(lh_file_truncate(theirs, SIZE * 3 / 4));
	next = rig_file(other, "/next", 8 * MIB, 10);
	for (uint64_t off = 0; off < SIZE; off += BLOCK) {
		ssize_t n = lh_raw_read(fs, rkey, off, buf, BLOCK);

		if (off >= SIZE * 3 / 4) {
			assert_int_equal(n, -EAGAIN);
			continue;
		}
		assert_int_equal(n, BLOCK);
		if (off >= SIZE / 2)
			rig_same(buf, BLOCK, 9, off);
		for (uint64_t i = 0; off < SIZE / 2 && i < BLOCK; i++)
			assert_int_equal(buf[i], 0);
		memset(buf, 0xee, BLOCK);
		if (off < SIZE / 2)
			assert_int_equal(lh_raw_write(fs, wkey, off, buf, BLOCK), -EAGAIN);
	}
	{
		struct lh_lease *all = rig_lease(next, 0, 8 * MIB, LH_LEASE_READ);

		rig_read_same(all, 8 * MIB, 10, 0);
		assert_ok(lh_lease_release(all));
	}
	assert_ok(lh_file_close(next));
	assert_ok(lh_path_unlink(other, "/next"));
	assert_ok(lh_lease_release(reader));
	assert_ok(lh_lease_release(writer));
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_close(theirs));
	assert_ok(lh_fs_close(other));
	assert_ok(lh_fs_close(fs));
}

/* What a holder wrote and others cut off since stays cut off, though it heard of nothing and commits as it closes. */
static void a_cut_is_not_undone_by_the_close(void **state)
{
	struct lh_fs *fs = rig_open(&rig), *other = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/cut", SIZE, 12), *theirs = rig_reopen(other, "/cut", O_RDWR);
	struct lh_lease *writer = faulting(file, 2 * SIZE, LH_LEASE_WRITE);
	struct lh_stat st = {.size_of = sizeof(st)};
	uint8_t *buf = malloc(2 * SIZE);

	memset(buf, 7, 2 * SIZE);
	assert_int_equal(lh_lease_write(writer, buf, 2 * SIZE, 0), 2 * SIZE);
	assert_ok(lh_file_truncate(theirs, 64 * KIB));
	assert_ok(lh_file_sync(file));
	assert_ok(lh_file_stat(theirs, &st));
	assert_int_equal(st.size, 64 * KIB);
	assert_int_equal(lh_lease_write(writer, buf, 100, 96 * KIB), 100);
	assert_ok(lh_file_truncate(theirs, 0));
	assert_ok(lh_lease_release(writer));
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_stat(theirs, &st));
	assert_int_equal(st.size, 0);
	/* And what was not cut makes the file longer. */
	file = rig_reopen(fs, "/cut", O_RDWR);
	writer = faulting(file, SIZE, LH_LEASE_WRITE);
	assert_int_equal(lh_lease_write(writer, buf, 100, 96 * KIB), 100);
	assert_ok(lh_lease_release(writer));
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_stat(theirs, &st));
	assert_int_equal(st.size, 96 * KIB + 100);
	free(buf);
	assert_ok(lh_file_close(theirs));
	assert_ok(lh_fs_close(other));
	assert_ok(lh_fs_close(fs));
}

static void a_manual_one_hears_only_of_its_end(void **state)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct lh_fs *fs = rig_open(&rig), *other = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/manual", SIZE, 11), *theirs = rig_reopen(other, "/manual", O_RDWR);
	struct lh_lease *lease = faulting(file, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_event e = {.size = sizeof(e)};
	uint8_t buf[64];

	assert_int_equal(lh_file_relocate(theirs, 0, SIZE), SIZE / BLOCK);
	assert_ok(lh_file_truncate(theirs, SIZE / 2));
	assert_ok(lh_fs_ping(fs));
	assert_int_equal(lh_event_next(fs, &e), 0);
	rig_read_same(lease, SIZE / 2, 11, 0);
	filter.number = rig_state(lease).number;
	assert_int_equal(lh_fs_revoke(other, &filter), 1);
	e = rig_event(fs);
	assert_int_equal(e.type, LH_EVENT_REVOKED);
	assert_ptr_equal(e.lease, lease);
	assert_int_equal(lh_lease_read(lease, buf, 64, 0), -ESTALE);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_close(theirs));
	assert_ok(lh_fs_close(other));
	assert_ok(lh_fs_close(fs));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(moves_cost_no_message),
	    cmocka_unit_test(pieces_are_put_together),
	    cmocka_unit_test(a_queue_is_the_same),
	    cmocka_unit_test(a_busy_file_is_only_slower),
	    cmocka_unit_test(keys_are_their_sessions_alone),
	    cmocka_unit_test(blocks_that_went_to_another_file_are_not_reached),
	    cmocka_unit_test(a_cut_is_not_undone_by_the_close),
	    cmocka_unit_test(a_manual_one_hears_only_of_its_end),
	    cmocka_unit_test(a_snapshot_is_of_one_moment),
	};
	int failed;

	rig_init(argc, argv);
	rig_start(&rig, "mem:64M", 10 * SECONDS);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
