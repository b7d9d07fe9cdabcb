/* SPDX-License-Identifier: BSD-2-Clause */
/* Time in nanoseconds. Deadlines use the monotonic clock; what files carry uses the real-time clock. */
#ifndef LH_BASE_CLOCK_H
#define LH_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_SEC 1000000000ull
#define NS_PER_MS  1000000ull
#define NS_PER_US  1000ull

/* CLOCK_MONOTONIC. */
uint64_t clock_now_ns(void);
/* CLOCK_REALTIME; the coarse one is cheap, good to a few milliseconds, and used for file times as the kernel does. */
uint64_t clock_real_ns(void);
uint64_t clock_real_coarse_ns(void);

#endif
