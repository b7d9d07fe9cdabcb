/* SPDX-License-Identifier: BSD-2-Clause */
#include "kill_model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLLAPSED BLOCK

unsigned kill_random(unsigned *state, unsigned below)
{
	*state = *state * 1664525u + 1013904223u;
	return (*state >> 8) % below;
}

void kill_apply(struct kill_file *files, const struct kill_op *op)
{
	struct kill_file old = files[op->b];

	switch (op->kind) {
	case KILL_PUT:
	case KILL_CUT:
	case KILL_COLLAPSE:
	case KILL_TAG:
	case KILL_NAMELESS:
		files[op->a] = op->file;
		return;
	case KILL_REMOVE:
		files[op->a].seed = 0;
		return;
	case KILL_RENAME:
		files[op->b] = files[op->a];
		files[op->a].seed = 0;
		return;
	case KILL_EXCHANGE:
		files[op->b] = files[op->a];
		files[op->a] = old;
		return;
	case KILL_CLONE:
	case KILL_COPY:
		files[op->b] = files[op->a];
		files[op->b].tag = 0;
		return;
	case KILL_MOVE_BLOCKS:
	case KILL_DIRECT:
	case KILL_SYNC:
		return;
	}
}

static const char *slot_path(const struct kill_worker *w, unsigned slot, char path[64])
{
	snprintf(path, 64, "/w%u/s%u", w->number, slot);
	return path;
}

static const char *other_path(const struct kill_worker *w, const char *what, char path[64])
{
	snprintf(path, 64, "/w%u/%s", w->number, what);
	return path;
}

/* The contents come by a name that nobody looks at, and get theirs in one step. */
static int put(struct lh_fs *fs, struct kill_worker *w, unsigned slot, struct kill_file f)
{
	static uint8_t buf[KILL_FILE_MAX];
	char tmp[64], path[64];
	struct lh_file *file;
	ssize_t n = 0;
	int err;

	rig_fill(buf, f.size, f.seed, 0);
	err = lh_file_open(fs, other_path(w, "tmp", tmp), O_RDWR | O_CREAT | O_TRUNC, 0644, &file);
	if (err)
		return err;
	for (size_t off = 0; n >= 0 && off < f.size; off += (size_t)n)
		n = lh_file_write(file, buf + off, f.size - off < 10000 ? f.size - off : 10000, off);
	err = lh_file_close(file);
	if (n < 0)
		return (int)n;
	return err ? err : lh_path_rename(fs, tmp, slot_path(w, slot, path), 0);
}

static int clone(struct lh_fs *fs, struct kill_worker *w, unsigned a, unsigned b, bool copy)
{
	struct lh_file *src = NULL, *dst = NULL;
	char tmp[64], path[64];
	int err;

	err = lh_file_open(fs, slot_path(w, a, path), O_RDONLY, 0, &src);
	if (!err)
		err = lh_file_open(fs, other_path(w, "tmp", tmp), O_RDWR | O_CREAT | O_TRUNC, 0644, &dst);
	if (!err && !copy)
		err = lh_file_clone_range(dst, 0, src, 0, 0);
	for (uint64_t off = 0; !err && copy;) {
		ssize_t n = lh_file_copy_range(dst, off, src, off, KILL_FILE_MAX);

		if (n <= 0) {
			err = (int)n;
			break;
		}
		off += (uint64_t)n;
	}
	lh_file_close(src);
	lh_file_close(dst);
	return err ? err : lh_path_rename(fs, tmp, slot_path(w, b, path), 0);
}

static int cut_or_move(struct lh_fs *fs, struct kill_worker *w, const struct kill_op *op)
{
	struct lh_file *file;
	char path[64];
	int64_t n = 0;
	int err;

	err = lh_file_open(fs, slot_path(w, op->a, path), O_RDWR, 0, &file);
	if (err)
		return err;
	if (op->kind == KILL_CUT)
		n = lh_file_truncate(file, op->file.size);
	else if (op->kind == KILL_COLLAPSE)
		n = lh_file_fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, COLLAPSED);
	else
		n = lh_file_relocate(file, 0, KILL_FILE_MAX);
	err = lh_file_close(file);
	return n < 0 ? (int)n : err;
}

static int set_tag(struct lh_fs *fs, struct kill_worker *w, const struct kill_op *op)
{
	char path[64];

	return lh_path_setxattr(fs, slot_path(w, op->a, path), true, "user.tag", &op->file.tag, sizeof(op->file.tag),
				0);
}

static int nameless(struct lh_fs *fs, struct kill_worker *w, const struct kill_op *op)
{
	static uint8_t buf[KILL_FILE_MAX];
	struct lh_file *file;
	char path[64];
	ssize_t n;
	int err = lh_file_open(fs, other_path(w, "", path), O_TMPFILE | O_RDWR, 0600, &file);

	if (err)
		return err;
	rig_fill(buf, op->file.size, op->file.seed, 0);
	n = lh_file_write(file, buf, op->file.size, 0);
	err = n < 0 ? (int)n : n == (ssize_t)op->file.size ? 0 : -EIO;
	if (!err)
		err = lh_file_link(file, slot_path(w, op->a, path));
	n = lh_file_close(file);
	return err ? err : (int)n;
}

/* L28: one block directly, then its commit. The lease stands from one call to the next, until somebody recalls it. */
static int direct(struct lh_lease *lease, struct kill_worker *w, const struct kill_op *op)
{
	uint8_t block[BLOCK];
	ssize_t n;
	int err;

	rig_fill(block, BLOCK, op->file.seed, 0);
	w->block_next[op->a] = op->file.seed;
	n = lh_lease_write(lease, block, BLOCK, op->a * BLOCK);
	if (n < 0)
		return (int)n;
	err = lh_lease_commit(lease, op->a * BLOCK, BLOCK);
	if (!err)
		w->block_done[op->a] = op->file.seed;
	return err;
}

static int run(struct lh_fs *fs, struct lh_lease *lease, struct kill_worker *w, const struct kill_op *op)
{
	char from[64], to[64];

	switch (op->kind) {
	case KILL_PUT:
		return put(fs, w, op->a, op->file);
	case KILL_REMOVE:
		return lh_path_unlink(fs, slot_path(w, op->a, from));
	case KILL_RENAME:
		return lh_path_rename(fs, slot_path(w, op->a, from), slot_path(w, op->b, to), 0);
	case KILL_EXCHANGE:
		return lh_path_rename(fs, slot_path(w, op->a, from), slot_path(w, op->b, to), LH_RENAME_EXCHANGE);
	case KILL_CLONE:
	case KILL_COPY:
		return clone(fs, w, op->a, op->b, op->kind == KILL_COPY);
	case KILL_TAG:
		return set_tag(fs, w, op);
	case KILL_NAMELESS:
		return nameless(fs, w, op);
	case KILL_CUT:
	case KILL_COLLAPSE:
	case KILL_MOVE_BLOCKS:
		return cut_or_move(fs, w, op);
	case KILL_DIRECT:
		return direct(lease, w, op);
	case KILL_SYNC:
		return lh_fs_sync(fs);
	}
	return -EINVAL;
}

/* Something that can be done to these files. */
static struct kill_op choose(const struct kill_file *files, unsigned *seed)
{
	struct kill_op op = {.a = kill_random(seed, KILL_SLOTS), .b = kill_random(seed, KILL_SLOTS)};

	op.kind = (enum kill_kind)kill_random(seed, KILL_KINDS);
	if (op.kind == KILL_SYNC && kill_random(seed, 4) > 0)
		op.kind = KILL_DIRECT;
	if (op.kind == KILL_DIRECT)
		op.a = kill_random(seed, KILL_BLOCKS);
	else if (op.kind != KILL_SYNC && files[op.a].seed == 0)
		op.kind = kill_random(seed, 2) ? KILL_PUT : KILL_NAMELESS;
	else if (op.kind != KILL_SYNC && (op.a == op.b || op.kind == KILL_NAMELESS))
		op.kind = KILL_PUT;
	if (op.kind == KILL_COLLAPSE && files[op.a].size <= COLLAPSED)
		op.kind = KILL_TAG;
	if (op.kind == KILL_EXCHANGE && files[op.b].seed == 0)
		op.kind = KILL_RENAME;
	op.file =
	    (struct kill_file){.seed = 1 + kill_random(seed, 1u << 24), .size = 1 + kill_random(seed, KILL_FILE_MAX)};
	if (op.kind == KILL_CUT || op.kind == KILL_COLLAPSE || op.kind == KILL_TAG)
		op.file = files[op.a];
	if (op.kind == KILL_CUT)
		op.file.size = kill_random(seed, files[op.a].size + 1);
	if (op.kind == KILL_COLLAPSE) {
		op.file.shift += COLLAPSED;
		op.file.size -= COLLAPSED;
	}
	if (op.kind == KILL_TAG)
		op.file.tag = 1 + kill_random(seed, 1u << 24);
	return op;
}

/* Not part of any model: all workers at once at the same names, and at each other's leases. */
static int quarrel(struct lh_fs *fs, const struct kill_worker *w, unsigned *seed)
{
	char a[64], b[64], dir[64];
	struct lh_file *file;
	int err;

	snprintf(a, sizeof(a), "/all/%u", kill_random(seed, 4));
	snprintf(b, sizeof(b), "/all/%u", kill_random(seed, 4));
	snprintf(dir, sizeof(dir), "/all/d%u", kill_random(seed, 2));
	err = lh_path_mkdir(fs, dir, 0755);
	if (err != -ENOTCONN)
		err = lh_path_rename(fs, a, b, 0);
	if (err != -ENOTCONN)
		err = kill_random(seed, 2) ? lh_path_unlink(fs, a) : lh_path_rmdir(fs, dir);
	if (err != -ENOTCONN)
		err = lh_file_open(fs, a, O_RDWR | O_CREAT, 0644, &file);
	if (!err) {
		ssize_t n = lh_file_write(file, a, sizeof(a), kill_random(seed, 50000));

		err = lh_file_close(file);
		err = n < 0 ? (int)n : err;
	}
	snprintf(a, sizeof(a), "/w%u/direct", kill_random(seed, KILL_WORKERS));
	if (err != -ENOTCONN && kill_random(seed, 4) == 0)
		err = lh_file_open(fs, a, O_RDWR, 0, &file);
	else
		file = NULL;
	if (!err && file) {
		int64_t moved = lh_file_relocate(file, kill_random(seed, KILL_BLOCKS) * BLOCK, 4 * BLOCK);

		err = lh_file_close(file);
		err = moved < 0 ? (int)moved : err;
	}
	if (err != -ENOTCONN && kill_random(seed, 8) == 0) {
		snprintf(a, sizeof(a), "/w%u", kill_random(seed, KILL_WORKERS));
		snprintf(b, sizeof(b), "/snapshot%u", w->number);
		err = lh_fs_snapshot(fs, a, b, 0);
		if (!err || err == -EEXIST)
			err = lh_fs_snapshot_delete(fs, b);
	}
	return err == -ENOTCONN || err == -ENOSPC || err == -EIO || err == -EPROTO ? err : 0;
}

void kill_work(const struct rig *rig, struct kill_worker *w, unsigned seed)
{
	struct kill_file files[KILL_SLOTS];
	struct lh_lease *lease;
	struct lh_file *file;
	char path[64];
	int err = 0;

	rig_way = (enum way)(w->number % 3);
	memcpy(files, w->base, sizeof(files));
	struct lh_fs *fs = rig_open(rig);

	file = rig_reopen(fs, other_path(w, "direct", path), O_RDWR);
	lease = rig_lease(file, 0, KILL_BLOCKS * BLOCK, LH_LEASE_WRITE);
	atomic_store(&w->ready, true);
	for (unsigned n = 0; !err && n < KILL_OPS_MAX; n++) {
		w->ops[n] = choose(files, &seed);
		atomic_store(&w->started, n + 1);
		err = run(fs, lease, w, &w->ops[n]);
		if (err)
			break;
		kill_apply(files, &w->ops[n]);
		atomic_store(&w->done, n + 1);
		if (w->ops[n].kind == KILL_SYNC)
			atomic_store(&w->synced, n + 1);
		if (kill_random(&seed, 8) == 0)
			err = quarrel(fs, w, &seed);
	}
	if (err != -ENOTCONN)
		snprintf(w->failure, sizeof(w->failure), "operation %u of kind %d: %d, %s", w->started,
			 w->started ? (int)w->ops[w->started - 1].kind : -1, err, lh_error_text());
}

struct content {
	uint8_t *bytes;
	ssize_t size; /* -1: no such file */
	unsigned tag;
};

static int load(struct lh_fs *fs, const char *path, struct content *c)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *file;
	ssize_t n;
	int err;

	c->size = -1;
	err = lh_file_open(fs, path, O_RDONLY, 0, &file);
	if (err == -ENOENT)
		return 0;
	if (!err)
		err = lh_file_stat(file, &st);
	if (err || st.size > MIB) {
		fprintf(stderr, "%s: %s, size %llu\n", path, lh_error_text(), (unsigned long long)st.size);
		return 1;
	}
	c->bytes = malloc(st.size + 1);
	n = lh_file_read(file, c->bytes, st.size + 1, 0);
	if (n != (ssize_t)st.size || lh_file_close(file)) {
		fprintf(stderr, "%s: read of %llu returned %zd: %s\n", path, (unsigned long long)st.size, n,
			lh_error_text());
		return 1;
	}
	c->size = n;
	n = lh_path_getxattr(fs, path, true, "user.tag", &c->tag, sizeof(c->tag));
	if (n == (ssize_t)sizeof(c->tag) || n == -ENODATA)
		return 0;
	fprintf(stderr, "%s: its tag: %zd, %s\n", path, n, lh_error_text());
	return 1;
}

static bool is(const struct content *c, struct kill_file f)
{
	if (f.seed == 0 || f.seed == KILL_UNKNOWN || c->size != (ssize_t)f.size)
		return f.seed == 0 && c->size == -1;
	for (size_t i = 0; i < f.size; i++) {
		if (c->bytes[i] != rig_byte(f.seed, f.shift + i))
			return false;
	}
	return c->tag == f.tag;
}

/* Bytes of the last commit, or of the write that had begun; if it is a mixture, nothing is known until the next commit.
 */
static int verify_block(struct kill_worker *w, unsigned b, const uint8_t *bytes)
{
	struct kill_file done = {.seed = w->block_done[b], .size = BLOCK};
	struct kill_file next = {.seed = w->block_next[b], .size = BLOCK};
	struct content c = {.bytes = (uint8_t *)bytes, .size = BLOCK};
	bool zero = true;

	for (size_t i = 0; i < BLOCK && done.seed != KILL_UNKNOWN; i++) {
		uint8_t was = done.seed ? rig_byte(done.seed, i) : 0;

		zero = zero && bytes[i] == 0;
		if (bytes[i] == was || (next.seed != done.seed && bytes[i] == rig_byte(next.seed, i)))
			continue;
		fprintf(stderr, "worker %u: directly written block %u: byte %zu is %#x, committed was %#x\n", w->number,
			b, i, bytes[i], was);
		return 1;
	}
	if (is(&c, next))
		done = next;
	else if (done.seed == 0 ? !zero : !is(&c, done))
		done.seed = KILL_UNKNOWN;
	w->block_done[b] = w->block_next[b] = done.seed;
	return 0;
}

static int verify_direct(struct lh_fs *fs, struct kill_worker *w)
{
	struct content c = {0};
	char path[64];
	int bad;

	bad = load(fs, other_path(w, "direct", path), &c);
	if (!bad && c.size != (ssize_t)(KILL_BLOCKS * BLOCK)) {
		fprintf(stderr, "%s has %zd bytes\n", path, c.size);
		return 1;
	}
	for (unsigned b = 0; !bad && b < KILL_BLOCKS; b++)
		bad = verify_block(w, b, c.bytes + b * BLOCK);
	free(c.bytes);
	return bad;
}

static void explain(const struct kill_worker *w, const struct content *c, unsigned from)
{
	static const char *const names[] = {"put",    "remove", "rename",   "exchange", "clone", "cut",     "relocate",
					    "direct", "sync",   "collapse", "tag",      "copy",  "nameless"};

	fprintf(stderr, "worker %u: no state from operation %u to %u (done %u, synced %u) is what was found:\n",
		w->number, from, w->started, w->done, w->synced);
	for (unsigned s = 0; s < KILL_SLOTS; s++)
		fprintf(stderr, "  s%u: %zd bytes\n", s, c[s].size);
	for (unsigned n = from > 12 ? from - 12 : 0; n < w->started; n++)
		fprintf(stderr, "  %u %s s%u s%u, seed %u size %u\n", n, names[w->ops[n].kind], w->ops[n].a,
			w->ops[n].b, w->ops[n].file.seed, w->ops[n].file.size);
}

int kill_verify(struct lh_fs *fs, struct kill_worker *w, bool any)
{
	unsigned from = any ? w->synced : w->done, found = UINT32_MAX;
	struct content c[KILL_SLOTS] = {0};
	struct kill_file files[KILL_SLOTS];
	char path[64];

	if (w->failure[0]) {
		fprintf(stderr, "worker %u: %s\n", w->number, w->failure);
		return 1;
	}
	for (unsigned s = 0; s < KILL_SLOTS; s++) {
		if (load(fs, slot_path(w, s, path), &c[s]))
			return 1;
	}
	memcpy(files, w->base, sizeof(files));
	for (unsigned n = 0; n <= w->started && found == UINT32_MAX; n++) {
		bool same = n >= from;

		for (unsigned s = 0; same && s < KILL_SLOTS; s++)
			same = is(&c[s], files[s]);
		if (same)
			found = n;
		else if (n < w->started)
			kill_apply(files, &w->ops[n]);
	}
	if (found == UINT32_MAX)
		explain(w, c, from);
	for (unsigned s = 0; s < KILL_SLOTS; s++)
		free(c[s].bytes);
	if (found == UINT32_MAX || verify_direct(fs, w))
		return 1;
	memcpy(w->base, files, sizeof(files));
	w->started = w->done = w->synced = 0;
	w->ready = false;
	return 0;
}

int kill_prepare(struct lh_fs *fs, struct kill_worker *w)
{
	struct lh_file *file;
	char path[64];
	int err;

	err = lh_path_mkdir(fs, "/all", 0755);
	err = err == -EEXIST ? 0 : err;
	if (!err)
		err = lh_path_mkdir(fs, other_path(w, "", path), 0755);
	if (!err)
		err = lh_file_open(fs, other_path(w, "direct", path), O_RDWR | O_CREAT, 0644, &file);
	if (err)
		return err;
	err = lh_file_truncate(file, KILL_BLOCKS * BLOCK);
	lh_file_close(file);
	return err;
}
