/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of a mount: what is behind a descriptor (mounted_path.c), and the sessions that files opened that way share
 * (mounted.c).
 */
#ifndef LH_API_MOUNTED_H
#define LH_API_MOUNTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "api/check.h"

/* What the mount answers getxattr(2) with, on every inode, for whoever may stat it. Neither is listed. */
#define MOUNTED_ADDRESS "system.leasehold.address" /* what lh_fs_open takes; empty: nothing serves the pool */
#define MOUNTED_UUID    "system.leasehold.uuid"    /* lh_statfs.uuid, 16 bytes; a mount may leave it out */

#define MOUNTED_ADDRESS_MAX sizeof(((struct lh_mounted *)0)->address)
#define MOUNTED_PATH_MAX    sizeof(((struct lh_mounted *)0)->path)

struct mounted_place {
	char address[MOUNTED_ADDRESS_MAX];
	uint8_t uuid[16];
	bool uuid_known;
};

/*
 * Which server is behind fd, of any kind, O_PATH too. -EBADF; -ENOTTY: not in a mount of Leasehold; -EOPNOTSUPP:
 * nothing serves the pool behind it; -EPROTO: the mount says something that is no address; others: of getxattr(2).
 */
int mounted_place(int fd, struct mounted_place *out);
/*
 * The path inside the filesystem that fd's file had when it was last looked up. -ENOENT: it has none any more, or
 * none that this process can see.
 */
int mounted_path(int fd, char *out, size_t size);
/*
 * The part of mounted_path that thinks: the mount `id` of this table, in the form of /proc/self/mountinfo, shows `seen`
 * (an absolute path of this process); which path of the filesystem is that? -ENOENT: no such mount, or seen is not
 * below it; -ENAMETOOLONG.
 */
int mounted_inside(FILE *mountinfo, uint64_t id, const char *seen, char *out, size_t size);

/* A session that files of mounts share, in lh_file_head. */
struct mounted_session;
/* Whether this process opened it; after fork() the child's copies of the parent's files are dead. */
bool mounted_is_ours(const struct mounted_session *s);
/* One file less; with the last one the session is closed. err is what closing the file said: an error of it is
 * returned before the session's own, with its sentence. */
int mounted_drop(struct mounted_session *s, int err);

#endif
