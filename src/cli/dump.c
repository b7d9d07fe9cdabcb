/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold dump */
#include "cli/cli.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {OPT_JSON, "json", NULL, "print an object"},
    {0},
};
static const struct cli_verb verb = {
    .name = "dump",
    .operands = "[PATH]",
    .text = "Prints every structure on the medium, in the words of docs/format.md. The pool must not be open.\n",
    .example = "leasehold dump /dev/shm/a.pool | less\n",
    .options = options,
    .max = 1,
};

int verb_dump(int argc, char **argv)
{
	const char *path;
	bool json = false;
	int err;

	while (cli_next(&verb, argc, argv) != -1)
		json = true;
	path = optind < argc ? argv[optind] : cli_pool();
	if (cli_is_address(path))
		cli_usage("%s is a server's address; dump wants the pool itself, not open by a server", path);
	err = lh_pool_dump(path, stdout, json);
	return err < 0 ? cli_error(err, "cannot dump %s", path) : CLI_OK;
}
