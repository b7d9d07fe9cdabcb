/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk over the medium: superblock, root word, checkpoint header, its chunks, then the log segment by segment.
 *
 * It ends in any pool: chunks must carry rising indices and segments rising sequence numbers, so that no chain can
 * loop.
 */
#include "fs/scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/grow.h"
#include "base/log.h"

/* Leaves the sentence for people: rule, place, what to do. */
static int damaged(struct scan *s, const char *rule, const struct scan_at *at, const char *about)
{
	int err = format_rule_is_version(rule) ? -EPROTONOSUPPORT : format_rule_is_crc(rule) ? -EBADMSG : -EUCLEAN;
	const char *advice = err == -EPROTONOSUPPORT ? "use a newer leasehold" : "run leasehold fsck on it";
	char where[160];

	if (at->seq != 0)
		snprintf(where, sizeof(where), "record %llu at block %llu offset %llu", (unsigned long long)at->seq,
			 (unsigned long long)at->block, (unsigned long long)at->offset);
	else
		snprintf(where, sizeof(where), "at block %llu offset %llu", (unsigned long long)at->block,
			 (unsigned long long)at->offset);
	s->rule = rule;
	snprintf(s->damage, sizeof(s->damage), "format %s (%s%s%s)", rule, about, about[0] != '\0' ? ", " : "", where);
	return fail(err, "pool %s: %s: %s", s->pool->name, s->damage, advice);
}

/* Before a structure is looked at in place: -EIO when its memory cannot be read. */
static int block_probe(const struct scan *s, uint64_t block, uint64_t blocks)
{
	return pool_probe(s->pool, block << LH_BLOCK_SHIFT, blocks << LH_BLOCK_SHIFT);
}

static const void *block_at(const struct scan *s, uint64_t block, uint64_t blocks)
{
	return pool_at(s->pool, block << LH_BLOCK_SHIFT, blocks << LH_BLOCK_SHIFT);
}

/* --- superblock, root word, checkpoint header ------------------------------------------------------------------------
 */

/* Block 0 is not a superblock: was it one? The copy is in the last block, unless the file got longer. */
static int super_missing(struct scan *s, const char *rule, uint64_t pool_blocks)
{
	const struct scan_at at = {0, 0, 0};
	struct super copy;

	if (block_probe(s, pool_blocks - 1, 1) == 0 &&
	    super_decode(block_at(s, pool_blocks - 1, 1), 1, pool_blocks, &copy) == NULL)
		return damaged(s, rule, &at, "but its copy in the last block is good");
	s->rule = rule;
	snprintf(s->damage, sizeof(s->damage), "format %s (at block 0 offset 0)", rule);
	return fail(-EMEDIUMTYPE,
		    "pool %s: not a leasehold pool (format %s): give the right path, or make one with mkfs",
		    s->pool->name, rule);
}

static void copy_check(struct scan *s)
{
	const void *bytes = block_at(s, s->super.blocks - 1, 1);
	struct super copy;
	const char *rule = "2.2a copy of the superblock cannot be read";

	if (block_probe(s, s->super.blocks - 1, 1) == 0)
		rule = super_decode(bytes, 1, s->super.blocks, &copy);
	if (rule == NULL && !super_is_copy(&copy, &s->super))
		rule = "2.2a copy of the superblock differs";
	s->copy_bad = rule != NULL;
	if (rule != NULL && s->ops->copy_damaged != NULL)
		s->ops->copy_damaged(s->ctx, rule);
	if (rule == NULL && s->ops->super != NULL)
		s->ops->super(s->ctx, &copy, 1, bytes);
}

static int super_read(struct scan *s)
{
	const struct scan_at at = {0, 0, 0};
	uint64_t pool_blocks = pool_size(s->pool) >> LH_BLOCK_SHIFT;
	const char *rule;
	int err;

	if (pool_blocks < 2)
		return fail(-EUCLEAN, "pool %s: shorter than two blocks", s->pool->name);
	err = block_probe(s, 0, 1);
	if (err != 0)
		return err;
	rule = super_decode(block_at(s, 0, 1), 0, pool_blocks, &s->super);
	if (rule != NULL && !super_magic(block_at(s, 0, 1)))
		return super_missing(s, rule, pool_blocks);
	if (rule != NULL)
		return damaged(s, rule, &at, "");
	s->have_super = true;
	if (s->ops->super != NULL)
		s->ops->super(s->ctx, &s->super, 0, block_at(s, 0, 1));
	copy_check(s);
	return 0;
}

static int head_read(struct scan *s)
{
	struct scan_at at = {0, FORMAT_ROOT_OFFSET, 0};
	const char *rule;
	uint64_t block;
	le64 word;
	int err;

	memcpy(&word, pool_at(s->pool, FORMAT_ROOT_OFFSET, sizeof(word)), sizeof(word));
	rule = root_decode(word, s->super.uuid, s->super.blocks, &block);
	if (rule != NULL)
		return damaged(s, rule, &at, "");
	at = (struct scan_at){block, 0, 0};
	err = block_probe(s, block, 1);
	if (err != 0)
		return err;
	rule = checkpoint_decode(block_at(s, block, 1), block, &s->super, &s->head);
	if (rule != NULL)
		return damaged(s, rule, &at, "");
	s->have_head = true;
	s->next_ino = s->head.next_ino;
	if (s->ops->checkpoint != NULL)
		s->ops->checkpoint(s->ctx, &s->head, block_at(s, block, 1));
	return 0;
}

/* --- items ----------------------------------------------------------------------------------------------------------
 */

static int item_visit(struct scan *s, const uint8_t *bytes, uint64_t room, struct scan_at *at, uint32_t *length)
{
	struct item it = {0};
	char about[64] = "";
	const char *rule = item_decode(bytes, room, s->super.blocks, &it, length);

	if (rule == NULL && it.type == ITEM_INODE && at->seq == 0 && it.ino >= s->head.next_ino)
		rule = "6.9 inode number beyond the next one";
	if (rule == NULL) {
		if (it.type == ITEM_INODE && it.ino >= s->next_ino)
			s->next_ino = it.ino + 1;
		if (s->ops->item == NULL)
			return 0;
		rule = s->ops->item(s->ctx, &it, at, bytes);
		if (rule == NULL)
			return 0;
	}
	/* What a verifier refused may still say what it was about. */
	if (room >= FORMAT_ITEM_MIN && it.type >= ITEM_INODE && it.type <= ITEM_CLAIM)
		item_about(&it, about, sizeof(about));
	return damaged(s, rule, at, about);
}

static int items_visit(struct scan *s, const uint8_t *bytes, uint64_t len, uint64_t items, struct scan_at at)
{
	uint64_t count = 0, done = 0;

	while (done < len) {
		uint32_t length = 0;
		int err = item_visit(s, bytes + done, len - done, &at, &length);

		if (err != 0)
			return err;
		done += length;
		at.offset += length;
		count++;
	}
	return count == items ? 0 : damaged(s, "4.1f number of items", &at, "");
}

/* --- checkpoint -----------------------------------------------------------------------------------------------------
 */

static int chunks_read(struct scan *s)
{
	struct chunk_head expect = {.block = s->head.chunk_start, .blocks = s->head.chunk_blocks};
	uint64_t bytes = 0, items = 0;
	struct scan_at at = {s->head.block, 0, 0};

	expect.number = s->head.chunk_number;
	for (; expect.index < s->head.chunks; expect.index++) {
		const uint8_t *chunk = block_at(s, expect.block, expect.blocks);
		bool last = expect.index + 1 == s->head.chunks;
		struct chunk_head h;
		const char *rule;
		int err = block_probe(s, expect.block, expect.blocks);

		if (err != 0)
			return err;
		rule = chunk_decode(chunk, &expect, last, s->super.blocks, &h);
		at = (struct scan_at){expect.block, 0, 0};
		if (rule != NULL)
			return damaged(s, rule, &at, "");
		err = grow(&s->chunks, s->chunk_count, &s->chunk_room, sizeof(s->chunks[0]));
		if (err != 0)
			return err;
		s->chunks[s->chunk_count++] = (struct run){expect.block, expect.blocks};
		if (s->ops->chunk != NULL)
			s->ops->chunk(s->ctx, &h, chunk);
		at.offset = sizeof(struct m_chunk);
		err = items_visit(s, chunk + at.offset, h.bytes, h.items, at);
		if (err != 0)
			return err;
		bytes += h.bytes;
		items += h.items;
		expect.block = h.next_start;
		expect.blocks = h.next_blocks;
	}
	at.offset = 0;
	if (bytes != s->head.bytes || items != s->head.items)
		return damaged(s, "3.2g sums over the chunks", &at, "");
	return 0;
}

/* --- log ------------------------------------------------------------------------------------------------------------
 */

/* 5.4a in one segment, from an offset on. */
static bool segment_proves(const struct scan *s, struct run seg, uint64_t from, const struct record_head *bad)
{
	const uint8_t *bytes = block_at(s, seg.start, seg.blocks);
	uint64_t size = seg.blocks << LH_BLOCK_SHIFT;

	for (uint64_t at = from; at < size; at += 8) {
		if (record_proves(bytes + at, size - at, bad))
			return true;
	}
	return false;
}

/* 5.4a: the rest of this segment, then those that the headers announce, as long as they are of this generation. */
static bool log_proves(const struct scan *s, const struct segment_head *seg, uint64_t from,
		       const struct record_head *bad)
{
	struct segment_head h = *seg;
	uint64_t last_seq = seg->first_seq;

	if (segment_proves(s, (struct run){h.block, h.blocks}, from, bad))
		return true;
	for (;;) {
		struct segment_head expect = {
		    .block = h.next_start, .blocks = h.next_blocks, .generation = h.generation, .salt = h.salt};
		struct m_segment m;

		if (block_probe(s, expect.block, expect.blocks) != 0)
			return false;
		memcpy(&m, block_at(s, expect.block, 1), sizeof(m));
		expect.first_seq = le64_to(m.sg_first_seq);
		/* Rising numbers: no loop. */
		if (expect.first_seq <= last_seq || segment_decode(&m, &expect, s->super.blocks, &h) != NULL)
			return false;
		last_seq = expect.first_seq;
		if (segment_proves(s, (struct run){h.block, h.blocks}, sizeof(m), bad))
			return true;
	}
}

static void log_ends(struct scan *s, const struct segment_head *seg, uint64_t seq, uint64_t offset)
{
	s->end_seq = seq;
	s->end_offset = offset;
	s->end_generation = seg->generation;
	s->end_salt = seg->salt;
	s->part_count = 0;
}

/* What `damaged` found at record seq: the end of the walk, as an error or (up_to_damage) as it is. */
static int log_cut(struct scan *s, const struct segment_head *seg, uint64_t seq, uint64_t offset, int err)
{
	if (!s->ops->up_to_damage || seq <= s->head.must_seq || (err != -EUCLEAN && err != -EBADMSG))
		return err;
	log_warn("scan", "pool %s: %s: it is shown as it was before record %llu: run leasehold fsck on it",
		 s->pool->name, s->damage, (unsigned long long)seq);
	log_ends(s, seg, seq, offset);
	s->cut = true;
	return 0;
}

static int log_end(struct scan *s, const struct segment_head *seg, const struct record_head *expect, uint64_t offset,
		   const char *rule)
{
	struct scan_at at = {seg->block, offset, expect->seq};
	char about[96];

	snprintf(about, sizeof(about), "broken there: %s", rule);
	if (expect->seq <= s->head.must_seq)
		return damaged(s, "5.4b the log ends before the checkpoint does", &at, about);
	if (log_proves(s, seg, offset, expect))
		return log_cut(s, seg, expect->seq, offset,
			       damaged(s, "5.4a a record that had been durable is damaged", &at, about));
	log_ends(s, seg, expect->seq, offset);
	return 0;
}

static int parts_finish(struct scan *s)
{
	int err = 0;

	for (uint64_t i = 0; err == 0 && i < s->part_count; i++) {
		const struct scan_part *p = &s->parts[i];
		struct scan_at at = p->at;

		at.offset += sizeof(struct m_record);
		err = items_visit(s, p->bytes + sizeof(struct m_record), p->head.length - sizeof(struct m_record),
				  p->head.items, at);
	}
	s->part_count = 0;
	return err;
}

static int record_take(struct scan *s, const struct record_head *h, const struct scan_at *at, const uint8_t *bytes)
{
	bool continued = (h->flags & RECORD_CONTINUED) != 0;
	int err;

	if (continued && s->part_count == 0)
		return damaged(s, "5.5a continued record without a beginning", at, "");
	if (!continued && s->part_count != 0)
		return damaged(s, "5.5b operation that is not continued", at, "");
	err = grow(&s->parts, s->part_count, &s->part_room, sizeof(s->parts[0]));
	if (err != 0)
		return err;
	s->parts[s->part_count++] = (struct scan_part){bytes, *h, *at};
	return (h->flags & RECORD_MORE) != 0 ? 0 : parts_finish(s);
}

/* Records of one segment. *next is set to where a link leads; blocks 0: the log ended. */
static int segment_read(struct scan *s, const struct segment_head *seg, struct link_to *next, uint64_t *seq)
{
	const uint8_t *bytes = block_at(s, seg->block, seg->blocks);
	uint64_t size = (uint64_t)seg->blocks << LH_BLOCK_SHIFT;
	uint64_t offset = sizeof(struct m_segment);
	struct record_head expect = {.seq = seg->first_seq, .generation = seg->generation, .salt = seg->salt}, h;

	next->blocks = 0;
	for (;;) {
		struct scan_at at = {seg->block, offset, expect.seq};
		bool tail;
		const char *rule = record_decode(bytes + offset, size - offset, &expect, &h, &tail);
		int err;

		if (rule != NULL)
			return tail ? log_end(s, seg, &expect, offset, rule)
				    : log_cut(s, seg, expect.seq, offset, damaged(s, rule, &at, ""));
		if (s->ops->record != NULL)
			s->ops->record(s->ctx, &h, &at, bytes + offset);
		s->log_bytes += h.length;
		expect.seq++;
		if ((h.flags & RECORD_LINK) != 0) {
			rule = link_decode(bytes + offset, &h, s->super.blocks, next);
			*seq = expect.seq;
			if (rule == NULL)
				return 0;
			next->blocks = 0;
			return log_cut(s, seg, h.seq, offset, damaged(s, rule, &at, ""));
		}
		s->records++;
		err = record_take(s, &h, &at, bytes + offset);
		if (err != 0)
			return err;
		offset += h.length;
	}
}

static int log_read(struct scan *s)
{
	struct segment_head expect = {.block = s->head.log_block,
				      .blocks = s->head.log_blocks,
				      .first_seq = s->head.log_seq,
				      .generation = s->head.log_generation,
				      .salt = s->head.log_salt};

	for (;;) {
		struct scan_at at = {expect.block, 0, 0};
		struct segment_head h;
		struct link_to next;
		const char *rule;
		uint64_t seq = 0;
		int err = block_probe(s, expect.block, expect.blocks);

		if (err != 0)
			return err;
		rule = segment_decode(block_at(s, expect.block, expect.blocks), &expect, s->super.blocks, &h);
		if (rule != NULL)
			return log_cut(s, &expect, expect.first_seq, 0, damaged(s, rule, &at, ""));
		err = grow(&s->segments, s->segment_count, &s->segment_room, sizeof(s->segments[0]));
		if (err != 0)
			return err;
		s->segments[s->segment_count++] = (struct scan_segment){{h.block, h.blocks}, h.first_seq, h.generation};
		if (s->ops->segment != NULL)
			s->ops->segment(s->ctx, &h, block_at(s, h.block, 1));
		err = segment_read(s, &h, &next, &seq);
		if (err != 0 || next.blocks == 0)
			return err;
		if (next.generation != h.generation)
			s->part_count = 0;
		expect = (struct segment_head){.block = next.start,
					       .blocks = next.blocks,
					       .first_seq = seq,
					       .generation = next.generation,
					       .salt = next.salt};
	}
}

int scan_pool(struct scan *s, struct pool *pool, const struct scan_ops *ops, void *ctx)
{
	int err;

	memset(s, 0, sizeof(*s));
	s->pool = pool;
	s->ops = ops;
	s->ctx = ctx;
	err = super_read(s);
	if (err == 0)
		err = head_read(s);
	if (err == 0)
		err = chunks_read(s);
	if (err != 0)
		return err;
	if ((s->head.flags & CHECKPOINT_CLEAN) == 0)
		return log_read(s);
	s->end_seq = s->head.must_seq + 1;
	s->end_generation = s->head.log_generation;
	s->end_salt = s->head.log_salt;
	return 0;
}

void scan_fini(struct scan *s)
{
	free(s->chunks);
	free(s->segments);
	free(s->parts);
	s->chunks = NULL;
	s->segments = NULL;
	s->parts = NULL;
}
