/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated pool: memory that records every store, flush, fence and sync, and can tell what a crash at any of them
 * may leave on the medium (docs/design.md, crash model).
 *
 * It keeps two images: `visible` (what loads return; pool->base) and `durable` (what surely is on the medium). The unit is
 * a 64-byte line, subdivided into aligned 8-byte words (the atom), for POOL_CACHE_FLUSH and POOL_VOLATILE semantics (a
 * volatile one is simulated as cache-flush), and a 4 KiB page for POOL_MSYNC. A unit dirtied since the last fence (sync)
 * may or may not have reached the medium, in any order, also without a flush. A unit flushed and fenced is durable.
 *
 * A crash is asked for by event number: sim_crash_at(n) makes event n (stores, flushes, fences and syncs, counted from
 * sim_arm) not happen and longjmp-free: it *captures* the durable image and the set of pending units at that moment, and
 * lets the run continue, so that no thread has to be killed. sim_image(subset) then builds the image of one outcome.
 */
#ifndef LH_POOL_SIM_H
#define LH_POOL_SIM_H

#include "pool/pool.h"

/* A fresh simulated pool of `size` bytes, all zero, or a copy of `image` when given. class chooses the semantics. */
int sim_create(uint64_t size, enum pool_class class, const void *image, struct pool **out);

/* Starts counting events at 0; the capture happens just before event `at` takes effect (UINT64_MAX: never). */
void sim_arm(struct pool *p, uint64_t at);
/* Events since sim_arm. */
uint64_t sim_events(const struct pool *p);
/* Whether the capture happened. */
bool sim_captured(const struct pool *p);
/* How many units were pending at the capture. */
unsigned sim_pending(const struct pool *p);
/* Writes the image in which exactly those pending units whose bit is set in `mask` reached the medium (bit i of word i/64). */
void sim_image(const struct pool *p, const uint64_t *mask, void *image_out);
/*
 * The outcomes to try for `pending` units: all subsets up to 10 units, above that none, all, each one missing, each one
 * alone, and 64 samples seeded by `seed`. Returns how many there are; fills mask (words of 64) for outcome `index`.
 */
uint64_t sim_outcomes(unsigned pending);
void sim_outcome(unsigned pending, uint64_t index, uint64_t seed, uint64_t *mask);

#endif
