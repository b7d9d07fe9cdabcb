/* SPDX-License-Identifier: BSD-2-Clause */
/* Statuses on the wire and in rings, docs/protocol-fabric.md. */
#ifndef LH_FABRIC_STATUS_H
#define LH_FABRIC_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"
#include "fabric/fabric.h"

/* status: 0 or one of the errors that F2 knows. */
uint8_t status_to_wire(int status);
/* False: no such status. */
bool status_from_wire(uint32_t wire, int *status);

/* F3: lengths that no request may have. */
static inline bool request_absurd(uint64_t offset, uint64_t len)
{
	uint64_t end;

	return len > FABRIC_OP_MAX || add_overflows(offset, len, &end);
}

#endif
