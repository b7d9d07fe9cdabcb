/* SPDX-License-Identifier: BSD-2-Clause */
/* Flipped bits: the syndrome says which, and fields that the crc's length depends on are tried one by one. */
#include "tools/mend.h"

#include <string.h>

#include "base/crc.h"

#define CRC32C_POLY 0x82f63b78u

bool mend_crc(uint8_t *bytes, size_t from, size_t to, size_t crc_off)
{
	uint32_t stored, want = crc32c(0, bytes + from, to - from), effect = CRC32C_POLY;
	le32 m;

	memcpy(&m, bytes + crc_off, sizeof(m));
	stored = le32_to(m);
	want ^= stored;
	if ((want & (want - 1)) == 0) {
		m = le32_of(stored ^ want);
		memcpy(bytes + crc_off, &m, sizeof(m));
		return true;
	}
	/* effect: what a flip of the bit that is `bits` from the end does to the crc. */
	for (uint64_t bits = 0; bits < (uint64_t)(to - from) * 8; bits++) {
		if (effect == want) {
			bytes[to - 1 - bits / 8] ^= (uint8_t)(0x80u >> bits % 8);
			return true;
		}
		effect = (effect >> 1) ^ ((effect & 1) != 0 ? CRC32C_POLY : 0);
	}
	return false;
}

bool mend_super(void *block, uint32_t copy, uint64_t pool_blocks)
{
	struct super s;
	uint8_t *p = block;

	if (!mend_crc(p, 0, offsetof(struct m_super, sb_crc), offsetof(struct m_super, sb_crc)))
		return false;
	return super_decode(block, copy, pool_blocks, &s) == NULL;
}

bool mend_checkpoint(void *block, uint64_t at, const struct super *super)
{
	struct checkpoint_head h;

	if (!mend_crc(block, 0, offsetof(struct m_checkpoint, cp_crc), offsetof(struct m_checkpoint, cp_crc)))
		return false;
	return checkpoint_decode(block, at, super, &h) == NULL;
}

bool mend_segment(struct m_segment *m, const struct segment_head *expect, uint64_t pool_blocks)
{
	struct segment_head h;

	if (!mend_crc((uint8_t *)m, 0, offsetof(struct m_segment, sg_crc), offsetof(struct m_segment, sg_crc)))
		return false;
	return segment_decode(m, expect, pool_blocks, &h) == NULL;
}

static void flip(uint8_t *bytes, unsigned bit)
{
	bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* Whether one of the `bits` bits at `field` makes good() true; it stays flipped then. */
static bool mend_field(uint8_t *field, unsigned bits, bool (*good)(void *ctx), void *ctx)
{
	for (unsigned i = 0; i < bits; i++) {
		flip(field, i);
		if (good(ctx))
			return true;
		flip(field, i);
	}
	return false;
}

struct chunk_try {
	const void *chunk;
	const struct chunk_head *expect;
	bool last;
	uint64_t pool_blocks;
};

static bool chunk_good(void *ctx)
{
	const struct chunk_try *t = ctx;
	struct chunk_head h;

	return chunk_decode(t->chunk, t->expect, t->last, t->pool_blocks, &h) == NULL;
}

bool mend_chunk(void *chunk, const struct chunk_head *expect, bool last, uint64_t pool_blocks)
{
	struct chunk_try t = {chunk, expect, last, pool_blocks};
	uint8_t *p = chunk;
	uint32_t bytes;
	le32 m;

	/* The magic is not under the crc, the length says what is. */
	if (mend_field(p, 64, chunk_good, &t) || mend_field(p + offsetof(struct m_chunk, ck_bytes), 32, chunk_good, &t))
		return true;
	memcpy(&m, p + offsetof(struct m_chunk, ck_bytes), sizeof(m));
	bytes = le32_to(m);
	if (bytes > (uint64_t)expect->blocks * LH_BLOCK_SIZE - sizeof(struct m_chunk))
		return false;
	return mend_crc(p, offsetof(struct m_chunk, ck_items), sizeof(struct m_chunk) + bytes,
			offsetof(struct m_chunk, ck_crc)) &&
	       chunk_good(&t);
}

struct record_try {
	const void *record;
	uint64_t room;
	const struct record_head *expect;
};

static bool record_good(void *ctx)
{
	const struct record_try *t = ctx;
	struct record_head h;
	bool tail;

	return record_decode(t->record, t->room, t->expect, &h, &tail) == NULL;
}

bool mend_record(void *record, uint64_t room, const struct record_head *expect)
{
	struct record_try t = {record, room, expect};
	uint8_t *p = record;
	uint32_t length;
	le32 m;

	if (room < sizeof(struct m_record))
		return false;
	if (mend_field(p + offsetof(struct m_record, rc_length), 32, record_good, &t))
		return true;
	memcpy(&m, p + offsetof(struct m_record, rc_length), sizeof(m));
	length = le32_to(m);
	if (length < sizeof(struct m_record) || length > room)
		return false;
	return mend_crc(p, sizeof(le32), length, 0) && record_good(&t);
}
