/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conformance: how much of a delay the machine explains.
 *
 * L7 promises D and 10 ms of work. On a busy machine a thread that could work waits for a processor first, and no
 * filesystem can help that. The kernel counts those waits for every thread (/proc/PID/task/TID/schedstat, the second
 * number), so they can be taken off exactly: what is left is work, sleep and waiting for each other, and that is what
 * the rule is about. Counted are the threads of this process and of the server; each of them may be a link of the chain
 * from the deadline's timer to the return of the call.
 *
 * What the kernel does not count as waiting, a virtual machine that itself is not run, shows as the lateness of a plain
 * timer. It is taken off twice: the deadline's timer is one, and whoever is woken at the end may meet another.
 *
 * A kernel that does not count, or a server whose process is not known (TCP, somebody's): then the plain timer is all
 * there is, and is multiplied.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SLEEP_NS (2 * NS_PER_MS)
#define WORK_NS  (200 * NS_PER_US)

/* false: the kernel does not say. */
static bool queued_of(pid_t pid, pid_t tid, uint64_t *ns)
{
	char path[64], text[96];
	unsigned long long ran, waited;
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (n <= 0)
		return false;
	text[n] = '\0';
	if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
		return false;
	*ns = waited;
	return true;
}

/* Adds the threads of one process; returns how many there are now. */
static unsigned look_at(pid_t pid, pid_t except, struct cf_queued *out, unsigned count)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (d == NULL)
		return count;
	for (e = readdir(d); e != NULL && count < CF_LATE_THREADS; e = readdir(d)) {
		pid_t tid = (pid_t)atoi(e->d_name);

		if (tid > 0 && tid != except && queued_of(pid, tid, &out[count].ns))
			out[count++].tid = tid;
	}
	closedir(d);
	return count;
}

static unsigned look(const struct cf_late *l, struct cf_queued *out)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ARRAY_LEN(l->pid); i++) {
		if (l->pid[i] > 0)
			count = look_at(l->pid[i], l->self, out, count);
	}
	return count;
}

static uint64_t cpu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Sleeps, then works a little, as whoever finishes a break does: a thread that only sleeps is served best of all. */
static void *timer_thread(void *arg)
{
	struct cf_late *l = arg;

	atomic_store(&l->self, (pid_t)syscall(SYS_gettid));
	while (!atomic_load(&l->stop)) {
		uint64_t want = clock_now_ns() + SLEEP_NS + WORK_NS, cpu, now, worst;

		cf_sleep(SLEEP_NS);
		cpu = cpu_now_ns();
		while (cpu_now_ns() - cpu < WORK_NS)
			;
		now = clock_now_ns();
		worst = atomic_load(&l->worst_ns);
		while (now > want && now - want > worst &&
		       !atomic_compare_exchange_weak(&l->worst_ns, &worst, now - want))
			;
	}
	return NULL;
}

/* The process behind a unix socket; 0: nobody can say. */
static pid_t server_of(struct cf *c)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	int fd;

	if (c->local != NULL || c->config->server > 0)
		return c->local != NULL ? 0 : c->config->server;
	if (c->config->way != CF_UNIX)
		return 0;
	fd = cf_wire_connect(c, CF_END_STREAM);
	if (fd < 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		peer.pid = 0;
	close(fd);
	return peer.pid;
}

void cf_late_begin(struct cf *c, struct cf_late *l)
{
	uint64_t ns;

	memset(l, 0, sizeof(*l));
	l->pid[0] = getpid();
	l->pid[1] = server_of(c);
	l->exact = queued_of(l->pid[0], (pid_t)syscall(SYS_gettid), &ns) &&
		   (c->local != NULL || (l->pid[1] > 0 && queued_of(l->pid[1], l->pid[1], &ns)));
	NEED(c, pthread_create(&l->thread, NULL, timer_thread, l) == 0, "no thread");
	while (atomic_load(&l->self) == 0)
		cf_sleep(NS_PER_MS);
	cf_late_mark(l);
}

void cf_late_mark(struct cf_late *l)
{
	l->count = l->exact ? look(l, l->before) : 0;
	atomic_store(&l->worst_ns, 0);
}

static uint64_t queued_since(const struct cf_late *l)
{
	static struct cf_queued now[CF_LATE_THREADS];
	unsigned count = look(l, now);
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		unsigned k = 0;

		/* The same order, nearly always. */
		while (k < l->count && l->before[(i + k) % l->count].tid != now[i].tid)
			k++;
		sum += now[i].ns - (k < l->count ? l->before[(i + k) % l->count].ns : 0);
	}
	return sum;
}

uint64_t cf_late_take(struct cf_late *l, uint64_t *timer_ns)
{
	uint64_t timer = atomic_exchange(&l->worst_ns, 0);

	if (timer_ns != NULL)
		*timer_ns = timer;
	if (l->exact)
		return queued_since(l) + 2 * timer;
	/* A timer, a worker, a reader and the caller, each as late as the plain timer. On a machine that is busy they
	 * wait in several queues, behind each other's work too. */
	return timer < CF_BUSY ? 4 * timer : 20 * timer + 10 * CF_BUSY;
}

void cf_late_end(struct cf_late *l)
{
	atomic_store(&l->stop, true);
	pthread_join(l->thread, NULL);
}
