/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L12, L13: hammer a range, revoke, give the blocks to "another file", and watch them. Bytes are in classes, with the
 * round in their low six bits: OWN is what the range's owner put there, SENT what peers write, FOREIGN the next
 * owner's. A byte in a foreign range that isn't FOREIGN landed late; a read that says 0 and has a byte of another round
 * or class leaked.
 *
 * Peers are a process of their own (loop: a thread). Main and peer meet on a board in shared memory. A last, short
 * phase leaves the revocation out and must catch bytes: the proof that the watching works.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"
#include "conformance.h"
#include "fabric/stream_wire.h"

#define OWN             0x00
#define SENT            0x80
#define FOREIGN         0xc0
#define CLASS(b)        ((b)&0xc0)
#define ROUND(gen)      ((gen)&0x3f)
#define RANGE_MOST      ((uint64_t)1 << 20)
#define DEPTH           4u
#define RING_STALL_OPS  24u
#define LOOP_STALL_OPS  4u
#define SETTLE_NS       (3 * NS_PER_MS)
#define CONTROL         60u /* rounds without revocation */
#define ROUND_COUNT_MAX 16384u

enum step { STEP_IDLE, STEP_GO, STEP_STALLED, STEP_RELEASED, STEP_DONE };

struct board {
	_Atomic uint32_t gen; /* 0: none yet. Written last, and first set to 0 */
	_Atomic uint64_t key, len;
	_Atomic bool stop;
	_Atomic uint32_t step;
	/* The peer's. */
	_Atomic uint32_t seen; /* the round it posts for */
	_Atomic uint64_t posted, ok, stale, bad, leaked;
};

struct result {
	unsigned revoked, flying; /* flying: something was in the air at the moment of revocation */
	uint64_t late, leaked, ok, stale;
	uint64_t took[ROUND_COUNT_MAX];
};

struct peer {
	struct member_link link;
	struct fabric_conn *conn; /* NULL: raw stream */
	enum fabric_dir dir;
	bool stalled;
	void (*run)(struct peer *p);
	pid_t pid;
	pthread_t thread;
};

static struct board *board;

/* --- the peer's side --- */

/* The current round's key; false: there is none. */
static bool board_read(uint32_t *gen, uint64_t *key, uint64_t *len)
{
	*gen = atomic_load(&board->gen);
	*key = atomic_load(&board->key);
	*len = atomic_load(&board->len);
	return *gen != 0 && *gen == atomic_load(&board->gen);
}

static bool step_wait(enum step want)
{
	while (atomic_load(&board->step) != (uint32_t)want) {
		if (atomic_load(&board->stop))
			return false;
		sched_yield();
	}
	return true;
}

static uint64_t wide(unsigned byte)
{
	return byte * 0x0101010101010101ull;
}

/* Bytes that a read of round gen may not see. */
static uint64_t foreign_bytes(const unsigned char *buf, uint64_t len, uint32_t gen, bool zeroes)
{
	unsigned own = OWN | ROUND(gen), sent = SENT | ROUND(gen), zero = zeroes ? 0 : own;
	uint64_t n = 0, word;

	for (uint64_t i = 0; i < len; i++) {
		for (; i + 8 <= len; i += 8) {
			memcpy(&word, buf + i, 8);
			if (word != wide(own) && word != wide(sent) && word != wide(zero))
				break;
		}
		if (i < len)
			n += buf[i] != own && buf[i] != sent && buf[i] != zero;
	}
	return n;
}

struct shot {
	struct fabric_op op;
	uint32_t gen;
	unsigned char *buf;
};

static bool shot_fire(struct peer *p, struct shot *s, uint64_t *random)
{
	uint64_t key, len;

	while (!board_read(&s->gen, &key, &len)) {
		if (atomic_load(&board->stop))
			return false;
		sched_yield();
	}
	s->op = (struct fabric_op){.key = key, .buf = s->buf, .dir = p->dir, .cookie = s};
	s->op.len = 64 + test_random(random) % (len - 63);
	s->op.offset = test_random(random) % (len - s->op.len + 1);
	if (p->dir == FABRIC_OP_WRITE)
		memset(s->buf, SENT | ROUND(s->gen), s->op.len);
	atomic_fetch_add(&board->posted, 1);
	atomic_store(&board->seen, s->gen);
	MUST(fabric_post(p->conn, &s->op));
	return true;
}

static void shot_land(struct peer *p, struct shot *s)
{
	if (s->op.status == 0 && p->dir == FABRIC_OP_READ)
		atomic_fetch_add(&board->leaked, foreign_bytes(s->buf, s->op.len, s->gen, false));
	if (s->op.status == 0)
		atomic_fetch_add(&board->ok, 1);
	else if (s->op.status == -ESTALE)
		atomic_fetch_add(&board->stale, 1);
	else
		atomic_fetch_add(&board->bad, 1);
	/* Of a dead key there is no use in more than one a moment. */
	if (s->op.status != 0)
		sched_yield();
}

/* Well-behaved, four operations in flight. */
static void peer_hammer(struct peer *p)
{
	struct shot shots[DEPTH];
	uint64_t random = test_seed ^ 0x5bd1e995;
	unsigned flying = 0;

	for (; flying < DEPTH; flying++) {
		shots[flying].buf = fabric_buffer_get(p->conn, RANGE_MOST);
		CHECK(shots[flying].buf, "no buffer");
		if (!shot_fire(p, &shots[flying], &random))
			return;
	}
	while (flying > 0) {
		struct fabric_op *done;
		int n = fabric_reap(p->conn, &done, 1, WAIT_NS);

		CHECK(n == 1, "reap says %d", n);
		shot_land(p, done->cookie);
		if (atomic_load(&board->stop) || !shot_fire(p, done->cookie, &random))
			flying--;
	}
	for (unsigned i = 0; i < DEPTH; i++)
		fabric_buffer_put(p->conn, shots[i].buf);
}

static void raw_send(int fd, const void *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		CHECK(n > 0, "send: %s", strerror(errno));
		buf = (const char *)buf + n;
		len -= (size_t)n;
	}
}

static void raw_recv(int fd, void *buf, size_t len)
{
	CHECK(recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len, "recv: %s", strerror(errno));
}

static void raw_status(int status)
{
	if (status == -ESTALE)
		atomic_fetch_add(&board->stale, 1);
	else
		atomic_fetch_add(status == 0 ? &board->ok : &board->bad, 1);
}

/* Header and some bytes, silence, the rest after the revocation. */
static void raw_stalled_write(int fd, const struct stream_request *r, unsigned char *buf, uint64_t *random)
{
	uint64_t part = 1 + test_random(random) % (r->len < 100000 ? r->len - 1 : 100000);
	struct stream_w_request w;
	struct stream_w_answer a;
	int status = 0;

	stream_request_encode(r, &w);
	raw_send(fd, &w, sizeof(w));
	raw_send(fd, buf, part);
	atomic_store(&board->step, STEP_STALLED);
	if (!step_wait(STEP_RELEASED))
		return;
	raw_send(fd, buf + part, r->len - part);
	raw_recv(fd, &a, sizeof(a));
	CHECK(stream_answer_decode(&a, r, &status) == NULL, "answer");
	raw_status(status);
}

/* Asks for much, takes little, goes on after the range got its new owner. */
static void raw_stalled_read(int fd, const struct stream_request *r, unsigned char *buf, uint64_t *random)
{
	uint64_t part = test_random(random) % 2000;
	struct stream_w_request w;
	struct stream_w_trailer tail;
	struct stream_w_answer a;
	uint64_t foreign;
	int status = 0;

	stream_request_encode(r, &w);
	raw_send(fd, &w, sizeof(w));
	raw_recv(fd, &a, sizeof(a));
	CHECK(stream_answer_decode(&a, r, &status) == NULL && status == 0, "answer");
	raw_recv(fd, buf, part);
	atomic_store(&board->step, STEP_STALLED);
	if (!step_wait(STEP_RELEASED))
		return;
	raw_recv(fd, buf + part, r->len - part);
	raw_recv(fd, &tail, sizeof(tail));
	CHECK(stream_trailer_decode(&tail, r, &status) == NULL, "trailer");
	raw_status(status);
	/* Whatever the trailer says: nothing of the next owner's is in the frame. */
	foreign = foreign_bytes(buf, r->len, atomic_load(&board->gen), status != 0);
	atomic_fetch_add(&board->leaked, foreign);
}

static void peer_stall_raw(struct peer *p)
{
	unsigned char *buf = malloc(RANGE_MOST);
	uint64_t random = test_seed ^ 0x2545f491, key, len;
	int few = 65536;
	uint32_t gen;

	setsockopt(p->link.data[1], SOL_SOCKET, SO_RCVBUF, &few, sizeof(few));
	while (step_wait(STEP_GO)) {
		struct stream_request r = {.dir = p->dir};

		CHECK(board_read(&gen, &key, &len), "no round");
		r.key = key;
		r.len = len;
		r.tag = gen;
		memset(buf, SENT | ROUND(gen), len);
		atomic_fetch_add(&board->posted, 1);
		if (p->dir == FABRIC_OP_WRITE)
			raw_stalled_write(p->link.data[1], &r, buf, &random);
		else
			raw_stalled_read(p->link.data[1], &r, buf, &random);
		atomic_store(&board->step, STEP_DONE);
	}
	free(buf);
}

/*
 * Members without a socket: posts much on one buffer, then neither reaps nor looks. Ring: what is in the arena counts
 * whatever the statuses say. Loop: its worker stalls between chunks.
 */
static void peer_stall_api(struct peer *p)
{
	unsigned count = p->link.member == MEMBER_RING ? RING_STALL_OPS : LOOP_STALL_OPS;
	struct fabric_op ops[RING_STALL_OPS], *wait[RING_STALL_OPS];
	unsigned char *buf = fabric_buffer_get(p->conn, RANGE_MOST);
	uint64_t key, len;
	uint32_t gen;

	CHECK(buf, "no buffer");
	while (step_wait(STEP_GO)) {
		bool cut = false;

		CHECK(board_read(&gen, &key, &len), "no round");
		memset(buf, p->dir == FABRIC_OP_WRITE ? SENT | ROUND(gen) : 0, len);
		for (unsigned i = 0; i < count; i++) {
			ops[i] = (struct fabric_op){.key = key, .buf = buf, .len = len, .dir = p->dir};
			ops[i].flags = FABRIC_OP_WAITED;
			wait[i] = &ops[i];
			MUST(fabric_post(p->conn, &ops[i]));
		}
		atomic_fetch_add(&board->posted, count);
		atomic_store(&board->step, STEP_STALLED);
		step_wait(STEP_RELEASED);
		MUST(fabric_wait(p->conn, wait, count, WAIT_NS));
		for (unsigned i = 0; i < count; i++) {
			cut |= ops[i].status != 0;
			raw_status(ops[i].status);
		}
		if (p->dir == FABRIC_OP_READ)
			atomic_fetch_add(&board->leaked, foreign_bytes(buf, len, gen, cut));
		atomic_store(&board->step, STEP_DONE);
	}
	fabric_buffer_put(p->conn, buf);
}

/* --- peers' lives --- */

static void *peer_thread(void *arg)
{
	struct peer *p = arg;

	p->run(p);
	return NULL;
}

static void peer_process(struct peer *p)
{
	struct fabric_conn_options opt = {.ring_bytes = 16 * RANGE_MOST};

	if (p->run == peer_stall_raw) {
		close(p->link.data[0]);
		p->run(p);
	} else {
		p->conn = member_connect(&p->link, &opt);
		p->run(p);
		fabric_conn_close(p->conn);
	}
	_exit(0);
}

/* Before there are threads. */
static void peer_fork(struct peer *p)
{
	int few = 32768;

	member_link_make(p->link.member, &p->link);
	if (p->link.member == MEMBER_LOOP)
		return;
	/* A stalled reader must really stall the target. */
	if (p->stalled)
		setsockopt(p->link.data[0], SOL_SOCKET, SO_SNDBUF, &few, sizeof(few));
	p->pid = fork();
	CHECK(p->pid >= 0, "fork");
	if (p->pid == 0)
		peer_process(p);
}

static void peer_attach(struct peer *p, struct fabric_domain *d, bool faulty)
{
	struct fabric_loop_faults faults = {.seed = test_seed, .delay_permille = 100, .reorder_permille = 200};

	if (p->link.member != MEMBER_LOOP) {
		member_attach(&p->link, d);
		return;
	}
	faults.delay_ns = 20000;
	faults.stall_permille = p->stalled ? 500 : 50;
	faults.stall_ns = 30000;
	MUST(fabric_loop_connect(d, faulty ? &faults : NULL, &p->conn));
	MUST(pthread_create(&p->thread, NULL, peer_thread, p));
}

static void peer_join(struct peer *p)
{
	int status = 0;

	atomic_store(&board->stop, true);
	if (p->link.member == MEMBER_LOOP) {
		pthread_join(p->thread, NULL);
		fabric_conn_close(p->conn);
	} else {
		CHECK(waitpid(p->pid, &status, 0) == p->pid && status == 0, "the peer ended with %#x",
		      (unsigned)status);
	}
	member_link_close(&p->link);
}

/* --- the target's side --- */

struct round {
	struct fabric_domain *d;
	struct peer *peer;
	unsigned char *pool;
	uint64_t at, len;
	struct fabric_key key;
	uint32_t gen;
	bool control; /* no revocation before the blocks change hands */
	uint64_t random;
};

static void spin_until(_Atomic uint32_t *word, uint32_t want, uint64_t most_ns)
{
	uint64_t end = clock_now_ns() + most_ns;

	while (atomic_load(word) != want && clock_now_ns() < end)
		sched_yield();
}

static void delay(uint64_t ns)
{
	uint64_t end = clock_now_ns() + ns;

	while (clock_now_ns() < end)
		sched_yield();
}

static void round_open(struct round *r, bool large)
{
	static const uint64_t sizes[] = {64, 100, 4096, 65536, 70000, 262144, RANGE_MOST};

	r->len = large ? RANGE_MOST : sizes[test_random(&r->random) % ARRAY_LEN(sizes)];
	r->at = 4096 + test_random(&r->random) % (POOL_BYTES - RANGE_MOST - 8192);
	memset(r->pool + r->at, OWN | ROUND(r->gen), r->len);
	atomic_store(&board->gen, 0);
	MUST(fabric_expose(r->d, r->pool + r->at, r->len, FABRIC_READ | FABRIC_WRITE, &r->key));
	atomic_store(&board->key, r->key.number);
	atomic_store(&board->len, r->len);
	atomic_store(&board->gen, r->gen);
}

/* Revokes, gives the blocks away. In a control round the revocation comes only after the watching. */
static void round_revoke(struct round *r, struct result *res)
{
	uint64_t before = atomic_load(&board->posted) - atomic_load(&board->ok) - atomic_load(&board->stale);
	struct fabric_receipt gone;
	uint64_t start = clock_now_ns();

	if (!r->control) {
		MUST(fabric_revoke(r->d, r->key, &gone));
		res->took[res->revoked++] = clock_now_ns() - start;
		CHECK(gone.number == r->key.number, "receipt");
		if (before > 0 && (!r->peer->stalled || r->peer->dir == FABRIC_OP_READ || gone.dirty_end > 0))
			res->flying++;
	}
	memset(r->pool + r->at, FOREIGN | ROUND(r->gen), r->len);
}

static void round_close(struct round *r, struct result *res)
{
	uint64_t from = r->at, to = r->at + r->len;
	struct fabric_receipt gone;

	while (from < to) {
		from = bytes_differ(r->pool, from, to, (unsigned char)(FOREIGN | ROUND(r->gen)));
		res->late += from < to;
		from++;
	}
	CHECK(bytes_differ(r->pool, r->at - 4096, r->at, POOL_GUARD) == r->at, "bytes before the range changed");
	CHECK(bytes_differ(r->pool, to, to + 4096, POOL_GUARD) == to + 4096, "bytes behind the range changed");
	if (r->control)
		MUST(fabric_revoke(r->d, r->key, &gone));
	memset(r->pool + r->at, POOL_GUARD, r->len);
}

/* A well-behaved peer: the watching ends when everything that was in flight has come back. */
static void round_hammer(struct round *r, struct result *res)
{
	uint64_t stale, end, ok = atomic_load(&board->ok);

	round_open(r, false);
	spin_until(&board->seen, r->gen, SETTLE_NS);
	end = clock_now_ns() + SETTLE_NS;
	while (r->gen % 2 && atomic_load(&board->ok) == ok && clock_now_ns() < end)
		sched_yield();
	delay(test_random(&r->random) % 60000);
	round_revoke(r, res);
	stale = atomic_load(&board->stale);
	end = clock_now_ns() + SETTLE_NS;
	while (atomic_load(&board->stale) < stale + 2 * DEPTH && clock_now_ns() < end)
		sched_yield();
	round_close(r, res);
}

static void round_stalled(struct round *r, struct result *res)
{
	bool raw = r->peer->run == peer_stall_raw;
	uint64_t end;

	round_open(r, true);
	atomic_store(&board->step, STEP_GO);
	spin_until(&board->step, STEP_STALLED, WAIT_NS);
	CHECK(atomic_load(&board->step) == STEP_STALLED, "the peer doesn't answer");
	/* Until its first byte is there, if it writes. */
	end = clock_now_ns() + SETTLE_NS;
	while (r->peer->dir == FABRIC_OP_WRITE && clock_now_ns() < end &&
	       ((volatile unsigned char *)r->pool)[r->at] != (SENT | ROUND(r->gen)))
		sched_yield();
	delay(test_random(&r->random) % (raw ? 30000 : 100000));
	round_revoke(r, res);
	atomic_store(&board->step, STEP_RELEASED);
	spin_until(&board->step, STEP_DONE, WAIT_NS);
	CHECK(atomic_load(&board->step) == STEP_DONE, "the peer doesn't come to an end");
	round_close(r, res);
	atomic_store(&board->step, STEP_IDLE);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void result_print(const char *name, struct result *res, uint64_t took_ns)
{
	uint64_t *t = res->took;

	qsort(t, res->revoked, sizeof(*t), compare);
	printf(
	    "  %-17s %5u revocations (%u with operations in flight), %llu late bytes, %llu leaked bytes, %llu ok, %llu "
	    "stale",
	    name, res->revoked, res->flying, (unsigned long long)res->late, (unsigned long long)res->leaked,
	    (unsigned long long)res->ok, (unsigned long long)res->stale);
	if (res->revoked)
		printf(", revoke p50 %.1f p99 %.1f max %.1f us", (double)t[res->revoked / 2] / 1e3,
		       (double)t[res->revoked * 99 / 100] / 1e3, (double)t[res->revoked - 1] / 1e3);
	printf(", %.1f s\n", (double)took_ns / 1e9);
}

static void phase(const char *name, struct peer *p, unsigned rounds, bool control, struct result *res)
{
	struct round r = {.peer = p, .control = control, .random = test_seed, .pool = pool_map()};
	uint64_t start = clock_now_ns();
	struct fabric_target *t;

	memset(board, 0, sizeof(*board));
	memset(res, 0, sizeof(*res));
	peer_fork(p);
	MUST(fabric_target_new(NULL, &t));
	MUST(fabric_domain_new(t, &r.d));
	/* Loop has two ways of moving; the stalled phases need the worker, the others show both. */
	peer_attach(p, r.d, p->stalled || p->dir == FABRIC_OP_READ);
	for (r.gen = 1; r.gen <= rounds; r.gen++) {
		if (p->stalled)
			round_stalled(&r, res);
		else
			round_hammer(&r, res);
	}
	peer_join(p);
	fabric_domain_free(r.d);
	fabric_target_free(t);
	pool_unmap(r.pool);
	res->ok = atomic_load(&board->ok);
	res->stale = atomic_load(&board->stale);
	res->leaked = atomic_load(&board->leaked);
	result_print(name, res, clock_now_ns() - start);
	CHECK(atomic_load(&board->bad) == 0, "%llu operations failed otherwise",
	      (unsigned long long)atomic_load(&board->bad));
}

static struct peer peer_make(enum member m, enum fabric_dir dir, bool stalled)
{
	struct peer p = {.link.member = m, .dir = dir, .stalled = stalled, .run = peer_hammer};

	if (stalled)
		p.run = m == MEMBER_STREAM_UNIX || m == MEMBER_STREAM_TCP ? peer_stall_raw : peer_stall_api;
	return p;
}

void test_hammer(enum member m, unsigned rounds)
{
	static const struct {
		const char *name;
		enum fabric_dir dir;
		bool stalled;
		unsigned tenths;
	} phases[] = {{"writer", FABRIC_OP_WRITE, false, 4},
		      {"reader", FABRIC_OP_READ, false, 4},
		      {"stalled writer", FABRIC_OP_WRITE, true, 1},
		      {"stalled reader", FABRIC_OP_READ, true, 1}};
	struct result *res = malloc(sizeof(*res));
	uint64_t late = 0, leaked = 0, caught = 0;
	unsigned revoked = 0;

	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(res && board != MAP_FAILED, "memory");
	for (unsigned i = 0; i < ARRAY_LEN(phases); i++) {
		struct peer p = peer_make(m, phases[i].dir, phases[i].stalled);

		phase(phases[i].name, &p, rounds * phases[i].tenths / 10, false, res);
		late += res->late;
		leaked += res->leaked;
		revoked += res->revoked;
		CHECK(res->flying >= res->revoked / 4, "too few of them with anything in flight");
		CHECK(res->stale >= res->revoked / 4, "too few operations met a dead key");
		CHECK(phases[i].stalled || res->ok >= res->revoked / 4, "too few operations were done");
	}
	for (unsigned i = 0; i < 2; i++) {
		struct peer p = peer_make(m, phases[i].dir, false);

		phase(i ? "reader, control" : "writer, control", &p, CONTROL, true, res);
		caught += (i ? res->leaked : res->late) > 0;
	}
	printf("  %u revocations, %llu late bytes, %llu leaked bytes\n", revoked, (unsigned long long)late,
	       (unsigned long long)leaked);
	CHECK(caught == 2, "without revocation nothing was caught: the watching is blind");
	CHECK(revoked >= rounds && late == 0 && leaked == 0, "L12 is broken");
	munmap(board, sizeof(*board));
	free(res);
}
