/* SPDX-License-Identifier: BSD-2-Clause */
#include "mount_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "bench.h"
#include "loop_peer.h"

#define POOL_BYTES     ((uint64_t)2 << 30) /* sparse */
#define MOUNT_WAIT_NS  (20 * NS_PER_SEC)
#define UNMOUNT_PAUSES 200 /* of 10 ms */
#define ARGS_MAX       8
#define PATH_BYTES     4352

const char *const place_names[PLACES] = {"leasehold", "passthrough_hp", "passthrough_hp --nosplice", "ext4", "XFS"};

static struct place_state {
	char *mount, *source, *dir; /* NULL: not made */
	char why[WHY_MAX];
	bool tried, ready;
	pid_t pid;
} places[PLACES];

/* Kept until the process ends. */
static char *text(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	return s;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* --- programs ---------------------------------------------------------------------------------------------------- */

/* Beside this program, where `up` leads from there in the build tree, or found by PATH. */
static void find_program(const char *name, const char *up, char *out)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	snprintf(out, PATH_BYTES, "%s", name);
	if (n < 0)
		return;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(out, PATH_BYTES, "%s/%s%s", self, up, name);
	if (access(out, X_OK))
		snprintf(out, PATH_BYTES, "%s/%s", self, name);
	if (access(out, X_OK))
		snprintf(out, PATH_BYTES, "%s", name);
}

/* It ends when this process does. */
static pid_t start(char *const argv[])
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid < 0 ? -errno : pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	execvp(argv[0], argv);
	_exit(127);
}

/* Until something is mounted on dir, or the program has ended. */
static int wait_mounted(struct place_state *s, const char *program)
{
	uint64_t end = clock_now_ns() + MOUNT_WAIT_NS;
	struct stat below, now;
	int status;

	if (stat(tmpfs_dir(), &below))
		return bench_skip(s->why, -errno, "%s is gone", tmpfs_dir());
	while (clock_now_ns() < end) {
		if (stat(s->mount, &now) == 0 && now.st_dev != below.st_dev)
			return 0;
		if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
			s->pid = 0;
			return bench_skip(s->why, -ENODEV, "%s ended before it had mounted (status %#x)", program,
					  status);
		}
		pause_ms(5);
	}
	return bench_skip(s->why, -ETIMEDOUT, "%s has not mounted", program);
}

/* --- the places -------------------------------------------------------------------------------------------------- */

static int fuse_start(struct place_state *s, char *const argv[])
{
	s->pid = start(argv);
	if (s->pid < 0)
		return bench_skip(s->why, s->pid, "cannot start %s", argv[0]);
	return wait_mounted(s, argv[0]);
}

static int ours_mount(struct place_state *s)
{
	struct lh_make_options make = {.size = sizeof(make), .pool_size = POOL_BYTES};
	static char program[PATH_BYTES];
	char *argv[] = {program, "mount", "--foreground", "--listen", "none", NULL, s->mount, NULL};
	int err;

	s->source = argv[5] = text("%s/mount.pool", tmpfs_dir());
	err = lh_pool_make(s->source, &make);
	if (err)
		return bench_skip(s->why, err, "ours: %s", lh_error_text());
	find_program("leasehold", "../src/cli/", program);
	return fuse_start(s, argv);
}

/* peer-passthrough says on its stderr why not. */
static int peer_make(char *program, char *why)
{
	char script[PATH_BYTES], dir[PATH_BYTES], command[3 * PATH_BYTES], line[WHY_MAX] = "";
	FILE *f;
	int status;

	find_program("peer-passthrough", "", script);
	snprintf(dir, sizeof(dir), "%s", script);
	snprintf(program, PATH_BYTES, "%s/peer/passthrough_hp", dirname(dir));
	snprintf(command, sizeof(command), "'%s' '%s/peer' 2>&1 >/dev/null", script, dir);
	if (access(program, X_OK) == 0)
		return 0;
	f = popen(command, "re");
	if (!f)
		return bench_skip(why, -errno, "cannot run %s", script);
	while (fgets(line, sizeof(line), f))
		;
	status = pclose(f);
	line[strcspn(line, "\n")] = '\0';
	return status ? bench_skip(why, -ENOENT, "no passthrough_hp: %.200s", line) : 0;
}

static int hp_mount(struct place_state *s, bool splice)
{
	static char program[PATH_BYTES];
	char *argv[ARGS_MAX] = {program, "--foreground"};
	unsigned n = 2;
	int err = peer_make(program, s->why);

	if (err)
		return err;
	s->source = text("%s.source", s->mount);
	if (mkdir(s->source, 0700))
		return bench_skip(s->why, -errno, "cannot make %s", s->source);
	if (!splice)
		argv[n++] = "--nosplice";
	argv[n++] = s->source;
	argv[n++] = s->mount;
	return fuse_start(s, argv);
}

static int place_mount(enum place p)
{
	struct place_state *s = &places[p];
	const char *loop;
	int err = own_mounts(s->why);

	if (err)
		return err;
	if (!tmpfs_dir())
		return bench_skip(s->why, -ENOENT, "/dev/shm cannot be written");
	switch (p) {
	case ON_EXT4:
	case ON_XFS:
		loop = loop_dir(p == ON_XFS ? LOOP_XFS : LOOP_EXT4, s->why);
		if (!loop)
			return -ENODEV;
		s->mount = text("%s", loop);
		return 0;
	case OURS:
	case HP:
	case HP_NOSPLICE:
	case PLACES:
		break;
	}
	s->mount = text("%s/mount-%u", tmpfs_dir(), (unsigned)p);
	if (mkdir(s->mount, 0700))
		return bench_skip(s->why, -errno, "cannot make %s", s->mount);
	return p == OURS ? ours_mount(s) : hp_mount(s, p == HP);
}

const char *place_dir(enum place p, char *why)
{
	struct place_state *s = &places[p];

	if (!s->tried) {
		s->tried = true;
		if (!place_mount(p)) {
			s->dir = text("%s/rows", s->mount);
			s->ready = mkdir(s->dir, 0700) == 0;
			if (!s->ready)
				bench_skip(s->why, -errno, "cannot make %s: %s", s->dir, strerror(errno));
		}
	}
	if (s->ready)
		return s->dir;
	snprintf(why, WHY_MAX, "%s", s->why);
	return NULL;
}

void forget_names(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	char path[256];
	struct stat st;

	/* Twice: what was used lately survives once. */
	for (unsigned i = 0; i < 2 && fd >= 0; i++) {
		if (write(fd, "2", 1) != 1)
			perror("leasehold-bench: drop_caches");
	}
	if (fd >= 0)
		close(fd);
	for (unsigned p = 0; p < PLACES; p++) {
		if (!places[p].ready)
			continue;
		snprintf(path, sizeof(path), "%s/not-there", places[p].dir);
		(void)stat(path, &st);
	}
	pause_ms(50);
}

static void place_end(struct place_state *s)
{
	if (s->mount && s->pid > 0) {
		if (umount2(s->mount, MNT_DETACH))
			fprintf(stderr, "leasehold-bench: cannot unmount %s: %s\n", s->mount, strerror(errno));
		for (unsigned i = 0; i < UNMOUNT_PAUSES && waitpid(s->pid, NULL, WNOHANG) == 0; i++) {
			pause_ms(10);
			if (i == UNMOUNT_PAUSES - 1) {
				fprintf(stderr, "leasehold-bench: the server of %s has to be killed\n", s->mount);
				kill(s->pid, SIGKILL);
				(void)waitpid(s->pid, NULL, 0);
			}
		}
	}
}

void mount_rig_finish(void)
{
	for (unsigned p = 0; p < PLACES; p++) {
		struct place_state *s = &places[p];
		char *const remove_it[] = {"rm", "-rf", "--one-file-system", s->source, NULL};

		if (!s->mount || p == ON_EXT4 || p == ON_XFS)
			continue;
		place_end(s);
		rmdir(s->mount);
		if (s->source)
			(void)run_program(remove_it);
	}
}
