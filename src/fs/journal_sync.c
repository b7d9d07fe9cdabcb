/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * POOL_MSYNC: bringing records to the medium. Pages reach it in any order between syncs, so each step is synced before
 * the next one is stored:
 *   1. data that was noted before the newest record to sync          (I1: no record before its data)
 *   2. headers of segments that are new                              (5.1: a good link never leads to a bad header)
 *   3. records, from the shadows
 *   4. durable_seq rises; blocks freed by these records become free  (decision 5)
 * Crash after 1 or 2: nothing refers to them. Crash in 3: a tail, whose records all carry an older durable_seq (5.4).
 *
 * One thread at a time does it, for all who wait: their records are in the same sync or in the next.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "fs/journal_impl.h"

void journal_data(struct journal *j, uint64_t pool_off, uint64_t len)
{
	struct data_range *last;

	if (len == 0)
		return;
	if (!j->msync) {
		pool_flush(j->pool, pool_off, len);
		return;
	}
	lock_take(&j->lock);
	j->data_notes++;
	last = j->data_count > 0 ? &j->data[j->data_count - 1] : NULL;
	if (last != NULL && pool_off <= last->end && last->off <= pool_off + len) {
		last->off = min_u64(last->off, pool_off);
		last->end = max_u64(last->end, pool_off + len);
	} else if (j->data_count < DATA_RANGES_MAX) {
		j->data[j->data_count++] = (struct data_range){pool_off, pool_off + len};
	} else {
		j->data_all = true;
	}
	lock_drop(&j->lock);
}

/* What one sync has to do, taken under JOURNAL. */
struct sync_work {
	struct data_range data[DATA_RANGES_MAX];
	unsigned data_count;
	bool data_all;
	uint64_t notes, seq, bytes;
	struct segment *first; /* oldest segment with something to write */
};

static void work_take(struct journal *j, struct sync_work *w)
{
	struct segment *s;

	memcpy(w->data, j->data, j->data_count * sizeof(j->data[0]));
	w->data_count = j->data_count;
	w->data_all = j->data_all;
	w->notes = j->data_notes;
	w->seq = j->seq;
	w->bytes = j->unsynced_bytes;
	w->first = NULL;
	j->data_count = 0;
	j->data_all = false;
	STAILQ_FOREACH (s, &j->live, entry) {
		s->goal = s->filled;
		if (w->first == NULL && s->goal > s->synced)
			w->first = s;
	}
}

/* The queue grows meanwhile, so the step to the next one is under JOURNAL. Segments of this sync have a goal. */
static struct segment *work_next(struct journal *j, struct segment *s)
{
	lock_take(&j->lock);
	s = STAILQ_NEXT(s, entry);
	lock_drop(&j->lock);
	return s != NULL && s->goal > s->synced ? s : NULL;
}

static int sync_data(struct journal *j, const struct sync_work *w)
{
	int err = 0;

	if (w->data_all)
		return pool_sync_all(j->pool);
	for (unsigned i = 0; err == 0 && i < w->data_count; i++)
		err = pool_sync(j->pool, w->data[i].off, w->data[i].end - w->data[i].off);
	return err;
}

static int sync_headers(struct journal *j, const struct sync_work *w)
{
	int err = 0;

	for (struct segment *s = w->first; err == 0 && s != NULL; s = work_next(j, s)) {
		if (s->synced != 0)
			continue;
		pool_store(j->pool, run_offset(s->run), s->shadow, sizeof(struct m_segment));
		err = pool_sync(j->pool, run_offset(s->run), sizeof(struct m_segment));
	}
	return err;
}

static int sync_records(struct journal *j, const struct sync_work *w)
{
	int err = 0;

	for (struct segment *s = w->first; err == 0 && s != NULL; s = work_next(j, s)) {
		uint64_t from = max_u64(s->synced, sizeof(struct m_segment));

		if (s->goal == from)
			continue;
		pool_store(j->pool, run_offset(s->run) + from, s->shadow + from, s->goal - from);
		err = pool_sync(j->pool, run_offset(s->run) + from, s->goal - from);
	}
	return err;
}

/* Under JOURNAL. Shadows of segments that are complete are no longer needed. */
static void work_done(struct journal *j, const struct sync_work *w)
{
	for (struct segment *s = w->first; s != NULL && s->goal > s->synced; s = STAILQ_NEXT(s, entry)) {
		s->synced = s->goal;
		if (s != j->current && s->synced == s->filled) {
			free(s->shadow);
			s->shadow = NULL;
		}
	}
	j->durable_seq = w->seq;
	j->data_durable = w->notes;
	j->unsynced_bytes -= w->bytes;
}

/* Under JOURNAL, which is dropped meanwhile. */
static int sync_once(struct journal *j)
{
	struct sync_work work, *w = &work;
	int err;

	assert(!j->syncing);
	j->syncing = true;
	work_take(j, w);
	lock_drop(&j->lock);
	err = sync_data(j, w);
	if (err == 0)
		err = sync_headers(j, w);
	if (err == 0)
		err = sync_records(j, w);
	lock_take(&j->lock);
	if (err == 0) {
		work_done(j, w);
	} else {
		journal_broken(j, err);
	}
	j->syncing = false;
	cond_wake_all(&j->synced);
	return err;
}

static bool is_durable(const struct journal *j, uint64_t seq, uint64_t notes)
{
	return j->durable_seq >= seq && j->data_durable >= notes;
}

int journal_sync(struct journal *j)
{
	uint64_t seq, notes, settled;
	int err;

	if (!j->msync) {
		pool_fence(j->pool);
		lock_take(&j->lock);
		flight_wait(j, j->seq);
		err = j->error != 0 ? journal_state(j) : 0;
		lock_drop(&j->lock);
		return err;
	}
	lock_take(&j->lock);
	seq = j->seq;
	notes = j->data_notes;
	err = j->read_only ? 0 : j->error;
	while (err == 0 && !is_durable(j, seq, notes)) {
		if (j->syncing)
			cond_wait(&j->synced, &j->lock);
		else
			err = sync_once(j);
		if (err == 0)
			err = j->error;
	}
	settled = j->durable_seq;
	lock_drop(&j->lock);
	if (err != 0)
		return fail(err, "pool %s: what was changed last did not reach the medium: unmount, check it with fsck",
			    j->pool->name);
	if (j->alloc != NULL)
		alloc_settle(j->alloc, settled);
	return 0;
}

/* --- the commit interval --------------------------------------------------------------------------------------------
 */

static void *interval_run(void *arg)
{
	struct journal *j = arg;

	lock_take(&j->lock);
	while (!j->thread_stop) {
		cond_wait_until(&j->tick, &j->lock, clock_now_ns() + j->interval_ns);
		if (j->thread_stop || j->error != 0 || is_durable(j, j->seq, j->data_notes))
			continue;
		lock_drop(&j->lock);
		journal_sync(j); /* an error stays in j->error and is logged */
		lock_take(&j->lock);
	}
	lock_drop(&j->lock);
	return NULL;
}

int journal_set_interval(struct journal *j, uint64_t interval_ns)
{
	int err;

	assert(!j->has_thread && interval_ns > 0);
	if (!j->msync || j->read_only)
		return 0;
	j->interval_ns = interval_ns;
	err = -pthread_create(&j->thread, NULL, interval_run, j);
	j->has_thread = err == 0;
	return err == 0 ? 0 : fail(err, "pool %s: the thread that syncs could not be started", j->pool->name);
}

void interval_stop(struct journal *j)
{
	if (!j->has_thread)
		return;
	lock_take(&j->lock);
	j->thread_stop = true;
	cond_wake_all(&j->tick);
	lock_drop(&j->lock);
	pthread_join(j->thread, NULL);
	j->has_thread = false;
}
