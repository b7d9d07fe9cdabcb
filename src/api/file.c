/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on open files. */
#include "api/bounce.h"
#include "api/check.h"
#include "api/mounted.h"
#include "base/mapped.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <unistd.h>

/* O_CLOEXEC says nothing about a handle of ours and does no harm; open(2)'s callers add it by habit. */
#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC)

static int check_flags(int flags, const char *call)
{
	/* It has O_DIRECTORY's bit in it, which alone is for lh_dir_open. */
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		if ((flags & O_ACCMODE) == O_RDONLY)
			return fail(-EINVAL, "%s: O_TMPFILE wants O_WRONLY or O_RDWR", call);
		flags &= ~O_TMPFILE;
	}
	if (flags & ~OPEN_FLAGS)
		return fail(-EINVAL, "%s: flags %#x: unknown bits %#x", call, flags, flags & ~OPEN_FLAGS);
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return fail(-EINVAL, "%s: flags %#x: one of O_RDONLY, O_WRONLY, O_RDWR", call, flags);
	return 0;
}

int lh_file_open(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	*out = NULL;
	err = api_path(path, __func__);
	if (!err)
		err = check_flags(flags, __func__);
	if (!err)
		err = api_mode(mode, __func__);
	if (err)
		return err;
	err = (int)api_result(fs_be(fs)->file_open(fs, path, flags & ~O_CLOEXEC, mode, out), __func__, path);
	if (!err)
		((struct lh_file_head *)*out)->mounted = NULL;
	return err;
}

int lh_file_close(struct lh_file *file)
{
	struct mounted_session *mounted;
	int err;

	fail_clear();
	if (!file)
		return 0;
	mounted = ((struct lh_file_head *)file)->mounted;
	/* The parent's, over a fork(): its connection must not hear of it. */
	if (mounted && !mounted_is_ours(mounted))
		return 0;
	mapped_closing(file);
	err = (int)api_result(file_be(file)->file_close(file), __func__, NULL);
	return mounted ? mounted_drop(mounted, err) : err;
}

struct lh_fs *lh_file_fs(struct lh_file *file)
{
	return file ? file_fs(file) : NULL;
}

int lh_file_stat(struct lh_file *file, struct lh_stat *out)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = api_file(file, __func__);

	if (!err)
		err = api_room(out, API_STAT_MIN, "lh_stat", __func__);
	if (err)
		return err;
	err = file_be(file)->file_stat(file, &st);
	if (!err)
		api_give(out, &st, sizeof(st));
	return (int)api_result(err, __func__, NULL);
}

ssize_t lh_file_read(struct lh_file *file, void *buf, size_t len, uint64_t off)
{
	int err = api_file(file, __func__);

	if (!err)
		err = api_span(buf, len, off, -EINVAL, __func__);
	if (err)
		return err;
	if (unlikely(mapped_overlaps(buf, len)))
		return (ssize_t)api_result(bounce_read(file_be(file)->file_read, file, buf, len, off), __func__, NULL);
	return (ssize_t)api_result(file_be(file)->file_read(file, buf, len, off), __func__, NULL);
}

ssize_t lh_file_write(struct lh_file *file, const void *buf, size_t len, uint64_t off)
{
	int err = api_file(file, __func__);

	if (!err)
		err = api_span(buf, len, off, -EFBIG, __func__);
	if (err)
		return err;
	if (unlikely(mapped_overlaps(buf, len)))
		return (ssize_t)api_result(bounce_write(file_be(file)->file_write, file, buf, len, off), __func__,
					   NULL);
	return (ssize_t)api_result(file_be(file)->file_write(file, buf, len, off), __func__, NULL);
}

int lh_file_truncate(struct lh_file *file, uint64_t size)
{
	int err = api_file(file, __func__);

	if (!err)
		err = api_span("", 0, size, -EFBIG, __func__);
	if (err)
		return err;
	return (int)api_result(file_be(file)->file_truncate(file, size), __func__, NULL);
}

/* Ranges of calls that work on layouts: not empty, inside the largest file. */
static int check_range(uint64_t off, uint64_t len, const char *call)
{
	if (len == 0)
		return fail(-EINVAL, "%s: the range is empty", call);
	if (off > INT64_MAX || len > INT64_MAX - off)
		return fail(-EFBIG, "%s: the range reaches past the largest file", call);
	return 0;
}

int lh_file_punch(struct lh_file *file, uint64_t off, uint64_t len)
{
	int err = api_file(file, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err)
		return err;
	return (int)api_result(
	    file_be(file)->file_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len), __func__, NULL);
}

int lh_file_allocate(struct lh_file *file, uint64_t off, uint64_t len, bool keep_size)
{
	int err = api_file(file, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err)
		return err;
	return (int)api_result(file_be(file)->file_fallocate(file, keep_size ? FALLOC_FL_KEEP_SIZE : 0, off, len),
			       __func__, NULL);
}

int lh_file_fallocate(struct lh_file *file, int mode, uint64_t off, uint64_t len)
{
	int err = api_file(file, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err)
		return err;
	return (int)api_result(file_be(file)->file_fallocate(file, mode, off, len), __func__, NULL);
}

int lh_file_sync(struct lh_file *file)
{
	int err = api_file(file, __func__);

	if (err)
		return err;
	return (int)api_result(file_be(file)->file_sync(file), __func__, NULL);
}

/* Two files of one filesystem, and ranges inside the largest file. */
static int begin_two(const struct lh_file *a, uint64_t a_off, const struct lh_file *b, uint64_t b_off, uint64_t len,
		     const char *call)
{
	int err = api_file(a, call);

	if (!err)
		err = api_given(b, "the other file", call);
	if (err)
		return err;
	if (file_fs(a) != file_fs(b))
		return fail(-EXDEV, "%s: the files belong to different filesystems; copy instead", call);
	if (a_off > INT64_MAX || b_off > INT64_MAX || len > INT64_MAX - a_off || len > INT64_MAX - b_off)
		return fail(-EFBIG, "%s: the range reaches past the largest file", call);
	return 0;
}

int lh_file_clone_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len)
{
	int err = begin_two(dst, dst_off, src, src_off, len, __func__);

	if (err)
		return err;
	if (dst_off % LH_BLOCK_SIZE || src_off % LH_BLOCK_SIZE || len % LH_BLOCK_SIZE)
		return fail(-EINVAL, "%s: offsets and length must be multiples of %u", __func__, LH_BLOCK_SIZE);
	return (int)api_result(file_be(dst)->file_clone_range(dst, dst_off, src, src_off, len), __func__, NULL);
}

int lh_file_dedupe_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len)
{
	int err = begin_two(dst, dst_off, src, src_off, len, __func__);

	if (err)
		return err;
	return (int)api_result(file_be(dst)->file_dedupe_range(dst, dst_off, src, src_off, len), __func__, NULL);
}

int lh_file_exchange_range(struct lh_file *a, uint64_t a_off, struct lh_file *b, uint64_t b_off, uint64_t len)
{
	int err = begin_two(a, a_off, b, b_off, len, __func__);

	if (err)
		return err;
	return (int)api_result(file_be(a)->file_exchange_range(a, a_off, b, b_off, len), __func__, NULL);
}

ssize_t lh_file_copy_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, size_t len)
{
	int err = api_file(dst, __func__);

	/* As copy_file_range(2): a length over the end of everything is cut, not refused. */
	if (!err && src_off <= INT64_MAX && dst_off <= INT64_MAX)
		len = min_u64(len, (uint64_t)INT64_MAX - max_u64(src_off, dst_off));
	if (!err)
		err = begin_two(dst, dst_off, src, src_off, len, __func__);
	if (err || len == 0)
		return err;
	return (ssize_t)api_result(file_be(dst)->file_copy_range(dst, dst_off, src, src_off, len), __func__, NULL);
}

int64_t lh_file_seek(struct lh_file *file, uint64_t off, int whence)
{
	int err = api_file(file, __func__);

	if (err)
		return err;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return fail(-EINVAL, "%s: whence %d is neither SEEK_DATA nor SEEK_HOLE", __func__, whence);
	if (off > INT64_MAX)
		return fail(-ENXIO, "%s: %llu is behind the end of every file", __func__, (unsigned long long)off);
	return api_result(file_be(file)->file_seek(file, off, whence), __func__, NULL);
}

int lh_file_link(struct lh_file *file, const char *to)
{
	int err = api_file(file, __func__);

	if (!err)
		err = api_path(to, __func__);
	if (err)
		return err;
	return (int)api_result(file_be(file)->file_link(file, to), __func__, to);
}

static int set(struct lh_file *file, const struct api_setattr *what, const char *call)
{
	return (int)api_result(file_be(file)->file_setattr(file, what), call, NULL);
}

int lh_file_chmod(struct lh_file *file, uint32_t mode)
{
	struct api_setattr what = {.mask = API_SET_MODE, .mode = mode};
	int err = api_file(file, __func__);

	if (!err)
		err = api_mode(mode, __func__);
	return err ? err : set(file, &what, __func__);
}

int lh_file_chown(struct lh_file *file, uint32_t uid, uint32_t gid)
{
	struct api_setattr what = {.uid = uid, .gid = gid};
	int err = api_file(file, __func__);

	what.mask = (uid != UINT32_MAX ? API_SET_UID : 0) | (gid != UINT32_MAX ? API_SET_GID : 0);
	return err ? err : set(file, &what, __func__);
}

int lh_file_set_times(struct lh_file *file, int64_t atime_ns, int64_t mtime_ns)
{
	struct api_setattr what = {.atime_ns = atime_ns, .mtime_ns = mtime_ns};
	int err = api_file(file, __func__);

	what.mask = (atime_ns != INT64_MAX ? API_SET_ATIME : 0) | (mtime_ns != INT64_MAX ? API_SET_MTIME : 0);
	return err ? err : set(file, &what, __func__);
}

int lh_file_defragment(struct lh_file *file, uint64_t extents[2])
{
	uint64_t unwanted[2];
	int err = api_file(file, __func__);

	if (err)
		return err;
	return (int)api_result(file_be(file)->file_defragment(file, extents ? extents : unwanted), __func__, NULL);
}

int64_t lh_file_relocate(struct lh_file *file, uint64_t off, uint64_t len)
{
	int err = api_file(file, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err)
		return err;
	return api_result(file_be(file)->file_relocate(file, off, len), __func__, NULL);
}

int lh_file_extents(struct lh_file *file, uint64_t off, uint64_t len, struct lh_extent *out, unsigned max)
{
	int err = api_file(file, __func__);

	if (!err && max)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	if (max == 0 || len == 0)
		return 0;
	return (int)api_result(file_be(file)->file_extents(file, off, len, out, max), __func__, NULL);
}
