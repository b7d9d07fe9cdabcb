/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of limits, for limit.c and limit_calls.c. It changes while frozen, and under LIMIT for those who only look.
 */
#ifndef LH_FS_LIMIT_IMPL_H
#define LH_FS_LIMIT_IMPL_H

#include "format/format.h"
#include "fs/limit.h"

#define LIMIT_BUCKETS 1024u
#define LIMITS_MAX    65536u

struct limit {
	struct limit *next;
	uint64_t root; /* the tree's top */
	uint64_t blocks, inodes;
	_Atomic uint64_t blocks_used, inodes_used;
	uint32_t kind, id;
};

struct limits {
	struct lock lock;
	uint32_t count;
	uint32_t pins; /* of them, those that no space is charged to */
	uint64_t next_tree;
	struct limit *bucket[LIMIT_BUCKETS];
};

struct limit *limit_find(struct limits *l, uint32_t kind, uint32_t id);
void limit_add(struct limits *l, struct limit *limit);
/* Frees it. */
void limit_drop(struct limits *l, struct limit *limit);
/* Frozen: what is used, of all of them, counted anew. */
void limits_count(struct fs *fs);
/* All of them, *out from malloc. */
int limits_copy(struct fs *fs, struct fs_limit **out, uint32_t *count);

static inline bool limit_is_pins(uint32_t kind)
{
	return kind >= ITEM_LIMIT_PINS && kind <= ITEM_LIMIT_PINS_POOL;
}

/* limit_pins.c. Checks what was asked and makes it what is stored: 0, -EINVAL. */
int limit_pins_check(struct fs_limit *l);
/* The arbiter hears of a stored limit; blocks 0: that there is none. 0, -ENOMEM. */
int limit_pins_tell(struct fs *fs, const struct fs_limit *stored);
/* Makes a stored one what callers see, with what is used. */
void limit_pins_show(struct fs *fs, struct fs_limit *l);

static inline struct fs_limit limit_info(const struct limit *l)
{
	return (struct fs_limit){.kind = l->kind,
				 .id = l->id,
				 .ino = l->kind == FS_LIMIT_TREE ? l->root : 0,
				 .blocks = l->blocks,
				 .inodes = l->inodes,
				 .blocks_used = atomic_load(&l->blocks_used),
				 .inodes_used = atomic_load(&l->inodes_used)};
}

#endif
