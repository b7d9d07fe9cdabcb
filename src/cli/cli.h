/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the verbs share: options and help from one table, messages, opening the filesystem, numbers and times as people
 * write and read them.
 *
 * Every verb is `int verb_NAME(int argc, char **argv)`, argv[0] being its name, and returns the exit status.
 */
#ifndef LH_CLI_CLI_H
#define LH_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <leasehold/leasehold.h>

/* Documented in docs/cli.md and `leasehold --help`. */
enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_FINDINGS = 3, CLI_REPAIRED = 4 };

#define CLI_OPTIONS_MAX 24u

struct cli_option {
	int key; /* the letter, or a number above 255 for long options only; 0 ends the table */
	const char *name;
	const char *arg;  /* what it takes, as shown in the help; NULL: nothing; "[...]": a time, or nothing */
	const char *text; /* NULL: for the program's own use, not shown */
};

/* Which operands are paths inside the filesystem: they may name it, by lying in a mount of it (mounted.c). */
enum cli_paths {
	PATHS_NONE,
	PATHS_ALL,
	PATHS_FIRST,
	PATHS_SECOND,
	PATHS_AFTER_FIRST,
	PATHS_LAST,
	PATHS_BUT_LAST,
};

/* What --help prints, and what is accepted. */
struct cli_verb {
	const char *name;
	const char *operands; /* as shown: "[PATH...]" */
	const char *text;     /* one or more lines; ends with a newline */
	const char *example;  /* lines, each ending with a newline */
	const struct cli_option *options;
	int min, max; /* operands; max -1: any number */
	/* Not NONE: arguments of options that are called PATH are such paths too. */
	enum cli_paths paths;
	bool links; /* it works on symbolic links themselves */
};

/*
 * The next option's key, its argument in optarg; -1 after the last one, with optind at the first operand. Knows --help
 * and
 * --pool by itself. Prints and exits by itself on --help (0) and on wrong usage (2).
 */
int cli_next(const struct cli_verb *v, int argc, char **argv);
/* "leasehold VERB: TEXT" and a hint on stderr; ends the program with CLI_USAGE. */
_Noreturn void cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "leasehold VERB: TEXT" on stderr; returns CLI_FAILED. */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same with the text of the last failed call behind it, or the errno's when it left none. err is negative. */
int cli_error(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For this verb's messages. */
void cli_set_verb(const char *name);
const char *cli_verb_name(void);

/* -p or LEASEHOLD, or what operands in a mount said; a missing one is wrong usage. A directory in a mount means its
 * server. */
const char *cli_pool(void);
void cli_set_pool(const char *where);
/* For verbs that can do without: what cli_pool() says when nothing is given. */
void cli_default_pool(const char *where);
bool cli_is_address(const char *where);
/* Opens cli_pool(); on failure prints and returns CLI_FAILED. */
int cli_open(struct lh_fs **out, bool read_only);
/* Closes; a failure counts: returns status unless that is CLI_OK and closing failed. */
int cli_close(struct lh_fs *fs, int status);

/* When no pool is named (mounted.c). Both end the program on what cannot be. The path inside; path itself when it is in
 * no mount. */
char *cli_mounted_path(const struct cli_verb *v, char *path);
void cli_mounted_operands(const struct cli_verb *v, char **operands, int count);
/* The address behind a directory in a mount; else where itself. */
const char *cli_mounted_pool(const char *where);

/* Arguments; wrong ones are wrong usage. */
uint64_t cli_size(const char *text, const char *what);
uint64_t cli_number(const char *text, const char *what, uint64_t max);
uint32_t cli_mode(const char *text);
/* "500ms", "2s", "1.5s", "250us"; a plain number is seconds. */
uint64_t cli_duration(const char *text, const char *what);

/* Text. */
#define CLI_TIME_MAX 40
#define CLI_MODE_MAX 11
char *cli_time_text(int64_t ns, char buf[CLI_TIME_MAX]);
char *cli_mode_text(uint32_t mode, char buf[CLI_MODE_MAX]);
const char *cli_type_name(uint32_t mode);
/* Names come from others: control characters are shown as ?, so that a name cannot drive the terminal. */
void cli_print_name(FILE *out, const char *name);
/* dir + "/" + name in a fresh string, NULL: no memory. */
char *cli_join(const char *dir, const char *name);
const char *cli_base_name(const char *path);

#define VERBS(X)                                                                                                       \
	X(mkfs, "make a pool and format it")                                                                           \
	X(serve, "serve a pool to other processes")                                                                    \
	X(mount, "mount a pool or a server for all programs")                                                          \
	X(umount, "unmount, and wait until the pool is closed")                                                        \
	X(ls, "list directories")                                                                                      \
	X(stat, "show a file's attributes and layout, or the filesystem's")                                            \
	X(cat, "write files to standard output")                                                                       \
	X(put, "copy files and trees into the filesystem")                                                             \
	X(get, "copy files and trees out of the filesystem")                                                           \
	X(rm, "remove files and trees")                                                                                \
	X(mkdir, "make directories")                                                                                   \
	X(mv, "rename, move or exchange")                                                                              \
	X(ln, "make hard and symbolic links")                                                                          \
	X(clone, "copy by sharing blocks")                                                                             \
	X(cp, "copy inside the filesystem, sharing blocks where possible")                                             \
	X(dedupe, "share blocks where the bytes are the same")                                                         \
	X(exchange, "exchange ranges of two files at one moment")                                                      \
	X(truncate, "set the size of a file")                                                                          \
	X(fallocate, "reserve, zero, collapse, insert, unshare a range")                                               \
	X(punch, "free the blocks of a range")                                                                         \
	X(relocate, "move the blocks of a range elsewhere")                                                            \
	X(map, "show the extents and holes of a file")                                                                 \
	X(defrag, "move files into one run each")                                                                      \
	X(mknod, "make FIFOs, sockets and devices")                                                                    \
	X(xattr, "list, get, set and remove extended attributes")                                                      \
	X(acl, "show and set access control lists")                                                                    \
	X(snapshot, "copy a whole tree as it is at one moment")                                                        \
	X(limit, "set and show limits of users and trees")                                                             \
	X(resize, "give the pool another size")                                                                        \
	X(evacuate, "move everything out of failing memory")                                                           \
	X(limits, "show all limits and what is used of them")                                                          \
	X(pins, "show what devices can reach, and what is charged for it")                                             \
	X(leases, "show who holds leases")                                                                             \
	X(sessions, "show who is connected, and how each answers")                                                     \
	X(audit, "show which leases were taken by force")                                                              \
	X(top, "watch holders live, and revoke one by key")                                                            \
	X(revoke, "take leases back by force")                                                                         \
	X(fsck, "check a pool that is not open")                                                                       \
	X(dump, "print the structures of a pool that is not open")                                                     \
	X(conformance, "check every rule against a server or a pool")                                                  \
	X(bench, "run the benchmark")

#define X(name, text) int verb_##name(int argc, char **argv);
VERBS(X)
#undef X
int verb_demo(int argc, char **argv);

#endif
