/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: plain reads go through cached leases and are what calls would have been, whoever changes the file (L32, L15).
 *
 * The hammer's blocks are stamped in each word with the number of the block and of the change that wrote it. For each
 * block it is known which changes had been done before a read began, and which had begun when it ended: a read may show
 * one of those, and nothing else. So a byte that was there before a truncate, punch or write had returned is found.
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

#define WINDOW  (64 * MIB)
#define BLOCKS  2048u
#define SIZE    (BLOCKS * BLOCK)
#define HISTORY 4096u
#define READERS 3u
#define CHUNK   (256 * KIB)

static struct rig rig;

static uint64_t grants(struct lh_fs *fs)
{
	return rig_stats(fs).grants;
}

/* Reads all of the file in pieces; returns the bytes. */
static uint64_t read_all(struct lh_file *file, size_t piece)
{
	uint8_t *buf = malloc(piece);
	uint64_t off = 0;
	ssize_t n;

	do {
		n = lh_file_read(file, buf, piece, off);
		assert_ok(n);
		off += (uint64_t)n;
	} while (n > 0);
	free(buf);
	return off;
}

/* L32: a sequential reader asks for layouts at most once per 64 MiB, however many extents there are, and ahead. */
static void a_stream_asks_once_per_window(void **state)
{
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_reopen(fs, "/stream", O_RDWR | O_CREAT);
	struct lh_file *other = rig_reopen(fs, "/other", O_RDWR | O_CREAT);
	uint64_t before, asked, direct;
	struct lh_extent two[2];

	/* Two files in turn: extents that do not touch. */
	for (uint64_t off = 0; off < 3 * WINDOW; off += CHUNK) {
		assert_ok(lh_file_allocate(file, off, CHUNK, false));
		assert_ok(lh_file_allocate(other, off, BLOCK, false));
	}
	assert_int_equal(lh_file_extents(file, 0, 3 * WINDOW, two, 2), 2);
	assert_ok(lh_file_close(other));
	before = grants(fs);
	direct = rig_stats(fs).direct_read_bytes;
	assert_int_equal(read_all(file, 100000), 3 * WINDOW);
	asked = grants(fs) - before;
	direct = rig_stats(fs).direct_read_bytes - direct;
	print_message("%llu leases, %llu of 192 MiB read by key\n", (unsigned long long)asked,
		      (unsigned long long)(direct >> 20));
	/* It does not wait for them: on a slow machine the first windows are over before their leases are there. */
	assert_in_range(asked, 1, 4);
	assert_true(direct > WINDOW / 2);
	/* They are in the ledger, and end with the handle (L24). */
	assert_true(rig_stats(fs).leases > 0);
	assert_ok(lh_file_close(file));
	assert_int_equal(rig_stats(fs).leases, 0);
	assert_ok(lh_path_unlink(fs, "/stream"));
	assert_ok(lh_path_unlink(fs, "/other"));
	assert_ok(lh_fs_close(fs));
}

/* Small files and few small reads are not worth a lease; no_cache: nothing is. */
static void small_files_have_no_leases(void **state)
{
	struct lh_open_options o = {.size = sizeof(o), .no_cache = true};
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/small", 100000, 1);
	uint64_t before = grants(fs);
	struct lh_fs *plain;

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(read_all(file, 65536), 100000);
	assert_int_equal(grants(fs), before);
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_open(rig.unix_address, &o, &plain));
	file = rig_file(plain, "/big", 8 * MIB, 1);
	before = grants(fs);
	assert_int_equal(read_all(file, 65536), 8 * MIB);
	assert_int_equal(grants(fs), before);
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(plain));
	assert_ok(lh_fs_close(fs));
}

/* L32: windows and runs of a session are bounded, whatever it reads: the least recently used go. */
static void memory_is_bounded(void **state)
{
	enum { FILES = 300, MOST = 256, PUNCHED = 200 };
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *files[FILES], *file;
	char path[32];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "/many%u", i);
		files[i] = rig_reopen(fs, path, O_RDWR | O_CREAT);
		assert_ok(lh_file_allocate(files[i], 0, 512 * KIB, false));
		assert_int_equal(read_all(files[i], 128 * KIB), 512 * KIB);
	}
	usleep(100000);
	assert_in_range(rig_stats(fs).leases, MOST / 2, MOST);
	assert_int_equal(read_all(files[0], 128 * KIB), 512 * KIB);
	for (unsigned i = 0; i < FILES; i++)
		assert_ok(lh_file_close(files[i]));
	assert_int_equal(rig_stats(fs).leases, 0);
	/* Every second block is a hole: 16,384 runs a window. Three windows are as much as is kept. */
	file = rig_file(fs, "/holes", 8 * MIB, 3);
	for (uint64_t off = 0; off < 8 * MIB; off += 2 * BLOCK)
		assert_ok(lh_file_punch(file, off, BLOCK));
	for (uint64_t off = 8 * MIB; off < PUNCHED * MIB; off += 8 * MIB)
		assert_ok(lh_file_clone_range(file, off, file, 0, 8 * MIB));
	assert_int_equal(read_all(file, MIB), PUNCHED * MIB);
	usleep(300000);
	assert_in_range(rig_stats(fs).leases, 1, 3);
	assert_ok(lh_file_close(file));
	assert_ok(lh_path_unlink(fs, "/holes"));
	assert_ok(lh_fs_close(fs));
}

/* L18, L32: over a limit of pinned bytes reads go on as calls, unseen; and what the cache holds is the application's if
 * it wants it. */
static void a_limit_is_not_seen(void **state)
{
	struct lh_limit limit = {
	    .size = sizeof(limit), .kind = LH_LIMIT_PINS, .id = geteuid(), .bytes = 4 * MIB, .inodes = 1000};
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/limited", 16 * MIB, 18);
	struct lh_lease *lease;

	assert_ok(lh_fs_limit_set(fs, NULL, &limit));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(read_all(file, 128 * KIB), 16 * MIB);
		usleep(20000);
	}
	assert_true(rig_stats(fs).pinned_bytes <= 4 * MIB);
	lease = rig_lease(file, 8 * MIB, 4 * MIB, LH_LEASE_READ);
	rig_read_same(lease, 4 * MIB, 18, 8 * MIB);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_fs_limit_clear(fs, &limit));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
}

/* Reads it until its leases are there. */
static void warm(struct lh_fs *fs, struct lh_file *file, uint64_t size)
{
	uint64_t direct = rig_stats(fs).direct_reads;

	for (unsigned i = 0; i < 1000 && rig_stats(fs).direct_reads == direct; i++)
		assert_int_equal(read_all(file, 65536), size);
	assert_true(rig_stats(fs).direct_reads > direct);
}

/* L32, L15: what another session cut, grew and punched is seen by the next read, to the byte. */
static void the_end_is_where_it_is(void **state)
{
	struct lh_fs *fa = rig_open(&rig), *fb = rig_open(&rig);
	struct lh_file *a = rig_file(fa, "/end", MIB, 7);
	struct lh_file *b = rig_reopen(fb, "/end", O_RDWR);
	static uint8_t buf[2 * MIB], zero[2 * MIB];
	struct lh_file *files[2] = {a, b};

	for (unsigned round = 0; round < 8; round++) {
		/* Every other time it is the reader's own session that changes it: it gets no notice (L5). */
		struct lh_file *changer = files[round % 2 == 0];
		uint64_t cut = 500000 + round * 1000 + 123;

		rig_fill(buf, MIB, 7, 0);
		assert_int_equal(lh_file_write(changer, buf, MIB, 0), MIB);
		warm(fa, a, MIB);
		assert_ok(lh_file_truncate(changer, cut));
		assert_int_equal(lh_file_read(a, buf, sizeof(buf), 0), cut);
		rig_same(buf, cut, 7, 0);
		assert_int_equal(lh_file_read(a, buf, 100, cut), 0);
		assert_int_equal(lh_file_read(a, buf, 100, cut - 10), 10);
		/* A longer file has zeroes between. */
		assert_ok(lh_file_truncate(changer, MIB));
		assert_int_equal(lh_file_read(a, buf, sizeof(buf), cut), MIB - cut);
		assert_memory_equal(buf, zero, MIB - cut);
		warm(fa, a, MIB);
		assert_int_equal(lh_file_write(changer, "x", 1, MIB + 5), 1);
		assert_int_equal(lh_file_read(a, buf, 100, MIB - 1), 7);
		assert_int_equal(buf[6], 'x');
		assert_ok(lh_file_punch(changer, 100, 200000));
		assert_int_equal(lh_file_read(a, buf, 300000, 0), 300000);
		rig_same(buf, 100, 7, 0);
		assert_memory_equal(buf + 100, zero, 200000);
		rig_same(buf + 200100, 300000 - 200100, 7, 200100);
		assert_ok(lh_file_truncate(changer, MIB));
	}
	assert_ok(lh_file_close(a));
	assert_ok(lh_file_close(b));
	assert_ok(lh_fs_close(fa));
	assert_ok(lh_fs_close(fb));
}

/* --- the hammer -----------------------------------------------------------------------------------------------------
 */

enum kind { DATA, EMPTY, CUT }; /* EMPTY: zeroes; CUT: behind the end of the file */

static struct {
	atomic_uint begun[BLOCKS], done[BLOCKS];
	atomic_uchar kind[BLOCKS][HISTORY];
	atomic_bool stop;
	atomic_ullong reads;
	uint64_t blocks; /* of the file; the changer's */
} h;

struct reader {
	pthread_t thread;
	struct lh_fs *fs;
	unsigned number, seed;
	bool sequential;
};

static bool allowed(unsigned block, unsigned from, unsigned to, enum kind kind)
{
	for (unsigned v = from; v <= to; v++) {
		if (atomic_load(&h.kind[block][v % HISTORY]) == kind)
			return true;
	}
	return false;
}

static void word_check(const struct reader *r, unsigned block, unsigned from, unsigned to, uint64_t word)
{
	unsigned version = (unsigned)word;

	if (to - from >= HISTORY)
		return;
	if (word == 0) {
		if (!allowed(block, from, to, EMPTY) && !allowed(block, from, to, CUT))
			fail_msg("reader %u: block %u is zero; changes %u to %u", r->number, block, from, to);
		return;
	}
	if (word >> 32 != block + 1 || version < from || version > to ||
	    atomic_load(&h.kind[block][version % HISTORY]) != DATA)
		fail_msg("reader %u: block %u has %#llx; changes %u to %u", r->number, block, (unsigned long long)word,
			 from, to);
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct lh_file *file = rig_reopen(r->fs, "/hammer", O_RDONLY);
	uint64_t *buf = malloc(64 * BLOCK);
	unsigned before[64];
	unsigned first = 0;

	while (!atomic_load(&h.stop)) {
		unsigned count = 1 + (unsigned)rand_r(&r->seed) % 64;
		ssize_t n;

		if (!r->sequential)
			first = (unsigned)rand_r(&r->seed) % BLOCKS;
		if (count > BLOCKS - first)
			count = BLOCKS - first;
		for (unsigned i = 0; i < count; i++)
			before[i] = atomic_load(&h.done[first + i]);
		n = lh_file_read(file, buf, count * BLOCK, first * BLOCK);
		assert_ok(n);
		assert_int_equal(n % (ssize_t)BLOCK, 0);
		for (unsigned i = 0; i < count; i++) {
			unsigned to = atomic_load(&h.begun[first + i]);

			if (i * BLOCK >= (size_t)n && to - before[i] < HISTORY &&
			    !allowed(first + i, before[i], to, CUT))
				fail_msg("reader %u: block %u is behind the end; changes %u to %u", r->number,
					 first + i, before[i], to);
			for (unsigned w = 0; i * BLOCK < (size_t)n && w < BLOCK / 8; w += 37)
				word_check(r, first + i, before[i], to, buf[i * BLOCK / 8 + w]);
		}
		first = first + count >= BLOCKS ? 0 : first + count;
		atomic_fetch_add(&h.reads, 1);
	}
	free(buf);
	assert_ok(lh_file_close(file));
	return NULL;
}

static void begin(unsigned first, unsigned end, enum kind kind)
{
	for (unsigned i = first; i < end; i++) {
		unsigned v = atomic_load(&h.begun[i]) + 1;

		atomic_store(&h.kind[i][v % HISTORY], (unsigned char)kind);
		atomic_store(&h.begun[i], v);
	}
}

static void done(unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++)
		atomic_store(&h.done[i], atomic_load(&h.begun[i]));
}

static void change_write(struct lh_file *file, unsigned first, unsigned end)
{
	uint64_t *buf = malloc((end - first) * BLOCK);
	unsigned gap = (unsigned)(h.blocks < first ? h.blocks : first);

	begin(gap, first, EMPTY);
	begin(first, end, DATA);
	for (unsigned i = first; i < end; i++) {
		for (unsigned w = 0; w < BLOCK / 8; w++)
			buf[(i - first) * BLOCK / 8 + w] = (uint64_t)(i + 1) << 32 | atomic_load(&h.begun[i]);
	}
	assert_int_equal(lh_file_write(file, buf, (end - first) * BLOCK, first * BLOCK), (end - first) * BLOCK);
	free(buf);
	if (end > h.blocks)
		h.blocks = end;
	done(gap, end);
}

static void change_cut(struct lh_file *file, unsigned at)
{
	unsigned from = (unsigned)(h.blocks < at ? h.blocks : at);

	/* Longer: zeroes; shorter: nothing. */
	begin(from, at, EMPTY);
	begin(at, BLOCKS, CUT);
	assert_ok(lh_file_truncate(file, at * BLOCK));
	h.blocks = at;
	done(from, BLOCKS);
}

static void change(struct lh_fs *fs, struct lh_file *file, struct lh_file *clone, unsigned *seed)
{
	unsigned first = (unsigned)rand_r(seed) % BLOCKS;
	unsigned count = 1 + (unsigned)rand_r(seed) % 64;
	unsigned end = first + count < BLOCKS ? first + count : BLOCKS;
	unsigned inside = end < h.blocks ? end : (unsigned)h.blocks;

	switch (rand_r(seed) % 10) {
	case 0:
		change_cut(file, BLOCKS / 2 + (unsigned)rand_r(seed) % (BLOCKS / 2));
		break;
	case 1:
		if (first >= inside)
			break;
		begin(first, inside, EMPTY);
		assert_ok(lh_file_punch(file, first * BLOCK, (inside - first) * BLOCK));
		done(first, inside);
		break;
	case 2:
		assert_ok(lh_file_clone_range(clone, 0, file, 0, 0)); /* the next writes copy */
		break;
	case 3:
		if (rand_r(seed) % 4 == 0) {
			assert_ok(lh_fs_snapshot(fs, "/", "/shot", 0));
			assert_ok(lh_fs_snapshot_delete(fs, "/shot"));
		}
		break;
	case 4:
	case 5:
	case 6:
		assert_ok(lh_file_relocate(file, first * BLOCK, (end - first) * BLOCK));
		break;
	default:
		change_write(file, first, end);
	}
}

/* L32: no stale byte and no stale end, under thousands of breaks. Two of the readers' sessions are the changer's too.
 */
static void no_read_is_stale(void **state)
{
	unsigned seed = getenv("SEED") ? (unsigned)strtoul(getenv("SEED"), NULL, 0) : (unsigned)getpid();
	unsigned rounds = getenv("ROUNDS") ? (unsigned)strtoul(getenv("ROUNDS"), NULL, 0) : 1000;
	struct lh_fs *own = rig_open(&rig), *other = rig_open(&rig), *third = rig_open(&rig);
	struct lh_file *file = rig_reopen(own, "/hammer", O_RDWR | O_CREAT);
	struct lh_file *clone = rig_reopen(own, "/clone", O_RDWR | O_CREAT);
	struct reader readers[READERS + 1] = {{.fs = own, .seed = seed + 1, .sequential = true},
					      {.fs = other, .seed = seed + 2, .sequential = true},
					      {.fs = other, .seed = seed + 3},
					      {.fs = third, .seed = seed + 4, .sequential = true}};
	struct lh_lease_stats s, before = rig_stats(own);

	print_message("SEED=%u ROUNDS=%u\n", seed, rounds);
	for (unsigned i = 0; i < BLOCKS; i++)
		atomic_store(&h.kind[i][0], CUT);
	change_write(file, 0, BLOCKS);
	for (unsigned i = 0; i <= READERS; i++) {
		readers[i].number = i;
		assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
	}
	for (unsigned i = 0; i < rounds; i++) {
		change(own, file, clone, &seed);
		/* Now and then the leases have time to come back. */
		if (i % 16 == 0)
			usleep(20000);
	}
	atomic_store(&h.stop, true);
	for (unsigned i = 0; i <= READERS; i++)
		pthread_join(readers[i].thread, NULL);
	s = rig_stats(own);
	print_message("%llu reads, %llu by key, %llu grants, %llu recalls, %llu breaks, %llu forced\n",
		      (unsigned long long)atomic_load(&h.reads),
		      (unsigned long long)(s.direct_reads - before.direct_reads),
		      (unsigned long long)(s.grants - before.grants), (unsigned long long)(s.recalls - before.recalls),
		      (unsigned long long)(s.breaks - before.breaks), (unsigned long long)(s.forced - before.forced));
	assert_true(s.direct_reads > before.direct_reads);
	assert_true(s.recalls > before.recalls);
	assert_int_equal(s.forced, before.forced);
	assert_int_equal(s.protocol_errors, 0);
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_close(clone));
	assert_int_equal(rig_stats(own).leases, 0);
	assert_ok(lh_fs_close(own));
	assert_ok(lh_fs_close(other));
	assert_ok(lh_fs_close(third));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_stream_asks_once_per_window),
	    cmocka_unit_test(small_files_have_no_leases),
	    cmocka_unit_test(memory_is_bounded),
	    cmocka_unit_test(a_limit_is_not_seen),
	    cmocka_unit_test(the_end_is_where_it_is),
	    cmocka_unit_test(no_read_is_stale),
	};
	int failed;

	rig_init(argc, argv);
	rig_start(&rig, "mem:512M", 10 * SECONDS);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
