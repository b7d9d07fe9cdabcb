/* SPDX-License-Identifier: BSD-2-Clause */
#include "xfs_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define IMAGE_BYTES ((off_t)6 << 30) /* sparse; the rows use some 3 GiB of it */

extern char **environ;

static struct {
	char dir[128], why[WHY_MAX];
	bool tried, mounted;
} xfs;

/* Runs a program; its exit status, or -errno. */
static int run(char *const argv[])
{
	posix_spawn_file_actions_t quiet;
	int status, err;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	err = posix_spawnp(&pid, argv[0], &quiet, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&quiet);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

static int make_image(const char *image)
{
	char *const mkfs[] = {"mkfs.xfs", "-q", "-f", "-m", "reflink=1", (char *)image, NULL};
	int fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err;

	if (fd < 0)
		return bench_skip(xfs.why, -errno, "cannot make an image on tmpfs");
	err = ftruncate(fd, IMAGE_BYTES) ? -errno : 0;
	close(fd);
	if (err)
		return bench_skip(xfs.why, err, "cannot size an image on tmpfs");
	err = run(mkfs);
	return err ? bench_skip(xfs.why, -ENOENT, "mkfs.xfs failed (%d): is xfsprogs installed?", err) : 0;
}

static void mount_image(void)
{
	char image[160];
	char *const mount_it[] = {"mount", "-t", "xfs", "-o", "loop", image, xfs.dir, NULL};
	int err;

	if (geteuid() != 0) {
		bench_skip(xfs.why, -EPERM, "mounting XFS on a loop device needs root");
		return;
	}
	if (!tmpfs_dir()) {
		bench_skip(xfs.why, -ENOENT, "/dev/shm cannot be written");
		return;
	}
	snprintf(image, sizeof(image), "%s/xfs.img", tmpfs_dir());
	snprintf(xfs.dir, sizeof(xfs.dir), "%s/xfs", tmpfs_dir());
	if (mkdir(xfs.dir, 0700) || make_image(image))
		goto out;
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		bench_skip(xfs.why, -errno, "no mount namespace of our own: %s", strerror(errno));
		goto out;
	}
	err = run(mount_it);
	if (err)
		bench_skip(xfs.why, -ENODEV, "mount -o loop failed (%d): no XFS or no loop device here", err);
	xfs.mounted = !err;
out:
	/* The loop device keeps the file as long as it is needed. */
	unlink(image);
}

const char *xfs_dir(char *why)
{
	if (!xfs.tried)
		mount_image();
	xfs.tried = true;
	if (xfs.mounted)
		return xfs.dir;
	snprintf(why, WHY_MAX, "%s", xfs.why[0] ? xfs.why : "XFS cannot be mounted here");
	return NULL;
}

void xfs_finish(void)
{
	if (xfs.mounted && umount2(xfs.dir, MNT_DETACH))
		fprintf(stderr, "leasehold-bench: cannot unmount %s: %s\n", xfs.dir, strerror(errno));
	if (xfs.dir[0])
		rmdir(xfs.dir);
}
