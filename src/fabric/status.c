/* SPDX-License-Identifier: BSD-2-Clause */
#include "fabric/status.h"

#include <errno.h>

static const int wire_errors[] = {0, -ESTALE, -EACCES, -ERANGE, -EINVAL, -EIO, -EAGAIN};

uint8_t status_to_wire(int status)
{
	uint8_t i = 0;

	while (wire_errors[i] != status) {
		i++;
		assert(i < ARRAY_LEN(wire_errors));
	}
	return i;
}

bool status_from_wire(uint32_t wire, int *status)
{
	if (wire >= ARRAY_LEN(wire_errors))
		return false;
	*status = wire_errors[wire];
	return true;
}
