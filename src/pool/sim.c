/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated pool's recorder: what stores, flushes, fences and syncs do to the visible and the durable image.
 *
 * Both images are private mappings of one shared origin, so that a new pool costs page table entries and not copies: a
 * crash test makes tens of thousands of them.
 *
 * Worked example, one line holding 0, cache-flush:
 *   store 1          dirty, deltas {1}            a crash may leave 0 or 1
 *   flush            flushed, deltas {1|}         0 or 1
 *   store 2          flushed, deltas {1|2}        0, 1 or 2
 *   fence            durable 1; dirty, deltas {2} 1 or 2
 *   fence            nothing: 2 was never flushed 1 or 2
 */
#include "pool/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "pool/hooks.h"
#include "pool/sim_internal.h"

#define LINE_SIZE 64u

static const struct pool_hooks sim_hooks;

void *sim_lazy_alloc(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

void sim_lazy_free(void *at, uint64_t bytes)
{
	if (at)
		munmap(at, bytes);
}

/* A recorder without memory would lie about what is pending. */
static void *must_alloc(size_t bytes)
{
	void *at = malloc(bytes);

	if (!at) {
		fprintf(stderr, "simulated pool: no memory for %zu bytes\n", bytes);
		abort();
	}
	return at;
}

static uint64_t units_of(const struct sim *s)
{
	return s->pool.room / s->unit_size;
}

static uint64_t bitmap_bytes(uint64_t bits)
{
	return (bits + 63) / 64 * 8;
}

void sim_delta_put(struct sim_delta *d)
{
	if (--d->refs == 0)
		free(d);
}

void sim_replay(uint8_t *to, const uint8_t *base, unsigned unit_size, struct sim_delta *const *deltas, unsigned n)
{
	memcpy(to, base, unit_size);
	for (unsigned i = 0; i < n; i++)
		memcpy(to + deltas[i]->start, deltas[i]->bytes, deltas[i]->len);
}

static struct sim_delta *delta_new(unsigned start, const void *bytes, unsigned len)
{
	struct sim_delta *d = must_alloc(sizeof(*d) + len);

	*d = (struct sim_delta){.refs = 1, .start = (uint16_t)start, .len = (uint16_t)len};
	memcpy(d->bytes, bytes, len);
	return d;
}

static struct sim_unit *unit_get(struct sim *s, uint64_t index)
{
	struct sim_unit *u = s->unit[index];

	if (u)
		return u;
	u = must_alloc(sizeof(*u));
	u->index = index;
	u->count = 0;
	u->flushed = 0;
	s->unit[index] = u;
	s->pending++;
	TAILQ_INSERT_TAIL(&s->dirty, u, link);
	return u;
}

/* Its first n deltas are durable. */
static void unit_settle(struct sim *s, struct sim_unit *u, unsigned n)
{
	uint8_t *durable = s->durable + u->index * s->unit_size;

	assert(n <= u->count);
	for (unsigned i = 0; i < n; i++) {
		memcpy(durable + u->deltas[i]->start, u->deltas[i]->bytes, u->deltas[i]->len);
		sim_delta_put(u->deltas[i]);
	}
	sim_bit_set(s->touched, u->index * s->unit_size / LH_BLOCK_SIZE);
	u->count -= n;
	memmove(u->deltas, u->deltas + n, u->count * sizeof(u->deltas[0]));
	TAILQ_REMOVE(u->flushed ? &s->flushed : &s->dirty, u, link);
	u->flushed = 0;
	if (u->count > 0) {
		TAILQ_INSERT_TAIL(&s->dirty, u, link);
		return;
	}
	s->unit[u->index] = NULL;
	s->pending--;
	free(u);
}

/*
 * Makes room in a full history: two neighbouring stores on the same side of the flush become one. Which states between
 * them a crash could leave is forgotten, never what surely is durable.
 */
static void unit_merge(struct sim *s, struct sim_unit *u)
{
	unsigned at = u->flushed >= 2 ? 0 : u->flushed;
	const struct sim_delta *a = u->deltas[at], *b = u->deltas[at + 1];
	unsigned start = a->start < b->start ? a->start : b->start;
	unsigned end_a = a->start + a->len, end_b = b->start + b->len;
	unsigned end = end_a > end_b ? end_a : end_b;
	uint8_t bytes[SIM_UNIT_MAX];

	sim_replay(bytes, s->durable + u->index * s->unit_size, s->unit_size, u->deltas, at + 2);
	sim_delta_put(u->deltas[at]);
	sim_delta_put(u->deltas[at + 1]);
	u->deltas[at] = delta_new(start, bytes + start, end - start);
	u->count--;
	memmove(u->deltas + at + 1, u->deltas + at + 2, (u->count - at - 1) * sizeof(u->deltas[0]));
	if (u->flushed >= 2)
		u->flushed--;
}

static void unit_add(struct sim *s, uint64_t index, unsigned start, const void *bytes, unsigned len)
{
	struct sim_unit *u = unit_get(s, index);

	if (u->count == SIM_HISTORY_MAX)
		unit_merge(s, u);
	u->deltas[u->count++] = delta_new(start, bytes, len);
}

void sim_absorb(struct sim *s, uint64_t first, uint64_t last)
{
	uint8_t known[SIM_UNIT_MAX];

	lock_assert_held(RANK_SIM);
	for (uint64_t i = first; i <= last; i++) {
		const uint8_t *now = s->pool.base + i * s->unit_size;
		const struct sim_unit *u = s->unit[i];

		if (s->windowed[i / 64] == 0) {
			i |= 63;
			continue;
		}
		if (!sim_bit(s->windowed, i))
			continue;
		sim_replay(known, s->durable + i * s->unit_size, s->unit_size, u ? u->deltas : NULL, u ? u->count : 0);
		if (memcmp(known, now, s->unit_size) != 0)
			unit_add(s, i, 0, now, s->unit_size);
	}
}

/* Before the lock is taken: the callee may wait. */
static void watch(struct sim *s)
{
	if (unlikely(s->watch != NULL))
		s->watch(s->watch_ctx);
}

/* Caller holds SIM, and then lets the event take effect. */
static void event(struct sim *s)
{
	if (s->events == s->armed_at && !s->capture)
		sim_capture_take(s);
	s->events++;
}

static void mark_shown(struct sim *s, uint64_t off, uint64_t len)
{
	for (uint64_t i = off / LH_BLOCK_SIZE; i <= (off + len - 1) / LH_BLOCK_SIZE; i++)
		sim_bit_set(s->shown, i);
}

static void hook_store(struct pool *p, uint64_t off, const void *src, uint64_t len)
{
	struct sim *s = sim_of(p);
	const uint8_t *from = src;

	if (len == 0)
		return;
	watch(s);
	lock_take(&s->lock);
	event(s);
	sim_absorb(s, off / s->unit_size, (off + len - 1) / s->unit_size);
	for (uint64_t at = off; at < off + len;) {
		uint64_t index = at / s->unit_size;
		uint64_t end = min_u64((index + 1) * s->unit_size, off + len);

		unit_add(s, index, (unsigned)(at % s->unit_size), from + (at - off), (unsigned)(end - at));
		at = end;
	}
	mark_shown(s, off, len);
	pool_store_bytes(p->base + off, src, len);
	lock_drop(&s->lock);
}

static void hook_zero(struct pool *p, uint64_t off, uint64_t len)
{
	struct sim *s = sim_of(p);
	static const uint8_t zero[SIM_UNIT_MAX];

	if (len == 0)
		return;
	watch(s);
	lock_take(&s->lock);
	event(s);
	sim_absorb(s, off / s->unit_size, (off + len - 1) / s->unit_size);
	for (uint64_t at = off; at < off + len;) {
		uint64_t index = at / s->unit_size;
		uint64_t end = min_u64((index + 1) * s->unit_size, off + len);

		unit_add(s, index, (unsigned)(at % s->unit_size), zero, (unsigned)(end - at));
		at = end;
	}
	mark_shown(s, off, len);
	memset(p->base + off, 0, len);
	lock_drop(&s->lock);
}

static void hook_window(struct pool *p, uint64_t off, uint64_t len)
{
	struct sim *s = sim_of(p);

	if (len == 0)
		return;
	lock_take(&s->lock);
	for (uint64_t i = off / s->unit_size; i <= (off + len - 1) / s->unit_size; i++)
		sim_bit_set(s->windowed, i);
	lock_drop(&s->lock);
}

static void hook_flush(struct pool *p, uint64_t off, uint64_t len)
{
	struct sim *s = sim_of(p);
	uint64_t first = off / s->unit_size, last = (off + len - 1) / s->unit_size;

	if (p->class == POOL_MSYNC)
		return;
	watch(s);
	lock_take(&s->lock);
	event(s);
	sim_absorb(s, first, last);
	for (uint64_t i = first; i <= last; i++) {
		struct sim_unit *u = s->unit[i];

		if (!u)
			continue;
		if (u->flushed == 0) {
			TAILQ_REMOVE(&s->dirty, u, link);
			TAILQ_INSERT_TAIL(&s->flushed, u, link);
		}
		u->flushed = u->count;
	}
	lock_drop(&s->lock);
}

static void hook_fence(struct pool *p)
{
	struct sim *s = sim_of(p);

	if (p->class == POOL_MSYNC)
		return;
	watch(s);
	lock_take(&s->lock);
	event(s);
	while (!TAILQ_EMPTY(&s->flushed)) {
		struct sim_unit *u = TAILQ_FIRST(&s->flushed);

		unit_settle(s, u, u->flushed);
	}
	lock_drop(&s->lock);
}

static int hook_sync(struct pool *p, uint64_t off, uint64_t len)
{
	struct sim *s = sim_of(p);
	uint64_t first = off / s->unit_size, last = (off + len - 1) / s->unit_size;
	struct sim_unit *u, *next;

	assert(p->class == POOL_MSYNC);
	watch(s);
	lock_take(&s->lock);
	event(s);
	sim_absorb(s, first, last);
	for (u = TAILQ_FIRST(&s->dirty); u; u = next) {
		next = TAILQ_NEXT(u, link);
		if (u->index >= first && u->index <= last)
			unit_settle(s, u, u->count);
	}
	lock_drop(&s->lock);
	return 0;
}

static void units_free(struct sim *s, struct sim_units *list)
{
	while (!TAILQ_EMPTY(list)) {
		struct sim_unit *u = TAILQ_FIRST(list);

		TAILQ_REMOVE(list, u, link);
		for (unsigned i = 0; i < u->count; i++)
			sim_delta_put(u->deltas[i]);
		s->unit[u->index] = NULL;
		s->pending--;
		free(u);
	}
}

void sim_free(struct sim *s)
{
	sim_lazy_free(s->pool.base, s->pool.room);
	sim_lazy_free(s->durable, s->pool.room);
	sim_lazy_free(s->unit, units_of(s) * sizeof(s->unit[0]));
	free(s->windowed);
	free(s->touched);
	free(s->shown);
	lock_destroy(&s->lock);
	free(s);
}

/* Puts the pages of an image whose bits are set back to the origin's content. */
static void pages_restore(const struct sim *s, uint8_t *image, const uint64_t *bits)
{
	for (uint64_t i = 0; i < s->pool.room / LH_BLOCK_SIZE; i++) {
		if (bits[i / 64] == 0)
			i |= 63;
		else if (sim_bit(bits, i))
			memcpy(image + i * LH_BLOCK_SIZE, s->origin->base + i * LH_BLOCK_SIZE, LH_BLOCK_SIZE);
	}
}

/* Back to what sim_new makes. */
static void sim_reset(struct sim *s)
{
	uint64_t units = units_of(s), pages = s->pool.room / LH_BLOCK_SIZE;

	sim_capture_free(s->capture);
	s->capture = NULL;
	units_free(s, &s->dirty);
	units_free(s, &s->flushed);
	for (uint64_t i = 0; i < units; i++) {
		if (s->windowed[i / 64] == 0)
			i |= 63;
		else if (sim_bit(s->windowed, i))
			sim_bit_set(s->shown, i * s->unit_size / LH_BLOCK_SIZE);
	}
	assert(s->pending == 0);
	pages_restore(s, s->durable, s->touched);
	pages_restore(s, s->pool.base, s->shown);
	memset(s->windowed, 0, bitmap_bytes(units));
	memset(s->touched, 0, bitmap_bytes(pages));
	memset(s->shown, 0, bitmap_bytes(pages));
	s->pool.size = s->origin->used;
	s->events = 0;
	s->armed_at = UINT64_MAX;
	s->mark = 0;
	s->watch = NULL;
}

/* The length is durable at once, as pool/resize.c makes it. What was cut off comes back as zeroes. */
static int hook_resize(struct pool *p, uint64_t size)
{
	struct sim *s = sim_of(p);
	uint64_t old = p->size;

	watch(s);
	lock_take(&s->lock);
	event(s);
	if (size < old) {
		sim_absorb(s, size / s->unit_size, old / s->unit_size - 1);
		for (uint64_t i = size / s->unit_size; i < old / s->unit_size; i++) {
			if (s->unit[i])
				unit_settle(s, s->unit[i], s->unit[i]->count);
			sim_bit_clear(s->windowed, i);
		}
		for (uint64_t i = size / LH_BLOCK_SIZE; i < old / LH_BLOCK_SIZE; i++) {
			sim_bit_set(s->touched, i);
			sim_bit_set(s->shown, i);
		}
		memset(s->durable + size, 0, old - size);
		memset(p->base + size, 0, old - size);
	}
	__atomic_store_n(&p->size, size, __ATOMIC_RELEASE);
	lock_drop(&s->lock);
	return 0;
}

static void hook_close(struct pool *p)
{
	struct sim *s = sim_of(p);
	struct sim_origin *o = s->origin;

	sim_reset(s);
	for (unsigned k = 0; s && k < SIM_SPARES; k++)
		s = __atomic_exchange_n(&o->spare[k], s, __ATOMIC_ACQ_REL);
	if (s)
		sim_free(s);
	sim_origin_put(o);
}

static const struct pool_hooks sim_hooks = {
    .store = hook_store,
    .zero = hook_zero,
    .window = hook_window,
    .flush = hook_flush,
    .fence = hook_fence,
    .sync = hook_sync,
    .resize = hook_resize,
    .close = hook_close,
};

static uint8_t *map_private(const struct sim_origin *o)
{
	void *at = mmap(NULL, o->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, o->fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

int sim_new(struct sim_origin *origin, enum pool_class class, struct sim **out)
{
	struct sim *s = NULL;
	uint64_t units, pages = origin->size / LH_BLOCK_SIZE;

	for (unsigned k = 0; !s && k < SIM_SPARES; k++)
		s = __atomic_exchange_n(&origin->spare[k], NULL, __ATOMIC_ACQ_REL);
	if (s) {
		assert(s->pool.class == class);
		*out = s;
		return 0;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		sim_origin_put(origin);
		return fail(-ENOMEM, "no memory for a simulated pool");
	}
	lock_init(&s->lock, RANK_SIM);
	TAILQ_INIT(&s->dirty);
	TAILQ_INIT(&s->flushed);
	s->origin = origin;
	s->armed_at = UINT64_MAX;
	s->unit_size = class == POOL_MSYNC ? LH_BLOCK_SIZE : LINE_SIZE;
	s->pool =
	    (struct pool){.size = origin->used, .class = class, .kind = POOL_KIND_SIM, .fd = -1, .name = "simulated"};
	s->pool.room = origin->size;
	s->pool.hooks = &sim_hooks;
	s->pool.hooks_ctx = s;
	units = units_of(s);
	s->pool.base = map_private(origin);
	s->durable = map_private(origin);
	s->unit = sim_lazy_alloc(units * sizeof(s->unit[0]));
	s->windowed = calloc(1, bitmap_bytes(units));
	s->touched = calloc(1, bitmap_bytes(pages));
	s->shown = calloc(1, bitmap_bytes(pages));
	if (!s->pool.base || !s->durable || !s->unit || !s->windowed || !s->touched || !s->shown) {
		sim_free(s);
		sim_origin_put(origin);
		return fail(-ENOMEM, "no memory for a simulated pool of %llu bytes", (unsigned long long)origin->size);
	}
	*out = s;
	return 0;
}

void sim_arm(struct pool *p, uint64_t at)
{
	struct sim *s = sim_of(p);

	lock_take(&s->lock);
	sim_capture_free(s->capture);
	s->capture = NULL;
	s->events = 0;
	s->armed_at = at;
	lock_drop(&s->lock);
}

void sim_watch(struct pool *p, void (*fn)(void *ctx), void *ctx)
{
	struct sim *s = sim_of(p);

	s->watch = fn;
	s->watch_ctx = ctx;
}

uint64_t sim_events(const struct pool *p)
{
	struct sim *s = sim_of(p);
	uint64_t n;

	lock_take(&s->lock);
	n = s->events;
	lock_drop(&s->lock);
	return n;
}

void sim_mark(struct pool *p, uint64_t mark)
{
	struct sim *s = sim_of(p);

	lock_take(&s->lock);
	s->mark = mark;
	lock_drop(&s->lock);
}

uint64_t sim_marked(const struct pool *p)
{
	struct sim *s = sim_of(p);
	uint64_t mark;

	lock_take(&s->lock);
	mark = s->capture ? s->capture->mark : s->mark;
	lock_drop(&s->lock);
	return mark;
}
