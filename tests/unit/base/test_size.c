/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: sizes that people type mean what they say, and nothing else is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/size.h"
#include "base/types.h"

static void sizes_with_suffixes_are_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
	    {"0", 0},
	    {"4096", 4096},
	    {"16k", 16 << 10},
	    {"256M", 256ull << 20},
	    {"1.5G", 3ull << 29},
	    {"16TiB", 16ull << 40},
	    {"2MB", 2 << 20},
	    {"7B", 7},
	    {"18446744073709551615", UINT64_MAX},
	    {"15E", 15ull << 60},
	};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(size_parse(good[i].text, &v), 0);
		assert_int_equal(v, good[i].bytes);
	}
}

static void what_is_not_a_size_is_refused(void **state)
{
	static const char *const bad[] = {"",    "M",    "-1",    " 1",  "1 M",        "1Q",  "1MiBx",
					  "1.M", "1.5B", "0x10K", "1e3", "1.2345678G", "1KK", "nan"};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(size_parse(bad[i], &v), -EINVAL);
	assert_int_equal(size_parse("18446744073709551616", &v), -ERANGE);
	assert_int_equal(size_parse("16E", &v), -ERANGE);
	assert_int_equal(size_parse("17179869184G", &v), -ERANGE);
}

static void sizes_are_printed_for_people(void **state)
{
	char buf[SIZE_TEXT_MAX];

	assert_string_equal(size_text(0, buf), "0 B");
	assert_string_equal(size_text(1023, buf), "1023 B");
	assert_string_equal(size_text(4096, buf), "4.0 KiB");
	assert_string_equal(size_text(200ull << 20, buf), "200 MiB");
	assert_string_equal(size_text(UINT64_MAX, buf), "16 EiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_with_suffixes_are_powers_of_1024),
	    cmocka_unit_test(what_is_not_a_size_is_refused),
	    cmocka_unit_test(sizes_are_printed_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
