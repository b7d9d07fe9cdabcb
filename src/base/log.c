/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <pthread.h>

#include "base/types.h"

#define LOG_LINE_MAX 1024

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static enum log_level level_max = LOG_WARN;
static pthread_once_t level_once = PTHREAD_ONCE_INIT;

static void level_read(void)
{
	const char *want = getenv("LEASEHOLD_LOG");

	for (unsigned i = 0; want && i < ARRAY_LEN(level_names); i++) {
		if (strcmp(want, level_names[i]) == 0)
			level_max = (enum log_level)i;
	}
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	struct timespec ts;
	struct tm tm;
	va_list ap;

	pthread_once(&level_once, level_read);
	if (level > level_max)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	fprintf(stderr, "%02d:%02d:%02d.%03ld %s %s: %s\n", tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000,
		level_names[level], area, text);
}
