/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Data paths of a session (part 2 of the protocol): streams that come as connections of their own and show the
 * session's token, and the ring whose descriptors come over the control connection. Losing one costs its session
 * nothing: keys belong to the domain (L16).
 */
#include "server/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

/* A place for one more path; dead ones give way (P24). -EMFILE. Caller holds SESSION. */
static int path_slot(struct session *s, struct fabric_path **dead)
{
	*dead = NULL;
	for (unsigned i = 0; i < SERVER_PATHS_MAX; i++) {
		if (!s->paths[i])
			return (int)i;
	}
	for (unsigned i = 0; i < SERVER_PATHS_MAX; i++) {
		if (!fabric_path_alive(s->paths[i])) {
			*dead = s->paths[i];
			s->paths[i] = NULL;
			return (int)i;
		}
	}
	return -EMFILE;
}

/* NULL and *err, or the session that the token opens. */
static struct session *authorized(struct session *conn, const struct proto_data_hello *hello, int *err)
{
	struct session *s = session_find(conn->server, hello->session);

	*err = -EACCES;
	if (hello->magic != PROTO_MAGIC || hello->version < PROTO_VERSION_MIN || hello->version > PROTO_VERSION_MAX)
		return NULL;
	if (!s || !session_token_is(s, hello->token) || s->cred.uid != conn->cred.uid)
		return NULL;
	*err = -EOPNOTSUPP;
	return s->features & PROTO_FEATURE_STREAM ? s : NULL;
}

/*
 * The reply goes out before the descriptor becomes a path: from then on its bytes are part 2's. The loop is the only
 * one that ends sessions, so s stays.
 */
static void attach(struct session *conn, struct session *s, unsigned slot, const struct proto_header *h)
{
	struct fabric_path *path = NULL;
	int fd, err;

	output_reply(conn, h, 0, NULL);
	fd = session_steal_fd(conn);
	err = fabric_stream_attach(s->domain, fd, &path);
	if (err) {
		log_warn("server", "session %llu: a data path could not be attached: %s", (unsigned long long)s->id,
			 strerror(-err));
		return;
	}
	lock_take(&s->lock);
	s->paths[slot] = path;
	lock_drop(&s->lock);
}

void data_hello(struct session *conn, const struct proto_header *h, const struct proto_data_hello *hello)
{
	struct fabric_path *dead = NULL;
	struct session *s;
	int err, slot = -1;

	s = authorized(conn, hello, &err);
	if (s) {
		lock_take(&s->lock);
		slot = path_slot(s, &dead);
		lock_drop(&s->lock);
		err = slot < 0 ? slot : 0;
	}
	if (dead)
		fabric_path_close(dead);
	if (err) {
		log_warn("server", "a data connection was refused: %s", strerror(-err));
		output_reply(conn, h, err, NULL);
	} else {
		attach(conn, s, (unsigned)slot, h);
	}
	session_end(conn, PROTO_BYE_CLOSED, NULL);
}

void data_ring_attach(struct session *s, const struct proto_header *h)
{
	struct fabric_path *ring = NULL, *old;
	union proto_body body = {0};
	int err;

	fail_clear();
	if (!(s->features & PROTO_FEATURE_RING)) {
		err = fail(-EOPNOTSUPP, "ring: not agreed on in HELLO, or not a unix socket");
	} else if (s->fd_count != SERVER_RING_FDS) {
		err = fail(-EINVAL, "P17 RING_ATTACH needs three descriptors: memory, target's bell, client's bell");
	} else {
		lock_take(&s->lock);
		old = s->ring;
		s->ring = NULL;
		lock_drop(&s->lock);
		if (old)
			fabric_path_close(old);
		s->fd_count = 0;
		err = fabric_ring_attach(s->domain, s->fds[0], s->fds[1], s->fds[2], &ring);
		lock_take(&s->lock);
		s->ring = ring;
		lock_drop(&s->lock);
	}
	session_drop_fds(s);
	body.error.text = proto_str_of(fail_text());
	output_reply(s, h, err, err ? &body : NULL);
}

void data_close_paths(struct session *s)
{
	struct fabric_path *paths[SERVER_PATHS_MAX + 1];

	lock_take(&s->lock);
	memcpy(paths, s->paths, sizeof(s->paths));
	paths[SERVER_PATHS_MAX] = s->ring;
	memset(s->paths, 0, sizeof(s->paths));
	s->ring = NULL;
	lock_drop(&s->lock);
	for (unsigned i = 0; i <= SERVER_PATHS_MAX; i++) {
		if (paths[i])
			fabric_path_close(paths[i]);
	}
}
