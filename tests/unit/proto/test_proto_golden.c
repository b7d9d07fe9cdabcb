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
	      "52000000"
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
	      "00000000000000000000000000000000"
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
	      "90000000"
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
	      "0e00000000000000"
	      "0000000000000000");
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
	      "50000000"
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
	      "e803000000000000"
	      "00000000"
	      "0000000000000000");
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
	      "98000000"
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
	      "00000000"
	      "0000000000000000"
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

static void attributes_of_a_file_are_this(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_STAT, .flags = PROTO_REPLY, .seq = 9, .epoch = EPOCH};
	union proto_body b = {.attr = {.ino = 1,
				       .mode = 020666,
				       .nlink = 2,
				       .uid = 3,
				       .gid = 4,
				       .size = 5,
				       .blocks = 6,
				       .atime_ns = 7,
				       .mtime_ns = 8,
				       .ctime_ns = 9,
				       .btime_ns = 10,
				       .rdev = 0x103,
				       .flags = 3,
				       .tree = 12}};

	check(&h, &b,
	      "78000000"
	      "4200"
	      "0100"
	      "0900000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0100000000000000"
	      "b6210000"
	      "02000000"
	      "03000000"
	      "04000000"
	      "0500000000000000"
	      "0600000000000000"
	      "0700000000000000"
	      "0800000000000000"
	      "0900000000000000"
	      "0a00000000000000"
	      "0301000000000000"
	      "03000000"
	      "0c000000");
}

static void an_attribute_is_asked_for_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_PATH_GETXATTR, .seq = 2, .epoch = EPOCH};
	union proto_body b = {.xattr_get = {.follow = 1, .room = 65536, .path = {"/f", 2}, .name = {"user.a", 6}}};

	check(&h, &b,
	      "34000000"
	      "2c00"
	      "0000"
	      "0200000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "01000000"
	      "00000100"
	      "02002f66"
	      "0600757365722e61");
}

static void an_attribute_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_PATH_GETXATTR, .flags = PROTO_REPLY, .seq = 2, .epoch = EPOCH};
	union proto_body b = {.xattr = {.length = 3, .value = {"one", 3}}};

	check(&h, &b,
	      "2b000000"
	      "2c00"
	      "0100"
	      "0200000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "03000000"
	      "030000006f6e65");
}

static void an_attribute_is_set_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_PATH_SETXATTR, .seq = 3, .epoch = EPOCH};
	union proto_body b = {
	    .xattr_set = {.follow = 0, .flags = 2, .path = {"/f", 2}, .name = {"user.a", 6}, .value = {"one", 3}}};

	check(&h, &b,
	      "3b000000"
	      "2d00"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "00000000"
	      "02000000"
	      "02002f66"
	      "0600757365722e61"
	      "030000006f6e65");
}

static void a_special_file_is_made_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_PATH_MKNOD, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.mknod = {.mode = 020644, .rdev = 0x103, .path = {"/n", 2}}};

	check(&h, &b,
	      "30000000"
	      "2b00"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "a4210000"
	      "0301000000000000"
	      "02002f6e");
}

static void a_range_is_allocated_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_ALLOCATE, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.file_allocate = {.handle = 1, .range = {4096, 8192}, .mode = 8}};

	check(&h, &b,
	      "3c000000"
	      "4700"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0100000000000000"
	      "0010000000000000"
	      "0020000000000000"
	      "08000000");
}

static void a_range_is_exchanged_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_EXCHANGE_RANGE, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.clone_range = {.dst = 1, .dst_off = 2, .src = 3, .src_off = 4, .len = 5}};

	check(&h, &b,
	      "48000000"
	      "4d00"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0100000000000000"
	      "0200000000000000"
	      "0300000000000000"
	      "0400000000000000"
	      "0500000000000000");
}

static void a_hole_is_looked_for_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_SEEK, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.file_seek = {.handle = 1, .off = 2, .whence = PROTO_SEEK_HOLE}};

	check(&h, &b,
	      "34000000"
	      "4f00"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0100000000000000"
	      "0200000000000000"
	      "01000000");
}

static void attributes_are_set_by_handle_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FILE_SETATTR, .seq = 3, .epoch = EPOCH};
	union proto_body b = {
	    .file_setattr = {
		.handle = 1, .mask = PROTO_SET_ALL, .mode = 0600, .uid = 5, .gid = 6, .atime_ns = 7, .mtime_ns = -8}};

	check(&h, &b,
	      "48000000"
	      "5400"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0100000000000000"
	      "1f000000"
	      "80010000"
	      "05000000"
	      "06000000"
	      "0700000000000000"
	      "f8ffffffffffffff");
}

static void a_snapshot_is_asked_for_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FS_SNAPSHOT, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.rename = {.flags = 1, .from = {"/a", 2}, .to = {"/b", 2}}};

	check(&h, &b,
	      "2c000000"
	      "1500"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "01000000"
	      "02002f61"
	      "02002f62");
}

static void snapshots_are_this(void **state)
{
	struct proto_snapshot_info e = {
	    .ino = 5, .inodes = 6, .blocks = 7, .created_ns = 8, .read_only = 1, .path = {"/s", 2}};
	struct proto_header h = {.type = PROTO_FS_SNAPSHOTS, .flags = PROTO_REPLY, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.snapshots = {.more = 1, .snapshots = {.host = &e, .count = 1}}};

	check(&h, &b,
	      "50000000"
	      "1700"
	      "0100"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "01000000"
	      "01000000"
	      "0500000000000000"
	      "0600000000000000"
	      "0700000000000000"
	      "0800000000000000"
	      "01000000"
	      "02002f73");
}

static void a_limit_is_set_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FS_LIMIT_SET, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.limit_ask = {.kind = 2, .bytes = 4096, .inodes = 5, .path = {"/d", 2}}};

	check(&h, &b,
	      "3c000000"
	      "1800"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "02000000"
	      "00000000"
	      "0010000000000000"
	      "0500000000000000"
	      "02002f64");
}

static void a_limit_of_pins_is_taken_away_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FS_LIMIT_CLEAR, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.limit_ask = {.kind = 3, .id = 1000}};

	check(&h, &b,
	      "3a000000"
	      "1f00"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "03000000"
	      "e8030000"
	      "0000000000000000"
	      "0000000000000000"
	      "0000");
}

static void a_limit_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_FS_LIMIT_GET, .flags = PROTO_REPLY, .seq = 3, .epoch = EPOCH};
	union proto_body b = {
	    .limit = {{.kind = 2, .id = 1, .ino = 2, .bytes = 3, .inodes = 4, .bytes_used = 5, .inodes_used = 6}}};

	check(&h, &b,
	      "50000000"
	      "1900"
	      "0100"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "02000000"
	      "01000000"
	      "0200000000000000"
	      "0300000000000000"
	      "0400000000000000"
	      "0500000000000000"
	      "0600000000000000");
}

static void limits_are_this(void **state)
{
	struct proto_limit e = {.kind = 1, .id = 7, .bytes = 3, .inodes = 4, .bytes_used = 5, .inodes_used = 6};
	struct proto_header h = {.type = PROTO_FS_LIMITS, .flags = PROTO_REPLY, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.limits = {.limits = {.host = &e, .count = 1}}};

	check(&h, &b,
	      "58000000"
	      "1a00"
	      "0100"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "00000000"
	      "01000000"
	      "01000000"
	      "07000000"
	      "0000000000000000"
	      "0300000000000000"
	      "0400000000000000"
	      "0500000000000000"
	      "0600000000000000");
}

static void an_evacuation_is_asked_for_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_FS_EVACUATE, .seq = 3, .epoch = EPOCH};
	union proto_body b = {.evacuate = {.range = {4096, 8192}}};

	check(&h, &b,
	      "30000000"
	      "1c00"
	      "0000"
	      "0300000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0010000000000000"
	      "0020000000000000");
}

static void progress_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_PROGRESS, .epoch = EPOCH};
	union proto_body b = {.progress = {.request = 3, .done = 10, .total = 100}};

	check(&h, &b,
	      "38000000"
	      "6300"
	      "0000"
	      "0000000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0300000000000000"
	      "0a00000000000000"
	      "6400000000000000");
}

static void a_loss_is_this(void **state)
{
	struct proto_lost e = {.ino = 9, .range = {4096, 8192}, .path = {"/f", 2}};
	struct proto_header h = {.type = PROTO_LOSS, .epoch = EPOCH};
	union proto_body b = {.loss = {.request = 3, .losses = {.host = &e, .count = 1}}};

	check(&h, &b,
	      "48000000"
	      "6400"
	      "0000"
	      "0000000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "0300000000000000"
	      "01000000"
	      "0900000000000000"
	      "0010000000000000"
	      "0020000000000000"
	      "02002f66");
}

#define ATTR                                                                                                           \
	{                                                                                                              \
		.ino = 7, .mode = 0100644, .nlink = 1, .uid = 2, .gid = 3, .size = 4, .blocks = 5, .atime_ns = -1,     \
		.mtime_ns = 6, .ctime_ns = 8, .btime_ns = 9, .rdev = 10, .flags = 1, .tree = 11                        \
	}
#define ATTR_HEX                                                                                                       \
	"0700000000000000"                                                                                             \
	"a4810000"                                                                                                     \
	"01000000"                                                                                                     \
	"02000000"                                                                                                     \
	"03000000"                                                                                                     \
	"0400000000000000"                                                                                             \
	"0500000000000000"                                                                                             \
	"ffffffffffffffff"                                                                                             \
	"0600000000000000"                                                                                             \
	"0800000000000000"                                                                                             \
	"0900000000000000"                                                                                             \
	"0a00000000000000"                                                                                             \
	"01000000"                                                                                                     \
	"0b000000"

static void a_request_for_somebody_else_is_this(void **state)
{
	struct proto_group group = {5};
	struct proto_header h = {.type = PROTO_AS, .flags = PROTO_NOWAIT, .seq = 9, .epoch = EPOCH};
	union proto_body inner = {.path = {.path = {"d", 1}}};
	union proto_body b = {.as = {.flags = PROTO_AS_ALL,
				     .uid = 1,
				     .gid = 2,
				     .umask = 022,
				     .at = {3, 4},
				     .groups = {.host = &group, .count = 1},
				     .inner = {.type = PROTO_PATH_RMDIR, .host = &inner}}};

	check(&h, &b,
	      "53000000"
	      "0800"
	      "0400"
	      "0900000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "07000000"
	      "01000000"
	      "02000000"
	      "12000000"
	      "0300000000000000"
	      "0400000000000000"
	      "01000000"
	      "05000000"
	      "22000000"
	      "03000000"
	      "010064");
}

/* Data at the end stays where it is; the lengths count it. */
static void a_write_for_somebody_else_is_this(void **state)
{
	struct proto_header h = {.type = PROTO_AS, .seq = 9, .epoch = EPOCH};
	union proto_body inner = {.file_write = {.handle = 1, .off = 2, .data = {"abc", 3}}};
	union proto_body b = {.as = {.inner = {.type = PROTO_FILE_WRITE, .host = &inner}}};
	uint8_t head[256], whole[256];
	ssize_t n = proto_encode_head(&h, &b, head, sizeof(head));

	assert_int_equal(proto_encode(&h, &b, whole, sizeof(whole)), n + 3);
	assert_memory_equal(head, whole, (size_t)n);
	assert_memory_equal(whole + n, "abc", 3);
	assert_ptr_equal(proto_tail(&h, &b)->bytes, inner.file_write.data.bytes);
	check(&h, &b,
	      "63000000"
	      "0800"
	      "0000"
	      "0900000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "00000000"
	      "00000000"
	      "00000000"
	      "00000000"
	      "0000000000000000"
	      "0000000000000000"
	      "00000000"
	      "44000000"
	      "17000000"
	      "0100000000000000"
	      "0200000000000000"
	      "03000000"
	      "616263");
}

static void its_answer_is_this(void **state)
{
	struct proto_attr attr = ATTR;
	struct proto_header h = {.type = PROTO_AS, .flags = PROTO_REPLY, .seq = 9, .epoch = EPOCH};
	union proto_body inner = {0};
	union proto_body b = {
	    .as_reply = {.attr = {.host = &attr, .count = 1}, .inner = {.type = PROTO_PATH_RMDIR, .host = &inner}}};

	check(&h, &b,
	      "84000000"
	      "0800"
	      "0100"
	      "0900000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "01000000" ATTR_HEX "22000000"
	      "00000000");
}

static void a_listing_with_attributes_is_this(void **state)
{
	struct proto_listed_entry e = {.ino = 7, .cookie = 12, .type = 8, .name = {"n", 1}, .attr = ATTR};
	struct proto_header h = {.type = PROTO_DIR_LIST, .flags = PROTO_REPLY, .seq = 9, .epoch = EPOCH};
	union proto_body b = {.listed = {.end = 1, .entries = {.host = &e, .count = 1}}};

	check(&h, &b,
	      "97000000"
	      "3300"
	      "0100"
	      "0900000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "01000000"
	      "01000000"
	      "0700000000000000"
	      "0c00000000000000"
	      "08000000"
	      "01006e" ATTR_HEX);
}

static void watching_is_asked_for_like_this(void **state)
{
	struct proto_header h = {.type = PROTO_WATCH, .seq = 9, .epoch = EPOCH};
	union proto_body b = {.watch = {.on = 1}};

	check(&h, &b,
	      "24000000"
	      "0a00"
	      "0000"
	      "0900000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "01000000");
}

static void changes_are_this(void **state)
{
	struct proto_change c[2] = {{.type = 1, .ino = 9, .writers = 1}, {.type = 3, .ino = 1, .name = {"a", 1}}};
	struct proto_header h = {.type = PROTO_CHANGED, .epoch = EPOCH};
	union proto_body b = {.changed = {.changes = {.host = c, .count = 2}}};

	check(&h, &b,
	      "49000000"
	      "6500"
	      "0000"
	      "0000000000000000"
	      "0807060504030201"
	      "00000000"
	      "00000000"
	      "02000000"
	      "01000000"
	      "0900000000000000"
	      "01000000"
	      "0000"
	      "03000000"
	      "0100000000000000"
	      "00000000"
	      "010061");
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
	    cmocka_unit_test(attributes_of_a_file_are_this),
	    cmocka_unit_test(an_attribute_is_asked_for_like_this),
	    cmocka_unit_test(an_attribute_is_this),
	    cmocka_unit_test(an_attribute_is_set_like_this),
	    cmocka_unit_test(a_special_file_is_made_like_this),
	    cmocka_unit_test(a_range_is_allocated_like_this),
	    cmocka_unit_test(a_range_is_exchanged_like_this),
	    cmocka_unit_test(a_hole_is_looked_for_like_this),
	    cmocka_unit_test(attributes_are_set_by_handle_like_this),
	    cmocka_unit_test(a_snapshot_is_asked_for_like_this),
	    cmocka_unit_test(snapshots_are_this),
	    cmocka_unit_test(a_limit_is_set_like_this),
	    cmocka_unit_test(a_limit_of_pins_is_taken_away_like_this),
	    cmocka_unit_test(a_limit_is_this),
	    cmocka_unit_test(limits_are_this),
	    cmocka_unit_test(an_evacuation_is_asked_for_like_this),
	    cmocka_unit_test(progress_is_this),
	    cmocka_unit_test(a_loss_is_this),
	    cmocka_unit_test(a_request_for_somebody_else_is_this),
	    cmocka_unit_test(a_write_for_somebody_else_is_this),
	    cmocka_unit_test(its_answer_is_this),
	    cmocka_unit_test(a_listing_with_attributes_is_this),
	    cmocka_unit_test(watching_is_asked_for_like_this),
	    cmocka_unit_test(changes_are_this),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
