/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mover's loop. Descriptors are registered edge triggered, once. A hot path is polled by its turns and goes cold
 * after spin_now_ns without any work; `arm` closes the gap between its last look and epoll.
 *
 * The descriptors are shared with hostile peers (ring) who may keep them open after we closed ours, and epoll watches
 * open files, not descriptors. So every descriptor is taken out of epoll by hand before it's closed, or a dead path's
 * events would come back to freed memory.
 */
#include "fabric/mover.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/types.h"
#include "base/relax.h"

#define EVENTS_MAX      64
#define HOT_POLLED_MAX  8  /* more busy paths than this are not polled while idle: epoll is cheaper */
#define EPOLL_EVERY     32 /* rounds of polling between two looks at epoll */
#define SPIN_LEAST_PART 16 /* adaptive spinning goes down to this part of spin_ns */
#define SPIN_DEFAULT_NS 50000
#define SPIN_BYTES_MOST 1000000u /* after a burst: a nanosecond longer for each of its bytes, up to this */

void mover_init(struct mover *m, const char *name, uint64_t spin_ns)
{
	*m = (struct mover){.name = name, .spin_ns = spin_ns ? spin_ns : SPIN_DEFAULT_NS, .epfd = -1, .wakefd = -1};
	m->spin_now_ns = m->spin_ns;
	lock_init(&m->lock, RANK_FABRIC);
	cond_init(&m->left);
	LIST_INIT(&m->hot);
	LIST_INIT(&m->leaving);
}

/* --- hot and cold --- */

static void path_heat(struct mover *m, struct fabric_path *p, uint64_t now)
{
	p->busy_ns = now;
	if (p->hot)
		return;
	p->hot = true;
	p->idle = false;
	p->burst = 0;
	LIST_INSERT_HEAD(&m->hot, p, hot_link);
	m->hot_count++;
}

static void path_cool(struct mover *m, struct fabric_path *p)
{
	if (!p->hot)
		return;
	p->hot = false;
	LIST_REMOVE(p, hot_link);
	m->hot_count--;
}

static void path_unwatch(struct mover *m, struct fabric_path *p)
{
	for (unsigned i = 0; i < PATH_FDS; i++) {
		if (p->fds[i] >= 0)
			epoll_ctl(m->epfd, EPOLL_CTL_DEL, p->fds[i], NULL);
	}
}

static void path_end(struct mover *m, struct fabric_path *p)
{
	if (!atomic_exchange_explicit(&p->alive, false, memory_order_acq_rel))
		return;
	path_cool(m, p);
	path_unwatch(m, p);
	p->ops->hangup(p);
}

static void path_turn(struct mover *m, struct fabric_path *p, uint64_t now)
{
	uint64_t before = p->moved, spin_ns = 0;

	/* The peer needs time for what it got before it asks for more. */
	if (m->hot_count <= HOT_POLLED_MAX)
		spin_ns = m->spin_now_ns + min_u64(p->burst, SPIN_BYTES_MOST);
	switch (p->ops->turn(p)) {
	case TURN_MOVED:
		p->burst = p->moved - before + (p->idle ? 0 : p->burst);
		/* It came while this thread span: that's worth it. */
		if (p->idle)
			m->spin_now_ns = m->spin_ns;
		p->idle = false;
		p->busy_ns = now;
		m->busy_ns = now;
		return;
	case TURN_PARKED:
		m->busy_ns = now;
		path_cool(m, p);
		return;
	case TURN_IDLE:
		p->idle = true;
		if (now - p->busy_ns < spin_ns)
			return;
		if (!p->ops->arm(p)) {
			p->busy_ns = now;
			return;
		}
		path_cool(m, p);
		m->spin_now_ns = max_u64(m->spin_now_ns / 2, m->spin_ns / SPIN_LEAST_PART);
		return;
	case TURN_END:
		path_end(m, p);
		return;
	}
}

/* --- the loop --- */

static void mover_let_go(struct mover *m)
{
	lock_take(&m->lock);
	atomic_store_explicit(&m->knocked, false, memory_order_relaxed);
	while (!LIST_EMPTY(&m->leaving)) {
		struct fabric_path *p = LIST_FIRST(&m->leaving);

		LIST_REMOVE(p, leaving_link);
		path_end(m, p);
		p->detached = true;
	}
	cond_wake_all(&m->left);
	lock_drop(&m->lock);
}

static void wake_drain(struct mover *m)
{
	uint64_t n;

	/* The count is of no interest; EAGAIN is fine. */
	if (read(m->wakefd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_error("fabric", "%s mover: its wake-up descriptor fails with %d", m->name, errno);
}

static void mover_events(struct mover *m, bool sleep)
{
	struct epoll_event ev[EVENTS_MAX];
	uint64_t before = sleep ? clock_now_ns() : 0, now;
	int n = epoll_wait(m->epfd, ev, EVENTS_MAX, sleep ? -1 : 0);

	if (n <= 0)
		return;
	now = clock_now_ns();
	/* Had it span a little longer it would have seen this: spin longer again. */
	if (sleep && now - before < m->spin_ns)
		m->spin_now_ns = m->spin_ns;
	for (int i = 0; i < n; i++) {
		struct fabric_path *p = ev[i].data.ptr;

		if (!p)
			wake_drain(m);
		else if (!atomic_load_explicit(&p->alive, memory_order_relaxed))
			continue;
		else if (p->ops->event(p, ev[i].events))
			path_heat(m, p, now);
		else
			path_end(m, p);
	}
}

static void *mover_run(void *arg)
{
	struct mover *m = arg;
	unsigned round = 0;

	for (;;) {
		struct fabric_path *p, *next;
		uint64_t now = clock_now_ns();

		if (atomic_load_explicit(&m->knocked, memory_order_acquire)) {
			mover_let_go(m);
			if (atomic_load_explicit(&m->stop, memory_order_relaxed))
				return NULL;
		}
		for (p = LIST_FIRST(&m->hot); p; p = next) {
			next = LIST_NEXT(p, hot_link);
			path_turn(m, p, now);
		}
		if (LIST_EMPTY(&m->hot))
			mover_events(m, now - m->busy_ns >= m->spin_now_ns);
		else if (++round % EPOLL_EVERY == 0)
			mover_events(m, false);
		else
			spin_relax(now - m->busy_ns);
	}
}

/* --- for other threads --- */

static void mover_knock(struct mover *m)
{
	uint64_t one = 1;

	lock_assert_held(RANK_FABRIC);
	atomic_store_explicit(&m->knocked, true, memory_order_release);
	if (write(m->wakefd, &one, sizeof(one)) != sizeof(one))
		log_error("fabric", "%s mover: cannot be woken, error %d", m->name, errno);
}

int mover_start(struct mover *m)
{
	struct epoll_event ev = {.events = EPOLLIN};
	sigset_t all, before;
	int err;

	if (m->started)
		return 0;
	m->epfd = epoll_create1(EPOLL_CLOEXEC);
	m->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->epfd < 0 || m->wakefd < 0 || epoll_ctl(m->epfd, EPOLL_CTL_ADD, m->wakefd, &ev) < 0) {
		err = -errno;
		goto undo;
	}
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&m->thread, NULL, mover_run, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		goto undo;
	pthread_setname_np(m->thread, m->name);
	m->started = true;
	return 0;
undo:
	close(m->epfd);
	close(m->wakefd);
	return fail(err, "fabric: the %s mover cannot start", m->name);
}

void mover_fini(struct mover *m)
{
	if (m->started) {
		lock_take(&m->lock);
		atomic_store_explicit(&m->stop, true, memory_order_relaxed);
		mover_knock(m);
		lock_drop(&m->lock);
		pthread_join(m->thread, NULL);
		close(m->epfd);
		close(m->wakefd);
	}
	cond_destroy(&m->left);
	lock_destroy(&m->lock);
}

int mover_attach(struct mover *m, struct fabric_path *p)
{
	p->mover = m;
	atomic_store_explicit(&p->alive, true, memory_order_release);
	for (unsigned i = 0; i < PATH_FDS; i++) {
		struct epoll_event ev = {.events = p->events[i], .data.ptr = p};
		int err;

		if (p->fds[i] < 0 || epoll_ctl(m->epfd, EPOLL_CTL_ADD, p->fds[i], &ev) == 0)
			continue;
		err = -errno;
		mover_detach(p);
		return fail(err, "fabric: the %s mover cannot watch another data path", m->name);
	}
	return 0;
}

void mover_detach(struct fabric_path *p)
{
	struct mover *m = p->mover;

	lock_take(&m->lock);
	LIST_INSERT_HEAD(&m->leaving, p, leaving_link);
	mover_knock(m);
	while (!p->detached)
		cond_wait(&m->left, &m->lock);
	lock_drop(&m->lock);
}

void mover_watch(struct fabric_path *p, unsigned which, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = p};

	if (p->events[which] == events)
		return;
	p->events[which] = events;
	if (epoll_ctl(p->mover->epfd, EPOLL_CTL_MOD, p->fds[which], &ev) < 0)
		log_error("fabric", "%s mover: epoll refuses a change, error %d", p->mover->name, errno);
}
