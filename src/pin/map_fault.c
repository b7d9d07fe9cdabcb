/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens at a fault: find out what there is to show around the page, get a pin of exactly that, and look whether
 * it is still there. The pin's lease holds the layout and the size from then on: whoever changes them takes the pages
 * away first. So after the pin one look at the size tells whether a page beyond the end was let in.
 *
 * How much: for reading, the run (or hole) around the page, inside its window of 2 MiB. For writing the same where the
 * blocks are the file's own; where a block is missing or shared, that page, and more and more behind it as long as the
 * writer goes on in sequence, so that a random write into a hole allocates one block.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/error.h"
#include "base/log.h"
#include "pin/map.h"

#define SMALL_TRIES 16u     /* from then on one page will do */
#define RETRY_NS    200000L /* a session that does not wait (lh_fs_set_nowait) */

/* --- who works where --- */

static bool window_busy(const struct mapping *m, uint64_t window)
{
	struct worker *w;

	LIST_FOREACH (w, &maps.workers, next) {
		if (w->mapping == m && w->window == window)
			return true;
	}
	return false;
}

void window_begin(struct worker *w, struct mapping *m, uint64_t off)
{
	w->mapping = m;
	w->window = round_down_u64(off, MAP_WINDOW);
	m->workers++;
	while (window_busy(m, w->window))
		cond_wait(&maps.change, &maps.lock);
	LIST_INSERT_HEAD(&maps.workers, w, next);
}

void window_end(struct worker *w)
{
	LIST_REMOVE(w, next);
	w->mapping->workers--;
	cond_wake_all(&maps.change);
}

/*
 * The oldest patch of a window where nobody works, or only the caller, goes when there are too many, or when there must
 * be fewer.
 */
static void make_room(const struct mapping *m, uint64_t page, bool must)
{
	struct worker w = {0};
	struct patch *p;
	bool mine = false;

	lock_take(&maps.lock);
	TAILQ_FOREACH (p, &maps.age, in_age) {
		uint64_t window = round_down_u64(p->range.start, MAP_WINDOW);

		mine = p->mapping == m && window == round_down_u64(page, MAP_WINDOW);
		if (mine || !window_busy(p->mapping, window))
			break;
	}
	if (!p || (!must && maps.patches < PATCHES_MAX)) {
		lock_drop(&maps.lock);
		return;
	}
	if (!mine)
		window_begin(&w, p->mapping, p->range.start);
	lock_drop(&maps.lock);
	patch_drop(p);
	if (mine)
		return;
	lock_take(&maps.lock);
	window_end(&w);
	lock_drop(&maps.lock);
}

/* Under maps.lock. */
static struct patch *first_of(struct mapping *m, bool errors)
{
	struct patch *p = RB_MIN(patch_tree, &m->patches);

	while (p && !p->pin && !errors)
		p = RB_NEXT(patch_tree, &m->patches, p);
	return p;
}

/* Under maps.lock. */
void mapping_clear(struct mapping *m, bool errors)
{
	struct patch *p = first_of(m, errors);

	while (p) {
		struct worker w;
		uint64_t at = p->range.start;

		window_begin(&w, m, at);
		p = patch_find(m, at); /* another one may have been quicker */
		lock_drop(&maps.lock);
		if (p)
			patch_drop(p);
		lock_take(&maps.lock);
		window_end(&w);
		p = first_of(m, errors);
	}
}

/* --- what there is around a page --- */

/* What the file has there. */
struct place {
	struct range range; /* the run or hole around the page, inside the window */
	bool own;           /* blocks that nobody shares */
};

static int place_find(const struct mapping *m, uint64_t page, struct range window, struct place *out)
{
	struct lh_extent *e = calloc(WINDOW_PAGES, sizeof(*e));
	uint64_t hole = window.start;
	int n, k, first, last;

	if (!e)
		return -ENOMEM;
	n = lh_file_extents(m->file, window.start, window.end - window.start, e, WINDOW_PAGES);
	*out = (struct place){.range = window};
	for (k = 0; k < n && e[k].file_off + e[k].len <= page; k++)
		hole = e[k].file_off + e[k].len;
	if (k >= n || e[k].file_off > page) {
		out->range.start = hole;
		if (k < n)
			out->range.end = e[k].file_off;
	} else {
		/* Neighbours in the file that are neighbours in the pool, and alike. */
		for (first = k; first > 0; first--) {
			const struct lh_extent *b = &e[first - 1], *c = &e[first];

			if (b->file_off + b->len != c->file_off || b->pool_off + b->len != c->pool_off ||
			    (b->flags ^ c->flags) & LH_EXTENT_SHARED)
				break;
		}
		for (last = k; last + 1 < n; last++) {
			const struct lh_extent *b = &e[last], *c = &e[last + 1];

			if (b->file_off + b->len != c->file_off || b->pool_off + b->len != c->pool_off ||
			    (b->flags ^ c->flags) & LH_EXTENT_SHARED)
				break;
		}
		out->range = range_cut((struct range){e[first].file_off, e[last].file_off + e[last].len}, window);
		out->own = !(e[k].flags & LH_EXTENT_SHARED);
	}
	free(e);
	return n < 0 ? n : 0;
}

/* The bytes to get a pin of. */
static int target_find(struct mapping *m, uint64_t page, bool write, uint64_t size, struct range *out)
{
	struct range window = {round_down_u64(page, MAP_WINDOW), round_down_u64(page, MAP_WINDOW) + MAP_WINDOW};
	struct patch *before, *behind;
	struct place place;
	int err;

	if (m->huge) {
		*out = window;
		return 0;
	}
	window.start = max_u64(window.start, m->off);
	window.end = min_u64(min_u64(window.end, map_end(m)), round_up_u64(size, MAP_PAGE));
	lock_take(&maps.lock);
	/* Other patches stay. */
	before = patch_before(m, page);
	behind = patch_behind(m, page);
	if (before)
		window.start = max_u64(window.start, before->range.end);
	if (behind)
		window.end = min_u64(window.end, behind->range.start);
	lock_drop(&maps.lock);
	err = place_find(m, page, window, &place);
	if (err)
		return err;
	*out = place.range;
	if (write && !place.own) {
		m->ahead = page == m->next_write ? min_u64(2 * m->ahead, MAP_WINDOW) : MAP_PAGE;
		*out = range_cut(*out, (struct range){page, page + m->ahead});
	}
	return 0;
}

/* --- the fault --- */

/* The page's old patch goes; for a writer the readers' patches around too, so that it gets the whole run. */
static void drop_old(struct mapping *m, uint64_t page, bool write)
{
	uint64_t window = round_down_u64(page, MAP_WINDOW);
	struct patch *p;

	for (;;) {
		lock_take(&maps.lock);
		p = patch_find(m, page);
		if (!p && write) {
			p = patch_before(m, page);
			if (p && (p->write || !p->pin || p->range.start < window))
				p = NULL;
		}
		if (!p && write) {
			p = patch_behind(m, page);
			if (p && (p->write || !p->pin || p->range.start >= window + MAP_WINDOW))
				p = NULL;
		}
		lock_drop(&maps.lock);
		if (!p)
			return;
		patch_drop(p);
	}
}

/* Pages of a run that is read or written in sequence come all at once; else the kernel maps what is touched. */
static void populate(struct mapping *m, struct range r, bool write)
{
	_Atomic uint64_t *next = write ? &m->next_write : &m->next_read;

	if (*next == r.start && r.end - r.start > MAP_PAGE)
		(void)madvise((void *)map_address(m, r.start), r.end - r.start,
			      write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	*next = r.end;
}

static int file_size(const struct mapping *m, uint64_t *size)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = lh_file_stat(m->file, &st);

	*size = st.size;
	return err;
}

/*
 * What a failed pin means for the fault: 1 look again, or the error. Over a limit of pinned bytes (L18) other patches
 * of this process make room, as pages of a program that has little memory do.
 */
static int pin_failed(const struct mapping *m, uint64_t page, int err, unsigned tries)
{
	if (err == -EAGAIN || err == -EWOULDBLOCK || err == -EINTR) {
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
		return 1;
	}
	if (err == -ENODATA)
		return 1; /* cut meanwhile */
	if ((err != -ENOMEM && err != -EDQUOT) || tries + 1 >= FAULT_TRIES_MAX)
		return err;
	for (unsigned k = 0; k <= tries; k++)
		make_room(m, page, true);
	return 1;
}

/* 0: it is there. 1: look again. */
static int fault_try(struct mapping *m, uint64_t page, bool write, unsigned tries)
{
	struct range r;
	struct patch *p;
	uint64_t size;
	bool there;
	int err;

	drop_old(m, page, write);
	err = file_size(m, &size);
	if (err)
		return err;
	if (page >= size)
		return -ENODATA;
	err = target_find(m, page, write, size, &r);
	if (err)
		return err;
	if (tries > SMALL_TRIES && !m->huge)
		r = (struct range){page, page + MAP_PAGE};
	make_room(m, page, false);
	err = patch_get(m, r, write);
	if (err)
		return pin_failed(m, page, err, tries);
	err = file_size(m, &size);
	lock_take(&maps.lock);
	p = patch_find(m, page);
	lock_drop(&maps.lock);
	if (err || r.end > round_up_u64(size, m->huge ? MAP_WINDOW : MAP_PAGE)) {
		patch_drop(p);
		return err ? err : 1;
	}
	there = patch_present(p, page);
	if (there)
		populate(m, r, write);
	else if (m->huge)
		return fail(-EOPNOTSUPP, "the 2 MiB at %llu are not in one huge page", (unsigned long long)r.start);
	return !there;
}

/* Whoever works in the window, without locks. */
static int fault_in(struct mapping *m, uint64_t page, enum map_access how)
{
	int err = 1;

	for (unsigned k = 0; k < FAULT_TRIES_MAX && err > 0; k++)
		err = m->dead ? -EIO : fault_try(m, page, how == MAP_WRITE, k);
	if (err >= 0)
		return 0; /* also when it is taken away again and again: the thread faults anew, and hears signals
			     between */
	if (err != -ENODATA && !m->dead)
		log_warn("pin", "mapping: byte %llu is SIGBUS: error %d: %s", (unsigned long long)page, err,
			 fail_text());
	/* What is there now is no access; the kernel's SIGBUS comes from a page of nothing. */
	drop_old(m, page, false);
	return patch_error(m, page) == 0 ? err : -ENOMEM;
}

struct mapping *mapping_find(uintptr_t at)
{
	for (unsigned k = 0; k < MAPPINGS_MAX; k++) {
		struct mapping *m = maps.of[k];

		if (m && at >= m->start && at < m->end)
			return m;
	}
	return NULL;
}

/* Under maps.lock, in the window: what another thread's fault has done already. 1: nothing. */
static int fault_done(struct mapping *m, uint64_t page, enum map_access how)
{
	struct patch *p = patch_find(m, page);

	if (!p)
		return 1;
	if (!p->pin)
		return how == MAP_BUS ? 1 : -ENODATA;
	if (how == MAP_BUS)
		return patch_present(p, page) ? -EIO : 0;
	return patch_present(p, page) && (p->write || how == MAP_READ) ? 0 : 1;
}

int map_fault(uintptr_t at, enum map_access how)
{
	struct worker w;
	struct mapping *m;
	uint64_t page;
	int err;

	lock_take(&maps.lock);
	m = mapping_find(at);
	if (!m || m->ending || (how == MAP_WRITE && !(m->prot & PROT_WRITE))) {
		err = m && !m->ending ? -EACCES : -EFAULT;
		lock_drop(&maps.lock);
		return err;
	}
	if (atomic_exchange(&m->wiped, false))
		mapping_clear(m, true);
	page = m->off + round_down_u64(at - m->start, MAP_PAGE);
	window_begin(&w, m, page);
	err = fault_done(m, page, how);
	lock_drop(&maps.lock);
	if (err == 1)
		err = fault_in(m, page, how);
	lock_take(&maps.lock);
	window_end(&w);
	lock_drop(&maps.lock);
	return err;
}
