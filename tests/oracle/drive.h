/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs operations of fsop.h on a mounted filesystem, and on it and the reference side by side. */
#ifndef LH_TESTS_ORACLE_DRIVE_H
#define LH_TESTS_ORACLE_DRIVE_H

#include "oracle.h"

struct drive {
	struct fs *fs;
	struct fs_handle *h[FSOP_SLOTS];
};

void drive_do(struct drive *d, const struct fsop *op, struct fsop_result *out);
void drive_close_all(struct drive *d);
/* Both; false after saying on stderr how the answers differ. */
bool drive_both(struct drive *d, struct oracle *o, const struct fsop *op);
/* The whole trees, and fs_verify; false after saying what is wrong. */
bool drive_same(struct drive *d, struct oracle *o);

#endif
