/* SPDX-License-Identifier: BSD-2-Clause */
/* Nothing that the peer says here is believed before proto/ has accepted it; a peer that says nothing runs into the
 * time limit. */
#include "client/wire.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/types.h"

#define WIRE_REQUEST_MAX 512u

struct wire {
	const struct address *address;
	int fd;
	uint64_t until_ns;
};

static int wire_wait(const struct wire *w, short events)
{
	struct pollfd p = {.fd = w->fd, .events = events};

	for (;;) {
		uint64_t now = clock_now_ns();
		int ready = now < w->until_ns ? poll(&p, 1, (int)((w->until_ns - now) / NS_PER_MS) + 1) : 0;

		if (ready > 0)
			return 0;
		if (ready == 0)
			return fail(-ETIMEDOUT, "%s: the server did not answer in time", w->address->text);
		if (errno != EINTR)
			return fail(-errno, "%s: poll: %s", w->address->text, strerror(errno));
	}
}

static int wire_send(const struct wire *w, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(w->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int err;

		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return fail(-ECONNREFUSED, "%s: the connection was closed at once: %s", w->address->text,
				    strerror(errno));
		err = wire_wait(w, POLLOUT);
		if (err)
			return err;
	}
	return 0;
}

static int wire_receive(const struct wire *w, uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = recv(w->fd, bytes, len, MSG_DONTWAIT);
		int err;

		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
			continue;
		}
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return fail(-ECONNREFUSED, "%s: the connection was closed before the server said who it is",
				    w->address->text);
		err = wire_wait(w, POLLIN);
		if (err)
			return err;
	}
	return 0;
}

static int goodbye_error(unsigned reason)
{
	switch (reason) {
	case PROTO_BYE_VERSION:
		return -EPROTONOSUPPORT;
	case PROTO_BYE_LIMIT:
		return -EUSERS;
	case PROTO_BYE_SHUTDOWN:
	case PROTO_BYE_CLOSED:
		return -ECONNREFUSED;
	case PROTO_BYE_TIMEOUT:
		return -ETIMEDOUT;
	default:
		return -EPROTO;
	}
}

static int wire_check(const struct wire *w, const struct proto_header *asked, struct wire_reply *r)
{
	unsigned type = asked->type;

	const struct proto_header *h = &r->header;

	if (h->type == PROTO_GOODBYE && !(h->flags & PROTO_REPLY)) {
		const struct proto_goodbye *bye = &r->body.goodbye;

		return fail(goodbye_error(bye->reason), "%s: the server refused: %s: %.*s", w->address->text,
			    proto_bye_name(bye->reason), (int)bye->text.len, bye->text.bytes);
	}
	if (h->type != type || !(h->flags & PROTO_REPLY) || h->seq != asked->seq || h->epoch != asked->epoch)
		return fail(-EPROTO, "%s: the first message is no answer to %s: not a Leasehold server?",
			    w->address->text, proto_type_name(type));
	r->answered = true;
	if (h->status)
		return fail(-(int)h->status, "%s: the server refused %s: %.*s", w->address->text, proto_type_name(type),
			    (int)r->body.error.text.len, r->body.error.text.bytes);
	return 0;
}

static int wire_reply(const struct wire *w, const struct proto_header *asked, struct wire_reply *r)
{
	const char *rule;
	int err = wire_receive(w, r->bytes, PROTO_HEADER_SIZE);

	r->answered = false;
	if (err)
		return err;
	rule = proto_header_decode(r->bytes, &r->header);
	if (rule)
		return fail(-EPROTO, "%s: not a Leasehold server? Its first message breaks rule %s", w->address->text,
			    rule);
	if (r->header.length > sizeof(r->bytes))
		return fail(-EPROTO, "%s: not a Leasehold server? Its first message has %u bytes", w->address->text,
			    r->header.length);
	err = wire_receive(w, r->bytes + PROTO_HEADER_SIZE, r->header.length - PROTO_HEADER_SIZE);
	if (err)
		return err;
	rule = proto_body_decode(&r->header, r->bytes + PROTO_HEADER_SIZE, &r->body);
	if (rule)
		return fail(-EPROTO, "%s: not a Leasehold server? Its first message breaks rule %s", w->address->text,
			    rule);
	return wire_check(w, asked, r);
}

int wire_ask(const struct address *a, int fd, const struct proto_header *header, const union proto_body *body,
	     uint64_t timeout_ns, struct wire_reply *out)
{
	struct wire w = {.address = a, .fd = fd, .until_ns = clock_now_ns() + timeout_ns};
	uint8_t request[WIRE_REQUEST_MAX];
	ssize_t n = proto_encode(header, body, request, sizeof(request));
	int err;

	out->answered = false;
	if (n < 0)
		return fail((int)n, "%s: cannot encode %s", a->text, proto_type_name(header->type));
	err = wire_send(&w, request, (size_t)n);
	return err ? err : wire_reply(&w, header, out);
}

int wire_open(const struct address *a, unsigned type, const union proto_body *body, uint64_t timeout_ns,
	      struct wire_reply *out)
{
	struct proto_header h = {.type = (uint16_t)type, .seq = 1};
	uint64_t until_ns = clock_now_ns() + timeout_ns;
	int fd = address_connect(a, timeout_ns);
	uint64_t now;
	int err;

	if (fd < 0)
		return fd;
	now = clock_now_ns();
	err = wire_ask(a, fd, &h, body, now < until_ns ? until_ns - now : 1, out);
	if (!err)
		return fd;
	close(fd);
	return err;
}
