/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pid can be reused between a connection and this look; then somebody else's limit is taken, which the same user set
 * up or root did, so that nobody gets more than an ordinary process of this host has.
 */
#include "base/memlock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CAP_IPC_LOCK_BIT 14

/* Of the thread's process: /proc says it without a library. */
static int may_ignore_limit(pid_t pid)
{
	char path[64], line[256];
	unsigned long long caps = 0;
	FILE *f;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	else
		snprintf(path, sizeof(path), "/proc/self/status");
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	}
	fclose(f);
	return (caps >> CAP_IPC_LOCK_BIT) & 1;
}

/* What prlimit tells only the privileged is in /proc for everybody. */
static int limit_from_proc(pid_t pid, rlim_t *out)
{
	char path[64], line[256], soft[32];
	int err = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	f = fopen(path, "re");
	while (f && err && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Max locked memory %31s", soft) != 1)
			continue;
		*out = strcmp(soft, "unlimited") == 0 ? RLIM_INFINITY : strtoull(soft, NULL, 10);
		err = 0;
	}
	if (f)
		fclose(f);
	return err;
}

uint64_t memlock_of(pid_t pid, uint32_t uid)
{
	struct rlimit r;

	if (uid == 0 || may_ignore_limit(pid))
		return UINT64_MAX;
	if (prlimit(pid, RLIMIT_MEMLOCK, NULL, &r) < 0 && limit_from_proc(pid, &r.rlim_cur) < 0 &&
	    getrlimit(RLIMIT_MEMLOCK, &r) < 0)
		return UINT64_MAX;
	if (r.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return r.rlim_cur ? r.rlim_cur : 1; /* less than any pin */
}
