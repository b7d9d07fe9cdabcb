/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L35, message by message: a client takes its EXCLUSIVE lease back from a server that restarted, and whatever the
 * application does meanwhile neither overtakes that nor meets the lease's own claim. The session has no data path, so
 * that an access by a call is a FILE_READ and cannot be taken for anything else.
 */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE       (8 * BLOCK)
#define EVERYTHING UINT64_MAX
#define LEASE_NS   30000000000ull /* no heartbeat comes in between */
#define LEFT_NS    30000000000ull
#define BEHIND_MS  200 /* what must not come had so long to come */
#define FIRST      7u  /* lease numbers */
#define BACK       8u
#define PIECE      9u
#define CONTENT    0x5au

static sem_t step;

static void greet(struct fake *f, uint64_t boot)
{
	union proto_body welcome = {.welcome = {.version = 1,
						.session = boot,
						.epoch = FAKE_EPOCH,
						.boot = boot,
						.block_size = BLOCK,
						.message_max = PROTO_MESSAGE_MAX,
						.data_max = PROTO_DATA_MAX,
						.outstanding_max = 64,
						.handles_max = 100,
						.session_timeout_ns = LEASE_NS}};
	struct proto_header h = {.type = PROTO_HELLO, .flags = PROTO_REPLY, .seq = 1};

	f->fd = fake_accept(f);
	if (f->fd >= 0 && fake_expect(f, PROTO_HELLO))
		fake_send(f, &h, &welcome);
}

/* The server dies and another one is there: no session to resume, and the file is opened anew. */
static bool restart(struct fake *f)
{
	union proto_body again = {
	    .opened = {.handle = 6, .attr = {.ino = 9, .mode = 0100644, .nlink = 1, .size = SIZE}}};
	union proto_body refusal = {.error = {.text = proto_str_of("P54 there is no such session")}};
	struct proto_header h = {.type = PROTO_RESUME, .flags = PROTO_REPLY, .seq = 1, .status = ESTALE};

	close(f->fd);
	f->fd = fake_accept(f);
	if (!fake_expect(f, PROTO_RESUME))
		return false;
	fake_send(f, &h, &refusal);
	close(f->fd);
	greet(f, FAKE_BOOT + 1);
	if (!fake_expect(f, PROTO_FILE_REOPEN))
		return false;
	fake_reply(f, &again);
	return true;
}

/* Of a LEASE_GET: EXCLUSIVE, over [off, +len), and asked as what it was before the restart, or not. */
static void check_get(struct fake *f, uint64_t off, uint64_t len, bool reclaim)
{
	const struct proto_lease_get *g = &f->body.lease_get;
	uint32_t want = PROTO_LEASE_EXCLUSIVE | (reclaim ? PROTO_LEASE_RECLAIM : 0);

	if (g->flags != want || g->range.off != off || g->range.len != len)
		fake_wrong(f, "LEASE_GET of [%llu, +%llu), flags %#x", (unsigned long long)g->range.off,
			   (unsigned long long)g->range.len, g->flags);
}

static void grant(struct fake *f, struct proto_header h, uint64_t number, uint64_t off, uint64_t len)
{
	struct proto_run runs[1] = {{.file_off = off, .len = len, .key = number << 8, .key_off = 0}};
	union proto_body body = {.lease_granted = {.lease = number,
						   .seq = 1,
						   .mode = PROTO_READ,
						   .flags = PROTO_LEASE_EXCLUSIVE,
						   .exclusive_left_ns = LEFT_NS,
						   .range = {off, len},
						   .size = SIZE,
						   .runs = {.host = runs, .count = 1}}};

	fake_reply_to(f, h, &body, 0);
}

static void answer_read(struct fake *f, struct proto_header h)
{
	static uint8_t bytes[BLOCK];
	union proto_body body = {.data = {.data = {.bytes = bytes, .len = sizeof(bytes)}}};

	memset(bytes, CONTENT, sizeof(bytes));
	fake_reply_to(f, h, &body, 0);
}

/* The lease that the test is about, as the first server gives it. */
static void begin(struct fake *f)
{
	greet(f, FAKE_BOOT);
	fake_opened(f, SIZE);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	check_get(f, 0, SIZE, false);
	grant(f, f->h, FIRST, 0, SIZE);
}

static void end(struct fake *f, uint64_t number)
{
	union proto_body empty = {0};

	if (!fake_released(f, number, 0, EVERYTHING))
		return;
	if (fake_expect(f, PROTO_FILE_CLOSE))
		fake_reply(f, &empty);
	fake_drain(f);
}

/* --- */

/* The taking back has been asked for and is not answered when the application reads. */
static void script_slow_reclaim(struct fake *f)
{
	struct proto_header get;
	struct pollfd p;

	begin(f);
	if (f->failed || !restart(f) || !fake_expect(f, PROTO_LEASE_GET))
		return;
	get = f->h;
	check_get(f, 0, SIZE, true);
	sem_post(&step);
	p = (struct pollfd){.fd = f->fd, .events = POLLIN};
	if (poll(&p, 1, BEHIND_MS) != 0 && fake_next(f))
		fake_wrong(f, "%s overtook the lease that was being taken back", proto_type_name(f->h.type));
	grant(f, get, BACK, 0, SIZE);
	if (fake_expect(f, PROTO_FILE_READ))
		answer_read(f, f->h);
	end(f, BACK);
}

/* A call was under way when the server died: it is answered first, and may not return first. */
static void script_read_under_way(struct fake *f)
{
	struct proto_header get = {0}, read = {0};

	begin(f);
	if (f->failed || !fake_expect(f, PROTO_FILE_READ) || !restart(f))
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (!fake_next(f))
			return fake_wrong(f, "the client went");
		if (f->h.type == PROTO_FILE_READ)
			read = f->h;
		else
			get = f->h;
	}
	if (read.type != PROTO_FILE_READ || get.type != PROTO_LEASE_GET)
		return fake_wrong(f, "%s instead of the LEASE_GET that takes back", proto_type_name(get.type));
	answer_read(f, read);
	usleep(BEHIND_MS * 1000);
	grant(f, get, BACK, 0, SIZE);
	end(f, BACK);
}

static struct lh_lease *get_exclusive(struct lh_file *file)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_EXCLUSIVE};
	struct lh_lease *lease = NULL;

	if (lh_lease_get(file, 0, SIZE, &o, &lease))
		fail_msg("lease: %s", lh_error_text());
	return lease;
}

static void is_exclusive(struct lh_lease *lease)
{
	struct lh_lease_state s = {.size = sizeof(s)};

	assert_int_equal(lh_lease_state(lease, &s), 0);
	assert_true(s.held);
	assert_true(s.flags & LH_LEASE_EXCLUSIVE);
	assert_true(s.exclusive_left_ns > 0);
}

static void read_block(struct lh_lease *lease)
{
	uint8_t buf[BLOCK];

	if (lh_lease_read(lease, buf, BLOCK, 0) != BLOCK)
		fail_msg("read: %s", lh_error_text());
	assert_int_equal(buf[0], CONTENT);
	assert_int_equal(buf[BLOCK - 1], CONTENT);
}

static struct lh_file *open_file(struct fake *f, void (*script)(struct fake *f), struct lh_fs **fs)
{
	struct lh_file *file = NULL;

	assert_int_equal(sem_init(&step, 0, 0), 0);
	fake_start(f, script);
	*fs = fake_open(f, LH_FABRIC_NONE);
	if (lh_file_open(*fs, "/f", O_RDWR, 0, &file))
		fail_msg("open: %s", lh_error_text());
	return file;
}

static void close_all(struct fake *f, struct lh_fs *fs, struct lh_file *file, struct lh_lease *lease)
{
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_file_close(file), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(f);
	sem_destroy(&step);
}

/* L35: an access waits for its lease, which is being taken back; it neither asks for it again nor goes around it. */
static void an_access_waits_for_its_lease(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_slow_reclaim, &fs);
	struct lh_lease *lease = get_exclusive(file);

	sem_wait(&step);
	read_block(lease);
	is_exclusive(lease);
	close_all(&f, fs, file, lease);
}

/* L35: whoever has read through an EXCLUSIVE lease after a restart holds it, however the bytes came. */
static void a_call_returns_after_its_lease(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_read_under_way, &fs);
	struct lh_lease *lease = get_exclusive(file);

	read_block(lease);
	is_exclusive(lease);
	close_all(&f, fs, file, lease);
}

/* --- */

/* A piece was being got again when the server died, which had granted it: now the claim of the piece denies it. */
static void script_own_claim(struct fake *f)
{
	bool refused = false, rest = false, piece = false, read = false;

	begin(f);
	if (f->failed)
		return;
	fake_recall(f, PROTO_RECALL, FIRST, 2, 0, BLOCK, PROTO_DRAIN);
	if (!fake_released(f, FIRST, 0, BLOCK))
		return;
	sem_post(&step);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	check_get(f, 0, BLOCK, false);
	if (f->failed || !restart(f))
		return;
	while (!(rest && read)) {
		if (!fake_next(f))
			return fake_wrong(f, "the client went");
		if (piece && f->h.type == PROTO_FILE_READ) {
			answer_read(f, f->h);
			read = true;
		} else if (f->h.type != PROTO_LEASE_GET) {
			return fake_wrong(f, "%s came instead of LEASE_GET", proto_type_name(f->h.type));
		} else if (f->body.lease_get.range.len == SIZE) {
			check_get(f, 0, SIZE, true);
			/* What it lost is not its to take back as a whole. */
			fake_refuse(f, ESTALE, "this client held no such EXCLUSIVE lease");
			rest = true;
		} else if (!refused) {
			check_get(f, 0, BLOCK, false);
			fake_refuse(f, ETXTBSY, "an EXCLUSIVE lease of nobody denies it");
			refused = true;
		} else {
			check_get(f, 0, BLOCK, true);
			grant(f, f->h, PIECE, 0, BLOCK);
			piece = true;
		}
	}
	end(f, PIECE);
}

/* L35: what was asked for before the restart does not fail by the claim that it left. */
static void its_own_claim_is_nobody_else(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_own_claim, &fs);
	struct lh_lease *lease = get_exclusive(file);
	struct lh_lease_state s = {.size = sizeof(s)};

	sem_wait(&step);
	read_block(lease);
	assert_int_equal(lh_lease_state(lease, &s), 0);
	assert_true(s.exclusive_left_ns > 0);
	close_all(&f, fs, file, lease);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_access_waits_for_its_lease),
	    cmocka_unit_test(a_call_returns_after_its_lease),
	    cmocka_unit_test(its_own_claim_is_nobody_else),
	};

	return cmocka_run_group_tests_name("taking an EXCLUSIVE lease back", tests, NULL, NULL);
}
