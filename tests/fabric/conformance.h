/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the conformance test. Each takes the member it runs against; all abort the program on failure. */
#ifndef LH_TESTS_FABRIC_CONFORMANCE_H
#define LH_TESTS_FABRIC_CONFORMANCE_H

#include <stdio.h>
#include <stdlib.h>

#include <errno.h>

#include "fabric/fabric.h"
#include "member.h"

#define CHECK(cond, ...)                                                                                               \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #cond);                             \
			fprintf(stderr, __VA_ARGS__);                                                                  \
			fprintf(stderr, "\n");                                                                         \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)
#define MUST(call) CHECK((call) == 0, "the call failed")

/* A pool with guard pages around and a pattern in it. */
#define POOL_BYTES ((size_t)4 << 20)
#define POOL_GUARD 0xf5
#define WAIT_NS    (20ull * 1000000000)

extern uint64_t test_seed;
uint64_t test_random(uint64_t *state);

unsigned char *pool_map(void);
void pool_unmap(unsigned char *pool);
/* The first byte in [from, to) that isn't want, or to. */
size_t bytes_differ(const unsigned char *mem, size_t from, size_t to, unsigned char want);

/* One operation, waited for. Its status, or what post and wait said. */
int op_run(struct fabric_conn *c, enum fabric_dir dir, uint64_t key, uint64_t offset, void *buf, uint64_t len);

/* Both ends of a data path in one process; they don't know. path: none of the loop's. */
struct fabric_conn *pair_conn(enum member m, struct fabric_domain *d, struct fabric_path **path);

/* faulting.c */
void test_faulting(enum member m);
/* hammer.c */
void test_hammer(enum member m, unsigned rounds);
/* hostile.c */
void test_refusals(enum member m);
/* Exposed memory that gives SIGBUS: that operation fails, everything else works. */
void test_bad_memory(enum member m);
void test_hostile_stream(enum member m);
void test_peer_death(enum member m);
/* hostile_ring.c */
void test_hostile_ring(void);

#endif
