/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold demo: the main job on real input. It makes a pool, serves it, imports a tree, lets client processes use the
 * files directly while it changes their layout, and checks every promise on the way. Exit 1 if one is broken.
 *
 * The clients are this program again (`demo --client INDEX --board PATH`), started with posix_spawn: a process with
 * threads must not go on after a bare fork. They end when the board says stop, and with their parent
 * (PR_SET_PDEATHSIG).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/crc.h"
#include "base/error.h"
#include "base/size.h"
#include "base/types.h"
#include "cli/cli.h"
#include "cli/demo.h"

#define INPUT_MIN   ((uint64_t)200 << 20)
#define INPUT_MAX   ((uint64_t)1 << 30)
#define SLACK       ((uint64_t)384 << 20)
#define DEADLINE_NS (100 * NS_PER_MS)
#define SECONDS     8u
#define SECONDS_MAX 3600u
#define READY_NS    (20 * NS_PER_SEC)
#define END_NS      (30 * NS_PER_SEC)
#define POLL_US     20000u

extern char **environ;

struct demo {
	char dir[64], board_path[96], pool[96], unix_address[128];
	const char *input;
	bool json;
	uint64_t seconds, deadline_ns;
	struct lh_fs *fs;
	struct lh_server *unix_server, *tcp_server;
	struct demo_board *board;
	struct demo_watch watch[DEMO_FILES];
	uint32_t watched;
	struct demo_story *story;
	struct demo_changes changes;
	struct demo_result result;
};

static void say(const struct demo *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(const struct demo *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(d->json ? stderr : stdout, fmt, ap);
	va_end(ap);
	fflush(d->json ? stderr : stdout);
}

static double seconds_since(uint64_t start)
{
	return (double)(clock_now_ns() - start) / 1e9;
}

/* --- setting up
 * -------------------------------------------------------------------------------------------------------- */

static int make_pool(struct demo *d)
{
	struct lh_open_options opt = {
	    .size = sizeof(opt), .deadline_ns = d->deadline_ns, .deadline_max_ns = d->deadline_ns};
	struct lh_statfs st = {.size = sizeof(st)};
	uint64_t bytes, entries, size;
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
	int err;

	if (!d->input)
		d->input = demo_tree_default(INPUT_MIN, INPUT_MAX);
	if (!d->input)
		return fail(
		    -ENOENT,
		    "this machine has no directory of at least 200 MB in the usual places; name one with --input");
	err = demo_tree_size(d->input, &bytes, &entries);
	if (err)
		return err;
	/* Room for the tree, what is shared and copied on write, and metadata. */
	size = round_up_u64(bytes + bytes / 2 + entries * 1024 + SLACK, (uint64_t)1 << 20);
	snprintf(d->pool, sizeof(d->pool), "mem:%" PRIu64 "M", size >> 20);
	err = lh_fs_open(d->pool, &opt, &d->fs);
	if (!err)
		err = lh_fs_stat(d->fs, &st);
	if (!err)
		say(d, "pool      %s, %s (%s), %s\n", d->pool, st.pool_kind, st.pool_class, size_text(size, a));
	if (!err)
		say(d, "input     %s: %" PRIu64 " entries, %s\n", d->input, entries, size_text(bytes, b));
	return err;
}

static int serve(struct demo *d)
{
	struct lh_server_options opt = {
	    .size = sizeof(opt), .tcp_uid = geteuid(), .tcp_gid = getegid(), .tcp_as_given = true};
	int err;

	snprintf(d->unix_address, sizeof(d->unix_address), "unix:%s/demo.sock", d->dir);
	err = lh_server_start(d->fs, d->unix_address, &opt, &d->unix_server);
	if (!err)
		err = lh_server_start(d->fs, "tcp:127.0.0.1:0", &opt, &d->tcp_server);
	if (!err)
		say(d, "serving   %s and %s, deadline %.0f ms\n", lh_server_address(d->unix_server),
		    lh_server_address(d->tcp_server), (double)d->deadline_ns / 1e6);
	return err;
}

static int import(struct demo *d)
{
	uint64_t start = clock_now_ns();
	char a[SIZE_TEXT_MAX];
	int err = demo_tree_import(d->fs, d->input, &d->result.source, d->watch, &d->watched);

	if (err)
		return err;
	if (!d->watched)
		return fail(-ENODATA, "%s has no file of 64 KiB or more to work on; name another --input", d->input);
	say(d, "imported  %" PRIu64 " files, %s in %.1f s, tree sum %016" PRIx64 "\n", d->result.source.files,
	    size_text(d->result.source.bytes, a), seconds_since(start), d->result.source.sum);
	return lh_path_mkdir(d->fs, "/writers", 0755);
}

static int checksums_of(struct demo_board *b, const struct demo_watch *w)
{
	scoped_fd int fd = open(w->source, O_RDONLY | O_CLOEXEC);
	uint8_t block[DEMO_BLOCK];

	for (uint64_t i = 0; i < w->blocks; i++) {
		uint64_t len = min_u64(DEMO_BLOCK, w->size - i * DEMO_BLOCK);

		if (pread(fd, block, len, (off_t)(i * DEMO_BLOCK)) != (ssize_t)len)
			return fail(-EIO, "%s cannot be read again, or changed", w->source);
		demo_checksums(b)[w->first + i] = crc32c(0, block, len);
	}
	return 0;
}

static int make_board(struct demo *d)
{
	uint64_t blocks = 0;
	int err = 0;

	for (uint32_t i = 0; i < d->watched; i++) {
		d->watch[i].first = blocks;
		d->watch[i].blocks = round_up_u64(min_u64(d->watch[i].size, DEMO_WATCH_MAX), DEMO_BLOCK) / DEMO_BLOCK;
		blocks += d->watch[i].blocks;
	}
	snprintf(d->board_path, sizeof(d->board_path), "%s/board", d->dir);
	d->board = demo_board_make(d->board_path, blocks);
	if (!d->board)
		return fail(-errno, "%s: %s", d->board_path, strerror(errno));
	memcpy(d->board->file, d->watch, sizeof(d->watch));
	d->board->files = d->watched;
	d->board->writer_seed = clock_real_ns();
	for (uint32_t i = 0; i < d->watched && !err; i++)
		err = checksums_of(d->board, &d->watch[i]);
	return err;
}

/* --- clients
 * ------------------------------------------------------------------------------------------------------------ */

static const struct {
	enum demo_role role;
	const char *fabric;
	bool tcp, faulting;
} cast[DEMO_CLIENTS] = {
    {DEMO_READER, "ring", false, false},
    {DEMO_READER, "stream", true, false},
    {DEMO_WRITER, "ring", false, false},
    {DEMO_WRITER, "stream", true, false},
    {DEMO_READER, "ring", false, true},
    {DEMO_READER, "stream", true, true},
    /* By ring: a clone shows blocks of a write that is under way, but by stream also parts of a block. */
    {DEMO_WRITER, "ring", false, true},
    {DEMO_DEAF, "stream", true, false},
    {DEMO_STOPPED, "ring", false, false}};

static int client_start(struct demo *d, unsigned i)
{
	struct demo_client *c = &d->board->client[i];
	char index[16];
	char *argv[] = {
	    (char *)"leasehold", (char *)"demo", (char *)"--client", index, (char *)"--board", d->board_path, NULL};
	int err;

	c->role = cast[i].role;
	c->faulting = cast[i].faulting;
	snprintf(c->fabric, sizeof(c->fabric), "%s", cast[i].fabric);
	snprintf(c->address, sizeof(c->address), "%s", lh_server_address(cast[i].tcp ? d->tcp_server : d->unix_server));
	snprintf(index, sizeof(index), "%u", i);
	err = posix_spawn(&c->pid, "/proc/self/exe", NULL, NULL, argv, environ);
	return err ? fail(-err, "cannot start a client process: %s", strerror(err)) : 0;
}

static int clients_start(struct demo *d)
{
	uint64_t until = clock_now_ns() + READY_NS;
	int err = 0;

	for (unsigned i = 0; i < DEMO_CLIENTS && !err; i++)
		err = client_start(d, i);
	for (unsigned i = 0; i < DEMO_CLIENTS && !err; i++) {
		struct demo_client *c = &d->board->client[i];

		while (!atomic_load(&c->ready) && !err) {
			usleep(POLL_US / 10);
			if (clock_now_ns() > until || waitpid(c->pid, NULL, WNOHANG) == c->pid)
				err = fail(-ETIMEDOUT, "the %s client did not start: %s", demo_role_name(c->role),
					   c->error);
		}
	}
	return err;
}

static void clients_stop(struct demo *d)
{
	uint64_t until = clock_now_ns() + END_NS;

	if (!d->board)
		return;
	atomic_store(&d->board->stop, 1);
	for (unsigned i = 0; i < DEMO_CLIENTS; i++) {
		struct demo_client *c = &d->board->client[i];
		int status;

		if (c->pid <= 0)
			continue;
		kill(c->pid, SIGCONT);
		while (waitpid(c->pid, &status, WNOHANG) == 0) {
			usleep(POLL_US);
			if (d->story)
				demo_story_collect(d->story, d->fs);
			if (clock_now_ns() > until) {
				snprintf(c->error, sizeof(c->error), "it did not end");
				kill(c->pid, SIGKILL);
			}
		}
		c->pid = 0;
	}
}

/* --- the run
 * -------------------------------------------------------------------------------------------------------------- */

static void *changes_thread(void *arg)
{
	demo_changes_run(arg);
	return NULL;
}

static void progress(const struct demo *d, uint64_t start)
{
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r  %4.1f s  breaks %" PRIu64 ", in time %" PRIu64 ", forced %" PRIu64 "   ",
		seconds_since(start), d->story->breaks, d->story->in_time, d->story->forced_total);
}

static int run(struct demo *d)
{
	struct demo_story *s = d->story;
	pid_t sleeper = 0;
	pthread_t thread;
	uint64_t start;
	bool stopped = false;

	for (unsigned i = 0; i < DEMO_CLIENTS; i++) {
		if (d->board->client[i].role == DEMO_STOPPED)
			sleeper = d->board->client[i].pid;
	}
	start = s->begin_ns = clock_now_ns();
	s->end_ns = start + d->seconds * NS_PER_SEC;
	s->deadline_ns = d->deadline_ns;
	d->changes = (struct demo_changes){.fs = d->fs, .board = d->board, .until_ns = s->end_ns};
	if (pthread_create(&thread, NULL, changes_thread, &d->changes))
		return fail(-EAGAIN, "no thread for the changes");
	while (clock_now_ns() < s->end_ns) {
		uint64_t gone = (clock_now_ns() - start) * 100 / (s->end_ns - start);

		/* Stopped for the middle half, while it holds its leases. */
		if (!stopped && gone >= 25 && gone < 75) {
			kill(sleeper, SIGSTOP);
			stopped = true;
		} else if (stopped && gone >= 75) {
			kill(sleeper, SIGCONT);
			stopped = false;
		}
		demo_story_collect(s, d->fs);
		progress(d, start);
		usleep(POLL_US);
	}
	kill(sleeper, SIGCONT);
	pthread_join(thread, NULL);
	/* A second of reading in peace: what was taken comes back. */
	usleep(500000);
	clients_stop(d);
	demo_story_collect(s, d->fs);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\n");
	return 0;
}

static int export(struct demo *d)
{
	uint64_t start = clock_now_ns();
	char a[SIZE_TEXT_MAX];
	int err = demo_tree_export(d->fs, &d->result.exported);

	if (!err)
		say(d, "exported  %" PRIu64 " files, %s in %.1f s, tree sum %016" PRIx64 "\n", d->result.exported.files,
		    size_text(d->result.exported.bytes, a), seconds_since(start), d->result.exported.sum);
	return err;
}

static int demo_run(struct demo *d, unsigned *wrong)
{
	int err = make_pool(d);

	if (!err)
		err = serve(d);
	if (!err)
		err = import(d);
	if (!err)
		err = make_board(d);
	if (!err)
		err = clients_start(d);
	if (!err) {
		say(d,
		    "running   %u client processes for %" PRIu64 " s on the %" PRIu32
		    " largest files, layouts changing\n",
		    DEMO_CLIENTS, d->seconds, d->watched);
		err = run(d);
	}
	if (!err)
		err = export(d);
	if (err)
		return err;
	d->result.story = d->story;
	d->result.changes = &d->changes;
	d->result.board = d->board;
	d->result.input = d->input;
	*wrong = demo_report(&d->result, d->json);
	return 0;
}

static void demo_finish(struct demo *d)
{
	clients_stop(d);
	lh_server_stop(d->unix_server);
	lh_server_stop(d->tcp_server);
	lh_fs_close(d->fs);
	if (d->board_path[0])
		unlink(d->board_path);
	if (d->dir[0])
		rmdir(d->dir);
	free(d->story);
}

enum { OPT_INPUT = 256, OPT_SECONDS, OPT_DEADLINE, OPT_JSON, OPT_CLIENT, OPT_BOARD };

static const struct cli_option demo_options[] = {
    {OPT_INPUT, "input", "DIR", "the tree (default: one of this machine of at least 200 MB)"},
    {OPT_SECONDS, "seconds", "N", "how long layouts change (default 8)"},
    {OPT_DEADLINE, "deadline", "MS", "how long a holder may take to release (default 100)"},
    {OPT_JSON, "json", NULL, "the result as JSON on standard output"},
    {OPT_CLIENT, "client", "INDEX", NULL},
    {OPT_BOARD, "board", "PATH", NULL},
    {0},
};
static const struct cli_verb demo_verb = {
    .name = "demo",
    .operands = "",
    .text = "Imports a tree into a pool in memory, serves it, lets client processes read and write files directly, "
	    "with pinned and\n"
	    "with faulting leases, while layouts change under them, takes access back in time or by force, and checks "
	    "every byte.\n"
	    "Exit status: 0 all as promised, 1 a promise was broken or the demo could not run, 2 usage.\n",
    .example = "leasehold demo --input /usr/include --seconds 20\n",
    .options = demo_options,
};

static int client_entry(const char *index, const char *board)
{
	struct demo_board *b = board ? demo_board_map(board) : NULL;
	unsigned long i = strtoul(index, NULL, 10);

	if (!b || i >= DEMO_CLIENTS) {
		fprintf(stderr, "leasehold demo: --client is for the demo's own use\n");
		return 2;
	}
	return demo_client_main(b, (unsigned)i);
}

static uint64_t number_between(const char *what, uint64_t min, uint64_t max)
{
	uint64_t v = cli_number(optarg, what, max);

	if (v < min)
		cli_usage("%s %s is less than %llu", what, optarg, (unsigned long long)min);
	return v;
}

int verb_demo(int argc, char **argv)
{
	struct demo d = {.seconds = SECONDS, .deadline_ns = DEADLINE_NS};
	const char *client = NULL, *board = NULL;
	unsigned wrong = 0;
	int key, err;

	for (key = cli_next(&demo_verb, argc, argv); key != -1; key = cli_next(&demo_verb, argc, argv)) {
		if (key == OPT_INPUT)
			d.input = optarg;
		else if (key == OPT_SECONDS)
			d.seconds = number_between("--seconds", 2, SECONDS_MAX);
		else if (key == OPT_DEADLINE)
			d.deadline_ns = number_between("--deadline", 1, 10000) * NS_PER_MS;
		else if (key == OPT_CLIENT)
			client = optarg;
		else if (key == OPT_BOARD)
			board = optarg;
		else
			d.json = true;
	}
	/* Every forced revocation is an audit line; here they are counted and drawn instead. */
	setenv("LEASEHOLD_LOG", "error", 0);
	if (client)
		return client_entry(client, board);
	strcpy(d.dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/leasehold-demo-XXXXXX" : "/tmp/leasehold-demo-XXXXXX");
	d.story = calloc(1, sizeof(*d.story));
	if (!d.story || !mkdtemp(d.dir)) {
		fprintf(stderr, "leasehold demo: no directory for sockets: %s\n", strerror(errno));
		return 1;
	}
	err = demo_run(&d, &wrong);
	if (err)
		fprintf(stderr, "leasehold demo: %s (%s)\n", fail_text()[0] ? fail_text() : lh_error_text(),
			strerror(-err));
	demo_finish(&d);
	return err || wrong ? 1 : 0;
}
