/* SPDX-License-Identifier: BSD-2-Clause */
/* See raw.h. */
#include "raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

int raw_socket(const char *address)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct sockaddr_in sin = {.sin_family = AF_INET};
	int fd, err;

	if (strncmp(address, "unix:", 5) == 0) {
		snprintf(sun.sun_path, sizeof(sun.sun_path), "%.100s", address + 5);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		err = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
	} else {
		sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		sin.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		err = connect(fd, (struct sockaddr *)&sin, sizeof(sin));
	}
	if (err) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

struct raw *raw_new(const char *address)
{
	struct raw *r = calloc(1, sizeof(*r));

	r->fd = raw_socket(address);
	assert_true(r->fd >= 0);
	r->message = malloc(PROTO_MESSAGE_MAX);
	r->events = calloc(RAW_EVENTS, sizeof(*r->events));
	r->runs = calloc(RAW_RUNS, sizeof(*r->runs));
	return r;
}

void raw_close(struct raw *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	free(r->message);
	free(r->events);
	free(r->runs);
	free(r);
}

void raw_send_bytes(struct raw *r, const void *bytes, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = send(r->fd, (const char *)bytes + at, len - at, MSG_NOSIGNAL);

		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return; /* the server ended the session; who cares will notice */
		assert_true(n > 0);
		at += (size_t)n;
	}
}

uint64_t raw_send(struct raw *r, unsigned type, unsigned flags, const union proto_body *body)
{
	struct proto_header h = {.type = (uint16_t)type,
				 .flags = (uint16_t)flags,
				 .seq = r->seq + 1,
				 .epoch = r->epoch,
				 .ack = r->silent_acks ? 0 : (uint32_t)r->received};
	uint32_t max = proto_length_max(type, flags);
	uint8_t *buf = malloc(max);
	ssize_t n = proto_encode(&h, body, buf, max);

	assert_true(n > 0);
	r->seq++;
	raw_send_bytes(r, buf, (size_t)n);
	free(buf);
	return r->seq;
}

/* 1, 0 end, -ETIMEDOUT. */
static int recv_exactly(struct raw *r, uint8_t *to, size_t len, uint64_t until)
{
	struct pollfd p = {.fd = r->fd, .events = POLLIN};

	while (len) {
		uint64_t now = clock_now_ns();
		ssize_t n;

		if (poll(&p, 1, now < until ? (int)((until - now) / 1000000 + 1) : 0) == 0)
			return -ETIMEDOUT;
		n = recv(r->fd, to, len, 0);
		if (n <= 0)
			return 0;
		to += n;
		len -= (size_t)n;
	}
	return 1;
}

int raw_recv(struct raw *r, uint64_t wait_ns)
{
	uint64_t until = clock_now_ns() + wait_ns;
	int got = recv_exactly(r, r->message, PROTO_HEADER_SIZE, until);
	const char *rule;

	if (got <= 0)
		return got;
	rule = proto_header_decode(r->message, &r->h);
	if (rule)
		fail_msg("the server broke %s", rule);
	got = recv_exactly(r, r->message + PROTO_HEADER_SIZE, r->h.length - PROTO_HEADER_SIZE, until + RAW_WAIT_NS);
	if (got <= 0)
		return got;
	rule = proto_body_decode(&r->h, r->message + PROTO_HEADER_SIZE, &r->body);
	if (rule)
		fail_msg("the server broke %s in %s", rule, proto_type_name(r->h.type));
	if (r->resumable && r->epoch && r->h.type != PROTO_GOODBYE)
		r->received++;
	return 1;
}

static void add_runs(struct raw *r, const struct proto_list *l)
{
	uint32_t cursor = 0;

	while (r->run_count < RAW_RUNS && proto_run_next(l, &cursor, &r->runs[r->run_count]))
		r->run_count++;
}

static void keep_event(struct raw *r, bool before_reply)
{
	struct raw_event *e = &r->events[r->event_count];
	const struct proto_recall *recall = &r->body.recall;
	const struct proto_layout *layout = &r->body.layout;
	uint32_t cursor = 0;

	/* News of long requests: whoever wants them reads them with raw_recv. */
	if (r->h.type == PROTO_PROGRESS || r->h.type == PROTO_LOSS || r->h.type == PROTO_CHANGED)
		return;
	assert_true(r->event_count < RAW_EVENTS);
	assert_int_equal(r->h.seq, 0);
	assert_int_equal(r->h.epoch, r->epoch);
	r->event_count++;
	memset(e, 0, sizeof(*e));
	e->type = r->h.type;
	e->flags = r->h.flags;
	e->before_reply = before_reply;
	if (r->h.type == PROTO_LAYOUT) {
		e->lease = layout->lease;
		e->seq = layout->seq;
		e->range = layout->range;
		e->run_count = layout->runs.count;
		proto_run_next(&layout->runs, &cursor, &e->run);
		return;
	}
	assert_true(r->h.type == PROTO_RECALL || r->h.type == PROTO_REVOKED);
	e->lease = recall->lease;
	e->seq = recall->seq;
	e->range = recall->range;
	e->kind = recall->kind;
	e->mode = recall->mode;
	e->reason = recall->reason;
	e->left_ns = recall->left_ns;
}

int raw_answer(struct raw *r, uint64_t seq)
{
	for (;;) {
		int got = raw_recv(r, RAW_WAIT_NS);

		if (got == 0)
			fail_msg("the server ended the session while #%llu was waited for", (unsigned long long)seq);
		assert_int_equal(got, 1);
		if (r->h.flags & PROTO_REPLY) {
			assert_int_equal(r->h.seq, seq);
			return -(int)r->h.status;
		}
		if (r->h.type == PROTO_GOODBYE)
			fail_msg("GOODBYE: %.*s", (int)r->body.goodbye.text.len, r->body.goodbye.text.bytes);
		keep_event(r, true);
	}
}

int raw_call(struct raw *r, unsigned type, unsigned flags, const union proto_body *body)
{
	return raw_answer(r, raw_send(r, type, flags, body));
}

static bool take_event(struct raw *r, unsigned type, struct raw_event *out)
{
	for (unsigned i = 0; i < r->event_count; i++) {
		if (r->events[i].type != type)
			continue;
		*out = r->events[i];
		r->event_count--;
		memmove(&r->events[i], &r->events[i + 1], (r->event_count - i) * sizeof(r->events[0]));
		return true;
	}
	return false;
}

bool raw_event(struct raw *r, unsigned type, uint64_t wait_ns, struct raw_event *out)
{
	uint64_t until = clock_now_ns() + wait_ns, now;

	while (!take_event(r, type, out)) {
		now = clock_now_ns();
		if (raw_recv(r, now < until ? until - now : 0) != 1)
			return false;
		assert_false(r->h.flags & PROTO_REPLY);
		keep_event(r, false);
	}
	return true;
}

void raw_expect_goodbye(struct raw *r, unsigned reason, const char *text)
{
	int got;

	do {
		got = raw_recv(r, RAW_WAIT_NS);
		assert_int_equal(got, 1);
	} while (r->h.type != PROTO_GOODBYE);
	if (strncmp(r->body.goodbye.text.bytes, text, strlen(text)) != 0)
		fail_msg("GOODBYE said: %.*s", (int)r->body.goodbye.text.len, r->body.goodbye.text.bytes);
	assert_int_equal(r->body.goodbye.reason, reason);
	assert_int_equal(raw_recv(r, RAW_WAIT_NS), 0);
}

void raw_hello(struct raw *r, uint32_t min, uint32_t max, uint32_t flags, uint64_t features)
{
	union proto_body b = {.hello = {.magic = PROTO_MAGIC,
					.version_min = min,
					.version_max = max,
					.features = features,
					.flags = flags | (r->resumable ? 0 : PROTO_HELLO_NO_RESUME),
					.pid = getpid(),
					.host = {"test\x1b", 5}}};

	raw_send(r, PROTO_HELLO, 0, &b);
	assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
	if (!(r->h.flags & PROTO_REPLY) || r->h.status)
		return;
	r->epoch = r->body.welcome.epoch;
	r->session = r->body.welcome.session;
	r->boot = r->body.welcome.boot;
	r->uid = r->body.welcome.uid;
	r->features = r->body.welcome.features;
	r->outstanding_max = r->body.welcome.outstanding_max;
	memcpy(r->token, r->body.welcome.token, sizeof(r->token));
}

struct raw *raw_open_resumable(const char *address)
{
	struct raw *r = raw_new(address);

	r->resumable = true;
	raw_hello(r, PROTO_VERSION_MIN, PROTO_VERSION_MAX, 0, PROTO_FEATURE_STREAM | PROTO_FEATURE_RING);
	assert_int_equal(r->h.type, PROTO_HELLO);
	assert_int_equal(r->h.status, 0);
	return r;
}

void raw_cut(struct raw *r)
{
	close(r->fd);
	r->fd = -1;
}

int raw_resume(struct raw *r, const char *address, uint64_t received)
{
	struct proto_header h = {.type = PROTO_RESUME, .seq = 1};
	union proto_body b = {.resume = {.magic = PROTO_MAGIC,
					 .version = PROTO_VERSION_MAX,
					 .session = r->session,
					 .epoch = r->epoch,
					 .received = received}};
	uint8_t buf[256];
	ssize_t n;

	memcpy(b.resume.token, r->token, sizeof(b.resume.token));
	n = proto_encode(&h, &b, buf, sizeof(buf));
	assert_true(n > 0);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = raw_socket(address);
	assert_true(r->fd >= 0);
	raw_send_bytes(r, buf, (size_t)n);
	assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
	assert_int_equal(r->h.type, PROTO_RESUME);
	r->received = received;
	if (r->h.status)
		return -(int)r->h.status;
	r->seq = r->body.resumed.received;
	return 0;
}

struct raw *raw_open(const char *address)
{
	struct raw *r = raw_new(address);

	raw_hello(r, PROTO_VERSION_MIN, PROTO_VERSION_MAX, 0, PROTO_FEATURE_STREAM | PROTO_FEATURE_RING);
	assert_int_equal(r->h.type, PROTO_HELLO);
	assert_int_equal(r->h.flags, PROTO_REPLY);
	assert_int_equal(r->h.status, 0);
	return r;
}

int raw_ping(struct raw *r)
{
	return raw_call(r, PROTO_PING, 0, NULL);
}

int raw_file_open(struct raw *r, const char *path, unsigned flags, uint64_t *handle)
{
	union proto_body b = {.file_open = {.flags = flags, .mode = 0644, .path = proto_str_of(path)}};
	int err = raw_call(r, PROTO_FILE_OPEN, 0, &b);

	if (!err)
		*handle = r->body.opened.handle;
	return err;
}

int raw_file_close(struct raw *r, uint64_t handle)
{
	union proto_body b = {.handle = {.handle = handle}};

	return raw_call(r, PROTO_FILE_CLOSE, 0, &b);
}

int raw_write(struct raw *r, uint64_t handle, const void *bytes, uint32_t len, uint64_t off)
{
	union proto_body b = {.file_write = {.handle = handle, .off = off, .data = {bytes, len}}};

	return raw_call(r, PROTO_FILE_WRITE, 0, &b);
}

int raw_truncate(struct raw *r, uint64_t handle, uint64_t size)
{
	union proto_body b = {.file_truncate = {.handle = handle, .size = size}};

	return raw_call(r, PROTO_FILE_TRUNCATE, 0, &b);
}

int raw_lease(struct raw *r, uint64_t handle, unsigned mode, uint64_t off, uint64_t len, uint64_t deadline_ns,
	      struct raw_event *out)
{
	union proto_body b = {
	    .lease_get = {.handle = handle, .range = {off, len}, .mode = mode, .deadline_ns = deadline_ns}};
	const struct proto_lease_granted *g = &r->body.lease_granted;
	struct raw_event e = {.type = PROTO_LEASE_GET};
	uint32_t cursor = 0;
	int err = raw_call(r, PROTO_LEASE_GET, 0, &b);

	if (err)
		return err;
	e.lease = g->lease;
	e.seq = g->seq;
	e.mode = g->mode;
	e.range = g->range;
	e.size = g->size;
	e.run_count = g->runs.count;
	proto_run_next(&g->runs, &cursor, &e.run);
	r->run_count = 0;
	add_runs(r, &g->runs);
	/* P41: the rest follows at once. */
	while (r->h.flags & PROTO_MORE) {
		assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
		assert_int_equal(r->h.type, PROTO_LAYOUT);
		assert_int_equal(r->body.layout.lease, e.lease);
		add_runs(r, &r->body.layout.runs);
	}
	if (out)
		*out = e;
	return 0;
}

int raw_release(struct raw *r, uint64_t lease, uint64_t off, uint64_t len)
{
	union proto_body b = {.lease_release = {.lease = lease, .seq = 1, .range = {off, len}}};

	return raw_call(r, PROTO_LEASE_RELEASE, 0, &b);
}

int raw_data(struct raw *r, const char *address, const uint8_t token[16], int *fd)
{
	union proto_body b = {
	    .data_hello = {.magic = PROTO_MAGIC, .version = PROTO_VERSION_MAX, .session = r->session}};
	struct raw *d = raw_new(address);
	int err;

	memcpy(b.data_hello.token, token, 16);
	err = raw_call(d, PROTO_DATA_HELLO, 0, &b);
	*fd = d->fd;
	if (err)
		close(d->fd);
	d->fd = -1;
	raw_close(d);
	return err;
}

/* --- the server --- */

void rig_start(struct rig *rig, uint64_t deadline_ns, const struct server_limits *limits, const char *address)
{
	struct lh_open_options open = {.size = sizeof(open), .deadline_ns = deadline_ns};
	struct lh_server_options serve = {.size = sizeof(serve)};
	int err;

	memset(rig, 0, sizeof(*rig));
	strcpy(rig->dir, "/tmp/lh-server-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	if (address)
		snprintf(rig->address, sizeof(rig->address), "%s", address);
	else
		snprintf(rig->address, sizeof(rig->address), "unix:%s/sock", rig->dir);
	err = local_open("mem:64M", &open, &rig->lhfs);
	assert_int_equal(err, 0);
	rig->fs = local_fs(rig->lhfs);
	err = server_start_limited(rig->lhfs, rig->address, &serve, limits ? limits : &server_limits_default,
				   &rig->server);
	assert_int_equal(err, 0);
	snprintf(rig->address, sizeof(rig->address), "%s", server_address(rig->server));
}

void rig_stop(struct rig *rig)
{
	if (rig->server)
		server_stop(rig->server);
	assert_int_equal(((struct lh_fs_head *)rig->lhfs)->be->fs_close(rig->lhfs), 0);
	/* The server removed its socket: the directory is empty. */
	assert_int_equal(rmdir(rig->dir), 0);
}

struct fs_handle *rig_open(struct rig *rig, const char *path, int flags)
{
	struct fs_handle *h = NULL;

	assert_int_equal(fs_open(rig->fs, &rig->root, path, flags, 0644, &h), 0);
	return h;
}

void rig_file(struct rig *rig, const char *path, uint64_t len, int fill)
{
	struct fs_handle *h = rig_open(rig, path, O_RDWR | O_CREAT);
	char *bytes = malloc(len + 1);

	memset(bytes, fill, len);
	assert_int_equal(fs_write(h, &rig->root, bytes, len, 0), (ssize_t)len);
	free(bytes);
	fs_close(h, NULL, 0);
}

void rig_wait_stats(struct rig *rig, uint64_t leases, uint64_t sessions)
{
	uint64_t until = clock_now_ns() + RAW_WAIT_NS;
	struct lease_stats st;

	do {
		lease_stats_read(fs_arbiter(rig->fs), &st);
		if (st.leases == leases && st.sessions == sessions)
			return;
		usleep(1000);
	} while (clock_now_ns() < until);
	fail_msg("%llu leases and %llu sessions are left, expected %llu and %llu", (unsigned long long)st.leases,
		 (unsigned long long)st.sessions, (unsigned long long)leases, (unsigned long long)sessions);
}
