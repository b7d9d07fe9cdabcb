/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile and dying peers (L17, L39, F2, F3, F8, F11): whatever they send, nothing outside the lease changes, the
 * target stays up, and a well-behaved client beside them keeps working.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/busguard.h"
#include "base/clock.h"
#include "base/types.h"
#include "conformance.h"
#include "fabric/stream_wire.h"

#define GUESSES      100000u
#define BATCH        64
#define LEASE_AT     ((size_t)1 << 20)
#define LEASE_BYTES  ((size_t)65536)
#define LEASE_BYTE   0x33
#define GARBAGE_RUNS 300
#define DEATHS       20

/* A target with a lease in the middle of the pool, a good client and its own lease. */
struct stage {
	struct fabric_target *t;
	struct fabric_domain *d, *good_domain;
	struct fabric_conn *good;
	struct fabric_key key, good_key;
	unsigned char *pool;
};

static void stage_open(struct stage *s)
{
	s->pool = pool_map();
	memset(s->pool + LEASE_AT, LEASE_BYTE, LEASE_BYTES);
	MUST(fabric_target_new(NULL, &s->t));
	MUST(fabric_domain_new(s->t, &s->d));
	MUST(fabric_domain_new(s->t, &s->good_domain));
	MUST(fabric_expose(s->d, s->pool + LEASE_AT, LEASE_BYTES, FABRIC_READ | FABRIC_WRITE, &s->key));
	MUST(fabric_expose(s->good_domain, s->pool, 4096, FABRIC_READ | FABRIC_WRITE, &s->good_key));
}

struct fabric_conn *pair_conn(enum member m, struct fabric_domain *d, struct fabric_path **path)
{
	struct fabric_conn *c = NULL;
	int fds[3];

	if (m == MEMBER_LOOP) {
		MUST(fabric_loop_connect(d, NULL, &c));
	} else if (m == MEMBER_RING) {
		MUST(fabric_ring_connect(NULL, fds, &c));
		MUST(fabric_ring_attach(d, fds[0], fds[1], fds[2], path));
	} else {
		member_pair(m, fds);
		MUST(fabric_stream_attach(d, fds[0], path));
		MUST(fabric_stream_connect(fds[1], NULL, &c));
	}
	return c;
}

/* The good client works, and outside the two leases nothing changed. */
static void stage_check(struct stage *s)
{
	unsigned char out[512], in[512];

	memset(out, (int)(clock_now_ns() & 0xff), sizeof(out));
	CHECK(op_run(s->good, FABRIC_OP_WRITE, s->good_key.number, 100, out, sizeof(out)) == 0, "write");
	CHECK(op_run(s->good, FABRIC_OP_READ, s->good_key.number, 100, in, sizeof(in)) == 0, "read");
	CHECK(memcmp(in, out, sizeof(in)) == 0, "the good client reads something else than it wrote");
	CHECK(bytes_differ(s->pool, 4096, LEASE_AT, POOL_GUARD) == LEASE_AT, "changed before the lease");
	CHECK(bytes_differ(s->pool, LEASE_AT + LEASE_BYTES, POOL_BYTES, POOL_GUARD) == POOL_BYTES,
	      "changed behind the lease");
}

static void stage_close(struct stage *s)
{
	stage_check(s);
	fabric_conn_close(s->good);
	fabric_domain_free(s->good_domain);
	fabric_domain_free(s->d);
	fabric_target_free(s->t);
	pool_unmap(s->pool);
}

static void guess_keys(struct fabric_conn *c)
{
	struct fabric_op ops[BATCH], *wait[BATCH];
	unsigned char buf[BATCH][64];
	uint64_t random = test_seed;

	memset(buf, 0x44, sizeof(buf));
	for (unsigned done = 0; done < GUESSES; done += BATCH) {
		for (unsigned i = 0; i < BATCH; i++) {
			uint64_t key = test_random(&random);

			/* Half of them name the right slot. */
			ops[i] = (struct fabric_op){.key = i % 2 ? key : key & ~0xfffffull, .buf = buf[i], .len = 64};
			ops[i].dir = i % 4 < 2 ? FABRIC_OP_WRITE : FABRIC_OP_READ;
			ops[i].flags = FABRIC_OP_WAITED;
			wait[i] = &ops[i];
			MUST(fabric_post(c, &ops[i]));
		}
		MUST(fabric_wait(c, wait, BATCH, WAIT_NS));
		for (unsigned i = 0; i < BATCH; i++)
			CHECK(ops[i].status == -ESTALE, "a guessed key got %d", ops[i].status);
	}
}

void test_refusals(enum member m)
{
	static unsigned char buf[2 * LEASE_BYTES];
	struct fabric_key only_read, only_write;
	struct fabric_path *path, *good_path;
	struct fabric_receipt gone;
	struct fabric_stats stats;
	struct fabric_conn *c;
	struct stage s;
	uint64_t key;

	stage_open(&s);
	s.good = pair_conn(m, s.good_domain, &good_path);
	c = pair_conn(m, s.d, &path);
	key = s.key.number;
	memset(buf, 0x44, sizeof(buf));
	MUST(fabric_expose(s.d, s.pool + LEASE_AT, LEASE_BYTES, FABRIC_READ, &only_read));
	MUST(fabric_expose(s.d, s.pool + LEASE_AT, LEASE_BYTES, FABRIC_WRITE, &only_write));
	for (enum fabric_dir dir = FABRIC_OP_READ; dir <= FABRIC_OP_WRITE; dir++) {
		CHECK(op_run(c, dir, key, LEASE_BYTES - 63, buf, 64) == -ERANGE, "outside");
		CHECK(op_run(c, dir, key, LEASE_BYTES, buf, 1) == -ERANGE, "outside");
		CHECK(op_run(c, dir, key, UINT64_MAX - 4096, buf, 4096) == -ERANGE, "far outside");
		CHECK(op_run(c, dir, key, 0, buf, LEASE_BYTES + 1) == -ERANGE, "longer than the lease");
		CHECK(op_run(c, dir, key, UINT64_MAX - 10, buf, 64) == -EINVAL, "wraps");
		CHECK(op_run(c, dir, key, 0, buf, 0) == -EINVAL, "empty");
		CHECK(op_run(c, dir, key, 0, buf, FABRIC_OP_MAX + 1) == -EMSGSIZE, "too long");
		CHECK(op_run(c, dir, key, 0, buf, UINT64_MAX) == -EMSGSIZE, "negative");
		CHECK(op_run(c, dir, s.good_key.number, 0, buf, 64) == -ESTALE, "another domain's key");
		CHECK(op_run(c, dir, dir ? only_read.number : only_write.number, 0, buf, 64) == -EACCES, "direction");
		CHECK(op_run(c, dir, 0, 0, buf, 64) == -ESTALE, "no key");
	}
	guess_keys(c);
	CHECK(bytes_differ(s.pool, LEASE_AT, LEASE_AT + LEASE_BYTES, LEASE_BYTE) == LEASE_AT + LEASE_BYTES,
	      "a refused write changed the lease");
	fabric_stats_read(s.t, &stats);
	CHECK(stats.refused >= GUESSES && stats.protocol_errors == 0, "statistics");
	/* L16: a dead key costs nothing else. */
	CHECK(op_run(c, FABRIC_OP_READ, only_read.number, 0, buf, LEASE_BYTES) == 0, "read");
	MUST(fabric_revoke(s.d, s.key, &gone));
	CHECK(op_run(c, FABRIC_OP_READ, key, 0, buf, 64) == -ESTALE, "dead key");
	CHECK(op_run(c, FABRIC_OP_READ, only_read.number, 0, buf, LEASE_BYTES) == 0, "read");
	fabric_conn_close(c);
	stage_close(&s);
	printf("  refusals: %u guessed keys, all refused\n", GUESSES);
}

/* The second half of a fresh mapping has no file behind it. */
static unsigned char *half_map(size_t bytes)
{
	int fd = memfd_create("half", MFD_CLOEXEC);
	void *at;

	CHECK(fd >= 0, "memfd");
	MUST(ftruncate(fd, (off_t)bytes / 2));
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED, "mmap");
	close(fd);
	memset(at, 0x77, bytes / 2);
	return at;
}

void test_bad_memory(enum member m)
{
	static unsigned char buf[1 << 20];
	static const size_t lens[] = {64, 4096, 65536, sizeof(buf) / 2};
	unsigned char *mem = half_map(sizeof(buf));
	struct fabric_path *path, *good_path;
	struct fabric_receipt gone;
	struct fabric_conn *c;
	struct fabric_key key;
	struct stage s;

	if (!BUSGUARD_WORKS)
		return;
	MUST(busguard_install());
	stage_open(&s);
	s.good = pair_conn(m, s.good_domain, &good_path);
	c = pair_conn(m, s.d, &path);
	MUST(fabric_expose(s.d, mem, sizeof(buf), FABRIC_READ | FABRIC_WRITE, &key));
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint64_t bad = sizeof(buf) / 2, over = bad - lens[i] / 2;

		CHECK(op_run(c, FABRIC_OP_READ, key.number, bad, buf, lens[i]) == -EIO, "read of %zu", lens[i]);
		CHECK(op_run(c, FABRIC_OP_READ, key.number, over, buf, lens[i]) == -EIO, "read over the edge");
		memset(buf, 0x77, lens[i]);
		CHECK(op_run(c, FABRIC_OP_WRITE, key.number, bad, buf, lens[i]) == -EIO, "write of %zu", lens[i]);
		CHECK(op_run(c, FABRIC_OP_WRITE, key.number, over, buf, lens[i]) == -EIO, "write over the edge");
		memset(buf, 0, lens[i]);
		CHECK(op_run(c, FABRIC_OP_READ, key.number, 0, buf, lens[i]) == 0, "good memory");
		CHECK(bytes_differ(buf, 0, lens[i], 0x77) == lens[i], "good bytes");
		stage_check(&s);
	}
	MUST(fabric_revoke(s.d, key, &gone));
	fabric_conn_close(c);
	stage_close(&s);
	munmap(mem, sizeof(buf));
	printf("  memory that fails: told, and nothing else disturbed\n");
}

/* --- raw streams --- */

/* Sends bytes on a path of its own, hangs up, waits until the target is done with it. */
static void raw_run(struct stage *s, enum member m, const void *bytes, size_t len)
{
	struct fabric_path *p;
	char sink[4096];
	int fds[2];

	member_pair(m, fds);
	MUST(fabric_stream_attach(s->d, fds[0], &p));
	if (send(fds[1], bytes, len, MSG_NOSIGNAL) == (ssize_t)len) {
		shutdown(fds[1], SHUT_WR);
		while (recv(fds[1], sink, sizeof(sink), 0) > 0)
			;
	}
	close(fds[1]);
	for (int i = 0; fabric_path_alive(p) && i < 20000; i++)
		usleep(1000);
	CHECK(!fabric_path_alive(p), "the path outlives its peer");
	fabric_path_close(p);
}

/* Every byte of a valid header, every bit of it, and all ones. */
static void raw_mutations(struct stage *s, enum member m)
{
	unsigned char frame[sizeof(struct stream_w_request) + 256];
	struct stream_request r = {.dir = FABRIC_OP_WRITE, .key = s->key.number, .offset = 4096, .len = 256};

	for (unsigned i = 0; i < sizeof(struct stream_w_request); i++) {
		for (unsigned bit = 0; bit <= 8; bit++) {
			memset(frame, 0x44, sizeof(frame));
			stream_request_encode(&r, (struct stream_w_request *)frame);
			frame[i] ^= (unsigned char)(bit < 8 ? 1u << bit : 0xff);
			raw_run(s, m, frame, sizeof(frame));
		}
		stage_check(s);
	}
}

static void raw_truncations(struct stage *s, enum member m)
{
	unsigned char frame[sizeof(struct stream_w_request) + 64];
	struct stream_request r = {.dir = FABRIC_OP_WRITE, .key = s->key.number, .len = 64};

	memset(frame, 0x44, sizeof(frame));
	stream_request_encode(&r, (struct stream_w_request *)frame);
	for (unsigned len = 0; len < sizeof(frame); len++)
		raw_run(s, m, frame, len);
	stage_check(s);
}

/* Random bytes, with and without a magic and a good key in front. */
static void raw_garbage(struct stage *s, enum member m)
{
	unsigned char bytes[4096];
	uint64_t random = test_seed;

	for (unsigned run = 0; run < GARBAGE_RUNS; run++) {
		struct stream_w_request *w = (struct stream_w_request *)bytes;

		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)(test_random(&random) >> 32);
		if (run % 3 > 0) {
			w->rq_magic = le16_of(STREAM_MAGIC);
			w->rq_type = (uint8_t)(1 + run % 2);
			w->rq_zero = 0;
			w->rq_key = le64_of(s->key.number);
		}
		if (run % 3 > 1)
			w->rq_length = le64_of(test_random(&random) >> (run % 64));
		raw_run(s, m, bytes, 1 + test_random(&random) % sizeof(bytes));
		if (run % 50 == 0)
			stage_check(s);
	}
}

void test_hostile_stream(enum member m)
{
	struct fabric_path *good_path;
	struct fabric_stats stats;
	struct stage s;

	stage_open(&s);
	s.good = pair_conn(m, s.good_domain, &good_path);
	raw_mutations(&s, m);
	raw_truncations(&s, m);
	raw_garbage(&s, m);
	fabric_stats_read(s.t, &stats);
	CHECK(stats.protocol_errors > 100, "only %llu paths were closed", (unsigned long long)stats.protocol_errors);
	CHECK(fabric_path_alive(good_path), "the good path was closed");
	stage_close(&s);
	printf("  hostile streams: %llu closed\n", (unsigned long long)stats.protocol_errors);
}

/* --- death --- */

static void death_child(struct member_link *link)
{
	struct fabric_conn_options opt = {.ring_bytes = 32 << 20};
	struct fabric_conn *c = member_connect(link, &opt);
	struct fabric_op ops[16], *done[16];
	unsigned char *buf = malloc(LEASE_BYTES);
	uint64_t key;

	memset(buf, 0x44, LEASE_BYTES);
	CHECK(read(link->talk[1], &key, sizeof(key)) == sizeof(key), "key");
	for (unsigned i = 0; i < 16; i++) {
		ops[i] =
		    (struct fabric_op){.key = key, .buf = buf, .len = LEASE_BYTES, .dir = (enum fabric_dir)(i % 2)};
		MUST(fabric_post(c, &ops[i]));
	}
	for (;;) {
		int n = fabric_reap(c, done, 16, WAIT_NS);

		for (int i = 0; i < n; i++)
			MUST(fabric_post(c, done[i]));
	}
}

/* A peer is killed in the middle of transfers: its path goes, its keys can be revoked at once, others don't notice. */
void test_peer_death(enum member m)
{
	uint64_t random = test_seed, slowest = 0;

	/* In one process nobody can die alone; test_conn has the shutdown in flight. */
	if (m == MEMBER_LOOP)
		return;
	for (int i = 0; i < DEATHS; i++) {
		struct member_link link;
		struct fabric_path *p, *good_path;
		struct fabric_receipt gone;
		struct stage s;
		uint64_t start;
		pid_t pid;

		member_link_make(m, &link);
		pid = fork();
		if (pid == 0)
			death_child(&link);
		stage_open(&s);
		s.good = pair_conn(m, s.good_domain, &good_path);
		p = member_attach(&link, s.d);
		CHECK(write(link.talk[0], &s.key.number, 8) == 8, "key");
		usleep((useconds_t)(test_random(&random) % 20000));
		kill(pid, SIGKILL);
		start = clock_now_ns();
		MUST(fabric_revoke(s.d, s.key, &gone));
		slowest = max_u64(slowest, clock_now_ns() - start);
		waitpid(pid, NULL, 0);
		for (int k = 0; fabric_path_alive(p) && k < 20000; k++)
			usleep(1000);
		CHECK(!fabric_path_alive(p), "the path outlives its peer");
		fabric_path_close(p);
		member_link_close(&link);
		stage_close(&s);
	}
	printf("  deaths: %d, slowest revocation %.1f us\n", DEATHS, (double)slowest / 1e3);
}
