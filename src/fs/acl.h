/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * POSIX ACLs as acl(5) has them, kept as values of system.posix_acl_access and system.posix_acl_default in the kernel's
 * binary form, version 2, on the medium, in memory and at the call: nothing is translated on the way.
 */
#ifndef LH_FS_ACL_H
#define LH_FS_ACL_H

#include "fs/core.h"
#include "fs/xattr.h"

#define ACL_ACCESS_NAME  "system.posix_acl_access"
#define ACL_DEFAULT_NAME "system.posix_acl_default"

/* NULL, or what is wrong with it: entries in order, each once, a mask where one is needed. */
const char *acl_check(const void *value, uint32_t size);
/*
 * What a caller gives, in place, in two steps, because the kernel asks between them who he is. First the form: -EINVAL;
 * -EOPNOTSUPP: another version. *entries: 0 when it has none (then it stands for "no ACL").
 */
int acl_canonical(void *value, uint32_t size, uint32_t *entries);
/* Then the sense, -EINVAL; and named entries come into ascending order. */
int acl_accept(void *value, uint32_t size);
/* The permission bits of a mode that an access ACL stands for. *minimal: it says nothing more than they do. */
uint32_t acl_mode(const void *value, uint32_t size, bool *minimal);
/* The ACL follows a chmod: owner, other, and the mask or else the owning group. In place. */
void acl_set_mode(void *value, uint32_t size, uint32_t mode);
/* 0 or -EACCES for somebody who is neither the superuser nor the owner. */
int acl_permits(const struct xattr *acl, const struct inode_attr *a, const struct fs_cred *c, unsigned want);
/*
 * Under INODE of dir: what a new inode of this mode gets from the directory's default ACL; its mode becomes less by it.
 * Without one the umask is taken off. -ENOMEM.
 */
int acl_inherit(const struct inode *dir, struct inode *child, uint32_t umask);
/* NULL, or the rule of docs/format.md that an inode's ACLs break when all is applied. */
const char *acl_rule(const struct inode *i);

#endif
