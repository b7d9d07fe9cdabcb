/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol of every operation that changes a layout (docs/design.md, decision 3), with no lock held while waiting:
 *
 *   again:  INODE exclusive; look what has to change
 *           layout_check()?  NEED_GATE: drop INODE; gate_break() waits for the holders and keeps the gate closed; again
 *           change_begin()   the caller's own pins are drained (L5); receipt (L13)
 *           record, then memory, then blocks back to the allocator with the receipt
 *           change_end()     the caller's own pins are placed anew
 *           drop INODE; gate_end()
 *
 * A file that nobody leases pays one load in layout_check and one in change_begin (L3). Grants happen under INODE too,
 * so that "nobody leases it" stays true while it is held exclusively.
 */
#ifndef LH_FS_LAYOUT_H
#define LH_FS_LAYOUT_H

#include "fs/core.h"

/* What a change does to leases: a row of the table of breaking operations in docs/semantics.md. */
struct gate_need {
	struct range range; /* bytes */
	unsigned modes;
	enum lease_reason reason;
	enum lease_kind kind;
};

/* A break that was waited for and whose gate is still closed. Starts as zeroes. */
struct gate {
	struct lease_break *brk;
	struct range range;
	unsigned modes;
};

/* What the locked half of an operation returns to have its gate closed; no errno (-EAGAIN is -EWOULDBLOCK, an answer).
 */
#define NEED_GATE 1

/*
 * Under INODE exclusive. 0: nobody but the caller's session holds what the change needs gone. NEED_GATE: somebody does.
 * -ETXTBSY, -EDEADLK: another's lease, or the caller's own, denies the change (L22). -ESTALE: the file was reclaimed
 * while it was open.
 */
int layout_check(const struct gate *g, struct inode *i, const struct gate_need *need, const struct fs_caller *who);
/* The sentence for what lease_conflicts and breaks return; other errors, and 0, as they are. */
int layout_denied(const struct inode *i, struct range range, int err);
/* Under INODE: -ESTALE when it was reclaimed while it was open (fs_mount_options.orphan_limit_ns). */
int inode_stale(const struct inode *i);
/*
 * No lock held. 0: the range is free as long as the gate is; -EWOULDBLOCK (L9); -ENOMEM; -EINTR: the caller's waits
 * were ended, the gate is open again; -ETXTBSY, -EDEADLK as layout_check. An older gate of g opens after.
 */
int gate_break(struct gate *g, struct fs *fs, struct inode *i, const struct gate_need *need,
	       const struct fs_caller *who);
/* For two files at once (clone): both breaks start before either is waited for. Either need may be NULL. */
struct gate_side {
	struct gate *gate;
	struct inode *inode;
	const struct gate_need *need;
};
int gate_break_two(struct fs *fs, const struct gate_side side[2], const struct fs_caller *who);
void gate_end(struct gate *g);

struct change {
	struct fs *fs;
	struct inode *inode;
	struct range range;
	struct lease_session *owner; /* NULL: no own leases there */
	struct drained gone;
};
/* Under INODE exclusive, after layout_check() said yes for all modes. -ENOMEM: nothing was drained. */
int change_begin(struct change *c, struct fs *fs, struct inode *i, struct range range, const struct fs_caller *who);
/* Also after a failure, and for one that never began (zeroes). */
void change_end(struct change *c);
/* The clone's source: own writers lose what they share now; others have been broken already, no blocks move. */
int change_begin_shared(struct change *c, struct fs *fs, struct inode *i, struct range range,
			const struct fs_caller *who);

/* The last file block there can be, and one. */
#define BLOCKS_END (block_of(FS_SIZE_MAX) + 1)

static inline struct range block_range(uint64_t first, uint64_t blocks)
{
	return (struct range){block_bytes(first), block_bytes(first + blocks)};
}

/* Under INODE: the runs of a range as a lease of the mode may see them; *runs from malloc, NULL when there are none. */
int layout_runs(struct fs *fs, struct inode *i, struct range range, enum lease_mode mode, struct fs_run **runs,
		unsigned *count);
/* Under INODE: the extent at block b or after it, cut to [b, end). false: none. */
bool layout_next(const struct inode *i, uint64_t b, uint64_t end, struct extent *e);
/* Under INODE: how many blocks of [first, end) are not there. */
uint64_t layout_missing(const struct inode *i, uint64_t first, uint64_t end);
/* Under INODE: whether blocks are unwritten and not zeroed in the range. */
bool layout_has_unwritten(const struct inode *i, struct range range);
/* Under INODE: a map of so many extents is not too long. -EFBIG. */
int layout_extents_fit(const struct fs *fs, uint64_t extents);
/* Under INODE: one extent holds [first, end) and goes on at both sides: without the range it is two. */
bool layout_cuts_in_two(const struct inode *i, uint64_t first, uint64_t end);
/* Under INODE exclusive: zeroes them in memory, so that they can be shown. -ENOMEM. */
int layout_expose(struct fs *fs, struct inode *i, struct range range);

/* --- io.c: content ------------------------------------------------------------------------------------------------ */

enum store_kind { STORE_DATA, STORE_ZEROES, STORE_RESERVE, STORE_UNSHARE, STORE_LEASE };
/*
 * One walk over [pos, end) of a file that makes blocks be as the kind wants. DATA writes src and grows the size; ZEROES
 * writes zeroes where there is something else and never grows; RESERVE allocates holes, unwritten; UNSHARE does that
 * and copies what is shared; LEASE makes the range fit for a direct writer (L27). pos moves on with what is done.
 */
struct store {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	struct gate *gate;
	const uint8_t *src; /* DATA: the byte for pos */
	uint64_t pos, end;
	enum store_kind kind;
	bool append;    /* DATA: pos is where the file ends when the first byte is written */
	bool started;   /* something was done */
	bool dropped;   /* INODE was dropped and taken again */
	unsigned spare; /* LEASE_OWN_EXCLUSIVE: the caller's own leases deny nothing (one of them is being changed) */
	bool promised;  /* the copy of a shared block behind the end of file may use the reserve: a commit must not fail
			 */
};
/* INODE exclusive is held on entry and on return, and may be dropped between (for a break). */
int store_run(struct store *s);
/*
 * The same locking. Before the size becomes more than it is: what lies between the end of file and up_to reads as
 * zeroes then, unless somebody holds a WRITE lease there (his bytes are kept).
 */
int store_gap(struct store *s, uint64_t up_to);
/*
 * INODE exclusive. Behind the end of file, in its block, there are zeroes, or what a direct writer has put there and
 * not committed yet (he may be recalled, come back and commit, L10). Old bytes must go before he can be given the
 * block: after a truncate at once; a block that is shared then, or that comes from a mount or a clone, is remembered as
 * tail_stale. POOL_MSYNC: not before the cut is durable, so it is always remembered there.
 */
int store_tail(struct fs *fs, struct inode *i);

/* --- layout_lease.c ----------------------------------------------------------------------------------------------- */

/* L17: what a handle and a session may lease. */
int lease_check_args(const struct fs_handle *h, const struct fs_caller *who, const struct fs_lease_args *a);
/* Under INODE. L22: -EPERM. */
int lease_may_deny(const struct inode *i, const struct fs_caller *who, const struct fs_lease_args *a);
/*
 * L27: INODE exclusive is held on entry and on return, and may be dropped between: whole blocks are fit for a direct
 * writer. Of `like`: fs, inode, who, gate, which is open on return, spare. -EAGAIN: a snapshot is about to be taken.
 */
int lease_fit_write(const struct store *like, struct range range);
/*
 * No lock held, the lease is granted or about to be changed: its client has it again after a crash (L35). *old: for
 * claim_restore. -ENOSPC, -ENOMEM, -EIO, -EDQUOT: as before.
 */
int lease_claim(struct fs *fs, const struct inode *i, const struct fs_caller *who, const struct fs_lease_args *args,
		const struct fs_lease *lease, struct journal_claim *old);
/* No lock held: waits until a grant on the range may be tried again. -EAGAIN: the caller does not wait; -EINTR. */
int lease_wait(struct fs_handle *h, const struct fs_caller *who, struct range range);

/* --- truncate.c --------------------------------------------------------------------------------------------------- */

/* Under INODE exclusive with the receipt, before the map changes: what lies in [first, end) goes to the allocator. */
void release_blocks(struct change *c, uint64_t first, uint64_t end, uint64_t seq);
/* [from, to) reads as zeroes: in place, or as a new block where one is shared. store_run's locking. Empty: nothing. */
int store_zeroes(struct store *s, uint64_t from, uint64_t to);
/* After a try, without locks: once more, because room was made or the gate that it needs is closed now? */
bool change_again(struct store *s, const struct gate_need *need, unsigned *tries, int *err);
int punch_range(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t end);

/* --- shift.c, zero.c ---------------------------------------------------------------------------------------------- */

/* Collapse (insert: makes a hole) of [off, off + len). */
int shift_range(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len, bool insert);
int zero_range(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t end, bool keep_size);

/* --- range.c ------------------------------------------------------------------------------------------------------ */

/* Under INODE exclusive: new times, and at least this size. store_gap was called before. One record. */
int range_attr(struct fs *fs, struct inode *i, const struct fs_caller *who, uint64_t size);

#endif
