/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold cp */
#include <fcntl.h>

#include "cli/two.h"

static const struct cli_option options[] = {TWO_OPTIONS("SOURCE", "DESTINATION"), {0}};
static const struct cli_verb verb = {
    .name = "cp",
    .operands = "SOURCE DESTINATION",
    .text = "Copies inside the filesystem: blocks are shared where the offsets allow it, the rest is copied. Without a "
	    "range\n"
	    "DESTINATION becomes what SOURCE is; with one, only that range of it changes.\n",
    .example = "leasehold -p /dev/shm/a.pool cp /data/table /data/copy\n"
	       "leasehold -p /dev/shm/a.pool cp --from 100 --length 1M --to 0 /data/log /data/tail\n",
    .options = options,
    .min = 2,
    .max = 2,
    .paths = PATHS_ALL,
};

static ssize_t copy(const struct two *t)
{
	uint64_t done = 0;

	while (done < t->length) {
		ssize_t n =
		    lh_file_copy_range(t->file[1], t->off[1] + done, t->file[0], t->off[0] + done, t->length - done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	return 0;
}

static int cp(struct lh_fs *fs, struct two *t)
{
	bool whole = !t->length_given && t->off[0] == 0 && t->off[1] == 0;
	struct lh_stat st[2] = {{.size_of = sizeof(st[0])}, {.size_of = sizeof(st[1])}};
	int status = two_open(t, fs, O_RDONLY, O_RDWR | O_CREAT);
	ssize_t err = 0;

	if (status == CLI_OK)
		err = lh_file_stat(t->file[0], &st[0]);
	if (status == CLI_OK && !err)
		err = lh_file_stat(t->file[1], &st[1]);
	if (status == CLI_OK && !err && whole) {
		if (st[0].ino == st[1].ino)
			status = cli_fail("%s and %s are the same file", t->path[0], t->path[1]);
		else
			err = lh_file_truncate(t->file[1], 0);
	}
	if (status == CLI_OK && !err)
		err = copy(t);
	if (err)
		status = cli_error((int)err, "%s to %s", t->path[0], t->path[1]);
	two_close(t);
	return status;
}

int verb_cp(int argc, char **argv)
{
	struct lh_fs *fs;
	struct two t;

	two_parse(&t, &verb, argc, argv);
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	return cli_close(fs, cp(fs, &t));
}
