/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The filesystem: names, inodes, extents, and every operation that can change a layout, over one pool.
 *
 * All calls are thread safe. 0 or a count on success, -errno otherwise, with fail_text() where a person will read it.
 * Paths are absolute inside the filesystem ("/a/b"; a missing leading slash is the same), at most FS_PATH_MAX bytes.
 * A layout change breaks the overlapping leases of every session but the caller's (L1); it waits, without locks, until
 * they are gone (L6, L7), or with `nowait` starts the break and returns -EWOULDBLOCK (L9).
 * Metadata operations are one log record each (L38).
 */
#ifndef LH_FS_FS_H
#define LH_FS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/types.h"
#include "lease/lease.h"
#include "pool/pool.h"

#define FS_NAME_MAX       255u
#define FS_PATH_MAX       4096u
#define FS_LINKS_MAX      1000000u
#define FS_GROUPS_MAX     64u
#define FS_SIZE_MAX       INT64_MAX
#define FS_EXTENTS_MAX    (1u << 30) /* of one file: changes that may add some are -EFBIG there */
#define FS_SYMLINKS_MAX   40u        /* followed in one path */
#define FS_ROOT_INO       1u
#define FS_XATTR_NAME_MAX 255u
#define FS_XATTR_SIZE_MAX 65536u
#define FS_XATTR_LIST_MAX 65536u     /* bytes of all names of one inode, each with a terminator */
#define FS_ID_NONE        UINT32_MAX /* no uid and no gid */

struct fs;
struct fs_handle;

struct fs_cred {
	uint32_t uid, gid;
	uint32_t group_count;
	/* Somebody with the right to (the kernel over a mount) has checked permissions: nothing is refused for want of
	 * them, as for the superuser. uid and gid only say who owns what is made. */
	bool checked;
	uint32_t groups[FS_GROUPS_MAX];
};

static inline bool cred_is_super(const struct fs_cred *c)
{
	return c->uid == 0 || c->checked;
}

struct fs_attr;

/* Who calls. uid 0 is the superuser, as in POSIX. */
struct fs_caller {
	struct fs_cred cred;
	struct lease_session *session; /* whose leases are "the caller's own"; may be NULL (then everyone is broken) */
	bool nowait;
	uint64_t deadline_ns; /* for breaks of this call; 0: each lease's own */
	/*
	 * Taken off the mode of what is made, but where the directory has a default ACL, which stands in its place, as
	 * in Linux. 0 when the caller has applied it to `mode` himself.
	 */
	uint32_t umask;
	uint64_t tag; /* of this call, for lease_interrupt of the session: its waits return -EINTR then */
	/*
	 * Inodes that the first and the second path of a call start from, as openat's; 0: the root. There "" is that
	 * inode itself, whatever it is and without following it. -ESTALE: there is none any more.
	 */
	uint64_t at[2];
	/* Not NULL: calls by path that made, found, opened or changed an inode say here what it is like now. */
	struct fs_attr *attr;
};

struct fs_attr {
	uint64_t ino;
	uint32_t mode; /* type and permissions, as st_mode */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t size;   /* bytes */
	uint64_t blocks; /* of LH_BLOCK_SIZE, allocated */
	uint64_t rdev;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* since 1970 */
	uint32_t flags;                                 /* FS_ATTR_* */
	uint32_t tree;                                  /* whose limits count it; 0: none */
};
#define FS_ATTR_SNAPSHOT  1u /* the root of a snapshot */
#define FS_ATTR_READ_ONLY 2u /* in a read-only snapshot: changes are -EROFS */

#define FS_SET_MODE  1u
#define FS_SET_UID   2u
#define FS_SET_GID   4u
#define FS_SET_ATIME 8u
#define FS_SET_MTIME 16u
struct fs_setattr {
	uint32_t mask; /* FS_SET_* */
	uint32_t mode, uid, gid;
	int64_t atime_ns, mtime_ns; /* INT64_MIN: now */
};

struct fs_statfs {
	uint64_t blocks, free_blocks, avail_blocks; /* avail: without the reserve for log and checkpoint */
	uint64_t held_blocks;                       /* given up (bad), or being emptied: neither free nor used */
	uint64_t files;
	uint64_t log_bytes; /* since the last checkpoint */
	uint64_t checkpoints;
	uint8_t uuid[16];
};

/* --- life --- */

struct fs_format_options {
	uint32_t root_uid, root_gid, root_mode; /* mode 0: 0755 */
};
/* Writes an empty filesystem over the whole pool; its content is lost. */
int fs_format(struct pool *pool, const struct fs_format_options *opt);

struct fs_mount_options {
	bool read_only;
	bool no_checkpoint_thread; /* tests: checkpoints only by fs_checkpoint */
	struct lease_options lease;
	uint64_t commit_interval_ns; /* POOL_MSYNC: how old unsynced records get; 0: 5 s */
	uint64_t orphan_limit_ns;    /* unlinked files that are open longer are reclaimed; 0: never */
	uint64_t grace_ns; /* L35: how long after the mount of a pool that was not unmounted claims are kept; 0: 15 s */
	uint32_t extents_max; /* tests: another FS_EXTENTS_MAX */
};
/*
 * Opens, verifies, replays. The pool stays the caller's and outlives the fs.
 * -EUCLEAN / -EBADMSG: damaged, fail_text() names the rule of docs/format.md; -EMEDIUMTYPE: not a pool of ours;
 * -EPROTONOSUPPORT: a version or feature that this program does not know.
 */
int fs_mount(struct pool *pool, const struct fs_mount_options *opt, struct fs **out);
/* L36: revokes all leases, waits until drained, writes a checkpoint, marks the pool clean. Handles must be closed. */
int fs_unmount(struct fs *fs);
/* For tests and after fatal errors: frees memory, writes nothing. Handles and sessions must be closed. */
void fs_abandon(struct fs *fs);
struct lease_arbiter *fs_arbiter(struct fs *fs);
int fs_checkpoint(struct fs *fs);
/* What is due: the end of the grace, unlinked files over the limit. Threads of the fs do that; tests without them. */
void fs_keeper_run(struct fs *fs);
int fs_sync_all(struct fs *fs);
void fs_statfs(struct fs *fs, struct fs_statfs *out);
/* fsck of the mounted state: recomputes references, link counts, free space; each() gets a sentence per finding.
 * Returns how many. */
int fs_verify(struct fs *fs, void (*each)(void *ctx, const char *finding), void *ctx);

/* --- by path --- */

int fs_stat(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, struct fs_attr *out);
/* flags: O_RDONLY/O_WRONLY/O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW,
 * O_TMPFILE (path is a directory; with O_EXCL fs_link_handle is refused); others -EINVAL. mode:
 * permissions after umask. */
int fs_open(struct fs *fs, const struct fs_caller *who, const char *path, int flags, uint32_t mode,
	    struct fs_handle **out);
int fs_mkdir(struct fs *fs, const struct fs_caller *who, const char *path, uint32_t mode);
int fs_rmdir(struct fs *fs, const struct fs_caller *who, const char *path);
int fs_unlink(struct fs *fs, const struct fs_caller *who, const char *path);
/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE. */
int fs_rename(struct fs *fs, const struct fs_caller *who, const char *from, const char *to, unsigned flags);
int fs_link(struct fs *fs, const struct fs_caller *who, const char *from, const char *to);
int fs_symlink(struct fs *fs, const struct fs_caller *who, const char *target, const char *path);
/* Type and permissions in mode: FIFO, socket, device (root only, -EPERM; kept, never driven) or regular file. */
int fs_mknod(struct fs *fs, const struct fs_caller *who, const char *path, uint32_t mode, uint64_t rdev);
/* Returns the length; the target is not terminated; -ERANGE when size is too small. */
ssize_t fs_readlink(struct fs *fs, const struct fs_caller *who, const char *path, char *buf, size_t size);
int fs_setattr(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const struct fs_setattr *set);

/*
 * Extended attributes: "user.", "trusted." (root), "security." (root writes) and "system.posix_acl_access",
 * "system.posix_acl_default" (checked, kept in step with the mode, enforced). Rules of namespaces as xattr(7).
 * size 0 asks for the length. -ENODATA none of this name, -ERANGE size too small, -E2BIG value over FS_XATTR_SIZE_MAX,
 * -ENOSPC names over it, -EOPNOTSUPP namespace, -EEXIST/-ENODATA by flags (XATTR_CREATE, XATTR_REPLACE).
 */
ssize_t fs_xattr_get(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const char *name,
		     void *value, size_t size);
int fs_xattr_set(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const char *name,
		 const void *value, size_t size, int flags);
/* Names, each terminated, one behind the other; those that the caller may see. */
ssize_t fs_xattr_list(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, char *names,
		      size_t size);
int fs_xattr_remove(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const char *name);
/* The same by handle, whatever it was opened for: permission is the inode's. */
ssize_t fs_fxattr_get(struct fs_handle *h, const struct fs_caller *who, const char *name, void *value, size_t size);
int fs_fxattr_set(struct fs_handle *h, const struct fs_caller *who, const char *name, const void *value, size_t size,
		  int flags);
ssize_t fs_fxattr_list(struct fs_handle *h, const struct fs_caller *who, char *names, size_t size);
int fs_fxattr_remove(struct fs_handle *h, const struct fs_caller *who, const char *name);

/*
 * A point-in-time copy of the tree below the directory `from` as the new directory `to`; blocks are shared.
 * O(metadata): time, log and memory grow with the number of inodes and extents, not with bytes. One record: after a
 * crash it is there whole or not at all. Changes of other threads wait while it is taken; readers do not. WRITE leases
 * in the tree are broken (drain). Root, or the owner of `from` and of all that is below (-EPERM). A read-only snapshot
 * refuses every change (-EROFS) but its deletion. `to` may lie below `from`: then the snapshots in the tree are copied
 * as empty directories, else like all the rest. -EDQUOT, -ENOSPC, -ENOMEM: nothing happened.
 */
int fs_snapshot(struct fs *fs, const struct fs_caller *who, const char *from, const char *to, bool read_only);
/* Removes a snapshot whole, in one record; open files of it live on until closed. -EINVAL: no snapshot's root. */
int fs_snapshot_delete(struct fs *fs, const struct fs_caller *who, const char *path);
struct fs_snapshot_info {
	uint64_t ino, inodes, blocks; /* blocks: named by its extents, shared or not */
	int64_t created_ns;
	bool read_only;
	const char *path; /* valid during the call */
};
int fs_snapshots(struct fs *fs, void (*each)(void *ctx, const struct fs_snapshot_info *info), void *ctx);

/*
 * Limits. UID: everything the uid owns. TREE: everything below a directory; set on an empty or filled directory, it is
 * inherited by what is made below, and hard links and renames across its border are -EXDEV (as project quotas of XFS).
 * Over it: -EDQUOT, nothing changed. Root only; reading is free. 0: no limit; both 0 remove it.
 */
enum fs_limit_kind {
	FS_LIMIT_UID = 1,
	FS_LIMIT_TREE = 2,
	/* L18, pinned memory, enforced by the arbiter: blocks are bytes, inodes leases; 0 means nothing at all and
	 * UINT64_MAX no limit. Of a uid; of every uid without one and root; of all together (id 0). */
	FS_LIMIT_PINS = 3,
	FS_LIMIT_PINS_DEFAULT = 4,
	FS_LIMIT_PINS_POOL = 5,
};
struct fs_limit {
	enum fs_limit_kind kind;
	uint32_t id;             /* uid, or the tree's number (set gives it out) */
	uint64_t ino;            /* TREE: its top directory */
	uint64_t blocks, inodes; /* the limits */
	uint64_t blocks_used, inodes_used;
};
int fs_limit_set(struct fs *fs, const struct fs_caller *who, const char *tree_path, struct fs_limit *limit);
/* UID: by limit->id; TREE: of the tree that the path lies in. -ENODATA: none. */
int fs_limit_get(struct fs *fs, const struct fs_caller *who, const char *tree_path, struct fs_limit *limit);
int fs_limits(struct fs *fs, void (*each)(void *ctx, const struct fs_limit *limit), void *ctx);
/* Takes a limit of pins away; -ENODATA: there is none. */
int fs_limit_clear(struct fs *fs, const struct fs_caller *who, struct fs_limit *limit);

/* --- space --- */

/*
 * Another size for the mounted pool, in bytes. Growing makes the pool's file longer first. Shrinking moves what lies
 * beyond the new end (breaks leases there) and cuts the file last; -ENOSPC when it does not fit, -EOPNOTSUPP for memory
 * that cannot change its size. After a crash the pool has the old size or the new one. *progress (may be NULL) is told
 * blocks done and to do.
 */
int fs_resize(struct fs *fs, const struct fs_caller *who, uint64_t bytes,
	      void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx);
/*
 * Failing memory: moves everything out of the pool's bytes [off, off + len) and never uses them again (recorded). What
 * cannot be read is lost: each() gets the file's range and a path, and the range becomes a hole. EXCLUSIVE leases are
 * broken too. Returns the number of losses.
 */
struct fs_loss {
	uint64_t ino, off, len;
	const char *path; /* one of its names; valid during the call */
};
int fs_evacuate(struct fs *fs, const struct fs_caller *who, uint64_t off, uint64_t len,
		void (*each)(void *ctx, const struct fs_loss *loss), void *ctx);

/* --- by handle --- */

/* Last close of an unlinked file frees it. The leases of the handle end (L24): pass the session and handle number that
 * got them. */
void fs_close(struct fs_handle *h, struct lease_session *session, uint64_t handle_number);
int fs_fstat(struct fs_handle *h, struct fs_attr *out);
int fs_fsetattr(struct fs_handle *h, const struct fs_caller *who, const struct fs_setattr *set);
uint64_t fs_handle_ino(const struct fs_handle *h);
struct fs *fs_handle_fs(const struct fs_handle *h);
ssize_t fs_read(struct fs_handle *h, const struct fs_caller *who, void *buf, size_t len, uint64_t off);
/* O_APPEND handles ignore off. Short only when space ran out after some bytes. */
ssize_t fs_write(struct fs_handle *h, const struct fs_caller *who, const void *buf, size_t len, uint64_t off);
int fs_truncate(struct fs_handle *h, const struct fs_caller *who, uint64_t size);
/*
 * Every mode of fallocate(2) with its rules: 0 preallocate (size grows), KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE
 * (with or without KEEP_SIZE), COLLAPSE_RANGE and INSERT_RANGE (block-aligned, alone), UNSHARE_RANGE. Unknown:
 * -EOPNOTSUPP.
 */
int fs_allocate(struct fs_handle *h, const struct fs_caller *who, int mode, uint64_t off, uint64_t len);
int fs_sync(struct fs_handle *h, bool data_only);
/* FICLONERANGE's rules: block-aligned, len 0 to the source's end; the destination grows. Works within one file when
 * ranges are apart. */
int fs_clone_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		   const struct fs_caller *who);
/* Moves the blocks of the range to new places, content unchanged. *moved_blocks may be NULL. For handles open for
 * writing, the owner and root (-EBADF). */
int fs_relocate(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len, uint64_t *moved_blocks);

/* FIDEDUPERANGE: shares the blocks if both ranges have the same bytes, compared with both locked. 0: shared; 1: the
 * bytes differ, nothing changed. */
int fs_dedupe_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		    const struct fs_caller *who);
/* Swaps the content of two ranges of equal length, of two files or of one (then apart), atomically: block-aligned, or
 * to both ends of file. Both open for reading and writing. */
int fs_exchange_range(struct fs_handle *a, uint64_t a_off, struct fs_handle *b, uint64_t b_off, uint64_t len,
		      const struct fs_caller *who);
/* copy_file_range(2): shares whole blocks where the offsets allow it, copies the rest. Returns bytes, 0 at the end. */
ssize_t fs_copy_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		      const struct fs_caller *who);
/* whence: SEEK_DATA or SEEK_HOLE. Unwritten blocks are holes. -ENXIO at or beyond the end, or no data behind. */
int64_t fs_seek(struct fs_handle *h, uint64_t off, int whence);
/* Moves the file's blocks into one run, or as few as free space allows. Breaks leases (drain). For handles open for
 * writing, the owner and root. *before and *after: runs in the pool; may be NULL. */
int fs_defragment(struct fs_handle *h, const struct fs_caller *who, uint64_t *before, uint64_t *after);
/* Gives an O_TMPFILE (or any open, still linked) file another name. -ENOENT: its last name is gone, or O_EXCL. */
int fs_link_handle(struct fs_handle *h, const struct fs_caller *who, const char *to);

struct fs_dirent {
	uint64_t ino, cookie;
	uint32_t type;    /* DT_* */
	const char *name; /* valid during the call; name_len bytes and a terminator */
	unsigned name_len;
};
/* Entries after cookie (0: from the start; "." and ".." are not returned). each() returns false to stop before that
 * entry. */
int fs_readdir(struct fs_handle *h, const struct fs_caller *who, uint64_t cookie,
	       bool (*each)(void *ctx, const struct fs_dirent *d), void *ctx);

/* --- layouts and leases --- */

/* One run of a layout, in bytes. Holes are left out. */
struct fs_run {
	uint64_t file_off, len, pool_off;
};
/* Flags of fs_extents. */
#define FS_RUN_UNWRITTEN 1u /* reads as zeroes; nobody can have written there through a lease */
#define FS_RUN_SHARED    2u
int fs_extents(struct fs_handle *h, uint64_t off, uint64_t len,
	       bool (*each)(void *ctx, const struct fs_run *run, unsigned flags), void *ctx);

/*
 * What the fs tells a pin consumer. place() is called under INODE with the layout of `range` (runs, ascending, inside
 * the range): once by fs_lease_get and again after the caller's own change moved blocks under its lease (L5; the
 * range's old keys were drained). It makes the device reach exactly these runs in the range. It must not block nor call
 * the fs. When a break slips in between, fs_lease_get drains what place() made and calls it again, for another lease.
 * On success the pin belongs to the lease until ops->gone(); on failure it is the caller's again, drained, and gone()
 * is not called.
 */
struct fs_pin {
	const struct lease_pin_ops *ops;
	int (*place)(void *pin, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range range,
		     const struct fs_run *runs, unsigned count);
	void *pin;
};
struct fs_lease_args {
	struct range range; /* bytes; rounded out to whole blocks; READ: cut at the end of file's block */
	enum lease_mode mode;
	uint64_t handle_number;   /* the session's */
	uint64_t deadline_ns;     /* as lease_grant_args */
	bool nowait;              /* -EAGAIN instead of waiting at a gate, -EWOULDBLOCK instead of for a break */
	const struct fs_pin *pin; /* NULL: a lease without a pin */
	/* L22: others' changes are -ETXTBSY, the session's own -EDEADLK. For the file's owner and uid 0 (-EPERM). */
	bool exclusive;
	bool faulting;         /* L33: place() gets no runs; the device looks every chunk up (fs_fault_enter) */
	uint64_t max_age_ns;   /* EXCLUSIVE; as lease_grant_args */
	const uint8_t *client; /* 16 bytes: whose claim it is after a crash (L35); NULL: nobody's */
	bool reclaim; /* EXCLUSIVE, within the grace: only what this client held and was not revoked, else -ESTALE */
};
struct fs_lease {
	uint64_t lease;
	uint32_t seq;
	struct range range; /* what was granted; RANGE of length 0 is -ENODATA instead */
	uint64_t size;      /* of the file, at the grant */
	uint64_t exclusive_left_ns;
};
/*
 * L17: READ needs a handle open for reading, WRITE one for writing, else -EBADF. L27: WRITE allocates holes, copies
 * shared blocks (breaking others), zeroes what another file owned. READ turns unwritten blocks into zeroed ones, so
 * that its runs show later writes. On success place() has run and the pin is attached.
 */
int fs_lease_get(struct fs_handle *h, const struct fs_caller *who, const struct fs_lease_args *args,
		 struct fs_lease *out);
/*
 * L23: another mode for a lease of this handle, whole and at once: the layout is made fit for it as in fs_lease_get,
 * then its pins are drained and placed anew. Of args: mode, exclusive, max_age_ns, client, nowait. -ESTALE: it was
 * broken meanwhile.
 */
int fs_lease_change(struct fs_handle *h, const struct fs_caller *who, uint64_t lease, const struct fs_lease_args *args,
		    struct fs_lease *out);
/* Within the grace (ns left; 0: over): claims of EXCLUSIVE leases from before the crash stand as if they were held. */
uint64_t fs_grace_left(struct fs *fs);
/*
 * Opens what another handle had open (a session that is made anew): by number and birth time, with the permissions of
 * now. -ESTALE: there is no such file any more.
 */
int fs_open_ino(struct fs *fs, const struct fs_caller *who, uint64_t ino, int64_t btime_ns, int flags,
		struct fs_handle **out);
/*
 * L28, L30: makes direct writes of [off, off + len) durable, sets mtime, grows the size to off + len when that is more.
 * Needs no lease. -EBADF unless open for writing.
 */
int fs_commit(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len);
/* The same without what lies beyond the end of file: the size stays. */
int fs_commit_inside(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len);
/*
 * The same; the size grows no further than there are blocks for direct writers. For who commits what it wrote, and may
 * not have heard that it was cut off since (a faulting holder).
 */
int fs_commit_written(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len);
/* The memory of a run that place() was given, for exposing it. Writable view; len must be inside the run. */
void *fs_run_window(struct fs *fs, const struct fs_run *run);
/* Flushes bytes that a device wrote (a receipt's dirty hull) without any lock; for drain callbacks. */
void fs_run_flush(struct fs *fs, uint64_t pool_off, uint64_t len);

/*
 * L33: where the bytes at off are now, for a device that moves at most len of them before it says leave. They stay
 * there, and theirs, until then; so it waits for nobody meanwhile. Never waits. -EAGAIN: not like this (behind the end
 * of file; WRITE: into a hole, a shared or a new block; or a lock is taken): fs_lease_fault, then again.
 */
struct fs_chunk {
	void *mem;    /* READ: NULL where zeroes are */
	uint64_t len; /* 1 to len */
};
int fs_fault_enter(struct fs_handle *h, enum lease_mode mode, uint64_t off, uint64_t len, struct fs_chunk *out);
/* By the thread that entered. */
void fs_fault_leave(struct fs_handle *h, enum lease_mode mode);
/*
 * After -EAGAIN: waits for what was in the way, and for WRITE makes the range what a WRITE grant makes of it (breaks
 * pinned holders as a write does; the size stays). *size: of the file now. As fs_write fails, -ENOSPC and so on.
 */
int fs_lease_fault(struct fs_handle *h, const struct fs_caller *who, enum lease_mode mode, struct range range,
		   uint64_t *size);
/* Flushes what a faulting device wrote in the range of the file, wherever it is now. Takes INODE shared. */
void fs_fault_flush(struct fs_handle *h, struct range range);

#endif
