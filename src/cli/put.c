/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold put: files and trees into the filesystem. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"
#include "cli/copy.h"

enum { OPT_PROGRESS = 256, OPT_CALLS };

static const struct cli_option options[] = {
    {'r', "recursive", NULL, "directories with everything in them"},
    {'T', "no-target-directory", NULL, "the destination is the new name, also when it is a directory"},
    {OPT_PROGRESS, "progress", NULL, "show progress also when standard error is no terminal"},
    {OPT_CALLS, "calls", NULL, "no direct access under leases"},
    {0},
};
static const struct cli_verb verb = {
    .name = "put",
    .operands = "SOURCE... DESTINATION",
    .text =
	"Copies files into the filesystem; into DESTINATION when that is a directory. Keeps permissions, modification\n"
	"times, symbolic links, hard links and holes. On a server, ranges of 1 MiB and more are written directly, "
	"under\n"
	"leases.\n",
    .example = "leasehold -p /dev/shm/a.pool put -r /usr/share/doc /doc\n"
	       "leasehold -p unix:/run/lh.sock put big.bin /data/\n",
    .options = options,
    .min = 2,
    .max = -1,
    .paths = PATHS_LAST,
};

static void put_any(struct copy *c, int dirfd, const char *name, const char *source, const char *to);

static ssize_t source_read(int fd, char *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* The data between the holes; the rest by setting the size. */
static int put_data(struct copy *c, int fd, struct lh_file *file, uint64_t size)
{
	struct copy_outside outside = {.move = source_read, .fd = fd};
	uint64_t at = 0, filled = 0;

	while (at < size) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		off_t hole;
		int64_t n;

		if (data < 0 && errno == ENXIO)
			break;
		/* No holes known here. */
		if (data < 0)
			data = (off_t)at;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole > size)
			hole = (off_t)size;
		n = copy_range(c, file, &outside, true, (uint64_t)data, (uint64_t)(hole - data));
		if (n < 0)
			return (int)n;
		at = (uint64_t)hole;
		filled = (uint64_t)data + (uint64_t)n;
		/* The source became shorter meanwhile. */
		if (filled < at)
			return 0;
	}
	return filled < size ? lh_file_truncate(file, size) : 0;
}

static int set_attributes(struct copy *c, const char *to, const struct stat *st, uint32_t have)
{
	uint32_t mode = copy_mode(st->st_mode, st->st_uid, st->st_gid);
	int64_t mtime_ns = (int64_t)st->st_mtim.tv_sec * (int64_t)NS_PER_SEC + st->st_mtim.tv_nsec;
	int err = 0;

	if ((have & 07777) != mode)
		err = lh_path_chmod(c->fs, to, mode);
	return err ? err : lh_path_set_times(c->fs, to, false, INT64_MAX, mtime_ns);
}

static void put_file(struct copy *c, int dirfd, const char *name, const char *source, const char *to)
{
	struct lh_stat made = {.size_of = sizeof(made)};
	struct lh_file *file;
	struct stat st;
	int fd, err;

	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0) {
		copy_failed_here(c, source);
		goto close_fd;
	}
	err = lh_file_open(c->fs, to, O_RDWR | O_CREAT | O_TRUNC, st.st_mode & 0777, &file);
	if (err) {
		copy_failed(c, err, to);
		goto close_fd;
	}
	err = put_data(c, fd, file, (uint64_t)st.st_size);
	if (!err)
		err = lh_file_stat(file, &made);
	if (err)
		copy_failed(c, err, to);
	lh_file_close(file);
	if (!err) {
		err = set_attributes(c, to, &st, made.mode);
		if (err)
			copy_failed(c, err, to);
		progress_add(&c->progress, 1, 0);
	}
close_fd:
	if (fd >= 0)
		close(fd);
}

/* Runs make() again after removing what is in the way. */
static int replace(struct copy *c, const char *from, const char *to,
		   int (*make)(struct lh_fs *fs, const char *from, const char *to))
{
	int err;

	err = make(c->fs, from, to);
	if (err == -EEXIST && lh_path_unlink(c->fs, to) == 0)
		err = make(c->fs, from, to);
	return err;
}

static void put_symlink(struct copy *c, int dirfd, const char *name, const char *source, const char *to)
{
	char target[4097];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target) - 1);
	struct stat st;
	int err;

	if (n < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		copy_failed_here(c, source);
		return;
	}
	target[n] = '\0';
	err = replace(c, target, to, lh_path_symlink);
	if (!err)
		err = lh_path_set_times(c->fs, to, false, INT64_MAX,
					(int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_SEC + st.st_mtim.tv_nsec);
	if (err)
		copy_failed(c, err, to);
	progress_add(&c->progress, 1, 0);
}

static void put_entries(struct copy *c, DIR *dir, const char *source, const char *to)
{
	struct dirent *d;

	for (d = readdir(dir); d != NULL; d = readdir(dir)) {
		char *from_full, *to_full;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		from_full = cli_join(source, d->d_name);
		to_full = cli_join(to, d->d_name);
		if (from_full == NULL || to_full == NULL)
			copy_failed(c, -ENOMEM, source);
		else
			put_any(c, dirfd(dir), d->d_name, from_full, to_full);
		free(to_full);
		free(from_full);
	}
}

static void put_directory(struct copy *c, int parent, const char *name, const char *source, const char *to)
{
	struct lh_stat made = {.size_of = sizeof(made)};
	struct stat st;
	DIR *dir = NULL;
	int fd, err;

	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		dir = fdopendir(fd);
	if (dir == NULL || fstat(fd, &st) != 0) {
		copy_failed_here(c, source);
		if (dir != NULL)
			closedir(dir);
		else if (fd >= 0)
			close(fd);
		return;
	}
	err = lh_path_mkdir(c->fs, to, (st.st_mode & 0777) | 0700);
	if (err == -EEXIST)
		err = 0;
	if (!err)
		err = lh_path_stat(c->fs, to, true, &made);
	if (!err && !S_ISDIR(made.mode))
		c->status = cli_fail("%s: exists and is not a directory", to);
	else if (err)
		copy_failed(c, err, to);
	else
		put_entries(c, dir, source, to);
	if (!err && S_ISDIR(made.mode)) {
		err = set_attributes(c, to, &st, made.mode);
		if (err)
			copy_failed(c, err, to);
	}
	closedir(dir);
}

static void put_any(struct copy *c, int dirfd, const char *name, const char *source, const char *to)
{
	const char *same = NULL;
	struct stat st;
	int err;

	/* Operands are followed, as cp does, unless whole trees are copied. */
	if (fstatat(dirfd, name, &st, c->recursive ? AT_SYMLINK_NOFOLLOW : 0) != 0) {
		copy_failed_here(c, source);
		return;
	}
	if (S_ISREG(st.st_mode) && st.st_nlink > 1)
		same = copy_link(c, st.st_dev, st.st_ino, to);
	if (same != NULL) {
		err = strcmp(same, to) == 0 ? 0 : replace(c, same, to, lh_path_link);
		if (err)
			copy_failed(c, err, to);
		progress_add(&c->progress, 1, 0);
	} else if (S_ISREG(st.st_mode)) {
		put_file(c, dirfd, name, source, to);
	} else if (S_ISLNK(st.st_mode)) {
		put_symlink(c, dirfd, name, source, to);
	} else if (!S_ISDIR(st.st_mode)) {
		c->status = cli_fail("%s: left out, it is neither file, directory nor symbolic link", source);
	} else if (c->recursive) {
		put_directory(c, dirfd, name, source, to);
	} else {
		c->status = cli_fail("%s: is a directory; give -r to copy it", source);
	}
}

static bool is_directory(struct lh_fs *fs, const char *path)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	return lh_path_stat(fs, path, true, &st) == 0 && S_ISDIR(st.mode);
}

static void put_operand(struct copy *c, char *source, const char *destination, bool into)
{
	size_t n = strlen(source);
	const char *base;
	char *full;

	while (n > 1 && source[n - 1] == '/')
		source[--n] = '\0';
	base = cli_base_name(source);
	/* "." and "/" have no name of their own: what is in them goes into the destination. */
	into = into && base[0] != '\0' && strcmp(base, ".") != 0 && strcmp(base, "..") != 0;
	full = into ? cli_join(destination, base) : strdup(destination);
	if (full == NULL)
		copy_failed(c, -ENOMEM, source);
	else
		put_any(c, AT_FDCWD, source, source, full);
	free(full);
}

int verb_put(int argc, char **argv)
{
	bool progress = false, plain = false, calls = false, into;
	struct copy c = {0};
	int err, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'r')
			c.recursive = true;
		else if (key == 'T')
			plain = true;
		else if (key == OPT_CALLS)
			calls = true;
		else
			progress = true;
	}
	if (plain && argc - optind > 2)
		cli_usage("too many arguments; expected: SOURCE DESTINATION");
	if (copy_begin(&c, "put", progress) != CLI_OK)
		return CLI_FAILED;
	c.direct = c.direct && !calls;
	into = !plain && is_directory(c.fs, argv[argc - 1]);
	if (!into && argc - optind > 2)
		c.status = cli_fail("%s: not a directory, so it cannot take several files", argv[argc - 1]);
	for (int i = optind; i < argc - 1 && (into || argc - optind == 2); i++)
		put_operand(&c, argv[i], argv[argc - 1], into);
	err = lh_fs_sync(c.fs);
	if (err)
		copy_failed(&c, err, "making it durable");
	return copy_end(&c);
}
