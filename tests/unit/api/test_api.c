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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void no_snapshot(void *ctx, const struct lh_snapshot_info *info)
{
}

static void no_limit(void *ctx, const struct lh_limit *l)
{
}

static void attributes_snapshots_and_space(void **state)
{
	struct lh_limit l = {.size = sizeof(l), .kind = LH_LIMIT_UID}, small = {.size = 8};
	static char name[300];
	struct lh_file *other;
	char c;

	refused(-EINVAL, lh_path_getxattr(fs, "/f", true, NULL, &c, 1));
	refused(-ERANGE, lh_path_getxattr(fs, "/f", true, "", &c, 1));
	refused(-EINVAL, lh_path_getxattr(fs, "/f", true, "user.a", NULL, 1));
	memset(name, 'n', 256);
	refused(-ERANGE, lh_path_setxattr(fs, "/f", true, name, &c, 1, 0));
	refused(-EINVAL, lh_path_setxattr(fs, "/f", true, "user.a", &c, 1, 4));
	refused(-EINVAL, lh_path_setxattr(fs, "/f", true, "user.a", &c, 1, LH_XATTR_CREATE | LH_XATTR_REPLACE));
	refused(-E2BIG, lh_path_setxattr(fs, "/f", true, "user.a", name, 65537, 0));
	refused(-EINVAL, lh_path_listxattr(fs, "/f", true, NULL, 1));
	refused(-ERANGE, lh_path_removexattr(fs, "/f", true, name));
	refused(-EPERM, lh_path_mknod(fs, "/n", S_IFDIR | 0755, 0));
	refused(-EINVAL, lh_path_mknod(fs, "/n", S_IFLNK | 0755, 0));
	refused(-EINVAL, lh_path_mknod(fs, "/n", 0200755, 0));
	refused(-EINVAL, lh_file_open(fs, "/", O_TMPFILE | O_RDONLY, 0, &other));
	refused(-EINVAL, lh_file_open(fs, "/", O_DIRECTORY, 0, &other));
	refused(-EINVAL, lh_file_fallocate(file, 0, 0, 0));
	refused(-EINVAL, lh_file_dedupe_range(file, 0, NULL, 0, 1));
	refused(-EFBIG, lh_file_exchange_range(file, 0, file, INT64_MAX, 1));
	refused(-EINVAL, lh_file_copy_range(NULL, 0, file, 0, 1));
	refused(-EINVAL, lh_file_seek(file, 0, SEEK_END));
	refused(-ENXIO, lh_file_seek(file, UINT64_MAX, SEEK_DATA));
	refused(-ENOENT, lh_file_link(file, ""));
	refused(-EINVAL, lh_file_chmod(file, 01000000));
	refused(-EINVAL, lh_file_defragment(NULL, NULL));
	refused(-EINVAL, lh_fs_snapshot(fs, "/", "/s", 2));
	refused(-EINVAL, lh_fs_snapshot(fs, NULL, "/s", 0));
	refused(-EINVAL, lh_fs_snapshots(fs, NULL, NULL));
	refused(-EINVAL, lh_fs_snapshots(NULL, no_snapshot, NULL));
	refused(-EINVAL, lh_fs_limits(NULL, no_limit, NULL));
	refused(-EINVAL, lh_fs_limits(fs, NULL, NULL));
	refused(-EINVAL, lh_fs_limit_set(fs, NULL, NULL));
	refused(-EINVAL, lh_fs_limit_set(fs, NULL, &small));
	refused(-EINVAL, lh_fs_limit_set(fs, "/", &l));
	l.kind = LH_LIMIT_TREE;
	refused(-EINVAL, lh_fs_limit_get(fs, NULL, &l));
	l.kind = LH_LIMIT_PINS_POOL + 1;
	refused(-EINVAL, lh_fs_limit_get(fs, NULL, &l));
	refused(-EINVAL, lh_fs_limit_clear(fs, &l));
	l.kind = LH_LIMIT_UID;
	refused(-EINVAL, lh_fs_limit_clear(fs, &l));
	refused(-EINVAL, lh_fs_resize(fs, 1 << 20, NULL, NULL));
	refused(-EINVAL, lh_fs_resize(fs, (32 << 20) + 1, NULL, NULL));
	refused(-EINVAL, lh_fs_evacuate(fs, 0, 0, NULL, NULL));
	refused(-EINVAL, lh_fs_evacuate(fs, UINT64_MAX, 4096, NULL, NULL));
}

/* The handle that a server works on stays open, and shows what the server's clients move. */
static void a_served_filesystem_stays_open(void **state)
{
	char dir[] = "/tmp/lh-api-XXXXXX", address[64];
	struct lh_open_options o = {.size = sizeof(o), .fabric = LH_FABRIC_STREAM};
	struct lh_lease_options lo = {.size = sizeof(lo)};
	struct lh_lease_stats before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
	struct lh_fs *served, *client;
	struct lh_server *server;
	struct lh_lease *remote;
	struct lh_file *f;
	char bytes[4096] = {1};

	assert_non_null(mkdtemp(dir));
	snprintf(address, sizeof(address), "unix:%s/s", dir);
	ok(lh_fs_open("mem:16M", NULL, &served));
	ok(lh_server_start(served, address, NULL, &server));
	refused(-EBUSY, lh_fs_close(served));
	ok(lh_fs_open(address, &o, &client));
	ok(lh_file_open(client, "/f", O_RDWR | O_CREAT, 0644, &f));
	assert_int_equal(lh_file_write(f, bytes, sizeof(bytes), 0), sizeof(bytes));
	ok(lh_fs_lease_stats(served, &before));
	ok(lh_lease_get(f, 0, 4096, &lo, &remote));
	assert_int_equal(lh_lease_read(remote, bytes, sizeof(bytes), 0), sizeof(bytes));
	ok(lh_fs_lease_stats(served, &after));
	assert_int_equal(after.direct_read_bytes, before.direct_read_bytes + 4096);
	ok(lh_lease_release(remote));
	ok(lh_file_close(f));
	ok(lh_fs_close(client));
	lh_server_stop(server);
	ok(lh_fs_close(served));
	rmdir(dir);
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
	    cmocka_unit_test(attributes_snapshots_and_space),
	    cmocka_unit_test(a_served_filesystem_stays_open),
	    cmocka_unit_test(a_sentence_belongs_to_the_last_call),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
