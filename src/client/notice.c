/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the server says about leases: grants, layouts, recalls, revocations (docs/protocol.md 5). All of it runs in the
 * thread that reads the connection, in the order of the wire, and waits for nothing.
 */
#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define RUNS_AT_ONCE 256u /* entered in one piece: entering moves what lies behind */

/* As kept until lh_event_next. */
struct notice {
	struct lh_lease *lease;
	enum lh_event_type type;
	struct range range;
	uint64_t deadline_ns; /* by clock_now_ns */
	bool stop;
	char reason[32];
};

/* --- runs --- */

/* P40, P15: NULL or the broken rule. */
static const char *runs_check(const struct proto_list *runs, struct range range)
{
	struct proto_run r;
	uint32_t cursor = 0;
	uint64_t at = range.start;
	uint64_t end, key_end;

	while (proto_run_next(runs, &cursor, &r)) {
		if (r.len == 0 || add_overflows(r.file_off, r.len, &end) || add_overflows(r.key_off, r.len, &key_end))
			return "P40 a run is empty or wraps";
		if (r.file_off < at || end > range.end)
			return "P40 runs are not ascending inside the range";
		at = end;
	}
	return NULL;
}

/*
 * Caller holds the lease's lock. Runs that find no memory stay unknown. A cached lease knows nothing behind the end of
 * the file: whoever makes it longer tells nobody.
 */
static void runs_put(struct lh_lease *lease, const struct grant *g, const struct proto_list *runs)
{
	uint64_t limit = lease->cache ? g->limit : UINT64_MAX;
	struct run some[RUNS_AT_ONCE];
	struct proto_run r;
	uint32_t cursor = 0;
	unsigned n = 0;

	while (proto_run_next(runs, &cursor, &r)) {
		some[n] = (struct run){.range = {r.file_off, min_u64(r.file_off + r.len, limit)},
				       .key = r.key,
				       .key_off = r.key_off,
				       .lease = g->number};
		n += !range_empty(some[n].range);
		if (n < RUNS_AT_ONCE)
			continue;
		map_put_all(&lease->map, some, n);
		n = 0;
	}
	map_put_all(&lease->map, some, n);
}

/* Caller holds the lease's lock. */
static void lease_changed(struct lh_lease *lease)
{
	lease->changes++;
	cond_wake_all(&lease->changed);
}

/* --- grants --- */

static struct range range_of(struct proto_range r)
{
	return (struct range){r.off, r.off + r.len};
}

/* Forgets what no LEASE_GET that still waits can be about. Caller holds fs->lock. */
static void remembered_expire(struct lh_fs *fs)
{
	uint64_t oldest = fs->remembered ? conn_oldest(fs->conn, PROTO_LEASE_GET) : 0;
	struct remembered **at = &fs->remembered;

	while (*at) {
		struct remembered *r = *at;

		if (r->upto >= oldest) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		free(r);
		fs->remembered_count--;
	}
}

static struct remembered *remembered_find(struct lh_fs *fs, uint64_t number)
{
	struct remembered *r = fs->remembered;

	while (r && r->number != number)
		r = r->next;
	return r;
}

/* Caller holds fs->lock. */
static const char *remember(struct lh_fs *fs, const struct proto_recall *recall, bool revoked)
{
	uint64_t newest = conn_newest(fs->conn, PROTO_LEASE_GET);
	struct remembered *r = remembered_find(fs, recall->lease);

	if (r) {
		r->seq = recall->seq > r->seq ? recall->seq : r->seq;
		r->revoked |= revoked;
		return NULL;
	}
	if (newest == 0)
		return NULL;
	remembered_expire(fs);
	r = fs->remembered_count < CLIENT_REMEMBERED_MAX ? malloc(sizeof(*r)) : NULL;
	if (!r)
		return "P48 more notices of unknown leases than can be remembered";
	*r = (struct remembered){
	    .next = fs->remembered, .number = recall->lease, .upto = newest, .seq = recall->seq, .revoked = revoked};
	fs->remembered = r;
	fs->remembered_count++;
	return NULL;
}

static void tell_release_all(struct lh_fs *fs, uint64_t number, uint32_t seq)
{
	union proto_body body = {.lease_release = {.lease = number, .seq = seq, .range = {0, UINT64_MAX}}};

	conn_tell(fs->conn, PROTO_LEASE_RELEASE, &body);
}

/* Caller holds both locks. */
static void grant_install(struct lease_get *get, const struct proto_lease_granted *g)
{
	struct lh_lease *lease = get->lease;
	struct grant *grant = get->grant;

	grant->number = g->lease;
	grant->seq = g->seq;
	grant->range = range_of(g->range);
	ranges_init(&grant->held);
	ranges_add(&grant->held, grant->range);
	/* The size may be from before this session's own truncate. */
	grant->limit = get->shrinks == lease->shrinks ? g->size : 0;
	client_grant_enter(get->fs, grant, lease);
	get->grant = NULL;
	get->granted = range_of(g->range);
	runs_put(lease, grant, &g->runs);
	if ((g->flags & PROTO_LEASE_EXCLUSIVE) && !lease->deny_until_ns)
		lease->deny_until_ns = client_deny_until(g->exclusive_left_ns);
	lease->size = g->size;
	lease->size_old = false;
	if (range_empty(lease->expected)) {
		lease->expected = range_cut(get->granted, lease->window);
	} else {
		lease->expected.start = min_u64(lease->expected.start, get->granted.start);
		lease->expected.end = max_u64(lease->expected.end, get->granted.end);
		lease->expected = range_cut(lease->expected, lease->window);
	}
	lease_changed(lease);
}

enum call_verdict client_granted(struct call *call, const struct proto_header *h, const union proto_body *body,
				 const char **rule)
{
	const struct proto_lease_granted *g = &body->lease_granted;
	struct lease_get *get = call->ctx;
	struct lh_fs *fs = get->fs;
	bool more = h->flags & PROTO_MORE;
	struct remembered *r;

	*rule = runs_check(&g->runs, range_of(g->range));
	if (*rule)
		return CALL_BROKEN;
	lock_take(&fs->lock);
	if (g->lease == 0 || client_grant_find(fs, g->lease) || g->mode != get->lease->mode) {
		lock_drop(&fs->lock);
		*rule = "section 5: a lease's number is given twice, or its mode is another";
		return CALL_BROKEN;
	}
	r = remembered_find(fs, g->lease);
	if (r) {
		get->forgotten = true;
		if (r->revoked)
			tell_release_all(fs, g->lease, g->seq > r->seq ? g->seq : r->seq);
		more = false; /* what follows is of a number that nobody knows, and ignored */
	} else {
		lock_take(&get->lease->lock);
		grant_install(get, g);
		lock_drop(&get->lease->lock);
	}
	remembered_expire(fs);
	if (more) {
		fs->continued = g->lease;
		fs->continued_call = call;
	}
	lock_drop(&fs->lock);
	return more ? CALL_MORE : CALL_DONE;
}

/* --- events --- */

static void event_push(struct lh_fs *fs, const struct notice *n)
{
	if (evqueue_push(fs->events, n))
		log_warn("client", "%u events wait to be read, one more is lost: its lease will be taken by force",
			 CLIENT_EVENTS_MAX);
}

static void event_of(struct lh_fs *fs, struct lh_lease *lease, enum lh_event_type type, const struct proto_recall *r)
{
	struct notice n = {.lease = lease,
			   .type = type,
			   .range = range_cut(range_of(r->range), lease->window),
			   .stop = r->kind == PROTO_STOP};

	if (type == LH_EVENT_RECALL && add_overflows(clock_now_ns(), r->left_ns, &n.deadline_ns))
		n.deadline_ns = UINT64_MAX;
	proto_str_copy(r->reason_text, n.reason, sizeof(n.reason));
	event_push(fs, &n);
}

/*
 * What a recall takes. When the data is going away the file may end inside a block that stays; then the whole block
 * goes, so that the next access learns the new size with it.
 */
static struct range recall_range(const struct proto_recall *r)
{
	struct range range = range_of(r->range);

	if (r->kind == PROTO_STOP)
		range.start = round_down_u64(range.start, LH_BLOCK_SIZE);
	return range;
}

/* The file may end in the range soon, and a LAYOUT about the rest of its last block does not say where. */
static void grant_shorten(struct grant *g, const struct proto_recall *r)
{
	struct range range = recall_range(r);

	if (r->kind == PROTO_STOP && range.end >= min_u64(g->limit, g->range.end))
		g->limit = min_u64(g->limit, range.start);
}

/* Caller holds both locks. */
static void recalled(struct lh_fs *fs, struct grant *g, const struct proto_recall *r)
{
	struct lh_lease *lease = g->lease;
	struct range range = recall_range(r);

	atomic_fetch_add(&lease->recalls, 1);
	grant_shorten(g, r);
	if (r->kind == PROTO_STOP)
		lease->size_old = true;
	if (lease->flags & LH_LEASE_MANUAL) {
		event_of(fs, lease, LH_EVENT_RECALL, r);
		return;
	}
	map_cut(&lease->map, range, g->number);
	lease->lost = true;
	lease_changed(lease);
	client_grant_leave(fs, g, range);
}

/* Caller holds both locks. */
static void revoked(struct lh_fs *fs, struct grant *g, const struct proto_recall *r)
{
	struct lh_lease *lease = g->lease;

	atomic_fetch_add(&lease->revocations, 1);
	grant_shorten(g, r);
	map_cut(&lease->map, recall_range(r), g->number);
	lease->lost = true;
	lease->size_old = true;
	lease_changed(lease);
	if (lease->flags & LH_LEASE_MANUAL)
		event_of(fs, lease, LH_EVENT_REVOKED, r);
	client_lease_sweep(lease);
}

/* Caller holds both locks. What flies over r will land in vain. */
static void flights_cut(struct lh_lease *lease, struct range r)
{
	struct flight *f;

	TAILQ_FOREACH (f, &lease->flying, in_lease) {
		if (range_overlaps(f->range, r))
			f->cut = range_empty(f->cut) ? r : (struct range){min_u64(f->cut.start, r.start), RANGE_MAX};
	}
}

/* A truncate takes away what lies in the range: nothing there is to be committed, or the file would grow again. */
static bool notice_cuts(const struct proto_recall *r)
{
	static const char truncate[] = "truncate";

	return r->kind == PROTO_STOP && r->reason_text.len == strlen(truncate) &&
	       memcmp(r->reason_text.bytes, truncate, strlen(truncate)) == 0;
}

static const char *event_notice(struct lh_fs *fs, bool force, const struct proto_recall *r)
{
	struct range gone = notice_cuts(r) ? (struct range){r->range.off, RANGE_MAX} : (struct range){0, 0};
	struct grant *g = client_grant_find(fs, r->lease);
	struct lh_lease *lease;
	struct lh_file *file;

	if (!g) {
		if (!force)
			tell_release_all(fs, r->lease, r->seq);
		return remember(fs, r, force);
	}
	g->seq = r->seq > g->seq ? r->seq : g->seq;
	/* The lease lives as long as its grants are in the table, which the session's lock guards. */
	lease = g->lease;
	file = lease->head.file;
	lock_take(&lease->lock);
	flights_cut(lease, gone);
	if (force)
		revoked(fs, g, r);
	else
		recalled(fs, g, r);
	lock_drop(&lease->lock);
	if (!range_empty(gone))
		client_dirty_cut(file, gone);
	return NULL;
}

/* What of r was given back is not ours, whatever the server said before it heard that. Caller holds the lock. */
static void layout_clip(struct lh_lease *lease, const struct grant *g, struct range r)
{
	const struct range *held = ranges_at(&g->held);
	uint64_t at = r.start;

	for (unsigned i = ranges_find(&g->held, at); i < g->held.count && held[i].start < r.end; i++) {
		map_cut(&lease->map, (struct range){at, held[i].start}, g->number);
		at = held[i].end;
	}
	map_cut(&lease->map, (struct range){at, r.end}, g->number);
}

static const char *event_layout(struct lh_fs *fs, bool more, const struct proto_layout *l)
{
	struct grant *g = client_grant_find(fs, l->lease);
	const char *rule = runs_check(&l->runs, range_of(l->range));
	struct lh_lease *lease;

	if (rule || !g)
		return rule;
	lease = g->lease;
	lock_take(&lease->lock);
	g->seq = l->seq > g->seq ? l->seq : g->seq;
	map_cut(&lease->map, range_of(l->range), g->number);
	runs_put(lease, g, &l->runs);
	layout_clip(lease, g, range_of(l->range));
	if (fs->continued != l->lease)
		lease->size_old = true;
	lease_changed(lease);
	lock_drop(&lease->lock);
	if (fs->continued == l->lease && !more) {
		fs->continued = 0;
		conn_finish(fs->conn, fs->continued_call);
		fs->continued_call = NULL;
	}
	return NULL;
}

const char *client_event(void *ctx, const struct proto_header *h, const union proto_body *body)
{
	struct lh_fs *fs = ctx;
	const char *rule = NULL;

	lock_take(&fs->lock);
	if (h->type == PROTO_CHANGED)
		client_changed(fs, &body->changed);
	else if (h->type == PROTO_LAYOUT)
		rule = event_layout(fs, h->flags & PROTO_MORE, &body->layout);
	else
		rule = event_notice(fs, h->type == PROTO_REVOKED, &body->recall);
	lock_drop(&fs->lock);
	return rule;
}

void client_event_lost(struct lh_fs *fs, struct lh_lease *lease)
{
	struct notice n = {.lease = lease, .type = LH_EVENT_REVOKED, .range = lease->window, .stop = true};

	snprintf(n.reason, sizeof(n.reason), "session ended");
	event_push(fs, &n);
}

/* Caller holds fs->lock. */
static void lease_dies(struct lh_fs *fs, struct lh_lease *lease)
{
	struct notice n = {.lease = lease, .type = LH_EVENT_REVOKED, .range = lease->window, .stop = true};
	struct leaving *next;

	lock_take(&lease->lock);
	lease->dead = true;
	map_cut(&lease->map, RANGE_ALL, MAP_ANY_LEASE);
	for (struct leaving *l = lease->leaving; l; l = next) {
		next = l->next;
		fs->leaving--;
		free(l);
	}
	lease->leaving = NULL;
	lease_changed(lease);
	lock_drop(&lease->lock);
	snprintf(n.reason, sizeof(n.reason), "session ended");
	if (lease->flags & LH_LEASE_MANUAL)
		event_push(fs, &n);
}

/* Queues make progress only while somebody looks at them; a recall must not wait for that. */
bool client_tick(void *ctx)
{
	struct lh_fs *fs = ctx;
	struct data *data;
	bool more;

	lock_take(&fs->lock);
	data = fs->data;
	lock_drop(&fs->lock);
	if (data)
		data_progress(data);
	lock_take(&fs->lock);
	more = fs->leaving > 0;
	lock_drop(&fs->lock);
	return more;
}

void client_dead(void *ctx)
{
	struct lh_fs *fs = ctx;
	struct lh_file *file;
	struct lh_lease *lease;
	struct data *data;

	lock_take(&fs->lock);
	fs->continued = 0;
	fs->continued_call = NULL;
	client_watch_lost(fs);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		TAILQ_FOREACH (lease, &file->leases, in_file)
			lease_dies(fs, lease);
	}
	data = fs->data;
	lock_drop(&fs->lock);
	if (data)
		data_shutdown(data);
}

/* --- for the application --- */

int client_events_new(struct lh_fs *fs)
{
	return evqueue_new(sizeof(struct notice), CLIENT_EVENTS_MAX, &fs->events);
}

static bool notice_is_of(void *ctx, const void *record)
{
	return ((const struct notice *)record)->lease == ctx;
}

void client_events_forget(struct lh_lease *lease)
{
	evqueue_remove(lease_session(lease)->events, notice_is_of, lease);
}

int client_event_fd(struct lh_fs *fs)
{
	return evqueue_fd(fs->events);
}

int client_event_next(struct lh_fs *fs, struct lh_event *out)
{
	uint64_t now = clock_now_ns();
	struct notice n;
	int got = evqueue_pop(fs->events, &n);

	if (got <= 0)
		return got;
	out->type = n.type;
	out->lease = n.lease;
	out->off = n.range.start;
	out->len = range_empty(n.range) ? 0 : n.range.end - n.range.start;
	out->deadline_left_ns = n.deadline_ns > now ? n.deadline_ns - now : 0;
	out->stop = n.stop;
	memcpy(out->reason, n.reason, sizeof(out->reason));
	return 1;
}
