/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char text[LH_ERROR_TEXT_MAX];

int fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err;
}

const char *fail_text(void)
{
	return text;
}

void fail_clear(void)
{
	text[0] = '\0';
}
