/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes the operations of crash worlds from seeds. */
#ifndef LH_CRASH_MAKE_H
#define LH_CRASH_MAKE_H

#include "crash_world.h"

/* They change nothing: there is nothing to crash. */
#define WORLD_READ_ONLY_OPS                                                                                            \
	(FSOP_BIT(OP_READLINK) | FSOP_BIT(OP_STAT) | FSOP_BIT(OP_READDIR) | FSOP_BIT(OP_READ) |                        \
	 FSOP_BIT(OP_XATTR_GET) | FSOP_BIT(OP_XATTR_LIST) | FSOP_BIT(OP_SEEK))

struct world *world_new(void);
/* A seeded tree, and one operation of the kind that does something in it. false: none was found. */
bool world_make_op(struct world *w, enum fsop_kind kind, unsigned variant);
/* A seeded tree and up to four operations. Those that take several steps are left out: a crash between these is no
 * state of the reference. */
void world_make_ops(struct world *w, uint64_t seed);

#endif
