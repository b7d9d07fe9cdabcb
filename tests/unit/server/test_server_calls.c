/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: every call on names and files over the wire does what the filesystem's does: section 4 of docs/protocol.md,
 * L37. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "raw.h"

struct fixture {
	struct rig rig;
	struct raw *r;
};

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	rig_start(&f->rig, 0, NULL, NULL);
	f->r = raw_open(f->rig.address);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	raw_close(f->r);
	rig_stop(&f->rig);
	free(f);
	return 0;
}

static int on_path(struct raw *r, unsigned type, const char *path)
{
	union proto_body b = {.path = {.path = proto_str_of(path)}};

	return raw_call(r, type, 0, &b);
}

static int on_two(struct raw *r, unsigned type, const char *from, const char *to)
{
	union proto_body b = {.two_paths = {.from = proto_str_of(from), .to = proto_str_of(to)}};

	return raw_call(r, type, 0, &b);
}

static int rename_to(struct raw *r, const char *from, const char *to, unsigned flags)
{
	union proto_body b = {.rename = {.flags = flags, .from = proto_str_of(from), .to = proto_str_of(to)}};

	return raw_call(r, PROTO_PATH_RENAME, 0, &b);
}

static int mkdir_at(struct raw *r, const char *path, unsigned mode)
{
	union proto_body b = {.path_mode = {.mode = mode, .path = proto_str_of(path)}};

	return raw_call(r, PROTO_PATH_MKDIR, 0, &b);
}

static int stat_at(struct raw *r, const char *path, bool follow)
{
	union proto_body b = {.path_stat = {.follow = follow, .path = proto_str_of(path)}};

	return raw_call(r, PROTO_PATH_STAT, 0, &b);
}

static void names_come_and_go(void **state)
{
	struct fixture *f = *state;
	struct raw *r = f->r;
	uint64_t h, ino;

	assert_int_equal(mkdir_at(r, "/d", 0750), 0);
	assert_int_equal(mkdir_at(r, "/d", 0750), -EEXIST);
	assert_true(r->body.error.text.len <= PROTO_TEXT_MAX);
	assert_int_equal(stat_at(r, "/d", true), 0);
	assert_int_equal(r->body.attr.mode, S_IFDIR | 0750);
	assert_int_equal(raw_file_open(r, "/d/a", PROTO_O_WRITE | PROTO_O_CREAT | PROTO_O_EXCL, &h), 0);
	ino = r->body.opened.attr.ino;
	assert_int_equal(raw_file_close(r, h), 0);
	assert_int_equal(on_two(r, PROTO_PATH_LINK, "/d/a", "/d/b"), 0);
	assert_int_equal(stat_at(r, "/d/b", true), 0);
	assert_int_equal(r->body.attr.ino, ino);
	assert_int_equal(r->body.attr.nlink, 2);
	assert_int_equal(on_two(r, PROTO_PATH_SYMLINK, "d/a", "/s"), 0);
	assert_int_equal(stat_at(r, "/s", false), 0);
	assert_true(S_ISLNK(r->body.attr.mode));
	assert_int_equal(stat_at(r, "/s", true), 0);
	assert_int_equal(r->body.attr.ino, ino);
	assert_int_equal(on_path(r, PROTO_PATH_READLINK, "/s"), 0);
	assert_int_equal(r->body.target.target.len, 3);
	assert_memory_equal(r->body.target.target.bytes, "d/a", 3);
	assert_int_equal(rename_to(r, "/d/a", "/d/b", LH_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rename_to(r, "/d/a", "/c", 0), 0);
	assert_int_equal(stat_at(r, "/d/a", true), -ENOENT);
	assert_int_equal(rename_to(r, "/c", "/d", LH_RENAME_EXCHANGE), 0);
	assert_int_equal(stat_at(r, "/d", true), 0);
	assert_true(S_ISREG(r->body.attr.mode));
	assert_int_equal(on_path(r, PROTO_PATH_RMDIR, "/c"), -ENOTEMPTY);
	assert_int_equal(on_path(r, PROTO_PATH_UNLINK, "/c/b"), 0);
	assert_int_equal(on_path(r, PROTO_PATH_RMDIR, "/c"), 0);
	assert_int_equal(on_path(r, PROTO_PATH_UNLINK, "/nothing"), -ENOENT);
}

static void attributes_are_set(void **state)
{
	struct fixture *f = *state;
	struct raw *r = f->r;
	union proto_body b = {.path_mode = {.mode = 0600, .path = proto_str_of("/f")}};

	rig_file(&f->rig, "/f", 10, 'x');
	assert_int_equal(raw_call(r, PROTO_PATH_CHMOD, 0, &b), 0);
	b = (union proto_body){.chown = {.uid = 7, .gid = UINT32_MAX, .follow = 1, .path = proto_str_of("/f")}};
	assert_int_equal(raw_call(r, PROTO_PATH_CHOWN, 0, &b), 0);
	b = (union proto_body){
	    .set_times = {.atime_ns = 123456789, .mtime_ns = INT64_MAX, .follow = 1, .path = proto_str_of("/f")}};
	assert_int_equal(raw_call(r, PROTO_PATH_SET_TIMES, 0, &b), 0);
	assert_int_equal(stat_at(r, "/f", true), 0);
	assert_int_equal(r->body.attr.mode, S_IFREG | 0600);
	assert_int_equal(r->body.attr.uid, 7);
	assert_int_equal(r->body.attr.gid, 0);
	assert_int_equal(r->body.attr.atime_ns, 123456789);
	assert_true(r->body.attr.mtime_ns > 1000000000000000000);
	assert_int_equal(r->body.attr.size, 10);
}

static int read_dir(struct raw *r, uint64_t h, uint64_t cookie, uint32_t max)
{
	union proto_body b = {.dir_read = {.handle = h, .cookie = cookie, .max = max}};

	return raw_call(r, PROTO_DIR_READ, 0, &b);
}

static void a_directory_is_read_in_pages_each_entry_once(void **state)
{
	struct fixture *f = *state;
	struct raw *r = f->r;
	bool seen[300] = {false};
	struct proto_dirent e = {0};
	unsigned count = 0, end = 0;
	uint64_t h, cookie = 0;
	char path[32];

	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "/file%u", i);
		rig_file(&f->rig, path, 0, 0);
	}
	assert_int_equal(on_path(r, PROTO_DIR_OPEN, "/"), 0);
	h = r->body.opened.handle;
	while (!end) {
		uint32_t cursor = 0;

		assert_int_equal(read_dir(r, h, cookie, 77), 0);
		end = r->body.dirents.end;
		while (proto_dirent_next(&r->body.dirents.entries, &cursor, &e)) {
			unsigned n;

			assert_true(proto_str_copy(e.name, path, sizeof(path)));
			assert_int_equal(sscanf(path, "file%u", &n), 1);
			assert_true(n < 300 && !seen[n]);
			seen[n] = true;
			cookie = e.cookie;
			count++;
		}
	}
	assert_int_equal(count, 300);
	assert_int_equal(on_path(r, PROTO_DIR_OPEN, "/file1"), -ENOTDIR);
	rig_file(&f->rig, "/plain", 1, 'x');
	assert_int_equal(raw_file_open(r, "/plain", PROTO_O_READ, &h), 0);
	assert_int_equal(read_dir(r, h, 0, 1), -ENOTDIR);
}

static void bytes_written_are_read(void **state)
{
	struct fixture *f = *state;
	struct raw *r = f->r;
	union proto_body b;
	uint8_t *bytes = malloc(PROTO_DATA_MAX);
	uint64_t h;

	for (unsigned i = 0; i < PROTO_DATA_MAX; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 12));
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE | PROTO_O_CREAT, &h), 0);
	assert_int_equal(raw_write(r, h, bytes, PROTO_DATA_MAX, 100), 0);
	assert_int_equal(r->body.count.count, PROTO_DATA_MAX);
	b = (union proto_body){.file_read = {.handle = h, .off = 100, .len = PROTO_DATA_MAX}};
	assert_int_equal(raw_call(r, PROTO_FILE_READ, 0, &b), 0);
	assert_int_equal(r->body.data.data.len, PROTO_DATA_MAX);
	assert_memory_equal(r->body.data.data.bytes, bytes, PROTO_DATA_MAX);
	b.file_read.off = PROTO_DATA_MAX + 90;
	b.file_read.len = 1000; /* in the loop */
	assert_int_equal(raw_call(r, PROTO_FILE_READ, 0, &b), 0);
	assert_int_equal(r->body.data.data.len, 10);
	b.file_read.off = 1ull << 40;
	assert_int_equal(raw_call(r, PROTO_FILE_READ, 0, &b), 0);
	assert_int_equal(r->body.data.data.len, 0);
	assert_int_equal(raw_truncate(r, h, 5), 0);
	b = (union proto_body){.handle = {.handle = h}};
	assert_int_equal(raw_call(r, PROTO_FILE_STAT, 0, &b), 0);
	assert_int_equal(r->body.attr.size, 5);
	assert_int_equal(raw_call(r, PROTO_FILE_SYNC, 0, &b), 0);
	assert_int_equal(raw_call(r, PROTO_FS_SYNC, 0, NULL), 0);
	b.handle.handle ^= 1ull << 32;
	assert_int_equal(raw_call(r, PROTO_FILE_STAT, 0, &b), -EBADF);
	free(bytes);
}

static unsigned extents(struct raw *r, uint64_t h, struct proto_extent *first)
{
	union proto_body b = {.file_extents = {.handle = h, .range = {0, UINT64_MAX}, .max = 100}};
	uint32_t cursor = 0;

	assert_int_equal(raw_call(r, PROTO_FILE_EXTENTS, 0, &b), 0);
	proto_extent_next(&r->body.extents.extents, &cursor, first);
	return r->body.extents.extents.count;
}

static void layouts_are_changed_and_looked_at(void **state)
{
	struct fixture *f = *state;
	struct raw *r = f->r;
	struct proto_extent e;
	union proto_body b;
	uint64_t h, c;

	rig_file(&f->rig, "/f", 65536, 'x');
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &h), 0);
	assert_int_equal(raw_file_open(r, "/c", PROTO_O_READ | PROTO_O_WRITE | PROTO_O_CREAT, &c), 0);
	assert_true(extents(r, h, &e) >= 1);
	assert_int_equal(e.flags, 0);
	b = (union proto_body){.clone_range = {.dst = c, .src = h, .len = 65536}};
	assert_int_equal(raw_call(r, PROTO_FILE_CLONE_RANGE, 0, &b), 0);
	extents(r, c, &e);
	assert_int_equal(e.flags, LH_EXTENT_SHARED);
	b = (union proto_body){.file_range = {.handle = h, .range = {0, 65536}}};
	assert_int_equal(raw_call(r, PROTO_FILE_RELOCATE, 0, &b), 0);
	b = (union proto_body){
	    .file_allocate = {.handle = h, .range = {4096, 8192}, .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}};
	assert_int_equal(raw_call(r, PROTO_FILE_ALLOCATE, 0, &b), 0);
	assert_true(extents(r, h, &e) >= 2);
	b = (union proto_body){.file_allocate = {.handle = h, .range = {65536, 65536}, .mode = FALLOC_FL_KEEP_SIZE}};
	assert_int_equal(raw_call(r, PROTO_FILE_ALLOCATE, 0, &b), 0);
	b = (union proto_body){.handle = {.handle = h}};
	assert_int_equal(raw_call(r, PROTO_FILE_STAT, 0, &b), 0);
	assert_int_equal(r->body.attr.size, 65536);
}

static void the_filesystem_tells_its_state(void **state)
{
	struct fixture *f = *state;
	struct raw *r = f->r;

	assert_int_equal(raw_call(r, PROTO_FS_STAT, 0, NULL), 0);
	assert_int_equal(r->body.fs_stat.block_size, 4096);
	assert_int_equal(r->body.fs_stat.blocks, (64 << 20) / 4096);
	assert_true(r->body.fs_stat.pool_class.len > 0);
	assert_int_equal(raw_call(r, PROTO_FS_LEASE_STATS, 0, NULL), 0);
	assert_int_equal(r->body.lease_stats.sessions, 2);
}

/* A path of `len` bytes in "/a/a/a..." form. */
static void path_of(char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = i % 2 ? 'a' : '/';
	buf[len] = '\0';
}

static void long_names_are_the_filesystems_business(void **state)
{
	struct fixture *f = *state;
	struct raw *r = f->r;
	char path[PROTO_PATH_MAX + 1];

	path_of(path, PROTO_PATH_MAX);
	assert_int_equal(stat_at(r, path, true), -ENOENT);
	memset(path, 'n', 300);
	path[0] = '/';
	path[300] = '\0';
	assert_int_equal(mkdir_at(r, path, 0755), -ENAMETOOLONG);
	assert_int_equal(stat_at(r, "", true), -ENOENT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(names_come_and_go),
	    T(attributes_are_set),
	    T(a_directory_is_read_in_pages_each_entry_once),
	    T(bytes_written_are_read),
	    T(layouts_are_changed_and_looked_at),
	    T(the_filesystem_tells_its_state),
	    T(long_names_are_the_filesystems_business),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
