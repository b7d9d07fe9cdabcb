/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The second session while a suite runs on a mount: holds direct leases on the files below a directory, reads through
 * them, and moves the files' blocks, until standard input ends. Nothing that it does may be seen by anybody: it never
 * changes a byte, and what vanishes meanwhile is no error. The last line says what it did; status 1: something failed
 * that may not.
 *
 *	disturb ADDRESS DIRECTORY [SEED]
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#define FILES_MAX   256u
#define HELD_MAX    32u
#define RANGE_MAX   (256u << 10)
#define PAUSE_MS    2
#define LIST_ROUNDS 100u /* after so many the files are listed anew */
#define DEPTH_MAX   8u

struct held {
	struct lh_file *file;
	struct lh_lease *lease;
	uint64_t off, len;
	bool readable;
};

static struct {
	struct lh_fs *fs;
	unsigned seed;
	char *files[FILES_MAX];
	unsigned file_count;
	struct held held[HELD_MAX];
	uint64_t leases, reads, moves, moved_blocks, defragments, faults, gone;
	unsigned failures;
} self;

/* What may happen to a file that others change all the time. */
static bool expected(int err)
{
	switch (err) {
	case -ENOENT:
	case -ENOTDIR:
	case -ESTALE:
	case -ENODATA:
	case -EAGAIN:
	case -EINTR:
	case -ENXIO:
	case -EISDIR:
	case -ELOOP:
	case -ETXTBSY:
	case -ENOSPC:
	case -EDQUOT:
	case -ENAMETOOLONG:
		return true;
	default:
		return false;
	}
}

static void judge(int err, const char *what)
{
	if (err >= 0)
		return;
	self.gone++;
	if (expected(err))
		return;
	if (self.failures++ < 10)
		fprintf(stderr, "disturb: %s: %s: %s\n", what, strerror(-err), lh_error_text());
}

static unsigned pick(unsigned bound)
{
	return bound ? (unsigned)rand_r(&self.seed) % bound : 0;
}

static void list_clear(void)
{
	while (self.file_count)
		free(self.files[--self.file_count]);
}

static void list_add(const char *path)
{
	char *copy;

	if (self.file_count == FILES_MAX)
		return;
	copy = strdup(path);
	if (copy != NULL)
		self.files[self.file_count++] = copy;
}

static void list_below(const char *directory, unsigned depth)
{
	char path[4352];
	struct lh_dirent entry;
	struct lh_dir *dir;
	int err = lh_dir_open(self.fs, directory, &dir);

	if (err) {
		judge(err, directory);
		return;
	}
	while (self.file_count < FILES_MAX && lh_dir_next(dir, &entry) == 1) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, entry.name) >= sizeof(path))
			continue;
		if (S_ISREG(DTTOIF(entry.type)))
			list_add(path);
		else if (S_ISDIR(DTTOIF(entry.type)) && depth < DEPTH_MAX)
			list_below(path, depth + 1);
	}
	lh_dir_close(dir);
}

static uint64_t faults_of(struct lh_lease *lease)
{
	struct lh_lease_state state;

	memset(&state, 0, sizeof(state));
	state.size = sizeof(state);
	return lh_lease_state(lease, &state) == 0 ? state.faults : 0;
}

static void let_go(struct held *held)
{
	if (held->file == NULL)
		return;
	self.faults += faults_of(held->lease);
	judge(lh_lease_release(held->lease), "release");
	judge(lh_file_close(held->file), "close");
	memset(held, 0, sizeof(*held));
}

static void hold(struct held *held, const char *path)
{
	/* Of the three kinds none stores: a WRITE lease fills holes with unwritten blocks, which read as before. */
	static const uint32_t kinds[] = {LH_LEASE_READ, LH_LEASE_READ, LH_LEASE_READ | LH_LEASE_FAULTING,
					 LH_LEASE_WRITE};
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = kinds[pick(4)]};
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *file;
	int err = lh_file_open(self.fs, path, O_RDWR, 0, &file);

	if (err) {
		judge(err, "open");
		return;
	}
	err = lh_file_stat(file, &st);
	if (!err && st.size) {
		held->off = st.size > RANGE_MAX ? (uint64_t)pick((unsigned)(st.size >> 12)) << 12 : 0;
		held->len = st.size - held->off < RANGE_MAX ? st.size - held->off : RANGE_MAX;
		err = lh_lease_get(file, held->off, held->len, &opt, &held->lease);
		if (!err) {
			held->file = file;
			held->readable = opt.flags & LH_LEASE_READ;
			self.leases++;
			return;
		}
	}
	judge(err, "lease");
	lh_file_close(file);
}

static void read_some(struct held *held)
{
	static char buf[RANGE_MAX];
	ssize_t n;

	if (held->file == NULL || !held->readable)
		return;
	n = lh_lease_read(held->lease, buf, held->len, held->off);
	judge((int)n, "direct read");
	self.reads++;
}

static void move(const char *path)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	uint64_t runs[2] = {0};
	struct lh_file *file;
	int64_t n;
	int err = lh_file_open(self.fs, path, O_RDWR, 0, &file);

	if (err) {
		judge(err, "open");
		return;
	}
	err = lh_file_stat(file, &st);
	if (!err && pick(2)) {
		err = lh_file_defragment(file, runs);
		self.defragments++;
	} else if (!err && st.size) {
		n = lh_file_relocate(file, (uint64_t)pick((unsigned)(st.size >> 12) + 1) << 12, RANGE_MAX);
		err = n < 0 ? (int)n : 0;
		self.moves++;
		self.moved_blocks += n > 0 ? (uint64_t)n : 0;
	}
	judge(err, "moving blocks");
	judge(lh_file_close(file), "close");
}

static bool ended(void)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char byte;

	return poll(&in, 1, PAUSE_MS) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int main(int argc, char **argv)
{
	int err;

	if (argc < 3) {
		fprintf(stderr, "usage: disturb ADDRESS DIRECTORY [SEED]\n");
		return 2;
	}
	self.seed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
	err = lh_fs_open(argv[1], NULL, &self.fs);
	if (err) {
		fprintf(stderr, "disturb: %s: %s\n", argv[1], lh_error_text());
		return 1;
	}
	for (unsigned round = 0; !ended(); round++) {
		struct held *held = &self.held[pick(HELD_MAX)];

		if (round % LIST_ROUNDS == 0) {
			list_clear();
			list_below(argv[2], 0);
		}
		if (self.file_count == 0)
			continue;
		read_some(&self.held[pick(HELD_MAX)]);
		let_go(held);
		hold(held, self.files[pick(self.file_count)]);
		move(self.files[pick(self.file_count)]);
	}
	for (unsigned i = 0; i < HELD_MAX; i++)
		let_go(&self.held[i]);
	list_clear();
	judge(lh_fs_close(self.fs), "closing");
	printf("%llu leases, %llu direct reads, %llu relocations of %llu blocks, %llu defragmentations, %llu faults, "
	       "%llu times something was gone, %u failures (seed %s)\n",
	       (unsigned long long)self.leases, (unsigned long long)self.reads, (unsigned long long)self.moves,
	       (unsigned long long)self.moved_blocks, (unsigned long long)self.defragments,
	       (unsigned long long)self.faults, (unsigned long long)self.gone, self.failures, argc > 3 ? argv[3] : "1");
	return self.failures ? 1 : 0;
}
