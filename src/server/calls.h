/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request being carried out, and the calls that do it: calls_path.c, calls_file.c, calls_lease.c, calls_fs.c,
 * calls_space.c, calls_ledger.c, calls_as.c, watch.c.
 *
 * A call returns 0 and fills out, or a negative errno (with fail_text() as the sentence), or CALL_ANSWERED when it has
 * replied itself, or, when it may not wait and would have to, CALL_LATER: then it runs again on a worker.
 */
#ifndef LH_SERVER_CALLS_H
#define LH_SERVER_CALLS_H

#include "server/server.h"

#define CALL_ANSWERED 1
#define CALL_LATER    2

struct call {
	struct session *session;
	const struct proto_header *header; /* its own, also when it came inside an AS */
	const union proto_body *in;
	const struct proto_as *as; /* NULL: as the session itself */
	union proto_body out;      /* zeroed */
	struct fs_caller who;
	struct fs_attr attr; /* what the inode is like now, for who asked (AS, ATTR); ino 0: nothing was told */
	bool may_wait;       /* on a worker */
	bool counted;        /* in session->outstanding, until the answer leaves */
	void *scratch;       /* what out points to; freed after the answer was sent */
	char path[2][PROTO_PATH_MAX + 1];
};

/* Before an answer is sent: the client may send the next request as soon as it has it (P18). */
void call_answering(struct call *c);
/* A terminated copy; which is 0 or 1. Lengths were checked by the protocol. */
const char *call_path(struct call *c, unsigned which, struct proto_str s);
/* Gives an open file its number and fills out.opened; closes it when that fails. */
int call_opened(struct call *c, struct fs_handle *fh);
void call_attr(struct proto_attr *out, const struct fs_attr *in);
/* Root, and the owner of the root directory. */
int call_is_administrator(struct call *c, bool *out);
/* calls_as.c: makes who what the AS around the request says, if it may. -EPERM, -ESTALE, -EOPNOTSUPP. */
int call_as(struct call *c);
void call_as_answer(struct call *c, const struct proto_header *h);
/* P72: the session is told of the inodes that the answer describes. */
void call_tell(struct call *c);
/* The same for one that the session may walk to. */
void call_tell_of(struct call *c, uint64_t ino);

#define CALLS(X)                                                                                                       \
	X(fs_sync)                                                                                                     \
	X(fs_stat)                                                                                                     \
	X(fs_leases)                                                                                                   \
	X(fs_sessions)                                                                                                 \
	X(fs_audit)                                                                                                    \
	X(fs_limit_clear)                                                                                              \
	X(fs_revoke)                                                                                                   \
	X(fs_lease_stats)                                                                                              \
	X(fs_snapshot)                                                                                                 \
	X(fs_snapshot_delete)                                                                                          \
	X(fs_snapshots)                                                                                                \
	X(fs_limit_set)                                                                                                \
	X(fs_limit_get)                                                                                                \
	X(fs_limits)                                                                                                   \
	X(fs_resize)                                                                                                   \
	X(fs_evacuate)                                                                                                 \
	X(path_stat)                                                                                                   \
	X(path_mkdir)                                                                                                  \
	X(path_rmdir)                                                                                                  \
	X(path_unlink)                                                                                                 \
	X(path_rename)                                                                                                 \
	X(path_link)                                                                                                   \
	X(path_symlink)                                                                                                \
	X(path_readlink)                                                                                               \
	X(path_chmod)                                                                                                  \
	X(path_chown)                                                                                                  \
	X(path_set_times)                                                                                              \
	X(path_mknod)                                                                                                  \
	X(path_getxattr)                                                                                               \
	X(path_setxattr)                                                                                               \
	X(path_listxattr)                                                                                              \
	X(path_removexattr)                                                                                            \
	X(dir_open)                                                                                                    \
	X(watch)                                                                                                       \
	X(act)                                                                                                         \
	X(dir_list)                                                                                                    \
	X(dir_read)                                                                                                    \
	X(handle_close)                                                                                                \
	X(file_open)                                                                                                   \
	X(file_reopen)                                                                                                 \
	X(file_stat)                                                                                                   \
	X(file_read)                                                                                                   \
	X(file_write)                                                                                                  \
	X(file_truncate)                                                                                               \
	X(file_dedupe_range)                                                                                           \
	X(file_exchange_range)                                                                                         \
	X(file_copy_range)                                                                                             \
	X(file_seek)                                                                                                   \
	X(file_link)                                                                                                   \
	X(file_setattr)                                                                                                \
	X(file_defragment)                                                                                             \
	X(file_allocate)                                                                                               \
	X(file_sync)                                                                                                   \
	X(file_clone_range)                                                                                            \
	X(file_relocate)                                                                                               \
	X(file_extents)                                                                                                \
	X(lease_get)                                                                                                   \
	X(lease_change)                                                                                                \
	X(lease_release)                                                                                               \
	X(lease_commit)                                                                                                \
	X(lease_fault)                                                                                                 \
	X(cancel)                                                                                                      \
	X(ping)
#define X(name) int call_##name(struct call *c);
CALLS(X)
#undef X

#endif
