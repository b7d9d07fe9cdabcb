/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inodes that a session has been told of (P72): whoever has walked to an inode with the right to may name it by
 * number from then on, as with an open directory and openat(2). Bounded, and exact in the one direction that matters:
 * what it says was told was told. What it forgets is looked up again.
 */
#ifndef LH_SERVER_TOLD_H
#define LH_SERVER_TOLD_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers come in the order in which inodes are made, so neighbours are told of together: 512 of them in one line. */
#define TOLD_LINE_BITS 512u
#define TOLD_WAYS      8u
#define TOLD_SETS_MAX  1024u /* 590 KiB of one session */

struct told_line {
	uint64_t key; /* number / TOLD_LINE_BITS, plus 1; 0: free */
	uint64_t bits[TOLD_LINE_BITS / 64];
};
struct told_set {
	struct told_line way[TOLD_WAYS];
	uint32_t next; /* the way that is given up next */
};
/* Zeroed: empty. The caller locks. */
struct told {
	struct told_set *sets;
	uint32_t count; /* a power of two, or 0 */
};

/* Without memory for it nothing is added. */
void told_add(struct told *t, uint64_t ino);
bool told_has(const struct told *t, uint64_t ino);
void told_fini(struct told *t);

#endif
