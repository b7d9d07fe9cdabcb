/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Crash cases of whole filesystem operations (L38). A case is a preparation and a list of operations. The oracle is a
 * text that describes the whole tree (names, types, links, sizes, contents), taken after the preparation and after each
 * operation in a run without crashes. After every crash the pool mounts unaided, fs_verify is silent, and the tree is
 * as after the operations that had returned, or with the one under way whole (POOL_MSYNC: as at or after the last
 * sync).
 */
#ifndef LH_CRASH_FS_H
#define LH_CRASH_FS_H

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "crash_runner.h"
#include "fs/fs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define FSCRASH_OPS_MAX 8

struct fscrash {
	const char *name;
	int (*prepare)(struct fs *fs);
	int (*op[FSCRASH_OPS_MAX + 1])(struct fs *fs);
	/* A file whose bytes change in place: they may be any mix of before and after. NULL: none. */
	const char *mixed;
	/* The operations begin with half a checkpoint behind them and end with another: -1: none; else before that
	 * operation. */
	int checkpoint_at;
	unsigned durable;              /* bit k: operation k makes all durable itself, on any medium */
	uint64_t pool_size, pool_room; /* as crash_case; with room the pool's size is part of the state */
};

/* Runs it with cache-flush and with msync semantics. Asserts that nothing failed. */
void fscrash_run(const struct fscrash *c);

/* Short calls for operations, as root; the handle is closed again. */
int x_create(struct fs *fs, const char *path);
int x_write(struct fs *fs, const char *path, int c, size_t len, uint64_t off);
int x_truncate(struct fs *fs, const char *path, uint64_t size);
int x_allocate(struct fs *fs, const char *path, int mode, uint64_t off, uint64_t len);
int x_clone(struct fs *fs, const char *from, const char *to, uint64_t from_off, uint64_t to_off, uint64_t len);
int x_relocate(struct fs *fs, const char *path, uint64_t off, uint64_t len);
/* By a WRITE lease and its memory; committed. */
int x_direct(struct fs *fs, const char *path, int c, size_t len, uint64_t off);
/* The same; between grant and commit a change of the holder's own, after which its device writes again (L5). */
int x_direct_during(struct fs *fs, const char *path, int c, size_t len, uint64_t off,
		    int (*change)(struct fs_handle *h, const struct fs_caller *who));
int x_sync(struct fs *fs);
extern const struct fs_caller x_root;

#endif
