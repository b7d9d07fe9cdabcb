/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of breaking operations (L1), row by row, against whoever can hold what and where: which lease is recalled,
 * for which bytes exactly (L4), why and how (L10); which is not (L2, L3); what EXCLUSIVE forbids (L22); what NOWAIT
 * leaves going on (L9); and where the caller's own pins are afterwards (L5, L21).
 *
 * /f has N blocks; a row says what is between blocks A and B, and what changes. WRITE leases over holes and shared
 * blocks do not exist: they are made fit when they are granted (L27); such rows say so (`fit`).
 */
#include "fsrig.h"

#include <fcntl.h>
#include <stdio.h>

#define N    16u
#define A    4u
#define B    8u
#define END  UINT64_MAX /* as a block: to infinity */
#define NONE 0, 0, 0, LEASE_REASON_COUNT, LEASE_DRAIN

struct fx {
	struct rig *r;
	struct holder me; /* whose call it is */
	struct fs_handle *f, *g;
};

/* What lies in [A, B). */
enum prep { PLAIN, SHARED, HOLE, TAIL_HOLE, PIECES };

struct row {
	const char *name;
	enum prep prep;
	uint64_t first, end; /* blocks that are broken; first == end: none */
	unsigned modes;      /* LEASE_EXCLUSIVE: those too */
	enum lease_reason reason;
	enum lease_kind kind;
	int (*op)(struct fx *x, const struct fs_caller *who);
	bool fit; /* a WRITE lease there needs no breaking any more */
};

/* --- operations --------------------------------------------------------------------------------------------------- */

#define OP(name) static int name(struct fx *x, const struct fs_caller *who)
#define KEEP     FALLOC_FL_KEEP_SIZE

static int closed(int err, struct fs_handle **h)
{
	if (!err)
		fs_close(*h, NULL, 0);
	return err;
}

static int only_error(ssize_t n)
{
	return n < 0 ? (int)n : 0;
}

OP(truncate_down)
{
	return fs_truncate(x->f, who, 10 * BLK);
}
OP(open_trunc)
{
	struct fs_handle *h;

	return closed(fs_open(x->r->fs, who, "/f", O_WRONLY | O_TRUNC, 0, &h), &h);
}
OP(punch)
{
	return fs_allocate(x->f, who, FALLOC_FL_PUNCH_HOLE | KEEP, A * BLK, (B - A) * BLK);
}
OP(punch_bytes)
{
	return fs_allocate(x->f, who, FALLOC_FL_PUNCH_HOLE | KEEP, A * BLK + 10, (B - A) * BLK - 20);
}
OP(collapse)
{
	return fs_allocate(x->f, who, FALLOC_FL_COLLAPSE_RANGE, A * BLK, (B - A) * BLK);
}
OP(insert)
{
	return fs_allocate(x->f, who, FALLOC_FL_INSERT_RANGE, A * BLK, (B - A) * BLK);
}
OP(zero)
{
	return fs_allocate(x->f, who, FALLOC_FL_ZERO_RANGE, A * BLK, (B - A) * BLK);
}
OP(preallocate)
{
	return fs_allocate(x->f, who, 0, A * BLK, (B - A) * BLK);
}
OP(unshare_all)
{
	return fs_allocate(x->f, who, FALLOC_FL_UNSHARE_RANGE, 0, N * BLK);
}
OP(clone_from)
{
	return fs_clone_range(x->g, 0, x->f, A * BLK, (B - A) * BLK, who);
}
OP(clone_to)
{
	return fs_clone_range(x->f, A * BLK, x->g, 0, (B - A) * BLK, who);
}
OP(dedupe_from)
{
	return fs_dedupe_range(x->g, 0, x->f, A * BLK, (B - A) * BLK, who);
}
OP(dedupe_to)
{
	return fs_dedupe_range(x->f, A * BLK, x->g, 0, (B - A) * BLK, who);
}
OP(exchange_first)
{
	return fs_exchange_range(x->f, A * BLK, x->g, 0, (B - A) * BLK, who);
}
OP(exchange_second)
{
	return fs_exchange_range(x->g, 0, x->f, A * BLK, (B - A) * BLK, who);
}
OP(copy_from)
{
	return only_error(fs_copy_range(x->g, 0, x->f, A * BLK, (B - A) * BLK, who));
}
OP(copy_to)
{
	return only_error(fs_copy_range(x->f, A * BLK, x->g, 0, (B - A) * BLK, who));
}
OP(write_bytes)
{
	return only_error(fs_write(x->f, who, "xyz", 3, 5 * BLK + 17));
}
OP(write_all)
{
	static uint8_t buf[(B - A) * LH_BLOCK_SIZE];

	return only_error(fs_write(x->f, who, buf, sizeof(buf), A * BLK));
}
OP(append)
{
	struct fs_handle *h;
	int err = fs_open(x->r->fs, who, "/f", O_WRONLY | O_APPEND, 0, &h);

	if (err)
		return err;
	err = only_error(fs_write(h, who, "xyz", 3, 0));
	fs_close(h, NULL, 0);
	return err;
}
OP(relocate)
{
	return fs_relocate(x->f, who, A * BLK, (B - A) * BLK, NULL);
}
OP(defragment)
{
	return fs_defragment(x->f, who, NULL, NULL);
}
static bool pool_place(void *ctx, const struct fs_run *run, unsigned flags)
{
	(void)flags;
	*(uint64_t *)ctx = run->pool_off;
	return false;
}
OP(evacuate)
{
	uint64_t at = 0;

	assert_int_equal(fs_extents(x->f, A * BLK, 1, pool_place, &at), 0);
	return fs_evacuate(x->r->fs, who, at, BLK, NULL, NULL);
}
OP(snapshot)
{
	return fs_snapshot(x->r->fs, who, "/", "/snap", true);
}
/* L27: another's WRITE lease makes its range fit. It has a session of its own. */
static int write_lease(struct fx *x, const struct fs_caller *who, bool faulting)
{
	struct fs_lease_args args = {
	    .range = {5 * BLK, 6 * BLK}, .mode = LEASE_WRITE, .handle_number = 8, .faulting = faulting};
	struct fs_lease l;
	int err = fs_lease_get(x->f, who, &args, &l);

	return err ? err : lease_release(who->session, l.lease, RANGE_ALL);
}
OP(write_grant)
{
	return write_lease(x, who, false);
}
OP(faulting_write_grant)
{
	return write_lease(x, who, true);
}
OP(do_open)
{
	struct fs_handle *h;

	return closed(fs_open(x->r->fs, who, "/f", O_RDWR | O_CREAT, 0600, &h), &h);
}
OP(do_read)
{
	char buf[100];

	return only_error(fs_read(x->f, who, buf, sizeof(buf), A * BLK));
}
OP(do_chmod)
{
	struct fs_setattr set = {
	    .mask = FS_SET_MODE | FS_SET_MTIME | FS_SET_UID, .mode = 0600, .uid = 0, .mtime_ns = 5};

	return fs_fsetattr(x->f, who, &set);
}
OP(do_xattr)
{
	return fs_fxattr_set(x->f, who, "user.a", "b", 1, 0);
}
OP(do_rename)
{
	int err = fs_rename(x->r->fs, who, "/f", "/renamed", 0);

	return err ? err : fs_rename(x->r->fs, who, "/renamed", "/f", 0);
}
OP(do_link)
{
	int err = fs_link(x->r->fs, who, "/f", "/linked");

	return err ? err : fs_unlink(x->r->fs, who, "/linked");
}
OP(do_unlink)
{
	return fs_unlink(x->r->fs, who, "/f");
}
OP(do_grow)
{
	return fs_truncate(x->f, who, 100 * BLK);
}
OP(do_write_behind)
{
	return only_error(fs_write(x->f, who, "xyz", 3, 50 * BLK));
}
OP(do_preallocate_behind)
{
	return fs_allocate(x->f, who, KEEP, N * BLK, 10 * BLK);
}
OP(do_sync)
{
	int err = fs_sync(x->f, false);

	return err ? err : fs_commit(x->f, who, 0, N * BLK);
}
OP(do_seek)
{
	return fs_seek(x->f, 0, SEEK_DATA) < 0;
}

#define ANY    LEASE_ANY_MODE
#define ALL_OF (LEASE_ANY_MODE | LEASE_EXCLUSIVE)

static const struct row rows[] = {
    {"truncate down", PLAIN, 10, END, ANY, LEASE_FOR_TRUNCATE, LEASE_STOP, truncate_down, false},
    {"open with O_TRUNC", PLAIN, 0, END, ANY, LEASE_FOR_TRUNCATE, LEASE_STOP, open_trunc, false},
    {"punch hole", PLAIN, A, B, ANY, LEASE_FOR_PUNCH, LEASE_STOP, punch, false},
    {"punch hole inside blocks", PLAIN, A, B, ANY, LEASE_FOR_PUNCH, LEASE_STOP, punch_bytes, false},
    {"collapse", PLAIN, A, END, ANY, LEASE_FOR_COLLAPSE, LEASE_STOP, collapse, false},
    {"insert", PLAIN, A, END, ANY, LEASE_FOR_INSERT, LEASE_DRAIN, insert, false},
    {"zero range in place", PLAIN, NONE, zero, false},
    {"zero range of shared blocks", SHARED, A, B, ANY, LEASE_FOR_COPY_ON_WRITE, LEASE_DRAIN, zero, true},
    {"zero range of a hole", HOLE, A, B, ANY, LEASE_FOR_ALLOCATE, LEASE_DRAIN, zero, true},
    {"clone, source", PLAIN, A, B, LEASE_WRITE, LEASE_FOR_CLONE_SOURCE, LEASE_DRAIN, clone_from, false},
    {"clone, destination", PLAIN, A, B, ANY, LEASE_FOR_CLONE_TARGET, LEASE_STOP, clone_to, false},
    {"dedupe, source", PLAIN, A, B, LEASE_WRITE, LEASE_FOR_DEDUPE, LEASE_DRAIN, dedupe_from, false},
    {"dedupe, destination", PLAIN, A, B, ANY, LEASE_FOR_DEDUPE, LEASE_DRAIN, dedupe_to, false},
    {"exchange, first", PLAIN, A, B, ANY, LEASE_FOR_EXCHANGE, LEASE_DRAIN, exchange_first, false},
    {"exchange, second", PLAIN, A, B, ANY, LEASE_FOR_EXCHANGE, LEASE_DRAIN, exchange_second, false},
    {"copy range, source", PLAIN, A, B, LEASE_WRITE, LEASE_FOR_CLONE_SOURCE, LEASE_DRAIN, copy_from, false},
    {"copy range, destination", PLAIN, A, B, ANY, LEASE_FOR_CLONE_TARGET, LEASE_STOP, copy_to, false},
    {"copy on write", SHARED, 5, 6, ANY, LEASE_FOR_COPY_ON_WRITE, LEASE_DRAIN, write_bytes, true},
    {"copy on write of a run", SHARED, A, B, ANY, LEASE_FOR_COPY_ON_WRITE, LEASE_DRAIN, write_all, true},
    {"write into a hole", HOLE, 5, 6, ANY, LEASE_FOR_ALLOCATE, LEASE_DRAIN, write_bytes, true},
    {"append into a hole", TAIL_HOLE, N - 1, N, ANY, LEASE_FOR_ALLOCATE, LEASE_DRAIN, append, true},
    {"preallocate a hole", HOLE, A, B, ANY, LEASE_FOR_ALLOCATE, LEASE_DRAIN, preallocate, true},
    {"unshare", SHARED, A, B, ANY, LEASE_FOR_UNSHARE, LEASE_DRAIN, unshare_all, true},
    {"WRITE lease over shared blocks", SHARED, 5, 6, ANY, LEASE_FOR_COPY_ON_WRITE, LEASE_DRAIN, write_grant, true},
    {"WRITE lease over a hole", HOLE, 5, 6, ANY, LEASE_FOR_ALLOCATE, LEASE_DRAIN, write_grant, true},
    {"faulting WRITE lease over a hole", HOLE, 5, 6, ANY, LEASE_FOR_ALLOCATE, LEASE_DRAIN, faulting_write_grant, true},
    {"relocate", PLAIN, A, B, ALL_OF, LEASE_FOR_RELOCATE, LEASE_DRAIN, relocate, false},
    {"defragment", PIECES, 0, END, ALL_OF, LEASE_FOR_RELOCATE, LEASE_DRAIN, defragment, false},
    {"evacuate failing memory", PLAIN, A, A + 1, ALL_OF, LEASE_FOR_RELOCATE, LEASE_DRAIN, evacuate, false},
    {"snapshot", PLAIN, 0, END, LEASE_WRITE, LEASE_FOR_CLONE_SOURCE, LEASE_DRAIN, snapshot, false},
    /* L2 and the like. */
    {"open for writing", PLAIN, NONE, do_open, false},
    {"read", PLAIN, NONE, do_read, false},
    {"write in place", PLAIN, NONE, write_bytes, false},
    {"a run written in place", PLAIN, NONE, write_all, false},
    {"change of mode, owner, times", PLAIN, NONE, do_chmod, false},
    {"extended attribute", PLAIN, NONE, do_xattr, false},
    {"rename", PLAIN, NONE, do_rename, false},
    {"link and unlink", PLAIN, NONE, do_link, false},
    {"unlink of the last name", PLAIN, NONE, do_unlink, false},
    {"truncate up", PLAIN, NONE, do_grow, false},
    {"write behind the end", PLAIN, NONE, do_write_behind, false},
    {"preallocate behind the end", PLAIN, NONE, do_preallocate_behind, false},
    {"append", PLAIN, NONE, append, false},
    {"sync and commit", PLAIN, NONE, do_sync, false},
    {"seek", PLAIN, NONE, do_seek, false},
    {"unshare what is not shared", PLAIN, NONE, unshare_all, false},
    {"preallocate what is there", PLAIN, NONE, preallocate, false},
    {"WRITE lease where all is fit", PLAIN, NONE, write_grant, false},
};

/* --- the file ----------------------------------------------------------------------------------------------------- */

static void prepare(struct fx *x, struct rig *r, enum prep prep)
{
	struct fs_handle *s;

	x->r = r;
	(void)fs_snapshot_delete(r->fs, &r->root, "/snap");
	(void)fs_unlink(r->fs, &r->root, "/f");
	(void)fs_unlink(r->fs, &r->root, "/s");
	rig_file(r, "/f", 'f', N * BLK);
	/* The same bytes, for dedupe. */
	rig_file(r, "/g", 'f', N * BLK);
	x->f = rig_open(r, "/f", O_RDWR);
	x->g = rig_open(r, "/g", O_RDWR);
	switch (prep) {
	case PLAIN:
		break;
	case SHARED:
		s = rig_open(r, "/s", O_RDWR | O_CREAT);
		assert_int_equal(fs_clone_range(s, 0, x->f, A * BLK, (B - A) * BLK, &r->root), 0);
		fs_close(s, NULL, 0);
		break;
	case HOLE:
		assert_int_equal(punch(x, &r->root), 0);
		break;
	case TAIL_HOLE:
		assert_int_equal(fs_truncate(x->f, &r->root, (N - 1) * BLK), 0);
		assert_int_equal(fs_truncate(x->f, &r->root, (N - 1) * BLK + 100), 0);
		break;
	case PIECES:
		for (unsigned k = 1; k < N; k += 2)
			assert_int_equal(fs_relocate(x->f, &r->root, k * BLK, BLK, NULL), 0);
		break;
	}
	holder_open(&x->me, r, "/f", false);
}

static void finish(struct fx *x)
{
	holder_close(&x->me);
	fs_close(x->f, NULL, 0);
	fs_close(x->g, NULL, 0);
}

/* Layout, size and bytes of /f as one number. */
static bool mix(void *ctx, const struct fs_run *run, unsigned flags)
{
	uint64_t *sum = ctx;

	*sum = (*sum ^ run->file_off) * 0x100000001b3ull;
	*sum = (*sum ^ run->len) * 0x100000001b3ull;
	*sum = (*sum ^ run->pool_off) * 0x100000001b3ull;
	*sum = (*sum ^ flags) * 0x100000001b3ull;
	return true;
}

static uint64_t fingerprint(struct fx *x)
{
	static uint8_t buf[2 * N * LH_BLOCK_SIZE];
	uint64_t sum = 0xcbf29ce484222325ull ^ rig_size(x->f);
	ssize_t n = fs_read(x->f, &x->r->root, buf, sizeof(buf), 0);

	for (ssize_t k = 0; k < n; k++)
		sum = (sum ^ buf[k]) * 0x100000001b3ull;
	assert_int_equal(fs_extents(x->f, 0, UINT64_MAX, mix, &sum), 0);
	return sum;
}

/* --- holders ------------------------------------------------------------------------------------------------------ */

struct kind_of_lease {
	const char *name;
	enum lease_mode mode;
	bool own, exclusive, faulting;
};
static const struct kind_of_lease kinds[] = {
    {"another's READ", LEASE_READ, false, false, false},
    {"another's WRITE", LEASE_WRITE, false, false, false},
    {"another's EXCLUSIVE READ", LEASE_READ, false, true, false},
    {"another's EXCLUSIVE WRITE", LEASE_WRITE, false, true, false},
    {"another's faulting READ", LEASE_READ, false, false, true},
    {"another's faulting WRITE", LEASE_WRITE, false, false, true},
    {"another's faulting EXCLUSIVE READ", LEASE_READ, false, true, true},
    {"own READ", LEASE_READ, true, false, false},
    {"own WRITE", LEASE_WRITE, true, false, false},
    {"own EXCLUSIVE READ", LEASE_READ, true, true, false},
    {"own EXCLUSIVE WRITE", LEASE_WRITE, true, true, false},
};

static void take(struct holder *h, const struct kind_of_lease *k, uint64_t first, uint64_t end)
{
	struct fs_lease_args args = {.range = {first * BLK, end * BLK},
				     .mode = k->mode,
				     .handle_number = 7,
				     .exclusive = k->exclusive,
				     .faulting = k->faulting,
				     .pin = &h->pin.pin};

	pin_init(&h->pin, h->rig);
	assert_int_equal(fs_lease_get(h->h, &h->who, &args, &h->lease), 0);
}

/* L5: wherever the pin reaches, it reaches what a read shows; and it reaches all that is there and its own. */
struct reach {
	struct fx *x;
	struct holder *h;
	enum lease_mode mode;
};

static bool reaches(void *ctx, const struct fs_run *run, unsigned flags)
{
	struct reach *w = ctx;
	uint8_t want[LH_BLOCK_SIZE];

	for (uint64_t off = run->file_off; off < run->file_off + run->len && off < rig_size(w->x->f); off += BLK) {
		const uint8_t *at = pin_at(&w->h->pin, off);
		uint64_t n = min_u64(BLK, rig_size(w->x->f) - off);

		if (off < w->h->lease.range.start || off >= w->h->lease.range.end)
			continue;
		if ((flags & FS_RUN_SHARED) && w->mode == LEASE_WRITE) {
			assert_null(at);
			continue;
		}
		if (flags & FS_RUN_UNWRITTEN)
			continue;
		assert_non_null(at);
		assert_int_equal(fs_read(w->x->f, &w->x->r->root, want, n, off), (ssize_t)n);
		assert_memory_equal(at, want, n);
	}
	return true;
}

static void pins_are_right(struct fx *x, struct holder *h, enum lease_mode mode)
{
	struct reach w = {x, h, mode};

	assert_int_equal(fs_extents(x->f, 0, UINT64_MAX, reaches, &w), 0);
}

struct place {
	uint64_t first, end;
};

/* The whole file; a part of what changes; what does not. */
static unsigned places(const struct row *row, struct place out[4])
{
	unsigned n = 0;

	out[n++] = (struct place){0, N};
	if (row->first >= 2)
		out[n++] = (struct place){0, 2};
	if (row->first < row->end && row->end - row->first > 2)
		out[n++] = (struct place){row->first + 1, row->first + 2};
	if (row->end < N)
		out[n++] = (struct place){row->end, N};
	return n;
}

static bool touches(const struct row *row, const struct kind_of_lease *k, struct place p)
{
	if (row->fit && k->mode == LEASE_WRITE)
		return false;
	return row->first < row->end && p.first < row->end && row->first < p.end && (row->modes & k->mode);
}

static void say(const struct row *row, const struct kind_of_lease *k, struct place p)
{
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s: %s on [%llu, %llu)\n", row->name, k->name, (unsigned long long)p.first,
			(unsigned long long)p.end);
}

static int expected(const struct row *row, const struct kind_of_lease *k, struct place p)
{
	if (!k->exclusive || !touches(row, k, p) || (row->modes & LEASE_EXCLUSIVE))
		return 0;
	return k->own ? -EDEADLK : -ETXTBSY;
}

/* The lease lost exactly what the row says, and reaches the rest. */
static void was_recalled(const struct row *row, const struct holder *h, struct place p)
{
	uint64_t first = max_u64(p.first, row->first) * BLK;
	uint64_t end = min_u64(min_u64(p.end, row->end) * BLK, h->lease.range.end);

	assert_int_equal(h->recalls, 1);
	assert_int_equal(h->revokes, 0);
	assert_int_equal(h->last.lease, h->lease.lease);
	assert_int_equal(h->last.reason, row->reason);
	assert_int_equal(h->last.kind, row->kind);
	assert_int_equal(h->last.range.start, first);
	assert_int_equal(h->last.range.end, end);
}

static void one_case(struct rig *r, const struct row *row, const struct kind_of_lease *k, struct place p)
{
	struct holder other = {0};
	struct holder *h;
	struct fx x;
	uint64_t before;
	int want = expected(row, k, p);

	say(row, k, p);
	prepare(&x, r, row->prep);
	if (!k->own)
		holder_open(&other, r, "/f", true);
	h = k->own ? &x.me : &other;
	take(h, k, p.first, p.end);
	before = fingerprint(&x);
	assert_int_equal(row->op(&x, &x.me.who), want);
	if (want)
		assert_int_equal(fingerprint(&x), before);
	if (!want && !k->own && !k->faulting && touches(row, k, p)) {
		was_recalled(row, h, p);
	} else {
		assert_int_equal(h->recalls, 0);
		assert_int_equal(h->revokes, 0);
		if (!k->faulting)
			pins_are_right(&x, h, k->mode);
	}
	if (!k->own)
		holder_close(&other);
	finish(&x);
}

/* Every row, every kind of lease, every place. */
static void l1_each_operation_breaks_what_the_table_says(void **state)
{
	struct rig *r = *state;

	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		struct place p[4];
		unsigned count = places(&rows[n], p);

		for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
			for (unsigned m = 0; m < count; m++)
				one_case(r, &rows[n], &kinds[k], p[m]);
		}
		rig_check(r);
	}
}

/* L9: -EWOULDBLOCK, nothing changed, the recall is out; who asks anew for the range waits; when it is over all goes. */
static void l9_nowait_leaves_the_break_going_on(void **state)
{
	struct rig *r = *state;

	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		const struct row *row = &rows[n];
		const struct kind_of_lease *k = &kinds[row->modes & LEASE_READ ? 0 : 1];
		struct fs_caller who;
		struct holder other;
		struct fx x;
		uint64_t before;

		if (row->first == row->end)
			continue;
		say(row, k, (struct place){0, N});
		prepare(&x, r, row->prep);
		holder_open(&other, r, "/f", false);
		take(&other, k, 0, N);
		before = fingerprint(&x);
		who = x.me.who;
		who.nowait = true;
		assert_int_equal(row->op(&x, &who), -EWOULDBLOCK);
		assert_int_equal(fingerprint(&x), before);
		assert_int_equal(other.recalls, 1);
		assert_int_equal(other.last.reason, row->reason);
		/* Again: the same holder hears no second time. */
		assert_int_equal(row->op(&x, &who), -EWOULDBLOCK);
		assert_int_equal(other.recalls, 1);
		/* I6: nobody is let in, the caller neither. */
		x.me.who.nowait = true;
		assert_int_equal(holder_try(&x.me, LEASE_READ, row->first * BLK, BLK), -EAGAIN);
		lease_release(other.session, other.lease.lease, RANGE_ALL);
		assert_int_equal(row->op(&x, &who), 0);
		holder_close(&other);
		finish(&x);
	}
}

/* A caller who is ended while it waits: -EINTR, nothing changed, and nobody finds a gate. */
struct waiter {
	struct fx *x;
	const struct row *row;
	int err;
};

static void *wait_for_holder(void *ctx)
{
	struct waiter *w = ctx;

	w->err = w->row->op(w->x, &w->x->me.who);
	return NULL;
}

static void an_interrupted_caller_leaves_no_gate_and_no_change(void **state)
{
	struct rig *r = *state;

	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		const struct row *row = &rows[n];
		const struct kind_of_lease *k = &kinds[row->modes & LEASE_READ ? 0 : 1];
		struct holder other, third;
		struct waiter w;
		pthread_t thread;
		struct fx x;
		uint64_t before;

		if (row->first == row->end)
			continue;
		say(row, k, (struct place){0, N});
		prepare(&x, r, row->prep);
		holder_open(&other, r, "/f", false);
		take(&other, k, 0, N);
		before = fingerprint(&x);
		x.me.who.tag = 77;
		w = (struct waiter){&x, row, 0};
		assert_int_equal(pthread_create(&thread, NULL, wait_for_holder, &w), 0);
		while (atomic_load(&other.recalls) == 0)
			sched_yield();
		/* Whether it waits already is not known: so for good. */
		lease_interrupt(x.me.session, 77, true);
		pthread_join(thread, NULL);
		assert_int_equal(w.err, -EINTR);
		assert_int_equal(fingerprint(&x), before);
		/* What was recalled stays recalled; but the range is open. */
		holder_open(&third, r, "/f", false);
		third.who.nowait = true;
		assert_int_equal(holder_try(&third, LEASE_READ, 0, N * BLK), 0);
		holder_close(&third);
		holder_close(&other);
		finish(&x);
	}
	rig_check(r);
}

/* L22: who may deny; and that a sentence says what stands in the way. */
static void l22_exclusive_is_for_the_owner_and_root(void **state)
{
	struct rig *r = *state;
	struct fs_setattr own = {.mask = FS_SET_UID | FS_SET_MODE, .uid = 1000, .mode = 0666};
	struct fs_lease_args args = {
	    .range = {0, BLK}, .mode = LEASE_READ, .handle_number = 7, .exclusive = true, .max_age_ns = NS_PER_SEC};
	struct fs_handle *reader;
	struct holder h;
	struct fx x;

	prepare(&x, r, PLAIN);
	assert_int_equal(fs_fsetattr(x.f, &r->root, &own), 0);
	holder_open(&h, r, "/f", false);
	h.who.cred = r->other.cred;
	assert_int_equal(fs_lease_get(h.h, &h.who, &args, &h.lease), -EPERM);
	h.who.cred = r->user.cred;
	assert_int_equal(fs_lease_get(h.h, &h.who, &args, &h.lease), 0);
	assert_in_range(h.lease.exclusive_left_ns, 1, NS_PER_SEC);
	assert_int_equal(truncate_down(&x, &x.me.who), 0);
	assert_int_equal(open_trunc(&x, &x.me.who), -ETXTBSY);
	assert_non_null(strstr(fail_text(), "EXCLUSIVE"));
	assert_int_equal(open_trunc(&x, &h.who), -EDEADLK);
	assert_non_null(strstr(fail_text(), "your own"));
	/* Relocation takes it: so not everybody may relocate. Then the administrator. */
	assert_int_equal(fs_open(r->fs, &r->other, "/f", O_RDONLY, 0, &reader), 0);
	assert_int_equal(fs_relocate(reader, &r->other, 0, BLK, NULL), -EBADF);
	assert_int_equal(fs_defragment(reader, &r->other, NULL, NULL), -EBADF);
	assert_int_equal(fs_relocate(reader, &r->user, BLK, BLK, NULL), 0);
	fs_close(reader, NULL, 0);
	assert_int_equal(lease_revoke(fs_arbiter(r->fs), h.lease.lease, 0, 0, UINT32_MAX, "test"), 1);
	assert_int_equal(open_trunc(&x, &x.me.who), 0);
	holder_close(&h);
	finish(&x);
}

/* The blocks of an unlinked file stay as long as somebody has it open; its leases with their handle. */
static void an_unlinked_file_keeps_its_blocks_until_the_last_close(void **state)
{
	struct rig *r = *state;
	struct holder h;
	struct fx x;
	uint64_t used;

	prepare(&x, r, PLAIN);
	holder_open(&h, r, "/f", false);
	take(&h, &kinds[1], 0, N);
	used = rig_free_blocks(r);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/f"), 0);
	holder_close(&x.me);
	fs_close(x.f, NULL, 0);
	fs_close(x.g, NULL, 0);
	assert_int_equal(h.recalls, 0);
	assert_int_equal(rig_free_blocks(r), used);
	memset(pin_at(&h.pin, 3 * BLK), 'd', BLK);
	rig_expect(r, h.h, 'd', BLK, 3 * BLK);
	holder_close(&h);
	assert_int_equal(h.recalls, 0);
	assert_int_equal(h.revokes, 0);
	assert_int_equal(rig_free_blocks(r), used + N);
}

/* L36: unmount takes all, whatever they are. */
static void l36_unmount_breaks_everything(void **state)
{
	struct rig *r = *state;
	struct holder h[7];

	rig_file(r, "/f", 'f', N * BLK);
	for (unsigned k = 0; k < ARRAY_LEN(h); k++) {
		holder_open(&h[k], r, "/f", false);
		take(&h[k], &kinds[k], 0, N);
		/* A caller that forgot its leases: the handle is closed without them. */
		fs_close(h[k].h, NULL, 0);
	}
	lease_unmount(fs_arbiter(r->fs), 0);
	for (unsigned k = 0; k < ARRAY_LEN(h); k++) {
		assert_int_equal(h[k].revokes, 1);
		assert_int_equal(h[k].last.reason, LEASE_FOR_UNMOUNT);
		assert_int_equal(h[k].pin.gone, 1);
		lease_session_close(h[k].session);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(l1_each_operation_breaks_what_the_table_says, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(l9_nowait_leaves_the_break_going_on, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(an_interrupted_caller_leaves_no_gate_and_no_change, rig_setup,
					    rig_teardown),
	    cmocka_unit_test_setup_teardown(l22_exclusive_is_for_the_owner_and_root, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(an_unlinked_file_keeps_its_blocks_until_the_last_close, rig_setup,
					    rig_teardown),
	    cmocka_unit_test_setup_teardown(l36_unmount_breaks_everything, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
