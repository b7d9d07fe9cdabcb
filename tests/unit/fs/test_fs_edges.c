/* SPDX-License-Identifier: BSD-2-Clause */
/* L37: limits of names, paths and links at their edge; large directories cost no more per entry than small ones. */
#include "fsrig.h"

#include "fs/core.h"

#undef fail /* cmocka's */

/* --- what memory is asked for, by --wrap -----------------------------------------------------------------------------
 */

static _Atomic uint64_t largest, asked;

static void note(size_t size)
{
	if (size > largest)
		largest = size;
	asked += size;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
	note(size);
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	note(n * size);
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	note(size);
	return __real_realloc(p, size);
}

/* --- names and paths -------------------------------------------------------------------------------------------------
 */

static int stat_err(struct rig *r, const char *path)
{
	struct fs_attr a;

	return fs_stat(r->fs, &r->root, path, true, &a);
}

static void a_name_has_255_bytes(void **state)
{
	struct rig *r = *state;
	char name[FS_NAME_MAX + 3] = "/";
	char to[FS_NAME_MAX + 8];
	struct fs_handle *h;

	memset(name + 1, '\xff', FS_NAME_MAX + 1);
	snprintf(to, sizeof(to), "/d%s", name);
	for (unsigned round = 0; round < 2; round++) {
		int want = round ? 0 : -ENAMETOOLONG;

		name[FS_NAME_MAX + 2 - round] = '\0';
		to[FS_NAME_MAX + 4 - round] = '\0';
		assert_int_equal(fs_open(r->fs, &r->root, name, O_RDWR | O_CREAT, 0644, &h), want);
		if (!want)
			fs_close(h, NULL, 0);
		assert_int_equal(fs_link(r->fs, &r->root, round ? name : "/f", to), want);
		assert_int_equal(fs_unlink(r->fs, &r->root, to), want);
		assert_int_equal(fs_mkdir(r->fs, &r->root, to, 0755), want);
		assert_int_equal(fs_rename(r->fs, &r->root, to, name, RENAME_EXCHANGE), want);
		assert_int_equal(fs_mknod(r->fs, &r->root, to, S_IFIFO | 0600, 0), want ? want : -EEXIST);
		assert_int_equal(fs_symlink(r->fs, &r->root, "x", to), want ? want : -EEXIST);
	}
	rig_remount(r, true);
	assert_int_equal(stat_err(r, to), 0);
}

/* A component in the middle, too; and the whole path. */
static void a_path_has_4096_bytes(void **state)
{
	struct rig *r = *state;
	char *path = malloc(FS_PATH_MAX + 2);
	char part[FS_NAME_MAX + 2];
	unsigned used = 0;

	memset(part, 'p', sizeof(part));
	part[0] = '/';
	part[FS_NAME_MAX + 1] = '\0';
	/* 15 directories of 256 bytes with their slash, then one of 255 and a name of 1: 4096 */
	while (used + 256 < FS_PATH_MAX) {
		memcpy(path + used, part, 257);
		used += 256;
		assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0755), 0);
	}
	assert_int_equal(used, 15 * 256);
	memcpy(path + used, part, 254);
	path[used + 254] = '\0';
	assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0755), 0);
	strcpy(path + used + 254, "/x");
	assert_int_equal(strlen(path), FS_PATH_MAX);
	assert_int_equal(fs_mknod(r->fs, &r->root, path, S_IFREG | 0644, 0), 0);
	assert_int_equal(stat_err(r, path), 0);
	path[FS_PATH_MAX] = 'y';
	path[FS_PATH_MAX + 1] = '\0';
	assert_int_equal(stat_err(r, path), -ENAMETOOLONG);
	/* By a link the same place is reached with less. */
	path[256 * 8] = '\0';
	assert_int_equal(fs_symlink(r->fs, &r->root, path, "/half"), 0);
	path[256 * 8] = '/';
	path[FS_PATH_MAX] = '\0';
	memcpy(path + 256 * 8 - 5, "/half", 5);
	assert_int_equal(stat_err(r, path + 256 * 8 - 5), 0);
	free(path);
}

static void forty_symlinks_are_followed(void **state)
{
	struct rig *r = *state;
	char name[16], target[16];

	for (unsigned k = 0; k < FS_SYMLINKS_MAX + 1; k++) {
		snprintf(name, sizeof(name), "/s%u", k + 1);
		if (k == 0)
			strcpy(target, "f");
		else
			snprintf(target, sizeof(target), "s%u", k);
		assert_int_equal(fs_symlink(r->fs, &r->root, target, name), 0);
	}
	assert_int_equal(stat_err(r, "/s40"), 0);
	assert_int_equal(stat_err(r, "/s41"), -ELOOP);
	assert_int_equal(fs_open(r->fs, &r->root, "/s41", O_RDWR | O_CREAT, 0644, &(struct fs_handle *){NULL}), -ELOOP);
	/* In the middle of a path they count together. */
	assert_int_equal(fs_symlink(r->fs, &r->root, "d", "/sd"), 0);
	rig_file(r, "/d/f", 'f', 1);
	assert_int_equal(fs_symlink(r->fs, &r->root, "/s40", "/d/s"), 0);
	assert_int_equal(stat_err(r, "/sd/f"), 0);
	assert_int_equal(stat_err(r, "/d/s"), -ELOOP);
	assert_int_equal(fs_stat(r->fs, &r->root, "/sd/s", false, &(struct fs_attr){0}), 0);
}

/* --- large directories -----------------------------------------------------------------------------------------------
 */

#define MANY        210000u
#define CALL_MEMORY (256u << 10) /* a call asks for less at once, however large the directory is */

/*
 * Counted, not timed: the memory that the slowest single call of a phase asks for (a table that is made anew shows up
 * there), all of it, and the bytes of log per entry.
 */
static void the_last_entry_costs_what_the_first_did(void **state)
{
	struct rig *r = *state;
	uint64_t bytes[3] = {0};
	uint64_t log[3] = {0};
	struct journal_stats js[2];
	char path[32];

	rig_free(r);
	assert_int_equal(rig_new(r, 512 * MIB), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/many", 0755), 0);
	for (unsigned phase = 0; phase < 3; phase++) {
		asked = 0;
		journal_stats_read(r->fs->journal, &js[0]);
		for (unsigned k = phase * (MANY / 3); k < (phase + 1) * (MANY / 3); k++) {
			snprintf(path, sizeof(path), "/many/%06u", k);
			largest = 0;
			assert_int_equal(fs_mknod(r->fs, &r->root, path, S_IFIFO | 0600, 0), 0);
			if (largest > CALL_MEMORY)
				fprintf(stderr, "entry %u asked for %llu bytes\n", k, (unsigned long long)largest);
			assert_true(largest <= CALL_MEMORY);
		}
		journal_stats_read(r->fs->journal, &js[1]);
		bytes[phase] = asked;
		log[phase] = js[1].log_bytes - js[0].log_bytes;
	}
	print_message("memory asked for per entry: %llu %llu %llu bytes, log %llu bytes\n",
		      (unsigned long long)bytes[0] / (MANY / 3), (unsigned long long)bytes[1] / (MANY / 3),
		      (unsigned long long)bytes[2] / (MANY / 3), (unsigned long long)log[2] / (MANY / 3));
	assert_true(bytes[2] < bytes[0] * 2);
	assert_true(log[2] < log[0] + log[0] / 10);
	assert_int_equal(fs_checkpoint(r->fs), 0);
	for (unsigned k = 0; k < MANY; k++) {
		snprintf(path, sizeof(path), "/many/%06u", k * 7919 % MANY);
		largest = 0;
		assert_int_equal(fs_unlink(r->fs, &r->root, path), 0);
		assert_true(largest <= CALL_MEMORY);
	}
	assert_int_equal(fs_rmdir(r->fs, &r->root, "/many"), 0);
}

struct listing {
	struct rig *r;
	uint8_t *seen; /* by number: how often; only those that stay are looked at */
	unsigned count, churn;
	uint64_t last;
};

/* Called without locks: things come and go under the listing. */
static bool listed(void *ctx, const struct fs_dirent *d)
{
	struct listing *l = ctx;
	char path[32];

	assert_true(d->cookie > l->last);
	l->last = d->cookie;
	l->count++;
	if (d->name[0] == 's')
		l->seen[atoi(d->name + 1)]++;
	if (l->count % 3 == 0 && l->churn < 3000) {
		snprintf(path, sizeof(path), "/d/n%u", l->churn);
		assert_int_equal(fs_mknod(l->r->fs, &l->r->root, path, S_IFIFO | 0600, 0), 0);
		if (l->churn >= 50) {
			snprintf(path, sizeof(path), "/d/n%u", l->churn - 50);
			assert_int_equal(fs_unlink(l->r->fs, &l->r->root, path), 0);
		}
		snprintf(path, sizeof(path), "/d/t%u", l->churn);
		assert_int_equal(fs_unlink(l->r->fs, &l->r->root, path), 0);
		l->churn++;
	}
	return true;
}

/* What stays is listed exactly once, whatever comes and goes meanwhile: in front, behind, and what is just shown. */
static void a_listing_shows_once_what_stays(void **state)
{
	enum { STAY = 5000, GO = 3000 };
	struct rig *r = *state;
	struct listing l = {.r = r, .seen = calloc(STAY, 1)};
	struct fs_handle *h;
	char path[32];

	for (unsigned k = 0; k < STAY; k++) {
		snprintf(path, sizeof(path), "/d/s%u", k);
		assert_int_equal(fs_mknod(r->fs, &r->root, path, S_IFIFO | 0600, 0), 0);
		snprintf(path, sizeof(path), "/d/t%u", k);
		if (k < GO)
			assert_int_equal(fs_mknod(r->fs, &r->root, path, S_IFIFO | 0600, 0), 0);
	}
	h = rig_open(r, "/d", O_RDONLY);
	assert_int_equal(fs_readdir(h, &r->root, 0, listed, &l), 0);
	for (unsigned k = 0; k < STAY; k++)
		assert_int_equal(l.seen[k], 1);
	/* From every cookie on, the rest; from behind the last, nothing. */
	memset(l.seen, 0, STAY);
	l.churn = UINT32_MAX;
	l.count = 0;
	assert_int_equal(fs_readdir(h, &r->root, l.last, listed, &l), 0);
	assert_int_equal(l.count, 0);
	assert_int_equal(fs_readdir(h, &r->root, UINT64_MAX, listed, &l), 0);
	assert_int_equal(l.count, 0);
	fs_close(h, NULL, 0);
	free(l.seen);
}

static bool remove_it(void *ctx, const struct fs_dirent *d)
{
	struct rig *r = ctx;
	char path[300];

	snprintf(path, sizeof(path), "/d/%s", d->name);
	assert_int_equal(fs_unlink(r->fs, &r->root, path), 0);
	return true;
}

/* What "rm -r" does; the cookies that follow are still good. */
static void a_directory_is_emptied_while_it_is_listed(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;
	char path[32];

	for (unsigned k = 0; k < 10000; k++) {
		snprintf(path, sizeof(path), "/d/%u", k);
		assert_int_equal(fs_mknod(r->fs, &r->root, path, S_IFIFO | 0600, 0), 0);
	}
	h = rig_open(r, "/d", O_RDONLY);
	assert_int_equal(fs_readdir(h, &r->root, 0, remove_it, r), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_rmdir(r->fs, &r->root, "/d"), 0);
}

/* A handle of a removed directory lists nothing and makes nothing. */
static void a_removed_directory_is_empty(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = rig_open(r, "/d", O_RDONLY);
	struct listing l = {.r = r};

	assert_int_equal(fs_rmdir(r->fs, &r->root, "/d"), 0);
	assert_int_equal(fs_readdir(h, &r->root, 0, listed, &l), 0);
	assert_int_equal(l.count, 0);
	assert_int_equal(fs_fxattr_set(h, &r->root, "user.x", "y", 1, 0), -ENOENT);
	fs_close(h, NULL, 0);
}

static int edges_setup(void **state)
{
	int err = rig_setup(state);
	struct rig *r = *state;

	if (err)
		return err;
	rig_file(r, "/f", 'f', 1);
	return fs_mkdir(r->fs, &r->root, "/d", 0755);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, edges_setup, rig_teardown)
	    CASE(a_name_has_255_bytes),
	    CASE(a_path_has_4096_bytes),
	    CASE(forty_symlinks_are_followed),
	    CASE(the_last_entry_costs_what_the_first_did),
	    CASE(a_listing_shows_once_what_stays),
	    CASE(a_directory_is_emptied_while_it_is_listed),
	    CASE(a_removed_directory_is_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
