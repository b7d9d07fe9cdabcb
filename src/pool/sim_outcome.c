/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which subsets of the pending units a crash test tries (docs/design.md, crash model). Pure arithmetic: an outcome's
 * number means the same subset in every run with the same seed.
 */
#include <string.h>

#include "pool/sim_internal.h"

uint64_t sim_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t sim_outcomes(unsigned pending)
{
	if (pending <= SIM_SUBSETS_UNITS)
		return (uint64_t)1 << pending;
	return 2 + 2 * (uint64_t)pending + SIM_SAMPLES;
}

static void fill(uint64_t *mask, unsigned pending, bool set)
{
	unsigned words = pending / 64, rest = pending % 64;

	memset(mask, set ? 0xff : 0, words * sizeof(mask[0]));
	if (rest)
		mask[words] = set ? ((uint64_t)1 << rest) - 1 : 0;
}

static void sample(uint64_t *mask, unsigned pending, uint64_t state)
{
	for (unsigned i = 0; i < pending; i += 64) {
		uint64_t bits = sim_random(&state);

		if (pending - i < 64)
			bits &= ((uint64_t)1 << (pending - i)) - 1;
		mask[i / 64] = bits;
	}
}

void sim_outcome(unsigned pending, uint64_t index, uint64_t seed, uint64_t *mask)
{
	assert(pending <= SIM_PENDING_MAX && index < sim_outcomes(pending));
	if (pending <= SIM_SUBSETS_UNITS) {
		mask[0] = index;
		return;
	}
	fill(mask, pending, index == 1 || (index >= 2 && index < 2 + (uint64_t)pending));
	if (index < 2)
		return;
	index -= 2;
	if (index < pending) {
		mask[index / 64] &= ~((uint64_t)1 << (index % 64));
		return;
	}
	index -= pending;
	if (index < pending) {
		sim_bit_set(mask, index);
		return;
	}
	index -= pending;
	sample(mask, pending, seed ^ (index + 1) * 0xa0761d6478bd642full);
}
