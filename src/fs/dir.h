/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names of one directory: found by hash, listed by cookie. Cookies only grow, so that a listing that goes on after
 * cookie c sees every entry that stayed, once, whatever came and went.
 *
 * Two arrays: `slots` ordered by cookie (a removed entry leaves a hole until a third of them are holes) and an open
 * addressing table of slot numbers by name. During replay names may repeat for a while (a record older than the fuzzy
 * checkpoint), so that entries are keyed by cookie then, and dir_finish sorts and builds the table of names.
 * Lock: INODE of the directory.
 */
#ifndef LH_FS_DIR_H
#define LH_FS_DIR_H

#include "fs/core.h"

struct entry {
	union {
		struct inode *inode;
		uint64_t ino; /* replay, before dir_finish */
	};
	uint64_t cookie;
	uint32_t slot, hash;
	uint8_t type, len;
	char name[];
};

struct dir_slot {
	uint64_t cookie;
	struct entry *entry; /* NULL: removed */
};

struct dir {
	struct inode *parent; /* RENAME and INODE; itself for the root, NULL when removed */
	struct dir_slot *slots;
	uint64_t *table; /* hash << 32 | slot + 1; 0: never used */
	uint64_t next_cookie;
	uint32_t slot_count, slot_room, live;
	uint32_t table_room, table_used;
	uint64_t seed;
};

int dir_new(struct fs *fs, struct dir **out);
void dir_free(struct dir *d);
struct entry *dir_find(const struct dir *d, const char *name, unsigned len);
/* Room for `count` more entries: so many dir_add cannot fail. */
int dir_reserve(struct dir *d, unsigned count);
/* With the directory's next cookie and the name's hash. */
struct entry *entry_new(const struct dir *d, struct inode *i, const char *name, unsigned len);
void dir_add(struct dir *d, struct entry *e);
/* The entry is the caller's then, to free. */
void dir_remove(struct dir *d, struct entry *e);
/* No entries any more; they are freed. Cannot fail. */
void dir_clear(struct dir *d);
/* The index of the first slot after the cookie. */
uint32_t dir_after(const struct dir *d, uint64_t cookie);

/* Replay: last one of a cookie wins. -ENOMEM. */
int dir_replay_set(struct dir *d, uint64_t cookie, uint64_t ino, uint8_t type, const char *name, unsigned len);
void dir_replay_clear(struct dir *d, uint64_t cookie);
/* Ends replay: sorts, builds the table. -ENOMEM, -EUCLEAN when a name is there twice. */
int dir_finish(struct dir *d);

#endif
