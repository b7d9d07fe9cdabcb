/* SPDX-License-Identifier: BSD-2-Clause */
#include "loop_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define IMAGE_BYTES ((off_t)6 << 30) /* sparse; the rows use some 3 GiB of it */
#define MKFS_ARGS   6

extern char **environ;

static const struct {
	const char *type, *package;
	char *const mkfs[MKFS_ARGS];
} kinds[LOOP_KINDS] = {
    [LOOP_XFS] = {"xfs", "xfsprogs", {"mkfs.xfs", "-q", "-f", "-m", "reflink=1"}},
    [LOOP_EXT4] = {"ext4", "e2fsprogs", {"mkfs.ext4", "-q", "-F"}},
};

static struct {
	char dir[128], why[WHY_MAX];
	bool tried, mounted;
} loops[LOOP_KINDS];

int run_program(char *const argv[])
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

int own_mounts(char *why)
{
	static bool done;

	if (done)
		return 0;
	if (geteuid() != 0)
		return bench_skip(why, -EPERM, "mounting needs root");
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return bench_skip(why, -errno, "no mount namespace of our own: %s", strerror(errno));
	done = true;
	return 0;
}

static int make_image(enum loop_kind kind, const char *image)
{
	char *why = loops[kind].why, *argv[MKFS_ARGS + 2] = {NULL};
	int fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	unsigned n = 0;
	int err;

	if (fd < 0)
		return bench_skip(why, -errno, "cannot make an image on tmpfs");
	err = ftruncate(fd, IMAGE_BYTES) ? -errno : 0;
	close(fd);
	if (err)
		return bench_skip(why, err, "cannot size an image on tmpfs");
	for (; n < MKFS_ARGS && kinds[kind].mkfs[n]; n++)
		argv[n] = kinds[kind].mkfs[n];
	argv[n] = (char *)image;
	err = run_program(argv);
	return err ? bench_skip(why, -ENOENT, "%s failed (%d): is %s installed?", argv[0], err, kinds[kind].package)
		   : 0;
}

static void mount_image(enum loop_kind kind)
{
	const char *type = kinds[kind].type;
	char *why = loops[kind].why, *dir = loops[kind].dir, image[160];
	char *const mount_it[] = {"mount", "-t", (char *)type, "-o", "loop", image, dir, NULL};
	int err;

	if (own_mounts(why))
		return;
	if (!tmpfs_dir()) {
		bench_skip(why, -ENOENT, "/dev/shm cannot be written");
		return;
	}
	snprintf(image, sizeof(image), "%s/%s.img", tmpfs_dir(), type);
	snprintf(dir, sizeof(loops[kind].dir), "%s/%s", tmpfs_dir(), type);
	if (mkdir(dir, 0700) || make_image(kind, image))
		goto out;
	err = run_program(mount_it);
	if (err)
		bench_skip(why, -ENODEV, "mount -t %s -o loop failed (%d): not in this kernel, or no loop device here",
			   type, err);
	loops[kind].mounted = !err;
out:
	/* The loop device keeps the file as long as it is needed. */
	unlink(image);
}

const char *loop_dir(enum loop_kind kind, char *why)
{
	if (!loops[kind].tried)
		mount_image(kind);
	loops[kind].tried = true;
	if (loops[kind].mounted)
		return loops[kind].dir;
	snprintf(why, WHY_MAX, "%s", loops[kind].why[0] ? loops[kind].why : "it cannot be mounted here");
	return NULL;
}

void loop_finish(void)
{
	for (unsigned k = 0; k < LOOP_KINDS; k++) {
		if (loops[k].mounted && umount2(loops[k].dir, MNT_DETACH))
			fprintf(stderr, "leasehold-bench: cannot unmount %s: %s\n", loops[k].dir, strerror(errno));
		if (loops[k].dir[0])
			rmdir(loops[k].dir);
	}
}
