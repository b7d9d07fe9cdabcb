/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance, L22 to L26: exclusive leases, changes of mode, what ends leases, and who sees and revokes them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SIZE     (64 * CF_KIB)
#define AGE      (300 * NS_PER_MS)
#define STRANGER 65533u

/* --- L22 --- */

static struct lh_lease *exclusive(struct cf *c, struct lh_file *f, uint32_t mode, uint64_t age)
{
	struct lh_lease_options o = {
	    .size = sizeof(o), .flags = mode | LH_LEASE_EXCLUSIVE, .deadline_ns = CF_DEADLINE, .max_age_ns = age};
	struct lh_lease *lease;

	if (c->variant.faulting)
		o.flags |= LH_LEASE_FAULTING;
	OK(c, cf_try_lease(c, f, 0, SIZE, &o, &lease));
	NEED(c, cf_state(c, lease).flags & LH_LEASE_EXCLUSIVE && cf_state(c, lease).exclusive_left_ns > 0,
	     "the lease does not say that it is exclusive");
	return lease;
}

static void changes_are_denied(struct cf *c)
{
	struct cf_made made, om;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_file *other = cf_make(c, c->b, SIZE, &om);
	struct lh_lease *lease = exclusive(c, held, LH_LEASE_WRITE, 0);
	uint64_t began = clock_now_ns();

	IS(c, lh_file_truncate(f, CF_BLOCK), -ETXTBSY);
	IS(c, lh_file_punch(f, 0, CF_BLOCK), -ETXTBSY);
	IS(c, lh_file_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, CF_BLOCK), -ETXTBSY);
	IS(c, lh_file_clone_range(f, 0, other, 0, SIZE), -ETXTBSY);
	IS(c, lh_file_clone_range(other, 0, f, 0, SIZE), -ETXTBSY);
	IS(c, lh_file_exchange_range(f, 0, other, 0, SIZE), -ETXTBSY);
	NEED(c, clock_now_ns() - began < 2 * NS_PER_SEC, "a refusal waited");
	/* In place is no change of the layout; other ranges are nobody's business. */
	cf_fill(c, f, 0, CF_BLOCK, made.owner, 3);
	cf_fill(c, f, SIZE, SIZE, made.owner, 3);
	OK(c, lh_file_relocate(f, SIZE, SIZE));
	IS(c, lh_file_truncate(held, 0), -EDEADLK);
	IS(c, lh_file_punch(held, 0, CF_BLOCK), -EDEADLK);
	NEED(c, cf_state(c, lease).recalls == 0, "what is denied recalled the holder");
	cf_lease_same(c, cf_lease(c, held, 0, SIZE, LH_LEASE_READ), 0, SIZE, made.owner);
	cf_release(c, lease);
	OK(c, lh_file_relocate(f, 0, SIZE));
	cf_same(c, f, 0, 2 * SIZE, made.owner);
	cf_saw(
	    c,
	    "6 changes by others ETXTBSY at once, 2 of the holder EDEADLK; in place and elsewhere nothing is denied");
}

static void its_age_has_an_end(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_lease *lease = exclusive(c, held, LH_LEASE_READ, AGE);
	uint64_t began = clock_now_ns(), took;
	int64_t n;

	do {
		n = lh_file_punch(f, SIZE / 2, SIZE / 2);
		took = clock_now_ns() - began;
		NEED(c, n == 0 || n == -ETXTBSY, "punch: %s", lh_error_text());
		NEED(c, took < AGE + 5 * NS_PER_SEC, "still denied %.1f s after its age", (double)(took - AGE) / 1e9);
	} while (n == -ETXTBSY);
	NEED(c, took >= AGE - 20 * NS_PER_MS, "the change was let through after %.0f ms of 300", (double)took / 1e6);
	cf_lease_same(c, lease, 0, SIZE / 2, made.owner);
}

static void an_administrator_overrides(struct cf *c)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_lease *lease = exclusive(c, held, LH_LEASE_READ, 0);

	filter.number = cf_state(c, lease).number;
	IS(c, lh_file_punch(f, 0, SIZE), -ETXTBSY);
	IS(c, lh_fs_revoke(c->b, &filter), 1);
	OK(c, lh_file_punch(f, 0, SIZE));
}

static void failing_memory_overrides(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f, *held;
	struct lh_extent e[16];

	if (strncmp(c->config->pool, "mem:", 4) != 0)
		cf_skip(c, "would take memory of the pool away for good: only with mem: pools");
	f = cf_make(c, c->local, SIZE, &made);
	held = cf_open(c, c->a, &made, O_RDWR);
	exclusive(c, held, LH_LEASE_READ, 0);
	NEED(c, OK(c, lh_file_extents(f, 0, SIZE, e, 16)) > 0 && e[0].pool_off != 0, "no place of the file is told");
	OK(c, lh_fs_evacuate(c->local, e[0].pool_off, CF_BLOCK, NULL, NULL));
	cf_same(c, f, 0, SIZE, made.owner);
}

static void strangers_may_not(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct cf_child *h = cf_child_new(c, CF_HOLD, &made);

	(void)f;
	if (c->variant.holder == CF_END_TCP)
		cf_skip(c, "all TCP clients are one user");
	h->board->uid = STRANGER;
	h->board->flags = LH_LEASE_READ | LH_LEASE_EXCLUSIVE;
	cf_child_expect(c, h, -EPERM);
}

/* --- L23 --- */

static void modes_change_atomically(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ);
	struct lh_lease_extent read_key = cf_key(c, lease), write_key;
	uint8_t buf[CF_BLOCK];

	cf_stamp(buf, CF_BLOCK, made.owner, 0, 5);
	OK(c, lh_lease_change(lease, LH_LEASE_WRITE, 0));
	NEED(c, cf_state(c, lease).mode == LH_LEASE_WRITE, "the mode did not change");
	NEED(c, lh_raw_read(c->a, read_key.key, read_key.key_off, buf, 8) == -ESTALE, "the READ key lives");
	cf_stamp(buf, CF_BLOCK, made.owner, 0, 5);
	IS(c, lh_lease_write(lease, buf, CF_BLOCK, 0), (int64_t)CF_BLOCK);
	write_key = cf_key(c, lease);
	OK(c, lh_lease_change(lease, LH_LEASE_READ | LH_LEASE_EXCLUSIVE, AGE * 10));
	NEED(c, lh_raw_write(c->a, write_key.key, write_key.key_off, buf, CF_CELL) == -ESTALE, "the WRITE key lives");
	NEED(c, lh_lease_write(lease, buf, CF_BLOCK, 0) < 0, "a lease that was changed to READ writes");
	IS(c, lh_file_punch(f, SIZE / 2, SIZE / 2), -ETXTBSY);
	OK(c, lh_lease_change(lease, LH_LEASE_READ, 0));
	OK(c, lh_file_punch(f, SIZE / 2, SIZE / 2));
	cf_lease_same(c, lease, 0, SIZE / 2, made.owner);
	cf_saw(c, "READ to WRITE to EXCLUSIVE READ to READ: the old mode's keys are dead when the call returns");
}

static void a_broken_lease_does_not_change(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct cf_task t = {.run = cf_run_relocate, .file = f, .len = SIZE};

	cf_go(c, &t);
	cf_event(c, c->a);
	IS(c, lh_lease_change(lease, LH_LEASE_WRITE, 0), -ESTALE);
	NEED(c, cf_state(c, lease).mode == LH_LEASE_READ, "a change that failed changed the mode");
	cf_release(c, lease);
	OK(c, cf_join(c, &t));
}

static void a_change_needs_its_open(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ);

	(void)f;
	IS(c, lh_lease_change(lease, LH_LEASE_WRITE, 0), -EBADF);
	cf_lease_same(c, lease, 0, SIZE, made.owner);
}

/* --- L24 --- */

static void a_close_ends_leases(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made), *second = cf_open(c, c->a, &made, O_RDWR);
	struct lh_lease *w = cf_lease(c, f, 0, SIZE, LH_LEASE_WRITE),
			*mine = cf_lease(c, second, 0, SIZE, LH_LEASE_READ);
	struct lh_lease_extent key = cf_key(c, w);
	struct lh_file *changer = cf_open(c, c->b, &made, O_RDWR);
	uint8_t buf[CF_BLOCK];

	cf_stamp(buf, CF_BLOCK, made.owner, 0, 8);
	IS(c, lh_lease_write(w, buf, CF_BLOCK, 0), (int64_t)CF_BLOCK);
	/* Another handle's close takes nothing. */
	cf_close(c, f);
	IS(c, lh_raw_write(c->a, key.key, key.key_off, buf, CF_BLOCK), -ESTALE);
	cf_lease_same(c, mine, 0, SIZE, made.owner);
	OK(c, lh_file_relocate(changer, 0, SIZE));
	cf_same(c, changer, 0, SIZE, made.owner);
	cf_saw(c, "closed with a live key: it is dead, what was written is kept, the other handle's lease goes on");
}

/* The library gives its leases back before it closes a file; a client that does not is no better off. */
static void a_close_by_hand_ends_leases(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	uint64_t leases = cf_stats(c, c->b).leases, handle, began;
	struct cf_wire_lease lease;
	struct cf_wire w;
	uint8_t answer[16];
	int fd;

	cf_wire_open(c, &w, c->variant.holder);
	handle = cf_wire_file(c, &w, made.path, false);
	IS(c, cf_wire_lease(&w, handle, 0, SIZE, LH_LEASE_READ, CF_LONG, &lease), 0);
	fd = cf_wire_data(c, &w, c->variant.holder);
	IS(c, cf_wire_file_close(&w, handle), 0);
	NEED(c, cf_stream_request(fd, false, lease.key, lease.key_off, 8), "the request was not taken");
	NEED(c, cf_stream_take(fd, answer, 16) == 16 && answer[3] == 1, "the key of a handle that was closed lives");
	NEED(c, !c->config->owned || cf_stats(c, c->b).leases == leases,
	     "the lease of a handle that was closed stands");
	began = clock_now_ns();
	OK(c, lh_file_relocate(f, 0, SIZE));
	NEED(c, clock_now_ns() - began < CF_LONG / 2, "a change waited for the lease of a handle that was closed");
	close(fd);
	cf_wire_close(&w);
	cf_saw(c, "a handle closed with its lease: the lease is gone, its key dead, and a change waits for nobody");
}

/* With operations in flight: drained, not lost and not left. */
static void a_close_drains(struct cf *c)
{
	unsigned times = cf_scaled(c, 20, 6);

	for (unsigned i = 0; i < times; i++) {
		struct cf_made made;
		struct lh_fs *fs = c->variant.holder == CF_END_LOCAL ? c->local : cf_session(c, c->variant.holder);
		struct lh_file *f = cf_make(c, fs, SIZE, &made);
		struct lh_lease *lease = cf_lease(c, f, 0, SIZE, LH_LEASE_READ);
		struct lh_lease_extent key = cf_key(c, lease);
		uint8_t byte;

		cf_lease_same(c, lease, 0, SIZE, made.owner);
		cf_close(c, f);
		IS(c, lh_raw_read(fs, key.key, key.key_off, &byte, 1), -ESTALE);
		if (fs != c->local)
			cf_session_close(c, fs);
	}
}

static void another_process_has_nothing(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct cf_child *h = cf_child_new(c, CF_HOLD, &made);
	uint8_t byte;

	(void)f;
	cf_child_start(c, h);
	NEED(c, atomic_load(&h->board->key_count) > 0, "the holder has no key");
	IS(c, lh_raw_read(c->a, h->board->keys[0].key, h->board->keys[0].key_off, &byte, 1), -ESTALE);
	IS(c, lh_raw_read(c->b, h->board->keys[0].key, h->board->keys[0].key_off, &byte, 1), -ESTALE);
	cf_child_end(c, h);
}

/* --- L25, L26 --- */

struct find {
	uint64_t number;
	struct lh_lease_info info;
	unsigned found, all;
};

static void look_for(void *ctx, const struct lh_lease_info *i)
{
	struct find *f = ctx;

	f->all++;
	if (i->number != f->number)
		return;
	f->found++;
	f->info = *i;
}

static struct lh_lease_info find_lease(struct cf *c, const char *path, uint64_t number)
{
	struct find f = {.number = number};

	OK(c, lh_fs_leases(c->b, path, look_for, &f));
	NEED(c, f.found == 1, "the lease is listed %u times", f.found);
	return f.info;
}

static void idle_leases_are_seen_and_removed(struct cf *c)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct cf_made made, sparse;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made), *hole = cf_make(c, c->a, 0, &sparse);
	struct lh_lease *idle, *pinless;
	struct lh_lease_info i;

	OK(c, lh_file_truncate(hole, SIZE));
	pinless = cf_lease(c, hole, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	idle = cf_lease(c, f, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	i = find_lease(c, sparse.path, cf_state(c, pinless).number);
	NEED(c, i.pinned_bytes == 0, "a lease over a hole pins %llu bytes", (unsigned long long)i.pinned_bytes);
	i = find_lease(c, NULL, cf_state(c, idle).number);
	NEED(c, c->variant.faulting || i.pinned_bytes == SIZE, "an idle lease pins %llu bytes in the list",
	     (unsigned long long)i.pinned_bytes);
	filter.number = cf_state(c, pinless).number;
	IS(c, lh_fs_revoke(c->b, &filter), 1);
	filter.number = cf_state(c, idle).number;
	IS(c, lh_fs_revoke(c->b, &filter), 1);
	IS(c, lh_fs_revoke(c->b, &filter), 0);
	NEED(c, cf_event(c, c->a).type == LH_EVENT_REVOKED, "the holder was not told");
	cf_saw(c, "a lease without a pin and one without traffic: both listed, both removed");
}

static void listings_are_complete(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, 2 * SIZE, &made);
	struct lh_lease *lease = cf_lease(c, f, SIZE, SIZE, LH_LEASE_WRITE | LH_LEASE_MANUAL);
	struct lh_lease_info i = find_lease(c, made.path, cf_state(c, lease).number);
	struct cf_task t = {.run = cf_run_relocate, .file = cf_open(c, c->b, &made, O_RDWR), .off = SIZE, .len = SIZE};

	NEED(c, i.off == SIZE && i.len == SIZE && i.mode == LH_LEASE_WRITE && i.bytes == SIZE,
	     "range or mode are wrong");
	NEED(c, i.ino == cf_stat(c, f).ino && i.session != 0, "inode or session are wrong");
	NEED(c, strcmp(i.state, "granted") == 0 && i.age_ns < 60 * NS_PER_SEC, "state or age are wrong");
	if (c->config->owned)
		NEED(c, i.uid == geteuid() && i.pid == getpid(), "uid %u, pid %d are not ours", i.uid, i.pid);
	cf_go(c, &t);
	cf_event(c, c->a);
	i = find_lease(c, made.path, cf_state(c, lease).number);
	NEED(c, strcmp(i.state, "recalling") == 0 && i.recall_left_ns > 0, "a recall is not in the list");
	cf_release(c, lease);
	OK(c, cf_join(c, &t));
}

static unsigned held_of(struct cf *c, struct lh_lease **l, unsigned n)
{
	unsigned held = 0;

	for (unsigned i = 0; i < n; i++)
		held += cf_state(c, l[i]).held;
	return held;
}

struct held_wait {
	struct cf *c;
	struct lh_lease **l;
	unsigned n, want;
};

static bool held_is(void *arg)
{
	struct held_wait *h = arg;

	return held_of(h->c, h->l, h->n) == h->want;
}

static void filters_hit_what_they_say(struct cf *c)
{
	struct lh_revoke_filter by_file = {.size = sizeof(by_file)}, by_session = {.size = sizeof(by_session)};
	struct cf_made m[2];
	struct lh_file *f[2];
	struct lh_lease *l[8];
	struct held_wait w = {.c = c, .l = l, .n = 8};

	for (unsigned i = 0; i < 2; i++)
		f[i] = cf_make(c, c->a, SIZE, &m[i]);
	for (unsigned i = 0; i < 8; i++)
		l[i] = cf_lease(c, f[i / 4], i % 4 * CF_BLOCK, CF_BLOCK, LH_LEASE_READ | LH_LEASE_MANUAL);
	IS(c, lh_fs_revoke(c->b, &(struct lh_revoke_filter){.size = sizeof(struct lh_revoke_filter)}), -EINVAL);
	by_file.path = m[0].path;
	IS(c, lh_fs_revoke(c->b, &by_file), 4);
	w.want = 4;
	NEED(c, cf_until(held_is, &w, 5 * NS_PER_SEC), "revoking a file's leases left %u of 8 held", held_of(c, l, 8));
	by_session.session = find_lease(c, m[1].path, cf_state(c, l[7]).number).session;
	IS(c, lh_fs_revoke(c->b, &by_session), 4);
	w.want = 0;
	NEED(c, cf_until(held_is, &w, 5 * NS_PER_SEC), "revoking a session's leases left %u of 8 held",
	     held_of(c, l, 8));
}

/* Bit 0: there is one of the first number, bit 1: of the second. */
static unsigned records_of(struct cf *c, uint64_t *cursor, const uint64_t numbers[2], uint64_t ino)
{
	static struct lh_audit a[256];
	unsigned found = 0;
	int n;

	do {
		for (unsigned i = 0; i < ARRAY_LEN(a); i++)
			a[i].size = sizeof(a[i]);
		n = (int)OK(c, lh_fs_audit(c->b, cursor, a, ARRAY_LEN(a)));
		for (int i = 0; i < n; i++) {
			if (a[i].lease != numbers[0] && a[i].lease != numbers[1])
				continue;
			found |= a[i].lease == numbers[0] ? 1u : 2u;
			NEED(c, a[i].ino == ino && a[i].reason[0] != '\0' && a[i].at_ns > 0,
			     "a record without file, reason or time");
			NEED(c, a[i].lease == numbers[0] || a[i].took_ns >= 4 * NS_PER_MS,
			     "the record says that it took %llu ns", (unsigned long long)a[i].took_ns);
			NEED(c, !c->config->owned || a[i].uid == geteuid(), "the record names uid %u", a[i].uid);
		}
	} while (n > 0);
	return found;
}

static void force_leaves_a_record(struct cf *c)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made), *fb = cf_open(c, c->b, &made, O_RDWR);
	struct lh_lease *asked = cf_lease(c, f, 0, CF_BLOCK, LH_LEASE_READ | LH_LEASE_MANUAL), *late;
	uint64_t numbers[2], cursor = 0;
	unsigned found = 0;

	late = cf_lease_within(c, f, CF_BLOCK, CF_BLOCK, LH_LEASE_WRITE | LH_LEASE_MANUAL, 5 * NS_PER_MS);
	numbers[0] = filter.number = cf_state(c, asked).number;
	numbers[1] = cf_state(c, late).number;
	IS(c, lh_fs_revoke(c->b, &filter), 1);
	OK(c, lh_file_relocate(fb, CF_BLOCK, CF_BLOCK));
	/* A record is written beside the operation's return, not before it. */
	for (unsigned tries = 0; tries < 100 && found != 3; tries++) {
		found |= records_of(c, &cursor, numbers, cf_stat(c, f).ino);
		if (found != 3)
			cf_sleep(10 * NS_PER_MS);
	}
	NEED(c, found == 3, "of a revocation by an administrator and one at the deadline, records: %s",
	     found == 1   ? "the first only"
	     : found == 2 ? "the second only"
			  : "none");
	cf_saw(c, "revoked by an administrator, and by a deadline: each left a record of who, why and how long");
}

static const struct cf_case cases_22[] = {
    {"changes an exclusively leased file, as another and as the holder", changes_are_denied, CF_FAULTING,
     "a change is let through, waits, gets another error, or what is no change is denied"},
    {"waits for the maximum age", its_age_has_an_end, 0, "the denial ends early or never"},
    {"revokes it as an administrator", an_administrator_overrides, CF_ADMIN, "the denial stays"},
    {"evacuates its memory", failing_memory_overrides, CF_ADMIN | CF_HERE, "the denial holds up failing memory"},
    {"asks for one on another user's file", strangers_may_not, CF_ROOT | CF_ONCE, "it is granted, or not EPERM"},
};
CF_RULE(22, "EXCLUSIVE denies others' changes at once, for its age; administrators and failing memory override");
static const struct cf_case cases_23[] = {
    {"changes a lease through all modes", modes_change_atomically, 0,
     "a key of the old mode lives on, or the mode is wrong"},
    {"changes a lease that is being recalled", a_broken_lease_does_not_change, 0,
     "it succeeds, or leaves another mode"},
    {"upgrades a lease of a handle opened for reading", a_change_needs_its_open, 0, "it succeeds"},
};
CF_RULE(23, "changes between READ, WRITE and EXCLUSIVE are atomic, and fail if the lease was broken");
static const struct cf_case cases_24[] = {
    {"closes a handle with a live, written-through key", a_close_ends_leases, CF_FAULTING,
     "the key lives, what was written is lost, or another handle's lease goes too"},
    {"closes a handle by hand, its lease not given back", a_close_by_hand_ends_leases, CF_REMOTE,
     "its key lives, its lease stands, or a change waits for it"},
    {"closes handles and sessions just after traffic", a_close_drains, CF_FAULTING, "a key or session is left"},
    {"uses the key of another process", another_process_has_nothing, CF_ONCE, "it reaches anything"},
};
CF_RULE(24, "leases end with the last close of their handle; no zombie pins");
static const struct cf_case cases_25[] = {
    {"lists and removes a lease without a pin, and one without traffic", idle_leases_are_seen_and_removed,
     CF_ADMIN | CF_FAULTING, "one of them is not listed or cannot be removed"},
};
CF_RULE(25, "a lease without a pin and a pin without traffic are visible and removable");
static const struct cf_case cases_26[] = {
    {"compares a lease, granted and recalled, with its line in the list", listings_are_complete, CF_ADMIN,
     "a field is wrong"},
    {"revokes by file and by session", filters_hit_what_they_say, CF_ADMIN, "more or fewer go than the filter says"},
    {"forces two leases and looks at the audit records", force_leaves_a_record, CF_ADMIN,
     "one has no record, or a record without who, why, how long"},
};
CF_RULE(26, "an administrator lists and revokes by lease, file, session or uid; force leaves a record");
