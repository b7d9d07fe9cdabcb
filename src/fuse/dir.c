/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listings. Offsets: 0 the start, 1 behind ".", 2 behind "..", a cookie of the library's + 2 behind that entry. What
 * did not fit into one answer waits in the handle for the next.
 */
#include "fuse/mount.h"

#include <stdlib.h>
#include <string.h>

#define DOTS 2u

static int open_dir(struct call *c, struct handle *h)
{
	int err;

	lock_take(&h->lock);
	err = session_dir(c, h, 0);
	lock_drop(&h->lock);
	return err;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h;
	struct call c;
	int err;

	call_begin(&c, req, ino);
	h = handle_new(c.m, ino, fi->flags);
	err = h ? 0 : -ENOMEM;
	if (h) {
		do
			err = open_dir(&c, h);
		while (call_again(&c, err));
	}
	if (err) {
		if (h)
			(void)handle_free(c.m, h);
		call_reply(&c, err);
		return;
	}
	fi->fh = (uintptr_t)h;
	call_end(&c);
	if (fuse_reply_open(req, fi) == -ENOENT)
		(void)handle_free(c.m, h);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call c;

	call_begin(&c, req, ino);
	call_reply(&c, handle_free(c.m, handle_of(fi)));
}

struct listing {
	struct call *c;
	struct handle *h;
	bool plus;
	char *buf;
	size_t size, used;
};

/* False: it does not fit. */
static bool put(struct listing *l, const char *name, const struct lh_stat *st, bool attr, uint64_t off)
{
	struct fuse_entry_param e = {0};
	size_t need, left = l->size - l->used;
	char *at = l->buf + l->used;

	if (attr) {
		stat_to_kernel(st, &e.attr);
	} else {
		e.attr.st_ino = st->ino;
		e.attr.st_mode = st->mode;
	}
	if (!l->plus) {
		need = fuse_add_direntry(l->c->req, at, left, name, &e.attr, (off_t)off);
	} else {
		/* Without a node the kernel takes the name only. */
		e.ino = attr ? st->ino : 0;
		e.attr_timeout = l->c->m->attr_s;
		e.entry_timeout = l->c->m->entry_s;
		need = fuse_add_direntry_plus(l->c->req, at, left, name, &e, (off_t)off);
	}
	if (need > left)
		return false;
	l->used += need;
	if (attr && l->plus)
		told_attr(l->c->m, st);
	return true;
}

/* "." and "..": their nodes are known to the kernel already. */
static bool put_dots(struct listing *l)
{
	struct lh_stat st = {.ino = l->h->ino, .mode = S_IFDIR};
	struct handle *h = l->h;

	if (h->at == 0) {
		if (!put(l, ".", &st, false, 1))
			return false;
		h->at = 1;
	}
	if (h->at == 1) {
		struct lh_stat up = {.size_of = sizeof(up)};

		if (lh_path_stat(l->c->fs, "..", false, &up) == 0)
			st.ino = up.ino;
		if (!put(l, "..", &st, false, 2))
			return false;
		h->at = DOTS;
	}
	return true;
}

static int next(struct listing *l)
{
	struct handle *h = l->h;
	int n;

	if (h->pending && (!l->plus || h->pending_st))
		return 1;
	if (h->pending) { /* it was asked for without attributes, and now with */
		h->pending = false;
		lh_dir_seek(h->dir, h->at - DOTS);
	}
	h->st.size_of = sizeof(h->st);
	do {
		n = session_dir(l->c, h, h->at - DOTS);
		if (!n)
			n = l->plus ? lh_dir_next_stat(h->dir, &h->entry, &h->st) : lh_dir_next(h->dir, &h->entry);
	} while (call_again(l->c, n));
	h->pending = n == 1;
	h->pending_st = l->plus;
	return n;
}

static int list(struct listing *l, uint64_t off)
{
	struct handle *h = l->h;
	int n;

	/*
	 * What was read ahead by an earlier request is old news: the kernel makes entries of the names with their
	 * nodes, and one that was renamed since then would come back under its old name, for entry_timeout.
	 */
	if (off != h->at || off == 0 || l->plus) {
		h->at = off;
		h->pending = false;
		lh_dir_seek(h->dir, off > DOTS ? off - DOTS : 0);
	}
	if (h->at < DOTS && !put_dots(l))
		return 0;
	for (n = next(l); n == 1; n = next(l)) {
		struct lh_stat st = h->st;

		if (!l->plus)
			st = (struct lh_stat){.ino = h->entry.ino, .mode = h->entry.type << 12};
		if (!put(l, h->entry.name, &st, l->plus, h->entry.cookie + DOTS))
			return 0;
		h->at = h->entry.cookie + DOTS;
		h->pending = false;
	}
	return n;
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct handle *h = handle_of(fi);
	struct listing l = {.h = h, .plus = plus, .size = size};
	struct call c;
	int err;

	call_begin(&c, req, ino);
	l.c = &c;
	l.buf = thread_room(size);
	err = l.buf ? 0 : -ENOMEM;
	if (!err) {
		lock_take(&h->lock);
		err = list(&l, (uint64_t)off);
		lock_drop(&h->lock);
	}
	/* What was listed before the error is told first; it comes again. */
	if (err < 0 && !l.used) {
		call_reply(&c, err);
		return;
	}
	call_end(&c);
	fuse_reply_buf(req, l.buf, l.used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, true);
}

/* Names are as durable as the filesystem makes them by itself; a plain-file pool's log waits for this. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct call c;
	int err;

	call_begin(&c, req, ino);
	do
		err = lh_fs_sync(c.fs);
	while (call_again(&c, err));
	call_reply(&c, err);
}

void dir_ops(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->releasedir = op_releasedir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->fsyncdir = op_fsyncdir;
}
