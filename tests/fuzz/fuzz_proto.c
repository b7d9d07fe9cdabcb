/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages of any bytes (I8): refused by rule, or accepted, walked and printed; nothing behind them is looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "../unit/proto/sample.h"
#include "proto/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proto_header h;
	union proto_body body;
	uint8_t head[PROTO_HEADER_SIZE], *rest;
	uint32_t length;
	char text[256];

	if (size < PROTO_HEADER_SIZE)
		return 0;
	memcpy(head, data, sizeof(head));
	/* Mostly what the length says is what came. */
	length = htole32((uint32_t)size);
	if (size % 4 != 0)
		memcpy(head, &length, sizeof(length));
	if (proto_header_decode(head, &h) != NULL || h.length < PROTO_HEADER_SIZE || h.length > size)
		return 0;
	rest = malloc(h.length - PROTO_HEADER_SIZE + 1);
	if (rest == NULL)
		abort();
	rest = realloc(rest, h.length > PROTO_HEADER_SIZE ? h.length - PROTO_HEADER_SIZE : 1);
	memcpy(rest, data + PROTO_HEADER_SIZE, h.length - PROTO_HEADER_SIZE);
	if (proto_body_decode(&h, rest, &body) == NULL)
		proto_to_text(&h, &body, text, sizeof(text));
	free(rest);
	return 0;
}

/* One of every message that exists. */
static const char *seeds_dir;
static unsigned seed_count;

static void seed_write(const struct proto_header *h)
{
	static uint8_t bytes[1 << 16];
	struct sample s = {.seed = seed_count + 1};
	struct proto_header head = *h;
	union proto_body body;
	char path[4096];
	ssize_t len;
	FILE *f;

	memset(&body, 0, sizeof(body));
	sample_fill(&s, &head, &body);
	len = proto_encode(&head, &body, bytes, sizeof(bytes));
	if (len < 0)
		return;
	snprintf(path, sizeof(path), "%s/seed-%03u", seeds_dir, seed_count++);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(bytes, (size_t)len, 1, f) != 1 || fclose(f) != 0)
		abort();
}

int fuzz_seeds(const char *dir)
{
	seeds_dir = dir;
	sample_each(seed_write);
	return 0;
}
