/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold serve: opens a pool, listens, and waits for a signal.
 *
 * SIGINT and SIGTERM are blocked before the first thread exists and taken from a descriptor, so that the shutdown (L36:
 * revoke everything, wait until drained, flush) runs in this thread and nothing is interrupted half way.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "cli/cli.h"

#define LISTEN_MAX 16u

enum {
	OPT_DEADLINE = 256,
	OPT_DEADLINE_MAX,
	OPT_TCP_AS,
	OPT_SESSIONS,
	OPT_SOCKET_MODE,
	OPT_LEASE_TIME,
	OPT_GRACE,
	OPT_EXIT_AFTER
};

static const struct cli_option options[] = {
    {'l', "listen", "ADDRESS", "unix:PATH or tcp:127.0.0.1:PORT (0: any); may be repeated. Default: unix:POOL.sock"},
    {OPT_DEADLINE, "deadline", "TIME", "how long a holder has after a recall; default 1s"},
    {OPT_DEADLINE_MAX, "deadline-max", "TIME", "nobody may ask for more; default 60s"},
    {OPT_TCP_AS, "tcp-as", "UID:GID", "who TCP clients are, since they cannot prove it; default: 65534:65534"},
    {OPT_SOCKET_MODE, "socket-mode", "MODE", "permissions of the unix socket in octal; default: 600"},
    {OPT_SESSIONS, "sessions", "NUMBER", "at most so many clients; default 10000"},
    {OPT_LEASE_TIME, "lease-time", "TIME", "a client that is silent for longer loses what it holds; default 10s"},
    {OPT_GRACE, "grace", "TIME", "how long after a crash EXCLUSIVE leases are kept for their holders; default 15s"},
    {OPT_EXIT_AFTER, "exit-after", "TIME", "stop by itself"},
    {0},
};
static const struct cli_verb verb = {
    .name = "serve",
    .operands = "",
    .text = "Serves a pool until SIGINT or SIGTERM; then takes all leases back, flushes and ends with status 0. The "
	    "line that\n"
	    "begins with \"ready\" names the addresses. TCP is for this host only until TLS is there.\n",
    .example = "leasehold -p /dev/shm/a.pool serve --listen unix:/run/lh.sock --listen tcp:127.0.0.1:7070\n"
	       "leasehold -p unix:/run/lh.sock ls /\n",
    .options = options,
};

struct serve {
	const char *listen[LISTEN_MAX];
	unsigned count;
	struct lh_server *servers[LISTEN_MAX];
	unsigned started;
	struct lh_open_options open;
	struct lh_server_options server;
	uint64_t exit_after_ns;
};

static void tcp_as(struct lh_server_options *opt, char *text)
{
	char *colon = strchr(text, ':');

	if (colon == NULL)
		cli_usage("--tcp-as %s is not UID:GID", text);
	*colon = '\0';
	opt->tcp_uid = (uint32_t)cli_number(text, "--tcp-as UID", UINT32_MAX - 1);
	opt->tcp_gid = (uint32_t)cli_number(colon + 1, "--tcp-as GID", UINT32_MAX - 1);
	opt->tcp_as_given = true;
}

static void listen_add(struct serve *s, const char *address)
{
	if (!cli_is_address(address))
		cli_usage("--listen %s: write unix:PATH or tcp:127.0.0.1:PORT", address);
	if (s->count == LISTEN_MAX)
		cli_usage("more than %u addresses", LISTEN_MAX);
	s->listen[s->count++] = address;
}

static void option(struct serve *s, int key)
{
	switch (key) {
	case 'l':
		listen_add(s, optarg);
		break;
	case OPT_DEADLINE:
		s->open.deadline_ns = cli_duration(optarg, "--deadline");
		break;
	case OPT_DEADLINE_MAX:
		s->open.deadline_max_ns = cli_duration(optarg, "--deadline-max");
		break;
	case OPT_TCP_AS:
		tcp_as(&s->server, optarg);
		break;
	case OPT_SOCKET_MODE:
		s->server.socket_mode = cli_mode(optarg);
		break;
	case OPT_SESSIONS:
		s->server.sessions_max = (uint32_t)cli_number(optarg, "--sessions", 1000000);
		break;
	case OPT_LEASE_TIME:
		s->server.session_timeout_ns = cli_duration(optarg, "--lease-time");
		break;
	case OPT_GRACE:
		s->open.grace_ns = cli_duration(optarg, "--grace");
		break;
	case OPT_EXIT_AFTER:
		s->exit_after_ns = cli_duration(optarg, "--exit-after");
		break;
	}
}

/* unix:POOL.sock, which lives as long as the process. */
static void listen_default(struct serve *s)
{
	static char address[4096];

	if (s->count > 0)
		return;
	if (strncmp(cli_pool(), "mem:", 4) == 0)
		cli_usage("a pool in memory has no path for a socket; give --listen ADDRESS");
	snprintf(address, sizeof(address), "unix:%s.sock", cli_pool());
	listen_add(s, address);
}

/* Blocks the signals; -1 on failure. */
static int signals_take(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int announce(const struct serve *s, struct lh_fs *fs)
{
	struct lh_statfs st = {.size = sizeof(st)};
	char size[SIZE_TEXT_MAX];
	int err;

	err = lh_fs_stat(fs, &st);
	if (err)
		return cli_error(err, "%s", cli_pool());
	printf("pool %s: %s, %s, durability %s\n", cli_pool(), size_text(st.blocks * st.block_size, size), st.pool_kind,
	       st.pool_class);
	printf("ready");
	for (unsigned i = 0; i < s->started; i++)
		printf(" %s", lh_server_address(s->servers[i]));
	printf("\n");
	fflush(stdout);
	return CLI_OK;
}

static void wait_for_end(const struct serve *s, int signals)
{
	uint64_t end_ns = s->exit_after_ns ? clock_now_ns() + s->exit_after_ns : UINT64_MAX;
	struct pollfd p = {.fd = signals, .events = POLLIN};
	int n = 0;

	while (n <= 0) {
		uint64_t now_ns = clock_now_ns();
		int timeout = -1;

		if (now_ns >= end_ns)
			return;
		if (end_ns != UINT64_MAX)
			timeout = (int)((end_ns - now_ns) / NS_PER_MS) + 1;
		n = poll(&p, 1, timeout);
	}
}

static int serve(struct serve *s, struct lh_fs *fs, int signals)
{
	int status = CLI_OK;

	for (unsigned i = 0; i < s->count && status == CLI_OK; i++) {
		int err = lh_server_start(fs, s->listen[i], &s->server, &s->servers[i]);

		if (err)
			status = cli_error(err, "cannot listen on %s", s->listen[i]);
		else
			s->started++;
	}
	if (status == CLI_OK)
		status = announce(s, fs);
	if (status == CLI_OK)
		wait_for_end(s, signals);
	for (unsigned i = 0; i < s->started; i++)
		lh_server_stop(s->servers[i]);
	return status;
}

int verb_serve(int argc, char **argv)
{
	struct serve s = {.open = {.size = sizeof(s.open)}, .server = {.size = sizeof(s.server)}};
	struct lh_fs *fs;
	int signals, status, err, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv))
		option(&s, key);
	if (cli_is_address(cli_pool()))
		cli_usage("%s is a server's address; serve wants the pool itself", cli_pool());
	listen_default(&s);
	signals = signals_take();
	if (signals < 0)
		return cli_fail("cannot take signals: %s", strerror(errno));
	err = lh_fs_open(cli_pool(), &s.open, &fs);
	if (err) {
		close(signals);
		return cli_error(err, "cannot open %s", cli_pool());
	}
	status = cli_close(fs, serve(&s, fs, signals));
	close(signals);
	if (status == CLI_OK)
		puts("stopped: leases taken back, pool flushed and clean");
	return status;
}
