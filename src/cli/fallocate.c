/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold fallocate */
#include <fcntl.h>
#include <linux/falloc.h>

#include "cli/cli.h"

enum { OPT_NOWAIT = 256, OPT_UNSHARE };

static const struct cli_option options[] = {
    {'n', "keep-size", NULL, "the size of the file stays"},
    {'p', "punch-hole", NULL, "free the range's blocks; it reads as zeroes"},
    {'z', "zero-range", NULL, "zeroes, with blocks"},
    {'c', "collapse-range", NULL, "take the range out: what is behind it moves down. Whole blocks"},
    {'i', "insert-range", NULL, "a hole there: what was there and behind moves up. Whole blocks"},
    {OPT_UNSHARE, "unshare-range", NULL, "blocks of its own for what is shared with other files"},
    {OPT_NOWAIT, "nowait", NULL, "do not wait for others' leases: fail, their recall goes on"},
    {0},
};
static const struct cli_verb verb = {
    .name = "fallocate",
    .operands = "PATH OFFSET LENGTH",
    .text = "Changes the layout of a range, as fallocate(1). Without an option: reserves space, and makes the file if "
	    "there is\n"
	    "none.\n",
    .example = "leasehold -p /dev/shm/a.pool fallocate /data/log 0 256M\n"
	       "leasehold -p /dev/shm/a.pool fallocate --collapse-range /data/log 0 64K\n",
    .options = options,
    .min = 3,
    .max = 3,
    .paths = PATHS_FIRST,
};

static int mode_of(int key)
{
	switch (key) {
	case 'n':
		return FALLOC_FL_KEEP_SIZE;
	case 'p':
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	case 'z':
		return FALLOC_FL_ZERO_RANGE;
	case 'c':
		return FALLOC_FL_COLLAPSE_RANGE;
	case 'i':
		return FALLOC_FL_INSERT_RANGE;
	case OPT_UNSHARE:
		return FALLOC_FL_UNSHARE_RANGE;
	default:
		return 0;
	}
}

static int change(struct lh_fs *fs, const char *path, int mode, uint64_t off, uint64_t len)
{
	bool makes = (mode & ~FALLOC_FL_KEEP_SIZE) == 0;
	struct lh_file *file;
	int err;

	err = lh_file_open(fs, path, O_RDWR | (makes ? O_CREAT : 0), 0644, &file);
	if (err)
		return cli_error(err, "%s", path);
	err = lh_file_fallocate(file, mode, off, len);
	if (err)
		cli_error(err, "%s", path);
	lh_file_close(file);
	return err ? CLI_FAILED : CLI_OK;
}

int verb_fallocate(int argc, char **argv)
{
	bool nowait = false;
	uint64_t off, len;
	struct lh_fs *fs;
	int mode = 0;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		mode |= mode_of(key);
		nowait |= key == OPT_NOWAIT;
	}
	off = cli_size(argv[optind + 1], "offset");
	len = cli_size(argv[optind + 2], "length");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	lh_fs_set_nowait(fs, nowait);
	return cli_close(fs, change(fs, argv[optind], mode, off, len));
}
