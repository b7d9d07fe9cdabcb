/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conformance, the long mode: revocations by the million under attack, and no stale byte.
 *
 * Attackers are processes that take leases on small pieces of a few files, give nothing back, and read and write by raw
 * keys: those that they hold and a thousand that they held. What they write are the right stamps for where the key once
 * led; what they read must be the file's stamps or zeroes. The changers move, cut and refill the files, and give every
 * block that comes free to junk files at once, which are checked before they go. A byte that reached a block after its
 * revocation is the wrong owner's cell in a file or in junk, or was read as one.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define FILES     6u
#define FILE_SIZE (256 * CF_KIB)
#define PIECE     (2 * CF_BLOCK)
#define PIECES    ((unsigned)(FILE_SIZE / PIECE))
#define OLD_KEYS  1024u
#define TRIES     32u /* old keys after every round */
#define ATTACKERS 4u
#define CHANGERS  2u
#define JUNK      (512 * CF_KIB)

static void file_path(const char *work, unsigned i, char path[256])
{
	snprintf(path, 256, "%s/long.%u", work, i);
}

/* --- the attacker's process --- */

struct old_key {
	struct lh_lease_extent e;
	uint64_t owner;
};

struct attacker {
	struct cf_child_board *b;
	struct lh_fs *fs;
	struct lh_file *file[FILES];
	struct lh_lease *lease[PIECES];
	struct old_key old[OLD_KEYS];
	unsigned olds;
	uint64_t seed, version;
	uint8_t buf[PIECE];
};

static uint64_t draw(struct attacker *a, uint64_t below)
{
	a->seed ^= a->seed << 13;
	a->seed ^= a->seed >> 7;
	a->seed ^= a->seed << 17;
	return a->seed % below;
}

static void use_key(struct attacker *a, const struct old_key *k, bool writing)
{
	uint64_t len = min_u64(k->e.len, PIECE);
	struct cf_seen s = {0};
	ssize_t n;

	if (writing) {
		cf_stamp(a->buf, len, k->owner, k->e.file_off, a->version);
		n = lh_raw_write(a->fs, k->e.key, k->e.key_off, a->buf, len);
	} else {
		n = lh_raw_read(a->fs, k->e.key, k->e.key_off, a->buf, len);
	}
	if (n < 0) {
		atomic_fetch_add(&a->b->refused, 1);
		return;
	}
	atomic_fetch_add(&a->b->rounds, 1);
	if (writing)
		return;
	cf_look(a->buf, (size_t)n, k->owner, k->e.file_off, &s);
	atomic_fetch_add(&a->b->foreign, s.foreign);
}

/* Leases on every piece of one file, forced without a grace; their keys are used now and remembered. */
static int attack_round(struct attacker *a)
{
	unsigned f = (unsigned)draw(a, FILES);
	bool writing = draw(a, 2);

	for (unsigned i = 0; i < PIECES; i++) {
		struct lh_lease_options o = {.size = sizeof(o),
					     .flags = LH_LEASE_MANUAL | LH_LEASE_NOW | LH_LEASE_NOWAIT |
						      (writing ? LH_LEASE_WRITE : LH_LEASE_READ)};
		struct old_key k = {.owner = a->b->owner + f};

		lh_lease_release(a->lease[i]);
		a->lease[i] = NULL;
		if (lh_lease_get(a->file[f], i * PIECE, PIECE, &o, &a->lease[i]) < 0)
			continue;
		if (lh_lease_extents(a->lease[i], &k.e, 1) != 1 || k.e.key == 0)
			continue;
		use_key(a, &k, writing);
		a->old[a->olds++ % OLD_KEYS] = k;
	}
	for (unsigned i = 0; i < TRIES && a->olds > 0; i++)
		use_key(a, &a->old[draw(a, min_u64(a->olds, OLD_KEYS))], draw(a, 2));
	a->version++;
	return 0;
}

int cf_attack(struct cf_child_board *b)
{
	static struct attacker a;
	struct lh_open_options o = {
	    .size = sizeof(o), .fabric = (enum lh_fabric)b->fabric, .ring_bytes = 4 * CF_MIB, .no_cache = true};
	struct lh_event e = {.size = sizeof(e)};
	char path[256];
	int err;

	a.b = b;
	a.seed = b->seed | 1;
	a.version = 2;
	err = lh_fs_open(b->address, &o, &a.fs);
	for (unsigned i = 0; i < FILES && !err; i++) {
		file_path(b->path, i, path);
		err = lh_file_open(a.fs, path, O_RDWR, 0, &a.file[i]);
	}
	if (err)
		return err;
	atomic_store(&b->ready, 1);
	while (!atomic_load(&b->stop) && !err) {
		err = attack_round(&a);
		while (lh_event_next(a.fs, &e) == 1)
			;
	}
	return err;
}

/* --- the changers --- */

struct changer {
	struct cf_task task;
	struct lh_file *file[FILES];
	uint64_t owner, seed, junk_cells;
	unsigned number;
	_Atomic bool *stop;
};

static uint64_t changer_draw(struct changer *x, uint64_t below)
{
	x->seed ^= x->seed << 13;
	x->seed ^= x->seed >> 7;
	x->seed ^= x->seed << 17;
	return x->seed % below;
}

/* A file's cells are its own or nobody's, whoever writes them. */
static void check_file(struct cf *c, struct lh_file *f, uint64_t owner, void *buf)
{
	struct cf_seen s = {0};
	ssize_t n = lh_file_read(f, buf, FILE_SIZE, 0);

	NEED(c, n >= 0, "reading a file: %s", lh_error_text());
	cf_look(buf, (size_t)n, owner, 0, &s);
	NEED(c, s.foreign == 0, "a stale byte: a cell of %" PRIx64 " at %" PRIu64 " of the file of %" PRIx64,
	     s.bad_owner, s.bad_off, owner);
}

static void check_junk(struct cf *c, struct changer *x, void *buf)
{
	uint64_t owner = (x->owner ^ 0x4a554e4b00000000ull) + x->number;
	struct cf_seen s = {0};
	struct lh_file *f;
	char path[256];

	snprintf(path, sizeof(path), "%s/junk.%u", c->config->work, x->number);
	OK(c, lh_file_open(x->task.fs, path, O_RDWR | O_CREAT | O_TRUNC, 0600, &f));
	cf_stamp(buf, JUNK, owner, 0, 1);
	IS(c, lh_file_write(f, buf, JUNK, 0), (int64_t)JUNK);
	memset(buf, 0, JUNK);
	IS(c, lh_file_read(f, buf, JUNK, 0), (int64_t)JUNK);
	cf_look(buf, JUNK, owner, 0, &s);
	NEED(c, s.own == JUNK / CF_CELL, "a stale byte: a cell of %" PRIx64 " in a block's next owner", s.bad_owner);
	x->junk_cells += s.own;
	OK(c, lh_file_close(f));
	OK(c, lh_path_unlink(x->task.fs, path));
}

static int64_t change(struct cf_task *t)
{
	struct changer *x = t->arg;
	struct cf *c = t->c;
	void *buf = malloc(JUNK);

	NEED(c, buf != NULL, "no memory");
	for (unsigned i = 0; !atomic_load(x->stop); i++) {
		unsigned f = (unsigned)changer_draw(x, FILES);
		uint64_t how = changer_draw(x, 8);

		if (how == 0)
			OK(c, lh_file_truncate(x->file[f], 0));
		else if (how == 1)
			OK(c, lh_file_punch(x->file[f], 0, FILE_SIZE));
		else
			OK(c, lh_file_relocate(x->file[f], 0, FILE_SIZE));
		if (how < 2)
			cf_fill(c, x->file[f], 0, FILE_SIZE, x->owner + f, 1);
		if (i % 16 == 0)
			check_junk(c, x, buf);
		if (i % 8 == 0)
			check_file(c, x->file[f], x->owner + f, buf);
	}
	free(buf);
	return 0;
}

static void start_changer(struct cf *c, struct changer *x, unsigned number, uint64_t owner, _Atomic bool *stop)
{
	char path[256];

	x->number = number;
	x->owner = owner;
	x->seed = cf_draw(c, 0) | 1;
	x->stop = stop;
	x->task.fs = c->local != NULL ? c->local : cf_session(c, c->variant.changer);
	x->task.run = change;
	x->task.arg = x;
	for (unsigned i = 0; i < FILES; i++) {
		file_path(c->config->work, i, path);
		OK(c, lh_file_open(x->task.fs, path, O_RDWR | O_CREAT, 0666, &x->file[i]));
		cf_keep_file(c, x->file[i]);
		if (number == 0)
			cf_fill(c, x->file[i], 0, FILE_SIZE, owner + i, 1);
	}
}

static struct cf_child *start_attacker(struct cf *c, unsigned number, uint64_t owner)
{
	static const enum cf_end by_unix[] = {CF_END_RING, CF_END_STREAM};
	enum cf_end end = c->config->way == CF_TCP ? CF_END_TCP : by_unix[number % 2];
	struct cf_child *h = cf_child_new(c, CF_ATTACK, NULL);

	snprintf(h->board->address, sizeof(h->board->address), "%s", cf_address(c, end));
	snprintf(h->board->path, sizeof(h->board->path), "%s", c->config->work);
	h->board->fabric = end == CF_END_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM;
	h->board->owner = owner;
	cf_child_start(c, h);
	return h;
}

static void millions(struct cf *c)
{
	uint64_t owner = cf_owner(c) << 8, want = c->config->revocations, done = 0, refused = 0, moved = 0, foreign = 0,
		 junk = 0;
	static struct changer x[CHANGERS];
	struct lh_lease_stats before = cf_stats(c, c->b), s;
	struct cf_child *h[ATTACKERS];
	uint64_t began = clock_now_ns();
	static _Atomic bool stop;

	for (unsigned i = 0; i < CHANGERS; i++)
		start_changer(c, &x[i], i, owner, &stop);
	for (unsigned i = 0; i < ATTACKERS; i++)
		h[i] = start_attacker(c, i, owner);
	for (unsigned i = 0; i < CHANGERS; i++)
		cf_go(c, &x[i].task);
	atomic_store(&c->board->progress_total, want);
	while (done < want) {
		cf_sleep(50 * NS_PER_MS);
		s = cf_stats(c, c->b);
		done = s.forced - before.forced + s.released_in_time - before.released_in_time;
		atomic_store(&c->board->progress, done);
		for (unsigned i = 0; i < ATTACKERS; i++)
			NEED(c, !atomic_load(&h[i]->board->ended) && atomic_load(&h[i]->board->foreign) == 0,
			     "an attacker read %" PRIu64 " stale cells, or ended: %s",
			     atomic_load(&h[i]->board->foreign), h[i]->board->text);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < CHANGERS; i++) {
		OK(c, cf_join(c, &x[i].task));
		junk += x[i].junk_cells;
	}
	for (unsigned i = 0; i < ATTACKERS; i++) {
		refused += atomic_load(&h[i]->board->refused);
		moved += atomic_load(&h[i]->board->rounds);
		cf_child_end(c, h[i]);
	}
	for (unsigned i = 0; i < FILES; i++) {
		static uint8_t buf[FILE_SIZE];

		check_file(c, x[0].file[i], owner + i, buf);
	}
	cf_saw(c,
	       "%" PRIu64 " revocations in %.1f s against %u processes: %" PRIu64 " uses of dead keys refused, %" PRIu64
	       " of live ones, %" PRIu64 " cells of next owners checked: %" PRIu64 " stale bytes",
	       done, (double)(clock_now_ns() - began) / 1e9, ATTACKERS, refused, moved, junk, foreign);
}

static const struct cf_case cases_37[] = {
    {"revokes under attack by several processes that use live and old keys", millions, CF_ALONE | CF_ONCE,
     "one byte is read from, or lands in, a block after its revocation"},
};
CF_RULE(37, "the long mode: no stale byte in any number of revocations (L7, L12, L13, L14)");
