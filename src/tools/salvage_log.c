/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log of a damaged pool. A bad record is the log's end where docs/format.md 5.4 says so; else it is lost, and the
 * next good one of the same generation and salt is looked for: in the rest of the segment, in the segment that the
 * header announces, in all blocks. Later generations are followed through good links only, or because the checkpoint
 * needs them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mend.h"
#include "tools/salvage.h"

#define REFUSED "the pool cannot be mounted"
#define BIT     "one bit is wrong and can be put right; " REFUSED

/* A record that belongs to an operation of several. */
struct part {
	const uint8_t *bytes;
	struct record_head head;
	struct scan_at at;
};

struct log {
	struct salvage *s;
	struct segment_head seg; /* next_blocks 0: its header cannot be read */
	struct record_head expect;
	struct part *parts;
	uint64_t part_count, part_room;
	bool gap; /* a record was lost just before */
};

static uint64_t pool_blocks(const struct salvage *s)
{
	uint64_t really = s->pool->size >> LH_BLOCK_SHIFT;

	return really < s->super.blocks ? really : s->super.blocks;
}

static bool run_good(const struct salvage *s, uint64_t start, uint64_t blocks)
{
	uint64_t end = pool_blocks(s);

	return start >= 1 && blocks >= 1 && blocks <= FORMAT_SEGMENT_BLOCKS_MAX && start < end && blocks <= end - start;
}

/* The segment that lies at a block, as its header says by itself. */
static bool segment_at(const struct salvage *s, uint64_t block, struct segment_head *h)
{
	struct segment_head expect;
	struct m_segment m;

	memcpy(&m, salvage_block(s, block, 1), sizeof(m));
	expect = (struct segment_head){.block = block,
				       .generation = le64_to(m.sg_generation),
				       .salt = le64_to(m.sg_salt),
				       .first_seq = le64_to(m.sg_first_seq),
				       .blocks = le32_to(m.sg_blocks)};
	return run_good(s, block, expect.blocks) && segment_decode(&m, &expect, s->super.blocks, h) == NULL;
}

/* --- where the next segment is -------------------------------------------------------------------------------------
 */

/* A later segment of this generation: the announced one, else the one with the lowest number behind ours. */
static bool next_of_generation(struct log *l, struct segment_head *out)
{
	struct salvage *s = l->s;
	bool found = false;
	struct segment_head h;

	if (l->seg.next_blocks != 0 && run_good(s, l->seg.next_start, l->seg.next_blocks) &&
	    segment_at(s, l->seg.next_start, &h) && h.generation == l->seg.generation && h.salt == l->seg.salt &&
	    h.first_seq > l->expect.seq) {
		*out = h;
		return true;
	}
	salvage_scan(s);
	for (uint64_t i = 0; i < s->found_count; i++) {
		if (s->found[i].kind != SALVAGE_SEGMENT || !segment_at(s, s->found[i].block, &h) ||
		    h.generation != l->seg.generation || h.salt != l->seg.salt || h.first_seq <= l->expect.seq)
			continue;
		if (!found || h.first_seq < out->first_seq)
			*out = h;
		found = true;
	}
	return found;
}

/* A later generation whose records the checkpoint needs. */
static bool next_generation(struct log *l, struct segment_head *out)
{
	struct salvage *s = l->s;
	bool found = false;

	salvage_scan(s);
	for (uint64_t i = 0; i < s->found_count; i++) {
		struct segment_head h;

		if (s->found[i].kind != SALVAGE_SEGMENT || !segment_at(s, s->found[i].block, &h) ||
		    h.generation <= l->seg.generation || h.first_seq <= l->expect.seq ||
		    h.first_seq > s->head.must_seq + 1)
			continue;
		if (!found || h.generation < out->generation ||
		    (h.generation == out->generation && h.first_seq < out->first_seq))
			*out = h;
		found = true;
	}
	return found;
}

/* --- records -------------------------------------------------------------------------------------------------------
 */

static void parts_pass(struct log *l)
{
	for (uint64_t i = 0; i < l->part_count && l->s->error == 0; i++) {
		const struct part *p = &l->parts[i];
		struct scan_at at = p->at;

		at.offset += sizeof(struct m_record);
		salvage_items(l->s, p->bytes + sizeof(struct m_record), p->head.length - sizeof(struct m_record),
			      p->head.items, at);
	}
	l->part_count = 0;
}

static void part_add(struct log *l, const struct part *p)
{
	if (l->part_count == l->part_room) {
		uint64_t room = l->part_room == 0 ? 16 : l->part_room * 2;
		struct part *bigger = reallocarray(l->parts, room, sizeof(*bigger));

		if (bigger == NULL) {
			l->s->error = -ENOMEM;
			return;
		}
		l->parts = bigger;
		l->part_room = room;
	}
	l->parts[l->part_count++] = *p;
}

static void record_take(struct log *l, const uint8_t *bytes, const struct record_head *h, const struct scan_at *at)
{
	bool continued = (h->flags & RECORD_CONTINUED) != 0;
	const struct part p = {bytes, *h, *at};

	if (continued && l->part_count == 0 && !l->gap)
		salvage_damage(l->s, "5.5a continued record without a beginning", REFUSED, at);
	if (!continued && l->part_count != 0) {
		salvage_damage(l->s, "5.5b operation that is not continued",
			       "the unfinished operation is lost; " REFUSED, at);
		l->part_count = 0;
	}
	l->gap = false;
	l->s->records++;
	part_add(l, &p);
	if ((h->flags & RECORD_MORE) == 0)
		parts_pass(l);
}

/* 5.4a, as fs/scan.c looks for it. */
static bool proves(const struct salvage *s, struct segment_head h, uint64_t from, const struct record_head *bad)
{
	uint64_t last_seq;

	do {
		uint64_t size = (uint64_t)h.blocks << LH_BLOCK_SHIFT;
		const uint8_t *bytes = salvage_block(s, h.block, h.blocks);

		for (uint64_t at = from; at < size; at += 8) {
			if (record_proves(bytes + at, size - at, bad))
				return true;
		}
		from = sizeof(struct m_segment);
		last_seq = h.first_seq;
		if (h.next_blocks == 0 || !run_good(s, h.next_start, h.next_blocks) || !segment_at(s, h.next_start, &h))
			return false;
	} while (h.generation == bad->generation && h.salt == bad->salt && h.first_seq > last_seq);
	return false;
}

/* The next good record behind `*offset` in this segment; its number is higher. */
static bool record_search(const struct log *l, uint64_t *offset, struct record_head *h)
{
	uint64_t size = (uint64_t)l->seg.blocks << LH_BLOCK_SHIFT;
	const uint8_t *bytes = salvage_block(l->s, l->seg.block, l->seg.blocks);

	for (uint64_t at = *offset + 8; at + sizeof(struct m_record) <= size; at += 8) {
		struct record_head expect = l->expect;
		struct m_record m;
		bool tail;

		memcpy(&m, bytes + at, sizeof(m));
		expect.seq = le64_to(m.rc_seq);
		if (le64_to(m.rc_salt) != l->seg.salt || expect.seq <= l->expect.seq ||
		    record_decode(bytes + at, size - at, &expect, h, &tail) != NULL)
			continue;
		*offset = at;
		return true;
	}
	return false;
}

enum step { STEP_ON, STEP_SEGMENT, STEP_END };

static void records_lost(struct log *l, uint64_t to, const char *rule, const struct scan_at *at)
{
	char consequence[200];

	snprintf(consequence, sizeof(consequence),
		 "what %llu record%s changed is lost, later records are kept; " REFUSED,
		 (unsigned long long)(to - l->expect.seq), to - l->expect.seq == 1 ? "" : "s");
	salvage_damage(l->s, rule, consequence, at);
	l->s->lost = true;
	/* Its beginning was durable, and so was what followed: the operation happened. What is known of it counts. */
	parts_pass(l);
	l->gap = true;
	l->expect.seq = to;
}

/* Damage at *offset, not the end. STEP_ON: goes on at *offset; *mended: there, but in this copy. */
static enum step record_bad(struct log *l, uint64_t *offset, const char *rule, const uint8_t **mended,
			    struct segment_head *next)
{
	uint64_t size = (uint64_t)l->seg.blocks << LH_BLOCK_SHIFT, from = *offset;
	struct scan_at at = {l->seg.block, from, l->expect.seq};
	struct record_head h;
	uint8_t *copy =
	    from < size ? salvage_copy(l->s, (const uint8_t *)salvage_block(l->s, l->seg.block, l->seg.blocks) + from,
				       size - from)
			: NULL;

	if (copy != NULL && mend_record(copy, size - from, &l->expect)) {
		salvage_damage(l->s, rule, BIT, &at);
		*mended = copy;
		return STEP_ON;
	}
	if (record_search(l, offset, &h)) {
		records_lost(l, h.seq, rule, &at);
		return STEP_ON;
	}
	if (next_of_generation(l, next) || next_generation(l, next)) {
		records_lost(l, next->first_seq, rule, &at);
		if (next->generation != l->seg.generation)
			l->part_count = 0;
		return STEP_SEGMENT;
	}
	salvage_damage(l->s, rule, "what this record and those behind it changed is lost; " REFUSED, &at);
	l->s->lost = true;
	parts_pass(l);
	return STEP_END;
}

static enum step record_step(struct log *l, uint64_t *offset, struct segment_head *next)
{
	uint64_t size = (uint64_t)l->seg.blocks << LH_BLOCK_SHIFT;
	const uint8_t *bytes = (const uint8_t *)salvage_block(l->s, l->seg.block, l->seg.blocks) + *offset;
	struct scan_at at = {l->seg.block, *offset, l->expect.seq};
	struct record_head h;
	struct link_to to;
	bool tail;
	const char *rule = record_decode(bytes, size - *offset, &l->expect, &h, &tail);

	if (rule != NULL) {
		const uint8_t *mended = NULL;
		enum step step;

		if (tail && l->expect.seq > l->s->head.must_seq && !proves(l->s, l->seg, *offset, &l->expect))
			return STEP_END;
		if (tail) {
			l->s->about = rule;
			rule = l->expect.seq <= l->s->head.must_seq ? "5.4b the log ends before the checkpoint does"
								    : "5.4a a record that had been durable is damaged";
		}
		step = record_bad(l, offset, rule, &mended, next);
		if (step != STEP_ON || mended == NULL)
			return step;
		bytes = mended;
		if (record_decode(bytes, size - *offset, &l->expect, &h, &tail) != NULL)
			return STEP_END;
	}
	if (l->s->ops->record != NULL)
		l->s->ops->record(l->s->ctx, &h, &at, bytes);
	l->expect.seq++;
	if ((h.flags & RECORD_LINK) == 0) {
		record_take(l, bytes, &h, &at);
		*offset += h.length;
		return l->s->error != 0 ? STEP_END : STEP_ON;
	}
	rule = link_decode(bytes, &h, l->s->super.blocks, &to);
	if (rule == NULL && !run_good(l->s, to.start, to.blocks))
		rule = "5.3b linked segment outside the pool";
	if (rule == NULL) {
		*next = (struct segment_head){.block = to.start,
					      .blocks = to.blocks,
					      .generation = to.generation,
					      .salt = to.salt,
					      .first_seq = l->expect.seq};
		if (to.generation != l->seg.generation)
			l->part_count = 0;
		return STEP_SEGMENT;
	}
	at.offset = *offset;
	salvage_damage(l->s, rule, "the next segment is looked for; " REFUSED, &at);
	l->s->lost = true;
	/* The number of the first record behind the link is known. */
	l->expect.seq--;
	return next_of_generation(l, next) || next_generation(l, next) ? STEP_SEGMENT : STEP_END;
}

/* The header, or what the link says without it. */
static void segment_begin(struct log *l, const struct segment_head *expect)
{
	struct salvage *s = l->s;
	const struct scan_at at = {expect->block, 0, 0};
	const char *rule = segment_decode(salvage_block(s, expect->block, 1), expect, s->super.blocks, &l->seg);
	struct m_segment m;

	salvage_meta(s, expect->block, expect->blocks, "log segment");
	s->segments++;
	memcpy(&m, salvage_block(s, expect->block, 1), sizeof(m));
	if (rule != NULL) {
		bool bit = mend_segment(&m, expect, s->super.blocks) &&
			   segment_decode(&m, expect, s->super.blocks, &l->seg) == NULL;

		salvage_damage(s, rule, bit ? BIT : "its records are read all the same; " REFUSED, &at);
		if (!bit) {
			l->seg = *expect;
			l->seg.next_blocks = 0;
		}
	}
	if (s->ops->segment != NULL && rule == NULL)
		s->ops->segment(s->ctx, &l->seg, salvage_block(s, expect->block, 1));
	l->expect =
	    (struct record_head){.seq = expect->first_seq, .generation = expect->generation, .salt = expect->salt};
	s->generation = expect->generation;
	s->salt = expect->salt;
}

/* --- where the log begins ------------------------------------------------------------------------------------------
 */

/* What the link at a segment's end says; false: it has none. */
static bool segment_link(const struct salvage *s, const struct segment_head *seg, struct link_to *to, uint64_t *seq)
{
	const uint8_t *bytes = salvage_block(s, seg->block, seg->blocks);
	uint64_t size = (uint64_t)seg->blocks << LH_BLOCK_SHIFT, offset = sizeof(struct m_segment);
	struct record_head expect = {.seq = seg->first_seq, .generation = seg->generation, .salt = seg->salt}, h;
	bool tail;

	while (record_decode(bytes + offset, size - offset, &expect, &h, &tail) == NULL) {
		if ((h.flags & RECORD_LINK) != 0) {
			*seq = expect.seq;
			return link_decode(bytes + offset, &h, s->super.blocks, to) == NULL;
		}
		offset += h.length;
		expect.seq++;
	}
	return false;
}

/* The segment whose link leads to h. */
static bool segment_before(const struct salvage *s, struct segment_head *h)
{
	for (uint64_t i = 0; i < s->found_count; i++) {
		struct segment_head p;
		struct link_to to;
		uint64_t seq;

		if (s->found[i].kind != SALVAGE_SEGMENT || !segment_at(s, s->found[i].block, &p) ||
		    p.first_seq >= h->first_seq || !segment_link(s, &p, &to, &seq))
			continue;
		if (to.start == h->block && to.blocks == h->blocks && to.generation == h->generation &&
		    to.salt == h->salt && seq + 1 == h->first_seq) {
			*h = p;
			return true;
		}
	}
	return false;
}

/*
 * Without a header that says where the log begins: from the newest segment of the newest generation back, as far as
 * links lead to it. To replay more than is needed changes nothing, as long as nothing is left out up to the end.
 * above: generations up to this one are in the checkpoint.
 */
static bool log_guess(struct salvage *s, uint64_t above, struct segment_head *out)
{
	bool found = false;

	salvage_scan(s);
	for (uint64_t i = 0; i < s->found_count; i++) {
		struct segment_head h;

		if (s->found[i].kind != SALVAGE_SEGMENT || !segment_at(s, s->found[i].block, &h) ||
		    h.generation <= above)
			continue;
		if (!found || h.generation > out->generation ||
		    (h.generation == out->generation && h.first_seq > out->first_seq))
			*out = h;
		found = true;
	}
	while (found && segment_before(s, out))
		;
	return found;
}

static bool log_begin(struct salvage *s, struct segment_head *out)
{
	if (s->have_head && !s->head_guessed && (s->head.flags & CHECKPOINT_CLEAN) == 0) {
		*out = (struct segment_head){.block = s->head.log_block,
					     .blocks = s->head.log_blocks,
					     .first_seq = s->head.log_seq,
					     .generation = s->head.log_generation,
					     .salt = s->head.log_salt};
		return true;
	}
	if (s->head_led)
		return false;
	return log_guess(s, s->have_head && !s->head_guessed ? s->head.log_generation : 0, out);
}

void salvage_log(struct salvage *s)
{
	struct log l = {.s = s};
	struct segment_head next;
	enum step step = STEP_SEGMENT;

	if (!log_begin(s, &next))
		return;
	if (!run_good(s, next.block, next.blocks)) {
		salvage_damage(s, "3.1f log segment outside the pool", "the log is lost; " REFUSED,
			       &(struct scan_at){s->head.block, 0, 0});
		s->lost = true;
		return;
	}
	while (step == STEP_SEGMENT && s->error == 0) {
		uint64_t offset = sizeof(struct m_segment);

		segment_begin(&l, &next);
		do {
			step = record_step(&l, &offset, &next);
		} while (step == STEP_ON && s->error == 0);
	}
	if (l.expect.seq > s->next_seq)
		s->next_seq = l.expect.seq;
	free(l.parts);
}
