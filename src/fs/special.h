/* SPDX-License-Identifier: BSD-2-Clause */
/* Files without a name. */
#ifndef LH_FS_SPECIAL_H
#define LH_FS_SPECIAL_H

#include "fs/core.h"

/* Flags of fs_open with O_TMPFILE. 0 or -EINVAL. */
int tmpfile_flags_check(int flags);
/* A counted file without a name, in the directory of the path. */
int tmpfile_make(struct fs *fs, const struct fs_caller *who, const char *path, int flags, uint32_t mode,
		 struct inode **out);

#endif
