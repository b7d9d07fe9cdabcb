/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads for requests that may wait. A queue in order of arrival; a thread is made when a job finds nobody idle, up to
 * a limit, and goes after some idle time. One session has at most `limit` jobs here at once, the rest waits in the
 * session, so that a session whose requests all wait for breaks does not take every thread (L19).
 *
 * Whoever waits here waits for leases, and leases are given back outside of here: so a full house always empties.
 */
#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"

#define WORKER_STACK   (1u << 20)
#define WORKER_IDLE_NS (10 * NS_PER_SEC)

struct workers {
	struct lock lock; /* SESSION */
	struct cond work; /* a job, or stopping */
	struct cond left; /* a thread ended */
	struct job *head, **tail;
	unsigned threads, idle, threads_max;
	unsigned queued;
	bool stopping;
};

static void queue_add(struct workers *w, struct job *job)
{
	job->next = NULL;
	*w->tail = job;
	w->tail = &job->next;
	w->queued++;
}

static struct job *queue_take(struct workers *w)
{
	struct job *job = w->head;

	w->head = job->next;
	if (!w->head)
		w->tail = &w->head;
	w->queued--;
	return job;
}

/* The session has one job less here: its next one, if any, joins the queue. */
static void session_next(struct workers *w, struct session *s)
{
	struct job *next = s->waiting_head;

	s->running--;
	if (!next)
		return;
	s->waiting_head = next->next;
	if (!s->waiting_head)
		s->waiting_tail = &s->waiting_head;
	s->running++;
	queue_add(w, next);
}

static void worker_run(struct workers *w, struct job *job)
{
	struct session *s = job->limited ? job->session : NULL;

	if (s)
		session_get(s);
	lock_drop(&w->lock);
	job->run(job);
	lock_take(&w->lock);
	if (!s)
		return;
	session_next(w, s);
	lock_drop(&w->lock);
	session_put(s);
	lock_take(&w->lock);
}

static void *worker_main(void *arg)
{
	struct workers *w = arg;
	int err = 0;

	lock_take(&w->lock);
	while (err == 0 || w->head) {
		if (w->head) {
			worker_run(w, queue_take(w));
			continue;
		}
		if (w->stopping)
			break;
		w->idle++;
		err = cond_wait_until(&w->work, &w->lock, clock_now_ns() + WORKER_IDLE_NS);
		w->idle--;
	}
	w->threads--;
	cond_wake_all(&w->left);
	lock_drop(&w->lock);
	return NULL;
}

/* Caller holds the lock. Signals are for the program's own threads. */
static int thread_add(struct workers *w)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (!err)
		w->threads++;
	return -err;
}

int workers_new(unsigned threads_max, struct workers **out)
{
	struct workers *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	lock_init(&w->lock, RANK_SESSION);
	cond_init(&w->work);
	cond_init(&w->left);
	w->tail = &w->head;
	w->threads_max = threads_max;
	*out = w;
	return 0;
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	lock_take(&w->lock);
	w->stopping = true;
	cond_wake_all(&w->work);
	while (w->threads)
		cond_wait(&w->left, &w->lock);
	lock_drop(&w->lock);
	cond_destroy(&w->work);
	cond_destroy(&w->left);
	lock_destroy(&w->lock);
	free(w);
}

int workers_submit(struct workers *w, struct job *job, unsigned limit)
{
	struct session *s = job->session;
	int err = 0;

	job->limited = limit != 0;
	job->next = NULL;
	lock_take(&w->lock);
	if (limit && s->running >= limit) {
		*s->waiting_tail = job;
		s->waiting_tail = &job->next;
		lock_drop(&w->lock);
		return 0;
	}
	if (w->idle <= w->queued && w->threads < w->threads_max)
		err = thread_add(w);
	if (w->threads) {
		err = 0;
		if (limit)
			s->running++;
		queue_add(w, job);
		/* One job, one thread: waking them all would cost more than most jobs. */
		pthread_cond_signal(&w->work.cond);
	}
	lock_drop(&w->lock);
	return err ? -ENOMEM : 0;
}
