/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold revoke */
#include "cli/cli.h"

enum { OPT_LEASE = 256, OPT_SESSION, OPT_UID };

static const struct cli_option options[] = {
    {OPT_LEASE, "lease", "NUMBER", "this one"},
    {OPT_SESSION, "session", "NUMBER", "of this session"},
    {OPT_UID, "uid", "UID", "of this user"},
    {0},
};
static const struct cli_verb verb = {
    .name = "revoke",
    .operands = "[PATH]",
    .text = "Takes leases back by force, now, and prints how many. At least one condition must be given; all that are "
	    "given\n"
	    "must hold. Root and the pool's owner only. The holders' next access asks for a new lease.\n",
    .example = "leasehold -p unix:/run/lh.sock revoke --uid 1000 /data/table\n",
    .options = options,
    .max = 1,
};

int verb_revoke(int argc, char **argv)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct lh_fs *fs;
	int n, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == OPT_LEASE)
			filter.number = cli_number(optarg, "--lease", UINT64_MAX);
		else if (key == OPT_SESSION)
			filter.session = cli_number(optarg, "--session", UINT64_MAX);
		else
			filter.uid = (uint32_t)cli_number(optarg, "--uid", UINT32_MAX - 1);
		filter.by_uid = filter.by_uid || key == OPT_UID;
	}
	if (optind < argc)
		filter.path = argv[optind];
	if (!filter.by_uid && filter.number == 0 && filter.session == 0 && filter.path == NULL)
		cli_usage("which leases? Give --lease, --session, --uid or PATH");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	n = lh_fs_revoke(fs, &filter);
	if (n >= 0)
		printf("%d leases revoked\n", n);
	return cli_close(fs, n < 0 ? cli_error(n, "%s", filter.path != NULL ? filter.path : cli_pool()) : CLI_OK);
}
