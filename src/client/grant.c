/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Grants: the numbers behind a lease, and how they are asked for and given back.
 *
 * A range is given back when nothing is in flight on it (L15, P47). Nobody waits for that: the range leaves the map, so
 * that nothing new starts on it, and the last operation that overlaps it sends the RELEASE as it ends. An operation
 * cannot take long, and if it does the server takes the range by force and the operation goes again elsewhere.
 */
#include "client/cache.h"
#include "client/client.h"

#include <assert.h>
#include <stdlib.h>

static const struct proto_range everything = {0, UINT64_MAX};

static struct grant **grant_bucket(struct lh_fs *fs, uint64_t number)
{
	return &fs->grants[number % CLIENT_BUCKETS];
}

struct grant *client_grant_find(struct lh_fs *fs, uint64_t number)
{
	struct grant *g = *grant_bucket(fs, number);

	lock_assert_held(RANK_CLIENT);
	while (g && g->number != number)
		g = g->next;
	return g;
}

void client_grant_enter(struct lh_fs *fs, struct grant *g, struct lh_lease *lease)
{
	lock_assert_held(RANK_CLIENT);
	lock_assert_held(RANK_PIN);
	g->lease = lease;
	g->next = *grant_bucket(fs, g->number);
	*grant_bucket(fs, g->number) = g;
	TAILQ_INSERT_TAIL(&lease->grants, g, in_lease);
	lease->number = g->number;
}

void client_grant_drop(struct lh_fs *fs, struct grant *g)
{
	struct grant **at = grant_bucket(fs, g->number);

	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	TAILQ_REMOVE(&g->lease->grants, g, in_lease);
	ranges_fini(&g->held);
	free(g);
}

static void tell_release(struct lh_fs *fs, const struct grant *g, struct proto_range range)
{
	union proto_body body = {.lease_release = {.lease = g->number, .seq = g->seq, .range = range}};

	conn_tell(fs->conn, PROTO_LEASE_RELEASE, &body);
}

/* Whether something of the lease is still reached through g, or is on its way out. */
static bool grant_used(struct lh_fs *fs, const struct grant *g)
{
	const struct lh_lease *lease = g->lease;

	if (fs->continued == g->number)
		return true;
	for (const struct leaving *l = lease->leaving; l; l = l->next) {
		if (l->grant == g)
			return true;
	}
	for (unsigned i = 0; i < lease->map.count; i++) {
		if (lease->map.runs[i].lease == g->number)
			return true;
	}
	return false;
}

/* Nothing left of it: the server hears of the whole number, which it may release more of (P45), and both forget it. */
static void grant_leave_now(struct lh_fs *fs, struct grant *g, struct range range)
{
	if (grant_used(fs, g)) {
		tell_release(fs, g, (struct proto_range){range.start, range.end - range.start});
		return;
	}
	tell_release(fs, g, everything);
	client_grant_drop(fs, g);
}

/* Whether something flies over the range; *queued: whether one of them is a queue's. */
static bool in_flight(const struct lh_lease *lease, struct range range, bool *queued)
{
	const struct flight *f;
	bool found = false;

	*queued = false;
	TAILQ_FOREACH (f, &lease->flying, in_lease) {
		if (!range_overlaps(f->range, range))
			continue;
		found = true;
		*queued |= f->queued;
	}
	return found;
}

void client_grant_leave(struct lh_fs *fs, struct grant *g, struct range range)
{
	bool queued;
	struct leaving *l = in_flight(g->lease, range, &queued) ? malloc(sizeof(*l)) : NULL;

	lock_assert_held(RANK_CLIENT);
	lock_assert_held(RANK_PIN);
	if (!ranges_cut(&g->held, range))
		ranges_cut(&g->held, (struct range){range.start, RANGE_MAX});
	/* Without memory it goes now: the operation then finds a dead key, and heals. */
	if (!l) {
		grant_leave_now(fs, g, range);
		return;
	}
	*l = (struct leaving){.next = g->lease->leaving, .grant = g, .range = range};
	g->lease->leaving = l;
	fs->leaving++;
	if (queued)
		conn_tick(fs->conn);
}

/* Marks the grants through which something is reached, or is on its way out. */
static void mark_used(struct lh_fs *fs, struct lh_lease *lease)
{
	struct grant *g = NULL;

	TAILQ_FOREACH (g, &lease->grants, in_lease)
		g->used = fs->continued == g->number;
	for (const struct leaving *l = lease->leaving; l; l = l->next)
		l->grant->used = true;
	g = NULL;
	for (unsigned i = 0; i < lease->map.count; i++) {
		if (!g || g->number != lease->map.runs[i].lease)
			g = client_grant_find(fs, lease->map.runs[i].lease);
		if (g)
			g->used = true;
	}
}

void client_lease_sweep(struct lh_lease *lease)
{
	struct lh_fs *fs = lease_session(lease);
	struct leaving **at = &lease->leaving;
	struct grant *g, *next;
	bool queued;

	lock_assert_held(RANK_CLIENT);
	lock_assert_held(RANK_PIN);
	while (*at) {
		struct leaving *l = *at;

		if (in_flight(lease, l->range, &queued)) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		fs->leaving--;
		grant_leave_now(fs, l->grant, l->range);
		free(l);
		/* The grant may be gone, and with it nothing else of the list: its other entries keep it in use. */
	}
	mark_used(fs, lease);
	for (g = TAILQ_FIRST(&lease->grants); g; g = next) {
		next = TAILQ_NEXT(g, in_lease);
		if (!g->used)
			grant_leave_now(fs, g, RANGE_ALL);
	}
}

void client_lease_forget(struct lh_fs *fs, struct lh_lease *lease, struct range r)
{
	struct grant *g, *next;

	lock_assert_held(RANK_CLIENT);
	lock_assert_held(RANK_PIN);
	map_cut(&lease->map, r, MAP_ANY_LEASE);
	lease->changes++;
	for (g = TAILQ_FIRST(&lease->grants); g; g = next) {
		next = TAILQ_NEXT(g, in_lease);
		if (range_overlaps(g->range, r) && fs->continued != g->number)
			client_grant_leave(fs, g, range_cut(g->range, r));
	}
}

void client_flight_end(struct lh_lease *lease, struct flight *f)
{
	struct lh_fs *fs = lease_session(lease);
	bool more;

	lock_take(&lease->lock);
	TAILQ_REMOVE(&lease->flying, f, in_lease);
	more = lease->leaving != NULL;
	lock_drop(&lease->lock);
	/* It entered what it wrote after the notice about the cut was heard. */
	if (unlikely(!range_empty(f->cut)))
		client_dirty_cut(lease->head.file, f->cut);
	if (likely(!more))
		return;
	lock_take(&fs->lock);
	lock_take(&lease->lock);
	client_lease_sweep(lease);
	lock_drop(&lease->lock);
	lock_drop(&fs->lock);
}

/*
 * One LEASE_GET. 1: a notice overtook the grant; 2: to be asked for in another way, with *own or without: what it was
 * before the server restarted cannot be taken back, or may stand in its own way.
 */
static int ask_once(struct lh_lease *lease, struct range range, bool nowait, bool *own)
{
	struct lh_fs *fs = lease_session(lease);
	struct lease_get get = {.fs = fs, .lease = lease, .grant = calloc(1, sizeof(*get.grant))};
	union proto_body body = {.lease_get = {.handle = lease->head.file->handle,
					       .range = {range.start, range.end - range.start},
					       .mode = lease->mode,
					       .flags = lease->flags & LH_LEASE_FAULTING ? PROTO_LEASE_FAULTING : 0,
					       .deadline_ns = lease->deadline_ns}};
	unsigned restarts = client_restarts(fs);
	struct call call;
	int err;

	if (!get.grant)
		return -ENOMEM;
	lock_take(&lease->lock);
	get.shrinks = lease->shrinks;
	lock_drop(&lease->lock);
	client_deny_ask(lease, &body.lease_get);
	if (*own && (body.lease_get.flags & PROTO_LEASE_EXCLUSIVE))
		body.lease_get.flags |= PROTO_LEASE_RECLAIM;
	call_init(&call);
	call.arrived = client_granted;
	call.ctx = &get;
	err = conn_call(fs->conn, &call, PROTO_LEASE_GET, client_flags(fs) | (nowait ? PROTO_NOWAIT : 0), &body);
	call_fini(&call);
	free(get.grant);
	if (err == -ESTALE && (body.lease_get.flags & PROTO_LEASE_RECLAIM)) {
		/* Too late, or somebody was let in meanwhile: it is got as anybody gets one. */
		lock_take(&lease->lock);
		lease->reclaim = false;
		lock_drop(&lease->lock);
		*own = false;
		return 2;
	}
	if (err == -ETXTBSY && (body.lease_get.flags & PROTO_LEASE_EXCLUSIVE) && restarts != client_restarts(fs)) {
		/* Asked of the server before it died, which granted it: what denies it may be its own claim. */
		*own = true;
		return 2;
	}
	if (err)
		return err;
	return get.forgotten ? 1 : 0;
}

static void sweep(struct lh_lease *lease)
{
	struct lh_fs *fs = lease_session(lease);

	lock_take(&fs->lock);
	lock_take(&lease->lock);
	client_lease_sweep(lease);
	lock_drop(&lease->lock);
	lock_drop(&fs->lock);
}

int client_lease_ask(struct lh_lease *lease, struct range range, bool nowait)
{
	bool own = false;
	int err = 1;

	assert(!range_empty(range));
	for (unsigned try = 0; err > 0 && try < CLIENT_TRIES_MAX; try++)
		err = ask_once(lease, range, nowait, &own);
	if (err > 0)
		return fail(-EAGAIN, "the range is taken away faster than it is granted; try again");
	if (err)
		return err;
	sweep(lease);
	return 0;
}

int client_lease_take_back(struct lh_lease *lease, struct range range)
{
	bool own = false;
	int err = ask_once(lease, range, true, &own);

	if (err > 0)
		return err == 2 ? -ESTALE : -EAGAIN;
	if (!err)
		sweep(lease);
	return err;
}
