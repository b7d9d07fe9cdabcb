/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table as a processor's cache is one: a line of neighbouring numbers may stand in the eight ways of one set, and a
 * set that is full doubles the table, up to a limit. From there on the oldest line of the set goes.
 */
#include "server/told.h"

#include <stdlib.h>
#include <string.h>

#include "base/types.h"

static struct told_set *set_of(struct told_set *sets, uint32_t count, uint64_t key)
{
	return &sets[(key * 0x9e3779b97f4a7c15ull >> 54) & (count - 1)];
}

static struct told_line *line_find(const struct told *t, uint64_t key)
{
	struct told_set *set;

	if (!t->count)
		return NULL;
	set = set_of(t->sets, t->count, key);
	for (unsigned i = 0; i < TOLD_WAYS; i++) {
		if (set->way[i].key == key)
			return &set->way[i];
	}
	return NULL;
}

/* A free line of the set; NULL: none. */
static struct told_line *line_free(struct told_set *set)
{
	for (unsigned i = 0; i < TOLD_WAYS; i++) {
		if (!set->way[i].key)
			return &set->way[i];
	}
	return NULL;
}

/* Twice the sets: what was in one goes to two, so that everything finds room. */
static bool grow(struct told *t)
{
	uint32_t count = t->count ? t->count * 2 : 1;
	struct told_set *sets = count <= TOLD_SETS_MAX ? calloc(count, sizeof(*sets)) : NULL;

	if (!sets)
		return false;
	for (uint32_t i = 0; i < t->count; i++) {
		for (unsigned k = 0; k < TOLD_WAYS; k++) {
			const struct told_line *line = &t->sets[i].way[k];

			if (line->key)
				*line_free(set_of(sets, count, line->key)) = *line;
		}
	}
	free(t->sets);
	t->sets = sets;
	t->count = count;
	return true;
}

static struct told_line *line_make(struct told *t, uint64_t key)
{
	struct told_line *line = t->count ? line_free(set_of(t->sets, t->count, key)) : NULL;
	struct told_set *set;

	while (!line && grow(t))
		line = line_free(set_of(t->sets, t->count, key));
	if (!line && !t->count)
		return NULL;
	if (!line) {
		set = set_of(t->sets, t->count, key);
		line = &set->way[set->next++ % TOLD_WAYS];
	}
	*line = (struct told_line){.key = key};
	return line;
}

void told_add(struct told *t, uint64_t ino)
{
	uint64_t key = ino / TOLD_LINE_BITS + 1;
	unsigned bit = ino % TOLD_LINE_BITS;
	struct told_line *line = line_find(t, key);

	if (!line)
		line = line_make(t, key);
	if (line)
		line->bits[bit / 64] |= (uint64_t)1 << bit % 64;
}

bool told_has(const struct told *t, uint64_t ino)
{
	const struct told_line *line = line_find(t, ino / TOLD_LINE_BITS + 1);
	unsigned bit = ino % TOLD_LINE_BITS;

	return line && (line->bits[bit / 64] >> bit % 64 & 1);
}

void told_fini(struct told *t)
{
	free(t->sets);
	*t = (struct told){0};
}
