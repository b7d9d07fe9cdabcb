/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first exchange on a new connection (HELLO, DATA_HELLO): one message out, exactly one message in, not a byte of
 * what follows it, within a time. Everything later goes through conn.h or the fabric.
 */
#ifndef LH_CLIENT_WIRE_H
#define LH_CLIENT_WIRE_H

#include <stdint.h>

#include "client/address.h"
#include "proto/proto.h"

#define WIRE_REPLY_MAX 1024u

struct wire_reply {
	bool answered; /* wire_ask: the server did, if only with an error */
	struct proto_header header;
	union proto_body body; /* views into bytes */
	uint8_t bytes[WIRE_REPLY_MAX];
};

/* Connects, sends body as message 1 and reads the answer. Returns the socket; every failure has a sentence with the
 * address. */
int wire_open(const struct address *a, unsigned type, const union proto_body *body, uint64_t timeout_ns,
	      struct wire_reply *out);

/* One request on an open socket, before anything else uses it; header's sequence and epoch are the answer's too. */
int wire_ask(const struct address *a, int fd, const struct proto_header *header, const union proto_body *body,
	     uint64_t timeout_ns, struct wire_reply *out);

#endif
