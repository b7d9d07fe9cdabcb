/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leasehold: a filesystem for byte-addressable memory with direct access under layout leases. The one public header.
 *
 * The same calls work on a pool in this process and on a server:
 *
 *	lh_fs_open("/dev/shm/a.pool", ...)	a pool file; "mem:256M": anonymous memory of this process
 *	lh_fs_open("unix:/run/lh.sock", ...)	a server on this host: direct access through shared memory ("ring")
 *	lh_fs_open("tcp:127.0.0.1:7070", ...)	a server over TCP (loopback only in this version): "stream"
 *
 * Conventions for every call, unless it says otherwise:
 *   - returns 0 (or a count) on success, a negative errno on failure; lh_error_text() then has a sentence for people:
 *     what was wrong, where, what to do. Errors that any call may return besides its own: -ENOMEM;
 *     remote: -ENOTCONN (the server was not to be reached for its lease time, which the call has waited; nothing
 *     acknowledged is lost), -EPROTO (the peer broke the protocol; the session has ended), after a restart of the
 *server -EIO (the outcome of a change is unknown, or what was not synced may be lost: the sentence tells which) and
 *-ESTALE (an open file is no longer there).
 *   - may block (on the medium, on a peer, on a break of somebody's lease until its deadline).
 *   - is thread safe. A handle may be used by many threads, but closed by one, after the others have returned.
 *   - offsets and lengths are bytes; paths are absolute inside the filesystem, at most 4096 bytes, names at most 255.
 *   - since version 0.1.
 * Structs that begin with `size` are to be zeroed and `size` set to sizeof: later versions may grow them. NULL options
 * mean defaults. Strings passed in are copied. Rules L1-L39: docs/semantics.md.
 */
#ifndef LEASEHOLD_LEASEHOLD_H
#define LEASEHOLD_LEASEHOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LH_API __attribute__((visibility("default")))

#define LH_VERSION "0.1.0"

struct lh_fs;     /* an open filesystem: one session */
struct lh_file;   /* an open file; leases belong to it and end with it (L24) */
struct lh_dir;    /* an open directory */
struct lh_lease;  /* a layout lease on a byte range of an open file */
struct lh_queue;  /* asynchronous direct reads and writes */
struct lh_server; /* serves an in-process filesystem to others */

/*
 * What this thread's last call had to say when it failed: read it before the next call, which replaces or clears it.
 * "" when there is nothing. Never NULL. Does not block.
 */
LH_API const char *lh_error_text(void);

/* ---- a pool --------------------------------------------------------------------------------------------------------
 */

struct lh_make_options {
	uint32_t size;
	uint32_t mode;      /* of the root directory; 0: 0755. It belongs to the caller's effective uid and gid */
	uint64_t pool_size; /* bytes, 16 MiB to 16 TiB; 0 only for devices: all of it */
	bool overwrite;     /* an existing file with content is -EEXIST without it */
	char class_out[32]; /* filled: "cache-flush", "msync" or "volatile" */
	char kind_out[32];  /* filled: "plain file", "tmpfs", "hugetlbfs", "FS-DAX", "device DAX" */
	uint64_t pool_size_out;
};
/*
 * Makes a pool at path and formats it; nothing stays open.
 * -EINVAL size, -EEXIST, -EBUSY another process owns it (text names the pid), -ENOSPC, -EACCES, -ENOENT, -ENODEV.
 */
LH_API int lh_pool_make(const char *path, struct lh_make_options *opt);
/* Offline check; the pool must not be open. Findings go to out (one JSON object when json). Returns the number of
 * findings; -errno when it cannot look. */
LH_API int lh_pool_check(const char *path, FILE *out, bool json);
/*
 * Offline: the same, and salvages what can be: what hangs nowhere goes to /lost+found, what contradicts is cut back to
 * what is sound, sound things stay as they are. Says on out what was saved, lost and changed. A crash on the way leaves
 * the pool as it was or repaired. Returns the number of findings, all corrected; 0: nothing was wrong, nothing was
 * written. -EUCLEAN: some are left, or it is too short to be a pool; -EMEDIUMTYPE nothing of a pool is there;
 * -EPROTONOSUPPORT, -EROFS made by a newer program; -EBUSY somebody has it open; -ENOSPC no room for the repaired
 * metadata, nothing was changed; -EIO, -ENOMEM, -ENOENT, -EACCES.
 */
LH_API int lh_pool_repair(const char *path, FILE *out, bool json);
/* Offline: prints every structure on the medium. */
LH_API int lh_pool_dump(const char *path, FILE *out, bool json);

/* ---- a filesystem ---------------------------------------------------------------------------------------------------
 */

enum lh_fabric { LH_FABRIC_AUTO, LH_FABRIC_STREAM, LH_FABRIC_RING, LH_FABRIC_NONE };

struct lh_open_options {
	uint32_t size;
	bool read_only;
	enum lh_fabric fabric;       /* remote: AUTO is ring for unix:, stream for tcp:; NONE uses calls only */
	uint64_t deadline_ns;        /* in process: default deadline D of leases; 0: 1 s */
	uint64_t deadline_max_ns;    /* in process: nobody may ask for more; 0: 60 s */
	uint64_t spin_ns;            /* how long waiting for direct I/O spins before it sleeps; 0: 50 µs */
	uint64_t connect_timeout_ns; /* remote; 0: 5 s */
	uint64_t ring_bytes;         /* ring: shared memory for data; 0: 16 MiB */
	uint64_t exclusive_max_ns;   /* in process: the longest that an EXCLUSIVE lease denies changes (L22); 0: 60 s */
	uint64_t orphan_limit_ns;    /* in process: unlinked files that are open longer are reclaimed; 0: never */
	uint64_t grace_ns; /* in process: how long after a crash EXCLUSIVE leases may be reclaimed (L35); 0: 15 s */
	bool no_resume;    /* remote: a lost connection ends the session, as if there were no lease time */
	bool no_cache;     /* remote: lh_file_read and lh_file_write go as calls, without leases of their own */
};
/*
 * Errors: -EMEDIUMTYPE not a pool, -EPROTONOSUPPORT version or feature unknown, -EROFS a feature that this program may
 * only read, -EUCLEAN or -EBADMSG damaged or too short (the text names the rule of docs/format.md), -EBUSY owned by
 * another process, -ECONNREFUSED, -ETIMEDOUT, -ENOENT, -EACCES, -EINVAL address.
 */
LH_API int lh_fs_open(const char *where, const struct lh_open_options *opt, struct lh_fs **out);
/* Handles of the filesystem must be closed before. In process: unmounts (L36). NULL is allowed. */
LH_API int lh_fs_close(struct lh_fs *fs);
/* Everything so far is durable on return. */
LH_API int lh_fs_sync(struct lh_fs *fs);
/* An empty message to the server and back: is it there, and how far? In process: 0 at once. */
LH_API int lh_fs_ping(struct lh_fs *fs);
LH_API bool lh_fs_is_remote(const struct lh_fs *fs);

struct lh_statfs {
	uint32_t size;
	uint32_t block_size;
	uint64_t blocks, free_blocks, avail_blocks, files;
	uint64_t log_bytes, checkpoints;
	uint8_t uuid[16];
	char pool_class[32], pool_kind[32];
};
LH_API int lh_fs_stat(struct lh_fs *fs, struct lh_statfs *out);

/* For the calls of this session: breaks are not waited for; the call returns -EWOULDBLOCK and the break goes on (L9).
 */
LH_API void lh_fs_set_nowait(struct lh_fs *fs, bool nowait);
/*
 * Calls of this session that wait for others' leases just now, in whatever thread, return -EINTR and have done nothing;
 * no gate of theirs is left (what was recalled stays recalled). Does not block. Not for signal handlers.
 */
LH_API void lh_fs_interrupt(struct lh_fs *fs);

/* ---- names
 * ----------------------------------------------------------------------------------------------------------- */

struct lh_stat {
	uint32_t size_of; /* of this struct, set by the caller */
	uint32_t mode;    /* type and permissions, as st_mode */
	uint64_t ino;
	uint32_t nlink, uid, gid, reserved;
	uint64_t size;                                  /* bytes */
	uint64_t blocks;                                /* allocated, of block_size */
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* since 1970 */
	uint64_t rdev;                                  /* of device nodes, as makedev(3) */
	uint32_t flags;                                 /* LH_STAT_* */
	uint32_t tree;                                  /* whose limits count it (lh_fs_limit_set); 0: none */
};
#define LH_STAT_SNAPSHOT  1u /* the root of a snapshot */
#define LH_STAT_READ_ONLY 2u /* in a read-only snapshot: every change is -EROFS */
/* follow: the last symbolic link too. -ENOENT, -ENOTDIR, -EACCES, -ELOOP, -ENAMETOOLONG (for all calls that take a
 * path). */
LH_API int lh_path_stat(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out);
LH_API int lh_path_mkdir(struct lh_fs *fs, const char *path, uint32_t mode);
LH_API int lh_path_rmdir(struct lh_fs *fs, const char *path);
LH_API int lh_path_unlink(struct lh_fs *fs, const char *path);
/* flags: 0, LH_RENAME_NOREPLACE, LH_RENAME_EXCHANGE. */
#define LH_RENAME_NOREPLACE 1u
#define LH_RENAME_EXCHANGE  2u
LH_API int lh_path_rename(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
LH_API int lh_path_link(struct lh_fs *fs, const char *from, const char *to);
LH_API int lh_path_symlink(struct lh_fs *fs, const char *target, const char *path);
/* Returns the length; not terminated; -ERANGE when size is too small. */
LH_API ssize_t lh_path_readlink(struct lh_fs *fs, const char *path, char *buf, size_t size);
LH_API int lh_path_chmod(struct lh_fs *fs, const char *path, uint32_t mode);
/* UINT32_MAX leaves one as it is. */
LH_API int lh_path_chown(struct lh_fs *fs, const char *path, uint32_t uid, uint32_t gid);
/* The same for a symbolic link itself. */
LH_API int lh_path_lchown(struct lh_fs *fs, const char *path, uint32_t uid, uint32_t gid);
/* A FIFO, socket, device or empty regular file: type and permissions in mode, rdev for devices (root only, -EPERM). The
 * filesystem keeps special files and never drives them: lh_file_open says -ENXIO. */
LH_API int lh_path_mknod(struct lh_fs *fs, const char *path, uint32_t mode, uint64_t rdev);
/*
 * Extended attributes, with the namespaces and rules of xattr(7): "user.", "trusted." (root), "security." and the two
 * POSIX ACLs "system.posix_acl_access" and "system.posix_acl_default" in the kernel's binary form, which are enforced.
 * size 0 asks for the length. -ENODATA, -ERANGE, -E2BIG (value over 64 KiB), -ENOSPC (names over 64 KiB), -EEXIST,
 * -EOPNOTSUPP (namespace), -EPERM. flags: 0, LH_XATTR_CREATE, LH_XATTR_REPLACE.
 */
#define LH_XATTR_CREATE  1u
#define LH_XATTR_REPLACE 2u
LH_API ssize_t lh_path_getxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, void *value,
				size_t size);
LH_API int lh_path_setxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, const void *value,
			    size_t size, unsigned flags);
/* Names, each terminated, one behind the other. */
LH_API ssize_t lh_path_listxattr(struct lh_fs *fs, const char *path, bool follow, char *names, size_t size);
LH_API int lh_path_removexattr(struct lh_fs *fs, const char *path, bool follow, const char *name);
/* INT64_MIN: now; INT64_MAX: unchanged. */
LH_API int lh_path_set_times(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns);

struct lh_dirent {
	uint64_t ino, cookie;
	uint32_t type; /* DT_REG, DT_DIR, DT_LNK */
	char name[256];
};
LH_API int lh_dir_open(struct lh_fs *fs, const char *path, struct lh_dir **out);
/* 1: *out is the next entry; 0: the end. "." and ".." are not returned. Entries that stay are returned exactly once. */
LH_API int lh_dir_next(struct lh_dir *dir, struct lh_dirent *out);
/* Continue after this cookie; 0: from the start. */
LH_API void lh_dir_seek(struct lh_dir *dir, uint64_t cookie);
LH_API void lh_dir_close(struct lh_dir *dir);

/* ---- files
 * ----------------------------------------------------------------------------------------------------------- */

/* flags as open(2): O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW, O_TMPFILE (path is the
 * directory; with O_EXCL lh_file_link is refused); mode: permissions of a new file. */
LH_API int lh_file_open(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out);
/* Releases the leases of the file that are still held, and commits what was written through them (-EIO: lost, L29; it
 * is closed all the same). NULL is allowed. */
LH_API int lh_file_close(struct lh_file *file);
/* The filesystem that it was opened in. Does not block. */
LH_API struct lh_fs *lh_file_fs(struct lh_file *file);
LH_API int lh_file_stat(struct lh_file *file, struct lh_stat *out);
/* Returns bytes, fewer only at end of file. On a server: through leases of the session's own where that pays (L32). */
LH_API ssize_t lh_file_read(struct lh_file *file, void *buf, size_t len, uint64_t off);
/* Returns bytes; -ENOSPC, -EFBIG, -EBADF. O_APPEND files ignore off. */
LH_API ssize_t lh_file_write(struct lh_file *file, const void *buf, size_t len, uint64_t off);
LH_API int lh_file_truncate(struct lh_file *file, uint64_t size);
/* Every mode of fallocate(2), FALLOC_FL_* of <linux/falloc.h>, with its rules: preallocate, KEEP_SIZE, PUNCH_HOLE,
 * ZERO_RANGE, COLLAPSE_RANGE, INSERT_RANGE, UNSHARE_RANGE. -EOPNOTSUPP: an unknown one. */
LH_API int lh_file_fallocate(struct lh_file *file, int mode, uint64_t off, uint64_t len);
LH_API int lh_file_punch(struct lh_file *file, uint64_t off, uint64_t len);
/* Reserves space as unwritten blocks; keep_size: beyond the end of file too. */
LH_API int lh_file_allocate(struct lh_file *file, uint64_t off, uint64_t len, bool keep_size);
/* Data and metadata of the file are durable on return, direct writes too; -EIO: some are lost (lh_file_lost). */
LH_API int lh_file_sync(struct lh_file *file);
/* Shares blocks; offsets and len are multiples of the block size (len 0: to the source's end). Both files are of one
 * filesystem, else -EXDEV. */
LH_API int lh_file_clone_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
			       uint64_t len);
/* FIDEDUPERANGE: shares the blocks if the bytes are the same, compared with both ranges locked. 0: shared; 1: they
 * differ and nothing changed (on a server: from the GiB on in which they differ). */
LH_API int lh_file_dedupe_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
				uint64_t len);
/* Swaps two ranges of equal length atomically, of two files or of one (then apart); block-aligned, or to both ends of
 * file. */
LH_API int lh_file_exchange_range(struct lh_file *a, uint64_t a_off, struct lh_file *b, uint64_t b_off, uint64_t len);
/* copy_file_range(2): shares whole blocks where the offsets allow it, copies the rest. Returns bytes, 0 at the end of
 * src. */
LH_API ssize_t lh_file_copy_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
				  size_t len);
/* The next data or hole from off on (whence SEEK_DATA or SEEK_HOLE); the end of file counts as a hole. -ENXIO: off at
 * or beyond the end, or no data behind it. */
LH_API int64_t lh_file_seek(struct lh_file *file, uint64_t off, int whence);
/* Gives an open file another name, an O_TMPFILE its first. -ENOENT: its last name is gone. */
LH_API int lh_file_link(struct lh_file *file, const char *to);
LH_API int lh_file_chmod(struct lh_file *file, uint32_t mode);
/* UINT32_MAX leaves one as it is. */
LH_API int lh_file_chown(struct lh_file *file, uint32_t uid, uint32_t gid);
/* INT64_MIN: now; INT64_MAX: unchanged. */
LH_API int lh_file_set_times(struct lh_file *file, int64_t atime_ns, int64_t mtime_ns);
/* What was written directly in the range, through leases, pins or mappings, is durable on return (L28). Nothing beyond
 * the end of file: the size stays. The file must be open for writing. */
LH_API int lh_file_commit(struct lh_file *file, uint64_t off, uint64_t len);
/* Moves the file's blocks into one run, or as few as free space allows, content unchanged. extents[0] and [1], if
 * given: how many runs there were and are. */
LH_API int lh_file_defragment(struct lh_file *file, uint64_t extents[2]);
/* Moves the blocks of the range elsewhere, content unchanged; returns how many blocks moved. */
LH_API int64_t lh_file_relocate(struct lh_file *file, uint64_t off, uint64_t len);

struct lh_extent {
	uint64_t file_off, len;
	uint64_t pool_off; /* byte in the pool; 0 for somebody without the right to know (remote sessions) */
	uint32_t flags;
	uint32_t reserved;
};
#define LH_EXTENT_UNWRITTEN 1u
#define LH_EXTENT_SHARED    2u
/* Fills at most max extents of the range, holes left out; returns how many there are from off on (at most max). */
LH_API int lh_file_extents(struct lh_file *file, uint64_t off, uint64_t len, struct lh_extent *out, unsigned max);

/* ---- snapshots, limits, space
 * ------------------------------------------------------------------------------------------- */

/*
 * A point-in-time copy of the tree below the directory `from`, as the new directory `to`; blocks are shared. Cost grows
 * with the number of files and extents, not with bytes; changes by others wait while it is taken. Root or the owner of
 * `from`. flags: 0 (writable) or LH_SNAPSHOT_READ_ONLY.
 */
#define LH_SNAPSHOT_READ_ONLY 1u
LH_API int lh_fs_snapshot(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
/* Removes a snapshot whole, atomically. -EINVAL: not the root of a snapshot. */
LH_API int lh_fs_snapshot_delete(struct lh_fs *fs, const char *path);
struct lh_snapshot_info {
	uint32_t size;
	bool read_only;
	uint64_t ino, inodes, blocks;
	int64_t created_ns;
	char path[4097];
};
/* Returns how many. each() must not call the library with the same fs. */
LH_API int lh_fs_snapshots(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx);

/*
 * Limits in bytes (rounded up to blocks) and inodes, 0: none. Of a uid, or of a directory's tree: what is made below it
 * counts; hard links and renames across its border are -EXDEV. Over a limit: -EDQUOT. Setting: root or the pool's
 * owner.
 */
#define LH_LIMIT_UID  1u
#define LH_LIMIT_TREE 2u
/*
 * L18, limits of pinned memory: `bytes` are pinned bytes, `inodes` leases. Of one uid (instead of its RLIMIT_MEMLOCK),
 * of every uid that has none of its own, of the whole pool (id 0). Here 0 means nothing at all, UINT64_MAX no limit.
 * Kept in the pool. Over one of these: -EDQUOT; over RLIMIT_MEMLOCK: -ENOMEM.
 */
#define LH_LIMIT_PINS         3u
#define LH_LIMIT_PINS_DEFAULT 4u
#define LH_LIMIT_PINS_POOL    5u
struct lh_limit {
	uint32_t size;
	uint32_t kind;
	uint32_t id; /* the uid; a tree's number is given out by lh_fs_limit_set */
	uint32_t reserved;
	uint64_t ino; /* of a tree's directory */
	uint64_t bytes, inodes;
	uint64_t bytes_used, inodes_used;
};
/* tree: path of the directory, NULL for a uid. */
LH_API int lh_fs_limit_set(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
/* Takes the limit away again (PINS kinds; others: set 0). -ENODATA: there is none. */
LH_API int lh_fs_limit_clear(struct lh_fs *fs, struct lh_limit *limit);
/* -ENODATA: there is none. */
LH_API int lh_fs_limit_get(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
/* Returns how many. */
LH_API int lh_fs_limits(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_limit *limit), void *ctx);

/* What long work tells now and then; may be NULL. */
typedef void (*lh_progress)(void *ctx, uint64_t done, uint64_t total);
/*
 * Another size for the open pool, in bytes (whole blocks, 16 MiB at least). Shrinking moves what lies beyond the new
 * end, and breaks leases there. Root or the pool's owner. -ENOSPC: it does not fit. -EOPNOTSUPP: memory that cannot
 * change its size.
 */
LH_API int lh_fs_resize(struct lh_fs *fs, uint64_t bytes, lh_progress progress, void *ctx);
/*
 * Failing memory: moves everything out of the pool's bytes [off, off + len) and never uses them again. What cannot be
 * read is lost: each() gets the range of the file, which becomes a hole. Returns the number of losses. Root or the
 * pool's owner.
 */
struct lh_loss {
	uint32_t size;
	uint32_t reserved;
	uint64_t ino, off, len;
	char path[4097];
};
LH_API int lh_fs_evacuate(struct lh_fs *fs, uint64_t off, uint64_t len,
			  void (*each)(void *ctx, const struct lh_loss *loss), void *ctx);

/* ---- leases and direct access
 * ------------------------------------------------------------------------------------------ */

#define LH_LEASE_READ   1u
#define LH_LEASE_WRITE  2u
#define LH_LEASE_NOWAIT 4u /* -EAGAIN instead of waiting */
#define LH_LEASE_MANUAL                                                                                                \
	8u /* the library does not release on recall; the application must (by lh_event_next), or is forced */
#define LH_LEASE_NOW 16u /* deadline 0: this lease is revoked without notice */
/*
 * L22: others' changes of the layout are refused (-ETXTBSY) as long as this is held, at most max_age_ns; the holder's
 * own are -EDEADLK. Failing memory and administrators take it all the same. For the file's owner and root (-EPERM).
 */
#define LH_LEASE_EXCLUSIVE 32u
/*
 * L33: the key names file and range and is looked up for every chunk: moves need no recall, and the holder never
 * notices; truncate and punch give what lh_file_read would. Costs a look-up for every 64 KiB, and no pinned bytes.
 */
#define LH_LEASE_FAULTING 64u

struct lh_lease_options {
	uint32_t size;
	uint32_t flags;       /* LH_LEASE_* */
	uint64_t deadline_ns; /* 0: the pool's default */
	uint64_t
	    max_age_ns; /* EXCLUSIVE: how long it denies changes; 0, or more than the pool allows: the pool's longest */
};
/*
 * A lease on [off, off + len): the promise that the layout stays, and the keys to reach it. READ needs a file open for
 * reading, WRITE one for writing (-EBADF). WRITE may reach beyond the end of file; the size grows at commit (L30).
 * Without LH_LEASE_MANUAL the lease heals itself: after a recall the next direct access gets it again, unseen (L15).
 * -EAGAIN (NOWAIT), -EDQUOT over an administrator's limit of leases or pinned bytes, -ENOMEM over RLIMIT_MEMLOCK (L18;
 * calls still work), -ENODATA nothing there (READ beyond the end), -ENOSPC.
 */
LH_API int lh_lease_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
			struct lh_lease **out);
/*
 * L23: READ, WRITE or with EXCLUSIVE (LH_LEASE_READ or LH_LEASE_WRITE, and LH_LEASE_EXCLUSIVE or not), all at once or
 * nothing. Needs what lh_lease_get of that mode needs. -ESTALE: it was broken meanwhile and is as it was; its next
 * access gets it anew in its old mode. max_age_ns as in lh_lease_options, counted from when it denied changes first:
 * -ETIMEDOUT when that is over. The keys of the old mode are dead when it returns. Others: -EBADF the file is not open
 * for the mode, -EPERM EXCLUSIVE is not for this caller, -EROFS, -EINTR, with NOWAIT -EAGAIN and -EWOULDBLOCK,
 * -ENOTCONN; for WRITE what filling holes and copying shared blocks can meet: -ENOSPC, -EDQUOT, -EFBIG, -ETXTBSY,
 * -EDEADLK, -EIO; -ENOMEM, -EINVAL. After any of them the lease is as it was.
 */
LH_API int lh_lease_change(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns);
/* Gives it back and frees the handle. Direct operations on it must have completed. NULL is allowed. */
LH_API int lh_lease_release(struct lh_lease *lease);
/* Direct access: one-sided, without a call to the server while the lease stands. Faults when it is gone (MANUAL:
 * -ESTALE). */
LH_API ssize_t lh_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off);
/* The bytes are in the pool when it returns; durable after lh_lease_commit. The size of the file grows at commit. */
LH_API ssize_t lh_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off);
/* L28: what this file wrote directly in the range is durable on return, size and mtime updated; the file never grows
 * beyond what was written so, and where nothing was written nothing happens to it. -EIO when the server restarted since
 * the write: the text has the first range that may be lost, lh_file_lost all. */
LH_API int lh_lease_commit(struct lh_lease *lease, uint64_t off, uint64_t len);

struct lh_lease_state {
	uint32_t size;
	uint32_t mode;   /* LH_LEASE_READ or LH_LEASE_WRITE */
	uint64_t number; /* the filesystem's number of it now; changes when it heals */
	uint64_t off, len;
	bool held;                     /* false: recalled or revoked, and not faulted in again yet */
	uint64_t faults;               /* times that it was got again; FAULTING: that a place had to be asked for */
	uint64_t recalls, revocations; /* notices, and how many ended by force */
	uint32_t flags;                /* LH_LEASE_EXCLUSIVE, LH_LEASE_FAULTING */
	uint64_t exclusive_left_ns;    /* how long changes are denied yet */
};
LH_API int lh_lease_state(struct lh_lease *lease, struct lh_lease_state *out);
/* The layout behind the lease: as lh_file_extents, with key = the number that a fabric uses. For looking and for tests.
 */
struct lh_lease_extent {
	uint64_t file_off, len, key, key_off; /* bytes from key_off of key */
};
LH_API int lh_lease_extents(struct lh_lease *lease, struct lh_lease_extent *out, unsigned max);
/*
 * L29: which direct writes of this file (through any of its leases, not committed yet) were lost with the server that
 * had them: up to max ranges, ascending, adjacent ones joined; returns how many there are and forgets those that it
 * returned. Each was, or will be, the -EIO of one commit, sync or close. In process always 0.
 */
struct lh_range {
	uint64_t off, len;
};
LH_API int lh_file_lost(struct lh_file *file, struct lh_range *out, unsigned max);
/*
 * Tests and demonstrations: uses a key as a hostile client would, with no lease, no check, no healing.
 * -ESTALE dead or unknown key, -EACCES direction, -ERANGE outside the key, -EINVAL an offset that wraps.
 */
LH_API ssize_t lh_raw_read(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len);
LH_API ssize_t lh_raw_write(struct lh_fs *fs, uint64_t key, uint64_t key_off, const void *buf, size_t len);

/* Memory from which direct access needs no second copy (ring). Freed with lh_buffer_put before lh_fs_close. */
LH_API void *lh_buffer_get(struct lh_fs *fs, size_t len);
LH_API void lh_buffer_put(struct lh_fs *fs, void *buf);

/* Asynchronous direct access: up to depth (1 to 256) operations at once. One thread a queue. */
LH_API int lh_queue_new(struct lh_fs *fs, unsigned depth, struct lh_queue **out);
/* Waits for what is outstanding. */
LH_API void lh_queue_free(struct lh_queue *q);
/* buf belongs to the queue until its completion. -EBUSY: depth reached. Inside one lease; -ERANGE otherwise. */
LH_API int lh_queue_read(struct lh_queue *q, struct lh_lease *lease, void *buf, size_t len, uint64_t off, void *cookie);
LH_API int lh_queue_write(struct lh_queue *q, struct lh_lease *lease, const void *buf, size_t len, uint64_t off,
			  void *cookie);
struct lh_completion {
	void *cookie;
	ssize_t result; /* bytes or -errno */
};
/* Waits for at least min completions (at most what is outstanding), returns up to max. */
LH_API int lh_queue_wait(struct lh_queue *q, unsigned min, struct lh_completion *out, unsigned max);

/* ---- pins: devices of this process
 * ------------------------------------------------------------------------------------------- */

/*
 * A pin lets a device reach the memory of a file until the filesystem takes it back: a DMA engine, a GPU, a NIC's
 * memory region, a ring of the kernel. Whoever has one writes the callbacks of struct lh_pin_device, once;
 * examples/device.c is a whole one. In process only: remote files are -EOPNOTSUPP for all of this section (nobody gives
 * an untrusted process the pool itself).
 */
struct lh_pin; /* a device's hold on a byte range of an open file; ends with the file (L24) */

/* Some bytes of the file and where they are now. Whole blocks. */
struct lh_pin_run {
	uint64_t off, len; /* of the file */
	void *addr;        /* in this process; of a READ pin too it can be written, and must not be */
	int fd;            /* the pool's memory, for a device that maps it for itself: fd_off is its offset there */
	uint32_t reserved;
	uint64_t fd_off;
};
/* What the device may have written of the range that it let go, so that it is flushed (L28). len 0: nothing. */
struct lh_pin_receipt {
	uint64_t off, len; /* of the file; starts as the whole range of a WRITE pin */
};
/*
 * A kind of device. Callbacks come from any thread, with locks of the filesystem held: they must not call the library,
 * nor wait for anything that does. Those of one pin never overlap.
 */
struct lh_pin_device {
	uint32_t size;
	uint32_t reserved;
	const char *name; /* for listings (lh_lease_info.pin): "mapping", "io_uring"; at most 31 bytes */
	/*
	 * The runs are reachable from now on. Called for bytes that are not attached: first by lh_pin_get, after a
	 * recall by lh_pin_fault, and after a change of this very session that moved blocks (L5). What of [off, off +
	 * len) no run covers are holes (READ: zeroes), or to be got by lh_pin_fault first (WRITE). An error, with
	 * nothing attached, becomes the result of the call that asked; in the last case it leaves the bytes detached.
	 */
	int (*attach)(void *ctx, uint64_t off, uint64_t len, const struct lh_pin_run *runs, unsigned count);
	/*
	 * When this returns, the device provably does not touch the range any more, also not with what was in flight.
	 * Whole blocks inside one attached run or hole; the rest of that run stays reachable. Cannot fail; the shorter
	 * the better, as somebody waits.
	 */
	void (*detach)(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *out);
	/* All is detached and nothing will be called any more; the handle is dead. From lh_pin_release or
	 * lh_file_close, without locks. May be NULL. */
	void (*gone)(void *ctx);
};
/*
 * LH_LEASE_NOW: the device lets go in microseconds, so detach is called by the very thread that wants the memory, not
 * by one of the library's. The other fields as lh_lease_options; LH_LEASE_MANUAL and LH_LEASE_FAULTING are -EINVAL: the
 * library detaches at once on a recall. */
struct lh_pin_options {
	uint32_t size;
	uint32_t flags; /* LH_LEASE_READ or _WRITE; _NOWAIT, _NOW, _EXCLUSIVE */
	uint64_t deadline_ns;
	uint64_t max_age_ns;
};
/*
 * A lease on [off, off + len), rounded out to whole blocks, and the device attached to it. READ is cut at the end of
 * file; WRITE may lie beyond it (the size grows at commit). `device` and what it points to are copied, ctx is the
 * caller's until gone(), which a failed call does not make. Errors as lh_lease_get, and those of attach().
 */
LH_API int lh_pin_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_pin_options *opt,
		      const struct lh_pin_device *device, void *ctx, struct lh_pin **out);
/* Bytes that were detached are got anew and attached: 0 when all of the range is. -ENODATA: READ beyond the end. */
LH_API int lh_pin_fault(struct lh_pin *pin, uint64_t off, uint64_t len);
/* As lh_lease_commit, but all of the range counts as written, as nobody sees what a device writes: the file grows to
 * its end. */
LH_API int lh_pin_commit(struct lh_pin *pin, uint64_t off, uint64_t len);
struct lh_pin_state {
	uint32_t size;
	uint32_t mode; /* LH_LEASE_READ or LH_LEASE_WRITE */
	uint64_t off, len;
	uint64_t attached; /* bytes that the device reaches now, holes included */
	uint64_t attaches, detaches, faults, recalls;
};
LH_API int lh_pin_state(struct lh_pin *pin, struct lh_pin_state *out);
/* Detaches, calls gone(), frees the handle. NULL is allowed. */
LH_API int lh_pin_release(struct lh_pin *pin);

/*
 * mmap of a file: pointers that the filesystem may move at any time (L31). Instead of
 *	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off);
 * it is
 *	err = lh_map(file, off, len, PROT_READ | PROT_WRITE, &p);
 * Access faults pages in, up to 2 MiB at once; a move takes them away and the next access finds them at the new place;
 * beyond the end of file, and where there is no space or no memory behind, it is SIGBUS. Never grows the file.
 * off is a multiple of the block size; the address has the same place inside 2 MiB as off. PROT_READ, or PROT_READ |
 * PROT_WRITE, as the file was opened (-EACCES). On hugetlbfs pools: whole 2 MiB of file only that lie in one aligned
 * huge page, else -EOPNOTSUPP, or SIGBUS when they were moved since. The mapping ends with its file (L24): SIGBUS then.
 *
 * How: a SIGSEGV handler, installed by the first lh_map; faults elsewhere go to the handler that was there. Who
 *installs one later must call the previous one. Threads that use mappings must not block SIGSEGV. After fork() the
 *child has no mappings. System calls given such pointers return EFAULT where pages are not there: lh_map_touch first,
 *and try again. As buffers of the read and write calls of this library they are fine; as other arguments of it they are
 *not. Never give one to a device or to direct I/O (O_DIRECT, io_uring, vmsplice, ibv_reg_mr): the kernel then keeps
 *the page beyond a revocation, and reads or writes what belongs to somebody else by now. For that there are lh_pin_get,
 *lh_uring_* and lh_verbs_*. -ENOMEM no address space, -ENFILE too many mappings.
 */
LH_API int lh_map(struct lh_file *file, uint64_t off, uint64_t len, int prot, void **out);
/* All of a mapping. No thread may use it any more. */
LH_API int lh_unmap(void *addr);
/* Faults the pages in now, for writing or reading. -EFAULT: not all of it is in one mapping; -ENODATA beyond the end of
 * file; -EACCES; what a fault ran into otherwise. They may go again at any time. */
LH_API int lh_map_touch(void *addr, size_t len, bool write);
/* msync: what was stored in the range is durable on return, as by lh_lease_commit, but the size never grows. */
LH_API int lh_map_sync(void *addr, size_t len);
struct lh_map_stat {
	uint32_t size;
	uint32_t reserved;
	uint64_t mappings, faults, pages, pages_taken; /* faults: signals; taken: by moves and other changes */
	uint64_t pieces;                               /* leases behind all mappings now */
};
/* Of all mappings of this process. */
LH_API int lh_map_stat(struct lh_map_stat *out);

/*
 * io_uring with files of Leasehold as fixed buffers: disk (or socket) to file and back without a copy by the CPU of
 * this process. The kernel pins fixed buffers for long; on a recall the ring cancels what is in flight, waits for it,
 * takes the buffer back, and does what was cut again at the new place, unseen (L15). One thread at a time calls the
 * functions of a ring. -EOPNOTSUPP: built without liburing; -EPERM, -ENOSYS: the system does not allow io_uring.
 */
struct lh_uring;
struct lh_uring_buffer;
/* depth: operations at once, 1 to 4096. */
LH_API int lh_uring_new(struct lh_fs *fs, unsigned depth, struct lh_uring **out);
/* Waits for what is outstanding, and unregisters its buffers. NULL is allowed. */
LH_API void lh_uring_free(struct lh_uring *ring);
/*
 * Instead of io_uring_register_buffers: [off, off + len) of the file; LH_LEASE_READ: the file is written elsewhere
 * (lh_uring_write), LH_LEASE_WRITE: it is filled (lh_uring_read). On pools whose memory the kernel does not pin (plain
 * files on a disk) the same calls work without fixed buffers: lh_uring_fixed says which.
 */
LH_API int lh_uring_register(struct lh_uring *ring, struct lh_file *file, uint64_t off, uint64_t len, uint32_t mode,
			     struct lh_uring_buffer **out);
LH_API bool lh_uring_fixed(const struct lh_uring_buffer *buf);
/* Its operations must be complete. NULL is allowed. */
LH_API int lh_uring_unregister(struct lh_uring_buffer *buf);
/* Reads len bytes of fd at fd_off (UINT64_MAX: at its own position) into the file at off, which lies in the buffer.
 * -EBUSY: depth reached. */
LH_API int lh_uring_read(struct lh_uring_buffer *buf, int fd, uint64_t fd_off, uint64_t off, uint32_t len,
			 void *cookie);
/* Writes the file's bytes at off to fd. */
LH_API int lh_uring_write(struct lh_uring_buffer *buf, int fd, uint64_t fd_off, uint64_t off, uint32_t len,
			  void *cookie);
/*
 * Waits for at least min completions (at most what is outstanding), returns up to max. Results as of read(2) and
 * write(2): fewer bytes than asked only at an end of file or of a device. -ENODATA: a READ buffer's bytes were cut off
 * the file.
 */
LH_API int lh_uring_wait(struct lh_uring *ring, unsigned min, struct lh_completion *out, unsigned max);
/* lh_lease_commit of what was filled. */
LH_API int lh_uring_commit(struct lh_uring_buffer *buf, uint64_t off, uint64_t len);

/*
 * Memory regions of an application's own protection domain. Instead of ibv_reg_mr(pd, addr, len, access) it is
 * lh_verbs_reg_mr(pd, file, off, len, access, &mr): one region for every run, deregistered before the memory goes
 * elsewhere (deregistering is the barrier: what comes later fails at the NIC). Access with IBV_ACCESS_LOCAL_WRITE or
 * _REMOTE_WRITE or _REMOTE_ATOMIC needs a file open for writing. Uses the process's libibverbs; -EOPNOTSUPP: built
 * without its headers, or none is loaded.
 */
struct ibv_pd;
struct lh_verbs_mr;
LH_API int lh_verbs_reg_mr(struct ibv_pd *pd, struct lh_file *file, uint64_t off, uint64_t len, int access,
			   struct lh_verbs_mr **out);
struct lh_verbs_run {
	uint64_t off, len; /* of the file, from the byte that was asked for on */
	void *addr;        /* what work requests and remote peers give as address */
	uint32_t lkey, rkey;
	uint64_t generation; /* of the whole region: rises with every change, so that a user of the keys can ask */
};
/*
 * The keys for the byte at off: got anew when they were taken away. They are good until the generation rises; a work
 * request that fails then is posted again with those of now. -ENODATA: beyond the end, or a hole of a region for
 * reading.
 */
LH_API int lh_verbs_lookup(struct lh_verbs_mr *mr, uint64_t off, struct lh_verbs_run *out);
LH_API uint64_t lh_verbs_generation(const struct lh_verbs_mr *mr);
/* lh_lease_commit of what a NIC has written. */
LH_API int lh_verbs_commit(struct lh_verbs_mr *mr, uint64_t off, uint64_t len);
/* Instead of ibv_dereg_mr. NULL is allowed. */
LH_API int lh_verbs_dereg_mr(struct lh_verbs_mr *mr);

/* ---- recalls as events
 * --------------------------------------------------------------------------------------------------- */

enum lh_event_type { LH_EVENT_RECALL = 1, LH_EVENT_REVOKED = 2 };
struct lh_event {
	uint32_t size;
	uint32_t type;             /* enum lh_event_type */
	struct lh_lease *lease;    /* of a MANUAL lease; do not use after its release */
	uint64_t off, len;         /* the range that must go, or went */
	uint64_t deadline_left_ns; /* recall: when it was read */
	bool stop; /* the data is going away (truncate, punch); false: drain, it stays valid until released */
	char reason[32];
};
/* Becomes readable (poll, epoll) when an event is waiting. The library's; do not read or close it. Events exist for
 * MANUAL leases. */
LH_API int lh_event_fd(struct lh_fs *fs);
/* 1: an event; 0: none. Does not block. */
LH_API int lh_event_next(struct lh_fs *fs, struct lh_event *out);

/* ---- who holds what
 * ------------------------------------------------------------------------------------------------------ */

struct lh_lease_info {
	uint32_t size;
	uint32_t mode;
	uint64_t number, ino, session;
	uint32_t uid;
	int32_t pid;
	char host[64], state[16]; /* "granted", "recalling" */
	uint64_t off, len, bytes, pinned_bytes, age_ns, recall_left_ns;
	uint32_t gid;
	uint32_t flags; /* LH_LEASE_EXCLUSIVE, LH_LEASE_FAULTING */
	uint32_t pins;  /* devices that reach it */
	uint32_t reserved;
	char pin[32], last_reason[32]; /* kind of the first device; why it was recalled last, "" never */
	uint64_t handle, exclusive_left_ns, recalled_ns;
};
/* Calls each() for every lease that the caller may see (root and the pool's owner: all; others: their own uid's). path
 * NULL: all files. */
LH_API int lh_fs_leases(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
			void *ctx);
/* Revokes by force, now. Root or the pool's owner, else -EPERM. Zero fields do not filter; all zero is -EINVAL. Returns
 * how many. */
struct lh_revoke_filter {
	uint32_t size;
	bool by_uid;
	uint32_t uid;
	uint64_t number, session;
	const char *path;
};
LH_API int lh_fs_revoke(struct lh_fs *fs, const struct lh_revoke_filter *filter);

/* The same for what the filter leaves: zero fields do not filter; all zero: everything. */
LH_API int lh_fs_leases_matching(struct lh_fs *fs, const struct lh_revoke_filter *filter,
				 void (*each)(void *ctx, const struct lh_lease_info *info), void *ctx);

struct lh_session_info {
	uint32_t size;
	uint32_t uid, gid;
	int32_t pid;
	char host[64], state[16]; /* "open", "away": its connection is lost, its lease time runs */
	uint64_t number, leases, pinned_bytes, age_ns, idle_ns, recalls, forced;
	uint64_t slowest_ns;                /* of its answers to recalls */
	uint64_t bytes_limit, leases_limit; /* as they apply to it; UINT64_MAX: none */
};
/* As lh_fs_leases: by number. */
LH_API int lh_fs_sessions(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_session_info *info), void *ctx);

/* L26: one forced revocation. */
struct lh_audit {
	uint32_t size;
	uint32_t mode;
	uint64_t number; /* 1, 2, 3... since the filesystem was opened */
	int64_t at_ns;   /* since 1970 */
	uint64_t lease, ino, session, off, len, took_ns;
	uint32_t uid, asker_uid;
	int32_t pid, asker_pid;
	uint64_t asker_session; /* 0: the filesystem itself */
	char reason[32], asked_by[64];
};
/*
 * The last 16,384 of them, oldest first: start with *cursor 0; returns how many were copied. Root and the pool's owner
 * see all, others those of their own uid.
 */
LH_API int lh_fs_audit(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max);

struct lh_lease_stats {
	uint32_t size;
	uint64_t grants, releases, recalls, breaks, released_in_time, forced, leases, sessions, pinned_bytes;
	uint64_t direct_reads, direct_writes, direct_read_bytes, direct_write_bytes, refused, protocol_errors;
};
LH_API int lh_fs_lease_stats(struct lh_fs *fs, struct lh_lease_stats *out);

/* What happened lately, oldest first; for people and the demo. In process only (-EOPNOTSUPP remote). */
struct lh_trace {
	uint64_t at_ns; /* CLOCK_MONOTONIC */
	char event[12]; /* "grant", "recall", "release", "revoke", "break" */
	char reason[32];
	uint32_t mode;
	uint64_t number, ino, session, off, len, took_ns;
};
/* Start with *cursor 0. Returns how many were copied. */
LH_API int lh_fs_trace(struct lh_fs *fs, uint64_t *cursor, struct lh_trace *out, unsigned max);

/* ---- acting for others: mounts, gateways
 * ------------------------------------------------------------------------------------------ */

/*
 * Who serves a filesystem to others (a mount, an NFS or SMB server) works with inode numbers and other people's rights,
 * as with openat(2) and setfsuid(2). The calls of one thread are done as its struct lh_caller says, until it says
 * otherwise. Everything in it may change between calls; it stays the caller's, and must live until it is replaced.
 *
 *	struct lh_caller who = {.size = sizeof(who), .flags = LH_CALLER_CHECKED, .uid = uid, .gid = gid, .at =
 *{parent}}; lh_thread_caller(&who); err = lh_path_mkdir(fs, "name", 0755); lh_thread_caller(NULL);
 */
struct lh_caller {
	uint32_t size;
	uint32_t flags; /* LH_CALLER_* */
	/* Count only in sessions that lh_fs_act has allowed it; in others the session's own identity stays. */
	uint32_t uid, gid;
	uint32_t group_count; /* supplementary groups, at most 64: more are not looked at */
	uint32_t umask;       /* off the mode of what is made, but where a default ACL stands in its place */
	const uint32_t *groups;
	/*
	 * Inodes that the first and the second path of a call start from; 0: the root. There "" is that inode itself,
	 * of whatever type, never followed. Numbers are never used again for another inode. -ESTALE: it is gone, or
	 * a server's session that lh_fs_act has not allowed to act was not told of it lately: look its name up again.
	 */
	uint64_t at[2];
	/* May be NULL. Calls by path that find, make, open or change an inode say here what it is like afterwards. */
	struct lh_stat *stat;
	uint64_t library[64]; /* the library's own */
};
/* Permissions were checked already (by the kernel over a mount that checks them): nothing is refused for want of them.
 */
#define LH_CALLER_CHECKED 1u
/* In process: as lh_fs_set_nowait, for this thread's calls: -EWOULDBLOCK instead of waiting for others' leases (L9). */
#define LH_CALLER_NOWAIT 2u
/* NULL: the session itself again. Does not block. -EINVAL: size. */
LH_API int lh_thread_caller(struct lh_caller *caller);
/* From now on uid, gid, groups and LH_CALLER_CHECKED of callers count in this session. Root and the owner of the
 * filesystem's root directory, else -EPERM. */
LH_API int lh_fs_act(struct lh_fs *fs);
/* lh_dir_next, and what the entry's inode is like, in one. An entry that vanished meanwhile is left out. On a server:
 * -EACCES without search permission, -EOPNOTSUPP when it is older than this call. */
LH_API int lh_dir_next_stat(struct lh_dir *dir, struct lh_dirent *out, struct lh_stat *st);

/*
 * Copies of names, attributes and content (a mount's kernel keeps some) must be dropped when somebody else changes the
 * original. Events of this session's own calls are left out; of one that stores through a lease, DATA comes when it
 * gets WRITE and again at every commit and when it lets go. After the start and after ALL, DATA comes of every file
 * that others hold WRITE leases on.
 */
enum lh_change_type {
	LH_CHANGE_DATA = 1,  /* content or size of ino */
	LH_CHANGE_ATTR = 2,  /* mode, owner, times, links, attributes, ACLs of ino */
	LH_CHANGE_ENTRY = 3, /* name in the directory ino: made, gone, or means something else */
	LH_CHANGE_ALL = 4,   /* events were lost (too many, or the connection): anything may have changed */
};
struct lh_change {
	uint32_t size;
	uint32_t type; /* enum lh_change_type */
	uint64_t ino;
	bool writers;   /* DATA: somebody holds WRITE leases on it now: copies are old as soon as they are made */
	char name[256]; /* ENTRY */
};
/*
 * each() is called from a thread of the library, in order, after the change and soon (not before its call returns to
 * whoever made it); it may call the library. One watch a session (-EBUSY); NULL ends it, and waits for the call that
 * runs. -EOPNOTSUPP: the server does not know it.
 */
LH_API int lh_fs_watch(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_change *change), void *ctx);
/*
 * What of others' changes each() has not returned from yet, of all that was done before this session's last call that
 * has returned was begun: so who opens a file and asks then knows whether copies of it are good. Never waits. A set of
 * LH_BEHIND_*; 0: nothing, or there is no watch.
 */
#define LH_BEHIND_DATA  1u /* content or size of ino */
#define LH_BEHIND_ATTR  2u /* attributes of ino */
#define LH_BEHIND_NAMES 4u /* some name, anywhere */
LH_API unsigned lh_fs_watch_behind(struct lh_fs *fs, uint64_t ino);

/* ---- files of a mount
 * -------------------------------------------------------------------------------------------------------------- */

/*
 * Direct access for a program that has a path or a descriptor in a mount of Leasehold: finds the pool's server behind
 * the mount and opens the same file there, found by its inode number: whatever happens to its names meanwhile. Files of
 * one process and server, opened with the same options, share a session; it ends with the last of them (lh_file_close),
 * so close what you open in lh_file_fs() of one before. After fork() the child opens its own; closing the parent's does
 * nothing there. flags: O_RDONLY, O_WRONLY or O_RDWR, and of the descriptor at most what it was opened for (0: that);
 * permission is asked for anew. opt: of the session; NULL: defaults.
 * -ENOTTY: not a file of a mount of Leasehold; -EOPNOTSUPP: nothing serves the pool behind it (mount --listen);
 * -ENOENT: a descriptor's file has no name any more, or had its name changed all the time (servers that cannot open by
 * number); -EBADF fd; -EACCES fd is not open for that, or the file's permissions; -EISDIR, -EINVAL not a regular file;
 * -ENOTCONN the mount is dead; -EPROTO it gives no server's address; -ESTALE the server there has another filesystem by
 * now; what lh_fs_open and lh_file_open say.
 */
LH_API int lh_file_from_fd(int fd, int flags, const struct lh_open_options *opt, struct lh_file **out);
LH_API int lh_file_from_path(const char *path, int flags, const struct lh_open_options *opt, struct lh_file **out);
/*
 * What is behind a path in a mount: the address to open, and the path inside. Symbolic links are followed. A name that
 * does not exist gives the path that it would have. -ENOTTY: no mount of Leasehold; -EOPNOTSUPP, -EPROTO, -ENOTCONN as
 * above; -ENOENT: its directory is not there; -ENAMETOOLONG; -EACCES and others of open(2).
 */
struct lh_mounted {
	uint32_t size;
	char address[256];
	char path[4097];
};
LH_API int lh_mounted_at(const char *path, struct lh_mounted *out);

/* ---- serving
 * --------------------------------------------------------------------------------------------------------------- */

struct lh_server_options {
	uint32_t size;
	uint32_t tcp_uid, tcp_gid; /* who TCP clients are (they cannot prove anything without TLS); 0 with tcp_as_given
				      false: 65534 */
	bool tcp_as_given;
	uint32_t sessions_max;       /* 0: 10,000 */
	uint64_t spin_ns;            /* movers; 0: 50 µs */
	uint32_t socket_mode;        /* of the unix socket; 0: 0600 */
	uint64_t session_timeout_ns; /* the lease time: how long a silent session lives (L34); 0: 10 s */
};
/*
 * Serves fs (in process) on an address, "unix:PATH" or "tcp:HOST:PORT" (loopback only; port 0 picks one). May be called
 * for several addresses. Returns at once; threads serve. -EADDRINUSE, -EACCES, -EOPNOTSUPP (not loopback: TLS is not
 * there yet).
 */
LH_API int lh_server_start(struct lh_fs *fs, const char *address, const struct lh_server_options *opt,
			   struct lh_server **out);
/* "unix:..." or "tcp:127.0.0.1:PORT" with the real port. */
LH_API const char *lh_server_address(const struct lh_server *server);
/* Ends every session: their leases are revoked and drained. */
LH_API void lh_server_stop(struct lh_server *server);

#ifdef __cplusplus
}
#endif
#endif
