/* SPDX-License-Identifier: BSD-2-Clause */
/* Small checks that all verifiers use. */
#ifndef LH_FORMAT_CHECK_H
#define LH_FORMAT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool check_zero(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Not empty, and between the superblock and its copy. */
static inline bool check_run(uint64_t start, uint64_t blocks, uint64_t pool_blocks)
{
	return start >= 1 && blocks >= 1 && start < pool_blocks - 1 && blocks <= pool_blocks - 1 - start;
}

#endif
