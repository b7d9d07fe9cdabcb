/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One owner per pool. Two locks on two bytes far beyond the end of any pool:
 *
 *   OWNER_BYTE  an open file description lock. This one excludes: it lives as long as the description, whatever other
 *               descriptors of the file the process opens and closes, and two opens in one process exclude each other
 * too. PID_BYTE    a classic POSIX lock, held beside it. It excludes nobody; it is there because F_GETLK tells a
 * classic lock's pid, while an open file description lock has none (-1).
 *
 * The known weakness of classic locks (closing *any* descriptor of the file drops them) costs the pid in a message,
 * never exclusion. So does a fork: the child shares the description and keeps the pool owned after its parent's death.
 * Where fcntl locks do not exist (a device DAX driver that refuses them), flock takes the place of the first.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "pool/internal.h"

#define OWNER_BYTE ((off_t)1 << 62)
#define PID_BYTE   (OWNER_BYTE + 1)

static struct flock byte_lock(off_t byte, bool exclusive)
{
	return (struct flock){
	    .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

/* 0, or errno. */
static int take_exclusion(int fd, bool exclusive)
{
	struct flock l = byte_lock(OWNER_BYTE, exclusive);

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	if (errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS && errno != ENOTTY)
		return errno;
	return flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 ? 0 : errno;
}

static int fail_busy(int fd, bool exclusive, const char *name)
{
	struct flock l = byte_lock(PID_BYTE, exclusive);

	if (fcntl(fd, F_GETLK, &l) != 0 || l.l_type == F_UNLCK)
		return fail(-EBUSY,
			    "pool %s is in use by this process or by one that hides its pid: close it there first "
			    "(fuser -v %s lists who has it open)",
			    name, name);
	if (l.l_pid <= 0)
		return fail(-EBUSY,
			    "pool %s is in use by a process in another container or on another host: stop it first",
			    name);
	return fail(-EBUSY, "pool %s is in use by pid %ld: stop that process, or go through the address that it serves",
		    name, (long)l.l_pid);
}

int owner_lock(int fd, bool exclusive, const char *name)
{
	struct flock pid = byte_lock(PID_BYTE, exclusive);
	int err = take_exclusion(fd, exclusive);

	if (err == EAGAIN || err == EACCES || err == EWOULDBLOCK)
		return fail_busy(fd, exclusive, name);
	if (err)
		return fail(-err, "pool %s: locking it failed (%s): its filesystem must support file locks", name,
			    strerror(err));
	/* A failure costs no more than the pid in somebody's message. */
	(void)fcntl(fd, F_SETLK, &pid);
	return 0;
}
