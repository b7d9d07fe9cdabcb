/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a server that dies and comes back, or stops for a while, and a client that stops: L29, L34, L35. What an
 * application sees of it is a wait, or an error that says what happened; never a lie.
 */
#include "reviver.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEASE    (4 * SECONDS)
#define RESTARTS 12

static struct lh_fs *open_at(const char *address)
{
	struct lh_open_options o = {.size = sizeof(o),
				    .fabric = rig_way == WAY_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM,
				    .ring_bytes = 4 * MIB};
	struct lh_fs *fs = NULL;

	assert_ok(lh_fs_open(address, &o, &fs));
	return fs;
}

/* --- restart --- */

/* Reads, by lease and by call, go on over a kill as if nothing had been; so does an open file whose name is gone. */
static void reads_go_on_over_a_restart(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease;
	uint8_t *buf = malloc(MIB);

	reviver_start(&k, LEASE, SECONDS, 0);
	reviver_serve(&k);
	fs = open_at(reviver_address(&k));
	file = rig_file(fs, "/f", MIB, 1);
	assert_ok(lh_fs_sync(fs));
	lease = rig_lease(file, 0, MIB, LH_LEASE_READ);
	rig_read_same(lease, MIB, 1, 0);
	for (unsigned i = 0; i < 3; i++) {
		reviver_kill(&k);
		reviver_serve(&k);
		rig_read_same(lease, MIB, 1, 0);
		assert_int_equal(lh_file_read(file, buf, MIB, 0), MIB);
		rig_same(buf, MIB, 1, 0);
	}
	assert_true(rig_state(lease).revocations >= 1);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
	free(buf);
}

/* A server that is shut down and started again in time is as good as one that was killed. */
static void an_orderly_restart_is_survived(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease;

	reviver_start(&k, LEASE, SECONDS, 0);
	reviver_serve(&k);
	fs = open_at(reviver_address(&k));
	file = rig_file(fs, "/f", MIB, 1);
	assert_ok(lh_file_sync(file));
	lease = rig_lease(file, 0, MIB, LH_LEASE_READ | LH_LEASE_MANUAL);
	reviver_shutdown(&k);
	reviver_serve(&k);
	/* The holder of a MANUAL lease is told. */
	assert_int_equal(rig_event(fs).type, LH_EVENT_REVOKED);
	assert_false(rig_state(lease).held);
	assert_ok(lh_lease_release(lease));
	lease = rig_lease(file, 0, MIB, LH_LEASE_READ);
	rig_read_same(lease, MIB, 1, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
}

/* L29: what was written directly and not committed is said to be lost, once, with its range; so is what was written by
 * calls and not synced. */
static void what_was_not_durable_is_told(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *direct, *called;
	struct lh_lease *lease;
	struct lh_range lost[4];
	uint8_t *buf = calloc(1, MIB);

	reviver_start(&k, LEASE, SECONDS, 0);
	reviver_serve(&k);
	fs = open_at(reviver_address(&k));
	direct = rig_file(fs, "/direct", MIB, 1);
	called = rig_file(fs, "/called", MIB, 2);
	assert_ok(lh_file_sync(direct));
	assert_ok(lh_file_sync(called));
	lease = rig_lease(direct, 0, MIB, LH_LEASE_WRITE);
	assert_int_equal(lh_lease_write(lease, buf, 64 * KIB, 128 * KIB), 64 * KIB);
	assert_int_equal(lh_file_write(called, buf, 4096, 0), 4096);
	reviver_kill(&k);
	reviver_serve(&k);
	assert_int_equal(lh_file_sync(called), -EIO);
	assert_true(strlen(lh_error_text()) > 20);
	assert_ok(lh_file_sync(called));
	assert_int_equal(lh_lease_commit(lease, 0, MIB), -EIO);
	assert_int_equal(lh_file_lost(direct, lost, 4), 1);
	assert_int_equal(lost[0].off, 128 * KIB);
	assert_int_equal(lost[0].len, 64 * KIB);
	/* Written again, all is well. */
	assert_int_equal(lh_lease_write(lease, buf, 64 * KIB, 128 * KIB), 64 * KIB);
	assert_ok(lh_lease_commit(lease, 0, MIB));
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(direct));
	assert_ok(lh_file_close(called));
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
	free(buf);
}

/* P59: a file that is no longer there makes its handle stale, and only that. */
static void a_file_that_is_gone_is_stale(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *gone, *stays;
	uint8_t byte;

	reviver_start(&k, LEASE, SECONDS, 0);
	reviver_serve(&k);
	fs = open_at(reviver_address(&k));
	gone = rig_file(fs, "/gone", 4096, 1);
	stays = rig_file(fs, "/stays", 4096, 2);
	assert_ok(lh_path_unlink(fs, "/gone"));
	assert_ok(lh_fs_sync(fs));
	assert_int_equal(lh_file_read(gone, &byte, 1, 0), 1);
	reviver_kill(&k);
	reviver_serve(&k);
	assert_int_equal(lh_file_read(gone, &byte, 1, 0), -ESTALE);
	assert_true(strlen(lh_error_text()) > 20);
	assert_int_equal(lh_file_read(stays, &byte, 1, 0), 1);
	assert_ok(lh_file_close(gone));
	assert_ok(lh_file_close(stays));
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
}

/* L35: an EXCLUSIVE lease is taken back in the grace, without anybody asking; until then others are kept out. */
static void an_exclusive_lease_is_taken_back(void **state)
{
	struct lh_lease_options o = {
	    .size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_EXCLUSIVE, .max_age_ns = 60 * SECONDS};
	struct reviver k;
	struct lh_fs *fs, *other;
	struct lh_file *file, *theirs;
	struct lh_lease *lease;
	uint64_t until;

	reviver_start(&k, LEASE, SECONDS, 2 * SECONDS);
	reviver_serve(&k);
	fs = open_at(reviver_address(&k));
	file = rig_file(fs, "/f", MIB, 1);
	assert_ok(lh_file_sync(file));
	assert_ok(lh_lease_get(file, 0, MIB, &o, &lease));
	reviver_kill(&k);
	reviver_serve(&k);
	other = open_at(reviver_address(&k));
	theirs = rig_reopen(other, "/f", O_RDWR);
	assert_int_equal(lh_file_truncate(theirs, 0), -ETXTBSY);
	/* Well after the grace. */
	until = rig_now() + 4 * SECONDS;
	while (rig_now() < until)
		usleep(50000);
	assert_int_equal(lh_file_truncate(theirs, 0), -ETXTBSY);
	assert_true(rig_state(lease).held);
	rig_read_same(lease, MIB, 1, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_truncate(theirs, 0));
	assert_ok(lh_file_close(file));
	assert_ok(lh_file_close(theirs));
	assert_ok(lh_fs_close(fs));
	assert_ok(lh_fs_close(other));
	reviver_stop(&k);
}

/* A client in a process of its own, whose EXCLUSIVE lease is taken while it is stopped. */
static void denier_process(const char *address, int tell, int go)
{
	struct lh_lease_options o = {
	    .size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_EXCLUSIVE, .max_age_ns = 60 * SECONDS};
	struct lh_lease *lease = NULL;
	struct lh_file *file;
	struct lh_fs *fs;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &c, 1) != 1)
		_exit(1);
	fs = open_at(address);
	file = rig_reopen(fs, "/f", O_RDONLY);
	if (lh_lease_get(file, 0, MIB, &o, &lease) || write(tell, "h", 1) != 1 || read(go, &c, 1) != 1)
		_exit(1);
	/* It notices, and is in the new session before it answers. */
	if (lh_fs_ping(fs) || write(tell, rig_state(lease).held ? "h" : "n", 1) != 1)
		_exit(1);
	pause();
}

/* L35: who was revoked while it was away takes nothing back, whatever it believes: the pool remembers. */
static void who_was_revoked_takes_nothing_back(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *file;
	int tell[2], go[2];
	uint64_t until;
	pid_t client;
	char c;

	reviver_start(&k, 2 * SECONDS, SECONDS, 10 * SECONDS);
	reviver_serve(&k);
	assert_int_equal(pipe(tell), 0);
	assert_int_equal(pipe(go), 0);
	client = fork();
	if (client == 0)
		denier_process(reviver_address(&k), tell[1], go[0]);
	fs = open_at(reviver_address(&k));
	file = rig_file(fs, "/f", MIB, 1);
	assert_ok(lh_file_sync(file));
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(read(tell[0], &c, 1), 1);
	assert_int_equal(lh_file_truncate(file, 4096), -ETXTBSY);
	kill(client, SIGSTOP);
	until = rig_now() + 20 * SECONDS;
	while (rig_stats(fs).leases && rig_now() < until)
		usleep(50000);
	reviver_kill(&k);
	reviver_serve(&k);
	kill(client, SIGCONT);
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(read(tell[0], &c, 1), 1);
	assert_int_equal(c, 'n');
	assert_ok(lh_file_truncate(file, 4096));
	kill(client, SIGKILL);
	waitpid(client, NULL, 0);
	assert_ok(lh_file_sync(file));
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
}

/* --- restarts under load --- */

struct load {
	struct lh_fs *fs;
	atomic_bool stop;
	atomic_uint rounds, unknown;
	char why[512];
	unsigned kind;
	uint64_t made; /* kind 2: names that were made for sure */
};

static bool allowed(struct load *l, int64_t err)
{
	if (err == -EIO) {
		atomic_fetch_add(&l->unknown, 1);
		return true;
	}
	if (!l->why[0])
		snprintf(l->why, sizeof(l->why), "kind %u: %lld: %s", l->kind, (long long)err, lh_error_text());
	atomic_store(&l->stop, true);
	return false;
}

static void load_read(struct load *l)
{
	struct lh_file *file = NULL;
	struct lh_lease *lease = NULL;
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ};
	uint8_t *buf = malloc(64 * KIB);
	int64_t n = lh_file_open(l->fs, "/read", O_RDONLY, 0, &file);

	if (!n)
		n = lh_lease_get(file, 0, MIB, &o, &lease);
	for (uint64_t i = 0; !n && !atomic_load(&l->stop); i++) {
		n = lh_lease_read(lease, buf, 64 * KIB, i * 64 * KIB % MIB);
		n = n == 64 * KIB ? 0 : n < 0 ? n : -ERANGE;
		for (unsigned b = 0; !n && b < 64 * KIB; b += 1021) {
			if (buf[b] != rig_byte(1, i * 64 * KIB % MIB + b))
				n = -EILSEQ;
		}
		atomic_fetch_add(&l->rounds, 1);
	}
	/* Reads change nothing: they may not fail at all. */
	if (n)
		allowed(l, n == -EIO ? -ENOTSUP : n);
	lh_lease_release(lease);
	lh_file_close(file);
	free(buf);
}

/* Writes, commits; what a commit called lost is written again. */
static void load_write(struct load *l)
{
	struct lh_file *file = NULL;
	struct lh_lease *lease = NULL;
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_WRITE};
	uint8_t *buf = malloc(64 * KIB);
	int64_t n = lh_file_open(l->fs, "/write", O_RDWR, 0, &file);

	if (!n)
		n = lh_lease_get(file, 0, MIB, &o, &lease);
	for (uint64_t i = 0; !n && !atomic_load(&l->stop); i++) {
		uint64_t off = i * 64 * KIB % MIB;

		rig_fill(buf, 64 * KIB, 7, off);
		do {
			n = lh_lease_write(lease, buf, 64 * KIB, off);
			n = n == 64 * KIB ? 0 : n < 0 ? n : -ERANGE;
			if (!n)
				n = lh_lease_commit(lease, off, 64 * KIB);
		} while (n == -EIO && allowed(l, n));
		atomic_fetch_add(&l->rounds, 1);
	}
	if (n)
		allowed(l, n);
	lh_lease_release(lease);
	lh_file_close(file);
	free(buf);
}

/* Names: made, or said to be unknown and then looked at. */
static void load_names(struct load *l)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	char path[64];
	int64_t n = 0;

	for (uint64_t i = 0; !n && !atomic_load(&l->stop); i++) {
		snprintf(path, sizeof(path), "/n%llu", (unsigned long long)i);
		n = lh_path_mkdir(l->fs, path, 0755);
		if (n == -EIO && allowed(l, n)) {
			n = lh_path_stat(l->fs, path, false, &st);
			if (n == -ENOENT)
				n = lh_path_mkdir(l->fs, path, 0755);
			if (n == -EIO)
				n = 0; /* again: the last one is left open */
		}
		if (!n)
			l->made = i + 1;
		atomic_fetch_add(&l->rounds, 1);
	}
	if (n)
		allowed(l, n);
}

static void *load_main(void *arg)
{
	struct load *l = arg;

	if (l->kind == 0)
		load_read(l);
	else if (l->kind == 1)
		load_write(l);
	else
		load_names(l);
	return NULL;
}

static void restarts_under_load(void **state)
{
	struct load loads[3] = {0};
	pthread_t threads[3];
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *file;
	uint8_t *buf = malloc(MIB);

	reviver_start(&k, LEASE, SECONDS, 0);
	reviver_serve(&k);
	fs = open_at(reviver_address(&k));
	lh_file_close(rig_file(fs, "/read", MIB, 1));
	lh_file_close(rig_file(fs, "/write", MIB, 7));
	assert_ok(lh_fs_sync(fs));
	for (unsigned i = 0; i < 3; i++) {
		loads[i].fs = fs;
		loads[i].kind = i;
		pthread_create(&threads[i], NULL, load_main, &loads[i]);
	}
	for (unsigned r = 0; r < RESTARTS; r++) {
		unsigned before[3];

		for (unsigned i = 0; i < 3; i++)
			before[i] = atomic_load(&loads[i].rounds);
		usleep(20000 + r * 7000);
		for (unsigned i = 0; i < 3; i++) {
			while (atomic_load(&loads[i].rounds) < before[i] + 3 && !atomic_load(&loads[i].stop))
				usleep(1000);
		}
		reviver_kill(&k);
		reviver_serve(&k);
	}
	for (unsigned i = 0; i < 3; i++)
		atomic_store(&loads[i].stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	printf("rounds %u %u %u, unknown or lost %u %u\n", loads[0].rounds, loads[1].rounds, loads[2].rounds,
	       loads[1].unknown, loads[2].unknown);
	for (unsigned i = 0; i < 3; i++) {
		if (loads[i].why[0])
			fail_msg("%s", loads[i].why);
	}
	file = rig_reopen(fs, "/write", O_RDONLY);
	assert_int_equal(lh_file_read(file, buf, MIB, 0), MIB);
	rig_same(buf, MIB, 7, 0);
	lh_file_close(file);
	/* What was made is there. (On this pool, in memory, names are durable when the call returns: L38.) */
	for (uint64_t i = 0; i < loads[2].made; i += 5) {
		struct lh_stat st = {.size_of = sizeof(st)};
		char path[64];

		snprintf(path, sizeof(path), "/n%llu", (unsigned long long)i);
		assert_ok(lh_path_stat(fs, path, false, &st));
	}
	lh_fs_close(fs);
	reviver_stop(&k);
	free(buf);
}

/* --- who is stopped --- */

/* A server that stops for less than the lease time is a wait. For longer: still only a wait, if it comes back in time
 * for the client; its clock did not run for the sessions either. */
static void a_stopped_server_is_a_wait(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease;
	pid_t waker;

	reviver_start(&k, LEASE, SECONDS, 0);
	reviver_serve(&k);
	waker = k.server;
	fs = open_at(reviver_address(&k));
	file = rig_file(fs, "/f", MIB, 1);
	lease = rig_lease(file, 0, MIB, LH_LEASE_READ | LH_LEASE_MANUAL);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t until = rig_now() + (i ? LEASE + LEASE / 4 : LEASE / 2);

		kill(waker, SIGSTOP);
		while (rig_now() < until)
			usleep(20000);
		kill(waker, SIGCONT);
		rig_read_same(lease, MIB, 1, 0);
		assert_true(rig_state(lease).held);
		assert_int_equal(rig_state(lease).revocations, 0);
	}
	lh_lease_release(lease);
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
}

/* A client in a process of its own, that tells what it sees of its lease. */
static void client_process(const char *address, int tell, int go)
{
	struct lh_fs *fs = open_at(address);
	struct lh_file *file = rig_reopen(fs, "/f", O_RDONLY);
	struct lh_lease *lease = rig_lease(file, 0, MIB, LH_LEASE_READ);
	uint8_t *buf = malloc(MIB);
	char ok = 'k';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (lh_lease_read(lease, buf, MIB, 0) != (ssize_t)MIB || write(tell, &ok, 1) != 1)
		_exit(1);
	if (read(go, &ok, 1) != 1)
		_exit(1);
	/* Stopped and revoked meanwhile: the hole of before is data now, and the read must show it. */
	ok = 'k';
	if (lh_lease_read(lease, buf, MIB, 0) != (ssize_t)MIB)
		ok = 'e';
	for (unsigned i = 0; ok == 'k' && i < MIB; i++) {
		if (buf[i] != 9)
			ok = 'o';
	}
	if (write(tell, &ok, 1) != 1)
		_exit(1);
	_exit(rig_state(lease).revocations > 0 ? 0 : 3);
}

/* L34: a client that is stopped is dead after its lease time: others are no longer held up by it, its charges are
 * returned; and when it goes on it does not believe what it knew. */
static void a_stopped_client_is_dead_in_time(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *file;
	int tell[2], go[2], status;
	uint64_t until;
	uint8_t *buf = malloc(MIB);
	pid_t client;
	char c;

	reviver_start(&k, 2 * SECONDS, SECONDS, 0);
	reviver_serve(&k);
	assert_int_equal(pipe(tell), 0);
	assert_int_equal(pipe(go), 0);
	client = fork();
	if (client == 0) {
		char byte;

		/* The file is made by the parent. */
		if (read(go[0], &byte, 1) == 1)
			client_process(reviver_address(&k), tell[1], go[0]);
		_exit(1);
	}
	fs = open_at(reviver_address(&k));
	file = rig_reopen(fs, "/f", O_RDWR | O_CREAT);
	assert_ok(lh_file_truncate(file, MIB)); /* a hole: the client remembers zeroes */
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(read(tell[0], &c, 1), 1);
	assert_int_equal(rig_stats(fs).leases, 1);
	kill(client, SIGSTOP);
	until = rig_now() + 20 * SECONDS;
	while (rig_stats(fs).leases && rig_now() < until)
		usleep(50000);
	assert_int_equal(rig_stats(fs).leases, 0);
	assert_int_equal(rig_stats(fs).pinned_bytes, 0);
	/* Nobody is asked any more. */
	memset(buf, 9, MIB);
	until = rig_now();
	assert_int_equal(lh_file_write(file, buf, MIB, 0), MIB);
	assert_true(rig_now() - until < SECONDS);
	assert_int_equal(write(go[1], "g", 1), 1);
	kill(client, SIGCONT);
	assert_int_equal(read(tell[0], &c, 1), 1);
	assert_int_equal(c, 'k');
	waitpid(client, &status, 0);
	assert_int_equal(status, 0);
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
	free(buf);
}

/* A server that does not come back: an error with a sentence after the lease time, and no hang. */
static void a_server_that_stays_away_is_an_error(void **state)
{
	struct reviver k;
	struct lh_fs *fs;
	struct lh_file *file;
	uint64_t began;
	uint8_t byte;

	reviver_start(&k, SECONDS, SECONDS, 0);
	reviver_serve(&k);
	fs = open_at(reviver_address(&k));
	file = rig_file(fs, "/f", 4096, 1);
	reviver_kill(&k);
	began = rig_now();
	assert_int_equal(lh_file_read(file, &byte, 1, 0), -ENOTCONN);
	assert_true(strlen(lh_error_text()) > 20);
	assert_true(rig_now() - began >= SECONDS / 2);
	assert_true(rig_now() - began < 10 * SECONDS);
	assert_int_equal(lh_file_read(file, &byte, 1, 0), -ENOTCONN);
	lh_file_close(file);
	assert_ok(lh_fs_close(fs));
	reviver_stop(&k);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_go_on_over_a_restart),
	    cmocka_unit_test(an_orderly_restart_is_survived),
	    cmocka_unit_test(what_was_not_durable_is_told),
	    cmocka_unit_test(a_file_that_is_gone_is_stale),
	    cmocka_unit_test(an_exclusive_lease_is_taken_back),
	    cmocka_unit_test(who_was_revoked_takes_nothing_back),
	    cmocka_unit_test(restarts_under_load),
	    cmocka_unit_test(a_stopped_server_is_a_wait),
	    cmocka_unit_test(a_stopped_client_is_dead_in_time),
	    cmocka_unit_test(a_server_that_stays_away_is_an_error),
	};

	rig_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
