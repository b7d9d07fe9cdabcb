/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Others' changes reach the kernel: what it keeps of the mount is dropped when somebody else changes the original, so
 * that it may keep it for long (docs/mount.md, coherence).
 *
 * Events come in a thread of the library, which tells the kernel. It may wait there: for pages that are being read, and
 * for the lock of a directory in which a name is being changed, thus for requests; so it is never a thread that serves
 * requests, and those never wait for it. What it has not told the kernel yet, an open finds out by itself
 * (lh_fs_watch_behind):
 *
 *   content   The open's answer does not let the kernel keep its pages; the kernel drops them before open(2) returns.
 *             The same as long as somebody holds WRITE leases on the file: he changes it without telling.
 *   names     The program may have come here by a name that means something else by now. The answer is ESTALE, after
 *             which the kernel looks every name of the path up again, and opens what it finds then. Once an open: what
 *             comes next from the same thread is let in.
 *
 * After lost events the kernel is told to look all names up again, and pages are good of what was opened since.
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/sys/tree.h>

#include "base/clock.h"

#define KEPT_S           60.0 /* names and attributes, with a watch */
#define NOTIFY_INC_EPOCH 8    /* FUSE_NOTIFY_INC_EPOCH, Linux 6.16: all names are to be looked up again */
#define TOLD_STALE       4096u
/* The second try of an open comes within that, or the program sees the error. */
#define STALE_AGAIN_NS (5 * NS_PER_SEC)
/* From when an open looks its names up until its request is here. */
#define OPEN_TAKES_NS (1 * NS_PER_SEC)

struct written {
	RB_ENTRY(written) entry;
	uint64_t ino;
};
RB_HEAD(written_tree, written);

struct stale {
	pid_t thread;
	uint64_t until_ns;
};

struct watch {
	struct mount *m;
	atomic_bool live;       /* the kernel can be told */
	atomic_bool lost;       /* events were, ever */
	atomic_ullong named_ns; /* when the kernel was told of a name last; 0: never */

	struct lock lock;
	struct written_tree written; /* others hold WRITE leases on them */
	bool any_written;            /* no memory, or the server did not know: all may be */
	struct stale stale[TOLD_STALE];
};

static int written_compare(const struct written *a, const struct written *b)
{
	return (a->ino > b->ino) - (a->ino < b->ino);
}

RB_GENERATE_INTERNAL(written_tree, written, entry, written_compare, static __attribute__((unused)))

/* --- from the filesystem -------------------------------------------------------------------------------------------
 */

static void written_set(struct watch *w, uint64_t ino, bool writers)
{
	struct written *fresh = writers ? malloc(sizeof(*fresh)) : NULL;
	struct written key = {.ino = ino}, *found;

	if (fresh)
		fresh->ino = ino;
	lock_take(&w->lock);
	found = RB_FIND(written_tree, &w->written, &key);
	if (writers && !found && fresh) {
		RB_INSERT(written_tree, &w->written, fresh);
		fresh = NULL;
	} else if (writers && !found) {
		w->any_written = true;
	} else if (!writers && found) {
		RB_REMOVE(written_tree, &w->written, found);
		fresh = found;
	}
	lock_drop(&w->lock);
	free(fresh);
}

static void written_clear(struct watch *w, bool any)
{
	struct written *p, *next;

	lock_take(&w->lock);
	for (p = RB_MIN(written_tree, &w->written); p; p = next) {
		next = RB_NEXT(written_tree, &w->written, p);
		RB_REMOVE(written_tree, &w->written, p);
		free(p);
	}
	w->any_written = any;
	lock_drop(&w->lock);
}

static void drop_inode(struct watch *w, uint64_t ino, bool content)
{
	(void)fuse_lowlevel_notify_inval_inode(w->m->se, ino, content ? 0 : -1, 0);
}

/* What programs have open just now. */
static void drop_open_files(struct watch *w)
{
	struct mount *m = w->m;

	for (unsigned k = 0; k < MOUNT_HANDLE_LISTS; k++) {
		const struct handle *h;
		uint64_t *list;
		size_t n = 0, room = 0;

		lock_take(&m->handles[k].lock);
		LIST_FOREACH (h, &m->handles[k].list, in_list)
			room++;
		list = calloc(room, sizeof(*list));
		LIST_FOREACH (h, &m->handles[k].list, in_list) {
			if (list)
				list[n++] = h->ino;
		}
		lock_drop(&m->handles[k].lock);
		for (size_t i = 0; i < n; i++)
			drop_inode(w, list[i], true);
		free(list);
	}
}

/* Names at the top, with all that hangs below them: for kernels that know nothing better. */
static void drop_top(struct watch *w)
{
	struct lh_dirent e;
	struct lh_dir *dir;

	if (lh_dir_open(w->m->fs, "/", &dir) != 0)
		return;
	while (lh_dir_next(dir, &e) == 1)
		(void)fuse_lowlevel_notify_inval_entry(w->m->se, 1, e.name, strlen(e.name));
	lh_dir_close(dir);
}

static void drop_all(struct watch *w)
{
	const struct {
		uint32_t len;
		int32_t code;
		uint64_t unique;
	} message = {sizeof(message), NOTIFY_INC_EPOCH, 0};

	atomic_store(&w->lost, true);
	told_nothing(w->m);
	if (write(fuse_session_fd(w->m->se), &message, sizeof(message)) != (ssize_t)sizeof(message))
		drop_top(w);
	drop_inode(w, 1, true);
	drop_open_files(w);
	atomic_store(&w->named_ns, clock_now_ns());
}

static void changed(void *ctx, const struct lh_change *c)
{
	struct watch *w = ctx;
	bool live = atomic_load(&w->live);

	switch ((enum lh_change_type)c->type) {
	case LH_CHANGE_DATA:
		written_set(w, c->ino, c->writers);
		if (live)
			drop_inode(w, c->ino, true);
		break;
	case LH_CHANGE_ATTR:
		if (live)
			drop_inode(w, c->ino, false);
		break;
	case LH_CHANGE_ENTRY:
		if (!live)
			break;
		/* Thrown away, not only expired: a look-up that is under way would make it good again. */
		(void)fuse_lowlevel_notify_inval_entry(w->m->se, c->ino, c->name, strlen(c->name));
		drop_inode(w, c->ino, false);
		atomic_store(&w->named_ns, clock_now_ns());
		break;
	case LH_CHANGE_ALL:
		written_clear(w, c->writers);
		if (live)
			drop_all(w);
		break;
	}
}

/* --- to those who open ---------------------------------------------------------------------------------------------
 */

/* The slot of the thread that makes the call, if it is his, or free; else NULL. Holds the lock. */
static struct stale *stale_of(struct watch *w, pid_t thread, uint64_t now)
{
	struct stale *s = &w->stale[(unsigned)thread % TOLD_STALE];

	return thread > 0 && (s->thread == thread || s->until_ns < now) ? s : NULL;
}

/* Whether it was told ESTALE a moment ago, and now comes again. */
static bool stale_told(const struct stale *s, pid_t thread, uint64_t now)
{
	return s->thread == thread && s->until_ns >= now;
}

void mount_watch_stale(const struct call *c)
{
	struct watch *w = c->m->watch;
	pid_t thread = fuse_req_ctx(c->req)->pid;
	uint64_t now = clock_now_ns();
	struct stale *s;

	if (!w)
		return;
	lock_take(&w->lock);
	s = stale_of(w, thread, now);
	if (s)
		*s = (struct stale){thread, now + STALE_AGAIN_NS};
	lock_drop(&w->lock);
}

void mount_watch_failed(const struct call *c)
{
	struct watch *w = c->m->watch;
	pid_t thread = fuse_req_ctx(c->req)->pid;
	struct stale *s;

	if (!w)
		return;
	s = &w->stale[(unsigned)thread % TOLD_STALE];
	lock_take(&w->lock);
	if (s->thread == thread)
		s->until_ns = 0;
	lock_drop(&w->lock);
}

/* True: the thread can be told ESTALE; false: this is its second try. */
static bool may_tell_stale(struct call *c)
{
	struct watch *w = c->m->watch;
	pid_t thread = fuse_req_ctx(c->req)->pid;
	uint64_t now = clock_now_ns();
	struct stale *s;
	bool may;

	lock_take(&w->lock);
	s = stale_of(w, thread, now);
	may = s && !stale_told(s, thread, now);
	if (s && !may)
		s->until_ns = 0;
	lock_drop(&w->lock);
	return may;
}

/*
 * The name that led to the inode of the call may mean something else by now: -ESTALE. Also when the kernel was told a
 * moment ago: it may have looked the name up just before.
 */
static int check_names(struct call *c)
{
	/* In this order: what is not pending any more has been noted. */
	bool pending = lh_fs_watch_behind(c->fs, c->who->at[0]) & LH_BEHIND_NAMES;
	uint64_t named = atomic_load(&c->m->watch->named_ns);

	if (!pending && (!named || clock_now_ns() - named > OPEN_TAKES_NS))
		return 0;
	return may_tell_stale(c) ? -ESTALE : 0;
}

int mount_watch_before_open(struct call *c, int flags)
{
	struct lh_stat *st = c->who->stat;
	int err = 0;

	if (!c->m->watch || !(flags & O_TRUNC))
		return 0;
	/* A server's answer brings what was told before it. */
	if (c->m->remote)
		err = lh_path_stat(c->fs, "", false, st);
	return err ? err : check_names(c);
}

int mount_watch_after_open(struct call *c, int flags)
{
	return c->m->watch && !(flags & O_TRUNC) ? check_names(c) : 0;
}

bool mount_watch_trusts(struct mount *m, uint64_t ino, bool *attr_old)
{
	struct written key = {.ino = ino};
	struct watch *w = m->watch;
	unsigned behind = lh_fs_watch_behind(m->fs, ino);
	bool written;

	*attr_old = behind & (LH_BEHIND_DATA | LH_BEHIND_ATTR);
	lock_take(&w->lock);
	written = w->any_written || RB_FIND(written_tree, &w->written, &key);
	lock_drop(&w->lock);
	/* Its size may grow without an event between two commits. */
	*attr_old |= written;
	return !written && !(behind & LH_BEHIND_DATA);
}

bool mount_watch_lost(const struct mount *m)
{
	return atomic_load_explicit(&m->watch->lost, memory_order_relaxed);
}

/* --- life ----------------------------------------------------------------------------------------------------------
 */

int mount_watch_start(struct mount *m)
{
	struct watch *w;
	int err;

	if (m->opt->cache == MOUNT_CACHE_NONE)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->m = m;
	lock_init(&w->lock, RANK_MOUNT);
	RB_INIT(&w->written);
	err = lh_fs_watch(m->fs, changed, w);
	if (err) {
		lock_destroy(&w->lock);
		free(w);
		/* An old server: what the kernel keeps is asked for again soon. */
		return err == -EOPNOTSUPP ? 0 : err;
	}
	m->watch = w;
	if (m->opt->attr_s < 0)
		m->attr_s = KEPT_S;
	if (m->opt->entry_s < 0)
		m->entry_s = KEPT_S;
	return 0;
}

void mount_watch_live(struct mount *m)
{
	if (m->watch)
		atomic_store(&m->watch->live, true);
}

void mount_watch_again(struct mount *m)
{
	struct watch *w = m->watch;

	if (!w)
		return;
	/* Without a watch no page is good that was there before an open. */
	written_clear(w, lh_fs_watch(m->fs, changed, w) != 0);
	drop_all(w);
}

void mount_watch_end(struct mount *m)
{
	if (m->watch)
		(void)lh_fs_watch(m->fs, NULL, NULL);
}

void mount_watch_free(struct mount *m)
{
	struct watch *w = m->watch;

	if (!w)
		return;
	written_clear(w, false);
	lock_destroy(&w->lock);
	free(w);
	m->watch = NULL;
}
