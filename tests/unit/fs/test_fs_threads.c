/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many threads on one directory, one file and one set of leases: nothing is lost, nothing is torn, the locks' order
 * holds (builds with lock checks abort otherwise), and fs_verify is silent at the end. Run under TSan as well.
 */
#include "fsrig.h"
#include "rnd.h"

#define THREADS 4
#define ROUNDS  1500

struct worker {
	struct rig *r;
	unsigned id;
	uint64_t seed;
	pthread_t thread;
};

static void run(struct rig *r, void *(*f)(void *))
{
	struct worker w[THREADS];
	struct rnd rnd = rnd_start();

	for (unsigned k = 0; k < THREADS; k++) {
		w[k] = (struct worker){.r = r, .id = k, .seed = rnd_next(&rnd) | 1};
		assert_int_equal(pthread_create(&w[k].thread, NULL, f, &w[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(w[k].thread, NULL);
	rig_check(r);
	rig_remount(r, true);
}

/* cmocka's assertions jump out of the test's thread only. */
static void must(bool ok, const char *what, int err)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %d %s\n", what, err, fail_text());
	abort();
}

static bool among(int err, int a, int b, int c, int d)
{
	return err == 0 || err == a || err == b || err == c || err == d;
}

/* Names from a small set, so that threads meet: directories move into each other, files come and go. */
static void *names_main(void *ctx)
{
	struct worker *w = ctx;
	struct rnd rnd = {w->seed};
	struct fs *fs = w->r->fs;

	for (unsigned n = 0; n < ROUNDS; n++) {
		char a[32], b[32];
		struct fs_handle *h;
		struct fs_attr attr;
		int err;

		snprintf(a, sizeof(a), "/d%llu/%c", (unsigned long long)rnd_below(&rnd, 3),
			 (char)('a' + rnd_below(&rnd, 5)));
		snprintf(b, sizeof(b), "/d%llu/%c", (unsigned long long)rnd_below(&rnd, 3),
			 (char)('a' + rnd_below(&rnd, 5)));
		switch (rnd_below(&rnd, 8)) {
		case 0:
			err = fs_open(fs, &w->r->root, a, O_CREAT | O_RDWR, 0644, &h);
			must(err == 0 || err == -EISDIR, "open", err);
			if (err)
				break;
			must(fs_write(h, &w->r->root, "x", 1, 0) == 1, "write", 0);
			fs_close(h, NULL, 0);
			break;
		case 1:
			err = fs_mkdir(fs, &w->r->root, a, 0755);
			must(among(err, -EEXIST, 0, 0, 0), "mkdir", err);
			break;
		case 2:
			err = fs_unlink(fs, &w->r->root, a);
			must(among(err, -ENOENT, -EISDIR, 0, 0), "unlink", err);
			break;
		case 3:
			err = fs_rmdir(fs, &w->r->root, a);
			must(among(err, -ENOENT, -ENOTDIR, -ENOTEMPTY, 0), "rmdir", err);
			break;
		case 4:
			err = fs_rename(fs, &w->r->root, a, b, 0);
			must(among(err, -ENOENT, -ENOTDIR, -EISDIR, -ENOTEMPTY), "rename", err);
			break;
		case 5:
			err = fs_rename(fs, &w->r->root, a, b, RENAME_EXCHANGE);
			must(among(err, -ENOENT, 0, 0, 0), "exchange", err);
			break;
		case 6:
			err = fs_link(fs, &w->r->root, a, b);
			must(among(err, -ENOENT, -EEXIST, -EPERM, 0), "link", err);
			break;
		case 7:
			err = fs_stat(fs, &w->r->root, a, true, &attr);
			must(among(err, -ENOENT, 0, 0, 0), "stat", err);
			break;
		}
	}
	return NULL;
}

static void many_threads_on_the_same_names(void **state)
{
	struct rig *r = *state;

	for (int k = 0; k < 3; k++) {
		char path[8];

		snprintf(path, sizeof(path), "/d%d", k);
		assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0755), 0);
	}
	run(r, names_main);
}

/* Directories move up and down a tree while others walk it: no loop ever appears (fs_verify and the next mount tell).
 */
static void *tree_main(void *ctx)
{
	struct worker *w = ctx;
	struct rnd rnd = {w->seed};
	static const char *const place[] = {"/a", "/b", "/c", "/a/x", "/b/x", "/c/x", "/a/b", "/b/c", "/c/a", "/a/x/y"};
	unsigned count = sizeof(place) / sizeof(place[0]);

	for (unsigned n = 0; n < ROUNDS; n++) {
		const char *from = place[rnd_below(&rnd, count)];
		const char *to = place[rnd_below(&rnd, count)];
		struct fs_attr attr;
		int err = fs_rename(w->r->fs, &w->r->root, from, to, rnd_below(&rnd, 4) ? 0 : RENAME_EXCHANGE);

		must(among(err, -ENOENT, -EINVAL, -ENOTEMPTY, -ENOTDIR), "rename", err);
		err = fs_stat(w->r->fs, &w->r->root, "/a/x/../x/y/..", true, &attr);
		must(among(err, -ENOENT, 0, 0, 0), "stat", err);
		if (n % 16 == 0)
			fs_mkdir(w->r->fs, &w->r->root, place[rnd_below(&rnd, 3)], 0755);
	}
	return NULL;
}

static void directories_never_become_their_own_ancestors(void **state)
{
	struct rig *r = *state;

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/a", 0755), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/b", 0755), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/c", 0755), 0);
	run(r, tree_main);
}

/* Appends of one record each: all are there, none is torn. */
static void *append_main(void *ctx)
{
	struct worker *w = ctx;
	struct fs_handle *h;
	char line[24];

	must(fs_open(w->r->fs, &w->r->root, "/log", O_WRONLY | O_APPEND, 0, &h) == 0, "open", 0);
	for (unsigned n = 0; n < ROUNDS; n++) {
		snprintf(line, sizeof(line), "thread %u line %8u\n", w->id, n);
		must(fs_write(h, &w->r->root, line, 23, 0) == 23, "write", 0);
		if (n % 64 == 0)
			must(fs_sync(h, false) == 0, "sync", 0);
	}
	fs_close(h, NULL, 0);
	return NULL;
}

static void appends_are_whole_and_all_there(void **state)
{
	struct rig *r = *state;
	unsigned next[THREADS] = {0};
	struct fs_handle *h;
	char line[24];

	rig_file(r, "/log", 0, 0);
	run(r, append_main);
	h = rig_open(r, "/log", O_RDONLY);
	assert_int_equal(rig_size(h), 23 * THREADS * ROUNDS);
	for (unsigned n = 0; n < THREADS * ROUNDS; n++) {
		unsigned id, k;

		assert_int_equal(fs_read(h, &r->root, line, 23, 23 * n), 23);
		line[23] = '\0';
		assert_int_equal(sscanf(line, "thread %u line %u\n", &id, &k), 2);
		assert_true(id < THREADS);
		assert_int_equal(k, next[id]++);
	}
	fs_close(h, NULL, 0);
}

/* Every byte of the file is one thread's whole write: reads never see two. */
static void *blocks_main(void *ctx)
{
	struct worker *w = ctx;
	struct rnd rnd = {w->seed};
	struct fs_handle *h;
	struct fs_handle *g;
	uint8_t *buf = malloc(16 * BLK);

	must(fs_open(w->r->fs, &w->r->root, "/f", O_RDWR, 0, &h) == 0, "open", 0);
	must(fs_open(w->r->fs, &w->r->root, "/g", O_RDWR, 0, &g) == 0, "open", 0);
	for (unsigned n = 0; n < ROUNDS; n++) {
		uint64_t at = rnd_below(&rnd, 8) * 16 * BLK;
		ssize_t got;
		int err = 0;

		switch (rnd_below(&rnd, 6)) {
		case 0:
		case 1:
			memset(buf, (int)(1 + rnd_below(&rnd, 255)), 16 * BLK);
			must(fs_write(h, &w->r->root, buf, 16 * BLK, at) == (ssize_t)(16 * BLK), "write", 0);
			break;
		case 2:
			got = fs_read(h, &w->r->root, buf, 16 * BLK, at);
			must(got >= 0, "read", (int)got);
			for (ssize_t k = 1; k < got; k++)
				must(buf[k] == buf[0], "a read saw two writes", (int)k);
			break;
		case 3:
			err = fs_relocate(h, &w->r->root, at, 16 * BLK, NULL);
			break;
		case 4:
			err = fs_clone_range(g, at, h, at, 16 * BLK, &w->r->root);
			err = err == -EINVAL ? 0 : err;
			break;
		case 5:
			err = fs_allocate(h, &w->r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 16 * BLK);
			break;
		}
		must(err == 0, "layout", err);
	}
	fs_close(h, NULL, 0);
	fs_close(g, NULL, 0);
	free(buf);
	return NULL;
}

static void reads_and_writes_of_one_file_see_each_other_whole(void **state)
{
	struct rig *r = *state;

	rig_file(r, "/f", 1, 128 * BLK);
	rig_file(r, "/g", 1, 128 * BLK);
	run(r, blocks_main);
}

/* Leases are taken and given back while the layout changes under them; polite and mute holders. */
static void *leases_main(void *ctx)
{
	struct worker *w = ctx;
	struct rnd rnd = {w->seed};
	struct fs_caller who = w->r->root;
	struct fs_handle *h;

	who.deadline_ns = NS_PER_MS;
	must(fs_open(w->r->fs, &who, "/f", O_RDWR, 0, &h) == 0, "open", 0);
	for (unsigned n = 0; n < ROUNDS / 15; n++) {
		uint64_t at = rnd_below(&rnd, 32) * BLK;
		struct holder o;
		int err;

		if (w->id % 2) {
			err = rnd_below(&rnd, 2)
				  ? fs_relocate(h, &who, at, 8 * BLK, NULL)
				  : fs_allocate(h, &who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 4 * BLK);
			must(err == 0, "change", err);
			continue;
		}
		holder_open(&o, w->r, "/f", rnd_below(&rnd, 2));
		err = holder_try(&o, rnd_below(&rnd, 2) ? LEASE_READ : LEASE_WRITE, at, 4 * BLK);
		must(err == 0 || err == -ENODATA, "lease", err);
		if (rnd_below(&rnd, 2))
			sched_yield();
		holder_close(&o);
	}
	fs_close(h, NULL, 0);
	return NULL;
}

static void leases_and_changes_at_once(void **state)
{
	struct rig *r = *state;

	rig_file(r, "/f", 1, 40 * BLK);
	run(r, leases_main);
}

static _Atomic bool stop_checkpoints;

static void *checkpoint_main(void *ctx)
{
	struct rig *r = ctx;

	while (!stop_checkpoints)
		must(fs_checkpoint(r->fs) == 0, "checkpoint", 0);
	return NULL;
}

/* The fuzzy checkpoint: taken again and again under traffic, then a crash; the next mount finds everything. */
static void checkpoints_beside_the_traffic(void **state)
{
	struct rig *r = *state;
	struct fs_attr a;
	pthread_t t;

	for (int round = 0; round < 3; round++) {
		for (int k = 0; k < 3; k++) {
			char path[8];

			snprintf(path, sizeof(path), "/d%d", k);
			fs_mkdir(r->fs, &r->root, path, 0755);
		}
		stop_checkpoints = false;
		assert_int_equal(pthread_create(&t, NULL, checkpoint_main, r), 0);
		struct worker w[THREADS];
		for (unsigned k = 0; k < THREADS; k++) {
			w[k] = (struct worker){.r = r, .id = k, .seed = 77777u * (k + 1) + (unsigned)round};
			assert_int_equal(pthread_create(&w[k].thread, NULL, names_main, &w[k]), 0);
		}
		for (unsigned k = 0; k < THREADS; k++)
			pthread_join(w[k].thread, NULL);
		stop_checkpoints = true;
		pthread_join(t, NULL);
		rig_check(r);
		rig_remount(r, true);
		assert_int_equal(fs_stat(r->fs, &r->root, "/d0", true, &a), 0);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(many_threads_on_the_same_names),  T(directories_never_become_their_own_ancestors),
	    T(appends_are_whole_and_all_there), T(reads_and_writes_of_one_file_see_each_other_whole),
	    T(leases_and_changes_at_once),      T(checkpoints_beside_the_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
