/* SPDX-License-Identifier: BSD-2-Clause */
/* What clone and dedupe share: the destination names the source's blocks from then on. */
#ifndef LH_FS_CLONE_H
#define LH_FS_CLONE_H

#include "fs/layout.h"

struct clone {
	struct fs *fs;
	struct inode *src, *dst;
	const struct fs_caller *who;
	uint64_t src_off, dst_off, len; /* bytes; len as asked, from the check on what is to be done */
	uint64_t src_block, dst_block, blocks;
	struct gate src_gate, dst_gate;
	struct gate_need src_need, dst_need;
	uint64_t done;     /* blocks */
	uint64_t gap_size; /* of the destination, when the gap behind it was made ready */
	/* Under both locks: the rules, and len, blocks and needs set. */
	int (*check)(struct clone *c);
	/* Under both locks, nothing reaches source blocks [first, end) for writing: 0: go on; else what the call
	 * returns. NULL: a clone, which changes content. */
	int (*compare)(struct clone *c, uint64_t first, uint64_t end);
};

/*
 * Fills c for a clone of this kind ("clone", "dedupe", for the errors): 0, or the error of files that cannot take part:
 * of two pools, not regular, the source not open for reading, offsets that are no blocks.
 */
int clone_begin(struct clone *c, const char *kind, struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src,
		uint64_t src_off, uint64_t len, const struct fs_caller *who);
/* No lock held. Ends the gates. */
int clone_run(struct clone *c);

#endif
