/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: who may hold what, what ends with a handle or a process, and what a commit promises (L17, L24, L28, L30). */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig rig;
static struct lh_fs *a, *b;
static const char *way_name;

static int setup(void **state)
{
	a = rig_open(&rig);
	b = rig_open(&rig);
	return 0;
}

static int teardown(void **state)
{
	assert_ok(lh_fs_close(a));
	assert_ok(lh_fs_close(b));
	return 0;
}

static int get(struct lh_file *file, uint32_t flags)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = flags};
	struct lh_lease *lease;
	int err = lh_lease_get(file, 0, BLOCK, &o, &lease);

	if (!err)
		assert_ok(lh_lease_release(lease));
	return err;
}

/* L17: READ needs an open for reading, WRITE one for writing. */
static void a_lease_needs_the_right_open(void **state)
{
	struct lh_file *both = rig_file(a, "/l17", BLOCK, 17);
	struct lh_file *r = rig_reopen(a, "/l17", O_RDONLY);
	struct lh_file *w = rig_reopen(a, "/l17", O_WRONLY);

	assert_int_equal(get(r, LH_LEASE_READ), 0);
	assert_int_equal(get(r, LH_LEASE_WRITE), -EBADF);
	assert_int_equal(get(w, LH_LEASE_WRITE), 0);
	assert_int_equal(get(w, LH_LEASE_READ), -EBADF);
	assert_int_equal(get(both, LH_LEASE_READ), 0);
	assert_int_equal(get(both, LH_LEASE_WRITE), 0);
	assert_ok(lh_file_close(both));
	assert_ok(lh_file_close(r));
	assert_ok(lh_file_close(w));
}

/* L17: a READ key cannot write, nothing reaches past a key, and nobody uses another session's. */
static void keys_reach_what_they_say(void **state)
{
	struct lh_file *file = rig_file(a, "/l17key", 64 * KIB, 18);
	struct lh_lease *r = rig_lease(file, 0, 64 * KIB, LH_LEASE_READ);
	struct lh_lease_extent e;
	uint8_t buf[2 * BLOCK];

	assert_int_equal(lh_lease_extents(r, &e, 1), 1);
	assert_int_equal(lh_raw_read(a, e.key, e.key_off, buf, BLOCK), BLOCK);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(lh_raw_write(a, e.key, e.key_off, buf, BLOCK), -EACCES);
	assert_int_equal(lh_raw_read(a, e.key, e.key_off + e.len - BLOCK, buf, 2 * BLOCK), -ERANGE);
	assert_int_equal(lh_raw_read(a, e.key, UINT64_MAX - BLOCK, buf, BLOCK), -ERANGE);
	assert_int_equal(lh_raw_read(b, e.key, e.key_off, buf, BLOCK), -ESTALE);
	assert_int_equal(lh_lease_write(r, buf, BLOCK, 0), -EACCES);
	rig_read_same(r, 64 * KIB, 18, 0);
	assert_ok(lh_lease_release(r));
	assert_ok(lh_file_close(file));
}

/* L24: leases end with the last close of their handle, and the keys with them. */
static void a_close_ends_its_leases(void **state)
{
	struct lh_file *file = rig_file(a, "/l24", 64 * KIB, 24);
	struct lh_lease *lease = rig_lease(file, 0, 64 * KIB, LH_LEASE_READ);
	uint64_t held = rig_stats(b).leases;
	struct lh_lease_extent e;
	uint8_t buf[BLOCK];

	assert_int_equal(lh_lease_extents(lease, &e, 1), 1);
	assert_ok(lh_file_close(file));
	assert_int_equal(rig_stats(b).leases, held - 1);
	assert_int_equal(lh_raw_read(a, e.key, e.key_off, buf, BLOCK), -ESTALE);
}

/* L24, L6: leases end with their process, however it ends; nobody waits for the deadline. */
static void a_death_ends_its_leases(void **state)
{
	struct lh_file *file = rig_file(a, "/l24b", 64 * KIB, 25);
	struct lh_lease_stats before = rig_stats(a);
	uint64_t start;
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* A program of its own: the threads of this one's sessions are not in the child. */
		dup2(ready[1], STDOUT_FILENO);
		execl("/proc/self/exe", "holder", way_name, "hold", rig.unix_address, rig.tcp_address, (char *)NULL);
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	assert_int_equal(rig_stats(a).leases, before.leases + 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	start = rig_now();
	assert_ok(lh_file_truncate(file, 0));
	assert_true(rig_now() - start < 10 * SECONDS);
	assert_int_equal(rig_stats(a).leases, before.leases);
	assert_ok(lh_file_close(file));
}

/* L28: what is written directly is visible to every reader at once. L30: the size grows at commit, never before. */
static void the_size_grows_at_commit(void **state)
{
	struct lh_file *fa = rig_file(a, "/l30", BLOCK, 30);
	struct lh_file *fb = rig_reopen(b, "/l30", O_RDONLY);
	struct lh_lease *w = rig_lease(fa, 0, 64 * KIB, LH_LEASE_WRITE);
	struct lh_stat st = {.size_of = sizeof(st)};
	uint8_t buf[64 * KIB];
	int64_t mtime;

	assert_ok(lh_file_stat(fb, &st));
	mtime = st.mtime_ns;
	rig_fill(buf, sizeof(buf), 31, 0);
	usleep(20000);
	assert_int_equal(lh_lease_write(w, buf, 40 * KIB, 0), 40 * KIB);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(lh_file_read(fb, buf, sizeof(buf), 0), BLOCK);
	rig_same(buf, BLOCK, 31, 0);
	assert_ok(lh_file_stat(fb, &st));
	assert_int_equal(st.size, BLOCK);
	assert_ok(lh_lease_commit(w, 0, 40 * KIB));
	assert_ok(lh_file_stat(fb, &st));
	assert_int_equal(st.size, 40 * KIB);
	assert_true(st.mtime_ns > mtime);
	assert_int_equal(lh_file_read(fb, buf, sizeof(buf), 0), 40 * KIB);
	rig_same(buf, 40 * KIB, 31, 0);
	assert_int_equal(lh_lease_commit(w, 64 * KIB, BLOCK), -ERANGE);
	assert_ok(lh_lease_release(w));
	assert_ok(lh_file_close(fa));
	assert_ok(lh_file_close(fb));
}

/* L28: what was committed survives the server's sudden death, its size too. */
static void a_commit_survives_the_server(void **state)
{
	struct lh_make_options make = {.size = sizeof(make), .pool_size = 32 * MIB};
	char path[] = "/tmp/leasehold-pool-XXXXXX";
	int fd = mkstemp(path);
	struct lh_file *file;
	struct lh_lease *w;
	struct rig own;
	struct lh_fs *fs;
	uint8_t *buf = malloc(MIB);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(unlink(path), 0);
	assert_ok(lh_pool_make(path, &make));
	rig_start(&own, path, SECONDS);
	fs = rig_open(&own);
	file = rig_file(fs, "/f", 0, 0);
	w = rig_lease(file, 0, MIB, LH_LEASE_WRITE);
	rig_fill(buf, MIB, 28, 0);
	assert_int_equal(lh_lease_write(w, buf, MIB, 0), MIB);
	assert_ok(lh_lease_commit(w, 0, MIB));
	rig_kill(&own);
	lh_lease_release(w);
	lh_file_close(file);
	lh_fs_close(fs);
	assert_ok(lh_fs_open(path, NULL, &fs));
	file = rig_reopen(fs, "/f", O_RDONLY);
	memset(buf, 0, MIB);
	assert_int_equal(lh_file_read(file, buf, MIB, 0), MIB);
	rig_same(buf, MIB, 28, 0);
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	unlink(path);
	free(buf);
}

/* L1, L17: names and listings over the wire: more entries than one message carries, each exactly once. */
static void a_large_directory_is_listed_once(void **state)
{
	unsigned seen[1000] = {0};
	struct lh_dirent e;
	struct lh_dir *dir;
	char path[64];
	int n;

	assert_ok(lh_path_mkdir(a, "/many", 0755));
	for (unsigned i = 0; i < 1000; i++) {
		struct lh_file *file;

		snprintf(path, sizeof(path), "/many/f%u", i);
		assert_ok(lh_file_open(a, path, O_RDWR | O_CREAT, 0644, &file));
		assert_ok(lh_file_close(file));
	}
	assert_ok(lh_dir_open(b, "/many", &dir));
	while ((n = lh_dir_next(dir, &e)) == 1) {
		unsigned i = (unsigned)strtoul(e.name + 1, NULL, 10);

		assert_true(i < 1000);
		seen[i]++;
	}
	assert_int_equal(n, 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(seen[i], 1);
	lh_dir_close(dir);
}

/* The process that will be killed: holds a lease for ever. */
static int hold(char **argv)
{
	struct lh_fs *fs;

	snprintf(rig.unix_address, sizeof(rig.unix_address), "%s", argv[3]);
	snprintf(rig.tcp_address, sizeof(rig.tcp_address), "%s", argv[4]);
	fs = rig_open(&rig);
	rig_lease(rig_reopen(fs, "/l24b", O_RDWR), 0, 64 * KIB, LH_LEASE_WRITE | LH_LEASE_MANUAL);
	if (write(STDOUT_FILENO, "x", 1) == 1)
		pause();
	return 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_lease_needs_the_right_open, setup, teardown),
	    cmocka_unit_test_setup_teardown(keys_reach_what_they_say, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_close_ends_its_leases, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_death_ends_its_leases, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_size_grows_at_commit, setup, teardown),
	    cmocka_unit_test(a_commit_survives_the_server),
	    cmocka_unit_test_setup_teardown(a_large_directory_is_listed_once, setup, teardown),
	};
	int failed;

	rig_init(argc, argv);
	way_name = argv[1];
	if (argc == 5 && strcmp(argv[2], "hold") == 0)
		return hold(argv);
	/* L34: over TCP a death is known by it. */
	rig_lease_time_ns = 3 * SECONDS;
	rig_start(&rig, "mem:64M", 20 * SECONDS);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
