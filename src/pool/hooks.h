/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between pool.c and the simulated pool: what a pool without real memory below it does instead of storing and flushing.
 * Ranges are inside the pool (checked by the callers). Nobody outside of pool/ includes this.
 */
#ifndef LH_POOL_HOOKS_H
#define LH_POOL_HOOKS_H

#include "pool/pool.h"

struct pool_hooks {
	void (*store)(struct pool *p, uint64_t off, const void *src, uint64_t len);
	void (*zero)(struct pool *p, uint64_t off, uint64_t len);
	void (*window)(struct pool *p, uint64_t off, uint64_t len);
	void (*flush)(struct pool *p, uint64_t off, uint64_t len);
	void (*fence)(struct pool *p);
	int (*sync)(struct pool *p, uint64_t off, uint64_t len);
	int (*resize)(struct pool *p, uint64_t size);
	/* Gives back everything, p included. */
	void (*close)(struct pool *p);
};

#endif
