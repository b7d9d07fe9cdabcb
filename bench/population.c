/* SPDX-License-Identifier: BSD-2-Clause */
#include "population.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"

#define PATH_ROOM 64
#define BLOCK     4096u

const char *const file_step_names[FILE_STEPS] = {"create", "lookup", "stat", "rename", "unlink"};

static void file_path(char *buf, const char *kind, uint64_t i)
{
	snprintf(buf, PATH_ROOM, "/d/%s-%08" PRIu64, kind, i);
}

static int file_make(struct lh_fs *fs, const char *path, bool block)
{
	struct lh_file *file;
	int err = lh_file_open(fs, path, O_RDWR | O_CREAT | O_EXCL, 0600, &file);

	if (err)
		return err;
	if (block)
		err = lh_file_allocate(file, 0, BLOCK, false);
	lh_file_close(file);
	return err;
}

int files_fill(struct files *f, struct lh_fs *fs, uint64_t count, bool blocks)
{
	char path[PATH_ROOM];
	int err = lh_path_mkdir(fs, "/d", 0700);

	*f = (struct files){.fs = fs, .count = count, .seed = 0x9e3779b97f4a7c15ull};
	for (uint64_t i = 0; i < count && !err; i++) {
		file_path(path, "file", i);
		err = file_make(fs, path, blocks);
	}
	return err;
}

static int file_step(struct files *f, enum file_step step, unsigned i)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	char a[PATH_ROOM], b[PATH_ROOM];
	struct lh_file *file;
	int err;

	switch (step) {
	case FILE_CREATE:
		file_path(a, "extra", i);
		return file_make(f->fs, a, false);
	case FILE_LOOKUP:
		file_path(a, "file", next_random(&f->seed) % f->count);
		err = lh_file_open(f->fs, a, O_RDONLY, 0, &file);
		return err ? err : lh_file_close(file);
	case FILE_STAT:
		file_path(a, "file", next_random(&f->seed) % f->count);
		return lh_path_stat(f->fs, a, true, &st);
	case FILE_RENAME:
		file_path(a, "extra", i);
		file_path(b, "moved", i);
		return lh_path_rename(f->fs, a, b, 0);
	case FILE_UNLINK:
		file_path(a, "moved", i);
		return lh_path_unlink(f->fs, a);
	case FILE_STEPS:
		break;
	}
	return -EINVAL;
}

int files_round(struct files *f, unsigned ops, double ns[FILE_STEPS])
{
	for (enum file_step s = FILE_CREATE; s < FILE_STEPS; s++) {
		uint64_t start = clock_now_ns();

		for (unsigned i = 0; i < ops; i++) {
			int err = file_step(f, s, i);

			if (err)
				return err;
		}
		ns[s] = (double)(clock_now_ns() - start) / ops;
	}
	return 0;
}

/* The block of extent number i: every second one. */
static uint64_t extent_off(uint64_t i)
{
	return 2 * i * BLOCK;
}

int extents_fill(struct extents *e, struct lh_fs *fs, const char *path, uint64_t count)
{
	int err;

	*e = (struct extents){.fs = fs, .count = count, .seed = 0x9e3779b97f4a7c15ull};
	err = lh_file_open(fs, path, O_RDWR | O_CREAT | O_EXCL, 0600, &e->file);
	for (uint64_t i = 0; i < count && !err; i++)
		err = lh_file_allocate(e->file, extent_off(i), BLOCK, false);
	return err;
}

void extents_close(struct extents *e)
{
	lh_file_close(e->file);
	e->file = NULL;
}

int extents_lookup(struct extents *e, unsigned ops, double *ns)
{
	uint64_t start = clock_now_ns(), word;

	for (unsigned i = 0; i < ops; i++) {
		uint64_t off = extent_off(next_random(&e->seed) % e->count);
		ssize_t n = lh_file_read(e->file, &word, sizeof(word), off);

		if (n != (ssize_t)sizeof(word))
			return n < 0 ? (int)n : -EIO;
	}
	*ns = (double)(clock_now_ns() - start) / ops;
	return 0;
}
