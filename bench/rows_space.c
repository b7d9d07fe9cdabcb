/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clone_1g_xfs, cow_4k_p99_xfs: a clone of 1 GiB, and 4 KiB overwrites of shared blocks, against XFS with reflink.
 * truncate_1g, punch_1g: giving 1 GiB of written data back, against tmpfs. Ours is a pool in a file on tmpfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "loop_peer.h"

#define FILE_BYTES ((uint64_t)1 << 30)
#define POOL_BYTES ((uint64_t)3 << 30)
#define BUF_BYTES  ((size_t)1 << 20)
#define COW_BYTES  4096u
#define COW_WRITES 4000u

static struct {
	char path[160];
	struct lh_fs *fs;
	struct lh_file *file;
	int xfs_fd, tmp_fd;
	char *buf;
} env = {.xfs_fd = -1, .tmp_fd = -1};

static int ours_fill(void)
{
	for (uint64_t off = 0; off < FILE_BYTES; off += BUF_BYTES) {
		ssize_t n = lh_file_write(env.file, env.buf, BUF_BYTES, off);

		if (n != (ssize_t)BUF_BYTES)
			return n < 0 ? (int)n : -EIO;
	}
	return 0;
}

static int fd_fill(int fd)
{
	for (uint64_t off = 0; off < FILE_BYTES; off += BUF_BYTES) {
		if (pwrite(fd, env.buf, BUF_BYTES, (off_t)off) != (ssize_t)BUF_BYTES)
			return -errno;
	}
	return 0;
}

static int pool_ready(char *why)
{
	struct lh_make_options make = {.size = sizeof(make), .pool_size = POOL_BYTES};
	int err;

	if (env.fs)
		return 0;
	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(env.path, sizeof(env.path), "%s/space.pool", tmpfs_dir());
	env.buf = malloc(BUF_BYTES);
	if (!env.buf)
		return -ENOMEM;
	memset(env.buf, 5, BUF_BYTES);
	err = lh_pool_make(env.path, &make);
	if (!err)
		err = lh_fs_open(env.path, NULL, &env.fs);
	if (!err)
		err = lh_file_open(env.fs, "/data", O_RDWR | O_CREAT, 0600, &env.file);
	if (!err)
		err = ours_fill();
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

static int xfs_open(const char *name, bool fresh, char *why)
{
	const char *dir = loop_dir(LOOP_XFS, why);
	char path[192];
	int fd;

	if (!dir)
		return -ENODEV;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (fresh)
		unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? bench_skip(why, -errno, "cannot make %s", path) : fd;
}

static int xfs_ready(const struct row *r, char *why)
{
	int err = pool_ready(why);

	if (err || env.xfs_fd >= 0)
		return err;
	env.xfs_fd = xfs_open("data", false, why);
	if (env.xfs_fd < 0)
		return env.xfs_fd;
	err = fd_fill(env.xfs_fd);
	return err ? bench_skip(why, err, "cannot fill a file on XFS") : 0;
}

/* --- clone ---------------------------------------------------------------------------------------------------------
 */

static int clone_ours(const struct row *r, double *out)
{
	struct lh_file *copy;
	uint64_t start;
	int err = lh_file_open(env.fs, "/copy", O_RDWR | O_CREAT | O_TRUNC, 0600, &copy);

	if (err)
		return err;
	start = clock_now_ns();
	err = lh_file_clone_range(copy, 0, env.file, 0, 0);
	*out = (double)(clock_now_ns() - start) / 1e3;
	lh_file_close(copy);
	return err ? err : lh_path_unlink(env.fs, "/copy");
}

static int clone_peer(const struct row *r, double *out)
{
	char why[WHY_MAX];
	int fd = xfs_open("copy", true, why), err = 0;
	uint64_t start;

	if (fd < 0)
		return fd;
	start = clock_now_ns();
	if (ioctl(fd, FICLONE, env.xfs_fd))
		err = -errno;
	*out = (double)(clock_now_ns() - start) / 1e3;
	close(fd);
	return err;
}

/* --- copy on write -------------------------------------------------------------------------------------------------
 */

static uint64_t cow_times[COW_WRITES];

/* Blocks once each, in an order that jumps: a permutation, because the step and the number of blocks have no factor in
 * common. */
static uint64_t cow_offset(unsigned i)
{
	return (i * 104729ull) % (FILE_BYTES / COW_BYTES) * COW_BYTES;
}

static int cow_ours(const struct row *r, double *out)
{
	struct lh_file *copy;
	int err = lh_file_open(env.fs, "/copy", O_RDWR | O_CREAT | O_TRUNC, 0600, &copy);

	if (err)
		return err;
	err = lh_file_clone_range(copy, 0, env.file, 0, 0);
	for (unsigned i = 0; i < COW_WRITES && !err; i++) {
		uint64_t start = clock_now_ns();
		ssize_t n = lh_file_write(copy, env.buf, COW_BYTES, cow_offset(i));

		cow_times[i] = clock_now_ns() - start;
		err = n < 0 ? (int)n : 0;
	}
	lh_file_close(copy);
	*out = (double)quantile_u64(cow_times, COW_WRITES, 0.99) / 1e3;
	return err ? err : lh_path_unlink(env.fs, "/copy");
}

static int cow_peer(const struct row *r, double *out)
{
	char why[WHY_MAX];
	int fd = xfs_open("copy", true, why), err = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, FICLONE, env.xfs_fd))
		err = -errno;
	for (unsigned i = 0; i < COW_WRITES && !err; i++) {
		uint64_t start = clock_now_ns();

		if (pwrite(fd, env.buf, COW_BYTES, (off_t)cow_offset(i)) != COW_BYTES)
			err = -errno;
		cow_times[i] = clock_now_ns() - start;
	}
	close(fd);
	*out = (double)quantile_u64(cow_times, COW_WRITES, 0.99) / 1e3;
	return err;
}

/* --- giving back ---------------------------------------------------------------------------------------------------
 */

static int tmp_ready(const struct row *r, char *why)
{
	char path[160];
	int err = pool_ready(why);

	if (err || env.tmp_fd >= 0)
		return err;
	snprintf(path, sizeof(path), "%s/space.tmp", tmpfs_dir());
	env.tmp_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (env.tmp_fd < 0)
		return bench_skip(why, -errno, "cannot make %s", path);
	unlink(path);
	return 0;
}

static int free_ours(const struct row *r, double *out)
{
	int err = ours_fill();
	uint64_t start = clock_now_ns();

	if (!err)
		err = r->write ? lh_file_truncate(env.file, 0) : lh_file_punch(env.file, 0, FILE_BYTES);
	*out = (double)(clock_now_ns() - start) / 1e6;
	return err;
}

static int free_peer(const struct row *r, double *out)
{
	int err = fd_fill(env.tmp_fd);
	uint64_t start = clock_now_ns();

	if (!err && (r->write ? ftruncate(env.tmp_fd, 0)
			      : fallocate(env.tmp_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, FILE_BYTES)))
		err = -errno;
	*out = (double)(clock_now_ns() - start) / 1e6;
	return err;
}

/* The XFS rows need the file whole, so they come first. */
const struct row space_rows[] = {
    {.name = "clone_1g_xfs",
     .unit = "us",
     .peer_name = "XFS on a loop device, FICLONE",
     .goal = 1.0,
     .ready = xfs_ready,
     .ours = clone_ours,
     .peer = clone_peer},
    {.name = "cow_4k_p99_xfs",
     .unit = "us",
     .peer_name = "XFS on a loop device, pwrite after FICLONE",
     .goal = 1.0,
     .ready = xfs_ready,
     .ours = cow_ours,
     .peer = cow_peer},
    {.name = "truncate_1g",
     .unit = "ms",
     .peer_name = "tmpfs, ftruncate",
     .goal = 1.0,
     .ready = tmp_ready,
     .ours = free_ours,
     .peer = free_peer,
     .write = true},
    {.name = "punch_1g",
     .unit = "ms",
     .peer_name = "tmpfs, fallocate(PUNCH_HOLE)",
     .goal = 1.0,
     .ready = tmp_ready,
     .ours = free_ours,
     .peer = free_peer},
};
const unsigned space_row_count = ARRAY_LEN(space_rows);

void space_finish(void)
{
	lh_file_close(env.file);
	lh_fs_close(env.fs);
	if (env.path[0])
		unlink(env.path);
	if (env.xfs_fd >= 0)
		close(env.xfs_fd);
	if (env.tmp_fd >= 0)
		close(env.tmp_fd);
	free(env.buf);
}
