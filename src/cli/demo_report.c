/* SPDX-License-Identifier: BSD-2-Clause */
/* The demonstration's story: what the trace told, drawn over time, and the table that decides whether it passed. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/size.h"
#include "base/types.h"
#include "cli/demo.h"

#define TRACE_BATCH 256u
#define BAR_MAX     44u
#define BUCKETS     12u
/*
 * L7 allows the deadline plus 10 ms of work. What a loaded machine of two cores adds by not running a thread is no work
 * of ours; it is shown, and forgiven up to this.
 */
#define WORK_NS       (10 * NS_PER_MS)
#define SCHEDULING_NS (250 * NS_PER_MS)

static unsigned story_column(const struct demo_story *s, uint64_t at)
{
	uint64_t span = max_u64(s->end_ns - s->begin_ns, 1);

	if (at <= s->begin_ns)
		return 0;
	return (unsigned)min_u64((at - s->begin_ns) * DEMO_COLUMNS / span, DEMO_COLUMNS - 1);
}

static uint64_t holder_hash(const struct lh_trace *t)
{
	return (t->session * 0x9e3779b97f4a7c15ull ^ t->ino) | 1;
}

static bool story_seen(const struct demo_story *s, uint64_t holder)
{
	for (uint32_t i = 0; i < s->seen_count; i++) {
		if (s->seen[i] == holder)
			return true;
	}
	return false;
}

static void story_event(struct demo_story *s, const struct lh_trace *t)
{
	unsigned col = story_column(s, t->at_ns);

	if (strcmp(t->event, "grant") == 0) {
		s->grants[col]++;
		if (story_seen(s, holder_hash(t))) {
			s->refaults[col]++;
			s->refault_total++;
		}
	} else if (strcmp(t->event, "recall") == 0) {
		s->recalls[col]++;
		if (!story_seen(s, holder_hash(t)) && s->seen_count < ARRAY_LEN(s->seen))
			s->seen[s->seen_count++] = holder_hash(t);
	} else if (strcmp(t->event, "release") == 0) {
		s->releases[col]++;
		/* took: since the recall; 0 for a release that nobody asked for. */
		s->in_time += t->took_ns > 0;
	} else if (strcmp(t->event, "revoke") == 0) {
		s->forced[col]++;
		s->forced_total++;
	} else if (strcmp(t->event, "break") == 0) {
		s->breaks++;
		if (s->latencies < DEMO_LATENCIES_MAX)
			s->latency_ns[s->latencies++] = t->took_ns;
	}
}

void demo_story_collect(struct demo_story *s, struct lh_fs *fs)
{
	struct lh_trace batch[TRACE_BATCH];
	int n;

	do {
		n = lh_fs_trace(fs, &s->cursor, batch, TRACE_BATCH);
		for (int i = 0; i < n; i++) {
			if (batch[i].at_ns >= s->begin_ns)
				story_event(s, &batch[i]);
		}
	} while (n == (int)TRACE_BATCH);
}

static void draw_line(const char *name, const uint32_t *v)
{
	static const char *const steps[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	uint32_t top = 1, total = 0;

	for (unsigned i = 0; i < DEMO_COLUMNS; i++) {
		top = v[i] > top ? v[i] : top;
		total += v[i];
	}
	printf("  %-9s ", name);
	for (unsigned i = 0; i < DEMO_COLUMNS; i++)
		fputs(steps[(v[i] * 8 + top - 1) / top], stdout);
	printf("  %u (at most %u a column)\n", total, top);
}

static void draw_timeline(const struct demo_story *s)
{
	double seconds = (double)(s->end_ns - s->begin_ns) / 1e9;

	printf("\nTimeline, %.1f s from left to right\n", seconds);
	draw_line("grants", s->grants);
	draw_line("recalls", s->recalls);
	draw_line("releases", s->releases);
	draw_line("forced", s->forced);
	draw_line("refaults", s->refaults);
}

/* Upper ends of the buckets in µs, and at the deadline. */
static const uint64_t bucket_us[BUCKETS - 1] = {20, 50, 100, 200, 500, 1000, 2000, 5000, 20000, 50000, 100000};

static void draw_histogram(const struct demo_story *s)
{
	uint32_t count[BUCKETS] = {0}, top = 1;

	for (uint32_t i = 0; i < s->latencies; i++) {
		unsigned b = 0;

		while (b < BUCKETS - 1 && s->latency_ns[i] > bucket_us[b] * NS_PER_US)
			b++;
		count[b]++;
	}
	for (unsigned b = 0; b < BUCKETS; b++)
		top = count[b] > top ? count[b] : top;
	printf("\nBreak latency, from the change's wish to the last holder gone (deadline %.0f ms)\n",
	       (double)s->deadline_ns / 1e6);
	for (unsigned b = 0; b < BUCKETS; b++) {
		unsigned bar = (unsigned)((uint64_t)count[b] * BAR_MAX / top);

		if (b < BUCKETS - 1)
			printf("  <= %7.2f ms ", (double)bucket_us[b] / 1e3);
		else
			printf("   > %7.2f ms ", (double)bucket_us[b - 1] / 1e3);
		for (unsigned i = 0; i < bar + (count[b] && !bar); i++)
			fputs("█", stdout);
		printf(" %u\n", count[b]);
	}
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

struct sums {
	uint64_t reads, read_bytes, writes, write_bytes, commits, foreign, noticed, dead_tries, dead_refused, faults;
	unsigned lost; /* clients that failed or did not end */
};

static struct sums sums_of(const struct demo_result *r)
{
	struct sums s = {0};

	for (unsigned i = 0; i < DEMO_CLIENTS; i++) {
		const struct demo_client *c = &r->board->client[i];

		s.reads += c->reads;
		s.read_bytes += c->read_bytes;
		s.writes += c->writes;
		s.write_bytes += c->write_bytes;
		s.commits += c->commits;
		s.foreign += c->foreign;
		s.noticed += c->noticed;
		s.dead_tries += c->dead_tries;
		s.dead_refused += c->dead_refused;
		s.faults += c->faults;
		s.lost += !atomic_load(&c->ended);
	}
	s.foreign += r->changes->foreign;
	return s;
}

/* One line of the verdict. */
struct line {
	const char *name;
	char text[96];
	int ok; /* 1 right, 0 wrong, -1 only told */
};
#define LINES_MAX 24u

static void line_add(struct line *lines, unsigned *n, int ok, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static void line_add(struct line *lines, unsigned *n, int ok, const char *name, const char *fmt, ...)
{
	struct line *l = &lines[(*n)++];
	va_list ap;

	l->name = name;
	l->ok = ok;
	va_start(ap, fmt);
	vsnprintf(l->text, sizeof(l->text), fmt, ap);
	va_end(ap);
}

static void lines_traffic(const struct demo_result *r, const struct sums *s, struct line *lines, unsigned *n)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

	line_add(lines, n, s->read_bytes && s->write_bytes ? 1 : 0, "bytes moved directly",
		 "%s read, %s written, %" PRIu64 " commits", size_text(s->read_bytes, a), size_text(s->write_bytes, b),
		 s->commits);
	line_add(lines, n, -1, "layout changes",
		 "%" PRIu64 " relocations, %" PRIu64 " clones, %" PRIu64 " writes, %" PRIu64 " truncates, %" PRIu64
		 " punches",
		 r->changes->relocations, r->changes->clones, r->changes->cow_writes, r->changes->truncates,
		 r->changes->punches);
}

static void lines_breaks(struct demo_story *st, struct line *lines, unsigned *n)
{
	uint64_t limit = st->deadline_ns + WORK_NS, late = 0, p50 = 0, p99 = 0, max = 0;

	qsort(st->latency_ns, st->latencies, sizeof(st->latency_ns[0]), compare_u64);
	if (st->latencies) {
		p50 = st->latency_ns[st->latencies / 2];
		p99 = st->latency_ns[(uint64_t)st->latencies * 99 / 100];
		max = st->latency_ns[st->latencies - 1];
	}
	for (uint32_t i = 0; i < st->latencies; i++)
		late += st->latency_ns[i] > limit;
	line_add(lines, n, st->breaks > 0, "breaks", "%" PRIu64, st->breaks);
	line_add(lines, n, st->in_time > 0, "released in time", "%" PRIu64, st->in_time);
	line_add(lines, n, st->forced_total > 0, "forced", "%" PRIu64, st->forced_total);
	line_add(lines, n, st->refault_total > 0, "refaults", "%" PRIu64, st->refault_total);
	line_add(lines, n, max <= limit + SCHEDULING_NS, "break latency p50 / p99 / max",
		 "%.2f / %.2f / %.2f ms, deadline %.0f ms", (double)p50 / 1e6, (double)p99 / 1e6, (double)max / 1e6,
		 (double)st->deadline_ns / 1e6);
	line_add(lines, n, -1, "later than deadline + 10 ms", "%" PRIu64 " of %u", late, st->latencies);
}

static void lines_safety(const struct demo_result *r, const struct sums *s, struct line *lines, unsigned *n)
{
	line_add(lines, n, s->dead_tries > 0, "attempts with dead keys", "%" PRIu64, s->dead_tries);
	line_add(lines, n, s->dead_refused == s->dead_tries, "  of them refused", "%" PRIu64, s->dead_refused);
	line_add(lines, n, s->foreign == 0, "stale or foreign bytes", "%" PRIu64 " blocks", s->foreign);
	line_add(lines, n, s->noticed == 0, "revocations noticed", "%" PRIu64 " errors in an application", s->noticed);
	line_add(lines, n, s->lost == 0 && !r->changes->error, "clients and changes",
		 "%u of %u clients failed, changes: %s", s->lost, DEMO_CLIENTS,
		 r->changes->error ? r->changes->text : "all done");
	line_add(lines, n, r->source.sum == r->exported.sum && r->source.entries == r->exported.entries,
		 "tree against its source", "%016" PRIx64 " / %016" PRIx64 ", %" PRIu64 " entries", r->exported.sum,
		 r->source.sum, r->exported.entries);
}

static void print_lines(const struct line *lines, unsigned n)
{
	printf("\n");
	for (unsigned i = 0; i < n; i++)
		printf("  %-5s %-30s %s\n",
		       lines[i].ok < 0 ? ""
		       : lines[i].ok   ? "ok"
				       : "WRONG",
		       lines[i].name, lines[i].text);
}

/* What each kind of lease costs and what its holders notice (L33). Readers and writers only. */
struct kind {
	unsigned clients;
	uint64_t read_bytes, write_bytes, recalls, faults, noticed;
};

static struct kind kind_of(const struct demo_result *r, bool faulting)
{
	struct kind k = {0};

	for (unsigned i = 0; i < DEMO_CLIENTS; i++) {
		const struct demo_client *c = &r->board->client[i];

		if ((c->role != DEMO_READER && c->role != DEMO_WRITER) || (c->faulting != 0) != faulting)
			continue;
		k.clients++;
		k.read_bytes += c->read_bytes;
		k.write_bytes += c->write_bytes;
		k.recalls += c->recalls;
		k.faults += c->faults;
		k.noticed += c->noticed;
	}
	return k;
}

static void lines_kinds(const struct demo_result *r, struct line *lines, unsigned *n)
{
	double seconds = (double)(r->story->end_ns - r->story->begin_ns) / 1e9;

	for (unsigned f = 0; f < 2; f++) {
		struct kind k = kind_of(r, f);

		line_add(lines, n, f ? k.recalls == 0 : k.recalls > 0, f ? "faulting leases" : "pinned leases",
			 "%u clients: %.0f + %.0f MB/s, %" PRIu64 " recalls, %" PRIu64 " faults, %" PRIu64 " errors",
			 k.clients, (double)k.read_bytes / 1e6 / seconds, (double)k.write_bytes / 1e6 / seconds,
			 k.recalls, k.faults, k.noticed);
	}
}

static void print_clients(const struct demo_result *r)
{
	printf("\n  client    fabric   leases    direct reads  direct writes   faults  recalls  revoked  dead keys "
	       "tried\n");
	for (unsigned i = 0; i < DEMO_CLIENTS; i++) {
		const struct demo_client *c = &r->board->client[i];

		printf("  %-9s %-8s %-8s %13" PRIu64 "  %13" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 "  %8" PRIu64
		       "%s%s\n",
		       demo_role_name(c->role), c->fabric, c->faulting ? "faulting" : "pinned", c->reads, c->writes,
		       c->faults, c->recalls, c->revocations, c->dead_tries, c->error[0] ? "  " : "", c->error);
	}
}

static void print_json(const struct demo_result *r, const struct line *lines, unsigned n, unsigned wrong)
{
	json_t *o = json_pack("{ss sI sb}", "input", r->input, "input_bytes", (json_int_t)r->source.bytes, "passed",
			      wrong == 0);
	json_t *rows = json_array(), *lat = json_array();

	for (unsigned i = 0; i < n; i++) {
		json_t *l = json_pack("{ss ss}", "name", lines[i].name, "value", lines[i].text);

		if (lines[i].ok >= 0)
			json_object_set_new(l, "ok", json_boolean(lines[i].ok));
		json_array_append_new(rows, l);
	}
	for (uint32_t i = 0; i < r->story->latencies; i++)
		json_array_append_new(lat, json_integer((json_int_t)r->story->latency_ns[i]));
	json_object_set_new(o, "table", rows);
	json_object_set_new(o, "break_latency_ns", lat);
	json_dumpf(o, stdout, JSON_INDENT(1));
	printf("\n");
	json_decref(o);
}

unsigned demo_report(const struct demo_result *r, bool json)
{
	struct line lines[LINES_MAX];
	struct sums s = sums_of(r);
	unsigned n = 0, wrong = 0;

	lines_traffic(r, &s, lines, &n);
	lines_kinds(r, lines, &n);
	lines_breaks(r->story, lines, &n);
	lines_safety(r, &s, lines, &n);
	for (unsigned i = 0; i < n; i++)
		wrong += lines[i].ok == 0;
	if (json) {
		print_json(r, lines, n, wrong);
		return wrong;
	}
	draw_timeline(r->story);
	draw_histogram(r->story);
	print_clients(r);
	print_lines(lines, n);
	printf("\n%s\n", wrong ? "The demonstration FAILED: see the lines marked WRONG." : "All as promised.");
	return wrong;
}
