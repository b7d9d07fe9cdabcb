/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses, listening sockets, and who is at the other end.
 *
 * A unix socket file outlives its server when that is killed. So a file that nobody answers on is replaced, and one
 * that somebody answers on is -EADDRINUSE. TCP is loopback only: without TLS nobody can prove who he is, nor keep his
 * bytes to himself.
 */
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "base/types.h"

#define LISTEN_BACKLOG 1024
#define HOST_MAX       256u
#define GROUPS_ASKED   65536u

/* --- unix --- */

static int unix_address(const char *path, struct sockaddr_un *sun)
{
	size_t len = strlen(path);

	*sun = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0)
		return fail(-EINVAL, "unix: no path; write unix:/run/name.sock");
	if (len >= sizeof(sun->sun_path))
		return fail(-ENAMETOOLONG, "unix:%s: socket paths have at most %zu bytes", path,
			    sizeof(sun->sun_path) - 1);
	memcpy(sun->sun_path, path, len + 1);
	return 0;
}

/* 0: a socket file whose server is gone; it was removed. */
static int stale_remove(const char *path, const struct sockaddr_un *sun)
{
	scoped_fd int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return fail(-EADDRINUSE,
			    "unix:%s: something that is not a socket is there; remove it or choose another path", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno != ECONNREFUSED)
		return fail(-EADDRINUSE, "unix:%s: a server is listening there already", path);
	log_info("server", "unix:%s: replacing the socket of a server that is gone", path);
	return unlink(path) < 0 ? -errno : 0;
}

/* The mode is set before anybody can connect: until listen(), connecting is refused. */
static int unix_bind(int fd, const char *path, const struct sockaddr_un *sun, uint32_t mode)
{
	int err;

	if (bind(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0) {
		if (errno != EADDRINUSE)
			return fail(-errno, "unix:%s: %s", path, strerror(errno));
		err = stale_remove(path, sun);
		if (err)
			return err;
		if (bind(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0)
			return fail(-errno, "unix:%s: %s", path, strerror(errno));
	}
	if (chmod(path, mode) < 0) {
		err = -errno;
		unlink(path);
		return fail(err, "unix:%s: its mode cannot be set: %s", path, strerror(-err));
	}
	return 0;
}

static int unix_open(const char *path, uint32_t mode, struct listener *l)
{
	struct sockaddr_un sun;
	struct stat st;
	int err = unix_address(path, &sun);

	if (err)
		return err;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return fail(-errno, "unix:%s: no socket: %s", path, strerror(errno));
	err = unix_bind(l->fd, path, &sun, mode ? mode : 0600);
	if (err)
		return err;
	l->is_unix = true;
	memcpy(l->path, sun.sun_path, sizeof(l->path));
	if (stat(path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	snprintf(l->address, sizeof(l->address), "unix:%s", path);
	return 0;
}

/* --- tcp --- */

static bool is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_in *four = (const struct sockaddr_in *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	return sa->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

/* "127.0.0.1:7070", "[::1]:7070", "localhost:0". */
static int tcp_split(const char *text, char host[HOST_MAX], const char **port)
{
	const char *colon = strrchr(text, ':');
	size_t len;

	if (!colon || colon == text || !colon[1])
		return fail(-EINVAL, "tcp:%s: write tcp:HOST:PORT, for example tcp:127.0.0.1:7070", text);
	len = (size_t)(colon - text);
	if (text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len == 0 || len >= HOST_MAX)
		return fail(-EINVAL, "tcp:%s: the host's name is empty or too long", text);
	memcpy(host, text, len);
	host[len] = '\0';
	*port = colon + 1;
	for (const char *c = *port; *c; c++) {
		if (*c < '0' || *c > '9')
			return fail(-EINVAL, "tcp:%s: the port is not a number", text);
	}
	if (strlen(*port) > 5 || atoi(*port) > 65535)
		return fail(-EINVAL, "tcp:%s: ports go up to 65535", text);
	return 0;
}

static int tcp_bind(const struct addrinfo *ai, const char *text, struct listener *l)
{
	const int on = 1;

	if (!is_loopback(ai->ai_addr))
		return fail(
		    -EOPNOTSUPP,
		    "tcp:%s: only loopback addresses are served: TLS does not exist yet, and without it nobody beyond "
		    "this host could prove who he is; use 127.0.0.1 or a unix socket",
		    text);
	l->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return fail(-errno, "tcp:%s: no socket: %s", text, strerror(errno));
	(void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(l->fd, ai->ai_addr, ai->ai_addrlen) < 0)
		return fail(-errno, "tcp:%s: %s", text, strerror(errno));
	return 0;
}

static int tcp_name(struct listener *l)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[INET6_ADDRSTRLEN], port[8];

	if (getsockname(l->fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return -EINVAL;
	snprintf(l->address, sizeof(l->address), ss.ss_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
	return 0;
}

static int tcp_open(const char *text, struct listener *l)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char host[HOST_MAX];
	const char *port = NULL;
	int err = tcp_split(text, host, &port);

	if (err)
		return err;
	err = getaddrinfo(host, port, &hints, &found);
	if (err)
		return fail(-EINVAL, "tcp:%s: %s", text, gai_strerror(err));
	err = tcp_bind(found, text, l);
	freeaddrinfo(found);
	return err ? err : tcp_name(l);
}

/* --- both --- */

int listen_open(const char *address, uint32_t socket_mode, struct listener *l)
{
	int err;

	*l = (struct listener){.fd = -1, .spare_fd = -1};
	if (strncmp(address, "unix:", 5) == 0)
		err = unix_open(address + 5, socket_mode, l);
	else if (strncmp(address, "tcp:", 4) == 0)
		err = tcp_open(address + 4, l);
	else
		err = fail(-EINVAL, "%s: addresses are unix:PATH or tcp:HOST:PORT", address);
	if (!err && listen(l->fd, LISTEN_BACKLOG) < 0)
		err = fail(-errno, "%s: %s", address, strerror(errno));
	if (err) {
		listen_close(l);
		return err;
	}
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return 0;
}

void listen_close(struct listener *l)
{
	struct stat st;

	if (l->is_unix && stat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	if (l->fd >= 0)
		close(l->fd);
	if (l->spare_fd >= 0)
		close(l->spare_fd);
	l->fd = l->spare_fd = -1;
	l->is_unix = false;
}

/* Out of descriptors a waiting client would keep the loop awake for ever: it is let in and shown out. */
static void turn_away(struct listener *l)
{
	int fd;

	if (l->spare_fd < 0)
		return;
	close(l->spare_fd);
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log_warn("server", "%s: out of file descriptors, a client was turned away; raise the limit (ulimit -n)",
		 l->address);
}

int listen_accept(struct listener *l)
{
	const int on = 1;
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		if (!l->is_unix)
			(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		return fd;
	}
	if (errno == EMFILE || errno == ENFILE) {
		turn_away(l);
		return -EMFILE;
	}
	return -EAGAIN; /* nobody, or somebody who left already */
}

/* Groups beyond what the fs looks at are left out: that only takes rights away. */
static int identity_groups(int fd, struct fs_cred *cred)
{
	socklen_t size = GROUPS_ASKED * sizeof(gid_t);
	scoped_free gid_t *groups = malloc(size);
	unsigned count;

	if (!groups)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return -errno;
	count = (unsigned)(size / sizeof(gid_t));
	cred->group_count = count < FS_GROUPS_MAX ? count : FS_GROUPS_MAX;
	for (unsigned i = 0; i < cred->group_count; i++)
		cred->groups[i] = groups[i];
	return 0;
}

int listen_identity(int fd, struct fs_cred *cred, int32_t *pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	*cred = (struct fs_cred){.uid = peer.uid, .gid = peer.gid};
	*pid = peer.pid;
	return identity_groups(fd, cred);
}
