/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands behind the public handles: a table of calls, once for a pool in this process (local/) and once for a
 * server (client/). Every public handle begins with its backend, so that api/ only checks arguments and dispatches.
 *
 * Ownership: a backend allocates its own lh_* structs, whose first member is the matching *_head below.
 */
#ifndef LH_API_BACKEND_H
#define LH_API_BACKEND_H

#include "leasehold/leasehold.h"

struct lh_backend;

struct lh_fs_head {
	const struct lh_backend *be;
};
struct mounted_session;
struct lh_file_head {
	const struct lh_backend *be;
	struct lh_fs *fs;
	struct mounted_session *mounted; /* api/mounted.c's; NULL: opened in a session of the application's */
};
struct lh_dir_head {
	const struct lh_backend *be;
	struct lh_fs *fs;
};
struct lh_lease_head {
	const struct lh_backend *be;
	struct lh_file *file;
};
struct lh_pin_head {
	const struct lh_backend *be;
	struct lh_file *file;
};
struct lh_queue_head {
	const struct lh_backend *be;
	struct lh_fs *fs;
};

/* What of an open file is set; mask: API_SET_*. */
#define API_SET_MODE  1u
#define API_SET_UID   2u
#define API_SET_GID   4u
#define API_SET_ATIME 8u
#define API_SET_MTIME 16u
struct api_setattr {
	uint32_t mask;
	uint32_t mode, uid, gid;
	int64_t atime_ns, mtime_ns; /* INT64_MIN: now */
};

/* The members mean what the public call of the same name says; arguments were checked (not NULL, sizes of structs). */
struct lh_backend {
	const char *name; /* "local", "client" */
	int (*fs_close)(struct lh_fs *fs);
	int (*fs_ping)(struct lh_fs *fs); /* NULL: nothing to reach */
	int (*fs_sync)(struct lh_fs *fs);
	int (*fs_stat)(struct lh_fs *fs, struct lh_statfs *out);
	void (*fs_set_nowait)(struct lh_fs *fs, bool nowait);
	int (*fs_leases)(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
			 void *ctx);
	int (*fs_revoke)(struct lh_fs *fs, const struct lh_revoke_filter *filter);
	int (*fs_leases_matching)(struct lh_fs *fs, const struct lh_revoke_filter *filter,
				  void (*each)(void *ctx, const struct lh_lease_info *info), void *ctx);
	int (*fs_sessions)(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_session_info *info), void *ctx);
	int (*fs_audit)(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max);
	void (*fs_interrupt)(struct lh_fs *fs);
	int (*fs_limit_clear)(struct lh_fs *fs, struct lh_limit *limit);
	int (*file_lost)(struct lh_file *file, struct lh_range *out, unsigned max);
	int (*lease_change)(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns);
	int (*fs_lease_stats)(struct lh_fs *fs, struct lh_lease_stats *out);
	int (*fs_trace)(struct lh_fs *fs, uint64_t *cursor, struct lh_trace *out, unsigned max);
	int (*path_stat)(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out);
	int (*path_mkdir)(struct lh_fs *fs, const char *path, uint32_t mode);
	int (*path_rmdir)(struct lh_fs *fs, const char *path);
	int (*path_unlink)(struct lh_fs *fs, const char *path);
	int (*path_rename)(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
	int (*path_link)(struct lh_fs *fs, const char *from, const char *to);
	int (*path_symlink)(struct lh_fs *fs, const char *target, const char *path);
	ssize_t (*path_readlink)(struct lh_fs *fs, const char *path, char *buf, size_t size);
	int (*path_chmod)(struct lh_fs *fs, const char *path, uint32_t mode);
	int (*path_chown)(struct lh_fs *fs, const char *path, bool follow, uint32_t uid, uint32_t gid);
	int (*path_set_times)(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns);
	int (*path_mknod)(struct lh_fs *fs, const char *path, uint32_t mode, uint64_t rdev);
	ssize_t (*path_getxattr)(struct lh_fs *fs, const char *path, bool follow, const char *name, void *value,
				 size_t size);
	int (*path_setxattr)(struct lh_fs *fs, const char *path, bool follow, const char *name, const void *value,
			     size_t size, unsigned flags);
	ssize_t (*path_listxattr)(struct lh_fs *fs, const char *path, bool follow, char *names, size_t size);
	int (*path_removexattr)(struct lh_fs *fs, const char *path, bool follow, const char *name);
	int (*dir_open)(struct lh_fs *fs, const char *path, struct lh_dir **out);
	int (*dir_next)(struct lh_dir *dir, struct lh_dirent *out);
	void (*dir_seek)(struct lh_dir *dir, uint64_t cookie);
	void (*dir_close)(struct lh_dir *dir);
	int (*file_open)(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out);
	int (*file_close)(struct lh_file *file);
	int (*file_stat)(struct lh_file *file, struct lh_stat *out);
	ssize_t (*file_read)(struct lh_file *file, void *buf, size_t len, uint64_t off);
	ssize_t (*file_write)(struct lh_file *file, const void *buf, size_t len, uint64_t off);
	int (*file_truncate)(struct lh_file *file, uint64_t size);
	int (*file_fallocate)(struct lh_file *file, int mode, uint64_t off, uint64_t len);
	int (*file_sync)(struct lh_file *file);
	int (*file_clone_range)(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
				uint64_t len);
	int (*file_dedupe_range)(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
				 uint64_t len);
	int (*file_exchange_range)(struct lh_file *a, uint64_t a_off, struct lh_file *b, uint64_t b_off, uint64_t len);
	ssize_t (*file_copy_range)(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
				   size_t len);
	int64_t (*file_seek)(struct lh_file *file, uint64_t off, int whence);
	int (*file_link)(struct lh_file *file, const char *to);
	int (*file_setattr)(struct lh_file *file, const struct api_setattr *set);
	int (*file_defragment)(struct lh_file *file, uint64_t extents[2]); /* extents is given */
	int64_t (*file_relocate)(struct lh_file *file, uint64_t off, uint64_t len);
	int (*file_extents)(struct lh_file *file, uint64_t off, uint64_t len, struct lh_extent *out, unsigned max);
	int (*lease_get)(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
			 struct lh_lease **out);
	int (*lease_release)(struct lh_lease *lease);
	ssize_t (*lease_read)(struct lh_lease *lease, void *buf, size_t len, uint64_t off);
	ssize_t (*lease_write)(struct lh_lease *lease, const void *buf, size_t len, uint64_t off);
	int (*lease_commit)(struct lh_lease *lease, uint64_t off, uint64_t len);
	int (*lease_state)(struct lh_lease *lease, struct lh_lease_state *out);
	int (*lease_extents)(struct lh_lease *lease, struct lh_lease_extent *out, unsigned max);
	ssize_t (*raw_read)(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len);
	ssize_t (*raw_write)(struct lh_fs *fs, uint64_t key, uint64_t key_off, const void *buf, size_t len);
	void *(*buffer_get)(struct lh_fs *fs, size_t len);
	void (*buffer_put)(struct lh_fs *fs, void *buf);
	int (*queue_new)(struct lh_fs *fs, unsigned depth, struct lh_queue **out);
	void (*queue_free)(struct lh_queue *q);
	int (*queue_read)(struct lh_queue *q, struct lh_lease *lease, void *buf, size_t len, uint64_t off,
			  void *cookie);
	int (*queue_write)(struct lh_queue *q, struct lh_lease *lease, const void *buf, size_t len, uint64_t off,
			   void *cookie);
	int (*queue_wait)(struct lh_queue *q, unsigned min, struct lh_completion *out, unsigned max);
	int (*event_fd)(struct lh_fs *fs);
	int (*event_next)(struct lh_fs *fs, struct lh_event *out);
	int (*fs_snapshot)(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
	int (*fs_snapshot_delete)(struct lh_fs *fs, const char *path);
	int (*fs_snapshots)(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx);
	int (*fs_limit_set)(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
	int (*fs_limit_get)(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
	int (*fs_limits)(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_limit *limit), void *ctx);
	int (*fs_resize)(struct lh_fs *fs, uint64_t bytes, lh_progress progress, void *ctx);
	int (*fs_evacuate)(struct lh_fs *fs, uint64_t off, uint64_t len,
			   void (*each)(void *ctx, const struct lh_loss *loss), void *ctx);
	/* NULL: callers other than the session itself are not known there. */
	int (*fs_act)(struct lh_fs *fs);
	int (*dir_next_stat)(struct lh_dir *dir, struct lh_dirent *out, struct lh_stat *st);
	int (*fs_watch)(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_change *change), void *ctx);
	unsigned (*fs_watch_behind)(struct lh_fs *fs, uint64_t ino); /* with fs_watch */
	/* NULL: file_sync does it. */
	int (*file_commit)(struct lh_file *file, uint64_t off, uint64_t len);
	/* NULL: no devices (remote). */
	int (*pin_get)(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_pin_options *opt,
		       const struct lh_pin_device *device, void *ctx, struct lh_pin **out);
	int (*pin_fault)(struct lh_pin *pin, uint64_t off, uint64_t len);
	int (*pin_commit)(struct lh_pin *pin, uint64_t off, uint64_t len);
	int (*pin_state)(struct lh_pin *pin, struct lh_pin_state *out);
	int (*pin_release)(struct lh_pin *pin);
};

/* local/: where is a pool's path or "mem:SIZE". client/: where is "unix:PATH" or "tcp:HOST:PORT". */
int local_open(const char *where, const struct lh_open_options *opt, struct lh_fs **out);
int client_open(const char *where, const struct lh_open_options *opt, struct lh_fs **out);
/* For server/: the filesystem behind an in-process handle; NULL for a remote one. */
struct fs;
struct fs *local_fs(struct lh_fs *fs);
/* A server on an in-process handle: the handle cannot be closed meanwhile, and counts the server's movers in its
 * statistics. */
struct fabric_target;
struct local_served {
	struct local_served *next;
	struct fabric_target *target;
};
void local_serve_begin(struct lh_fs *fs, struct local_served *served);
void local_serve_end(struct lh_fs *fs, struct local_served *served);

/* What the public calls of the same names do; src/api checks the arguments and calls these. local/: */
int local_pool_make(const char *path, struct lh_make_options *opt);
int local_pool_check(const char *path, FILE *out, bool json);
int local_pool_repair(const char *path, FILE *out, bool json);
int local_pool_dump(const char *path, FILE *out, bool json);
/* server/: opt is never NULL, its zero fields mean the defaults; fs was checked to be in this process. */
int server_start(struct lh_fs *fs, const char *address, const struct lh_server_options *opt, struct lh_server **out);
const char *server_address(const struct lh_server *server);
void server_stop(struct lh_server *server);

#endif
