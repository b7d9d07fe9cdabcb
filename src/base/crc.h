/* SPDX-License-Identifier: BSD-2-Clause */
/* crc32c (Castagnoli), as on the medium and on the wire. Start with 0; feed the result back in to continue. */
#ifndef LH_BASE_CRC_H
#define LH_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

#endif
