/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads everything that the root word leads to, in order, and checks every rule of docs/format.md 2 to 5 on the way.
 * Mount, fsck and dump are three visitors of the same walk. Writes nothing, trusts nothing (I8).
 */
#ifndef LH_FS_SCAN_H
#define LH_FS_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"
#include "fs/alloc.h"
#include "pool/pool.h"

/* Where something lies. */
struct scan_at {
	uint64_t block;  /* of the run */
	uint64_t offset; /* in bytes from there */
	uint64_t seq;    /* of the record; 0 in the checkpoint */
};

/* Each may be NULL. `bytes` is the structure as it lies in the pool. */
struct scan_ops {
	void (*super)(void *ctx, const struct super *s, uint32_t copy, const void *bytes);
	void (*checkpoint)(void *ctx, const struct checkpoint_head *h, const void *bytes);
	void (*chunk)(void *ctx, const struct chunk_head *h, const void *bytes);
	void (*segment)(void *ctx, const struct segment_head *h, const void *bytes);
	void (*record)(void *ctx, const struct record_head *h, const struct scan_at *at, const void *bytes);
	/* Items of chunks, then of finished operations, in order. Non-NULL: the rule it breaks; the walk ends with
	 * damage. */
	const char *(*item)(void *ctx, const struct item *it, const struct scan_at *at, const void *bytes);
	/*
	 * Damage of the log behind all that the checkpoint needs (5.4b), found before an item of the damaged record was
	 * shown: the walk ends well there, and `cut` is set.
	 */
	bool up_to_damage;
	/* 2.2a: the walk goes on. */
	void (*copy_damaged)(void *ctx, const char *rule);
};

struct scan_segment {
	struct run run;
	uint64_t first_seq, generation;
};

struct scan {
	struct pool *pool;
	const struct scan_ops *ops;
	void *ctx;
	struct super super;
	bool copy_bad;
	bool cut; /* see up_to_damage; `damage` tells */
	bool have_super, have_head;
	struct checkpoint_head head;
	struct run *chunks; /* of the checkpoint, in order */
	uint64_t chunk_count, chunk_room;
	struct scan_segment *segments; /* of the log, in order */
	uint64_t segment_count, segment_room;
	/* The end of the log: the next record's number and place (offset in the last segment); link room is there. */
	uint64_t end_seq, end_offset, end_generation, end_salt;
	uint64_t records, log_bytes, next_ino;
	/* An operation of several records that is not finished yet. */
	struct scan_part {
		const uint8_t *bytes;
		struct record_head head;
		struct scan_at at;
	} * parts;
	uint64_t part_count, part_room;
	char damage[256]; /* the sentence about what stopped the walk; "" */
	const char *rule;
};

/* 0, -EMEDIUMTYPE, -EPROTONOSUPPORT, -EUCLEAN, -EBADMSG (each with fail_text naming the rule), -ENOMEM. scan_fini in
 * any case. */
int scan_pool(struct scan *s, struct pool *pool, const struct scan_ops *ops, void *ctx);
void scan_fini(struct scan *s);

#endif
