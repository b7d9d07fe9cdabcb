/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every public call does before and after the backend: forget this thread's last sentence, refuse arguments that
 * cannot be right, and leave a sentence for every failure, also when the backend had none.
 */
#ifndef LH_API_CHECK_H
#define LH_API_CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/backend.h"
#include "base/error.h"
#include "base/types.h"

#define API_PATH_MAX  4096u
#define API_NAME_MAX  255u
#define API_VALUE_MAX 65536u /* of an extended attribute */
#define API_DEPTH_MAX 256u
#define API_POOL_MIN  ((uint64_t)16 << 20) /* bytes */
#define API_POOL_MAX  ((uint64_t)16 << 40)
/* What lh_stat had when it was first published. */
#define API_STAT_MIN offsetof(struct lh_stat, rdev)
/* Deadlines and timeouts over a year are a unit mistaken for another. */
#define API_NS_MAX (366ull * 24 * 3600 * 1000000000ull)

/* Returns result; when it is an error without a sentence, makes one of the call's name, its object and the errno. */
int64_t api_result(int64_t result, const char *call, const char *object);

/* Each begins the call (forgets the last sentence) and is 0 or -EINVAL. */
int api_fs(const struct lh_fs *fs, const char *call);
int api_file(const struct lh_file *file, const char *call);
int api_dir(const struct lh_dir *dir, const char *call);
int api_lease(const struct lh_lease *lease, const char *call);
int api_queue(const struct lh_queue *q, const char *call);

/* -EINVAL NULL, -ENOENT empty, -ENAMETOOLONG. */
int api_path(const char *path, const char *call);
/* -EINVAL when p is NULL. */
int api_given(const void *p, const char *name, const char *call);
/* An extended attribute's: -EINVAL NULL, -ERANGE empty or over 255 bytes. */
int api_attribute(const char *name, const char *call);
/* Permission bits only. */
int api_mode(uint32_t mode, const char *call);
/* A buffer and where it goes in a file; -EINVAL, or far_error when off + len is not a file offset. */
int api_span(const void *buf, size_t len, uint64_t off, int far_error, const char *call);

/*
 * Growable structs. in: copies the first known bytes of src (whose first member is its size) to dst; NULL src leaves
 * zeroes. -EINVAL when src is smaller than known, -E2BIG when it carries something that this version does not know.
 */
int api_take(void *dst, size_t known, const void *src, const char *what);
/* out, for a struct that has grown since a release: its least size instead of known; api_give fills what it has room
 * for. */
void api_give(void *dst, const void *src, size_t known);
/* out: 0 when the caller's struct holds at least known bytes. */
int api_room(const void *p, size_t known, const char *what, const char *call);

static inline const struct lh_backend *fs_be(const struct lh_fs *fs)
{
	return ((const struct lh_fs_head *)fs)->be;
}
static inline const struct lh_backend *file_be(const struct lh_file *file)
{
	return ((const struct lh_file_head *)file)->be;
}
static inline struct lh_fs *file_fs(const struct lh_file *file)
{
	return ((const struct lh_file_head *)file)->fs;
}
static inline const struct lh_backend *dir_be(const struct lh_dir *dir)
{
	return ((const struct lh_dir_head *)dir)->be;
}
static inline const struct lh_backend *lease_be(const struct lh_lease *lease)
{
	return ((const struct lh_lease_head *)lease)->be;
}
static inline struct lh_file *lease_file(const struct lh_lease *lease)
{
	return ((const struct lh_lease_head *)lease)->file;
}
static inline const struct lh_backend *queue_be(const struct lh_queue *q)
{
	return ((const struct lh_queue_head *)q)->be;
}
static inline struct lh_fs *queue_fs(const struct lh_queue *q)
{
	return ((const struct lh_queue_head *)q)->fs;
}

#endif
