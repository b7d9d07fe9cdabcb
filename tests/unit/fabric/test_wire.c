/* SPDX-License-Identifier: BSD-2-Clause */
/* Golden byte vectors of docs/protocol-fabric.md: stream frames, ring header and entries; and what decoders refuse. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/ring.h"
#include "fabric/stream_wire.h"

static const struct stream_request want_write = {.dir = FABRIC_OP_WRITE,
						 .tag = 0x01020304,
						 .key = 0x1112131415161718,
						 .offset = 0x2122232425262728,
						 .len = 0x010000};
static const uint8_t golden_write[32] = {0x4c, 0x46, 2,    0,    4,    3,    2,    1,    0x18, 0x17, 0x16,
					 0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23,
					 0x22, 0x21, 0,    0,    1,    0,    0,    0,    0,    0};

/* The request as the document says, and back. */
static void request_is_golden(void **state)
{
	struct stream_w_request w;
	struct stream_request r;

	stream_request_encode(&want_write, &w);
	assert_memory_equal(&w, golden_write, sizeof(w));
	assert_null(stream_request_decode(&w, &r));
	assert_memory_equal(&r, &want_write, sizeof(r));
}

static void answers_are_golden(void **state)
{
	static const uint8_t data[16] = {0x4c, 0x46, 0x81, 0, 4, 3, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0};
	static const uint8_t stale[16] = {0x4c, 0x46, 0x81, 1, 4, 3, 2, 1};
	static const uint8_t wrote[16] = {0x4c, 0x46, 0x82, 3, 4, 3, 2, 1};
	static const uint8_t tail[8] = {0x4c, 0x46, 0x83, 2, 4, 3, 2, 1};
	struct stream_request r = want_write;
	struct stream_w_trailer t;
	struct stream_w_answer a;
	int status;

	stream_answer_encode(&r, -ERANGE, &a);
	assert_memory_equal(&a, wrote, sizeof(a));
	assert_null(stream_answer_decode(&a, &r, &status));
	assert_int_equal(status, -ERANGE);
	r.dir = FABRIC_OP_READ;
	stream_answer_encode(&r, 0, &a);
	assert_memory_equal(&a, data, sizeof(a));
	stream_answer_encode(&r, -ESTALE, &a);
	assert_memory_equal(&a, stale, sizeof(a));
	stream_trailer_encode(&r, -EACCES, &t);
	assert_memory_equal(&t, tail, sizeof(t));
	assert_null(stream_trailer_decode(&t, &r, &status));
	assert_int_equal(status, -EACCES);
}

/* F3, F11 */
static void bad_requests_name_their_rule(void **state)
{
	struct stream_request r = want_write, out;
	struct stream_w_request w, bad;

	stream_request_encode(&r, &w);
	bad = w;
	bad.rq_magic = le16_of(0x464d);
	assert_memory_equal(stream_request_decode(&bad, &out), "F11", 3);
	bad = w;
	bad.rq_zero = 1;
	assert_memory_equal(stream_request_decode(&bad, &out), "F11", 3);
	for (int type = 0; type < 256; type++) {
		bad = w;
		bad.rq_type = (uint8_t)type;
		assert_true((stream_request_decode(&bad, &out) == NULL) == (type == 1 || type == 2));
	}
	r.len = FABRIC_OP_MAX;
	stream_request_encode(&r, &bad);
	assert_null(stream_request_decode(&bad, &out));
	r.len++;
	stream_request_encode(&r, &bad);
	assert_memory_equal(stream_request_decode(&bad, &out), "F3", 2);
	r.len = (uint64_t)-4096;
	stream_request_encode(&r, &bad);
	assert_memory_equal(stream_request_decode(&bad, &out), "F3", 2);
	r.len = 2;
	r.offset = UINT64_MAX - 1;
	stream_request_encode(&r, &bad);
	assert_memory_equal(stream_request_decode(&bad, &out), "F3", 2);
}

/* F15: every change of an answer's byte is noticed, or is another valid status. */
static void unexpected_answers_name_their_rule(void **state)
{
	struct stream_request r = want_write;
	struct stream_w_answer a, bad;
	int status;

	r.dir = FABRIC_OP_READ;
	stream_answer_encode(&r, 0, &a);
	for (unsigned i = 0; i < sizeof(a); i++) {
		bad = a;
		((uint8_t *)&bad)[i] ^= 0x40;
		assert_memory_equal(stream_answer_decode(&bad, &r, &status), "F15", 3);
	}
	bad = a;
	bad.an_status = 5;
	assert_memory_equal(stream_answer_decode(&bad, &r, &status), "F15", 3);
	/* An error with a payload. */
	bad.an_status = 1;
	assert_memory_equal(stream_answer_decode(&bad, &r, &status), "F15", 3);
}

static void ring_header_is_golden(void **state)
{
	static const uint8_t golden[32] = {'L', 'H', 'R', 'I', 'N', 'G', '0', '1', 1, 0, 0, 0, 0, 1, 0, 0,
					   0,   0,   1,   0,   0,   0,   0,   0,   0, 0, 4, 0, 0, 0, 0, 0};
	struct ring_w_header h;

	ring_header_encode(0x40000, &h);
	assert_memory_equal(&h, golden, sizeof(golden));
	assert_int_equal(((uint8_t *)&h)[640], 1);
	assert_null(ring_header_decode(&h, 0x50000));
	assert_memory_equal(ring_header_decode(&h, 0x51000), "F20", 3);
	for (unsigned i = 0; i < 32; i++) {
		struct ring_w_header bad = h;

		((uint8_t *)&bad)[i] ^= 0x80;
		assert_memory_equal(ring_header_decode(&bad, 0x50000), "F20", 3);
	}
	ring_header_encode(UINT64_MAX - 65535, &h);
	assert_memory_equal(ring_header_decode(&h, 0), "F20", 3);
}

static void ring_entry_is_golden(void **state)
{
	static const uint8_t golden[64] = {0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24,
					   0x23, 0x22, 0x21, 0,    0x10, 0,    0,    0,    0,    0,    0,    0,    0x20,
					   0,    0,    0,    0,    0,    0,    4,    3,    2,    1,    1};
	struct ring_request r = {.dir = FABRIC_OP_READ,
				 .tag = 0x01020304,
				 .key = 0x1112131415161718,
				 .offset = 0x2122232425262728,
				 .len = 4096,
				 .arena = 8192};
	struct ring_w_entry w, bad;
	struct ring_request out;

	ring_request_encode(&r, &w);
	assert_memory_equal(&w, golden, sizeof(w));
	assert_null(ring_request_decode(&w, 12288, &out));
	assert_memory_equal(&out, &r, sizeof(r));
	assert_memory_equal(ring_request_decode(&w, 12287, &out), "F24", 3);
	for (unsigned i = 36; i < 64; i++) {
		bad = w;
		((uint8_t *)&bad)[i] ^= 0x10;
		assert_memory_equal(ring_request_decode(&bad, 12288, &out), "F24", 3);
	}
	bad = w;
	bad.sq_arena = le64_of(UINT64_MAX - 4095);
	assert_memory_equal(ring_request_decode(&bad, 12288, &out), "F24", 3);
	bad = w;
	bad.sq_length = le64_of(UINT64_MAX - 4095);
	assert_memory_equal(ring_request_decode(&bad, 12288, &out), "F3", 2);
	bad = w;
	bad.sq_offset = le64_of(UINT64_MAX - 4094);
	assert_memory_equal(ring_request_decode(&bad, 12288, &out), "F3", 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(request_is_golden),
	    cmocka_unit_test(answers_are_golden),
	    cmocka_unit_test(bad_requests_name_their_rule),
	    cmocka_unit_test(unexpected_answers_name_their_rule),
	    cmocka_unit_test(ring_header_is_golden),
	    cmocka_unit_test(ring_entry_is_golden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
