/* SPDX-License-Identifier: BSD-2-Clause */
#include "fs/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "fs/claims.h"
#include "fs/layout.h"

#define KEEPER_LOCK_KEY 2u                /* LIMIT: under INODE, around nothing */
#define KEEPER_REST_NS  (100 * NS_PER_MS) /* at least, between two rounds: what failed is tried again */

struct orphan {
	uint64_t ino, since_ns; /* arbiter's clock */
};

struct keeper {
	struct lock lock;
	struct cond wake;
	uint64_t limit_ns;
	struct orphan *orphans; /* by age, from first on */
	uint32_t first, count, room;
	bool stop, has_thread, warned;
	pthread_t thread;
};

static uint64_t now_of(struct fs *fs)
{
	return fs->clock.now_ns ? fs->clock.now_ns(fs->clock.ctx) : clock_now_ns();
}

int keeper_init(struct fs *fs, uint64_t orphan_limit_ns)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	lock_init_keyed(&k->lock, RANK_LIMIT, KEEPER_LOCK_KEY);
	cond_init(&k->wake);
	k->limit_ns = orphan_limit_ns;
	fs->keeper = k;
	return 0;
}

void keeper_fini(struct fs *fs)
{
	struct keeper *k = fs->keeper;

	if (!k)
		return;
	assert(!k->has_thread);
	cond_destroy(&k->wake);
	lock_destroy(&k->lock);
	free(k->orphans);
	free(k);
	fs->keeper = NULL;
}

/* --- orphans ------------------------------------------------------------------------------------------------------ */

static bool room_for_one(struct keeper *k)
{
	uint32_t room = k->room ? k->room * 2 : 64;
	struct orphan *more;

	if (k->first + k->count < k->room)
		return true;
	/* Half of it at least was taken: each is moved once, on average. */
	if (k->first > 0 && k->first >= k->count) {
		memmove(k->orphans, k->orphans + k->first, k->count * sizeof(*k->orphans));
		k->first = 0;
		return true;
	}
	more = reallocarray(k->orphans, room, sizeof(*more));
	if (!more)
		return false;
	k->orphans = more;
	k->room = room;
	return true;
}

void orphan_note(struct fs *fs, const struct inode *i)
{
	struct keeper *k = fs->keeper;

	if (k->limit_ns == 0 || i->type != DT_REG)
		return;
	lock_take(&k->lock);
	if (room_for_one(k)) {
		k->orphans[k->first + k->count++] = (struct orphan){ino_of(i), now_of(fs)};
	} else if (!k->warned) {
		k->warned = true;
		log_warn("fs",
			 "%s: out of memory: inode %llu, unlinked and open, is not reclaimed before its last close",
			 fs->pool->name, (unsigned long long)ino_of(i));
	}
	cond_wake_all(&k->wake);
	lock_drop(&k->lock);
}

/* The oldest of those that are due; 0: none. It is off the list. */
static uint64_t orphan_due(struct fs *fs)
{
	struct keeper *k = fs->keeper;
	uint64_t ino = 0;

	lock_take(&k->lock);
	if (k->count > 0 && now_of(fs) - k->orphans[k->first].since_ns >= k->limit_ns) {
		ino = k->orphans[k->first].ino;
		k->first++;
		k->count--;
	}
	lock_drop(&k->lock);
	return ino;
}

/* Under INODE exclusive: one try. 0 with *done, NEED_GATE, or an error. */
static int orphan_forget(struct fs *fs, struct inode *i, const struct gate *g, const struct gate_need *need, bool *done)
{
	const struct fs_caller nobody = {0};
	struct jtxn t;
	uint64_t seq;
	int err;

	*done = false;
	if (i->gone || i->nlink > 0)
		return 0;
	err = layout_check(g, i, need, &nobody);
	if (err)
		return err;
	jtxn_init(&t);
	t.frees = true;
	jtxn_forget(&t, ino_of(i));
	err = jtxn_commit(fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (!err)
		inode_forgotten(fs, i, seq);
	if (!err)
		inode_changed(fs, i, CHANGED_DATA, NULL);
	*done = !err;
	return err;
}

/* Its handles stay, and reach nothing any more. *done: there was something to take. */
static int orphan_take(struct fs *fs, struct inode *i, bool *done)
{
	const struct gate_need need = {RANGE_ALL, LEASE_ALL, LEASE_FOR_RECLAIM, LEASE_STOP};
	const struct fs_caller nobody = {0};
	struct gate gate = {0};
	unsigned tries = 0;
	bool again;
	int err;

	do {
		rwlock_take_write(&i->lock);
		err = orphan_forget(fs, i, &gate, &need, done);
		rwlock_drop(&i->lock);
		again = err == NEED_GATE;
		if (again)
			err = gate_break(&gate, fs, i, &need, &nobody);
		again = (again && !err) || walk_made_room(fs, err, &tries);
	} while (again);
	gate_end(&gate);
	return err;
}

/* What is due of them. Returns how many were taken; *failed: one could not be, and is on the list again. */
static unsigned orphans_take(struct fs *fs, bool *failed)
{
	unsigned taken = 0;
	uint64_t ino;

	*failed = false;
	while (!*failed && (ino = orphan_due(fs)) != 0) {
		struct inode *i = itable_get(fs, ino);
		bool done = false;
		int err = i ? orphan_take(fs, i, &done) : 0;

		if (done)
			log_warn("fs", "%s: inode %llu: unlinked and open for too long: its blocks are free again",
				 fs->pool->name, (unsigned long long)ino);
		taken += done;
		if (err) {
			log_warn("fs", "%s: inode %llu, unlinked and open, cannot be reclaimed yet (%s)",
				 fs->pool->name, (unsigned long long)ino, strerror(-err));
			orphan_note(fs, i);
			*failed = true;
		}
		inode_put(fs, i);
	}
	return taken;
}

bool orphans_made_room(struct fs *fs, int err, bool *tried)
{
	bool failed;

	if (likely(err != -ENOSPC) || *tried || fs->keeper->limit_ns == 0)
		return false;
	lock_assert_none();
	*tried = true;
	return orphans_take(fs, &failed) > 0;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

void fs_keeper_run(struct fs *fs)
{
	bool failed;

	if (claims_due_ns(fs) <= now_of(fs))
		claims_settle(fs);
	if (fs->keeper->limit_ns > 0)
		(void)orphans_take(fs, &failed);
}

/* Under the keeper's lock. */
static uint64_t next_due(const struct keeper *k, uint64_t claims_ns)
{
	uint64_t orphan_ns = UINT64_MAX;

	if (k->count > 0 && add_overflows(k->orphans[k->first].since_ns, k->limit_ns, &orphan_ns))
		orphan_ns = UINT64_MAX;
	return min_u64(claims_ns, orphan_ns);
}

static void *keeper_main(void *ctx)
{
	struct fs *fs = ctx;
	struct keeper *k = fs->keeper;
	uint64_t claims_ns = claims_due_ns(fs);

	lock_take(&k->lock);
	while (!k->stop) {
		uint64_t now = now_of(fs);
		uint64_t due = next_due(k, claims_ns);

		if (due == UINT64_MAX) {
			cond_wait(&k->wake, &k->lock);
			continue;
		}
		if (due > now && cond_wait_until(&k->wake, &k->lock, clock_now_ns() + (due - now)) == 0)
			continue;
		lock_drop(&k->lock);
		fs_keeper_run(fs);
		claims_ns = claims_due_ns(fs);
		lock_take(&k->lock);
		if (!k->stop && next_due(k, claims_ns) <= now_of(fs))
			cond_wait_until(&k->wake, &k->lock, clock_now_ns() + KEEPER_REST_NS);
	}
	lock_drop(&k->lock);
	return NULL;
}

int keeper_start(struct fs *fs)
{
	struct keeper *k = fs->keeper;
	int err;

	if (k->limit_ns == 0 && claims_due_ns(fs) == UINT64_MAX)
		return 0;
	err = -pthread_create(&k->thread, NULL, keeper_main, fs);
	k->has_thread = !err;
	return err;
}

void keeper_stop(struct fs *fs)
{
	struct keeper *k = fs->keeper;

	if (!k || !k->has_thread)
		return;
	lock_take(&k->lock);
	k->stop = true;
	cond_wake_all(&k->wake);
	lock_drop(&k->lock);
	pthread_join(k->thread, NULL);
	k->has_thread = false;
}
