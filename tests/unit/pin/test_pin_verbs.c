/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: memory regions of an application's protection domain are deregistered before their blocks go (L12, L13), and
 * the next look-up has keys for the new place (L15). No NIC: ibv_reg_mr and ibv_dereg_mr are played by this program,
 * which the library finds by name as it would find libibverbs.
 */
#include "pin_test.h"

#include <infiniband/verbs.h>

#undef ibv_reg_mr

#define MRS_MAX 64u

/* The NIC's table. */
static struct fake {
	struct ibv_mr mr;
	int access;
	bool live;
} mrs[MRS_MAX];
static unsigned live;
static int refuse;
static unsigned grant_left = UINT32_MAX; /* registrations that still work */

__attribute__((visibility("default"))) struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
								 int access)
{
	static uint32_t next = 1;

	for (unsigned k = 0; k < MRS_MAX && !refuse && grant_left > 0; k++) {
		if (mrs[k].live)
			continue;
		mrs[k] =
		    (struct fake){.mr = {.pd = pd, .addr = addr, .length = length, .lkey = next, .rkey = next + 1000},
				  .access = access,
				  .live = true};
		next++;
		live++;
		grant_left--;
		return &mrs[k].mr;
	}
	errno = refuse ? refuse : ENOMEM;
	return NULL;
}

__attribute__((visibility("default"))) int ibv_dereg_mr(struct ibv_mr *mr)
{
	struct fake *f = (struct fake *)mr;

	assert_true(f->live);
	f->live = false;
	live--;
	return 0;
}

/* One-sided access by a remote peer. false: the NIC refuses the key. */
static bool nic(uint32_t rkey, void *addr, void *buf, size_t len, bool write)
{
	for (unsigned k = 0; k < MRS_MAX; k++) {
		const struct ibv_mr *mr = &mrs[k].mr;
		char *from = mr->addr, *at = addr;

		if (!mrs[k].live || mr->rkey != rkey || at < from || at + len > from + mr->length)
			continue;
		if (write && !(mrs[k].access & IBV_ACCESS_REMOTE_WRITE))
			return false;
		memcpy(write ? addr : buf, write ? buf : addr, len);
		return true;
	}
	return false;
}

static struct ibv_pd *const pd = (struct ibv_pd *)&mrs; /* never looked into */

/* L12, L15. */
static void test_move(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_verbs_run old, now;
	struct lh_verbs_mr *mr;
	struct stranger s;
	uint8_t buf[BLOCK];
	uint64_t generation;

	(void)state;
	write_pattern(file, 0, 16 * BLOCK, 1);
	stranger_open(&s, fs, "/a");
	ok(lh_verbs_reg_mr(pd, file, 100, 10 * BLOCK,
			   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE, &mr));
	ok(lh_verbs_lookup(mr, 4 * BLOCK, &old));
	assert_int_equal(old.len, 6 * BLOCK + 100);
	assert_true(nic(old.rkey, old.addr, buf, BLOCK, false));
	assert_true(is_pattern(buf, 4 * BLOCK, BLOCK, 1));
	/* No key reaches beyond what was asked for. */
	assert_false(nic(old.rkey, (char *)old.addr + old.len - 10, buf, 11, false));
	generation = lh_verbs_generation(mr);
	ok(fs_relocate(s.handle, &s.who, 4 * BLOCK, BLOCK, NULL));
	assert_true(lh_verbs_generation(mr) > generation);
	assert_false(nic(old.rkey, old.addr, buf, BLOCK, false));
	/* L4: the neighbours have keys at once. */
	assert_int_equal(live, 2);
	ok(lh_verbs_lookup(mr, 4 * BLOCK, &now));
	assert_int_equal(live, 3);
	assert_ptr_not_equal(now.addr, old.addr);
	memset(buf, 'n', BLOCK);
	assert_true(nic(now.rkey, now.addr, buf, BLOCK, true));
	ok(lh_verbs_commit(mr, 4 * BLOCK, BLOCK));
	memset(buf, 0, BLOCK);
	assert_int_equal(lh_file_read(file, buf, BLOCK, 4 * BLOCK), BLOCK);
	assert_int_equal(buf[77], 'n');
	ok(lh_verbs_dereg_mr(mr));
	assert_int_equal(live, 0);
	stranger_close(&s);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* A NIC that is out of regions in the middle of a cut: the rest is registered by the next look-up. */
static void test_no_room(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_verbs_run run;
	struct lh_verbs_mr *mr;
	struct stranger s;
	uint8_t buf[BLOCK];

	(void)state;
	write_pattern(file, 0, 16 * BLOCK, 1);
	stranger_open(&s, fs, "/a");
	refuse = ENOSPC;
	refused(-ENOSPC, lh_verbs_reg_mr(pd, file, 0, 16 * BLOCK, IBV_ACCESS_REMOTE_READ, &mr));
	refuse = 0;
	ok(lh_verbs_reg_mr(pd, file, 0, 16 * BLOCK, IBV_ACCESS_REMOTE_READ, &mr));
	grant_left = 0;
	ok(fs_relocate(s.handle, &s.who, 4 * BLOCK, BLOCK, NULL));
	assert_int_equal(live, 0);
	refused(-ENOMEM, lh_verbs_lookup(mr, 4 * BLOCK, &run));
	grant_left = UINT32_MAX;
	for (unsigned b = 0; b < 16; b++) {
		ok(lh_verbs_lookup(mr, b * BLOCK, &run));
		assert_true(nic(run.rkey, run.addr, buf, BLOCK, false));
		assert_true(is_pattern(buf, b * BLOCK, BLOCK, 1));
		assert_false(nic(run.rkey, run.addr, buf, BLOCK, true));
	}
	ok(lh_verbs_dereg_mr(mr));
	assert_int_equal(live, 0);
	stranger_close(&s);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* L17, L24, and what cannot be right. */
static void test_refused(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_file *readable;
	struct lh_verbs_run run;
	struct lh_verbs_mr *mr;

	(void)state;
	write_pattern(file, 0, 4 * BLOCK, 1);
	ok(lh_file_open(fs, "/a", O_RDONLY, 0, &readable));
	refused(-EBADF, lh_verbs_reg_mr(pd, readable, 0, BLOCK, IBV_ACCESS_LOCAL_WRITE, &mr));
	refused(-EINVAL, lh_verbs_reg_mr(pd, file, 0, BLOCK, IBV_ACCESS_REMOTE_WRITE, &mr));
	refused(-EINVAL, lh_verbs_reg_mr(pd, file, 0, BLOCK, IBV_ACCESS_ON_DEMAND, &mr));
	refused(-EINVAL, lh_verbs_reg_mr(NULL, file, 0, BLOCK, 0, &mr));
	ok(lh_file_punch(file, BLOCK, BLOCK));
	ok(lh_verbs_reg_mr(pd, readable, 0, 4 * BLOCK, IBV_ACCESS_REMOTE_READ, &mr));
	refused(-ENODATA, lh_verbs_lookup(mr, BLOCK, &run));
	refused(-ERANGE, lh_verbs_lookup(mr, 4 * BLOCK, &run));
	refused(-EBADF, lh_verbs_commit(mr, 0, BLOCK));
	ok(lh_verbs_lookup(mr, 0, &run));
	ok(lh_file_close(readable));
	assert_int_equal(live, 0);
	refused(-EBADF, lh_verbs_lookup(mr, 0, &run));
	ok(lh_verbs_dereg_mr(mr));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_move),
	    cmocka_unit_test(test_no_room),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
