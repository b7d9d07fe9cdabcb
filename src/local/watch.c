/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lh_fs_watch in this process: a thread that pulls what others changed from the fs's feed and tells the application,
 * with no lock held, so that it may call what it likes. lh_fs.watch is under `table`; a watch leaves it when its thread
 * has ended, so that whoever finds it there may use it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/watch.h"
#include "local/local.h"

struct local_watch {
	struct lh_fs *fs;
	struct fs_watch *feed;
	void (*each)(void *ctx, const struct lh_change *change);
	void *ctx;
	pthread_t thread;
	bool ending; /* under table */
};

static_assert(sizeof(((struct lh_change *)NULL)->name) == FS_NAME_MAX + 1, "the public header's names are as long");

static void change_of(const struct fs_change *c, struct lh_change *out)
{
	*out = (struct lh_change){.size = sizeof(*out), .ino = c->ino, .writers = c->writers};
	switch (c->type) {
	case FS_CHANGE_DATA:
		out->type = LH_CHANGE_DATA;
		break;
	case FS_CHANGE_ATTR:
		out->type = LH_CHANGE_ATTR;
		break;
	case FS_CHANGE_ENTRY:
		out->type = LH_CHANGE_ENTRY;
		memcpy(out->name, c->name, c->name_len);
		break;
	case FS_CHANGE_ALL:
		out->type = LH_CHANGE_ALL;
		break;
	}
}

static void *tell(void *ctx)
{
	struct local_watch *w = ctx;
	struct lh_change change;
	struct fs_change c;

	while (fs_watch_wait(w->feed)) {
		if (fs_watch_next(w->feed, &c) == 0)
			continue;
		change_of(&c, &change);
		w->each(w->ctx, &change);
	}
	return NULL;
}

static int watch_begin(struct lh_fs *fs, struct local_watch *w)
{
	int err = fs_watch_add(fs->fs, fs->session, NULL, NULL, &w->feed);

	if (err)
		return err;
	lock_take(&fs->table);
	if (fs->watch)
		err = fail(-EBUSY, "the filesystem's changes are watched already: one watch a session");
	else
		err = -pthread_create(&w->thread, NULL, tell, w);
	if (!err)
		fs->watch = w;
	lock_drop(&fs->table);
	if (err)
		fs_watch_remove(w->feed);
	return err;
}

/* Holds table. Another thread ends it: it has ended on return. */
static void wait_for_end(struct lh_fs *fs)
{
	const struct local_watch *w = fs->watch;

	while (fs->watch == w)
		cond_wait(&fs->watch_over, &fs->table);
}

int local_watch_end(struct lh_fs *fs)
{
	struct local_watch *w;
	bool mine = false;
	int err = 0;

	lock_take(&fs->table);
	w = fs->watch;
	if (w && pthread_equal(pthread_self(), w->thread))
		err = fail(-EDEADLK, "a watch cannot be ended by what it calls: that would wait for itself");
	else if (w && w->ending)
		wait_for_end(fs);
	else if (w)
		mine = w->ending = true;
	lock_drop(&fs->table);
	if (!mine)
		return err;
	fs_watch_stop(w->feed);
	pthread_join(w->thread, NULL);
	lock_take(&fs->table);
	fs->watch = NULL;
	cond_wake_all(&fs->watch_over);
	lock_drop(&fs->table);
	fs_watch_remove(w->feed);
	free(w);
	return 0;
}

int local_fs_watch(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_change *change), void *ctx)
{
	struct local_watch *w;
	int err;

	if (!each)
		return local_watch_end(fs);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->fs = fs;
	w->each = each;
	w->ctx = ctx;
	err = watch_begin(fs, w);
	if (err)
		free(w);
	return err;
}

unsigned local_fs_watch_behind(struct lh_fs *fs, uint64_t ino)
{
	unsigned behind = 0;

	static_assert(FS_BEHIND_DATA == LH_BEHIND_DATA && FS_BEHIND_ATTR == LH_BEHIND_ATTR &&
			  FS_BEHIND_NAMES == LH_BEHIND_NAMES,
		      "the same bits");
	lock_take(&fs->table);
	if (fs->watch)
		behind = fs_watch_behind(fs->watch->feed, ino);
	lock_drop(&fs->table);
	return behind;
}
