/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel was told last about an inode, so that an open can say whether what it has is still true:
 * close-to-open without a watch on the server. Two states a slot: the attributes as told, and as they were at the last
 * open (since which the kernel may have filled its pages). The table is as large as it is: an inode whose slot went to
 * another is read anew, nothing worse.
 */
#include "fuse/mount.h"

#include <stdlib.h>

#define LOCKS 64u

struct state {
	int64_t mtime_ns, ctime_ns;
	uint64_t size;
};
struct slot {
	uint64_t ino; /* 0: nobody's */
	bool opened_known;
	struct state told, opened;
};
struct told {
	struct lock locks[LOCKS];
	struct slot slots[MOUNT_TOLD_SLOTS];
};

static struct state state_of(const struct lh_stat *st)
{
	return (struct state){.mtime_ns = st->mtime_ns, .ctime_ns = st->ctime_ns, .size = st->size};
}

static bool same(const struct state *a, const struct state *b)
{
	return a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns && a->size == b->size;
}

static struct slot *slot_take(struct told *t, uint64_t ino)
{
	uint64_t hash = ino * 0x9e3779b97f4a7c15ull >> 32;

	lock_take(&t->locks[hash % LOCKS]);
	return &t->slots[hash % MOUNT_TOLD_SLOTS];
}

static void slot_drop(struct told *t, const struct slot *s)
{
	lock_drop(&t->locks[(size_t)(s - t->slots) % LOCKS]);
}

static void slot_claim(struct slot *s, uint64_t ino)
{
	if (s->ino != ino)
		*s = (struct slot){.ino = ino};
}

void told_attr(struct mount *m, const struct lh_stat *st)
{
	struct slot *s = slot_take(m->told, st->ino);

	slot_claim(s, st->ino);
	s->told = state_of(st);
	slot_drop(m->told, s);
}

bool told_open(struct mount *m, const struct lh_stat *st)
{
	struct state now = state_of(st);
	bool keep = true, attr_old = false;
	struct slot *s;

	if (m->watch)
		keep = mount_watch_trusts(m, st->ino, &attr_old);
	s = slot_take(m->told, st->ino);
	slot_claim(s, st->ino);
	if (!m->watch) {
		attr_old = !same(&s->told, &now);
		keep = s->opened_known && same(&s->opened, &now);
	} else if (mount_watch_lost(m)) {
		attr_old |= !s->opened_known;
		keep = keep && s->opened_known;
	}
	s->told = s->opened = now;
	s->opened_known = true;
	slot_drop(m->told, s);
	/* Its size decides what a read asks for. Attributes only: no lock of the kernel's is needed for that. */
	if (attr_old && m->attr_s > 0)
		(void)fuse_lowlevel_notify_inval_inode(m->se, st->ino, -1, 0);
	return keep && m->opt->cache != MOUNT_CACHE_NONE;
}

void told_wrote(struct mount *m, uint64_t ino)
{
	struct slot *s = slot_take(m->told, ino);

	if (s->ino == ino)
		s->opened_known = false;
	slot_drop(m->told, s);
}

void told_nothing(struct mount *m)
{
	for (size_t k = 0; k < MOUNT_TOLD_SLOTS; k++) {
		lock_take(&m->told->locks[k % LOCKS]);
		m->told->slots[k].opened_known = false;
		lock_drop(&m->told->locks[k % LOCKS]);
	}
}

int told_start(struct mount *m)
{
	static_assert(MOUNT_TOLD_SLOTS % LOCKS == 0, "a slot has one lock");
	m->told = calloc(1, sizeof(*m->told));
	if (!m->told)
		return -ENOMEM;
	for (unsigned k = 0; k < LOCKS; k++)
		lock_init_keyed(&m->told->locks[k], RANK_MOUNT, LOCK_TABLE);
	return 0;
}

void told_stop(struct mount *m)
{
	if (!m->told)
		return;
	for (unsigned k = 0; k < LOCKS; k++)
		lock_destroy(&m->told->locks[k]);
	free(m->told);
	m->told = NULL;
}
