/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One flipped bit, found again. crc32c has a Hamming distance of 4 for everything that is as short as our structures
 * (below 2^31 bits), so that one wrong bit has a syndrome of its own which no two wrong bits share. What is mended is
 * checked by its verifier as if it had been read so.
 */
#ifndef LH_TOOLS_MEND_H
#define LH_TOOLS_MEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/format.h"

/* bytes: a copy. The crc at crc_off is of [from, to). Flips the one bit that makes it right; false: there is none. */
bool mend_crc(uint8_t *bytes, size_t from, size_t to, size_t crc_off);

/* Each gets a copy of the structure, with what is around it where a verifier looks there, and makes it good or returns
 * false. */
bool mend_super(void *block, uint32_t copy, uint64_t pool_blocks);
bool mend_checkpoint(void *block, uint64_t at, const struct super *super);
bool mend_chunk(void *chunk, const struct chunk_head *expect, bool last, uint64_t pool_blocks);
bool mend_segment(struct m_segment *m, const struct segment_head *expect, uint64_t pool_blocks);
/* room: of the copy, to the segment's end. */
bool mend_record(void *record, uint64_t room, const struct record_head *expect);

#endif
