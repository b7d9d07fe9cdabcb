/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold get: files and trees out of the filesystem.
 *
 * The names come from a pool or a server that may be hostile: a name with a slash, or "..", is refused, and every step
 * down is made from the directory's descriptor without following symbolic links, so that nothing is written outside the
 * destination.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"
#include "cli/copy.h"
#include "cli/show.h"

#define EXTENTS_BATCH 256u

enum { OPT_PROGRESS = 256, OPT_CALLS };

static const struct cli_option options[] = {
    {'r', "recursive", NULL, "directories with everything in them"},
    {'T', "no-target-directory", NULL, "the destination is the new name, also when it is a directory"},
    {OPT_PROGRESS, "progress", NULL, "show progress also when standard error is no terminal"},
    {OPT_CALLS, "calls", NULL, "no direct access under leases"},
    {0},
};
static const struct cli_verb verb = {
    .name = "get",
    .operands = "SOURCE... DESTINATION",
    .text = "Copies files out of the filesystem; into DESTINATION when that is a directory. Keeps permissions, "
	    "modification\n"
	    "times, symbolic links, hard links and holes. From a server, ranges of 1 MiB and more are read directly, "
	    "under\n"
	    "leases.\n",
    .example = "leasehold -p /dev/shm/a.pool get -r /doc /tmp/doc\n",
    .options = options,
    .min = 2,
    .max = -1,
    .paths = PATHS_BUT_LAST,
};

/* Where something is to be made: a name in an open directory, and the whole path for messages and links. */
struct place {
	int dirfd;
	const char *name;
	const char *path;
};

static void get_any(struct copy *c, const char *source, const struct place *to);

static ssize_t destination_write(int fd, char *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void times_of(const struct lh_stat *st, struct timespec out[2])
{
	int64_t sec = st->mtime_ns / (int64_t)NS_PER_SEC, rest = st->mtime_ns % (int64_t)NS_PER_SEC;

	out[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
	out[1] = (struct timespec){rest < 0 ? sec - 1 : sec, (long)(rest < 0 ? rest + (int64_t)NS_PER_SEC : rest)};
}

/* What has content, run by run. */
static int get_data(struct copy *c, struct lh_file *file, int fd, uint64_t size)
{
	struct copy_outside outside = {.move = destination_write, .fd = fd};
	struct lh_extent batch[EXTENTS_BATCH];
	uint64_t at = 0;

	while (at < size) {
		int n = lh_file_extents(file, at, size - at, batch, EXTENTS_BATCH);

		if (n == -EOPNOTSUPP) {
			batch[0] = (struct lh_extent){.file_off = at, .len = size - at};
			n = 1;
		}
		if (n <= 0)
			return n;
		for (int i = 0; i < n; i++) {
			uint64_t start = max_u64(batch[i].file_off, at);
			uint64_t end = min_u64(batch[i].file_off + batch[i].len, size);
			int64_t moved;

			/* A peer's numbers that do not go forward would keep us here for ever. */
			if (start >= end)
				return start >= size ? 0 : -EPROTO;
			at = end;
			if (batch[i].flags & LH_EXTENT_UNWRITTEN)
				continue;
			moved = copy_range(c, file, &outside, false, start, end - start);
			if (moved < 0)
				return (int)moved;
		}
	}
	return 0;
}

static void get_file(struct copy *c, const char *source, const struct place *to, const struct lh_stat *st)
{
	struct timespec times[2];
	struct lh_file *file;
	int fd, err;

	err = lh_file_open(c->fs, source, O_RDONLY, 0, &file);
	if (err) {
		copy_failed(c, err, source);
		return;
	}
	fd = openat(to->dirfd, to->name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		copy_failed_here(c, to->path);
		lh_file_close(file);
		return;
	}
	err = get_data(c, file, fd, st->size);
	times_of(st, times);
	if (err)
		copy_failed(c, err, source);
	else if (ftruncate(fd, (off_t)st->size) != 0 || fchmod(fd, copy_mode(st->mode, st->uid, st->gid)) != 0 ||
		 futimens(fd, times) != 0)
		copy_failed_here(c, to->path);
	if (close(fd) != 0)
		copy_failed_here(c, to->path);
	lh_file_close(file);
	progress_add(&c->progress, 1, 0);
}

static void get_symlink(struct copy *c, const char *source, const struct place *to, const struct lh_stat *st)
{
	struct timespec times[2];
	char *target;
	int err = 0;

	target = show_target(c->fs, source, &err);
	if (target == NULL) {
		copy_failed(c, err, source);
		return;
	}
	times_of(st, times);
	err = symlinkat(target, to->dirfd, to->name);
	if (err != 0 && errno == EEXIST && unlinkat(to->dirfd, to->name, 0) == 0)
		err = symlinkat(target, to->dirfd, to->name);
	if (err != 0 || utimensat(to->dirfd, to->name, times, AT_SYMLINK_NOFOLLOW) != 0)
		copy_failed_here(c, to->path);
	free(target);
	progress_add(&c->progress, 1, 0);
}

static void get_link(struct copy *c, const char *same, const struct place *to)
{
	int err;

	progress_add(&c->progress, 1, 0);
	if (strcmp(same, to->path) == 0)
		return;
	err = linkat(AT_FDCWD, same, to->dirfd, to->name, 0);
	if (err != 0 && errno == EEXIST && unlinkat(to->dirfd, to->name, 0) == 0)
		err = linkat(AT_FDCWD, same, to->dirfd, to->name, 0);
	if (err != 0)
		copy_failed_here(c, to->path);
}

static bool name_is_safe(const char *name)
{
	return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void get_entries(struct copy *c, const char *source, int fd, const char *path)
{
	struct show_entry *entries;
	size_t count;
	int err;

	err = show_entries(c->fs, source, &entries, &count);
	if (err) {
		copy_failed(c, err, source);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		char *from_full = cli_join(source, entries[i].name);
		char *to_full = cli_join(path, entries[i].name);
		struct place to = {fd, entries[i].name, to_full};

		if (!name_is_safe(entries[i].name))
			c->status =
			    cli_fail("%s: has an entry with a name that no directory may have; left out", source);
		else if (from_full == NULL || to_full == NULL)
			copy_failed(c, -ENOMEM, source);
		else
			get_any(c, from_full, &to);
		free(to_full);
		free(from_full);
	}
	show_entries_free(entries, count);
}

static void get_directory(struct copy *c, const char *source, const struct place *to, const struct lh_stat *st,
			  int flags)
{
	struct timespec times[2];
	int fd;

	if (mkdirat(to->dirfd, to->name, 0700) != 0 && errno != EEXIST) {
		copy_failed_here(c, to->path);
		return;
	}
	fd = openat(to->dirfd, to->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
	if (fd < 0) {
		copy_failed_here(c, to->path);
		return;
	}
	get_entries(c, source, fd, to->path);
	times_of(st, times);
	if (fchmod(fd, copy_mode(st->mode, st->uid, st->gid)) != 0 || futimens(fd, times) != 0)
		copy_failed_here(c, to->path);
	close(fd);
}

static void get_any(struct copy *c, const char *source, const struct place *to)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	const char *same = NULL;
	bool operand = to->dirfd == AT_FDCWD;
	int err;

	err = lh_path_stat(c->fs, source, !c->recursive, &st);
	if (err) {
		copy_failed(c, err, source);
		return;
	}
	if (S_ISREG(st.mode) && st.nlink > 1)
		same = copy_link(c, 0, st.ino, to->path);
	if (same != NULL)
		get_link(c, same, to);
	else if (S_ISREG(st.mode))
		get_file(c, source, to, &st);
	else if (S_ISLNK(st.mode))
		get_symlink(c, source, to, &st);
	else if (!S_ISDIR(st.mode))
		c->status = cli_fail("%s: left out, it is neither file, directory nor symbolic link", source);
	else if (c->recursive)
		get_directory(c, source, to, &st, operand ? 0 : O_NOFOLLOW);
	else
		c->status = cli_fail("%s: is a directory; give -r to copy it", source);
}

static void get_operand(struct copy *c, char *source, const char *destination, bool into)
{
	struct place to = {AT_FDCWD, destination, destination};
	size_t n = strlen(source);
	const char *base;
	char *full = NULL;

	while (n > 1 && source[n - 1] == '/')
		source[--n] = '\0';
	base = cli_base_name(source);
	/* The root has no name of its own: what is in it goes into the destination. */
	if (into && name_is_safe(base)) {
		full = cli_join(destination, base);
		if (full == NULL) {
			copy_failed(c, -ENOMEM, source);
			return;
		}
		to.name = to.path = full;
	}
	get_any(c, source, &to);
	free(full);
}

int verb_get(int argc, char **argv)
{
	bool progress = false, plain = false, calls = false, into;
	struct copy c = {0};
	struct stat st;
	int key;

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
	into = !plain && stat(argv[argc - 1], &st) == 0 && S_ISDIR(st.st_mode);
	if (!into && argc - optind > 2)
		return cli_fail("%s: not a directory, so it cannot take several files", argv[argc - 1]);
	if (copy_begin(&c, "get", progress) != CLI_OK)
		return CLI_FAILED;
	c.direct = c.direct && !calls;
	for (int i = optind; i < argc - 1; i++)
		get_operand(&c, argv[i], argv[argc - 1], into);
	return copy_end(&c);
}
