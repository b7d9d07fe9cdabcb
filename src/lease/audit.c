/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L26: what was taken by force, from whom, for whom, why, and how long it took. A ring of the last LEASE_AUDIT_MAX
 * records that a program reads, and lines in the log for whoever looks at that first.
 *
 * The log is limited to a few lines a second, because a peer that lets every recall run out would fill the disk
 * otherwise; how many were left out stands in the next line. The ring has them all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "lease/lease_internal.h"

/* Lines at once, and after that one every so often. */
#define AUDIT_LINES_MAX 32u
#define AUDIT_LINE_NS   (200 * NS_PER_MS)

struct audit_ring {
	struct lock lock; /* LEDGER */
	uint64_t count;   /* records so far */
	uint64_t full_ns; /* when all AUDIT_LINES_MAX lines may be written at once again */
	uint64_t left_out;
	struct lease_audit record[LEASE_AUDIT_MAX];
};

int audit_new(struct audit_ring **out)
{
	/* Zeroed pages that nobody touches before they are used. */
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	lock_init(&(*out)->lock, RANK_LEDGER);
	return 0;
}

void audit_free(struct audit_ring *ring)
{
	if (!ring)
		return;
	lock_destroy(&ring->lock);
	free(ring);
}

static int64_t wall_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NS_PER_SEC + ts.tv_nsec;
}

/* Whether this line may be written; if so, *left_out is how many were not before it. Holds the ring's lock. */
static bool line_allowed(struct audit_ring *ring, uint64_t *left_out)
{
	uint64_t now = clock_now_ns();
	uint64_t from = max_u64(ring->full_ns, now);

	if (from + AUDIT_LINE_NS > now + AUDIT_LINES_MAX * AUDIT_LINE_NS) {
		ring->left_out++;
		return false;
	}
	ring->full_ns = from + AUDIT_LINE_NS;
	*left_out = ring->left_out;
	ring->left_out = 0;
	return true;
}

static void line_write(const struct lease_audit *r, uint64_t left_out)
{
	char asker[160] = "the filesystem", left[64] = "";

	if (r->asker_session)
		snprintf(asker, sizeof(asker), "session %" PRIu64 " (uid %u pid %d)%s%s", r->asker_session,
			 r->asker_uid, r->asker_pid, r->asked_by[0] ? ": " : "", r->asked_by);
	else if (r->asked_by[0])
		snprintf(asker, sizeof(asker), "%s", r->asked_by);
	if (left_out)
		snprintf(left, sizeof(left), " (%" PRIu64 " lines before this one were left out)", left_out);
	log_warn("lease",
		 "revoked by force: lease %" PRIu64 " of session %" PRIu64 " (uid %u pid %d host %s) on object %" PRIu64
		 " [%" PRIu64 ", %" PRIu64 ") for %s, asked by %s, %.3f ms after the recall%s",
		 r->lease, r->session, r->who.uid, r->who.pid, r->who.host[0] ? r->who.host : "-", r->object,
		 r->range.start, r->range.end, lease_reason_name(r->reason), asker,
		 (double)r->took_ns / (double)NS_PER_MS, left);
}

void audit_add(struct lease_arbiter *a, const struct recall *r, const char *asked_by)
{
	struct audit_ring *ring = a->audit;
	struct lease_audit record = {
	    .at_ns = wall_clock(),
	    .lease = r->notice.lease,
	    .object = r->notice.object,
	    .who = r->session->who,
	    .session = r->session->id,
	    .mode = r->notice.mode,
	    .range = r->notice.range,
	    .reason = r->notice.reason,
	    .took_ns = r->notice.now_ns - r->since_ns,
	    .asker_session = r->asker.session,
	    .asker_uid = r->asker.uid,
	    .asker_pid = r->asker.pid,
	};
	uint64_t left_out = 0;
	bool line;

	snprintf(record.asked_by, sizeof(record.asked_by), "%s", asked_by ? asked_by : "");
	atomic_fetch_add_explicit(&r->session->forced, 1, memory_order_relaxed);
	lock_take(&ring->lock);
	record.number = ring->count + 1;
	ring->record[ring->count % LEASE_AUDIT_MAX] = record;
	ring->count++;
	line = line_allowed(ring, &left_out);
	lock_drop(&ring->lock);
	if (line)
		line_write(&record, left_out);
}

unsigned lease_audit_read(struct lease_arbiter *a, uint64_t *cursor, struct lease_audit *out, unsigned max)
{
	struct audit_ring *ring = a->audit;
	unsigned n = 0;
	uint64_t at;

	lock_take(&ring->lock);
	at = min_u64(*cursor, ring->count);
	if (ring->count - at > LEASE_AUDIT_MAX)
		at = ring->count - LEASE_AUDIT_MAX;
	for (; n < max && at < ring->count; at++)
		out[n++] = ring->record[at % LEASE_AUDIT_MAX];
	lock_drop(&ring->lock);
	*cursor = at;
	return n;
}
