/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold top: holders, live. One look every interval: totals in the head, then sessions that hold something, or
 * leases (Tab), sorted as wanted; the selected one can be taken back by key, after a question.
 *
 * The selection is a number, not a line: what is asked about is what is revoked, however the list moves meanwhile.
 */
#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "base/types.h"
#include "cli/table.h"

#define INTERVAL_NS NS_PER_SEC
#define HEAD_LINES  4
#define HOST_WIDTH  20

enum { OPT_INTERVAL = 'i' };

static const struct cli_option options[] = {
    {OPT_INTERVAL, "interval", "TIME", "look every TIME; default: 1s"},
    {0},
};
static const struct cli_verb verb = {
    .name = "top",
    .operands = "",
    .text = "Shows who holds leases, live: bytes, recalls per second, the slowest answers. Keys: up and down select, r "
	    "revokes all\n"
	    "leases of the selected session (or the selected lease), Tab changes between sessions and leases, s sorts "
	    "by something\n"
	    "else, a shows sessions that hold nothing too, q quits. Revoking is for root and the pool's owner.\n",
    .example = "leasehold -p unix:/run/lh.sock top\n",
    .options = options,
};

enum view { BY_SESSION, BY_LEASE };
enum sort { SORT_BYTES, SORT_LEASES, SORT_RECALLS, SORT_SLOWEST, SORTS };
static const char *const sort_names[SORTS] = {"bytes", "leases", "recalls", "slowest"};

/* One line of the list. */
struct holder {
	uint64_t number; /* session or lease */
	uint64_t bytes, leases, recalls, forced, slowest_ns, age_ns, ino, off;
	double recall_rate;
	uint32_t uid;
	int32_t pid;
	char state[16], pin[32], mode[8], host[64];
};

struct top {
	struct lh_fs *fs;
	uint64_t interval_ns;
	enum view view;
	enum sort sort;
	bool all;
	struct holder *list, *before;
	size_t count, room, before_count;
	uint64_t selected;
	size_t first; /* line of the list that is on top of the screen */
	struct lh_lease_stats stats, stats_before;
	uint64_t at_ns, before_ns;
	int err;
	char message[160];
};

static void say(struct top *t, const char *what, int err)
{
	const char *text = lh_error_text();

	snprintf(t->message, sizeof(t->message), "%s: %s", what, text[0] ? text : strerror(-err));
}

/* --- looking --- */

static struct holder *holder_add(struct top *t)
{
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 256;
		struct holder *bigger = reallocarray(t->list, room, sizeof(*bigger));

		if (!bigger) {
			t->err = -ENOMEM;
			return NULL;
		}
		t->list = bigger;
		t->room = room;
	}
	t->list[t->count] = (struct holder){0};
	return &t->list[t->count++];
}

static void session_see(void *ctx, const struct lh_session_info *i)
{
	struct top *t = ctx;
	struct holder *h = i->leases || t->all ? holder_add(t) : NULL;

	if (!h)
		return;
	h->number = i->number;
	h->bytes = i->pinned_bytes;
	h->leases = i->leases;
	h->recalls = i->recalls;
	h->forced = i->forced;
	h->slowest_ns = i->slowest_ns;
	h->age_ns = i->age_ns;
	h->uid = i->uid;
	h->pid = i->pid;
	snprintf(h->state, sizeof(h->state), "%s", i->state);
	snprintf(h->host, sizeof(h->host), "%s", i->host);
}

static void lease_see(void *ctx, const struct lh_lease_info *i)
{
	struct holder *h = holder_add(ctx);

	if (!h)
		return;
	h->number = i->number;
	h->bytes = i->pinned_bytes;
	h->leases = i->pins;
	h->age_ns = i->age_ns;
	h->ino = i->ino;
	h->off = i->off;
	h->uid = i->uid;
	h->pid = i->pid;
	/* Of a lease the slowest answer is the one that is still missing. */
	h->slowest_ns = strcmp(i->state, "recalling") == 0 ? i->recalled_ns : 0;
	snprintf(h->mode, sizeof(h->mode), "%s", lease_mode_text(i->mode));
	snprintf(h->state, sizeof(h->state), "%s", i->state);
	snprintf(h->pin, sizeof(h->pin), "%s", i->pin);
	snprintf(h->host, sizeof(h->host), "%s", i->host);
}

static int by_number(const void *x, const void *y)
{
	const struct holder *a = x, *b = y;

	return a->number < b->number ? -1 : a->number > b->number;
}

static double sort_value(const struct holder *h, enum sort sort)
{
	switch (sort) {
	case SORT_BYTES:
		return (double)h->bytes;
	case SORT_LEASES:
		return (double)h->leases;
	case SORT_RECALLS:
		return h->recall_rate + (double)h->recalls * 1e-9;
	case SORT_SLOWEST:
	case SORTS:
		break;
	}
	return (double)h->slowest_ns;
}

static int by_value(const void *x, const void *y, void *ctx)
{
	const struct top *t = ctx;
	double a = sort_value(x, t->sort), b = sort_value(y, t->sort);

	return a == b ? by_number(x, y) : a < b ? 1 : -1;
}

static double seconds_between(const struct top *t)
{
	double s = (double)(t->at_ns - t->before_ns) / (double)NS_PER_SEC;

	return t->before_ns && s > 0 ? s : 0;
}

static void rates(struct top *t)
{
	double s = seconds_between(t);

	for (size_t i = 0; i < t->count && s > 0 && t->before_count; i++) {
		const struct holder *was =
		    bsearch(&t->list[i], t->before, t->before_count, sizeof(*t->before), by_number);

		if (was)
			t->list[i].recall_rate = (double)(t->list[i].recalls - was->recalls) / s;
	}
}

/* What this look saw, by number, for the rates of the next one. */
static void remember(struct top *t)
{
	struct holder *copy = t->count ? reallocarray(t->before, t->count, sizeof(*copy)) : NULL;

	t->before_count = 0;
	if (!copy)
		return;
	t->before = copy;
	memcpy(copy, t->list, t->count * sizeof(*copy));
	t->before_count = t->count;
	qsort(copy, t->count, sizeof(*copy), by_number);
}

static void look(struct top *t)
{
	struct lh_revoke_filter everything = {.size = sizeof(everything)};
	struct lh_lease_stats stats = {.size = sizeof(stats)};
	int err;

	t->count = 0;
	t->err = 0;
	err = lh_fs_lease_stats(t->fs, &stats);
	if (!err && t->view == BY_SESSION)
		err = lh_fs_sessions(t->fs, session_see, t);
	else if (!err)
		err = lh_fs_leases_matching(t->fs, &everything, lease_see, t);
	if (err || t->err) {
		say(t, "look", err ? err : t->err);
		return;
	}
	t->before_ns = t->at_ns;
	t->at_ns = clock_now_ns();
	t->stats_before = t->stats;
	t->stats = stats;
	rates(t);
	remember(t);
	if (t->count)
		qsort_r(t->list, t->count, sizeof(*t->list), by_value, t);
}

static size_t selected_at(const struct top *t)
{
	for (size_t i = 0; i < t->count; i++) {
		if (t->list[i].number == t->selected)
			return i;
	}
	return SIZE_MAX;
}

/* --- the screen --- */

static void head_draw(const struct top *t)
{
	double s = seconds_between(t);
	char bytes[SIZE_TEXT_MAX];
	double recalls = s > 0 ? (double)(t->stats.recalls - t->stats_before.recalls) / s : 0;
	double forced = s > 0 ? (double)(t->stats.forced - t->stats_before.forced) / s : 0;
	double grants = s > 0 ? (double)(t->stats.grants - t->stats_before.grants) / s : 0;

	mvprintw(0, 0, "leasehold top  %s", cli_pool());
	mvprintw(
	    1, 0,
	    "sessions %llu  leases %llu  pinned %s  grants/s %.1f  recalls/s %.1f  forced/s %.1f  forced in all %llu",
	    (unsigned long long)t->stats.sessions, (unsigned long long)t->stats.leases,
	    size_text(t->stats.pinned_bytes, bytes), grants, recalls, forced, (unsigned long long)t->stats.forced);
	attron(A_REVERSE);
	move(HEAD_LINES - 1, 0);
	hline(' ', COLS);
	if (t->view == BY_SESSION)
		mvprintw(HEAD_LINES - 1, 0, "%10s %-6s %8s %8s %8s %11s %10s %8s %8s %8s %s", "SESSION", "STATE", "UID",
			 "PID", "LEASES", "PINNED", "RECALLS/S", "FORCED", "SLOWEST", "AGE", "HOST");
	else
		mvprintw(HEAD_LINES - 1, 0, "%10s %-9s %-5s %8s %8s %8s %14s %11s %-9s %8s %8s %s", "LEASE", "STATE",
			 "MODE", "UID", "PID", "INODE", "OFFSET", "PINNED", "DEVICE", "WAITS", "AGE", "HOST");
	attroff(A_REVERSE);
}

static void holder_draw(const struct top *t, const struct holder *h, int line)
{
	char bytes[SIZE_TEXT_MAX], slowest[DURATION_TEXT_MAX] = "-", age[DURATION_TEXT_MAX], host[HOST_WIDTH + 1];

	snprintf(host, sizeof(host), "%.*s", HOST_WIDTH, h->host);
	for (char *p = host; *p; p++)
		*p = *p < 0x20 || *p == 0x7f ? '?' : *p;
	if (h->slowest_ns)
		duration_text(h->slowest_ns, slowest);
	duration_text(h->age_ns, age);
	size_text(h->bytes, bytes);
	if (h->number == t->selected)
		attron(A_REVERSE);
	if (t->view == BY_SESSION)
		mvprintw(line, 0, "%10llu %-6s %8u %8d %8llu %11s %10.1f %8llu %8s %8s %s",
			 (unsigned long long)h->number, h->state, h->uid, h->pid, (unsigned long long)h->leases, bytes,
			 h->recall_rate, (unsigned long long)h->forced, slowest, age, host);
	else
		mvprintw(line, 0, "%10llu %-9s %-5s %8u %8d %8llu %14llu %11s %-9.9s %8s %8s %s",
			 (unsigned long long)h->number, h->state, h->mode, h->uid, h->pid, (unsigned long long)h->ino,
			 (unsigned long long)h->off, bytes, h->pin[0] ? h->pin : "-", slowest, age, host);
	attroff(A_REVERSE);
}

static void draw(struct top *t)
{
	int room = LINES - HEAD_LINES - 1;
	size_t at = selected_at(t), lines = room > 0 ? (size_t)room : 0;

	erase();
	head_draw(t);
	if (at == SIZE_MAX && t->count) {
		at = 0;
		t->selected = t->list[0].number;
	}
	if (t->count == 0) {
		t->selected = 0;
		t->first = 0;
		mvprintw(HEAD_LINES, 0, "%s", t->view == BY_SESSION ? "no session holds anything" : "no leases");
	} else if (at < t->first) {
		t->first = at;
	} else if (lines && at >= t->first + lines) {
		t->first = at - lines + 1;
	}
	for (size_t i = t->first; i < t->count && i - t->first < lines; i++)
		holder_draw(t, &t->list[i], HEAD_LINES + (int)(i - t->first));
	if (t->message[0])
		mvprintw(LINES - 1, 0, "%s", t->message);
	else
		mvprintw(LINES - 1, 0, "up/down select  r revoke  Tab %s  s sort (by %s)  a %s  q quit",
			 t->view == BY_SESSION ? "leases" : "sessions", sort_names[t->sort],
			 t->all ? "holders" : "all");
	refresh();
}

/* --- keys --- */

static void select_by(struct top *t, long step)
{
	size_t at = selected_at(t);
	long to;

	if (at == SIZE_MAX || t->count == 0)
		return;
	to = (long)at + step;
	to = to < 0 ? 0 : to >= (long)t->count ? (long)t->count - 1 : to;
	t->selected = t->list[to].number;
}

/* Asks, and takes it back. */
static void holder_revoke(struct top *t)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	size_t at = selected_at(t);
	struct holder h;
	int key, n;

	if (at == SIZE_MAX)
		return;
	h = t->list[at];
	if (t->view == BY_SESSION)
		filter.session = h.number;
	else
		filter.number = h.number;
	move(LINES - 1, 0);
	clrtoeol();
	if (t->view == BY_SESSION)
		printw("Revoke all %llu leases of session %llu (uid %u, pid %d)? y/n", (unsigned long long)h.leases,
		       (unsigned long long)h.number, h.uid, h.pid);
	else
		printw("Revoke lease %llu (uid %u, pid %d)? y/n", (unsigned long long)h.number, h.uid, h.pid);
	refresh();
	timeout(-1);
	key = getch();
	if (key != 'y' && key != 'Y')
		return;
	n = lh_fs_revoke(t->fs, &filter);
	if (n < 0)
		say(t, "revoke", n);
	else
		snprintf(t->message, sizeof(t->message), "%d leases revoked", n);
}

/* false: quit. */
static bool key_do(struct top *t, int key)
{
	if (key != ERR)
		t->message[0] = '\0';
	switch (key) {
	case 'q':
	case 'Q':
	case 27:
		return false;
	case KEY_UP:
	case 'k':
		select_by(t, -1);
		break;
	case KEY_DOWN:
	case 'j':
		select_by(t, 1);
		break;
	case KEY_PPAGE:
		select_by(t, -(LINES - HEAD_LINES - 1));
		break;
	case KEY_NPAGE:
		select_by(t, LINES - HEAD_LINES - 1);
		break;
	case 's':
		t->sort = (t->sort + 1) % SORTS;
		break;
	case 'a':
		t->all = !t->all;
		break;
	case '\t':
		t->view = t->view == BY_SESSION ? BY_LEASE : BY_SESSION;
		t->before_count = 0; /* other numbers */
		t->first = 0;
		break;
	case 'r':
		holder_revoke(t);
		break;
	default:
		break;
	}
	return true;
}

static void run(struct top *t)
{
	uint64_t due = 0;
	int key = ERR;

	do {
		uint64_t now = clock_now_ns();

		/* Moving the selection must not ask the server each time. */
		if (now >= due || (key != ERR && strchr("sar\t", key))) {
			look(t);
			now = clock_now_ns();
			due = now + t->interval_ns;
		}
		draw(t);
		timeout((int)((due - now) / NS_PER_MS) + 1);
		key = getch();
	} while (key_do(t, key));
}

/* --- beginning and end --- */

/* Messages of the library would be written over the screen. The old stderr, or -1. */
static int stderr_hide(void)
{
	int old = dup(STDERR_FILENO);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	fflush(stderr);
	if (old >= 0 && null >= 0)
		dup2(null, STDERR_FILENO);
	if (null >= 0)
		close(null);
	return old;
}

static void stderr_show(int old)
{
	if (old < 0)
		return;
	dup2(old, STDERR_FILENO);
	close(old);
}

static int screen_run(struct top *t)
{
	SCREEN *screen;
	int old;

	setlocale(LC_ALL, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		const char *term = getenv("TERM");

		return cli_fail("this terminal (TERM=%s) is not known", term ? term : "");
	}
	old = stderr_hide();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	run(t);
	endwin();
	delscreen(screen);
	stderr_show(old);
	return CLI_OK;
}

int verb_top(int argc, char **argv)
{
	struct top t = {.interval_ns = INTERVAL_NS};
	sigset_t winch;
	int status;

	for (int key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv))
		t.interval_ns = max_u64(cli_duration(optarg, "--interval"), NS_PER_MS);
	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return cli_fail("this needs a terminal; for a file or pipe: leasehold sessions --watch");
	/* A changed size must wake this thread, not one of the library's. */
	sigemptyset(&winch);
	sigaddset(&winch, SIGWINCH);
	sigprocmask(SIG_BLOCK, &winch, NULL);
	status = ledger_open(&t.fs);
	sigprocmask(SIG_UNBLOCK, &winch, NULL);
	if (status != CLI_OK)
		return CLI_FAILED;
	status = screen_run(&t);
	free(t.list);
	free(t.before);
	return cli_close(t.fs, status);
}
