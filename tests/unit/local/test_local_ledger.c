/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L18, L25, L26): through the public calls, in process: who holds what, by filter; sessions; the audit; limits of
 * pins are set, shown, cleared; at a limit access goes on without a lease; a user's own RLIMIT_MEMLOCK counts, and
 * nothing is half granted.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include <cmocka.h>

#define KB 1024ull

struct world {
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease;
};

static char buf[128 * KB];

static void open_file(struct world *w)
{
	assert_int_equal(lh_fs_open("mem:32M", NULL, &w->fs), 0);
	assert_int_equal(lh_file_open(w->fs, "/f", O_RDWR | O_CREAT, 0644, &w->file), 0);
	memset(buf, 'a', sizeof(buf));
	assert_int_equal(lh_file_write(w->file, buf, sizeof(buf), 0), sizeof(buf));
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};

	open_file(w);
	assert_int_equal(lh_lease_get(w->file, 0, sizeof(buf), &opt, &w->lease), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assert_int_equal(lh_lease_release(w->lease), 0);
	assert_int_equal(lh_file_close(w->file), 0);
	assert_int_equal(lh_fs_close(w->fs), 0);
	free(w);
	return 0;
}

struct seen {
	unsigned n;
	struct lh_lease_info last;
	struct lh_session_info session;
	struct lh_limit limit;
};

static void see_lease(void *ctx, const struct lh_lease_info *info)
{
	struct seen *s = ctx;

	s->n++;
	s->last = *info;
}

static void see_session(void *ctx, const struct lh_session_info *info)
{
	struct seen *s = ctx;

	s->n++;
	s->session = *info;
}

static unsigned matching(struct world *w, struct lh_revoke_filter f, struct seen *s)
{
	*s = (struct seen){0};
	f.size = sizeof(f);
	assert_int_equal(lh_fs_leases_matching(w->fs, &f, see_lease, s), 0);
	return s->n;
}

static void leases_are_found_by_every_filter(void **state)
{
	struct world *w = *state;
	struct seen s, none;
	uint64_t number;

	assert_int_equal(matching(w, (struct lh_revoke_filter){0}, &s), 1);
	number = s.last.number;
	assert_string_equal(s.last.pin, "key");
	assert_int_equal(s.last.pins, 1);
	assert_int_equal(s.last.pinned_bytes, sizeof(buf));
	assert_string_equal(s.last.last_reason, "");
	assert_true(s.last.recalled_ns == UINT64_MAX);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.number = number}, &s), 1);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.number = number + 1}, &none), 0);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.session = s.last.session}, &s), 1);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.session = s.last.session + 1}, &none), 0);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.by_uid = true, .uid = geteuid()}, &s), 1);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.by_uid = true, .uid = geteuid() + 1}, &none), 0);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.path = "/f"}, &s), 1);
	assert_int_equal(matching(w, (struct lh_revoke_filter){.path = "/"}, &none), 0);
}

static void the_audit_says_who_asked(void **state)
{
	struct world *w = *state;
	struct lh_revoke_filter f = {.size = sizeof(f), .path = "/f"};
	struct lh_audit a[4];
	uint64_t cursor = 0;
	struct seen s = {0};

	assert_int_equal(lh_fs_audit(w->fs, &cursor, a, 4), 0);
	assert_int_equal(lh_fs_revoke(w->fs, &f), 1);
	assert_int_equal(lh_fs_audit(w->fs, &cursor, a, 4), 1);
	assert_string_equal(a[0].reason, "administrator");
	assert_int_equal(a[0].len, sizeof(buf));
	assert_int_equal(a[0].asker_uid, geteuid());
	assert_int_equal(a[0].asker_pid, getpid());
	assert_int_equal(lh_fs_sessions(w->fs, see_session, &s), 0);
	assert_int_equal(s.n, 1);
	assert_int_equal(a[0].asker_session, s.session.number);
	assert_int_equal(s.session.forced, 1);
	assert_string_equal(s.session.state, "open");
	assert_int_equal(lh_fs_audit(w->fs, &cursor, a, 4), 0);
}

static int set(struct world *w, uint32_t kind, uint32_t id, uint64_t bytes, uint64_t leases)
{
	struct lh_limit l = {.size = sizeof(l), .kind = kind, .id = id, .bytes = bytes, .inodes = leases};

	return lh_fs_limit_set(w->fs, NULL, &l);
}

/* L15, L18: what is over a limit when it comes stays, and whoever cannot get his lease again still reads. */
static void at_a_limit_access_goes_on_by_calls(void **state)
{
	struct world *w = *state;
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	struct lh_limit l = {.size = sizeof(l), .kind = LH_LIMIT_PINS, .id = geteuid()};
	struct lh_lease *more;

	assert_int_equal(set(w, LH_LIMIT_PINS, geteuid(), 0, 5), 0);
	assert_int_equal(lh_fs_limit_get(w->fs, NULL, &l), 0);
	assert_true(l.bytes == 0 && l.inodes == 5 && l.bytes_used == sizeof(buf) && l.inodes_used == 1);
	assert_int_equal(lh_lease_get(w->file, 0, 4 * KB, &opt, &more), -EDQUOT);
	assert_non_null(strstr(lh_error_text(), "administrator"));
	assert_int_equal(lh_file_relocate(w->file, 0, sizeof(buf)), sizeof(buf) / 4096);
	assert_int_equal(
	    lh_fs_revoke(w->fs, &(struct lh_revoke_filter){.size = sizeof(struct lh_revoke_filter), .path = "/f"}), 1);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(lh_lease_read(w->lease, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(buf[sizeof(buf) - 1], 'a');
	assert_int_equal(lh_fs_limit_clear(w->fs, &l), 0);
	assert_int_equal(lh_fs_limit_clear(w->fs, &l), -ENODATA);
	assert_int_equal(lh_lease_read(w->lease, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(lh_fs_limit_get(w->fs, NULL, &l), -ENODATA);
}

static void what_makes_no_sense_is_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(set(w, LH_LIMIT_PINS_POOL, 3, 1, 1), -EINVAL);
	assert_int_equal(set(w, LH_LIMIT_PINS, UINT32_MAX, 1, 1), -EINVAL);
	assert_int_equal(set(w, 6, 0, 1, 1), -EINVAL);
	assert_int_equal(
	    lh_fs_limit_set(w->fs, "/", &(struct lh_limit){.size = sizeof(struct lh_limit), .kind = LH_LIMIT_PINS}),
	    -EINVAL);
}

/* In a process of its own: as nobody, with 64 KiB. Exits with the line that went wrong. */
#define NEED(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%d: %s (%s)\n", __LINE__, #cond, lh_error_text());                            \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

static void as_nobody(void)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	struct rlimit memlock = {64 * KB, 64 * KB};
	struct lh_lease_stats stats = {.size = sizeof(stats)};
	struct lh_lease *one, *two;
	struct seen s = {0};
	struct world w;

	NEED(setrlimit(RLIMIT_MEMLOCK, &memlock) == 0);
	NEED(geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0));
	open_file(&w);
	NEED(lh_lease_get(w.file, 0, 128 * KB, &opt, &one) == -ENOMEM);
	NEED(strstr(lh_error_text(), "RLIMIT_MEMLOCK"));
	NEED(lh_fs_lease_stats(w.fs, &stats) == 0 && stats.leases == 0 && stats.pinned_bytes == 0);
	NEED(lh_lease_get(w.file, 0, 64 * KB, &opt, &one) == 0);
	NEED(lh_lease_get(w.file, 0, 4 * KB, &opt, &two) == -ENOMEM);
	/* A faulting lease holds no memory in its place. */
	opt.flags |= LH_LEASE_FAULTING;
	NEED(lh_lease_get(w.file, 0, 128 * KB, &opt, &two) == 0);
	NEED(lh_fs_sessions(w.fs, see_session, &s) == 0 && s.session.bytes_limit == 64 * KB);
	NEED(s.session.leases == 2 && s.session.pinned_bytes == 64 * KB);
	/* He owns the pool: his own limit for it stands instead. */
	NEED(set(&w, LH_LIMIT_PINS, geteuid(), 1024 * KB, UINT64_MAX) == 0);
	NEED(lh_lease_release(two) == 0);
	opt.flags = LH_LEASE_READ;
	NEED(lh_lease_get(w.file, 0, 128 * KB, &opt, &two) == 0);
	NEED(lh_lease_release(one) == 0 && lh_lease_release(two) == 0);
	NEED(lh_file_close(w.file) == 0 && lh_fs_close(w.fs) == 0);
	_exit(0);
}

static void a_users_memlock_counts(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		as_nobody();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_users_memlock_counts), /* first: no thread is there yet */
	    cmocka_unit_test_setup_teardown(leases_are_found_by_every_filter, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_audit_says_who_asked, setup, teardown),
	    cmocka_unit_test_setup_teardown(at_a_limit_access_goes_on_by_calls, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_makes_no_sense_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
