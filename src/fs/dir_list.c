/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries in order of cookies: pages of at most PAGE_SLOTS, and an array of references to them. New cookies are the
 * highest, so that pages fill up completely; a removal closes the gap in its page, and neighbours that have become
 * small are joined. Nothing moves but what is in one page, and the references.
 *
 * Invariant: no page is empty; only the last one may have less room than PAGE_SLOTS.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dir.h"

#define PAGE_SLOTS 64u
#define PAGE_FIRST 4u

struct slot {
	uint64_t cookie;
	struct entry *entry;
};

struct dir_page {
	uint32_t count, room;
	struct slot at[];
};

/* The page that has the cookie if any has. There is one. */
static uint32_t page_find(const struct dir_list *l, uint64_t cookie)
{
	uint32_t low = 0, high = l->count;

	if (cookie >= l->refs[high - 1].first)
		return high - 1;
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (l->refs[mid].first <= cookie)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* The first slot with this cookie or a higher one. */
static uint32_t slot_find(const struct dir_page *p, uint64_t cookie)
{
	uint32_t low = 0, high = p->count;

	if (p->at[high - 1].cookie < cookie)
		return high;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (p->at[mid].cookie < cookie)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* --- growing -------------------------------------------------------------------------------------------------------
 */

static int page_grow(struct dir_page **page, uint32_t room)
{
	struct dir_page *p = realloc(*page, sizeof(*p) + room * sizeof(p->at[0]));

	if (!p)
		return -ENOMEM;
	if (!*page)
		p->count = 0;
	p->room = room;
	*page = p;
	return 0;
}

static int refs_grow(struct dir_list *l)
{
	uint32_t room = l->room ? l->room * 2 : 1;
	struct dir_ref *refs;

	if (l->count < l->room)
		return 0;
	refs = realloc(l->refs, room * sizeof(*refs));
	if (!refs)
		return -ENOMEM;
	l->refs = refs;
	l->room = room;
	return 0;
}

int dir_list_reserve(struct dir_list *l, uint64_t cookie)
{
	struct dir_page **page;
	int err;

	if (l->count) {
		page = &l->refs[page_find(l, cookie)].page;
		if ((*page)->count < (*page)->room)
			return 0;
		if ((*page)->room < PAGE_SLOTS)
			return page_grow(page, (*page)->room * 2);
	}
	err = refs_grow(l);
	if (err || l->spare)
		return err;
	return page_grow(&l->spare, l->count ? PAGE_SLOTS : PAGE_FIRST);
}

static void ref_insert(struct dir_list *l, uint32_t at, struct dir_page *p)
{
	assert(l->count < l->room);
	memmove(&l->refs[at + 1], &l->refs[at], (l->count - at) * sizeof(l->refs[0]));
	l->refs[at] = (struct dir_ref){p->at[0].cookie, p};
	l->count++;
}

/* Page k is full: what is behind the cookie goes into a new one. The new last page starts empty. */
static void page_split(struct dir_list *l, uint32_t k, uint64_t cookie)
{
	struct dir_page *left = l->refs[k].page;
	struct dir_page *right = l->spare;
	uint32_t keep = slot_find(left, cookie) == left->count ? left->count : left->count / 2;

	assert(right && right->room >= left->count - keep);
	l->spare = NULL;
	right->count = left->count - keep;
	memcpy(right->at, left->at + keep, right->count * sizeof(right->at[0]));
	left->count = keep;
	right->at[right->count].cookie = cookie;
	ref_insert(l, k + 1, right);
}

void dir_list_put(struct dir_list *l, struct entry *e)
{
	struct dir_page *p;
	uint32_t k = 0, s;

	if (!l->count) {
		assert(l->spare);
		l->spare->at[0].cookie = e->cookie;
		ref_insert(l, 0, l->spare);
		l->spare = NULL;
	} else {
		k = page_find(l, e->cookie);
		p = l->refs[k].page;
		if (p->count == p->room) {
			page_split(l, k, e->cookie);
			k = page_find(l, e->cookie);
		}
	}
	p = l->refs[k].page;
	s = p->count ? slot_find(p, e->cookie) : 0;
	memmove(&p->at[s + 1], &p->at[s], (p->count - s) * sizeof(p->at[0]));
	p->at[s] = (struct slot){e->cookie, e};
	p->count++;
	l->refs[k].first = p->at[0].cookie;
}

/* --- looking and removing ------------------------------------------------------------------------------------------
 */

struct entry **dir_list_find(const struct dir_list *l, uint64_t cookie)
{
	struct dir_page *p;
	uint32_t s;

	if (!l->count)
		return NULL;
	p = l->refs[page_find(l, cookie)].page;
	s = slot_find(p, cookie);
	return s < p->count && p->at[s].cookie == cookie ? &p->at[s].entry : NULL;
}

static void page_drop(struct dir_list *l, uint32_t k)
{
	free(l->refs[k].page);
	l->count--;
	memmove(&l->refs[k], &l->refs[k + 1], (l->count - k) * sizeof(l->refs[0]));
	if (l->count)
		return;
	free(l->spare);
	free(l->refs);
	*l = (struct dir_list){0};
}

static void page_join(struct dir_list *l, uint32_t k)
{
	struct dir_page *left, *right;

	if (k + 1 >= l->count)
		return;
	left = l->refs[k].page;
	right = l->refs[k + 1].page;
	if (left->count + right->count > PAGE_SLOTS / 2 || left->room < PAGE_SLOTS)
		return;
	memcpy(&left->at[left->count], right->at, right->count * sizeof(right->at[0]));
	left->count += right->count;
	page_drop(l, k + 1);
}

void dir_list_remove(struct dir_list *l, uint64_t cookie)
{
	uint32_t k = page_find(l, cookie);
	struct dir_page *p = l->refs[k].page;
	uint32_t s = slot_find(p, cookie);

	assert(s < p->count && p->at[s].cookie == cookie);
	p->count--;
	memmove(&p->at[s], &p->at[s + 1], (p->count - s) * sizeof(p->at[0]));
	if (!p->count) {
		page_drop(l, k);
		return;
	}
	l->refs[k].first = p->at[0].cookie;
	page_join(l, k);
	if (k > 0)
		page_join(l, k - 1);
}

void dir_list_free(struct dir_list *l)
{
	for (uint32_t k = 0; k < l->count; k++) {
		struct dir_page *p = l->refs[k].page;

		for (uint32_t s = 0; s < p->count; s++)
			free(p->at[s].entry);
		free(p);
	}
	free(l->spare);
	free(l->refs);
	*l = (struct dir_list){0};
}

void dir_walk_begin(struct dir_walk *w, const struct dir_list *l, uint64_t after)
{
	*w = (struct dir_walk){.list = l};
	if (!l->count || after == 0)
		return;
	w->page = page_find(l, after);
	w->slot = after < UINT64_MAX ? slot_find(l->refs[w->page].page, after + 1) : l->refs[w->page].page->count;
}

struct entry *dir_walk_next(struct dir_walk *w)
{
	const struct dir_list *l = w->list;

	if (w->page < l->count && w->slot == l->refs[w->page].page->count) {
		w->page++;
		w->slot = 0;
	}
	return w->page < l->count ? l->refs[w->page].page->at[w->slot++].entry : NULL;
}
