/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel has open. All of it is in lists, because a connection that is aborted closes nothing. */
#include "fuse/mount.h"

#include <stdlib.h>

static unsigned list_of(uint64_t ino)
{
	return (unsigned)(ino % MOUNT_HANDLE_LISTS);
}

struct handle *handle_new(struct mount *m, uint64_t ino, int flags)
{
	struct handle *h = calloc(1, sizeof(*h));
	unsigned k = list_of(ino);

	if (!h)
		return NULL;
	h->ino = ino;
	h->flags = flags;
	lock_init_keyed(&h->lock, RANK_MOUNT, LOCK_LISTING);
	lock_take(&m->handles[k].lock);
	LIST_INSERT_HEAD(&m->handles[k].list, h, in_list);
	lock_drop(&m->handles[k].lock);
	return h;
}

void handle_move(struct mount *m, struct handle *h, uint64_t ino)
{
	unsigned from = list_of(h->ino), to = list_of(ino);

	lock_take(&m->handles[from].lock);
	LIST_REMOVE(h, in_list);
	lock_drop(&m->handles[from].lock);
	h->ino = ino;
	lock_take(&m->handles[to].lock);
	LIST_INSERT_HEAD(&m->handles[to].list, h, in_list);
	lock_drop(&m->handles[to].lock);
}

int handle_free(struct mount *m, struct handle *h)
{
	unsigned k = list_of(h->ino);
	int err, worse;

	lock_take(&m->handles[k].lock);
	LIST_REMOVE(h, in_list);
	lock_drop(&m->handles[k].lock);
	session_old_close(h);
	lh_dir_close(h->dir);
	err = lh_file_close(atomic_load(&h->sibling));
	worse = lh_file_close(atomic_load(&h->file));
	lock_destroy(&h->lock);
	free(h);
	return err ? err : worse;
}

void mount_handles_free(struct mount *m)
{
	for (unsigned k = 0; k < MOUNT_HANDLE_LISTS; k++) {
		while (!LIST_EMPTY(&m->handles[k].list))
			(void)handle_free(m, LIST_FIRST(&m->handles[k].list));
	}
}
