/* SPDX-License-Identifier: BSD-2-Clause */
/* A server's beginning and end: server_start, server_address, server_stop of api/backend.h. */
#include "server/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#define NOBODY       65534u
#define SPIN_NS      (50 * NS_PER_US)
#define LANE_MAX     32u
#define SESSIONS_MAX 10000u

const struct server_limits server_limits_default = {
    .sessions_max = SESSIONS_MAX,
    .outstanding_max = 64,
    .running_max = 16,
    .handles_max = 16384,
    .workers_max = 512,
    .out_stall = 2u << 20,
    .out_max = 8u << 20,
    .hello_ns = 5 * NS_PER_SEC,
    .kept_max = 16u << 20,
    .watch_max = 1u << 20,
    .lease_ns = 10 * NS_PER_SEC,
    .message_ns = 30 * NS_PER_SEC,
};

static void options_take(struct lh_server *server, const struct lh_server_options *opt,
			 const struct server_limits *limits)
{
	server->opt = *opt;
	server->limits = *limits;
	if (opt->sessions_max)
		server->limits.sessions_max = opt->sessions_max;
	if (opt->session_timeout_ns)
		server->limits.lease_ns = opt->session_timeout_ns;
	if (!opt->tcp_as_given) {
		server->opt.tcp_uid = opt->tcp_uid ? opt->tcp_uid : NOBODY;
		server->opt.tcp_gid = opt->tcp_gid ? opt->tcp_gid : NOBODY;
	}
	server->spin_ns = opt->spin_ns ? opt->spin_ns : SPIN_NS;
}

/* Also of a server that was only half made. */
static void server_free(struct lh_server *server)
{
	loop_stop(server);
	lock_take(&server->lock);
	while (server->alive)
		cond_wait(&server->done, &server->lock);
	lock_drop(&server->lock);
	workers_free(server->lane);
	workers_free(server->workers);
	listen_close(&server->listener);
	if (server->target)
		fabric_target_free(server->target);
	cond_destroy(&server->done);
	lock_destroy(&server->watch_lock);
	lock_destroy(&server->lock);
	free(server);
}

static int server_make(struct lh_server *server, const char *address)
{
	struct fabric_target_options fabric = {.spin_ns = server->opt.spin_ns};
	int err;

	server->listener = (struct listener){.fd = -1, .spare_fd = -1};
	server->wake_fd = server->epoll_fd = -1;
	lock_init(&server->lock, RANK_SESSION);
	lock_init(&server->watch_lock, RANK_SEND);
	cond_init(&server->done);
	if (getrandom(&server->boot, sizeof(server->boot), 0) != sizeof(server->boot))
		return -EIO;
	err = fabric_target_new(&fabric, &server->target);
	if (!err)
		err = workers_new(server->limits.workers_max, &server->workers);
	if (!err)
		err = workers_new(LANE_MAX, &server->lane);
	if (!err)
		err = listen_open(address, server->opt.socket_mode, &server->listener);
	return err ? err : loop_start(server);
}

int server_start_limited(struct lh_fs *fs, const char *address, const struct lh_server_options *opt,
			 const struct server_limits *limits, struct lh_server **out)
{
	struct lh_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return -ENOMEM;
	options_take(server, opt, limits);
	server->lhfs = fs;
	server->fs = local_fs(fs);
	server->arbiter = fs_arbiter(server->fs);
	err = server_make(server, address);
	if (err) {
		server_free(server);
		return err;
	}
	server->served.target = server->target;
	local_serve_begin(fs, &server->served);
	log_info("server", "listening on %s", server->listener.address);
	*out = server;
	return 0;
}

int server_start(struct lh_fs *fs, const char *address, const struct lh_server_options *opt, struct lh_server **out)
{
	return server_start_limited(fs, address, opt, &server_limits_default, out);
}

const char *server_address(const struct lh_server *server)
{
	return server->listener.address;
}

void server_stop(struct lh_server *server)
{
	local_serve_end(server->lhfs, &server->served);
	server_free(server);
}
