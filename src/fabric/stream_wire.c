/* SPDX-License-Identifier: BSD-2-Clause */
#include "fabric/stream_wire.h"

#include "fabric/status.h"

void stream_request_encode(const struct stream_request *r, struct stream_w_request *out)
{
	*out = (struct stream_w_request){
	    .rq_magic = le16_of(STREAM_MAGIC),
	    .rq_type = r->dir == FABRIC_OP_READ ? STREAM_READ : STREAM_WRITE,
	    .rq_tag = le32_of(r->tag),
	    .rq_key = le64_of(r->key),
	    .rq_offset = le64_of(r->offset),
	    .rq_length = le64_of(r->len),
	};
}

const char *stream_request_decode(const struct stream_w_request *w, struct stream_request *out)
{
	*out = (struct stream_request){
	    .dir = w->rq_type == STREAM_READ ? FABRIC_OP_READ : FABRIC_OP_WRITE,
	    .tag = le32_to(w->rq_tag),
	    .key = le64_to(w->rq_key),
	    .offset = le64_to(w->rq_offset),
	    .len = le64_to(w->rq_length),
	};
	if (le16_to(w->rq_magic) != STREAM_MAGIC)
		return "F11: request without its magic";
	if (w->rq_type != STREAM_READ && w->rq_type != STREAM_WRITE)
		return "F11: request of unknown type";
	if (w->rq_zero != 0)
		return "F11: reserved byte of a request is not zero";
	if (request_absurd(out->offset, out->len))
		return "F3: length over the limit, or offset + length wraps";
	return NULL;
}

void stream_answer_encode(const struct stream_request *r, int status, struct stream_w_answer *out)
{
	bool payload = r->dir == FABRIC_OP_READ && status == 0;

	*out = (struct stream_w_answer){
	    .an_magic = le16_of(STREAM_MAGIC),
	    .an_type = r->dir == FABRIC_OP_READ ? STREAM_READ_ANSWER : STREAM_WROTE,
	    .an_status = status_to_wire(status),
	    .an_tag = le32_of(r->tag),
	    .an_length = le64_of(payload ? r->len : 0),
	};
}

void stream_trailer_encode(const struct stream_request *r, int status, struct stream_w_trailer *out)
{
	*out = (struct stream_w_trailer){
	    .tr_magic = le16_of(STREAM_MAGIC),
	    .tr_type = STREAM_TRAILER,
	    .tr_status = status_to_wire(status),
	    .tr_tag = le32_of(r->tag),
	};
}

const char *stream_answer_decode(const struct stream_w_answer *w, const struct stream_request *r, int *status)
{
	uint8_t type = r->dir == FABRIC_OP_READ ? STREAM_READ_ANSWER : STREAM_WROTE;

	if (le16_to(w->an_magic) != STREAM_MAGIC || w->an_type != type)
		return "F15: answer of another type";
	if (le32_to(w->an_tag) != r->tag)
		return "F15: answer out of order";
	if (!status_from_wire(w->an_status, status))
		return "F15: answer with an unknown status";
	if (le64_to(w->an_length) != (r->dir == FABRIC_OP_READ && *status == 0 ? r->len : 0))
		return "F15: answer of another length";
	return NULL;
}

const char *stream_trailer_decode(const struct stream_w_trailer *w, const struct stream_request *r, int *status)
{
	if (le16_to(w->tr_magic) != STREAM_MAGIC || w->tr_type != STREAM_TRAILER || le32_to(w->tr_tag) != r->tag)
		return "F15: no trailer where one belongs";
	if (!status_from_wire(w->tr_status, status))
		return "F15: trailer with an unknown status";
	return NULL;
}
