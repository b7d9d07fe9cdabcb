/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault_read_4k    first touch of every page of a file of 64 MiB through lh_map, in a random order, against the same of
 * a file on tmpfs through mmap; time per page. The pages of both are in memory; the mapping is new. fault_write_4k the
 * same, storing a byte
 *
 * A trap of ours brings up to 2 MiB, as the kernel's fault brings up to 64 KiB. So the rows say what a program pays for
 * its first pass over a file. What one trap costs alone is told below the row: one touch in every 2 MiB, with the
 * signal, the hand-over, the lease and the mmap; and a touch where the page has been taken away by a relocation.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"

#define FILE_SIZE ((size_t)64 << 20)
#define PAGE      4096u
#define WINDOW    ((size_t)2 << 20)
#define PAGES     (FILE_SIZE / PAGE)
#define WINDOWS   (FILE_SIZE / WINDOW)

static struct {
	struct lh_fs *fs;
	struct lh_file *file;
	int fd;
	char path[128];
	uint32_t *order;
} faults = {.fd = -1};

/* Of one touch, in the last round; they outlive the row. */
static struct {
	double alone_ns, moved_ns, kernel_ns;
} cost;

static int fill_ours(void)
{
	char *block = calloc(1, WINDOW);
	int err = block ? 0 : -ENOMEM;

	for (size_t off = 0; off < FILE_SIZE && !err; off += WINDOW) {
		ssize_t n = lh_file_write(faults.file, block, WINDOW, off);

		err = n < 0 ? (int)n : 0;
	}
	for (size_t off = 0; off < FILE_SIZE && !err; off += WINDOW)
		err = pwrite(faults.fd, block, WINDOW, (off_t)off) < 0 ? -errno : 0;
	free(block);
	return err;
}

static void shuffle(void)
{
	uint64_t seed = 88172645463325252ull;

	for (uint32_t k = 0; k < PAGES; k++)
		faults.order[k] = k;
	for (uint32_t k = PAGES - 1; k > 0; k--) {
		uint32_t with, was = faults.order[k];

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		with = (uint32_t)(seed % (k + 1));
		faults.order[k] = faults.order[with];
		faults.order[with] = was;
	}
}

static int fault_ready(const struct row *r, char *why)
{
	int err;

	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(faults.path, sizeof(faults.path), "%s/faults", tmpfs_dir());
	faults.fd = open(faults.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (faults.fd < 0)
		return bench_skip(why, -errno, "cannot make a file on tmpfs");
	faults.order = malloc(PAGES * sizeof(*faults.order));
	if (!faults.order)
		return bench_skip(why, -ENOMEM, "no memory");
	shuffle();
	err = lh_fs_open("mem:256M", NULL, &faults.fs);
	if (!err)
		err = lh_file_open(faults.fs, "/f", O_RDWR | O_CREAT, 0600, &faults.file);
	if (!err)
		err = fill_ours();
	return err ? bench_skip(why, err, "ours: %s", lh_error_text()) : 0;
}

/* Touches every page once, in the order; ns per page. */
static double touch_all(uint8_t *base, bool write)
{
	uint64_t start = clock_now_ns();

	for (uint32_t k = 0; k < PAGES; k++) {
		volatile uint8_t *at = base + (size_t)faults.order[k] * PAGE;

		if (write)
			*at = 1;
		else
			(void)*at;
	}
	return (double)(clock_now_ns() - start) / PAGES;
}

/* One touch a window. */
static double touch_windows(uint8_t *base, bool write)
{
	uint64_t start = clock_now_ns();

	for (size_t k = 0; k < WINDOWS; k++) {
		volatile uint8_t *at = base + k * 7 % WINDOWS * WINDOW + 5 * PAGE;

		if (write)
			*at = 1;
		else
			(void)*at;
	}
	return (double)(clock_now_ns() - start) / WINDOWS;
}

static int fault_prot(const struct row *r)
{
	return r->write ? PROT_READ | PROT_WRITE : PROT_READ;
}

static int fault_alone(const struct row *r)
{
	void *base;
	int64_t moved;
	int err = lh_map(faults.file, 0, FILE_SIZE, fault_prot(r), &base);

	if (err)
		return err;
	cost.alone_ns = touch_windows(base, r->write);
	moved = lh_file_relocate(faults.file, 0, FILE_SIZE);
	if (moved >= 0)
		cost.moved_ns = touch_windows(base, r->write);
	err = lh_unmap(base);
	return moved < 0 ? (int)moved : err;
}

static int fault_ours(const struct row *r, double *out)
{
	void *base;
	int err = fault_alone(r);

	if (!err)
		err = lh_map(faults.file, 0, FILE_SIZE, fault_prot(r), &base);
	if (err)
		return err;
	*out = touch_all(base, r->write);
	return lh_unmap(base);
}

static int fault_peer(const struct row *r, double *out)
{
	void *base = mmap(NULL, FILE_SIZE, fault_prot(r), MAP_SHARED, faults.fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*out = touch_all(base, r->write);
	munmap(base, FILE_SIZE);
	base = mmap(NULL, FILE_SIZE, fault_prot(r), MAP_SHARED, faults.fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	cost.kernel_ns = touch_windows(base, r->write);
	munmap(base, FILE_SIZE);
	return 0;
}

static void fault_report(const struct row *r)
{
	(void)r;
	printf(
	    "    one touch in 2 MiB: %.1f µs by a trap of ours, %.1f µs after a relocation by this session, %.2f µs by "
	    "the kernel alone\n",
	    cost.alone_ns / 1e3, cost.moved_ns / 1e3, cost.kernel_ns / 1e3);
}

static json_t *fault_details(const struct row *r)
{
	(void)r;
	return json_pack("{s:f, s:f, s:f}", "trap_ns", cost.alone_ns, "after_move_ns", cost.moved_ns, "kernel_ns",
			 cost.kernel_ns);
}

static void fault_done(const struct row *r)
{
	lh_file_close(faults.file);
	lh_fs_close(faults.fs);
	close(faults.fd);
	unlink(faults.path);
	free(faults.order);
	memset(&faults, 0, sizeof(faults));
	faults.fd = -1;
}

#define FAULT_ROW(n, w)                                                                                                \
	{                                                                                                              \
		.name = n, .unit = "ns", .peer_name = "tmpfs mmap", .goal = 0.25, .ready = fault_ready,                \
		.ours = fault_ours, .peer = fault_peer, .done = fault_done, .report = fault_report,                    \
		.details = fault_details, .write = w                                                                   \
	}

const struct row fault_rows[] = {FAULT_ROW("fault_read_4k", false), FAULT_ROW("fault_write_4k", true)};
const unsigned fault_row_count = sizeof(fault_rows) / sizeof(fault_rows[0]);
