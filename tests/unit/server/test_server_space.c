/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: attributes, snapshots, limits and space over the wire: what peers say is checked here too, and only
 * administrators change what is everybody's (P31, P35, P36, P38, L37).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "raw.h"

#define SOMEBODY 1234
#define MIB      ((uint64_t)1 << 20)

static int setup(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));

	assert_non_null(rig);
	rig_start(rig, 0, NULL, NULL);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	rig_stop(*state);
	free(*state);
	return 0;
}

static int limit(struct raw *r, unsigned type, uint32_t kind, uint32_t id, uint64_t bytes, const char *path)
{
	union proto_body b = {
	    .limit_ask = {.kind = kind, .id = id, .bytes = bytes, .inodes = 3, .path = proto_str_of(path)}};

	return raw_call(r, type, 0, &b);
}

static int resize(struct raw *r, uint64_t bytes)
{
	union proto_body b = {.resize = {.bytes = bytes}};

	return raw_call(r, PROTO_FS_RESIZE, 0, &b);
}

static int evacuate(struct raw *r, uint64_t off, uint64_t len)
{
	union proto_body b = {.evacuate = {.range = {off, len}}};

	return raw_call(r, PROTO_FS_EVACUATE, 0, &b);
}

static int snapshot(struct raw *r, const char *from, const char *to)
{
	union proto_body b = {.rename = {.flags = 1, .from = proto_str_of(from), .to = proto_str_of(to)}};

	return raw_call(r, PROTO_FS_SNAPSHOT, 0, &b);
}

static int snapshot_delete(struct raw *r, const char *path)
{
	union proto_body b = {.path = {.path = proto_str_of(path)}};

	return raw_call(r, PROTO_FS_SNAPSHOT_DELETE, 0, &b);
}

/* How many are told, and how many with their path. */
static int snapshots(struct raw *r, unsigned *with_path)
{
	struct proto_snapshot_info s;
	uint32_t cursor = 0;
	int n = 0;

	*with_path = 0;
	if (raw_call(r, PROTO_FS_SNAPSHOTS, 0, NULL))
		return -1;
	while (proto_snapshot_info_next(&r->body.snapshots.snapshots, &cursor, &s)) {
		n++;
		*with_path += s.path.len != 0;
	}
	return n;
}

/* In a process of its own; the number of the line that went wrong. */
#define NEED(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			return __LINE__ & 0xff;                                                                        \
	} while (0)

static int as_somebody(struct rig *rig, bool owner)
{
	unsigned with_path;
	struct raw *r;

	NEED(setgid(SOMEBODY) == 0 && setuid(SOMEBODY) == 0);
	r = raw_open(rig->address);
	NEED(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_UID, 77, MIB, "") == (owner ? 0 : -EPERM));
	NEED(limit(r, PROTO_FS_LIMIT_GET, LH_LIMIT_UID, 76, 0, "") == 0);
	NEED(r->body.limit.limit.bytes == MIB);
	NEED(raw_call(r, PROTO_FS_LIMITS, 0, NULL) == 0);
	NEED(r->body.limits.limits.count == (owner ? 2u : 1u));
	NEED(resize(r, 32 * MIB) == (owner ? 0 : -EPERM));
	NEED(evacuate(r, 20 * MIB, 4096) == (owner ? 0 : -EPERM));
	NEED(snapshot(r, "/theirs", "/pub/a") < 0);
	NEED(snapshot(r, "/pub/mine", "/pub/b") == 0);
	NEED(snapshots(r, &with_path) == 2);
	NEED(with_path == (owner ? 2u : 1u));
	NEED(snapshot_delete(r, "/pub/b") == 0);
	NEED(snapshot_delete(r, "/theirs/shot") < 0);
	raw_close(r);
	return 0;
}

static void who(struct rig *rig, bool owner)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(as_somebody(rig, owner));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		fail_msg("line %d (mod 256) of the child", WEXITSTATUS(status));
}

/* P35. */
static void only_administrators_change_what_is_everybodys(void **state)
{
	struct rig *rig = *state;
	const struct fs_setattr mine = {.mask = FS_SET_UID, .uid = SOMEBODY};
	struct raw *r;
	char path[128];

	if (geteuid() != 0)
		skip(); /* needs root to become somebody else */
	snprintf(path, sizeof(path), "%s/sock", rig->dir);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(rig->dir, 0755), 0);
	r = raw_open(rig->address);
	assert_int_equal(fs_mkdir(rig->fs, &rig->root, "/pub", 0777), 0);
	assert_int_equal(fs_mkdir(rig->fs, &rig->root, "/pub/mine", 0755), 0);
	assert_int_equal(fs_setattr(rig->fs, &rig->root, "/pub/mine", true, &mine), 0);
	assert_int_equal(fs_mkdir(rig->fs, &rig->root, "/theirs", 0700), 0);
	assert_int_equal(fs_mkdir(rig->fs, &rig->root, "/theirs/dir", 0700), 0);
	assert_int_equal(snapshot(r, "/theirs/dir", "/theirs/shot"), 0);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_UID, 76, MIB, ""), 0);
	who(rig, false);
	assert_int_equal(fs_setattr(rig->fs, &rig->root, "/", true, &mine), 0);
	who(rig, true);
	raw_close(r);
}

static void what_peers_ask_for_is_checked(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	union proto_body b;
	uint64_t h;

	rig_file(rig, "/f", 65536, 'x');
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &h), 0);
	assert_int_equal(resize(r, 0), -EINVAL);
	assert_int_equal(resize(r, 32 * MIB + 1), -EINVAL);
	assert_int_equal(resize(r, UINT64_MAX - 4095), -EINVAL);
	assert_int_equal(evacuate(r, 0, 0), -EINVAL);
	assert_int_equal(evacuate(r, UINT64_MAX - 4096, 4096), -EINVAL);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_UID, 1, 1, "/f"), -EINVAL);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_TREE, 1, 1, ""), -EINVAL);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_TREE, 1, 1, "/f"), -ENOTDIR);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_UID, 1, UINT64_MAX, ""), 0);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_GET, LH_LIMIT_UID, 1, 0, ""), 0);
	assert_true(r->body.limit.limit.bytes >= UINT64_MAX - 4096);
	b = (union proto_body){.rename = {.flags = 2, .from = {"/", 1}, .to = {"/s", 2}}};
	assert_int_equal(raw_call(r, PROTO_FS_SNAPSHOT, 0, &b), -EINVAL);
	/* P38. */
	b = (union proto_body){.clone_range = {.dst = h, .src = h, .src_off = 1ull << 40, .len = (1ull << 30) + 1}};
	assert_int_equal(raw_call(r, PROTO_FILE_DEDUPE_RANGE, 0, &b), -EINVAL);
	b.clone_range = (struct proto_clone_range){.dst = h, .dst_off = UINT64_MAX, .src = h, .len = 4096};
	assert_int_equal(raw_call(r, PROTO_FILE_COPY_RANGE, 0, &b), -EFBIG);
	assert_int_equal(raw_call(r, PROTO_FILE_EXCHANGE_RANGE, 0, &b), -EFBIG);
	b.clone_range = (struct proto_clone_range){.dst = h, .src = h + 1, .len = 4096};
	assert_int_equal(raw_call(r, PROTO_FILE_EXCHANGE_RANGE, 0, &b), -EBADF);
	b = (union proto_body){.file_seek = {.handle = h, .off = UINT64_MAX}};
	assert_int_equal(raw_call(r, PROTO_FILE_SEEK, 0, &b), -ENXIO);
	b = (union proto_body){.file_setattr = {.handle = h, .mask = PROTO_SET_MODE, .mode = 0170644}};
	(void)raw_call(r, PROTO_FILE_SETATTR, 0, &b);
	b = (union proto_body){.handle = {.handle = h}};
	assert_int_equal(raw_call(r, PROTO_FILE_STAT, 0, &b), 0);
	assert_int_equal(r->body.attr.mode & S_IFMT, S_IFREG);
	b = (union proto_body){.mknod = {.mode = S_IFDIR | 0755, .path = {"/d", 2}}};
	assert_true(raw_call(r, PROTO_PATH_MKNOD, 0, &b) < 0);
	b.mknod.mode = UINT32_MAX;
	assert_true(raw_call(r, PROTO_PATH_MKNOD, 0, &b) < 0);
	/* A directory is no file to map and lease. */
	assert_int_equal(raw_file_open(r, "/", PROTO_O_READ, &h), -EISDIR);
	raw_close(r);
}

static void attributes_are_as_long_as_they_are(void **state)
{
	static char value[PROTO_VALUE_MAX];
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	union proto_body b;

	memset(value, 'v', sizeof(value));
	rig_file(rig, "/f", 10, 'x');
	b = (union proto_body){
	    .xattr_set = {.follow = 1, .path = {"/f", 2}, .name = {"user.a", 6}, .value = {value, sizeof(value)}}};
	assert_int_equal(raw_call(r, PROTO_PATH_SETXATTR, 0, &b), 0);
	b = (union proto_body){.xattr_get = {.follow = 1, .path = {"/f", 2}, .name = {"user.a", 6}}};
	assert_int_equal(raw_call(r, PROTO_PATH_GETXATTR, 0, &b), 0);
	assert_int_equal(r->body.xattr.length, sizeof(value));
	assert_int_equal(r->body.xattr.value.len, 0);
	b.xattr_get.room = 100;
	assert_int_equal(raw_call(r, PROTO_PATH_GETXATTR, 0, &b), -ERANGE);
	b.xattr_get.room = PROTO_VALUE_MAX;
	assert_int_equal(raw_call(r, PROTO_PATH_GETXATTR, 0, &b), 0);
	assert_int_equal(r->body.xattr.value.len, sizeof(value));
	assert_memory_equal(r->body.xattr.value.bytes, value, sizeof(value));
	b.xattr_get.name = (struct proto_str){0};
	assert_true(raw_call(r, PROTO_PATH_GETXATTR, 0, &b) < 0);
	assert_int_equal(raw_call(r, PROTO_PATH_LISTXATTR, 0, &b), 0);
	assert_int_equal(r->body.xattr.value.len, 7);
	assert_memory_equal(r->body.xattr.value.bytes, "user.a", 7);
	b.xattr_get.name = (struct proto_str){"user.a", 6};
	assert_int_equal(raw_call(r, PROTO_PATH_REMOVEXATTR, 0, &b), 0);
	assert_int_equal(raw_call(r, PROTO_PATH_REMOVEXATTR, 0, &b), -ENODATA);
	raw_close(r);
}

static void a_read_only_session_changes_nothing(void **state)
{
	static const unsigned types[] = {PROTO_FS_SNAPSHOT,       PROTO_FS_SNAPSHOT_DELETE,  PROTO_FS_LIMIT_SET,
					 PROTO_FS_RESIZE,         PROTO_FS_EVACUATE,         PROTO_PATH_MKNOD,
					 PROTO_PATH_SETXATTR,     PROTO_PATH_REMOVEXATTR,    PROTO_FILE_ALLOCATE,
					 PROTO_FILE_DEDUPE_RANGE, PROTO_FILE_EXCHANGE_RANGE, PROTO_FILE_COPY_RANGE,
					 PROTO_FILE_LINK,         PROTO_FILE_SETATTR,        PROTO_FILE_DEFRAGMENT};
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);
	union proto_body b;
	uint64_t h;

	rig_file(rig, "/f", 10, 'x');
	raw_hello(r, 1, 1, PROTO_HELLO_READ_ONLY, 0);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &h), 0);
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		memset(&b, 0, sizeof(b));
		if (types[i] == PROTO_FS_LIMIT_SET)
			b.limit_ask.kind = LH_LIMIT_UID;
		assert_int_equal(raw_call(r, types[i], 0, &b), -EROFS);
	}
	assert_int_equal(raw_file_open(r, "/", PROTO_O_READ | PROTO_O_WRITE | PROTO_O_TMPFILE, &h), -EROFS);
	raw_close(r);
}

/* P36: a shrink that has to move tells how far it is, with its own number, before its answer. */
static void a_long_request_tells_how_far_it_is(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	union proto_body b = {.resize = {.bytes = 32 * MIB}};
	unsigned told = 0;
	uint64_t seq;

	rig_file(rig, "/below", 20 * MIB, 'b');
	rig_file(rig, "/above", 20 * MIB, 'a');
	assert_int_equal(fs_unlink(rig->fs, &rig->root, "/below"), 0);
	seq = raw_send(r, PROTO_FS_RESIZE, 0, &b);
	for (;;) {
		assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
		if (r->h.flags & PROTO_REPLY)
			break;
		assert_int_equal(r->h.type, PROTO_PROGRESS);
		assert_int_equal(r->h.seq, 0);
		assert_int_equal(r->body.progress.request, seq);
		assert_true(r->body.progress.done <= r->body.progress.total);
		told++;
	}
	assert_int_equal(r->h.status, 0);
	assert_true(told >= 1);
	assert_int_equal(raw_call(r, PROTO_FS_STAT, 0, NULL), 0);
	assert_int_equal(r->body.fs_stat.blocks, 32 * MIB / 4096);
	raw_close(r);
}

/* P39: a client that goes does not stop what has begun for it. */
static void a_client_that_goes_leaves_its_work_behind(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_open(rig->address);
	union proto_body b = {.resize = {.bytes = 32 * MIB}};
	struct fs_statfs st = {0};

	rig_file(rig, "/below", 20 * MIB, 'b');
	rig_file(rig, "/above", 20 * MIB, 'a');
	assert_int_equal(fs_unlink(rig->fs, &rig->root, "/below"), 0);
	raw_send(r, PROTO_FS_RESIZE, 0, &b);
	assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
	assert_int_equal(r->h.type, PROTO_PROGRESS);
	raw_close(r);
	for (unsigned i = 0; i < 1500 && st.blocks != 32 * MIB / 4096; i++) {
		fs_statfs(rig->fs, &st);
		usleep(10000);
	}
	assert_int_equal(st.blocks, 32 * MIB / 4096);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(only_administrators_change_what_is_everybodys),
	    T(what_peers_ask_for_is_checked),
	    T(attributes_are_as_long_as_they_are),
	    T(a_read_only_session_changes_nothing),
	    T(a_long_request_tells_how_far_it_is),
	    T(a_client_that_goes_leaves_its_work_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
