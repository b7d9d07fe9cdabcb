/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: who serves others works with inode numbers and with other people's rights (L37): paths from an inode on, the
 * inode itself, ownership and permissions of whom the thread acts for, and what an inode is like after the call.
 * With an argument (unix, tcp) all of it on a server's address.
 */
#include "local_test.h"

#include <sys/sysmacros.h>

#define SOMEBODY 1234u

static const char *way = "mem";

struct place {
	struct lh_fs *fs;   /* where the calls go */
	struct lh_fs *pool; /* behind the server; or the same */
	struct lh_server *server;
	char dir[32];
};

static struct lh_fs *place_open(struct place *p)
{
	struct lh_server_options opt = {
	    .size = sizeof(opt), .tcp_as_given = true, .tcp_uid = geteuid(), .tcp_gid = getegid()};
	char address[64] = "tcp:127.0.0.1:0";

	*p = (struct place){.dir = "/tmp/lh-caller-XXXXXX"};
	p->fs = p->pool = mem_open(0);
	if (strcmp(way, "mem") == 0)
		return p->fs;
	assert_non_null(mkdtemp(p->dir));
	if (strcmp(way, "unix") == 0)
		snprintf(address, sizeof(address), "unix:%s/s", p->dir);
	ok(lh_server_start(p->pool, address, &opt, &p->server));
	ok(lh_fs_open(lh_server_address(p->server), NULL, &p->fs));
	return p->fs;
}

static void place_close(struct place *p)
{
	ok(lh_fs_close(p->fs));
	if (!p->server)
		return;
	lh_server_stop(p->server);
	ok(lh_fs_close(p->pool));
	assert_int_equal(rmdir(p->dir), 0);
}

static struct lh_caller caller_of(struct lh_stat *st)
{
	*st = (struct lh_stat){.size_of = sizeof(*st)};
	return (struct lh_caller){.size = sizeof(struct lh_caller), .uid = SOMEBODY, .gid = SOMEBODY + 1, .stat = st};
}

static void names_start_from_an_inode(void **state)
{
	struct place place;
	struct lh_fs *fs = place_open(&place);
	struct lh_file *file, *none;
	struct lh_caller who;
	struct lh_stat st, got;
	uint64_t dir, ino;
	char target[16];

	who = caller_of(&st);
	ok(lh_thread_caller(&who));
	ok(lh_path_mkdir(fs, "/d", 0755));
	assert_true(S_ISDIR(st.mode));
	dir = st.ino;
	who.at[0] = dir;
	ok(lh_file_open(fs, "f", O_CREAT | O_EXCL | O_RDWR, 0640, &file));
	assert_int_equal(st.mode, S_IFREG | 0640);
	ino = st.ino;
	assert_int_equal(lh_file_write(file, "bytes", 5, 0), 5);
	who.at[0] = ino;
	got = (struct lh_stat){.size_of = sizeof(got)};
	ok(lh_path_stat(fs, "", false, &got));
	assert_int_equal(got.ino, ino);
	assert_int_equal(got.size, 5);
	refused(-ENOTDIR, lh_path_stat(fs, "x", false, &got));
	/* A second name: from the inode itself to a name in another. */
	who.at[1] = dir;
	ok(lh_path_link(fs, "", "g"));
	assert_int_equal(st.nlink, 2);
	who.at[0] = dir;
	who.at[1] = 1;
	ok(lh_path_rename(fs, "g", "top", 0));
	ok(lh_path_symlink(fs, "f", "s"));
	assert_true(S_ISLNK(st.mode));
	who.at[0] = st.ino;
	assert_int_equal(lh_path_readlink(fs, "", target, sizeof(target)), 1);
	refused(-ELOOP, lh_file_open(fs, "", O_RDONLY, 0, &none));
	/* Unlinked and open: the number still means it; closed: it means nothing, ever again. */
	who.at[0] = 1;
	ok(lh_path_unlink(fs, "top"));
	who.at[0] = dir;
	ok(lh_path_unlink(fs, "f"));
	who.at[0] = ino;
	ok(lh_path_stat(fs, "", false, &got));
	assert_int_equal(got.nlink, 0);
	ok(lh_file_close(file));
	refused(-ESTALE, lh_path_stat(fs, "", false, &got));
	ok(lh_thread_caller(NULL));
	refused(-ENOENT, lh_path_stat(fs, "", false, &got));
	place_close(&place);
}

/* fstat of an open directory that was removed comes with its number (generic/035 of xfstests). */
static void a_removed_directory_lives_while_it_is_open(void **state)
{
	struct place place;
	struct lh_fs *fs = place_open(&place);
	struct lh_stat st, got = {.size_of = sizeof(got)};
	struct lh_caller who = caller_of(&st);
	struct lh_dirent d;
	struct lh_dir *dir;

	ok(lh_thread_caller(&who));
	ok(lh_path_mkdir(fs, "/gone", 0755));
	who.at[0] = st.ino;
	who.stat = NULL;
	ok(lh_dir_open(fs, "", &dir));
	who.at[0] = 1;
	ok(lh_path_rmdir(fs, "gone"));
	who.at[0] = st.ino;
	ok(lh_path_stat(fs, "", false, &got));
	assert_true(S_ISDIR(got.mode));
	assert_int_equal(got.nlink, 0);
	refused(-ENOENT, lh_path_mkdir(fs, "in", 0755));
	refused(-ENOENT, lh_path_stat(fs, "in", false, &got));
	assert_int_equal(lh_dir_next(dir, &d), 0);
	lh_dir_close(dir);
	refused(-ESTALE, lh_path_stat(fs, "", false, &got));
	ok(lh_thread_caller(NULL));
	place_close(&place);
}

static void others_rights_count_where_they_may(void **state)
{
	struct place place;
	struct lh_fs *fs = place_open(&place);
	struct lh_caller who;
	struct lh_stat st;
	uint32_t groups[] = {77};

	ok(lh_path_mkdir(fs, "/closed", 0700));
	ok(lh_path_mkdir(fs, "/open", 0777));
	ok(lh_path_mkdir(fs, "/team", 0770));
	ok(lh_path_chown(fs, "/team", UINT32_MAX, 77));
	who = caller_of(&st);
	ok(lh_thread_caller(&who));
	ok(lh_path_mkdir(fs, "/closed/mine", 0755));
	assert_int_equal(st.uid, geteuid()); /* nobody has allowed it to be somebody else */
	ok(lh_fs_act(fs));
	refused(-EACCES, lh_path_mkdir(fs, "/closed/his", 0755));
	who.umask = 022;
	ok(lh_path_mkdir(fs, "/open/his", 0777));
	assert_int_equal(st.mode, S_IFDIR | 0755);
	assert_int_equal(st.uid, SOMEBODY);
	assert_int_equal(st.gid, SOMEBODY + 1);
	refused(-EACCES, lh_path_mkdir(fs, "/team/his", 0755));
	who.groups = groups;
	who.group_count = 1;
	ok(lh_path_mkdir(fs, "/team/his", 0755));
	refused(-EPERM, lh_path_mknod(fs, "/open/null", S_IFCHR | 0666, makedev(1, 3)));
	who.flags = LH_CALLER_CHECKED;
	ok(lh_path_mknod(fs, "/open/null", S_IFCHR | 0666, makedev(1, 3)));
	ok(lh_path_mkdir(fs, "/closed/checked", 0755));
	assert_int_equal(st.uid, SOMEBODY);
	ok(lh_thread_caller(NULL));
	place_close(&place);
}

static void listings_come_with_attributes(void **state)
{
	struct place place;
	struct lh_fs *fs = place_open(&place);
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_dirent d;
	struct lh_dir *dir;
	unsigned n = 0;

	for (unsigned k = 0; k < 200; k++) {
		char name[16];

		snprintf(name, sizeof(name), "/f%u", k);
		ok(lh_path_mkdir(fs, name, 0700));
	}
	ok(lh_dir_open(fs, "/", &dir));
	while (lh_dir_next_stat(dir, &d, &st) == 1) {
		assert_int_equal(st.ino, d.ino);
		assert_int_equal(st.mode, S_IFDIR | 0700);
		n++;
	}
	assert_int_equal(n, 200);
	lh_dir_close(dir);
	place_close(&place);
}

static void what_makes_no_sense_is_refused(void **state)
{
	struct lh_caller who = {.size = 8};

	refused(-EINVAL, lh_thread_caller(&who));
	who.size = sizeof(who);
	who.flags = 64;
	refused(-EINVAL, lh_thread_caller(&who));
	who.flags = 0;
	who.group_count = 1;
	refused(-EINVAL, lh_thread_caller(&who));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_start_from_an_inode),
	    cmocka_unit_test(a_removed_directory_lives_while_it_is_open),
	    cmocka_unit_test(others_rights_count_where_they_may),
	    cmocka_unit_test(listings_come_with_attributes),
	    cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	if (argc > 1)
		way = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
