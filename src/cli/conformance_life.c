/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance, L31 and L34 to L36: pointers into files; silence, restarts and shutdowns, on servers of our own. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SIZE      (64 * CF_KIB)
#define SCRATCH   (32 * CF_MIB)
#define LEASETIME NS_PER_SEC
#define GRACE     (2 * NS_PER_SEC)

/* --- L31 --- */

static sigjmp_buf beyond;

static void on_bus(int sig)
{
	siglongjmp(beyond, 1);
}

/* Whether a load there is SIGBUS. */
static bool is_beyond(const volatile uint8_t *p)
{
	struct sigaction a = {.sa_handler = on_bus}, old;
	volatile bool hit = false;

	sigaction(SIGBUS, &a, &old);
	if (sigsetjmp(beyond, 1) == 0)
		(void)*p;
	else
		hit = true;
	sigaction(SIGBUS, &old, NULL);
	return hit;
}

static void look_at(struct cf *c, const void *p, uint64_t off, uint64_t len, uint64_t owner, const char *when)
{
	struct cf_seen s = {0};

	cf_look((const char *)p + off, len, owner, off, &s);
	NEED(c, s.own == len / CF_CELL, "%s: %llu foreign and %llu zero cells behind the pointer", when,
	     (unsigned long long)s.foreign, (unsigned long long)s.zero);
}

static void pointers_follow_their_file(struct cf *c)
{
	struct cf_made made, om;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made), *fb = cf_open(c, c->b, &made, O_RDWR);
	struct lh_file *other = cf_make(c, c->b, SIZE, &om);
	void *p = NULL;

	OK(c, lh_map(f, 0, SIZE, PROT_READ | PROT_WRITE, &p));
	look_at(c, p, 0, SIZE, made.owner, "mapped");
	for (unsigned i = 0; i < 20; i++) {
		uint64_t at = cf_draw(c, SIZE / CF_BLOCK) * CF_BLOCK;

		OK(c, lh_file_relocate(i % 2 ? fb : f, 0, SIZE));
		look_at(c, p, 0, SIZE, made.owner, "after a move");
		cf_stamp((char *)p + at, CF_BLOCK, made.owner, at, 2 + i);
		cf_same(c, fb, 0, SIZE, made.owner);
	}
	/* Shared: a store copies. */
	OK(c, lh_file_clone_range(other, 0, fb, 0, SIZE));
	cf_stamp(p, CF_BLOCK, made.owner, 0, 50);
	cf_same(c, other, 0, SIZE, made.owner);
	NEED(c, ((uint64_t *)p)[2] == 50, "the store is not there");
	/* Missing: reads as zeroes, a store allocates. */
	OK(c, lh_file_punch(fb, CF_BLOCK, CF_BLOCK));
	NEED(c, ((volatile uint8_t *)p)[CF_BLOCK] == 0, "a punched block is not zero");
	cf_stamp((char *)p + CF_BLOCK, CF_BLOCK, made.owner, CF_BLOCK, 51);
	cf_same(c, fb, 0, SIZE, made.owner);
	OK(c, lh_file_truncate(fb, 2 * CF_BLOCK));
	look_at(c, p, 0, 2 * CF_BLOCK, made.owner, "after a truncate");
	NEED(c, is_beyond((uint8_t *)p + 3 * CF_BLOCK), "a load beyond the end of file is no SIGBUS");
	look_at(c, p, 0, 2 * CF_BLOCK, made.owner, "after SIGBUS");
	OK(c, lh_unmap(p));
	cf_saw(c, "20 moves, copy on write, punch and truncate behind one pointer: loads and stores at the right "
		  "place, SIGBUS "
		  "beyond the end");
}

struct looker {
	struct cf *c;
	const char *p;
	uint64_t owner;
	_Atomic bool stop;
	_Atomic uint64_t rounds, foreign;
};

static void *look_always(void *arg)
{
	struct looker *l = arg;

	while (!atomic_load(&l->stop)) {
		struct cf_seen s = {0};

		cf_look(l->p, SIZE, l->owner, 0, &s);
		atomic_fetch_add(&l->foreign, s.foreign + s.zero);
		atomic_fetch_add(&l->rounds, 1);
	}
	return NULL;
}

static void pointers_meet_no_foreign_byte(struct cf *c)
{
	uint64_t end = clock_now_ns() + (uint64_t)((c->config->scale < 1 ? 0.3 : 1.0) * NS_PER_SEC);
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made), *fb = cf_open(c, c->b, &made, O_RDWR);
	struct looker l = {.c = c, .owner = made.owner};
	pthread_t threads[2];
	unsigned moves = 0;
	void *p = NULL;

	OK(c, lh_map(f, 0, SIZE, PROT_READ, &p));
	l.p = p;
	for (unsigned i = 0; i < 2; i++)
		NEED(c, pthread_create(&threads[i], NULL, look_always, &l) == 0, "no thread");
	while (clock_now_ns() < end) {
		struct cf_made vm;
		struct lh_file *victim;

		OK(c, lh_file_relocate(fb, 0, SIZE));
		victim = cf_make(c, c->b, 4 * SIZE, &vm);
		cf_close(c, victim);
		OK(c, lh_path_unlink(c->b, vm.path));
		moves++;
	}
	atomic_store(&l.stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	NEED(c, atomic_load(&l.foreign) == 0, "%llu foreign cells were read through a pointer",
	     (unsigned long long)atomic_load(&l.foreign));
	OK(c, lh_unmap(p));
	cf_saw(c, "%u moves under two threads that read 64 KiB through a pointer %llu times: 0 foreign cells", moves,
	       (unsigned long long)atomic_load(&l.rounds));
}

/* --- servers of our own --- */

static void begin(struct cf *c, struct cf_server *s)
{
	cf_scratch(c, s, SCRATCH);
	s->board->session_timeout_ns = LEASETIME;
	s->board->grace_ns = GRACE;
	NEED(c, cf_server_start(s) == 0, "a server of our own did not start: %s", s->board->text);
}

static void again(struct cf *c, struct cf_server *s)
{
	cf_server_kill(s);
	NEED(c, cf_server_start(s) == 0, "the server did not start again: %s", s->board->text);
}

static struct lh_fs *session(struct cf *c, struct cf_server *s)
{
	struct lh_open_options o = {.size = sizeof(o), .no_cache = true, .connect_timeout_ns = 10 * NS_PER_SEC};

	return cf_session_with(c, c->variant.holder, &o, cf_scratch_address(c, s));
}

static struct lh_file *file(struct cf *c, struct lh_fs *fs, uint64_t size, struct cf_made *made)
{
	struct lh_file *f;

	made->owner = cf_owner(c);
	made->size = size;
	snprintf(made->path, sizeof(made->path), "/f%u", c->serial);
	OK(c, lh_file_open(fs, made->path, O_RDWR | O_CREAT | O_EXCL, 0666, &f));
	cf_keep_file(c, f);
	cf_fill(c, f, 0, size, made->owner, 1);
	OK(c, lh_file_sync(f));
	return f;
}

static void end(struct cf *c, struct cf_server *s)
{
	cf_give_back(c);
	cf_scratch_end(c, s);
}

/* --- L34 --- */

struct count {
	struct cf *c;
	struct lh_fs *fs;
	uint64_t leases;
};

static bool leases_are(void *arg)
{
	struct count *n = arg;

	return cf_stats(n->c, n->fs).leases == n->leases;
}

/* A session that says nothing any more, its connection open. */
static void silence_ends_a_session(struct cf *c)
{
	struct lh_fs *fs;
	struct cf_made made;
	struct lh_lease *lease;
	struct lh_file *f;
	struct cf_wire_lease theirs;
	struct cf_server s;
	struct cf_wire w;
	struct count n;
	uint64_t began;

	begin(c, &s);
	fs = session(c, &s);
	f = file(c, fs, SIZE, &made);
	/* A client that is idle and alive: the library speaks for it. */
	lease = cf_lease(c, f, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	cf_wire_open_at(c, &w, cf_scratch_address(c, &s));
	IS(c, cf_wire_lease(&w, cf_wire_file(c, &w, made.path, false), 0, SIZE, LH_LEASE_READ, CF_LONG, &theirs), 0);
	began = clock_now_ns();
	NEED(c, cf_stats(c, fs).leases == 2, "%llu leases of 2", (unsigned long long)cf_stats(c, fs).leases);
	n = (struct count){c, fs, 1};
	NEED(c, cf_until(leases_are, &n, 4 * LEASETIME),
	     "a session that is silent for 4 lease times still holds its lease");
	began = clock_now_ns() - began;
	NEED(c, began > LEASETIME / 2, "a session was given up after %.2f s, its lease time is 1 s",
	     (double)began / 1e9);
	cf_sleep(LEASETIME);
	NEED(c, cf_state(c, lease).held, "an idle client that lives lost its lease");
	cf_lease_same(c, lease, 0, SIZE, made.owner);
	cf_wire_close(&w);
	end(c, &s);
	cf_saw(
	    c,
	    "lease time 1 s: a silent session lost its lease after %.2f s, an idle client of the library kept its own",
	    (double)began / 1e9);
}

/* Stopped for longer than its lease time: dead for the server, and harmless when it wakes. */
static void a_sleeper_is_dead_and_harmless(struct cf *c)
{
	struct cf_made made, vm;
	struct lh_file *f, *victim;
	struct cf_child *h;
	struct cf_server s;
	struct lh_fs *fs;
	struct count n;

	begin(c, &s);
	fs = session(c, &s);
	f = file(c, fs, SIZE, &made);
	h = cf_child_new(c, CF_READ, &made);
	snprintf(h->board->address, sizeof(h->board->address), "%s", cf_scratch_address(c, &s));
	h->board->deadline_ns = CF_DEADLINE;
	cf_child_start(c, h);
	cf_child_rounds(c, h, 10);
	cf_child_signal(c, h, SIGSTOP);
	n = (struct count){c, fs, 0};
	NEED(c, cf_until(leases_are, &n, 4 * LEASETIME), "a stopped client holds its lease for 4 lease times");
	NEED(c, cf_stats(c, fs).pinned_bytes == 0, "its charges were not returned");
	OK(c, lh_file_truncate(f, 0));
	victim = file(c, fs, 4 * CF_MIB, &vm);
	cf_fill(c, f, 0, SIZE, made.owner, 2);
	cf_child_signal(c, h, SIGCONT);
	cf_sleep(300 * NS_PER_MS);
	NEED(c, atomic_load(&h->board->foreign) == 0, "it read %llu foreign cells when it woke",
	     (unsigned long long)atomic_load(&h->board->foreign));
	cf_same(c, victim, 0, 4 * CF_MIB, vm.owner);
	atomic_store(&h->board->stop, 1);
	end(c, &s);
}

/* --- L35 --- */

static void old_keys_are_dead_after_a_restart(struct cf *c)
{
	struct cf_made made, vm;
	struct lh_lease_extent key;
	struct lh_file *f, *victim;
	struct lh_lease *w;
	struct lh_fs *fs, *fresh;
	struct cf_server s;
	struct cf_wire wire;
	uint64_t boot;
	uint8_t buf[CF_BLOCK];
	unsigned tries = 0;

	begin(c, &s);
	fs = session(c, &s);
	f = file(c, fs, SIZE, &made);
	w = cf_lease_within(c, f, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_MANUAL, CF_DEADLINE);
	key = cf_key(c, w);
	cf_wire_open_at(c, &wire, cf_scratch_address(c, &s));
	boot = wire.boot;
	cf_wire_close(&wire);
	again(c, &s);
	cf_wire_open_at(c, &wire, cf_scratch_address(c, &s));
	NEED(c, wire.boot != boot && wire.boot != 0, "the boot verifier did not change");
	cf_wire_close(&wire);
	fresh = session(c, &s);
	OK(c, lh_path_unlink(fresh, made.path));
	victim = file(c, fresh, 8 * CF_MIB, &vm);
	memset(buf, 0xbd, sizeof(buf));
	for (unsigned i = 0; i < 200; i++) {
		NEED(c, lh_raw_write(fresh, key.key + i, key.key_off, buf, CF_BLOCK) < 0,
		     "a key of the old server writes");
		NEED(c, lh_raw_read(fresh, key.key + i, key.key_off, buf, CF_BLOCK) < 0,
		     "a key of the old server reads");
		tries += 2;
	}
	for (unsigned i = 0; i < 5; i++)
		NEED(c, lh_raw_write(fs, key.key, key.key_off, buf, CF_BLOCK) < 0, "the old session's key writes");
	cf_same(c, victim, 0, 8 * CF_MIB, vm.owner);
	end(c, &s);
	cf_saw(c, "after kill -9 and restart: another verifier, %u uses of old key numbers refused, nothing landed",
	       tries + 5);
}

/* An application's plain work goes on over a restart, or says an error; it never shows wrong bytes. */
static void exclusive_holders_reclaim(struct cf *c)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_EXCLUSIVE};
	struct cf_made made;
	struct lh_lease *lease;
	struct lh_file *f, *other;
	struct lh_fs *fs, *fresh;
	struct cf_server s;

	begin(c, &s);
	s.board->grace_ns = 10 * NS_PER_SEC;
	fs = session(c, &s);
	f = file(c, fs, SIZE, &made);
	OK(c, cf_try_lease(c, f, 0, SIZE, &o, &lease));
	again(c, &s);
	fresh = session(c, &s);
	other = cf_open(c, fresh, &made, O_RDWR);
	/* During the grace period nobody comes between a holder and its reclaim. */
	IS(c, lh_file_punch(other, 0, CF_BLOCK), -ETXTBSY);
	cf_lease_same(c, lease, 0, SIZE, made.owner);
	NEED(c, cf_state(c, lease).flags & LH_LEASE_EXCLUSIVE && cf_state(c, lease).exclusive_left_ns > 0,
	     "the lease came back without its exclusivity");
	IS(c, lh_file_punch(other, 0, CF_BLOCK), -ETXTBSY);
	end(c, &s);
	cf_saw(c, "an EXCLUSIVE holder had its lease again after kill -9 and restart, and nobody came between");
}

static void the_revoked_cannot_reclaim(struct cf *c)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_EXCLUSIVE};
	struct lh_revoke_filter filter = {.size = sizeof(filter)};
	struct cf_made made;
	struct lh_lease *lease;
	struct lh_file *f, *other;
	struct lh_fs *fs, *admin;
	struct cf_server s;
	uint8_t byte;

	begin(c, &s);
	fs = session(c, &s);
	f = file(c, fs, SIZE, &made);
	o.flags |= LH_LEASE_MANUAL;
	OK(c, cf_try_lease(c, f, 0, SIZE, &o, &lease));
	admin = session(c, &s);
	if (!cf_admin(c, admin))
		cf_skip(c, "needs an administrator's session");
	filter.number = cf_state(c, lease).number;
	IS(c, lh_fs_revoke(admin, &filter), 1);
	again(c, &s);
	admin = session(c, &s);
	other = cf_open(c, admin, &made, O_RDWR);
	NEED(c, lh_lease_read(lease, &byte, 1, 0) < 0, "a revoked lease reads after the restart");
	/* Whatever the revoked one claims, the change goes through once the grace is over. */
	cf_sleep(GRACE + NS_PER_SEC / 2);
	OK(c, lh_file_punch(other, 0, CF_BLOCK));
	end(c, &s);
}

/* --- L36 --- */

static void a_shutdown_is_in_order(struct cf *c)
{
	unsigned times = cf_scaled(c, 3, 1);
	uint64_t worst = 0;
	uint8_t *buf = malloc(SIZE);

	NEED(c, buf != NULL, "no memory");
	for (unsigned i = 0; i < times; i++) {
		struct cf_made made, wm;
		struct lh_file *f;
		struct cf_child *deaf, *busy;
		struct cf_seen seen = {0};
		struct cf_server s;
		struct lh_fs *fs;
		struct lh_lease *w;
		uint64_t took;
		FILE *sink = fopen("/dev/null", "w");

		begin(c, &s);
		fs = session(c, &s);
		f = file(c, fs, SIZE, &made);
		cf_close(c, file(c, fs, SIZE, &wm));
		deaf = cf_child_new(c, CF_HOLD, &made);
		busy = cf_child_new(c, CF_READ, &wm);
		snprintf(deaf->board->address, sizeof(deaf->board->address), "%s", cf_scratch_address(c, &s));
		snprintf(busy->board->address, sizeof(busy->board->address), "%s", cf_scratch_address(c, &s));
		deaf->board->flags |= LH_LEASE_MANUAL;
		deaf->board->deadline_ns = CF_DEADLINE;
		cf_child_start(c, deaf);
		cf_child_start(c, busy);
		if (i % 2)
			cf_child_signal(c, busy, SIGSTOP);
		w = cf_lease_within(c, f, 0, SIZE, LH_LEASE_WRITE | LH_LEASE_MANUAL, CF_DEADLINE);
		cf_stamp(buf, SIZE, made.owner, 0, 9);
		IS(c, lh_lease_write(w, buf, SIZE, 0), (int64_t)SIZE);
		took = clock_now_ns();
		NEED(c, cf_server_stop(&s) == 0, "the server did not end with 0: %s", s.board->text);
		took = clock_now_ns() - took;
		worst = max_u64(worst, took);
		NEED(c, took < CF_DEADLINE + 5 * NS_PER_SEC, "the shutdown took %.1f s", (double)took / 1e9);
		NEED(c, sink != NULL && lh_pool_check(s.board->pool, sink, false) == 0,
		     "the pool is not clean after a shutdown");
		fclose(sink);
		OK(c, lh_fs_open(s.board->pool, NULL, &fs));
		OK(c, lh_file_open(fs, made.path, O_RDONLY, 0, &f));
		IS(c, lh_file_read(f, buf, SIZE, 0), (int64_t)SIZE);
		cf_look(buf, SIZE, made.owner, 0, &seen);
		NEED(c, seen.low == 9 && seen.own == SIZE / CF_CELL, "what was written directly was not flushed");
		OK(c, lh_file_close(f));
		OK(c, lh_fs_close(fs));
		end(c, &s);
	}
	free(buf);
	cf_saw(c,
	       "%u shutdowns with a deaf holder, a reader (or a stopped one) and a writer: exit 0, clean, flushed; at "
	       "most %.2f s",
	       times, (double)worst / 1e9);
}

/* The same inside this process. */
static void an_unmount_is_in_order(struct cf *c)
{
	struct lh_open_options o = {.size = sizeof(o), .deadline_ns = CF_DEADLINE};
	struct lh_server *server;
	struct cf_made made;
	struct lh_fs *own, *other;
	struct lh_file *f, *g;
	struct lh_lease *lease, *theirs;
	struct lh_lease_options lo = {
	    .size = sizeof(lo), .flags = LH_LEASE_READ | LH_LEASE_MANUAL, .deadline_ns = CF_DEADLINE};
	char address[200];
	uint8_t byte;

	snprintf(address, sizeof(address), "unix:%s/u%d", c->config->dir, (int)getpid());
	OK(c, lh_fs_open("mem:16M", &o, &own));
	OK(c, lh_server_start(own, address, NULL, &server));
	/* It does not wait for a server that will not come back. */
	OK(c, lh_fs_open(address, &(struct lh_open_options){.size = sizeof(o), .no_resume = true}, &other));
	made.owner = cf_owner(c);
	OK(c, lh_file_open(own, "/f", O_RDWR | O_CREAT, 0644, &f));
	cf_fill(c, f, 0, SIZE, made.owner, 1);
	OK(c, lh_file_open(other, "/f", O_RDONLY, 0, &g));
	OK(c, lh_lease_get(g, 0, SIZE, &lo, &theirs));
	OK(c, lh_lease_get(f, 0, SIZE, &lo, &lease));
	IS(c, lh_fs_close(own), -EBUSY);
	lh_server_stop(server);
	NEED(c, lh_lease_read(theirs, &byte, 1, 0) < 0, "a lease outlived the server");
	OK(c, lh_lease_release(lease));
	OK(c, lh_file_close(f));
	OK(c, lh_fs_close(own));
	lh_lease_release(theirs);
	lh_file_close(g);
	lh_fs_close(other);
}

static const struct cf_case cases_31[] = {
    {"moves, shares, punches and cuts a file behind a pointer", pointers_follow_their_file, CF_LOCAL | CF_HERE,
     "a load or store goes to another place, or beyond the end is not SIGBUS"},
    {"reads through a pointer in two threads while blocks change owners", pointers_meet_no_foreign_byte,
     CF_LOCAL | CF_HERE, "a foreign byte is read"},
};
CF_RULE(31, "map gives pointers that the filesystem may move; beyond end of file is SIGBUS");
static const struct cf_case cases_34[] = {
    {"falls silent, beside a client that is idle and alive", silence_ends_a_session, CF_OWN,
     "the silent one keeps its lease beyond its time, or the idle one loses it"},
    {"stops a reader for longer than its lease time and lets it go on", a_sleeper_is_dead_and_harmless, CF_OWN,
     "it keeps leases or charges, or reads foreign bytes when it wakes"},
};
CF_RULE(34, "a session silent for longer than its lease time is dead; its client has stopped before");
static const struct cf_case cases_35[] = {
    {"kills and restarts the server and uses old keys", old_keys_are_dead_after_a_restart, CF_OWN,
     "one of them reaches anything, or the verifier is the same"},
    {"holds an EXCLUSIVE lease over a restart", exclusive_holders_reclaim, CF_OWN,
     "somebody comes between, or the holder does not get it back"},
    {"is revoked and tries again after a restart", the_revoked_cannot_reclaim, CF_OWN, "it reclaims"},
};
CF_RULE(35, "after a restart old keys are dead, the verifier changes, only EXCLUSIVE holders reclaim");
static const struct cf_case cases_36[] = {
    {"stops a server that has deaf, busy, stopped and writing clients", a_shutdown_is_in_order, CF_OWN,
     "it does not end with 0, takes longer than D and 5 s, or the pool is not clean and flushed"},
    {"unmounts in this process, leases of both kinds outstanding", an_unmount_is_in_order, CF_LOCAL | CF_HERE,
     "it fails, or a lease outlives it"},
};
CF_RULE(36, "shutdown and unmount revoke everything, wait until drained, flush, and exit 0");
