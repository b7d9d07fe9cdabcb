/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of calls of the in-process backend, and the few that are one line. */
#include "local/local.h"

static int local_sync(struct lh_fs *fs)
{
	return fs_sync_all(fs->fs);
}

static void local_set_nowait(struct lh_fs *fs, bool nowait)
{
	atomic_store(&fs->nowait, nowait);
}

static void local_interrupt(struct lh_fs *fs)
{
	/* First the mark: whoever is woken by the end of an interrupted call sees it. */
	atomic_fetch_add(&fs->interrupts, 1);
	lease_interrupt(fs->session, 0, false);
}

const struct lh_backend local_backend = {
    .name = "local",
    .fs_close = local_close,
    .fs_sync = local_sync,
    .fs_stat = local_fs_stat,
    .fs_act = local_fs_act,
    .fs_watch = local_fs_watch,
    .fs_watch_behind = local_fs_watch_behind,
    .fs_set_nowait = local_set_nowait,
    .fs_interrupt = local_interrupt,
    .fs_leases = local_fs_leases,
    .fs_revoke = local_fs_revoke,
    .fs_leases_matching = local_fs_leases_matching,
    .fs_sessions = local_fs_sessions,
    .fs_audit = local_fs_audit,
    .fs_lease_stats = local_fs_lease_stats,
    .fs_trace = local_fs_trace,
    .path_stat = local_path_stat,
    .path_mkdir = local_path_mkdir,
    .path_rmdir = local_path_rmdir,
    .path_unlink = local_path_unlink,
    .path_rename = local_path_rename,
    .path_link = local_path_link,
    .path_symlink = local_path_symlink,
    .path_readlink = local_path_readlink,
    .path_chmod = local_path_chmod,
    .path_chown = local_path_chown,
    .path_set_times = local_path_set_times,
    .path_mknod = local_path_mknod,
    .path_getxattr = local_path_getxattr,
    .path_setxattr = local_path_setxattr,
    .path_listxattr = local_path_listxattr,
    .path_removexattr = local_path_removexattr,
    .dir_open = local_dir_open,
    .dir_next = local_dir_next,
    .dir_next_stat = local_dir_next_stat,
    .dir_seek = local_dir_seek,
    .dir_close = local_dir_close,
    .file_open = local_file_open,
    .file_close = local_file_close,
    .file_stat = local_file_stat,
    .file_read = local_file_read,
    .file_write = local_file_write,
    .file_truncate = local_file_truncate,
    .file_fallocate = local_file_fallocate,
    .file_sync = local_file_sync,
    .file_clone_range = local_file_clone_range,
    .file_dedupe_range = local_file_dedupe_range,
    .file_exchange_range = local_file_exchange_range,
    .file_copy_range = local_file_copy_range,
    .file_seek = local_file_seek,
    .file_link = local_file_link,
    .file_setattr = local_file_setattr,
    .file_defragment = local_file_defragment,
    .file_relocate = local_file_relocate,
    .file_extents = local_file_extents,
    .lease_get = local_lease_get,
    .lease_release = local_lease_release,
    .lease_change = local_lease_change,
    .lease_read = local_lease_read,
    .lease_write = local_lease_write,
    .lease_commit = local_lease_commit,
    .lease_state = local_lease_state,
    .lease_extents = local_lease_extents,
    .raw_read = local_raw_read,
    .raw_write = local_raw_write,
    .buffer_get = local_buffer_get,
    .buffer_put = local_buffer_put,
    .queue_new = local_queue_new,
    .queue_free = local_queue_free,
    .queue_read = local_queue_read,
    .queue_write = local_queue_write,
    .queue_wait = local_queue_wait,
    .event_fd = local_event_fd,
    .event_next = local_event_next,
    .fs_snapshot = local_fs_snapshot,
    .fs_snapshot_delete = local_fs_snapshot_delete,
    .fs_snapshots = local_fs_snapshots,
    .fs_limit_set = local_fs_limit_set,
    .fs_limit_get = local_fs_limit_get,
    .fs_limit_clear = local_fs_limit_clear,
    .fs_limits = local_fs_limits,
    .fs_resize = local_fs_resize,
    .fs_evacuate = local_fs_evacuate,
    .file_commit = local_file_commit,
    .pin_get = local_pin_get,
    .pin_fault = local_pin_fault,
    .pin_commit = local_pin_commit,
    .pin_state = local_pin_state,
    .pin_release = local_pin_release,
};
