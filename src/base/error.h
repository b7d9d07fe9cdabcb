/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors are negative errno values. Beside the number, the failing call may leave one sentence in a per-thread buffer:
 * what was wrong, where, and what to do. The public lh_error_text() returns it.
 */
#ifndef LH_BASE_ERROR_H
#define LH_BASE_ERROR_H

#include <errno.h>

#define LH_ERROR_TEXT_MAX 512

/* Remember a sentence for this thread and return err unchanged: `return fail(-EINVAL, "pool %s: ...", path);` */
int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The last sentence of this thread; "" when there is none. Valid until the next fail() of the thread. */
const char *fail_text(void);
void fail_clear(void);

#endif
