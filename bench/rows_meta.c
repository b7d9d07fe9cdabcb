/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * create_, stat_, rename_, unlink_ tmpfs and xfs: FILES files in one directory, one thread, in process, against the
 * same system calls by path on tmpfs, and on XFS on a loop device. One round of a row does all four steps (so that the
 * directory is in the state that the step needs) and reports its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "loop_peer.h"

#define FILES 10000u

enum step { CREATE, STAT, RENAME, UNLINK, STEPS };

enum peer { TMPFS, XFS, PEERS };

static struct {
	struct lh_fs *fs;
	char dir[PEERS][160];
	const char *now; /* the peer's directory of the row that runs */
} env;

static int peer_ready(enum peer peer, char *why)
{
	const char *at = peer == XFS ? loop_dir(LOOP_XFS, why) : tmpfs_dir();

	if (!at)
		return peer == XFS ? -ENODEV : bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	env.now = env.dir[peer];
	if (env.dir[peer][0])
		return 0;
	snprintf(env.dir[peer], sizeof(env.dir[peer]), "%s/meta", at);
	return mkdir(env.dir[peer], 0700) ? bench_skip(why, -errno, "cannot make %s", env.dir[peer]) : 0;
}

static int meta_ready(const struct row *r, char *why)
{
	int err = peer_ready((enum peer)r->len, why);

	if (err || env.fs)
		return err;
	err = lh_fs_open("mem:256M", NULL, &env.fs);
	if (!err)
		err = lh_path_mkdir(env.fs, "/d", 0700);
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

/* The names of a round, made before the clock starts: making them costs as much as a call of ours. */
struct names {
	char a[224], b[224];
};
static struct names *names;

static int names_make(const char *dir)
{
	if (!names)
		names = calloc(FILES, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(names[i].a, sizeof(names[i].a), "%s/file-%05u", dir, i);
		snprintf(names[i].b, sizeof(names[i].b), "%s/name-%05u", dir, i);
	}
	return 0;
}

static int ours_step(enum step s, const struct names *n)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *f;
	int err;

	switch (s) {
	case CREATE:
		err = lh_file_open(env.fs, n->a, O_RDWR | O_CREAT | O_EXCL, 0600, &f);
		return err ? err : lh_file_close(f);
	case STAT:
		return lh_path_stat(env.fs, n->a, true, &st);
	case RENAME:
		return lh_path_rename(env.fs, n->a, n->b, 0);
	case UNLINK:
		return lh_path_unlink(env.fs, n->b);
	case STEPS:
		break;
	}
	return -EINVAL;
}

static int peer_step(enum step s, const struct names *n)
{
	struct stat st;
	int fd;

	switch (s) {
	case CREATE:
		fd = open(n->a, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		return fd < 0 ? -errno : close(fd);
	case STAT:
		return stat(n->a, &st) ? -errno : 0;
	case RENAME:
		return rename(n->a, n->b) ? -errno : 0;
	case UNLINK:
		return unlink(n->b) ? -errno : 0;
	case STEPS:
		break;
	}
	return -EINVAL;
}

static int round_of(const struct row *r, const char *dir, int (*step)(enum step s, const struct names *n), double *out)
{
	enum step mine = (enum step)r->depth;
	int err = names_make(dir);

	for (enum step s = CREATE; s < STEPS && !err; s++) {
		uint64_t start = clock_now_ns();

		for (unsigned i = 0; i < FILES && !err; i++)
			err = step(s, &names[i]);
		if (s == mine)
			*out = FILES / ((double)(clock_now_ns() - start) / 1e9) / 1e3;
	}
	return err;
}

static int meta_ours(const struct row *r, double *out)
{
	return round_of(r, "/d", ours_step, out);
}

static int meta_peer(const struct row *r, double *out)
{
	return round_of(r, env.now, peer_step, out);
}

#define ROW(n, s, peer_at, name_of, want)                                                                              \
	{                                                                                                              \
		.name = n, .unit = "k/s", .peer_name = name_of, .goal = want, .rate = true, .ready = meta_ready,       \
		.ours = meta_ours, .peer = meta_peer, .depth = s, .len = peer_at                                       \
	}
#define ON_TMPFS(n, s) ROW(n, s, TMPFS, "tmpfs, system calls by path", 4.0)
#define ON_XFS(n, s)   ROW(n, s, XFS, "XFS on a loop device over tmpfs", 10.0)

const struct row meta_rows[] = {
    ON_TMPFS("create_tmpfs", CREATE), ON_TMPFS("stat_tmpfs", STAT), ON_TMPFS("rename_tmpfs", RENAME),
    ON_TMPFS("unlink_tmpfs", UNLINK), ON_XFS("create_xfs", CREATE), ON_XFS("stat_xfs", STAT),
    ON_XFS("rename_xfs", RENAME),     ON_XFS("unlink_xfs", UNLINK),
};
const unsigned meta_row_count = ARRAY_LEN(meta_rows);

void meta_finish(void)
{
	free(names);
	lh_fs_close(env.fs);
	for (unsigned p = 0; p < PEERS; p++) {
		if (env.dir[p][0])
			rmdir(env.dir[p]);
	}
}
