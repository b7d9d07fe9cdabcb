/* SPDX-License-Identifier: BSD-2-Clause */
#include "fake.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_MS 10000

static void *fake_main(void *arg)
{
	struct fake *f = arg;

	f->script(f);
	/* The end of the script is the end of the server. */
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	return NULL;
}

void fake_start(struct fake *f, void (*script)(struct fake *f))
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	signal(SIGPIPE, SIG_IGN);
	memset(f, 0, sizeof(*f));
	f->fd = -1;
	f->features = PROTO_FEATURE_STREAM;
	f->script = script;
	f->in = malloc(PROTO_MESSAGE_MAX);
	assert_non_null(f->in);
	strcpy(f->dir, "/tmp/leasehold-fake-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", f->dir);
	snprintf(f->address, sizeof(f->address), "unix:%s", un.sun_path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(f->listener, 8), 0);
	assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

void fake_end(struct fake *f)
{
	pthread_join(f->thread, NULL);
	fake_join(f);
}

void fake_join(struct fake *f)
{
	close(f->listener);
	unlink(f->address + 5);
	rmdir(f->dir);
	if (f->domain)
		fabric_domain_free(f->domain);
	if (f->target)
		fabric_target_free(f->target);
	free(f->memory);
	free(f->in);
	if (f->failed)
		fail_msg("the script: %s", f->why);
}

struct lh_fs *fake_open(struct fake *f, enum lh_fabric fabric)
{
	struct lh_open_options o = {.size = sizeof(o), .fabric = fabric};
	struct lh_fs *fs = NULL;
	int err = lh_fs_open(f->address, &o, &fs);

	if (err)
		fail_msg("open: %s", lh_error_text());
	return fs;
}

void fake_wrong(struct fake *f, const char *fmt, ...)
{
	va_list ap;

	if (f->failed)
		return;
	f->failed = true;
	va_start(ap, fmt);
	vsnprintf(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
}

int fake_accept(struct fake *f)
{
	struct pollfd p = {.fd = f->listener, .events = POLLIN};

	if (poll(&p, 1, WAIT_MS) != 1) {
		fake_wrong(f, "nobody connects");
		return -1;
	}
	return accept(f->listener, NULL, NULL);
}

static bool receive(struct fake *f, int fd, uint8_t *buf, size_t len)
{
	while (len) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, WAIT_MS) != 1) {
			fake_wrong(f, "the client sends nothing");
			return false;
		}
		n = recv(fd, buf, len, 0);
		if (n <= 0)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

static bool next_from(struct fake *f, int fd)
{
	const char *rule;

	if (!receive(f, fd, f->in, PROTO_HEADER_SIZE))
		return false;
	rule = proto_header_decode(f->in, &f->h);
	if (!rule && !receive(f, fd, f->in + PROTO_HEADER_SIZE, f->h.length - PROTO_HEADER_SIZE))
		return false;
	if (!rule)
		rule = proto_body_decode(&f->h, f->in + PROTO_HEADER_SIZE, &f->body);
	if (rule)
		fake_wrong(f, "the client breaks %s", rule);
	return !rule;
}

bool fake_next(struct fake *f)
{
	return next_from(f, f->fd) && f->h.type != PROTO_GOODBYE;
}

bool fake_expect(struct fake *f, unsigned type)
{
	if (!fake_next(f)) {
		fake_wrong(f, "the client went instead of sending %s", proto_type_name(type));
		return false;
	}
	if (f->h.type != type)
		fake_wrong(f, "%s came instead of %s", proto_type_name(f->h.type), proto_type_name(type));
	return f->h.type == type;
}

void fake_drain(struct fake *f)
{
	if (fake_next(f))
		fake_wrong(f, "%s came instead of the end", proto_type_name(f->h.type));
}

static void send_all(struct fake *f, int fd, const void *bytes, size_t len)
{
	const char *p = bytes;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		p += n;
		len -= (size_t)n;
	}
}

static void send_to(struct fake *f, int fd, const struct proto_header *h, const union proto_body *body)
{
	uint8_t *out = malloc(PROTO_MESSAGE_MAX);
	ssize_t n = proto_encode(h, body, out, PROTO_MESSAGE_MAX);

	if (n < 0)
		fake_wrong(f, "cannot encode %s", proto_type_name(h->type));
	else
		send_all(f, fd, out, (size_t)n);
	free(out);
}

void fake_send(struct fake *f, const struct proto_header *h, const union proto_body *body)
{
	send_to(f, f->fd, h, body);
}

void fake_bytes(struct fake *f, const void *bytes, size_t len)
{
	send_all(f, f->fd, bytes, len);
}

void fake_greet(struct fake *f)
{
	union proto_body welcome = {.welcome = {.version = 1,
						.session = 3,
						.epoch = FAKE_EPOCH,
						.boot = FAKE_BOOT,
						.block_size = BLOCK,
						.message_max = PROTO_MESSAGE_MAX,
						.data_max = PROTO_DATA_MAX,
						.outstanding_max = 64,
						.handles_max = 100}};
	struct proto_header h = {.type = PROTO_HELLO, .flags = PROTO_REPLY, .seq = 1};

	f->fd = fake_accept(f);
	if (f->fd < 0 || !fake_expect(f, PROTO_HELLO))
		return;
	welcome.welcome.features = f->features & f->body.hello.features;
	fake_send(f, &h, &welcome);
}

void fake_reply_to(struct fake *f, struct proto_header h, const union proto_body *body, unsigned flags)
{
	struct proto_header out = {
	    .type = h.type, .flags = (uint16_t)(PROTO_REPLY | flags), .seq = h.seq, .epoch = FAKE_EPOCH};

	fake_send(f, &out, body);
}

void fake_reply(struct fake *f, const union proto_body *body)
{
	fake_reply_to(f, f->h, body, 0);
}

void fake_refuse(struct fake *f, int error, const char *text)
{
	struct proto_header out = {
	    .type = f->h.type, .flags = PROTO_REPLY, .seq = f->h.seq, .epoch = FAKE_EPOCH, .status = (uint32_t)error};
	union proto_body body = {.error = {.text = proto_str_of(text)}};

	fake_send(f, &out, &body);
}

void fake_event(struct fake *f, unsigned type, unsigned flags, const union proto_body *body)
{
	struct proto_header out = {.type = (uint16_t)type, .flags = (uint16_t)flags, .epoch = FAKE_EPOCH};

	fake_send(f, &out, body);
}

int fake_data(struct fake *f)
{
	struct proto_header h = {.type = PROTO_DATA_HELLO, .flags = PROTO_REPLY, .seq = 1};
	union proto_body empty = {0};
	int fd = fake_accept(f);

	if (fd < 0 || !next_from(f, fd) || f->h.type != PROTO_DATA_HELLO) {
		fake_wrong(f, "no DATA_HELLO");
		return fd;
	}
	send_to(f, fd, &h, &empty);
	return fd;
}

void fake_memory(struct fake *f, unsigned blocks)
{
	f->memory = aligned_alloc(BLOCK, (size_t)blocks * BLOCK);
	for (unsigned i = 0; i < blocks; i++)
		memset(f->memory + (size_t)i * BLOCK, (int)i + 1, BLOCK);
	if (fabric_target_new(NULL, &f->target) || fabric_domain_new(f->target, &f->domain))
		fake_wrong(f, "no fabric");
}

uint64_t fake_key(struct fake *f, uint64_t off, uint64_t len)
{
	struct fabric_key key = {0};

	if (fabric_expose(f->domain, f->memory + off, len, FABRIC_READ | FABRIC_WRITE, &key))
		fake_wrong(f, "cannot expose");
	return key.number;
}

void fake_kill_key(struct fake *f, uint64_t key)
{
	struct fabric_receipt receipt;

	if (fabric_revoke(f->domain, (struct fabric_key){key}, &receipt))
		fake_wrong(f, "the key was dead already");
}

void fake_opened(struct fake *f, uint64_t size)
{
	union proto_body body = {
	    .opened = {.handle = 5, .attr = {.ino = 9, .mode = 0100644, .nlink = 1, .size = size}}};

	if (fake_expect(f, PROTO_FILE_OPEN))
		fake_reply(f, &body);
}

void fake_granted(struct fake *f, uint64_t lease, uint32_t seq, uint64_t off, uint64_t len, uint64_t size,
		  const struct proto_run *runs, unsigned count)
{
	union proto_body body = {.lease_granted = {.lease = lease,
						   .seq = seq,
						   .mode = f->body.lease_get.mode,
						   .range = {off, len},
						   .size = size,
						   .runs = {.host = runs, .count = count}}};

	fake_reply(f, &body);
}

void fake_recall(struct fake *f, unsigned type, uint64_t lease, uint32_t seq, uint64_t off, uint64_t len, unsigned kind)
{
	union proto_body body = {.recall = {.lease = lease,
					    .seq = seq,
					    .mode = PROTO_READ,
					    .range = {off, len},
					    .kind = kind,
					    .left_ns = 1000000000,
					    .reason_text = proto_str_of("relocate")}};

	fake_event(f, type, 0, &body);
}

bool fake_released(struct fake *f, uint64_t lease, uint64_t off, uint64_t len)
{
	const struct proto_lease_release *r = &f->body.lease_release;
	union proto_body empty = {0};

	if (!fake_expect(f, PROTO_LEASE_RELEASE))
		return false;
	if (r->lease != lease || r->range.off != off || r->range.len != len)
		fake_wrong(f, "RELEASE of %llu [%llu +%llu] instead of %llu [%llu +%llu]", (unsigned long long)r->lease,
			   (unsigned long long)r->range.off, (unsigned long long)r->range.len,
			   (unsigned long long)lease, (unsigned long long)off, (unsigned long long)len);
	fake_reply(f, &empty);
	return !f->failed;
}
