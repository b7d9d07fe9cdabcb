/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Direct access: look up the keys for the place, move the bytes by key, fault when a key has gone.
 *
 * One step covers what a single look at the map finds, at most CLIENT_PIECES_MAX runs. Its range is on the lease's list
 * of flights while bytes move, so that a recall is answered after them, and no lock is held meanwhile. A step that lost
 * a key or the data path is done again from its start; after CLIENT_TRIES_MAX of them, and whenever a lease cannot be
 * had, the bytes go as a call (decision 8: direct access is an optimisation that can be taken away, never a condition).
 */
#include "client/cache.h"
#include "client/client.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"

/* How long a dead key may be ahead of the notice about it (P44) before the lease is asked for again without one. */
#define NOTICE_NS        (10 * NS_PER_MS)
#define NOTICE_MANUAL_NS NS_PER_SEC
/* A plain read that would need more than one step goes by key when the first covers so much. */
#define STEP_WORTH ((size_t)256 << 10)

struct step {
	struct flight flight;
	uint64_t changes; /* of the lease, when it was looked at */
	size_t len;
	unsigned count;
	bool known; /* false: the place must be faulted in */
	bool hole;  /* what is there (known), or in the way (not known), is a hole */
	bool last;  /* the file ends with it */
	struct fabric_op ops[CLIENT_PIECES_MAX];
};
static_assert(CLIENT_PIECES_MAX <= DATA_OPS_MAX, "one step is one data_run");

int client_lease_check(const struct lh_lease *lease, size_t len, uint64_t off, enum fabric_dir dir)
{
	uint64_t end;

	if (unlikely((lease->mode == PROTO_WRITE) != (dir == FABRIC_OP_WRITE)))
		return fail(-EACCES, "a %s lease is for %s only", lease->mode == PROTO_WRITE ? "WRITE" : "READ",
			    lease->mode == PROTO_WRITE ? "writing" : "reading");
	if (unlikely(add_overflows(off, (uint64_t)len, &end) || !range_covers(lease->window, (struct range){off, end})))
		return fail(-ERANGE, "%zu bytes at %llu are not inside the lease's %llu at %llu", len,
			    (unsigned long long)off, (unsigned long long)(lease->window.end - lease->window.start),
			    (unsigned long long)lease->window.start);
	return 0;
}

/* Asks for the size of the file. */
static int size_refresh(struct lh_lease *lease, uint64_t *size)
{
	struct lh_fs *fs = lease_session(lease);
	union proto_body body = {.handle = {.handle = lease->head.file->handle}};
	struct call call;
	uint64_t changes;
	int err;

	lock_take(&lease->lock);
	changes = lease->changes;
	lock_drop(&lease->lock);
	call_init(&call);
	err = conn_call(fs->conn, &call, PROTO_FILE_STAT, 0, &body);
	if (!err) {
		*size = call.reply.attr.size;
		lock_take(&lease->lock);
		if (lease->changes == changes) {
			lease->size = *size;
			lease->size_old = false;
		}
		lock_drop(&lease->lock);
	}
	call_fini(&call);
	return err;
}

/* Caller holds the lock. Fills the step with the runs from off on. */
static void step_look(struct lh_lease *lease, struct step *s, char *buf, size_t len, uint64_t off, enum fabric_dir dir)
{
	const struct map *m = &lease->map;
	uint64_t at = off;
	uint64_t end = off + len;

	s->count = 0;
	s->hole = false;
	s->changes = lease->changes;
	for (unsigned i = map_find(m, off); i < m->count && at < end && s->count < CLIENT_PIECES_MAX; i++) {
		const struct run *run = &m->runs[i];
		uint64_t n = min_u64(min_u64(run->range.end, end) - at, FABRIC_OP_MAX);

		if (run->range.start > at)
			break;
		if (!run->key) {
			s->hole = at == off;
			if (s->hole && dir == FABRIC_OP_READ)
				at += n;
			break;
		}
		s->ops[s->count++] = (struct fabric_op){.key = run->key,
							.offset = run->key_off + (at - run->range.start),
							.buf = buf + (at - off),
							.len = n,
							.dir = dir};
		at += n;
		if (at < run->range.end)
			break;
	}
	s->len = at - off;
	s->known = s->len > 0;
	if (s->count) {
		s->flight = (struct flight){.range = {off, at}, .restarts = client_restarts(lease_session(lease))};
		TAILQ_INSERT_TAIL(&lease->flying, &s->flight, in_lease);
	}
}

/* A fault tells the size as well, so that a place that must be faulted in needs no question of its own. Caller holds
 * the lock. */
static bool size_matters(const struct lh_lease *lease, uint64_t off)
{
	return (lease->flags & LH_LEASE_MANUAL) || map_at(&lease->map, off);
}

/* Looks at the map; 0, or an error of asking for the size. *len is cut at the end of the file; 0: at the end. */
static int step_begin(struct lh_lease *lease, struct step *s, char *buf, size_t *len, uint64_t off, enum fabric_dir dir)
{
	uint64_t size;
	int err;

	s->last = false;
	/* L34: what the map says is as good as our session, which may be over without our knowing. */
	if (unlikely(!conn_trusted(lease_session(lease)->conn))) {
		err = conn_confirm(lease_session(lease)->conn);
		if (err)
			return err;
	}
	lock_take(&lease->lock);
	if (dir == FABRIC_OP_READ && unlikely(lease->size_old || off + *len > lease->size) &&
	    size_matters(lease, off)) {
		lock_drop(&lease->lock);
		err = size_refresh(lease, &size);
		if (err)
			return err;
		s->last = off >= size || size - off <= *len;
		*len = off >= size ? 0 : (size_t)min_u64(*len, size - off);
		if (*len == 0)
			return 0;
		lock_take(&lease->lock);
	}
	step_look(lease, s, buf, *len, off, dir);
	lock_drop(&lease->lock);
	return 0;
}

/* The bytes that arrived, from the start of the step without a gap; or the error of the first. */
static ssize_t step_result(const struct step *s)
{
	size_t done = 0;

	for (unsigned i = 0; i < s->count; i++) {
		if (unlikely(s->ops[i].status))
			return done ? (ssize_t)done : s->ops[i].status;
		done += s->ops[i].len;
	}
	return (ssize_t)done;
}

/*
 * A key of the step is dead. The notice about it is on its way (P44); when it does not come, the range is treated as
 * gone. -ESTALE only for MANUAL leases.
 */
static int step_stale(struct lh_lease *lease, const struct step *s)
{
	bool manual = lease->flags & LH_LEASE_MANUAL;
	uint64_t until = clock_now_ns() + (manual ? NOTICE_MANUAL_NS : NOTICE_NS);
	int err = 0;

	lock_take(&lease->lock);
	while (!err && lease->changes == s->changes && !lease->dead)
		err = cond_wait_until(&lease->changed, &lease->lock, until);
	if (err && !manual) {
		map_cut(&lease->map, s->flight.range, MAP_ANY_LEASE);
		lease->lost = true;
		lease->changes++;
		err = 0;
	}
	lock_drop(&lease->lock);
	return err ? fail(-ESTALE, "the lease's key is dead; release the lease and get a new one") : 0;
}

/*
 * A faulting key could not serve the step as things are (L33): the server makes them so, and tells the size. 0: again;
 * also when the lease is gone, which the key will say then.
 */
static int step_fault(struct lh_lease *lease, const struct step *s)
{
	struct lh_fs *fs = lease_session(lease);
	struct range r = s->flight.range;
	union proto_body body = {.lease_fault = {.range = {r.start, r.end - r.start}}};
	const struct run *run;
	struct call call;
	int err;

	atomic_fetch_add(&lease->faults, 1);
	lock_take(&lease->lock);
	run = map_at(&lease->map, r.start);
	body.lease_fault.lease = run ? run->lease : 0;
	lock_drop(&lease->lock);
	if (!body.lease_fault.lease)
		return 0;
	call_init(&call);
	err = conn_call(fs->conn, &call, PROTO_LEASE_FAULT, client_flags(fs), &body);
	if (!err) {
		lock_take(&lease->lock);
		if (lease->changes == s->changes) {
			lease->size = call.reply.lease_faulted.size;
			lease->size_old = false;
		}
		lock_drop(&lease->lock);
	}
	call_fini(&call);
	return err == -ESTALE || err == -ERANGE ? 0 : err;
}

static ssize_t move_by_call(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir)
{
	struct lh_file *file = lease->head.file;
	unsigned restarts = client_restarts(file->head.fs);
	ssize_t n;

	if (dir == FABRIC_OP_WRITE && (file->flags & O_APPEND))
		return fail(-EAGAIN, "the lease cannot be had now, and the file is open for appending; try again");
	if (dir == FABRIC_OP_READ)
		n = client_call_read(file, buf, len, off);
	else
		n = client_call_write(file, buf, len, off);
	if (dir == FABRIC_OP_WRITE && n > 0)
		client_dirty_add(file, (struct range){off, off + (uint64_t)n}, restarts);
	/* Over a restart of the server calls are ahead of what is taken back: who looks at the lease next finds it
	 * (L35). */
	(void)client_come_back_wait(lease);
	return n;
}

/* Errors of LEASE_GET that only say: not now, or not with a lease. */
static bool calls_may_help(int err)
{
	return err == -EAGAIN || err == -EDQUOT || err == -ENOMEM || err == -ENOSPC || err == -EOPNOTSUPP;
}

enum next { NEXT_MORE, NEXT_AGAIN, NEXT_END };

/*
 * No key fences what we remember of a hole: whoever was stopped, or has not read a REVOKED yet, would read zeroes where
 * another has written since (P40). The answer to a message that is sent now comes behind everything that took the lease
 * before. Still a hole then: s->hole. 0, or the error of asking.
 */
static int hole_confirm(struct lh_lease *lease, struct step *s, char *buf, size_t len, uint64_t off)
{
	int err = conn_confirm(lease_session(lease)->conn);

	if (err)
		return err;
	lock_take(&lease->lock);
	if (!map_at(&lease->map, off) || map_at(&lease->map, off)->key)
		s->hole = false;
	else
		step_look(lease, s, buf, len, off, FABRIC_OP_READ);
	lock_drop(&lease->lock);
	return 0;
}

/* What one look at the map covers: bytes, 0 at the end of the file; *next: how to go on. */
static ssize_t step_move(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir,
			 enum next *next)
{
	struct step s;
	ssize_t n;
	int err = step_begin(lease, &s, buf, &len, off, dir);

	*next = NEXT_MORE;
	if (unlikely(err || len == 0))
		return err;
	if (unlikely(!s.known)) {
		err = client_lease_fault(lease, off, len, s.hole);
		*next = err ? NEXT_MORE : NEXT_AGAIN;
		return err == -ENODATA ? 0 : calls_may_help(err) ? move_by_call(lease, buf, len, off, dir) : err;
	}
	if (s.hole) {
		err = hole_confirm(lease, &s, buf, len, off);
		if (err || !s.hole) {
			*next = err ? NEXT_MORE : NEXT_AGAIN;
			return err;
		}
		memset(buf, 0, s.len);
		*next = s.last && s.len == len ? NEXT_END : NEXT_MORE;
		return (ssize_t)s.len;
	}
	data_run(lease_session(lease)->data, s.ops, s.count);
	n = step_result(&s);
	if (dir == FABRIC_OP_WRITE && n > 0)
		client_dirty_add(lease->head.file, (struct range){off, off + (uint64_t)n}, s.flight.restarts);
	client_flight_end(lease, &s.flight);
	if (likely(n >= 0)) {
		*next = s.last && (size_t)n == len ? NEXT_END : NEXT_MORE;
		return n;
	}
	if (n == -ESTALE || n == -ERANGE) {
		err = step_stale(lease, &s);
		*next = err ? NEXT_MORE : NEXT_AGAIN;
		return err;
	}
	if (n == -EAGAIN) {
		err = step_fault(lease, &s);
		*next = err ? NEXT_MORE : NEXT_AGAIN;
		return err;
	}
	/* No data path now, or a key that is not for this direction: what a call does is right. */
	return move_by_call(lease, buf, s.len, off, dir);
}

ssize_t client_lease_move(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir)
{
	size_t done = 0;
	unsigned tries = 0;

	while (done < len) {
		enum next next = NEXT_MORE;
		ssize_t n;

		if (unlikely(tries >= CLIENT_TRIES_MAX))
			n = move_by_call(lease, buf + done, len - done, off + done, dir);
		else
			n = step_move(lease, buf + done, len - done, off + done, dir, &next);
		if (unlikely(next == NEXT_AGAIN)) {
			tries++;
			continue;
		}
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		tries = 0; /* they are of one piece */
		if (n == 0 || next == NEXT_END)
			break;
	}
	return (ssize_t)done;
}

ssize_t client_lease_step(struct lh_lease *lease, char *buf, size_t len, uint64_t off)
{
	struct lh_fs *fs = lease_session(lease);
	struct step s;
	ssize_t n;

	/* L34: what is known may not be true any more. */
	if (unlikely(!conn_trusted(fs->conn)))
		return 0;
	lock_take(&lease->lock);
	step_look(lease, &s, buf, len, off, FABRIC_OP_READ);
	lock_drop(&lease->lock);
	if (!s.known)
		return 0;
	/* Many small pieces: each step waits for its own, a call for all of them. And of a hole a call knows (P40). */
	if (s.hole || (s.len < len && s.len < STEP_WORTH)) {
		if (s.count)
			client_flight_end(lease, &s.flight);
		return -EAGAIN;
	}
	data_run(fs->data, s.ops, s.count);
	n = step_result(&s);
	client_flight_end(lease, &s.flight);
	if (likely(n >= 0))
		return n;
	if (n == -ESTALE || n == -ERANGE) {
		lock_take(&lease->lock);
		map_cut(&lease->map, s.flight.range, MAP_ANY_LEASE);
		lock_drop(&lease->lock);
	}
	return 0;
}

ssize_t client_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off)
{
	int err = client_lease_check(lease, len, off, FABRIC_OP_READ);

	return unlikely(err) ? err : client_lease_move(lease, buf, len, off, FABRIC_OP_READ);
}

ssize_t client_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off)
{
	int err = client_lease_check(lease, len, off, FABRIC_OP_WRITE);

	return unlikely(err) ? err : client_lease_move(lease, (char *)(uintptr_t)buf, len, off, FABRIC_OP_WRITE);
}

/* --- without a lease --- */

static ssize_t raw(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len, enum fabric_dir dir)
{
	struct fabric_op op = {.key = key, .offset = key_off, .buf = buf, .len = len, .dir = dir};

	if (len == 0)
		return fail(-EINVAL, "nothing to move: the length is 0");
	data_run(fs->data, &op, 1);
	if (!op.status)
		return (ssize_t)len;
	if (op.status == -EPIPE && conn_error(fs->conn))
		return conn_error(fs->conn);
	switch (op.status) {
	case -ESTALE:
		return fail(op.status, "key %#llx is dead or unknown", (unsigned long long)key);
	case -EACCES:
		return fail(op.status, "key %#llx is not for this direction", (unsigned long long)key);
	case -ERANGE:
		return fail(op.status, "%zu bytes at %llu are not inside key %#llx", len, (unsigned long long)key_off,
			    (unsigned long long)key);
	case -EAGAIN:
		return fail(op.status, "key %#llx faults there: what it names cannot be moved as things are",
			    (unsigned long long)key);
	case -EPIPE:
		return fail(
		    -EOPNOTSUPP,
		    "there is no data path to the server (the session was opened without a fabric, or lost it)");
	default:
		return op.status;
	}
}

ssize_t client_raw_read(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len)
{
	return raw(fs, key, key_off, buf, len, FABRIC_OP_READ);
}

ssize_t client_raw_write(struct lh_fs *fs, uint64_t key, uint64_t key_off, const void *buf, size_t len)
{
	return raw(fs, key, key_off, (void *)(uintptr_t)buf, len, FABRIC_OP_WRITE);
}

void *client_buffer_get(struct lh_fs *fs, size_t len)
{
	return data_buffer_get(fs->data, len);
}

void client_buffer_put(struct lh_fs *fs, void *buf)
{
	data_buffer_put(fs->data, buf);
}
