/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The remote backend: the public calls over the wire. What its files share.
 *
 * Objects and who keeps them alive:
 *   lh_fs     one session: a control connection (conn.h), the data path (data.h), the numbers of its leases.
 *   lh_lease  what the application holds. It outlives the grants behind it: it heals (L15).
 *   grant     one lease number of the server. A lease has one after lh_lease_get, and one more for every piece that was
 *             recalled and got again. A grant ends when no run of it is left and the server was told so.
 *
 * Everything that the server says about leases runs in whichever thread reads the control connection, in the order of
 * the wire, and never waits. So grants enter the tables there, before the next message is looked at (docs/protocol.md
 * 5).
 *
 * Locks, outermost first: lh_fs.lock (CLIENT): numbers to grants, files, leases of a file. lh_lease.lock (PIN): map,
 * what is in flight, what is to be released. Under both one may conn_tell, which never blocks. None is held over a
 * call.
 */
#ifndef LH_CLIENT_CLIENT_H
#define LH_CLIENT_CLIENT_H

#include <stdatomic.h>

#include <bsd/sys/queue.h>

#include "api/backend.h"
#include "base/error.h"
#include "base/evqueue.h"
#include "base/lock.h"
#include "base/types.h"
#include "client/address.h"
#include "client/conn.h"
#include "client/data.h"
#include "client/map.h"
#include "client/ranges.h"
#include "proto/proto.h"

#define CLIENT_EVENTS_MAX     4096u /* of MANUAL leases, waiting to be read; more are lost, and their leases forced */
#define CLIENT_BUCKETS        1024u
#define CLIENT_REMEMBERED_MAX 65536u /* P48; over it the server is not sane */
#define CLIENT_TRIES_MAX      16u    /* how often one piece may lose its key before it is moved by a call instead */
#define CLIENT_PIECES_MAX     8u     /* runs that one step of a direct operation covers */

struct grant {
	struct grant *next; /* same bucket of the numbers */
	TAILQ_ENTRY(grant) in_lease;
	struct lh_lease *lease;
	uint64_t number;
	uint32_t seq;       /* the highest seen */
	bool used;          /* while the lease is swept */
	struct range range; /* as granted */
	struct ranges held; /* of it: not given back. A LAYOUT that crosses a RELEASE tells of more (P47) */
	uint64_t limit;     /* of a cached lease: where the file ended; nothing behind it is known */
};
TAILQ_HEAD(grant_list, grant);

/* P48: a notice about a number whose grant may still be under way. */
struct remembered {
	struct remembered *next;
	uint64_t number;
	uint64_t upto; /* forget when no LEASE_GET up to this sequence waits */
	uint32_t seq;
	bool revoked;
};

struct lh_fs {
	struct lh_fs_head head;
	struct address address;
	struct lh_open_options opt; /* defaults filled in */
	struct conn_dial dial;
	pthread_t reclaimer; /* renew.c; under lock */
	bool reclaimer_made, reclaimer_runs;
	struct proto_welcome welcome;
	struct conn *conn;
	struct data *data;
	struct evqueue *events;
	atomic_bool nowait;
	atomic_bool acts;         /* lh_fs_act: callers' identities count */
	atomic_ullong features;   /* of the server that the session is with */
	atomic_ullong interrupts; /* calls of lh_fs_interrupt */
	atomic_uint handles;      /* files, directories and queues that are open */

	struct lock lock; /* CLIENT */
	struct grant *grants[CLIENT_BUCKETS];
	struct remembered *remembered;
	unsigned remembered_count;
	uint64_t continued; /* number of the grant whose answer continues in LAYOUTs */
	struct call *continued_call;
	unsigned leaving; /* of all leases */
	TAILQ_HEAD(, lh_file) files;
	struct session_cache *cache; /* cache.c; NULL: none */
	struct client_watch *watch;  /* watch.c; NULL: nobody watches */
	struct cond unused;          /* a file's users became none; or the watch ended */
	uint64_t written_boot;       /* of the server that has what is written and not committed */
	atomic_uint restarts;        /* of the server, during this session (client_lost_all) */
};

/* What was written directly through a file (dirty.c). */
struct dirty {
	struct lock lock;         /* PIN */
	struct cond done;         /* a commit ended */
	struct ranges written;    /* not committed, and the server that has it lives */
	struct ranges lost;       /* with its server, and not asked for by lh_file_lost */
	struct ranges unreported; /* lost, and no call has said so */
	struct committing *committing;
};

struct lh_file {
	struct lh_file_head head;
	TAILQ_ENTRY(lh_file) in_fs;
	uint64_t handle;
	uint64_t ino;
	int flags;
	unsigned users;                /* threads that walk over it; closing waits for them. Under lh_fs.lock */
	TAILQ_HEAD(, lh_lease) leases; /* under lh_fs.lock */
	struct cache *_Atomic cache;   /* cache.c */
	struct dirty dirty;
};

/* A direct operation: its range may not be released before it ended. */
struct flight {
	TAILQ_ENTRY(flight) in_lease;
	struct range range;
	struct range cut;  /* what of it a truncate takes away while it flies */
	unsigned restarts; /* client_restarts() when it began */
	bool queued;       /* nobody may be waiting for it: a recall must see to it */
};

/* A range that is to be released when nothing is in flight on it. */
struct leaving {
	struct leaving *next;
	struct grant *grant;
	struct range range;
};

struct lh_lease {
	struct lh_lease_head head;
	TAILQ_ENTRY(lh_lease) in_file;
	_Atomic uint32_t mode; /* enum proto_mode; changes with the turn (faulting) taken */
	uint32_t flags;
	uint64_t deadline_ns; /* as in LEASE_GET */
	struct range window;  /* as asked, bytes */
	atomic_ullong faults, recalls, revocations;
	atomic_uint queued; /* operations that queues have not handed back */

	struct lock lock; /* PIN */
	struct cond changed;
	struct map map;
	struct grant_list grants; /* under lh_fs.lock too */
	TAILQ_HEAD(, flight) flying;
	struct leaving *leaving;
	struct range expected;  /* what should be covered: granted, not known to be beyond the end of file */
	uint64_t number;        /* of the newest grant */
	uint64_t size;          /* of the file, as last told */
	uint64_t changes;       /* counts what changed map or size */
	struct cache *cache;    /* not NULL: the session's own, for plain reads (cache.c) */
	unsigned asking;        /* wishes of the cache that are on their way */
	unsigned shrinks;       /* how often this session made the file shorter */
	bool size_old;          /* the size may have shrunk since */
	uint64_t max_age_ns;    /* EXCLUSIVE, as asked */
	uint64_t deny_until_ns; /* by clock_now_ns; 0: not got yet */
	bool exclusive;
	bool reclaim;     /* EXCLUSIVE since before the server restarted: asked for as that (L35) */
	bool wanted_back; /* the thread of renew.c has not begun to; who accesses it waits, a release does not */
	bool reclaiming;  /* by that thread, which uses it: release waits too */
	bool broken;      /* it could not be changed (L23): the next try gets it anew first */
	bool faulting;    /* a thread asks for a missing piece; the others wait */
	bool lost;        /* something was taken away: unknown means gone, not just unmapped */
	bool dead;        /* with its session */
};

static inline struct lh_fs *lease_session(const struct lh_lease *l)
{
	return ((const struct lh_file_head *)l->head.file)->fs;
}

extern const struct lh_backend client_backend;

/* The flags of a request of this session's. */
unsigned client_flags(struct lh_fs *fs);

/* client/fs.c, space.c, names.c, file.c, lease.c, io.c, queue.c, dirty.c: the table's members. */
int client_fs_close(struct lh_fs *fs);
int client_fs_sync(struct lh_fs *fs);
int client_fs_ping(struct lh_fs *fs);
int client_fs_stat(struct lh_fs *fs, struct lh_statfs *out);
void client_fs_set_nowait(struct lh_fs *fs, bool nowait);
int client_fs_leases(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
		     void *ctx);
int client_fs_leases_matching(struct lh_fs *fs, const struct lh_revoke_filter *filter,
			      void (*each)(void *ctx, const struct lh_lease_info *info), void *ctx);
int client_fs_sessions(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_session_info *info), void *ctx);
int client_fs_audit(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max);
int client_fs_limit_clear(struct lh_fs *fs, struct lh_limit *limit);
int client_fs_revoke(struct lh_fs *fs, const struct lh_revoke_filter *filter);
int client_fs_lease_stats(struct lh_fs *fs, struct lh_lease_stats *out);
int client_fs_trace(struct lh_fs *fs, uint64_t *cursor, struct lh_trace *out, unsigned max);
int client_path_stat(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out);
int client_path_mkdir(struct lh_fs *fs, const char *path, uint32_t mode);
int client_path_rmdir(struct lh_fs *fs, const char *path);
int client_path_unlink(struct lh_fs *fs, const char *path);
int client_path_rename(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
int client_path_link(struct lh_fs *fs, const char *from, const char *to);
int client_path_symlink(struct lh_fs *fs, const char *target, const char *path);
ssize_t client_path_readlink(struct lh_fs *fs, const char *path, char *buf, size_t size);
int client_path_chmod(struct lh_fs *fs, const char *path, uint32_t mode);
int client_path_chown(struct lh_fs *fs, const char *path, bool follow, uint32_t uid, uint32_t gid);
int client_path_mknod(struct lh_fs *fs, const char *path, uint32_t mode, uint64_t rdev);
ssize_t client_path_getxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, void *value,
			     size_t size);
int client_path_setxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, const void *value,
			 size_t size, unsigned flags);
ssize_t client_path_listxattr(struct lh_fs *fs, const char *path, bool follow, char *names, size_t size);
int client_path_removexattr(struct lh_fs *fs, const char *path, bool follow, const char *name);
int client_fs_snapshot(struct lh_fs *fs, const char *from, const char *to, unsigned flags);
int client_fs_snapshot_delete(struct lh_fs *fs, const char *path);
int client_fs_snapshots(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx);
int client_fs_limit_set(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
int client_fs_limit_get(struct lh_fs *fs, const char *tree, struct lh_limit *limit);
int client_fs_limits(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_limit *limit), void *ctx);
int client_fs_resize(struct lh_fs *fs, uint64_t bytes, lh_progress progress, void *ctx);
int client_fs_evacuate(struct lh_fs *fs, uint64_t off, uint64_t len,
		       void (*each)(void *ctx, const struct lh_loss *loss), void *ctx);
int client_path_set_times(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns);
int client_dir_open(struct lh_fs *fs, const char *path, struct lh_dir **out);
int client_dir_next(struct lh_dir *dir, struct lh_dirent *out);
int client_dir_next_stat(struct lh_dir *dir, struct lh_dirent *out, struct lh_stat *st);
void client_dir_seek(struct lh_dir *dir, uint64_t cookie);
void client_dir_close(struct lh_dir *dir);
int client_file_open(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out);
int client_file_close(struct lh_file *file);
int client_file_stat(struct lh_file *file, struct lh_stat *out);
ssize_t client_file_read(struct lh_file *file, void *buf, size_t len, uint64_t off);
ssize_t client_file_write(struct lh_file *file, const void *buf, size_t len, uint64_t off);
int client_file_truncate(struct lh_file *file, uint64_t size);
int client_file_fallocate(struct lh_file *file, int mode, uint64_t off, uint64_t len);
int client_file_sync(struct lh_file *file);
int client_file_clone_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len);
int client_file_dedupe_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
			     uint64_t len);
int client_file_exchange_range(struct lh_file *a, uint64_t a_off, struct lh_file *b, uint64_t b_off, uint64_t len);
ssize_t client_file_copy_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
			       size_t len);
int64_t client_file_seek(struct lh_file *file, uint64_t off, int whence);
int client_file_link(struct lh_file *file, const char *to);
int client_file_setattr(struct lh_file *file, const struct api_setattr *set);
int client_file_defragment(struct lh_file *file, uint64_t extents[2]);
int64_t client_file_relocate(struct lh_file *file, uint64_t off, uint64_t len);
int client_file_extents(struct lh_file *file, uint64_t off, uint64_t len, struct lh_extent *out, unsigned max);
int client_lease_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
		     struct lh_lease **out);
int client_lease_release(struct lh_lease *lease);
ssize_t client_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off);
ssize_t client_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off);
int client_lease_commit(struct lh_lease *lease, uint64_t off, uint64_t len);
int client_lease_state(struct lh_lease *lease, struct lh_lease_state *out);
int client_lease_extents(struct lh_lease *lease, struct lh_lease_extent *out, unsigned max);
ssize_t client_raw_read(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len);
ssize_t client_raw_write(struct lh_fs *fs, uint64_t key, uint64_t key_off, const void *buf, size_t len);
void *client_buffer_get(struct lh_fs *fs, size_t len);
void client_buffer_put(struct lh_fs *fs, void *buf);
int client_queue_new(struct lh_fs *fs, unsigned depth, struct lh_queue **out);
void client_queue_free(struct lh_queue *q);
int client_queue_read(struct lh_queue *q, struct lh_lease *lease, void *buf, size_t len, uint64_t off, void *cookie);
int client_queue_write(struct lh_queue *q, struct lh_lease *lease, const void *buf, size_t len, uint64_t off,
		       void *cookie);
int client_queue_wait(struct lh_queue *q, unsigned min, struct lh_completion *out, unsigned max);
int client_event_fd(struct lh_fs *fs);
int client_event_next(struct lh_fs *fs, struct lh_event *out);

/* --- shared insides --- */

/* file.c: as the table's read and write, always by calls. */
ssize_t client_call_read(struct lh_file *file, void *buf, size_t len, uint64_t off);
ssize_t client_call_write(struct lh_file *file, const void *buf, size_t len, uint64_t off);

void client_stat_of(const struct proto_attr *a, struct lh_stat *out);

/* caller.c: conn_call and conn_do as the thread's caller says. uses: what of it counts in this call. */
#define USES_WHO  0u /* only who it is done for */
#define USES_NAME 1u /* its path */
#define USES_TWO  2u /* its two paths */
#define USES_ATTR 4u /* it tells what the inode is like */
#define USES_MODE 8u /* it makes something with a mode, which the umask comes off */
int client_call_as(struct lh_fs *fs, struct call *call, unsigned type, unsigned flags, const union proto_body *body,
		   unsigned uses);
int client_do_as(struct lh_fs *fs, unsigned type, unsigned flags, const union proto_body *body, unsigned uses);
/* For calls whose own answer tells it. */
void client_tell(const struct proto_attr *attr);
int client_fs_act(struct lh_fs *fs);

/* watch.c */
int client_fs_watch(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_change *change), void *ctx);
unsigned client_fs_watch_behind(struct lh_fs *fs, uint64_t ino);
/* -EDEADLK: from the watch's own thread. */
int client_watch_end(struct lh_fs *fs);
/* CHANGED came; changes were lost with their session. Caller holds fs->lock. */
void client_changed(struct lh_fs *fs, const struct proto_changed *changed);
void client_watch_lost(struct lh_fs *fs);

/* change.c */
void client_fs_interrupt(struct lh_fs *fs);
int client_lease_change(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns);
/* -EINTR when lh_fs_interrupt was called since fs->interrupts was `before`. */
int client_interrupted(struct lh_fs *fs, uint64_t before);
/* When a lease ceases to deny changes that does so for left_ns yet. */
uint64_t client_deny_until(uint64_t left_ns);
/* Fills flags and max_age_ns in. */
void client_deny_ask(struct lh_lease *lease, struct proto_lease_get *get);

/* notice.c: what the server says about leases; for conn. */
const char *client_event(void *ctx, const struct proto_header *h, const union proto_body *body);
bool client_tick(void *ctx);
void client_dead(void *ctx);
/* renew.c: the session is another one from now on; for conn. */
void client_renewed(void *ctx, const struct proto_welcome *w, bool rebooted);
/* Before a lease is taken out of the tables: nobody is taking it back any more. */
void client_reclaim_wait(struct lh_lease *lease);
/* Whether the lease is being taken back; whoever asks for it meanwhile would meet its own claim. Caller holds its lock.
 */
bool client_coming_back(const struct lh_lease *lease);
/* Until it is not. 0, or -EINTR. */
int client_come_back_wait(struct lh_lease *lease);
/* All files are closed. */
void client_reclaim_end(struct lh_fs *fs);
/* LEASE_GET's hook; call->ctx is a struct lease_get of grant.c. */
enum call_verdict client_granted(struct call *call, const struct proto_header *h, const union proto_body *body,
				 const char **rule);
int client_events_new(struct lh_fs *fs);
void client_events_forget(struct lh_lease *lease);
/* A MANUAL lease went with its session. */
void client_event_lost(struct lh_fs *fs, struct lh_lease *lease);

/* What LEASE_GET needs and brings. */
struct lease_get {
	struct lh_fs *fs;
	struct lh_lease *lease;
	struct grant *grant; /* memory, made before; NULL when it is in the tables */
	struct range granted;
	unsigned shrinks; /* the lease's when it was asked for */
	bool forgotten;   /* a notice overtook the grant: ask again */
};

/* grant.c. */
struct grant *client_grant_find(struct lh_fs *fs, uint64_t number); /* caller holds lh_fs.lock */
void client_grant_enter(struct lh_fs *fs, struct grant *g, struct lh_lease *lease);
/* Takes g out of the tables and frees it. Caller holds both locks. */
void client_grant_drop(struct lh_fs *fs, struct grant *g);
/* Tells the server that range of g is given back. Caller holds both locks; g may be gone afterwards. */
void client_grant_leave(struct lh_fs *fs, struct grant *g, struct range range);
/* Gives back what nobody reaches any more, and what waited for an operation that ended. Caller holds both locks. */
void client_lease_sweep(struct lh_lease *lease);
/* Asks the server for range of lease, which is then in its map. nowait: -EAGAIN instead of waiting. */
int client_lease_ask(struct lh_lease *lease, struct range range, bool nowait);
/* L35: an EXCLUSIVE one from before the restart, or nothing: -ESTALE, and its next access gets it as anybody does. */
int client_lease_take_back(struct lh_lease *lease, struct range range);
/* Makes off known: 0; -ENODATA: the file ends before it; -ESTALE (MANUAL); others. hole: off is known as a hole and
 * must not stay one. */
int client_lease_fault(struct lh_lease *lease, uint64_t off, uint64_t len, bool hole);
/* The operation that began with f on the list has ended. */
void client_flight_end(struct lh_lease *lease, struct flight *f);

/* dirty.c: what was written directly and is not committed (L28-L30). */
void client_dirty_init(struct lh_file *file);
void client_dirty_fini(struct lh_file *file);
/* How often the server restarted so far; to be read before a write begins, and handed to client_dirty_add after it. */
unsigned client_restarts(struct lh_fs *fs);
/* Bytes have landed. No lock above PIN's rank held. */
void client_dirty_add(struct lh_file *file, struct range r, unsigned since);
/*
 * L29: the server restarted, all that was not committed is lost. To be called when fs->welcome is the new server's, and
 * before any request goes out to that. Takes lh_fs.lock.
 */
void client_lost_all(struct lh_fs *fs);
/* Around a call of this session that takes r of the file away (truncate): what was written there is no longer to be
 * committed, unless the call failed. */
struct doomed {
	struct ranges ranges;
	unsigned since;
};
void client_dirty_doom(struct lh_fs *fs, uint64_t ino, struct range r, struct doomed *out);
void client_dirty_doomed(struct lh_fs *fs, uint64_t ino, struct doomed *d, bool done);
/* Commits what is dirty in r; *size is set when something was. -EIO: something of r was lost, said once. */
int client_commit(struct lh_file *file, struct range r, uint64_t *size);
/* The same for every handle of an inode; 0: of all files. Stops at the first error. */
int client_commit_inode(struct lh_fs *fs, uint64_t ino);
/* Another session cut the file: what lies behind is no longer to be committed. Caller holds lh_fs.lock. */
void client_dirty_cut(struct lh_file *file, struct range r);
int client_file_lost(struct lh_file *file, struct lh_range *out, unsigned max);

/* io.c: by calls and keys, whatever it takes; for queue.c too. */
ssize_t client_lease_move(struct lh_lease *lease, char *buf, size_t len, uint64_t off, enum fabric_dir dir);
/* -EACCES, -ERANGE. */
int client_lease_check(const struct lh_lease *lease, size_t len, uint64_t off, enum fabric_dir dir);

#endif
