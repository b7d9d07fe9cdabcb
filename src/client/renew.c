/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session in place of another one (protocol P59): every grant is gone, and with it what the maps, sizes and holes of
 * the leases said. The leases themselves stay and heal with their next access (L15); the holder of a MANUAL one is
 * told; a server that restarted has lost what was written and not committed (L29).
 *
 * Runs in the thread that reads the connection, with no lock held, before anything is asked of the new session.
 * EXCLUSIVE leases do not wait for the next access: their claim stands for the grace only (L35). A thread of its own
 * asks for them, and accesses wait until it has: an access that went on beside it, by a call, would show a lease that
 * the application has used and does not hold.
 */
#include "client/client.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define RECLAIM_STACK ((size_t)256 << 10)

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
static void lease_lost(struct lh_fs *fs, struct lh_lease *lease, bool rebooted)
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
	lease->reclaim |= rebooted && held && lease->exclusive;
	lease->wanted_back |= rebooted && lease->reclaim;
	lease->changes++;
	cond_wake_all(&lease->changed);
	lock_drop(&lease->lock);
	if (held)
		atomic_fetch_add(&lease->revocations, 1);
	if (held && (lease->flags & LH_LEASE_MANUAL))
		client_event_lost(fs, lease);
}

/* A lease that is to be taken back and that nobody asked for, marked so that it stays; NULL: none. */
static struct lh_lease *reclaim_next(struct lh_fs *fs)
{
	struct lh_lease *lease, *found = NULL;
	struct lh_file *file;

	lock_take(&fs->lock);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		TAILQ_FOREACH (lease, &file->leases, in_file) {
			lock_take(&lease->lock);
			if (!found && lease->wanted_back && !lease->dead) {
				lease->wanted_back = false;
				lease->reclaiming = true;
				found = lease;
			}
			lock_drop(&lease->lock);
		}
	}
	if (!found)
		fs->reclaimer_runs = false;
	lock_drop(&fs->lock);
	return found;
}

static void *reclaim_main(void *arg)
{
	struct lh_fs *fs = arg;
	struct lh_lease *lease = reclaim_next(fs);

	while (lease) {
		struct range range;
		int err;

		lock_take(&lease->lock);
		/* A request that was under way when the server died may have brought it already. */
		range = map_covers(&lease->map, lease->expected) ? (struct range){0, 0} : lease->expected;
		lock_drop(&lease->lock);
		err = range_empty(range) ? 0 : client_lease_take_back(lease, range);
		if (err)
			log_info("client", "%s: an EXCLUSIVE lease could not be taken back at once: %s",
				 fs->address.text, fail_text()[0] ? fail_text() : strerror(-err));
		lock_take(&lease->lock);
		lease->reclaiming = false;
		cond_wake_all(&lease->changed);
		lock_drop(&lease->lock);
		lease = reclaim_next(fs);
	}
	return NULL;
}

/* In the reader's thread, which may join a thread that has nothing more to do but to end. */
static void reclaim_start(struct lh_fs *fs)
{
	bool wanted = false, runs;
	struct lh_file *file;
	struct lh_lease *lease;
	sigset_t all, before;
	pthread_attr_t attr;

	lock_take(&fs->lock);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		TAILQ_FOREACH (lease, &file->leases, in_file) {
			lock_take(&lease->lock);
			wanted |= lease->wanted_back;
			lock_drop(&lease->lock);
		}
	}
	runs = fs->reclaimer_runs;
	fs->reclaimer_runs |= wanted;
	lock_drop(&fs->lock);
	if (!wanted || runs)
		return;
	client_reclaim_end(fs);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, RECLAIM_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	fs->reclaimer_made = pthread_create(&fs->reclaimer, &attr, reclaim_main, fs) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (fs->reclaimer_made)
		return;
	/* The next access asks. */
	lock_take(&fs->lock);
	fs->reclaimer_runs = false;
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		TAILQ_FOREACH (lease, &file->leases, in_file) {
			lock_take(&lease->lock);
			lease->wanted_back = false;
			cond_wake_all(&lease->changed);
			lock_drop(&lease->lock);
		}
	}
	lock_drop(&fs->lock);
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
	atomic_store(&fs->features, w->features);
	client_watch_lost(fs);
	fs->continued = 0;
	fs->continued_call = NULL;
	remembered_free(fs);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		TAILQ_FOREACH (lease, &file->leases, in_file)
			lease_lost(fs, lease, rebooted);
	}
	data = fs->data;
	lock_drop(&fs->lock);
	if (rebooted)
		client_lost_all(fs);
	if (data)
		data_renew(data, w);
	if (rebooted)
		reclaim_start(fs);
}

bool client_coming_back(const struct lh_lease *lease)
{
	return (lease->wanted_back || lease->reclaiming) && !lease->dead;
}

int client_come_back_wait(struct lh_lease *lease)
{
	uint64_t before = atomic_load(&lease_session(lease)->interrupts);
	int err = 0;

	lock_take(&lease->lock);
	while (!err && client_coming_back(lease)) {
		cond_wait(&lease->changed, &lease->lock);
		err = client_interrupted(lease_session(lease), before);
	}
	lock_drop(&lease->lock);
	return err;
}

void client_reclaim_wait(struct lh_lease *lease)
{
	lock_take(&lease->lock);
	lease->wanted_back = false;
	while (lease->reclaiming)
		cond_wait(&lease->changed, &lease->lock);
	lease->reclaim = false;
	lock_drop(&lease->lock);
}

void client_reclaim_end(struct lh_fs *fs)
{
	if (fs->reclaimer_made)
		pthread_join(fs->reclaimer, NULL);
	fs->reclaimer_made = false;
}
