/* SPDX-License-Identifier: BSD-2-Clause */
#include "fs/dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 8u
#define TABLE_FIRST 16u
#define TABLE_DEAD  0xffffffffu /* the low half of a removed table cell */
#define SLOTS_MAX   0x7fffffffu

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

static uint64_t cookie_hash(uint64_t cookie)
{
	return mix(cookie + 1, 0x9e3779b97f4a7c15u);
}

int dir_new(struct fs *fs, struct dir **out)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->seed = fs->name_seed;
	d->next_cookie = 1;
	*out = d;
	return 0;
}

void dir_free(struct dir *d)
{
	if (!d)
		return;
	for (uint32_t i = 0; i < d->slot_count; i++)
		free(d->slots[i].entry);
	free(d->slots);
	free(d->table);
	free(d);
}

struct entry *dir_find(const struct dir *d, const char *name, unsigned len)
{
	uint32_t hash = name_hash(d->seed, name, len);

	if (!d->table)
		return NULL;
	for (uint32_t i = hash & (d->table_room - 1);; i = (i + 1) & (d->table_room - 1)) {
		uint64_t cell = d->table[i];
		struct entry *e;

		if (cell == 0)
			return NULL;
		if (cell >> 32 != hash || (uint32_t)cell == TABLE_DEAD)
			continue;
		e = d->slots[(uint32_t)cell - 1].entry;
		if (e->len == len && memcmp(e->name, name, len) == 0)
			return e;
	}
}

/* A free cell exists: the table is never full. */
static void table_put(uint64_t *table, uint32_t room, uint64_t key, uint64_t cell)
{
	uint32_t i = (uint32_t)key & (room - 1);

	while (table[i] != 0)
		i = (i + 1) & (room - 1);
	table[i] = cell;
}

static uint64_t name_cell(const struct entry *e)
{
	return (uint64_t)e->hash << 32 | (e->slot + 1);
}

/* Puts all live entries into the cleared table. */
static void table_fill(struct dir *d)
{
	memset(d->table, 0, (size_t)d->table_room * sizeof(*d->table));
	for (uint32_t i = 0; i < d->slot_count; i++) {
		if (d->slots[i].entry)
			table_put(d->table, d->table_room, d->slots[i].entry->hash, name_cell(d->slots[i].entry));
	}
	d->table_used = d->live;
}

/* Closes the holes. The table names slots, so that it is filled anew by the caller. */
static void slots_compact(struct dir *d)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < d->slot_count; i++) {
		if (!d->slots[i].entry)
			continue;
		d->slots[to] = d->slots[i];
		d->slots[to].entry->slot = to;
		to++;
	}
	d->slot_count = to;
}

static int table_grow(struct dir *d, uint32_t want)
{
	uint32_t room = TABLE_FIRST;
	uint64_t *table;

	while ((uint64_t)room * 3 < (uint64_t)want * 4)
		room *= 2;
	table = malloc((size_t)room * sizeof(*table));
	if (!table)
		return -ENOMEM;
	free(d->table);
	d->table = table;
	d->table_room = room;
	table_fill(d);
	return 0;
}

static int slots_grow(struct dir *d, uint32_t want)
{
	uint64_t room = max_u64((uint64_t)d->slot_room + d->slot_room / 2, SLOTS_FIRST);
	struct dir_slot *slots;

	room = max_u64(room, want);
	if (want > SLOTS_MAX)
		return -ENOSPC;
	slots = realloc(d->slots, room * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	d->slots = slots;
	d->slot_room = (uint32_t)min_u64(room, SLOTS_MAX);
	return 0;
}

int dir_reserve(struct dir *d, unsigned count)
{
	int err = 0;

	if (d->slot_count + count > d->slot_room) {
		if (d->table && d->slot_count - d->live > d->slot_count / 3) {
			slots_compact(d);
			table_fill(d);
		}
		if (d->slot_count + count > d->slot_room)
			err = slots_grow(d, d->slot_count + count);
		if (err)
			return err;
	}
	if (((uint64_t)d->table_used + count) * 4 > (uint64_t)d->table_room * 3)
		return table_grow(d, (d->live + count) * 2);
	return 0;
}

struct entry *entry_new(const struct dir *d, struct inode *i, const char *name, unsigned len)
{
	struct entry *e = malloc(sizeof(*e) + len + 1);

	if (!e)
		return NULL;
	*e = (struct entry){.inode = i, .cookie = d->next_cookie, .type = i->type, .len = (uint8_t)len};
	e->hash = name_hash(d->seed, name, len);
	memcpy(e->name, name, len);
	e->name[len] = '\0';
	return e;
}

void dir_add(struct dir *d, struct entry *e)
{
	assert(d->slot_count < d->slot_room && e->cookie >= d->next_cookie);
	d->next_cookie = e->cookie + 1;
	e->slot = d->slot_count;
	d->slots[d->slot_count++] = (struct dir_slot){e->cookie, e};
	d->live++;
	d->table_used++;
	table_put(d->table, d->table_room, e->hash, name_cell(e));
}

void dir_remove(struct dir *d, struct entry *e)
{
	uint64_t cell = name_cell(e);
	uint32_t i = e->hash & (d->table_room - 1);

	while (d->table[i] != cell)
		i = (i + 1) & (d->table_room - 1);
	d->table[i] = (cell & ~(uint64_t)UINT32_MAX) | TABLE_DEAD;
	/* At the end of a probe chain nobody needs the mark: give the cell back. */
	if (d->table[(i + 1) & (d->table_room - 1)] == 0) {
		d->table[i] = 0;
		d->table_used--;
	}
	d->slots[e->slot].entry = NULL;
	d->live--;
	while (d->slot_count > 0 && !d->slots[d->slot_count - 1].entry)
		d->slot_count--;
}

void dir_clear(struct dir *d)
{
	for (uint32_t i = 0; i < d->slot_count; i++)
		free(d->slots[i].entry);
	free(d->table);
	d->table = NULL;
	d->table_room = d->table_used = 0;
	d->slot_count = d->live = 0;
}

uint32_t dir_after(const struct dir *d, uint64_t cookie)
{
	uint32_t lo = 0;
	uint32_t hi = d->slot_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (d->slots[mid].cookie <= cookie)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Replay: the table holds slot numbers by cookie; slots stand in order of arrival. */
static struct dir_slot *replay_slot(const struct dir *d, uint64_t cookie)
{
	uint64_t key = cookie_hash(cookie);

	if (!d->table)
		return NULL;
	for (uint32_t i = (uint32_t)key & (d->table_room - 1);; i = (i + 1) & (d->table_room - 1)) {
		if (d->table[i] == 0)
			return NULL;
		if (d->slots[d->table[i] - 1].cookie == cookie)
			return &d->slots[d->table[i] - 1];
	}
}

static int replay_room(struct dir *d)
{
	uint32_t room = d->table_room ? d->table_room * 2 : TABLE_FIRST;
	uint64_t *table;
	int err;

	if (d->slot_count == d->slot_room) {
		err = slots_grow(d, d->slot_count + 1);
		if (err)
			return err;
	}
	if (((uint64_t)d->slot_count + 1) * 4 <= (uint64_t)d->table_room * 3)
		return 0;
	table = calloc(room, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->slot_count; i++)
		table_put(table, room, cookie_hash(d->slots[i].cookie), i + 1);
	free(d->table);
	d->table = table;
	d->table_room = room;
	return 0;
}

int dir_replay_set(struct dir *d, uint64_t cookie, uint64_t ino, uint8_t type, const char *name, unsigned len)
{
	struct dir_slot *slot = replay_slot(d, cookie);
	struct entry *e;
	int err = slot ? 0 : replay_room(d);

	if (err)
		return err;
	e = malloc(sizeof(*e) + len + 1);
	if (!e)
		return -ENOMEM;
	*e = (struct entry){.ino = ino, .cookie = cookie, .type = type, .len = (uint8_t)len};
	e->hash = name_hash(d->seed, name, len);
	memcpy(e->name, name, len);
	e->name[len] = '\0';
	if (!slot) {
		slot = &d->slots[d->slot_count++];
		*slot = (struct dir_slot){.cookie = cookie};
		table_put(d->table, d->table_room, cookie_hash(cookie), d->slot_count);
	}
	d->live += !slot->entry;
	free(slot->entry);
	slot->entry = e;
	d->next_cookie = max_u64(d->next_cookie, cookie + 1);
	return 0;
}

void dir_replay_clear(struct dir *d, uint64_t cookie)
{
	struct dir_slot *slot = replay_slot(d, cookie);

	d->next_cookie = max_u64(d->next_cookie, cookie + 1);
	if (!slot || !slot->entry)
		return;
	free(slot->entry);
	slot->entry = NULL;
	d->live--;
}

static int slot_order(const void *a, const void *b)
{
	const struct dir_slot *x = a;
	const struct dir_slot *y = b;

	return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

int dir_finish(struct dir *d)
{
	bool sorted = true;
	int err;

	for (uint32_t i = 1; i < d->slot_count; i++)
		sorted = sorted && d->slots[i - 1].cookie < d->slots[i].cookie;
	if (!sorted)
		qsort(d->slots, d->slot_count, sizeof(*d->slots), slot_order);
	slots_compact(d);
	free(d->table);
	d->table = NULL;
	d->table_room = 0;
	d->table_used = 0;
	if (d->live == 0)
		return 0;
	err = table_grow(d, d->live);
	if (err)
		return err;
	for (uint32_t i = 0; i < d->slot_count; i++) {
		const struct entry *e = d->slots[i].entry;

		if (dir_find(d, e->name, e->len) != e)
			return -EUCLEAN;
	}
	return 0;
}
