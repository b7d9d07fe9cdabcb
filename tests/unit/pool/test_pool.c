/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a pool is made, opened, owned and refused as pool.h says: sizes from 16 MiB to 16 TiB in whole blocks, one
 * owner whose pid the message names, files allocated in full, and every refusal says what, where and what to do.
 */
#include "base/busguard.h"
#include "base/error.h"
#include "pool/internal.h"
#include "pool/pool.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#undef fail
#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *to = path[turn++ % ARRAY_LEN(path)];

	snprintf(to, sizeof(path[0]), "%s/%s", dir, name);
	return to;
}

static int create(const char *path, uint64_t size, struct pool **out)
{
	return pool_create(&(struct pool_create_args){.path = path, .size = size}, out);
}

static struct pool *must_create(const char *path, uint64_t size)
{
	struct pool *p;

	assert_int_equal(create(path, size, &p), 0);
	return p;
}

static void assert_says(const char *part)
{
	if (!strstr(fail_text(), part))
		fail_msg("\"%s\" does not say \"%s\"", fail_text(), part);
}

static void file_of(const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void sizes_outside_16_mib_to_16_tib_are_refused(void **state)
{
	struct pool *p;

	assert_int_equal(create("mem:", 16 * MIB - 1, &p), -EINVAL);
	assert_says("at least 16 MiB");
	assert_int_equal(create("mem:", 0, &p), -EINVAL);
	assert_int_equal(create("mem:", POOL_SIZE_MAX + 4096, &p), -EINVAL);
	assert_says("at most 16777216 MiB");
	assert_int_equal(create("mem:", UINT64_MAX, &p), -EINVAL);
	assert_int_equal(create(in_dir("small"), MIB, &p), -EINVAL);
	assert_int_equal(access(in_dir("small"), F_OK), -1);
	assert_int_equal(create(in_dir("large"), UINT64_MAX, &p), -EINVAL);
	assert_int_equal(access(in_dir("large"), F_OK), -1);
}

static void the_smallest_and_the_largest_memfd_work_and_sizes_round_down(void **state)
{
	struct pool *p = must_create(NULL, 16 * MIB + 4095);

	assert_int_equal(p->size, 16 * MIB);
	assert_int_equal(p->kind, POOL_KIND_MEMFD);
	assert_int_equal(p->class, POOL_VOLATILE);
	assert_string_equal(p->name, "memfd");
	pool_close(p);

	if (create("mem:huge", POOL_SIZE_MAX, &p) == -ENOMEM) {
		print_message("no address space for 16 TiB here: %s\n", fail_text());
		return;
	}
	pool_store(p, POOL_SIZE_MAX - 8, "end here", 8);
	assert_memory_equal(pool_at(p, POOL_SIZE_MAX - 8, 8), "end here", 8);
	pool_close(p);
}

static void a_plain_file_is_msync_and_has_all_its_storage(void **state)
{
	const char *path = in_dir("plain");
	struct pool *p = must_create(path, 16 * MIB);
	struct statfs fs;
	struct stat st;

	assert_int_equal(fstatfs(p->fd, &fs), 0);
	assert_int_equal(fstat(p->fd, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= 16 * MIB);
	assert_int_equal(st.st_mode & 0777, 0600);
	if (fs.f_type == TMPFS_MAGIC) {
		assert_int_equal(p->class, POOL_VOLATILE);
	} else if (p->kind != POOL_KIND_FSDAX) {
		assert_int_equal(p->kind, POOL_KIND_FILE);
		assert_int_equal(p->class, POOL_MSYNC);
	}
	pool_close(p);
	unlink(path);
}

static void tmpfs_is_volatile_and_allocated_too(void **state)
{
	char path[64] = "/dev/shm/leasehold-pool-XXXXXX";
	struct statfs fs;
	struct stat st;
	struct pool *p;
	int fd;

	if (statfs("/dev/shm", &fs) != 0 || fs.f_type != TMPFS_MAGIC) {
		print_message("skipped: /dev/shm is no tmpfs here\n");
		skip();
	}
	fd = mkstemp(path);
	if (fd < 0)
		skip();
	close(fd);
	p = must_create(path, 17 * MIB);
	assert_int_equal(p->kind, POOL_KIND_TMPFS);
	assert_int_equal(p->class, POOL_VOLATILE);
	assert_int_equal(fstat(p->fd, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= 17 * MIB);
	assert_int_equal(pool_populate(p), 0);
	pool_close(p);
	unlink(path);
}

static void what_was_stored_is_there_after_close_and_open(void **state)
{
	const char *path = in_dir("content");
	struct pool *p = must_create(path, 16 * MIB);

	pool_store(p, 5000, "leasehold", 9);
	pool_copy(p, 3 * MIB, 5000, 9);
	pool_zero(p, 5000, 9);
	pool_flush(p, 0, 8192);
	pool_fence(p);
	assert_int_equal(pool_publish(p, 4096, le64_of(0x0102030405060708)), 0);
	assert_int_equal(pool_sync(p, 3 * MIB - 1, 10), 0);
	assert_int_equal(pool_sync(p, 16 * MIB, 0), 0);
	assert_int_equal(pool_sync_all(p), 0);
	pool_close(p);

	assert_int_equal(pool_open(path, true, &p), 0);
	assert_true(p->read_only);
	assert_memory_equal(pool_at(p, 3 * MIB, 9), "leasehold", 9);
	assert_memory_equal(pool_at(p, 5000, 9), "\0\0\0\0\0\0\0\0\0", 9);
	assert_memory_equal(pool_at(p, 4096, 8), "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
	pool_close(p);
	unlink(path);
}

static void stores_of_every_length_and_alignment_land_whole(void **state)
{
	struct pool *p = must_create(NULL, 16 * MIB);
	const uint8_t src[24] = "abcdefghijklmnopqrstuvw";

	for (uint64_t len = 0; len <= 17; len++) {
		for (uint64_t off = 0; off < 16; off++) {
			uint8_t want[64] = {0};

			pool_zero(p, 0, 64);
			pool_store(p, off, src + 1, len);
			memcpy(want + off, src + 1, len);
			assert_memory_equal(pool_at(p, 0, 64), want, 64);
		}
	}
	pool_close(p);
}

static void an_existing_file_is_kept_unless_overwriting_was_asked_for(void **state)
{
	const char *path = in_dir("exists");
	struct pool *p = must_create(path, 16 * MIB);

	pool_store(p, 0, "old", 3);
	pool_close(p);
	assert_int_equal(create(path, 16 * MIB, &p), -EEXIST);
	assert_says("overwrite");
	assert_int_equal(pool_create(&(struct pool_create_args){path, 20 * MIB, true}, &p), 0);
	assert_int_equal(p->size, 20 * MIB);
	assert_memory_equal(pool_at(p, 0, 3), "\0\0\0", 3);
	pool_close(p);

	/* An empty file is nobody's. */
	file_of(path, 0);
	p = must_create(path, 16 * MIB);
	pool_close(p);
	unlink(path);
}

static void files_that_cannot_be_pools_are_refused_by_size(void **state)
{
	static const uint64_t sizes[] = {0, 1, 4096, 16 * MIB - 4096, 16 * MIB + 1, 16 * MIB + 512};
	const char *path = in_dir("not-a-pool");
	struct pool *p;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		file_of(path, sizes[i]);
		assert_int_equal(pool_open(path, false, &p), -EUCLEAN);
		assert_says(path);
		assert_int_equal(pool_open(path, true, &p), -EUCLEAN);
	}
	unlink(path);
}

static void a_sparse_copy_of_a_pool_is_filled_in_when_opened(void **state)
{
	const char *path = in_dir("sparse");
	struct stat st;
	struct pool *p;

	file_of(path, 16 * MIB);
	assert_int_equal(pool_open(path, false, &p), 0);
	assert_int_equal(fstat(p->fd, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= 16 * MIB);
	pool_close(p);
	unlink(path);
}

static void more_than_the_filesystem_has_is_enospc_at_once_and_leaves_no_file(void **state)
{
	const char *path = in_dir("too-much");
	struct statfs fs;
	struct pool *p;

	assert_int_equal(statfs(dir, &fs), 0);
	if ((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize > 8 * (POOL_SIZE_MAX / 16))
		skip();
	assert_int_equal(create(path, 15 * (POOL_SIZE_MAX / 16), &p), -ENOSPC);
	assert_says("MiB free");
	assert_int_equal(access(path, F_OK), -1);
}

static void what_is_no_file_is_refused_with_its_reason(void **state)
{
	const char *fifo = in_dir("fifo");
	struct pool *p;

	assert_int_equal(pool_open(in_dir("missing"), false, &p), -ENOENT);
	assert_says("mkfs");
	assert_int_equal(pool_open(in_dir("missing"), true, &p), -ENOENT);
	assert_int_equal(create(in_dir("no/such/dir"), 16 * MIB, &p), -ENOENT);
	assert_int_equal(create(dir, 16 * MIB, &p), -EISDIR);
	assert_int_equal(pool_open(dir, true, &p), -EISDIR);
	assert_says("is a directory");
	assert_int_equal(pool_open("/dev/null", true, &p), -ENODEV);
	assert_says("DAX");
	assert_int_equal(create("/dev/null", 16 * MIB, &p), -ENODEV);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(pool_open(fifo, true, &p), -ENODEV);
	assert_int_equal(create(fifo, 16 * MIB, &p), -ENODEV);
	assert_int_equal(access(fifo, F_OK), 0);
	assert_int_equal(pool_open("mem:", false, &p), -EINVAL);
	unlink(fifo);
}

/* Another process that owns the pool until it is told to go. */
struct other {
	pid_t pid;
	int in;  /* closes when it shall go */
	int out; /* a byte when it has the pool */
};

static struct other other_opens(const char *path, bool read_only)
{
	int in[2], out[2];
	struct other o;
	char byte = 0;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	o.pid = fork();
	assert_true(o.pid >= 0);
	if (o.pid == 0) {
		struct pool *p;

		close(in[1]);
		close(out[0]);
		byte = pool_open(path, read_only, &p) == 0 ? 'y' : 'n';
		if (write(out[1], &byte, 1) != 1 || read(in[0], &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	o.in = in[1];
	o.out = out[0];
	assert_int_equal(read(o.out, &byte, 1), 1);
	assert_int_equal(byte, 'y');
	return o;
}

static void other_goes(struct other *o)
{
	int status;

	close(o->in);
	close(o->out);
	assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
}

static void assert_says_pid(pid_t pid)
{
	char text[32];

	snprintf(text, sizeof(text), "pid %ld:", (long)pid);
	assert_says(text);
}

static void a_second_owner_is_told_the_first_ones_pid(void **state)
{
	const char *path = in_dir("owned");
	struct pool *p = must_create(path, 16 * MIB);
	struct other o;

	pool_store(p, 0, "mine", 4);
	pool_close(p);
	o = other_opens(path, false);
	assert_int_equal(pool_open(path, false, &p), -EBUSY);
	assert_says_pid(o.pid);
	assert_says(path);
	/* Readers (fsck, dump) of a mounted pool as well. */
	assert_int_equal(pool_open(path, true, &p), -EBUSY);
	assert_says_pid(o.pid);
	/* And overwriting is no way around. */
	assert_int_equal(pool_create(&(struct pool_create_args){path, 32 * MIB, true}, &p), -EBUSY);
	assert_says_pid(o.pid);
	other_goes(&o);

	assert_int_equal(pool_open(path, false, &p), 0);
	assert_int_equal(p->size, 16 * MIB);
	assert_memory_equal(pool_at(p, 0, 4), "mine", 4);
	pool_close(p);
	unlink(path);
}

static void a_killed_owner_leaves_no_lock(void **state)
{
	const char *path = in_dir("killed");
	struct pool *p = must_create(path, 16 * MIB);
	struct other o;

	pool_close(p);
	o = other_opens(path, false);
	kill(o.pid, SIGKILL);
	other_goes(&o);
	assert_int_equal(pool_open(path, false, &p), 0);
	pool_close(p);
	unlink(path);
}

static void readers_share_and_keep_owners_out(void **state)
{
	const char *path = in_dir("shared");
	struct pool *p = must_create(path, 16 * MIB);
	struct other o;

	pool_close(p);
	o = other_opens(path, true);
	assert_int_equal(pool_open(path, true, &p), 0);
	pool_close(p);
	assert_int_equal(pool_open(path, false, &p), -EBUSY);
	assert_says_pid(o.pid);
	other_goes(&o);
	assert_int_equal(pool_open(path, false, &p), 0);
	pool_close(p);
	unlink(path);
}

static void two_opens_in_one_process_exclude_each_other_too(void **state)
{
	const char *path = in_dir("twice");
	struct pool *p = must_create(path, 16 * MIB), *q;

	assert_int_equal(pool_open(path, false, &q), -EBUSY);
	assert_says("this process");
	/* Closing that descriptor dropped the lock that tells the pid, and not the one that excludes. */
	assert_int_equal(pool_open(path, true, &q), -EBUSY);
	pool_close(p);
	assert_int_equal(pool_open(path, false, &q), 0);
	pool_close(q);
	unlink(path);
}

static void populate_gives_a_memfd_all_its_memory(void **state)
{
	struct pool *p = must_create("mem:", 16 * MIB);
	struct stat st;

	assert_int_equal(fstat(p->fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	pool_store(p, 100, "kept", 4);
	assert_int_equal(pool_populate(p), 0);
	assert_int_equal(fstat(p->fd, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= 16 * MIB);
	assert_memory_equal(pool_at(p, 100, 4), "kept", 4);
	pool_close(p);
}

static void text_file(const char *name, const char *text)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void a_dax_device_is_described_by_sysfs(void **state)
{
	uint64_t size = 0, align = 0;

	assert_int_equal(mkdir(in_dir("dax"), 0700), 0);
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), -ENODEV);
	assert_int_equal(symlink("../../../bus/block", in_dir("dax/subsystem")), 0);
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), -ENODEV);
	unlink(in_dir("dax/subsystem"));
	assert_int_equal(symlink("../../../bus/dax", in_dir("dax/subsystem")), 0);
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), -EIO);
	text_file("dax/size", "2111832064\n");
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), -EIO);
	text_file("dax/align", "2097152\n");
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), 0);
	assert_int_equal(size, 2111832064);
	assert_int_equal(align, 2 * MIB);
	text_file("dax/align", "0\n");
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), -EIO);
	text_file("dax/align", "3000000\n");
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), -EIO);
	/* The older class model has it one level up, and may write it in hex. */
	unlink(in_dir("dax/align"));
	assert_int_equal(mkdir(in_dir("dax/device"), 0700), 0);
	text_file("dax/device/align", "0x200000\n");
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), 0);
	assert_int_equal(align, 2 * MIB);
	text_file("dax/size", "garbage\n");
	assert_int_equal(place_devdax(in_dir("dax"), &size, &align), -EIO);
}

/* A pool in use gets longer and shorter; its memory never moves. */
static void a_pool_changes_its_size_in_place(void **state)
{
	static char shm_path[64];
	const char *paths[] = {NULL, in_dir("sized"), shm_path};

	(void)state;
	snprintf(shm_path, sizeof(shm_path), "/dev/shm/leasehold-sized-%ld", (long)getpid());
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct pool *p = must_create(paths[i], 16 * MIB);
		const uint8_t *base = p->base;
		struct stat st;

		pool_store(p, 16 * MIB - 4, "here", 4);
		assert_int_equal(pool_resize(p, 48 * MIB), 0);
		assert_ptr_equal(p->base, base);
		assert_int_equal(pool_size(p), 48 * MIB);
		assert_int_equal(fstat(p->fd, &st), 0);
		assert_int_equal(st.st_size, 48 * MIB);
		assert_memory_equal(pool_at(p, 16 * MIB - 4, 8), "here\0\0\0\0", 8);
		pool_store(p, 48 * MIB - 4, "last", 4);
		assert_int_equal(pool_sync(p, 48 * MIB - 4096, 4096), 0);
		assert_int_equal(pool_resize(p, 20 * MIB), 0);
		assert_int_equal(fstat(p->fd, &st), 0);
		assert_int_equal(st.st_size, 20 * MIB);
		/* What was cut comes back as zeroes. */
		assert_int_equal(pool_resize(p, 48 * MIB), 0);
		assert_memory_equal(pool_at(p, 48 * MIB - 4, 4), "\0\0\0\0", 4);
		assert_memory_equal(pool_at(p, 16 * MIB - 4, 4), "here", 4);
		assert_int_equal(pool_resize(p, 16 * MIB - 4096), -EINVAL);
		assert_int_equal(pool_resize(p, 20 * MIB + 1), -EINVAL);
		assert_int_equal(pool_resize(p, round_up_u64(p->room, MIB) + MIB),
				 p->room < POOL_SIZE_MAX ? -ENOMEM : -EINVAL);
		assert_int_equal(pool_size(p), 48 * MIB);
		pool_close(p);
		if (paths[i])
			unlink(paths[i]);
	}
}

/* The thread's first fault is remembered until somebody asks; reads say it at once. */
static void memory_that_fails_is_told(void **state)
{
	struct pool *p = must_create(NULL, 16 * MIB);
	uint8_t buf[8192];
	uint64_t off;

	(void)state;
	if (!BUSGUARD_WORKS) {
		pool_close(p);
		skip();
	}
	assert_int_equal(ftruncate(p->fd, (off_t)(8 * MIB)), 0);
	assert_int_equal(pool_read(p, 0, buf, sizeof(buf)), 0);
	assert_int_equal(pool_read(p, 8 * MIB - 4096, buf, sizeof(buf)), -EIO);
	assert_says("8388608");
	assert_int_equal(pool_probe(p, 0, 16 * MIB), -EIO);
	assert_int_equal(pool_equal(p, 0, 9 * MIB, 4096), -EIO);
	assert_int_equal(pool_equal(p, 0, MIB, 4096), 1);
	pool_store(p, MIB, "good", 4);
	assert_int_equal(pool_fault(p), 0);
	pool_store(p, 9 * MIB, "bad", 3);
	pool_zero(p, 10 * MIB, 4096);
	assert_true(pool_faulted(p, &off));
	assert_int_equal(off / 4096, 9 * MIB / 4096);
	assert_int_equal(pool_fault(p), -EIO);
	assert_int_equal(pool_fault(p), 0);
	pool_copy(p, 2 * MIB, 11 * MIB, 4096);
	assert_int_equal(pool_sync(p, 2 * MIB, 4096), -EIO);
	assert_int_equal(pool_sync(p, 2 * MIB, 4096), 0);
	assert_int_equal(pool_publish(p, 12 * MIB, le64_of(1)), -EIO);
	pool_close(p);
}

static void classes_and_kinds_have_names(void **state)
{
	assert_string_equal(pool_class_name(POOL_CACHE_FLUSH), "cache-flush");
	assert_string_equal(pool_class_name(POOL_MSYNC), "msync");
	assert_string_equal(pool_class_name(POOL_VOLATILE), "volatile");
	for (int k = POOL_KIND_FILE; k <= POOL_KIND_SIM; k++)
		assert_string_not_equal(pool_kind_name((enum pool_kind)k), "unknown");
	pool_close(NULL);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/lh-pool-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const files[] = {"dax/subsystem", "dax/size", "dax/device/align"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		unlink(in_dir(files[i]));
	rmdir(in_dir("dax/device"));
	rmdir(in_dir("dax"));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_outside_16_mib_to_16_tib_are_refused),
	    cmocka_unit_test(the_smallest_and_the_largest_memfd_work_and_sizes_round_down),
	    cmocka_unit_test(a_plain_file_is_msync_and_has_all_its_storage),
	    cmocka_unit_test(tmpfs_is_volatile_and_allocated_too),
	    cmocka_unit_test(what_was_stored_is_there_after_close_and_open),
	    cmocka_unit_test(stores_of_every_length_and_alignment_land_whole),
	    cmocka_unit_test(an_existing_file_is_kept_unless_overwriting_was_asked_for),
	    cmocka_unit_test(files_that_cannot_be_pools_are_refused_by_size),
	    cmocka_unit_test(a_sparse_copy_of_a_pool_is_filled_in_when_opened),
	    cmocka_unit_test(more_than_the_filesystem_has_is_enospc_at_once_and_leaves_no_file),
	    cmocka_unit_test(what_is_no_file_is_refused_with_its_reason),
	    cmocka_unit_test(a_second_owner_is_told_the_first_ones_pid),
	    cmocka_unit_test(a_killed_owner_leaves_no_lock),
	    cmocka_unit_test(readers_share_and_keep_owners_out),
	    cmocka_unit_test(two_opens_in_one_process_exclude_each_other_too),
	    cmocka_unit_test(populate_gives_a_memfd_all_its_memory),
	    cmocka_unit_test(a_dax_device_is_described_by_sysfs),
	    cmocka_unit_test(a_pool_changes_its_size_in_place),
	    cmocka_unit_test(memory_that_fails_is_told),
	    cmocka_unit_test(classes_and_kinds_have_names),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
