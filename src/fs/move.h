/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving file blocks to other places, content unchanged: the common part of relocate, defragment, evacuate and shrink.
 * Two shapes: a range of one file (fs_relocate, fs_defragment), with one gate over all of it; and all that lies in a
 * run of the pool (a *sweep* over all files), with a gate for just the bytes of each batch.
 */
#ifndef LH_FS_MOVE_H
#define LH_FS_MOVE_H

#include "fs/layout.h"

/* What could not be read. */
struct move_loss {
	uint64_t ino, off, blocks; /* file blocks */
};

/* Shared blocks that have moved: the next file that names the old ones names the new ones, and they stay shared. */
struct move_kept {
	uint64_t from, to, blocks;
};

/* Empties a run of the pool, which is fenced. */
struct sweep {
	struct fs *fs;
	const struct fs_caller *who;
	struct run run;
	bool salvage;   /* what cannot be read becomes a hole and a loss; else -EIO */
	uint64_t moved; /* blocks */
	struct move_loss *losses;
	uint64_t loss_count, loss_room;
	struct move_kept *kept; /* each holds one reference of its old and one of its new blocks */
	uint64_t kept_count, kept_room;
	void (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	uint64_t total;
};
/* One pass over all files. No lock held. What is made meanwhile may need another one. */
int sweep_files(struct sweep *s);
/* Takes the fenced run's log and checkpoint to other places: sweeps may alternate with it. No lock held. */
int sweep_journal(struct sweep *s);
/* Until nothing is left in the run. -EBUSY: something in it cannot be moved. */
int sweep_all(struct sweep *s);
void sweep_fini(struct sweep *s);

#define MOVE_PARTS 32u
/* L1: a relocation takes EXCLUSIVE leases too: it is how memory that fails is saved. */
#define MOVE_MODES (LEASE_ANY_MODE | LEASE_EXCLUSIVE)

struct move {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	struct gate *gate;
	struct sweep *sweep; /* NULL: [next, end) of the file, whose gate is closed */
	/* Set aside for what moves, used in order; NULL: from the allocator. */
	struct run *into;
	unsigned into_count;
	uint64_t next, end; /* file blocks */
	/* The batch. */
	struct move_part {
		struct extent to;
		uint64_t from;
		enum { MOVE_COPY, MOVE_KEEP, MOVE_SHARE } how;
	} part[MOVE_PARTS];
	unsigned count;
	uint64_t blocks;
	struct gate_need need; /* NEED_GATE: what for */
	struct move_loss *lost;
	uint64_t lost_count, lost_room;
};
/* Under INODE exclusive: one record's worth. 0, NEED_GATE, or an error; next moves on. */
int move_batch(struct move *m);
void move_fini(struct move *m);

#endif
