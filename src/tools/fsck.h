/* SPDX-License-Identifier: BSD-2-Clause */
/* fsck's insides: what it remembers of a pool (fsck_state.c) and what it checks of that (fsck_check.c). */
#ifndef LH_TOOLS_FSCK_H
#define LH_TOOLS_FSCK_H

#include <bsd/sys/tree.h>
#include <jansson.h>

#include "fs/alloc.h"
#include "fs/extmap.h"
#include "fs/scan.h"
#include "tools/tools.h"

#define FSCK_OBJECT_MAX 640u

/* One inode number that an item named; `there`: its attributes are known. */
struct fsck_inode {
	RB_ENTRY(fsck_inode) entry;
	uint64_t ino, size, target_len, names, parent, seen;
	uint32_t mode;
	bool there;
	struct extmap map;
};

struct fsck_entry {
	RB_ENTRY(fsck_entry) entry;
	uint64_t dir, cookie, ino;
	uint8_t dtype, len;
	char name[];
};

RB_HEAD(fsck_inodes, fsck_inode);
RB_HEAD(fsck_entries, fsck_entry);

struct fsck {
	struct pool *pool;
	FILE *out;
	bool as_json;
	json_t *list; /* of findings */
	unsigned findings;
	int error; /* -ENOMEM on the way */
	struct scan scan;
	struct fsck_inodes inodes;
	struct fsck_entries entries;
	uint64_t inode_count, entry_count, extent_count, orphans;
};

/* --- fsck_state.c --- */
extern const struct scan_ops fsck_ops;
void fsck_state_init(struct fsck *f);
void fsck_state_fini(struct fsck *f);
struct fsck_inode *fsck_inode_find(struct fsck *f, uint64_t ino);
struct fsck_inode *fsck_inode_first(struct fsck *f);
struct fsck_inode *fsck_inode_next(struct fsck_inode *i);
struct fsck_entry *fsck_entry_first(struct fsck *f);
struct fsck_entry *fsck_entry_next(struct fsck_entry *e);

/* --- fsck.c --- */
/* rule: with its text, "6.2 ..."; consequence: what it means for the user. */
void fsck_finding(struct fsck *f, const char *rule, const char *consequence, const char *object, ...)
    __attribute__((format(printf, 4, 5)));
/* A name as printable ASCII: other bytes as \xNN. */
void fsck_name(const char *name, uint32_t len, char *buf, size_t room);

/* --- fsck_check.c --- */
/* docs/format.md 6, over what the walk collected. -ENOMEM. */
int fsck_check(struct fsck *f);

#endif
