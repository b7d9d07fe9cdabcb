/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: decoding returns a valid message or the rule that it breaks, whatever the bytes (P3 to P16, I8): every type,
 * every truncation, every byte changed. Buffers are malloc'ed at their exact size, so that a sanitizer sees the first
 * byte beyond.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sample.h"

#define SEED 20240601u

static struct sample sample = {.seed = SEED};
static unsigned seen;

static void set_length(uint8_t *m, uint32_t len)
{
	for (unsigned i = 0; i < 4; i++)
		m[i] = (uint8_t)(len >> (8 * i));
}

/* NULL or the rule, of bytes that end exactly at len; a valid one must encode to what it was. */
static const char *decode(const uint8_t *m, size_t len)
{
	uint8_t *copy = malloc(len), *again = malloc(len);
	static char text[1 << 16];
	struct proto_header h;
	union proto_body body;
	const char *rule;

	memcpy(copy, m, len);
	rule = proto_header_decode(copy, &h);
	if (!rule && h.length > len)
		rule = "(not all there)";
	if (!rule)
		rule = proto_body_decode(&h, copy + PROTO_HEADER_SIZE, &body);
	if (!rule) {
		assert_int_equal(proto_encode(&h, &body, again, len), h.length);
		assert_memory_equal(copy, again, h.length);
		proto_to_text(&h, &body, text, sizeof(text));
	}
	free(copy);
	free(again);
	return rule;
}

static void mutate(const struct proto_header *h)
{
	static const uint8_t xors[] = {0x01, 0x80, 0xff};
	static uint8_t m[PROTO_MESSAGE_MAX];
	union proto_body body;
	ssize_t n;

	sample_fill(&sample, h, &body);
	n = proto_encode(h, &body, m, sizeof(m));
	assert_true(n >= (ssize_t)PROTO_HEADER_SIZE);
	assert_null(decode(m, (size_t)n));
	assert_true((uint32_t)n <= proto_length_max(h->type, h->flags));
	for (ssize_t cut = PROTO_HEADER_SIZE; cut < n; cut++) {
		set_length(m, (uint32_t)cut);
		assert_non_null(decode(m, (size_t)cut));
	}
	set_length(m, (uint32_t)n + 1);
	m[n] = 0;
	assert_non_null(decode(m, (size_t)n + 1)); /* P11, or over the limit */
	set_length(m, (uint32_t)n);
	for (ssize_t at = 0; at < n; at++) {
		for (unsigned x = 0; x < sizeof(xors); x++) {
			m[at] ^= xors[x];
			decode(m, (size_t)n);
			m[at] ^= xors[x];
		}
	}
	seen++;
}

static void no_mutation_of_any_message_does_harm(void **state)
{
	print_message("seed %u\n", SEED);
	for (unsigned round = 0; round < 2; round++)
		sample_each(mutate);
	assert_true(seen > 100);
}

static void random_bytes_do_no_harm(void **state)
{
	uint8_t m[256];

	for (unsigned round = 0; round < 20000; round++) {
		for (unsigned i = 0; i < sizeof(m); i++)
			m[i] = (uint8_t)sample_next(&sample);
		set_length(m,
			   PROTO_HEADER_SIZE + (uint32_t)(sample_next(&sample) % (sizeof(m) - PROTO_HEADER_SIZE + 1)));
		m[4] = (uint8_t)(sample_next(&sample) % 128);
		m[5] = 0;
		m[6] &= 3;
		m[7] = 0;
		memset(m + 24, 0, 8);
		decode(m, sizeof(m));
	}
}

/* --- each rule by name --- */

static size_t message(const struct proto_header *h, const union proto_body *b, uint8_t *m, size_t cap)
{
	ssize_t n = proto_encode(h, b, m, cap);

	assert_true(n > 0);
	return (size_t)n;
}

static void rule_is(const char *rule, const char *number)
{
	assert_non_null(rule);
	assert_memory_equal(rule, number, strlen(number));
}

static void the_header_rules_have_names(void **state)
{
	struct proto_header h = {.type = PROTO_PING, .seq = 1, .epoch = 1};
	uint8_t m[64];
	size_t n = message(&h, NULL, m, sizeof(m));

	m[4] = 127;
	rule_is(decode(m, n), "P3");
	m[4] = PROTO_PING;
	set_length(m, 31);
	rule_is(decode(m, n), "P4");
	set_length(m, 4096);
	rule_is(decode(m, n), "P4");
	set_length(m, 32);
	m[6] = PROTO_MORE;
	rule_is(decode(m, n), "P5");
	m[6] = PROTO_REPLY | PROTO_NOWAIT;
	rule_is(decode(m, n), "P5");
	m[6] = 8;
	rule_is(decode(m, n), "P5");
	/* P6: a request may acknowledge, an answer or a greeting may not. */
	m[6] = 0;
	m[28] = 1;
	assert_null(decode(m, n));
	m[6] = PROTO_REPLY;
	rule_is(decode(m, n), "P6");
	m[6] = 0;
	m[4] = PROTO_RECALL;
	rule_is(decode(m, n), "P6");
	m[4] = PROTO_HELLO;
	rule_is(decode(m, n), "P6");
	m[4] = PROTO_PING;
	m[28] = 0;
	m[24] = 1;
	rule_is(decode(m, n), "P7");
	m[24] = 0;
	assert_null(decode(m, n));
	h.type = PROTO_RECALL;
	h.flags = PROTO_REPLY;
	assert_int_equal(proto_encode(&h, NULL, m, sizeof(m)), -EINVAL);
}

static void the_body_rules_have_names(void **state)
{
	struct proto_header h = {.type = PROTO_PATH_STAT, .seq = 1, .epoch = 1};
	union proto_body b = {.path_stat = {.follow = 1, .path = {"/ab", 3}}};
	uint8_t m[256];
	size_t n = message(&h, &b, m, sizeof(m));

	set_length(m, (uint32_t)n - 1);
	rule_is(decode(m, n - 1), "P10");
	set_length(m, (uint32_t)n + 1);
	rule_is(decode(m, n + 1), "P11");
	set_length(m, (uint32_t)n);
	m[37] = 0x10; /* 4099 bytes of path */
	rule_is(decode(m, n), "P12");
	m[37] = 0;
	m[39] = 0;
	rule_is(decode(m, n), "P13");
	m[39] = 'a';
	m[32] = 2;
	rule_is(decode(m, n), "P14");
	h.type = PROTO_LEASE_RELEASE;
	b = (union proto_body){.lease_release = {.lease = 1, .range = {1, UINT64_MAX - 1}}};
	n = message(&h, &b, m, sizeof(m));
	assert_null(decode(m, n));
	m[44] = 2;
	rule_is(decode(m, n), "P15");
}

static void a_name_with_a_slash_is_refused(void **state)
{
	struct proto_dirent e = {.ino = 5, .cookie = 6, .type = 8, .name = {"a/b", 3}};
	struct proto_header h = {.type = PROTO_DIR_READ, .flags = PROTO_REPLY, .seq = 2, .epoch = 1};
	union proto_body b = {.dirents = {.end = 1, .entries = {.host = &e, .count = 1}}};
	uint8_t m[256];
	size_t n;

	assert_int_equal(proto_encode(&h, &b, m, sizeof(m)), -EINVAL);
	e.name = (struct proto_str){"axb", 3};
	n = message(&h, &b, m, sizeof(m));
	m[n - 2] = '/';
	rule_is(decode(m, n), "P16");
}

static void what_a_receiver_would_refuse_is_not_sent(void **state)
{
	static char path[PROTO_PATH_MAX + 1];
	struct proto_header h = {.type = PROTO_PATH_STAT, .seq = 1, .epoch = 1};
	union proto_body b = {.path_stat = {.path = {path, sizeof(path)}}};
	static uint8_t m[8192];

	memset(path, 'x', sizeof(path));
	assert_int_equal(proto_encode(&h, &b, m, sizeof(m)), -EINVAL);
	b.path_stat.path.len--;
	assert_int_equal(proto_encode(&h, &b, m, sizeof(m)), PROTO_HEADER_SIZE + 4 + 2 + PROTO_PATH_MAX);
	assert_int_equal(proto_encode(&h, &b, m, 100), -EMSGSIZE);
	b.path_stat.follow = 2;
	assert_int_equal(proto_encode(&h, &b, m, sizeof(m)), -EINVAL);
}

static void data_can_stay_where_it_is(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_WRITE, .seq = 1, .epoch = 1}, back;
	union proto_body b = {.file_write = {.handle = 1, .off = 2, .data = {NULL, PROTO_DATA_MAX}}};
	uint8_t m[64];

	assert_int_equal(proto_encode_head(&h, &b, m, sizeof(m)), PROTO_HEADER_SIZE + 20);
	assert_null(proto_header_decode(m, &back));
	assert_int_equal(back.length, PROTO_HEADER_SIZE + 20 + PROTO_DATA_MAX);
	assert_true(back.length <= PROTO_MESSAGE_MAX);
	b.file_write.data.len++;
	assert_int_equal(proto_encode_head(&h, &b, m, sizeof(m)), -EINVAL);
}

static void no_message_is_longer_than_said(void **state)
{
	for (unsigned type = 0; type < 1024; type++) {
		assert_true(proto_length_max(type, 0) <= PROTO_MESSAGE_MAX);
		assert_true(proto_length_max(type, PROTO_REPLY) <= PROTO_MESSAGE_MAX);
	}
}

static void open_flags_survive_the_wire(void **state)
{
	static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_EXCL, O_RDWR | O_TRUNC | O_APPEND,
				    O_RDWR | O_TMPFILE | O_EXCL, O_RDONLY | O_NOFOLLOW | O_DIRECTORY};
	uint32_t wire;

	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		assert_int_equal(proto_open_flags_of(flags[i], &wire), 0);
		assert_int_equal(proto_open_flags_to(wire), flags[i]);
	}
	assert_int_equal(proto_open_flags_of(O_RDWR | O_DIRECT, &wire), -EINVAL);
	assert_int_equal(proto_open_flags_of(O_ACCMODE, &wire), -EINVAL);
}

static void text_of_a_peer_cannot_write_to_a_terminal(void **state)
{
	struct proto_header h = {.type = PROTO_PATH_UNLINK, .seq = 5};
	union proto_body b = {.path = {.path = {"/a\x1b[2J", 6}}};
	char text[128];

	proto_to_text(&h, &b, text, sizeof(text));
	assert_string_equal(text, "PATH_UNLINK #5 path=\"/a?[2J\"");
	assert_int_equal(proto_to_text(&h, &b, text, 4), 28);
	assert_string_equal(text, "PAT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_mutation_of_any_message_does_harm),
	    cmocka_unit_test(random_bytes_do_no_harm),
	    cmocka_unit_test(the_header_rules_have_names),
	    cmocka_unit_test(the_body_rules_have_names),
	    cmocka_unit_test(a_name_with_a_slash_is_refused),
	    cmocka_unit_test(what_a_receiver_would_refuse_is_not_sent),
	    cmocka_unit_test(data_can_stay_where_it_is),
	    cmocka_unit_test(no_message_is_longer_than_said),
	    cmocka_unit_test(open_flags_survive_the_wire),
	    cmocka_unit_test(text_of_a_peer_cannot_write_to_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
