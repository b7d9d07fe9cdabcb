/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inodes by number: shards, each a table of linear hashing. One more inode splits one bucket, one less joins two,
 * so that no call takes longer because there are many. The array of buckets is the only thing that is moved as a whole:
 * one pointer for each of the shard's inodes.
 *
 * A walk takes the numbers of a few buckets at a time. A split moves inodes to the end, where the walk still comes; a
 * join would move them to where it has been, so that nothing is joined while somebody walks.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/core.h"

#define BUCKETS_FIRST 8u
#define WALK_NUMBERS  64u /* of one turn of a walk */

static struct itable_shard *shard_of(struct fs *fs, uint64_t ino)
{
	return &fs->table[ino % ITABLE_SHARDS];
}

/* Buckets [0, count) exist; low is the highest power of two that is at most count. */
static uint32_t bucket_number(const struct itable_shard *s, uint64_t ino)
{
	uint64_t hash = ino / ITABLE_SHARDS;
	uint32_t b = (uint32_t)(hash & (2 * (uint64_t)s->low - 1));

	return b < s->bucket_count ? b : b - s->low;
}

static struct inode **bucket_of(struct itable_shard *s, uint64_t ino)
{
	return &s->buckets[bucket_number(s, ino)];
}

static int buckets_resize(struct itable_shard *s, uint32_t room)
{
	struct inode **buckets = realloc(s->buckets, room * sizeof(struct inode *));

	if (!buckets)
		return -ENOMEM;
	s->buckets = buckets;
	s->room = room;
	return 0;
}

static int shard_init(struct itable_shard *s, uint32_t buckets)
{
	int err = buckets_resize(s, buckets);

	if (err)
		return err;
	for (uint32_t b = 0; b < buckets; b++)
		s->buckets[b] = NULL;
	s->bucket_count = buckets;
	s->low = BUCKETS_FIRST;
	while (2 * s->low <= buckets)
		s->low *= 2;
	return 0;
}

int itable_init(struct fs *fs)
{
	for (unsigned k = 0; k < ITABLE_SHARDS; k++) {
		int err;

		lock_init_keyed(&fs->table[k].lock, RANK_ITABLE, k);
		err = shard_init(&fs->table[k], BUCKETS_FIRST);
		if (err)
			return err;
	}
	return 0;
}

void itable_presize(struct fs *fs, uint64_t inodes)
{
	uint64_t each = inodes / ITABLE_SHARDS;

	for (unsigned k = 0; k < ITABLE_SHARDS && each > BUCKETS_FIRST && each < UINT32_MAX / 2; k++) {
		if (fs->table[k].count == 0)
			shard_init(&fs->table[k], (uint32_t)each);
	}
}

/* Frees the inodes too. */
void itable_fini(struct fs *fs)
{
	for (unsigned k = 0; k < ITABLE_SHARDS; k++) {
		struct itable_shard *s = &fs->table[k];

		if (s->bucket_count == 0)
			continue;
		for (uint32_t b = 0; b < s->bucket_count; b++) {
			while (s->buckets[b]) {
				struct inode *i = s->buckets[b];

				s->buckets[b] = i->next;
				inode_free(i);
			}
		}
		free(s->buckets);
		lock_destroy(&s->lock);
	}
}

/* Under the shard's lock: one bucket more. Without memory the chains just get longer. */
static void shard_split(struct itable_shard *s)
{
	struct inode **from, **to;

	if (s->bucket_count == s->room && buckets_resize(s, s->room * 2))
		return;
	to = &s->buckets[s->bucket_count];
	from = &s->buckets[s->bucket_count - s->low];
	*to = NULL;
	s->bucket_count++;
	if (s->bucket_count == 2 * s->low)
		s->low *= 2;
	while (*from) {
		struct inode *i = *from;

		if (&s->buckets[bucket_number(s, ino_of(i))] != to) {
			from = &i->next;
			continue;
		}
		*from = i->next;
		i->next = *to;
		*to = i;
	}
}

/* Under the shard's lock: one bucket less. */
static void shard_join(struct itable_shard *s)
{
	struct inode **to;

	if (s->bucket_count <= BUCKETS_FIRST || s->walkers > 0)
		return;
	s->bucket_count--;
	if (s->bucket_count < s->low)
		s->low /= 2;
	to = &s->buckets[s->bucket_count - s->low];
	while (*to)
		to = &(*to)->next;
	*to = s->buckets[s->bucket_count];
	if (s->bucket_count <= s->room / 4)
		buckets_resize(s, s->room / 2); /* or it stays as large as it is */
}

void itable_add(struct fs *fs, struct inode *i)
{
	struct itable_shard *s = shard_of(fs, ino_of(i));
	struct inode **b;

	lock_take(&s->lock);
	if (s->count >= s->bucket_count)
		shard_split(s);
	b = bucket_of(s, ino_of(i));
	i->next = *b;
	*b = i;
	s->count++;
	lock_drop(&s->lock);
	atomic_fetch_add_explicit(&fs->files, 1, memory_order_relaxed);
}

void itable_remove(struct fs *fs, struct inode *i)
{
	struct itable_shard *s = shard_of(fs, ino_of(i));
	struct inode **at;

	lock_take(&s->lock);
	at = bucket_of(s, ino_of(i));
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	s->count--;
	if (s->count < s->bucket_count / 2)
		shard_join(s);
	lock_drop(&s->lock);
	atomic_fetch_sub_explicit(&fs->files, 1, memory_order_relaxed);
}

struct inode *itable_peek(struct fs *fs, uint64_t ino)
{
	struct inode *i = *bucket_of(shard_of(fs, ino), ino);

	while (i && ino_of(i) != ino)
		i = i->next;
	return i;
}

void itable_prefetch(struct fs *fs, uint64_t ino, bool inode)
{
	struct inode **b = bucket_of(shard_of(fs, ino), ino);

	if (inode)
		__builtin_prefetch(*b);
	else
		__builtin_prefetch(b);
}

/* An orphan that is being reclaimed stays dead. */
static bool get_unless_dead(struct inode *i)
{
	uint32_t old = atomic_load_explicit(&i->refs, memory_order_relaxed);

	do {
		if (old == REF_ORPHAN)
			return false;
	} while (!atomic_compare_exchange_weak(&i->refs, &old, old + 1));
	return true;
}

void itable_unnamed(struct fs *fs, struct inode *i)
{
	struct itable_shard *s = shard_of(fs, ino_of(i));

	lock_take(&s->lock);
	i->next = s->unnamed;
	s->unnamed = i;
	lock_drop(&s->lock);
}

void itable_unnamed_free(struct fs *fs, struct inode *i)
{
	struct itable_shard *s = shard_of(fs, ino_of(i));
	struct inode **at;

	lock_take(&s->lock);
	for (at = &s->unnamed; *at; at = &(*at)->next) {
		if (*at != i)
			continue;
		*at = i->next;
		break;
	}
	lock_drop(&s->lock);
}

struct inode *itable_get(struct fs *fs, uint64_t ino)
{
	struct itable_shard *s = shard_of(fs, ino);
	struct inode *i;

	lock_take(&s->lock);
	i = itable_peek(fs, ino);
	if (!i) {
		i = s->unnamed;
		while (i && ino_of(i) != ino)
			i = i->next;
	}
	if (i && !get_unless_dead(i))
		i = NULL;
	lock_drop(&s->lock);
	return i;
}

bool itable_leased(struct fs *fs, uint64_t ino, unsigned modes, const struct lease_session *owner)
{
	struct itable_shard *s = shard_of(fs, ino);
	struct inode *i;
	bool leased;

	lock_take(&s->lock);
	i = itable_peek(fs, ino);
	leased = i && lease_busy(&i->anchor) && lease_conflicts(&i->anchor, RANGE_ALL, modes, owner) != 0;
	lock_drop(&s->lock);
	return leased;
}

/* --- walks ----------------------------------------------------------------------------------------------------------
 */

void itable_walk_begin(struct fs *fs)
{
	for (unsigned k = 0; k < ITABLE_SHARDS; k++) {
		lock_take(&fs->table[k].lock);
		fs->table[k].walkers++;
		lock_drop(&fs->table[k].lock);
	}
}

void itable_walk_end(struct fs *fs)
{
	for (unsigned k = 0; k < ITABLE_SHARDS; k++) {
		lock_take(&fs->table[k].lock);
		fs->table[k].walkers--;
		lock_drop(&fs->table[k].lock);
	}
}

struct numbers {
	uint64_t *list;
	uint32_t count, room;
};

/* The numbers of whole buckets from *bucket on, about WALK_NUMBERS; moves it on. False: the next chain, grown without
 * memory for buckets, needs a longer list. */
static bool numbers_take(struct itable_shard *s, uint32_t *bucket, struct numbers *n)
{
	bool fits = true;

	n->count = 0;
	lock_take(&s->lock);
	while (fits && *bucket < s->bucket_count && n->count < WALK_NUMBERS) {
		const struct inode *i = s->buckets[*bucket];
		uint32_t count = n->count;

		for (; i && count < n->room; i = i->next)
			n->list[count++] = ino_of(i);
		fits = !i;
		if (!fits)
			break;
		n->count = count;
		(*bucket)++;
	}
	lock_drop(&s->lock);
	return fits || n->count > 0;
}

static int numbers_grow(struct numbers *n)
{
	uint32_t room = n->room ? n->room * 2 : 2 * WALK_NUMBERS;
	uint64_t *list = realloc(n->list, room * sizeof(*list));

	if (!list)
		return -ENOMEM;
	n->list = list;
	n->room = room;
	return 0;
}

/* Drops a walk's reference, but not the last one of an orphan: that goes to the list. */
static void put_or_keep(struct inode *i, struct inode **dead)
{
	uint32_t old = atomic_load(&i->refs);

	do {
		if (old == (REF_ORPHAN | 1)) {
			i->next_dead = *dead;
			*dead = i;
			return;
		}
	} while (!atomic_compare_exchange_weak(&i->refs, &old, old - 1));
}

/* One turn of one shard; n->count is 0 when it has no more. */
static int shard_turn(struct fs *fs, unsigned shard, uint32_t *bucket, struct numbers *n,
		      int (*each)(void *ctx, struct inode *i), void *ctx, struct inode **dead)
{
	int err = 0;

	while (!err && !numbers_take(&fs->table[shard], bucket, n))
		err = numbers_grow(n);
	for (uint32_t k = 0; !err && k < n->count; k++) {
		struct inode *i = itable_get(fs, n->list[k]);

		if (!i)
			continue;
		err = each(ctx, i);
		put_or_keep(i, dead);
	}
	return err;
}

/* Shard by shard in turns, so that inodes come about in the order of their numbers: what was made together, and has
 * names and blocks beside each other, stays together in a checkpoint. */
int itable_each(struct fs *fs, int (*each)(void *ctx, struct inode *i), void *ctx, struct inode **dead)
{
	uint32_t bucket[ITABLE_SHARDS] = {0};
	struct numbers n = {0};
	bool more = true;
	int err = numbers_grow(&n);

	*dead = NULL;
	itable_walk_begin(fs);
	while (!err && more) {
		more = false;
		for (unsigned k = 0; !err && k < ITABLE_SHARDS; k++) {
			err = shard_turn(fs, k, &bucket[k], &n, each, ctx, dead);
			more = more || n.count > 0;
		}
	}
	itable_walk_end(fs);
	free(n.list);
	return err;
}

void inodes_put_dead(struct fs *fs, struct inode *dead)
{
	while (dead) {
		struct inode *next = dead->next_dead;

		inode_put(fs, dead);
		dead = next;
	}
}
