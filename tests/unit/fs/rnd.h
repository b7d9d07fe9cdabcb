/* SPDX-License-Identifier: BSD-2-Clause */
/* xorshift for tests: the seed is printed, LH_SEED=n runs it again. */
#ifndef LH_TEST_RND_H
#define LH_TEST_RND_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct rnd {
	uint64_t state;
};

static inline uint64_t rnd_next(struct rnd *r)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return r->state;
}
static inline uint64_t rnd_below(struct rnd *r, uint64_t n)
{
	return rnd_next(r) % n;
}
static inline struct rnd rnd_start(void)
{
	const char *s = getenv("LH_SEED");
	uint64_t seed = s != NULL ? strtoull(s, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;

	seed |= 1;
	printf("seed: LH_SEED=%llu\n", (unsigned long long)seed);
	return (struct rnd){seed};
}

#endif
