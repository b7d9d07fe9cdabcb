/* SPDX-License-Identifier: BSD-2-Clause */
/* Leases: get, change, release, fault, commit. */
#include "server/calls.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

/* A grant up to this size is tried in the loop. Wider ones may have much to allocate and to zero first (L27). */
#define GRANT_INLINE ((uint64_t)1 << 20)

_Static_assert(PROTO_DEADLINE_NOW == LEASE_DEADLINE_NOW, "one number for D = 0");
_Static_assert((int)PROTO_READ == (int)LEASE_READ && (int)PROTO_WRITE == (int)LEASE_WRITE, "modes");

static struct range range_of(struct proto_range r)
{
	return (struct range){r.off, r.off + r.len};
}

/* The pin's runs become the answer; or the lease goes back when nobody waits for it any more. */
static int announce(struct call *c, struct pin *pin, const struct fs_lease *lease)
{
	struct session *s = c->session;
	int err;

	if (atomic_load(&s->gone)) {
		lease_release(s->leases, lease->lease, RANGE_ALL);
		call_answering(c);
		return CALL_ANSWERED;
	}
	call_answering(c);
	err = pin_announce(pin, c->header, lease);
	if (!err)
		return CALL_ANSWERED;
	lease_release(s->leases, lease->lease, RANGE_ALL);
	return err;
}

int call_lease_get(struct call *c)
{
	const struct proto_lease_get *in = &c->in->lease_get;
	struct session *s = c->session;
	struct fs_lease_args args = {.range = range_of(in->range),
				     .mode = in->mode,
				     .handle_number = in->handle,
				     .deadline_ns = in->deadline_ns,
				     .nowait = !c->may_wait || c->who.nowait,
				     .exclusive = in->flags & PROTO_LEASE_EXCLUSIVE,
				     .faulting = in->flags & PROTO_LEASE_FAULTING,
				     .max_age_ns = in->max_age_ns,
				     .client = s->client,
				     .reclaim = in->flags & PROTO_LEASE_RECLAIM};
	struct fs_pin describe;
	struct fs_lease lease;
	struct fs_handle *fh;
	struct pin *pin;
	int err;

	if (in->mode == PROTO_WRITE && s->read_only)
		return fail(-EROFS, "lease: this session was opened read-only");
	if (args.reclaim && !args.exclusive)
		return fail(-EINVAL, "lease: only an EXCLUSIVE lease can be reclaimed");
	if (!c->may_wait && in->range.len > GRANT_INLINE)
		return CALL_LATER;
	err = handle_get(s, in->handle, &fh);
	if (err)
		return err;
	err = pin_new(s, args.faulting ? fh : NULL, &pin);
	if (err)
		goto out;
	pin_describe(pin, &describe);
	args.pin = &describe;
	err = fs_lease_get(fh, &c->who, &args, &lease);
	if (!err)
		err = announce(c, pin, &lease);
	else if (err == -EAGAIN && !c->may_wait && !c->who.nowait)
		err = CALL_LATER;
	pin_put(pin, err < 0 || err == CALL_LATER);
out:
	handle_put(s, in->handle);
	return err;
}

/*
 * L23. Its keys in the new mode went out as LAYOUTs when the pin was placed, before this answer (P43), so the answer
 * has no runs (P66).
 */
int call_lease_change(struct call *c)
{
	const struct proto_lease_change *in = &c->in->lease_change;
	struct session *s = c->session;
	struct fs_lease_args args = {.mode = in->mode,
				     .nowait = c->who.nowait,
				     .exclusive = in->flags & PROTO_LEASE_EXCLUSIVE,
				     .max_age_ns = in->max_age_ns,
				     .client = s->client};
	struct lease_info info;
	struct fs_lease lease;
	struct fs_handle *fh;
	int err;

	if (in->mode == PROTO_WRITE && s->read_only)
		return fail(-EROFS, "lease: this session was opened read-only");
	err = lease_look(s->leases, in->lease, &info);
	if (!err)
		err = handle_get(s, info.handle, &fh);
	if (err)
		return fail(-ESTALE, "lease %llu is not held any more", (unsigned long long)in->lease);
	args.range = info.range;
	args.handle_number = info.handle;
	args.faulting = info.faulting;
	err = fs_lease_change(fh, &c->who, in->lease, &args, &lease);
	handle_put(s, info.handle);
	if (err)
		return err;
	c->out.lease_granted = (struct proto_lease_granted){
	    .lease = lease.lease,
	    .seq = lease.seq,
	    .mode = in->mode,
	    .range = {lease.range.start, lease.range.end - lease.range.start},
	    .size = lease.size,
	    .flags = (info.faulting ? PROTO_LEASE_FAULTING : 0) | (in->flags & PROTO_LEASE_EXCLUSIVE),
	    .exclusive_left_ns = lease.exclusive_left_ns,
	};
	return 0;
}

int call_lease_release(struct call *c)
{
	const struct proto_lease_release *in = &c->in->lease_release;

	return lease_release(c->session->leases, in->lease, range_of(in->range));
}

/* L33: the client says where a key of its lease faulted. */
int call_lease_fault(struct call *c)
{
	const struct proto_lease_fault *in = &c->in->lease_fault;
	struct session *s = c->session;
	struct range range = range_of(in->range);
	struct lease_info info;
	struct fs_handle *fh;
	int err = lease_look(s->leases, in->lease, &info);

	if (err || !info.faulting)
		return fail(-ESTALE, "fault: this session holds no faulting lease %llu", (unsigned long long)in->lease);
	if (!range_covers(info.range, range))
		return fail(-ERANGE, "fault: %llu bytes at %llu are not inside the lease",
			    (unsigned long long)in->range.len, (unsigned long long)in->range.off);
	err = handle_get(s, info.handle, &fh);
	if (err)
		return err;
	err = fs_lease_fault(fh, &c->who, info.mode, range, &c->out.lease_faulted.size);
	handle_put(s, info.handle);
	return err;
}

int call_lease_commit(struct call *c)
{
	const struct proto_file_range *in = &c->in->file_range;
	struct fs_handle *fh;
	struct fs_attr attr;
	int err = handle_get(c->session, in->handle, &fh);

	if (err)
		return err;
	err = fs_commit_written(fh, &c->who, in->range.off, in->range.len);
	if (!err)
		err = fs_fstat(fh, &attr);
	handle_put(c->session, in->handle);
	if (err)
		return err;
	c->out.committed = (struct proto_committed){.boot = c->session->server->boot, .size = attr.size};
	return 0;
}
