/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: whoever keeps copies of names, attributes and content hears of every change that others make, and of nothing
 * else: each operation tells what it must, to all but its own session (L2 and the table of L1 are the list of
 * operations); what changes no content tells nothing; WRITE leases tell when they come and go; events that were lost
 * are ALL; and copies that follow the events are right in the end, whatever many threads do (thread sanitizer).
 */
#include "fsrig.h"

#include <stdatomic.h>
#include <sys/xattr.h>

#include "fs/watch.h"

#define ALL_MAX 65536u

static const struct lease_session_ops quiet_ops;

static void session_new(struct rig *r, struct fs_caller *who)
{
	struct lease_identity id = {.uid = 0, .pid = 1, .host = "here"};

	*who = r->root;
	assert_int_equal(lease_session_open(fs_arbiter(r->fs), &quiet_ops, NULL, &id, &who->session), 0);
}

/* --- what an operation tells --- */

struct env {
	struct rig *r;
	struct fs_caller mine, other; /* the watch's session, and another */
	struct fs_watch *w;
	char dir[32]; /* "/d7", with the files f and g, a directory sub, a link s */
	char path[8][64];
	unsigned paths;
	struct fs_handle *d, *f, *g, *tmp;
	uint64_t ino_d, ino_f, ino_g, ino_sub, ino_tmp;
	struct fs_lease lease;
	bool lives; /* lease */
};

/* dir/name, good for a few calls. */
static const char *at(struct env *e, const char *name)
{
	char *p = e->path[e->paths++ % 8];

	snprintf(p, sizeof(e->path[0]), "%s/%s", e->dir, name);
	return p;
}

static const char *ino_name(const struct env *e, uint64_t ino)
{
	if (ino == FS_ROOT_INO)
		return "root";
	if (ino == e->ino_d)
		return "d";
	if (ino == e->ino_f)
		return "f";
	if (ino == e->ino_g)
		return "g";
	if (ino == e->ino_sub)
		return "sub";
	return ino == e->ino_tmp ? "tmp" : "?";
}

/* What the watch has to say now: "D(f) A(g) E(d,name) ALL", DATA with writers "W(f)". */
static const char *told(struct env *e)
{
	static char text[ALL_MAX];
	struct fs_change c;
	size_t n = 0;

	text[0] = '\0';
	while (fs_watch_next(e->w, &c) == 1 && n < sizeof(text) - 400) {
		const char *gap = n ? " " : "";

		switch (c.type) {
		case FS_CHANGE_DATA:
			n += (size_t)sprintf(text + n, "%s%c(%s)", gap, c.writers ? 'W' : 'D', ino_name(e, c.ino));
			break;
		case FS_CHANGE_ATTR:
			n += (size_t)sprintf(text + n, "%sA(%s)", gap, ino_name(e, c.ino));
			break;
		case FS_CHANGE_ENTRY:
			n += (size_t)sprintf(text + n, "%sE(%s,%s)", gap, ino_name(e, c.ino), c.name);
			assert_int_equal(strlen(c.name), c.name_len);
			break;
		case FS_CHANGE_ALL:
			n += (size_t)sprintf(text + n, "%sALL", gap);
			break;
		}
	}
	return text;
}

static uint64_t ino_at(struct env *e, const char *path)
{
	struct fs_attr a;

	assert_int_equal(fs_stat(e->r->fs, &e->r->root, path, false, &a), 0);
	return a.ino;
}

/* Another directory with fresh files; nothing is left to tell. */
static void env_fresh(struct env *e, unsigned n)
{
	struct rig *r = e->r;

	snprintf(e->dir, sizeof(e->dir), "/d%u", n);
	assert_int_equal(fs_mkdir(r->fs, &r->root, e->dir, 0755), 0);
	rig_file(r, at(e, "f"), 'x', 8 * BLK);
	rig_file(r, at(e, "g"), 'x', 8 * BLK);
	assert_int_equal(fs_mkdir(r->fs, &r->root, at(e, "sub"), 0755), 0);
	assert_int_equal(fs_symlink(r->fs, &r->root, "f", at(e, "s")), 0);
	assert_int_equal(fs_open(r->fs, &r->root, at(e, "f"), O_RDWR, 0, &e->f), 0);
	assert_int_equal(fs_open(r->fs, &r->root, at(e, "g"), O_RDWR, 0, &e->g), 0);
	assert_int_equal(fs_open(r->fs, &r->root, e->dir, O_RDONLY, 0, &e->d), 0);
	assert_int_equal(fs_open(r->fs, &r->root, e->dir, O_RDWR | O_TMPFILE, 0600, &e->tmp), 0);
	e->ino_d = ino_at(e, e->dir);
	e->ino_f = fs_handle_ino(e->f);
	e->ino_g = fs_handle_ino(e->g);
	e->ino_tmp = fs_handle_ino(e->tmp);
	e->ino_sub = ino_at(e, at(e, "sub"));
	e->lives = false;
	(void)told(e);
}

static void env_done(struct env *e)
{
	fs_close(e->f, e->other.session, 1);
	fs_close(e->g, e->other.session, 2);
	fs_close(e->d, NULL, 0);
	fs_close(e->tmp, NULL, 0);
}

#define OP(name) static int name(struct env *e, const struct fs_caller *who)

OP(op_create)
{
	struct fs_handle *h;
	int err = fs_open(e->r->fs, who, at(e, "new"), O_RDWR | O_CREAT, 0644, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}
OP(op_open_trunc)
{
	struct fs_handle *h;
	int err = fs_open(e->r->fs, who, at(e, "f"), O_RDWR | O_TRUNC, 0, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}
OP(op_open)
{
	struct fs_handle *h;
	int err = fs_open(e->r->fs, who, at(e, "f"), O_RDWR | O_CREAT, 0, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}
OP(op_tmpfile)
{
	struct fs_handle *h;
	int err = fs_open(e->r->fs, who, e->dir, O_RDWR | O_TMPFILE, 0600, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}
OP(op_mkdir)
{
	return fs_mkdir(e->r->fs, who, at(e, "new"), 0755);
}
OP(op_mkdir_there)
{
	return fs_mkdir(e->r->fs, who, at(e, "sub"), 0755) == -EEXIST ? 0 : -EINVAL;
}
OP(op_mknod)
{
	return fs_mknod(e->r->fs, who, at(e, "new"), S_IFIFO | 0644, 0);
}
OP(op_symlink)
{
	return fs_symlink(e->r->fs, who, "to", at(e, "new"));
}
OP(op_link)
{
	return fs_link(e->r->fs, who, at(e, "f"), at(e, "new"));
}
OP(op_link_tmp)
{
	return fs_link_handle(e->tmp, who, at(e, "new"));
}
OP(op_unlink)
{
	return fs_unlink(e->r->fs, who, at(e, "f"));
}
OP(op_rmdir)
{
	return fs_rmdir(e->r->fs, who, at(e, "sub"));
}
OP(op_rename)
{
	return fs_rename(e->r->fs, who, at(e, "f"), at(e, "new"), 0);
}
OP(op_rename_away)
{
	return fs_rename(e->r->fs, who, at(e, "f"), at(e, "sub/new"), 0);
}
OP(op_rename_dir)
{
	int err = fs_mkdir(e->r->fs, who, at(e, "top"), 0755);

	(void)told(e);
	return err ? err : fs_rename(e->r->fs, who, at(e, "sub"), at(e, "top/new"), 0);
}
OP(op_replace)
{
	return fs_rename(e->r->fs, who, at(e, "f"), at(e, "g"), 0);
}
OP(op_swap)
{
	return fs_rename(e->r->fs, who, at(e, "f"), at(e, "g"), RENAME_EXCHANGE);
}
OP(op_rename_same)
{
	return fs_rename(e->r->fs, who, at(e, "f"), at(e, "f"), 0);
}
static int written(ssize_t n, size_t want)
{
	return n == (ssize_t)want ? 0 : -EIO;
}
OP(op_write_in_place)
{
	return written(fs_write(e->f, who, "abc", 3, 100), 3);
}
OP(op_write_behind)
{
	return written(fs_write(e->f, who, "abc", 3, 8 * BLK + 1), 3);
}
OP(op_write_hole)
{
	return written(fs_write(e->f, who, "abc", 3, 100 * BLK), 3);
}
OP(op_cut)
{
	return fs_truncate(e->f, who, BLK + 5);
}
OP(op_extend)
{
	return fs_truncate(e->f, who, 100 * BLK);
}
static int allocate(struct env *e, const struct fs_caller *who, int mode, uint64_t off, uint64_t len)
{
	return fs_allocate(e->f, who, mode, off, len);
}
OP(op_punch)
{
	return allocate(e, who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLK / 2, 3 * BLK);
}
OP(op_punch_small)
{
	return allocate(e, who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10, 10);
}
OP(op_zero)
{
	return allocate(e, who, FALLOC_FL_ZERO_RANGE, BLK / 2, 3 * BLK);
}
OP(op_collapse)
{
	return allocate(e, who, FALLOC_FL_COLLAPSE_RANGE, BLK, BLK);
}
OP(op_insert)
{
	return allocate(e, who, FALLOC_FL_INSERT_RANGE, BLK, BLK);
}
OP(op_reserve)
{
	return allocate(e, who, 0, 0, 20 * BLK);
}
OP(op_reserve_keep)
{
	return allocate(e, who, FALLOC_FL_KEEP_SIZE, 0, 20 * BLK);
}
OP(op_unshare)
{
	return allocate(e, who, FALLOC_FL_UNSHARE_RANGE, 0, 4 * BLK);
}
OP(op_clone)
{
	return fs_clone_range(e->g, 0, e->f, 0, 4 * BLK, who);
}
OP(op_clone_write)
{
	int err = fs_clone_range(e->g, 0, e->f, 0, 4 * BLK, who);

	(void)told(e);
	return err ? err : written(fs_write(e->f, who, "abc", 3, 0), 3);
}
OP(op_dedupe)
{
	return fs_dedupe_range(e->g, 0, e->f, 0, 4 * BLK, who);
}
OP(op_exchange)
{
	return fs_exchange_range(e->f, 0, e->g, 4 * BLK, 2 * BLK, who);
}
OP(op_copy)
{
	return written(fs_copy_range(e->g, 100, e->f, 50, 3 * BLK, who), 3 * BLK);
}
static int set(struct env *e, const struct fs_caller *who, struct fs_setattr s)
{
	return fs_setattr(e->r->fs, who, at(e, "f"), true, &s);
}
OP(op_chmod)
{
	return set(e, who, (struct fs_setattr){.mask = FS_SET_MODE, .mode = 0600});
}
OP(op_chown)
{
	return set(e, who, (struct fs_setattr){.mask = FS_SET_UID | FS_SET_GID, .uid = 7, .gid = 8});
}
OP(op_times)
{
	return set(e, who, (struct fs_setattr){.mask = FS_SET_ATIME | FS_SET_MTIME, .atime_ns = 1, .mtime_ns = 2});
}
OP(op_fchmod)
{
	return fs_fsetattr(e->f, who, &(struct fs_setattr){.mask = FS_SET_MODE, .mode = 0600});
}
OP(op_setxattr)
{
	return fs_xattr_set(e->r->fs, who, at(e, "f"), true, "user.a", "v", 1, 0);
}
OP(op_fsetxattr)
{
	return fs_fxattr_set(e->f, who, "user.a", "v", 1, 0);
}
OP(op_removexattr)
{
	int err = fs_fxattr_set(e->f, who, "user.a", "v", 1, 0);

	(void)told(e);
	return err ? err : fs_xattr_remove(e->r->fs, who, at(e, "f"), true, "user.a");
}
OP(op_acl)
{
	/* user::rw- user:5:r-- group::r-- mask::r-- other::r-- */
	static const uint8_t acl[] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
				      0, 5, 0,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
				      4, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255};

	return fs_xattr_set(e->r->fs, who, at(e, "f"), true, "system.posix_acl_access", acl, sizeof(acl), 0);
}
OP(op_looks)
{
	char buf[100];
	struct fs_attr a;

	assert_int_equal(fs_read(e->f, who, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(fs_readlink(e->r->fs, who, at(e, "s"), buf, sizeof(buf)), 1);
	assert_int_equal(fs_seek(e->f, 0, SEEK_DATA), 0);
	assert_int_equal(fs_sync(e->f, false), 0);
	assert_int_equal(fs_sync_all(e->r->fs), 0);
	assert_int_equal(fs_checkpoint(e->r->fs), 0);
	return fs_stat(e->r->fs, who, e->dir, true, &a);
}
OP(op_moves)
{
	uint64_t moved;
	int err = fs_relocate(e->f, who, 0, 4 * BLK, &moved);

	assert_true(err || moved == 4);
	return err ? err : fs_defragment(e->f, who, NULL, NULL);
}
OP(op_commit)
{
	return fs_commit(e->f, who, 0, BLK);
}
OP(op_snapshot)
{
	return fs_snapshot(e->r->fs, who, at(e, "sub"), at(e, "snap"), false);
}
OP(op_limit)
{
	struct fs_limit l = {.kind = FS_LIMIT_TREE, .blocks = 1000, .inodes = 1000};

	return fs_limit_set(e->r->fs, who, at(e, "sub"), &l);
}
OP(op_resize)
{
	return fs_resize(e->r->fs, who, 64 * MIB, NULL, NULL);
}

static const struct {
	const char *what;
	int (*run)(struct env *e, const struct fs_caller *who);
	const char *tells;
} ops[] = {
    {"create", op_create, "E(d,new)"},
    {"open, truncate", op_open_trunc, "D(f)"},
    {"open of what is there", op_open, ""},
    {"O_TMPFILE", op_tmpfile, ""},
    {"link of an O_TMPFILE", op_link_tmp, "A(tmp) E(d,new)"},
    {"mkdir", op_mkdir, "E(d,new)"},
    {"mkdir that fails", op_mkdir_there, ""},
    {"mknod", op_mknod, "E(d,new)"},
    {"symlink", op_symlink, "E(d,new)"},
    {"link", op_link, "A(f) E(d,new)"},
    {"unlink", op_unlink, "E(d,f) A(f)"},
    {"rmdir", op_rmdir, "E(d,sub) A(sub)"},
    {"rename", op_rename, "A(f) E(d,f) E(d,new)"},
    {"rename elsewhere", op_rename_away, "A(f) E(d,f) E(sub,new)"},
    {"rename of a directory", op_rename_dir, "A(sub) E(d,sub) E(?,new)"},
    {"rename that replaces", op_replace, "A(f) A(g) E(d,f) E(d,g)"},
    {"rename that exchanges", op_swap, "A(f) A(g) E(d,f) E(d,g)"},
    {"rename to itself", op_rename_same, ""},
    {"write in place", op_write_in_place, "D(f)"},
    {"write behind the end", op_write_behind, "D(f)"},
    {"write far behind the end", op_write_hole, "D(f)"},
    {"truncate down", op_cut, "D(f)"},
    {"truncate up", op_extend, "D(f)"},
    {"punch", op_punch, "D(f)"},
    {"punch within a block", op_punch_small, "D(f)"},
    {"zero range", op_zero, "D(f)"},
    {"collapse", op_collapse, "D(f)"},
    {"insert", op_insert, "D(f)"},
    {"preallocate", op_reserve, "D(f) A(f)"},
    {"preallocate, KEEP_SIZE", op_reserve_keep, "A(f)"},
    {"unshare", op_unshare, "A(f)"},
    {"clone", op_clone, "D(g)"},
    {"write to a clone's source", op_clone_write, "D(f)"},
    {"dedupe", op_dedupe, ""},
    {"exchange", op_exchange, "D(f) D(g)"},
    {"copy", op_copy, "D(g)"},
    {"chmod", op_chmod, "A(f)"},
    {"chown", op_chown, "A(f)"},
    {"utimens", op_times, "A(f)"},
    {"fchmod", op_fchmod, "A(f)"},
    {"setxattr", op_setxattr, "A(f)"},
    {"fsetxattr", op_fsetxattr, "A(f)"},
    {"removexattr", op_removexattr, "A(f)"},
    {"an ACL", op_acl, "A(f)"},
    {"looking, sync, checkpoint", op_looks, ""},
    {"relocate, defragment", op_moves, ""},
    {"commit", op_commit, "D(f)"},
    {"snapshot", op_snapshot, "E(d,snap)"},
    {"a limit of a tree", op_limit, "A(sub)"},
    {"resize", op_resize, ""},
};

static void env_setup(struct env *e, struct rig *r)
{
	memset(e, 0, sizeof(*e));
	e->r = r;
	session_new(r, &e->mine);
	session_new(r, &e->other);
	assert_int_equal(fs_watch_add(r->fs, e->mine.session, NULL, NULL, &e->w), 0);
}

static void env_end(struct env *e)
{
	fs_watch_remove(e->w);
	lease_session_close(e->mine.session);
	lease_session_close(e->other.session);
}

static void every_operation_tells_what_it_changes(void **state)
{
	unsigned wrong = 0;
	struct env e;

	env_setup(&e, *state);
	for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		int err;

		env_fresh(&e, 2 * k);
		err = ops[k].run(&e, &e.mine);
		if (err)
			fail_msg("%s: error %d: %s", ops[k].what, err, fail_text());
		if (strcmp(told(&e), "") != 0) {
			(void)ops[k].run(&e, &e.mine);
			print_error("%s: its own session is told \"%s\"\n", ops[k].what, told(&e));
			wrong++;
		}
		env_done(&e);
		env_fresh(&e, 2 * k + 1);
		assert_int_equal(ops[k].run(&e, &e.other), 0);
		{
			const char *text = told(&e);

			if (strcmp(text, ops[k].tells) != 0) {
				print_error("%s: tells \"%s\", not \"%s\"\n", ops[k].what, text, ops[k].tells);
				wrong++;
			}
		}
		env_done(&e);
	}
	assert_int_equal(wrong, 0);
	env_end(&e);
}

/* A call without a session is everybody else's. With a second watch nobody is the only one. */
static void each_watch_hears_all_but_its_own(void **state)
{
	struct fs_watch *second;
	struct fs_change c;
	struct env e;

	env_setup(&e, *state);
	env_fresh(&e, 0);
	assert_int_equal(fs_watch_add(e.r->fs, e.other.session, NULL, NULL, &second), 0);
	assert_int_equal(op_chmod(&e, &e.mine), 0);
	assert_string_equal(told(&e), "");
	assert_int_equal(fs_watch_next(second, &c), 1);
	assert_int_equal(c.type, FS_CHANGE_ATTR);
	assert_int_equal(c.ino, e.ino_f);
	assert_int_equal(fs_watch_next(second, &c), 0);
	assert_int_equal(op_write_in_place(&e, &e.other), 0);
	assert_int_equal(fs_watch_next(second, &c), 0);
	assert_string_equal(told(&e), "D(f)");
	assert_int_equal(op_create(&e, &e.r->root), 0);
	assert_string_equal(told(&e), "E(d,new)");
	assert_int_equal(fs_watch_next(second, &c), 1);
	assert_string_equal(c.name, "new");
	fs_watch_remove(second);
	/* Alone again. */
	assert_int_equal(op_chmod(&e, &e.mine), 0);
	assert_string_equal(told(&e), "");
	assert_int_equal(op_chmod(&e, &e.other), 0);
	assert_string_equal(told(&e), "A(f)");
	env_done(&e);
	env_end(&e);
}

/* What is in the removed tree has lost its names too. */
static void a_snapshots_end_tells_its_names(void **state)
{
	struct env e;

	env_setup(&e, *state);
	env_fresh(&e, 0);
	assert_int_equal(fs_snapshot(e.r->fs, &e.other, e.dir, "/snap", false), 0);
	assert_string_equal(told(&e), "E(root,snap)");
	assert_int_equal(fs_snapshot_delete(e.r->fs, &e.mine, "/snap"), 0);
	assert_string_equal(told(&e), "");
	assert_int_equal(fs_snapshot(e.r->fs, &e.mine, e.dir, "/snap", false), 0);
	assert_int_equal(fs_snapshot_delete(e.r->fs, &e.other, "/snap"), 0);
	{
		const char *text = told(&e);

		assert_memory_equal(text, "E(root,snap)", 12);
		assert_non_null(strstr(text, "E(?,f)"));
		assert_non_null(strstr(text, "A(?)"));
		assert_null(strstr(text, "(f)"));
	}
	env_done(&e);
	env_end(&e);
}

/* --- leases --- */

static int lease_take_mode(struct env *e, const struct fs_caller *who, enum lease_mode mode)
{
	struct fs_lease_args args = {.range = {0, 2 * BLK}, .mode = mode, .handle_number = 1};

	return fs_lease_get(e->f, who, &args, &e->lease);
}

static void writers_tell_when_they_come_and_go(void **state)
{
	struct fs_lease_args args = {.mode = LEASE_WRITE, .handle_number = 1};
	struct fs_lease first, second;
	struct env e;

	env_setup(&e, *state);
	env_fresh(&e, 0);
	assert_int_equal(lease_take_mode(&e, &e.other, LEASE_READ), 0);
	assert_string_equal(told(&e), "");
	/* L23: it becomes a writer, and a reader again. */
	assert_int_equal(fs_lease_change(e.f, &e.other, e.lease.lease, &args, &first), 0);
	assert_string_equal(told(&e), "W(f)");
	args.mode = LEASE_READ;
	assert_int_equal(fs_lease_change(e.f, &e.other, e.lease.lease, &args, &first), 0);
	assert_string_equal(told(&e), "D(f)");
	assert_int_equal(lease_release(e.other.session, e.lease.lease, RANGE_ALL), 0);
	assert_string_equal(told(&e), "");
	/* Two of them: there are writers until both have gone. */
	assert_int_equal(lease_take_mode(&e, &e.other, LEASE_WRITE), 0);
	first = e.lease;
	assert_string_equal(told(&e), "W(f)");
	assert_int_equal(lease_take_mode(&e, &e.other, LEASE_WRITE), 0);
	second = e.lease;
	assert_string_equal(told(&e), "W(f)");
	assert_int_equal(fs_commit(e.f, &e.other, 0, BLK), 0);
	assert_string_equal(told(&e), "W(f)");
	assert_int_equal(lease_release(e.other.session, first.lease, RANGE_ALL), 0);
	assert_string_equal(told(&e), "W(f)");
	/* A part of it is not its end. */
	assert_int_equal(lease_release(e.other.session, second.lease, (struct range){0, BLK}), 0);
	assert_string_equal(told(&e), "");
	assert_int_equal(lease_release(e.other.session, second.lease, RANGE_ALL), 0);
	assert_string_equal(told(&e), "D(f)");
	/* One's own are no news, and no writers. */
	assert_int_equal(lease_take_mode(&e, &e.mine, LEASE_WRITE), 0);
	assert_string_equal(told(&e), "");
	assert_int_equal(op_write_in_place(&e, &e.other), 0);
	assert_string_equal(told(&e), "D(f)");
	assert_int_equal(lease_release(e.mine.session, e.lease.lease, RANGE_ALL), 0);
	/* By force, and by the end of the handle. */
	assert_int_equal(lease_take_mode(&e, &e.other, LEASE_WRITE), 0);
	assert_string_equal(told(&e), "W(f)");
	assert_int_equal(lease_revoke(fs_arbiter(e.r->fs), e.lease.lease, 0, 0, UINT32_MAX, "the test"), 1);
	assert_string_equal(told(&e), "D(f)");
	assert_int_equal(lease_take_mode(&e, &e.other, LEASE_WRITE), 0);
	assert_string_equal(told(&e), "W(f)");
	lease_handle_close(e.other.session, 1);
	assert_string_equal(told(&e), "D(f)");
	env_done(&e);
	env_end(&e);
}

/* Who begins to watch, and who has lost events, hears of the writers that there are. */
static void writers_of_before_are_told(void **state)
{
	struct fs_caller late;
	struct fs_watch *w;
	struct fs_change c;
	struct env e;

	env_setup(&e, *state);
	env_fresh(&e, 0);
	assert_int_equal(lease_take_mode(&e, &e.other, LEASE_WRITE), 0);
	session_new(e.r, &late);
	assert_int_equal(fs_watch_add(e.r->fs, late.session, NULL, NULL, &w), 0);
	assert_int_equal(fs_watch_behind(w, e.ino_f), FS_BEHIND_DATA | FS_BEHIND_ATTR);
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(c.type, FS_CHANGE_DATA);
	assert_int_equal(c.ino, e.ino_f);
	assert_true(c.writers);
	assert_int_equal(fs_watch_next(w, &c), 0);
	assert_int_equal(fs_watch_behind(w, e.ino_f), 0);
	for (unsigned k = 0; k <= FS_WATCH_RING; k++)
		assert_int_equal(k % 2 ? op_chmod(&e, &e.other) : op_write_in_place(&e, &e.other), 0);
	/* Equal events that nobody has read are one. */
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(c.type, FS_CHANGE_DATA);
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(c.type, FS_CHANGE_ATTR);
	assert_int_equal(fs_watch_next(w, &c), 0);
	for (unsigned k = 0; k <= FS_WATCH_RING; k++) {
		char name[64];

		snprintf(name, sizeof(name), "%s/n%u", e.dir, k);
		assert_int_equal(fs_link(e.r->fs, &e.other, at(&e, "g"), name), 0);
	}
	assert_int_equal(fs_watch_behind(w, e.ino_f), FS_BEHIND_DATA | FS_BEHIND_ATTR | FS_BEHIND_NAMES);
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(c.type, FS_CHANGE_ALL);
	assert_false(c.writers);
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(c.ino, e.ino_f);
	assert_true(c.writers);
	assert_int_equal(fs_watch_next(w, &c), 0);
	fs_watch_remove(w);
	lease_session_close(late.session);
	env_done(&e);
	env_end(&e);
}

static void behind_says_what_was_not_told_yet(void **state)
{
	struct fs_change c;
	struct env e;

	env_setup(&e, *state);
	env_fresh(&e, 0);
	assert_int_equal(fs_watch_behind(e.w, e.ino_f), 0);
	assert_int_equal(op_chmod(&e, &e.other), 0);
	assert_int_equal(fs_watch_behind(e.w, e.ino_f), FS_BEHIND_ATTR);
	assert_int_equal(fs_watch_behind(e.w, e.ino_g), 0);
	assert_int_equal(op_write_in_place(&e, &e.other), 0);
	assert_int_equal(fs_watch_behind(e.w, e.ino_f), FS_BEHIND_ATTR | FS_BEHIND_DATA);
	assert_int_equal(op_create(&e, &e.other), 0);
	assert_int_equal(fs_watch_behind(e.w, e.ino_g), FS_BEHIND_NAMES);
	assert_int_equal(op_mkdir_there(&e, &e.mine), 0);
	/* What was returned last counts until the next is asked for. */
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(fs_watch_next(e.w, &c), 1);
	assert_int_equal(fs_watch_behind(e.w, e.ino_g), FS_BEHIND_NAMES);
	assert_int_equal(fs_watch_behind(e.w, e.ino_d), FS_BEHIND_NAMES | FS_BEHIND_ATTR);
	assert_int_equal(fs_watch_next(e.w, &c), 0);
	assert_int_equal(fs_watch_behind(e.w, e.ino_g), 0);
	/* One's own never count. */
	assert_int_equal(op_symlink(&e, &e.mine) == -EEXIST, 1);
	assert_int_equal(op_chmod(&e, &e.mine), 0);
	assert_int_equal(fs_watch_behind(e.w, e.ino_f), 0);
	env_done(&e);
	env_end(&e);
}

static void count_up(void *ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void ready_is_called_when_there_is_something_again(void **state)
{
	atomic_uint calls = 0;
	struct fs_caller late;
	struct fs_watch *w;
	struct fs_change c;
	struct env e;

	env_setup(&e, *state);
	env_fresh(&e, 0);
	session_new(e.r, &late);
	assert_int_equal(fs_watch_add(e.r->fs, late.session, count_up, &calls, &w), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(op_chmod(&e, &late), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(op_chmod(&e, &e.other), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(op_write_in_place(&e, &e.other), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(op_chmod(&e, &e.other), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(fs_watch_next(w, &c), 1);
	assert_int_equal(fs_watch_next(w, &c), 0);
	assert_int_equal(op_chmod(&e, &e.other), 0);
	assert_int_equal(calls, 2);
	fs_watch_remove(w);
	assert_int_equal(op_write_in_place(&e, &e.other), 0);
	assert_int_equal(calls, 2);
	lease_session_close(late.session);
	env_done(&e);
	env_end(&e);
}

/* --- many threads --- */

#define MAKERS 3u
#define FILES  6u
#define TURNS  400u

/* cmocka's own do not speak in threads. */
#define must(call)                                                                                                     \
	do {                                                                                                           \
		int64_t must_ = (int64_t)(call);                                                                       \
		if (must_ < 0) {                                                                                       \
			fprintf(stderr, "%s: %lld: %s\n", #call, (long long)must_, fail_text());                       \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

struct hammer {
	struct rig *r;
	struct fs_watch *w;
	struct fs_caller mine;
	struct fs_handle *h[FILES];
	_Atomic uint64_t next;
	uint64_t copy[FILES], size[FILES];
	uint32_t mode[FILES];
	unsigned alls;
	_Atomic bool over;
};

static void copy_file(struct hammer *x, unsigned k)
{
	struct fs_attr a;

	must(fs_fstat(x->h[k], &a));
	x->size[k] = a.size;
	x->mode[k] = a.mode;
	x->copy[k] = 0;
	/* It may have changed since: then there is an event that makes the copy anew. */
	must(fs_read(x->h[k], &x->mine, &x->copy[k], 8, 0));
}

/* Follows the events, as a kernel does. */
static void *follow(void *ctx)
{
	struct hammer *x = ctx;
	struct fs_change c;

	while (fs_watch_wait(x->w)) {
		if (fs_watch_next(x->w, &c) == 0)
			continue;
		for (unsigned k = 0; k < FILES; k++) {
			if (c.type == FS_CHANGE_ALL || c.ino == fs_handle_ino(x->h[k]))
				copy_file(x, k);
		}
		x->alls += c.type == FS_CHANGE_ALL;
	}
	return NULL;
}

static void *make_changes(void *ctx)
{
	struct hammer *x = ctx;
	struct fs_caller who;

	session_new(x->r, &who);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		uint64_t n = ++x->next;
		struct fs_handle *h = x->h[n % FILES];
		struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0600 | (uint32_t)(n & 077)};
		struct fs_lease_args args = {
		    .range = {0, BLK}, .mode = LEASE_WRITE, .handle_number = 1, .nowait = true};
		struct fs_lease lease;
		char name[32];

		switch (n / FILES % 5) {
		case 0:
			must(fs_truncate(h, &who, n % 3 ? 0 : BLK + n));
			break;
		case 1:
			must(fs_fsetattr(h, &who, &set));
			break;
		case 2:
			if (fs_lease_get(h, &who, &args, &lease) == 0)
				lease_release(who.session, lease.lease, RANGE_ALL);
			break;
		case 3:
			snprintf(name, sizeof(name), "/l%llu", (unsigned long long)n);
			must(fs_link_handle(h, &who, name));
			must(fs_unlink(x->r->fs, &who, name));
			break;
		default:
			must(fs_write(h, &who, &n, 8, 0));
			break;
		}
	}
	lease_session_close(who.session);
	return NULL;
}

static void copies_that_follow_are_right_in_the_end(void **state)
{
	pthread_t makers[MAKERS], follower;
	struct hammer x = {.r = *state};
	struct fs_change c;
	struct timespec pause = {.tv_nsec = 1000000};

	session_new(x.r, &x.mine);
	assert_int_equal(fs_watch_add(x.r->fs, x.mine.session, NULL, NULL, &x.w), 0);
	for (unsigned k = 0; k < FILES; k++) {
		char name[16];

		snprintf(name, sizeof(name), "/f%u", k);
		x.h[k] = rig_open(x.r, name, O_RDWR | O_CREAT);
		copy_file(&x, k);
	}
	pthread_create(&follower, NULL, follow, &x);
	for (unsigned k = 0; k < MAKERS; k++)
		pthread_create(&makers[k], NULL, make_changes, &x);
	for (unsigned k = 0; k < MAKERS; k++)
		pthread_join(makers[k], NULL);
	for (unsigned k = 0; k < FILES; k++) {
		while (fs_watch_behind(x.w, fs_handle_ino(x.h[k])))
			nanosleep(&pause, NULL);
	}
	fs_watch_stop(x.w);
	pthread_join(follower, NULL);
	while (fs_watch_next(x.w, &c) == 1) {
		for (unsigned k = 0; k < FILES; k++)
			assert_true(c.type == FS_CHANGE_ENTRY || c.ino != fs_handle_ino(x.h[k]));
	}
	for (unsigned k = 0; k < FILES; k++) {
		uint64_t now = x.copy[k], size = x.size[k];
		uint32_t mode = x.mode[k];

		copy_file(&x, k);
		assert_int_equal(x.copy[k], now);
		assert_int_equal(x.size[k], size);
		assert_int_equal(x.mode[k], mode);
		fs_close(x.h[k], NULL, 0);
	}
	print_message("%u times all was lost\n", x.alls);
	fs_watch_remove(x.w);
	lease_session_close(x.mine.session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(every_operation_tells_what_it_changes, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(each_watch_hears_all_but_its_own, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_snapshots_end_tells_its_names, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(writers_tell_when_they_come_and_go, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(writers_of_before_are_told, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(behind_says_what_was_not_told_yet, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(ready_is_called_when_there_is_something_again, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(copies_that_follow_are_right_in_the_end, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
