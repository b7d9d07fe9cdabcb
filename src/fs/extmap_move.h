/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes of many extents of a map at once: another content for one range of file blocks, put together from pieces of
 * maps (collapse and insert move the rest of the file, exchange and clone take from another one).
 *
 * A patch is prepared before the record that describes it, and applied after it without failing.
 */
#ifndef LH_FS_EXTMAP_MOVE_H
#define LH_FS_EXTMAP_MOVE_H

#include "fs/extmap.h"

/* The extents of `from` in [first, end), with `first` lying at `to`. */
struct extmap_piece {
	const struct extmap *from;
	uint64_t first, end;
	uint64_t to;
	bool shown_only; /* what reads as zeroes is left out, the rest is written there (a clone's destination) */
};

/* A walk over the extents of a piece, as they will be. The piece's map must not change meanwhile. */
#define EXTMAP_WALK_READ 32u
struct extmap_walk {
	const struct extmap_piece *piece;
	uint64_t next; /* block of `from` */
	unsigned at, count;
	struct extent read[EXTMAP_WALK_READ];
};
void extmap_walk_start(struct extmap_walk *w, const struct extmap_piece *p);
bool extmap_walk_next(struct extmap_walk *w, struct extent *out);

/* Appends a piece to `out`, which has nothing at or behind p->to. -ENOMEM: a part of it is there. */
int extmap_append(struct extmap *out, const struct extmap_piece *p);

struct extmap_patch {
	struct extmap *map;
	uint64_t first, end; /* what is replaced */
	struct extmap next;  /* rebuilt: the whole map as it will be */
	struct extent *list; /* else: what comes into the range */
	uint64_t count;
	bool rebuilt;
};
/*
 * [first, end) of the map will hold the pieces, which ascend, lie inside and do not overlap. Until apply or drop
 * neither the map nor the pieces' maps may change. -ENOMEM: nothing to drop.
 */
int extmap_patch_prepare(struct extmap_patch *p, struct extmap *m, uint64_t first, uint64_t end,
			 const struct extmap_piece *pieces, unsigned count);
/* So many calls of extmap_set on the map cannot fail after apply. -ENOMEM: apply or drop it as before. */
int extmap_patch_reserve(struct extmap_patch *p, unsigned changes);
/* How many extents the map will have, at most. */
uint64_t extmap_patch_extents(const struct extmap_patch *p);
void extmap_patch_apply(struct extmap_patch *p);
/* Instead of apply. Also for one that was never prepared (zeroes), and after apply. */
void extmap_patch_drop(struct extmap_patch *p);

#endif
