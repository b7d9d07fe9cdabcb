/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/crc.h"

#include <isa-l/crc.h>

/* ISA-L takes an int length and neither inverts the start value nor the result. */
#define CRC_STEP ((size_t)1 << 30)

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	const unsigned char *p = buf;
	uint32_t state = ~crc;

	while (len > 0) {
		size_t step = len < CRC_STEP ? len : CRC_STEP;

		/* ISA-L's prototype lacks const; the bytes are only read. */
		state = crc32_iscsi((unsigned char *)(uintptr_t)p, (int)step, state);
		p += step;
		len -= step;
	}
	return ~state;
}
