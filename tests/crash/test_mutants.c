/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: the crash suite finds what it is there to find. Rules that the filesystem keeps are broken one at a time, at
 * link time (--wrap), and the seeded sequences of crash_seq must notice: a state that may not be, a finding of
 * fs_verify, or an answer that the reference does not give. The filesystem as it is passes the same sequences.
 *
 * Each mutant says how many sequences and states it took.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "crash_make.h"
#include "fs/core.h"
#include "fs/layout.h"

#include <cmocka.h>
#undef fail

#define SEQUENCES      400u  /* of the filesystem as it is */
#define SEQUENCES_FIND 4000u /* by then a mutant must have been found; most are within the first hundred */

enum mutant {
	NONE,
	NO_DATA_FLUSH,  /* journal_data: content is not handed over before its record (I1) */
	NO_DATA_FENCE,  /* commit_content: the record may overtake its content (I1) */
	NO_SHARING,     /* alloc_shared: shared blocks are written in place */
	NO_HAZARD,      /* hazard_settle: bytes change before the record that allowed it is durable */
	NO_TAIL,        /* store_gap: old bytes behind the end come back into view when the file grows */
	NO_DURABLE_SYNC /* journal_sync returns at once */
};
static enum mutant mutant;

void __real_journal_data(struct journal *j, uint64_t off, uint64_t len);
void __wrap_journal_data(struct journal *j, uint64_t off, uint64_t len);
int __wrap_commit_content(struct fs *fs, struct jtxn *t, uint64_t *seq);
int __real_commit_content(struct fs *fs, struct jtxn *t, uint64_t *seq);
bool __real_alloc_shared(struct alloc *a, struct run r, uint64_t *alike);
bool __wrap_alloc_shared(struct alloc *a, struct run r, uint64_t *alike);
int __real_hazard_settle(struct fs *fs);
int __wrap_hazard_settle(struct fs *fs);
int __real_hazard_settle_in_place(struct fs *fs, struct inode *i);
int __wrap_hazard_settle_in_place(struct fs *fs, struct inode *i);
int __real_store_gap(struct store *s, uint64_t up_to);
int __wrap_store_gap(struct store *s, uint64_t up_to);
int __real_journal_sync(struct journal *j);
int __wrap_journal_sync(struct journal *j);

void __wrap_journal_data(struct journal *j, uint64_t off, uint64_t len)
{
	if (mutant != NO_DATA_FLUSH)
		__real_journal_data(j, off, len);
}

int __wrap_commit_content(struct fs *fs, struct jtxn *t, uint64_t *seq)
{
	return mutant == NO_DATA_FENCE ? jtxn_commit(fs->journal, t, seq) : __real_commit_content(fs, t, seq);
}

bool __wrap_alloc_shared(struct alloc *a, struct run r, uint64_t *alike)
{
	if (mutant != NO_SHARING)
		return __real_alloc_shared(a, r, alike);
	*alike = r.blocks;
	return false;
}

int __wrap_hazard_settle(struct fs *fs)
{
	return mutant == NO_HAZARD ? 0 : __real_hazard_settle(fs);
}

int __wrap_hazard_settle_in_place(struct fs *fs, struct inode *i)
{
	return mutant == NO_HAZARD ? 0 : __real_hazard_settle_in_place(fs, i);
}

int __wrap_store_gap(struct store *s, uint64_t up_to)
{
	return mutant == NO_TAIL ? 0 : __real_store_gap(s, up_to);
}

int __wrap_journal_sync(struct journal *j)
{
	return mutant == NO_DURABLE_SYNC ? 0 : __real_journal_sync(j);
}

/* Runs sequences until one fails; how many were run. 0: none failed. */
static unsigned sequences(enum pool_class class, uint64_t *states, char id[CRASH_ID_MAX])
{
	*states = 0;
	for (unsigned n = 1; n <= (mutant == NONE ? SEQUENCES : SEQUENCES_FIND); n++) {
		struct world *w = world_new();
		struct crash_result r;
		struct crash_case c;
		int err;

		world_make_ops(w, n);
		world_prepare(w, class);
		world_case(w, &c);
		c.name = "mutant";
		c.outcomes_max = 24;
		c.torn = 2;
		c.recovery_states = CRASH_NONE;
		c.quiet = true;
		err = crash_run_id(&c, NULL, &r);
		world_free(w);
		free(w);
		*states += r.states;
		memcpy(id, r.first_id, CRASH_ID_MAX);
		if (err)
			snprintf(id, CRASH_ID_MAX, "%s", fail_text());
		if (err || r.failed)
			return n;
	}
	return 0;
}

/* What a mutant does to the program may be anything: it is said on stderr, which nobody needs to read. */
static void must_find(enum mutant m, const char *name, enum pool_class class)
{
	int said = dup(STDERR_FILENO);
	char id[CRASH_ID_MAX];
	uint64_t states;
	unsigned n;

	fflush(stderr);
	if (freopen("/dev/null", "w", stderr) == NULL)
		abort();
	mutant = m;
	n = sequences(class, &states, id);
	mutant = NONE;
	fflush(stderr);
	dup2(said, STDERR_FILENO);
	close(said);
	if (n == 0)
		print_error("%s (%s) was not found in %u sequences, %" PRIu64 " states\n", name, pool_class_name(class),
			    SEQUENCES_FIND, states);
	assert_true(n > 0);
	print_message("%s (%s): found in sequence %u after %" PRIu64 " states: %s\n", name, pool_class_name(class), n,
		      states, id);
}

static void the_filesystem_as_it_is_passes(void **state)
{
	char id[CRASH_ID_MAX];
	uint64_t states;

	assert_int_equal(sequences(POOL_CACHE_FLUSH, &states, id), 0);
	assert_int_equal(sequences(POOL_MSYNC, &states, id), 0);
}

static void content_that_is_not_flushed_before_its_record_is_found(void **state)
{
	must_find(NO_DATA_FLUSH, "no flush of content", POOL_CACHE_FLUSH);
	must_find(NO_DATA_FLUSH, "no sync of content", POOL_MSYNC);
}

static void a_record_that_overtakes_its_content_is_found(void **state)
{
	must_find(NO_DATA_FENCE, "no fence between content and record", POOL_CACHE_FLUSH);
}

static void writes_to_shared_blocks_are_found(void **state)
{
	must_find(NO_SHARING, "shared blocks written in place", POOL_CACHE_FLUSH);
	must_find(NO_SHARING, "shared blocks written in place", POOL_MSYNC);
}

static void bytes_changed_before_the_record_that_allowed_it_are_found(void **state)
{
	must_find(NO_HAZARD, "hazards not settled", POOL_MSYNC);
}

static void old_bytes_behind_the_end_are_found(void **state)
{
	must_find(NO_TAIL, "gap not zeroed", POOL_MSYNC);
}

static void a_sync_that_does_nothing_is_found(void **state)
{
	must_find(NO_DURABLE_SYNC, "sync does nothing", POOL_MSYNC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_filesystem_as_it_is_passes),
	    cmocka_unit_test(content_that_is_not_flushed_before_its_record_is_found),
	    cmocka_unit_test(a_record_that_overtakes_its_content_is_found),
	    cmocka_unit_test(writes_to_shared_blocks_are_found),
	    cmocka_unit_test(bytes_changed_before_the_record_that_allowed_it_are_found),
	    cmocka_unit_test(old_bytes_behind_the_end_are_found),
	    cmocka_unit_test(a_sync_that_does_nothing_is_found),
	};

	world_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
