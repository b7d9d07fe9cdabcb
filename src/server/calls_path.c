/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on names, and directories. */
#include "server/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/error.h"

/* As everywhere on the wire: UINT32_MAX, INT64_MAX leave a value as it is. */
#define ID_UNCHANGED   UINT32_MAX
#define TIME_UNCHANGED INT64_MAX

static struct fs *fs_of(const struct call *c)
{
	return c->session->server->fs;
}

void call_attr(struct proto_attr *out, const struct fs_attr *in)
{
	*out = (struct proto_attr){.ino = in->ino,
				   .mode = in->mode,
				   .nlink = in->nlink,
				   .uid = in->uid,
				   .gid = in->gid,
				   .size = in->size,
				   .blocks = in->blocks,
				   .atime_ns = in->atime_ns,
				   .mtime_ns = in->mtime_ns,
				   .ctime_ns = in->ctime_ns,
				   .btime_ns = in->btime_ns,
				   .rdev = in->rdev,
				   .flags = in->flags,
				   .tree = in->tree};
}

int call_path_stat(struct call *c)
{
	struct fs_attr attr;
	int err = fs_stat(fs_of(c), &c->who, call_path(c, 0, c->in->path_stat.path), c->in->path_stat.follow, &attr);

	if (!err)
		call_attr(&c->out.attr, &attr);
	return err;
}

int call_path_mkdir(struct call *c)
{
	return fs_mkdir(fs_of(c), &c->who, call_path(c, 0, c->in->path_mode.path), c->in->path_mode.mode);
}

int call_path_rmdir(struct call *c)
{
	return fs_rmdir(fs_of(c), &c->who, call_path(c, 0, c->in->path.path));
}

int call_path_unlink(struct call *c)
{
	return fs_unlink(fs_of(c), &c->who, call_path(c, 0, c->in->path.path));
}

int call_path_rename(struct call *c)
{
	const struct proto_rename *in = &c->in->rename;
	unsigned flags = (in->flags & LH_RENAME_NOREPLACE ? RENAME_NOREPLACE : 0) |
			 (in->flags & LH_RENAME_EXCHANGE ? RENAME_EXCHANGE : 0);

	return fs_rename(fs_of(c), &c->who, call_path(c, 0, in->from), call_path(c, 1, in->to), flags);
}

int call_path_link(struct call *c)
{
	const struct proto_two_paths *in = &c->in->two_paths;

	return fs_link(fs_of(c), &c->who, call_path(c, 0, in->from), call_path(c, 1, in->to));
}

int call_path_symlink(struct call *c)
{
	const struct proto_two_paths *in = &c->in->two_paths;

	return fs_symlink(fs_of(c), &c->who, call_path(c, 0, in->from), call_path(c, 1, in->to));
}

int call_path_readlink(struct call *c)
{
	const char *path = call_path(c, 0, c->in->path.path);
	ssize_t n = fs_readlink(fs_of(c), &c->who, path, c->path[1], PROTO_PATH_MAX);

	if (n < 0)
		return (int)n;
	c->out.target.target = (struct proto_str){.bytes = c->path[1], .len = (uint32_t)n};
	return 0;
}

int call_path_chmod(struct call *c)
{
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = c->in->path_mode.mode};

	return fs_setattr(fs_of(c), &c->who, call_path(c, 0, c->in->path_mode.path), true, &set);
}

int call_path_chown(struct call *c)
{
	const struct proto_chown *in = &c->in->chown;
	struct fs_setattr set = {.uid = in->uid, .gid = in->gid};

	set.mask = (in->uid != ID_UNCHANGED ? FS_SET_UID : 0) | (in->gid != ID_UNCHANGED ? FS_SET_GID : 0);
	return fs_setattr(fs_of(c), &c->who, call_path(c, 0, in->path), in->follow, &set);
}

int call_path_set_times(struct call *c)
{
	const struct proto_set_times *in = &c->in->set_times;
	struct fs_setattr set = {.atime_ns = in->atime_ns, .mtime_ns = in->mtime_ns};

	set.mask =
	    (in->atime_ns != TIME_UNCHANGED ? FS_SET_ATIME : 0) | (in->mtime_ns != TIME_UNCHANGED ? FS_SET_MTIME : 0);
	return fs_setattr(fs_of(c), &c->who, call_path(c, 0, in->path), in->follow, &set);
}

int call_path_mknod(struct call *c)
{
	const struct proto_mknod *in = &c->in->mknod;

	return fs_mknod(fs_of(c), &c->who, call_path(c, 0, in->path), in->mode, in->rdev);
}

/* --- extended attributes: path[0] is the file's, path[1] the attribute's name --- */

/* Fills out.xattr from the fs's answer; room 0 asks for the length only. value is c->scratch. */
static int xattr_answer(struct call *c, uint32_t room, const void *value, ssize_t n)
{
	if (n < 0)
		return (int)n;
	if (n > PROTO_VALUE_MAX)
		return fail(-E2BIG, "%zd bytes are more than the protocol carries", n);
	c->out.xattr.length = (uint32_t)n;
	if (room)
		c->out.xattr.value = (struct proto_data){.bytes = value, .len = (uint32_t)n};
	return 0;
}

static int xattr_room(struct call *c, uint32_t room)
{
	c->scratch = room ? malloc(room) : NULL;
	return room && !c->scratch ? -ENOMEM : 0;
}

int call_path_getxattr(struct call *c)
{
	const struct proto_xattr_get *in = &c->in->xattr_get;
	int err = xattr_room(c, in->room);

	if (err)
		return err;
	return xattr_answer(c, in->room, c->scratch,
			    fs_xattr_get(fs_of(c), &c->who, call_path(c, 0, in->path), in->follow,
					 call_path(c, 1, in->name), c->scratch, in->room));
}

int call_path_setxattr(struct call *c)
{
	const struct proto_xattr_set *in = &c->in->xattr_set;
	int flags =
	    (in->flags & LH_XATTR_CREATE ? XATTR_CREATE : 0) | (in->flags & LH_XATTR_REPLACE ? XATTR_REPLACE : 0);

	return fs_xattr_set(fs_of(c), &c->who, call_path(c, 0, in->path), in->follow, call_path(c, 1, in->name),
			    in->value.bytes, in->value.len, flags);
}

int call_path_listxattr(struct call *c)
{
	const struct proto_xattr_get *in = &c->in->xattr_get;
	int err = xattr_room(c, in->room);

	if (err)
		return err;
	return xattr_answer(
	    c, in->room, c->scratch,
	    fs_xattr_list(fs_of(c), &c->who, call_path(c, 0, in->path), in->follow, c->scratch, in->room));
}

int call_path_removexattr(struct call *c)
{
	const struct proto_xattr_get *in = &c->in->xattr_get;

	return fs_xattr_remove(fs_of(c), &c->who, call_path(c, 0, in->path), in->follow, call_path(c, 1, in->name));
}

/* --- directories --- */

int call_opened(struct call *c, struct fs_handle *fh)
{
	struct fs_attr attr;
	uint64_t number;
	int err = fs_fstat(fh, &attr);

	if (!err)
		err = handle_add(c->session, fh, &number);
	if (err) {
		fs_close(fh, NULL, 0);
		return err;
	}
	c->out.opened.handle = number;
	call_attr(&c->out.opened.attr, &attr);
	return 0;
}

int call_dir_open(struct call *c)
{
	struct fs_handle *fh;
	int err = fs_open(fs_of(c), &c->who, call_path(c, 0, c->in->path.path), O_RDONLY | O_DIRECTORY, 0, &fh);

	return err ? err : call_opened(c, fh);
}

struct listing {
	struct proto_dirent entries[PROTO_DIRENTS_MAX];
	char names[PROTO_DIRENTS_MAX][PROTO_NAME_MAX];
	unsigned count, max;
	bool more;
};

static bool list_entry(void *ctx, const struct fs_dirent *d)
{
	struct listing *l = ctx;

	if (l->count == l->max) {
		l->more = true;
		return false;
	}
	memcpy(l->names[l->count], d->name, d->name_len);
	l->entries[l->count] = (struct proto_dirent){.ino = d->ino,
						     .cookie = d->cookie,
						     .type = d->type,
						     .name = {.bytes = l->names[l->count], .len = d->name_len}};
	l->count++;
	return true;
}

int call_dir_read(struct call *c)
{
	const struct proto_dir_read *in = &c->in->dir_read;
	struct listing *l = malloc(sizeof(*l));
	struct fs_handle *fh;
	int err;

	c->scratch = l;
	if (!l)
		return -ENOMEM;
	l->count = 0;
	l->max = in->max;
	l->more = false;
	err = handle_get(c->session, in->handle, &fh);
	if (err)
		return err;
	err = fs_readdir(fh, &c->who, in->cookie, list_entry, l);
	handle_put(c->session, in->handle);
	if (err)
		return err;
	c->out.dirents = (struct proto_dirents){.end = !l->more, .entries = {.host = l->entries, .count = l->count}};
	return 0;
}

struct stats {
	struct call *call;
	struct fs_caller any; /* by number, with no more permission to ask for */
	struct proto_listed_entry entries[PROTO_DIRENTS_MAX];
	char names[PROTO_DIRENTS_MAX][PROTO_NAME_MAX];
	unsigned count, max;
	bool more;
};

/* An entry whose inode is gone since is left out. */
static bool stat_entry(void *ctx, const struct fs_dirent *d)
{
	struct stats *l = ctx;
	struct proto_listed_entry *e = &l->entries[l->count];
	struct fs_attr attr;

	if (l->count == l->max) {
		l->more = true;
		return false;
	}
	l->any.at[0] = d->ino;
	if (fs_stat(fs_of(l->call), &l->any, "", false, &attr))
		return true;
	memcpy(l->names[l->count], d->name, d->name_len);
	*e = (struct proto_listed_entry){.ino = d->ino,
					 .cookie = d->cookie,
					 .type = d->type,
					 .name = {.bytes = l->names[l->count], .len = d->name_len}};
	call_attr(&e->attr, &attr);
	call_tell_of(l->call, d->ino);
	l->count++;
	return true;
}

/* Attributes need the right to search, as stat(2) of every name would (P73). */
static int may_search(struct call *c, struct fs_handle *fh)
{
	struct fs_caller who = c->who;
	struct fs_attr attr;
	int err;

	who.at[0] = fs_handle_ino(fh);
	who.attr = NULL;
	err = fs_stat(fs_of(c), &who, ".", false, &attr);
	return err == -EACCES ? fail(err, "the attributes of a directory's entries need permission to search it") : err;
}

int call_dir_list(struct call *c)
{
	const struct proto_dir_read *in = &c->in->dir_read;
	struct stats *l = malloc(sizeof(*l));
	struct fs_handle *fh;
	int err;

	c->scratch = l;
	if (!l)
		return -ENOMEM;
	if (!(c->session->features & PROTO_FEATURE_AS))
		return fail(-EOPNOTSUPP, "DIR_LIST: was not agreed on in HELLO");
	l->call = c;
	l->any = (struct fs_caller){.session = c->who.session};
	l->count = 0;
	l->max = in->max;
	l->more = false;
	err = handle_get(c->session, in->handle, &fh);
	if (err)
		return err;
	err = may_search(c, fh);
	if (!err)
		err = fs_readdir(fh, &c->who, in->cookie, stat_entry, l);
	handle_put(c->session, in->handle);
	if (err)
		return err;
	fail_clear();
	c->out.listed = (struct proto_listed){.end = !l->more, .entries = {.host = l->entries, .count = l->count}};
	return 0;
}
