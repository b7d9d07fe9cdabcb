/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: many threads read and write directly while others move, clone, cut and grow the very files: nobody sees a byte
 * that was never written there, and no move is noticed (L12, L15, L16). The file holds self-describing blocks: number
 * and version.
 *
 * With a second argument "faulting" the leases are faulting ones (L33): then no holder hears of anything.
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

#define READERS 3
#define WRITERS 2
#define BLOCKS  256u
#define SIZE    (BLOCKS * BLOCK)

static struct rig rig;
static atomic_bool stop;
static atomic_ullong moved;
static uint32_t kind; /* 0 or LH_LEASE_FAULTING */

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
	struct lh_lease *lease = rig_lease(file, 0, SIZE, LH_LEASE_READ | kind);
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
	struct lh_lease *lease = rig_lease(file, 0, SIZE, LH_LEASE_WRITE | kind);
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

struct changer {
	struct lh_fs *fs;
	struct lh_file *file, *clone, *foreign;
	unsigned seed;
};

/* The clone's blocks have the same numbers at the same places, so that every exchange with it is fair. */
static void change(struct changer *c, uint64_t off, uint64_t len)
{
	uint64_t half = len / BLOCK / 2 * BLOCK;
	int64_t n = 0;

	switch (rand_r(&c->seed) % 13) {
	case 0:
		n = lh_file_relocate(c->file, off, len);
		break;
	case 1:
		n = lh_file_clone_range(c->clone, 0, c->file, 0, 0);
		break;
	case 2:
		n = lh_file_punch(c->file, off, len);
		break;
	case 3:
		n = lh_file_truncate(c->file, off);
		break;
	case 4:
		n = lh_file_truncate(c->clone, 0);
		break;
	case 5:
		n = lh_file_dedupe_range(c->clone, off, c->file, off, len);
		/* The other end of either file may be here or there. */
		n = n == -EINVAL ? 0 : n;
		break;
	case 6:
		n = lh_file_exchange_range(c->file, off, c->clone, off, half ? half : len);
		n = n == -EINVAL ? 0 : n;
		break;
	case 7:
		n = lh_file_copy_range(c->file, off, c->clone, off, len);
		break;
	case 8:
		n = lh_file_defragment(c->file, NULL);
		break;
	case 9:
		n = lh_file_fallocate(c->file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len);
		break;
	case 10:
		n = lh_fs_snapshot(c->fs, "/h", "/shot", 0);
		if (!n)
			n = lh_fs_snapshot_delete(c->fs, "/shot");
		break;
	case 11:
		n = lh_fs_resize(c->fs, (48 + (uint64_t)rand_r(&c->seed) % 16) * MIB, NULL, NULL);
		break;
	default:
		n = lh_fs_evacuate(c->fs, 4 * MIB + off, BLOCK, NULL, NULL);
		break;
	}
	assert_ok(n);
}

/* Changes layouts, and gives freed blocks to a file full of something else. */
static void changes(const char *path, unsigned rounds, unsigned seed)
{
	struct changer c = {.fs = rig_open(&rig), .seed = seed};
	uint8_t *poison = malloc(SIZE);

	c.file = rig_reopen(c.fs, path, O_RDWR);
	c.clone = rig_reopen(c.fs, "/clone", O_RDWR | O_CREAT);
	c.foreign = rig_reopen(c.fs, "/foreign", O_RDWR | O_CREAT);
	memset(poison, 0xee, SIZE);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t off = (uint64_t)rand_r(&c.seed) % BLOCKS * BLOCK;
		uint64_t len = (1 + (uint64_t)rand_r(&c.seed) % 64) * BLOCK;

		if (off + len > SIZE)
			len = SIZE - off;
		change(&c, off, len);
		assert_ok(lh_file_write(c.foreign, poison, len, 0));
		assert_ok(lh_file_truncate(c.foreign, 0));
	}
	free(poison);
	assert_ok(lh_file_close(c.file));
	assert_ok(lh_file_close(c.clone));
	assert_ok(lh_file_close(c.foreign));
	assert_ok(lh_fs_close(c.fs));
}

static void nobody_sees_a_foreign_byte(void **state)
{
	unsigned seed = getenv("SEED") ? (unsigned)strtoul(getenv("SEED"), NULL, 0) : (unsigned)getpid();
	unsigned rounds = getenv("ROUNDS") ? (unsigned)strtoul(getenv("ROUNDS"), NULL, 0) : 300;
	struct worker workers[READERS + WRITERS];
	struct lh_fs *fs = rig_open(&rig);
	struct lh_lease_stats s;

	print_message("SEED=%u ROUNDS=%u\n", seed, rounds);
	assert_ok(lh_path_mkdir(fs, "/h", 0755));
	assert_ok(lh_file_close(rig_reopen(fs, "/h/hammer", O_RDWR | O_CREAT)));
	{
		struct lh_file *file = rig_reopen(fs, "/h/hammer", O_RDWR);
		uint64_t block[BLOCK / 8];

		for (uint64_t i = 0; i < BLOCKS; i++) {
			block_fill(block, i, 0);
			assert_int_equal(lh_file_write(file, block, BLOCK, i * BLOCK), BLOCK);
		}
		assert_ok(lh_file_close(file));
	}
	for (unsigned i = 0; i < READERS + WRITERS; i++) {
		workers[i] = (struct worker){.path = "/h/hammer", .seed = seed + i, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, i < READERS ? reader : writer, &workers[i]),
				 0);
	}
	changes("/h/hammer", rounds, seed);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < READERS + WRITERS; i++)
		pthread_join(workers[i].thread, NULL);
	s = rig_stats(fs);
	print_message("%llu MiB moved, %llu recalls, %llu breaks, %llu in time, %llu forced\n",
		      (unsigned long long)(atomic_load(&moved) >> 20), (unsigned long long)s.recalls,
		      (unsigned long long)s.breaks, (unsigned long long)s.released_in_time,
		      (unsigned long long)s.forced);
	if (kind)
		assert_int_equal(s.recalls, 0);
	else
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
	if (argc > 2 && strcmp(argv[2], "faulting") == 0)
		kind = LH_LEASE_FAULTING;
	rig_start(&rig, "mem:64M", 10 * SECONDS);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
