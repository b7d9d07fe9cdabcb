/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each verifier of src/format on any bytes (I8): it ends, looks at nothing but them, and what it accepts encodes to the
 * same bytes again. The first byte chooses the verifier, its high bit asks for a right checksum.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "format/format.h"
#include "fuzz.h"
#include "seed_pool.h"

#define BLOCKS   4096u
#define WITH_CRC 0x80u

enum what { SUPER, COPY, WORDS, HEAD, CHUNK, ITEM, SEGMENT, RECORD, LINK, PROVES, TEXT, WHAT_COUNT };

static void must(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

static void seal(uint8_t *p, size_t from, size_t to, size_t crc_off)
{
	le32 crc = le32_of(crc32c(0, p + from, to - from));

	memcpy(p + crc_off, &crc, sizeof(crc));
}

static uint32_t get32(const uint8_t *p)
{
	le32 v;

	memcpy(&v, p, sizeof(v));
	return le32_to(v);
}

/* A block of its own, so that a look behind it is seen. */
static uint8_t *block_of(const uint8_t *data, size_t size, size_t block)
{
	uint8_t *p = calloc(1, block);

	if (p == NULL)
		abort();
	memcpy(p, data, size < block ? size : block);
	return p;
}

static void try_super(const uint8_t *data, size_t size, uint32_t copy, bool crc)
{
	uint8_t *p = block_of(data, size, LH_BLOCK_SIZE), again[LH_BLOCK_SIZE];
	struct super s;

	if (crc)
		seal(p, 0, 124, 124);
	if (super_decode(p, copy, BLOCKS * 2, &s) == NULL) {
		super_block_encode(&s, copy, again);
		memcpy(again + FORMAT_ROOT_OFFSET, p + FORMAT_ROOT_OFFSET, 16);
		must(memcmp(again, p, sizeof(again)) == 0, "a superblock is not what it was");
	}
	super_magic(p);
	free(p);
}

static void try_words(const uint8_t *data, size_t size)
{
	static const uint8_t uuid[16] = "seed of a pool.";
	uint8_t *p = block_of(data, size, 16);
	uint64_t v;
	le64 w;

	memcpy(&w, p, 8);
	if (root_decode(w, uuid, BLOCKS, &v) == NULL)
		must(v >= 1 && v < BLOCKS - 1 && le64_to(root_encode(uuid, v)) == le64_to(w), "root word");
	if (size_decode(w, uuid, BLOCKS, &v) == NULL)
		must(v <= BLOCKS && le64_to(size_encode(uuid, v)) == le64_to(w), "size word");
	w = root_encode(uuid, le64_to(w) & 0xffffffffffff);
	root_decode(w, uuid, BLOCKS, &v);
	free(p);
}

static void try_head(const uint8_t *data, size_t size, bool crc)
{
	uint8_t *p = block_of(data, size, LH_BLOCK_SIZE);
	struct super super = {.blocks = BLOCKS};
	struct m_checkpoint m;
	struct checkpoint_head h;

	memcpy(super.uuid, p + 8, 16);
	if (crc)
		seal(p, 0, 188, 188);
	if (checkpoint_decode(p, 20, &super, &h) == NULL) {
		checkpoint_encode(&h, &m);
		must(memcmp(&m, p, sizeof(m)) == 0, "a checkpoint header is not what it was");
	}
	free(p);
}

static void try_chunk(const uint8_t *data, size_t size, bool crc)
{
	uint8_t *p = block_of(data, size, 2 * LH_BLOCK_SIZE);
	struct chunk_head expect = {.block = 30, .number = 7, .blocks = 2, .index = p[32]}, h;
	uint32_t bytes = get32(p + 52);

	if (crc && bytes <= 2 * LH_BLOCK_SIZE - 64)
		seal(p, 12, 64 + bytes, 8);
	if (chunk_decode(p, &expect, (p[40] | p[41]) == 0, BLOCKS, &h) == NULL)
		must(h.bytes <= 2 * LH_BLOCK_SIZE - 64, "chunk's bytes");
	free(p);
}

static void try_items(const uint8_t *data, size_t size)
{
	/* Exactly as long as they are. */
	uint8_t *p = malloc(size + 1), *again = malloc(FORMAT_ITEM_MAX + 8);
	uint32_t length = 0;
	char text[128];

	if (p == NULL || again == NULL)
		abort();
	p = realloc(p, size > 0 ? size : 1);
	memcpy(p, data, size);
	for (size_t at = 0; at < size; at += length) {
		struct item it;

		length = 0;
		if (item_decode(p + at, size - at, BLOCKS, &it, &length) != NULL)
			break;
		must(length <= size - at && length == item_size(&it), "length of an item");
		item_encode(&it, again);
		must(memcmp(again, p + at, length) == 0, "an item is not what it was");
		item_about(&it, text, sizeof(text));
		format_to_text(format_item_struct(it.type), p + at, text, sizeof(text));
	}
	free(p);
	free(again);
}

static void try_segment(const uint8_t *data, size_t size, bool crc)
{
	uint8_t *p = block_of(data, size, sizeof(struct m_segment));
	struct segment_head expect = {.block = 100, .generation = 3, .blocks = 2}, h;
	struct m_segment m, copy;

	if (crc)
		seal(p, 0, 60, 60);
	memcpy(&copy, p, sizeof(copy));
	expect.salt = le64_to(copy.sg_salt);
	expect.first_seq = le64_to(copy.sg_first_seq);
	if (segment_decode(p, &expect, BLOCKS, &h) == NULL) {
		segment_encode(&h, &m);
		must(memcmp(&m, p, sizeof(m)) == 0, "a segment header is not what it was");
	}
	free(p);
}

static void try_record(const uint8_t *data, size_t size, bool crc, bool proves)
{
	uint8_t *p = malloc(size > 0 ? size : 1);
	struct record_head expect = {.seq = 101, .generation = 3, .salt = 0x1122334455667788ull}, h;
	struct link_to to;
	bool tail;

	if (p == NULL)
		abort();
	memcpy(p, data, size);
	if (crc && size >= 48 && get32(p + 4) >= 48 && get32(p + 4) <= size)
		seal(p, 4, get32(p + 4), 0);
	if (size >= 16)
		memcpy(&expect.seq, p + 8, 8);
	if (proves) {
		expect.seq /= 2;
		record_proves(p, size, &expect);
	} else if (record_decode(p, size, &expect, &h, &tail) == NULL) {
		must(h.length <= size && h.length >= 48, "length of a record");
		if ((h.flags & RECORD_LINK) != 0 && link_decode(p, &h, BLOCKS, &to) == NULL)
			must(to.start >= 1 && to.blocks >= 1 && to.start + to.blocks <= BLOCKS - 1, "link");
	}
	free(p);
}

static void try_text(const uint8_t *data, size_t size)
{
	char text[64];

	for (unsigned i = 0; i < FORMAT_STRUCT_COUNT; i++) {
		uint8_t *p = block_of(data, size, format_structs[i].size);

		format_to_text(&format_structs[i], p, text, 1 + size % (sizeof(text) - 1));
		free(p);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool crc;

	if (size < 1)
		return 0;
	crc = (data[0] & WITH_CRC) != 0;
	size--;
	switch ((enum what)((data[0] & ~WITH_CRC) % WHAT_COUNT)) {
	case SUPER:
		try_super(data + 1, size, 0, crc);
		break;
	case COPY:
		try_super(data + 1, size, 1, crc);
		break;
	case WORDS:
		try_words(data + 1, size);
		break;
	case HEAD:
		try_head(data + 1, size, crc);
		break;
	case CHUNK:
		try_chunk(data + 1, size, crc);
		break;
	case ITEM:
		try_items(data + 1, size);
		break;
	case SEGMENT:
		try_segment(data + 1, size, crc);
		break;
	case RECORD:
	case LINK:
		try_record(data + 1, size, crc, false);
		break;
	case PROVES:
		try_record(data + 1, size, crc, true);
		break;
	case TEXT:
		try_text(data + 1, size);
		break;
	case WHAT_COUNT:
		break;
	}
	return 0;
}

/* The structures and items of the seed pool. */
int fuzz_seeds(const char *dir)
{
	static struct seed seed;
	char path[4096];
	int bad = 0;

	seed_new(&seed);
	for (unsigned i = 0; i < seed.part_count + seed.mark_count; i++) {
		const struct seed_part *p = i < seed.part_count ? &seed.parts[i] : NULL;
		const struct seed_mark *m = p != NULL ? NULL : &seed.marks[i - seed.part_count];
		uint64_t off = p != NULL ? p->off : m->off, len = p != NULL ? p->len : m->len;
		uint8_t what = ITEM;
		FILE *f;

		if (p != NULL)
			what = p->kind == 'S'   ? i % 2
			       : p->kind == 'W' ? WORDS
			       : p->kind == 'H' ? HEAD
			       : p->kind == 'C' ? CHUNK
			       : p->kind == 'L' ? SEGMENT
						: RECORD;
		if (len > 4096)
			continue;
		snprintf(path, sizeof(path), "%s/seed-%03u", dir, i);
		f = fopen(path, "wb");
		what |= WITH_CRC;
		bad |= f == NULL || fwrite(&what, 1, 1, f) != 1 || fwrite(seed.pool.base + off, len, 1, f) != 1 ||
		       fclose(f) != 0;
	}
	return -bad;
}
