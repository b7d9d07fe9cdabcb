/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Touching memory that may fail: a file that was cut under its mapping, a disk that cannot be read, poisoned lines.
 * The kernel says SIGBUS to the thread that touched it. Inside one of the calls below the thread comes back with -EIO
 * instead; everywhere else the signal goes where it went before (a handler of the application, or the end).
 *
 * Only faults in the guarded area count: a fault in the caller's own buffer is the caller's.
 * Thread safe. A signal handler of the application may not use them.
 */
#ifndef LH_BASE_BUSGUARD_H
#define LH_BASE_BUSGUARD_H

#include <stddef.h>
#include <stdint.h>

/* The thread sanitizer's runtime does not hand a SIGBUS on from inside of its own memcpy: tests skip. */
#if defined(__SANITIZE_THREAD__)
#define BUSGUARD_WORKS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BUSGUARD_WORKS 0
#endif
#endif
#ifndef BUSGUARD_WORKS
#define BUSGUARD_WORKS 1
#endif

/* Which side of a copy is guarded. */
#define BUSGUARD_TO   1u
#define BUSGUARD_FROM 2u

/*
 * Makes ours the process's handler, if it is not; it passes on what is none of ours to the handler that was there.
 * Every pool that is opened does this. An application that sets its own handler later calls the previous one too. 0 or
 * -errno.
 */
int busguard_install(void);

/* Runs fn with faults in [start, start + len) and [start2, start2 + len2) caught. 0, or -EIO: fn was left at the fault.
 */
struct busguard_area {
	const void *start, *start2;
	size_t len, len2;
};
int busguard_run(const struct busguard_area *area, void (*fn)(void *ctx), void *ctx);

/* memcpy. -EIO: some bytes before the fault may have been copied. */
int busguard_copy(void *to, const void *from, size_t len, unsigned sides);
int busguard_zero(void *to, size_t len);
/* Reads one byte of every cache line. */
int busguard_probe(const void *at, size_t len);
/* Compares; *same is set on 0. Both sides are guarded. */
int busguard_equal(const void *a, const void *b, size_t len, int *same);

/* Where the thread's last -EIO was. */
const void *busguard_address(void);

#endif
