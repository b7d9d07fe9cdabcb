/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold relocate */
#include <fcntl.h>

#include "cli/cli.h"

enum { OPT_NOWAIT = 256 };

static const struct cli_option options[] = {
    {OPT_NOWAIT, "nowait", NULL, "do not wait for others' leases: fail, their recall goes on"},
    {0},
};
static const struct cli_verb verb = {
    .name = "relocate",
    .operands = "PATH [OFFSET [LENGTH]]",
    .text = "Moves the blocks of a range to other places of the pool, content unchanged. Default: the whole file.\n"
	    "Prints how many blocks moved.\n",
    .example = "leasehold -p unix:/run/lh.sock relocate /data/table 0 256M\n",
    .options = options,
    .min = 1,
    .max = 3,
    .paths = PATHS_FIRST,
};

static int64_t relocate(struct lh_fs *fs, const char *path, uint64_t off, uint64_t len)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *file;
	int64_t moved;

	moved = lh_file_open(fs, path, O_RDWR, 0, &file);
	if (moved < 0) {
		cli_error((int)moved, "%s", path);
		return moved;
	}
	if (len == 0) {
		moved = lh_file_stat(file, &st);
		len = st.size > off ? st.size - off : 0;
	}
	if (moved == 0 && len > 0)
		moved = lh_file_relocate(file, off, len);
	if (moved < 0)
		cli_error((int)moved, "%s", path);
	lh_file_close(file);
	return moved;
}

int verb_relocate(int argc, char **argv)
{
	uint64_t off = 0, len = 0;
	bool nowait = false;
	struct lh_fs *fs;
	int64_t moved;

	while (cli_next(&verb, argc, argv) != -1)
		nowait = true;
	if (argc - optind > 1)
		off = cli_size(argv[optind + 1], "offset");
	if (argc - optind > 2)
		len = cli_size(argv[optind + 2], "length");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	lh_fs_set_nowait(fs, nowait);
	moved = relocate(fs, argv[optind], off, len);
	if (moved >= 0)
		printf("%lld blocks moved\n", (long long)moved);
	return cli_close(fs, moved < 0 ? CLI_FAILED : CLI_OK);
}
