/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on leases: direct access, commit, and the view behind it. lh_lease_read and _write are hot: checks are
 * branches. */
#include "api/bounce.h"
#include "api/check.h"
#include "base/mapped.h"

#define LEASE_MODES (LH_LEASE_READ | LH_LEASE_WRITE)
#define LEASE_FLAGS                                                                                                    \
	(LEASE_MODES | LH_LEASE_NOWAIT | LH_LEASE_MANUAL | LH_LEASE_NOW | LH_LEASE_EXCLUSIVE | LH_LEASE_FAULTING)

/* Without a mode it is READ. */
static int check_options(struct lh_lease_options *o, const char *call)
{
	uint32_t mode = o->flags & LEASE_MODES;

	if (o->flags & ~LEASE_FLAGS)
		return fail(-EINVAL, "%s: flags %#x: unknown bits", call, o->flags);
	if (mode == LEASE_MODES)
		return fail(-EINVAL, "%s: LH_LEASE_READ and LH_LEASE_WRITE at once; get one lease for each", call);
	if (mode == 0)
		o->flags |= LH_LEASE_READ;
	if (o->max_age_ns > API_NS_MAX)
		return fail(-EINVAL, "%s: the age is longer than a year; it is in nanoseconds", call);
	if (o->deadline_ns > API_NS_MAX)
		return fail(-EINVAL, "%s: the deadline is longer than a year; it is in nanoseconds", call);
	return 0;
}

int lh_lease_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
		 struct lh_lease **out)
{
	struct lh_lease_options o;
	int err = api_file(file, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	*out = NULL;
	err = api_take(&o, sizeof(o), opt, "lh_lease_options");
	if (!err)
		err = check_options(&o, __func__);
	if (err)
		return err;
	if (len == 0)
		return fail(-EINVAL, "%s: the range is empty", __func__);
	if (off > INT64_MAX || len > INT64_MAX - off)
		return fail(-EINVAL, "%s: the range reaches past the largest file", __func__);
	return (int)api_result(file_be(file)->lease_get(file, off, len, &o, out), __func__, NULL);
}

int lh_lease_release(struct lh_lease *lease)
{
	fail_clear();
	if (!lease)
		return 0;
	return (int)api_result(lease_be(lease)->lease_release(lease), __func__, NULL);
}

ssize_t lh_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off)
{
	int err = api_lease(lease, __func__);

	if (!err)
		err = api_span(buf, len, off, -EINVAL, __func__);
	if (unlikely(err))
		return err;
	if (unlikely(mapped_overlaps(buf, len)))
		return (ssize_t)api_result(bounce_lease_read(lease, buf, len, off), __func__, NULL);
	return (ssize_t)api_result(lease_be(lease)->lease_read(lease, buf, len, off), __func__, NULL);
}

ssize_t lh_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off)
{
	int err = api_lease(lease, __func__);

	if (!err)
		err = api_span(buf, len, off, -EFBIG, __func__);
	if (unlikely(err))
		return err;
	if (unlikely(mapped_overlaps(buf, len)))
		return (ssize_t)api_result(bounce_lease_write(lease, buf, len, off), __func__, NULL);
	return (ssize_t)api_result(lease_be(lease)->lease_write(lease, buf, len, off), __func__, NULL);
}

int lh_lease_commit(struct lh_lease *lease, uint64_t off, uint64_t len)
{
	int err = api_lease(lease, __func__);

	if (err)
		return err;
	if (off > INT64_MAX || len > INT64_MAX - off)
		return fail(-EINVAL, "%s: the range reaches past the largest file", __func__);
	if (len == 0)
		return 0;
	return (int)api_result(lease_be(lease)->lease_commit(lease, off, len), __func__, NULL);
}

int lh_lease_state(struct lh_lease *lease, struct lh_lease_state *out)
{
	int err = api_lease(lease, __func__);

	if (!err)
		err = api_room(out, sizeof(*out), "lh_lease_state", __func__);
	if (err)
		return err;
	return (int)api_result(lease_be(lease)->lease_state(lease, out), __func__, NULL);
}

int lh_lease_extents(struct lh_lease *lease, struct lh_lease_extent *out, unsigned max)
{
	int err = api_lease(lease, __func__);

	if (!err && max)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	return (int)api_result(lease_be(lease)->lease_extents(lease, out, max), __func__, NULL);
}

ssize_t lh_raw_read(struct lh_fs *fs, uint64_t key, uint64_t key_off, void *buf, size_t len)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_span(buf, len, 0, -EINVAL, __func__);
	if (unlikely(err))
		return err;
	if (unlikely(mapped_overlaps(buf, len)))
		return fail(-EFAULT, "%s: the buffer is in a mapping of lh_map", __func__);
	return (ssize_t)api_result(fs_be(fs)->raw_read(fs, key, key_off, buf, len), __func__, NULL);
}

ssize_t lh_raw_write(struct lh_fs *fs, uint64_t key, uint64_t key_off, const void *buf, size_t len)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_span(buf, len, 0, -EINVAL, __func__);
	if (unlikely(err))
		return err;
	if (unlikely(mapped_overlaps(buf, len)))
		return fail(-EFAULT, "%s: the buffer is in a mapping of lh_map", __func__);
	return (ssize_t)api_result(fs_be(fs)->raw_write(fs, key, key_off, buf, len), __func__, NULL);
}

void *lh_buffer_get(struct lh_fs *fs, size_t len)
{
	if (api_fs(fs, __func__) || len == 0)
		return NULL;
	return fs_be(fs)->buffer_get(fs, len);
}

void lh_buffer_put(struct lh_fs *fs, void *buf)
{
	if (fs && buf)
		fs_be(fs)->buffer_put(fs, buf);
}

int lh_event_fd(struct lh_fs *fs)
{
	int err = api_fs(fs, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->event_fd(fs), __func__, NULL);
}

int lh_event_next(struct lh_fs *fs, struct lh_event *out)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_room(out, sizeof(*out), "lh_event", __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->event_next(fs, out), __func__, NULL);
}
