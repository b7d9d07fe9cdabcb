/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a program that has a path or a descriptor in a mount gets the same file directly; sessions are shared and end
 * with the last file; what a mount says is not believed.
 *
 * The mount is a stand-in: a directory on the disk, whose files answer the attribute and have the inode numbers of a
 * pool that has the same paths. The three calls below take the place of libc's in this program.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "api/mounted.h"

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ok(call)                                                                                                       \
	do {                                                                                                           \
		int64_t got_ = (int64_t)(call);                                                                        \
		if (got_ < 0)                                                                                          \
			fail_msg("%s: %lld: %s", #call, (long long)got_, lh_error_text());                             \
	} while (0)
#define refused(err, call)                                                                                             \
	do {                                                                                                           \
		int64_t got_ = (int64_t)(call);                                                                        \
		if (got_ != (err))                                                                                     \
			fail_msg("%s: %lld instead of %d: %s", #call, (long long)got_, (err), lh_error_text());        \
		assert_true(strlen(lh_error_text()) > 5);                                                              \
	} while (0)

static struct {
	char dir[64], file[96], address[128];
	char says[256]; /* what the attribute is */
	size_t says_len;
	uint8_t uuid[16];
	bool gives_uuid;
	uint64_t ino; /* what the kernel remembers; 0: what the path is */
	struct lh_fs *fs;
	struct lh_server *server;
} env;

static bool in_the_mount(int fd)
{
	char proc[40], name[4096] = "";

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return readlink(proc, name, sizeof(name) - 1) > 0 && strncmp(name, env.dir, strlen(env.dir)) == 0;
}

static ssize_t answer(int fd, const char *name, void *value, size_t size)
{
	const void *from = strcmp(name, MOUNTED_UUID) == 0 ? (const void *)env.uuid : env.says;
	size_t n = from == env.says ? env.says_len : sizeof(env.uuid);

	if (!in_the_mount(fd) || (from != env.says && !env.gives_uuid)) {
		errno = in_the_mount(fd) ? ENODATA : EOPNOTSUPP;
		return -1;
	}
	if (n > size) {
		errno = ERANGE;
		return -1;
	}
	memcpy(value, from, n);
	return (ssize_t)n;
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
	if (fcntl(fd, F_GETFL) & O_PATH) {
		errno = EBADF;
		return -1;
	}
	return answer(fd, name, value, size);
}

ssize_t getxattr(const char *path, const char *name, void *value, size_t size)
{
	int fd = -1;

	assert_int_equal(sscanf(path, "/proc/self/fd/%d", &fd), 1);
	return answer(fd, name, value, size);
}

/* The number that the file of this path has in the pool. */
int fstat(int fd, struct stat *st)
{
	struct lh_stat inside = {.size_of = sizeof(inside)};
	char proc[40], name[4096] = "";
	int err = fstatat(fd, "", st, AT_EMPTY_PATH);

	if (err || !in_the_mount(fd))
		return err;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	assert_true(readlink(proc, name, sizeof(name) - 1) > 0);
	if (lh_path_stat(env.fs, name, false, &inside) == 0)
		st->st_ino = inside.ino;
	if (env.ino)
		st->st_ino = env.ino;
	return 0;
}

/* --- */

static int setup(void **state)
{
	struct lh_server_options opt = {.size = sizeof(opt)};
	struct lh_statfs st = {.size = sizeof(st)};
	struct lh_file *file;
	char at[128];
	int fd;

	strcpy(env.dir, "/tmp/lh-mounted-XXXXXX");
	assert_non_null(mkdtemp(env.dir));
	snprintf(env.file, sizeof(env.file), "%s/file", env.dir);
	fd = open(env.file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	ok(lh_fs_open("mem:64M", NULL, &env.fs));
	ok(lh_path_mkdir(env.fs, "/tmp", 0755));
	ok(lh_path_mkdir(env.fs, env.dir, 0755));
	ok(lh_file_open(env.fs, env.file, O_RDWR | O_CREAT, 0644, &file));
	ok(lh_file_write(file, "inside", 6, 0));
	ok(lh_file_close(file));
	ok(lh_fs_stat(env.fs, &st));
	memcpy(env.uuid, st.uuid, sizeof(env.uuid));
	snprintf(at, sizeof(at), "unix:%s/sock", env.dir);
	ok(lh_server_start(env.fs, at, &opt, &env.server));
	strcpy(env.address, lh_server_address(env.server));
	return 0;
}

static int teardown(void **state)
{
	char name[96];

	lh_server_stop(env.server);
	ok(lh_fs_close(env.fs));
	unlink(env.file);
	snprintf(name, sizeof(name), "%s/sock", env.dir);
	unlink(name);
	rmdir(env.dir);
	return 0;
}

static int honest(void **state)
{
	strcpy(env.says, env.address);
	env.says_len = strlen(env.says);
	env.gives_uuid = true;
	return 0;
}

static void count(void *ctx, const struct lh_session_info *info)
{
	*(unsigned *)ctx += info->pid == getpid() && strcmp(info->state, "open") == 0;
}

/* Of clients: the one of this filesystem itself is not counted. A server hears of an end a moment later. */
static void sessions_are(unsigned want)
{
	unsigned n = 0;

	for (int i = 0; i < 1000; i++) {
		n = 0;
		ok(lh_fs_sessions(env.fs, count, &n));
		n -= n > 0;
		if (n == want)
			return;
		usleep(2000);
	}
	fail_msg("%u sessions instead of %u", n, want);
}

static void one_call_on_a_descriptor(void **state)
{
	int fd = open(env.file, O_RDWR | O_CLOEXEC);
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_WRITE};
	struct lh_lease *lease;
	struct lh_file *file;
	char buf[6];

	ok(lh_file_from_fd(fd, 0, NULL, &file));
	close(fd);
	ok(lh_lease_get(file, 0, 4096, &o, &lease));
	assert_int_equal(lh_lease_write(lease, "INSIDE", 6, 0), 6);
	ok(lh_lease_commit(lease, 0, 6));
	assert_int_equal(lh_file_read(file, buf, 6, 0), 6);
	assert_memory_equal(buf, "INSIDE", 6);
	ok(lh_lease_release(lease));
	sessions_are(1);
	ok(lh_file_close(file));
	sessions_are(0);
}

static void one_call_on_a_path(void **state)
{
	struct lh_file *file;
	char c = 'x';

	ok(lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	refused(-EBADF, lh_file_write(file, &c, 1, 0));
	ok(lh_file_close(file));
}

static void files_share_a_session(void **state)
{
	struct lh_open_options other = {.size = sizeof(other), .fabric = LH_FABRIC_NONE};
	struct lh_file *a, *b, *c;

	ok(lh_file_from_path(env.file, O_RDWR, NULL, &a));
	ok(lh_file_from_path(env.file, O_RDONLY, NULL, &b));
	assert_ptr_equal(lh_file_fs(a), lh_file_fs(b));
	sessions_are(1);
	ok(lh_file_from_path(env.file, O_RDONLY, &other, &c));
	assert_ptr_not_equal(lh_file_fs(a), lh_file_fs(c));
	sessions_are(2);
	ok(lh_file_close(a));
	ok(lh_file_close(c));
	sessions_are(1);
	ok(lh_file_close(b));
	sessions_are(0);
}

/* A file opened in the shared session by its own path is the application's: closing it ends nothing. */
static void the_session_is_counted_in_its_own_files(void **state)
{
	struct lh_file *a, *b;

	ok(lh_file_from_path(env.file, O_RDWR, NULL, &a));
	ok(lh_file_open(lh_file_fs(a), env.file, O_RDONLY, 0, &b));
	ok(lh_file_close(b));
	sessions_are(1);
	ok(lh_file_close(a));
	sessions_are(0);
}

static void *opens_and_closes(void *arg)
{
	for (int i = 0; i < 100; i++) {
		struct lh_file *file;
		char buf[6];

		ok(lh_file_from_path(env.file, O_RDONLY, NULL, &file));
		assert_int_equal(lh_file_read(file, buf, 6, 0), 6);
		ok(lh_file_close(file));
	}
	return arg;
}

static void threads_open_and_close_at_will(void **state)
{
	pthread_t t[6];

	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&t[i], NULL, opens_and_closes, NULL), 0);
	for (unsigned i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	sessions_are(0);
}

/* The thread sanitizer ends a child of a program with threads that starts its own. */
#if defined(__SANITIZE_THREAD__)
#define CHILD_MAY_START_THREADS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_MAY_START_THREADS 0
#endif
#endif
#ifndef CHILD_MAY_START_THREADS
#define CHILD_MAY_START_THREADS 1
#endif

static int in_the_child(struct lh_file *inherited)
{
	struct lh_file *own;
	char buf[6];

	if (lh_file_close(inherited))
		return 2;
	if (lh_file_from_path(env.file, O_RDONLY, NULL, &own))
		return 3;
	if (lh_file_read(own, buf, 6, 0) != 6 || lh_file_close(own))
		return 4;
	return 0;
}

static void a_child_has_sessions_of_its_own(void **state)
{
	struct lh_file *file;
	int status = 0;
	char buf[6];
	pid_t pid;

	if (!CHILD_MAY_START_THREADS)
		skip();
	ok(lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	pid = fork();
	if (pid == 0)
		_exit(in_the_child(file));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(lh_file_read(file, buf, 6, 0), 6);
	ok(lh_file_close(file));
	sessions_are(0);
}

/* Behind the kernel's back: the name that it knows is another file's by now, the number says which one was opened. */
static void a_file_that_was_renamed_meanwhile(void **state)
{
	int fd = open(env.file, O_RDONLY | O_CLOEXEC);
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *file, *other;
	char to[128], buf[6];

	ok(lh_path_stat(env.fs, env.file, false, &st));
	snprintf(to, sizeof(to), "%s.moved", env.file);
	ok(lh_path_rename(env.fs, env.file, to, 0));
	ok(lh_file_open(env.fs, env.file, O_WRONLY | O_CREAT | O_EXCL, 0644, &other));
	ok(lh_file_write(other, "other!", 6, 0));
	env.ino = st.ino;
	ok(lh_file_from_fd(fd, 0, NULL, &file));
	assert_int_equal(lh_file_read(file, buf, 6, 0), 6);
	assert_memory_equal(buf, "INSIDE", 6);
	ok(lh_file_close(file));
	/* Nor is one found that never was. */
	env.ino = 999999;
	refused(-ENOENT, lh_file_from_fd(fd, 0, NULL, &file));
	env.ino = 0;
	ok(lh_file_close(other));
	ok(lh_path_rename(env.fs, to, env.file, 0));
	sessions_are(0);
	close(fd);
}

static void what_a_mount_says_is_not_believed(void **state)
{
	struct lh_file *file;

	env.says_len = 0;
	refused(-EOPNOTSUPP, lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	strcpy(env.says, "/dev/shm/other.pool");
	env.says_len = strlen(env.says);
	refused(-EPROTO, lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	memcpy(env.says, "unix:\0/x", 8);
	env.says_len = 8;
	refused(-EPROTO, lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	memset(env.says, 'x', sizeof(env.says));
	env.says_len = sizeof(env.says);
	refused(-ERANGE, lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	strcpy(env.says, "unix:/nowhere/at/all");
	env.says_len = strlen(env.says);
	refused(-ENOENT, lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	honest(state);
	env.uuid[3] ^= 1;
	refused(-ESTALE, lh_file_from_path(env.file, O_RDONLY, NULL, &file));
	env.uuid[3] ^= 1;
	sessions_are(0);
}

static void what_is_wrong_is_said(void **state)
{
	int fd = open(env.file, O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct lh_mounted m = {.size = sizeof(m)};
	struct lh_file *file;

	refused(-EACCES, lh_file_from_fd(fd, O_RDWR, NULL, &file));
	refused(-EACCES, lh_file_from_fd(fd, O_WRONLY, NULL, &file));
	refused(-EINVAL, lh_file_from_fd(fd, O_RDWR | O_APPEND, NULL, &file));
	refused(-EINVAL, lh_file_from_fd(fd, 0, NULL, NULL));
	refused(-ENOTTY, lh_file_from_fd(null, 0, NULL, &file));
	refused(-EISDIR, lh_file_from_path(env.dir, O_RDONLY, NULL, &file));
	refused(-ENOENT, lh_file_from_path("/nowhere", O_RDONLY, NULL, &file));
	refused(-EINVAL, lh_file_from_path(NULL, O_RDONLY, NULL, &file));
	refused(-ENOTTY, lh_mounted_at("/dev/null", &m));
	refused(-ENOTTY, lh_mounted_at("/dev/no-such-name", &m));
	refused(-ENOENT, lh_mounted_at("/nowhere/at/all", &m));
	refused(-ENOENT, lh_mounted_at("", &m));
	m.size = 8;
	refused(-EINVAL, lh_mounted_at(env.file, &m));
	close(fd);
	refused(-EBADF, lh_file_from_fd(fd, 0, NULL, &file));
	close(null);
}

static void names_inside(void **state)
{
	struct lh_mounted m = {.size = sizeof(m)};
	char path[160], want[160];

	ok(lh_mounted_at(env.file, &m));
	assert_string_equal(m.address, env.address);
	/* The stand-in's mount is the disk's: the last part is what counts. */
	assert_string_equal(strrchr(m.path, '/'), "/file");
	snprintf(path, sizeof(path), "%s/not-there-yet//", env.dir);
	ok(lh_mounted_at(path, &m));
	snprintf(want, sizeof(want), "%s/not-there-yet", strrchr(env.dir, '/'));
	assert_non_null(strstr(m.path, want));
	assert_string_equal(strstr(m.path, want), want);
}

/* --- the table of mounts --- */

static const char table[] = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
			    "23 22 0:21 / /proc rw,nosuid - proc proc rw\n"
			    "150 22 0:44 / /mnt/lh rw,nosuid,nodev - fuse.leasehold pool rw,user_id=0\n"
			    "151 22 0:44 /sub/dir /srv/with\\040blank rw - fuse.leasehold pool rw\n"
			    "152 22 0:44 /one\\134file /srv/single rw - fuse.leasehold pool rw\n"
			    "15 22 0:44 /wrong /mnt/lh rw - fuse.leasehold pool rw\n"
			    "1500 22 0:44 /wrong /mnt/lh rw - fuse.leasehold pool rw\n"
			    "153 22 0:44 /a\\011b /mnt/lh/over rw - fuse.leasehold pool rw\n"
			    "154 22 0:44 / / rw - fuse.leasehold pool rw\n"
			    "155 broken\n";

static int inside(uint64_t id, const char *seen, char out[64])
{
	FILE *f = fmemopen((char *)(uintptr_t)table, sizeof(table) - 1, "r");
	int err;

	assert_non_null(f);
	fail_clear();
	err = mounted_inside(f, id, seen, out, 64);
	fclose(f);
	return err;
}

static void which_path_a_mount_shows(void **state)
{
	static const struct {
		uint64_t id;
		const char *seen, *want;
	} cases[] = {
	    {150, "/mnt/lh", "/"},
	    {150, "/mnt/lh/a/b", "/a/b"},
	    {151, "/srv/with blank/x y", "/sub/dir/x y"},
	    {151, "/srv/with blank", "/sub/dir"},
	    {152, "/srv/single", "/one\\file"},
	    {153, "/mnt/lh/over/c", "/a\tb/c"},
	    {154, "/", "/"},
	    {154, "/x", "/x"},
	};
	char out[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ok(inside(cases[i].id, cases[i].seen, out));
		assert_string_equal(out, cases[i].want);
	}
}

static void which_path_it_does_not_show(void **state)
{
	char out[64];

	refused(-ENOENT, inside(150, "/mnt/lhx", out));
	refused(-ENOENT, inside(150, "/mnt", out));
	refused(-ENOENT, inside(155, "/mnt", out));
	refused(-ENOENT, inside(999, "/mnt/lh/a", out));
	refused(-ENAMETOOLONG,
		inside(150, "/mnt/lh/0123456789012345678901234567890123456789012345678901234567890123", out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(which_path_a_mount_shows),
	    cmocka_unit_test(which_path_it_does_not_show),
	    cmocka_unit_test_setup(one_call_on_a_descriptor, honest),
	    cmocka_unit_test_setup(one_call_on_a_path, honest),
	    cmocka_unit_test_setup(files_share_a_session, honest),
	    cmocka_unit_test_setup(the_session_is_counted_in_its_own_files, honest),
	    cmocka_unit_test_setup(threads_open_and_close_at_will, honest),
	    cmocka_unit_test_setup(a_child_has_sessions_of_its_own, honest),
	    cmocka_unit_test_setup(a_file_that_was_renamed_meanwhile, honest),
	    cmocka_unit_test_setup(what_a_mount_says_is_not_believed, honest),
	    cmocka_unit_test_setup(what_is_wrong_is_said, honest),
	    cmocka_unit_test_setup(names_inside, honest),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
