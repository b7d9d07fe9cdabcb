/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mount_*: the same system calls in a mount of ours and in one of libfuse's passthrough_hp, in turn; the peer with or
 * without splice, whichever a few rounds before show to be faster for the row. Reported besides: ext4 and XFS on loop
 * devices, and for rows of data the other way of caching.
 *
 * Both sides start every round from the same state of the kernel's caches: names are new (nobody has asked for them
 * before); stat comes after the kernel has forgotten names and attributes; reads through the page cache come after the
 * file's pages were dropped.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "mount_rig.h"

#define FILES        1000u
#define DATA_BYTES   ((uint64_t)128 << 20)
#define SMALL        ((size_t)4096)
#define LARGE        ((size_t)1 << 20)
#define SMALL_OPS    4000u
#define TRIAL_ROUNDS 3u /* to choose the peer's options, and of what is reported besides */
#define PATH_BYTES   256

enum work { CREATE, STAT, UNLINK, READ, WRITE };

static struct {
	unsigned rounds; /* so far, of all places: names are never used twice */
	bool filled[PLACES];
	char *buf;
} env;

#define ROWS 7u

/* Of each row; 0: not measured, or it does not work there. */
static struct facts {
	enum place peer;
	double other[PLACES]; /* the other way of caching */
	double loop[PLACES];
} facts[ROWS];

static struct facts *facts_of(const struct row *r)
{
	return &facts[r - mount_rows];
}

/* --- names ---------------------------------------------------------------------------------------------------------
 */

static int files_create(const char *dir, unsigned round)
{
	char path[PATH_BYTES];

	for (unsigned i = 0; i < FILES; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/file-%u-%u", dir, round, i);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || close(fd))
			return -errno;
	}
	return 0;
}

static int files_stat(const char *dir, unsigned round)
{
	char path[PATH_BYTES];
	struct stat st;

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/file-%u-%u", dir, round, i);
		if (stat(path, &st))
			return -errno;
	}
	return 0;
}

static int files_unlink(const char *dir, unsigned round)
{
	char path[PATH_BYTES];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/file-%u-%u", dir, round, i);
		if (unlink(path))
			return -errno;
	}
	return 0;
}

/* Thousand per second of one step; the others are done beside the clock. */
static int names_round(enum work w, const char *dir, double *out)
{
	unsigned round = env.rounds++;
	uint64_t start = clock_now_ns(), took = 0;
	int err = files_create(dir, round);

	if (w == CREATE)
		took = clock_now_ns() - start;
	if (!err && w == STAT) {
		forget_names();
		start = clock_now_ns();
		err = files_stat(dir, round);
		took = clock_now_ns() - start;
	}
	if (err)
		return err;
	start = clock_now_ns();
	err = files_unlink(dir, round);
	if (w == UNLINK)
		took = clock_now_ns() - start;
	*out = FILES / ((double)took / 1e9) / 1e3;
	return err;
}

/* --- data ----------------------------------------------------------------------------------------------------------
 */

static int data_open(const char *dir, int flags)
{
	char path[PATH_BYTES];
	int fd;

	snprintf(path, sizeof(path), "%s/data", dir);
	fd = open(path, flags | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static ssize_t move(int fd, bool write, size_t len, uint64_t off)
{
	ssize_t n = write ? pwrite(fd, env.buf, len, (off_t)off) : pread(fd, env.buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

static int data_fill(enum place p, const char *dir)
{
	int fd, err = 0;

	if (env.filled[p])
		return 0;
	if (!env.buf && posix_memalign((void **)&env.buf, LARGE, LARGE))
		return -ENOMEM;
	memset(env.buf, 7, LARGE);
	fd = data_open(dir, O_RDWR | O_CREAT);
	if (fd < 0)
		return fd;
	for (uint64_t off = 0; off < DATA_BYTES && !err; off += LARGE)
		err = move(fd, true, LARGE, off) == (ssize_t)LARGE ? 0 : -EIO;
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	env.filled[p] = !err;
	return err;
}

/* Pages that an earlier round left in the kernel's cache. */
static int data_forget(const char *dir)
{
	int fd = data_open(dir, O_RDWR), err;

	if (fd < 0)
		return fd;
	err = fsync(fd) ? -errno : -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	return err;
}

/* random: SMALL_OPS of len bytes anywhere, else the whole file from its start. */
static int data_moves(int fd, bool write, size_t len, bool random)
{
	uint64_t seed = 42 + env.rounds, count = random ? SMALL_OPS : DATA_BYTES / len;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = random ? next_random(&seed) % (DATA_BYTES / len) : i;

		if (move(fd, write, len, at * len) != (ssize_t)len)
			return -EIO;
	}
	return 0;
}

/* Microseconds each when small, else MB/s. A write through the page cache is over when fsync says so. */
static int data_round(const struct row *r, enum place p, const char *dir, bool direct, double *out)
{
	bool small = r->len == SMALL;
	uint64_t start;
	double took;
	int fd, err = data_fill(p, dir);

	if (!err)
		err = data_forget(dir);
	if (err)
		return err;
	env.rounds++;
	start = clock_now_ns();
	fd = data_open(dir, (r->write ? O_WRONLY : O_RDONLY) | (direct ? O_DIRECT : 0));
	if (fd < 0)
		return fd;
	err = data_moves(fd, r->write, r->len, small);
	if (!err && r->write && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	took = (double)(clock_now_ns() - start);
	*out = small ? took / 1e3 / SMALL_OPS : (double)DATA_BYTES / (took / 1e3);
	return err;
}

/* --- the rows ------------------------------------------------------------------------------------------------------
 */

static bool is_data(const struct row *r)
{
	return r->len != 0;
}

/* 4 KiB rows are about requests, so they go around the page cache; 1 MiB rows are what a copy does. */
static int round_at(const struct row *r, enum place p, bool other_way, double *out)
{
	char why[WHY_MAX];
	const char *dir = place_dir(p, why);

	if (!dir)
		return -ENODEV;
	if (is_data(r))
		return data_round(r, p, dir, (r->len == SMALL) != other_way, out);
	return names_round((enum work)r->depth, dir, out);
}

/* The median of a few rounds; 0 when it does not work there. */
static double trial(const struct row *r, enum place p, bool other_way)
{
	double v[TRIAL_ROUNDS];

	for (unsigned i = 0; i < TRIAL_ROUNDS; i++) {
		if (round_at(r, p, other_way, &v[i]))
			return 0;
	}
	return quantile(v, TRIAL_ROUNDS, 0.5);
}

static int mount_ready(const struct row *r, char *why)
{
	double with, without;

	if (!place_dir(OURS, why) || !place_dir(HP, why) || !place_dir(HP_NOSPLICE, why))
		return -ENODEV;
	with = trial(r, HP, false);
	without = trial(r, HP_NOSPLICE, false);
	if (with == 0 || without == 0)
		return bench_skip(why, -EIO, "passthrough_hp does not work here");
	facts_of(r)->peer = (r->rate ? with >= without : with <= without) ? HP : HP_NOSPLICE;
	return 0;
}

static int mount_ours(const struct row *r, double *out)
{
	return round_at(r, OURS, false, out);
}

static int mount_peer(const struct row *r, double *out)
{
	return round_at(r, facts_of(r)->peer, false, out);
}

static void mount_done(const struct row *r)
{
	struct facts *f = facts_of(r);

	for (enum place p = ON_EXT4; p < PLACES; p++)
		f->loop[p] = trial(r, p, false);
	if (!is_data(r))
		return;
	for (enum place p = 0; p < PLACES; p++) {
		if (p == OURS || p == f->peer || p == ON_EXT4 || p == ON_XFS)
			f->other[p] = trial(r, p, true);
	}
}

static const char *way(const struct row *r, bool other_way)
{
	return (r->len == SMALL) != other_way ? "O_DIRECT" : r->write ? "page cache, fsync" : "page cache, cold";
}

static void mount_report(const struct row *r)
{
	const struct facts *f = facts_of(r);

	printf("    the peer ran as %s; ext4 %.3g, XFS %.3g %s\n", place_names[f->peer], f->loop[ON_EXT4],
	       f->loop[ON_XFS], r->unit);
	if (is_data(r))
		printf("    that was %s; %s: ours %.3g, peer %.3g, ext4 %.3g, XFS %.3g %s\n", way(r, false),
		       way(r, true), f->other[OURS], f->other[f->peer], f->other[ON_EXT4], f->other[ON_XFS], r->unit);
}

static json_t *mount_details(const struct row *r)
{
	const struct facts *f = facts_of(r);
	json_t *o = json_pack("{ss sf sf}", "peer_options", place_names[f->peer], "ext4", f->loop[ON_EXT4], "xfs",
			      f->loop[ON_XFS]);

	if (!is_data(r))
		return o;
	json_object_set_new(o, "way", json_string(way(r, false)));
	json_object_set_new(o, "other_way",
			    json_pack("{ss sf sf sf sf}", "way", way(r, true), "ours", f->other[OURS], "peer",
				      f->other[f->peer], "ext4", f->other[ON_EXT4], "xfs", f->other[ON_XFS]));
	return o;
}

#define MOUNT_ROW(n, u, is_rate, ...)                                                                                  \
	{                                                                                                              \
		.name = n, .unit = u, .peer_name = "libfuse's passthrough_hp over tmpfs", .goal = 1.5,                 \
		.rate = is_rate, .ready = mount_ready, .ours = mount_ours, .peer = mount_peer, .done = mount_done,     \
		.report = mount_report, .details = mount_details, __VA_ARGS__                                          \
	}

const struct row mount_rows[] = {
    MOUNT_ROW("mount_create", "k/s", true, .depth = CREATE),
    MOUNT_ROW("mount_stat", "k/s", true, .depth = STAT),
    MOUNT_ROW("mount_unlink", "k/s", true, .depth = UNLINK),
    MOUNT_ROW("mount_read_4k", "us", false, .depth = READ, .len = SMALL),
    MOUNT_ROW("mount_write_4k", "us", false, .depth = WRITE, .len = SMALL, .write = true),
    MOUNT_ROW("mount_read_1m", "MB/s", true, .depth = READ, .len = LARGE),
    MOUNT_ROW("mount_write_1m", "MB/s", true, .depth = WRITE, .len = LARGE, .write = true),
};
static_assert(ARRAY_LEN(mount_rows) == ROWS, "each has its facts");
const unsigned mount_row_count = ROWS;

void mount_finish(void)
{
	free(env.buf);
	mount_rig_finish();
}
