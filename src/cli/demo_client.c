/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The demonstration's client processes. A reader compares every block that a one-sided read brings with the board; a
 * writer writes self-describing blocks into its own file, commits, and finds all of them at the end; the deaf one holds
 * manual leases, answers no recall, and goes on using its keys after they died; the stopped one is a reader that the
 * server's side stops with SIGSTOP while it holds leases, and that tries its old keys when it wakes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc.h"
#include "base/error.h"
#include "base/types.h"
#include "cli/demo.h"

#define READ_BLOCKS_MAX  64u
#define WRITE_BLOCKS_MAX 16u
#define KEYS_MAX         64u /* tried when dead */
/* That a client can have at once: all of them are looked up before a key is called dead. */
#define LIVE_MAX     8192u
#define DEAD_TRIES   50u
#define COMMIT_EVERY 8u
/* A gap between two turns of the loop that only SIGSTOP explains. */
#define STOPPED_NS (700 * NS_PER_MS)

static const char *const role_names[] = {"reader", "writer", "deaf", "stopped"};

const char *demo_role_name(enum demo_role role)
{
	return role_names[role];
}

_Atomic uint32_t *demo_versions(struct demo_board *b)
{
	return (_Atomic uint32_t *)(b + 1);
}

uint32_t *demo_checksums(struct demo_board *b)
{
	return (uint32_t *)(b + 1) + b->blocks;
}

static struct demo_board *board_map(int fd, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct demo_board *demo_board_make(const char *path, uint64_t blocks)
{
	size_t len = sizeof(struct demo_board) + blocks * 2 * sizeof(uint32_t);
	scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct demo_board *b;

	if (fd < 0 || ftruncate(fd, (off_t)len))
		return NULL;
	b = board_map(fd, len);
	if (b)
		b->blocks = blocks;
	return b;
}

struct demo_board *demo_board_map(const char *path)
{
	scoped_fd int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_size < (off_t)sizeof(struct demo_board))
		return NULL;
	return board_map(fd, (size_t)st.st_size);
}

uint64_t demo_draw(uint64_t *seed, uint64_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return below ? *seed % below : 0;
}

struct block_head {
	uint64_t owner, number, version;
	uint32_t crc;
};

void demo_block_fill(uint8_t *block, uint64_t owner, uint64_t number, uint64_t version)
{
	struct block_head h = {owner, number, version, 0};
	uint64_t seed = (owner * 0x9e3779b97f4a7c15ull ^ number << 20 ^ version) | 1;

	for (unsigned i = 0; i < DEMO_BLOCK; i += sizeof(seed)) {
		demo_draw(&seed, 0);
		memcpy(block + i, &seed, sizeof(seed));
	}
	memcpy(block, &h, sizeof(h));
	h.crc = crc32c(0, block, DEMO_BLOCK);
	memcpy(block, &h, sizeof(h));
}

bool demo_block_check(const uint8_t *block, uint64_t owner, uint64_t number, uint64_t *version)
{
	uint8_t copy[DEMO_BLOCK];
	struct block_head h;
	uint32_t crc;

	memcpy(copy, block, sizeof(copy));
	memcpy(&h, copy, sizeof(h));
	crc = h.crc;
	h.crc = 0;
	memcpy(copy, &h, sizeof(h));
	*version = h.version;
	if (h.version == 0 && h.owner == 0 && crc == 0) {
		memset(copy, 0, sizeof(h));
		return memcmp(copy, block, DEMO_BLOCK) == 0 && copy[0] == 0 &&
		       memcmp(copy, copy + 1, DEMO_BLOCK - 1) == 0;
	}
	return h.owner == owner && h.number == number && crc == crc32c(0, copy, DEMO_BLOCK);
}

struct seat {
	struct demo_board *board;
	struct demo_client *me;
	struct lh_fs *fs;
	struct lh_file *file[DEMO_FILES];
	struct lh_lease *lease[DEMO_FILES];
	uint64_t seed;
	uint8_t *buf;
};

static int seat_error(struct seat *s, int err, const char *what)
{
	snprintf(s->me->error, sizeof(s->me->error), "%s: %s (%s)", what, lh_error_text(), strerror(-err));
	return err;
}

/* A dead key is used again and again, for reading and writing: every try must be refused. */
static void try_dead(struct seat *s, const struct lh_lease_extent *e, unsigned tries)
{
	for (unsigned i = 0; i < tries; i++) {
		uint64_t off = e->key_off + demo_draw(&s->seed, e->len);
		ssize_t n;

		memset(s->buf, 0x5a, 64);
		n = i % 2 ? lh_raw_write(s->fs, e->key, off, s->buf, 1) : lh_raw_read(s->fs, e->key, off, s->buf, 1);
		s->me->dead_tries++;
		if (n == -ESTALE || n == -EACCES || n == -ERANGE)
			s->me->dead_refused++;
		else
			seat_error(s, n < 0 ? (int)n : -EKEYEXPIRED, "a dead key was not refused");
	}
}

static bool key_among(uint64_t key, const struct lh_lease_extent *now, int count)
{
	for (int i = 0; i < count; i++) {
		if (now[i].key == key)
			return true;
	}
	return false;
}

/* --- readers ---------------------------------------------------------------------------------------------------------
 */

static unsigned kind_of(const struct seat *s)
{
	return s->me->faulting ? LH_LEASE_FAULTING : 0;
}

static int open_watched(struct seat *s, unsigned flags)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ | flags | kind_of(s)};

	for (unsigned i = 0; i < s->board->files; i++) {
		struct demo_watch *w = &s->board->file[i];
		int err = lh_file_open(s->fs, w->path, O_RDONLY, 0, &s->file[i]);

		if (!err && !(flags & LH_LEASE_MANUAL))
			err = lh_lease_get(s->file[i], 0, w->blocks * DEMO_BLOCK, &opt, &s->lease[i]);
		if (err)
			return seat_error(s, err, w->path);
	}
	return 0;
}

/* The block's bytes as read (rest: how many of them are the file's), against the board. */
static bool block_right(struct demo_board *b, uint64_t at, const uint8_t *block, size_t got, size_t rest, bool steady)
{
	if (got == rest && crc32c(0, block, rest) == demo_checksums(b)[at])
		return true;
	if (steady)
		return false;
	for (size_t i = 0; i < got; i++) {
		if (block[i])
			return false;
	}
	return true;
}

static void check_read(struct seat *s, const struct demo_watch *w, uint64_t block, uint64_t count, ssize_t n,
		       const uint32_t *before)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = w->first + block + i, from = i * DEMO_BLOCK;
		uint64_t want = min_u64(DEMO_BLOCK, w->size - (block + i) * DEMO_BLOCK);
		uint64_t got = (uint64_t)n > from ? min_u64(want, (uint64_t)n - from) : 0;
		uint32_t after = atomic_load(&demo_versions(s->board)[at]);
		bool steady = before[i] == after && after % 2 == 0;

		if (!block_right(s->board, at, s->buf + from, got, want, steady)) {
			s->me->foreign++;
			snprintf(s->me->error, sizeof(s->me->error), "wrong bytes in %.120s block %llu (%s)", w->path,
				 (unsigned long long)(block + i), steady ? "unchanged" : "being changed");
		}
	}
}

static void read_once(struct seat *s)
{
	unsigned f = (unsigned)demo_draw(&s->seed, s->board->files);
	const struct demo_watch *w = &s->board->file[f];
	uint64_t count = 1 + demo_draw(&s->seed, READ_BLOCKS_MAX), block = demo_draw(&s->seed, w->blocks);
	uint32_t before[READ_BLOCKS_MAX];
	ssize_t n;

	count = min_u64(count, w->blocks - block);
	for (uint64_t i = 0; i < count; i++)
		before[i] = atomic_load(&demo_versions(s->board)[w->first + block + i]);
	n = lh_lease_read(s->lease[f], s->buf, count * DEMO_BLOCK, block * DEMO_BLOCK);
	if (n < 0) {
		s->me->noticed++;
		seat_error(s, (int)n, "a read failed");
		return;
	}
	s->me->reads++;
	s->me->read_bytes += (uint64_t)n;
	check_read(s, w, block, count, n, before);
}

static void count_leases(struct seat *s)
{
	for (unsigned i = 0; i < s->board->files; i++) {
		struct lh_lease_state st = {.size = sizeof(st)};

		if (!s->lease[i] || lh_lease_state(s->lease[i], &st))
			continue;
		s->me->faults += st.faults;
		s->me->recalls += st.recalls;
		s->me->revocations += st.revocations;
	}
}

static int run_reader(struct seat *s)
{
	int err = open_watched(s, 0);

	atomic_store(&s->me->ready, 1);
	while (!err && !atomic_load(&s->board->stop))
		read_once(s);
	count_leases(s);
	return err;
}

/* --- the one that is stopped
 * ------------------------------------------------------------------------------------------ */

static int keys_of(struct seat *s, struct lh_lease_extent *out, unsigned max)
{
	int count = 0;

	for (unsigned i = 0; i < s->board->files && count < (int)max; i++) {
		int n = lh_lease_extents(s->lease[i], out + count, max - (unsigned)count);

		count += n > 0 ? n : 0;
	}
	return count;
}

static void after_stop(struct seat *s, const struct lh_lease_extent *old, int old_count)
{
	scoped_free struct lh_lease_extent *now = malloc(LIVE_MAX * sizeof(*now));
	int count;

	/* Every file once, so that the leases heal; what is not a key of theirs now is dead. */
	for (unsigned i = 0; i < 20 * DEMO_FILES; i++)
		read_once(s);
	count = now ? keys_of(s, now, LIVE_MAX) : (int)LIVE_MAX;
	for (int i = 0; i < old_count && count < (int)LIVE_MAX; i++) {
		if (!key_among(old[i].key, now, count))
			try_dead(s, &old[i], DEAD_TRIES);
	}
}

static int run_stopped(struct seat *s)
{
	struct lh_lease_extent old[KEYS_MAX];
	uint64_t last = clock_now_ns();
	int old_count = 0, err = open_watched(s, 0);

	atomic_store(&s->me->ready, 1);
	while (!err && !atomic_load(&s->board->stop)) {
		uint64_t now = clock_now_ns();

		if (now - last > STOPPED_NS && old_count)
			after_stop(s, old, old_count);
		read_once(s);
		old_count = keys_of(s, old, KEYS_MAX);
		last = clock_now_ns();
		/* It is to hold leases, not to load the machine. */
		usleep(2000);
	}
	count_leases(s);
	return err;
}

/* --- the deaf one
 * ------------------------------------------------------------------------------------------------------ */

static void deaf_events(struct seat *s)
{
	struct pollfd p = {.fd = lh_event_fd(s->fs), .events = POLLIN};
	struct lh_event e = {.size = sizeof(e)};

	poll(&p, 1, 20);
	while (lh_event_next(s->fs, &e) == 1) {
		if (e.type == LH_EVENT_RECALL)
			s->me->recalls++;
		else
			s->me->revocations++;
	}
}

/* Holds whole files, hears recalls and does nothing, until its lease is gone; then it uses the dead keys and asks
 * again. */
static void deaf_round(struct seat *s, unsigned f)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ | LH_LEASE_MANUAL};
	scoped_free struct lh_lease_extent *now = malloc(LIVE_MAX * sizeof(*now));
	struct lh_lease_extent keys[KEYS_MAX];
	uint64_t before = s->me->revocations;
	int count, left, err;

	err = lh_lease_get(s->file[f], 0, s->board->file[f].blocks * DEMO_BLOCK, &opt, &s->lease[f]);
	if (err == -ENODATA)
		return; /* cut to nothing at this moment */
	if (err) {
		seat_error(s, err, "the deaf client got no lease");
		return;
	}
	count = lh_lease_extents(s->lease[f], keys, KEYS_MAX);
	while (s->me->revocations == before && !atomic_load(&s->board->stop))
		deaf_events(s);
	left = now ? lh_lease_extents(s->lease[f], now, LIVE_MAX) : (int)LIVE_MAX;
	for (int i = 0; i < count && left < (int)LIVE_MAX; i++) {
		if (s->me->revocations > before && !key_among(keys[i].key, now, left))
			try_dead(s, &keys[i], DEAD_TRIES);
	}
	lh_lease_release(s->lease[f]);
	s->lease[f] = NULL;
	/* Once more when the numbers are long gone and the blocks may be somebody else's. */
	for (int i = 0; i < count; i++)
		try_dead(s, &keys[i], 4);
}

static int run_deaf(struct seat *s)
{
	int err = open_watched(s, LH_LEASE_MANUAL);

	atomic_store(&s->me->ready, 1);
	while (!err && !atomic_load(&s->board->stop))
		deaf_round(s, (unsigned)demo_draw(&s->seed, s->board->files));
	return err;
}

/* --- writers
 * ------------------------------------------------------------------------------------------------------------ */

#define WRITER_BLOCKS (DEMO_WRITER_BYTES / DEMO_BLOCK)

static int write_once(struct seat *s, struct lh_lease *lease, uint64_t owner, uint64_t *versions)
{
	uint64_t block = demo_draw(&s->seed, WRITER_BLOCKS);
	uint64_t count = min_u64(1 + demo_draw(&s->seed, WRITE_BLOCKS_MAX), WRITER_BLOCKS - block);
	ssize_t n;

	for (uint64_t i = 0; i < count; i++)
		demo_block_fill(s->buf + i * DEMO_BLOCK, owner, block + i, ++versions[block + i]);
	n = lh_lease_write(lease, s->buf, count * DEMO_BLOCK, block * DEMO_BLOCK);
	if (n != (ssize_t)(count * DEMO_BLOCK)) {
		s->me->noticed++;
		return seat_error(s, n < 0 ? (int)n : -EIO, "a write failed");
	}
	s->me->writes++;
	s->me->write_bytes += (uint64_t)n;
	if (s->me->writes % COMMIT_EVERY)
		return 0;
	s->me->commits++;
	n = lh_lease_commit(lease, block * DEMO_BLOCK, count * DEMO_BLOCK);
	if (n) {
		s->me->noticed++;
		return seat_error(s, (int)n, "a commit failed");
	}
	return 0;
}

/* Every block must hold the last version that was written, read by a call and not by the lease. */
static void writer_verify(struct seat *s, struct lh_file *f, uint64_t owner, const uint64_t *versions)
{
	for (uint64_t b = 0; b < WRITER_BLOCKS; b++) {
		uint64_t version = 0;
		ssize_t n = lh_file_read(f, s->buf, DEMO_BLOCK, b * DEMO_BLOCK);

		if (n == DEMO_BLOCK && demo_block_check(s->buf, owner, b, &version) && version == versions[b])
			continue;
		s->me->foreign++;
		snprintf(s->me->error, sizeof(s->me->error), "block %llu has version %llu instead of %llu (%zd bytes)",
			 (unsigned long long)b, (unsigned long long)version, (unsigned long long)versions[b], n);
	}
}

static int run_writer(struct seat *s, unsigned index)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_WRITE | kind_of(s)};
	scoped_free uint64_t *versions = calloc(WRITER_BLOCKS, sizeof(*versions));
	struct lh_file *f = NULL;
	struct lh_lease *lease = NULL;
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/writers/w%u", index);
	err = versions ? lh_file_open(s->fs, path, O_RDWR | O_CREAT, 0600, &f) : -ENOMEM;
	/* Zeroes at first: every block of a clone is there. */
	if (!err)
		err = lh_file_truncate(f, DEMO_WRITER_BYTES);
	if (!err)
		err = lh_lease_get(f, 0, DEMO_WRITER_BYTES, &opt, &lease);
	if (err)
		seat_error(s, err, path);
	atomic_store(&s->me->ready, 1);
	while (!err && !atomic_load(&s->board->stop))
		err = write_once(s, lease, s->board->writer_seed + index, versions);
	if (!err)
		err = lh_lease_commit(lease, 0, DEMO_WRITER_BYTES);
	if (lease) {
		struct lh_lease_state st = {.size = sizeof(st)};

		if (!lh_lease_state(lease, &st)) {
			s->me->faults += st.faults;
			s->me->recalls += st.recalls;
			s->me->revocations += st.revocations;
		}
		lh_lease_release(lease);
	}
	if (!err)
		writer_verify(s, f, s->board->writer_seed + index, versions);
	lh_file_close(f);
	return err;
}

int demo_client_main(struct demo_board *board, unsigned index)
{
	struct seat s = {.board = board, .me = &board->client[index], .seed = 0x2545f4914f6cdd1dull * (index + 1)};
	struct lh_open_options opt = {.size = sizeof(opt)};
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	opt.fabric = strcmp(s.me->fabric, "ring") == 0 ? LH_FABRIC_RING : LH_FABRIC_STREAM;
	err = lh_fs_open(s.me->address, &opt, &s.fs);
	if (err)
		return seat_error(&s, err, s.me->address), 1;
	s.buf = lh_buffer_get(s.fs, READ_BLOCKS_MAX * DEMO_BLOCK);
	if (!s.buf)
		return seat_error(&s, -ENOMEM, "no buffer"), 1;
	switch (s.me->role) {
	case DEMO_READER:
		err = run_reader(&s);
		break;
	case DEMO_WRITER:
		err = run_writer(&s, index);
		break;
	case DEMO_DEAF:
		err = run_deaf(&s);
		break;
	case DEMO_STOPPED:
		err = run_stopped(&s);
		break;
	}
	for (unsigned i = 0; i < board->files; i++) {
		lh_lease_release(s.lease[i]);
		lh_file_close(s.file[i]);
	}
	lh_buffer_put(s.fs, s.buf);
	lh_fs_close(s.fs);
	atomic_store(&s.me->ended, 1);
	return err ? 1 : 0;
}
