/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fuzz target is LLVMFuzzerTestOneInput, built twice: with clang's libFuzzer (meson -Dfuzz=true, `make fuzz`) and
 * with replay.c, which feeds it the files of its corpus (`make check`). A target aborts when a promise is broken.
 */
#ifndef LH_TESTS_FUZZ_H
#define LH_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* -1: target has none. Writes a few inputs to begin with into a directory. */
int fuzz_seeds(const char *dir);

#endif
