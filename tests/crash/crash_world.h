/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Crash cases made of fsop.h operations, judged by the reference filesystem.
 *
 * A world is a list of operations: `setup` of them make the starting tree (durable), `warm` more run before the crash
 * may come (they may leave handles open and bytes pending), the rest is crashed. After every crash the pool mounts
 * unaided, fs_verify is silent, and the tree is one of the reference's states: on cache-flush the one after the
 * operations that had returned, or with the one under way whole; on msync any from the last sync on. Bytes stored in
 * place may be older or newer, within the reference's rules (oracle.h).
 *
 * Every eighth state is used further: something is made in it, it is unmounted, mounted and compared again.
 */
#ifndef LH_CRASH_WORLD_H
#define LH_CRASH_WORLD_H

#include "crash_runner.h"
#include "drive.h"

#define WORLD_OPS_MAX 64u

struct world {
	enum pool_class class;
	struct fsop op[WORLD_OPS_MAX];
	struct oracle *state[WORLD_OPS_MAX + 1]; /* by operations done since setup */
	struct fsop_result result[WORLD_OPS_MAX + 1];
	unsigned synced[WORLD_OPS_MAX + 1]; /* the newest state that must be there */
	unsigned setup, warm, ops;          /* ops: after setup, warm ones included */
	bool unmounted;                     /* setup ends with an unmount; else with a sync, and the log stays */
	bool checkpoint_first;              /* begin writes a checkpoint after the warm operations */
	struct drive drive;
};

/* First in main. */
void world_init(void);
/* op[0..setup+ops) is there: computes the states. */
void world_prepare(struct world *w, enum pool_class class);
void world_free(struct world *w);
/* Functions of a crash_case with the world as ctx. */
void world_case(struct world *w, struct crash_case *c);
/* Operations and states, for a failure. */
void world_print(struct world *w, FILE *to);

extern const struct fs_mount_options world_quiet;
/* Mounts, verifies, compares with states [lowest, highest]; uses it further when `further`. */
int world_judge(struct pool *p, struct oracle *const *state, const struct fsop *op, unsigned lowest, unsigned highest,
		bool further);

/* What all cases of this process did; printed by crash_totals_print as scripts/run-tests reads it. */
struct crash_totals {
	uint64_t verified, equal, untried, failed, cases;
};
extern struct crash_totals crash_totals;
/* crash_run, added up. */
int crash_run_counted(const struct crash_case *c, struct crash_result *out);
void crash_totals_print(void);

#endif
