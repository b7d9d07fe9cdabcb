/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repair: what fsck has found out about a damaged pool is made consistent in memory (repair.c) and written as a new,
 * clean checkpoint into blocks that nothing lies in (repair_write.c). Nothing old is written over before the root word
 * leads to the new one, so that a crash at any moment leaves what was there before, or the repaired pool.
 */
#ifndef LH_TOOLS_REPAIR_H
#define LH_TOOLS_REPAIR_H

#include "tools/fsck.h"

struct repair {
	struct fsck *f;
	struct fsck_state *s;
	json_t *list; /* of what was done */
	uint64_t next_ino;
	uint64_t shelter; /* inode of lost+found; 0: not needed yet */
	uint64_t shelter_cookie;
	int64_t now_ns;
	bool names_lost; /* somewhere: a file without a name may have had one */
	unsigned saved, lost, changed, doubtful;
	int error;
};

enum repair_kind { REPAIR_SAVED, REPAIR_LOST, REPAIR_CHANGED, REPAIR_DOUBT };

/* One line of the report. */
void repair_say(struct repair *r, enum repair_kind kind, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Makes the state keep all rules of docs/format.md 6. -ENOMEM. */
int repair_state(struct repair *r);
/* Whether checkpoint or log have to be written anew, or only a superblock. */
bool repair_needs_checkpoint(const struct repair *r);
/* -ENOSPC: no room for a checkpoint beside what is there; nothing was changed. -EIO. */
int repair_write(struct repair *r);

#endif
