/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold truncate */
#include <fcntl.h>

#include "cli/cli.h"

enum { OPT_NOWAIT = 256 };

static const struct cli_option options[] = {
    {'c', "no-create", NULL, "fail when the file does not exist"},
    {OPT_NOWAIT, "nowait", NULL, "do not wait for others' leases: fail, their recall goes on"},
    {0},
};
static const struct cli_verb verb = {
    .name = "truncate",
    .operands = "PATH SIZE",
    .text = "Sets the size of a file: cuts it, or lets it grow by a hole.\n",
    .example = "leasehold -p /dev/shm/a.pool truncate /data/table 1G\n",
    .options = options,
    .min = 2,
    .max = 2,
    .paths = PATHS_FIRST,
};

int verb_truncate(int argc, char **argv)
{
	bool nowait = false;
	int flags = O_WRONLY | O_CREAT;
	struct lh_file *file;
	struct lh_fs *fs;
	uint64_t size;
	int err, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == OPT_NOWAIT)
			nowait = true;
		else
			flags &= ~O_CREAT;
	}
	size = cli_size(argv[optind + 1], "size");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	lh_fs_set_nowait(fs, nowait);
	err = lh_file_open(fs, argv[optind], flags, 0644, &file);
	if (!err) {
		err = lh_file_truncate(file, size);
		if (err)
			cli_error(err, "%s", argv[optind]);
		lh_file_close(file);
	} else {
		cli_error(err, "%s", argv[optind]);
	}
	return cli_close(fs, err ? CLI_FAILED : CLI_OK);
}
