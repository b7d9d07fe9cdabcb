/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: whatever a server says or does not say, a call ends with the right error and a sentence (protocol P1-P28, I8).
 */
#include "fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define THREADS 8
#define CALLS   50

static int open_error(const char *where, uint64_t timeout_ns)
{
	struct lh_open_options o = {.size = sizeof(o), .fabric = LH_FABRIC_NONE, .connect_timeout_ns = timeout_ns};
	struct lh_fs *fs = NULL;
	int err = lh_fs_open(where, &o, &fs);

	if (!err)
		fail_msg("%s opened", where);
	assert_null(fs);
	assert_true(strlen(lh_error_text()) > 10);
	return err;
}

/* Bad input: addresses that cannot be. */
static void addresses_are_checked(void **state)
{
	char path[256] = "unix:/";

	memset(path + 6, 'x', 200);
	assert_int_equal(open_error("unix:", 0), -EINVAL);
	assert_int_equal(open_error(path, 0), -EINVAL);
	assert_int_equal(open_error("tcp:", 0), -EINVAL);
	assert_int_equal(open_error("tcp:127.0.0.1", 0), -EINVAL);
	assert_int_equal(open_error("tcp::80", 0), -EINVAL);
	assert_int_equal(open_error("tcp:127.0.0.1:", 0), -EINVAL);
	assert_int_equal(open_error("tcp:127.0.0.1:0", 0), -EINVAL);
	assert_int_equal(open_error("tcp:127.0.0.1:65536", 0), -EINVAL);
	assert_int_equal(open_error("tcp:127.0.0.1:8o", 0), -EINVAL);
	assert_int_equal(open_error("tcp:127.0.0.1:-1", 0), -EINVAL);
	assert_int_equal(open_error("tcp:192.0.2.1:7070", 0), -EINVAL);
	assert_non_null(strstr(lh_error_text(), "TLS"));
	assert_int_equal(open_error("tls:localhost:7070", 0), -EINVAL);
	assert_int_equal(open_error("udp:localhost:7070", 0), -EINVAL);
}

/* Bad input: an address that nobody listens on. */
static void nobody_listens(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(in);
	char dir[] = "/tmp/leasehold-none-XXXXXX";
	char address[160];
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", dir);
	snprintf(address, sizeof(address), "unix:%s", un.sun_path);
	assert_int_equal(open_error(address, 0), -ENOENT);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(open_error(address, 0), -ECONNREFUSED);
	close(fd);
	unlink(un.sun_path);
	rmdir(dir);
	/* Bound, so that nobody else gets the port meanwhile, but not listening. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(address, sizeof(address), "tcp:127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(open_error(address, 0), -ECONNREFUSED);
	close(fd);
}

static void script_silent(struct fake *f)
{
	char byte;

	f->fd = fake_accept(f);
	while (read(f->fd, &byte, 1) == 1)
		;
}

static void script_closes(struct fake *f)
{
	f->fd = fake_accept(f);
}

static void script_http(struct fake *f)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

	f->fd = fake_accept(f);
	fake_bytes(f, http, strlen(http));
	fake_next(f);
}

static void script_wrong_version(struct fake *f)
{
	struct proto_header h = {.type = PROTO_HELLO, .flags = PROTO_REPLY, .seq = 1};
	union proto_body welcome = {
	    .welcome = {.version = 9, .epoch = 1, .data_max = 4096, .outstanding_max = 1, .message_max = 4096}};

	f->fd = fake_accept(f);
	fake_expect(f, PROTO_HELLO);
	fake_send(f, &h, &welcome);
	fake_next(f);
}

static void script_goodbye(struct fake *f)
{
	struct proto_header h = {.type = PROTO_GOODBYE};
	union proto_body body = {
	    .goodbye = {.reason = PROTO_BYE_VERSION, .text = proto_str_of("this server speaks 7 to 9")}};

	f->fd = fake_accept(f);
	fake_expect(f, PROTO_HELLO);
	fake_send(f, &h, &body);
	fake_next(f);
}

/* P1, P21: whoever does not greet as agreed is not a server. */
static void greetings_are_checked(void **state)
{
	static const struct {
		void (*script)(struct fake *f);
		int err;
		uint64_t timeout_ns;
	} cases[] = {
	    {script_silent, -ETIMEDOUT, 100000000},
	    {script_closes, -ECONNREFUSED, 0},
	    {script_http, -EPROTO, 0},
	    {script_wrong_version, -EPROTONOSUPPORT, 0},
	    {script_goodbye, -EPROTONOSUPPORT, 0},
	};
	struct fake f;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_start(&f, cases[i].script);
		assert_int_equal(open_error(f.address, cases[i].timeout_ns), cases[i].err);
		fake_end(&f);
	}
	assert_non_null(strstr(lh_error_text(), "this server speaks 7 to 9"));
}

/* --- answers that are wrong --- */

static void script_wrong_seq(struct fake *f)
{
	union proto_body body = {0};

	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	f->h.seq++;
	fake_reply(f, &body);
	fake_drain(f);
}

static void script_wrong_epoch(struct fake *f)
{
	struct proto_header h = {.type = PROTO_FS_SYNC, .flags = PROTO_REPLY, .seq = 2, .epoch = 5};
	union proto_body body = {0};

	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	fake_send(f, &h, &body);
	fake_drain(f);
}

static void script_wrong_type(struct fake *f)
{
	union proto_body body = {0};

	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	f->h.type = PROTO_PING;
	fake_reply(f, &body);
	fake_drain(f);
}

static void script_twice(struct fake *f)
{
	union proto_body body = {0};

	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	fake_reply(f, &body);
	fake_reply(f, &body);
	fake_drain(f);
}

static void script_oversized(struct fake *f)
{
	uint8_t header[PROTO_HEADER_SIZE] = {0xff, 0xff, 0xff, 0x7f, PROTO_FS_SYNC, 0, PROTO_REPLY, 0, 2};

	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	fake_bytes(f, header, sizeof(header));
	fake_drain(f);
}

static void script_garbage(struct fake *f)
{
	uint8_t bytes[4096];

	memset(bytes, 0xa5, sizeof(bytes));
	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	fake_bytes(f, bytes, sizeof(bytes));
	fake_drain(f);
}

static void script_request(struct fake *f)
{
	union proto_body body = {0};
	struct proto_header h = {.type = PROTO_FS_SYNC, .seq = 2, .epoch = FAKE_EPOCH};

	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	fake_send(f, &h, &body);
	fake_drain(f);
}

/* P2-P11: what breaks the protocol ends the session with -EPROTO, and every later call says the same. */
static void wrong_answers_end_the_session(void **state)
{
	static void (*const scripts[])(struct fake * f) = {script_wrong_seq, script_wrong_epoch, script_wrong_type,
							   script_oversized, script_garbage,     script_request};
	struct fake f;

	for (unsigned i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		struct lh_stat st = {.size_of = sizeof(st)};
		struct lh_fs *fs;

		fake_start(&f, scripts[i]);
		fs = fake_open(&f, LH_FABRIC_NONE);
		assert_int_equal(lh_fs_sync(fs), -EPROTO);
		assert_non_null(strstr(lh_error_text(), "P"));
		assert_int_equal(lh_path_stat(fs, "/", true, &st), -EPROTO);
		assert_true(strlen(lh_error_text()) > 10);
		assert_int_equal(lh_fs_close(fs), 0);
		fake_end(&f);
	}
}

/* P8: an answer to nothing, while no call waits, ends the session too. */
static void a_second_answer_ends_the_session(void **state)
{
	struct fake f;
	struct lh_fs *fs;

	fake_start(&f, script_twice);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_sync(fs), 0);
	/* The background thread reads it, and the script sees the end. */
	pthread_join(f.thread, NULL);
	assert_int_equal(lh_fs_sync(fs), -EPROTO);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_join(&f);
}

static void script_too_much(struct fake *f)
{
	static const char text[64] = "more than was asked for";
	union proto_body body = {.data = {.data = {.bytes = text, .len = sizeof(text)}}};

	fake_greet(f);
	fake_opened(f, 100);
	fake_expect(f, PROTO_FILE_READ);
	fake_reply(f, &body);
	fake_drain(f);
}

/* I8: a server that sends more than was asked for does not write behind the buffer. */
static void a_read_stays_inside_its_buffer(void **state)
{
	uint8_t buf[64];
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file;

	fake_start(&f, script_too_much);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_file_open(fs, "/f", O_RDONLY, 0, &file), 0);
	memset(buf, 0x77, sizeof(buf));
	assert_int_equal(lh_file_read(file, buf, 8, 0), -EPROTO);
	for (unsigned i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0x77);
	lh_file_close(file);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

/* --- the end --- */

static void script_gone(struct fake *f)
{
	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
}

static void script_shutdown(struct fake *f)
{
	union proto_body body = {
	    .goodbye = {.reason = PROTO_BYE_SHUTDOWN, .text = proto_str_of("maintenance until noon")}};

	fake_greet(f);
	fake_expect(f, PROTO_FS_SYNC);
	fake_event(f, PROTO_GOODBYE, 0, &body);
	fake_drain(f);
}

/* Server gone in the middle of a call: -ENOTCONN with a sentence, for this call and every other. */
static void a_server_that_goes_is_notconn(void **state)
{
	struct fake f;
	struct lh_fs *fs;

	fake_start(&f, script_gone);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_sync(fs), -ENOTCONN);
	assert_non_null(strstr(lh_error_text(), "lost"));
	assert_int_equal(lh_fs_sync(fs), -ENOTCONN);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
	fake_start(&f, script_shutdown);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_sync(fs), -ENOTCONN);
	assert_non_null(strstr(lh_error_text(), "maintenance until noon"));
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

static void script_refuses(struct fake *f)
{
	fake_greet(f);
	fake_expect(f, PROTO_PATH_MKDIR);
	fake_refuse(f, EDQUOT, "the project is over its limit");
	fake_expect(f, PROTO_PATH_RMDIR);
	fake_refuse(f, ENOENT, "");
	fake_drain(f);
}

/* P7: the server's sentence reaches the caller; without one the call makes its own. */
static void sentences_arrive(void **state)
{
	struct fake f;
	struct lh_fs *fs;

	fake_start(&f, script_refuses);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_path_mkdir(fs, "/d", 0755), -EDQUOT);
	assert_string_equal(lh_error_text(), "the project is over its limit");
	assert_int_equal(lh_path_rmdir(fs, "/d"), -ENOENT);
	assert_non_null(strstr(lh_error_text(), "/d"));
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

/* --- many threads --- */

/* Answers in pairs, the later one first. */
static void script_reorders(struct fake *f)
{
	struct proto_header held = {0};
	union proto_body body = {0};
	unsigned left = THREADS * CALLS;
	uint64_t held_uid = 0;

	fake_greet(f);
	for (; left; left--) {
		if (!fake_expect(f, PROTO_FS_REVOKE))
			return;
		if (!held.seq && left > THREADS) {
			held = f->h;
			held_uid = f->body.fs_revoke.number;
			continue;
		}
		body.count.count = f->body.fs_revoke.number;
		fake_reply(f, &body);
		if (held.seq) {
			body.count.count = held_uid;
			fake_reply_to(f, held, &body, 0);
			held.seq = 0;
		}
	}
	fake_drain(f);
}

struct caller {
	struct lh_fs *fs;
	uint64_t number;
	bool wrong;
};

static void *calls(void *arg)
{
	struct caller *c = arg;

	for (unsigned i = 0; i < CALLS; i++) {
		struct lh_revoke_filter filter = {.size = sizeof(filter), .number = c->number * 1000 + i};

		c->wrong |= lh_fs_revoke(c->fs, &filter) != (int)filter.number;
	}
	return NULL;
}

/* P8, P30: answers come in any order, and each thread gets its own. */
static void every_thread_gets_its_answer(void **state)
{
	struct caller callers[THREADS] = {0};
	pthread_t threads[THREADS];
	struct fake f;
	struct lh_fs *fs;

	fake_start(&f, script_reorders);
	fs = fake_open(&f, LH_FABRIC_NONE);
	for (unsigned i = 0; i < THREADS; i++) {
		callers[i] = (struct caller){.fs = fs, .number = i + 1};
		assert_int_equal(pthread_create(&threads[i], NULL, calls, &callers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_false(callers[i].wrong);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

/* Reads nothing for a while, then everything. */
static void script_slow(struct fake *f)
{
	union proto_body body = {0};

	fake_greet(f);
	fake_opened(f, 0);
	usleep(100000);
	for (unsigned i = 0; i < THREADS; i++) {
		if (!fake_expect(f, PROTO_FILE_WRITE))
			return;
		body.count.count = f->body.file_write.data.len;
		for (uint32_t k = 0; k < f->body.file_write.data.len; k++) {
			if (((const uint8_t *)f->body.file_write.data.bytes)[k] != (uint8_t)(k * 7)) {
				fake_wrong(f, "byte %u of a write is wrong", k);
				return;
			}
		}
		fake_reply(f, &body);
	}
	if (fake_expect(f, PROTO_FILE_CLOSE))
		fake_reply(f, &body);
	fake_drain(f);
}

static void *write_thread(void *arg)
{
	struct lh_file *file = arg;
	uint8_t *buf = malloc(1 << 20);
	ssize_t n;

	for (unsigned i = 0; i < 1 << 20; i++)
		buf[i] = (uint8_t)(i * 7);
	n = lh_file_write(file, buf, 1 << 20, 0);
	free(buf);
	return (void *)(intptr_t)n;
}

/* P20: a server that does not read for a while gets every byte once, in order. */
static void a_full_socket_loses_nothing(void **state)
{
	pthread_t threads[THREADS];
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file;

	fake_start(&f, script_slow);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_file_open(fs, "/f", O_RDWR, 0, &file), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_thread, file), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *n;

		pthread_join(threads[i], &n);
		assert_int_equal((intptr_t)n, 1 << 20);
	}
	assert_int_equal(lh_file_close(file), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

/* A session with open handles does not close; offers that were not made are not used. */
static void handles_keep_the_session(void **state)
{
	struct lh_open_options ring = {.size = sizeof(ring), .fabric = LH_FABRIC_RING};
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file;

	fake_start(&f, script_slow);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_file_open(fs, "/f", O_RDWR, 0, &file), 0);
	assert_int_equal(lh_fs_close(fs), -EBUSY);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal((intptr_t)write_thread(file), 1 << 20);
	assert_int_equal(lh_file_close(file), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
	fake_start(&f, fake_greet);
	assert_int_equal(lh_fs_open(f.address, &ring, &fs), -EOPNOTSUPP);
	assert_true(strlen(lh_error_text()) > 10);
	fake_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_are_checked),
	    cmocka_unit_test(nobody_listens),
	    cmocka_unit_test(greetings_are_checked),
	    cmocka_unit_test(wrong_answers_end_the_session),
	    cmocka_unit_test(a_second_answer_ends_the_session),
	    cmocka_unit_test(a_read_stays_inside_its_buffer),
	    cmocka_unit_test(a_server_that_goes_is_notconn),
	    cmocka_unit_test(sentences_arrive),
	    cmocka_unit_test(every_thread_gets_its_answer),
	    cmocka_unit_test(a_full_socket_loses_nothing),
	    cmocka_unit_test(handles_keep_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
