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

#define FS_NAME_MAX     255u
#define FS_PATH_MAX     4096u
#define FS_LINKS_MAX    1000000u
#define FS_GROUPS_MAX   64u
#define FS_SIZE_MAX     INT64_MAX
#define FS_SYMLINKS_MAX 40u /* followed in one path */
#define FS_ROOT_INO     1u

struct fs;
struct fs_handle;

struct fs_cred {
	uint32_t uid, gid;
	uint32_t group_count;
	uint32_t groups[FS_GROUPS_MAX];
};

/* Who calls. uid 0 is the superuser, as in POSIX. */
struct fs_caller {
	struct fs_cred cred;
	struct lease_session *session; /* whose leases are "the caller's own"; may be NULL (then everyone is broken) */
	bool nowait;
	uint64_t deadline_ns; /* for breaks of this call; 0: each lease's own */
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
};

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
int fs_sync_all(struct fs *fs);
void fs_statfs(struct fs *fs, struct fs_statfs *out);
/* fsck of the mounted state: recomputes references, link counts, free space; each() gets a sentence per finding.
 * Returns how many. */
int fs_verify(struct fs *fs, void (*each)(void *ctx, const char *finding), void *ctx);

/* --- by path --- */

int fs_stat(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, struct fs_attr *out);
/* flags: O_RDONLY/O_WRONLY/O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW; others -EINVAL. mode:
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
/* Returns the length; the target is not terminated; -ERANGE when size is too small. */
ssize_t fs_readlink(struct fs *fs, const struct fs_caller *who, const char *path, char *buf, size_t size);
int fs_setattr(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const struct fs_setattr *set);

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
/* mode: 0 preallocate (size grows), FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE|KEEP_SIZE; others -EOPNOTSUPP. */
int fs_allocate(struct fs_handle *h, const struct fs_caller *who, int mode, uint64_t off, uint64_t len);
int fs_sync(struct fs_handle *h, bool data_only);
/* FICLONERANGE's rules: block-aligned, len 0 to the source's end; the destination grows. Works within one file when
 * ranges are apart. */
int fs_clone_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		   const struct fs_caller *who);
/* Moves the blocks of the range to new places, content unchanged. *moved_blocks may be NULL. */
int fs_relocate(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len, uint64_t *moved_blocks);

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
#define FS_RUN_UNWRITTEN 1u
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
};
struct fs_lease {
	uint64_t lease;
	uint32_t seq;
	struct range range; /* what was granted; RANGE of length 0 is -ENODATA instead */
	uint64_t size;      /* of the file, at the grant */
};
/*
 * L17: READ needs a handle open for reading, WRITE one for writing, else -EBADF. L27: WRITE allocates holes, copies
 * shared blocks (breaking others), zeroes what another file owned. READ turns unwritten blocks into zeroed ones, so
 * that its runs show later writes. On success place() has run and the pin is attached.
 */
int fs_lease_get(struct fs_handle *h, const struct fs_caller *who, const struct fs_lease_args *args,
		 struct fs_lease *out);
/*
 * L28, L30: makes direct writes of [off, off + len) durable, sets mtime, grows the size to off + len when that is more.
 * Needs no lease. -EBADF unless open for writing.
 */
int fs_commit(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len);
/* The memory of a run that place() was given, for exposing it. Writable view; len must be inside the run. */
void *fs_run_window(struct fs *fs, const struct fs_run *run);
/* Flushes bytes that a device wrote (a receipt's dirty hull) without any lock; for drain callbacks. */
void fs_run_flush(struct fs *fs, uint64_t pool_off, uint64_t len);

#endif
