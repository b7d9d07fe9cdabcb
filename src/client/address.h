/* SPDX-License-Identifier: BSD-2-Clause */
/* "unix:PATH" and "tcp:HOST:PORT": understood once, connected to as often as data paths need. */
#ifndef LH_CLIENT_ADDRESS_H
#define LH_CLIENT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
	struct sockaddr_storage sa;
	socklen_t sa_len;
	bool is_unix;
	char text[160]; /* as given, for messages */
};

/* -EINVAL with a sentence: syntax, a path too long for a socket, or a host that is not this one. */
int address_parse(const char *where, struct address *out);
/* A connected, non-blocking, close-on-exec socket; -ECONNREFUSED, -ENOENT, -EACCES, -ETIMEDOUT with a sentence. */
int address_connect(const struct address *a, uint64_t timeout_ns);

#endif
