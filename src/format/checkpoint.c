/* SPDX-License-Identifier: BSD-2-Clause */
/* docs/format.md 3: checkpoint header and chunks. */
#include <string.h>

#include "base/crc.h"
#include "format/check.h"
#include "format/format.h"

static const uint8_t checkpoint_magic[8] = {'L', 'H', 'C', 'H', 'K', 'P', 'T', '1'};
static const uint8_t chunk_magic[8] = {'L', 'H', 'C', 'H', 'U', 'N', 'K', '1'};

#define CHUNK_CRC_FROM 12u

void checkpoint_encode(const struct checkpoint_head *h, struct m_checkpoint *m)
{
	memset(m, 0, sizeof(*m));
	memcpy(m->cp_magic, checkpoint_magic, sizeof(m->cp_magic));
	memcpy(m->cp_uuid, h->uuid, sizeof(m->cp_uuid));
	m->cp_number = le64_of(h->number);
	m->cp_flags = le64_of(h->flags);
	m->cp_block = le64_of(h->block);
	m->cp_log_block = le64_of(h->log_block);
	m->cp_log_blocks = le32_of(h->log_blocks);
	m->cp_log_seq = le64_of(h->log_seq);
	m->cp_log_generation = le64_of(h->log_generation);
	m->cp_log_salt = le64_of(h->log_salt);
	m->cp_must_seq = le64_of(h->must_seq);
	m->cp_next_ino = le64_of(h->next_ino);
	m->cp_chunk_start = le64_of(h->chunk_start);
	m->cp_chunk_blocks = le32_of(h->chunk_blocks);
	m->cp_chunks = le32_of(h->chunks);
	m->cp_chunk_number = le64_of(h->chunk_number);
	m->cp_bytes = le64_of(h->bytes);
	m->cp_items = le64_of(h->items);
	m->cp_crc = le32_of(crc32c(0, m, offsetof(struct m_checkpoint, cp_crc)));
}

static void checkpoint_read(const struct m_checkpoint *m, struct checkpoint_head *h)
{
	memcpy(h->uuid, m->cp_uuid, sizeof(h->uuid));
	h->number = le64_to(m->cp_number);
	h->flags = le64_to(m->cp_flags);
	h->block = le64_to(m->cp_block);
	h->log_block = le64_to(m->cp_log_block);
	h->log_blocks = le32_to(m->cp_log_blocks);
	h->log_seq = le64_to(m->cp_log_seq);
	h->log_generation = le64_to(m->cp_log_generation);
	h->log_salt = le64_to(m->cp_log_salt);
	h->must_seq = le64_to(m->cp_must_seq);
	h->next_ino = le64_to(m->cp_next_ino);
	h->chunk_start = le64_to(m->cp_chunk_start);
	h->chunk_blocks = le32_to(m->cp_chunk_blocks);
	h->chunks = le32_to(m->cp_chunks);
	h->chunk_number = le64_to(m->cp_chunk_number);
	h->bytes = le64_to(m->cp_bytes);
	h->items = le64_to(m->cp_items);
}

static const char *checkpoint_log_check(const struct checkpoint_head *h, uint64_t pool_blocks)
{
	if (h->must_seq > FORMAT_NUMBER_MAX || h->log_generation > FORMAT_NUMBER_MAX)
		return "3.1j number of a record or generation out of range";
	if (h->log_seq > h->must_seq + 1)
		return "3.1j log starts behind what it must hold";
	if ((h->flags & CHECKPOINT_CLEAN) != 0) {
		if (h->log_block != 0 || h->log_blocks != 0 || h->log_seq != h->must_seq + 1)
			return "3.1f clean checkpoint with a log";
		return NULL;
	}
	if (!check_run(h->log_block, h->log_blocks, pool_blocks) || h->log_blocks > FORMAT_SEGMENT_BLOCKS_MAX ||
	    h->log_seq < 1)
		return "3.1f log segment outside the pool";
	return NULL;
}

static const char *checkpoint_chunks_check(const struct checkpoint_head *h, uint64_t pool_blocks)
{
	bool none = h->chunk_start == 0 && h->chunk_blocks == 0 && h->chunks == 0 && h->bytes == 0 && h->items == 0;

	if (none)
		return NULL;
	if (h->chunks == 0 || h->bytes == 0 || h->items == 0)
		return "3.1h chunks, bytes and items disagree";
	if (!check_run(h->chunk_start, h->chunk_blocks, pool_blocks) || h->chunk_blocks > FORMAT_CHUNK_BLOCKS_MAX)
		return "3.1h first chunk outside the pool";
	return NULL;
}

const char *checkpoint_decode(const void *block, uint64_t at, const struct super *super, struct checkpoint_head *out)
{
	struct m_checkpoint m;
	struct checkpoint_head h;
	const char *rule;

	memcpy(&m, block, sizeof(m));
	if (memcmp(m.cp_magic, checkpoint_magic, sizeof(m.cp_magic)) != 0)
		return "3.1a not a checkpoint header";
	if (le32_to(m.cp_crc) != crc32c(0, &m, offsetof(struct m_checkpoint, cp_crc)))
		return "3.1b wrong checksum of the checkpoint header";
	checkpoint_read(&m, &h);
	if (memcmp(h.uuid, super->uuid, sizeof(h.uuid)) != 0 || h.block != at)
		return "3.1c checkpoint of another pool or place";
	if (h.number < 1 || h.number > FORMAT_NUMBER_MAX || h.chunk_number < 1 || h.chunk_number > h.number)
		return "3.1d checkpoint number";
	if ((h.flags & ~(uint64_t)CHECKPOINT_CLEAN) != 0)
		return "3.1e unknown checkpoint flag";
	rule = checkpoint_log_check(&h, super->blocks);
	if (rule != NULL)
		return rule;
	if (h.next_ino < 2 || h.next_ino > FORMAT_INO_MAX)
		return "3.1g next inode number";
	rule = checkpoint_chunks_check(&h, super->blocks);
	if (rule != NULL)
		return rule;
	if (le32_to(m.cp_zero0) != 0 || !check_zero(m.cp_zero1, sizeof(m.cp_zero1)) ||
	    !check_zero((const uint8_t *)block + sizeof(m), LH_BLOCK_SIZE - sizeof(m)))
		return "3.1i bytes that must be zero are not";
	*out = h;
	return NULL;
}

void chunk_seal(const struct chunk_head *h, void *chunk)
{
	struct m_chunk *m = chunk;

	memset(m, 0, sizeof(*m));
	memcpy(m->ck_magic, chunk_magic, sizeof(m->ck_magic));
	m->ck_items = le32_of(h->items);
	m->ck_block = le64_of(h->block);
	m->ck_number = le64_of(h->number);
	m->ck_index = le32_of(h->index);
	m->ck_blocks = le32_of(h->blocks);
	m->ck_next_start = le64_of(h->next_start);
	m->ck_next_blocks = le32_of(h->next_blocks);
	m->ck_bytes = le32_of(h->bytes);
	m->ck_crc = le32_of(crc32c(0, (uint8_t *)chunk + CHUNK_CRC_FROM, sizeof(*m) - CHUNK_CRC_FROM + h->bytes));
}

const char *chunk_decode(const void *chunk, const struct chunk_head *expect, bool last, uint64_t pool_blocks,
			 struct chunk_head *out)
{
	struct m_chunk m;
	struct chunk_head h;

	memcpy(&m, chunk, sizeof(m));
	if (memcmp(m.ck_magic, chunk_magic, sizeof(m.ck_magic)) != 0)
		return "3.2a not a checkpoint chunk";
	h.bytes = le32_to(m.ck_bytes);
	if (h.bytes > (uint64_t)expect->blocks * LH_BLOCK_SIZE - sizeof(m) || h.bytes % 8 != 0)
		return "3.2b chunk longer than its run";
	if (le32_to(m.ck_crc) !=
	    crc32c(0, (const uint8_t *)chunk + CHUNK_CRC_FROM, sizeof(m) - CHUNK_CRC_FROM + h.bytes))
		return "3.2c wrong checksum of a checkpoint chunk";
	h.items = le32_to(m.ck_items);
	h.block = le64_to(m.ck_block);
	h.number = le64_to(m.ck_number);
	h.index = le32_to(m.ck_index);
	h.blocks = le32_to(m.ck_blocks);
	h.next_start = le64_to(m.ck_next_start);
	h.next_blocks = le32_to(m.ck_next_blocks);
	if (h.block != expect->block || h.number != expect->number || h.index != expect->index ||
	    h.blocks != expect->blocks)
		return "3.2d chunk of another checkpoint or place";
	if (last ? h.next_start != 0 || h.next_blocks != 0
		 : !check_run(h.next_start, h.next_blocks, pool_blocks) || h.next_blocks > FORMAT_CHUNK_BLOCKS_MAX)
		return "3.2e next chunk outside the pool";
	if (le64_to(m.ck_zero) != 0)
		return "3.2f bytes that must be zero are not";
	*out = h;
	return NULL;
}
