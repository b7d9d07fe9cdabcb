/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The moment of a crash and what it may leave: captures, and the pools and images built from them.
 *
 * A capture copies the pages of the durable image that differ from the origin, and shares the deltas of the pending
 * units. A fork maps the origin and puts those pages and the arrived units on top, so its cost is what the run under
 * test changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "pool/sim_internal.h"

static const uint8_t zero_page[LH_BLOCK_SIZE];

static void *must_calloc(uint64_t n, size_t size)
{
	void *at = calloc(n ? n : 1, size);

	if (!at) {
		fprintf(stderr, "simulated pool: no memory for a capture\n");
		abort();
	}
	return at;
}

void sim_origin_put(struct sim_origin *o)
{
	if (__atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (unsigned k = 0; k < SIM_SPARES; k++)
		if (o->spare[k])
			sim_free(o->spare[k]);
	if (o->base)
		munmap((void *)(uintptr_t)o->base, o->size);
	if (o->fd >= 0)
		close(o->fd);
	free(o);
}

/* Whether the page shows what the origin has. */
static bool sim_untouched(const struct sim *s, uint64_t page)
{
	uint64_t units = LH_BLOCK_SIZE / s->unit_size;

	if (sim_bit(s->shown, page) || sim_bit(s->touched, page))
		return false;
	for (uint64_t u = page * units; u < (page + 1) * units; u++)
		if (sim_bit(s->windowed, u))
			return false;
	return true;
}

/* Zero pages of the image stay holes. s: whose image it is, or NULL; what it never touched need not be looked at. */
static int origin_fill(int fd, const uint8_t *image, uint64_t size, const struct sim *s)
{
	for (uint64_t at = 0; at < size; at += LH_BLOCK_SIZE) {
		if (s && sim_untouched(s, at / LH_BLOCK_SIZE))
			continue;
		if (memcmp(image + at, zero_page, LH_BLOCK_SIZE) == 0)
			continue;
		if (pwrite(fd, image + at, LH_BLOCK_SIZE, (off_t)at) != (ssize_t)LH_BLOCK_SIZE)
			return -ENOMEM;
	}
	return 0;
}

static int origin_new(const uint8_t *image, const struct sim *s, uint64_t used, uint64_t size, struct sim_origin **out)
{
	struct sim_origin *o = calloc(1, sizeof(*o));
	void *at;

	if (!o)
		return fail(-ENOMEM, "no memory for a simulated pool");
	o->refs = 1;
	o->size = size;
	o->used = used;
	o->blank = !image;
	o->fd = memfd_create("leasehold-sim", MFD_CLOEXEC);
	if (o->fd < 0 || ftruncate(o->fd, (off_t)size) != 0 || (image && origin_fill(o->fd, image, used, s) != 0)) {
		sim_origin_put(o);
		return fail(-ENOMEM, "no memory for a simulated pool of %llu bytes", (unsigned long long)size);
	}
	at = mmap(NULL, size, PROT_READ, MAP_SHARED, o->fd, 0);
	if (at == MAP_FAILED) {
		sim_origin_put(o);
		return fail(-ENOMEM, "no memory to map a simulated pool of %llu bytes", (unsigned long long)size);
	}
	o->base = at;
	*out = o;
	return 0;
}

static struct sim_origin *origin_get(struct sim_origin *o)
{
	__atomic_add_fetch(&o->refs, 1, __ATOMIC_RELAXED);
	return o;
}

static int create(uint64_t size, uint64_t room, enum pool_class class, const void *image, const struct sim *from,
		  struct pool **out)
{
	struct sim_origin *o = NULL;
	struct sim *s = NULL;
	int err;

	if (size == 0 || size % LH_BLOCK_SIZE != 0 || room < size || room % LH_BLOCK_SIZE != 0)
		return fail(-EINVAL, "simulated pool: %llu bytes are not whole blocks", (unsigned long long)size);
	err = origin_new(image, from, size, room, &o);
	if (err)
		return err;
	err = sim_new(o, class, &s);
	if (err)
		return err;
	*out = &s->pool;
	return 0;
}

int sim_create(uint64_t size, enum pool_class class, const void *image, struct pool **out)
{
	return sim_create_room(size, size, class, image, out);
}

int sim_create_room(uint64_t size, uint64_t room, enum pool_class class, const void *image, struct pool **out)
{
	return create(size, room, class, image, NULL, out);
}

int sim_copy(struct pool *p, struct pool **out)
{
	struct sim *s = sim_of(p);
	int err;

	lock_take(&s->lock);
	err = create(p->size, p->room, p->class, p->base, s->origin->blank ? s : NULL, out);
	lock_drop(&s->lock);
	return err;
}

static const uint8_t *unit_durable(const struct sim *s, uint64_t index)
{
	return s->durable + index * s->unit_size;
}

/* Whether any content that the unit had differs from what is durable. */
static bool unit_matters(const struct sim *s, const struct sim_unit *u)
{
	const uint8_t *durable = unit_durable(s, u->index);

	for (unsigned i = 0; i < u->count; i++)
		if (memcmp(durable + u->deltas[i]->start, u->deltas[i]->bytes, u->deltas[i]->len) != 0)
			return true;
	return false;
}

/* Whether the flushed content is one of its own, beside the durable and the latest one. */
static bool flushed_matters(const struct sim *s, const struct sim_unit *u)
{
	const uint8_t *durable = unit_durable(s, u->index);
	uint8_t flushed[SIM_UNIT_MAX], latest[SIM_UNIT_MAX];

	if (u->flushed == 0 || u->flushed == u->count)
		return false;
	sim_replay(flushed, durable, s->unit_size, u->deltas, u->flushed);
	sim_replay(latest, durable, s->unit_size, u->deltas, u->count);
	return memcmp(flushed, durable, s->unit_size) != 0 && memcmp(flushed, latest, s->unit_size) != 0;
}

static void entry_add(struct sim_capture *c, const struct sim_unit *u, unsigned whole)
{
	struct sim_entry *e = &c->entry[c->entries++];

	e->index = u->index;
	e->whole = whole;
	e->last = whole == u->count;
	e->count = u->count;
	for (unsigned i = 0; i < u->count; i++) {
		e->deltas[i] = u->deltas[i];
		e->deltas[i]->refs++;
	}
}

static void capture_units(struct sim *s, struct sim_capture *c, const struct sim_units *list)
{
	const struct sim_unit *u;

	TAILQ_FOREACH (u, list, link) {
		if (!unit_matters(s, u))
			continue;
		if (flushed_matters(s, u))
			entry_add(c, u, u->flushed);
		entry_add(c, u, u->count);
	}
}

/* By place, so that an outcome's number means the same in every run. */
static int entry_order(const void *va, const void *vb)
{
	const struct sim_entry *a = va, *b = vb;

	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	return (a->whole > b->whole) - (a->whole < b->whole);
}

static void capture_pages(struct sim *s, struct sim_capture *c)
{
	uint64_t pages = s->pool.room / LH_BLOCK_SIZE, n = 0;

	for (uint64_t w = 0; w < (pages + 63) / 64; w++)
		n += (uint64_t)__builtin_popcountll(s->touched[w]);
	c->page_index = must_calloc(n, sizeof(c->page_index[0]));
	c->page_bytes = must_calloc(n, LH_BLOCK_SIZE);
	for (uint64_t i = 0; i < pages; i++) {
		if (s->touched[i / 64] == 0) {
			i |= 63;
			continue;
		}
		if (!sim_bit(s->touched, i))
			continue;
		c->page_index[c->pages] = i;
		memcpy(c->page_bytes + c->pages * LH_BLOCK_SIZE, s->durable + i * LH_BLOCK_SIZE, LH_BLOCK_SIZE);
		c->pages++;
	}
}

void sim_capture_take(struct sim *s)
{
	struct sim_capture *c = must_calloc(1, sizeof(*c));

	lock_assert_held(RANK_SIM);
	assert(!s->capture);
	sim_absorb(s, 0, s->pool.size / s->unit_size - 1);
	c->mark = s->mark;
	c->size = s->pool.size;
	c->entry = must_calloc(2 * (uint64_t)s->pending, sizeof(c->entry[0]));
	capture_units(s, c, &s->dirty);
	capture_units(s, c, &s->flushed);
	qsort(c->entry, c->entries, sizeof(c->entry[0]), entry_order);
	capture_pages(s, c);
	s->capture = c;
}

void sim_capture_free(struct sim_capture *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->entries; i++)
		for (unsigned d = 0; d < c->entry[i].count; d++)
			sim_delta_put(c->entry[i].deltas[d]);
	free(c->entry);
	free(c->page_index);
	free(c->page_bytes);
	free(c);
}

void sim_capture(struct pool *p)
{
	struct sim *s = sim_of(p);

	lock_take(&s->lock);
	if (!s->capture)
		sim_capture_take(s);
	lock_drop(&s->lock);
}

bool sim_captured(const struct pool *p)
{
	struct sim *s = sim_of(p);
	bool is;

	lock_take(&s->lock);
	is = s->capture != NULL;
	lock_drop(&s->lock);
	return is;
}

unsigned sim_pending(const struct pool *p)
{
	struct sim *s = sim_of(p);
	unsigned n;

	lock_take(&s->lock);
	assert(s->capture);
	n = s->capture->entries < SIM_PENDING_MAX ? s->capture->entries : SIM_PENDING_MAX;
	lock_drop(&s->lock);
	return n;
}

static bool arrived(const uint64_t *mask, unsigned entry)
{
	return sim_bit(mask, entry < SIM_PENDING_MAX ? entry : SIM_PENDING_MAX - 1);
}

/* Puts the first n deltas of the entry on its unit in an image. */
static void entry_apply(const struct sim *s, const struct sim_entry *e, unsigned n, uint8_t *image)
{
	uint8_t *unit = image + e->index * s->unit_size;

	for (unsigned i = 0; i < n; i++)
		memcpy(unit + e->deltas[i]->start, e->deltas[i]->bytes, e->deltas[i]->len);
}

void sim_image(const struct pool *p, const uint64_t *mask, void *image_out)
{
	struct sim *s = sim_of(p);
	const struct sim_capture *c;
	uint8_t *image = image_out;

	lock_take(&s->lock);
	c = s->capture;
	assert(c);
	memcpy(image, s->origin->base, c->size);
	for (uint64_t i = 0; i < c->pages && c->page_index[i] < c->size / LH_BLOCK_SIZE; i++)
		memcpy(image + c->page_index[i] * LH_BLOCK_SIZE, c->page_bytes + i * LH_BLOCK_SIZE, LH_BLOCK_SIZE);
	for (unsigned i = 0; i < c->entries; i++)
		if (arrived(mask, i))
			entry_apply(s, &c->entry[i], c->entry[i].whole, image);
	lock_drop(&s->lock);
}

/* A new pool with the captured durable image. Caller holds SIM of s. */
static int fork_durable(const struct sim *s, struct sim **out)
{
	const struct sim_capture *c = s->capture;
	struct sim *child;
	int err;

	assert(c);
	err = sim_new(origin_get(s->origin), s->pool.class, &child);
	if (err)
		return err;
	child->mark = c->mark;
	child->pool.size = c->size;
	for (uint64_t i = 0; i < c->pages; i++) {
		memcpy(child->durable + c->page_index[i] * LH_BLOCK_SIZE, c->page_bytes + i * LH_BLOCK_SIZE,
		       LH_BLOCK_SIZE);
		sim_bit_set(child->touched, c->page_index[i]);
	}
	*out = child;
	return 0;
}

/* What is durable in the new pool is also what it shows. */
static void fork_show(struct sim *child)
{
	uint64_t pages = child->pool.room / LH_BLOCK_SIZE;

	for (uint64_t i = 0; i < pages; i++) {
		if (child->touched[i / 64] == 0) {
			i |= 63;
			continue;
		}
		if (!sim_bit(child->touched, i))
			continue;
		memcpy(child->pool.base + i * LH_BLOCK_SIZE, child->durable + i * LH_BLOCK_SIZE, LH_BLOCK_SIZE);
		sim_bit_set(child->shown, i);
	}
}

int sim_fork(const struct pool *p, const uint64_t *mask, struct pool **out)
{
	struct sim *s = sim_of(p), *child = NULL;
	int err;

	lock_take(&s->lock);
	err = fork_durable(s, &child);
	for (unsigned i = 0; !err && i < s->capture->entries; i++) {
		const struct sim_entry *e = &s->capture->entry[i];

		if (!arrived(mask, i))
			continue;
		entry_apply(s, e, e->whole, child->durable);
		sim_bit_set(child->touched, e->index * s->unit_size / LH_BLOCK_SIZE);
	}
	lock_drop(&s->lock);
	if (err)
		return err;
	fork_show(child);
	*out = &child->pool;
	return 0;
}

/* Puts some of the delta's whole words that lie in [from, to) of the unit. */
static void delta_tear(const struct sim_delta *d, unsigned from, unsigned to, uint64_t *random, uint8_t *unit)
{
	unsigned end = d->start + d->len;

	for (unsigned word = from; word < to; word += SIM_WORD) {
		unsigned a = word > d->start ? word : d->start;
		unsigned b = word + SIM_WORD < end ? word + SIM_WORD : end;

		if (a < b && (sim_random(random) & 1))
			memcpy(unit + a, d->bytes + (a - d->start), b - a);
	}
}

/* One seeded content for the bytes [from, to) of the unit: a line, or a sector of a page, stops somewhere in its
 * history. */
static void entry_tear(const struct sim_entry *e, unsigned from, unsigned to, uint64_t *random, uint8_t *unit)
{
	unsigned n = (unsigned)(sim_random(random) % (e->count + 1));

	for (unsigned i = 0; i < n; i++) {
		const struct sim_delta *d = e->deltas[i];
		unsigned end = d->start + d->len;
		unsigned a = from > d->start ? from : d->start;
		unsigned b = to < end ? to : end;

		if (a < b)
			memcpy(unit + a, d->bytes + (a - d->start), b - a);
	}
	if (n < e->count && (sim_random(random) & 1))
		delta_tear(e->deltas[n], from, to, random, unit);
}

int sim_fork_torn(const struct pool *p, uint64_t seed, struct pool **out)
{
	struct sim *s = sim_of(p), *child = NULL;
	unsigned part = s->unit_size < SIM_SECTOR ? s->unit_size : SIM_SECTOR;
	uint64_t random = seed;
	int err;

	lock_take(&s->lock);
	err = fork_durable(s, &child);
	for (unsigned i = 0; !err && i < s->capture->entries; i++) {
		const struct sim_entry *e = &s->capture->entry[i];
		uint8_t *unit = child->durable + e->index * s->unit_size;

		if (!e->last)
			continue;
		for (unsigned from = 0; from < s->unit_size; from += part)
			entry_tear(e, from, from + part, &random, unit);
		sim_bit_set(child->touched, e->index * s->unit_size / LH_BLOCK_SIZE);
	}
	lock_drop(&s->lock);
	if (err)
		return err;
	fork_show(child);
	*out = &child->pool;
	return 0;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 wide =
	    (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xd6e8feb86659fd93ull);

	return (uint64_t)wide ^ (uint64_t)(wide >> 64);
}

static uint64_t page_hash(const uint8_t *page, uint64_t index)
{
	uint64_t h = mix(index, 1);

	for (unsigned i = 0; i < LH_BLOCK_SIZE; i += 16) {
		uint64_t w[2];

		memcpy(w, page + i, sizeof(w));
		h = mix(h ^ w[0], w[1]);
	}
	return h;
}

uint64_t sim_hash(const struct pool *p)
{
	struct sim *s = sim_of(p);
	uint64_t pages = p->room / LH_BLOCK_SIZE, hash = p->size;

	lock_take(&s->lock);
	for (uint64_t i = 0; i < pages; i++) {
		const uint8_t *page = s->durable + i * LH_BLOCK_SIZE;

		if (s->touched[i / 64] == 0) {
			i |= 63;
			continue;
		}
		/* A sum, so that pages touched and put back leave no trace. */
		if (sim_bit(s->touched, i) && memcmp(page, s->origin->base + i * LH_BLOCK_SIZE, LH_BLOCK_SIZE) != 0)
			hash += page_hash(page, i);
	}
	lock_drop(&s->lock);
	return hash;
}
