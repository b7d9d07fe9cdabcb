/* SPDX-License-Identifier: BSD-2-Clause */
/* The target's parts, for the members' target sides. */
#ifndef LH_FABRIC_TARGET_H
#define LH_FABRIC_TARGET_H

#include <errno.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/lock.h"
#include "base/types.h"
#include "fabric/fabric.h"
#include "fabric/keytab.h"
#include "fabric/mover.h"

struct target_counters {
	_Atomic uint64_t ops[2], bytes[2]; /* by enum fabric_dir */
	_Atomic uint64_t refused, faults, protocol_errors;
};

struct fabric_target {
	struct keytab *keys;
	struct lock lock; /* domains' path lists, starting of movers */
	unsigned domains;
	struct mover stream, ring;
	uint8_t *stage; /* STREAM_STAGE_BYTES of the stream mover's own, from the first stream on */
	struct target_counters count;
};

struct fabric_domain {
	struct fabric_target *target;
	struct key_owner owner;
	struct path_list paths;
};

static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* A request is over, with 0 or -errno. */
static inline void target_count(struct fabric_target *t, enum fabric_dir dir, uint64_t len, int status)
{
	if (status != 0) {
		counter_add(status == -EAGAIN ? &t->count.faults : &t->count.refused, 1);
		return;
	}
	counter_add(&t->count.ops[dir], 1);
	counter_add(&t->count.bytes[dir], len);
}

/* Puts a finished path to work: starts the mover, links it into the domain. On error it was hung up; the caller frees
 * it. */
int target_attach(struct fabric_domain *d, struct mover *m, struct fabric_path *p);
/* The peer broke the protocol: rule says how. */
void target_broken(struct fabric_path *p, const char *rule);

#endif
