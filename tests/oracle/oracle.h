/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reference filesystem: what src/fs must look like from outside, in the simplest code that is obviously right. No
 * pool, no log, no threads; lists are searched from end to end.
 *
 * It also knows what a crash may do to bytes stored in place, which no record protects: each block of a file is a
 * *cell*, and an in-place store leaves the older version behind it. A byte seen after a crash is right when it is the
 * block's, or of a version stored since the last fsync, or of a later in-place store to the same cell; never one from
 * across a *barrier*: a cut, a growth, the end of sharing.
 *
 * oracle_copy keeps a state for later comparison; states of one family share cells.
 */
#ifndef LH_TESTS_ORACLE_ORACLE_H
#define LH_TESTS_ORACLE_ORACLE_H

#include <stdio.h>

#include "fsop.h"

struct oracle;

/* history: keep versions for oracle_match of crashed states. Memory that cannot be had aborts. */
struct oracle *oracle_new(bool history);
struct oracle *oracle_copy(const struct oracle *o);
void oracle_free(struct oracle *o);
/* The same operation as drive_do. */
void oracle_do(struct oracle *o, const struct fsop *op, struct fsop_result *out);
/* Whether the last operation was one record; copy_range may take several steps. */
bool oracle_was_atomic(const struct oracle *o);
/* After a crash or a remount: no handle is open, orphans are gone. */
void oracle_close_all(struct oracle *o);

/* --- comparing -------------------------------------------------------------------------------------------------------
 */

/* What a mounted filesystem holds, read once: names, attributes, contents. */
struct tree;
struct tree *tree_read(struct fs *fs); /* NULL after saying why on stderr */
void tree_free(struct tree *t);
/*
 * Whether the tree is that of state[at]. states 0..last are copies of one oracle after operations 0..last; the crash
 * happened when operation `last` was under way or had just ended. at <= last. partial: bit n: operation n, behind `at`,
 * may have stored some of its bytes (edges of what is punched or zeroed, a device).
 * why: NULL, or where a sentence about the first difference goes.
 */
bool tree_is(const struct tree *t, struct oracle *const *state, unsigned at, unsigned last, uint64_t partial,
	     FILE *why);
/* Live comparison, bytes exactly. */
bool tree_same(const struct tree *t, struct oracle *state, FILE *why);
void tree_print(const struct tree *t, FILE *to);
void oracle_print(struct oracle *o, FILE *to);
/* Whether an interrupted operation of this kind may leave a part of its bytes (no more). */
bool fsop_is_partial(const struct fsop *op);

#endif
