/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The journal's life: the start of a generation on a writable mount, its end, and what it tells about itself.
 *
 * Start, on a pool that was not unmounted (log ends before record 42 of generation 3):
 *   1. the log's segments are made durable        a killed process may have left records in caches only
 *   2. a fresh segment's header, generation 4     crash: nothing leads to it
 *   3. link 42 of generation 3 to it              crash: the next mount ends at 42 again, or goes through it
 *   4. a new checkpoint header, must_seq 42       from now on losing link 42 is damage and not a tail
 * On a clean pool there is no log to link from; the header of step 4 names the fresh segment.
 */
#include "fs/journal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"
#include "fs/journal_impl.h"

/* The old segments become ordinary live ones. */
static int old_segments_adopt(struct journal *j)
{
	for (uint64_t i = 0; i < j->old_segment_count; i++) {
		struct segment *s = calloc(1, sizeof(*s));

		if (s == NULL)
			return -ENOMEM;
		s->run = j->old_segments[i].run;
		s->first_seq = j->old_segments[i].first_seq;
		s->filled = s->synced = s->goal = run_bytes(s->run);
		STAILQ_INSERT_TAIL(&j->live, s, entry);
		j->current = s;
	}
	if (j->current != NULL)
		j->current->filled = j->current->synced = j->current->goal = j->old_end_offset;
	free(j->old_segments);
	j->old_segments = NULL;
	j->old_segment_count = 0;
	return 0;
}

static int old_segments_sync(struct journal *j)
{
	const struct segment *s;
	int err = 0;

	STAILQ_FOREACH (s, &j->live, entry) {
		if (err == 0)
			err = pool_sync(j->pool, run_offset(s->run), run_bytes(s->run));
	}
	return err;
}

/* The last segment's header is in the pool before anything leads to it. */
static int first_segment_sync(struct journal *j)
{
	struct segment *s = j->current;

	if (!j->msync)
		return 0;
	pool_store(j->pool, run_offset(s->run), s->shadow, sizeof(struct m_segment));
	s->synced = s->goal = sizeof(struct m_segment);
	return pool_sync(j->pool, run_offset(s->run), sizeof(struct m_segment));
}

/* Steps 2 and 3. Under JOURNAL for the assertions only: nobody else is there yet. */
static int generation_begin(struct journal *j, uint64_t salt)
{
	struct segment *old = j->current;
	struct record_head h = {.seq = j->seq + 1, .generation = j->generation, .salt = j->salt, .durable_seq = j->seq};
	uint64_t off = old != NULL ? run_offset(old->run) + j->old_end_offset : 0;
	struct m_link m;
	int err;

	j->generation++;
	j->salt = salt;
	segment_begin(j, old != NULL ? h.seq + 1 : h.seq);
	err = first_segment_sync(j);
	if (err != 0 || old == NULL)
		return err;
	link_encode(&h,
		    &(struct link_to){.start = j->current->run.start,
				      .generation = j->generation,
				      .salt = j->salt,
				      .blocks = (uint32_t)j->current->run.blocks},
		    &m);
	pool_store(j->pool, off, &m, sizeof(m));
	old->filled = old->synced = old->goal = j->old_end_offset + sizeof(m);
	j->seq = h.seq;
	j->durable_seq = h.seq;
	return pool_sync(j->pool, off, sizeof(m));
}

/* Step 4. */
static int generation_anchor(struct journal *j, struct run block)
{
	struct checkpoint_head h = j->head;
	struct run old = {j->head.block, 1};
	int err;

	h.number++;
	h.block = block.start;
	h.must_seq = j->seq;
	h.next_ino = j->next_ino;
	if (j->was_clean) {
		h.flags &= ~(uint64_t)CHECKPOINT_CLEAN;
		h.log_block = j->current->run.start;
		h.log_blocks = (uint32_t)j->current->run.blocks;
		h.log_seq = j->current->first_seq;
		h.log_generation = j->generation;
		h.log_salt = j->salt;
	}
	err = head_publish(j, &h);
	if (err != 0)
		return err;
	j->head = h;
	alloc_release_meta(j->alloc, old);
	return 0;
}

static int copy_restore(struct journal *j)
{
	uint8_t block[LH_BLOCK_SIZE];
	uint64_t off = (super_blocks_now(&j->super) - 1) << LH_BLOCK_SHIFT;

	if (!j->copy_bad)
		return 0;
	super_block_encode(&j->super, 1, block);
	pool_store(j->pool, off, block, sizeof(block));
	return pool_sync(j->pool, off, sizeof(block));
}

static int salt_make(uint64_t *salt, uint64_t not_this)
{
	do {
		if (getrandom(salt, sizeof(*salt), 0) != (ssize_t)sizeof(*salt))
			return fail(-EIO, "no random numbers for the log");
	} while (*salt == 0 || *salt == not_this);
	return 0;
}

static int start_writing(struct journal *j)
{
	struct run block;
	uint64_t salt;
	int err = salt_make(&salt, j->salt);

	if (err == 0)
		err = old_segments_adopt(j);
	if (err == 0)
		err = old_segments_sync(j);
	while (err == 0 && j->spare_count < 2)
		err = segment_refill(j, ALLOC_CHECKPOINT);
	if (err == 0)
		err = alloc_take_reserved(j->alloc, 1, 0, &block);
	if (err != 0)
		return err;
	lock_take(&j->lock);
	err = generation_begin(j, salt);
	lock_drop(&j->lock);
	if (err == 0)
		err = generation_anchor(j, block);
	return err != 0 ? err : copy_restore(j);
}

int journal_start(struct journal *j, struct alloc *alloc, bool read_only)
{
	int err;

	assert(!j->started);
	j->alloc = alloc;
	j->read_only = read_only || j->pool->read_only;
	if (j->cut && !j->read_only)
		return fail(-EBADMSG, "pool %s: its log is damaged: mount it read-only, or run leasehold fsck on it",
			    j->pool->name);
	journal_size_hint(j, j->head.bytes);
	if (!j->read_only && (j->super.ro_compat & ~FORMAT_RO_COMPAT_KNOWN) != 0)
		return fail(-EROFS, "pool %s: format 2.1i made by a newer leasehold: mount it read-only",
			    j->pool->name);
	if (!j->read_only) {
		err = start_writing(j);
		if (err == -ENOSPC)
			return fail(err, "pool %s: no space for a new log: mount it read-only", j->pool->name);
		if (err != 0)
			return err;
	}
	lock_take(&j->lock);
	j->started = true;
	lock_drop(&j->lock);
	return 0;
}

void journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	interval_stop(j);
	while (!STAILQ_EMPTY(&j->live)) {
		struct segment *s = STAILQ_FIRST(&j->live);

		STAILQ_REMOVE_HEAD(&j->live, entry);
		segment_free(s);
	}
	while (!STAILQ_EMPTY(&j->spares)) {
		struct segment *s = STAILQ_FIRST(&j->spares);

		STAILQ_REMOVE_HEAD(&j->spares, entry);
		segment_free(s);
	}
	free(j->old_segments);
	free(j->chunks);
	cond_destroy(&j->work);
	cond_destroy(&j->tick);
	cond_destroy(&j->synced);
	cond_destroy(&j->flew);
	lock_destroy(&j->lock);
	free(j);
}

uint64_t journal_next_ino(struct journal *j)
{
	uint64_t next;

	lock_take(&j->lock);
	next = j->next_ino;
	lock_drop(&j->lock);
	return next;
}

void journal_stats_read(struct journal *j, struct journal_stats *out)
{
	lock_take(&j->lock);
	out->records = j->records;
	out->log_bytes = j->log_bytes;
	out->checkpoints = j->checkpoints;
	out->generation = j->generation;
	out->seq = j->seq;
	out->was_clean = j->was_clean;
	lock_drop(&j->lock);
	memcpy(out->uuid, j->super.uuid, sizeof(out->uuid));
}
