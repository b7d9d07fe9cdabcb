/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of extended attributes of one inode; the calls are in xattr_calls.c. */
#include "fs/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "fs/acl.h"

#define LIST_FIRST 4u

static size_t value_at(uint32_t name_len)
{
	return (offsetof(struct xattr, name) + name_len + 3) & ~(size_t)3;
}

void *xattr_value(const struct xattr *x)
{
	return (char *)x + value_at(x->name_len);
}

struct xattr *xattr_new(const char *name, uint32_t name_len, const void *value, uint32_t size)
{
	struct xattr *x = calloc(1, value_at(name_len) + size);

	if (!x)
		return NULL;
	x->size = size;
	x->name_len = (uint8_t)name_len;
	memcpy(x->name, name, name_len);
	if (value && size > 0)
		memcpy(xattr_value(x), value, size);
	return x;
}

int64_t xattr_bytes(const struct xattr *x)
{
	int64_t pieces = x->size > FORMAT_XATTR_PIECE_MAX ? 2 : 1;

	return pieces * (int64_t)(sizeof(struct m_xattr) + x->name_len + 7) + x->size;
}

static int order(const struct xattr *x, const char *name, uint32_t name_len)
{
	int by = memcmp(x->name, name, min_u64(x->name_len, name_len));

	return by ? by : (int)x->name_len - (int)name_len;
}

/* The index of the first that is not before the name. */
static uint32_t place(const struct xattrs *xs, const char *name, uint32_t name_len)
{
	uint32_t lo = 0;
	uint32_t hi = xs ? xs->count : 0;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (order(xs->list[mid], name, name_len) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct xattr *xattrs_find(const struct inode *i, const char *name, uint32_t name_len)
{
	uint32_t at = place(i->xattrs, name, name_len);

	if (!i->xattrs || at == i->xattrs->count || order(i->xattrs->list[at], name, name_len) != 0)
		return NULL;
	return i->xattrs->list[at];
}

int xattrs_reserve(struct inode *i)
{
	struct xattrs *xs = i->xattrs;
	struct xattr **list;
	uint32_t room;

	if (!xs) {
		xs = calloc(1, sizeof(*xs));
		if (!xs)
			return -ENOMEM;
	}
	if (xs->count == xs->room) {
		room = xs->room ? xs->room * 2 : LIST_FIRST;
		list = realloc(xs->list, room * sizeof(struct xattr *));
		if (!list) {
			if (xs != i->xattrs)
				free(xs);
			return -ENOMEM;
		}
		xs->list = list;
		xs->room = room;
	}
	i->xattrs = xs;
	return 0;
}

static bool is_named(const struct xattr *x, const char *name)
{
	return x->name_len == strlen(name) && memcmp(x->name, name, x->name_len) == 0;
}

/* The shortcuts to the ACLs: x came (now = x) or goes (now = NULL). */
static void note_acl(struct xattrs *xs, const struct xattr *x, const struct xattr *now)
{
	if (is_named(x, ACL_ACCESS_NAME))
		xs->access = now;
	else if (is_named(x, ACL_DEFAULT_NAME))
		xs->dflt = now;
}

void xattrs_put(struct inode *i, struct xattr *x)
{
	struct xattrs *xs = i->xattrs;
	uint32_t at = place(xs, x->name, x->name_len);

	if (at < xs->count && order(xs->list[at], x->name, x->name_len) == 0) {
		free(xs->list[at]);
	} else {
		assert(xs->count < xs->room);
		memmove(xs->list + at + 1, xs->list + at, (xs->count - at) * sizeof(*xs->list));
		xs->count++;
		xs->name_bytes += x->name_len + 1u;
	}
	xs->list[at] = x;
	note_acl(xs, x, x);
}

void xattrs_remove(struct inode *i, const char *name, uint32_t name_len)
{
	struct xattrs *xs = i->xattrs;
	uint32_t at = place(xs, name, name_len);
	struct xattr *x;

	if (!xs || at == xs->count || order(xs->list[at], name, name_len) != 0)
		return;
	x = xs->list[at];
	note_acl(xs, x, NULL);
	xs->count--;
	xs->name_bytes -= x->name_len + 1u;
	memmove(xs->list + at, xs->list + at + 1, (xs->count - at) * sizeof(*xs->list));
	free(x);
	if (xs->count > 0)
		return;
	xattrs_free(xs);
	i->xattrs = NULL;
}

void xattrs_free(struct xattrs *xs)
{
	if (!xs)
		return;
	for (uint32_t k = 0; k < xs->count; k++)
		free(xs->list[k]);
	free(xs->list);
	free(xs);
}

int xattrs_copy(const struct inode *from, struct inode *to)
{
	const struct xattrs *xs = from->xattrs;

	for (uint32_t k = 0; xs && k < xs->count; k++) {
		const struct xattr *x = xs->list[k];
		struct xattr *copy = xattr_new(x->name, x->name_len, xattr_value(x), x->size);

		if (!copy || xattrs_reserve(to)) {
			free(copy);
			return -ENOMEM;
		}
		xattrs_put(to, copy);
	}
	return 0;
}

static void record(struct jtxn *t, uint64_t ino, const struct xattr *x)
{
	jtxn_xattr(t, ino, x->name, x->name_len, xattr_value(x), x->size);
}

void xattrs_record(struct jtxn *t, const struct inode *i)
{
	for (uint32_t k = 0; i->xattrs && k < i->xattrs->count; k++)
		record(t, ino_of(i), i->xattrs->list[k]);
}

int64_t xattrs_bytes(const struct inode *i)
{
	int64_t sum = 0;

	for (uint32_t k = 0; i->xattrs && k < i->xattrs->count; k++)
		sum += xattr_bytes(i->xattrs->list[k]);
	return sum;
}

/* --- checkpoint and replay ---------------------------------------------------------------------------------------- */

uint32_t xattrs_walk(struct jtxn *t, const struct inode *i, struct xattr_at *at, uint32_t room)
{
	const struct xattrs *xs = i->xattrs;
	uint32_t k = place(xs, at->name, at->len);
	uint32_t from = t->len;

	if (xs && at->len > 0 && k < xs->count && order(xs->list[k], at->name, at->len) == 0)
		k++;
	for (; xs && k < xs->count; k++) {
		const struct xattr *x = xs->list[k];

		if (t->len - from >= room)
			return xs->count - k;
		record(t, ino_of(i), x);
		memcpy(at->name, x->name, x->name_len);
		at->len = x->name_len;
	}
	return 0;
}

/* What a piece makes of the attribute: *out to be put, or NULL when it goes. */
static int piece_apply(const struct xattr *old, const struct xattr_piece *p, struct xattr **out)
{
	uint32_t before = p->flags == ITEM_XATTR_APPEND && old ? old->size : 0;

	*out = NULL;
	if (p->flags == ITEM_XATTR_REMOVE)
		return 0;
	if ((p->flags == ITEM_XATTR_APPEND && !old) || before + p->len > FORMAT_XATTR_VALUE_MAX)
		return -EUCLEAN;
	*out = xattr_new(p->name, p->name_len, NULL, before + p->len);
	if (!*out)
		return -ENOMEM;
	if (before > 0)
		memcpy(xattr_value(*out), xattr_value(old), before);
	if (p->len > 0)
		memcpy((char *)xattr_value(*out) + before, p->value, p->len);
	return 0;
}

int xattrs_replay(struct inode *i, const struct xattr_piece *p)
{
	struct xattr *x;
	int err = piece_apply(xattrs_find(i, p->name, p->name_len), p, &x);

	if (err)
		return err;
	if (!x) {
		xattrs_remove(i, p->name, p->name_len);
		return 0;
	}
	err = xattrs_reserve(i);
	if (err) {
		free(x);
		return err;
	}
	xattrs_put(i, x);
	return 0;
}
