/* SPDX-License-Identifier: BSD-2-Clause */
/* Two files and a range of each: what dedupe, exchange and cp have in common. */
#ifndef LH_CLI_TWO_H
#define LH_CLI_TWO_H

#include "cli/cli.h"

enum { TWO_FROM = 256, TWO_LENGTH, TWO_TO, TWO_NOWAIT };
#define TWO_OPTIONS(first, second)                                                                                     \
	{TWO_FROM, "from", "OFFSET", "first byte in " first "; default 0"},                                            \
	    {TWO_LENGTH, "length", "SIZE", "how much; default: to the end of " first},                                 \
	    {TWO_TO, "to", "OFFSET", "first byte in " second "; default 0"},                                           \
	{                                                                                                              \
		TWO_NOWAIT, "nowait", NULL, "do not wait for others' leases: fail, their recall goes on"               \
	}

struct two {
	const char *path[2];
	struct lh_file *file[2];
	uint64_t off[2];
	uint64_t length; /* two_open: to the end of the first when none was given */
	bool length_given, nowait;
};

/* Options and operands. */
void two_parse(struct two *t, const struct cli_verb *verb, int argc, char **argv);
/* Opens both; the second with mode when flags has O_CREAT. Messages by itself; CLI_FAILED. */
int two_open(struct two *t, struct lh_fs *fs, int first_flags, int second_flags);
void two_close(struct two *t);

#endif
