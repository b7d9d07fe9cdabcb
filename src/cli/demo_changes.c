/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The demonstration's layout changes, by the process that serves: clones, writes into clones and originals, relocates,
 * truncates and punches the files that clients are using. Freed blocks are filled with junk at once, so that whoever
 * still reached them would read foreign bytes, and junk is checked before it is freed, so that a late write into it
 * shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/types.h"
#include "cli/demo.h"

#define CHANGE_BLOCKS_MAX 256u /* of one change */
#define JUNK_FILES        8u
#define JUNK_BLOCKS       256u
#define JUNK_OWNER        0x6a756e6bull
#define WRITERS           2u

struct works {
	struct demo_changes *c;
	struct lh_file *file[DEMO_FILES]; /* the watched ones, for reading and writing */
	int source[DEMO_FILES];
	struct lh_file *junk[JUNK_FILES];
	uint64_t junk_version, seed;
	uint8_t *buf;
};

static uint64_t draw(struct works *w, uint64_t below)
{
	return demo_draw(&w->seed, below);
}

static int works_fail(struct works *w, int err, const char *what)
{
	if (!w->c->error) {
		w->c->error = err;
		snprintf(w->c->text, sizeof(w->c->text), "%s: %s", what, lh_error_text());
	}
	return err;
}

static int read_source(struct works *w, unsigned f, uint64_t off, uint64_t len)
{
	return pread(w->source[f], w->buf, len, (off_t)off) == (ssize_t)len ? 0 : -EIO;
}

/* Versions of [block, block + count): odd while a change is under way that readers may see. */
static void versions_bump(struct works *w, unsigned f, uint64_t block, uint64_t count)
{
	_Atomic uint32_t *v = demo_versions(w->c->board) + w->c->board->file[f].first;

	for (uint64_t i = 0; i < count; i++)
		atomic_fetch_add(&v[block + i], 1);
}

/* A piece of a watched file. */
struct piece {
	unsigned f;
	uint64_t block, count, off, len;
};

static struct piece piece_draw(struct works *w)
{
	struct piece p = {.f = (unsigned)draw(w, w->c->board->files)};
	const struct demo_watch *file = &w->c->board->file[p.f];

	p.block = draw(w, file->blocks);
	p.count = min_u64(1 + draw(w, CHANGE_BLOCKS_MAX), file->blocks - p.block);
	p.off = p.block * DEMO_BLOCK;
	p.len = min_u64(p.count * DEMO_BLOCK, file->size - p.off);
	return p;
}

static int restore(struct works *w, const struct piece *p)
{
	int err = read_source(w, p->f, p->off, p->len);

	if (err)
		return err;
	return lh_file_write(w->file[p->f], w->buf, p->len, p->off) == (ssize_t)p->len ? 0 : -EIO;
}

/* Overwrites a piece with the bytes that it has: in a shared file, copy on write moves it. */
static int write_same(struct works *w)
{
	struct piece p = piece_draw(w);
	int err = restore(w, &p);

	w->c->cow_writes++;
	return err ? works_fail(w, err, "write into an original") : 0;
}

static int relocate(struct works *w)
{
	struct piece p = piece_draw(w);
	int64_t n = lh_file_relocate(w->file[p.f], p.off, p.count * DEMO_BLOCK);

	if (n < 0)
		return works_fail(w, (int)n, "relocate");
	w->c->relocations++;
	w->c->relocated_blocks += (uint64_t)n;
	return 0;
}

static int truncate_and_restore(struct works *w)
{
	struct piece p = piece_draw(w);
	const struct demo_watch *file = &w->c->board->file[p.f];
	uint64_t end = file->blocks;
	int err;

	/* Behind the watched part there would be more to cut and restore. */
	if (file->size > end * DEMO_BLOCK)
		return 0;
	/* A bounded tail: what is cut has to be written again. */
	p.block = end - 1 - draw(w, min_u64(end, CHANGE_BLOCKS_MAX));
	p.count = end - p.block;
	p.off = p.block * DEMO_BLOCK;
	p.len = file->size - p.off;
	versions_bump(w, p.f, p.block, p.count);
	err = lh_file_truncate(w->file[p.f], p.off);
	if (!err)
		err = restore(w, &p);
	versions_bump(w, p.f, p.block, p.count);
	w->c->truncates++;
	return err ? works_fail(w, err, "truncate and restore") : 0;
}

static int punch_and_restore(struct works *w)
{
	struct piece p = piece_draw(w);
	int err;

	versions_bump(w, p.f, p.block, p.count);
	err = lh_file_punch(w->file[p.f], p.off, p.count * DEMO_BLOCK);
	if (!err)
		err = restore(w, &p);
	versions_bump(w, p.f, p.block, p.count);
	w->c->punches++;
	return err ? works_fail(w, err, "punch and restore") : 0;
}

/* Fresh blocks full of junk: they come from what was just freed. The file's last content is checked first. */
static int junk(struct works *w)
{
	unsigned j = (unsigned)draw(w, JUNK_FILES);
	uint64_t version, base = (uint64_t)j * JUNK_BLOCKS;
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = lh_file_stat(w->junk[j], &st);

	for (uint64_t b = 0; !err && b < st.size / DEMO_BLOCK; b++) {
		if (lh_file_read(w->junk[j], w->buf, DEMO_BLOCK, b * DEMO_BLOCK) != DEMO_BLOCK ||
		    !demo_block_check(w->buf, JUNK_OWNER, base + b, &version) || version == 0)
			w->c->foreign++;
	}
	if (!err)
		err = lh_file_truncate(w->junk[j], 0);
	w->junk_version++;
	for (uint64_t b = 0; b < JUNK_BLOCKS; b++)
		demo_block_fill(w->buf + b * DEMO_BLOCK, JUNK_OWNER, base + b, w->junk_version);
	if (!err &&
	    lh_file_write(w->junk[j], w->buf, (size_t)JUNK_BLOCKS * DEMO_BLOCK, 0) != (ssize_t)JUNK_BLOCKS * DEMO_BLOCK)
		err = -EIO;
	w->c->junk_blocks += JUNK_BLOCKS;
	return err ? works_fail(w, err, "junk") : 0;
}

/* Clones a watched file, scribbles into the clone (the original must not show it), and drops it. */
static int clone_and_scribble(struct works *w)
{
	unsigned f = (unsigned)draw(w, w->c->board->files);
	struct lh_file *clone = NULL;
	uint64_t count = min_u64(CHANGE_BLOCKS_MAX, w->c->board->file[f].blocks), block;
	int err = lh_file_open(w->c->fs, "/clone", O_RDWR | O_CREAT | O_TRUNC, 0600, &clone);

	if (!err)
		err = lh_file_clone_range(clone, 0, w->file[f], 0, 0);
	for (unsigned i = 0; !err && i < 4; i++) {
		block = draw(w, w->c->board->file[f].blocks);
		memset(w->buf, 0xc5, (size_t)count * DEMO_BLOCK);
		if (lh_file_write(clone, w->buf, DEMO_BLOCK * (1 + draw(w, count)), block * DEMO_BLOCK) < 0)
			err = -EIO;
		w->c->cow_writes++;
	}
	w->c->clones++;
	lh_file_close(clone);
	/* Every other clone is dropped at once, the rest at the next one, so that originals stay shared for a while. */
	if (!err && w->c->clones % 2)
		err = lh_path_unlink(w->c->fs, "/clone");
	return err ? works_fail(w, err, "clone") : 0;
}

/* A writer's file is moved and cloned under it; each block of the clone must be some version of that very block. */
static int writer_clone(struct works *w)
{
	unsigned i = (unsigned)draw(w, DEMO_CLIENTS);
	struct lh_file *from = NULL, *clone = NULL;
	uint64_t version, off = draw(w, DEMO_WRITER_BYTES / DEMO_BLOCK) * DEMO_BLOCK;
	char path[64];
	int64_t moved;
	int err = 0;

	if (w->c->board->client[i].role != DEMO_WRITER)
		return 0;
	snprintf(path, sizeof(path), "/writers/w%u", i);
	err = lh_file_open(w->c->fs, path, O_RDWR, 0, &from);
	if (!err)
		err = lh_file_open(w->c->fs, "/writers/clone", O_RDWR | O_CREAT | O_TRUNC, 0600, &clone);
	if (!err)
		err = lh_file_clone_range(clone, 0, from, 0, 0);
	for (uint64_t b = 0; !err && b < DEMO_WRITER_BYTES / DEMO_BLOCK; b += 1 + draw(w, 16)) {
		if (lh_file_read(clone, w->buf, DEMO_BLOCK, b * DEMO_BLOCK) != DEMO_BLOCK ||
		    !demo_block_check(w->buf, w->c->board->writer_seed + i, b, &version))
			w->c->foreign++;
	}
	w->c->clones++;
	moved = err ? err : lh_file_relocate(from, off, (uint64_t)CHANGE_BLOCKS_MAX * DEMO_BLOCK);
	if (moved > 0) {
		w->c->relocations++;
		w->c->relocated_blocks += (uint64_t)moved;
	}
	lh_file_close(clone);
	lh_file_close(from);
	return moved < 0 ? works_fail(w, (int)moved, "a writer's clone") : 0;
}

static int works_open(struct works *w)
{
	char path[64];
	int err = w->buf ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < w->c->board->files; i++) {
		w->source[i] = open(w->c->board->file[i].source, O_RDONLY | O_CLOEXEC);
		err = w->source[i] < 0 ? -errno
				       : lh_file_open(w->c->fs, w->c->board->file[i].path, O_RDWR, 0, &w->file[i]);
	}
	for (unsigned i = 0; !err && i < JUNK_FILES; i++) {
		snprintf(path, sizeof(path), "/junk%u", i);
		err = lh_file_open(w->c->fs, path, O_RDWR | O_CREAT, 0600, &w->junk[i]);
	}
	return err ? works_fail(w, err, "opening the files to change") : 0;
}

static int change_once(struct works *w)
{
	static int (*const changes[])(struct works * w) = {
	    relocate,          relocate,     write_same,   write_same, clone_and_scribble, truncate_and_restore,
	    punch_and_restore, writer_clone, writer_clone, junk};

	return changes[draw(w, ARRAY_LEN(changes))](w);
}

void demo_changes_run(struct demo_changes *c)
{
	struct works w = {.c = c, .seed = 0x9e3779b97f4a7c15ull};
	int err;

	for (unsigned i = 0; i < DEMO_FILES; i++)
		w.source[i] = -1;
	w.buf = malloc((size_t)CHANGE_BLOCKS_MAX * DEMO_BLOCK);
	err = works_open(&w);
	while (!err && clock_now_ns() < c->until_ns)
		err = change_once(&w);
	for (unsigned i = 0; i < DEMO_FILES; i++) {
		lh_file_close(w.file[i]);
		if (w.source[i] >= 0)
			close(w.source[i]);
	}
	for (unsigned i = 0; i < JUNK_FILES; i++)
		lh_file_close(w.junk[i]);
	free(w.buf);
}
