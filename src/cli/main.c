/* SPDX-License-Identifier: BSD-2-Clause */
/* The command `leasehold`: options before the verb, the table of verbs, dispatch. */
#include "cli/cli.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"

static const struct {
	const char *name;
	const char *text;
	int (*run)(int argc, char **argv);
} verbs[] = {
#define X(name, text) {#name, text, verb_##name},
    VERBS(X)
#undef X
	{"demo", "show the whole product at work on a real tree", verb_demo},
};

static void help(FILE *out)
{
	fprintf(out, "Usage: leasehold [-p POOL-OR-ADDRESS] VERB [OPTIONS] [ARGUMENTS]\n\n"
		     "A filesystem in byte-addressable memory, with direct access under leases.\n\nVerbs:\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].text);
	fprintf(out, "\nOptions:\n"
		     "  -p, --pool POOL  a pool file, mem:SIZE, unix:PATH or tcp:HOST:PORT; default: $LEASEHOLD\n"
		     "  -h, --help       this text; leasehold VERB --help explains a verb, with an example\n"
		     "  -V, --version    the version\n"
		     "\nExit status: 0 done; 1 failed, the reason is on standard error; 2 wrong usage; 3 fsck has "
		     "findings; 4 it repaired them.\n"
		     "\nExample:\n"
		     "  leasehold -p /dev/shm/a.pool mkfs --size 1G\n"
		     "  leasehold -p /dev/shm/a.pool put -r /usr/share/doc /doc\n"
		     "  leasehold -p /dev/shm/a.pool ls -l /doc\n");
}

/* Options in front of the verb; returns its index in argv. */
static int global_options(int argc, char **argv)
{
	static const struct option longs[] = {{"pool", required_argument, NULL, 'p'},
					      {"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {0}};
	int key;

	opterr = 0;
	for (;;) {
		key = getopt_long(argc, argv, "+:p:hV", longs, NULL);
		switch (key) {
		case -1:
			return optind;
		case 'p':
			cli_set_pool(optarg);
			break;
		case 'h':
			help(stdout);
			exit(CLI_OK);
		case 'V':
			printf("leasehold %s\n", LH_VERSION);
			exit(CLI_OK);
		case ':':
			cli_usage("option %s needs an argument", argv[optind - 1]);
		default:
			cli_usage("unknown option %s", argv[optind - 1]);
		}
	}
}

/* What was written must have arrived: `leasehold cat > /dev/full` failed. */
static int finish(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("leasehold: standard output");
		return status == CLI_OK ? CLI_FAILED : status;
	}
	return status;
}

int main(int argc, char **argv)
{
	int at;

	/* A peer that goes away is an error of the call, and so is a closed pipe. */
	signal(SIGPIPE, SIG_IGN);
	at = global_options(argc, argv);
	if (at == argc) {
		help(stderr);
		return CLI_USAGE;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(argv[at], verbs[i].name) != 0)
			continue;
		cli_set_verb(verbs[i].name);
		optind = 0;
		return finish(verbs[i].run(argc - at, argv + at));
	}
	cli_usage("unknown verb %s", argv[at]);
}
