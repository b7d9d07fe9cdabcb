/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Structures on the medium, as docs/format.md says: names of sections and rules here are those there. Types of the
 * medium (m_*) are only copied and checked; the plain structs beside them are what the rest of the program sees.
 *
 * A verifier looks at nothing but the bytes and what the caller expects. It returns NULL, or the rule that is broken
 * ("4.2b extent outside the pool"), and fills *out only when it returns NULL. No I/O, no memory, no threads, no clocks.
 */
#ifndef LH_FORMAT_FORMAT_H
#define LH_FORMAT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

#define FORMAT_VERSION            1u
#define FORMAT_COMPAT_KNOWN       0ull
#define FORMAT_RO_COMPAT_KNOWN    0ull
#define FORMAT_INCOMPAT_KNOWN     0ull
#define FORMAT_POOL_BLOCKS_MIN    4096ull
#define FORMAT_ROOT_OFFSET        512u
#define FORMAT_SIZE_OFFSET        520u
#define FORMAT_CHUNK_BLOCKS_MAX   256u
#define FORMAT_SEGMENT_BLOCKS_MAX 4096u
#define FORMAT_INO_MAX            ((uint64_t)INT64_MAX)
#define FORMAT_FILE_BLOCKS_MAX    ((uint64_t)1 << 51)
#define FORMAT_NAME_MAX           255u
#define FORMAT_TARGET_MAX         4095u
#define FORMAT_XATTR_NAME_MAX     255u
#define FORMAT_XATTR_PIECE_MAX    32768u /* bytes of a value in one item */
#define FORMAT_XATTR_VALUE_MAX    65536u
#define FORMAT_ROOT_INO           1u
#define FORMAT_NUMBER_MAX         ((uint64_t)INT64_MAX - 1) /* of records, generations and checkpoints */
#define FORMAT_ITEM_MIN           16u
#define FORMAT_ITEM_MAX           65528u

/* --- 2 superblock --- */

struct m_super {
	uint8_t sb_magic[8];
	le32 sb_version;
	le32 sb_block_size;
	le64 sb_compat;
	le64 sb_ro_compat;
	le64 sb_incompat;
	uint8_t sb_uuid[16];
	le64 sb_blocks;
	le64 sb_created_ns;
	le32 sb_copy;
	uint8_t sb_zero[48];
	le32 sb_crc; /* of bytes 0..123 */
};
static_assert(sizeof(struct m_super) == 128, "format 2.1");
static_assert(offsetof(struct m_super, sb_blocks) == 56, "format 2.1");
static_assert(offsetof(struct m_super, sb_crc) == 124, "format 2.1");

/* The words behind it that change (2.3, 2.4), at byte FORMAT_ROOT_OFFSET. */
struct m_words {
	le64 wd_root;
	le64 wd_size;
};
static_assert(sizeof(struct m_words) == 16, "format 2.3");
static_assert(FORMAT_ROOT_OFFSET + offsetof(struct m_words, wd_size) == FORMAT_SIZE_OFFSET, "format 2.4");

struct super {
	uint64_t compat, ro_compat, incompat;
	uint64_t blocks;      /* of the pool now: by the size word (2.4) where there is one */
	uint64_t made_blocks; /* at mkfs, as the superblock says; 0: the same */
	int64_t created_ns;
	uint8_t uuid[16];
};

/* How many blocks the pool has now: its copy lies in the last of them. */
static inline uint64_t super_blocks_now(const struct super *s)
{
	return s->blocks;
}
/* Fills the 128 bytes; copy 0 or 1. */
void super_encode(const struct super *s, uint32_t copy, struct m_super *m);
/* Fills the whole block, the size word too; in block 0 the root word is 0 then. */
void super_block_encode(const struct super *s, uint32_t copy, void *block);
/* A whole block; pool_blocks: how many there really are. */
const char *super_decode(const void *block, uint32_t copy, uint64_t pool_blocks, struct super *out);
/* 2.2a: what must be the same in both. */
bool super_is_copy(const struct super *copy, const struct super *of);
/* Whether the bytes begin as a superblock does: to tell damage from something else. */
bool super_magic(const void *block);
/* Rules that mean "made by a newer program" (2.1c, 2.1d) and not damage. */
bool format_rule_is_version(const char *rule);
/* Rules of a wrong checksum (2.1b, 3.1b, ...): -EBADMSG where others are -EUCLEAN. */
bool format_rule_is_crc(const char *rule);

le64 root_encode(const uint8_t uuid[16], uint64_t block);
/* The size word for a pool of so many blocks. */
le64 size_encode(const uint8_t uuid[16], uint64_t blocks);
/* Not 0. pool_blocks: how many there really are. */
const char *size_decode(le64 word, const uint8_t uuid[16], uint64_t pool_blocks, uint64_t *blocks);
const char *root_decode(le64 word, const uint8_t uuid[16], uint64_t pool_blocks, uint64_t *block);

/* --- 3 checkpoint --- */

#define CHECKPOINT_CLEAN 1u

struct m_checkpoint {
	uint8_t cp_magic[8];
	uint8_t cp_uuid[16];
	le64 cp_number;
	le64 cp_flags;
	le64 cp_block;
	le64 cp_log_block;
	le32 cp_log_blocks;
	le32 cp_zero0;
	le64 cp_log_seq;
	le64 cp_log_generation;
	le64 cp_log_salt;
	le64 cp_must_seq;
	le64 cp_next_ino;
	le64 cp_chunk_start;
	le32 cp_chunk_blocks;
	le32 cp_chunks;
	le64 cp_chunk_number;
	le64 cp_bytes;
	le64 cp_items;
	uint8_t cp_zero1[44];
	le32 cp_crc; /* of bytes 0..187 */
};
static_assert(sizeof(struct m_checkpoint) == 192, "format 3.1");
static_assert(offsetof(struct m_checkpoint, cp_must_seq) == 88, "format 3.1");
static_assert(offsetof(struct m_checkpoint, cp_crc) == 188, "format 3.1");

struct checkpoint_head {
	uint8_t uuid[16];
	uint64_t number, flags, block;
	uint64_t log_block, log_seq, log_generation, log_salt, must_seq, next_ino;
	uint64_t chunk_start, chunk_number, bytes, items;
	uint32_t log_blocks, chunk_blocks, chunks;
};

void checkpoint_encode(const struct checkpoint_head *h, struct m_checkpoint *m);
/* A whole block; `at` is its number. */
const char *checkpoint_decode(const void *block, uint64_t at, const struct super *super, struct checkpoint_head *out);

struct m_chunk {
	uint8_t ck_magic[8];
	le32 ck_crc; /* of bytes 12 .. 64 + bytes - 1 */
	le32 ck_items;
	le64 ck_block;
	le64 ck_number;
	le32 ck_index;
	le32 ck_blocks;
	le64 ck_next_start;
	le32 ck_next_blocks;
	le32 ck_bytes;
	le64 ck_zero;
};
static_assert(sizeof(struct m_chunk) == 64, "format 3.2");
static_assert(offsetof(struct m_chunk, ck_items) == 12, "format 3.2");
static_assert(offsetof(struct m_chunk, ck_bytes) == 52, "format 3.2");

struct chunk_head {
	uint64_t block, number, next_start;
	uint32_t index, blocks, next_blocks, bytes, items;
};

/* Fills in a chunk's header in front of its items, which are in place already. */
void chunk_seal(const struct chunk_head *h, void *chunk);
/* chunk: `expect->blocks` blocks. expect: block, number, index, blocks. last: of the chain. */
const char *chunk_decode(const void *chunk, const struct chunk_head *expect, bool last, uint64_t pool_blocks,
			 struct chunk_head *out);

/* --- 4 items --- */

enum item_type {
	ITEM_INODE = 1,
	ITEM_FORGET = 2,
	ITEM_SYMLINK = 3,
	ITEM_DIRENT = 4,
	ITEM_UNDIRENT = 5,
	ITEM_MAP = 6,
	ITEM_UNMAP = 7,
	ITEM_XATTR = 8,
	ITEM_LIMIT = 9,
	ITEM_BAD = 10,
	ITEM_CLAIM = 11,
};
#define ITEM_MAP_UNWRITTEN 1u
#define ITEM_XATTR_APPEND  1u /* the value goes on behind what is there */
#define ITEM_XATTR_REMOVE  2u
#define ITEM_BAD_GOOD      1u                  /* usable again */
#define FORMAT_CLAIM_MAX   ((uint64_t)1 << 51) /* the highest number of a claim */
#define FORMAT_CLAIMS_MAX  65536u
#define ITEM_CLAIM_READ    1u
#define ITEM_CLAIM_WRITE   2u
#define INODE_SNAPSHOT     1u /* root of a snapshot */
#define INODE_READ_ONLY    2u /* belongs to a read-only snapshot */
#define INODE_FLAGS_KNOWN  3u

enum item_limit_kind {
	ITEM_LIMIT_UID = 1,
	ITEM_LIMIT_TREE = 2,
	/* Of pinned memory: blocks is bytes + 1, inodes leases + 1; both 0 remove it. */
	ITEM_LIMIT_PINS = 3,
	ITEM_LIMIT_PINS_DEFAULT = 4,
	ITEM_LIMIT_PINS_POOL = 5,
};
const char *item_limit_name(uint32_t kind);

struct m_item {
	le16 it_type;
	le16 it_length;
	le32 it_field; /* by type */
	le64 it_ino;
};
static_assert(sizeof(struct m_item) == 16, "format 4.1");

struct m_inode {
	struct m_item in_item; /* it_field: mode */
	le64 in_size;
	le64 in_rdev;
	le32 in_uid;
	le32 in_gid;
	le32 in_flags;
	le32 in_tree;
	le64 in_atime_ns;
	le64 in_mtime_ns;
	le64 in_ctime_ns;
	le64 in_btime_ns;
};
static_assert(sizeof(struct m_inode) == 80, "format 4.4");
static_assert(offsetof(struct m_inode, in_atime_ns) == 48, "format 4.4");

struct m_symlink {
	struct m_item sl_item; /* it_field: target length */
	le64 sl_zero;
};
static_assert(sizeof(struct m_symlink) == 24, "format 4.6");

struct m_dirent {
	le16 de_type;
	le16 de_length;
	uint8_t de_dtype;
	uint8_t de_name_len;
	le16 de_zero;
	le64 de_dir;
	le64 de_cookie;
	le64 de_ino;
};
static_assert(sizeof(struct m_dirent) == 32, "format 4.7");

struct m_undirent {
	struct m_item ud_item;
	le64 ud_cookie;
};
static_assert(sizeof(struct m_undirent) == 24, "format 4.8");

struct m_map {
	struct m_item mp_item; /* it_field: flags */
	le64 mp_off;
	le64 mp_start;
	le64 mp_blocks;
};
static_assert(sizeof(struct m_map) == 40, "format 4.2");

struct m_unmap {
	struct m_item um_item;
	le64 um_off;
	le64 um_blocks;
};
static_assert(sizeof(struct m_unmap) == 32, "format 4.3");

struct m_xattr {
	le16 xa_type;
	le16 xa_length;
	uint8_t xa_name_len;
	uint8_t xa_flags;
	le16 xa_value_len;
	le64 xa_ino;
};
static_assert(sizeof(struct m_xattr) == 16, "format 4.9");

struct m_limit {
	struct m_item lm_item; /* it_field: kind */
	le32 lm_id;
	le32 lm_zero;
	le64 lm_blocks;
	le64 lm_inodes;
};
static_assert(sizeof(struct m_limit) == 40, "format 4.10");

struct m_bad {
	struct m_item bd_item; /* it_field: flags */
	le64 bd_start;
	le64 bd_blocks;
};
static_assert(sizeof(struct m_bad) == 32, "format 4.11");

struct m_claim {
	struct m_item cl_item; /* it_field: uid */
	le64 cl_id;
	uint8_t cl_client[16];
	le64 cl_start; /* bytes */
	le64 cl_end;   /* 0: the claim is gone */
	le64 cl_until_ns;
	le32 cl_mode;
	le32 cl_zero;
};
static_assert(sizeof(struct m_claim) == 72, "format 4.12");
static_assert(offsetof(struct m_claim, cl_start) == 40, "format 4.12");

/* One item, decoded. `name` points into the bytes that were decoded. ino is the directory of a dirent and undirent. */
struct item {
	enum item_type type;
	uint64_t ino;
	union {
		struct {
			uint64_t size, rdev;
			uint32_t mode, uid, gid, flags, tree;
			int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
		} inode;
		struct {
			const char *name; /* dirent's name, symlink's target; not terminated */
			uint32_t len;
			uint8_t dtype;
			uint64_t cookie, target_ino;
		} name;
		struct {
			uint64_t off, start, blocks;
			uint32_t flags;
		} map; /* and bad, without off */
		struct {
			const char *name; /* the name, not terminated; the value lies right behind it */
			const void *value;
			uint32_t name_len, value_len, flags;
		} xattr;
		struct {
			uint64_t blocks, inodes; /* 0: no limit */
			uint32_t kind, id;
		} limit;
		struct {
			uint64_t id, start, end; /* end 0: gone */
			int64_t until_ns;
			uint32_t uid, mode;
			uint8_t client[16];
		} claim;
	};
};

/* Bytes of the item on the medium. */
uint32_t item_size(const struct item *it);
/* Writes item_size bytes, padding included. */
void item_encode(const struct item *it, void *out);
/* The item at the start of `room` bytes; *length: how far to the next. */
const char *item_decode(const void *bytes, uint64_t room, uint64_t pool_blocks, struct item *out, uint32_t *length);
/* "inode 17", "directory 1 cookie 5": what the item is about, for messages. */
void item_about(const struct item *it, char *buf, size_t room);
/* 4.9a. */
bool format_xattr_name_ok(const char *name, uint32_t len);
/* Names: 4.7a. */
bool format_name_ok(const char *name, uint32_t len);

/* --- 5 log --- */

struct m_segment {
	uint8_t sg_magic[8];
	le64 sg_block;
	le64 sg_generation;
	le64 sg_salt;
	le64 sg_first_seq;
	le64 sg_next_start;
	le32 sg_blocks;
	le32 sg_next_blocks;
	le32 sg_zero;
	le32 sg_crc; /* of bytes 0..59 */
};
static_assert(sizeof(struct m_segment) == 64, "format 5.1");
static_assert(offsetof(struct m_segment, sg_crc) == 60, "format 5.1");

struct segment_head {
	uint64_t block, generation, salt, first_seq, next_start;
	uint32_t blocks, next_blocks;
};

void segment_encode(const struct segment_head *h, struct m_segment *m);
/* expect: all but next_*. */
const char *segment_decode(const void *bytes, const struct segment_head *expect, uint64_t pool_blocks,
			   struct segment_head *out);

#define RECORD_MORE      1u
#define RECORD_CONTINUED 2u
#define RECORD_LINK      4u
#define RECORD_MAGIC     0x524cu

struct m_record {
	le32 rc_crc; /* of bytes 4 .. length - 1 */
	le32 rc_length;
	le64 rc_seq;
	le64 rc_generation;
	le64 rc_salt;
	le64 rc_durable_seq;
	le16 rc_flags;
	le16 rc_magic;
	le32 rc_items;
};
static_assert(sizeof(struct m_record) == 48, "format 5.2");
static_assert(offsetof(struct m_record, rc_flags) == 40, "format 5.2");

struct m_link {
	struct m_record ln_record;
	le64 ln_start;
	le32 ln_blocks;
	le32 ln_zero;
	le64 ln_generation;
	le64 ln_salt;
};
static_assert(sizeof(struct m_link) == 80, "format 5.3");

struct record_head {
	uint64_t seq, generation, salt, durable_seq;
	uint32_t length, flags, items;
};

struct link_to {
	uint64_t start, generation, salt;
	uint32_t blocks;
};

/* Fills in the header in front of length - 48 bytes of items that are in place already. */
void record_seal(const struct record_head *h, void *record);
void link_encode(const struct record_head *h, const struct link_to *to, struct m_link *m);
/*
 * The record at the start of `room` bytes, which reach to the segment's end. expect: seq, generation, salt.
 * *tail: the broken rule is one of 5.2a to 5.2e, which a log's end breaks too.
 */
const char *record_decode(const void *bytes, uint64_t room, const struct record_head *expect, struct record_head *out,
			  bool *tail);
/* 5.4a: a valid record of this generation and salt that lies here and proves that record number `bad` had been durable.
 */
bool record_proves(const void *bytes, uint64_t room, const struct record_head *bad);
const char *link_decode(const void *record, const struct record_head *head, uint64_t pool_blocks, struct link_to *out);

/* --- text: tables made from offsetof --- */

enum field_kind {
	FIELD_U8,
	FIELD_U16,
	FIELD_U32,
	FIELD_U64,
	FIELD_I64,
	FIELD_HEX32,
	FIELD_HEX64,
	FIELD_BYTES,
	FIELD_TEXT
};

struct format_field {
	const char *name;
	uint32_t offset, size;
	enum field_kind kind;
};
struct format_struct {
	const char *name, *section;
	uint32_t size, field_count;
	const struct format_field *fields;
};

enum format_struct_id {
	FORMAT_SUPER,
	FORMAT_WORDS,
	FORMAT_CHECKPOINT,
	FORMAT_CHUNK,
	FORMAT_SEGMENT,
	FORMAT_RECORD,
	FORMAT_LINK,
	FORMAT_INODE,
	FORMAT_FORGET,
	FORMAT_SYMLINK,
	FORMAT_DIRENT,
	FORMAT_UNDIRENT,
	FORMAT_MAP,
	FORMAT_UNMAP,
	FORMAT_XATTR,
	FORMAT_LIMIT,
	FORMAT_BAD,
	FORMAT_CLAIM,
	FORMAT_STRUCT_COUNT
};
extern const struct format_struct format_structs[FORMAT_STRUCT_COUNT];
/* The table of an item type. */
const struct format_struct *format_item_struct(enum item_type type);
/* Numeric fields: *value and true. Others: false. */
bool format_field_number(const struct format_field *f, const void *bytes, uint64_t *value);
/* One field's value as text ("17", "0x1f", "LEASEHLD", hex digits); always terminated. */
void format_field_text(const struct format_field *f, const void *bytes, char *buf, size_t room);
/* "superblock: magic=LEASEHLD version=1 ..."; always terminated; returns the length it would have. */
size_t format_to_text(const struct format_struct *s, const void *bytes, char *buf, size_t room);

#endif
