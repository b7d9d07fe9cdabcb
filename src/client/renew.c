/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session in place of another one (protocol P59): every grant is gone, and with it what the maps, sizes and holes of
 * the leases said. The leases themselves stay and heal with their next access (L15); the holder of a MANUAL one is
 * told; a server that restarted has lost what was written and not committed (L29).
 *
 * Runs in the thread that reads the connection, with no lock held, before anything is asked of the new session.
 */
#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>

/* Caller holds fs->lock. */
static void remembered_free(struct lh_fs *fs)
{
	struct remembered *next;

	for (struct remembered *r = fs->remembered; r; r = next) {
		next = r->next;
		free(r);
	}
	fs->remembered = NULL;
	fs->remembered_count = 0;
}

/* Caller holds fs->lock. */
static void lease_lost(struct lh_fs *fs, struct lh_lease *lease)
{
	struct leaving *next;
	bool held;

	lock_take(&lease->lock);
	for (struct leaving *l = lease->leaving; l; l = next) {
		next = l->next;
		fs->leaving--;
		free(l);
	}
	lease->leaving = NULL;
	held = !TAILQ_EMPTY(&lease->grants);
	while (!TAILQ_EMPTY(&lease->grants))
		client_grant_drop(fs, TAILQ_FIRST(&lease->grants));
	map_cut(&lease->map, RANGE_ALL, MAP_ANY_LEASE);
	lease->lost = true;
	lease->size_old = true;
	lease->changes++;
	cond_wake_all(&lease->changed);
	lock_drop(&lease->lock);
	if (held)
		atomic_fetch_add(&lease->revocations, 1);
	if (held && (lease->flags & LH_LEASE_MANUAL))
		client_event_lost(fs, lease);
}

void client_renewed(void *ctx, const struct proto_welcome *w, bool rebooted)
{
	struct lh_fs *fs = ctx;
	struct lh_file *file;
	struct lh_lease *lease;
	struct data *data;

	lock_take(&fs->lock);
	/* Limits are the same constants in every server of this version: only who it is changes. */
	fs->welcome.session = w->session;
	fs->welcome.epoch = w->epoch;
	fs->welcome.boot = w->boot;
	fs->continued = 0;
	fs->continued_call = NULL;
	remembered_free(fs);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		TAILQ_FOREACH (lease, &file->leases, in_file)
			lease_lost(fs, lease);
	}
	data = fs->data;
	lock_drop(&fs->lock);
	if (rebooted)
		client_lost_all(fs);
	if (data)
		data_renew(data, w);
}
