/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a server that is killed between a direct write and its commit: the client tells exactly what was lost, once, by
 * commit, sync or close, and never says that it is safe (L29). On memory that dies with the server, on shared memory
 * and on a plain file.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	const char *program, *way;
	char dir[64], address[128], pool[128];
	pid_t server;
} k;

/* This program as a server, until it is killed. */
static int serve(const char *pool, const char *address)
{
	struct lh_server *server;
	struct lh_fs *fs;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (lh_fs_open(pool, NULL, &fs) || lh_server_start(fs, address, NULL, &server)) {
		fprintf(stderr, "server: %s\n", lh_error_text());
		return 1;
	}
	if (write(STDOUT_FILENO, "r", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void server_start(void)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	k.server = fork();
	assert_true(k.server >= 0);
	if (k.server == 0) {
		dup2(ready[1], STDOUT_FILENO);
		execl("/proc/self/exe", k.program, k.way, "serve", k.pool, k.address, (char *)NULL);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void server_kill(void)
{
	kill(k.server, SIGKILL);
	assert_int_equal(waitpid(k.server, NULL, 0), k.server);
	k.server = 0;
}

static void pool_make(const char *where)
{
	struct lh_make_options o = {.size = sizeof(o), .pool_size = 64 * MIB, .overwrite = true};

	snprintf(k.dir, sizeof(k.dir), "%s/leasehold-lost-XXXXXX", where ? where : "/tmp");
	assert_non_null(mkdtemp(k.dir));
	snprintf(k.address, sizeof(k.address), "unix:%s/s", k.dir);
	snprintf(k.pool, sizeof(k.pool), where ? "%s/pool" : "mem:64M", k.dir);
	if (where)
		assert_ok(lh_pool_make(k.pool, &o));
	server_start();
}

static void pool_remove(void)
{
	char path[128];

	server_kill();
	unlink(k.pool);
	snprintf(path, sizeof(path), "%s/s", k.dir);
	unlink(path);
	rmdir(k.dir);
}

static struct lh_fs *session(void)
{
	struct lh_open_options o = {.size = sizeof(o),
				    .fabric = rig_way == WAY_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM};
	struct lh_fs *fs = NULL;

	assert_ok(lh_fs_open(k.address, &o, &fs));
	return fs;
}

static void write_direct(struct lh_lease *lease, uint64_t off, size_t len)
{
	uint8_t *buf = malloc(len);

	rig_fill(buf, len, 29, off);
	assert_int_equal(lh_lease_write(lease, buf, len, off), len);
	free(buf);
}

static void write_queued(struct lh_fs *fs, struct lh_lease *lease, uint64_t off, size_t len)
{
	struct lh_completion done;
	struct lh_queue *q = NULL;
	uint8_t *buf = malloc(len);

	rig_fill(buf, len, 29, off);
	assert_ok(lh_queue_new(fs, 4, &q));
	assert_ok(lh_queue_write(q, lease, buf, len, off, NULL));
	assert_int_equal(lh_queue_wait(q, 1, &done, 1), 1);
	assert_int_equal(done.result, len);
	lh_queue_free(q);
	free(buf);
}

static void lost_is(struct lh_file *file, const struct lh_range *want, unsigned count)
{
	struct lh_range lost[8];

	assert_int_equal(lh_file_lost(file, lost, 8), count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(lost[i].off, want[i].off);
		assert_int_equal(lost[i].len, want[i].len);
	}
	assert_int_equal(lh_file_lost(file, lost, 8), 0);
}

/* survives: the pool's memory does not die with the server. */
static void a_kill_is_told(bool survives)
{
	const struct lh_range want[] = {{100, 1000}, {MIB, 64 * KIB}, {3 * MIB, 10}};
	struct lh_fs *fs = session();
	struct lh_file *file = rig_file(fs, "/lost", 2 * MIB, 1);
	struct lh_file *closed = rig_reopen(fs, "/closed", O_RDWR | O_CREAT);
	struct lh_lease *lease = rig_lease(file, 0, 4 * MIB, LH_LEASE_WRITE);
	struct lh_lease *other = rig_lease(closed, 0, MIB, LH_LEASE_WRITE);

	assert_ok(lh_file_sync(file));
	write_direct(lease, 500 * KIB, 4 * KIB);
	assert_ok(lh_lease_commit(lease, 0, MIB));
	write_direct(lease, 100, 600);
	write_direct(lease, 400, 700); /* they are joined */
	write_queued(fs, lease, MIB, 64 * KIB);
	write_direct(lease, 3 * MIB, 10);
	write_direct(other, 0, 5000);
	server_kill();
	server_start();
	/* Once each, with the range; what was committed before is not among them. */
	assert_int_equal(lh_lease_commit(lease, 0, MIB), -EIO);
	assert_non_null(strstr(lh_error_text(), "1000 bytes at 100"));
	assert_int_equal(lh_file_sync(file), -EIO);
	assert_non_null(strstr(lh_error_text(), "65536 bytes at 1048576"));
	lost_is(file, want, 3);
	assert_int_equal(lh_file_close(closed), -EIO);
	assert_non_null(strstr(lh_error_text(), "5000 bytes at 0"));
	if (survives) {
		struct lh_stat st = {.size_of = sizeof(st)};
		uint8_t buf[1000];

		/* Written again, all is well; L30: what was never committed did not make the file longer. */
		assert_ok(lh_file_stat(file, &st));
		assert_int_equal(st.size, 2 * MIB);
		write_direct(lease, 100, 1000);
		assert_ok(lh_lease_commit(lease, 0, MIB));
		assert_int_equal(lh_file_read(file, buf, 1000, 100), 1000);
		rig_same(buf, 1000, 29, 100);
		assert_int_equal(lh_file_read(file, buf, 1000, 500 * KIB), 1000);
		rig_same(buf, 1000, 29, 500 * KIB);
		assert_ok(lh_file_sync(file));
	}
	lh_lease_release(lease);
	lh_file_close(file);
	assert_ok(lh_fs_close(fs));
}

static void on_memory_that_dies_with_the_server(void **state)
{
	pool_make(NULL);
	a_kill_is_told(false);
	pool_remove();
}

static void on_shared_memory(void **state)
{
	pool_make("/dev/shm");
	a_kill_is_told(true);
	pool_remove();
}

static void on_a_plain_file(void **state)
{
	pool_make("/tmp");
	a_kill_is_told(true);
	pool_remove();
}

/* L30: a truncate of anybody takes what was not committed with it: a later commit does not make the file longer again.
 */
static void a_cut_is_no_commit(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_fs *fs[2];

	pool_make(NULL);
	fs[0] = session();
	fs[1] = session();
	for (unsigned who = 0; who < 2; who++) {
		struct lh_file *file = rig_reopen(fs[0], "/cut", O_RDWR | O_CREAT | O_TRUNC);
		struct lh_file *cutter = rig_reopen(fs[who], "/cut", O_RDWR);
		struct lh_lease *lease = rig_lease(file, 0, MIB, LH_LEASE_WRITE);

		write_direct(lease, 0, 100000);
		assert_ok(lh_lease_commit(lease, 0, 20000));
		assert_ok(lh_file_stat(cutter, &st));
		assert_int_equal(st.size, 20000);
		/* Longer takes nothing away. */
		assert_ok(lh_file_truncate(cutter, 50000));
		assert_ok(lh_lease_commit(lease, 0, 60000));
		assert_ok(lh_file_stat(cutter, &st));
		assert_int_equal(st.size, 60000);
		assert_ok(lh_file_truncate(cutter, 5000));
		assert_ok(lh_file_sync(file));
		assert_ok(lh_lease_release(lease));
		assert_ok(lh_file_close(file));
		assert_ok(lh_file_stat(cutter, &st));
		assert_int_equal(st.size, 5000);
		assert_ok(lh_file_close(cutter));
	}
	assert_ok(lh_fs_close(fs[0]));
	assert_ok(lh_fs_close(fs[1]));
	pool_remove();
}

/* L28, L30: sync and close commit what is left, exactly. */
static void sync_and_close_commit_the_rest(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *file;
	struct lh_lease *lease;
	struct lh_fs *fs;

	pool_make(NULL);
	fs = session();
	file = rig_reopen(fs, "/rest", O_RDWR | O_CREAT);
	lease = rig_lease(file, 0, MIB, LH_LEASE_WRITE);
	write_direct(lease, 0, 1234);
	assert_ok(lh_lease_commit(lease, 0, MIB)); /* asked for more than was written */
	assert_ok(lh_file_stat(file, &st));
	assert_int_equal(st.size, 1234);
	write_direct(lease, 5000, 1000);
	assert_ok(lh_file_sync(file));
	assert_ok(lh_file_stat(file, &st));
	assert_int_equal(st.size, 6000);
	write_direct(lease, 100000, 1);
	assert_ok(lh_fs_sync(fs));
	assert_ok(lh_file_stat(file, &st));
	assert_int_equal(st.size, 100001);
	write_direct(lease, 200000, 7);
	assert_ok(lh_file_close(file));
	st = (struct lh_stat){.size_of = sizeof(st)};
	assert_ok(lh_path_stat(fs, "/rest", true, &st));
	assert_int_equal(st.size, 200007);
	assert_ok(lh_fs_close(fs));
	pool_remove();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(on_memory_that_dies_with_the_server),
	    cmocka_unit_test(on_shared_memory),
	    cmocka_unit_test(on_a_plain_file),
	    cmocka_unit_test(a_cut_is_no_commit),
	    cmocka_unit_test(sync_and_close_commit_the_rest),
	};

	rig_init(argc, argv);
	if (argc == 5 && strcmp(argv[2], "serve") == 0)
		return serve(argv[3], argv[4]);
	k.program = argv[0];
	k.way = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
