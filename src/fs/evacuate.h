/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bad blocks: a run that is not to be used any more is fenced in the allocator, which is the list of them while the
 * filesystem is mounted, and recorded (format 4.11), in every checkpoint too.
 */
#ifndef LH_FS_EVACUATE_H
#define LH_FS_EVACUATE_H

#include "fs/core.h"

#define BAD_RUNS_MAX 4096u

/* Replay: collects; NULL or the rule. */
const char *bad_apply(void *ctx, struct run r, bool good);
/* The end of replay, after all extents are marked: what was collected is fenced. -ENOMEM. */
int bad_finish(struct fs *fs);
/* Checkpoint: an item for each. */
void bad_walk(struct fs *fs, struct jtxn *t);
/*
 * Before the run is cut off: it has no bad blocks any more, by record; *out (from malloc) says which those were, for
 * bad_put_back when the pool keeps its size after all. The run is fenced otherwise.
 */
int bad_take(struct fs *fs, struct run r, struct run **out, unsigned *count);
void bad_put_back(struct fs *fs, const struct run *runs, unsigned count);

/* Resizing and evacuating: one at a time. -EBUSY. */
int space_work_begin(struct fs *fs);
void space_work_end(struct fs *fs);

#endif
