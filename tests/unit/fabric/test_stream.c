/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream's target end against raw bytes (F6, F10 to F14), and the initiator's end against a raw target (F15). Sockets
 * are unix pairs; the tests speak the bytes of docs/protocol-fabric.md by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "fabric/fabric.h"
#include "fabric/stream_wire.h"

#define BYTES 262144u

static struct fabric_target *t;
static struct fabric_domain *d;
static struct fabric_path *path;
static struct fabric_key key;
static int fd;
static uint8_t mem[BYTES], back[BYTES];

static int setup(void **state)
{
	int pair[2];

	for (unsigned i = 0; i < BYTES; i++)
		mem[i] = (uint8_t)(i * 7 + i / 256);
	if (fabric_target_new(NULL, &t) || fabric_domain_new(t, &d) ||
	    fabric_expose(d, mem, BYTES, FABRIC_READ | FABRIC_WRITE, &key) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -1;
	fd = pair[1];
	return fabric_stream_attach(d, pair[0], &path);
}

static int teardown(void **state)
{
	close(fd);
	fabric_domain_free(d);
	fabric_target_free(t);
	return 0;
}

static void put(const void *buf, size_t len)
{
	assert_int_equal(send(fd, buf, len, MSG_NOSIGNAL), len);
}

static void get(void *buf, size_t len)
{
	assert_int_equal(recv(fd, buf, len, MSG_WAITALL), len);
}

static struct stream_request request(enum fabric_dir dir, uint64_t offset, uint64_t len)
{
	return (struct stream_request){.dir = dir, .tag = 77, .key = key.number, .offset = offset, .len = len};
}

static void put_request(const struct stream_request *r)
{
	struct stream_w_request w;

	stream_request_encode(r, &w);
	put(&w, sizeof(w));
}

static int get_answer(const struct stream_request *r)
{
	struct stream_w_answer a;
	int status;

	get(&a, sizeof(a));
	assert_null(stream_answer_decode(&a, r, &status));
	return status;
}

static int get_tail(const struct stream_request *r)
{
	struct stream_w_trailer tail;
	int status;

	get(&tail, sizeof(tail));
	assert_null(stream_trailer_decode(&tail, r, &status));
	return status;
}

static void expect_closed(void)
{
	char byte;

	assert_true(recv(fd, &byte, 1, 0) <= 0);
	for (int i = 0; fabric_path_alive(path) && i < 1000; i++)
		usleep(1000);
	assert_false(fabric_path_alive(path));
}

static uint64_t protocol_errors(void)
{
	struct fabric_stats s;

	fabric_stats_read(t, &s);
	return s.protocol_errors;
}

static void read_is_answered(void **state)
{
	struct stream_request r = request(FABRIC_OP_READ, 100, 70000);

	put_request(&r);
	assert_int_equal(get_answer(&r), 0);
	get(back, r.len);
	assert_int_equal(get_tail(&r), 0);
	assert_memory_equal(back, mem + 100, r.len);
}

/* Frames arrive in any pieces. */
static void bytes_may_come_one_by_one(void **state)
{
	struct stream_request r = request(FABRIC_OP_WRITE, 8, 100);
	struct stream_w_request w;
	uint8_t data[100];

	memset(data, 0xab, sizeof(data));
	stream_request_encode(&r, &w);
	for (size_t i = 0; i < sizeof(w); i++) {
		put((uint8_t *)&w + i, 1);
		if (i % 8 == 0)
			usleep(500);
	}
	for (size_t i = 0; i < sizeof(data); i++)
		put(&data[i], 1);
	assert_int_equal(get_answer(&r), 0);
	assert_memory_equal(mem + 8, data, sizeof(data));
}

/* F10: pipelined requests are answered in order. */
static void answers_keep_the_order(void **state)
{
	struct stream_request r[100];

	for (uint32_t i = 0; i < 100; i++) {
		r[i] = request(FABRIC_OP_READ, i * 64, i % 3 == 2 ? 0 : 64 + i);
		r[i].tag = i;
		put_request(&r[i]);
	}
	for (int i = 0; i < 100; i++) {
		int status = get_answer(&r[i]);

		assert_int_equal(status, r[i].len ? 0 : -EINVAL);
		if (status)
			continue;
		get(back, r[i].len);
		assert_int_equal(get_tail(&r[i]), 0);
		assert_memory_equal(back, mem + r[i].offset, r[i].len);
	}
}

/* F2, F12: refused requests complete, their payload is dropped, the path lives. */
static void refused_requests_leave_the_path_alone(void **state)
{
	struct stream_request bad[] = {
	    request(FABRIC_OP_WRITE, BYTES - 10, 100),
	    request(FABRIC_OP_WRITE, 0, 40000),
	    request(FABRIC_OP_WRITE, 0, 0),
	    request(FABRIC_OP_READ, BYTES, 1),
	    request(FABRIC_OP_READ, 0, 0),
	    request(FABRIC_OP_READ, 0, BYTES + 1),
	};
	static const int want[] = {-ERANGE, -ESTALE, -EINVAL, -ERANGE, -EINVAL, -ERANGE};

	memcpy(back, mem, BYTES);
	bad[1].key ^= 1ull << 50;
	for (int i = 0; i < 6; i++) {
		static const uint8_t junk[40000] = {1, 2, 3};

		put_request(&bad[i]);
		if (bad[i].dir == FABRIC_OP_WRITE)
			put(junk, bad[i].len);
		assert_int_equal(get_answer(&bad[i]), want[i]);
	}
	assert_memory_equal(back, mem, BYTES);
	read_is_answered(state);
	assert_int_equal(protocol_errors(), 0);
}

/* F3, F8, F11: what is no request ends this path and no other. */
static void broken_frames_end_the_path(void **state)
{
	static const struct {
		unsigned at;
		uint8_t byte;
	} breaks[] = {{0, 0}, {1, 0xff}, {2, 0}, {2, 3}, {2, 0x81}, {3, 1}, {27, 4}, {31, 0x80}, {23, 0xff}};
	struct stream_request r = request(FABRIC_OP_WRITE, 0, 64);

	for (unsigned i = 0; i < ARRAY_LEN(breaks); i++) {
		struct stream_w_request w;

		r.offset = breaks[i].at == 23 ? UINT64_MAX - 10 : 0;
		stream_request_encode(&r, &w);
		((uint8_t *)&w)[breaks[i].at] = breaks[i].byte;
		put(&w, sizeof(w));
		expect_closed();
		assert_int_equal(protocol_errors(), i + 1);
		close(fd);
		fabric_path_close(path);
		{
			int pair[2];

			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
			fd = pair[1];
			assert_int_equal(fabric_stream_attach(d, pair[0], &path), 0);
		}
		read_is_answered(state);
	}
}

/* F14 */
static void truncated_write_stays_dirty(void **state)
{
	struct stream_request r = request(FABRIC_OP_WRITE, 4096, 100000);
	struct fabric_receipt gone;
	uint8_t data[50000];

	memset(data, 0x5a, sizeof(data));
	put_request(&r);
	put(data, sizeof(data));
	shutdown(fd, SHUT_RDWR);
	for (int i = 0; fabric_path_alive(path) && i < 1000; i++)
		usleep(1000);
	assert_int_equal(fabric_revoke(d, key, &gone), 0);
	assert_int_equal(gone.dirty_start, 4096);
	assert_in_range(gone.dirty_end, 4096 + sizeof(data), 4096 + sizeof(data) + 63);
	assert_int_equal(protocol_errors(), 0);
}

/* F4, F13: the key dies while a big answer is on its way. */
static void read_cut_short_is_zeroes_and_says_so(void **state)
{
	struct stream_request r = request(FABRIC_OP_READ, 0, BYTES);
	struct fabric_receipt gone;
	int few = 8192;
	size_t valid = 0;

	/* Small buffers, so that it can't be on its way whole. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &few, sizeof(few));
	memset(mem, 0x11, BYTES);
	for (int i = 0; i < 8; i++)
		put_request(&r);
	assert_int_equal(get_answer(&r), 0);
	assert_int_equal(fabric_revoke(d, key, &gone), 0);
	memset(mem, 0x22, BYTES);
	for (int i = 0; i < 8; i++) {
		int status;

		if (i > 0) {
			status = get_answer(&r);
			if (status == -ESTALE)
				continue;
		}
		get(back, BYTES);
		status = get_tail(&r);
		while (valid < BYTES && back[valid] == 0x11)
			valid++;
		for (size_t k = 0; k < BYTES; k++)
			assert_int_not_equal(back[k], 0x22);
		if (status == 0)
			assert_int_equal(valid, BYTES);
	}
}

/* F6: a peer that never reads is not read either, and costs nothing. */
static void too_many_requests_wait(void **state)
{
	struct stream_request r = request(FABRIC_OP_READ, 0, 65536), last;
	unsigned sent = 0;

	/* 2,000 requests of which the answers don't fit anywhere. */
	for (; sent < 2000; sent++) {
		struct stream_w_request w;

		r.tag = sent;
		stream_request_encode(&r, &w);
		if (send(fd, &w, sizeof(w), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof(w))
			break;
	}
	assert_true(sent > 256);
	last = r;
	for (unsigned i = 0; i < sent; i++) {
		last.tag = i;
		assert_int_equal(get_answer(&last), 0);
		get(back, last.len);
		assert_int_equal(get_tail(&last), 0);
	}
}

/* F15: an initiator that is told nonsense ends the path. */
static void nonsense_ends_the_initiator(void **state)
{
	struct fabric_op op = {.key = 1, .buf = back, .len = 64, .dir = FABRIC_OP_READ}, *done;
	struct stream_w_request w;
	struct fabric_conn *c;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fabric_stream_connect(pair[0], NULL, &c), 0);
	assert_int_equal(fabric_post(c, &op), 0);
	assert_int_equal(recv(pair[1], &w, sizeof(w), MSG_WAITALL), sizeof(w));
	assert_int_equal(send(pair[1], "nonsense nonsense", 16, 0), 16);
	assert_int_equal(fabric_reap(c, &done, 1, UINT64_MAX), 1);
	assert_ptr_equal(done, &op);
	assert_int_equal(op.status, -EPIPE);
	assert_int_equal(fabric_post(c, &op), -EPIPE);
	assert_int_equal(fabric_reap(c, &done, 1, UINT64_MAX), -EPIPE);
	fabric_conn_close(c);
	close(pair[1]);
}

/* Answers whose headers say something else than was guessed: errors between many reads, in one segment. */
static void errors_between_reads_are_sorted_out(void **state)
{
	enum { N = 60 };
	struct fabric_op ops[N], *done;
	static uint8_t bufs[N][3000];
	struct fabric_conn *c;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fabric_stream_connect(pair[0], NULL, &c), 0);
	for (int round = 0; round < 50; round++) {
		struct fabric_path *p = NULL;

		for (unsigned i = 0; i < N; i++) {
			bool bad = (i * 31 + (unsigned)round) % 5 == 0;

			ops[i] = (struct fabric_op){.key = bad ? 5 : key.number, .offset = i * 100, .buf = bufs[i]};
			ops[i].len = 1 + (i * 977 + (unsigned)round) % 3000;
			ops[i].dir = (i + (unsigned)round) % 7 == 0 ? FABRIC_OP_WRITE : FABRIC_OP_READ;
			if (ops[i].dir == FABRIC_OP_WRITE)
				memcpy(bufs[i], mem + i * 100, ops[i].len);
			assert_int_equal(fabric_post(c, &ops[i]), 0);
		}
		/* The first round's requests wait for a target, so that its answers come in one piece. */
		if (round == 0)
			assert_int_equal(fabric_stream_attach(d, pair[1], &p), 0);
		for (unsigned i = 0; i < N; i++) {
			bool bad = (i * 31 + (unsigned)round) % 5 == 0;

			assert_int_equal(fabric_reap(c, &done, 1, UINT64_MAX), 1);
			assert_ptr_equal(done, &ops[i]);
			assert_int_equal(done->status, bad ? -ESTALE : 0);
			if (!bad)
				assert_memory_equal(bufs[i], mem + i * 100, ops[i].len);
		}
	}
	fabric_conn_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(read_is_answered, setup, teardown),
	    cmocka_unit_test_setup_teardown(bytes_may_come_one_by_one, setup, teardown),
	    cmocka_unit_test_setup_teardown(answers_keep_the_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(refused_requests_leave_the_path_alone, setup, teardown),
	    cmocka_unit_test_setup_teardown(broken_frames_end_the_path, setup, teardown),
	    cmocka_unit_test_setup_teardown(truncated_write_stays_dirty, setup, teardown),
	    cmocka_unit_test_setup_teardown(read_cut_short_is_zeroes_and_says_so, setup, teardown),
	    cmocka_unit_test_setup_teardown(too_many_requests_wait, setup, teardown),
	    cmocka_unit_test_setup_teardown(nonsense_ends_the_initiator, setup, teardown),
	    cmocka_unit_test_setup_teardown(errors_between_reads_are_sorted_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
