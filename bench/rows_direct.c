/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rma_* (stream over TCP loopback against libfabric tcp) and ring_* (shared memory against libfabric shm). Each side
 * has a server process of its own with a region of REGION bytes and this process as the client; the peer's server,
 * which polls for ever, is stopped while ours is measured. Both wait by polling.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "ofi_peer.h"

#define REGION    ((uint64_t)64 << 20)
#define POOL      "mem:192M"
#define SPIN_NS   (2 * NS_PER_MS)
#define LAT_OPS   400u
#define BW_BYTES  ((size_t)192 << 20)
#define BW_OPS    6000u
#define DEPTH_MAX 16u

enum which { TCP, RING, WHICH_COUNT };

static struct env {
	const char *provider;
	char address[128], dir[64];
	pid_t server;
	struct ofi_peer *peer;
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease[2]; /* READ and WRITE: a key allows one direction */
	void *bufs[DEPTH_MAX];
} envs[WHICH_COUNT] = {[TCP] = {.provider = "tcp"}, [RING] = {.provider = "shm"}};

static enum which env_of(const struct row *r)
{
	return strncmp(r->name, "ring_", 5) == 0 ? RING : TCP;
}

/* The server process: an anonymous pool with one file of REGION bytes, served until the parent goes. */
static void server_main(const char *listen, int out)
{
	struct lh_server_options sopt = {
	    .size = sizeof(sopt), .tcp_uid = geteuid(), .tcp_gid = getegid(), .tcp_as_given = true, .spin_ns = SPIN_NS};
	struct lh_server *server;
	struct lh_file *file;
	struct lh_fs *fs;
	void *zero = calloc(1, REGION);
	char line[128] = "";

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!zero || lh_fs_open(POOL, NULL, &fs) || lh_file_open(fs, "/data", O_RDWR | O_CREAT, 0666, &file) ||
	    lh_file_write(file, zero, REGION, 0) != (ssize_t)REGION || lh_server_start(fs, listen, &sopt, &server)) {
		fprintf(stderr, "leasehold-bench: server: %s\n", lh_error_text());
		_exit(1);
	}
	snprintf(line, sizeof(line), "%s", lh_server_address(server));
	if (write(out, line, sizeof(line)) != (ssize_t)sizeof(line))
		_exit(1);
	for (;;)
		pause();
}

static int server_start(struct env *e, const char *listen, char *why)
{
	int pipes[2];
	ssize_t n;

	if (pipe(pipes))
		return bench_skip(why, -errno, "no pipe");
	fflush(NULL);
	e->server = fork();
	if (e->server == 0) {
		close(pipes[0]);
		server_main(listen, pipes[1]);
	}
	close(pipes[1]);
	n = read(pipes[0], e->address, sizeof(e->address));
	close(pipes[0]);
	return n == (ssize_t)sizeof(e->address) ? 0 : bench_skip(why, -EIO, "our server did not start");
}

static int direct_prepare(const struct row *r, char *why)
{
	enum which which = env_of(r);
	struct env *e = &envs[which];
	char listen[96] = "tcp:127.0.0.1:0";

	if (e->server)
		return 0;
	if (which == RING) {
		if (!tmpfs_dir())
			return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
		snprintf(listen, sizeof(listen), "unix:%s/ring.sock", tmpfs_dir());
	}
	e->peer = ofi_peer_start(e->provider, REGION, why, WHY_MAX);
	if (!e->peer)
		return -ENODEV;
	ofi_peer_pause(e->peer);
	return server_start(e, listen, why);
}

static int direct_ready(const struct row *r, char *why)
{
	struct env *e = &envs[env_of(r)];
	struct lh_open_options opt = {.size = sizeof(opt), .spin_ns = SPIN_NS, .ring_bytes = (uint64_t)64 << 20};
	struct lh_lease_options ropt = {.size = sizeof(ropt), .flags = LH_LEASE_READ};
	struct lh_lease_options wopt = {.size = sizeof(wopt), .flags = LH_LEASE_WRITE};
	int err;

	if (e->lease[1])
		return 0;
	err = lh_fs_open(e->address, &opt, &e->fs);
	if (!err)
		err = lh_file_open(e->fs, "/data", O_RDWR, 0, &e->file);
	if (!err)
		err = lh_lease_get(e->file, 0, REGION, &ropt, &e->lease[0]);
	if (!err)
		err = lh_lease_get(e->file, 0, REGION, &wopt, &e->lease[1]);
	for (unsigned i = 0; !err && i < DEPTH_MAX; i++) {
		e->bufs[i] = lh_buffer_get(e->fs, 1 << 20);
		if (e->bufs[i])
			memset(e->bufs[i], 3, 1 << 20);
		else
			err = -ENOMEM;
	}
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

static unsigned ops_of(const struct row *r)
{
	if (r->depth == 1)
		return LAT_OPS;
	return (unsigned)min_u64(BW_BYTES / r->len, BW_OPS);
}

static int ours_latency(const struct row *r, double *out)
{
	struct env *e = &envs[env_of(r)];
	uint64_t lat[LAT_OPS], seed = 88172645463325252ull;

	for (unsigned i = 0; i < LAT_OPS; i++) {
		uint64_t off = next_random(&seed) % (REGION / r->len) * r->len;
		uint64_t start = clock_now_ns();
		ssize_t n = r->write ? lh_lease_write(e->lease[1], e->bufs[0], r->len, off)
				     : lh_lease_read(e->lease[0], e->bufs[0], r->len, off);

		if (n != (ssize_t)r->len)
			return n < 0 ? (int)n : -EIO;
		lat[i] = clock_now_ns() - start;
	}
	*out = (double)quantile_u64(lat, LAT_OPS, 0.5) / 1e3;
	return 0;
}

static int queue_one(struct lh_queue *q, const struct row *r, struct env *e, void *buf, uint64_t *seed)
{
	uint64_t off = next_random(seed) % (REGION / r->len) * r->len;

	return r->write ? lh_queue_write(q, e->lease[1], buf, r->len, off, buf)
			: lh_queue_read(q, e->lease[0], buf, r->len, off, buf);
}

static int ours_bandwidth(const struct row *r, double *out)
{
	struct env *e = &envs[env_of(r)];
	unsigned ops = ops_of(r), posted = 0, finished = 0;
	uint64_t seed = 88172645463325252ull, start;
	struct lh_queue *q;
	int err = lh_queue_new(e->fs, r->depth, &q);

	if (err)
		return err;
	start = clock_now_ns();
	for (; !err && posted < r->depth; posted++)
		err = queue_one(q, r, e, e->bufs[posted], &seed);
	while (!err && finished < ops) {
		struct lh_completion done[DEPTH_MAX];
		int n = lh_queue_wait(q, 1, done, DEPTH_MAX);

		err = n < 0 ? n : 0;
		for (int i = 0; i < n && !err; i++) {
			if (done[i].result != (ssize_t)r->len)
				err = done[i].result < 0 ? (int)done[i].result : -EIO;
			finished++;
			if (!err && posted < ops) {
				err = queue_one(q, r, e, done[i].cookie, &seed);
				posted++;
			}
		}
	}
	*out = (double)ops * (double)r->len / (double)(clock_now_ns() - start) * 1e3;
	lh_queue_free(q);
	return err;
}

static int direct_ours(const struct row *r, double *out)
{
	return r->depth == 1 ? ours_latency(r, out) : ours_bandwidth(r, out);
}

static int direct_peer(const struct row *r, double *out)
{
	struct env *e = &envs[env_of(r)];
	uint64_t lat[LAT_OPS], start;
	unsigned ops = ops_of(r);
	int err;

	ofi_peer_resume(e->peer);
	/* A few operations first: the stopped process has to be scheduled again. */
	err = ofi_peer_run(e->peer, r->write, r->len, 1, 8, NULL);
	start = clock_now_ns();
	if (!err)
		err = ofi_peer_run(e->peer, r->write, r->len, r->depth, ops, r->depth == 1 ? lat : NULL);
	if (r->depth == 1)
		*out = (double)quantile_u64(lat, LAT_OPS, 0.5) / 1e3;
	else
		*out = (double)ops * (double)r->len / (double)(clock_now_ns() - start) * 1e3;
	ofi_peer_pause(e->peer);
	return err;
}

#define PEER_TCP "libfabric tcp, FI_EP_MSG, polling"
#define PEER_SHM "libfabric shm, FI_EP_RDM, polling"
#define ROW(n, p, w, bytes, d)                                                                                         \
	{                                                                                                              \
		.name = n, .unit = (d) == 1 ? "us" : "MB/s", .peer_name = p, .goal = 1.0, .rate = (d) != 1,            \
		.prepare = direct_prepare, .ready = direct_ready, .ours = direct_ours, .peer = direct_peer,            \
		.len = bytes, .depth = d, .write = w                                                                   \
	}

const struct row direct_rows[] = {
    ROW("rma_read_4k_lat", PEER_TCP, false, 4096, 1),     ROW("rma_write_4k_lat", PEER_TCP, true, 4096, 1),
    ROW("rma_read_64k_lat", PEER_TCP, false, 65536, 1),   ROW("rma_write_64k_lat", PEER_TCP, true, 65536, 1),
    ROW("rma_read_1m_lat", PEER_TCP, false, 1 << 20, 1),  ROW("rma_write_1m_lat", PEER_TCP, true, 1 << 20, 1),
    ROW("rma_read_4k_bw", PEER_TCP, false, 4096, 16),     ROW("rma_write_4k_bw", PEER_TCP, true, 4096, 16),
    ROW("rma_read_64k_bw", PEER_TCP, false, 65536, 16),   ROW("rma_write_64k_bw", PEER_TCP, true, 65536, 16),
    ROW("rma_read_1m_bw", PEER_TCP, false, 1 << 20, 16),  ROW("rma_write_1m_bw", PEER_TCP, true, 1 << 20, 16),
    ROW("ring_read_4k_lat", PEER_SHM, false, 4096, 1),    ROW("ring_write_4k_lat", PEER_SHM, true, 4096, 1),
    ROW("ring_read_64k_lat", PEER_SHM, false, 65536, 1),  ROW("ring_read_1m_bw", PEER_SHM, false, 1 << 20, 16),
    ROW("ring_write_1m_bw", PEER_SHM, true, 1 << 20, 16),
};
const unsigned direct_row_count = ARRAY_LEN(direct_rows);

static void env_finish(struct env *e)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++) {
		if (e->bufs[i])
			lh_buffer_put(e->fs, e->bufs[i]);
	}
	lh_lease_release(e->lease[0]);
	lh_lease_release(e->lease[1]);
	lh_file_close(e->file);
	lh_fs_close(e->fs);
	ofi_peer_stop(e->peer);
	if (e->server > 0) {
		kill(e->server, SIGKILL);
		waitpid(e->server, NULL, 0);
	}
	if (strncmp(e->address, "unix:", 5) == 0)
		unlink(e->address + 5);
}

void direct_finish(void)
{
	for (unsigned i = 0; i < WHICH_COUNT; i++)
		env_finish(&envs[i]);
}
