/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conformance: the protocol by hand, after docs/protocol.md and docs/protocol-fabric.md alone. A client that says what
 * no library would: numbers that it never had, half of a request, nothing at all.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define HEADER          32u
#define MAGIC           0x3150484cu /* "LHP1" */
#define VERSION         1u
#define FEATURE_STREAM  1u
#define HELLO_NO_RESUME 2u /* P50: the session ends with its connection */
#define ANSWER_NS       (20 * NS_PER_SEC)
#define EVENT_FIRST     96u
#define EVENT_RECALL    96u
#define EVENT_REVOKED   97u

enum {
	T_HELLO = 1,
	T_PING = 2,
	T_DATA_HELLO = 4,
	T_FILE_OPEN = 64,
	T_FILE_CLOSE = 65,
	T_LEASE_GET = 80,
	T_LEASE_RELEASE = 81
};

/* --- bytes --- */

struct body {
	uint8_t bytes[4096];
	size_t len;
};

static void put(struct body *b, uint64_t v, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		b->bytes[b->len++] = (uint8_t)(v >> 8 * i);
}

static void put_text(struct body *b, const char *text)
{
	size_t n = strlen(text);

	put(b, n, 2);
	memcpy(b->bytes + b->len, text, n);
	b->len += n;
}

static uint64_t get_at(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static bool send_all(int fd, const void *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p = (const char *)p + n;
		len -= (size_t)n;
	}
	return true;
}

/* false: the end, or nothing within the time. */
static bool recv_all(int fd, void *p, size_t len, uint64_t end_ns)
{
	while (len > 0) {
		uint64_t now = clock_now_ns();
		struct pollfd f = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (now >= end_ns || poll(&f, 1, (int)((end_ns - now) / NS_PER_MS) + 1) < 0)
			return false;
		if (f.revents == 0)
			continue;
		n = recv(fd, p, len, 0);
		if (n <= 0)
			return false;
		p = (char *)p + n;
		len -= (size_t)n;
	}
	return true;
}

/* --- connections --- */

static int connect_to(const char *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	bool tcp = strncmp(address, "tcp:", 4) == 0;
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -1;
	in.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", address + 5);
	do {
		err = connect(fd, tcp ? (struct sockaddr *)&in : (struct sockaddr *)&un, tcp ? sizeof(in) : sizeof(un));
	} while (err && errno == EINTR);
	if (err) {
		close(fd);
		return -1;
	}
	if (tcp)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	return fd;
}

int cf_wire_connect(struct cf *c, enum cf_end end)
{
	return connect_to(cf_address(c, end));
}

static bool message(struct cf_wire *w, unsigned type, uint64_t epoch, const void *body, size_t len)
{
	struct body h = {.len = 0};

	put(&h, HEADER + len, 4);
	put(&h, type, 2);
	put(&h, 0, 2);
	put(&h, ++w->seq, 8);
	put(&h, epoch, 8);
	put(&h, 0, 8);
	memcpy(h.bytes + h.len, body, len);
	return send_all(w->fd, h.bytes, HEADER + len);
}

/* One message; its type, 0: the end or nothing in time. Long ones are cut to what there is room for. */
static unsigned take_message(struct cf_wire *w, uint64_t end_ns, bool *reply)
{
	uint8_t h[HEADER];
	uint64_t len;
	unsigned type;

	if (!recv_all(w->fd, h, HEADER, end_ns))
		return 0;
	len = get_at(h, 4) - HEADER;
	type = (unsigned)get_at(h + 4, 2);
	*reply = get_at(h + 6, 2) & 1;
	w->status = (uint32_t)get_at(h + 24, 4);
	if (len > sizeof(w->in) || !recv_all(w->fd, w->in, len, clock_now_ns() + ANSWER_NS))
		return 0;
	w->in_len = len;
	if (!*reply && type == EVENT_RECALL)
		w->recalled = get_at(w->in, 8);
	if (!*reply && type == EVENT_REVOKED)
		w->revoked = get_at(w->in, 8);
	return type;
}

int cf_wire_call(struct cf_wire *w, unsigned type, const void *body, size_t len)
{
	uint64_t end = clock_now_ns() + ANSWER_NS;
	bool reply = false;

	if (!message(w, type, w->epoch, body, len))
		return -1;
	while (!reply) {
		if (take_message(w, end, &reply) == 0)
			return -1;
	}
	return (int)w->status;
}

bool cf_wire_events(struct cf_wire *w, uint64_t within_ns)
{
	uint64_t end = clock_now_ns() + within_ns;
	struct pollfd f = {.fd = w->fd, .events = POLLIN};
	bool reply;

	for (;;) {
		uint64_t now = clock_now_ns();

		if (now >= end || poll(&f, 1, (int)((end - now) / NS_PER_MS) + 1) <= 0)
			return true;
		if (take_message(w, now + ANSWER_NS, &reply) == 0)
			return false;
	}
}

void cf_wire_open(struct cf *c, struct cf_wire *w, enum cf_end end)
{
	cf_wire_open_at(c, w, cf_address(c, end));
}

void cf_wire_open_at(struct cf *c, struct cf_wire *w, const char *address)
{
	struct body b = {.len = 0};
	int status;

	*w = (struct cf_wire){.fd = connect_to(address)};
	NEED(c, w->fd >= 0, "cannot connect: %s", strerror(errno));
	put(&b, MAGIC, 4);
	put(&b, VERSION, 4);
	put(&b, VERSION, 4);
	put(&b, FEATURE_STREAM, 8);
	put(&b, HELLO_NO_RESUME, 4);
	put(&b, (uint64_t)getpid(), 4);
	for (unsigned i = 0; i < 2; i++)
		put(&b, cf_draw(c, 0), 8);
	put_text(&b, "conformance");
	status = cf_wire_call(w, T_HELLO, b.bytes, b.len);
	NEED(c, status == 0 && w->in_len >= 52, "HELLO was answered with status %d", status);
	w->version = (uint32_t)get_at(w->in, 4);
	w->session = get_at(w->in + 12, 8);
	w->epoch = get_at(w->in + 20, 8);
	memcpy(w->token, w->in + 28, 16);
	w->boot = get_at(w->in + 44, 8);
}

void cf_wire_close(struct cf_wire *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

/* --- calls --- */

uint64_t cf_wire_file(struct cf *c, struct cf_wire *w, const char *path, bool write)
{
	struct body b = {.len = 0};
	int status;

	put(&b, write ? 3 : 1, 4);
	put(&b, 0, 4);
	put_text(&b, path);
	status = cf_wire_call(w, T_FILE_OPEN, b.bytes, b.len);
	NEED(c, status == 0 && w->in_len >= 8, "FILE_OPEN of %s was answered with status %d", path, status);
	return get_at(w->in, 8);
}

int cf_wire_lease(struct cf_wire *w, uint64_t handle, uint64_t off, uint64_t len, uint32_t mode, uint64_t deadline_ns,
		  struct cf_wire_lease *out)
{
	struct body b = {.len = 0};
	int status;

	put(&b, handle, 8);
	put(&b, off, 8);
	put(&b, len, 8);
	put(&b, mode, 4);
	put(&b, deadline_ns, 8);
	put(&b, 0, 4);
	put(&b, 0, 8);
	status = cf_wire_call(w, T_LEASE_GET, b.bytes, b.len);
	if (status != 0)
		return status;
	/* lease, seq, mode, range, size, flags, exclusive_left_ns, count, runs */
	out->number = get_at(w->in, 8);
	out->size = get_at(w->in + 32, 8);
	out->key = 0;
	if (w->in_len >= 56 + 32 && get_at(w->in + 52, 4) > 0) {
		out->key_len = get_at(w->in + 56 + 8, 8);
		out->key = get_at(w->in + 56 + 16, 8);
		out->key_off = get_at(w->in + 56 + 24, 8);
	}
	return 0;
}

int cf_wire_release(struct cf_wire *w, uint64_t number)
{
	struct body b = {.len = 0};

	put(&b, number, 8);
	put(&b, 0, 4);
	put(&b, 0, 8);
	put(&b, UINT64_MAX, 8);
	return cf_wire_call(w, T_LEASE_RELEASE, b.bytes, b.len);
}

void cf_wire_alive(struct cf *c, struct cf_wire *w)
{
	NEED(c, cf_wire_call(w, T_PING, NULL, 0) == 0, "a session by hand has ended");
}

int cf_wire_file_close(struct cf_wire *w, uint64_t handle)
{
	struct body b = {.len = 0};

	put(&b, handle, 8);
	return cf_wire_call(w, T_FILE_CLOSE, b.bytes, b.len);
}

int cf_wire_data(struct cf *c, struct cf_wire *w, enum cf_end end)
{
	struct body b = {.len = 0};
	struct cf_wire d = {.fd = cf_wire_connect(c, end)};
	int status;

	NEED(c, d.fd >= 0, "cannot connect a data path: %s", strerror(errno));
	put(&b, MAGIC, 4);
	put(&b, w->version, 4);
	put(&b, w->session, 8);
	memcpy(b.bytes + b.len, w->token, 16);
	b.len += 16;
	status = cf_wire_call(&d, T_DATA_HELLO, b.bytes, b.len);
	NEED(c, status == 0, "DATA_HELLO was answered with status %d", status);
	return d.fd;
}

bool cf_stream_request(int fd, bool write, uint64_t key, uint64_t off, uint64_t len)
{
	struct body b = {.bytes = {0x4c, 0x46, write ? 2 : 1, 0, 7}, .len = 8};

	put(&b, key, 8);
	put(&b, off, 8);
	put(&b, len, 8);
	return send(fd, b.bytes, b.len, MSG_NOSIGNAL) == (ssize_t)b.len;
}

size_t cf_stream_take(int fd, uint8_t *p, size_t len)
{
	size_t at = 0;

	while (at < len) {
		struct pollfd f = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&f, 1, (int)(ANSWER_NS / NS_PER_MS)) != 1)
			break;
		n = recv(fd, p + at, len - at, 0);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	return at;
}
