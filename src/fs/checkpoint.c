/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fuzzy checkpoint: chunks of items written beside the running log, then a header, then one publish (I7).
 *
 *   1. a new segment begins; its first record is log_seq
 *   2. walk: each inode's state as of some moment after 1 goes into chunks
 *   3. must_seq = the newest record; everything up to it and all chunks are made durable
 *   4. header, durable; root word published
 *   5. the old header, its chunks, and the segments before log_seq become free
 *
 * Crash before 4: the old checkpoint and the whole log are there; the new blocks are free again, as nothing names them.
 * Crash after 4: the new one, and the log from log_seq on; replaying a record that step 2 has seen sets what is set.
 *
 * A chunk's header announces the next chunk, so the next run is taken before a chunk is sealed.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "fs/journal_impl.h"

struct checkpoint {
	struct journal *j;
	uint8_t *buf; /* the chunk under construction: header, then items */
	struct chunk_head chunk;
	uint64_t number;
	struct run *runs; /* taken so far; the last is the chunk under construction */
	uint64_t run_count, run_room;
	uint64_t bytes, items;
	int error;
};

/*
 * A run for an item of so many bytes, and more. Where free space is in pieces, items that fit in any block leave the
 * long runs to those that do not.
 */
static int run_take(struct checkpoint *cp, uint32_t item)
{
	bool any_block = sizeof(struct m_chunk) + item <= LH_BLOCK_SIZE;
	struct run r;
	int err;

	if (cp->run_count == cp->run_room) {
		uint64_t room = cp->run_room == 0 ? 16 : cp->run_room * 2;
		struct run *bigger = reallocarray(cp->runs, room, sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		cp->runs = bigger;
		cp->run_room = room;
	}
	err = alloc_take_meta(cp->j->alloc, cp->j->segment_blocks,
			      any_block ? ALLOC_CHECKPOINT_SMALL : ALLOC_CHECKPOINT, &r);
	if (err != 0)
		return err;
	/* It is the longest there is. */
	if (run_bytes(r) < sizeof(struct m_chunk) + item) {
		alloc_release_meta(cp->j->alloc, r);
		return -ENOSPC;
	}
	cp->runs[cp->run_count++] = r;
	return 0;
}

/* Seals the chunk under construction and stores it; its items go on in the run after it, if there is one. */
static void chunk_store(struct checkpoint *cp, const struct run *next)
{
	uint64_t off = run_offset((struct run){cp->chunk.block, cp->chunk.blocks});
	uint64_t len = sizeof(struct m_chunk) + cp->chunk.bytes;

	cp->chunk.next_start = next != NULL ? next->start : 0;
	cp->chunk.next_blocks = next != NULL ? (uint32_t)next->blocks : 0;
	chunk_seal(&cp->chunk, cp->buf);
	pool_store(cp->j->pool, off, cp->buf, len);
	pool_flush(cp->j->pool, off, len);
	cp->bytes += cp->chunk.bytes;
	cp->items += cp->chunk.items;
}

static void chunk_begin(struct checkpoint *cp, uint32_t index)
{
	const struct run *r = &cp->runs[cp->run_count - 1];

	cp->chunk =
	    (struct chunk_head){.block = r->start, .blocks = (uint32_t)r->blocks, .number = cp->number, .index = index};
}

/* A run for more items; the chunk so far, if any, is stored. */
static int chunk_next(struct checkpoint *cp, uint32_t item)
{
	int err = run_take(cp, item);

	if (err != 0)
		return err;
	if (cp->run_count == 1) {
		chunk_begin(cp, 0);
		return 0;
	}
	chunk_store(cp, &cp->runs[cp->run_count - 1]);
	chunk_begin(cp, cp->chunk.index + 1);
	return 0;
}

static uint64_t chunk_room(const struct checkpoint *cp)
{
	if (cp->run_count == 0)
		return 0;
	return run_bytes(cp->runs[cp->run_count - 1]) - sizeof(struct m_chunk) - cp->chunk.bytes;
}

static int item_add(struct checkpoint *cp, const uint8_t *bytes, uint32_t len)
{
	if (len > chunk_room(cp)) {
		int err = chunk_next(cp, len);

		if (err != 0)
			return err;
	}
	memcpy(cp->buf + sizeof(struct m_chunk) + cp->chunk.bytes, bytes, len);
	cp->chunk.bytes += len;
	cp->chunk.items++;
	return 0;
}

int checkpoint_add(struct checkpoint *cp, struct jtxn *t)
{
	uint32_t at = sizeof(struct m_record);

	if (cp->error == 0)
		cp->error = t->error;
	while (cp->error == 0 && at < t->len) {
		struct m_item m;

		memcpy(&m, t->buf + at, sizeof(m));
		cp->error = item_add(cp, t->buf + at, le16_to(m.it_length));
		at += le16_to(m.it_length);
	}
	t->len = sizeof(struct m_record);
	t->items = 0;
	t->error = 0;
	return cp->error;
}

/* The last chunk. The first one's length is named only by the header, so it can be cut to size. */
static void chunks_finish(struct checkpoint *cp)
{
	struct run *r;
	uint64_t used;

	if (cp->run_count == 0)
		return;
	r = &cp->runs[cp->run_count - 1];
	used = (sizeof(struct m_chunk) + cp->chunk.bytes + LH_BLOCK_SIZE - 1) >> LH_BLOCK_SHIFT;
	if (cp->run_count == 1 && used < r->blocks) {
		alloc_release_meta(cp->j->alloc, (struct run){r->start + used, r->blocks - used});
		r->blocks = used;
		cp->chunk.blocks = (uint32_t)used;
	}
	chunk_store(cp, NULL);
}

static int chunks_sync(const struct checkpoint *cp)
{
	int err = 0;

	for (uint64_t i = 0; err == 0 && cp->j->msync && i < cp->run_count; i++)
		err = pool_sync(cp->j->pool, run_offset(cp->runs[i]), run_bytes(cp->runs[i]));
	pool_fence(cp->j->pool);
	return err != 0 ? err : pool_fault(cp->j->pool);
}

int head_publish(struct journal *j, const struct checkpoint_head *h)
{
	uint8_t block[LH_BLOCK_SIZE] = {0};
	uint64_t off = h->block << LH_BLOCK_SHIFT;
	struct m_checkpoint m;
	int err;

	checkpoint_encode(h, &m);
	memcpy(block, &m, sizeof(m));
	pool_store(j->pool, off, block, sizeof(block));
	err = pool_sync(j->pool, off, sizeof(block));
	if (err != 0)
		return err;
	/* I7: everything the header names is durable. */
	return pool_publish(j->pool, FORMAT_ROOT_OFFSET, root_encode(j->super.uuid, h->block));
}

/* Step 1. */
static int log_restart(struct journal *j, struct checkpoint_head *h)
{
	int err = 0;

	for (;;) {
		lock_take(&j->lock);
		while (j->holds > 0)
			cond_wait(&j->work, &j->lock);
		err = journal_state(j);
		if (err != 0 || j->spare_count >= 2)
			break;
		lock_drop(&j->lock);
		err = segment_refill(j, ALLOC_CHECKPOINT);
		if (err != 0)
			return err;
	}
	if (err == 0 && j->at > sizeof(struct m_segment)) {
		segment_switch(j);
		/* Whoever commits next fences only what he flushed himself. */
		pool_fence(j->pool);
		err = pool_fault(j->pool);
	}
	if (err == 0) {
		j->restart_records = j->records;
		h->log_block = j->current->run.start;
		h->log_blocks = (uint32_t)j->current->run.blocks;
		h->log_seq = j->current->first_seq;
		h->log_generation = j->generation;
		h->log_salt = j->salt;
		assert(h->log_seq == j->seq + 1);
	}
	lock_drop(&j->lock);
	return err;
}

/* Step 3. */
static int content_settle(struct journal *j, const struct checkpoint *cp, bool clean, struct checkpoint_head *h)
{
	int err;

	lock_take(&j->lock);
	h->must_seq = j->seq;
	h->next_ino = j->next_ino;
	lock_drop(&j->lock);
	if (clean) {
		h->flags = CHECKPOINT_CLEAN;
		h->log_block = 0;
		h->log_blocks = 0;
		h->log_seq = h->must_seq + 1;
		h->log_generation = j->generation;
		h->log_salt = j->salt;
	}
	err = journal_sync(j);
	return err != 0 ? err : chunks_sync(cp);
}

/* Step 5, under JOURNAL: what is no longer needed goes to *gone. */
static void log_cut(struct journal *j, const struct checkpoint_head *h, bool clean, struct segment_queue *gone)
{
	STAILQ_INIT(gone);
	while (!STAILQ_EMPTY(&j->live)) {
		struct segment *s = STAILQ_FIRST(&j->live);

		if (!clean && s->run.start == h->log_block)
			break;
		assert(clean || s != j->current);
		STAILQ_REMOVE_HEAD(&j->live, entry);
		STAILQ_INSERT_TAIL(gone, s, entry);
	}
	if (clean) {
		STAILQ_CONCAT(gone, &j->spares);
		j->spare_count = 0;
		j->current = NULL;
		j->closed = true;
	}
}

/* Step 4 and 5. On an error of the medium both checkpoints must stay: which one is the root is not known. */
static int checkpoint_switch(struct journal *j, struct checkpoint *cp, struct checkpoint_head *h, bool clean)
{
	struct segment_queue gone;
	struct run old_head = {j->head.block, 1}, *old_chunks = j->chunks;
	uint64_t old_count = j->chunk_count;
	const struct segment *s;
	int err = head_publish(j, h);

	if (err != 0) {
		lock_take(&j->lock);
		journal_broken(j, err);
		lock_drop(&j->lock);
		return err;
	}
	lock_take(&j->lock);
	log_cut(j, h, clean, &gone);
	j->log_bytes = 0;
	STAILQ_FOREACH (s, &j->live, entry)
		j->log_bytes += s->filled;
	j->head = *h;
	j->chunks = cp->runs;
	j->chunk_count = cp->run_count;
	j->checkpoints++;
	j->unchanged = !clean && j->records == j->restart_records;
	lock_drop(&j->lock);
	cp->runs = NULL;
	cp->run_count = 0;
	segments_release(j, &gone);
	alloc_release_meta(j->alloc, old_head);
	for (uint64_t i = 0; i < old_count; i++)
		alloc_release_meta(j->alloc, old_chunks[i]);
	free(old_chunks);
	return 0;
}

/* Nothing changed: the chunks are as good as new ones, and only the header says that the log is not needed. */
static int checkpoint_confirm(struct journal *j, struct checkpoint_head *h)
{
	*h = j->head;
	h->number++;
	lock_take(&j->lock);
	flight_wait(j, j->seq);
	h->must_seq = j->seq;
	h->next_ino = j->next_ino;
	h->log_generation = j->generation;
	h->log_salt = j->salt;
	lock_drop(&j->lock);
	h->flags = CHECKPOINT_CLEAN;
	h->log_block = 0;
	h->log_blocks = 0;
	h->log_seq = h->must_seq + 1;
	return journal_sync(j);
}

/* checkpoint_confirm's header takes the place of the old one; the chunks stay. */
static int confirm_write(struct journal *j)
{
	struct checkpoint cp = {.j = j};
	struct checkpoint_head h;
	struct run block;
	int err = alloc_take_reserved(j->alloc, 1, 0, &block);

	if (err != 0)
		return err;
	err = checkpoint_confirm(j, &h);
	h.block = block.start;
	if (err == 0) {
		/* They would be given back with the old header. */
		lock_take(&j->lock);
		cp.runs = j->chunks;
		cp.run_count = j->chunk_count;
		j->chunks = NULL;
		j->chunk_count = 0;
		lock_drop(&j->lock);
		err = checkpoint_switch(j, &cp, &h, true);
		free(cp.runs);
	} else {
		alloc_release_meta(j->alloc, block);
	}
	return err;
}

bool journal_unchanged(struct journal *j)
{
	bool unchanged;

	lock_take(&j->lock);
	unchanged = j->unchanged && !j->checkpointing;
	lock_drop(&j->lock);
	return unchanged;
}

static int checkpoint_write(struct journal *j, checkpoint_walk walk, void *ctx, bool clean)
{
	struct checkpoint cp = {.j = j, .number = j->head.number + 1};
	struct checkpoint_head h = {.number = cp.number, .chunk_number = cp.number};
	struct run block = {0, 0};
	bool medium_failed;
	int err;

	memcpy(h.uuid, j->super.uuid, sizeof(h.uuid));
	cp.buf = malloc((uint64_t)j->segment_blocks << LH_BLOCK_SHIFT);
	if (cp.buf == NULL)
		return -ENOMEM;
	err = clean ? 0 : log_restart(j, &h);
	if (err == 0)
		err = walk(ctx, &cp);
	if (err == 0)
		err = cp.error;
	if (err == 0)
		err = alloc_take_reserved(j->alloc, 1, 0, &block);
	if (err == 0) {
		chunks_finish(&cp);
		err = content_settle(j, &cp, clean, &h);
	}
	if (err == 0) {
		h.block = block.start;
		h.chunk_start = cp.run_count > 0 ? cp.runs[0].start : 0;
		h.chunk_blocks = cp.run_count > 0 ? (uint32_t)cp.runs[0].blocks : 0;
		h.chunks = (uint32_t)cp.run_count;
		h.bytes = cp.bytes;
		h.items = cp.items;
		err = checkpoint_switch(j, &cp, &h, clean);
	}
	lock_take(&j->lock);
	/* A header of log_restart, or a chunk: another try could go to the same place. */
	if (err == -EIO)
		journal_broken(j, err);
	medium_failed = j->error != 0;
	lock_drop(&j->lock);
	/* After an error of the medium nothing is given back: the new root may have become durable. */
	if (err != 0 && !medium_failed) {
		for (uint64_t i = 0; i < cp.run_count; i++)
			alloc_release_meta(j->alloc, cp.runs[i]);
		if (block.blocks != 0)
			alloc_release_meta(j->alloc, block);
	}
	free(cp.runs);
	free(cp.buf);
	return err;
}

int journal_checkpoint(struct journal *j, checkpoint_walk walk, void *ctx, bool clean)
{
	int err;

	lock_take(&j->lock);
	while (j->checkpointing)
		cond_wait(&j->work, &j->lock);
	err = journal_state(j);
	if (err != 0) {
		lock_drop(&j->lock);
		return err;
	}
	j->checkpointing = true;
	j->work_wanted = false;
	lock_drop(&j->lock);
	assert(walk != NULL || (clean && j->unchanged));
	err = walk != NULL ? checkpoint_write(j, walk, ctx, clean) : confirm_write(j);
	lock_take(&j->lock);
	j->checkpointing = false;
	j->checkpoint_attempts++;
	j->backoff_until_ns = err != 0 ? clock_now_ns() + CHECKPOINT_BACKOFF_NS : 0;
	cond_wake_all(&j->work);
	lock_drop(&j->lock);
	if (err != 0)
		log_warn("journal", "pool %s: checkpoint failed (%s); the log goes on", j->pool->name, strerror(-err));
	return err;
}

void journal_hold(struct journal *j)
{
	lock_take(&j->lock);
	j->holds++;
	lock_drop(&j->lock);
}

void journal_unhold(struct journal *j)
{
	lock_take(&j->lock);
	assert(j->holds > 0);
	if (--j->holds == 0)
		cond_wake_all(&j->work);
	lock_drop(&j->lock);
}

/* --- when -----------------------------------------------------------------------------------------------------------
 */

bool journal_wait_work(struct journal *j)
{
	bool go;

	lock_take(&j->lock);
	j->has_worker = true;
	while (!j->stopping) {
		uint64_t now = clock_now_ns();

		if (!j->work_wanted)
			cond_wait(&j->work, &j->lock);
		else if (now < j->backoff_until_ns)
			cond_wait_until(&j->work, &j->lock, j->backoff_until_ns);
		else
			break;
	}
	go = !j->stopping;
	/* While it works it still counts: journal_make_room waits for it. */
	j->has_worker = go;
	lock_drop(&j->lock);
	return go;
}

void journal_wake(struct journal *j)
{
	lock_take(&j->lock);
	j->work_wanted = true;
	cond_wake_all(&j->work);
	lock_drop(&j->lock);
}

void journal_stop(struct journal *j)
{
	lock_take(&j->lock);
	j->stopping = true;
	cond_wake_all(&j->work);
	lock_drop(&j->lock);
}

int journal_make_room(struct journal *j)
{
	uint64_t attempts, checkpoints;
	int err;

	lock_assert_none();
	lock_take(&j->lock);
	/* One that runs already may have started before the space was gone: the next one counts. */
	attempts = j->checkpoint_attempts + (j->checkpointing ? 1 : 0);
	checkpoints = j->checkpoints;
	j->work_wanted = true;
	j->backoff_until_ns = 0;
	cond_wake_all(&j->work);
	while (j->has_worker && !j->stopping && j->error == 0 && j->checkpoint_attempts <= attempts)
		cond_wait(&j->work, &j->lock);
	err = j->error != 0 ? j->error : j->checkpoints > checkpoints ? 0 : -ENOSPC;
	lock_drop(&j->lock);
	return err == 0 ? 0 : fail(err, "pool %s: no space left, and a checkpoint could not make any", j->pool->name);
}

/* One checkpoint, slack for chunks that do not fill their runs, two segments for its log, and as many for deletes. */
void journal_size_hint(struct journal *j, uint64_t checkpoint_bytes)
{
	uint64_t blocks = (checkpoint_bytes >> LH_BLOCK_SHIFT) + 2;

	blocks += blocks / 16 + 4 * (uint64_t)j->segment_blocks;
	if (j->alloc == NULL)
		return;
	alloc_set_checkpoint_reserve(j->alloc, blocks);
	alloc_set_reserve(j->alloc, blocks + 3 * (uint64_t)j->segment_blocks);
}
