/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The change feed: see watch.h. WATCH is innermost but for SEND, so that whoever changes something may note it under
 * any lock of the fs.
 *
 * An event that nobody has read yet is not put there twice: who writes in a loop fills no ring. `seen` tells which
 * events somebody has read; only younger ones may stand for a change that happens now.
 */
#include "fs/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/sys/queue.h>

#include "fs/core.h"

/* How far an equal event is looked for, and how far behind a watch may be to be told exactly what it is behind with. */
#define MERGE_LOOK  8u
#define BEHIND_LOOK 512u
#define BEHIND_ALL  (FS_BEHIND_DATA | FS_BEHIND_ATTR | FS_BEHIND_NAMES)
/* What keeps a writer in the list of conflicts (lease_conflicts). */
#define WRITERS (LEASE_WRITE | LEASE_EXCLUSIVE | LEASE_FAULTING)

struct event {
	uint64_t ino;
	uint64_t maker; /* a session's number; 0: nobody's */
	uint8_t type;   /* enum fs_change_type */
	uint8_t name_len;
	char name[FS_NAME_MAX + 1];
};

struct fs_watch {
	LIST_ENTRY(fs_watch) entry;
	struct fs *fs;
	const struct lease_session *session;
	uint64_t number; /* of the session */
	void (*ready)(void *ctx);
	void *ctx;

	/* Under WATCH. */
	uint64_t at;      /* the next event to read */
	bool idle;        /* ready is to be called */
	bool stopped;     /* nobody waits any more */
	unsigned sleeps;  /* in fs_watch_wait */
	struct event now; /* type 0: what was returned last is done with */

	/* DATA of files with writers, to be told before anything else. Written by the reader under WATCH. */
	uint64_t *writers;
	size_t writers_at, writers_n;
};

struct watches {
	struct lock lock;
	struct cond wake;
	struct event *ring; /* NULL until somebody watches */
	uint64_t head;      /* events ever */
	uint64_t seen;      /* somebody has read all before this one */
	LIST_HEAD(, fs_watch) list;
};

int watches_init(struct fs *fs)
{
	struct watches *all = calloc(1, sizeof(*all));

	fs->watches = all;
	if (!all)
		return -ENOMEM;
	lock_init(&all->lock, RANK_WATCH);
	cond_init(&all->wake);
	LIST_INIT(&all->list);
	return 0;
}

void watches_fini(struct fs *fs)
{
	struct watches *all = fs->watches;

	if (!all)
		return;
	assert(LIST_EMPTY(&all->list));
	cond_destroy(&all->wake);
	lock_destroy(&all->lock);
	free(all->ring);
	free(all);
	fs->watches = NULL;
}

static struct event *event_at(const struct watches *all, uint64_t at)
{
	return &all->ring[at % FS_WATCH_RING];
}

/* --- noting --------------------------------------------------------------------------------------------------------
 */

static bool same(const struct event *a, const struct event *b)
{
	return a->ino == b->ino && a->maker == b->maker && a->type == b->type && a->name_len == b->name_len &&
	       memcmp(a->name, b->name, a->name_len) == 0;
}

/* Holds WATCH. */
static bool is_waiting(const struct watches *all, const struct event *e)
{
	for (uint64_t at = all->head, n = 0; at > all->seen && n < MERGE_LOOK; n++) {
		if (same(event_at(all, --at), e))
			return true;
	}
	return false;
}

/* Holds WATCH. Those that the event concerns and that have nothing to do. */
static void wake(struct watches *all, uint64_t maker)
{
	bool sleeps = false;
	struct fs_watch *w;

	LIST_FOREACH (w, &all->list, entry) {
		if (!w->idle || (maker && w->number == maker))
			continue;
		w->idle = false;
		sleeps |= w->sleeps > 0;
		if (w->ready)
			w->ready(w->ctx);
	}
	if (sleeps)
		cond_wake_all(&all->wake);
}

static void put(struct fs *fs, const struct event *e)
{
	struct watches *all = fs->watches;
	struct event *to;

	lock_take(&all->lock);
	if (!LIST_EMPTY(&all->list) && !is_waiting(all, e)) {
		to = event_at(all, all->head++);
		/* The name's end is not looked at. */
		memcpy(to, e, offsetof(struct event, name) + e->name_len);
		wake(all, e->maker);
	}
	lock_drop(&all->lock);
}

static uint64_t maker_of(const struct fs_caller *who)
{
	return who && who->session ? lease_session_id(who->session) : 0;
}

/* The only one who watches does it himself. */
static bool is_own(struct fs *fs, uint64_t maker)
{
	return maker && maker == atomic_load_explicit(&fs->watched_by, memory_order_relaxed);
}

void watch_note(struct fs *fs, uint64_t ino, unsigned what, const struct fs_caller *who)
{
	uint64_t maker = maker_of(who);

	if (is_own(fs, maker))
		return;
	/* New content has new times as well: DATA says both. */
	put(fs,
	    &(struct event){.ino = ino, .maker = maker, .type = what & CHANGED_DATA ? FS_CHANGE_DATA : FS_CHANGE_ATTR});
}

void watch_note_name(struct fs *fs, uint64_t dir, const char *name, unsigned len, const struct fs_caller *who)
{
	struct event e = {.ino = dir, .type = FS_CHANGE_ENTRY, .name_len = (uint8_t)min_u64(len, FS_NAME_MAX)};

	e.maker = maker_of(who);
	if (is_own(fs, e.maker))
		return;
	memcpy(e.name, name, e.name_len);
	put(fs, &e);
}

void watch_writer(void *ctx, uint64_t object, uint64_t session)
{
	struct fs *fs = ctx;

	if (is_watched(fs) && !is_own(fs, session))
		put(fs, &(struct event){.ino = object, .maker = session, .type = FS_CHANGE_DATA});
}

/* --- watching ------------------------------------------------------------------------------------------------------
 */

struct writers {
	uint64_t session; /* not its own */
	uint64_t *list;
	size_t n, room;
	int err;
};

static void writer_add(void *ctx, const struct lease_info *info)
{
	struct writers *l = ctx;

	if (l->err || info->mode != LEASE_WRITE || info->session == l->session)
		return;
	if (l->n > 0 && l->list[l->n - 1] == info->object)
		return;
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 16;
		uint64_t *list = reallocarray(l->list, room, sizeof(*list));

		l->err = list ? 0 : -ENOMEM;
		if (l->err)
			return;
		l->list = list;
		l->room = room;
	}
	l->list[l->n++] = info->object;
}

/* Without locks: what others write to now. */
static int writers_look(struct fs_watch *w)
{
	struct writers l = {.session = w->number};
	int err = lease_list(w->fs->arbiter, 0, 0, writer_add, &l);

	err = err ? err : l.err;
	if (err) {
		free(l.list);
		return err;
	}
	lock_take(&w->fs->watches->lock);
	free(w->writers);
	w->writers = l.list;
	w->writers_n = l.n;
	w->writers_at = 0;
	lock_drop(&w->fs->watches->lock);
	return 0;
}

/* Holds WATCH. Who is alone, and what his own calls need not note. */
static void sole_set(struct fs *fs)
{
	const struct fs_watch *first = LIST_FIRST(&fs->watches->list);
	bool alone = first && !LIST_NEXT(first, entry);

	atomic_store_explicit(&fs->watched_by, alone ? first->number : 0, memory_order_relaxed);
}

static int ring_make(struct watches *all)
{
	struct event *ring = calloc(FS_WATCH_RING, sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	lock_take(&all->lock);
	if (!all->ring) {
		all->ring = ring;
		ring = NULL;
	}
	lock_drop(&all->lock);
	free(ring);
	return 0;
}

int fs_watch_add(struct fs *fs, const struct lease_session *session, void (*ready)(void *ctx), void *ctx,
		 struct fs_watch **out)
{
	struct watches *all = fs->watches;
	struct fs_watch *w = calloc(1, sizeof(*w));
	int err = w ? ring_make(all) : -ENOMEM;
	bool idle;

	if (err) {
		free(w);
		return err;
	}
	w->fs = fs;
	w->session = session;
	w->number = session ? lease_session_id(session) : 0;
	w->ready = ready;
	w->ctx = ctx;
	lock_take(&all->lock);
	w->at = all->head;
	LIST_INSERT_HEAD(&all->list, w, entry);
	sole_set(fs);
	atomic_fetch_add_explicit(&fs->watched, 1, memory_order_relaxed);
	lock_drop(&all->lock);
	/* After that, so that no writer is missed. */
	err = writers_look(w);
	if (err) {
		fs_watch_remove(w);
		return err;
	}
	lock_take(&all->lock);
	idle = w->writers_n == 0 && w->at == all->head;
	w->idle = idle;
	lock_drop(&all->lock);
	if (!idle && ready)
		ready(ctx);
	*out = w;
	return 0;
}

void fs_watch_remove(struct fs_watch *w)
{
	struct watches *all;

	if (!w)
		return;
	all = w->fs->watches;
	lock_take(&all->lock);
	assert(w->sleeps == 0);
	LIST_REMOVE(w, entry);
	sole_set(w->fs);
	atomic_fetch_sub_explicit(&w->fs->watched, 1, memory_order_relaxed);
	lock_drop(&all->lock);
	free(w->writers);
	free(w);
}

/* Holds WATCH. */
static bool is_lost(const struct fs_watch *w)
{
	return w->fs->watches->head - w->at > FS_WATCH_RING;
}

/* Holds WATCH. Takes the next event that is not the session's own into w->now. */
static bool take(struct fs_watch *w)
{
	struct watches *all = w->fs->watches;
	const struct event *e;
	bool found = false;

	while (!found && w->writers_at < w->writers_n) {
		w->now = (struct event){.ino = w->writers[w->writers_at++], .type = FS_CHANGE_DATA};
		found = true;
	}
	if (!found && is_lost(w)) {
		w->at = all->head;
		w->now = (struct event){.type = FS_CHANGE_ALL};
		found = true;
	}
	while (!found && w->at < all->head) {
		e = event_at(all, w->at++);
		found = !w->number || e->maker != w->number;
		if (found)
			memcpy(&w->now, e, offsetof(struct event, name) + e->name_len);
	}
	all->seen = max_u64(all->seen, w->at);
	return found;
}

int fs_watch_next(struct fs_watch *w, struct fs_change *out)
{
	struct watches *all = w->fs->watches;
	bool found;

	lock_take(&all->lock);
	w->now.type = 0;
	found = take(w);
	w->idle = !found;
	lock_drop(&all->lock);
	if (!found)
		return 0;
	/* Only this thread writes to now. */
	out->type = (enum fs_change_type)w->now.type;
	out->ino = w->now.ino;
	out->writers = false;
	out->name_len = out->type == FS_CHANGE_ENTRY ? w->now.name_len : 0;
	memcpy(out->name, w->now.name, out->name_len);
	out->name[out->name_len] = '\0';
	if (out->type == FS_CHANGE_DATA)
		out->writers = itable_leased(w->fs, out->ino, WRITERS, w->session);
	if (out->type == FS_CHANGE_ALL)
		out->writers = writers_look(w) != 0;
	return 1;
}

void fs_watch_lose(struct fs_watch *w)
{
	struct watches *all = w->fs->watches;

	lock_take(&all->lock);
	w->at = all->head - FS_WATCH_RING - 1;
	w->writers_n = w->writers_at = 0;
	lock_drop(&all->lock);
}

bool fs_watch_wait(struct fs_watch *w)
{
	struct watches *all = w->fs->watches;
	bool stopped;

	lock_take(&all->lock);
	w->sleeps++;
	while (w->idle && !w->stopped)
		cond_wait(&all->wake, &all->lock);
	w->sleeps--;
	stopped = w->stopped;
	lock_drop(&all->lock);
	return !stopped;
}

void fs_watch_stop(struct fs_watch *w)
{
	struct watches *all = w->fs->watches;

	lock_take(&all->lock);
	w->stopped = true;
	cond_wake_all(&all->wake);
	lock_drop(&all->lock);
}

static unsigned behind_with(const struct event *e, uint64_t ino)
{
	switch ((enum fs_change_type)e->type) {
	case FS_CHANGE_DATA:
		return e->ino == ino ? FS_BEHIND_DATA | FS_BEHIND_ATTR : 0;
	case FS_CHANGE_ATTR:
		return e->ino == ino ? FS_BEHIND_ATTR : 0;
	case FS_CHANGE_ENTRY:
		return FS_BEHIND_NAMES | (e->ino == ino ? FS_BEHIND_ATTR : 0u);
	case FS_CHANGE_ALL:
		return BEHIND_ALL;
	}
	return 0; /* done with */
}

unsigned fs_watch_behind(struct fs_watch *w, uint64_t ino)
{
	struct watches *all = w->fs->watches;
	unsigned behind;

	lock_take(&all->lock);
	behind = behind_with(&w->now, ino);
	if (all->head - w->at > BEHIND_LOOK)
		behind = BEHIND_ALL;
	for (uint64_t at = w->at; at < all->head && behind != BEHIND_ALL; at++) {
		const struct event *e = event_at(all, at);

		if (!w->number || e->maker != w->number)
			behind |= behind_with(e, ino);
	}
	/* Of writers he has not heard yet. */
	if (w->writers_at < w->writers_n)
		behind |= FS_BEHIND_DATA | FS_BEHIND_ATTR;
	lock_drop(&all->lock);
	return behind;
}
