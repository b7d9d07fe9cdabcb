/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control protocol in host form: one struct per message, and the functions between it and bytes. docs/protocol.md
 * part 1 is normative; the rules that decoding returns ("P12 ...") are its rules.
 *
 * No I/O, no malloc, no threads. Decoded strings, data and lists are views into the caller's message, which must
 *outlive them. One table (table.c) describes every field, so that encoding, decoding, limits and to_text cannot
 *disagree.
 *
 *	sending:   n = proto_encode(&header, &body, buf, sizeof(buf));
 *	receiving: read PROTO_HEADER_SIZE bytes; rule = proto_header_decode(bytes, &header);
 *		   read header.length - PROTO_HEADER_SIZE more; rule = proto_body_decode(&header, rest, &body);
 */
#ifndef LH_PROTO_PROTO_H
#define LH_PROTO_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROTO_MAGIC       0x3150484cu /* "LHP1" as bytes */
#define PROTO_VERSION_MIN 1u
#define PROTO_VERSION_MAX 1u
#define PROTO_HEADER_SIZE 32u

#define PROTO_PATH_MAX    4096u
#define PROTO_NAME_MAX    255u
#define PROTO_TEXT_MAX    512u /* error sentences, reasons */
#define PROTO_HOST_MAX    63u
#define PROTO_KIND_MAX    31u
#define PROTO_DATA_MAX    (1u << 20) /* bytes of one READ or WRITE */
#define PROTO_RUNS_MAX    1024u      /* of one message */
#define PROTO_EXTENTS_MAX 1024u
#define PROTO_DIRENTS_MAX 256u
#define PROTO_LEASES_MAX  256u
#define PROTO_VALUE_MAX   65536u /* of one extended attribute, and of a list of their names */
#define PROTO_SHOTS_MAX   64u    /* snapshots of one message */
#define PROTO_LIMITS_MAX  512u
#define PROTO_LOSSES_MAX  64u
/* A DEDUPE_RANGE compares and a COPY_RANGE copies no more at once, so that no request holds a worker for long. */
#define PROTO_STRETCH_MAX ((uint64_t)1 << 30)
#define PROTO_GROUPS_MAX  64u /* supplementary groups of a caller */
#define PROTO_CHANGES_MAX 64u
/* What an AS and its answer carry: a WRITE, and the longest list that may be asked for inside. */
#define PROTO_INNER_MAX       (PROTO_DATA_MAX + 20u)
#define PROTO_INNER_REPLY_MAX (128u << 10)
/* No message is longer: a WRITE, by somebody else; or a READ's answer. */
#define PROTO_MESSAGE_MAX (PROTO_HEADER_SIZE + 320u + PROTO_DATA_MAX)

/* Header flags. */
#define PROTO_REPLY 1u /* answers the request of the same sequence; status and, unless it is 0, an error body */
#define PROTO_MORE                                                                                                     \
	2u /* LEASE_GET's answer, LAYOUT: the next message is a LAYOUT of the same lease that continues it             \
	    */
#define PROTO_NOWAIT 4u /* requests: -EWOULDBLOCK or -EAGAIN instead of waiting for somebody's lease (L9) */
#define PROTO_FLAGS  7u

/*
 * X(NAME, number, request's struct, reply's struct). Requests go from client to server, but for the events, which the
 * server sends with sequence 0 and nobody answers; GOODBYE goes both ways, unanswered.
 */
#define PROTO_TYPES(X)                                                                                                 \
	X(HELLO, 1, hello, welcome)                                                                                    \
	X(PING, 2, empty, empty)                                                                                       \
	X(GOODBYE, 3, goodbye, none)                                                                                   \
	X(DATA_HELLO, 4, data_hello, empty)                                                                            \
	X(RING_ATTACH, 5, empty, empty)                                                                                \
	X(RESUME, 6, resume, resumed)                                                                                  \
	X(CANCEL, 7, cancel, empty)                                                                                    \
	X(AS, 8, as, as_reply)                                                                                         \
	X(ACT, 9, empty, empty)                                                                                        \
	X(WATCH, 10, watch, empty)                                                                                     \
	X(FS_SYNC, 16, empty, empty)                                                                                   \
	X(FS_STAT, 17, empty, fs_stat)                                                                                 \
	X(FS_LEASES, 18, fs_leases, lease_list)                                                                        \
	X(FS_REVOKE, 19, fs_revoke, count)                                                                             \
	X(FS_LEASE_STATS, 20, empty, lease_stats)                                                                      \
	X(FS_SNAPSHOT, 21, rename, empty)                                                                              \
	X(FS_SNAPSHOT_DELETE, 22, path, empty)                                                                         \
	X(FS_SNAPSHOTS, 23, after, snapshots)                                                                          \
	X(FS_LIMIT_SET, 24, limit_ask, limit)                                                                          \
	X(FS_LIMIT_GET, 25, limit_ask, limit)                                                                          \
	X(FS_LIMITS, 26, after, limits)                                                                                \
	X(FS_RESIZE, 27, resize, empty)                                                                                \
	X(FS_EVACUATE, 28, evacuate, count)                                                                            \
	X(FS_SESSIONS, 29, after, sessions)                                                                            \
	X(FS_AUDIT, 30, after, audits)                                                                                 \
	X(FS_LIMIT_CLEAR, 31, limit_ask, empty)                                                                        \
	X(PATH_STAT, 32, path_stat, attr)                                                                              \
	X(PATH_MKDIR, 33, path_mode, empty)                                                                            \
	X(PATH_RMDIR, 34, path, empty)                                                                                 \
	X(PATH_UNLINK, 35, path, empty)                                                                                \
	X(PATH_RENAME, 36, rename, empty)                                                                              \
	X(PATH_LINK, 37, two_paths, empty)                                                                             \
	X(PATH_SYMLINK, 38, two_paths, empty)                                                                          \
	X(PATH_READLINK, 39, path, target)                                                                             \
	X(PATH_CHMOD, 40, path_mode, empty)                                                                            \
	X(PATH_CHOWN, 41, chown, empty)                                                                                \
	X(PATH_SET_TIMES, 42, set_times, empty)                                                                        \
	X(PATH_MKNOD, 43, mknod, empty)                                                                                \
	X(PATH_GETXATTR, 44, xattr_get, xattr)                                                                         \
	X(PATH_SETXATTR, 45, xattr_set, empty)                                                                         \
	X(PATH_LISTXATTR, 46, xattr_get, xattr)                                                                        \
	X(PATH_REMOVEXATTR, 47, xattr_get, empty)                                                                      \
	X(DIR_OPEN, 48, path, opened)                                                                                  \
	X(DIR_READ, 49, dir_read, dirents)                                                                             \
	X(DIR_CLOSE, 50, handle, empty)                                                                                \
	X(DIR_LIST, 51, dir_read, listed)                                                                              \
	X(FILE_OPEN, 64, file_open, opened)                                                                            \
	X(FILE_CLOSE, 65, handle, empty)                                                                               \
	X(FILE_STAT, 66, handle, attr)                                                                                 \
	X(FILE_READ, 67, file_read, data)                                                                              \
	X(FILE_WRITE, 68, file_write, count)                                                                           \
	X(FILE_TRUNCATE, 69, file_truncate, empty)                                                                     \
	X(FILE_ALLOCATE, 71, file_allocate, empty)                                                                     \
	X(FILE_SYNC, 72, handle, empty)                                                                                \
	X(FILE_CLONE_RANGE, 73, clone_range, empty)                                                                    \
	X(FILE_RELOCATE, 74, file_range, count)                                                                        \
	X(FILE_EXTENTS, 75, file_extents, extents)                                                                     \
	X(FILE_DEDUPE_RANGE, 76, clone_range, count)                                                                   \
	X(FILE_EXCHANGE_RANGE, 77, clone_range, empty)                                                                 \
	X(FILE_COPY_RANGE, 78, clone_range, count)                                                                     \
	X(FILE_SEEK, 79, file_seek, count)                                                                             \
	X(LEASE_GET, 80, lease_get, lease_granted)                                                                     \
	X(LEASE_RELEASE, 81, lease_release, empty)                                                                     \
	X(LEASE_COMMIT, 82, file_range, committed)                                                                     \
	X(FILE_LINK, 83, file_link, empty)                                                                             \
	X(FILE_SETATTR, 84, file_setattr, empty)                                                                       \
	X(FILE_DEFRAGMENT, 85, handle, defragmented)                                                                   \
	X(LEASE_FAULT, 86, lease_fault, lease_faulted)                                                                 \
	X(FILE_REOPEN, 87, file_reopen, opened)                                                                        \
	X(LEASE_CHANGE, 88, lease_change, lease_granted)                                                               \
	X(RECALL, 96, recall, none)                                                                                    \
	X(REVOKED, 97, recall, none)                                                                                   \
	X(LAYOUT, 98, layout, none)                                                                                    \
	X(PROGRESS, 99, progress, none)                                                                                \
	X(LOSS, 100, loss, none)                                                                                       \
	X(CHANGED, 101, changed, none)

enum proto_type {
#define X(name, number, request, reply) PROTO_##name = number,
	PROTO_TYPES(X)
#undef X
};

struct proto_header {
	uint32_t length; /* of the whole message; filled by proto_encode */
	uint16_t type;
	uint16_t flags;
	uint64_t seq;    /* requests count 1, 2, 3...; a reply repeats its request's; events 0 */
	uint64_t epoch;  /* WELCOME's; 0 in HELLO, its answer, and DATA_HELLO */
	uint32_t status; /* replies: 0 or a positive Linux errno; otherwise 0 */
	uint32_t ack;    /* requests in a session that can be resumed: messages of the server's received (P51) */
};

/* Not terminated. */
struct proto_str {
	const char *bytes;
	uint32_t len;
};
struct proto_data {
	const void *bytes;
	uint32_t len;
};
struct proto_range {
	uint64_t off, len;
};
/*
 * Elements of one kind. To send: host and count. Received: wire, wire_len and count, read with proto_*_next.
 */
struct proto_list {
	const void *host;
	const uint8_t *wire;
	uint32_t wire_len;
	uint32_t count;
};

/* --- elements of lists --- */

/* key 0: a hole, reads as zeroes. What no run covers is unknown: to be reached by calls or a new LEASE_GET (P40). */
struct proto_run {
	uint64_t file_off, len, key, key_off;
};
struct proto_extent {
	uint64_t file_off, len;
	uint32_t flags; /* LH_EXTENT_* of the public header */
};
struct proto_dirent {
	uint64_t ino, cookie;
	uint32_t type; /* DT_* */
	struct proto_str name;
};
struct proto_lease_info {
	uint64_t number, ino, session;
	uint32_t mode, state; /* enum proto_mode; 0 granted, 1 recalling */
	uint32_t uid;
	int32_t pid;
	struct proto_range range;
	uint64_t bytes, pinned_bytes, age_ns, recall_left_ns;
	uint32_t gid;
	uint64_t handle;
	uint32_t flags; /* PROTO_LEASE_* */
	uint32_t pins;
	uint64_t exclusive_left_ns;         /* how long changes are denied yet */
	uint64_t recalled_ns;               /* how long ago it was recalled last; UINT64_MAX: never */
	struct proto_str host, pin, reason; /* pin: what kind of device; reason: of the last recall */
};
struct proto_session_info {
	uint64_t number, leases, pinned_bytes, age_ns, idle_ns, recalls, forced, slowest_ns;
	uint64_t bytes_limit, leases_limit; /* of its uid, as it applies to this session; UINT64_MAX: none */
	uint32_t uid, gid;
	int32_t pid;
	uint32_t state; /* 0 open, 1 away: its connection is lost, its lease time runs */
	struct proto_str host;
};
/* One forced revocation. */
struct proto_audit {
	uint64_t number; /* of the record: 1, 2, 3... since the start of the server */
	int64_t at_ns;   /* since 1970 */
	uint64_t lease, ino, session;
	uint32_t uid;
	int32_t pid;
	uint32_t mode;
	struct proto_range range;
	uint64_t took_ns; /* since the recall */
	uint32_t asker_uid;
	int32_t asker_pid;
	uint64_t asker_session; /* 0: the filesystem itself */
	struct proto_str reason, asked_by;
};
struct proto_snapshot_info {
	uint64_t ino, inodes, blocks;
	int64_t created_ns;
	uint32_t read_only;
	struct proto_str path;
};
struct proto_limit {
	uint32_t kind, id; /* LH_LIMIT_*; uid or tree */
	uint64_t ino;
	uint64_t bytes, inodes, bytes_used, inodes_used;
};
struct proto_lost {
	uint64_t ino;
	struct proto_range range;
	struct proto_str path;
};

struct proto_attr {
	uint64_t ino;
	uint32_t mode, nlink, uid, gid;
	uint64_t size, blocks;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
	uint64_t rdev;
	uint32_t flags; /* LH_STAT_* */
	uint32_t tree;
};
/* An entry of a directory and what its inode is like. */
struct proto_listed_entry {
	uint64_t ino, cookie;
	uint32_t type; /* DT_* */
	struct proto_str name;
	struct proto_attr attr;
};
struct proto_group {
	uint32_t gid;
};
/* What somebody else changed. */
struct proto_change {
	uint32_t type; /* enum lh_change_type */
	uint64_t ino;
	uint32_t writers;      /* 1: somebody holds WRITE leases on it */
	struct proto_str name; /* of an ENTRY; else empty */
};

/* --- messages --- */

enum proto_mode { PROTO_READ = 1, PROTO_WRITE = 2 };
enum proto_kind { PROTO_DRAIN = 0, PROTO_STOP = 1 };
#define PROTO_DEADLINE_NOW UINT64_MAX

#define PROTO_FEATURE_STREAM 1u /* DATA_HELLO works on this address */
#define PROTO_FEATURE_RING   2u /* RING_ATTACH works on this address */
#define PROTO_FEATURE_AS     4u /* AS, ACT, DIR_LIST */
#define PROTO_FEATURE_WATCH  8u /* WATCH, CHANGED */

#define PROTO_HELLO_READ_ONLY 1u /* changing calls of this session are -EROFS */
#define PROTO_HELLO_NO_RESUME 2u /* the session ends with its connection (P50) */
#define PROTO_HELLO_ALL       3u

/* Open flags on the wire; the numbers of open(2) differ between machines. */
#define PROTO_O_READ      1u
#define PROTO_O_WRITE     2u
#define PROTO_O_CREAT     4u
#define PROTO_O_EXCL      8u
#define PROTO_O_TRUNC     16u
#define PROTO_O_APPEND    32u
#define PROTO_O_NOFOLLOW  64u
#define PROTO_O_DIRECTORY 128u
#define PROTO_O_TMPFILE   256u /* path is the directory */
#define PROTO_O_ALL       511u

#define PROTO_BYE_REASONS(X)                                                                                           \
	X(CLOSED, "the peer is leaving")                                                                               \
	X(SHUTDOWN, "the server is shutting down")                                                                     \
	X(PROTOCOL, "a message broke the protocol")                                                                    \
	X(VERSION, "no common protocol version")                                                                       \
	X(LIMIT, "over a limit")                                                                                       \
	X(SLOW, "the peer does not read its messages")                                                                 \
	X(TIMEOUT, "the peer took too long")                                                                           \
	X(INTERNAL, "the server cannot go on with this session")
enum proto_bye_reason {
#define X(name, text) PROTO_BYE_##name,
	PROTO_BYE_REASONS(X)
#undef X
	    PROTO_BYE_COUNT
};

struct proto_empty {
	uint8_t unused;
};
struct proto_error {
	struct proto_str text; /* may be empty */
};
struct proto_hello {
	uint32_t magic; /* PROTO_MAGIC */
	uint32_t version_min, version_max;
	uint64_t features;  /* that the client knows */
	uint32_t flags;     /* PROTO_HELLO_* */
	int32_t pid;        /* for listings; on unix sockets the kernel's word counts */
	uint8_t client[16]; /* of this client for as long as it lives, random: reclaims EXCLUSIVE leases (P60) */
	struct proto_str host;
};
struct proto_welcome {
	uint32_t version;
	uint64_t features; /* both know and this address has */
	uint64_t session;  /* its number in listings */
	uint64_t epoch;    /* on every message from now on */
	uint8_t token[16]; /* secret; opens data connections */
	uint64_t boot;     /* verifier: another number after each start of the server (L29) */
	uint32_t uid, gid; /* who the server thinks you are */
	uint32_t block_size;
	uint32_t message_max, data_max, outstanding_max, handles_max;
	uint64_t deadline_ns, deadline_max_ns; /* of leases: the pool's default and maximum; 0: not told */
	uint64_t session_timeout_ns;           /* the lease time: silence after which the session is dead (L34) */
	uint64_t grace_ns;                     /* how long EXCLUSIVE leases may be reclaimed from now on (L35) */
};
/* The first message of a connection that takes an existing session over. */
struct proto_resume {
	uint32_t magic;
	uint32_t version; /* WELCOME's */
	uint64_t session;
	uint64_t epoch;
	uint8_t token[16];
	uint64_t received; /* messages of the server's that the client has had in this session, WELCOME not counted */
};
struct proto_resumed {
	uint64_t received; /* sequence of the last request that the server has had: send again what is above */
	uint64_t session_timeout_ns;
};
/* A request of this session whose waiting for others' leases is to end: it answers EINTR, unless it is done. */
struct proto_cancel {
	uint64_t request; /* its sequence; 0: all */
};
/*
 * A request inside another message, or its answer: which one, and its body. To send: host. Received: wire, of len
 * bytes, which were checked and are read with proto_inner_decode.
 */
union proto_body;
struct proto_inner {
	uint32_t type;
	uint32_t len;
	const union proto_body *host;
	const uint8_t *wire;
};
#define PROTO_AS_IDENTITY 1u /* uid, gid, groups count: for administrators (P71) */
#define PROTO_AS_CHECKED  2u /* with IDENTITY: permissions were checked elsewhere */
#define PROTO_AS_ATTR     4u /* the answer tells what the inode is like afterwards */
#define PROTO_AS_ALL      7u
/* A request that is done as somebody else and from inodes on (P69 to P73). */
struct proto_as {
	uint32_t flags; /* PROTO_AS_* */
	uint32_t uid, gid;
	uint32_t umask;           /* off the mode of what is made */
	uint64_t at[2];           /* where its first and second path start; 0: the root */
	struct proto_list groups; /* struct proto_group */
	struct proto_inner inner; /* of a type that proto_may_be_inner */
};
struct proto_as_reply {
	struct proto_list attr;   /* struct proto_attr: one, or none */
	struct proto_inner inner; /* the answer, of status 0 */
};
struct proto_watch {
	uint32_t on; /* 0 or 1 */
};
struct proto_changed {
	struct proto_list changes; /* struct proto_change, in their order */
};
struct proto_goodbye {
	uint32_t reason; /* enum proto_bye_reason */
	struct proto_str text;
};
struct proto_data_hello {
	uint32_t magic;
	uint32_t version; /* WELCOME's */
	uint64_t session;
	uint8_t token[16];
};

struct proto_fs_stat {
	uint32_t block_size;
	uint64_t blocks, free_blocks, avail_blocks, files, log_bytes, checkpoints;
	uint8_t uuid[16];
	struct proto_str pool_class, pool_kind;
};
struct proto_fs_leases {
	uint64_t after;           /* numbers above this; 0 at first */
	uint64_t number, session; /* 0: do not filter */
	uint32_t by_uid;          /* 0 or 1 */
	uint32_t uid;
	struct proto_str path; /* empty: all files */
};
struct proto_lease_list {
	uint32_t more;            /* 1: ask again with after = the last number of this list */
	struct proto_list leases; /* struct proto_lease_info, by number */
};
struct proto_fs_revoke {
	uint64_t number, session; /* 0: do not filter */
	uint32_t by_uid;          /* 0 or 1 */
	uint32_t uid;
	struct proto_str path; /* empty: does not filter */
};
struct proto_count {
	uint64_t
	    count; /* revoked leases; written or copied bytes; moved blocks; losses; 1: contents differ; an offset */
};
struct proto_lease_stats {
	uint64_t grants, releases, recalls, breaks, released_in_time, forced, leases, sessions, pinned_bytes;
	uint64_t direct_reads, direct_writes, direct_read_bytes, direct_write_bytes, refused, protocol_errors;
};
/* FS_SNAPSHOTS: by ino, kind is 0. FS_LIMITS: by kind and id. What is above these; all 0 at first. */
struct proto_after {
	uint32_t kind;
	uint64_t number;
};
struct proto_snapshots {
	uint32_t more;
	struct proto_list snapshots; /* struct proto_snapshot_info, by ino */
};
struct proto_limit_ask {
	uint32_t kind, id; /* LH_LIMIT_* */
	uint64_t bytes, inodes;
	struct proto_str path; /* of a tree; empty: none */
};
struct proto_limit_reply {
	struct proto_limit limit;
};
struct proto_limits {
	uint32_t more;
	struct proto_list limits; /* struct proto_limit, by kind and id */
};

struct proto_sessions {
	uint32_t more;
	struct proto_list sessions; /* struct proto_session_info, by number */
};
struct proto_audits {
	uint32_t more;
	struct proto_list audits; /* struct proto_audit, by number */
};

struct proto_resize {
	uint64_t bytes;
};
struct proto_evacuate {
	struct proto_range range; /* of the pool's bytes */
};

struct proto_path {
	struct proto_str path;
};
struct proto_path_stat {
	uint32_t follow; /* 0 or 1 */
	struct proto_str path;
};
struct proto_path_mode {
	uint32_t mode;
	struct proto_str path;
};
struct proto_rename {
	uint32_t flags; /* LH_RENAME_* */
	struct proto_str from, to;
};
/* LINK: from, to. SYMLINK: from is the target's text. */
struct proto_two_paths {
	struct proto_str from, to;
};
struct proto_chown {
	uint32_t uid, gid; /* UINT32_MAX: unchanged */
	uint32_t follow;
	struct proto_str path;
};
struct proto_set_times {
	int64_t atime_ns, mtime_ns; /* INT64_MIN now, INT64_MAX unchanged */
	uint32_t follow;
	struct proto_str path;
};
struct proto_target {
	struct proto_str target;
};
struct proto_mknod {
	uint32_t mode; /* with the type */
	uint64_t rdev;
	struct proto_str path;
};
/* GET, LIST, REMOVE; LIST has no name, REMOVE no room. */
struct proto_xattr_get {
	uint32_t follow;
	uint32_t room; /* 0: only the length is wanted; else at most PROTO_VALUE_MAX */
	struct proto_str path, name;
};
struct proto_xattr {
	uint32_t length;
	struct proto_data value; /* empty when only the length was wanted */
};
struct proto_xattr_set {
	uint32_t follow;
	uint32_t flags; /* LH_XATTR_* */
	struct proto_str path, name;
	struct proto_data value;
};

struct proto_handle {
	uint64_t handle;
};
struct proto_dir_read {
	uint64_t handle;
	uint64_t cookie; /* entries after it; 0: from the start */
	uint32_t max;    /* 1 to PROTO_DIRENTS_MAX */
};
struct proto_dirents {
	uint32_t end;              /* 1: nothing follows the last of these */
	struct proto_list entries; /* struct proto_dirent */
};
struct proto_listed {
	uint32_t end;              /* 1: nothing follows the last of these */
	struct proto_list entries; /* struct proto_listed_entry */
};
struct proto_file_open {
	uint32_t flags; /* PROTO_O_* */
	uint32_t mode;
	struct proto_str path;
};
struct proto_opened {
	uint64_t handle;
	struct proto_attr attr;
};
struct proto_file_read {
	uint64_t handle, off;
	uint32_t len; /* at most PROTO_DATA_MAX */
};
struct proto_file_write {
	uint64_t handle, off;
	struct proto_data data;
};
struct proto_data_reply {
	struct proto_data data; /* shorter than asked: end of file */
};
struct proto_file_truncate {
	uint64_t handle, size;
};
/* RELOCATE, COMMIT */
struct proto_file_range {
	uint64_t handle;
	struct proto_range range;
};
struct proto_file_allocate {
	uint64_t handle;
	struct proto_range range;
	uint32_t mode; /* FALLOC_FL_* of Linux */
};
/* CLONE, DEDUPE, COPY; EXCHANGE: dst is a, src is b. */
struct proto_clone_range {
	uint64_t dst, dst_off, src, src_off, len;
};
struct proto_file_extents {
	uint64_t handle;
	struct proto_range range;
	uint32_t max; /* 1 to PROTO_EXTENTS_MAX */
};
struct proto_extents {
	struct proto_list extents; /* struct proto_extent; as many as max: there may be more */
};
enum proto_whence { PROTO_SEEK_DATA = 0, PROTO_SEEK_HOLE = 1 };
struct proto_file_seek {
	uint64_t handle, off;
	uint32_t whence; /* enum proto_whence */
};
struct proto_file_link {
	uint64_t handle;
	struct proto_str path;
};
#define PROTO_SET_MODE  1u
#define PROTO_SET_UID   2u
#define PROTO_SET_GID   4u
#define PROTO_SET_ATIME 8u
#define PROTO_SET_MTIME 16u
#define PROTO_SET_ALL   31u
struct proto_file_setattr {
	uint64_t handle;
	uint32_t mask; /* PROTO_SET_* */
	uint32_t mode, uid, gid;
	int64_t atime_ns, mtime_ns; /* INT64_MIN: now */
};
struct proto_defragmented {
	uint64_t before, after; /* runs */
};

#define PROTO_LEASE_EXCLUSIVE 1u
#define PROTO_LEASE_FAULTING  2u
#define PROTO_LEASE_RECLAIM   4u /* LEASE_GET: an EXCLUSIVE lease from before the server's restart (L35) */
#define PROTO_LEASE_ALL       7u
struct proto_lease_get {
	uint64_t handle;
	struct proto_range range;
	uint32_t mode;        /* enum proto_mode */
	uint64_t deadline_ns; /* 0: default; PROTO_DEADLINE_NOW */
	uint32_t flags;       /* PROTO_LEASE_* */
	uint64_t max_age_ns;  /* EXCLUSIVE: how long changes are denied; 0: the pool's longest */
};
struct proto_lease_granted {
	uint64_t lease;
	uint32_t seq;
	uint32_t mode;
	struct proto_range range; /* what was granted */
	uint64_t size;            /* of the file at the grant */
	uint32_t flags;           /* PROTO_LEASE_EXCLUSIVE, PROTO_LEASE_FAULTING as granted */
	uint64_t exclusive_left_ns;
	struct proto_list runs; /* struct proto_run, ascending */
};
/* L23. The answer is a grant of the same number without runs: LAYOUTs before it have told them (P66). */
struct proto_lease_change {
	uint64_t lease;
	uint32_t mode;
	uint32_t flags; /* PROTO_LEASE_EXCLUSIVE or 0 */
	uint64_t max_age_ns;
};
/* A faulting lease whose key answered "fault": make the range what a write (READ leases: a read) needs. */
struct proto_lease_fault {
	uint64_t lease;
	struct proto_range range;
};
struct proto_lease_faulted {
	uint64_t size; /* of the file now */
};
/* An open file of an earlier session, after the server's restart. */
struct proto_file_reopen {
	uint64_t ino;
	int64_t btime_ns; /* as it was: else the number is another file's (ESTALE) */
	uint32_t flags;   /* as FILE_OPEN */
};
struct proto_lease_release {
	uint64_t lease;
	uint32_t seq;             /* the highest that the client has seen of this lease */
	struct proto_range range; /* {0, UINT64_MAX}: all of it */
};
struct proto_committed {
	uint64_t boot; /* L29 */
	uint64_t size; /* of the file now */
};
/* RECALL and REVOKED */
struct proto_recall {
	uint64_t lease;
	uint32_t seq;
	uint32_t mode;
	struct proto_range range;
	uint32_t reason;  /* enum lease_reason: a number for programs */
	uint32_t kind;    /* enum proto_kind */
	uint64_t left_ns; /* RECALL: until it is taken by force, when sent. REVOKED: 0 */
	struct proto_str reason_text;
};
/* From now on, within range, these runs and no others are the way to the lease's bytes. */
struct proto_layout {
	uint64_t lease;
	uint32_t seq;
	struct proto_range range;
	struct proto_list runs;
};

/* How far a long request has come. */
struct proto_progress {
	uint64_t request; /* its sequence */
	uint64_t done, total;
};
/* What an EVACUATE could not save; before its reply. */
struct proto_loss {
	uint64_t request;
	struct proto_list losses; /* struct proto_lost */
};

/* Every body. The member is the one that PROTO_TYPES names for (type, REPLY), `error` for a reply with a status. */
union proto_body {
	struct proto_empty empty;
	struct proto_error error;
	struct proto_hello hello;
	struct proto_welcome welcome;
	struct proto_resume resume;
	struct proto_resumed resumed;
	struct proto_cancel cancel;
	struct proto_goodbye goodbye;
	struct proto_data_hello data_hello;
	struct proto_fs_stat fs_stat;
	struct proto_fs_leases fs_leases;
	struct proto_lease_list lease_list;
	struct proto_fs_revoke fs_revoke;
	struct proto_count count;
	struct proto_lease_stats lease_stats;
	struct proto_path path;
	struct proto_path_stat path_stat;
	struct proto_path_mode path_mode;
	struct proto_rename rename;
	struct proto_two_paths two_paths;
	struct proto_chown chown;
	struct proto_set_times set_times;
	struct proto_target target;
	struct proto_attr attr;
	struct proto_handle handle;
	struct proto_dir_read dir_read;
	struct proto_dirents dirents;
	struct proto_file_open file_open;
	struct proto_opened opened;
	struct proto_file_read file_read;
	struct proto_file_write file_write;
	struct proto_data_reply data;
	struct proto_file_truncate file_truncate;
	struct proto_file_range file_range;
	struct proto_file_allocate file_allocate;
	struct proto_clone_range clone_range;
	struct proto_file_extents file_extents;
	struct proto_extents extents;
	struct proto_lease_get lease_get;
	struct proto_lease_granted lease_granted;
	struct proto_lease_release lease_release;
	struct proto_committed committed;
	struct proto_recall recall;
	struct proto_layout layout;
	struct proto_after after;
	struct proto_snapshots snapshots;
	struct proto_limit_ask limit_ask;
	struct proto_limit_reply limit;
	struct proto_limits limits;
	struct proto_resize resize;
	struct proto_evacuate evacuate;
	struct proto_mknod mknod;
	struct proto_xattr_get xattr_get;
	struct proto_xattr xattr;
	struct proto_xattr_set xattr_set;
	struct proto_file_seek file_seek;
	struct proto_file_link file_link;
	struct proto_file_setattr file_setattr;
	struct proto_defragmented defragmented;
	struct proto_progress progress;
	struct proto_loss loss;
	struct proto_sessions sessions;
	struct proto_audits audits;
	struct proto_lease_change lease_change;
	struct proto_lease_fault lease_fault;
	struct proto_lease_faulted lease_faulted;
	struct proto_file_reopen file_reopen;
	struct proto_as as;
	struct proto_as_reply as_reply;
	struct proto_watch watch;
	struct proto_changed changed;
	struct proto_listed listed;
};

/* bytes: PROTO_HEADER_SIZE of them. NULL, or the rule that they break (magic of the type, flags, length over the type's
 * limit). */
const char *proto_header_decode(const void *bytes, struct proto_header *out);
/* body: h->length - PROTO_HEADER_SIZE bytes. NULL, or the rule. Everything in out was checked against its limits. */
const char *proto_body_decode(const struct proto_header *h, const void *body, union proto_body *out);
/*
 * Writes header and body; returns the length. -EMSGSIZE: cap is too small; -EINVAL: a field is over its limit (a string
 * too long, a value out of range), which the receiver would refuse.
 */
ssize_t proto_encode(const struct proto_header *h, const union proto_body *body, void *buf, size_t cap);
/*
 * The same for messages that end in data (WRITE, READ's answer), without copying it: writes everything before the data,
 * returns that length; the caller sends body's data.bytes behind it.
 */
ssize_t proto_encode_head(const struct proto_header *h, const union proto_body *body, void *buf, size_t cap);
/* The data that the message ends in; NULL when it has none. */
const struct proto_data *proto_tail(const struct proto_header *h, const union proto_body *body);
/* The longest message of this type, header included; 0: unknown type (or no such direction). */
uint32_t proto_length_max(unsigned type, unsigned flags);

/* Whether an AS may carry requests of this type: those that look at names, or at who asks. */
bool proto_may_be_inner(unsigned type);
/*
 * The request (or with PROTO_REPLY in h->flags the answer) inside a message whose header is h, as if it had come alone:
 * its header in *ih, its body in *out. It was checked when h's body was decoded.
 */
void proto_inner_decode(const struct proto_header *h, const struct proto_inner *inner, struct proto_header *ih,
			union proto_body *out);

/* Iterate a list: *cursor starts at 0; false at the end. Names and hosts are views. */
bool proto_run_next(const struct proto_list *l, uint32_t *cursor, struct proto_run *out);
bool proto_extent_next(const struct proto_list *l, uint32_t *cursor, struct proto_extent *out);
bool proto_dirent_next(const struct proto_list *l, uint32_t *cursor, struct proto_dirent *out);
bool proto_lease_info_next(const struct proto_list *l, uint32_t *cursor, struct proto_lease_info *out);
bool proto_snapshot_info_next(const struct proto_list *l, uint32_t *cursor, struct proto_snapshot_info *out);
bool proto_session_info_next(const struct proto_list *l, uint32_t *cursor, struct proto_session_info *out);
bool proto_audit_next(const struct proto_list *l, uint32_t *cursor, struct proto_audit *out);
bool proto_limit_next(const struct proto_list *l, uint32_t *cursor, struct proto_limit *out);
bool proto_lost_next(const struct proto_list *l, uint32_t *cursor, struct proto_lost *out);
bool proto_listed_entry_next(const struct proto_list *l, uint32_t *cursor, struct proto_listed_entry *out);
bool proto_group_next(const struct proto_list *l, uint32_t *cursor, struct proto_group *out);
bool proto_attr_next(const struct proto_list *l, uint32_t *cursor, struct proto_attr *out);
bool proto_change_next(const struct proto_list *l, uint32_t *cursor, struct proto_change *out);

/* "LEASE_GET"; "?" for an unknown one. */
const char *proto_type_name(unsigned type);
const char *proto_bye_name(unsigned reason);
/* One line for people, as snprintf. */
int proto_to_text(const struct proto_header *h, const union proto_body *body, char *buf, size_t cap);

/* open(2) flags and PROTO_O_*. -EINVAL for flags that the protocol does not carry. */
int proto_open_flags_of(int flags, uint32_t *out);
int proto_open_flags_to(uint32_t wire);

/* A view of a C string. */
struct proto_str proto_str_of(const char *s);
/* Copies with a terminator; false when it does not fit cap. */
bool proto_str_copy(struct proto_str s, char *buf, size_t cap);

#endif
