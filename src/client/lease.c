/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leases as the application sees them: they stay while the grants behind them come and go. A fault asks for the whole
 * missing piece if that can be had without waiting, and else for what the access needs (L4: a neighbour under recall
 * holds nobody up).
 */
#include "client/cache.h"
#include "client/client.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"

static uint64_t deadline_of(const struct lh_lease_options *o)
{
	if (o->flags & LH_LEASE_NOW)
		return PROTO_DEADLINE_NOW;
	return min_u64(o->deadline_ns, PROTO_DEADLINE_NOW - 1);
}

static struct lh_lease *lease_new(struct lh_file *file, struct range window, const struct lh_lease_options *o)
{
	struct lh_lease *lease = calloc(1, sizeof(*lease));

	if (!lease)
		return NULL;
	lease->head.be = &client_backend;
	lease->head.file = file;
	lease->mode = o->flags & LH_LEASE_WRITE ? PROTO_WRITE : PROTO_READ;
	lease->flags = o->flags;
	lease->exclusive = o->flags & LH_LEASE_EXCLUSIVE;
	lease->max_age_ns = o->max_age_ns;
	lease->deadline_ns = deadline_of(o);
	lease->window = window;
	lock_init(&lease->lock, RANK_PIN);
	cond_init(&lease->changed);
	TAILQ_INIT(&lease->grants);
	TAILQ_INIT(&lease->flying);
	return lease;
}

static void lease_free(struct lh_lease *lease)
{
	assert(TAILQ_EMPTY(&lease->grants) && TAILQ_EMPTY(&lease->flying) && !lease->leaving);
	map_free(&lease->map);
	cond_destroy(&lease->changed);
	lock_destroy(&lease->lock);
	free(lease);
}

struct lh_lease *client_lease_internal(struct lh_file *file)
{
	const struct lh_lease_options o = {.flags = LH_LEASE_READ};

	return lease_new(file, RANGE_ALL, &o);
}

void client_lease_internal_free(struct lh_lease *lease)
{
	lease_free(lease);
}

/* Out of every table. Returns the number to be released with an answer, the others are told already; 0: none. */
static uint64_t lease_unlink(struct lh_fs *fs, struct lh_lease *lease, uint32_t *seq)
{
	union proto_body body = {.lease_release = {.range = {0, UINT64_MAX}}};
	struct leaving *next;
	struct grant *g;

	lock_take(&fs->lock);
	lock_take(&lease->lock);
	assert(TAILQ_EMPTY(&lease->flying));
	TAILQ_REMOVE(&lease->head.file->leases, lease, in_file);
	for (struct leaving *l = lease->leaving; l; l = next) {
		next = l->next;
		fs->leaving--;
		free(l);
	}
	lease->leaving = NULL;
	for (g = TAILQ_FIRST(&lease->grants); g; g = TAILQ_FIRST(&lease->grants)) {
		if (body.lease_release.lease && !lease->dead)
			conn_tell(fs->conn, PROTO_LEASE_RELEASE, &body);
		body.lease_release.lease = g->number;
		body.lease_release.seq = g->seq;
		client_grant_drop(fs, g);
	}
	lock_drop(&lease->lock);
	lock_drop(&fs->lock);
	*seq = body.lease_release.seq;
	return body.lease_release.lease;
}

int client_lease_release(struct lh_lease *lease)
{
	struct lh_fs *fs = lease_session(lease);
	union proto_body body = {.lease_release = {.range = {0, UINT64_MAX}}};
	unsigned queued = atomic_load(&lease->queued);
	int err = 0;

	if (queued)
		return fail(-EBUSY, "%u operations of queues on this lease are outstanding; wait for them first",
			    queued);
	client_reclaim_wait(lease);
	body.lease_release.lease = lease_unlink(fs, lease, &body.lease_release.seq);
	client_events_forget(lease);
	/* Answered when the keys are dead (P47), the earlier ones' too: releases take effect in their order (P30). */
	if (body.lease_release.lease)
		err = conn_do(fs->conn, PROTO_LEASE_RELEASE, 0, &body);
	lease_free(lease);
	return err;
}

int client_lease_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
		     struct lh_lease **out)
{
	struct lh_fs *fs = file->head.fs;
	struct lh_lease *lease = lease_new(file, (struct range){off, off + len}, opt);
	uint32_t seq;
	int err;

	if (!lease)
		return -ENOMEM;
	lock_take(&fs->lock);
	TAILQ_INSERT_TAIL(&file->leases, lease, in_file);
	lock_drop(&fs->lock);
	err = client_lease_ask(lease, lease->window, opt->flags & LH_LEASE_NOWAIT);
	if ((err == -ENOMEM || err == -EDQUOT) && client_cache_yield(fs))
		err = client_lease_ask(lease, lease->window, opt->flags & LH_LEASE_NOWAIT);
	if (err) {
		lease_unlink(fs, lease, &seq);
		client_events_forget(lease);
		lease_free(lease);
		return err;
	}
	*out = lease;
	return 0;
}

void client_lease_internal_end(struct lh_lease *lease)
{
	struct lh_fs *fs = lease_session(lease);
	struct leaving *next;
	struct grant *g;

	lock_take(&fs->lock);
	lock_take(&lease->lock);
	assert(TAILQ_EMPTY(&lease->flying));
	TAILQ_REMOVE(&lease->head.file->leases, lease, in_file);
	for (struct leaving *l = lease->leaving; l; l = next) {
		next = l->next;
		fs->leaving--;
		free(l);
	}
	lease->leaving = NULL;
	for (g = TAILQ_FIRST(&lease->grants); g; g = TAILQ_FIRST(&lease->grants))
		client_grant_drop(fs, g);
	lock_drop(&lease->lock);
	lock_drop(&fs->lock);
	lease_free(lease);
}

/* --- faults --- */

/* Whether off is reached; hole: and not just as zeroes. Caller holds the lock. */
static bool reached(const struct lh_lease *lease, uint64_t off, bool hole)
{
	const struct run *run = map_at(&lease->map, off);

	return run && !(hole && !run->key);
}

/* Waits for a turn to ask. 0: this thread's; 1: off is reached now; or an error. */
static int fault_turn(struct lh_lease *lease, uint64_t off, bool hole, struct range *gap)
{
	uint64_t before = atomic_load(&lease_session(lease)->interrupts);
	int err = 0;

	lock_take(&lease->lock);
	while (!err && !lease->dead && !reached(lease, off, hole) &&
	       (client_coming_back(lease) || (lease->faulting && !(lease->flags & LH_LEASE_MANUAL)))) {
		cond_wait(&lease->changed, &lease->lock);
		err = client_interrupted(lease_session(lease), before);
	}
	if (lease->dead) {
		err = -ENOTCONN;
	} else if (reached(lease, off, hole)) {
		err = 1;
	} else if (err) {
		/* The thread that asked was let go, and so are we. */
	} else if (lease->flags & LH_LEASE_MANUAL) {
		err = lease->lost ? -ESTALE : -EOPNOTSUPP;
	} else {
		lease->faulting = true;
		*gap = hole && map_at(&lease->map, off) ? range_cut(map_at(&lease->map, off)->range, lease->window)
							: map_gap(&lease->map, off, lease->window);
	}
	lock_drop(&lease->lock);
	if (err == -ENOTCONN)
		return conn_error(lease_session(lease)->conn);
	if (err == -ESTALE)
		return fail(err, "byte %llu of the lease was recalled or revoked; release the lease and get a new one",
			    (unsigned long long)off);
	return err;
}

static int fault_ask(struct lh_lease *lease, uint64_t off, uint64_t len, struct range gap)
{
	struct range need = {round_down_u64(off, LH_BLOCK_SIZE), round_up_u64(off + len, LH_BLOCK_SIZE)};
	/* A reader at somebody's gate need not wait for what is done behind it: a call reads at once. */
	bool reads = lease->mode == PROTO_READ;
	bool nowait = (lease->flags & LH_LEASE_NOWAIT) || reads;
	int err;

	need = range_cut(need, gap);
	if (range_covers(need, gap))
		return client_lease_ask(lease, gap, nowait);
	err = client_lease_ask(lease, gap, true);
	if ((err == -EAGAIN && !reads) || err == -ENOSPC || err == -EDQUOT || err == -ENOMEM)
		err = client_lease_ask(lease, need, nowait);
	return err;
}

int client_lease_fault(struct lh_lease *lease, uint64_t off, uint64_t len, bool hole)
{
	struct range gap = {0};
	int err = fault_turn(lease, off, hole, &gap);

	if (err)
		return err > 0 ? 0 : err;
	err = fault_ask(lease, off, len, gap);
	lock_take(&lease->lock);
	lease->faulting = false;
	if (!err)
		atomic_fetch_add(&lease->faults, 1);
	if (err == -ENODATA)
		lease->expected.end = min_u64(lease->expected.end, gap.start);
	cond_wake_all(&lease->changed);
	lock_drop(&lease->lock);
	return err;
}

/* --- commit and looking --- */

int client_lease_commit(struct lh_lease *lease, uint64_t off, uint64_t len)
{
	uint64_t size = UINT64_MAX;
	int err;

	if (lease->mode != PROTO_WRITE)
		return fail(-EBADF, "commit: this is a READ lease");
	if (!range_covers(lease->window, (struct range){off, off + len}))
		return fail(-ERANGE, "commit: %llu bytes at %llu are not inside the lease", (unsigned long long)len,
			    (unsigned long long)off);
	err = client_commit(lease->head.file, (struct range){off, off + len}, &size);
	if (size == UINT64_MAX)
		return err;
	lock_take(&lease->lock);
	lease->size = size;
	lease->changes++;
	lock_drop(&lease->lock);
	return err;
}

int client_lease_state(struct lh_lease *lease, struct lh_lease_state *out)
{
	uint64_t now = clock_now_ns();

	out->mode = lease->mode == PROTO_WRITE ? LH_LEASE_WRITE : LH_LEASE_READ;
	out->flags = lease->flags & LH_LEASE_FAULTING;
	out->off = lease->window.start;
	out->len = lease->window.end - lease->window.start;
	out->faults = atomic_load(&lease->faults);
	out->recalls = atomic_load(&lease->recalls);
	out->revocations = atomic_load(&lease->revocations);
	lock_take(&lease->lock);
	out->number = lease->number;
	out->flags |= lease->exclusive ? LH_LEASE_EXCLUSIVE : 0;
	out->exclusive_left_ns =
	    !lease->dead && lease->map.count > 0 && lease->deny_until_ns > now ? lease->deny_until_ns - now : 0;
	out->held = !lease->dead && lease->map.count > 0 && map_covers(&lease->map, lease->expected);
	lock_drop(&lease->lock);
	return 0;
}

int client_lease_extents(struct lh_lease *lease, struct lh_lease_extent *out, unsigned max)
{
	unsigned n = 0;

	lock_take(&lease->lock);
	for (unsigned i = 0; i < lease->map.count && n < max; i++) {
		const struct run *run = &lease->map.runs[i];

		if (run->key)
			out[n++] = (struct lh_lease_extent){.file_off = run->range.start,
							    .len = run->range.end - run->range.start,
							    .key = run->key,
							    .key_off = run->key_off};
	}
	lock_drop(&lease->lock);
	return (int)n;
}
