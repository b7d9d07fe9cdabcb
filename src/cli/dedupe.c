/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold dedupe */
#include <fcntl.h>

#include "cli/two.h"

static const struct cli_option options[] = {TWO_OPTIONS("FILE", "OTHER"), {0}};
static const struct cli_verb verb = {
    .name = "dedupe",
    .operands = "FILE OTHER",
    .text = "Lets OTHER share FILE's blocks where both have the same bytes, which is checked while nobody can write. "
	    "Where they\n"
	    "differ nothing changes, and the status is 1.\n",
    .example = "leasehold -p /dev/shm/a.pool dedupe /data/monday /data/tuesday\n",
    .options = options,
    .min = 2,
    .max = 2,
    .paths = PATHS_ALL,
};

static int dedupe(struct lh_fs *fs, struct two *t)
{
	int status = two_open(t, fs, O_RDONLY, O_RDWR);
	int n = 0;

	if (status == CLI_OK && t->length > 0)
		n = lh_file_dedupe_range(t->file[1], t->off[1], t->file[0], t->off[0], t->length);
	if (n < 0)
		status = cli_error(n, "%s, %s", t->path[0], t->path[1]);
	else if (n > 0)
		status = cli_fail("%s and %s differ", t->path[0], t->path[1]);
	two_close(t);
	return status;
}

int verb_dedupe(int argc, char **argv)
{
	struct lh_fs *fs;
	struct two t;

	two_parse(&t, &verb, argc, argv);
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	return cli_close(fs, dedupe(fs, &t));
}
