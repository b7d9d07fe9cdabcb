/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The insides of the offline tools: what they remember of a pool (fsck_state.c), what they check of that
 * (fsck_check.c), how they read a damaged pool (salvage.c, salvage_log.c), how they put it right (repair.c) and write
 * it (repair_write.c).
 */
#ifndef LH_TOOLS_FSCK_H
#define LH_TOOLS_FSCK_H

#include <bsd/sys/tree.h>
#include <jansson.h>

#include "fs/alloc.h"
#include "fs/extmap.h"
#include "fs/journal.h"
#include "fs/scan.h"
#include "tools/runs.h"
#include "tools/tools.h"

#define FSCK_OBJECT_MAX 640u

struct fsck_xattr {
	struct fsck_xattr *next;
	uint32_t name_len, value_len;
	uint8_t bytes[]; /* name, value */
};

struct fsck_entry;

/* One inode number that an item named; `there`: its attributes are known. */
struct fsck_inode {
	RB_ENTRY(fsck_inode) entry;
	uint64_t ino, names, seen;
	struct inode_attr attr;
	bool there;
	bool doubtful; /* an item of a chunk whose crc is wrong: it may say what it never said */
	char *target;  /* malloc'ed, target_len bytes */
	uint32_t target_len;
	struct fsck_entry *named_by; /* the first entry that names it (fsck_check) */
	struct fsck_xattr *xattrs;
	struct extmap map;
};

struct fsck_entry {
	RB_ENTRY(fsck_entry) entry;
	uint64_t dir, cookie, ino;
	uint8_t dtype, len;
	char name[];
};

struct fsck_limit {
	RB_ENTRY(fsck_limit) entry;
	uint32_t kind, id;
	uint64_t root, blocks, inodes;
};

RB_HEAD(fsck_inodes, fsck_inode);
RB_HEAD(fsck_entries, fsck_entry);
RB_HEAD(fsck_limits, fsck_limit);

/* A rule that an item broke when it came, although all items together may be right. */
struct fsck_early {
	const char *rule;
	uint64_t ino;
	struct scan_at at;
};
#define FSCK_EARLY_MAX 16u

/* Everything that the items say. */
struct fsck_state {
	struct fsck_inodes inodes;
	struct fsck_entries entries;
	struct fsck_limits limits;
	struct extmap bad;    /* pool blocks to themselves */
	struct extmap claims; /* their numbers, to nothing */
	struct fsck_early early[FSCK_EARLY_MAX];
	unsigned early_count;
	bool doubtful; /* the items that come now */
	int error;     /* -ENOMEM on the way */
};

void fsck_state_init(struct fsck_state *s);
void fsck_state_fini(struct fsck_state *s);
/* One item more. NULL, or why it stopped. */
const char *fsck_state_item(struct fsck_state *s, const struct item *it, const struct scan_at *at);
struct fsck_inode *fsck_inode_find(struct fsck_state *s, uint64_t ino);
struct fsck_inode *fsck_inode_first(struct fsck_state *s);
struct fsck_inode *fsck_inode_next(struct fsck_inode *i);
/* Makes it when there is none; NULL: no memory. */
struct fsck_inode *fsck_inode_get(struct fsck_state *s, uint64_t ino);
/* Without its entries. */
void fsck_inode_drop(struct fsck_state *s, struct fsck_inode *i);
void fsck_xattrs_drop(struct fsck_inode *i);
struct fsck_entry *fsck_entry_first(struct fsck_state *s);
/* The first at or behind this cookie of this directory, or of a later one. */
struct fsck_entry *fsck_entry_from(struct fsck_state *s, uint64_t dir, uint64_t cookie);
struct fsck_entry *fsck_entry_next(struct fsck_entry *e);
void fsck_entry_drop(struct fsck_state *s, struct fsck_entry *e);
/* Replaces one at the same place; -ENOMEM. */
int fsck_entry_put(struct fsck_state *s, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t dtype, const char *name,
		   uint32_t len);
struct fsck_limit *fsck_limit_first(struct fsck_state *s);
struct fsck_limit *fsck_limit_next(struct fsck_limit *l);
void fsck_limit_drop(struct fsck_state *s, struct fsck_limit *l);

struct fsck {
	struct pool *pool;
	FILE *out;
	bool as_json, silent; /* silent: findings are counted only */
	json_t *list;         /* of findings */
	unsigned findings;
	unsigned copy_findings;
	char first[256];       /* the first finding */
	uint64_t told_ns;      /* of the last line of progress */
	bool told;             /* the rule that the strict walk stopped at is among them */
	const char *copy_rule; /* 2.2a, by the strict walk */
	int error;             /* -ENOMEM on the way */
	struct scan scan;
	struct salvage *salvage; /* when the scan met damage */
	struct fsck_state state;
	struct runs meta; /* of checkpoint and log, sorted after fsck_check */
	uint64_t inode_count, entry_count, extent_count, orphans;
};

/* --- fsck.c --- */
/* rule: with its text, "6.2 ..."; consequence: what it means for the user. */
void fsck_finding(struct fsck *f, const char *rule, const char *consequence, const char *object, ...)
    __attribute__((format(printf, 4, 5)));
/* A name as printable ASCII: other bytes as \xNN. */
void fsck_name(const char *name, uint32_t len, char *buf, size_t room);
/* Reads, checks, and fills *f with what is known; findings are reported, or only counted. fsck_end in any case. */
int fsck_begin(struct fsck *f, struct pool *pool, FILE *out, bool json, bool silent);
void fsck_end(struct fsck *f);
/* A line now and then where it takes long; not in JSON. */
void fsck_progress(struct fsck *f, const char *what, uint64_t done, uint64_t total);
/* fsck_summary, or the whole object. */
int fsck_report(struct fsck *f);
/* The closing lines, or the JSON object's members. */
void fsck_summary(const struct fsck *f);
json_t *fsck_object(const struct fsck *f);

/* --- fsck_check.c --- */
/* docs/format.md 6, over what the walk collected. -ENOMEM. */
int fsck_check(struct fsck *f);
/* What is wrong with an attribute that is an ACL. */
enum fsck_acl { FSCK_ACL_NONE, FSCK_ACL_GOOD, FSCK_ACL_BAD, FSCK_ACL_MODE };
enum fsck_acl fsck_acl(const struct fsck_inode *i, const struct fsck_xattr *x);
/* names, named_by of all inodes, from the entries. */
void fsck_count_names(struct fsck_state *s);
/* One of the paths, as fsck_name prints; "inode 17" when it hangs nowhere. Valid until the names change. */
void fsck_path(struct fsck_state *s, uint64_t ino, char *buf, size_t room);

#endif
