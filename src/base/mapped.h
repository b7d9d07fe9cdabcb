/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory whose access may call the filesystem: pointers into mappings of files (pin/map.c). Who holds a lock of the
 * filesystem must not touch it, so the public calls ask first and copy (api/bounce.c). pin/ sets the hooks once, with
 * its first mapping; before that a question is one load.
 */
#ifndef LH_BASE_MAPPED_H
#define LH_BASE_MAPPED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct mapped_hooks {
	/* Some byte of [at, at + len) is in a mapping. Does not block. */
	bool (*overlaps)(const void *at, size_t len);
	/* The open file (struct lh_file) is about to be closed: its mappings end. No lock held. */
	void (*closing)(const void *file);
	/* A SIGBUS at this address was about something that has changed since: the access may be tried again. In a
	 * signal handler. */
	bool (*cured)(const void *at);
};
extern _Atomic(const struct mapped_hooks *) mapped_hooks;

static inline bool mapped_overlaps(const void *at, size_t len)
{
	const struct mapped_hooks *h = atomic_load_explicit(&mapped_hooks, memory_order_acquire);

	return __builtin_expect(h != NULL, 0) && h->overlaps(at, len);
}

static inline void mapped_closing(const void *file)
{
	const struct mapped_hooks *h = atomic_load_explicit(&mapped_hooks, memory_order_acquire);

	if (h)
		h->closing(file);
}

static inline bool mapped_cured(const void *at)
{
	const struct mapped_hooks *h = atomic_load_explicit(&mapped_hooks, memory_order_acquire);

	return h && h->cured(at);
}

#endif
