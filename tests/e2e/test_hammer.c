/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: many threads read and write directly while others move, clone, cut and grow the very files: nobody sees a byte
 * that was never written there, and no move is noticed (L12, L15, L16). The file holds self-describing blocks: number
 * and version.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READERS 3
#define WRITERS 2
#define BLOCKS  256u
#define SIZE    (BLOCKS * BLOCK)

static struct rig rig;
static atomic_bool stop;
static atomic_ullong moved;

struct worker {
	const char *path;
	unsigned seed;
	unsigned number;
	pthread_t thread;
};

/* A block: its number, who wrote it, the version, all over. Zero where a hole is. */
static void block_fill(uint64_t *b, uint64_t number, uint64_t version)
{
	for (unsigned i = 0; i < BLOCK / 8; i++)
		b[i] = number << 40 | version << 8 | (i & 0xff);
}

static void block_check(const uint64_t *b, uint64_t number)
{
	uint64_t version = b[0] >> 8 & 0xffffffff;

	/* Two versions of the same block may be mixed: a lease is no lock on data (L20). */
	for (unsigned i = 0; i < BLOCK / 8; i++) {
		if (b[i] && (b[i] >> 40 != number || (b[i] & 0xff) != (i & 0xff)))
			fail_msg("block %llu word %u is %#llx (version %llu)", (unsigned long long)number, i,
				 (unsigned long long)b[i], (unsigned long long)version);
	}
}

static void *reader(void *arg)
{
	struct worker *w = arg;
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_reopen(fs, w->path, O_RDONLY);
	struct lh_lease *lease = rig_lease(file, 0, SIZE, LH_LEASE_READ);
	uint64_t *buf = malloc(16 * BLOCK);

	while (!atomic_load(&stop)) {
		uint64_t first = (uint64_t)rand_r(&w->seed) % (BLOCKS - 16);
		unsigned count = 1 + (unsigned)rand_r(&w->seed) % 16;
		ssize_t n = lh_lease_read(lease, buf, count * BLOCK, first * BLOCK);

		if (n < 0)
			fail_msg("read: %s", lh_error_text());
		for (unsigned i = 0; i < (size_t)n / BLOCK; i++)
			block_check(buf + i * BLOCK / 8, first + i);
		atomic_fetch_add(&moved, (uint64_t)n);
	}
	free(buf);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	return NULL;
}

static void *writer(void *arg)
{
	struct worker *w = arg;
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_reopen(fs, w->path, O_RDWR);
	struct lh_lease *lease = rig_lease(file, 0, SIZE, LH_LEASE_WRITE);
	uint64_t *buf = malloc(4 * BLOCK);

	for (uint64_t version = 1; !atomic_load(&stop); version++) {
		uint64_t first = (uint64_t)rand_r(&w->seed) % (BLOCKS - 4);

		for (unsigned i = 0; i < 4; i++)
			block_fill(buf + i * BLOCK / 8, first + i, version);
		if (lh_lease_write(lease, buf, 4 * BLOCK, first * BLOCK) != 4 * BLOCK)
			fail_msg("write: %s", lh_error_text());
		if (version % 16 == 0)
			assert_ok(lh_lease_commit(lease, first * BLOCK, 4 * BLOCK));
		atomic_fetch_add(&moved, 4 * BLOCK);
	}
	free(buf);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	return NULL;
}

/* Changes layouts, and gives freed blocks to a file full of something else. */
static void changes(const char *path, unsigned rounds, unsigned seed)
{
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_reopen(fs, path, O_RDWR);
	struct lh_file *clone = rig_reopen(fs, "/clone", O_RDWR | O_CREAT);
	struct lh_file *foreign = rig_reopen(fs, "/foreign", O_RDWR | O_CREAT);
	uint8_t *poison = malloc(SIZE);

	memset(poison, 0xee, SIZE);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t off = (uint64_t)rand_r(&seed) % BLOCKS * BLOCK;
		uint64_t len = (1 + (uint64_t)rand_r(&seed) % 64) * BLOCK;

		if (off + len > SIZE)
			len = SIZE - off;
		switch (rand_r(&seed) % 5) {
		case 0:
			assert_ok(lh_file_relocate(file, off, len));
			break;
		case 1:
			assert_ok(lh_file_clone_range(clone, 0, file, 0, 0));
			break;
		case 2:
			assert_ok(lh_file_punch(file, off, len));
			break;
		case 3:
			assert_ok(lh_file_truncate(file, off));
			break;
		default:
			assert_ok(lh_file_truncate(clone, 0));
			break;
		}
		assert_ok(lh_file_write(foreign, poison, len, 0));
		assert_ok(lh_file_truncate(foreign, 0));
	}
	free(poison);
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_close(clone));
	assert_ok(lh_file_close(foreign));
	assert_ok(lh_fs_close(fs));
}

static void nobody_sees_a_foreign_byte(void **state)
{
	unsigned seed = getenv("SEED") ? (unsigned)strtoul(getenv("SEED"), NULL, 0) : (unsigned)getpid();
	unsigned rounds = getenv("ROUNDS") ? (unsigned)strtoul(getenv("ROUNDS"), NULL, 0) : 300;
	struct worker workers[READERS + WRITERS];
	struct lh_fs *fs = rig_open(&rig);
	struct lh_lease_stats s;

	print_message("SEED=%u ROUNDS=%u\n", seed, rounds);
	assert_ok(lh_file_close(rig_reopen(fs, "/hammer", O_RDWR | O_CREAT)));
	{
		struct lh_file *file = rig_reopen(fs, "/hammer", O_RDWR);
		uint64_t block[BLOCK / 8];

		for (uint64_t i = 0; i < BLOCKS; i++) {
			block_fill(block, i, 0);
			assert_int_equal(lh_file_write(file, block, BLOCK, i * BLOCK), BLOCK);
		}
		assert_ok(lh_file_close(file));
	}
	for (unsigned i = 0; i < READERS + WRITERS; i++) {
		workers[i] = (struct worker){.path = "/hammer", .seed = seed + i, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, i < READERS ? reader : writer, &workers[i]),
				 0);
	}
	changes("/hammer", rounds, seed);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < READERS + WRITERS; i++)
		pthread_join(workers[i].thread, NULL);
	s = rig_stats(fs);
	print_message("%llu MiB moved, %llu recalls, %llu breaks, %llu in time, %llu forced\n",
		      (unsigned long long)(atomic_load(&moved) >> 20), (unsigned long long)s.recalls,
		      (unsigned long long)s.breaks, (unsigned long long)s.released_in_time,
		      (unsigned long long)s.forced);
	assert_true(s.recalls > 0);
	assert_int_equal(s.forced, 0);
	assert_int_equal(s.protocol_errors, 0);
	assert_int_equal(s.leases, 0);
	assert_ok(lh_fs_close(fs));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_sees_a_foreign_byte)};
	int failed;

	rig_init(argc, argv);
	rig_start(&rig, "mem:64M", 10 * SECONDS);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
