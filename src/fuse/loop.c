/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that take requests from the kernel and answer them.
 *
 * Each has a descriptor of its own (FUSE_DEV_IOC_CLONE), so that answers do not meet at one lock of the kernel's; an
 * answer must go out where its request came in, and does, because a request stays in its thread. When the last idle
 * thread takes a request another one is made: calls may wait for others' leases as long as their deadlines are, and
 * must not keep the rest waiting.
 *
 * libfuse is given our read and write, which see every message first: what it does not know is answered there (raw.c).
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

#define DEVICE_CLONE                                                                                                   \
	_IOR(229, 0, uint32_t) /* FUSE_DEV_IOC_CLONE of <linux/fuse.h>, which does not go with libfuse's               \
				*/
#define THREADS_FIRST 4u
#define THREADS_MAX   256u
#define WAKE_SIGNAL   SIGUSR1
#define WAKE_EVERY_NS (10 * NS_PER_MS)

struct thread {
	struct loop *loop;
	pthread_t id;
	bool made, over;
};

struct loop {
	struct mount *m;
	struct lock lock;
	struct cond changed;
	unsigned count, max, running;
	atomic_uint idle;
	int error;
	struct thread threads[THREADS_MAX];
};

/* The descriptor of this thread; -1: the mount's own (notices, from threads that are not ours). */
static _Thread_local int my_fd = -1;

static ssize_t device_read(int fd, void *buf, size_t len, void *userdata)
{
	int from = my_fd >= 0 ? my_fd : fd;
	ssize_t n;

	do
		n = read(from, buf, len);
	while (n > 0 && raw_request(userdata, from, buf, (size_t)n));
	return n;
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	return writev(my_fd >= 0 ? my_fd : fd, iov, count);
}

static int device_clone(int fd)
{
	uint32_t master = (uint32_t)fd;
	int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (clone >= 0 && ioctl(clone, DEVICE_CLONE, &master) != 0) {
		close(clone);
		clone = -1;
	}
	return clone;
}

static void thread_start(struct loop *l);

static void *serve(void *arg)
{
	struct thread *t = arg;
	struct loop *l = t->loop;
	struct fuse_session *se = l->m->se;
	struct fuse_buf buf = {0};
	int n = 0;

	my_fd = device_clone(fuse_session_fd(se));
	while (!fuse_session_exited(se)) {
		atomic_fetch_add(&l->idle, 1);
		n = fuse_session_receive_buf(se, &buf);
		if (atomic_fetch_sub(&l->idle, 1) == 1 && n > 0)
			thread_start(l);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(se, &buf);
	}
	/* 0, or the connection is gone: unmounted. */
	fuse_session_exit(se);
	free(buf.mem);
	if (my_fd >= 0)
		close(my_fd);
	lock_take(&l->lock);
	if (n < 0 && n != -EINTR && n != -EAGAIN && n != -ENODEV && !l->error)
		l->error = n;
	t->over = true;
	l->running--;
	cond_wake_all(&l->changed);
	lock_drop(&l->lock);
	return NULL;
}

static void thread_start(struct loop *l)
{
	struct thread *t;

	lock_take(&l->lock);
	if (l->count < l->max && !fuse_session_exited(l->m->se)) {
		t = &l->threads[l->count];
		t->loop = l;
		if (pthread_create(&t->id, NULL, serve, t) == 0) {
			t->made = true;
			l->count++;
			l->running++;
		}
	}
	lock_drop(&l->lock);
}

static void on_wake(int sig)
{
}

/* Threads that sleep in read(2) find out by a signal; one that comes just before is sent again. */
static void wake_all(struct loop *l)
{
	for (unsigned k = 0; k < l->count; k++) {
		if (!l->threads[k].over)
			(void)pthread_kill(l->threads[k].id, WAKE_SIGNAL);
	}
}

static void wait_for_end(struct loop *l)
{
	lock_take(&l->lock);
	while (l->running) {
		if (fuse_session_exited(l->m->se)) {
			wake_all(l);
			(void)cond_wait_until(&l->changed, &l->lock, clock_now_ns() + WAKE_EVERY_NS);
		} else {
			cond_wait(&l->changed, &l->lock);
		}
	}
	lock_drop(&l->lock);
	for (unsigned k = 0; k < l->count; k++)
		pthread_join(l->threads[k].id, NULL);
}

int mount_loop_prepare(struct mount *m)
{
	static const struct fuse_custom_io io = {.read = device_read, .writev = device_writev};
	struct sigaction sa = {.sa_handler = on_wake};
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->m = m;
	l->max = m->opt->threads ? (unsigned)min_u64(m->opt->threads, THREADS_MAX) : THREADS_MAX;
	lock_init_keyed(&l->lock, RANK_MOUNT, LOCK_LAST);
	cond_init(&l->changed);
	m->loop = l;
	sigaction(WAKE_SIGNAL, &sa, NULL);
	return fuse_session_custom_io(m->se, &io, fuse_session_fd(m->se));
}

void mount_loop_end(struct mount *m)
{
	struct loop *l = m->loop;

	fuse_session_exit(m->se);
	lock_take(&l->lock);
	cond_wake_all(&l->changed);
	lock_drop(&l->lock);
}

int mount_loop(struct mount *m)
{
	struct loop *l = m->loop;

	for (unsigned k = 0; k < THREADS_FIRST && k < l->max; k++)
		thread_start(l);
	if (!l->count)
		return fail(-EAGAIN, "cannot start a thread");
	wait_for_end(l);
	return l->error;
}

void mount_loop_free(struct mount *m)
{
	if (!m->loop)
		return;
	cond_destroy(&m->loop->changed);
	lock_destroy(&m->loop->lock);
	free(m->loop);
	m->loop = NULL;
}
