/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on open files. */
#include "api/check.h"

#include <fcntl.h>

/* O_CLOEXEC says nothing about a handle of ours and does no harm; open(2)'s callers add it by habit. */
#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC)

static int check_flags(int flags, const char *call)
{
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
	return (int)api_result(fs_be(fs)->file_open(fs, path, flags & ~O_CLOEXEC, mode, out), __func__, path);
}

int lh_file_close(struct lh_file *file)
{
	fail_clear();
	if (!file)
		return 0;
	return (int)api_result(file_be(file)->file_close(file), __func__, NULL);
}

int lh_file_stat(struct lh_file *file, struct lh_stat *out)
{
	int err = api_file(file, __func__);

	if (!err)
		err = api_room(out, sizeof(*out), "lh_stat", __func__);
	if (err)
		return err;
	return (int)api_result(file_be(file)->file_stat(file, out), __func__, NULL);
}

ssize_t lh_file_read(struct lh_file *file, void *buf, size_t len, uint64_t off)
{
	int err = api_file(file, __func__);

	if (!err)
		err = api_span(buf, len, off, -EINVAL, __func__);
	if (err)
		return err;
	return (ssize_t)api_result(file_be(file)->file_read(file, buf, len, off), __func__, NULL);
}

ssize_t lh_file_write(struct lh_file *file, const void *buf, size_t len, uint64_t off)
{
	int err = api_file(file, __func__);

	if (!err)
		err = api_span(buf, len, off, -EFBIG, __func__);
	if (err)
		return err;
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
	return (int)api_result(file_be(file)->file_punch(file, off, len), __func__, NULL);
}

int lh_file_allocate(struct lh_file *file, uint64_t off, uint64_t len, bool keep_size)
{
	int err = api_file(file, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err)
		return err;
	return (int)api_result(file_be(file)->file_allocate(file, off, len, keep_size), __func__, NULL);
}

int lh_file_sync(struct lh_file *file)
{
	int err = api_file(file, __func__);

	if (err)
		return err;
	return (int)api_result(file_be(file)->file_sync(file), __func__, NULL);
}

int lh_file_clone_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len)
{
	int err = api_file(dst, __func__);

	if (!err)
		err = api_given(src, "src", __func__);
	if (err)
		return err;
	if (file_fs(dst) != file_fs(src))
		return fail(-EXDEV, "%s: the files belong to different filesystems; copy instead", __func__);
	if (dst_off % LH_BLOCK_SIZE || src_off % LH_BLOCK_SIZE || len % LH_BLOCK_SIZE)
		return fail(-EINVAL, "%s: offsets and length must be multiples of %u", __func__, LH_BLOCK_SIZE);
	if (dst_off > INT64_MAX || src_off > INT64_MAX || len > INT64_MAX - dst_off || len > INT64_MAX - src_off)
		return fail(-EFBIG, "%s: the range reaches past the largest file", __func__);
	return (int)api_result(file_be(dst)->file_clone_range(dst, dst_off, src, src_off, len), __func__, NULL);
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
