/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who uses which part of a ring's arena, initiator's side. The front is a stack of equal slots through which the
 * bytes of ordinary buffers are bounced; the rest is handed out in pages. The caller locks.
 */
#ifndef LH_FABRIC_RING_ARENA_H
#define LH_FABRIC_RING_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_SLOT      65536u
#define ARENA_SLOTS_MAX 64u
#define ARENA_NO_SLOT   UINT32_MAX

struct ring_arena {
	char *base;
	uint64_t len;
	uint32_t slots, free_slots;
	uint32_t stack[ARENA_SLOTS_MAX]; /* last used first: it's in the caches */
	char *pages;
	uint32_t page_count, next_page;
	uint32_t *runs; /* by page: pages of the buffer that starts here, or that it's inside of one; 0: free */
};

int arena_init(struct ring_arena *a, char *base, uint64_t len);
void arena_fini(struct ring_arena *a);

/* Offset from base, or ARENA_NO_SLOT. */
uint32_t arena_slot_take(struct ring_arena *a);
void arena_slot_give(struct ring_arena *a, uint32_t offset);
/* NULL: no run of pages is free. */
void *arena_get(struct ring_arena *a, size_t len);
void arena_put(struct ring_arena *a, void *buf);
bool arena_has(const struct ring_arena *a, const void *buf, uint64_t len);

#endif
