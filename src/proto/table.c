/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every field of every message, in wire order: docs/protocol.md part 1, tables 3 to 8, as data. The macros check that a
 * field's host type has the size of its wire type.
 */
#include "proto/internal.h"

#define SIZED(u, f, n) (0 * sizeof(char[sizeof(((union u *)0)->f) == (n) ? 1 : -1]))
#define FIELD(u, k, n, f, l, h, e)                                                                                     \
	{                                                                                                              \
		.kind = FIELD_##k, .name = #f, .offset = offsetof(union u, f) + SIZED(u, f, n), .lo = (l), .hi = (h),  \
		.element = (e)                                                                                         \
	}
#define U32(f)            FIELD(proto_body, U32, 4, f, 0, UINT32_MAX, NULL)
#define VAL(f, lo, hi)    FIELD(proto_body, U32, 4, f, lo, hi, NULL)
#define U64(f)            FIELD(proto_body, U64, 8, f, 0, 0, NULL)
#define I32(f)            FIELD(proto_body, I32, 4, f, 0, 0, NULL)
#define I64(f)            FIELD(proto_body, I64, 8, f, 0, 0, NULL)
#define B16(f)            FIELD(proto_body, B16, 16, f, 0, 0, NULL)
#define RNG(f)            FIELD(proto_body, RANGE, 16, f, 0, 0, NULL)
#define STR(f, max)       FIELD(proto_body, STR, sizeof(struct proto_str), f, 0, max, NULL)
#define DAT(f, max)       FIELD(proto_body, DATA, sizeof(struct proto_data), f, 0, max, NULL)
#define INN(f, side, max) FIELD(proto_body, INNER, sizeof(struct proto_inner), f, side, max, NULL)
#define LST(f, max, s)    FIELD(proto_body, LIST, sizeof(struct proto_list), f, 0, max, &(s))

#define EU32(f)       FIELD(proto_element, U32, 4, f, 0, UINT32_MAX, NULL)
#define EVAL(f, l, h) FIELD(proto_element, U32, 4, f, l, h, NULL)
#define EU64(f)       FIELD(proto_element, U64, 8, f, 0, 0, NULL)
#define EI64(f)       FIELD(proto_element, I64, 8, f, 0, 0, NULL)
#define EI32(f)       FIELD(proto_element, I32, 4, f, 0, 0, NULL)
#define ERNG(f)       FIELD(proto_element, RANGE, 16, f, 0, 0, NULL)
#define ESTR(f, l, h) FIELD(proto_element, STR, sizeof(struct proto_str), f, l, h, NULL)

#define SHAPE(fields_)                                                                                                 \
	{                                                                                                              \
		.fields = (fields_), .count = sizeof(fields_) / sizeof((fields_)[0])                                   \
	}
#define MESSAGE(m, ...)                                                                                                \
	static const struct field fields_##m[] = {__VA_ARGS__};                                                        \
	static const struct shape shape_##m = SHAPE(fields_##m)
#define ELEMENT(m, names, ...)                                                                                         \
	static const struct field fields_##m[] = {__VA_ARGS__};                                                        \
	const struct shape proto_shape_##m = {.fields = fields_##m,                                                    \
					      .count = sizeof(fields_##m) / sizeof(fields_##m[0]),                     \
					      .host_size = sizeof(struct proto_##m),                                   \
					      .plain_name = (names)}

ELEMENT(run, false, EU64(run.file_off), EU64(run.len), EU64(run.key), EU64(run.key_off));
ELEMENT(extent, false, EU64(extent.file_off), EU64(extent.len), EU32(extent.flags));
ELEMENT(dirent, true, EU64(dirent.ino), EU64(dirent.cookie), EVAL(dirent.type, 0, 15),
	ESTR(dirent.name, 1, PROTO_NAME_MAX));
ELEMENT(lease_info, false, EU64(lease_info.number), EU64(lease_info.ino), EU64(lease_info.session),
	EVAL(lease_info.mode, PROTO_READ, PROTO_WRITE), EVAL(lease_info.state, 0, 1), EU32(lease_info.uid),
	EI32(lease_info.pid), ERNG(lease_info.range), EU64(lease_info.bytes), EU64(lease_info.pinned_bytes),
	EU64(lease_info.age_ns), EU64(lease_info.recall_left_ns), EU32(lease_info.gid), EU64(lease_info.handle),
	EVAL(lease_info.flags, 0, PROTO_LEASE_ALL), EU32(lease_info.pins), EU64(lease_info.exclusive_left_ns),
	EU64(lease_info.recalled_ns), ESTR(lease_info.host, 0, PROTO_HOST_MAX), ESTR(lease_info.pin, 0, PROTO_KIND_MAX),
	ESTR(lease_info.reason, 0, PROTO_KIND_MAX));
ELEMENT(session_info, false, EU64(session_info.number), EU64(session_info.leases), EU64(session_info.pinned_bytes),
	EU64(session_info.age_ns), EU64(session_info.idle_ns), EU64(session_info.recalls), EU64(session_info.forced),
	EU64(session_info.slowest_ns), EU64(session_info.bytes_limit), EU64(session_info.leases_limit),
	EU32(session_info.uid), EU32(session_info.gid), EI32(session_info.pid), EVAL(session_info.state, 0, 1),
	ESTR(session_info.host, 0, PROTO_HOST_MAX));
ELEMENT(audit, false, EU64(audit.number), EI64(audit.at_ns), EU64(audit.lease), EU64(audit.ino), EU64(audit.session),
	EU32(audit.uid), EI32(audit.pid), EVAL(audit.mode, PROTO_READ, PROTO_WRITE), ERNG(audit.range),
	EU64(audit.took_ns), EU32(audit.asker_uid), EI32(audit.asker_pid), EU64(audit.asker_session),
	ESTR(audit.reason, 0, PROTO_KIND_MAX), ESTR(audit.asked_by, 0, PROTO_HOST_MAX));

ELEMENT(snapshot_info, false, EU64(snapshot_info.ino), EU64(snapshot_info.inodes), EU64(snapshot_info.blocks),
	EI64(snapshot_info.created_ns), EVAL(snapshot_info.read_only, 0, 1),
	ESTR(snapshot_info.path, 0, PROTO_PATH_MAX));
#define LIMIT_MIN 1u
#define LIMIT_MAX 5u
ELEMENT(limit, false, EVAL(limit.kind, LIMIT_MIN, LIMIT_MAX), EU32(limit.id), EU64(limit.ino), EU64(limit.bytes),
	EU64(limit.inodes), EU64(limit.bytes_used), EU64(limit.inodes_used));
ELEMENT(lost, false, EU64(lost.ino), ERNG(lost.range), ESTR(lost.path, 0, PROTO_PATH_MAX));
#define EATTR(a)                                                                                                       \
	EU64(a.ino), EU32(a.mode), EU32(a.nlink), EU32(a.uid), EU32(a.gid), EU64(a.size), EU64(a.blocks),              \
	    EI64(a.atime_ns), EI64(a.mtime_ns), EI64(a.ctime_ns), EI64(a.btime_ns), EU64(a.rdev), EU32(a.flags),       \
	    EU32(a.tree)
ELEMENT(attr, false, EATTR(attr));
ELEMENT(listed_entry, true, EU64(listed_entry.ino), EU64(listed_entry.cookie), EVAL(listed_entry.type, 0, 15),
	ESTR(listed_entry.name, 1, PROTO_NAME_MAX), EATTR(listed_entry.attr));
ELEMENT(group, false, EU32(group.gid));
#define CHANGE_MIN 1u
#define CHANGE_MAX 4u
ELEMENT(change, true, EVAL(change.type, CHANGE_MIN, CHANGE_MAX), EU64(change.ino), EVAL(change.writers, 0, 1),
	ESTR(change.name, 0, PROTO_NAME_MAX));

static const struct field fields_error[] = {STR(error.text, PROTO_TEXT_MAX)};
const struct shape proto_shape_error = SHAPE(fields_error);
static const struct shape shape_empty;

MESSAGE(hello, U32(hello.magic), U32(hello.version_min), U32(hello.version_max), U64(hello.features),
	VAL(hello.flags, 0, PROTO_HELLO_ALL), I32(hello.pid), B16(hello.client), STR(hello.host, PROTO_HOST_MAX));
MESSAGE(welcome, U32(welcome.version), U64(welcome.features), U64(welcome.session), U64(welcome.epoch),
	B16(welcome.token), U64(welcome.boot), U32(welcome.uid), U32(welcome.gid), U32(welcome.block_size),
	U32(welcome.message_max), U32(welcome.data_max), U32(welcome.outstanding_max), U32(welcome.handles_max),
	U64(welcome.deadline_ns), U64(welcome.deadline_max_ns), U64(welcome.session_timeout_ns), U64(welcome.grace_ns));
MESSAGE(resume, U32(resume.magic), U32(resume.version), U64(resume.session), U64(resume.epoch), B16(resume.token),
	U64(resume.received));
MESSAGE(resumed, U64(resumed.received), U64(resumed.session_timeout_ns));
MESSAGE(cancel, U64(cancel.request));
MESSAGE(as, VAL(as.flags, 0, PROTO_AS_ALL), U32(as.uid), U32(as.gid), VAL(as.umask, 0, 0777), U64(as.at[0]),
	U64(as.at[1]), LST(as.groups, PROTO_GROUPS_MAX, proto_shape_group), INN(as.inner, 0, PROTO_INNER_MAX));
MESSAGE(as_reply, LST(as_reply.attr, 1, proto_shape_attr), INN(as_reply.inner, PROTO_REPLY, PROTO_INNER_REPLY_MAX));
MESSAGE(watch, VAL(watch.on, 0, 1));
MESSAGE(changed, LST(changed.changes, PROTO_CHANGES_MAX, proto_shape_change));
MESSAGE(goodbye, VAL(goodbye.reason, 0, PROTO_BYE_COUNT - 1), STR(goodbye.text, PROTO_TEXT_MAX));
MESSAGE(data_hello, U32(data_hello.magic), U32(data_hello.version), U64(data_hello.session), B16(data_hello.token));

MESSAGE(fs_stat, U32(fs_stat.block_size), U64(fs_stat.blocks), U64(fs_stat.free_blocks), U64(fs_stat.avail_blocks),
	U64(fs_stat.files), U64(fs_stat.log_bytes), U64(fs_stat.checkpoints), B16(fs_stat.uuid),
	STR(fs_stat.pool_class, PROTO_KIND_MAX), STR(fs_stat.pool_kind, PROTO_KIND_MAX));
MESSAGE(fs_leases, U64(fs_leases.after), U64(fs_leases.number), U64(fs_leases.session), VAL(fs_leases.by_uid, 0, 1),
	U32(fs_leases.uid), STR(fs_leases.path, PROTO_PATH_MAX));
MESSAGE(lease_list, VAL(lease_list.more, 0, 1), LST(lease_list.leases, PROTO_LEASES_MAX, proto_shape_lease_info));
MESSAGE(fs_revoke, U64(fs_revoke.number), U64(fs_revoke.session), VAL(fs_revoke.by_uid, 0, 1), U32(fs_revoke.uid),
	STR(fs_revoke.path, PROTO_PATH_MAX));
MESSAGE(count, U64(count.count));
#define STAT(f) U64(lease_stats.f)
MESSAGE(lease_stats, STAT(grants), STAT(releases), STAT(recalls), STAT(breaks), STAT(released_in_time), STAT(forced),
	STAT(leases), STAT(sessions), STAT(pinned_bytes), STAT(direct_reads), STAT(direct_writes),
	STAT(direct_read_bytes), STAT(direct_write_bytes), STAT(refused), STAT(protocol_errors));

MESSAGE(after, VAL(after.kind, 0, LIMIT_MAX), U64(after.number));
MESSAGE(snapshots, VAL(snapshots.more, 0, 1), LST(snapshots.snapshots, PROTO_SHOTS_MAX, proto_shape_snapshot_info));
MESSAGE(limit_ask, VAL(limit_ask.kind, LIMIT_MIN, LIMIT_MAX), U32(limit_ask.id), U64(limit_ask.bytes),
	U64(limit_ask.inodes), STR(limit_ask.path, PROTO_PATH_MAX));
#define LIMIT(f) U64(limit.limit.f)
static const struct field fields_limit_reply[] = {VAL(limit.limit.kind, LIMIT_MIN, LIMIT_MAX),
						  U32(limit.limit.id),
						  LIMIT(ino),
						  LIMIT(bytes),
						  LIMIT(inodes),
						  LIMIT(bytes_used),
						  LIMIT(inodes_used)};
static const struct shape shape_limit = SHAPE(fields_limit_reply);
MESSAGE(limits, VAL(limits.more, 0, 1), LST(limits.limits, PROTO_LIMITS_MAX, proto_shape_limit));
MESSAGE(sessions, VAL(sessions.more, 0, 1), LST(sessions.sessions, PROTO_LEASES_MAX, proto_shape_session_info));
MESSAGE(audits, VAL(audits.more, 0, 1), LST(audits.audits, PROTO_LEASES_MAX, proto_shape_audit));
MESSAGE(resize, U64(resize.bytes));
MESSAGE(evacuate, RNG(evacuate.range));

MESSAGE(path, STR(path.path, PROTO_PATH_MAX));
MESSAGE(path_stat, VAL(path_stat.follow, 0, 1), STR(path_stat.path, PROTO_PATH_MAX));
MESSAGE(path_mode, U32(path_mode.mode), STR(path_mode.path, PROTO_PATH_MAX));
MESSAGE(rename, VAL(rename.flags, 0, 3), STR(rename.from, PROTO_PATH_MAX), STR(rename.to, PROTO_PATH_MAX));
MESSAGE(two_paths, STR(two_paths.from, PROTO_PATH_MAX), STR(two_paths.to, PROTO_PATH_MAX));
MESSAGE(chown, U32(chown.uid), U32(chown.gid), VAL(chown.follow, 0, 1), STR(chown.path, PROTO_PATH_MAX));
MESSAGE(set_times, I64(set_times.atime_ns), I64(set_times.mtime_ns), VAL(set_times.follow, 0, 1),
	STR(set_times.path, PROTO_PATH_MAX));
MESSAGE(target, STR(target.target, PROTO_PATH_MAX));
#define ATTR(a)                                                                                                        \
	U64(a.ino), U32(a.mode), U32(a.nlink), U32(a.uid), U32(a.gid), U64(a.size), U64(a.blocks), I64(a.atime_ns),    \
	    I64(a.mtime_ns), I64(a.ctime_ns), I64(a.btime_ns), U64(a.rdev), U32(a.flags), U32(a.tree)
static const struct field fields_attr_reply[] = {ATTR(attr)};
static const struct shape shape_attr = SHAPE(fields_attr_reply);
MESSAGE(mknod, U32(mknod.mode), U64(mknod.rdev), STR(mknod.path, PROTO_PATH_MAX));
MESSAGE(xattr_get, VAL(xattr_get.follow, 0, 1), VAL(xattr_get.room, 0, PROTO_VALUE_MAX),
	STR(xattr_get.path, PROTO_PATH_MAX), STR(xattr_get.name, PROTO_NAME_MAX));
MESSAGE(xattr, VAL(xattr.length, 0, PROTO_VALUE_MAX), DAT(xattr.value, PROTO_VALUE_MAX));
MESSAGE(xattr_set, VAL(xattr_set.follow, 0, 1), VAL(xattr_set.flags, 0, 3), STR(xattr_set.path, PROTO_PATH_MAX),
	STR(xattr_set.name, PROTO_NAME_MAX), DAT(xattr_set.value, PROTO_VALUE_MAX));

MESSAGE(handle, U64(handle.handle));
MESSAGE(dir_read, U64(dir_read.handle), U64(dir_read.cookie), VAL(dir_read.max, 1, PROTO_DIRENTS_MAX));
MESSAGE(dirents, VAL(dirents.end, 0, 1), LST(dirents.entries, PROTO_DIRENTS_MAX, proto_shape_dirent));
MESSAGE(listed, VAL(listed.end, 0, 1), LST(listed.entries, PROTO_DIRENTS_MAX, proto_shape_listed_entry));
MESSAGE(file_open, VAL(file_open.flags, 0, PROTO_O_ALL), U32(file_open.mode), STR(file_open.path, PROTO_PATH_MAX));
MESSAGE(opened, U64(opened.handle), ATTR(opened.attr));
MESSAGE(file_read, U64(file_read.handle), U64(file_read.off), VAL(file_read.len, 0, PROTO_DATA_MAX));
MESSAGE(file_write, U64(file_write.handle), U64(file_write.off), DAT(file_write.data, PROTO_DATA_MAX));
MESSAGE(data, DAT(data.data, PROTO_DATA_MAX));
MESSAGE(file_truncate, U64(file_truncate.handle), U64(file_truncate.size));
MESSAGE(file_range, U64(file_range.handle), RNG(file_range.range));
MESSAGE(file_allocate, U64(file_allocate.handle), RNG(file_allocate.range), U32(file_allocate.mode));
MESSAGE(clone_range, U64(clone_range.dst), U64(clone_range.dst_off), U64(clone_range.src), U64(clone_range.src_off),
	U64(clone_range.len));
MESSAGE(file_extents, U64(file_extents.handle), RNG(file_extents.range), VAL(file_extents.max, 1, PROTO_EXTENTS_MAX));
MESSAGE(extents, LST(extents.extents, PROTO_EXTENTS_MAX, proto_shape_extent));
MESSAGE(file_seek, U64(file_seek.handle), U64(file_seek.off), VAL(file_seek.whence, PROTO_SEEK_DATA, PROTO_SEEK_HOLE));
MESSAGE(file_link, U64(file_link.handle), STR(file_link.path, PROTO_PATH_MAX));
MESSAGE(file_setattr, U64(file_setattr.handle), VAL(file_setattr.mask, 0, PROTO_SET_ALL), U32(file_setattr.mode),
	U32(file_setattr.uid), U32(file_setattr.gid), I64(file_setattr.atime_ns), I64(file_setattr.mtime_ns));
MESSAGE(defragmented, U64(defragmented.before), U64(defragmented.after));

MESSAGE(lease_get, U64(lease_get.handle), RNG(lease_get.range), VAL(lease_get.mode, PROTO_READ, PROTO_WRITE),
	U64(lease_get.deadline_ns), VAL(lease_get.flags, 0, PROTO_LEASE_ALL), U64(lease_get.max_age_ns));
MESSAGE(lease_granted, U64(lease_granted.lease), U32(lease_granted.seq),
	VAL(lease_granted.mode, PROTO_READ, PROTO_WRITE), RNG(lease_granted.range), U64(lease_granted.size),
	VAL(lease_granted.flags, 0, PROTO_LEASE_ALL), U64(lease_granted.exclusive_left_ns),
	LST(lease_granted.runs, PROTO_RUNS_MAX, proto_shape_run));
MESSAGE(lease_change, U64(lease_change.lease), VAL(lease_change.mode, PROTO_READ, PROTO_WRITE),
	VAL(lease_change.flags, 0, PROTO_LEASE_EXCLUSIVE), U64(lease_change.max_age_ns));
MESSAGE(lease_fault, U64(lease_fault.lease), RNG(lease_fault.range));
MESSAGE(lease_faulted, U64(lease_faulted.size));
MESSAGE(file_reopen, U64(file_reopen.ino), I64(file_reopen.btime_ns), VAL(file_reopen.flags, 0, PROTO_O_ALL));
MESSAGE(lease_release, U64(lease_release.lease), U32(lease_release.seq), RNG(lease_release.range));
MESSAGE(committed, U64(committed.boot), U64(committed.size));
MESSAGE(recall, U64(recall.lease), U32(recall.seq), VAL(recall.mode, PROTO_READ, PROTO_WRITE), RNG(recall.range),
	U32(recall.reason), VAL(recall.kind, PROTO_DRAIN, PROTO_STOP), U64(recall.left_ns),
	STR(recall.reason_text, PROTO_KIND_MAX));
MESSAGE(layout, U64(layout.lease), U32(layout.seq), RNG(layout.range),
	LST(layout.runs, PROTO_RUNS_MAX, proto_shape_run));
MESSAGE(progress, U64(progress.request), U64(progress.done), U64(progress.total));
MESSAGE(loss, U64(loss.request), LST(loss.losses, PROTO_LOSSES_MAX, proto_shape_lost));

#define OF_empty         &shape_empty
#define OF_none          NULL
#define OF_hello         &shape_hello
#define OF_welcome       &shape_welcome
#define OF_goodbye       &shape_goodbye
#define OF_resume        &shape_resume
#define OF_resumed       &shape_resumed
#define OF_cancel        &shape_cancel
#define OF_as            &shape_as
#define OF_as_reply      &shape_as_reply
#define OF_watch         &shape_watch
#define OF_changed       &shape_changed
#define OF_listed        &shape_listed
#define OF_sessions      &shape_sessions
#define OF_audits        &shape_audits
#define OF_lease_change  &shape_lease_change
#define OF_lease_fault   &shape_lease_fault
#define OF_lease_faulted &shape_lease_faulted
#define OF_file_reopen   &shape_file_reopen
#define OF_data_hello    &shape_data_hello
#define OF_fs_stat       &shape_fs_stat
#define OF_fs_leases     &shape_fs_leases
#define OF_lease_list    &shape_lease_list
#define OF_fs_revoke     &shape_fs_revoke
#define OF_count         &shape_count
#define OF_lease_stats   &shape_lease_stats
#define OF_path          &shape_path
#define OF_path_stat     &shape_path_stat
#define OF_path_mode     &shape_path_mode
#define OF_rename        &shape_rename
#define OF_two_paths     &shape_two_paths
#define OF_chown         &shape_chown
#define OF_set_times     &shape_set_times
#define OF_target        &shape_target
#define OF_attr          &shape_attr
#define OF_handle        &shape_handle
#define OF_dir_read      &shape_dir_read
#define OF_dirents       &shape_dirents
#define OF_file_open     &shape_file_open
#define OF_opened        &shape_opened
#define OF_file_read     &shape_file_read
#define OF_file_write    &shape_file_write
#define OF_data          &shape_data
#define OF_file_truncate &shape_file_truncate
#define OF_file_range    &shape_file_range
#define OF_file_allocate &shape_file_allocate
#define OF_clone_range   &shape_clone_range
#define OF_file_extents  &shape_file_extents
#define OF_extents       &shape_extents
#define OF_lease_get     &shape_lease_get
#define OF_lease_granted &shape_lease_granted
#define OF_lease_release &shape_lease_release
#define OF_committed     &shape_committed
#define OF_recall        &shape_recall
#define OF_layout        &shape_layout
#define OF_after         &shape_after
#define OF_snapshots     &shape_snapshots
#define OF_limit_ask     &shape_limit_ask
#define OF_limit         &shape_limit
#define OF_resize        &shape_resize
#define OF_evacuate      &shape_evacuate
#define OF_limits        &shape_limits
#define OF_mknod         &shape_mknod
#define OF_xattr_get     &shape_xattr_get
#define OF_xattr         &shape_xattr
#define OF_xattr_set     &shape_xattr_set
#define OF_file_seek     &shape_file_seek
#define OF_file_link     &shape_file_link
#define OF_file_setattr  &shape_file_setattr
#define OF_defragmented  &shape_defragmented
#define OF_progress      &shape_progress
#define OF_loss          &shape_loss

/* By number, so that a lookup is one index. */
#define TYPES 128u
static const struct type_info types[TYPES] = {
#define X(n, number, req, rep) [number] = {.name = #n, .type = (number), .request = OF_##req, .reply = OF_##rep},
    PROTO_TYPES(X)
#undef X
};

const struct type_info *proto_type_info(unsigned type)
{
	if (type >= TYPES || !types[type].name)
		return NULL;
	return &types[type];
}

/* P69. No greetings, nothing that is about the session or its connection, no leases, and no second AS. */
bool proto_may_be_inner(unsigned type)
{
	switch (type) {
	case PROTO_FS_LEASES:
	case PROTO_FS_REVOKE:
	case PROTO_FS_SNAPSHOT:
	case PROTO_FS_SNAPSHOT_DELETE:
	case PROTO_FS_LIMIT_SET:
	case PROTO_FS_LIMIT_GET:
	case PROTO_FS_LIMIT_CLEAR:
	case PROTO_FS_RESIZE:
	case PROTO_FS_EVACUATE:
	case PROTO_PATH_STAT:
	case PROTO_PATH_MKDIR:
	case PROTO_PATH_RMDIR:
	case PROTO_PATH_UNLINK:
	case PROTO_PATH_RENAME:
	case PROTO_PATH_LINK:
	case PROTO_PATH_SYMLINK:
	case PROTO_PATH_READLINK:
	case PROTO_PATH_CHMOD:
	case PROTO_PATH_CHOWN:
	case PROTO_PATH_SET_TIMES:
	case PROTO_PATH_MKNOD:
	case PROTO_PATH_GETXATTR:
	case PROTO_PATH_SETXATTR:
	case PROTO_PATH_LISTXATTR:
	case PROTO_PATH_REMOVEXATTR:
	case PROTO_DIR_OPEN:
	case PROTO_DIR_LIST:
	case PROTO_FILE_OPEN:
	case PROTO_FILE_WRITE:
	case PROTO_FILE_TRUNCATE:
	case PROTO_FILE_ALLOCATE:
	case PROTO_FILE_CLONE_RANGE:
	case PROTO_FILE_RELOCATE:
	case PROTO_FILE_DEDUPE_RANGE:
	case PROTO_FILE_EXCHANGE_RANGE:
	case PROTO_FILE_COPY_RANGE:
	case PROTO_FILE_LINK:
	case PROTO_FILE_SETATTR:
	case PROTO_FILE_DEFRAGMENT:
	case PROTO_FILE_REOPEN:
		return true;
	default:
		return false;
	}
}

const struct shape *proto_body_shape(const struct proto_header *h)
{
	const struct type_info *t = proto_type_info(h->type);

	if (!t)
		return NULL;
	if (!(h->flags & PROTO_REPLY))
		return t->request;
	if (!t->reply)
		return NULL;
	return h->status ? &proto_shape_error : t->reply;
}

const char *proto_type_name(unsigned type)
{
	const struct type_info *t = proto_type_info(type);

	return t ? t->name : "?";
}

const char *proto_bye_name(unsigned reason)
{
	static const char *const names[PROTO_BYE_COUNT] = {
#define X(n, text) text,
	    PROTO_BYE_REASONS(X)
#undef X
	};

	return reason < PROTO_BYE_COUNT ? names[reason] : "?";
}
