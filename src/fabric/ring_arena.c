/* SPDX-License-Identifier: BSD-2-Clause */
#include "fabric/ring_arena.h"

#include <errno.h>
#include <stdlib.h>

#include "base/types.h"

#define ARENA_PAGE  4096u
#define SLOTS_LEAST 2u
#define SLOTS_PART  4u /* this part of the arena at most is slots */
#define RUN_INSIDE  UINT32_MAX

int arena_init(struct ring_arena *a, char *base, uint64_t len)
{
	uint64_t slots = len / SLOTS_PART / ARENA_SLOT;

	*a = (struct ring_arena){.base = base, .len = len};
	a->slots = (uint32_t)min_u64(max_u64(slots, SLOTS_LEAST), ARENA_SLOTS_MAX);
	assert((uint64_t)a->slots * ARENA_SLOT <= len);
	for (uint32_t i = a->slots; i-- > 0;)
		a->stack[a->free_slots++] = i * ARENA_SLOT;
	a->pages = base + a->slots * ARENA_SLOT;
	a->page_count = (uint32_t)((len - a->slots * ARENA_SLOT) / ARENA_PAGE);
	a->runs = calloc(a->page_count, sizeof(*a->runs));
	return a->runs ? 0 : -ENOMEM;
}

void arena_fini(struct ring_arena *a)
{
	free(a->runs);
}

uint32_t arena_slot_take(struct ring_arena *a)
{
	return a->free_slots > 0 ? a->stack[--a->free_slots] : ARENA_NO_SLOT;
}

void arena_slot_give(struct ring_arena *a, uint32_t offset)
{
	assert(a->free_slots < a->slots);
	a->stack[a->free_slots++] = offset;
}

/* Pages [at, at + n) are free, or where the first used one is in *busy. */
static bool run_free(const struct ring_arena *a, uint32_t at, uint32_t n, uint32_t *busy)
{
	for (uint32_t i = at; i < at + n; i++) {
		if (a->runs[i] == 0)
			continue;
		*busy = i;
		return false;
	}
	return true;
}

static bool run_find(const struct ring_arena *a, uint32_t from, uint32_t n, uint32_t *at)
{
	uint32_t busy = 0;

	for (*at = from; *at < a->page_count && n <= a->page_count - *at; *at = busy + 1) {
		if (run_free(a, *at, n, &busy))
			return true;
	}
	return false;
}

void *arena_get(struct ring_arena *a, size_t len)
{
	uint32_t at, n;

	if (len > (size_t)a->page_count * ARENA_PAGE)
		return NULL;
	n = (uint32_t)(round_up_u64(len, ARENA_PAGE) / ARENA_PAGE);
	if (!run_find(a, a->next_page, n, &at) && !run_find(a, 0, n, &at))
		return NULL;
	a->runs[at] = n;
	for (uint32_t i = at + 1; i < at + n; i++)
		a->runs[i] = RUN_INSIDE;
	a->next_page = at + n;
	return a->pages + (size_t)at * ARENA_PAGE;
}

void arena_put(struct ring_arena *a, void *buf)
{
	uint32_t at = (uint32_t)((size_t)((char *)buf - a->pages) / ARENA_PAGE);
	uint32_t n;

	assert((char *)buf >= a->pages && at < a->page_count);
	n = a->runs[at];
	assert(n != 0 && n != RUN_INSIDE);
	for (uint32_t i = at; i < at + n; i++)
		a->runs[i] = 0;
}

bool arena_has(const struct ring_arena *a, const void *buf, uint64_t len)
{
	uint64_t at = (uint64_t)(uintptr_t)buf - (uint64_t)(uintptr_t)a->base;

	return at < a->len && len <= a->len - at;
}
