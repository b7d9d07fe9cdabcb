/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: bytes on the wire are what docs/protocol.md says, for ever: P2, tables 2 and 4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/proto.h"

#define EPOCH 0x0102030405060708u

/* Hex of what body encodes to, compared; then decoded and encoded again. */
static void check(const struct proto_header *h, const union proto_body *body, const char *golden)
{
	uint8_t buf[1024], again[1024];
	char hex[2 * sizeof(buf) + 1];
	struct proto_header h2;
	union proto_body body2;
	ssize_t n = proto_encode(h, body, buf, sizeof(buf));

	assert_true(n > 0);
	for (ssize_t i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", buf[i]);
	assert_string_equal(hex, golden);
	assert_null(proto_header_decode(buf, &h2));
	assert_int_equal(h2.length, n);
	assert_int_equal(h2.type, h->type);
	assert_int_equal(h2.seq, h->seq);
	assert_int_equal(h2.epoch, h->epoch);
	assert_null(proto_body_decode(&h2, buf + PROTO_HEADER_SIZE, &body2));
	assert_int_equal(proto_encode(&h2, &body2, again, sizeof(again)), n);
	assert_memory_equal(buf, again, (size_t)n);
}

static void hello_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_HELLO, .seq = 1};
	union proto_body b = {.hello = {.magic = PROTO_MAGIC,
					.version_min = 1,
					.version_max = 2,
					.features = 3,
					.flags = 1,
					.pid = -2,
					.host = {"host", 4}}};

	check(&h, &b,
	      "42000000"
	      "0100"
	      "0000"
	      "0100000000000000"
	      "0000000000000000"
	      "00000000"
	      "00000000"
	      "4c485031"
	      "01000000"
	      "02000000"
	      "0300000000000000"
	      "01000000"
	      "feffffff"
	      "0400"
	      "686f7374");
}

static void data_hello_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_DATA_HELLO, .seq = 1};
	union proto_body b = {.data_hello = {.magic = PROTO_MAGIC, .version = 1, .session = 9}};

	for (unsigned i = 0; i < 16; i++)
		b.data_hello.token[i] = (uint8_t)(0xa0 + i);
	check(&h, &b,
	      "40000000"
	      "0400"
	      "0000"
	      "0100000000000000"
	      "0000000000000000"
	      "00000000"
	      "00000000"
	      "4c485031"
	      "01000000"
	      "0900000000000000"
	      "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
}

static void welcome_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_HELLO, .flags = PROTO_REPLY, .seq = 1};
	union proto_body b = {.welcome = {.version = 1,
					  .features = 3,
					  .session = 4,
					  .epoch = EPOCH,
					  .boot = 5,
					  .uid = 6,
					  .gid = 7,
					  .block_size = 4096,
					  .message_max = 8,
					  .data_max = 9,
					  .outstanding_max = 10,
					  .handles_max = 11,
					  .deadline_ns = 12,
					  .deadline_max_ns = 13,
					  .session_timeout_ns = 14}};

	check(&h, &b,
	      "88000000"
	      "0100"
	      "0100"
	      "0100000000000000"
	      "0000000000000000"
	      "00000000"
	      "00000000"
	      "01000000"
	      "0300000000000000"
	      "0400000000000000"
	      "0807060504030201"
	      "00000000000000000000000000000000"
	      "0500000000000000"
	      "06000000"
	      "07000000"
	      "00100000"
	      "08000000"
	      "09000000"
	      "0a000000"
	      "0b000000"
	      "0c00000000000000"
	      "0d00000000000000"
	      "0e00000000000000");
}

static void an_error_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_OPEN, .flags = PROTO_REPLY, .seq = 3, .epoch = EPOCH, .status = 2};
	union proto_body b = {.error = {.text = {"no", 2}}};

	check(&h, &b,
	      "24000000"
	      "4000"
	      "0100"
	      "0300000000000000"
	      "0807060504030201"
	      "02000000"
	      "00000000"
	      "0200"
	      "6e6f");
}

static void a_write_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_WRITE, .flags = PROTO_NOWAIT, .seq = 4, .epoch = EPOCH};
	union proto_body b = {.file_write = {.handle = 0x100000002, .off = 0x2000, .data = {"abc", 3}}};

	check(&h, &b,
	      "37000000"
	      "4400"
	      "0400"
	      "0400000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0200000001000000"
	      "0020000000000000"
	      "03000000"
	      "616263");
}

static void a_lease_is_asked_for_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_LEASE_GET, .seq = 12, .epoch = EPOCH};
	union proto_body b = {
	    .lease_get = {.handle = 1, .range = {4096, 8192}, .mode = PROTO_WRITE, .deadline_ns = 1000}};

	check(&h, &b,
	      "44000000"
	      "5000"
	      "0000"
	      "0c00000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0100000000000000"
	      "0010000000000000"
	      "0020000000000000"
	      "02000000"
	      "e803000000000000");
}

static void a_grant_is_this(void **state)
{
	struct proto_run runs[2] = {{4096, 4096, 0xdead, 0}, {8192, 4096, 0, 0}};
	struct proto_header h = {.type = PROTO_LEASE_GET, .flags = PROTO_REPLY | PROTO_MORE, .seq = 12, .epoch = EPOCH};
	union proto_body b = {.lease_granted = {.lease = 7,
						.seq = 1,
						.mode = PROTO_READ,
						.range = {4096, 8192},
						.size = 9000,
						.runs = {.host = runs, .count = 2}}};

	check(&h, &b,
	      "8c000000"
	      "5000"
	      "0300"
	      "0c00000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0700000000000000"
	      "01000000"
	      "01000000"
	      "0010000000000000"
	      "0020000000000000"
	      "2823000000000000"
	      "02000000"
	      "0010000000000000"
	      "0010000000000000"
	      "adde000000000000"
	      "0000000000000000"
	      "0020000000000000"
	      "0010000000000000"
	      "0000000000000000"
	      "0000000000000000");
}

static void a_recall_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_RECALL, .epoch = EPOCH};
	union proto_body b = {.recall = {.lease = 7,
					 .seq = 2,
					 .mode = PROTO_READ,
					 .range = {0, UINT64_MAX},
					 .reason = 0,
					 .kind = PROTO_STOP,
					 .left_ns = 1000000000,
					 .reason_text = {"truncate", 8}}};

	check(&h, &b,
	      "5a000000"
	      "6000"
	      "0000"
	      "0000000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0700000000000000"
	      "02000000"
	      "01000000"
	      "0000000000000000"
	      "ffffffffffffffff"
	      "00000000"
	      "01000000"
	      "00ca9a3b00000000"
	      "0800"
	      "7472756e63617465");
}

static void a_release_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_LEASE_RELEASE, .seq = 13, .epoch = EPOCH};
	union proto_body b = {.lease_release = {.lease = 7, .seq = 2, .range = {0, UINT64_MAX}}};

	check(&h, &b,
	      "3c000000"
	      "5100"
	      "0000"
	      "0d00000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0700000000000000"
	      "02000000"
	      "0000000000000000"
	      "ffffffffffffffff");
}

static void a_layout_is_this(void **state)
{
	struct proto_run run = {4096, 4096, 0xbeef, 8};
	struct proto_header h = {.type = PROTO_LAYOUT, .epoch = EPOCH};
	union proto_body b = {
	    .layout = {.lease = 7, .seq = 3, .range = {4096, 4096}, .runs = {.host = &run, .count = 1}}};

	check(&h, &b,
	      "60000000"
	      "6200"
	      "0000"
	      "0000000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0700000000000000"
	      "03000000"
	      "0010000000000000"
	      "0010000000000000"
	      "01000000"
	      "0010000000000000"
	      "0010000000000000"
	      "efbe000000000000"
	      "0800000000000000");
}

static void directory_entries_are_this(void **state)
{
	struct proto_dirent e = {.ino = 5, .cookie = 6, .type = 8, .name = {"file", 4}};
	struct proto_header h = {.type = PROTO_DIR_READ, .flags = PROTO_REPLY, .seq = 2, .epoch = EPOCH};
	union proto_body b = {.dirents = {.end = 1, .entries = {.host = &e, .count = 1}}};

	check(&h, &b,
	      "42000000"
	      "3100"
	      "0100"
	      "0200000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "01000000"
	      "01000000"
	      "0500000000000000"
	      "0600000000000000"
	      "08000000"
	      "0400"
	      "66696c65");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hello_is_this),
	    cmocka_unit_test(data_hello_is_this),
	    cmocka_unit_test(welcome_is_this),
	    cmocka_unit_test(an_error_is_this),
	    cmocka_unit_test(a_write_is_this),
	    cmocka_unit_test(a_lease_is_asked_for_like_this),
	    cmocka_unit_test(a_grant_is_this),
	    cmocka_unit_test(a_recall_is_this),
	    cmocka_unit_test(a_release_is_this),
	    cmocka_unit_test(a_layout_is_this),
	    cmocka_unit_test(directory_entries_are_this),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
