/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Range operations of many threads on the same files, and files of many extents: appends are neither lost nor torn
 * (L37), readers see every change whole, fs_verify is silent at the end.
 */
#include "fsrig.h"
#include "rnd.h"

#include <time.h>

#define THREADS  6
#define RECORDS  120
#define ROUNDS   600
#define SEGMENT  (8 * BLK)
#define SEGMENTS 8

static void must(bool ok, const char *what, int err)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %d %s\n", what, err, fail_text());
	abort();
}

struct worker {
	struct rig *r;
	unsigned id;
	uint64_t seed;
	pthread_t thread;
	_Atomic bool *stop;
};

static void start(struct worker *w, struct rig *r, struct rnd *rnd, void *(*f)(void *), unsigned id, _Atomic bool *stop)
{
	*w = (struct worker){.r = r, .id = id, .seed = rnd_next(rnd) | 1, .stop = stop};
	assert_int_equal(pthread_create(&w->thread, NULL, f, w), 0);
}

/* --- appends -------------------------------------------------------------------------------------------------------
 */

struct record {
	uint32_t id, number, len, check; /* len: all of it */
};
#define RECORD_MAX (40 * LH_BLOCK_SIZE)

static void *append_main(void *ctx)
{
	struct worker *w = ctx;
	struct rnd rnd = {w->seed};
	uint8_t *buf = malloc(RECORD_MAX);
	struct fs_handle *h;

	must(fs_open(w->r->fs, &w->r->root, "/log", O_WRONLY | O_APPEND, 0, &h) == 0, "open", 0);
	for (uint32_t n = 0; n < RECORDS; n++) {
		uint32_t most = rnd_below(&rnd, 4) ? 300 : RECORD_MAX - sizeof(struct record);
		struct record head = {.id = w->id, .number = n, .len = sizeof(head) + (uint32_t)rnd_below(&rnd, most)};
		ssize_t put;

		head.check = head.id * 7919 + head.number * 31 + head.len;
		memcpy(buf, &head, sizeof(head));
		memset(buf + sizeof(head), (int)(head.check & 255), head.len - sizeof(head));
		put = fs_write(h, &w->r->root, buf, head.len, 12345);
		must(put == (ssize_t)head.len, "append", (int)put);
	}
	fs_close(h, NULL, 0);
	free(buf);
	return NULL;
}

/* Around the end of file: leases on what is there and on what comes, clones that share the last block. */
static void *disturb_main(void *ctx)
{
	struct worker *w = ctx;
	struct rnd rnd = {w->seed};
	struct fs_handle *h = NULL;
	struct fs_handle *g = NULL;

	must(fs_open(w->r->fs, &w->r->root, "/log", O_RDWR, 0, &h) == 0, "open", 0);
	must(fs_open(w->r->fs, &w->r->root, "/copy", O_RDWR | O_CREAT, 0644, &g) == 0, "open", 0);
	while (!atomic_load(w->stop)) {
		struct fs_attr a;
		struct holder o;
		uint64_t at;
		int err;

		must(fs_fstat(h, &a) == 0, "stat", 0);
		at = a.size / BLK * BLK;
		if (rnd_below(&rnd, 3) == 0) {
			err = fs_truncate(g, &w->r->root, 0);
			must(err == 0, "truncate", err);
			err = fs_clone_range(g, 0, h, 0, 0, &w->r->root);
			must(err == 0, "clone", err);
			continue;
		}
		holder_open(&o, w->r, "/log", true);
		err = holder_try(&o, rnd_below(&rnd, 2) ? LEASE_READ : LEASE_WRITE, at, 8 * BLK);
		must(err == 0 || err == -ENODATA || err == -ENOSPC, "lease", err);
		sched_yield();
		holder_close(&o);
	}
	fs_close(g, NULL, 0);
	fs_close(h, NULL, 0);
	return NULL;
}

static void check_log(struct rig *r)
{
	struct fs_handle *h = rig_open(r, "/log", O_RDONLY);
	uint64_t size = rig_size(h);
	uint8_t *all = malloc(size);
	uint32_t next[THREADS] = {0};
	uint64_t at = 0;

	assert_int_equal(fs_read(h, &r->root, all, size, 0), (ssize_t)size);
	while (at < size) {
		struct record head;

		assert_true(size - at >= sizeof(head));
		memcpy(&head, all + at, sizeof(head));
		assert_true(head.id < THREADS);
		assert_int_equal(head.check, head.id * 7919 + head.number * 31 + head.len);
		assert_int_equal(head.number, next[head.id]++);
		assert_true(head.len <= size - at);
		for (uint32_t k = sizeof(head); k < head.len; k++) {
			if (all[at + k] != (head.check & 255))
				assert_int_equal(all[at + k], head.check & 255);
		}
		at += head.len;
	}
	for (unsigned k = 0; k < THREADS; k++)
		assert_int_equal(next[k], RECORDS);
	free(all);
	fs_close(h, NULL, 0);
}

static void appends_of_many_threads_are_whole_and_all_there(void **state)
{
	struct rig *r = *state;
	struct rnd rnd = rnd_start();
	struct worker w[THREADS + 1];
	_Atomic bool stop = false;

	/* Free space in pieces: a record takes several batches. */
	for (int k = 0; k < 200; k++) {
		char path[16];

		snprintf(path, sizeof(path), "/piece%d", k);
		rig_file(r, path, 'p', 3 * BLK);
	}
	for (int k = 0; k < 200; k += 2) {
		char path[16];

		snprintf(path, sizeof(path), "/piece%d", k);
		assert_int_equal(fs_unlink(r->fs, &r->root, path), 0);
	}
	rig_file(r, "/log", 0, 0);
	start(&w[THREADS], r, &rnd, disturb_main, THREADS, &stop);
	for (unsigned k = 0; k < THREADS; k++)
		start(&w[k], r, &rnd, append_main, k, &stop);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(w[k].thread, NULL);
	atomic_store(&stop, true);
	pthread_join(w[THREADS].thread, NULL);
	check_log(r);
	rig_check(r);
	rig_remount(r, true);
	check_log(r);
}

/* The one order of events that tore appends: a hole in the middle of what the record goes to, under another's lease. */
struct slow_append {
	struct rig *r;
	struct fs_handle *h;
	ssize_t result;
};

static void *slow_append_main(void *ctx)
{
	struct slow_append *s = ctx;
	uint8_t *buf = malloc(6 * BLK);

	memset(buf, 'A', 6 * BLK);
	s->result = fs_write(s->h, &s->r->root, buf, 6 * BLK, 0);
	free(buf);
	return NULL;
}

static void an_append_that_waits_for_a_lease_is_not_torn_by_another(void **state)
{
	struct rig *r = *state;
	struct slow_append s = {.r = r};
	struct holder slow;
	pthread_t t;

	rig_file(r, "/log", 'l', BLK);
	s.h = rig_open(r, "/log", O_WRONLY | O_APPEND);
	holder_open(&slow, r, "/log", false);
	holder_get(&slow, LEASE_WRITE, 0, 16 * BLK);
	assert_int_equal(fs_allocate(slow.h, &slow.who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLK, BLK), 0);
	assert_int_equal(pthread_create(&t, NULL, slow_append_main, &s), 0);
	while (slow.recalls == 0)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	/* In place: no lease is in its way. */
	rig_write(r, s.h, "BBBB", 4, 0);
	assert_int_equal(lease_release(slow.session, slow.lease.lease, RANGE_ALL), 0);
	pthread_join(t, NULL);
	assert_int_equal(s.result, 6 * BLK);
	assert_int_equal(rig_size(slow.h), 7 * BLK + 4);
	rig_expect(r, slow.h, 'B', 4, BLK);
	rig_expect(r, slow.h, 'A', 6 * BLK, BLK + 4);
	fs_close(s.h, NULL, 0);
	holder_close(&slow);
}

/* --- ranges --------------------------------------------------------------------------------------------------------
 */

/* Every segment of both files is one byte throughout, whatever happens. */
static int one_change(struct worker *w, struct rnd *rnd, struct fs_handle *f, struct fs_handle *g, uint8_t *buf)
{
	const struct fs_caller *who = &w->r->root;
	uint64_t a = rnd_below(rnd, SEGMENTS) * SEGMENT;
	uint64_t b = rnd_below(rnd, SEGMENTS) * SEGMENT;
	ssize_t n = 0;

	switch (rnd_below(rnd, 10)) {
	case 0:
		memset(buf, (int)(1 + rnd_below(rnd, 4)), SEGMENT);
		n = fs_write(f, who, buf, SEGMENT, a);
		return n < 0 ? (int)n : 0;
	case 1:
		return fs_exchange_range(f, a, g, b, SEGMENT, who);
	case 2:
		return fs_exchange_range(f, a, f, b, SEGMENT, who);
	case 3:
		return fs_allocate(f, who, FALLOC_FL_ZERO_RANGE, a, SEGMENT);
	case 4:
		return fs_allocate(f, who, FALLOC_FL_COLLAPSE_RANGE, a, SEGMENT);
	case 5:
		return fs_allocate(f, who, FALLOC_FL_INSERT_RANGE, a, SEGMENT);
	case 6:
		n = fs_dedupe_range(f, a, g, b, SEGMENT, who);
		return n == 1 ? 0 : (int)n;
	case 7:
		return fs_allocate(f, who, FALLOC_FL_UNSHARE_RANGE, a, SEGMENT);
	case 8:
		n = fs_copy_range(f, a, g, b, SEGMENT, who);
		return n < 0 ? (int)n : 0;
	default:
		return fs_truncate(f, who, SEGMENTS * SEGMENT);
	}
}

static void *ranges_main(void *ctx)
{
	struct worker *w = ctx;
	struct rnd rnd = {w->seed};
	uint8_t *buf = malloc(SEGMENT);
	struct fs_handle *h[2];

	must(fs_open(w->r->fs, &w->r->root, "/f", O_RDWR, 0, &h[0]) == 0, "open", 0);
	must(fs_open(w->r->fs, &w->r->root, "/g", O_RDWR, 0, &h[1]) == 0, "open", 0);
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned k = (unsigned)rnd_below(&rnd, 2);
		uint64_t at = rnd_below(&rnd, SEGMENTS) * SEGMENT;
		ssize_t got;
		int err = one_change(w, &rnd, h[k], h[!k], buf);

		/* -EINVAL: behind an end that moved. */
		must(err == 0 || err == -EINVAL, "change", err);
		got = fs_read(h[k], &w->r->root, buf, SEGMENT, at);
		must(got >= 0, "read", (int)got);
		for (ssize_t b = 1; b < got; b++)
			must(buf[b] == buf[0], "a reader saw half a change", (int)b);
	}
	fs_close(h[0], NULL, 0);
	fs_close(h[1], NULL, 0);
	free(buf);
	return NULL;
}

static void ranges_change_whole_under_readers(void **state)
{
	struct rig *r = *state;
	struct rnd rnd = rnd_start();
	struct worker w[THREADS];

	rig_file(r, "/f", 1, SEGMENTS * SEGMENT);
	rig_file(r, "/g", 2, SEGMENTS * SEGMENT);
	for (unsigned k = 0; k < THREADS; k++)
		start(&w[k], r, &rnd, ranges_main, k, NULL);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(w[k].thread, NULL);
	rig_check(r);
	rig_remount(r, true);
}

/* --- many extents --------------------------------------------------------------------------------------------------
 */

static double since(uint64_t *start_ns)
{
	uint64_t now = clock_now_ns();
	double ms = (double)(now - *start_ns) / 1e6;

	*start_ns = now;
	return ms;
}

/* Extents with a hole before each; nothing is written, so that a sparse pool of any size does. */
static struct fs_handle *comb(struct rig *r, const char *path, uint64_t extents)
{
	struct fs_handle *h = rig_open(r, path, O_RDWR | O_CREAT);

	assert_int_equal(fs_allocate(h, &r->root, 0, 0, 2 * extents * BLK), 0);
	for (uint64_t k = 0; k < extents; k++) {
		int err = fs_allocate(h, &r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * k * BLK, BLK);

		if (err)
			assert_int_equal(err, 0);
	}
	return h;
}

/* A tenth as many, written: clone, the clone of the clone, dedupe, and the end of all three. */
static void share_many(struct rig *r, uint64_t extents)
{
	struct fs_handle *h[3];
	uint64_t t;

	for (int k = 0; k < 3; k++) {
		char path[8];

		snprintf(path, sizeof(path), "/s%d", k);
		h[k] = rig_open(r, path, O_RDWR | O_CREAT);
	}
	for (uint64_t k = 0; k < extents; k++)
		rig_fill(r, h[0], (int)(k % 251), BLK, 2 * k * BLK);
	t = clock_now_ns();
	assert_int_equal(fs_clone_range(h[1], 0, h[0], 0, 0, &r->root), 0);
	printf("clone of %llu extents: %.1f ms\n", (unsigned long long)extents, since(&t));
	assert_int_equal(fs_clone_range(h[2], 0, h[1], 0, 0, &r->root), 0);
	printf("clone of the clone: %.1f ms\n", since(&t));
	assert_int_equal(fs_dedupe_range(h[2], 0, h[0], 0, (2 * extents - 1) * BLK, &r->root), 0);
	printf("dedupe of what is shared: %.1f ms\n", since(&t));
	rig_check(r);
	since(&t);
	for (int k = 0; k < 3; k++) {
		assert_int_equal(fs_truncate(h[k], &r->root, 0), 0);
		fs_close(h[k], NULL, 0);
	}
	printf("truncate of all three: %.1f ms\n", since(&t));
}

struct counted {
	uint64_t count, first;
};

static bool count_run(void *ctx, const struct fs_run *run, unsigned flags)
{
	struct counted *c = ctx;

	(void)flags;
	if (c->count++ == 0)
		c->first = run->file_off;
	return true;
}

static struct counted counted(struct fs_handle *h)
{
	struct counted c = {0};

	assert_int_equal(fs_extents(h, 0, UINT64_MAX, count_run, &c), 0);
	return c;
}

/* EXTENTS=1000000 in the environment for the real thing, with times; the pool is sparse. */
static void files_of_many_extents(void **state)
{
	const char *env = getenv("EXTENTS");
	uint64_t n = env ? strtoull(env, NULL, 10) : 20000;
	struct fs_handle *f, *g;
	struct rig r;
	uint64_t t;

	(void)state;
	assert_int_equal(rig_new(&r, round_up_u64(6 * n * BLK + 256 * MIB + n * 400, 2 * MIB)), 0);
	t = clock_now_ns();
	f = comb(&r, "/f", n);
	printf("%llu extents by punching: %.1f ms\n", (unsigned long long)n, since(&t));
	assert_int_equal(counted(f).count, n);
	since(&t);
	assert_int_equal(fs_allocate(f, &r.root, FALLOC_FL_COLLAPSE_RANGE, 0, 2 * BLK), 0);
	printf("collapse at the start: %.1f ms\n", since(&t));
	assert_int_equal(fs_allocate(f, &r.root, FALLOC_FL_COLLAPSE_RANGE, (2 * n - 8) * BLK, 2 * BLK), 0);
	printf("collapse at the end: %.3f ms\n", since(&t));
	assert_int_equal(fs_allocate(f, &r.root, FALLOC_FL_INSERT_RANGE, BLK, 2 * BLK), 0);
	printf("insert at the start: %.1f ms\n", since(&t));
	assert_int_equal(counted(f).count, n - 2);
	assert_int_equal(counted(f).first, 3 * BLK);
	share_many(&r, n / 10);
	g = comb(&r, "/g", 1000);
	since(&t);
	assert_int_equal(fs_exchange_range(f, 0, g, 0, 2000 * BLK, &r.root), 0);
	printf("exchange of 1000 extents: %.3f ms\n", since(&t));
	assert_int_equal(counted(f).first, BLK);
	assert_int_equal(fs_exchange_range(f, 0, f, n / 2 * BLK, n / 4 * BLK, &r.root), 0);
	printf("exchange of two quarters of one file: %.1f ms\n", since(&t));
	rig_check(&r);
	since(&t);
	assert_int_equal(fs_checkpoint(r.fs), 0);
	printf("checkpoint: %.1f ms\n", since(&t));
	fs_close(f, NULL, 0);
	fs_close(g, NULL, 0);
	rig_remount(&r, true);
	f = rig_open(&r, "/f", O_RDWR);
	since(&t);
	assert_int_equal(fs_truncate(f, &r.root, 0), 0);
	printf("truncate: %.1f ms\n", since(&t));
	fs_close(f, NULL, 0);
	rig_free(&r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(appends_of_many_threads_are_whole_and_all_there),
	    T(an_append_that_waits_for_a_lease_is_not_torn_by_another),
	    T(ranges_change_whole_under_readers),
	    cmocka_unit_test(files_of_many_extents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
