/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck: walks the medium with mount's own walk (fs/scan.c), collects, judges, reports. It repairs nothing: what the log
 * says is the truth, and mount derives the rest anew every time.
 */
#include "tools/fsck.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define FSCK_FINDINGS_MAX 1000u /* printed; all are counted */

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
	f->findings++;
	if (f->findings > FSCK_FINDINGS_MAX)
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

/* The walk was stopped by damage. Nothing behind it is known, so nothing else is judged. */
static void report_damage(struct fsck *f)
{
	const char *object = strchr(f->scan.damage, '(');

	fsck_finding(f, f->scan.rule,
		     f->scan.have_head ? "refused at mount; what was changed after it cannot be trusted"
				       : "refused at mount; nothing can be read",
		     "%s", object != NULL ? object : f->scan.damage);
}

static void report_text(const struct fsck *f)
{
	const struct scan *s = &f->scan;

	if (f->findings > FSCK_FINDINGS_MAX)
		fprintf(f->out, "... and %u more\n", f->findings - FSCK_FINDINGS_MAX);
	if (s->have_head)
		fprintf(f->out,
			"%s: %s, generation %" PRIu64 ", checkpoint %" PRIu64 " (%" PRIu64 " items), log of %" PRIu64
			" records in %" PRIu64 " segments\n",
			f->pool->name, (s->head.flags & CHECKPOINT_CLEAN) != 0 ? "clean" : "not unmounted",
			s->end_generation, s->head.number, s->head.items, s->records, s->segment_count);
	fprintf(f->out,
		"%s: %" PRIu64 " inodes, %" PRIu64 " names, %" PRIu64 " extents, %" PRIu64 " orphans, %u findings\n",
		f->pool->name, f->inode_count, f->entry_count, f->extent_count, f->orphans, f->findings);
}

static int report_json(struct fsck *f)
{
	const struct scan *s = &f->scan;
	json_t *o = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:O}", "pool", f->pool->name,
			      "clean", s->have_head && (s->head.flags & CHECKPOINT_CLEAN) != 0, "generation",
			      (json_int_t)s->end_generation, "checkpoint", (json_int_t)s->head.number, "records",
			      (json_int_t)s->records, "segments", (json_int_t)s->segment_count, "inodes",
			      (json_int_t)f->inode_count, "names", (json_int_t)f->entry_count, "extents",
			      (json_int_t)f->extent_count, "orphans", (json_int_t)f->orphans, "count", (int)f->findings,
			      "findings", f->list);

	if (o == NULL)
		return -ENOMEM;
	json_dumpf(o, f->out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	fputc('\n', f->out);
	json_decref(o);
	return 0;
}

/* What stops fsck, rather than being a finding. */
static bool is_fatal(int err)
{
	return err == -ENOMEM || err == -EMEDIUMTYPE || err == -EPROTONOSUPPORT;
}

int tool_fsck_pool(struct pool *pool, FILE *out, bool json, unsigned *findings)
{
	struct fsck f = {.pool = pool, .out = out, .as_json = json, .list = json_array()};
	int err;

	if (f.list == NULL)
		return -ENOMEM;
	fsck_state_init(&f);
	err = scan_pool(&f.scan, pool, &fsck_ops, &f);
	if (f.error != 0)
		err = f.error;
	if (err != 0 && !is_fatal(err)) {
		report_damage(&f);
		err = 0;
	} else if (err == 0) {
		err = fsck_check(&f);
	}
	if (err == 0)
		err = f.error;
	if (err == 0 && json)
		err = report_json(&f);
	else if (err == 0)
		report_text(&f);
	*findings = f.findings;
	scan_fini(&f.scan);
	fsck_state_fini(&f);
	json_decref(f.list);
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
