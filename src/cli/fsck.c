/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold fsck */
#include "cli/cli.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {OPT_JSON, "json", NULL, "print an object"},
    {0},
};
static const struct cli_verb verb = {
    .name = "fsck",
    .operands = "[PATH]",
    .text = "Checks everything that can be checked or computed again, and changes nothing. The pool must not be open.\n"
	    "Exit status 3 when it finds something; each finding names the rule of docs/format.md.\n",
    .example = "leasehold fsck /dev/shm/a.pool\n",
    .options = options,
    .max = 1,
};

int verb_fsck(int argc, char **argv)
{
	const char *path;
	bool json = false;
	int found;

	while (cli_next(&verb, argc, argv) != -1)
		json = true;
	path = optind < argc ? argv[optind] : cli_pool();
	if (cli_is_address(path))
		cli_usage("%s is a server's address; fsck wants the pool itself, not open by a server", path);
	found = lh_pool_check(path, stdout, json);
	if (found < 0)
		return cli_error(found, "cannot check %s", path);
	return found > 0 ? CLI_FINDINGS : CLI_OK;
}
