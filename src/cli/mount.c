/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold mount, umount. Without --foreground the mount lives in a child: the parent waits until programs can use it,
 * or for the child's failure, whose message it has printed itself, and ends with its status.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/cli.h"
#ifdef LH_WITH_FUSE
#include "fuse/fuse.h"
#endif

enum { OPT_THREADS = 256 };

#define SPIN_NS 50000u /* as direct access */

static const struct cli_option options[] = {
    {'o', "options", "LIST", "with commas, as mount(8) has them: see docs/mount.md"},
    {'f', "foreground", NULL, "stay in front; the mount ends with the command"},
    {'l', "listen", "ADDRESS", "of a pool: serve it to direct users there (unix:PATH, tcp:...); none: not at all"},
    {OPT_THREADS, "threads", "NUMBER", "at most so many requests at once; default 256"},
    {'d', "debug", NULL, "show every request; stays in front"},
    {0},
};
static const struct cli_verb verb = {
    .name = "mount",
    .operands = "[POOL-OR-ADDRESS] DIR",
    .text =
	"Mounts the filesystem of a pool or a server on DIR for all programs. A pool is served to direct users as "
	"well.\n"
	"Options of -o: ro, allow_other, no_allow_other, hard, soft (default), cache=auto|none, attr_timeout=TIME,\n"
	"entry_timeout=TIME, negative_timeout=TIME, fsname=NAME, listen=ADDRESS, threads=NUMBER, spin=TIME, "
	"deadline=TIME,\n"
	"and the kernel's: nosuid, nodev, noexec, noatime, ... Unmount with `leasehold umount DIR` or umount(8).\n",
    .example = "leasehold mount /dev/shm/a.pool /mnt\n"
	       "leasehold mount -o ro,hard unix:/run/lh.sock /mnt\n"
	       "leasehold umount /mnt\n",
    .options = options,
    .min = 1,
    .max = 2,
};

#ifndef LH_WITH_FUSE

int verb_mount(int argc, char **argv)
{
	while (cli_next(&verb, argc, argv) != -1)
		;
	return cli_fail("built without FUSE; install libfuse3-dev and build again");
}

#else

struct request {
	struct mount_options opt;
	bool foreground;
	int tell; /* pipe to the parent; -1 */
	char *kernel;
	size_t kernel_size;
	FILE *kernel_out;
};

/* What the kernel and libfuse are told as it is. */
static const char *const kernel_options[] = {"rw",         "suid",        "nosuid",        "dev",         "nodev",
					     "exec",       "noexec",      "async",         "sync",        "dirsync",
					     "atime",      "noatime",     "diratime",      "nodiratime",  "relatime",
					     "norelatime", "strictatime", "nostrictatime", "auto_unmount"};
/* What fstab has for others. */
static const char *const others_options[] = {"defaults", "auto",    "noauto", "user",    "nouser",  "users", "nousers",
					     "owner",    "noowner", "group",  "nogroup", "_netdev", "nofail"};

static bool is_in(const char *text, const char *const *list, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		if (strcmp(text, list[k]) == 0)
			return true;
	}
	return false;
}

static double seconds(const char *text, const char *what)
{
	return (double)cli_duration(text, what) / 1e9;
}

static bool with_value(struct request *r, const char *name, const char *value)
{
	struct mount_options *o = &r->opt;

	if (strcmp(name, "fsname") == 0)
		o->fsname = value;
	else if (strcmp(name, "listen") == 0)
		o->listen = value;
	else if (strcmp(name, "attr_timeout") == 0)
		o->attr_s = seconds(value, name);
	else if (strcmp(name, "entry_timeout") == 0)
		o->entry_s = seconds(value, name);
	else if (strcmp(name, "negative_timeout") == 0)
		o->negative_s = seconds(value, name);
	else if (strcmp(name, "threads") == 0)
		o->threads = (unsigned)cli_number(value, name, 4096);
	else if (strcmp(name, "spin") == 0)
		o->spin_ns = cli_duration(value, name);
	else if (strcmp(name, "deadline") == 0)
		o->open.deadline_ns = cli_duration(value, name);
	else if (strcmp(name, "cache") == 0 && strcmp(value, "auto") == 0)
		o->cache = MOUNT_CACHE_AUTO;
	else if (strcmp(name, "cache") == 0 && strcmp(value, "none") == 0)
		o->cache = MOUNT_CACHE_NONE;
	else
		return strcmp(name, "comment") == 0;
	return true;
}

static bool without_value(struct request *r, const char *name)
{
	struct mount_options *o = &r->opt;

	if (strcmp(name, "ro") == 0)
		o->read_only = true;
	else if (strcmp(name, "allow_other") == 0)
		o->allow_other = 1;
	else if (strcmp(name, "no_allow_other") == 0)
		o->allow_other = 0;
	else if (strcmp(name, "hard") == 0)
		o->hard = true;
	else if (strcmp(name, "soft") == 0)
		o->hard = false;
	else if (strcmp(name, "debug") == 0)
		o->debug = r->foreground = true;
	else
		return false;
	return true;
}

/* One of -o's list. False: nobody knows it. */
static bool option(struct request *r, char *text)
{
	char *value = strchr(text, '=');

	if (!text[0] || strncmp(text, "x-", 2) == 0 || is_in(text, others_options, ARRAY_LEN(others_options)))
		return true;
	if (is_in(text, kernel_options, ARRAY_LEN(kernel_options))) {
		fprintf(r->kernel_out, "%s%s", ftell(r->kernel_out) ? "," : "", text);
		return true;
	}
	if (!value)
		return without_value(r, text);
	*value = '\0';
	if (with_value(r, text, value + 1))
		return true;
	*value = '=';
	return false;
}

static int option_list(struct request *r, char *list)
{
	char *next = list;

	while (next) {
		char *one = strsep(&next, ",");

		if (!option(r, one))
			return cli_fail("-o %s: there is no such option", one);
	}
	return CLI_OK;
}

/* The mount point's path must mean the same when the daemon has left this directory. */
static const char *absolute(const char *dir)
{
	static char buf[PATH_MAX];
	char cwd[PATH_MAX / 2];

	if (realpath(dir, buf))
		return buf;
	if (dir[0] == '/' || !getcwd(cwd, sizeof(cwd)))
		return dir;
	snprintf(buf, sizeof(buf), "%s/%.*s", cwd, PATH_MAX / 2 - 2, dir);
	return buf;
}

/* Programs can use it: nobody waits any more, and nothing of the terminal is kept. */
static void ready(void *ctx)
{
	struct request *r = ctx;
	int null;

	if (r->tell < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		fflush(stdout);
		for (int fd = 0; fd < 3; fd++)
			(void)dup2(null, fd);
		if (null > 2)
			close(null);
	}
	(void)!chdir("/");
	(void)!write(r->tell, "", 1);
	close(r->tell);
	r->tell = -1;
}

static int serve(struct request *r)
{
	int err = mount_run(&r->opt, ready, r);

	return err ? cli_error(err, "cannot mount %s", r->opt.where) : CLI_OK;
}

/* The parent's side: 1 byte: it is mounted; none: the child has failed, and said why. */
static int wait_for(pid_t child, int fd)
{
	int status = 0;
	ssize_t n;
	char byte;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n == 1)
		return CLI_OK;
	if (waitpid(child, &status, 0) == child && WIFEXITED(status))
		return WEXITSTATUS(status) == CLI_OK ? CLI_FAILED : WEXITSTATUS(status);
	return cli_fail("cannot mount %s: its process was killed", cli_pool());
}

static int in_background(struct request *r)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return cli_fail("no pipe: %s", strerror(errno));
	fflush(NULL);
	child = fork();
	if (child < 0) {
		close(fds[0]);
		close(fds[1]);
		return cli_fail("no process: %s", strerror(errno));
	}
	if (child > 0) {
		close(fds[1]);
		return wait_for(child, fds[0]);
	}
	close(fds[0]);
	(void)setsid();
	r->tell = fds[1];
	return serve(r);
}

/* A relative pool means the same from elsewhere, where it is shown and opened again. */
static const char *pool_absolute(const char *where)
{
	static char buf[PATH_MAX];

	if (cli_is_address(where) || strncmp(where, "mem:", 4) == 0 || !realpath(where, buf))
		return where;
	return buf;
}

int verb_mount(int argc, char **argv)
{
	struct request r = {
	    .tell = -1, .opt = {.allow_other = -1, .attr_s = -1, .entry_s = -1, .negative_s = -1, .spin_ns = SPIN_NS}};
	int status = CLI_OK, key;

	r.kernel_out = open_memstream(&r.kernel, &r.kernel_size);
	if (!r.kernel_out)
		return cli_fail("no memory");
	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		if (key == 'o' && status == CLI_OK)
			status = option_list(&r, optarg);
		else if (key == 'f')
			r.foreground = true;
		else if (key == 'l')
			r.opt.listen = optarg;
		else if (key == OPT_THREADS)
			r.opt.threads = (unsigned)cli_number(optarg, "--threads", 4096);
		else if (key == 'd')
			r.opt.debug = r.foreground = true;
	}
	fclose(r.kernel_out);
	if (argc - optind == 2)
		cli_set_pool(argv[optind++]);
	r.opt.where = pool_absolute(cli_pool());
	r.opt.dir = absolute(argv[optind]);
	r.opt.kernel = r.kernel;
	if (status == CLI_OK)
		status = r.foreground ? serve(&r) : in_background(&r);
	free(r.kernel);
	return status;
}

#endif
