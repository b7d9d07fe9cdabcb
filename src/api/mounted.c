/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Direct access from a mount: from a descriptor or path there to the same file in a session with the server behind it.
 *
 * The file is opened by its inode number, which the mount shows as st_ino: so it is the right one whatever happens to
 * names meanwhile, and one without a name is found too. Servers that cannot open by number are asked by path; then what
 * was opened must have the number, and is looked for again when a rename came between.
 *
 * Sessions are shared by the files of one process that name the same address with the same options, counted, and end
 * with the last. `sessions` guards the list and the counts, is held for no call, and is taken over a fork(): the child
 * starts with no sessions, because two processes cannot speak on one connection; what it inherited is dead there.
 */
#include "api/mounted.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/caller.h"
#include "base/cleanup.h"

#define NAME_TRIES   6u    /* by path: renames that come between */
#define NAME_WAIT_US 1000u /* before the second try; doubles */

struct mounted_session {
	struct mounted_session *next;
	char address[MOUNTED_ADDRESS_MAX];
	struct lh_open_options opt;
	pid_t pid;
	unsigned users; /* files, and calls that are about to open one */
	bool listed;
	struct lh_fs *fs; /* NULL while its opener connects, and when that failed with err */
	int err;
	uint8_t uuid[16];
};

static pthread_mutex_t sessions = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct mounted_session *list;

static void before_fork(void)
{
	pthread_mutex_lock(&sessions);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&sessions);
}

static void in_child(void)
{
	static const pthread_cond_t fresh = PTHREAD_COND_INITIALIZER;

	list = NULL;
	opened = fresh; /* who waited is not here */
	pthread_mutex_unlock(&sessions);
}

static void start(void)
{
	(void)pthread_atfork(before_fork, in_parent, in_child);
}

/* --- sessions --- */

static bool same_options(const struct lh_open_options *a, const struct lh_open_options *b)
{
	return a->read_only == b->read_only && a->fabric == b->fabric && a->deadline_ns == b->deadline_ns &&
	       a->deadline_max_ns == b->deadline_max_ns && a->spin_ns == b->spin_ns &&
	       a->connect_timeout_ns == b->connect_timeout_ns && a->ring_bytes == b->ring_bytes &&
	       a->exclusive_max_ns == b->exclusive_max_ns && a->orphan_limit_ns == b->orphan_limit_ns &&
	       a->grace_ns == b->grace_ns && a->no_resume == b->no_resume && a->no_cache == b->no_cache;
}

/* Caller holds `sessions`. */
static struct mounted_session *session_find(const char *address, const struct lh_open_options *opt)
{
	struct mounted_session *s = list;

	while (s && (strcmp(s->address, address) != 0 || !same_options(&s->opt, opt)))
		s = s->next;
	return s;
}

/* Caller holds `sessions`. Nobody finds it any more; who has it keeps it. */
static void session_unlist(struct mounted_session *s)
{
	struct mounted_session **at = &list;

	if (!s->listed)
		return;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->listed = false;
}

/* The lock is the caller's and is dropped while it connects. */
static int session_open(const char *address, const struct lh_open_options *opt, struct mounted_session **out)
{
	struct mounted_session *s = calloc(1, sizeof(*s));
	struct lh_statfs st = {.size = sizeof(st)};
	struct lh_fs *fs = NULL;
	int err;

	if (!s)
		return -ENOMEM;
	strcpy(s->address, address);
	s->opt = *opt;
	s->opt.size = sizeof(s->opt);
	s->pid = getpid();
	s->users = 1;
	s->listed = true;
	s->next = list;
	list = s;
	pthread_mutex_unlock(&sessions);
	err = lh_fs_open(address, &s->opt, &fs);
	if (!err) {
		err = lh_fs_stat(fs, &st);
		if (err)
			(void)fs_be(fs)->fs_close(fs); /* its sentence is not the one to keep, but nor is it likely */
	}
	pthread_mutex_lock(&sessions);
	memcpy(s->uuid, st.uuid, sizeof(s->uuid));
	s->fs = err ? NULL : fs;
	s->err = err;
	if (err)
		session_unlist(s);
	pthread_cond_broadcast(&opened);
	*out = s;
	return 0;
}

/* One more user of a session that is open. */
static int session_get(const char *address, const struct lh_open_options *opt, struct mounted_session **out,
		       bool *shared)
{
	struct mounted_session *s;
	int err = 0;

	pthread_once(&once, start);
	pthread_mutex_lock(&sessions);
	s = session_find(address, opt);
	*shared = s != NULL;
	if (!s) {
		err = session_open(address, opt, &s);
	} else {
		s->users++;
		while (!s->fs && !s->err)
			pthread_cond_wait(&opened, &sessions);
	}
	if (!err)
		err = s->err;
	pthread_mutex_unlock(&sessions);
	if (!err) {
		*out = s;
		return 0;
	}
	if (*shared)
		(void)fail(err, "%s: %s", address, strerror(-err)); /* the sentence is in the thread that tried */
	return s ? mounted_drop(s, err) : err;
}

/* It does not work any more: the next one who asks gets another. */
static void session_retire(struct mounted_session *s)
{
	pthread_mutex_lock(&sessions);
	session_unlist(s);
	pthread_mutex_unlock(&sessions);
}

bool mounted_is_ours(const struct mounted_session *s)
{
	return s->pid == getpid();
}

int mounted_drop(struct mounted_session *s, int err)
{
	char text[LH_ERROR_TEXT_MAX];
	int closing = 0;
	bool last;

	pthread_mutex_lock(&sessions);
	last = --s->users == 0;
	if (last)
		session_unlist(s);
	pthread_mutex_unlock(&sessions);
	if (!last)
		return err;
	snprintf(text, sizeof(text), "%s", fail_text());
	if (s->fs)
		closing = (int)api_result(fs_be(s->fs)->fs_close(s->fs), "lh_file_close", s->address);
	free(s);
	return err ? fail(err, "%s", text) : closing;
}

/* --- from a descriptor to the file --- */

/* The file that was found is the one that was meant; otherwise it is closed, and 1. */
static int is_it(struct lh_file **file, uint64_t ino)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = lh_file_stat(*file, &st);

	if (!err && st.ino == ino)
		return 0;
	(void)file_be(*file)->file_close(*file);
	*file = NULL;
	return err ? err : 1;
}

static int open_by_number(struct lh_fs *fs, uint64_t ino, int flags, struct lh_file **out)
{
	struct lh_caller who = {.size = sizeof(who), .at = {ino}};
	struct lh_caller *before = thread_caller;
	int err;

	thread_caller = &who;
	err = lh_file_open(fs, "", flags, 0, out);
	thread_caller = before;
	return err ? err : is_it(out, ino);
}

static int open_by_path(struct lh_fs *fs, int fd, uint64_t ino, int flags, struct lh_file **out)
{
	char path[MOUNTED_PATH_MAX] = "";
	useconds_t wait = NAME_WAIT_US;
	int err = 1;

	for (unsigned i = 0; i < NAME_TRIES; i++, wait *= 2) {
		if (i > 0)
			usleep(wait);
		err = mounted_path(fd, path, sizeof(path));
		if (!err)
			err = lh_file_open(fs, path, flags, 0, out);
		if (!err)
			err = is_it(out, ino);
		if (err != 1 && err != -ENOENT)
			return err;
	}
	return fail(-ENOENT, "the file has no name any more, or gets new ones all the time (last seen as %s)", path);
}

static int open_there(struct lh_fs *fs, int fd, int flags, struct lh_file **out)
{
	struct lh_caller *before = thread_caller;
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return fail(-errno, "fstat: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL, "only regular files have direct access");
	err = open_by_number(fs, st.st_ino, flags, out);
	if (err == 0 || err == -EACCES || err == -EROFS || err == -ENOTCONN || err == -ENOMEM)
		return err;
	thread_caller = NULL;
	err = open_by_path(fs, fd, st.st_ino, flags, out);
	thread_caller = before;
	return err;
}

static bool session_is_dead(int err)
{
	return err == -ENOTCONN || err == -EPROTO || err == -EPIPE || err == -ECONNRESET;
}

static int open_at(const struct mounted_place *place, int fd, int flags, const struct lh_open_options *opt,
		   struct lh_file **out)
{
	struct mounted_session *s = NULL;
	bool shared;
	int err;

	do {
		err = session_get(place->address, opt, &s, &shared);
		if (err)
			return err;
		if (place->uuid_known && memcmp(place->uuid, s->uuid, sizeof(s->uuid)) != 0)
			err = fail(-ESTALE, "%s serves another filesystem by now than the mount's", place->address);
		else
			err = open_there(s->fs, fd, flags, out);
		if (!err) {
			((struct lh_file_head *)*out)->mounted = s;
			return 0;
		}
		if (session_is_dead(err) || err == -ESTALE)
			session_retire(s);
		err = mounted_drop(s, err);
		/* A server that was restarted is there again; the others' session need not know yet. */
	} while (shared && session_is_dead(err));
	return err;
}

/* What the descriptor allows. */
static int access_of(int fd, int *flags, const char *call)
{
	int has = fcntl(fd, F_GETFL);

	if (has < 0)
		return fail(-EBADF, "%s: descriptor %d is not open", call, fd);
	if (has & O_PATH)
		return 0;
	has &= O_ACCMODE;
	if (*flags == 0)
		*flags = has;
	else if (has != O_RDWR && *flags != has)
		return fail(-EACCES, "%s: descriptor %d is open for %s only", call, fd,
			    has == O_RDONLY ? "reading" : "writing");
	return 0;
}

static int from_fd(int fd, int flags, const struct lh_open_options *opt, struct lh_file **out, const char *call)
{
	struct mounted_place place;
	struct lh_open_options o;
	int err;

	err = api_take(&o, sizeof(o), opt, "lh_open_options");
	if (!err)
		err = mounted_place(fd, &place);
	if (!err)
		err = open_at(&place, fd, flags, &o, out);
	return (int)api_result(err, call, NULL);
}

static int begin(int *flags, struct lh_file **out, const char *call)
{
	int err;

	fail_clear();
	err = api_given(out, "out", call);
	if (err)
		return err;
	*out = NULL;
	*flags &= ~O_CLOEXEC;
	if (*flags != O_RDONLY && *flags != O_WRONLY && *flags != O_RDWR)
		return fail(-EINVAL, "%s: flags %#x: O_RDONLY or O_RDWR", call, *flags);
	return 0;
}

int lh_file_from_fd(int fd, int flags, const struct lh_open_options *opt, struct lh_file **out)
{
	int err = begin(&flags, out, __func__);

	if (!err)
		err = access_of(fd, &flags, __func__);
	return err ? err : from_fd(fd, flags, opt, out, __func__);
}

int lh_file_from_path(const char *path, int flags, const struct lh_open_options *opt, struct lh_file **out)
{
	scoped_fd int fd = -1;
	int err = begin(&flags, out, __func__);

	if (!err)
		err = api_given(path, "path", __func__);
	if (err)
		return err;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return fail(-errno, "%s %s: %s", __func__, path, strerror(errno));
	return from_fd(fd, flags, opt, out, __func__);
}

/* --- names --- */

static int at_descriptor(int fd, struct lh_mounted *out)
{
	struct mounted_place place;
	int err = mounted_place(fd, &place);

	if (err)
		return err;
	strcpy(out->address, place.address);
	return mounted_path(fd, out->path, sizeof(out->path));
}

/* A name that is not there (yet): its directory is, and is asked instead. */
static int at_directory(const char *path, struct lh_mounted *out)
{
	size_t end = strlen(path), name;
	scoped_free char *dir = NULL;
	scoped_fd int fd = -1;
	size_t n;
	int err;

	while (end > 1 && path[end - 1] == '/')
		end--;
	for (name = end; name > 0 && path[name - 1] != '/';)
		name--;
	dir = name > 0 ? strndup(path, name) : strdup(".");
	if (!dir)
		return -ENOMEM;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(-errno, "%s: %s", path, strerror(errno));
	err = at_descriptor(fd, out);
	if (err)
		return err;
	n = strlen(out->path);
	if (n + 1 + end - name >= sizeof(out->path))
		return fail(-ENAMETOOLONG, "the path inside the mount is longer than %zu bytes", sizeof(out->path) - 1);
	if (n > 1)
		out->path[n++] = '/';
	memcpy(out->path + n, path + name, end - name);
	out->path[n + end - name] = '\0';
	return 0;
}

int lh_mounted_at(const char *path, struct lh_mounted *out)
{
	scoped_fd int fd = -1;
	int err;

	fail_clear();
	err = api_room(out, sizeof(*out), "lh_mounted", __func__);
	if (!err)
		err = api_given(path, "path", __func__);
	if (err)
		return err;
	out->address[0] = out->path[0] = '\0';
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd >= 0)
		err = at_descriptor(fd, out);
	else if (errno == ENOENT && path[0])
		err = at_directory(path, out);
	else
		err = fail(-errno, "%s: %s", path, strerror(errno));
	return (int)api_result(err, __func__, path);
}
