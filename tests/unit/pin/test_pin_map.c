/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L31: a pointer range that the filesystem may move at any time; SIGBUS beyond the end of file, as mmap does. */
#include "pin_test.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

#include "pin/trap.h"

static sigjmp_buf jump;
static volatile sig_atomic_t caught;
static void *volatile caught_at;

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	caught = sig;
	caught_at = si->si_addr;
	siglongjmp(jump, 1);
}

/* What an application had before it mapped anything; cmocka puts its own handlers in before every test. */
static struct lh_fs *start(void)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	return mem_open();
}

/* The signal that an access gives; 0: none. */
static int access_signal(volatile uint8_t *p, bool write)
{
	caught = 0;
	if (sigsetjmp(jump, 1) == 0) {
		if (write)
			*p = 7;
		else
			(void)*p;
	}
	return caught;
}

static uint64_t size_of(struct lh_file *file)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	ok(lh_file_stat(file, &st));
	return st.size;
}

static uint64_t blocks_of(struct lh_file *file)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	ok(lh_file_stat(file, &st));
	return st.blocks;
}

/* L31: reads and writes through the pointer are the file's. */
static void test_read_write(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	uint8_t byte;
	void *addr;
	volatile uint8_t *p;

	(void)state;
	write_pattern(file, 0, 1024 * BLOCK, 1);
	ok(lh_map(file, 0, 1024 * BLOCK, PROT_READ | PROT_WRITE, &addr));
	assert_int_equal((uintptr_t)addr % (2 << 20), 0);
	p = addr;
	assert_true(is_pattern(p, 0, 1024 * BLOCK, 1));
	p[5 * BLOCK] = 99;
	assert_int_equal(lh_file_read(file, &byte, 1, 5 * BLOCK), 1);
	assert_int_equal(byte, 99);
	byte = 77;
	assert_int_equal(lh_file_write(file, &byte, 1, 5 * BLOCK + 1), 1);
	assert_int_equal(p[5 * BLOCK + 1], 77);
	ok(lh_map_sync(addr, 1024 * BLOCK));
	ok(lh_unmap(addr));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* L31, L12: moved by a stranger and by ourselves, shared, punched: the pointer shows the file of now. */
static void test_moves(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_file *copy = file_make(fs, "/b");
	struct stranger s;
	uint8_t byte;
	void *addr;
	volatile uint8_t *p;

	(void)state;
	write_pattern(file, 0, 64 * BLOCK, 1);
	stranger_open(&s, fs, "/a");
	ok(lh_map(file, 0, 64 * BLOCK, PROT_READ | PROT_WRITE, &addr));
	p = addr;
	for (unsigned k = 0; k < 10; k++) {
		assert_true(is_pattern(p, 0, 64 * BLOCK, 1));
		ok(fs_relocate(s.handle, &s.who, (k % 7) * BLOCK, 16 * BLOCK, NULL));
		assert_true(is_pattern(p, 0, 64 * BLOCK, 1));
		assert_true(lh_file_relocate(file, (k % 5) * BLOCK, 20 * BLOCK) > 0);
	}
	p[3] = byte_of(3, 1); /* all is mapped for writing */
	ok(lh_file_clone_range(copy, 0, file, 0, 64 * BLOCK));
	p[2 * BLOCK] = 0xee; /* copy on write: the clone must not see it */
	assert_int_equal(lh_file_read(copy, &byte, 1, 2 * BLOCK), 1);
	assert_int_equal(byte, byte_of(2 * BLOCK, 1));
	assert_int_equal(lh_file_read(file, &byte, 1, 2 * BLOCK), 1);
	assert_int_equal(byte, 0xee);
	ok(fs_allocate(s.handle, &s.who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * BLOCK, 4 * BLOCK));
	for (unsigned k = 0; k < 4 * BLOCK; k++)
		assert_int_equal(p[8 * BLOCK + k], 0);
	assert_true(is_pattern(p + 12 * BLOCK, 12 * BLOCK, BLOCK, 1));
	ok(lh_unmap(addr));
	stranger_close(&s);
	ok(lh_file_close(copy));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* L31: SIGBUS beyond the end, and no longer when the file has grown; nothing grows by a write through the pointer. */
static void test_end(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	struct stranger s;
	void *addr;
	uint8_t *p;

	(void)state;
	write_pattern(file, 0, 10 * BLOCK + 100, 1);
	stranger_open(&s, fs, "/a");
	ok(lh_map(file, 0, 64 * BLOCK, PROT_READ | PROT_WRITE, &addr));
	p = addr;
	assert_int_equal(access_signal(p + 10 * BLOCK, false), 0);
	assert_int_equal(access_signal(p + 10 * BLOCK + 50, true), 0);
	assert_int_equal(access_signal(p + 11 * BLOCK, false), SIGBUS);
	assert_ptr_equal(caught_at, p + 11 * BLOCK);
	assert_int_equal(access_signal(p + 11 * BLOCK, true), SIGBUS);
	assert_int_equal(access_signal(p + 63 * BLOCK, true), SIGBUS);
	refused(-ENODATA, lh_map_touch(p + 20 * BLOCK, 1, true));
	assert_int_equal(size_of(file), 10 * BLOCK + 100);
	assert_int_equal(blocks_of(file), 11);
	ok(lh_file_truncate(file, 20 * BLOCK));
	assert_int_equal(access_signal(p + 11 * BLOCK, false), 0);
	assert_int_equal(p[11 * BLOCK], 0);
	assert_int_equal(access_signal(p + 19 * BLOCK, true), 0);
	assert_int_equal(access_signal(p + 20 * BLOCK, false), SIGBUS);
	ok(fs_truncate(s.handle, &s.who, 2 * BLOCK));
	assert_int_equal(access_signal(p + 2 * BLOCK, false), SIGBUS);
	assert_int_equal(access_signal(p + 1 * BLOCK, true), 0);
	ok(lh_map_sync(addr, 64 * BLOCK));
	assert_int_equal(size_of(file), 2 * BLOCK);
	ok(lh_unmap(addr));
	assert_int_equal(access_signal(p, false), SIGSEGV);
	stranger_close(&s);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* Holes are read as zeroes and cost nothing; a random write into one allocates one block. */
static void test_holes(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	void *addr;
	volatile uint8_t *p;

	(void)state;
	ok(lh_file_truncate(file, 2000 * BLOCK));
	ok(lh_map(file, 0, 2000 * BLOCK, PROT_READ | PROT_WRITE, &addr));
	p = addr;
	for (unsigned k = 0; k < 2000; k++)
		assert_int_equal(p[k * BLOCK + 11], 0);
	assert_int_equal(blocks_of(file), 0);
	p[1000 * BLOCK] = 1;
	p[300 * BLOCK] = 1;
	p[1500 * BLOCK] = 1;
	assert_int_equal(blocks_of(file), 3);
	assert_int_equal(p[1000 * BLOCK] + p[300 * BLOCK] + p[1500 * BLOCK], 3);
	for (unsigned k = 0; k < 2000; k++)
		p[k * BLOCK] = (uint8_t)k;
	assert_int_equal(blocks_of(file), 2000);
	for (unsigned k = 0; k < 2000; k++)
		assert_int_equal(p[k * BLOCK], (uint8_t)k);
	ok(lh_unmap(addr));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* Our own calls with pointers into mappings, of the very file too, neither hang nor err. */
static void test_own_calls(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_file *other = file_make(fs, "/b");
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_WRITE};
	struct lh_lease *lease;
	struct lh_queue *queue;
	void *addr;
	uint8_t *p;

	(void)state;
	write_pattern(file, 0, 64 * BLOCK, 1);
	write_pattern(other, 0, 64 * BLOCK, 2);
	ok(lh_map(file, 0, 80 * BLOCK, PROT_READ | PROT_WRITE, &addr));
	p = addr;
	assert_int_equal(lh_file_read(file, p + 32 * BLOCK, 16 * BLOCK, 0), 16 * BLOCK);
	assert_int_equal(lh_file_read(other, p, 8 * BLOCK, 0), 8 * BLOCK);
	assert_true(is_pattern(p, 0, 8 * BLOCK, 2));
	assert_true(is_pattern(p + 40 * BLOCK, 8 * BLOCK, 8 * BLOCK, 1));
	assert_int_equal(lh_file_write(other, p + 16 * BLOCK, BLOCK, 64 * BLOCK), BLOCK);
	assert_int_equal(lh_file_write(file, p + 16 * BLOCK, 8 * BLOCK, 64 * BLOCK), 8 * BLOCK);
	ok(lh_lease_get(other, 0, 16 * BLOCK, &opt, &lease));
	assert_int_equal(lh_lease_write(lease, p + 16 * BLOCK, BLOCK, 16), BLOCK);
	refused(-EFAULT, lh_file_read(other, p + 79 * BLOCK, 100, 0));
	ok(lh_queue_new(fs, 4, &queue));
	refused(-EFAULT, lh_queue_write(queue, lease, p, BLOCK, 0, NULL));
	lh_queue_free(queue);
	ok(lh_lease_release(lease));
	ok(lh_unmap(addr));
	ok(lh_file_close(other));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* System calls: EFAULT, and after lh_map_touch not. A child has no mapping (L24). */
static void test_system(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	void *addr;
	uint8_t *p;
	int fds[2];
	int status;
	pid_t child;

	(void)state;
	write_pattern(file, 0, 64 * BLOCK, 1);
	ok(lh_map(file, 0, 64 * BLOCK, PROT_READ | PROT_WRITE, &addr));
	p = addr;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], p + BLOCK, 100), -1);
	assert_int_equal(errno, EFAULT);
	ok(lh_map_touch(p, 64 * BLOCK, false));
	assert_int_equal(write(fds[1], p + BLOCK, 100), 100);
	ok(lh_map_touch(p, 64 * BLOCK, true));
	assert_int_equal(read(fds[0], p, 100), 100);
	assert_true(is_pattern(p, BLOCK, 100, 1));
	child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		(void)*(volatile uint8_t *)p;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	close(fds[0]);
	close(fds[1]);
	/* L24: the mapping ends with its file. */
	ok(lh_file_close(file));
	assert_int_equal(access_signal(p, false), SIGBUS);
	refused(-EBADF, lh_map_sync(p, BLOCK));
	ok(lh_unmap(addr));
	ok(lh_fs_close(fs));
}

/* L18: a user with few pinned bytes can use a large mapping; older pages make room. */
static void test_limit(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_limit limit = {.size = sizeof(limit), .kind = LH_LIMIT_PINS, .id = geteuid(), .bytes = 16 * BLOCK};
	void *addr;

	(void)state;
	write_pattern(file, 0, 256 * BLOCK, 1);
	limit.inodes = UINT64_MAX;
	ok(lh_fs_limit_set(fs, NULL, &limit));
	ok(lh_map(file, 0, 256 * BLOCK, PROT_READ | PROT_WRITE, &addr));
	assert_true(is_pattern(addr, 0, 256 * BLOCK, 1));
	for (unsigned k = 0; k < 256; k++)
		((uint8_t *)addr)[k * BLOCK] = 1;
	for (unsigned k = 0; k < 256; k++)
		assert_int_equal(((volatile uint8_t *)addr)[k * BLOCK], 1);
	ok(lh_unmap(addr));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* What cannot be right. Faults that are none of ours go where they went before. */
static void test_refused(void **state)
{
	struct lh_fs *fs = start();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_file *readable, *writable;
	struct lh_map_stat st = {.size = sizeof(st)};
	void *addr;
	uint8_t *nothing = mmap(NULL, BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	write_pattern(file, 0, BLOCK, 1);
	ok(lh_file_open(fs, "/a", O_RDONLY, 0, &readable));
	ok(lh_file_open(fs, "/a", O_WRONLY, 0, &writable));
	refused(-EINVAL, lh_map(file, 100, BLOCK, PROT_READ, &addr));
	refused(-EINVAL, lh_map(file, 0, 0, PROT_READ, &addr));
	refused(-EINVAL, lh_map(file, 0, BLOCK, PROT_WRITE, &addr));
	refused(-EACCES, lh_map(readable, 0, BLOCK, PROT_READ | PROT_WRITE, &addr));
	refused(-EACCES, lh_map(writable, 0, BLOCK, PROT_READ, &addr));
	refused(-EINVAL, lh_unmap(nothing));
	refused(-EFAULT, lh_map_touch(nothing, 1, false));
	ok(lh_map(readable, 0, BLOCK, PROT_READ, &addr));
	assert_int_equal(access_signal(addr, false), 0);
	assert_int_equal(access_signal(addr, true), SIGSEGV);
	refused(-EACCES, lh_map_touch(addr, 1, true));
	assert_int_equal(access_signal(nothing, false), SIGSEGV);
	assert_ptr_equal(caught_at, nothing);
	ok(lh_map_stat(&st));
	assert_int_equal(st.mappings, 1);
	assert_true(st.faults > 0 && st.pages > 0);
	ok(lh_unmap(addr));
	munmap(nothing, BLOCK);
	ok(lh_file_close(writable));
	ok(lh_file_close(readable));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* A file in more pieces than a process has areas of memory: the oldest make room. */
static void test_many(void **state)
{
	enum { COUNT = 40000 };
	struct lh_map_stat st = {.size = sizeof(st)};
	struct lh_file *file;
	struct lh_fs *fs;
	volatile uint8_t *p;
	uint8_t byte;
	void *addr;

	(void)state;
	ok(lh_fs_open("mem:256M", NULL, &fs));
	file = file_make(fs, "/a");
	ok(lh_file_truncate(file, (uint64_t)COUNT * BLOCK));
	for (uint64_t k = 0; k < COUNT; k += 2) {
		byte = (uint8_t)(k / 2 + 1);
		assert_int_equal(lh_file_write(file, &byte, 1, k * BLOCK), 1);
	}
	ok(lh_map(file, 0, (uint64_t)COUNT * BLOCK, PROT_READ, &addr));
	p = addr;
	for (uint64_t k = 0; k < COUNT; k++)
		assert_int_equal(p[k * BLOCK], k % 2 ? 0 : (uint8_t)(k / 2 + 1));
	ok(lh_map_stat(&st));
	assert_true(st.pieces > 1000 && st.pieces <= 16384);
	assert_int_equal(p[0], 1);
	ok(lh_unmap(addr));
	ok(lh_map_stat(&st));
	assert_int_equal(st.pieces, 0);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* --- a process that ends in the middle --- */

#define CRASH_BLOCKS 32u

static int crash_child(const char *pool)
{
	struct lh_file *file;
	struct lh_fs *fs;
	uint8_t *p;
	void *addr;

	if (lh_fs_open(pool, NULL, &fs) || lh_file_open(fs, "/a", O_RDWR | O_CREAT, 0644, &file) ||
	    lh_file_truncate(file, CRASH_BLOCKS * BLOCK) || lh_file_sync(file) ||
	    lh_map(file, 0, CRASH_BLOCKS * BLOCK, PROT_READ | PROT_WRITE, &addr))
		return 1;
	p = addr;
	for (unsigned k = 0; k < CRASH_BLOCKS * BLOCK; k++)
		p[k] = byte_of(k, 9);
	/* Taken away before it is synced: what was stored must not get lost. */
	if (lh_file_relocate(file, 0, 4 * BLOCK) < 0 || lh_map_sync(p, CRASH_BLOCKS / 2 * BLOCK))
		return 1;
	_exit(0);
}

/* L28: what lh_map_sync has returned for is there after a crash; what it was not asked for is itself or zeroes. */
static void test_crash(void **state)
{
	struct lh_make_options opt = {.size = sizeof(opt), .pool_size = 64 << 20, .overwrite = true};
	struct lh_file *file;
	struct lh_fs *fs;
	uint8_t *now = malloc(CRASH_BLOCKS * BLOCK);
	char pool[64], command[160];

	(void)state;
	snprintf(pool, sizeof(pool), "/var/tmp/lh-map-%d.pool", getpid());
	ok(lh_pool_make(pool, &opt));
	snprintf(command, sizeof(command), "/proc/%d/exe crash %s", getpid(), pool);
	assert_int_equal(system(command), 0);
	ok(lh_fs_open(pool, NULL, &fs));
	file = file_make(fs, "/a");
	assert_int_equal(lh_file_read(file, now, CRASH_BLOCKS * BLOCK, 0), CRASH_BLOCKS * BLOCK);
	assert_true(is_pattern(now, 0, CRASH_BLOCKS / 2 * BLOCK, 9));
	for (unsigned k = CRASH_BLOCKS / 2 * BLOCK; k < CRASH_BLOCKS * BLOCK; k++)
		assert_true(now[k] == 0 || now[k] == byte_of(k, 9));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
	unlink(pool);
	free(now);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_read_write), cmocka_unit_test(test_moves),     cmocka_unit_test(test_end),
	    cmocka_unit_test(test_holes),      cmocka_unit_test(test_own_calls), cmocka_unit_test(test_system),
	    cmocka_unit_test(test_refused),    cmocka_unit_test(test_limit),     cmocka_unit_test(test_many),
	    cmocka_unit_test(test_crash),
	};

#if !BUSGUARD_WORKS
	puts("the thread sanitizer does not hand on a signal from inside its own memcpy: skipped");
	return 77;
#endif
	if (!TRAP_WORKS)
		return 77;
	if (argc == 3)
		return crash_child(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
