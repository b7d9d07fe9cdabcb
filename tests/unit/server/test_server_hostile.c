/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: whatever a client sends, does not send, or does not read, the server stays up and the others are served: I8,
 * L16, L19, P20. Seeded; LH_SEED reruns one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "raw.h"

#define BLOCK    4096u
#define GARBAGE  400u /* sessions */
#define VANISHED 200u

static int setup(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));

	rig_start(rig, NS_PER_SEC / 5, NULL, NULL);
	rig_file(rig, "/f", 64 * BLOCK, 'a');
	*state = rig;
	return 0;
}

static int setup_output(void **state, size_t out_max)
{
	struct rig *rig = malloc(sizeof(*rig));
	struct server_limits limits = server_limits_default;

	limits.out_stall = 64u << 10;
	limits.out_max = out_max;
	rig_start(rig, NS_PER_SEC / 5, &limits, NULL);
	rig_file(rig, "/f", 64 * BLOCK, 'a');
	*state = rig;
	return 0;
}

static int setup_small_output(void **state)
{
	return setup_output(state, 256u << 10);
}

/* Room for one answer above the stall, as the real limits have. */
static int setup_tight_output(void **state)
{
	return setup_output(state, (64u << 10) + 65 * BLOCK);
}

static int teardown(void **state)
{
	rig_wait_stats(*state, 0, 1);
	rig_stop(*state);
	free(*state);
	return 0;
}

static uint64_t seed_of(void)
{
	const char *text = getenv("LH_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 42;

	print_message("LH_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Whatever the server says to garbage, and that it ends when it ends. */
static void drain(int fd)
{
	char buf[4096];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
	}
}

/* A message that is right but for some of its bytes, or not right at all. */
static size_t garbage(struct raw *r, uint64_t *seed, uint8_t *m, size_t cap)
{
	struct proto_header h = {.seq = r->seq + 1, .epoch = r->epoch};
	size_t len = PROTO_HEADER_SIZE + next(seed) % (cap - PROTO_HEADER_SIZE);

	for (size_t i = 0; i < len; i++)
		m[i] = next(seed) % 3 ? (uint8_t)next(seed) : 0;
	if (next(seed) % 8 == 0)
		return len;
	h.type = (uint16_t)(next(seed) % 100);
	h.flags = next(seed) % 4 ? 0 : PROTO_NOWAIT;
	m[0] = (uint8_t)len;
	m[1] = (uint8_t)(len >> 8);
	m[2] = m[3] = 0;
	m[4] = (uint8_t)h.type;
	m[5] = 0;
	m[6] = (uint8_t)h.flags;
	m[7] = 0;
	memcpy(m + 8, &h.seq, 8);
	memcpy(m + 16, &h.epoch, 8);
	memset(m + 24, 0, 8);
	if (next(seed) % 4 == 0)
		m[next(seed) % PROTO_HEADER_SIZE] ^= (uint8_t)(1u << next(seed) % 8);
	return len;
}

/* Valid requests with valid shapes and wild values, so that what is behind the decoder is reached too. */
static void wild(struct raw *r, uint64_t *seed, uint64_t h)
{
	static const unsigned types[] = {PROTO_FILE_CLOSE,      PROTO_FILE_TRUNCATE,     PROTO_LEASE_GET,
					 PROTO_LEASE_RELEASE,   PROTO_FILE_READ,         PROTO_FILE_ALLOCATE,
					 PROTO_LEASE_COMMIT,    PROTO_FILE_DEDUPE_RANGE, PROTO_FILE_EXCHANGE_RANGE,
					 PROTO_FILE_COPY_RANGE, PROTO_FILE_SEEK,         PROTO_FILE_SETATTR,
					 PROTO_FILE_DEFRAGMENT, PROTO_FS_EVACUATE,       PROTO_FS_RESIZE};
	unsigned type = types[next(seed) % (sizeof(types) / sizeof(types[0]))];
	uint64_t v = next(seed) % 3 ? next(seed) % (128 * BLOCK) : next(seed) >> 1;
	uint64_t len = next(seed) % 3 ? next(seed) % (128 * BLOCK) : next(seed) >> 1;
	uint64_t handle = next(seed) % 4 ? h : next(seed);
	union proto_body b = {0};

	switch (type) {
	case PROTO_FILE_CLOSE:
		b.handle.handle = next(seed) % 8 ? next(seed) : handle;
		break;
	case PROTO_FILE_TRUNCATE:
		b.file_truncate = (struct proto_file_truncate){handle, v % (128 * BLOCK)};
		break;
	case PROTO_LEASE_GET:
		b.lease_get = (struct proto_lease_get){.handle = handle,
						       .range = {v, len % (1ull << 30)},
						       .mode = PROTO_READ + next(seed) % 2,
						       .deadline_ns = next(seed)};
		b.lease_get.range.off %= 1ull << 30;
		break;
	case PROTO_LEASE_RELEASE:
		b.lease_release = (struct proto_lease_release){.lease = next(seed) % 1000, .range = {v, len}};
		break;
	case PROTO_FILE_READ:
		b.file_read = (struct proto_file_read){handle, v, (uint32_t)(len % PROTO_DATA_MAX)};
		break;
	case PROTO_FILE_ALLOCATE:
		b.file_allocate = (struct proto_file_allocate){handle, {v, len % (1ull << 24)}, next(seed) % 256};
		break;
	case PROTO_FILE_DEDUPE_RANGE:
	case PROTO_FILE_EXCHANGE_RANGE:
	case PROTO_FILE_COPY_RANGE:
		b.clone_range = (struct proto_clone_range){handle, v, handle, next(seed) % (128 * BLOCK), len};
		break;
	case PROTO_FILE_SEEK:
		b.file_seek = (struct proto_file_seek){handle, v, (uint32_t)(next(seed) % 2)};
		break;
	case PROTO_FILE_SETATTR:
		b.file_setattr = (struct proto_file_setattr){
		    handle,      (uint32_t)next(seed) & PROTO_SET_ALL, 0600, (uint32_t)v, (uint32_t)len, (int64_t)v,
		    (int64_t)len};
		break;
	case PROTO_FILE_DEFRAGMENT:
		b.handle.handle = handle;
		break;
	case PROTO_FS_EVACUATE: /* of a pool that has no such bytes; a real one is for good */
		b.evacuate.range = (struct proto_range){v + (1ull << 50), len};
		break;
	case PROTO_FS_RESIZE:
		b.resize.bytes = (v & 1) ? v : 0;
		break;
	default:
		b.file_range = (struct proto_file_range){handle, {v, len}};
		break;
	}
	raw_send(r, type, next(seed) % 2 ? PROTO_NOWAIT : 0, &b);
}

static void garbage_session(struct rig *rig, uint64_t *seed)
{
	struct raw *r = raw_new(rig->address);
	uint8_t m[512];
	uint64_t h = 0;

	if (next(seed) % 4)
		raw_hello(r, 1, 1, 0, UINT64_MAX);
	if (r->epoch && next(seed) % 2)
		(void)raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &h);
	for (uint64_t i = next(seed) % 20; i > 0; i--) {
		if (h && next(seed) % 4)
			wild(r, seed, h);
		else
			raw_send_bytes(r, m, garbage(r, seed, m, sizeof(m)));
		drain(r->fd);
	}
	raw_close(r);
}

static void garbage_harms_nobody(void **state)
{
	struct rig *rig = *state;
	struct raw *healthy = raw_open(rig->address);
	uint64_t seed = seed_of(), h;

	assert_int_equal(raw_file_open(healthy, "/f", PROTO_O_READ, &h), 0);
	for (unsigned i = 0; i < GARBAGE; i++) {
		garbage_session(rig, &seed);
		assert_int_equal(raw_ping(healthy), 0);
	}
	rig_wait_stats(rig, 0, 2);
	raw_close(healthy);
}

/* Random bytes on a data connection, before and after it is one. */
static void garbage_on_a_data_path_harms_nobody(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	uint64_t seed = seed_of();
	uint8_t m[256];
	int fd;

	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(raw_data(r, rig->address, r->token, &fd), 0);
		for (unsigned k = 0; k < sizeof(m); k++)
			m[k] = (uint8_t)next(&seed);
		(void)!send(fd, m, sizeof(m), MSG_NOSIGNAL);
		close(fd);
		usleep(2000);
		assert_int_equal(raw_ping(r), 0);
	}
	raw_close(r);
}

/* --- who does not read --- */

/*
 * P20: recalls that nobody reads fill the output to its bound; then the session ends, and the break waits for the
 * deadline at most.
 */
static void a_flood_of_recalls_has_a_bound(void **state)
{
	struct rig *rig = *state;
	struct raw *deaf = raw_open(rig->address), *other = raw_open(rig->address);
	struct fs_handle *fh = rig_open(rig, "/f", O_RDWR);
	uint64_t h, start_ns;

	assert_int_equal(raw_file_open(deaf, "/f", PROTO_O_READ, &h), 0);
	for (unsigned i = 0; i < 6000; i++)
		assert_int_equal(raw_lease(deaf, h, PROTO_READ, 0, 64 * BLOCK, 0, NULL), 0);
	start_ns = clock_now_ns();
	assert_int_equal(fs_truncate(fh, &rig->root, 0), 0);
	assert_true(clock_now_ns() - start_ns < NS_PER_SEC / 5 + 5 * NS_PER_SEC);
	assert_int_equal(raw_ping(other), 0);
	rig_wait_stats(rig, 0, 2); /* the deaf one's session has ended */
	fs_close(fh, NULL, 0);
	raw_close(deaf);
	raw_close(other);
}

/* P20: answers that nobody reads stop the reading of requests; the session lives on when they are read. */
static void answers_that_wait_stop_new_requests(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	union proto_body b = {0};
	uint64_t h, first;

	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h), 0);
	b.file_read = (struct proto_file_read){.handle = h, .len = 64 * BLOCK};
	first = r->seq + 1;
	for (unsigned i = 0; i < 60; i++)
		raw_send(r, PROTO_FILE_READ, 0, &b); /* 15 MiB of answers, the bound is 324 KiB */
	usleep(100000);
	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
		assert_int_equal(r->h.status, 0);
		assert_true(r->h.seq >= first && r->h.seq < first + 60);
		assert_int_equal(r->body.data.data.len, 64 * BLOCK);
	}
	assert_int_equal(raw_ping(r), 0);
	raw_close(r);
}

static void who_vanishes_with_answers_waiting_leaves_nothing(void **state)
{
	struct rig *rig = *state;
	union proto_body b = {0};
	struct raw *r;
	uint64_t h;

	for (unsigned round = 0; round < 5; round++) {
		r = raw_open(rig->address);
		assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h), 0);
		b.file_read = (struct proto_file_read){.handle = h, .len = 64 * BLOCK};
		for (unsigned i = 0; i < 40; i++)
			raw_send(r, PROTO_FILE_READ, 0, &b);
		usleep(10000);
		raw_close(r);
	}
	rig_wait_stats(rig, 0, 1);
}

/* --- many --- */

struct crowd {
	struct rig *rig;
	pthread_t thread;
	uint64_t seed;
};

static void *crowd_main(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; i < VANISHED / 4; i++) {
		struct raw *r = raw_new(c->rig->address);
		union proto_body b = {0};
		uint64_t h;

		if (next(&c->seed) % 5) {
			raw_hello(r, 1, 1, 0, UINT64_MAX);
			assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &h), 0);
			b.lease_get = (struct proto_lease_get){
			    .handle = h, .range = {0, 64 * BLOCK}, .mode = PROTO_READ + next(&c->seed) % 2};
			for (uint64_t k = next(&c->seed) % 4; k > 0; k--)
				raw_send(r, PROTO_LEASE_GET, 0, &b);
			b.file_truncate = (struct proto_file_truncate){h, next(&c->seed) % (64 * BLOCK)};
			if (next(&c->seed) % 4 == 0)
				raw_send(r, PROTO_FILE_TRUNCATE, 0, &b);
		}
		if (next(&c->seed) % 2)
			usleep(1000);
		raw_close(r);
	}
	return NULL;
}

static void two_hundred_clients_come_and_vanish(void **state)
{
	struct rig *rig = *state;
	struct raw *healthy = raw_open(rig->address);
	struct crowd crowd[4];
	uint64_t seed = seed_of();

	for (unsigned i = 0; i < 4; i++) {
		crowd[i] = (struct crowd){.rig = rig, .seed = next(&seed)};
		assert_int_equal(pthread_create(&crowd[i].thread, NULL, crowd_main, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(raw_ping(healthy), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(crowd[i].thread, NULL);
	rig_wait_stats(rig, 0, 2);
	assert_int_equal(raw_call(healthy, PROTO_FS_LEASE_STATS, 0, NULL), 0);
	assert_int_equal(healthy->body.lease_stats.pinned_bytes, 0);
	raw_close(healthy);
}

static void two_hundred_clients_at_once(void **state)
{
	struct rig *rig = *state;
	struct raw *r[VANISHED];
	uint64_t h;

	for (unsigned i = 0; i < VANISHED; i++)
		r[i] = raw_open(rig->address);
	for (unsigned i = 0; i < VANISHED; i++) {
		assert_int_equal(raw_file_open(r[i], "/f", PROTO_O_READ, &h), 0);
		assert_int_equal(raw_lease(r[i], h, PROTO_READ, 0, BLOCK, 0, NULL), 0);
	}
	rig_wait_stats(rig, VANISHED, VANISHED + 1);
	for (unsigned i = 0; i < VANISHED; i++)
		raw_close(r[i]);
	rig_wait_stats(rig, 0, 1);
}

/* L36: stopped in the middle of everything. */
static void stopping_while_requests_wait_ends_all(void **state)
{
	struct rig *rig = *state;
	struct raw *r[8];
	union proto_body b = {0};
	uint64_t h;

	for (unsigned i = 0; i < 8; i++) {
		r[i] = raw_open(rig->address);
		assert_int_equal(raw_file_open(r[i], "/f", PROTO_O_READ | PROTO_O_WRITE, &h), 0);
		assert_int_equal(raw_lease(r[i], h, PROTO_READ, 0, 64 * BLOCK, 60 * NS_PER_SEC, NULL), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		b.file_truncate = (struct proto_file_truncate){h, 0};
		raw_send(r[i], PROTO_FILE_TRUNCATE, 0, &b);
	}
	usleep(20000);
	server_stop(rig->server);
	rig->server = NULL;
	rig_wait_stats(rig, 0, 1);
	for (unsigned i = 0; i < 8; i++)
		raw_close(r[i]);
}

int main(void)
{
#define T(f)     cmocka_unit_test_setup_teardown(f, setup, teardown)
#define SMALL(f) cmocka_unit_test_setup_teardown(f, setup_small_output, teardown)
	const struct CMUnitTest tests[] = {
	    T(garbage_harms_nobody),
	    T(garbage_on_a_data_path_harms_nobody),
	    SMALL(a_flood_of_recalls_has_a_bound),
	    cmocka_unit_test_setup_teardown(answers_that_wait_stop_new_requests, setup_tight_output, teardown),
	    T(who_vanishes_with_answers_waiting_leaves_nothing),
	    T(two_hundred_clients_come_and_vanish),
	    T(two_hundred_clients_at_once),
	    T(stopping_while_requests_wait_ends_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
