/* SPDX-License-Identifier: BSD-2-Clause */
/* Extended attributes, ACLs among them, and the mount's own: which server is behind it. */
#include "fuse/mount.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ACL_ACCESS "system.posix_acl_access"

/* Attributes that every inode of a mount has, and no listing shows. */
static const char *own_value(const struct mount *m, const char *name, char buf[16])
{
	if (strcmp(name, MOUNT_ATTR_ADDRESS) == 0)
		return m->address; /* "": nothing serves the pool */
	if (strcmp(name, MOUNT_ATTR_PID) != 0)
		return NULL;
	snprintf(buf, 16, "%d", (int)getpid());
	return buf;
}

static void reply_value(struct call *c, const char *value, ssize_t n, size_t size)
{
	if (n >= 0 && size && (size_t)n > size)
		n = -ERANGE;
	if (n < 0) {
		call_reply(c, n);
		return;
	}
	call_end(c);
	if (size)
		fuse_reply_buf(c->req, value, (size_t)n);
	else
		fuse_reply_xattr(c->req, (size_t)n);
}

/* The filesystem's, so that who opens the address knows that it is the same one. */
static void reply_uuid(struct call *c, size_t size)
{
	struct lh_statfs st = {.size = sizeof(st)};
	int err;

	do
		err = lh_fs_stat(c->fs, &st);
	while (call_again(c, err));
	reply_value(c, (const char *)st.uuid, err ? err : (ssize_t)sizeof(st.uuid), size);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	char text[16], *buf = NULL;
	const char *own;
	struct call c;
	ssize_t n;

	call_begin(&c, req, ino);
	own = own_value(c.m, name, text);
	if (own) {
		reply_value(&c, own, (ssize_t)strlen(own), size);
		return;
	}
	if (strcmp(name, MOUNT_ATTR_UUID) == 0) {
		reply_uuid(&c, size);
		return;
	}
	if (size)
		buf = thread_room(size);
	do
		n = size && !buf ? -ENOMEM : lh_path_getxattr(c.fs, "", false, name, buf, size);
	while (call_again(&c, n));
	reply_value(&c, buf, n, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char *buf = NULL;
	struct call c;
	ssize_t n;

	call_begin(&c, req, ino);
	if (size)
		buf = thread_room(size);
	do
		n = size && !buf ? -ENOMEM : lh_path_listxattr(c.fs, "", false, buf, size);
	while (call_again(&c, n));
	reply_value(&c, buf, n, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	gid_t groups[CALL_GROUPS_MAX];
	struct call c;
	int err;

	call_begin(&c, req, ino);
	/* Setting an ACL takes set-group-id off where the caller is not in the group: the kernel does not say whether.
	 */
	if (strcmp(name, ACL_ACCESS) == 0)
		call_as_itself(&c, groups);
	do
		err = lh_path_setxattr(c.fs, "", false, name, value, size, (unsigned)flags);
	while (call_again(&c, err));
	call_reply(&c, err);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct call c;
	int err;

	call_begin(&c, req, ino);
	do
		err = lh_path_removexattr(c.fs, "", false, name);
	while (call_again(&c, err));
	call_reply(&c, err);
}

void xattr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
}
