/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"

static const char *verb_name = "";
static const char *pool_where;

void cli_set_verb(const char *name)
{
	verb_name = name;
}

const char *cli_verb_name(void)
{
	return verb_name;
}

/* --- messages --- */

static void prefix(void)
{
	fflush(stdout);
	fprintf(stderr, "leasehold%s%s: ", verb_name[0] ? " " : "", verb_name);
}

void cli_usage(const char *fmt, ...)
{
	va_list ap;

	prefix();
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry: leasehold%s%s --help\n", verb_name[0] ? " " : "", verb_name);
	exit(CLI_USAGE);
}

int cli_fail(const char *fmt, ...)
{
	va_list ap;

	prefix();
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CLI_FAILED;
}

int cli_error(int err, const char *fmt, ...)
{
	const char *text = lh_error_text();
	va_list ap;

	prefix();
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", text[0] ? text : strerror(-err));
	return CLI_FAILED;
}

/* --- options --- */

#define POOL_TEXT "pool file, mem:SIZE, unix:PATH, tcp:HOST:PORT or a directory in a mount; default: $LEASEHOLD"
enum { OPT_POOL = 1000 };

static const struct cli_option common[] = {
    {'p', "pool", "POOL", POOL_TEXT},
    {'h', "help", NULL, "this text"},
    {0},
};
/* For verbs where -p means something else. */
static const struct cli_option common_without_p[] = {
    {OPT_POOL, "pool", "POOL", POOL_TEXT},
    {'h', "help", NULL, "this text"},
    {0},
};

static const struct cli_option *common_of(const struct cli_verb *v)
{
	for (const struct cli_option *o = v->options; o != NULL && o->key != 0; o++) {
		if (o->key == 'p')
			return common_without_p;
	}
	return common;
}

static void help_options(const struct cli_option *o)
{
	for (; o != NULL && o->key != 0; o++) {
		char left[64];

		if (o->text == NULL)
			continue;
		if (o->key < 256)
			snprintf(left, sizeof(left), "-%c, --%s%s%s", o->key, o->name, o->arg ? " " : "",
				 o->arg ? o->arg : "");
		else
			snprintf(left, sizeof(left), "    --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		printf("  %-28s %s\n", left, o->text);
	}
}

static void help(const struct cli_verb *v)
{
	const char *line = v->example;

	printf("Usage: leasehold [-p POOL] %s [OPTIONS]%s%s\n\n%s\nOptions:\n", v->name, v->operands[0] ? " " : "",
	       v->operands, v->text);
	help_options(v->options);
	help_options(common_of(v));
	printf("\nExample:\n");
	while (*line) {
		size_t n = strcspn(line, "\n");

		printf("  %.*s\n", (int)n, line);
		line += n + (line[n] == '\n');
	}
}

struct parser {
	struct option longs[CLI_OPTIONS_MAX + 1];
	char shorts[3 * CLI_OPTIONS_MAX + 2];
	unsigned count, letters;
};

static int argument_of(const struct cli_option *o)
{
	if (!o->arg)
		return no_argument;
	return o->arg[0] == '[' ? optional_argument : required_argument;
}

/* getopt takes an argument that may be missing only with `=`; here also behind a blank, when it is a time. */
static void optional_find(const struct cli_verb *v, int argc, char **argv, int key)
{
	const struct cli_option *o = v->options;
	const char *text;

	while (o && o->key && o->key != key)
		o++;
	if (!o || !o->key || argument_of(o) != optional_argument || optarg || optind >= argc)
		return;
	text = argv[optind];
	text += strspn(text, "0123456789.");
	if (text == argv[optind] ||
	    !(*text == '\0' || !strcmp(text, "s") || !strcmp(text, "ms") || !strcmp(text, "us") || !strcmp(text, "m")))
		return;
	optarg = argv[optind++];
}

static void parser_add(struct parser *p, const struct cli_option *o)
{
	for (; o != NULL && o->key != 0; o++) {
		assert(p->count < CLI_OPTIONS_MAX);
		p->longs[p->count++] = (struct option){o->name, argument_of(o), NULL, o->key};
		if (o->key >= 256)
			continue;
		p->shorts[p->letters++] = (char)o->key;
		if (o->arg)
			p->shorts[p->letters++] = ':';
		if (argument_of(o) == optional_argument)
			p->shorts[p->letters++] = ':';
	}
}

static const char *shown_option(char **argv)
{
	static char letter[] = "-x";

	if (optopt > 0 && optopt < 256) {
		letter[1] = (char)optopt;
		return letter;
	}
	return argv[optind - 1];
}

static void operands_check(const struct cli_verb *v, int argc)
{
	int n = argc - optind;

	if (n < v->min)
		cli_usage("%s; expected: %s", n == 0 ? "nothing given" : "too few arguments", v->operands);
	if (v->max >= 0 && n > v->max)
		cli_usage("too many arguments; expected: %s", v->operands[0] ? v->operands : "none");
}

static bool pool_is_named(void)
{
	const char *env = getenv("LEASEHOLD");

	return pool_where != NULL || (env != NULL && env[0] != '\0');
}

/* Looks ahead for --pool, which may stand behind the paths: getopt goes over a copy, which it may permute. */
static bool pool_will_be_named(const struct cli_verb *v, const struct parser *p, int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy));
	int letter = common_of(v) == common_without_p ? OPT_POOL : 'p';
	int key = copy ? 0 : -1;

	for (int i = 0; copy && i < argc; i++)
		copy[i] = argv[i];
	optind = 0;
	opterr = 0;
	while (key != -1 && key != letter && key != '?' && key != ':')
		key = getopt_long(argc, copy, p->shorts, p->longs, NULL);
	optind = 0;
	free(copy);
	return key == letter;
}

static bool takes_path(const struct cli_verb *v, int key)
{
	const struct cli_option *o = v->options;

	while (o && o->key && o->key != key)
		o++;
	return o && o->key && o->arg && strcmp(o->arg, "PATH") == 0;
}

int cli_next(const struct cli_verb *v, int argc, char **argv)
{
	struct parser p = {.shorts = ":", .letters = 1};
	static bool by_mount;
	int key;

	parser_add(&p, v->options);
	parser_add(&p, common_of(v));
	if (optind == 0 && v->paths != PATHS_NONE)
		by_mount = !pool_is_named() && !pool_will_be_named(v, &p, argc, argv);
	for (;;) {
		opterr = 0;
		key = getopt_long(argc, argv, p.shorts, p.longs, NULL);
		switch (key) {
		case 'h':
			help(v);
			exit(CLI_OK);
		case 'p':
			if (common_of(v) == common_without_p)
				return key;
			cli_set_pool(optarg);
			continue;
		case OPT_POOL:
			cli_set_pool(optarg);
			continue;
		case '?':
			cli_usage("unknown option %s", shown_option(argv));
		case ':':
			cli_usage("option %s needs an argument", shown_option(argv));
		case -1:
			operands_check(v, argc);
			if (by_mount)
				cli_mounted_operands(v, argv + optind, argc - optind);
			return -1;
		default:
			optional_find(v, argc, argv, key);
			if (by_mount && takes_path(v, key))
				optarg = cli_mounted_path(v, optarg);
			return key;
		}
	}
}

/* --- the filesystem --- */

void cli_set_pool(const char *where)
{
	pool_where = where;
}

const char *cli_pool(void)
{
	const char *env = getenv("LEASEHOLD");

	if (pool_where == NULL && env != NULL && env[0] != '\0')
		pool_where = env;
	if (pool_where == NULL)
		cli_usage("which pool? Give -p POOL-OR-ADDRESS, set LEASEHOLD, or name a path in a mount");
	pool_where = cli_mounted_pool(pool_where);
	return pool_where;
}

void cli_default_pool(const char *where)
{
	const char *env = getenv("LEASEHOLD");

	if (pool_where == NULL && (env == NULL || env[0] == '\0'))
		pool_where = where;
}

bool cli_is_address(const char *where)
{
	return strncmp(where, "unix:", 5) == 0 || strncmp(where, "tcp:", 4) == 0;
}

int cli_open(struct lh_fs **out, bool read_only)
{
	struct lh_open_options opt = {.size = sizeof(opt), .read_only = read_only};
	const char *where = cli_pool();
	int err;

	err = lh_fs_open(where, &opt, out);
	if (err)
		return cli_error(err, "cannot open %s", where);
	return CLI_OK;
}

int cli_close(struct lh_fs *fs, int status)
{
	int err;

	err = lh_fs_close(fs);
	if (err) {
		cli_error(err, "closing %s", cli_pool());
		return status == CLI_OK ? CLI_FAILED : status;
	}
	return status;
}
