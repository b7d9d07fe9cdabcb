/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile rings (F20 to F25): memory that isn't what it should be is refused; entries, heads and tails that change
 * while the target looks at them cost their own path at most.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"
#include "conformance.h"
#include "fabric/ring.h"

#define LEASE_AT       ((size_t)1 << 20)
#define LEASE_BYTES    ((size_t)65536)
#define SEALS          (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define RING_BYTES     (RING_ARENA_START + RING_ARENA_LEAST)
#define RUNS           400
#define MUTATE_NS      (1500 * NS_PER_MS)
#define MUTATED_LEAST  12u /* paths */
#define MUTATED_PUSHES 3000u

struct stage {
	struct fabric_target *t;
	struct fabric_domain *d, *good_domain;
	struct fabric_conn *good;
	struct fabric_path *good_path;
	struct fabric_key key, good_key;
	unsigned char *pool;
};

/* A client that we are, by hand. */
struct raw {
	struct fabric_path *path;
	struct ring_map map, twin; /* twin: the same memory for another thread, as another process would have it */
	int bell_target, bell;
	uint32_t tail;
};

static int memfd_make(size_t len, int seals, unsigned flags)
{
	int fd = memfd_create("ring-test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return fd;
	MUST(ftruncate(fd, (off_t)len));
	if (seals)
		MUST(fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static void header_write(int fd, uint64_t arena)
{
	struct ring_w_header h;

	ring_header_encode(arena, &h);
	CHECK(pwrite(fd, &h, sizeof(h), 0) == sizeof(h), "header");
}

/* All three descriptors go. */
static int attach(struct stage *s, int memfd, int bell_target, int bell_conn)
{
	struct fabric_path *p;
	int err = fabric_ring_attach(s->d, memfd, bell_target, bell_conn, &p);

	CHECK(fcntl(bell_target, F_GETFD) < 0 || err == 0, "a refused attach must close its descriptors");
	if (!err)
		fabric_path_close(p);
	return err;
}

static int socket_end(void)
{
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	close(pair[0]);
	return pair[1];
}

static int bell(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void expect_memfd(struct stage *s, int fd, uint64_t arena, int want)
{
	CHECK(fd >= 0, "memfd");
	if (arena)
		header_write(fd, arena);
	CHECK(attach(s, fd, bell(), socket_end()) == want, "arena %llu", (unsigned long long)arena);
}

/* F20, F21 */
static void refused_at_the_door(struct stage *s)
{
	int fd, pipes[2];

	expect_memfd(s, memfd_make(RING_BYTES, 0, 0), RING_ARENA_LEAST, -EPERM);
	expect_memfd(s, memfd_make(RING_BYTES, F_SEAL_GROW | F_SEAL_SEAL, 0), RING_ARENA_LEAST, -EPERM);
	expect_memfd(s, memfd_make(RING_BYTES, F_SEAL_SHRINK | F_SEAL_SEAL, 0), RING_ARENA_LEAST, -EPERM);
	expect_memfd(s, memfd_make(RING_BYTES, F_SEAL_SHRINK | F_SEAL_GROW, 0), RING_ARENA_LEAST, -EPERM);
	fd = memfd_make(RING_BYTES, F_SEAL_SHRINK | F_SEAL_GROW, 0);
	header_write(fd, RING_ARENA_LEAST);
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
	expect_memfd(s, fd, 0, -EPERM);
	expect_memfd(s, memfd_make(4096, SEALS, 0), RING_ARENA_LEAST, -EINVAL);
	expect_memfd(s, memfd_make(RING_BYTES - 4096, SEALS, 0), RING_ARENA_LEAST, -EINVAL);
	expect_memfd(s, memfd_make(RING_BYTES + 4096, SEALS, 0), RING_ARENA_LEAST, -EINVAL);
	expect_memfd(s, memfd_make(RING_BYTES, SEALS, 0), 0, -EINVAL);
	expect_memfd(s, memfd_make(RING_BYTES, SEALS, 0), RING_ARENA_LEAST + 4096, -EINVAL);
	expect_memfd(s, memfd_make(RING_BYTES, SEALS, 0), UINT64_MAX - RING_ARENA_START + 1, -EINVAL);
	expect_memfd(s, memfd_make(RING_ARENA_START + RING_ARENA_MOST + 4096, SEALS, 0), RING_ARENA_MOST + 4096,
		     -EINVAL);
	expect_memfd(s, bell(), 0, -EINVAL);
	fd = memfd_make((size_t)4 << 20, SEALS, MFD_HUGETLB);
	if (fd >= 0)
		expect_memfd(s, fd, 0, -EINVAL);
	MUST(pipe(pipes));
	fd = memfd_make(RING_BYTES, SEALS, 0);
	header_write(fd, RING_ARENA_LEAST);
	CHECK(attach(s, dup(fd), pipes[1], socket_end()) == -EINVAL, "a pipe for a bell");
	CHECK(attach(s, dup(fd), bell(), pipes[0]) == -EINVAL, "a pipe for a bell");
	CHECK(attach(s, dup(fd), socket_end(), bell()) == -EINVAL, "the bells the wrong way round");
	CHECK(attach(s, fd, bell(), socket_end()) == 0, "the good one");
}

static void raw_open(struct stage *s, struct raw *raw)
{
	int fd = memfd_make(RING_BYTES, SEALS, 0), pair[2];

	*raw = (struct raw){.bell_target = bell()};
	header_write(fd, RING_ARENA_LEAST);
	MUST(ring_map_make(fd, RING_BYTES, false, &raw->map));
	MUST(ring_map_make(fd, RING_BYTES, false, &raw->twin));
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	raw->bell = pair[0];
	MUST(fabric_ring_attach(s->d, fd, dup(raw->bell_target), pair[1], &raw->path));
}

static void raw_close(struct raw *raw)
{
	fabric_path_close(raw->path);
	ring_map_drop(&raw->map);
	ring_map_drop(&raw->twin);
	close(raw->bell_target);
	close(raw->bell);
}

static void raw_ring(struct raw *raw)
{
	uint64_t one = 1;

	CHECK(write(raw->bell_target, &one, sizeof(one)) == sizeof(one), "bell");
}

static void raw_push(struct raw *raw, const struct ring_w_entry *w)
{
	raw->map.sq[raw->tail % RING_ENTRIES] = *w;
	ring_store(&raw->map.head->rh_sq_tail, ++raw->tail);
	raw_ring(raw);
}

static void raw_expect_closed(struct raw *raw)
{
	for (int i = 0; fabric_path_alive(raw->path) && i < 20000; i++)
		usleep(1000);
	CHECK(!fabric_path_alive(raw->path), "the path should have been closed");
	/* The path is dead before the mover tells the peer. */
	for (int i = 0; ring_load(&raw->map.head->rh_closed) != 1 && i < 20000; i++)
		usleep(1000);
	CHECK(ring_load(&raw->map.head->rh_closed) == 1, "F27");
}

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

/* F23: heads and tails that can't be. */
static void counters_are_bounded(struct stage *s)
{
	static const uint32_t tails[] = {257, 0x7fffffff, 0x80000000, UINT32_MAX, 1000};
	static const uint32_t heads[] = {1, 0x7fffffff, UINT32_MAX, UINT32_MAX - 256, 0x80000000};
	struct ring_request r = {.dir = FABRIC_OP_READ, .key = s->key.number, .len = 64};
	struct ring_w_entry w;
	struct raw raw;

	ring_request_encode(&r, &w);
	for (unsigned i = 0; i < ARRAY_LEN(tails); i++) {
		raw_open(s, &raw);
		ring_store(&raw.map.head->rh_sq_tail, tails[i]);
		raw_ring(&raw);
		raw_expect_closed(&raw);
		raw_close(&raw);
		raw_open(s, &raw);
		ring_store(&raw.map.head->rh_cq_head, heads[i]);
		raw_push(&raw, &w);
		/* UINT32_MAX - 254 and later would be a head 255 behind; everything else is broken. */
		if (0 - heads[i] > RING_ENTRIES - 1)
			raw_expect_closed(&raw);
		raw_close(&raw);
	}
	/* A client that never takes a completion: 256 fit, the next one is one too many. */
	raw_open(s, &raw);
	for (unsigned i = 0; i < RING_ENTRIES; i++)
		raw_push(&raw, &w);
	for (int i = 0; ring_load(&raw.map.head->rh_cq_tail) < RING_ENTRIES && i < 20000; i++)
		usleep(1000);
	CHECK(fabric_path_alive(raw.path), "256 outstanding are allowed");
	raw_push(&raw, &w);
	raw_expect_closed(&raw);
	raw_close(&raw);
	stage_check(s);
}

/* F24: every byte of a valid entry changed, and entries of random bytes. */
static void entries_are_checked(struct stage *s)
{
	struct ring_request r = {
	    .dir = FABRIC_OP_WRITE, .key = s->key.number, .offset = 4096, .len = 256, .arena = 512};
	uint64_t random = test_seed;
	struct ring_w_entry w;
	struct raw raw;

	for (unsigned i = 0; i < sizeof(w) + RUNS; i++) {
		ring_request_encode(&r, &w);
		for (unsigned k = 0; i >= sizeof(w) && k < sizeof(w); k++)
			((unsigned char *)&w)[k] = (unsigned char)(test_random(&random) >> 24);
		if (i < sizeof(w))
			((unsigned char *)&w)[i] ^= 0xff;
		else if (i % 2)
			memset(w.sq_zero, 0, sizeof(w.sq_zero)), w.sq_type = (uint8_t)(1 + i / 2 % 2);
		raw_open(s, &raw);
		raw_push(&raw, &w);
		/* Served, refused or closed. */
		for (int k = 0; k < 20000 && fabric_path_alive(raw.path); k++) {
			if (ring_load(&raw.map.head->rh_cq_tail) == 1)
				break;
			usleep(100);
		}
		raw_close(&raw);
		if (i % 32 == 0)
			stage_check(s);
	}
}

struct scribbler {
	struct ring_map map;
	_Atomic bool stop;
	bool entries; /* or the header's words too */
};

static void *scribble(void *arg)
{
	struct scribbler *sc = arg;
	uint64_t random = test_seed | 1;

	while (!atomic_load_explicit(&sc->stop, memory_order_relaxed)) {
		uint64_t r = test_random(&random);
		volatile uint64_t *entry = (volatile uint64_t *)&sc->map.sq[r % RING_ENTRIES];

		/* Mostly fields that stay valid one by one, so that the target gets far. */
		entry[1] = r >> 40;
		entry[2] = (r & 64) ? r >> 20 : 1 + (r >> 50);
		entry[3] = (r & 128) ? r : r >> 46;
		if (!sc->entries && r % 1024 == 0)
			ring_store(&sc->map.head->rh_sq_tail, (uint32_t)(r >> 32));
		if (!sc->entries && r % 1024 == 1)
			ring_store(&sc->map.head->rh_cq_head, (uint32_t)(r >> 32));
	}
	return NULL;
}

/* F24: entries and counters change while the target looks. */
static unsigned mutated_under_its_eyes(struct stage *s)
{
	struct ring_request r = {.dir = FABRIC_OP_WRITE, .key = s->key.number, .offset = 64, .len = 1024, .arena = 0};
	uint64_t end = clock_now_ns() + MUTATE_NS;
	unsigned paths = 0;

	while (clock_now_ns() < end || paths < MUTATED_LEAST) {
		struct scribbler sc = {.entries = paths % 4 != 0};
		struct ring_w_entry w;
		pthread_t thread;
		struct raw raw;

		raw_open(s, &raw);
		sc.map = raw.twin;
		MUST(pthread_create(&thread, NULL, scribble, &sc));
		for (unsigned i = 0; i < MUTATED_PUSHES && fabric_path_alive(raw.path); i++) {
			r.dir = i % 2 ? FABRIC_OP_READ : FABRIC_OP_WRITE;
			ring_request_encode(&r, &w);
			raw_push(&raw, &w);
			ring_store(&raw.map.head->rh_cq_head, ring_load(&raw.map.head->rh_cq_tail));
			/* Not further ahead than a ring, most of the time. */
			for (int k = 0; k < 1000 && raw.tail - ring_load(&raw.map.head->rh_cq_tail) > 200; k++)
				sched_yield();
		}
		atomic_store(&sc.stop, true);
		pthread_join(thread, NULL);
		raw_close(&raw);
		stage_check(s);
		paths++;
	}
	return paths;
}

void test_hostile_ring(void)
{
	struct fabric_stats stats;
	struct stage s;
	unsigned paths;
	int fds[3];

	s.pool = pool_map();
	MUST(fabric_target_new(NULL, &s.t));
	MUST(fabric_domain_new(s.t, &s.d));
	MUST(fabric_domain_new(s.t, &s.good_domain));
	MUST(fabric_expose(s.d, s.pool + LEASE_AT, LEASE_BYTES, FABRIC_READ | FABRIC_WRITE, &s.key));
	MUST(fabric_expose(s.good_domain, s.pool, 4096, FABRIC_READ | FABRIC_WRITE, &s.good_key));
	MUST(fabric_ring_connect(NULL, fds, &s.good));
	MUST(fabric_ring_attach(s.good_domain, fds[0], fds[1], fds[2], &s.good_path));
	refused_at_the_door(&s);
	stage_check(&s);
	counters_are_bounded(&s);
	entries_are_checked(&s);
	paths = mutated_under_its_eyes(&s);
	fabric_stats_read(s.t, &stats);
	CHECK(stats.protocol_errors > 100, "only %llu paths were closed", (unsigned long long)stats.protocol_errors);
	CHECK(fabric_path_alive(s.good_path), "the good path was closed");
	stage_check(&s);
	fabric_conn_close(s.good);
	fabric_domain_free(s.good_domain);
	fabric_domain_free(s.d);
	fabric_target_free(s.t);
	pool_unmap(s.pool);
	printf("  hostile rings: %llu closed, %u mutated under the target's eyes\n",
	       (unsigned long long)stats.protocol_errors, paths);
}
