/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk over a damaged pool: like fs/scan.c it reads superblock, root word, checkpoint and log, but it goes on after
 * damage. Each damage is told once, by the rule that it breaks. What is passed on as an item is
 *
 *   - from a structure whose crc is right, or
 *   - from one in which a single flipped bit was found and turned back (mend.h), or
 *   - from a chunk whose crc is wrong, each item accepted by its verifier: these are `doubtful`.
 *
 * Where the chain is broken, structures are found by scanning all blocks for magics. Found chunks must carry the
 * checkpoint's number, found segments the generation and the salt of the log; a checkpoint header must carry the pool's
 * uuid. A user who knows the uuid can write a file that looks like a header, so that the scan for headers is the last
 * resort and only done where the root word leads nowhere.
 *
 * When a chunk is lost, an older checkpoint that nobody has written over, with a whole log from there on, takes the
 * newest one's place: after an orderly unmount there is one.
 *
 * Records behind a lost one are applied: items set absolute state. Its own changes are lost, and `lost` says so.
 */
#ifndef LH_TOOLS_SALVAGE_H
#define LH_TOOLS_SALVAGE_H

#include "fs/scan.h"
#include "tools/runs.h"

enum salvage_kind { SALVAGE_HEAD, SALVAGE_CHUNK, SALVAGE_SEGMENT };

/* A block that begins with a magic. */
struct salvage_found {
	uint64_t block;
	enum salvage_kind kind;
};

enum super_from { SUPER_BLOCK_0, SUPER_COPY, SUPER_GUESS };

struct salvage {
	struct pool *pool;
	const struct scan_ops *ops; /* item with at->seq 0: of a chunk */
	void *ctx;
	/* May be NULL. */
	void (*damage)(void *ctx, const char *rule, const char *consequence, const char *object);
	void (*doubt)(void *ctx, bool on); /* the items that follow are doubtful */

	/* May be NULL. */
	void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);

	struct super super;
	unsigned super_told; /* damages of block 0 */
	enum super_from super_from;
	bool super_bad, copy_bad; /* to be written anew */
	bool head_led;            /* the root word led to the header */
	bool have_head;
	bool head_guessed; /* made up from chunks: says nothing about the log */
	struct checkpoint_head head;
	bool sound_only;                     /* doubtful items are left out */
	bool lost;                           /* something that had been durable cannot be read */
	struct runs meta;                    /* where metadata lies or was looked for */
	uint64_t next_seq, generation, salt; /* of the log's end */
	uint64_t max_ino, records, segments, chunks;

	struct salvage_found *found; /* by the scan of all blocks */
	uint64_t found_count, found_room;
	bool scanned;
	void **copies; /* mended structures, kept until the end */
	uint64_t copy_count, copy_room;
	const char *about; /* more about the next damage that is told */
	int error;
};

/*
 * 0: it walked to its end. -EMEDIUMTYPE: nothing of a pool is there; -EPROTONOSUPPORT: of a newer program; -ENOMEM.
 * salvage_fini in any case. The caller has filled in pool, ops, ctx, damage, doubt; the rest is zero.
 */
int salvage_pool(struct salvage *s);
void salvage_fini(struct salvage *s);

/* --- between salvage.c, salvage_super.c and salvage_log.c --- */
/* Finds the superblock; the errors of salvage_pool. */
int salvage_super(struct salvage *s);
/* As long as the memory is. */
uint64_t salvage_blocks(const struct salvage *s);
void salvage_damage(struct salvage *s, const char *rule, const char *consequence, const struct scan_at *at);
void salvage_meta(struct salvage *s, uint64_t start, uint64_t blocks, const char *what);
/* A copy that lives as long as the walk; NULL: error is set. */
void *salvage_copy(struct salvage *s, const void *bytes, uint64_t len);
const void *salvage_block(const struct salvage *s, uint64_t block, uint64_t blocks);
/* Looks at every block once. */
void salvage_scan(struct salvage *s);
/* Passes items on; damaged ones are told and left out. */
void salvage_items(struct salvage *s, const uint8_t *bytes, uint64_t len, uint64_t items, struct scan_at at);
void salvage_log(struct salvage *s);

#endif
