/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold rm */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/show.h"

static const struct cli_option options[] = {
    {'r', "recursive", NULL, "directories with everything in them"},
    {'d', "directory", NULL, "empty directories too"},
    {'f', "force", NULL, "no error when there is nothing to remove"},
    {0},
};
static const struct cli_verb verb = {
    .name = "rm",
    .operands = "PATH...",
    .text = "Removes files and symbolic links, with -r whole trees. Blocks of a file that somebody has open are freed\n"
	    "with its last close.\n",
    .example = "leasehold -p /dev/shm/a.pool rm -r /data/2023\n",
    .options = options,
    .min = 1,
    .max = -1,
    .paths = PATHS_ALL,
    .links = true,
};

struct rm {
	struct lh_fs *fs;
	bool recursive, directory, force;
};

static int complain(const struct rm *rm, int err, const char *path)
{
	if (err == 0 || (err == -ENOENT && rm->force))
		return CLI_OK;
	return cli_error(err, "%s", path);
}

/* What is in it first; a name that does not go does not stop the others. */
static int remove_tree(const struct rm *rm, const char *path)
{
	struct show_entry *entries;
	int status = CLI_OK;
	size_t count;
	int err;

	err = show_entries(rm->fs, path, &entries, &count);
	if (err)
		return complain(rm, err, path);
	for (size_t i = 0; i < count; i++) {
		char *full = cli_join(path, entries[i].name);
		int one;

		if (full == NULL)
			one = cli_error(-ENOMEM, "%s", path);
		else if (entries[i].type == 4 /* DT_DIR */)
			one = remove_tree(rm, full);
		else
			one = complain(rm, lh_path_unlink(rm->fs, full), full);
		if (one != CLI_OK)
			status = one;
		free(full);
	}
	show_entries_free(entries, count);
	return status != CLI_OK ? status : complain(rm, lh_path_rmdir(rm->fs, path), path);
}

static int remove_one(const struct rm *rm, const char *path)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err;

	err = lh_path_stat(rm->fs, path, false, &st);
	if (err)
		return complain(rm, err, path);
	if (!S_ISDIR(st.mode))
		return complain(rm, lh_path_unlink(rm->fs, path), path);
	if (rm->recursive)
		return remove_tree(rm, path);
	if (rm->directory)
		return complain(rm, lh_path_rmdir(rm->fs, path), path);
	return cli_fail("%s: is a directory; give -r to remove it with everything in it", path);
}

int verb_rm(int argc, char **argv)
{
	struct rm rm = {0};
	int status = CLI_OK;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'r')
			rm.recursive = true;
		else if (key == 'd')
			rm.directory = true;
		else
			rm.force = true;
	}
	if (cli_open(&rm.fs, false) != CLI_OK)
		return CLI_FAILED;
	for (int i = optind; i < argc; i++) {
		if (remove_one(&rm, argv[i]) != CLI_OK)
			status = CLI_FAILED;
	}
	return cli_close(rm.fs, status);
}
