/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames of the stream member, docs/protocol-fabric.md. Decoders look at nothing but the bytes and name the broken
 * rule. */
#ifndef LH_FABRIC_STREAM_WIRE_H
#define LH_FABRIC_STREAM_WIRE_H

#include <assert.h>

#include "base/types.h"
#include "fabric/fabric.h"

#define STREAM_MAGIC       0x464cu
#define STREAM_READ        1
#define STREAM_WRITE       2
#define STREAM_READ_ANSWER 0x81
#define STREAM_WROTE       0x82
#define STREAM_TRAILER     0x83

struct stream_w_request {
	le16 rq_magic;
	uint8_t rq_type;
	uint8_t rq_zero;
	le32 rq_tag;
	le64 rq_key;
	le64 rq_offset;
	le64 rq_length;
};
static_assert(sizeof(struct stream_w_request) == 32, "protocol-fabric: request");
static_assert(offsetof(struct stream_w_request, rq_tag) == 4, "protocol-fabric: request");
static_assert(offsetof(struct stream_w_request, rq_length) == 24, "protocol-fabric: request");

struct stream_w_answer {
	le16 an_magic;
	uint8_t an_type;
	uint8_t an_status;
	le32 an_tag;
	le64 an_length;
};
static_assert(sizeof(struct stream_w_answer) == 16, "protocol-fabric: answer");
static_assert(offsetof(struct stream_w_answer, an_length) == 8, "protocol-fabric: answer");

struct stream_w_trailer {
	le16 tr_magic;
	uint8_t tr_type;
	uint8_t tr_status;
	le32 tr_tag;
};
static_assert(sizeof(struct stream_w_trailer) == 8, "protocol-fabric: trailer");

struct stream_request {
	enum fabric_dir dir;
	uint32_t tag;
	uint64_t key, offset, len;
};

void stream_request_encode(const struct stream_request *r, struct stream_w_request *out);
/* NULL, or the rule. */
const char *stream_request_decode(const struct stream_w_request *w, struct stream_request *out);

/* status: 0 or -errno. */
void stream_answer_encode(const struct stream_request *r, int status, struct stream_w_answer *out);
void stream_trailer_encode(const struct stream_request *r, int status, struct stream_w_trailer *out);
/* r: the request that the answer must be for. */
const char *stream_answer_decode(const struct stream_w_answer *w, const struct stream_request *r, int *status);
const char *stream_trailer_decode(const struct stream_w_trailer *w, const struct stream_request *r, int *status);

#endif
