/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free space and share counts of one pool, in blocks. Nothing here is on the medium: mount recomputes it from the
 * extents (I2), the log's segments and the checkpoint. A block's reference count is the number of extents that name it;
 * only counts above one are kept.
 *
 * The reserve: blocks that ordinary allocations leave alone so that the log can grow and the next checkpoint can be
 * written, also on a full pool (which can always delete).
 *
 * POOL_MSYNC: released blocks wait in a pending list until the record that freed them is durable (alloc_settle).
 *
 * The pool is cut into groups (1/16 of it up to 1 GiB, then 1/64), each with a lock of its own; a thread's files start
 * in a group of its own. No run crosses a group's border, but a run can go on in the next one.
 * Lock: ALLOC, one group at a time. All calls are thread safe.
 */
#ifndef LH_FS_ALLOC_H
#define LH_FS_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

#include "lease/lease.h"

struct alloc;
struct run {
	uint64_t start, blocks;
};

/* Everything is free but the first and the last block: the superblock and its copy. */
int alloc_new(uint64_t pool_blocks, bool defer_free, struct alloc **out);
void alloc_free(struct alloc *a);

/*
 * One contiguous run of 1 to want blocks: at `goal` (0: none) when it is free there, else the smallest fit, else the
 * longest there is; 2 MiB aligned when want is large. -ENOSPC; with defer_free it can help to make records durable and
 * try again (alloc_pending_blocks). -ENOMEM.
 */
int alloc_take(struct alloc *a, uint64_t want, uint64_t goal, struct run *out);
/*
 * The same for the log and the checkpoint. Of the reserve, records that give space back (FREES) may use what the next
 * checkpoint does not need: else they could use up what it takes to cut the log again.
 */
enum alloc_use {
	ALLOC_PLAIN,
	ALLOC_FREES,
	ALLOC_CHECKPOINT,
	ALLOC_CHECKPOINT_SMALL /* and prefers short runs when there are few long ones */
};
int alloc_take_meta(struct alloc *a, uint64_t want, enum alloc_use use, struct run *out);
/* alloc_take that may use the reserve. */
int alloc_take_promised(struct alloc *a, uint64_t want, uint64_t goal, struct run *out);
/* alloc_take_meta for the checkpoint. */
int alloc_take_reserved(struct alloc *a, uint64_t want, uint64_t goal, struct run *out);
/* Gives back a run that no record ever named and no key ever reached. */
void alloc_undo(struct alloc *a, struct run r);
/* Log and checkpoint space back: a run or a part of one. */
void alloc_release_meta(struct alloc *a, struct run r);
void alloc_set_reserve(struct alloc *a, uint64_t blocks);
/* Of the reserve. */
void alloc_set_checkpoint_reserve(struct alloc *a, uint64_t blocks);
uint64_t alloc_pool_blocks(const struct alloc *a);
uint64_t alloc_free_blocks(struct alloc *a);    /* free or soon free (pending); held ones are not */
uint64_t alloc_avail_blocks(struct alloc *a);   /* the same without the reserve */
uint64_t alloc_pending_blocks(struct alloc *a); /* waiting for alloc_settle */

/*
 * One more reference to each block of an allocated run. alloc_share_prepare first: after it the same run's share cannot
 * fail; each prepare needs one alloc_share or one alloc_share_cancel.
 */
int alloc_share_prepare(struct alloc *a, struct run r);
void alloc_share(struct alloc *a, struct run r);
void alloc_share_cancel(struct alloc *a, struct run r);
/*
 * One reference fewer; blocks whose last it was become free. The receipt proves that no device reaches them through the
 * file range that named them. seq: the record that dropped them (for defer_free).
 */
void alloc_release(struct alloc *a, const struct drained *gone, struct run r, uint64_t seq);
/* Whether the first block is shared, and how many blocks (at most r.blocks) are alike. */
bool alloc_shared(struct alloc *a, struct run r, uint64_t *alike);
/* Mount: whether any block is shared. */
bool alloc_any_shared(struct alloc *a);
/* Records up to seq are durable: pending frees become free. */
void alloc_settle(struct alloc *a, uint64_t seq);

/* Mount: references one run (first reference allocates, further ones share). -EUCLEAN: outside the pool or over meta
 * blocks. -ENOMEM. */
int alloc_mark(struct alloc *a, struct run r);
int alloc_mark_meta(struct alloc *a, struct run r);

/*
 * Fences: blocks of the run are not handed out any more. Those that are free now, and those that are released later,
 * are *held*: neither free nor in use. A MOVING fence is lifted by alloc_unfence; a BAD one stays with the run until
 * alloc_unfence_bad (blocks that are not to be used, format 4.11). BAD replaces MOVING. -ENOMEM: nothing changed.
 */
enum alloc_fence { ALLOC_FENCE_MOVING = 1, ALLOC_FENCE_BAD = 2 };
int alloc_fence(struct alloc *a, struct run r, enum alloc_fence kind);
void alloc_unfence(struct alloc *a, struct run r);
void alloc_unfence_bad(struct alloc *a, struct run r);
/* BAD fences in the run become MOVING ones. */
void alloc_bad_to_moving(struct alloc *a, struct run r);
/* How many blocks of the run are held. */
uint64_t alloc_held(struct alloc *a, struct run r);
uint64_t alloc_held_blocks(struct alloc *a);
/* The first BAD run that ends behind the block; blocks 0: none. */
struct run alloc_bad_from(struct alloc *a, uint64_t block);
/* Free blocks of the run; those that wait for alloc_settle do not count. */
uint64_t alloc_free_in(struct alloc *a, struct run r);
/*
 * Another number of pool blocks. More: what is new is free, but for the last block. Less: everything from the new last
 * block on is fenced and held already (asserted), and forgotten. -ENOMEM.
 */
int alloc_resize(struct alloc *a, uint64_t pool_blocks);
/* After it alloc_resize to so many cannot fail. */
int alloc_resize_prepare(struct alloc *a, uint64_t pool_blocks);

/* Tests: the n-th take from now on says -ENOSPC, once; 0: none does. */
void alloc_fail_take(struct alloc *a, uint64_t n);
/* How many takes are left until it fails; 0: it did. */
uint64_t alloc_fail_left(const struct alloc *a);

/*
 * fsck: calls each() for every run where the two differ: free in one and not in the other, or other reference counts
 * (0 free, 1, 2, ...). Returns how many. Pending and held blocks count as free. Neither may be in use.
 */
uint64_t alloc_compare(struct alloc *have, struct alloc *want,
		       void (*each)(void *ctx, struct run r, uint64_t have_refs, uint64_t want_refs), void *ctx);

#endif
