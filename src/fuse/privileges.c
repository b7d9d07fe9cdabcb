/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Set-user-id, set-group-id and file capabilities go when somebody writes. The kernel would ask for the capabilities
 * before every write, which costs as much as the write; it leaves all that to us when we say so
 * (FUSE_HANDLE_KILLPRIV_V2, which libfuse 3.14 does not know: loop.c puts it into the answer to INIT). What the kernel
 * still decides is whether the program may keep the bits (CAP_FSETID): it says so in flags of the request that libfuse
 * does not show.
 */
#include "fuse/mount.h"

#include <sys/stat.h>

#define CAPABILITIES "security.capability"

/* Where requests have what, <linux/fuse.h>. */
#define WRITE_FLAGS        60u
#define WRITE_KILL_SETID   (1u << 2)
#define SETATTR_VALID      40u
#define SETATTR_KILL_SETID (1u << 11)
#define OPEN_FLAGS         44u
#define OPEN_KILL_SETID    (1u << 0)

static int setid_drop(struct call *c)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	uint32_t mode;
	int err = lh_path_stat(c->fs, "", false, &st);

	if (err)
		return err;
	mode = st.mode & ~(uint32_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(uint32_t)S_ISGID;
	if (mode == st.mode)
		return 0;
	err = lh_path_chmod(c->fs, "", mode & 07777);
	/* The kernel asks again after a write, but not for the mode alone. */
	(void)fuse_lowlevel_notify_inval_inode(c->m->se, st.ino, -1, 0);
	return err;
}

static int drop(struct call *c, bool setid)
{
	ssize_t n = lh_path_getxattr(c->fs, "", false, CAPABILITIES, NULL, 0);
	int err = 0;

	if (n >= 0)
		err = lh_path_removexattr(c->fs, "", false, CAPABILITIES);
	if (!err && setid)
		err = setid_drop(c);
	return err;
}

int privileges_at_write(struct call *c)
{
	return c->m->drops_privileges ? drop(c, loop_request_word(WRITE_FLAGS) & WRITE_KILL_SETID) : 0;
}

int privileges_at_truncate(struct call *c)
{
	return c->m->drops_privileges ? drop(c, loop_request_word(SETATTR_VALID) & SETATTR_KILL_SETID) : 0;
}

int privileges_at_open(struct call *c)
{
	return c->m->drops_privileges ? drop(c, loop_request_word(OPEN_FLAGS) & OPEN_KILL_SETID) : 0;
}
