/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claims (L35): which EXCLUSIVE leases a client may have again when the process that owned the pool died. A claim is
 * durable before its lease is given out, and goes with it: when it is released or revoked, its removal is in the log
 * (on POOL_MSYNC: durable) before anybody else may change the range.
 *
 * After a mount that replays a crash every claim is held by a *ghost*: an EXCLUSIVE lease of a session that nobody
 * drives. So others' changes are denied for the grace, relocation and the administrator override it, listings show it,
 * all by the arbiter's own rules. The client that comes back gets a lease of its own, then the ghost lets go.
 *
 * Leases without a client id pay one comparison; so do files that nobody leases exclusively.
 */
#ifndef LH_FS_CLAIMS_H
#define LH_FS_CLAIMS_H

#include "fs/core.h"

int claims_init(struct fs *fs);
/* No more records from here on: the pool is left as a crash would (fs_abandon), or a clean checkpoint follows. */
void claims_stop(struct fs *fs, bool abandon);
void claims_fini(struct fs *fs);

/* Replay. NULL or what is wrong. */
const char *claim_apply(void *ctx, const struct journal_claim *c);
/* The end of mount, no other thread yet: ghosts for what counts, the rest is dropped. */
int claims_raise(struct fs *fs, uint64_t grace_ns);
/* Checkpoint: an item for each that still counts. */
void claims_walk(struct fs *fs, struct jtxn *t);
/* Once the grace is over: no ghosts any more, and their records removed. No lock held. */
void claims_settle(struct fs *fs);
/* When claims_settle has something to do, by the arbiter's clock; UINT64_MAX: never. */
uint64_t claims_due_ns(struct fs *fs);

/*
 * The lease's claim, durable on return; it takes the place of the one that the lease had. *old: what that was, for
 * claim_restore; end 0: none. No lock held. -ENOSPC, -ENOMEM, -EIO, -EDQUOT: it has what it had.
 */
int claim_set(struct fs *fs, uint64_t lease, const struct journal_claim *c, struct journal_claim *old);
/* The lease has this one again; end 0: none. */
void claim_restore(struct fs *fs, uint64_t lease, const struct journal_claim *old);
/* struct lease_options.denier_gone. */
void claim_lost(void *ctx, uint64_t lease, struct range range);

/*
 * A client takes what it had. begin: the ghost that holds the range for it, kept until end; -ESTALE: there is none.
 * stands: it still does. end: the ghost lets go of the range, or (not taken) keeps it. No lock held but for stands.
 */
struct claim_back {
	struct lease_session *ghost;
	uint64_t lease; /* the ghost's */
	struct range range;
	int64_t until_ns; /* CLOCK_REALTIME: the age goes on */
};
int claim_back_begin(struct fs *fs, const struct journal_claim *wanted, struct claim_back *b);
bool claim_back_stands(struct fs *fs, const struct claim_back *b);
void claim_back_end(struct fs *fs, struct claim_back *b, bool taken);

#endif
