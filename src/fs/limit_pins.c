/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The administrator's limits of pinned memory (L18). They are recorded here and enforced by the arbiter, which is told
 * at mount and with each change. In the table and in records their numbers are those of docs/format.md 4.10 (plus 1);
 * outside they are plain, with UINT64_MAX for no limit.
 *
 * A change goes to the arbiter before its record and back if that fails: the arbiter may lack memory, and after the
 * record nothing may fail.
 */
#include <errno.h>

#include "base/error.h"
#include "fs/limit_impl.h"

static_assert((int)FS_LIMIT_PINS == ITEM_LIMIT_PINS && (int)FS_LIMIT_PINS_DEFAULT == ITEM_LIMIT_PINS_DEFAULT &&
		  (int)FS_LIMIT_PINS_POOL == ITEM_LIMIT_PINS_POOL,
	      "same numbers");

static uint64_t max_of(uint64_t stored)
{
	return stored == UINT64_MAX ? UINT64_MAX : stored - 1;
}

static uint64_t stored_of(uint64_t max)
{
	return min_u64(max, UINT64_MAX - 1) + 1;
}

static struct lease_limit asked_of(const struct fs_limit *l)
{
	static const enum lease_limit_kind kinds[] = {LEASE_LIMIT_UID, LEASE_LIMIT_DEFAULT, LEASE_LIMIT_POOL};

	return (struct lease_limit){.kind = kinds[l->kind - FS_LIMIT_PINS], .uid = l->id};
}

int limit_pins_check(struct fs_limit *l)
{
	if (l->kind == FS_LIMIT_PINS && l->id == FS_ID_NONE)
		return fail(-EINVAL, "%u is nobody's number", FS_ID_NONE);
	if (l->kind != FS_LIMIT_PINS && l->id != 0)
		return fail(-EINVAL, "the limit of pins of all uids, and that of the pool, have no uid");
	l->blocks = stored_of(l->blocks);
	l->inodes = stored_of(l->inodes);
	return 0;
}

int limit_pins_tell(struct fs *fs, const struct fs_limit *stored)
{
	struct lease_limit l = asked_of(stored);

	l.none = stored->blocks == 0;
	l.bytes = max_of(stored->blocks);
	l.leases = max_of(stored->inodes);
	return lease_limit_set(fs->arbiter, &l);
}

void limit_pins_show(struct fs *fs, struct fs_limit *l)
{
	struct lease_limit now = asked_of(l);

	lease_limit_get(fs->arbiter, &now);
	l->blocks = max_of(l->blocks);
	l->inodes = max_of(l->inodes);
	l->blocks_used = now.bytes_used;
	l->inodes_used = now.leases_used;
}

int limit_pins_load(struct fs *fs)
{
	const struct limits *all = fs->limits;
	int err = 0;

	for (unsigned k = 0; k < LIMIT_BUCKETS && all->pins; k++) {
		for (const struct limit *l = all->bucket[k]; l && !err; l = l->next) {
			struct fs_limit info = limit_info(l);

			if (limit_is_pins(l->kind))
				err = limit_pins_tell(fs, &info);
		}
	}
	return err;
}
