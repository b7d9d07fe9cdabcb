/* SPDX-License-Identifier: BSD-2-Clause */
/* Life of a filesystem: format, mount, the checkpoint thread, unmount. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "fs/claims.h"
#include "fs/core.h"
#include "fs/dir.h"
#include "fs/evacuate.h"
#include "fs/freeze.h"
#include "fs/keeper.h"
#include "fs/limit.h"

#define COMMIT_INTERVAL_NS (5 * NS_PER_SEC)
#define EXCLUSIVE_MAX_NS   (60 * NS_PER_SEC)

int fs_format(struct pool *pool, const struct fs_format_options *opt)
{
	int64_t now = (int64_t)clock_real_ns();
	struct inode_attr root = {
	    .ino = FS_ROOT_INO, .atime_ns = now, .mtime_ns = now, .ctime_ns = now, .btime_ns = now};
	uint32_t mode = opt && opt->root_mode ? opt->root_mode & MODE_PERM : 0755;

	if (pool->read_only)
		return fail(-EROFS, "%s: opened read-only, cannot be formatted", pool->name);
	root.mode = S_IFDIR | mode;
	root.uid = opt ? opt->root_uid : 0;
	root.gid = opt ? opt->root_gid : 0;
	return journal_format(pool, &root);
}

/* --- mount ---------------------------------------------------------------------------------------------------------
 */

static int arbiter_new(struct fs *fs, const struct fs_mount_options *opt)
{
	struct lease_options lease = opt->lease;

	fs->clock = lease.clock;
	lease.exclusive_max_ns = lease.exclusive_max_ns ? lease.exclusive_max_ns : EXCLUSIVE_MAX_NS;
	fs->exclusive_max_ns = lease.exclusive_max_ns;
	lease.denier_gone = claim_lost;
	lease.denier_ctx = fs;
	lease.writer = watch_writer;
	lease.writer_ctx = fs;
	return lease_arbiter_new(&lease, &fs->arbiter);
}

static int fs_new(struct pool *pool, const struct fs_mount_options *opt, struct fs **out)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int err;

	*out = fs;
	if (!fs)
		return -ENOMEM;
	fs->pool = pool;
	fs->read_only = opt->read_only || pool->read_only;
	fs->extents_max = opt->extents_max ? opt->extents_max : FS_EXTENTS_MAX;
	atomic_init(&fs->next_ino, FS_ROOT_INO + 1);
	if (getrandom(&fs->name_seed, sizeof(fs->name_seed), 0) != (ssize_t)sizeof(fs->name_seed))
		fs->name_seed = clock_now_ns();
	lock_init(&fs->rename, RANK_RENAME);
	err = watches_init(fs);
	if (!err)
		err = freeze_init(fs);
	if (!err)
		err = limits_init(fs);
	if (!err)
		err = itable_init(fs);
	if (!err)
		err = alloc_new(pool->size / LH_BLOCK_SIZE, pool->class == POOL_MSYNC, &fs->alloc);
	if (!err)
		err = keeper_init(fs, fs->read_only ? 0 : opt->orphan_limit_ns);
	if (!err)
		err = claims_init(fs);
	if (!err)
		err = arbiter_new(fs, opt);
	return err;
}

/* What may be half made. Every session is closed, or is only of this fs's own leases. */
static void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	claims_fini(fs);
	if (fs->journal)
		journal_close(fs->journal);
	itable_fini(fs);
	if (fs->arbiter)
		lease_arbiter_free(fs->arbiter);
	keeper_fini(fs);
	alloc_free(fs->alloc);
	free(fs->bad);
	limits_fini(fs);
	freeze_fini(fs);
	watches_fini(fs);
	lock_destroy(&fs->rename);
	free(fs);
}

static void *checkpoint_main(void *ctx)
{
	struct fs *fs = ctx;

	while (journal_wait_work(fs->journal)) {
		int err = walk_checkpoint(fs, false);

		if (err)
			log_warn("fs", "%s: checkpoint failed: %s", fs->pool->name, strerror(-err));
	}
	return NULL;
}

/* Unlinked files that were open at the crash. Nobody can name them, so that nobody else is there. */
static void reclaim_orphans(struct fs *fs)
{
	itable_walk_begin(fs);
	for (unsigned k = 0; k < ITABLE_SHARDS; k++) {
		struct itable_shard *s = &fs->table[k];

		for (uint32_t b = 0; b < s->bucket_count; b++) {
			struct inode *next;

			for (struct inode *i = s->buckets[b]; i; i = next) {
				next = i->next;
				if (atomic_load(&i->refs) != REF_ORPHAN)
					continue;
				atomic_store(&i->refs, REF_ORPHAN | 1);
				inode_put(fs, i);
			}
		}
	}
	itable_walk_end(fs);
}

static int fs_replay(struct fs *fs)
{
	int err = fs->read_only ? journal_open_read_only(fs->pool, &fs_apply, fs, &fs->journal)
				: journal_open(fs->pool, &fs_apply, fs, &fs->journal);

	if (err)
		return fs->apply_error ? fs->apply_error : err;
	err = journal_mark_space(fs->journal, fs->alloc);
	if (!err)
		err = apply_finish(fs);
	if (!err)
		err = bad_finish(fs);
	if (!err)
		err = limit_pins_load(fs);
	if (!err)
		err = journal_start(fs->journal, fs->alloc, fs->read_only);
	if (err)
		return err;
	fs->journal_ready = true;
	if (journal_next_ino(fs->journal) > atomic_load(&fs->next_ino))
		atomic_store(&fs->next_ino, journal_next_ino(fs->journal));
	journal_size_hint(fs->journal, (uint64_t)atomic_load(&fs->checkpoint_bytes));
	atomic_store(&fs->checkpoint_hinted, atomic_load(&fs->checkpoint_bytes));
	if (!fs->read_only)
		reclaim_orphans(fs);
	return 0;
}

static void stop_thread(struct fs *fs)
{
	if (!fs->has_thread)
		return;
	journal_stop(fs->journal);
	pthread_join(fs->thread, NULL);
	fs->has_thread = false;
}

int fs_mount(struct pool *pool, const struct fs_mount_options *opt, struct fs **out)
{
	static const struct fs_mount_options defaults;
	struct fs *fs = NULL;
	int err;

	if (!opt)
		opt = &defaults;
	err = fs_new(pool, opt, &fs);
	if (!err)
		err = fs_replay(fs);
	if (!err)
		err = claims_raise(fs, opt->grace_ns);
	if (!err && !fs->read_only)
		err = journal_set_interval(fs->journal,
					   opt->commit_interval_ns ? opt->commit_interval_ns : COMMIT_INTERVAL_NS);
	if (!err && !fs->read_only && !opt->no_checkpoint_thread) {
		err = -pthread_create(&fs->thread, NULL, checkpoint_main, fs);
		fs->has_thread = !err;
		if (!err)
			err = keeper_start(fs);
	}
	if (err) {
		if (fs)
			stop_thread(fs);
		fs_free(fs);
		return err;
	}
	*out = fs;
	return 0;
}

/* --- unmount -------------------------------------------------------------------------------------------------------
 */

int fs_unmount(struct fs *fs)
{
	uint64_t handles = atomic_load(&fs->handles);
	int err = 0;

	if (handles)
		return fail(-EBUSY, "%llu handles are open: close them before unmount", (unsigned long long)handles);
	/* Their removal is recorded; a sync for each would be for nothing: a checkpoint follows. */
	keeper_stop(fs);
	claims_stop(fs, fs->read_only);
	lease_unmount(fs->arbiter, 0);
	claims_settle(fs);
	stop_thread(fs);
	if (!fs->read_only) {
		/* The checkpoint has the attributes. */
		err = sync_all(fs, false);
		if (!err)
			err = walk_checkpoint(fs, true);
		if (!err)
			err = pool_sync_all(fs->pool);
	}
	fs_free(fs);
	return err;
}

void fs_abandon(struct fs *fs)
{
	if (!fs)
		return;
	keeper_stop(fs);
	claims_stop(fs, true);
	lease_unmount(fs->arbiter, 0);
	stop_thread(fs);
	fs_free(fs);
}

struct lease_arbiter *fs_arbiter(struct fs *fs)
{
	return fs->arbiter;
}

int fs_checkpoint(struct fs *fs)
{
	if (fs->read_only)
		return fail(-EROFS, "the filesystem is mounted read-only");
	return walk_checkpoint(fs, false);
}

void fs_statfs(struct fs *fs, struct fs_statfs *out)
{
	struct journal_stats js;

	journal_stats_read(fs->journal, &js);
	*out = (struct fs_statfs){.blocks = alloc_pool_blocks(fs->alloc),
				  .free_blocks = alloc_free_blocks(fs->alloc),
				  .avail_blocks = alloc_avail_blocks(fs->alloc),
				  .held_blocks = alloc_held_blocks(fs->alloc),
				  .files = atomic_load(&fs->files),
				  .log_bytes = js.log_bytes,
				  .checkpoints = js.checkpoints};
	memcpy(out->uuid, js.uuid, sizeof(out->uuid));
}
