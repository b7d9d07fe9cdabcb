/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages for people, and the small conversions that both ends share: strings and open flags. */
#include "proto/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/types.h"

#define LIST_SHOWN 8u /* elements of a list */

struct text {
	char *buf;
	size_t cap, used; /* used counts what did not fit too, as snprintf */
};

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->used < t->cap ? t->buf + t->used : NULL, t->used < t->cap ? t->cap - t->used : 0, fmt, args);
	va_end(args);
	if (n > 0)
		t->used += (size_t)n;
}

/* Bytes of a peer may hold control characters: they are shown as '?'. */
static void say_str(struct text *t, const struct proto_str *s)
{
	say(t, "\"");
	for (uint32_t i = 0; i < s->len; i++)
		say(t, "%c", (unsigned char)s->bytes[i] < ' ' || s->bytes[i] == 0x7f ? '?' : s->bytes[i]);
	say(t, "\"");
}

static void say_shape(struct text *t, const struct shape *shape, const void *host);

static void say_list(struct text *t, const struct field *f, const struct proto_list *l)
{
	union proto_element element;
	uint32_t cursor = 0;

	say(t, "%" PRIu32 "[", l->count);
	for (unsigned i = 0; i < LIST_SHOWN && proto_element_next(l, f->element, &cursor, &element); i++) {
		say(t, "{");
		say_shape(t, f->element, &element);
		say(t, " }");
	}
	say(t, "%s]", l->count > LIST_SHOWN ? "..." : "");
}

/* As it would be alone. */
static void say_inner(struct text *t, const struct field *f, const struct proto_inner *inner)
{
	struct proto_header h = {.type = (uint16_t)inner->type, .flags = (uint16_t)f->lo};
	union proto_body body;

	say(t, "%s", proto_type_name(inner->type));
	if (inner->host) {
		say_shape(t, proto_body_shape(&h), inner->host);
	} else {
		proto_inner_decode(&h, inner, &h, &body);
		say_shape(t, proto_body_shape(&h), &body);
	}
}

static void say_shape(struct text *t, const struct shape *shape, const void *host)
{
	for (unsigned i = 0; i < shape->count; i++) {
		const struct field *f = &shape->fields[i];
		const void *p = (const char *)host + f->offset;
		const struct proto_range *r = p;
		const char *dot = strchr(f->name, '.');

		say(t, " %s=", dot ? dot + 1 : f->name);
		switch (f->kind) {
		case FIELD_U32:
			say(t, "%" PRIu32, *(const uint32_t *)p);
			break;
		case FIELD_I32:
			say(t, "%" PRId32, *(const int32_t *)p);
			break;
		case FIELD_U64:
			say(t, "%" PRIu64, *(const uint64_t *)p);
			break;
		case FIELD_I64:
			say(t, "%" PRId64, *(const int64_t *)p);
			break;
		case FIELD_B16:
			say(t, "(16 bytes)"); /* a token is a secret */
			break;
		case FIELD_STR:
			say_str(t, p);
			break;
		case FIELD_DATA:
			say(t, "(%" PRIu32 " bytes)", ((const struct proto_data *)p)->len);
			break;
		case FIELD_RANGE:
			say(t, "%" PRIu64 "+%" PRIu64, r->off, r->len);
			break;
		case FIELD_LIST:
			say_list(t, f, p);
			break;
		case FIELD_INNER:
			say_inner(t, f, p);
			break;
		}
	}
}

int proto_to_text(const struct proto_header *h, const union proto_body *body, char *buf, size_t cap)
{
	const struct shape *shape = proto_body_shape(h);
	struct text t = {.buf = buf, .cap = cap};

	if (cap)
		buf[0] = '\0';
	say(&t, "%s%s%s%s #%" PRIu64, proto_type_name(h->type), h->flags & PROTO_REPLY ? " reply" : "",
	    h->flags & PROTO_MORE ? " more" : "", h->flags & PROTO_NOWAIT ? " nowait" : "", h->seq);
	if (h->status)
		say(&t, " status=%" PRIu32, h->status);
	if (shape && body)
		say_shape(&t, shape, body);
	return (int)t.used;
}

static const struct {
	int open;
	uint32_t wire;
} open_flags[] = {
    {O_CREAT, PROTO_O_CREAT},   {O_EXCL, PROTO_O_EXCL},         {O_TRUNC, PROTO_O_TRUNC},
    {O_APPEND, PROTO_O_APPEND}, {O_NOFOLLOW, PROTO_O_NOFOLLOW}, {O_DIRECTORY, PROTO_O_DIRECTORY},
};

int proto_open_flags_of(int flags, uint32_t *out)
{
	int mode = flags & O_ACCMODE;
	int known = O_ACCMODE | O_CLOEXEC;
	uint32_t wire = 0;

	if (mode == O_RDONLY || mode == O_RDWR)
		wire |= PROTO_O_READ;
	if (mode == O_WRONLY || mode == O_RDWR)
		wire |= PROTO_O_WRITE;
	/* O_TMPFILE has the bit of O_DIRECTORY in it. */
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		wire |= PROTO_O_TMPFILE;
		flags &= ~O_TMPFILE;
	}
	for (unsigned i = 0; i < ARRAY_LEN(open_flags); i++) {
		known |= open_flags[i].open;
		if (flags & open_flags[i].open)
			wire |= open_flags[i].wire;
	}
	if ((flags & ~known) || mode == O_ACCMODE)
		return -EINVAL;
	*out = wire;
	return 0;
}

int proto_open_flags_to(uint32_t wire)
{
	int flags = O_RDONLY;

	if (wire & PROTO_O_WRITE)
		flags = wire & PROTO_O_READ ? O_RDWR : O_WRONLY;
	if (wire & PROTO_O_TMPFILE)
		flags |= O_TMPFILE;
	for (unsigned i = 0; i < ARRAY_LEN(open_flags); i++) {
		if (wire & open_flags[i].wire)
			flags |= open_flags[i].open;
	}
	return flags;
}

struct proto_str proto_str_of(const char *s)
{
	return (struct proto_str){.bytes = s, .len = s ? (uint32_t)strlen(s) : 0};
}

bool proto_str_copy(struct proto_str s, char *buf, size_t cap)
{
	if (s.len >= cap)
		return false;
	if (s.len)
		memcpy(buf, s.bytes, s.len);
	buf[s.len] = '\0';
	return true;
}
