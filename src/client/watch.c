/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lh_fs_watch on a server (P74, P75): whoever reads the connection keeps what comes, a thread tells the application,
 * with no lock held, so that it may call what it likes.
 *
 * What is kept is bounded. When it is not enough, or the session is made anew, all of it becomes one ALL; before that
 * is told the thread asks the server to begin anew, so that what others write to is told after it. Until ALL was told,
 * everything counts as behind: no change can hide between the two sessions.
 */
#include "client/client.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define CHANGES_MAX 4096u
/* Farther behind than this, it is not looked with what. */
#define BEHIND_LOOK 512u
#define BEHIND_ALL  (LH_BEHIND_DATA | LH_BEHIND_ATTR | LH_BEHIND_NAMES)
#define WATCH_STACK ((size_t)256 << 10)
#define AGAIN_NS    NS_PER_SEC

struct kept {
	uint64_t ino;
	uint8_t type; /* enum lh_change_type; 0: nothing */
	bool writers;
	uint8_t name_len;
	char name[PROTO_NAME_MAX];
};

struct client_watch {
	struct lh_fs *fs;
	void (*each)(void *ctx, const struct lh_change *change);
	void *ctx;
	pthread_t thread;
	bool begun, ending; /* under lh_fs.lock */

	struct lock lock; /* PIN */
	struct cond wake;
	bool stop;
	bool all;        /* before what is kept: ALL, and begin anew */
	struct kept now; /* what each() runs with */
	uint64_t head, tail;
	struct kept ring[CHANGES_MAX];
};

static_assert(sizeof(((struct lh_change *)NULL)->name) == PROTO_NAME_MAX + 1, "the public header's names are as long");

/* --- keeping: in the reader's thread --- */

/* Holds the lock. */
static void lose(struct client_watch *w)
{
	w->all = true;
	w->tail = w->head;
	cond_wake_all(&w->wake);
}

/* Holds the lock. */
static void keep(struct client_watch *w, const struct proto_change *c)
{
	struct kept *k = &w->ring[w->head % CHANGES_MAX];

	if (w->head - w->tail == CHANGES_MAX) {
		lose(w);
		return;
	}
	k->type = (uint8_t)c->type;
	k->ino = c->ino;
	k->writers = c->writers;
	k->name_len = (uint8_t)c->name.len;
	memcpy(k->name, c->name.bytes, c->name.len);
	w->head++;
}

void client_changed(struct lh_fs *fs, const struct proto_changed *changed)
{
	struct client_watch *w = fs->watch;
	struct proto_change c;
	uint32_t cursor = 0;

	if (!w)
		return;
	lock_take(&w->lock);
	while (proto_change_next(&changed->changes, &cursor, &c))
		keep(w, &c);
	cond_wake_all(&w->wake);
	lock_drop(&w->lock);
}

void client_watch_lost(struct lh_fs *fs)
{
	struct client_watch *w = fs->watch;

	if (!w)
		return;
	lock_take(&w->lock);
	lose(w);
	lock_drop(&w->lock);
}

/* --- telling: in the watch's thread --- */

static int ask(struct lh_fs *fs, bool on)
{
	union proto_body body = {.watch = {.on = on}};

	if (!(atomic_load(&fs->features) & PROTO_FEATURE_WATCH))
		return fail(-EOPNOTSUPP, "%s: this server does not tell what others change; update it",
			    fs->address.text);
	return conn_do(fs->conn, PROTO_WATCH, 0, &body);
}

/*
 * The server was asked to begin anew and did not: until it does, ALL is all there is to tell, again and again, and
 * nothing is good. Holds the lock.
 */
static void wait_again(struct client_watch *w)
{
	uint64_t until = clock_now_ns() + AGAIN_NS;

	while (!w->stop && cond_wait_until(&w->wake, &w->lock, until) == 0)
		;
	w->all = true;
}

/* Takes the next one into w->now. Holds the lock. false: stopped. */
static bool take(struct client_watch *w)
{
	while (!w->stop && !w->all && w->tail == w->head)
		cond_wait(&w->wake, &w->lock);
	if (w->stop)
		return false;
	if (w->all) {
		w->now.type = LH_CHANGE_ALL;
		w->now.ino = 0;
		w->now.writers = false;
		w->now.name_len = 0;
		w->all = false;
	} else {
		w->now = w->ring[w->tail++ % CHANGES_MAX];
	}
	return true;
}

static void *tell(void *arg)
{
	struct client_watch *w = arg;
	struct lh_change change;
	int err;

	lock_take(&w->lock);
	while (take(w)) {
		change = (struct lh_change){
		    .size = sizeof(change), .type = w->now.type, .ino = w->now.ino, .writers = w->now.writers};
		memcpy(change.name, w->now.name, w->now.name_len);
		lock_drop(&w->lock);
		err = change.type == LH_CHANGE_ALL ? ask(w->fs, true) : 0;
		w->each(w->ctx, &change);
		lock_take(&w->lock);
		if (err && err != -ENOTCONN)
			wait_again(w);
		w->now.type = 0;
	}
	lock_drop(&w->lock);
	return NULL;
}

/* --- beginning and end --- */

static int thread_start(struct client_watch *w)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WATCH_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&w->thread, &attr, tell, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

static void watch_free(struct client_watch *w)
{
	cond_destroy(&w->wake);
	lock_destroy(&w->lock);
	free(w);
}

static int watch_begin(struct lh_fs *fs, struct client_watch *w)
{
	bool busy;
	int err;

	lock_take(&fs->lock);
	busy = fs->watch != NULL;
	if (!busy)
		fs->watch = w;
	lock_drop(&fs->lock);
	if (busy)
		return fail(-EBUSY, "the filesystem's changes are watched already: one watch a session");
	err = ask(fs, true);
	if (!err)
		err = thread_start(w);
	lock_take(&fs->lock);
	w->begun = !err;
	if (err)
		fs->watch = NULL;
	lock_drop(&fs->lock);
	return err;
}

int client_watch_end(struct lh_fs *fs)
{
	struct client_watch *w;
	bool mine = false;
	int err = 0;

	lock_take(&fs->lock);
	w = fs->watch;
	if (w && w->begun && pthread_equal(pthread_self(), w->thread)) {
		err = fail(-EDEADLK, "a watch cannot be ended by what it calls: that would wait for itself");
	} else if (w && w->ending) {
		while (fs->watch == w)
			cond_wait(&fs->unused, &fs->lock);
	} else if (w && w->begun) {
		mine = w->ending = true;
	}
	lock_drop(&fs->lock);
	if (!mine)
		return err;
	lock_take(&w->lock);
	w->stop = true;
	cond_wake_all(&w->wake);
	lock_drop(&w->lock);
	pthread_join(w->thread, NULL);
	/* It is over here, whatever the server says to that. */
	(void)ask(fs, false);
	lock_take(&fs->lock);
	fs->watch = NULL;
	cond_wake_all(&fs->unused);
	lock_drop(&fs->lock);
	watch_free(w);
	fail_clear();
	return 0;
}

int client_fs_watch(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_change *change), void *ctx)
{
	struct client_watch *w;
	int err;

	if (!each)
		return client_watch_end(fs);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->fs = fs;
	w->each = each;
	w->ctx = ctx;
	lock_init(&w->lock, RANK_PIN);
	cond_init(&w->wake);
	err = watch_begin(fs, w);
	if (err)
		watch_free(w);
	return err;
}

static unsigned behind_with(const struct kept *k, uint64_t ino)
{
	switch (k->type) {
	case LH_CHANGE_DATA:
		return k->ino == ino ? LH_BEHIND_DATA | LH_BEHIND_ATTR : 0;
	case LH_CHANGE_ATTR:
		return k->ino == ino ? LH_BEHIND_ATTR : 0;
	case LH_CHANGE_ENTRY:
		return LH_BEHIND_NAMES | (k->ino == ino ? LH_BEHIND_ATTR : 0u);
	case LH_CHANGE_ALL:
		return BEHIND_ALL;
	default:
		return 0; /* nothing */
	}
}

unsigned client_fs_watch_behind(struct lh_fs *fs, uint64_t ino)
{
	struct client_watch *w;
	unsigned behind = 0;

	lock_take(&fs->lock);
	w = fs->watch;
	if (w) {
		lock_take(&w->lock);
		behind = w->all || w->head - w->tail > BEHIND_LOOK ? BEHIND_ALL : behind_with(&w->now, ino);
		for (uint64_t at = w->tail; at < w->head && behind != BEHIND_ALL; at++)
			behind |= behind_with(&w->ring[at % CHANGES_MAX], ino);
		lock_drop(&w->lock);
	}
	lock_drop(&fs->lock);
	return behind;
}
