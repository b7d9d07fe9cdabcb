/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a spinning thread does between two looks: at first nothing, then it lets others run, because what it waits for
 * may be on the same processor. Long enough for an answer through memory, short because two sides that meet on one
 * processor pay it twice a round trip, and stay there: a scheduler does not move what ran a moment ago.
 */
#ifndef LH_BASE_RELAX_H
#define LH_BASE_RELAX_H

#include <sched.h>
#include <stdint.h>

#define RELAX_YIELD_NS 4000u

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

static inline void spin_relax(uint64_t spun_ns)
{
	if (spun_ns < RELAX_YIELD_NS)
		cpu_relax();
	else
		sched_yield();
}

#endif
