/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots in chunks that are never moved or freed before the table is, so that a lookup needs no lock. One word per slot
 * holds the dead bit and the count of movers inside; that one word decides everything:
 *
 *   enter:  state += 1; dead bit set? leave again, stale. Else the slot's fields cannot change until we leave.
 *   kill:   state |= DEAD; wait until the count is 0. Then, and only then, the slot may be filled anew.
 *
 * Both are read-modify-write operations on the same word, so either the mover sees the dead bit or the killer sees the
 * mover. A mover with a stale number may come and go on a dead or reused slot; it reads nothing, or finds another
 * number.
 *
 * Numbers: slot in the low 20 bits, and in the upper 44 a keyed permutation (Feistel over SipHash) of a counter: the
 * permutation makes them unguessable, the counter makes a repetition impossible (L14).
 */
#include "fabric/keytab.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/types.h"
#include "base/relax.h"

#define SLOT_BITS   20
#define SLOT_CHUNK  1024u
#define CHUNKS      (FABRIC_KEYS_MAX / SLOT_CHUNK)
#define HALF_BITS   22
#define HALF_MASK   ((1u << HALF_BITS) - 1)
#define SERIAL_MAX  (1ull << (2 * HALF_BITS))
#define ROUNDS      8
#define STATE_DEAD  0x80000000u
#define KILL_SPINS  2000u
#define DIRTY_SHIFT 6 /* a cache line, what a flush works on */

static_assert(FABRIC_KEYS_MAX == 1u << SLOT_BITS, "the slot is part of the number");

/* Fields below state change only while DEAD is set and the count of movers inside is 0. */
struct key_slot {
	_Atomic uint32_t state;
	uint8_t access;
	uint8_t dirty_shift; /* unit of the hull */
	uint16_t killers;    /* callers of key_kill that still look at the slot; table lock */
	uint64_t number;     /* 0: free */
	struct key_owner *owner;
	struct fabric_resolver *resolver; /* NULL: a pinned key */
	union {
		char *base;
		uint64_t at; /* faulting */
	};
	uint64_t len;
	_Atomic uint64_t dirty; /* hull in units: start in the low half, end in the high; 0: clean */
	uint32_t next, prev;    /* slot + 1 of the owner's neighbours, next also of the free ones; table lock */
} __attribute__((aligned(64)));
static_assert(sizeof(struct key_slot) == 64, "one cache line a slot");

const uint8_t key_zeroes[FABRIC_CHUNK];

struct keytab {
	struct lock lock; /* making, ending and listing keys; never held while waiting for movers */
	struct key_slot *_Atomic chunks[CHUNKS];
	uint32_t slots;      /* ever handed out */
	uint32_t free_first; /* slot + 1 */
	uint64_t serial;     /* next one */
	uint64_t secret[2];
	_Atomic uint64_t live, killed;
	uint32_t of_group[KEY_GROUPS]; /* live keys; table lock */
};

/* --- numbers --- */

static inline uint64_t rotl(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

/* SipHash-2-4 of one 8-byte message. */
static uint64_t sip_word(const uint64_t secret[2], uint64_t word)
{
	const uint64_t tail = 8ull << 56;
	uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575ull, secret[1] ^ 0x646f72616e646f6dull,
			 secret[0] ^ 0x6c7967656e657261ull, secret[1] ^ 0x7465646279746573ull};
	const uint64_t in[2] = {word, tail};

	for (int i = 0; i < 2; i++) {
		v[3] ^= in[i];
		sip_round(v);
		sip_round(v);
		v[0] ^= in[i];
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t serial_hide(const uint64_t secret[2], uint64_t serial)
{
	uint32_t left = (uint32_t)(serial >> HALF_BITS), right = (uint32_t)serial & HALF_MASK;

	for (uint64_t round = 0; round < ROUNDS; round++) {
		uint32_t mixed = left ^ ((uint32_t)sip_word(secret, round << HALF_BITS | right) & HALF_MASK);

		left = right;
		right = mixed;
	}
	return (uint64_t)left << HALF_BITS | right;
}

/* 0 when all are used up. */
static uint64_t number_next(struct keytab *kt, uint32_t index)
{
	while (kt->serial < SERIAL_MAX) {
		uint64_t hidden = serial_hide(kt->secret, kt->serial++);

		if (hidden != 0)
			return hidden << SLOT_BITS | index;
	}
	return 0;
}

/* --- slots --- */

static struct key_slot *slot_at(struct keytab *kt, uint32_t index)
{
	struct key_slot *chunk = atomic_load_explicit(&kt->chunks[index / SLOT_CHUNK], memory_order_acquire);

	return chunk ? &chunk[index % SLOT_CHUNK] : NULL;
}

static struct key_slot *slot_of(struct keytab *kt, uint64_t number)
{
	return slot_at(kt, (uint32_t)number & (FABRIC_KEYS_MAX - 1));
}

static int chunk_add(struct keytab *kt, uint32_t chunk)
{
	struct key_slot *slots = aligned_alloc(64, SLOT_CHUNK * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	memset(slots, 0, SLOT_CHUNK * sizeof(*slots));
	for (uint32_t i = 0; i < SLOT_CHUNK; i++)
		atomic_init(&slots[i].state, STATE_DEAD);
	atomic_store_explicit(&kt->chunks[chunk], slots, memory_order_release);
	return 0;
}

/* Table lock. */
static int slot_take(struct keytab *kt, uint32_t *index)
{
	if (kt->free_first != 0) {
		*index = kt->free_first - 1;
		kt->free_first = slot_at(kt, *index)->next;
		return 0;
	}
	if (kt->slots == FABRIC_KEYS_MAX)
		return fail(-ENOSPC, "fabric: %u keys live, which is the most; release leases", FABRIC_KEYS_MAX);
	if (kt->slots % SLOT_CHUNK == 0) {
		int err = chunk_add(kt, kt->slots / SLOT_CHUNK);

		if (err)
			return err;
	}
	*index = kt->slots++;
	return 0;
}

static void slot_free(struct keytab *kt, struct key_slot *s, uint32_t index)
{
	s->number = 0;
	s->owner = NULL;
	s->next = kt->free_first;
	kt->free_first = index + 1;
}

static void slot_link(struct keytab *kt, struct key_slot *s, uint32_t index)
{
	s->prev = 0;
	s->next = s->owner->first;
	if (s->next != 0)
		slot_at(kt, s->next - 1)->prev = index + 1;
	s->owner->first = index + 1;
	kt->of_group[s->owner->group]++;
}

static void slot_unlink(struct keytab *kt, struct key_slot *s)
{
	kt->of_group[s->owner->group]--;
	if (s->prev != 0)
		slot_at(kt, s->prev - 1)->next = s->next;
	else
		s->owner->first = s->next;
	if (s->next != 0)
		slot_at(kt, s->next - 1)->prev = s->prev;
}

int keytab_new(struct keytab **out)
{
	struct keytab *kt = calloc(1, sizeof(*kt));

	if (!kt)
		return -ENOMEM;
	if (getrandom(kt->secret, sizeof(kt->secret), 0) != sizeof(kt->secret)) {
		free(kt);
		return fail(-EIO, "fabric: the kernel gave no random bytes for the keys");
	}
	lock_init(&kt->lock, RANK_FABRIC);
	*out = kt;
	return 0;
}

void keytab_free(struct keytab *kt)
{
	if (!kt)
		return;
	assert(kt->live == 0);
	for (uint32_t i = 0; i < CHUNKS; i++)
		free(kt->chunks[i]);
	lock_destroy(&kt->lock);
	explicit_bzero(kt->secret, sizeof(kt->secret));
	free(kt);
}

static uint8_t dirty_shift_for(uint64_t len)
{
	uint8_t shift = DIRTY_SHIFT;

	while (len >> shift >= UINT32_MAX)
		shift++;
	return shift;
}

/* Table lock. A user who has taken many keys leaves the other half to others. */
static int group_may_have(const struct keytab *kt, uint32_t group)
{
	if (group == 0 || kt->live < FABRIC_KEYS_MAX / 2 || kt->of_group[group] < KEY_GROUP_SHARE)
		return 0;
	return fail(-EDQUOT, "fabric: half of all keys live, and %u of them are this user's; release leases",
		    kt->of_group[group]);
}

int key_make(struct keytab *kt, struct key_owner *owner, const struct key_target *target, uint64_t *number)
{
	struct key_slot *s;
	uint32_t index = 0;
	uint64_t n;
	int err;

	lock_take(&kt->lock);
	err = group_may_have(kt, owner->group);
	if (!err)
		err = slot_take(kt, &index);
	if (err)
		goto out;
	s = slot_at(kt, index);
	n = number_next(kt, index);
	if (n == 0) {
		slot_free(kt, s, index);
		err = fail(-ENOSPC, "fabric: every key number of this run was used; restart the server");
		goto out;
	}
	s->number = n;
	s->owner = owner;
	s->resolver = target->resolver;
	if (s->resolver)
		s->at = target->at;
	else
		s->base = target->base;
	s->len = target->len;
	s->access = (uint8_t)target->access;
	s->dirty_shift = dirty_shift_for(target->len);
	s->killers = 0;
	slot_link(kt, s, index);
	atomic_store_explicit(&s->dirty, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&kt->live, 1, memory_order_relaxed);
	atomic_fetch_and_explicit(&s->state, ~STATE_DEAD, memory_order_release);
	*number = n;
out:
	lock_drop(&kt->lock);
	return err;
}

/* --- movers --- */

__attribute__((unused)) static void slot_leave(struct key_slot *s)
{
	uint32_t before = atomic_fetch_sub_explicit(&s->state, 1, memory_order_acq_rel);

	if (unlikely(before == (STATE_DEAD | 1)))
		syscall(SYS_futex, &s->state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* The slot is held. */
__attribute__((unused)) static int key_resolve(struct key_slot *s, const struct key_want *want, struct key_hold *out)
{
	struct fabric_place place = {0};
	int err;

	/* Only a look whether the key is good. */
	out->mem = (char *)(uintptr_t)key_zeroes;
	if (out->len == 0)
		return 0;
	err = s->resolver->enter(s->resolver, want->access, s->at + want->offset, out->len, &place);
	if (err) {
		assert(err == -EAGAIN || err == -EIO);
		return err;
	}
	assert(place.len > 0 && place.len <= out->len && (place.mem || want->access == FABRIC_READ));
	if (place.mem)
		out->mem = place.mem;
	out->len = place.len;
	out->resolved = want->access;
	return 0;
}

#ifdef LH_NO_KEY_CHECK
/* For the benchmark `lease_check` alone: a mover that asks nothing. Nothing can be revoked in such a build. */
int key_enter(struct keytab *kt, const struct key_want *want, struct key_hold *out)
{
	struct key_slot *s = slot_of(kt, want->number);

	if (unlikely(!s))
		return -ESTALE;
	*out = (struct key_hold){.slot = s, .mem = s->base + want->offset, .offset = want->offset};
	out->len = min_u64(want->len, FABRIC_CHUNK);
	return 0;
}

void key_leave(struct key_hold *hold)
{
	hold->slot = NULL;
}
#else
int key_enter(struct keytab *kt, const struct key_want *want, struct key_hold *out)
{
	struct key_slot *s = slot_of(kt, want->number);
	int err = -ESTALE;

	if (unlikely(!s))
		return err;
	if (unlikely(atomic_fetch_add_explicit(&s->state, 1, memory_order_acq_rel) & STATE_DEAD))
		goto refuse;
	if (unlikely(s->number != want->number || s->owner != want->owner))
		goto refuse;
	err = -EACCES;
	if (unlikely(!(s->access & want->access)))
		goto refuse;
	err = -ERANGE;
	if (unlikely(want->offset > s->len || want->len > s->len - want->offset))
		goto refuse;
	*out = (struct key_hold){.slot = s, .len = min_u64(want->len, FABRIC_CHUNK), .offset = want->offset};
	if (likely(!s->resolver)) {
		out->mem = s->base + want->offset;
		return 0;
	}
	err = key_resolve(s, want, out);
	if (likely(!err))
		return 0;
refuse:
	slot_leave(s);
	return err;
}

void key_leave(struct key_hold *hold)
{
	if (unlikely(hold->resolved))
		hold->slot->resolver->leave(hold->slot->resolver, hold->resolved);
	slot_leave(hold->slot);
	hold->slot = NULL;
}
#endif

void key_dirty(struct key_hold *hold, uint64_t len)
{
	struct key_slot *s = hold->slot;
	uint64_t old = atomic_load_explicit(&s->dirty, memory_order_relaxed);
	uint64_t start = hold->offset >> s->dirty_shift;
	uint64_t end = ((hold->offset + len - 1) >> s->dirty_shift) + 1;
	uint64_t hull;

	assert(len != 0);
	do {
		uint64_t old_start = old & UINT32_MAX, old_end = old >> 32;

		hull = old == 0 ? end << 32 | start : max_u64(end, old_end) << 32 | min_u64(start, old_start);
		if (hull == old)
			return;
	} while (
	    !atomic_compare_exchange_weak_explicit(&s->dirty, &old, hull, memory_order_acq_rel, memory_order_relaxed));
}

/* Forgets the hull. The caller keeps the slot from being reused. */
static void slot_dirty_take(struct key_slot *s, uint64_t *start, uint64_t *end)
{
	uint64_t hull = atomic_exchange_explicit(&s->dirty, 0, memory_order_acq_rel);

	*start = (hull & UINT32_MAX) << s->dirty_shift;
	*end = min_u64((hull >> 32) << s->dirty_shift, s->len);
}

int key_dirty_take(struct keytab *kt, const struct key_owner *owner, uint64_t number, uint64_t *start, uint64_t *end)
{
	struct key_want want = {.owner = owner, .number = number, .access = FABRIC_READ | FABRIC_WRITE};
	struct key_hold hold;
	int err = key_enter(kt, &want, &hold);

	*start = *end = 0;
	if (err)
		return err;
	slot_dirty_take(hold.slot, start, end);
	key_leave(&hold);
	return 0;
}

/* --- the end of a key --- */

/* Movers are inside for one chunk; spin for that long, then sleep in case one was scheduled away. */
static void slot_drain(struct key_slot *s)
{
	for (unsigned i = 0; i < KILL_SPINS; i++) {
		if (atomic_load_explicit(&s->state, memory_order_acquire) == STATE_DEAD)
			return;
		cpu_relax();
	}
	for (;;) {
		uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);

		if (state == STATE_DEAD)
			return;
		syscall(SYS_futex, &s->state, FUTEX_WAIT_PRIVATE, state, NULL, NULL, 0);
	}
}

/* Table lock, dropped while waiting and at return. False: another caller kills it at the same time. */
static bool slot_kill(struct keytab *kt, struct key_slot *s, struct fabric_receipt *out)
{
	bool first = !(atomic_fetch_or_explicit(&s->state, STATE_DEAD, memory_order_acq_rel) & STATE_DEAD);

	s->killers++;
	lock_drop(&kt->lock);
	slot_drain(s);
	lock_take(&kt->lock);
	if (first) {
		slot_dirty_take(s, &out->dirty_start, &out->dirty_end);
		atomic_fetch_sub_explicit(&kt->live, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&kt->killed, 1, memory_order_relaxed);
	}
	if (--s->killers == 0) {
		slot_unlink(kt, s);
		slot_free(kt, s, (uint32_t)s->number & (FABRIC_KEYS_MAX - 1));
	}
	lock_drop(&kt->lock);
	return first;
}

int key_kill(struct keytab *kt, struct key_owner *owner, uint64_t number, struct fabric_receipt *out)
{
	struct key_slot *s = slot_of(kt, number);

	*out = (struct fabric_receipt){.number = number};
	if (!s)
		return -ESTALE;
	lock_take(&kt->lock);
	if (s->number != number || s->owner != owner) {
		if (s->number == number)
			out->number = 0;
		lock_drop(&kt->lock);
		return -ESTALE;
	}
	return slot_kill(kt, s, out) ? 0 : -ESTALE;
}

void key_kill_all(struct keytab *kt, struct key_owner *owner)
{
	struct fabric_receipt gone;

	lock_take(&kt->lock);
	while (owner->first != 0) {
		slot_kill(kt, slot_at(kt, owner->first - 1), &gone);
		lock_take(&kt->lock);
	}
	lock_drop(&kt->lock);
}

uint64_t keytab_live(struct keytab *kt)
{
	return atomic_load_explicit(&kt->live, memory_order_relaxed);
}

uint64_t keytab_killed(struct keytab *kt)
{
	return atomic_load_explicit(&kt->killed, memory_order_relaxed);
}
