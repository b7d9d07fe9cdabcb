/* SPDX-License-Identifier: BSD-2-Clause */
/* What the command sees of a mount: options, and one call that serves it until it ends. */
#ifndef LH_FUSE_FUSE_H
#define LH_FUSE_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include <leasehold/leasehold.h>

#define MOUNT_NAME_MAX 256u

/* What the kernel may keep, beyond names and attributes for their timeouts (docs/mount.md, coherence). */
enum mount_cache {
	MOUNT_CACHE_AUTO, /* data as long as nothing tells that it has changed */
	MOUNT_CACHE_NONE, /* nothing: every call asks */
};

struct mount_options {
	const char *where; /* a pool, or a server's address */
	const char *dir;   /* absolute */
	const char *fsname;
	const char *listen; /* of an in-process pool: NULL its default; "none" */
	const char *kernel; /* options that mount(8) knows, with commas; may be NULL */
	bool read_only, hard, debug;
	int allow_other;                    /* -1: if this is root */
	double attr_s, entry_s, negative_s; /* below 0: what the cache's rule gives */
	enum mount_cache cache;
	unsigned threads; /* 0: by itself */
	uint64_t spin_ns; /* how long a thread waits for the next request without sleeping; 0: not at all */
	struct lh_open_options open;
};

/*
 * Opens, mounts, tells (ready is called once, when programs can use it: the process may go into the background),
 * serves until it is unmounted or a signal ends it, and closes. 0; -errno with a sentence in lh_error_text() or, from
 * libfuse, on standard error. The process must have no other threads.
 */
int mount_run(const struct mount_options *opt, void (*ready)(void *ctx), void *ctx);

#endif
