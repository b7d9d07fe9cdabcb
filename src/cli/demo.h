/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The demonstration's own state. One process serves the pool and changes layouts; client processes (this program again,
 * by exec) use the files directly. They share one *board* in memory: what every block of the watched files must
 * contain, when a change is under way, and what each client counted.
 *
 * A block's version is even while its content must be the source's, and odd while the server's side cuts and restores
 * it: then the source's bytes, zeroes, or a short read are right. Anything else, at any time, is a stale or foreign
 * byte. Moves (clone, copy on write, relocate) never make a version odd: nobody may notice them.
 */
#ifndef LH_CLI_DEMO_H
#define LH_CLI_DEMO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <leasehold/leasehold.h>

#define DEMO_FILES         8u /* watched: the largest of the tree */
#define DEMO_CLIENTS       9u
#define DEMO_BLOCK         4096u
#define DEMO_WATCH_MAX     ((uint64_t)1 << 30) /* bytes of a file that are watched */
#define DEMO_WRITER_BYTES  ((uint64_t)8 << 20)
#define DEMO_LATENCIES_MAX 65536u
#define DEMO_COLUMNS       64u /* of the timeline */

enum demo_role { DEMO_READER, DEMO_WRITER, DEMO_DEAF, DEMO_STOPPED };
const char *demo_role_name(enum demo_role role);

/* What one client counted; written by it, read by the server's side after it has ended. */
struct demo_client {
	enum demo_role role;
	uint32_t faulting; /* its leases are faulting ones (L33): 0 or 1 */
	pid_t pid;
	char fabric[16], address[160];
	_Atomic uint32_t ready, ended;
	uint64_t reads, read_bytes, writes, write_bytes, commits;
	uint64_t foreign; /* blocks with bytes that do not belong there */
	uint64_t noticed; /* errors that the application saw */
	uint64_t dead_tries, dead_refused;
	uint64_t faults, recalls, revocations;
	char error[256];
};

struct demo_watch {
	char path[512];               /* in the filesystem */
	char source[1024];            /* outside */
	uint64_t size, blocks, first; /* first: index into version[] and crc[] */
};

struct demo_board {
	_Atomic uint32_t stop;
	uint32_t files;
	uint64_t blocks;
	uint64_t writer_seed;
	struct demo_watch file[DEMO_FILES];
	struct demo_client client[DEMO_CLIENTS];
	/* uint32_t versions and checksums, `blocks` of each, follow. */
};
_Atomic uint32_t *demo_versions(struct demo_board *b);
uint32_t *demo_checksums(struct demo_board *b);
struct demo_board *demo_board_make(const char *path, uint64_t blocks);
struct demo_board *demo_board_map(const char *path);

/* What a tree contains, independent of order: a sum over entries of a hash of name, kind, mode, size, target and
 * content. */
struct demo_tree {
	uint64_t sum, bytes, files, entries;
};
/* A tree on the machine of at least min_bytes, not more than max_bytes if there is one; NULL: none. */
const char *demo_tree_default(uint64_t min_bytes, uint64_t max_bytes);
/* Copies source into the filesystem under /tree while summing it; fills watch with the largest files. */
int demo_tree_import(struct lh_fs *fs, const char *source, struct demo_tree *out, struct demo_watch *watch,
		     uint32_t *watched);
int demo_tree_size(const char *source, uint64_t *bytes, uint64_t *entries);
/* Walks /tree of the filesystem and sums what it reads. */
int demo_tree_export(struct lh_fs *fs, struct demo_tree *out);

/* A fast generator: a number below `below`, or just the next state for 0. */
uint64_t demo_draw(uint64_t *seed, uint64_t below);

/* A writer's (and junk's) block describes itself: whose, which, which version, checksum. */
void demo_block_fill(uint8_t *block, uint64_t owner, uint64_t number, uint64_t version);
/* false: not a whole block of that owner and number. A block of zeroes is version 0. */
bool demo_block_check(const uint8_t *block, uint64_t owner, uint64_t number, uint64_t *version);

/* The client processes: `leasehold demo --client INDEX --board PATH`. Exit status. */
int demo_client_main(struct demo_board *board, unsigned index);

/* The server's side: changes layouts until the time is over. */
struct demo_changes {
	struct lh_fs *fs;
	struct demo_board *board;
	uint64_t until_ns;
	uint64_t clones, cow_writes, relocations, relocated_blocks, truncates, punches, junk_blocks;
	uint64_t foreign; /* junk or clone blocks that did not hold what was written */
	int error;
	char text[256];
};
void demo_changes_run(struct demo_changes *c);

/* Collected from the filesystem's trace while it runs. */
struct demo_story {
	uint64_t begin_ns, end_ns, deadline_ns, cursor;
	uint32_t grants[DEMO_COLUMNS], recalls[DEMO_COLUMNS], releases[DEMO_COLUMNS], forced[DEMO_COLUMNS],
	    refaults[DEMO_COLUMNS];
	uint64_t latency_ns[DEMO_LATENCIES_MAX];
	uint32_t latencies;
	uint64_t breaks, in_time, forced_total, refault_total;
	uint64_t seen[4096]; /* sessions and files that lost a lease: a grant after that is a refault */
	uint32_t seen_count;
};
void demo_story_collect(struct demo_story *s, struct lh_fs *fs);

struct demo_result {
	struct demo_story *story;
	struct demo_changes *changes;
	struct demo_board *board;
	struct demo_tree source, exported;
	const char *input;
};
/* Draws, prints the table or JSON; returns the number of lines that are wrong. */
unsigned demo_report(const struct demo_result *r, bool json);

#endif
