/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_remote  grant and release of a READ lease over the unix socket, against two empty messages' round trips on the
 *               same connection
 * break_1000    one change of the layout under 1,000 READ leases in 8 client processes that give them back when asked,
 *               against 1,000 times one such change under one lease
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"

#define CLIENTS    8u
#define LEASES     1000u
#define LEASES_OF  (LEASES / CLIENTS)
#define REMOTE_OPS 2000u
#define COOP_OPS   32u
/* A holder at rest, whose threads sleep. */
#define REST_US 2000u

struct client {
	pid_t pid;
	int sock;
};
/* One rig for each row: rows are prepared long before they run. */
struct rig {
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_server *server;
	struct client clients[CLIENTS];
	unsigned count;
	char path[128];
};
static struct rig one, many;

/* --- the client's process ------------------------------------------------------------------------------------------
 */

struct holder {
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *leases[LEASES_OF];
	unsigned count, first;
};

static void leases_drop(struct holder *h)
{
	while (h->count)
		lh_lease_release(h->leases[--h->count]);
}

/* n leases of one block each. */
static uint64_t leases_take(struct holder *h, unsigned n)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};

	leases_drop(h);
	while (h->count < n) {
		uint64_t off = (uint64_t)(h->first + h->count) * LH_BLOCK_SIZE;

		if (lh_lease_get(h->file, off, LH_BLOCK_SIZE, &opt, &h->leases[h->count]))
			return 0;
		h->count++;
	}
	return 1;
}

static uint64_t time_leases(struct holder *h)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	uint64_t start = clock_now_ns();

	for (unsigned i = 0; i < REMOTE_OPS; i++) {
		struct lh_lease *lease;

		if (lh_lease_get(h->file, 0, LH_BLOCK_SIZE, &opt, &lease) || lh_lease_release(lease))
			return 0;
	}
	return clock_now_ns() - start;
}

static uint64_t time_pings(struct holder *h)
{
	uint64_t start = clock_now_ns();

	for (unsigned i = 0; i < 2 * REMOTE_OPS; i++) {
		if (lh_fs_ping(h->fs))
			return 0;
	}
	return clock_now_ns() - start;
}

/* 'l' take one lease, 'L' take many, 't' time leases, 'p' time pings; the answer is 0 when it failed. */
static void client_main(int sock, unsigned number)
{
	struct lh_open_options opt = {.size = sizeof(opt)};
	struct holder h = {.first = number * LEASES_OF};
	uint64_t answer;
	char word[128];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (recv(sock, word, sizeof(word), MSG_WAITALL) != (ssize_t)sizeof(word) || lh_fs_open(word, &opt, &h.fs) ||
	    lh_file_open(h.fs, "/f", O_RDONLY, 0, &h.file)) {
		fprintf(stderr, "leasehold-bench: client: %s\n", lh_error_text());
		_exit(1);
	}
	while (recv(sock, word, 1, MSG_WAITALL) == 1) {
		if (word[0] == 'l')
			answer = leases_take(&h, 1);
		else if (word[0] == 'L')
			answer = leases_take(&h, LEASES_OF);
		else
			answer = word[0] == 't' ? time_leases(&h) : time_pings(&h);
		if (send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) != (ssize_t)sizeof(answer))
			break;
	}
	_exit(0);
}

static int rig_fork(struct rig *rig, unsigned count, char *why)
{
	fflush(NULL);
	for (unsigned i = 0; i < count; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return bench_skip(why, -errno, "no socket pair");
		rig->clients[i].pid = fork();
		if (rig->clients[i].pid == 0) {
			close(pair[0]);
			client_main(pair[1], i);
		}
		close(pair[1]);
		rig->clients[i].sock = pair[0];
		if (rig->clients[i].pid < 0)
			return bench_skip(why, -EAGAIN, "no process");
		rig->count++;
	}
	return 0;
}

static int rig_serve(struct rig *rig, const char *name, char *why)
{
	static char content[LEASES * LH_BLOCK_SIZE];
	char listen[160], word[128] = "";
	int err;

	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(rig->path, sizeof(rig->path), "%s/%s", tmpfs_dir(), name);
	snprintf(listen, sizeof(listen), "unix:%s", rig->path);
	err = lh_fs_open("mem:64M", NULL, &rig->fs);
	if (!err)
		err = lh_file_open(rig->fs, "/f", O_RDWR | O_CREAT, 0666, &rig->file);
	if (!err)
		err = lh_file_write(rig->file, content, sizeof(content), 0) == (ssize_t)sizeof(content) ? 0 : -EIO;
	if (!err)
		err = lh_server_start(rig->fs, listen, NULL, &rig->server);
	if (err)
		return bench_skip(why, err, "ours: %s", lh_error_text());
	snprintf(word, sizeof(word), "%s", lh_server_address(rig->server));
	for (unsigned i = 0; i < rig->count; i++) {
		if (send(rig->clients[i].sock, word, sizeof(word), MSG_NOSIGNAL) != (ssize_t)sizeof(word))
			return -EPIPE;
	}
	return 0;
}

static void rig_done(struct rig *rig)
{
	for (unsigned i = 0; i < rig->count; i++) {
		/* Processes that were forked later hold its socket open: closing would not end it. */
		kill(rig->clients[i].pid, SIGKILL);
		close(rig->clients[i].sock);
		waitpid(rig->clients[i].pid, NULL, 0);
	}
	rig->count = 0;
	lh_server_stop(rig->server);
	lh_file_close(rig->file);
	lh_fs_close(rig->fs);
}

/* All of the first `count` clients at the same time; the answer of the last. */
static int ask(struct rig *rig, unsigned count, char what, uint64_t *answer)
{
	for (unsigned i = 0; i < count; i++) {
		if (send(rig->clients[i].sock, &what, 1, MSG_NOSIGNAL) != 1)
			return -EPIPE;
	}
	for (unsigned i = 0; i < count; i++) {
		if (recv(rig->clients[i].sock, answer, sizeof(*answer), MSG_WAITALL) != (ssize_t)sizeof(*answer))
			return -EPIPE;
		if (!*answer)
			return -EIO;
	}
	return 0;
}

/* --- lease_remote --------------------------------------------------------------------------------------------------
 */

static int remote_prepare(const struct row *r, char *why)
{
	return rig_fork(&one, 1, why);
}

static int remote_ready(const struct row *r, char *why)
{
	return rig_serve(&one, "remote.sock", why);
}

static int remote_time(char what, double *out)
{
	uint64_t took = 0;
	int err = ask(&one, 1, what, &took);

	*out = (double)took / REMOTE_OPS / 1e3;
	return err;
}

static int remote_ours(const struct row *r, double *out)
{
	return remote_time('t', out);
}

static int remote_peer(const struct row *r, double *out)
{
	return remote_time('p', out);
}

static void remote_done(const struct row *r)
{
	rig_done(&one);
}

/* --- break_1000 ----------------------------------------------------------------------------------------------------
 */

static int many_prepare(const struct row *r, char *why)
{
	return rig_fork(&many, CLIENTS, why);
}

static int many_ready(const struct row *r, char *why)
{
	return rig_serve(&many, "many.sock", why);
}

static int move_all(uint64_t len, uint64_t *took)
{
	uint64_t start;
	int64_t moved;

	usleep(REST_US);
	start = clock_now_ns();
	moved = lh_file_relocate(many.file, 0, len);
	*took = clock_now_ns() - start;
	return moved < 0 ? (int)moved : moved == (int64_t)(len / LH_BLOCK_SIZE) ? 0 : -EIO;
}

static int many_ours(const struct row *r, double *out)
{
	uint64_t answer, took = 0;
	int err = ask(&many, CLIENTS, 'L', &answer);

	if (!err)
		err = move_all((uint64_t)LEASES * LH_BLOCK_SIZE, &took);
	*out = (double)took / 1e3;
	return err;
}

static int many_peer(const struct row *r, double *out)
{
	uint64_t lat[COOP_OPS], answer;
	int err = 0;

	for (unsigned i = 0; i < COOP_OPS && !err; i++) {
		err = ask(&many, 1, 'l', &answer);
		if (!err)
			err = move_all(LH_BLOCK_SIZE, &lat[i]);
	}
	if (!err)
		*out = (double)quantile_u64(lat, COOP_OPS, 0.5) * LEASES / 1e3;
	return err;
}

static void many_done(const struct row *r)
{
	rig_done(&many);
}

const struct row remote_rows[] = {
    {.name = "lease_remote",
     .unit = "us",
     .peer_name = "two empty message round trips",
     .goal = 0.75,
     .prepare = remote_prepare,
     .ready = remote_ready,
     .ours = remote_ours,
     .peer = remote_peer,
     .done = remote_done},
    {.name = "break_1000",
     .unit = "us",
     .peer_name = "1,000 times the same with one lease",
     .goal = 5.0,
     .prepare = many_prepare,
     .ready = many_ready,
     .ours = many_ours,
     .peer = many_peer,
     .done = many_done},
};
const unsigned remote_row_count = ARRAY_LEN(remote_rows);

static void rig_finish(struct rig *rig)
{
	if (rig->path[0])
		unlink(rig->path);
	for (unsigned i = 0; i < rig->count; i++) {
		kill(rig->clients[i].pid, SIGKILL);
		waitpid(rig->clients[i].pid, NULL, 0);
	}
}

void remote_finish(void)
{
	rig_finish(&one);
	rig_finish(&many);
}
