/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The initiator's end of a ring. An operation on a buffer of the arena is one entry; any other is cut into parts of a
 * slot each and bounced through the arena, so that this side's copy of one part overlaps with the target's of the next.
 *
 * The tag of an entry is the index of its part, so a completion is looked up, and checked, by one table access.
 */
#include "fabric/ring.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "fabric/conn.h"
#include "fabric/ring_arena.h"
#include "fabric/status.h"

#define ARENA_DEFAULT ((uint64_t)16 << 20)
#define BELL_DRAIN    64

/* One entry under way. op NULL: free. */
struct part {
	struct fabric_op *op;
	char *buf;     /* where its bytes go or come from, when they're bounced */
	uint32_t slot; /* ARENA_NO_SLOT: not bounced */
	uint32_t len;
};

struct ring_conn {
	struct fabric_conn conn;
	struct ring_map map;
	struct ring_arena arena;
	int bell_target; /* eventfd, theirs */
	int bell;        /* socket, ours */
	_Atomic bool hung;
	uint32_t sq_tail, cq_head;
	struct op_queue waiting; /* not submitted whole; op->conn.parts counts entries under way */
	uint32_t free_count;
	uint8_t free_parts[RING_ENTRIES];
	struct part parts[RING_ENTRIES];
};
static_assert(RING_ENTRIES <= UINT8_MAX + 1, "a part's index is one byte");
static_assert(FABRIC_OP_MAX <= UINT32_MAX, "a part's length");

static struct ring_conn *ring_of(struct fabric_conn *c)
{
	return container_of(c, struct ring_conn, conn);
}

/* --- submitting --- */

static void entry_push(struct ring_conn *rc, const struct ring_request *req)
{
	struct ring_w_header *head = rc->map.head;
	uint64_t one = 1;

	ring_request_encode(req, &rc->map.sq[rc->sq_tail % RING_ENTRIES]);
	ring_store(&head->rh_sq_tail, ++rc->sq_tail);
	ring_fence();
	if (ring_load(&head->rh_target_sleeps) == 0)
		return;
	if (write(rc->bell_target, &one, sizeof(one)) != sizeof(one))
		log_debug("fabric", "ring: the target's bell fails with %d", errno);
}

/* Submits as much of the operation as one entry carries. False: no entry or no slot is free. */
static bool part_submit(struct ring_conn *rc, struct fabric_op *op)
{
	bool bounced = !arena_has(&rc->arena, op->buf, op->len);
	struct ring_request req = {.dir = op->dir, .key = op->key, .offset = op->offset + op->conn.sent};
	char *buf = (char *)op->buf + op->conn.sent;
	uint32_t slot = ARENA_NO_SLOT;

	if (rc->free_count == 0)
		return false;
	if (bounced) {
		slot = arena_slot_take(&rc->arena);
		if (slot == ARENA_NO_SLOT)
			return false;
		req.len = min_u64(op->len - op->conn.sent, ARENA_SLOT);
		req.arena = slot;
		if (op->dir == FABRIC_OP_WRITE)
			memcpy(rc->map.arena + slot, buf, req.len);
	} else {
		req.len = op->len;
		req.arena = (uint64_t)(buf - rc->map.arena);
	}
	req.tag = rc->free_parts[--rc->free_count];
	rc->parts[req.tag] = (struct part){.op = op, .buf = buf, .slot = slot, .len = (uint32_t)req.len};
	op->conn.sent += req.len;
	op->conn.parts++;
	entry_push(rc, &req);
	return true;
}

static bool submit_waiting(struct ring_conn *rc)
{
	bool moved = false;

	while (rc->waiting.first) {
		struct fabric_op *op = rc->waiting.first;

		while (op->conn.sent < op->len) {
			if (!part_submit(rc, op))
				return moved;
			moved = true;
		}
		op_queue_pop(&rc->waiting);
	}
	return moved;
}

static void ring_submit(struct fabric_conn *c, struct fabric_op *op)
{
	struct ring_conn *rc = ring_of(c);

	op->status = 0;
	op_queue_push(&rc->waiting, op);
	submit_waiting(rc);
}

/* --- completing --- */

static void part_free(struct ring_conn *rc, uint32_t tag)
{
	struct part *p = &rc->parts[tag];

	if (p->slot != ARENA_NO_SLOT)
		arena_slot_give(&rc->arena, p->slot);
	p->op = NULL;
	rc->free_parts[rc->free_count++] = (uint8_t)tag;
}

static void part_complete(struct ring_conn *rc, uint32_t tag, int status)
{
	struct part *p = &rc->parts[tag];
	struct fabric_op *op = p->op;

	if (status == 0 && p->slot != ARENA_NO_SLOT && op->dir == FABRIC_OP_READ)
		memcpy(p->buf, rc->map.arena + p->slot, p->len);
	part_free(rc, tag);
	if (status != 0 && op->status == 0)
		op->status = status;
	/* The first one that fails is the last one submitted; being the oldest that isn't, it's first in waiting. */
	if (op->status != 0 && op->conn.sent < op->len) {
		assert(rc->waiting.first == op);
		op->conn.sent = op->len;
		op_queue_pop(&rc->waiting);
	}
	if (--op->conn.parts == 0 && op->conn.sent == op->len)
		conn_complete(&rc->conn, op, op->status);
}

/* Works off the completion ring. NULL, or the rule that was broken. */
static const char *completions_take(struct ring_conn *rc, bool *moved)
{
	uint32_t tail = ring_load(&rc->map.head->rh_cq_tail);

	if (tail - rc->cq_head > RING_ENTRIES - rc->free_count)
		return "F28: more completions than requests";
	while (rc->cq_head != tail) {
		struct ring_w_completion w;
		uint32_t tag;
		int status;

		ring_snatch(&w, &rc->map.cq[rc->cq_head % RING_ENTRIES], sizeof(w));
		tag = le32_to(w.cq_tag);
		if (tag >= RING_ENTRIES || !rc->parts[tag].op || !status_from_wire(le32_to(w.cq_status), &status))
			return "F28: completion of nothing, or of unknown status";
		ring_store(&rc->map.head->rh_cq_head, ++rc->cq_head);
		part_complete(rc, tag, status);
		/* The free slot goes out again before the next copy. */
		submit_waiting(rc);
		*moved = true;
	}
	return NULL;
}

static bool target_gone(struct ring_conn *rc)
{
	return ring_load(&rc->map.head->rh_closed) != 0 || atomic_load_explicit(&rc->hung, memory_order_acquire);
}

static bool ring_progress(struct fabric_conn *c)
{
	struct ring_conn *rc = ring_of(c);
	bool moved = false;
	/* Looked at first: what completed before the end is still taken. */
	bool gone = target_gone(rc);
	const char *broken = completions_take(rc, &moved);

	if (!broken && !gone)
		return moved;
	conn_die(c, broken ? broken : "the target closed it");
	return true;
}

/* --- sleeping --- */

static bool ring_arm(struct fabric_conn *c)
{
	struct ring_conn *rc = ring_of(c);

	ring_store(&rc->map.head->rh_conn_sleeps, 1);
	ring_fence();
	if (ring_load(&rc->map.head->rh_cq_tail) == rc->cq_head && !target_gone(rc))
		return true;
	ring_store(&rc->map.head->rh_conn_sleeps, 0);
	return false;
}

static void ring_sleep(struct fabric_conn *c, uint64_t timeout_ns)
{
	struct ring_conn *rc = ring_of(c);
	char bells[BELL_DRAIN];

	conn_poll(c, rc->bell, POLLIN, timeout_ns);
	ring_store(&rc->map.head->rh_conn_sleeps, 0);
	if (recv(rc->bell, bells, sizeof(bells), MSG_DONTWAIT) == 0)
		atomic_store_explicit(&rc->hung, true, memory_order_release);
}

/* --- the end --- */

static void ring_abandon(struct fabric_conn *c, int status)
{
	struct ring_conn *rc = ring_of(c);
	struct fabric_op *op;

	shutdown(rc->bell, SHUT_RDWR);
	for (uint32_t i = 0; i < RING_ENTRIES; i++) {
		op = rc->parts[i].op;
		if (!op)
			continue;
		part_free(rc, i);
		if (--op->conn.parts == 0 && op->conn.sent == op->len)
			conn_complete(c, op, status);
	}
	for (op = op_queue_pop(&rc->waiting); op; op = op_queue_pop(&rc->waiting))
		conn_complete(c, op, status);
}

static void ring_free(struct fabric_conn *c)
{
	struct ring_conn *rc = ring_of(c);

	arena_fini(&rc->arena);
	ring_map_drop(&rc->map);
	close(rc->bell_target);
	close(rc->bell);
	conn_fini(c);
	free(rc);
}

static void *ring_buffer_get(struct fabric_conn *c, size_t len)
{
	return arena_get(&ring_of(c)->arena, len);
}

static void ring_buffer_put(struct fabric_conn *c, void *buf)
{
	arena_put(&ring_of(c)->arena, buf);
}

static const struct conn_ops ring_conn_ops = {
    .member = "ring",
    .submit = ring_submit,
    .progress = ring_progress,
    .arm = ring_arm,
    .sleep = ring_sleep,
    .abandon = ring_abandon,
    .free = ring_free,
    .buffer_get = ring_buffer_get,
    .buffer_put = ring_buffer_put,
};

/* --- making one --- */

static int memfd_make(struct ring_conn *rc, uint64_t arena_len, int *fd)
{
	uint64_t len = RING_ARENA_START + arena_len;
	int err;

	*fd = memfd_create("leasehold-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return fail(-errno, "fabric: no memory for a ring");
	if (ftruncate(*fd, (off_t)len) < 0 || fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		err = fail(-errno, "fabric: the ring's memory cannot be sized and sealed");
	else
		err = ring_map_make(*fd, len, true, &rc->map);
	if (err) {
		close(*fd);
		return err;
	}
	ring_header_encode(arena_len, rc->map.head);
	return 0;
}

/* fds: memfd, bell_target, bell_conn. */
static int ring_make(struct ring_conn *rc, uint64_t arena_len, int fds[3])
{
	int pair[2], err = memfd_make(rc, arena_len, &fds[0]);

	if (err)
		return err;
	err = arena_init(&rc->arena, rc->map.arena, arena_len);
	if (err)
		goto unmap;
	fds[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc->bell_target = fcntl(fds[1], F_DUPFD_CLOEXEC, 0);
	if (fds[1] < 0 || rc->bell_target < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		err = fail(-errno, "fabric: no bells for a ring");
		goto bells;
	}
	rc->bell = pair[0];
	fds[2] = pair[1];
	return 0;
bells:
	if (rc->bell_target >= 0)
		close(rc->bell_target);
	if (fds[1] >= 0)
		close(fds[1]);
	arena_fini(&rc->arena);
unmap:
	ring_map_drop(&rc->map);
	close(fds[0]);
	return err;
}

int fabric_ring_connect(const struct fabric_conn_options *opt, int fds_out[3], struct fabric_conn **out)
{
	uint64_t arena_len = opt && opt->ring_bytes ? opt->ring_bytes : ARENA_DEFAULT;
	struct ring_conn *rc;
	int err;

	if (arena_len < RING_ARENA_LEAST || arena_len > RING_ARENA_MOST)
		return fail(-EINVAL, "fabric: a ring's arena has 256 KiB to 1 GiB, not %llu bytes",
			    (unsigned long long)arena_len);
	rc = calloc(1, sizeof(*rc));
	if (!rc)
		return -ENOMEM;
	err = conn_init(&rc->conn, &ring_conn_ops, opt);
	if (err)
		goto free;
	err = ring_make(rc, round_up_u64(arena_len, RING_ARENA_UNIT), fds_out);
	if (err)
		goto fini;
	op_queue_init(&rc->waiting);
	for (uint32_t i = RING_ENTRIES; i-- > 0;)
		rc->free_parts[rc->free_count++] = (uint8_t)i;
	*out = &rc->conn;
	return 0;
fini:
	conn_fini(&rc->conn);
free:
	free(rc);
	return err;
}
