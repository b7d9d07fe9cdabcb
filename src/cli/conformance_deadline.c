/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance, L6 to L11: notice, grace, force, and who waits for whom. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SIZE    (64 * CF_KIB)
#define WORK_NS (10 * NS_PER_MS) /* L7 */
#define ASKERS  2u

/* --- L6 --- */

static void a_release_in_time_is_not_forced(struct cf *c)
{
	struct cf_numbers after = {0};
	uint64_t forced = cf_stats(c, c->b).forced;
	unsigned times = cf_scaled(c, 20, 5);

	for (unsigned i = 0; i < times; i++) {
		struct cf_made made;
		struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
		struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
		struct cf_task t = {.run = cf_run_relocate, .file = f, .len = SIZE};
		struct lh_event e;
		uint64_t released;

		cf_go(c, &t);
		e = cf_event(c, c->a);
		NEED(c, e.type == LH_EVENT_RECALL && e.deadline_left_ns > CF_LONG / 2 && e.deadline_left_ns <= CF_LONG,
		     "the recall leaves %.3f s of 20 s", (double)e.deadline_left_ns / 1e9);
		cf_sleep((1 + cf_draw(c, 10)) * NS_PER_MS);
		NEED(c, !atomic_load(&t.done), "the operation did not wait for the holder");
		cf_lease_same(c, lease, 0, SIZE, made.owner);
		released = clock_now_ns();
		cf_release(c, lease);
		OK(c, cf_join(c, &t));
		cf_number(c, &after, t.began_ns + t.took_ns > released ? t.began_ns + t.took_ns - released : 0);
		NEED(c, cf_no_event(c->a), "the holder was told of a revocation");
		cf_close(c, held);
		cf_close(c, f);
	}
	if (c->config->owned)
		NEED(c, cf_stats(c, c->b).forced == forced, "a holder who released in time was forced");
	NEED(c, cf_percentile(&after, 50) < NS_PER_SEC, "the operation goes on %.1f ms after the last release (p50)",
	     (double)cf_percentile(&after, 50) / 1e6);
	cf_saw(c, "%u releases in time, none forced; the operation ends p50 %.2f ms, max %.2f ms after the release",
	       times, (double)cf_percentile(&after, 50) / 1e6, (double)cf_percentile(&after, 100) / 1e6);
	cf_numbers_free(&after);
}

/* The lease of the library's own holder: nobody asks it, and nobody waits. */
static void a_good_client_is_never_forced(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ);
	uint64_t began = clock_now_ns();

	for (unsigned i = 0; i < 50; i++) {
		OK(c, lh_file_relocate(f, 0, SIZE));
		cf_lease_same(c, lease, 0, SIZE, made.owner);
	}
	NEED(c, cf_state(c, lease).revocations == 0, "%llu of 50 ended by force",
	     (unsigned long long)cf_state(c, lease).revocations);
	NEED(c, clock_now_ns() - began < CF_LONG, "50 breaks of a client that answers took a deadline");
}

/* --- L7 --- */

/* Excess over D of breaks of a holder that does not answer: as it was, and without what the machine explains. */
struct excess {
	struct cf_numbers raw, own;
	uint64_t timer, explained; /* the most */
	bool exact;                /* the server's waits for a processor were seen */
};

static void one_break(struct cf *c, struct excess *x, struct cf_late *late, struct lh_file *f, uint64_t deadline_ns)
{
	uint64_t began, took, timer, explained;

	x->exact = late->exact;
	cf_late_mark(late);
	began = clock_now_ns();
	OK(c, lh_file_relocate(f, 0, SIZE));
	took = clock_now_ns() - began;
	explained = cf_late_take(late, &timer);
	x->timer = max_u64(x->timer, timer);
	x->explained = max_u64(x->explained, explained);
	took = took > deadline_ns ? took - deadline_ns : 0;
	cf_number(c, &x->raw, took);
	cf_number(c, &x->own, took > explained ? took - explained : 0);
}

static void excess_judge(struct cf *c, struct excess *x, const char *who)
{
	/* A server whose waits nobody sees: on a busy machine some of its delays have no explanation, half have. */
	bool most = !x->exact && x->timer >= CF_BUSY;
	uint64_t max = cf_percentile(&x->own, most ? 50 : 100);

	NEED(c, max <= WORK_NS, "%s: %.1f ms beyond the deadline, %.1f ms of it not explained by the machine (%.1f)",
	     who, (double)cf_percentile(&x->raw, 100) / 1e6, (double)max / 1e6, (double)x->explained / 1e6);
	cf_saw(c,
	       "%s: %u breaks end p50 %.2f, p99 %.2f, max %.2f ms after D, %s %.2f without the waits for a processor "
	       "(a plain timer: up to %.2f ms late)",
	       who, x->raw.count, (double)cf_percentile(&x->raw, 50) / 1e6, (double)cf_percentile(&x->raw, 99) / 1e6,
	       (double)cf_percentile(&x->raw, 100) / 1e6, most ? "half" : "max", (double)max / 1e6,
	       (double)x->timer / 1e6);
	cf_numbers_free(&x->raw);
	cf_numbers_free(&x->own);
}

static void the_deaf_are_forced_in_time(struct cf *c)
{
	static const uint64_t deadlines[] = {50 * NS_PER_MS, 0, 20 * NS_PER_MS, 100 * NS_PER_MS};
	unsigned times = cf_scaled(c, 24, 8);
	struct excess x = {0};
	struct cf_late late;

	cf_late_begin(c, &late);
	for (unsigned i = 0; i < times; i++) {
		uint64_t d = deadlines[i % ARRAY_LEN(deadlines)];
		struct cf_made made;
		struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);

		for (unsigned k = 0; k < 4; k++)
			cf_lease_within(c, held, k * (SIZE / 4), SIZE / 4,
					LH_LEASE_READ | LH_LEASE_MANUAL | (d ? 0 : LH_LEASE_NOW), d);
		one_break(c, &x, &late, f, d);
		cf_close(c, f);
	}
	cf_late_end(&late);
	excess_judge(c, &x, "a deaf holder of 4 leases, D 0 to 100 ms");
}

static void a_stopped_holder_is_forced_in_time(struct cf *c)
{
	unsigned times = cf_scaled(c, 6, 2);
	struct excess x = {0};
	struct cf_late late;

	cf_late_begin(c, &late);
	for (unsigned i = 0; i < times; i++) {
		struct cf_made made;
		struct lh_file *f = cf_make(c, c->b, SIZE, &made);
		struct cf_child *h = cf_child_new(c, i % 2 ? CF_READ : CF_HOLD, &made);

		h->board->deadline_ns = CF_DEADLINE;
		h->board->flags |= i % 2 ? 0 : LH_LEASE_MANUAL;
		cf_child_start(c, h);
		if (i % 2)
			cf_child_rounds(c, h, 20);
		cf_child_signal(c, h, SIGSTOP);
		one_break(c, &x, &late, f, CF_DEADLINE);
		cf_same(c, f, 0, SIZE, made.owner);
		cf_child_signal(c, h, SIGCONT);
		if (i % 2)
			cf_child_rounds(c, h, 20);
		cf_child_end(c, h);
		cf_close(c, f);
	}
	cf_late_end(&late);
	excess_judge(c, &x, "a holder stopped by SIGSTOP, idle or in the middle of reading");
}

static void a_dead_holder_is_forced_in_time(struct cf *c)
{
	unsigned times = cf_scaled(c, 4, 2);
	struct excess x = {0};
	struct cf_late late;

	cf_late_begin(c, &late);
	for (unsigned i = 0; i < times; i++) {
		struct cf_made made;
		struct lh_file *f = cf_make(c, c->b, SIZE, &made);
		struct cf_child *h = cf_child_new(c, CF_WRITE, &made);

		h->board->deadline_ns = CF_DEADLINE;
		h->board->flags = LH_LEASE_WRITE | (c->variant.faulting ? LH_LEASE_FAULTING : 0);
		cf_child_start(c, h);
		cf_child_rounds(c, h, 1 + cf_draw(c, 20));
		cf_child_signal(c, h, SIGKILL);
		one_break(c, &x, &late, f, CF_DEADLINE);
		cf_same(c, f, 0, SIZE, made.owner);
		cf_close(c, f);
	}
	cf_late_end(&late);
	excess_judge(c, &x, "a holder killed by kill -9 while it writes");
}

/* Nothing lasts longer than the pool allows, whatever the holder asks for. */
static void the_maximum_holds(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *lease = cf_lease_within(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL, 3600 * NS_PER_SEC);
	struct cf_task t = {.run = cf_run_relocate, .file = f, .len = SIZE};
	struct lh_event e;

	cf_go(c, &t);
	e = cf_event(c, c->a);
	NEED(c, e.deadline_left_ns <= 600 * NS_PER_SEC, "a lease got %.0f s after asking for an hour",
	     (double)e.deadline_left_ns / 1e9);
	cf_release(c, lease);
	OK(c, cf_join(c, &t));
}

/* --- L8 --- */

static int64_t ask_now(struct cf_task *t)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = (uint32_t)t->off};
	struct lh_lease *lease;
	int err = lh_lease_get(t->file, 0, SIZE, &o, &lease);

	if (!err)
		lh_lease_release(lease);
	return err;
}

static void the_gate_is_closed(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	struct lh_fs *third = cf_session(c, c->variant.holder == CF_END_LOCAL ? c->variant.changer : c->variant.holder);
	struct lh_file *ft = cf_open(c, third, &made, O_RDWR);
	struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct cf_task change = {.run = cf_run_relocate, .file = f, .len = SIZE};
	struct cf_task ask = {.run = ask_now, .file = ft, .off = LH_LEASE_READ};

	cf_go(c, &change);
	cf_event(c, c->a);
	ask.off = LH_LEASE_READ | LH_LEASE_NOWAIT;
	NEED(c, ask_now(&ask) == -EAGAIN, "a new lease was granted inside the gate, or refused otherwise: %s",
	     lh_error_text());
	ask.off = LH_LEASE_WRITE | LH_LEASE_NOWAIT;
	NEED(c, ask_now(&ask) == -EAGAIN, "a new WRITE lease was granted inside the gate");
	ask.off = LH_LEASE_READ;
	cf_go(c, &ask);
	cf_sleep(30 * NS_PER_MS);
	NEED(c, !atomic_load(&ask.done), "a lease that may wait did not wait for the gate");
	NEED(c, !atomic_load(&change.done), "the change did not wait");
	cf_release(c, lease);
	OK(c, cf_join(c, &change));
	OK(c, cf_join(c, &ask));
	NEED(c, ask.began_ns + ask.took_ns >= change.began_ns, "granted before the change");
	cf_saw(c, "between break and change new leases got EAGAIN or waited, and came right after it");
}

static void askers_starve_nobody(struct cf *c)
{
	unsigned times = cf_scaled(c, 10, 4);
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct cf_child *h[ASKERS];
	struct excess x = {0};
	struct cf_late late;
	uint64_t asked = 0;

	for (unsigned i = 0; i < ASKERS; i++) {
		h[i] = cf_child_new(c, CF_ASK, &made);
		h[i]->board->deadline_ns = CF_DEADLINE;
		cf_child_start(c, h[i]);
		cf_child_rounds(c, h[i], 5);
	}
	cf_late_begin(c, &late);
	for (unsigned i = 0; i < times; i++)
		one_break(c, &x, &late, f, CF_DEADLINE);
	cf_late_end(&late);
	for (unsigned i = 0; i < ASKERS; i++) {
		asked += atomic_load(&h[i]->board->rounds);
		cf_child_end(c, h[i]);
	}
	cf_same(c, f, 0, SIZE, made.owner);
	/* The askers themselves load the machine: what counts is that a break ends in a deadline, not in many. */
	NEED(c, cf_percentile(&x.own, 100) < CF_DEADLINE,
	     "a breaker waited %.0f ms beyond D while others asked in a loop",
	     (double)cf_percentile(&x.raw, 100) / 1e6);
	cf_saw(c, "%u breaks against %u processes that took %llu leases and gave none back: max %.1f ms after D", times,
	       ASKERS, (unsigned long long)asked, (double)cf_percentile(&x.raw, 100) / 1e6);
	cf_numbers_free(&x.raw);
	cf_numbers_free(&x.own);
}

/* --- L9 --- */

static void nowait_does_not_wait(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	uint64_t began;

	lh_fs_set_nowait(c->b, true);
	began = clock_now_ns();
	IS(c, lh_file_truncate(f, 0), -EWOULDBLOCK);
	NEED(c, clock_now_ns() - began < CF_LONG / 4, "a call that may not wait waited");
	NEED(c, cf_event(c, c->a).lease == lease, "the break was not started");
	NEED(c, cf_stat(c, f).size == SIZE, "the file changed all the same");
	IS(c, lh_file_truncate(f, 0), -EWOULDBLOCK);
	cf_release(c, lease);
	OK(c, lh_file_truncate(f, 0));
	lh_fs_set_nowait(c->b, false);
}

/* The break goes on by itself: at the deadline the holder is forced, and another try finds nobody. */
static void a_nowait_break_goes_on(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *lease = cf_lease_within(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL, CF_DEADLINE);
	struct lh_lease_extent key = cf_key(c, lease);
	struct lh_event e;
	uint8_t byte;

	lh_fs_set_nowait(c->b, true);
	IS(c, lh_file_truncate(f, 0), -EWOULDBLOCK);
	e = cf_event(c, c->a);
	e = cf_event(c, c->a);
	NEED(c, e.type == LH_EVENT_REVOKED, "the second notice is not a revocation");
	IS(c, lh_raw_read(c->a, key.key, key.key_off, &byte, 1), -ESTALE);
	OK(c, lh_file_truncate(f, 0));
	lh_fs_set_nowait(c->b, false);
	cf_saw(
	    c,
	    "EWOULDBLOCK at once, the recall was there; at D the holder was forced and the next try changed the file");
}

/* --- L10 --- */

static void a_drain_keeps_writes(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDWR);
	uint8_t *buf = malloc(SIZE);

	for (unsigned i = 0; i < 8; i++) {
		struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_MANUAL);
		struct cf_task t = {.run = cf_run_relocate, .file = f, .len = SIZE};
		struct cf_seen s = {0};

		cf_go(c, &t);
		NEED(c, !cf_event(c, c->a).stop, "a relocation says stop");
		/* After the recall, before the release: still valid, and kept. */
		cf_stamp(buf, SIZE, made.owner, 0, 10 + i);
		IS(c, lh_lease_write(lease, buf, SIZE, 0), (int64_t)SIZE);
		cf_release(c, lease);
		OK(c, cf_join(c, &t));
		IS(c, lh_file_read(f, buf, SIZE, 0), (int64_t)SIZE);
		cf_look(buf, SIZE, made.owner, 0, &s);
		NEED(c, s.own == SIZE / CF_CELL && s.low == 10 + i && s.high == 10 + i,
		     "a write that completed before the release was lost in the move");
	}
	free(buf);
	cf_saw(c, "8 moves said drain; what was written between recall and release is at the new place");
}

static void a_stop_says_so(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_lease *lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct cf_task t = {.run = cf_run_punch, .file = f, .len = SIZE / 2};

	cf_go(c, &t);
	NEED(c, cf_event(c, c->a).stop, "a punch says drain");
	cf_release(c, lease);
	OK(c, cf_join(c, &t));
	lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	t = (struct cf_task){.run = cf_run_truncate, .file = f};
	cf_go(c, &t);
	NEED(c, cf_event(c, c->a).stop, "a truncate says drain");
	cf_release(c, lease);
	OK(c, cf_join(c, &t));
}

/* --- L11 --- */

static void strange_numbers_are_released(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct lh_lease *others = cf_lease(c, f, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	struct cf_wire_lease mine;
	struct cf_wire w;
	uint64_t handle;

	cf_wire_open(c, &w, c->variant.holder);
	handle = cf_wire_file(c, &w, made.path, false);
	IS(c, cf_wire_lease(&w, handle, 0, SIZE, LH_LEASE_READ, CF_LONG, &mine), 0);
	IS(c, cf_wire_release(&w, mine.number), 0);
	IS(c, cf_wire_release(&w, mine.number), 0);
	IS(c, cf_wire_release(&w, 0), 0);
	IS(c, cf_wire_release(&w, UINT64_MAX), 0);
	for (unsigned i = 0; i < 1000; i++)
		IS(c, cf_wire_release(&w, cf_draw(c, 0)), 0);
	/* Another's: success, and nothing happens to it. */
	IS(c, cf_wire_release(&w, cf_state(c, others).number), 0);
	NEED(c, cf_state(c, others).held && cf_no_event(c->b), "somebody else's lease was released");
	cf_lease_same(c, others, 0, SIZE, made.owner);
	cf_wire_close(&w);
	cf_saw(c, "released twice, never held, another's: 1,004 times success, and nobody lost anything");
}

/* Leases asked for and broken at the same time, from both sides: nobody may wait for what the other does not know. */
static void recalls_cross_grants(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	unsigned times = cf_scaled(c, 300, 100);
	uint64_t forced = cf_stats(c, c->b).forced, slow = 0;

	for (unsigned i = 0; i < times; i++) {
		struct cf_task t = {.run = cf_run_relocate, .file = f, .len = SIZE};
		struct lh_lease *lease;

		cf_go(c, &t);
		if (i % 3)
			cf_sleep(cf_draw(c, 100) * NS_PER_US);
		lease = cf_lease(c, held, 0, SIZE, LH_LEASE_READ);
		if (i % 2)
			cf_lease_same(c, lease, 0, SIZE, made.owner);
		cf_release(c, lease);
		OK(c, cf_join(c, &t));
		slow = max_u64(slow, t.took_ns);
	}
	NEED(c, slow < CF_LONG / 2, "a break waited %.1f s for a lease that its holder did not know",
	     (double)slow / 1e9);
	if (c->config->owned)
		NEED(c, cf_stats(c, c->b).forced == forced, "a client that answers was forced");
}

static const struct cf_case cases_6[] = {
    {"releases in time, while an operation waits", a_release_in_time_is_not_forced, 0,
     "the holder is forced, the operation does not wait, or it waits on after the release"},
    {"breaks a client that answers by itself 50 times", a_good_client_is_never_forced, 0, "one of them is forced"},
};
CF_RULE(6, "break is notice, then a grace, then force; who releases in time is never forced");
static const struct cf_case cases_7[] = {
    {"breaks leases whose holder never answers, deadlines 0 to 100 ms", the_deaf_are_forced_in_time, 0,
     "an operation ends more than 10 ms after D, the lateness of a plain timer taken off"},
    {"stops the holder (SIGSTOP), idle and in the middle of reads", a_stopped_holder_is_forced_in_time, CF_ONCE,
     "the same, or the holder sees an error or a foreign byte when it goes on"},
    {"kills the holder (kill -9) in the middle of writes", a_dead_holder_is_forced_in_time, CF_ONCE,
     "the same, or the file holds foreign bytes"},
    {"asks for a deadline of an hour", the_maximum_holds, 0, "it gets it"},
};
CF_RULE(7, "an operation ends within the deadline plus 10 ms, whatever the holder does");
static const struct cf_case cases_8[] = {
    {"asks for leases between a break and its change", the_gate_is_closed, 0,
     "one is granted, or refused with another error than EAGAIN"},
    {"breaks against processes that ask in a loop and give nothing back", askers_starve_nobody, CF_ONCE,
     "a break takes more than one deadline"},
};
CF_RULE(8, "from the break until the change new leases wait; the breaker is never starved");
static const struct cf_case cases_9[] = {
    {"changes a leased file without waiting", nowait_does_not_wait, 0,
     "it waits, starts no break, or changes the file"},
    {"tries again after the deadline", a_nowait_break_goes_on, 0,
     "the holder is not forced, or the file cannot be changed"},
};
CF_RULE(9, "a caller that does not want to wait starts the break and gets EWOULDBLOCK");
static const struct cf_case cases_10[] = {
    {"writes between recall and release of a move", a_drain_keeps_writes, 0,
     "the recall says stop, or the write is lost"},
    {"punches and truncates", a_stop_says_so, 0, "the recall says drain"},
};
CF_RULE(10, "a recall says drain or stop; writes before the release are kept for drain");
static const struct cf_case cases_11[] = {
    {"releases numbers that it does not hold, by hand", strange_numbers_are_released, CF_REMOTE,
     "it is an error, or somebody loses a lease"},
    {"asks for leases while they are broken, hundreds of times", recalls_cross_grants, 0,
     "a side waits for a lease that the other does not know"},
};
CF_RULE(11, "\"I have no such lease\" counts as released; a recall that crosses a grant is resolved");
