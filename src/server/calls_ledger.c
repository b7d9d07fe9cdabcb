/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who holds what, who took it: leases, sessions, the audit, and revoking. Lists go in pages of the lowest numbers above
 * `after`, so that nothing is kept between requests. P34: root and the owner of the filesystem's root directory see
 * all, others what is their own uid's.
 */
#include "server/calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define AUDIT_BATCH 64u

/* The number of the file that a filter names; 0 when it names none. */
static int object_of(struct call *c, struct proto_str path, uint64_t *object)
{
	struct fs_attr attr;
	int err;

	*object = 0;
	if (path.len == 0 && !c->who.at[0])
		return 0;
	err = fs_stat(c->session->server->fs, &c->who, call_path(c, 0, path), true, &attr);
	if (!err)
		*object = attr.ino;
	return err;
}

static uint64_t length(struct range r)
{
	return range_empty(r) ? 0 : r.end - r.start;
}

/* Who asks, and what he may see. */
struct viewer {
	bool all;
	uint32_t uid;
};

static int viewer_of(struct call *c, struct viewer *out)
{
	out->uid = c->who.cred.uid;
	return call_is_administrator(c, &out->all);
}

static bool sees(const struct viewer *v, uint32_t uid)
{
	return v->all || v->uid == uid;
}

/* --- leases --- */

struct page {
	struct proto_lease_info at[PROTO_LEASES_MAX];
	struct {
		char host[PROTO_HOST_MAX + 1], pin[PROTO_KIND_MAX + 1];
	} text[PROTO_LEASES_MAX];
	unsigned count;
	bool more;
	const struct proto_fs_leases *filter;
	struct viewer viewer;
};

static bool page_wants(const struct page *p, const struct lease_info *info)
{
	const struct proto_fs_leases *f = p->filter;

	return info->lease > f->after && sees(&p->viewer, info->who.uid) &&
	       (f->number == 0 || f->number == info->lease) && (!f->by_uid || f->uid == info->who.uid);
}

/* Where number belongs; the page is ascending. PROTO_LEASES_MAX: not on it. */
static unsigned page_place(const struct page *p, uint64_t number)
{
	unsigned i = p->count;

	while (i > 0 && p->at[i - 1].number > number)
		i--;
	return i;
}

static struct proto_lease_info lease_wire(const struct lease_info *info)
{
	return (struct proto_lease_info){
	    .number = info->lease,
	    .ino = info->object,
	    .session = info->session,
	    .mode = info->mode,
	    .state = info->state == LEASE_RECALLING,
	    .uid = info->who.uid,
	    .gid = info->who.gid,
	    .pid = info->who.pid,
	    .range = {info->range.start, length(info->range)},
	    .bytes = info->bytes,
	    .pinned_bytes = info->pinned_bytes,
	    .age_ns = info->age_ns,
	    .recall_left_ns = info->recall_left_ns,
	    .handle = info->handle,
	    .flags = (info->exclusive ? PROTO_LEASE_EXCLUSIVE : 0) | (info->faulting ? PROTO_LEASE_FAULTING : 0),
	    .pins = info->pins,
	    .exclusive_left_ns = info->exclusive_left_ns,
	    .recalled_ns = info->recalled_ns,
	    .reason = proto_str_of(info->recalled_ns == UINT64_MAX ? "" : lease_reason_name(info->last_reason)),
	};
}

static void page_add(void *ctx, const struct lease_info *info)
{
	struct page *p = ctx;
	unsigned i;

	if (!page_wants(p, info))
		return;
	i = page_place(p, info->lease);
	if (p->count == PROTO_LEASES_MAX) {
		p->more = true;
		if (i == PROTO_LEASES_MAX)
			return;
		p->count--;
	}
	memmove(&p->at[i + 1], &p->at[i], (p->count - i) * sizeof(p->at[0]));
	memmove(&p->text[i + 1], &p->text[i], (p->count - i) * sizeof(p->text[0]));
	p->count++;
	p->at[i] = lease_wire(info);
	snprintf(p->text[i].host, sizeof(p->text[i].host), "%s", info->who.host);
	snprintf(p->text[i].pin, sizeof(p->text[i].pin), "%s", info->pin);
}

int call_fs_leases(struct call *c)
{
	const struct proto_fs_leases *in = &c->in->fs_leases;
	struct page *p = calloc(1, sizeof(*p));
	uint64_t object;
	int err;

	c->scratch = p;
	if (!p)
		return -ENOMEM;
	p->filter = in;
	err = viewer_of(c, &p->viewer);
	if (!err)
		err = object_of(c, in->path, &object);
	if (!err)
		err = lease_list(c->session->server->arbiter, object, in->session, page_add, p);
	if (err)
		return err;
	for (unsigned i = 0; i < p->count; i++) {
		p->at[i].host = proto_str_of(p->text[i].host);
		p->at[i].pin = proto_str_of(p->text[i].pin);
	}
	c->out.lease_list = (struct proto_lease_list){.more = p->more, .leases = {.host = p->at, .count = p->count}};
	return 0;
}

int call_fs_revoke(struct call *c)
{
	const struct proto_fs_revoke *in = &c->in->fs_revoke;
	struct session *s = c->session;
	uint64_t object;
	bool allowed;
	int n, err = call_is_administrator(c, &allowed);

	if (err)
		return err;
	if (!allowed)
		return fail(-EPERM, "revoke: only root and the owner of the filesystem's root directory may");
	if (!in->number && !in->session && !in->by_uid && !in->path.len)
		return fail(-EINVAL, "revoke: name a lease, a session, a uid or a file");
	err = object_of(c, in->path, &object);
	if (err)
		return err;
	n = lease_revoke_for(s->server->arbiter, in->number, object, in->session, in->by_uid ? in->uid : UINT32_MAX,
			     s->leases, "FS_REVOKE");
	if (n < 0)
		return n;
	c->out.count.count = (uint64_t)n;
	return 0;
}

/* --- sessions --- */

struct session_page {
	struct proto_session_info at[PROTO_LEASES_MAX];
	char host[PROTO_LEASES_MAX][PROTO_HOST_MAX + 1];
	unsigned count;
	bool more;
	struct viewer viewer;
	struct lh_server *server;
};

static bool session_add(void *ctx, const struct lease_session_info *info)
{
	struct session_page *p = ctx;
	uint64_t idle_ns = 0;
	bool away = false;

	if (!sees(&p->viewer, info->who.uid))
		return true;
	if (p->count == PROTO_LEASES_MAX) {
		p->more = true;
		return false;
	}
	/* Not there: a session of this process, or of another server of the same filesystem. */
	(void)session_look(p->server, info->session, &away, &idle_ns);
	snprintf(p->host[p->count], sizeof(p->host[0]), "%s", info->who.host);
	p->at[p->count] = (struct proto_session_info){
	    .number = info->session,
	    .leases = info->leases,
	    .pinned_bytes = info->pinned_bytes,
	    .age_ns = info->age_ns,
	    .idle_ns = idle_ns,
	    .recalls = info->recalls,
	    .forced = info->forced,
	    .slowest_ns = info->slowest_ns,
	    .bytes_limit = info->bytes_limit,
	    .leases_limit = info->leases_limit,
	    .uid = info->who.uid,
	    .gid = info->who.gid,
	    .pid = info->who.pid,
	    .state = away,
	    .host = proto_str_of(p->host[p->count]),
	};
	p->count++;
	return true;
}

int call_fs_sessions(struct call *c)
{
	struct session_page *p = calloc(1, sizeof(*p));
	int err;

	c->scratch = p;
	if (!p)
		return -ENOMEM;
	p->server = c->session->server;
	err = viewer_of(c, &p->viewer);
	if (!err)
		err = lease_sessions(p->server->arbiter, c->in->after.number, session_add, p);
	c->out.sessions = (struct proto_sessions){.more = p->more, .sessions = {.host = p->at, .count = p->count}};
	return err;
}

/* --- the audit --- */

struct audit_page {
	struct proto_audit at[PROTO_LEASES_MAX];
	char asked_by[PROTO_LEASES_MAX][PROTO_HOST_MAX + 1];
	unsigned count;
	struct lease_audit batch[AUDIT_BATCH];
};

static void audit_put(struct audit_page *p, const struct lease_audit *in)
{
	snprintf(p->asked_by[p->count], sizeof(p->asked_by[0]), "%s", in->asked_by);
	p->at[p->count] = (struct proto_audit){
	    .number = in->number,
	    .at_ns = in->at_ns,
	    .lease = in->lease,
	    .ino = in->object,
	    .session = in->session,
	    .uid = in->who.uid,
	    .pid = in->who.pid,
	    .mode = in->mode,
	    .range = {in->range.start, length(in->range)},
	    .took_ns = in->took_ns,
	    .asker_uid = in->asker_uid,
	    .asker_pid = in->asker_pid,
	    .asker_session = in->asker_session,
	    .reason = proto_str_of(lease_reason_name(in->reason)),
	    .asked_by = proto_str_of(p->asked_by[p->count]),
	};
	p->count++;
}

int call_fs_audit(struct call *c)
{
	struct lease_arbiter *arbiter = c->session->server->arbiter;
	struct audit_page *p = calloc(1, sizeof(*p));
	uint64_t cursor = c->in->after.number;
	struct viewer viewer;
	unsigned n = 1;
	int err;

	c->scratch = p;
	if (!p)
		return -ENOMEM;
	err = viewer_of(c, &viewer);
	if (err)
		return err;
	while (n > 0 && p->count < PROTO_LEASES_MAX) {
		n = lease_audit_read(arbiter, &cursor, p->batch,
				     (unsigned)min_u64(AUDIT_BATCH, PROTO_LEASES_MAX - p->count));
		for (unsigned i = 0; i < n; i++) {
			if (sees(&viewer, p->batch[i].who.uid))
				audit_put(p, &p->batch[i]);
		}
	}
	c->out.audits = (struct proto_audits){.more = n > 0, .audits = {.host = p->at, .count = p->count}};
	return 0;
}
