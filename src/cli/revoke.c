/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold revoke */
#include "cli/show.h"
#include "cli/table.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    FILTER_OPTIONS,
    {OPT_JSON, "json", NULL, "an object"},
    {0},
};
static const struct cli_verb verb = {
    .name = "revoke",
    .operands = "[PATH]",
    .text = "Takes leases back by force, now, and prints how many. At least one condition must be given; all that are "
	    "given\n"
	    "must hold. Root and the pool's owner only. The holders' next access asks for a new lease. `audit` keeps "
	    "who did it.\n",
    .example = "leasehold -p unix:/run/lh.sock revoke --uid 1000 /data/table\n",
    .options = options,
    .max = 1,
    .paths = PATHS_ALL,
};

int verb_revoke(int argc, char **argv)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct lh_fs *fs;
	bool json = false;
	int n;

	for (int key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv))
		json = !filter_option(&filter, key) || json;
	if (optind < argc)
		filter.path = argv[optind];
	if (filter_is_empty(&filter))
		cli_usage("which leases? Give --lease, --session, --uid, --file or PATH");
	if (ledger_open(&fs) != CLI_OK)
		return CLI_FAILED;
	n = lh_fs_revoke(fs, &filter);
	if (n >= 0 && json)
		show_json(json_pack("{s:i}", "revoked", n));
	else if (n >= 0)
		printf("%d leases revoked\n", n);
	return cli_close(fs, n < 0 ? cli_error(n, "%s", filter_where(&filter)) : CLI_OK);
}
