/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conformance: the table and the JSON. A rule is failed when one of its cases is; skipped when all are, or when one
 * needs what this version does not have: such a rule never counts as passed.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"
#include "cli/show.h"

#define LINE_MAX_ 110u

static const char *const words[] = {
    [CF_NONE] = "-",        [CF_RUNNING] = "running", [CF_PASSED] = "passed",
    [CF_FAILED] = "FAILED", [CF_SKIPPED] = "skipped", [CF_ABSENT] = "skipped",
};

static const char *rule_name(unsigned rule, char name[8])
{
	if (rule > CF_RULES)
		return strcpy(name, "long");
	snprintf(name, 8, "L%u", rule);
	return name;
}

struct sum {
	unsigned passed, failed, skipped, absent;
	const struct cf_case_result *first_failed, *first_skipped, *first_absent, *telling;
};

static struct sum sum_of(const struct cf_board *b)
{
	struct sum s = {0};

	for (uint32_t i = 0; i < atomic_load(&b->count); i++) {
		const struct cf_case_result *r = &b->result[i];

		switch ((enum cf_result)r->result) {
		case CF_PASSED:
			s.passed++;
			if (r->saw[0] && s.telling == NULL)
				s.telling = r;
			break;
		case CF_SKIPPED:
			s.skipped++;
			s.first_skipped = s.first_skipped ? s.first_skipped : r;
			break;
		case CF_ABSENT:
			s.absent++;
			s.first_absent = s.first_absent ? s.first_absent : r;
			break;
		case CF_NONE:
		case CF_RUNNING:
		case CF_FAILED:
			s.failed++;
			s.first_failed = s.first_failed ? s.first_failed : r;
			break;
		}
	}
	return s;
}

static enum cf_result verdict(const struct sum *s)
{
	if (s->failed)
		return CF_FAILED;
	if (s->absent || s->passed == 0)
		return CF_SKIPPED;
	return CF_PASSED;
}

void cf_report_begin(struct cf_report *r, const struct cf_config *config, const char *target, bool json)
{
	*r = (struct cf_report){.json = json,
				.terminal = isatty(STDERR_FILENO),
				.color = isatty(STDOUT_FILENO),
				.list = json_array(),
				.began_ns = clock_now_ns()};
	if (!json)
		printf("conformance of %s, seed %" PRIu64 ", scale %g\n", target, config->seed, config->scale);
}

void cf_report_way(struct cf_report *r, const struct cf_config *config)
{
	static const char *const what[CF_WAYS] = {
	    [CF_PROCESS] = "in process: this process has the pool, others come over unix sockets",
	    [CF_UNIX] = "over a unix socket: ring and stream",
	    [CF_TCP] = "over TCP: stream",
	};

	if (r->json)
		return;
	printf("\n%s\n %-4s  %-7s  %5s  %6s  %s\n", what[config->way], "RULE", "RESULT", "CASES", "TIME",
	       "WHAT IT SAYS, WHAT WAS SEEN");
	fflush(stdout);
}

void cf_report_progress(struct cf_report *r, const struct cf_board *b, uint64_t began_ns)
{
	uint32_t n = atomic_load(&b->count);
	const char *name = "";

	uint64_t done = atomic_load(&b->progress), total = atomic_load(&b->progress_total), now = clock_now_ns();

	/* The long mode has a line of its own, elsewhere than on a terminal one every ten seconds. */
	if (!r->terminal && total > 0 && now - r->said_ns > 10 * NS_PER_SEC) {
		fprintf(stderr, "conformance: %" PRIu64 " of %" PRIu64 " revocations, %.0f s\n", done, total,
			(double)(now - began_ns) / NS_PER_SEC);
		r->said_ns = now;
	}
	if (!r->terminal || b->rule == 0)
		return;
	if (n > 0 && b->result[n - 1].index < cf_rule(b->rule)->count)
		name = cf_rule(b->rule)->cases[b->result[n - 1].index].name;
	fprintf(stderr, "\r L%-3u  %4.1f s  case %u: %.80s\033[K", b->rule,
		(double)(clock_now_ns() - began_ns) / NS_PER_SEC, n, name);
	if (total > 0)
		fprintf(stderr, " %" PRIu64 "/%" PRIu64, done, total);
	fflush(stderr);
}

/* Text in lines that fit, each behind the table's first columns. */
static void wrapped(const char *text, const char *lead)
{
	static const unsigned left = 34;
	size_t room = LINE_MAX_ - left;
	bool first = true;

	while (*text) {
		size_t n = strlen(text);

		if (n > room) {
			n = room;
			while (n > 0 && text[n] != ' ')
				n--;
			n = n ? n : room;
		}
		printf("%*s%s%.*s\n", (int)left, "", first ? lead : "", (int)n, text);
		text += n + (text[n] == ' ');
		first = false;
	}
}

static void line(struct cf_report *r, const struct cf_board *b, const struct sum *s, uint64_t took_ns)
{
	const struct cf_rule *rule = cf_rule(b->rule);
	enum cf_result v = verdict(s);
	const char *color = v == CF_PASSED ? "\033[32m" : v == CF_FAILED ? "\033[1;31m" : "\033[33m";
	char seen[512] = "", name[8];

	if (r->terminal)
		fprintf(stderr, "\r\033[K");
	fflush(stderr);
	printf(" %-4s  %s%-7s%s  %5u  %5.1fs  %s\n", rule_name(b->rule, name), r->color ? color : "", words[v],
	       r->color ? "\033[0m" : "", s->passed + s->failed + s->skipped + s->absent, (double)took_ns / NS_PER_SEC,
	       rule->text);
	if (s->telling != NULL && s->failed == 0)
		wrapped(s->telling->saw, "");
	for (uint32_t i = 0; i < atomic_load(&b->count) && s->failed; i++) {
		const struct cf_case_result *x = &b->result[i];

		if (x->result == CF_PASSED || x->result == CF_SKIPPED || x->result == CF_ABSENT)
			continue;
		snprintf(seen, sizeof(seen), "%s (%s): %s", x->index < rule->count ? rule->cases[x->index].name : "?",
			 x->variant, x->saw);
		wrapped(seen, "FAILED: ");
	}
	if (s->absent) {
		snprintf(seen, sizeof(seen), "not checked, %u cases: %s", s->absent, s->first_absent->saw);
		wrapped(seen, "");
	}
	if (s->skipped) {
		snprintf(seen, sizeof(seen), "not checked, %u cases: %s", s->skipped, s->first_skipped->saw);
		wrapped(seen, "");
	}
	fflush(stdout);
}

static json_t *cases_json(const struct cf_board *b)
{
	const struct cf_rule *rule = cf_rule(b->rule);
	json_t *list = json_array();

	for (uint32_t i = 0; i < atomic_load(&b->count); i++) {
		const struct cf_case_result *x = &b->result[i];
		const struct cf_case *k = x->index < rule->count ? &rule->cases[x->index] : NULL;

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "did", k ? k->name : "",
						      "fails_when", k ? k->fails : "", "variant", x->variant, "result",
						      x->result == CF_FAILED ? "failed" : words[x->result], "saw",
						      x->saw, "took_ns", (json_int_t)x->took_ns));
	}
	return list;
}

void cf_report_rule(struct cf_report *r, const struct cf_board *b, uint64_t took_ns)
{
	struct sum s = sum_of(b);
	enum cf_result v;
	char name[8];

	/* Nothing of this rule is made over this way. */
	if (atomic_load(&b->count) == 0)
		return;
	v = verdict(&s);
	r->passed += v == CF_PASSED;
	r->failed += v == CF_FAILED;
	r->skipped += v == CF_SKIPPED;
	rule_name(b->rule, name);
	if (!r->json) {
		line(r, b, &s, took_ns);
		return;
	}
	json_array_append_new(r->list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "rule", name, "over",
						 cf_way_name((enum cf_way)b->config.way), "text",
						 cf_rule(b->rule)->text, "result", v == CF_FAILED ? "failed" : words[v],
						 "took_ns", (json_int_t)took_ns, "cases", cases_json(b)));
}

bool cf_report_end(struct cf_report *r, const struct cf_config *config, const char *target)
{
	double took = (double)(clock_now_ns() - r->began_ns) / NS_PER_SEC;

	if (r->json)
		show_json(json_pack("{s:s, s:I, s:f, s:f, s:i, s:i, s:i, s:o}", "target", target, "seed",
				    (json_int_t)config->seed, "scale", config->scale, "seconds", took, "passed",
				    (int)r->passed, "failed", (int)r->failed, "skipped", (int)r->skipped, "rules",
				    r->list));
	else
		printf("\n%u passed, %u failed, %u skipped in %.1f s; seed %" PRIu64 "\n", r->passed, r->failed,
		       r->skipped, took, config->seed);
	if (!r->json)
		json_decref(r->list);
	return r->failed == 0 && (r->passed || r->skipped);
}
