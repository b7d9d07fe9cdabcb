/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls for asynchronous direct access. */
#include "api/check.h"
#include "base/mapped.h"

int lh_queue_new(struct lh_fs *fs, unsigned depth, struct lh_queue **out)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	*out = NULL;
	if (depth < 1 || depth > API_DEPTH_MAX)
		return fail(-EINVAL, "%s: depth %u is not 1 to %u", __func__, depth, API_DEPTH_MAX);
	return (int)api_result(fs_be(fs)->queue_new(fs, depth, out), __func__, NULL);
}

void lh_queue_free(struct lh_queue *q)
{
	if (q)
		queue_be(q)->queue_free(q);
}

static int check_op(const struct lh_queue *q, const struct lh_lease *lease, const void *buf, size_t len, uint64_t off,
		    const char *call)
{
	int err = api_queue(q, call);

	if (!err)
		err = api_given(lease, "lease", call);
	if (!err)
		err = api_span(buf, len, off, -ERANGE, call);
	if (unlikely(err))
		return err;
	if (unlikely(file_fs(lease_file(lease)) != queue_fs(q)))
		return fail(-EXDEV, "%s: the lease and the queue belong to different filesystems", call);
	if (unlikely(len == 0))
		return fail(-EINVAL, "%s: nothing to move: the length is 0", call);
	/* The operation may go on behind the call, with locks held: there is no place for a copy. */
	if (unlikely(mapped_overlaps(buf, len)))
		return fail(-EFAULT, "%s: the buffer is in a mapping of lh_map; use lh_lease_read or lh_lease_write",
			    call);
	return 0;
}

int lh_queue_read(struct lh_queue *q, struct lh_lease *lease, void *buf, size_t len, uint64_t off, void *cookie)
{
	int err = check_op(q, lease, buf, len, off, __func__);

	if (unlikely(err))
		return err;
	return (int)api_result(queue_be(q)->queue_read(q, lease, buf, len, off, cookie), __func__, NULL);
}

int lh_queue_write(struct lh_queue *q, struct lh_lease *lease, const void *buf, size_t len, uint64_t off, void *cookie)
{
	int err = check_op(q, lease, buf, len, off, __func__);

	if (unlikely(err))
		return err;
	return (int)api_result(queue_be(q)->queue_write(q, lease, buf, len, off, cookie), __func__, NULL);
}

int lh_queue_wait(struct lh_queue *q, unsigned min, struct lh_completion *out, unsigned max)
{
	int err = api_queue(q, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (unlikely(err))
		return err;
	if (max == 0 || min > max)
		return fail(-EINVAL, "%s: min %u and max %u: max is at least 1 and not below min", __func__, min, max);
	return (int)api_result(queue_be(q)->queue_wait(q, min, out, max), __func__, NULL);
}
