/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIGTERM, SIGINT and SIGHUP unmount: a thread takes them. While requests are still served it asks the kernel to
 * unmount, which writes back what programs have mapped. If programs still use the mount, it writes back for at most
 * END_SYNC_NS, takes the mount out of the tree and ends the connection: their calls fail from then on. A second signal
 * does not wait.
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"

#define END_SYNC_NS  (10 * NS_PER_SEC)
#define END_EVERY_MS 50

struct ender {
	struct mount *m;
	pthread_t thread, writer;
	int signals; /* descriptor */
	int stop[2]; /* pipe: ender_stop writes */
	atomic_bool written;
	bool made, writer_made;
};

extern char **environ;

/* By fusermount3, for who may not do it alone. */
static bool helper_unmount(const char *dir, bool lazy)
{
	char *args[] = {"fusermount3", "-u", lazy ? "-qz" : "-q", "--", (char *)dir, NULL};
	int status = -1;
	pid_t pid;

	if (posix_spawnp(&pid, args[0], NULL, NULL, args, environ) != 0)
		return false;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0;
}

static bool unmount(const struct mount *m, bool lazy)
{
	if (umount2(m->opt->dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return true;
	return errno == EPERM && helper_unmount(m->opt->dir, lazy);
}

/* In a thread of its own: whatever happens to the mount, this may hang only itself. */
static void *write_back(void *arg)
{
	struct ender *e = arg;
	int fd;

	if (!unmount(e->m, false)) {
		fd = open(e->m->opt->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0) {
			(void)syncfs(fd);
			close(fd);
		}
		(void)unmount(e->m, true);
	}
	atomic_store(&e->written, true);
	return NULL;
}

static void end(struct ender *e)
{
	struct pollfd p[2] = {{.fd = e->signals, .events = POLLIN}, {.fd = e->stop[0], .events = POLLIN}};
	uint64_t until = clock_now_ns() + END_SYNC_NS;

	e->writer_made = pthread_create(&e->writer, NULL, write_back, e) == 0;
	while (e->writer_made && !atomic_load(&e->written) && clock_now_ns() < until) {
		if (poll(p, 2, END_EVERY_MS) <= 0)
			continue;
		if (p[1].revents)
			return;
		break;
	}
	if (!atomic_load(&e->written))
		(void)unmount(e->m, true);
	e->m->unmounted = true;
	atomic_store(&e->m->ending, true);
	calls_wake(e->m);
	mount_watch_end(e->m);
	mount_loop_end(e->m);
}

static void *wait_for_signal(void *arg)
{
	struct ender *e = arg;
	struct pollfd p[2] = {{.fd = e->signals, .events = POLLIN}, {.fd = e->stop[0], .events = POLLIN}};
	struct signalfd_siginfo info;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[1].revents || !(p[0].revents & POLLIN))
		return NULL;
	(void)!read(e->signals, &info, sizeof(info));
	end(e);
	return NULL;
}

int ender_start(struct mount *m)
{
	struct ender *e = calloc(1, sizeof(*e));
	sigset_t set;

	if (!e)
		return -ENOMEM;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	e->m = m;
	e->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (e->signals < 0 || pipe2(e->stop, O_CLOEXEC) != 0) {
		if (e->signals >= 0)
			close(e->signals);
		free(e);
		return fail(-EMFILE, "cannot take signals");
	}
	m->ender = e;
	return 0;
}

int ender_run(struct mount *m)
{
	int err = pthread_create(&m->ender->thread, NULL, wait_for_signal, m->ender);

	if (err)
		return fail(-err, "cannot start a thread");
	m->ender->made = true;
	return 0;
}

void ender_stop(struct mount *m)
{
	struct ender *e = m->ender;

	if (!e || !e->made)
		return;
	(void)!write(e->stop[1], "", 1);
	pthread_join(e->thread, NULL);
	e->made = false;
}

void ender_free(struct mount *m)
{
	struct ender *e = m->ender;

	if (!e)
		return;
	if (e->writer_made)
		pthread_join(e->writer, NULL);
	close(e->signals);
	close(e->stop[0]);
	close(e->stop[1]);
	free(e);
	m->ender = NULL;
}
