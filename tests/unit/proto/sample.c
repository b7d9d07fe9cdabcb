/* SPDX-License-Identifier: BSD-2-Clause */
/* See sample.h. */
#include "sample.h"

#include <string.h>

uint64_t sample_next(struct sample *s)
{
	s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
	return s->seed >> 20 ^ s->seed << 13;
}

static void fill_str(struct sample *s, const struct field *f, struct proto_str *out, char *room)
{
	uint64_t max = f->hi < 300 ? f->hi : 300;

	out->len = (uint32_t)(f->lo + sample_next(s) % (max - f->lo + 1));
	out->bytes = room;
	for (uint32_t i = 0; i < out->len; i++)
		room[i] = (char)('a' + sample_next(s) % 26);
}

static void fill_shape(struct sample *s, const struct shape *shape, void *host, char *room);

static void fill_list(struct sample *s, const struct field *f, struct proto_list *out)
{
	char *at = (char *)s->elements;

	memset(s->elements, 0, sizeof(s->elements));
	out->count = (uint32_t)(sample_next(s) % ((f->hi < SAMPLE_LIST ? f->hi : SAMPLE_LIST) + 1));
	out->host = s->elements;
	for (uint32_t i = 0; i < out->count; i++)
		fill_shape(s, f->element, at + i * f->element->host_size, s->names[i]);
}

/* Any request that may be carried, or its answer, with memory of its own. */
static void fill_inner(struct sample *s, const struct field *f, struct proto_inner *out)
{
	static struct sample more;
	struct proto_header h = {.flags = (uint16_t)f->lo};

	more.seed = sample_next(s);
	do {
		h.type = (uint16_t)(sample_next(s) % 128);
	} while (!proto_may_be_inner(h.type));
	sample_fill(&more, &h, &s->inner);
	*out = (struct proto_inner){.type = h.type, .host = &s->inner};
}

static void fill_field(struct sample *s, const struct field *f, void *p, char *room)
{
	uint64_t v = sample_next(s);
	struct proto_range *range = p;
	struct proto_data *data = p;
	uint32_t low = (uint32_t)v;

	switch (f->kind) {
	case FIELD_U32:
		low = (uint32_t)(f->lo + v % (f->hi - f->lo + 1));
		memcpy(p, &low, sizeof(low));
		break;
	case FIELD_I32:
		memcpy(p, &low, sizeof(low));
		break;
	case FIELD_U64:
	case FIELD_I64:
		memcpy(p, &v, sizeof(v));
		break;
	case FIELD_B16:
		memset(p, (int)(v & 0xff), 16);
		break;
	case FIELD_STR:
		fill_str(s, f, p, room);
		break;
	case FIELD_DATA:
		data->bytes = s->text;
		data->len = (uint32_t)(v % 500);
		break;
	case FIELD_RANGE:
		range->off = v >> 1;
		range->len = sample_next(s) >> 1;
		break;
	case FIELD_LIST:
		fill_list(s, f, p);
		break;
	case FIELD_INNER:
		fill_inner(s, f, p);
		break;
	}
}

static void fill_shape(struct sample *s, const struct shape *shape, void *host, char *room)
{
	for (unsigned i = 0; i < shape->count; i++) {
		fill_field(s, &shape->fields[i], (char *)host + shape->fields[i].offset, room);
		if (shape->fields[i].kind == FIELD_STR)
			room += 310;
	}
}

void sample_fill(struct sample *s, const struct proto_header *h, union proto_body *body)
{
	memset(body, 0, sizeof(*body));
	fill_shape(s, proto_body_shape(h), body, s->text);
}

void sample_each(void (*each)(const struct proto_header *h))
{
	struct proto_header h;

	for (unsigned type = 0; type < 1024; type++) {
		const struct type_info *t = proto_type_info(type);

		if (!t)
			continue;
		h = (struct proto_header){.type = (uint16_t)type, .seq = 7, .epoch = 0x1122334455667788};
		if (t->request)
			each(&h);
		if (!t->reply)
			continue;
		h.flags = PROTO_REPLY;
		each(&h);
		h.status = 13;
		each(&h);
	}
}
