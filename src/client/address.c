/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP hosts must be loopback: without TLS nobody could tell who answers, nor keep others from reading along. */
#include "client/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/types.h"

#define HOST_MAX 256u

static int parse_unix(const char *where, struct address *out)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->sa;
	const char *path = where + strlen("unix:");
	size_t len = strlen(path);

	if (len == 0)
		return fail(-EINVAL, "%s: the path of the socket is missing: unix:PATH", where);
	if (len >= sizeof(un->sun_path))
		return fail(-EINVAL, "%s: a socket's path has at most %zu bytes; use a shorter or a relative one",
			    where, sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	out->sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	out->is_unix = true;
	return 0;
}

static bool is_loopback(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
	if (sa->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
	return false;
}

/* Splits HOST:PORT or [V6]:PORT. */
static int split_host(const char *where, char host[HOST_MAX], const char **port)
{
	const char *start = where + strlen("tcp:");
	const char *colon = strrchr(start, ':');
	size_t len;
	char *end;

	if (!colon || colon == start || colon[1] == '\0')
		return fail(-EINVAL, "%s: an address is tcp:HOST:PORT, for example tcp:127.0.0.1:7070", where);
	len = (size_t)(colon - start);
	if (start[0] == '[' && colon[-1] == ']') {
		start++;
		len -= 2;
	}
	if (len == 0 || len >= HOST_MAX)
		return fail(-EINVAL, "%s: the host name is empty or too long", where);
	memcpy(host, start, len);
	host[len] = '\0';
	errno = 0;
	if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || strtoul(colon + 1, &end, 10) > 65535 ||
	    strtoul(colon + 1, &end, 10) == 0)
		return fail(-EINVAL, "%s: the port is a number from 1 to 65535", where);
	*port = colon + 1;
	return 0;
}

static int parse_tcp(const char *where, struct address *out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char host[HOST_MAX];
	const char *port = NULL;
	int err = split_host(where, host, &port);
	int why;

	if (err)
		return err;
	why = getaddrinfo(host, port, &hints, &list);
	if (why)
		return fail(-EINVAL, "%s: host %s: %s", where, host, gai_strerror(why));
	memcpy(&out->sa, list->ai_addr, list->ai_addrlen);
	out->sa_len = list->ai_addrlen;
	freeaddrinfo(list);
	if (!is_loopback((struct sockaddr *)&out->sa))
		return fail(-EINVAL, "%s: only loopback addresses (127.0.0.1, ::1) until TLS is there", where);
	return 0;
}

int address_parse(const char *where, struct address *out)
{
	*out = (struct address){0};
	snprintf(out->text, sizeof(out->text), "%s", where);
	if (strncmp(where, "unix:", strlen("unix:")) == 0)
		return parse_unix(where, out);
	if (strncmp(where, "tcp:", strlen("tcp:")) == 0)
		return parse_tcp(where, out);
	return fail(-EINVAL, "%s: not an address of a server; use unix:PATH or tcp:HOST:PORT", where);
}

static int connect_failed(const struct address *a, int why)
{
	switch (why) {
	case ECONNREFUSED:
		return fail(-ECONNREFUSED, "%s: nobody listens there; start the server, or check the address", a->text);
	case ENOENT:
		return fail(-ENOENT, "%s: there is no such socket; start the server, or check the path", a->text);
	case EACCES:
	case EPERM:
		return fail(-EACCES, "%s: the socket's permissions do not let this user in", a->text);
	case EAGAIN:
	case ETIMEDOUT:
		return fail(-ETIMEDOUT, "%s: the server did not answer in time", a->text);
	default:
		return fail(-why, "%s: cannot connect: %s", a->text, strerror(why));
	}
}

/* Waits for a connection in progress: 0 or an errno. */
static int connect_finish(int fd, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	uint64_t until = clock_now_ns() + timeout_ns;
	socklen_t len = sizeof(int);
	int why = 0;

	for (;;) {
		uint64_t now = clock_now_ns();
		int ready = now < until ? poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1) : 0;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0)
			return errno;
		if (ready == 0)
			return ETIMEDOUT;
		break;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
		return errno;
	return why;
}

/* A unix listener whose backlog is full says EAGAIN at once, and there is nothing to poll for. */
static int connect_retry(int fd, const struct address *a, uint64_t timeout_ns)
{
	uint64_t until = clock_now_ns() + timeout_ns;

	for (;;) {
		if (connect(fd, (const struct sockaddr *)&a->sa, a->sa_len) == 0)
			return 0;
		if (errno == EINPROGRESS)
			return connect_finish(fd, timeout_ns);
		if (errno != EAGAIN && errno != EINTR)
			return errno;
		if (clock_now_ns() >= until)
			return ETIMEDOUT;
		usleep(1000);
	}
}

int address_connect(const struct address *a, uint64_t timeout_ns)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	int why;

	if (fd < 0)
		return fail(-errno, "%s: no socket: %s", a->text, strerror(errno));
	why = connect_retry(fd, a, timeout_ns);
	if (why) {
		close(fd);
		return connect_failed(a, why);
	}
	if (!a->is_unix)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}
