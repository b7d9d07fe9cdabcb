/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Truth in a log: every metadata operation is one record of *items*; a checkpoint is the same items, compact. Items set
 * absolute state (an inode's attributes, one directory entry, the mapping of one file range), so that applying one
 * twice or late in order is harmless: the fuzzy checkpoint and the crash during recovery rest on it.
 *
 *   log      chain of segments; record = {length, sequence, generation, salt, durable sequence, crc32c, items}
 *   mount    superblock -> checkpoint header -> its items -> the log from the position in that header -> a fresh
 * segment of a new generation, linked in by a record (so stale bytes after the tail can never be taken for records)
 *   append   POOL_CACHE_FLUSH, POOL_VOLATILE: one store, flush, fence under JOURNAL; durable at return.
 *            POOL_MSYNC: the record waits in memory; journal_sync writes data, then records, then syncs (I1).
 *   salt     64 random bits a generation: a file's content cannot be made to look like a record after its block is
 * reused
 *
 * Derived, never recorded: free space, share counts, link counts.
 */
#ifndef LH_FS_JOURNAL_H
#define LH_FS_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/alloc.h"
#include "fs/extmap.h"
#include "pool/pool.h"

struct journal;

/* The recorded attributes of an inode (nlink and blocks are derived). */
struct inode_attr {
	uint64_t ino; /* never reused */
	uint64_t size, rdev;
	uint32_t mode, uid, gid;
	uint32_t flags; /* INODE_* of format/format.h */
	uint32_t tree;  /* whose limits count it; 0: none */
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
};

/* A record under construction; grows on the heap. On -ENOMEM it remembers the error and jtxn_commit returns it. */
struct jtxn {
	uint8_t *buf;
	uint32_t len, room;
	int error;
	bool frees; /* may use the reserve: the operation gives space back (unlink, truncate, punch) */
	uint32_t items;
	uint64_t max_ino; /* highest inode number of its inode items */
	/* The record's header comes first, so that a record is sealed where it was built. */
	uint8_t inline_buf[1024] __attribute__((aligned(8)));
};

void jtxn_init(struct jtxn *t);
void jtxn_fini(struct jtxn *t);
void jtxn_inode(struct jtxn *t, const struct inode_attr *a);
/* And back, of an inode's item. */
struct item;
struct inode_attr inode_attr_of_item(const struct item *it);
void jtxn_forget(struct jtxn *t, uint64_t ino);
void jtxn_symlink(struct jtxn *t, uint64_t ino, const char *target, uint32_t len);
void jtxn_dirent(struct jtxn *t, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name,
		 uint32_t len);
void jtxn_undirent(struct jtxn *t, uint64_t dir, uint64_t cookie);
void jtxn_map(struct jtxn *t, uint64_t ino, const struct extent *e);
void jtxn_unmap(struct jtxn *t, uint64_t ino, uint64_t off, uint64_t blocks);
/* A value of up to FORMAT_XATTR_VALUE_MAX bytes, in as many items as it needs; value NULL removes the attribute. */
void jtxn_xattr(struct jtxn *t, uint64_t ino, const char *name, uint32_t name_len, const void *value, uint32_t len);
/* kind: ITEM_LIMIT_*; blocks and inodes 0: no limit. root: the tree's top directory, FS_ROOT_INO for a uid. */
void jtxn_limit(struct jtxn *t, uint32_t kind, uint32_t id, uint64_t root, uint64_t blocks, uint64_t inodes);
void jtxn_bad(struct jtxn *t, struct run r, bool good);
/* A claim (L35); end 0: it is gone. */
struct journal_claim {
	uint64_t id, ino, start, end; /* bytes */
	int64_t until_ns;             /* CLOCK_REALTIME */
	uint32_t uid, mode;           /* ITEM_CLAIM_* */
	uint8_t client[16];
};
void jtxn_claim(struct jtxn *t, const struct journal_claim *c);
/*
 * Appends the record. On success it is durable (see append), *seq is its number, and the caller applies it to memory
 * before it drops the inode locks, infallibly. -ENOSPC, -ENOMEM, -EIO, -EROFS: nothing happened.
 * Caller holds INODE of everything that the items touch. May ask for a checkpoint in the background.
 * -ENOSPC although something was to be freed (`frees`): drop all locks, journal_make_room, try again.
 */
int jtxn_commit(struct journal *j, struct jtxn *t, uint64_t *seq);

/* What replay and checkpoint loading call, in order, single threaded. A verifier has accepted each item by itself; the
 * callee checks it against its state and returns NULL or the rule of docs/format.md that is broken (then the mount
 * fails). The checkpoint is fuzzy: records between its start and its end may be older than its items, and name inodes
 * that it no longer has (a later record forgets them again). Rules of section 6 hold only when all is applied. */
struct journal_apply {
	/* First, if not NULL: how many items the checkpoint has. It may lie; nothing but memory may depend on it. */
	void (*expect)(void *ctx, uint64_t items);
	const char *(*inode)(void *ctx, const struct inode_attr *a);
	const char *(*forget)(void *ctx, uint64_t ino);
	const char *(*symlink)(void *ctx, uint64_t ino, const char *target, uint32_t len);
	const char *(*dirent)(void *ctx, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name,
			      uint32_t len);
	const char *(*undirent)(void *ctx, uint64_t dir, uint64_t cookie);
	const char *(*map)(void *ctx, uint64_t ino, const struct extent *e);
	const char *(*unmap)(void *ctx, uint64_t ino, uint64_t off, uint64_t blocks);
	/* NULL members: such items are refused (4.1c). flags: ITEM_XATTR_*. */
	const char *(*xattr)(void *ctx, uint64_t ino, const char *name, uint32_t name_len, const void *value,
			     uint32_t len, uint32_t flags);
	const char *(*limit)(void *ctx, uint32_t kind, uint32_t id, uint64_t root, uint64_t blocks, uint64_t inodes);
	const char *(*bad)(void *ctx, struct run r, bool good);
	const char *(*claim)(void *ctx, const struct journal_claim *c);
};

/* Writes superblock and an empty checkpoint holding the root directory. */
int journal_format(struct pool *pool, const struct inode_attr *root);
/* Reads and verifies the superblock, loads the checkpoint, replays the log. Writes nothing. */
int journal_open(struct pool *pool, const struct journal_apply *apply, void *ctx, struct journal **out);
/*
 * The same for a journal that will be read only: where the log is damaged behind all that the checkpoint needs, what
 * was before the damage is served, and the log says so. Damage of the checkpoint, and inside of a record, is refused.
 */
int journal_open_read_only(struct pool *pool, const struct journal_apply *apply, void *ctx, struct journal **out);
/* The first number that no inode ever had, up to the last record. */
uint64_t journal_next_ino(struct journal *j);
/*
 * Marks the runs of log and checkpoint: -EUCLEAN with the rule when they overlap. Before the owner marks extents, so
 * that an extent over metadata is the one that alloc_mark refuses. Also for a second `alloc` that fsck compares, when
 * all is quiet.
 */
int journal_mark_space(struct journal *j, struct alloc *alloc);
/*
 * After the owner rebuilt `alloc` (journal_mark_space, then its extents): starts a new generation. read_only: no
 * writing, commits get -EROFS.
 */
int journal_start(struct journal *j, struct alloc *alloc, bool read_only);
/* POOL_MSYNC: starts the thread that syncs whenever records or data got older than this. Others: nothing. Once. */
int journal_set_interval(struct journal *j, uint64_t interval_ns);
/*
 * All records and noted data so far are durable on return (POOL_MSYNC; else at once), then alloc_settle. An error
 * stays: nothing is accepted any more, because it is not known what the medium holds. Callers may hold INODE.
 */
int journal_sync(struct journal *j);
/*
 * After -ENOSPC of a commit with `frees`: has the owner's thread write a checkpoint, which gives log space back, and
 * waits for it. No lock held. -ENOSPC: it did not help, or there is no such thread.
 */
int journal_make_room(struct journal *j);
/*
 * POOL_MSYNC: data of [off, off + len) must be durable before the next records are (I1). Others: flushes only; the
 * caller fences before the commit, because inside one fence epoch the record could reach the medium before the data.
 */
void journal_data(struct journal *j, uint64_t pool_off, uint64_t len);

/*
 * The checkpoint, fuzzy: start a new segment, remember its position, walk all inodes (each under its lock, writing its
 * state as of now) by `walk`, which calls the jtxn_* builders and checkpoint_add for batches of items; publish with one
 * 8-byte store; free the old checkpoint and the log before the position. Runs beside the traffic.
 */
struct checkpoint;
/* Takes the items; the jtxn is empty again afterwards, for the next batch. An error of building is returned too. */
int checkpoint_add(struct checkpoint *cp, struct jtxn *items);
typedef int (*checkpoint_walk)(void *ctx, struct checkpoint *cp);
/*
 * clean: the caller has stopped all changes; afterwards nothing is accepted any more, and the pool mounts without
 * replay. One at a time; a second caller waits. No lock held.
 */
int journal_checkpoint(struct journal *j, checkpoint_walk walk, void *ctx, bool clean);
/* Whether a clean checkpoint needs no walk (NULL), as no record came since the last one began. */
bool journal_unchanged(struct journal *j);
/*
 * From hold to unhold no checkpoint begins: a record and the change of memory behind it are on the same side of its
 * beginning. Who holds INODE of all that his record touches has no need of it. Counted.
 */
void journal_hold(struct journal *j);
void journal_unhold(struct journal *j);
/* Blocks until the log is long enough to want a checkpoint, or journal_wake; for the owner's thread. false: stop. */
bool journal_wait_work(struct journal *j);
void journal_wake(struct journal *j);
void journal_stop(struct journal *j);
/* The owner's running estimate of the next checkpoint's size, so that the reserve can follow. */
void journal_size_hint(struct journal *j, uint64_t checkpoint_bytes);
/* Stops the interval's thread and frees memory; writes nothing. */
void journal_close(struct journal *j);

struct journal_stats {
	uint64_t records, log_bytes, checkpoints, generation, seq;
	uint8_t uuid[16];
	bool was_clean;
};
void journal_stats_read(struct journal *j, struct journal_stats *out);

#endif
