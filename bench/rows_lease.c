/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_local       grant and release in process against fcntl(F_SETLEASE) set and clear on tmpfs
 * break_coop        relocating one block under the READ lease of a cooperative client process, against an empty
 * message's round trip of the same client on the same connection nolease_overhead  truncate down and up of a file
 * without leases, against the same library with the arbiter compiled to nothing; both are loaded with dlopen
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"

/* --- lease_local ---------------------------------------------------------------------------------------------------
 */

#define LEASE_OPS 20000u

static struct {
	struct lh_fs *fs;
	struct lh_file *file;
	int fd;
	char path[128];
} one = {.fd = -1};

static int lease_ready(const struct row *r, char *why)
{
	int err;

	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(one.path, sizeof(one.path), "%s/leased", tmpfs_dir());
	one.fd = open(one.path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (one.fd < 0)
		return bench_skip(why, -errno, "cannot make a file on tmpfs");
	err = lh_fs_open("mem:64M", NULL, &one.fs);
	if (!err)
		err = lh_file_open(one.fs, "/f", O_RDWR | O_CREAT, 0600, &one.file);
	if (!err)
		err = lh_file_allocate(one.file, 0, 1 << 20, false);
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

static int lease_ours(const struct row *r, double *out)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	uint64_t start = clock_now_ns();

	for (unsigned i = 0; i < LEASE_OPS; i++) {
		struct lh_lease *lease;
		int err = lh_lease_get(one.file, 0, 1 << 20, &opt, &lease);

		if (!err)
			err = lh_lease_release(lease);
		if (err)
			return err;
	}
	*out = (double)(clock_now_ns() - start) / LEASE_OPS;
	return 0;
}

static int lease_peer(const struct row *r, double *out)
{
	uint64_t start = clock_now_ns();

	for (unsigned i = 0; i < LEASE_OPS; i++) {
		if (fcntl(one.fd, F_SETLEASE, F_RDLCK) || fcntl(one.fd, F_SETLEASE, F_UNLCK))
			return -errno;
	}
	*out = (double)(clock_now_ns() - start) / LEASE_OPS;
	return 0;
}

static void lease_done(const struct row *r)
{
	lh_file_close(one.file);
	lh_fs_close(one.fs);
	close(one.fd);
	unlink(one.path);
	memset(&one, 0, sizeof(one));
	one.fd = -1;
}

/* --- break_coop ----------------------------------------------------------------------------------------------------
 */

#define BREAK_OPS 100u
/* Between a grant and its break, and before a ping: a holder at rest, whose threads sleep. */
#define REST_US 2000u

static struct {
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_server *server;
	pid_t client;
	int sock;
	char address[128];
} coop = {.sock = -1};

/* The client: 'l' get the lease and answer, 'p' send one ping and tell how long it took, end of file: go. */
static void client_main(int sock)
{
	struct lh_open_options opt = {.size = sizeof(opt)};
	struct lh_lease_options lopt = {.size = sizeof(lopt), .flags = LH_LEASE_READ};
	struct lh_fs *fs = NULL;
	struct lh_file *file = NULL;
	struct lh_lease *lease = NULL;
	uint64_t answer;
	char word[128];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (recv(sock, word, sizeof(word), MSG_WAITALL) != (ssize_t)sizeof(word) || lh_fs_open(word, &opt, &fs) ||
	    lh_file_open(fs, "/f", O_RDONLY, 0, &file)) {
		fprintf(stderr, "leasehold-bench: client: %s\n", lh_error_text());
		_exit(1);
	}
	while (recv(sock, word, 1, MSG_WAITALL) == 1) {
		answer = 1;
		if (word[0] == 'l') {
			lh_lease_release(lease);
			lease = NULL;
			if (lh_lease_get(file, 0, LH_BLOCK_SIZE, &lopt, &lease))
				answer = 0;
		} else {
			uint64_t start;

			usleep(REST_US);
			start = clock_now_ns();
			answer = lh_fs_ping(fs) ? 0 : clock_now_ns() - start;
		}
		if (send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) != (ssize_t)sizeof(answer))
			break;
	}
	_exit(0);
}

static int break_prepare(const struct row *r, char *why)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return bench_skip(why, -errno, "no socket pair");
	fflush(NULL);
	coop.client = fork();
	if (coop.client == 0) {
		close(pair[0]);
		client_main(pair[1]);
	}
	close(pair[1]);
	coop.sock = pair[0];
	return coop.client < 0 ? -EAGAIN : 0;
}

static int ask_client(char what, uint64_t *answer)
{
	if (send(coop.sock, &what, 1, MSG_NOSIGNAL) != 1 ||
	    recv(coop.sock, answer, sizeof(*answer), MSG_WAITALL) != (ssize_t)sizeof(*answer))
		return -EPIPE;
	return *answer ? 0 : -EIO;
}

static int break_ready(const struct row *r, char *why)
{
	static char block[LH_BLOCK_SIZE];
	char listen[160], word[128] = "";
	int err;

	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(listen, sizeof(listen), "unix:%s/coop.sock", tmpfs_dir());
	err = lh_fs_open("mem:64M", NULL, &coop.fs);
	if (!err)
		err = lh_file_open(coop.fs, "/f", O_RDWR | O_CREAT, 0666, &coop.file);
	if (!err)
		err = lh_file_write(coop.file, block, sizeof(block), 0) == (ssize_t)sizeof(block) ? 0 : -EIO;
	if (!err)
		err = lh_server_start(coop.fs, listen, NULL, &coop.server);
	if (err)
		return bench_skip(why, err, "ours: %s", lh_error_text());
	snprintf(word, sizeof(word), "%s", lh_server_address(coop.server));
	snprintf(coop.address, sizeof(coop.address), "%s", word);
	return send(coop.sock, word, sizeof(word), MSG_NOSIGNAL) == (ssize_t)sizeof(word) ? 0 : -EPIPE;
}

static int break_ours(const struct row *r, double *out)
{
	uint64_t lat[BREAK_OPS];

	for (unsigned i = 0; i < BREAK_OPS; i++) {
		uint64_t answer, start;
		int err = ask_client('l', &answer);
		int64_t moved;

		if (err)
			return err;
		usleep(REST_US);
		start = clock_now_ns();
		moved = lh_file_relocate(coop.file, 0, LH_BLOCK_SIZE);
		lat[i] = clock_now_ns() - start;
		if (moved != 1)
			return moved < 0 ? (int)moved : -EIO;
	}
	*out = (double)quantile_u64(lat, BREAK_OPS, 0.5) / 1e3;
	return 0;
}

/* One ping at a time, as one break at a time: the same sleepers have to be woken. */
static int break_peer(const struct row *r, double *out)
{
	uint64_t lat[BREAK_OPS];

	for (unsigned i = 0; i < BREAK_OPS; i++) {
		int err = ask_client('p', &lat[i]);

		if (err)
			return err;
	}
	*out = (double)quantile_u64(lat, BREAK_OPS, 0.5) / 1e3;
	return 0;
}

static void break_done(const struct row *r)
{
	/* Processes that were forked later hold the socket open too. */
	shutdown(coop.sock, SHUT_RDWR);
	close(coop.sock);
	coop.sock = -1;
	waitpid(coop.client, NULL, 0);
	coop.client = 0;
	lh_server_stop(coop.server);
	lh_file_close(coop.file);
	lh_fs_close(coop.fs);
}

/* --- nolease_overhead ------------------------------------------------------------------------------------------------
 */

#define TRUNCATES 100000u

struct library {
	void *so;
	struct lh_fs *fs;
	struct lh_file *file;
	int (*fs_open)(const char *where, const struct lh_open_options *opt, struct lh_fs **out);
	int (*fs_close)(struct lh_fs *fs);
	int (*file_open)(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out);
	int (*file_close)(struct lh_file *file);
	int (*truncate)(struct lh_file *file, uint64_t size);
};
static struct library with, without;

/* A symbol as a function pointer; ISO C has no cast for it. */
static int symbol(void *so, const char *name, void *out)
{
	void *p = dlsym(so, name);

	memcpy(out, &p, sizeof(p));
	return p ? 0 : -ENOENT;
}

static int library_load(struct library *l, const char *name, char *why)
{
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	int err;

	if (n < 0)
		return bench_skip(why, -errno, "no /proc");
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	snprintf(path, sizeof(path), "%s/%s", self, name);
	l->so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!l->so)
		return bench_skip(why, -ENOENT, "%s", dlerror());
	if (symbol(l->so, "lh_fs_open", &l->fs_open) || symbol(l->so, "lh_fs_close", &l->fs_close) ||
	    symbol(l->so, "lh_file_open", &l->file_open) || symbol(l->so, "lh_file_close", &l->file_close) ||
	    symbol(l->so, "lh_file_truncate", &l->truncate))
		return bench_skip(why, -ENOENT, "%s lacks a call", name);
	err = l->fs_open("mem:64M", NULL, &l->fs);
	if (!err)
		err = l->file_open(l->fs, "/f", O_RDWR | O_CREAT, 0600, &l->file);
	return err ? bench_skip(why, err, "%s: cannot make a pool", name) : 0;
}

static int overhead_ready(const struct row *r, char *why)
{
	int err = library_load(&with, "libleasehold-bench.so", why);

	return err ? err : library_load(&without, "libleasehold-bench-noarbiter.so", why);
}

static int truncates(struct library *l, double *out)
{
	uint64_t start = clock_now_ns();

	for (unsigned i = 0; i < TRUNCATES; i++) {
		int err = l->truncate(l->file, 1 << 20);

		if (!err)
			err = l->truncate(l->file, 0);
		if (err)
			return err;
	}
	*out = (double)(clock_now_ns() - start) / TRUNCATES;
	return 0;
}

static int overhead_ours(const struct row *r, double *out)
{
	return truncates(&with, out);
}

static int overhead_peer(const struct row *r, double *out)
{
	return truncates(&without, out);
}

static void library_close(struct library *l)
{
	if (l->file)
		l->file_close(l->file);
	if (l->fs)
		l->fs_close(l->fs);
	if (l->so)
		dlclose(l->so);
}

static void overhead_done(const struct row *r)
{
	library_close(&with);
	library_close(&without);
}

const struct row lease_rows[] = {
    {.name = "lease_local",
     .unit = "ns",
     .peer_name = "fcntl(F_SETLEASE) set and clear, tmpfs",
     .goal = 1.0,
     .ready = lease_ready,
     .ours = lease_ours,
     .peer = lease_peer,
     .done = lease_done},
    {.name = "break_coop",
     .unit = "us",
     .peer_name = "one empty message round trip",
     .goal = 0.33,
     .prepare = break_prepare,
     .ready = break_ready,
     .ours = break_ours,
     .peer = break_peer,
     .done = break_done},
    {.name = "nolease_overhead",
     .unit = "ns",
     .peer_name = "the same, arbiter compiled to nothing",
     .goal = 0.99,
     .ready = overhead_ready,
     .ours = overhead_ours,
     .peer = overhead_peer,
     .done = overhead_done},
};
const unsigned lease_row_count = ARRAY_LEN(lease_rows);

void lease_finish(void)
{
	if (coop.address[0])
		unlink(coop.address + strlen("unix:"));
	if (coop.client > 0) {
		kill(coop.client, SIGKILL);
		waitpid(coop.client, NULL, 0);
	}
}
