/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Patches of extent maps, over the public calls of extmap.h only.
 *
 * Few extents in a large map are replaced one by one. Where a good part of the map changes, the whole map is written
 * anew by appending, which costs a small constant an extent: a collapse at the start of a file of a million extents
 * never takes time quadratic in them, and its memory is there before the record is written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/extmap_move.h"

/* In place when at most so many extents come in, or one of so many that the map has. */
#define IN_PLACE_MAX   16u
#define IN_PLACE_SHARE 32u

bool extmap_piece_next(const struct extmap_piece *p, uint64_t *b, struct extent *out)
{
	struct extent e;

	for (;;) {
		uint64_t skip, end;

		if (*b >= p->end || !extmap_find(p->from, *b, &e) || e.off >= p->end)
			return false;
		skip = e.off < *b ? *b - e.off : 0;
		end = e.off + e.blocks < p->end ? e.off + e.blocks : p->end;
		e.off += skip;
		e.start += skip;
		e.blocks = end - e.off;
		*b = end;
		if (p->shown_only && e.flags == EXT_UNWRITTEN)
			continue;
		if (p->shown_only)
			e.flags = 0;
		e.off = e.off - p->first + p->to;
		*out = e;
		return true;
	}
}

int extmap_append(struct extmap *out, const struct extmap_piece *p)
{
	uint64_t b = p->first;
	struct extent e;

	while (extmap_piece_next(p, &b, &e)) {
		int err = extmap_reserve(out, 1);

		if (err != 0)
			return err;
		extmap_set(out, &e);
	}
	return 0;
}

/* Counts to `limit` + 1 at most. */
static uint64_t pieces_count(const struct extmap_piece *pieces, unsigned count, uint64_t limit)
{
	uint64_t n = 0;
	struct extent e;

	for (unsigned k = 0; k < count; k++) {
		uint64_t b = pieces[k].first;

		while (n <= limit && extmap_piece_next(&pieces[k], &b, &e))
			n++;
	}
	return n;
}

static int prepare_list(struct extmap_patch *p, const struct extmap_piece *pieces, unsigned count, uint64_t extents)
{
	int err = extmap_reserve(p->map, (unsigned)extents + 1);

	if (err != 0 || extents == 0)
		return err;
	p->list = malloc(extents * sizeof(*p->list));
	if (p->list == NULL)
		return -ENOMEM;
	for (unsigned k = 0; k < count; k++) {
		uint64_t b = pieces[k].first;

		while (extmap_piece_next(&pieces[k], &b, &p->list[p->count]))
			p->count++;
	}
	return 0;
}

static int prepare_next(struct extmap_patch *p, const struct extmap_piece *pieces, unsigned count)
{
	const struct extmap_piece before = {.from = p->map, .first = 0, .end = p->first, .to = 0};
	const struct extmap_piece behind = {.from = p->map, .first = p->end, .end = UINT64_MAX, .to = p->end};
	int err;

	p->rebuilt = true;
	err = extmap_append(&p->next, &before);
	for (unsigned k = 0; k < count && err == 0; k++)
		err = extmap_append(&p->next, &pieces[k]);
	if (err == 0)
		err = extmap_append(&p->next, &behind);
	return err;
}

int extmap_patch_prepare(struct extmap_patch *p, struct extmap *m, uint64_t first, uint64_t end,
			 const struct extmap_piece *pieces, unsigned count)
{
	uint64_t limit = m->extents / IN_PLACE_SHARE > IN_PLACE_MAX ? m->extents / IN_PLACE_SHARE : IN_PLACE_MAX;
	uint64_t extents = pieces_count(pieces, count, limit);
	int err;

	memset(p, 0, sizeof(*p));
	p->map = m;
	p->first = first;
	p->end = end;
	extmap_init(&p->next);
	err = extents <= limit ? prepare_list(p, pieces, count, extents) : prepare_next(p, pieces, count);
	if (err != 0)
		extmap_patch_drop(p);
	return err;
}

int extmap_patch_reserve(struct extmap_patch *p, unsigned changes)
{
	if (p->rebuilt)
		return extmap_reserve(&p->next, changes);
	return extmap_reserve(p->map, (unsigned)p->count + 1 + changes);
}

void extmap_patch_apply(struct extmap_patch *p)
{
	struct extmap old = *p->map;

	if (p->rebuilt) {
		*p->map = p->next;
		p->next = old;
	} else {
		extmap_clear(p->map, p->first, p->end - p->first);
		for (uint64_t k = 0; k < p->count; k++)
			extmap_set(p->map, &p->list[k]);
	}
	extmap_patch_drop(p);
}

void extmap_patch_drop(struct extmap_patch *p)
{
	if (p->rebuilt)
		extmap_fini(&p->next);
	free(p->list);
	memset(p, 0, sizeof(*p));
}
