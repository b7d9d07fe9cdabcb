/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck: walks the medium with mount's own walk (fs/scan.c), collects, judges, reports. Where that walk ends with
 * damage, the one that goes on (salvage.c) starts over and tells everything. So what mount refuses fsck never calls
 * good.
 */
#include "tools/fsck.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "tools/salvage.h"

#define FSCK_FINDINGS_MAX 1000u /* printed; all are counted */
#define PROGRESS_STEPS    1024u
#define PROGRESS_NS       (2 * NS_PER_SEC)

void fsck_name(const char *name, uint32_t len, char *buf, size_t room)
{
	size_t at = 0;

	for (uint32_t i = 0; i < len && at + 5 < room; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c >= 0x20 && c < 0x7f && c != '\\' && c != '"')
			buf[at++] = (char)c;
		else
			at += (size_t)snprintf(buf + at, room - at, "\\x%02x", c);
	}
	buf[at] = '\0';
}

void fsck_finding(struct fsck *f, const char *rule, const char *consequence, const char *object, ...)
{
	char what[FSCK_OBJECT_MAX], id[16];
	const char *text = strchr(rule, ' ');
	va_list ap;

	va_start(ap, object);
	vsnprintf(what, sizeof(what), object, ap);
	va_end(ap);
	if (f->findings++ == 0)
		snprintf(f->first, sizeof(f->first), "format %s: %.120s", rule, what);
	f->told = f->told || (f->scan.rule != NULL && strcmp(rule, f->scan.rule) == 0);
	if (f->silent || f->findings > FSCK_FINDINGS_MAX)
		return;
	if (!f->as_json) {
		fprintf(f->out, "format %s: %s: %s\n", rule, what, consequence);
		return;
	}
	text = text != NULL ? text + 1 : rule;
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(rule, " "), rule);
	if (json_array_append_new(f->list, json_pack("{s:s, s:s, s:s, s:s}", "rule", id, "text", text, "object", what,
						     "consequence", consequence)) != 0)
		f->error = -ENOMEM;
}

/* --- the walks ------------------------------------------------------------------------------------------------------
 */

static const char *item_visit(void *ctx, const struct item *it, const struct scan_at *at, const void *bytes)
{
	struct fsck *f = ctx;

	(void)bytes;
	return fsck_state_item(&f->state, it, at);
}

#define COPY_CONSEQUENCE                                                                                               \
	"if block 0 is damaged too, the pool cannot be recognised; a writable mount writes the copy anew"

static void copy_damaged(void *ctx, const char *rule)
{
	((struct fsck *)ctx)->copy_findings++;
	fsck_finding(ctx, "2.2a copy of the superblock", COPY_CONSEQUENCE, "last block: %s", rule);
}

static void copy_noted(void *ctx, const char *rule)
{
	((struct fsck *)ctx)->copy_rule = rule;
}

/* The strict walk only notes: when it meets damage the other walk tells everything. */
static const struct scan_ops strict_ops = {.item = item_visit, .copy_damaged = copy_noted};
static const struct scan_ops salvage_ops = {.item = item_visit, .copy_damaged = copy_damaged};

static void salvage_told(void *ctx, const char *rule, const char *consequence, const char *object)
{
	fsck_finding(ctx, rule, consequence, "%s", object);
}

static void salvage_doubt(void *ctx, bool on)
{
	((struct fsck *)ctx)->state.doubtful = on;
}

void fsck_progress(struct fsck *f, const char *what, uint64_t done, uint64_t total)
{
	uint64_t now;

	if (f->silent || f->as_json || done % PROGRESS_STEPS != 0 || total == 0)
		return;
	now = clock_now_ns();
	if (now - f->told_ns < PROGRESS_NS)
		return;
	f->told_ns = now;
	fprintf(f->out, "%s: %s: %" PRIu64 " %%\n", f->pool->name, what, done * 100 / total);
	fflush(f->out);
}

static void salvage_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	fsck_progress(ctx, what, done, total);
}

/* What stops fsck, rather than being a finding. */
static bool is_fatal(int err)
{
	return err == -ENOMEM || err == -EPROTONOSUPPORT;
}

/* After damage: everything again, with the walk that goes on. Keeps the strict one's rule if that is not told. */
static int salvage_walk(struct fsck *f)
{
	const char *rule = f->scan.rule, *object = strchr(f->scan.damage, '(');
	int err;

	fsck_state_fini(&f->state);
	fsck_state_init(&f->state);
	f->salvage = calloc(1, sizeof(*f->salvage));
	if (f->salvage == NULL)
		return -ENOMEM;
	f->salvage->pool = f->pool;
	f->salvage->ops = &salvage_ops;
	f->salvage->ctx = f;
	f->salvage->damage = salvage_told;
	f->salvage->doubt = salvage_doubt;
	f->salvage->progress = salvage_progress;
	err = salvage_pool(f->salvage);
	if (err == 0 && rule != NULL && !f->told)
		fsck_finding(f, rule, "the pool cannot be mounted", "%s", object != NULL ? object : f->scan.damage);
	return err;
}

int fsck_begin(struct fsck *f, struct pool *pool, FILE *out, bool json, bool silent)
{
	int err;

	memset(f, 0, sizeof(*f));
	f->pool = pool;
	f->out = out;
	f->as_json = json;
	f->silent = silent;
	f->told_ns = clock_now_ns();
	fsck_state_init(&f->state);
	f->list = json_array();
	if (f->list == NULL)
		return -ENOMEM;
	err = scan_pool(&f->scan, pool, &strict_ops, f);
	if (f->state.error != 0)
		return f->state.error;
	if (err != 0 && !is_fatal(err))
		err = salvage_walk(f);
	else if (err == 0 && f->copy_rule != NULL)
		copy_damaged(f, f->copy_rule);
	if (err == 0)
		err = f->state.error;
	if (err == 0)
		err = fsck_check(f);
	return err != 0 ? err : f->error;
}

void fsck_end(struct fsck *f)
{
	scan_fini(&f->scan);
	if (f->salvage != NULL)
		salvage_fini(f->salvage);
	free(f->salvage);
	fsck_state_fini(&f->state);
	runs_fini(&f->meta);
	json_decref(f->list);
}

/* --- the report -----------------------------------------------------------------------------------------------------
 */

static bool have_head(const struct fsck *f)
{
	return f->salvage != NULL ? f->salvage->have_head : f->scan.have_head;
}

static const struct checkpoint_head *head_of(const struct fsck *f)
{
	return f->salvage != NULL ? &f->salvage->head : &f->scan.head;
}

void fsck_summary(const struct fsck *f)
{
	const struct checkpoint_head *h = head_of(f);
	const struct salvage *s = f->salvage;

	if (f->findings > FSCK_FINDINGS_MAX)
		fprintf(f->out, "... and %u more\n", f->findings - FSCK_FINDINGS_MAX);
	if (have_head(f))
		fprintf(f->out,
			"%s: %s, generation %" PRIu64 ", checkpoint %" PRIu64 " (%" PRIu64 " items), log of %" PRIu64
			" records in %" PRIu64 " segments\n",
			f->pool->name, (h->flags & CHECKPOINT_CLEAN) != 0 ? "clean" : "not unmounted",
			s != NULL ? s->generation : f->scan.end_generation, h->number, h->items,
			s != NULL ? s->records : f->scan.records, s != NULL ? s->segments : f->scan.segment_count);
	fprintf(f->out,
		"%s: %" PRIu64 " inodes, %" PRIu64 " names, %" PRIu64 " extents, %" PRIu64 " orphans, %u findings\n",
		f->pool->name, f->inode_count, f->entry_count, f->extent_count, f->orphans, f->findings);
}

json_t *fsck_object(const struct fsck *f)
{
	const struct checkpoint_head *h = head_of(f);
	const struct salvage *s = f->salvage;

	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:O}", "pool", f->pool->name, "clean",
			 have_head(f) && (h->flags & CHECKPOINT_CLEAN) != 0, "generation",
			 (json_int_t)(s != NULL ? s->generation : f->scan.end_generation), "checkpoint",
			 (json_int_t)h->number, "records", (json_int_t)(s != NULL ? s->records : f->scan.records),
			 "segments", (json_int_t)(s != NULL ? s->segments : f->scan.segment_count), "inodes",
			 (json_int_t)f->inode_count, "names", (json_int_t)f->entry_count, "extents",
			 (json_int_t)f->extent_count, "orphans", (json_int_t)f->orphans, "count", (int)f->findings,
			 "findings", f->list);
}

int fsck_report(struct fsck *f)
{
	json_t *o;

	if (!f->as_json) {
		fsck_summary(f);
		return 0;
	}
	o = fsck_object(f);
	if (o == NULL)
		return -ENOMEM;
	json_dumpf(o, f->out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	fputc('\n', f->out);
	json_decref(o);
	return 0;
}

int tool_fsck_pool(struct pool *pool, FILE *out, bool json, unsigned *findings)
{
	struct fsck f;
	int err = fsck_begin(&f, pool, out, json, false);

	if (err == 0)
		err = fsck_report(&f);
	*findings = f.findings;
	fsck_end(&f);
	return err == -ENOMEM ? fail(err, "fsck of %s: out of memory", pool->name) : err;
}

int tool_fsck(const char *path, FILE *out, bool json, unsigned *findings)
{
	struct pool *pool;
	int err = pool_open(path, true, &pool);

	*findings = 0;
	if (err != 0)
		return err;
	err = tool_fsck_pool(pool, out, json, findings);
	pool_close(pool);
	return err;
}
