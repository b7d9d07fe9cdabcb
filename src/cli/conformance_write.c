/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance, L27 to L30, L32 and L33: direct writes, commit, cached leases and faulting ones. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SIZE    (64 * CF_KIB)
#define DIRT    (8 * CF_MIB)
#define SCRATCH (32 * CF_MIB)

/* --- L27 --- */

static void holes_are_filled_by_the_grant(struct cf *c)
{
	struct lh_lease_extent e[64];
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, 0, &made);
	struct lh_lease *lease;
	uint64_t reached = 0;
	int n;

	OK(c, lh_file_truncate(f, SIZE));
	lease = cf_lease(c, f, 0, SIZE, LH_LEASE_WRITE);
	n = (int)OK(c, lh_lease_extents(lease, e, ARRAY_LEN(e)));
	for (int i = 0; i < n; i++)
		reached += e[i].key != 0 ? e[i].len : 0;
	NEED(c, reached == SIZE, "keys reach %llu bytes of a WRITE lease of 64 KiB over a hole",
	     (unsigned long long)reached);
	NEED(c, cf_stat(c, f).blocks >= SIZE / CF_BLOCK, "the hole has no blocks");
}

static void shared_blocks_are_copied_by_the_grant(struct cf *c)
{
	uint8_t *buf = malloc(SIZE);
	struct cf_made mf, mg;
	struct lh_file *f = cf_make(c, c->a, SIZE, &mf), *g = cf_make(c, c->a, SIZE, &mg);
	struct lh_lease *lease;
	struct lh_lease_extent e[64];
	int n;

	NEED(c, buf != NULL, "no memory");
	OK(c, lh_file_clone_range(g, 0, f, 0, SIZE));
	lease = cf_lease(c, f, 0, SIZE, LH_LEASE_WRITE);
	memset(buf, 0xbd, SIZE);
	n = (int)OK(c, lh_lease_extents(lease, e, ARRAY_LEN(e)));
	for (int i = 0; i < n; i++)
		IS(c, lh_raw_write(c->a, e[i].key, e[i].key_off, buf, e[i].len), (int64_t)e[i].len);
	cf_same(c, g, 0, SIZE, mf.owner);
	free(buf);
}

/* Memory full of somebody's stamps is freed and leased for writing by somebody else, who writes a cell a block. */
static void nothing_old_is_shown(struct cf *c)
{
	unsigned rounds = cf_scaled(c, 6, 3);
	uint8_t *buf = malloc(SIZE * 4);
	uint64_t cells = 0;

	NEED(c, buf != NULL, "no memory");
	for (unsigned i = 0; i < rounds; i++) {
		struct cf_made dirt, made;
		struct lh_file *d = cf_make(c, c->b, DIRT, &dirt), *f;
		struct lh_lease *w, *r;
		struct cf_seen s = {0};

		cf_close(c, d);
		OK(c, lh_path_unlink(c->b, dirt.path));
		f = cf_make(c, c->a, i % 2 ? 0 : 100, &made);
		if (i % 3 == 0)
			OK(c, lh_file_truncate(f, 4 * SIZE));
		w = cf_lease(c, f, 0, 4 * SIZE, LH_LEASE_WRITE);
		for (uint64_t at = CF_BLOCK; at < 4 * SIZE; at += CF_BLOCK) {
			cf_stamp(buf, CF_CELL, made.owner, at + 512, 3);
			IS(c, lh_lease_write(w, buf, CF_CELL, at + 512), CF_CELL);
		}
		cf_stamp(buf, CF_CELL, made.owner, 4 * SIZE - CF_CELL, 3);
		IS(c, lh_lease_write(w, buf, CF_CELL, 4 * SIZE - CF_CELL), CF_CELL);
		OK(c, lh_lease_commit(w, 0, 4 * SIZE));
		r = cf_lease(c, f, 0, 4 * SIZE, LH_LEASE_READ);
		IS(c, lh_lease_read(r, buf, 4 * SIZE, 0), (int64_t)(4 * SIZE));
		NEED(c, cf_cells_of(buf, 4 * SIZE, dirt.owner) == 0,
		     "a file that is gone shows through a new WRITE lease");
		cf_look(buf + CF_BLOCK, 4 * SIZE - CF_BLOCK, made.owner, CF_BLOCK, &s);
		NEED(c, s.foreign == 0 && s.own == 4 * SIZE / CF_BLOCK, "%llu foreign cells",
		     (unsigned long long)s.foreign);
		cells += s.zero;
		cf_close(c, f);
		OK(c, lh_path_unlink(c->a, made.path));
	}
	free(buf);
	cf_saw(c, "%llu cells around direct writes in blocks that another file had: all zero",
	       (unsigned long long)cells);
}

/* --- L28 --- */

static void writes_are_visible_at_once(struct cf *c)
{
	struct cf_made made;
	struct lh_file *fa = cf_make(c, c->a, SIZE, &made), *fb = cf_open(c, c->b, &made, O_RDONLY);
	struct lh_lease *w = cf_lease(c, fa, 0, SIZE, LH_LEASE_WRITE), *r = cf_lease(c, fb, 0, SIZE, LH_LEASE_READ);
	struct lh_stat before = cf_stat(c, fb), after;
	uint8_t buf[CF_BLOCK];

	cf_sleep(5 * NS_PER_MS);
	for (unsigned i = 0; i < 32; i++) {
		struct cf_seen s = {0};
		uint64_t at = cf_draw(c, SIZE / CF_BLOCK) * CF_BLOCK;

		cf_stamp(buf, CF_BLOCK, made.owner, at, 10 + i);
		IS(c, lh_lease_write(w, buf, CF_BLOCK, at), (int64_t)CF_BLOCK);
		memset(buf, 0, CF_BLOCK);
		IS(c, i % 2 ? lh_lease_read(r, buf, CF_BLOCK, at) : lh_file_read(fb, buf, CF_BLOCK, at),
		   (int64_t)CF_BLOCK);
		cf_look(buf, CF_BLOCK, made.owner, at, &s);
		NEED(c, s.low == 10 + i && s.own == CF_BLOCK / CF_CELL,
		     "a direct write was not visible to another session");
	}
	OK(c, lh_lease_commit(w, 0, SIZE));
	after = cf_stat(c, fb);
	NEED(c, after.mtime_ns > before.mtime_ns && after.size == SIZE, "commit did not update the mtime");
}

static struct lh_fs *scratch_session(struct cf *c, struct cf_server *s)
{
	struct lh_open_options o = {.size = sizeof(o), .no_cache = true, .connect_timeout_ns = 10 * NS_PER_SEC};

	return cf_session_with(c, c->variant.holder, &o, cf_scratch_address(c, s));
}

static void scratch_begin(struct cf *c, struct cf_server *s)
{
	cf_scratch(c, s, SCRATCH);
	NEED(c, cf_server_start(s) == 0, "a server of our own did not start: %s", s->board->text);
}

static struct lh_file *scratch_file(struct cf *c, struct lh_fs *fs, uint64_t size, struct cf_made *made)
{
	struct lh_file *f;

	made->owner = cf_owner(c);
	made->size = size;
	snprintf(made->path, sizeof(made->path), "/f%u", c->serial);
	OK(c, lh_file_open(fs, made->path, O_RDWR | O_CREAT | O_EXCL, 0666, &f));
	cf_keep_file(c, f);
	cf_fill(c, f, 0, size, made->owner, 1);
	OK(c, lh_file_sync(f));
	return f;
}

static void commits_survive(struct cf *c)
{
	unsigned times = cf_scaled(c, 3, 1);
	uint8_t *buf = malloc(SIZE);

	NEED(c, buf != NULL, "no memory");
	for (unsigned i = 0; i < times; i++) {
		struct cf_made made[3];
		struct lh_file *f;
		struct lh_lease *w;
		struct cf_server s;
		struct lh_fs *fs;

		scratch_begin(c, &s);
		fs = scratch_session(c, &s);
		for (unsigned k = 0; k < 3; k++) {
			f = scratch_file(c, fs, k == 0 ? 0 : SIZE, &made[k]);
			w = cf_lease_within(c, f, 0, SIZE, LH_LEASE_WRITE, CF_DEADLINE);
			cf_stamp(buf, SIZE, made[k].owner, 0, 5);
			IS(c, lh_lease_write(w, buf, SIZE, 0), (int64_t)SIZE);
			/* Committed; released; both. */
			if (k != 1)
				OK(c, lh_lease_commit(w, 0, SIZE));
			if (k != 0)
				cf_release(c, w);
		}
		cf_server_kill(&s);
		NEED(c, cf_server_start(&s) == 0, "the server did not start after kill -9: %s", s.board->text);
		fs = scratch_session(c, &s);
		for (unsigned k = 0; k < 3; k++) {
			struct cf_seen seen = {0};

			f = cf_open(c, fs, &made[k], O_RDONLY);
			IS(c, lh_file_read(f, buf, SIZE, 0), (int64_t)SIZE);
			cf_look(buf, SIZE, made[k].owner, 0, &seen);
			NEED(c, seen.own == SIZE / CF_CELL && seen.low == 5, "%s was lost by kill -9 of the server",
			     k == 1 ? "what a release flushed" : "what a commit made durable");
		}
		cf_give_back(c);
		cf_scratch_end(c, &s);
	}
	free(buf);
	cf_saw(c, "%u servers killed by kill -9 after commits and releases: size and every byte are there", times);
}

/* --- L29 --- */

static void a_restart_is_told(struct cf *c)
{
	struct lh_range lost[8];
	uint8_t *buf = malloc(SIZE);
	struct cf_made made;
	struct lh_file *f;
	struct lh_lease *w;
	struct cf_server s;
	struct lh_fs *fs;
	int n;

	NEED(c, buf != NULL, "no memory");
	scratch_begin(c, &s);
	fs = scratch_session(c, &s);
	f = scratch_file(c, fs, 2 * SIZE, &made);
	w = cf_lease_within(c, f, 0, 2 * SIZE, LH_LEASE_WRITE, CF_DEADLINE);
	cf_stamp(buf, SIZE, made.owner, 0, 2);
	IS(c, lh_lease_write(w, buf, SIZE, 0), (int64_t)SIZE);
	OK(c, lh_lease_commit(w, 0, SIZE));
	cf_stamp(buf, SIZE, made.owner, SIZE, 3);
	IS(c, lh_lease_write(w, buf, SIZE, SIZE), (int64_t)SIZE);
	cf_server_kill(&s);
	NEED(c, cf_server_start(&s) == 0, "the server did not start again: %s", s.board->text);
	IS(c, lh_lease_commit(w, 0, 2 * SIZE), -EIO);
	n = (int)OK(c, lh_file_lost(f, lost, ARRAY_LEN(lost)));
	NEED(c, n == 1 && lost[0].off == SIZE && lost[0].len == SIZE, "%d lost ranges, the first [%llu, +%llu)", n,
	     n > 0 ? (unsigned long long)lost[0].off : 0, n > 0 ? (unsigned long long)lost[0].len : 0);
	/* Written again, it is as good as ever. */
	IS(c, lh_lease_write(w, buf, SIZE, SIZE), (int64_t)SIZE);
	OK(c, lh_lease_commit(w, 0, 2 * SIZE));
	cf_same(c, f, 0, 2 * SIZE, made.owner);
	cf_give_back(c);
	cf_scratch_end(c, &s);
	free(buf);
	cf_saw(c, "the server was killed between write and commit: commit said EIO, the lost range is exactly what was "
		  "written");
}

static void a_commit_in_peace_is_success(struct cf *c)
{
	struct lh_range lost[4];
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made);
	struct lh_lease *w = cf_lease(c, f, 0, SIZE, LH_LEASE_WRITE);
	uint8_t buf[CF_BLOCK];

	cf_stamp(buf, CF_BLOCK, made.owner, 0, 2);
	IS(c, lh_lease_write(w, buf, CF_BLOCK, 0), (int64_t)CF_BLOCK);
	OK(c, lh_lease_commit(w, 0, SIZE));
	IS(c, lh_file_lost(f, lost, ARRAY_LEN(lost)), 0);
}

/* --- L30 --- */

static void the_size_grows_at_commit(struct cf *c)
{
	struct cf_made made;
	struct lh_file *fa = cf_make(c, c->a, CF_BLOCK, &made), *fb = cf_open(c, c->b, &made, O_RDONLY);
	struct lh_lease *w = cf_lease(c, fa, 0, SIZE, LH_LEASE_WRITE);
	uint8_t *buf = malloc(SIZE);

	NEED(c, buf != NULL, "no memory");
	cf_stamp(buf, SIZE, made.owner, 0, 2);
	IS(c, lh_lease_write(w, buf, 40 * CF_KIB, 0), (int64_t)(40 * CF_KIB));
	NEED(c, cf_stat(c, fb).size == CF_BLOCK && lh_file_read(fb, buf, SIZE, 0) == (ssize_t)CF_BLOCK,
	     "the file grew before the commit");
	OK(c, lh_lease_commit(w, 0, 20 * CF_KIB));
	NEED(c, cf_stat(c, fb).size == 20 * CF_KIB, "a commit of 20 KiB made the file %llu bytes long",
	     (unsigned long long)cf_stat(c, fb).size);
	OK(c, lh_lease_commit(w, 0, 40 * CF_KIB));
	NEED(c, cf_stat(c, fb).size == 40 * CF_KIB, "a commit of 40 KiB made the file %llu bytes long",
	     (unsigned long long)cf_stat(c, fb).size);
	cf_same(c, fb, 0, 40 * CF_KIB, made.owner);
	cf_release(c, w);
	NEED(c, cf_stat(c, fb).size == 40 * CF_KIB, "a release without a commit changed the size");
	free(buf);
	cf_saw(c, "40 KiB written past the end: size unchanged, 20 KiB after a commit of 20, 40 after one of 40");
}

/* --- L32 --- */

static void plain_calls_go_directly(struct cf *c)
{
	struct lh_open_options o = {.size = sizeof(o)};
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *plain;
	struct lh_lease_stats before = cf_stats(c, c->b), after;
	struct lh_fs *fs = cf_session_with(c, c->variant.holder, &o, NULL);
	uint8_t buf[CF_BLOCK];
	unsigned moves = 12;

	plain = cf_open(c, fs, &made, O_RDWR);
	for (unsigned i = 0; i < moves; i++) {
		uint64_t at = i % 8 * CF_BLOCK;

		for (unsigned k = 0; k < 8; k++)
			cf_same(c, plain, 0, SIZE, made.owner);
		cf_stamp(buf, CF_BLOCK, made.owner, at, 3 + i);
		IS(c, lh_file_write(plain, buf, CF_BLOCK, at), (int64_t)CF_BLOCK);
		cf_same(c, f, 0, SIZE, made.owner);
		OK(c, lh_file_relocate(f, 0, SIZE));
	}
	cf_same(c, plain, 0, SIZE, made.owner);
	after = cf_stats(c, c->b);
	if (c->config->owned)
		NEED(c, after.direct_reads > before.direct_reads, "not one of %u reads was direct", 8 * moves);
	OK(c, lh_file_truncate(f, 100));
	NEED(c, lh_file_read(plain, buf, CF_BLOCK, 0) == 100, "a cached lease shows a file that was cut");
	cf_saw(c, "%u plain reads and writes beside %u moves: right, %llu of them without a call to the server",
	       9 * moves, moves, (unsigned long long)(after.direct_reads - before.direct_reads));
}

/* --- L33 --- */

static struct lh_lease *kind(struct cf *c, struct lh_file *f, uint32_t flags)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = flags, .deadline_ns = CF_LONG};
	struct lh_lease *lease;

	OK(c, cf_try_lease(c, f, 0, 4 * SIZE, &o, &lease));
	return lease;
}

static uint64_t read_median(struct cf *c, struct lh_lease *lease, uint64_t owner)
{
	struct cf_numbers n = {0};
	uint8_t *buf = malloc(SIZE);
	uint64_t median;

	NEED(c, buf != NULL, "no memory");
	for (unsigned i = 0; i < 100; i++) {
		uint64_t began = clock_now_ns();

		IS(c, lh_lease_read(lease, buf, SIZE, i % 4 * SIZE), (int64_t)SIZE);
		cf_number(c, &n, clock_now_ns() - began);
	}
	median = cf_percentile(&n, 50);
	cf_numbers_free(&n);
	free(buf);
	return median;
}

static void both_kinds_side_by_side(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, 4 * SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_lease *pinned = kind(c, held, LH_LEASE_READ),
			*faulting = kind(c, held, LH_LEASE_READ | LH_LEASE_FAULTING);
	struct lh_lease *writing = kind(c, held, LH_LEASE_WRITE | LH_LEASE_FAULTING);
	uint64_t cost[2] = {read_median(c, pinned, made.owner), read_median(c, faulting, made.owner)};
	uint8_t buf[CF_BLOCK];
	unsigned moves = 20;

	for (unsigned i = 0; i < moves; i++) {
		uint64_t at = cf_draw(c, 4 * SIZE / CF_BLOCK) * CF_BLOCK;

		OK(c, lh_file_relocate(f, 0, 4 * SIZE));
		cf_stamp(buf, CF_BLOCK, made.owner, at, 2 + i);
		IS(c, lh_lease_write(writing, buf, CF_BLOCK, at), (int64_t)CF_BLOCK);
		cf_lease_same(c, faulting, 0, 4 * SIZE, made.owner);
		cf_lease_same(c, pinned, 0, 4 * SIZE, made.owner);
		cf_same(c, f, 0, 4 * SIZE, made.owner);
	}
	NEED(c, cf_state(c, faulting).recalls + cf_state(c, writing).recalls + cf_state(c, faulting).faults == 0,
	     "a faulting lease was recalled by moves, or had to be got again");
	NEED(c, cf_state(c, pinned).recalls >= moves, "a pinned lease was recalled %llu times by %u moves",
	     (unsigned long long)cf_state(c, pinned).recalls, moves);
	cf_saw(c, "%u moves: pinned %llu recalls, faulting 0; 64 KiB read in %.1f us pinned, %.1f us faulting (p50)",
	       moves, (unsigned long long)cf_state(c, pinned).recalls, (double)cost[0] / 1e3, (double)cost[1] / 1e3);
}

static void faulting_leases_pin_nothing(struct cf *c)
{
	struct lh_lease_stats before = cf_stats(c, c->b);
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, 4 * SIZE, &made);

	kind(c, f, LH_LEASE_READ | LH_LEASE_FAULTING);
	NEED(c, cf_stats(c, c->b).pinned_bytes == before.pinned_bytes, "a faulting lease pins %llu bytes",
	     (unsigned long long)(cf_stats(c, c->b).pinned_bytes - before.pinned_bytes));
}

static const struct cf_case cases_27[] = {
    {"takes a WRITE lease over a hole", holes_are_filled_by_the_grant, 0, "a key does not reach all of it"},
    {"writes by the keys of a WRITE lease over shared blocks", shared_blocks_are_copied_by_the_grant, 0,
     "the other file changes"},
    {"takes WRITE leases in memory that another file left full of stamps", nothing_old_is_shown, CF_FAULTING,
     "one of the stamps can be read"},
};
CF_RULE(27, "a WRITE grant allocates holes, copies shared blocks, zeroes old memory first");
static const struct cf_case cases_28[] = {
    {"writes directly and reads by another session's calls and leases", writes_are_visible_at_once, CF_FAULTING,
     "the reader does not see it, or commit does not update mtime"},
    {"kills the server (kill -9) after commits and releases", commits_survive, CF_OWN | CF_FAULTING,
     "a committed or released byte, or the size, is lost"},
};
CF_RULE(28, "direct writes are visible at once, durable after commit, release or revocation");
static const struct cf_case cases_29[] = {
    {"kills and restarts the server between a direct write and its commit", a_restart_is_told, CF_OWN,
     "commit says success or another error, or names another range"},
    {"commits without a restart", a_commit_in_peace_is_success, CF_FAULTING, "a loss is told"},
};
CF_RULE(29, "a commit after a restart reports the loss with its range instead of success");
static const struct cf_case cases_30[] = {
    {"writes past the end of file and commits in two steps", the_size_grows_at_commit, CF_FAULTING,
     "the size grows before, not to what was committed, or by a release"},
};
CF_RULE(30, "a write lease past end of file allocates; the size grows at commit, never before");
static const struct cf_case cases_32[] = {
    {"reads and writes by plain calls while another moves and cuts the file", plain_calls_go_directly, CF_REMOTE,
     "no read is direct, or one shows old bytes or an error"},
};
CF_RULE(32, "read and write calls of a client use cached leases and fault over the wire");
static const struct cf_case cases_33[] = {
    {"moves a file under a pinned and two faulting leases", both_kinds_side_by_side, 0,
     "the faulting ones are recalled, the pinned one is not, or one of them is wrong"},
    {"counts what a faulting lease pins", faulting_leases_pin_nothing, CF_ALONE, "it pins bytes"},
};
CF_RULE(33, "faulting leases need no pin and notice no move; pinned ones are recalled; same calls");
