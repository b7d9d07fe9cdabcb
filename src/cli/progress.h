/* SPDX-License-Identifier: BSD-2-Clause */
/* How far a long copy is, on standard error: one line that is redrawn on a terminal, one line a second elsewhere. */
#ifndef LH_CLI_PROGRESS_H
#define LH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on, terminal;
	const char *verb;
	uint64_t files, bytes, direct_bytes;
	uint64_t begin_ns, shown_ns;
};

/* wanted: also when standard error is no terminal. */
void progress_begin(struct progress *p, const char *verb, bool wanted);
void progress_add(struct progress *p, uint64_t files, uint64_t bytes);
/* The last line, with the totals. */
void progress_end(struct progress *p);

#endif
