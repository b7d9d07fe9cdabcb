/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listings of the ledger: rows become an aligned table, or an array of JSON objects; filters; showing again and again.
 *
 * A row is given once, as cells with a key each. The table shows those that have a title; JSON has all.
 */
#ifndef LH_CLI_TABLE_H
#define LH_CLI_TABLE_H

#include <jansson.h>

#include "cli/cli.h"

#define TABLE_COLUMNS_MAX 24u

enum column_side { RIGHT, LEFT };
struct column {
	const char *title;     /* NULL: in JSON only */
	const char *key;       /* NULL: in the table only */
	enum column_side side; /* numbers stand right */
};
struct table;

/* columns ends with {0} and stays the caller's. NULL: no memory, said. */
struct table *table_new(const struct column *columns, bool json);
void table_free(struct table *t);
/* The cells of a row, from left to right: text for the table, and for JSON the value, which is taken. */
void table_cell(struct table *t, json_t *value, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Names of others: control characters are shown as ?. */
void table_name(struct table *t, const char *name);
void table_number(struct table *t, uint64_t n);
/* UINT64_MAX: "-" and null. */
void table_bytes(struct table *t, uint64_t bytes);
void table_time(struct table *t, uint64_t ns);
unsigned table_rows(const struct table *t);
/* Prints it, or `none` when there is no row; frees it. last: a line below the table, or NULL. */
void table_print(struct table *t, const char *none, const char *last);

/* "1.2s", "3m05s", "2h10m"; ms and us below a second. */
#define DURATION_TEXT_MAX 24
char *duration_text(uint64_t ns, char buf[DURATION_TEXT_MAX]);

/* As cli_open, but a pool that is served by another process is asked there: at POOL.sock, where serve listens unless
 * told otherwise. */
int ledger_open(struct lh_fs **out);

/* --- filters: --lease, --file, --session, --uid, of leases --- */

enum { OPT_LEASE = 400, OPT_FILE, OPT_SESSION, OPT_UID };
#define FILTER_OPTIONS                                                                                                 \
	{OPT_LEASE, "lease", "NUMBER", "this one"}, {OPT_FILE, "file", "PATH", "of this file"},                        \
	    {OPT_SESSION, "session", "NUMBER", "of this session"},                                                     \
	{                                                                                                              \
		OPT_UID, "uid", "UID", "of this user"                                                                  \
	}
/* false: none of these options. */
bool filter_option(struct lh_revoke_filter *f, int key);
bool filter_is_empty(const struct lh_revoke_filter *f);
const char *filter_where(const struct lh_revoke_filter *f);

/* --- again and again --- */

#define OPTION_WATCH                                                                                                   \
	{                                                                                                              \
		'w', "watch", "[TIME]", "again every TIME (1s if none is given) until interrupted"                     \
	}
#define WATCH_DEFAULT_NS 1000000000ull
/*
 * Calls show until it returns another status than CLI_OK, once when every_ns is 0, until SIGINT or SIGTERM otherwise
 * (CLI_OK). On a terminal each begins on a clear screen, elsewhere one follows the other.
 */
int watch(uint64_t every_ns, int (*show)(void *ctx), void *ctx);

const char *lease_mode_text(uint32_t mode);

#endif
