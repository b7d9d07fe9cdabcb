/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The initiator's common half. There is no thread of ours behind a conn: threads that wait make the progress. One of
 * them at a time polls (and completes everybody's operations), the others sleep on `changed`; when the poller has what
 * it wanted it wakes them, and one of them takes over.
 *
 * The lock is held during system calls that don't wait, never while sleeping. A spinning poller steps aside for threads
 * that want to post, which an unfair mutex would keep out.
 */
#include "fabric/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/relax.h"
#include "fabric/status.h"

#define SPIN_DEFAULT_NS 50000
#define BUFFER_ALIGN    4096u
#define SPIN_BYTES_MOST 1000000u /* spin a nanosecond longer for every byte under way, up to this */

int conn_init(struct fabric_conn *c, const struct conn_ops *ops, const struct fabric_conn_options *opt)
{
	c->ops = ops;
	c->spin_ns = opt && opt->spin_ns ? opt->spin_ns : SPIN_DEFAULT_NS;
	c->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wakefd < 0)
		return fail(-errno, "fabric: no descriptor for a data path");
	lock_init(&c->lock, RANK_FABRIC);
	cond_init(&c->changed);
	op_queue_init(&c->done);
	return 0;
}

void conn_fini(struct fabric_conn *c)
{
	cond_destroy(&c->changed);
	lock_destroy(&c->lock);
	close(c->wakefd);
}

/* --- states --- */

static enum op_state op_state(const struct fabric_op *op)
{
	return (enum op_state)__atomic_load_n(&op->conn.state, __ATOMIC_ACQUIRE);
}

static void op_move(struct fabric_op *op, enum op_state to)
{
	__atomic_store_n(&op->conn.state, (uint32_t)to, __ATOMIC_RELEASE);
}

void conn_complete(struct fabric_conn *c, struct fabric_op *op, int status)
{
	op->status = status;
	c->flying -= op->len;
	if (op->flags & FABRIC_OP_WAITED) {
		c->outstanding--;
		/* From here on it's the waiter's. */
		op_move(op, OP_DONE);
	} else {
		op_move(op, OP_DONE);
		op_queue_push(&c->done, op);
	}
	if (c->waiters > 0)
		cond_wake_all(&c->changed);
	if (c->sleeping)
		conn_nudge(c);
}

void conn_die(struct fabric_conn *c, const char *why)
{
	if (atomic_load_explicit(&c->dead, memory_order_relaxed))
		return;
	atomic_store_explicit(&c->dead, true, memory_order_release);
	if (why)
		log_info("fabric", "%s path gone: %s", c->ops->member, why);
	c->ops->abandon(c, -EPIPE);
	cond_wake_all(&c->changed);
	conn_nudge(c);
}

void conn_nudge(struct fabric_conn *c)
{
	uint64_t one = 1;

	if (write(c->wakefd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		log_error("fabric", "a sleeping thread cannot be woken, error %d", errno);
}

void conn_poll(struct fabric_conn *c, int fd, short events, uint64_t timeout_ns)
{
	struct pollfd pfd[2] = {{.fd = fd, .events = events}, {.fd = c->wakefd, .events = POLLIN}};
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / NS_PER_SEC), .tv_nsec = (long)(timeout_ns % NS_PER_SEC)};
	uint64_t n;

	if (ppoll(pfd, 2, timeout_ns == UINT64_MAX ? NULL : &ts, NULL) <= 0 || !(pfd[1].revents & POLLIN))
		return;
	if (read(c->wakefd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_error("fabric", "a wake-up descriptor fails with %d", errno);
}

/* --- waiting --- */

/* What a thread waits for: all of ops, or (ops NULL) anything for reap. */
struct wish {
	struct fabric_op **ops;
	unsigned n;
};

static bool wish_granted(const struct fabric_conn *c, struct wish *w)
{
	if (!w->ops)
		return c->done.first != NULL;
	while (w->n > 0 && op_state(w->ops[w->n - 1]) == OP_DONE)
		w->n--;
	return w->n == 0;
}

/* For threads from outside: a spinning poller steps aside for them. */
static void conn_enter(struct fabric_conn *c)
{
	atomic_fetch_add_explicit(&c->posters, 1, memory_order_relaxed);
	lock_take(&c->lock);
	atomic_fetch_sub_explicit(&c->posters, 1, memory_order_relaxed);
}

static bool conn_wanted(struct fabric_conn *c)
{
	return atomic_load_explicit(&c->posters, memory_order_relaxed) > 0;
}

/* A thread that wants the lock gets it now. */
static void step_aside(struct fabric_conn *c, uint64_t spun_ns)
{
	lock_drop(&c->lock);
	do
		spin_relax(spun_ns);
	while (conn_wanted(c));
	lock_take(&c->lock);
}

static uint64_t left_until(uint64_t deadline, uint64_t now)
{
	if (deadline == UINT64_MAX)
		return UINT64_MAX;
	return deadline > now ? deadline - now : 0;
}

/* Lock held, and dropped while sleeping. */
static void conn_sleep(struct fabric_conn *c, uint64_t timeout_ns)
{
	c->sleeping = true;
	if (c->ops->arm(c) && !atomic_load_explicit(&c->dead, memory_order_relaxed)) {
		lock_drop(&c->lock);
		c->ops->sleep(c, timeout_ns);
		lock_take(&c->lock);
	}
	c->sleeping = false;
}

/* Lock held. This thread is the poller until its wish is granted, the path dies, or the time is over. */
static void conn_lead(struct fabric_conn *c, struct wish *w, uint64_t deadline)
{
	uint64_t idle_since = 0, now;

	c->polling = true;
	while (!atomic_load_explicit(&c->dead, memory_order_relaxed)) {
		bool moved = c->ops->progress(c);

		if (wish_granted(c, w))
			break;
		if (moved) {
			idle_since = 0;
			if (conn_wanted(c))
				step_aside(c, 0);
			if (deadline == UINT64_MAX)
				continue;
		}
		now = clock_now_ns();
		if (now >= deadline)
			break;
		if (moved)
			continue;
		if (idle_since == 0)
			idle_since = now;
		if (now - idle_since < c->spin_ns + min_u64(c->flying, SPIN_BYTES_MOST)) {
			step_aside(c, now - idle_since);
			continue;
		}
		conn_sleep(c, left_until(deadline, now));
		idle_since = 0;
	}
	c->polling = false;
	if (c->waiters > 0)
		cond_wake_all(&c->changed);
}

static uint64_t deadline_after(uint64_t timeout_ns)
{
	uint64_t now, end;

	if (timeout_ns == UINT64_MAX)
		return UINT64_MAX;
	now = clock_now_ns();
	return add_overflows(now, timeout_ns, &end) ? UINT64_MAX : end;
}

/* Lock held. 0: granted. -ETIMEDOUT. -EPIPE: the path is gone and the wish can't be granted any more. */
static int conn_wait(struct fabric_conn *c, struct wish *w, uint64_t timeout_ns)
{
	uint64_t deadline = 0;

	while (!wish_granted(c, w)) {
		if (atomic_load_explicit(&c->dead, memory_order_relaxed) && c->outstanding == 0)
			return -EPIPE;
		if (deadline == 0)
			deadline = deadline_after(timeout_ns);
		if (!c->polling && !atomic_load_explicit(&c->dead, memory_order_relaxed)) {
			conn_lead(c, w, deadline);
		} else {
			c->waiters++;
			cond_wait_until(&c->changed, &c->lock, deadline);
			c->waiters--;
		}
		if (wish_granted(c, w))
			return 0;
		if (deadline != UINT64_MAX && clock_now_ns() >= deadline)
			return -ETIMEDOUT;
	}
	return 0;
}

/* --- the calls --- */

static int op_check(const struct fabric_op *op)
{
	if (!op->buf || op->len == 0)
		return fail(-EINVAL, "fabric: an operation without bytes or buffer");
	if (op->dir != FABRIC_OP_READ && op->dir != FABRIC_OP_WRITE)
		return fail(-EINVAL, "fabric: an operation that neither reads nor writes");
	if (op->len > FABRIC_OP_MAX)
		return fail(-EMSGSIZE, "fabric: %llu bytes in one operation, the most is %llu",
			    (unsigned long long)op->len, (unsigned long long)FABRIC_OP_MAX);
	if (request_absurd(op->offset, op->len))
		return fail(-EINVAL, "fabric: offset %llu + length wraps", (unsigned long long)op->offset);
	return 0;
}

/* Lock held. */
static int post_locked(struct fabric_conn *c, struct fabric_op *op)
{
	if (atomic_load_explicit(&c->dead, memory_order_relaxed))
		return -EPIPE;
	if (c->outstanding >= FABRIC_DEPTH_MAX)
		return -EBUSY;
	c->outstanding++;
	c->flying += op->len;
	op->next = NULL;
	op->conn.sent = op->conn.done = 0;
	op->conn.parts = 0;
	op_move(op, OP_POSTED);
	c->ops->submit(c, op);
	return 0;
}

static int post_direct(struct fabric_conn *c, struct fabric_op *op)
{
	if (atomic_load_explicit(&c->dead, memory_order_acquire))
		return -EPIPE;
	if (op->flags & FABRIC_OP_WAITED) {
		c->ops->direct(c, op);
		op_move(op, OP_DONE);
		return 0;
	}
	lock_take(&c->lock);
	if (c->outstanding >= FABRIC_DEPTH_MAX) {
		lock_drop(&c->lock);
		return -EBUSY;
	}
	c->outstanding++;
	c->flying += op->len;
	lock_drop(&c->lock);
	c->ops->direct(c, op);
	lock_take(&c->lock);
	conn_complete(c, op, op->status);
	lock_drop(&c->lock);
	return 0;
}

int fabric_post(struct fabric_conn *c, struct fabric_op *op)
{
	int err = op_check(op);

	if (err)
		return err;
	if (c->ops->direct)
		return post_direct(c, op);
	conn_enter(c);
	err = post_locked(c, op);
	lock_drop(&c->lock);
	return err;
}

int fabric_reap(struct fabric_conn *c, struct fabric_op **done, unsigned max, uint64_t timeout_ns)
{
	struct wish any = {.ops = NULL};
	unsigned n = 0;
	int err;

	if (max == 0)
		return 0;
	conn_enter(c);
	/* Also when there is something to return already: posts may be queued. */
	if (!c->polling && !atomic_load_explicit(&c->dead, memory_order_relaxed))
		c->ops->progress(c);
	err = conn_wait(c, &any, timeout_ns);
	while (n < max && c->done.first) {
		done[n++] = op_queue_pop(&c->done);
		c->outstanding--;
	}
	lock_drop(&c->lock);
	return n > 0 || err == -ETIMEDOUT ? (int)n : err;
}

int fabric_wait(struct fabric_conn *c, struct fabric_op **ops, unsigned n, uint64_t timeout_ns)
{
	struct wish all = {.ops = ops, .n = n};
	int err;

	if (!ops || wish_granted(c, &all))
		return 0;
	conn_enter(c);
	err = conn_wait(c, &all, timeout_ns);
	lock_drop(&c->lock);
	return err;
}

void *conn_malloc(struct fabric_conn *c, size_t len)
{
	size_t whole;

	if (add_overflows(len, (size_t)BUFFER_ALIGN - 1, &whole))
		return NULL;
	return aligned_alloc(BUFFER_ALIGN, round_down_u64(whole, BUFFER_ALIGN));
}

void conn_mfree(struct fabric_conn *c, void *buf)
{
	free(buf);
}

void *fabric_buffer_get(struct fabric_conn *c, size_t len)
{
	void *buf;

	if (len == 0)
		return NULL;
	conn_enter(c);
	buf = c->ops->buffer_get(c, len);
	lock_drop(&c->lock);
	return buf;
}

void fabric_buffer_put(struct fabric_conn *c, void *buf)
{
	if (!buf)
		return;
	conn_enter(c);
	c->ops->buffer_put(c, buf);
	lock_drop(&c->lock);
}

void fabric_conn_shutdown(struct fabric_conn *c)
{
	conn_enter(c);
	conn_die(c, NULL);
	lock_drop(&c->lock);
}

void fabric_conn_close(struct fabric_conn *c)
{
	if (!c)
		return;
	fabric_conn_shutdown(c);
	c->ops->free(c);
}

const char *fabric_conn_member(const struct fabric_conn *c)
{
	return c->ops->member;
}
