/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"

#define REDRAW_NS (100 * NS_PER_MS)

void progress_begin(struct progress *p, const char *verb, bool wanted)
{
	*p = (struct progress){.terminal = isatty(STDERR_FILENO), .verb = verb, .begin_ns = clock_now_ns()};
	p->on = wanted || p->terminal;
	p->shown_ns = p->begin_ns;
}

static void draw(struct progress *p, uint64_t now_ns, bool last)
{
	double seconds = (double)(now_ns - p->begin_ns) / NS_PER_SEC;
	char bytes[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX], direct[SIZE_TEXT_MAX];

	size_text(seconds > 0 ? (uint64_t)((double)p->bytes / seconds) : 0, rate);
	fprintf(stderr, "%s%s: %llu files, %s (%s directly), %s/s%s", p->terminal ? "\r" : "", p->verb,
		(unsigned long long)p->files, size_text(p->bytes, bytes), size_text(p->direct_bytes, direct), rate,
		p->terminal ? "\033[K" : "");
	if (last || !p->terminal)
		fputc('\n', stderr);
	fflush(stderr);
	p->shown_ns = now_ns;
}

void progress_add(struct progress *p, uint64_t files, uint64_t bytes)
{
	uint64_t now_ns;

	p->files += files;
	p->bytes += bytes;
	if (!p->on)
		return;
	now_ns = clock_now_ns();
	if (now_ns - p->shown_ns >= (p->terminal ? REDRAW_NS : NS_PER_SEC))
		draw(p, now_ns, false);
}

void progress_end(struct progress *p)
{
	if (p->on)
		draw(p, clock_now_ns(), true);
}
