/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L31 on hugetlbfs: whole 2 MiB in one huge page are mapped as one, anything else is a clear error and no foreign
 * byte; io_uring's fixed buffers too. Skipped where there are no free huge pages, or no right to mount. */
#include "pin_test.h"

#include <sched.h>
#include <sys/mount.h>

#define HUGE ((uint64_t)2 << 20)

static char dir[] = "/tmp/lh-huge-XXXXXX";
static char pool[64];

/* 0, or why not. */
static const char *huge_pages(void)
{
	char line[128];
	unsigned long free_pages = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "HugePages_Free: %lu", &free_pages) == 1)
			break;
	}
	if (f)
		fclose(f);
	if (free_pages < 40)
		return "fewer than 40 free huge pages (/proc/sys/vm/nr_hugepages)";
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return "no mount namespace of our own";
	if (!mkdtemp(dir) || mount("hugetlbfs", dir, "hugetlbfs", 0, NULL) != 0)
		return "hugetlbfs cannot be mounted";
	snprintf(pool, sizeof(pool), "%s/pool", dir);
	return NULL;
}

static struct lh_fs *start(void)
{
	struct lh_make_options opt = {.size = sizeof(opt), .pool_size = 64 << 20, .overwrite = true};
	struct lh_fs *fs;

	ok(lh_pool_make(pool, &opt));
	assert_string_equal(opt.kind_out, "hugetlbfs");
	ok(lh_fs_open(pool, NULL, &fs));
	return fs;
}

static void test_whole(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	struct stranger s;
	struct lh_map_stat st = {.size = sizeof(st)};
	void *addr;
	int err;

	(void)state;
	write_pattern(file, 0, 2 * HUGE, 1);
	err = lh_map(file, 0, 2 * HUGE, PROT_READ | PROT_WRITE, &addr);
	if (err) {
		printf("not aligned: %s\n", lh_error_text());
		assert_int_equal(err, -EOPNOTSUPP);
	} else {
		assert_true(is_pattern(addr, 0, 2 * HUGE, 1));
		((volatile uint8_t *)addr)[7] = byte_of(7, 1);
		ok(lh_map_stat(&st));
		assert_true(st.pieces <= 2);
		/* Moved as a whole it may be aligned again: then it goes on, else it is SIGBUS, never another's byte.
		 */
		stranger_open(&s, fs, "/a");
		ok(fs_relocate(s.handle, &s.who, 0, HUGE, NULL));
		err = lh_map_touch(addr, 2 * HUGE, false);
		assert_true(err == 0 || err == -EOPNOTSUPP);
		if (err == 0)
			assert_true(is_pattern(addr, 0, 2 * HUGE, 1));
		stranger_close(&s);
		ok(lh_unmap(addr));
	}
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

static void test_parts(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	void *addr;

	(void)state;
	write_pattern(file, 0, 3 * BLOCK, 1);
	refused(-EOPNOTSUPP, lh_map(file, 0, 3 * BLOCK, PROT_READ, &addr));
	refused(-EINVAL, lh_map(file, BLOCK, BLOCK, PROT_READ, &addr));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

static void test_uring(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_uring_buffer *buf;
	struct lh_completion done;
	struct lh_uring *ring;
	struct stranger s;
	char name[] = "/tmp/lh-disk-XXXXXX";
	int fd = mkstemp(name);
	uint8_t *bytes = malloc(HUGE);

	(void)state;
	unlink(name);
	for (uint64_t k = 0; k < HUGE; k++)
		bytes[k] = byte_of(k, 4);
	assert_int_equal(write(fd, bytes, HUGE), HUGE);
	if (lh_uring_new(fs, 4, &ring) == 0) {
		ok(lh_file_truncate(file, HUGE));
		stranger_open(&s, fs, "/a");
		ok(lh_uring_register(ring, file, 0, HUGE, LH_LEASE_WRITE, &buf));
		assert_true(lh_uring_fixed(buf));
		for (unsigned k = 0; k < 20; k++) {
			ok(lh_uring_read(buf, fd, 0, 0, HUGE, NULL));
			ok(fs_relocate(s.handle, &s.who, k * 8 * BLOCK, 32 * BLOCK, NULL));
			assert_int_equal(lh_uring_wait(ring, 1, &done, 1), 1);
			assert_int_equal(done.result, HUGE);
			memset(bytes, 0, HUGE);
			assert_int_equal(lh_file_read(file, bytes, HUGE, 0), HUGE);
			assert_true(is_pattern(bytes, 0, HUGE, 4));
		}
		stranger_close(&s);
		lh_uring_free(ring);
	}
	free(bytes);
	close(fd);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_parts),
					   cmocka_unit_test(test_uring)};
	const char *why = huge_pages();
	int failed;

	if (why) {
		printf("skipped: %s\n", why);
		return 77;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return failed;
}
