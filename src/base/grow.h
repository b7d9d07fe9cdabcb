/* SPDX-License-Identifier: BSD-2-Clause */
/* An array that gets longer by doubling: room for one more behind the first count. */
#ifndef LH_BASE_GROW_H
#define LH_BASE_GROW_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* array: the address of the pointer, from malloc or NULL; *room: how many fit. -ENOMEM: as it was. */
static inline int grow(void *array, uint64_t count, uint64_t *room, size_t size)
{
	void **p = array;
	uint64_t want = *room < 16 ? 16 : *room * 2;
	void *bigger;

	if (count < *room)
		return 0;
	bigger = reallocarray(*p, want, size);
	if (!bigger)
		return -ENOMEM;
	*p = bigger;
	*room = want;
	return 0;
}

#endif
