/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: the public calls refuse what cannot be right, with the documented error and a sentence, before any backend is
 * asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "leasehold/leasehold.h"

#define refused(err, call)                                                                                             \
	do {                                                                                                           \
		int64_t got_ = (int64_t)(call);                                                                        \
		if (got_ != (err))                                                                                     \
			fail_msg("%s: %lld instead of %d: %s", #call, (long long)got_, (err), lh_error_text());        \
		assert_true(strlen(lh_error_text()) > 5);                                                              \
	} while (0)
#define ok(call)                                                                                                       \
	do {                                                                                                           \
		int64_t got_ = (int64_t)(call);                                                                        \
		if (got_ < 0)                                                                                          \
			fail_msg("%s: %lld: %s", #call, (long long)got_, lh_error_text());                             \
	} while (0)

static struct lh_fs *fs;
static struct lh_file *file;
static struct lh_lease *lease;

static int setup(void **state)
{
	char buf[8192] = {1};

	ok(lh_fs_open("mem:16M", NULL, &fs));
	ok(lh_file_open(fs, "/f", O_RDWR | O_CREAT, 0644, &file));
	ok(lh_file_write(file, buf, sizeof(buf), 0));
	ok(lh_lease_get(file, 0, 8192, NULL, &lease));
	return 0;
}

static int teardown(void **state)
{
	ok(lh_lease_release(lease));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
	return 0;
}

static void handles_that_are_null(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_statfs sf = {.size = sizeof(sf)};
	struct lh_lease_state ls = {.size = sizeof(ls)};
	struct lh_completion done;
	struct lh_dirent e;
	struct lh_fs *other;
	char c;

	refused(-EINVAL, lh_fs_open(NULL, NULL, &other));
	refused(-EINVAL, lh_fs_open("mem:16M", NULL, NULL));
	refused(-EINVAL, lh_fs_sync(NULL));
	refused(-EINVAL, lh_fs_stat(NULL, &sf));
	refused(-EINVAL, lh_path_stat(NULL, "/", true, &st));
	refused(-EINVAL, lh_path_stat(fs, NULL, true, &st));
	refused(-EINVAL, lh_path_stat(fs, "/", true, NULL));
	refused(-EINVAL, lh_file_read(NULL, &c, 1, 0));
	refused(-EINVAL, lh_file_read(file, NULL, 1, 0));
	refused(-EINVAL, lh_lease_read(NULL, &c, 1, 0));
	refused(-EINVAL, lh_lease_state(NULL, &ls));
	refused(-EINVAL, lh_dir_next(NULL, &e));
	refused(-EINVAL, lh_queue_wait(NULL, 0, &done, 1));
	refused(-EINVAL, lh_event_fd(NULL));
	refused(-EINVAL, lh_fs_leases(fs, NULL, NULL, NULL));
	assert_null(lh_buffer_get(NULL, 1));
	/* These allow NULL, as documented. */
	ok(lh_fs_close(NULL));
	ok(lh_file_close(NULL));
	ok(lh_lease_release(NULL));
	lh_dir_close(NULL);
	lh_queue_free(NULL);
	lh_server_stop(NULL);
}

static void paths_and_flags(void **state)
{
	static char path[5000];
	struct lh_file *other;

	memset(path, 'a', 4097);
	refused(-ENAMETOOLONG, lh_path_mkdir(fs, path, 0755));
	refused(-ENOENT, lh_path_mkdir(fs, "", 0755));
	memset(path, 'a', 300);
	path[0] = '/';
	path[300] = '\0';
	refused(-ENAMETOOLONG, lh_path_mkdir(fs, path, 0755));
	refused(-EINVAL, lh_path_mkdir(fs, "/d", 0100755));
	refused(-EINVAL, lh_path_rename(fs, "/f", "/g", 8));
	refused(-EINVAL, lh_path_rename(fs, "/f", "/g", LH_RENAME_NOREPLACE | LH_RENAME_EXCHANGE));
	refused(-EINVAL, lh_file_open(fs, "/f", O_RDWR | O_DIRECT, 0, &other));
	refused(-EINVAL, lh_file_open(fs, "/f", O_ACCMODE, 0, &other));
	refused(-EINVAL, lh_file_open(fs, "/f", O_RDONLY, 01000000, &other));
	ok(lh_file_open(fs, "/f", O_RDONLY | O_CLOEXEC, 0, &other));
	ok(lh_file_close(other));
}

static void ranges(void **state)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_WRITE};
	struct lh_lease *other;
	struct lh_fs *second;
	struct lh_file *foreign;
	struct lh_queue *q;
	char c = 0;

	refused(-EINVAL, lh_file_read(file, &c, 1, UINT64_MAX));
	refused(-EFBIG, lh_file_write(file, &c, 1, INT64_MAX));
	refused(-EFBIG, lh_file_truncate(file, UINT64_MAX));
	refused(-EINVAL, lh_file_punch(file, 0, 0));
	refused(-EFBIG, lh_file_punch(file, 1, INT64_MAX));
	refused(-EINVAL, lh_file_clone_range(file, 1, file, 0, 4096));
	refused(-EINVAL, lh_lease_get(file, 0, 0, NULL, &other));
	refused(-EINVAL, lh_lease_get(file, 4096, INT64_MAX, NULL, &other));
	refused(-EINVAL, lh_lease_get(file, 0, 4096, &o, &other));
	o.flags = 1u << 20;
	refused(-EINVAL, lh_lease_get(file, 0, 4096, &o, &other));
	refused(-ERANGE, lh_lease_read(lease, &c, 1, 8192));
	refused(-EACCES, lh_lease_write(lease, &c, 1, 0));
	refused(-EINVAL, lh_queue_new(fs, 0, &q));
	refused(-EINVAL, lh_queue_new(fs, 257, &q));
	ok(lh_fs_open("mem:16M", NULL, &second));
	ok(lh_file_open(second, "/f", O_RDWR | O_CREAT, 0644, &foreign));
	refused(-EXDEV, lh_file_clone_range(file, 0, foreign, 0, 0));
	ok(lh_queue_new(second, 1, &q));
	refused(-EXDEV, lh_queue_read(q, lease, &c, 1, 0, NULL));
	lh_queue_free(q);
	ok(lh_file_close(foreign));
	ok(lh_fs_close(second));
}

static void structs_that_grow(void **state)
{
	struct {
		struct lh_open_options known;
		uint64_t future;
	} later = {.known = {.size = sizeof(later)}};
	struct lh_open_options small = {.size = 8};
	struct lh_statfs sf = {0};
	struct lh_revoke_filter none = {.size = sizeof(none)};
	struct lh_fs *other;

	refused(-EINVAL, lh_fs_open("mem:16M", &small, &other));
	ok(lh_fs_open("mem:16M", &later.known, &other));
	ok(lh_fs_close(other));
	later.future = 1;
	refused(-E2BIG, lh_fs_open("mem:16M", &later.known, &other));
	refused(-EINVAL, lh_fs_stat(fs, &sf));
	refused(-EINVAL, lh_fs_revoke(fs, &none));
	refused(-EINVAL, lh_fs_revoke(fs, NULL));
}

static void addresses_and_times(void **state)
{
	struct lh_open_options o = {.size = sizeof(o), .deadline_ns = UINT64_MAX};
	struct lh_server *server;
	struct lh_fs *other;

	refused(-EINVAL, lh_fs_open("mem:16M", &o, &other));
	o.deadline_ns = 2000000000;
	o.deadline_max_ns = 1000000000;
	refused(-EINVAL, lh_fs_open("mem:16M", &o, &other));
	refused(-EINVAL, lh_fs_open("http://localhost/", NULL, &other));
	refused(-EINVAL, lh_fs_open("tls:localhost:1", NULL, &other));
	refused(-ENOENT, lh_fs_open("", NULL, &other));
	refused(-EINVAL,
		lh_pool_make("/tmp/leasehold-never",
			     &(struct lh_make_options){.size = sizeof(struct lh_make_options), .pool_size = 4096}));
	refused(-EINVAL, lh_server_start(NULL, "unix:/tmp/leasehold-never", NULL, &server));
}

/* A call that succeeds leaves no sentence of an earlier one. */
static void a_sentence_belongs_to_the_last_call(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	refused(-ENOENT, lh_path_stat(fs, "/nothing", true, &st));
	assert_non_null(strstr(lh_error_text(), "/nothing"));
	ok(lh_path_stat(fs, "/", true, &st));
	assert_string_equal(lh_error_text(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(handles_that_are_null),
	    cmocka_unit_test(paths_and_flags),
	    cmocka_unit_test(ranges),
	    cmocka_unit_test(structs_that_grow),
	    cmocka_unit_test(addresses_and_times),
	    cmocka_unit_test(a_sentence_belongs_to_the_last_call),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
