/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L39, issue 3 "bad input": memory that fails is an error of that call; what is not guarded goes where it went.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/busguard.h"

#define PAGE 4096u

/* Two pages: the second has no file behind it. */
static uint8_t *half_map(void)
{
	int fd = memfd_create("half", MFD_CLOEXEC);
	uint8_t *at;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	close(fd);
	return at;
}

static void each_call_says_it_and_goes_on(void **state)
{
	uint8_t *m = half_map(), buf[2 * PAGE] = {0};
	int same;

	(void)state;
	assert_int_equal(busguard_install(), 0);
	for (unsigned k = 0; k < 1000; k++) {
		assert_int_equal(busguard_copy(buf, m, PAGE, BUSGUARD_FROM), 0);
		assert_int_equal(busguard_copy(buf, m, PAGE + 1, BUSGUARD_FROM), -EIO);
		assert_true((const uint8_t *)busguard_address() >= m + PAGE);
		assert_int_equal(busguard_copy(m + PAGE, buf, 8, BUSGUARD_TO), -EIO);
		assert_int_equal(busguard_zero(m + PAGE - 8, 16), -EIO);
		assert_int_equal(busguard_zero(m, PAGE), 0);
		assert_int_equal(busguard_probe(m, 2 * PAGE), -EIO);
		assert_int_equal(busguard_probe(m, PAGE), 0);
		assert_int_equal(busguard_equal(m, buf, PAGE, &same), 0);
		assert_int_equal(busguard_equal(m, buf, PAGE + 1, &same), -EIO);
	}
	munmap(m, 2 * PAGE);
}

struct nested {
	uint8_t *bad;
	int inner;
};

static void run_nested(void *ctx)
{
	struct nested *n = ctx;
	uint8_t byte;

	n->inner = busguard_copy(&byte, n->bad, 1, BUSGUARD_FROM);
	*(volatile uint8_t *)n->bad = 1;
}

static void windows_nest(void **state)
{
	uint8_t *m = half_map();
	struct nested n = {m + PAGE, 0};
	struct busguard_area area = {.start = m, .len = 2 * PAGE};

	(void)state;
	assert_int_equal(busguard_install(), 0);
	assert_int_equal(busguard_run(&area, run_nested, &n), -EIO);
	assert_int_equal(n.inner, -EIO);
	munmap(m, 2 * PAGE);
}

static void *blocked_main(void *ctx)
{
	sigset_t all;
	uint8_t byte;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	return (void *)(intptr_t)busguard_copy(&byte, ctx, 1, BUSGUARD_FROM);
}

/* As the movers and many an application's workers do. */
static void threads_that_block_all_signals(void **state)
{
	uint8_t *m = half_map();
	pthread_t t;
	void *result;

	(void)state;
	assert_int_equal(busguard_install(), 0);
	assert_int_equal(pthread_create(&t, NULL, blocked_main, m + PAGE), 0);
	pthread_join(t, &result);
	assert_int_equal((intptr_t)result, -EIO);
	munmap(m, 2 * PAGE);
}

static volatile sig_atomic_t passed_on;
static sigjmp_buf application;

static void on_application(int sig)
{
	(void)sig;
	passed_on++;
	siglongjmp(application, 1);
}

/* A fault in the caller's own buffer, or outside of any window, is the application's. */
static void other_faults_go_to_the_handler_before(void **state)
{
	uint8_t *m = half_map(), *good = half_map(), byte = 0;
	struct sigaction sa = {.sa_handler = on_application, .sa_flags = SA_NODEFER}, old;

	(void)state;
	assert_int_equal(sigaction(SIGBUS, &sa, &old), 0);
	assert_int_equal(busguard_install(), 0);
	if (sigsetjmp(application, 1) == 0)
		byte = *(volatile uint8_t *)(m + PAGE);
	assert_int_equal(passed_on, 1);
	if (sigsetjmp(application, 1) == 0)
		(void)busguard_copy(m + PAGE, good, 1, BUSGUARD_FROM);
	assert_int_equal(passed_on, 2);
	/* The guard still works, and the window that was left by the application's jump is not taken for one. */
	assert_int_equal(busguard_copy(&byte, m + PAGE, 1, BUSGUARD_FROM), -EIO);
	assert_int_equal(sigaction(SIGBUS, &old, NULL), 0);
	munmap(m, 2 * PAGE);
	munmap(good, 2 * PAGE);
}

/* Without a handler the process ends with the signal, as before. */
static void an_unguarded_fault_ends_the_process(void **state)
{
	uint8_t *m = half_map();
	int status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		signal(SIGBUS, SIG_DFL);
		busguard_install();
		_exit(*(volatile uint8_t *)(m + PAGE));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	munmap(m, 2 * PAGE);
}

int main(void)
{
	if (!BUSGUARD_WORKS)
		return 77;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_call_says_it_and_goes_on),
	    cmocka_unit_test(windows_nest),
	    cmocka_unit_test(threads_that_block_all_signals),
	    cmocka_unit_test(other_faults_go_to_the_handler_before),
	    cmocka_unit_test(an_unguarded_fault_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
