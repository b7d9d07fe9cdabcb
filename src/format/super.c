/* SPDX-License-Identifier: BSD-2-Clause */
/* docs/format.md 2: the superblock, its copy, the root word and the size word. */
#include <string.h>

#include "base/crc.h"
#include "format/check.h"
#include "format/format.h"

static const uint8_t super_magic_bytes[8] = {'L', 'E', 'A', 'S', 'E', 'H', 'L', 'D'};

#define WORD_MASK (((uint64_t)1 << 48) - 1)

void super_encode(const struct super *s, uint32_t copy, struct m_super *m)
{
	memset(m, 0, sizeof(*m));
	memcpy(m->sb_magic, super_magic_bytes, sizeof(m->sb_magic));
	m->sb_version = le32_of(FORMAT_VERSION);
	m->sb_block_size = le32_of(LH_BLOCK_SIZE);
	m->sb_compat = le64_of(s->compat);
	m->sb_ro_compat = le64_of(s->ro_compat);
	m->sb_incompat = le64_of(s->incompat);
	memcpy(m->sb_uuid, s->uuid, sizeof(m->sb_uuid));
	m->sb_blocks = le64_of(s->made_blocks != 0 ? s->made_blocks : s->blocks);
	m->sb_created_ns = le64_of((uint64_t)s->created_ns);
	m->sb_copy = le32_of(copy);
	m->sb_crc = le32_of(crc32c(0, m, offsetof(struct m_super, sb_crc)));
}

void super_block_encode(const struct super *s, uint32_t copy, void *block)
{
	struct m_words w = {{0}, {0}};
	struct m_super m;

	super_encode(s, copy, &m);
	if (s->made_blocks != 0 && s->made_blocks != s->blocks)
		w.wd_size = size_encode(s->uuid, s->blocks);
	memset(block, 0, LH_BLOCK_SIZE);
	memcpy(block, &m, sizeof(m));
	memcpy((uint8_t *)block + FORMAT_ROOT_OFFSET, &w, sizeof(w));
}

bool super_magic(const void *block)
{
	return memcmp(block, super_magic_bytes, sizeof(super_magic_bytes)) == 0;
}

/* The words are the only other thing in the block; the copy has no root word. */
static bool super_rest_is_zero(const uint8_t *block, uint32_t copy)
{
	const size_t end = sizeof(struct m_super), words_end = FORMAT_ROOT_OFFSET + sizeof(struct m_words);

	if (copy != 0 && !check_zero(block + FORMAT_ROOT_OFFSET, sizeof(le64)))
		return false;
	return check_zero(block + end, FORMAT_ROOT_OFFSET - end) &&
	       check_zero(block + words_end, LH_BLOCK_SIZE - words_end);
}

/* 2.1f and 2.4. */
static const char *super_size(const void *block, uint64_t pool_blocks, struct super *out)
{
	struct m_words w;

	memcpy(&w, (const uint8_t *)block + FORMAT_ROOT_OFFSET, sizeof(w));
	out->blocks = out->made_blocks;
	if (out->made_blocks < FORMAT_POOL_BLOCKS_MIN)
		return "2.1f pool smaller than 4096 blocks";
	if (le64_to(w.wd_size) != 0)
		return size_decode(w.wd_size, out->uuid, pool_blocks, &out->blocks);
	return out->blocks <= pool_blocks ? NULL : "2.1f pool shorter than its superblock says (truncated?)";
}

bool super_is_copy(const struct super *copy, const struct super *of)
{
	return memcmp(copy->uuid, of->uuid, sizeof(copy->uuid)) == 0 && copy->blocks == of->blocks &&
	       copy->created_ns == of->created_ns && copy->compat == of->compat && copy->ro_compat == of->ro_compat;
}

const char *super_decode(const void *block, uint32_t copy, uint64_t pool_blocks, struct super *out)
{
	struct super s = {0};
	struct m_super m;
	const char *rule;

	memcpy(&m, block, sizeof(m));
	if (memcmp(m.sb_magic, super_magic_bytes, sizeof(m.sb_magic)) != 0)
		return "2.1a not a superblock";
	if (le32_to(m.sb_crc) != crc32c(0, &m, offsetof(struct m_super, sb_crc)))
		return "2.1b wrong checksum of the superblock";
	if (le32_to(m.sb_version) != FORMAT_VERSION)
		return "2.1c unknown version";
	if ((le64_to(m.sb_incompat) & ~FORMAT_INCOMPAT_KNOWN) != 0)
		return "2.1d unknown incompatible feature";
	if (le32_to(m.sb_block_size) != LH_BLOCK_SIZE)
		return "2.1e block size is not 4096";
	s.made_blocks = le64_to(m.sb_blocks);
	memcpy(s.uuid, m.sb_uuid, sizeof(s.uuid));
	rule = super_size(block, pool_blocks, &s);
	if (rule != NULL)
		return rule;
	if (le32_to(m.sb_copy) != copy)
		return "2.1g superblock and copy exchanged";
	if (!check_zero(m.sb_zero, sizeof(m.sb_zero)) || !super_rest_is_zero(block, copy))
		return "2.1h bytes that must be zero are not";
	s.compat = le64_to(m.sb_compat);
	s.ro_compat = le64_to(m.sb_ro_compat);
	s.incompat = le64_to(m.sb_incompat);
	s.created_ns = (int64_t)le64_to(m.sb_created_ns);
	*out = s;
	return NULL;
}

bool format_rule_is_version(const char *rule)
{
	return strncmp(rule, "2.1c", 4) == 0 || strncmp(rule, "2.1d", 4) == 0;
}

bool format_rule_is_crc(const char *rule)
{
	static const char *const rules[] = {"2.1b", "2.3a", "2.4a", "3.1b", "3.2c", "5.1b", "5.2e", "5.4a", "5.4b"};

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		if (strncmp(rule, rules[i], 4) == 0)
			return true;
	}
	return false;
}

static le64 word_seal(const uint8_t uuid[16], uint64_t value)
{
	le64 m = le64_of(value);
	uint32_t crc = crc32c(crc32c(0, uuid, 16), &m, 6);

	assert(value <= WORD_MASK);
	return le64_of(value | (uint64_t)((crc ^ crc >> 16) & 0xffff) << 48);
}

/* false: the check is wrong. */
static bool word_open(le64 word, const uint8_t uuid[16], uint64_t *value)
{
	*value = le64_to(word) & WORD_MASK;
	return le64_to(word_seal(uuid, *value)) == le64_to(word);
}

le64 root_encode(const uint8_t uuid[16], uint64_t block)
{
	return word_seal(uuid, block);
}

const char *root_decode(le64 word, const uint8_t uuid[16], uint64_t pool_blocks, uint64_t *block)
{
	uint64_t at;

	if (!word_open(word, uuid, &at))
		return "2.3a wrong check of the root word";
	if (!check_run(at, 1, pool_blocks))
		return "2.3b root word points outside the pool";
	*block = at;
	return NULL;
}

le64 size_encode(const uint8_t uuid[16], uint64_t blocks)
{
	return word_seal(uuid, blocks);
}

const char *size_decode(le64 word, const uint8_t uuid[16], uint64_t pool_blocks, uint64_t *blocks)
{
	uint64_t n;

	if (!word_open(word, uuid, &n))
		return "2.4a wrong check of the size word";
	if (n < FORMAT_POOL_BLOCKS_MIN)
		return "2.4b size word of less than 4096 blocks";
	if (n > pool_blocks)
		return "2.4b pool shorter than its size word says (truncated?)";
	*blocks = n;
	return NULL;
}
