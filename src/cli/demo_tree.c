/* SPDX-License-Identifier: BSD-2-Clause */
/* The demonstration's input: choosing a real tree, importing it, and summing it on both sides without trusting order.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc.h"
#include "base/error.h"
#include "base/types.h"
#include "cli/demo.h"

#define IO_BYTES   ((size_t)1 << 20)
#define PATH_BYTES 4096u

static uint64_t entry_hash(const char *path, uint32_t mode, uint64_t size, uint32_t content)
{
	uint64_t low = crc32c(0, path, strlen(path));
	uint64_t high;

	low = crc32c((uint32_t)low, &mode, sizeof(mode));
	low = crc32c((uint32_t)low, &size, sizeof(size));
	high = crc32c(content, path, strlen(path));
	/* Mixed, so that errors of two entries do not cancel in the sum. */
	return ((high << 32) ^ low ^ ((uint64_t)content << 16)) * 0x9e3779b97f4a7c15ull;
}

static void tree_add(struct demo_tree *t, const char *path, uint32_t mode, uint64_t size, uint32_t content)
{
	t->sum += entry_hash(path, mode, size, content);
	t->entries++;
	if (S_ISREG(mode)) {
		t->files++;
		t->bytes += size;
	}
}

static int tree_size(const char *dir, dev_t dev, uint64_t *bytes, uint64_t *entries)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[PATH_BYTES];

	/* What this user may not read is not part of the tree, here and when it is imported. */
	if (!d)
		return errno == EACCES ? 0 : -errno;
	while ((void)(e = readdir(d)), e) {
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path) || lstat(path, &st))
			continue;
		*entries += 1;
		if (S_ISREG(st.st_mode))
			*bytes += round_up_u64((uint64_t)st.st_size, DEMO_BLOCK);
		else if (S_ISDIR(st.st_mode) && st.st_dev == dev)
			tree_size(path, dev, bytes, entries);
	}
	closedir(d);
	return 0;
}

int demo_tree_size(const char *source, uint64_t *bytes, uint64_t *entries)
{
	struct stat st;

	*bytes = *entries = 0;
	if (stat(source, &st))
		return fail(-errno, "%s: %s; --input wants a directory", source, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fail(-ENOTDIR, "%s is not a directory; --input wants one", source);
	return tree_size(source, st.st_dev, bytes, entries);
}

const char *demo_tree_default(uint64_t min_bytes, uint64_t max_bytes)
{
	/* Small ones first: the demonstration is to be quick. */
	static const char *const candidates[] = {
	    "/usr/lib/gcc",     "/usr/include", "/usr/lib/python3",          "/usr/share/doc",
	    "/usr/lib/llvm-14", "/usr/share",   "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	    "/usr/lib",         "/usr"};
	const char *best = NULL;
	uint64_t best_bytes = UINT64_MAX;

	for (unsigned i = 0; i < ARRAY_LEN(candidates); i++) {
		uint64_t bytes, entries;

		if (demo_tree_size(candidates[i], &bytes, &entries) || bytes < min_bytes || bytes >= best_bytes)
			continue;
		best = candidates[i];
		best_bytes = bytes;
		if (bytes <= max_bytes)
			break;
	}
	return best;
}

/* Keeps the DEMO_FILES largest, largest first. */
static void watch_consider(struct demo_watch *watch, uint32_t *count, const char *path, const char *source,
			   uint64_t size)
{
	uint32_t at = *count;

	if (size < 16 * DEMO_BLOCK || strlen(path) >= sizeof(watch->path) || strlen(source) >= sizeof(watch->source))
		return;
	while (at > 0 && watch[at - 1].size < size)
		at--;
	if (at >= DEMO_FILES)
		return;
	if (*count < DEMO_FILES)
		*count += 1;
	memmove(&watch[at + 1], &watch[at], (*count - at - 1) * sizeof(*watch));
	snprintf(watch[at].path, sizeof(watch[at].path), "%s", path);
	snprintf(watch[at].source, sizeof(watch[at].source), "%s", source);
	watch[at].size = size;
}

struct import {
	struct lh_fs *fs;
	struct demo_tree *sum;
	struct demo_watch *watch;
	uint32_t *watched;
	uint8_t *buf;
	size_t root; /* length of the source's own path */
	dev_t dev;
};

static int import_file(struct import *im, const char *from, const char *to, uint32_t mode)
{
	scoped_fd int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct lh_file *f = NULL;
	uint64_t off = 0;
	uint32_t crc = 0;
	int err;

	if (fd < 0)
		return errno == EACCES || errno == ENOENT ? 0 : fail(-errno, "%s: %s", from, strerror(errno));
	err = lh_file_open(im->fs, to, O_WRONLY | O_CREAT | O_EXCL, mode & 07777, &f);
	while (!err) {
		ssize_t n = read(fd, im->buf, IO_BYTES);

		if (n <= 0) {
			err = n < 0 ? fail(-errno, "%s: %s", from, strerror(errno)) : 0;
			break;
		}
		crc = crc32c(crc, im->buf, (size_t)n);
		if (lh_file_write(f, im->buf, (size_t)n, off) != n)
			err = -EIO;
		off += (uint64_t)n;
	}
	if (f)
		lh_file_close(f);
	/* Writing clears set-id bits, as it should. */
	if (!err && (mode & 06000))
		err = lh_path_chmod(im->fs, to, mode & 07777);
	if (!err) {
		tree_add(im->sum, to, S_IFREG | (mode & 07777), off, crc);
		watch_consider(im->watch, im->watched, to, from, off);
	}
	return err;
}

static int import_dir(struct import *im, const char *dir);

static int import_entry(struct import *im, const char *from, const struct stat *st)
{
	char to[PATH_BYTES], target[PATH_BYTES];
	ssize_t n;
	int err;

	if (snprintf(to, sizeof(to), "/tree%s", from + im->root) >= (int)sizeof(to))
		return fail(-ENAMETOOLONG, "%s: the path is too long", from);
	if (S_ISREG(st->st_mode))
		return import_file(im, from, to, st->st_mode);
	if (S_ISLNK(st->st_mode)) {
		n = readlink(from, target, sizeof(target) - 1);
		if (n < 0)
			return 0;
		target[n] = '\0';
		err = lh_path_symlink(im->fs, target, to);
		if (!err)
			tree_add(im->sum, to, S_IFLNK, (uint64_t)n, crc32c(0, target, (size_t)n));
		return err;
	}
	if (!S_ISDIR(st->st_mode) || st->st_dev != im->dev)
		return 0;
	/* Writable while it is filled, then as the source. */
	err = lh_path_mkdir(im->fs, to, 0700);
	if (!err)
		err = import_dir(im, from);
	if (!err)
		err = lh_path_chmod(im->fs, to, st->st_mode & 07777);
	if (!err)
		tree_add(im->sum, to, S_IFDIR | (st->st_mode & 07777), 0, 0);
	return err;
}

static int import_dir(struct import *im, const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char from[PATH_BYTES];
	int err = 0;

	if (!d)
		return errno == EACCES ? 0 : fail(-errno, "%s: %s", dir, strerror(errno));
	while (!err) {
		struct stat st;

		e = readdir(d);
		if (!e)
			break;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (snprintf(from, sizeof(from), "%s/%s", dir, e->d_name) >= (int)sizeof(from)) {
			err = fail(-ENAMETOOLONG, "%s/%s: the path is too long", dir, e->d_name);
			break;
		}
		if (!lstat(from, &st))
			err = import_entry(im, from, &st);
	}
	closedir(d);
	return err;
}

int demo_tree_import(struct lh_fs *fs, const char *source, struct demo_tree *out, struct demo_watch *watch,
		     uint32_t *watched)
{
	scoped_free uint8_t *buf = malloc(IO_BYTES);
	struct import im = {
	    .fs = fs, .sum = out, .watch = watch, .watched = watched, .buf = buf, .root = strlen(source)};
	struct stat st;
	int err;

	memset(out, 0, sizeof(*out));
	*watched = 0;
	if (!buf)
		return -ENOMEM;
	if (stat(source, &st))
		return fail(-errno, "%s: %s", source, strerror(errno));
	im.dev = st.st_dev;
	err = lh_path_mkdir(fs, "/tree", 0755);
	return err ? err : import_dir(&im, source);
}

static int export_content(struct lh_fs *fs, const char *path, uint8_t *buf, uint64_t *size, uint32_t *crc)
{
	struct lh_file *f;
	ssize_t n;
	int err = lh_file_open(fs, path, O_RDONLY, 0, &f);

	if (err)
		return err;
	*size = 0;
	*crc = 0;
	do {
		n = lh_file_read(f, buf, IO_BYTES, *size);
		if (n > 0) {
			*crc = crc32c(*crc, buf, (size_t)n);
			*size += (uint64_t)n;
		}
	} while (n > 0);
	lh_file_close(f);
	return n < 0 ? (int)n : 0;
}

static int export_dir(struct lh_fs *fs, const char *dir, uint8_t *buf, struct demo_tree *out)
{
	struct lh_dir *d;
	struct lh_dirent e;
	char path[PATH_BYTES];
	int err = lh_dir_open(fs, dir, &d), more = 1;

	while (!err && (more = lh_dir_next(d, &e)) == 1) {
		struct lh_stat st = {.size_of = sizeof(st)};
		uint64_t size = 0;
		uint32_t crc = 0;
		ssize_t n;

		if (snprintf(path, sizeof(path), "%s/%s", dir, e.name) >= (int)sizeof(path)) {
			err = -ENAMETOOLONG;
			break;
		}
		err = lh_path_stat(fs, path, false, &st);
		if (err)
			break;
		if (S_ISREG(st.mode)) {
			err = export_content(fs, path, buf, &size, &crc);
		} else if (S_ISLNK(st.mode)) {
			n = lh_path_readlink(fs, path, (char *)buf, IO_BYTES);
			err = n < 0 ? (int)n : 0;
			size = n < 0 ? 0 : (uint64_t)n;
			crc = crc32c(0, buf, size);
			st.mode = S_IFLNK;
		}
		if (!err)
			tree_add(out, path, st.mode, size, crc);
		if (!err && S_ISDIR(st.mode))
			err = export_dir(fs, path, buf, out);
	}
	if (!err && more < 0)
		err = more;
	lh_dir_close(d);
	return err;
}

int demo_tree_export(struct lh_fs *fs, struct demo_tree *out)
{
	scoped_free uint8_t *buf = malloc(IO_BYTES);

	memset(out, 0, sizeof(*out));
	return buf ? export_dir(fs, "/tree", buf, out) : -ENOMEM;
}
