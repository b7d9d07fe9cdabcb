/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The session with a server, and what comes after it. A lost connection is nothing that is seen here: the library
 * restores it, and its calls wait, as long as the server's lease time. When that is over the session is dead for good.
 * Then a thread opens a new one, as soon as the server is there again, and open files and directories are opened anew
 * by inode number when they are used next: numbers are never used for another inode, so they are what they were, or
 * ESTALE.
 *
 *   soft  what was under way when the session died, and what comes until the next is there, is EIO.
 *   hard  it waits for the next session and is made again. What was under way may have been done already, as with any
 *         network filesystem: a name that was made is EEXIST then.
 *
 * What was written and not synced in a dead session may be lost: the next fsync or close of the file says EIO.
 * Dead sessions stay until the mount ends, with the files that were open in them: requests may be using both.
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define AGAIN_EVERY_NS (500 * NS_PER_MS)
#define LOOK_EVERY_NS  (20 * NS_PER_MS) /* hard: has it come, was it interrupted? */

struct old_session {
	struct old_session *next;
	struct lh_fs *fs;
};

struct old_open {
	struct old_open *next;
	struct lh_file *file;
	struct lh_dir *dir;
};

struct sessions {
	struct lock lock;
	struct cond changed;
	pthread_t thread;
	bool dead, stop;
	uint8_t uuid[16]; /* of the filesystem: another one behind the same address is not it */
	struct old_session *old;
};

/* --- a new session --- */

static int open_again(struct mount *m, struct lh_fs **out)
{
	struct lh_statfs st = {.size = sizeof(st)};
	struct lh_open_options open = m->opt->open;
	struct lh_fs *fs;
	int err;

	open.size = sizeof(open);
	open.read_only = m->opt->read_only;
	err = lh_fs_open(m->opt->where, &open, &fs);
	if (err)
		return err;
	err = lh_fs_stat(fs, &st);
	if (!err && memcmp(st.uuid, m->sessions->uuid, sizeof(st.uuid)) != 0)
		err = fail(-ESTALE, "another filesystem is served there now");
	if (!err && m->acts)
		err = lh_fs_act(fs);
	if (err) {
		(void)lh_fs_close(fs);
		return err;
	}
	*out = fs;
	return 0;
}

/* From here on requests use it. */
static void take_over(struct mount *m, struct old_session *dead, struct lh_fs *fresh)
{
	struct sessions *s = m->sessions;

	lock_take(&s->lock);
	dead->fs = m->fs;
	dead->next = s->old;
	s->old = dead;
	m->fs = fresh;
	s->dead = false;
	cond_wake_all(&s->changed);
	lock_drop(&s->lock);
	log_warn("mount", "%s: there again; open files go on", m->opt->where);
	mount_watch_again(m);
}

static void *reconnect(void *arg)
{
	struct mount *m = arg;
	struct sessions *s = m->sessions;
	bool said = false;

	lock_take(&s->lock);
	while (!s->stop) {
		struct old_session *dead;
		struct lh_fs *fresh;
		int err;

		if (!s->dead) {
			cond_wait(&s->changed, &s->lock);
			continue;
		}
		lock_drop(&s->lock);
		dead = malloc(sizeof(*dead));
		err = dead ? open_again(m, &fresh) : -ENOMEM;
		if (err && !said)
			log_warn("mount", "%s: %s; trying again", m->opt->where, lh_error_text());
		said = err != 0;
		if (err)
			free(dead);
		else
			take_over(m, dead, fresh);
		lock_take(&s->lock);
		if (err && !s->stop)
			(void)cond_wait_until(&s->changed, &s->lock, clock_now_ns() + AGAIN_EVERY_NS);
	}
	lock_drop(&s->lock);
	return NULL;
}

bool mount_session_lost(struct call *c)
{
	struct mount *m = c->m;
	struct sessions *s = m->sessions;
	bool again;

	lock_take(&s->lock);
	if (m->fs == c->fs && !s->dead) {
		s->dead = true;
		cond_wake_all(&s->changed);
	}
	while (m->opt->hard && m->fs == c->fs && !call_interrupted(c) && !atomic_load(&m->ending))
		(void)cond_wait_until(&s->changed, &s->lock, clock_now_ns() + LOOK_EVERY_NS);
	again = m->fs != c->fs;
	c->fs = m->fs;
	lock_drop(&s->lock);
	return again;
}

/* --- what is open --- */

static int remember(struct handle *h, struct lh_file *file, struct lh_dir *dir)
{
	struct old_open *o = malloc(sizeof(*o));

	if (!o)
		return -ENOMEM;
	*o = (struct old_open){.next = h->old, .file = file, .dir = dir};
	h->old = o;
	return 0;
}

void session_old_close(struct handle *h)
{
	while (h->old) {
		struct old_open *o = h->old;

		h->old = o->next;
		(void)lh_file_close(o->file);
		lh_dir_close(o->dir);
		free(o);
	}
}

static int file_again(struct call *c, struct handle *h, _Atomic(struct lh_file *) *at, int flags)
{
	uint64_t start = c->who->at[0];
	struct lh_file *fresh = NULL, *dead;
	int err = 0;

	lock_take(&h->lock);
	dead = atomic_load(at);
	if (!dead || lh_file_fs(dead) != c->fs) {
		c->who->at[0] = h->ino;
		c->who->stat = NULL;
		err = lh_file_open(c->fs, "", flags, 0, &fresh);
		c->who->stat = c->st;
		c->who->at[0] = start;
	}
	if (fresh && dead) {
		err = remember(h, dead, NULL);
		if (err)
			(void)lh_file_close(fresh);
		else if (atomic_exchange(&h->written, false))
			atomic_store(&h->lost, true);
	}
	if (fresh && !err)
		atomic_store(at, fresh);
	lock_drop(&h->lock);
	return err;
}

int session_file(struct call *c, struct handle *h, bool append, struct lh_file **out)
{
	bool own = append == !!(h->flags & O_APPEND);
	_Atomic(struct lh_file *) *at = own ? &h->file : &h->sibling;
	int err = 0;

	*out = atomic_load(at);
	if (*out && (!c->m->remote || lh_file_fs(*out) == c->fs))
		return 0;
	err = file_again(c, h, at, own ? h->flags & (O_ACCMODE | O_APPEND) : O_WRONLY | (append ? O_APPEND : 0));
	*out = atomic_load(at);
	return err;
}

int session_dir(struct call *c, struct handle *h, uint64_t cookie)
{
	struct lh_dir *fresh;
	int err;

	lock_assert_held(RANK_MOUNT);
	if (h->dir_fs == c->fs)
		return 0;
	err = lh_dir_open(c->fs, "", &fresh);
	if (err)
		return err;
	err = h->dir ? remember(h, NULL, h->dir) : 0;
	if (err) {
		lh_dir_close(fresh);
		return err;
	}
	lh_dir_seek(fresh, cookie);
	h->dir = fresh;
	h->dir_fs = c->fs;
	return 0;
}

/* --- life --- */

int sessions_start(struct mount *m)
{
	struct lh_statfs st = {.size = sizeof(st)};
	struct sessions *s;
	int err;

	if (!m->remote)
		return 0;
	err = lh_fs_stat(m->fs, &st);
	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	lock_init_keyed(&s->lock, RANK_MOUNT, LOCK_LAST);
	cond_init(&s->changed);
	memcpy(s->uuid, st.uuid, sizeof(s->uuid));
	m->sessions = s;
	err = pthread_create(&s->thread, NULL, reconnect, m);
	if (!err)
		return 0;
	m->sessions = NULL;
	cond_destroy(&s->changed);
	lock_destroy(&s->lock);
	free(s);
	return fail(-err, "cannot start a thread");
}

void sessions_stop(struct mount *m)
{
	struct sessions *s = m->sessions;

	if (!s)
		return;
	lock_take(&s->lock);
	s->stop = true;
	cond_wake_all(&s->changed);
	lock_drop(&s->lock);
	pthread_join(s->thread, NULL);
}

void sessions_free(struct mount *m)
{
	struct sessions *s = m->sessions;

	if (!s)
		return;
	while (s->old) {
		struct old_session *o = s->old;

		s->old = o->next;
		(void)lh_fs_close(o->fs);
		free(o);
	}
	cond_destroy(&s->changed);
	lock_destroy(&s->lock);
	free(s);
	m->sessions = NULL;
}
