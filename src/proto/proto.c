/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Encoding and decoding, driven by the table. Decoding looks at nothing but the message's bytes, reads them once and in
 * order, and leaves only values that were checked (I8). A string or list is returned as a view, never copied.
 */
#include "proto/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/types.h"

#define STATUS_MAX 4095u

#define RULE_TYPE   "P3 unknown type"
#define RULE_LENGTH "P4 length outside the type's limits"
#define RULE_FLAGS  "P5 flags that this message cannot have"
#define RULE_ACK    "P6 this message acknowledges nothing"
#define RULE_STATUS "P7 status in a request, or no errno"
#define RULE_SHORT  "P10 message ends inside a field"
#define RULE_LONG   "P11 bytes after the last field"
#define RULE_OVER   "P12 string, data or list over its limit"
#define RULE_STRING "P13 zero byte in a string"
#define RULE_VALUE  "P14 value outside its limits"
#define RULE_RANGE  "P15 range wraps around"
#define RULE_NAME   "P16 not a name: empty, too long or with a slash"
#define RULE_INNER  "P69 a request that another cannot carry"

/* The 32 bytes in front of every message: table 2. */
struct wire_header {
	le32 wh_length;
	le16 wh_type;
	le16 wh_flags;
	le64 wh_seq;
	le64 wh_epoch;
	le32 wh_status;
	le32 wh_ack;
};
static_assert(sizeof(struct wire_header) == PROTO_HEADER_SIZE, "P2");
static_assert(offsetof(struct wire_header, wh_status) == 24, "P2");

/* Bytes left to read or to write. */
struct cursor {
	uint8_t *at;
	size_t left;
};

static bool take(struct cursor *c, void *out, size_t n)
{
	if (c->left < n)
		return false;
	memcpy(out, c->at, n);
	c->at += n;
	c->left -= n;
	return true;
}

static bool take_u32(struct cursor *c, uint32_t *out)
{
	le32 v;

	if (!take(c, &v, sizeof(v)))
		return false;
	*out = le32_to(v);
	return true;
}

static bool take_u64(struct cursor *c, uint64_t *out)
{
	le64 v;

	if (!take(c, &v, sizeof(v)))
		return false;
	*out = le64_to(v);
	return true;
}

static bool put(struct cursor *c, const void *bytes, size_t n)
{
	if (c->left < n)
		return false;
	if (n)
		memcpy(c->at, bytes, n);
	c->at += n;
	c->left -= n;
	return true;
}

static bool put_u32(struct cursor *c, uint32_t v)
{
	le32 w = le32_of(v);

	return put(c, &w, sizeof(w));
}

static bool put_u64(struct cursor *c, uint64_t v)
{
	le64 w = le64_of(v);

	return put(c, &w, sizeof(w));
}

/* --- what a field may hold: the same for both directions --- */

static const char *check_str(const struct shape *shape, const struct field *f, struct proto_str s)
{
	if (s.len > f->hi || s.len < f->lo)
		return shape->plain_name ? RULE_NAME : RULE_OVER;
	if (s.len && memchr(s.bytes, 0, s.len))
		return RULE_STRING;
	if (shape->plain_name && memchr(s.bytes, '/', s.len))
		return RULE_NAME;
	return NULL;
}

static const char *check_range(struct proto_range r)
{
	uint64_t end;

	return add_overflows(r.off, r.len, &end) ? RULE_RANGE : NULL;
}

/* --- decoding --- */

static const char *decode_shape(struct cursor *c, const struct shape *shape, void *host);

static const char *decode_str(struct cursor *c, const struct shape *shape, const struct field *f, struct proto_str *out)
{
	le16 len;

	if (!take(c, &len, sizeof(len)))
		return RULE_SHORT;
	out->len = le16_to(len);
	if (out->len > f->hi)
		return shape->plain_name ? RULE_NAME : RULE_OVER;
	if (out->len > c->left)
		return RULE_SHORT;
	out->bytes = (const char *)c->at;
	c->at += out->len;
	c->left -= out->len;
	return check_str(shape, f, *out);
}

static const char *decode_data(struct cursor *c, const struct field *f, struct proto_data *out)
{
	if (!take_u32(c, &out->len))
		return RULE_SHORT;
	if (out->len > f->hi)
		return RULE_OVER;
	if (out->len > c->left)
		return RULE_SHORT;
	out->bytes = c->at;
	c->at += out->len;
	c->left -= out->len;
	return NULL;
}

static const char *decode_list(struct cursor *c, const struct field *f, struct proto_list *out)
{
	union proto_element element;
	const char *rule;

	if (!take_u32(c, &out->count))
		return RULE_SHORT;
	if (out->count > f->hi)
		return RULE_OVER;
	out->host = NULL;
	out->wire = c->at;
	for (uint32_t i = 0; i < out->count; i++) {
		rule = decode_shape(c, f->element, &element);
		if (rule)
			return rule;
	}
	out->wire_len = (uint32_t)(c->at - out->wire);
	return NULL;
}

/* A request of the type, or its answer: P69. */
static const struct shape *inner_shape(const struct field *f, unsigned type)
{
	const struct type_info *t = proto_may_be_inner(type) ? proto_type_info(type) : NULL;

	if (!t)
		return NULL;
	return f->lo & PROTO_REPLY ? t->reply : t->request;
}

/* The body is checked here and read again later: proto_inner_decode. */
static const char *decode_inner(struct cursor *c, const struct field *f, struct proto_inner *out)
{
	const struct shape *shape;
	union proto_body body;
	struct cursor in;
	const char *rule;

	if (!take_u32(c, &out->type) || !take_u32(c, &out->len))
		return RULE_SHORT;
	shape = inner_shape(f, out->type);
	if (!shape)
		return RULE_INNER;
	if (out->len > f->hi)
		return RULE_OVER;
	if (out->len > c->left)
		return RULE_SHORT;
	out->host = NULL;
	out->wire = c->at;
	in = (struct cursor){.at = c->at, .left = out->len};
	rule = decode_shape(&in, shape, &body);
	if (rule)
		return rule;
	if (in.left)
		return RULE_LONG;
	c->at += out->len;
	c->left -= out->len;
	return NULL;
}

static const char *decode_field(struct cursor *c, const struct shape *shape, const struct field *f, void *p)
{
	struct proto_range *range = p;
	uint32_t *u32 = p;

	switch (f->kind) {
	case FIELD_U32:
		if (!take_u32(c, u32))
			return RULE_SHORT;
		return *u32 < f->lo || *u32 > f->hi ? RULE_VALUE : NULL;
	case FIELD_I32:
		return take_u32(c, u32) ? NULL : RULE_SHORT;
	case FIELD_U64:
	case FIELD_I64:
		return take_u64(c, p) ? NULL : RULE_SHORT;
	case FIELD_B16:
		return take(c, p, 16) ? NULL : RULE_SHORT;
	case FIELD_STR:
		return decode_str(c, shape, f, p);
	case FIELD_DATA:
		return decode_data(c, f, p);
	case FIELD_RANGE:
		if (!take_u64(c, &range->off) || !take_u64(c, &range->len))
			return RULE_SHORT;
		return check_range(*range);
	case FIELD_LIST:
		return decode_list(c, f, p);
	case FIELD_INNER:
		return decode_inner(c, f, p);
	}
	return RULE_TYPE;
}

static const char *decode_shape(struct cursor *c, const struct shape *shape, void *host)
{
	const char *rule;

	for (unsigned i = 0; i < shape->count; i++) {
		const struct field *f = &shape->fields[i];

		rule = decode_field(c, shape, f, (char *)host + f->offset);
		if (rule)
			return rule;
	}
	return NULL;
}

/* P6: requests inside a session. */
static bool may_acknowledge(const struct proto_header *h)
{
	if (h->flags & PROTO_REPLY)
		return false;
	switch (h->type) {
	case PROTO_HELLO:
	case PROTO_DATA_HELLO:
	case PROTO_RESUME:
		return false;
	default:
		return h->type < PROTO_RECALL;
	}
}

const char *proto_header_decode(const void *bytes, struct proto_header *out)
{
	struct wire_header w;
	const struct type_info *t;

	memcpy(&w, bytes, sizeof(w));
	out->length = le32_to(w.wh_length);
	out->type = le16_to(w.wh_type);
	out->flags = le16_to(w.wh_flags);
	out->seq = le64_to(w.wh_seq);
	out->epoch = le64_to(w.wh_epoch);
	out->status = le32_to(w.wh_status);
	out->ack = le32_to(w.wh_ack);
	t = proto_type_info(out->type);
	if (!t)
		return RULE_TYPE;
	if (out->flags & ~PROTO_FLAGS)
		return RULE_FLAGS;
	if ((out->flags & PROTO_REPLY) ? !t->reply || (out->flags & PROTO_NOWAIT) : !t->request)
		return RULE_FLAGS;
	if ((out->flags & PROTO_MORE) && out->type != PROTO_LAYOUT &&
	    !(out->type == PROTO_LEASE_GET && (out->flags & PROTO_REPLY)))
		return RULE_FLAGS;
	if (out->ack && !may_acknowledge(out))
		return RULE_ACK;
	if (out->status && (!(out->flags & PROTO_REPLY) || out->status > STATUS_MAX))
		return RULE_STATUS;
	if (out->length < PROTO_HEADER_SIZE || out->length > proto_length_max(out->type, out->flags))
		return RULE_LENGTH;
	return NULL;
}

const char *proto_body_decode(const struct proto_header *h, const void *body, union proto_body *out)
{
	const struct shape *shape = proto_body_shape(h);
	struct cursor c = {.at = (uint8_t *)body, .left = h->length - PROTO_HEADER_SIZE};
	const char *rule;

	memset(out, 0, sizeof(*out));
	if (!shape)
		return RULE_TYPE;
	rule = decode_shape(&c, shape, out);
	if (rule)
		return rule;
	return c.left ? RULE_LONG : NULL;
}

void proto_inner_decode(const struct proto_header *h, const struct proto_inner *inner, struct proto_header *ih,
			union proto_body *out)
{
	const char *rule;

	*ih = *h;
	ih->type = (uint16_t)inner->type;
	ih->length = PROTO_HEADER_SIZE + inner->len;
	rule = proto_body_decode(ih, inner->wire, out);
	assert(!rule);
	(void)rule;
}

/* --- encoding --- */

static int encode_shape(struct cursor *c, const struct shape *shape, const void *host, bool head_only);

static int encode_str(struct cursor *c, const struct shape *shape, const struct field *f, const struct proto_str *s)
{
	le16 len = le16_of((uint16_t)s->len);

	if (check_str(shape, f, *s))
		return -EINVAL;
	return put(c, &len, sizeof(len)) && put(c, s->bytes, s->len) ? 0 : -EMSGSIZE;
}

static int encode_data(struct cursor *c, const struct field *f, const struct proto_data *d, bool head_only)
{
	if (d->len > f->hi)
		return -EINVAL;
	if (!put_u32(c, d->len))
		return -EMSGSIZE;
	if (head_only)
		return 0;
	return put(c, d->bytes, d->len) ? 0 : -EMSGSIZE;
}

static int encode_list(struct cursor *c, const struct field *f, const struct proto_list *l)
{
	const char *element = l->host;
	int err;

	if (l->count > f->hi)
		return -EINVAL;
	if (!put_u32(c, l->count))
		return -EMSGSIZE;
	if (!element)
		return put(c, l->wire, l->wire_len) ? 0 : -EMSGSIZE;
	for (uint32_t i = 0; i < l->count; i++) {
		err = encode_shape(c, f->element, element + i * f->element->host_size, false);
		if (err)
			return err;
	}
	return 0;
}

/* The data that a body of this shape ends in; NULL: it does not. */
static const struct proto_data *tail_of(const struct shape *shape, const union proto_body *body)
{
	const struct field *last = shape && shape->count ? &shape->fields[shape->count - 1] : NULL;
	const struct proto_inner *inner;
	const void *p;

	if (!last)
		return NULL;
	p = (const char *)body + last->offset;
	if (last->kind == FIELD_DATA)
		return p;
	inner = p;
	if (last->kind != FIELD_INNER || !inner->host)
		return NULL;
	return tail_of(inner_shape(last, inner->type), inner->host);
}

static int encode_inner(struct cursor *c, const struct field *f, const struct proto_inner *inner, bool head_only)
{
	const struct shape *shape = inner_shape(f, inner->type);
	const struct proto_data *tail;
	struct cursor length;
	size_t left;
	int err;

	if (!shape)
		return -EINVAL;
	if (!put_u32(c, inner->type))
		return -EMSGSIZE;
	if (!inner->host)
		return put_u32(c, inner->len) && put(c, inner->wire, inner->len) ? 0 : -EMSGSIZE;
	length = *c;
	if (!put_u32(c, 0))
		return -EMSGSIZE;
	left = c->left;
	err = encode_shape(c, shape, inner->host, head_only);
	if (err)
		return err;
	tail = head_only ? tail_of(shape, inner->host) : NULL;
	left = left - c->left + (tail ? tail->len : 0);
	if (left > f->hi)
		return -EINVAL;
	put_u32(&length, (uint32_t)left);
	return 0;
}

static int encode_field(struct cursor *c, const struct shape *shape, const struct field *f, const void *p,
			bool head_only)
{
	const struct proto_range *range = p;
	const uint32_t *u32 = p;
	bool fits = false;

	switch (f->kind) {
	case FIELD_U32:
		if (*u32 < f->lo || *u32 > f->hi)
			return -EINVAL;
		fits = put_u32(c, *u32);
		break;
	case FIELD_I32:
		fits = put_u32(c, *u32);
		break;
	case FIELD_U64:
	case FIELD_I64:
		fits = put_u64(c, *(const uint64_t *)p);
		break;
	case FIELD_B16:
		fits = put(c, p, 16);
		break;
	case FIELD_STR:
		return encode_str(c, shape, f, p);
	case FIELD_DATA:
		return encode_data(c, f, p, head_only);
	case FIELD_RANGE:
		if (check_range(*range))
			return -EINVAL;
		fits = put_u64(c, range->off) && put_u64(c, range->len);
		break;
	case FIELD_LIST:
		return encode_list(c, f, p);
	case FIELD_INNER:
		return encode_inner(c, f, p, head_only);
	}
	return fits ? 0 : -EMSGSIZE;
}

static int encode_shape(struct cursor *c, const struct shape *shape, const void *host, bool head_only)
{
	int err;

	for (unsigned i = 0; i < shape->count; i++) {
		const struct field *f = &shape->fields[i];

		err = encode_field(c, shape, f, (const char *)host + f->offset, head_only);
		if (err)
			return err;
	}
	return 0;
}

/* Data is always the last field, so that head_only leaves out a tail. */
const struct proto_data *proto_tail(const struct proto_header *h, const union proto_body *body)
{
	return tail_of(proto_body_shape(h), body);
}

static ssize_t encode(const struct proto_header *h, const union proto_body *body, void *buf, size_t cap, bool head_only)
{
	static const union proto_body nothing;
	const struct shape *shape = proto_body_shape(h);
	struct cursor c = {.at = buf, .left = cap};
	struct wire_header w = {.wh_type = le16_of(h->type),
				.wh_flags = le16_of(h->flags),
				.wh_seq = le64_of(h->seq),
				.wh_epoch = le64_of(h->epoch),
				.wh_status = le32_of(h->status),
				.wh_ack = le32_of(h->ack)};
	const struct proto_data *tail;
	size_t written;
	int err;

	if (!shape)
		return -EINVAL;
	if (!body)
		body = &nothing;
	tail = head_only ? proto_tail(h, body) : NULL;
	if (!put(&c, &w, sizeof(w)))
		return -EMSGSIZE;
	err = encode_shape(&c, shape, body, head_only);
	if (err)
		return err;
	written = cap - c.left;
	w.wh_length = le32_of((uint32_t)written + (tail ? tail->len : 0));
	memcpy(buf, &w.wh_length, sizeof(w.wh_length));
	return (ssize_t)written;
}

ssize_t proto_encode(const struct proto_header *h, const union proto_body *body, void *buf, size_t cap)
{
	return encode(h, body, buf, cap, false);
}

ssize_t proto_encode_head(const struct proto_header *h, const union proto_body *body, void *buf, size_t cap)
{
	return encode(h, body, buf, cap, true);
}

/* --- limits and lists --- */

static uint32_t shape_length_max(const struct shape *shape)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < shape->count; i++) {
		const struct field *f = &shape->fields[i];

		switch (f->kind) {
		case FIELD_U32:
		case FIELD_I32:
			n += 4;
			break;
		case FIELD_U64:
		case FIELD_I64:
			n += 8;
			break;
		case FIELD_B16:
		case FIELD_RANGE:
			n += 16;
			break;
		case FIELD_STR:
			n += 2 + f->hi;
			break;
		case FIELD_DATA:
			n += 4 + f->hi;
			break;
		case FIELD_LIST:
			n += 4 + f->hi * shape_length_max(f->element);
			break;
		case FIELD_INNER:
			n += 8 + f->hi;
			break;
		}
	}
	return (uint32_t)n;
}

uint32_t proto_length_max(unsigned type, unsigned flags)
{
	const struct type_info *t = proto_type_info(type);
	const struct shape *shape;
	uint64_t n;

	if (!t)
		return 0;
	shape = (flags & PROTO_REPLY) ? t->reply : t->request;
	if (!shape)
		return 0;
	n = shape_length_max(shape);
	if (flags & PROTO_REPLY)
		n = max_u64(n, shape_length_max(&proto_shape_error));
	return (uint32_t)n + PROTO_HEADER_SIZE;
}

bool proto_element_next(const struct proto_list *l, const struct shape *shape, uint32_t *cursor, void *out)
{
	struct cursor c;

	if (l->host) {
		if (*cursor >= l->count)
			return false;
		memcpy(out, (const char *)l->host + (size_t)*cursor * shape->host_size, shape->host_size);
		*cursor += 1;
		return true;
	}
	if (*cursor >= l->wire_len)
		return false;
	c = (struct cursor){.at = (uint8_t *)l->wire + *cursor, .left = l->wire_len - *cursor};
	if (decode_shape(&c, shape, out))
		return false;
	*cursor = (uint32_t)(c.at - l->wire);
	return true;
}

bool proto_run_next(const struct proto_list *l, uint32_t *cursor, struct proto_run *out)
{
	return proto_element_next(l, &proto_shape_run, cursor, out);
}

bool proto_extent_next(const struct proto_list *l, uint32_t *cursor, struct proto_extent *out)
{
	return proto_element_next(l, &proto_shape_extent, cursor, out);
}

bool proto_dirent_next(const struct proto_list *l, uint32_t *cursor, struct proto_dirent *out)
{
	return proto_element_next(l, &proto_shape_dirent, cursor, out);
}

bool proto_session_info_next(const struct proto_list *l, uint32_t *cursor, struct proto_session_info *out)
{
	return proto_element_next(l, &proto_shape_session_info, cursor, out);
}

bool proto_audit_next(const struct proto_list *l, uint32_t *cursor, struct proto_audit *out)
{
	return proto_element_next(l, &proto_shape_audit, cursor, out);
}

bool proto_lease_info_next(const struct proto_list *l, uint32_t *cursor, struct proto_lease_info *out)
{
	return proto_element_next(l, &proto_shape_lease_info, cursor, out);
}

bool proto_snapshot_info_next(const struct proto_list *l, uint32_t *cursor, struct proto_snapshot_info *out)
{
	return proto_element_next(l, &proto_shape_snapshot_info, cursor, out);
}

bool proto_limit_next(const struct proto_list *l, uint32_t *cursor, struct proto_limit *out)
{
	return proto_element_next(l, &proto_shape_limit, cursor, out);
}

bool proto_lost_next(const struct proto_list *l, uint32_t *cursor, struct proto_lost *out)
{
	return proto_element_next(l, &proto_shape_lost, cursor, out);
}

bool proto_listed_entry_next(const struct proto_list *l, uint32_t *cursor, struct proto_listed_entry *out)
{
	return proto_element_next(l, &proto_shape_listed_entry, cursor, out);
}

bool proto_group_next(const struct proto_list *l, uint32_t *cursor, struct proto_group *out)
{
	return proto_element_next(l, &proto_shape_group, cursor, out);
}

bool proto_attr_next(const struct proto_list *l, uint32_t *cursor, struct proto_attr *out)
{
	return proto_element_next(l, &proto_shape_attr, cursor, out);
}

bool proto_change_next(const struct proto_list *l, uint32_t *cursor, struct proto_change *out)
{
	return proto_element_next(l, &proto_shape_change, cursor, out);
}
