/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-process member: both ends at once. Without faults the bytes are moved by the thread that posts, chunk by chunk
 * under the key like everywhere; this is the local library's way to its own pool. With faults a worker thread moves
 * them, late, out of order, with pauses between chunks, or not at all.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "fabric/conn.h"
#include "fabric/move.h"
#include "fabric/target.h"

#define PERMILLE           1000u
#define RECONNECT_LEAST_NS 100000u /* a lost operation is reported after at least this long */

struct loop_conn {
	struct fabric_conn conn;
	struct fabric_domain *domain;
	bool faulty;
	/* With faults. */
	struct fabric_loop_faults faults;
	uint64_t random;
	pthread_t worker;
	struct cond work;
	struct op_queue queue; /* op->conn.sent: when it's due */
	bool stop;
};

static struct loop_conn *loop_of(struct fabric_conn *c)
{
	return container_of(c, struct loop_conn, conn);
}

/* --- moving --- */

/* One chunk from op->conn.done on. 0, why the key refuses, or -EIO. */
static int chunk_move(struct loop_conn *lc, struct fabric_op *op)
{
	struct key_want want = {.owner = &lc->domain->owner,
				.number = op->key,
				.access = op->dir == FABRIC_OP_READ ? FABRIC_READ : FABRIC_WRITE,
				.offset = op->offset + op->conn.done,
				.len = op->len - op->conn.done};
	size_t step;
	char *buf = (char *)op->buf + op->conn.done;
	struct key_hold hold;
	int err = key_enter(lc->domain->target->keys, &want, &hold);

	if (err)
		return err;
	step = hold.len;
	if (op->dir == FABRIC_OP_READ) {
		err = move_exposed(buf, hold.mem, step, BUSGUARD_FROM);
	} else {
		err = move_exposed(hold.mem, buf, step, BUSGUARD_TO);
		key_dirty(&hold, step);
	}
	key_leave(&hold);
	op->conn.done += step;
	return err;
}

static void loop_direct(struct fabric_conn *c, struct fabric_op *op)
{
	struct loop_conn *lc = loop_of(c);

	op->conn.done = 0;
	op->status = 0;
	while (op->status == 0 && op->conn.done < op->len)
		op->status = chunk_move(lc, op);
	target_count(lc->domain->target, op->dir, op->len, op->status);
}

/* --- the worker, with faults --- */

/* xorshift64*: the same seed gives the same faults. */
static uint64_t loop_random(struct loop_conn *lc)
{
	lc->random ^= lc->random >> 12;
	lc->random ^= lc->random << 25;
	lc->random ^= lc->random >> 27;
	return lc->random * 0x2545f4914f6cdd1dull;
}

static bool loop_chance(struct loop_conn *lc, uint32_t permille)
{
	return (loop_random(lc) >> 32) % PERMILLE < permille;
}

/* Lock held, dropped while waiting. False: the path died meanwhile. */
static bool loop_pause(struct loop_conn *lc, uint64_t ns)
{
	uint64_t until = clock_now_ns() + ns;

	while (!atomic_load_explicit(&lc->conn.dead, memory_order_relaxed)) {
		if (cond_wait_until(&lc->work, &lc->conn.lock, until) == -ETIMEDOUT)
			return true;
	}
	return false;
}

/* Lock held, dropped while bytes move. The operation is in no queue. */
static int loop_serve(struct loop_conn *lc, struct fabric_op *op)
{
	const struct fabric_loop_faults *f = &lc->faults;
	int err = 0;

	if (loop_chance(lc, f->loss_permille)) {
		loop_pause(lc, max_u64(f->delay_ns, RECONNECT_LEAST_NS));
		return -EPIPE;
	}
	while (err == 0 && op->conn.done < op->len) {
		lock_drop(&lc->conn.lock);
		err = chunk_move(lc, op);
		lock_take(&lc->conn.lock);
		if (err == 0 && loop_chance(lc, f->stall_permille))
			loop_pause(lc, f->stall_ns);
		if (atomic_load_explicit(&lc->conn.dead, memory_order_relaxed))
			return -EPIPE;
	}
	target_count(lc->domain->target, op->dir, op->len, err);
	return err;
}

/* Lock held. The next one, due or not; sometimes the second overtakes. */
static struct fabric_op *loop_next(struct loop_conn *lc)
{
	struct fabric_op *op = op_queue_pop(&lc->queue), *second;

	if (!op || !lc->queue.first || !loop_chance(lc, lc->faults.reorder_permille))
		return op;
	second = op_queue_pop(&lc->queue);
	op_queue_push(&lc->queue, op);
	return second;
}

static void *loop_work(void *arg)
{
	struct loop_conn *lc = arg;

	lock_take(&lc->conn.lock);
	while (!lc->stop) {
		struct fabric_op *op = loop_next(lc);
		uint64_t now = clock_now_ns();
		int status = 0;

		if (!op) {
			cond_wait(&lc->work, &lc->conn.lock);
			continue;
		}
		if (op->conn.sent > now && !loop_pause(lc, op->conn.sent - now))
			status = -EPIPE;
		if (status == 0)
			status = loop_serve(lc, op);
		conn_complete(&lc->conn, op, status);
	}
	lock_drop(&lc->conn.lock);
	return NULL;
}

static void loop_submit(struct fabric_conn *c, struct fabric_op *op)
{
	struct loop_conn *lc = loop_of(c);
	bool late = loop_chance(lc, lc->faults.delay_permille);

	op->conn.sent = late ? clock_now_ns() + lc->faults.delay_ns : 0;
	op_queue_push(&lc->queue, op);
	cond_wake_all(&lc->work);
}

/* What the worker has in hand it gives back itself, at the next chunk. */
static void loop_abandon(struct fabric_conn *c, int status)
{
	struct loop_conn *lc = loop_of(c);

	if (!lc->faulty)
		return;
	for (struct fabric_op *op = op_queue_pop(&lc->queue); op; op = op_queue_pop(&lc->queue))
		conn_complete(c, op, status);
	cond_wake_all(&lc->work);
}

/* --- the member --- */

static bool loop_progress(struct fabric_conn *c)
{
	return false;
}

static bool loop_arm(struct fabric_conn *c)
{
	return true;
}

/* Without faults nothing is ever outstanding: a thread in here waits for another one's post, or for the time to pass.
 */
static void loop_sleep(struct fabric_conn *c, uint64_t timeout_ns)
{
	conn_poll(c, -1, 0, timeout_ns);
}

static void loop_free(struct fabric_conn *c)
{
	struct loop_conn *lc = loop_of(c);

	if (lc->faulty) {
		lock_take(&c->lock);
		lc->stop = true;
		cond_wake_all(&lc->work);
		lock_drop(&c->lock);
		pthread_join(lc->worker, NULL);
	}
	cond_destroy(&lc->work);
	conn_fini(c);
	free(lc);
}

static const struct conn_ops loop_direct_ops = {
    .member = "loop",
    .direct = loop_direct,
    .progress = loop_progress,
    .arm = loop_arm,
    .sleep = loop_sleep,
    .abandon = loop_abandon,
    .free = loop_free,
    .buffer_get = conn_malloc,
    .buffer_put = conn_mfree,
};

static const struct conn_ops loop_faulty_ops = {
    .member = "loop",
    .submit = loop_submit,
    .progress = loop_progress,
    .arm = loop_arm,
    .sleep = loop_sleep,
    .abandon = loop_abandon,
    .free = loop_free,
    .buffer_get = conn_malloc,
    .buffer_put = conn_mfree,
};

int fabric_loop_connect(struct fabric_domain *d, const struct fabric_loop_faults *faults, struct fabric_conn **out)
{
	struct loop_conn *lc = calloc(1, sizeof(*lc));
	int err;

	if (!lc)
		return -ENOMEM;
	lc->domain = d;
	lc->faulty = faults != NULL;
	op_queue_init(&lc->queue);
	err = conn_init(&lc->conn, faults ? &loop_faulty_ops : &loop_direct_ops, NULL);
	if (err)
		goto free;
	cond_init(&lc->work);
	if (faults) {
		lc->faults = *faults;
		lc->random = faults->seed * 2 + 1;
		/* The worker is in charge of progress; everybody else waits for it. */
		lc->conn.polling = true;
		err = -pthread_create(&lc->worker, NULL, loop_work, lc);
		if (err)
			goto fini;
	}
	*out = &lc->conn;
	return 0;
fini:
	cond_destroy(&lc->work);
	conn_fini(&lc->conn);
free:
	free(lc);
	return fail(err, "fabric: no loop path");
}
