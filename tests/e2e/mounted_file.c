/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For mounted.sh: a program that uses a file of a mount directly.
 *
 *	mounted_file DIR	all that a program may do with descriptors and paths there
 *	mounted_file -h FILE	holds a READ lease on FILE until standard input ends; says "held" when it has it
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#define BYTES 65536u

#define CHECK(what)                                                                                                    \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "%d: %s: %s; %s\n", __LINE__, #what, strerror(errno), lh_error_text());        \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static char buf[BYTES];

static void hold(const char *path)
{
	struct lh_lease *lease;
	struct lh_file *file;

	CHECK(lh_file_from_path(path, O_RDONLY, NULL, &file) == 0);
	CHECK(lh_lease_get(file, 0, BYTES, NULL, &lease) == 0);
	CHECK(lh_lease_read(lease, buf, BYTES, 0) > 0);
	puts("held");
	fflush(stdout);
	while (getchar() != EOF)
		;
	CHECK(lh_lease_release(lease) == 0);
	CHECK(lh_file_close(file) == 0);
}

/* Written directly, read through the mount when it is opened next. */
static void store(int fd, const char *path, char c)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_WRITE};
	struct lh_lease *lease;
	struct lh_file *file;
	char got[BYTES];
	int again;

	CHECK(lh_file_from_fd(fd, O_RDWR, NULL, &file) == 0);
	CHECK(lh_lease_get(file, 0, BYTES, &o, &lease) == 0);
	memset(buf, c, BYTES);
	CHECK(lh_lease_write(lease, buf, BYTES, 0) == BYTES);
	CHECK(lh_lease_commit(lease, 0, BYTES) == 0);
	CHECK(lh_lease_release(lease) == 0);
	CHECK(lh_file_close(file) == 0);
	again = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(again >= 0 && read(again, got, BYTES) == BYTES);
	CHECK(memcmp(got, buf, BYTES) == 0);
	close(again);
}

int main(int argc, char **argv)
{
	struct lh_mounted m = {.size = sizeof(m)};
	struct lh_file *file;
	struct stat st;
	int fd;

	if (argc == 3 && strcmp(argv[1], "-h") == 0) {
		hold(argv[2]);
		return 0;
	}
	CHECK(argc == 2 && chdir(argv[1]) == 0);
	fd = open("a", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	CHECK(fd >= 0 && ftruncate(fd, BYTES) == 0);
	store(fd, "a", '1');
	/* The name that it has now, and none. */
	CHECK(rename("a", "b") == 0);
	store(fd, "b", '2');
	CHECK(lh_mounted_at("b", &m) == 0 && strcmp(strrchr(m.path, '/'), "/b") == 0);
	CHECK(lh_file_from_path("a", O_RDONLY, NULL, &file) == -ENOENT);
	CHECK(symlink("b", "link") == 0);
	CHECK(lh_file_from_path("link", O_RDONLY, NULL, &file) == 0);
	CHECK(lh_file_close(file) == 0);
	CHECK(unlink("b") == 0 && unlink("link") == 0);
	CHECK(lh_file_from_fd(fd, O_RDWR, NULL, &file) == 0);
	CHECK(lh_file_read(file, buf, BYTES, 0) == BYTES && buf[BYTES - 1] == '2');
	CHECK(lh_file_write(file, "x", 1, BYTES) == 1);
	CHECK(lh_file_close(file) == 0);
	CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0);
	close(fd);
	CHECK(lh_file_from_path(".", O_RDONLY, NULL, &file) == -EISDIR);
	CHECK(lh_file_from_path("/dev/null", O_RDONLY, NULL, &file) == -ENOTTY);
	puts("ok");
	return 0;
}
