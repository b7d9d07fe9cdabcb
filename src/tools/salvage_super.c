/* SPDX-License-Identifier: BSD-2-Clause */
/* The superblock of a damaged pool: block 0, one bit of it turned back, its copy, or what a checkpoint header names. */
#include <errno.h>
#include <string.h>

#include "base/crc.h"
#include "base/error.h"
#include "tools/mend.h"
#include "tools/salvage.h"

#define REFUSED "the pool cannot be mounted"
#define BIT     "one bit is wrong and can be put right; " REFUSED

static bool super_mended(struct salvage *s, uint64_t block, uint32_t copy, struct super *out)
{
	void *bytes = salvage_copy(s, salvage_block(s, block, 1), LH_BLOCK_SIZE);

	return bytes != NULL && mend_super(bytes, copy, salvage_blocks(s)) &&
	       super_decode(bytes, copy, salvage_blocks(s), out) == NULL;
}

/* The copy of a pool whose length is not known: in the last block, or the last one that says that it lies there. */
static bool copy_find(struct salvage *s, struct super *out, uint64_t *where)
{
	for (uint64_t block = salvage_blocks(s) - 1; block > 0; block--) {
		const uint8_t *bytes = salvage_block(s, block, 1);

		if (super_magic(bytes) && super_decode(bytes, 1, block + 1, out) == NULL && out->blocks == block + 1) {
			*where = block;
			return true;
		}
	}
	*where = salvage_blocks(s) - 1;
	return super_mended(s, *where, 1, out);
}

/* Whether the copy of this superblock lies where a pool of so many blocks has it. */
static bool size_fits(const struct salvage *s, const struct super *of, uint64_t blocks)
{
	struct super copy;

	return blocks >= FORMAT_POOL_BLOCKS_MIN && blocks <= salvage_blocks(s) &&
	       super_decode(salvage_block(s, blocks - 1, 1), 1, salvage_blocks(s), &copy) == NULL &&
	       copy.blocks == blocks && memcmp(copy.uuid, of->uuid, sizeof(copy.uuid)) == 0;
}

/* 2.4: the pool's size when its word is wrong. One bit of it, what the copy says, what mkfs made, or what is there. */
static uint64_t size_find(struct salvage *s, const struct super *of, uint64_t word)
{
	struct super copy;
	uint64_t where;

	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t other = word ^ (uint64_t)1 << bit, blocks = of->made_blocks;

		if (other != 0 && size_decode(le64_of(other), of->uuid, salvage_blocks(s), &blocks) != NULL)
			continue;
		if (size_fits(s, of, blocks))
			return blocks;
	}
	if (copy_find(s, &copy, &where) && memcmp(copy.uuid, of->uuid, sizeof(copy.uuid)) == 0)
		return copy.blocks;
	return of->made_blocks <= salvage_blocks(s) ? of->made_blocks : salvage_blocks(s);
}

/* More blocks than any pool has: as many as are there. */
static bool size_cap(const struct salvage *s, struct super *out)
{
	if (out->blocks > POOL_SIZE_MAX >> LH_BLOCK_SHIFT)
		out->blocks = salvage_blocks(s);
	return true;
}

/* What a superblock says whose crc is right, whatever else is wrong. */
static bool super_fields(struct salvage *s, const void *block, struct super *out)
{
	struct m_words w;
	struct m_super m;
	const char *rule;

	memcpy(&m, block, sizeof(m));
	memcpy(&w, (const uint8_t *)block + FORMAT_ROOT_OFFSET, sizeof(w));
	if (!super_magic(block) || le32_to(m.sb_crc) != crc32c(0, &m, offsetof(struct m_super, sb_crc)) ||
	    le32_to(m.sb_version) != FORMAT_VERSION || le32_to(m.sb_block_size) != LH_BLOCK_SIZE)
		return false;
	*out = (struct super){.compat = le64_to(m.sb_compat),
			      .ro_compat = le64_to(m.sb_ro_compat),
			      .incompat = le64_to(m.sb_incompat),
			      .made_blocks = le64_to(m.sb_blocks),
			      .blocks = le64_to(m.sb_blocks),
			      .created_ns = (int64_t)le64_to(m.sb_created_ns)};
	memcpy(out->uuid, m.sb_uuid, sizeof(out->uuid));
	if (out->made_blocks < FORMAT_POOL_BLOCKS_MIN)
		return false;
	if (le64_to(w.wd_size) == 0)
		return size_cap(s, out);
	/* A word whose check is right says more blocks than there are: a pool that was cut. */
	rule = size_decode(w.wd_size, out->uuid, UINT64_MAX, &out->blocks);
	if (rule != NULL)
		out->blocks = size_find(s, out, le64_to(w.wd_size));
	return size_cap(s, out);
}

/* Neither superblock nor copy: a checkpoint header still names the pool. */
static bool super_guess(struct salvage *s)
{
	uint64_t best = 0;

	salvage_scan(s);
	for (uint64_t i = 0; i < s->found_count; i++) {
		struct super guess = {.blocks = salvage_blocks(s), .made_blocks = salvage_blocks(s)};
		struct checkpoint_head h;
		struct m_checkpoint m;

		if (s->found[i].kind != SALVAGE_HEAD)
			continue;
		memcpy(&m, salvage_block(s, s->found[i].block, 1), sizeof(m));
		memcpy(guess.uuid, m.cp_uuid, sizeof(guess.uuid));
		if (checkpoint_decode(salvage_block(s, s->found[i].block, 1), s->found[i].block, &guess, &h) != NULL ||
		    h.must_seq < best)
			continue;
		best = h.must_seq;
		s->super = guess;
		s->super_from = SUPER_GUESS;
	}
	return s->super_from == SUPER_GUESS;
}

static void copy_look(struct salvage *s)
{
	const struct scan_at at = {s->super.blocks - 1, 0, 0};
	struct super copy;
	const char *rule;

	if (s->super.blocks > salvage_blocks(s)) {
		s->copy_bad = true;
		return; /* 2.1f was told */
	}
	rule = super_decode(salvage_block(s, at.block, 1), 1, s->super.blocks, &copy);
	if (rule == NULL && !super_is_copy(&copy, &s->super))
		rule = "2.2a copy of the superblock differs";
	s->copy_bad = rule != NULL;
	if (rule != NULL && s->ops->copy_damaged != NULL)
		s->ops->copy_damaged(s->ctx, rule);
	if (rule == NULL && s->ops->super != NULL)
		s->ops->super(s->ctx, &copy, 1, salvage_block(s, at.block, 1));
}

int salvage_super(struct salvage *s)
{
	const struct scan_at at = {0, 0, 0};
	const char *rule = super_decode(salvage_block(s, 0, 1), 0, salvage_blocks(s), &s->super);
	uint64_t where;

	if (rule != NULL && format_rule_is_version(rule))
		return fail(-EPROTONOSUPPORT, "pool %s: format %s: use a newer leasehold", s->pool->name, rule);
	s->super_bad = rule != NULL;
	s->super_told = rule != NULL ? 1 : 0;
	if (rule == NULL) {
		if (s->ops->super != NULL)
			s->ops->super(s->ctx, &s->super, 0, salvage_block(s, 0, 1));
	} else if (super_fields(s, salvage_block(s, 0, 1), &s->super)) {
		salvage_damage(s, rule, REFUSED, &at);
	} else if (super_mended(s, 0, 0, &s->super)) {
		salvage_damage(s, rule, BIT, &at);
	} else if (copy_find(s, &s->super, &where)) {
		salvage_damage(s, rule, REFUSED "; the copy in the last block is good", &at);
		s->super_from = SUPER_COPY;
	} else if (super_guess(s)) {
		salvage_damage(s, rule, REFUSED "; the copy is bad too, but checkpoint headers name the pool", &at);
	} else {
		return fail(-EMEDIUMTYPE,
			    "pool %s: not a leasehold pool (format %s): give the right path, or make one with mkfs",
			    s->pool->name, rule);
	}
	copy_look(s);
	return 0;
}
