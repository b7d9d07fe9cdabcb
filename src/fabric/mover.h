/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mover: one thread that serves all paths of one member. It never waits for a peer: paths are state machines that do
 * a bounded turn at a time. Paths with recent traffic are *hot* and polled; the others are *cold* and wait in epoll.
 */
#ifndef LH_FABRIC_MOVER_H
#define LH_FABRIC_MOVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/lock.h"
#include "fabric/fabric.h"

/* What one turn did. */
enum turn {
	TURN_IDLE,   /* there was nothing to do */
	TURN_MOVED,  /* something; ask again */
	TURN_PARKED, /* it did what it could, and can't go on before epoll says so */
	TURN_END,    /* the path is over */
};

struct path_ops {
	enum turn (*turn)(struct fabric_path *p);
	/* Goes cold. False: there is work after all. */
	bool (*arm)(struct fabric_path *p);
	/* epoll reported events; the path is hot again. False: the path is over. */
	bool (*event)(struct fabric_path *p, uint32_t events);
	/* The mover is done with it, its descriptors are out of epoll: tell the peer, close. By the mover or the
	 * closer, once. */
	void (*hangup)(struct fabric_path *p);
	void (*free)(struct fabric_path *p);
};

#define PATH_FDS 2

struct fabric_path {
	const struct path_ops *ops;
	struct mover *mover;
	struct fabric_domain *domain;
	_Atomic bool alive;
	int fds[PATH_FDS]; /* registered in epoll; -1: none */
	uint32_t events[PATH_FDS];
	/* The mover's. */
	bool hot;
	uint64_t busy_ns; /* when it last did something */
	uint64_t moved;   /* bytes, by its turns */
	uint64_t burst;   /* of them, since it was idle */
	bool idle;
	LIST_ENTRY(fabric_path) hot_link;
	/* Mover's lock. */
	bool detached;
	LIST_ENTRY(fabric_path) leaving_link;
	/* Target's lock. */
	LIST_ENTRY(fabric_path) domain_link;
};
LIST_HEAD(path_list, fabric_path);

struct mover {
	const char *name;
	uint64_t spin_ns;
	pthread_t thread;
	bool started;
	int epfd, wakefd;
	struct path_list hot;
	unsigned hot_count;
	uint64_t busy_ns;     /* when a path last did something */
	uint64_t spin_now_ns; /* adapted: full after a hit, less after misses */
	struct lock lock;
	struct cond left;
	struct path_list leaving;
	_Atomic bool knocked; /* leaving is not empty, or stop */
	_Atomic bool stop;
};

void mover_init(struct mover *m, const char *name, uint64_t spin_ns);
/* Starts the thread when it does not run yet. Not thread safe. */
int mover_start(struct mover *m);
/* No path may be attached. */
void mover_fini(struct mover *m);

/* ops, fds, events and domain are set. The path belongs to the mover until mover_detach has returned. */
int mover_attach(struct mover *m, struct fabric_path *p);
/* Waits for the end of the mover's round, microseconds. */
void mover_detach(struct fabric_path *p);
/* For a turn: changes what epoll waits for. */
void mover_watch(struct fabric_path *p, unsigned which, uint32_t events);

#endif
