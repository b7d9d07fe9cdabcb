/* SPDX-License-Identifier: BSD-2-Clause */
/* dump: every structure of a pool with every field, from the tables of src/format/text.c, in the order of replay. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "fs/scan.h"
#include "tools/fsck.h"
#include "tools/tools.h"

struct dump {
	FILE *out;
	bool as_json, any;
	int error;
};

static json_t *field_json(const struct format_field *field, const void *bytes)
{
	char text[128];
	uint64_t v;

	/* JSON's numbers end at 2^63 - 1 here; hexadecimal fields and larger values are strings. */
	if (format_field_number(field, bytes, &v) && field->kind != FIELD_HEX32 && field->kind != FIELD_HEX64 &&
	    (field->kind == FIELD_I64 || v <= (uint64_t)INT64_MAX))
		return json_integer((json_int_t)v);
	format_field_text(field, bytes, text, sizeof(text));
	return json_string(text);
}

static void put_json(struct dump *d, const struct format_struct *s, const struct scan_at *at, const void *bytes,
		     const char *name)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:I}", "struct", s->name, "format", s->section, "block",
			      (json_int_t)at->block, "offset", (json_int_t)at->offset);
	int err = o == NULL ? -1 : 0;

	if (at->seq != 0 && err == 0)
		err = json_object_set_new(o, "record", json_integer((json_int_t)at->seq));
	for (uint32_t i = 0; err == 0 && i < s->field_count; i++)
		err = json_object_set_new(o, s->fields[i].name, field_json(&s->fields[i], bytes));
	if (name != NULL && err == 0)
		err = json_object_set_new(o, "name", json_string(name));
	if (err == 0) {
		fputs(d->any ? ",\n" : "\n", d->out);
		json_dumpf(o, d->out, JSON_COMPACT | JSON_ENSURE_ASCII);
		d->any = true;
	} else {
		d->error = -ENOMEM;
	}
	json_decref(o);
}

static void put(struct dump *d, const struct format_struct *s, const struct scan_at *at, const void *bytes,
		const char *name)
{
	char text[1024];

	if (d->as_json) {
		put_json(d, s, at, bytes, name);
		return;
	}
	format_to_text(s, bytes, text, sizeof(text));
	fprintf(d->out, "%" PRIu64 "+%" PRIu64 " %s", at->block, at->offset, text);
	if (name != NULL)
		fprintf(d->out, " name=\"%s\"", name);
	fputc('\n', d->out);
}

static void dump_super(void *ctx, const struct super *s, uint32_t copy, const void *bytes)
{
	const struct scan_at at = {copy != 0 ? s->blocks - 1 : 0, 0, 0};

	put(ctx, &format_structs[FORMAT_SUPER], &at, bytes, NULL);
	put(ctx, &format_structs[FORMAT_WORDS], &(struct scan_at){at.block, FORMAT_ROOT_OFFSET, 0},
	    (const uint8_t *)bytes + FORMAT_ROOT_OFFSET, NULL);
}

static void dump_checkpoint(void *ctx, const struct checkpoint_head *h, const void *bytes)
{
	put(ctx, &format_structs[FORMAT_CHECKPOINT], &(struct scan_at){h->block, 0, 0}, bytes, NULL);
}

static void dump_chunk(void *ctx, const struct chunk_head *h, const void *bytes)
{
	put(ctx, &format_structs[FORMAT_CHUNK], &(struct scan_at){h->block, 0, 0}, bytes, NULL);
}

static void dump_segment(void *ctx, const struct segment_head *h, const void *bytes)
{
	put(ctx, &format_structs[FORMAT_SEGMENT], &(struct scan_at){h->block, 0, 0}, bytes, NULL);
}

static void dump_record(void *ctx, const struct record_head *h, const struct scan_at *at, const void *bytes)
{
	bool link = (h->flags & RECORD_LINK) != 0 && h->length == sizeof(struct m_link);

	put(ctx, &format_structs[link ? FORMAT_LINK : FORMAT_RECORD], at, bytes, NULL);
}

static const char *dump_item(void *ctx, const struct item *it, const struct scan_at *at, const void *bytes)
{
	struct dump *d = ctx;
	bool named = it->type == ITEM_DIRENT || it->type == ITEM_SYMLINK;
	char name[4 * FORMAT_TARGET_MAX + 8];

	if (named)
		fsck_name(it->name.name, it->name.len, name, sizeof(name));
	put(d, format_item_struct(it->type), at, bytes, named ? name : NULL);
	return d->error == 0 ? NULL : "dump ran out of memory";
}

static void dump_copy_damaged(void *ctx, const char *rule)
{
	const struct dump *d = ctx;

	if (!d->as_json)
		fprintf(d->out, "# the copy of the superblock is damaged: format %s\n", rule);
}

static const struct scan_ops dump_ops = {
    .super = dump_super,
    .checkpoint = dump_checkpoint,
    .chunk = dump_chunk,
    .segment = dump_segment,
    .record = dump_record,
    .item = dump_item,
    .copy_damaged = dump_copy_damaged,
};

int tool_dump_pool(struct pool *pool, FILE *out, bool json)
{
	struct dump d = {.out = out, .as_json = json};
	struct scan s;
	int err;

	if (json)
		fputc('[', out);
	err = scan_pool(&s, pool, &dump_ops, &d);
	if (json)
		fputs(d.any ? "\n]\n" : "]\n", out);
	else if (err == 0)
		fprintf(out, "# end of the log: record %" PRIu64 " would be next\n", s.end_seq);
	else if (s.damage[0] != '\0')
		fprintf(out, "# stopped: %s\n", s.damage);
	scan_fini(&s);
	return d.error != 0 ? fail(d.error, "dump of %s: out of memory", pool->name) : err;
}

int tool_dump(const char *path, FILE *out, bool json)
{
	struct pool *pool;
	int err = pool_open(path, true, &pool);

	if (err != 0)
		return err;
	err = tool_dump_pool(pool, out, json);
	pool_close(pool);
	return err;
}
