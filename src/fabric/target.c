/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Targets and domains: who owns which keys and paths. Movers start with the first path of their member.
 *
 * Keys and paths are independent: a path may go while keys live and the other way round; a request finds its key anew
 * for every chunk.
 */
#include "fabric/target.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"

int fabric_target_new(const struct fabric_target_options *opt, struct fabric_target **out)
{
	struct fabric_target *t = calloc(1, sizeof(*t));
	uint64_t spin_ns = opt ? opt->spin_ns : 0;
	int err;

	if (!t)
		return -ENOMEM;
	err = keytab_new(&t->keys);
	if (err) {
		free(t);
		return err;
	}
	lock_init(&t->lock, RANK_FABRIC);
	mover_init(&t->stream, "stream", spin_ns);
	mover_init(&t->ring, "ring", spin_ns);
	*out = t;
	return 0;
}

void fabric_target_free(struct fabric_target *t)
{
	if (!t)
		return;
	assert(t->domains == 0);
	mover_fini(&t->stream);
	mover_fini(&t->ring);
	keytab_free(t->keys);
	free(t->stage);
	lock_destroy(&t->lock);
	free(t);
}

static uint64_t counter_read(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void fabric_stats_read(struct fabric_target *t, struct fabric_stats *out)
{
	*out = (struct fabric_stats){
	    .read_ops = counter_read(&t->count.ops[FABRIC_OP_READ]),
	    .write_ops = counter_read(&t->count.ops[FABRIC_OP_WRITE]),
	    .read_bytes = counter_read(&t->count.bytes[FABRIC_OP_READ]),
	    .write_bytes = counter_read(&t->count.bytes[FABRIC_OP_WRITE]),
	    .refused = counter_read(&t->count.refused),
	    .faults = counter_read(&t->count.faults),
	    .protocol_errors = counter_read(&t->count.protocol_errors),
	    .keys = keytab_live(t->keys),
	    .revoked = keytab_killed(t->keys),
	};
}

int fabric_domain_new(struct fabric_target *t, struct fabric_domain **out)
{
	struct fabric_domain *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->target = t;
	LIST_INIT(&d->paths);
	lock_take(&t->lock);
	t->domains++;
	lock_drop(&t->lock);
	*out = d;
	return 0;
}

void fabric_domain_set_user(struct fabric_domain *d, uint32_t uid)
{
	/* Users who meet in one number share; 0 is nobody's. */
	d->owner.group = 1 + (uid * 2654435761u >> 8) % (KEY_GROUPS - 1);
}

static struct fabric_path *domain_path(struct fabric_domain *d)
{
	struct fabric_path *p;

	lock_take(&d->target->lock);
	p = LIST_FIRST(&d->paths);
	lock_drop(&d->target->lock);
	return p;
}

void fabric_domain_free(struct fabric_domain *d)
{
	struct fabric_path *p;

	if (!d)
		return;
	key_kill_all(d->target->keys, &d->owner);
	for (p = domain_path(d); p; p = domain_path(d))
		fabric_path_close(p);
	lock_take(&d->target->lock);
	d->target->domains--;
	lock_drop(&d->target->lock);
	free(d);
}

static int expose(struct fabric_domain *d, const struct key_target *target, struct fabric_key *out)
{
	if (target->access == 0 || (target->access & ~(unsigned)(FABRIC_READ | FABRIC_WRITE)))
		return fail(-EINVAL, "fabric: access mask %#x is not read, write or both", target->access);
	return key_make(d->target->keys, &d->owner, target, &out->number);
}

int fabric_expose(struct fabric_domain *d, void *base, uint64_t len, unsigned access, struct fabric_key *out)
{
	uint64_t end;

	if (!base || len == 0 || add_overflows((uint64_t)(uintptr_t)base, len, &end))
		return fail(-EINVAL, "fabric: nothing to expose, or a range that wraps");
	return expose(d, &(struct key_target){.base = base, .len = len, .access = access}, out);
}

int fabric_expose_faulting(struct fabric_domain *d, struct fabric_resolver *r, uint64_t at, uint64_t len,
			   unsigned access, struct fabric_key *out)
{
	uint64_t end;

	if (!r || len == 0 || add_overflows(at, len, &end))
		return fail(-EINVAL, "fabric: nothing to expose, or a range that wraps");
	return expose(d, &(struct key_target){.resolver = r, .at = at, .len = len, .access = access}, out);
}

int fabric_revoke(struct fabric_domain *d, struct fabric_key key, struct fabric_receipt *out)
{
	return key_kill(d->target->keys, &d->owner, key.number, out);
}

int fabric_dirty_take(struct fabric_domain *d, struct fabric_key key, uint64_t *start, uint64_t *end)
{
	return key_dirty_take(d->target->keys, &d->owner, key.number, start, end);
}

/* --- paths --- */

int target_attach(struct fabric_domain *d, struct mover *m, struct fabric_path *p)
{
	struct fabric_target *t = d->target;
	int err;

	p->domain = d;
	lock_take(&t->lock);
	err = mover_start(m);
	lock_drop(&t->lock);
	if (err) {
		p->ops->hangup(p);
		return err;
	}
	err = mover_attach(m, p);
	if (err)
		return err;
	lock_take(&t->lock);
	LIST_INSERT_HEAD(&d->paths, p, domain_link);
	lock_drop(&t->lock);
	return 0;
}

void target_broken(struct fabric_path *p, const char *rule)
{
	counter_add(&p->domain->target->count.protocol_errors, 1);
	log_warn("fabric", "%s path closed: the peer broke %s", p->mover->name, rule);
}

void fabric_path_close(struct fabric_path *p)
{
	if (!p)
		return;
	mover_detach(p);
	lock_take(&p->domain->target->lock);
	LIST_REMOVE(p, domain_link);
	lock_drop(&p->domain->target->lock);
	p->ops->free(p);
}

bool fabric_path_alive(const struct fabric_path *p)
{
	return atomic_load_explicit(&p->alive, memory_order_acquire);
}
