/* SPDX-License-Identifier: BSD-2-Clause */
/* L37, L38: many threads make, move, link, change and remove names in one directory and across several; what is left
 * is whole, at run time and after a remount. */
#include "fsrig.h"

#include "fs/core.h"

#undef fail /* cmocka's */

#define THREADS 4u
#define DIRS    3u
#define NAMES   12u
#define ROUNDS  4000u

struct worker {
	struct rig *r;
	pthread_t thread;
	uint64_t random;
	unsigned made, tmpfiles, wrong;
};

static unsigned rnd(struct worker *w, unsigned below)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(w->random >> 33) % below;
}

/* A name in one of the directories, or in a directory in it. */
static void name(struct worker *w, char *path, size_t room)
{
	unsigned d = rnd(w, DIRS);

	if (rnd(w, 4))
		snprintf(path, room, "/%u/n%u", d, rnd(w, NAMES));
	else
		snprintf(path, room, "/%u/n%u/n%u", d, rnd(w, NAMES), rnd(w, 3));
}

/* Nothing else than these may come of two threads that do anything to the same names. */
static bool expected(int err)
{
	switch (err) {
	case 0:
	case -EEXIST:
	case -ENOENT:
	case -ENOTDIR:
	case -EISDIR:
	case -ENOTEMPTY:
	case -EINVAL:
	case -EPERM:
	case -ENXIO:
	case -ENODATA:
		return true;
	}
	return false;
}

static int make_and_write(struct worker *w, const char *path, int flags)
{
	struct fs_handle *h;
	int err = fs_open(w->r->fs, &w->r->root, path, O_RDWR | flags, 0644, &h);

	if (err)
		return err;
	if (fs_write(h, &w->r->root, path, 4, rnd(w, 9000)) != 4)
		err = -EIO;
	w->made++;
	fs_close(h, NULL, 0);
	return err;
}

static int tmpfile_to(struct worker *w, const char *path)
{
	struct fs_handle *h;
	char dir[8];
	int err;

	snprintf(dir, sizeof(dir), "/%u", rnd(w, DIRS));
	err = fs_open(w->r->fs, &w->r->root, dir, O_RDWR | O_TMPFILE, 0600, &h);
	if (err)
		return err;
	err = fs_link_handle(h, &w->r->root, path);
	w->tmpfiles += !err;
	fs_close(h, NULL, 0);
	return err;
}

static int attribute(struct worker *w, const char *path)
{
	char value[200] = {0};
	char buf[256];
	struct fs_setattr mode = {.mask = FS_SET_MODE, .mode = 0600 + rnd(w, 64)};

	switch (rnd(w, 4)) {
	case 0:
		return fs_xattr_set(w->r->fs, &w->r->root, path, false, "security.x", value, rnd(w, 200), 0);
	case 1:
		return fs_xattr_remove(w->r->fs, &w->r->root, path, false, "security.x");
	case 2:
		return fs_setattr(w->r->fs, &w->r->root, path, true, &mode);
	default:
		return (int)min_u64((uint64_t)fs_xattr_list(w->r->fs, &w->r->root, path, false, buf, sizeof(buf)), 0);
	}
}

static bool look(void *ctx, const struct fs_dirent *d)
{
	struct worker *w = ctx;

	if (d->name[0] != 'n')
		w->wrong++;
	return true;
}

static int list_dir(struct worker *w, const char *path)
{
	struct fs_handle *h;
	int err = fs_open(w->r->fs, &w->r->root, path, O_RDONLY | O_DIRECTORY, 0, &h);

	if (err)
		return err;
	err = fs_readdir(h, &w->r->root, 0, look, w);
	fs_close(h, NULL, 0);
	return err;
}

static int one(struct worker *w)
{
	struct fs *fs = w->r->fs;
	const struct fs_caller *root = &w->r->root;
	char a[64], b[64];
	struct fs_attr attr;

	name(w, a, sizeof(a));
	name(w, b, sizeof(b));
	switch (rnd(w, 14)) {
	case 0:
	case 1:
		return make_and_write(w, a, O_CREAT);
	case 2:
		return make_and_write(w, a, O_CREAT | O_EXCL);
	case 3:
		return fs_mkdir(fs, root, a, 0755);
	case 4:
		return fs_rename(fs, root, a, b, 0);
	case 5:
		return fs_rename(fs, root, a, b, RENAME_EXCHANGE);
	case 6:
		return fs_rename(fs, root, a, b, RENAME_NOREPLACE);
	case 7:
		return fs_unlink(fs, root, a);
	case 8:
		return fs_rmdir(fs, root, a);
	case 9:
		return fs_link(fs, root, a, b);
	case 10:
		return rnd(w, 2) ? fs_mknod(fs, root, a, S_IFIFO | 0600, 0) : fs_symlink(fs, root, "nowhere", a);
	case 11:
		return tmpfile_to(w, a);
	case 12:
		return attribute(w, a);
	default:
		return rnd(w, 2) ? list_dir(w, a) : fs_stat(fs, root, a, true, &attr);
	}
}

static void *work(void *ctx)
{
	struct worker *w = ctx;

	for (unsigned k = 0; k < ROUNDS; k++) {
		int err = one(w);

		if (expected(err))
			continue;
		fprintf(stderr, "unexpected error %d: %s\n", err, fail_text());
		w->wrong++;
	}
	return NULL;
}

static void run(struct rig *r, uint64_t seed)
{
	struct worker w[THREADS];
	unsigned made = 0;

	for (unsigned k = 0; k < THREADS; k++) {
		w[k] = (struct worker){.r = r, .random = seed * 1000 + k};
		assert_int_equal(pthread_create(&w[k].thread, NULL, work, &w[k]), 0);
	}
	/* Beside the traffic. */
	assert_int_equal(fs_checkpoint(r->fs), 0);
	assert_int_equal(fs_sync_all(r->fs), 0);
	for (unsigned k = 0; k < THREADS; k++) {
		pthread_join(w[k].thread, NULL);
		if (w[k].wrong)
			fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
		assert_int_equal(w[k].wrong, 0);
		made += w[k].made;
	}
	assert_true(made > 0);
	rig_check(r);
}

static void names_in_and_across_directories(void **state)
{
	struct rig *r = *state;
	char path[8];

	for (unsigned d = 0; d < DIRS; d++) {
		snprintf(path, sizeof(path), "/%u", d);
		assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0777), 0);
	}
	for (unsigned round = 0; round < 3; round++) {
		run(r, 1 + round);
		rig_remount(r, round & 1);
	}
}

/* --- one directory, everybody's own names --------------------------------------------------------------------------
 */

static void *own_names(void *ctx)
{
	struct worker *w = ctx;
	char a[64], b[64];

	for (unsigned k = 0; k < ROUNDS / 2; k++) {
		snprintf(a, sizeof(a), "/one/%llu-%u", (unsigned long long)w->random, k);
		snprintf(b, sizeof(b), "/one/%llu-%u-moved", (unsigned long long)w->random, k);
		w->wrong += fs_mknod(w->r->fs, &w->r->root, a, S_IFREG | 0600, 0) != 0;
		w->wrong += fs_rename(w->r->fs, &w->r->root, a, b, RENAME_NOREPLACE) != 0;
		if (k % 8)
			w->wrong += fs_unlink(w->r->fs, &w->r->root, b) != 0;
	}
	return NULL;
}

static bool tally(void *ctx, const struct fs_dirent *d)
{
	unsigned *count = ctx;

	(void)d;
	(*count)++;
	return true;
}

static void everybodys_own_names_in_one_directory(void **state)
{
	struct rig *r = *state;
	struct worker w[THREADS];
	struct fs_handle *h;
	unsigned count = 0;

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/one", 0777), 0);
	for (unsigned k = 0; k < THREADS; k++) {
		w[k] = (struct worker){.r = r, .random = k};
		assert_int_equal(pthread_create(&w[k].thread, NULL, own_names, &w[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++) {
		pthread_join(w[k].thread, NULL);
		assert_int_equal(w[k].wrong, 0);
	}
	rig_remount(r, true);
	h = rig_open(r, "/one", O_RDONLY);
	assert_int_equal(fs_readdir(h, &r->root, 0, tally, &count), 0);
	assert_int_equal(count, THREADS * ROUNDS / 2 / 8);
	fs_close(h, NULL, 0);
}

/* --- who gets it
 * ------------------------------------------------------------------------------------------------------ */

static _Atomic unsigned winners;

static void *race(void *ctx)
{
	struct worker *w = ctx;
	struct fs_handle *h;
	char path[32];

	for (unsigned k = 0; k < 300; k++) {
		snprintf(path, sizeof(path), "/race%u", k);
		if (fs_open(w->r->fs, &w->r->root, path, O_RDWR | O_CREAT | O_EXCL, 0600, &h))
			continue;
		winners++;
		fs_close(h, NULL, 0);
	}
	return NULL;
}

static void o_excl_has_one_winner(void **state)
{
	struct rig *r = *state;
	struct worker w[THREADS];

	winners = 0;
	for (unsigned k = 0; k < THREADS; k++) {
		w[k] = (struct worker){.r = r};
		assert_int_equal(pthread_create(&w[k].thread, NULL, race, &w[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(w[k].thread, NULL);
	assert_int_equal(winners, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	    CASE(names_in_and_across_directories),
	    CASE(everybodys_own_names_in_one_directory),
	    CASE(o_excl_has_one_winner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
