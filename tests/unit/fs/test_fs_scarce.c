/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every operation on a pool with 0, 1, 2 ... free blocks, and with the n-th allocation of memory failing, n = 1, 2, 3
 * ... until it succeeds: it happens or it does not, with -ENOSPC or -ENOMEM, the rest of the tree is as it was,
 * fs_verify is silent, also after the next mount. What gives space back always works on a full pool.
 *
 * The linker puts our malloc before the real one (--wrap).
 */
#include "fsrig.h"

#include "base/crc.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static unsigned fail_in; /* 0: never; else the allocation that fails, counted down */
static bool failed;

static bool fails_now(void)
{
	if (fail_in == 0 || --fail_in > 0)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t size)
{
	return fails_now() ? NULL : __real_realloc(p, size);
}

/* --- the tree -------------------------------------------------------------------------------------------------------
 */

#define HOLES 24u /* pieces of /holes: every other block is missing */

struct scarce {
	struct rig r;
	struct fs_handle *f, *g, *holes, *twin, *ballast;
	struct holder own;
};

/* owner 7, user 1000 7, group 5, mask 7, others 5 */
static const uint8_t an_acl[] = {2, 0,    0,    0,    1,    0,    7,  0, 0xff, 0xff, 0xff, 0xff, 2,    0,   7,
				 0, 0xe8, 3,    0,    0,    4,    0,  5, 0,    0xff, 0xff, 0xff, 0xff, 16,  0,
				 7, 0,    0xff, 0xff, 0xff, 0xff, 32, 0, 5,    0,    0xff, 0xff, 0xff, 0xff};

static int set_x(struct scarce *s, const char *path, const char *name, const void *value, size_t size)
{
	return fs_xattr_set(s->r.fs, &s->r.root, path, false, name, value, size, 0);
}

static void make_tree(struct scarce *s)
{
	struct fs_handle *h;

	assert_int_equal(rig_new(&s->r, POOL_SIZE_MIN), 0);
	s->r.mount.orphan_limit_ns = 1;
	rig_remount(&s->r, false);
	assert_int_equal(fs_mkdir(s->r.fs, &s->r.root, "/d", 0755), 0);
	assert_int_equal(fs_mkdir(s->r.fs, &s->r.root, "/empty", 0755), 0);
	assert_int_equal(fs_mkdir(s->r.fs, &s->r.root, "/acl", 0755), 0);
	assert_int_equal(set_x(s, "/acl", "system.posix_acl_default", an_acl, sizeof(an_acl)), 0);
	assert_int_equal(set_x(s, "/acl", "system.posix_acl_access", an_acl, sizeof(an_acl)), 0);
	rig_file(&s->r, "/f", 'f', 20 * BLK);
	assert_int_equal(set_x(s, "/f", "user.small", "x", 1), 0);
	rig_file(&s->r, "/g", 'g', 20 * BLK);
	rig_file(&s->r, "/d/twin", 'f', 20 * BLK);
	h = rig_open(&s->r, "/holes", O_RDWR | O_CREAT);
	for (unsigned k = 0; k < HOLES; k += 2)
		rig_fill(&s->r, h, 'h', BLK, k * BLK);
	fs_close(h, NULL, 0);
	h = rig_open(&s->r, "/shared", O_RDWR | O_CREAT);
	s->g = rig_open(&s->r, "/g", O_RDWR);
	assert_int_equal(fs_clone_range(h, 0, s->g, 0, 0, &s->r.root), 0);
	fs_close(h, NULL, 0);
	s->f = rig_open(&s->r, "/f", O_RDWR);
	s->holes = rig_open(&s->r, "/holes", O_RDWR);
	s->twin = rig_open(&s->r, "/d/twin", O_RDWR);
	s->ballast = rig_open(&s->r, "/ballast", O_RDWR | O_CREAT);
	holder_open(&s->own, &s->r, "/f", false);
}

static void leave_blocks(struct scarce *s, uint64_t blocks)
{
	struct fs_statfs st;

	fs_statfs(s->r.fs, &st);
	assert_int_equal(fs_allocate(s->ballast, &s->r.root, 0, 0, (st.avail_blocks - blocks) * BLK), 0);
}

static void drop_tree(struct scarce *s)
{
	holder_close(&s->own);
	fs_close(s->f, NULL, 0);
	fs_close(s->g, NULL, 0);
	fs_close(s->holes, NULL, 0);
	fs_close(s->twin, NULL, 0);
	fs_close(s->ballast, NULL, 0);
	rig_check(&s->r);
	rig_remount(&s->r, true);
	rig_free(&s->r);
}

static const char *const paths[] = {"/",    "/d",     "/empty", "/f",      "/g",       "/holes", "/shared",
				    "/new", "/d/new", "/d/f",   "/d/twin", "/ballast", "/acl",   "/acl/new"};

/* What extended attributes a path has. */
static uint32_t fingerprint_x(struct scarce *s, const char *path, uint32_t sum)
{
	static uint8_t value[FS_XATTR_SIZE_MAX];
	char names[512];
	ssize_t n = fs_xattr_list(s->r.fs, &s->r.root, path, false, names, sizeof(names));

	assert_true(n >= 0);
	sum = crc32c(sum, names, (size_t)n);
	for (ssize_t k = 0; k < n; k += (ssize_t)strlen(names + k) + 1) {
		ssize_t size = fs_xattr_get(s->r.fs, &s->r.root, path, false, names + k, value, sizeof(value));

		assert_true(size >= 0);
		sum = crc32c(sum, value, (size_t)size);
	}
	return sum;
}

/* Names, sizes, links and bytes of all there may be. */
static uint32_t fingerprint(struct scarce *s)
{
	static uint8_t buf[64 * LH_BLOCK_SIZE];
	uint32_t sum = 0;

	for (unsigned k = 0; k < sizeof(paths) / sizeof(paths[0]); k++) {
		struct fs_attr a;
		struct fs_handle *h;
		ssize_t n = 0;
		int err = fs_stat(s->r.fs, &s->r.root, paths[k], false, &a);

		sum = crc32c(sum, &err, sizeof(err));
		if (err)
			continue;
		sum = crc32c(sum, &a.mode, sizeof(a.mode));
		sum = crc32c(sum, &a.nlink, sizeof(a.nlink));
		sum = fingerprint_x(s, paths[k], sum);
		if (!S_ISREG(a.mode) || strcmp(paths[k], "/ballast") == 0)
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

/* --- operations -----------------------------------------------------------------------------------------------------
 */

static uint8_t data[30 * LH_BLOCK_SIZE];

static int op_create(struct scarce *s)
{
	struct fs_handle *h;
	int err = fs_open(s->r.fs, &s->r.root, "/new", O_RDWR | O_CREAT | O_EXCL, 0644, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}
static int op_mkdir(struct scarce *s)
{
	return fs_mkdir(s->r.fs, &s->r.root, "/d/new", 0755);
}
static int op_symlink(struct scarce *s)
{
	return fs_symlink(s->r.fs, &s->r.root, "somewhere", "/new");
}
static int op_link(struct scarce *s)
{
	return fs_link(s->r.fs, &s->r.root, "/f", "/d/f");
}
static int op_move(struct scarce *s)
{
	return fs_rename(s->r.fs, &s->r.root, "/f", "/d/f", 0);
}
static int op_replace(struct scarce *s)
{
	return fs_rename(s->r.fs, &s->r.root, "/shared", "/f", 0);
}
static int op_exchange(struct scarce *s)
{
	return fs_rename(s->r.fs, &s->r.root, "/f", "/d", RENAME_EXCHANGE);
}
static int op_unlink(struct scarce *s)
{
	return fs_unlink(s->r.fs, &s->r.root, "/shared");
}
static int op_rmdir(struct scarce *s)
{
	return fs_rmdir(s->r.fs, &s->r.root, "/empty");
}
static int op_chmod(struct scarce *s)
{
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0600};

	return fs_setattr(s->r.fs, &s->r.root, "/f", true, &set);
}
static int op_chmod_acl(struct scarce *s)
{
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0700};

	return fs_setattr(s->r.fs, &s->r.root, "/acl", true, &set);
}
static int op_mkdir_acl(struct scarce *s)
{
	return fs_mkdir(s->r.fs, &s->r.root, "/acl/new", 0777);
}
static int op_mknod(struct scarce *s)
{
	return fs_mknod(s->r.fs, &s->r.root, "/new", S_IFCHR | 0600, 5);
}
static int op_xattr_new(struct scarce *s)
{
	return set_x(s, "/g", "user.first", "value", 5);
}
static int op_xattr_replace(struct scarce *s)
{
	return set_x(s, "/f", "user.small", "another", 7);
}
static int op_xattr_big(struct scarce *s)
{
	return set_x(s, "/f", "user.big", data, FS_XATTR_SIZE_MAX);
}
static int op_xattr_remove(struct scarce *s)
{
	return fs_xattr_remove(s->r.fs, &s->r.root, "/f", false, "user.small");
}
static int op_acl_remove(struct scarce *s)
{
	return fs_xattr_remove(s->r.fs, &s->r.root, "/acl", false, "system.posix_acl_access");
}
/* Without a name there is nothing to be seen of it. */
static int op_tmpfile(struct scarce *s)
{
	struct fs_handle *h;
	int err = fs_open(s->r.fs, &s->r.root, "/acl", O_RDWR | O_TMPFILE, 0666, &h);

	if (err)
		return err;
	err = fs_link_handle(h, &s->r.root, "/new");
	fs_close(h, NULL, 0);
	return err;
}
/* A short write tells how much of it there is: a failure is one of nothing. */
static int op_write_holes(struct scarce *s)
{
	ssize_t n = fs_write(s->holes, &s->r.root, data, sizeof(data), 100);

	return n < 0 ? (int)n : 0;
}
static int op_write_shared(struct scarce *s)
{
	ssize_t n = fs_write(s->g, &s->r.root, data, 3 * BLK, 10);

	return n < 0 ? (int)n : 0;
}
static int op_append(struct scarce *s)
{
	ssize_t n = fs_write(s->f, &s->r.root, data, 5 * BLK, 20 * BLK);

	return n < 0 ? (int)n : 0;
}
static int op_truncate_up(struct scarce *s)
{
	return fs_truncate(s->f, &s->r.root, 40 * BLK);
}
static int op_truncate_down(struct scarce *s)
{
	return fs_truncate(s->holes, &s->r.root, 3 * BLK);
}
static int op_punch(struct scarce *s)
{
	return fs_allocate(s->g, &s->r.root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * BLK, 5 * BLK);
}
static int op_preallocate(struct scarce *s)
{
	return fs_allocate(s->holes, &s->r.root, FALLOC_FL_KEEP_SIZE, 0, HOLES * BLK);
}
static int op_collapse(struct scarce *s)
{
	return fs_allocate(s->g, &s->r.root, FALLOC_FL_COLLAPSE_RANGE, 5 * BLK, 5 * BLK);
}
static int op_insert(struct scarce *s)
{
	return fs_allocate(s->holes, &s->r.root, FALLOC_FL_INSERT_RANGE, 5 * BLK, 5 * BLK);
}
static int op_zero_holes(struct scarce *s)
{
	return fs_allocate(s->holes, &s->r.root, FALLOC_FL_ZERO_RANGE, 3 * BLK, (HOLES + 3) * BLK);
}
static int op_zero_shared(struct scarce *s)
{
	return fs_allocate(s->g, &s->r.root, FALLOC_FL_ZERO_RANGE, 3 * BLK, 10 * BLK);
}
static int op_zero_leased(struct scarce *s)
{
	int err = holder_try(&s->own, LEASE_READ, 0, 10 * BLK);

	if (!err)
		err = fs_allocate(s->f, &s->own.who, FALLOC_FL_ZERO_RANGE, 12 * BLK, 10 * BLK);
	if (s->own.pin.places)
		assert_int_equal(lease_release(s->own.session, s->own.lease.lease, RANGE_ALL), 0);
	return err;
}
static int op_unshare(struct scarce *s)
{
	return fs_allocate(s->g, &s->r.root, FALLOC_FL_UNSHARE_RANGE, 3 * BLK, 10 * BLK);
}
static int op_swap(struct scarce *s)
{
	return fs_exchange_range(s->holes, 3 * BLK, s->g, 2 * BLK, 15 * BLK, &s->r.root);
}
static int op_swap_within(struct scarce *s)
{
	return fs_exchange_range(s->holes, 0, s->holes, 10 * BLK, 7 * BLK, &s->r.root);
}
static int op_dedupe(struct scarce *s)
{
	return fs_dedupe_range(s->twin, 0, s->f, 0, 20 * BLK, &s->r.root);
}
/* Short when it fails after some bytes. */
static int op_copy(struct scarce *s)
{
	ssize_t n = fs_copy_range(s->f, 3 * BLK + 5, s->holes, 5, (HOLES - 4) * BLK, &s->r.root);

	return n < 0 ? (int)n : 0;
}
static int op_clone(struct scarce *s)
{
	return fs_clone_range(s->g, 2 * BLK, s->holes, 0, (HOLES - 2) * BLK, &s->r.root);
}
static int op_relocate(struct scarce *s)
{
	return fs_relocate(s->g, &s->r.root, 0, 20 * BLK, NULL);
}
static int op_write_lease(struct scarce *s)
{
	int err = holder_try(&s->own, LEASE_WRITE, 15 * BLK, 10 * BLK);

	if (!err)
		assert_int_equal(lease_release(s->own.session, s->own.lease.lease, RANGE_ALL), 0);
	return err;
}
static int op_read_lease(struct scarce *s)
{
	int err = holder_try(&s->own, LEASE_READ, 0, 10 * BLK);

	if (!err)
		assert_int_equal(lease_release(s->own.session, s->own.lease.lease, RANGE_ALL), 0);
	return err;
}
static const uint8_t client[16] = "somebody";

/* L35: a claim goes with its lease; a grant without one would be a broken promise. */
static int op_claimed_lease(struct scarce *s)
{
	struct fs_lease_args args = {.range = {15 * BLK, 25 * BLK},
				     .mode = LEASE_WRITE,
				     .handle_number = 7,
				     .exclusive = true,
				     .client = client,
				     .pin = &s->own.pin.pin};
	int err;

	pin_init(&s->own.pin, &s->r);
	err = fs_lease_get(s->own.h, &s->own.who, &args, &s->own.lease);
	if (err)
		assert_int_equal(s->own.pin.count, 0);
	else
		assert_int_equal(lease_release(s->own.session, s->own.lease.lease, RANGE_ALL), 0);
	return err;
}
/* L23: a change that fails leaves the lease as it was. Its blocks may have become its own. */
static int op_change_lease(struct scarce *s)
{
	struct fs_lease_args args = {.mode = LEASE_WRITE, .exclusive = true, .client = client};
	struct fs_handle *own = s->own.h;
	struct lease_info info;
	struct fs_lease now;
	int err;

	s->own.h = s->g;
	err = holder_try(&s->own, LEASE_READ, 0, 10 * BLK);
	if (!err) {
		err = fs_lease_change(s->g, &s->own.who, s->own.lease.lease, &args, &now);
		assert_int_equal(lease_look(s->own.session, s->own.lease.lease, &info), 0);
		assert_int_equal(info.mode, err ? LEASE_READ : LEASE_WRITE);
		assert_int_equal(info.exclusive, !err);
		assert_int_equal(info.bytes, 10 * BLK);
		/* As with every move of one's own, a pin that could not be placed anew reaches nothing (L15). */
		assert_true(s->own.pin.count > 0 || failed);
		assert_int_equal(lease_release(s->own.session, s->own.lease.lease, RANGE_ALL), 0);
	}
	s->own.h = own;
	return err;
}
/* An unlinked file over its limit. Without memory or log it waits. */
static int op_reclaim(struct scarce *s)
{
	int err = fs_unlink(s->r.fs, &s->r.root, "/d/twin");
	char c;

	if (err)
		return err;
	fs_keeper_run(s->r.fs);
	if (fs_read(s->twin, &s->r.root, &c, 1, 0) == 1)
		assert_true(failed);
	return 0;
}
static int op_checkpoint(struct scarce *s)
{
	return fs_checkpoint(s->r.fs);
}
static int op_sync(struct scarce *s)
{
	return fs_sync_all(s->r.fs);
}

static const struct op {
	const char *name;
	int (*run)(struct scarce *s);
	bool frees;    /* works on a full pool */
	bool in_parts; /* may have done a part of what is no content */
} ops[] = {
    {"create", op_create, false, false},
    {"mkdir", op_mkdir, false, false},
    {"symlink", op_symlink, false, false},
    {"link", op_link, false, false},
    {"move", op_move, false, false},
    {"replace", op_replace, true, false},
    {"exchange", op_exchange, false, false},
    {"unlink", op_unlink, true, false},
    {"rmdir", op_rmdir, true, false},
    {"chmod", op_chmod, false, false},
    {"chmod with an ACL", op_chmod_acl, false, false},
    {"mkdir with an ACL", op_mkdir_acl, false, false},
    {"mknod", op_mknod, false, false},
    {"new attribute", op_xattr_new, false, false},
    {"attribute anew", op_xattr_replace, false, false},
    {"large attribute", op_xattr_big, false, false},
    {"remove an attribute", op_xattr_remove, true, false},
    {"remove an ACL", op_acl_remove, true, false},
    {"file without a name", op_tmpfile, false, false},
    {"write holes", op_write_holes, false, true},
    {"write shared", op_write_shared, false, true},
    {"append", op_append, false, true},
    {"truncate up", op_truncate_up, false, false},
    {"truncate down", op_truncate_down, true, false},
    {"punch", op_punch, true, false},
    {"preallocate", op_preallocate, false, false},
    {"collapse", op_collapse, true, false},
    {"insert", op_insert, false, false},
    {"zero holes", op_zero_holes, false, false},
    {"zero shared", op_zero_shared, false, false},
    {"zero leased", op_zero_leased, false, true},
    {"unshare", op_unshare, false, false},
    {"exchange ranges", op_swap, false, false},
    {"exchange ranges of one file", op_swap_within, false, false},
    {"dedupe", op_dedupe, false, false},
    {"copy", op_copy, false, true},
    {"clone", op_clone, false, false},
    {"relocate", op_relocate, false, false},
    {"write lease", op_write_lease, false, false},
    {"read lease", op_read_lease, true, false},
    {"claimed lease", op_claimed_lease, false, false},
    {"change of a lease", op_change_lease, false, true},
    {"reclaim of an open file", op_reclaim, true, false},
    {"checkpoint", op_checkpoint, true, false},
    {"sync", op_sync, true, false},
};

static void every_operation_on_a_nearly_full_pool(void **state)
{
	(void)state;
	memset(data, 'w', sizeof(data));
	for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		for (unsigned left = 0; left < 8; left++) {
			struct scarce s = {0};
			uint32_t before;
			int err;

			make_tree(&s);
			leave_blocks(&s, left);
			before = fingerprint(&s);
			err = ops[k].run(&s);
			if (err && (err != -ENOSPC || ops[k].frees))
				fprintf(stderr, "%s with %u blocks: %d %s\n", ops[k].name, left, err, fail_text());
			assert_true(err == 0 || (err == -ENOSPC && !ops[k].frees));
			if (err)
				assert_int_equal(fingerprint(&s), before);
			rig_check(&s.r);
			drop_tree(&s);
		}
	}
}

static void every_operation_with_failing_memory(void **state)
{
	(void)state;
	for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		unsigned n = 1;

		for (failed = true; failed; n++) {
			struct scarce s = {0};
			uint32_t before;
			int err;

			make_tree(&s);
			before = fingerprint(&s);
			failed = false;
			fail_in = n;
			err = ops[k].run(&s);
			fail_in = 0;
			if (err && err != -ENOMEM)
				fprintf(stderr, "%s without memory %u: %d %s\n", ops[k].name, n, err, fail_text());
			assert_true(err == 0 || (err == -ENOMEM && failed));
			if (err && !ops[k].in_parts && fingerprint(&s) != before)
				fprintf(stderr, "%s without memory %u: changed something\n", ops[k].name, n);
			if (err && !ops[k].in_parts)
				assert_int_equal(fingerprint(&s), before);
			rig_check(&s.r);
			drop_tree(&s);
			assert_true(n < 200);
		}
		printf("%s: %u allocations\n", ops[k].name, n - 2);
	}
}

/* A mount without memory fails with that, and leaves the pool as it was. */
static void a_mount_with_failing_memory(void **state)
{
	struct scarce s = {0};
	struct fs *fs = NULL;
	int err = -ENOMEM;

	(void)state;
	make_tree(&s);
	holder_close(&s.own);
	fs_close(s.f, NULL, 0);
	fs_close(s.g, NULL, 0);
	fs_close(s.holes, NULL, 0);
	fs_close(s.twin, NULL, 0);
	fs_close(s.ballast, NULL, 0);
	fs_abandon(s.r.fs);
	for (unsigned n = 1; err; n += n < 40 ? 1 : 17) {
		failed = false;
		fail_in = n;
		err = fs_mount(s.r.pool, &s.r.mount, &fs);
		fail_in = 0;
		if (err != 0 && err != -ENOMEM)
			fprintf(stderr, "mount without memory %u: %d %s\n", n, err, fail_text());
		assert_true(err == 0 || (err == -ENOMEM && failed));
		assert_true(n < 5000);
	}
	s.r.fs = fs;
	rig_free(&s.r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_operation_on_a_nearly_full_pool),
	    cmocka_unit_test(every_operation_with_failing_memory),
	    cmocka_unit_test(a_mount_with_failing_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
