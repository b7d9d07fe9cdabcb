/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A new session in place of one that is gone (P59): because the server restarted, or because nothing was heard of us
 * for the lease time.
 *
 * In this order: the owner forgets what the old session granted; files are opened again; requests that waited are sent
 * again, or fail. Nothing is asked of the new session before the owner has forgotten, so that no old key, hole or size
 * meets it. When the new socket fails in between, all of it is done again with the next one.
 *
 * Sent again is what was never sent, and what changes nothing. The rest may have been carried out, and repeating it
 * could undo what others did since: it fails with -EIO, and a sentence that says that its outcome is unknown.
 */
#include "client/conn_internal.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/types.h"
#include "client/wire.h"

#define REOPEN_NS (2 * NS_PER_SEC) /* for one file */

int conn_hello(const struct conn_dial *dial, uint64_t timeout_ns, struct proto_welcome *out)
{
	char host[PROTO_HOST_MAX + 1] = "";
	union proto_body body = {.hello = {.magic = PROTO_MAGIC,
					   .version_min = PROTO_VERSION_MIN,
					   .version_max = PROTO_VERSION_MAX,
					   .features = dial->features,
					   .flags = dial->flags,
					   .pid = getpid()}};
	struct wire_reply *reply = malloc(sizeof(*reply));
	const char *wrong = NULL;
	int fd;

	if (!reply)
		return -ENOMEM;
	gethostname(host, sizeof(host) - 1);
	body.hello.host = proto_str_of(host);
	memcpy(body.hello.client, dial->client, sizeof(body.hello.client));
	fd = wire_open(dial->address, PROTO_HELLO, &body, timeout_ns, reply);
	if (fd >= 0)
		*out = reply->body.welcome;
	free(reply);
	if (fd < 0)
		return fd;
	/* What the server says about itself must make sense before anything is built on it. */
	if (out->version < PROTO_VERSION_MIN || out->version > PROTO_VERSION_MAX) {
		close(fd);
		return fail(-EPROTONOSUPPORT, "%s: the server speaks protocol version %u, this library %u to %u",
			    dial->address->text, out->version, PROTO_VERSION_MIN, PROTO_VERSION_MAX);
	}
	if (out->features & ~dial->features)
		wrong = "features that were not offered (P22)";
	else if (out->data_max == 0 || out->data_max > PROTO_DATA_MAX)
		wrong = "data_max";
	else if (out->outstanding_max == 0)
		wrong = "outstanding_max";
	else if (out->epoch == 0)
		wrong = "an epoch of 0";
	if (!wrong)
		return fd;
	close(fd);
	return fail(-EPROTO, "%s: the server's WELCOME is wrong: %s", dial->address->text, wrong);
}

/* --- files --- */

/* Asks on the new socket, before anybody else does. The sequence number is the session's next. */
static int reopen(struct conn *c, int fd, const struct conn_handle *h, uint64_t *server)
{
	union proto_body inner = {.file_reopen = {.ino = h->ino, .btime_ns = h->btime_ns, .flags = h->flags}};
	union proto_body body = inner;
	bool as = atomic_load(&c->acts);
	struct proto_header header = {.type = as ? PROTO_AS : PROTO_FILE_REOPEN,
				      .seq = c->next_seq,
				      .epoch = c->epoch,
				      .ack = c->resumable ? (uint32_t)atomic_load(&c->received) : 0};
	struct wire_reply *reply = malloc(sizeof(*reply));
	int err;

	if (!reply)
		return -ENOMEM;
	/* It was opened with somebody else's rights, which were looked at then. */
	if (as)
		body.as = (struct proto_as){.flags = PROTO_AS_IDENTITY | PROTO_AS_CHECKED,
					    .inner = {.type = PROTO_FILE_REOPEN, .host = &inner}};
	err = wire_ask(c->dial->address, fd, &header, &body, REOPEN_NS, reply);
	if (err == 0 || (err < 0 && reply->answered)) {
		lock_take(&c->lock);
		c->send_seq = ++c->next_seq;
		lock_drop(&c->lock);
		atomic_fetch_add(&c->received, 1);
	}
	if (!err && as && reply->body.as_reply.inner.type != PROTO_FILE_REOPEN)
		err = fail(-EPROTO, "P70 the answer to another request than was carried");
	else if (!err && as)
		proto_inner_decode(&reply->header, &reply->body.as_reply.inner, &header, &reply->body);
	if (!err)
		*server = reply->body.opened.handle;
	else if (reply->answered)
		err = 1; /* the file cannot be had; the connection is well */
	free(reply);
	return err;
}

static int reopen_all(struct conn *c, int fd)
{
	for (uint32_t i = 0; i < c->handle_count; i++) {
		struct conn_handle h;
		uint64_t server = 0;
		int err;

		lock_take(&c->lock);
		h = c->handles[i];
		lock_drop(&c->lock);
		if (!h.used || h.stale)
			continue;
		err = reopen(c, fd, &h, &server);
		if (err < 0)
			return err;
		if (err)
			log_warn("client", "%s: an open file (inode %llu) could not be opened again: %s",
				 c->dial->address->text, (unsigned long long)h.ino, fail_text());
		lock_take(&c->lock);
		c->handles[i].server = server;
		c->handles[i].stale = err != 0;
		lock_drop(&c->lock);
	}
	return 0;
}

/* --- requests that waited --- */

enum fate { FATE_AGAIN, FATE_DONE, FATE_BROKEN, FATE_BUSY, FATE_UNKNOWN };

/* Of a request that was sent and not answered by the old session. */
static enum fate fate_of(const struct call *call, bool rebooted)
{
	switch (call->type) {
	case PROTO_PING:
	case PROTO_FS_STAT:
	case PROTO_FS_LEASES:
	case PROTO_FS_LEASE_STATS:
	case PROTO_FS_SNAPSHOTS:
	case PROTO_FS_LIMIT_GET:
	case PROTO_FS_LIMITS:
	case PROTO_FS_SESSIONS:
	case PROTO_FS_AUDIT:
	case PROTO_PATH_STAT:
	case PROTO_PATH_READLINK:
	case PROTO_PATH_GETXATTR:
	case PROTO_PATH_LISTXATTR:
	case PROTO_DIR_OPEN:
	case PROTO_DIR_READ:
	case PROTO_DIR_LIST:
	case PROTO_ACT:
	case PROTO_WATCH:
	case PROTO_FILE_STAT:
	case PROTO_FILE_READ:
	case PROTO_FILE_EXTENTS:
	case PROTO_FILE_SEEK:
	case PROTO_LEASE_GET:
		return FATE_AGAIN;
	case PROTO_FILE_OPEN:
		return call->body->file_open.flags & (PROTO_O_CREAT | PROTO_O_EXCL | PROTO_O_TRUNC | PROTO_O_TMPFILE)
			   ? FATE_UNKNOWN
			   : FATE_AGAIN;
	case PROTO_FS_SYNC:
	case PROTO_FILE_SYNC:
	case PROTO_LEASE_COMMIT:
		/* What it was to make durable the new server may never have had (L29). */
		return rebooted ? FATE_BROKEN : FATE_AGAIN;
	case PROTO_CANCEL:
	case PROTO_LEASE_RELEASE:
	case PROTO_DIR_CLOSE:
	case PROTO_FILE_CLOSE:
		return FATE_DONE; /* with the session */
	case PROTO_RING_ATTACH:
		return FATE_BUSY;
	case PROTO_LEASE_CHANGE:
	case PROTO_LEASE_FAULT:
		return FATE_BUSY;
	default:
		return FATE_UNKNOWN;
	}
}

static void finish(struct conn *c, struct call *call, int status, const char *text)
{
	call->status = status;
	call->reply.error.text = proto_str_of(text);
	if (call->forget) {
		call_fini(call);
		free(call);
	} else {
		conn_finish(c, call);
	}
}

static void end(struct conn *c, struct call *call, enum fate fate)
{
	switch (fate) {
	case FATE_DONE:
		lock_take(&c->lock);
		call->status = 0;
		conn_handle_answered(c, call);
		lock_drop(&c->lock);
		finish(c, call, call->status,
		       call->status ? "the server restarted after this file was changed and before it "
				      "was synced: what was changed may be lost"
				    : "");
		return;
	case FATE_BROKEN:
		finish(c, call, -EIO,
		       "the server restarted meanwhile: what was written before and not yet durable may be "
		       "lost; look, and write it again");
		return;
	case FATE_BUSY:
		if (call->type == PROTO_RING_ATTACH)
			finish(c, call, -EAGAIN, "the session was made anew meanwhile; try again");
		else
			finish(c, call, -ESTALE, "the lease was lost with its session");
		return;
	case FATE_AGAIN:
	case FATE_UNKNOWN:
		break;
	}
	finish(c, call, -EIO,
	       "outcome unknown: the session was lost before the server answered, and it may have been carried "
	       "out or not; look before doing it again");
}

/* conn_handle_check says that it need not, or cannot, go out. */
static void unsendable(struct conn *c, struct call *call, int check)
{
	finish(c, call, check > 0 ? 0 : check,
	       check == -ESTALE ? "the server restarted, and this file is no longer there; close it"
	       : check < 0      ? "the server restarted after changes that were not synced: some may be lost"
				: "");
}

static int by_seq(const void *a, const void *b)
{
	const struct call *const *x = a, *const *y = b;

	return (*x)->seq < (*y)->seq ? -1 : 1;
}

/* All that wait, in their order; *continued: the one whose answer had begun. Caller holds the lock. */
static struct call **take_pending(struct conn *c, unsigned *count)
{
	struct call **list;
	unsigned n = 0;

	for (unsigned i = 0; i < CONN_BUCKETS; i++) {
		for (struct call *call = c->pending[i]; call; call = call->next)
			n++;
	}
	list = calloc(n + 1, sizeof(struct call *));
	if (!list)
		return NULL;
	*count = 0;
	for (unsigned i = 0; i < CONN_BUCKETS; i++) {
		for (struct call *call = c->pending[i]; call; call = call->next)
			list[(*count)++] = call;
		c->pending[i] = NULL;
	}
	qsort(list, n, sizeof(struct call *), by_seq);
	return list;
}

/* Everything that waits gets a number of the new session, or its end. */
static int requests_again(struct conn *c, bool rebooted)
{
	struct call *continued;
	struct call **list;
	unsigned count = 0;
	int check;

	lock_take(&c->lock);
	list = take_pending(c, &count);
	if (!list) {
		lock_drop(&c->lock);
		return -ENOMEM;
	}
	continued = c->continued;
	c->counted = 0;
	for (unsigned i = 0; i < count; i++) {
		enum fate fate = list[i]->sent_ns ? fate_of(list[i], rebooted) : FATE_AGAIN;

		/* A release of the old session's lease means nothing to the new one, sent or not. */
		if (list[i]->type == PROTO_LEASE_RELEASE || list[i]->type == PROTO_RING_ATTACH)
			fate = fate_of(list[i], rebooted);
		check = fate == FATE_AGAIN ? conn_handle_check(c, list[i]) : 0;
		if (fate != FATE_AGAIN || check) {
			lock_drop(&c->lock);
			if (check)
				unsendable(c, list[i], check);
			else
				end(c, list[i], fate);
			lock_take(&c->lock);
			continue;
		}
		conn_pending_add(c, list[i], c->next_seq++);
		list[i]->sent_ns = 0;
		c->counted += conn_counts(list[i]->type);
	}
	lock_drop(&c->lock);
	free(list);
	if (continued)
		conn_finish(c, continued);
	return 0;
}

int conn_renew(struct conn *c, int fd, const struct proto_welcome *w, uint64_t hello_ns)
{
	bool rebooted = w->boot != c->boot;
	int err;

	lock_take(&c->lock);
	c->renewing = true;
	conn_handle_renewed(c, rebooted && !c->reboot_known);
	c->reboot_known |= rebooted;
	lock_drop(&c->lock);
	c->ops->renewed(c->ctx, w, rebooted);
	lock_take(&c->lock);
	conn_welcome_take(c, w, hello_ns);
	lock_drop(&c->lock);
	err = reopen_all(c, fd);
	if (!err)
		err = requests_again(c, c->reboot_known);
	if (err) {
		close(fd);
		return err;
	}
	lock_take(&c->lock);
	close(c->fd);
	c->fd = fd;
	c->renew = c->down = c->renewing = c->reboot_known = false;
	c->in_start = c->in_end = 0;
	c->out_start = c->out_end = 0;
	conn_pump(c);
	cond_wake_all(&c->room);
	lock_drop(&c->lock);
	log_info("client", "%s: the session was made anew%s", c->dial->address->text,
		 rebooted ? ": the server restarted" : "");
	return 0;
}
