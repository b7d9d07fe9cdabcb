/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For test_kill.c: what a client of a server that is about to be killed did, in memory that outlives both.
 *
 * A worker announces every operation in ops[] before it begins (started) and after it was acknowledged (done), so that
 * whoever looks after the kill knows every state that the pool may be in: the one after operation n, for one n from
 * `synced` (plain file) or `done` (everything else) to `started`. Blocks of the file written directly are not part of
 * that order: they are in place.
 */
#ifndef LH_TESTS_E2E_KILL_MODEL_H
#define LH_TESTS_E2E_KILL_MODEL_H

#include <stdatomic.h>

#include "rig.h"

#define KILL_WORKERS  3u
#define KILL_SLOTS    10u
#define KILL_BLOCKS   32u
#define KILL_OPS_MAX  100000u
#define KILL_FILE_MAX (64 * KIB)

enum kill_kind {
	KILL_PUT,
	KILL_REMOVE,
	KILL_RENAME,
	KILL_EXCHANGE,
	KILL_CLONE,
	KILL_CUT,
	KILL_MOVE_BLOCKS,
	KILL_DIRECT,
	KILL_SYNC,
	KILL_COLLAPSE, /* the first blocks go */
	KILL_TAG,      /* an extended attribute */
	KILL_COPY,     /* as CLONE, by copy_range */
	KILL_NAMELESS  /* made without a name, written, linked: to a slot that is free */
};
#define KILL_KINDS 13u

/* A block whose last write was cut off: any bytes. */
#define KILL_UNKNOWN UINT32_MAX
/* A file is its size and the seed of its bytes: byte i is rig_byte(seed, shift + i). seed 0: there is none. */
struct kill_file {
	unsigned seed;
	uint32_t size, shift;
	unsigned tag; /* the value of its extended attribute; 0: none */
};

struct kill_op {
	enum kill_kind kind;
	unsigned a, b;
	struct kill_file file;
};

struct kill_worker {
	unsigned number;
	atomic_bool ready;
	atomic_uint started, done, synced;
	struct kill_file base[KILL_SLOTS]; /* before ops[0] */
	struct kill_op ops[KILL_OPS_MAX];
	unsigned block_done[KILL_BLOCKS], block_next[KILL_BLOCKS]; /* seeds; next: the write that may have begun */
	char failure[512];
};

/* The state after one more operation. */
void kill_apply(struct kill_file *files, const struct kill_op *op);
/* The worker's process: until the server is gone. Says in w->failure what should not have happened. */
void kill_work(const struct rig *rig, struct kill_worker *w, unsigned seed);
/* Compares the worker's directory with what it may be and begins w anew from there. `any`: from synced on, else from
 * done. 0, or 1 with a text on stderr. */
int kill_verify(struct lh_fs *fs, struct kill_worker *w, bool any);
/* Directories and files that every worker begins with. */
int kill_prepare(struct lh_fs *fs, struct kill_worker *w);
unsigned kill_random(unsigned *state, unsigned below);

#endif
