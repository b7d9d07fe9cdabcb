/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold mkfs */
#include "base/size.h"
#include "cli/show.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {'s', "size", "SIZE", "of the pool, 16M to 16T; a device may leave it out"},
    {'f', "force", NULL, "overwrite what is there"},
    {'m', "mode", "MODE", "permissions of the root directory in octal; default: 755"},
    {OPT_JSON, "json", NULL, "print an object"},
    {0},
};
static const struct cli_verb verb = {
    .name = "mkfs",
    .operands = "[PATH]",
    .text = "Makes a pool and formats it. PATH (or the pool of -p) is a plain file, a file on tmpfs, hugetlbfs or "
	    "FS-DAX, or\n"
	    "a device /dev/daxX.Y. Prints what the memory is and how durable:\n"
	    "  cache-flush  a finished call survives a power loss\n"
	    "  msync        survives after fsync, commit, or some seconds\n"
	    "  volatile     gone with the power\n",
    .example = "leasehold mkfs --size 1G /dev/shm/a.pool\n",
    .options = options,
    .max = 1,
};

int verb_mkfs(int argc, char **argv)
{
	struct lh_make_options opt = {.size = sizeof(opt)};
	char size[SIZE_TEXT_MAX];
	const char *path;
	bool json = false;
	int err, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 's')
			opt.pool_size = cli_size(optarg, "size");
		else if (key == 'f')
			opt.overwrite = true;
		else if (key == 'm')
			opt.mode = cli_mode(optarg);
		else
			json = true;
	}
	path = optind < argc ? argv[optind] : cli_pool();
	if (cli_is_address(path))
		cli_usage("%s is a server's address; mkfs makes a file or formats a device", path);
	err = lh_pool_make(path, &opt);
	if (err)
		return cli_error(err, "cannot make %s", path);
	if (json)
		show_json(json_pack("{s:s, s:I, s:s, s:s}", "path", path, "size", (json_int_t)opt.pool_size_out, "kind",
				    opt.kind_out, "class", opt.class_out));
	else
		printf("%s: %s, %s, durability %s\n", path, size_text(opt.pool_size_out, size), opt.kind_out,
		       opt.class_out);
	return CLI_OK;
}
