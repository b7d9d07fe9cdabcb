/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * local_*: read and write calls in process at random offsets of a 1 GiB file, against memcpy of the same bytes from and
 * to the same places: the pool is a file on tmpfs, mapped a second time for the peer, and the file is one run in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"

#define FILE_BYTES        ((uint64_t)1 << 30)
#define POOL_BYTES        ((uint64_t)1280 << 20)
#define ROUND_BYTES_SMALL ((uint64_t)128 << 20)
#define ROUND_BYTES_LARGE ((uint64_t)1 << 30)
#define BUF_BYTES         ((size_t)1 << 20)

static struct {
	char path[128];
	struct lh_fs *fs;
	struct lh_file *file;
	uint8_t *map, *place, *buf;
	int fd;
} env = {.fd = -1};

static int fill(char *why)
{
	for (uint64_t off = 0; off < FILE_BYTES; off += BUF_BYTES) {
		if (lh_file_write(env.file, env.buf, BUF_BYTES, off) != (ssize_t)BUF_BYTES)
			return bench_skip(why, -EIO, "ours: %s", lh_error_text());
	}
	return 0;
}

static int map_again(char *why)
{
	struct lh_extent ext[2];
	int n = lh_file_extents(env.file, 0, FILE_BYTES, ext, 2);

	if (n != 1 || ext[0].len != FILE_BYTES)
		return bench_skip(why, -EINVAL, "the file is not one run");
	env.fd = open(env.path, O_RDWR | O_CLOEXEC);
	if (env.fd < 0)
		return bench_skip(why, -errno, "cannot open the pool again");
	env.map = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, env.fd, 0);
	if (env.map == MAP_FAILED)
		return bench_skip(why, -errno, "cannot map the pool again");
	madvise(env.map, POOL_BYTES, MADV_HUGEPAGE);
	env.place = env.map + ext[0].pool_off;
	return 0;
}

static int local_ready(const struct row *r, char *why)
{
	struct lh_make_options make = {.size = sizeof(make), .pool_size = POOL_BYTES};
	int err;

	if (env.place)
		return 0;
	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(env.path, sizeof(env.path), "%s/local.pool", tmpfs_dir());
	env.buf = mmap(NULL, BUF_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (env.buf == MAP_FAILED)
		return -ENOMEM;
	memset(env.buf, 5, BUF_BYTES);
	err = lh_pool_make(env.path, &make);
	if (!err)
		err = lh_fs_open(env.path, NULL, &env.fs);
	if (!err)
		err = lh_file_open(env.fs, "/data", O_RDWR | O_CREAT, 0600, &env.file);
	if (err)
		return bench_skip(why, err, "ours: %s", lh_error_text());
	err = fill(why);
	return err ? err : map_again(why);
}

static uint64_t rounds(const struct row *r)
{
	return (r->len < 65536 ? ROUND_BYTES_SMALL : ROUND_BYTES_LARGE) / r->len;
}

static int local_ours(const struct row *r, double *out)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull, n = rounds(r), start = clock_now_ns();

	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = next_random(&seed) % (FILE_BYTES / r->len) * r->len;
		ssize_t got = r->write ? lh_file_write(env.file, env.buf, r->len, off)
				       : lh_file_read(env.file, env.buf, r->len, off);

		if (got != (ssize_t)r->len)
			return got < 0 ? (int)got : -EIO;
	}
	*out = (double)(n * r->len) / (double)(clock_now_ns() - start) * 1e3;
	return 0;
}

static int local_peer(const struct row *r, double *out)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull, n = rounds(r), start = clock_now_ns();

	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = next_random(&seed) % (FILE_BYTES / r->len) * r->len;

		if (r->write)
			memcpy(env.place + off, env.buf, r->len);
		else
			memcpy(env.buf, env.place + off, r->len);
		/* The copy must happen although nobody looks at it. */
		__asm__ volatile("" ::: "memory");
	}
	*out = (double)(n * r->len) / (double)(clock_now_ns() - start) * 1e3;
	return 0;
}

#define ROW(n, g, w, bytes)                                                                                            \
	{                                                                                                              \
		.name = n, .unit = "MB/s", .peer_name = "memcpy from and to the same places", .goal = g, .rate = true, \
		.ready = local_ready, .ours = local_ours, .peer = local_peer, .len = bytes, .depth = 1, .write = w     \
	}

const struct row local_rows[] = {
    ROW("local_read_4k", 0.80, false, 4096),
    ROW("local_read_1m", 0.95, false, 1 << 20),
    ROW("local_write_1m", 0.90, true, 1 << 20),
};
const unsigned local_row_count = ARRAY_LEN(local_rows);

void local_finish(void)
{
	lh_file_close(env.file);
	lh_fs_close(env.fs);
	if (env.map && env.map != MAP_FAILED)
		munmap(env.map, POOL_BYTES);
	if (env.buf && env.buf != MAP_FAILED)
		munmap(env.buf, BUF_BYTES);
	if (env.fd >= 0)
		close(env.fd);
	if (env.path[0])
		unlink(env.path);
}
