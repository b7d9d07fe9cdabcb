/* SPDX-License-Identifier: BSD-2-Clause */
/* Parsed by hand in integers: strtod would lose bytes above 2^53 and depends on the locale. */
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/types.h"

static const char suffixes[] = "KMGTPE";
#define FRACTION_DIGITS_MAX 6

/* The power of 1024 that the text after the digits stands for, or -EINVAL. */
static int suffix_shift(const char *s)
{
	const char *found;

	if (*s == '\0' || strcasecmp(s, "b") == 0)
		return 0;
	found = strchr(suffixes, toupper((unsigned char)*s));
	if (found == NULL)
		return -EINVAL;
	s++;
	if (*s != '\0' && strcasecmp(s, "b") != 0 && strcasecmp(s, "ib") != 0)
		return -EINVAL;
	return 10 * (int)(found - suffixes + 1);
}

static int digits(const char **s, uint64_t *out)
{
	uint64_t v = 0;

	for (; isdigit((unsigned char)**s); (*s)++) {
		if (mul_overflows(v, (uint64_t)10, &v) || add_overflows(v, (uint64_t)(**s - '0'), &v))
			return -ERANGE;
	}
	*out = v;
	return 0;
}

int size_parse(const char *text, uint64_t *out)
{
	uint64_t whole, fraction = 0, scale = 1;
	const char *s = text;
	int shift, err;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	err = digits(&s, &whole);
	if (err)
		return err;
	if (*s == '.') {
		const char *start = ++s;

		err = digits(&s, &fraction);
		if (err || s == start || s - start > FRACTION_DIGITS_MAX)
			return -EINVAL;
		for (; start < s; start++)
			scale *= 10;
	}
	shift = suffix_shift(s);
	if (shift < 0 || (shift == 0 && fraction != 0))
		return -EINVAL;
	if (shift > 0 && whole >> (64 - shift) != 0)
		return -ERANGE;
	whole <<= shift;
	/* fraction < 10^6 < 2^20, so the product stays below 2^64 up to a shift of 44; above, precision is not wanted.
	 */
	fraction = shift <= 40 ? (fraction << shift) / scale : (fraction << 40) / scale << (shift - 40);
	return add_overflows(whole, fraction, out) ? -ERANGE : 0;
}

char *size_text(uint64_t bytes, char buf[SIZE_TEXT_MAX])
{
	unsigned power = 0;
	double v = (double)bytes;

	while (v >= 1024 && power < strlen(suffixes)) {
		v /= 1024;
		power++;
	}
	if (power == 0)
		snprintf(buf, SIZE_TEXT_MAX, "%u B", (unsigned)bytes);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%.*f %ciB", v < 9.95 ? 1 : 0, v, suffixes[power - 1]);
	return buf;
}
