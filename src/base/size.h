/* SPDX-License-Identifier: BSD-2-Clause */
/* Sizes as people write them: a number and one of K, M, G, T (powers of 1024), as in 4096, 16K, 1.5G. */
#ifndef LH_BASE_SIZE_H
#define LH_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* "iB" or "B" may follow the suffix; case does not matter. -EINVAL: not a size; -ERANGE: more than 64 bits. */
int size_parse(const char *text, uint64_t *out);
/* "4.0 KiB", "1.5 GiB", "17 B" into buf of SIZE_TEXT_MAX; returns buf. */
#define SIZE_TEXT_MAX 24
char *size_text(uint64_t bytes, char buf[SIZE_TEXT_MAX]);

#endif
