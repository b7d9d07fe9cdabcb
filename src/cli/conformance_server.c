/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance: boards, starting this program again, and servers of our own, which can be killed and started anew. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/conformance.h"

#define READY_NS   (20 * NS_PER_SEC)
#define END_NS     (30 * NS_PER_SEC)
#define SESSION_NS (2 * NS_PER_SEC) /* a client that was killed is remembered so long */

extern char **environ;

void *cf_board_make(size_t size, int *fd)
{
	void *p;

	*fd = memfd_create("leasehold-conformance", 0); /* inherited by the children */
	if (*fd < 0)
		return NULL;
	if (ftruncate(*fd, (off_t)size) == 0) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
		if (p != MAP_FAILED)
			return p;
	}
	close(*fd);
	*fd = -1;
	return NULL;
}

void *cf_board_map(const char *fd, size_t size)
{
	int n = atoi(fd);
	struct stat st;
	void *p;

	if (fstat(n, &st) != 0 || (uint64_t)st.st_size < size)
		return NULL;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, n, 0);
	close(n);
	return p == MAP_FAILED ? NULL : p;
}

int cf_spawn(const char *part, int fd, pid_t *pid)
{
	char number[16];
	char *argv[] = {(char *)"leasehold",
			(char *)"conformance",
			(char *)"--part",
			(char *)part,
			(char *)"--board",
			number,
			NULL};

	snprintf(number, sizeof(number), "%d", fd);
	return -posix_spawn(pid, "/proc/self/exe", NULL, NULL, argv, environ);
}

/* --- the server's process --- */

static int serve(struct cf_server_board *b)
{
	struct lh_open_options open = {.size = sizeof(open),
				       .deadline_ns = b->deadline_ns,
				       .grace_ns = b->grace_ns,
				       .orphan_limit_ns = b->orphan_limit_ns};
	struct lh_server_options opt = {.size = sizeof(opt),
					.tcp_as_given = true,
					.tcp_uid = b->tcp_uid,
					.tcp_gid = b->tcp_gid,
					.socket_mode = b->socket_mode,
					.session_timeout_ns = b->session_timeout_ns};
	struct lh_server *by_unix, *by_tcp = NULL;
	struct lh_fs *fs;
	int err;

	err = lh_fs_open(b->pool, &open, &fs);
	if (err)
		return err;
	err = lh_server_start(fs, b->unix_address, &opt, &by_unix);
	if (!err && !b->no_tcp)
		err = lh_server_start(fs, b->tcp_address[0] ? b->tcp_address : "tcp:127.0.0.1:0", &opt, &by_tcp);
	if (err)
		return err;
	if (by_tcp != NULL)
		snprintf(b->tcp_address, sizeof(b->tcp_address), "%s", lh_server_address(by_tcp));
	atomic_store(&b->ready, 1);
	while (!atomic_load(&b->stop))
		cf_sleep(2 * NS_PER_MS);
	lh_server_stop(by_unix);
	if (by_tcp != NULL)
		lh_server_stop(by_tcp);
	return lh_fs_close(fs);
}

int cf_serve_main(const char *fd)
{
	struct cf_server_board *b = cf_board_map(fd, sizeof(*b));
	int err;

	if (b == NULL)
		return 2;
	err = serve(b);
	if (err) {
		snprintf(b->text, sizeof(b->text), "%s", lh_error_text());
		atomic_store(&b->ready, 2);
	}
	return err ? 1 : 0;
}

/* --- and its owner --- */

int cf_server_new(struct cf_server *s, const char *dir, const char *pool, const char *name)
{
	*s = (struct cf_server){.pid = -1, .fd = -1};
	s->board = cf_board_make(sizeof(*s->board), &s->fd);
	if (s->board == NULL)
		return -errno;
	snprintf(s->board->pool, sizeof(s->board->pool), "%s", pool);
	snprintf(s->board->unix_address, sizeof(s->board->unix_address), "unix:%s/%s", dir, name);
	s->board->deadline_ns = CF_DEADLINE;
	s->board->tcp_uid = geteuid();
	s->board->tcp_gid = getegid();
	s->board->socket_mode = 0666;
	s->board->session_timeout_ns = SESSION_NS;
	return 0;
}

int cf_server_start(struct cf_server *s)
{
	uint64_t end = clock_now_ns() + READY_NS;
	int err;

	atomic_store(&s->board->ready, 0);
	atomic_store(&s->board->stop, 0);
	err = cf_spawn("serve", s->fd, &s->pid);
	if (err)
		return err;
	while (atomic_load(&s->board->ready) == 0) {
		cf_sleep(NS_PER_MS);
		if (clock_now_ns() > end || waitpid(s->pid, NULL, WNOHANG) == s->pid) {
			s->pid = atomic_load(&s->board->ready) ? s->pid : -1;
			break;
		}
	}
	return atomic_load(&s->board->ready) == 1 ? 0 : -ECHILD;
}

int cf_server_stop(struct cf_server *s)
{
	uint64_t end = clock_now_ns() + END_NS;
	int status = 0;

	if (s->pid < 0)
		return -1;
	atomic_store(&s->board->stop, 1);
	while (waitpid(s->pid, &status, WNOHANG) == 0) {
		cf_sleep(NS_PER_MS);
		if (clock_now_ns() > end)
			kill(s->pid, SIGKILL);
	}
	s->pid = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void cf_server_kill(struct cf_server *s)
{
	if (s->pid < 0)
		return;
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = -1;
}

void cf_server_free(struct cf_server *s)
{
	cf_server_kill(s);
	if (s->board != NULL)
		munmap(s->board, sizeof(*s->board));
	if (s->fd >= 0)
		close(s->fd);
	s->board = NULL;
	s->fd = -1;
}

/* --- of a case --- */

void cf_scratch(struct cf *c, struct cf_server *s, uint64_t bytes)
{
	struct lh_make_options make = {.size = sizeof(make), .pool_size = bytes};
	char pool[256], name[32];

	snprintf(pool, sizeof(pool), "%s/scratch.%d.%u", c->config->dir, (int)getpid(), ++c->serial);
	snprintf(name, sizeof(name), "x%d.%u", (int)getpid(), c->serial);
	OK(c, lh_pool_make(pool, &make));
	NEED(c, cf_server_new(s, c->config->dir, pool, name) == 0, "no memory for a board");
}

const char *cf_scratch_address(struct cf *c, const struct cf_server *s)
{
	return c->variant.holder == CF_END_TCP ? s->board->tcp_address : s->board->unix_address;
}

void cf_scratch_end(struct cf *c, struct cf_server *s)
{
	cf_server_kill(s);
	unlink(s->board->pool);
	unlink(s->board->unix_address + strlen("unix:"));
	cf_server_free(s);
}
