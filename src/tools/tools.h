/* SPDX-License-Identifier: BSD-2-Clause */
/* Offline tools over a pool that nobody has mounted. fsck and dump open it read-only and write nothing to it. */
#ifndef LH_TOOLS_TOOLS_H
#define LH_TOOLS_TOOLS_H

#include <stdbool.h>
#include <stdio.h>

struct pool;

/*
 * Checks everything: superblock and copy, checkpoint, every record and item, then what all of them together say
 * (docs/format.md 6). Prints one line per finding to out (rule, object, consequence) and a summary; json: one object
 * {"pool", "clean", "generation", ..., "findings": [{"rule", "text", "object", "consequence"}]}.
 * 0: it ran to its end, look at *findings. -EMEDIUMTYPE: not a pool of ours; -EPROTONOSUPPORT: of a newer program; else
 * what pool_open returned, -ENOMEM. fail_text() says it.
 */
int tool_fsck(const char *path, FILE *out, bool json, unsigned *findings);
/*
 * The same, and puts right what can be: docs/repair.md. 0: findings as of before, all of them corrected (no findings:
 * nothing was written); prints what was saved, lost and changed. -EUCLEAN: findings are left. -ENOSPC: no room for a
 * new checkpoint, nothing was changed. -EROFS: a feature of a newer program. Others as tool_fsck, -EIO.
 */
int tool_repair(const char *path, FILE *out, bool json, unsigned *findings);
/*
 * Prints every structure that the root leads to with all its fields, in the order of replay; json: an array of objects.
 * Of a damaged pool what can be read, then the error: as fs_mount's, fail_text() names the rule.
 */
int tool_dump(const char *path, FILE *out, bool json);

/* The same over a pool that is open already. */
int tool_fsck_pool(struct pool *pool, FILE *out, bool json, unsigned *findings);
int tool_repair_pool(struct pool *pool, FILE *out, bool json, unsigned *findings);
int tool_dump_pool(struct pool *pool, FILE *out, bool json);

#endif
