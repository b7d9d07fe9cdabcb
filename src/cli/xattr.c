/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold xattr */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/show.h"

#define VALUE_MAX 65536u

enum { OPT_JSON = 256, OPT_HEX, OPT_CREATE, OPT_REPLACE };

static const struct cli_option options[] = {
    {'P', "no-follow", NULL, "a symbolic link itself, not what it points to"},
    {'x', "hex", NULL, "the value as hexadecimal digits, in both directions"},
    {OPT_CREATE, "create", NULL, "set: fail when the file has it"},
    {OPT_REPLACE, "replace", NULL, "set: fail when the file does not have it"},
    {OPT_JSON, "json", NULL, "list: an object of names and hexadecimal values"},
    {0},
};
static const struct cli_verb verb = {
    .name = "xattr",
    .operands = "list PATH | get PATH NAME | set PATH NAME VALUE | rm PATH NAME",
    .text =
	"Extended attributes, with the namespaces of xattr(7): user., trusted. (root), security., and the ACLs (see "
	"acl).\n"
	"get writes the bytes of the value and nothing else.\n",
    .example = "leasehold -p /dev/shm/a.pool xattr set /data/table user.origin sensor-7\n"
	       "leasehold -p /dev/shm/a.pool xattr list /data/table\n",
    .options = options,
    .min = 2,
    .max = 4,
    .paths = PATHS_SECOND,
};

struct args {
	struct lh_fs *fs;
	bool follow, hex, json;
	unsigned flags;
};

static void print_hex(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%02x", bytes[i]);
}

static int get(const struct args *a, const char *path, const char *name)
{
	uint8_t *value = malloc(VALUE_MAX);
	ssize_t n = value ? lh_path_getxattr(a->fs, path, a->follow, name, value, VALUE_MAX) : -ENOMEM;

	if (n >= 0 && a->hex) {
		print_hex(value, (size_t)n);
		putchar('\n');
	} else if (n > 0) {
		fwrite(value, 1, (size_t)n, stdout);
	}
	free(value);
	return n < 0 ? cli_error((int)n, "%s: %s", path, name) : CLI_OK;
}

static unsigned digit(char c)
{
	if (isdigit((unsigned char)c))
		return (unsigned)(c - '0');
	return (unsigned)(tolower((unsigned char)c) - 'a') + 10;
}

/* In place; returns the length. */
static size_t from_hex(char *text)
{
	size_t n = strlen(text);

	if (n % 2 || strspn(text, "0123456789abcdefABCDEF") != n)
		cli_usage("value %s is not an even number of hexadecimal digits", text);
	for (size_t i = 0; i < n / 2; i++)
		text[i] = (char)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
	return n / 2;
}

static int set(const struct args *a, const char *path, const char *name, char *value)
{
	size_t n = a->hex ? from_hex(value) : strlen(value);
	int err = lh_path_setxattr(a->fs, path, a->follow, name, value, n, a->flags);

	return err ? cli_error(err, "%s: %s", path, name) : CLI_OK;
}

static int add_value(const struct args *a, const char *path, const char *name, uint8_t *room, json_t *j)
{
	static const char digits[] = "0123456789abcdef";
	ssize_t n = lh_path_getxattr(a->fs, path, a->follow, name, room, VALUE_MAX);
	char *text;

	/* Gone since the list was made. */
	if (n == -ENODATA)
		return 0;
	text = n < 0 ? NULL : malloc(2 * (size_t)n + 1);
	if (n < 0 || text == NULL)
		return n < 0 ? (int)n : -ENOMEM;
	for (ssize_t i = 0; i < n; i++) {
		text[2 * i] = digits[room[i] >> 4];
		text[2 * i + 1] = digits[room[i] & 15];
	}
	text[2 * n] = '\0';
	json_object_set_new(j, name, json_string(text));
	free(text);
	return 0;
}

static int list(const struct args *a, const char *path)
{
	char *names = malloc(VALUE_MAX + 1);
	uint8_t *room = malloc(VALUE_MAX);
	json_t *j = a->json ? json_object() : NULL;
	ssize_t n = names && room ? lh_path_listxattr(a->fs, path, a->follow, names, VALUE_MAX) : -ENOMEM;
	int err = n < 0 ? (int)n : 0;

	if (!err)
		names[n] = '\0';
	for (const char *at = names; !err && at < names + n; at += strlen(at) + 1) {
		if (j != NULL) {
			err = add_value(a, path, at, room, j);
			continue;
		}
		cli_print_name(stdout, at);
		putchar('\n');
	}
	if (j != NULL && !err)
		show_json(json_incref(j));
	json_decref(j);
	free(room);
	free(names);
	return err ? cli_error(err, "%s", path) : CLI_OK;
}

static int run(struct args *a, char **argv, int count)
{
	int err;

	if (strcmp(argv[0], "list") == 0 && count == 2)
		return list(a, argv[1]);
	if (strcmp(argv[0], "get") == 0 && count == 3)
		return get(a, argv[1], argv[2]);
	if (strcmp(argv[0], "set") == 0 && count == 4)
		return set(a, argv[1], argv[2], argv[3]);
	if (strcmp(argv[0], "rm") != 0 || count != 3)
		cli_usage("expected: %s", verb.operands);
	err = lh_path_removexattr(a->fs, argv[1], a->follow, argv[2]);
	return err ? cli_error(err, "%s: %s", argv[1], argv[2]) : CLI_OK;
}

int verb_xattr(int argc, char **argv)
{
	struct args a = {.follow = true};
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'P')
			a.follow = false;
		else if (key == OPT_CREATE)
			a.flags |= LH_XATTR_CREATE;
		else if (key == OPT_REPLACE)
			a.flags |= LH_XATTR_REPLACE;
		a.hex |= key == 'x';
		a.json |= key == OPT_JSON;
	}
	if (cli_open(&a.fs, false) != CLI_OK)
		return CLI_FAILED;
	return cli_close(a.fs, run(&a, argv + optind, argc - optind));
}
