/* SPDX-License-Identifier: BSD-2-Clause */
/* A filesystem in memory by the public calls, and a second session of it that breaks the first one's leases. */
#ifndef LH_TEST_LOCAL_H
#define LH_TEST_LOCAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "api/backend.h"
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

static inline struct lh_fs *mem_open(uint64_t deadline_ns)
{
	struct lh_open_options opt = {.size = sizeof(opt), .deadline_ns = deadline_ns};
	struct lh_fs *fs;

	ok(lh_fs_open("mem:64M", &opt, &fs));
	return fs;
}

static inline struct lh_file *file_make(struct lh_fs *fs, const char *path)
{
	struct lh_file *file;

	ok(lh_file_open(fs, path, O_RDWR | O_CREAT, 0644, &file));
	return file;
}

/* Bytes that tell their place. */
static inline void fill(uint8_t *buf, size_t len, uint64_t off, uint8_t version)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((off + i) / BLOCK * 7 + (off + i) + version * 131u);
}

static inline void write_pattern(struct lh_file *file, uint64_t off, size_t len, uint8_t version)
{
	uint8_t *buf = malloc(len);

	fill(buf, len, off, version);
	assert_int_equal(lh_file_write(file, buf, len, off), len);
	free(buf);
}

static inline void expect_pattern(const uint8_t *buf, size_t len, uint64_t off, uint8_t version)
{
	uint8_t *want = malloc(len);

	fill(want, len, off, version);
	assert_memory_equal(buf, want, len);
	free(want);
}

static inline struct lh_lease *lease_get(struct lh_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = flags};
	struct lh_lease *lease;

	ok(lh_lease_get(file, off, len, &opt, &lease));
	return lease;
}

static inline struct lh_lease_state state_of(struct lh_lease *lease)
{
	struct lh_lease_state s = {.size = sizeof(s)};

	ok(lh_lease_state(lease, &s));
	return s;
}

/* --- somebody else: a session of its own in the same filesystem, as a server's client is --- */

struct other {
	struct fs *fs;
	struct lease_session *session;
	struct fs_caller who;
	struct fs_handle *handle;
};

static inline void other_recall(void *ctx, const struct lease_recall *r)
{
	(void)ctx;
	(void)r;
}

static inline void other_open(struct other *o, struct lh_fs *fs, const char *path)
{
	static const struct lease_session_ops ops = {.recall = other_recall, .revoked = other_recall};
	struct lease_identity id = {.uid = 4242, .pid = 1, .host = "elsewhere"};

	*o = (struct other){.fs = local_fs(fs)};
	ok(lease_session_open(fs_arbiter(o->fs), &ops, o, &id, &o->session));
	o->who.session = o->session;
	ok(fs_open(o->fs, &o->who, path, O_RDWR, 0, &o->handle));
}

static inline void other_close(struct other *o)
{
	fs_close(o->handle, o->session, 1);
	lease_session_close(o->session);
}

static inline bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

#endif
