/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a mount: the filesystem is opened, served to direct users if it is in this process, mounted, and the
 * other way round at the end. Nothing here may look up a path below the mount point while it is mounted, but the thread
 * that ends it (end.c).
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FUSE_MAGIC 0x65735546
#define RUN_DIR    "/run/leasehold"

/* What libfuse said last: the reason when it fails. */
static char fuse_text[256];

static void fuse_said(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[sizeof(fuse_text)];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		memcpy(fuse_text, text, sizeof(text));
	else if (level == FUSE_LOG_DEBUG)
		fprintf(stderr, "%s\n", text);
}

/* --- the filesystem behind it --- */

static int open_fs(struct mount *m)
{
	struct lh_open_options open = m->opt->open;
	struct lh_fs *fs;
	int err;

	open.size = sizeof(open);
	open.read_only = m->opt->read_only;
	err = lh_fs_open(m->opt->where, &open, &fs);
	if (err)
		return err;
	m->fs = fs;
	m->remote = lh_fs_is_remote(fs);
	if (m->remote)
		snprintf(m->address, sizeof(m->address), "%s", m->opt->where);
	err = lh_fs_act(m->fs);
	m->acts = err == 0;
	if (err && err != -EPERM && err != -EOPNOTSUPP)
		return err;
	m->allow_other = m->opt->allow_other < 0 ? geteuid() == 0 && m->acts : m->opt->allow_other;
	if (m->allow_other && !m->acts)
		return fail(-EPERM,
			    "allow_other: %s does not let this user act for others (root and the owner of its root "
			    "directory may)",
			    m->opt->where);
	return 0;
}

/* A directory for sockets that only root or this user makes names in. */
static int run_dir(char *buf, size_t size)
{
	const char *run = getenv("XDG_RUNTIME_DIR");
	bool root = geteuid() == 0;
	struct stat st;

	if (root)
		snprintf(buf, size, "%s", RUN_DIR);
	else if (run && run[0] == '/')
		snprintf(buf, size, "%s/leasehold", run);
	else
		snprintf(buf, size, "/tmp/leasehold-%u", geteuid());
	if (mkdir(buf, root ? 0755 : 0700) != 0 && errno != EEXIST)
		return fail(-errno, "cannot make %s for the socket of direct users: %s", buf, strerror(errno));
	if (lstat(buf, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return fail(-EPERM, "%s is not a directory that only this user writes", buf);
	return 0;
}

/* The same for every mount of a pool: who was connected finds it again after a restart. */
static int default_address(struct mount *m, char *buf, size_t size)
{
	struct lh_statfs st = {.size = sizeof(st)};
	char dir[128];
	int n, err;

	err = lh_fs_stat(m->fs, &st);
	if (!err)
		err = run_dir(dir, sizeof(dir));
	if (err)
		return err;
	n = snprintf(buf, size, "unix:%s/", dir);
	for (unsigned k = 0; k < sizeof(st.uuid) && (size_t)n + 8 < size; k++)
		n += snprintf(buf + n, size - (size_t)n, "%02x", st.uuid[k]);
	snprintf(buf + n, size - (size_t)n, ".sock");
	return 0;
}

/* Where nobody can listen by default the mount still works, without direct users. */
static int listen_on(struct mount *m)
{
	/* Everybody who may use the mount may try; the server asks the kernel who each peer is. */
	struct lh_server_options so = {.size = sizeof(so), .socket_mode = m->allow_other ? 0666 : 0600};
	const char *address = m->opt->listen;
	char buf[MOUNT_NAME_MAX];
	int err = 0;

	if (m->remote && address && strcmp(address, "none") != 0)
		return fail(-EINVAL, "listen: %s is served already", m->opt->where);
	if (m->remote || (address && strcmp(address, "none") == 0))
		return 0;
	if (!address) {
		err = default_address(m, buf, sizeof(buf));
		address = buf;
	}
	if (!err)
		err = lh_server_start(m->fs, address, &so, &m->server);
	if (err && m->opt->listen)
		return err;
	if (err)
		fprintf(stderr, "leasehold mount: no direct access to what is mounted: %s\n", lh_error_text());
	else
		snprintf(m->address, sizeof(m->address), "%s", lh_server_address(m->server));
	return 0;
}

/* --- the kernel's side --- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;
	unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS |
			FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO | FUSE_CAP_DONT_MASK;

	/* With a watch pages are good until it says otherwise; else until the times of the file change. */
	want |= m->watch ? FUSE_CAP_EXPLICIT_INVAL_DATA : FUSE_CAP_AUTO_INVAL_DATA;
	if (m->acts)
		want |= FUSE_CAP_POSIX_ACL;
	conn->want = want & conn->capable;
	conn->max_write = MOUNT_WRITE_MAX;
	conn->max_background = 64;
	conn->time_gran = 1;
}

static struct fuse_lowlevel_ops operations(const struct mount *m)
{
	struct fuse_lowlevel_ops ops = {.init = op_init};

	names_ops(&ops);
	attr_ops(&ops);
	xattr_ops(&ops);
	file_ops(&ops);
	if (m->remote)
		file_ops_remote(&ops);
	data_ops(&ops);
	dir_ops(&ops);
	return ops;
}

static bool add_option(struct fuse_args *args, const char *text)
{
	return fuse_opt_add_arg(args, "-o") == 0 && fuse_opt_add_arg(args, text) == 0;
}

/* fsname=TEXT with what separates options taken as it is. */
static void name_option(const char *name, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "fsname=");

	for (; *name && n + 3 < size; name++) {
		if (*name == ',' || *name == '\\')
			buf[n++] = '\\';
		buf[n++] = *name;
	}
	buf[n] = '\0';
}

static int session_new(struct mount *m)
{
	struct fuse_lowlevel_ops ops = operations(m);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char name[1024];
	bool ok;

	name_option(m->opt->fsname ? m->opt->fsname : m->opt->where, name, sizeof(name));
	ok = fuse_opt_add_arg(&args, "leasehold") == 0 && add_option(&args, name) &&
	     add_option(&args, "subtype=leasehold");
	ok = ok && (!m->acts || add_option(&args, "default_permissions"));
	ok = ok && (!m->allow_other || add_option(&args, "allow_other"));
	ok = ok && (!m->opt->read_only || add_option(&args, "ro"));
	ok = ok && (!m->opt->debug || add_option(&args, "debug"));
	ok = ok && (!m->opt->kernel || !m->opt->kernel[0] || add_option(&args, m->opt->kernel));
	fuse_set_log_func(fuse_said);
	if (ok)
		m->se = fuse_session_new(&args, &ops, sizeof(ops), m);
	fuse_opt_free_args(&args);
	if (!ok)
		return -ENOMEM;
	return m->se ? 0 : fail(-EINVAL, "%s", fuse_text[0] ? fuse_text : "an option is not known");
}

static int device_check(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return fail(-ENODEV,
			    "this kernel has no FUSE here (/dev/fuse: %s): load it with `modprobe fuse`; a "
			    "container must be started with --device /dev/fuse",
			    strerror(errno));
	return fail(-errno, "/dev/fuse: %s; its owner must let this user open it", strerror(errno));
}

static int dir_dead(const char *dir)
{
	return fail(-EBUSY, "%s: a dead mount is there; end it with: leasehold umount %s", dir, dir);
}

static int dir_check(const char *dir)
{
	char up[4096 + 8];
	struct stat st, above;
	struct statfs fs;

	/* Attributes may be remembered from when it lived. */
	if (statfs(dir, &fs) != 0 && errno == ENOTCONN)
		return dir_dead(dir);
	if (stat(dir, &st) != 0) {
		if (errno == ENOTCONN)
			return dir_dead(dir);
		return fail(-errno, "%s: %s", dir, errno == ENOENT ? "there is no such directory" : strerror(errno));
	}
	if (!S_ISDIR(st.st_mode))
		return fail(-ENOTDIR, "%s is not a directory", dir);
	snprintf(up, sizeof(up), "%s/..", dir);
	if (stat(up, &above) == 0 && above.st_dev != st.st_dev && statfs(dir, &fs) == 0 && fs.f_type == FUSE_MAGIC)
		return fail(-EBUSY, "%s: something is mounted there already; end it with: leasehold umount %s", dir,
			    dir);
	return 0;
}

static int kernel_mount(struct mount *m)
{
	int err = session_new(m);

	if (err)
		return err;
	if (fuse_session_mount(m->se, m->opt->dir) != 0)
		return fail(-EIO, "cannot mount on %s: %s%s", m->opt->dir,
			    fuse_text[0] ? fuse_text : "fusermount3 said why",
			    geteuid() ? " (users need fusermount3 of the package fuse3, and write permission for the "
					"directory)"
				      : "");
	return mount_loop_prepare(m);
}

/* --- the whole --- */

static int start(struct mount *m)
{
	int err = dir_check(m->opt->dir);

	if (!err)
		err = device_check();
	if (!err)
		err = open_fs(m);
	if (!err)
		err = sessions_start(m);
	if (!err)
		err = listen_on(m);
	if (!err)
		err = told_start(m);
	if (!err)
		err = mount_watch_start(m);
	if (!err)
		err = calls_start(m);
	if (!err)
		err = kernel_mount(m);
	return err;
}

/* Also of what start() has got only half way. */
static int stop(struct mount *m)
{
	int err = 0;

	ender_stop(m);
	sessions_stop(m);
	if (m->fs)
		mount_watch_end(m);
	/* What the ender took out of the tree must not be looked for there again: another mount may be there. */
	if (m->se && !m->unmounted)
		fuse_session_unmount(m->se);
	if (m->se)
		fuse_session_destroy(m->se);
	ender_free(m);
	mount_loop_free(m);
	calls_stop(m);
	mount_watch_free(m);
	told_stop(m);
	mount_handles_free(m);
	if (m->server)
		lh_server_stop(m->server);
	if (m->fs)
		err = lh_fs_close(m->fs);
	sessions_free(m);
	return err;
}

int mount_run(const struct mount_options *opt, void (*ready)(void *ctx), void *ctx)
{
	struct mount *m = calloc(1, sizeof(*m));
	int err, closed;

	if (!m)
		return -ENOMEM;
	m->opt = opt;
	m->attr_s = opt->attr_s < 0 ? (opt->cache == MOUNT_CACHE_NONE ? 0 : 1) : opt->attr_s;
	m->entry_s = opt->entry_s < 0 ? (opt->cache == MOUNT_CACHE_NONE ? 0 : 1) : opt->entry_s;
	m->negative_s = opt->negative_s < 0 ? 0 : opt->negative_s;
	for (unsigned k = 0; k < MOUNT_HANDLE_LISTS; k++)
		lock_init_keyed(&m->handles[k].lock, RANK_MOUNT, LOCK_TABLE);
	err = ender_start(m);
	if (!err)
		err = start(m);
	if (!err)
		err = ender_run(m);
	if (!err) {
		ready(ctx);
		mount_watch_live(m);
		err = mount_loop(m);
	}
	if (err) {
		char text[LH_ERROR_TEXT_MAX];

		/* What ends behind it would take its place. */
		snprintf(text, sizeof(text), "%s", lh_error_text());
		(void)stop(m);
		if (text[0])
			(void)fail(err, "%s", text);
	} else {
		closed = stop(m);
		err = closed;
	}
	for (unsigned k = 0; k < MOUNT_HANDLE_LISTS; k++)
		lock_destroy(&m->handles[k].lock);
	free(m);
	return err;
}
