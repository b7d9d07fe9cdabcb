/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For test_damage.c: an image of a pool in memory, where its metadata lies, and ways to damage it. What a stored byte
 * is comes from docs/format.md and not from the product's headers: an independent reader of the same page.
 */
#ifndef LH_TESTS_E2E_DAMAGE_IMAGE_H
#define LH_TESTS_E2E_DAMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_BYTES     (16ull << 20)
#define IMAGE_BLOCKS    (IMAGE_BYTES / 4096)
#define IMAGE_PARTS_MAX 2048u

/* A structure with a crc of its own. */
struct image_part {
	size_t off, len; /* all that the crc says something about, itself included */
	size_t crc_off;  /* where the crc lies */
	size_t from;     /* the crc is of [from, off + len) without itself */
	char kind;       /* S superblock, H checkpoint header, C chunk, L log segment's header, R record */
};

struct image {
	uint8_t *bytes;
	struct image_part parts[IMAGE_PARTS_MAX];
	unsigned count, structures; /* structures: those in front of the log */
};

/* Finds the parts that a mount reads. */
void image_scan(struct image *image);
/* Damages bytes (a copy of image->bytes) by a few random changes. sealed: puts the crcs right afterwards. */
void image_damage(const struct image *image, uint8_t *bytes, bool sealed, unsigned *seed);
void image_seal(const struct image *image, uint8_t *bytes);
unsigned image_random(unsigned *seed, unsigned below);

#endif
