/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that take requests from the kernel and answer them.
 *
 * To wake a thread costs more than most requests take. So as few as will do are awake, of a pool in this process one:
 * it reads, serves and reads again, at first without sleeping for as long as a next request is likely (spin), then
 * asleep in read(2). The others are parked where the kernel does not wake them for every request. A request that may
 * take long says so (loop_slow), and when its thread was the last one awake another takes its place: calls may wait for
 * others' leases as long as their deadlines are, and must not keep the rest waiting. So that only those say so that do
 * wait, calls are made without waiting first (call.c). When requests queue up others join, up to the number of
 * processors.
 *
 * Each has descriptors of its own (FUSE_DEV_IOC_CLONE), so that answers do not meet at one lock of the kernel's, and
 * one of them does not block; an answer must go out where its request came in, and does, because a request stays in its
 * thread.
 *
 * libfuse is given our read and write, which see every message first: what libfuse of this version does not know is
 * answered there (raw.c).
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/relax.h"

/* FUSE_DEV_IOC_CLONE of <linux/fuse.h>, which does not go with libfuse's. */
#define DEVICE_CLONE   _IOR(229, 0, uint32_t)
#define THREADS_MAX    256u
#define READERS_REMOTE 4u /* every request waits for a server: so many read at least */
#define WAKE_SIGNAL    SIGUSR1
#define WAKE_EVERY_NS  (10 * NS_PER_MS)
#define QUEUED_ROW     8u /* requests that were there already, one after the other: somebody joins */
/* Spinning pays while it meets requests: it is given up after as many misses as there were hits, up to SPIN_CREDIT, and
 * tried again every SPIN_TRY times. */
#define SPIN_CREDIT 16u
#define SPIN_TRY    16u
/* A request and what it carries: the payload of a write, behind two headers, begins at a page. */
#define WRITE_HEAD   80u
#define BUFFER_BYTES (LH_BLOCK_SIZE + MOUNT_WRITE_MAX)

/* <linux/fuse.h>: INIT, and the opcodes whose requests take long. */
#define INIT_IN_FLAGS           52u
#define INIT_OUT_FLAGS          12u
#define INIT_PARALLEL_DIROPS    (1u << 18)
#define INIT_HANDLE_KILLPRIV_V2 (1u << 28)
enum { OP_INIT = 26 };
enum { OP_FSYNC = 20, OP_FSYNCDIR = 30, OP_FALLOCATE = 43, OP_COPY_FILE_RANGE = 47, OP_SYNCFS = 50 };

struct thread {
	SLIST_ENTRY(thread) in_parked;
	struct loop *loop;
	pthread_t id;
	bool made, over, parked, slow;
	int fd, spin_fd; /* the second does not block */
	char *buffer;
	uint32_t offered; /* the flags of INIT, while it is answered */
	unsigned credit, tries, row;
	struct cond go;
};

struct loop {
	struct mount *m;
	struct lock lock;
	struct cond changed;
	unsigned count, max, running;
	unsigned awake;   /* threads that are neither parked nor at a slow request */
	unsigned readers; /* so many are not parked, whatever there is to do */
	unsigned crowd;   /* nor do more than that join for a queue's sake */
	SLIST_HEAD(, thread) parked;
	atomic_flag spinning;
	int error;
	struct thread threads[THREADS_MAX];
};

static _Thread_local struct thread *me;
/* The descriptor of this thread; -1: the mount's own (notices, from threads that are not ours). */
static _Thread_local int my_fd = -1;

static void quick_again(struct thread *t);

static ssize_t device_read(int fd, void *buf, size_t len, void *userdata)
{
	int from = my_fd >= 0 ? my_fd : fd;
	ssize_t n;

	n = read(from, buf, len);
	while (n > 0 && raw_request(userdata, from, buf, (size_t)n)) {
		if (me)
			quick_again(me);
		n = read(from, buf, len);
	}
	return n;
}

/* What the kernel can and libfuse 3.14 does not tell it. */
static void init_answer(struct mount *m, struct iovec *iov, int count)
{
	uint32_t flags, more = INIT_PARALLEL_DIROPS;

	if (count < 2 || iov[1].iov_len < INIT_OUT_FLAGS + sizeof(flags))
		return;
	/* On a server our own question would cost as much as the kernel's. */
	if (m->acts && !m->remote)
		more |= INIT_HANDLE_KILLPRIV_V2;
	more &= me->offered;
	if (more & INIT_HANDLE_KILLPRIV_V2)
		m->drops_privileges = true; /* of a pool in the process: no other thread serves yet */
	memcpy(&flags, (char *)iov[1].iov_base + INIT_OUT_FLAGS, sizeof(flags));
	flags |= more;
	memcpy((char *)iov[1].iov_base + INIT_OUT_FLAGS, &flags, sizeof(flags));
	me->offered = 0;
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	if (me && me->offered)
		init_answer(userdata, iov, count);
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

/* --- who is awake ------------------------------------------------------------------------------------------------- */

static void *serve(void *arg);

/* Caller holds the lock. */
static void one_more(struct loop *l)
{
	struct thread *t = SLIST_FIRST(&l->parked);

	if (fuse_session_exited(l->m->se))
		return;
	if (t) {
		SLIST_REMOVE_HEAD(&l->parked, in_parked);
		t->parked = false;
		l->awake++;
		cond_wake_all(&t->go);
		return;
	}
	if (l->count == l->max)
		return;
	t = &l->threads[l->count];
	*t = (struct thread){.loop = l, .fd = -1, .spin_fd = -1, .credit = SPIN_CREDIT};
	cond_init(&t->go);
	if (pthread_create(&t->id, NULL, serve, t) != 0) {
		cond_destroy(&t->go);
		return;
	}
	t->made = true;
	l->count++;
	l->running++;
	l->awake++;
}

/* There is nothing to do: true after it has slept until it was wanted, false when somebody has to stay awake. */
static bool park(struct thread *t)
{
	struct loop *l = t->loop;
	bool slept = false;

	lock_take(&l->lock);
	if (l->awake > l->readers && !fuse_session_exited(l->m->se)) {
		l->awake--;
		t->parked = slept = true;
		SLIST_INSERT_HEAD(&l->parked, t, in_parked);
		while (t->parked)
			cond_wait(&t->go, &l->lock);
	}
	lock_drop(&l->lock);
	return slept;
}

void loop_slow(struct mount *m)
{
	struct loop *l = m->loop;

	if (!me || me->slow)
		return;
	me->slow = true;
	lock_take(&l->lock);
	l->awake--;
	if (l->awake == 0)
		one_more(l);
	lock_drop(&l->lock);
}

static void quick_again(struct thread *t)
{
	if (!t->slow)
		return;
	t->slow = false;
	lock_take(&t->loop->lock);
	t->loop->awake++;
	lock_drop(&t->loop->lock);
}

static void queue_seen(struct thread *t)
{
	struct loop *l = t->loop;

	t->row++;
	if (t->row < QUEUED_ROW)
		return;
	t->row = 0;
	lock_take(&l->lock);
	if (l->awake < l->crowd)
		one_more(l);
	lock_drop(&l->lock);
}

/* --- the next request ----------------------------------------------------------------------------------------------
 */

/* Bytes; 0: unmounted; -EINTR, -EAGAIN: none; else the device does not work. */
static int take(struct thread *t, int fd)
{
	ssize_t n;

	my_fd = fd;
	do
		n = device_read(fd, t->buffer, BUFFER_BYTES - (LH_BLOCK_SIZE - WRITE_HEAD), t->loop->m);
	while (n < 0 && errno == ENOENT); /* its program was killed before we had it */
	if (n >= 0)
		return (int)n;
	return errno == ENODEV ? 0 : -errno;
}

static bool spin_pays(struct thread *t)
{
	return t->credit || ++t->tries % SPIN_TRY == 0;
}

static int spin(struct thread *t)
{
	struct loop *l = t->loop;
	uint64_t start, spun = 0;
	int n = take(t, t->spin_fd);

	if (n != -EAGAIN) {
		queue_seen(t);
		return n;
	}
	t->row = 0;
	if (!l->m->opt->spin_ns || !spin_pays(t) ||
	    atomic_flag_test_and_set_explicit(&l->spinning, memory_order_acquire))
		return n;
	start = clock_now_ns();
	while (n == -EAGAIN && spun < l->m->opt->spin_ns) {
		spin_relax(spun);
		n = take(t, t->spin_fd);
		spun = clock_now_ns() - start;
	}
	atomic_flag_clear_explicit(&l->spinning, memory_order_release);
	if (n != -EAGAIN && t->credit < SPIN_CREDIT)
		t->credit++;
	else if (n == -EAGAIN && t->credit)
		t->credit--;
	return n;
}

static int next_request(struct thread *t)
{
	int n;

	do {
		n = t->spin_fd >= 0 ? spin(t) : -EAGAIN;
		if (n != -EAGAIN)
			return n;
	} while (park(t));
	return take(t, t->fd >= 0 ? t->fd : fuse_session_fd(t->loop->m->se));
}

/* --- a thread ------------------------------------------------------------------------------------------------------
 */

uint32_t loop_request_word(size_t at)
{
	uint32_t word;

	if (!me)
		return 0;
	memcpy(&word, me->buffer + at, sizeof(word));
	return word;
}

static bool takes_long(uint32_t opcode)
{
	return opcode == OP_FSYNC || opcode == OP_FSYNCDIR || opcode == OP_FALLOCATE || opcode == OP_COPY_FILE_RANGE ||
	       opcode == OP_SYNCFS;
}

static int serve_all(struct thread *t)
{
	struct mount *m = t->loop->m;
	uint32_t opcode;
	int n = 0;

	while (!fuse_session_exited(m->se)) {
		struct fuse_buf buf = {.mem = t->buffer};

		n = next_request(t);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		opcode = loop_request_word(sizeof(uint32_t));
		if (opcode == OP_INIT)
			t->offered = loop_request_word(INIT_IN_FLAGS);
		if (takes_long(opcode))
			loop_slow(m);
		buf.size = (size_t)n;
		fuse_session_process_buf(m->se, &buf);
		quick_again(t);
	}
	return n;
}

static void *serve(void *arg)
{
	struct thread *t = arg;
	struct loop *l = t->loop;
	char *memory = aligned_alloc(LH_BLOCK_SIZE, BUFFER_BYTES);
	int n = -ENOMEM;

	me = t;
	t->fd = device_clone(fuse_session_fd(l->m->se));
	t->spin_fd = device_clone(fuse_session_fd(l->m->se));
	if (t->spin_fd >= 0)
		(void)fcntl(t->spin_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	if (memory) {
		t->buffer = memory + LH_BLOCK_SIZE - WRITE_HEAD;
		n = serve_all(t);
	}
	/* 0, or the connection is gone: unmounted. */
	fuse_session_exit(l->m->se);
	my_fd = -1;
	if (t->fd >= 0)
		close(t->fd);
	if (t->spin_fd >= 0)
		close(t->spin_fd);
	free(memory);
	lock_take(&l->lock);
	if (n < 0 && n != -EINTR && n != -EAGAIN && !l->error)
		l->error = n;
	t->over = true;
	l->running--;
	cond_wake_all(&l->changed);
	lock_drop(&l->lock);
	return NULL;
}

static void on_wake(int sig)
{
}

/* Threads that sleep in read(2) find out by a signal; one that comes just before is sent again. */
static void wake_all(struct loop *l)
{
	struct thread *t;

	while (!SLIST_EMPTY(&l->parked)) {
		t = SLIST_FIRST(&l->parked);
		SLIST_REMOVE_HEAD(&l->parked, in_parked);
		t->parked = false;
		l->awake++;
		cond_wake_all(&t->go);
	}
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
	for (unsigned k = 0; k < l->count; k++) {
		pthread_join(l->threads[k].id, NULL);
		cond_destroy(&l->threads[k].go);
	}
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
	SLIST_INIT(&l->parked);
	l->readers = m->remote ? READERS_REMOTE : 1;
	l->crowd = (unsigned)max_u64(l->readers, (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
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

	lock_take(&l->lock);
	for (unsigned k = 0; k < l->readers; k++)
		one_more(l);
	lock_drop(&l->lock);
	if (!l->count)
		return fail(-EAGAIN, "cannot start a thread");
	read_ahead_more(m);
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
