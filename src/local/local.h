/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-process backend: the public calls over an fs in this process.
 *
 * One lh_fs is one session of the arbiter, one fabric target with one protection domain, and one loop connection, so
 * that direct access goes by key through the same mover code that serves other processes, and revocation is proven the
 * same way.
 *
 * Objects and who keeps them alive:
 *   lh_lease  what the application holds. It outlives the grants behind it: it heals.
 *   part      one grant of the arbiter behind a lh_lease, and the pin attached to it: which keys reach which bytes. A
 * lease has one part after lh_lease_get, and one more for every piece that was recalled and faulted in again. A part
 * ends when the arbiter says gone(); it keeps its lease's memory until then.
 *
 * Locks: both of rank PIN. lh_fs.table (key 0): numbers to parts, recalls to answer, lists of leases.
 * lh_lease.lock (key: its serial): its parts and their spans. Never held while calling the fs or the arbiter, because
 * place() comes with INODE held and the arbiter's callbacks may. They are not nested either.
 */
#ifndef LH_LOCAL_LOCAL_H
#define LH_LOCAL_LOCAL_H

#include <stdatomic.h>

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "api/backend.h"
#include "base/caller.h"
#include "base/evqueue.h"
#include "base/lock.h"
#include "fabric/fabric.h"
#include "fs/fs.h"
#include "lease/lease.h"
#include "local/device.h"
#include "pool/pool.h"

/* Recalls of MANUAL leases waiting to be read; more are lost, and their leases forced. */
#define LOCAL_EVENTS_MAX 4096u
/* Grants behind one lease before the next fault tries to replace them by one. */
#define LOCAL_PARTS_MAX 16u
/* Direct access moves at most this much under one look at the keys. */
#define LOCAL_PIECE_MAX ((size_t)4 << 20)
/* How often one piece may lose its key to a break before it is moved by a call instead. */
#define LOCAL_TRIES_MAX 64u
#define LOCAL_QUEUE_MAX 256u

/* Bytes that are reached: through a key, or a hole that reads as zeroes. Of a faulting lease pool_off means nothing. */
struct span {
	uint64_t off, len;
	uint64_t pool_off;
	struct fabric_key key;
	bool hole;
};

struct part {
	RB_ENTRY(part) by_number;
	TAILQ_ENTRY(part) in_lease;
	TAILQ_ENTRY(part) in_pending;
	struct lh_lease *lease;
	uint64_t number;      /* 0: not placed yet */
	struct range pending; /* hull of what was recalled and not released yet; empty: not in the list */
	atomic_uint refs;     /* the arbiter's until gone(), the getter's while it gets */
	bool ended;
	struct span *spans;
	unsigned count, capacity;
	enum lease_mode mode;   /* of its keys */
	bool live;              /* fs_lease_get has returned: a drain may take INODE */
	struct range unflushed; /* by_place: what was written through keys that died */
};
RB_HEAD(part_tree, part);
TAILQ_HEAD(part_list, part);

struct lh_lease {
	struct lh_lease_head head;
	struct lh_fs *fs;
	TAILQ_ENTRY(lh_lease) in_file;
	_Atomic(enum lease_mode) mode; /* changes with the turn (faulting) taken */
	bool manual;
	bool by_place;                   /* a faulting lease (L33) */
	struct fabric_resolver resolver; /* by_place */
	uint64_t deadline_ns;
	struct range range; /* as asked, bytes */
	atomic_uint refs;   /* the application's, one for every part */
	atomic_ullong recalls, revocations, faults;
	bool closed; /* under table: no more events */

	struct lock lock;
	struct cond turn;
	bool exclusive; /* L22, as asked */
	uint64_t max_age_ns;
	uint64_t deny_until_ns; /* by clock_now_ns; 0: not got yet. A grant in the place of one that was lost denies no
				   longer */
	bool broken;            /* it could not be changed (L23): the next try gets it anew first */
	bool faulting;
	uint64_t size;        /* of the file when last looked at; 0 after a change: look again. READ only */
	uint64_t changes;     /* drains and placings, so that a look that crossed one is not kept */
	struct range missing; /* hull of what was drained; what of it was not placed again is not held */
	struct part_list parts;
	unsigned part_count;
};
TAILQ_HEAD(lease_list, lh_lease);
struct local_watch;

struct lh_file {
	struct lh_file_head head;
	struct lh_fs *fs;
	struct fs_handle *handle;
	uint64_t number;
	bool append;
	atomic_ullong written_end; /* of what was written directly: a commit makes the file no longer than that */
	struct lease_list leases;  /* under table */
	struct device_pins pins;   /* under table */
};

struct lh_fs {
	struct lh_fs_head head;
	struct pool *pool;
	struct fs *fs;
	bool read_only;
	struct fs_caller callers[2]; /* [1]: nowait. Both constant after open */
	atomic_bool nowait;
	atomic_bool acts;         /* lh_fs_act: callers' identities count */
	atomic_ullong interrupts; /* calls of lh_fs_interrupt */
	struct lease_session *session;
	struct fabric_target *target;
	struct fabric_domain *domain;
	struct fabric_conn *conn;
	atomic_ullong serial; /* file numbers, lease lock keys */
	atomic_uint open_handles;

	struct lock table;
	struct local_watch *watch;   /* NULL: nobody watches */
	struct cond watch_over;      /* watch became NULL */
	struct local_served *served; /* by servers of this process */
	struct part_tree parts;
	struct part_list pending;
	struct cond wake;
	bool stop;
	pthread_t healer;
	struct local_devices devices;
	struct evqueue *events;
};

/* caller.c */
const struct fs_caller *local_who_else(const struct lh_fs *fs, struct lh_caller *caller);
void local_caller_told(struct lh_caller *caller);
int local_fs_act(struct lh_fs *fs);

/* watch.c */
int local_fs_watch(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_change *change), void *ctx);
unsigned local_fs_watch_behind(struct lh_fs *fs, uint64_t ino);
/* -EDEADLK: from the watch's own thread. */
int local_watch_end(struct lh_fs *fs);

/* Around a call that may say what an inode is like. */
static inline int local_told(int err)
{
	if (unlikely(thread_caller != NULL) && !err)
		local_caller_told(thread_caller);
	return err;
}

static inline const struct fs_caller *local_who(const struct lh_fs *fs)
{
	if (unlikely(thread_caller != NULL))
		return local_who_else(fs, thread_caller);
	return &fs->callers[atomic_load_explicit(&fs->nowait, memory_order_relaxed)];
}

extern const struct lh_backend local_backend;

/* session.c */
int local_close(struct lh_fs *fs);

/* recall.c: the arbiter's notices, the thread that answers them, events. */
extern const struct lease_session_ops local_session_ops;
int local_healer_start(struct lh_fs *fs);
void local_healer_stop(struct lh_fs *fs);
int local_events_new(struct lh_fs *fs);
void local_events_forget(struct lh_lease *lease);
int local_event_fd(struct lh_fs *fs);
int local_event_next(struct lh_fs *fs, struct lh_event *out);

/* part.c */
RB_PROTOTYPE(part_tree, part, by_number, part_compare)
/* Gets one more grant of the lease over the range, with its keys. As fs_lease_get; -ENODATA: nothing there to read. */
int part_get(struct lh_lease *lease, struct range range, bool nowait);
/* The span of the lease at off. Caller holds the lease's lock. */
const struct span *part_find(struct lh_lease *lease, uint64_t off);
/* The widest range around off, inside `within`, that no span reaches. off is not reached. Caller holds the lease's
 * lock. */
struct range part_gap(struct lh_lease *lease, uint64_t off, struct range within);
void lease_unref(struct lh_lease *lease);
extern const struct fabric_resolver local_resolver;

/* lease.c */
int local_lease_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
		    struct lh_lease **out);
int local_lease_release(struct lh_lease *lease);
int local_lease_commit(struct lh_lease *lease, uint64_t off, uint64_t len);
int local_lease_change(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns);
int local_lease_state(struct lh_lease *lease, struct lh_lease_state *out);
int local_lease_extents(struct lh_lease *lease, struct lh_lease_extent *out, unsigned max);
/* Makes the bytes at off reachable again. -ENODATA: end of file. */
int lease_fault(struct lh_lease *lease, uint64_t off);

/* direct.c */
ssize_t local_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off);
ssize_t local_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off);
ssize_t local_raw_read(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len);
ssize_t local_raw_write(struct lh_fs *fs, uint64_t key, uint64_t key_off, const void *buf, size_t len);
void *local_buffer_get(struct lh_fs *fs, size_t len);
void local_buffer_put(struct lh_fs *fs, void *buf);
int local_queue_new(struct lh_fs *fs, unsigned depth, struct lh_queue **out);
void local_queue_free(struct lh_queue *q);
int local_queue_read(struct lh_queue *q, struct lh_lease *lease, void *buf, size_t len, uint64_t off, void *cookie);
int local_queue_write(struct lh_queue *q, struct lh_lease *lease, const void *buf, size_t len, uint64_t off,
		      void *cookie);
int local_queue_wait(struct lh_queue *q, unsigned min, struct lh_completion *out, unsigned max);

/* file.c */
int local_file_open(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out);
int local_file_close(struct lh_file *file);
int local_file_stat(struct lh_file *file, struct lh_stat *out);
ssize_t local_file_read(struct lh_file *file, void *buf, size_t len, uint64_t off);
ssize_t local_file_write(struct lh_file *file, const void *buf, size_t len, uint64_t off);
int local_file_truncate(struct lh_file *file, uint64_t size);
int local_file_fallocate(struct lh_file *file, int mode, uint64_t off, uint64_t len);
int local_file_sync(struct lh_file *file);
int local_file_clone_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len);
int local_file_dedupe_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len);
int local_file_exchange_range(struct lh_file *a, uint64_t a_off, struct lh_file *b, uint64_t b_off, uint64_t len);
ssize_t local_file_copy_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, size_t len);
int64_t local_file_seek(struct lh_file *file, uint64_t off, int whence);
int local_file_link(struct lh_file *file, const char *to);
int local_file_setattr(struct lh_file *file, const struct api_setattr *set);
int local_file_defragment(struct lh_file *file, uint64_t extents[2]);
int64_t local_file_relocate(struct lh_file *file, uint64_t off, uint64_t len);
int local_file_extents(struct lh_file *file, uint64_t off, uint64_t len, struct lh_extent *out, unsigned max);

/* path.c */
void local_stat_of(const struct fs_attr *attr, struct lh_stat *out);
int local_path_stat(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out);
int local_path_mkdir(struct lh_fs *fs, const char *path, uint32_t mode);
int local_path_rmdir(struct lh_fs *fs, const char *path);
int local_path_unlink(struct lh_fs *fs, const char *path);
int local_path_rename(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
int local_path_link(struct lh_fs *fs, const char *from, const char *to);
int local_path_symlink(struct lh_fs *fs, const char *target, const char *path);
ssize_t local_path_readlink(struct lh_fs *fs, const char *path, char *buf, size_t size);
int local_path_chmod(struct lh_fs *fs, const char *path, uint32_t mode);
int local_path_chown(struct lh_fs *fs, const char *path, bool follow, uint32_t uid, uint32_t gid);
int local_path_mknod(struct lh_fs *fs, const char *path, uint32_t mode, uint64_t rdev);
ssize_t local_path_getxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, void *value,
			    size_t size);
int local_path_setxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, const void *value,
			size_t size, unsigned flags);
ssize_t local_path_listxattr(struct lh_fs *fs, const char *path, bool follow, char *names, size_t size);
int local_path_removexattr(struct lh_fs *fs, const char *path, bool follow, const char *name);
int local_path_set_times(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns);
int local_dir_open(struct lh_fs *fs, const char *path, struct lh_dir **out);
int local_dir_next(struct lh_dir *dir, struct lh_dirent *out);
int local_dir_next_stat(struct lh_dir *dir, struct lh_dirent *out, struct lh_stat *st);
void local_dir_seek(struct lh_dir *dir, uint64_t cookie);
void local_dir_close(struct lh_dir *dir);

/* space.c: snapshots, limits, the size of the pool. */
int local_fs_snapshot(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
int local_fs_snapshot_delete(struct lh_fs *fs, const char *path);
int local_fs_snapshots(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx);
int local_fs_limit_set(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
int local_fs_limit_get(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
int local_fs_limit_clear(struct lh_fs *fs, struct lh_limit *limit);
int local_fs_limits(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_limit *limit), void *ctx);
int local_fs_resize(struct lh_fs *fs, uint64_t bytes, lh_progress progress, void *ctx);
int local_fs_evacuate(struct lh_fs *fs, uint64_t off, uint64_t len, void (*each)(void *ctx, const struct lh_loss *loss),
		      void *ctx);

/* ledger.c: who holds what. */
int local_fs_leases(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
		    void *ctx);
int local_fs_leases_matching(struct lh_fs *fs, const struct lh_revoke_filter *filter,
			     void (*each)(void *ctx, const struct lh_lease_info *info), void *ctx);
int local_fs_revoke(struct lh_fs *fs, const struct lh_revoke_filter *filter);
int local_fs_sessions(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_session_info *info), void *ctx);
int local_fs_audit(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max);

/* admin.c: statistics, trace. */
int local_fs_stat(struct lh_fs *fs, struct lh_statfs *out);
int local_fs_lease_stats(struct lh_fs *fs, struct lh_lease_stats *out);
int local_fs_trace(struct lh_fs *fs, uint64_t *cursor, struct lh_trace *out, unsigned max);

#endif
