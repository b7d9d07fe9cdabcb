/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request: whom it is made for, where its paths start, and how it ends early.
 *
 * A program that is killed while its call waits for somebody's lease must not stay. The library can only interrupt all
 * waits of a session (lh_fs_interrupt); those have done nothing then, so every request that is not the interrupted one
 * makes its call again (call_again), unseen. An interrupt may come just before its call begins to wait: so a thread
 * (the nag) repeats it until the request has been answered. The same ends all waits when the mount ends.
 *
 * A slot is a thread's and outlives its requests: libfuse may tell of an interrupt while or after the request is
 * answered. That one is told apart by its request's pointer, which libfuse keeps from being used again as long as it
 * tells of it.
 */
#include "fuse/mount.h"

#include "base/clock.h"

#define NAG_EVERY_NS (10 * NS_PER_MS)

#define RAW (1ull << 63)

struct thread_slot {
	LIST_ENTRY(thread_slot) in_list;
	struct mount *m;
	struct lh_caller who;
	struct lh_stat st;
	/* The request that may wait and is not answered yet: libfuse's pointer, or the kernel's number with RAW. 0:
	 * none. */
	_Atomic uint64_t req;
	_Atomic uint64_t interrupted; /* == req: this one is */
};

static _Thread_local struct thread_slot my_slot;
static pthread_key_t slot_key; /* takes it off the list when its thread ends */

static void slot_leave(void *p)
{
	struct thread_slot *s = p;
	struct mount *m = s->m;

	lock_take(&m->slots_lock);
	LIST_REMOVE(s, in_list);
	lock_drop(&m->slots_lock);
	s->m = NULL;
	(void)lh_thread_caller(NULL);
}

static struct thread_slot *slot_get(struct mount *m)
{
	struct thread_slot *s = &my_slot;

	if (s->m)
		return s;
	s->m = m;
	s->who.size = sizeof(s->who);
	s->st.size_of = sizeof(s->st);
	lock_take(&m->slots_lock);
	LIST_INSERT_HEAD(&m->slots, s, in_list);
	lock_drop(&m->slots_lock);
	/* Cannot fail: there are only a few keys. */
	(void)pthread_setspecific(slot_key, s);
	return s;
}

/* --- ending early --- */

static bool slot_waits(const struct thread_slot *s)
{
	uint64_t req = atomic_load(&s->req);

	return req && (atomic_load(&s->interrupted) == req || atomic_load(&s->m->ending));
}

static void *nag(void *arg)
{
	struct mount *m = arg;
	struct thread_slot *s;

	lock_take(&m->slots_lock);
	while (!m->nag_stop) {
		bool waits = false;

		LIST_FOREACH (s, &m->slots, in_list)
			waits |= slot_waits(s);
		if (!waits && !m->nag_wanted) {
			cond_wait(&m->slots_changed, &m->slots_lock);
			continue;
		}
		m->nag_wanted = false;
		lock_drop(&m->slots_lock);
		if (waits)
			lh_fs_interrupt(m->fs);
		lock_take(&m->slots_lock);
		(void)cond_wait_until(&m->slots_changed, &m->slots_lock, clock_now_ns() + NAG_EVERY_NS);
	}
	lock_drop(&m->slots_lock);
	return NULL;
}

void calls_wake(struct mount *m)
{
	lock_take(&m->slots_lock);
	m->nag_wanted = true;
	cond_wake_all(&m->slots_changed);
	lock_drop(&m->slots_lock);
}

/* From libfuse, in the thread that read FUSE_INTERRUPT. */
static void interrupted(fuse_req_t req, void *data)
{
	struct thread_slot *s = data;

	atomic_store(&s->interrupted, (uintptr_t)req);
	calls_wake(s->m);
}

bool call_interrupt_raw(struct mount *m, uint64_t unique)
{
	struct thread_slot *s;
	bool found = false;

	lock_take(&m->slots_lock);
	LIST_FOREACH (s, &m->slots, in_list) {
		if (atomic_load(&s->req) != (unique | RAW))
			continue;
		atomic_store(&s->interrupted, unique | RAW);
		found = m->nag_wanted = true;
		cond_wake_all(&m->slots_changed);
	}
	lock_drop(&m->slots_lock);
	return found;
}

/* --- begin and end --- */

static void call_set(struct call *c, struct mount *m, uint32_t uid, uint32_t gid, uint64_t ino)
{
	struct thread_slot *s = slot_get(m);

	*c = (struct call){.m = m, .fs = m->fs, .who = &s->who, .st = &s->st, .slot = s};
	s->who.flags = m->acts ? LH_CALLER_CHECKED : 0;
	s->who.uid = uid;
	s->who.gid = gid;
	s->who.umask = 0;
	s->who.group_count = 0;
	s->who.at[0] = ino;
	s->who.at[1] = 0;
	s->who.stat = &s->st;
	(void)lh_thread_caller(&s->who);
}

static void call_waits(struct call *c, uint64_t token)
{
	c->token = token;
	atomic_store(&c->slot->interrupted, 0);
	atomic_store(&c->slot->req, token);
	/* On a server all do. In process not at first: who has to wait lets others serve meanwhile (call_again). */
	if (c->m->remote)
		loop_slow(c->m);
	else
		c->who->flags |= LH_CALLER_NOWAIT;
}

void call_begin_raw(struct call *c, struct mount *m, uint32_t uid, uint32_t gid, uint64_t ino, uint64_t unique)
{
	call_set(c, m, uid, gid, ino);
	call_waits(c, unique | RAW);
}

static void call_of(struct call *c, fuse_req_t req, uint64_t ino)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	call_set(c, fuse_req_userdata(req), ctx->uid, ctx->gid, ino);
	c->req = req;
	c->who->umask = ctx->umask;
}

void call_begin(struct call *c, fuse_req_t req, uint64_t ino)
{
	call_of(c, req, ino);
	if (c->m->remote) {
		call_waits(c, (uintptr_t)req);
		fuse_req_interrupt_func(req, interrupted, c->slot);
	}
}

void call_begin_waits(struct call *c, fuse_req_t req, uint64_t ino)
{
	call_of(c, req, ino);
	call_waits(c, (uintptr_t)req);
	fuse_req_interrupt_func(req, interrupted, c->slot);
}

void call_as_itself(struct call *c, gid_t groups[CALL_GROUPS_MAX])
{
	int n = fuse_req_getgroups(c->req, CALL_GROUPS_MAX, groups);

	/* A program that is gone by now has its own group only. */
	c->who->flags &= ~LH_CALLER_CHECKED;
	c->who->groups = groups;
	c->who->group_count = n < 0 ? 0 : (uint32_t)min_u64((uint64_t)n, CALL_GROUPS_MAX);
}

void call_as_checked(struct call *c)
{
	if (c->m->acts)
		c->who->flags |= LH_CALLER_CHECKED;
	c->who->group_count = 0;
	c->who->groups = NULL;
}

bool call_interrupted(const struct call *c)
{
	return c->token && atomic_load(&c->slot->interrupted) == c->token;
}

bool call_patient(struct call *c)
{
	if (!(c->who->flags & LH_CALLER_NOWAIT))
		return false;
	c->who->flags &= ~LH_CALLER_NOWAIT;
	loop_slow(c->m);
	return true;
}

bool call_again(struct call *c, int64_t err)
{
	if ((err == -EWOULDBLOCK || err == -EINTR) && call_patient(c))
		return true;
	if (err == -ENOTCONN && c->m->sessions)
		return mount_session_lost(c);
	if (err != -EINTR || atomic_load(&c->m->ending))
		return false;
	return !call_interrupted(c);
}

void call_end(struct call *c)
{
	if (atomic_load_explicit(&c->slot->req, memory_order_relaxed))
		atomic_store(&c->slot->req, 0);
}

int call_errno(const struct call *c, int64_t err)
{
	if (err >= 0)
		return 0;
	/* Between the two tries of an open the kernel may ask for ACLs and find none: that ends nothing. */
	if (err == -ESTALE)
		mount_watch_stale(c);
	else if (err != -ENODATA && err != -EOPNOTSUPP && err != -ERANGE)
		mount_watch_failed(c);
	/* What a program on a mount knows what to do with. */
	if (err == -ENOTCONN || err == -EPROTO || err == -EUCLEAN || err == -EBADMSG)
		return EIO;
	return (int)-err;
}

void call_reply(struct call *c, int64_t err)
{
	call_end(c);
	fuse_reply_err(c->req, call_errno(c, err));
}

void time_to_kernel(int64_t ns, struct timespec *out)
{
	int64_t s = ns / (int64_t)NS_PER_SEC, rest = ns % (int64_t)NS_PER_SEC;

	if (rest < 0) {
		rest += (int64_t)NS_PER_SEC;
		s--;
	}
	*out = (struct timespec){.tv_sec = s, .tv_nsec = rest};
}

void stat_to_kernel(const struct lh_stat *st, struct stat *out)
{
	*out = (struct stat){.st_ino = st->ino,
			     .st_mode = st->mode,
			     .st_nlink = st->nlink,
			     .st_uid = st->uid,
			     .st_gid = st->gid,
			     .st_rdev = st->rdev,
			     .st_size = (off_t)st->size,
			     .st_blksize = LH_BLOCK_SIZE,
			     .st_blocks = (blkcnt_t)(st->blocks * (LH_BLOCK_SIZE / 512))};
	time_to_kernel(st->atime_ns, &out->st_atim);
	time_to_kernel(st->mtime_ns, &out->st_mtim);
	time_to_kernel(st->ctime_ns, &out->st_ctim);
}

void call_reply_entry(struct call *c, int err)
{
	struct fuse_entry_param e = {.attr_timeout = c->m->attr_s, .entry_timeout = c->m->entry_s};

	call_end(c);
	if (err) {
		fuse_reply_err(c->req, call_errno(c, err));
		return;
	}
	e.ino = c->st->ino;
	stat_to_kernel(c->st, &e.attr);
	told_attr(c->m, c->st);
	fuse_reply_entry(c->req, &e);
}

void call_reply_none(struct call *c, const struct fuse_entry_param *e)
{
	call_end(c);
	fuse_reply_entry(c->req, e);
}

void call_reply_attr(struct call *c, int err)
{
	struct stat st;

	call_end(c);
	if (err) {
		fuse_reply_err(c->req, call_errno(c, err));
		return;
	}
	stat_to_kernel(c->st, &st);
	told_attr(c->m, c->st);
	fuse_reply_attr(c->req, &st, c->m->attr_s);
}

/* --- life --- */

int calls_start(struct mount *m)
{
	int err;

	lock_init_keyed(&m->slots_lock, RANK_MOUNT, LOCK_LAST);
	cond_init(&m->slots_changed);
	LIST_INIT(&m->slots);
	err = pthread_key_create(&slot_key, slot_leave);
	if (err)
		return fail(-err, "no key for the memory of threads");
	err = pthread_create(&m->nag, NULL, nag, m);
	if (err) {
		pthread_key_delete(slot_key);
		return fail(-err, "cannot start a thread");
	}
	m->nag_made = true;
	return 0;
}

void calls_stop(struct mount *m)
{
	if (!m->nag_made)
		return;
	lock_take(&m->slots_lock);
	m->nag_stop = true;
	cond_wake_all(&m->slots_changed);
	lock_drop(&m->slots_lock);
	pthread_join(m->nag, NULL);
	m->nag_made = false;
	if (my_slot.m) {
		(void)pthread_setspecific(slot_key, NULL);
		slot_leave(&my_slot);
	}
	pthread_key_delete(slot_key);
	cond_destroy(&m->slots_changed);
	lock_destroy(&m->slots_lock);
}
