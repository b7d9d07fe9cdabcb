/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L22 EXCLUSIVE, L23 change of mode, L8 and L9 interrupted waits, the same for a pool in this process and over
 * every data path. The argument names who the holder is: "local" the process that owns the pool, else a client.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES (256 * KIB)
#define D_NS       (60 * SECONDS) /* nobody is forced in these tests, unless they are broken */
#define SEED       7

static bool holder_is_local;

/* The owner of the pool serves it in this process; holder and other are two sessions. */
struct env {
	char dir[64], address[128];
	struct lh_fs *owner, *holder, *other;
	struct lh_server *server;
	struct lh_file *mine, *theirs; /* the same file */
};

static struct lh_fs *client(const char *address)
{
	struct lh_open_options o = {.size = sizeof(o),
				    .fabric = rig_way == WAY_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM,
				    .ring_bytes = 4 * MIB};
	struct lh_fs *fs = NULL;

	assert_ok(lh_fs_open(address, &o, &fs));
	return fs;
}

static int setup(void **state)
{
	struct lh_open_options o = {.size = sizeof(o), .deadline_ns = D_NS, .deadline_max_ns = D_NS};
	struct lh_server_options options = {
	    .size = sizeof(options), .tcp_as_given = true, .tcp_uid = geteuid(), .tcp_gid = getegid()};
	struct env *e = calloc(1, sizeof(*e));

	strcpy(e->dir, "/tmp/leasehold-deny-XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	snprintf(e->address, sizeof(e->address), "unix:%s/s", e->dir);
	assert_ok(lh_fs_open("mem:64M", &o, &e->owner));
	assert_ok(lh_server_start(e->owner, rig_way == WAY_TCP ? "tcp:127.0.0.1:0" : e->address, &options, &e->server));
	snprintf(e->address, sizeof(e->address), "%s", lh_server_address(e->server));
	e->holder = holder_is_local ? e->owner : client(e->address);
	e->other = client(e->address);
	e->mine = rig_file(e->holder, "/f", FILE_BYTES, SEED);
	e->theirs = rig_reopen(e->other, "/f", O_RDWR);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	assert_ok(lh_file_close(e->mine));
	assert_ok(lh_file_close(e->theirs));
	assert_ok(lh_fs_close(e->other));
	if (!holder_is_local)
		assert_ok(lh_fs_close(e->holder));
	lh_server_stop(e->server);
	assert_ok(lh_fs_close(e->owner));
	rmdir(e->dir);
	free(e);
	return 0;
}

static int punch(struct lh_file *file, uint64_t off, uint64_t len)
{
	return lh_file_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static uint64_t size_of(struct lh_file *file)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	assert_ok(lh_file_stat(file, &st));
	return st.size;
}

/* --- L22 ---------------------------------------------------------------------------------------------------------- */

static void exclusive_denies_others_and_the_holder(void **state)
{
	struct env *e = *state;
	struct lh_lease *lease = rig_lease(e->mine, 0, 64 * KIB, LH_LEASE_READ | LH_LEASE_EXCLUSIVE);
	struct lh_lease_state s = rig_state(lease);
	uint8_t byte = rig_byte(SEED, 5);

	assert_int_equal(s.flags, LH_LEASE_EXCLUSIVE);
	assert_in_range(s.exclusive_left_ns, 1, 60 * SECONDS);
	assert_int_equal(lh_file_truncate(e->theirs, 0), -ETXTBSY);
	assert_int_equal(punch(e->theirs, 0, BLOCK), -ETXTBSY);
	lh_fs_set_nowait(e->other, true);
	assert_int_equal(punch(e->theirs, 0, BLOCK), -ETXTBSY);
	lh_fs_set_nowait(e->other, false);
	assert_int_equal(lh_file_truncate(e->mine, 0), -EDEADLK);
	assert_int_equal(punch(e->mine, 0, BLOCK), -EDEADLK);
	/* Not a change of the layout, and not the range. */
	assert_int_equal(lh_file_write(e->theirs, &byte, 1, 5), 1);
	assert_ok(punch(e->theirs, 64 * KIB, BLOCK));
	assert_ok(lh_file_truncate(e->mine, 128 * KIB));
	rig_read_same(lease, 64 * KIB, SEED, 0);
	s = rig_state(lease);
	assert_true(s.held);
	assert_int_equal(s.recalls, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_truncate(e->theirs, 0));
}

static void its_age_ends_by_itself(void **state)
{
	struct env *e = *state;
	struct lh_lease_options o = {
	    .size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_EXCLUSIVE, .max_age_ns = 300 * MS};
	struct lh_lease *lease = NULL;
	uint64_t begin = rig_now();
	int err;

	assert_ok(lh_lease_get(e->mine, 0, 64 * KIB, &o, &lease));
	do {
		err = lh_file_truncate(e->theirs, 0);
		if (err == -ETXTBSY)
			pause_ms(5);
	} while (err == -ETXTBSY);
	assert_ok(err);
	assert_true(rig_now() - begin >= 300 * MS);
	assert_int_equal(rig_state(lease).exclusive_left_ns, 0);
	assert_ok(lh_lease_release(lease));
}

static void an_administrator_takes_it_all_the_same(void **state)
{
	struct env *e = *state;
	struct lh_lease *lease = rig_lease(e->mine, 0, 64 * KIB, LH_LEASE_READ | LH_LEASE_EXCLUSIVE | LH_LEASE_MANUAL);
	struct lh_revoke_filter f = {.size = sizeof(f), .number = rig_state(lease).number};

	assert_int_equal(lh_fs_revoke(e->owner, &f), 1);
	assert_int_equal(rig_event(e->holder).type, LH_EVENT_REVOKED);
	assert_ok(lh_file_truncate(e->theirs, 0));
	assert_int_equal(lh_lease_change(lease, LH_LEASE_READ, 0), -ESTALE);
	assert_ok(lh_lease_release(lease));
}

/* --- L23 ---------------------------------------------------------------------------------------------------------- */

static void write_same(struct lh_lease *lease, size_t len, unsigned seed, uint64_t off)
{
	uint8_t *buf = malloc(len);
	ssize_t n;

	rig_fill(buf, len, seed, off);
	n = lh_lease_write(lease, buf, len, off);
	if (n != (ssize_t)len)
		fail_msg("write of %zu returned %zd: %s", len, n, lh_error_text());
	free(buf);
}

static void a_lease_goes_up_and_down(struct env *e, uint32_t also)
{
	struct lh_lease *lease;
	uint8_t buf[BLOCK];

	/* A hole and a shared block inside: to write they must be filled and copied. */
	assert_ok(punch(e->mine, 16 * KIB, 8 * KIB));
	lease = rig_lease(e->mine, 0, 64 * KIB, LH_LEASE_READ | also);
	rig_read_same(lease, 16 * KIB, SEED, 0);
	assert_int_equal(lh_lease_write(lease, buf, 1, 0), -EACCES);

	assert_ok(lh_lease_change(lease, LH_LEASE_WRITE, 0));
	assert_int_equal(rig_state(lease).mode, LH_LEASE_WRITE);
	assert_int_equal(rig_state(lease).flags, also);
	assert_int_equal(lh_lease_read(lease, buf, 1, 0), -EACCES);
	write_same(lease, 32 * KIB, SEED + 1, 0);
	assert_ok(lh_lease_commit(lease, 0, 32 * KIB));

	assert_ok(lh_lease_change(lease, LH_LEASE_READ | LH_LEASE_EXCLUSIVE, 0));
	rig_read_same(lease, 32 * KIB, SEED + 1, 0);
	rig_read_same(lease, 32 * KIB, SEED, 32 * KIB);
	assert_int_equal(lh_file_truncate(e->theirs, 0), -ETXTBSY);
	assert_int_equal(rig_state(lease).flags, also | LH_LEASE_EXCLUSIVE);
	assert_true(rig_state(lease).exclusive_left_ns > 0);
	assert_int_equal(lh_file_read(e->theirs, buf, sizeof(buf), 16 * KIB), sizeof(buf));
	rig_same(buf, sizeof(buf), SEED + 1, 16 * KIB);

	assert_ok(lh_lease_change(lease, LH_LEASE_READ, 0));
	assert_int_equal(rig_state(lease).exclusive_left_ns, 0);
	assert_int_equal(rig_state(lease).faults, 0);
	assert_true(rig_state(lease).held);
	assert_ok(lh_file_truncate(e->theirs, 0));
	assert_int_equal(lh_lease_read(lease, buf, 1, 0), 0);
	assert_ok(lh_lease_release(lease));
}

static void a_lease_changes_its_mode_whole(void **state)
{
	a_lease_goes_up_and_down(*state, 0);
}

/* L33: the same for one whose key names the file. */
static void a_faulting_lease_changes_its_mode(void **state)
{
	struct env *e = *state;
	struct lh_lease *lease = rig_lease(e->mine, 0, 64 * KIB, LH_LEASE_READ | LH_LEASE_FAULTING);
	uint8_t buf[BLOCK];

	rig_read_same(lease, 64 * KIB, SEED, 0);
	assert_ok(lh_lease_change(lease, LH_LEASE_WRITE, 0));
	assert_int_equal(rig_state(lease).flags, LH_LEASE_FAULTING);
	write_same(lease, 32 * KIB, SEED + 1, 0);
	assert_ok(lh_lease_commit(lease, 0, 32 * KIB));
	assert_ok(lh_lease_change(lease, LH_LEASE_READ, 0));
	rig_read_same(lease, 32 * KIB, SEED + 1, 0);
	assert_int_equal(lh_lease_write(lease, buf, 1, 0), -EACCES);
	assert_ok(lh_lease_release(lease));
}

/* A key of the old mode is dead with the change (L12, L17). */
static void old_keys_die_with_a_change(void **state)
{
	struct env *e = *state;
	struct lh_lease *lease = rig_lease(e->mine, 0, 64 * KIB, LH_LEASE_WRITE);
	struct lh_lease_extent x;
	uint8_t byte = 0xee;

	assert_true(lh_lease_extents(lease, &x, 1) == 1);
	assert_int_equal(lh_raw_write(e->holder, x.key, x.key_off, &byte, 1), 1);
	assert_ok(lh_lease_change(lease, LH_LEASE_READ, 0));
	assert_true(lh_raw_write(e->holder, x.key, x.key_off, &byte, 1) < 0);
	assert_true(lh_lease_extents(lease, &x, 1) == 1);
	assert_int_equal(lh_raw_write(e->holder, x.key, x.key_off, &byte, 1), -EACCES);
	assert_int_equal(lh_raw_read(e->holder, x.key, x.key_off, &byte, 1), 1);
	assert_int_equal(byte, 0xee);
	assert_ok(lh_lease_release(lease));
}

static void a_broken_lease_is_as_it_was(void **state)
{
	struct env *e = *state;
	struct lh_lease *manual = rig_lease(e->mine, 0, 64 * KIB, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_lease *lease = rig_lease(e->mine, 0, 64 * KIB, LH_LEASE_READ);
	int err;

	lh_fs_set_nowait(e->other, true);
	assert_int_equal(punch(e->theirs, 0, BLOCK), -EWOULDBLOCK);
	assert_int_equal(rig_event(e->holder).type, LH_EVENT_RECALL);
	assert_int_equal(lh_lease_change(manual, LH_LEASE_WRITE, 0), -ESTALE);
	assert_int_equal(rig_state(manual).mode, LH_LEASE_READ);
	assert_ok(lh_lease_release(manual));
	do {
		err = punch(e->theirs, 0, BLOCK);
	} while (err == -EWOULDBLOCK);
	assert_ok(err);
	assert_int_equal(lh_lease_change(lease, LH_LEASE_WRITE, 0), -ESTALE);
	assert_int_equal(rig_state(lease).mode, LH_LEASE_READ);
	/* The next access gets it anew in its old mode; that one can be changed. */
	rig_read_same(lease, 60 * KIB, SEED, BLOCK);
	assert_int_equal(lh_lease_read(lease, &(uint8_t){0}, 1, 0), 1);
	assert_ok(lh_lease_change(lease, LH_LEASE_WRITE, 0));
	write_same(lease, 64 * KIB, SEED + 2, 0);
	assert_ok(lh_lease_release(lease));
}

static void what_may_not_be_asked_for_is_refused(void **state)
{
	struct env *e = *state;
	struct lh_file *reader = rig_reopen(e->holder, "/f", O_RDONLY);
	struct lh_lease *lease = rig_lease(reader, 0, 64 * KIB, LH_LEASE_READ);

	assert_int_equal(lh_lease_change(lease, LH_LEASE_WRITE, 0), -EBADF);
	assert_int_equal(lh_lease_change(lease, LH_LEASE_READ | LH_LEASE_WRITE, 0), -EINVAL);
	assert_int_equal(lh_lease_change(lease, LH_LEASE_EXCLUSIVE, 0), -EINVAL);
	rig_read_same(lease, 64 * KIB, SEED, 0);
	assert_true(rig_state(lease).held);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(reader));
}

/* --- interrupting ------------------------------------------------------------------------------------------------- */

struct waiter {
	struct lh_file *file;
	pthread_t thread;
	_Atomic bool over;
	int result;
};

static void *truncate_it(void *ctx)
{
	struct waiter *w = ctx;

	w->result = lh_file_truncate(w->file, 0);
	w->over = true;
	return NULL;
}

static void *lease_it(void *ctx)
{
	struct waiter *w = ctx;
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ};
	struct lh_lease *lease = NULL;

	w->result = lh_lease_get(w->file, 0, BLOCK, &o, &lease);
	if (w->result == 0)
		lh_lease_release(lease);
	w->over = true;
	return NULL;
}

static void start(struct waiter *w, struct lh_file *file, void *(*what)(void *))
{
	*w = (struct waiter){.file = file};
	assert_int_equal(pthread_create(&w->thread, NULL, what, w), 0);
}

static void interrupt_until_over(struct lh_fs *fs, struct waiter *w, int result)
{
	while (!w->over) {
		lh_fs_interrupt(fs);
		pause_ms(1);
	}
	pthread_join(w->thread, NULL);
	assert_int_equal(w->result, result);
}

static void wait_for_recalls(struct env *e, uint64_t more)
{
	while (rig_stats(e->owner).recalls < more)
		pause_ms(1);
}

/* The caller of a truncate that waits is let go: nothing was cut, no gate is left, the recall stands. */
static void a_waiting_caller_is_let_go(void **state)
{
	struct env *e = *state;
	struct lh_lease *deaf = rig_lease(e->theirs, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_lease *again;
	struct waiter w;

	start(&w, e->mine, truncate_it);
	wait_for_recalls(e, 1);
	interrupt_until_over(e->holder, &w, -EINTR);
	assert_int_equal(size_of(e->mine), FILE_BYTES);
	again = rig_lease(e->mine, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_NOWAIT);
	assert_ok(lh_lease_release(again));
	assert_int_equal(rig_event(e->other).type, LH_EVENT_RECALL);
	assert_ok(lh_lease_release(deaf));
	/* What comes afterwards is not interrupted. */
	assert_ok(lh_file_truncate(e->mine, 0));
}

/* Who waits for a gate is let go too; the one who closed it, in another session, waits on. */
static void a_waiting_grant_is_let_go(void **state)
{
	struct env *e = *state;
	struct lh_file *third_file;
	struct lh_fs *third = client(e->address);
	struct lh_lease *deaf = rig_lease(e->theirs, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct waiter breaker, w;

	third_file = rig_reopen(third, "/f", O_RDWR);
	start(&breaker, third_file, truncate_it);
	wait_for_recalls(e, 1);
	start(&w, e->mine, lease_it);
	pause_ms(20);
	interrupt_until_over(e->holder, &w, -EINTR);
	assert_false(breaker.over);
	assert_ok(lh_lease_release(deaf));
	pthread_join(breaker.thread, NULL);
	assert_int_equal(breaker.result, 0);
	assert_ok(lh_file_close(third_file));
	assert_ok(lh_fs_close(third));
}

/* The "a killed caller leaves no gate behind": his process is gone, and with it what he waited for. */
static void a_killed_caller_leaves_no_gate(void **state)
{
	struct env *e = *state;
	struct lh_lease *deaf = rig_lease(e->theirs, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct lh_lease *again;
	uint64_t begin;
	char *const argv[] = {"test_e2e_deny", "--truncate", e->address, NULL};
	pid_t pid = fork();

	if (pid == 0) {
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	wait_for_recalls(e, 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	begin = rig_now();
	again = rig_lease(e->mine, 0, FILE_BYTES, LH_LEASE_READ);
	assert_true(rig_now() - begin < D_NS / 2);
	assert_int_equal(size_of(e->mine), FILE_BYTES);
	assert_ok(lh_lease_release(again));
	assert_ok(lh_lease_release(deaf));
}

static int truncate_as_child(const char *address)
{
	struct lh_open_options o = {.size = sizeof(o)};
	struct lh_file *file;
	struct lh_fs *fs;

	if (lh_fs_open(address, &o, &fs) || lh_file_open(fs, "/f", O_RDWR, 0, &file))
		return 1;
	return lh_file_truncate(file, 0) ? 2 : 0;
}

int main(int argc, char **argv)
{
#define test_case(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    test_case(exclusive_denies_others_and_the_holder),
	    test_case(its_age_ends_by_itself),
	    test_case(an_administrator_takes_it_all_the_same),
	    test_case(a_lease_changes_its_mode_whole),
	    test_case(a_faulting_lease_changes_its_mode),
	    test_case(old_keys_die_with_a_change),
	    test_case(a_broken_lease_is_as_it_was),
	    test_case(what_may_not_be_asked_for_is_refused),
	    test_case(a_waiting_caller_is_let_go),
	    test_case(a_waiting_grant_is_let_go),
	    test_case(a_killed_caller_leaves_no_gate),
	};

	if (argc == 3 && strcmp(argv[1], "--truncate") == 0)
		return truncate_as_child(argv[2]);
	holder_is_local = argc > 1 && strcmp(argv[1], "local") == 0;
	if (holder_is_local)
		argv[1] = "stream";
	rig_init(argc, argv);
	return cmocka_run_group_tests_name("deny, change, interrupt", tests, NULL, NULL);
}
