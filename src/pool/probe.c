/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a pool lives: what kind of file or device is behind a descriptor, how large it is, and whether the filesystem
 * below can give it all its storage now.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "pool/internal.h"

#define MIB ((uint64_t)1 << 20)

/* One number of one sysfs file. 0, -errno, or -EIO for text that is no number. */
static int read_number(const char *dir, const char *file, uint64_t *out)
{
	char path[PATH_MAX], text[64], *end;
	scoped_fd int fd = -1;
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	errno = 0;
	*out = strtoull(text, &end, 0);
	if (errno || end == text || (*end != '\n' && *end != 0))
		return -EIO;
	return 0;
}

static bool is_dax(const char *dir)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/subsystem", dir) >= (int)sizeof(path))
		return false;
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = 0;
	return n >= 4 && strcmp(target + n - 4, "/dax") == 0;
}

int place_devdax(const char *dir, uint64_t *size, uint64_t *align)
{
	/* Kernels with the dax bus have it at the device, the older class model one level up. */
	static const char *const align_files[] = {"align", "device/align", "device/dax_region/align"};
	int err;

	if (!is_dax(dir))
		return -ENODEV;
	err = read_number(dir, "size", size);
	if (err)
		return -EIO;
	for (size_t i = 0; i < ARRAY_LEN(align_files); i++) {
		err = read_number(dir, align_files[i], align);
		if (!err)
			break;
	}
	if (err || *align < LH_BLOCK_SIZE || (*align & (*align - 1)) != 0)
		return -EIO;
	return 0;
}

static int probe_device(const struct stat *st, const char *name, struct pool_place *out)
{
	char dir[64];
	int err;

	snprintf(dir, sizeof(dir), "/sys/dev/char/%u:%u", major(st->st_rdev), minor(st->st_rdev));
	out->kind = POOL_KIND_DEVDAX;
	err = place_devdax(dir, &out->size, &out->grain);
	if (err == -ENODEV)
		return fail(err, "%s is a character device but no DAX device: use /dev/daxX.Y or a file", name);
	if (err)
		return fail(err,
			    "%s: size or align in %s is missing or makes no sense: check the device with daxctl list",
			    name, dir);
	return 0;
}

static int probe_file(int fd, const struct stat *st, const char *name, struct pool_place *out)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) != 0) {
		int err = -errno;

		return fail(err, "%s: asking its filesystem failed (%s)", name, strerror(-err));
	}
	out->size = (uint64_t)st->st_size;
	out->grain = LH_BLOCK_SIZE;
	/* f_type is signed or not, by architecture; the magic numbers have 32 bits. */
	switch ((uint32_t)fs.f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
		out->kind = POOL_KIND_TMPFS;
		break;
	case HUGETLBFS_MAGIC:
		out->kind = POOL_KIND_HUGETLBFS;
		out->grain = (uint64_t)fs.f_bsize;
		break;
	case BTRFS_SUPER_MAGIC: {
		/* Without this a rewritten page takes new space, and preallocation protects nothing. Best effort: new
		 * files only. */
		int flags = 0;

		if (st->st_size == 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
			flags |= FS_NOCOW_FL;
			(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
		}
		out->kind = POOL_KIND_FILE;
		break;
	}
	default:
		out->kind = POOL_KIND_FILE;
	}
	return 0;
}

int place_probe(int fd, const char *name, struct pool_place *out)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		int err = -errno;

		return fail(err, "%s: stat failed (%s)", name, strerror(-err));
	}
	if (S_ISREG(st.st_mode))
		return probe_file(fd, &st, name, out);
	if (S_ISCHR(st.st_mode))
		return probe_device(&st, name, out);
	if (S_ISDIR(st.st_mode))
		return fail(-EISDIR, "%s is a directory: give the path of a file in it", name);
	if (S_ISBLK(st.st_mode))
		return fail(
		    -ENODEV,
		    "%s is a block device and cannot be mapped as memory: make a filesystem on it and give a file",
		    name);
	return fail(-ENODEV, "%s is neither a file nor a DAX device", name);
}

/* Bytes that the kernel could give to tmpfs now; UINT64_MAX when it does not say. */
static uint64_t memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	uint64_t kib, total = 0;
	bool known = false;
	char line[128];

	if (!f)
		return UINT64_MAX;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1) {
			total += kib;
			known = true;
		} else if (sscanf(line, "SwapFree: %" SCNu64, &kib) == 1) {
			total += kib;
		}
	}
	fclose(f);
	return known ? total * 1024 : UINT64_MAX;
}

/*
 * A size far above what is free is refused before anything is allocated: filling a disk, or the memory of the machine
 * behind tmpfs (whose own limit may be larger), only to find out at its end is no way to fail.
 */
static int check_free(int fd, const struct pool_place *place, uint64_t missing, const char *name)
{
	struct statvfs vfs;
	uint64_t available;

	if (fstatvfs(fd, &vfs) != 0 || vfs.f_blocks == 0) /* tmpfs without a limit says 0 */
		available = UINT64_MAX;
	else
		available = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	if (place->kind == POOL_KIND_TMPFS)
		available = min_u64(available, memory_available());
	if (missing <= available)
		return 0;
	return fail(-ENOSPC,
		    "pool %s needs %" PRIu64 " MiB and its %s has %" PRIu64 " MiB free: make it smaller, or free space",
		    name, (missing + MIB - 1) / MIB, place->kind == POOL_KIND_TMPFS ? "tmpfs or memory" : "filesystem",
		    available / MIB);
}

int place_allocate(int fd, const struct pool_place *place, uint64_t size, const char *name)
{
	uint64_t have;
	struct stat st;
	int err;

	if (place->kind == POOL_KIND_DEVDAX)
		return 0;
	have = fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
	if (have < size) {
		err = check_free(fd, place, size - have, name);
		if (err)
			return err;
	}
	do
		err = posix_fallocate(fd, 0, (off_t)size);
	while (err == EINTR);
	if (err == ENOSPC || err == EDQUOT)
		return fail(-err,
			    "pool %s: its filesystem has no room for %" PRIu64
			    " MiB (%s): make it smaller, or free space%s",
			    name, size / MIB, strerror(err),
			    place->kind == POOL_KIND_HUGETLBFS ? " (huge pages: /proc/sys/vm/nr_hugepages)" : "");
	if (err)
		return fail(-err, "pool %s: allocating %" PRIu64 " MiB failed (%s)", name, size / MIB, strerror(err));
	return 0;
}
