/* SPDX-License-Identifier: BSD-2-Clause */
#include "reviver.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"

static volatile sig_atomic_t ended;

static void on_term(int sig)
{
	ended = 1;
}

static void serve(const struct reviver *k, const char *tcp, int tell)
{
	struct lh_open_options o = {.size = sizeof(o), .deadline_ns = k->deadline_ns, .grace_ns = k->grace_ns};
	struct lh_server_options s = {.size = sizeof(s),
				      .tcp_as_given = true,
				      .tcp_uid = geteuid(),
				      .tcp_gid = getegid(),
				      .session_timeout_ns = k->lease_ns};
	struct lh_server *by_unix, *by_tcp;
	struct lh_fs *fs;

	signal(SIGTERM, on_term);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (lh_fs_open(k->pool, &o, &fs) || lh_server_start(fs, k->unix_address, &s, &by_unix) ||
	    lh_server_start(fs, tcp, &s, &by_tcp)) {
		fprintf(stderr, "server: %s\n", lh_error_text());
		_exit(1);
	}
	if (write(tell, lh_server_address(by_tcp), 64) < 0)
		_exit(1);
	while (!ended)
		usleep(10000);
	lh_server_stop(by_unix);
	lh_server_stop(by_tcp);
	if (lh_fs_close(fs))
		_exit(1);
	_exit(0);
}

/* One letter a command; the answer: pid and address of a server that was started, else a status. */
static void keep(struct reviver *k, int ask, int answer)
{
	char command, tcp[64] = "tcp:127.0.0.1:0";
	int tell[2], status;
	pid_t pid = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(ask, &command, 1) == 1 && command != 'q') {
		if (command == 's') {
			if (pipe(tell))
				_exit(2);
			pid = fork();
			if (pid == 0)
				serve(k, tcp, tell[1]);
			close(tell[1]);
			if (read(tell[0], tcp, sizeof(tcp)) <= 0)
				pid = -1;
			close(tell[0]);
			if (write(answer, &pid, sizeof(pid)) < 0 || write(answer, tcp, sizeof(tcp)) < 0)
				_exit(2);
			continue;
		}
		kill(pid, command == 'k' ? SIGKILL : SIGTERM);
		waitpid(pid, &status, 0);
		if (write(answer, &status, sizeof(status)) < 0)
			_exit(2);
	}
	_exit(0);
}

void reviver_start(struct reviver *k, uint64_t lease_ns, uint64_t deadline_ns, uint64_t grace_ns)
{
	struct lh_make_options made = {.size = sizeof(made), .pool_size = 64 * MIB};
	int ask[2], answer[2];

	memset(k, 0, sizeof(*k));
	k->lease_ns = lease_ns;
	k->deadline_ns = deadline_ns;
	k->grace_ns = grace_ns;
	strcpy(k->dir, "/dev/shm/lh-session-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	snprintf(k->pool, sizeof(k->pool), "%s/pool", k->dir);
	snprintf(k->unix_address, sizeof(k->unix_address), "unix:%s/s", k->dir);
	assert_ok(lh_pool_make(k->pool, &made));
	assert_int_equal(pipe(ask), 0);
	assert_int_equal(pipe(answer), 0);
	k->pid = fork();
	if (k->pid == 0)
		keep(k, ask[0], answer[1]);
	k->ask = ask[1];
	k->answer = answer[0];
	close(ask[0]);
	close(answer[1]);
}

void reviver_serve(struct reviver *k)
{
	assert_int_equal(write(k->ask, "s", 1), 1);
	assert_int_equal(read(k->answer, &k->server, sizeof(k->server)), sizeof(k->server));
	assert_int_equal(read(k->answer, k->tcp_address, sizeof(k->tcp_address)), sizeof(k->tcp_address));
	assert_true(k->server > 0);
}

static int end(struct reviver *k, const char *how)
{
	int status = -1;

	assert_int_equal(write(k->ask, how, 1), 1);
	assert_int_equal(read(k->answer, &status, sizeof(status)), sizeof(status));
	k->server = 0;
	return status;
}

void reviver_kill(struct reviver *k)
{
	end(k, "k");
}

void reviver_shutdown(struct reviver *k)
{
	assert_int_equal(end(k, "t"), 0);
}

void reviver_stop(struct reviver *k)
{
	char path[128];

	if (k->server)
		reviver_shutdown(k);
	assert_int_equal(write(k->ask, "q", 1), 1);
	waitpid(k->pid, NULL, 0);
	close(k->ask);
	close(k->answer);
	unlink(k->pool);
	snprintf(path, sizeof(path), "%s/s", k->dir);
	unlink(path);
	rmdir(k->dir);
}

const char *reviver_address(const struct reviver *k)
{
	return rig_way == WAY_TCP ? k->tcp_address : k->unix_address;
}
