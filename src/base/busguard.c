/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIGBUS as an error: one handler for the process, and per thread the innermost window that is open.
 *
 * The window is left by siglongjmp out of a plain copy: no lock is taken and nothing is allocated inside, so that there
 * is nothing to undo. The handler runs with SA_NODEFER, so that the mask need not be saved and restored for every copy
 * (a system call each). The thread's variable is of the static TLS kind: the handler may not allocate.
 */
#include "base/busguard.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "base/mapped.h"
#include "base/types.h"

#define LINE   64u
#define PASSED INT_MIN /* marks a signal that went on to the handler before ours */

struct window {
	sigjmp_buf env;
	const struct busguard_area *area;
	struct window *outer;
};

static _Thread_local struct window *innermost __attribute__((tls_model("initial-exec")));
static _Thread_local bool unblocked __attribute__((tls_model("initial-exec")));
static _Thread_local const void *last_fault __attribute__((tls_model("initial-exec")));

/* base/mapped.h: here, where a SIGBUS asks for it. */
_Atomic(const struct mapped_hooks *) mapped_hooks;

static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;

/* [at, at + unit) is what the kernel says is bad; unit is a page for a machine check. */
static bool hits(const void *start, size_t len, uintptr_t at, uintptr_t unit)
{
	uintptr_t from = (uintptr_t)start;

	return len > 0 && at < from + len && at + unit > from;
}

static void pass_on(int sig, siginfo_t *si, void *uc)
{
	struct window *w = innermost;
	/* Who installed himself behind us may call us for what is not his: then it is nobody's. The kernel says 0 here.
	 */
	bool handled = si->si_errno != PASSED;

	/* The application's handler may jump out of the window for good. */
	innermost = NULL;
	si->si_errno = PASSED;
	if (handled && previous.sa_flags & SA_SIGINFO)
		previous.sa_sigaction(sig, si, uc);
	else if (handled && previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
		previous.sa_handler(sig);
	else
		handled = false;
	innermost = w;
	if (!handled) {
		/* Back to the instruction, which faults again and ends the process with the right signal. */
		sigaction(SIGBUS, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		if (si->si_code <= 0)
			raise(SIGBUS);
	}
}

static void on_sigbus(int sig, siginfo_t *si, void *uc)
{
	struct window *w = innermost;
	uintptr_t at = (uintptr_t)si->si_addr;
	uintptr_t unit = 1;

	/* Beyond an end of file that is not there any more. */
	if (si->si_code > 0 && mapped_cured(si->si_addr))
		return;
	/* Not sent by a process but by an access of this thread. */
	if (w && si->si_code > 0) {
		if (si->si_code == BUS_MCEERR_AR && si->si_addr_lsb > 0 && si->si_addr_lsb < 48) {
			unit = (uintptr_t)1 << si->si_addr_lsb;
			at -= at % unit;
		}
		if (hits(w->area->start, w->area->len, at, unit) || hits(w->area->start2, w->area->len2, at, unit)) {
			last_fault = si->si_addr;
			siglongjmp(w->env, 1);
		}
	}
	pass_on(sig, si, uc);
}

int busguard_install(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
	struct sigaction now;
	int err = 0;

	sigemptyset(&sa.sa_mask);
	pthread_mutex_lock(&installing);
	if (sigaction(SIGBUS, NULL, &now) != 0)
		err = -errno;
	if (!err && !(now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus)) {
		previous = now;
		if (sigaction(SIGBUS, &sa, NULL) != 0)
			err = -errno;
	}
	pthread_mutex_unlock(&installing);
	return err;
}

/* A thread that blocks all signals (movers, an application's workers) would be ended by a fault. Once a thread. */
static void unblock(void)
{
	sigset_t bus;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
	unblocked = true;
}

int busguard_run(const struct busguard_area *area, void (*fn)(void *ctx), void *ctx)
{
	struct window w;

	if (unlikely(!unblocked))
		unblock();
	w.area = area;
	w.outer = innermost;
	if (sigsetjmp(w.env, 0) != 0) {
		innermost = w.outer;
		return -EIO;
	}
	innermost = &w;
	/* The handler looks at memory: the window must be open before the access and until after it. */
	__asm__ volatile("" ::: "memory");
	fn(ctx);
	__asm__ volatile("" ::: "memory");
	innermost = w.outer;
	return 0;
}

const void *busguard_address(void)
{
	return last_fault;
}

struct span {
	void *to;
	const void *from;
	size_t len;
	int same;
};

static void do_copy(void *ctx)
{
	const struct span *s = ctx;

	memcpy(s->to, s->from, s->len);
}

static void do_zero(void *ctx)
{
	const struct span *s = ctx;

	memset(s->to, 0, s->len);
}

static void do_probe(void *ctx)
{
	const struct span *s = ctx;
	const volatile uint8_t *at = s->from;

	for (size_t k = 0; k < s->len; k += LINE)
		(void)at[k];
	(void)at[s->len - 1];
}

static void do_equal(void *ctx)
{
	struct span *s = ctx;

	s->same = memcmp(s->to, s->from, s->len) == 0;
}

int busguard_copy(void *to, const void *from, size_t len, unsigned sides)
{
	struct span s = {.to = to, .from = from, .len = len};
	struct busguard_area area = {
	    .start = to, .len = sides & BUSGUARD_TO ? len : 0, .start2 = from, .len2 = sides & BUSGUARD_FROM ? len : 0};

	return busguard_run(&area, do_copy, &s);
}

int busguard_zero(void *to, size_t len)
{
	struct span s = {.to = to, .len = len};
	struct busguard_area area = {.start = to, .len = len};

	return busguard_run(&area, do_zero, &s);
}

int busguard_probe(const void *at, size_t len)
{
	struct span s = {.from = at, .len = len};
	struct busguard_area area = {.start = at, .len = len};

	return len > 0 ? busguard_run(&area, do_probe, &s) : 0;
}

int busguard_equal(const void *a, const void *b, size_t len, int *same)
{
	struct span s = {.to = (void *)(uintptr_t)a, .from = b, .len = len};
	struct busguard_area area = {.start = a, .len = len, .start2 = b, .len2 = len};
	int err = busguard_run(&area, do_equal, &s);

	*same = s.same;
	return err;
}
