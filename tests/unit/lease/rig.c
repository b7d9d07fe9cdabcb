/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include <stdlib.h>

static uint64_t fake_now(void *ctx)
{
	struct rig *r = ctx;

	return r->now_ns;
}

static void note_add(void *ctx, const struct lease_recall *text, bool revoked)
{
	struct holder *h = ctx;

	assert_true(h->n < NOTES_MAX);
	h->notes[h->n++] = (struct note){revoked, *text};
}

static void on_recall(void *ctx, const struct lease_recall *text)
{
	note_add(ctx, text, false);
}

static void on_revoked(void *ctx, const struct lease_recall *text)
{
	note_add(ctx, text, true);
}

const struct lease_session_ops holder_ops = {.recall = on_recall, .revoked = on_revoked};

static void pin_drain(void *ctx, struct range range)
{
	struct fake_pin *pin = ctx;

	assert_int_equal(pin->gone, 0);
	pin->drains++;
	pin->last = range;
}

static void pin_gone(void *ctx)
{
	struct fake_pin *pin = ctx;

	assert_int_equal(pin->gone, 0);
	pin->gone++;
}

const struct lease_pin_ops fake_pin_ops = {.drain = pin_drain, .gone = pin_gone};

static void holder_open(struct rig *r, struct holder *h, uint32_t uid)
{
	struct lease_identity who = {.uid = uid, .gid = uid, .pid = (int32_t)uid, .host = "test"};

	assert_int_equal(lease_session_open(r->arbiter, &holder_ops, h, &who, &h->session), 0);
}

int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct lease_options opt = {.clock = {fake_now, r},
				    .deadline_ns = D_NS,
				    .deadline_max_ns = 10 * D_NS,
				    .session_leases_max = 8,
				    .no_timer_thread = true};

	assert_non_null(r);
	r->now_ns = 100 * NS_PER_SEC;
	assert_int_equal(lease_arbiter_new(&opt, &r->arbiter), 0);
	lease_anchor_init(&r->file, 77);
	holder_open(r, &r->a, 1001);
	holder_open(r, &r->b, 1002);
	holder_open(r, &r->c, 1003);
	*state = r;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *r = *state;
	struct lease_stats stats;

	lease_session_close(r->a.session);
	lease_session_close(r->b.session);
	lease_session_close(r->c.session);
	assert_false(lease_busy(&r->file));
	lease_stats_read(r->arbiter, &stats);
	assert_int_equal(stats.leases, 0);
	assert_int_equal(stats.pinned_bytes, 0);
	assert_int_equal(stats.sessions, 0);
	lease_anchor_fini(&r->file);
	lease_arbiter_free(r->arbiter);
	free(r);
	return 0;
}

int try_grant(struct rig *r, struct holder *h, struct range range, enum lease_mode mode)
{
	struct lease_grant_args args = {
	    .anchor = &r->file, .session = h->session, .handle = 1, .range = range, .mode = mode};
	struct lease_grant got;

	return lease_grant(r->arbiter, &args, &got);
}

uint64_t grant(struct rig *r, struct holder *h, uint64_t handle, struct range range, enum lease_mode mode)
{
	struct lease_grant_args args = {
	    .anchor = &r->file, .session = h->session, .handle = handle, .range = range, .mode = mode};
	struct lease_grant got = {0};

	assert_int_equal(lease_grant(r->arbiter, &args, &got), 0);
	assert_true(got.lease != 0);
	assert_int_equal(got.seq, 1);
	return got.lease;
}

void attach(struct rig *r, uint64_t lease, struct fake_pin *pin)
{
	assert_int_equal(lease_pin_attach(r->arbiter, lease, &fake_pin_ops, pin, 4096), 0);
}

struct lease_break *start_break_as(struct rig *r, const struct lease_break_args *args)
{
	struct lease_break *b = NULL;

	assert_int_equal(lease_break_start(r->arbiter, args, &b), 0);
	return b;
}

struct lease_break *start_break(struct rig *r, const struct holder *owner, struct range range, uint64_t deadline_ns)
{
	return start_break_as(r, &(struct lease_break_args){.anchor = &r->file,
							    .range = range,
							    .modes = LEASE_ANY_MODE,
							    .reason = LEASE_FOR_RELOCATE,
							    .kind = LEASE_DRAIN,
							    .owner = owner ? owner->session : NULL,
							    .deadline_ns = deadline_ns});
}

void forward(struct rig *r, uint64_t ns)
{
	r->now_ns += ns;
	lease_tick(r->arbiter);
}

struct finder {
	uint64_t lease;
	struct lease_info *out;
	bool found;
};

static void find_one(void *ctx, const struct lease_info *info)
{
	struct finder *f = ctx;

	if (info->lease != f->lease)
		return;
	assert_false(f->found);
	f->found = true;
	if (f->out)
		*f->out = *info;
}

bool look(struct rig *r, uint64_t lease, struct lease_info *out)
{
	struct finder f = {.lease = lease, .out = out};

	assert_int_equal(lease_list(r->arbiter, 0, 0, find_one, &f), 0);
	return f.found;
}

void assert_range(struct range got, uint64_t start, uint64_t end)
{
	assert_int_equal(got.start, start);
	assert_int_equal(got.end, end);
}

void assert_receipt(struct rig *r, struct range range, int err)
{
	struct drained d = {0};

	assert_int_equal(lease_drained(&r->file, range, &d), err);
	if (err == 0) {
		assert_non_null(d.proof);
		assert_int_equal(d.object, r->file.object);
		assert_range(d.range, range.start, range.end);
	}
}
