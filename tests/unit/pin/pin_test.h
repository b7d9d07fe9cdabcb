/* SPDX-License-Identifier: BSD-2-Clause */
/* A filesystem by the public calls, and a stranger: a second session of it, whose changes break the first one's leases.
 */
#ifndef LH_TEST_PIN_H
#define LH_TEST_PIN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "api/backend.h"
#include "base/busguard.h"
#include "base/clock.h"
#include "base/types.h"
#include "fs/fs.h"

#define BLOCK 4096u

#define ok(call)                                                                                                       \
	do {                                                                                                           \
		int64_t result_ = (int64_t)(call);                                                                     \
		if (result_ != 0)                                                                                      \
			fail_msg("%s: %lld: %s", #call, (long long)result_, lh_error_text());                          \
	} while (0)
/* The error, and a sentence for people with it. */
#define refused(err, call)                                                                                             \
	do {                                                                                                           \
		int64_t result_ = (int64_t)(call);                                                                     \
		if (result_ != (err))                                                                                  \
			fail_msg("%s: %lld instead of %d: %s", #call, (long long)result_, (err), lh_error_text());     \
		assert_true(lh_error_text()[0] != '\0');                                                               \
	} while (0)

static inline struct lh_fs *mem_open(void)
{
	struct lh_fs *fs;

	ok(lh_fs_open("mem:64M", NULL, &fs));
	return fs;
}

static inline struct lh_file *file_make(struct lh_fs *fs, const char *path)
{
	struct lh_file *file;

	ok(lh_file_open(fs, path, O_RDWR | O_CREAT, 0644, &file));
	return file;
}

/* Bytes that tell their place. */
static inline uint8_t byte_of(uint64_t off, uint8_t version)
{
	return (uint8_t)(off / BLOCK * 7 + off + version * 131u);
}

static inline void write_pattern(struct lh_file *file, uint64_t off, size_t len, uint8_t version)
{
	uint8_t *buf = malloc(len);

	for (size_t i = 0; i < len; i++)
		buf[i] = byte_of(off + i, version);
	assert_int_equal(lh_file_write(file, buf, len, off), len);
	free(buf);
}

static inline bool is_pattern(const volatile uint8_t *p, uint64_t off, size_t len, uint8_t version)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != byte_of(off + i, version))
			return false;
	}
	return true;
}

/* Somebody else with the same filesystem. */
struct stranger {
	struct lease_session *session;
	struct fs_caller who;
	struct fs_handle *handle;
	struct fs *fs;
};

static inline void stranger_recall(void *ctx, const struct lease_recall *r)
{
	(void)ctx;
	(void)r;
}

static const struct lease_session_ops stranger_ops = {.recall = stranger_recall, .revoked = stranger_recall};

static inline void stranger_open(struct stranger *s, struct lh_fs *fs, const char *path)
{
	struct lease_identity id = {.uid = 0};

	*s = (struct stranger){.fs = local_fs(fs)};
	ok(lease_session_open(fs_arbiter(s->fs), &stranger_ops, s, &id, &s->session));
	s->who.session = s->session;
	ok(fs_open(s->fs, &s->who, path, O_RDWR, 0, &s->handle));
}

static inline void stranger_close(struct stranger *s)
{
	fs_close(s->handle, s->session, 1);
	lease_session_close(s->session);
}

#endif
