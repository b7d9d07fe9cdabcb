/* SPDX-License-Identifier: BSD-2-Clause */
/* Built without the headers of libibverbs: every call says so. */
#include <errno.h>

#include "base/error.h"
#include <leasehold/leasehold.h>

static int none(void)
{
	return fail(-EOPNOTSUPP, "this library was built without libibverbs");
}

int lh_verbs_reg_mr(struct ibv_pd *pd, struct lh_file *file, uint64_t off, uint64_t len, int access,
		    struct lh_verbs_mr **out)
{
	(void)pd;
	(void)file;
	(void)off;
	(void)len;
	(void)access;
	if (out)
		*out = NULL;
	return none();
}

int lh_verbs_lookup(struct lh_verbs_mr *mr, uint64_t off, struct lh_verbs_run *out)
{
	(void)mr;
	(void)off;
	(void)out;
	return none();
}

uint64_t lh_verbs_generation(const struct lh_verbs_mr *mr)
{
	(void)mr;
	return 0;
}

int lh_verbs_commit(struct lh_verbs_mr *mr, uint64_t off, uint64_t len)
{
	(void)mr;
	(void)off;
	(void)len;
	return none();
}

int lh_verbs_dereg_mr(struct lh_verbs_mr *mr)
{
	(void)mr;
	return none();
}
