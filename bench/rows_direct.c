/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_check and ring_read_1m_memcpy, see below.
 *
 * rma_* (stream over TCP loopback against libfabric tcp) and ring_* (shared memory against libfabric shm). Each side
 * has a server process of its own with a region of REGION bytes and this process as the client; the peer's server,
 * which polls for ever, is stopped while ours is measured. Both wait by polling.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "ofi_peer.h"

#define REGION    ((uint64_t)64 << 20)
#define CHUNK     65536u /* what the movers move under one question */
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

/* --- ring_read_1m_memcpy: the ring's mover on one core and its client on another, against memcpy on one ------------
 */

static struct {
	char *from; /* REGION bytes of the kind that the pool is of */
	cpu_set_t before;
	bool pinned;
} copy;

static int pin_to(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(pid, sizeof(set), &set) ? -errno : 0;
}

/* Every thread of the server. */
static int pin_process(pid_t pid, int cpu)
{
	char path[64];
	struct dirent *d;
	int err = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	for (d = readdir(dir); d && !err; d = readdir(dir)) {
		if (d->d_name[0] != '.')
			err = pin_to((pid_t)atoi(d->d_name), cpu);
	}
	closedir(dir);
	return err;
}

static int copy_ready(const struct row *r, char *why)
{
	int cpus[2], n = 0, fd, err = direct_ready(r, why);

	if (err)
		return err;
	sched_getaffinity(0, sizeof(copy.before), &copy.before);
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++) {
		if (CPU_ISSET(i, &copy.before))
			cpus[n++] = i;
	}
	if (n < 2)
		return bench_skip(why, -ENODEV, "it needs two processors");
	fd = memfd_create("leasehold-bench", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)REGION))
		return bench_skip(why, -errno, "no memory");
	copy.from = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	if (copy.from == MAP_FAILED)
		return bench_skip(why, -errno, "no memory");
	memset(copy.from, 1, REGION);
	err = pin_to(0, cpus[0]);
	if (!err)
		err = pin_process(envs[RING].server, cpus[1]);
	copy.pinned = true;
	return err ? bench_skip(why, err, "no processor of its own") : 0;
}

static int copy_peer(const struct row *r, double *out)
{
	uint64_t seed = 88172645463325252ull, start = clock_now_ns();
	unsigned ops = ops_of(r);

	for (unsigned i = 0; i < ops; i++) {
		uint64_t off = next_random(&seed) % (REGION / r->len) * r->len;

		memcpy(envs[RING].bufs[i % r->depth], copy.from + off, r->len);
		__asm__ volatile("" ::: "memory");
	}
	*out = (double)ops * (double)r->len / (double)(clock_now_ns() - start) * 1e3;
	return 0;
}

static void copy_done(const struct row *r)
{
	if (copy.pinned)
		sched_setaffinity(0, sizeof(copy.before), &copy.before);
	if (copy.from && copy.from != MAP_FAILED)
		munmap(copy.from, REGION);
}

/* --- lease_check: the library twice, once with a mover that asks nothing -------------------------------------------
 */

#define CHECK_FILE ((uint64_t)1 << 18) /* stays in the caches, where the question costs most */
#define CHECK_OPS  20000u

struct library {
	void *so;
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease;
	void *buf;
	__typeof__(&lh_fs_open) fs_open;
	__typeof__(&lh_fs_close) fs_close;
	__typeof__(&lh_file_open) file_open;
	__typeof__(&lh_file_close) file_close;
	__typeof__(&lh_file_write) file_write;
	__typeof__(&lh_lease_get) lease_get;
	__typeof__(&lh_lease_read) lease_read;
	__typeof__(&lh_lease_release) lease_release;
};
static struct library checked, unchecked;

/* A symbol as a function pointer; ISO C has no cast for it. */
static int symbol(void *so, const char *name, void *out)
{
	void *p = dlsym(so, name);

	memcpy(out, &p, sizeof(p));
	return p ? 0 : -ENOENT;
}

static int library_load(struct library *l, const char *name, char *why)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int err;

	if (n < 0)
		return bench_skip(why, -errno, "no /proc");
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/%s", self, name);
	l->so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!l->so)
		return bench_skip(why, -ENOENT, "%s", dlerror());
	if (symbol(l->so, "lh_fs_open", &l->fs_open) || symbol(l->so, "lh_fs_close", &l->fs_close) ||
	    symbol(l->so, "lh_file_open", &l->file_open) || symbol(l->so, "lh_file_close", &l->file_close) ||
	    symbol(l->so, "lh_file_write", &l->file_write) || symbol(l->so, "lh_lease_get", &l->lease_get) ||
	    symbol(l->so, "lh_lease_read", &l->lease_read) || symbol(l->so, "lh_lease_release", &l->lease_release))
		return bench_skip(why, -ENOENT, "%s lacks a call", name);
	if (posix_memalign(&l->buf, 4096, CHECK_FILE))
		return bench_skip(why, -ENOMEM, "no memory");
	memset(l->buf, 1, CHECK_FILE);
	err = l->fs_open("mem:64M", NULL, &l->fs);
	if (!err)
		err = l->file_open(l->fs, "/f", O_RDWR | O_CREAT, 0600, &l->file);
	if (!err)
		err = l->file_write(l->file, l->buf, CHECK_FILE, 0) == (ssize_t)CHECK_FILE ? 0 : -EIO;
	if (!err)
		err = l->lease_get(l->file, 0, CHECK_FILE, &opt, &l->lease);
	return err ? bench_skip(why, err, "%s: cannot make a pool", name) : 0;
}

static int check_ready(const struct row *r, char *why)
{
	int err = library_load(&checked, "libleasehold-bench.so", why);

	return err ? err : library_load(&unchecked, "libleasehold-bench-nocheck.so", why);
}

static int check_reads(struct library *l, const struct row *r, double *out)
{
	uint64_t seed = 88172645463325252ull, start = clock_now_ns();

	for (unsigned i = 0; i < CHECK_OPS; i++) {
		uint64_t off = next_random(&seed) % (CHECK_FILE / r->len) * r->len;

		if (l->lease_read(l->lease, l->buf, r->len, off) != (ssize_t)r->len)
			return -EIO;
	}
	*out = (double)(clock_now_ns() - start) / CHECK_OPS;
	return 0;
}

static int check_ours(const struct row *r, double *out)
{
	return check_reads(&checked, r, out);
}

static int check_peer(const struct row *r, double *out)
{
	return check_reads(&unchecked, r, out);
}

static void library_close(struct library *l)
{
	if (l->lease)
		l->lease_release(l->lease);
	if (l->file)
		l->file_close(l->file);
	if (l->fs)
		l->fs_close(l->fs);
	if (l->so)
		dlclose(l->so);
	free(l->buf);
}

static void check_done(const struct row *r)
{
	library_close(&checked);
	library_close(&unchecked);
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
    ROW("rma_read_4k_lat", PEER_TCP, false, 4096, 1),
    ROW("rma_write_4k_lat", PEER_TCP, true, 4096, 1),
    ROW("rma_read_64k_lat", PEER_TCP, false, 65536, 1),
    ROW("rma_write_64k_lat", PEER_TCP, true, 65536, 1),
    ROW("rma_read_1m_lat", PEER_TCP, false, 1 << 20, 1),
    ROW("rma_write_1m_lat", PEER_TCP, true, 1 << 20, 1),
    ROW("rma_read_4k_bw", PEER_TCP, false, 4096, 16),
    ROW("rma_write_4k_bw", PEER_TCP, true, 4096, 16),
    ROW("rma_read_64k_bw", PEER_TCP, false, 65536, 16),
    ROW("rma_write_64k_bw", PEER_TCP, true, 65536, 16),
    ROW("rma_read_1m_bw", PEER_TCP, false, 1 << 20, 16),
    ROW("rma_write_1m_bw", PEER_TCP, true, 1 << 20, 16),
    ROW("ring_read_4k_lat", PEER_SHM, false, 4096, 1),
    ROW("ring_write_4k_lat", PEER_SHM, true, 4096, 1),
    ROW("ring_read_64k_lat", PEER_SHM, false, 65536, 1),
    ROW("ring_read_1m_bw", PEER_SHM, false, 1 << 20, 16),
    ROW("ring_write_1m_bw", PEER_SHM, true, 1 << 20, 16),
    {.name = "ring_read_1m_memcpy",
     .unit = "MB/s",
     .peer_name = "memcpy of the same bytes to the same places",
     .goal = 0.8,
     .rate = true,
     .prepare = direct_prepare,
     .ready = copy_ready,
     .ours = ours_bandwidth,
     .peer = copy_peer,
     .done = copy_done,
     .len = 1 << 20,
     .depth = 16},
    {.name = "lease_check",
     .unit = "ns",
     .peer_name = "the same mover that asks nothing",
     .goal = 0.98,
     .ready = check_ready,
     .ours = check_ours,
     .peer = check_peer,
     .done = check_done,
     .len = CHUNK},
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
