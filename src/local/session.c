/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening and closing: pool, filesystem, session, fabric, healer, in this order; closed in the reverse one, except that
 * the session ends before the filesystem (its leases drain their keys) and the fabric after it.
 */
#include "local/local.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memlock.h"
#include "base/size.h"

#define MEM_PREFIX "mem:"

static int who_am_i(struct fs_cred *cred)
{
	gid_t groups[FS_GROUPS_MAX];
	int n = getgroups(FS_GROUPS_MAX, groups);

	if (n < 0 && errno == EINVAL)
		return fail(-EINVAL, "this process is in more than %u groups", FS_GROUPS_MAX);
	if (n < 0)
		return -errno;
	cred->uid = geteuid();
	cred->gid = getegid();
	cred->group_count = (uint32_t)n;
	for (int i = 0; i < n; i++)
		cred->groups[i] = groups[i];
	return 0;
}

/* A pool without a name, formatted. */
static int pool_in_memory(const char *where, struct pool **out)
{
	struct fs_format_options format = {.root_uid = geteuid(), .root_gid = getegid()};
	struct pool_create_args args = {.path = MEM_PREFIX};
	int err;

	err = size_parse(where + strlen(MEM_PREFIX), &args.size);
	if (err)
		return fail(-EINVAL, "%s: not a size; write mem:SIZE, for example mem:256M", where);
	err = pool_create(&args, out);
	if (err)
		return err;
	err = fs_format(*out, &format);
	if (err)
		pool_close(*out);
	return err;
}

static int session_open(struct lh_fs *fs)
{
	const struct fs_cred *cred = &fs->callers[0].cred;
	struct lease_identity who = {.uid = cred->uid, .gid = cred->gid, .pid = getpid()};
	int err;

	if (gethostname(who.host, sizeof(who.host) - 1) != 0)
		strcpy(who.host, "localhost");
	who.memlock_bytes = memlock_of(0, who.uid);
	err = lease_session_open(fs_arbiter(fs->fs), &local_session_ops, fs, &who, &fs->session);
	fs->callers[0].session = fs->session;
	fs->callers[1] = fs->callers[0];
	fs->callers[1].nowait = true;
	return err;
}

static int fabric_open(struct lh_fs *fs, const struct lh_open_options *opt)
{
	struct fabric_target_options target = {.spin_ns = opt != NULL ? opt->spin_ns : 0};
	int err;

	err = fabric_target_new(&target, &fs->target);
	if (err)
		return err;
	err = fabric_domain_new(fs->target, &fs->domain);
	if (err)
		goto free_target;
	err = fabric_loop_connect(fs->domain, NULL, &fs->conn);
	if (err)
		goto free_domain;
	return 0;

free_domain:
	fabric_domain_free(fs->domain);
free_target:
	fabric_target_free(fs->target);
	return err;
}

static void fabric_close(struct lh_fs *fs)
{
	fabric_conn_close(fs->conn);
	fabric_domain_free(fs->domain);
	fabric_target_free(fs->target);
}

static int pool_and_fs_open(struct lh_fs *fs, const char *where, const struct lh_open_options *opt)
{
	struct fs_mount_options mount = {.read_only = fs->read_only};
	int err;

	if (strncmp(where, MEM_PREFIX, strlen(MEM_PREFIX)) == 0)
		err = pool_in_memory(where, &fs->pool);
	else
		err = pool_open(where, fs->read_only, &fs->pool);
	if (err)
		return err;
	if (opt != NULL) {
		mount.lease.deadline_ns = opt->deadline_ns;
		mount.lease.deadline_max_ns = opt->deadline_max_ns;
		mount.lease.exclusive_max_ns = opt->exclusive_max_ns;
		mount.orphan_limit_ns = opt->orphan_limit_ns;
		mount.grace_ns = opt->grace_ns;
	}
	err = fs_mount(fs->pool, &mount, &fs->fs);
	if (err)
		pool_close(fs->pool);
	return err;
}

int local_open(const char *where, const struct lh_open_options *opt, struct lh_fs **out)
{
	struct lh_fs *fs = calloc(1, sizeof(*fs));
	int err;

	if (fs == NULL)
		return -ENOMEM;
	fs->head.be = &local_backend;
	fs->read_only = opt != NULL && opt->read_only;
	atomic_init(&fs->serial, 1);
	lock_init(&fs->table, RANK_PIN);
	cond_init(&fs->watch_over);
	RB_INIT(&fs->parts);
	err = who_am_i(&fs->callers[0].cred);
	if (err)
		goto free_fs;
	err = local_events_new(fs);
	if (err)
		goto free_fs;
	err = pool_and_fs_open(fs, where, opt);
	if (err)
		goto free_events;
	err = fabric_open(fs, opt);
	if (err)
		goto unmount;
	err = session_open(fs);
	if (err)
		goto close_fabric;
	err = local_healer_start(fs);
	if (err)
		goto close_session;
	devices_init(fs);
	*out = fs;
	return 0;

close_session:
	lease_session_close(fs->session);
close_fabric:
	fabric_close(fs);
unmount:
	fs_abandon(fs->fs);
	pool_close(fs->pool);
free_events:
	evqueue_free(fs->events);
free_fs:
	cond_destroy(&fs->watch_over);
	lock_destroy(&fs->table);
	free(fs);
	return err;
}

int local_close(struct lh_fs *fs)
{
	unsigned open = atomic_load(&fs->open_handles);
	bool served;
	int err;

	if (open > 0)
		return fail(-EBUSY, "%s: %u files, directories or queues are still open; close them first",
			    fs->pool->name, open);
	lock_take(&fs->table);
	served = fs->served != NULL;
	lock_drop(&fs->table);
	if (served)
		return fail(-EBUSY, "%s: a server still runs on it; stop it first", fs->pool->name);
	err = local_watch_end(fs);
	if (err)
		return err;
	local_healer_stop(fs);
	devices_fini(fs);
	lease_session_close(fs->session);
	assert(RB_EMPTY(&fs->parts));
	err = fs_unmount(fs->fs);
	fabric_close(fs);
	pool_close(fs->pool);
	evqueue_free(fs->events);
	cond_destroy(&fs->watch_over);
	lock_destroy(&fs->table);
	free(fs);
	return err;
}

void local_serve_begin(struct lh_fs *fs, struct local_served *served)
{
	lock_take(&fs->table);
	served->next = fs->served;
	fs->served = served;
	lock_drop(&fs->table);
}

void local_serve_end(struct lh_fs *fs, struct local_served *served)
{
	struct local_served **at = &fs->served;

	lock_take(&fs->table);
	while (*at != served)
		at = &(*at)->next;
	*at = served->next;
	lock_drop(&fs->table);
}

struct fs *local_fs(struct lh_fs *fs)
{
	return fs->head.be == &local_backend ? fs->fs : NULL;
}
