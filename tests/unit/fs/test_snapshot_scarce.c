/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L37: a snapshot, its removal, and a limit on a filled tree, with the n-th allocation of memory failing, n = 1,
 * 2, 3 ... until it succeeds, and on a pool with 0, 1, 2 ... free blocks: it happens or it leaves nothing behind.
 *
 * The linker puts our malloc before the real one (--wrap).
 */
#include "fsrig.h"

#include "base/crc.h"

#undef fail /* cmocka's; ours is a function */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

static unsigned fail_in; /* 0: never; else the allocation that fails, counted down */

static bool fails_now(void)
{
	return fail_in > 0 && --fail_in == 0;
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
void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails_now() ? NULL : __real_reallocarray(p, n, size);
}

#define FILES 40u

/* large: so many have 20,000 bytes of attributes. */
static void make_tree(struct rig *r, struct holder *own, unsigned large)
{
	static char value[20000];
	struct fs_handle *h;
	char path[64];

	assert_int_equal(rig_new(r, POOL_SIZE_MIN), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/t", 0755), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/t/d", 0755), 0);
	for (unsigned k = 0; k < FILES; k++) {
		snprintf(path, sizeof(path), "/t/d/file number %u", k);
		h = rig_open(r, path, O_RDWR | O_CREAT);
		rig_fill(r, h, 'a' + (int)(k % 26), BLK, 0);
		rig_fill(r, h, 'b', BLK, 2 * BLK);
		fs_close(h, NULL, 0);
	}
	assert_int_equal(fs_symlink(r->fs, &r->root, "d", "/t/s"), 0);
	assert_int_equal(fs_link(r->fs, &r->root, "/t/d/file number 3", "/t/three"), 0);
	for (unsigned k = 0; k < large; k++) {
		snprintf(path, sizeof(path), "/t/d/file number %u", k);
		assert_int_equal(fs_xattr_set(r->fs, &r->root, path, true, "user.x", value, sizeof(value), 0), 0);
	}
	/* Zeroed in memory and not written: the snapshot's record converts them. */
	h = rig_open(r, "/t/zeroed", O_RDWR | O_CREAT);
	assert_int_equal(fs_allocate(h, &r->root, 0, 0, 6 * BLK), 0);
	fs_close(h, NULL, 0);
	holder_open(own, r, "/t/zeroed", false);
	holder_get(own, LEASE_READ, 0, 6 * BLK);
}

static bool sum_name(void *ctx, const struct fs_dirent *d)
{
	uint32_t *sum = ctx;

	*sum = crc32c(*sum, d->name, d->name_len);
	*sum = crc32c(*sum, &d->ino, sizeof(d->ino));
	return true;
}

/* What is in the directories, and what is used. */
static uint32_t fingerprint(struct rig *r)
{
	static const char *const dirs[] = {"/", "/t", "/t/d", "/s", "/s/d"};
	uint32_t sum = 0;
	struct fs_statfs st;
	struct fs_handle *h;

	for (unsigned k = 0; k < sizeof(dirs) / sizeof(dirs[0]); k++) {
		if (fs_open(r->fs, &r->root, dirs[k], O_RDONLY, 0, &h) != 0)
			continue;
		sum = crc32c(sum, &k, sizeof(k));
		assert_int_equal(fs_readdir(h, &r->root, 0, sum_name, &sum), 0);
		fs_close(h, NULL, 0);
	}
	fs_statfs(r->fs, &st);
	return crc32c(sum, &st.files, sizeof(st.files));
}

static int limit(struct rig *r, uint64_t blocks)
{
	struct fs_limit l = {.kind = FS_LIMIT_TREE, .blocks = blocks};

	return fs_limit_set(r->fs, &r->root, "/t", &l);
}

static int op_take(struct rig *r, struct holder *own)
{
	return fs_snapshot(r->fs, &own->who, "/t", "/s", false);
}
static int op_limit(struct rig *r, struct holder *own)
{
	(void)own;
	return limit(r, 1000);
}
static int op_over_limit(struct rig *r, struct holder *own)
{
	int err = fs_snapshot(r->fs, &own->who, "/t", "/t/s2", false);

	return err == 0 || err == -EDQUOT ? 0 : err;
}
static int op_no_limit(struct rig *r, struct holder *own)
{
	(void)own;
	return limit(r, 0);
}
static int op_delete(struct rig *r, struct holder *own)
{
	(void)own;
	return fs_snapshot_delete(r->fs, &r->root, "/s");
}

static const struct op {
	const char *name;
	int (*run)(struct rig *r, struct holder *own);
	bool frees;
} ops[] = {
    {"take", op_take, false},        {"limit", op_limit, false},  {"over the limit", op_over_limit, false},
    {"no limit", op_no_limit, true}, {"delete", op_delete, true},
};

static void no_memory(void **state)
{
	struct rig r;
	struct holder own;

	(void)state;
	make_tree(&r, &own, 5);
	for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		uint32_t before = fingerprint(&r);
		unsigned n = 0;
		int err;

		do {
			fail_in = ++n;
			err = ops[k].run(&r, &own);
			fail_in = 0;
			if (err && err != -ENOMEM)
				fprintf(stderr, "%s, allocation %u: %d %s\n", ops[k].name, n, err, fail_text());
			assert_true(err == 0 || err == -ENOMEM);
			if (err) {
				assert_int_equal(fingerprint(&r), before);
				rig_check(&r);
			}
		} while (err);
		assert_true(n > 1);
		printf("%s: %u allocations\n", ops[k].name, n - 1);
		rig_check(&r);
	}
	holder_close(&own);
	rig_remount(&r, true);
	rig_free(&r);
}

static void no_space(void **state)
{
	struct fs_handle *ballast;
	struct fs_statfs st;
	struct holder own;
	struct rig r;

	(void)state;
	make_tree(&r, &own, FILES);
	ballast = rig_open(&r, "/ballast", O_RDWR | O_CREAT);
	for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		uint32_t before = fingerprint(&r);
		unsigned n;
		int err = -ENOSPC;

		for (n = 0; err; n += n < 16 ? 1 : 13) {
			fs_statfs(r.fs, &st);
			if (st.avail_blocks > n)
				assert_int_equal(
				    fs_allocate(ballast, &r.root, FALLOC_FL_KEEP_SIZE, 0, (st.avail_blocks - n) * BLK),
				    0);
			err = ops[k].run(&r, &own);
			if (err && err != -ENOSPC)
				fprintf(stderr, "%s, %u blocks: %d %s\n", ops[k].name, n, err, fail_text());
			assert_true(err == 0 || err == -ENOSPC);
			assert_true(err == 0 || !ops[k].frees);
			if (err) {
				assert_int_equal(fingerprint(&r), before);
				rig_check(&r);
			}
			assert_int_equal(fs_truncate(ballast, &r.root, 0), 0);
		}
		printf("%s: fewer than %u free blocks do\n", ops[k].name, n);
	}
	fs_close(ballast, NULL, 0);
	holder_close(&own);
	rig_remount(&r, true);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_memory),
	    cmocka_unit_test(no_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
