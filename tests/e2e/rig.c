/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t rig_lease_time_ns;
bool rig_no_resume;
enum way rig_way;

void rig_init(int argc, char **argv)
{
	static const char *const names[] = {"ring", "stream", "tcp"};

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; argc > 1 && i < 3; i++) {
		if (strcmp(argv[1], names[i]) == 0) {
			rig_way = (enum way)i;
			return;
		}
	}
	fprintf(stderr, "usage: %s ring|stream|tcp\n", argv[0]);
	exit(77);
}

/* The server's process. Tells the TCP address, serves until the other end of stop is closed. */
static void serve(const struct rig *rig, const char *pool, uint64_t deadline_ns, int stop, int tell)
{
	struct lh_open_options open_options = {.size = sizeof(open_options), .deadline_ns = deadline_ns};
	struct lh_server_options options = {.size = sizeof(options),
					    .tcp_as_given = true,
					    .tcp_uid = geteuid(),
					    .tcp_gid = getegid(),
					    .session_timeout_ns = rig_lease_time_ns};
	struct lh_server *by_unix, *by_tcp;
	struct lh_fs *fs;
	char byte;

	if (lh_fs_open(pool, &open_options, &fs) || lh_server_start(fs, rig->unix_address, &options, &by_unix) ||
	    lh_server_start(fs, "tcp:127.0.0.1:0", &options, &by_tcp)) {
		fprintf(stderr, "server: %s\n", lh_error_text());
		_exit(1);
	}
	if (write(tell, lh_server_address(by_tcp), strlen(lh_server_address(by_tcp)) + 1) < 0)
		_exit(1);
	close(tell);
	while (read(stop, &byte, 1) > 0)
		;
	lh_server_stop(by_unix);
	lh_server_stop(by_tcp);
	if (lh_fs_close(fs)) {
		fprintf(stderr, "server: %s\n", lh_error_text());
		_exit(1);
	}
	exit(0);
}

void rig_start(struct rig *rig, const char *pool, uint64_t deadline_ns)
{
	int stop[2], tell[2];

	strcpy(rig->dir, "/tmp/leasehold-e2e-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->unix_address, sizeof(rig->unix_address), "unix:%s/s", rig->dir);
	assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
	assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
	rig->pid = fork();
	assert_true(rig->pid >= 0);
	if (rig->pid == 0) {
		close(stop[1]);
		close(tell[0]);
		serve(rig, pool, deadline_ns, stop[0], tell[1]);
	}
	close(stop[0]);
	close(tell[1]);
	rig->stop = stop[1];
	memset(rig->tcp_address, 0, sizeof(rig->tcp_address));
	assert_true(read(tell[0], rig->tcp_address, sizeof(rig->tcp_address) - 1) > 0);
	close(tell[0]);
}

static int rig_wait(struct rig *rig)
{
	char path[128];
	int status = 0;

	assert_int_equal(waitpid(rig->pid, &status, 0), rig->pid);
	snprintf(path, sizeof(path), "%s/s", rig->dir);
	unlink(path);
	rmdir(rig->dir);
	return status;
}

void rig_stop(struct rig *rig)
{
	int status;

	close(rig->stop);
	status = rig_wait(rig);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the server ended with status %#x", status);
}

void rig_kill(struct rig *rig)
{
	kill(rig->pid, SIGKILL);
	close(rig->stop);
	rig_wait(rig);
}

struct lh_fs *rig_open(const struct rig *rig)
{
	struct lh_open_options o = {.size = sizeof(o),
				    .fabric = rig_way == WAY_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM,
				    .ring_bytes = 4 * MIB};
	struct lh_fs *fs = NULL;

	o.no_resume = rig_no_resume;
	assert_ok(lh_fs_open(rig_way == WAY_TCP ? rig->tcp_address : rig->unix_address, &o, &fs));
	return fs;
}

uint8_t rig_byte(unsigned seed, uint64_t i)
{
	uint64_t x = (i >> 3) * 0x9e3779b97f4a7c15ull + seed * 0xbf58476d1ce4e5b9ull;

	return (uint8_t)((x ^ x >> 29) >> (8 * (i & 7)) % 57) | 1;
}

void rig_fill(uint8_t *buf, size_t len, unsigned seed, uint64_t off)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = rig_byte(seed, off + i);
}

void rig_same(const uint8_t *buf, size_t len, unsigned seed, uint64_t off)
{
	for (size_t i = 0; i < len; i++) {
		if (buf[i] != rig_byte(seed, off + i))
			fail_msg("byte %llu is %#x instead of %#x of seed %u", (unsigned long long)(off + i), buf[i],
				 rig_byte(seed, off + i), seed);
	}
}

struct lh_file *rig_reopen(struct lh_fs *fs, const char *path, int flags)
{
	struct lh_file *file = NULL;

	assert_ok(lh_file_open(fs, path, flags, 0644, &file));
	return file;
}

struct lh_file *rig_file(struct lh_fs *fs, const char *path, uint64_t size, unsigned seed)
{
	struct lh_file *file = rig_reopen(fs, path, O_RDWR | O_CREAT | O_EXCL);
	uint8_t *buf = malloc(size + 1);

	assert_non_null(buf);
	rig_fill(buf, size, seed, 0);
	assert_int_equal(lh_file_write(file, buf, size, 0), size);
	free(buf);
	return file;
}

void rig_read_same(struct lh_lease *lease, size_t len, unsigned seed, uint64_t off)
{
	uint8_t *buf = malloc(len);
	ssize_t n;

	assert_non_null(buf);
	n = lh_lease_read(lease, buf, len, off);
	if (n != (ssize_t)len)
		fail_msg("read of %zu at %llu returned %zd: %s", len, (unsigned long long)off, n, lh_error_text());
	rig_same(buf, len, seed, off);
	free(buf);
}

struct lh_lease *rig_lease(struct lh_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = flags};
	struct lh_lease *lease = NULL;

	assert_ok(lh_lease_get(file, off, len, &o, &lease));
	return lease;
}

struct lh_lease_state rig_state(struct lh_lease *lease)
{
	struct lh_lease_state s = {.size = sizeof(s)};

	assert_ok(lh_lease_state(lease, &s));
	return s;
}

struct lh_lease_stats rig_stats(struct lh_fs *fs)
{
	struct lh_lease_stats s = {.size = sizeof(s)};

	assert_ok(lh_fs_lease_stats(fs, &s));
	return s;
}

uint64_t rig_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECONDS + (uint64_t)ts.tv_nsec;
}

struct lh_event rig_event(struct lh_fs *fs)
{
	struct pollfd p = {.fd = lh_event_fd(fs), .events = POLLIN};
	struct lh_event e = {.size = sizeof(e)};

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(lh_event_next(fs, &e), 1);
	return e;
}
