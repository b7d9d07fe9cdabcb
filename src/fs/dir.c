/* SPDX-License-Identifier: BSD-2-Clause */
/* Directories: entries, and what holds them together (dir.h). */
#include "fs/dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_LINE     64u
#define ENTRIES_MAX    0x7fffffffu
#define PREFETCH_AHEAD 16u /* entries of a walk */

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t p = (__uint128_t)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Seeded per mount, so that nobody can choose names that collide. */
static uint32_t name_hash(uint64_t seed, const char *name, unsigned len)
{
	uint64_t h = seed ^ len;
	uint64_t w;

	for (; len >= 8; len -= 8, name += 8) {
		memcpy(&w, name, 8);
		h = mix(h ^ w, 0x9e3779b97f4a7c15u);
	}
	w = 0;
	memcpy(&w, name, len);
	h = mix(h ^ w, 0xd6e8feb86659fd93u);
	return (uint32_t)(h ^ (h >> 32));
}

int dir_new(struct fs *fs, struct dir **out)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->next_cookie = 1;
	d->seed = fs->name_seed;
	*out = d;
	return 0;
}

void dir_clear(struct dir *d)
{
	dir_names_free(&d->names);
	dir_list_free(&d->list);
	d->live = 0;
}

void dir_free(struct dir *d)
{
	if (!d)
		return;
	dir_clear(d);
	free(d);
}

struct entry *dir_find(const struct dir *d, const char *name, unsigned len)
{
	struct entry *e = dir_names_find(&d->names, name_hash(d->seed, name, len), name, len);

	if (!e)
		return NULL;
	/* Its lines come together, and not one after the other as they are used. */
	for (size_t at = 0; at < sizeof(struct inode); at += CACHE_LINE)
		__builtin_prefetch((const char *)e->inode + at);
	return e;
}

static struct entry *entry_make(const struct dir *d, uint64_t cookie, const char *name, unsigned len)
{
	struct entry *e = malloc(offsetof(struct entry, name) + len + 1);

	if (!e)
		return NULL;
	e->cookie = cookie;
	e->hash = name_hash(d->seed, name, len);
	e->len = (uint8_t)len;
	memcpy(e->name, name, len);
	e->name[len] = '\0';
	return e;
}

struct entry *entry_new(const struct dir *d, struct inode *i, const char *name, unsigned len)
{
	struct entry *e = entry_make(d, d->next_cookie, name, len);

	if (!e)
		return NULL;
	e->inode = i;
	e->type = i->type;
	return e;
}

int dir_reserve(struct dir *d, const struct entry *e)
{
	int err = d->live < ENTRIES_MAX ? dir_list_reserve(&d->list, e->cookie) : -ENOSPC;

	return err ? err : dir_names_reserve(&d->names, e);
}

void dir_add(struct dir *d, struct entry *e)
{
	assert(e->cookie >= d->next_cookie);
	d->next_cookie = e->cookie + 1;
	dir_list_put(&d->list, e);
	dir_names_put(&d->names, e);
	d->live++;
}

void dir_remove(struct dir *d, struct entry *e)
{
	dir_names_remove(&d->names, e);
	dir_list_remove(&d->list, e->cookie);
	d->live--;
	if (d->live == 0)
		dir_names_free(&d->names);
}

/* --- replay ---------------------------------------------------------------------------------------------------------
 */

int dir_replay_set(struct dir *d, uint64_t cookie, uint64_t ino, uint8_t type, const char *name, unsigned len)
{
	struct entry **there = cookie < d->next_cookie ? dir_list_find(&d->list, cookie) : NULL;
	int err = there ? 0 : dir_list_reserve(&d->list, cookie);
	struct entry *e = err ? NULL : entry_make(d, cookie, name, len);

	if (!e)
		return -ENOMEM;
	e->ino = ino;
	e->type = type;
	if (there) {
		free(*there);
		*there = e;
	} else {
		dir_list_put(&d->list, e);
		d->live++;
	}
	d->next_cookie = max_u64(d->next_cookie, cookie + 1);
	return 0;
}

void dir_replay_clear(struct dir *d, uint64_t cookie)
{
	struct entry **there = dir_list_find(&d->list, cookie);

	d->next_cookie = max_u64(d->next_cookie, cookie + 1);
	if (!there)
		return;
	free(*there);
	dir_list_remove(&d->list, cookie);
	d->live--;
}

static int finish_entry(struct dir *d, struct entry *e)
{
	int err;

	if (dir_names_find(&d->names, e->hash, e->name, e->len))
		return -EUCLEAN;
	err = dir_names_reserve(&d->names, e);
	if (!err)
		dir_names_put(&d->names, e);
	return err;
}

/* Memory is asked for a few names ahead. */
int dir_finish(struct dir *d)
{
	struct entry *ahead[PREFETCH_AHEAD];
	struct dir_walk w;
	unsigned count;
	int err;

	if (d->live == 0)
		return 0;
	err = dir_names_presize(&d->names, d->live);
	dir_walk_begin(&w, &d->list, 0);
	do {
		for (count = 0; !err && count < PREFETCH_AHEAD; count++) {
			ahead[count] = dir_walk_next(&w);
			if (!ahead[count])
				break;
			dir_names_prefetch(&d->names, ahead[count]->hash);
		}
		for (unsigned k = 0; !err && k < count; k++)
			err = finish_entry(d, ahead[k]);
	} while (!err && count == PREFETCH_AHEAD);
	return err;
}
