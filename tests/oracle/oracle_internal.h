/* SPDX-License-Identifier: BSD-2-Clause */
/* The reference's structures: oracle.c has names and attributes, oracle_data.c contents, oracle_match.c comparison. */
#ifndef LH_TESTS_ORACLE_INTERNAL_H
#define LH_TESTS_ORACLE_INTERNAL_H

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "oracle.h"

#define B ((uint64_t)LH_BLOCK_SIZE)

/* A cell's content after one store. Never changed once there is an older one; shared by states. */
struct oversion {
	unsigned refs;
	struct oversion *older;
	uint64_t time;
	unsigned from, to; /* what the store changed */
	bool barrier;      /* bytes in [from, to) of older versions cannot be seen any more, nor these before */
	uint8_t bytes[LH_BLOCK_SIZE];
};

struct oblock {
	uint64_t no, cell;
	struct oversion *v; /* NULL: unwritten */
	uint64_t durable;   /* versions at or before this time are */
	bool was_shared;
};

struct oentry {
	char name[FS_NAME_MAX + 1];
	unsigned node;
};

struct oxattr {
	char name[FS_NAME_MAX + 1];
	uint8_t *value;
	size_t len;
};

struct onode {
	bool used;
	bool snapshot; /* the top of one */
	uint32_t mode, uid, gid;
	unsigned nlink, opens;
	unsigned parent; /* of a directory */
	bool nameless;   /* O_TMPFILE, not linked yet */
	bool no_link;    /* O_TMPFILE with O_EXCL */
	uint64_t rdev, size;
	char *target;
	struct oentry *entry;
	unsigned entries;
	struct oxattr *xattr;
	unsigned xattrs;
	struct oblock *block; /* by number */
	unsigned blocks;
};

struct ohandle {
	bool open, readable, writable, append;
	unsigned node;
};

struct oracle {
	bool history;
	struct onode *node; /* [0] is the root */
	unsigned nodes;
	uint64_t time;
	unsigned steps;      /* of the last operation: more than one is not atomic */
	uint64_t *next_cell; /* of the family */
	unsigned *family;    /* states */
	struct ohandle h[FSOP_SLOTS];
	struct otext *text; /* oracle_match.c: made once */
};

void *must_alloc(void *old, size_t size);
void version_put(struct oversion *v);
struct otext;
void text_free(struct otext *t);
void node_clear(struct onode *n);
struct oblock *block_find(const struct onode *n, uint64_t no);

/* By handle; the node is a regular file or a directory. */
int64_t data_read(struct oracle *o, const struct fsop *op, uint32_t *crc);
int64_t data_write(struct oracle *o, const struct fsop *op);
int64_t data_truncate(struct oracle *o, const struct fsop *op);
int64_t data_allocate(struct oracle *o, const struct fsop *op);
int64_t data_clone(struct oracle *o, const struct fsop *op);
int64_t data_dedupe(struct oracle *o, const struct fsop *op);
int64_t data_exchange(struct oracle *o, const struct fsop *op);
int64_t data_copy(struct oracle *o, const struct fsop *op);
int64_t data_seek(struct oracle *o, const struct fsop *op);
int64_t data_direct(struct oracle *o, const struct fsop *op);
void data_cut(struct oracle *o, struct onode *n, uint64_t size);
void data_synced(struct oracle *o, struct onode *n);
void data_unshared(struct oracle *o);

#define NO_NODE UINT32_MAX
unsigned oracle_node_new(struct oracle *o, uint32_t mode);
void oracle_node_settle(struct oracle *o, unsigned k);
void oracle_entry_add(struct onode *dir, const char *name, unsigned node);
void oracle_entry_remove(struct onode *dir, const char *name);
/* The directory of a path, its last name, and what that is; -EEXIST when it is no name. For root. */
int oracle_place(const struct oracle *o, const struct fs_cred *c, const char *path, unsigned *dir,
		 char name[FS_NAME_MAX + 1], unsigned *node);
int64_t snapshot_take(struct oracle *o, const struct fsop *op);
int64_t snapshot_delete(struct oracle *o, const struct fsop *op);

enum { MAY_X = 1, MAY_W = 2, MAY_R = 4 };
bool oracle_in_group(const struct fs_cred *c, uint32_t gid);
int64_t attr_set_node(struct onode *n, const struct fs_cred *c, const struct fsop *op);
int64_t attr_set(struct oracle *o, const struct fsop *op);
int64_t attr_stat(struct oracle *o, const struct fsop *op, uint32_t *crc);
int64_t attr_readlink(struct oracle *o, const struct fsop *op, uint32_t *crc);
int64_t attr_readdir(struct oracle *o, const struct fsop *op, uint32_t *crc);
int oracle_may(const struct onode *n, const struct fs_cred *c, unsigned want);
int oracle_find(const struct oracle *o, const struct fs_cred *c, const char *path, bool follow, unsigned *node);
int64_t xattr_set(struct oracle *o, const struct fsop *op);
int64_t xattr_get(struct oracle *o, const struct fsop *op, uint32_t *crc);
int64_t xattr_list(struct oracle *o, const struct fsop *op, uint32_t *crc);
int64_t xattr_remove(struct oracle *o, const struct fsop *op);

#endif
