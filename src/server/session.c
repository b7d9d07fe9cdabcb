/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a session: made for every connection, opened by HELLO, ended by the loop, freed by the last who uses it.
 *
 * Ending is in two steps, because requests of the session may be waiting for somebody's lease just then (P27):
 *	1. at once, on the lane: the leases of its handles end, so that nobody waits for a holder that is gone;
 *	2. when the last request has dropped its reference: handles, arbiter's session, domain.
 * A lease that a request is granted between 1 and 2 is given back by that request (calls_lease.c).
 */
#include "server/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memlock.h"

#define GOODBYE_MAX 1024u
#define DRAIN_MAX   16u /* reads of unread input before closing */

static int random_bytes(void *buf, size_t len)
{
	return getrandom(buf, len, 0) == (ssize_t)len ? 0 : -EIO;
}

/* --- what the arbiter tells us: queued, never waited for --- */

static void say_recall(struct session *s, unsigned type, const struct lease_recall *r)
{
	const char *reason = lease_reason_name(r->reason);
	union proto_body body = {0};

	body.recall = (struct proto_recall){
	    .lease = r->lease,
	    .seq = r->seq,
	    .mode = r->mode,
	    .range = {r->range.start, r->range.end - r->range.start},
	    .reason = r->reason,
	    .kind = r->kind == LEASE_STOP ? PROTO_STOP : PROTO_DRAIN,
	    .left_ns = type == PROTO_RECALL && r->deadline_ns > r->now_ns ? r->deadline_ns - r->now_ns : 0,
	    .reason_text = proto_str_of(reason),
	};
	output_event(s, type, 0, &body);
}

static void on_recall(void *ctx, const struct lease_recall *r)
{
	struct session *s = ctx;

	say_recall(s, PROTO_RECALL, r);
	loop_expect(s->server);
}

static void on_revoked(void *ctx, const struct lease_recall *r)
{
	say_recall(ctx, PROTO_REVOKED, r);
}

static const struct lease_session_ops lease_ops = {.recall = on_recall, .revoked = on_revoked};

/* --- making --- */

static void list_add(struct session *s)
{
	struct lh_server *server = s->server;

	s->next = server->sessions;
	s->link = &server->sessions;
	if (s->next)
		s->next->link = &s->next;
	server->sessions = s;
	server->session_count++;
}

static void list_del(struct session *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	s->server->session_count--;
	if (s->began_ns)
		s->server->clocked--;
	s->began_ns = 0;
	if (!s->bucket_link)
		return;
	lock_take(&s->server->lock);
	*s->bucket_link = s->bucket_next;
	if (s->bucket_next)
		s->bucket_next->bucket_link = s->bucket_link;
	lock_drop(&s->server->lock);
	s->bucket_link = NULL;
}

/* Others than the loop look at the buckets too (session_look). */
static void bucket_add(struct session *s)
{
	struct session **bucket = &s->server->buckets[s->id % SESSION_BUCKETS];

	lock_take(&s->server->lock);
	s->bucket_next = *bucket;
	s->bucket_link = bucket;
	if (s->bucket_next)
		s->bucket_next->bucket_link = &s->bucket_next;
	*bucket = s;
	lock_drop(&s->server->lock);
}

static int identify(struct session *s)
{
	const struct lh_server_options *opt = &s->server->opt;

	if (s->is_unix)
		return listen_identity(s->fd, &s->cred, &s->pid);
	s->cred = (struct fs_cred){.uid = opt->tcp_uid, .gid = opt->tcp_gid};
	return 0;
}

static void session_init(struct session *s, struct lh_server *server, int fd)
{
	s->server = server;
	atomic_init(&s->refs, 1);
	s->fd = fd;
	s->pid_fd = -1;
	s->is_unix = server->listener.is_unix;
	s->out_tail = &s->out_head;
	s->waiting_tail = &s->waiting_head;
	s->in_wanted = true;
	s->interest = EPOLLIN;
	s->began_ns = clock_now_ns();
	atomic_init(&s->heard_ns, server_clock(server));
	lock_init(&s->send, RANK_SEND);
	lock_init(&s->watching, RANK_SESSION);
}

int session_new(struct lh_server *server, int fd)
{
	struct session *s = calloc(1, sizeof(*s));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};
	int err = -ENOMEM;

	if (!s)
		goto out_fd;
	session_init(s, server, fd);
	lock_init(&s->lock, RANK_SESSION);
	err = identify(s);
	if (!err && epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		err = -errno;
	if (err)
		goto out_free;
	list_add(s);
	server->clocked++;
	lock_take(&server->lock);
	server->alive++;
	lock_drop(&server->lock);
	return 0;
out_free:
	lock_destroy(&s->lock);
	lock_destroy(&s->watching);
	lock_destroy(&s->send);
	free(s);
out_fd:
	close(fd);
	log_warn("server", "%s: a client could not be taken in: %s", server->listener.address, strerror(-err));
	return err;
}

/* Bytes of a peer that will be shown to people. */
static void host_copy(struct proto_str host, char *buf, size_t cap)
{
	size_t n = host.len < cap - 1 ? host.len : cap - 1;

	for (size_t i = 0; i < n; i++)
		buf[i] = (unsigned char)host.bytes[i] < ' ' || host.bytes[i] == 0x7f ? '?' : host.bytes[i];
	buf[n] = '\0';
}

static void welcome_fill(struct session *s, uint32_t version, struct proto_welcome *out)
{
	const struct server_limits *limits = &s->server->limits;

	*out = (struct proto_welcome){
	    .version = version,
	    .features = s->features,
	    .session = s->id,
	    .epoch = s->epoch,
	    .boot = s->server->boot,
	    .uid = s->cred.uid,
	    .gid = s->cred.gid,
	    .block_size = LH_BLOCK_SIZE,
	    .message_max = PROTO_MESSAGE_MAX,
	    .data_max = PROTO_DATA_MAX,
	    .outstanding_max = limits->outstanding_max,
	    .handles_max = limits->handles_max,
	    .session_timeout_ns = limits->lease_ns,
	    .grace_ns = fs_grace_left(s->server->fs),
	};
	memcpy(out->token, s->token, sizeof(out->token));
}

int session_open(struct session *s, const struct proto_hello *hello, uint32_t version, struct proto_welcome *out)
{
	struct lh_server *server = s->server;
	struct lease_identity who = {.uid = s->cred.uid, .gid = s->cred.gid, .pid = s->is_unix ? s->pid : hello->pid};
	int err;

	/* TCP peers prove nothing: what this process may pin. */
	who.memlock_bytes = s->is_unix ? memlock_of(s->pid, who.uid) : memlock_of(0, geteuid());
	host_copy(hello->host, who.host, sizeof(who.host));
	s->pid = who.pid;
	s->features = hello->features & (PROTO_FEATURE_STREAM | PROTO_FEATURE_AS | PROTO_FEATURE_WATCH |
					 (s->is_unix ? PROTO_FEATURE_RING : 0));
	s->read_only = hello->flags & PROTO_HELLO_READ_ONLY;
	s->resumable = !(hello->flags & PROTO_HELLO_NO_RESUME);
	memcpy(s->client, hello->client, sizeof(s->client));
	err = random_bytes(s->token, sizeof(s->token));
	if (!err)
		err = random_bytes(&s->epoch, sizeof(s->epoch));
	s->epoch |= 1; /* never 0 */
	if (!err)
		err = fabric_domain_new(server->target, &s->domain);
	if (!err)
		fabric_domain_set_user(s->domain, s->cred.uid);
	if (!err)
		err = lease_session_open(server->arbiter, &lease_ops, s, &who, &s->leases);
	if (err) {
		fabric_domain_free(s->domain);
		s->domain = NULL;
		return err;
	}
	s->id = lease_session_id(s->leases);
	bucket_add(s);
	s->state = SESSION_OPEN;
	welcome_fill(s, version, out);
	return 0;
}

struct session *session_find(struct lh_server *server, uint64_t id)
{
	struct session *s = server->buckets[id % SESSION_BUCKETS];

	while (s && s->id != id)
		s = s->bucket_next;
	return s;
}

bool session_look(struct lh_server *server, uint64_t id, bool *away, uint64_t *idle_ns)
{
	uint64_t now = server_clock(server), heard;
	struct session *s;

	lock_take(&server->lock);
	s = session_find(server, id);
	if (s) {
		heard = atomic_load(&s->heard_ns);
		*away = atomic_load(&s->away);
		*idle_ns = now > heard ? now - heard : 0;
	}
	lock_drop(&server->lock);
	return s != NULL;
}

/* In a time that does not depend on where they differ. */
bool session_token_is(const struct session *s, const uint8_t token[16])
{
	volatile uint8_t diff = 0;

	for (unsigned i = 0; i < 16; i++)
		diff |= s->token[i] ^ token[i];
	return diff == 0;
}

/* --- ending --- */

void session_drop_fds(struct session *s)
{
	while (s->fd_count)
		close(s->fds[--s->fd_count]);
}

static void session_free(struct session *s)
{
	struct lh_server *server = s->server;

	data_close_paths(s);
	changes_end(s);
	if (s->leases) {
		handles_free(s);
		lease_session_close(s->leases);
		fabric_domain_free(s->domain);
	}
	told_fini(&s->told);
	free(s->in);
	lock_destroy(&s->lock);
	lock_destroy(&s->watching);
	lock_destroy(&s->send);
	free(s);
	lock_take(&server->lock);
	server->alive--;
	cond_wake_all(&server->done);
	lock_drop(&server->lock);
}

static void free_run(struct job *job)
{
	session_free(job->session);
}

static void end_run(struct job *job)
{
	struct session *s = job->session;

	data_close_paths(s);
	if (s->expired)
		(void)lease_revoke(s->server->arbiter, 0, 0, s->id, UINT32_MAX, "the lease time was over (L34)");
	handles_end_leases(s);
	session_put(s);
}

void session_get(struct session *s)
{
	atomic_fetch_add(&s->refs, 1);
}

void session_put(struct session *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	/* Closing files may wait for breaks: not on the lane, nor in the loop. */
	s->end_job = (struct job){.session = s, .run = free_run};
	if (!s->leases || workers_submit(s->server->workers, &s->end_job, 0))
		session_free(s);
}

/* What was sent before the end shall reach the peer: closing with unread input would reset a TCP connection. */
static void close_gently(int fd, uint8_t *scratch)
{
	shutdown(fd, SHUT_WR);
	for (unsigned i = 0; i < DRAIN_MAX; i++) {
		if (recv(fd, scratch, SERVER_SCRATCH, MSG_DONTWAIT) <= 0)
			break;
	}
	close(fd);
}

static void say_goodbye(struct session *s, enum proto_bye_reason reason, const char *text)
{
	struct proto_header h = {.type = PROTO_GOODBYE, .epoch = s->epoch};
	union proto_body body = {0};
	uint8_t buf[GOODBYE_MAX];
	ssize_t n;

	body.goodbye.reason = reason;
	body.goodbye.text = proto_str_of(text);
	n = proto_encode(&h, &body, buf, sizeof(buf));
	if (n > 0)
		output_bytes(s, buf, (size_t)n);
}

void session_refuse(struct lh_server *server, int fd)
{
	struct proto_header h = {.type = PROTO_GOODBYE};
	union proto_body body = {0};
	uint8_t buf[GOODBYE_MAX];
	ssize_t n;

	body.goodbye.reason = PROTO_BYE_LIMIT;
	body.goodbye.text = proto_str_of("the server has as many sessions as it may; try again later");
	n = proto_encode(&h, &body, buf, sizeof(buf));
	if (n > 0)
		(void)!send(fd, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	log_warn("server", "%s: a client was refused: %u sessions are open", server->listener.address,
		 server->session_count);
	close_gently(fd, server->scratch);
}

static void log_end(const struct session *s, enum proto_bye_reason reason, const char *text)
{
	enum log_level level = reason == PROTO_BYE_CLOSED || reason == PROTO_BYE_SHUTDOWN ? LOG_INFO : LOG_WARN;

	log_line(level, "server", "session %llu (uid %u, pid %d) ended: %s: %s", (unsigned long long)s->id, s->cred.uid,
		 (int)s->pid, proto_bye_name(reason), text);
}

int session_steal_fd(struct session *s)
{
	int fd = output_detach(s);

	if (fd >= 0)
		epoll_ctl(s->server->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	return fd;
}

void session_end(struct session *s, enum proto_bye_reason reason, const char *text)
{
	bool had_leases = s->state == SESSION_OPEN || s->state == SESSION_AWAY;
	int fd;

	if (text) {
		log_end(s, reason, text);
		say_goodbye(s, reason, text);
	}
	s->expired = s->resumable && reason == PROTO_BYE_TIMEOUT;
	s->state = SESSION_GONE;
	atomic_store(&s->gone, true);
	atomic_store(&s->away, false);
	list_del(s);
	away_unwatch(s);
	session_drop_fds(s);
	fd = session_steal_fd(s);
	if (fd >= 0)
		close_gently(fd, s->server->scratch);
	if (had_leases) {
		/* Nobody is waiting any more for what its requests wait for. */
		lease_interrupt(s->leases, 0, true);
		s->end_job = (struct job){.session = s, .run = end_run};
		if (workers_submit(s->server->lane, &s->end_job, 0) == 0)
			return;
		handles_end_leases(s);
	}
	session_put(s);
}
