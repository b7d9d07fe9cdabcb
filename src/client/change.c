/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lease gets another mode (L23), and calls that wait for others' leases are let go.
 *
 * Who changes a lease has the turn that faults take too, so that nobody asks for a piece in the mode that is about to
 * go. The new keys come as LAYOUTs before the answer; the answer is looked at where the events are, so that a recall
 * behind it finds the lease in its new mode.
 */
#include "client/client.h"

#include "base/clock.h"

void client_fs_interrupt(struct lh_fs *fs)
{
	union proto_body body = {0};

	/* First the mark: a thread that is woken because another's call was interrupted is to see it. */
	atomic_fetch_add(&fs->interrupts, 1);
	conn_tell(fs->conn, PROTO_CANCEL, &body);
}

/* Waits for the turn to ask the server about the lease. */
static int turn_take(struct lh_lease *lease)
{
	struct lh_fs *fs = lease_session(lease);
	uint64_t before = atomic_load(&fs->interrupts);
	int err = 0;

	lock_take(&lease->lock);
	while ((lease->faulting || client_coming_back(lease)) && !lease->dead && !err) {
		cond_wait(&lease->changed, &lease->lock);
		err = client_interrupted(fs, before);
	}
	if (lease->dead)
		err = -ENOTCONN;
	if (!err)
		lease->faulting = true;
	lock_drop(&lease->lock);
	return err == -ENOTCONN ? conn_error(fs->conn) : err;
}

static void turn_drop(struct lh_lease *lease)
{
	lock_take(&lease->lock);
	lease->faulting = false;
	cond_wake_all(&lease->changed);
	lock_drop(&lease->lock);
}

static int broken(void)
{
	return fail(-ESTALE, "lease: it was recalled or revoked meanwhile, and has the mode that it had");
}

/* The one grant that is all of the lease; asked for anew when it has several. */
static int change_number(struct lh_lease *lease, uint64_t *number)
{
	struct lh_fs *fs = lease_session(lease);
	bool held, whole;
	int err = 0;

	lock_take(&fs->lock);
	lock_take(&lease->lock);
	held = lease->map.count > 0 && map_covers(&lease->map, lease->expected);
	whole = !lease->broken && TAILQ_FIRST(&lease->grants) && !TAILQ_NEXT(TAILQ_FIRST(&lease->grants), in_lease);
	lock_drop(&lease->lock);
	lock_drop(&fs->lock);
	if (!held)
		return broken();
	if (!whole)
		err = client_lease_ask(lease, lease->window, lease->flags & LH_LEASE_NOWAIT);
	lock_take(&lease->lock);
	*number = lease->number;
	lock_drop(&lease->lock);
	return err;
}

struct change {
	struct lh_lease *lease;
	const struct proto_lease_change *asked;
};

static enum call_verdict changed(struct call *call, const struct proto_header *h, const union proto_body *body,
				 const char **rule)
{
	const struct proto_lease_granted *g = &body->lease_granted;
	struct change *c = call->ctx;
	struct lh_lease *lease = c->lease;

	if (g->lease != c->asked->lease || g->mode != c->asked->mode || g->runs.count != 0) {
		*rule = "P66 the answer of LEASE_CHANGE is of another lease or mode, or has runs";
		return CALL_BROKEN;
	}
	lock_take(&lease->lock);
	lease->mode = g->mode;
	lease->exclusive = g->flags & PROTO_LEASE_EXCLUSIVE;
	lease->max_age_ns = c->asked->max_age_ns;
	lease->deny_until_ns = lease->exclusive ? client_deny_until(g->exclusive_left_ns) : 0;
	lease->size = g->size;
	lease->changes++;
	cond_wake_all(&lease->changed);
	lock_drop(&lease->lock);
	return CALL_DONE;
}

static int change(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns)
{
	struct lh_fs *fs = lease_session(lease);
	union proto_body body = {.lease_change = {.mode = flags & LH_LEASE_WRITE ? PROTO_WRITE : PROTO_READ,
						  .flags = flags & LH_LEASE_EXCLUSIVE ? PROTO_LEASE_EXCLUSIVE : 0,
						  .max_age_ns = max_age_ns}};
	struct change c = {.lease = lease, .asked = &body.lease_change};
	bool nowait = lease->flags & LH_LEASE_NOWAIT;
	struct call call;
	int err = change_number(lease, &body.lease_change.lease);

	if (err)
		return err;
	call_init(&call);
	call.arrived = changed;
	call.ctx = &c;
	err = conn_call(fs->conn, &call, PROTO_LEASE_CHANGE, client_flags(fs) | (nowait ? PROTO_NOWAIT : 0), &body);
	call_fini(&call);
	lock_take(&lease->lock);
	lease->broken = err == -ESTALE;
	lock_drop(&lease->lock);
	return err == -ESTALE ? broken() : err;
}

int client_lease_change(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns)
{
	int err = turn_take(lease);

	if (err)
		return err;
	err = change(lease, flags, max_age_ns);
	turn_drop(lease);
	return err;
}

/* --- exclusive (L22) ---------------------------------------------------------------------------------------------- */

int client_interrupted(struct lh_fs *fs, uint64_t before)
{
	return atomic_load(&fs->interrupts) == before ? 0
						      : fail(-EINTR, "interrupted while waiting for others' leases");
}

uint64_t client_deny_until(uint64_t left_ns)
{
	uint64_t at;

	return add_overflows(clock_now_ns(), left_ns, &at) ? UINT64_MAX : at;
}

/* A piece that is got again denies changes as long as the lease would have, had it not been taken. */
void client_deny_ask(struct lh_lease *lease, struct proto_lease_get *get)
{
	uint64_t now = clock_now_ns();

	lock_take(&lease->lock);
	if (lease->exclusive && (!lease->deny_until_ns || lease->deny_until_ns > now)) {
		get->flags |= PROTO_LEASE_EXCLUSIVE;
		get->max_age_ns = lease->deny_until_ns ? lease->deny_until_ns - now : lease->max_age_ns;
		if (lease->reclaim)
			get->flags |= PROTO_LEASE_RECLAIM;
	}
	lock_drop(&lease->lock);
}
