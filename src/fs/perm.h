/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may do what: POSIX mode bits, groups, the sticky bit, and the superuser's exceptions. */
#ifndef LH_FS_PERM_H
#define LH_FS_PERM_H

#include "fs/core.h"

#define MAY_EXEC  1u
#define MAY_WRITE 2u
#define MAY_READ  4u

bool cred_in_group(const struct fs_cred *c, uint32_t gid);
/* Under INODE: 0 or -EACCES, by mode and access ACL. want: MAY_* bits, all of them. */
int perm_check(const struct inode *i, const struct fs_cred *c, unsigned want);
/* Under INODE: 0, or -EROFS for an inode that cannot be changed by anybody. */
int inode_changeable(const struct fs *fs, const struct inode *i);
/* Under INODE of both. Whether an entry for `victim` may leave the directory: write and search, and the sticky bit
 * (-EPERM). */
int perm_delete(const struct inode *dir, const struct inode *victim, const struct fs_cred *c);
/* Owner and mode of what is made in a directory. */
void perm_inherit(const struct inode_attr *dir, const struct fs_cred *c, struct inode_attr *child);
/* Set-user-id and set-group-id go when somebody else than root writes. */
uint32_t mode_after_write(const struct inode_attr *a, const struct fs_cred *c);
/* Under INODE: checks, and makes *a what the request wants of the inode's attributes. */
int perm_setattr(const struct inode *i, const struct fs_cred *c, const struct fs_setattr *set, int64_t now,
		 struct inode_attr *a);

#endif
