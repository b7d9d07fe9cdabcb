/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a session that watches hears what others change, before the answer of whatever it asks later; one that does not
 * read costs the others nothing, keeps its session, and learns that it missed something (P22, P51, P74, P75, L19).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h" /* before cmocka, whose fail() is a macro */

#include <cmocka.h>

#include "fixture.h"
#include "leasehold/leasehold.h"

#define WATCH_MAX 8192u
#define MANY      12000u /* three times the feed's ring */

/* What came, in its order. */
struct heard {
	unsigned count, alls, entries;
	unsigned next; /* of names "n0", "n1"...: the one after the last */
	bool in_order;
	struct proto_change last;
	char name[PROTO_NAME_MAX + 1];
};

static void hear(struct heard *heard, const struct proto_changed *changed)
{
	struct proto_change c;
	uint32_t cursor = 0;

	while (proto_change_next(&changed->changes, &cursor, &c)) {
		heard->count++;
		heard->last = c;
		heard->alls += c.type == LH_CHANGE_ALL;
		proto_str_copy(c.name, heard->name, sizeof(heard->name));
		if (c.type != LH_CHANGE_ENTRY || heard->name[0] != 'n')
			continue;
		heard->in_order &= (unsigned)atoi(heard->name + 1) == heard->next;
		heard->next = (unsigned)atoi(heard->name + 1) + 1;
		heard->entries++;
	}
}

static struct heard nothing(void)
{
	return (struct heard){.in_order = true};
}

/* Until the answer of seq; its status. */
static int listen_until(struct raw *r, uint64_t seq, struct heard *heard)
{
	for (;;) {
		assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
		if (r->h.flags & PROTO_REPLY) {
			assert_int_equal(r->h.seq, seq);
			return -(int)r->h.status;
		}
		assert_int_equal(r->h.type, PROTO_CHANGED);
		assert_int_equal(r->h.seq, 0);
		hear(heard, &r->body.changed);
	}
}

static int ping(struct raw *r, struct heard *heard)
{
	return listen_until(r, raw_send(r, PROTO_PING, 0, NULL), heard);
}

static int watch(struct raw *r, bool on, struct heard *heard)
{
	return listen_until(r, raw_send(r, PROTO_WATCH, 0, &(union proto_body){.watch = {.on = on}}), heard);
}

static void name_made(struct rig *rig, unsigned n)
{
	char path[32];

	snprintf(path, sizeof(path), "/n%u", n);
	assert_int_equal(fs_symlink(rig->fs, &rig->root, "x", path), 0);
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct server_limits limits = server_limits_default;

	limits.watch_max = WATCH_MAX;
	limits.lease_ns = 60 * NS_PER_SEC;
	rig_start(rig, D_LONG, &limits, NULL);
	rig_file(rig, "/f", 4 * BLOCK, 'a');
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	rig_wait_stats(rig, 0, 1);
	rig_stop(rig);
	free(rig);
	return 0;
}

static struct raw *watcher(struct rig *rig, bool resumable)
{
	struct heard heard = nothing();
	struct raw *r = raw_new(rig->address);

	r->resumable = resumable;
	raw_hello(r, 1, 1, 0, UINT64_MAX);
	assert_int_equal(watch(r, true, &heard), 0);
	assert_int_equal(heard.count, 0);
	return r;
}

static void goodbye(struct raw *r)
{
	r->seq = UINT64_MAX; /* it has none */
	raw_send(r, PROTO_GOODBYE, 0, &(union proto_body){0});
	raw_close(r);
}

/* P75: every change is told before the answer of what was asked after it. */
static void changes_precede_later_answers(void **state)
{
	struct rig *rig = *state;
	struct raw *r = watcher(rig, false);
	struct heard heard = nothing();
	uint64_t handle;

	for (unsigned i = 0; i < 300; i++) {
		name_made(rig, i);
		assert_int_equal(ping(r, &heard), 0);
		assert_int_equal(heard.next, i + 1);
	}
	assert_true(heard.in_order);
	assert_int_equal(heard.alls, 0);
	assert_int_equal(raw_file_open(r, "/f", PROTO_O_READ | PROTO_O_WRITE, &handle), 0);
	heard = nothing();
	/* Its own are not told. */
	assert_int_equal(raw_write(r, handle, "x", 1, 0), 0);
	assert_int_equal(raw_truncate(r, handle, 1), 0);
	assert_int_equal(ping(r, &heard), 0);
	assert_int_equal(heard.count, 0);
	raw_close(r);
}

/* Without a request in between it comes soon, too. */
static void changes_come_unasked(void **state)
{
	struct rig *rig = *state;
	struct raw *r = watcher(rig, false);

	for (unsigned i = 0; i < 20; i++) {
		struct heard heard = nothing();

		heard.next = i;
		name_made(rig, i);
		while (heard.next == i) {
			assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
			assert_int_equal(r->h.type, PROTO_CHANGED);
			hear(&heard, &r->body.changed);
		}
		assert_true(heard.in_order);
	}
	raw_close(r);
}

/* P74: ended and begun anew; what others write to comes first. */
static void a_watch_ends_and_begins_anew(void **state)
{
	struct rig *rig = *state;
	struct raw *r = watcher(rig, false), *writer = raw_open(rig->address);
	struct heard heard = nothing();
	uint64_t handle;

	assert_int_equal(watch(r, false, &heard), 0);
	name_made(rig, 0);
	assert_int_equal(raw_file_open(writer, "/f", PROTO_O_READ | PROTO_O_WRITE, &handle), 0);
	assert_int_equal(raw_lease(writer, handle, PROTO_WRITE, 0, BLOCK, 0, NULL), 0);
	assert_int_equal(ping(r, &heard), 0);
	assert_int_equal(watch(r, false, &heard), 0);
	assert_int_equal(heard.count, 0);
	for (unsigned i = 0; i < 2; i++) {
		heard = nothing();
		assert_int_equal(watch(r, true, &heard), 0);
		assert_int_equal(ping(r, &heard), 0);
		assert_int_equal(heard.count, 1);
		assert_int_equal(heard.last.type, LH_CHANGE_DATA);
		assert_int_equal(heard.last.writers, 1);
	}
	raw_close(writer);
	raw_close(r);
}

/* P22. */
static void who_did_not_ask_for_it_does_not_have_it(void **state)
{
	struct rig *rig = *state;
	struct raw *r = raw_new(rig->address);
	struct heard heard = nothing();

	raw_hello(r, 1, 1, 0, PROTO_FEATURE_STREAM | PROTO_FEATURE_AS);
	assert_int_equal(watch(r, true, &heard), -EOPNOTSUPP);
	raw_close(r);
}

/* P74, L19: nobody waits for him, his session stays, and what he did not hear of is "all". */
static void the_deaf_hear_that_they_missed_something(void **state)
{
	struct rig *rig = *state;
	struct raw *r = watcher(rig, true);
	struct heard heard = nothing();
	int small = 4096;

	assert_int_equal(setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	for (unsigned i = 0; i < MANY; i++)
		name_made(rig, i);
	/* Answers come all the same; before the last of them "all" at the latest. */
	for (unsigned i = 0; i < 3; i++)
		raw_send(r, PROTO_PING, 0, NULL);
	for (unsigned answers = 0; answers < 3;) {
		assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
		answers += (r->h.flags & PROTO_REPLY) != 0;
		if (!(r->h.flags & PROTO_REPLY))
			hear(&heard, &r->body.changed);
	}
	assert_true(heard.alls > 0);
	assert_true(heard.entries < MANY);
	/* He has read it all: from here on nothing is missed. */
	assert_int_equal(ping(r, &heard), 0);
	assert_int_equal(ping(r, &heard), 0);
	heard = nothing();
	heard.next = MANY;
	for (unsigned i = 0; i < 100; i++) {
		name_made(rig, MANY + i);
		assert_int_equal(ping(r, &heard), 0);
	}
	assert_int_equal(heard.entries, 100);
	assert_true(heard.in_order);
	goodbye(r);
}

/* P51: what others did while the connection was lost is told with the next one: in order, or as "all". */
static void what_happened_while_away_is_told(void **state)
{
	struct rig *rig = *state;
	struct raw *r = watcher(rig, true);
	struct heard heard = nothing();
	uint64_t had;

	assert_int_equal(ping(r, &heard), 0);
	had = r->received;
	raw_cut(r);
	for (unsigned i = 0; i < 20; i++)
		name_made(rig, i);
	assert_int_equal(raw_resume(r, rig->address, had), 0);
	assert_int_equal(ping(r, &heard), 0);
	assert_int_equal(heard.entries, 20);
	assert_true(heard.in_order);
	assert_int_equal(heard.alls, 0);
	had = r->received;
	raw_cut(r);
	for (unsigned i = 20; i < MANY; i++)
		name_made(rig, i);
	assert_int_equal(raw_resume(r, rig->address, had), 0);
	heard = nothing();
	for (unsigned i = 0; i < 10 && !heard.alls; i++)
		assert_int_equal(ping(r, &heard), 0);
	assert_true(heard.alls > 0);
	goodbye(r);
}

/* A watch ends with its session, also while others change things all the time. */
static void a_session_that_goes_takes_its_watch_along(void **state)
{
	struct rig *rig = *state;

	for (unsigned i = 0; i < 50; i++) {
		struct raw *r = watcher(rig, false);

		for (unsigned k = 0; k < 20; k++)
			name_made(rig, i * 20 + k);
		raw_close(r);
	}
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(changes_precede_later_answers),
	    T(changes_come_unasked),
	    T(a_watch_ends_and_begins_anew),
	    T(who_did_not_ask_for_it_does_not_have_it),
	    T(the_deaf_hear_that_they_missed_something),
	    T(what_happened_while_away_is_told),
	    T(a_session_that_goes_takes_its_watch_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
