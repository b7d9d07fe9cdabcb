/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of claims, by lease. Everything changes under its lock together with its record, so that a checkpoint,
 * which copies the table under the lock, has begun before both or after both.
 *
 * The arbiter tells of every part that a denying lease loses while that part still stands in its index (claim_lost): no
 * breaker goes on, and no administrator's call returns, before the removal is recorded. A record that cannot be written
 * (the log is full to the last byte, or the medium fails) is made up for by the next checkpoint.
 */
#include "fs/claims.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "format/format.h"

#define CLAIM_BUCKETS  256u
#define GRACE_NS       (15 * NS_PER_SEC)
#define CLAIM_LOCK_KEY 1u /* LIMIT: never held together with the table of limits */

struct ghost {
	struct ghost *next;
	struct lease_session *session;
};

struct claim {
	struct claim *next;
	uint64_t lease;
	struct lease_session *ghost; /* NULL: its client is here */
	struct journal_claim on;     /* as on the medium */
};

struct claims {
	struct lock lock;
	struct claim *bucket[CLAIM_BUCKETS];
	uint32_t count, ghost_claims;
	uint32_t backs; /* clients that are taking something back: ghosts stay */
	uint64_t next_id;
	uint64_t grace_end_ns; /* arbiter's clock */
	struct ghost *ghosts;
	bool quiet;   /* the clean checkpoint that follows has none */
	bool abandon; /* nothing is written any more */
};

int claims_init(struct fs *fs)
{
	struct claims *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	lock_init_keyed(&c->lock, RANK_LIMIT, CLAIM_LOCK_KEY);
	c->next_id = 1;
	fs->claims = c;
	return 0;
}

void claims_stop(struct fs *fs, bool abandon)
{
	lock_take(&fs->claims->lock);
	fs->claims->quiet = true;
	fs->claims->abandon = abandon;
	lock_drop(&fs->claims->lock);
}

static void ghosts_close(struct ghost *g)
{
	while (g) {
		struct ghost *next = g->next;

		lease_session_close(g->session);
		free(g);
		g = next;
	}
}

/* The arbiter is still there, the journal need not be. */
void claims_fini(struct fs *fs)
{
	struct claims *c = fs->claims;

	if (!c)
		return;
	claims_stop(fs, true);
	claims_settle(fs);
	for (unsigned k = 0; k < CLAIM_BUCKETS; k++) {
		while (c->bucket[k]) {
			struct claim *gone = c->bucket[k];

			c->bucket[k] = gone->next;
			free(gone);
		}
	}
	lock_destroy(&c->lock);
	free(c);
	fs->claims = NULL;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static struct claim **bucket_of(struct claims *c, uint64_t lease)
{
	/* The low bits of a lease's number are its shard. */
	return &c->bucket[(lease >> 8 ^ lease) % CLAIM_BUCKETS];
}

static struct claim *claim_find(struct claims *c, uint64_t lease)
{
	struct claim *k = *bucket_of(c, lease);

	while (k && k->lease != lease)
		k = k->next;
	return k;
}

static void claim_insert(struct fs *fs, struct claim *k)
{
	struct claims *c = fs->claims;
	struct claim **b = bucket_of(c, k->lease);

	k->next = *b;
	*b = k;
	c->count++;
	c->ghost_claims += k->ghost != NULL;
	walk_account(fs, sizeof(struct m_claim));
}

static void claim_unlink(struct fs *fs, struct claim *k)
{
	struct claims *c = fs->claims;
	struct claim **at = bucket_of(c, k->lease);

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	c->count--;
	c->ghost_claims -= k->ghost != NULL;
	walk_account(fs, -(int64_t)sizeof(struct m_claim));
}

static uint64_t clock_of(struct fs *fs)
{
	return fs->clock.now_ns ? fs->clock.now_ns(fs->clock.ctx) : clock_now_ns();
}

static bool in_grace(struct fs *fs)
{
	const struct claims *c = fs->claims;

	return c->ghost_claims > 0 && clock_of(fs) < c->grace_end_ns;
}

/* --- records ------------------------------------------------------------------------------------------------------ */

/* Under the lock. */
static int record(struct fs *fs, struct jtxn *t, uint64_t *seq)
{
	int err = t->error;

	if (!err && fs->claims->abandon)
		return 0;
	if (!err)
		err = jtxn_commit(fs->journal, t, seq);
	return err;
}

/* Without the lock. POOL_MSYNC: a record is only as good as the last sync. */
static int make_durable(struct fs *fs)
{
	return fs->pool->class == POOL_MSYNC ? journal_sync(fs->journal) : 0;
}

static void forget_item(struct jtxn *t, const struct claim *k)
{
	jtxn_claim(t, &(struct journal_claim){.id = k->on.id, .ino = k->on.ino});
}

/* --- while the client is here ------------------------------------------------------------------------------------- */

/* Under the lock: the claim as it will be, in the table and in the log, or both as they were. */
static int claim_put(struct fs *fs, uint64_t lease, const struct journal_claim *want, struct claim **spare)
{
	struct claims *c = fs->claims;
	struct claim *k = claim_find(c, lease);
	struct journal_claim on = *want;
	struct jtxn t;
	uint64_t seq;
	int err;

	if (!k && c->count >= FORMAT_CLAIMS_MAX)
		return fail(-EDQUOT, "%u EXCLUSIVE leases are claimed already: no pool remembers more",
			    FORMAT_CLAIMS_MAX);
	on.id = k ? k->on.id : c->next_id;
	jtxn_init(&t);
	jtxn_claim(&t, &on);
	err = record(fs, &t, &seq);
	jtxn_fini(&t);
	if (err)
		return err;
	if (k) {
		k->on = on;
		return 0;
	}
	k = *spare;
	*spare = NULL;
	*k = (struct claim){.lease = lease, .on = on};
	c->next_id++;
	claim_insert(fs, k);
	return 0;
}

int claim_set(struct fs *fs, uint64_t lease, const struct journal_claim *want, struct journal_claim *old)
{
	struct claims *c = fs->claims;
	struct claim *spare = malloc(sizeof(*spare));
	const struct claim *k;
	int err;

	*old = (struct journal_claim){0};
	if (!spare)
		return -ENOMEM;
	lock_take(&c->lock);
	k = claim_find(c, lease);
	if (k)
		*old = k->on;
	err = claim_put(fs, lease, want, &spare);
	lock_drop(&c->lock);
	free(spare);
	if (!err) {
		err = make_durable(fs);
		if (err)
			claim_restore(fs, lease, old);
	}
	return err;
}

/* Under the lock: these claims of one lease, in a chain of their own, are gone; *left (may be NULL) are theirs now. */
static void claims_forget(struct fs *fs, struct claim *gone, struct claim *left)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	t.frees = true;
	for (const struct claim *k = gone; k; k = k->next)
		forget_item(&t, k);
	for (const struct claim *k = left; k; k = k->next)
		jtxn_claim(&t, &k->on);
	err = record(fs, &t, &seq);
	jtxn_fini(&t);
	if (err) {
		log_warn("fs", "%s: a claim that is over cannot be recorded so (%s): a checkpoint shall do it",
			 fs->pool->name, strerror(-err));
		/* Also when nothing else changes until the unmount. */
		atomic_store(&fs->lazy_left, true);
		journal_wake(fs->journal);
	}
	while (gone) {
		struct claim *next = gone->next;

		free(gone);
		gone = next;
	}
	while (left) {
		struct claim *next = left->next;

		claim_insert(fs, left);
		left = next;
	}
}

/* Under the lock: what is left of k outside the range, as new claims. Without memory less is left: that is safe. */
static struct claim *claim_rest(struct claims *c, const struct claim *k, struct range lost)
{
	const struct range part[2] = {{k->on.start, min_u64(k->on.end, lost.start)},
				      {max_u64(k->on.start, lost.end), k->on.end}};
	struct claim *rest = NULL;

	for (unsigned n = 0; n < 2; n++) {
		struct claim *r = range_empty(part[n]) ? NULL : malloc(sizeof(*r));

		if (!r)
			continue;
		*r = *k;
		r->on.id = c->next_id++;
		r->on.start = part[n].start;
		r->on.end = part[n].end;
		r->next = rest;
		rest = r;
	}
	return rest;
}

void claim_lost(void *ctx, uint64_t lease, struct range range)
{
	struct fs *fs = ctx;
	struct claims *c = fs->claims;
	struct claim *gone = NULL, *left = NULL, *next;
	bool sync;

	lock_take(&c->lock);
	for (struct claim *k = *bucket_of(c, lease); k; k = next) {
		struct claim *rest;

		next = k->next;
		if (k->lease != lease || !range_overlaps(range, (struct range){k->on.start, k->on.end}))
			continue;
		claim_unlink(fs, k);
		k->next = gone;
		gone = k;
		rest = claim_rest(c, k, range);
		while (rest) {
			struct claim *r = rest;

			rest = r->next;
			r->next = left;
			left = r;
		}
	}
	sync = gone && !c->quiet;
	if (gone)
		claims_forget(fs, gone, left);
	lock_drop(&c->lock);
	if (sync && make_durable(fs))
		log_warn("fs", "%s: a claim is over, but not on the medium yet", fs->pool->name);
}

void claim_restore(struct fs *fs, uint64_t lease, const struct journal_claim *old)
{
	struct claims *c = fs->claims;
	struct claim *k, *spare = NULL;

	if (old->end == 0) {
		claim_lost(fs, lease, RANGE_ALL);
		return;
	}
	lock_take(&c->lock);
	k = claim_find(c, lease);
	/* Otherwise the lease is gone, and the claim with it. */
	if (k && claim_put(fs, lease, old, &spare))
		log_warn("fs", "%s: the claim of lease %llu stays as it was asked for", fs->pool->name,
			 (unsigned long long)lease);
	lock_drop(&c->lock);
}

/* --- checkpoint and replay ---------------------------------------------------------------------------------------- */

void claims_walk(struct fs *fs, struct jtxn *t)
{
	struct claims *c = fs->claims;
	int64_t now = (int64_t)clock_real_ns();
	bool grace;

	lock_take(&c->lock);
	grace = in_grace(fs);
	for (unsigned b = 0; b < CLAIM_BUCKETS; b++) {
		for (const struct claim *k = c->bucket[b]; k; k = k->next) {
			if (k->on.until_ns > now && (!k->ghost || grace))
				jtxn_claim(t, &k->on);
		}
	}
	lock_drop(&c->lock);
}

/* Until the ghosts are raised, claims hang in the table under their numbers instead of leases. */
const char *claim_apply(void *ctx, const struct journal_claim *on)
{
	struct fs *fs = ctx;
	struct claims *c = fs->claims;
	struct claim *k = claim_find(c, on->id);

	c->next_id = max_u64(c->next_id, on->id + 1);
	if (on->end == 0) {
		if (k) {
			claim_unlink(fs, k);
			free(k);
		}
		return NULL;
	}
	if (!k) {
		if (c->count >= FORMAT_CLAIMS_MAX)
			return "4.12c more than 65536 claims";
		k = calloc(1, sizeof(*k));
		if (!k) {
			fs->apply_error = -ENOMEM;
			return "out of memory";
		}
		k->lease = on->id;
		claim_insert(fs, k);
	}
	k->on = *on;
	return NULL;
}

/* --- ghosts ------------------------------------------------------------------------------------------------------- */

/* Whoever may take it, takes it: nobody is there who could finish anything first. */
static void ghost_recall(void *ctx, const struct lease_recall *r)
{
	const struct ghost *g = ctx;

	(void)lease_release(g->session, r->lease, r->range);
}

static int ghost_new(struct fs *fs, const struct journal_claim *on, struct ghost **out)
{
	static const struct lease_session_ops ops = {.recall = ghost_recall};
	const struct lease_identity who = {.uid = on->uid, .host = "(a claim from before the crash)"};
	struct ghost *g = calloc(1, sizeof(*g));
	int err = g ? lease_session_open(fs->arbiter, &ops, g, &who, &g->session) : -ENOMEM;

	if (err) {
		free(g);
		return err;
	}
	g->next = fs->claims->ghosts;
	fs->claims->ghosts = g;
	*out = g;
	return 0;
}

/* Mount: nothing else runs. The claim's inode is there and has a name. */
static int ghost_raise(struct fs *fs, struct claim *k, struct inode *i, uint64_t grace_ns)
{
	struct lease_grant_args args = {.anchor = &i->anchor,
					.range = {k->on.start, k->on.end},
					.mode = k->on.mode == ITEM_CLAIM_WRITE ? LEASE_WRITE : LEASE_READ,
					.exclusive = true,
					.max_age_ns = grace_ns};
	struct lease_grant lease;
	struct ghost *g;
	int err = ghost_new(fs, &k->on, &g);

	if (err)
		return err;
	args.session = g->session;
	rwlock_take_read(&i->lock);
	err = lease_grant(fs->arbiter, &args, &lease);
	rwlock_drop(&i->lock);
	if (err) {
		log_warn("fs", "%s: inode %llu: the claim of uid %u cannot be kept (%s)", fs->pool->name,
			 (unsigned long long)k->on.ino, k->on.uid, strerror(-err));
		return err == -ENOMEM ? err : 0;
	}
	k->lease = lease.lease;
	k->ghost = g->session;
	return 0;
}

static bool claim_counts(struct fs *fs, const struct claim *k, bool was_clean)
{
	const struct inode *i = itable_peek(fs, k->on.ino);

	return !was_clean && i && i->type == DT_REG && i->nlink > 0 && k->on.until_ns > (int64_t)clock_real_ns();
}

int claims_raise(struct fs *fs, uint64_t grace_ns)
{
	struct claims *c = fs->claims;
	struct journal_stats js;
	struct claim *list = NULL, *next;
	int err = 0;

	grace_ns = grace_ns ? grace_ns : GRACE_NS;
	journal_stats_read(fs->journal, &js);
	for (unsigned b = 0; b < CLAIM_BUCKETS; b++) {
		for (; c->bucket[b]; list = next) {
			next = c->bucket[b];
			claim_unlink(fs, next);
			next->next = list;
		}
	}
	c->grace_end_ns = clock_of(fs) + grace_ns;
	for (struct claim *k = list; k; k = next) {
		next = k->next;
		if (!err && claim_counts(fs, k, js.was_clean || fs->read_only))
			err = ghost_raise(fs, k, itable_peek(fs, k->on.ino), grace_ns);
		if (k->ghost)
			claim_insert(fs, k);
		else
			free(k);
	}
	return err;
}

uint64_t fs_grace_left(struct fs *fs)
{
	struct claims *c = fs->claims;
	uint64_t left;

	lock_take(&c->lock);
	left = in_grace(fs) ? c->grace_end_ns - clock_of(fs) : 0;
	lock_drop(&c->lock);
	return left;
}

uint64_t claims_due_ns(struct fs *fs)
{
	struct claims *c = fs->claims;
	uint64_t due;

	lock_take(&c->lock);
	due = c->ghosts ? c->grace_end_ns : UINT64_MAX;
	lock_drop(&c->lock);
	return due;
}

void claims_settle(struct fs *fs)
{
	struct claims *c = fs->claims;
	struct ghost *over = NULL;

	lock_take(&c->lock);
	if ((c->quiet || !in_grace(fs)) && c->backs == 0) {
		over = c->ghosts;
		c->ghosts = NULL;
	}
	lock_drop(&c->lock);
	ghosts_close(over);
}

/* --- taking back -------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct claim *k, const struct journal_claim *w)
{
	return k->ghost && k->on.ino == w->ino && k->on.uid == w->uid && k->on.mode == w->mode &&
	       k->on.start <= w->start && w->end <= k->on.end &&
	       memcmp(k->on.client, w->client, sizeof(w->client)) == 0;
}

int claim_back_begin(struct fs *fs, const struct journal_claim *wanted, struct claim_back *b)
{
	struct claims *c = fs->claims;
	const struct claim *found = NULL;
	bool grace;

	lock_take(&c->lock);
	grace = in_grace(fs);
	for (unsigned n = 0; grace && !found && n < CLAIM_BUCKETS; n++) {
		for (found = c->bucket[n]; found && !is_wanted(found, wanted); found = found->next)
			;
	}
	if (found) {
		*b = (struct claim_back){found->ghost, found->lease, {wanted->start, wanted->end}, found->on.until_ns};
		c->backs++;
	}
	lock_drop(&c->lock);
	if (found)
		return 0;
	return fail(-ESTALE, grace ? "this client held no such EXCLUSIVE lease when the server died, or lost it since"
				   : "nothing can be claimed: there was no crash, or the time for that is over");
}

bool claim_back_stands(struct fs *fs, const struct claim_back *b)
{
	struct claims *c = fs->claims;
	const struct claim *k;

	lock_take(&c->lock);
	for (k = *bucket_of(c, b->lease); k; k = k->next) {
		if (k->lease == b->lease && range_covers((struct range){k->on.start, k->on.end}, b->range))
			break;
	}
	lock_drop(&c->lock);
	return k != NULL;
}

void claim_back_end(struct fs *fs, struct claim_back *b, bool taken)
{
	if (!b->ghost)
		return;
	if (taken)
		(void)lease_release(b->ghost, b->lease, b->range);
	lock_take(&fs->claims->lock);
	fs->claims->backs--;
	lock_drop(&fs->claims->lock);
}
