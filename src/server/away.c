/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sessions without a connection, and the lease time (P50 to P57, L16, L34).
 *
 * The lease time runs from the last byte that came from the client, by this process' clock. It may always be longer
 * than that, never shorter: the client, which counts from the moment it sent, has stopped before. So time in which the
 * loop itself did not run is given back to everybody, and who has input waiting is not silent.
 *
 * A client whose process is gone comes back never: on unix sockets the kernel tells when, and its session ends at once.
 * Elsewhere it takes the lease time; whoever wants what it held waits no longer than the deadlines say (L7).
 */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/types.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif
#define TICKS_OF_A_LEASE 8u

#define TEXT_SILENT "P56 nothing was heard of it for the lease time"

uint64_t server_clock(const struct lh_server *server)
{
	return server->limits.clock_ns ? server->limits.clock_ns() : clock_now_ns();
}

uint64_t away_tick_ns(const struct lh_server *server)
{
	return max_u64(server->limits.lease_ns / TICKS_OF_A_LEASE, NS_PER_MS);
}

/* --- losing the connection --- */

static bool process_gone(int pid_fd)
{
	struct pollfd p = {.fd = pid_fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* A descriptor that becomes readable when the peer's process ends; -1: nobody can say; -ESRCH: it has ended. */
static int process_watch(const struct session *s)
{
	int fd = -1;
	socklen_t len = sizeof(fd);

	if (!s->is_unix || s->pid <= 0)
		return -1;
	if (getsockopt(s->fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &len) < 0) {
		if (errno == ESRCH || errno == EINVAL)
			return -ESRCH;
		fd = (int)syscall(SYS_pidfd_open, s->pid, 0);
		if (fd < 0)
			return errno == ESRCH ? -ESRCH : -1;
	}
	if (!process_gone(fd))
		return fd;
	close(fd);
	return -ESRCH;
}

static void go_away(struct session *s, int watch)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};

	s->state = SESSION_AWAY;
	atomic_store(&s->away, true);
	s->pid_fd = watch;
	/* Without it the end of the process is found out by the lease time. */
	if (watch >= 0)
		(void)epoll_ctl(s->server->epoll_fd, EPOLL_CTL_ADD, watch, &ev);
}

/* Closing alone would leave it watched while a fork of this process has not come to its exec, and s would be gone. */
void away_unwatch(struct session *s)
{
	if (s->pid_fd >= 0) {
		epoll_ctl(s->server->epoll_fd, EPOLL_CTL_DEL, s->pid_fd, NULL);
		close(s->pid_fd);
	}
	s->pid_fd = -1;
}

/* Takes the connection away, if there still is one, with what it brought and was not handled. */
static void drop_connection(struct session *s)
{
	int fd = output_suspend(s);

	if (fd >= 0) {
		epoll_ctl(s->server->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		close(fd);
	}
	away_unwatch(s);
	input_forget(s);
}

void session_lost(struct session *s)
{
	int watch;

	watch = s->state == SESSION_OPEN && s->resumable ? process_watch(s) : -ESRCH;
	if (watch == -ESRCH) {
		session_end(s, PROTO_BYE_CLOSED, NULL);
		return;
	}
	drop_connection(s);
	go_away(s, watch);
	log_info("server", "session %llu (uid %u, pid %d) lost its connection", (unsigned long long)s->id, s->cred.uid,
		 (int)s->pid);
}

void away_event(struct session *s)
{
	if (s->pid_fd >= 0 && process_gone(s->pid_fd))
		session_end(s, PROTO_BYE_CLOSED, "its process has ended");
}

/* --- coming back --- */

static int resume_refuse(const char **text, int err, const char *why)
{
	*text = why;
	return err;
}

/* 0, or why not. Whoever has no valid token learns nothing, not even which sessions there are. */
static int resume_check(struct session *conn, const struct proto_resume *in, struct session **out, const char **text)
{
	struct session *s = session_find(conn->server, in->session);

	if (in->magic != PROTO_MAGIC || in->version < PROTO_VERSION_MIN || in->version > PROTO_VERSION_MAX)
		return resume_refuse(text, -EPROTO, "P54 wrong magic or version");
	if (!s || !session_token_is(s, in->token) || s->epoch != in->epoch || !s->resumable)
		return resume_refuse(text, -ESTALE, "P54 there is no such session (any more)");
	if (s->cred.uid != conn->cred.uid)
		return resume_refuse(text, -EACCES, "P54 the session is another user's");
	if (!output_can_resume(s, in->received))
		return resume_refuse(text, -EPROTO, "P55 it says to have had what was never sent, or is forgotten");
	*out = s;
	return 0;
}

void away_resume(struct session *conn, const struct proto_header *h, const struct proto_resume *in)
{
	struct lh_server *server = conn->server;
	union proto_body body = {0};
	struct epoll_event ev = {.events = EPOLLIN};
	struct session *s = NULL;
	const char *text = "";
	int fd, err;

	err = resume_check(conn, in, &s, &text);
	if (err) {
		log_info("server", "a RESUME was refused: %s", text);
		body.error.text = proto_str_of(text);
		output_reply(conn, h, err, &body);
		session_end(conn, PROTO_BYE_CLOSED, NULL);
		return;
	}
	drop_connection(s);
	body.resumed = (struct proto_resumed){.received = s->seq, .session_timeout_ns = server->limits.lease_ns};
	output_reply(conn, h, 0, &body);
	/* A socket that has sent nothing yet takes it whole, or is gone, which the loop then hears of. */
	fd = session_steal_fd(conn);
	session_end(conn, PROTO_BYE_CLOSED, NULL);
	ev.data.ptr = s;
	/* Before anybody else may send on it, and change what is of interest. */
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		log_warn("server", "session %llu cannot be watched: %s", (unsigned long long)s->id, strerror(errno));
		close(fd);
		go_away(s, -1);
		return;
	}
	s->state = SESSION_OPEN;
	atomic_store(&s->away, false);
	atomic_store(&s->heard_ns, server_clock(server));
	output_attach(s, fd, in->received);
	log_info("server", "session %llu was resumed", (unsigned long long)s->id);
}

/* --- the lease time --- */

static bool has_input(const struct session *s)
{
	char byte;

	return s->fd >= 0 && !s->stalled && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static bool silent(const struct session *s, uint64_t now)
{
	uint64_t heard = atomic_load_explicit(&s->heard_ns, memory_order_relaxed);

	return now > heard && now - heard > s->server->limits.lease_ns;
}

void away_expire(struct lh_server *server, uint64_t late_ns)
{
	uint64_t now = server_clock(server);
	struct session *s, *next;

	for (s = server->sessions; s; s = next) {
		next = s->next;
		if (s->state == SESSION_FRESH)
			continue;
		if (late_ns)
			atomic_fetch_add(&s->heard_ns, late_ns);
		if (atomic_load(&s->slow))
			session_end(s, PROTO_BYE_SLOW, "P20 more waits for it than is kept");
		else if (silent(s, now) && !has_input(s))
			session_end(s, PROTO_BYE_TIMEOUT, TEXT_SILENT);
	}
}

/* Nothing that anybody could miss but answers. */
static bool is_light(struct session *s)
{
	bool light;

	lock_take(&s->lock);
	light = s->handles.used == 0;
	lock_drop(&s->lock);
	return light;
}

bool away_evict(struct lh_server *server)
{
	struct session *oldest = NULL;

	for (struct session *s = server->sessions; s; s = s->next) {
		if (s->state == SESSION_AWAY && (!oldest || s->heard_ns < oldest->heard_ns) && is_light(s))
			oldest = s;
	}
	if (!oldest)
		return false;
	session_end(oldest, PROTO_BYE_LIMIT, "its place is needed");
	return true;
}
