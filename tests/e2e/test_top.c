/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L25, L26): `leasehold top` in a terminal shows who holds what, follows the terminal's size, takes a holder's
 * leases back by key after a question, sees him go, and leaves in order; without a terminal it says so.
 *
 *	test_top LEASEHOLD HOLD_LEASE
 *
 * A pseudo-terminal of type vt100, whose screen is kept here.
 */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS    24
#define COLS    200
#define WAIT_MS 30000

static const char *leasehold, *hold_lease;
static char dir[] = "/tmp/lh-top.XXXXXX";
static char pool[128], address[160];
static pid_t server;

/* --- a screen ------------------------------------------------------------------------------------------------------
 */

struct screen {
	int fd;
	pid_t pid;
	char at[ROWS][COLS + 1];
	int row, col;
	char esc[32]; /* a sequence that is not complete */
	unsigned esc_len;
};

static void blank(struct screen *s, int row, int from, int to)
{
	for (int c = from; c < to; c++)
		s->at[row][c] = ' ';
}

static void scroll(struct screen *s)
{
	memmove(s->at[0], s->at[1], sizeof(s->at[0]) * (ROWS - 1));
	blank(s, ROWS - 1, 0, COLS);
}

/* ESC [ numbers letter */
static void csi(struct screen *s, char letter, int a, int b)
{
	int n = a > 0 ? a : 1;

	switch (letter) {
	case 'H':
		s->row = a > 0 && a <= ROWS ? a - 1 : 0;
		s->col = b > 0 && b <= COLS ? b - 1 : 0;
		break;
	case 'A':
		s->row = s->row >= n ? s->row - n : 0;
		break;
	case 'B':
		s->row = s->row + n < ROWS ? s->row + n : ROWS - 1;
		break;
	case 'C':
		s->col = s->col + n < COLS ? s->col + n : COLS - 1;
		break;
	case 'D':
		s->col = s->col >= n ? s->col - n : 0;
		break;
	case 'J':
		if (a == 0)
			blank(s, s->row, s->col, COLS);
		for (int r = a == 0 ? s->row + 1 : 0; a != 1 && r < ROWS; r++)
			blank(s, r, 0, COLS);
		break;
	case 'K':
		blank(s, s->row, a == 0 ? s->col : 0, a == 1 ? s->col + 1 : COLS);
		break;
	default: /* colours, modes, regions */
		break;
	}
}

/* true: the sequence is complete. */
static bool escape(struct screen *s)
{
	char last = s->esc[s->esc_len - 1];
	int a = 0, b = 0;

	if (s->esc_len == 1)
		return last != '[' && last != '(' && last != ')';
	if (s->esc[0] != '[')
		return true;
	if (last < '@' || last > '~')
		return s->esc_len == sizeof(s->esc) - 1;
	s->esc[s->esc_len] = '\0';
	sscanf(s->esc + 1, "%d;%d", &a, &b);
	csi(s, last, a, b);
	return true;
}

static void put(struct screen *s, char c)
{
	if (c == '\r') {
		s->col = 0;
	} else if (c == '\n') {
		if (s->row == ROWS - 1)
			scroll(s);
		else
			s->row++;
	} else if (c == '\b') {
		s->col -= s->col > 0;
	} else if (c == '\t') {
		s->col = (s->col + 8) / 8 * 8 < COLS ? (s->col + 8) / 8 * 8 : COLS - 1;
	} else if ((unsigned char)c >= ' ') {
		s->at[s->row][s->col] = c;
		s->col += s->col < COLS - 1;
	}
}

static void feed(struct screen *s, const char *buf, ssize_t n)
{
	static bool in_escape;

	for (ssize_t i = 0; i < n; i++) {
		if (in_escape) {
			s->esc[s->esc_len++] = buf[i];
			in_escape = !escape(s);
			if (!in_escape)
				s->esc_len = 0;
		} else if (buf[i] == '\033') {
			in_escape = true;
			s->esc_len = 0;
		} else {
			put(s, buf[i]);
		}
	}
}

static void show(const struct screen *s)
{
	for (int r = 0; r < ROWS; r++)
		fprintf(stderr, "|%.*s\n", 120, s->at[r]);
}

static bool is_on(const struct screen *s, const char *text)
{
	for (int r = 0; r < ROWS; r++) {
		if (strstr(s->at[r], text))
			return true;
	}
	return false;
}

/* Reads until the text is there (or, not wanted, is not). */
static void expect(struct screen *s, const char *text, bool wanted)
{
	struct timespec from, now;
	char buf[4096];

	clock_gettime(CLOCK_MONOTONIC, &from);
	while (is_on(s, text) != wanted) {
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		ssize_t n = 0;

		if (poll(&p, 1, 100) > 0)
			n = read(s->fd, buf, sizeof(buf));
		if (n > 0)
			feed(s, buf, n);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - from.tv_sec > WAIT_MS / 1000) {
			show(s);
			fail_msg("'%s' is %s", text, wanted ? "missing" : "still there");
		}
	}
}

static void type(struct screen *s, const char *keys)
{
	assert_int_equal(write(s->fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static void screen_open(struct screen *s, const char *where)
{
	struct winsize size = {.ws_row = ROWS, .ws_col = COLS};

	memset(s, 0, sizeof(*s));
	for (int r = 0; r < ROWS; r++)
		blank(s, r, 0, COLS);
	s->pid = forkpty(&s->fd, NULL, NULL, &size);
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		setenv("TERM", "vt100", 1);
		setenv("NCURSES_NO_PADDING", "1", 1);
		execl(leasehold, leasehold, "-p", where, "top", "--interval", "100ms", NULL);
		_exit(99);
	}
}

/* Must have ended in order. */
static void screen_close(struct screen *s)
{
	char buf[4096];
	int status;

	while (read(s->fd, buf, sizeof(buf)) > 0)
		;
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(s->fd);
}

/* --- others --------------------------------------------------------------------------------------------------------
 */

/* Starts a program and waits for a line that begins with `ready`; the rest of the line. Its input is *in when given. */
static pid_t start(char *const argv[], const char *ready, char *rest, size_t room, int *in)
{
	int out[2], give[2] = {-1, -1};
	char line[512] = "";
	pid_t pid;
	FILE *f;

	assert_int_equal(pipe(out), 0);
	if (in)
		assert_int_equal(pipe(give), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		if (in) {
			dup2(give[0], STDIN_FILENO);
			close(give[1]);
		}
		execv(argv[0], argv);
		_exit(99);
	}
	close(out[1]);
	if (in) {
		close(give[0]);
		*in = give[1];
	}
	f = fdopen(out[0], "r");
	while (strncmp(line, ready, strlen(ready)) != 0)
		assert_non_null(fgets(line, sizeof(line), f));
	line[strcspn(line, "\n")] = '\0';
	snprintf(rest, room, "%s", line + strlen(ready));
	return pid; /* f stays open: the program may write on */
}

static void run(char *const argv[], int want)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execv(argv[0], argv);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), want);
}

#define RUN(want, ...) run((char *const[]){(char *)leasehold, __VA_ARGS__, NULL}, want)

static int setup(void **state)
{
	char rest[512], file[160];
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(pool, sizeof(pool), "%s/pool", dir);
	snprintf(address, sizeof(address), "unix:%s.sock", pool);
	snprintf(file, sizeof(file), "%s/data", dir);
	f = fopen(file, "w");
	assert_int_equal(ftruncate(fileno(f), 1 << 20), 0);
	fclose(f);
	RUN(0, "mkfs", "--size", "32M", pool);
	server = start((char *const[]){(char *)leasehold, "-p", pool, "serve", "--exit-after", "120s", NULL}, "ready ",
		       rest, sizeof(rest), NULL);
	RUN(0, "-p", address, "put", file, "/data");
	RUN(0, "-p", address, "fallocate", "/data", "0", "1M");
	unlink(file);
	return 0;
}

static int teardown(void **state)
{
	int status;

	kill(server, SIGTERM);
	waitpid(server, &status, 0);
	unlink(pool);
	rmdir(dir);
	return status;
}

static void a_holder_is_seen_revoked_and_gone(void **state)
{
	char lease[64], pid[32], text[64];
	struct winsize size = {.ws_row = ROWS, .ws_col = 100};
	struct screen s;
	int in, status;
	pid_t holder = start((char *const[]){(char *)hold_lease, address, "/data", "read", NULL}, "holding ", lease,
			     sizeof(lease), &in);

	/* By the pool's path: it finds the server. */
	screen_open(&s, pool);
	snprintf(pid, sizeof(pid), " %d ", (int)holder);
	expect(&s, "SESSION", true);
	expect(&s, pid, true);
	expect(&s, "64 KiB", true);
	/* Another size of the terminal: the head is drawn anew. */
	assert_int_equal(ioctl(s.fd, TIOCSWINSZ, &size), 0);
	expect(&s, pid, true);
	/* The same holder by his lease. */
	type(&s, "\t");
	expect(&s, "DEVICE", true);
	expect(&s, lease, true);
	expect(&s, " key ", true);
	type(&s, "\t");
	expect(&s, "RECALLS/S", true);
	/* Not without a yes. */
	type(&s, "r");
	snprintf(text, sizeof(text), "pid %d)? y/n", (int)holder);
	expect(&s, text, true);
	type(&s, "n");
	expect(&s, "? y/n", false);
	expect(&s, pid, true);
	type(&s, "r");
	expect(&s, text, true);
	type(&s, "y");
	expect(&s, "1 leases revoked", true);
	expect(&s, "no session holds anything", true);
	expect(&s, pid, false);
	type(&s, "a"); /* it is still connected */
	expect(&s, pid, true);
	type(&s, "q");
	screen_close(&s);
	close(in);
	waitpid(holder, &status, 0);
}

static void without_a_terminal_it_says_so(void **state)
{
	char message[256] = "";
	int out[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		execl(leasehold, leasehold, "-p", address, "top", NULL);
		_exit(99);
	}
	close(out[1]);
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 1);
	n = read(out[0], message, sizeof(message) - 1);
	assert_true(n > 0);
	assert_non_null(strstr(message, "terminal"));
	close(out[0]);
}

static void an_interrupt_ends_it(void **state)
{
	struct screen s;
	int status;

	screen_open(&s, address);
	expect(&s, "leasehold top", true);
	type(&s, "\003"); /* ^C */
	while (waitpid(s.pid, &status, WNOHANG) == 0) {
		char buf[4096];

		if (read(s.fd, buf, sizeof(buf)) < 0)
			usleep(1000);
	}
	close(s.fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_holder_is_seen_revoked_and_gone),
	    cmocka_unit_test(without_a_terminal_it_says_so),
	    cmocka_unit_test(an_interrupt_ends_it),
	};

	if (argc != 3)
		return 2;
	leasehold = argv[1];
	hold_lease = argv[2];
	unsetenv("LEASEHOLD");
	return cmocka_run_group_tests(tests, setup, teardown);
}
