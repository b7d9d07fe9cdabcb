/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold umount: unmounts, and waits until whoever served the mount has closed its pool. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/cli.h"

#define ATTR_PID "system.leasehold.pid"

static const struct cli_option options[] = {
    {'l', "lazy", NULL, "now, also when programs use it; it ends with the last of them"},
    {0},
};
static const struct cli_verb verb = {
    .name = "umount",
    .operands = "DIR",
    .text = "Unmounts DIR and waits until its pool is flushed and closed. Dead mounts too.\n",
    .example = "leasehold umount /mnt\n",
    .options = options,
    .min = 1,
    .max = 1,
};

/* Of the process that serves it; -1: not known, or not there any more. */
static int server_of(const char *dir)
{
	char text[16] = "";
	ssize_t n = getxattr(dir, ATTR_PID, text, sizeof(text) - 1);

	if (n <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, (pid_t)strtol(text, NULL, 10), 0);
}

/* Users have no right to unmount but through fusermount3. */
static int by_helper(const char *dir, bool lazy)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (lazy)
			execlp("fusermount3", "fusermount3", "-u", "-z", "--", dir, (char *)NULL);
		else
			execlp("fusermount3", "fusermount3", "-u", "--", dir, (char *)NULL);
		fprintf(stderr, "leasehold umount: fusermount3: %s (it comes with the package fuse3)\n",
			strerror(errno));
		_exit(CLI_FAILED);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return cli_fail("cannot start fusermount3: %s", strerror(errno));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? CLI_OK : CLI_FAILED;
}

static int unmount(const char *dir, bool lazy)
{
	if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return CLI_OK;
	if (errno == EPERM)
		return by_helper(dir, lazy);
	if (errno == EINVAL)
		return cli_fail("%s: nothing is mounted there", dir);
	return cli_fail("%s: %s%s", dir, strerror(errno),
			errno == EBUSY ? "; programs use it (end them, or give --lazy)" : "");
}

int verb_umount(int argc, char **argv)
{
	struct pollfd p = {.events = POLLIN};
	bool lazy = false;
	int status, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv))
		lazy |= key == 'l';
	p.fd = server_of(argv[optind]);
	status = unmount(argv[optind], lazy);
	if (status == CLI_OK && p.fd >= 0 && !lazy) {
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
	}
	if (p.fd >= 0)
		close(p.fd);
	return status;
}
