/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A set of byte ranges: ascending, apart (what touches is joined), at most RANGES_MAX of them.
 *
 * Adding never fails and never forgets a byte: where there is no room, or no memory, the two ranges with the smallest
 * gap become one. Cutting out of the middle may find no room either; then the set stays as it was. So a set may say
 * more than was put in, never less. No locks, no I/O.
 */
#ifndef LH_CLIENT_RANGES_H
#define LH_CLIENT_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

#define RANGES_MAX   1024u
#define RANGES_SMALL 8u /* kept without malloc */

struct ranges {
	struct range small[RANGES_SMALL];
	struct range *more; /* NULL: small is in use */
	unsigned count, room;
};

void ranges_init(struct ranges *s);
void ranges_fini(struct ranges *s);
static inline const struct range *ranges_at(const struct ranges *s)
{
	return s->more ? s->more : s->small;
}
void ranges_add(struct ranges *s, struct range r);
/* false: r lies in the middle of a range and there is no room for its two ends: nothing was cut. */
bool ranges_cut(struct ranges *s, struct range r);
/* The index of the first range that ends behind off; s->count: none. */
unsigned ranges_find(const struct ranges *s, uint64_t off);
/* Moves what of `from` lies in r to `to`. */
void ranges_move(struct ranges *from, struct range r, struct ranges *to);
uint64_t ranges_bytes(const struct ranges *s);

#endif
