/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L5, L12, L15): while others relocate and clone the file without end, and fill the freed blocks with junk,
 * direct readers see only the file's bytes, direct writes are never lost, and no byte of theirs lands in the junk.
 */
#include "local_test.h"

#include <pthread.h>
#include <stdatomic.h>

#define BLOCKS        256u
#define STATIC_BLOCKS 128u /* read only; the rest is divided among the writers */
#define WRITERS       2u
#define READERS       2u
#define RUN_NS        (3 * NS_PER_SEC)
#define BREAKS_MIN    200u
#define JUNK_BLOCKS   512u
#define JUNK_VERSION  77u
#define DEADLINE_NS   (20 * NS_PER_SEC)
#define WRITER_BLOCKS ((BLOCKS - STATIC_BLOCKS) / WRITERS)

struct hammer {
	struct lh_fs *fs;
	struct lh_file *file;
	struct other breaker;
	atomic_bool stop;
	atomic_ulong reads, writes, breaks, bad;
};

struct worker {
	struct hammer *h;
	unsigned index;
	uint64_t random;
};

static uint64_t next_random(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static bool pattern_holds(const uint8_t *buf, size_t len, uint64_t off, uint8_t version)
{
	uint8_t want[8 * BLOCK];

	fill(want, len, off, version);
	return memcmp(buf, want, len) == 0;
}

static void *reader(void *arg)
{
	struct worker *w = arg;
	struct hammer *h = w->h;
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	struct lh_lease *lease;
	uint8_t buf[8 * BLOCK];

	if (lh_lease_get(h->file, 0, STATIC_BLOCKS * BLOCK, &opt, &lease) != 0) {
		atomic_fetch_add(&h->bad, 1);
		return NULL;
	}
	while (!atomic_load(&h->stop)) {
		uint64_t off = next_random(w) % (STATIC_BLOCKS * BLOCK - sizeof(buf));
		size_t len = 1 + next_random(w) % sizeof(buf);

		if (lh_lease_read(lease, buf, len, off) != (ssize_t)len || !pattern_holds(buf, len, off, 1))
			atomic_fetch_add(&h->bad, 1);
		atomic_fetch_add(&h->reads, 1);
	}
	lh_lease_release(lease);
	return NULL;
}

static void *writer(void *arg)
{
	struct worker *w = arg;
	struct hammer *h = w->h;
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_WRITE};
	uint64_t first = STATIC_BLOCKS + w->index * WRITER_BLOCKS;
	uint8_t versions[WRITER_BLOCKS] = {0};
	struct lh_lease *lease;
	uint8_t buf[BLOCK];

	if (lh_lease_get(h->file, first * BLOCK, WRITER_BLOCKS * BLOCK, &opt, &lease) != 0) {
		atomic_fetch_add(&h->bad, 1);
		return NULL;
	}
	while (!atomic_load(&h->stop)) {
		unsigned i = next_random(w) % WRITER_BLOCKS;
		uint64_t off = (first + i) * BLOCK;

		versions[i]++;
		fill(buf, BLOCK, off, versions[i]);
		if (lh_lease_write(lease, buf, BLOCK, off) != BLOCK)
			atomic_fetch_add(&h->bad, 1);
		if (next_random(w) % 16 == 0 && lh_lease_commit(lease, off, BLOCK) != 0)
			atomic_fetch_add(&h->bad, 1);
		i = next_random(w) % WRITER_BLOCKS;
		off = (first + i) * BLOCK;
		if (lh_file_read(h->file, buf, BLOCK, off) != BLOCK ||
		    (versions[i] && !pattern_holds(buf, BLOCK, off, versions[i])))
			atomic_fetch_add(&h->bad, 1);
		atomic_fetch_add(&h->writes, 1);
	}
	lh_lease_release(lease);
	return NULL;
}

/* The next owner of freed blocks: what it wrote stays as it wrote it. */
static void junk(struct hammer *h, struct fs_handle *file)
{
	struct fs_caller *who = &h->breaker.who;
	uint8_t buf[8 * BLOCK];

	if (fs_truncate(file, who, 0) != 0)
		atomic_fetch_add(&h->bad, 1);
	for (unsigned b = 0; b < JUNK_BLOCKS; b += 8) {
		fill(buf, sizeof(buf), b * BLOCK, JUNK_VERSION);
		if (fs_write(file, who, buf, sizeof(buf), b * BLOCK) != sizeof(buf))
			atomic_fetch_add(&h->bad, 1);
	}
	for (unsigned b = 0; b < JUNK_BLOCKS; b += 8) {
		if (fs_read(file, who, buf, sizeof(buf), b * BLOCK) != sizeof(buf) ||
		    !pattern_holds(buf, sizeof(buf), b * BLOCK, JUNK_VERSION))
			atomic_fetch_add(&h->bad, 1);
	}
}

static int breaker_turn(struct worker *w, struct fs_handle *clone)
{
	struct other *o = &w->h->breaker;
	uint64_t first = next_random(w) % BLOCKS;
	uint64_t count = 1 + next_random(w) % (BLOCKS - first);

	switch (next_random(w) % 4) {
	case 0:
		return fs_clone_range(clone, first * BLOCK, o->handle, first * BLOCK, count * BLOCK, &o->who);
	case 1:
		return fs_truncate(clone, &o->who, 0);
	case 2:
		/* L5: the holder itself. */
		return lh_file_relocate(w->h->file, first * BLOCK, count * BLOCK) < 0;
	default:
		return fs_relocate(o->handle, &o->who, first * BLOCK, count * BLOCK, NULL);
	}
}

static void *breaker(void *arg)
{
	struct worker *w = arg;
	struct hammer *h = w->h;
	struct other *o = &h->breaker;
	struct fs_handle *clone, *waste;

	ok(fs_open(o->fs, &o->who, "/clone", O_RDWR | O_CREAT, 0600, &clone));
	ok(fs_open(o->fs, &o->who, "/junk", O_RDWR | O_CREAT, 0600, &waste));
	while (!atomic_load(&h->stop)) {
		if (breaker_turn(w, clone) != 0)
			atomic_fetch_add(&h->bad, 1);
		atomic_fetch_add(&h->breaks, 1);
		if (next_random(w) % 8 == 0)
			junk(h, waste);
	}
	fs_close(clone, o->session, 2);
	fs_close(waste, o->session, 3);
	return NULL;
}

static void nobody_sees_a_foreign_byte_while_the_file_moves(void **state)
{
	struct worker workers[READERS + WRITERS + 1];
	pthread_t threads[READERS + WRITERS + 1];
	struct lh_lease_stats stats = {.size = sizeof(stats)};
	uint64_t end_ns = clock_now_ns() + RUN_NS;
	struct hammer h = {.fs = mem_open(DEADLINE_NS)};

	h.file = file_make(h.fs, "/f");
	write_pattern(h.file, 0, BLOCKS * BLOCK, 1);
	other_open(&h.breaker, h.fs, "/f");
	for (unsigned i = 0; i < ARRAY_LEN(workers); i++) {
		void *(*run)(void *) = i < READERS ? reader : i < READERS + WRITERS ? writer : breaker;

		workers[i] = (struct worker){&h, i < READERS ? i : i - READERS, 88172645463325252ull + i};
		assert_int_equal(pthread_create(&threads[i], NULL, run, &workers[i]), 0);
	}
	while (clock_now_ns() < end_ns || (atomic_load(&h.breaks) < BREAKS_MIN && clock_now_ns() < end_ns + 2 * RUN_NS))
		usleep(10000);
	atomic_store(&h.stop, true);
	for (unsigned i = 0; i < ARRAY_LEN(workers); i++)
		pthread_join(threads[i], NULL);
	ok(lh_fs_lease_stats(h.fs, &stats));
	print_message("%lu reads, %lu writes, %lu breaks, %llu recalls, %llu forced, %llu refused by key\n", h.reads,
		      h.writes, h.breaks, (unsigned long long)stats.recalls, (unsigned long long)stats.forced,
		      (unsigned long long)stats.refused);
	assert_int_equal(h.bad, 0);
	assert_true(h.reads > 0 && h.writes > 0 && h.breaks > 0);
	assert_int_equal(stats.forced, 0);
	assert_int_equal(stats.leases, 0);
	other_close(&h.breaker);
	ok(lh_file_close(h.file));
	ok(lh_fs_close(h.fs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nobody_sees_a_foreign_byte_while_the_file_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
