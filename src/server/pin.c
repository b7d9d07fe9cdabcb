/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pins of a lease: which fabric keys of the session's domain stand for which bytes of the file.
 *
 * I4: keys are made in place(), which the fs calls for a lease that is about to be granted or was moved, and die in
 * drain(), before the range is anybody else's. The mask is the lease's mode: a READ key cannot write, a WRITE key
 * cannot read. One key a run: a drain that cuts a run gives what remains a key of its own first, kills the old one, and
 * tells the client (LAYOUT, P42) before the call that caused it is answered.
 *
 * A faulting lease (L33) has keys of ranges instead of runs: every chunk is looked up through the open file, which
 * lives as long as its leases do (L24). The fs moves what is under them without a word to this file. What was written
 * through one is flushed by its place in the file, without PIN, as that takes INODE. The drain that undoes a grant
 * comes with INODE held; but then nobody has heard of the key.
 *
 * P43: until its grant was announced a pin tells nothing; the announcement is made from the pin's state at that moment,
 * under PIN, so that no change of the layout can fall between. Holes are runs without a key, for readers only: a write
 * into one must fault.
 */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* A grant this wide may have much to flush when it is released (dispatch.c). */
#define PIN_WIDE        ((uint64_t)1 << 20)
#define PIN_RUN_BYTES   32u /* of a run on the wire */
#define PIN_FIXED_BYTES 64u /* of LAYOUT and of the grant, without their lists */

struct pin_run {
	uint64_t file_off, len, pool_off;
	struct fabric_key key;
	bool hole;
};
struct pin_runs {
	struct pin_run *at;
	unsigned count, cap;
};

struct pin {
	struct lock lock; /* PIN */
	struct session *session;
	struct fs_handle *fh; /* of a faulting lease; else NULL */
	struct fabric_resolver resolver;
	struct range unflushed; /* faulting: what was written through keys that died */
	atomic_uint refs;       /* the maker's, the arbiter's */
	uint64_t lease;
	uint32_t seq;
	enum lease_mode mode;
	struct range range;   /* hull of what was placed */
	struct pin_runs runs; /* ascending, apart */
	bool announced, gone, wide;
};

static uint64_t run_end(const struct pin_run *r)
{
	return r->file_off + r->len;
}

static int runs_add(struct pin_runs *runs, const struct pin_run *r)
{
	if (runs->count == runs->cap) {
		unsigned cap = runs->cap ? runs->cap * 2 : 4;
		struct pin_run *at = reallocarray(runs->at, cap, sizeof(*at));

		if (!at)
			return -ENOMEM;
		runs->at = at;
		runs->cap = cap;
	}
	runs->at[runs->count++] = *r;
	return 0;
}

static int resolver_enter(struct fabric_resolver *r, enum fabric_access access, uint64_t at, uint64_t len,
			  struct fabric_place *out)
{
	const struct pin *p = container_of(r, struct pin, resolver);
	struct fs_chunk chunk;
	int err = fs_fault_enter(p->fh, access == FABRIC_WRITE ? LEASE_WRITE : LEASE_READ, at, len, &chunk);

	if (!err)
		*out = (struct fabric_place){.mem = chunk.mem, .len = chunk.len};
	return err;
}

static void resolver_leave(struct fabric_resolver *r, enum fabric_access access)
{
	fs_fault_leave(container_of(r, struct pin, resolver)->fh, access == FABRIC_WRITE ? LEASE_WRITE : LEASE_READ);
}

static int run_expose(struct pin *p, struct pin_run *r)
{
	struct fs_run run = {.file_off = r->file_off, .len = r->len, .pool_off = r->pool_off};
	unsigned access = p->mode == LEASE_WRITE ? FABRIC_WRITE : FABRIC_READ;

	if (r->hole)
		return 0;
	if (p->fh)
		return fabric_expose_faulting(p->session->domain, &p->resolver, r->file_off, r->len, access, &r->key);
	return fabric_expose(p->session->domain, fs_run_window(p->session->server->fs, &run), r->len, access, &r->key);
}

/* The proof that the key is dead, and what was written through it brought to safety (L28). */
static void run_revoke(struct pin *p, const struct pin_run *r)
{
	struct fabric_receipt receipt = {0};
	uint64_t end;
	int err;

	if (r->hole)
		return;
	err = fabric_revoke(p->session->domain, r->key, &receipt);
	assert(err == 0);
	(void)err;
	end = min_u64(receipt.dirty_end, r->len);
	if (receipt.dirty_start >= end)
		return;
	if (p->fh)
		range_join(&p->unflushed, (struct range){r->file_off + receipt.dirty_start, r->file_off + end});
	else
		fs_run_flush(p->session->server->fs, r->pool_off + receipt.dirty_start, end - receipt.dirty_start);
}

/* Adds the part of r inside keep, with a key of its own. What gets none is unknown to the client: slower, not wrong
 * (P40). */
static void run_keep(struct pin *p, struct pin_runs *out, const struct pin_run *r, struct range keep)
{
	struct range part = range_cut((struct range){r->file_off, run_end(r)}, keep);
	struct pin_run rest = {.file_off = part.start, .len = part.end - part.start, .hole = r->hole};

	if (range_empty(part))
		return;
	rest.pool_off = r->pool_off + (part.start - r->file_off);
	if (run_expose(p, &rest))
		return;
	if (runs_add(out, &rest))
		run_revoke(p, &rest);
}

/* --- telling the client --- */

static struct proto_run run_wire(const struct pin_run *r)
{
	return (struct proto_run){.file_off = r->file_off, .len = r->len, .key = r->hole ? 0 : r->key.number};
}

/* Writes LAYOUTs for runs[first, end) of range, one after another; the last ends with the range's end. */
static size_t put_layouts(struct pin *p, struct range range, const struct pin_runs *runs, unsigned first,
			  unsigned flags, uint8_t *buf, size_t cap)
{
	struct proto_header h = {.type = PROTO_LAYOUT, .epoch = p->session->epoch};
	struct proto_run wire[PROTO_RUNS_MAX];
	union proto_body body;
	uint64_t start = range.start;
	size_t used = 0;
	bool last;

	do {
		unsigned n = runs->count - first < PROTO_RUNS_MAX ? runs->count - first : PROTO_RUNS_MAX;
		uint64_t end;
		ssize_t len;

		for (unsigned i = 0; i < n; i++)
			wire[i] = run_wire(&runs->at[first + i]);
		first += n;
		last = first == runs->count;
		end = last ? range.end : runs->at[first].file_off;
		h.flags = last ? 0 : (uint16_t)flags;
		memset(&body, 0, sizeof(body));
		body.layout = (struct proto_layout){.lease = p->lease,
						    .seq = p->seq,
						    .range = {start, end - start},
						    .runs = {.host = wire, .count = n}};
		start = end;
		len = proto_encode(&h, &body, buf + used, cap - used);
		assert(len > 0);
		used += (size_t)len;
	} while (!last);
	return used;
}

static size_t layouts_size(const struct pin_runs *runs)
{
	size_t messages = runs->count / PROTO_RUNS_MAX + 2;

	return messages * (PROTO_HEADER_SIZE + PIN_FIXED_BYTES) + (size_t)runs->count * PIN_RUN_BYTES;
}

/* Caller holds PIN. */
static void tell_layout(struct pin *p, struct range range, const struct pin_runs *runs)
{
	size_t cap = layouts_size(runs);
	struct out_buf *b;

	if (!p->announced)
		return;
	b = output_buf_new(cap);
	if (!b) {
		log_warn("server", "lease %llu: no memory to tell its holder of a moved run",
			 (unsigned long long)p->lease);
		return; /* its keys are stale: it asks anew (P44) */
	}
	b->len = put_layouts(p, range, runs, 0, 0, b->bytes, cap);
	output_buf(p->session, b);
}

int pin_announce(struct pin *p, const struct proto_header *request, const struct fs_lease *lease)
{
	struct proto_header h = {
	    .type = PROTO_LEASE_GET, .flags = PROTO_REPLY, .seq = request->seq, .epoch = p->session->epoch};
	struct proto_run *wire = NULL;
	union proto_body body = {0};
	struct out_buf *b;
	size_t cap;
	ssize_t len;
	unsigned n;

	lock_take(&p->lock);
	n = p->runs.count < PROTO_RUNS_MAX ? p->runs.count : PROTO_RUNS_MAX;
	cap = layouts_size(&p->runs);
	b = output_buf_new(cap);
	wire = calloc(n + 1, sizeof(*wire));
	if (!b || !wire) {
		lock_drop(&p->lock);
		free(b);
		free(wire);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n; i++)
		wire[i] = run_wire(&p->runs.at[i]);
	if (n < p->runs.count)
		h.flags |= PROTO_MORE;
	body.lease_granted = (struct proto_lease_granted){
	    .lease = lease->lease,
	    .seq = p->seq,
	    .mode = p->mode,
	    .range = {lease->range.start, lease->range.end - lease->range.start},
	    .size = lease->size,
	    .flags = (p->fh ? PROTO_LEASE_FAULTING : 0) | (lease->exclusive_left_ns ? PROTO_LEASE_EXCLUSIVE : 0),
	    .exclusive_left_ns = lease->exclusive_left_ns,
	    .runs = {.host = wire, .count = n}};
	len = proto_encode(&h, &body, b->bytes, cap);
	assert(len > 0);
	b->len = (size_t)len;
	if (n < p->runs.count)
		b->len += put_layouts(p, (struct range){p->runs.at[n].file_off, lease->range.end}, &p->runs, n,
				      PROTO_MORE, b->bytes + b->len, cap - b->len);
	p->announced = true;
	output_buf(p->session, b);
	lock_drop(&p->lock);
	free(wire);
	return 0;
}

/* --- the fs's and the arbiter's calls --- */

/* Takes range out of the runs. *hull: the file range whose runs changed; rests: what is left in it. Caller holds PIN.
 */
static bool cut(struct pin *p, struct range range, struct range *hull, struct pin_runs *rests)
{
	unsigned first = 0, last;
	unsigned room;

	while (first < p->runs.count && run_end(&p->runs.at[first]) <= range.start)
		first++;
	last = first;
	while (last < p->runs.count && p->runs.at[last].file_off < range.end)
		last++;
	if (first == last)
		return false;
	*hull = (struct range){p->runs.at[first].file_off, run_end(&p->runs.at[last - 1])};
	run_keep(p, rests, &p->runs.at[first], (struct range){0, range.start});
	run_keep(p, rests, &p->runs.at[last - 1], (struct range){range.end, RANGE_MAX});
	for (unsigned i = first; i < last; i++)
		run_revoke(p, &p->runs.at[i]);
	/* One run cut in two needs a place more; without memory its second half becomes unknown. */
	room = last - first;
	if (rests->count > room && runs_add(&p->runs, &rests->at[1])) {
		run_revoke(p, &rests->at[1]);
		rests->count--;
	} else if (rests->count > room) {
		memmove(&p->runs.at[last + 1], &p->runs.at[last], (p->runs.count - 1 - last) * sizeof(*p->runs.at));
		p->runs.at[last] = rests->at[1];
		last++;
	}
	if (rests->count)
		memcpy(&p->runs.at[first], rests->at, (rests->count < room ? rests->count : room) * sizeof(*rests->at));
	if (rests->count < room) {
		memmove(&p->runs.at[first + rests->count], &p->runs.at[last],
			(p->runs.count - last) * sizeof(*p->runs.at));
		p->runs.count -= room - rests->count;
	}
	return true;
}

static void pin_drain(void *arg, struct range range)
{
	struct pin *p = arg;
	struct pin_runs rests = {0};
	struct range hull, unflushed = {0, 0};

	lock_take(&p->lock);
	/* A range that goes whole leaves nothing to tell: who gave it back or lost it hears that anyway. */
	if (cut(p, range, &hull, &rests) && rests.count)
		tell_layout(p, hull, &rests);
	if (p->announced) {
		unflushed = p->unflushed;
		p->unflushed = (struct range){0, 0};
	}
	lock_drop(&p->lock);
	free(rests.at);
	if (!range_empty(unflushed))
		fs_fault_flush(p->fh, unflushed);
}

static void wide_set(struct pin *p)
{
	if (p->wide || p->mode != LEASE_WRITE || p->range.end - p->range.start <= PIN_WIDE)
		return;
	p->wide = true;
	atomic_fetch_add(&p->session->wide_writes, 1);
}

static void pin_free(struct pin *p)
{
	if (p->wide)
		atomic_fetch_sub(&p->session->wide_writes, 1);
	lock_destroy(&p->lock);
	free(p->runs.at);
	free(p);
}

static void pin_drop(struct pin *p)
{
	if (atomic_fetch_sub(&p->refs, 1) == 1)
		pin_free(p);
}

static void pin_gone(void *arg)
{
	struct pin *p = arg;

	pin_drain(p, RANGE_ALL);
	lock_take(&p->lock);
	p->gone = true;
	lock_drop(&p->lock);
	pin_drop(p);
}

static int add_exposed(struct pin *p, struct pin_runs *out, struct pin_run run)
{
	int err = run_expose(p, &run);

	if (!err && runs_add(out, &run)) {
		run_revoke(p, &run);
		err = -ENOMEM;
	}
	return err;
}

/* The runs that place() asked for, exposed; with the holes between them for readers. */
static int build(struct pin *p, struct range range, const struct fs_run *in, unsigned count, struct pin_runs *out)
{
	bool holes = p->mode == LEASE_READ;
	uint64_t at = range.start;
	int err = 0;

	if (p->fh)
		return add_exposed(p, out, (struct pin_run){.file_off = range.start, .len = range.end - range.start});
	for (unsigned i = 0; i <= count && !err; i++) {
		uint64_t next = i < count ? in[i].file_off : range.end;
		struct pin_run hole = {.file_off = at, .len = next - at, .hole = true};
		struct pin_run run;

		assert(next >= at);
		if (holes && hole.len)
			err = runs_add(out, &hole);
		if (err || i == count)
			break;
		run = (struct pin_run){.file_off = in[i].file_off, .len = in[i].len, .pool_off = in[i].pool_off};
		err = add_exposed(p, out, run);
		at = run_end(&run);
	}
	return err;
}

/* Puts fresh, whose range was cut free, among the runs. */
static int merge(struct pin *p, struct range range, const struct pin_runs *fresh)
{
	size_t total = (size_t)p->runs.count + fresh->count;
	struct pin_run *all = calloc(total + 1, sizeof(*all));
	unsigned before = 0;

	if (!all)
		return -ENOMEM;
	while (before < p->runs.count && p->runs.at[before].file_off < range.start)
		before++;
	if (before)
		memcpy(all, p->runs.at, before * sizeof(*all));
	if (fresh->count)
		memcpy(all + before, fresh->at, fresh->count * sizeof(*all));
	if (before < p->runs.count)
		memcpy(all + before + fresh->count, p->runs.at + before, (p->runs.count - before) * sizeof(*all));
	free(p->runs.at);
	p->runs = (struct pin_runs){.at = all, .count = (unsigned)total, .cap = (unsigned)total + 1};
	return 0;
}

static int pin_place(void *arg, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range range,
		     const struct fs_run *runs, unsigned count)
{
	struct pin *p = arg;
	struct pin_runs fresh = {0}, rests = {0};
	struct range hull;
	int err;

	lock_take(&p->lock);
	p->mode = mode;
	p->range =
	    p->lease ? (struct range){min_u64(p->range.start, range.start), max_u64(p->range.end, range.end)} : range;
	p->lease = lease;
	p->seq = seq;
	wide_set(p);
	cut(p, range, &hull, &rests); /* drained already: nothing, but for a caller who placed twice */
	err = build(p, range, runs, count, &fresh);
	if (!err)
		err = merge(p, range, &fresh);
	if (err) {
		for (unsigned i = 0; i < fresh.count; i++)
			run_revoke(p, &fresh.at[i]);
	} else {
		tell_layout(p, range, &fresh);
	}
	lock_drop(&p->lock);
	free(fresh.at);
	free(rests.at);
	return err;
}

static const struct lease_pin_ops pin_ops = {.name = "key", .drain = pin_drain, .gone = pin_gone};

int pin_new(struct session *s, struct fs_handle *faulting, struct pin **out)
{
	struct pin *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	lock_init(&p->lock, RANK_PIN);
	p->session = s;
	p->fh = faulting;
	p->resolver = (struct fabric_resolver){.enter = resolver_enter, .leave = resolver_leave};
	atomic_init(&p->refs, 2);
	*out = p;
	return 0;
}

void pin_describe(struct pin *pin, struct fs_pin *out)
{
	*out = (struct fs_pin){.ops = &pin_ops, .place = pin_place, .pin = pin};
}

void pin_put(struct pin *p, bool failed)
{
	bool gone;

	if (failed) {
		pin_drain(p, RANGE_ALL);
		lock_take(&p->lock);
		gone = p->gone;
		lock_drop(&p->lock);
		if (!gone)
			pin_drop(p); /* the arbiter never had it */
	}
	pin_drop(p);
}
