/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/table.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "cli/show.h"

struct table {
	const struct column *columns;
	unsigned width[TABLE_COLUMNS_MAX], n; /* n: columns */
	json_t *json;                         /* NULL: text */
	json_t *row;
	char **cells; /* row after row */
	size_t count, room;
	unsigned rows, at; /* at: the next cell's column */
	bool failed;
};

struct table *table_new(const struct column *columns, bool json)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t)
		t->json = json ? json_array() : NULL;
	if (!t || (json && !t->json)) {
		cli_fail("out of memory");
		free(t);
		return NULL;
	}
	t->columns = columns;
	while (columns[t->n].title || columns[t->n].key) {
		t->width[t->n] = columns[t->n].title ? (unsigned)strlen(columns[t->n].title) : 0;
		t->n++;
	}
	assert(t->n <= TABLE_COLUMNS_MAX);
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	json_decref(t->row);
	json_decref(t->json);
	free(t);
}

unsigned table_rows(const struct table *t)
{
	return t->rows;
}

static void cell_keep(struct table *t, char *text)
{
	unsigned len = text ? (unsigned)strlen(text) : 0;

	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 256;
		char **bigger = reallocarray(t->cells, room, sizeof(*bigger));

		if (!bigger) {
			t->failed = true;
			free(text);
			return;
		}
		t->cells = bigger;
		t->room = room;
	}
	t->failed = t->failed || !text;
	t->cells[t->count++] = text;
	if (len > t->width[t->at])
		t->width[t->at] = len;
}

/* The cell's text is the table's. */
static void cell_add(struct table *t, json_t *value, char *text)
{
	const struct column *c = &t->columns[t->at];

	assert(t->at < t->n);
	if (t->json) {
		if (t->at == 0)
			t->row = json_object();
		if (c->key)
			t->failed = json_object_set_new(t->row, c->key, value ? value : json_null()) < 0 || t->failed;
		else
			json_decref(value);
		free(text);
	} else {
		json_decref(value);
		cell_keep(t, text);
	}
	t->at++;
	if (t->at < t->n)
		return;
	t->at = 0;
	t->rows++;
	if (t->json)
		t->failed = json_array_append_new(t->json, t->row) < 0 || t->failed;
	t->row = NULL;
}

void table_cell(struct table *t, json_t *value, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	cell_add(t, value, text);
}

void table_name(struct table *t, const char *name)
{
	char *text = strdup(name[0] ? name : "-");

	for (char *p = text; p && *p; p++)
		*p = (unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p;
	cell_add(t, json_string(name), text);
}

void table_number(struct table *t, uint64_t n)
{
	table_cell(t, json_integer((json_int_t)n), "%llu", (unsigned long long)n);
}

void table_bytes(struct table *t, uint64_t bytes)
{
	char text[SIZE_TEXT_MAX];

	if (bytes == UINT64_MAX)
		table_cell(t, NULL, "-");
	else
		table_cell(t, json_integer((json_int_t)bytes), "%s", size_text(bytes, text));
}

void table_time(struct table *t, uint64_t ns)
{
	char text[DURATION_TEXT_MAX];

	if (ns == UINT64_MAX)
		table_cell(t, NULL, "-");
	else
		table_cell(t, json_integer((json_int_t)ns), "%s", duration_text(ns, text));
}

static void line_print(const struct table *t, char *const *cells)
{
	unsigned last = 0;
	bool first = true;

	for (unsigned i = 0; i < t->n; i++)
		last = t->columns[i].title ? i : last;
	for (unsigned i = 0; i < t->n; i++) {
		const char *text = cells ? cells[i] : t->columns[i].title;
		int width = (int)t->width[i];

		if (!t->columns[i].title)
			continue;
		if (t->columns[i].side == LEFT)
			printf("%s%-*s", first ? "" : "  ", i == last ? 0 : width, text);
		else
			printf("%s%*s", first ? "" : "  ", width, text);
		first = false;
	}
	putchar('\n');
}

void table_print(struct table *t, const char *none, const char *last)
{
	if (t->failed) {
		cli_fail("out of memory");
	} else if (t->json) {
		show_json(json_incref(t->json));
	} else if (t->rows == 0) {
		puts(none);
	} else {
		line_print(t, NULL);
		for (unsigned i = 0; i < t->rows; i++)
			line_print(t, &t->cells[(size_t)i * t->n]);
		if (last)
			puts(last);
	}
	table_free(t);
	fflush(stdout);
}

char *duration_text(uint64_t ns, char buf[DURATION_TEXT_MAX])
{
	unsigned long long s = ns / NS_PER_SEC;

	if (ns < NS_PER_MS)
		snprintf(buf, DURATION_TEXT_MAX, "%lluus", (unsigned long long)(ns / NS_PER_US));
	else if (ns < NS_PER_SEC)
		snprintf(buf, DURATION_TEXT_MAX, "%llums", (unsigned long long)(ns / NS_PER_MS));
	else if (s < 60)
		snprintf(buf, DURATION_TEXT_MAX, "%.1fs", (double)ns / (double)NS_PER_SEC);
	else if (s < 3600)
		snprintf(buf, DURATION_TEXT_MAX, "%llum%02llus", s / 60, s % 60);
	else if (s < 48 * 3600)
		snprintf(buf, DURATION_TEXT_MAX, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(buf, DURATION_TEXT_MAX, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return buf;
}

int ledger_open(struct lh_fs **out)
{
	struct lh_open_options opt = {.size = sizeof(opt)};
	char *address;
	int err;

	if (cli_is_address(cli_pool()))
		return cli_open(out, false);
	err = lh_fs_open(cli_pool(), &opt, out);
	if (err != -EBUSY)
		return err ? cli_error(err, "cannot open %s", cli_pool()) : CLI_OK;
	if (asprintf(&address, "unix:%s.sock", cli_pool()) < 0)
		return cli_fail("out of memory");
	if (lh_fs_open(address, NULL, out) == 0) {
		cli_set_pool(address); /* for good */
		return CLI_OK;
	}
	free(address);
	return cli_fail("%s is open in another process: if that serves it, give its address (-p unix:PATH)",
			cli_pool());
}

/* --- filters --- */

bool filter_option(struct lh_revoke_filter *f, int key)
{
	switch (key) {
	case OPT_LEASE:
		f->number = cli_number(optarg, "--lease", UINT64_MAX);
		return true;
	case OPT_FILE:
		f->path = optarg;
		return true;
	case OPT_SESSION:
		f->session = cli_number(optarg, "--session", UINT64_MAX);
		return true;
	case OPT_UID:
		f->by_uid = true;
		f->uid = (uint32_t)cli_number(optarg, "--uid", UINT32_MAX - 1);
		return true;
	default:
		return false;
	}
}

bool filter_is_empty(const struct lh_revoke_filter *f)
{
	return !f->by_uid && f->number == 0 && f->session == 0 && f->path == NULL;
}

const char *filter_where(const struct lh_revoke_filter *f)
{
	return f->path != NULL ? f->path : cli_pool();
}

const char *lease_mode_text(uint32_t mode)
{
	return mode == LH_LEASE_WRITE ? "WRITE" : "READ";
}

/* --- again and again --- */

static int stop_pipe[2] = {-1, -1};

/* The signal may come to any thread of the library; a second one ends the program as ever. */
static void on_stop(int sig)
{
	int err = errno;

	if (write(stop_pipe[1], "", 1) < 0)
		errno = err;
	errno = err;
}

static int stop_begin(void)
{
	struct sigaction sa = {.sa_handler = on_stop, .sa_flags = SA_RESTART | (int)SA_RESETHAND};

	if (stop_pipe[0] < 0 && pipe(stop_pipe) < 0)
		return cli_fail("no pipe: %s", strerror(errno));
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	return CLI_OK;
}

/* false: a signal came. */
static bool pause_for(uint64_t ns)
{
	uint64_t until = clock_now_ns() + ns;
	struct pollfd p = {.fd = stop_pipe[0], .events = POLLIN};

	for (uint64_t now = clock_now_ns(); now < until; now = clock_now_ns()) {
		uint64_t ms = (until - now) / NS_PER_MS + 1;
		int n = poll(&p, 1, (int)(ms < 60000 ? ms : 60000));

		if (n > 0)
			return false;
		if (n < 0 && errno != EINTR)
			return false;
	}
	return true;
}

int watch(uint64_t every_ns, int (*show)(void *ctx), void *ctx)
{
	bool terminal = isatty(STDOUT_FILENO);
	int status;

	if (every_ns == 0)
		return show(ctx);
	status = stop_begin();
	while (status == CLI_OK) {
		if (terminal)
			fputs("\033[H\033[J", stdout);
		status = show(ctx);
		fflush(stdout);
		if (status != CLI_OK || ferror(stdout) || !pause_for(every_ns))
			break;
	}
	return status;
}
