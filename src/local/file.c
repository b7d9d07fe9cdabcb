/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files. Each has a number of this session, by which the arbiter knows whose its leases are (L24). */
#include "local/local.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/error.h"

int local_file_open(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out)
{
	struct lh_file *file = calloc(1, sizeof(*file));
	struct fs_attr attr;
	int err;

	if (file == NULL)
		return -ENOMEM;
	err = fs_open(fs->fs, local_who(fs), path, flags & ~O_CLOEXEC, mode, &file->handle);
	if (err)
		goto free_file;
	file->head.be = fs->head.be;
	file->head.fs = fs;
	file->fs = fs;
	file->append = (flags & O_APPEND) != 0;
	file->number = atomic_fetch_add(&fs->serial, 1);
	TAILQ_INIT(&file->leases);
	TAILQ_INIT(&file->pins);
	/* O_DIRECTORY is for directories only, and they are opened by lh_dir_open. */
	err = fs_fstat(file->handle, &attr);
	if (!err && !S_ISREG(attr.mode))
		err = fail(-EISDIR, "%s: a directory; use lh_dir_open", path);
	if (err)
		goto close_handle;
	atomic_fetch_add(&fs->open_handles, 1);
	*out = file;
	return local_told(0);

close_handle:
	fs_close(file->handle, fs->session, file->number);
free_file:
	free(file);
	return err;
}

int local_file_close(struct lh_file *file)
{
	struct lh_fs *fs;
	struct lh_lease *lease;

	if (file == NULL)
		return 0;
	fs = file->fs;
	devices_release(file);
	for (;;) {
		lock_take(&fs->table);
		lease = TAILQ_FIRST(&file->leases);
		lock_drop(&fs->table);
		if (lease == NULL)
			break;
		(void)local_lease_release(lease);
	}
	fs_close(file->handle, fs->session, file->number);
	free(file);
	atomic_fetch_sub(&fs->open_handles, 1);
	return 0;
}

int local_file_stat(struct lh_file *file, struct lh_stat *out)
{
	struct fs_attr attr;
	int err;

	err = fs_fstat(file->handle, &attr);
	if (!err)
		local_stat_of(&attr, out);
	return err;
}

ssize_t local_file_read(struct lh_file *file, void *buf, size_t len, uint64_t off)
{
	return fs_read(file->handle, local_who(file->fs), buf, len, off);
}

ssize_t local_file_write(struct lh_file *file, const void *buf, size_t len, uint64_t off)
{
	return fs_write(file->handle, local_who(file->fs), buf, len, off);
}

int local_file_truncate(struct lh_file *file, uint64_t size)
{
	return fs_truncate(file->handle, local_who(file->fs), size);
}

int local_file_fallocate(struct lh_file *file, int mode, uint64_t off, uint64_t len)
{
	return fs_allocate(file->handle, local_who(file->fs), mode, off, len);
}

int local_file_sync(struct lh_file *file)
{
	return fs_sync(file->handle, false);
}

int local_file_clone_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len)
{
	if (dst->fs != src->fs)
		return fail(-EXDEV, "clone: the two files are of different filesystems");
	return fs_clone_range(dst->handle, dst_off, src->handle, src_off, len, local_who(dst->fs));
}

int local_file_dedupe_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len)
{
	return fs_dedupe_range(dst->handle, dst_off, src->handle, src_off, len, local_who(dst->fs));
}

int local_file_exchange_range(struct lh_file *a, uint64_t a_off, struct lh_file *b, uint64_t b_off, uint64_t len)
{
	return fs_exchange_range(a->handle, a_off, b->handle, b_off, len, local_who(a->fs));
}

ssize_t local_file_copy_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, size_t len)
{
	return fs_copy_range(dst->handle, dst_off, src->handle, src_off, len, local_who(dst->fs));
}

int64_t local_file_seek(struct lh_file *file, uint64_t off, int whence)
{
	return fs_seek(file->handle, off, whence);
}

int local_file_link(struct lh_file *file, const char *to)
{
	return local_told(fs_link_handle(file->handle, local_who(file->fs), to));
}

static_assert(API_SET_MODE == FS_SET_MODE && API_SET_UID == FS_SET_UID && API_SET_GID == FS_SET_GID &&
		  API_SET_ATIME == FS_SET_ATIME && API_SET_MTIME == FS_SET_MTIME,
	      "same bits");

int local_file_setattr(struct lh_file *file, const struct api_setattr *in)
{
	struct fs_setattr set = {.mask = in->mask,
				 .mode = in->mode,
				 .uid = in->uid,
				 .gid = in->gid,
				 .atime_ns = in->atime_ns,
				 .mtime_ns = in->mtime_ns};

	return local_told(fs_fsetattr(file->handle, local_who(file->fs), &set));
}

int local_file_defragment(struct lh_file *file, uint64_t extents[2])
{
	return fs_defragment(file->handle, local_who(file->fs), &extents[0], &extents[1]);
}

int64_t local_file_relocate(struct lh_file *file, uint64_t off, uint64_t len)
{
	uint64_t moved = 0;
	int err;

	err = fs_relocate(file->handle, local_who(file->fs), off, len, &moved);
	return err ? err : (int64_t)moved;
}

struct extents {
	struct lh_extent *out;
	unsigned max, n;
};

static bool extent_add(void *ctx, const struct fs_run *run, unsigned flags)
{
	struct extents *e = ctx;
	uint32_t shown = 0;

	if (e->n == e->max)
		return false;
	if (flags & FS_RUN_UNWRITTEN)
		shown |= LH_EXTENT_UNWRITTEN;
	if (flags & FS_RUN_SHARED)
		shown |= LH_EXTENT_SHARED;
	e->out[e->n++] =
	    (struct lh_extent){.file_off = run->file_off, .len = run->len, .pool_off = run->pool_off, .flags = shown};
	return e->n < e->max;
}

int local_file_extents(struct lh_file *file, uint64_t off, uint64_t len, struct lh_extent *out, unsigned max)
{
	struct extents e = {.out = out, .max = max};
	int err;

	err = fs_extents(file->handle, off, len, extent_add, &e);
	return err < 0 ? err : (int)e.n;
}
