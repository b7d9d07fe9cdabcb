/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What changed, for those who keep copies of names, attributes and content (the kernel over a mount, for one).
 *
 * One ring of events for all watches, each with its own place in it; who falls behind by more than the ring holds is
 * told ALL instead. Events are put there under the lock that the change was made under (INODE; LEASE for leases), after
 * the change, so that they are in order for every inode, and whoever hears of one and looks sees the change. Without a
 * watch an operation pays one relaxed load.
 *
 * The non-obvious decision: nobody is called back with an event. A watch pulls, when it can use events and without any
 * of our locks: it may call the fs and wait for peers as it likes, and needs no memory but the ring's.
 */
#ifndef LH_FS_WATCH_H
#define LH_FS_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/fs.h"

/* Events that a watch may be behind. */
#define FS_WATCH_RING 4096u

enum fs_change_type {
	FS_CHANGE_DATA = 1, /* content or size of ino */
	FS_CHANGE_ATTR,     /* mode, owner, times, links, attributes, ACLs of ino */
	FS_CHANGE_ENTRY,    /* name in the directory ino: made, gone, or means something else */
	FS_CHANGE_ALL,      /* events were lost: anything may have changed. DATA of what has writers comes behind it */
};
struct fs_change {
	enum fs_change_type type;
	uint64_t ino;
	bool writers;      /* DATA: others than the watch's session hold WRITE leases on it, now */
	unsigned name_len; /* ENTRY */
	char name[FS_NAME_MAX + 1];
};

struct fs_watch;

/*
 * From now on changes are seen, but those of calls by the session (fs_caller.session) and of its leases. First comes
 * DATA of every file that others have WRITE leases on. ready (may be NULL) is called once after fs_watch_next has
 * returned 0 (and after the start) when there is something: with locks of the fs held, so it must not block, call the
 * fs, or take more than locks of rank SEND and leaf mutexes. The watch is to be removed before the session is closed.
 * -ENOMEM.
 */
int fs_watch_add(struct fs *fs, const struct lease_session *session, void (*ready)(void *ctx), void *ctx,
		 struct fs_watch **out);
/* 1: *out is the next event; 0: none now. One thread at a time. Does not block. No lock held but of rank SESSION. */
int fs_watch_next(struct fs_watch *w, struct fs_change *out);
/* What is to come is forgotten, and ALL comes in its place. As fs_watch_next. */
void fs_watch_lose(struct fs_watch *w);
/* Waits until fs_watch_next has something: true; false: fs_watch_stop. No lock held. */
bool fs_watch_wait(struct fs_watch *w);
void fs_watch_stop(struct fs_watch *w);
/*
 * What of others' changes up to now fs_watch_next has not returned yet; what it returned last counts until it is called
 * again. Any thread; never waits.
 */
#define FS_BEHIND_DATA  1u /* of ino */
#define FS_BEHIND_ATTR  2u /* of ino */
#define FS_BEHIND_NAMES 4u /* anywhere */
unsigned fs_watch_behind(struct fs_watch *w, uint64_t ino);
/* No ready() runs after it has returned. NULL is allowed. */
void fs_watch_remove(struct fs_watch *w);

#endif
