/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold fsck */
#include "cli/cli.h"

enum { OPT_JSON = 256, OPT_REPAIR };

static const struct cli_option options[] = {
    {OPT_REPAIR, "repair", NULL, "put right what can be; what has lost its name goes to /lost+found"},
    {'n', "dry-run", NULL, "change nothing, also with --repair"},
    {OPT_JSON, "json", NULL, "print an object"},
    {0},
};
static const struct cli_verb verb = {
    .name = "fsck",
    .operands = "[PATH]",
    .text =
	"Checks everything that can be checked or computed again. The pool must not be open. Each finding names the\n"
	"rule of docs/format.md that is broken, where, and what that means. Without --repair nothing is changed, and\n"
	"exit status 3 says that there are findings. With --repair: 0 nothing was wrong and nothing was written, 4 "
	"all\n"
	"is right again, 1 some of it could not be repaired. docs/repair.md shows it.\n",
    .example = "leasehold fsck /dev/shm/a.pool\nleasehold fsck --repair /dev/shm/a.pool\n",
    .options = options,
    .max = 1,
};

int verb_fsck(int argc, char **argv)
{
	bool json = false, repair = false, dry = false;
	const char *path;
	int found, c;

	while ((c = cli_next(&verb, argc, argv)) != -1) {
		json = json || c == OPT_JSON;
		repair = repair || c == OPT_REPAIR;
		dry = dry || c == 'n';
	}
	repair = repair && !dry;
	path = optind < argc ? argv[optind] : cli_pool();
	if (cli_is_address(path))
		cli_usage("%s is a server's address; fsck wants the pool itself, not open by a server", path);
	found = repair ? lh_pool_repair(path, stdout, json) : lh_pool_check(path, stdout, json);
	if (found < 0)
		return cli_error(found, "cannot %s %s", repair ? "repair" : "check", path);
	if (found == 0)
		return CLI_OK;
	return repair ? CLI_REPAIRED : CLI_FINDINGS;
}
