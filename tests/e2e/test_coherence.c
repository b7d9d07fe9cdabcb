/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: close-to-open between programs on a mount and direct users, from both sides (docs/mount.md, coherence): after a
 * direct user's call, commit or close an open(2) on the mount sees what it did, content and names, at once; after
 * write(2), msync or close on the mount a direct user sees it at once; and what nobody opens anew (stat, names that are
 * kept, mapped pages) is right soon, although the kernel was told to keep it for a minute. While direct users hold
 * WRITE leases too, and with two mounts of one server.
 *
 * The first argument is the command, the second what is mounted: pool, server, or two (mounts of one server). 77 where
 * there is no FUSE.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#define BLOCK     4096u
#define SIZE_MAX_ (64u * BLOCK)
#define ROUNDS    3000u
#define MOUNTS    2u
#define SOON_MS   5000u

extern char **environ;

#define ok(call)                                                                                                       \
	do {                                                                                                           \
		int64_t ok_ = (int64_t)(call);                                                                         \
		if (ok_ < 0)                                                                                           \
			fail_msg("round %u: %s: %lld: %s", now_round, #call, (long long)ok_, lh_error_text());         \
	} while (0)
#define sys(call)                                                                                                      \
	({                                                                                                             \
		long long sys_ = (long long)(call);                                                                    \
		if (sys_ < 0)                                                                                          \
			fail_msg("round %u: %s: %s", now_round, #call, strerror(errno));                               \
		sys_;                                                                                                  \
	})

static char base[64], address[96], mounted[MOUNTS][80];
static unsigned mounts;
static struct lh_fs *direct;
static unsigned now_round;
static uint64_t seed;

static uint64_t chance(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* --- the mount -----------------------------------------------------------------------------------------------------
 */

static pid_t command(char *const args[])
{
	pid_t pid;

	if (posix_spawnp(&pid, args[0], NULL, NULL, args, environ) != 0)
		return -1;
	return pid;
}

static bool is_mounted(const char *dir)
{
	FILE *f = fopen("/proc/self/mounts", "r");
	char line[1024];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, dir) != NULL;
	if (f)
		fclose(f);
	return found;
}

static void unmount_all(void)
{
	for (unsigned k = 0; k < MOUNTS; k++) {
		char *args[] = {"fusermount3", "-u", "-z", "-q", "--", mounted[k], NULL};
		int status;

		if (mounted[k][0] && waitpid(command(args), &status, 0) < 0)
			continue;
	}
}

/* Lives longer than this process, whatever happens to it, and takes the mounts away. */
static void guard_start(void)
{
	int ends[2];
	char c;

	if (pipe(ends) != 0)
		exit(1);
	if (fork() == 0) {
		close(ends[1]);
		setsid();
		while (read(ends[0], &c, 1) < 0 && errno == EINTR)
			;
		for (unsigned k = 0; k < MOUNTS; k++) {
			if (!is_mounted(mounted[k]))
				mounted[k][0] = '\0';
		}
		unmount_all();
		_exit(0);
	}
	close(ends[0]);
	fcntl(ends[1], F_SETFD, FD_CLOEXEC);
}

static bool wait_for(bool (*is)(const char *), const char *what, pid_t pid)
{
	struct timespec pause = {.tv_nsec = 5000000};
	int status;

	for (unsigned k = 0; k < 4000; k++) {
		if (is(what))
			return true;
		if (waitpid(pid, &status, WNOHANG) == pid)
			return false;
		nanosleep(&pause, NULL);
	}
	return false;
}

static bool answers(const char *where)
{
	struct lh_fs *fs;

	if (lh_fs_open(where, NULL, &fs) != 0)
		return false;
	lh_fs_close(fs);
	return true;
}

static pid_t server, mounter[MOUNTS];
static int old_fd = -1; /* open all the time */

static int start(const char *leasehold, const char *what)
{
	bool pool = strcmp(what, "pool") == 0;
	char *serve[] = {(char *)leasehold, "-p", "mem:256M", "serve", "--listen", address, NULL};

	snprintf(base, sizeof(base), "/tmp/lh-coherence.XXXXXX");
	if (!mkdtemp(base))
		return 1;
	snprintf(address, sizeof(address), "unix:%s/sock", base);
	mounts = strcmp(what, "two") == 0 ? 2 : 1;
	for (unsigned k = 0; k < mounts; k++) {
		snprintf(mounted[k], sizeof(mounted[k]), "%s/mnt%u", base, k);
		if (mkdir(mounted[k], 0755) != 0)
			return 1;
	}
	guard_start();
	if (!pool) {
		server = command(serve);
		if (!wait_for(answers, address, server))
			return 1;
	}
	for (unsigned k = 0; k < mounts; k++) {
		char *from_pool[] = {(char *)leasehold, "mount",    "--foreground", "--listen",
				     address,           "mem:256M", mounted[k],     NULL};
		char *from_server[] = {(char *)leasehold, "mount", "--foreground", address, mounted[k], NULL};

		mounter[k] = command(pool ? from_pool : from_server);
		if (!wait_for(is_mounted, mounted[k], mounter[k]))
			return 1;
	}
	return lh_fs_open(address, NULL, &direct) ? 1 : 0;
}

static int end(void)
{
	int status, bad = 0;

	if (old_fd >= 0)
		close(old_fd);
	bad |= lh_fs_close(direct);
	for (unsigned k = 0; k < mounts; k++) {
		char *args[] = {"fusermount3", "-u", "--", mounted[k], NULL};

		kill(mounter[k], SIGCONT);

		if (waitpid(command(args), &status, 0) < 0 || status) {
			bad = 1;
			unmount_all();
		}
		bad |= waitpid(mounter[k], &status, 0) < 0 || status;
		rmdir(mounted[k]);
	}
	if (server > 0) {
		kill(server, SIGTERM);
		bad |= waitpid(server, &status, 0) < 0 || status;
	}
	unlink(address + strlen("unix:"));
	rmdir(base);
	return bad;
}

/* A path in a mount. */
static const char *on(unsigned mount, const char *path)
{
	static char buf[8][160];
	static unsigned next;
	char *p = buf[next++ % 8];

	snprintf(p, sizeof(buf[0]), "%s%s", mounted[mount], path);
	return p;
}

/* --- one file, changed and looked at from everywhere ---------------------------------------------------------------
 */

static struct model {
	uint8_t bytes[SIZE_MAX_];
	uint64_t size;
	unsigned version;
} model;

static void model_resize(uint64_t size)
{
	if (size > model.size)
		memset(model.bytes + model.size, 0, size - model.size);
	model.size = size;
}

/* New bytes for [off, off + len), in the model too. */
static const uint8_t *fresh(uint64_t off, uint64_t len)
{
	if (off + len > model.size)
		model_resize(off + len);
	model.version++;
	for (uint64_t k = off; k < off + len; k++)
		model.bytes[k] = (uint8_t)(model.version * 37 + k * 11 + k / BLOCK);
	return model.bytes + off;
}

static void random_range(uint64_t *off, uint64_t *len)
{
	*off = chance(SIZE_MAX_ - 1);
	*len = 1 + chance(chance(4) ? 3000 : SIZE_MAX_ - *off);
	if (*off + *len > SIZE_MAX_)
		*len = SIZE_MAX_ - *off;
}

static uint64_t random_block(uint64_t below)
{
	return chance(below / BLOCK) * BLOCK;
}

static struct lh_file *direct_open(const char *path, int flags)
{
	struct lh_file *f;

	ok(lh_file_open(direct, path, flags, 0644, &f));
	return f;
}

static void direct_lease_write(struct lh_file *f, uint64_t off, uint64_t len)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_WRITE};
	struct lh_lease *lease;
	const uint8_t *bytes = fresh(off, len);

	ok(lh_lease_get(f, off, len, &opt, &lease));
	assert_int_equal(lh_lease_write(lease, bytes, len, off), len);
	ok(lh_lease_commit(lease, off, len));
	ok(lh_lease_release(lease));
}

static void direct_replace(void)
{
	struct lh_file *f = direct_open("/tmp", O_RDWR | O_CREAT | O_TRUNC);
	uint64_t len = 1 + chance(SIZE_MAX_);

	model.size = 0;
	assert_int_equal(lh_file_write(f, fresh(0, len), len, 0), len);
	ok(lh_file_close(f));
	ok(lh_path_rename(direct, "/tmp", "/f", 0));
}

/* The file has at least two blocks where whole ones are moved. */
static void direct_reshape(struct lh_file *f)
{
	uint64_t at = random_block(SIZE_MAX_), rest;

	if (at + 2 * BLOCK > model.size || model.size + BLOCK > SIZE_MAX_) {
		ok(lh_file_truncate(f, SIZE_MAX_ / 2));
		model_resize(SIZE_MAX_ / 2);
		return;
	}
	rest = model.size - at;
	switch (chance(4)) {
	case 0:
		ok(lh_file_punch(f, at, BLOCK));
		memset(model.bytes + at, 0, BLOCK);
		break;
	case 1:
		ok(lh_file_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, at, BLOCK));
		memmove(model.bytes + at, model.bytes + at + BLOCK, rest - BLOCK);
		model.size -= BLOCK;
		break;
	case 2:
		ok(lh_file_fallocate(f, FALLOC_FL_INSERT_RANGE, at, BLOCK));
		memmove(model.bytes + at + BLOCK, model.bytes + at, rest);
		memset(model.bytes + at, 0, BLOCK);
		model.size += BLOCK;
		break;
	default:
		ok(lh_file_fallocate(f, FALLOC_FL_ZERO_RANGE, at + 100, BLOCK));
		memset(model.bytes + at + 100, 0, BLOCK);
		break;
	}
}

static void direct_change(void)
{
	struct lh_file *f;
	uint64_t off, len;

	random_range(&off, &len);
	if (chance(8) == 0) {
		direct_replace();
		return;
	}
	f = direct_open("/f", O_RDWR);
	switch (chance(5)) {
	case 0:
		assert_int_equal(lh_file_write(f, fresh(off, len), len, off), len);
		break;
	case 1:
		direct_lease_write(f, off, len);
		break;
	case 2:
		ok(lh_file_truncate(f, off));
		model_resize(off);
		break;
	case 3:
		direct_reshape(f);
		break;
	default: /* of the same length: nothing but bytes tells */
		len = len < model.size ? len : model.size;
		off = off % (model.size - len + 1);
		if (len)
			assert_int_equal(lh_file_write(f, fresh(off, len), len, off), len);
		break;
	}
	ok(lh_file_close(f));
}

static void mount_mapped(int fd)
{
	uint64_t off, len;
	uint8_t *p;

	if (model.size == 0)
		return;
	off = chance(model.size);
	len = 1 + chance(model.size - off);
	p = mmap(NULL, model.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	memcpy(p + off, fresh(off, len), len);
	if (chance(2))
		sys(msync(p, model.size, MS_SYNC));
	sys(munmap(p, model.size));
}

static void mount_change(unsigned m)
{
	uint64_t off, len;
	int fd;

	random_range(&off, &len);
	if (chance(8) == 0) {
		fd = (int)sys(open(on(m, "/tmp"), O_RDWR | O_CREAT | O_TRUNC, 0644));
		model.size = 0;
		assert_int_equal(sys(pwrite(fd, fresh(0, len), len, 0)), len);
		sys(close(fd));
		sys(rename(on(m, "/tmp"), on(m, "/f")));
		return;
	}
	fd = (int)sys(open(on(m, "/f"), O_RDWR));
	switch (chance(4)) {
	case 0:
	case 1:
		assert_int_equal(sys(pwrite(fd, fresh(off, len), len, (off_t)off)), len);
		break;
	case 2:
		sys(ftruncate(fd, (off_t)off));
		model_resize(off);
		break;
	default:
		mount_mapped(fd);
		break;
	}
	if (chance(4) == 0)
		sys(fsync(fd));
	sys(close(fd));
}

static uint8_t buf[SIZE_MAX_ + BLOCK];

static void compare(const char *who, uint64_t got)
{
	if (got != model.size)
		fail_msg("round %u: %s sees %llu bytes, not %llu", now_round, who, (unsigned long long)got,
			 (unsigned long long)model.size);
	for (uint64_t k = 0; k < got; k++) {
		if (buf[k] != model.bytes[k])
			fail_msg("round %u: %s sees %02x at %llu of %llu, not %02x", now_round, who, buf[k],
				 (unsigned long long)k, (unsigned long long)got, model.bytes[k]);
	}
}

static void mount_look(unsigned m)
{
	int fd = (int)sys(open(on(m, "/f"), O_RDONLY));
	struct stat st;
	size_t n = 0;
	ssize_t got;

	/* Before, or after, or not at all. */
	if (chance(2)) {
		sys(fstat(fd, &st));
		assert_int_equal(st.st_size, model.size);
	}
	do {
		got = sys(pread(fd, buf + n, chance(2) ? sizeof(buf) - n : BLOCK, (off_t)n));
		n += (size_t)got;
	} while (got > 0 && n < sizeof(buf));
	compare("an open on the mount", n);
	sys(fstat(fd, &st));
	assert_int_equal(st.st_size, model.size);
	sys(close(fd));
}

static void direct_look(void)
{
	struct lh_file *f = direct_open("/f", O_RDONLY);
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	struct lh_lease *lease;
	ssize_t n;

	ok(lh_file_stat(f, &st));
	assert_int_equal(st.size, model.size);
	n = lh_file_read(f, buf, sizeof(buf), 0);
	ok(n);
	compare("a direct user's read", (uint64_t)n);
	if (model.size && chance(4) == 0) {
		ok(lh_lease_get(f, 0, model.size, &opt, &lease));
		assert_int_equal(lh_lease_read(lease, buf, model.size, 0), model.size);
		compare("a direct user's lease", model.size);
		ok(lh_lease_release(lease));
	}
	ok(lh_file_close(f));
}

static void what_is_closed_is_what_is_opened(void **state)
{
	ok(lh_file_close(direct_open("/f", O_RDWR | O_CREAT)));
	for (now_round = 0; now_round < ROUNDS; now_round++) {
		unsigned who = (unsigned)chance(mounts + 1);

		if (who == mounts)
			direct_change();
		else
			mount_change(who);
		for (unsigned m = 0; m < mounts; m++)
			mount_look(m);
		if (chance(3) == 0)
			direct_look();
		/* Somebody has it open all the time, so that the kernel does not forget it. */
		if (chance(16) == 0) {
			if (old_fd >= 0)
				close(old_fd);
			old_fd = (int)sys(open(on(0, "/f"), O_RDONLY));
		}
	}
}

/* --- names ---------------------------------------------------------------------------------------------------------
 */

static void direct_put(const char *path, unsigned n)
{
	struct lh_file *f = direct_open(path, O_RDWR | O_CREAT | O_TRUNC);

	assert_int_equal(lh_file_write(f, &n, sizeof(n), 0), sizeof(n));
	ok(lh_file_close(f));
}

static void mount_expect(unsigned m, const char *path, unsigned n)
{
	unsigned got = ~0u;
	int fd = (int)sys(open(on(m, path), O_RDONLY));

	assert_int_equal(sys(pread(fd, &got, sizeof(got), 0)), sizeof(got));
	assert_int_equal(got, n);
	sys(close(fd));
}

static void names_mean_what_they_mean_now(void **state)
{
	ok(lh_path_mkdir(direct, "/d", 0755));
	for (now_round = 0; now_round < ROUNDS / 3; now_round++) {
		unsigned m = now_round % mounts, n = now_round * 10;

		/* Not there, there, another one, a removed one. */
		assert_int_equal(open(on(m, "/d/name"), O_RDONLY), -1);
		assert_int_equal(errno, ENOENT);
		direct_put("/d/name", n);
		mount_expect(m, "/d/name", n);
		direct_put("/d/new", n + 1);
		ok(lh_path_rename(direct, "/d/new", "/d/name", 0));
		mount_expect(m, "/d/name", n + 1);
		/* Elsewhere, and something else here. */
		ok(lh_path_rename(direct, "/d/name", "/d/away", 0));
		direct_put("/d/name", n + 2);
		mount_expect(m, "/d/name", n + 2);
		mount_expect(m, "/d/away", n + 1);
		ok(lh_path_rename(direct, "/d/name", "/d/away", LH_RENAME_EXCHANGE));
		mount_expect(m, "/d/name", n + 1);
		mount_expect(m, "/d/away", n + 2);
		/* The directory above it. */
		ok(lh_path_rename(direct, "/d", "/e", 0));
		ok(lh_path_mkdir(direct, "/d", 0755));
		direct_put("/d/name", n + 3);
		mount_expect(m, "/d/name", n + 3);
		mount_expect(m, "/e/name", n + 1);
		ok(lh_path_unlink(direct, "/e/name"));
		ok(lh_path_unlink(direct, "/e/away"));
		ok(lh_path_rmdir(direct, "/e"));
		assert_int_equal(open(on(m, "/e/name"), O_RDONLY), -1);
		assert_int_equal(errno, ENOENT);
		ok(lh_path_unlink(direct, "/d/name"));
	}
	ok(lh_path_rmdir(direct, "/d"));
}

/* --- what is kept --------------------------------------------------------------------------------------------------
 */

static double slowest_ms;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

#define soon(what)                                                                                                     \
	do {                                                                                                           \
		double from_ = now_ms();                                                                               \
		while (!(what)) {                                                                                      \
			if (now_ms() - from_ > SOON_MS)                                                                \
				fail_msg("round %u: not within %u ms: %s", now_round, SOON_MS, #what);                 \
			usleep(50);                                                                                    \
		}                                                                                                      \
		if (now_ms() - from_ > slowest_ms)                                                                     \
			slowest_ms = now_ms() - from_;                                                                 \
	} while (0)

static struct stat stat_of(const char *path)
{
	struct stat st = {0};

	if (stat(path, &st) != 0)
		st.st_nlink = 0;
	return st;
}

static void what_nobody_opens_anew_is_right_soon(void **state)
{
	slowest_ms = 0;
	for (now_round = 0; now_round < ROUNDS / 10; now_round++) {
		unsigned m = now_round % mounts;
		volatile uint8_t *p;
		uint32_t mode = 0600 | (now_round & 077);
		struct lh_file *f;
		uint8_t byte = (uint8_t)(now_round + 1);
		int fd;

		direct_put("/s", now_round);
		soon(stat_of(on(m, "/s")).st_size == sizeof(unsigned));
		ok(lh_path_chmod(direct, "/s", mode));
		soon((stat_of(on(m, "/s")).st_mode & 07777) == mode);
		ok(lh_path_link(direct, "/s", "/t"));
		soon(stat_of(on(m, "/s")).st_nlink == 2);
		soon(stat_of(on(m, "/t")).st_ino == stat_of(on(m, "/s")).st_ino);
		/* An open descriptor, and a mapping: the pages go when they are old. */
		fd = (int)sys(open(on(m, "/s"), O_RDONLY));
		p = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, 0);
		assert_true(p != MAP_FAILED);
		f = direct_open("/t", O_RDWR);
		(void)p[0];
		assert_int_equal(lh_file_write(f, &byte, 1, 0), 1);
		soon(p[0] == byte);
		ok(lh_file_truncate(f, 0));
		soon(stat_of(on(m, "/s")).st_size == 0);
		ok(lh_file_close(f));
		sys(munmap((void *)(uintptr_t)p, BLOCK));
		sys(close(fd));
		ok(lh_path_unlink(direct, "/t"));
		soon(stat_of(on(m, "/t")).st_nlink == 0);
		soon(stat_of(on(m, "/s")).st_nlink == 1);
		ok(lh_path_rename(direct, "/s", "/u", 0));
		soon(stat_of(on(m, "/s")).st_nlink == 0);
		ok(lh_path_unlink(direct, "/u"));
	}
	print_message("the slowest after %.1f ms\n", slowest_ms);
}

/* --- writers by lease, all the time --------------------------------------------------------------------------------
 */

#define WORDS (8u * BLOCK / 8u)

static _Atomic uint64_t committed;
static atomic_bool writer_stop;

static void *write_always(void *arg)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_WRITE};
	static uint64_t words[WORDS];
	struct lh_file *f = direct_open("/w", O_RDWR);
	struct lh_lease *lease = NULL;

	for (uint64_t v = 2; !writer_stop; v++) {
		if (!lease)
			ok(lh_lease_get(f, 0, sizeof(words), &opt, &lease));
		for (unsigned k = 0; k < WORDS; k++)
			words[k] = v;
		assert_int_equal(lh_lease_write(lease, words, sizeof(words), 0), sizeof(words));
		ok(lh_lease_commit(lease, 0, sizeof(words)));
		committed = v;
		/* Sometimes there is no writer for a moment: copies are kept again then. */
		if (v % 64 == 0) {
			ok(lh_lease_release(lease));
			lease = NULL;
			usleep(3000);
		}
	}
	if (lease)
		ok(lh_lease_release(lease));
	ok(lh_file_close(f));
	return NULL;
}

/* Each word is of a version that was committed before the open, or of a later one. */
static void leases_that_write_are_seen(void **state)
{
	static uint64_t words[WORDS];
	struct lh_file *f = direct_open("/w", O_RDWR | O_CREAT);
	uint64_t first;
	pthread_t writer;

	for (unsigned k = 0; k < WORDS; k++)
		words[k] = 1;
	assert_int_equal(lh_file_write(f, words, sizeof(words), 0), sizeof(words));
	ok(lh_file_close(f));
	committed = 1;
	writer_stop = false;
	assert_int_equal(pthread_create(&writer, NULL, write_always, NULL), 0);
	for (now_round = 0; now_round < ROUNDS; now_round++) {
		uint64_t from = committed;
		int fd = (int)sys(open(on(now_round % mounts, "/w"), O_RDONLY));

		first = 0;
		assert_int_equal(sys(pread(fd, words, sizeof(words), 0)), sizeof(words));
		for (unsigned k = 0; k < WORDS; k++) {
			if (words[k] < from)
				fail_msg("round %u: word %u is of version %llu, %llu was committed", now_round, k,
					 (unsigned long long)words[k], (unsigned long long)from);
			first = words[k] > first ? words[k] : first;
		}
		sys(close(fd));
	}
	writer_stop = true;
	pthread_join(writer, NULL);
	print_message("%llu versions\n", (unsigned long long)committed);
	assert_true(first > 1);
}

/* --- events that are lost ------------------------------------------------------------------------------------------
 */

#define KEPT 100u

static const char *kept_name(unsigned k)
{
	static char names[4][32];
	static unsigned next;
	char *p = names[next++ % 4];

	snprintf(p, sizeof(names[0]), "/k/%u", k);
	return p;
}

/* The daemon hears nothing for a while, and there is more than is kept for it: it asks for everything again. */
static void what_was_not_told_is_asked_for(void **state)
{
	char name[2][32];

	if (!server) {
		print_message("skipped: in this process nothing is lost\n");
		return;
	}
	ok(lh_path_mkdir(direct, "/k", 0755));
	for (now_round = 0; now_round < 4; now_round++) {
		unsigned base_n = now_round * 10 * KEPT;

		for (unsigned k = 0; k < KEPT; k++) {
			direct_put(kept_name(k), base_n + k);
			mount_expect(0, kept_name(k), base_n + k);
		}
		kill(mounter[0], SIGSTOP);
		for (unsigned k = 0; k < 6000; k++) {
			snprintf(name[0], sizeof(name[0]), "/many%u", k);
			snprintf(name[1], sizeof(name[1]), "/many%u", k - 1);
			ok(k ? lh_path_rename(direct, name[1], name[0], 0) : lh_path_mkdir(direct, name[0], 0755));
		}
		ok(lh_path_rmdir(direct, "/many5999"));
		for (unsigned k = 0; k < KEPT; k++) {
			unsigned n = base_n + KEPT + k;
			struct lh_file *f;

			if (k % 2) {
				direct_put("/k/new", n);
				ok(lh_path_rename(direct, "/k/new", kept_name(k), 0));
				continue;
			}
			f = direct_open(kept_name(k), O_RDWR);
			assert_int_equal(lh_file_write(f, &n, sizeof(n), 0), sizeof(n));
			ok(lh_file_close(f));
		}
		kill(mounter[0], SIGCONT);
		for (unsigned k = 0; k < KEPT; k++)
			mount_expect(0, kept_name(k), base_n + KEPT + k);
		/* And goes on as before. */
		direct_put(kept_name(0), 7);
		mount_expect(0, kept_name(0), 7);
		ok(lh_path_chmod(direct, kept_name(1), 0600 | now_round));
		soon((stat_of(on(0, kept_name(1))).st_mode & 07777) == (0600 | now_round));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_closed_is_what_is_opened),     cmocka_unit_test(names_mean_what_they_mean_now),
	    cmocka_unit_test(what_nobody_opens_anew_is_right_soon), cmocka_unit_test(leases_that_write_are_seen),
	    cmocka_unit_test(what_was_not_told_is_asked_for),
	};
	const char *given = getenv("LH_SEED");
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int failed;

	if (argc < 3 || fd < 0) {
		fprintf(stderr, "%s\n", fd < 0 ? "no /dev/fuse" : "usage: test_coherence LEASEHOLD pool|server|two");
		return 77;
	}
	close(fd);
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + (uint64_t)getpid();
	seed = seed ? seed : 1;
	fprintf(stderr, "LH_SEED=%llu\n", (unsigned long long)seed);
	if (start(argv[1], argv[2]) != 0) {
		fprintf(stderr, "cannot start: %s\n", lh_error_text());
		return 1;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (end() != 0) {
		fprintf(stderr, "the mount did not end well\n");
		failed = 1;
	}
	return failed;
}
