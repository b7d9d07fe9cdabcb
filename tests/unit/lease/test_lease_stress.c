/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: I3, I6, L7, L12, L13, L22, L23, L33 under load: several threads grant (some EXCLUSIVE, some faulting), pin,
 * change, release, break, move, revoke, interrupt and close at random on a few files, the way a filesystem calls the
 * arbiter. Checked all the time: no lease of others inside a closed gate; a break is refused only while somebody may
 * deny it; a receipt is there exactly when it must be, and then no pin reaches the range; a pin is gone only after all
 * of it was drained; every break ends, or was interrupted. Prints its seed; LEASE_STRESS_SEED and LEASE_STRESS_SECONDS
 * set seed and length.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "lease/lease.h"

#define THREADS  6
#define FILES    3
#define SESSIONS 4
#define HANDLES  3
#define BLOCKS   64u
#define BLOCK    4096ull
#define KNOWN    256u
#define D_MAX_NS (3 * NS_PER_MS)
#define DENY_NS  (2 * NS_PER_MS)
#define TAGS     3

#define check(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: broken: %s (seed %llu)\n", __FILE__, __LINE__, #cond,                  \
				(unsigned long long)seed);                                                             \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static uint64_t seed;
static _Atomic bool stop;
static struct lease_arbiter *arbiter;

/* One block of the file is one bit. */
struct pin {
	LIST_ENTRY(pin) link;
	struct file *file;
	uint64_t want, reach, drained;
	bool faulting;
};

struct file {
	struct lease_anchor anchor;
	struct rwlock inode;
	pthread_mutex_t pins_lock;
	LIST_HEAD(, pin) pins;
	_Atomic unsigned low; /* what the numbers of its leases end with */
};
static struct file files[FILES];

struct slot {
	struct rwlock lock; /* held to use the session, exclusively to replace it */
	struct lease_session *session;
	_Atomic bool polite;      /* answers recalls at once */
	_Atomic unsigned waiting; /* breakers of the session that wait without the lock */
};
static struct slot slots[SESSIONS];

struct known {
	_Atomic uint64_t lease;
	_Atomic unsigned slot;
};
static struct known known[KNOWN];

static struct {
	_Atomic unsigned long grants, breaks, waited_ns_max, receipts, refused, attached, denied, changed, interrupted;
} totals;

static uint64_t rnd(uint64_t *s, uint64_t below)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return (*s >> 11) % below;
}

static struct range some_range(uint64_t *s)
{
	uint64_t start = rnd(s, BLOCKS);
	uint64_t end = start + 1 + rnd(s, BLOCKS - start);

	if (rnd(s, 8) == 0)
		return RANGE_ALL;
	return (struct range){start * BLOCK, rnd(s, 8) == 0 ? RANGE_MAX : end * BLOCK};
}

static uint64_t bits_of(struct range r)
{
	uint64_t from = r.start / BLOCK;
	uint64_t to = r.end / BLOCK < BLOCKS ? r.end / BLOCK : BLOCKS;
	uint64_t below_to = to == BLOCKS ? UINT64_MAX : (1ull << to) - 1;

	return from >= BLOCKS ? 0 : below_to & ~((1ull << from) - 1);
}

/* --- what the arbiter calls ----------------------------------------------------------------------------------------
 */

static void pin_drain(void *ctx, struct range range)
{
	struct pin *p = ctx;

	lock_assert_not_held(RANK_LEASE);
	pthread_mutex_lock(&p->file->pins_lock);
	p->drained |= bits_of(range);
	p->reach &= ~p->drained;
	pthread_mutex_unlock(&p->file->pins_lock);
}

static void pin_gone(void *ctx)
{
	struct pin *p = ctx;

	lock_assert_not_held(RANK_LEASE);
	pthread_mutex_lock(&p->file->pins_lock);
	check(p->reach == 0);
	check((p->want & ~p->drained) == 0);
	LIST_REMOVE(p, link);
	pthread_mutex_unlock(&p->file->pins_lock);
	free(p);
}
static const struct lease_pin_ops pin_ops = {.drain = pin_drain, .gone = pin_gone};

static void on_recall(void *ctx, const struct lease_recall *r)
{
	struct slot *slot = ctx;

	lock_assert_not_held(RANK_LEASE);
	if (slot->polite)
		check(lease_release(slot->session, r->lease, r->range) == 0);
}

static void on_revoked(void *ctx, const struct lease_recall *r)
{
	lock_assert_not_held(RANK_LEASE);
	check(r->seq > 1);
}
static const struct lease_session_ops session_ops = {.recall = on_recall, .revoked = on_revoked};

/* --- what the threads do -------------------------------------------------------------------------------------------
 */

static void slot_open(unsigned i)
{
	struct lease_identity who = {.uid = i};

	check(lease_session_open(arbiter, &session_ops, &slots[i], &who, &slots[i].session) == 0);
}

static void do_attach(struct file *f, uint64_t lease, struct range range, bool faulting)
{
	struct pin *p = calloc(1, sizeof(*p));

	check(p);
	p->file = f;
	p->want = bits_of(range);
	p->faulting = faulting;
	pthread_mutex_lock(&f->pins_lock);
	LIST_INSERT_HEAD(&f->pins, p, link);
	pthread_mutex_unlock(&f->pins_lock);
	/* First attached, then reachable. The lease may end any time after; INODE keeps its blocks where they are. */
	if (lease_pin_attach(arbiter, lease, &pin_ops, p, 1) == 0) {
		totals.attached++;
		return;
	}
	pthread_mutex_lock(&f->pins_lock);
	LIST_REMOVE(p, link);
	pthread_mutex_unlock(&f->pins_lock);
	free(p);
}

/* The keys start to work, unless they are drained already. */
static void open_keys(struct file *f)
{
	struct pin *p;

	pthread_mutex_lock(&f->pins_lock);
	LIST_FOREACH (p, &f->pins, link)
		p->reach = p->want & ~p->drained;
	pthread_mutex_unlock(&f->pins_lock);
}

static void do_grant(uint64_t *s, struct file *f, unsigned i)
{
	struct lease_grant_args args = {.anchor = &f->anchor,
					.session = slots[i].session,
					.handle = rnd(s, HANDLES),
					.range = some_range(s),
					.mode = rnd(s, 2) ? LEASE_READ : LEASE_WRITE,
					.exclusive = rnd(s, 16) == 0,
					.max_age_ns = rnd(s, DENY_NS),
					.faulting = rnd(s, 6) == 0,
					.deadline_ns = rnd(s, 4) ? rnd(s, D_MAX_NS) : LEASE_DEADLINE_NOW};
	struct known *k = &known[rnd(s, KNOWN)];
	struct lease_grant g;
	int err;

	rwlock_take_read(&f->inode);
	err = lease_grant(arbiter, &args, &g);
	if (err == 0) {
		check(g.seq == 1);
		totals.grants++;
		if (rnd(s, 3)) {
			do_attach(f, g.lease, args.range, args.faulting);
			open_keys(f);
		}
		k->lease = g.lease;
		k->slot = i;
		f->low = (unsigned)g.lease & 0xff;
	} else {
		check(err == -EAGAIN || err == -EDQUOT);
	}
	rwlock_drop(&f->inode);
}

static void do_release(uint64_t *s)
{
	const struct known *k = &known[rnd(s, KNOWN)];
	unsigned i = k->slot;

	rwlock_take_read(&slots[i].lock);
	check(lease_release(slots[i].session, k->lease, rnd(s, 2) ? RANGE_ALL : some_range(s)) == 0);
	rwlock_drop(&slots[i].lock);
}

static void each_placed(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part, void *pin)
{
	struct pin *p = pin;

	pthread_mutex_lock(&p->file->pins_lock);
	p->drained &= ~bits_of(part);
	p->reach = p->want & ~p->drained;
	pthread_mutex_unlock(&p->file->pins_lock);
}

/* Without INODE only what names no blocks may be placed. */
static void each_placed_faulting(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part,
				 void *pin)
{
	if (((struct pin *)pin)->faulting)
		each_placed(ctx, lease, seq, mode, part, pin);
}

static void check_unreachable(struct file *f, struct range range)
{
	const struct pin *p;

	pthread_mutex_lock(&f->pins_lock);
	LIST_FOREACH (p, &f->pins, link)
		check(p->faulting || (p->reach & bits_of(range)) == 0);
	pthread_mutex_unlock(&f->pins_lock);
}

/* What the fs does with the range once the break is over. */
static void change_layout(struct file *f, const struct lease_break_args *args, const struct lease_session *owner)
{
	struct drained receipt;
	int err;

	rwlock_take_write(&f->inode);
	check(lease_conflicts(&f->anchor, args->range, args->modes, owner) == 0);
	check(lease_own_drain(&f->anchor, args->range, owner) == 0);
	err = lease_drained(&f->anchor, args->range, &receipt);
	/* With READ leases left alone (a clone's source) there may be none. */
	check(err == 0 || (err == -EBUSY && !(args->modes & LEASE_READ)));
	if (err == 0) {
		check(receipt.proof && receipt.object == f->anchor.object);
		check_unreachable(f, args->range);
		totals.receipts++;
	} else {
		totals.refused++;
	}
	check(lease_conflicts(&f->anchor, args->range, args->modes, owner) == 0);
	check(lease_own_each(&f->anchor, args->range, owner, each_placed, NULL) == 0);
	rwlock_drop(&f->inode);
}

static unsigned some_modes(uint64_t *s)
{
	unsigned modes = rnd(s, 4) ? LEASE_ANY_MODE : LEASE_WRITE;

	return modes | (rnd(s, 3) ? 0 : LEASE_EXCLUSIVE) | (rnd(s, 4) ? 0 : LEASE_FAULTING);
}

/* 0; -EINTR: the gate is open again, and nothing may be changed. */
static int wait_for(struct lease_break *b)
{
	uint64_t before = clock_now_ns();
	int err = lease_break_wait(b);

	if (err) {
		check(err == -EINTR);
		totals.interrupted++;
		lease_break_end(b);
		return err;
	}
	check(lease_break_done(b));
	before = clock_now_ns() - before;
	if (before > totals.waited_ns_max)
		totals.waited_ns_max = before;
	totals.breaks++;
	return 0;
}

static void do_break(uint64_t *s, struct file *f, unsigned i)
{
	struct lease_break_args args = {.anchor = &f->anchor,
					.range = some_range(s),
					.modes = some_modes(s),
					.reason = LEASE_FOR_RELOCATE,
					.kind = rnd(s, 2) ? LEASE_DRAIN : LEASE_STOP,
					.tag = 1 + rnd(s, TAGS),
					.deadline_ns = rnd(s, 4) ? 1 + rnd(s, D_MAX_NS) : LEASE_DEADLINE_NOW};
	struct lease_session *owner;
	struct lease_break *b;
	int err;

	rwlock_take_read(&slots[i].lock);
	owner = rnd(s, 3) ? slots[i].session : NULL;
	args.owner = owner;
	err = lease_break_start(arbiter, &args, &b);
	slots[i].waiting++;
	rwlock_drop(&slots[i].lock);
	if (err) {
		check(!(args.modes & LEASE_EXCLUSIVE) && (err == -ETXTBSY || (err == -EDEADLK && owner)));
		totals.denied++;
		slots[i].waiting--;
		return;
	}
	switch (rnd(s, 6)) {
	case 0:
		lease_break_detach(b);
		err = -EWOULDBLOCK;
		break;
	case 1:
		lease_break_end(b);
		err = -ECANCELED;
		break;
	default:
		err = wait_for(b);
		break;
	}
	slots[i].waiting--;
	if (err)
		return;
	rwlock_take_read(&slots[i].lock);
	/* The session may be another one by now; the gate kept it out all the same. */
	change_layout(f, &args, owner == slots[i].session ? owner : NULL);
	rwlock_drop(&slots[i].lock);
	lease_break_end(b);
}

/* As fs_lease_change: the own pins are drained, and placed anew. */
static void do_change(uint64_t *s, struct file *f)
{
	const struct known *k = &known[rnd(s, KNOWN)];
	struct lease_change_args args = {
	    .mode = rnd(s, 2) ? LEASE_READ : LEASE_WRITE, .exclusive = rnd(s, 4) == 0, .max_age_ns = rnd(s, DENY_NS)};
	unsigned i = k->slot;
	uint64_t lease = k->lease;
	struct lease_grant g;
	int err;

	rwlock_take_read(&slots[i].lock);
	if (rnd(s, 2))
		check(lease_change_drain(&f->anchor, slots[i].session, lease) == 0);
	rwlock_take_write(&f->inode);
	check(lease_own_drain(&f->anchor, RANGE_ALL, slots[i].session) == 0);
	if ((lease & 0xff) == f->low) {
		err = lease_change(slots[i].session, lease, &args, &g);
		check(err == 0 || err == -ESTALE || err == -EAGAIN || (err == -ETIMEDOUT && args.exclusive));
		if (err == 0) {
			check(g.seq > 1);
			totals.changed++;
		}
	}
	check(lease_own_each(&f->anchor, RANGE_ALL, slots[i].session, each_placed, NULL) == 0);
	rwlock_drop(&f->inode);
	check(lease_change_place(&f->anchor, slots[i].session, lease, each_placed_faulting, NULL) == 0);
	rwlock_drop(&slots[i].lock);
}

static void do_gate_wait(uint64_t *s, struct file *f, unsigned i)
{
	struct lease_session *who;
	int err;

	rwlock_take_read(&slots[i].lock);
	who = slots[i].session;
	slots[i].waiting++;
	rwlock_drop(&slots[i].lock);
	err = lease_gate_wait(arbiter, &f->anchor, some_range(s), clock_now_ns() + NS_PER_MS, who, 1 + rnd(s, TAGS));
	check(err == 0 || err == -ETIMEDOUT || err == -EINTR);
	slots[i].waiting--;
}

static void do_interrupt(uint64_t *s, unsigned i)
{
	rwlock_take_read(&slots[i].lock);
	lease_interrupt(slots[i].session, rnd(s, TAGS + 1), false);
	rwlock_drop(&slots[i].lock);
}

static void count_info(void *ctx, const struct lease_info *info)
{
	check(info->state == LEASE_GRANTED || info->state == LEASE_RECALLING);
	check(info->bytes > 0 && info->range.start < info->range.end);
}

static void do_look(uint64_t *s)
{
	static _Thread_local struct lease_trace got[64];
	static _Thread_local uint64_t cursor;
	struct lease_stats stats;

	check(lease_list(arbiter, rnd(s, FILES + 1), 0, count_info, NULL) == 0);
	lease_stats_read(arbiter, &stats);
	for (unsigned n = lease_trace_read(arbiter, &cursor, got, 64); n > 0; n--)
		check(got[n - 1].range.start < got[n - 1].range.end && got[n - 1].event <= LEASE_EV_BREAK);
}

static void do_revoke(uint64_t *s)
{
	if (rnd(s, 4))
		check(lease_revoke(arbiter, known[rnd(s, KNOWN)].lease | 1u << 8, 0, 0, UINT32_MAX, "stress") >= 0);
	else
		check(lease_revoke(arbiter, 0, 0, 0, (uint32_t)rnd(s, SESSIONS), "stress") >= 0);
}

static void do_reopen(uint64_t *s, unsigned i)
{
	rwlock_take_write(&slots[i].lock);
	/* Whoever still waits for the session that is gone is let go at once, as the server does it. */
	lease_interrupt(slots[i].session, 0, true);
	while (slots[i].waiting)
		sched_yield();
	lease_session_close(slots[i].session);
	slots[i].polite = rnd(s, 2);
	slot_open(i);
	rwlock_drop(&slots[i].lock);
}

static void step(uint64_t *s)
{
	struct file *f = &files[rnd(s, FILES)];
	unsigned i = (unsigned)rnd(s, SESSIONS);
	uint64_t dice = rnd(s, 100);

	if (dice < 78) {
		if (dice < 5) {
			do_change(s, f);
		} else if (dice < 7) {
			do_interrupt(s, i);
		} else if (dice < 52) {
			rwlock_take_read(&slots[i].lock);
			do_grant(s, f, i);
			rwlock_drop(&slots[i].lock);
		} else {
			do_release(s);
		}
	} else if (dice < 91) {
		do_break(s, f, i);
	} else if (dice < 94) {
		rwlock_take_read(&slots[i].lock);
		lease_handle_close(slots[i].session, rnd(s, HANDLES));
		rwlock_drop(&slots[i].lock);
	} else if (dice < 96) {
		do_gate_wait(s, f, i);
	} else if (dice < 97) {
		do_look(s);
	} else if (dice < 98) {
		do_reopen(s, i);
	} else {
		do_revoke(s);
	}
}

static void *worker(void *ctx)
{
	uint64_t s = seed * 7919 + (uintptr_t)ctx * 104729 + 1;

	while (!stop)
		step(&s);
	return NULL;
}

static uint64_t env_or(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(void)
{
	struct lease_options opt = {.deadline_ns = D_MAX_NS, .session_leases_max = 200};
	uint64_t seconds = env_or("LEASE_STRESS_SECONDS", 3);
	struct lease_stats stats;
	pthread_t threads[THREADS];

	seed = env_or("LEASE_STRESS_SEED", clock_real_ns());
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	setenv("LEASEHOLD_LOG", "error", 1); /* a forced revocation is a warning */
	check(lease_arbiter_new(&opt, &arbiter) == 0);
	for (unsigned i = 0; i < FILES; i++) {
		lease_anchor_init(&files[i].anchor, i + 1);
		rwlock_init(&files[i].inode, RANK_INODE, i + 1);
		pthread_mutex_init(&files[i].pins_lock, NULL);
	}
	for (unsigned i = 0; i < SESSIONS; i++) {
		rwlock_init(&slots[i].lock, RANK_CLIENT, i);
		slots[i].polite = i % 2;
		slot_open(i);
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		check(pthread_create(&threads[i], NULL, worker, (void *)i) == 0);
	sleep((unsigned)seconds);
	stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < SESSIONS; i++)
		lease_session_close(slots[i].session);
	lease_stats_read(arbiter, &stats);
	check(stats.leases == 0 && stats.pinned_bytes == 0 && stats.sessions == 0);
	for (unsigned i = 0; i < FILES; i++) {
		check(!lease_busy(&files[i].anchor));
		check(LIST_EMPTY(&files[i].pins));
		lease_anchor_fini(&files[i].anchor);
	}
	lease_arbiter_free(arbiter);
	printf("%lu grants, %lu pinned, %lu breaks (longest %.1f ms), %lu denied, %lu interrupted, %lu changes, "
	       "%lu receipts, %lu refused; %llu recalls, %llu forced, %llu released in time\n",
	       totals.grants, totals.attached, totals.breaks, (double)totals.waited_ns_max / 1e6, totals.denied,
	       totals.interrupted, totals.changed, totals.receipts, totals.refused, (unsigned long long)stats.recalls,
	       (unsigned long long)stats.forced, (unsigned long long)stats.released_in_time);
	return 0;
}
