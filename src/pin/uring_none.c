/* SPDX-License-Identifier: BSD-2-Clause */
/* Built without liburing: every call says so. */
#include <errno.h>

#include "base/error.h"
#include "pin/uring.h"

static int none(void)
{
	return fail(-EOPNOTSUPP, "this library was built without liburing");
}

int lh_uring_new(struct lh_fs *fs, unsigned depth, struct lh_uring **out)
{
	(void)fs;
	(void)depth;
	if (out)
		*out = NULL;
	return none();
}

void lh_uring_free(struct lh_uring *ring)
{
	(void)ring;
}

int lh_uring_register(struct lh_uring *ring, struct lh_file *file, uint64_t off, uint64_t len, uint32_t mode,
		      struct lh_uring_buffer **out)
{
	(void)ring;
	(void)file;
	(void)off;
	(void)len;
	(void)mode;
	(void)out;
	return none();
}

bool lh_uring_fixed(const struct lh_uring_buffer *buf)
{
	(void)buf;
	return false;
}

int lh_uring_unregister(struct lh_uring_buffer *buf)
{
	(void)buf;
	return none();
}

int lh_uring_read(struct lh_uring_buffer *buf, int fd, uint64_t fd_off, uint64_t off, uint32_t len, void *cookie)
{
	(void)buf;
	(void)fd;
	(void)fd_off;
	(void)off;
	(void)len;
	(void)cookie;
	return none();
}

int lh_uring_write(struct lh_uring_buffer *buf, int fd, uint64_t fd_off, uint64_t off, uint32_t len, void *cookie)
{
	return lh_uring_read(buf, fd, fd_off, off, len, cookie);
}

int lh_uring_wait(struct lh_uring *ring, unsigned min, struct lh_completion *out, unsigned max)
{
	(void)ring;
	(void)min;
	(void)out;
	(void)max;
	return none();
}

int lh_uring_commit(struct lh_uring_buffer *buf, uint64_t off, uint64_t len)
{
	(void)buf;
	(void)off;
	(void)len;
	return none();
}
