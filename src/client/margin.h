/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long a client may believe what its server said (L34, P58).
 *
 * The server ends a session when it has heard nothing for the lease time, by its own clock, and it heard a message not
 * before that was sent. So the client counts from the *sending* of the newest message that was answered, and stops
 * early: by an eighth of the lease time, for clocks that run at different speeds and for what it has begun when it
 * looked, and a sixty-fourth for the server's clock being read late. Clocks whose speeds differ by up to an eighth do
 * no harm; real ones differ by a thousandth of that. Tests run it with both clocks wrong
 * (tests/unit/client/test_margin.c).
 */
#ifndef LH_CLIENT_MARGIN_H
#define LH_CLIENT_MARGIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct margin {
	atomic_ullong trust_ns;     /* how long; UINT64_MAX: for ever (a server without lease time) */
	atomic_ullong confirmed_ns; /* when the newest answered message was sent */
};

static inline uint64_t margin_of(uint64_t lease_ns)
{
	return lease_ns / 8 + lease_ns / 64;
}

static inline void margin_init(struct margin *m, uint64_t lease_ns, uint64_t hello_ns)
{
	atomic_store(&m->trust_ns, lease_ns ? lease_ns - margin_of(lease_ns) : UINT64_MAX);
	atomic_store(&m->confirmed_ns, hello_ns);
}

/* A message that was sent then has been answered. One caller at a time. */
static inline void margin_confirm(struct margin *m, uint64_t sent_ns)
{
	if (sent_ns > atomic_load_explicit(&m->confirmed_ns, memory_order_relaxed))
		atomic_store_explicit(&m->confirmed_ns, sent_ns, memory_order_release);
}

static inline bool margin_trusted(const struct margin *m, uint64_t now_ns)
{
	uint64_t since = atomic_load_explicit(&m->confirmed_ns, memory_order_acquire);

	return now_ns < since || now_ns - since < atomic_load_explicit(&m->trust_ns, memory_order_relaxed);
}

/* A third of the lease time: so often the server hears from a client that has nothing else to say. */
static inline uint64_t margin_heartbeat_ns(uint64_t lease_ns)
{
	return lease_ns / 3;
}

#endif
