/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold punch */
#include <fcntl.h>

#include "cli/cli.h"

enum { OPT_NOWAIT = 256 };

static const struct cli_option options[] = {
    {OPT_NOWAIT, "nowait", NULL, "do not wait for others' leases: fail, their recall goes on"},
    {0},
};
static const struct cli_verb verb = {
    .name = "punch",
    .operands = "PATH OFFSET LENGTH",
    .text = "Frees the blocks of a range, which reads as zeroes afterwards. The size stays.\n",
    .example = "leasehold -p /dev/shm/a.pool punch /data/log 0 64M\n",
    .options = options,
    .min = 3,
    .max = 3,
    .paths = PATHS_FIRST,
};

int verb_punch(int argc, char **argv)
{
	bool nowait = false;
	struct lh_file *file;
	struct lh_fs *fs;
	uint64_t off, len;
	int err;

	while (cli_next(&verb, argc, argv) != -1)
		nowait = true;
	off = cli_size(argv[optind + 1], "offset");
	len = cli_size(argv[optind + 2], "length");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	lh_fs_set_nowait(fs, nowait);
	err = lh_file_open(fs, argv[optind], O_WRONLY, 0, &file);
	if (!err) {
		err = lh_file_punch(file, off, len);
		if (err)
			cli_error(err, "%s", argv[optind]);
		lh_file_close(file);
	} else {
		cli_error(err, "%s", argv[optind]);
	}
	return cli_close(fs, err ? CLI_FAILED : CLI_OK);
}
