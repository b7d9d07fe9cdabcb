/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device "mapping": attach is mmap of the pool over the reserved addresses, detach is mmap of nothing. The kernel
 * has shot down every TLB entry when mmap returns, so that an access that was in flight has happened and the next one
 * faults: that is the proof (L12).
 *
 * Stores by the CPU leave no trace, so the receipt of a WRITE patch is always all of it.
 */
#include "pin/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/log.h"

static int patch_compare(struct patch *a, struct patch *b)
{
	return a->range.start < b->range.start ? -1 : a->range.start > b->range.start;
}
RB_GENERATE(patch_tree, patch, in_mapping, patch_compare)

struct patch *patch_before(struct mapping *m, uint64_t off)
{
	struct patch key = {.range.start = off};
	struct patch *p = RB_NFIND(patch_tree, &m->patches, &key);

	return p ? RB_PREV(patch_tree, &m->patches, p) : RB_MAX(patch_tree, &m->patches);
}

struct patch *patch_behind(struct mapping *m, uint64_t off)
{
	struct patch key = {.range.start = off};

	return RB_NFIND(patch_tree, &m->patches, &key);
}

struct patch *patch_find(struct mapping *m, uint64_t off)
{
	struct patch *p = patch_before(m, off + 1);

	return p && off < p->range.end ? p : NULL;
}

/* --- pages --- */

static unsigned page_of(uint64_t off)
{
	return (unsigned)(off % MAP_WINDOW / MAP_PAGE);
}

/* Under the patch's lock. Returns how many of them changed. */
static unsigned present_set(struct patch *p, struct range r, bool on)
{
	unsigned changed = 0;

	for (uint64_t off = r.start; off < r.end; off += MAP_PAGE) {
		uint64_t *word = &p->present[page_of(off) / 64];
		uint64_t bit = 1ull << page_of(off) % 64;

		changed += !(*word & bit) == on;
		*word = on ? *word | bit : *word & ~bit;
	}
	return changed;
}

bool patch_present(struct patch *p, uint64_t off)
{
	bool there;

	lock_take(&p->lock);
	there = p->present[page_of(off) / 64] >> page_of(off) % 64 & 1;
	lock_drop(&p->lock);
	return there;
}

static int pages_map(const struct mapping *m, struct range r, int prot, int flags, int fd, uint64_t fd_off)
{
	void *at = (void *)map_address(m, r.start);

	if (mmap(at, r.end - r.start, prot, flags | MAP_FIXED, fd, (off_t)fd_off) == MAP_FAILED)
		return -errno;
	/* A child of fork() has no lease (L24). User data has no business in a core file. */
	(void)madvise(at, r.end - r.start, MADV_DONTFORK);
	return 0;
}

int pages_away(const struct mapping *m, struct range r)
{
	return pages_map(m, r, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Under the patch's lock. Cannot fail: with no memory for the kernel's books of a smaller cut, more goes. */
static void patch_away(struct patch *p, struct range r)
{
	struct mapping *m = p->mapping;

	if (++p->cuts > PATCH_CUTS_MAX || m->huge)
		r = p->range;
	if (pages_away(m, r) != 0) {
		r = p->range;
		if (pages_away(m, r) != 0) {
			/* One area instead of many needs none. The other patches hear of it at their next fault. */
			int err = pages_away(m, (struct range){m->off, map_end(m)});

			if (err) {
				log_error("pin", "mapping: pages cannot be taken away: error %d", err);
				abort();
			}
			atomic_store(&m->wiped, true);
		}
	}
	atomic_fetch_add(&maps.taken, present_set(p, r, false));
}

/* --- the device --- */

/* Under the patch's lock. */
static int run_map(struct patch *p, const struct lh_pin_run *run)
{
	struct mapping *m = p->mapping;
	struct range r = range_cut((struct range){run->off, run->off + run->len}, p->range);
	uint64_t fd_off = run->fd_off + (r.start - run->off);
	int prot = p->write ? PROT_READ | PROT_WRITE : PROT_READ;
	int err;

	if (range_empty(r))
		return 0;
	if (m->huge && (fd_off % MAP_WINDOW != 0 || (r.end - r.start) % MAP_WINDOW != 0))
		return 0; /* not there: the fault says why */
	err = pages_map(m, r, prot, m->share, run->fd, fd_off);
	if (err == -EOPNOTSUPP && m->share != MAP_SHARED) {
		m->share = MAP_SHARED;
		err = pages_map(m, r, prot, m->share, run->fd, fd_off);
	}
	if (!err)
		atomic_fetch_add(&maps.pages, present_set(p, r, true));
	return err;
}

/* Under the patch's lock: readers see zeroes where there is nothing. */
static int hole_map(struct patch *p, uint64_t from, uint64_t to)
{
	struct range r = range_cut((struct range){from, to}, p->range);
	int err = 0;

	if (range_empty(r) || p->write || p->mapping->huge)
		return 0;
	err = pages_map(p->mapping, r, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!err)
		present_set(p, r, true);
	return err;
}

static int patch_attach(void *ctx, uint64_t off, uint64_t len, const struct lh_pin_run *runs, unsigned count)
{
	struct patch *p = ctx;
	uint64_t at = off;
	int err = 0;

	lock_take(&p->lock);
	if (count > PATCH_RUNS_MAX)
		count = 0, len = 0; /* it is in pieces now: the next fault makes a patch for one of them */
	for (unsigned k = 0; k < count && !err; k++) {
		err = hole_map(p, at, runs[k].off);
		if (!err)
			err = run_map(p, &runs[k]);
		at = runs[k].off + runs[k].len;
	}
	if (!err)
		err = hole_map(p, at, off + len);
	if (err)
		patch_away(p, range_cut(p->range, (struct range){off, off + len}));
	lock_drop(&p->lock);
	return err;
}

static void patch_detach(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *out)
{
	struct patch *p = ctx;

	(void)out;
	lock_take(&p->lock);
	patch_away(p, range_cut(p->range, (struct range){off, off + len}));
	lock_drop(&p->lock);
}

static const struct lh_pin_device mapping_device = {
    .size = sizeof(mapping_device), .name = "mapping", .attach = patch_attach, .detach = patch_detach};

/* --- life --- */

static struct patch *patch_new(struct mapping *m, struct range range, bool write)
{
	struct patch *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->mapping = m;
	p->range = range;
	p->write = write;
	lock_init(&p->lock, RANK_DEVICE);
	return p;
}

static void patch_free(struct patch *p)
{
	lock_destroy(&p->lock);
	free(p);
}

static void patch_add(struct patch *p)
{
	lock_take(&maps.lock);
	RB_INSERT(patch_tree, &p->mapping->patches, p);
	TAILQ_INSERT_TAIL(&maps.age, p, in_age);
	maps.patches++;
	lock_drop(&maps.lock);
}

int patch_get(struct mapping *m, struct range range, bool write)
{
	/* Nobody waits for a CPU to let go. */
	struct lh_pin_options opt = {.size = sizeof(opt),
				     .flags = (write ? LH_LEASE_WRITE : LH_LEASE_READ) | LH_LEASE_NOW};
	struct patch *p = patch_new(m, range, write);
	int err;

	if (!p)
		return -ENOMEM;
	err = lh_pin_get(m->file, range.start, range.end - range.start, &opt, &mapping_device, p, &p->pin);
	if (err)
		patch_free(p);
	else
		patch_add(p);
	return err;
}

int patch_error(struct mapping *m, uint64_t off)
{
	struct range page = {off, off + MAP_PAGE};
	struct patch *p = patch_new(m, page, false);
	int err;

	if (!p)
		return -ENOMEM;
	err = pages_map(m, page, m->prot, MAP_SHARED, maps.nothing, 0);
	if (err)
		patch_free(p);
	else
		patch_add(p);
	return err;
}

void patch_drop(struct patch *p)
{
	lock_take(&maps.lock);
	RB_REMOVE(patch_tree, &p->mapping->patches, p);
	TAILQ_REMOVE(&maps.age, p, in_age);
	maps.patches--;
	lock_drop(&maps.lock);
	if (p->pin) {
		/* Its pages go by detach. */
		(void)lh_pin_release(p->pin);
	} else {
		lock_take(&p->lock);
		patch_away(p, p->range);
		lock_drop(&p->lock);
	}
	patch_free(p);
}
