/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold mv */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/cli.h"

enum { OPT_EXCHANGE = 256 };

static const struct cli_option options[] = {
    {'n', "no-replace", NULL, "fail when the destination exists"},
    {OPT_EXCHANGE, "exchange", NULL, "both exist and change places, in one step"},
    {'T', "no-target-directory", NULL, "the destination is the new name, also when it is a directory"},
    {0},
};
static const struct cli_verb verb = {
    .name = "mv",
    .operands = "FROM... TO",
    .text = "Renames, atomically; into TO when that is a directory.\n",
    .example = "leasehold -p /dev/shm/a.pool mv /data/table.new /data/table\n"
	       "leasehold -p /dev/shm/a.pool mv --exchange /live /next\n",
    .options = options,
    .min = 2,
    .max = -1,
    .paths = PATHS_ALL,
    .links = true,
};

static bool is_directory(struct lh_fs *fs, const char *path)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	return lh_path_stat(fs, path, true, &st) == 0 && S_ISDIR(st.mode);
}

static int move(struct lh_fs *fs, const char *from, const char *to, bool into, unsigned flags)
{
	char *full = NULL;
	int err = 0;

	if (into) {
		full = cli_join(to, cli_base_name(from));
		to = full;
	}
	err = to != NULL ? lh_path_rename(fs, from, to, flags) : -ENOMEM;
	if (err)
		cli_error(err, "%s to %s", from, to != NULL ? to : "?");
	free(full);
	return err ? CLI_FAILED : CLI_OK;
}

int verb_mv(int argc, char **argv)
{
	unsigned flags = 0;
	bool plain = false, into;
	int status = CLI_OK;
	struct lh_fs *fs;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'n')
			flags |= LH_RENAME_NOREPLACE;
		else if (key == OPT_EXCHANGE)
			flags |= LH_RENAME_EXCHANGE;
		else
			plain = true;
	}
	if (flags == (LH_RENAME_NOREPLACE | LH_RENAME_EXCHANGE))
		cli_usage("--no-replace and --exchange contradict each other");
	if (argc - optind > 2 && (plain || (flags & LH_RENAME_EXCHANGE)))
		cli_usage("too many arguments; expected: FROM TO");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	into = !plain && !(flags & LH_RENAME_EXCHANGE) && is_directory(fs, argv[argc - 1]);
	if (!into && argc - optind > 2)
		status = cli_fail("%s: not a directory, so it cannot take several names", argv[argc - 1]);
	for (int i = optind; i < argc - 1 && status == CLI_OK; i++)
		status = move(fs, argv[i], argv[argc - 1], into, flags);
	return cli_close(fs, status);
}
