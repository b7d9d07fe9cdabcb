/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of fs/ share: a mounted filesystem in a memfd, short calls, callers, and sessions that write down
 * recalls. */
#ifndef LH_TESTS_FSRIG_H
#define LH_TESTS_FSRIG_H

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "fs/fs.h"

/* Last: it has a macro called fail. */
#include <cmocka.h>

#define BLK       ((uint64_t)LH_BLOCK_SIZE)
#define MIB       ((uint64_t)1 << 20)
#define NOTES_MAX 64

struct rig {
	struct pool *pool;
	struct fs *fs;
	struct fs_mount_options mount;
	struct fs_caller root, user, other; /* uid 0, 1000, 1001 */
};

/* 64 MiB, no checkpoint thread. */
int rig_setup(void **state);
/* Unmounts; fs_verify must be clean. */
int rig_teardown(void **state);
int rig_new(struct rig *r, uint64_t size);
/* The same over a pool that becomes the rig's. */
int rig_new_in(struct rig *r, struct pool *pool);
void rig_free(struct rig *r);
/* Unmount and mount, or (crash) abandon and mount. */
void rig_remount(struct rig *r, bool crash);
/* fs_verify has nothing to say. */
void rig_check(struct rig *r);

/* Each asserts success, as root. */
struct fs_handle *rig_open(struct rig *r, const char *path, int flags);
void rig_write(struct rig *r, struct fs_handle *h, const void *buf, size_t len, uint64_t off);
/* Writes len bytes of value c. */
void rig_fill(struct rig *r, struct fs_handle *h, int c, size_t len, uint64_t off);
/* Asserts that the bytes all have the value. */
void rig_expect(struct rig *r, struct fs_handle *h, int c, size_t len, uint64_t off);
uint64_t rig_size(struct fs_handle *h);
/* A file with len bytes of c. */
void rig_file(struct rig *r, const char *path, int c, size_t len);
uint64_t rig_free_blocks(struct rig *r);

/* A pin that remembers its runs, by file block; the device reaches what is in them. */
#define PIN_RUNS_MAX 1024
struct fake_pin {
	struct fs_run runs[PIN_RUNS_MAX];
	unsigned count, places, drains;
	_Atomic unsigned gone;
	struct range last_drain;
	struct fs *fs;
	struct fs_pin pin;
};
void pin_init(struct fake_pin *p, struct rig *r);
/* The memory for a file offset, or NULL when the pin does not reach it. */
uint8_t *pin_at(struct fake_pin *p, uint64_t file_off);

struct holder {
	struct rig *rig;
	struct lease_session *session;
	struct fs_caller who;
	struct fs_handle *h;
	struct fake_pin pin;
	struct fs_lease lease;
	_Atomic unsigned recalls, revokes;
	struct lease_recall last;
	struct lease_recall queue[NOTES_MAX]; /* of the recalls, by number */
	bool release;                         /* at once when recalled, by another thread */
	pthread_t thread;
	_Atomic bool stop;
};
/* A session of uid 0 with an open handle on the path, read and write. */
void holder_open(struct holder *o, struct rig *r, const char *path, bool release);
int holder_try(struct holder *o, enum lease_mode mode, uint64_t off, uint64_t len);
void holder_get(struct holder *o, enum lease_mode mode, uint64_t off, uint64_t len);
void holder_close(struct holder *o);

#endif
