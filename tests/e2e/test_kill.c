/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L38, L28, I1): a server that is killed at any moment under load leaves a pool that mounts unaided, checks clean
 *and has everything that was acknowledged: on memory all of it, on a plain file what was synced or committed, and of
 *the rest a state that was. So does a server that is killed while it recovers.
 *
 *	test_kill tmpfs|file [ROUNDS [SEED]]
 *
 * This process has no threads: servers, workers and verifiers are its children.
 */
#include "kill_model.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 12u

static struct kill_worker *workers;
static struct lh_make_options made = {.size = sizeof(made), .pool_size = 64 * MIB};
static char pool[128];
static unsigned rounds = ROUNDS, seed;

static void sleep_ms(unsigned ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

/* The exit status of a child that must end by itself. */
static int ended(pid_t pid, const char *what)
{
	int status;

	for (unsigned i = 0; i < 3000; i++) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
		sleep_ms(10);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	fail_msg("%s did not end within 30 s", what);
	return 1;
}

static void check_clean(const char *when)
{
	int found = lh_pool_check(pool, stderr, false);

	if (found)
		fail_msg("%s: %d findings: %s", when, found, found < 0 ? lh_error_text() : "see above");
}

/* A mount that is killed too, most often in the middle of its recovery. */
static void disturb_recovery(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct lh_fs *fs;

		if (lh_fs_open(pool, NULL, &fs))
			_exit(1);
		pause();
		_exit(0);
	}
	sleep_ms(kill_random(&seed, 12));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		fail_msg("the pool does not mount after a kill");
}

static void verify(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		bool any = strcmp(made.class_out, "msync") == 0;
		struct lh_fs *fs;
		int bad = 0;

		if (lh_fs_open(pool, NULL, &fs)) {
			fprintf(stderr, "mount: %s\n", lh_error_text());
			_exit(1);
		}
		for (unsigned i = 0; i < KILL_WORKERS; i++)
			bad |= kill_verify(fs, &workers[i], any);
		if (lh_fs_close(fs)) {
			fprintf(stderr, "unmount: %s\n", lh_error_text());
			bad = 1;
		}
		_exit(bad);
	}
	if (ended(pid, "verification"))
		fail_msg("what was acknowledged is not there, see above");
}

static void one_round(unsigned round)
{
	pid_t pids[KILL_WORKERS];
	struct rig rig;

	rig_start(&rig, pool, 200 * MS);
	for (unsigned i = 0; i < KILL_WORKERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			kill_work(&rig, &workers[i], seed + i);
			_exit(0);
		}
	}
	for (unsigned i = 0, waited = 0; i < KILL_WORKERS; i++) {
		for (; !atomic_load(&workers[i].ready) && waited < 2000; waited++)
			sleep_ms(10);
		assert_true(waited < 2000);
	}
	sleep_ms(kill_random(&seed, 200));
	rig_kill(&rig);
	for (unsigned i = 0; i < KILL_WORKERS; i++) {
		if (ended(pids[i], "a client whose server is gone"))
			fail_msg("worker %u failed, see above", i);
	}
	printf("round %u: killed after %u, %u and %u operations\n", round, workers[0].done, workers[1].done,
	       workers[2].done);
	check_clean("after the kill");
	if (kill_random(&seed, 2))
		disturb_recovery();
	verify();
	check_clean("after the recovery");
}

static void a_killed_server_loses_nothing_acknowledged(void **state)
{
	printf("pool %s (%s, %s), seed %u\n", pool, made.kind_out, made.class_out, seed);
	for (unsigned round = 0; round < rounds; round++)
		one_round(round);
}

/* In a child: a mount has threads. */
static void prepare(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct lh_fs *fs;
		int bad = lh_fs_open(pool, NULL, &fs);

		for (unsigned i = 0; !bad && i < KILL_WORKERS; i++)
			bad = kill_prepare(fs, &workers[i]);
		if (bad || lh_fs_close(fs)) {
			fprintf(stderr, "preparing: %s\n", lh_error_text());
			_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(ended(pid, "preparation"), 0);
}

static int make(void **state)
{
	size_t len = KILL_WORKERS * sizeof(*workers);

	workers = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(workers != MAP_FAILED);
	for (unsigned i = 0; i < KILL_WORKERS; i++)
		workers[i].number = i;
	assert_ok(lh_pool_make(pool, &made));
	prepare();
	return 0;
}

static int cleanup(void **state)
{
	unlink(pool);
	*strrchr(pool, '/') = 0;
	return rmdir(pool);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_killed_server_loses_nothing_acknowledged, make, cleanup)};
	bool tmpfs = argc > 1 && strcmp(argv[1], "tmpfs") == 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	rig_no_resume = true; /* nobody waits for a server to come back */
	strcpy(pool, tmpfs ? "/dev/shm/lh-kill-XXXXXX" : "/var/tmp/lh-kill-XXXXXX");
	if (mkdtemp(pool) == NULL) {
		fprintf(stderr, "skipped: no directory %s: %s\n", pool, strerror(errno));
		return 77;
	}
	strcat(pool, "/pool");
	if (argc > 2)
		rounds = (unsigned)atoi(argv[2]);
	seed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : (unsigned)time(NULL) ^ (unsigned)getpid() << 12;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
