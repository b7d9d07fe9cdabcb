/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mount: the kernel's requests become calls of the public library. What the files of this module share.
 *
 * A node id of FUSE is an inode number, so there is no table of nodes and nothing to forget; numbers are never used
 * again, so every generation is 0. A request belongs to one thread from begin to reply (call.c). No lock of a mount is
 * held while the library is called, but the one of a directory that is being listed.
 */
#ifndef LH_FUSE_MOUNT_H
#define LH_FUSE_MOUNT_H

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

#include <fcntl.h>
#include <stdatomic.h>

#include <bsd/sys/queue.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/types.h"
#include "fuse/fuse.h"

#define MOUNT_WRITE_MAX    (1u << 20) /* bytes of one request */
#define MOUNT_ATTR_ADDRESS "system.leasehold.address"
#define MOUNT_ATTR_PID     "system.leasehold.pid"
#define MOUNT_ATTR_UUID    "system.leasehold.uuid"
#define MOUNT_TOLD_SLOTS   65536u /* inodes whose last state is remembered */
#define MOUNT_HANDLE_LISTS 16u

/* Locks of a mount, outermost first. */
enum { LOCK_LISTING, LOCK_TABLE, LOCK_LAST };

struct thread_slot;

/* An open file or directory of the kernel's. */
struct handle {
	LIST_ENTRY(handle) in_list;
	bool is_dir;
	uint64_t ino;
	int flags; /* as opened */
	_Atomic(struct lh_file *) file;
	/* The same without O_APPEND (or with it), when it is first wanted: write-back knows its offsets. */
	_Atomic(struct lh_file *) sibling;
	atomic_bool written;  /* and not synced since */
	atomic_bool lost;     /* some of that may be, with a session: the next sync says so */
	struct old_open *old; /* of dead sessions; under lock */
	/* Directories. */
	struct lock lock;
	struct lh_dir *dir;
	struct lh_fs *dir_fs;
	uint64_t at;     /* the offset that the next entry follows */
	bool pending;    /* `entry` is the next one: it did not fit */
	bool pending_st; /* with `st` */
	struct lh_dirent entry;
	struct lh_stat st;
};
LIST_HEAD(handle_list, handle);

struct mount {
	const struct mount_options *opt;
	_Atomic(struct lh_fs *) fs; /* another one after the death of a session: session.c */
	bool remote;
	bool drops_privileges; /* privileges.c */
	bool acts;             /* lh_fs_act: the kernel checks, requests are made for whom they come from */
	bool allow_other;
	double attr_s, entry_s, negative_s;
	char address[MOUNT_NAME_MAX]; /* of the server behind it; "" */
	struct lh_server *server;
	struct fuse_session *se;
	struct loop *loop;
	struct sessions *sessions; /* NULL: in process */
	struct ender *ender;
	atomic_bool ending;
	bool unmounted; /* by the ender */
	void (*ready)(void *ctx);
	void *ready_ctx;

	struct {
		struct lock lock;
		struct handle_list list;
	} handles[MOUNT_HANDLE_LISTS];
	struct told *told;   /* cache.c */
	struct watch *watch; /* watch.c; NULL: nobody tells of others' changes */

	/* call.c */
	struct lock slots_lock;
	struct cond slots_changed;
	LIST_HEAD(, thread_slot) slots;
	pthread_t nag;
	bool nag_made, nag_stop, nag_wanted;
};

/* --- call.c: one request --- */

struct call {
	struct mount *m;
	struct lh_fs *fs;
	fuse_req_t req;
	uint64_t token;        /* what an interrupt names it by; 0: it cannot be interrupted */
	struct lh_caller *who; /* at[0] is the first node of the request; the thread's */
	struct lh_stat *st;    /* where calls by path say what an inode is like */
	struct thread_slot *slot;
};

int calls_start(struct mount *m);
void calls_stop(struct mount *m);
/* m->ending was set. */
void calls_wake(struct mount *m);
/* Every request begins here. ino: what paths start from. */
void call_begin(struct call *c, fuse_req_t req, uint64_t ino);
/* For a request that libfuse knows nothing of; it may wait. call_end when it is answered. */
void call_begin_raw(struct call *c, struct mount *m, uint32_t uid, uint32_t gid, uint64_t ino, uint64_t unique);
/* The kernel's FUSE_INTERRUPT of such a request; false: there is none of that number. */
bool call_interrupt_raw(struct mount *m, uint64_t unique);
bool call_interrupted(const struct call *c);
/* The same for one that may wait for others' leases: it ends with EINTR when its program is killed. */
void call_begin_waits(struct call *c, fuse_req_t req, uint64_t ino);
#define CALL_GROUPS_MAX 64
/* With the rights of the program that asks, as if nobody had checked them; groups: room that lives as long. */
void call_as_itself(struct call *c, gid_t groups[CALL_GROUPS_MAX]);
void call_as_checked(struct call *c);
/*
 * After each call of the library, err is its result: true: nothing was done, because somebody else's request was
 * interrupted; make it again.
 */
bool call_again(struct call *c, int64_t err);
/* From here on calls of this request wait. False: they did already. */
bool call_patient(struct call *c);
/* The number that programs see for a negative result of the library. */
int call_errno(const struct call *c, int64_t err);
/* The request is about to be answered: from here on its pointer means nothing. The replies below do it by themselves.
 */
void call_end(struct call *c);
void call_reply(struct call *c, int64_t err);
/* A name that is not there. */
void call_reply_none(struct call *c, const struct fuse_entry_param *e);
/* From c->st. */
void call_reply_entry(struct call *c, int err);
void call_reply_attr(struct call *c, int err);
void time_to_kernel(int64_t ns, struct timespec *out);
void stat_to_kernel(const struct lh_stat *st, struct stat *out);

/* --- handle.c --- */

struct handle *handle_new(struct mount *m, uint64_t ino, int flags);
/* Closes what is open of it. 0; -EIO: something that was written is lost. */
int handle_free(struct mount *m, struct handle *h);
/* It is of another inode than was thought when it was made. */
void handle_move(struct mount *m, struct handle *h, uint64_t ino);
/* Whatever the kernel left open. */
void mount_handles_free(struct mount *m);
static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* What was written through it is durable. */
int handle_sync(struct call *c, struct handle *h);

/* --- session.c: servers that go and come --- */

/* When the filesystem is open. */
int sessions_start(struct mount *m);
/* No new session from here on. */
void sessions_stop(struct mount *m);
/* When nothing is open any more. */
void sessions_free(struct mount *m);
/* A call had -ENOTCONN. True: there is a new session, c->fs: make it again. */
bool mount_session_lost(struct call *c);
/* What of the handle belongs to the session of the call: as it was opened, or with or without O_APPEND. */
int session_file(struct call *c, struct handle *h, bool append, struct lh_file **out);
/* The handle's directory is of the session of the call; a new one goes on behind the cookie. Caller holds its lock. */
int session_dir(struct call *c, struct handle *h, uint64_t cookie);
void session_old_close(struct handle *h);
static inline int handle_file(struct call *c, struct handle *h, struct lh_file **out)
{
	return session_file(c, h, h->flags & O_APPEND, out);
}

/* --- cache.c: what the kernel was told --- */

int told_start(struct mount *m);
void told_stop(struct mount *m);
/* Attributes go to the kernel. */
void told_attr(struct mount *m, const struct lh_stat *st);
/* The file is being opened and is like this: whether the kernel may use what it has of its content. */
bool told_open(struct mount *m, const struct lh_stat *st);
/* This mount changes its content: what it was like at the last open says nothing any more. */
void told_wrote(struct mount *m, uint64_t ino);
/* Nothing is known any more of what the kernel has. */
void told_nothing(struct mount *m);

/* --- watch.c: others' changes --- */

/* Before anything is kept; sets the timeouts that were left open. */
int mount_watch_start(struct mount *m);
/* It is mounted: the kernel may be told. */
void mount_watch_live(struct mount *m);
/* While requests are still served, or when the connection is gone: what it tells the kernel waits for them. */
void mount_watch_end(struct mount *m);
/* There is a new session, which knows nothing of changes before it. */
void mount_watch_again(struct mount *m);
void mount_watch_free(struct mount *m);
/* Around the opening of the call's inode: 0, or the answer (-ESTALE: the kernel tries again, by name). */
int mount_watch_before_open(struct call *c, int flags);
int mount_watch_after_open(struct call *c, int flags);
/* Before a request is answered by ESTALE: the kernel tries again, by name, and must not hear it a second time. */
void mount_watch_stale(const struct call *c);
/* By another error: there is no second try. */
void mount_watch_failed(const struct call *c);
/* What the kernel has of its content is good. attr_old: what it has of its attributes may not be. With a watch. */
bool mount_watch_trusts(struct mount *m, uint64_t ino, bool *attr_old);
/* Events were lost since the start: only what was opened since then is good. */
bool mount_watch_lost(const struct mount *m);

/* --- the operations, by file --- */

void names_ops(struct fuse_lowlevel_ops *ops);
void attr_ops(struct fuse_lowlevel_ops *ops);
void xattr_ops(struct fuse_lowlevel_ops *ops);
void file_ops(struct fuse_lowlevel_ops *ops);
/* What only a server's files need. */
void file_ops_remote(struct fuse_lowlevel_ops *ops);
void data_ops(struct fuse_lowlevel_ops *ops);
void dir_ops(struct fuse_lowlevel_ops *ops);
/* Memory of this thread, whole pages, good until the next call; NULL: none. */
char *thread_room(size_t size);

/* --- raw.c: what libfuse does not know --- */

/* True: the message was one of those, and is answered on fd. */
bool raw_request(struct mount *m, int fd, const void *message, size_t len);

/* --- loop.c --- */

/* When it is mounted, before mount_loop. */
int mount_loop_prepare(struct mount *m);
/* Serves until the mount is gone or mount_loop_end: 0, -errno. */
int mount_loop(struct mount *m);
/* From any thread. */
void mount_loop_end(struct mount *m);
void mount_loop_free(struct mount *m);
/* The request of this thread may take long from here on: somebody else serves the next ones. */
void loop_slow(struct mount *m);
/* Four bytes of the request that this thread is at. */
uint32_t loop_request_word(size_t at);

/* --- privileges.c: before a request changes content; 0, -errno --- */

int privileges_at_write(struct call *c);
int privileges_at_truncate(struct call *c);
int privileges_at_open(struct call *c);

/* --- readahead.c --- */

/* When requests are served. */
void read_ahead_more(const struct mount *m);

/* --- end.c: signals, and how a mount ends --- */

/* Blocks the signals in this thread and all that it makes from here on. */
int ender_start(struct mount *m);
/* From here on they end the mount: it is served. */
int ender_run(struct mount *m);
/* They do not any more. */
void ender_stop(struct mount *m);
/* When the connection is closed: nothing that it still waits for can hang. */
void ender_free(struct mount *m);

#endif
