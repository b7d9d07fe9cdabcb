/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls whose implementation is under way: each says so. The file goes when the last one has moved out. */
#include <errno.h>

#include "base/error.h"
#include "fs/fs.h"

#define TODO fail(-EOPNOTSUPP, "%s: not there yet", __func__)

int fs_resize(struct fs *fs, const struct fs_caller *who, uint64_t bytes,
	      void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
	return TODO;
}
int fs_evacuate(struct fs *fs, const struct fs_caller *who, uint64_t off, uint64_t len,
		void (*each)(void *ctx, const struct fs_loss *loss), void *ctx)
{
	return TODO;
}
int fs_defragment(struct fs_handle *h, const struct fs_caller *who, uint64_t *before, uint64_t *after)
{
	return TODO;
}
