/* SPDX-License-Identifier: BSD-2-Clause */
/* The sentences for what callers get wrong. */
#include "api/check.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "base/caller.h"

int64_t api_result(int64_t result, const char *call, const char *object)
{
	if (likely(result >= 0) || fail_text()[0] != '\0')
		return result;
	if (object)
		fail((int)result, "%s %s: %s", call, object, strerror((int)-result));
	else
		fail((int)result, "%s: %s", call, strerror((int)-result));
	return result;
}

static int handle(const void *h, const char *what, const char *call)
{
	fail_clear();
	if (likely(h != NULL))
		return 0;
	return fail(-EINVAL, "%s: the %s is NULL", call, what);
}

int api_fs(const struct lh_fs *fs, const char *call)
{
	return handle(fs, "filesystem", call);
}

int api_file(const struct lh_file *file, const char *call)
{
	return handle(file, "file", call);
}

int api_dir(const struct lh_dir *dir, const char *call)
{
	return handle(dir, "directory", call);
}

int api_lease(const struct lh_lease *lease, const char *call)
{
	return handle(lease, "lease", call);
}

int api_queue(const struct lh_queue *q, const char *call)
{
	return handle(q, "queue", call);
}

int api_path(const char *path, const char *call)
{
	if (!path)
		return fail(-EINVAL, "%s: the path is NULL", call);
	if (path[0] == '\0' && !(thread_caller && (thread_caller->at[0] || thread_caller->at[1])))
		return fail(-ENOENT, "%s: the path is empty; \"/\" is the root directory", call);
	if (strnlen(path, API_PATH_MAX + 1) > API_PATH_MAX)
		return fail(-ENAMETOOLONG, "%s: the path is longer than %u bytes", call, API_PATH_MAX);
	return 0;
}

int api_given(const void *p, const char *name, const char *call)
{
	if (likely(p != NULL))
		return 0;
	return fail(-EINVAL, "%s: %s is NULL", call, name);
}

int api_attribute(const char *name, const char *call)
{
	if (!name)
		return fail(-EINVAL, "%s: the attribute's name is NULL", call);
	if (name[0] == '\0' || strnlen(name, API_NAME_MAX + 1) > API_NAME_MAX)
		return fail(-ERANGE, "%s: the name of an attribute has 1 to %u bytes", call, API_NAME_MAX);
	return 0;
}

int api_mode(uint32_t mode, const char *call)
{
	if ((mode & ~07777u) == 0)
		return 0;
	return fail(-EINVAL, "%s: mode %#o has more than permission bits (07777)", call, mode);
}

int api_span(const void *buf, size_t len, uint64_t off, int far_error, const char *call)
{
	if (unlikely(!buf && len))
		return fail(-EINVAL, "%s: the buffer is NULL", call);
	if (unlikely(len > SSIZE_MAX))
		return fail(-EINVAL, "%s: length %zu does not fit the result", call, len);
	if (unlikely(off > INT64_MAX || len > INT64_MAX - off))
		return fail(far_error, "%s: offset %llu and length %zu reach past the largest file", call,
			    (unsigned long long)off, len);
	return 0;
}

static bool all_zero(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i])
			return false;
	}
	return true;
}

int api_take(void *dst, size_t known, const void *src, const char *what)
{
	uint32_t size;

	memset(dst, 0, known);
	if (!src)
		return 0;
	memcpy(&size, src, sizeof(size));
	if (size < known)
		return fail(-EINVAL, "%s: its first member says %u bytes, at least %zu are needed (set it to sizeof)",
			    what, size, known);
	if (!all_zero((const unsigned char *)src + known, size - known))
		return fail(-E2BIG, "%s: it asks for something that library version " LH_VERSION " does not know",
			    what);
	memcpy(dst, src, known);
	return 0;
}

void api_give(void *dst, const void *src, size_t known)
{
	uint32_t size;

	memcpy(&size, dst, sizeof(size));
	memcpy((char *)dst + sizeof(size), (const char *)src + sizeof(size), min_u64(size, known) - sizeof(size));
}

int api_room(const void *p, size_t known, const char *what, const char *call)
{
	uint32_t size;

	if (!p)
		return fail(-EINVAL, "%s: %s is NULL", call, what);
	memcpy(&size, p, sizeof(size));
	if (size < known)
		return fail(-EINVAL,
			    "%s: the first member of %s says %u bytes, at least %zu are needed (set it to sizeof)",
			    call, what, size, known);
	return 0;
}
