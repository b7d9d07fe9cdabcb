/* SPDX-License-Identifier: BSD-2-Clause */
/* What a spinning thread does between two looks. */
#ifndef LH_FABRIC_RELAX_H
#define LH_FABRIC_RELAX_H

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

#endif
