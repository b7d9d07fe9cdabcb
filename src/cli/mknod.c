/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold mknod */
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cli/cli.h"

static const struct cli_option options[] = {
    {'m', "mode", "MODE", "permissions in octal; default 644"},
    {0},
};
static const struct cli_verb verb = {
    .name = "mknod",
    .operands = "PATH TYPE [MAJOR MINOR]",
    .text =
	"Makes a special file. TYPE: p a FIFO, s a socket, c or b a device with its numbers (root only), f an empty "
	"regular\n"
	"file. The filesystem keeps them and never drives them.\n",
    .example = "leasehold -p /dev/shm/a.pool mknod /dev/null c 1 3\n"
	       "leasehold -p /dev/shm/a.pool mknod --mode 600 /run/pipe p\n",
    .options = options,
    .min = 2,
    .max = 4,
    .paths = PATHS_FIRST,
};

static uint32_t type_of(const char *text)
{
	static const struct {
		char letter;
		uint32_t type;
	} types[] = {{'p', S_IFIFO}, {'s', S_IFSOCK}, {'c', S_IFCHR}, {'u', S_IFCHR}, {'b', S_IFBLK}, {'f', S_IFREG}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (text[0] == types[i].letter && text[1] == '\0')
			return types[i].type;
	}
	cli_usage("type %s is none of p, s, c, b, f", text);
}

int verb_mknod(int argc, char **argv)
{
	uint32_t mode = 0644, type;
	uint64_t rdev = 0;
	struct lh_fs *fs;
	bool device;
	int err;

	while (cli_next(&verb, argc, argv) != -1)
		mode = cli_mode(optarg);
	type = type_of(argv[optind + 1]);
	device = type == S_IFCHR || type == S_IFBLK;
	if (device != (argc - optind == 4))
		cli_usage("a device has MAJOR and MINOR, the others have none; expected: %s", verb.operands);
	if (device)
		rdev = makedev((unsigned)cli_number(argv[optind + 2], "MAJOR", UINT32_MAX),
			       (unsigned)cli_number(argv[optind + 3], "MINOR", UINT32_MAX));
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	err = lh_path_mknod(fs, argv[optind], type | mode, rdev);
	if (err)
		cli_error(err, "%s", argv[optind]);
	return cli_close(fs, err ? CLI_FAILED : CLI_OK);
}
