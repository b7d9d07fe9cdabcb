/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: the ledger over the wire (P34, L18, L19, L26): lists come in pages, each element once and ascending; filters;
 * users see their own; over a limit a status and a sentence, and nobody else is delayed; what was forced is on record.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "raw.h"

#define SOMEBODY 1234
#define LEASES   300u /* more than one page */
#define BLOCK    4096ull

static int setup(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));

	assert_non_null(rig);
	rig_start(rig, 0, NULL, NULL);
	rig_file(rig, "/f", 64 * BLOCK, 'f');
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	rig_stop(*state);
	free(*state);
	return 0;
}

static struct raw *hold(struct rig *rig, unsigned leases)
{
	struct raw *r = raw_open(rig->address);
	uint64_t handle;

	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ, &handle), 0);
	for (unsigned i = 0; i < leases; i++)
		assert_int_equal(raw_lease(r, handle, PROTO_READ, i % 64 * BLOCK, BLOCK, 0, NULL), 0);
	return r;
}

/* All pages of what the filter leaves; asserts the order. The last one in *last. */
static unsigned leases(struct raw *r, struct proto_fs_leases filter, struct proto_lease_info *last)
{
	union proto_body b = {.fs_leases = filter};
	unsigned n = 0, pages = 0;
	uint32_t more = 1;

	while (more) {
		struct proto_lease_info e;
		uint32_t at = 0;

		assert_int_equal(raw_call(r, PROTO_FS_LEASES, 0, &b), 0);
		more = r->body.lease_list.more;
		while (proto_lease_info_next(&r->body.lease_list.leases, &at, &e)) {
			assert_true(e.number > b.fs_leases.after);
			b.fs_leases.after = e.number;
			*last = e;
			n++;
		}
		assert_true(++pages < 10);
	}
	return n;
}

static unsigned sessions(struct raw *r)
{
	struct proto_session_info e;
	uint32_t at = 0;
	unsigned n = 0;

	assert_int_equal(raw_call(r, PROTO_FS_SESSIONS, 0, &(union proto_body){0}), 0);
	while (proto_session_info_next(&r->body.sessions.sessions, &at, &e))
		n++;
	return n;
}

static unsigned audits(struct raw *r, struct proto_audit *last)
{
	union proto_body b = {0};
	unsigned n = 0;
	uint32_t more = 1;

	while (more) {
		struct proto_audit e;
		uint32_t at = 0;

		assert_int_equal(raw_call(r, PROTO_FS_AUDIT, 0, &b), 0);
		more = r->body.audits.more;
		while (proto_audit_next(&r->body.audits.audits, &at, &e)) {
			assert_true(e.number == b.after.number + 1);
			b.after.number = e.number;
			*last = e;
			n++;
		}
	}
	return n;
}

static int limit(struct raw *r, unsigned type, uint32_t kind, uint32_t id, uint64_t bytes, uint64_t count)
{
	union proto_body b = {.limit_ask = {.kind = kind, .id = id, .bytes = bytes, .inodes = count}};

	return raw_call(r, type, 0, &b);
}

static void pages_hold_each_once_in_order(void **state)
{
	struct rig *rig = *state;
	struct raw *r = hold(rig, LEASES), *other = hold(rig, 2);
	struct proto_lease_info last;
	struct proto_audit forced;
	union proto_body revoke = {.fs_revoke = {.session = r->session}};

	assert_int_equal(leases(other, (struct proto_fs_leases){0}, &last), LEASES + 2);
	assert_int_equal(leases(other, (struct proto_fs_leases){.session = r->session}, &last), LEASES);
	assert_int_equal(leases(other, (struct proto_fs_leases){.number = last.number}, &last), 1);
	assert_int_equal(leases(other, (struct proto_fs_leases){.by_uid = 1, .uid = r->uid + 1}, &last), 0);
	assert_int_equal(last.pins, 1);
	assert_int_equal(last.pinned_bytes, BLOCK);
	assert_true(last.pin.len == 3);
	assert_int_equal(sessions(other), 3);
	assert_int_equal(raw_call(other, PROTO_FS_REVOKE, 0, &revoke), 0);
	assert_int_equal(other->body.count.count, LEASES);
	assert_int_equal(audits(other, &forced), LEASES);
	assert_int_equal(forced.session, r->session);
	assert_int_equal(forced.asker_session, other->session);
	assert_int_equal(forced.asker_uid, other->uid);
	assert_int_equal(leases(other, (struct proto_fs_leases){0}, &last), 2);
	raw_close(r);
	raw_close(other);
}

/* L18, L19: a status, a sentence, nothing granted; the others go on. */
static void over_a_limit_it_is_a_status(void **state)
{
	struct rig *rig = *state;
	struct raw *r = hold(rig, 1);
	struct proto_lease_info last;
	uint64_t handle;

	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_PINS, r->uid, 2 * BLOCK, 100), 0);
	assert_int_equal(r->body.limit.limit.bytes_used, BLOCK);
	assert_int_equal(r->body.limit.limit.inodes_used, 1);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &handle), 0);
	assert_int_equal(raw_lease(r, handle, PROTO_READ, 0, 4 * BLOCK, 0, NULL), -EDQUOT);
	assert_int_equal(leases(r, (struct proto_fs_leases){0}, &last), 1);
	assert_int_equal(raw_lease(r, handle, PROTO_READ, 0, BLOCK, 0, NULL), 0);
	assert_int_equal(raw_truncate(r, handle, 32 * BLOCK), 0);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_PINS_POOL, 1, 0, 0), -EINVAL);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_CLEAR, LH_LIMIT_UID, 1, 0, 0), -EINVAL);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_CLEAR, LH_LIMIT_PINS, r->uid, 0, 0), 0);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_CLEAR, LH_LIMIT_PINS, r->uid, 0, 0), -ENODATA);
	assert_int_equal(raw_lease(r, handle, PROTO_READ, 0, 4 * BLOCK, 0, NULL), 0);
	raw_close(r);
}

#define NEED(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			return __LINE__ & 0xff;                                                                        \
	} while (0)

static int as_somebody(struct rig *rig)
{
	struct proto_lease_info last;
	struct proto_audit forced;
	struct raw *r;

	NEED(setgid(SOMEBODY) == 0 && setuid(SOMEBODY) == 0);
	r = hold(rig, 3);
	NEED(leases(r, (struct proto_fs_leases){0}, &last) == 3);
	NEED(last.uid == SOMEBODY);
	NEED(leases(r, (struct proto_fs_leases){.by_uid = 1, .uid = 0}, &last) == 0);
	NEED(sessions(r) == 1);
	NEED(audits(r, &forced) == 0);
	NEED(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_PINS, SOMEBODY, UINT64_MAX, UINT64_MAX) == -EPERM);
	NEED(limit(r, PROTO_FS_LIMIT_CLEAR, LH_LIMIT_PINS, 7, 0, 0) == -EPERM);
	raw_close(r);
	return 0;
}

/* P34. */
static void others_see_what_is_theirs(void **state)
{
	struct rig *rig = *state;
	struct raw *r = hold(rig, 2);
	char path[128];
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip(); /* needs root to become somebody else */
	assert_int_equal(raw_call(r, PROTO_FS_REVOKE, 0, &(union proto_body){.fs_revoke = {.session = r->session}}), 0);
	assert_int_equal(limit(r, PROTO_FS_LIMIT_SET, LH_LIMIT_PINS, 7, 1, 1), 0);
	snprintf(path, sizeof(path), "%s/sock", rig->dir);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(rig->dir, 0755), 0);
	pid = fork();
	if (pid == 0)
		_exit(as_somebody(rig));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		fail_msg("line %d (mod 256) of the child", WEXITSTATUS(status));
	raw_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(pages_hold_each_once_in_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(over_a_limit_it_is_a_status, setup, teardown),
	    cmocka_unit_test_setup_teardown(others_see_what_is_theirs, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
