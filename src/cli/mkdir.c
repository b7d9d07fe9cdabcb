/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold mkdir */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct cli_option options[] = {
    {'p', "parents", NULL, "make what is missing on the way; no error when it exists"},
    {'m', "mode", "MODE", "permissions in octal; default: 777 without the umask"},
    {0},
};
static const struct cli_verb verb = {
    .name = "mkdir",
    .operands = "PATH...",
    .text = "Makes directories. Behind this verb -p means --parents; in front of it, the pool.\n",
    .example = "leasehold -p /dev/shm/a.pool mkdir -p /data/2024/01\n",
    .options = options,
    .min = 1,
    .max = -1,
    .paths = PATHS_ALL,
};

static int is_directory(struct lh_fs *fs, const char *path)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err;

	err = lh_path_stat(fs, path, true, &st);
	return err ? err : S_ISDIR(st.mode) ? 0 : -ENOTDIR;
}

/* One directory after the other, from the root. */
static int parents(struct lh_fs *fs, const char *path, uint32_t mode)
{
	char *part = strdup(path);
	int err = 0;

	if (part == NULL)
		return -ENOMEM;
	for (char *p = part + 1; !err && p[-1] != '\0'; p++) {
		char kept = *p;

		if (kept != '/' && kept != '\0')
			continue;
		*p = '\0';
		err = lh_path_mkdir(fs, part, mode);
		if (err == -EEXIST)
			err = is_directory(fs, part);
		*p = kept;
	}
	free(part);
	return err;
}

int verb_mkdir(int argc, char **argv)
{
	mode_t mask = umask(0);
	uint32_t mode = 0777 & ~mask;
	bool all = false;
	int status = CLI_OK;
	struct lh_fs *fs;
	int key;

	umask(mask);
	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'm')
			mode = cli_mode(optarg);
		else
			all = true;
	}
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	for (int i = optind; i < argc; i++) {
		int err = all ? parents(fs, argv[i], mode) : lh_path_mkdir(fs, argv[i], mode);

		if (err)
			status = cli_error(err, "%s", argv[i]);
	}
	return cli_close(fs, status);
}
