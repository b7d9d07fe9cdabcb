/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io_uring with files of Leasehold: the device "io_uring". A run of the file is a fixed buffer of the ring (the kernel
 * pins its pages for long), registered by the first operation that uses it and not by attach, which comes with locks
 * held.
 *
 * detach gets them back with proof: cancel what is in flight in the run, reap until none is, take the slot's buffer
 * away and wait for the tag that the kernel posts when the last reference is gone. What was cut goes on at the new
 * place: the operation keeps how far it came, and lh_uring_wait gets the pin anew.
 *
 * An operation is for one run at a time, and goes on in the next one; so the kernel never sees an address of two
 * owners.
 *
 * Lock: ring->lock (DEVICE), for the ring itself and all below it. It is held while detach waits for the kernel: for a
 * cancelled operation, or for a disk that has begun. lh_uring_wait sleeps on an eventfd without it, so that whoever
 * reaps, the sleeper hears of it.
 *
 * Invariant: run->inflight is the number of operations that the kernel has with addresses of the run.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <bsd/sys/queue.h>
#include <liburing.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/types.h"
#include "pin/uring.h"

/* Fixed buffers of one ring; runs beyond them work without. */
#define SLOTS_MAX 1024u
/* The kernel's limit for one. */
#define RUN_MAX ((uint64_t)1 << 30)
/* Times that a pin is got anew at one place before it is given up and got as a whole. */
#define RENEW_TRIES 8u
#define ZEROES      65536u

/* Marks of completions that are no operation: their lowest bits. */
#define TAG_SLOT   1u
#define TAG_CANCEL 2u

struct run {
	TAILQ_ENTRY(run) next;
	uint64_t off, len;
	char *addr; /* NULL: a hole */
	int slot;   /* -1: not registered */
	bool plain; /* the kernel does not pin it */
	bool dirty; /* something was read into it */
	unsigned inflight;
};
TAILQ_HEAD(run_list, run);

enum op_state { OP_FREE, OP_FLYING, OP_LOST, OP_DONE };
struct op {
	TAILQ_ENTRY(op) next; /* lost or done */
	struct lh_uring_buffer *buf;
	struct run *run; /* FLYING */
	enum op_state state;
	bool in; /* fd to file */
	int fd;
	uint64_t fd_off, off;
	uint32_t len, moved;
	unsigned renewals;
	void *cookie;
	ssize_t result;
};
TAILQ_HEAD(op_list, op);

struct lh_uring_buffer {
	LIST_ENTRY(lh_uring_buffer) in_ring;
	struct lh_uring *ring;
	struct lh_file *file;
	struct lh_pin *pin; /* NULL: ended with its file */
	uint64_t off, len;
	uint32_t mode;
	unsigned ops;
	bool plain;
	struct run_list runs; /* in no order */
};

struct lh_uring {
	struct io_uring ring;
	struct lh_fs *fs;
	struct lock lock;
	int event;
	unsigned depth, outstanding;
	struct op *ops;
	struct op_list lost, done;
	LIST_HEAD(, lh_uring_buffer) buffers;
	bool slots_work;
	bool slot_used[SLOTS_MAX];
	bool slot_freed[SLOTS_MAX]; /* its tag has come */
};

static const char zeroes[ZEROES];

/* --- the ring; all with its lock held --- */

static struct io_uring_sqe *sqe_get(struct lh_uring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

	while (!sqe) {
		(void)io_uring_submit(&r->ring);
		sqe = io_uring_get_sqe(&r->ring);
	}
	return sqe;
}

static void submit(struct lh_uring *r)
{
	int n = io_uring_submit(&r->ring);

	/* EBUSY, EAGAIN: the kernel wants its completions taken first, or memory; they stay queued for the next time.
	 */
	while (n == -EINTR)
		n = io_uring_submit(&r->ring);
}

static void op_done(struct op *op, ssize_t result)
{
	struct lh_uring *r = op->buf->ring;

	op->state = OP_DONE;
	op->run = NULL;
	op->result = op->moved > 0 ? (ssize_t)op->moved : result;
	TAILQ_INSERT_TAIL(&r->done, op, next);
}

static void op_lost(struct op *op)
{
	op->state = OP_LOST;
	op->run = NULL;
	TAILQ_INSERT_TAIL(&op->buf->ring->lost, op, next);
}

static struct run *run_find(struct lh_uring_buffer *b, uint64_t off)
{
	struct run *run;

	TAILQ_FOREACH (run, &b->runs, next) {
		if (run->off <= off && off < run->off + run->len)
			return run;
	}
	return NULL;
}

/* A slot for the run, if it can have one. */
static void run_register(struct lh_uring_buffer *b, struct run *run)
{
	struct lh_uring *r = b->ring;
	struct iovec iov = {.iov_base = run->addr, .iov_len = run->len};
	__u64 tag;
	unsigned k = 0;
	int n;

	if (run->slot >= 0 || run->plain || !run->addr)
		return;
	while (k < SLOTS_MAX && r->slot_used[k])
		k++;
	run->plain = true;
	b->plain = true;
	if (!r->slots_work || k == SLOTS_MAX)
		return;
	tag = (__u64)k << 2 | TAG_SLOT;
	n = io_uring_register_buffers_update_tag(&r->ring, k, &iov, &tag, 1);
	if (n < 0) {
		/* Pages of a file on a disk, or too much for RLIMIT_MEMLOCK. */
		log_debug("pin", "io_uring: %llu bytes are not registered: %s", (unsigned long long)run->len,
			  strerror(-n));
		return;
	}
	r->slot_used[k] = true;
	r->slot_freed[k] = false;
	run->slot = (int)k;
	run->plain = false;
	b->plain = false;
}

/* Hands the next piece of the operation to the kernel; without a run for it the operation is lost. */
static void op_start(struct op *op)
{
	struct lh_uring_buffer *b = op->buf;
	uint64_t at = op->off + op->moved;
	struct run *run = run_find(b, at);
	struct io_uring_sqe *sqe;
	uint32_t n = op->len - op->moved;
	uint64_t fd_at = op->fd_off == UINT64_MAX ? UINT64_MAX : op->fd_off + op->moved;
	const char *addr;

	if (!run || (op->in && !run->addr)) {
		op_lost(op);
		return;
	}
	n = (uint32_t)min_u64(n, run->off + run->len - at);
	if (!run->addr)
		n = (uint32_t)min_u64(n, ZEROES);
	addr = run->addr ? run->addr + (at - run->off) : zeroes;
	run_register(b, run);
	sqe = sqe_get(b->ring);
	if (op->in && run->slot >= 0)
		io_uring_prep_read_fixed(sqe, op->fd, (char *)(uintptr_t)addr, n, fd_at, run->slot);
	else if (op->in)
		io_uring_prep_read(sqe, op->fd, (char *)(uintptr_t)addr, n, fd_at);
	else if (run->slot >= 0)
		io_uring_prep_write_fixed(sqe, op->fd, addr, n, fd_at, run->slot);
	else
		io_uring_prep_write(sqe, op->fd, addr, n, fd_at);
	io_uring_sqe_set_data(sqe, op);
	op->state = OP_FLYING;
	op->run = run;
	run->inflight++;
	run->dirty = run->dirty || op->in;
}

static void op_landed(struct op *op, int res)
{
	struct run *run = op->run;

	assert(op->state == OP_FLYING && run->inflight > 0);
	run->inflight--;
	if (res == -ECANCELED || res == -EINTR) {
		op_lost(op);
	} else if (res <= 0) {
		op_done(op, res);
	} else {
		op->moved += (uint32_t)res;
		op->renewals = 0;
		if (op->moved == op->len)
			op_done(op, 0);
		else
			op_lost(op);
	}
}

static void reap(struct lh_uring *r)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&r->ring, &cqe) == 0) {
		__u64 data = cqe->user_data;
		int res = cqe->res;

		io_uring_cqe_seen(&r->ring, cqe);
		if (data & TAG_SLOT) {
			assert(data >> 2 < SLOTS_MAX);
			r->slot_freed[data >> 2] = true;
		} else if (!(data & TAG_CANCEL)) {
			op_landed((struct op *)(uintptr_t)data, res);
		}
	}
}

/* At least one completion came. */
static void reap_wait(struct lh_uring *r)
{
	struct io_uring_cqe *cqe;

	submit(r);
	(void)io_uring_wait_cqe(&r->ring, &cqe);
	reap(r);
}

/* --- the device --- */

/* The kernel has nothing of the run any more when it returns. */
static void run_quiesce(struct lh_uring_buffer *b, struct run *run)
{
	struct lh_uring *r = b->ring;
	struct iovec nothing = {0};
	__u64 tag = 0;
	int n;

	reap(r);
	for (unsigned k = 0; k < r->depth && run->inflight > 0; k++) {
		struct io_uring_sqe *sqe;

		if (r->ops[k].state != OP_FLYING || r->ops[k].run != run)
			continue;
		sqe = sqe_get(r);
		io_uring_prep_cancel(sqe, &r->ops[k], 0);
		io_uring_sqe_set_data64(sqe, TAG_CANCEL);
	}
	while (run->inflight > 0)
		reap_wait(r);
	if (run->slot < 0)
		return;
	n = io_uring_register_buffers_update_tag(&r->ring, (unsigned)run->slot, &nothing, &tag, 1);
	if (n < 0) {
		log_error("pin", "io_uring: the kernel does not give a buffer back: %s", strerror(-n));
		abort();
	}
	while (!r->slot_freed[run->slot])
		reap_wait(r);
	r->slot_used[run->slot] = false;
	run->slot = -1;
}

static struct run *run_new(uint64_t off, uint64_t len, char *addr)
{
	struct run *run = calloc(1, sizeof(*run));

	if (run) {
		run->off = off;
		run->len = len;
		run->addr = addr;
		run->slot = -1;
	}
	return run;
}

static int runs_add(struct run_list *list, uint64_t off, uint64_t len, char *addr)
{
	while (len > 0) {
		uint64_t n = min_u64(len, RUN_MAX);
		struct run *run = run_new(off, n, addr);

		if (!run)
			return -ENOMEM;
		TAILQ_INSERT_TAIL(list, run, next);
		off += n;
		len -= n;
		addr = addr ? addr + n : NULL;
	}
	return 0;
}

static void runs_free(struct run_list *list)
{
	struct run *run;

	while ((run = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, run, next);
		free(run);
	}
}

static int uring_attach(void *ctx, uint64_t off, uint64_t len, const struct lh_pin_run *runs, unsigned count)
{
	struct lh_uring_buffer *b = ctx;
	bool holes = b->mode == LH_LEASE_READ;
	struct run_list fresh = TAILQ_HEAD_INITIALIZER(fresh);
	uint64_t at = off;
	int err = 0;

	for (unsigned k = 0; k < count && !err; k++) {
		if (holes && runs[k].off > at)
			err = runs_add(&fresh, at, runs[k].off - at, NULL);
		if (!err)
			err = runs_add(&fresh, runs[k].off, runs[k].len, runs[k].addr);
		at = runs[k].off + runs[k].len;
	}
	if (!err && holes && at < off + len)
		err = runs_add(&fresh, at, off + len - at, NULL);
	if (err) {
		runs_free(&fresh);
		return err;
	}
	lock_take(&b->ring->lock);
	TAILQ_CONCAT(&b->runs, &fresh, next);
	lock_drop(&b->ring->lock);
	return 0;
}

/* What is left of the run keeps its place. Without memory for it, it is forgotten: op_retry gets all anew then. */
static void run_cut(struct lh_uring_buffer *b, struct run *run, uint64_t start, uint64_t end)
{
	uint64_t run_end = run->off + run->len;

	run_quiesce(b, run);
	if (end < run_end) {
		struct run *rest = run_new(end, run_end - end, run->addr ? run->addr + (end - run->off) : NULL);

		if (rest) {
			rest->dirty = run->dirty;
			TAILQ_INSERT_TAIL(&b->runs, rest, next);
		}
	}
	if (run->off < start) {
		run->len = start - run->off;
		return;
	}
	TAILQ_REMOVE(&b->runs, run, next);
	free(run);
}

static void uring_detach(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *out)
{
	struct lh_uring_buffer *b = ctx;
	struct run *run, *after;
	bool dirty = false;

	lock_take(&b->ring->lock);
	for (run = TAILQ_FIRST(&b->runs); run; run = after) {
		after = TAILQ_NEXT(run, next);
		if (run->off >= off + len || run->off + run->len <= off)
			continue;
		dirty = dirty || run->dirty;
		run_cut(b, run, max_u64(off, run->off), min_u64(off + len, run->off + run->len));
	}
	lock_drop(&b->ring->lock);
	if (!dirty)
		out->len = 0;
}

static void uring_gone(void *ctx)
{
	struct lh_uring_buffer *b = ctx;

	lock_take(&b->ring->lock);
	runs_free(&b->runs);
	b->pin = NULL;
	lock_drop(&b->ring->lock);
}

static const struct lh_pin_device uring_device = {.size = sizeof(uring_device),
						  .name = "io_uring",
						  .attach = uring_attach,
						  .detach = uring_detach,
						  .gone = uring_gone};

/* --- the calls --- */

int lh_uring_new(struct lh_fs *fs, unsigned depth, struct lh_uring **out)
{
	struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE};
	struct lh_uring *r;
	int err;

	fail_clear();
	if (!fs || !out)
		return fail(-EINVAL, "lh_uring_new: %s is NULL", fs ? "out" : "fs");
	*out = NULL;
	if (depth == 0 || depth > URING_DEPTH_MAX)
		return fail(-EINVAL, "lh_uring_new: depth %u is not 1 to %u", depth, URING_DEPTH_MAX);
	r = calloc(1, sizeof(*r));
	if (!r)
		return fail(-ENOMEM, "lh_uring_new: no memory");
	r->ops = calloc(depth, sizeof(*r->ops));
	r->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = r->ops && r->event >= 0 ? 0 : r->ops ? -errno : -ENOMEM;
	/* Operations, their cancels and the tags of slots. */
	params.cq_entries = 2 * depth + SLOTS_MAX;
	if (!err)
		err = io_uring_queue_init_params(depth, &r->ring, &params);
	if (err) {
		fail(err, "lh_uring_new: %s%s", strerror(-err),
		     err == -EPERM || err == -ENOSYS ? ": this system does not allow io_uring" : "");
		goto free_ring;
	}
	err = io_uring_register_eventfd(&r->ring, r->event);
	if (err) {
		fail(err, "lh_uring_new: no eventfd for the ring: %s", strerror(-err));
		goto exit_ring;
	}
	r->slots_work = io_uring_register_buffers_sparse(&r->ring, SLOTS_MAX) == 0;
	r->fs = fs;
	r->depth = depth;
	lock_init(&r->lock, RANK_DEVICE);
	TAILQ_INIT(&r->lost);
	TAILQ_INIT(&r->done);
	*out = r;
	return 0;

exit_ring:
	io_uring_queue_exit(&r->ring);
free_ring:
	if (r->event >= 0)
		close(r->event);
	free(r->ops);
	free(r);
	return err;
}

void lh_uring_free(struct lh_uring *r)
{
	struct lh_completion done;

	if (!r)
		return;
	while (r->outstanding > 0 && lh_uring_wait(r, 1, &done, 1) > 0)
		;
	while (!LIST_EMPTY(&r->buffers))
		(void)lh_uring_unregister(LIST_FIRST(&r->buffers));
	io_uring_queue_exit(&r->ring);
	close(r->event);
	lock_destroy(&r->lock);
	free(r->ops);
	free(r);
}

static int buffer_pin(struct lh_uring_buffer *b)
{
	struct lh_pin_options opt = {.size = sizeof(opt), .flags = b->mode};

	return lh_pin_get(b->file, b->off, b->len, &opt, &uring_device, b, &b->pin);
}

int lh_uring_register(struct lh_uring *r, struct lh_file *file, uint64_t off, uint64_t len, uint32_t mode,
		      struct lh_uring_buffer **out)
{
	struct lh_uring_buffer *b;
	struct run *run;
	int err;

	fail_clear();
	if (!r || !file || !out)
		return fail(-EINVAL, "lh_uring_register: %s is NULL", !r ? "ring" : !file ? "file" : "out");
	*out = NULL;
	if (mode != LH_LEASE_READ && mode != LH_LEASE_WRITE)
		return fail(-EINVAL, "lh_uring_register: mode %u: LH_LEASE_READ or LH_LEASE_WRITE", mode);
	b = calloc(1, sizeof(*b));
	if (!b)
		return fail(-ENOMEM, "lh_uring_register: no memory");
	b->ring = r;
	b->file = file;
	b->off = off;
	b->len = len;
	b->mode = mode;
	TAILQ_INIT(&b->runs);
	err = buffer_pin(b);
	if (err) {
		runs_free(&b->runs);
		free(b);
		return err;
	}
	lock_take(&r->lock);
	LIST_INSERT_HEAD(&r->buffers, b, in_ring);
	TAILQ_FOREACH (run, &b->runs, next)
		run_register(b, run);
	lock_drop(&r->lock);
	*out = b;
	return 0;
}

bool lh_uring_fixed(const struct lh_uring_buffer *b)
{
	return b && !b->plain;
}

int lh_uring_unregister(struct lh_uring_buffer *b)
{
	struct lh_pin *pin;

	fail_clear();
	if (!b)
		return 0;
	if (b->ops > 0)
		return fail(-EBUSY, "lh_uring_unregister: %u operations are not complete; wait for them", b->ops);
	lock_take(&b->ring->lock);
	LIST_REMOVE(b, in_ring);
	pin = b->pin;
	lock_drop(&b->ring->lock);
	if (pin)
		(void)lh_pin_release(pin);
	free(b);
	return 0;
}

static int op_add(struct lh_uring_buffer *b, struct op *what, const char *call)
{
	struct lh_uring *r;
	uint64_t end;
	struct op *op;

	fail_clear();
	if (!b)
		return fail(-EINVAL, "%s: buf is NULL", call);
	if (what->in != (b->mode == LH_LEASE_WRITE))
		return fail(-EACCES, "%s: the buffer was registered with LH_LEASE_%s", call,
			    what->in ? "READ; to fill it it must be _WRITE" : "WRITE; to send it it must be _READ");
	if (what->len == 0 || add_overflows(what->off, (uint64_t)what->len, &end) || what->off < b->off ||
	    end > b->off + b->len)
		return fail(-ERANGE, "%s: %u bytes at %llu are nothing, or not inside the buffer", call, what->len,
			    (unsigned long long)what->off);
	if (what->len > INT_MAX)
		return fail(-EINVAL, "%s: %u bytes are more than one operation moves", call, what->len);
	r = b->ring;
	lock_take(&r->lock);
	for (op = r->ops; op < r->ops + r->depth && op->state != OP_FREE; op++)
		;
	if (op == r->ops + r->depth) {
		lock_drop(&r->lock);
		return -EBUSY;
	}
	*op = *what;
	op->buf = b;
	b->ops++;
	r->outstanding++;
	op_start(op);
	submit(r);
	lock_drop(&r->lock);
	return 0;
}

int lh_uring_read(struct lh_uring_buffer *buf, int fd, uint64_t fd_off, uint64_t off, uint32_t len, void *cookie)
{
	struct op op = {.in = true, .fd = fd, .fd_off = fd_off, .off = off, .len = len, .cookie = cookie};

	return op_add(buf, &op, __func__);
}

int lh_uring_write(struct lh_uring_buffer *buf, int fd, uint64_t fd_off, uint64_t off, uint32_t len, void *cookie)
{
	struct op op = {.fd = fd, .fd_off = fd_off, .off = off, .len = len, .cookie = cookie};
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = buf ? lh_file_stat(buf->file, &st) : 0;

	if (err)
		return err;
	/* What lies behind the end of file in its block is nobody's. */
	if (buf && off < st.size)
		op.len = (uint32_t)min_u64(len, st.size - off);
	else if (buf)
		return fail(-ENODATA, "%s: byte %llu is beyond the end of the file", __func__, (unsigned long long)off);
	return op_add(buf, &op, __func__);
}

/* Takes the op off the list `lost` and makes it go on. The lock is dropped meanwhile. */
static void op_retry(struct lh_uring *r, struct op *op)
{
	struct lh_uring_buffer *b = op->buf;
	uint64_t at = op->off + op->moved;
	struct lh_pin *pin = b->pin;
	int err = 0;

	TAILQ_REMOVE(&r->lost, op, next);
	if (!run_find(b, at) || (op->in && !run_find(b, at)->addr)) {
		bool renew = ++op->renewals > RENEW_TRIES;

		lock_drop(&r->lock);
		if (!pin)
			err = -EBADF;
		else if (!renew)
			err = lh_pin_fault(pin, at, op->len - op->moved);
		else
			(void)lh_pin_release(pin);
		if (renew && !err) {
			op->renewals = 0;
			err = buffer_pin(b);
		}
		lock_take(&r->lock);
	}
	if (err == -EAGAIN || err == -EWOULDBLOCK)
		op_lost(op);
	else if (err)
		op_done(op, err);
	else
		op_start(op);
}

static unsigned done_take(struct lh_uring *r, struct lh_completion *out, unsigned max)
{
	unsigned n = 0;
	struct op *op;

	while (n < max && (op = TAILQ_FIRST(&r->done)) != NULL) {
		TAILQ_REMOVE(&r->done, op, next);
		out[n++] = (struct lh_completion){.cookie = op->cookie, .result = op->result};
		op->buf->ops--;
		op->state = OP_FREE;
		r->outstanding--;
	}
	return n;
}

int lh_uring_wait(struct lh_uring *r, unsigned min, struct lh_completion *out, unsigned max)
{
	struct pollfd wake;
	unsigned n = 0;
	int timeout_ms;

	fail_clear();
	if (!r || !out || max == 0 || min > max)
		return fail(-EINVAL, "lh_uring_wait: NULL, or min %u and max %u", min, max);
	wake = (struct pollfd){.fd = r->event, .events = POLLIN};
	lock_take(&r->lock);
	min = min < r->outstanding ? min : r->outstanding;
	for (;;) {
		struct op_list again = TAILQ_HEAD_INITIALIZER(again);
		uint64_t count;

		/* First the counter, then the look: what comes after the look counts anew. */
		(void)!read(r->event, &count, sizeof(count));
		reap(r);
		for (unsigned k = 0; k < r->depth && !TAILQ_EMPTY(&r->lost); k++)
			op_retry(r, TAILQ_FIRST(&r->lost));
		submit(r);
		n += done_take(r, out + n, max - n);
		if (n >= min)
			break;
		/* What is lost still waits for a gate, in a session that does not. */
		timeout_ms = TAILQ_EMPTY(&r->lost) ? -1 : 1;
		lock_drop(&r->lock);
		(void)poll(&wake, 1, timeout_ms);
		lock_take(&r->lock);
	}
	lock_drop(&r->lock);
	return (int)n;
}

int lh_uring_commit(struct lh_uring_buffer *buf, uint64_t off, uint64_t len)
{
	fail_clear();
	if (!buf || !buf->pin)
		return fail(buf ? -EBADF : -EINVAL, "lh_uring_commit: %s", buf ? "the file is closed" : "buf is NULL");
	return lh_pin_commit(buf->pin, off, len);
}
