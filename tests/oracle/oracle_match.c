/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Comparison of a mounted filesystem with the reference. Both are brought to the same text, in the order of names:
 * a line for each name with all attributes, where a second name of a file repeats its number of first appearance. Equal
 * texts pair the files up; then their bytes are compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>

#include "base/crc.h"
#include "base/error.h"
#include "base/types.h"
#include "oracle_internal.h"

#define WINDOW    (64 * B) /* read in full */
#define TREE_PATH 1024u
#define FILES_MAX 2048u
#define FAR_MAX   64u

struct buffer {
	char *text;
	size_t len, room;
};

static void add(struct buffer *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct buffer *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (b->room - b->len < TREE_PATH * 2) {
		b->room = b->room * 2 + TREE_PATH * 4;
		b->text = must_alloc(b->text, b->room);
	}
	va_start(ap, fmt);
	n = vsnprintf(b->text + b->len, b->room - b->len, fmt, ap);
	va_end(ap);
	b->len += min_u64((uint64_t)n, b->room - b->len - 1);
}

/* What a line says besides the path. */
struct line {
	uint32_t mode, nlink, uid, gid;
	uint64_t size, rdev;
	unsigned file;
	uint32_t xattrs; /* a sum over them */
	const char *target;
};

static void add_line(struct buffer *b, const char *path, const struct line *l)
{
	add(b, "%s #%u mode %o links %u owner %u:%u", *path ? path : "/", l->file, l->mode, l->nlink, l->uid, l->gid);
	if (!S_ISDIR(l->mode))
		add(b, " size %" PRIu64, l->size);
	if (l->rdev)
		add(b, " rdev %" PRIu64, l->rdev);
	if (l->xattrs)
		add(b, " xattrs %08x", l->xattrs);
	if (l->target)
		add(b, " -> %s", l->target);
	add(b, "\n");
}

static uint32_t xattr_sum(const char *name, const void *value, size_t len)
{
	return crc32c(crc32c(1, name, strlen(name) + 1), value, len);
}

/* --- the filesystem --------------------------------------------------------------------------------------------------
 */

struct far_block {
	uint64_t no;
	uint8_t bytes[LH_BLOCK_SIZE];
};

struct tfile {
	uint64_t ino, size, window;
	uint8_t *bytes;
	struct far_block *far;
	unsigned fars;
};

struct tree {
	struct fs *fs;
	struct buffer text;
	struct tfile file[FILES_MAX];
	unsigned files;
	bool failed;
};

static void tree_failed(struct tree *t, const char *path, const char *what, int64_t err)
{
	fprintf(stderr, "%s: %s: error %" PRId64 " %s\n", path, what, err, fail_text());
	t->failed = true;
}

struct far_ctx {
	struct tree *t;
	struct tfile *f;
	struct fs_handle *h;
};

static bool far_run(void *vctx, const struct fs_run *run, unsigned flags)
{
	struct far_ctx *c = vctx;
	struct tfile *f = c->f;

	if (flags & FS_RUN_UNWRITTEN)
		return true;
	for (uint64_t off = run->file_off; off < run->file_off + run->len; off += B) {
		if (off < WINDOW || off >= f->size)
			continue;
		if (f->fars == FAR_MAX)
			return false;
		f->far = must_alloc(f->far, (f->fars + 1) * sizeof(f->far[0]));
		memset(&f->far[f->fars], 0, sizeof(f->far[0]));
		f->far[f->fars].no = off / B;
		if (fs_read(c->h, &fsop_caller[0], f->far[f->fars].bytes, B, off) < 0)
			c->t->failed = true;
		f->fars++;
	}
	return true;
}

static void read_content(struct tree *t, const char *path, struct tfile *f)
{
	struct far_ctx ctx = {.t = t, .f = f};
	int64_t err = fs_open(t->fs, &fsop_caller[0], path, O_RDONLY, 0, &ctx.h);

	if (err) {
		tree_failed(t, path, "open", err);
		return;
	}
	f->window = min_u64(f->size, WINDOW);
	f->bytes = must_alloc(NULL, f->window);
	err = fs_read(ctx.h, &fsop_caller[0], f->bytes, f->window, 0);
	if (err != (int64_t)f->window)
		tree_failed(t, path, "read", err);
	if (f->size > WINDOW) {
		err = fs_extents(ctx.h, WINDOW, f->size - WINDOW, far_run, &ctx);
		if (err)
			tree_failed(t, path, "extents", err);
	}
	fs_close(ctx.h, NULL, 0);
}

static uint32_t read_xattrs(struct tree *t, const char *path)
{
	char names[4096], value[4096];
	uint32_t sum = 0;
	ssize_t n, len;

	if (fsop_missing & FSOP_BIT(OP_XATTR_LIST))
		return 0;
	n = fs_xattr_list(t->fs, &fsop_caller[0], path, false, names, sizeof(names));
	if (n < 0)
		tree_failed(t, path, "xattr list", n);
	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		len = fs_xattr_get(t->fs, &fsop_caller[0], path, false, name, value, sizeof(value));
		if (len < 0)
			tree_failed(t, path, "xattr get", len);
		else
			sum += xattr_sum(name, value, (size_t)len);
	}
	return sum;
}

/* The file's number, and its content when it is new. */
static unsigned tree_file(struct tree *t, const char *path, const struct fs_attr *a)
{
	struct tfile *f;

	for (unsigned k = 0; k < t->files; k++)
		if (t->file[k].ino == a->ino)
			return k;
	if (t->files == FILES_MAX) {
		tree_failed(t, path, "more files than the test makes", 0);
		return 0;
	}
	f = &t->file[t->files++];
	*f = (struct tfile){.ino = a->ino, .size = a->size};
	if (S_ISREG(a->mode))
		read_content(t, path, f);
	return t->files - 1;
}

struct names {
	char **name;
	unsigned count;
};

static bool take_name(void *ctx, const struct fs_dirent *d)
{
	struct names *n = ctx;

	n->name = must_alloc(n->name, (n->count + 1) * sizeof(n->name[0]));
	n->name[n->count++] = strdup(d->name);
	return true;
}

static int name_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void tree_walk(struct tree *t, const char *path)
{
	const char *shown = *path ? path : "/";
	struct names n = {0};
	struct fs_handle *h;
	struct fs_attr a;
	struct line l;
	char target[TREE_PATH], child[TREE_PATH];
	int64_t err = fs_stat(t->fs, &fsop_caller[0], shown, false, &a);

	if (err) {
		tree_failed(t, shown, "stat", err);
		return;
	}
	l = (struct line){.mode = a.mode, .nlink = a.nlink, .uid = a.uid, .gid = a.gid, .size = a.size, .rdev = a.rdev};
	l.file = tree_file(t, shown, &a);
	l.xattrs = read_xattrs(t, shown);
	if (S_ISLNK(a.mode)) {
		err = fs_readlink(t->fs, &fsop_caller[0], shown, target, sizeof(target) - 1);
		target[err < 0 ? 0 : err] = '\0';
		l.target = target;
	}
	add_line(&t->text, path, &l);
	if (!S_ISDIR(a.mode) || t->failed)
		return;
	err = fs_open(t->fs, &fsop_caller[0], shown, O_RDONLY, 0, &h);
	if (!err) {
		err = fs_readdir(h, &fsop_caller[0], 0, take_name, &n);
		fs_close(h, NULL, 0);
	}
	if (err)
		tree_failed(t, shown, "readdir", err);
	if (n.count)
		qsort(n.name, n.count, sizeof(n.name[0]), name_order);
	for (unsigned i = 0; i < n.count; i++) {
		snprintf(child, sizeof(child), "%s/%s", path, n.name[i]);
		tree_walk(t, child);
		free(n.name[i]);
	}
	free(n.name);
}

struct tree *tree_read(struct fs *fs)
{
	struct tree *t = must_alloc(NULL, sizeof(*t));

	t->fs = fs;
	t->text = (struct buffer){0};
	t->files = 0;
	t->failed = false;
	tree_walk(t, "");
	if (!t->failed)
		return t;
	tree_free(t);
	return NULL;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	for (unsigned k = 0; k < t->files; k++) {
		free(t->file[k].bytes);
		free(t->file[k].far);
	}
	free(t->text.text);
	free(t);
}

void tree_print(const struct tree *t, FILE *to)
{
	fputs(t->text.text, to);
}

/* --- the reference ---------------------------------------------------------------------------------------------------
 */

struct otext {
	struct buffer text;
	unsigned file[FILES_MAX]; /* nodes */
	unsigned files;
};

static unsigned oracle_file(struct otext *t, unsigned node)
{
	for (unsigned k = 0; k < t->files; k++)
		if (t->file[k] == node)
			return k;
	if (t->files == FILES_MAX)
		abort();
	t->file[t->files++] = node;
	return t->files - 1;
}

static int entry_order(const void *va, const void *vb)
{
	const struct oentry *const *a = va, *const *b = vb;

	return strcmp((*a)->name, (*b)->name);
}

static void oracle_walk(const struct oracle *o, struct otext *t, unsigned node, const char *path)
{
	const struct onode *n = &o->node[node];
	struct line l = {n->mode, n->nlink, n->uid, n->gid, n->size, n->rdev, oracle_file(t, node), 0, n->target};
	const struct oentry **sorted;
	char child[TREE_PATH];

	for (unsigned i = 0; i < n->xattrs; i++)
		l.xattrs += xattr_sum(n->xattr[i].name, n->xattr[i].value, n->xattr[i].len);
	add_line(&t->text, path, &l);
	if (n->entries == 0)
		return;
	sorted = must_alloc(NULL, n->entries * sizeof(*sorted));
	for (unsigned i = 0; i < n->entries; i++)
		sorted[i] = &n->entry[i];
	qsort(sorted, n->entries, sizeof(*sorted), entry_order);
	for (unsigned i = 0; i < n->entries; i++) {
		snprintf(child, sizeof(child), "%s/%s", path, sorted[i]->name);
		oracle_walk(o, t, sorted[i]->node, child);
	}
	free(sorted);
}

static const struct otext *text_of(struct oracle *o)
{
	if (!o->text) {
		o->text = must_alloc(NULL, sizeof(*o->text));
		memset(o->text, 0, sizeof(*o->text));
		oracle_walk(o, o->text, 0, "");
	}
	return o->text;
}

void text_free(struct otext *t)
{
	if (!t)
		return;
	free(t->text.text);
	free(t);
}

void oracle_print(struct oracle *o, FILE *to)
{
	fputs(text_of(o)->text.text, to);
}

/* --- bytes -----------------------------------------------------------------------------------------------------------
 */

static bool covers(const struct oversion *v, unsigned i)
{
	return v->barrier && v->from <= i && i < v->to;
}

/* Of the block's own version or of an older one that is not durable. */
static bool byte_of_past(const struct oblock *b, unsigned i, uint8_t x)
{
	for (const struct oversion *v = b->v; v; v = v->older) {
		if (v->bytes[i] == x)
			return true;
		if (covers(v, i) || v->time <= b->durable)
			return false;
	}
	return false;
}

/* Of a version between `from` (not included) and `to`; oldest first, up to a barrier. *stopped: at a barrier. */
static bool byte_between(const struct oversion *from, const struct oversion *to, unsigned i, uint8_t x, bool *stopped)
{
	if (to == from || !to)
		return false;
	if (byte_between(from, to->older, i, x, stopped))
		return true;
	*stopped = *stopped || covers(to, i);
	return !*stopped && to->bytes[i] == x;
}

static bool descends(const struct oversion *v, const struct oversion *from)
{
	while (v && v != from)
		v = v->older;
	return v != NULL;
}

/* Of a later in-place store to the same cell, wherever that is by then. */
static bool byte_of_future(const struct oracle *later, const struct oblock *b, unsigned i, uint8_t x)
{
	for (unsigned k = 0; k < later->nodes; k++) {
		const struct onode *n = &later->node[k];

		for (unsigned j = 0; j < n->blocks; j++) {
			bool stopped = false;

			if (!n->block[j].v || n->block[j].cell != b->cell || !descends(n->block[j].v, b->v))
				continue;
			if (byte_between(b->v, n->block[j].v, i, x, &stopped))
				return true;
		}
	}
	return false;
}

struct match {
	struct oracle *const *state;
	unsigned at, last;
	uint64_t partial;
	FILE *why;
};

/* The byte that the same file has at the same place after a later operation that may have stored a part. */
static bool byte_of_later(const struct match *m, unsigned node, uint64_t off, uint8_t x)
{
	for (unsigned s = m->at + 1; s <= m->last; s++) {
		const struct oracle *o = m->state[s];
		const struct oblock *b;

		if (!(m->partial >> s & 1) || node >= o->nodes || !o->node[node].used)
			continue;
		b = block_find(&o->node[node], off / B);
		if ((b && b->v ? b->v->bytes[off % B] : 0) == x)
			return true;
	}
	return false;
}

static bool block_is(const struct match *m, unsigned node, uint64_t no, const uint8_t *bytes, unsigned len)
{
	static const uint8_t zero[LH_BLOCK_SIZE];
	const struct oblock *b = block_find(&m->state[m->at]->node[node], no);

	if (memcmp(bytes, b && b->v ? b->v->bytes : zero, len) == 0)
		return true;
	for (unsigned i = 0; i < len; i++) {
		uint8_t x = bytes[i];
		bool ok = b && b->v ? byte_of_past(b, i, x) : x == 0;

		for (unsigned s = m->at + 1; !ok && b && b->v && s <= m->last; s++)
			ok = byte_of_future(m->state[s], b, i, x);
		if (ok || byte_of_later(m, node, no * B + i, x))
			continue;
		if (m->why)
			fprintf(m->why, "file #%u, byte %" PRIu64 " is %#x, the reference has %#x\n", node, no * B + i,
				x, b && b->v ? b->v->bytes[i] : 0);
		return false;
	}
	return true;
}

static bool file_is(const struct match *m, unsigned node, const struct tfile *f)
{
	static const uint8_t zero[LH_BLOCK_SIZE];
	const struct onode *n = &m->state[m->at]->node[node];

	for (uint64_t off = 0; off < f->window; off += B)
		if (!block_is(m, node, off / B, f->bytes + off, (unsigned)min_u64(B, f->window - off)))
			return false;
	for (unsigned k = 0; k < f->fars; k++)
		if (!block_is(m, node, f->far[k].no, f->far[k].bytes, (unsigned)min_u64(B, f->size - f->far[k].no * B)))
			return false;
	/* Far blocks that the file has not read as zeroes. */
	for (unsigned i = 0; i < n->blocks; i++) {
		uint64_t no = n->block[i].no;
		bool there = no * B < WINDOW || no * B >= f->size;

		for (unsigned k = 0; k < f->fars; k++)
			there = there || f->far[k].no == no;
		if (!there && !block_is(m, node, no, zero, (unsigned)min_u64(B, f->size - no * B)))
			return false;
	}
	return true;
}

static void text_differs(const char *found, const char *wanted, FILE *why)
{
	size_t i = 0, line = 0;

	for (; found[i] && found[i] == wanted[i]; i++)
		if (found[i] == '\n')
			line = i + 1;
	fprintf(why, "found:     %.*s\nreference: %.*s\n", (int)strcspn(found + line, "\n"), found + line,
		(int)strcspn(wanted + line, "\n"), wanted + line);
}

static bool match(const struct tree *t, const struct match *m)
{
	const struct otext *ot = text_of(m->state[m->at]);

	if (t->text.len != ot->text.len || memcmp(t->text.text, ot->text.text, t->text.len) != 0) {
		if (m->why)
			text_differs(t->text.text, ot->text.text, m->why);
		return false;
	}
	for (unsigned k = 0; k < t->files; k++)
		if (t->file[k].bytes && !file_is(m, ot->file[k], &t->file[k]))
			return false;
	return true;
}

bool tree_is(const struct tree *t, struct oracle *const *state, unsigned at, unsigned last, uint64_t partial, FILE *why)
{
	const struct match m = {state, at, last, partial, why};

	return match(t, &m);
}

bool tree_same(const struct tree *t, struct oracle *state, FILE *why)
{
	const struct match m = {&state, 0, 0, 0, why};

	return match(t, &m);
}

bool fsop_is_partial(const struct fsop *op)
{
	return op->kind == OP_ALLOCATE || op->kind == OP_DIRECT;
}
