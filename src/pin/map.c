/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lh_map and its sisters, and the table by which a signal handler knows our addresses without a lock.
 *
 * The table's slots are two words each, written under maps.lock and read by anybody. A reader that sees half of a
 * change may take an address for ours that is not, and is put right by the look under the lock; an address in use is
 * never missed.
 */
#include "pin/map.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/busguard.h"
#include "base/error.h"
#include "base/mapped.h"
#include "pin/trap.h"

struct maps maps = {.nothing = -1};

struct slot {
	_Atomic uintptr_t start, end;
};
static struct slot slots[MAPPINGS_MAX];
static _Atomic unsigned slots_used; /* no mapping is in one behind */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool slot_hit(uintptr_t at, uintptr_t end)
{
	unsigned used = atomic_load_explicit(&slots_used, memory_order_acquire);

	for (unsigned k = 0; k < used; k++) {
		if (at < atomic_load_explicit(&slots[k].end, memory_order_acquire) &&
		    end > atomic_load_explicit(&slots[k].start, memory_order_acquire))
			return true;
	}
	return false;
}

/* --- hooks --- */

static bool hook_overlaps(const void *at, size_t len)
{
	uintptr_t start = (uintptr_t)at;

	return len > 0 && slot_hit(start, start + len < start ? UINTPTR_MAX : start + len);
}

static bool hook_ours(uintptr_t at)
{
	return slot_hit(at, at + 1);
}

static bool hook_serve(uintptr_t at, bool write, bool bus)
{
	int err = map_fault(at, bus ? MAP_BUS : write ? MAP_WRITE : MAP_READ);

	/* An error has a page that says SIGBUS when it is touched again. */
	return bus ? err == 0 : err != -EACCES && err != -EFAULT && err != -ENOMEM;
}

/* L24. Pages show SIGBUS from now on. */
static void hook_closing(const void *file)
{
	lock_take(&maps.lock);
	for (unsigned k = 0; k < MAPPINGS_MAX; k++) {
		struct mapping *m = maps.of[k];

		if (!m || m->file != file || m->dead)
			continue;
		m->dead = true;
		while (m->workers > 0)
			cond_wait(&maps.change, &maps.lock);
		mapping_clear(m, false);
	}
	lock_drop(&maps.lock);
}

static const struct mapped_hooks hooks = {.overlaps = hook_overlaps, .closing = hook_closing, .cured = trap_bus};
static const struct trap_ops traps = {.ours = hook_ours, .serve = hook_serve};

static void maps_init(void)
{
	lock_init(&maps.lock, RANK_MAPPING);
	cond_init(&maps.change);
	TAILQ_INIT(&maps.age);
	LIST_INIT(&maps.workers);
	maps.nothing = memfd_create("leasehold-nothing", MFD_CLOEXEC);
	atomic_store(&mapped_hooks, &hooks);
}

static int maps_start(void)
{
	int err;

	pthread_once(&once, maps_init);
	if (maps.nothing < 0)
		return fail(-EMFILE, "mappings: no descriptor for a page of nothing");
	err = busguard_install();
	return err ? err : trap_start(&traps);
}

/* --- making and ending --- */

static int check(struct lh_file *file, uint64_t off, uint64_t len, int prot, void **out)
{
	ssize_t n;

	fail_clear();
	if (!file || !out)
		return fail(-EINVAL, "lh_map: %s is NULL", file ? "out" : "file");
	*out = NULL;
	if (prot != PROT_READ && prot != (PROT_READ | PROT_WRITE))
		return fail(-EINVAL, "lh_map: prot %#x: PROT_READ, or PROT_READ | PROT_WRITE", (unsigned)prot);
	if (off % MAP_PAGE != 0)
		return fail(-EINVAL, "lh_map: the offset %llu is not a multiple of %u", (unsigned long long)off,
			    (unsigned)MAP_PAGE);
	if (len == 0 || off > INT64_MAX - 2 * MAP_WINDOW || len > INT64_MAX - 2 * MAP_WINDOW - off)
		return fail(-EINVAL, "lh_map: %llu bytes at %llu are nothing or too much", (unsigned long long)len,
			    (unsigned long long)off);
	/* Nothing is written; the file says whether something could be. */
	n = prot & PROT_WRITE ? lh_file_write(file, "", 0, 0) : 0;
	if (n < 0)
		return n == -EBADF ? fail(-EACCES, "lh_map: the file is not open for writing") : (int)n;
	return 0;
}

/* For reading: the one who decides is the lease (L17). */
static int probe_attach(void *ctx, uint64_t off, uint64_t len, const struct lh_pin_run *runs, unsigned count)
{
	(void)off;
	(void)len;
	if (count > 0)
		*(int *)ctx = runs[0].fd;
	return 0;
}

static void probe_detach(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *out)
{
	(void)ctx;
	(void)off;
	(void)len;
	(void)out;
}

static int probe(struct lh_file *file, uint64_t off)
{
	static const struct lh_pin_device device = {
	    .size = sizeof(device), .name = "mapping", .attach = probe_attach, .detach = probe_detach};
	struct lh_pin_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ | LH_LEASE_NOW | LH_LEASE_NOWAIT};
	struct lh_pin *pin;
	int fd = 0;
	int err = lh_pin_get(file, off, 1, &opt, &device, &fd, &pin);

	if (!err) {
		(void)lh_pin_release(pin);
		if (fd < 0)
			return fail(-EOPNOTSUPP, "lh_map: the pool's memory has no descriptor");
	}
	if (err == -EBADF)
		return fail(-EACCES, "lh_map: the file is not open for reading");
	/* Nothing there yet, or just being changed: faults will see. */
	return err == -ENODATA || err == -EAGAIN || err == -EWOULDBLOCK ? 0 : err;
}

/* The address has the place of `off` inside 2 MiB, so that huge pages fit. */
static int reserve(struct mapping *m, uint64_t len)
{
	uint64_t in_window = m->off % MAP_WINDOW;
	uintptr_t at;

	m->reserve_len = round_up_u64(len, MAP_PAGE) + in_window + MAP_WINDOW;
	m->reserve = mmap(NULL, m->reserve_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->reserve == MAP_FAILED)
		return fail(-ENOMEM, "lh_map: no address space for %llu bytes", (unsigned long long)len);
	(void)madvise(m->reserve, m->reserve_len, MADV_DONTFORK);
	at = round_up_u64((uintptr_t)m->reserve, MAP_WINDOW);
	m->start = at + in_window;
	m->end = m->start + round_up_u64(len, MAP_PAGE);
	return 0;
}

static int slot_take(struct mapping *m)
{
	lock_take(&maps.lock);
	for (unsigned k = 0; k < MAPPINGS_MAX; k++) {
		if (maps.of[k])
			continue;
		m->slot = k;
		maps.of[k] = m;
		maps.mappings++;
		atomic_store_explicit(&slots[k].start, m->start, memory_order_release);
		atomic_store_explicit(&slots[k].end, m->end, memory_order_release);
		if (k >= atomic_load(&slots_used))
			atomic_store_explicit(&slots_used, k + 1, memory_order_release);
		lock_drop(&maps.lock);
		return 0;
	}
	lock_drop(&maps.lock);
	return fail(-ENFILE, "lh_map: %u mappings are all that a process can have", MAPPINGS_MAX);
}

/* hugetlbfs: nothing smaller than a huge page can be mapped, so all of the range must be made of whole ones. */
static int check_huge(const struct mapping *m, uint64_t len)
{
	for (uint64_t at = m->off; at < m->off + len; at += MAP_WINDOW) {
		for (unsigned tries = 0;; tries++) {
			struct lh_extent e;
			int n = lh_file_extents(m->file, at, MAP_WINDOW, &e, 1);

			if (n < 0)
				return n;
			if (n == 1 && e.file_off == at && e.len == MAP_WINDOW && e.pool_off % MAP_WINDOW == 0)
				break;
			/* Another place may do: long runs begin where huge pages do. */
			if (tries > 0 || n == 0 || lh_file_relocate(m->file, at, MAP_WINDOW) <= 0)
				return fail(
				    -EOPNOTSUPP,
				    "lh_map: on hugetlbfs only whole 2 MiB in one huge page can be mapped, the file's "
				    "2 MiB at %llu are not; allocate the file in steps of 2 MiB",
				    (unsigned long long)at);
		}
	}
	return 0;
}

static int kind_look(struct mapping *m, struct lh_fs *fs, uint64_t len)
{
	struct lh_statfs st = {.size = sizeof(st)};
	int err = lh_fs_stat(fs, &st);

	if (err)
		return err;
	m->share = strcmp(st.pool_kind, "FS-DAX") == 0 ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
	m->huge = strcmp(st.pool_kind, "hugetlbfs") == 0 || strcmp(st.pool_kind, "device DAX") == 0;
	if (!m->huge)
		return 0;
	if (m->off % MAP_WINDOW != 0)
		return fail(-EINVAL, "lh_map: on hugetlbfs the offset is a multiple of 2 MiB");
	return check_huge(m, len);
}

int lh_map(struct lh_file *file, uint64_t off, uint64_t len, int prot, void **out)
{
	int err = check(file, off, len, prot, out);
	struct mapping *m;

	if (!err)
		err = probe(file, off);
	if (!err)
		err = maps_start();
	if (err)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return fail(-ENOMEM, "lh_map: no memory");
	m->file = file;
	m->off = off;
	m->prot = prot;
	m->ahead = MAP_PAGE;
	m->next_read = m->next_write = UINT64_MAX;
	atomic_init(&m->wiped, false);
	RB_INIT(&m->patches);
	err = kind_look(m, lh_file_fs(file), len);
	if (!err)
		err = reserve(m, len);
	if (err)
		goto free_mapping;
	err = slot_take(m);
	if (err)
		goto unreserve;
	*out = (void *)m->start;
	return 0;

unreserve:
	munmap(m->reserve, m->reserve_len);
free_mapping:
	free(m);
	return err;
}

int lh_unmap(void *addr)
{
	struct mapping *m;
	unsigned k;

	fail_clear();
	pthread_once(&once, maps_init);
	lock_take(&maps.lock);
	m = mapping_find((uintptr_t)addr);
	if (!m || m->ending || m->start != (uintptr_t)addr) {
		lock_drop(&maps.lock);
		return fail(-EINVAL, "lh_unmap: %p is not what lh_map returned", addr);
	}
	m->ending = true;
	while (m->workers > 0)
		cond_wait(&maps.change, &maps.lock);
	mapping_clear(m, true);
	k = m->slot;
	maps.of[k] = NULL;
	maps.mappings--;
	atomic_store_explicit(&slots[k].end, 0, memory_order_release);
	atomic_store_explicit(&slots[k].start, 0, memory_order_release);
	lock_drop(&maps.lock);
	munmap(m->reserve, m->reserve_len);
	free(m);
	return 0;
}

/* --- on ranges --- */

/* Which bytes of which file; the mapping cannot end meanwhile, by contract. */
static int range_of(const void *addr, size_t len, const char *call, struct lh_file **file, uint64_t *off)
{
	uintptr_t at = (uintptr_t)addr;
	struct mapping *m;
	int err = 0;

	pthread_once(&once, maps_init);
	lock_take(&maps.lock);
	m = mapping_find(at);
	if (!m || m->ending || len > m->end - at)
		err = -EFAULT;
	else if (m->dead)
		err = -EBADF;
	if (!err) {
		*file = m->file;
		*off = m->off + (at - m->start);
	}
	lock_drop(&maps.lock);
	if (err == -EBADF)
		return fail(err, "%s: the file of the mapping is closed", call);
	return err ? fail(err, "%s: %zu bytes at %p are not inside one mapping", call, len, addr) : 0;
}

int lh_map_touch(void *addr, size_t len, bool write)
{
	struct lh_file *file;
	uint64_t off;
	int err;

	fail_clear();
	if (len == 0)
		return 0;
	err = range_of(addr, len, __func__, &file, &off);
	for (size_t done = 0; !err && done < len;) {
		uintptr_t at = (uintptr_t)addr + done;

		err = map_fault(at, write ? MAP_WRITE : MAP_READ);
		done += MAP_PAGE - at % MAP_PAGE;
	}
	if (err == -EACCES)
		return fail(err, "%s: the mapping is for reading", __func__);
	if (err == -ENODATA)
		return fail(err, "%s: beyond the end of the file", __func__);
	return err;
}

int lh_map_sync(void *addr, size_t len)
{
	struct lh_file *file;
	uint64_t off;
	int err;

	fail_clear();
	if (len == 0)
		return 0;
	err = range_of(addr, len, __func__, &file, &off);
	return err ? err : lh_file_commit(file, off, len);
}

int lh_map_stat(struct lh_map_stat *out)
{
	fail_clear();
	if (!out || out->size < sizeof(*out))
		return fail(-EINVAL, "lh_map_stat: the struct is NULL or its size is not set");
	pthread_once(&once, maps_init);
	lock_take(&maps.lock);
	out->mappings = maps.mappings;
	out->pieces = maps.patches;
	lock_drop(&maps.lock);
	out->faults = trap_count();
	out->pages = atomic_load(&maps.pages);
	out->pages_taken = atomic_load(&maps.taken);
	return 0;
}
