/* SPDX-License-Identifier: BSD-2-Clause */
#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK   16384u
#define FDS_MAX 8u

struct line {
	struct proxy *proxy;
	int client, server;
	unsigned seed;
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static socklen_t address_of(const char *text, struct sockaddr_storage *ss)
{
	struct sockaddr_un *un = (struct sockaddr_un *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (strncmp(text, "unix:", 5) == 0) {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%.100s", text + 5);
		return sizeof(*un);
	}
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in->sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
	return sizeof(*in);
}

static int dial(const char *text)
{
	struct sockaddr_storage ss;
	socklen_t len = address_of(text, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (connect(fd, (struct sockaddr *)&ss, len) < 0) {
		close(fd);
		return -1;
	}
	if (ss.ss_family == AF_INET)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* Bytes passed on; 0: the end; lose: they are read and forgotten. */
static ssize_t pass(int from, int to, bool lose)
{
	char buf[CHUNK], control[CMSG_SPACE(FDS_MAX * sizeof(int))];
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	ssize_t sent = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n <= 0)
		return 0;
	iov.iov_len = (size_t)n;
	if (!lose) {
		sent = sendmsg(to, &m, MSG_NOSIGNAL);
		while (sent > 0 && sent < n) {
			ssize_t more = send(to, buf + sent, (size_t)(n - sent), MSG_NOSIGNAL);

			sent = more > 0 ? sent + more : more;
		}
	}
	for (struct cmsghdr *c = m.msg_controllen ? CMSG_FIRSTHDR(&m) : NULL; c; c = CMSG_NXTHDR(&m, c)) {
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			close(fd);
		}
	}
	return lose ? n : sent;
}

static uint64_t next_accident(struct line *l)
{
	unsigned mean = atomic_load(&l->proxy->mean_us);

	return now_us() + (uint64_t)(rand_r(&l->seed) % (2 * mean + 1));
}

/* false: the connection ends. */
static bool accident(struct line *l)
{
	switch (rand_r(&l->seed) % 4) {
	case 0: /* held for a moment */
		usleep((useconds_t)(rand_r(&l->seed) % 2000));
		return true;
	case 1: /* loses what comes from the client, then ends */
		pass(l->client, l->server, true);
		break;
	case 2: /* loses what comes from the server, then ends */
		usleep(200);
		pass(l->server, l->client, true);
		break;
	default:
		break;
	}
	atomic_fetch_add(&l->proxy->cuts, 1);
	return false;
}

static void *line_main(void *arg)
{
	struct line *l = arg;
	struct proxy *p = l->proxy;
	struct pollfd fds[2] = {{.fd = l->client, .events = POLLIN}, {.fd = l->server, .events = POLLIN}};
	uint64_t at = next_accident(l);
	unsigned all = atomic_load(&p->all);
	bool open = true;

	while (open && !atomic_load(&p->stop)) {
		if (atomic_load(&p->held)) {
			usleep(1000);
			continue;
		}
		if (atomic_load(&p->all) != all)
			break;
		if (poll(fds, 2, 1) > 0) {
			if (fds[0].revents)
				open = pass(l->client, l->server, false) > 0;
			if (open && fds[1].revents)
				open = pass(l->server, l->client, false) > 0;
		}
		if (open && now_us() >= at) {
			if (!atomic_load(&p->calm))
				open = accident(l);
			at = next_accident(l);
		}
	}
	close(l->client);
	close(l->server);
	free(l);
	atomic_fetch_sub(&p->alive, 1);
	return NULL;
}

static void line_new(struct proxy *p, int client)
{
	struct line *l = calloc(1, sizeof(*l));
	pthread_attr_t attr;
	pthread_t thread;

	*l = (struct line){.proxy = p, .client = client, .server = dial(p->target), .seed = p->seed++};
	if (l->server < 0) {
		close(client);
		free(l);
		return;
	}
	atomic_fetch_add(&p->alive, 1);
	atomic_fetch_add(&p->conns, 1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_create(&thread, &attr, line_main, l);
	pthread_attr_destroy(&attr);
}

static void *proxy_main(void *arg)
{
	struct proxy *p = arg;
	struct pollfd fd = {.fd = p->listener, .events = POLLIN};
	int one = 1, client;

	while (!atomic_load(&p->stop)) {
		if (poll(&fd, 1, 10) <= 0)
			continue;
		client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
		if (client < 0)
			continue;
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (atomic_load(&p->refuse))
			close(client);
		else
			line_new(p, client);
	}
	return NULL;
}

void proxy_start(struct proxy *p, const char *dir, const char *target, unsigned seed, unsigned mean_us)
{
	struct sockaddr_storage ss;
	socklen_t len;

	memset(p, 0, sizeof(*p));
	snprintf(p->target, sizeof(p->target), "%s", target);
	p->seed = seed;
	atomic_store(&p->mean_us, mean_us);
	if (strncmp(target, "unix:", 5) == 0)
		snprintf(p->address, sizeof(p->address), "unix:%.100s/p", dir);
	else
		strcpy(p->address, "tcp:127.0.0.1:0");
	len = address_of(p->address, &ss);
	p->listener = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(p->listener, (struct sockaddr *)&ss, len) < 0 || listen(p->listener, 64) < 0)
		abort();
	if (ss.ss_family == AF_INET) {
		struct sockaddr_in in;

		len = sizeof(in);
		getsockname(p->listener, (struct sockaddr *)&in, &len);
		snprintf(p->address, sizeof(p->address), "tcp:127.0.0.1:%u", ntohs(in.sin_port));
	}
	pthread_create(&p->thread, NULL, proxy_main, p);
}

void proxy_stop(struct proxy *p)
{
	atomic_store(&p->stop, true);
	pthread_join(p->thread, NULL);
	while (atomic_load(&p->alive))
		usleep(1000);
	close(p->listener);
	if (strncmp(p->address, "unix:", 5) == 0)
		unlink(p->address + 5);
}
