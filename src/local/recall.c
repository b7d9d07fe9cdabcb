/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the arbiter tells this session, and the answers.
 *
 * The notices come from whatever thread breaks a lease and must not block, so they only leave a mark: on the part for
 * the healer thread, which releases what was recalled (the next access faults it in again, L15), or as an event for the
 * application when the lease is MANUAL. In-flight direct operations need no waiting here: draining a key lets the
 * running chunk finish, and the rest of the operation faults and goes on at the new place.
 *
 * A notice for a number that is not in the table crossed its own grant: the pin will not attach, and the getter tries
 * again (L11).
 */
#include "local/local.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

struct event {
	struct lh_lease *lease;
	enum lh_event_type type;
	struct range range;
	uint64_t deadline_ns; /* by clock_now_ns */
	enum lease_kind kind;
	enum lease_reason reason;
};

/* Caller holds table. */
static struct part *part_by_number(struct lh_fs *fs, uint64_t number)
{
	struct part key = {.number = number};

	lock_assert_held(RANK_PIN);
	return RB_FIND(part_tree, &fs->parts, &key);
}

/* Caller holds table, so that the lease cannot be released between the look and the push. */
static void event_push(struct lh_fs *fs, struct lh_lease *lease, enum lh_event_type type, const struct lease_recall *r)
{
	struct event e = {
	    .lease = lease,
	    .type = type,
	    .range = range_cut(r->range, lease->range),
	    .kind = r->kind,
	    .reason = r->reason,
	};

	if (lease->closed)
		return;
	if (r->deadline_ns > r->now_ns)
		e.deadline_ns = clock_now_ns() + (r->deadline_ns - r->now_ns);
	if (evqueue_push(fs->events, &e) != 0)
		log_warn("local", "lease %llu: %u events are waiting to be read, this one is lost",
			 (unsigned long long)r->lease, LOCAL_EVENTS_MAX);
}

/* Caller holds table. */
static void pending_add(struct lh_fs *fs, struct part *p, struct range range)
{
	if (range_empty(p->pending)) {
		p->pending = range;
		TAILQ_INSERT_TAIL(&fs->pending, p, in_pending);
		cond_wake_all(&fs->wake);
	} else {
		p->pending.start = min_u64(p->pending.start, range.start);
		p->pending.end = max_u64(p->pending.end, range.end);
	}
}

static void on_recall(void *ctx, const struct lease_recall *r)
{
	struct lh_fs *fs = ctx;
	bool at_once = false;
	struct part *p;

	lock_take(&fs->table);
	p = part_by_number(fs, r->lease);
	if (p != NULL) {
		atomic_fetch_add(&p->lease->recalls, 1);
		if (p->lease->manual)
			event_push(fs, p->lease, LH_EVENT_RECALL, r);
		else if (!range_empty(r->range))
			pending_add(fs, p, r->range);
	} else {
		at_once = device_recalled(fs, r);
	}
	lock_drop(&fs->table);
	if (at_once)
		device_release(fs, r->lease, r->range);
}

static void on_revoked(void *ctx, const struct lease_recall *r)
{
	struct lh_fs *fs = ctx;
	struct part *p;

	lock_take(&fs->table);
	p = part_by_number(fs, r->lease);
	if (p != NULL) {
		atomic_fetch_add(&p->lease->revocations, 1);
		if (p->lease->manual)
			event_push(fs, p->lease, LH_EVENT_REVOKED, r);
	}
	lock_drop(&fs->table);
}

const struct lease_session_ops local_session_ops = {.recall = on_recall, .revoked = on_revoked};

static void *healer(void *arg)
{
	struct lh_fs *fs = arg;
	struct part *p;

	lock_take(&fs->table);
	while (!fs->stop) {
		struct range range;
		uint64_t number;

		p = TAILQ_FIRST(&fs->pending);
		if (p == NULL) {
			cond_wait(&fs->wake, &fs->table);
			continue;
		}
		TAILQ_REMOVE(&fs->pending, p, in_pending);
		range = p->pending;
		number = p->number;
		p->pending = (struct range){0, 0};
		lock_drop(&fs->table);
		(void)lease_release(fs->session, number, range);
		lock_take(&fs->table);
	}
	lock_drop(&fs->table);
	return NULL;
}

int local_healer_start(struct lh_fs *fs)
{
	int err;

	TAILQ_INIT(&fs->pending);
	cond_init(&fs->wake);
	fs->stop = false;
	err = pthread_create(&fs->healer, NULL, healer, fs);
	if (err) {
		cond_destroy(&fs->wake);
		return fail(-err, "%s: cannot start a thread: %s", fs->pool->name, strerror(err));
	}
	return 0;
}

void local_healer_stop(struct lh_fs *fs)
{
	lock_take(&fs->table);
	fs->stop = true;
	cond_wake_all(&fs->wake);
	lock_drop(&fs->table);
	pthread_join(fs->healer, NULL);
	cond_destroy(&fs->wake);
}

int local_events_new(struct lh_fs *fs)
{
	return evqueue_new(sizeof(struct event), LOCAL_EVENTS_MAX, &fs->events);
}

static bool is_of_lease(void *ctx, const void *record)
{
	return ((const struct event *)record)->lease == ctx;
}

void local_events_forget(struct lh_lease *lease)
{
	lock_take(&lease->fs->table);
	lease->closed = true;
	lock_drop(&lease->fs->table);
	if (lease->manual)
		(void)evqueue_remove(lease->fs->events, is_of_lease, lease);
}

int local_event_fd(struct lh_fs *fs)
{
	return evqueue_fd(fs->events);
}

int local_event_next(struct lh_fs *fs, struct lh_event *out)
{
	uint64_t now = clock_now_ns();
	struct event e;

	if (evqueue_pop(fs->events, &e) == 0)
		return 0;
	out->type = e.type;
	out->lease = e.lease;
	out->off = e.range.start;
	out->len = range_empty(e.range) ? 0 : e.range.end - e.range.start;
	out->deadline_left_ns = e.deadline_ns > now ? e.deadline_ns - now : 0;
	out->stop = e.kind == LEASE_STOP;
	snprintf(out->reason, sizeof(out->reason), "%s", lease_reason_name(e.reason));
	return 1;
}
