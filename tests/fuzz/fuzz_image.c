/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mount, walk, fsck and repair of damaged pools (L39, I8): the input is a script of patches over the seed pool, 12
 * bytes each, behind one byte of flags. Checksums are put right afterwards unless a flag says no, so that the fuzzer
 * gets behind them. The promises are those of look.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "look.h"
#include "seed_pool.h"

#define PATCH_BYTES 12u
#define PATCHES_MAX 16u
#define FLAG_RAW    1u /* checksums stay as they are */
#define FLAG_LINES  2u /* some patches come after they were put right */

enum op { OP_SET8, OP_SET16, OP_SET32, OP_SET64, OP_XOR, OP_ADD, OP_COPY, OP_FILL, OP_EDGE, OP_COUNT };

static struct seed seed;

static const uint64_t edges[] = {0,
				 1,
				 2,
				 7,
				 8,
				 16,
				 63,
				 64,
				 0x7f,
				 0xff,
				 0x7fff,
				 0xffff,
				 0x10000,
				 0x7fffffff,
				 0xffffffff,
				 1ull << 32,
				 1ull << 51,
				 (1ull << 51) - 1,
				 INT64_MAX,
				 1ull << 63,
				 UINT64_MAX,
				 UINT64_MAX - 1,
				 SEED_BLOCKS,
				 SEED_BLOCKS - 1,
				 SEED_BLOCKS - 2};

/* Parts first, then items; anything else is a place in the pool. */
static uint64_t target(uint8_t which, uint16_t off)
{
	if (which < seed.part_count)
		return seed.parts[which].off + off % (seed.parts[which].len + 16);
	which = (uint8_t)(which - seed.part_count);
	if (which < seed.mark_count)
		return seed.marks[which].off + off % seed.marks[which].len;
	return (uint64_t)off * 8 % SEED_BYTES;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void patch(const uint8_t *p)
{
	uint64_t at = target(p[0], (uint16_t)(p[2] | p[3] << 8)), value, word, from;
	uint8_t *to;

	memcpy(&value, p + 4, sizeof(value));
	if (at > SEED_BYTES - 8)
		at = SEED_BYTES - 8;
	to = seed.pool.base + at;
	switch ((enum op)(p[1] % OP_COUNT)) {
	case OP_SET8:
		memcpy(to, &value, 1);
		break;
	case OP_SET16:
		memcpy(to, &value, 2);
		break;
	case OP_SET32:
		memcpy(to, &value, 4);
		break;
	case OP_SET64:
		memcpy(to, &value, 8);
		break;
	case OP_XOR:
		memcpy(&word, to, 8);
		word ^= value;
		memcpy(to, &word, 8);
		break;
	case OP_ADD:
		memcpy(&word, to, 8);
		word += (uint64_t)(int64_t)(int8_t)value;
		memcpy(to, &word, 8);
		break;
	case OP_COPY: /* other metadata, up to a block of it */
		from = target((uint8_t)value, (uint16_t)(value >> 8)) & ~7ull;
		if (from <= SEED_BYTES - 4096)
			memmove(to, seed.pool.base + from, least(8 + (value >> 24) % 4089, SEED_BYTES - at));
		break;
	case OP_FILL:
		memset(to, (int)(value & 0xff), least(1 + (value >> 8) % 4096, SEED_BYTES - at));
		break;
	case OP_EDGE:
		word = edges[value % (sizeof(edges) / sizeof(edges[0]))];
		memcpy(to, &word, (size_t)1 << (value >> 8) % 4);
		break;
	case OP_COUNT:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t count;
	uint8_t flags;

	if (seed.pool.base == NULL)
		seed_new(&seed);
	if (size < 1 + PATCH_BYTES)
		return 0;
	flags = data[0];
	count = (size - 1) / PATCH_BYTES;
	if (count > PATCHES_MAX)
		count = PATCHES_MAX;
	seed_reset(&seed);
	for (size_t i = 0; i < count; i++) {
		patch(data + 1 + i * PATCH_BYTES);
		/* With FLAG_LINES the last patch is damage that no checksum covers. */
		if ((flags & FLAG_RAW) == 0 && i + 1 + ((flags & FLAG_LINES) != 0) == count)
			seed_seal(&seed, true);
	}
	look_promises(&seed.pool, "fuzz");
	return 0;
}

int fuzz_seeds(const char *dir)
{
	uint8_t input[1 + PATCH_BYTES];
	char path[4096];
	FILE *f;

	seed_new(&seed);
	/* One for each part and item: a field of it becomes something else. */
	for (unsigned i = 0; i < seed.part_count + seed.mark_count; i++) {
		memset(input, 0, sizeof(input));
		input[0] = (uint8_t)(i % 4 == 3);
		input[1] = (uint8_t)i;
		input[2] = (uint8_t)(i % OP_COUNT);
		input[3] = (uint8_t)(i * 5 % 48);
		input[5] = (uint8_t)(i * 11);
		snprintf(path, sizeof(path), "%s/seed-%03u", dir, i);
		f = fopen(path, "wb");
		if (f == NULL || fwrite(input, sizeof(input), 1, f) != 1 || fclose(f) != 0)
			return -1;
	}
	return 0;
}
