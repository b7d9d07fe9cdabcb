/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold evacuate */
#include "base/size.h"
#include "cli/show.h"

enum { OPT_JSON = 256 };

static const struct cli_option options[] = {
    {OPT_JSON, "json", NULL, "an array of what was lost"},
    {0},
};
static const struct cli_verb verb = {
    .name = "evacuate",
    .operands = "OFFSET LENGTH",
    .text = "For failing memory: moves everything out of a range of the pool's bytes, and never uses them again. What "
	    "cannot be\n"
	    "read is lost: it is named, becomes a hole, and the status is 1. For root and the pool's owner.\n",
    .example = "leasehold -p unix:/run/lh.sock evacuate 1G 2M\n",
    .options = options,
    .min = 2,
    .max = 2,
};

static void lost(void *ctx, const struct lh_loss *l)
{
	json_t *list = ctx;

	if (list != NULL) {
		json_t *path = json_string(l->path);

		json_array_append_new(list, json_pack("{s:o, s:I, s:I, s:I}", "path", path ? path : json_null(), "ino",
						      (json_int_t)l->ino, "off", (json_int_t)l->off, "len",
						      (json_int_t)l->len));
		return;
	}
	printf("lost: %llu bytes at %llu of inode %llu ", (unsigned long long)l->len, (unsigned long long)l->off,
	       (unsigned long long)l->ino);
	cli_print_name(stdout, l->path);
	putchar('\n');
}

int verb_evacuate(int argc, char **argv)
{
	uint64_t off, len;
	json_t *list = NULL;
	struct lh_fs *fs;
	int n;

	while (cli_next(&verb, argc, argv) != -1)
		list = list ? list : json_array();
	off = cli_size(argv[optind], "offset");
	len = cli_size(argv[optind + 1], "length");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	n = lh_fs_evacuate(fs, off, len, lost, list);
	if (list != NULL)
		show_json(list);
	if (n < 0)
		cli_error(n, "%s", cli_pool());
	else if (n > 0)
		cli_fail("%s: %d ranges could not be read and are lost", cli_pool(), n);
	else if (list == NULL)
		printf("nothing was lost; these %llu bytes are not used any more\n", (unsigned long long)len);
	return cli_close(fs, n ? CLI_FAILED : CLI_OK);
}
