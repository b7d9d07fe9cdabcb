/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls by path, and directories. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

struct lh_dir {
	struct lh_dir_head head;
	uint64_t handle;
	uint64_t cookie; /* of the last entry that was returned */
	bool filled, end;
	bool stat;   /* the answer below has attributes */
	uint32_t at; /* in the answer below */
	struct call call;
};

void client_stat_of(const struct proto_attr *a, struct lh_stat *out)
{
	out->mode = a->mode;
	out->ino = a->ino;
	out->nlink = a->nlink;
	out->uid = a->uid;
	out->gid = a->gid;
	out->reserved = 0;
	out->size = a->size;
	out->blocks = a->blocks;
	out->atime_ns = a->atime_ns;
	out->mtime_ns = a->mtime_ns;
	out->ctime_ns = a->ctime_ns;
	out->btime_ns = a->btime_ns;
	out->rdev = a->rdev;
	out->flags = a->flags;
	out->tree = a->tree;
}

int client_path_stat(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out)
{
	union proto_body body = {.path_stat = {.follow = follow, .path = proto_str_of(path)}};
	struct call call;
	int err;

	call_init(&call);
	err = client_call_as(fs, &call, PROTO_PATH_STAT, 0, &body, USES_NAME);
	if (!err)
		client_stat_of(&call.reply.attr, out);
	call_fini(&call);
	return err;
}

int client_path_mkdir(struct lh_fs *fs, const char *path, uint32_t mode)
{
	union proto_body body = {.path_mode = {.mode = mode, .path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_MKDIR, client_flags(fs), &body, USES_NAME | USES_ATTR | USES_MODE);
}

int client_path_rmdir(struct lh_fs *fs, const char *path)
{
	union proto_body body = {.path = {.path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_RMDIR, client_flags(fs), &body, USES_NAME);
}

int client_path_unlink(struct lh_fs *fs, const char *path)
{
	union proto_body body = {.path = {.path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_UNLINK, client_flags(fs), &body, USES_NAME);
}

int client_path_rename(struct lh_fs *fs, const char *from, const char *to, unsigned flags)
{
	union proto_body body = {.rename = {.flags = flags, .from = proto_str_of(from), .to = proto_str_of(to)}};

	return client_do_as(fs, PROTO_PATH_RENAME, client_flags(fs), &body, USES_TWO);
}

int client_path_link(struct lh_fs *fs, const char *from, const char *to)
{
	union proto_body body = {.two_paths = {.from = proto_str_of(from), .to = proto_str_of(to)}};

	return client_do_as(fs, PROTO_PATH_LINK, client_flags(fs), &body, USES_TWO | USES_ATTR);
}

int client_path_symlink(struct lh_fs *fs, const char *target, const char *path)
{
	union proto_body body = {.two_paths = {.from = proto_str_of(target), .to = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_SYMLINK, client_flags(fs), &body, USES_NAME | USES_ATTR);
}

ssize_t client_path_readlink(struct lh_fs *fs, const char *path, char *buf, size_t size)
{
	union proto_body body = {.path = {.path = proto_str_of(path)}};
	struct call call;
	ssize_t n;

	call_init(&call);
	n = client_call_as(fs, &call, PROTO_PATH_READLINK, 0, &body, USES_NAME);
	if (!n && call.reply.target.target.len > size) {
		n = fail(-ERANGE, "%s: its target has %u bytes, the buffer %zu", path, call.reply.target.target.len,
			 size);
	} else if (!n) {
		n = (ssize_t)call.reply.target.target.len;
		memcpy(buf, call.reply.target.target.bytes, (size_t)n);
	}
	call_fini(&call);
	return n;
}

int client_path_chmod(struct lh_fs *fs, const char *path, uint32_t mode)
{
	union proto_body body = {.path_mode = {.mode = mode, .path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_CHMOD, client_flags(fs), &body, USES_NAME | USES_ATTR);
}

int client_path_chown(struct lh_fs *fs, const char *path, bool follow, uint32_t uid, uint32_t gid)
{
	union proto_body body = {.chown = {.uid = uid, .gid = gid, .follow = follow, .path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_CHOWN, client_flags(fs), &body, USES_NAME | USES_ATTR);
}

int client_path_set_times(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns)
{
	union proto_body body = {
	    .set_times = {.atime_ns = atime_ns, .mtime_ns = mtime_ns, .follow = follow, .path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_SET_TIMES, client_flags(fs), &body, USES_NAME | USES_ATTR);
}

int client_path_mknod(struct lh_fs *fs, const char *path, uint32_t mode, uint64_t rdev)
{
	union proto_body body = {.mknod = {.mode = mode, .rdev = rdev, .path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_PATH_MKNOD, client_flags(fs), &body, USES_NAME | USES_ATTR | USES_MODE);
}

/* --- extended attributes --- */

/* GET and LIST. */
static ssize_t xattr_get(struct lh_fs *fs, unsigned type, const union proto_body *body, void *value, size_t size)
{
	const struct proto_xattr *got;
	struct call call;
	ssize_t n;

	call_init(&call);
	n = client_call_as(fs, &call, type, 0, body, USES_NAME);
	got = &call.reply.xattr;
	if (!n && size && (got->value.len != got->length || got->length > size))
		n = fail(-EPROTO, "the server sent another number of bytes than it said, or than were asked for");
	if (!n && size && got->length)
		memcpy(value, got->value.bytes, got->length);
	if (!n)
		n = (ssize_t)got->length;
	call_fini(&call);
	return n;
}

ssize_t client_path_getxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, void *value,
			     size_t size)
{
	union proto_body body = {.xattr_get = {.follow = follow,
					       .room = (uint32_t)min_u64(size, PROTO_VALUE_MAX),
					       .path = proto_str_of(path),
					       .name = proto_str_of(name)}};

	return xattr_get(fs, PROTO_PATH_GETXATTR, &body, value, size);
}

int client_path_setxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, const void *value,
			 size_t size, unsigned flags)
{
	union proto_body body = {.xattr_set = {.follow = follow,
					       .flags = flags,
					       .path = proto_str_of(path),
					       .name = proto_str_of(name),
					       .value = {.bytes = value, .len = (uint32_t)size}}};

	return client_do_as(fs, PROTO_PATH_SETXATTR, client_flags(fs), &body, USES_NAME);
}

ssize_t client_path_listxattr(struct lh_fs *fs, const char *path, bool follow, char *names, size_t size)
{
	union proto_body body = {.xattr_get = {.follow = follow,
					       .room = (uint32_t)min_u64(size, PROTO_VALUE_MAX),
					       .path = proto_str_of(path)}};

	return xattr_get(fs, PROTO_PATH_LISTXATTR, &body, names, size);
}

int client_path_removexattr(struct lh_fs *fs, const char *path, bool follow, const char *name)
{
	union proto_body body = {
	    .xattr_get = {.follow = follow, .path = proto_str_of(path), .name = proto_str_of(name)}};

	return client_do_as(fs, PROTO_PATH_REMOVEXATTR, client_flags(fs), &body, USES_NAME);
}

/* --- directories --- */

int client_dir_open(struct lh_fs *fs, const char *path, struct lh_dir **out)
{
	union proto_body body = {.path = {.path = proto_str_of(path)}};
	struct lh_dir *dir = calloc(1, sizeof(*dir));
	struct call call;
	int err;

	if (!dir)
		return -ENOMEM;
	call_init(&call);
	err = client_call_as(fs, &call, PROTO_DIR_OPEN, client_flags(fs), &body, USES_NAME);
	if (!err)
		dir->handle = call.reply.opened.handle;
	call_fini(&call);
	if (err) {
		free(dir);
		return err;
	}
	dir->head.be = &client_backend;
	dir->head.fs = fs;
	atomic_fetch_add(&fs->handles, 1);
	*out = dir;
	return 0;
}

static void dir_drop(struct lh_dir *dir)
{
	if (dir->filled)
		call_fini(&dir->call);
	dir->filled = dir->end = false;
	dir->at = 0;
}

/* A batch of entries behind the last one, with attributes or not. */
static int dir_fill(struct lh_dir *dir, bool stat)
{
	union proto_body body = {.dir_read = {.handle = dir->handle, .cookie = dir->cookie, .max = PROTO_DIRENTS_MAX}};
	const struct proto_list *got = stat ? &dir->call.reply.listed.entries : &dir->call.reply.dirents.entries;
	int err;

	dir_drop(dir);
	call_init(&dir->call);
	dir->filled = true;
	dir->stat = stat;
	if (stat)
		err = client_call_as(dir->head.fs, &dir->call, PROTO_DIR_LIST, 0, &body, USES_WHO);
	else
		err = conn_call(dir->head.fs->conn, &dir->call, PROTO_DIR_READ, 0, &body);
	if (err) {
		dir_drop(dir);
		return err;
	}
	dir->end = stat ? dir->call.reply.listed.end : dir->call.reply.dirents.end;
	if (got->count == 0 && !dir->end)
		return fail(-EPROTO, "readdir: the server sent no entry, and not the end");
	return 0;
}

/* The next entry of the batch; false: it is used up, or of the other kind. */
static bool batch_next(struct lh_dir *dir, bool stat, struct proto_listed_entry *out)
{
	struct proto_dirent e;

	if (!dir->filled || dir->stat != stat)
		return false;
	if (stat)
		return proto_listed_entry_next(&dir->call.reply.listed.entries, &dir->at, out);
	if (!proto_dirent_next(&dir->call.reply.dirents.entries, &dir->at, &e))
		return false;
	*out = (struct proto_listed_entry){.ino = e.ino, .cookie = e.cookie, .type = e.type, .name = e.name};
	return true;
}

static int next(struct lh_dir *dir, bool stat, struct lh_dirent *out, struct proto_listed_entry *e)
{
	int err;

	while (!batch_next(dir, stat, e)) {
		if (dir->filled && dir->stat == stat && dir->end)
			return 0;
		err = dir_fill(dir, stat);
		if (err)
			return err;
	}
	dir->cookie = e->cookie;
	out->ino = e->ino;
	out->cookie = e->cookie;
	out->type = e->type;
	if (!proto_str_copy(e->name, out->name, sizeof(out->name)))
		return fail(-EPROTO, "readdir: a name is too long");
	return 1;
}

int client_dir_next(struct lh_dir *dir, struct lh_dirent *out)
{
	struct proto_listed_entry e;

	return next(dir, false, out, &e);
}

int client_dir_next_stat(struct lh_dir *dir, struct lh_dirent *out, struct lh_stat *st)
{
	struct proto_listed_entry e;
	int n;

	if (!(atomic_load(&dir->head.fs->features) & PROTO_FEATURE_AS))
		return fail(-EOPNOTSUPP, "%s: this server does not list attributes; update it",
			    dir->head.fs->address.text);
	n = next(dir, true, out, &e);
	if (n == 1)
		client_stat_of(&e.attr, st);
	return n;
}

void client_dir_seek(struct lh_dir *dir, uint64_t cookie)
{
	dir_drop(dir);
	dir->cookie = cookie;
}

void client_dir_close(struct lh_dir *dir)
{
	struct lh_fs *fs = dir->head.fs;
	union proto_body body = {.handle = {.handle = dir->handle}};

	dir_drop(dir);
	conn_do(fs->conn, PROTO_DIR_CLOSE, 0, &body);
	free(dir);
	atomic_fetch_sub(&fs->handles, 1);
}
