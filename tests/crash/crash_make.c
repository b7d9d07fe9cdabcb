/* SPDX-License-Identifier: BSD-2-Clause */
#include "crash_make.h"

#include <stdlib.h>

#define PROBES     4000u
#define RANDOM_OPS 4u

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	return w;
}

bool world_make_op(struct world *w, enum fsop_kind kind, unsigned variant)
{
	for (uint64_t probe = 0; probe < PROBES; probe++) {
		struct fsop_maker m = {.random = 77 + kind * 1000003ull + variant * 7919ull + probe * 104729ull,
				       .without = fsop_missing | WORLD_READ_ONLY_OPS};
		struct oracle *o = oracle_new(false);
		struct fsop_result r = {.value = -1};
		struct fsop op;

		w->setup = 14 + (unsigned)(probe % 10);
		w->warm = 8;
		for (unsigned k = 0; k < w->setup + w->warm; k++) {
			if (k == w->setup) {
				oracle_close_all(o);
				m.open = 0;
			}
			fsop_make(&m, &w->op[k]);
			oracle_do(o, &w->op[k], &r);
		}
		for (unsigned tries = 0; tries < 400; tries++) {
			struct oracle *before = oracle_copy(o);

			fsop_make(&m, &op);
			if (op.kind != kind || (kind == OP_CLOSE && tries < 100)) {
				oracle_free(before);
				continue;
			}
			oracle_do(before, &op, &r);
			if (r.value >= 0 && oracle_was_atomic(before)) {
				oracle_free(before);
				oracle_free(o);
				w->op[w->setup + w->warm] = op;
				w->ops = w->warm + 1;
				return true;
			}
			oracle_free(before);
		}
		oracle_free(o);
	}
	return false;
}

void world_make_ops(struct world *w, uint64_t seed)
{
	struct fsop_maker m = {.random = seed, .without = fsop_missing | WORLD_READ_ONLY_OPS};
	struct oracle *o = oracle_new(false);
	uint64_t dice = seed * 77;
	struct fsop_result r;
	unsigned total;

	w->setup = 6 + (unsigned)(sim_random(&dice) % 20);
	w->warm = (unsigned)(sim_random(&dice) % 10);
	w->ops = w->warm + 1 + (unsigned)(sim_random(&dice) % RANDOM_OPS);
	w->unmounted = sim_random(&dice) % 2;
	w->checkpoint_first = sim_random(&dice) % 4 == 0;
	total = w->setup + w->ops;
	for (unsigned k = 0; k < total; k++) {
		struct oracle *before;

		if (k == w->setup) {
			oracle_close_all(o);
			m.open = 0;
		}
		before = oracle_copy(o);
		fsop_make(&m, &w->op[k]);
		oracle_do(o, &w->op[k], &r);
		/* What is refused is tested elsewhere. */
		if (!oracle_was_atomic(o) || (r.value < 0 && sim_random(&dice) % 8)) {
			oracle_free(o);
			o = before;
			k--;
		} else {
			oracle_free(before);
		}
	}
	oracle_free(o);
}
