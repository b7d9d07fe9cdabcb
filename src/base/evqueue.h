/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bounded queue of fixed-size records with an eventfd that is readable exactly while a record is waiting.
 *
 * Thread safe; no call blocks. Its mutex is a leaf (nothing is called under it but read and write of the eventfd), so
 * records may be pushed with any ranked lock held.
 */
#ifndef LH_BASE_EVQUEUE_H
#define LH_BASE_EVQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evqueue;

/* Room for `capacity` records of `record_bytes` each, allocated now. -EINVAL (zero), -ENOMEM, -EMFILE, -ENFILE. */
int evqueue_new(size_t record_bytes, unsigned capacity, struct evqueue **out);
/* Closes the descriptor; what is still queued is lost. NULL is allowed. */
void evqueue_free(struct evqueue *q);
/* For poll and epoll (POLLIN). The queue's: do not read or close it. */
int evqueue_fd(const struct evqueue *q);
/* Copies the record in. -ENOSPC: full; the record is counted as lost. */
int evqueue_push(struct evqueue *q, const void *record);
/* 1: the oldest record was copied to *out and removed; 0: none. */
int evqueue_pop(struct evqueue *q, void *out);
/* Removes the records for which match() is true, keeping the order of the rest; returns how many. match must not call
 * back. */
unsigned evqueue_remove(struct evqueue *q, bool (*match)(void *ctx, const void *record), void *ctx);
unsigned evqueue_count(struct evqueue *q);
/* Records that did not fit since the queue was made. */
uint64_t evqueue_lost(struct evqueue *q);

#endif
