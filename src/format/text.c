/* SPDX-License-Identifier: BSD-2-Clause */
/* What the medium's structures look like to a person: tables made from offsetof, so that they cannot disagree with the
 * code. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/format.h"

#define FIELD(type, member, text, what)                                                                                \
	{                                                                                                              \
		text, offsetof(struct type, member), sizeof(((struct type *)0)->member), FIELD_##what                  \
	}
#define ITEM_FIELDS(type, member)                                                                                      \
	FIELD(type, member.it_type, "type", U16), FIELD(type, member.it_length, "length", U16),                        \
	    FIELD(type, member.it_ino, "ino", U64)

static const struct format_field super_fields[] = {
    FIELD(m_super, sb_magic, "magic", TEXT),
    FIELD(m_super, sb_version, "version", U32),
    FIELD(m_super, sb_block_size, "block_size", U32),
    FIELD(m_super, sb_compat, "compat", HEX64),
    FIELD(m_super, sb_ro_compat, "ro_compat", HEX64),
    FIELD(m_super, sb_incompat, "incompat", HEX64),
    FIELD(m_super, sb_uuid, "uuid", BYTES),
    FIELD(m_super, sb_blocks, "blocks", U64),
    FIELD(m_super, sb_created_ns, "created_ns", I64),
    FIELD(m_super, sb_copy, "copy", U32),
    FIELD(m_super, sb_crc, "crc", HEX32),
};

static const struct format_field checkpoint_fields[] = {
    FIELD(m_checkpoint, cp_magic, "magic", TEXT),
    FIELD(m_checkpoint, cp_uuid, "uuid", BYTES),
    FIELD(m_checkpoint, cp_number, "number", U64),
    FIELD(m_checkpoint, cp_flags, "flags", HEX64),
    FIELD(m_checkpoint, cp_block, "block", U64),
    FIELD(m_checkpoint, cp_log_block, "log_block", U64),
    FIELD(m_checkpoint, cp_log_blocks, "log_blocks", U32),
    FIELD(m_checkpoint, cp_log_seq, "log_seq", U64),
    FIELD(m_checkpoint, cp_log_generation, "log_generation", U64),
    FIELD(m_checkpoint, cp_log_salt, "log_salt", HEX64),
    FIELD(m_checkpoint, cp_must_seq, "must_seq", U64),
    FIELD(m_checkpoint, cp_next_ino, "next_ino", U64),
    FIELD(m_checkpoint, cp_chunk_start, "chunk_start", U64),
    FIELD(m_checkpoint, cp_chunk_blocks, "chunk_blocks", U32),
    FIELD(m_checkpoint, cp_chunks, "chunks", U32),
    FIELD(m_checkpoint, cp_chunk_number, "chunk_number", U64),
    FIELD(m_checkpoint, cp_bytes, "bytes", U64),
    FIELD(m_checkpoint, cp_items, "items", U64),
    FIELD(m_checkpoint, cp_crc, "crc", HEX32),
};

static const struct format_field chunk_fields[] = {
    FIELD(m_chunk, ck_magic, "magic", TEXT),
    FIELD(m_chunk, ck_crc, "crc", HEX32),
    FIELD(m_chunk, ck_items, "items", U32),
    FIELD(m_chunk, ck_block, "block", U64),
    FIELD(m_chunk, ck_number, "number", U64),
    FIELD(m_chunk, ck_index, "index", U32),
    FIELD(m_chunk, ck_blocks, "blocks", U32),
    FIELD(m_chunk, ck_next_start, "next_start", U64),
    FIELD(m_chunk, ck_next_blocks, "next_blocks", U32),
    FIELD(m_chunk, ck_bytes, "bytes", U32),
};

static const struct format_field segment_fields[] = {
    FIELD(m_segment, sg_magic, "magic", TEXT),
    FIELD(m_segment, sg_block, "block", U64),
    FIELD(m_segment, sg_generation, "generation", U64),
    FIELD(m_segment, sg_salt, "salt", HEX64),
    FIELD(m_segment, sg_first_seq, "first_seq", U64),
    FIELD(m_segment, sg_next_start, "next_start", U64),
    FIELD(m_segment, sg_blocks, "blocks", U32),
    FIELD(m_segment, sg_next_blocks, "next_blocks", U32),
    FIELD(m_segment, sg_crc, "crc", HEX32),
};

static const struct format_field record_fields[] = {
    FIELD(m_record, rc_crc, "crc", HEX32),   FIELD(m_record, rc_length, "length", U32),
    FIELD(m_record, rc_seq, "seq", U64),     FIELD(m_record, rc_generation, "generation", U64),
    FIELD(m_record, rc_salt, "salt", HEX64), FIELD(m_record, rc_durable_seq, "durable_seq", U64),
    FIELD(m_record, rc_flags, "flags", U16), FIELD(m_record, rc_items, "items", U32),
};

static const struct format_field link_fields[] = {
    FIELD(m_link, ln_record.rc_seq, "seq", U64), FIELD(m_link, ln_start, "start", U64),
    FIELD(m_link, ln_blocks, "blocks", U32),     FIELD(m_link, ln_generation, "generation", U64),
    FIELD(m_link, ln_salt, "salt", HEX64),
};

static const struct format_field inode_fields[] = {
    ITEM_FIELDS(m_inode, in_item),
    FIELD(m_inode, in_item.it_field, "mode", HEX32),
    FIELD(m_inode, in_size, "size", U64),
    FIELD(m_inode, in_rdev, "rdev", U64),
    FIELD(m_inode, in_uid, "uid", U32),
    FIELD(m_inode, in_gid, "gid", U32),
    FIELD(m_inode, in_flags, "flags", HEX32),
    FIELD(m_inode, in_tree, "tree", U32),
    FIELD(m_inode, in_atime_ns, "atime_ns", I64),
    FIELD(m_inode, in_mtime_ns, "mtime_ns", I64),
    FIELD(m_inode, in_ctime_ns, "ctime_ns", I64),
    FIELD(m_inode, in_btime_ns, "btime_ns", I64),
};

static const struct format_field forget_fields[] = {
    FIELD(m_item, it_type, "type", U16),
    FIELD(m_item, it_length, "length", U16),
    FIELD(m_item, it_ino, "ino", U64),
};

static const struct format_field symlink_fields[] = {
    ITEM_FIELDS(m_symlink, sl_item),
    FIELD(m_symlink, sl_item.it_field, "target_len", U32),
};

static const struct format_field dirent_fields[] = {
    FIELD(m_dirent, de_type, "type", U16),  FIELD(m_dirent, de_length, "length", U16),
    FIELD(m_dirent, de_dtype, "dtype", U8), FIELD(m_dirent, de_name_len, "name_len", U8),
    FIELD(m_dirent, de_dir, "dir", U64),    FIELD(m_dirent, de_cookie, "cookie", U64),
    FIELD(m_dirent, de_ino, "ino", U64),
};

static const struct format_field undirent_fields[] = {
    FIELD(m_undirent, ud_item.it_type, "type", U16),
    FIELD(m_undirent, ud_item.it_length, "length", U16),
    FIELD(m_undirent, ud_item.it_ino, "dir", U64),
    FIELD(m_undirent, ud_cookie, "cookie", U64),
};

static const struct format_field map_fields[] = {
    ITEM_FIELDS(m_map, mp_item),
    FIELD(m_map, mp_item.it_field, "flags", HEX32),
    FIELD(m_map, mp_off, "off", U64),
    FIELD(m_map, mp_start, "start", U64),
    FIELD(m_map, mp_blocks, "blocks", U64),
};

static const struct format_field unmap_fields[] = {
    ITEM_FIELDS(m_unmap, um_item),
    FIELD(m_unmap, um_off, "off", U64),
    FIELD(m_unmap, um_blocks, "blocks", U64),
};

static const struct format_field xattr_fields[] = {
    FIELD(m_xattr, xa_type, "type", U16),           FIELD(m_xattr, xa_length, "length", U16),
    FIELD(m_xattr, xa_name_len, "name_len", U8),    FIELD(m_xattr, xa_flags, "flags", U8),
    FIELD(m_xattr, xa_value_len, "value_len", U16), FIELD(m_xattr, xa_ino, "ino", U64),
};

static const struct format_field limit_fields[] = {
    ITEM_FIELDS(m_limit, lm_item),
    FIELD(m_limit, lm_item.it_field, "kind", U32),
    FIELD(m_limit, lm_id, "id", U32),
    FIELD(m_limit, lm_blocks, "blocks", U64),
    FIELD(m_limit, lm_inodes, "inodes", U64),
};

static const struct format_field bad_fields[] = {
    ITEM_FIELDS(m_bad, bd_item),
    FIELD(m_bad, bd_item.it_field, "flags", HEX32),
    FIELD(m_bad, bd_start, "start", U64),
    FIELD(m_bad, bd_blocks, "blocks", U64),
};

static const struct format_field claim_fields[] = {
    ITEM_FIELDS(m_claim, cl_item),
    FIELD(m_claim, cl_item.it_field, "uid", U32),
    FIELD(m_claim, cl_id, "id", U64),
    FIELD(m_claim, cl_client, "client", BYTES),
    FIELD(m_claim, cl_start, "start", U64),
    FIELD(m_claim, cl_end, "end", U64),
    FIELD(m_claim, cl_until_ns, "until_ns", I64),
    FIELD(m_claim, cl_mode, "mode", U32),
};

static const struct format_field words_fields[] = {
    FIELD(m_words, wd_root, "root", HEX64),
    FIELD(m_words, wd_size, "size", HEX64),
};

#define TABLE(type, name, section, table)                                                                              \
	{                                                                                                              \
		name, section, sizeof(struct type), ARRAY_LEN(table), table                                            \
	}

const struct format_struct format_structs[FORMAT_STRUCT_COUNT] = {
    [FORMAT_SUPER] = TABLE(m_super, "superblock", "2.1", super_fields),
    [FORMAT_WORDS] = TABLE(m_words, "words", "2.3", words_fields),
    [FORMAT_CHECKPOINT] = TABLE(m_checkpoint, "checkpoint", "3.1", checkpoint_fields),
    [FORMAT_CHUNK] = TABLE(m_chunk, "chunk", "3.2", chunk_fields),
    [FORMAT_SEGMENT] = TABLE(m_segment, "segment", "5.1", segment_fields),
    [FORMAT_RECORD] = TABLE(m_record, "record", "5.2", record_fields),
    [FORMAT_LINK] = TABLE(m_link, "link", "5.3", link_fields),
    [FORMAT_INODE] = TABLE(m_inode, "inode", "4.4", inode_fields),
    [FORMAT_FORGET] = TABLE(m_item, "forget", "4.5", forget_fields),
    [FORMAT_SYMLINK] = TABLE(m_symlink, "symlink", "4.6", symlink_fields),
    [FORMAT_DIRENT] = TABLE(m_dirent, "dirent", "4.7", dirent_fields),
    [FORMAT_UNDIRENT] = TABLE(m_undirent, "undirent", "4.8", undirent_fields),
    [FORMAT_MAP] = TABLE(m_map, "map", "4.2", map_fields),
    [FORMAT_UNMAP] = TABLE(m_unmap, "unmap", "4.3", unmap_fields),
    [FORMAT_XATTR] = TABLE(m_xattr, "xattr", "4.9", xattr_fields),
    [FORMAT_LIMIT] = TABLE(m_limit, "limit", "4.10", limit_fields),
    [FORMAT_BAD] = TABLE(m_bad, "bad", "4.11", bad_fields),
    [FORMAT_CLAIM] = TABLE(m_claim, "claim", "4.12", claim_fields),
};

const struct format_struct *format_item_struct(enum item_type type)
{
	switch (type) {
	case ITEM_INODE:
		return &format_structs[FORMAT_INODE];
	case ITEM_FORGET:
		return &format_structs[FORMAT_FORGET];
	case ITEM_SYMLINK:
		return &format_structs[FORMAT_SYMLINK];
	case ITEM_DIRENT:
		return &format_structs[FORMAT_DIRENT];
	case ITEM_UNDIRENT:
		return &format_structs[FORMAT_UNDIRENT];
	case ITEM_MAP:
		return &format_structs[FORMAT_MAP];
	case ITEM_UNMAP:
		return &format_structs[FORMAT_UNMAP];
	case ITEM_XATTR:
		return &format_structs[FORMAT_XATTR];
	case ITEM_LIMIT:
		return &format_structs[FORMAT_LIMIT];
	case ITEM_BAD:
		return &format_structs[FORMAT_BAD];
	case ITEM_CLAIM:
		return &format_structs[FORMAT_CLAIM];
	}
	return NULL;
}

bool format_field_number(const struct format_field *f, const void *bytes, uint64_t *value)
{
	uint8_t raw[8] = {0};
	uint64_t v = 0;

	if (f->kind == FIELD_BYTES || f->kind == FIELD_TEXT)
		return false;
	assert(f->size <= sizeof(raw));
	memcpy(raw, (const uint8_t *)bytes + f->offset, f->size);
	for (unsigned i = 0; i < f->size; i++)
		v |= (uint64_t)raw[i] << (8 * i);
	*value = v;
	return true;
}

static void bytes_to_hex(const uint8_t *p, uint32_t size, char *buf, size_t room)
{
	size_t at = 0;

	for (uint32_t i = 0; i < size && at + 3 <= room; i++)
		at += (size_t)snprintf(buf + at, room - at, "%02x", p[i]);
}

/* Bytes of a damaged magic may be anything: only printable ones reach the terminal. */
static void bytes_to_ascii(const uint8_t *p, uint32_t size, char *buf, size_t room)
{
	uint32_t i;

	for (i = 0; i < size && i + 1 < room; i++)
		buf[i] = p[i] >= 0x20 && p[i] < 0x7f ? (char)p[i] : '?';
	buf[i] = '\0';
}

void format_field_text(const struct format_field *f, const void *bytes, char *buf, size_t room)
{
	const uint8_t *p = (const uint8_t *)bytes + f->offset;
	uint64_t v = 0;

	assert(room > 0);
	buf[0] = '\0';
	format_field_number(f, bytes, &v);
	switch (f->kind) {
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
		snprintf(buf, room, "%" PRIu64, v);
		return;
	case FIELD_I64:
		snprintf(buf, room, "%" PRId64, (int64_t)v);
		return;
	case FIELD_HEX32:
	case FIELD_HEX64:
		snprintf(buf, room, "0x%" PRIx64, v);
		return;
	case FIELD_BYTES:
		bytes_to_hex(p, f->size, buf, room);
		return;
	case FIELD_TEXT:
		bytes_to_ascii(p, f->size, buf, room);
		return;
	}
}

/* What fits of a string behind `at`; returns where the whole of it would end, as snprintf counts. */
static size_t text_put(char *buf, size_t room, size_t at, const char *what)
{
	size_t len = strlen(what);

	if (at < room) {
		size_t fits = len < room - at - 1 ? len : room - at - 1;

		memcpy(buf + at, what, fits);
		buf[at + fits] = '\0';
	}
	return at + len;
}

size_t format_to_text(const struct format_struct *s, const void *bytes, char *buf, size_t room)
{
	char value[80];
	size_t at;

	assert(room > 0);
	at = text_put(buf, room, 0, s->name);
	at = text_put(buf, room, at, ":");
	for (uint32_t i = 0; i < s->field_count; i++) {
		format_field_text(&s->fields[i], bytes, value, sizeof(value));
		at = text_put(buf, room, at, " ");
		at = text_put(buf, room, at, s->fields[i].name);
		at = text_put(buf, room, at, "=");
		at = text_put(buf, room, at, value);
	}
	return at;
}
