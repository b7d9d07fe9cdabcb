/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: a server that goes away, in the middle of anything, is an error with a sentence and never a hang (issue 2, bad
 * input; L36). */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4

/* One client of the server that dies. */
struct busy {
	struct lh_fs *fs;
	struct lh_lease *lease;
	struct lh_file *file;
	unsigned kind;
	int64_t last;
	atomic_int rounds;
};

/* Works until something fails. */
static void *work(void *arg)
{
	struct busy *busy = arg;
	uint8_t *buf = malloc(MIB);

	memset(buf, 5, MIB);
	do {
		if (busy->kind == 0)
			busy->last = lh_lease_read(busy->lease, buf, MIB, 0);
		else if (busy->kind == 1)
			busy->last = lh_lease_write(busy->lease, buf, MIB, 0);
		else if (busy->kind == 2)
			busy->last = lh_file_read(busy->file, buf, MIB, 0);
		else
			busy->last = lh_file_write(busy->file, buf, MIB, 0);
		atomic_fetch_add(&busy->rounds, 1);
	} while (busy->last >= 0);
	free(buf);
	return NULL;
}

static void everything_is_notconn(struct lh_fs *fs, struct lh_file *file, struct lh_lease *lease)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	uint8_t byte;

	assert_int_equal(lh_path_stat(fs, "/", true, &st), -ENOTCONN);
	assert_true(strlen(lh_error_text()) > 20);
	assert_int_equal(lh_file_read(file, &byte, 1, 0), -ENOTCONN);
	assert_int_equal(lh_lease_read(lease, &byte, 1, 0), -ENOTCONN);
	assert_true(strlen(lh_error_text()) > 20);
	assert_false(rig_state(lease).held);
}

/* kill -9 of the server while clients move bytes by keys and by calls: -ENOTCONN everywhere, at once, and no hang. */
static void a_killed_server_mid_transfer(void **state)
{
	struct rig rig;
	struct busy busy[THREADS] = {0};
	pthread_t threads[THREADS];
	struct lh_lease *read_lease, *write_lease, *manual;
	struct lh_file *file;
	struct lh_event e;
	struct lh_fs *fs;

	rig_start(&rig, "mem:64M", SECONDS);
	fs = rig_open(&rig);
	file = rig_file(fs, "/f", MIB, 1);
	read_lease = rig_lease(file, 0, MIB, LH_LEASE_READ);
	write_lease = rig_lease(file, 0, MIB, LH_LEASE_WRITE);
	manual = rig_lease(file, 0, MIB, LH_LEASE_READ | LH_LEASE_MANUAL);
	for (unsigned i = 0; i < THREADS; i++) {
		busy[i].fs = fs;
		busy[i].file = file;
		busy[i].kind = i;
		busy[i].lease = i == 1 ? write_lease : read_lease;
		assert_int_equal(pthread_create(&threads[i], NULL, work, &busy[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		while (atomic_load(&busy[i].rounds) < 5)
			usleep(1000);
	}
	rig_kill(&rig);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(busy[i].last, -ENOTCONN);
	}
	everything_is_notconn(fs, file, read_lease);
	/* The holder of a manual lease hears of it, too. */
	e = rig_event(fs);
	assert_int_equal(e.type, LH_EVENT_REVOKED);
	assert_ptr_equal(e.lease, manual);
	lh_lease_release(read_lease);
	lh_lease_release(write_lease);
	lh_lease_release(manual);
	lh_file_close(file);
	assert_ok(lh_fs_close(fs));
}

/* L36: a server that shuts down takes everything back, says so, and ends with 0. */
static void a_shutdown_is_told(void **state)
{
	struct rig rig;
	struct lh_file *file;
	struct lh_lease *lease;
	struct lh_fs *fs;

	rig_start(&rig, "mem:64M", SECONDS);
	fs = rig_open(&rig);
	file = rig_file(fs, "/f", MIB, 1);
	lease = rig_lease(file, 0, MIB, LH_LEASE_READ);
	rig_stop(&rig);
	everything_is_notconn(fs, file, lease);
	lh_lease_release(lease);
	lh_file_close(file);
	assert_ok(lh_fs_close(fs));
}

/* A queue's operations on a server that dies complete, each with an error. */
static void a_queue_survives_the_server(void **state)
{
	struct lh_completion done[64];
	struct rig rig;
	struct lh_file *file;
	struct lh_lease *lease;
	struct lh_queue *q;
	struct lh_fs *fs;
	uint8_t *buf = malloc(64 * 16 * KIB);
	unsigned completed = 0;

	rig_start(&rig, "mem:64M", SECONDS);
	fs = rig_open(&rig);
	file = rig_file(fs, "/f", MIB, 1);
	lease = rig_lease(file, 0, MIB, LH_LEASE_READ);
	assert_ok(lh_queue_new(fs, 64, &q));
	kill(rig.pid, SIGSTOP);
	for (unsigned i = 0; i < 64; i++)
		assert_ok(lh_queue_read(q, lease, buf + i * 16 * KIB, 16 * KIB, i * 16 * KIB, NULL));
	rig_kill(&rig);
	while (completed < 64) {
		int n = lh_queue_wait(q, 1, done, 64);

		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			assert_int_equal(done[i].result, -ENOTCONN);
		completed += (unsigned)n;
	}
	lh_queue_free(q);
	lh_lease_release(lease);
	lh_file_close(file);
	assert_ok(lh_fs_close(fs));
	free(buf);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_killed_server_mid_transfer),
	    cmocka_unit_test(a_shutdown_is_told),
	    cmocka_unit_test(a_queue_survives_the_server),
	};

	rig_init(argc, argv);
	/* So long a client waits for the server to come back, before it says that it is gone (P61). */
	rig_lease_time_ns = 2 * SECONDS;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
