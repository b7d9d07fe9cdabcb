/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small pool with at least one of everything that docs/format.md knows, built by hand from the encoders, always the
 * same byte for byte: what the mutation tests and the fuzzers damage. Its memory is a private mapping of a template, so
 * that seed_reset costs as much as was changed.
 *
 *	block 0, last	superblock and copy		block 20	checkpoint header 9 (12: an older one, 8)
 *	30, 40, 60, 70	chunks of checkpoint 7		100, 110	log, generation 3; 120: generation 4
 *	1000...		data, each block full of its own number
 */
#ifndef LH_TESTS_SEED_POOL_H
#define LH_TESTS_SEED_POOL_H

#include "format/format.h"
#include "pool/pool.h"

#define SEED_BLOCKS    4096ull
#define SEED_BYTES     (SEED_BLOCKS * LH_BLOCK_SIZE)
#define SEED_PARTS_MAX 32u
#define SEED_MARKS_MAX 96u

/* A structure with a crc: of [from, to), at crc_off. Kind: S superblock, H header, C chunk, L segment, R record; W the
 * words of block 0 (no crc). */
struct seed_part {
	char name[16];
	char kind;
	uint64_t off, len, crc_off, from, to;
};
/* An item, by the name that the tests know it by. */
struct seed_mark {
	char name[24];
	uint64_t off, len;
};

struct seed {
	struct pool pool;
	uint8_t uuid[16];
	struct seed_part parts[SEED_PARTS_MAX];
	unsigned part_count;
	struct seed_mark marks[SEED_MARKS_MAX];
	unsigned mark_count;
};

/* Aborts when there is no memory. */
void seed_new(struct seed *s);
void seed_free(struct seed *s);
void seed_reset(struct seed *s);
/* Puts all crcs right, and the checks of the two words when `words`. */
void seed_seal(struct seed *s, bool words);
/* Where a part or an item begins; aborts when there is none of this name. */
uint64_t seed_find(const struct seed *s, const char *name);

#endif
