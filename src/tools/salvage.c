/* SPDX-License-Identifier: BSD-2-Clause */
/* The walk over a damaged pool: root word, checkpoint header and chunks. */
#include "tools/salvage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tools/mend.h"

#define REFUSED "the pool cannot be mounted"
#define BIT     "one bit is wrong and can be put right; " REFUSED

#define COPIES_MAX   65536u /* mended structures; more than these stay as they are */
#define RESYNC_ITEMS 8u     /* good ones in a row, behind damage, before they are believed */

/* --- help ----------------------------------------------------------------------------------------------------------
 */

void salvage_damage(struct salvage *s, const char *rule, const char *consequence, const struct scan_at *at)
{
	char object[256], record[32] = "";

	if (at->seq != 0)
		snprintf(record, sizeof(record), "record %llu ", (unsigned long long)at->seq);
	snprintf(object, sizeof(object), "%sat block %llu offset %llu%s%s%s", record, (unsigned long long)at->block,
		 (unsigned long long)at->offset, s->about != NULL ? " (" : "", s->about != NULL ? s->about : "",
		 s->about != NULL ? ")" : "");
	s->about = NULL;
	if (s->damage != NULL)
		s->damage(s->ctx, rule, consequence, object);
}

void salvage_meta(struct salvage *s, uint64_t start, uint64_t blocks, const char *what)
{
	if (runs_add(&s->meta, (struct run){start, blocks}, what) != 0)
		s->error = -ENOMEM;
}

/* Frees it with the walk, or at once when there is no memory. */
static bool copy_keep(struct salvage *s, void *copy)
{
	if (s->copy_count == s->copy_room) {
		uint64_t room = s->copy_room == 0 ? 16 : s->copy_room * 2;
		void **bigger = reallocarray(s->copies, room, sizeof(*bigger));

		if (bigger == NULL) {
			free(copy);
			s->error = -ENOMEM;
			return false;
		}
		s->copies = bigger;
		s->copy_room = room;
	}
	s->copies[s->copy_count++] = copy;
	return true;
}

void *salvage_copy(struct salvage *s, const void *bytes, uint64_t len)
{
	void *copy = s->copy_count < COPIES_MAX ? malloc(len) : NULL;

	if (copy == NULL) {
		s->error = s->copy_count < COPIES_MAX ? -ENOMEM : s->error;
		return NULL;
	}
	memcpy(copy, bytes, len);
	return copy_keep(s, copy) ? copy : NULL;
}

/* Memory that cannot be read is full of zeroes, which no verifier accepts. The copies are a cache: s stays what it is.
 */
static const void *blocks_copy(const struct salvage *s, uint64_t block, uint64_t blocks)
{
	static uint8_t zeroes[(uint64_t)FORMAT_SEGMENT_BLOCKS_MAX * LH_BLOCK_SIZE]; /* without memory: all of it */
	uint8_t *copy = calloc(blocks, LH_BLOCK_SIZE);
	struct salvage *cache = (struct salvage *)s;

	if (copy == NULL || !copy_keep(cache, copy)) {
		cache->error = -ENOMEM;
		return zeroes;
	}
	for (uint64_t i = 0; i < blocks; i++) {
		uint64_t off = (block + i) << LH_BLOCK_SHIFT;

		if (pool_read(s->pool, off, copy + (i << LH_BLOCK_SHIFT), LH_BLOCK_SIZE) != 0)
			memset(copy + (i << LH_BLOCK_SHIFT), 0, LH_BLOCK_SIZE);
	}
	return copy;
}

const void *salvage_block(const struct salvage *s, uint64_t block, uint64_t blocks)
{
	uint64_t off = block << LH_BLOCK_SHIFT, len = blocks << LH_BLOCK_SHIFT;

	return pool_probe(s->pool, off, len) == 0 ? pool_at(s->pool, off, len) : blocks_copy(s, block, blocks);
}

uint64_t salvage_blocks(const struct salvage *s)
{
	return s->pool->size >> LH_BLOCK_SHIFT;
}

static void found_add(struct salvage *s, uint64_t block, enum salvage_kind kind)
{
	if (s->found_count == s->found_room) {
		uint64_t room = s->found_room == 0 ? 64 : s->found_room * 2;
		struct salvage_found *bigger = reallocarray(s->found, room, sizeof(*bigger));

		if (bigger == NULL) {
			s->error = -ENOMEM;
			return;
		}
		s->found = bigger;
		s->found_room = room;
	}
	s->found[s->found_count++] = (struct salvage_found){block, kind};
}

void salvage_scan(struct salvage *s)
{
	static const char magics[3][9] = {
	    [SALVAGE_HEAD] = "LHCHKPT1", [SALVAGE_CHUNK] = "LHCHUNK1", [SALVAGE_SEGMENT] = "LHLOGSEG"};
	uint64_t end = salvage_blocks(s) - 1;

	if (s->scanned)
		return;
	s->scanned = true;
	for (uint64_t block = 1; block < end; block++) {
		const void *bytes = salvage_block(s, block, 1);

		if (s->progress != NULL)
			s->progress(s->ctx, "looking at all blocks", block, end);
		for (unsigned k = 0; k < ARRAY_LEN(magics); k++) {
			if (memcmp(bytes, magics[k], 8) == 0)
				found_add(s, block, (enum salvage_kind)k);
		}
	}
}

/* --- root word and checkpoint header -------------------------------------------------------------------------------
 */

static bool head_read(struct salvage *s, uint64_t block, struct checkpoint_head *h)
{
	return checkpoint_decode(salvage_block(s, block, 1), block, &s->super, h) == NULL;
}

/* A word that differs in one bit and leads to a header. */
static bool root_mended(const struct salvage *s, le64 word, uint64_t *block)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		le64 other = le64_of(le64_to(word) ^ (uint64_t)1 << bit);
		struct checkpoint_head h;

		if (root_decode(other, s->super.uuid, s->super.blocks, block) == NULL && *block < salvage_blocks(s) &&
		    checkpoint_decode(salvage_block(s, *block, 1), *block, &s->super, &h) == NULL)
			return true;
	}
	return false;
}

/* The header that the root word leads to, mended when need be. Says what is wrong on the way. */
static bool head_led(struct salvage *s)
{
	struct scan_at at = {0, FORMAT_ROOT_OFFSET, 0};
	struct super rest = s->super;
	const char *rule;
	uint64_t block;
	void *copy;
	le64 word;

	memcpy(&word, (const uint8_t *)salvage_block(s, 0, 1) + FORMAT_ROOT_OFFSET, sizeof(word));
	rule = root_decode(word, s->super.uuid, s->super.blocks, &block);
	if (rule == NULL && block >= salvage_blocks(s))
		rule = "2.3b root word points outside the pool";
	if (rule != NULL) {
		bool bit = root_mended(s, word, &block);

		salvage_damage(s, rule, bit ? BIT : REFUSED "; the newest checkpoint is looked for", &at);
		if (!bit)
			return false;
	}
	at = (struct scan_at){block, 0, 0};
	salvage_meta(s, block, 1, "checkpoint header");
	rest.blocks = s->super.blocks;
	rule = checkpoint_decode(salvage_block(s, block, 1), block, &rest, &s->head);
	if (rule == NULL)
		return true;
	copy = salvage_copy(s, salvage_block(s, block, 1), LH_BLOCK_SIZE);
	if (copy != NULL && mend_checkpoint(copy, block, &s->super) &&
	    checkpoint_decode(copy, block, &s->super, &s->head) == NULL) {
		salvage_damage(s, rule, BIT, &at);
		return true;
	}
	/* 3.1i behind the header: its fields are as they were. */
	if (copy != NULL) {
		memset((uint8_t *)copy + sizeof(struct m_checkpoint), 0, LH_BLOCK_SIZE - sizeof(struct m_checkpoint));
		if (checkpoint_decode(copy, block, &s->super, &s->head) == NULL) {
			salvage_damage(s, rule, REFUSED, &at);
			return true;
		}
	}
	salvage_damage(s, rule, REFUSED "; another checkpoint header is looked for", &at);
	return false;
}

/* --- chunks --------------------------------------------------------------------------------------------------------
 */

static uint32_t length_at(const uint8_t *bytes, uint64_t room)
{
	struct m_item m;
	uint32_t len;

	if (room < sizeof(m))
		return 0;
	memcpy(&m, bytes, sizeof(m));
	len = le16_to(m.it_length);
	return len >= FORMAT_ITEM_MIN && len % 8 == 0 && len <= room ? len : 0;
}

static void item_pass(struct salvage *s, const struct item *it, const struct scan_at *at, const uint8_t *bytes)
{
	if (it->type == ITEM_INODE && it->ino > s->max_ino)
		s->max_ino = it->ino;
	if (s->ops->item != NULL && s->ops->item(s->ctx, it, at, bytes) != NULL)
		s->error = -ENOMEM;
}

void salvage_items(struct salvage *s, const uint8_t *bytes, uint64_t len, uint64_t items, struct scan_at at)
{
	uint64_t count = 0, done = 0;

	while (done < len && s->error == 0) {
		uint32_t length = 0;
		struct item it = {0};
		const char *rule = item_decode(bytes + done, len - done, s->super.blocks, &it, &length);

		if (rule == NULL && it.type == ITEM_INODE && at.seq == 0 && it.ino >= s->head.next_ino)
			salvage_damage(s, "6.9 inode number beyond the next one", REFUSED, &at);
		if (rule == NULL) {
			item_pass(s, &it, &at, bytes + done);
		} else {
			s->lost = true;
			length = length_at(bytes + done, len - done);
			salvage_damage(s, rule,
				       length != 0 ? "this item is lost; " REFUSED
						   : "this item and those behind it are lost; " REFUSED,
				       &at);
			if (length == 0)
				return;
		}
		done += length;
		at.offset += length;
		count++;
	}
	if (count != items && s->error == 0)
		salvage_damage(s, "4.1f number of items", REFUSED, &at);
}

/* From `from` on several items in a row are good, or all up to the end. */
static bool items_good(const struct salvage *s, const uint8_t *bytes, uint64_t from, uint64_t len)
{
	for (unsigned i = 0; from < len && i < RESYNC_ITEMS; i++) {
		uint32_t length = 0;
		struct item it;

		if (item_decode(bytes + from, len - from, s->super.blocks, &it, &length) != NULL)
			return false;
		from += length;
	}
	return true;
}

/*
 * Items of a chunk whose crc is wrong. Where one cannot be read, the one before it may be half overwritten and is left
 * out too; behind it the next place counts from which several items in a row can be read, or all up to the end.
 */
static void items_doubtful(struct salvage *s, const uint8_t *bytes, uint64_t len, struct scan_at at)
{
	uint64_t done = 0, from = at.offset;

	if (s->sound_only)
		return;
	if (s->doubt != NULL)
		s->doubt(s->ctx, true);
	while (done < len && s->error == 0) {
		uint32_t length = 0, next_length = 0;
		struct item it, next;

		at.offset = from + done;
		if (item_decode(bytes + done, len - done, s->super.blocks, &it, &length) != NULL) {
			do {
				done += 8;
			} while (done < len && !items_good(s, bytes, done, len));
			continue;
		}
		if (done + length == len || item_decode(bytes + done + length, len - done - length, s->super.blocks,
							&next, &next_length) == NULL)
			item_pass(s, &it, &at, bytes + done);
		done += length;
	}
	if (s->doubt != NULL)
		s->doubt(s->ctx, false);
}

static struct chunk_head chunk_fields(const void *bytes)
{
	struct m_chunk m;

	memcpy(&m, bytes, sizeof(m));
	return (struct chunk_head){.block = le64_to(m.ck_block),
				   .number = le64_to(m.ck_number),
				   .next_start = le64_to(m.ck_next_start),
				   .index = le32_to(m.ck_index),
				   .blocks = le32_to(m.ck_blocks),
				   .next_blocks = le32_to(m.ck_next_blocks),
				   .bytes = le32_to(m.ck_bytes),
				   .items = le32_to(m.ck_items)};
}

static bool run_inside(const struct salvage *s, uint64_t start, uint64_t blocks, uint64_t most)
{
	uint64_t end = salvage_blocks(s) < s->super.blocks ? salvage_blocks(s) : s->super.blocks - 1;

	return start >= 1 && blocks >= 1 && blocks <= most && start < end && blocks <= end - start;
}

/* A chunk of our checkpoint at a block that the scan found: its own header announces it. */
static bool chunk_found(const struct salvage *s, uint64_t block, struct chunk_head *h)
{
	struct chunk_head expect = chunk_fields(salvage_block(s, block, 1));

	if (expect.block != block || expect.number != s->head.chunk_number || expect.index >= s->head.chunks ||
	    !run_inside(s, block, expect.blocks, FORMAT_CHUNK_BLOCKS_MAX))
		return false;
	return chunk_decode(salvage_block(s, block, expect.blocks), &expect, expect.index + 1 == s->head.chunks,
			    s->super.blocks, h) == NULL;
}

/* How many chunks the chain from here has that are all good. */
static uint32_t chunk_chain(const struct salvage *s, struct chunk_head h)
{
	uint32_t length = 1;

	while (h.index + 1 < s->head.chunks && run_inside(s, h.next_start, h.next_blocks, FORMAT_CHUNK_BLOCKS_MAX)) {
		struct chunk_head expect = {
		    .block = h.next_start, .blocks = h.next_blocks, .number = h.number, .index = h.index + 1};

		if (chunk_decode(salvage_block(s, expect.block, expect.blocks), &expect,
				 expect.index + 1 == s->head.chunks, s->super.blocks, &h) != NULL)
			break;
		length++;
	}
	return length;
}

/*
 * The next chunk from `index` on that the scan finds. An earlier try at the same checkpoint may have left chunks with
 * the same number: of two the one with the longer chain behind it counts, of two alike none.
 */
static bool chunk_search(struct salvage *s, uint32_t index, struct chunk_head *out)
{
	uint32_t best;
	bool twice;

	salvage_scan(s);
	do {
		best = 0;
		twice = false;
		for (uint64_t i = 0; i < s->found_count; i++) {
			struct chunk_head h;
			uint32_t length;

			if (s->found[i].kind != SALVAGE_CHUNK || !chunk_found(s, s->found[i].block, &h) ||
			    h.index < index || (best != 0 && h.index > out->index))
				continue;
			length = chunk_chain(s, h);
			if (best == 0 || h.index < out->index || length > best) {
				best = length;
				*out = h;
				twice = false;
			} else if (length == best) {
				twice = true;
			}
		}
		index = twice ? out->index + 1 : index;
	} while (twice);
	return best != 0;
}

/* One chunk whose place is known. *next: where it says that the next one lies; blocks 0: it cannot say. */
static void chunk_read(struct salvage *s, const struct chunk_head *expect, struct chunk_head *next)
{
	const uint8_t *bytes = salvage_block(s, expect->block, expect->blocks);
	struct scan_at at = {expect->block, 0, 0};
	bool last = expect->index + 1 == s->head.chunks;
	const char *rule = chunk_decode(bytes, expect, last, s->super.blocks, next);
	uint64_t room = (uint64_t)expect->blocks * LH_BLOCK_SIZE - sizeof(struct m_chunk);
	uint8_t *copy;

	salvage_meta(s, expect->block, expect->blocks, "checkpoint chunk");
	s->chunks++;
	if (rule != NULL) {
		copy = salvage_copy(s, bytes, (uint64_t)expect->blocks * LH_BLOCK_SIZE);
		if (copy != NULL && mend_chunk(copy, expect, last, s->super.blocks) &&
		    chunk_decode(copy, expect, last, s->super.blocks, next) == NULL) {
			salvage_damage(s, rule, BIT, &at);
			bytes = copy;
			rule = NULL;
		}
	}
	at.offset = sizeof(struct m_chunk);
	if (rule == NULL) {
		if (s->ops->chunk != NULL)
			s->ops->chunk(s->ctx, next, bytes);
		salvage_items(s, bytes + at.offset, next->bytes, next->items, at);
		return;
	}
	at.offset = 0;
	salvage_damage(s, rule,
		       s->sound_only ? REFUSED "; the checkpoint before it and the log say what was in it"
				     : "files and names in it are lost, or may be wrong; " REFUSED,
		       &at);
	s->lost = true;
	*next = chunk_fields(bytes);
	at.offset = sizeof(struct m_chunk);
	/* Of another checkpoint or place: nothing of it is ours. */
	if (strncmp(rule, "3.2a", 4) == 0 || next->number != expect->number || next->index != expect->index ||
	    next->block != expect->block) {
		next->next_blocks = 0;
		return;
	}
	items_doubtful(s, bytes + at.offset, next->bytes < room ? next->bytes & ~7u : room, at);
	if (!run_inside(s, next->next_start, next->next_blocks, FORMAT_CHUNK_BLOCKS_MAX))
		next->next_blocks = 0;
}

static void chunks_lost(struct salvage *s, uint32_t first, uint32_t end)
{
	char object[64];

	s->lost = true;
	snprintf(object, sizeof(object), "chunks %u to %u of %u", first, end, s->head.chunks);
	if (first < end && s->damage != NULL)
		s->damage(s->ctx, "3.2e next chunk outside the pool",
			  s->sound_only ? REFUSED "; the checkpoint before it and the log say what was in them"
					: "files and names in them are lost; " REFUSED,
			  object);
}

static void chunks_read(struct salvage *s)
{
	struct chunk_head expect = {
	    .block = s->head.chunk_start, .blocks = s->head.chunk_blocks, .number = s->head.chunk_number};
	bool known = s->head.chunks > 0;
	uint64_t items = 0, bytes = 0;

	while (expect.index < s->head.chunks && s->error == 0) {
		struct chunk_head next;
		uint32_t index = expect.index;

		if (!known || !run_inside(s, expect.block, expect.blocks, FORMAT_CHUNK_BLOCKS_MAX)) {
			if (!chunk_search(s, index, &expect)) {
				chunks_lost(s, index, s->head.chunks);
				return;
			}
			if (expect.index > index + 1 || s->chunks == 0)
				chunks_lost(s, index, expect.index);
		}
		chunk_read(s, &expect, &next);
		items += next.items;
		bytes += next.bytes;
		known = next.next_blocks != 0;
		expect = (struct chunk_head){.block = next.next_start,
					     .blocks = next.next_blocks,
					     .number = s->head.chunk_number,
					     .index = expect.index + 1};
	}
	if (!s->lost && (items != s->head.items || bytes != s->head.bytes))
		salvage_damage(s, "3.2g sums over the chunks", REFUSED, &(struct scan_at){s->head.block, 0, 0});
}

/* --- when the root word leads nowhere
 * ----------------------------------------------------------------------------------
 */

/* Whether the chunks from c on are all there up to the last; fills the header that they would have. */
static bool chunk_set(const struct salvage *s, struct chunk_head c, struct checkpoint_head *h)
{
	bool last;

	h->number = h->chunk_number = c.number;
	h->chunk_start = c.block;
	h->chunk_blocks = c.blocks;
	do {
		struct chunk_head expect = c;

		if (!run_inside(s, c.block, c.blocks, FORMAT_CHUNK_BLOCKS_MAX))
			return false;
		last = chunk_fields(salvage_block(s, c.block, 1)).next_start == 0;
		expect.number = h->number;
		if (chunk_decode(salvage_block(s, c.block, c.blocks), &expect, last, s->super.blocks, &c) != NULL)
			return false;
		h->chunks++;
		h->bytes += c.bytes;
		h->items += c.items;
		c = (struct chunk_head){.block = c.next_start, .blocks = c.next_blocks, .index = c.index + 1};
	} while (!last);
	return true;
}

/*
 * A set of chunks, from the first to the last, newer than those of the best header that is left: its header was lost.
 * must_seq is not known: the log is replayed from as far back as it goes.
 */
static void head_guess(struct salvage *s)
{
	for (uint64_t i = 0; i < s->found_count; i++) {
		struct checkpoint_head h = {.next_ino = FORMAT_INO_MAX};
		struct chunk_head c;

		if (s->found[i].kind != SALVAGE_CHUNK)
			continue;
		c = chunk_fields(salvage_block(s, s->found[i].block, 1));
		if (c.index != 0 || c.number <= s->head.chunk_number || c.block != s->found[i].block ||
		    !chunk_set(s, c, &h))
			continue;
		s->head = h;
		s->head_guessed = true;
	}
}

/* must_seq only grows, and a header that was never published is complete: the highest is the best. */
static bool head_scanned(struct salvage *s)
{
	struct checkpoint_head best = {0};

	salvage_scan(s);
	for (uint64_t i = 0; i < s->found_count; i++) {
		struct checkpoint_head h;

		if (s->found[i].kind != SALVAGE_HEAD || !head_read(s, s->found[i].block, &h))
			continue;
		if (best.number == 0 || h.must_seq > best.must_seq ||
		    (h.must_seq == best.must_seq && h.number > best.number))
			best = h;
	}
	s->head = best;
	head_guess(s);
	if (s->head.number != 0 && !s->head_guessed)
		salvage_meta(s, s->head.block, 1, "checkpoint header");
	/* Something newer may have been there. */
	s->lost = true;
	return s->head.number != 0;
}

/* --- when a chunk cannot be read -----------------------------------------------------------------------------------
 */

static const struct scan_ops silent_ops = {0};

/* Whether chunks and (log) the log from this header on can be read, and reach as far as the newest header has to. */
static bool head_whole(const struct salvage *s, const struct checkpoint_head *h, bool log)
{
	struct salvage look = {.pool = s->pool,
			       .ops = &silent_ops,
			       .super = s->super,
			       .head = *h,
			       .have_head = true,
			       .head_led = true,
			       .next_seq = h->must_seq + 1};
	bool whole;

	chunks_read(&look);
	if (log && !look.lost)
		salvage_log(&look);
	whole = !look.lost && look.error == 0 && (!log || look.next_seq > s->head.must_seq);
	salvage_fini(&look);
	return whole;
}

/*
 * An older checkpoint whose blocks nobody has used since, and a log from there that is whole up to what the newest
 * one knows: together they say the same.
 */
static bool head_before(struct salvage *s, struct checkpoint_head *out)
{
	bool found = false;

	salvage_scan(s);
	for (uint64_t i = 0; i < s->found_count; i++) {
		struct checkpoint_head h;

		if (s->found[i].kind != SALVAGE_HEAD || !head_read(s, s->found[i].block, &h) ||
		    h.chunk_number >= s->head.chunk_number || (found && h.must_seq <= out->must_seq) ||
		    !head_whole(s, &h, true))
			continue;
		*out = h;
		found = true;
	}
	return found;
}

/*
 * The older checkpoint and the log; then the newest one's sound chunks over it if it is clean, because attributes that
 * the log never knew (times of reads, and of writes in place) are only there. Its damage is told all the same.
 */
static void read_before(struct salvage *s, const struct checkpoint_head *before)
{
	const struct checkpoint_head newest = s->head;
	const struct scan_ops *ops = s->ops;

	s->head = *before;
	chunks_read(s);
	salvage_log(s);
	s->head = newest;
	s->sound_only = true;
	if ((newest.flags & CHECKPOINT_CLEAN) == 0)
		s->ops = &silent_ops;
	chunks_read(s);
	s->ops = ops;
	s->lost = s->error != 0;
	if (newest.must_seq + 1 > s->next_seq)
		s->next_seq = newest.must_seq + 1;
}

/* --- all -----------------------------------------------------------------------------------------------------------
 */

static void head_take(struct salvage *s)
{
	if (s->ops->checkpoint != NULL && !s->head_guessed)
		s->ops->checkpoint(s->ctx, &s->head, salvage_block(s, s->head.block, 1));
	if (!s->head_guessed)
		s->max_ino = s->head.next_ino - 1;
	s->next_seq = s->head.must_seq + 1;
	s->generation = s->head.log_generation;
	s->salt = s->head.log_salt;
}

int salvage_pool(struct salvage *s)
{
	struct checkpoint_head before;
	int err;

	if (s->pool->size < 2 * LH_BLOCK_SIZE)
		return fail(-EUCLEAN, "pool %s: shorter than two blocks", s->pool->name);
	err = salvage_super(s);
	if (err != 0)
		return err;
	s->head_led = head_led(s);
	s->have_head = s->head_led || head_scanned(s);
	if (!s->have_head) {
		s->lost = true;
		salvage_log(s);
		return s->error;
	}
	head_take(s);
	if (s->head_led && !head_whole(s, &s->head, false) && head_before(s, &before)) {
		read_before(s, &before);
		return s->error;
	}
	chunks_read(s);
	if (s->error == 0)
		salvage_log(s);
	return s->error;
}

void salvage_fini(struct salvage *s)
{
	for (uint64_t i = 0; i < s->copy_count; i++)
		free(s->copies[i]);
	free(s->copies);
	free(s->found);
	runs_fini(&s->meta);
	s->copies = NULL;
	s->found = NULL;
	s->copy_count = 0;
}
