/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated pool: memory that records every store, flush, fence and sync, and can tell what a crash at any of them
 * may leave on the medium (docs/design.md, crash model).
 *
 * It keeps two images: `visible` (what loads return; pool->base) and `durable` (what surely is on the medium). The unit
 * is a 64-byte line for POOL_CACHE_FLUSH and POOL_VOLATILE (a volatile pool is simulated as cache-flush, so that its
 * code is tested too) and a 4 KiB page for POOL_MSYNC. A unit is pending from its first store until it was flushed
 * *and* fenced (synced): in between it may or may not have reached the medium, in any order, also without a flush,
 * however many fences for other units pass by. That is what finds a missing flush. Where a line was flushed and stored
 * again before the fence, the fence makes the flushed content durable and the later stores stay pending; a crash before
 * the fence may leave any of the three. A fence covers what all threads flushed: flushes are handed over between
 * threads under locks, whose atomic instructions order them.
 *
 * A crash is asked for by event number: sim_arm(p, n) makes the moment just before event n (stores, flushes, fences and
 * syncs that have an effect in the class, counted from sim_arm) the crash. Nothing stops: the moment is *captured*
 * (durable image and pending units) and the run continues, so that no thread has to be killed. sim_fork and sim_image
 * then build the outcomes.
 *
 * Bytes landed through pool_window are not seen when they land: they count as stored when a flush or sync of their
 * range or a capture finds them.
 *
 * Thread safety: stores and the like as for any pool. sim_arm, sim_capture, sim_mark and the readers may run beside
 * them.
 */
#ifndef LH_POOL_SIM_H
#define LH_POOL_SIM_H

#include "pool/pool.h"

/* Masks have at most this many bits. With more units pending, those from this number on share the last bit. */
#define SIM_PENDING_MAX   65536u
#define SIM_MASK_WORDS    (SIM_PENDING_MAX / 64)
#define SIM_SUBSETS_UNITS 10u /* up to this many pending units all subsets are tried */
#define SIM_SAMPLES       64u /* seeded subsets tried beyond */
/* Different contents that one unit remembers between fences; beyond, neighbouring stores count as one. */
#define SIM_HISTORY_MAX 16u

/*
 * A fresh simulated pool of `size` bytes, all zero, or a copy of `image` when given. class chooses the semantics.
 * pool_close ends it. -EINVAL: size no multiple of LH_BLOCK_SIZE, or 0. -ENOMEM.
 */
int sim_create(uint64_t size, enum pool_class class, const void *image, struct pool **out);
/* The same with room to grow by pool_resize. A fork has the size that its parent had at the capture. */
int sim_create_room(uint64_t size, uint64_t room, enum pool_class class, const void *image, struct pool **out);
/* A new simulated pool whose content, all of it durable, is what loads from p return now. Sparse: zero pages cost
 * nothing. */
int sim_copy(struct pool *p, struct pool **out);

/* Starts counting events at 0; the capture happens just before event `at` takes effect (UINT64_MAX: never). An earlier
 * capture is forgotten. */
void sim_arm(struct pool *p, uint64_t at);
/* Captures now, unless the armed event was already reached. */
void sim_capture(struct pool *p);
/*
 * fn is called before every event, by the thread that makes it and without the pool's lock, so that a test can hold the
 * thread there and let another one run: a schedule. Set and cleared (NULL) while nobody stores.
 */
void sim_watch(struct pool *p, void (*fn)(void *ctx), void *ctx);
/* Events since sim_arm. */
uint64_t sim_events(const struct pool *p);
/* Whether the capture happened. */
bool sim_captured(const struct pool *p);

/*
 * A number that the code under test sets to tell its oracle how far it came ("operation 3 has returned"). sim_marked is
 * the one at the capture, or the present one without a capture; a fork starts with the captured one.
 */
void sim_mark(struct pool *p, uint64_t mark);
uint64_t sim_marked(const struct pool *p);

/* How many units were pending at the capture, at most SIM_PENDING_MAX. Units whose bytes are what is durable do not
 * count. */
unsigned sim_pending(const struct pool *p);
/* Writes the image in which exactly those pending units whose bit is set in `mask` reached the medium (bit i of word
 * i/64). */
void sim_image(const struct pool *p, const uint64_t *mask, void *image_out);
/* The same as a new simulated pool, much cheaper than through an image: pages are shared until they are written.
 * -ENOMEM. */
int sim_fork(const struct pool *p, const uint64_t *mask, struct pool **out);
/*
 * The outcome that the whole truth of the medium allows, seeded: each line stops after any of its stores, the next
 * store may have arrived in part, whole 8-byte words only; on POOL_MSYNC each 512-byte sector of a page on its own. It
 * finds code that takes several words in one line, or a page, for atomic.
 */
int sim_fork_torn(const struct pool *p, uint64_t seed, struct pool **out);
/* A hash over what is durable in p: equal for equal content of pools that stem from one sim_create or sim_copy. */
uint64_t sim_hash(const struct pool *p);

/*
 * The outcomes to try for `pending` units: all subsets up to 10 units, above that none, all, each one missing, each one
 * alone, and 64 samples seeded by `seed`. Returns how many there are; fills mask (words of 64) for outcome `index`.
 */
uint64_t sim_outcomes(unsigned pending);
void sim_outcome(unsigned pending, uint64_t index, uint64_t seed, uint64_t *mask);
/* The generator of all samples (splitmix64): the next number of *state. */
uint64_t sim_random(uint64_t *state);

#endif
