/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: leases in process: direct access equals file access, heals after moves, and dies with its lease. */
#include "local_test.h"

#define FILE_BYTES (64u * BLOCK)

static void direct_access_and_calls_see_the_same_bytes(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");
	uint8_t *buf = malloc(FILE_BYTES);
	struct lh_lease *r, *w;

	write_pattern(f, 0, FILE_BYTES, 1);
	r = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	w = lease_get(f, 0, FILE_BYTES, LH_LEASE_WRITE);
	assert_int_equal(lh_lease_read(r, buf, FILE_BYTES, 0), FILE_BYTES);
	expect_pattern(buf, FILE_BYTES, 0, 1);
	fill(buf, 10000, 777, 2);
	assert_int_equal(lh_lease_write(w, buf, 10000, 777), 10000);
	memset(buf, 0, FILE_BYTES);
	assert_int_equal(lh_file_read(f, buf, 10000, 777), 10000);
	expect_pattern(buf, 10000, 777, 2);
	ok(lh_lease_commit(w, 777, 10000));
	write_pattern(f, 0, 5000, 3);
	assert_int_equal(lh_lease_read(r, buf, 5000, 0), 5000);
	expect_pattern(buf, 5000, 0, 3);
	assert_int_equal(state_of(r).faults, 0);
	assert_true(state_of(r).held);
	ok(lh_lease_release(r));
	ok(lh_lease_release(w));
	ok(lh_lease_release(NULL));
	free(buf);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L17 */
static void a_lease_needs_the_right_opening_and_gives_only_its_direction(void **state)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	struct lh_fs *fs = mem_open(0);
	struct lh_lease *lease;
	struct lh_file *f;
	uint8_t buf[16] = {0};

	f = file_make(fs, "/f");
	write_pattern(f, 0, BLOCK, 1);
	lease = lease_get(f, 0, BLOCK, LH_LEASE_READ);
	refused(-EACCES, lh_lease_write(lease, buf, sizeof(buf), 0));
	refused(-EBADF, lh_lease_commit(lease, 0, BLOCK));
	refused(-ERANGE, lh_lease_read(lease, buf, sizeof(buf), BLOCK - 8));
	refused(-EINVAL, lh_lease_read(lease, buf, sizeof(buf), UINT64_MAX - 8));
	ok(lh_lease_release(lease));
	lease = lease_get(f, 0, BLOCK, LH_LEASE_WRITE);
	refused(-EACCES, lh_lease_read(lease, buf, sizeof(buf), 0));
	refused(-ERANGE, lh_lease_commit(lease, BLOCK, 1));
	ok(lh_lease_release(lease));
	refused(-ENODATA, lh_lease_get(f, 1 << 20, BLOCK, &opt, &lease));
	refused(-EINVAL, lh_lease_get(f, 0, 0, &opt, &lease));
	refused(-EINVAL, lh_lease_get(f, UINT64_MAX - 5, 10, &opt, &lease));
	opt.flags = LH_LEASE_READ | LH_LEASE_WRITE;
	refused(-EINVAL, lh_lease_get(f, 0, BLOCK, &opt, &lease));
	ok(lh_file_close(f));
	ok(lh_file_open(fs, "/f", O_WRONLY, 0, &f));
	opt.flags = LH_LEASE_READ;
	refused(-EBADF, lh_lease_get(f, 0, BLOCK, &opt, &lease));
	ok(lh_file_close(f));
	ok(lh_file_open(fs, "/f", O_RDONLY, 0, &f));
	opt.flags = LH_LEASE_WRITE;
	refused(-EBADF, lh_lease_get(f, 0, BLOCK, &opt, &lease));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L4, L6, L15 */
static void a_lease_heals_after_somebody_else_moved_a_part(void **state)
{
	struct lh_fs *fs = mem_open(10 * NS_PER_SEC);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_lease_stats stats = {.size = sizeof(stats)};
	struct lh_lease_extent before[4], after[4];
	uint8_t *buf = malloc(FILE_BYTES);
	struct lh_lease *lease;
	struct other o;
	uint64_t moved;

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	other_open(&o, fs, "/f");
	assert_int_equal(lh_lease_extents(lease, before, 4), 1);
	ok(fs_relocate(o.handle, &o.who, 8 * BLOCK, 4 * BLOCK, &moved));
	assert_int_equal(moved, 4);
	assert_false(state_of(lease).held);
	/* L4: the rest of the lease still has keys, and its reading is no fault. */
	assert_int_equal(lh_lease_read(lease, buf, 8 * BLOCK, 0), 8 * BLOCK);
	assert_int_equal(state_of(lease).faults, 0);
	assert_int_equal(lh_raw_read(fs, before[0].key, 0, buf, 16), -ESTALE);
	assert_int_equal(lh_lease_read(lease, buf, FILE_BYTES, 0), FILE_BYTES);
	expect_pattern(buf, FILE_BYTES, 0, 1);
	assert_int_equal(state_of(lease).faults, 1);
	assert_int_equal(state_of(lease).recalls, 1);
	assert_int_equal(state_of(lease).revocations, 0);
	assert_true(state_of(lease).held);
	assert_int_equal(lh_lease_extents(lease, after, 4), 3);
	ok(lh_fs_lease_stats(fs, &stats));
	assert_int_equal(stats.forced, 0);
	assert_true(stats.released_in_time >= 1);
	other_close(&o);
	free(buf);
	ok(lh_lease_release(lease));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

static void many_partial_faults_are_merged_into_one_grant(void **state)
{
	struct lh_fs *fs = mem_open(10 * NS_PER_SEC);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_lease_stats stats = {.size = sizeof(stats)};
	uint8_t *buf = malloc(FILE_BYTES);
	struct lh_lease *lease;
	struct other o;

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	other_open(&o, fs, "/f");
	for (unsigned i = 0; i < 60; i++) {
		ok(fs_relocate(o.handle, &o.who, i * BLOCK, BLOCK, NULL));
		assert_int_equal(lh_lease_read(lease, buf, FILE_BYTES, 0), FILE_BYTES);
		expect_pattern(buf, FILE_BYTES, 0, 1);
		ok(lh_fs_lease_stats(fs, &stats));
		assert_true(stats.leases <= 17);
	}
	other_close(&o);
	free(buf);
	ok(lh_lease_release(lease));
	ok(lh_fs_lease_stats(fs, &stats));
	assert_int_equal(stats.leases, 0);
	assert_int_equal(stats.pinned_bytes, 0);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L15 */
static void truncate_and_punch_by_others_look_as_they_do_to_pread(void **state)
{
	struct lh_fs *fs = mem_open(10 * NS_PER_SEC);
	struct lh_file *f = file_make(fs, "/f");
	uint8_t *buf = malloc(FILE_BYTES), *same = malloc(FILE_BYTES);
	struct lh_lease *lease;
	struct other o;

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	other_open(&o, fs, "/f");
	ok(fs_allocate(o.handle, &o.who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * BLOCK, 2 * BLOCK));
	assert_int_equal(lh_lease_read(lease, buf, FILE_BYTES, 0), FILE_BYTES);
	assert_int_equal(lh_file_read(f, same, FILE_BYTES, 0), FILE_BYTES);
	assert_memory_equal(buf, same, FILE_BYTES);
	ok(fs_truncate(o.handle, &o.who, 10000));
	assert_int_equal(lh_lease_read(lease, buf, FILE_BYTES, 0), 10000);
	assert_int_equal(lh_file_read(f, same, FILE_BYTES, 0), 10000);
	assert_memory_equal(buf, same, 10000);
	assert_int_equal(lh_lease_read(lease, buf, 100, 20000), 0);
	assert_true(state_of(lease).held);
	/* Growing again: a hole, then bytes in it. */
	ok(fs_truncate(o.handle, &o.who, FILE_BYTES));
	assert_int_equal(lh_lease_read(lease, buf, FILE_BYTES, 0), FILE_BYTES);
	assert_int_equal(lh_file_read(f, same, FILE_BYTES, 0), FILE_BYTES);
	assert_memory_equal(buf, same, FILE_BYTES);
	assert_int_equal(fs_write(o.handle, &o.who, "late", 4, 40000), 4);
	assert_int_equal(lh_lease_read(lease, buf, 4, 40000), 4);
	assert_memory_equal(buf, "late", 4);
	other_close(&o);
	ok(lh_lease_release(lease));
	free(buf);
	free(same);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L5, L21 */
static void own_changes_replace_the_pins_without_notice(void **state)
{
	struct lh_fs *fs = mem_open(10 * NS_PER_SEC);
	struct lh_file *f = file_make(fs, "/f"), *g = file_make(fs, "/g");
	uint8_t *buf = malloc(FILE_BYTES), *same = malloc(FILE_BYTES);
	struct lh_lease *r, *w;

	write_pattern(f, 0, FILE_BYTES, 1);
	r = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_MANUAL);
	w = lease_get(f, 0, FILE_BYTES, LH_LEASE_WRITE);
	assert_int_equal(lh_file_relocate(f, 0, FILE_BYTES), 64);
	assert_int_equal(lh_lease_read(r, buf, FILE_BYTES, 0), FILE_BYTES);
	expect_pattern(buf, FILE_BYTES, 0, 1);
	ok(lh_file_clone_range(g, 0, f, 0, 0));
	fill(buf, BLOCK, 5 * BLOCK, 2);
	assert_int_equal(lh_lease_write(w, buf, BLOCK, 5 * BLOCK), BLOCK);
	assert_int_equal(lh_file_read(g, buf, FILE_BYTES, 0), FILE_BYTES);
	expect_pattern(buf, FILE_BYTES, 0, 1);
	assert_int_equal(lh_lease_read(r, buf, BLOCK, 5 * BLOCK), BLOCK);
	expect_pattern(buf, BLOCK, 5 * BLOCK, 2);
	ok(lh_file_punch(f, 0, BLOCK));
	ok(lh_file_truncate(f, 9000));
	assert_int_equal(lh_file_read(f, same, FILE_BYTES, 0), 9000);
	assert_int_equal(lh_lease_read(r, buf, FILE_BYTES, 0), 9000);
	assert_memory_equal(buf, same, 9000);
	assert_int_equal(state_of(r).recalls, 0);
	assert_int_equal(state_of(r).revocations, 0);
	assert_false(readable(lh_event_fd(fs)));
	ok(lh_lease_release(r));
	ok(lh_lease_release(w));
	free(buf);
	free(same);
	ok(lh_file_close(f));
	ok(lh_file_close(g));
	ok(lh_fs_close(fs));
}

/* L27, L28, L30 */
static void writing_past_the_end_grows_the_file_at_commit(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");
	uint8_t *buf = malloc(FILE_BYTES);
	struct lh_lease *w;

	w = lease_get(f, 0, FILE_BYTES, LH_LEASE_WRITE);
	fill(buf, FILE_BYTES, 0, 4);
	assert_int_equal(lh_lease_write(w, buf, FILE_BYTES, 0), FILE_BYTES);
	ok(lh_file_stat(f, &st));
	assert_int_equal(st.size, 0);
	ok(lh_lease_commit(w, 0, 12345));
	ok(lh_file_stat(f, &st));
	assert_int_equal(st.size, 12345);
	memset(buf, 0, FILE_BYTES);
	assert_int_equal(lh_file_read(f, buf, FILE_BYTES, 0), 12345);
	expect_pattern(buf, 12345, 0, 4);
	ok(lh_lease_release(w));
	free(buf);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L30: the range of a commit may be all of the lease; the file ends where the last direct write did. */
static void a_commit_beyond_what_was_written_does_not_grow(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");
	uint8_t buf[100];
	struct lh_lease *w;

	w = lease_get(f, 0, FILE_BYTES, LH_LEASE_WRITE);
	ok(lh_lease_commit(w, 0, FILE_BYTES));
	ok(lh_file_stat(f, &st));
	assert_int_equal(st.size, 0);
	fill(buf, sizeof(buf), 5000, 4);
	assert_int_equal(lh_lease_write(w, buf, sizeof(buf), 5000), sizeof(buf));
	ok(lh_lease_commit(w, 5100, FILE_BYTES - 5100));
	ok(lh_file_stat(f, &st));
	assert_int_equal(st.size, 0);
	ok(lh_lease_commit(w, 0, FILE_BYTES));
	ok(lh_file_stat(f, &st));
	assert_int_equal(st.size, 5100);
	ok(lh_lease_release(w));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

static void next_event(struct lh_fs *fs, struct lh_event *e)
{
	struct pollfd p = {.fd = lh_event_fd(fs), .events = POLLIN};

	assert_int_equal(poll(&p, 1, 10000), 1);
	*e = (struct lh_event){.size = sizeof(*e)};
	assert_int_equal(lh_event_next(fs, e), 1);
}

static void *truncate_main(void *arg)
{
	struct other *o = arg;

	return (void *)(intptr_t)fs_truncate(o->handle, &o->who, 8 * BLOCK);
}

/* L6, L10 */
static void a_manual_lease_is_told_and_released_by_its_holder(void **state)
{
	struct lh_fs *fs = mem_open(30 * NS_PER_SEC);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_event e = {.size = sizeof(e)};
	struct lh_lease *lease;
	struct other o;
	pthread_t thread;
	uint8_t byte;
	void *result;

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_MANUAL);
	other_open(&o, fs, "/f");
	assert_false(readable(lh_event_fd(fs)));
	assert_int_equal(lh_event_next(fs, &e), 0);
	assert_int_equal(pthread_create(&thread, NULL, truncate_main, &o), 0);
	next_event(fs, &e);
	assert_int_equal(e.type, LH_EVENT_RECALL);
	assert_ptr_equal(e.lease, lease);
	assert_int_equal(e.off, 8 * BLOCK);
	assert_int_equal(e.len, FILE_BYTES - 8 * BLOCK);
	assert_true(e.stop);
	assert_string_equal(e.reason, "truncate");
	assert_true(e.deadline_left_ns > 0 && e.deadline_left_ns <= 30 * NS_PER_SEC);
	/* Still its to use until it releases. */
	assert_int_equal(lh_lease_read(lease, &byte, 1, 20 * BLOCK), 1);
	ok(lh_lease_release(lease));
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
	assert_int_equal(lh_event_next(fs, &e), 0);
	other_close(&o);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L7, L12 */
static void a_manual_lease_that_is_not_released_is_forced_and_its_keys_are_dead(void **state)
{
	struct lh_fs *fs = mem_open(50 * NS_PER_MS);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_event e = {.size = sizeof(e)};
	struct lh_lease_extent x[4];
	struct lh_lease *lease;
	uint8_t byte = 0;
	struct other o;

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_WRITE | LH_LEASE_MANUAL);
	assert_int_equal(lh_lease_extents(lease, x, 4), 1);
	other_open(&o, fs, "/f");
	ok(fs_relocate(o.handle, &o.who, 16 * BLOCK, 16 * BLOCK, NULL));
	next_event(fs, &e);
	assert_int_equal(e.type, LH_EVENT_RECALL);
	assert_false(e.stop);
	next_event(fs, &e);
	assert_int_equal(e.type, LH_EVENT_REVOKED);
	assert_int_equal(e.off, 16 * BLOCK);
	assert_int_equal(e.len, 16 * BLOCK);
	refused(-ESTALE, lh_lease_write(lease, &byte, 1, 20 * BLOCK));
	refused(-ESTALE, lh_raw_write(fs, x[0].key, 20 * BLOCK, &byte, 1));
	/* L4 */
	assert_int_equal(lh_lease_write(lease, &byte, 1, 2 * BLOCK), 1);
	assert_false(state_of(lease).held);
	assert_int_equal(state_of(lease).revocations, 1);
	ok(lh_lease_release(lease));
	other_close(&o);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L7: deadline 0 */
static void a_lease_with_deadline_zero_goes_at_once_and_heals(void **state)
{
	struct lh_fs *fs = mem_open(30 * NS_PER_SEC);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_lease *lease;
	uint64_t begin_ns;
	uint8_t buf[64];
	struct other o;

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_NOW);
	other_open(&o, fs, "/f");
	begin_ns = clock_now_ns();
	ok(fs_relocate(o.handle, &o.who, 0, FILE_BYTES, NULL));
	assert_true(clock_now_ns() - begin_ns < 10 * NS_PER_SEC);
	assert_int_equal(lh_lease_read(lease, buf, sizeof(buf), 9000), sizeof(buf));
	expect_pattern(buf, sizeof(buf), 9000, 1);
	assert_int_equal(state_of(lease).revocations, 1);
	other_close(&o);
	ok(lh_lease_release(lease));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L12 */
static void raw_keys_are_refused_when_wrong_or_dead(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_lease_extent x[2];
	struct lh_lease *lease;
	uint8_t buf[64] = {0};

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	assert_int_equal(lh_lease_extents(lease, x, 2), 1);
	assert_int_equal(lh_raw_read(fs, x[0].key, x[0].key_off + 100, buf, sizeof(buf)), sizeof(buf));
	expect_pattern(buf, sizeof(buf), 100, 1);
	refused(-EACCES, lh_raw_write(fs, x[0].key, 0, buf, sizeof(buf)));
	refused(-ERANGE, lh_raw_read(fs, x[0].key, x[0].len - 10, buf, sizeof(buf)));
	refused(-ESTALE, lh_raw_read(fs, x[0].key ^ 1, 0, buf, sizeof(buf)));
	refused(-ESTALE, lh_raw_read(fs, 12345, 0, buf, sizeof(buf)));
	ok(lh_lease_release(lease));
	refused(-ESTALE, lh_raw_read(fs, x[0].key, 0, buf, sizeof(buf)));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

static void count_lease(void *ctx, const struct lh_lease_info *info)
{
	unsigned *n = ctx;

	assert_int_equal(info->pid, getpid());
	assert_int_equal(info->uid, geteuid());
	assert_string_equal(info->state, "granted");
	assert_int_equal(info->mode, LH_LEASE_READ);
	assert_int_equal(info->len, FILE_BYTES);
	(*n)++;
}

/* L25, L26 */
static void holders_are_listed_and_revoked_by_hand(void **state)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_lease *lease;
	struct lh_trace t[16];
	uint64_t cursor = 0;
	unsigned n = 0;
	uint8_t byte;
	int events;

	write_pattern(f, 0, FILE_BYTES, 1);
	lease = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	ok(lh_fs_leases(fs, "/f", count_lease, &n));
	ok(lh_fs_leases(fs, NULL, count_lease, &n));
	assert_int_equal(n, 2);
	refused(-ENOENT, lh_fs_leases(fs, "/none", count_lease, &n));
	refused(-EINVAL, lh_fs_revoke(fs, &filter));
	filter.path = "/none";
	refused(-ENOENT, lh_fs_revoke(fs, &filter));
	filter.path = "/f";
	assert_int_equal(lh_fs_revoke(fs, &filter), 1);
	assert_int_equal(lh_fs_revoke(fs, &filter), 0);
	assert_int_equal(lh_lease_read(lease, &byte, 1, 0), 1);
	filter = (struct lh_revoke_filter){.size = sizeof(filter), .by_uid = true, .uid = geteuid() + 1};
	assert_int_equal(lh_fs_revoke(fs, &filter), 0);
	events = lh_fs_trace(fs, &cursor, t, 16);
	assert_true(events >= 3);
	assert_string_equal(t[0].event, "grant");
	assert_int_equal(lh_fs_trace(fs, &cursor, t, 16), 0);
	ok(lh_lease_release(lease));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

/* L24 */
static void closing_a_file_ends_its_leases(void **state)
{
	struct lh_lease_stats stats = {.size = sizeof(stats)};
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");

	write_pattern(f, 0, FILE_BYTES, 1);
	(void)lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	(void)lease_get(f, 0, BLOCK, LH_LEASE_WRITE | LH_LEASE_MANUAL);
	ok(lh_fs_lease_stats(fs, &stats));
	assert_int_equal(stats.leases, 2);
	ok(lh_file_close(f));
	ok(lh_fs_lease_stats(fs, &stats));
	assert_int_equal(stats.leases, 0);
	assert_int_equal(stats.pinned_bytes, 0);
	ok(lh_fs_close(fs));
}

static void queues_complete_what_was_submitted(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_completion done[4];
	struct lh_lease *r, *w;
	struct lh_queue *q;
	uint8_t a[BLOCK], b[BLOCK];
	void *buf;

	write_pattern(f, 0, FILE_BYTES, 1);
	r = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ);
	w = lease_get(f, 0, FILE_BYTES, LH_LEASE_WRITE);
	refused(-EINVAL, lh_queue_new(fs, 0, &q));
	refused(-EINVAL, lh_queue_new(fs, 257, &q));
	ok(lh_queue_new(fs, 2, &q));
	fill(a, BLOCK, 0, 9);
	ok(lh_queue_write(q, w, a, BLOCK, 0, &a));
	ok(lh_queue_read(q, r, b, BLOCK, 5 * BLOCK, &b));
	assert_int_equal(lh_queue_read(q, r, b, BLOCK, 0, NULL), -EBUSY);
	assert_int_equal(lh_queue_wait(q, 2, done, 4), 2);
	assert_ptr_equal(done[0].cookie, &a);
	assert_int_equal(done[0].result, BLOCK);
	assert_ptr_equal(done[1].cookie, &b);
	expect_pattern(b, BLOCK, 5 * BLOCK, 1);
	refused(-ERANGE, lh_queue_read(q, r, b, BLOCK, FILE_BYTES, NULL));
	assert_int_equal(lh_queue_wait(q, 0, done, 4), 0);
	lh_queue_free(q);
	buf = lh_buffer_get(fs, 100000);
	assert_non_null(buf);
	assert_int_equal(lh_lease_read(r, buf, 100000, 0), 100000);
	lh_buffer_put(fs, buf);
	ok(lh_lease_release(r));
	ok(lh_lease_release(w));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

static void *relocate_main(void *arg)
{
	struct other *o = arg;

	return (void *)(intptr_t)fs_relocate(o->handle, &o->who, 0, 4 * BLOCK, NULL);
}

/* L8, L9 */
static void nowait_does_not_wait_for_others(void **state)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ | LH_LEASE_NOWAIT};
	struct lh_lease_options waiting = {.size = sizeof(waiting), .flags = LH_LEASE_READ};
	struct lh_caller who = {.size = sizeof(who), .flags = LH_CALLER_NOWAIT};
	struct lh_fs *fs = mem_open(30 * NS_PER_SEC);
	struct lh_file *f = file_make(fs, "/f");
	struct lh_event e = {.size = sizeof(e)};
	struct lh_lease *manual, *second;
	struct other o;
	pthread_t thread;
	void *result;

	write_pattern(f, 0, FILE_BYTES, 1);
	manual = lease_get(f, 0, FILE_BYTES, LH_LEASE_READ | LH_LEASE_MANUAL);
	other_open(&o, fs, "/f");
	assert_int_equal(pthread_create(&thread, NULL, relocate_main, &o), 0);
	next_event(fs, &e);
	refused(-EAGAIN, lh_lease_get(f, 0, BLOCK, &opt, &second));
	ok(lh_lease_get(f, 32 * BLOCK, BLOCK, &opt, &second));
	ok(lh_lease_release(second));
	/* L9: nor does anything else, when the session does not want to wait. */
	lh_fs_set_nowait(fs, true);
	refused(-EWOULDBLOCK, lh_lease_get(f, 0, BLOCK, &waiting, &second));
	lh_fs_set_nowait(fs, false);
	/* The same for calls of this thread alone. */
	ok(lh_thread_caller(&who));
	refused(-EWOULDBLOCK, lh_lease_get(f, 0, BLOCK, &waiting, &second));
	ok(lh_thread_caller(NULL));
	ok(lh_lease_release(manual));
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
	other_close(&o);
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(direct_access_and_calls_see_the_same_bytes),
	    cmocka_unit_test(a_lease_needs_the_right_opening_and_gives_only_its_direction),
	    cmocka_unit_test(a_lease_heals_after_somebody_else_moved_a_part),
	    cmocka_unit_test(many_partial_faults_are_merged_into_one_grant),
	    cmocka_unit_test(truncate_and_punch_by_others_look_as_they_do_to_pread),
	    cmocka_unit_test(own_changes_replace_the_pins_without_notice),
	    cmocka_unit_test(writing_past_the_end_grows_the_file_at_commit),
	    cmocka_unit_test(a_commit_beyond_what_was_written_does_not_grow),
	    cmocka_unit_test(a_manual_lease_is_told_and_released_by_its_holder),
	    cmocka_unit_test(a_manual_lease_that_is_not_released_is_forced_and_its_keys_are_dead),
	    cmocka_unit_test(a_lease_with_deadline_zero_goes_at_once_and_heals),
	    cmocka_unit_test(raw_keys_are_refused_when_wrong_or_dead),
	    cmocka_unit_test(holders_are_listed_and_revoked_by_hand),
	    cmocka_unit_test(closing_a_file_ends_its_leases),
	    cmocka_unit_test(queues_complete_what_was_submitted),
	    cmocka_unit_test(nowait_does_not_wait_for_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
