/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: data paths come and go, belong to one session, and cost it nothing when they are lost: L16, L17, P24, P25. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"

/* L16: the path goes, the keys stay. */
static void a_new_data_path_finds_the_old_keys(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn *c = stream_open(f);
	struct raw_event g;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, BLOCK, 0, &g), 0);
	assert_int_equal(move_read(c, g.run.key, 0, BLOCK, 'a'), 0);
	for (unsigned i = 0; i < 3 * SERVER_PATHS_MAX; i++) { /* dead ones give way */
		fabric_conn_close(c);
		usleep(5000);
		c = stream_open(f);
		assert_int_equal(move_read(c, g.run.key, 0, BLOCK, 'a'), 0);
	}
	fabric_conn_close(c);
}

static void data_paths_have_a_limit(void **state)
{
	struct fixture *f = *state;
	int fd[SERVER_PATHS_MAX + 1];

	for (unsigned i = 0; i < SERVER_PATHS_MAX; i++)
		assert_int_equal(raw_data(f->r, f->rig.address, f->r->token, &fd[i]), 0);
	assert_int_equal(raw_data(f->r, f->rig.address, f->r->token, &fd[SERVER_PATHS_MAX]), -EMFILE);
	for (unsigned i = 0; i < SERVER_PATHS_MAX; i++)
		close(fd[i]);
}

static void a_wrong_token_opens_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t token[16];
	int fd;

	memcpy(token, f->r->token, sizeof(token));
	token[15] ^= 1;
	assert_int_equal(raw_data(f->r, f->rig.address, token, &fd), -EACCES);
	f->r->session += 100;
	assert_int_equal(raw_data(f->r, f->rig.address, f->r->token, &fd), -EACCES);
	f->r->session -= 100;
	assert_int_equal(raw_ping(f->r), 0);
}

/* A key of one session is unknown to another's data path. */
static void keys_are_the_sessions_own(void **state)
{
	struct fixture *f = *state;
	struct fixture other = {.rig = f->rig, .r = raw_open(f->rig.address)};
	struct fabric_conn *c = stream_open(&other);
	struct raw_event g;

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, BLOCK, 0, &g), 0);
	assert_int_equal(move_read(c, g.run.key, 0, 1, 'a'), -ESTALE);
	fabric_conn_close(c);
	raw_close(other.r);
}

static int ring_attach(struct raw *r, const int fds[3], unsigned count)
{
	struct proto_header h = {.type = PROTO_RING_ATTACH, .seq = r->seq + 1, .epoch = r->epoch};
	uint8_t m[PROTO_HEADER_SIZE];
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {m, sizeof(m)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = CMSG_SPACE(count * sizeof(int))};

	proto_encode(&h, NULL, m, sizeof(m));
	CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, count * sizeof(int));
	r->seq++;
	assert_int_equal(sendmsg(r->fd, &msg, MSG_NOSIGNAL), PROTO_HEADER_SIZE);
	return raw_answer(r, r->seq);
}

/* P25, twice: the second replaces the first. */
static void a_ring_is_attached_and_replaced(void **state)
{
	struct fixture *f = *state;
	struct fabric_conn_options opt = {.ring_bytes = 1 << 20};
	struct fabric_conn *c;
	struct raw_event g;
	int fds[3];

	assert_int_equal(raw_lease(f->r, f->h, PROTO_READ, 0, BLOCK, 0, &g), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fabric_ring_connect(&opt, fds, &c), 0);
		assert_int_equal(ring_attach(f->r, fds, 3), 0);
		for (unsigned k = 0; k < 3; k++)
			close(fds[k]);
		assert_int_equal(move_read(c, g.run.key, 0, BLOCK, 'a'), 0);
		fabric_conn_close(c);
	}
}

static void a_ring_of_nonsense_is_refused(void **state)
{
	struct fixture *f = *state;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[3] = {null, null, null};

	assert_true(ring_attach(f->r, fds, 3) < 0);
	assert_int_equal(raw_ping(f->r), 0);
	assert_int_equal(raw_call(f->r, PROTO_RING_ATTACH, 0, NULL), -EINVAL);
	close(null);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    T(a_new_data_path_finds_the_old_keys), T(data_paths_have_a_limit),         T(a_wrong_token_opens_nothing),
	    T(keys_are_the_sessions_own),          T(a_ring_is_attached_and_replaced), T(a_ring_of_nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
