/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Servers that die and come back: a process without threads that starts one after another over the same pool and the
 * same addresses.
 */
#ifndef LH_TESTS_E2E_REVIVER_H
#define LH_TESTS_E2E_REVIVER_H

#include <stdint.h>
#include <sys/types.h>

struct reviver {
	pid_t pid, server;
	int ask, answer;
	char dir[64], pool[96], unix_address[96], tcp_address[64];
	uint64_t lease_ns, deadline_ns, grace_ns;
};

/* Before the test has threads. Makes the pool, in /dev/shm; no server runs yet. */
void reviver_start(struct reviver *k, uint64_t lease_ns, uint64_t deadline_ns, uint64_t grace_ns);
/* Starts a server; it listens when this returns. */
void reviver_serve(struct reviver *k);
/* kill -9. */
void reviver_kill(struct reviver *k);
/* Asks it to end in order (L36). */
void reviver_shutdown(struct reviver *k);
void reviver_stop(struct reviver *k);
/* The address for the way of this test. */
const char *reviver_address(const struct reviver *k);

#endif
