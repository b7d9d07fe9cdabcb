/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session's open files and directories, by number: slot in the low half, generation in the high one, so that the
 * number of a closed handle stays dead while its slot lives on. A slot is freed when it was closed and the last request
 * on it has ended.
 */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define HANDLES_FIRST 8u

static uint64_t number_of(const struct handle_table *t, uint32_t index)
{
	return (uint64_t)t->slots[index].generation << 32 | (index + 1);
}

/* NULL: no such handle, or closed. Caller holds SESSION. */
static struct handle_slot *slot_of(struct handle_table *t, uint64_t number)
{
	uint32_t low = (uint32_t)number;
	struct handle_slot *slot;

	if (low == 0 || low > t->count)
		return NULL;
	slot = &t->slots[low - 1];
	if (!slot->fh || slot->generation != number >> 32)
		return NULL;
	return slot;
}

static int table_grow(struct handle_table *t)
{
	uint32_t count = t->count ? t->count * 2 : HANDLES_FIRST;
	struct handle_slot *slots = reallocarray(t->slots, count, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	memset(slots + t->count, 0, (count - t->count) * sizeof(*slots));
	t->slots = slots;
	for (uint32_t i = count; i-- > t->count;) {
		slots[i].next_free = t->free_head;
		t->free_head = i + 1;
	}
	t->count = count;
	return 0;
}

int handle_add(struct session *s, struct fs_handle *fh, uint64_t *number)
{
	struct handle_table *t = &s->handles;
	struct handle_slot *slot;
	uint32_t index;
	int err = 0;

	lock_take(&s->lock);
	if (t->used >= s->server->limits.handles_max)
		err = fail(-EMFILE, "too many open files in this session: at most %u", s->server->limits.handles_max);
	else if (!t->free_head)
		err = table_grow(t);
	if (!err) {
		index = t->free_head - 1;
		slot = &t->slots[index];
		t->free_head = slot->next_free;
		slot->fh = fh;
		slot->generation++;
		slot->refs = 1;
		slot->closing = false;
		t->used++;
		*number = number_of(t, index);
	}
	lock_drop(&s->lock);
	return err;
}

int handle_get(struct session *s, uint64_t number, struct fs_handle **out)
{
	struct handle_slot *slot;

	lock_take(&s->lock);
	slot = slot_of(&s->handles, number);
	if (slot && slot->closing)
		slot = NULL;
	if (slot) {
		slot->refs++;
		*out = slot->fh;
	}
	lock_drop(&s->lock);
	return slot ? 0 : fail(-EBADF, "handle %llx is not open in this session", (unsigned long long)number);
}

/* Drops one reference; the last one closes, without the lock. */
static void slot_put(struct session *s, uint64_t number)
{
	struct handle_table *t = &s->handles;
	struct handle_slot *slot;
	struct fs_handle *fh = NULL;

	lock_take(&s->lock);
	slot = slot_of(t, number);
	assert(slot && slot->refs > 0);
	slot->refs--;
	if (slot->refs == 0) {
		fh = slot->fh;
		slot->fh = NULL;
		slot->next_free = t->free_head;
		t->free_head = (uint32_t)number;
		t->used--;
	}
	lock_drop(&s->lock);
	if (fh)
		fs_close(fh, s->leases, number);
}

void handle_put(struct session *s, uint64_t number)
{
	slot_put(s, number);
}

int handle_close(struct session *s, uint64_t number)
{
	struct handle_slot *slot;

	lock_take(&s->lock);
	slot = slot_of(&s->handles, number);
	if (slot && slot->closing)
		slot = NULL;
	if (slot)
		slot->closing = true;
	lock_drop(&s->lock);
	if (!slot)
		return fail(-EBADF, "handle %llx is not open in this session", (unsigned long long)number);
	slot_put(s, number);
	return 0;
}

void handles_end_leases(struct session *s)
{
	struct handle_table *t = &s->handles;

	lock_take(&s->lock);
	for (uint32_t i = 0; i < t->count; i++) {
		if (t->slots[i].fh)
			lease_handle_close(s->leases, number_of(t, i));
	}
	lock_drop(&s->lock);
}

void handles_free(struct session *s)
{
	struct handle_table *t = &s->handles;

	for (uint32_t i = 0; i < t->count; i++) {
		if (t->slots[i].fh)
			fs_close(t->slots[i].fh, s->leases, number_of(t, i));
	}
	free(t->slots);
	*t = (struct handle_table){0};
}
