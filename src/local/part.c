/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pin consumer of the in-process backend: keys for the runs of one grant.
 *
 * Invariant: the spans of a part are ascending and apart, lie inside what the arbiter granted, and each that is not a
 * hole has a live key of exactly its bytes, no wider than the grant's mode (I4). Bytes of the lease outside all spans
 * are *missing*: whoever wants them faults.
 *
 * A faulting lease (L33) has one span a part, whose key is looked up in the fs for every chunk. What was written
 * through it is flushed by its place in the file, under INODE; so not by a drain that comes with INODE held, which only
 * one does that undoes a grant (`live`).
 *
 * drain() may not fail. What it cannot do for lack of memory or keys (keeping the rest of a key that is cut in the
 * middle) only makes more bytes missing, which costs a fault and nothing else.
 */
#include "local/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

static int part_compare(struct part *a, struct part *b)
{
	return a->number < b->number ? -1 : a->number > b->number;
}
RB_GENERATE(part_tree, part, by_number, part_compare)

void lease_unref(struct lh_lease *lease)
{
	if (atomic_fetch_sub(&lease->refs, 1) != 1)
		return;
	assert(TAILQ_EMPTY(&lease->parts));
	cond_destroy(&lease->turn);
	lock_destroy(&lease->lock);
	free(lease);
}

/* --- spans; all with the lease's lock held --- */

static uint64_t span_end(const struct span *s)
{
	return s->off + s->len;
}

/* Index of the first span that ends behind off. */
static unsigned span_lower(const struct part *p, uint64_t off)
{
	unsigned lo = 0, hi = p->count;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (span_end(&p->spans[mid]) <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int span_reserve(struct part *p, size_t more)
{
	size_t want = (size_t)p->count + more;
	struct span *grown;

	if (want <= p->capacity)
		return 0;
	want += want / 2;
	if (want > UINT32_MAX)
		return -ENOMEM;
	grown = reallocarray(p->spans, want, sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	p->spans = grown;
	p->capacity = (unsigned)want;
	return 0;
}

/* The lease's may change while a chunk is on its way; the key's does not. */
static enum lease_mode mode_of(enum fabric_access access)
{
	return access & FABRIC_WRITE ? LEASE_WRITE : LEASE_READ;
}

static int resolver_enter(struct fabric_resolver *r, enum fabric_access access, uint64_t at, uint64_t len,
			  struct fabric_place *out)
{
	const struct lh_lease *lease = container_of(r, struct lh_lease, resolver);
	struct fs_chunk chunk;
	int err = fs_fault_enter(lease->head.file->handle, mode_of(access), at, len, &chunk);

	if (!err)
		*out = (struct fabric_place){.mem = chunk.mem, .len = chunk.len};
	return err;
}

static void resolver_leave(struct fabric_resolver *r, enum fabric_access access)
{
	const struct lh_lease *lease = container_of(r, struct lh_lease, resolver);

	fs_fault_leave(lease->head.file->handle, mode_of(access));
}

const struct fabric_resolver local_resolver = {.enter = resolver_enter, .leave = resolver_leave};

static int span_expose(struct part *p, struct span *s)
{
	struct fs_run run = {.file_off = s->off, .len = s->len, .pool_off = s->pool_off};
	unsigned access = p->mode == LEASE_WRITE ? FABRIC_WRITE : FABRIC_READ;
	struct lh_fs *fs = p->lease->fs;

	if (s->hole)
		return 0;
	if (p->lease->by_place)
		return fabric_expose_faulting(fs->domain, &p->lease->resolver, s->off, s->len, access, &s->key);
	return fabric_expose(fs->domain, fs_run_window(fs->fs, &run), s->len, access, &s->key);
}

/* Kills the key, with proof, and writes back what was written through it (L28). */
static void span_revoke(struct part *p, const struct span *s)
{
	struct lh_fs *fs = p->lease->fs;
	struct fabric_receipt receipt = {0};
	uint64_t end;
	int err;

	if (s->hole)
		return;
	err = fabric_revoke(fs->domain, s->key, &receipt);
	assert(err == 0);
	(void)err;
	end = min_u64(receipt.dirty_end, s->len);
	if (receipt.dirty_start >= end)
		return;
	if (p->lease->by_place)
		range_join(&p->unflushed, (struct range){s->off + receipt.dirty_start, s->off + end});
	else
		fs_run_flush(fs->fs, s->pool_off + receipt.dirty_start, end - receipt.dirty_start);
}

/* Without locks: what faulting keys have left (L28). */
static void part_flush(struct part *p)
{
	struct lh_lease *lease = p->lease;
	struct range range = {0, 0};

	lock_take(&lease->lock);
	if (p->live) {
		range = p->unflushed;
		p->unflushed = (struct range){0, 0};
	}
	lock_drop(&lease->lock);
	if (!range_empty(range))
		fs_fault_flush(lease->head.file->handle, range);
}

/* The bytes of s inside keep, exposed anew; false when there are none or they could not be exposed. */
static bool span_rest(struct part *p, const struct span *s, struct range keep, struct span *out)
{
	struct range r = range_cut((struct range){s->off, span_end(s)}, keep);

	if (range_empty(r))
		return false;
	*out = (struct span){.off = r.start, .len = r.end - r.start, .hole = s->hole};
	out->pool_off = s->hole ? 0 : s->pool_off + (r.start - s->off);
	return span_expose(p, out) == 0;
}

static void span_cut(struct part *p, struct range range)
{
	unsigned first = span_lower(p, range.start);
	unsigned last = first;
	struct span rest[2];
	unsigned rests = 0;

	while (last < p->count && p->spans[last].off < range.end)
		last++;
	if (first == last)
		return;
	for (unsigned i = first; i < last; i++)
		span_revoke(p, &p->spans[i]);
	if (span_rest(p, &p->spans[first], (struct range){0, range.start}, &rest[rests]))
		rests++;
	if (span_rest(p, &p->spans[last - 1], (struct range){range.end, RANGE_MAX}, &rest[rests]))
		rests++;
	if (last - first < rests && span_reserve(p, 1) != 0) {
		rests--;
		span_revoke(p, &rest[rests]);
	}
	memmove(&p->spans[first + rests], &p->spans[last], (p->count - last) * sizeof(*p->spans));
	memcpy(&p->spans[first], rest, rests * sizeof(*rest));
	p->count = p->count - (last - first) + rests;
}

/* The spans that stand for the runs of range: a key a run, and for readers the holes between. */
static int spans_of(struct part *p, struct range range, const struct fs_run *runs, unsigned count, struct span *out,
		    unsigned *filled)
{
	bool holes = p->mode == LEASE_READ;
	uint64_t at = range.start;
	unsigned n = 0;
	int err = 0;

	*filled = 0;
	if (p->lease->by_place) {
		out[0] = (struct span){.off = range.start, .len = range.end - range.start};
		err = span_expose(p, &out[0]);
		*filled = err ? 0 : 1;
		return err;
	}
	for (unsigned i = 0; i < count && !err; i++) {
		const struct fs_run *r = &runs[i];

		assert(r->len > 0 && r->file_off >= at && r->file_off + r->len <= range.end);
		if (holes && r->file_off > at)
			out[n++] = (struct span){.off = at, .len = r->file_off - at, .hole = true};
		out[n] = (struct span){.off = r->file_off, .len = r->len, .pool_off = r->pool_off};
		err = span_expose(p, &out[n]);
		if (!err)
			n++;
		at = r->file_off + r->len;
	}
	if (!err && holes && at < range.end)
		out[n++] = (struct span){.off = at, .len = range.end - at, .hole = true};
	*filled = n;
	return err;
}

static int span_place(struct part *p, struct range range, const struct fs_run *runs, unsigned count)
{
	struct span *fresh = calloc(2 * (size_t)count + 1, sizeof(*fresh));
	unsigned n = 0;
	unsigned at;
	int err;

	if (fresh == NULL)
		return -ENOMEM;
	span_cut(p, range);
	err = span_reserve(p, 2 * (size_t)count + 1);
	if (!err)
		err = spans_of(p, range, runs, count, fresh, &n);
	if (err) {
		for (unsigned i = 0; i < n; i++)
			span_revoke(p, &fresh[i]);
	} else {
		at = span_lower(p, range.start);
		memmove(&p->spans[at + n], &p->spans[at], (p->count - at) * sizeof(*p->spans));
		memcpy(&p->spans[at], fresh, n * sizeof(*fresh));
		p->count += n;
	}
	free(fresh);
	return err;
}

/* --- lookups; with the lease's lock held --- */

const struct span *part_find(struct lh_lease *lease, uint64_t off)
{
	struct part *p;

	TAILQ_FOREACH (p, &lease->parts, in_lease) {
		unsigned i = span_lower(p, off);

		if (i < p->count && p->spans[i].off <= off)
			return &p->spans[i];
	}
	return NULL;
}

struct range part_gap(struct lh_lease *lease, uint64_t off, struct range within)
{
	struct range gap = within;
	struct part *p;

	TAILQ_FOREACH (p, &lease->parts, in_lease) {
		unsigned i = span_lower(p, off);

		if (i > 0)
			gap.start = max_u64(gap.start, span_end(&p->spans[i - 1]));
		if (i < p->count)
			gap.end = min_u64(gap.end, p->spans[i].off);
	}
	return gap;
}

/* --- the life of a part --- */

static void part_unref(struct part *p)
{
	struct lh_lease *lease = p->lease;

	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	free(p->spans);
	free(p);
	lease_unref(lease);
}

/* Takes the part out of every table. Nothing reaches it afterwards. */
static void part_end(struct part *p)
{
	struct lh_lease *lease = p->lease;
	struct lh_fs *fs = lease->fs;
	bool placed;

	lock_take(&fs->table);
	assert(!p->ended);
	p->ended = true;
	placed = p->number != 0;
	if (placed)
		RB_REMOVE(part_tree, &fs->parts, p);
	if (!range_empty(p->pending))
		TAILQ_REMOVE(&fs->pending, p, in_pending);
	lock_drop(&fs->table);
	lock_take(&lease->lock);
	span_cut(p, RANGE_ALL);
	if (placed) {
		TAILQ_REMOVE(&lease->parts, p, in_lease);
		lease->part_count--;
	}
	lock_drop(&lease->lock);
	part_flush(p);
}

static void pin_drain(void *pin, struct range range)
{
	struct part *p = pin;
	struct lh_lease *lease = p->lease;

	lock_take(&lease->lock);
	span_cut(p, range);
	lease->size = 0;
	lease->changes++;
	if (range_empty(lease->missing))
		lease->missing = range;
	else
		lease->missing =
		    (struct range){min_u64(lease->missing.start, range.start), max_u64(lease->missing.end, range.end)};
	lock_drop(&lease->lock);
	part_flush(p);
}

static void pin_gone(void *pin)
{
	part_end(pin);
	part_unref(pin);
}

/* The first placing gives the part its number, so that a recall finds it from the moment that keys exist. */
static void part_number(struct part *p, uint64_t number)
{
	struct lh_lease *lease = p->lease;
	struct lh_fs *fs = lease->fs;
	bool first;

	lock_take(&fs->table);
	first = p->number == 0;
	if (!first)
		RB_REMOVE(part_tree, &fs->parts, p);
	/* A recall of the number that was not attached needs no answer any more. */
	if (!range_empty(p->pending))
		TAILQ_REMOVE(&fs->pending, p, in_pending);
	p->pending = (struct range){0, 0};
	p->number = number;
	RB_INSERT(part_tree, &fs->parts, p);
	lock_drop(&fs->table);
	if (!first)
		return;
	lock_take(&lease->lock);
	TAILQ_INSERT_TAIL(&lease->parts, p, in_lease);
	lease->part_count++;
	lock_drop(&lease->lock);
}

static int pin_place(void *pin, uint64_t number, uint32_t seq, enum lease_mode mode, struct range range,
		     const struct fs_run *runs, unsigned count)
{
	struct part *p = pin;
	struct lh_lease *lease = p->lease;
	int err;

	if (p->number != number)
		part_number(p, number);
	lock_take(&lease->lock);
	p->mode = mode;
	lease->size = 0;
	lease->changes++;
	err = span_place(p, range, runs, count);
	lock_drop(&lease->lock);
	return err;
}

static const struct lease_pin_ops pin_ops = {.name = "key", .drain = pin_drain, .gone = pin_gone};

/* A piece that is got again denies changes as long as the lease would have, had it not been taken (L22). */
static void deny_ask(struct lh_lease *lease, struct fs_lease_args *args)
{
	uint64_t now = clock_now_ns();

	lock_take(&lease->lock);
	args->exclusive = lease->exclusive && (!lease->deny_until_ns || lease->deny_until_ns > now);
	args->max_age_ns = lease->deny_until_ns > now ? lease->deny_until_ns - now : lease->max_age_ns;
	lock_drop(&lease->lock);
}

static int part_try(struct lh_lease *lease, struct range range, bool nowait)
{
	struct part *p = calloc(1, sizeof(*p));
	struct fs_pin pin = {.ops = &pin_ops, .place = pin_place, .pin = p};
	struct fs_lease_args args = {
	    .range = range,
	    .mode = lease->mode,
	    .handle_number = lease->head.file->number,
	    .deadline_ns = lease->deadline_ns,
	    .nowait = nowait,
	    .pin = &pin,
	    .faulting = lease->by_place,
	};
	struct fs_lease granted = {0};
	bool ended;
	int err;

	if (p == NULL)
		return -ENOMEM;
	deny_ask(lease, &args);
	p->lease = lease;
	atomic_init(&p->refs, 2);
	atomic_fetch_add(&lease->refs, 1);
	err = fs_lease_get(lease->head.file->handle, &lease->fs->callers[nowait], &args, &granted);
	lock_take(&lease->lock);
	if (!err && args.exclusive && !lease->deny_until_ns)
		lease->deny_until_ns = clock_now_ns() + granted.exclusive_left_ns;
	p->live = true;
	lock_drop(&lease->lock);
	part_flush(p);
	lock_take(&lease->fs->table);
	ended = p->ended;
	lock_drop(&lease->fs->table);
	/* A pin that was never attached gets no gone(). */
	if (err && !ended) {
		part_end(p);
		part_unref(p);
	}
	part_unref(p);
	return err;
}

int part_get(struct lh_lease *lease, struct range range, bool nowait)
{
	int err = -ESTALE;

	/* -ESTALE: recalled before the pin was attached. The gate is closed then, so the next try waits for it. */
	for (unsigned i = 0; i < LOCAL_TRIES_MAX && err == -ESTALE; i++)
		err = part_try(lease, range, nowait);
	return err == -ESTALE ? -EAGAIN : err;
}
