/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop: one thread that waits for all control connections, and the only one that makes, moves and ends sessions.
 *
 * After something happened it looks again for a short while without sleeping: a conversation of small messages then
 * costs no wake-up. Time limits (P1, P19, P56) are checked twice a second, or more often when the lease time is short,
 * and only while there are sessions: a server without any sleeps for good.
 */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/types.h"

#define LOOP_EVENTS   64
#define LOOP_ACCEPTS  64u /* at once, so that a crowd at the door keeps nobody inside waiting */
#define LOOP_TICK_MS  500
#define LOOP_ERROR_MS 10

static void accept_some(struct lh_server *server)
{
	for (unsigned i = 0; i < LOOP_ACCEPTS; i++) {
		int fd = listen_accept(&server->listener);

		if (fd < 0)
			return;
		if (server->session_count >= server->limits.sessions_max && !away_evict(server)) {
			session_refuse(server, fd);
			continue;
		}
		session_new(server, fd);
	}
}

static void session_event(struct session *s, uint32_t events)
{
	if (s->state == SESSION_AWAY) {
		away_event(s);
		return;
	}
	if (atomic_load(&s->slow)) {
		session_end(s, PROTO_BYE_SLOW, "P20 it does not read what it is sent");
		return;
	}
	if (events & EPOLLOUT) {
		output_ready(s);
		changes_drained(s);
		if (s->stalled && !output_full(s)) {
			input_resume(s);
			return; /* s may be gone; what else there is comes again */
		}
	}
	if (s->stalled && (events & (EPOLLHUP | EPOLLERR)))
		session_lost(s);
	else if (!s->stalled && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		input_ready(s);
}

static void check_clocks(struct lh_server *server)
{
	uint64_t now = clock_now_ns();
	struct session *s, *next;

	for (s = server->sessions; s; s = next) {
		bool fresh = s->state == SESSION_FRESH;
		uint64_t limit = fresh ? server->limits.hello_ns : server->limits.message_ns;

		next = s->next;
		if (!s->began_ns || now - s->began_ns < limit)
			continue;
		session_end(s, PROTO_BYE_TIMEOUT,
			    fresh ? "P1 no complete HELLO in time"
				  : "P19 a message was begun and not finished in time");
	}
}

static void wake_taken(struct lh_server *server)
{
	uint64_t count;

	if (read(server->wake_fd, &count, sizeof(count)) < 0)
		assert(errno == EAGAIN);
}

static void handle_events(struct lh_server *server, const struct epoll_event *events, int n)
{
	bool knock = false;

	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr == &server->listener)
			knock = true;
		else if (events[i].data.ptr == server)
			wake_taken(server);
		else
			session_event(events[i].data.ptr, events[i].events);
	}
	/* Last, so that no new session takes the memory of one that ended in this round. */
	if (knock)
		accept_some(server);
}

static uint64_t tick_ns(const struct lh_server *server)
{
	return min_u64(LOOP_TICK_MS * NS_PER_MS, away_tick_ns(server));
}

/* How long to sleep when nothing happens, in ms. */
static int patience(const struct lh_server *server, uint64_t now, uint64_t last)
{
	if (now - last < server->spin_ns)
		return 0;
	return server->session_count ? (int)((tick_ns(server) + NS_PER_MS - 1) / NS_PER_MS) : -1;
}

/* The time limits of what is due. */
static void check(struct lh_server *server, uint64_t now)
{
	uint64_t tick = tick_ns(server);
	uint64_t gap = now - server->checked_ns;

	if (gap < tick)
		return;
	if (server->clocked)
		check_clocks(server);
	away_expire(server, gap > 2 * tick ? gap - tick : 0);
	server->checked_ns = now;
}

static void wake(struct lh_server *server)
{
	const uint64_t one = 1;

	if (write(server->wake_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

void loop_wake(struct lh_server *server)
{
	if (atomic_exchange(&server->asleep, false))
		wake(server);
}

void loop_expect(struct lh_server *server)
{
	if (atomic_load_explicit(&server->asleep, memory_order_relaxed) && atomic_exchange(&server->asleep, false))
		wake(server);
}

static void *loop_main(void *arg)
{
	struct lh_server *server = arg;
	struct epoll_event events[LOOP_EVENTS];
	uint64_t last = clock_now_ns(), now;
	int n, wait_ms;

	server->checked_ns = last;
	while (!atomic_load(&server->stopping)) {
		now = clock_now_ns();
		wait_ms = patience(server, now, last);
		if (wait_ms)
			atomic_store(&server->asleep, true);
		/* Whoever queued something before that has woken nobody. */
		if (wait_ms && atomic_load(&server->watch_waiting)) {
			atomic_store(&server->asleep, false);
			wait_ms = 0;
		}
		n = epoll_wait(server->epoll_fd, events, LOOP_EVENTS, wait_ms);
		if (wait_ms)
			atomic_store(&server->asleep, false);
		if (n < 0 && errno != EINTR) {
			log_error("server", "epoll_wait: %s", strerror(errno));
			usleep(LOOP_ERROR_MS * 1000);
		}
		if (n > 0) {
			handle_events(server, events, n);
			last = clock_now_ns();
		} else if (!wait_ms) {
			/* Whoever is to send the next message may be waiting for this processor. */
			sched_yield();
		}
		changes_run(server);
		if (wait_ms < 0)
			server->checked_ns = clock_now_ns();
		else if (server->session_count)
			check(server, now);
		else
			server->checked_ns = now;
	}
	while (server->sessions)
		session_end(server->sessions, PROTO_BYE_SHUTDOWN, "the server is shutting down");
	changes_close(server);
	return NULL;
}

static int watch(struct lh_server *server, int fd, void *what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int loop_start(struct lh_server *server)
{
	sigset_t all, before;
	int err;

	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server->scratch = malloc(SERVER_SCRATCH);
	if (server->wake_fd < 0 || server->epoll_fd < 0)
		return fail(-errno, "the server's loop: %s", strerror(errno));
	if (!server->scratch)
		return -ENOMEM;
	err = watch(server, server->wake_fd, server);
	if (!err)
		err = watch(server, server->listener.fd, &server->listener);
	if (err)
		return err;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&server->loop, NULL, loop_main, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	server->loop_runs = err == 0;
	return err;
}

void loop_stop(struct lh_server *server)
{
	if (server->loop_runs) {
		atomic_store(&server->stopping, true);
		wake(server);
		pthread_join(server->loop, NULL);
	}
	if (server->wake_fd >= 0)
		close(server->wake_fd);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	free(server->scratch);
}
