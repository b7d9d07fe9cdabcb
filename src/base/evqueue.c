/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of records. Invariant under the mutex: the eventfd's counter is 1 while count > 0 and 0 otherwise; so it is
 * written only when the first record arrives and read only when the last one leaves.
 */
#include "base/evqueue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/types.h"

struct evqueue {
	pthread_mutex_t mutex;
	int fd;
	size_t record_bytes;
	unsigned capacity;
	unsigned head; /* index of the oldest */
	unsigned count;
	uint64_t lost;
	unsigned char *records;
};

static unsigned char *slot(const struct evqueue *q, unsigned nth)
{
	return q->records + (size_t)((q->head + nth) % q->capacity) * q->record_bytes;
}

/* Caller holds the mutex; count has just become, or ceased to be, zero. */
static void signal_on(struct evqueue *q)
{
	uint64_t one = 1;
	ssize_t n = write(q->fd, &one, sizeof(one));

	assert(n == (ssize_t)sizeof(one));
	(void)n;
}
static void signal_off(struct evqueue *q)
{
	uint64_t value;
	ssize_t n = read(q->fd, &value, sizeof(value));

	assert(n == (ssize_t)sizeof(value));
	(void)n;
}

int evqueue_new(size_t record_bytes, unsigned capacity, struct evqueue **out)
{
	struct evqueue *q;
	int err;

	if (record_bytes == 0 || capacity == 0 || capacity > UINT32_MAX / 2)
		return -EINVAL;
	q = calloc(1, sizeof(*q));
	if (q == NULL)
		return -ENOMEM;
	q->records = calloc(capacity, record_bytes);
	if (q->records == NULL) {
		err = -ENOMEM;
		goto free_queue;
	}
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0) {
		err = -errno;
		goto free_records;
	}
	q->record_bytes = record_bytes;
	q->capacity = capacity;
	pthread_mutex_init(&q->mutex, NULL);
	*out = q;
	return 0;

free_records:
	free(q->records);
free_queue:
	free(q);
	return err;
}

void evqueue_free(struct evqueue *q)
{
	if (q == NULL)
		return;
	close(q->fd);
	pthread_mutex_destroy(&q->mutex);
	free(q->records);
	free(q);
}

int evqueue_fd(const struct evqueue *q)
{
	return q->fd;
}

int evqueue_push(struct evqueue *q, const void *record)
{
	int err = 0;

	pthread_mutex_lock(&q->mutex);
	if (q->count == q->capacity) {
		q->lost++;
		err = -ENOSPC;
	} else {
		memcpy(slot(q, q->count), record, q->record_bytes);
		q->count++;
		if (q->count == 1)
			signal_on(q);
	}
	pthread_mutex_unlock(&q->mutex);
	return err;
}

int evqueue_pop(struct evqueue *q, void *out)
{
	int got = 0;

	pthread_mutex_lock(&q->mutex);
	if (q->count > 0) {
		memcpy(out, slot(q, 0), q->record_bytes);
		q->head = (q->head + 1) % q->capacity;
		q->count--;
		if (q->count == 0)
			signal_off(q);
		got = 1;
	}
	pthread_mutex_unlock(&q->mutex);
	return got;
}

unsigned evqueue_remove(struct evqueue *q, bool (*match)(void *ctx, const void *record), void *ctx)
{
	unsigned kept = 0;
	unsigned before;

	pthread_mutex_lock(&q->mutex);
	before = q->count;
	for (unsigned i = 0; i < before; i++) {
		if (match(ctx, slot(q, i)))
			continue;
		if (kept != i)
			memcpy(slot(q, kept), slot(q, i), q->record_bytes);
		kept++;
	}
	q->count = kept;
	if (before > 0 && kept == 0)
		signal_off(q);
	pthread_mutex_unlock(&q->mutex);
	return before - kept;
}

unsigned evqueue_count(struct evqueue *q)
{
	unsigned count;

	pthread_mutex_lock(&q->mutex);
	count = q->count;
	pthread_mutex_unlock(&q->mutex);
	return count;
}

uint64_t evqueue_lost(struct evqueue *q)
{
	uint64_t lost;

	pthread_mutex_lock(&q->mutex);
	lost = q->lost;
	pthread_mutex_unlock(&q->mutex);
	return lost;
}
