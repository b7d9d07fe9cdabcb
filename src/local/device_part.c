/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pin consumer behind lh_pin: one grant of the arbiter is a part, and a pin has as many as it took to get its range
 * again after partial recalls.
 *
 * Invariants: the pieces of a pin are exactly the bytes that its device was told to reach and not told to let go; the
 * device's callbacks run under the pin's lock, so they never overlap and never see the same byte attached twice.
 *
 * detach may not fail. What it cannot do for lack of memory (keeping the rest of a piece that is cut in the middle)
 * makes the device let go of more bytes, which costs a fault and nothing else.
 *
 * Recalls are answered by a thread of their own and not by the healer of the leases: a device may take milliseconds to
 * let go (an operation of the kernel in flight), a key takes none.
 */
#include "local/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int device_part_compare(struct device_part *a, struct device_part *b)
{
	return a->number < b->number ? -1 : a->number > b->number;
}
RB_GENERATE(device_tree, device_part, by_number, device_part_compare)

/* --- pieces; all with the pin's lock held --- */

static uint64_t piece_end(const struct device_piece *p)
{
	return p->off + p->len;
}

/* Index of the first piece that ends behind off. */
static unsigned piece_lower(const struct lh_pin *pin, uint64_t off)
{
	unsigned lo = 0, hi = pin->count;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (piece_end(&pin->pieces[mid]) <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int pieces_reserve(struct lh_pin *pin, size_t more)
{
	size_t want = (size_t)pin->count + more;
	struct device_piece *grown;

	if (want <= pin->capacity)
		return 0;
	want += want / 2;
	if (want > UINT32_MAX)
		return -ENOMEM;
	grown = reallocarray(pin->pieces, want, sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	pin->pieces = grown;
	pin->capacity = (unsigned)want;
	return 0;
}

/* The device lets go of r, which lies inside p; what it wrote is flushed (L28). */
static void piece_detach(struct lh_pin *pin, const struct device_piece *p, struct range r)
{
	struct lh_pin_receipt receipt = {.off = r.start};
	struct range dirty;
	uint64_t end;

	if (pin->mode == LEASE_WRITE)
		receipt.len = r.end - r.start;
	pin->device.detach(pin->ctx, r.start, r.end - r.start, &receipt);
	pin->detaches++;
	if (pin->mode != LEASE_WRITE || p->hole || receipt.len == 0)
		return;
	if (add_overflows(receipt.off, receipt.len, &end))
		end = RANGE_MAX;
	dirty = range_cut((struct range){receipt.off, end}, r);
	if (!range_empty(dirty))
		fs_run_flush(pin->fs->fs, p->pool_off + (dirty.start - p->off), dirty.end - dirty.start);
}

static void pieces_insert(struct lh_pin *pin, unsigned at, const struct device_piece *fresh, unsigned n)
{
	if (n == 0)
		return;
	memmove(&pin->pieces[at + n], &pin->pieces[at], (pin->count - at) * sizeof(*fresh));
	memcpy(&pin->pieces[at], fresh, n * sizeof(*fresh));
	pin->count += n;
}

static void pieces_remove(struct lh_pin *pin, unsigned at)
{
	pin->count--;
	memmove(&pin->pieces[at], &pin->pieces[at + 1], (pin->count - at) * sizeof(*pin->pieces));
}

/* Nothing of the range is reached when it returns. */
static void pieces_cut(struct lh_pin *pin, struct range range)
{
	unsigned at = piece_lower(pin, range.start);

	while (at < pin->count && pin->pieces[at].off < range.end) {
		struct device_piece p = pin->pieces[at];
		struct range r = range_cut((struct range){p.off, piece_end(&p)}, range);
		struct device_piece rest[2];
		unsigned n = 0;

		/* Cut in the middle there is one piece more. */
		if (r.start > p.off && r.end < piece_end(&p) && pieces_reserve(pin, 1) != 0)
			r = (struct range){p.off, piece_end(&p)};
		piece_detach(pin, &p, r);
		if (r.start > p.off)
			rest[n++] = (struct device_piece){p.off, r.start - p.off, p.pool_off, p.hole};
		if (r.end < piece_end(&p))
			rest[n++] =
			    (struct device_piece){r.end, piece_end(&p) - r.end, p.pool_off + (r.end - p.off), p.hole};
		pieces_remove(pin, at);
		pieces_insert(pin, at, rest, n);
		at += n;
	}
}

/* What the device will reach of the range: its runs, and for readers the holes between. Returns how many. */
static unsigned pieces_of(const struct lh_pin *pin, struct range range, const struct fs_run *runs, unsigned count,
			  struct device_piece *out)
{
	bool holes = pin->mode == LEASE_READ;
	uint64_t at = range.start;
	unsigned n = 0;

	for (unsigned k = 0; k < count; k++) {
		const struct fs_run *r = &runs[k];

		assert(r->len > 0 && r->file_off >= at && r->file_off + r->len <= range.end);
		if (holes && r->file_off > at)
			out[n++] = (struct device_piece){.off = at, .len = r->file_off - at, .hole = true};
		out[n++] = (struct device_piece){r->file_off, r->len, r->pool_off, false};
		at = r->file_off + r->len;
	}
	if (holes && at < range.end)
		out[n++] = (struct device_piece){.off = at, .len = range.end - at, .hole = true};
	return n;
}

static void runs_of(const struct lh_pin *pin, const struct fs_run *in, unsigned count, struct lh_pin_run *out)
{
	for (unsigned k = 0; k < count; k++)
		out[k] = (struct lh_pin_run){.off = in[k].file_off,
					     .len = in[k].len,
					     .addr = fs_run_window(pin->fs->fs, &in[k]),
					     .fd = pin->fs->pool->fd,
					     .fd_off = in[k].pool_off};
}

static int pieces_attach(struct lh_pin *pin, struct range range, const struct fs_run *in, unsigned count)
{
	struct device_piece *fresh = calloc(2 * (size_t)count + 1, sizeof(*fresh));
	struct lh_pin_run *runs = calloc((size_t)count + 1, sizeof(*runs));
	unsigned n;
	int err = fresh == NULL || runs == NULL ? -ENOMEM : 0;

	if (!err) {
		pieces_cut(pin, range);
		err = pieces_reserve(pin, 2 * (size_t)count + 1);
	}
	if (!err) {
		runs_of(pin, in, count, runs);
		err = pin->device.attach(pin->ctx, range.start, range.end - range.start, runs, count);
	}
	if (!err) {
		pin->attaches++;
		n = pieces_of(pin, range, in, count, fresh);
		pieces_insert(pin, piece_lower(pin, range.start), fresh, n);
	}
	free(runs);
	free(fresh);
	return err < 0 ? err : err > 0 ? -EINVAL : 0;
}

/* --- the life of a part --- */

static void part_unref(struct device_part *p)
{
	if (atomic_fetch_sub(&p->refs, 1) == 1)
		free(p);
}

/* Takes the part out of every table. Its bytes were drained, or were never attached. */
static void part_end(struct device_part *p)
{
	struct lh_pin *pin = p->pin;
	struct lh_fs *fs = pin->fs;
	bool placed;

	lock_take(&fs->table);
	assert(!p->ended);
	p->ended = true;
	placed = p->number != 0;
	if (placed)
		RB_REMOVE(device_tree, &fs->devices.parts, p);
	if (!range_empty(p->pending))
		TAILQ_REMOVE(&fs->devices.pending, p, in_pending);
	p->pending = (struct range){0, 0};
	lock_drop(&fs->table);
	if (!placed)
		return;
	lock_take(&pin->lock);
	TAILQ_REMOVE(&pin->parts, p, in_pin);
	pin->part_count--;
	/* lh_pin_release waits for the last; the pin may be gone when the lock is. */
	cond_wake_all(&pin->turn);
	lock_drop(&pin->lock);
}

static void pin_drain(void *arg, struct range range)
{
	struct device_part *p = arg;
	struct lh_pin *pin = p->pin;

	lock_take(&pin->lock);
	pieces_cut(pin, range);
	lock_drop(&pin->lock);
}

static void pin_gone(void *arg)
{
	part_end(arg);
	part_unref(arg);
}

/* The first placing gives the part its number, so that a recall finds it from the moment that the device is let in. */
static void part_number(struct device_part *p, uint64_t number)
{
	struct lh_pin *pin = p->pin;
	struct lh_fs *fs = pin->fs;
	bool first;

	lock_take(&fs->table);
	first = p->number == 0;
	if (!first)
		RB_REMOVE(device_tree, &fs->devices.parts, p);
	/* A recall of the number that was not attached needs no answer any more. */
	if (!range_empty(p->pending))
		TAILQ_REMOVE(&fs->devices.pending, p, in_pending);
	p->pending = (struct range){0, 0};
	p->number = number;
	RB_INSERT(device_tree, &fs->devices.parts, p);
	lock_drop(&fs->table);
	if (!first)
		return;
	lock_take(&pin->lock);
	TAILQ_INSERT_TAIL(&pin->parts, p, in_pin);
	pin->part_count++;
	lock_drop(&pin->lock);
}

static int pin_place(void *arg, uint64_t number, uint32_t seq, enum lease_mode mode, struct range range,
		     const struct fs_run *runs, unsigned count)
{
	struct device_part *p = arg;
	struct lh_pin *pin = p->pin;
	int err;

	(void)seq;
	assert(mode == pin->mode);
	if (p->number != number)
		part_number(p, number);
	lock_take(&pin->lock);
	err = pieces_attach(pin, range, runs, count);
	lock_drop(&pin->lock);
	return err;
}

static int part_try(struct lh_pin *pin, struct range range)
{
	struct device_part *p = calloc(1, sizeof(*p));
	struct fs_pin consumer = {.ops = &pin->ops, .place = pin_place, .pin = p};
	struct fs_lease_args args = {
	    .range = range,
	    .mode = pin->mode,
	    .handle_number = pin->head.file->number,
	    .deadline_ns = pin->deadline_ns,
	    .nowait = pin->nowait,
	    .pin = &consumer,
	    .exclusive = pin->exclusive,
	    .max_age_ns = pin->max_age_ns,
	};
	struct fs_lease granted;
	bool ended;
	int err;

	if (p == NULL)
		return -ENOMEM;
	p->pin = pin;
	atomic_init(&p->refs, 2);
	err = fs_lease_get(pin->head.file->handle, local_who(pin->fs), &args, &granted);
	lock_take(&pin->fs->table);
	ended = p->ended;
	lock_drop(&pin->fs->table);
	/* A pin that was never attached gets no gone(). */
	if (err && !ended) {
		part_end(p);
		part_unref(p);
	}
	part_unref(p);
	return err;
}

int device_part_get(struct lh_pin *pin, struct range range)
{
	int err = -ESTALE;

	/* -ESTALE: recalled before the pin was attached. The gate is closed then, so the next try waits for it. */
	for (unsigned k = 0; k < DEVICE_TRIES_MAX && err == -ESTALE; k++)
		err = part_try(pin, range);
	return err == -ESTALE ? -EAGAIN : err;
}

/* The smallest number above `after` among the pin's grants; 0: none. */
static uint64_t next_number(struct lh_pin *pin, uint64_t after)
{
	struct device_part *p;
	uint64_t found = 0;

	lock_take(&pin->lock);
	TAILQ_FOREACH (p, &pin->parts, in_pin) {
		if (p->number > after && (found == 0 || p->number < found))
			found = p->number;
	}
	lock_drop(&pin->lock);
	return found;
}

void device_release(struct lh_fs *fs, uint64_t number, struct range range)
{
	/* -ENOMEM: no memory to remember two ends; then all of it. */
	if (lease_release(fs->session, number, range) != 0)
		(void)lease_release(fs->session, number, RANGE_ALL);
}

void device_parts_release(struct lh_pin *pin, struct range range)
{
	uint64_t number = next_number(pin, 0);

	for (; number != 0; number = next_number(pin, number))
		device_release(pin->fs, number, range);
}

/* --- recalls --- */

bool device_recalled(struct lh_fs *fs, const struct lease_recall *r)
{
	struct device_part key = {.number = r->lease};
	struct device_part *p;

	lock_assert_held(RANK_PIN);
	p = RB_FIND(device_tree, &fs->devices.parts, &key);
	if (p == NULL || range_empty(r->range))
		return false;
	atomic_fetch_add(&p->pin->recalls, 1);
	if (p->pin->at_once)
		return true;
	if (range_empty(p->pending)) {
		p->pending = r->range;
		TAILQ_INSERT_TAIL(&fs->devices.pending, p, in_pending);
		cond_wake_all(&fs->devices.wake);
	} else {
		p->pending.start = min_u64(p->pending.start, r->range.start);
		p->pending.end = max_u64(p->pending.end, r->range.end);
	}
	return false;
}

static void *answer(void *arg)
{
	struct lh_fs *fs = arg;
	struct local_devices *d = &fs->devices;

	lock_take(&fs->table);
	while (!d->stop) {
		struct device_part *p = TAILQ_FIRST(&d->pending);
		struct range range;
		uint64_t number;

		if (p == NULL) {
			cond_wait(&d->wake, &fs->table);
			continue;
		}
		TAILQ_REMOVE(&d->pending, p, in_pending);
		range = p->pending;
		number = p->number;
		p->pending = (struct range){0, 0};
		lock_drop(&fs->table);
		device_release(fs, number, range);
		lock_take(&fs->table);
	}
	lock_drop(&fs->table);
	return NULL;
}

void devices_init(struct lh_fs *fs)
{
	RB_INIT(&fs->devices.parts);
	TAILQ_INIT(&fs->devices.pending);
	cond_init(&fs->devices.wake);
}

int devices_start(struct lh_fs *fs)
{
	int err = 0;

	lock_take(&fs->table);
	if (!fs->devices.started)
		err = pthread_create(&fs->devices.thread, NULL, answer, fs);
	if (!err)
		fs->devices.started = true;
	lock_drop(&fs->table);
	return err ? fail(-err, "pin: cannot start a thread: %s", strerror(err)) : 0;
}

void devices_fini(struct lh_fs *fs)
{
	lock_take(&fs->table);
	fs->devices.stop = true;
	cond_wake_all(&fs->devices.wake);
	lock_drop(&fs->table);
	if (fs->devices.started)
		pthread_join(fs->devices.thread, NULL);
	cond_destroy(&fs->devices.wake);
}

const struct lease_pin_ops device_pin_ops = {.drain = pin_drain, .gone = pin_gone};
