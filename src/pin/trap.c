/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handler pushes a record that lies on its own stack to a lock-free stack and wakes a helper; the helper answers by
 * one store and a wake. Whoever takes a record sees to it that another helper is idle, as a fault may wait long (for a
 * break of somebody else's lease), and others must not wait with it.
 *
 * A child of fork() has no helpers, and no mappings (MADV_DONTFORK): there a fault at such an address is what it is.
 */
#include "pin/trap.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/error.h"

#define HELPERS_MAX 16u
#define PASSED      INT_MIN /* marks a signal that went on to the handler before ours, as in base/busguard.c */

struct trap {
	struct trap *next;
	uintptr_t at;
	bool write, bus, again;
	_Atomic uint32_t answered;
};

static const struct trap_ops *_Atomic trap_ops;
static _Atomic(struct trap *) incoming;
static _Atomic uint32_t work; /* rises with every record; helpers sleep on it */
static atomic_ullong served;
static atomic_bool forked;

static pthread_mutex_t helpers = PTHREAD_MUTEX_INITIALIZER; /* the helpers' own; never in a handler */
static struct trap *queue, **queue_end = &queue;
static unsigned helper_count, idle;
static struct sigaction previous;

static void futex_wait(_Atomic uint32_t *at, uint32_t value)
{
	syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *at, int count)
{
	syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* --- in the handler --- */

static bool hand_over(uintptr_t at, bool write, bool bus)
{
	struct trap t = {.at = at, .write = write, .bus = bus};

	t.next = atomic_load_explicit(&incoming, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&incoming, &t.next, &t))
		;
	atomic_fetch_add(&work, 1);
	futex_wake(&work, 1);
	while (!atomic_load_explicit(&t.answered, memory_order_acquire))
		futex_wait(&t.answered, 0);
	return t.again;
}

static bool is_ours(uintptr_t at)
{
	const struct trap_ops *ops = atomic_load_explicit(&trap_ops, memory_order_acquire);

	return ops && !atomic_load_explicit(&forked, memory_order_relaxed) && ops->ours(at);
}

bool trap_bus(const void *at)
{
	int saved = errno;
	bool again = is_ours((uintptr_t)at) && hand_over((uintptr_t)at, false, true);

	errno = saved;
	return again;
}

static bool was_write(const ucontext_t *uc)
{
#if defined(__x86_64__)
	return uc->uc_mcontext.gregs[REG_ERR] & 2;
#elif defined(__aarch64__)
	/* The syndrome register is in a record behind the others. */
	const struct _aarch64_ctx *c = (const void *)uc->uc_mcontext.__reserved;

	for (; c->magic && c->size; c = (const void *)((const char *)c + c->size)) {
		if (c->magic == ESR_MAGIC)
			return ((const struct esr_context *)c)->esr & 0x40;
	}
	return false;
#else
	return false;
#endif
}

static void pass_on(int sig, siginfo_t *si, void *uc)
{
	bool handled = si->si_errno != PASSED;

	si->si_errno = PASSED;
	if (handled && previous.sa_flags & SA_SIGINFO)
		previous.sa_sigaction(sig, si, uc);
	else if (handled && previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
		previous.sa_handler(sig);
	else
		handled = false;
	if (!handled) {
		/* Back to the instruction, which faults again and ends the process with the right signal. */
		sigaction(SIGSEGV, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		if (si->si_code <= 0)
			raise(SIGSEGV);
	}
}

static void on_sigsegv(int sig, siginfo_t *si, void *uc)
{
	uintptr_t at = (uintptr_t)si->si_addr;
	int saved = errno;

	/* Not sent by a process but by an access of this thread. */
	if (si->si_code > 0 && is_ours(at) && hand_over(at, was_write(uc), false)) {
		errno = saved;
		return;
	}
	errno = saved;
	pass_on(sig, si, uc);
}

/* --- the helpers --- */

static void *helper_main(void *arg);

/* Under `helpers`. */
static int helper_add(void)
{
	pthread_t thread;
	sigset_t all, old;
	int err;

	/* An application's signals are not for threads of ours. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, NULL, helper_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	pthread_detach(thread);
	helper_count++;
	idle++;
	return 0;
}

/* Under `helpers`: the oldest record. */
static struct trap *queue_take(void)
{
	struct trap *fresh = atomic_exchange(&incoming, NULL);
	struct trap *turned = NULL;
	struct trap *t;

	while (fresh) {
		t = fresh;
		fresh = t->next;
		t->next = turned;
		turned = t;
	}
	while (turned) {
		*queue_end = turned;
		queue_end = &turned->next;
		turned = turned->next;
		*queue_end = NULL;
	}
	t = queue;
	if (t) {
		queue = t->next;
		if (!queue)
			queue_end = &queue;
	}
	return t;
}

static void answer(struct trap *t, bool again)
{
	t->again = again;
	atomic_store_explicit(&t->answered, 1, memory_order_release);
	/* The record may be gone from here on; a wake at its address disturbs nobody. */
	futex_wake(&t->answered, 1);
}

static void *helper_main(void *arg)
{
	const struct trap_ops *ops = atomic_load(&trap_ops);

	(void)arg;
	for (;;) {
		uint32_t seen = atomic_load(&work);
		bool more;
		struct trap *t;

		pthread_mutex_lock(&helpers);
		t = queue_take();
		more = queue != NULL;
		if (t) {
			idle--;
			/* If there cannot be one more, those there are serve in turn. */
			if (idle == 0 && helper_count < HELPERS_MAX)
				(void)helper_add();
		}
		pthread_mutex_unlock(&helpers);
		if (!t) {
			futex_wait(&work, seen);
			continue;
		}
		if (more) {
			atomic_fetch_add(&work, 1);
			futex_wake(&work, 1);
		}
		atomic_fetch_add(&served, 1);
		answer(t, ops->serve(t->at, t->write, t->bus));
		pthread_mutex_lock(&helpers);
		idle++;
		pthread_mutex_unlock(&helpers);
	}
	return NULL;
}

static void in_child(void)
{
	atomic_store(&forked, true);
}

static int handler_install(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigsegv, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
	struct sigaction now;

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGSEGV, NULL, &now) != 0)
		return -errno;
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigsegv)
		return 0;
	previous = now;
	return sigaction(SIGSEGV, &sa, NULL) == 0 ? 0 : -errno;
}

int trap_start(const struct trap_ops *ops)
{
	int err = 0;

	if (!TRAP_WORKS)
		return fail(-EOPNOTSUPP, "mappings: this machine does not tell reads from writes when they fault");
	if (atomic_load(&forked))
		return fail(-EOPNOTSUPP, "mappings: not in a child of fork(); exec first");
	pthread_mutex_lock(&helpers);
	if (!atomic_load(&trap_ops)) {
		atomic_store(&trap_ops, ops);
		(void)pthread_atfork(NULL, NULL, in_child);
	}
	if (helper_count == 0)
		err = helper_add();
	if (!err)
		err = handler_install();
	pthread_mutex_unlock(&helpers);
	return err ? fail(err, "mappings: no thread or handler for faults: %s", strerror(-err)) : 0;
}

uint64_t trap_count(void)
{
	return atomic_load(&served);
}
