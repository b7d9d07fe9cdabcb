/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L39, I8): a damaged pool is refused with the rule that it breaks, or mounts and works; what is refused can be
 * repaired, and works then; nobody crashes, hangs or follows garbage. Thousands of images: bits, bytes and words
 *changed in superblock, checkpoint and log; the same with crcs put right again, as a forger would; cut at many lengths;
 *other versions and features.
 *
 *	test_damage [SEED [IMAGE]]	with IMAGE: only this one
 *
 * Every image is looked at by a process of its own, so that a crash has a number.
 */
#include "damage_image.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define IMAGES         40u /* of each of the four sorts; the environment variable IMAGES says another number */
#define FILES          24u
#define LOOK_SECONDS   30u /* a look at an image takes some milliseconds */
#define MEMORY_MAX_KIB (2048 * KIB)

static char dir[] = "/tmp/lh-damage-XXXXXX", pool[64];
static struct image clean, crashed;
static uint8_t *medium; /* the pool file, mapped */
static unsigned first_seed, only = UINT32_MAX, images = IMAGES;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, lh_error_text());
	_exit(1);
}

#define must(call)                                                                                                     \
	do {                                                                                                           \
		if ((call) < 0)                                                                                        \
			die(#call);                                                                                    \
	} while (0)

/* Names end with `mark`. */
static void some_content(struct lh_fs *fs, char mark)
{
	static uint8_t buf[100 * KIB];
	struct lh_file *file, *other;
	char path[64], to[64];

	snprintf(path, sizeof(path), "/d%c", mark);
	must(lh_path_mkdir(fs, path, 0755));
	strcat(path, "/e");
	must(lh_path_mkdir(fs, path, 0700));
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "/d%c/%sfile-%u", mark, i % 3 ? "" : "e/", i);
		rig_fill(buf, sizeof(buf), i + 1, 0);
		must(lh_file_open(fs, path, O_RDWR | O_CREAT, 0644, &file));
		must(lh_file_write(file, buf, 1 + i * 3000, i % 4 == 3 ? 1000000 : 0));
		if (i % 5 == 4) {
			snprintf(to, sizeof(to), "/clone-%u%c", i, mark);
			must(lh_file_open(fs, to, O_RDWR | O_CREAT, 0644, &other));
			must(lh_file_clone_range(other, 0, file, 0, 0));
			must(lh_file_allocate(other, 300 * KIB, 50 * KIB, true));
			must(lh_file_close(other));
			snprintf(to, sizeof(to), "/link-%u%c", i, mark);
			must(lh_path_link(fs, path, to));
			snprintf(to, sizeof(to), "/symlink-%u%c", i, mark);
			must(lh_path_symlink(fs, path, to));
		}
		must(lh_file_close(file));
	}
}

/* Images of a pool that was unmounted and of one whose owner vanished with much in its log. In children: mounts have
 * threads. */
static void fill(bool vanish)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct lh_fs *fs;

		must(lh_fs_open(pool, NULL, &fs));
		if (vanish) {
			must(lh_path_rename(fs, "/d1/file-1", "/renamed", 0));
			must(lh_path_unlink(fs, "/d1/file-2"));
			must(lh_path_rename(fs, "/d1", "/was-d", 0));
			some_content(fs, '2');
			must(lh_fs_sync(fs));
			_exit(0);
		}
		some_content(fs, '1');
		must(lh_fs_close(fs));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void read_some(struct lh_fs *fs, const char *path)
{
	static uint8_t buf[64 * KIB];
	struct lh_extent extents[64];
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *file;
	int n;

	if (lh_file_open(fs, path, O_RDONLY, 0, &file))
		return;
	must(lh_file_stat(file, &st));
	lh_file_read(file, buf, sizeof(buf), 0);
	lh_file_read(file, buf, sizeof(buf), st.size > sizeof(buf) ? st.size - sizeof(buf) : 0);
	n = lh_file_extents(file, 0, UINT64_MAX, extents, 64);
	for (int i = 0; i < n; i++)
		lh_file_read(file, buf, sizeof(buf), extents[i].file_off);
	must(lh_file_close(file));
}

static void walk(struct lh_fs *fs, const char *path, unsigned depth)
{
	struct lh_dirent *e = malloc(sizeof(*e));
	char *below = malloc(4200), target[4096];
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_dir *d;

	if (depth > 20)
		die("a directory contains itself");
	if (lh_dir_open(fs, path, &d) == 0) {
		while (lh_dir_next(d, e) == 1) {
			snprintf(below, 4200, "%s/%s", depth ? path : "", e->name);
			must(lh_path_stat(fs, below, false, &st));
			if (S_ISDIR(st.mode))
				walk(fs, below, depth + 1);
			else if (S_ISLNK(st.mode))
				must(lh_path_readlink(fs, below, target, sizeof(target)));
			else if (S_ISREG(st.mode))
				read_some(fs, below);
		}
		lh_dir_close(d);
	}
	free(below);
	free(e);
}

/* Whatever it holds, it can be used. */
static void work(struct lh_fs *fs)
{
	static uint8_t buf[80000], back[80000];
	struct lh_file *file, *other;

	rig_fill(buf, sizeof(buf), 99, 0);
	must(lh_file_open(fs, "/new", O_RDWR | O_CREAT, 0644, &file));
	must(lh_file_write(file, buf, sizeof(buf), 5));
	must(lh_file_open(fs, "/new-clone", O_RDWR | O_CREAT, 0644, &other));
	must(lh_file_clone_range(other, 0, file, 0, 0));
	must(lh_file_write(file, buf, 100, 5));
	must(lh_file_relocate(file, 0, sizeof(buf)));
	if (lh_file_read(other, back, sizeof(back), 5) != sizeof(back) || memcmp(buf, back, sizeof(buf)) != 0)
		die("what was written is not read");
	must(lh_file_close(other));
	must(lh_file_close(file));
	lh_path_rename(fs, "/d1", "/d3", 0);
	lh_path_unlink(fs, "/clone-41");
	lh_path_unlink(fs, "/d3/file-4");
	lh_path_unlink(fs, "/link-41");
	must(lh_path_unlink(fs, "/new"));
	must(lh_fs_sync(fs));
}

/* A newer program's pool may still be read. */
static int read_only(void)
{
	struct lh_open_options o = {.size = sizeof(o), .read_only = true};
	struct lh_fs *fs;
	int err;

	err = lh_fs_open(pool, &o, &fs);
	if (err)
		return err;
	walk(fs, "/", 0);
	return lh_fs_close(fs);
}

/* The words of a refusal: a rule of docs/format.md, the place, an error that says which sort. */
static void refused(int err)
{
	const char *text = lh_error_text();
	bool rule = strstr(text, "is no pool") != NULL; /* by its length */

	if (err != -EUCLEAN && err != -EBADMSG && err != -EMEDIUMTYPE && err != -EPROTONOSUPPORT && err != -EROFS) {
		fprintf(stderr, "refused with %d: %s\n", err, text);
		_exit(1);
	}
	for (const char *p = text; *p; p++)
		rule = rule || (p[0] >= '1' && p[0] <= '6' && p[1] == '.' && p[2] >= '1' && p[2] <= '9');
	if (strstr(text, pool) == NULL || (!rule && err != -EMEDIUMTYPE)) {
		fprintf(stderr, "a refusal without a place or a rule: %d \"%s\"\n", err, text);
		_exit(1);
	}
	if (err == -EROFS)
		must(read_only());
}

/* What was refused is repaired, unless it is no pool, or of another program; then it is sound and works. */
static void repair(int before)
{
	FILE *null = fopen("/dev/null", "w");
	struct lh_fs *fs;
	int err = lh_pool_repair(pool, null, false);

	if (err == -EMEDIUMTYPE || err == -EPROTONOSUPPORT || (err == -EUCLEAN && before < 0) || err == -EROFS)
		return;
	if (err <= 0)
		die("the repair failed");
	if (lh_pool_check(pool, stderr, false) != 0)
		die("findings after the repair");
	if (lh_pool_repair(pool, null, true) != 0)
		die("a second repair finds something");
	must(lh_fs_open(pool, NULL, &fs));
	walk(fs, "/", 0);
	work(fs);
	must(lh_fs_close(fs));
	if (lh_pool_check(pool, stderr, false) != 0)
		die("repaired, mounted and used, and now there are findings");
}

/* Findings of a check before: -errno, or how many. */
static void look(void)
{
	FILE *null = fopen("/dev/null", "w");
	struct lh_fs *fs;
	int before, err, after;

	alarm(LOOK_SECONDS);
	before = lh_pool_check(pool, null, false);
	err = lh_fs_open(pool, NULL, &fs);
	if (err) {
		refused(err);
		if (before == 0)
			die("the check found nothing but the mount did");
		repair(before);
		_exit(0);
	}
	walk(fs, "/", 0);
	work(fs);
	must(lh_fs_close(fs));
	after = lh_pool_check(pool, stderr, false);
	if (after != 0)
		die("mounted and used, and now there are findings");
	_exit(42);
}

/* Whether it mounted. */
static bool look_in_child(const char *how, unsigned number)
{
	struct rusage usage;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		look();
	assert_int_equal(wait4(pid, &status, 0, &usage), pid);
	if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 42))
		fail_msg("%s, seed %u, image %u: status %#x%s", how, first_seed, number, status,
			 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? " (it hangs)" : "");
	if ((uint64_t)usage.ru_maxrss > MEMORY_MAX_KIB)
		fail_msg("%s, seed %u, image %u: %ld KiB of memory", how, first_seed, number, usage.ru_maxrss);
	return WEXITSTATUS(status) == 42;
}

static void many(const struct image *image, bool sealed, const char *how)
{
	unsigned mounted = 0;

	for (unsigned i = 0; i < images; i++) {
		unsigned seed = first_seed * 7919u + i * 104729u;

		if (only != UINT32_MAX && only != i)
			continue;
		memcpy(medium, image->bytes, IMAGE_BYTES);
		image_damage(image, medium, sealed, &seed);
		mounted += look_in_child(how, i);
	}
	printf("%s: %u of %u images mounted and worked, seed %u\n", how, mounted, images, first_seed);
}

static void damage_of_a_clean_pool_is_refused_or_harmless(void **state)
{
	many(&clean, false, "clean pool");
}

static void damage_of_a_log_is_refused_or_harmless(void **state)
{
	many(&crashed, false, "pool with a log");
}

static void forged_checkpoints_are_refused_or_harmless(void **state)
{
	many(&clean, true, "clean pool, crcs right");
}

static void forged_logs_are_refused_or_harmless(void **state)
{
	many(&crashed, true, "pool with a log, crcs right");
}

static void undamaged_images_mount(void **state)
{
	memcpy(medium, clean.bytes, IMAGE_BYTES);
	assert_true(look_in_child("clean", 0));
	memcpy(medium, crashed.bytes, IMAGE_BYTES);
	assert_true(look_in_child("crashed", 0));
}

static void cut_pools_are_refused(void **state)
{
	static const uint64_t lengths[] = {
	    0, 1, 100, 4095, 4096, 4097, 5000, 8192, MIB, 8 * MIB, 16 * MIB - 4096, 16 * MIB - 1};

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memcpy(medium, clean.bytes, IMAGE_BYTES);
		assert_int_equal(truncate(pool, (off_t)lengths[i]), 0);
		assert_false(look_in_child("cut", i));
		assert_int_equal(truncate(pool, IMAGE_BYTES), 0);
	}
	/* Longer is allowed: the rest is not used. */
	memcpy(medium, clean.bytes, IMAGE_BYTES);
	assert_int_equal(truncate(pool, IMAGE_BYTES + 3 * MIB), 0);
	assert_true(look_in_child("longer", 0));
	assert_int_equal(truncate(pool, IMAGE_BYTES), 0);
}

/* What the text of a refusal must have in it. */
static void refuses(unsigned field, uint8_t value, int want, const char *word)
{
	struct lh_fs *fs;
	int err;

	memcpy(medium, clean.bytes, IMAGE_BYTES);
	medium[field] = value;
	medium[IMAGE_BYTES - 4096 + field] = value;
	image_seal(&clean, medium);
	err = lh_fs_open(pool, NULL, &fs);
	if (err != want || strstr(lh_error_text(), word) == NULL || strstr(lh_error_text(), pool) == NULL)
		fail_msg("byte %u set to %u: %d \"%s\", not %d with %s", field, value, err, lh_error_text(), want,
			 word);
}

static void other_versions_and_features_are_refused(void **state)
{
	refuses(8, 2, -EPROTONOSUPPORT, "version");
	refuses(8, 0, -EPROTONOSUPPORT, "version");
	refuses(32, 1, -EPROTONOSUPPORT, "feature");
	refuses(39, 0x80, -EPROTONOSUPPORT, "feature");
	refuses(24, 1, -EROFS, "read-only");
	refuses(0, 'l', -EMEDIUMTYPE, "pool");
}

static void take(struct image *image)
{
	image->bytes = malloc(IMAGE_BYTES);
	assert_non_null(image->bytes);
	memcpy(image->bytes, medium, IMAGE_BYTES);
	image_scan(image);
}

static int setup(void **state)
{
	struct lh_make_options o = {.size = sizeof(o), .pool_size = IMAGE_BYTES};
	int fd;

	assert_ok(lh_pool_make(pool, &o));
	fd = open(pool, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	medium = mmap(NULL, IMAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(medium != MAP_FAILED);
	close(fd);
	fill(false);
	take(&clean);
	fill(true);
	take(&crashed);
	/* Superblocks, header and chunks; and a log. */
	assert_true(clean.count >= 4);
	assert_true(crashed.count > 30);
	return 0;
}

static int teardown(void **state)
{
	free(clean.bytes);
	free(crashed.bytes);
	unlink(pool);
	return rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(undamaged_images_mount),
	    cmocka_unit_test(other_versions_and_features_are_refused),
	    cmocka_unit_test(cut_pools_are_refused),
	    cmocka_unit_test(damage_of_a_clean_pool_is_refused_or_harmless),
	    cmocka_unit_test(damage_of_a_log_is_refused_or_harmless),
	    cmocka_unit_test(forged_checkpoints_are_refused_or_harmless),
	    cmocka_unit_test(forged_logs_are_refused_or_harmless),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	setenv("LEASEHOLD_LOG", "error", 1);
	first_seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);
	if (argc > 2)
		only = (unsigned)strtoul(argv[2], NULL, 10);
	if (getenv("IMAGES"))
		images = (unsigned)strtoul(getenv("IMAGES"), NULL, 10);
	if (access("/dev/shm", W_OK) == 0)
		strcpy(dir, "/dev/shm/lhdmg-XXXXXX");
	if (mkdtemp(dir) == NULL) {
		fprintf(stderr, "skipped: no directory %s: %s\n", dir, strerror(errno));
		return 77;
	}
	snprintf(pool, sizeof(pool), "%s/pool", dir);
	return cmocka_run_group_tests(tests, setup, teardown);
}
