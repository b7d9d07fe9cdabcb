/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Page faults as calls: SIGSEGV at an address that somebody here answers for is handed to a thread of ours, which may
 * lock, allocate and wait; the thread that faulted only waits for it, on a futex, inside its handler. So nothing
 * happens in foreign code but what a signal handler may do, whatever lock or library call it was in the middle of.
 */
#ifndef LH_PIN_TRAP_H
#define LH_PIN_TRAP_H

#include <stdbool.h>
#include <stdint.h>

/* This machine tells whether a fault was a write. */
#if defined(__x86_64__) || defined(__aarch64__)
#define TRAP_WORKS 1
#else
#define TRAP_WORKS 0
#endif

struct trap_ops {
	/* In the signal handler: is the address ours? Only loads. */
	bool (*ours)(uintptr_t at);
	/*
	 * In a thread of ours. true: the access can be tried again; false: it is an error of the application, and its
	 * own handler or the end. bus: the kernel said SIGBUS there.
	 */
	bool (*serve)(uintptr_t at, bool write, bool bus);
};

/* Once; later calls see to it that our handler is the process's again. 0 or -errno with a sentence. */
int trap_start(const struct trap_ops *ops);
/* For mapped_hooks.cured. */
bool trap_bus(const void *at);
/* Signals that were served. */
uint64_t trap_count(void);

#endif
