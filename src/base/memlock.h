/* SPDX-License-Identifier: BSD-2-Clause */
/* What the system lets a process pin: RLIMIT_MEMLOCK, and who is exempt from it. */
#ifndef LH_BASE_MEMLOCK_H
#define LH_BASE_MEMLOCK_H

#include <stdint.h>
#include <sys/types.h>

/*
 * In bytes, of the process `pid` whose effective uid is `uid`; pid 0: this one. UINT64_MAX: no limit (root,
 * CAP_IPC_LOCK, or unlimited); never 0. Where the system does not tell, what this
 * process may.
 */
uint64_t memlock_of(pid_t pid, uint32_t uid);

#endif
