/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What put and get share: the state of one copy, the memory of hard links, and moving one range of a file.
 *
 * Ranges of a remote file that are long enough go directly, under a lease; what cannot have a lease goes by calls.
 * Permissions and modification times are kept, owners are not; so set-uid and set-gid bits are kept only for the
 * caller's own files.
 */
#ifndef LH_CLI_COPY_H
#define LH_CLI_COPY_H

#include "cli/cli.h"
#include "cli/progress.h"

#define COPY_REQUEST    ((size_t)1 << 20)
#define COPY_DIRECT_MIN ((uint64_t)1 << 20)
/* Of one lease: enough to make its cost vanish, little enough to leave a full pool usable. */
#define COPY_LEASE_MAX ((uint64_t)64 << 20)

struct copy {
	struct lh_fs *fs;
	struct progress progress;
	void *links; /* tsearch tree */
	char *buf;   /* COPY_REQUEST bytes */
	bool buf_own;
	bool direct, recursive;
	int status;
};

int copy_begin(struct copy *c, const char *verb, bool progress);
/* Frees, closes the filesystem, prints the last line of progress; the exit status. */
int copy_end(struct copy *c);
/* Prints what failed and keeps the status; the copy goes on with the next entry. */
void copy_failed(struct copy *c, int err, const char *what);
/* The same for errors of the system's side (errno), where the library left no text. */
void copy_failed_here(struct copy *c, const char *what);

/* The path that was made for this inode before; else NULL, and this one is remembered. */
const char *copy_link(struct copy *c, uint64_t dev, uint64_t ino, const char *path);

/* One end of a transfer outside the filesystem: bytes or -errno; 0 at the end of the source. */
struct copy_outside {
	ssize_t (*move)(int fd, char *buf, size_t len, uint64_t off);
	int fd;
};
/*
 * Moves [off, off + len) between a file of the filesystem and an outside end, which gives the bytes (writing) or takes
 * them. Returns how many bytes, fewer at the source's end.
 */
int64_t copy_range(struct copy *c, struct lh_file *file, const struct copy_outside *outside, bool writing, uint64_t off,
		   uint64_t len);
uint32_t copy_mode(uint32_t mode, uint32_t uid, uint32_t gid);

#endif
