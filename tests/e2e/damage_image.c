/* SPDX-License-Identifier: BSD-2-Clause */
#include "damage_image.h"

#include <endian.h>
#include <string.h>

unsigned image_random(unsigned *seed, unsigned below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (unsigned)(((uint64_t)(*seed >> 4) * below) >> 28);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* crc32c, bit by bit, of two pieces. */
static uint32_t crc_more(uint32_t crc, const uint8_t *p, size_t len)
{
	crc = ~crc;
	while (len-- > 0) {
		crc ^= *p++;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
	}
	return ~crc;
}

static uint32_t part_crc(const struct image_part *p, const uint8_t *bytes)
{
	size_t end = p->off + p->len;

	return crc_more(0, bytes + p->from, (p->crc_off > p->from ? p->crc_off : end) - p->from);
}

/* Takes it when its crc is right: what else looks like a structure is somebody's data. */
static bool part_add(struct image *image, struct image_part p)
{
	if (image->count == IMAGE_PARTS_MAX || p.off + p.len > IMAGE_BYTES || p.len < 4)
		return false;
	if (get32(image->bytes + p.crc_off) != part_crc(&p, image->bytes))
		return false;
	image->parts[image->count++] = p;
	return true;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* Where the first byte of this block is; NULL outside. */
static const uint8_t *block(const struct image *image, uint64_t number)
{
	return number < IMAGE_BLOCKS ? image->bytes + number * 4096 : NULL;
}

/* Returns the block to which the last record links; 0: the log ends. */
static uint64_t scan_records(struct image *image, size_t off)
{
	uint32_t len;

	for (off += 64; off + 80 <= IMAGE_BYTES; off += len) {
		const uint8_t *b = image->bytes + off;

		len = get32(b + 4);
		if (len < 48 || !part_add(image, (struct image_part){off, len, off, off + 4, 'R'}))
			return 0;
		if (b[40] == 4)
			return get64(b + 48);
	}
	return 0;
}

void image_scan(struct image *image)
{
	uint64_t at = get64(image->bytes + 512) & ((1ull << 48) - 1), log = 0;
	const uint8_t *b = block(image, at);
	size_t off;

	part_add(image, (struct image_part){0, 128, 124, 0, 'S'});
	off = IMAGE_BYTES - 4096;
	part_add(image, (struct image_part){off, 128, off + 124, off, 'S'});
	off = at * 4096;
	if (b && part_add(image, (struct image_part){off, 192, off + 188, off, 'H'})) {
		at = get64(b + 104);
		log = get64(b + 48);
	}
	for (b = block(image, at); at && b; at = get64(b + 40), b = block(image, at)) {
		off = at * 4096;
		if (!part_add(image, (struct image_part){off, 64 + get32(b + 52), off + 8, off + 12, 'C'}))
			break;
	}
	image->structures = image->count;
	while (log && block(image, log)) {
		off = log * 4096;
		if (!part_add(image, (struct image_part){off, 64, off + 60, off, 'L'}))
			return;
		log = scan_records(image, off);
	}
}

void image_seal(const struct image *image, uint8_t *bytes)
{
	for (unsigned i = 0; i < image->count; i++) {
		const struct image_part *p = &image->parts[i];
		uint32_t crc = htole32(part_crc(p, bytes));

		memcpy(bytes + p->crc_off, &crc, sizeof(crc));
	}
}

/* Numbers at which something ends. */
static uint64_t interesting(unsigned *seed)
{
	static const uint64_t numbers[] = {0,
					   1,
					   2,
					   7,
					   8,
					   0x7f,
					   0xff,
					   0xffff,
					   0x10000,
					   0xffffffffull,
					   1ull << 32,
					   1ull << 51,
					   (1ull << 51) - 1,
					   1ull << 52,
					   INT64_MAX,
					   1ull << 63,
					   UINT64_MAX,
					   UINT64_MAX - 1,
					   UINT64_MAX - 4095,
					   IMAGE_BLOCKS,
					   IMAGE_BLOCKS - 1,
					   IMAGE_BLOCKS - 2};

	if (image_random(seed, 3) == 0)
		return image_random(seed, IMAGE_BLOCKS);
	return numbers[image_random(seed, sizeof(numbers) / sizeof(numbers[0]))];
}

static void damage_once(const struct image *image, uint8_t *bytes, unsigned *seed)
{
	unsigned among = image_random(seed, 2) ? image->count : image->structures;
	const struct image_part *p = &image->parts[image_random(seed, among)];
	size_t at = p->off + image_random(seed, (unsigned)p->len);
	size_t word = p->off + image_random(seed, (unsigned)(p->len / 8)) * 8;
	size_t half = word + 4 * image_random(seed, 2);
	uint64_t number = interesting(seed);
	uint32_t low = htole32((uint32_t)number);

	switch (image_random(seed, 8)) {
	case 0:
	case 1:
		bytes[at] ^= (uint8_t)(1u << image_random(seed, 8));
		return;
	case 2:
		bytes[at] = (uint8_t)image_random(seed, 256);
		return;
	case 3:
		put64(bytes + word, number);
		return;
	case 4:
		memcpy(bytes + half, &low, sizeof(low));
		return;
	case 5:
		memcpy(bytes + word, image->bytes + (p->off + image_random(seed, (unsigned)(p->len / 8)) * 8), 8);
		return;
	case 6: /* a line of it is another line of metadata */
		if (p->len >= 128) {
			const struct image_part *q = &image->parts[image_random(seed, image->count)];
			size_t line = p->off + image_random(seed, (unsigned)(p->len / 64)) * 64;

			memcpy(bytes + line, image->bytes + q->off, q->len < 64 ? q->len : 64);
		}
		return;
	default: /* the root word, or zero bytes behind a structure */
		at = image_random(seed, 4) ? 512 + image_random(seed, 8) : (p->off | 4095);
		bytes[at] ^= (uint8_t)(1u << image_random(seed, 8));
		return;
	}
}

void image_damage(const struct image *image, uint8_t *bytes, bool sealed, unsigned *seed)
{
	unsigned times = 1 + (image_random(seed, 2) ? 0 : image_random(seed, 4));

	for (unsigned i = 0; i < times; i++)
		damage_once(image, bytes, seed);
	if (sealed)
		image_seal(image, bytes);
}
