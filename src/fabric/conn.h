/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the initiator's ends of all members share: posting, completing, waiting. A member supplies the five calls of
 * struct conn_ops; conn.c calls them with the conn's lock held unless said otherwise.
 */
#ifndef LH_FABRIC_CONN_H
#define LH_FABRIC_CONN_H

#include <stdatomic.h>

#include "base/lock.h"
#include "base/types.h"
#include "fabric/fabric.h"

enum op_state { OP_IDLE, OP_POSTED, OP_DONE };

struct conn_ops {
	const char *member;
	/* No lock: does the whole operation in the caller's thread, if the member can; else NULL. */
	void (*direct)(struct fabric_conn *c, struct fabric_op *op);
	/* Takes the operation; may start it. */
	void (*submit)(struct fabric_conn *c, struct fabric_op *op);
	/* Does what can be done without waiting. True: something moved. */
	bool (*progress)(struct fabric_conn *c);
	/* Before sleeping: arranges to be woken. False: there is something to do. */
	bool (*arm)(struct fabric_conn *c);
	/* No lock: sleeps until there may be something to do, conn_nudge was called, or the time is over. */
	void (*sleep)(struct fabric_conn *c, uint64_t timeout_ns);
	/* Gives every operation back that it has, through conn_complete, and does no more I/O. Once, when the path
	 * dies. */
	void (*abandon)(struct fabric_conn *c, int status);
	/* No lock, nobody uses it any more. */
	void (*free)(struct fabric_conn *c);
	void *(*buffer_get)(struct fabric_conn *c, size_t len);
	void (*buffer_put)(struct fabric_conn *c, void *buf);
};

struct op_queue {
	struct fabric_op *first, **last;
};

struct fabric_conn {
	const struct conn_ops *ops;
	uint64_t spin_ns;
	struct lock lock;
	struct cond changed;
	_Atomic bool dead;
	bool polling;             /* a thread is in charge of progress (for good, when the member has its own) */
	bool sleeping;            /* and it sleeps, or is about to */
	unsigned waiters;         /* threads on `changed` */
	_Atomic unsigned posters; /* threads that want the lock while somebody spins with it */
	unsigned outstanding;     /* posted and neither returned by reap nor, if waited for, complete */
	uint64_t flying;          /* bytes of posted operations */
	struct op_queue done;     /* for reap */
	int wakefd;
};

static inline void op_queue_init(struct op_queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}
static inline void op_queue_push(struct op_queue *q, struct fabric_op *op)
{
	op->next = NULL;
	*q->last = op;
	q->last = &op->next;
}
static inline struct fabric_op *op_queue_pop(struct op_queue *q)
{
	struct fabric_op *op = q->first;

	if (!op)
		return NULL;
	q->first = op->next;
	if (!q->first)
		q->last = &q->first;
	return op;
}

int conn_init(struct fabric_conn *c, const struct conn_ops *ops, const struct fabric_conn_options *opt);
void conn_fini(struct fabric_conn *c);
/* Lock held. */
void conn_complete(struct fabric_conn *c, struct fabric_op *op, int status);
/* Lock held: the path is gone; why is logged unless NULL. */
void conn_die(struct fabric_conn *c, const char *why);
/* Wakes the sleeper. */
void conn_nudge(struct fabric_conn *c);
/* For a member's sleep: polls fd for events, and for nudges. */
void conn_poll(struct fabric_conn *c, int fd, short events, uint64_t timeout_ns);
void *conn_malloc(struct fabric_conn *c, size_t len);
void conn_mfree(struct fabric_conn *c, void *buf);

#endif
