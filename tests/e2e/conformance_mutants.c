/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `leasehold` with one rule of docs/semantics.md broken, at link time (--wrap): LEASEHOLD_MUTANT says which. For
 * conformance_mutants.sh, which shows that every check of `leasehold conformance` fails when what it is there for is
 * not so. Everything else is the program as it is; without the variable all of it is.
 *
 * Only functions that are called from another file than their own can be wrapped. A mutant breaks its rule as mildly as
 * it can: a check that needs the server to crash would show nothing.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "leasehold/leasehold.h"
#include "fabric/fabric.h"
#include "fs/claims.h"
#include "fs/core.h"
#include "fs/layout.h"
#include "fs/pin.h"
#include "lease/lease_internal.h"
#include "pool/pool.h"
#include "server/server.h"

/* The number of the broken rule; 0: none. */
static unsigned broken;

__attribute__((constructor)) static void choose(void)
{
	const char *name = getenv("LEASEHOLD_MUTANT");

	if (name && (*name == 'L' || *name == 'l'))
		broken = (unsigned)strtoul(name + 1, NULL, 10);
}

static void stay(uint64_t ns)
{
	struct timespec ts = {(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)};

	nanosleep(&ts, NULL);
}

#define WRAP(type, name, ...)                                                                                          \
	type __real_##name(__VA_ARGS__);                                                                               \
	type __wrap_##name(__VA_ARGS__);                                                                               \
	type __wrap_##name(__VA_ARGS__)

/* --- breaks --- */

#define BOTH (LEASE_READ | LEASE_WRITE)

/* L1: modes that are in nobody's way are broken. L22: what denies changes is broken like any other. */
static unsigned modes_of(unsigned modes)
{
	if (broken == 1)
		return modes | BOTH;
	return broken == 22 ? modes | LEASE_EXCLUSIVE : modes;
}

WRAP(int, lease_break_start, struct lease_arbiter *a, const struct lease_break_args *args, struct lease_break **out)
{
	struct lease_break_args worse = *args;

	worse.modes = modes_of(args->modes);
	if (broken == 4) /* all of the file is recalled */
		worse.range = RANGE_ALL;
	if (broken == 6) /* no grace */
		worse.deadline_ns = LEASE_DEADLINE_NOW;
	if (broken == 10) /* says stop for drain, and drain for stop */
		worse.kind = args->kind == LEASE_STOP ? LEASE_DRAIN : LEASE_STOP;
	if (broken == 21) /* whoever changes is broken, too */
		worse.owner = NULL;
	return __real_lease_break_start(a, &worse, out);
}

WRAP(int, lease_conflicts, struct lease_anchor *an, struct range range, unsigned modes,
     const struct lease_session *owner)
{
	if (broken == 3) /* what is leased elsewhere in the file costs */
		stay(30 * NS_PER_MS);
	return __real_lease_conflicts(an, range, modes_of(modes), owner);
}

/* L7: the change waits on after the last holder is gone. */
WRAP(int, lease_break_wait, struct lease_break *b)
{
	int err = __real_lease_break_wait(b);

	if (broken == 7)
		stay(60 * NS_PER_MS);
	return err;
}

/* L8: leases are granted between the break and the change. */
WRAP(bool, gate_closed, const struct lease_object *o, struct range range)
{
	return broken == 8 ? false : __real_gate_closed(o, range);
}

/* L9: whoever does not want to wait, waits. */
WRAP(int, gate_break, struct gate *g, struct fs *fs, struct inode *i, const struct gate_need *need,
     const struct fs_caller *who)
{
	struct fs_caller patient = *who;

	if (broken == 9)
		patient.nowait = false;
	return __real_gate_break(g, fs, i, need, &patient);
}

/* L2: opening for writing recalls. */
WRAP(int, fs_open, struct fs *fs, const struct fs_caller *who, const char *path, int flags, uint32_t mode,
     struct fs_handle **out)
{
	int err = __real_fs_open(fs, who, path, flags, mode, out);
	struct lease_break_args args = {.range = RANGE_ALL,
					.modes = BOTH,
					.reason = LEASE_FOR_RELOCATE,
					.kind = LEASE_DRAIN,
					.owner = who->session};
	struct lease_break *b;

	if (broken != 2 || err || !(*out)->writable)
		return err;
	args.anchor = &(*out)->inode->anchor;
	if (!lease_break_start(fs->arbiter, &args, &b))
		lease_break_detach(b);
	return 0;
}

/* L5: own pins do not follow. */
WRAP(int, pin_place, void *wrap, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range range,
     const struct fs_run *runs, unsigned count)
{
	return broken == 5 ? -ENOMEM : __real_pin_place(wrap, lease, seq, mode, range, runs, count);
}

/* --- leases --- */

WRAP(int, lease_grant, struct lease_arbiter *a, const struct lease_grant_args *args, struct lease_grant *out)
{
	struct lease_grant_args worse = *args;

	if (broken == 33) /* a faulting lease is a pinned one */
		worse.faulting = false;
	if (broken == 20 && lease_conflicts(args->anchor, args->range, BOTH, args->session) > 0)
		return -EDQUOT; /* one holder is enough */
	return __real_lease_grant(a, &worse, out);
}

/* L11: a number that nobody holds is an error. */
WRAP(int, lease_release, struct lease_session *s, uint64_t lease, struct range range)
{
	struct lease_info info;

	if (broken == 11 && lease_look(s, lease, &info))
		return -ENOENT;
	return __real_lease_release(s, lease, range);
}

/* L23: a change that says yes and does nothing. */
WRAP(int, lease_change, struct lease_session *s, uint64_t lease, const struct lease_change_args *args,
     struct lease_grant *out)
{
	if (broken != 23)
		return __real_lease_change(s, lease, args, out);
	*out = (struct lease_grant){.lease = lease, .seq = 1};
	return 0;
}

/* L24: leases stay when their handle is closed. */
WRAP(void, lease_handle_close, struct lease_session *s, uint64_t handle)
{
	if (broken != 24)
		__real_lease_handle_close(s, handle);
}

/* L25: an administrator who is told that it is done. */
WRAP(int, lease_revoke_for, struct lease_arbiter *a, uint64_t lease, uint64_t object, uint64_t session, uint32_t uid,
     const struct lease_session *asker, const char *asked_by)
{
	return broken == 25 ? 1 : __real_lease_revoke_for(a, lease, object, session, uid, asker, asked_by);
}

/* L26: no record. */
WRAP(void, audit_add, struct lease_arbiter *a, const struct recall *r, const char *asked_by)
{
	if (broken != 26)
		__real_audit_add(a, r, asked_by);
}

/* L18: charges are not given back. L19: there are no limits. */
WRAP(int, account_lease_take, struct lease_session *s)
{
	return broken == 19 ? 0 : __real_account_lease_take(s);
}
WRAP(int, account_bytes_take, struct lease_session *s, uint64_t n)
{
	return broken == 19 ? 0 : __real_account_bytes_take(s, n);
}
WRAP(void, account_lease_give, struct lease_session *s)
{
	if (broken != 19)
		__real_account_lease_give(s);
}
WRAP(void, account_bytes_give, struct lease_session *s, uint64_t n)
{
	if (broken != 18 && broken != 19)
		__real_account_bytes_give(s, n);
}

/* L36: an unmount takes its time. */
WRAP(void, lease_unmount, struct lease_arbiter *a, uint64_t deadline_ns)
{
	if (broken == 36)
		stay(6 * NS_PER_SEC);
	__real_lease_unmount(a, deadline_ns);
}

/* --- keys --- */

#define SLOTS FABRIC_KEYS_MAX

/* L14: what the client sees is the slot, which the next key has again. L16: the last key goes with each that dies. */
static uint64_t real_of[SLOTS];
static _Atomic uint64_t last_key;

WRAP(int, fabric_expose, struct fabric_domain *d, void *base, uint64_t len, unsigned access, struct fabric_key *out)
{
	/* L17: every key is for both directions. */
	int err = __real_fabric_expose(d, base, len, broken == 17 ? FABRIC_READ | FABRIC_WRITE : access, out);

	if (err)
		return err;
	atomic_store(&last_key, out->number);
	if (broken == 14) {
		real_of[out->number % SLOTS] = out->number;
		out->number = (1ull << 40) + out->number % SLOTS;
	}
	return 0;
}

WRAP(int, fabric_revoke, struct fabric_domain *d, struct fabric_key key, struct fabric_receipt *out)
{
	struct fabric_receipt other;

	if (broken == 12) { /* a receipt, and the key lives on */
		*out = (struct fabric_receipt){.number = key.number};
		return 0;
	}
	if (broken == 13) /* somebody holds it up */
		stay(200 * NS_PER_MS);
	if (broken == 14)
		key.number = real_of[key.number % SLOTS];
	if (broken == 16) {
		__real_fabric_revoke(d, (struct fabric_key){atomic_load(&last_key)}, &other);
		__real_fabric_revoke(d, key, out);
		return 0;
	}
	return __real_fabric_revoke(d, key, out);
}

/* --- memory, commit, life --- */

/* L27: old bytes stay where a direct writer will be let in. */
WRAP(void, pool_guard_zero, struct pool *p, uint64_t off, uint64_t len)
{
	if (broken != 27)
		__real_pool_guard_zero(p, off, len);
}

/* L28: a commit that does nothing. L30: one that makes the file longer than what was written. */
WRAP(int, fs_commit_written, struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len)
{
	if (broken == 28)
		return 0;
	return __real_fs_commit_written(h, who, off, broken == 30 ? len + LH_BLOCK_SIZE : len);
}

/* L34: silence has no end. */
WRAP(void, away_expire, struct lh_server *server, uint64_t late_ns)
{
	if (broken != 34)
		__real_away_expire(server, late_ns);
}

/* L35: a crash ends what was exclusive. */
WRAP(int, claims_raise, struct fs *fs, uint64_t grace_ns)
{
	return broken == 35 ? 0 : __real_claims_raise(fs, grace_ns);
}

/* --- clients --- */

/* L15: a lease that was taken is an error for the application. */
WRAP(int, client_lease_fault, struct lh_lease *lease, uint64_t off, uint64_t len, bool hole)
{
	return broken == 15 ? fail(-ESTALE, "the lease was taken") : __real_client_lease_fault(lease, off, len, hole);
}

/* L29: a restart of the server is no reason for anything. */
WRAP(void, client_lost_all, struct lh_fs *fs)
{
	if (broken != 29)
		__real_client_lost_all(fs);
}

/* L32: plain reads are calls. */
WRAP(ssize_t, client_lease_step, struct lh_lease *lease, char *buf, size_t len, uint64_t off)
{
	return broken == 32 ? 0 : __real_client_lease_step(lease, buf, len, off);
}

/* L31: pages that are taken away stay. */
WRAP(void *, mmap64, void *at, size_t len, int prot, int flags, int fd, off64_t off)
{
	if (broken == 31 && prot == PROT_NONE && (flags & MAP_FIXED) && (flags & MAP_ANONYMOUS))
		return at;
	return __real_mmap64(at, len, prot, flags, fd, off);
}
