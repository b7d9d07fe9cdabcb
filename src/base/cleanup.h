/* SPDX-License-Identifier: BSD-2-Clause */
/* Scope macros: the resource is given back when the variable leaves scope. Not together with goto ladders. */
#ifndef LH_BASE_CLEANUP_H
#define LH_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define scoped_free __attribute__((cleanup(cleanup_free)))
#define scoped_fd   __attribute__((cleanup(cleanup_close)))

#endif
