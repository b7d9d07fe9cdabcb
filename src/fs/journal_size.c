/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool's size on the medium, and moving log and checkpoint out of the way.
 *
 *   1. the copy of the superblock at its new place, durable     crash: a block that nobody names; the old size
 *   2. the size word, one 8-byte store, durable                 crash: the old size or the new one
 */
#include "fs/journal_size.h"

#include <string.h>

#include "base/error.h"
#include "fs/journal_impl.h"

static bool touches(struct run a, struct run b)
{
	return a.start < b.start + b.blocks && b.start < a.start + a.blocks;
}

bool journal_lies_in(struct journal *j, struct run r)
{
	const struct segment *s;
	bool in;

	lock_take(&j->lock);
	in = touches((struct run){j->head.block, 1}, r);
	for (uint64_t k = 0; !in && k < j->chunk_count; k++)
		in = touches(j->chunks[k], r);
	STAILQ_FOREACH (s, &j->live, entry)
		in = in || touches(s->run, r);
	STAILQ_FOREACH (s, &j->spares, entry)
		in = in || touches(s->run, r);
	lock_drop(&j->lock);
	return in;
}

void journal_drop_spares(struct journal *j, struct run r)
{
	struct segment_queue out = STAILQ_HEAD_INITIALIZER(out);
	struct segment *keep;

	lock_take(&j->lock);
	keep = STAILQ_FIRST(&j->spares);
	while (keep != NULL && STAILQ_NEXT(keep, entry) != NULL) {
		struct segment *s = STAILQ_NEXT(keep, entry);

		if (!touches(s->run, r)) {
			keep = s;
			continue;
		}
		STAILQ_REMOVE_AFTER(&j->spares, keep, entry);
		STAILQ_INSERT_TAIL(&out, s, entry);
		j->spare_count--;
	}
	lock_drop(&j->lock);
	segments_release(j, &out);
}

int journal_set_blocks(struct journal *j, uint64_t blocks)
{
	uint8_t block[LH_BLOCK_SIZE];
	uint64_t off = (blocks - 1) << LH_BLOCK_SHIFT;
	struct super s = j->super;
	int err;

	lock_take(&j->lock);
	err = journal_state(j);
	lock_drop(&j->lock);
	if (err != 0)
		return err;
	s.made_blocks = s.made_blocks != 0 ? s.made_blocks : s.blocks;
	s.blocks = blocks;
	super_block_encode(&s, 1, block);
	pool_store(j->pool, off, block, sizeof(block));
	err = pool_sync(j->pool, off, sizeof(block));
	if (err == 0)
		err = pool_publish(j->pool, FORMAT_SIZE_OFFSET, size_encode(s.uuid, blocks));
	lock_take(&j->lock);
	/* Only these: the rest never changes and is read without the lock. */
	if (err == 0) {
		j->super.blocks = s.blocks;
		j->super.made_blocks = s.made_blocks;
	} else {
		journal_broken(j, err);
	}
	lock_drop(&j->lock);
	return err;
}
