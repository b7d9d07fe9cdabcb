/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fio_*: random 4 KiB reads and writes as fio counts them, with our external engine on a pool in process, against fio's
 * own psync engine on tmpfs. The same file size, block size, depth and offsets, both time_based, both files laid out
 * by fio with data; the pool is a file on tmpfs. fio's mmap engine is run beside and reported.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include <leasehold/leasehold.h>

#include "base/types.h"
#include "bench.h"

#define POOL_BYTES ((uint64_t)384 << 20)
#define FILE_SIZE  "--size=256M"
#define ARGS_MAX   24u
#define MMAP_MAX   100u
#define ROWS       4u

extern char **environ;

static struct {
	char engine[PATH_MAX], pool[128], file[128], out[128];
	bool tried;
	double mmap[MMAP_MAX]; /* of the row that runs */
	unsigned mmaps;
	double median[ROWS]; /* of mmap, of the rows that ran */
} env;

/* --- the engine --- */

static bool engine_is(const char *path)
{
	snprintf(env.engine, sizeof(env.engine), "%s", path);
	return access(env.engine, R_OK) == 0;
}

/* Named, or in the build tree beside this program, or installed. */
static bool engine_find(void)
{
	const char *named = getenv("LEASEHOLD_FIO_ENGINE");
	char self[PATH_MAX - 64], path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (named)
		return engine_is(named);
	if (n > 0) {
		self[n] = '\0';
		snprintf(path, sizeof(path), "%s/../src/fio/fio-leasehold.so", dirname(self));
		if (engine_is(path))
			return true;
	}
	return engine_is(LH_LIBDIR "/leasehold/fio-leasehold.so");
}

/* --- a run of fio --- */

static int spawn_fio(char *const argv[])
{
	posix_spawn_file_actions_t quiet;
	int status, err;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, env.out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	err = posix_spawnp(&pid, argv[0], &quiet, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&quiet);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* Operations a second of the only job. Notes of fio may stand before the object. */
static int result(bool write, double *out)
{
	FILE *f = fopen(env.out, "re");
	json_t *all = NULL, *job;
	int c = 0;

	if (!f)
		return -errno;
	while (c != '{' && c != EOF)
		c = getc(f);
	if (c == '{') {
		ungetc(c, f);
		all = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
	}
	fclose(f);
	job = json_array_get(json_object_get(all, "jobs"), 0);
	*out = json_number_value(json_object_get(json_object_get(job, write ? "write" : "read"), "iops"));
	c = (int)json_integer_value(json_object_get(job, "error"));
	json_decref(all);
	return c || *out <= 0 ? -EIO : 0;
}

static int run_fio(const struct row *r, const char *engine, const char *file, const char *pool, double *out)
{
	char depth[32], rw[32], name[64], ioengine[PATH_MAX + 32];
	char *argv[ARGS_MAX] = {"fio",
				"--output-format=json",
				name,
				ioengine,
				(char *)file,
				FILE_SIZE,
				"--bs=4k",
				rw,
				depth,
				"--time_based",
				"--runtime=1",
				"--norandommap",
				"--overwrite=1",
				"--randrepeat=1",
				(char *)pool};
	int err;

	snprintf(name, sizeof(name), "--name=%s", r->name);
	snprintf(ioengine, sizeof(ioengine), "--ioengine=%s", engine);
	snprintf(rw, sizeof(rw), "--rw=%s", r->write ? "randwrite" : "randread");
	snprintf(depth, sizeof(depth), "--iodepth=%u", r->depth);
	err = spawn_fio(argv);
	return err ? err : result(r->write, out);
}

static int fio_ready(const struct row *r, char *why)
{
	struct lh_make_options make = {.size = sizeof(make), .pool_size = POOL_BYTES};
	char *const version[] = {"fio", "--version", NULL};
	int err;

	env.mmaps = 0;
	if (env.tried)
		return 0;
	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	if (!engine_find())
		return bench_skip(why, -ENOENT, "fio's engine is not built (scripts/fio-source, -Dfio_source)");
	snprintf(env.out, sizeof(env.out), "%s/fio.out", tmpfs_dir());
	if (spawn_fio(version))
		return bench_skip(why, -ENOENT, "fio is not installed");
	snprintf(env.pool, sizeof(env.pool), "%s/fio.pool", tmpfs_dir());
	snprintf(env.file, sizeof(env.file), "%s/fio.data", tmpfs_dir());
	err = lh_pool_make(env.pool, &make);
	if (err)
		return bench_skip(why, err, "ours: %s", lh_error_text());
	env.tried = true;
	return 0;
}

static int fio_ours(const struct row *r, double *out)
{
	char engine[PATH_MAX + 16], pool[160];

	snprintf(engine, sizeof(engine), "external:%s", env.engine);
	/* fio takes an engine's options behind the engine only. */
	snprintf(pool, sizeof(pool), "--pool=%s", env.pool);
	return run_fio(r, engine, "--filename=/data", pool, out);
}

static int fio_peer(const struct row *r, double *out)
{
	char file[160];
	int err;

	snprintf(file, sizeof(file), "--filename=%s", env.file);
	err = run_fio(r, "psync", file, NULL, out);
	if (!err && env.mmaps < MMAP_MAX && run_fio(r, "mmap", file, NULL, &env.mmap[env.mmaps]) == 0)
		env.mmaps++;
	return err;
}

static void fio_done(const struct row *r)
{
	if (env.mmaps)
		env.median[r - fio_rows] = quantile(env.mmap, env.mmaps, 0.5);
}

static void fio_report(const struct row *r)
{
	printf("%20s fio's mmap engine on tmpfs: %.3g ops/s\n", "", env.median[r - fio_rows]);
}

static struct json_t *fio_details(const struct row *r)
{
	return json_pack("{sf}", "mmap", env.median[r - fio_rows]);
}

#define ROW(n, w, d)                                                                                                   \
	{                                                                                                              \
		.name = n, .unit = "ops/s", .peer_name = "fio psync on tmpfs", .goal = 1.5, .rate = true,              \
		.ready = fio_ready, .ours = fio_ours, .peer = fio_peer, .done = fio_done, .report = fio_report,        \
		.details = fio_details, .len = 4096, .depth = d, .write = w                                            \
	}

const struct row fio_rows[] = {
    ROW("fio_read_4k_qd1", false, 1),
    ROW("fio_write_4k_qd1", true, 1),
    ROW("fio_read_4k_qd32", false, 32),
    ROW("fio_write_4k_qd32", true, 32),
};
static_assert(ARRAY_LEN(fio_rows) == ROWS, "a median for each");
const unsigned fio_row_count = ARRAY_LEN(fio_rows);

void fio_finish(void)
{
	if (env.out[0])
		unlink(env.out);
	if (env.file[0])
		unlink(env.file);
	if (env.pool[0])
		unlink(env.pool);
}
