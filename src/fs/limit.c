/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of limits, charging, and the mount's and checkpoint's side. Setting and listing: limit_calls.c.
 * A tree's number is never used again in one mount, nor while some inode carries it.
 */
#include "fs/limit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "format/format.h"
#include "fs/freeze.h"
#include "fs/limit_impl.h"

#define FINDING_MAX 256u

int limits_init(struct fs *fs)
{
	struct limits *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	lock_init(&l->lock, RANK_LIMIT);
	l->next_tree = 1;
	fs->limits = l;
	return 0;
}

void limits_fini(struct fs *fs)
{
	struct limits *l = fs->limits;

	if (!l)
		return;
	for (unsigned k = 0; k < LIMIT_BUCKETS; k++) {
		while (l->bucket[k]) {
			struct limit *gone = l->bucket[k];

			l->bucket[k] = gone->next;
			free(gone);
		}
	}
	lock_destroy(&l->lock);
	free(l);
	fs->limits = NULL;
}

/* --- the table -------------------------------------------------------------------------------------------------------
 */

static struct limit **bucket_of(struct limits *l, uint32_t kind, uint32_t id)
{
	return &l->bucket[((id * 2654435761u) >> 16 ^ kind) % LIMIT_BUCKETS];
}

struct limit *limit_find(struct limits *l, uint32_t kind, uint32_t id)
{
	struct limit *at = *bucket_of(l, kind, id);

	while (at && (at->kind != kind || at->id != id))
		at = at->next;
	return at;
}

void limit_add(struct limits *l, struct limit *limit)
{
	struct limit **b = bucket_of(l, limit->kind, limit->id);

	lock_take(&l->lock);
	limit->next = *b;
	*b = limit;
	l->count++;
	l->pins += limit_is_pins(limit->kind);
	lock_drop(&l->lock);
}

void limit_drop(struct limits *l, struct limit *limit)
{
	struct limit **at = bucket_of(l, limit->kind, limit->id);

	lock_take(&l->lock);
	while (*at != limit)
		at = &(*at)->next;
	*at = limit->next;
	l->count--;
	l->pins -= limit_is_pins(limit->kind);
	lock_drop(&l->lock);
	free(limit);
}

/* --- charging --------------------------------------------------------------------------------------------------------
 */

static bool none(const struct fs *fs)
{
	return likely(fs->limits->count == fs->limits->pins);
}

/* Those that count an inode: its owner's and its tree's. Either may be NULL. */
struct pair {
	struct limit *l[2];
};

static struct pair pair_of(const struct fs *fs, const struct inode_attr *a)
{
	struct pair p = {{limit_find(fs->limits, ITEM_LIMIT_UID, a->uid),
			  a->tree ? limit_find(fs->limits, ITEM_LIMIT_TREE, a->tree) : NULL}};

	return p;
}

static uint64_t room_in(const _Atomic uint64_t *used, uint64_t max)
{
	uint64_t now = atomic_load_explicit(used, memory_order_relaxed);

	if (max == 0)
		return UINT64_MAX;
	return now < max ? max - now : 0;
}

static bool take(_Atomic uint64_t *used, uint64_t n, uint64_t max)
{
	uint64_t now = atomic_load_explicit(used, memory_order_relaxed);

	if (n == 0)
		return true;
	do {
		if (max && (now >= max || n > max - now))
			return false;
	} while (!atomic_compare_exchange_weak(used, &now, now + n));
	return true;
}

static void give(_Atomic uint64_t *used, uint64_t n)
{
	uint64_t old = atomic_fetch_sub(used, n);

	assert(old >= n);
	(void)old;
}

static bool limit_take(struct limit *l, uint64_t blocks, uint64_t inodes)
{
	if (!l)
		return true;
	if (!take(&l->blocks_used, blocks, l->blocks))
		return false;
	if (take(&l->inodes_used, inodes, l->inodes))
		return true;
	give(&l->blocks_used, blocks);
	return false;
}

static void limit_give(struct limit *l, uint64_t blocks, uint64_t inodes)
{
	if (!l)
		return;
	give(&l->blocks_used, blocks);
	give(&l->inodes_used, inodes);
}

static int over(const struct limit *l)
{
	return fail(-EDQUOT,
		    "over the limit of %s %u: %" PRIu64 " of %" PRIu64 " blocks, %" PRIu64 " of %" PRIu64
		    " inodes (0: no limit)",
		    l->kind == ITEM_LIMIT_UID ? "uid" : "tree", l->id, atomic_load(&l->blocks_used), l->blocks,
		    atomic_load(&l->inodes_used), l->inodes);
}

static int pair_take(struct pair p, uint64_t blocks, uint64_t inodes)
{
	if (!limit_take(p.l[0], blocks, inodes))
		return over(p.l[0]);
	if (limit_take(p.l[1], blocks, inodes))
		return 0;
	limit_give(p.l[0], blocks, inodes);
	return over(p.l[1]);
}

static void pair_give(struct pair p, uint64_t blocks, uint64_t inodes)
{
	limit_give(p.l[0], blocks, inodes);
	limit_give(p.l[1], blocks, inodes);
}

int limit_charge(struct fs *fs, const struct inode_attr *a, uint64_t blocks, uint64_t inodes)
{
	return none(fs) ? 0 : pair_take(pair_of(fs, a), blocks, inodes);
}

void limit_return(struct fs *fs, const struct inode_attr *a, uint64_t blocks, uint64_t inodes)
{
	if (!none(fs))
		pair_give(pair_of(fs, a), blocks, inodes);
}

/* How many more blocks there is room for, and in which of them there is the least. */
static uint64_t pair_room(struct pair p, const struct limit **tight)
{
	uint64_t room = UINT64_MAX;

	*tight = NULL;
	for (unsigned k = 0; k < 2; k++) {
		uint64_t here = p.l[k] ? room_in(&p.l[k]->blocks_used, p.l[k]->blocks) : UINT64_MAX;

		if (here >= room)
			continue;
		room = here;
		*tight = p.l[k];
	}
	return room;
}

int limit_blocks(struct fs *fs, struct inode *i, uint64_t want, uint64_t *got)
{
	const struct limit *tight;
	struct pair p;
	uint64_t n = want;
	int err;

	if (got)
		*got = want;
	if (none(fs) || want == 0)
		return 0;
	p = pair_of(fs, &i->attr);
	for (;;) {
		if (got)
			n = min_u64(want, pair_room(p, &tight));
		if (n == 0)
			return over(tight);
		err = pair_take(p, n, 0);
		if (!err)
			break;
		if (!got)
			return err;
	}
	i->charged += n;
	if (got)
		*got = n;
	return 0;
}

void limit_settle(struct fs *fs, struct inode *i)
{
	uint64_t has = i->type == DT_REG ? i->map.blocks : 0;
	struct pair p;

	if (none(fs) || i->charged == has || i->gone)
		return;
	p = pair_of(fs, &i->attr);
	for (unsigned k = 0; k < 2; k++) {
		if (p.l[k] && has > i->charged)
			atomic_fetch_add(&p.l[k]->blocks_used, has - i->charged);
		else if (p.l[k])
			give(&p.l[k]->blocks_used, i->charged - has);
	}
	i->charged = has;
}

int limit_fits(struct fs *fs, const struct inode *i, uint64_t blocks)
{
	const struct limit *tight;

	if (none(fs) || blocks <= pair_room(pair_of(fs, &i->attr), &tight))
		return 0;
	return over(tight);
}

int limit_owner_begin(struct fs *fs, const struct inode *i, const struct inode_attr *a)
{
	struct limit *to;

	if (none(fs) || i->gone || a->uid == i->attr.uid)
		return 0;
	to = limit_find(fs->limits, ITEM_LIMIT_UID, a->uid);
	return limit_take(to, i->charged, 1) ? 0 : over(to);
}

void limit_owner_end(struct fs *fs, const struct inode *i, const struct inode_attr *a, int err)
{
	if (none(fs) || i->gone || a->uid == i->attr.uid)
		return;
	limit_give(limit_find(fs->limits, ITEM_LIMIT_UID, err ? a->uid : i->attr.uid), i->charged, 1);
}

void limit_forget(struct fs *fs, struct inode *i)
{
	limit_return(fs, &i->attr, i->charged, 1);
	i->charged = 0;
}

int limit_border(uint32_t tree, uint32_t other)
{
	if (likely(tree == other))
		return 0;
	return fail(-EXDEV, "tree %u and tree %u (0: none) have limits of their own: copy instead", tree, other);
}

/* --- counting --------------------------------------------------------------------------------------------------------
 */

/* Frozen, or mount. Calls each() for all inodes. */
static void each_inode(struct fs *fs, void (*each)(void *ctx, struct inode *i), void *ctx)
{
	for (unsigned k = 0; k < ITABLE_SHARDS; k++) {
		struct itable_shard *s = &fs->table[k];

		lock_take(&s->lock);
		for (uint32_t b = 0; b < s->bucket_count; b++) {
			for (struct inode *i = s->buckets[b]; i; i = i->next)
				each(ctx, i);
		}
		lock_drop(&s->lock);
	}
}

static void count_inode(void *ctx, struct inode *i)
{
	struct fs *fs = ctx;
	struct pair p = pair_of(fs, &i->attr);

	i->charged = i->type == DT_REG ? i->map.blocks : 0;
	for (unsigned k = 0; k < 2; k++) {
		if (!p.l[k])
			continue;
		atomic_fetch_add_explicit(&p.l[k]->blocks_used, i->charged, memory_order_relaxed);
		atomic_fetch_add_explicit(&p.l[k]->inodes_used, 1, memory_order_relaxed);
	}
}

void limits_count(struct fs *fs)
{
	for (unsigned k = 0; k < LIMIT_BUCKETS; k++) {
		for (struct limit *l = fs->limits->bucket[k]; l; l = l->next) {
			atomic_store(&l->blocks_used, 0);
			atomic_store(&l->inodes_used, 0);
		}
	}
	if (!none(fs))
		each_inode(fs, count_inode, fs);
}

/* --- replay and checkpoint
 * ---------------------------------------------------------------------------------------------- */

const char *limit_apply(void *ctx, uint32_t kind, uint32_t id, uint64_t root, uint64_t blocks, uint64_t inodes)
{
	struct fs *fs = ctx;
	struct limit *l = limit_find(fs->limits, kind, id);

	if (blocks == 0 && inodes == 0) {
		if (l)
			limit_drop(fs->limits, l);
		return NULL;
	}
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l) {
			fs->apply_error = -ENOMEM;
			return "out of memory";
		}
		l->kind = kind;
		l->id = id;
		limit_add(fs->limits, l);
	}
	l->root = root;
	l->blocks = blocks;
	l->inodes = inodes;
	return NULL;
}

static void note_tree(void *ctx, struct inode *i)
{
	struct limits *l = ctx;

	if (i->attr.tree >= l->next_tree)
		l->next_tree = i->attr.tree + 1ul;
}

static bool is_gone(struct fs *fs, const struct limit *l)
{
	const struct inode *top = l->kind == ITEM_LIMIT_TREE ? itable_peek(fs, l->root) : fs->root;

	return !top || top->type != DT_DIR || (l->kind == ITEM_LIMIT_TREE && top->attr.tree != l->id);
}

void limit_finish(struct fs *fs)
{
	struct limits *all = fs->limits;

	each_inode(fs, note_tree, all);
	for (unsigned k = 0; k < LIMIT_BUCKETS; k++) {
		struct limit *next;

		for (struct limit *l = all->bucket[k]; l; l = next) {
			next = l->next;
			if (l->kind == ITEM_LIMIT_TREE && l->id >= all->next_tree)
				all->next_tree = l->id + 1ul;
			if (is_gone(fs, l))
				limit_drop(all, l);
		}
	}
	limits_count(fs);
}

int limits_copy(struct fs *fs, struct fs_limit **out, uint32_t *count)
{
	struct limits *all = fs->limits;
	struct fs_limit *list;
	uint32_t n = 0;

	lock_take(&all->lock);
	list = calloc(all->count + 1ul, sizeof(*list));
	for (unsigned k = 0; list && k < LIMIT_BUCKETS; k++) {
		for (const struct limit *l = all->bucket[k]; l; l = l->next)
			list[n++] = limit_info(l);
	}
	lock_drop(&all->lock);
	*out = list;
	*count = n;
	return list ? 0 : -ENOMEM;
}

int limit_walk(struct fs *fs, struct jtxn *t)
{
	struct fs_limit *list;
	uint32_t count;
	int err = limits_copy(fs, &list, &count);

	for (uint32_t k = 0; !err && k < count; k++)
		jtxn_limit(t, list[k].kind, list[k].id, list[k].ino ? list[k].ino : FS_ROOT_INO, list[k].blocks,
			   list[k].inodes);
	free(list);
	return err;
}

/* --- fsck
 * ---------------------------------------------------------------------------------------------------------------- */

struct limit_check {
	struct fs *fs;
	void (*each)(void *ctx, const char *finding);
	void *ctx;
	int findings;
};

static void said(struct limit_check *c, const char *text)
{
	c->findings++;
	if (c->each)
		c->each(c->ctx, text);
}

static void check_charged(void *ctx, struct inode *i)
{
	struct limit_check *c = ctx;
	uint64_t has = i->type == DT_REG ? i->map.blocks : 0;
	char text[FINDING_MAX];

	if (i->charged == has)
		return;
	snprintf(text, sizeof(text), "inode %" PRIu64 ": limits count %" PRIu64 " blocks, it has %" PRIu64, ino_of(i),
		 i->charged, has);
	said(c, text);
}

static void check_used(struct limit_check *c, const struct fs_limit *was)
{
	const struct limit *l = limit_find(c->fs->limits, was->kind, was->id);
	char text[FINDING_MAX];

	if (atomic_load(&l->blocks_used) == was->blocks_used && atomic_load(&l->inodes_used) == was->inodes_used)
		return;
	snprintf(text, sizeof(text),
		 "limit of %s %u: %" PRIu64 " blocks and %" PRIu64 " inodes used, counted as %" PRIu64 " and %" PRIu64,
		 was->kind == FS_LIMIT_UID ? "uid" : "tree", was->id, atomic_load(&l->blocks_used),
		 atomic_load(&l->inodes_used), was->blocks_used, was->inodes_used);
	said(c, text);
}

int limit_verify(struct fs *fs, void (*each)(void *ctx, const char *finding), void *ctx)
{
	struct limit_check c = {fs, each, ctx, 0};
	struct fs_limit *list;
	uint32_t count;
	int err;

	if (none(fs))
		return 0;
	freeze_begin(fs);
	err = limits_copy(fs, &list, &count);
	if (!err) {
		each_inode(fs, check_charged, &c);
		limits_count(fs);
	}
	for (uint32_t k = 0; !err && k < count; k++)
		check_used(&c, &list[k]);
	freeze_end(fs);
	free(list);
	return err ? err : c.findings;
}
