/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names of one directory: found by hash, listed by cookie. Cookies only grow, so that a listing that goes on after
 * cookie c sees every entry that stayed, once, whatever came and went.
 *
 * Two structures over the same entries: `list` (dir_list.c) in the order of cookies, `names` (dir_names.c) by name.
 * Both grow and shrink a small piece at a time: no call takes longer because the directory is large. During replay
 * names may repeat for a while (a record older than the fuzzy checkpoint), so that entries are only in the list then,
 * and dir_finish makes the names. Lock: INODE of the directory.
 */
#ifndef LH_FS_DIR_H
#define LH_FS_DIR_H

#include "fs/core.h"

struct entry {
	union {
		struct inode *inode;
		uint64_t ino; /* replay, before the end of mount */
	};
	uint64_t cookie;
	uint32_t hash;
	uint8_t type, len;
	char name[];
};

/* --- dir_list.c: entries by cookie --- */

struct dir_page;
struct dir_list {
	struct dir_ref {
		uint64_t first; /* cookie */
		struct dir_page *page;
	} * refs; /* in order; `room` of them */
	uint32_t count, room;
	struct dir_page *spare;
};

/* The next put with this cookie cannot fail. -ENOMEM. */
int dir_list_reserve(struct dir_list *l, uint64_t cookie);
/* The cookie is not there yet. */
void dir_list_put(struct dir_list *l, struct entry *e);
/* NULL: none. The place may be written: another entry of the same cookie. */
struct entry **dir_list_find(const struct dir_list *l, uint64_t cookie);
void dir_list_remove(struct dir_list *l, uint64_t cookie);
/* Frees the entries too. */
void dir_list_free(struct dir_list *l);

/* A walk in order of cookies, while the lock is held. */
struct dir_walk {
	const struct dir_list *list;
	uint32_t page, slot;
};
/* Begins behind the cookie. */
void dir_walk_begin(struct dir_walk *w, const struct dir_list *l, uint64_t after);
/* NULL: the end. */
struct entry *dir_walk_next(struct dir_walk *w);

/* --- dir_names.c: entries by name --- */

struct dir_bucket;
struct dir_names {
	struct dir_bucket **at; /* 1 << depth; NULL: no names */
	uint32_t depth;
	uint32_t deepest; /* buckets of that depth */
};

/* Room for the entry: the next dir_names_put of it cannot fail. -ENOMEM; -ENOSPC: too many names of one hash. */
int dir_names_reserve(struct dir_names *n, const struct entry *e);
/* Buckets for so many names at once, into an empty table. */
int dir_names_presize(struct dir_names *n, uint32_t count);
void dir_names_put(struct dir_names *n, struct entry *e);
struct entry *dir_names_find(const struct dir_names *n, uint32_t hash, const char *name, unsigned len);
void dir_names_remove(struct dir_names *n, const struct entry *e);
void dir_names_prefetch(const struct dir_names *n, uint32_t hash);
void dir_names_free(struct dir_names *n);

/* --- dir.c --- */

struct dir {
	struct inode *parent; /* RENAME and INODE; itself for the root, NULL when removed */
	struct dir_list list;
	struct dir_names names;
	uint64_t next_cookie;
	uint64_t seed;
	uint32_t live;
};

int dir_new(struct fs *fs, struct dir **out);
void dir_free(struct dir *d);
struct entry *dir_find(const struct dir *d, const char *name, unsigned len);
/* With the directory's next cookie and the name's hash. */
struct entry *entry_new(const struct dir *d, struct inode *i, const char *name, unsigned len);
/* Room for this new entry: dir_add of it cannot fail. -ENOMEM, -ENOSPC. */
int dir_reserve(struct dir *d, const struct entry *e);
void dir_add(struct dir *d, struct entry *e);
/* The entry is the caller's then, to free. */
void dir_remove(struct dir *d, struct entry *e);
/* No entries any more; they are freed. Cannot fail. */
void dir_clear(struct dir *d);

/* Replay: last one of a cookie wins. -ENOMEM. */
int dir_replay_set(struct dir *d, uint64_t cookie, uint64_t ino, uint8_t type, const char *name, unsigned len);
void dir_replay_clear(struct dir *d, uint64_t cookie);
/* Ends replay: builds the names. -ENOMEM, -EUCLEAN when a name is there twice. */
int dir_finish(struct dir *d);

#endif
