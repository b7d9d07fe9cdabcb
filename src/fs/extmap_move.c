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

void extmap_walk_start(struct extmap_walk *w, const struct extmap_piece *p)
{
	w->piece = p;
	w->next = p->first;
	w->at = w->count = 0;
}

static bool walk_read(struct extmap_walk *w, struct extent *e)
{
	if (w->at == w->count) {
		w->count = extmap_read(w->piece->from, w->next, w->read, EXTMAP_WALK_READ);
		w->at = 0;
	}
	if (w->count == 0)
		return false;
	*e = w->read[w->at++];
	return true;
}

bool extmap_walk_next(struct extmap_walk *w, struct extent *out)
{
	const struct extmap_piece *p = w->piece;
	struct extent e;

	while (w->next < p->end && walk_read(w, &e) && e.off < p->end) {
		uint64_t skip = e.off < w->next ? w->next - e.off : 0;
		uint64_t end = e.off + e.blocks < p->end ? e.off + e.blocks : p->end;

		w->next = end;
		if (p->shown_only && e.flags == EXT_UNWRITTEN)
			continue;
		*out = (struct extent){.off = e.off + skip - p->first + p->to,
				       .start = e.start + skip,
				       .blocks = end - e.off - skip,
				       .flags = p->shown_only ? 0 : e.flags};
		return true;
	}
	w->next = p->end;
	return false;
}

int extmap_append(struct extmap *out, const struct extmap_piece *p)
{
	struct extmap_walk w;
	struct extent e;

	extmap_walk_start(&w, p);
	while (extmap_walk_next(&w, &e)) {
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
	struct extmap_walk w;
	uint64_t n = 0;
	struct extent e;

	for (unsigned k = 0; k < count; k++) {
		extmap_walk_start(&w, &pieces[k]);
		while (n <= limit && extmap_walk_next(&w, &e))
			n++;
	}
	return n;
}

static int prepare_list(struct extmap_patch *p, const struct extmap_piece *pieces, unsigned count, uint64_t extents)
{
	struct extmap_walk w;
	int err = extmap_reserve(p->map, (unsigned)extents + 1);

	if (err != 0 || extents == 0)
		return err;
	p->list = malloc(extents * sizeof(*p->list));
	if (p->list == NULL)
		return -ENOMEM;
	for (unsigned k = 0; k < count; k++) {
		extmap_walk_start(&w, &pieces[k]);
		while (p->count < extents && extmap_walk_next(&w, &p->list[p->count]))
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

uint64_t extmap_patch_extents(const struct extmap_patch *p)
{
	/* In place: a cut in the middle of one, and what comes in. */
	return p->rebuilt ? p->next.extents : p->map->extents + p->count + 1;
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
