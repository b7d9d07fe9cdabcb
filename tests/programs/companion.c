/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The direct user beside a mounted program: goes at random through a mount's tree, takes leases on the same files,
 * compares what it reads through them with what a call and what the mount show, defragments, relocates, clones. It
 *never changes a content, an owner, a time: whatever a job beside it finds changed is a fault of the filesystem.
 *
 *	companion [--seconds N] [--seed N] [--pause MICROSECONDS] [--inside PATH] [--address ADDRESS] MOUNT
 *
 * Ends on SIGTERM, SIGINT or after N seconds with one line of counts. Status 0; 1: something was wrong; 77: the mount
 * serves nobody.
 *
 * When two views differ, a program may just be writing. So a difference counts only when it stands still: fsync on the
 * mount's descriptor, read again, and if every view is what it was and they differ still, SETTLE_ROUNDS times in a row,
 * no writer explains it (L15, L28, L32).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#define RANGE_MAX     (256u << 10) /* of one lease */
#define HELD_MAX      24u          /* files with leases that stay while others are visited */
#define SETTLE_ROUNDS 25u
#define SETTLE_GIVEUP 400u /* rounds of a file that changes all the time */
#define ENTRIES_MAX   512u /* looked at in one directory */
#define DEPTH_MAX     40u
#define DEFRAG_MAX    (64u << 20) /* larger files are relocated by ranges only: whole ones would take the time of all */
#define ERRORS_MAX    20u

/* One file, open on both sides. */
struct both {
	char path[4096]; /* below the mount, begins with '/' */
	int fd;
	struct lh_file *file;
	struct lh_lease *lease;
	uint64_t off, len;          /* of the lease */
	bool writable, for_writing; /* the file; the lease */
};

enum view { VIEW_LEASE, VIEW_CALL, VIEW_MOUNT, VIEWS };
static const char *const view_name[VIEWS] = {"lease", "call", "mount"};

struct counts {
	uint64_t visits, gone, reads, writes, compared, bytes, settled, busy, defragmented, extents_before,
	    extents_after;
	uint64_t relocated, clones, clones_equal, changed_mode, recalls, revoked, faults, errors;
	uint64_t by_path, by_descriptor, snapshots;
};

static struct {
	const char *mount, *inside;
	char address[256], own[64];
	struct lh_fs *fs;
	uint64_t end_ns, random;
	unsigned pause_us;
	bool by_mount; /* the address was found behind the mount: lh_file_from_path works too */
	struct both held[HELD_MAX];
	char buf[VIEWS][RANGE_MAX], old[VIEWS][RANGE_MAX];
	struct counts n;
} c;

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool over(void)
{
	return stopped || (c.end_ns != 0 && now_ns() >= c.end_ns) || c.n.errors >= ERRORS_MAX;
}

/* xorshift64*: the same seed walks the same way as far as the tree allows. */
static uint64_t pick(uint64_t below)
{
	c.random ^= c.random >> 12;
	c.random ^= c.random << 25;
	c.random ^= c.random >> 27;
	return below == 0 ? 0 : (c.random * 2685821657736338717ull >> 11) % below;
}

static void __attribute__((format(printf, 2, 3))) wrong(const struct both *b, const char *text, ...)
{
	va_list args;

	c.n.errors++;
	fprintf(stderr, "companion: %s: ", b == NULL ? "-" : b->path);
	va_start(args, text);
	vfprintf(stderr, text, args);
	va_end(args);
	fputc('\n', stderr);
}

/* What a file that somebody cuts, fills or removes meanwhile may answer; or a pool that is full for a moment. */
static bool may_happen(int64_t err)
{
	return err == -ENODATA || err == -ENOENT || err == -ESTALE || err == -EAGAIN || err == -EWOULDBLOCK ||
	       err == -ENOSPC || err == -EINTR || err == -ENXIO;
}

static void both_close(struct both *b)
{
	struct lh_lease_state s = {.size = sizeof(s)};

	if (b->lease != NULL && lh_lease_state(b->lease, &s) == 0) {
		c.n.recalls += s.recalls;
		c.n.revoked += s.revocations;
		c.n.faults += s.faults;
	}
	if (b->lease != NULL && lh_lease_release(b->lease) != 0)
		wrong(b, "releasing the lease: %s", lh_error_text());
	if (b->file != NULL && lh_file_close(b->file) != 0)
		wrong(b, "closing: %s", lh_error_text());
	if (b->fd >= 0)
		close(b->fd);
	b->lease = NULL;
	b->file = NULL;
	b->fd = -1;
}

/*
 * By a session of its own, or as a program does that has a path or a descriptor in the mount only. A descriptor for
 * writing would keep programs from being executed; so that way is for reading.
 */
static int direct_open(struct both *b, const char *mounted)
{
	struct lh_open_options opt = {.size = sizeof(opt), .no_cache = true};
	uint64_t way = c.by_mount ? pick(4) : 0;
	char inside[8300];
	int err = -EACCES;

	snprintf(inside, sizeof(inside), "%s%s", c.inside, b->path);
	c.n.by_path += way == 1;
	c.n.by_descriptor += way == 2;
	b->writable = way != 2;
	if (way == 1)
		err = lh_file_from_path(mounted, O_RDWR, &opt, &b->file);
	else if (way != 2)
		err = lh_file_open(c.fs, inside, O_RDWR | O_NOFOLLOW, 0, &b->file);
	if (err == -EACCES || err == -EPERM || err == -EROFS) {
		b->writable = false;
		if (way == 0 || way == 3)
			err = lh_file_open(c.fs, inside, O_RDONLY | O_NOFOLLOW, 0, &b->file);
		else
			err = lh_file_from_fd(b->fd, O_RDONLY, &opt, &b->file);
	}
	return err;
}

/* 0: open on both sides, and it is the same inode. */
static int both_open(struct both *b)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	char path[8300];
	struct stat seen;
	int err;

	snprintf(path, sizeof(path), "%s%s", c.mount, b->path);
	b->fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (b->fd < 0)
		return -errno;
	err = direct_open(b, path);
	if (err == -EACCES || err == -EPERM || err == -ELOOP || err == -ENOTDIR)
		return -ENOENT;
	if (err == 0)
		err = lh_file_stat(b->file, &st);
	if (err != 0)
		return err;
	if (fstat(b->fd, &seen) != 0)
		return -errno;
	if (seen.st_ino != st.ino || !S_ISREG(seen.st_mode))
		return -ENOENT;
	b->len = st.size;
	return 0;
}

/* ---- comparing ---- */

static ssize_t view_read(struct both *b, enum view view, char *buf)
{
	ssize_t n = 0;

	switch (view) {
	case VIEW_LEASE:
		n = lh_lease_read(b->lease, buf, b->len, b->off);
		break;
	case VIEW_CALL:
		n = lh_file_read(b->file, buf, b->len, b->off);
		break;
	case VIEW_MOUNT:
		n = pread(b->fd, buf, b->len, (off_t)b->off);
		if (n < 0)
			n = -errno;
		break;
	case VIEWS:
		break;
	}
	if (n < 0 && n != -ENODATA)
		wrong(b, "reading by %s at %llu+%llu: %zd %s", view_name[view], (unsigned long long)b->off,
		      (unsigned long long)b->len, n, view == VIEW_MOUNT ? strerror((int)-n) : lh_error_text());
	return n == -ENODATA ? 0 : n;
}

/* Fills c.buf. True: all views are the same. A WRITE lease cannot be read through (L17): it is as the call. */
static bool views_same(struct both *b, ssize_t got[VIEWS])
{
	bool same = true;

	for (enum view v = 0; v < VIEWS; v++) {
		got[v] = view_read(b, v == VIEW_LEASE && b->for_writing ? VIEW_CALL : v, c.buf[v]);
		if (got[v] < 0)
			return true; /* told already */
		if (got[v] != got[0] || memcmp(c.buf[v], c.buf[0], (size_t)got[0]) != 0)
			same = false;
	}
	return same;
}

static void tell_difference(struct both *b, const ssize_t got[VIEWS])
{
	struct stat st = {0};

	fstat(b->fd, &st);
	for (enum view v = 1; v < VIEWS; v++) {
		size_t shorter = (size_t)(got[v] < got[0] ? got[v] : got[0]), i = 0, last = 0, count = 0;

		for (size_t k = shorter; k-- > 0;) {
			if (c.buf[v][k] == c.buf[0][k])
				continue;
			last = last == 0 ? k : last;
			i = k;
			count++;
		}
		if (count == 0 && got[v] == got[0])
			continue;
		wrong(
		    b,
		    "inode %llu, size %lld: lease and %s differ and stay so: lengths %zd %zd, %zu bytes in %llu..%llu, "
		    "first %02x %02x",
		    (unsigned long long)st.st_ino, (long long)st.st_size, view_name[v], got[0], got[v], count,
		    (unsigned long long)(b->off + i), (unsigned long long)(b->off + last), c.buf[0][i] & 255u,
		    c.buf[v][i] & 255u);
	}
}

/* The views of the leased range agree, or the file is being written. */
static void compare(struct both *b)
{
	ssize_t got[VIEWS], before[VIEWS];
	unsigned still = 0;

	if (views_same(b, got)) {
		c.n.compared++;
		c.n.bytes += got[0] > 0 ? (uint64_t)got[0] : 0;
		return;
	}
	for (unsigned round = 0; round < SETTLE_GIVEUP && !over(); round++) {
		bool moved = false;

		memcpy(before, got, sizeof(before));
		memcpy(c.old, c.buf, sizeof(c.old));
		usleep(10000);
		if (fsync(b->fd) != 0)
			wrong(b, "fsync on the mount: %s", strerror(errno));
		if (views_same(b, got)) {
			c.n.settled++;
			return;
		}
		for (enum view v = 0; v < VIEWS; v++)
			moved = moved || got[v] != before[v] || memcmp(c.buf[v], c.old[v], (size_t)got[v]) != 0;
		still = moved ? 0 : still + 1;
		if (still == SETTLE_ROUNDS) {
			tell_difference(b, got);
			return;
		}
	}
	c.n.busy++;
}

/* ---- what is done to a file ---- */

/* Every byte of the range is there, written and not shared: a WRITE lease then changes nothing (L27). */
static bool plain_range(struct both *b)
{
	struct lh_extent e[64];
	uint64_t at = b->off;
	int n = lh_file_extents(b->file, b->off, b->len, e, 64);

	for (int i = 0; i < n; i++) {
		if (e[i].flags != 0 || e[i].file_off > at)
			return false;
		at = e[i].file_off + e[i].len;
	}
	return n > 0 && at >= b->off + b->len;
}

static void lease_take(struct both *b, uint64_t size)
{
	static const uint32_t kinds[] = {LH_LEASE_READ, LH_LEASE_READ, LH_LEASE_READ | LH_LEASE_FAULTING};
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = kinds[pick(3)]};
	int err;

	b->off = pick(4) == 0 ? 0 : pick(size) & ~4095ull;
	b->len = pick(4) == 0 ? RANGE_MAX : 1 + pick(RANGE_MAX);
	if (b->len > size - b->off)
		b->len = size - b->off;
	if (b->writable && pick(4) == 0 && plain_range(b))
		opt.flags = LH_LEASE_WRITE | (opt.flags & LH_LEASE_FAULTING);
	err = lh_lease_get(b->file, b->off, b->len, &opt, &b->lease);
	if (err != 0 && !may_happen(err))
		wrong(b, "a lease on %llu+%llu: %d %s", (unsigned long long)b->off, (unsigned long long)b->len, err,
		      lh_error_text());
	if (err != 0) {
		b->lease = NULL;
		return;
	}
	b->for_writing = (opt.flags & LH_LEASE_WRITE) != 0;
	if (b->for_writing)
		c.n.writes++;
	else
		c.n.reads++;
}

static void defragment(struct both *b)
{
	uint64_t extents[2] = {0};
	int err = lh_file_defragment(b->file, extents);

	if (err == 0) {
		c.n.defragmented++;
		c.n.extents_before += extents[0];
		c.n.extents_after += extents[1];
	} else if (!may_happen(err)) {
		wrong(b, "defragmenting: %d %s", err, lh_error_text());
	}
}

static void relocate(struct both *b)
{
	int64_t n = lh_file_relocate(b->file, b->off & ~4095ull, b->len);

	if (n > 0)
		c.n.relocated += (uint64_t)n;
	else if (n < 0 && !may_happen(n))
		wrong(b, "relocating: %lld %s", (long long)n, lh_error_text());
}

/* READ to WRITE and back (L23). */
static void change_mode(struct both *b)
{
	struct lh_lease_state s = {.size = sizeof(s)};
	int err;

	if (lh_lease_state(b->lease, &s) != 0 || s.mode != LH_LEASE_READ || (s.flags & LH_LEASE_FAULTING) != 0)
		return;
	err = lh_lease_change(b->lease, LH_LEASE_WRITE, 0);
	if (err == 0)
		err = lh_lease_change(b->lease, LH_LEASE_READ, 0);
	if (err == 0)
		c.n.changed_mode++;
	else if (!may_happen(err))
		wrong(b, "another mode for the lease: %d %s", err, lh_error_text());
}

/* A clone beside the tree: from then on the program writes to shared blocks. */
static void clone_it(struct both *b)
{
	struct both twin = {.fd = -1};
	ssize_t n, m;
	int err;

	snprintf(twin.path, sizeof(twin.path), "%s/c%llu", c.own, (unsigned long long)pick(1000));
	err = lh_file_open(lh_file_fs(b->file), twin.path, O_RDWR | O_CREAT | O_TRUNC, 0600, &twin.file);
	if (err == 0)
		err = lh_file_clone_range(twin.file, 0, b->file, 0, 0);
	if (err == 0) {
		n = lh_file_read(twin.file, c.buf[0], b->len, b->off);
		m = lh_file_read(b->file, c.buf[1], b->len, b->off);
		c.n.clones++;
		c.n.clones_equal += n == m && n >= 0 && memcmp(c.buf[0], c.buf[1], (size_t)n) == 0;
	} else if (!may_happen(err)) {
		wrong(b, "cloning: %d %s", err, lh_error_text());
	}
	if (twin.file != NULL)
		lh_path_unlink(c.fs, twin.path);
	both_close(&twin);
}

/* Of all the tree below one of the root's directories: the program's next writes meet shared blocks everywhere. */
static void snapshot(struct both *b)
{
	struct lh_file *twin = NULL;
	char from[8300], to[128], path[8600];
	size_t top = strcspn(b->path + 1, "/") + 1;
	int err;

	if (b->path[top] == '\0')
		return;
	snprintf(from, sizeof(from), "%s%.*s", c.inside, (int)top, b->path);
	snprintf(to, sizeof(to), "%s/snapshot", c.own);
	snprintf(path, sizeof(path), "%s%s", to, b->path + top);
	err = lh_fs_snapshot(c.fs, from, to, LH_SNAPSHOT_READ_ONLY);
	if (err == 0) {
		c.n.snapshots++;
		if (lh_file_open(c.fs, path, O_RDONLY, 0, &twin) == 0 && lh_file_read(twin, c.buf[0], 1, 0) < 0)
			wrong(b, "reading in a snapshot: %s", lh_error_text());
		lh_file_close(twin);
		err = lh_fs_snapshot_delete(c.fs, to);
	}
	if (err != 0 && !may_happen(err) && err != -EPERM)
		wrong(b, "a snapshot: %d %s", err, lh_error_text());
}

static void act(struct both *b, uint64_t size)
{
	switch (pick(8)) {
	case 0:
	case 1:
	case 2:
		if (b->writable && size <= DEFRAG_MAX)
			defragment(b);
		break;
	case 3:
	case 4:
		if (b->writable)
			relocate(b);
		break;
	case 5:
		clone_it(b);
		break;
	case 6:
		if (b->writable && plain_range(b))
			change_mode(b);
		break;
	default:
		if (pick(8) == 0)
			snapshot(b);
		break;
	}
}

/* A lease that stays: looked at again later, when the program and this one have moved and cut the file. */
static void hold(struct both *b)
{
	struct both *slot = &c.held[pick(HELD_MAX)];

	if (slot->file != NULL)
		both_close(slot);
	*slot = *b;
}

/* What is unlinked and held keeps its space from the program. */
static void held_look(void)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct both *b;

	for (unsigned i = 0; i < HELD_MAX; i++) {
		b = &c.held[i];
		if (b->file != NULL && (lh_file_stat(b->file, &st) != 0 || st.nlink == 0))
			both_close(b);
	}
	b = &c.held[pick(HELD_MAX)];
	if (b->file != NULL)
		compare(b);
}

static void visit(const char *path)
{
	struct both b = {.fd = -1};
	uint64_t size;
	int err;

	snprintf(b.path, sizeof(b.path), "%s", path);
	err = both_open(&b);
	size = b.len;
	if (err != 0 && !may_happen(err) && err != -EACCES && err != -ELOOP && err != -ENOTDIR)
		wrong(&b, "opening: %d %s", err, lh_error_text());
	if (err != 0 || size == 0) {
		c.n.gone += err != 0;
		both_close(&b);
		return;
	}
	c.n.visits++;
	lease_take(&b, size);
	if (b.lease != NULL) {
		compare(&b);
		act(&b, size);
		compare(&b);
	}
	if (b.lease != NULL && pick(3) == 0)
		hold(&b);
	else
		both_close(&b);
}

/* ---- the way through the tree ---- */

/* Appends one entry of the directory to path. 1: a regular file; 0: a directory; -1: neither, or nothing there. */
static int step(char *path, size_t size)
{
	char full[8300], name[256] = "";
	unsigned stop = (unsigned)pick(pick(2) == 0 ? 16 : ENTRIES_MAX);
	struct dirent *e;
	struct stat st;
	size_t len = strlen(path);
	DIR *dir;

	snprintf(full, sizeof(full), "%s%s", c.mount, path);
	dir = opendir(full);
	if (dir == NULL)
		return -1;
	for (unsigned i = 0; i <= stop; i++) {
		e = readdir(dir);
		if (e == NULL)
			break;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    (len == 0 && c.own[0] != '\0' && strcmp(e->d_name, c.own + 1) == 0))
			continue;
		snprintf(name, sizeof(name), "%s", e->d_name);
	}
	closedir(dir);
	if (name[0] == '\0' || len + strlen(name) + 2 > size)
		return -1;
	snprintf(path + len, size - len, "/%s", name);
	snprintf(full, sizeof(full), "%s%s", c.mount, path);
	if (lstat(full, &st) != 0)
		return -1;
	return S_ISREG(st.st_mode) ? 1 : S_ISDIR(st.st_mode) ? 0 : -1;
}

static void wander(void)
{
	uint64_t start;
	char path[4096];
	int what;

	while (!over()) {
		start = now_ns();
		path[0] = '\0';
		what = 0;
		for (unsigned depth = 0; what == 0 && depth < DEPTH_MAX; depth++)
			what = step(path, sizeof(path));
		if (what == 1)
			visit(path);
		held_look();
		/* At least half of the time belongs to the program: it is the one that is tested. */
		usleep(c.pause_us + (unsigned)((now_ns() - start) / 1000 % 200000));
	}
}

/* ---- beginning and end ---- */

static int connect_direct(void)
{
	struct lh_open_options opt = {.size = sizeof(opt), .no_cache = true};
	ssize_t n;
	int err;

	if (c.address[0] == '\0') {
		n = getxattr(c.mount, "system.leasehold.address", c.address, sizeof(c.address) - 1);
		if (n <= 0) {
			fprintf(stderr, "companion: %s names no server (system.leasehold.address): %s\n", c.mount,
				strerror(errno));
			return -EOPNOTSUPP;
		}
		c.address[n] = '\0';
		c.by_mount = true;
	}
	err = lh_fs_open(c.address, &opt, &c.fs);
	if (err != 0) {
		fprintf(stderr, "companion: %s: %s\n", c.address, lh_error_text());
		return err;
	}
	snprintf(c.own, sizeof(c.own), "/.companion-%d", (int)getpid());
	err = lh_path_mkdir(c.fs, c.own, 0700);
	if (err != 0)
		fprintf(stderr, "companion: mkdir %s: %s\n", c.own, lh_error_text());
	return err;
}

static void finish(void)
{
	for (unsigned i = 0; i < HELD_MAX; i++)
		both_close(&c.held[i]);
	if (lh_path_rmdir(c.fs, c.own) != 0)
		wrong(NULL, "rmdir %s: %s", c.own, lh_error_text());
	if (lh_fs_close(c.fs) != 0)
		wrong(NULL, "closing: %s", lh_error_text());
}

static void report(void)
{
#define N(field) (unsigned long long)c.n.field
	printf("companion: %llu files visited (%llu gone, %llu by path, %llu by descriptor), leases %llu READ %llu "
	       "WRITE %llu changed, "
	       "%llu ranges compared (%llu KiB; %llu settled, %llu busy), %llu defragmented (%llu to %llu extents), "
	       "%llu blocks relocated, %llu clones (%llu equal), %llu snapshots, %llu recalls, %llu forced, %llu "
	       "faults, %llu errors\n",
	       N(visits), N(gone), N(by_path), N(by_descriptor), N(reads), N(writes), N(changed_mode), N(compared),
	       N(bytes) >> 10, N(settled), N(busy), N(defragmented), N(extents_before), N(extents_after), N(relocated),
	       N(clones), N(clones_equal), N(snapshots), N(recalls), N(revoked), N(faults), N(errors));
#undef N
}

static int arguments(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", 1, NULL, 's'}, {"seed", 1, NULL, 'r'},
						{"pause", 1, NULL, 'p'},   {"inside", 1, NULL, 'i'},
						{"address", 1, NULL, 'a'}, {0}};
	int opt;

	c.inside = "";
	c.pause_us = 1000;
	c.random = now_ns() | 1;
	for (;;) {
		opt = getopt_long(argc, argv, "", options, NULL);
		if (opt == -1)
			break;
		if (opt == 's')
			c.end_ns = now_ns() + strtoull(optarg, NULL, 10) * 1000000000u;
		else if (opt == 'r')
			c.random = strtoull(optarg, NULL, 10) | 1;
		else if (opt == 'p')
			c.pause_us = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'i')
			c.inside = optarg;
		else if (opt == 'a')
			snprintf(c.address, sizeof(c.address), "%s", optarg);
		else
			return -1;
	}
	c.mount = argv[optind];
	return optind + 1 == argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct sigaction act_on = {.sa_handler = on_signal};

	if (arguments(argc, argv) != 0) {
		fputs("usage: companion [--seconds N] [--seed N] [--pause MICROSECONDS] [--inside PATH] "
		      "[--address ADDRESS] MOUNT\n",
		      stderr);
		return 2;
	}
	sigaction(SIGTERM, &act_on, NULL);
	sigaction(SIGINT, &act_on, NULL);
	for (unsigned i = 0; i < HELD_MAX; i++)
		c.held[i].fd = -1;
	printf("companion: seed %llu\n", (unsigned long long)c.random);
	fflush(stdout);
	if (connect_direct() != 0)
		return 77;
	wander();
	finish();
	report();
	return c.n.errors == 0 ? 0 : 1;
}
