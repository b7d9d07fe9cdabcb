/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: a session begins as agreed, ends with a reason, and what breaks the protocol breaks nobody else: P1 to P28. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h" /* before cmocka, whose fail() is a macro */

#include <cmocka.h>

#include "base/clock.h"
#include "raw.h"

#define HALF_SECOND (500 * NS_PER_MS)

static int setup(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));

	rig_start(rig, 0, NULL, NULL);
	*state = rig;
	return 0;
}

static int setup_small(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));
	struct server_limits limits = server_limits_default;

	limits.hello_ns = HALF_SECOND;
	limits.message_ns = HALF_SECOND;
	limits.outstanding_max = 3;
	limits.handles_max = 4;
	limits.sessions_max = 5;
	rig_start(rig, 0, &limits, NULL);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	rig_stop(*state);
	free(*state);
	return 0;
}

/* --- beginning --- */

static void the_highest_common_version_is_taken(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);

	raw_hello(r, 1, 77, 0, UINT64_MAX);
	assert_int_equal(r->h.status, 0);
	assert_int_equal(r->body.welcome.version, PROTO_VERSION_MAX);
	assert_int_equal(r->features,
			 PROTO_FEATURE_STREAM | PROTO_FEATURE_RING | PROTO_FEATURE_AS | PROTO_FEATURE_WATCH);
	assert_int_equal(r->body.welcome.block_size, 4096);
	assert_true(r->epoch != 0);
	assert_true(r->boot != 0);
	assert_int_equal(raw_ping(r), 0);
	raw_close(r);
}

static void no_common_version_is_said_with_both_ranges(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);

	raw_hello(r, 2, 3, 0, 0);
	assert_int_equal(r->h.type, PROTO_GOODBYE);
	assert_int_equal(r->body.goodbye.reason, PROTO_BYE_VERSION);
	assert_non_null(memmem(r->body.goodbye.text.bytes, r->body.goodbye.text.len, "2 to 3", 6));
	assert_int_equal(raw_recv(r, RAW_WAIT_NS), 0);
	raw_close(r);
}

static void features_are_those_that_both_know(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);

	raw_hello(r, 1, 1, 0, PROTO_FEATURE_STREAM);
	assert_int_equal(r->features, PROTO_FEATURE_STREAM);
	assert_int_equal(raw_call(r, PROTO_RING_ATTACH, 0, NULL), -EOPNOTSUPP);
	assert_int_equal(raw_ping(r), 0);
	raw_close(r);
}

static void a_connection_begins_with_hello(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);

	raw_send(r, PROTO_PING, 0, NULL);
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, "P1 ");
	raw_close(r);
	r = raw_new(rig->address);
	raw_send_bytes(r, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35);
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, "P1 ");
	raw_close(r);
}

static void a_wrong_magic_is_refused(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);
	union proto_body b = {.hello = {.magic = 1, .version_min = 1, .version_max = 1}};

	raw_send(r, PROTO_HELLO, 0, &b);
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, "P1 ");
	raw_close(r);
}

static void who_says_nothing_is_sent_away(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);
	struct raw *slow = raw_new(rig->address);

	raw_send_bytes(slow, "\x42\0\0", 3);
	raw_expect_goodbye(r, PROTO_BYE_TIMEOUT, "P1 ");
	raw_expect_goodbye(slow, PROTO_BYE_TIMEOUT, "P1 ");
	raw_close(r);
	raw_close(slow);
}

static void a_message_must_end(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);

	raw_send_bytes(r, "\x20\0\0", 3);
	raw_expect_goodbye(r, PROTO_BYE_TIMEOUT, "P19 ");
	raw_close(r);
}

/* --- headers --- */

/* Sends a header of these in an open session and expects GOODBYE with the rule; a second session lives on. */
static void header_breaks(struct rig *rig, void (*damage)(struct raw *r, struct proto_header *h, uint8_t *m),
			  const char *rule)
{
	struct raw *r = raw_open(rig->address), *other = raw_open(rig->address);
	struct proto_header h = {.type = PROTO_PING, .seq = r->seq + 1, .epoch = r->epoch};
	uint8_t m[PROTO_HEADER_SIZE];

	assert_int_equal(proto_encode(&h, NULL, m, sizeof(m)), PROTO_HEADER_SIZE);
	damage(r, &h, m);
	raw_send_bytes(r, m, sizeof(m));
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, rule);
	assert_int_equal(raw_ping(other), 0);
	raw_close(r);
	raw_close(other);
}

static void other_seq(struct raw *r, struct proto_header *h, uint8_t *m)
{
	h->seq += 1;
	proto_encode(h, NULL, m, PROTO_HEADER_SIZE);
}

static void other_epoch(struct raw *r, struct proto_header *h, uint8_t *m)
{
	h->epoch += 1;
	proto_encode(h, NULL, m, PROTO_HEADER_SIZE);
}

static void other_type(struct raw *r, struct proto_header *h, uint8_t *m)
{
	m[4] = 127;
}

static void event_type(struct raw *r, struct proto_header *h, uint8_t *m)
{
	m[4] = PROTO_RECALL;
	m[0] = 90;
}

static void a_reply(struct raw *r, struct proto_header *h, uint8_t *m)
{
	m[6] = PROTO_REPLY;
}

static void hello_again(struct raw *r, struct proto_header *h, uint8_t *m)
{
	m[4] = PROTO_HELLO;
	m[0] = 80;
}

static void too_long(struct raw *r, struct proto_header *h, uint8_t *m)
{
	m[3] = 0x7f;
}

static void too_short(struct raw *r, struct proto_header *h, uint8_t *m)
{
	m[0] = 8;
}

static void a_wrong_sequence_ends_the_session(void **state)
{
	header_breaks(*state, other_seq, "P8 ");
}

static void a_wrong_epoch_ends_the_session(void **state)
{
	header_breaks(*state, other_epoch, "P9 ");
}

static void a_wrong_type_ends_the_session(void **state)
{
	header_breaks(*state, other_type, "P3 ");
	header_breaks(*state, event_type, "P3 ");
	header_breaks(*state, a_reply, "P3 ");
	header_breaks(*state, hello_again, "P3 ");
}

static void a_wrong_length_ends_the_session(void **state)
{
	header_breaks(*state, too_long, "P4 ");
	header_breaks(*state, too_short, "P4 ");
}

static void a_wrong_body_ends_the_session(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	struct proto_header h = {.type = PROTO_FILE_CLOSE, .seq = r->seq + 1, .epoch = r->epoch};
	union proto_body b = {.handle = {.handle = 1}};
	uint8_t m[64];
	ssize_t n = proto_encode(&h, &b, m, sizeof(m));

	m[0] = (uint8_t)(n - 1);
	raw_send_bytes(r, m, (size_t)n - 1);
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, "P10 ");
	raw_close(r);
}

static void messages_may_come_in_pieces_and_in_heaps(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	struct proto_header h = {.type = PROTO_PING, .epoch = r->epoch};
	uint8_t m[PROTO_HEADER_SIZE * 40];

	for (unsigned i = 0; i < 40; i++) {
		h.seq = r->seq + 1 + i;
		proto_encode(&h, NULL, m + i * PROTO_HEADER_SIZE, PROTO_HEADER_SIZE);
	}
	for (unsigned i = 0; i < 2 * PROTO_HEADER_SIZE; i++) {
		raw_send_bytes(r, m + i, 1);
		usleep(200);
	}
	raw_send_bytes(r, m + 2 * PROTO_HEADER_SIZE, 38 * PROTO_HEADER_SIZE - 5);
	raw_send_bytes(r, m + 40 * PROTO_HEADER_SIZE - 5, 5);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(raw_answer(r, r->seq + 1 + i), 0);
	raw_close(r);
}

static void descriptors_come_with_ring_attach_only(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	struct proto_header h = {.type = PROTO_PING, .seq = r->seq + 1, .epoch = r->epoch};
	uint8_t m[PROTO_HEADER_SIZE];
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {m, sizeof(m)};
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	proto_encode(&h, NULL, m, sizeof(m));
	*CMSG_FIRSTHDR(&msg) =
	    (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &null, sizeof(int));
	assert_int_equal(sendmsg(r->fd, &msg, 0), PROTO_HEADER_SIZE);
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, "P17 ");
	close(null);
	raw_close(r);
}

/* --- limits --- */

static void too_many_requests_end_the_session(void **state)
{
	struct rig *rig = *state;
	struct raw *holder = raw_open(rig->address), *r = raw_open(rig->address);
	union proto_body b = {0};
	uint64_t hh, h;

	rig_file(rig, "/f", 65536, 'a');
	assert_int_equal(raw_file_open(holder, "/f", PROTO_O_READ, &hh), 0);
	assert_int_equal(raw_lease(holder, hh, PROTO_READ, 0, 65536, 0, NULL), 0);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_WRITE, &h), 0);
	b.file_truncate.handle = h;
	for (unsigned i = 0; i < 4; i++)
		raw_send(r, PROTO_FILE_TRUNCATE, 0, &b); /* wait for the holder, three of them */
	raw_expect_goodbye(r, PROTO_BYE_LIMIT, "P18 ");
	raw_close(r);
	raw_close(holder);
	rig_wait_stats(rig, 0, 1);
}

static void handles_have_a_limit(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	uint64_t h[5];

	rig_file(rig, "/f", 1, 'a');
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h[i]), 0);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h[4]), -EMFILE);
	assert_int_equal(raw_file_close(r, h[2]), 0);
	assert_int_equal(raw_file_close(r, h[2]), -EBADF);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h[4]), 0);
	assert_true(h[4] != h[2]); /* a dead number stays dead */
	assert_int_equal(raw_file_close(r, 0), -EBADF);
	assert_int_equal(raw_file_close(r, UINT64_MAX), -EBADF);
	raw_close(r);
}

static void sessions_have_a_limit(void **state)
{
	struct rig *rig = *state;
	struct raw *r[5], *extra;

	for (unsigned i = 0; i < 5; i++)
		r[i] = raw_open(rig->address);
	extra = raw_new(rig->address);
	raw_expect_goodbye(extra, PROTO_BYE_LIMIT, "the server has as many sessions");
	raw_close(extra);
	raw_close(r[0]);
	rig_wait_stats(rig, 0, 5);
	r[0] = raw_open(rig->address);
	for (unsigned i = 0; i < 5; i++)
		raw_close(r[i]);
}

static void a_read_only_session_changes_nothing(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);
	union proto_body b = {.path_mode = {.mode = 0755, .path = proto_str_of("/d")}};
	uint64_t h;

	rig_file(rig, "/f", 4096, 'a');
	raw_hello(r, 1, 1, PROTO_HELLO_READ_ONLY, 0);
	assert_int_equal(raw_call(r, PROTO_PATH_MKDIR, 0, &b), -EROFS);
	assert_true(r->body.error.text.len > 0);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &h), -EROFS);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h), 0);
	assert_int_equal(raw_lease(r, h, PROTO_READ, 0, 4096, 0, NULL), 0);
	raw_close(r);
}

/* --- who --- */

static int as_somebody(struct rig *rig)
{
	union proto_body b = {.fs_revoke = {.number = 1}};
	struct raw *r;
	uint64_t h;

	if (setgid(1234) || setuid(1234))
		return 1;
	r = raw_open(rig->address);
	if (r->uid != 1234)
		return 2;
	if (raw_file_open(r, "/secret", PROTO_O_READ, &h) != -EACCES)
		return 3;
	if (raw_file_open(r, "/pub/mine", PROTO_O_READ | PROTO_O_WRITE | PROTO_O_CREAT, &h))
		return 4;
	if (r->body.opened.attr.uid != 1234 || r->body.opened.attr.gid != 1234)
		return 5;
	if (raw_call(r, PROTO_FS_REVOKE, 0, &b) != -EPERM)
		return 6;
	if (raw_write(r, h, "x", 1, 0) || raw_lease(r, h, PROTO_READ, 0, 4096, 0, NULL))
		return 7;
	b = (union proto_body){0};
	if (raw_call(r, PROTO_FS_LEASES, 0, &b) || r->body.lease_list.leases.count != 1)
		return 8;
	return 0;
}

static void a_unix_client_is_who_the_kernel_says(void **state)
{
	struct rig *rig = *state;
	struct raw *root;
	union proto_body b = {0};
	struct fs_handle *fh;
	char path[128];
	int status;
	pid_t pid;
	uint64_t h;

	if (geteuid() != 0)
		skip(); /* needs root to become somebody else */
	fh = rig_open(rig, "/secret", O_RDWR | O_CREAT);
	assert_int_equal(fs_fsetattr(fh, &rig->root, &(struct fs_setattr){.mask = FS_SET_MODE, .mode = 0600}), 0);
	fs_close(fh, NULL, 0);
	assert_int_equal(fs_mkdir(rig->fs, &rig->root, "/pub", 0777), 0);
	root = raw_open(rig->address);
	assert_int_equal(root->uid, 0);
	assert_int_equal(raw_file_open(root, "/secret", PROTO_O_READ | PROTO_O_WRITE, &h), 0);
	assert_int_equal(raw_write(root, h, "x", 1, 0), 0);
	assert_int_equal(raw_lease(root, h, PROTO_READ, 0, 4096, 0, NULL), 0);
	snprintf(path, sizeof(path), "%s/sock", rig->dir);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(rig->dir, 0755), 0);
	pid = fork();
	if (pid == 0)
		_exit(as_somebody(rig));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* Root sees its own lease, and the other's if it is not gone yet. */
	assert_int_equal(raw_call(root, PROTO_FS_LEASES, 0, &b), 0);
	assert_true(root->body.lease_list.leases.count >= 1);
	raw_close(root);
}

static void the_socket_is_its_owners(void **state)
{
	struct rig *rig = *state;
	struct stat st;

	assert_int_equal(stat(rig->address + 5, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* --- addresses --- */

static int try_start(struct rig *rig, const char *address, struct lh_server **out)
{
	struct lh_server_options opt = {.size = sizeof(opt)};

	*out = NULL;
	return server_start(rig->lhfs, address, &opt, out);
}

static void beyond_loopback_is_refused_until_tls_exists(void **state)
{
	static const char *const far[] = {"tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:192.0.2.1:7070"};
	struct lh_server *s;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(try_start(*state, far[i], &s), -EOPNOTSUPP);
		assert_non_null(strstr(fail_text(), "TLS"));
	}
}

static void nonsense_addresses_are_refused(void **state)
{
	static const char *const bad[] = {"tcp:127.0.0.1", "tcp::1",   "tcp:127.0.0.1:x", "tcp:127.0.0.1:65536",
					  "unix:",         "pigeon:1", "tcp:127.0.0.1:",  ""};
	char longer[300];
	struct lh_server *s;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(try_start(*state, bad[i], &s), -EINVAL);
	memset(longer, 'a', sizeof(longer));
	memcpy(longer, "unix:/tmp/", 10);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(try_start(*state, longer, &s), -ENAMETOOLONG);
	assert_int_equal(try_start(*state, "unix:/nonexistent-directory/s", &s), -ENOENT);
}

static void tcp_clients_are_nobody_and_have_no_ring(void **state)
{
	struct rig *rig = *state;
	struct lh_server *s;
	struct raw *r;

	assert_int_equal(try_start(rig, "tcp:127.0.0.1:0", &s), 0);
	assert_memory_equal(server_address(s), "tcp:127.0.0.1:", 14);
	r = raw_open(server_address(s));
	assert_int_equal(r->uid, 65534);
	assert_int_equal(r->features, PROTO_FEATURE_STREAM);
	assert_int_equal(raw_call(r, PROTO_RING_ATTACH, 0, NULL), -EOPNOTSUPP);
	assert_int_equal(raw_ping(r), 0);
	raw_close(r);
	server_stop(s);
}

static void a_live_servers_socket_is_not_taken(void **state)
{
	struct rig *rig = *state;
	struct lh_server *s;
	struct raw *r;

	assert_int_equal(try_start(rig, rig->address, &s), -EADDRINUSE);
	r = raw_open(rig->address);
	raw_close(r);
}

static void a_dead_servers_socket_is_replaced(void **state)
{
	struct rig *rig = *state;
	struct lh_server *s;
	char path[128], address[160];
	struct raw *r;
	pid_t pid;
	int status;

	snprintf(path, sizeof(path), "%s/stale", rig->dir);
	snprintf(address, sizeof(address), "unix:%s", path);
	pid = fork();
	if (pid == 0) {
		struct listener l;

		_exit(listen_open(address, 0, &l) ? 1 : 0); /* dies without removing it */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(try_start(rig, address, &s), 0);
	r = raw_open(address);
	raw_close(r);
	server_stop(s);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	struct rig *rig = *state;
	struct lh_server *s;
	char path[128], address[160];

	snprintf(path, sizeof(path), "%s/file", rig->dir);
	snprintf(address, sizeof(address), "unix:%s", path);
	close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	assert_int_equal(try_start(rig, address, &s), -EADDRINUSE);
	assert_int_equal(unlink(path), 0);
}

/* --- ending --- */

static void stopping_says_goodbye_and_ends_the_leases(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	uint64_t h;

	rig_file(rig, "/f", 65536, 'a');
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h), 0);
	assert_int_equal(raw_lease(r, h, PROTO_READ, 0, 65536, 0, NULL), 0);
	server_stop(rig->server);
	rig->server = NULL;
	raw_expect_goodbye(r, PROTO_BYE_SHUTDOWN, "");
	rig_wait_stats(rig, 0, 1);
	raw_close(r);
}

static void a_goodbye_of_the_client_ends_its_session(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	struct proto_header h = {.type = PROTO_GOODBYE, .epoch = r->epoch};
	union proto_body b = {.goodbye = {.reason = PROTO_BYE_CLOSED}};
	uint8_t m[128];
	ssize_t n = proto_encode(&h, &b, m, sizeof(m));

	raw_send_bytes(r, m, (size_t)n);
	assert_int_equal(raw_recv(r, RAW_WAIT_NS), 0);
	raw_close(r);
	rig_wait_stats(rig, 0, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define S(f) cmocka_unit_test_setup_teardown(f, setup_small, teardown)
	const struct CMUnitTest tests[] = {
	    T(the_highest_common_version_is_taken),
	    T(no_common_version_is_said_with_both_ranges),
	    T(features_are_those_that_both_know),
	    T(a_connection_begins_with_hello),
	    T(a_wrong_magic_is_refused),
	    S(who_says_nothing_is_sent_away),
	    S(a_message_must_end),
	    T(a_wrong_sequence_ends_the_session),
	    T(a_wrong_epoch_ends_the_session),
	    T(a_wrong_type_ends_the_session),
	    T(a_wrong_length_ends_the_session),
	    T(a_wrong_body_ends_the_session),
	    T(messages_may_come_in_pieces_and_in_heaps),
	    T(descriptors_come_with_ring_attach_only),
	    S(too_many_requests_end_the_session),
	    S(handles_have_a_limit),
	    S(sessions_have_a_limit),
	    T(a_read_only_session_changes_nothing),
	    T(a_unix_client_is_who_the_kernel_says),
	    T(the_socket_is_its_owners),
	    T(beyond_loopback_is_refused_until_tls_exists),
	    T(nonsense_addresses_are_refused),
	    T(tcp_clients_are_nobody_and_have_no_ring),
	    T(a_live_servers_socket_is_not_taken),
	    T(a_dead_servers_socket_is_replaced),
	    T(a_file_that_is_no_socket_is_left_alone),
	    T(stopping_says_goodbye_and_ends_the_leases),
	    T(a_goodbye_of_the_client_ends_its_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
