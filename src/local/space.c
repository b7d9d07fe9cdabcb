/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots, limits, resizing and evacuating: the fs's calls in the public header's types. What only an administrator
 * may do is decided here, by the one rule of src/api (root, or the owner of the root directory); the fs is then asked
 * as root, with the session that the caller's own leases belong to.
 */
#include "local/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int who_administers(struct lh_fs *fs, const char *call, struct fs_caller *out)
{
	const struct fs_caller super = {0};
	struct fs_attr attr;
	int err;

	*out = *local_who(fs);
	if (cred_is_super(&out->cred))
		return 0;
	err = fs_stat(fs->fs, &super, "/", true, &attr);
	if (err)
		return err;
	if (attr.uid != out->cred.uid)
		return fail(-EPERM, "%s: only root and the owner of the filesystem's root directory may", call);
	out->cred = super.cred;
	return 0;
}

int local_fs_act(struct lh_fs *fs)
{
	struct fs_caller who;
	int err = who_administers(fs, "acting for others", &who);

	if (!err)
		atomic_store(&fs->acts, true);
	return err;
}

int local_fs_snapshot(struct lh_fs *fs, const char *from, const char *to, unsigned flags)
{
	return fs_snapshot(fs->fs, local_who(fs), from, to, (flags & LH_SNAPSHOT_READ_ONLY) != 0);
}

int local_fs_snapshot_delete(struct lh_fs *fs, const char *path)
{
	return fs_snapshot_delete(fs->fs, local_who(fs), path);
}

struct snapshots {
	void (*each)(void *ctx, const struct lh_snapshot_info *info);
	void *ctx;
	int count;
	struct lh_snapshot_info info;
};

static void snapshot_show(void *ctx, const struct fs_snapshot_info *in)
{
	struct snapshots *s = ctx;

	s->count++;
	s->info.size = sizeof(s->info);
	s->info.read_only = in->read_only;
	s->info.ino = in->ino;
	s->info.inodes = in->inodes;
	s->info.blocks = in->blocks;
	s->info.created_ns = in->created_ns;
	snprintf(s->info.path, sizeof(s->info.path), "%s", in->path != NULL ? in->path : "");
	s->each(s->ctx, &s->info);
}

int local_fs_snapshots(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx)
{
	struct snapshots s = {.each = each, .ctx = ctx};
	int err;

	err = fs_snapshots(fs->fs, snapshot_show, &s);
	return err < 0 ? err : s.count;
}

/* --- limits --- */

static_assert((int)LH_LIMIT_UID == FS_LIMIT_UID && (int)LH_LIMIT_TREE == FS_LIMIT_TREE, "same numbers");

static_assert((int)LH_LIMIT_PINS == FS_LIMIT_PINS && (int)LH_LIMIT_PINS_POOL == FS_LIMIT_PINS_POOL, "same numbers");

/* Their bytes are bytes. */
static bool of_pins(uint32_t kind)
{
	return kind >= LH_LIMIT_PINS && kind <= LH_LIMIT_PINS_POOL;
}

static struct fs_limit limit_in(const struct lh_limit *in)
{
	if (of_pins(in->kind))
		return (struct fs_limit){
		    .kind = (enum fs_limit_kind)in->kind, .id = in->id, .blocks = in->bytes, .inodes = in->inodes};
	return (struct fs_limit){.kind = (enum fs_limit_kind)in->kind,
				 .id = in->id,
				 .blocks = in->bytes / LH_BLOCK_SIZE + (in->bytes % LH_BLOCK_SIZE != 0),
				 .inodes = in->inodes};
}

static uint64_t bytes_of(uint64_t blocks)
{
	return blocks > UINT64_MAX / LH_BLOCK_SIZE ? UINT64_MAX : blocks * LH_BLOCK_SIZE;
}

static void limit_out(const struct fs_limit *in, struct lh_limit *out)
{
	out->kind = in->kind;
	out->id = in->id;
	out->reserved = 0;
	out->ino = in->ino;
	out->bytes = of_pins(in->kind) ? in->blocks : bytes_of(in->blocks);
	out->inodes = in->inodes;
	out->bytes_used = of_pins(in->kind) ? in->blocks_used : bytes_of(in->blocks_used);
	out->inodes_used = in->inodes_used;
}

int local_fs_limit_set(struct lh_fs *fs, const char *tree, struct lh_limit *limit)
{
	struct fs_limit l = limit_in(limit);
	struct fs_caller who;
	int err;

	err = who_administers(fs, "limit", &who);
	if (!err)
		err = fs_limit_set(fs->fs, &who, tree, &l);
	if (!err)
		limit_out(&l, limit);
	return err;
}

int local_fs_limit_clear(struct lh_fs *fs, struct lh_limit *limit)
{
	struct fs_limit l = limit_in(limit);
	struct fs_caller who;
	int err;

	err = who_administers(fs, "limit", &who);
	return err ? err : fs_limit_clear(fs->fs, &who, &l);
}

int local_fs_limit_get(struct lh_fs *fs, const char *tree, struct lh_limit *limit)
{
	struct fs_limit l = limit_in(limit);
	int err;

	err = fs_limit_get(fs->fs, local_who(fs), tree, &l);
	if (!err)
		limit_out(&l, limit);
	return err;
}

struct limits {
	void (*each)(void *ctx, const struct lh_limit *limit);
	void *ctx;
	int count;
};

static void limit_show(void *ctx, const struct fs_limit *in)
{
	struct limits *l = ctx;
	struct lh_limit out = {.size = sizeof(out)};

	l->count++;
	limit_out(in, &out);
	l->each(l->ctx, &out);
}

int local_fs_limits(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_limit *limit), void *ctx)
{
	struct limits l = {.each = each, .ctx = ctx};
	int err;

	err = fs_limits(fs->fs, limit_show, &l);
	return err < 0 ? err : l.count;
}

/* --- space --- */

int local_fs_resize(struct lh_fs *fs, uint64_t bytes, lh_progress progress, void *ctx)
{
	struct fs_caller who;
	int err;

	err = who_administers(fs, "resize", &who);
	return err ? err : fs_resize(fs->fs, &who, bytes, progress, ctx);
}

struct losses {
	void (*each)(void *ctx, const struct lh_loss *loss);
	void *ctx;
	struct lh_loss loss;
};

static void loss_show(void *ctx, const struct fs_loss *in)
{
	struct losses *l = ctx;

	if (l->each == NULL)
		return;
	l->loss.size = sizeof(l->loss);
	l->loss.ino = in->ino;
	l->loss.off = in->off;
	l->loss.len = in->len;
	snprintf(l->loss.path, sizeof(l->loss.path), "%s", in->path != NULL ? in->path : "");
	l->each(l->ctx, &l->loss);
}

int local_fs_evacuate(struct lh_fs *fs, uint64_t off, uint64_t len, void (*each)(void *ctx, const struct lh_loss *loss),
		      void *ctx)
{
	struct losses l = {.each = each, .ctx = ctx};
	struct fs_caller who;
	int err;

	err = who_administers(fs, "evacuate", &who);
	return err ? err : fs_evacuate(fs->fs, &who, off, len, loss_show, &l);
}
