/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * At 10^3 to 10^7 files: the steps of files_round, log bytes of each, mount and checkpoint time, memory per file, and
 * the longest call while a checkpoint runs. The pool is a file on tmpfs, so that it can be mounted again.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/backend.h"
#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "curves.h"
#include "fs/fs.h"
#include "population.h"

#define ROUNDS    5u
#define ROUND_OPS 5000u
#define POINTS    5u
#define POOL_BASE ((uint64_t)256 << 20)
#define POOL_FILE 700u     /* bytes of pool for a file: two checkpoints and log */
#define BLOCK_MAX 1000000u /* up to here a second population has a block each, for the memory */

struct point {
	double ns[FILE_STEPS], log[FILE_STEPS];
	double mount_ms, checkpoint_ms, pause_ms, bytes;
};

/* Anonymous memory of this process in bytes: what the filesystem keeps, without the pool. */
static double memory_now(void)
{
	char line[128];
	double kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "RssAnon:", 8) == 0)
			kib = strtod(line + 8, NULL);
	}
	if (f)
		fclose(f);
	return kib * 1024;
}

/* --- the longest call beside a checkpoint --------------------------------------------------------------------------
 */

struct pause {
	struct lh_fs *fs;
	_Atomic bool stop;
	uint64_t longest_ns;
	int err;
};

static void *pause_run(void *arg)
{
	struct pause *p = arg;
	struct lh_stat st = {.size_of = sizeof(st)};
	char path[64];

	for (unsigned i = 0; !atomic_load(&p->stop) && !p->err; i++) {
		struct lh_file *file;
		uint64_t start = clock_now_ns(), took;

		snprintf(path, sizeof(path), "/d/beside-%u", i);
		switch (i % 3) {
		case 0:
			p->err = lh_file_open(p->fs, path, O_RDWR | O_CREAT, 0600, &file);
			if (!p->err)
				lh_file_close(file);
			break;
		case 1:
			p->err = lh_path_stat(p->fs, "/d/file-00000007", true, &st);
			break;
		case 2:
			snprintf(path, sizeof(path), "/d/beside-%u", i - 2);
			p->err = lh_path_unlink(p->fs, path);
			break;
		}
		took = clock_now_ns() - start;
		if (took > p->longest_ns)
			p->longest_ns = took;
	}
	return NULL;
}

static int checkpoint_beside(struct lh_fs *fs, struct point *out)
{
	struct pause p = {.fs = fs};
	uint64_t start;
	pthread_t thread;
	int err = -pthread_create(&thread, NULL, pause_run, &p);

	if (err)
		return err;
	start = clock_now_ns();
	err = fs_checkpoint(local_fs(fs));
	out->checkpoint_ms = (double)(clock_now_ns() - start) / 1e6;
	atomic_store(&p.stop, true);
	pthread_join(thread, NULL);
	out->pause_ms = (double)p.longest_ns / 1e6;
	return err ? err : p.err;
}

/* --- one number of files -------------------------------------------------------------------------------------------
 */

static int log_bytes(struct lh_fs *fs, uint64_t *out)
{
	struct lh_statfs st = {.size = sizeof(st)};
	int err = lh_fs_stat(fs, &st);

	*out = st.log_bytes;
	return err;
}

/* What one operation of each step adds to the log; a step whose log a checkpoint cut is left out. */
static int measure_log(struct files *f, struct point *out)
{
	char a[64], b[64];
	uint64_t before, after;
	struct lh_file *file;
	int err = fs_checkpoint(local_fs(f->fs));

	for (enum file_step s = FILE_CREATE; s < FILE_STEPS && !err; s++) {
		if (s == FILE_LOOKUP || s == FILE_STAT)
			continue;
		err = log_bytes(f->fs, &before);
		for (unsigned i = 0; i < 100 && !err; i++) {
			snprintf(a, sizeof(a), "/d/extra-%08u", i);
			snprintf(b, sizeof(b), "/d/moved-%08u", i);
			if (s == FILE_CREATE) {
				err = lh_file_open(f->fs, a, O_RDWR | O_CREAT, 0600, &file);
				if (!err)
					lh_file_close(file);
			} else {
				err = s == FILE_RENAME ? lh_path_rename(f->fs, a, b, 0) : lh_path_unlink(f->fs, b);
			}
		}
		if (!err)
			err = log_bytes(f->fs, &after);
		if (!err && after > before)
			out->log[s] = (double)(after - before) / 100;
	}
	return err;
}

static int measure_steps(struct files *f, struct point *out)
{
	double ns[FILE_STEPS][ROUNDS], round[FILE_STEPS];

	for (unsigned k = 0; k < ROUNDS; k++) {
		int err = files_round(f, ROUND_OPS, round);

		if (err)
			return err;
		for (unsigned s = 0; s < FILE_STEPS; s++)
			ns[s][k] = round[s];
	}
	for (unsigned s = 0; s < FILE_STEPS; s++)
		out->ns[s] = quantile(ns[s], ROUNDS, 0.5);
	return 0;
}

/* Memory per file, each with a block. A child process, because freed memory would hide what the next one takes. */
static int measure_memory(uint64_t count, double *out)
{
	struct lh_fs *fs;
	struct files f;
	double before;
	char where[64];
	int err;

	snprintf(where, sizeof(where), "mem:%lluM",
		 (unsigned long long)((POOL_BASE + count * (POOL_FILE + 4096)) >> 20));
	err = lh_fs_open(where, NULL, &fs);
	if (err)
		return err;
	before = memory_now();
	err = files_fill(&f, fs, count, true);
	*out = (memory_now() - before) / (double)count;
	lh_fs_close(fs);
	return err;
}

static int measure_in_child(uint64_t count, double *out)
{
	int pipefd[2], err = 0;
	pid_t pid;

	if (pipe(pipefd))
		return -errno;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		double bytes = 0;

		err = measure_memory(count, &bytes);
		_exit(err || write(pipefd[1], &bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes));
	}
	close(pipefd[1]);
	if (pid < 0 || read(pipefd[0], out, sizeof(*out)) != (ssize_t)sizeof(*out))
		err = -EIO;
	close(pipefd[0]);
	return err;
}

static int mount_again(const char *path, struct lh_fs **fs, struct point *out)
{
	uint64_t start;
	int err = lh_fs_close(*fs);

	*fs = NULL;
	if (err)
		return err;
	start = clock_now_ns();
	err = lh_fs_open(path, NULL, fs);
	out->mount_ms = (double)(clock_now_ns() - start) / 1e6;
	return err;
}

static int measure(uint64_t count, struct point *out)
{
	struct lh_make_options make = {
	    .size = sizeof(make), .pool_size = POOL_BASE + count * POOL_FILE, .overwrite = true};
	struct lh_fs *fs = NULL;
	struct files f;
	char path[160];
	int err;

	memset(out, 0, sizeof(*out));
	if (count <= BLOCK_MAX) {
		err = measure_in_child(count, &out->bytes);
		if (err)
			return err;
	}
	snprintf(path, sizeof(path), "%s/curves.pool", tmpfs_dir());
	err = lh_pool_make(path, &make);
	if (!err)
		err = lh_fs_open(path, NULL, &fs);
	if (!err)
		err = files_fill(&f, fs, count, false);
	if (!err)
		err = measure_steps(&f, out);
	if (!err)
		err = measure_log(&f, out);
	if (!err)
		err = checkpoint_beside(fs, out);
	if (!err)
		err = mount_again(path, &fs, out);
	if (err)
		fprintf(stderr, "leasehold-bench: %llu files: %s\n", (unsigned long long)count, lh_error_text());
	lh_fs_close(fs);
	unlink(path);
	return err;
}

int curves_files(uint64_t max_files)
{
	struct point p[POINTS];
	uint64_t count[POINTS];
	unsigned n = 0;

	if (!tmpfs_dir())
		return -ENOENT;
	for (uint64_t c = 1000; c <= max_files && n < POINTS; c *= 10) {
		int err = measure(c, &p[n]);

		if (err)
			return err;
		count[n] = c;
		curve_say(
		    "%9llu files: create %.0f ns, stat %.0f ns, unlink %.0f ns; mount %.1f ms, checkpoint %.1f ms, "
		    "longest call beside it %.2f ms; %.0f bytes of memory per file with a block",
		    (unsigned long long)c, p[n].ns[FILE_CREATE], p[n].ns[FILE_STAT], p[n].ns[FILE_UNLINK],
		    p[n].mount_ms, p[n].checkpoint_ms, p[n].pause_ms, p[n].bytes);
		n++;
	}
	curve_figure("files_cost", "Cost of an operation, files in one directory", "files", "ns", LOG_X);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned s = 0; s < FILE_STEPS; s++)
			curve_point(file_step_names[s], (double)count[i], p[i].ns[s]);
	}
	curve_figure("files_log", "Log bytes of an operation", "files", "bytes", LOG_X);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned s = 0; s < FILE_STEPS; s++) {
			if (p[i].log[s] > 0)
				curve_point(file_step_names[s], (double)count[i], p[i].log[s]);
		}
	}
	curve_figure("files_time", "Mount, checkpoint, and the longest call beside a checkpoint", "files", "ms",
		     LOG_X | LOG_Y);
	for (unsigned i = 0; i < n; i++) {
		curve_point("mount", (double)count[i], p[i].mount_ms);
		curve_point("checkpoint", (double)count[i], p[i].checkpoint_ms);
		curve_point("longest call", (double)count[i], p[i].pause_ms);
	}
	curve_figure("files_memory", "Memory of a small file with one block", "files", "bytes", LOG_X);
	for (unsigned i = 0; i < n; i++) {
		if (p[i].bytes > 0)
			curve_point("bytes per file", (double)count[i], p[i].bytes);
	}
	return 0;
}
