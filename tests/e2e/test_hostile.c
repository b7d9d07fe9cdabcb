/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L7, L8, L12, L16, L17): a client that means harm, with the public calls alone: it never answers, asks again in
 * a loop, tries numbers, keys of others and what lies behind the end. Nobody is delayed beyond the deadline, nothing is
 * reached, and the well-behaved beside it notice nothing.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE (100 * MS)
/* What a busy machine adds. The rule's 10 ms are measured by the benchmark. */
#define SLACK (3 * SECONDS)

static struct rig rig;
static struct lh_fs *bad, *good;

static int setup(void **state)
{
	bad = rig_open(&rig);
	good = rig_open(&rig);
	return 0;
}

static int teardown(void **state)
{
	assert_ok(lh_fs_close(bad));
	assert_ok(lh_fs_close(good));
	return 0;
}

static uint64_t key_of(struct lh_lease *lease, struct lh_lease_extent *e)
{
	assert_int_equal(lh_lease_extents(lease, e, 1), 1);
	assert_int_not_equal(e->key, 0);
	return e->key;
}

/* L7: many deaf leases on one range cost one deadline, not one each; and the holder's session lives on (L16). */
static void the_deaf_delay_nobody_for_longer(void **state)
{
	struct lh_file *held = rig_file(bad, "/deaf", 256 * KIB, 1), *file = rig_reopen(good, "/deaf", O_RDWR);
	struct lh_lease *leases[64], *other;
	struct lh_lease_extent e;
	uint8_t byte;

	for (unsigned i = 0; i < 64; i++)
		leases[i] = rig_lease(held, (i % 8) * 32 * KIB, 32 * KIB,
				      LH_LEASE_MANUAL | (i % 2 ? LH_LEASE_READ : LH_LEASE_WRITE));
	other = rig_lease(file, 0, 256 * KIB, LH_LEASE_READ);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t key = key_of(leases[i * 2], &e), start = rig_now();

		assert_int_equal(lh_file_relocate(file, i * 64 * KIB, 64 * KIB), 16);
		assert_true(rig_now() - start < DEADLINE + SLACK);
		assert_int_equal(lh_raw_write(bad, key, e.key_off, &byte, 1), -ESTALE);
	}
	assert_int_equal(lh_lease_write(leases[0], &byte, 1, 0), -ESTALE);
	rig_read_same(other, 256 * KIB, 1, 0);
	for (unsigned i = 0; i < 64; i++)
		assert_ok(lh_lease_release(leases[i]));
	assert_ok(lh_lease_release(other));
	/* Its session is as good as before. */
	other = rig_lease(held, 0, 256 * KIB, LH_LEASE_READ);
	rig_read_same(other, 256 * KIB, 1, 0);
	assert_ok(lh_lease_release(other));
	assert_ok(lh_file_close(held));
	assert_ok(lh_file_close(file));
}

static atomic_bool stop_asking;

/* Wants it all, keeps it all, never answers. */
static void *ask_again(void *ctx)
{
	struct lh_file *file = ctx;
	unsigned got = 0, i = 0;

	while (!atomic_load(&stop_asking)) {
		struct lh_lease_options o = {
		    .size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_MANUAL | (i++ % 2 ? LH_LEASE_NOWAIT : 0)};
		struct lh_lease *lease;
		int err = lh_lease_get(file, 0, 64 * KIB, &o, &lease);

		if (err && err != -EAGAIN)
			return (void *)"a lease was refused for another reason than a break";
		got += !err;
		/* Every second is left behind; it goes with the file. */
		if (!err && i % 4)
			lh_lease_release(lease);
		if (got > 5000)
			break;
	}
	return NULL;
}

/* L7, L8: asking again in a loop does not hold up the one who changes the layout. */
static void asking_in_a_loop_starves_nobody(void **state)
{
	struct lh_file *held[3], *file = rig_file(good, "/loop", 64 * KIB, 2);
	pthread_t threads[3];
	void *what;

	atomic_store(&stop_asking, false);
	for (unsigned i = 0; i < 3; i++) {
		held[i] = rig_reopen(bad, "/loop", O_RDONLY);
		assert_int_equal(pthread_create(&threads[i], NULL, ask_again, held[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		uint64_t start = rig_now();

		assert_int_equal(lh_file_relocate(file, 0, 64 * KIB), 16);
		assert_true(rig_now() - start < DEADLINE + SLACK);
	}
	atomic_store(&stop_asking, true);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(threads[i], &what), 0);
		if (what)
			fail_msg("%s", (char *)what);
		assert_ok(lh_file_close(held[i]));
	}
	assert_ok(lh_file_close(file));
}

/* What the key must refuse, whatever it is asked, without a byte moving. */
static void refused_around(uint64_t key, uint64_t off, uint64_t len, bool writing)
{
	static uint8_t buf[64 * KIB];
	const struct {
		uint64_t off, len;
	} tries[] = {
	    {off + len, 1},  {off + len - 1, 2},  {off, len + 1},       {off + len, BLOCK}, {1ull << 40, 8},
	    {UINT64_MAX, 1}, {UINT64_MAX - 7, 8}, {UINT64_MAX - 3, 64}, {1ull << 63, 4096}, {INT64_MAX, 2},
	};

	for (unsigned i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		ssize_t n;

		memset(buf, 0xee, sizeof(buf));
		if (writing)
			n = lh_raw_write(bad, key, tries[i].off, buf, tries[i].len);
		else
			n = lh_raw_read(bad, key, tries[i].off, buf, tries[i].len);
		if ((n != -ERANGE && (n != -EINVAL || tries[i].off + tries[i].len > tries[i].off)) ||
		    strlen(lh_error_text()) < 10)
			fail_msg("%s with a key over [%llu, +%llu), %llu bytes at %llu: %zd \"%s\"",
				 writing ? "write" : "read", (unsigned long long)off, (unsigned long long)len,
				 (unsigned long long)tries[i].len, (unsigned long long)tries[i].off, n,
				 lh_error_text());
		for (size_t k = 0; k < sizeof(buf); k++)
			assert_int_equal(buf[k], 0xee);
	}
}

/* L12, L17: behind the range, in the wrong direction, after the release, after the file belongs to somebody else. */
static void a_key_reaches_its_bytes_and_no_others(void **state)
{
	struct lh_file *file = rig_file(bad, "/key", 64 * KIB, 3), *other;
	struct lh_lease *lease = rig_lease(file, 8 * KIB, 16 * KIB, LH_LEASE_WRITE | LH_LEASE_MANUAL), *reading;
	struct lh_lease_extent e, r;
	uint8_t buf[BLOCK];
	uint64_t key = key_of(lease, &e);

	refused_around(key, e.key_off, e.len, true);
	assert_int_equal(lh_raw_read(bad, key, e.key_off, buf, BLOCK), -EACCES);
	reading = rig_lease(file, 32 * KIB, 16 * KIB, LH_LEASE_READ | LH_LEASE_MANUAL);
	key_of(reading, &r);
	refused_around(r.key, r.key_off, r.len, false);
	rig_fill(buf, BLOCK, 4, 0);
	assert_int_equal(lh_raw_write(bad, r.key, r.key_off, buf, BLOCK), -EACCES);
	assert_true(strlen(lh_error_text()) > 10);
	assert_ok(lh_lease_release(reading));
	assert_int_equal(lh_raw_read(bad, r.key, r.key_off, buf, BLOCK), -ESTALE);
	assert_int_equal(lh_raw_write(bad, r.key, r.key_off, buf, BLOCK), -ESTALE);
	/* The blocks go to another file; the key does not. */
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_path_unlink(good, "/key"));
	other = rig_file(good, "/key.other", 4 * MIB, 5);
	memset(buf, 0xee, BLOCK);
	assert_int_equal(lh_raw_write(bad, key, e.key_off, buf, BLOCK), -ESTALE);
	assert_int_equal(lh_raw_read(bad, key, e.key_off, buf, BLOCK), -ESTALE);
	reading = rig_lease(other, 0, 4 * MIB, LH_LEASE_READ);
	rig_read_same(reading, 4 * MIB, 5, 0);
	assert_ok(lh_lease_release(reading));
	assert_ok(lh_file_close(other));
}

/* Keys of others are as good as none, and so are all numbers that one may think of. */
static void keys_of_others_and_guesses_are_worth_nothing(void **state)
{
	struct lh_file *file = rig_file(good, "/secret", 64 * KIB, 6);
	struct lh_lease *lease = rig_lease(file, 0, 64 * KIB, LH_LEASE_WRITE);
	struct lh_lease_extent e;
	uint64_t key = key_of(lease, &e), seed = 88172645463325252ull;
	uint8_t buf[64];

	memset(buf, 0xee, sizeof(buf));
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t guess;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		guess = i == 0 ? key : i < 1000 ? i - 1 : i < 2000 ? key ^ (1ull << (i % 64)) ^ (i / 64) : seed;
		assert_int_equal(lh_raw_write(bad, guess, 0, buf, sizeof(buf)), -ESTALE);
		assert_int_equal(lh_raw_read(bad, guess, 0, buf, sizeof(buf)), -ESTALE);
	}
	assert_ok(lh_fs_ping(bad));
	assert_ok(lh_lease_release(lease));
	lease = rig_lease(file, 0, 64 * KIB, LH_LEASE_READ);
	rig_read_same(lease, 64 * KIB, 6, 0);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
}

/* L17: what the file's permissions refuse, no lease opens; and calls on handles opened otherwise. */
static void nonsense_is_refused_with_a_sentence(void **state)
{
	static const struct {
		uint64_t off, len;
		uint32_t flags;
	} asked[] = {{0, 0, LH_LEASE_READ},
		     {0, 4096, LH_LEASE_READ | LH_LEASE_WRITE},
		     {0, 4096, LH_LEASE_READ | 0x4000},
		     {UINT64_MAX - 4096, 8192, LH_LEASE_READ},
		     {UINT64_MAX, 1, LH_LEASE_WRITE},
		     {1ull << 62, 1ull << 62, LH_LEASE_WRITE},
		     {1 * MIB, 4096, LH_LEASE_READ}};
	struct lh_file *file = rig_file(bad, "/nonsense", 64 * KIB, 7);
	struct lh_lease *lease;
	uint8_t byte;

	for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct lh_lease_options o = {.size = sizeof(o), .flags = asked[i].flags};
		int err = lh_lease_get(file, asked[i].off, asked[i].len, &o, &lease);

		if (err >= 0 || strlen(lh_error_text()) < 10)
			fail_msg("lease %u: %d \"%s\"", i, err, lh_error_text());
	}
	lease = rig_lease(file, 0, 4096, LH_LEASE_READ);
	assert_true(lh_lease_read(lease, &byte, 1, 4096) <= 0);
	assert_true(lh_lease_read(lease, &byte, 1, UINT64_MAX) <= 0);
	assert_true(lh_lease_write(lease, &byte, 1, 0) < 0);
	assert_true(lh_lease_commit(lease, UINT64_MAX, 2) < 0);
	rig_read_same(lease, 4096, 7, 0);
	assert_ok(lh_lease_release(lease));
	assert_true(lh_file_write(file, &byte, 1, UINT64_MAX) < 0);
	assert_true(lh_file_read(file, &byte, 1, UINT64_MAX) <= 0);
	assert_true(lh_file_truncate(file, UINT64_MAX) < 0);
	assert_true(lh_file_punch(file, UINT64_MAX - 1, 5) < 0);
	assert_true(lh_file_allocate(file, UINT64_MAX - 1, 5, false) < 0);
	assert_true(lh_file_relocate(file, UINT64_MAX, UINT64_MAX) < 0);
	assert_true(lh_file_clone_range(file, 4096, file, 0, 8192) < 0);
	assert_true(lh_file_clone_range(file, UINT64_MAX - 4095, file, 0, 4096) < 0);
	assert_true(lh_file_clone_range(file, 1, file, 0, 4096) < 0);
	assert_ok(lh_fs_ping(bad));
	assert_ok(lh_file_close(file));
}

/* A holder that never looks at its events: they have a bound, and so has what they cost anybody. */
static void events_that_nobody_reads_have_a_bound(void **state)
{
	struct lh_file *held = rig_file(bad, "/unread", 64 * KIB, 8), *file = rig_reopen(good, "/unread", O_RDWR);
	struct lh_event e = {.size = sizeof(e)};
	unsigned events = 0;

	for (unsigned i = 0; i < 2500; i++) {
		struct lh_lease_options o = {
		    .size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_MANUAL, .deadline_ns = 1};
		struct lh_lease *lease;

		assert_ok(lh_lease_get(held, 0, BLOCK, &o, &lease));
		assert_int_equal(lh_file_relocate(file, 0, BLOCK), 1);
		if (i % 2)
			assert_ok(lh_lease_release(lease));
	}
	while (lh_event_next(bad, &e) == 1)
		events++;
	assert_in_range(events, 1, 10000);
	assert_ok(lh_fs_ping(bad));
	assert_ok(lh_file_close(held));
	assert_ok(lh_file_close(file));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(the_deaf_delay_nobody_for_longer, setup, teardown),
	    cmocka_unit_test_setup_teardown(asking_in_a_loop_starves_nobody, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_key_reaches_its_bytes_and_no_others, setup, teardown),
	    cmocka_unit_test_setup_teardown(keys_of_others_and_guesses_are_worth_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(nonsense_is_refused_with_a_sentence, setup, teardown),
	    cmocka_unit_test_setup_teardown(events_that_nobody_reads_have_a_bound, setup, teardown),
	};
	int failed;

	rig_init(argc, argv);
	/* Thousands of forced revocations are meant to happen, each a warning. */
	setenv("LEASEHOLD_LOG", "error", 1);
	rig_start(&rig, "mem:64M", DEADLINE);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
