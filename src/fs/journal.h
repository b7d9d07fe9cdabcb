/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Truth in a log: every metadata operation is one record of *items*; a checkpoint is the same items, compact. Items set
 * absolute state (an inode's attributes, one directory entry, the mapping of one file range), so that applying one twice
 * or late in order is harmless: the fuzzy checkpoint and the crash during recovery rest on it.
 *
 *   log      chain of segments; record = {length, sequence, generation, salt, durable sequence, crc32c, items}
 *   mount    superblock -> checkpoint header -> its items -> the log from the position in that header -> a fresh segment
 *            of a new generation, linked in by a record (so stale bytes after the tail can never be taken for records)
 *   append   POOL_CACHE_FLUSH, POOL_VOLATILE: one store, flush, fence under JOURNAL; durable at return.
 *            POOL_MSYNC: the record waits in memory; journal_sync writes data, then records, then syncs (I1).
 *   salt     64 random bits a generation: a file's content cannot be made to look like a record after its block is reused
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
	uint32_t mode, uid, gid, flags;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
};

/* A record under construction; grows on the heap. On -ENOMEM it remembers the error and jtxn_commit returns it. */
struct jtxn {
	uint8_t *buf;
	uint32_t len, room;
	int error;
	bool frees; /* may use the reserve: the operation gives space back (unlink, truncate, punch) */
	uint8_t inline_buf[1024];
};

void jtxn_init(struct jtxn *t);
void jtxn_fini(struct jtxn *t);
void jtxn_inode(struct jtxn *t, const struct inode_attr *a);
void jtxn_forget(struct jtxn *t, uint64_t ino);
void jtxn_symlink(struct jtxn *t, uint64_t ino, const char *target, uint32_t len);
void jtxn_dirent(struct jtxn *t, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name, uint32_t len);
void jtxn_undirent(struct jtxn *t, uint64_t dir, uint64_t cookie);
void jtxn_map(struct jtxn *t, uint64_t ino, const struct extent *e);
void jtxn_unmap(struct jtxn *t, uint64_t ino, uint64_t off, uint64_t blocks);
/*
 * Appends the record. On success it is durable (see append), *seq is its number, and the caller applies it to memory
 * before it drops the inode locks, infallibly. -ENOSPC, -ENOMEM, -EIO, -EROFS: nothing happened.
 * Caller holds INODE of everything that the items touch. May ask for a checkpoint in the background.
 */
int jtxn_commit(struct journal *j, struct jtxn *t, uint64_t *seq);

/* What replay and checkpoint loading call, in order, single threaded. A verifier has accepted each item by itself; the
 * callee checks it against its state and returns NULL or the rule of docs/format.md that is broken (then the mount fails). */
struct journal_apply {
	const char *(*inode)(void *ctx, const struct inode_attr *a);
	const char *(*forget)(void *ctx, uint64_t ino);
	const char *(*symlink)(void *ctx, uint64_t ino, const char *target, uint32_t len);
	const char *(*dirent)(void *ctx, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name, uint32_t len);
	const char *(*undirent)(void *ctx, uint64_t dir, uint64_t cookie);
	const char *(*map)(void *ctx, uint64_t ino, const struct extent *e);
	const char *(*unmap)(void *ctx, uint64_t ino, uint64_t off, uint64_t blocks);
};

/* Writes superblock and an empty checkpoint holding the root directory. */
int journal_format(struct pool *pool, const struct inode_attr *root);
/* Reads and verifies the superblock, loads the checkpoint, replays the log. Writes nothing. */
int journal_open(struct pool *pool, const struct journal_apply *apply, void *ctx, struct journal **out);
/* After the owner rebuilt `alloc` from its inodes: marks the journal's own space in it, starts a new generation. read_only: no writing. */
int journal_start(struct journal *j, struct alloc *alloc, bool read_only);
/* Before journal_start: the runs of log and checkpoint, to be marked in alloc. */
int journal_mark_space(struct journal *j, struct alloc *alloc);
/* All records so far are durable on return (POOL_MSYNC; else at once), then alloc_settle. */
int journal_sync(struct journal *j);
/* POOL_MSYNC: data of [off, off + len) must be durable before the next records are (I1). Others: flush; the commit's fence completes it. */
void journal_data(struct journal *j, uint64_t pool_off, uint64_t len);

/*
 * The checkpoint, fuzzy: start a new segment, remember its position, walk all inodes (each under its lock, writing its
 * state as of now) by `walk`, which calls the jtxn_* builders and checkpoint_add for batches of items; publish with one
 * 8-byte store; free the old checkpoint and the log before the position. Runs beside the traffic.
 */
struct checkpoint;
typedef int (*checkpoint_walk)(void *ctx, struct checkpoint *cp);
int checkpoint_add(struct checkpoint *cp, struct jtxn *items);
int journal_checkpoint(struct journal *j, checkpoint_walk walk, void *ctx, bool clean);
/* Blocks until the log is long enough to want a checkpoint, or journal_wake; for the owner's thread. false: stop. */
bool journal_wait_work(struct journal *j);
void journal_stop(struct journal *j);
/* The owner's running estimate of the next checkpoint's size, so that the reserve can follow. */
void journal_size_hint(struct journal *j, uint64_t checkpoint_bytes);
void journal_close(struct journal *j);

struct journal_stats {
	uint64_t records, log_bytes, checkpoints, generation, seq;
	uint8_t uuid[16];
	bool was_clean;
};
void journal_stats_read(struct journal *j, struct journal_stats *out);

#endif
