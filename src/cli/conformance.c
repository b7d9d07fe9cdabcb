/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold conformance: options, and the runner: servers, a worker for every rule and way, results.
 *
 * A worker that ends behind an unfinished case has failed that case; the next one goes on behind it. So a crash or a
 * hang of the library is a line of the table, and never the end of the table.
 */
#include "cli/conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>

#include "base/types.h"
#include "cli/cli.h"

#define CASE_NS      (90 * NS_PER_SEC) /* a case that takes longer hangs */
#define SHOWN_NS     (200 * NS_PER_MS)
#define SCALE_MAX    1000.0
#define DEFAULT_POOL "mem:128M"
#define RULES_ALL    0xfffffffffull

#define X(n) extern const struct cf_rule cf_rule_##n;
/* Version 14 of clang-format lays a long list of calls out anew each time that it runs. */
/* clang-format off */
#define CF_ALL(X) \
	X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) \
	X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32) X(33) X(34) X(35) X(36) X(37)
/* clang-format on */
CF_ALL(X)
#undef X

const struct cf_rule *cf_rule(unsigned number)
{
	static const struct cf_rule *const rules[] = {
#define X(n) &cf_rule_##n,
	    CF_ALL(X)
#undef X
	};

	assert(number >= 1 && number <= ARRAY_LEN(rules));
	return rules[number - 1];
}

/* --- options --- */

enum {
	OPT_JSON = 256,
	OPT_ONLY,
	OPT_LIST,
	OPT_SEED,
	OPT_SCALE,
	OPT_OVER,
	OPT_FABRIC,
	OPT_LEASES,
	OPT_DIR,
	OPT_REVOCATIONS,
	OPT_PART,
	OPT_BOARD
};

static const struct cli_option options[] = {
    {OPT_ONLY, "only", "RULES", "these, as in L7,L12 or L1-L5"},
    {OPT_LIST, "list", NULL, "show every check, what it does and what would make it fail; run nothing"},
    {OPT_OVER, "over", "WAYS", "of a POOL: process,unix,tcp (default: all three, one after another)"},
    {OPT_FABRIC, "fabric", "NAME", "data paths: ring or stream (default: both)"},
    {OPT_LEASES, "leases", "KIND", "pinned or faulting (default: both)"},
    {OPT_SEED, "seed", "N", "random choices (default: from the clock; shown)"},
    {OPT_SCALE, "scale", "FACTOR", "repetitions: 1 is the default, 0.1 is quick, 10 thorough"},
    {OPT_DIR, "dir", "PATH", "directory of the filesystem to work in (default /)"},
    {OPT_REVOCATIONS, "revocations", "N", "instead: N revocations under attack by several processes, no stale byte"},
    {OPT_JSON, "json", NULL, "the result as JSON on standard output"},
    {OPT_PART, "part", "NAME", NULL},
    {OPT_BOARD, "board", "FD", NULL},
    {0},
};
static const struct cli_verb verb = {
    .name = "conformance",
    .operands = "[ADDRESS|POOL]",
    .text =
	"Checks the rules L1 to L36 (docs/semantics.md) against a server, or against a pool in this process and\n"
	"behind servers of its own over unix and TCP; hostile clients are among the checks. Works in a directory of\n"
	"its own, which it makes and removes. Default: a pool in memory. Exit status: 0 nothing failed, 1 something\n"
	"did, 2 usage.\n",
    .example = "leasehold conformance\n"
	       "leasehold conformance --only L7,L12 unix:/run/lh.sock\n"
	       "leasehold conformance --json --over unix /dev/shm/a.pool >result.json\n",
    .options = options,
    .max = 1,
};

struct runner {
	struct cf_config config;
	struct cf_report report;
	const char *target;
	uint64_t rules; /* bit n - 1 */
	unsigned ways;  /* bits of enum cf_way */
	bool ways_given;
	bool json;
	struct cf_server server;
	struct cf_board *board;
	int fd;
};

static void only(struct runner *r, const char *text)
{
	r->rules = 0;
	while (*text != '\0') {
		char *end;
		unsigned long first, last;

		text += *text == 'L' || *text == 'l';
		first = last = strtoul(text, &end, 10);
		if (*end == '-') {
			text = end + 1;
			text += *text == 'L' || *text == 'l';
			last = strtoul(text, &end, 10);
		}
		if (end == text || first < 1 || last > CF_RULES || first > last || (*end != ',' && *end != '\0'))
			cli_usage("--only %s: write rules between L1 and L%u, as in L7,L12 or L1-L5", optarg, CF_RULES);
		for (unsigned long i = first; i <= last; i++)
			r->rules |= 1ull << (i - 1);
		text = *end == ',' ? end + 1 : end;
	}
	if (r->rules == 0)
		cli_usage("--only names no rule");
}

static void over(struct runner *r, char *text)
{
	char *save = NULL;

	r->ways = 0;
	r->ways_given = true;
	for (char *w = strtok_r(text, ",", &save); w != NULL; w = strtok_r(NULL, ",", &save)) {
		unsigned i = 0;

		while (i < CF_WAYS && strcmp(w, cf_way_name((enum cf_way)i)) != 0)
			i++;
		if (i == CF_WAYS)
			cli_usage("--over %s: ways are process, unix and tcp", w);
		r->ways |= 1u << i;
	}
}

static void one_of(const char *option, const char *a, bool *not_a, const char *b, bool *not_b)
{
	*not_a = strcmp(optarg, b) == 0;
	*not_b = strcmp(optarg, a) == 0;
	if (!*not_a && !*not_b)
		cli_usage("%s %s: %s or %s", option, optarg, a, b);
}

static double scale(void)
{
	char *end;
	double v = strtod(optarg, &end);

	if (*end != '\0' || end == optarg || !(v > 0 && v <= SCALE_MAX))
		cli_usage("--scale %s is not a number above 0 and at most %.0f", optarg, SCALE_MAX);
	return v;
}

static void list(uint64_t rules)
{
	for (unsigned n = 1; n <= CF_RULES; n++) {
		const struct cf_rule *rule = cf_rule(n);

		if (!(rules >> (n - 1) & 1))
			continue;
		printf("L%u  %s\n", n, rule->text);
		for (unsigned i = 0; i < rule->count; i++)
			printf("     - %s%s\n       fails when %s\n", rule->cases[i].name,
			       rule->cases[i].flags & CF_FAULTING ? " (pinned and faulting)" : "",
			       rule->cases[i].fails);
	}
}

static void option(struct runner *r, int key)
{
	struct cf_config *g = &r->config;

	switch (key) {
	case OPT_ONLY:
		only(r, optarg);
		break;
	case OPT_OVER:
		over(r, optarg);
		break;
	case OPT_FABRIC:
		one_of("--fabric", "ring", &g->no_ring, "stream", &g->no_stream);
		break;
	case OPT_LEASES:
		one_of("--leases", "pinned", &g->no_pinned, "faulting", &g->no_faulting);
		break;
	case OPT_SEED:
		g->seed = cli_number(optarg, "--seed", UINT64_MAX);
		break;
	case OPT_SCALE:
		g->scale = scale();
		break;
	case OPT_DIR:
		if (optarg[0] != '/' || strlen(optarg) >= sizeof(g->top))
			cli_usage("--dir %s is not a path of the filesystem, or too long", optarg);
		snprintf(g->top, sizeof(g->top), "%s", optarg[1] ? optarg : "");
		break;
	case OPT_REVOCATIONS:
		g->revocations = cli_number(optarg, "--revocations", 1000000000);
		if (g->revocations == 0)
			cli_usage("--revocations 0: at least 1");
		break;
	case OPT_JSON:
		r->json = true;
		break;
	}
}

/* --- workers --- */

static void remove_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char name[512];

	if (d == NULL)
		return;
	for (e = readdir(d); e != NULL; e = readdir(d)) {
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlink(name);
	}
	closedir(d);
	rmdir(path);
}

/* Killed when one case takes too long. True: it ended by itself. */
static bool worker_wait(struct runner *r, pid_t pid, int *status, uint64_t began)
{
	uint32_t seen = UINT32_MAX;
	uint64_t since = clock_now_ns(), shown = 0, progress = 0;

	while (waitpid(pid, status, WNOHANG) == 0) {
		uint32_t count = atomic_load(&r->board->count);
		uint64_t now = clock_now_ns(), p = atomic_load(&r->board->progress);

		if (count != seen || p != progress) {
			seen = count;
			progress = p;
			since = now;
		}
		if (now - since > CASE_NS) {
			kill(pid, SIGKILL);
			waitpid(pid, status, 0);
			return false;
		}
		if (now - shown > SHOWN_NS) {
			cf_report_progress(&r->report, r->board, began);
			shown = now;
		}
		cf_sleep(2 * NS_PER_MS);
	}
	return true;
}

/* The case that was running when its worker ended. */
static void unfinished(struct runner *r, bool by_itself, int status)
{
	uint32_t n = atomic_load(&r->board->count);
	struct cf_case_result *last = n > r->board->first ? &r->board->result[n - 1] : NULL;

	if (last == NULL) {
		last = &r->board->result[n];
		*last = (struct cf_case_result){.result = CF_FAILED};
		snprintf(last->saw, sizeof(last->saw), "the worker ended before the first case (status %#x)", status);
		atomic_store(&r->board->count, n + 1);
	} else if (last->result == CF_RUNNING) {
		last->result = CF_FAILED;
		if (!by_itself)
			snprintf(last->saw, sizeof(last->saw), "hung: no end within %u s",
				 (unsigned)(CASE_NS / NS_PER_SEC));
		else if (WIFSIGNALED(status))
			snprintf(last->saw, sizeof(last->saw), "died by signal %d (%s)", WTERMSIG(status),
				 strsignal(WTERMSIG(status)));
		else
			snprintf(last->saw, sizeof(last->saw), "ended with status %d", WEXITSTATUS(status));
	}
}

/* A server of our own that died failed the case that was running. Another one takes its place, so that the next case
 * is about itself. false: it does not start. */
static bool server_lives(struct runner *r)
{
	uint32_t n = atomic_load(&r->board->count);
	struct cf_case_result *last = n > r->board->first ? &r->board->result[n - 1] : NULL;
	char saw[CF_SAW_MAX];
	int status, err;

	if (r->server.pid <= 0 || waitpid(r->server.pid, &status, WNOHANG) != r->server.pid)
		return true;
	if (last != NULL) {
		snprintf(saw, sizeof(saw), "%s", last->result == CF_FAILED ? last->saw : "");
		snprintf(last->saw, sizeof(last->saw), "the server died (%s); %.*s",
			 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it exited", CF_SAW_MAX - 64, saw);
		last->result = CF_FAILED;
	}
	err = cf_server_start(&r->server);
	r->config.server = r->server.pid;
	r->board->config = r->config;
	return err == 0;
}

static void run_rule(struct runner *r, unsigned rule)
{
	uint64_t began = clock_now_ns();
	bool more = true;

	memset(r->board->result, 0, sizeof(r->board->result));
	r->board->config = r->config;
	r->board->rule = rule;
	r->board->first = 0;
	atomic_store(&r->board->count, 0);
	while (more && r->board->first < CF_CASES_MAX) {
		int status = 0;
		pid_t pid;
		bool by_itself;

		if (cf_spawn("worker", r->fd, &pid)) {
			cli_fail("no process for the checks: %s", strerror(errno));
			exit(CLI_FAILED);
		}
		by_itself = worker_wait(r, pid, &status, began);
		more = !(by_itself && WIFEXITED(status) && WEXITSTATUS(status) == 0);
		if (more)
			unfinished(r, by_itself, status);
		if (!server_lives(r)) {
			cli_fail("the server died, and another one does not start: %s", r->server.board->text);
			exit(CLI_FAILED);
		}
		/* Nothing new: it fails before any case. */
		if (atomic_load(&r->board->count) == r->board->first)
			more = false;
		r->board->first = atomic_load(&r->board->count);
	}
	if (rule > 0)
		cf_report_rule(&r->report, r->board, clock_now_ns() - began);
}

/* --- ways --- */

static int way_begin(struct runner *r)
{
	struct cf_config *g = &r->config;
	int err;

	if (!g->has_path || g->way == CF_PROCESS)
		return 0;
	err = cf_server_new(&r->server, g->dir, g->pool, "s");
	if (!err)
		err = cf_server_start(&r->server);
	if (err)
		return cli_fail("the server of our own did not start: %s", r->server.board->text);
	g->server = r->server.pid;
	snprintf(g->unix_address, sizeof(g->unix_address), "%s", r->server.board->unix_address);
	snprintf(g->tcp_address, sizeof(g->tcp_address), "%s", r->server.board->tcp_address);
	return 0;
}

static void way_end(struct runner *r)
{
	if (!r->config.has_path || r->config.way == CF_PROCESS)
		return;
	if (cf_server_stop(&r->server) != 0) {
		cli_fail("L36: the server did not end in order with 0");
		r->report.failed++;
	}
	cf_server_free(&r->server);
}

static int run_way(struct runner *r, enum cf_way way)
{
	r->config.way = way;
	if (way_begin(r))
		return CLI_FAILED;
	cf_report_way(&r->report, &r->config);
	if (r->config.revocations > 0)
		run_rule(r, CF_LONG_RULE);
	for (unsigned n = 1; n <= CF_RULES && r->config.revocations == 0; n++) {
		if (r->rules >> (n - 1) & 1)
			run_rule(r, n);
	}
	/* Takes the work directory away. */
	run_rule(r, 0);
	way_end(r);
	return CLI_OK;
}

static void target(struct runner *r, const char *where)
{
	struct cf_config *g = &r->config;

	r->target = where;
	g->has_path = !cli_is_address(where);
	g->owned = g->has_path;
	if (g->revocations > 0 && !r->ways_given)
		r->ways = 1u << CF_UNIX;
	if (g->has_path) {
		if (strlen(where) >= sizeof(g->pool))
			cli_usage("the name of the pool is too long");
		strcpy(g->pool, where);
		return;
	}
	if (strlen(where) >= sizeof(g->unix_address))
		cli_usage("the address is too long");
	r->ways = strncmp(where, "tcp:", 4) == 0 ? 1u << CF_TCP : 1u << CF_UNIX;
	strcpy(r->ways == 1u << CF_TCP ? g->tcp_address : g->unix_address, where);
}

static char ended_dir[96];

/* The children end with us; what is left is the directory. */
static void ended(int sig)
{
	remove_dir(ended_dir);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int prepare(struct runner *r)
{
	struct cf_config *g = &r->config;

	strcpy(g->dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/leasehold-conformance-XXXXXX"
						     : "/tmp/leasehold-conformance-XXXXXX");
	if (mkdtemp(g->dir) == NULL)
		return cli_fail("no directory for sockets: %s", strerror(errno));
	/* Holders of other uids find the sockets, and nothing else. */
	chmod(g->dir, 0711);
	strcpy(ended_dir, g->dir);
	signal(SIGINT, ended);
	signal(SIGTERM, ended);
	signal(SIGHUP, ended);
	snprintf(g->work, sizeof(g->work), "%s/.conformance-%d", g->top, (int)getpid());
	r->board = cf_board_make(sizeof(*r->board), &r->fd);
	if (r->board == NULL)
		return cli_fail("no memory for a board: %s", strerror(errno));
	return CLI_OK;
}

static int run(struct runner *r)
{
	int status = prepare(r);

	if (status != CLI_OK)
		return status;
	cf_report_begin(&r->report, &r->config, r->target, r->json);
	for (unsigned way = 0; way < CF_WAYS && status == CLI_OK; way++) {
		if (r->ways >> way & 1)
			status = run_way(r, (enum cf_way)way);
	}
	remove_dir(r->config.dir);
	if (!cf_report_end(&r->report, &r->config, r->target))
		status = CLI_FAILED;
	return status;
}

/* --- parts --- */

static int part(const char *name, const char *board)
{
	struct cf_board *b;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (board == NULL || getppid() == 1)
		return 2;
	if (strcmp(name, "serve") == 0)
		return cf_serve_main(board);
	if (strcmp(name, "child") == 0)
		return cf_child_main(board);
	b = cf_board_map(board, sizeof(*b));
	if (b == NULL || strcmp(name, "worker") != 0)
		return 2;
	return cf_worker_main(b);
}

int verb_conformance(int argc, char **argv)
{
	static struct runner r = {.config = {.scale = 1}, .rules = RULES_ALL, .ways = 7};
	const char *name = NULL, *board = NULL;
	bool listing = false;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == OPT_PART)
			name = optarg;
		else if (key == OPT_BOARD)
			board = optarg;
		else if (key == OPT_LIST)
			listing = true;
		else
			option(&r, key);
	}
	/* Hundreds of forced revocations are meant to happen, each a warning. */
	setenv("LEASEHOLD_LOG", "error", 0);
	if (name != NULL)
		return part(name, board);
	if (listing) {
		list(r.rules);
		return CLI_OK;
	}
	if (optind < argc)
		cli_set_pool(argv[optind]);
	cli_default_pool(DEFAULT_POOL);
	target(&r, cli_pool());
	if (r.config.seed == 0)
		r.config.seed = clock_real_ns() % 1000000000 + 1;
	return run(&r);
}
