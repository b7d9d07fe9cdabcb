/* SPDX-License-Identifier: BSD-2-Clause */
/* Permissions of the reference, and the operations that look at attributes or change them. */
#include <errno.h>

#include "base/crc.h"
#include "oracle_internal.h"

/* --- permissions -----------------------------------------------------------------------------------------------------
 */

bool oracle_in_group(const struct fs_cred *c, uint32_t gid)
{
	for (uint32_t k = 0; k < c->group_count; k++)
		if (c->groups[k] == gid)
			return true;
	return c->gid == gid;
}

int oracle_may(const struct onode *n, const struct fs_cred *c, unsigned want)
{
	unsigned have = n->mode;

	if (c->uid == 0)
		return (want & MAY_X) && !S_ISDIR(n->mode) && !(n->mode & 0111) ? -EACCES : 0;
	if (c->uid == n->uid)
		have >>= 6;
	else if (oracle_in_group(c, n->gid))
		have >>= 3;
	return want & ~have ? -EACCES : 0;
}

/* --- attributes ------------------------------------------------------------------------------------------------------
 */

int64_t attr_set_node(struct onode *n, const struct fs_cred *c, const struct fsop *op)
{
	bool owner = c->uid == 0 || c->uid == n->uid;
	uint32_t mode = op->mode & 07777;

	if ((op->flags & FS_SET_UID) && c->uid && (!owner || op->uid != n->uid))
		return -EPERM;
	if ((op->flags & FS_SET_GID) && c->uid && (!owner || (op->gid != n->gid && !oracle_in_group(c, op->gid))))
		return -EPERM;
	if ((op->flags & FS_SET_MODE) && !owner)
		return -EPERM;
	if (op->flags & FS_SET_UID)
		n->uid = op->uid;
	if (op->flags & FS_SET_GID)
		n->gid = op->gid;
	if ((op->flags & (FS_SET_UID | FS_SET_GID)) && !S_ISDIR(n->mode)) {
		n->mode &= ~(uint32_t)S_ISUID;
		if (n->mode & S_IXGRP)
			n->mode &= ~(uint32_t)S_ISGID;
	}
	if (op->flags & FS_SET_MODE) {
		if (c->uid && !oracle_in_group(c, n->gid))
			mode &= ~(uint32_t)S_ISGID;
		n->mode = (n->mode & S_IFMT) | mode;
	}
	return 0;
}

int64_t attr_set(struct oracle *o, const struct fsop *op)
{
	unsigned node;
	int err = oracle_find(o, &fsop_caller[op->who].cred, fsop_path[op->a], false, &node);

	if (err)
		return err;
	if ((op->flags & FS_SET_MODE) && S_ISLNK(o->node[node].mode))
		return -EOPNOTSUPP;
	return attr_set_node(&o->node[node], &fsop_caller[op->who].cred, op);
}

static uint32_t stat_crc(const struct onode *n)
{
	uint64_t v[6] = {n->mode, n->nlink, n->uid, n->gid, S_ISDIR(n->mode) ? 0 : n->size, n->rdev};

	return crc32c(0, v, sizeof(v));
}

int64_t attr_stat(struct oracle *o, const struct fsop *op, uint32_t *crc)
{
	unsigned node;
	int err = oracle_find(o, &fsop_caller[op->who].cred, fsop_path[op->a], op->flags, &node);

	if (!err)
		*crc = stat_crc(&o->node[node]);
	return err;
}

int64_t attr_readlink(struct oracle *o, const struct fsop *op, uint32_t *crc)
{
	const char *target;
	unsigned node;
	int err = oracle_find(o, &fsop_caller[op->who].cred, fsop_path[op->a], false, &node);

	if (err)
		return err;
	target = o->node[node].target;
	if (!target)
		return -EINVAL;
	*crc = crc32c(0, target, strlen(target));
	return (int64_t)strlen(target);
}

/* The sum does not depend on the order. */
int64_t attr_readdir(struct oracle *o, const struct fsop *op, uint32_t *crc)
{
	const struct onode *n = &o->node[o->h[op->h].node];

	if (!S_ISDIR(n->mode))
		return -ENOTDIR;
	for (unsigned i = 0; i < n->entries; i++)
		*crc += crc32c(o->node[n->entry[i].node].mode >> 12, n->entry[i].name, strlen(n->entry[i].name));
	return n->entries;
}
