/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conformance, L12 to L16: what is true after a break. Freed blocks are given to a *victim* at once, a file full of
 * stamps: whoever still reaches them reads the victim's stamps or spoils them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SIZE    (256 * CF_KIB)
#define VICTIM  (4 * CF_MIB)
#define STALL   (16 * CF_MIB) /* more than sockets hold */
#define WORK_NS (10 * NS_PER_MS)
#define SOCKETS 64

/* A file over what has just been freed; removed by the caller. */
static struct lh_file *victim_make(struct cf *c, uint64_t size, struct cf_made *made)
{
	return cf_make(c, c->b, size, made);
}

static void victim_check(struct cf *c, struct lh_file *victim, const struct cf_made *made)
{
	cf_same(c, victim, 0, made->size, made->owner);
	cf_close(c, victim);
	OK(c, lh_path_unlink(c->b, made->path));
}

/* --- L12 --- */

enum freeing { MOVE, CUT, PUNCH, UNLINK, CLOSE, RELEASE, FREEINGS };

static void lose_blocks(struct cf *c, enum freeing how, struct lh_file *f, struct lh_file *held, struct lh_lease *lease,
			const struct cf_made *made)
{
	switch (how) {
	case MOVE:
		OK(c, lh_file_relocate(f, 0, SIZE));
		break;
	case CUT:
		OK(c, lh_file_truncate(f, 0));
		break;
	case PUNCH:
		OK(c, lh_file_punch(f, 0, SIZE));
		break;
	case RELEASE:
		cf_release(c, lease);
		OK(c, lh_file_truncate(f, 0));
		break;
	case CLOSE:
	case UNLINK:
	case FREEINGS:
		OK(c, lh_path_unlink(c->b, made->path));
		cf_close(c, held);
		cf_close(c, f);
		break;
	}
}

/* Every way to lose blocks, then the keys of them, against the file that has them now. */
static void dead_keys_reach_nothing(struct cf *c)
{
	static uint8_t buf[64 * CF_KIB];
	unsigned rounds = cf_scaled(c, 24, FREEINGS), tries = 0;

	for (unsigned i = 0; i < rounds; i++) {
		bool writing = i / FREEINGS % 2;
		struct cf_made made, vm;
		struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR), *victim;
		struct lh_lease *lease = cf_lease_within(
		    c, held, 0, SIZE, LH_LEASE_MANUAL | (writing ? LH_LEASE_WRITE : LH_LEASE_READ), 5 * NS_PER_MS);
		struct lh_lease_extent keys[16];
		int n = (int)OK(c, lh_lease_extents(lease, keys, 16));
		bool moved_only = i % FREEINGS == MOVE;

		lose_blocks(c, (enum freeing)(i % FREEINGS), f, held, lease, &made);
		victim = victim_make(c, VICTIM, &vm);
		/* A faulting key follows the file: it may read the file's bytes, and nobody else's. */
		for (int k = 0; k < n && !(c->variant.faulting && moved_only); k++) {
			ssize_t got;

			memset(buf, 0xbd, sizeof(buf));
			got = writing ? lh_raw_write(c->a, keys[k].key, keys[k].key_off, buf, sizeof(buf))
				      : lh_raw_read(c->a, keys[k].key, keys[k].key_off, buf, sizeof(buf));
			tries++;
			if (!c->variant.faulting)
				NEED(c, got == -ESTALE, "an old key was answered with %zd", got);
			if (got > 0 && !writing) {
				NEED(c, cf_cells_of(buf, (size_t)got, vm.owner) == 0, "foreign bytes were read");
			}
		}
		victim_check(c, victim, &vm);
	}
	cf_saw(c,
	       "move, cut, punch, unlink, close, release: %u uses of dead keys refused, the new owner's bytes unharmed",
	       tries);
}

/* Good manners on the control connection, bad ones on the data path. */
static void a_liar_harms_nobody(struct cf *c)
{
	unsigned rounds = cf_scaled(c, 8, 3);
	uint64_t refused = 0;

	for (unsigned i = 0; i < rounds; i++) {
		struct cf_made made, vm;
		struct lh_file *f = cf_make(c, c->b, SIZE, &made), *victim;
		struct cf_child *h = cf_child_new(c, CF_RAW, &made);

		h->board->flags |= LH_LEASE_WRITE | LH_LEASE_MANUAL;
		h->board->flags &= ~LH_LEASE_READ;
		h->board->deadline_ns = CF_DEADLINE;
		cf_child_start(c, h);
		cf_child_rounds(c, h, 5);
		OK(c, lh_file_truncate(f, 0));
		/* From here on not a byte may change. */
		victim = victim_make(c, VICTIM, &vm);
		cf_fill(c, f, 0, SIZE, made.owner, 2);
		cf_sleep(20 * NS_PER_MS);
		cf_same(c, f, 0, SIZE, made.owner);
		victim_check(c, victim, &vm);
		refused += atomic_load(&h->board->refused);
		cf_child_end(c, h);
	}
	NEED(c, refused > 0, "the liar made no try");
	cf_saw(c, "%u holders acknowledged and went on writing by their old keys: %llu writes refused, 0 landed",
	       rounds, (unsigned long long)refused);
}

/* Traffic at full speed while blocks change their owners. */
static void traffic_meets_no_foreign_byte(struct cf *c)
{
	uint64_t end = clock_now_ns() + (uint64_t)((double)NS_PER_SEC * min_u64(20, (uint64_t)(1 + c->config->scale)) *
						   (c->config->scale < 1 ? c->config->scale : 1));
	struct cf_made rm, wm, vm;
	struct lh_file *r = cf_make(c, c->b, SIZE, &rm), *w = cf_make(c, c->b, SIZE, &wm), *victim;
	struct cf_child *reader = cf_child_new(c, CF_READ, &rm), *writer = cf_child_new(c, CF_WRITE, &wm);
	unsigned moves = 0;

	writer->board->flags = (writer->board->flags & ~LH_LEASE_READ) | LH_LEASE_WRITE;
	reader->board->deadline_ns = writer->board->deadline_ns = CF_DEADLINE;
	cf_child_start(c, reader);
	cf_child_start(c, writer);
	do {
		for (unsigned i = 0; i < 8; i++) {
			uint64_t off = cf_draw(c, SIZE / CF_BLOCK / 2) * CF_BLOCK;

			OK(c, lh_file_relocate(i % 2 ? r : w, off, SIZE / 2));
			moves++;
		}
		victim = victim_make(c, CF_MIB, &vm);
		victim_check(c, victim, &vm);
	} while (clock_now_ns() < end);
	cf_child_rounds(c, reader, 2);
	cf_child_rounds(c, writer, 2);
	cf_saw(c, "%u moves under %llu direct reads and %llu writes of two processes: 0 foreign cells, 0 errors", moves,
	       (unsigned long long)atomic_load(&reader->board->rounds),
	       (unsigned long long)atomic_load(&writer->board->rounds));
	cf_child_end(c, reader);
	cf_child_end(c, writer);
	cf_same(c, r, 0, SIZE, rm.owner);
	cf_same(c, w, 0, SIZE, wm.owner);
}

/* Stopped in the middle of a transfer, its blocks given away, continued. */
static void stopped_traffic_does_no_harm(struct cf *c)
{
	struct cf_made wm, vm;
	struct lh_file *w = cf_make(c, c->b, SIZE, &wm), *victim;
	struct cf_child *writer = cf_child_new(c, CF_WRITE, &wm);
	unsigned rounds = cf_scaled(c, 5, 3);

	writer->board->flags = (writer->board->flags & ~LH_LEASE_READ) | LH_LEASE_WRITE;
	writer->board->deadline_ns = 30 * NS_PER_MS;
	cf_child_start(c, writer);
	for (unsigned i = 0; i < rounds; i++) {
		cf_child_rounds(c, writer, 3);
		cf_sleep(cf_draw(c, 3000) * NS_PER_US);
		cf_child_signal(c, writer, SIGSTOP);
		OK(c, lh_file_relocate(w, 0, SIZE));
		victim = victim_make(c, VICTIM, &vm);
		cf_child_signal(c, writer, SIGCONT);
		cf_child_rounds(c, writer, 3);
		victim_check(c, victim, &vm);
	}
	cf_child_end(c, writer);
	cf_same(c, w, 0, SIZE, wm.owner);
}

/* --- L13 --- */

/* So much may be over what a plain user can pin. Whoever administers the pool allows it for the while. true: he did. */
static bool stall_lease(struct cf *c, struct cf_wire *w, const char *path, uint32_t mode, struct cf_wire_lease *lease)
{
	struct lh_limit l = {
	    .size = sizeof(l), .kind = LH_LIMIT_PINS, .id = geteuid(), .bytes = UINT64_MAX, .inodes = UINT64_MAX};
	uint64_t handle = cf_wire_file(c, w, path, mode == LH_LEASE_WRITE);
	int status = cf_wire_lease(w, handle, 0, STALL, mode, CF_DEADLINE, lease);

	if (status != ENOMEM && status != EDQUOT) {
		IS(c, status, 0);
		return false;
	}
	if (!c->config->owned || lh_fs_limit_set(c->b, NULL, &l))
		cf_skip(c, "a lease of 16 MiB is over what this user may pin (RLIMIT_MEMLOCK, leasehold limits)");
	IS(c, cf_wire_lease(w, handle, 0, STALL, mode, CF_DEADLINE, lease), 0);
	return true;
}

static void stall_limit_back(struct cf *c, bool set)
{
	struct lh_limit l = {.size = sizeof(l), .kind = LH_LIMIT_PINS, .id = geteuid()};

	if (set)
		OK(c, lh_fs_limit_clear(c->b, &l));
}

/* Cuts the file, gives its blocks away, and judges how long the cut took. */
static struct lh_file *cut_under_stall(struct cf *c, struct cf_wire *w, struct lh_file *f, struct cf_made *vm,
				       char *saw)
{
	struct lh_file *victim;
	uint64_t took, explained;
	struct cf_late l;

	cf_wire_alive(c, w);
	cf_late_begin(c, &l);
	took = clock_now_ns();
	OK(c, lh_file_truncate(f, 0));
	took = clock_now_ns() - took;
	explained = cf_late_take(&l, NULL);
	cf_late_end(&l);
	NEED(c, took <= CF_DEADLINE + WORK_NS + explained, "a stalled transfer held the revocation up: %.1f ms after D",
	     (double)(took - CF_DEADLINE) / 1e6);
	snprintf(saw, 64, "%.2f ms after D", took > CF_DEADLINE ? (double)(took - CF_DEADLINE) / 1e6 : 0.0);
	cf_wire_alive(c, w);
	victim = victim_make(c, STALL, vm);
	cf_wire_alive(c, w);
	return victim;
}

static void a_stalled_read_gets_nothing_after(struct cf *c)
{
	struct cf_made made, vm;
	struct lh_file *f = cf_make(c, c->b, STALL, &made), *victim;
	uint8_t *buf = malloc(STALL), head[16], tail[8];
	struct cf_seen own = {0};
	struct cf_wire_lease lease;
	struct cf_wire w;
	char saw[64];
	bool limit;
	int fd;

	NEED(c, buf != NULL, "no memory");
	OK(c, lh_file_defragment(f, NULL));
	cf_wire_open(c, &w, c->variant.holder);
	limit = stall_lease(c, &w, made.path, LH_LEASE_READ, &lease);
	fd = cf_wire_data(c, &w, c->variant.holder);
	NEED(c, cf_stream_request(fd, false, lease.key, lease.key_off, lease.key_len), "the request was not taken");
	cf_sleep(30 * NS_PER_MS);
	victim = cut_under_stall(c, &w, f, &vm, saw);
	NEED(c, cf_stream_take(fd, head, 16) == 16 && head[3] == 0, "no answer to the read came");
	NEED(c, cf_stream_take(fd, buf, lease.key_len) == lease.key_len, "the frame is not complete (F13)");
	NEED(c, cf_stream_take(fd, tail, 8) == 8, "no trailer came");
	NEED(c, cf_cells_of(buf, lease.key_len, vm.owner) == 0, "cells of the blocks' next owner were sent");
	cf_look(buf, lease.key_len, made.owner, 0, &own);
	/* The cell in which the file's bytes end and the zeroes begin is neither. */
	NEED(c, own.foreign <= 1, "%llu foreign cells were sent, the first at %llu", (unsigned long long)own.foreign,
	     (unsigned long long)own.bad_off);
	NEED(c, tail[3] == 1 || own.zero == 0, "the trailer says that zeroes are data");
	NEED(c, tail[3] == 1 || lease.key_len < STALL, "16 MiB were delivered to a peer that did not read");
	victim_check(c, victim, &vm);
	cf_saw(
	    c,
	    "a read of 16 MiB by a peer that stopped reading: cut %s; %llu KiB sent before, then zeroes, trailer stale",
	    saw, (unsigned long long)(own.own * CF_CELL / CF_KIB));
	stall_limit_back(c, limit);
	close(fd);
	cf_wire_close(&w);
	free(buf);
}

static void a_stalled_write_lands_nothing_after(struct cf *c)
{
	struct cf_made made, vm;
	struct lh_file *f = cf_make(c, c->b, STALL, &made), *victim = NULL;
	struct cf_wire_lease lease;
	uint64_t half, sent = 0;
	uint8_t *buf = malloc(STALL), answer[16];
	struct cf_wire w;
	char saw[64];
	bool limit;
	int fd;

	NEED(c, buf != NULL, "no memory");
	memset(buf, 0xbd, STALL);
	OK(c, lh_file_defragment(f, NULL));
	cf_wire_open(c, &w, c->variant.holder);
	limit = stall_lease(c, &w, made.path, LH_LEASE_WRITE, &lease);
	half = lease.key_len / 2 + 12345;
	fd = cf_wire_data(c, &w, c->variant.holder);
	NEED(c, cf_stream_request(fd, true, lease.key, lease.key_off, lease.key_len), "the request was not taken");
	while (sent < lease.key_len) {
		uint64_t n = min_u64(64 * CF_KIB, (sent < half ? min_u64(half, lease.key_len) : lease.key_len) - sent);

		if (sent == half && sent < lease.key_len)
			victim = cut_under_stall(c, &w, f, &vm, saw);
		NEED(c, send(fd, buf, n, MSG_NOSIGNAL) == (ssize_t)n, "the payload was not taken (F12)");
		sent += n;
	}
	NEED(c, sent > half, "the lease is too short for the check");
	NEED(c, cf_stream_take(fd, answer, 16) == 16 && answer[3] == 1, "the answer is not stale");
	victim_check(c, victim, &vm);
	cf_saw(c, "a write of 16 MiB whose second half came after the cut: cut %s, nothing of it landed, answer stale",
	       saw);
	stall_limit_back(c, limit);
	close(fd);
	cf_wire_close(&w);
	free(buf);
}

/* --- L14 --- */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void dead_numbers_stay_dead(struct cf *c)
{
	unsigned dead_count = cf_scaled(c, 200, 50), more = cf_scaled(c, 2000, 500);
	uint64_t *dead = calloc(dead_count, sizeof(*dead));
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct cf_wire_lease lease;
	uint64_t handle;
	struct cf_wire w;

	NEED(c, dead != NULL, "no memory");
	cf_wire_open(c, &w, c->variant.holder);
	handle = cf_wire_file(c, &w, made.path, false);
	for (unsigned i = 0; i < dead_count; i++) {
		IS(c, cf_wire_lease(&w, handle, 0, CF_BLOCK, LH_LEASE_READ, 1, &lease), 0);
		dead[i] = lease.key;
		/* Dies by force; this client never says that it knows. */
		OK(c, lh_file_relocate(f, 0, CF_BLOCK));
	}
	qsort(dead, dead_count, sizeof(*dead), by_number);
	for (unsigned i = 1; i < dead_count; i++)
		NEED(c, dead[i] != dead[i - 1], "key %llu was handed out twice", (unsigned long long)dead[i]);
	for (unsigned i = 0; i < more; i++) {
		IS(c, cf_wire_lease(&w, handle, i % 64 * CF_BLOCK, CF_BLOCK, LH_LEASE_READ, CF_DEADLINE, &lease), 0);
		NEED(c, bsearch(&lease.key, dead, dead_count, sizeof(*dead), by_number) == NULL,
		     "the number of a dead key that was never acknowledged came back after %u grants", i);
		IS(c, cf_wire_release(&w, lease.number), 0);
	}
	cf_wire_close(&w);
	free(dead);
	cf_saw(c, "%u keys died unacknowledged; none of their numbers is among the next %u", dead_count, more);
}

/* --- L15 --- */

static void moves_are_not_seen(struct cf *c)
{
	unsigned times = cf_scaled(c, 40, 12);
	struct cf_made made, om;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_file *other = cf_make(c, c->b, SIZE, &om);
	struct lh_lease *r = cf_lease(c, held, 0, SIZE, LH_LEASE_READ), *w = cf_lease(c, held, 0, SIZE, LH_LEASE_WRITE);
	uint8_t block[CF_BLOCK];

	for (unsigned i = 0; i < times; i++) {
		uint64_t at = cf_draw(c, SIZE / CF_BLOCK) * CF_BLOCK;

		if (i % 3 == 0)
			OK(c, lh_file_relocate(f, 0, SIZE));
		else if (i % 3 == 1)
			OK(c, lh_file_clone_range(other, 0, f, 0, SIZE));
		else
			cf_fill(c, f, at, CF_BLOCK, made.owner, i + 2);
		cf_lease_same(c, r, 0, SIZE, made.owner);
		cf_stamp(block, CF_BLOCK, made.owner, at, i + 3);
		IS(c, lh_lease_write(w, block, CF_BLOCK, at), (int64_t)CF_BLOCK);
		cf_same(c, f, at, CF_BLOCK, made.owner);
		if (i % 3 == 1)
			cf_same(c, other, 0, SIZE, made.owner);
	}
	cf_saw(c,
	       "%u moves, clones and copies on write under one READ and one WRITE lease: every access right, no error; "
	       "%llu faults",
	       times, (unsigned long long)(cf_state(c, r).faults + cf_state(c, w).faults));
}

/* A lease shows what a call shows. */
static void as_pread(struct cf *c, struct lh_lease *lease, struct lh_file *f, uint64_t off, uint64_t len,
		     const char *after)
{
	uint8_t *x = malloc(len), *y = malloc(len);
	ssize_t n, m;

	NEED(c, x != NULL && y != NULL, "no memory");
	n = lh_lease_read(lease, x, len, off);
	m = lh_file_read(f, y, len, off);
	NEED(c, n == m, "after a %s [%llu, +%llu) reads %zd directly and %zd by a call", after, (unsigned long long)off,
	     (unsigned long long)len, n, m);
	NEED(c, n <= 0 || memcmp(x, y, (size_t)n) == 0, "after a %s the lease shows other bytes than a call", after);
	free(x);
	free(y);
}

static void cuts_are_seen_as_by_pread(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *r = cf_lease(c, held, 0, SIZE, LH_LEASE_READ);

	cf_lease_same(c, r, 0, SIZE, made.owner);
	OK(c, lh_file_punch(f, 16 * CF_KIB, 20 * CF_KIB));
	as_pread(c, r, f, 0, SIZE, "punch");
	OK(c, lh_file_punch(f, 70001, 30000));
	as_pread(c, r, f, 64 * CF_KIB, 64 * CF_KIB, "punch");
	OK(c, lh_file_truncate(f, 200001));
	as_pread(c, r, f, 0, SIZE, "truncate");
	as_pread(c, r, f, 196 * CF_KIB, 8 * CF_KIB, "truncate");
	as_pread(c, r, f, 240 * CF_KIB, CF_KIB, "truncate");
	OK(c, lh_file_truncate(f, SIZE));
	as_pread(c, r, f, 0, SIZE, "truncate up");
	cf_fill(c, f, 0, SIZE, made.owner, 4);
	cf_lease_same(c, r, 0, SIZE, made.owner);
	OK(c, lh_file_truncate(f, 0));
	as_pread(c, r, f, 0, SIZE, "truncate to nothing");
	cf_saw(c, "after punches and truncates, also inside blocks, direct reads give the bytes and counts of a call");
}

/* --- L16 --- */

static void one_lease_is_all_that_is_lost(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *lease[16];

	for (unsigned i = 0; i < 16; i++)
		lease[i] = cf_lease_within(c, held, i * (SIZE / 16), SIZE / 16, LH_LEASE_READ | LH_LEASE_MANUAL,
					   5 * NS_PER_MS);
	for (unsigned i = 0; i < 16; i += 2) {
		struct lh_lease_state s;

		OK(c, lh_file_relocate(f, i * (SIZE / 16), SIZE / 16));
		while (cf_event(c, c->a).type != LH_EVENT_REVOKED)
			;
		s = cf_state(c, lease[i]);
		NEED(c, !s.held && s.revocations == 1, "the lease was not revoked");
		for (unsigned k = 1; k < 16; k += 2)
			cf_lease_same(c, lease[k], k * (SIZE / 16), SIZE / 16, made.owner);
	}
	for (unsigned k = 1; k < 16; k += 2)
		NEED(c, cf_state(c, lease[k]).recalls == 0 && cf_state(c, lease[k]).held, "another lease was lost");
	OK(c, lh_fs_ping(c->a));
	cf_saw(c, "8 of 16 leases of a session revoked by force: the other 8, and its connection, went on");
}

static unsigned sockets(int *fds)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	unsigned n = 0;

	if (d == NULL)
		return 0;
	for (e = readdir(d); e != NULL && n < SOCKETS; e = readdir(d)) {
		int fd = atoi(e->d_name), listening = 1;
		socklen_t len = sizeof(listening);

		if (e->d_name[0] != '.' && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 &&
		    !listening)
			fds[n++] = fd;
	}
	closedir(d);
	return n;
}

/* The data path is cut from outside, as a network does it. */
static void a_lost_data_path_is_not_noticed(struct cf *c)
{
	int before[SOCKETS], after[SOCKETS];
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held;
	unsigned n = sockets(before), m, cut = 0;
	struct lh_lease *lease;
	struct lh_fs *fs;

	(void)f;
	fs = cf_session(c, c->variant.holder);
	held = cf_open(c, fs, &made, O_RDONLY);
	lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ);
	cf_lease_same(c, lease, 0, SIZE, made.owner);
	m = sockets(after);
	/* The session's first socket is the control connection; what it opened later carries data. */
	for (unsigned i = 0, fresh = 0; i < m; i++) {
		bool old = false;

		for (unsigned k = 0; k < n; k++)
			old = old || before[k] == after[i];
		if (!old && fresh++ > 0)
			cut += shutdown(after[i], SHUT_RDWR) == 0;
	}
	if (cut == 0)
		cf_skip(c, "the data path has no socket of its own that could be cut");
	cf_lease_same(c, lease, 0, SIZE, made.owner);
	OK(c, lh_fs_ping(fs));
	cf_lease_same(c, lease, 0, SIZE, made.owner);
	NEED(c, cf_state(c, lease).recalls == 0, "the lease was lost with the data path");
	cf_saw(c, "%u sockets of the data path cut: the next reads were right, and the lease the same", cut);
}

static const struct cf_case cases_12[] = {
    {"uses keys after their blocks have gone to another file", dead_keys_reach_nothing, CF_FAULTING,
     "one of them reads or writes a byte of the new owner, or is not refused"},
    {"acknowledges every recall and goes on writing by the old keys", a_liar_harms_nobody, 0,
     "a byte of the file or of the blocks' next owner changes after the operation has returned"},
    {"reads and writes in two processes while blocks change owners", traffic_meets_no_foreign_byte, CF_FAULTING,
     "a foreign cell is read, a late write lands, or an application sees an error"},
    {"stops a writer in the middle, gives its blocks away, lets it go on", stopped_traffic_does_no_harm, CF_FAULTING,
     "its late bytes land in the blocks' next owner"},
};
CF_RULE(12, "after the operation no old key reads or writes the old blocks, nor an access in flight");
static const struct cf_case cases_13[] = {
    {"stops reading in the middle of a direct read of 16 MiB", a_stalled_read_gets_nothing_after, CF_STREAM,
     "the cut waits for it beyond D, or bytes of the blocks' next owner are sent"},
    {"stops sending in the middle of a direct write of 16 MiB, and goes on later", a_stalled_write_lands_nothing_after,
     CF_STREAM, "the cut waits for it beyond D, or the second half lands"},
};
CF_RULE(13, "a stalled transfer neither delays a revocation nor gets or lands a byte after it");
static const struct cf_case cases_14[] = {
    {"lets keys die without acknowledging, and takes thousands of new ones", dead_numbers_stay_dead, CF_REMOTE,
     "the number of a dead key is handed out again"},
};
CF_RULE(14, "a dead key's number is not handed out again before its death is acknowledged");
static const struct cf_case cases_15[] = {
    {"moves, clones and copies on write under an application's leases", moves_are_not_seen, CF_FAULTING,
     "an access is an error, or reads or writes the wrong place"},
    {"punches and truncates under an application's lease", cuts_are_seen_as_by_pread, CF_FAULTING,
     "a direct read differs from a call's in count or bytes"},
};
CF_RULE(15, "the next access finds the data at its new place; only what pread would show is seen");
static const struct cf_case cases_16[] = {
    {"revokes every second lease of a session by force", one_lease_is_all_that_is_lost, 0,
     "another lease or the connection is lost"},
    {"cuts the sockets of the data path", a_lost_data_path_is_not_noticed, CF_REMOTE,
     "the next read is an error, or the lease is lost"},
};
CF_RULE(16, "one revoked lease costs its session nothing else");
