/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The extent map of one file: file blocks to pool blocks, in units of LH_BLOCK_SIZE. Extents never overlap; neighbours
 * that continue each other in both spaces with the same flags are one. No locks: the inode's lock covers it.
 * Cost: find O(log n) that stays flat in cache (two-level array of small sorted chunks), set and clear O(log n +
 * touched).
 */
#ifndef LH_FS_EXTMAP_H
#define LH_FS_EXTMAP_H

#include <stdbool.h>
#include <stdint.h>

#define EXT_UNWRITTEN 1u /* on the medium too: reads as zeroes */
#define EXT_ZEROED    2u /* memory only: unwritten on the medium, but zeroed and exposed to a direct writer since */

struct extent {
	uint64_t off, start, blocks; /* file block, pool block, length */
	uint32_t flags;
};

struct extmap_chunk;
struct extmap {
	struct extmap_chunk *single;  /* the only chunk while chunk_room is 0: small files pay for no arrays */
	struct extmap_chunk **chunks; /* chunk_room of them */
	uint64_t *firsts;             /* first file block of each chunk */
	uint32_t chunk_count, chunk_room;
	uint64_t extents, blocks;
	struct extmap_chunk *spare; /* by extmap_reserve */
	uint32_t spare_count;
};

void extmap_init(struct extmap *m);
void extmap_fini(struct extmap *m);
/* The extent that contains the block, else the first one after it; false: none. */
bool extmap_find(const struct extmap *m, uint64_t block, struct extent *out);
/* The next `changes` calls of set or clear cannot fail. -ENOMEM. */
int extmap_reserve(struct extmap *m, unsigned changes);
/* Replaces whatever was in the range. Needs a reserve of 1 (asserted). */
void extmap_set(struct extmap *m, const struct extent *e);
/* Unmaps the range. Needs a reserve of 1 only when it cuts one extent in the middle (asserted). */
void extmap_clear(struct extmap *m, uint64_t off, uint64_t blocks);
/* For tests and fs_verify: order, merging and counters are as they must be. */
bool extmap_sound(const struct extmap *m);

#endif
