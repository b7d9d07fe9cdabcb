/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls of pins. A pin outlives the grants behind it: what was recalled is got again by lh_pin_fault, for the
 * missing bytes only (L4). Before that the old grants give those bytes back, so that no byte is ever attached twice.
 */
#include "local/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static struct lh_pin *pin_new(struct lh_file *file, struct range range, const struct lh_pin_options *opt,
			      const struct lh_pin_device *device, void *ctx)
{
	struct lh_pin *pin = calloc(1, sizeof(*pin));

	if (pin == NULL)
		return NULL;
	pin->head.be = file->head.be;
	pin->head.file = file;
	pin->fs = file->fs;
	pin->device = *device;
	snprintf(pin->name, sizeof(pin->name), "%s", device->name);
	pin->ops = device_pin_ops;
	pin->ops.name = pin->name;
	pin->ctx = ctx;
	pin->range = range;
	pin->mode = opt->flags & LH_LEASE_WRITE ? LEASE_WRITE : LEASE_READ;
	pin->nowait = (opt->flags & LH_LEASE_NOWAIT) != 0;
	pin->exclusive = (opt->flags & LH_LEASE_EXCLUSIVE) != 0;
	/* LEASE_DEADLINE_NOW is the largest number: who asks for as long as possible does not mean it. */
	pin->deadline_ns = min_u64(opt->deadline_ns, LEASE_DEADLINE_NOW - 1);
	pin->at_once = (opt->flags & LH_LEASE_NOW) != 0;
	pin->max_age_ns = opt->max_age_ns;
	atomic_init(&pin->recalls, 0);
	lock_init_keyed(&pin->lock, RANK_PIN, 1 + atomic_fetch_add(&file->fs->serial, 1));
	cond_init(&pin->turn);
	TAILQ_INIT(&pin->parts);
	return pin;
}

/* Nothing is attached and no callback comes any more. */
static void pin_free(struct lh_pin *pin)
{
	assert(pin->count == 0);
	cond_destroy(&pin->turn);
	lock_destroy(&pin->lock);
	free(pin->pieces);
	free(pin);
}

/* All grants are gone when it returns, also those that another thread takes just now. */
static void pin_end(struct lh_pin *pin)
{
	device_parts_release(pin, RANGE_ALL);
	lock_take(&pin->lock);
	while (pin->part_count > 0)
		cond_wait(&pin->turn, &pin->lock);
	lock_drop(&pin->lock);
}

int local_pin_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_pin_options *opt,
		  const struct lh_pin_device *device, void *ctx, struct lh_pin **out)
{
	struct range range = {round_down_u64(off, LH_BLOCK_SIZE),
			      min_u64(round_up_u64(off + len, LH_BLOCK_SIZE), FS_SIZE_MAX)};
	struct lh_pin *pin;
	int err;

	if (file->fs->read_only)
		return fail(-EROFS,
			    "pin: the pool is open read-only, and devices are given memory that can be written");
	err = devices_start(file->fs);
	if (err)
		return err;
	pin = pin_new(file, range, opt, device, ctx);
	if (pin == NULL)
		return -ENOMEM;
	err = device_part_get(pin, range);
	if (err) {
		pin_end(pin);
		pin_free(pin);
		return err;
	}
	lock_take(&file->fs->table);
	TAILQ_INSERT_TAIL(&file->pins, pin, in_file);
	lock_drop(&file->fs->table);
	*out = pin;
	return 0;
}

int local_pin_release(struct lh_pin *pin)
{
	void (*gone)(void *ctx) = pin->device.gone;
	void *ctx = pin->ctx;

	lock_take(&pin->fs->table);
	TAILQ_REMOVE(&pin->head.file->pins, pin, in_file);
	lock_drop(&pin->fs->table);
	pin_end(pin);
	pin_free(pin);
	if (gone != NULL)
		gone(ctx);
	return 0;
}

void devices_release(struct lh_file *file)
{
	struct lh_pin *pin;

	for (;;) {
		lock_take(&file->fs->table);
		pin = TAILQ_FIRST(&file->pins);
		lock_drop(&file->fs->table);
		if (pin == NULL)
			return;
		(void)local_pin_release(pin);
	}
}

/* The first bytes of `within` that the device does not reach; empty: none. Caller holds the pin's lock. */
static struct range first_gap(const struct lh_pin *pin, struct range within)
{
	struct range gap = within;

	for (unsigned k = 0; k < pin->count; k++) {
		const struct device_piece *p = &pin->pieces[k];

		if (p->off + p->len <= gap.start)
			continue;
		if (p->off > gap.start) {
			gap.end = min_u64(gap.end, p->off);
			break;
		}
		gap.start = p->off + p->len;
	}
	return gap;
}

static void fault_turn(struct lh_pin *pin)
{
	lock_take(&pin->lock);
	while (pin->faulting)
		cond_wait(&pin->turn, &pin->lock);
	pin->faulting = true;
	lock_drop(&pin->lock);
}

/* Only the thread whose turn it is. */
static int fault_in(struct lh_pin *pin, struct range want)
{
	int err = 0;

	for (unsigned tries = 0; !err; tries++) {
		struct range gap;
		bool many;

		lock_take(&pin->lock);
		gap = first_gap(pin, want);
		many = pin->part_count >= DEVICE_PARTS_MAX;
		lock_drop(&pin->lock);
		if (range_empty(gap))
			break;
		if (tries >= DEVICE_TRIES_MAX)
			return fail(-EAGAIN, "pin: the range is being changed without end; try again");
		/* Many small grants become one. */
		if (many)
			gap = pin->range;
		device_parts_release(pin, many ? RANGE_ALL : gap);
		err = device_part_get(pin, gap);
		lock_take(&pin->lock);
		pin->faults += !err;
		lock_drop(&pin->lock);
	}
	return err;
}

int local_pin_fault(struct lh_pin *pin, uint64_t off, uint64_t len)
{
	struct range want = {round_down_u64(off, LH_BLOCK_SIZE), round_up_u64(off + len, LH_BLOCK_SIZE)};
	struct fs_attr attr;
	int err;

	if (len == 0)
		return 0;
	if (!range_covers(pin->range, want))
		return fail(-ERANGE, "pin: %llu bytes at %llu are not inside the pin", (unsigned long long)len,
			    (unsigned long long)off);
	/*
	 * A change by this very session detaches its own pins and attaches them again before it drops INODE (L5). So
	 * one look at the inode waits for it; what is missing afterwards was taken by others.
	 */
	err = fs_fstat(pin->head.file->handle, &attr);
	if (err)
		return err;
	if (pin->mode == LEASE_READ) {
		if (off >= attr.size)
			return fail(-ENODATA, "pin: byte %llu is beyond the end of the file", (unsigned long long)off);
		want.end = min_u64(want.end, round_up_u64(attr.size, LH_BLOCK_SIZE));
	}
	fault_turn(pin);
	err = fault_in(pin, want);
	lock_take(&pin->lock);
	pin->faulting = false;
	cond_wake_all(&pin->turn);
	lock_drop(&pin->lock);
	return err;
}

int local_pin_commit(struct lh_pin *pin, uint64_t off, uint64_t len)
{
	if (pin->mode != LEASE_WRITE)
		return fail(-EBADF, "commit: this is a READ pin");
	if (!range_covers(pin->range, (struct range){off, off + len}))
		return fail(-ERANGE, "commit: %llu bytes at %llu are not inside the pin", (unsigned long long)len,
			    (unsigned long long)off);
	return fs_commit(pin->head.file->handle, local_who(pin->fs), off, len);
}

int local_file_commit(struct lh_file *file, uint64_t off, uint64_t len)
{
	return fs_commit_inside(file->handle, local_who(file->fs), off, len);
}

int local_pin_state(struct lh_pin *pin, struct lh_pin_state *out)
{
	uint64_t attached = 0;

	lock_take(&pin->lock);
	for (unsigned k = 0; k < pin->count; k++)
		attached += pin->pieces[k].len;
	out->attaches = pin->attaches;
	out->detaches = pin->detaches;
	out->faults = pin->faults;
	lock_drop(&pin->lock);
	out->mode = pin->mode == LEASE_WRITE ? LH_LEASE_WRITE : LH_LEASE_READ;
	out->off = pin->range.start;
	out->len = pin->range.end - pin->range.start;
	out->attached = attached;
	out->recalls = atomic_load(&pin->recalls);
	return 0;
}
