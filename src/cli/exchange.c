/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold exchange */
#include <fcntl.h>

#include "cli/two.h"

static const struct cli_option options[] = {TWO_OPTIONS("FILE", "OTHER"), {0}};
static const struct cli_verb verb = {
    .name = "exchange",
    .operands = "FILE OTHER",
    .text = "Exchanges the content of a range of two files, or of one with itself, at one moment: no reader and no "
	    "crash sees\n"
	    "half of it. Whole blocks, or to the end of both.\n",
    .example = "leasehold -p unix:/run/lh.sock exchange /data/table /data/table.new\n",
    .options = options,
    .min = 2,
    .max = 2,
    .paths = PATHS_ALL,
};

static int exchange(struct lh_fs *fs, struct two *t)
{
	int status = two_open(t, fs, O_RDWR, O_RDWR);
	int err = 0;

	if (status == CLI_OK)
		err = lh_file_exchange_range(t->file[0], t->off[0], t->file[1], t->off[1], t->length);
	if (err)
		status = cli_error(err, "%s, %s", t->path[0], t->path[1]);
	two_close(t);
	return status;
}

int verb_exchange(int argc, char **argv)
{
	struct lh_fs *fs;
	struct two t;

	two_parse(&t, &verb, argc, argv);
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	return cli_close(fs, exchange(fs, &t));
}
