/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filesystems that are full of something: files in one directory, extents in one file. For the growth_ rows and the
 * curves. Everything by the public calls; one thread.
 */
#ifndef LH_BENCH_POPULATION_H
#define LH_BENCH_POPULATION_H

#include <leasehold/leasehold.h>

/* --- files: "/d/file-N", empty, all in one directory --- */

enum file_step { FILE_CREATE, FILE_LOOKUP, FILE_STAT, FILE_RENAME, FILE_UNLINK, FILE_STEPS };
extern const char *const file_step_names[FILE_STEPS];

struct files {
	struct lh_fs *fs;
	uint64_t count;
	uint64_t seed;
};

/* Fills fs with count files. blocks: each gets one (unwritten: it costs metadata, no bytes). */
int files_fill(struct files *f, struct lh_fs *fs, uint64_t count, bool blocks);
/*
 * One round of all steps, ops of each, beside the files that are there: creates extra ones, looks up (opens and closes)
 * and stats random ones of all, renames and removes the extra ones. ns[step]: per operation.
 */
int files_round(struct files *f, unsigned ops, double ns[FILE_STEPS]);

/* --- extents: a file with a hole after each block, unwritten, so that no data is touched --- */

struct extents {
	struct lh_fs *fs;
	struct lh_file *file;
	uint64_t count;
	uint64_t seed;
};
int extents_fill(struct extents *e, struct lh_fs *fs, const char *path, uint64_t count);
void extents_close(struct extents *e);
/* Reads 8 bytes of random extents; ns per read. */
int extents_lookup(struct extents *e, unsigned ops, double *ns);

#endif
