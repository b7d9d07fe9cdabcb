/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L7, L12, L13, L15, L24): clients that are stopped or killed in the middle of direct reads and writes, and
 * strangers that talk nonsense or nothing. The others go on, no late byte lands, nothing is left behind, the server
 * stays up.
 *
 * Victims are processes, started while this one has no threads, that is before its own sessions are opened.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE   (150 * MS)
#define SLACK      (3 * SECONDS) /* what a busy machine adds */
#define VICTIMS    4u
#define FILE_BYTES (512 * KIB)

static struct rig rig;
static unsigned seed;

/* Shared with the victims. */
static struct shared {
	atomic_uint rounds[VICTIMS];
	atomic_bool end;
	char failure[VICTIMS][256];
} * shared;

static unsigned random_below(unsigned below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

static void sleep_ms(unsigned ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

static const char *path_of(unsigned victim, char path[32])
{
	snprintf(path, 32, "/victim-%u", victim);
	return path;
}

/* Reads or writes its file directly until it is told to end; every byte that it reads must be its own. */
static void victim(unsigned number)
{
	bool writing = number % 2 == 0;
	static uint8_t buf[128 * KIB];
	struct lh_fs *fs = rig_open(&rig);
	char path[32];
	struct lh_file *file = rig_reopen(fs, path_of(number, path), O_RDWR);
	struct lh_lease *lease = rig_lease(file, 0, FILE_BYTES, writing ? LH_LEASE_WRITE : LH_LEASE_READ);
	uint64_t off = 0;
	ssize_t n = 0;

	while (!atomic_load(&shared->end) && n >= 0) {
		if (writing) {
			rig_fill(buf, sizeof(buf), 100 + number, off);
			n = lh_lease_write(lease, buf, sizeof(buf), off);
		} else {
			n = lh_lease_read(lease, buf, sizeof(buf), off);
			for (ssize_t i = 0; i < n; i++) {
				if (buf[i] == rig_byte(100 + number, off + (uint64_t)i))
					continue;
				snprintf(shared->failure[number], 256, "read a byte %#x that is not its own", buf[i]);
				_exit(1);
			}
		}
		atomic_fetch_add(&shared->rounds[number], 1);
		off = (off + sizeof(buf)) % FILE_BYTES;
	}
	if (n < 0)
		snprintf(shared->failure[number], 256, "access failed: %zd, %s", n, lh_error_text());
	lh_lease_release(lease);
	lh_file_close(file);
	lh_fs_close(fs);
	_exit(n < 0);
}

static pid_t start_victim(unsigned number)
{
	pid_t pid;

	atomic_store(&shared->rounds[number], 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		victim(number);
	}
	return pid;
}

static void wait_rounds(unsigned number, unsigned more)
{
	unsigned want = atomic_load(&shared->rounds[number]) + more;

	for (unsigned i = 0; i < 2000 && atomic_load(&shared->rounds[number]) < want; i++) {
		if (shared->failure[number][0])
			fail_msg("victim %u: %s", number, shared->failure[number]);
		sleep_ms(5);
	}
	assert_true(atomic_load(&shared->rounds[number]) >= want);
}

static void make_files(void)
{
	struct lh_fs *fs = rig_open(&rig);
	char path[32];

	for (unsigned i = 0; i < VICTIMS; i++)
		assert_ok(lh_file_close(rig_file(fs, path_of(i, path), FILE_BYTES, 100 + i)));
	assert_ok(lh_fs_close(fs));
}

static void remove_files(void)
{
	struct lh_fs *fs = rig_open(&rig);
	char path[32];

	for (unsigned i = 0; i < VICTIMS; i++)
		assert_ok(lh_path_unlink(fs, path_of(i, path)));
	assert_ok(lh_fs_close(fs));
}

/* A layout change under somebody who is stopped, within its time. */
static void relocate_all(struct lh_fs *fs)
{
	char path[32];

	for (unsigned i = 0; i < VICTIMS; i++) {
		struct lh_file *file = rig_reopen(fs, path_of(i, path), O_RDWR);
		uint64_t start = rig_now();

		assert_int_equal(lh_file_relocate(file, 0, FILE_BYTES), FILE_BYTES / BLOCK);
		assert_true(rig_now() - start < DEADLINE + SLACK);
		assert_ok(lh_file_close(file));
	}
}

/* L7, L12, L13, L15: stopped anywhere in a transfer, moved, the old blocks given away, continued: it notices nothing
 * and harms nobody. */
static void stopped_clients_delay_nobody_and_harm_nothing(void **state)
{
	pid_t pids[VICTIMS];
	struct lh_file *other;
	struct lh_lease *lease;
	struct lh_fs *fs;
	int status;

	make_files();
	for (unsigned i = 0; i < VICTIMS; i++)
		pids[i] = start_victim(i);
	for (unsigned i = 0; i < VICTIMS; i++)
		wait_rounds(i, 2);
	fs = rig_open(&rig);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < VICTIMS; i++) {
			sleep_ms(random_below(4));
			kill(pids[i], SIGSTOP);
		}
		relocate_all(fs);
		/* More than all that is free of the first half of the pool: the old blocks are among them. */
		other = rig_file(fs, "/other", 4 * MIB, 7);
		for (unsigned i = 0; i < VICTIMS; i++)
			kill(pids[i], SIGCONT);
		for (unsigned i = 0; i < VICTIMS; i++)
			wait_rounds(i, 6);
		lease = rig_lease(other, 0, 4 * MIB, LH_LEASE_READ);
		rig_read_same(lease, 4 * MIB, 7, 0);
		assert_ok(lh_lease_release(lease));
		assert_ok(lh_file_close(other));
		assert_ok(lh_path_unlink(fs, "/other"));
	}
	atomic_store(&shared->end, true);
	for (unsigned i = 0; i < VICTIMS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		if (status)
			fail_msg("victim %u: %s", i, shared->failure[i]);
	}
	atomic_store(&shared->end, false);
	assert_ok(lh_fs_close(fs));
	remove_files();
}

/* L24: killed anywhere in a transfer, a client leaves no lease, no session, and its file's bytes. */
static void killed_clients_leave_nothing(void **state)
{
	struct lh_lease_stats stats = {0};
	uint8_t *buf = malloc(FILE_BYTES);
	struct lh_fs *fs;
	char path[32];

	make_files();
	for (unsigned round = 0; round < 6; round++) {
		pid_t pids[VICTIMS];

		for (unsigned i = 0; i < VICTIMS; i++)
			pids[i] = start_victim(i);
		if (round % 2)
			wait_rounds(random_below(VICTIMS), 1);
		sleep_ms(random_below(30));
		for (unsigned i = 0; i < VICTIMS; i++) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
		fs = rig_open(&rig);
		relocate_all(fs);
		for (unsigned i = 0; i < 1000; i++) {
			stats = rig_stats(fs);
			if (stats.leases == 0 && stats.sessions <= 2)
				break;
			sleep_ms(10);
		}
		assert_int_equal(stats.leases, 0);
		assert_int_equal(stats.pinned_bytes, 0);
		for (unsigned i = 0; i < VICTIMS; i++) {
			struct lh_file *file = rig_reopen(fs, path_of(i, path), O_RDONLY);

			assert_int_equal(lh_file_read(file, buf, FILE_BYTES, 0), FILE_BYTES);
			rig_same(buf, FILE_BYTES, 100 + i, 0);
			assert_ok(lh_file_close(file));
		}
		assert_ok(lh_fs_close(fs));
	}
	free(buf);
	remove_files();
}

/* A connection as anybody on this host may make one. */
static int stranger(void)
{
	const char *port = strrchr(rig.tcp_address, ':');
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(rig_way == WAY_TCP ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err;

	in.sin_port = htons((uint16_t)atoi(port + 1));
	strcpy(un.sun_path, rig.unix_address + strlen("unix:"));
	err = rig_way == WAY_TCP ? connect(fd, (struct sockaddr *)&in, sizeof(in))
				 : connect(fd, (struct sockaddr *)&un, sizeof(un));
	if (err && errno == EAGAIN) {
		close(fd);
		return -1;
	}
	assert_int_equal(err, 0);
	return fd;
}

/* Text of other protocols, noise, and a beginning of ours; with or without an end. */
static void say_nonsense(int fd, unsigned how)
{
	static const uint8_t hello[] = {82, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
	static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	uint8_t noise[4096];

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)random_below(256);
	if (how % 4 == 0)
		send(fd, http, sizeof(http), MSG_NOSIGNAL | MSG_DONTWAIT);
	else if (how % 4 == 1)
		send(fd, hello, 1 + random_below(sizeof(hello)), MSG_NOSIGNAL | MSG_DONTWAIT);
	else if (how % 4 == 2)
		send(fd, noise, 1 + random_below(sizeof(noise)), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (how % 5 == 0)
		shutdown(fd, SHUT_WR);
}

/* L7, P1: hundreds that come, say nonsense or nothing, stay or vanish; a client beside them works as ever. */
static void strangers_disturb_nobody(void **state)
{
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *file = rig_file(fs, "/beside", FILE_BYTES, 9);
	struct lh_lease *lease = rig_lease(file, 0, FILE_BYTES, LH_LEASE_READ);
	int stay[64];
	struct lh_fs *late;

	for (unsigned i = 0; i < 64; i++) {
		stay[i] = stranger();
		if (stay[i] >= 0)
			say_nonsense(stay[i], i);
	}
	for (unsigned i = 0; i < 400; i++) {
		int fd = stranger();

		if (fd >= 0) {
			say_nonsense(fd, random_below(20));
			close(fd);
		}
		if (i % 40 == 0) {
			/* A byte now and then keeps no place for ever; and the others never wait for it. */
			for (unsigned k = 0; k < 64; k++)
				send(stay[k], "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
			rig_read_same(lease, 64 * KIB, 9, 0);
			assert_ok(lh_fs_ping(fs));
		}
	}
	late = rig_open(&rig);
	assert_ok(lh_fs_ping(late));
	assert_ok(lh_fs_close(late));
	/* P1: who has not said HELLO after 5 s is sent away. */
	for (unsigned i = 0; i < 64; i++) {
		uint64_t start = rig_now();
		char byte;

		while (stay[i] >= 0) {
			struct pollfd p = {.fd = stay[i], .events = POLLIN};

			assert_true(rig_now() - start < 20 * SECONDS);
			if (poll(&p, 1, 1000) == 1 && recv(stay[i], &byte, 1, MSG_DONTWAIT) <= 0)
				break;
		}
		if (stay[i] >= 0)
			close(stay[i]);
	}
	rig_read_same(lease, FILE_BYTES, 9, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_path_unlink(fs, "/beside"));
	assert_ok(lh_fs_close(fs));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stopped_clients_delay_nobody_and_harm_nothing),
	    cmocka_unit_test(killed_clients_leave_nothing),
	    cmocka_unit_test(strangers_disturb_nobody),
	};
	int failed;

	rig_init(argc, argv);
	setenv("LEASEHOLD_LOG", "error", 1);
	seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	rig_lease_time_ns = 3 * SECONDS; /* L34: over TCP a death is known by it */
	rig_start(&rig, "mem:32M", DEADLINE);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
