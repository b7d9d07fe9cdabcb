/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers, times, modes and names, as people write and read them. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/size.h"
#include "base/types.h"

uint64_t cli_size(const char *text, const char *what)
{
	uint64_t v;
	int err;

	err = size_parse(text, &v);
	if (err == -ERANGE)
		cli_usage("%s %s is too large", what, text);
	if (err)
		cli_usage("%s %s is not a size; write bytes or a number with K, M, G or T, for example 256M", what,
			  text);
	return v;
}

uint64_t cli_number(const char *text, const char *what, uint64_t max)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || v > max)
		cli_usage("%s %s is not a number from 0 to %llu", what, text, (unsigned long long)max);
	return v;
}

uint32_t cli_mode(const char *text)
{
	unsigned long v;
	char *end;

	v = strtoul(text, &end, 8);
	if (!isdigit((unsigned char)text[0]) || *end != '\0' || v > 07777)
		cli_usage("mode %s is not an octal number up to 7777, for example 755", text);
	return (uint32_t)v;
}

uint64_t cli_duration(const char *text, const char *what)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"m", 60e9}};
	char *end;
	double v;

	v = strtod(text, &end);
	for (size_t i = 0; isdigit((unsigned char)text[0]) && v <= 1e6 && i < ARRAY_LEN(units); i++) {
		if (strcmp(end, units[i].name) == 0)
			return (uint64_t)(v * units[i].ns);
	}
	cli_usage("%s %s is not a time; write for example 2s, 500ms or 250us", what, text);
}

char *cli_time_text(int64_t ns, char buf[CLI_TIME_MAX])
{
	int64_t sec = ns / (int64_t)NS_PER_SEC;
	int64_t rest = ns % (int64_t)NS_PER_SEC;
	struct tm tm;
	time_t t;
	size_t n;

	if (rest < 0) {
		rest += (int64_t)NS_PER_SEC;
		sec--;
	}
	t = (time_t)sec;
	if (localtime_r(&t, &tm) == NULL) {
		snprintf(buf, CLI_TIME_MAX, "@%lld", (long long)sec);
		return buf;
	}
	n = strftime(buf, CLI_TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(buf + n, CLI_TIME_MAX - n, ".%09lld", (long long)rest);
	return buf;
}

const char *cli_type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFREG:
		return "file";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "character device";
	case S_IFBLK:
		return "block device";
	default:
		return "unknown";
	}
}

static char type_letter(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	default:
		return '-';
	}
}

char *cli_mode_text(uint32_t mode, char buf[CLI_MODE_MAX])
{
	static const char letters[] = "rwxrwxrwx";

	buf[0] = type_letter(mode);
	for (unsigned i = 0; i < 9; i++)
		buf[1 + i] = mode & (0400u >> i) ? letters[i] : '-';
	if (mode & S_ISUID)
		buf[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		buf[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		buf[9] = mode & S_IXOTH ? 't' : 'T';
	buf[10] = '\0';
	return buf;
}

void cli_print_name(FILE *out, const char *name)
{
	for (; *name != '\0'; name++)
		fputc((unsigned char)*name < 0x20 || *name == 0x7f ? '?' : *name, out);
}

char *cli_join(const char *dir, const char *name)
{
	size_t n = strlen(dir);
	char *out;

	while (n > 0 && dir[n - 1] == '/')
		n--;
	if (asprintf(&out, "%.*s/%s", (int)n, dir, name) < 0)
		return NULL;
	return out;
}

const char *cli_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}
