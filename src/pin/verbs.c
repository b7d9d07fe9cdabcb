/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory regions of an application's own protection domain: the device "verbs". A run of the file is one region; detach
 * is ibv_dereg_mr, because deregistering is a barrier (no byte lands after it has returned) and invalidating a window
 * is not everywhere. What a region is cut to is registered anew by the next look-up.
 *
 * The library does not depend on libibverbs: who has a protection domain has it loaded, and it is asked for by name.
 *
 * Registering happens in attach, under the filesystem's locks: the kernel pins the pages, about 0.1 ms a MiB.
 *
 * Lock: mr->lock (DEVICE): the regions. detach holds it while the NIC's driver works.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/sys/queue.h>
#include <infiniband/verbs.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/types.h"
#include <leasehold/leasehold.h>

/* ibv_reg_mr is a macro in newer headers. */
#undef ibv_reg_mr

#define WRITES (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
/* A NIC wants neither on memory that others move. */
#define REFUSED     (IBV_ACCESS_ON_DEMAND | IBV_ACCESS_HUGETLB | IBV_ACCESS_MW_BIND)
#define LOOKUPS_MAX 64u

static struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *addr, size_t len, int access);
static int (*dereg_mr)(struct ibv_mr *mr);
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct region {
	TAILQ_ENTRY(region) next;
	uint64_t off, len;
	char *addr;
	struct ibv_mr *mr;
};
TAILQ_HEAD(region_list, region);

struct lh_verbs_mr {
	struct ibv_pd *pd;
	struct lh_file *file;
	struct lh_pin *pin; /* NULL: ended with its file */
	uint64_t off, len;
	int access;
	struct lock lock;
	struct region_list regions;
	atomic_ullong generation;
};

static void symbols_find(void)
{
	*(void **)&reg_mr = dlsym(RTLD_DEFAULT, "ibv_reg_mr");
	*(void **)&dereg_mr = dlsym(RTLD_DEFAULT, "ibv_dereg_mr");
}

static void region_end(struct region *r)
{
	int err = dereg_mr(r->mr);

	if (err) {
		/* The NIC can still reach what is about to be somebody else's. */
		log_error("pin", "verbs: a region of %llu bytes is not deregistered: %s", (unsigned long long)r->len,
			  strerror(err));
		abort();
	}
	free(r);
}

static void regions_end(struct region_list *list)
{
	struct region *r;

	while ((r = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, r, next);
		region_end(r);
	}
}

/* Outside of what was asked for no key reaches, though the pin has whole blocks. */
static int region_new(const struct lh_verbs_mr *m, const struct lh_pin_run *run, struct region_list *to)
{
	struct range want = {m->off, m->off + m->len};
	struct range part = range_cut((struct range){run->off, run->off + run->len}, want);
	struct region *r;

	if (range_empty(part))
		return 0;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->off = part.start;
	r->len = part.end - part.start;
	r->addr = (char *)run->addr + (part.start - run->off);
	r->mr = reg_mr(m->pd, r->addr, r->len, m->access);
	if (!r->mr) {
		int err = errno > 0 ? -errno : -EIO;

		free(r);
		return fail(err, "verbs: the device does not register %llu bytes: %s",
			    (unsigned long long)(part.end - part.start), strerror(-err));
	}
	TAILQ_INSERT_TAIL(to, r, next);
	return 0;
}

static int verbs_attach(void *ctx, uint64_t off, uint64_t len, const struct lh_pin_run *runs, unsigned count)
{
	struct lh_verbs_mr *m = ctx;
	struct region_list fresh = TAILQ_HEAD_INITIALIZER(fresh);
	int err = 0;

	(void)off;
	(void)len;
	for (unsigned k = 0; k < count && !err; k++)
		err = region_new(m, &runs[k], &fresh);
	if (err) {
		regions_end(&fresh);
		return err;
	}
	lock_take(&m->lock);
	TAILQ_CONCAT(&m->regions, &fresh, next);
	lock_drop(&m->lock);
	atomic_fetch_add(&m->generation, 1);
	return 0;
}

/*
 * The whole region dies, also what of it may stay: a region cannot be made smaller. The rest is registered anew, and
 * where that fails it is missing until lh_verbs_lookup gets all anew.
 */
static void verbs_detach(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *out)
{
	struct lh_verbs_mr *m = ctx;
	struct region_list rests = TAILQ_HEAD_INITIALIZER(rests);
	struct region *r, *after;

	(void)out; /* a NIC tells nobody what it wrote: all of it */
	lock_take(&m->lock);
	atomic_fetch_add(&m->generation, 1);
	for (r = TAILQ_FIRST(&m->regions); r; r = after) {
		struct lh_pin_run before, behind;
		uint64_t end = off + len;

		after = TAILQ_NEXT(r, next);
		if (r->off >= end || r->off + r->len <= off)
			continue;
		before = (struct lh_pin_run){.off = r->off, .len = r->off < off ? off - r->off : 0, .addr = r->addr};
		behind = (struct lh_pin_run){.off = end};
		if (r->off + r->len > end) {
			behind.len = r->off + r->len - end;
			behind.addr = r->addr + (end - r->off);
		}
		TAILQ_REMOVE(&m->regions, r, next);
		region_end(r);
		(void)region_new(m, &before, &rests);
		(void)region_new(m, &behind, &rests);
	}
	TAILQ_CONCAT(&m->regions, &rests, next);
	lock_drop(&m->lock);
}

static void verbs_gone(void *ctx)
{
	struct lh_verbs_mr *m = ctx;

	assert(TAILQ_EMPTY(&m->regions));
	m->pin = NULL;
}

static const struct lh_pin_device verbs_device = {
    .size = sizeof(verbs_device), .name = "verbs", .attach = verbs_attach, .detach = verbs_detach, .gone = verbs_gone};

/* --- the calls --- */

static int mr_pin(struct lh_verbs_mr *m)
{
	struct lh_pin_options opt = {.size = sizeof(opt), .flags = m->access & WRITES ? LH_LEASE_WRITE : LH_LEASE_READ};

	return lh_pin_get(m->file, m->off, m->len, &opt, &verbs_device, m, &m->pin);
}

static int check(const struct ibv_pd *pd, const struct lh_file *file, int access, struct lh_verbs_mr **out)
{
	fail_clear();
	if (!pd || !file || !out)
		return fail(-EINVAL, "lh_verbs_reg_mr: %s is NULL", !pd ? "pd" : !file ? "file" : "out");
	*out = NULL;
	if (access & REFUSED)
		return fail(-EINVAL, "lh_verbs_reg_mr: access %#x: no on-demand paging, huge pages or windows", access);
	if (access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC) && !(access & IBV_ACCESS_LOCAL_WRITE))
		return fail(-EINVAL, "lh_verbs_reg_mr: remote writing needs IBV_ACCESS_LOCAL_WRITE too");
	pthread_once(&once, symbols_find);
	if (!reg_mr || !dereg_mr)
		return fail(-EOPNOTSUPP, "lh_verbs_reg_mr: libibverbs is not loaded in this process");
	return 0;
}

int lh_verbs_reg_mr(struct ibv_pd *pd, struct lh_file *file, uint64_t off, uint64_t len, int access,
		    struct lh_verbs_mr **out)
{
	int err = check(pd, file, access, out);
	struct lh_verbs_mr *m;

	if (err)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return fail(-ENOMEM, "lh_verbs_reg_mr: no memory");
	m->pd = pd;
	m->file = file;
	m->off = off;
	m->len = len;
	m->access = access;
	lock_init(&m->lock, RANK_DEVICE);
	TAILQ_INIT(&m->regions);
	err = mr_pin(m);
	if (err) {
		lock_destroy(&m->lock);
		free(m);
		return err;
	}
	*out = m;
	return 0;
}

static bool region_at(struct lh_verbs_mr *m, uint64_t off, struct lh_verbs_run *out)
{
	struct region *r;

	lock_take(&m->lock);
	TAILQ_FOREACH (r, &m->regions, next) {
		if (r->off <= off && off < r->off + r->len)
			break;
	}
	if (r)
		*out = (struct lh_verbs_run){.off = off,
					     .len = r->off + r->len - off,
					     .addr = r->addr + (off - r->off),
					     .lkey = r->mr->lkey,
					     .rkey = r->mr->rkey,
					     .generation = atomic_load(&m->generation)};
	lock_drop(&m->lock);
	return r != NULL;
}

int lh_verbs_lookup(struct lh_verbs_mr *m, uint64_t off, struct lh_verbs_run *out)
{
	struct lh_extent there;

	fail_clear();
	if (!m || !out)
		return fail(-EINVAL, "lh_verbs_lookup: %s is NULL", m ? "out" : "mr");
	if (off < m->off || off - m->off >= m->len)
		return fail(-ERANGE, "lh_verbs_lookup: byte %llu is not inside the region", (unsigned long long)off);
	for (unsigned k = 0; k < LOOKUPS_MAX; k++) {
		int err;

		if (region_at(m, off, out))
			return 0;
		if (!m->pin)
			return fail(-EBADF, "lh_verbs_lookup: the file is closed");
		err = lh_pin_fault(m->pin, off, 1);
		if (err)
			return err;
		if (region_at(m, off, out))
			return 0;
		if (lh_file_extents(m->file, off, 1, &there, 1) == 0)
			return fail(-ENODATA, "lh_verbs_lookup: byte %llu is in a hole", (unsigned long long)off);
		/* A rest could not be registered when its neighbour went. */
		if (k > 1) {
			(void)lh_pin_release(m->pin);
			err = mr_pin(m);
			if (err)
				return err;
		}
	}
	return fail(-EAGAIN, "lh_verbs_lookup: the range is being changed without end; try again");
}

uint64_t lh_verbs_generation(const struct lh_verbs_mr *m)
{
	return m ? atomic_load(&m->generation) : 0;
}

int lh_verbs_commit(struct lh_verbs_mr *m, uint64_t off, uint64_t len)
{
	fail_clear();
	if (!m || !m->pin)
		return fail(m ? -EBADF : -EINVAL, "lh_verbs_commit: %s", m ? "the file is closed" : "mr is NULL");
	return lh_pin_commit(m->pin, off, len);
}

int lh_verbs_dereg_mr(struct lh_verbs_mr *m)
{
	fail_clear();
	if (!m)
		return 0;
	if (m->pin)
		(void)lh_pin_release(m->pin);
	lock_destroy(&m->lock);
	free(m);
	return 0;
}
