/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: ENOSPC at any point of any operation leaves everything whole, and a full pool can always delete (issue 3:
 * space). The pool is filled to the last block with content, names, extents and attributes. Then every operation runs
 * with the k-th allocation of blocks failing, for all k: it happens or it does not, the rest of the tree is as it was,
 * fs_verify is silent. At the end thousands of files go, by every way that gives space back.
 */
#include "fsrig.h"

#include <sys/xattr.h>

#include "base/crc.h"
#include "fs/alloc.h"
#include "fs/core.h"

#define TAKES_MAX 60u

struct full {
	struct rig r;
	struct fs_handle *f, *g, *holes;
};

/* --- filling -------------------------------------------------------------------------------------------------------
 */

static void fill_names(struct rig *r, const char *dir, const char *prefix)
{
	char name[64];
	int err = 0;

	for (unsigned k = 0; !err; k++) {
		struct fs_handle *h;

		snprintf(name, sizeof(name), "%s/%s-name-that-takes-room-%u", dir, prefix, k);
		err = fs_open(r->fs, &r->root, name, O_RDWR | O_CREAT | O_EXCL, 0600, &h);
		if (!err)
			fs_close(h, NULL, 0);
		assert_true(k < 1000000);
	}
	assert_int_equal(err, -ENOSPC);
}

/* Until nothing is left: content in single blocks with holes between, attributes, names. */
static void fill(struct rig *r)
{
	static uint8_t value[3000];
	struct fs_handle *h = rig_open(r, "/ballast", O_RDWR | O_CREAT);
	struct fs_statfs s;
	ssize_t n = 1;
	int err;

	fs_statfs(r->fs, &s);
	err = fs_allocate(h, &r->root, 0, 0, s.avail_blocks / 2 * BLK);
	assert_int_equal(err, 0);
	fs_close(h, NULL, 0);
	fs_close(rig_open(r, "/rest", O_RDWR | O_CREAT), NULL, 0);
	h = rig_open(r, "/scattered", O_RDWR | O_CREAT);
	for (unsigned k = 0; n > 0 && k < 300; k++)
		n = fs_write(h, &r->root, "x", 1, k * 3 * BLK);
	for (unsigned k = 0; err == 0 && k < 20; k++) {
		char name[32];

		snprintf(name, sizeof(name), "user.filler%u", k);
		err = fs_xattr_set(r->fs, &r->root, "/scattered", true, name, value, sizeof(value), 0);
	}
	fs_close(h, NULL, 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/names", 0755), 0);
	fill_names(r, "/names", "a");
	h = rig_open(r, "/rest", O_RDWR);
	while (fs_write(h, &r->root, value, sizeof(value), rig_size(h)) > 0)
		;
	fs_close(h, NULL, 0);
}

static void full_tree(struct full *s)
{
	struct fs_handle *h;

	assert_int_equal(rig_new(&s->r, POOL_SIZE_MIN), 0);
	assert_int_equal(fs_mkdir(s->r.fs, &s->r.root, "/d", 0755), 0);
	rig_file(&s->r, "/f", 'f', 20 * BLK);
	rig_file(&s->r, "/g", 'g', 20 * BLK);
	s->holes = rig_open(&s->r, "/holes", O_RDWR | O_CREAT);
	for (unsigned k = 0; k < 24; k += 2)
		rig_fill(&s->r, s->holes, 'h', BLK, k * BLK);
	s->f = rig_open(&s->r, "/f", O_RDWR);
	s->g = rig_open(&s->r, "/g", O_RDWR);
	h = rig_open(&s->r, "/shared", O_RDWR | O_CREAT);
	assert_int_equal(fs_clone_range(h, 0, s->g, 0, 0, &s->r.root), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_xattr_set(s->r.fs, &s->r.root, "/f", true, "user.a", "value", 5, 0), 0);
}

static void drop_tree(struct full *s)
{
	fs_close(s->f, NULL, 0);
	fs_close(s->g, NULL, 0);
	fs_close(s->holes, NULL, 0);
	rig_check(&s->r);
	rig_remount(&s->r, true);
	rig_free(&s->r);
}

/* --- the tree as a number ------------------------------------------------------------------------------------------
 */

static const char *const paths[] = {"/", "/d", "/f", "/g", "/holes", "/shared", "/new", "/d/new", "/d/f"};

static uint32_t fingerprint(struct full *s)
{
	static uint8_t buf[64 * LH_BLOCK_SIZE];
	char names[256];
	uint32_t sum = 0;

	for (unsigned k = 0; k < sizeof(paths) / sizeof(paths[0]); k++) {
		struct fs_handle *h;
		struct fs_attr a;
		ssize_t n;
		int err = fs_stat(s->r.fs, &s->r.root, paths[k], false, &a);

		sum = crc32c(sum, &err, sizeof(err));
		if (err)
			continue;
		sum = crc32c(sum, &a.mode, sizeof(a.mode));
		sum = crc32c(sum, &a.nlink, sizeof(a.nlink));
		n = fs_xattr_list(s->r.fs, &s->r.root, paths[k], false, names, sizeof(names));
		sum = crc32c(sum, names, n > 0 ? (size_t)n : 0);
		if (!S_ISREG(a.mode))
			continue;
		sum = crc32c(sum, &a.size, sizeof(a.size));
		h = rig_open(&s->r, paths[k], O_RDONLY);
		n = fs_read(h, &s->r.root, buf, sizeof(buf), 0);
		assert_true(n >= 0);
		sum = crc32c(sum, buf, (size_t)n);
		fs_close(h, NULL, 0);
	}
	return sum;
}

/* --- operations ----------------------------------------------------------------------------------------------------
 */

static uint8_t data[70000];

static int op_create(struct full *s)
{
	struct fs_handle *h;
	int err = fs_open(s->r.fs, &s->r.root, "/new", O_RDWR | O_CREAT | O_EXCL, 0644, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}
static int op_mkdir(struct full *s)
{
	return fs_mkdir(s->r.fs, &s->r.root, "/d/new", 0755);
}
static int op_symlink(struct full *s)
{
	static char target[4096];

	memset(target, 't', sizeof(target) - 1);
	return fs_symlink(s->r.fs, &s->r.root, target, "/new");
}
static int op_link(struct full *s)
{
	return fs_link(s->r.fs, &s->r.root, "/f", "/d/f");
}
static int op_rename(struct full *s)
{
	return fs_rename(s->r.fs, &s->r.root, "/f", "/d/f", 0);
}
static int op_exchange_names(struct full *s)
{
	return fs_rename(s->r.fs, &s->r.root, "/f", "/d", RENAME_EXCHANGE);
}
static int op_xattr_small(struct full *s)
{
	return fs_xattr_set(s->r.fs, &s->r.root, "/g", true, "user.b", "b", 1, 0);
}
static int op_xattr_large(struct full *s)
{
	return fs_xattr_set(s->r.fs, &s->r.root, "/g", true, "user.large", data, 65536, 0);
}
static int op_write_holes(struct full *s)
{
	ssize_t n = fs_write(s->holes, &s->r.root, data, 50000, 100);

	return n < 0 ? (int)n : 0;
}
static int op_write_shared(struct full *s)
{
	ssize_t n = fs_write(s->g, &s->r.root, data, 3 * BLK, 10);

	return n < 0 ? (int)n : 0;
}
static int op_append(struct full *s)
{
	ssize_t n = fs_write(s->f, &s->r.root, data, 5 * BLK, 20 * BLK);

	return n < 0 ? (int)n : 0;
}
static int op_truncate_up(struct full *s)
{
	return fs_truncate(s->f, &s->r.root, 40 * BLK + 5);
}
static int op_truncate_shared(struct full *s)
{
	return fs_truncate(s->g, &s->r.root, 3 * BLK + 77);
}
static int op_punch_edges(struct full *s)
{
	return fs_allocate(s->f, &s->r.root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * BLK + 9, 5 * BLK);
}
static int op_zero(struct full *s)
{
	return fs_allocate(s->g, &s->r.root, FALLOC_FL_ZERO_RANGE, 2 * BLK + 9, 5 * BLK);
}
static int op_collapse(struct full *s)
{
	return fs_allocate(s->f, &s->r.root, FALLOC_FL_COLLAPSE_RANGE, 2 * BLK, 5 * BLK);
}
static int op_insert(struct full *s)
{
	return fs_allocate(s->f, &s->r.root, FALLOC_FL_INSERT_RANGE, 2 * BLK, 5 * BLK);
}
static int op_unshare(struct full *s)
{
	return fs_allocate(s->g, &s->r.root, FALLOC_FL_UNSHARE_RANGE, 0, 20 * BLK);
}
static int op_preallocate(struct full *s)
{
	return fs_allocate(s->holes, &s->r.root, FALLOC_FL_KEEP_SIZE, 0, 24 * BLK);
}
static int op_clone(struct full *s)
{
	return fs_clone_range(s->g, 2 * BLK, s->holes, 0, 22 * BLK, &s->r.root);
}
static int op_exchange(struct full *s)
{
	return fs_exchange_range(s->f, 0, s->g, 0, 20 * BLK, &s->r.root);
}
static int op_copy(struct full *s)
{
	ssize_t n = fs_copy_range(s->f, 3, s->g, 5, 10 * BLK, &s->r.root);

	return n < 0 ? (int)n : 0;
}
static int op_relocate(struct full *s)
{
	return fs_relocate(s->g, &s->r.root, 0, 20 * BLK, NULL);
}
static int op_defragment(struct full *s)
{
	return fs_defragment(s->holes, &s->r.root, NULL, NULL);
}
static int op_snapshot(struct full *s)
{
	return fs_snapshot(s->r.fs, &s->r.root, "/d", "/new", true);
}
static int op_evacuate(struct full *s)
{
	return fs_evacuate(s->r.fs, &s->r.root, 15 * MIB, 8 * BLK, NULL, NULL);
}
static int op_checkpoint(struct full *s)
{
	return fs_checkpoint(s->r.fs);
}
static int op_unlink(struct full *s)
{
	return fs_unlink(s->r.fs, &s->r.root, "/shared");
}
static int op_rmdir(struct full *s)
{
	return fs_rmdir(s->r.fs, &s->r.root, "/d");
}
static int op_truncate_away(struct full *s)
{
	return fs_truncate(s->holes, &s->r.root, 0);
}
static int op_punch(struct full *s)
{
	return fs_allocate(s->f, &s->r.root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * BLK, 5 * BLK);
}
static int op_xattr_remove(struct full *s)
{
	return fs_xattr_remove(s->r.fs, &s->r.root, "/f", true, "user.a");
}
static int op_sync(struct full *s)
{
	return fs_sync_all(s->r.fs);
}

static const struct op {
	const char *name;
	int (*run)(struct full *s);
	bool in_parts; /* may have done a part that calls show (content, or more than one record) */
	bool frees;    /* must work on a full pool */
} ops[] = {
    {"create", op_create, false, false},
    {"mkdir", op_mkdir, false, false},
    {"symlink", op_symlink, false, false},
    {"link", op_link, false, false},
    {"rename", op_rename, false, false},
    {"exchange names", op_exchange_names, false, false},
    {"xattr", op_xattr_small, false, false},
    {"large xattr", op_xattr_large, false, false},
    {"write holes", op_write_holes, true, false},
    {"write shared", op_write_shared, true, false},
    {"append", op_append, true, false},
    {"truncate up", op_truncate_up, false, false},
    {"truncate shared", op_truncate_shared, false, false},
    {"punch edges", op_punch_edges, true, false},
    {"zero", op_zero, true, false},
    {"collapse", op_collapse, false, false},
    {"insert", op_insert, false, false},
    {"unshare", op_unshare, false, false},
    {"preallocate", op_preallocate, false, false},
    {"clone", op_clone, true, false},
    {"exchange", op_exchange, true, false},
    {"copy", op_copy, true, false},
    {"relocate", op_relocate, false, false},
    {"defragment", op_defragment, false, false},
    {"snapshot", op_snapshot, false, false},
    {"evacuate", op_evacuate, false, false},
    {"checkpoint", op_checkpoint, false, true},
    {"unlink", op_unlink, false, true},
    {"rmdir", op_rmdir, false, true},
    {"truncate", op_truncate_away, false, true},
    {"punch", op_punch, false, true},
    {"remove xattr", op_xattr_remove, false, true},
    {"sync", op_sync, false, true},
};

/* With room everywhere, but for the k-th take. */
static void every_take_of_every_operation_fails(void **state)
{
	(void)state;
	memset(data, 'w', sizeof(data));
	for (unsigned o = 0; o < sizeof(ops) / sizeof(ops[0]); o++) {
		unsigned k = 1;

		for (bool reached = true; reached; k++) {
			struct full s = {0};
			uint32_t before;
			int err;

			full_tree(&s);
			before = fingerprint(&s);
			alloc_fail_take(s.r.fs->alloc, k);
			err = ops[o].run(&s);
			reached = alloc_fail_left(s.r.fs->alloc) == 0;
			alloc_fail_take(s.r.fs->alloc, 0);
			if (err && err != -ENOSPC)
				fprintf(stderr, "%s, take %u: %d %s\n", ops[o].name, k, err, fail_text());
			assert_true(err == 0 || err == -ENOSPC);
			if (err && !ops[o].in_parts && fingerprint(&s) != before)
				fprintf(stderr, "%s, take %u: changed something\n", ops[o].name, k);
			if (err && !ops[o].in_parts)
				assert_int_equal(fingerprint(&s), before);
			drop_tree(&s);
			assert_true(k < TAKES_MAX);
		}
		printf("%s: %u takes\n", ops[o].name, k - 2);
	}
}

/* On a pool that is full to the last block. */
static void every_operation_on_a_full_pool(void **state)
{
	(void)state;
	memset(data, 'w', sizeof(data));
	for (unsigned o = 0; o < sizeof(ops) / sizeof(ops[0]); o++) {
		struct full s = {0};
		uint32_t before;
		int err;

		full_tree(&s);
		fill(&s.r);
		before = fingerprint(&s);
		err = ops[o].run(&s);
		if (err && (err != -ENOSPC || ops[o].frees))
			fprintf(stderr, "%s on a full pool: %d %s\n", ops[o].name, err, fail_text());
		assert_true(err == 0 || (err == -ENOSPC && !ops[o].frees));
		if (err)
			assert_int_equal(fingerprint(&s), before);
		rig_check(&s.r);
		fs_close(s.f, NULL, 0);
		fs_close(s.g, NULL, 0);
		fs_close(s.holes, NULL, 0);
		fs_abandon(s.r.fs);
		pool_close(s.r.pool);
	}
}

struct list {
	char names[400][FS_NAME_MAX + 1];
	unsigned count;
};

static bool list_add(void *ctx, const struct fs_dirent *e)
{
	struct list *l = ctx;

	if (l->count == 400)
		return false;
	snprintf(l->names[l->count++], sizeof(l->names[0]), "%s", e->name);
	return true;
}

/* Everything below the directory, the way that `how` says; returns how many. */
static unsigned delete_all(struct rig *r, const char *dir, unsigned how)
{
	static struct list l;
	unsigned total = 0;

	do {
		struct fs_handle *h = rig_open(r, dir, O_RDONLY | O_DIRECTORY);

		l.count = 0;
		assert_int_equal(fs_readdir(h, &r->root, 0, list_add, &l), 0);
		fs_close(h, NULL, 0);
		for (unsigned k = 0; k < l.count; k++) {
			char path[600];
			int err = 0;

			snprintf(path, sizeof(path), "%s/%s", dir, l.names[k]);
			if (how % 3 == 1) {
				struct fs_handle *f = rig_open(r, path, O_RDWR);

				err = fs_truncate(f, &r->root, 0);
				fs_close(f, NULL, 0);
			}
			if (!err)
				err = fs_unlink(r->fs, &r->root, path);
			if (err)
				fprintf(stderr, "delete %s: %d %s\n", path, err, fail_text());
			assert_int_equal(err, 0);
			total++;
		}
	} while (l.count > 0);
	return total;
}

static void a_full_pool_deletes_thousands_of_files(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		struct fs_handle *h;
		uint64_t free_before;
		struct rig r;
		unsigned n;

		assert_int_equal(rig_new(&r, 64 * MIB), 0);
		free_before = rig_free_blocks(&r);
		fill(&r);
		h = rig_open(&r, "/scattered", O_RDWR);
		for (unsigned k = 0; k < 100; k++)
			assert_int_equal(
			    fs_allocate(h, &r.root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, k * 3 * BLK, BLK), 0);
		assert_int_equal(fs_truncate(h, &r.root, 10), 0);
		fs_close(h, NULL, 0);
		fill_names(&r, "/names", "b");
		n = delete_all(&r, "/names", how);
		assert_true(n > 3000);
		printf("%u files deleted on a full pool\n", n);
		assert_int_equal(fs_unlink(r.fs, &r.root, "/rest"), 0);
		assert_int_equal(fs_unlink(r.fs, &r.root, "/scattered"), 0);
		assert_int_equal(fs_rmdir(r.fs, &r.root, "/names"), 0);
		rig_check(&r);
		assert_int_equal(fs_checkpoint(r.fs), 0);
		rig_check(&r);
		assert_true(rig_free_blocks(&r) > free_before / 3);
		fs_abandon(r.fs);
		pool_close(r.pool);
	}
}

/*
 * Free space in single blocks, and inodes whose items are longer than a block: a checkpoint can be written
 * nevertheless, because what is set aside for it stays in long runs; so the log can be cut, and everything can be
 * deleted.
 */
static void a_checkpoint_with_scattered_free_space(void **state)
{
	static uint8_t value[60000];
	struct fs_handle *h;
	struct fs_statfs s;
	char target[4096], name[32];
	unsigned links = 0;
	struct rig r;
	int err = 0;

	(void)state;
	assert_int_equal(rig_new(&r, 32 * MIB), 0);
	rig_file(&r, "/x", 'x', 10);
	assert_int_equal(fs_xattr_set(r.fs, &r.root, "/x", true, "user.long", value, sizeof(value), 0), 0);
	h = rig_open(&r, "/ballast", O_RDWR | O_CREAT);
	fs_statfs(r.fs, &s);
	assert_int_equal(fs_allocate(h, &r.root, 0, 0, (s.avail_blocks - 2) * BLK), 0);
	for (unsigned k = 0; k < 800; k++)
		assert_int_equal(fs_allocate(h, &r.root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * k * BLK, BLK),
				 0);
	fs_close(h, NULL, 0);
	memset(target, 't', sizeof(target));
	target[4095] = '\0';
	for (; !err && links < 2000; links++) {
		snprintf(name, sizeof(name), "/s%u", links);
		err = fs_symlink(r.fs, &r.root, target, name);
	}
	assert_int_equal(err, -ENOSPC);
	printf("%u long symlinks\n", links);
	fill_names(&r, "", "scattered");
	assert_int_equal(fs_checkpoint(r.fs), 0);
	rig_check(&r);
	for (unsigned k = 0; k + 1 < links; k++) {
		snprintf(name, sizeof(name), "/s%u", k);
		assert_int_equal(fs_unlink(r.fs, &r.root, name), 0);
	}
	assert_int_equal(fs_unlink(r.fs, &r.root, "/x"), 0);
	assert_int_equal(fs_checkpoint(r.fs), 0);
	rig_check(&r);
	rig_remount(&r, true);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_take_of_every_operation_fails),
	    cmocka_unit_test(every_operation_on_a_full_pool),
	    cmocka_unit_test(a_full_pool_deletes_thousands_of_files),
	    cmocka_unit_test(a_checkpoint_with_scattered_free_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
