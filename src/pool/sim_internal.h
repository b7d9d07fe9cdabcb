/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated pool's structures. sim.c records, sim_capture.c captures and builds outcomes, sim_outcome.c enumerates.
 *
 * Invariant: for every unit, visible == durable + its deltas in order (plus what windows landed and nobody has looked
 * at).
 */
#ifndef LH_POOL_SIM_INTERNAL_H
#define LH_POOL_SIM_INTERNAL_H

#include <sys/queue.h>

#include "base/lock.h"
#include "pool/sim.h"

#define SIM_UNIT_MAX LH_BLOCK_SIZE
#define SIM_WORD     8u
#define SIM_SECTOR   512u
#define SIM_SPARES   4u

/*
 * The image that a family of pools started from. Never written once it is shared; pools map it privately. Some pools
 * of the family that were closed are kept, put back to the image: page faults are what a fork costs, and these have had
 * them.
 */
struct sim_origin {
	int fd;
	unsigned refs;                 /* atomic; spares hold none */
	bool blank;                    /* made without an image: zeroes */
	struct sim *spare[SIM_SPARES]; /* atomic */
	const uint8_t *base;
	uint64_t size; /* the most that pools of the family can have */
	uint64_t used; /* what they begin with */
};

/* What one store left in one unit. Immutable; shared by the unit and captures, under the pool's lock. */
struct sim_delta {
	unsigned refs;
	uint16_t start;
	uint16_t len;
	uint8_t bytes[];
};

/* A unit with stores that are not surely durable: on the dirty list, or on the flushed one when flushed > 0. */
struct sim_unit {
	TAILQ_ENTRY(sim_unit) link;
	uint64_t index;
	unsigned count;   /* deltas */
	unsigned flushed; /* the first so many of them were flushed */
	struct sim_delta *deltas[SIM_HISTORY_MAX];
};
TAILQ_HEAD(sim_units, sim_unit);

/* A copy of a unit at the capture. A line with a flushed content beside its latest one has two, the flushed one first.
 */
struct sim_entry {
	uint64_t index;
	unsigned whole; /* deltas that "arrived" means */
	bool last;      /* the one with all deltas: the unit's history */
	unsigned count;
	struct sim_delta *deltas[SIM_HISTORY_MAX];
};

struct sim_capture {
	uint64_t mark;
	uint64_t size;
	uint64_t pages; /* pages of durable that differ from the origin */
	uint64_t *page_index;
	uint8_t *page_bytes;
	unsigned entries;
	struct sim_entry *entry;
};

struct sim {
	struct pool pool;
	struct sim_origin *origin;
	struct lock lock; /* everything below, and the stores to the pool's memory */
	uint8_t *durable;
	unsigned unit_size;
	struct sim_unit **unit; /* by index; NULL: nothing pending */
	struct sim_units dirty;
	struct sim_units flushed;
	unsigned pending;
	uint64_t *windowed; /* bit per unit: a window was given away, so bytes may land unseen */
	uint64_t *touched;  /* bit per page: durable may differ from the origin */
	uint64_t *shown;    /* bit per page: visible may, by stores; windowed has the others */
	uint64_t events;
	uint64_t armed_at;
	uint64_t mark;
	struct sim_capture *capture;
	void (*watch)(void *ctx);
	void *watch_ctx;
};

static inline struct sim *sim_of(const struct pool *p)
{
	assert(p->kind == POOL_KIND_SIM);
	return (struct sim *)((uintptr_t)p - offsetof(struct sim, pool));
}

static inline bool sim_bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static inline void sim_bit_set(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= (uint64_t)1 << (i % 64);
}

static inline void sim_bit_clear(uint64_t *bits, uint64_t i)
{
	bits[i / 64] &= ~((uint64_t)1 << (i % 64));
}

/* A pool on a reference of the origin that it takes over, also when it fails. */
int sim_new(struct sim_origin *origin, enum pool_class class, struct sim **out);
void sim_origin_put(struct sim_origin *o);
/* Gives back everything but the reference of the origin. */
void sim_free(struct sim *s);

/* Zeroed memory that costs nothing until it is touched. NULL without memory. */
void *sim_lazy_alloc(uint64_t bytes);
void sim_lazy_free(void *at, uint64_t bytes);

/* The bytes of a unit after the first n of its deltas. base is the unit's durable content. */
void sim_replay(uint8_t *to, const uint8_t *base, unsigned unit_size, struct sim_delta *const *deltas, unsigned n);
void sim_delta_put(struct sim_delta *d);
/* Counts what windows landed in units [first, last] as stored. Caller holds SIM. */
void sim_absorb(struct sim *s, uint64_t first, uint64_t last);

/* Caller holds SIM; there is no capture yet. Aborts without memory: a test cannot go on. */
void sim_capture_take(struct sim *s);
void sim_capture_free(struct sim_capture *c);

#endif
