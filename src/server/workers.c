/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads for requests that may wait. A queue in order of arrival; a thread is made when a job finds nobody idle, up to
 * a limit, and goes after some idle time. One session has at most `limit` jobs here at once, the rest waits in the
 * session, so that a session whose requests all wait for breaks does not take every thread (L19). Nor do many sessions
 * of one user: half of the threads are for whoever comes first, of the other half a user gets an eighth of all, so that
 * a user who has filled the first half leaves room for others. What is above waits in the user's share, and shares are
 * served in turn.
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

/* Of one uid that has limited jobs here. */
struct share {
	struct share *chain;
	struct share *next; /* in turn; while jobs wait */
	uint32_t uid;
	unsigned placed;          /* jobs queued or running */
	struct job *head, **tail; /* waiting */
};

#define SHARE_CHAINS 256u

struct workers {
	struct lock lock; /* SESSION */
	struct cond work; /* a job, or stopping */
	struct cond left; /* a thread ended */
	struct job *head, **tail;
	unsigned threads, idle, threads_max;
	unsigned queued;
	unsigned placed; /* limited jobs queued or running */
	struct share *shares[SHARE_CHAINS];
	struct share *turn, **turn_tail;
	bool stopping;
};

static void queue_add(struct workers *w, struct job *job)
{
	job->next = NULL;
	*w->tail = job;
	w->tail = &job->next;
	w->queued++;
}

static int thread_add(struct workers *w);

static struct job *queue_take(struct workers *w)
{
	struct job *job = w->head;

	w->head = job->next;
	if (!w->head)
		w->tail = &w->head;
	w->queued--;
	return job;
}

/* --- shares of users ------------------------------------------------------------------------------------------------
 */

static struct share **share_chain(struct workers *w, uint32_t uid)
{
	return &w->shares[(uid * 2654435761u) >> 24];
}

/* Makes it when there is none. NULL: no memory, then nobody is counted. */
static struct share *share_get(struct workers *w, uint32_t uid)
{
	struct share **chain = share_chain(w, uid);
	struct share *u = *chain;

	while (u && u->uid != uid)
		u = u->chain;
	if (u)
		return u;
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->uid = uid;
	u->tail = &u->head;
	u->chain = *chain;
	*chain = u;
	return u;
}

static void share_put(struct workers *w, struct share *u)
{
	struct share **at = share_chain(w, u->uid);

	if (u->placed || u->head)
		return;
	while (*at != u)
		at = &(*at)->chain;
	*at = u->chain;
	free(u);
}

static bool may_place(const struct workers *w, const struct share *u)
{
	return w->placed < w->threads_max / 2 || u->placed < max_u64(w->threads_max / 8, 1);
}

static void place(struct workers *w, struct share *u, struct job *job)
{
	if (u) {
		u->placed++;
		w->placed++;
	}
	job->share = u;
	queue_add(w, job);
}

static void turn_add(struct workers *w, struct share *u)
{
	u->next = NULL;
	*w->turn_tail = u;
	w->turn_tail = &u->next;
}

static struct share *turn_take(struct workers *w)
{
	struct share *u = w->turn;

	w->turn = u->next;
	if (!w->turn)
		w->turn_tail = &w->turn;
	return u;
}

/* u NULL: nobody is counted. */
static bool must_wait(const struct workers *w, const struct share *u)
{
	return u && (u->head || !may_place(w, u));
}

/* To the queue, or behind the others of its user. */
static void place_or_wait(struct workers *w, struct share *u, struct job *job)
{
	if (!must_wait(w, u)) {
		place(w, u, job);
		return;
	}
	if (!u->head)
		turn_add(w, u);
	job->next = NULL;
	*u->tail = job;
	u->tail = &job->next;
}

/* There is room for one more of somebody: every user who waits is looked at once. */
static void shares_next(struct workers *w)
{
	struct share *last = NULL;

	for (struct share *u = w->turn; u; u = u->next)
		last = u;
	for (bool more = last != NULL; more;) {
		struct share *u = turn_take(w);
		struct job *job = u->head;

		more = u != last;
		if (may_place(w, u)) {
			u->head = job->next;
			if (!u->head)
				u->tail = &u->head;
			place(w, u, job);
		}
		if (u->head)
			turn_add(w, u);
	}
}

/* A limited job is done: its session's next one, if any, may join, and whoever waited for his share. */
static void job_done(struct workers *w, struct session *s, struct share *u)
{
	struct job *next = s->waiting_head;

	if (u) {
		u->placed--;
		w->placed--;
	}
	s->running--;
	if (next) {
		s->waiting_head = next->next;
		if (!s->waiting_head)
			s->waiting_tail = &s->waiting_head;
		s->running++;
		place_or_wait(w, share_get(w, s->cred.uid), next);
	}
	shares_next(w);
	if (u)
		share_put(w, u);
}

static void worker_run(struct workers *w, struct job *job)
{
	struct session *s = job->limited ? job->session : NULL;
	struct share *u = job->share; /* running the job frees it */

	if (s)
		session_get(s);
	lock_drop(&w->lock);
	job->run(job);
	lock_take(&w->lock);
	if (!s)
		return;
	job_done(w, s, u);
	/* This thread takes one of what was placed; the rest needs others. */
	if (w->queued > w->idle + 1 && w->threads < w->threads_max)
		(void)thread_add(w);
	if (w->queued > 1)
		cond_wake_all(&w->work);
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
	w->turn_tail = &w->turn;
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
	struct share *u;
	int err = 0;

	job->limited = limit != 0;
	job->share = NULL;
	job->next = NULL;
	lock_take(&w->lock);
	if (limit && s->running >= limit) {
		*s->waiting_tail = job;
		s->waiting_tail = &job->next;
		lock_drop(&w->lock);
		return 0;
	}
	u = limit ? share_get(w, s->cred.uid) : NULL;
	if (!must_wait(w, u) && w->idle <= w->queued && w->threads < w->threads_max)
		err = thread_add(w);
	if (w->threads) {
		err = 0;
		/* Under this lock only: the lane has another, and jobs without a limit. */
		if (job->limited)
			s->running++;
		place_or_wait(w, u, job);
		/* One job, one thread: waking them all would cost more than most jobs. */
		pthread_cond_signal(&w->work.cond);
	} else if (u) {
		share_put(w, u);
	}
	lock_drop(&w->lock);
	return err ? -ENOMEM : 0;
}
