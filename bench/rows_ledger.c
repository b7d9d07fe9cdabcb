/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * break_forced     what a break takes beyond the deadline when the holder says nothing: p99.9 of a round, against 10 ms
 * (L7) lease_lookup_1m  who is in the way of a change, among 10^6 leases of a file against among 10^3; and the memory
 * of a lease
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "lease/lease.h"

/* --- break_forced ------------------------------------------------------------------------------------------------- */

#define FORCED_OPS   1000u
#define DEADLINE_NS  NS_PER_MS
#define ALLOWED_NS   (10 * NS_PER_MS)
#define FORCED_BYTES ((uint64_t)64 << 10)

static struct {
	struct lh_fs *fs, *holder;
	struct lh_server *server;
	struct lh_file *file, *held;
	uint64_t worst_ns;
} forced;

static void forced_done(const struct row *r)
{
	lh_file_close(forced.held);
	lh_fs_close(forced.holder);
	lh_server_stop(forced.server);
	lh_file_close(forced.file);
	lh_fs_close(forced.fs);
}

static int forced_ready(const struct row *r, char *why)
{
	char address[160];
	int err;

	memset(&forced, 0, sizeof(forced));
	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(address, sizeof(address), "unix:%s/forced.sock", tmpfs_dir());
	err = lh_fs_open("mem:64M", NULL, &forced.fs);
	if (!err)
		err = lh_server_start(forced.fs, address, NULL, &forced.server);
	if (!err)
		err = lh_fs_open(address, NULL, &forced.holder);
	if (!err)
		err = lh_file_open(forced.fs, "/f", O_RDWR | O_CREAT, 0600, &forced.file);
	if (!err)
		err = lh_file_allocate(forced.file, 0, FORCED_BYTES, false);
	if (!err)
		err = lh_file_open(forced.holder, "/f", O_RDONLY, 0, &forced.held);
	if (err) {
		bench_skip(why, err, "%s", lh_error_text());
		forced_done(r);
	}
	return err;
}

static int forced_one(uint64_t *excess)
{
	struct lh_lease_options opt = {
	    .size = sizeof(opt), .flags = LH_LEASE_READ | LH_LEASE_MANUAL, .deadline_ns = DEADLINE_NS};
	struct lh_lease *lease;
	uint64_t start, took;
	int64_t moved;
	int err = lh_lease_get(forced.held, 0, FORCED_BYTES, &opt, &lease);

	if (err)
		return err;
	start = clock_now_ns();
	moved = lh_file_relocate(forced.file, 0, FORCED_BYTES);
	took = clock_now_ns() - start;
	lh_lease_release(lease);
	if (moved <= 0)
		return moved < 0 ? (int)moved : -EIO;
	*excess = took > DEADLINE_NS ? took - DEADLINE_NS : 0;
	return 0;
}

static int forced_ours(const struct row *r, double *out)
{
	static uint64_t excess[FORCED_OPS];

	for (unsigned i = 0; i < FORCED_OPS; i++) {
		int err = forced_one(&excess[i]);

		if (err)
			return err;
		forced.worst_ns = max_u64(forced.worst_ns, excess[i]);
	}
	*out = (double)quantile_u64(excess, FORCED_OPS, 0.999);
	return 0;
}

static int forced_peer(const struct row *r, double *out)
{
	*out = (double)ALLOWED_NS;
	return 0;
}

static void forced_report(const struct row *r)
{
	printf("  forced breaks, the worst of all rounds: %.3f ms beyond the deadline\n",
	       (double)forced.worst_ns / (double)NS_PER_MS);
}

/* --- lease_lookup_1m ---------------------------------------------------------------------------------------------- */

#define MANY    1000000u
#define FEW     1000u
#define LOOKUPS 20000u
#define BLOCK   4096u

static struct {
	struct lease_arbiter *arbiter;
	struct lease_session *session, *other;
	struct lease_anchor many, few;
	uint64_t seed;
	double bytes;
} lookup;

static const struct lease_session_ops no_ops;

static int leases_make(struct lease_anchor *an, unsigned count)
{
	/* In random order, as they come: i -> i * odd mod a power of two visits every place once. */
	for (uint64_t i = 0; i < (1u << 20); i++) {
		uint64_t at = (i * 0x9e3779b1u) & ((1u << 20) - 1);
		struct lease_grant_args args = {.anchor = an,
						.session = lookup.session,
						.handle = at % 64,
						.range = {at * BLOCK, (at + 1) * BLOCK},
						.mode = LEASE_READ};
		struct lease_grant grant;
		int err = at < count ? lease_grant(lookup.arbiter, &args, &grant) : 0;

		if (err)
			return err;
	}
	return 0;
}

static void lookup_done(const struct row *r)
{
	if (!lookup.arbiter)
		return;
	lease_session_close(lookup.session);
	lease_session_close(lookup.other);
	lease_arbiter_free(lookup.arbiter);
	malloc_trim(0);
}

static int lookup_ready(const struct row *r, char *why)
{
	struct lease_options opt = {.session_leases_max = 2 * MANY};
	struct lease_identity who = {0};
	struct mallinfo2 before;
	int err;

	memset(&lookup, 0, sizeof(lookup));
	lookup.seed = 1;
	err = lease_arbiter_new(&opt, &lookup.arbiter);
	if (err)
		return err;
	err = lease_session_open(lookup.arbiter, &no_ops, NULL, &who, &lookup.session);
	if (!err)
		err = lease_session_open(lookup.arbiter, &no_ops, NULL, &who, &lookup.other);
	lease_anchor_init(&lookup.many, 1);
	lease_anchor_init(&lookup.few, 2);
	if (!err)
		err = leases_make(&lookup.few, FEW);
	before = mallinfo2();
	if (!err)
		err = leases_make(&lookup.many, MANY);
	if (!err) {
		struct mallinfo2 after = mallinfo2();

		lookup.bytes = (double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / MANY;
	} else {
		bench_skip(why, err, "cannot make %u leases", MANY);
		lookup_done(r);
	}
	return err;
}

static int lookup_round(struct lease_anchor *an, unsigned count, double *out)
{
	uint64_t start = clock_now_ns();
	unsigned found = 0;

	for (unsigned i = 0; i < LOOKUPS; i++) {
		uint64_t at = next_random(&lookup.seed) % count;

		found += lease_conflicts(an, (struct range){at * BLOCK, (at + 1) * BLOCK}, LEASE_ANY_MODE,
					 lookup.other) != 0;
	}
	*out = (double)(clock_now_ns() - start) / LOOKUPS;
	return found == LOOKUPS ? 0 : -EIO;
}

static int lookup_ours(const struct row *r, double *out)
{
	return lookup_round(&lookup.many, MANY, out);
}

static int lookup_peer(const struct row *r, double *out)
{
	return lookup_round(&lookup.few, FEW, out);
}

static void lookup_report(const struct row *r)
{
	printf("  memory of a lease (256 allowed): %.0f bytes\n", lookup.bytes);
}

static json_t *lookup_details(const struct row *r)
{
	return json_pack("{sf}", "bytes_per_lease", lookup.bytes);
}

const struct row ledger_rows[] = {{.name = "break_forced",
				   .unit = "ns",
				   .peer_name = "10 ms",
				   .goal = 1.0,
				   .ready = forced_ready,
				   .ours = forced_ours,
				   .peer = forced_peer,
				   .done = forced_done,
				   .report = forced_report},
				  {.name = "lease_lookup_1m",
				   .unit = "ns",
				   .peer_name = "ours among 10^3",
				   .goal = 0.4,
				   .ready = lookup_ready,
				   .ours = lookup_ours,
				   .peer = lookup_peer,
				   .done = lookup_done,
				   .report = lookup_report,
				   .details = lookup_details}};
const unsigned ledger_row_count = ARRAY_LEN(ledger_rows);
