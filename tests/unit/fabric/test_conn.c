/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every initiator's end does alike: several threads post, wait and reap on one conn; shutdown from another thread;
 * paths and domains that go with operations in flight; the loop member's faults. Every case runs on every member.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/types.h"
#include "fabric/fabric.h"

#define BYTES   (4u << 20)
#define THREADS 3
#define PART    (BYTES / THREADS)

enum kind { KIND_STREAM, KIND_RING, KIND_LOOP, KIND_FAULTY, KINDS };

static struct fabric_target *t;
static struct fabric_domain *d;
static struct fabric_key key;
static uint8_t *mem;

static struct fabric_conn *conn_make(enum kind kind)
{
	static const struct fabric_loop_faults faults = {.seed = 42,
							 .delay_permille = 300,
							 .reorder_permille = 200,
							 .stall_permille = 50,
							 .delay_ns = 50000,
							 .stall_ns = 100000};
	struct fabric_conn *c = NULL;
	struct fabric_path *p;
	int fds[3];

	switch (kind) {
	case KIND_STREAM:
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		assert_int_equal(fabric_stream_attach(d, fds[0], &p), 0);
		assert_int_equal(fabric_stream_connect(fds[1], NULL, &c), 0);
		break;
	case KIND_RING:
		assert_int_equal(fabric_ring_connect(NULL, fds, &c), 0);
		assert_int_equal(fabric_ring_attach(d, fds[0], fds[1], fds[2], &p), 0);
		break;
	case KIND_LOOP:
		assert_int_equal(fabric_loop_connect(d, NULL, &c), 0);
		break;
	case KIND_FAULTY:
		assert_int_equal(fabric_loop_connect(d, &faults, &c), 0);
		break;
	case KINDS:
		break;
	}
	return c;
}

static int setup(void **state)
{
	mem = aligned_alloc(4096, BYTES);
	memset(mem, 0, BYTES);
	if (fabric_target_new(NULL, &t) || fabric_domain_new(t, &d))
		return -1;
	return fabric_expose(d, mem, BYTES, FABRIC_READ | FABRIC_WRITE, &key);
}

static int teardown(void **state)
{
	fabric_domain_free(d);
	fabric_target_free(t);
	free(mem);
	return 0;
}

/* --- several threads --- */

struct worker {
	struct fabric_conn *c;
	unsigned id;
	unsigned rounds;
	int failed;
};

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static int one(struct worker *w, enum fabric_dir dir, uint64_t offset, void *buf, uint64_t len)
{
	struct fabric_op op = {.key = key.number, .offset = offset, .buf = buf, .len = len, .dir = dir};
	struct fabric_op *ops[] = {&op};
	int err;

	op.flags = FABRIC_OP_WAITED;
	do
		err = fabric_post(w->c, &op);
	while (err == -EBUSY);
	if (!err)
		err = fabric_wait(w->c, ops, 1, 20 * NS_PER_SEC);
	return err ? err : op.status;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	uint8_t *out = malloc(300000), *in = malloc(300000);
	uint64_t x = 88172645463325252ull + w->id;

	for (unsigned i = 0; i < w->rounds && !w->failed; i++) {
		uint64_t len = 1 + next_random(&x) % (i % 8 == 0 ? 300000 : 6000);
		uint64_t offset = w->id * PART + next_random(&x) % (PART - len);

		memset(out, (int)next_random(&x), len);
		if (one(w, FABRIC_OP_WRITE, offset, out, len) || one(w, FABRIC_OP_READ, offset, in, len))
			w->failed = 1;
		else if (memcmp(in, out, len) != 0)
			w->failed = 2;
	}
	free(out);
	free(in);
	return NULL;
}

/* fabric_wait: whoever polls completes the others' operations too; a reaper takes only its own. */
static void threads_share_a_conn(void **state)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct fabric_conn *c = conn_make(kind);
		struct worker w[THREADS];
		pthread_t threads[THREADS];
		struct fabric_op ops[16], *done[16];
		uint8_t buf[16];
		int reaped = 0;

		for (unsigned i = 0; i < THREADS; i++) {
			w[i] = (struct worker){.c = c, .id = i, .rounds = kind == KIND_FAULTY ? 100 : 400};
			assert_int_equal(pthread_create(&threads[i], NULL, worker_run, &w[i]), 0);
		}
		for (unsigned i = 0; i < 16; i++) {
			ops[i] = (struct fabric_op){.key = key.number, .offset = BYTES - 1, .buf = &buf[i], .len = 1};
			assert_int_equal(fabric_post(c, &ops[i]), 0);
		}
		while (reaped < 16) {
			int n = fabric_reap(c, done, 16, 20 * NS_PER_SEC);

			assert_in_range(n, 1, 16);
			for (int i = 0; i < n; i++)
				assert_true(done[i] >= ops && done[i] < ops + 16);
			reaped += n;
		}
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(threads[i], NULL);
			assert_int_equal(w[i].failed, 0);
		}
		fabric_conn_close(c);
	}
}

/* Big operations, deeper than sockets and slots are. */
static void big_operations_pass(void **state)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct fabric_conn *c = conn_make(kind);
		uint8_t *out = malloc(BYTES), *in = malloc(BYTES);
		struct fabric_op op[2], *ops[2] = {&op[0], &op[1]};

		for (unsigned i = 0; i < BYTES; i++)
			out[i] = (uint8_t)(i * 13 + i / 4096 + kind);
		op[0] = (struct fabric_op){.key = key.number, .buf = out, .len = BYTES, .dir = FABRIC_OP_WRITE};
		op[1] = (struct fabric_op){.key = key.number, .buf = in, .len = BYTES, .dir = FABRIC_OP_READ};
		for (int i = 0; i < 2; i++) {
			op[i].flags = FABRIC_OP_WAITED;
			assert_int_equal(fabric_post(c, &op[i]), 0);
			assert_int_equal(fabric_wait(c, &ops[i], 1, 20 * NS_PER_SEC), 0);
			assert_int_equal(op[i].status, 0);
		}
		assert_memory_equal(mem, out, BYTES);
		assert_memory_equal(in, out, BYTES);
		/* Both at once: neither side may wait for the other to read first. */
		for (int i = 0; i < 2; i++)
			assert_int_equal(fabric_post(c, &op[i]), 0);
		assert_int_equal(fabric_wait(c, ops, 2, 20 * NS_PER_SEC), 0);
		assert_int_equal(op[0].status | op[1].status, 0);
		assert_memory_equal(in, out, BYTES);
		free(out);
		free(in);
		fabric_conn_close(c);
	}
}

static void bad_arguments_are_refused(void **state)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct fabric_conn *c = conn_make(kind);
		struct fabric_op op = {.key = key.number, .buf = mem, .len = 0}, *done;

		assert_int_equal(fabric_post(c, &op), -EINVAL);
		op.len = FABRIC_OP_MAX + 1;
		assert_int_equal(fabric_post(c, &op), -EMSGSIZE);
		op.len = 2;
		op.offset = UINT64_MAX;
		assert_int_equal(fabric_post(c, &op), -EINVAL);
		op.offset = 0;
		op.buf = NULL;
		assert_int_equal(fabric_post(c, &op), -EINVAL);
		assert_int_equal(fabric_reap(c, &done, 1, 0), 0);
		assert_int_equal(fabric_reap(c, &done, 1, NS_PER_MS), 0);
		fabric_conn_close(c);
	}
}

/* -EBUSY at FABRIC_DEPTH_MAX; reaping makes room. */
static void depth_is_limited(void **state)
{
	static struct fabric_op ops[FABRIC_DEPTH_MAX + 1];
	uint8_t buf[64];

	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct fabric_conn *c = conn_make(kind);
		struct fabric_op *done[FABRIC_DEPTH_MAX];
		int reaped = 0;

		for (unsigned i = 0; i <= FABRIC_DEPTH_MAX; i++) {
			ops[i] = (struct fabric_op){.key = key.number, .buf = buf, .len = sizeof(buf)};
			assert_int_equal(fabric_post(c, &ops[i]), i < FABRIC_DEPTH_MAX ? 0 : -EBUSY);
		}
		while (reaped < (int)FABRIC_DEPTH_MAX)
			reaped += fabric_reap(c, done, FABRIC_DEPTH_MAX, 20 * NS_PER_SEC);
		assert_int_equal(fabric_post(c, &ops[0]), 0);
		assert_int_equal(fabric_reap(c, done, 1, 20 * NS_PER_SEC), 1);
		fabric_conn_close(c);
	}
}

/* --- ends --- */

static void *shutdown_later(void *arg)
{
	usleep(20000);
	fabric_conn_shutdown(arg);
	return NULL;
}

static struct fabric_op *hammer_op(struct fabric_op *op, uint8_t *buf, unsigned i)
{
	*op = (struct fabric_op){.key = key.number, .offset = i * 4096 % BYTES, .buf = buf, .len = 65536};
	op->offset %= BYTES - op->len;
	op->dir = i % 2 ? FABRIC_OP_WRITE : FABRIC_OP_READ;
	return op;
}

/* Everything outstanding comes back with -EPIPE, once; then posts are refused. */
static void shutdown_gives_everything_back(void **state)
{
	enum { N = 64 };
	uint8_t *buf = malloc(N * 65536);

	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct fabric_conn *c = conn_make(kind);
		struct fabric_op ops[N], *done[N];
		unsigned posted = 0, back = 0;
		pthread_t thread;
		bool over = false;

		assert_int_equal(pthread_create(&thread, NULL, shutdown_later, c), 0);
		for (; posted < N; posted++)
			back += fabric_post(c, hammer_op(&ops[posted], buf + posted * 65536, posted)) != 0;
		over = back > 0;
		while (!over) {
			int n = fabric_reap(c, done, N, 20 * NS_PER_SEC);

			assert_true(n > 0 || n == -EPIPE);
			for (int i = 0; i < n; i++) {
				size_t k = (size_t)(done[i] - ops);

				assert_true(done[i]->status == 0 || done[i]->status == -EPIPE);
				if (fabric_post(c, hammer_op(done[i], buf + k * 65536, (unsigned)k)))
					back++;
			}
			over = back > 0;
		}
		while (back < N) {
			int n = fabric_reap(c, done, N, 20 * NS_PER_SEC);

			assert_true(n > 0);
			back += (unsigned)n;
		}
		assert_int_equal(fabric_reap(c, done, N, 20 * NS_PER_SEC), -EPIPE);
		pthread_join(thread, NULL);
		fabric_conn_close(c);
	}
	free(buf);
}

/* A thread that waits without limit is woken by the shutdown. */
static void shutdown_wakes_waiters(void **state)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct fabric_conn *c = conn_make(kind);
		struct fabric_op *done;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, shutdown_later, c), 0);
		assert_int_equal(fabric_reap(c, &done, 1, UINT64_MAX), -EPIPE);
		pthread_join(thread, NULL);
		fabric_conn_close(c);
	}
}

/* The target goes away with operations in flight: domain_free is safe, the initiator gets them back. */
static void domain_goes_while_operations_fly(void **state)
{
	enum { N = 32 };
	uint8_t *buf = malloc(N * 65536);

	for (enum kind kind = 0; kind < KIND_LOOP; kind++) {
		for (int round = 0; round < 20; round++) {
			struct fabric_conn *c = conn_make(kind);
			struct fabric_op ops[N], *done[N];
			unsigned posted = 0, back = 0;

			for (; posted < N; posted++) {
				if (fabric_post(c, hammer_op(&ops[posted], buf + posted * 65536, posted)))
					break;
			}
			if (round % 2)
				fabric_reap(c, done, 0, 0);
			fabric_domain_free(d);
			while (back < posted) {
				int n = fabric_reap(c, done, N, 20 * NS_PER_SEC);

				assert_true(n > 0);
				for (int i = 0; i < n; i++)
					assert_true(done[i]->status == 0 || done[i]->status == -EPIPE ||
						    done[i]->status == -ESTALE);
				back += (unsigned)n;
			}
			fabric_conn_close(c);
			assert_int_equal(fabric_domain_new(t, &d), 0);
			assert_int_equal(fabric_expose(d, mem, BYTES, FABRIC_READ | FABRIC_WRITE, &key), 0);
		}
	}
	free(buf);
}

/* The initiator notices while it has nothing to say, too. */
static void path_close_is_noticed_when_idle(void **state)
{
	for (enum kind kind = 0; kind < KIND_LOOP; kind++) {
		struct fabric_conn *c = conn_make(kind);
		struct fabric_op *done;

		fabric_domain_free(d);
		assert_int_equal(fabric_reap(c, &done, 1, 20 * NS_PER_SEC), -EPIPE);
		fabric_conn_close(c);
		assert_int_equal(fabric_domain_new(t, &d), 0);
		assert_int_equal(fabric_expose(d, mem, BYTES, FABRIC_READ | FABRIC_WRITE, &key), 0);
	}
}

/* Buffers of fabric_buffer_get are good for any member, and run out rather than overlap. */
static void buffers_do_not_overlap(void **state)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct fabric_conn *c = conn_make(kind);
		uint8_t *bufs[8];

		for (unsigned i = 0; i < 8; i++) {
			bufs[i] = fabric_buffer_get(c, 100000 + i * 5000);
			assert_non_null(bufs[i]);
			memset(bufs[i], (int)i, 100000 + i * 5000);
		}
		for (unsigned i = 0; i < 8; i++) {
			struct fabric_op op = {
			    .key = key.number, .buf = bufs[i], .len = 100000, .dir = FABRIC_OP_WRITE};
			struct fabric_op *ops[] = {&op};

			for (unsigned k = 0; k < 100000 + i * 5000; k++)
				assert_int_equal(bufs[i][k], i);
			op.flags = FABRIC_OP_WAITED;
			assert_int_equal(fabric_post(c, &op), 0);
			assert_int_equal(fabric_wait(c, ops, 1, 20 * NS_PER_SEC), 0);
			assert_int_equal(op.status, 0);
			assert_memory_equal(mem, bufs[i], 100000);
			fabric_buffer_put(c, bufs[i]);
		}
		assert_null(fabric_buffer_get(c, 0));
		if (kind == KIND_RING)
			assert_null(fabric_buffer_get(c, (size_t)1 << 40));
		fabric_conn_close(c);
	}
}

/* Lost operations complete with -EPIPE and the path goes on. */
static void losses_are_reported(void **state)
{
	struct fabric_loop_faults faults = {.seed = 7, .loss_permille = 300, .delay_ns = 10000};
	struct fabric_conn *c;
	unsigned lost = 0, kept = 0;

	assert_int_equal(fabric_loop_connect(d, &faults, &c), 0);
	for (unsigned i = 0; i < 200; i++) {
		struct worker w = {.c = c};
		uint8_t byte = 1;
		int err = one(&w, FABRIC_OP_WRITE, i, &byte, 1);

		assert_true(err == 0 || err == -EPIPE);
		assert_int_equal(mem[i], err == 0);
		lost += err != 0;
		kept += err == 0;
	}
	assert_in_range(lost, 20, 120);
	assert_in_range(kept, 80, 180);
	fabric_conn_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(threads_share_a_conn, setup, teardown),
	    cmocka_unit_test_setup_teardown(big_operations_pass, setup, teardown),
	    cmocka_unit_test_setup_teardown(bad_arguments_are_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(depth_is_limited, setup, teardown),
	    cmocka_unit_test_setup_teardown(shutdown_gives_everything_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(shutdown_wakes_waiters, setup, teardown),
	    cmocka_unit_test_setup_teardown(domain_goes_while_operations_fly, setup, teardown),
	    cmocka_unit_test_setup_teardown(path_close_is_noticed_when_idle, setup, teardown),
	    cmocka_unit_test_setup_teardown(buffers_do_not_overlap, setup, teardown),
	    cmocka_unit_test_setup_teardown(losses_are_reported, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
