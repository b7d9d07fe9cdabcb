/* SPDX-License-Identifier: BSD-2-Clause */
/* docs/format.md 5: segments, records, links. */
#include <string.h>

#include "base/crc.h"
#include "format/check.h"
#include "format/format.h"

static const uint8_t segment_magic[8] = {'L', 'H', 'L', 'O', 'G', 'S', 'E', 'G'};

#define RECORD_CRC_FROM 4u

void segment_encode(const struct segment_head *h, struct m_segment *m)
{
	memset(m, 0, sizeof(*m));
	memcpy(m->sg_magic, segment_magic, sizeof(m->sg_magic));
	m->sg_block = le64_of(h->block);
	m->sg_generation = le64_of(h->generation);
	m->sg_salt = le64_of(h->salt);
	m->sg_first_seq = le64_of(h->first_seq);
	m->sg_next_start = le64_of(h->next_start);
	m->sg_blocks = le32_of(h->blocks);
	m->sg_next_blocks = le32_of(h->next_blocks);
	m->sg_crc = le32_of(crc32c(0, m, offsetof(struct m_segment, sg_crc)));
}

const char *segment_decode(const void *bytes, const struct segment_head *expect, uint64_t pool_blocks,
			   struct segment_head *out)
{
	struct m_segment m;
	struct segment_head h;

	memcpy(&m, bytes, sizeof(m));
	if (memcmp(m.sg_magic, segment_magic, sizeof(m.sg_magic)) != 0)
		return "5.1a not a log segment";
	if (le32_to(m.sg_crc) != crc32c(0, &m, offsetof(struct m_segment, sg_crc)))
		return "5.1b wrong checksum of a log segment";
	h.block = le64_to(m.sg_block);
	h.generation = le64_to(m.sg_generation);
	h.salt = le64_to(m.sg_salt);
	h.first_seq = le64_to(m.sg_first_seq);
	h.next_start = le64_to(m.sg_next_start);
	h.blocks = le32_to(m.sg_blocks);
	h.next_blocks = le32_to(m.sg_next_blocks);
	if (h.block != expect->block || h.blocks != expect->blocks || h.generation != expect->generation ||
	    h.salt != expect->salt || h.first_seq != expect->first_seq)
		return "5.1c log segment of another place or time";
	if (!check_run(h.next_start, h.next_blocks, pool_blocks) || h.next_blocks > FORMAT_SEGMENT_BLOCKS_MAX)
		return "5.1d next log segment outside the pool";
	if (le32_to(m.sg_zero) != 0)
		return "5.1e bytes that must be zero are not";
	*out = h;
	return NULL;
}

static void record_fill(const struct record_head *h, struct m_record *m)
{
	m->rc_length = le32_of(h->length);
	m->rc_seq = le64_of(h->seq);
	m->rc_generation = le64_of(h->generation);
	m->rc_salt = le64_of(h->salt);
	m->rc_durable_seq = le64_of(h->durable_seq);
	m->rc_flags = le16_of((uint16_t)h->flags);
	m->rc_magic = le16_of(RECORD_MAGIC);
	m->rc_items = le32_of(h->items);
	m->rc_crc = le32_of(crc32c(0, (uint8_t *)m + RECORD_CRC_FROM, h->length - RECORD_CRC_FROM));
}

void record_seal(const struct record_head *h, void *record)
{
	assert(h->length >= sizeof(struct m_record) && h->length % 8 == 0);
	record_fill(h, record);
}

void link_encode(const struct record_head *h, const struct link_to *to, struct m_link *m)
{
	struct record_head head = *h;

	head.length = sizeof(*m);
	head.flags = RECORD_LINK;
	head.items = 0;
	m->ln_start = le64_of(to->start);
	m->ln_blocks = le32_of(to->blocks);
	m->ln_zero = le32_of(0);
	m->ln_generation = le64_of(to->generation);
	m->ln_salt = le64_of(to->salt);
	record_fill(&head, &m->ln_record);
}

static void record_read(const struct m_record *m, struct record_head *h)
{
	h->length = le32_to(m->rc_length);
	h->seq = le64_to(m->rc_seq);
	h->generation = le64_to(m->rc_generation);
	h->salt = le64_to(m->rc_salt);
	h->durable_seq = le64_to(m->rc_durable_seq);
	h->flags = le16_to(m->rc_flags);
	h->items = le32_to(m->rc_items);
}

/* 5.2a to 5.2c and 5.2e: what a record is at all. A link may fill the room that others leave for it. */
static const char *record_shape(const void *bytes, uint64_t room, const struct record_head *expect,
				struct record_head *h)
{
	struct m_record m;
	uint64_t limit;

	if (room < sizeof(m))
		return "5.2b record over the segment's end";
	memcpy(&m, bytes, sizeof(m));
	record_read(&m, h);
	if (le16_to(m.rc_magic) != RECORD_MAGIC)
		return "5.2a not a record";
	limit = (h->flags & RECORD_LINK) != 0 ? room : room < sizeof(struct m_link) ? 0 : room - sizeof(struct m_link);
	if (h->length < sizeof(m) || h->length % 8 != 0 || h->length > limit)
		return "5.2b record over the segment's end";
	if (h->generation != expect->generation || h->salt != expect->salt)
		return "5.2c record of another generation";
	if (le32_to(m.rc_crc) != crc32c(0, (const uint8_t *)bytes + RECORD_CRC_FROM, h->length - RECORD_CRC_FROM))
		return "5.2e wrong checksum of a record";
	return NULL;
}

const char *record_decode(const void *bytes, uint64_t room, const struct record_head *expect, struct record_head *out,
			  bool *tail)
{
	struct record_head h;
	const char *rule = record_shape(bytes, room, expect, &h);

	*tail = true;
	if (rule != NULL)
		return rule;
	if (h.seq != expect->seq)
		return "5.2d record out of sequence";
	*tail = false;
	if ((h.flags & ~(RECORD_MORE | RECORD_CONTINUED | RECORD_LINK)) != 0 ||
	    ((h.flags & RECORD_LINK) != 0 && (h.flags != RECORD_LINK || h.items != 0)))
		return "5.2f record flags";
	if (h.durable_seq >= h.seq)
		return "5.2g durable sequence of a record";
	*out = h;
	return NULL;
}

bool record_proves(const void *bytes, uint64_t room, const struct record_head *bad)
{
	struct record_head h;
	struct m_record m;

	if (room < sizeof(m))
		return false;
	memcpy(&m, bytes, sizeof(m));
	/* Cheap first: this is tried at every multiple of 8. */
	if (le64_to(m.rc_salt) != bad->salt || le64_to(m.rc_seq) <= bad->seq || le64_to(m.rc_durable_seq) < bad->seq)
		return false;
	return record_shape(bytes, room, bad, &h) == NULL;
}

const char *link_decode(const void *record, const struct record_head *head, uint64_t pool_blocks, struct link_to *out)
{
	struct m_link m;

	if (head->length != sizeof(m))
		return "5.3a link length";
	memcpy(&m, record, sizeof(m));
	if (!check_run(le64_to(m.ln_start), le32_to(m.ln_blocks), pool_blocks) ||
	    le32_to(m.ln_blocks) > FORMAT_SEGMENT_BLOCKS_MAX)
		return "5.3b linked segment outside the pool";
	if (le64_to(m.ln_generation) < head->generation || le64_to(m.ln_generation) > FORMAT_NUMBER_MAX ||
	    (le64_to(m.ln_generation) == head->generation) != (le64_to(m.ln_salt) == head->salt))
		return "5.3c generation of the linked segment";
	if (le32_to(m.ln_zero) != 0)
		return "5.3d bytes that must be zero are not";
	out->start = le64_to(m.ln_start);
	out->blocks = le32_to(m.ln_blocks);
	out->generation = le64_to(m.ln_generation);
	out->salt = le64_to(m.ln_salt);
	return NULL;
}
