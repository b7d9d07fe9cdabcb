/* SPDX-License-Identifier: BSD-2-Clause */
/* What the lease tests share: an arbiter with a fake clock, and sessions and pins that write down what they are told.
 */
#ifndef LH_TESTS_LEASE_RIG_H
#define LH_TESTS_LEASE_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "lease/lease.h"

#define NOTES_MAX 64
#define D_NS      NS_PER_SEC /* the arbiter's default deadline in these tests */
#define K         1024ull
#define R(a, b)   ((struct range){(a), (b)})
#define R_ALL     RANGE_ALL

struct note {
	bool revoked;
	struct lease_recall text;
};

struct holder {
	struct lease_session *session;
	unsigned n;
	struct note notes[NOTES_MAX];
};

struct fake_pin {
	unsigned drains, gone;
	struct range last;
};

struct rig {
	_Atomic uint64_t now_ns;
	struct lease_arbiter *arbiter;
	struct lease_anchor file;
	struct holder a, b, c;
	struct fake_pin pin[3]; /* here because a pin outlives the test's function when its lease does */
};

int rig_setup(void **state);
/* Also asserts that nothing is left and that lease_busy() is false again. */
int rig_teardown(void **state);

extern const struct lease_session_ops holder_ops;
extern const struct lease_pin_ops fake_pin_ops;

/* Must succeed; the lease's number. */
uint64_t grant(struct rig *r, struct holder *h, uint64_t handle, struct range range, enum lease_mode mode);
int try_grant(struct rig *r, struct holder *h, struct range range, enum lease_mode mode);
void attach(struct rig *r, uint64_t lease, struct fake_pin *pin);
/* Everyone but `owner` (NULL: nobody spared), READ and WRITE, drain, for a relocation. */
struct lease_break *start_break(struct rig *r, const struct holder *owner, struct range range, uint64_t deadline_ns);
struct lease_break *start_break_as(struct rig *r, const struct lease_break_args *args);
void forward(struct rig *r, uint64_t ns);
/* The lease's listing; false when it is gone. */
bool look(struct rig *r, uint64_t lease, struct lease_info *out);
void assert_range(struct range got, uint64_t start, uint64_t end);
void assert_receipt(struct rig *r, struct range range, int err);

#define test_case(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

#endif
