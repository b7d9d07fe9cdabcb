/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: I8, docs/format.md 2 to 5: the bytes on the medium are what the document says (golden vectors), and each rule
 * is found broken by its number. Rules that need several structures (3.2g, 4.1f, 5.4, 5.5, 6) are in tests/unit/fs and
 * tools.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/crc.h"
#include "format/format.h"

#define BLOCKS 8192u

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static void expect_rule(const char *got, const char *want)
{
	if (got == NULL || strncmp(got, want, strlen(want)) != 0)
		fprintf(stderr, "got %s, not %s\n", got != NULL ? got : "no rule", want);
	assert_non_null(got);
	assert_int_equal(strncmp(got, want, strlen(want)), 0);
	/* The number ends there: 2.1a is not 2.1. */
	assert_int_equal(got[strlen(want)], ' ');
}

static void expect_none(const char *got)
{
	if (got != NULL)
		fprintf(stderr, "got %s\n", got);
	assert_null(got);
}

static void expect_bytes(const void *got, size_t len, const char *hex)
{
	char text[2048];

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)got)[i]);
	assert_string_equal(text, hex);
}

/* --- 2 superblock ----------------------------------------------------------------------------------------------------
 */

static const struct super super_good = {.blocks = BLOCKS,
					.created_ns = 0x1122334455667788,
					.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static void super_block(uint8_t *block, uint32_t copy)
{
	memset(block, 0, LH_BLOCK_SIZE);
	super_encode(&super_good, copy, (struct m_super *)block);
}

static void super_reseal(uint8_t *block)
{
	struct m_super *m = (struct m_super *)block;

	m->sb_crc = le32_of(crc32c(0, m, offsetof(struct m_super, sb_crc)));
}

static void the_superblock_has_its_bytes(void **state)
{
	uint8_t block[LH_BLOCK_SIZE] __attribute__((aligned(8)));
	struct super s;

	super_block(block, 0);
	expect_bytes(block, 128,
		     "4c4541534548"
		     "4c44"                                             /* LEASEHLD */
		     "0100000000100000"                                 /* version, block size */
		     "000000000000000000000000000000000000000000000000" /* features */
		     "0102030405060708090a0b0c0d0e0f10"                 /* uuid */
		     "00200000000000008877665544332211"                 /* blocks, created */
		     "00000000"                                         /* copy */
		     "000000000000000000000000000000000000000000000000"
		     "000000000000000000000000000000000000000000000000"
		     "1062a437");
	expect_none(super_decode(block, 0, BLOCKS, &s));
	assert_int_equal(s.created_ns, super_good.created_ns);
	assert_memory_equal(s.uuid, uuid, 16);
}

static const char *super_with(void (*change)(struct m_super *m), uint32_t copy, uint64_t pool_blocks)
{
	static uint8_t block[LH_BLOCK_SIZE] __attribute__((aligned(8)));
	struct super s;

	super_block(block, copy);
	change((struct m_super *)block);
	super_reseal(block);
	return super_decode(block, 0, pool_blocks, &s);
}
static void super_no_change(struct m_super *m)
{
}
static void super_magic_change(struct m_super *m)
{
	m->sb_magic[3] ^= 1;
}
static void super_version(struct m_super *m)
{
	m->sb_version = le32_of(2);
}
static void super_incompat(struct m_super *m)
{
	m->sb_incompat = le64_of((uint64_t)1 << 63);
}
static void super_block_size(struct m_super *m)
{
	m->sb_block_size = le32_of(8192);
}
static void super_small(struct m_super *m)
{
	m->sb_blocks = le64_of(4095);
}
static void super_zero(struct m_super *m)
{
	m->sb_zero[47] = 1;
}

static void each_rule_of_the_superblock_is_found(void **state)
{
	uint8_t block[LH_BLOCK_SIZE] __attribute__((aligned(8)));
	struct super s;

	expect_none(super_with(super_no_change, 0, BLOCKS));
	expect_none(super_with(super_no_change, 0, BLOCKS + 1));
	expect_rule(super_with(super_magic_change, 0, BLOCKS), "2.1a");
	expect_rule(super_with(super_version, 0, BLOCKS), "2.1c");
	expect_rule(super_with(super_incompat, 0, BLOCKS), "2.1d");
	expect_rule(super_with(super_block_size, 0, BLOCKS), "2.1e");
	expect_rule(super_with(super_small, 0, BLOCKS), "2.1f");
	expect_rule(super_with(super_no_change, 0, BLOCKS - 1), "2.1f");
	expect_rule(super_with(super_no_change, 1, BLOCKS), "2.1g");
	expect_rule(super_with(super_zero, 0, BLOCKS), "2.1h");
	super_block(block, 0);
	block[60] ^= 4;
	expect_rule(super_decode(block, 0, BLOCKS, &s), "2.1b");
	super_block(block, 0);
	block[LH_BLOCK_SIZE - 1] = 1;
	expect_rule(super_decode(block, 0, BLOCKS, &s), "2.1h");
	super_block(block, 1);
	block[FORMAT_ROOT_OFFSET] = 1;
	expect_rule(super_decode(block, 1, BLOCKS, &s), "2.1h");
	assert_true(format_rule_is_version("2.1c unknown version"));
	assert_false(format_rule_is_version("2.1e"));
	assert_true(format_rule_is_crc("2.1b wrong"));
	assert_false(format_rule_is_crc("2.1a"));
}

static void the_root_word_is_checked(void **state)
{
	uint64_t block;
	le64 word = root_encode(uuid, 77);

	expect_none(root_decode(word, uuid, BLOCKS, &block));
	assert_int_equal(block, 77);
	for (unsigned bit = 0; bit < 64; bit++)
		expect_rule(root_decode(le64_of(le64_to(word) ^ (uint64_t)1 << bit), uuid, BLOCKS, &block), "2.3a");
	expect_rule(root_decode(root_encode(uuid, 0), uuid, BLOCKS, &block), "2.3b");
	expect_rule(root_decode(root_encode(uuid, BLOCKS - 1), uuid, BLOCKS, &block), "2.3b");
	expect_none(root_decode(root_encode(uuid, BLOCKS - 2), uuid, BLOCKS, &block));
	/* Zero is no root: a pool whose mkfs was cut off. */
	expect_rule(root_decode(le64_of(0), uuid, BLOCKS, &block), "2.3a");
}

/* The current size of a pool that was resized; the copy has it too. */
static void the_size_word_is_checked(void **state)
{
	uint8_t block[LH_BLOCK_SIZE] __attribute__((aligned(8)));
	struct super s = super_good, out;
	le64 word = size_encode(uuid, 5000);
	uint64_t blocks;

	expect_none(size_decode(word, uuid, 5000, &blocks));
	assert_int_equal(blocks, 5000);
	for (unsigned bit = 0; bit < 64; bit++)
		expect_rule(size_decode(le64_of(le64_to(word) ^ (uint64_t)1 << bit), uuid, BLOCKS, &blocks), "2.4a");
	expect_rule(size_decode(size_encode(uuid, 4095), uuid, BLOCKS, &blocks), "2.4b");
	expect_rule(size_decode(word, uuid, 4999, &blocks), "2.4b");
	s.made_blocks = s.blocks;
	s.blocks = 5000;
	for (uint32_t copy = 0; copy < 2; copy++) {
		super_block_encode(&s, copy, block);
		/* Shorter than it was made, and whole. */
		expect_none(super_decode(block, copy, 5000, &out));
		assert_int_equal(super_blocks_now(&out), 5000);
		assert_int_equal(out.made_blocks, BLOCKS);
		expect_rule(super_decode(block, copy, 4999, &out), "2.4b");
		block[FORMAT_SIZE_OFFSET] ^= 1;
		expect_rule(super_decode(block, copy, 5000, &out), "2.4a");
	}
	super_block_encode(&super_good, 0, block);
	assert_memory_equal(block + FORMAT_SIZE_OFFSET, "\0\0\0\0\0\0\0", 8);
	block[FORMAT_SIZE_OFFSET + 8] = 1;
	expect_rule(super_decode(block, 0, BLOCKS, &out), "2.1h");
}

/* --- 3 checkpoint ---------------------------------------------------------------------------------------------------
 */

static const struct checkpoint_head head_good = {
    .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
    .number = 5,
    .block = 100,
    .log_block = 200,
    .log_blocks = 16,
    .log_seq = 1000,
    .log_generation = 3,
    .log_salt = 0xabcdef0123456789,
    .must_seq = 1010,
    .next_ino = 50,
    .chunk_start = 300,
    .chunk_blocks = 2,
    .chunks = 1,
    .chunk_number = 4,
    .bytes = 4096,
    .items = 40,
};

static const char *head_decoded(const struct checkpoint_head *h, uint64_t at)
{
	static uint8_t block[LH_BLOCK_SIZE] __attribute__((aligned(8)));
	struct checkpoint_head out;

	memset(block, 0, sizeof(block));
	checkpoint_encode(h, (struct m_checkpoint *)block);
	return checkpoint_decode(block, at, &super_good, &out);
}

#define HEAD_WITH(change)                                                                                              \
	({                                                                                                             \
		struct checkpoint_head h = head_good;                                                                  \
		change;                                                                                                \
		head_decoded(&h, 100);                                                                                 \
	})

static void the_checkpoint_header_comes_back(void **state)
{
	struct m_checkpoint again;
	uint8_t block[LH_BLOCK_SIZE] __attribute__((aligned(8))) = {0};
	struct checkpoint_head out;

	checkpoint_encode(&head_good, (struct m_checkpoint *)block);
	expect_bytes(block, 192,
		     "4c4843484b5054310102030405060708090a0b0c0d0e0f10050000000000000000000000000000006400000000000000c"
		     "8000000000000001000000000000000e80300000000000003000000000000008967452301efcdabf20300000000000032"
		     "000000000000002c010000000000000200000001000000040000000000000000100000000000002800000000000000000"
		     "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
		     "c9c2db79");
	expect_none(checkpoint_decode(block, 100, &super_good, &out));
	checkpoint_encode(&out, &again);
	assert_memory_equal(&again, block, sizeof(again));
}

static void each_rule_of_the_checkpoint_header_is_found(void **state)
{
	uint8_t block[LH_BLOCK_SIZE] __attribute__((aligned(8))) = {0};
	struct checkpoint_head out;

	expect_none(head_decoded(&head_good, 100));
	expect_rule(head_decoded(&head_good, 101), "3.1c");
	expect_rule(HEAD_WITH(h.uuid[0] = 9), "3.1c");
	expect_rule(HEAD_WITH(h.number = 0), "3.1d");
	expect_rule(HEAD_WITH(h.chunk_number = 6), "3.1d");
	expect_rule(HEAD_WITH(h.chunk_number = 0), "3.1d");
	expect_rule(HEAD_WITH(h.flags = 2), "3.1e");
	expect_rule(HEAD_WITH(h.flags = CHECKPOINT_CLEAN), "3.1f");
	expect_none(HEAD_WITH(h.flags = CHECKPOINT_CLEAN; h.log_block = 0; h.log_blocks = 0; h.log_seq = 1011));
	expect_rule(HEAD_WITH(h.log_block = 0), "3.1f");
	expect_rule(HEAD_WITH(h.log_block = BLOCKS - 16), "3.1f");
	expect_rule(HEAD_WITH(h.log_blocks = 0), "3.1f");
	expect_rule(HEAD_WITH(h.log_blocks = 5000), "3.1f");
	expect_rule(HEAD_WITH(h.log_seq = 0), "3.1f");
	expect_rule(HEAD_WITH(h.next_ino = 1), "3.1g");
	expect_rule(HEAD_WITH(h.next_ino = (uint64_t)1 << 63), "3.1g");
	expect_rule(HEAD_WITH(h.chunk_start = BLOCKS - 2), "3.1h");
	expect_rule(HEAD_WITH(h.chunk_blocks = 257), "3.1h");
	expect_rule(HEAD_WITH(h.chunks = 0), "3.1h");
	expect_rule(HEAD_WITH(h.items = 0), "3.1h");
	expect_rule(HEAD_WITH(h.bytes = 0), "3.1h");
	expect_none(HEAD_WITH(h.bytes = 0; h.items = 0; h.chunks = 0; h.chunk_start = 0; h.chunk_blocks = 0));
	expect_rule(HEAD_WITH(h.log_seq = 1012), "3.1j");
	expect_rule(HEAD_WITH(h.must_seq = UINT64_MAX), "3.1j");
	expect_rule(HEAD_WITH(h.must_seq = INT64_MAX), "3.1j");
	expect_none(HEAD_WITH(h.must_seq = INT64_MAX - 1));
	expect_rule(HEAD_WITH(h.log_generation = INT64_MAX), "3.1j");
	expect_rule(HEAD_WITH(h.number = INT64_MAX), "3.1d");
	checkpoint_encode(&head_good, (struct m_checkpoint *)block);
	block[0] ^= 1;
	expect_rule(checkpoint_decode(block, 100, &super_good, &out), "3.1a");
	block[0] ^= 1;
	block[100] ^= 1;
	expect_rule(checkpoint_decode(block, 100, &super_good, &out), "3.1b");
	block[100] ^= 1;
	block[4000] = 1;
	expect_rule(checkpoint_decode(block, 100, &super_good, &out), "3.1i");
}

#define CHUNK_BYTES 80u
static uint8_t chunk_bytes[2 * LH_BLOCK_SIZE] __attribute__((aligned(8)));
static const struct chunk_head chunk_good = {.block = 300,
					     .number = 4,
					     .index = 1,
					     .blocks = 2,
					     .bytes = CHUNK_BYTES,
					     .items = 1,
					     .next_start = 500,
					     .next_blocks = 7};

static const char *chunk_decoded(const struct chunk_head *h, bool last)
{
	const struct chunk_head expect = {.block = 300, .number = 4, .index = 1, .blocks = 2};
	struct chunk_head out;

	memset(chunk_bytes, 7, sizeof(chunk_bytes));
	chunk_seal(h, chunk_bytes);
	return chunk_decode(chunk_bytes, &expect, last, BLOCKS, &out);
}

#define CHUNK_WITH(change, last)                                                                                       \
	({                                                                                                             \
		struct chunk_head h = chunk_good;                                                                      \
		change;                                                                                                \
		chunk_decoded(&h, last);                                                                               \
	})

static void each_rule_of_a_chunk_is_found(void **state)
{
	const struct chunk_head expect = {.block = 300, .number = 4, .index = 1, .blocks = 2};
	struct m_chunk *m = (struct m_chunk *)chunk_bytes;
	struct chunk_head out;

	expect_none(chunk_decoded(&chunk_good, false));
	expect_rule(chunk_decoded(&chunk_good, true), "3.2e");
	expect_none(CHUNK_WITH(h.next_start = 0; h.next_blocks = 0, true));
	expect_rule(CHUNK_WITH(h.next_start = 0; h.next_blocks = 0, false), "3.2e");
	expect_rule(CHUNK_WITH(h.next_start = BLOCKS - 7, false), "3.2e");
	expect_rule(CHUNK_WITH(h.next_blocks = 257, false), "3.2e");
	expect_rule(CHUNK_WITH(h.block = 301, false), "3.2d");
	expect_rule(CHUNK_WITH(h.number = 5, false), "3.2d");
	expect_rule(CHUNK_WITH(h.index = 0, false), "3.2d");
	expect_rule(CHUNK_WITH(h.blocks = 3, false), "3.2d");
	chunk_decoded(&chunk_good, false);
	m->ck_bytes = le32_of(2 * LH_BLOCK_SIZE);
	expect_rule(chunk_decode(chunk_bytes, &expect, false, BLOCKS, &out), "3.2b");
	m->ck_bytes = le32_of(UINT32_MAX);
	expect_rule(chunk_decode(chunk_bytes, &expect, false, BLOCKS, &out), "3.2b");
	chunk_decoded(&chunk_good, false);
	m->ck_magic[7] ^= 1;
	expect_rule(chunk_decode(chunk_bytes, &expect, false, BLOCKS, &out), "3.2a");
	chunk_decoded(&chunk_good, false);
	chunk_bytes[64 + CHUNK_BYTES - 1] ^= 1;
	expect_rule(chunk_decode(chunk_bytes, &expect, false, BLOCKS, &out), "3.2c");
	chunk_decoded(&chunk_good, false);
	m->ck_zero = le64_of(1);
	m->ck_crc = le32_of(crc32c(0, chunk_bytes + 12, 64 - 12 + CHUNK_BYTES));
	expect_rule(chunk_decode(chunk_bytes, &expect, false, BLOCKS, &out), "3.2f");
}

/* --- 4 items --------------------------------------------------------------------------------------------------------
 */

static const struct item item_inode = {.type = ITEM_INODE,
				       .ino = 17,
				       .inode = {.size = 5,
						 .rdev = 6,
						 .mode = S_IFREG | 0644,
						 .uid = 7,
						 .gid = 8,
						 .atime_ns = 1,
						 .mtime_ns = 2,
						 .ctime_ns = 3,
						 .btime_ns = -4}};
static const struct item item_forget = {.type = ITEM_FORGET, .ino = 17};
static const struct item item_symlink = {.type = ITEM_SYMLINK, .ino = 17, .name = {.name = "ab/c", .len = 4}};
static const struct item item_dirent = {
    .type = ITEM_DIRENT, .ino = 1, .name = {.name = "file", .len = 4, .dtype = DT_REG, .cookie = 9, .target_ino = 17}};
static const struct item item_undirent = {.type = ITEM_UNDIRENT, .ino = 1, .name = {.cookie = 9}};
static const struct item item_map = {
    .type = ITEM_MAP, .ino = 17, .map = {.off = 3, .start = 100, .blocks = 5, .flags = ITEM_MAP_UNWRITTEN}};
static const struct item item_unmap = {.type = ITEM_UNMAP, .ino = 17, .map = {.off = 3, .blocks = 5}};
static const struct item item_xattr = {
    .type = ITEM_XATTR,
    .ino = 17,
    .xattr = {.name = "user.a", .value = "xyz", .name_len = 6, .value_len = 3, .flags = ITEM_XATTR_APPEND}};
static const struct item item_limit = {
    .type = ITEM_LIMIT, .ino = 1, .limit = {.blocks = 9, .inodes = 10, .kind = ITEM_LIMIT_UID, .id = 1000}};
static const struct item item_bad = {
    .type = ITEM_BAD, .ino = 1, .map = {.start = 100, .blocks = 5, .flags = ITEM_BAD_GOOD}};
static const struct item item_claim = {.type = ITEM_CLAIM,
				       .ino = 17,
				       .claim = {.id = 3,
						 .start = 4096,
						 .end = 12288,
						 .until_ns = 5,
						 .uid = 1000,
						 .mode = ITEM_CLAIM_WRITE,
						 .client = {0xaa, 0xbb}}};

static void items_have_their_bytes(void **state)
{
	static const struct {
		const struct item *it;
		const char *hex;
	} golden[] = {
	    {&item_inode, "01005000a48100001100000000000000"
			  "05000000000000000600000000000000"
			  "07000000080000000000000000000000"
			  "01000000000000000200000000000000"
			  "0300000000000000fcffffffffffffff"},
	    {&item_forget, "02001000000000001100000000000000"},
	    {&item_symlink, "03002000040000001100000000000000"
			    "000000000000000061622f6300000000"},
	    {&item_dirent, "04002800080400000100000000000000"
			   "09000000000000001100000000000000"
			   "66696c6500000000"},
	    {&item_undirent, "050018000000000001000000000000000900000000000000"},
	    {&item_map, "06002800010000001100000000000000"
			"03000000000000006400000000000000"
			"0500000000000000"},
	    {&item_unmap, "07002000000000001100000000000000"
			  "03000000000000000500000000000000"},
	    {&item_xattr, "08002000060103001100000000000000"
			  "757365722e6178797a00000000000000"},
	    {&item_limit, "09002800010000000100000000000000"
			  "e8030000000000000900000000000000"
			  "0a00000000000000"},
	    {&item_bad, "0a002000010000000100000000000000"
			"64000000000000000500000000000000"},
	    {&item_claim, "0b004800e80300001100000000000000"
			  "0300000000000000aabb000000000000"
			  "00000000000000000010000000000000"
			  "00300000000000000500000000000000"
			  "0200000000000000"},
	};
	uint8_t buf[256];

	for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
		struct item out;
		uint32_t length;

		memset(buf, 0xee, sizeof(buf));
		item_encode(golden[i].it, buf);
		expect_bytes(buf, item_size(golden[i].it), golden[i].hex);
		expect_none(item_decode(buf, sizeof(buf), BLOCKS, &out, &length));
		assert_int_equal(length, item_size(golden[i].it));
		assert_int_equal(out.type, golden[i].it->type);
		assert_int_equal(out.ino, golden[i].it->ino);
	}
}

/* Encodes, lets the caller spoil bytes, decodes. */
static const char *item_spoiled(const struct item *it, uint32_t offset, uint8_t value)
{
	uint8_t buf[512];
	struct item out;
	uint32_t length;

	item_encode(it, buf);
	buf[offset] = value;
	return item_decode(buf, item_size(it), BLOCKS, &out, &length);
}

static const char *item_decoded(const struct item *it)
{
	uint8_t buf[FORMAT_ITEM_MAX];
	struct item out;
	uint32_t length;

	item_encode(it, buf);
	return item_decode(buf, item_size(it), BLOCKS, &out, &length);
}

#define ITEM_WITH(base, change)                                                                                        \
	({                                                                                                             \
		struct item it = base;                                                                                 \
		change;                                                                                                \
		item_decoded(&it);                                                                                     \
	})

static void each_rule_of_all_items_is_found(void **state)
{
	uint8_t buf[256];
	struct item out;
	uint32_t length;

	item_encode(&item_map, buf);
	for (uint32_t room = 0; room < item_size(&item_map); room++)
		expect_rule(item_decode(buf, room, BLOCKS, &out, &length), "4.1a");
	expect_rule(item_spoiled(&item_map, 2, 36), "4.1b");
	expect_rule(item_spoiled(&item_map, 2, 8), "4.1b");
	expect_rule(item_spoiled(&item_map, 2, 0), "4.1b");
	expect_rule(item_spoiled(&item_map, 2, 32), "4.1b");
	expect_rule(item_spoiled(&item_inode, 2, 72), "4.1b");
	expect_rule(item_spoiled(&item_dirent, 2, 32), "4.1b");
	expect_rule(item_spoiled(&item_symlink, 2, 24), "4.1b");
	expect_rule(item_spoiled(&item_undirent, 2, 16), "4.1b");
	expect_rule(item_spoiled(&item_xattr, 2, 24), "4.1b");
	expect_rule(item_spoiled(&item_xattr, 2, 40), "4.1a");
	expect_rule(item_spoiled(&item_xattr, 6, 200), "4.1b");
	expect_rule(item_spoiled(&item_xattr, 4, 30), "4.1b");
	expect_rule(item_spoiled(&item_limit, 2, 32), "4.1b");
	expect_rule(item_spoiled(&item_bad, 2, 24), "4.1b");
	expect_rule(item_spoiled(&item_claim, 2, 64), "4.1b");
	expect_rule(item_spoiled(&item_map, 0, 12), "4.1c");
	expect_rule(item_spoiled(&item_map, 0, 99), "4.1c");
	expect_rule(item_spoiled(&item_map, 0, 0), "4.1c");
	expect_rule(item_spoiled(&item_map, 1, 1), "4.1c");
	expect_rule(item_spoiled(&item_xattr, 31, 1), "4.1d");
	expect_rule(item_spoiled(&item_limit, 20, 1), "4.1d");
	expect_rule(item_spoiled(&item_forget, 4, 1), "4.1d");
	expect_rule(item_spoiled(&item_symlink, 16, 1), "4.1d");
	expect_rule(item_spoiled(&item_symlink, 31, 1), "4.1d");
	expect_rule(item_spoiled(&item_dirent, 6, 1), "4.1d");
	expect_rule(item_spoiled(&item_dirent, 39, 1), "4.1d");
	expect_rule(item_spoiled(&item_undirent, 4, 1), "4.1d");
	expect_rule(item_spoiled(&item_unmap, 4, 1), "4.1d");
	expect_rule(ITEM_WITH(item_map, it.ino = 0), "4.1e");
	expect_rule(ITEM_WITH(item_map, it.ino = (uint64_t)1 << 63), "4.1e");
}

static void each_rule_of_maps_is_found(void **state)
{
	expect_none(ITEM_WITH(item_map, it.map.start = 1; it.map.blocks = BLOCKS - 2));
	expect_rule(ITEM_WITH(item_map, it.map.blocks = 0), "4.2a");
	expect_rule(ITEM_WITH(item_map, it.map.start = 0), "4.2b");
	expect_rule(ITEM_WITH(item_map, it.map.start = BLOCKS - 5), "4.2b");
	expect_none(ITEM_WITH(item_map, it.map.start = BLOCKS - 6));
	expect_rule(ITEM_WITH(item_map, it.map.blocks = UINT64_MAX), "4.2b");
	expect_rule(ITEM_WITH(item_map, it.map.start = UINT64_MAX), "4.2b");
	expect_rule(ITEM_WITH(item_map, it.map.off = UINT64_MAX), "4.2c");
	expect_rule(ITEM_WITH(item_map, it.map.off = FORMAT_FILE_BLOCKS_MAX - 4), "4.2c");
	expect_none(ITEM_WITH(item_map, it.map.off = FORMAT_FILE_BLOCKS_MAX - 5));
	expect_rule(ITEM_WITH(item_map, it.map.flags = 2), "4.2d");
	expect_rule(ITEM_WITH(item_unmap, it.map.blocks = 0), "4.3a");
	expect_rule(ITEM_WITH(item_unmap, it.map.off = UINT64_MAX - 4), "4.3a");
	expect_none(ITEM_WITH(item_unmap, it.map.off = UINT64_MAX - 5));
}

static void each_rule_of_inodes_is_found(void **state)
{
	expect_rule(ITEM_WITH(item_inode, it.inode.mode = 0644), "4.4a");
	expect_rule(ITEM_WITH(item_inode, it.inode.mode = S_IFMT | 0644), "4.4a");
	expect_rule(ITEM_WITH(item_inode, it.inode.mode = S_IFREG | 0200000), "4.4a");
	expect_rule(ITEM_WITH(item_inode, it.inode.size = (uint64_t)1 << 63), "4.4b");
	expect_rule(ITEM_WITH(item_inode, it.inode.flags = 4), "4.4c");
	expect_rule(ITEM_WITH(item_forget, it.ino = 1), "4.5a");
	expect_rule(ITEM_WITH(item_symlink, it.name.len = 0), "4.6a");
	expect_rule(item_spoiled(&item_symlink, 5, 16), "4.6a");
	expect_rule(item_spoiled(&item_symlink, 25, 0), "4.6b");
}

static void each_rule_of_names_is_found(void **state)
{
	char longest[FORMAT_NAME_MAX];

	memset(longest, 'x', sizeof(longest));
	expect_none(ITEM_WITH(item_dirent, it.name.name = longest; it.name.len = sizeof(longest)));
	expect_rule(ITEM_WITH(item_dirent, it.name.len = 0), "4.7a");
	expect_rule(ITEM_WITH(item_dirent, it.name.name = "."; it.name.len = 1), "4.7a");
	expect_rule(ITEM_WITH(item_dirent, it.name.name = ".."; it.name.len = 2), "4.7a");
	expect_none(ITEM_WITH(item_dirent, it.name.name = "..."; it.name.len = 3));
	expect_rule(ITEM_WITH(item_dirent, it.name.name = "a/b"; it.name.len = 3), "4.7a");
	expect_rule(ITEM_WITH(item_dirent, it.name.name = "a\0b"; it.name.len = 3), "4.7a");
	expect_rule(ITEM_WITH(item_dirent, it.name.cookie = 0), "4.7b");
	expect_rule(ITEM_WITH(item_dirent, it.name.cookie = (uint64_t)1 << 63), "4.7b");
	expect_rule(ITEM_WITH(item_dirent, it.name.target_ino = 0), "4.7c");
	expect_rule(ITEM_WITH(item_dirent, it.name.target_ino = 1), "4.7c");
	expect_rule(ITEM_WITH(item_dirent, it.name.dtype = DT_WHT), "4.7d");
	expect_rule(ITEM_WITH(item_undirent, it.name.cookie = 0), "4.8a");
}

static void each_rule_of_attributes_is_found(void **state)
{
	static char longest[FORMAT_XATTR_NAME_MAX];
	static uint8_t piece[FORMAT_XATTR_PIECE_MAX], buf[FORMAT_ITEM_MAX];
	struct item out;
	uint32_t length;

	memset(longest, 'x', sizeof(longest));
	expect_none(item_decoded(&item_xattr));
	expect_none(ITEM_WITH(item_xattr, it.xattr.name = longest; it.xattr.name_len = sizeof(longest)));
	expect_rule(ITEM_WITH(item_xattr, it.xattr.name_len = 0), "4.9a");
	expect_rule(ITEM_WITH(item_xattr, it.xattr.name = "user\0b"), "4.9a");
	expect_rule(ITEM_WITH(item_xattr, it.xattr.flags = 3), "4.9b");
	expect_none(ITEM_WITH(item_xattr, it.xattr.value = piece; it.xattr.value_len = FORMAT_XATTR_PIECE_MAX));
	item_encode(&(struct item){.type = ITEM_XATTR,
				   .ino = 17,
				   .xattr = {.name = "user.a", .value = piece, .name_len = 6, .value_len = 32768}},
		    buf);
	buf[6]++; /* the padding has room for it */
	expect_rule(item_decode(buf, sizeof(buf), BLOCKS, &out, &length), "4.9c");
	expect_rule(ITEM_WITH(item_xattr, it.xattr.flags = ITEM_XATTR_REMOVE), "4.9c");
	expect_none(ITEM_WITH(item_xattr, it.xattr.flags = ITEM_XATTR_REMOVE; it.xattr.value_len = 0));
	expect_none(ITEM_WITH(item_xattr, it.xattr.flags = 0; it.xattr.value_len = 0));
}

static void each_rule_of_limits_and_bad_blocks_is_found(void **state)
{
	expect_none(ITEM_WITH(item_limit, it.limit.id = 0));
	expect_rule(ITEM_WITH(item_limit, it.limit.kind = 0), "4.10a");
	expect_rule(ITEM_WITH(item_limit, it.limit.kind = 6), "4.10a");
	expect_none(
	    ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_PINS; it.limit.blocks = it.limit.inodes = UINT64_MAX));
	expect_none(ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_PINS; it.limit.blocks = it.limit.inodes = 0));
	expect_rule(ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_PINS_DEFAULT), "4.10c");
	expect_rule(ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_PINS_POOL), "4.10c");
	expect_none(ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_PINS_POOL; it.limit.id = 0));
	expect_rule(ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_PINS; it.limit.inodes = 0), "4.10d");
	expect_none(ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_TREE; it.limit.id = UINT32_MAX));
	expect_rule(ITEM_WITH(item_limit, it.limit.kind = ITEM_LIMIT_TREE; it.limit.id = 0), "4.10b");
	expect_none(ITEM_WITH(item_limit, it.limit.blocks = UINT64_MAX; it.limit.inodes = UINT64_MAX));
	expect_rule(ITEM_WITH(item_bad, it.map.blocks = 0), "4.11a");
	expect_rule(ITEM_WITH(item_bad, it.map.start = 0), "4.11a");
	expect_rule(ITEM_WITH(item_bad, it.map.start = BLOCKS - 5), "4.11a");
	expect_none(ITEM_WITH(item_bad, it.map.start = BLOCKS - 6));
	expect_rule(ITEM_WITH(item_bad, it.map.blocks = UINT64_MAX), "4.11a");
	expect_rule(ITEM_WITH(item_bad, it.map.flags = 2), "4.11b");
}

static const struct item item_claim_gone = {.type = ITEM_CLAIM, .ino = 17, .claim = {.id = 3}};

static void each_rule_of_claims_is_found(void **state)
{
	expect_rule(ITEM_WITH(item_claim, it.claim.id = 0), "4.12a");
	expect_none(ITEM_WITH(item_claim, it.claim.id = FORMAT_CLAIM_MAX));
	expect_rule(ITEM_WITH(item_claim, it.claim.id = FORMAT_CLAIM_MAX + 1), "4.12a");
	expect_rule(ITEM_WITH(item_claim, it.claim.end = 4096), "4.12b");
	expect_rule(ITEM_WITH(item_claim, it.claim.end = 0), "4.12b");
	expect_rule(ITEM_WITH(item_claim, it.claim.end = 12289), "4.12b");
	expect_rule(ITEM_WITH(item_claim, it.claim.start = 1), "4.12b");
	expect_none(ITEM_WITH(item_claim, it.claim.end = (uint64_t)1 << 63));
	expect_rule(ITEM_WITH(item_claim, it.claim.end = ((uint64_t)1 << 63) + 4096), "4.12b");
	expect_rule(ITEM_WITH(item_claim, it.claim.mode = 0), "4.12d");
	expect_rule(ITEM_WITH(item_claim, it.claim.mode = 3), "4.12d");
	/* Gone: then there is nothing but the number. */
	expect_rule(ITEM_WITH(item_claim, it.claim.start = it.claim.end = 0), "4.1d");
	expect_none(ITEM_WITH(item_claim_gone, it.ino = 17));
	expect_rule(ITEM_WITH(item_claim_gone, it.claim.uid = 1), "4.1d");
	expect_rule(ITEM_WITH(item_claim_gone, it.claim.until_ns = 1), "4.1d");
	expect_rule(ITEM_WITH(item_claim_gone, it.claim.client[0] = 1), "4.1d");
}

/* Whatever the bytes are, the verifier stays inside them (run under the address sanitizer) and ends. */
static void random_bytes_are_refused_or_sound(void **state)
{
	uint64_t x = 88172645463325252ull;

	for (unsigned round = 0; round < 200000; round++) {
		uint32_t room = 16 + (uint32_t)(x % 128);
		uint8_t *buf = malloc(room);
		struct item out;
		uint32_t length = 0;

		for (uint32_t i = 0; i < room; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			buf[i] = (uint8_t)x;
		}
		buf[0] = (uint8_t)(1 + x % 12);
		buf[1] = 0;
		buf[2] = (uint8_t)(x >> 8 & 0xf8);
		buf[3] = 0;
		if (item_decode(buf, room, BLOCKS, &out, &length) == NULL)
			assert_true(length >= FORMAT_ITEM_MIN && length <= room && length % 8 == 0);
		free(buf);
	}
}

/* --- 5 log ----------------------------------------------------------------------------------------------------------
 */

static const struct segment_head segment_good = {
    .block = 40, .generation = 3, .salt = 0x1111, .first_seq = 9, .next_start = 60, .blocks = 16, .next_blocks = 4};

static const char *segment_decoded(const struct segment_head *h)
{
	struct segment_head out;
	struct m_segment m;

	segment_encode(h, &m);
	return segment_decode(&m, &segment_good, BLOCKS, &out);
}

#define SEGMENT_WITH(change)                                                                                           \
	({                                                                                                             \
		struct segment_head h = segment_good;                                                                  \
		change;                                                                                                \
		segment_decoded(&h);                                                                                   \
	})

static void each_rule_of_a_segment_is_found(void **state)
{
	struct segment_head out;
	struct m_segment m;

	expect_none(segment_decoded(&segment_good));
	segment_encode(&segment_good, &m);
	expect_bytes(&m, sizeof(m),
		     "4c484c4f47534547"
		     "2800000000000000" /* LHLOGSEG, block */
		     "0300000000000000"
		     "1111000000000000" /* generation, salt */
		     "0900000000000000"
		     "3c00000000000000" /* first number, next run */
		     "10000000"
		     "04000000"
		     "00000000"
		     "efa3149d");
	expect_rule(SEGMENT_WITH(h.block = 41), "5.1c");
	expect_rule(SEGMENT_WITH(h.blocks = 17), "5.1c");
	expect_rule(SEGMENT_WITH(h.generation = 4), "5.1c");
	expect_rule(SEGMENT_WITH(h.salt = 1), "5.1c");
	expect_rule(SEGMENT_WITH(h.first_seq = 10), "5.1c");
	expect_rule(SEGMENT_WITH(h.next_start = BLOCKS - 4), "5.1d");
	expect_rule(SEGMENT_WITH(h.next_blocks = 0), "5.1d");
	segment_encode(&segment_good, &m);
	m.sg_magic[0] ^= 1;
	expect_rule(segment_decode(&m, &segment_good, BLOCKS, &out), "5.1a");
	segment_encode(&segment_good, &m);
	m.sg_crc.raw ^= 1;
	expect_rule(segment_decode(&m, &segment_good, BLOCKS, &out), "5.1b");
	segment_encode(&segment_good, &m);
	m.sg_zero = le32_of(1);
	m.sg_crc = le32_of(crc32c(0, &m, offsetof(struct m_segment, sg_crc)));
	expect_rule(segment_decode(&m, &segment_good, BLOCKS, &out), "5.1e");
}

static const struct record_head record_good = {
    .seq = 9, .generation = 3, .salt = 0x1111, .durable_seq = 8, .length = 48 + 16, .items = 1};
static uint8_t record_bytes[256] __attribute__((aligned(8)));

static const char *record_read(const struct record_head *h, uint64_t room, bool *tail)
{
	struct record_head out;

	memset(record_bytes, 0, sizeof(record_bytes));
	item_encode(&item_forget, record_bytes + 48);
	record_seal(h, record_bytes);
	return record_decode(record_bytes, room, &record_good, &out, tail);
}

#define RECORD_WITH(change, is_tail)                                                                                   \
	({                                                                                                             \
		struct record_head h = record_good;                                                                    \
		bool at_end;                                                                                           \
		const char *rule;                                                                                      \
		change;                                                                                                \
		rule = record_read(&h, sizeof(record_bytes), &at_end);                                                 \
		assert_int_equal(at_end, is_tail);                                                                     \
		rule;                                                                                                  \
	})

static void each_rule_of_a_record_is_found(void **state)
{
	struct record_head out;
	bool tail;

	expect_none(RECORD_WITH((void)h, false));
	expect_rule(RECORD_WITH(h.generation = 4, true), "5.2c");
	expect_rule(RECORD_WITH(h.salt = 4, true), "5.2c");
	expect_rule(RECORD_WITH(h.seq = 10; h.durable_seq = 9, true), "5.2d");
	expect_rule(RECORD_WITH(h.flags = 8, false), "5.2f");
	expect_rule(RECORD_WITH(h.flags = RECORD_LINK | RECORD_MORE, false), "5.2f");
	expect_rule(RECORD_WITH(h.flags = RECORD_LINK, false), "5.2f");
	expect_rule(RECORD_WITH(h.durable_seq = 9, false), "5.2g");
	/* Room for a link is kept behind each record. */
	expect_none(record_read(&record_good, 64 + 80, &tail));
	expect_rule(record_read(&record_good, 64 + 79, &tail), "5.2b");
	expect_rule(record_read(&record_good, 40, &tail), "5.2b");
	record_read(&record_good, sizeof(record_bytes), &tail);
	record_bytes[42] ^= 1;
	expect_rule(record_decode(record_bytes, sizeof(record_bytes), &record_good, &out, &tail), "5.2a");
	record_read(&record_good, sizeof(record_bytes), &tail);
	record_bytes[63] ^= 1;
	expect_rule(record_decode(record_bytes, sizeof(record_bytes), &record_good, &out, &tail), "5.2e");
	assert_true(tail);
}

/* Golden: header of 48 bytes and one item. */
static void a_record_has_its_bytes(void **state)
{
	bool tail;

	expect_none(record_read(&record_good, sizeof(record_bytes), &tail));
	expect_bytes(record_bytes, 64,
		     "d4fa16eb"
		     "40000000" /* crc, length */
		     "0900000000000000"
		     "0300000000000000" /* number, generation */
		     "1111000000000000"
		     "0800000000000000" /* salt, durable */
		     "0000"
		     "4c52"
		     "01000000" /* flags, magic, items */
		     "02001000000000001100000000000000");
}

static void a_later_record_proves_an_earlier_one(void **state)
{
	struct record_head bad = {.seq = 7, .generation = 3, .salt = 0x1111};
	bool tail;

	record_read(&record_good, sizeof(record_bytes), &tail);
	assert_true(record_proves(record_bytes, sizeof(record_bytes), &bad));
	bad.seq = 8;
	assert_true(record_proves(record_bytes, sizeof(record_bytes), &bad));
	bad.seq = 9;
	assert_false(record_proves(record_bytes, sizeof(record_bytes), &bad));
	bad.seq = 7;
	bad.salt = 2;
	assert_false(record_proves(record_bytes, sizeof(record_bytes), &bad));
	bad.salt = 0x1111;
	record_bytes[50] ^= 1;
	assert_false(record_proves(record_bytes, sizeof(record_bytes), &bad));
	assert_false(record_proves(record_bytes, 47, &bad));
}

static const char *link_read(const struct link_to *to)
{
	struct m_link m;
	struct record_head h;
	struct link_to out;
	bool tail;

	link_encode(&record_good, to, &m);
	expect_none(record_decode(&m, sizeof(m), &record_good, &h, &tail));
	return link_decode(&m, &h, BLOCKS, &out);
}

static void each_rule_of_a_link_is_found(void **state)
{
	const struct link_to good = {.start = 60, .blocks = 4, .generation = 3, .salt = 0x1111};
	struct record_head h = record_good;
	struct link_to to = good, out;
	struct m_link m;

	expect_none(link_read(&good));
	to.start = BLOCKS - 4;
	expect_rule(link_read(&to), "5.3b");
	to.start = 60;
	to.blocks = 4097;
	expect_rule(link_read(&to), "5.3b");
	to.blocks = 4;
	to.salt = 5;
	expect_rule(link_read(&to), "5.3c");
	to.generation = 4;
	expect_none(link_read(&to));
	to.salt = 0x1111;
	expect_rule(link_read(&to), "5.3c");
	to.generation = 2;
	expect_rule(link_read(&to), "5.3c");
	to.generation = INT64_MAX;
	to.salt = 5;
	expect_rule(link_read(&to), "5.3c");
	link_encode(&record_good, &good, &m);
	h.length = 88;
	expect_rule(link_decode(&m, &h, BLOCKS, &out), "5.3a");
	h.length = 80;
	m.ln_zero = le32_of(1);
	expect_rule(link_decode(&m, &h, BLOCKS, &out), "5.3d");
}

/* --- text -----------------------------------------------------------------------------------------------------------
 */

static void tables_cover_fields_inside_their_structs(void **state)
{
	for (unsigned i = 0; i < FORMAT_STRUCT_COUNT; i++) {
		const struct format_struct *s = &format_structs[i];

		assert_true(s->field_count > 0);
		for (unsigned k = 0; k < s->field_count; k++)
			assert_true(s->fields[k].offset + s->fields[k].size <= s->size);
	}
	for (unsigned type = ITEM_INODE; type <= ITEM_CLAIM; type++)
		assert_non_null(format_item_struct((enum item_type)type));
}

static void text_says_what_the_bytes_are(void **state)
{
	uint8_t buf[256];
	char text[512], tiny[8];
	size_t len;

	item_encode(&item_map, buf);
	len = format_to_text(&format_structs[FORMAT_MAP], buf, text, sizeof(text));
	assert_string_equal(text, "map: type=6 length=40 ino=17 flags=0x1 off=3 start=100 blocks=5");
	assert_int_equal(len, strlen(text));
	assert_int_equal(format_to_text(&format_structs[FORMAT_MAP], buf, tiny, sizeof(tiny)), len);
	assert_string_equal(tiny, "map: ty");
	item_encode(&item_inode, buf);
	format_to_text(&format_structs[FORMAT_INODE], buf, text, sizeof(text));
	assert_non_null(strstr(text, "btime_ns=-4"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_superblock_has_its_bytes),
	    cmocka_unit_test(each_rule_of_the_superblock_is_found),
	    cmocka_unit_test(the_root_word_is_checked),
	    cmocka_unit_test(the_size_word_is_checked),
	    cmocka_unit_test(the_checkpoint_header_comes_back),
	    cmocka_unit_test(each_rule_of_the_checkpoint_header_is_found),
	    cmocka_unit_test(each_rule_of_a_chunk_is_found),
	    cmocka_unit_test(items_have_their_bytes),
	    cmocka_unit_test(each_rule_of_all_items_is_found),
	    cmocka_unit_test(each_rule_of_maps_is_found),
	    cmocka_unit_test(each_rule_of_inodes_is_found),
	    cmocka_unit_test(each_rule_of_names_is_found),
	    cmocka_unit_test(each_rule_of_attributes_is_found),
	    cmocka_unit_test(each_rule_of_limits_and_bad_blocks_is_found),
	    cmocka_unit_test(each_rule_of_claims_is_found),
	    cmocka_unit_test(random_bytes_are_refused_or_sound),
	    cmocka_unit_test(each_rule_of_a_segment_is_found),
	    cmocka_unit_test(each_rule_of_a_record_is_found),
	    cmocka_unit_test(a_record_has_its_bytes),
	    cmocka_unit_test(a_later_record_proves_an_earlier_one),
	    cmocka_unit_test(each_rule_of_a_link_is_found),
	    cmocka_unit_test(tables_cover_fields_inside_their_structs),
	    cmocka_unit_test(text_says_what_the_bytes_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
