/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings of files: what map.c (calls, tables), map_fault.c (faults) and map_patch.c (the device) share.
 *
 * A mapping is a reserved range of addresses without access. What of it can be touched is made of patches: each is one
 * pin of the device "mapping", READ or WRITE, over bytes of the file that lie in one run (or one hole) and in one
 * window of 2 MiB, and one mmap of the pool there. A patch without a pin stands for an error: a page of an empty file,
 * whose access is the kernel's own SIGBUS.
 *
 * Locks: `maps.lock` (MAPPING): the tables, trees and lists, and who works in which window. Whoever works in a window
 * (window_begin to window_end) is alone in making and dropping its patches, and holds no lock while he calls the
 * library. patch.lock (DEVICE): what of the patch is there; the filesystem takes pages away under it at any time.
 */
#ifndef LH_PIN_MAP_H
#define LH_PIN_MAP_H

#include <stdatomic.h>

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "base/lock.h"
#include "base/types.h"
#include <leasehold/leasehold.h>

#define MAP_PAGE     ((uint64_t)LH_BLOCK_SIZE)
#define MAP_WINDOW   ((uint64_t)2 << 20)
#define WINDOW_PAGES (MAP_WINDOW / MAP_PAGE)
/* Mappings of one process. */
#define MAPPINGS_MAX 4096u
/* Patches of one process: a process has 65,530 areas of memory by default, a patch makes up to two. */
#define PATCHES_MAX 16384u
/* A patch that is shot full of holes, or that moved into so many runs, is unmapped whole. */
#define PATCH_RUNS_MAX 8u
#define PATCH_CUTS_MAX 4u
/* Times that a fault looks again before the thread faults anew. */
#define FAULT_TRIES_MAX 64u

struct patch {
	RB_ENTRY(patch) in_mapping;
	TAILQ_ENTRY(patch) in_age;
	struct mapping *mapping;
	struct range range; /* bytes of the file, whole pages of one window */
	bool write;
	struct lh_pin *pin; /* NULL: an error */
	struct lock lock;
	uint64_t present[WINDOW_PAGES / 64]; /* by page of the window */
	unsigned cuts;
};
RB_HEAD(patch_tree, patch);
TAILQ_HEAD(patch_list, patch);

/* A thread at work, on its stack. */
struct worker {
	LIST_ENTRY(worker) next;
	struct mapping *mapping;
	uint64_t window; /* byte of the file where it begins */
};
LIST_HEAD(worker_list, worker);

struct mapping {
	uintptr_t start; /* of the address for byte `off`; to `end` */
	uintptr_t end;
	void *reserve; /* what munmap is given */
	size_t reserve_len;
	struct lh_file *file;
	uint64_t off;
	int prot;
	atomic_int share; /* share: MAP_SHARED, or MAP_SHARED_VALIDATE | MAP_SYNC where the memory wants that */
	bool huge;        /* hugetlbfs: a patch is a window, or nothing */
	unsigned slot;
	unsigned workers;
	bool ending;       /* no new faults */
	atomic_bool dead;  /* its file is closed */
	atomic_bool wiped; /* patch_detach had to take all pages away at once */
	struct patch_tree patches;
	_Atomic uint64_t next_read, next_write; /* where a reader in sequence goes on */
	_Atomic uint64_t ahead;                 /* bytes that a writer into holes gets at once */
};

struct maps {
	struct lock lock;
	struct cond change;
	struct mapping *of[MAPPINGS_MAX];
	struct patch_list age; /* oldest first */
	unsigned patches, mappings;
	struct worker_list workers;
	int nothing; /* an empty memory object */
	atomic_ullong pages, taken;
};
extern struct maps maps;

static inline uintptr_t map_address(const struct mapping *m, uint64_t off)
{
	return m->start + (off - m->off);
}
static inline uint64_t map_end(const struct mapping *m)
{
	return m->off + (m->end - m->start);
}

/* map_patch.c */
RB_PROTOTYPE(patch_tree, patch, in_mapping, patch_compare)
/* Under maps.lock: the patch with the byte, and the ones around. */
struct patch *patch_find(struct mapping *m, uint64_t off);
struct patch *patch_before(struct mapping *m, uint64_t off);
struct patch *patch_behind(struct mapping *m, uint64_t off);
/* Only who works in the window. No lock. 0: the device is attached (what of it is there may be gone again), and the
 * patch is in the tree; else as lh_pin_get. */
int patch_get(struct mapping *m, struct range range, bool write);
/* The page becomes an error. */
int patch_error(struct mapping *m, uint64_t off);
/* It is in the tree; it is freed. */
void patch_drop(struct patch *p);
bool patch_present(struct patch *p, uint64_t off);
/* Addresses without access. -errno. */
int pages_away(const struct mapping *m, struct range range);

/* map_fault.c */
enum map_access { MAP_READ, MAP_WRITE, MAP_BUS };
/* 0: try again. -EACCES, -EFAULT: nothing of ours; -ENODATA, and what a pin ran into: an error page is there, or was.
 */
int map_fault(uintptr_t at, enum map_access how);
/* Under maps.lock. */
struct mapping *mapping_find(uintptr_t at);
/* All patches go, or all but errors. Under maps.lock, which it drops meanwhile. */
void mapping_clear(struct mapping *m, bool errors);
/* Under maps.lock, which it drops while it waits. */
void window_begin(struct worker *w, struct mapping *m, uint64_t off);
void window_end(struct worker *w);

#endif
