/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal (L36, L39): pools are made, opened, owned by one, kept, and refused with a sentence. */
#include "local_test.h"

#include <sys/wait.h>

static char dir[] = "/tmp/lh-local-XXXXXX";
static char pool_path[64];

static int make_dir(void **state)
{
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(pool_path, sizeof(pool_path), "%s/pool", dir);
	return 0;
}

static int remove_dir(void **state)
{
	unlink(pool_path);
	return rmdir(dir);
}

static void make_pool(void)
{
	struct lh_make_options opt = {.size = sizeof(opt), .pool_size = 16 << 20, .overwrite = true};

	ok(lh_pool_make(pool_path, &opt));
	assert_int_equal(opt.pool_size_out, 16 << 20);
	assert_true(opt.class_out[0] != '\0' && opt.kind_out[0] != '\0');
}

static void making_has_its_limits(void **state)
{
	struct lh_make_options opt = {.size = sizeof(opt), .pool_size = 16 << 20};

	make_pool();
	refused(-EEXIST, lh_pool_make(pool_path, &opt));
	opt.pool_size = (16 << 20) - 1;
	refused(-EINVAL, lh_pool_make(pool_path, &opt));
	opt.pool_size = (16ull << 40) + 1;
	refused(-EINVAL, lh_pool_make(pool_path, &opt));
	opt.pool_size = 16 << 20;
	refused(-EINVAL, lh_pool_make("mem:16M", &opt));
	refused(-ENOENT, lh_pool_make("/no/such/place/pool", &opt));
	opt.size = 3;
	refused(-EINVAL, lh_pool_make(pool_path, &opt));
}

static void what_is_no_pool_is_refused(void **state)
{
	struct lh_fs *fs;
	int fd;

	unlink(pool_path);
	refused(-ENOENT, lh_fs_open(pool_path, NULL, &fs));
	fd = open(pool_path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	refused(-EMEDIUMTYPE, lh_fs_open(pool_path, NULL, &fs));
	assert_int_equal(ftruncate(fd, 100), 0);
	refused(-EUCLEAN, lh_fs_open(pool_path, NULL, &fs));
	close(fd);
	refused(-EINVAL, lh_fs_open("mem:", NULL, &fs));
	refused(-EINVAL, lh_fs_open("mem:many", NULL, &fs));
	refused(-EINVAL, lh_fs_open("mem:1M", NULL, &fs));
}

static void what_was_written_is_there_after_closing(void **state)
{
	struct lh_fs *fs;
	struct lh_file *f;
	uint8_t buf[BLOCK];

	make_pool();
	ok(lh_fs_open(pool_path, NULL, &fs));
	f = file_make(fs, "/f");
	write_pattern(f, 0, BLOCK, 3);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
	assert_int_equal(lh_pool_check(pool_path, stdout, false), 0);
	ok(lh_fs_open(pool_path, NULL, &fs));
	ok(lh_file_open(fs, "/f", O_RDONLY, 0, &f));
	assert_int_equal(lh_file_read(f, buf, BLOCK, 0), BLOCK);
	expect_pattern(buf, BLOCK, 0, 3);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

static void read_only_reads_and_gives_no_direct_access(void **state)
{
	struct lh_open_options opt = {.size = sizeof(opt), .read_only = true};
	struct lh_lease *lease;
	struct lh_file *f;
	struct lh_fs *fs;
	uint8_t buf[BLOCK];

	make_pool();
	ok(lh_fs_open(pool_path, NULL, &fs));
	f = file_make(fs, "/f");
	write_pattern(f, 0, BLOCK, 3);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
	ok(lh_fs_open(pool_path, &opt, &fs));
	refused(-EROFS, lh_path_mkdir(fs, "/d", 0755));
	refused(-EROFS, lh_file_open(fs, "/f", O_RDWR, 0, &f));
	ok(lh_file_open(fs, "/f", O_RDONLY, 0, &f));
	assert_int_equal(lh_file_read(f, buf, BLOCK, 0), BLOCK);
	expect_pattern(buf, BLOCK, 0, 3);
	refused(-EROFS, lh_lease_get(f, 0, BLOCK, NULL, &lease));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* Another process has it open: the message names its pid. */
static void a_pool_has_one_owner(void **state)
{
	int up[2], down[2], status;
	struct lh_fs *fs;
	char byte, text[32];
	pid_t child;

	make_pool();
	assert_int_equal(pipe(up), 0);
	assert_int_equal(pipe(down), 0);
	child = fork();
	if (child == 0) {
		close(down[1]);
		if (lh_fs_open(pool_path, NULL, &fs) != 0 || write(up[1], "o", 1) != 1)
			_exit(1);
		(void)!read(down[0], &byte, 1);
		_exit(lh_fs_close(fs) != 0);
	}
	close(up[1]);
	assert_int_equal(read(up[0], &byte, 1), 1);
	refused(-EBUSY, lh_fs_open(pool_path, NULL, &fs));
	snprintf(text, sizeof(text), "%d", (int)child);
	assert_non_null(strstr(lh_error_text(), text));
	refused(-EBUSY, lh_pool_check(pool_path, stdout, false));
	close(down[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	ok(lh_fs_open(pool_path, NULL, &fs));
	ok(lh_fs_close(fs));
	close(up[0]);
	close(down[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(making_has_its_limits),
	    cmocka_unit_test(what_is_no_pool_is_refused),
	    cmocka_unit_test(what_was_written_is_there_after_closing),
	    cmocka_unit_test(read_only_reads_and_gives_no_direct_access),
	    cmocka_unit_test(a_pool_has_one_owner),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
