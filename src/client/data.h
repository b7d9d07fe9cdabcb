/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data path of a session: a ring or a stream, attached when it is first needed, attached anew when it was lost
 * (L16). Keys belong to the session, so operations simply go again on the new one. When none can be had for the moment,
 * -EPIPE tells the caller to use calls.
 */
#ifndef LH_CLIENT_DATA_H
#define LH_CLIENT_DATA_H

#include "api/backend.h"
#include "client/address.h"
#include "client/conn.h"
#include "fabric/fabric.h"

struct data;
struct data_path;

struct data_args {
	const struct address *address;
	struct conn *conn;
	const struct proto_welcome *welcome;
	enum lh_fabric fabric;
	uint64_t spin_ns, ring_bytes, timeout_ns;
};

/* Attaches the first path. -EOPNOTSUPP: the server does not offer what was asked for. */
int data_new(const struct data_args *args, struct data **out);
/* Whether there is a data path at all, now or later. */
bool data_can(const struct data *d);
/* Operations have ended, buffers were given back. NULL is allowed. */
void data_free(struct data *d);
/* The session is over: completes everything that is outstanding with -EPIPE. */
void data_shutdown(struct data *d);

/* Another session, of these: keys and paths of the old one are gone. */
void data_renew(struct data *d, const struct proto_welcome *w);

/* The path that works now, with a reference; NULL: none. Attaches one if need be. */
struct data_path *data_path_get(struct data *d);
void data_path_put(struct data *d, struct data_path *p);
/* p does not work any more. */
void data_path_lost(struct data *d, struct data_path *p);
struct fabric_conn *data_path_conn(struct data_path *p);

/*
 * Moves ops[0, n), n at most DATA_OPS_MAX; every status is set on return. What a lost path did not complete goes again
 * on the next one.
 */
#define DATA_OPS_MAX 16u
void data_run(struct data *d, struct fabric_op *ops, unsigned n);

/*
 * Operations that nobody waits for one by one. Whoever collects reaps for everybody, into the sink of each operation.
 */
struct data_sink;
struct data_op {
	struct fabric_op op;
	struct data_op *next;
	struct data_sink *sink;
};
struct data_sink {
	void (*finished)(struct data_op *o); /* in whichever thread reaps, before it can be collected; no lock held */
	struct data_op *done;                /* the newest first; under the lock of data */
	unsigned count;
};
/* As fabric_post. o belongs to the path until data_collect returns it. */
int data_post(struct data_path *p, struct data_op *o, struct data_sink *sink);
/*
 * Waits until min operations of the sink are complete; returns all that are, linked by next. All operations of a sink
 * must have been posted to p. More than min is outstanding, or min is 0.
 */
struct data_op *data_collect(struct data *d, struct data_path *p, struct data_sink *sink, unsigned min);

/* Reaps what is complete, for an owner who is not collecting now; may wait a little for it. */
void data_progress(struct data *d);

/* Memory for lh_buffer_get: of the path's arena if it has room, else ordinary. */
void *data_buffer_get(struct data *d, size_t len);
void data_buffer_put(struct data *d, void *buf);

#endif
