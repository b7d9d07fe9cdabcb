/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: the client's side of leases as protocol 5 says it, message by message (L4, L5, L11, L15, L16, L29, P40-P49). */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVERYTHING UINT64_MAX
#define SIZE       (8 * BLOCK)

/* Steps of a script that wait for the test, and the other way round. */
static atomic_int step;

static void step_set(int to)
{
	atomic_store(&step, to);
}

static void step_wait(int for_it)
{
	for (unsigned i = 0; i < 10000 && atomic_load(&step) < for_it; i++)
		usleep(1000);
}

/* Greets, attaches a data path, exposes 8 blocks, answers the open. */
static void begin(struct fake *f)
{
	struct fabric_path *path;

	fake_memory(f, 8);
	fake_greet(f);
	if (fabric_stream_attach(f->domain, fake_data(f), &path))
		fake_wrong(f, "cannot attach");
	fake_opened(f, SIZE);
}

/* RELEASE of the lease (if there is one), FILE_CLOSE, the end. */
static void end(struct fake *f, uint64_t lease)
{
	union proto_body empty = {0};

	if (lease && !fake_released(f, lease, 0, EVERYTHING))
		return;
	if (fake_expect(f, PROTO_FILE_CLOSE))
		fake_reply(f, &empty);
	fake_drain(f);
}

static void answer_stat(struct fake *f, uint64_t size)
{
	union proto_body attr = {.attr = {.ino = 9, .mode = 0100644, .nlink = 1, .size = size}};

	if (fake_expect(f, PROTO_FILE_STAT))
		fake_reply(f, &attr);
}

static struct proto_run run(uint64_t off, uint64_t len, uint64_t key, uint64_t key_off)
{
	return (struct proto_run){.file_off = off, .len = len, .key = key, .key_off = key_off};
}

static struct lh_file *open_file(struct fake *f, void (*script)(struct fake *f), struct lh_fs **fs)
{
	struct lh_file *file = NULL;

	step_set(0);
	fake_start(f, script);
	*fs = fake_open(f, LH_FABRIC_STREAM);
	if (lh_file_open(*fs, "/f", O_RDWR, 0, &file))
		fail_msg("open: %s", lh_error_text());
	return file;
}

static struct lh_lease *get(struct lh_file *file, uint64_t len, uint32_t flags)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = flags};
	struct lh_lease *lease = NULL;

	if (lh_lease_get(file, 0, len, &o, &lease))
		fail_msg("lease: %s", lh_error_text());
	return lease;
}

static void close_all(struct fake *f, struct lh_fs *fs, struct lh_file *file)
{
	if (lh_file_close(file))
		fail_msg("close: %s", lh_error_text());
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(f);
}

/* The block must be the one that fake_memory put at `number`. */
static void read_block(struct lh_lease *lease, uint64_t off, unsigned number)
{
	uint8_t buf[BLOCK];
	ssize_t n = lh_lease_read(lease, buf, BLOCK, off);

	if (n != BLOCK)
		fail_msg("read at %llu: %zd: %s", (unsigned long long)off, n, lh_error_text());
	for (unsigned i = 0; i < BLOCK; i++)
		assert_int_equal(buf[i], number + 1);
}

static struct lh_lease_state state_of(struct lh_lease *lease)
{
	struct lh_lease_state s = {.size = sizeof(s)};

	assert_int_equal(lh_lease_state(lease, &s), 0);
	return s;
}

/* --- L11 --- */

static void script_crossing(struct fake *f)
{
	union proto_body empty = {0};
	struct proto_header get_header, release;
	struct proto_run runs[1];

	begin(f);
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	get_header = f->h;
	fake_recall(f, PROTO_RECALL, 7, 2, 0, SIZE, PROTO_DRAIN);
	/* Step 3: the client does not know 7, and releases all of it at once. */
	if (!fake_expect(f, PROTO_LEASE_RELEASE) || f->body.lease_release.lease != 7 ||
	    f->body.lease_release.seq != 2 || f->body.lease_release.range.len != EVERYTHING) {
		fake_wrong(f, "no RELEASE of all of 7");
		return;
	}
	release = f->h;
	f->h = get_header;
	f->body.lease_get.mode = PROTO_READ;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_reply_to(f, release, &empty, 0);
	/* Step 7: asks anew. */
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 8, 1, 0, SIZE, SIZE, runs, 1);
	end(f, 8);
}

/* L11, P48: a recall that crosses its grant: the grant is forgotten, and the lease asked for again. */
static void a_recall_crosses_a_grant(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_crossing, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);

	assert_int_equal(state_of(lease).number, 8);
	read_block(lease, 0, 0);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

static void script_revoked_crossing(struct fake *f)
{
	struct proto_run runs[1];

	begin(f);
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_recall(f, PROTO_REVOKED, 7, 2, 0, BLOCK, PROTO_STOP);
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	/* For what the partial revocation left. */
	if (!fake_released(f, 7, 0, EVERYTHING) || !fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 8, 1, 0, SIZE, SIZE, runs, 1);
	end(f, 8);
}

/* P48: the same with REVOKED: the client releases what may be left once it knows the grant. */
static void a_revocation_crosses_a_grant(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_revoked_crossing, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);

	assert_int_equal(state_of(lease).number, 8);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

static void script_unknown(struct fake *f)
{
	begin(f);
	fake_recall(f, PROTO_RECALL, 99, 4, BLOCK, BLOCK, PROTO_STOP);
	if (!fake_released(f, 99, 0, EVERYTHING))
		return;
	end(f, 0);
}

/* L11, P48: a recall of a lease that the client does not hold is answered with its release. */
static void an_unknown_lease_is_released(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_unknown, &fs);

	usleep(50000);
	close_all(&f, fs, file);
}

/* --- recalls --- */

static void script_partial(struct fake *f)
{
	struct proto_run runs[1];

	begin(f);
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_recall(f, PROTO_RECALL, 7, 2, BLOCK, BLOCK, PROTO_DRAIN);
	if (!fake_released(f, 7, BLOCK, BLOCK) || f->body.lease_release.seq != 2)
		fake_wrong(f, "seq %u", f->body.lease_release.seq);
	step_set(1);
	/* P49, L15: the missing block comes back, as a lease of its own and elsewhere. */
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	if (f->body.lease_get.range.off != BLOCK || f->body.lease_get.range.len != BLOCK)
		fake_wrong(f, "asked for more than what is missing");
	runs[0] = run(BLOCK, BLOCK, fake_key(f, 5 * BLOCK, BLOCK), 0);
	fake_granted(f, 8, 1, BLOCK, BLOCK, SIZE, runs, 1);
	/* Both numbers go with the lease. */
	if (!fake_released(f, 7, 0, EVERYTHING))
		return;
	end(f, 8);
}

/* L4, P45, P47: only the recalled range goes, the rest needs no message; the next access faults just that. */
static void a_partial_recall_keeps_the_rest(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_partial, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);

	step_wait(1);
	read_block(lease, 0, 0);
	read_block(lease, 2 * BLOCK, 2);
	read_block(lease, 7 * BLOCK, 7);
	assert_int_equal(state_of(lease).faults, 0);
	assert_int_equal(state_of(lease).recalls, 1);
	assert_false(state_of(lease).held);
	read_block(lease, BLOCK, 5);
	assert_int_equal(state_of(lease).faults, 1);
	assert_true(state_of(lease).held);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

/* Reads a request of the stream (part 2), or fails. */
static bool stream_request(struct fake *f, int fd, uint8_t request[32])
{
	if (recv(fd, request, 32, MSG_WAITALL) != 32)
		fake_wrong(f, "no request on the data path");
	return !f->failed;
}

static void stream_answer(int fd, const uint8_t request[32], uint8_t fill)
{
	uint8_t answer[16 + BLOCK + 8] = {0x4c, 0x46, 0x81, 0};

	memcpy(answer + 4, request + 4, 4);
	answer[9] = BLOCK >> 8;
	memset(answer + 16, fill, BLOCK);
	answer[16 + BLOCK] = 0x4c;
	answer[16 + BLOCK + 1] = 0x46;
	answer[16 + BLOCK + 2] = 0x83;
	memcpy(answer + 16 + BLOCK + 4, request + 4, 4);
	if (send(fd, answer, sizeof(answer), MSG_NOSIGNAL) < 0)
		return;
}

static void script_in_flight(struct fake *f)
{
	union proto_body empty = {0};
	struct proto_run runs[1] = {run(0, SIZE, 1234, 0)};
	struct pollfd p;
	uint8_t request[32];
	int fd;

	fake_greet(f);
	fd = fake_data(f);
	fake_opened(f, SIZE);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	if (!stream_request(f, fd, request))
		return;
	fake_recall(f, PROTO_RECALL, 7, 2, 0, BLOCK, PROTO_DRAIN);
	fake_recall(f, PROTO_RECALL, 7, 3, 4 * BLOCK, BLOCK, PROTO_DRAIN);
	/* Nothing flies over the second one: it goes at once. The first waits, and holds up nothing else. */
	if (!fake_released(f, 7, 4 * BLOCK, BLOCK))
		return;
	step_set(1);
	if (fake_expect(f, PROTO_FS_SYNC))
		fake_reply(f, &empty);
	p = (struct pollfd){.fd = f->fd, .events = POLLIN};
	if (poll(&p, 1, 50) != 0)
		fake_wrong(f, "a message before the operation had ended");
	stream_answer(fd, request, 42);
	if (!fake_released(f, 7, 0, BLOCK))
		return;
	end(f, 7);
	close(fd);
}

static void *read_thread(void *arg)
{
	uint8_t buf[BLOCK];
	ssize_t n = lh_lease_read(arg, buf, BLOCK, 0);

	return (void *)(intptr_t)(n == BLOCK && buf[0] == 42 && buf[BLOCK - 1] == 42);
}

/* P45, P47: a recalled range is released when nothing is in flight on it any more; others meanwhile go on. */
static void a_recall_waits_for_what_is_in_flight(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_in_flight, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);
	pthread_t thread;
	void *good;

	assert_int_equal(pthread_create(&thread, NULL, read_thread, lease), 0);
	step_wait(1);
	assert_int_equal(lh_fs_sync(fs), 0);
	pthread_join(thread, &good);
	assert_true((intptr_t)good);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

static void script_whole(struct fake *f)
{
	struct proto_run runs[1];

	begin(f);
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_recall(f, PROTO_RECALL, 7, 2, 0, SIZE, PROTO_STOP);
	if (!fake_released(f, 7, 0, EVERYTHING))
		return;
	step_set(1);
	/* Cut to 100 bytes meanwhile. */
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	runs[0] = run(0, BLOCK, fake_key(f, 0, BLOCK), 0);
	fake_granted(f, 8, 1, 0, BLOCK, 100, runs, 1);
	/* The end is looked at again, in case that the file has grown. */
	answer_stat(f, 100);
	end(f, 8);
}

/* L15: after a cut the next access shows what pread would. */
static void a_cut_is_seen_as_pread_would(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_whole, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);
	uint8_t buf[SIZE];

	step_wait(1);
	assert_int_equal(lh_lease_read(lease, buf, 50, 0), 50);
	assert_int_equal(lh_lease_read(lease, buf, SIZE, 0), 100);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

/* --- LAYOUT --- */

static void script_layout(struct fake *f)
{
	union proto_body layout, empty = {0};
	struct proto_header call;
	struct proto_run runs[1];
	uint64_t old;

	begin(f);
	old = fake_key(f, 0, SIZE);
	runs[0] = run(0, SIZE, old, 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	if (!fake_expect(f, PROTO_FILE_RELOCATE))
		return;
	call = f->h;
	fake_kill_key(f, old);
	runs[0] = run(0, 4 * BLOCK, fake_key(f, 4 * BLOCK, 4 * BLOCK), 0);
	layout = (union proto_body){
	    .layout = {.lease = 7, .seq = 2, .range = {0, SIZE}, .runs = {.host = runs, .count = 1}}};
	fake_event(f, PROTO_LAYOUT, PROTO_MORE, &layout);
	runs[0] = run(4 * BLOCK, 4 * BLOCK, fake_key(f, 0, 4 * BLOCK), 0);
	layout.layout.range = (struct proto_range){4 * BLOCK, 4 * BLOCK};
	fake_event(f, PROTO_LAYOUT, 0, &layout);
	fake_reply_to(f, call, &empty, 0);
	answer_stat(f, SIZE);
	end(f, 7);
}

/* L5, P42, P43: the keys are swapped before the session's own call returns; no fault follows. */
static void a_layout_swaps_the_keys(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_layout, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);

	read_block(lease, 0, 0);
	assert_int_equal(lh_file_relocate(file, 0, SIZE), 0);
	read_block(lease, 0, 4);
	read_block(lease, 3 * BLOCK, 7);
	read_block(lease, 4 * BLOCK, 0);
	assert_int_equal(state_of(lease).faults, 0);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

static void script_parts(struct fake *f)
{
	union proto_body layout, grant;
	struct proto_run runs[1];

	begin(f);
	runs[0] = run(0, BLOCK, fake_key(f, 0, BLOCK), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	grant = (union proto_body){.lease_granted = {.lease = 7,
						     .seq = 1,
						     .mode = PROTO_READ,
						     .range = {0, SIZE},
						     .size = SIZE,
						     .runs = {.host = runs, .count = 1}}};
	fake_reply_to(f, f->h, &grant, PROTO_MORE);
	usleep(20000);
	runs[0] = run(BLOCK, BLOCK, 0, 0);
	layout = (union proto_body){
	    .layout = {.lease = 7, .seq = 1, .range = {BLOCK, BLOCK}, .runs = {.host = runs, .count = 1}}};
	fake_event(f, PROTO_LAYOUT, PROTO_MORE, &layout);
	usleep(20000);
	runs[0] = run(2 * BLOCK, 6 * BLOCK, fake_key(f, 0, 6 * BLOCK), 0);
	layout.layout.range = (struct proto_range){2 * BLOCK, 6 * BLOCK};
	fake_event(f, PROTO_LAYOUT, 0, &layout);
	/* Before it believes in the hole. */
	if (fake_expect(f, PROTO_PING))
		fake_reply(f, &(union proto_body){0});
	end(f, 7);
}

/* P41: a grant in parts is complete with the last one; P40: a hole reads as zeroes, after an answer. */
static void a_grant_comes_in_parts(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_parts, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);
	uint8_t buf[3 * BLOCK];

	assert_int_equal(lh_lease_read(lease, buf, 3 * BLOCK, 0), 3 * BLOCK);
	assert_int_equal(buf[0], 1);
	for (unsigned i = BLOCK; i < 2 * BLOCK; i++)
		assert_int_equal(buf[i], 0);
	assert_int_equal(buf[2 * BLOCK], 1);
	assert_int_equal(state_of(lease).faults, 0);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

static void script_bad_runs(struct fake *f)
{
	struct proto_run runs[2] = {run(BLOCK, BLOCK, 1, 0), run(0, BLOCK, 2, 0)};

	begin(f);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 2);
	fake_drain(f);
}

static void script_wrapping_runs(struct fake *f)
{
	struct proto_run runs[1] = {run(0, BLOCK, 1, UINT64_MAX - 5)};

	begin(f);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_drain(f);
}

static void script_outside_runs(struct fake *f)
{
	struct proto_run runs[1] = {run(SIZE, BLOCK, 1, 0)};

	begin(f);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_drain(f);
}

/* P40, I8: runs that are not ascending inside the range, or wrap, end the session. */
static void runs_are_checked(void **state)
{
	static void (*const scripts[])(struct fake * f) = {script_bad_runs, script_wrapping_runs, script_outside_runs};
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ};

	for (unsigned i = 0; i < 3; i++) {
		struct lh_lease *lease;
		struct fake f;
		struct lh_fs *fs;
		struct lh_file *file = open_file(&f, scripts[i], &fs);

		assert_int_equal(lh_lease_get(file, 0, SIZE, &o, &lease), -EPROTO);
		assert_non_null(strstr(lh_error_text(), "P40"));
		lh_file_close(file);
		assert_int_equal(lh_fs_close(fs), 0);
		fake_end(&f);
	}
}

/* --- keys that die, paths that break --- */

static void script_stale(struct fake *f)
{
	struct proto_run runs[1];
	uint64_t old;

	begin(f);
	old = fake_key(f, 0, SIZE);
	runs[0] = run(0, SIZE, old, 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_kill_key(f, old);
	step_set(1);
	/* No notice comes at all. The client asks for what it needs by itself. */
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	fake_granted(f, 8, 1, 0, SIZE, SIZE, runs, 1);
	/* Nothing is left of 7. */
	if (!fake_released(f, 7, 0, EVERYTHING))
		return;
	end(f, 8);
}

/* P44: a dead key is no error of the application, even without the notice. */
static void a_dead_key_heals(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_stale, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);
	uint8_t buf[SIZE];

	step_wait(1);
	assert_int_equal(lh_lease_read(lease, buf, SIZE, 0), SIZE);
	assert_int_equal(buf[7 * BLOCK], 8);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

static void script_calls_only(struct fake *f)
{
	static uint8_t bytes[BLOCK];
	union proto_body data = {.data = {.data = {.bytes = bytes, .len = BLOCK}}};
	struct proto_run runs[1];
	uint64_t old;

	memset(bytes, 99, sizeof(bytes));
	begin(f);
	old = fake_key(f, 0, SIZE);
	runs[0] = run(0, SIZE, old, 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_recall(f, PROTO_RECALL, 7, 2, 0, SIZE, PROTO_DRAIN);
	if (!fake_released(f, 7, 0, EVERYTHING))
		return;
	step_set(1);
	for (unsigned i = 0; i < 2; i++) {
		if (!fake_expect(f, PROTO_LEASE_GET))
			return;
		fake_refuse(f, EDQUOT, "too many leases");
	}
	if (fake_expect(f, PROTO_FILE_READ))
		fake_reply(f, &data);
	end(f, 0);
}

/* Decision 8: a lease that cannot be had again is no error; the bytes come by a call. */
static void without_a_lease_there_are_calls(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_calls_only, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);

	step_wait(1);
	read_block(lease, 0, 98);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

static void script_path_lost(struct fake *f)
{
	struct fabric_path *first, *second;
	struct proto_run runs[1];

	fake_memory(f, 8);
	fake_greet(f);
	if (fabric_stream_attach(f->domain, fake_data(f), &first))
		fake_wrong(f, "cannot attach");
	fake_opened(f, SIZE);
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	step_wait(1);
	fabric_path_close(first);
	step_set(2);
	if (fabric_stream_attach(f->domain, fake_data(f), &second))
		fake_wrong(f, "cannot attach");
	end(f, 7);
}

/* L16: a lost data path is rebuilt without the application noticing; lease and key are the same. */
static void a_lost_path_is_rebuilt(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_path_lost, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);

	read_block(lease, 0, 0);
	step_set(1);
	step_wait(2);
	for (unsigned i = 0; i < 8; i++)
		read_block(lease, i * BLOCK, i);
	assert_int_equal(state_of(lease).faults, 0);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

/* --- MANUAL --- */

static void script_manual(struct fake *f)
{
	struct proto_run runs[1];
	uint64_t key;

	begin(f);
	key = fake_key(f, 0, SIZE);
	runs[0] = run(0, SIZE, key, 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_recall(f, PROTO_RECALL, 7, 2, BLOCK, BLOCK, PROTO_STOP);
	step_wait(1);
	fake_kill_key(f, key);
	fake_recall(f, PROTO_REVOKED, 7, 3, 0, SIZE, PROTO_STOP);
	/* Nothing is known to be left of it. */
	if (!fake_released(f, 7, 0, EVERYTHING))
		return;
	answer_stat(f, SIZE);
	end(f, 0);
}

static struct lh_event next_event(struct lh_fs *fs)
{
	struct pollfd p = {.fd = lh_event_fd(fs), .events = POLLIN};
	struct lh_event e = {.size = sizeof(e)};

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(lh_event_next(fs, &e), 1);
	return e;
}

/* P45, P46: the holder of a MANUAL lease hears of recalls by the descriptor, and nothing is released for it. */
static void a_manual_lease_has_events(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_manual, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_event e = next_event(fs);
	struct pollfd p = {.fd = lh_event_fd(fs), .events = POLLIN};
	uint8_t byte;

	assert_int_equal(e.type, LH_EVENT_RECALL);
	assert_ptr_equal(e.lease, lease);
	assert_int_equal(e.off, BLOCK);
	assert_int_equal(e.len, BLOCK);
	assert_true(e.stop);
	assert_true(e.deadline_left_ns > 0 && e.deadline_left_ns <= 1000000000);
	assert_string_equal(e.reason, "relocate");
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(lh_event_next(fs, &e), 0);
	step_set(1);
	e = next_event(fs);
	assert_int_equal(e.type, LH_EVENT_REVOKED);
	assert_int_equal(lh_lease_read(lease, &byte, 1, BLOCK), -ESTALE);
	assert_int_equal(state_of(lease).revocations, 1);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

/* --- a LAYOUT that crosses a RELEASE --- */

static void script_layout_crosses_release(struct fake *f)
{
	struct proto_run runs[1];
	union proto_body layout;

	begin(f);
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	fake_recall(f, PROTO_RECALL, 7, 2, BLOCK, BLOCK, PROTO_DRAIN);
	/* Said before the release was heard: where the bytes are, also those that are given back by now. */
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	layout = (union proto_body){
	    .layout = {.lease = 7, .seq = 3, .range = {0, SIZE}, .runs = {.host = runs, .count = 1}}};
	fake_event(f, PROTO_LAYOUT, 0, &layout);
	if (!fake_released(f, 7, BLOCK, BLOCK))
		return;
	step_set(1);
	answer_stat(f, SIZE); /* the change behind the LAYOUT may have cut the file */
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	if (f->body.lease_get.range.off != BLOCK || f->body.lease_get.range.len != BLOCK)
		fake_wrong(f, "more is asked for than was given back");
	runs[0] = run(BLOCK, BLOCK, fake_key(f, 5 * BLOCK, BLOCK), 0);
	fake_granted(f, 8, 1, BLOCK, BLOCK, SIZE, runs, 1);
	if (fake_released(f, 7, 0, EVERYTHING))
		end(f, 8);
}

/* P47: what was given back is not used again, whatever a LAYOUT says that crossed the RELEASE. */
static void a_layout_gives_nothing_back(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_layout_crosses_release, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);

	step_wait(1);
	read_block(lease, 0, 0);
	read_block(lease, BLOCK, 5);
	read_block(lease, 2 * BLOCK, 2);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
}

/* --- commit --- */

static void script_commit(struct fake *f)
{
	union proto_body same = {.committed = {.boot = FAKE_BOOT, .size = SIZE}};
	union proto_body other = {.committed = {.boot = FAKE_BOOT + 1, .size = SIZE}};
	struct proto_run runs[1];

	begin(f);
	runs[0] = run(0, SIZE, fake_key(f, 0, SIZE), 0);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	/* Exactly what was written (L28), near pieces in one message. */
	if (fake_expect(f, PROTO_LEASE_COMMIT) && f->body.file_range.range.off == BLOCK &&
	    f->body.file_range.range.len == BLOCK)
		fake_reply(f, &same);
	if (fake_expect(f, PROTO_LEASE_COMMIT) && f->body.file_range.range.off == 3 * BLOCK + 7 &&
	    f->body.file_range.range.len == 2 * BLOCK + 1)
		fake_reply(f, &other);
	end(f, 7);
}

/* L28, L29: a commit asks for what was written; a boot verifier that changed since is a loss, told once, with its
 * ranges. */
static void a_changed_verifier_is_a_loss(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_commit, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_WRITE);
	uint8_t buf[BLOCK] = {1};
	struct lh_range lost;

	assert_int_equal(lh_lease_write(lease, buf, BLOCK, BLOCK), BLOCK);
	assert_int_equal(lh_lease_commit(lease, 0, SIZE), 0);
	/* What is committed is not committed again, and cannot be lost. */
	assert_int_equal(lh_lease_commit(lease, 0, SIZE), 0);
	assert_int_equal(lh_file_lost(file, NULL, 0), 0);
	assert_int_equal(lh_lease_write(lease, buf, 100, 3 * BLOCK + 7), 100);
	assert_int_equal(lh_lease_write(lease, buf, 100, 3 * BLOCK + 107), 100);
	assert_int_equal(lh_lease_write(lease, buf, 8, 5 * BLOCK), 8);
	assert_int_equal(lh_lease_commit(lease, 0, SIZE), -EIO);
	assert_non_null(strstr(lh_error_text(), "200 bytes at 12295"));
	assert_int_equal(lh_lease_commit(lease, 0, SIZE), 0);
	assert_int_equal(lh_file_lost(file, &lost, 1), 2);
	assert_int_equal(lost.off, 3 * BLOCK + 7);
	assert_int_equal(lost.len, 200);
	assert_int_equal(lh_file_lost(file, &lost, 1), 1);
	assert_int_equal(lost.off, 5 * BLOCK);
	assert_int_equal(lost.len, 8);
	assert_int_equal(lh_file_lost(file, &lost, 1), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	close_all(&f, fs, file);
	assert_int_equal(atomic_load(&step), 0);
}

/* --- the end in the middle --- */

static void script_gone_mid_transfer(struct fake *f)
{
	struct proto_run runs[1] = {run(0, SIZE, 1234, 0)};
	uint8_t request[32];
	int fd;

	fake_greet(f);
	fd = fake_data(f);
	fake_opened(f, SIZE);
	if (!fake_expect(f, PROTO_LEASE_GET))
		return;
	fake_granted(f, 7, 1, 0, SIZE, SIZE, runs, 1);
	stream_request(f, fd, request);
	/* The control connection goes; the data path stays open and silent. */
	close(f->fd);
	f->fd = -1;
	step_wait(1);
	close(fd);
}

/* A server that is gone while an operation is in flight, its data path still there: -ENOTCONN, not a hang. */
static void a_server_goes_mid_transfer(void **state)
{
	struct fake f;
	struct lh_fs *fs;
	struct lh_file *file = open_file(&f, script_gone_mid_transfer, &fs);
	struct lh_lease *lease = get(file, SIZE, LH_LEASE_READ);
	uint8_t buf[BLOCK];

	assert_int_equal(lh_lease_read(lease, buf, BLOCK, 0), -ENOTCONN);
	assert_true(strlen(lh_error_text()) > 10);
	step_set(1);
	assert_int_equal(lh_lease_release(lease), -ENOTCONN);
	assert_int_equal(lh_file_close(file), -ENOTCONN);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_recall_crosses_a_grant),
	    cmocka_unit_test(a_revocation_crosses_a_grant),
	    cmocka_unit_test(an_unknown_lease_is_released),
	    cmocka_unit_test(a_partial_recall_keeps_the_rest),
	    cmocka_unit_test(a_recall_waits_for_what_is_in_flight),
	    cmocka_unit_test(a_cut_is_seen_as_pread_would),
	    cmocka_unit_test(a_layout_swaps_the_keys),
	    cmocka_unit_test(a_grant_comes_in_parts),
	    cmocka_unit_test(runs_are_checked),
	    cmocka_unit_test(a_dead_key_heals),
	    cmocka_unit_test(without_a_lease_there_are_calls),
	    cmocka_unit_test(a_lost_path_is_rebuilt),
	    cmocka_unit_test(a_manual_lease_has_events),
	    cmocka_unit_test(a_layout_gives_nothing_back),
	    cmocka_unit_test(a_changed_verifier_is_a_loss),
	    cmocka_unit_test(a_server_goes_mid_transfer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
