/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The extent map of one file: file blocks to pool blocks, in units of LH_BLOCK_SIZE. Extents never overlap; neighbours
 * that continue each other in both spaces with the same flags are one. No locks: the inode's lock covers it.
 * Cost: find touches one line of each of three levels, so that 10^6 extents cost little more than 10^2; set and clear
 * O(log n + touched). Memory: nothing beside the map itself for one extent, 16 bytes an extent for many.
 */
#ifndef LH_FS_EXTMAP_H
#define LH_FS_EXTMAP_H

#include <stdbool.h>
#include <stdint.h>

#define EXT_UNWRITTEN 1u /* on the medium too: reads as zeroes */
#define EXT_ZEROED    2u /* memory only: unwritten on the medium, but zeroed and exposed to a direct writer since */

struct extent {
	uint64_t off, start, blocks; /* file block (less than EXTMAP_OFF_MAX), pool block, length (32 bits each) */
	uint32_t flags;
};
#define EXTMAP_OFF_MAX ((uint64_t)1 << 60)

struct extmap_chunk;
struct extmap_index;
struct extmap {
	struct extmap_chunk *single; /* the only chunk, or (one extent) a reserve for the next changes */
	union {
		struct extent one;          /* the only extent: small files pay for nothing else */
		struct extmap_index *index; /* of many chunks */
	};
	uint64_t blocks;
	uint32_t extents;
	uint8_t shape; /* which of the above it is */
};

void extmap_init(struct extmap *m);
void extmap_fini(struct extmap *m);
/* The extent that contains the block, else the first one after it; false: none. */
bool extmap_find(const struct extmap *m, uint64_t block, struct extent *out);
/* The extent that contains the block and those after it, else those after it: how many, at most max. */
unsigned extmap_read(const struct extmap *m, uint64_t block, struct extent *out, unsigned max);
/* The next `changes` calls of set or clear cannot fail. -ENOMEM. */
int extmap_reserve(struct extmap *m, unsigned changes);
/* Replaces whatever was in the range. Needs a reserve of 1 (asserted). */
void extmap_set(struct extmap *m, const struct extent *e);
/* Unmaps the range. Needs a reserve of 1 only when it cuts one extent in the middle (asserted). */
void extmap_clear(struct extmap *m, uint64_t off, uint64_t blocks);
/* For tests and fs_verify: order, merging and counters are as they must be. */
bool extmap_sound(const struct extmap *m);

#endif
