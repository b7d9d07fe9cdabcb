/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold bench: the benchmark is a program of its own, because its peers need libraries that the command does not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define PROGRAM "leasehold-bench"

static const struct cli_verb verb = {
    .name = "bench",
    .operands = "[ARGUMENTS...]",
    .text = "Runs the benchmark, the program " PROGRAM ", with the arguments behind --.\n",
    .example = "leasehold bench\n"
	       "leasehold bench -- --help\n",
    .max = -1,
};

/* Beside this program, in the build tree, in libexec. */
static const char *const places[] = {"/" PROGRAM, "/../../bench/" PROGRAM, "/../libexec/leasehold/" PROGRAM};

int verb_bench(int argc, char **argv)
{
	char self[4096], program[4096 + 64];
	ssize_t n;

	(void)cli_next(&verb, argc, argv);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return cli_fail("cannot find my own place: %s", strerror(errno));
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(program, sizeof(program), "%s%s", self, places[i]);
		if (access(program, X_OK) != 0)
			continue;
		argv[optind - 1] = program;
		execv(program, argv + optind - 1);
		return cli_fail("cannot run %s: %s", program, strerror(errno));
	}
	return cli_fail(PROGRAM " is not built or not installed; build with libfabric present, or run make bench");
}
