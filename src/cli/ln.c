/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold ln */
#include "cli/cli.h"

static const struct cli_option options[] = {
    {'s', "symbolic", NULL, "a symbolic link: TARGET is text and need not exist"},
    {0},
};
static const struct cli_verb verb = {
    .name = "ln",
    .operands = "TARGET LINK",
    .text = "Makes LINK: another name of the file TARGET, or a symbolic link to it.\n",
    .example = "leasehold -p /dev/shm/a.pool ln -s ../data/table /current\n",
    .options = options,
    .min = 2,
    .max = 2,
};

int verb_ln(int argc, char **argv)
{
	bool symbolic = false;
	struct lh_fs *fs;
	int err;

	while (cli_next(&verb, argc, argv) != -1)
		symbolic = true;
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	if (symbolic)
		err = lh_path_symlink(fs, argv[optind], argv[optind + 1]);
	else
		err = lh_path_link(fs, argv[optind], argv[optind + 1]);
	return cli_close(fs, err ? cli_error(err, "%s to %s", argv[optind + 1], argv[optind]) : CLI_OK);
}
