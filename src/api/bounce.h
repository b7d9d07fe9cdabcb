/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads and writes whose buffer is a pointer into a mapping of lh_map. Touching it may call the filesystem, so it is
 * done here, where no lock is held, and the backend sees memory of its own. -EFAULT: beyond the end of the mapped file.
 */
#ifndef LH_API_BOUNCE_H
#define LH_API_BOUNCE_H

#include "api/check.h"

typedef ssize_t (*bounce_reader)(struct lh_file *file, void *buf, size_t len, uint64_t off);
typedef ssize_t (*bounce_writer)(struct lh_file *file, const void *buf, size_t len, uint64_t off);

/* As the backend's calls. */
ssize_t bounce_read(bounce_reader read, struct lh_file *file, void *buf, size_t len, uint64_t off);
ssize_t bounce_write(bounce_writer write, struct lh_file *file, const void *buf, size_t len, uint64_t off);
ssize_t bounce_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off);
ssize_t bounce_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off);

#endif
