/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conformance: the process that makes the cases of one rule over one way. The results of a rule are numbered in a fixed
 * order (case, variant), so that another worker can go on behind a case that ended this one.
 *
 * After every case nothing of it may be left: no lease, no pinned byte, no session (L18, L24), where we own the server.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define LEFT_NS       (10 * NS_PER_SEC)
#define VARIANTS_MAX  4u
#define NAMES_MAX     64u
#define EXCLUSIVE_MAX (30 * NS_PER_SEC)

static const struct {
	unsigned count;
	struct cf_variant v[2];
} variants[CF_WAYS] = {
    [CF_PROCESS] = {2, {{"local", CF_END_LOCAL, CF_END_RING, false}, {"stream", CF_END_STREAM, CF_END_LOCAL, false}}},
    [CF_UNIX] = {2, {{"ring", CF_END_RING, CF_END_RING, false}, {"stream", CF_END_STREAM, CF_END_STREAM, false}}},
    [CF_TCP] = {1, {{"tcp", CF_END_TCP, CF_END_TCP, false}}},
};

/* --- the target --- */

static int open_local(struct cf *c)
{
	struct lh_open_options open = {
	    .size = sizeof(open), .deadline_ns = CF_DEADLINE, .exclusive_max_ns = EXCLUSIVE_MAX};
	struct lh_server_options opt = {.size = sizeof(opt),
					.tcp_as_given = true,
					.tcp_uid = geteuid(),
					.tcp_gid = getegid(),
					.socket_mode = 0666,
					.session_timeout_ns = 2 * NS_PER_SEC};
	char address[200];
	int err;

	snprintf(address, sizeof(address), "unix:%s/p%d", c->config->dir, (int)getpid());
	err = lh_fs_open(c->config->pool, &open, &c->local);
	if (!err)
		err = lh_server_start(c->local, address, &opt, &c->by_unix);
	if (!err)
		err = lh_server_start(c->local, "tcp:127.0.0.1:0", &opt, &c->by_tcp);
	return err;
}

static int close_local(struct cf *c)
{
	int err;

	if (c->local == NULL)
		return 0;
	lh_server_stop(c->by_unix);
	lh_server_stop(c->by_tcp);
	err = lh_fs_close(c->local);
	c->local = NULL;
	return err;
}

/* A session that watches; its own existence is known to nobody else. */
static int watcher(struct cf *c, struct lh_fs **out)
{
	struct lh_open_options o = {.size = sizeof(o), .fabric = LH_FABRIC_NONE};

	if (c->local != NULL) {
		*out = c->local;
		return 0;
	}
	return lh_fs_open(cf_address(c, c->config->way == CF_TCP ? CF_END_TCP : CF_END_RING), &o, out);
}

static int remove_files(struct lh_fs *fs, const char *work)
{
	struct lh_dir *dir;
	struct lh_dirent e;
	char path[NAMES_MAX][512];
	unsigned n;
	int err;

	/* In pieces: what is removed while it is listed may be listed or not. */
	do {
		n = 0;
		err = lh_dir_open(fs, work, &dir);
		if (err)
			return err;
		while (n < NAMES_MAX && lh_dir_next(dir, &e) == 1)
			snprintf(path[n++], sizeof(path[0]), "%s/%s", work, e.name);
		lh_dir_close(dir);
		for (unsigned i = 0; i < n; i++) {
			err = lh_path_unlink(fs, path[i]);
			if (err == -EISDIR || err == -EPERM)
				err = lh_path_rmdir(fs, path[i]);
			if (err && err != -ENOENT)
				return err;
		}
	} while (n == NAMES_MAX);
	return 0;
}

/* --- what is left behind --- */

struct left {
	struct lh_fs *fs;
	uint64_t sessions; /* ours and, in a server, the filesystem's own */
	struct lh_lease_stats s;
};

static bool nothing_left(void *arg)
{
	struct left *l = arg;

	l->s.size = sizeof(l->s);
	return lh_fs_lease_stats(l->fs, &l->s) == 0 && l->s.leases == 0 && l->s.pinned_bytes == 0 &&
	       l->s.sessions <= l->sessions;
}

static void clean(struct cf *c, struct lh_fs *watch)
{
	struct left l = {.fs = watch, .sessions = c->local != NULL ? 1 : 2};

	cf_give_back(c);
	if (c->config->owned && !cf_until(nothing_left, &l, LEFT_NS))
		cf_fail(c, "L18, L24: the case left %llu leases, %llu pinned bytes, %llu sessions behind",
			(unsigned long long)l.s.leases, (unsigned long long)l.s.pinned_bytes,
			(unsigned long long)l.s.sessions - l.sessions);
	remove_files(watch, c->config->work);
}

/* --- cases and variants --- */

/* Whether this case is made in this variant at all. */
static bool applies(const struct cf_config *g, const struct cf_case *k, const struct cf_variant *v, unsigned nth)
{
	bool local = v->holder == CF_END_LOCAL;

	if (v->faulting ? !(k->flags & CF_FAULTING) || g->no_faulting : g->no_pinned && (k->flags & CF_FAULTING))
		return false;
	if ((k->flags & CF_REMOTE && local) || (k->flags & CF_LOCAL && !local))
		return false;
	if (k->flags & CF_STREAM && (local || v->holder == CF_END_RING))
		return false;
	if ((g->no_ring && v->holder == CF_END_RING) || (g->no_stream && v->holder == CF_END_STREAM))
		return false;
	if (k->flags & CF_HERE && g->way != CF_PROCESS)
		return false;
	if (k->flags & CF_OWN && g->way == CF_PROCESS)
		return false;
	return !(k->flags & CF_ONCE) || nth == 0;
}

static const char *why_not(const struct cf *c, const struct cf_case *k)
{
	if (k->flags & CF_OWN && !c->config->has_path)
		return "needs to own the server: give a POOL";
	if (k->flags & CF_ALONE && !c->config->owned)
		return "needs a target that nobody else uses: give a POOL";
	if (k->flags & CF_ROOT && geteuid() != 0)
		return "needs root, to become another user";
	if (k->flags & CF_ROOT && !c->config->owned)
		return "needs a server of this machine that is ours: give a POOL";
	return NULL;
}

static void run_case(struct cf *c, const struct cf_case *k, struct lh_fs *watch)
{
	uint64_t began = clock_now_ns();
	const char *why = why_not(c, k);

	c->now = k;
	c->result->result = CF_RUNNING;
	if (why != NULL)
		cf_skip(c, "%s", why);
	c->a = cf_session(c, c->variant.holder);
	c->b = cf_session(c, c->variant.changer);
	if (k->flags & CF_ADMIN && !(cf_admin(c, c->a) && cf_admin(c, c->b)))
		cf_skip(c, "needs an administrator's session (root or the pool's owner)");
	k->run(c);
	clean(c, watch);
	c->result->took_ns = clock_now_ns() - began;
	c->result->result = CF_PASSED;
}

/* The next result's place; false: before the first one that this worker makes. */
static bool next_result(struct cf *c, uint32_t *n, uint32_t index)
{
	struct cf_board *b = c->board;
	struct cf_case_result *r = &b->result[*n];

	assert(*n < CF_CASES_MAX);
	if ((*n)++ < b->first)
		return false;
	c->result = r;
	*r = (struct cf_case_result){.index = index};
	snprintf(r->variant, sizeof(r->variant), "%s%s", c->variant.name, c->variant.faulting ? ", faulting" : "");
	atomic_store(&b->count, *n);
	return true;
}

static void run_rule(struct cf *c, const struct cf_rule *rule, struct lh_fs *watch)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < rule->count; i++) {
		unsigned nth = 0;

		for (unsigned v = 0; v < 2 * variants[c->config->way].count; v++) {
			c->variant = variants[c->config->way].v[v / 2];
			c->variant.faulting = v % 2;
			if (!applies(c->config, &rule->cases[i], &c->variant, nth))
				continue;
			nth++;
			if (next_result(c, &n, i))
				run_case(c, &rule->cases[i], watch);
		}
	}
}

/* What cannot even begin is the first result's failure. */
static int broken(struct cf *c, const char *what)
{
	struct cf_board *b = c->board;
	uint32_t n = b->first < CF_CASES_MAX ? b->first : 0;

	b->result[n] = (struct cf_case_result){.result = CF_FAILED};
	snprintf(b->result[n].saw, CF_SAW_MAX, "%s: %s", what, lh_error_text());
	atomic_store(&b->count, n + 1);
	return 1;
}

int cf_worker_main(struct cf_board *board)
{
	static struct cf c = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct lh_fs *watch;
	int err;

	c.board = board;
	c.config = &board->config;
	c.seed = (board->config.seed ^ (uint64_t)board->rule << 32 ^ board->first) | 1;
	if (c.config->way == CF_PROCESS && open_local(&c))
		return broken(&c, "the pool cannot be opened and served");
	if (watcher(&c, &watch))
		return broken(&c, "no session");
	err = lh_path_mkdir(watch, c.config->work, 0777);
	if (!err)
		err = lh_path_chmod(watch, c.config->work, 0777);
	if (err && err != -EEXIST)
		return broken(&c, "no directory of our own can be made (see --dir)");
	remove_files(watch, c.config->work);
	if (board->rule > 0)
		run_rule(&c, cf_rule(board->rule), watch);
	remove_files(watch, c.config->work);
	if (board->rule == 0 || c.local != NULL)
		lh_path_rmdir(watch, c.config->work);
	if (c.local == NULL)
		lh_fs_close(watch);
	if (close_local(&c))
		return broken(&c, "closing the pool");
	return 0;
}
