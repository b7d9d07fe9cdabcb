/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_*  the longest stall of a sequential reader whose file is relocated, or cloned and copied on write, under it
 * all the time, against four round trips of an empty message on the same connection (L15, L33)
 *
 *   stream_pinned    lh_lease_read under a lease whose keys name blocks: recalled before each move
 *   stream_faulting  the same under a lease whose key names the file: nobody tells the reader anything
 *   stream_file      lh_file_read, which caches leases (L32)
 *
 * A stall is what a read took beyond the median of all reads. A round trip is the median of one on a connection at
 * rest, as a fault finds it. Beside the longest, the histogram of all stalls in round trips is shown, and the same of
 * as many reads while nothing moves: what remains of those is the machine's.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>
#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"

#define FILE_BYTES ((uint64_t)32 << 20)
#define READ_BYTES 65536u
#define MOVE_BYTES ((uint64_t)256 << 10)
#define ROUND_NS   (400 * NS_PER_MS)
#define PAUSE_US   1000u
#define PINGS      31u
#define REST_US    2000u
#define READS_MAX  200000u
#define BUCKETS    12u /* below 1/4 round trip, 1/2, 1, 2, 4, 8 ... */
#define BUCKET_LOW 0.25
#define BAR        40u

enum how { BY_LEASE, BY_FAULTING, BY_FILE };

struct histogram {
	uint64_t count[BUCKETS];
	uint64_t reads;
	double p99, p999, longest; /* stalls in round trips; the worst of all rounds */
};

static struct {
	pid_t pid;
	int sock;
	char path[128];
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease;
	double rtt_ns;
	uint64_t moves;
	struct histogram moved, still;
} rigs[3];

/* --- the server's process: serves, and moves the file's blocks between 'm' and 's' ---------------------------------
 */

struct mover {
	struct lh_fs *fs;
	struct lh_file *file, *clone;
	uint64_t seed;
};

static int mover_open(struct mover *m, const char *listen)
{
	static char content[1 << 20];
	struct lh_server *server;
	int err = lh_fs_open("mem:128M", NULL, &m->fs);

	if (!err)
		err = lh_file_open(m->fs, "/f", O_RDWR | O_CREAT, 0666, &m->file);
	if (!err)
		err = lh_file_open(m->fs, "/clone", O_RDWR | O_CREAT, 0666, &m->clone);
	for (uint64_t off = 0; off < FILE_BYTES && !err; off += sizeof(content)) {
		memset(content, (int)(off >> 20) + 1, sizeof(content));
		if (lh_file_write(m->file, content, sizeof(content), off) != (ssize_t)sizeof(content))
			err = -EIO;
	}
	return err ? err : lh_server_start(m->fs, listen, NULL, &server);
}

/* Every other time a move; else the blocks are shared and one of them is written: copy on write. */
static int mover_step(struct mover *m, uint64_t number)
{
	uint64_t off = next_random(&m->seed) % (FILE_BYTES / MOVE_BYTES) * MOVE_BYTES;
	char block[LH_BLOCK_SIZE];
	int64_t n;

	if (number % 2) {
		n = lh_file_relocate(m->file, off, MOVE_BYTES);
		return n < 0 ? (int)n : 0;
	}
	n = lh_file_clone_range(m->clone, 0, m->file, off, MOVE_BYTES);
	if (n)
		return (int)n;
	memset(block, (int)(off >> 20) + 1, sizeof(block));
	n = lh_file_write(m->file, block, sizeof(block), off + MOVE_BYTES / 2);
	return n == (ssize_t)sizeof(block) ? 0 : -EIO;
}

static void server_main(int sock, const char *path)
{
	struct mover m = {.seed = 88172645463325252ull};
	uint64_t answer = 1;
	char listen[160];
	char word;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(listen, sizeof(listen), "unix:%s", path);
	if (mover_open(&m, listen)) {
		fprintf(stderr, "leasehold-bench: server: %s\n", lh_error_text());
		answer = 0;
	}
	while (send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) == (ssize_t)sizeof(answer) &&
	       recv(sock, &word, 1, MSG_WAITALL) == 1) {
		answer = 1;
		while (recv(sock, &word, 1, MSG_DONTWAIT) != 1) {
			if (answer && mover_step(&m, answer))
				answer = 0;
			else if (answer)
				answer++;
			usleep(PAUSE_US);
		}
	}
	_exit(0);
}

/* --- the reader -----------------------------------------------------------------------------------------------------
 */

static unsigned rig_of(const struct row *r)
{
	return r->depth;
}

static int stream_prepare(const struct row *r, char *why)
{
	unsigned k = rig_of(r);
	int pair[2];

	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(rigs[k].path, sizeof(rigs[k].path), "%s/stream%u.sock", tmpfs_dir(), k);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return bench_skip(why, -errno, "no socket pair");
	fflush(NULL);
	rigs[k].pid = fork();
	if (rigs[k].pid == 0) {
		close(pair[0]);
		server_main(pair[1], rigs[k].path);
	}
	close(pair[1]);
	rigs[k].sock = pair[0];
	return rigs[k].pid < 0 ? -EAGAIN : 0;
}

static int told(unsigned k, uint64_t *answer)
{
	if (recv(rigs[k].sock, answer, sizeof(*answer), MSG_WAITALL) != (ssize_t)sizeof(*answer))
		return -EPIPE;
	return *answer ? 0 : -EIO;
}

static int round_trip(unsigned k)
{
	uint64_t took[PINGS];

	for (unsigned i = 0; i < PINGS; i++) {
		uint64_t start;

		usleep(REST_US);
		start = clock_now_ns();
		if (lh_fs_ping(rigs[k].fs))
			return -EIO;
		took[i] = clock_now_ns() - start;
	}
	rigs[k].rtt_ns = (double)quantile_u64(took, PINGS, 0.5);
	return 0;
}

static int stream_ready(const struct row *r, char *why)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	struct lh_open_options fopt = {.size = sizeof(fopt), .no_cache = r->depth != BY_FILE};
	unsigned k = rig_of(r);
	char address[160];
	uint64_t answer;
	int err = told(k, &answer);

	snprintf(address, sizeof(address), "unix:%s", rigs[k].path);
	if (!err)
		err = lh_fs_open(address, &fopt, &rigs[k].fs);
	if (!err)
		err = lh_file_open(rigs[k].fs, "/f", O_RDONLY, 0, &rigs[k].file);
	if (r->depth == BY_FAULTING)
		opt.flags |= LH_LEASE_FAULTING;
	if (!err && r->depth != BY_FILE)
		err = lh_lease_get(rigs[k].file, 0, FILE_BYTES, &opt, &rigs[k].lease);
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

static int read_one(unsigned k, char *buf, uint64_t off)
{
	ssize_t n = rigs[k].lease ? lh_lease_read(rigs[k].lease, buf, READ_BYTES, off)
				  : lh_file_read(rigs[k].file, buf, READ_BYTES, off);

	if (n != (ssize_t)READ_BYTES)
		return n < 0 ? (int)n : -EIO;
	/* No visible error, and no foreign byte. */
	return buf[0] == (char)((off >> 20) + 1) && buf[READ_BYTES - 1] == buf[0] ? 0 : -EBADMSG;
}

static int read_round(unsigned k, uint64_t *took, unsigned *count)
{
	static char buf[READ_BYTES];
	uint64_t end = clock_now_ns() + ROUND_NS;
	uint64_t start = clock_now_ns();
	uint64_t off = 0;

	for (*count = 0; start < end && *count < READS_MAX; (*count)++) {
		int err = read_one(k, buf, off);
		uint64_t now = clock_now_ns();

		if (err)
			return err;
		took[*count] = now - start;
		start = now;
		off = (off + READ_BYTES) % FILE_BYTES;
	}
	return 0;
}

/* Turns the times of a round's reads into stalls, sorted, and enters them. */
static void stalls_enter(struct histogram *h, uint64_t *took, unsigned count, double rtt_ns)
{
	uint64_t median = quantile_u64(took, count, 0.5);

	for (unsigned i = 0; i < count; i++) {
		double edge = BUCKET_LOW;
		unsigned b = 0;

		took[i] = took[i] > median ? took[i] - median : 0;
		for (; b + 1 < BUCKETS && (double)took[i] / rtt_ns >= edge; b++)
			edge *= 2;
		h->count[b]++;
	}
	h->reads += count;
	h->p99 = fmax(h->p99, (double)took[(unsigned)(count * 0.99)] / rtt_ns);
	h->p999 = fmax(h->p999, (double)took[(unsigned)(count * 0.999)] / rtt_ns);
	h->longest = fmax(h->longest, (double)took[count - 1] / rtt_ns);
}

/*
 * The longest stall that the machine does not explain: so many reads stalled for it or longer, and so few did among as
 * many while nothing moved. Both sorted.
 */
static uint64_t unexplained(const uint64_t *moved, unsigned count, const uint64_t *still, unsigned still_count)
{
	unsigned below = still_count;

	for (unsigned i = 1; i <= count; i++) {
		uint64_t x = moved[count - i];
		double n;

		while (below > 0 && still[below - 1] >= x)
			below--;
		n = (double)(still_count - below) * count / still_count;
		if (i > 3 + n + 3 * sqrt(n))
			return x;
	}
	return 0;
}

static int stream_ours(const struct row *r, double *out)
{
	static uint64_t took[READS_MAX], still[READS_MAX];
	unsigned k = rig_of(r);
	uint64_t moves = 0;
	unsigned count, still_count;
	char word = 'm';
	int err = round_trip(k);

	if (!err)
		err = read_round(k, still, &still_count);
	if (!err)
		stalls_enter(&rigs[k].still, still, still_count, rigs[k].rtt_ns);
	if (err || send(rigs[k].sock, &word, 1, MSG_NOSIGNAL) != 1)
		return err ? err : -EPIPE;
	err = read_round(k, took, &count);
	if (send(rigs[k].sock, &word, 1, MSG_NOSIGNAL) != 1 || told(k, &moves))
		return -EPIPE;
	rigs[k].moves += moves - 1;
	if (err)
		return err;
	stalls_enter(&rigs[k].moved, took, count, rigs[k].rtt_ns);
	/* None is as good as a microsecond. */
	*out = fmax((double)unexplained(took, count, still, still_count) / 1e3, 1);
	return 0;
}

static int stream_peer(const struct row *r, double *out)
{
	*out = 4 * rigs[rig_of(r)].rtt_ns / 1e3;
	return 0;
}

static void stream_done(const struct row *r)
{
	unsigned k = rig_of(r);

	lh_lease_release(rigs[k].lease);
	lh_file_close(rigs[k].file);
	lh_fs_close(rigs[k].fs);
	kill(rigs[k].pid, SIGKILL);
	close(rigs[k].sock);
	waitpid(rigs[k].pid, NULL, 0);
	rigs[k].pid = 0;
}

/* --- the histogram --------------------------------------------------------------------------------------------------
 */

static double bucket_end(unsigned b)
{
	return b + 1 == BUCKETS ? INFINITY : ldexp(BUCKET_LOW, (int)b);
}

static void stream_report(const struct row *r)
{
	const struct histogram *m = &rigs[rig_of(r)].moved, *s = &rigs[rig_of(r)].still;

	printf("    stalls of %llu reads of 64 KiB under %llu moves, in round trips of %.0f us; beside them %llu reads "
	       "while nothing moved\n",
	       (unsigned long long)m->reads, (unsigned long long)rigs[rig_of(r)].moves, rigs[rig_of(r)].rtt_ns / 1e3,
	       (unsigned long long)s->reads);
	for (unsigned b = 0; b < BUCKETS; b++) {
		double part = m->count[b] ? log2((double)m->count[b] + 1) / log2((double)m->reads + 1) : 0;
		unsigned bar = (unsigned)(part * BAR + 0.5);

		if (!m->count[b] && !s->count[b])
			continue;
		printf("    %s %6.2f  %8llu %8llu  %.*s\n", b + 1 == BUCKETS ? ">=" : " <",
		       b + 1 == BUCKETS ? bucket_end(b - 1) : bucket_end(b), (unsigned long long)m->count[b],
		       (unsigned long long)s->count[b], (int)bar, "########################################");
	}
	printf("    p99 %.2f, p99.9 %.2f, longest %.2f; while nothing moved %.2f, %.2f, %.2f (worst round of each)\n",
	       m->p99, m->p999, m->longest, s->p99, s->p999, s->longest);
}

static json_t *histogram_json(const struct histogram *h)
{
	json_t *buckets = json_array();

	for (unsigned b = 0; b < BUCKETS; b++)
		json_array_append_new(buckets, json_pack("{so sI}", "below",
							 b + 1 == BUCKETS ? json_null() : json_real(bucket_end(b)),
							 "reads", (json_int_t)h->count[b]));
	return json_pack("{sI sf sf sf so}", "reads", (json_int_t)h->reads, "p99", h->p99, "p999", h->p999, "longest",
			 h->longest, "buckets", buckets);
}

static json_t *stream_details(const struct row *r)
{
	return json_pack("{sf sI so so}", "round_trip_us", rigs[rig_of(r)].rtt_ns / 1e3, "moves",
			 (json_int_t)rigs[rig_of(r)].moves, "stalls", histogram_json(&rigs[rig_of(r)].moved),
			 "stalls_unmoved", histogram_json(&rigs[rig_of(r)].still));
}

#define STREAM_ROW(row_name, how)                                                                                      \
	{                                                                                                              \
		.name = row_name, .unit = "us", .peer_name = "four round trips of an empty message", .goal = 1.0,      \
		.prepare = stream_prepare, .ready = stream_ready, .ours = stream_ours, .peer = stream_peer,            \
		.done = stream_done, .report = stream_report, .details = stream_details, .depth = how                  \
	}

const struct row stream_rows[] = {
    STREAM_ROW("stream_pinned", BY_LEASE),
    STREAM_ROW("stream_faulting", BY_FAULTING),
    STREAM_ROW("stream_file", BY_FILE),
};
const unsigned stream_row_count = ARRAY_LEN(stream_rows);

void stream_finish(void)
{
	for (unsigned k = 0; k < ARRAY_LEN(rigs); k++) {
		if (rigs[k].path[0])
			unlink(rigs[k].path);
		if (rigs[k].pid > 0) {
			kill(rigs[k].pid, SIGKILL);
			waitpid(rigs[k].pid, NULL, 0);
		}
	}
}
