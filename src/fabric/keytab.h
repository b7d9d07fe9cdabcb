/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The key table, shared by all members: what a key names, whether it lives, and who is inside. Everything that moves
 * bytes goes through key_enter and key_leave; nothing else yields a pointer to exposed memory.
 */
#ifndef LH_FABRIC_KEYTAB_H
#define LH_FABRIC_KEYTAB_H

#include <stdint.h>

#include "fabric/fabric.h"

struct keytab;
struct key_slot;

/* The hold on one chunk of a key. It delays a revocation, so it's never kept while waiting for anybody. */
struct key_hold {
	struct key_slot *slot;
	char *mem;    /* the chunk's first byte */
	uint64_t len; /* of the chunk: at most FABRIC_CHUNK, and what was wanted; less of a faulting key */
	uint64_t offset;
	enum fabric_access resolved; /* of a faulting key: what its resolver was asked for; else 0 */
};

/* What a faulting key reads where there is nothing. */
extern const uint8_t key_zeroes[FABRIC_CHUNK];

/* Whose keys: a domain has one. Zero to start with; the table's lock guards it. */
struct key_owner {
	uint32_t first; /* slot + 1 */
	uint32_t group; /* whose keys are counted together, below KEY_GROUPS; 0: nobody's */
};
#define KEY_GROUPS 4096u
/* L19: as long as half of all keys live a group may have any number; above that so many. Over it -EDQUOT. */
#define KEY_GROUP_SHARE (FABRIC_KEYS_MAX / 16)

/* What a request wants of a key. owner: on whose behalf. */
struct key_want {
	const struct key_owner *owner;
	uint64_t number;
	enum fabric_access access;
	uint64_t offset;
	uint64_t len; /* all that is still to be moved, so that a request is refused whole; a chunk may then be less */
};

int keytab_new(struct keytab **out);
/* No key may live and nobody may be inside. */
void keytab_free(struct keytab *kt);

/* What a new key names: memory at base, or what a resolver finds from `at` on. */
struct key_target {
	void *base;
	struct fabric_resolver *resolver; /* NULL: base */
	uint64_t at, len;
	unsigned access;
};
/* -EDQUOT: the owner's group has its share. -ENOSPC: FABRIC_KEYS_MAX keys live, or every number was used. */
int key_make(struct keytab *kt, struct key_owner *owner, const struct key_target *target, uint64_t *number);
/*
 * Marks the key dead, waits until nobody is inside, fills out. -ESTALE: it was dead, or being killed, already
 * (out->number is set: nobody is inside then either), or is another owner's (out->number is 0).
 */
int key_kill(struct keytab *kt, struct key_owner *owner, uint64_t number, struct fabric_receipt *out);
/* Kills every key of the owner. */
void key_kill_all(struct keytab *kt, struct key_owner *owner);

/* Never waits. -ESTALE, -EACCES, -ERANGE, in this order (F2); then, of a faulting key, -EAGAIN or -EIO. */
int key_enter(struct keytab *kt, const struct key_want *want, struct key_hold *out);
void key_leave(struct key_hold *hold);
/* The first len bytes of the hold were written. Before key_leave. */
void key_dirty(struct key_hold *hold, uint64_t len);
/* Returns the hull of what was written since the last take and forgets it. Rounded outwards to cache lines. -ESTALE. */
int key_dirty_take(struct keytab *kt, const struct key_owner *owner, uint64_t number, uint64_t *start, uint64_t *end);

uint64_t keytab_live(struct keytab *kt);
uint64_t keytab_killed(struct keytab *kt);

#endif
