/* SPDX-License-Identifier: BSD-2-Clause */
/* What a pool says when it is mounted, as a number; and the promises that hold for every damaged pool. */
#ifndef LH_TESTS_LOOK_H
#define LH_TESTS_LOOK_H

#include "fs/fs.h"
#include "pool/pool.h"

/* Of all names, attributes (but atime), targets, extended attributes and content; -errno when it does not mount.
 * *digest is order-independent. writable: the mount may write, and unmounts. */
int look_mount(struct pool *pool, bool writable, uint64_t *digest);
/* Findings of fsck, or -errno. text: what it printed (malloc'ed), may be NULL. */
int look_fsck(struct pool *pool, char **text);
int look_repair(struct pool *pool, char **text);
/*
 * The promises; aborts with a sentence when one is broken, `what` in front:
 *   fsck changes nothing and ends;  what has findings (but 2.2a) does not mount writable, what has
 *   none mounts;
 *   repair ends; what it repaired has no findings and mounts writable; what had none it does not touch
 */
void look_promises(struct pool *pool, const char *what);

#endif
