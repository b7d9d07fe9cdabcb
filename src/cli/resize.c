/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold resize */
#include <unistd.h>

#include "base/size.h"
#include "cli/cli.h"

enum { OPT_PROGRESS = 256 };

static const struct cli_option options[] = {
    {OPT_PROGRESS, "progress", NULL, "how far it is, also when standard error is no terminal"},
    {0},
};
static const struct cli_verb verb = {
    .name = "resize",
    .operands = "SIZE",
    .text = "Gives the pool another size, while it is in use too. Shrinking moves what lies beyond the new end, and "
	    "breaks the\n"
	    "leases there. For root and the pool's owner.\n",
    .example = "leasehold -p unix:/run/lh.sock resize 2G\n",
    .options = options,
    .min = 1,
    .max = 1,
};

struct shown {
	bool on, terminal, any;
	unsigned percent;
};

static void told(void *ctx, uint64_t done, uint64_t total)
{
	struct shown *s = ctx;
	unsigned percent = total ? (unsigned)((double)done * 100 / (double)total) : 100;

	if (!s->on || (s->any && percent == s->percent))
		return;
	s->any = true;
	s->percent = percent;
	fprintf(stderr, "%sresize: %u%%, %llu of %llu blocks%s", s->terminal ? "\r" : "", percent,
		(unsigned long long)done, (unsigned long long)total, s->terminal ? "\033[K" : "\n");
	fflush(stderr);
}

int verb_resize(int argc, char **argv)
{
	struct shown s = {.terminal = isatty(STDERR_FILENO)};
	char text[SIZE_TEXT_MAX];
	struct lh_fs *fs;
	uint64_t size;
	int err;

	s.on = s.terminal;
	while (cli_next(&verb, argc, argv) != -1)
		s.on = true;
	size = cli_size(argv[optind], "SIZE");
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	err = lh_fs_resize(fs, size, told, &s);
	if (s.terminal && s.any)
		fputc('\n', stderr);
	if (err)
		cli_error(err, "%s to %s", cli_pool(), argv[optind]);
	else
		printf("%s has %s now\n", cli_pool(), size_text(size, text));
	return cli_close(fs, err ? CLI_FAILED : CLI_OK);
}
