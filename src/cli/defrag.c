/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold defrag */
#include <fcntl.h>

#include "cli/show.h"

enum { OPT_NOWAIT = 256, OPT_JSON };

static const struct cli_option options[] = {
    {OPT_NOWAIT, "nowait", NULL, "do not wait for others' leases: fail, their recall goes on"},
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "defrag",
    .operands = "PATH...",
    .text =
	"Moves the blocks of files into one run each, or as few as free space allows; content and holders of leases "
	"stay.\n"
	"Prints how many runs each had and has.\n",
    .example = "leasehold -p unix:/run/lh.sock defrag /data/table\n",
    .options = options,
    .min = 1,
    .max = -1,
    .paths = PATHS_ALL,
};

static int defrag(struct lh_fs *fs, const char *path, json_t *json)
{
	uint64_t runs[2] = {0};
	struct lh_file *file;
	int err;

	err = lh_file_open(fs, path, O_RDWR, 0, &file);
	if (!err) {
		err = lh_file_defragment(file, runs);
		if (err)
			cli_error(err, "%s", path);
		lh_file_close(file);
	} else {
		cli_error(err, "%s", path);
	}
	if (err)
		return CLI_FAILED;
	if (json != NULL) {
		json_array_append_new(json, json_pack("{s:s, s:I, s:I}", "path", path, "before", (json_int_t)runs[0],
						      "after", (json_int_t)runs[1]));
		return CLI_OK;
	}
	printf("%8llu -> %-8llu ", (unsigned long long)runs[0], (unsigned long long)runs[1]);
	cli_print_name(stdout, path);
	putchar('\n');
	return CLI_OK;
}

int verb_defrag(int argc, char **argv)
{
	bool json = false, nowait = false;
	int status = CLI_OK;
	struct lh_fs *fs;
	json_t *list;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		json |= key == OPT_JSON;
		nowait |= key == OPT_NOWAIT;
	}
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	lh_fs_set_nowait(fs, nowait);
	list = json ? json_array() : NULL;
	for (int i = optind; i < argc; i++) {
		if (defrag(fs, argv[i], list) != CLI_OK)
			status = CLI_FAILED;
	}
	if (json)
		show_json(list);
	return cli_close(fs, status);
}
