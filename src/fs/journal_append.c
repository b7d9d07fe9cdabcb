/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Appending: placing a record in the current segment, or in several, and making it durable.
 *
 * Worked example, cache-flush pool, record 7 does not fit in segment A (announced next: B; spares B, C):
 *   1. header of B {first_seq 8, next C}: stored, flushed, fenced.   Crash: A's log ends at 7; B is not reached.
 *   2. link 7 in A -> B: stored, flushed.                             Crash: as before, or B is reached and empty.
 *   3. record 8 in B: stored, flushed, fenced. Its durable_seq is 6, as link 7 was not fenced yet.
 *                                                                     Crash: 8 there without 7: proves nothing (5.4a),
 * log ends at 7. 7 there without 8: ends at 8.
 *   4. commit returns; the next record says durable_seq 8.
 *
 * Threads together: under JOURNAL a record only gets its number and its place; checksum, copy, flush and fence are done
 * by all at the same time. Commit returns when all earlier records have landed too, as one that is missing ends the
 * log. Records 7 and 8 in flight, both say durable_seq 6:  Crash: 8 there without 7: the log ends at 7, and neither
 * returned.
 *
 * POOL_MSYNC: the same bytes go to shadows of the segments; journal_sync.c brings them into the pool in that order.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "fs/journal_impl.h"

int journal_broken(struct journal *j, int err)
{
	lock_assert_held(RANK_JOURNAL);
	if (j->error != 0)
		return err;
	j->error = err;
	snprintf(j->error_text, sizeof(j->error_text), "%s", fail_text());
	log_error("journal", "pool %s: no more changes are accepted: %s", j->pool->name, fail_text());
	return err;
}

int journal_state(const struct journal *j)
{
	lock_assert_held(RANK_JOURNAL);
	if (unlikely(j->error != 0))
		return fail(
		    j->error,
		    "pool %s: only reading is possible since the medium failed (%s): unmount, check it with fsck",
		    j->pool->name, j->error_text);
	if (unlikely(j->read_only))
		return fail(-EROFS, "pool %s: mounted read-only", j->pool->name);
	if (unlikely(j->closed || !j->started))
		return fail(-EROFS, "pool %s: is being unmounted", j->pool->name);
	return 0;
}

/* --- segments -------------------------------------------------------------------------------------------------------
 */

void segment_free(struct segment *s)
{
	if (s == NULL)
		return;
	free(s->shadow);
	free(s);
}

int segment_refill(struct journal *j, enum alloc_use use)
{
	struct segment *s = calloc(1, sizeof(*s));
	int err;

	lock_assert_not_held(RANK_JOURNAL);
	if (s == NULL)
		return -ENOMEM;
	err = alloc_take_meta(j->alloc, j->segment_blocks, use, &s->run);
	if (err != 0) {
		free(s);
		return err;
	}
	if (j->msync) {
		s->shadow = calloc(1, run_bytes(s->run));
		if (s->shadow == NULL) {
			alloc_release_meta(j->alloc, s->run);
			free(s);
			return -ENOMEM;
		}
	}
	lock_take(&j->lock);
	STAILQ_INSERT_TAIL(&j->spares, s, entry);
	j->spare_count++;
	lock_drop(&j->lock);
	return 0;
}

/* Bytes into the current segment, not yet flushed. */
static void segment_put(struct journal *j, const void *bytes, uint64_t len)
{
	struct segment *s = j->current;

	assert(j->at % 8 == 0 && len <= run_bytes(s->run) - j->at);
	if (j->msync)
		memcpy(s->shadow + j->at, bytes, len);
	else
		pool_store(j->pool, run_offset(s->run) + j->at, bytes, len);
	j->at += len;
	s->filled = j->at;
}

void segment_begin(struct journal *j, uint64_t first_seq)
{
	struct segment *s = STAILQ_FIRST(&j->spares), *next;
	struct m_segment m;

	lock_assert_held(RANK_JOURNAL);
	assert(j->spare_count >= 2);
	STAILQ_REMOVE_HEAD(&j->spares, entry);
	j->spare_count--;
	next = STAILQ_FIRST(&j->spares);
	s->first_seq = first_seq;
	segment_encode(&(struct segment_head){.block = s->run.start,
					      .generation = j->generation,
					      .salt = j->salt,
					      .first_seq = first_seq,
					      .next_start = next->run.start,
					      .blocks = (uint32_t)s->run.blocks,
					      .next_blocks = (uint32_t)next->run.blocks},
		       &m);
	STAILQ_INSERT_TAIL(&j->live, s, entry);
	j->current = s;
	j->at = 0;
	segment_put(j, &m, sizeof(m));
	if (!j->msync) {
		pool_flush(j->pool, run_offset(s->run), sizeof(m));
		pool_fence(j->pool);
	}
}

void segment_switch(struct journal *j)
{
	struct segment *old = j->current;
	uint64_t at = j->at;
	struct m_link m;
	struct segment *to = STAILQ_FIRST(&j->spares);
	struct record_head h = {
	    .seq = j->seq + 1, .generation = j->generation, .salt = j->salt, .durable_seq = j->durable_seq};

	assert(run_bytes(old->run) - at >= sizeof(m));
	link_encode(&h,
		    &(struct link_to){.start = to->run.start,
				      .generation = j->generation,
				      .salt = j->salt,
				      .blocks = (uint32_t)to->run.blocks},
		    &m);
	/* The header first (5.1), so the link is put into the old segment by hand. */
	segment_begin(j, h.seq + 1);
	if (j->msync) {
		memcpy(old->shadow + at, &m, sizeof(m));
	} else {
		pool_store(j->pool, run_offset(old->run) + at, &m, sizeof(m));
		pool_flush(j->pool, run_offset(old->run) + at, sizeof(m));
	}
	old->filled = at + sizeof(m);
	j->seq = h.seq;
	j->log_bytes += sizeof(m) + sizeof(struct m_segment);
	j->unsynced_bytes += sizeof(m) + sizeof(struct m_segment);
}

/* --- records --------------------------------------------------------------------------------------------------------
 */

/* What fits behind `at`, with room for the link kept; header of the record included. */
static uint64_t room_behind(const struct segment *s, uint64_t at)
{
	uint64_t used = at + sizeof(struct m_link);

	return run_bytes(s->run) > used ? run_bytes(s->run) - used : 0;
}

/* The next record's number is taken. */
static struct record_head record_next(struct journal *j, uint64_t len, uint32_t items, uint32_t flags)
{
	j->unchanged = false;
	j->records++;
	j->log_bytes += len;
	j->unsynced_bytes += len;
	return (struct record_head){
	    .seq = ++j->seq,
	    .generation = j->generation,
	    .salt = j->salt,
	    .durable_seq = j->durable_seq,
	    .length = (uint32_t)len,
	    .flags = flags,
	    .items = items,
	};
}

/* Stores one record, whose items lie at buf + 48 .. buf + len. */
static void record_put(struct journal *j, uint8_t *buf, uint64_t len, uint32_t items, uint32_t flags)
{
	struct record_head h = record_next(j, len, items, flags);
	uint64_t at = j->at;

	record_seal(&h, buf);
	segment_put(j, buf, len);
	if (!j->msync)
		pool_flush(j->pool, run_offset(j->current->run) + at, len);
}

/* How many bytes of items from `from` on fit in `room` with a header; *items counts them. */
static uint32_t items_that_fit(const struct jtxn *t, uint32_t from, uint64_t room, uint32_t *items)
{
	uint32_t at = from;

	*items = 0;
	while (at < t->len) {
		struct m_item m;

		memcpy(&m, t->buf + at, sizeof(m));
		if (at + le16_to(m.it_length) - from + sizeof(struct m_record) > room)
			break;
		at += le16_to(m.it_length);
		(*items)++;
	}
	return at - from;
}

/*
 * Whether the spares suffice for t in parts: 0, -EAGAIN (one more spare is needed), -ENOSPC (an item is larger than a
 * segment, which happens only when free space is in single blocks). The same walk as parts_put.
 */
static int parts_plan(const struct journal *j, const struct jtxn *t)
{
	const struct segment *s = j->current, *next = STAILQ_FIRST(&j->spares);
	uint64_t at = j->at;
	uint32_t from = sizeof(struct m_record);

	while (from < t->len) {
		uint32_t items;
		uint32_t bytes = items_that_fit(t, from, room_behind(s, at), &items);

		from += bytes;
		if (from == t->len)
			break;
		if (bytes == 0 && at == sizeof(struct m_segment))
			return -ENOSPC;
		/* To switch to `next`, another one must be there to be announced. */
		if (next == NULL || STAILQ_NEXT(next, entry) == NULL)
			return -EAGAIN;
		s = next;
		next = STAILQ_NEXT(next, entry);
		at = sizeof(struct m_segment);
	}
	return 0;
}

static void parts_put(struct journal *j, struct jtxn *t)
{
	uint32_t from = sizeof(struct m_record);
	bool first = true;

	while (from < t->len) {
		uint32_t items, flags = first ? 0 : RECORD_CONTINUED;
		uint32_t bytes = items_that_fit(t, from, room_behind(j->current, j->at), &items);

		if (bytes > 0) {
			if (from + bytes < t->len)
				flags |= RECORD_MORE;
			/* The header goes over items that are in the log already, or over the room kept for it. */
			record_put(j, t->buf + from - sizeof(struct m_record), bytes + sizeof(struct m_record), items,
				   flags);
			from += bytes;
			first = false;
		}
		if (from < t->len)
			segment_switch(j);
	}
}

/* Places t: 0, -EAGAIN: needs a spare segment more, -ENOSPC. */
static int txn_place(struct journal *j, struct jtxn *t)
{
	const struct segment *next;
	int err;

	if (likely(t->len <= room_behind(j->current, j->at))) {
		record_put(j, t->buf, t->len, t->items, 0);
		return 0;
	}
	if (j->spare_count < 2)
		return -EAGAIN;
	next = STAILQ_FIRST(&j->spares);
	if (t->len <= room_behind(next, sizeof(struct m_segment))) {
		segment_switch(j);
		record_put(j, t->buf, t->len, t->items, 0);
		return 0;
	}
	err = parts_plan(j, t);
	if (err == 0)
		parts_put(j, t);
	return err;
}

uint64_t checkpoint_threshold(const struct journal *j)
{
	uint64_t most = (j->super.blocks << LH_BLOCK_SHIFT) / LOG_POOL_SHARE;

	return min_u64(most, max_u64(LOG_WANTS_CHECKPOINT, j->head.bytes));
}

void journal_want_work(struct journal *j)
{
	lock_assert_held(RANK_JOURNAL);
	if (j->work_wanted)
		return;
	j->work_wanted = true;
	cond_wake_all(&j->work);
}

/* --- records in flight
 * ------------------------------------------------------------------------------------------------
 */

/* Under JOURNAL, with a free place in the ring: everything up to j->seq is in the air now. */
static struct flight *flight_add(struct journal *j)
{
	struct flight *f = &j->flight[(j->flight_first + j->flight_count) % FLIGHT_MAX];

	assert(j->flight_count < FLIGHT_MAX);
	*f = (struct flight){.seq = j->seq};
	j->flight_count++;
	return f;
}

static void flight_land(struct journal *j, struct flight *f)
{
	f->landed = true;
	if (f != &j->flight[j->flight_first])
		return;
	while (j->flight_count > 0 && j->flight[j->flight_first].landed) {
		j->durable_seq = j->flight[j->flight_first].seq;
		j->flight_first = (j->flight_first + 1) % FLIGHT_MAX;
		j->flight_count--;
	}
	cond_wake_all(&j->flew);
}

void flight_wait(struct journal *j, uint64_t seq)
{
	while (unlikely(j->flight_count > 0 && j->flight[j->flight_first].seq <= seq && j->error == 0))
		cond_wait(&j->flew, &j->lock);
}

/* After its own part was stored and fenced: a fault of the memory breaks the journal, for all that come behind it too.
 */
static int flight_end(struct journal *j, struct flight *f, uint64_t seq)
{
	int err = pool_fault(j->pool);

	if (unlikely(err != 0)) {
		journal_broken(j, err);
		cond_wake_all(&j->flew);
		return err;
	}
	flight_land(j, f);
	flight_wait(j, seq);
	return likely(j->durable_seq >= seq) ? 0 : journal_state(j);
}

/* A record that fits, not POOL_MSYNC: JOURNAL is dropped while it is stored. */
static int record_fly(struct journal *j, struct jtxn *t, uint64_t *seq)
{
	uint64_t off = run_offset(j->current->run) + j->at;
	struct record_head h = record_next(j, t->len, t->items, 0);
	struct flight *f = flight_add(j);

	j->at += t->len;
	j->current->filled = j->at;
	*seq = h.seq;
	lock_drop(&j->lock);
	record_seal(&h, t->buf);
	pool_store(j->pool, off, t->buf, t->len);
	pool_flush(j->pool, off, t->len);
	pool_fence(j->pool);
	lock_take(&j->lock);
	return flight_end(j, f, h.seq);
}

/* After a record was placed under JOURNAL: durable (but for POOL_MSYNC). */
static int record_settle(struct journal *j)
{
	uint64_t seq = j->seq;

	if (j->msync) {
		if (j->unsynced_bytes >= UNSYNCED_MAX)
			cond_wake_all(&j->tick);
		return 0;
	}
	pool_fence(j->pool);
	return flight_end(j, flight_add(j), seq);
}

/* Somebody is told when there is work. */
static void txn_note(struct journal *j, const struct jtxn *t)
{
	if (t->max_ino >= j->next_ino)
		j->next_ino = t->max_ino + 1;
	if (unlikely(j->log_bytes >= checkpoint_threshold(j)))
		journal_want_work(j);
}

/* Under JOURNAL. A record that got no space after all leaves its spares to others: all but two are taken out here. */
static void spares_detach(struct journal *j, struct segment_queue *out)
{
	struct segment *keep = STAILQ_FIRST(&j->spares);

	STAILQ_INIT(out);
	if (j->spare_count <= 2)
		return;
	keep = STAILQ_NEXT(keep, entry);
	while (STAILQ_NEXT(keep, entry) != NULL) {
		struct segment *s = STAILQ_NEXT(keep, entry);

		STAILQ_REMOVE_AFTER(&j->spares, keep, entry);
		STAILQ_INSERT_TAIL(out, s, entry);
		j->spare_count--;
	}
}

void segments_release(struct journal *j, struct segment_queue *q)
{
	lock_assert_not_held(RANK_JOURNAL);
	while (!STAILQ_EMPTY(q)) {
		struct segment *s = STAILQ_FIRST(q);

		STAILQ_REMOVE_HEAD(q, entry);
		alloc_release_meta(j->alloc, s->run);
		segment_free(s);
	}
}

/* Under JOURNAL, which may be dropped meanwhile. -EAGAIN: needs a spare segment more. */
static int txn_append(struct journal *j, struct jtxn *t, uint64_t *seq)
{
	int err = journal_state(j);

	while (err == 0 && unlikely(j->flight_count == FLIGHT_MAX)) {
		flight_wait(j, j->flight[j->flight_first].seq);
		err = journal_state(j);
	}
	if (err != 0)
		return err;
	if (likely(!j->msync && t->len <= room_behind(j->current, j->at))) {
		txn_note(j, t);
		return record_fly(j, t, seq);
	}
	err = txn_place(j, t);
	if (err != 0)
		return err;
	*seq = j->seq;
	txn_note(j, t);
	return record_settle(j);
}

int jtxn_commit(struct journal *j, struct jtxn *t, uint64_t *seq)
{
	struct segment_queue unused = STAILQ_HEAD_INITIALIZER(unused);
	int err;

	if (t->error != 0)
		return t->error;
	assert(t->items > 0);
	lock_take(&j->lock);
	for (;;) {
		err = txn_append(j, t, seq);
		if (likely(err != -EAGAIN))
			break;
		lock_drop(&j->lock);
		err = segment_refill(j, t->frees ? ALLOC_FREES : ALLOC_PLAIN);
		lock_take(&j->lock);
		if (err != 0)
			break;
	}
	if (unlikely(err == -ENOSPC)) {
		journal_want_work(j);
		spares_detach(j, &unused);
		fail(err, "pool %s: no space left for the log", j->pool->name);
	}
	lock_drop(&j->lock);
	if (unlikely(err == -ENOSPC))
		segments_release(j, &unused);
	return err;
}
