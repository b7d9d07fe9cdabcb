/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: disk to file and file to disk by io_uring move the right bytes while the filesystem takes the buffers back
 *(L12, L15, L20), and never another file's.
 *
 *	test_pin_uring POOL [SECONDS] [SEED]		POOL: "mem:64M", "tmpfs", "file"
 */
#include "pin_test.h"

#include <poll.h>
#include <sys/socket.h>

#define SIZE   ((uint64_t)2 << 20)
#define CHUNK  32768u
#define DEPTH  16u
#define POISON 0xdeadbeefcafef00dull

static const char *where = "mem:64M";
static unsigned seconds = 4;
static uint64_t seed;
static char path[64];

static struct lh_fs *pool_start(void)
{
	struct lh_make_options opt = {.size = sizeof(opt), .pool_size = 64 << 20, .overwrite = true};
	struct lh_fs *fs;

	if (strncmp(where, "mem:", 4) == 0)
		return mem_open();
	snprintf(path, sizeof(path), "%s/lh-uring-%d.pool", *where == 't' ? "/dev/shm" : "/var/tmp", getpid());
	ok(lh_pool_make(path, &opt));
	ok(lh_fs_open(path, NULL, &fs));
	return fs;
}

static void pool_end(struct lh_fs *fs)
{
	ok(lh_fs_close(fs));
	if (path[0])
		unlink(path);
	path[0] = '\0';
}

static int disk_make(const char *dir, uint8_t version)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "%s/lh-disk-XXXXXX", dir);
	fd = mkstemp(name);
	assert_true(fd >= 0);
	unlink(name);
	for (uint64_t off = 0; version && off < SIZE; off += BLOCK) {
		uint8_t block[BLOCK];

		for (unsigned k = 0; k < BLOCK; k++)
			block[k] = byte_of(off + k, version);
		assert_int_equal(pwrite(fd, block, BLOCK, (off_t)off), BLOCK);
	}
	return fd;
}

/* Disk to file, file to disk; the sizes; what cannot be right. */
static void test_there_and_back(void **state)
{
	struct lh_fs *fs = pool_start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_completion done[4];
	struct lh_uring_buffer *in, *out;
	struct lh_uring *ring;
	int from = disk_make("/var/tmp", 3);
	int to = disk_make("/dev/shm", 0);
	uint8_t *back = malloc(SIZE);
	unsigned finished = 0;

	(void)state;
	refused(-EINVAL, lh_uring_new(fs, 0, &ring));
	ok(lh_uring_new(fs, 4, &ring));
	ok(lh_uring_register(ring, file, 0, SIZE, LH_LEASE_WRITE, &in));
	if (*where != 'f')
		assert_true(lh_uring_fixed(in));
	refused(-ERANGE, lh_uring_read(in, from, 0, SIZE - 10, 20, NULL));
	for (uint64_t off = 0; off < SIZE; off += SIZE / 4)
		ok(lh_uring_read(in, from, off, off, SIZE / 4, (void *)(uintptr_t)(off + 1)));
	assert_int_equal(lh_uring_read(in, from, 0, 0, BLOCK, NULL), -EBUSY);
	refused(-EBUSY, lh_uring_unregister(in));
	while (finished < 4) {
		int n = lh_uring_wait(ring, 1, done, 4);

		assert_true(n > 0);
		for (int k = 0; k < n; k++)
			assert_int_equal(done[k].result, SIZE / 4);
		finished += (unsigned)n;
	}
	ok(lh_file_stat(file, &st));
	assert_int_equal(st.size, 0);
	ok(lh_uring_commit(in, 0, SIZE));
	/* At the end of the disk's file: fewer. */
	ok(lh_uring_read(in, from, SIZE - 100, 0, 1000, NULL));
	assert_int_equal(lh_uring_wait(ring, 1, done, 1), 1);
	assert_int_equal(done[0].result, 100);
	ok(lh_uring_read(in, from, 0, 0, BLOCK, NULL));
	assert_int_equal(lh_uring_wait(ring, 1, done, 1), 1);
	ok(lh_uring_unregister(in));
	ok(lh_uring_register(ring, file, 0, SIZE, LH_LEASE_READ, &out));
	refused(-EACCES, lh_uring_read(out, from, 0, 0, BLOCK, NULL));
	refused(-EBADF, lh_uring_commit(out, 0, SIZE));
	ok(lh_uring_write(out, to, 0, 0, SIZE, NULL));
	assert_int_equal(lh_uring_wait(ring, 1, done, 4), 1);
	assert_int_equal(done[0].result, SIZE);
	assert_int_equal(pread(to, back, SIZE, 0), SIZE);
	assert_true(is_pattern(back, 0, SIZE, 3));
	ok(lh_uring_write(out, -1, 0, 0, SIZE, NULL));
	assert_int_equal(lh_uring_wait(ring, 1, done, 4), 1);
	assert_int_equal(done[0].result, -EBADF);
	free(back);
	lh_uring_free(ring);
	close(from);
	close(to);
	ok(lh_file_close(file));
	pool_end(fs);
}

/* L7, L15: an operation that would wait for ever is cut by a move, and goes on at the new place. */
static void test_cut(void **state)
{
	struct lh_fs *fs = pool_start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_completion done;
	struct lh_uring_buffer *in;
	struct lh_uring *ring;
	struct stranger s;
	uint8_t block[BLOCK];
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	write_pattern(file, 0, 16 * BLOCK, 1);
	stranger_open(&s, fs, "/a");
	ok(lh_uring_new(fs, 4, &ring));
	ok(lh_uring_register(ring, file, 0, 16 * BLOCK, LH_LEASE_WRITE, &in));
	ok(lh_uring_read(in, pair[0], UINT64_MAX, 0, 2 * BLOCK, NULL));
	memset(block, 'x', BLOCK);
	assert_int_equal(write(pair[1], block, BLOCK), BLOCK);
	usleep(10000);
	ok(fs_relocate(s.handle, &s.who, 0, 16 * BLOCK, NULL));
	assert_int_equal(write(pair[1], block, BLOCK), BLOCK);
	assert_int_equal(lh_uring_wait(ring, 1, &done, 1), 1);
	assert_int_equal(done.result, 2 * BLOCK);
	for (unsigned k = 0; k < 2; k++) {
		uint8_t now[BLOCK];

		assert_int_equal(lh_file_read(file, now, BLOCK, k * BLOCK), BLOCK);
		assert_memory_equal(now, block, BLOCK);
	}
	/* L24: the file ends under an operation. */
	ok(lh_uring_read(in, pair[0], UINT64_MAX, 0, 2 * BLOCK, NULL));
	stranger_close(&s);
	ok(lh_file_close(file));
	assert_int_equal(lh_uring_wait(ring, 1, &done, 1), 1);
	assert_int_equal(done.result, -EBADF);
	lh_uring_free(ring);
	close(pair[0]);
	close(pair[1]);
	pool_end(fs);
}

/* --- the storm --- */

static struct lh_fs *storm_fs;
static struct lh_file *storm_file;
static atomic_bool stop;
static atomic_ulong storms;

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Moves all, shares all, rewrites what another file freed. Nothing of it changes a byte of the file. */
static void *storm_main(void *arg)
{
	static uint64_t poison[BLOCK / 8];
	uint64_t rnd = seed + 99;
	struct lh_file *copy = file_make(storm_fs, "/copy");
	struct lh_file *other = file_make(storm_fs, "/poison");
	struct stranger s;

	(void)arg;
	for (unsigned k = 0; k < BLOCK / 8; k++)
		poison[k] = POISON;
	stranger_open(&s, storm_fs, "/a");
	while (!stop) {
		uint64_t at = random_next(&rnd) % (SIZE / BLOCK) * BLOCK;
		uint64_t len = (1 + random_next(&rnd) % 128) * BLOCK;

		if (len > SIZE - at)
			len = SIZE - at;
		switch (random_next(&rnd) % 4) {
		case 0:
			ok(fs_relocate(s.handle, &s.who, at, len, NULL));
			break;
		case 1:
			assert_true(lh_file_relocate(storm_file, at, len) >= 0);
			break;
		case 2:
			ok(lh_file_clone_range(copy, 0, storm_file, 0, SIZE));
			break;
		case 3:
			ok(lh_file_truncate(copy, 0));
			ok(lh_file_truncate(other, 0));
			for (unsigned k = 0; k < 64; k++)
				assert_int_equal(lh_file_write(other, poison, BLOCK, k * BLOCK), BLOCK);
			break;
		}
		atomic_fetch_add(&storms, 1);
	}
	stranger_close(&s);
	ok(lh_file_close(copy));
	ok(lh_file_close(other));
	return NULL;
}

/* One pass over all of the file, DEPTH at once. */
static void pass(struct lh_uring *ring, struct lh_uring_buffer *buf, int fd, bool in)
{
	struct lh_completion done[DEPTH];
	uint64_t next = 0;
	unsigned flying = 0;

	while (next < SIZE || flying > 0) {
		int n;

		while (next < SIZE && flying < DEPTH) {
			void *cookie = (void *)(uintptr_t)next;

			if (in)
				ok(lh_uring_read(buf, fd, next, next, CHUNK, cookie));
			else
				ok(lh_uring_write(buf, fd, next, next, CHUNK, cookie));
			next += CHUNK;
			flying++;
		}
		n = lh_uring_wait(ring, 1, done, DEPTH);
		assert_true(n > 0);
		for (int k = 0; k < n; k++) {
			if (done[k].result != CHUNK)
				fail_msg("chunk at %lu: %ld", (unsigned long)(uintptr_t)done[k].cookie,
					 (long)done[k].result);
		}
		flying -= (unsigned)n;
	}
}

static void storm(const char *dir)
{
	uint64_t end = clock_now_ns() + seconds * 500000000ull;
	int disks[2] = {disk_make(dir, 1), disk_make(dir, 2)};
	int out = disk_make(dir, 0);
	uint8_t *back = malloc(SIZE);
	struct lh_uring_buffer *to, *from;
	struct lh_uring *ring;
	pthread_t thread;
	unsigned rounds = 0;

	storm_fs = pool_start();
	storm_file = file_make(storm_fs, "/a");
	write_pattern(storm_file, 0, SIZE, 1);
	stop = false;
	ok(lh_uring_new(storm_fs, DEPTH, &ring));
	ok(lh_uring_register(ring, storm_file, 0, SIZE, LH_LEASE_WRITE, &to));
	ok(lh_uring_register(ring, storm_file, 0, SIZE, LH_LEASE_READ, &from));
	pthread_create(&thread, NULL, storm_main, NULL);
	for (; rounds < 2 || clock_now_ns() < end; rounds++) {
		pass(ring, to, disks[rounds % 2], true);
		assert_int_equal(lh_file_read(storm_file, back, SIZE, 0), SIZE);
		if (!is_pattern(back, 0, SIZE, (uint8_t)(1 + rounds % 2)))
			fail_msg("round %u, seed %llu: the file is not what the disk has", rounds,
				 (unsigned long long)seed);
		pass(ring, from, out, false);
		assert_int_equal(pread(out, back, SIZE, 0), SIZE);
		if (!is_pattern(back, 0, SIZE, (uint8_t)(1 + rounds % 2)))
			fail_msg("round %u, seed %llu: the disk is not what the file has", rounds,
				 (unsigned long long)seed);
		ok(lh_uring_commit(to, 0, SIZE));
	}
	stop = true;
	pthread_join(thread, NULL);
	printf("%s: %u rounds of 2 MiB there and back, %lu changes meanwhile, buffers %s\n", dir, rounds, storms,
	       lh_uring_fixed(to) ? "fixed" : "not fixed");
	lh_uring_free(ring);
	ok(lh_file_close(storm_file));
	pool_end(storm_fs);
	free(back);
	close(disks[0]);
	close(disks[1]);
	close(out);
}

static void test_storm_tmpfs(void **state)
{
	(void)state;
	storm("/dev/shm");
}

static void test_storm_disk(void **state)
{
	(void)state;
	storm("/var/tmp");
}

/* A reader whose file is cut gets what is left, or -ENODATA; nothing else. */
static void test_truncate(void **state)
{
	struct lh_fs *fs = pool_start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_completion done;
	struct lh_uring_buffer *out;
	struct lh_uring *ring;
	int to = disk_make("/dev/shm", 0);
	uint8_t *back = malloc(SIZE);

	(void)state;
	write_pattern(file, 0, SIZE, 5);
	ok(lh_uring_new(fs, 4, &ring));
	ok(lh_uring_register(ring, file, 0, SIZE, LH_LEASE_READ, &out));
	ok(lh_file_punch(file, BLOCK, BLOCK));
	ok(lh_file_truncate(file, 3 * BLOCK + 10));
	ok(lh_uring_write(out, to, 0, 0, SIZE, NULL));
	assert_int_equal(lh_uring_wait(ring, 1, &done, 1), 1);
	assert_int_equal(done.result, 3 * BLOCK + 10);
	assert_int_equal(pread(to, back, SIZE, 0), 3 * BLOCK + 10);
	assert_true(is_pattern(back, 0, BLOCK, 5) && is_pattern(back + 2 * BLOCK, 2 * BLOCK, BLOCK + 10, 5));
	for (unsigned k = 0; k < BLOCK; k++)
		assert_int_equal(back[BLOCK + k], 0);
	refused(-ENODATA, lh_uring_write(out, to, 0, 4 * BLOCK, BLOCK, NULL));
	lh_uring_free(ring);
	close(to);
	free(back);
	ok(lh_file_close(file));
	pool_end(fs);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_cut),        cmocka_unit_test(test_truncate),
	    cmocka_unit_test(test_storm_tmpfs),    cmocka_unit_test(test_storm_disk),
	};
	struct lh_fs *fs = mem_open();
	struct lh_uring *ring;
	int err = lh_uring_new(fs, 1, &ring);

	if (err == -EOPNOTSUPP || err == -EPERM || err == -ENOSYS) {
		printf("skipped: %s\n", lh_error_text());
		return 77;
	}
	ok(err);
	lh_uring_free(ring);
	ok(lh_fs_close(fs));
	where = argc > 1 ? argv[1] : where;
	seconds = argc > 2 ? (unsigned)atoi(argv[2]) : seconds;
	seed = argc > 3 ? strtoull(argv[3], NULL, 0) : clock_now_ns() | 1;
	printf("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
