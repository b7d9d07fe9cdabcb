/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extended attributes in memory: an inode has a table of them only when it has some, ordered by name, so that a
 * checkpoint can go on behind a name after it has dropped the lock. Lock: INODE of the inode.
 */
#ifndef LH_FS_XATTR_H
#define LH_FS_XATTR_H

#include "fs/core.h"

struct xattr {
	uint32_t size; /* of the value */
	uint8_t name_len;
	char name[]; /* not terminated; the value behind it, at a multiple of 4 */
};

struct xattrs {
	struct xattr **list; /* ascending */
	uint32_t count, room;
	uint32_t name_bytes;               /* with a terminator each, those that nobody sees too */
	const struct xattr *access, *dflt; /* the ACLs */
};

void *xattr_value(const struct xattr *x);
/* value NULL: zeroes, to be filled in. NULL: no memory. */
struct xattr *xattr_new(const char *name, uint32_t name_len, const void *value, uint32_t size);
/* What it is in a checkpoint. */
int64_t xattr_bytes(const struct xattr *x);

struct xattr *xattrs_find(const struct inode *i, const char *name, uint32_t name_len);
/* The access ACL or the default ACL; NULL: none. */
static inline const struct xattr *xattrs_access(const struct inode *i)
{
	return likely(!i->xattrs) ? NULL : i->xattrs->access;
}
static inline const struct xattr *xattrs_default(const struct inode *i)
{
	return likely(!i->xattrs) ? NULL : i->xattrs->dflt;
}
/* Room for one more: xattrs_put cannot fail then. -ENOMEM. */
int xattrs_reserve(struct inode *i);
/* In place of what has its name; x belongs to the inode then. */
void xattrs_put(struct inode *i, struct xattr *x);
/* Frees it; nothing when there is none. */
void xattrs_remove(struct inode *i, const char *name, uint32_t name_len);
void xattrs_free(struct xattrs *xs);
/* Copies of all of them for an inode that has none. -ENOMEM. */
int xattrs_copy(const struct inode *from, struct inode *to);
/* Items for all of them, behind the inode's. */
void xattrs_record(struct jtxn *t, const struct inode *i);
/* Their size in a checkpoint. */
int64_t xattrs_bytes(const struct inode *i);
/*
 * The checkpoint's walk: items for those behind *at (zeroes: from the start) until there are `room` bytes of them; *at
 * moves on. Returns how many are left.
 */
struct xattr_at {
	char name[FS_XATTR_NAME_MAX];
	uint8_t len;
};
uint32_t xattrs_walk(struct jtxn *t, const struct inode *i, struct xattr_at *at, uint32_t room);

/* Replay: one item, flags ITEM_XATTR_*. 0, -EUCLEAN (4.9d), -ENOMEM. */
struct xattr_piece {
	const char *name;
	const void *value;
	uint32_t name_len, len, flags;
};
int xattrs_replay(struct inode *i, const struct xattr_piece *p);

#endif
