/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file of the disk into a file of Leasehold and back by io_uring, in place of io_uring_register_buffers and
 *READ_FIXED, WRITE_FIXED: the kernel moves the bytes, this program never touches them. In the middle the file is moved.
 *
 *	cc ring_copy.c -lleasehold && ./a.out [POOL]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#define PIECE 65536u
#define DEPTH 8u

static int64_t check(int64_t result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, lh_error_text());
		exit(1);
	}
	return result;
}

/* All of the buffer's bytes, DEPTH pieces at once. */
static void move_all(struct lh_uring *ring, struct lh_uring_buffer *buf, int fd, uint64_t bytes, bool in)
{
	struct lh_completion done[DEPTH];
	uint64_t next = 0;
	unsigned flying = 0;

	while (next < bytes || flying > 0) {
		for (; next < bytes && flying < DEPTH; flying++) {
			uint32_t n = bytes - next < PIECE ? (uint32_t)(bytes - next) : PIECE;

			if (in)
				check(lh_uring_read(buf, fd, next, next, n, NULL), "read");
			else
				check(lh_uring_write(buf, fd, next, next, n, NULL), "write");
			next += n;
		}
		for (int64_t n = check(lh_uring_wait(ring, 1, done, DEPTH), "wait"); n > 0; n--) {
			if (done[n - 1].result <= 0) {
				fprintf(stderr, "a piece: %s\n", strerror((int)-done[n - 1].result));
				exit(1);
			}
			flying--;
		}
	}
}

int main(int argc, char **argv)
{
	struct lh_uring_buffer *in, *out;
	struct lh_uring *ring;
	struct lh_file *file;
	struct lh_fs *fs;
	FILE *from = tmpfile(), *to = tmpfile();
	uint64_t bytes;
	bool fixed;
	int err;

	for (unsigned k = 0; k < 200000; k++)
		fprintf(from, "line %u of a file on the disk\n", k);
	fflush(from);
	bytes = (uint64_t)ftell(from);
	check(lh_fs_open(argc > 1 ? argv[1] : "mem:64M", NULL, &fs), "open");
	check(lh_file_open(fs, "/lines", O_RDWR | O_CREAT, 0644, &file), "create");
	err = lh_uring_new(fs, DEPTH, &ring);
	if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP) {
		printf("skipped: %s\n", lh_error_text());
		return 77;
	}
	check(err, "ring");
	/* io_uring_register_buffers(&ring, &iov, 1) would be: */
	check(lh_uring_register(ring, file, 0, bytes, LH_LEASE_WRITE, &in), "register");
	fixed = lh_uring_fixed(in);
	move_all(ring, in, fileno(from), bytes, true);
	check(lh_uring_commit(in, 0, bytes), "commit"); /* durable, and the file has its size */
	check(lh_uring_unregister(in), "unregister");
	check(lh_uring_register(ring, file, 0, bytes, LH_LEASE_READ, &out), "register");
	check(lh_file_relocate(file, 0, bytes), "relocate"); /* the ring does not notice */
	move_all(ring, out, fileno(to), bytes, false);
	check(lh_uring_unregister(out), "unregister");
	lh_uring_free(ring);
	rewind(from);
	for (int a = getc(from), b = getc(to); a == b; a = getc(from), b = getc(to)) {
		if (a == EOF) {
			printf("%llu bytes there and back, buffers %s\n", (unsigned long long)bytes,
			       fixed ? "fixed" : "not fixed");
			lh_file_close(file);
			return lh_fs_close(fs) ? 1 : 0;
		}
	}
	fprintf(stderr, "the bytes differ\n");
	return 1;
}
