/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold clone */
#include <errno.h>
#include <fcntl.h>

#include "cli/cli.h"

enum { OPT_FROM = 256, OPT_LENGTH, OPT_TO, OPT_NOWAIT };

static const struct cli_option options[] = {
    {OPT_FROM, "from", "OFFSET", "first byte in SOURCE; default 0. A multiple of the block size, as all three"},
    {OPT_LENGTH, "length", "SIZE", "how much; default: to the end of SOURCE"},
    {OPT_TO, "to", "OFFSET", "first byte in DESTINATION; default 0"},
    {OPT_NOWAIT, "nowait", NULL, "do not wait for others' leases: fail, their recall goes on"},
    {0},
};
static const struct cli_verb verb = {
    .name = "clone",
    .operands = "SOURCE DESTINATION",
    .text =
	"Makes DESTINATION share SOURCE's blocks: no byte is copied until one of them is written. DESTINATION is made\n"
	"when it does not exist, with SOURCE's permissions; what it had in the range is replaced.\n",
    .example = "leasehold -p /dev/shm/a.pool clone /data/table /data/table.before\n",
    .options = options,
    .min = 2,
    .max = 2,
    .paths = PATHS_ALL,
};

struct ranges {
	uint64_t from, length, to;
};

/* Opens what is there, or makes it and says so in *made. */
static int open_destination(struct lh_fs *fs, const char *path, uint32_t mode, struct lh_file **to, bool *made)
{
	int err = lh_file_open(fs, path, O_WRONLY | O_CREAT | O_EXCL, mode, to);

	*made = err == 0;
	return err == -EEXIST ? lh_file_open(fs, path, O_WRONLY | O_CREAT, mode, to) : err;
}

static int clone(struct lh_fs *fs, const char *source, const char *destination, const struct ranges *r)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *from = NULL, *to = NULL;
	bool made = false;
	int err;

	err = lh_file_open(fs, source, O_RDONLY, 0, &from);
	if (err)
		return cli_error(err, "%s", source);
	err = lh_file_stat(from, &st);
	if (!err)
		err = open_destination(fs, destination, st.mode & 0777, &to, &made);
	if (!err)
		err = lh_file_clone_range(to, r->to, from, r->from, r->length);
	if (err)
		cli_error(err, "%s to %s", source, destination);
	if (err && made)
		lh_path_unlink(fs, destination);
	lh_file_close(to);
	lh_file_close(from);
	return err ? CLI_FAILED : CLI_OK;
}

int verb_clone(int argc, char **argv)
{
	struct ranges r = {0};
	bool nowait = false;
	struct lh_fs *fs;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == OPT_FROM)
			r.from = cli_size(optarg, "--from");
		else if (key == OPT_LENGTH)
			r.length = cli_size(optarg, "--length");
		else if (key == OPT_TO)
			r.to = cli_size(optarg, "--to");
		else
			nowait = true;
	}
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	lh_fs_set_nowait(fs, nowait);
	return cli_close(fs, clone(fs, argv[optind], argv[optind + 1], &r));
}
