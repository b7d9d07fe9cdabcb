/* SPDX-License-Identifier: BSD-2-Clause */
#include "member.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 8

static const char *const names[MEMBERS] = {"stream-unix", "stream-tcp", "ring", "loop"};

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

const char *member_name(enum member m)
{
	return names[m];
}

static void tcp_pair(int out[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int one = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(door >= 0 && bind(door, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(door, 1) == 0, "listen");
	must(getsockname(door, (struct sockaddr *)&at, &len) == 0, "getsockname");
	out[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(out[1] >= 0 && connect(out[1], (struct sockaddr *)&at, sizeof(at)) == 0, "connect");
	out[0] = accept4(door, NULL, NULL, SOCK_CLOEXEC);
	must(out[0] >= 0, "accept");
	/* For tests that send bytes by hand; the members set it themselves. */
	for (int i = 0; i < 2; i++)
		must(setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0, "TCP_NODELAY");
	close(door);
}

void member_pair(enum member m, int out[2])
{
	if (m == MEMBER_STREAM_TCP)
		tcp_pair(out);
	else
		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == 0, "socketpair");
}

void member_link_make(enum member m, struct member_link *out)
{
	*out = (struct member_link){.member = m, .data = {-1, -1}};
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out->talk) == 0, "socketpair");
	if (m == MEMBER_STREAM_UNIX || m == MEMBER_STREAM_TCP)
		member_pair(m, out->data);
}

static void close_if(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void member_link_close(struct member_link *l)
{
	for (int i = 0; i < 2; i++) {
		close_if(&l->talk[i]);
		close_if(&l->data[i]);
	}
}

void member_fds_send(int sock, const int *fds, unsigned n)
{
	char byte = 0, room[CMSG_SPACE(FDS_MAX * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room};
	struct cmsghdr *cm;

	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	cm = CMSG_FIRSTHDR(&msg);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cm), fds, n * sizeof(int));
	must(sendmsg(sock, &msg, 0) == 1, "sendmsg");
}

void member_fds_recv(int sock, int *fds, unsigned n)
{
	char byte, room[CMSG_SPACE(FDS_MAX * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *cm;

	must(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) == 1, "recvmsg");
	cm = CMSG_FIRSTHDR(&msg);
	must(cm && cm->cmsg_len == CMSG_LEN(n * sizeof(int)), "descriptors");
	memcpy(fds, CMSG_DATA(cm), n * sizeof(int));
}

struct fabric_conn *member_connect(struct member_link *l, const struct fabric_conn_options *opt)
{
	struct fabric_conn *c = NULL;
	int fds[3];

	if (l->member == MEMBER_RING) {
		must(fabric_ring_connect(opt, fds, &c) == 0, "fabric_ring_connect");
		member_fds_send(l->talk[1], fds, 3);
		for (int i = 0; i < 3; i++)
			close(fds[i]);
	} else {
		must(fabric_stream_connect(l->data[1], opt, &c) == 0, "fabric_stream_connect");
		l->data[1] = -1;
		/* In a process of its own the other end must go, or its hang-up is never seen. */
		close_if(&l->data[0]);
	}
	return c;
}

struct fabric_path *member_attach(struct member_link *l, struct fabric_domain *d)
{
	struct fabric_path *p = NULL;
	int fds[3];

	if (l->member == MEMBER_RING) {
		member_fds_recv(l->talk[0], fds, 3);
		must(fabric_ring_attach(d, fds[0], fds[1], fds[2], &p) == 0, "fabric_ring_attach");
	} else {
		must(fabric_stream_attach(d, l->data[0], &p) == 0, "fabric_stream_attach");
		l->data[0] = -1;
		close_if(&l->data[1]);
	}
	return p;
}
