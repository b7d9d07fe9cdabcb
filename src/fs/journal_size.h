/* SPDX-License-Identifier: BSD-2-Clause */
/* Where log and checkpoint lie, and how large the pool is: what resizing and evacuating ask of the journal. */
#ifndef LH_FS_JOURNAL_SIZE_H
#define LH_FS_JOURNAL_SIZE_H

#include "fs/journal.h"

/* Whether the checkpoint, a live segment or a spare one touches the run. */
bool journal_lies_in(struct journal *j, struct run r);
/* Gives back spare segments that touch the run, but the one that the log has announced. */
void journal_drop_spares(struct journal *j, struct run r);
/*
 * The size of the pool is from now on so many blocks: the copy of the superblock goes to its new place, then the size
 * word is published (format 2.4). The pool has at least as many. The caller has made sure that nothing lies behind.
 */
int journal_set_blocks(struct journal *j, uint64_t blocks);

#endif
