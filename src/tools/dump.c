/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dump: every structure of a pool with every field, from the tables of src/format/text.c, in the order of replay. Of a
 * damaged pool what the walk that goes on (salvage.c) can read, with the damages in between.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/scan.h"
#include "tools/fsck.h"
#include "tools/salvage.h"
#include "tools/tools.h"

#define NO_MEMORY "dump ran out of memory"

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

/* What lies behind the fields; NULL: the item has none. */
struct tail {
	const char *name, *value;
};

static void put_json(struct dump *d, const struct format_struct *s, const struct scan_at *at, const void *bytes,
		     const struct tail *tail)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:I}", "struct", s->name, "format", s->section, "block",
			      (json_int_t)at->block, "offset", (json_int_t)at->offset);
	int err = o == NULL ? -1 : 0;

	if (at->seq != 0 && err == 0)
		err = json_object_set_new(o, "record", json_integer((json_int_t)at->seq));
	for (uint32_t i = 0; err == 0 && i < s->field_count; i++)
		err = json_object_set_new(o, s->fields[i].name, field_json(&s->fields[i], bytes));
	if (tail->name != NULL && err == 0)
		err = json_object_set_new(o, "name", json_string(tail->name));
	if (tail->value != NULL && err == 0)
		err = json_object_set_new(o, "value", json_string(tail->value));
	if (err == 0) {
		fputs(d->any ? ",\n" : "\n", d->out);
		json_dumpf(o, d->out, JSON_COMPACT | JSON_ENSURE_ASCII);
		d->any = true;
	} else {
		d->error = -ENOMEM;
	}
	json_decref(o);
}

static void put_tail(struct dump *d, const struct format_struct *s, const struct scan_at *at, const void *bytes,
		     const struct tail *tail)
{
	char text[1024];

	if (d->as_json) {
		put_json(d, s, at, bytes, tail);
		return;
	}
	format_to_text(s, bytes, text, sizeof(text));
	fprintf(d->out, "%" PRIu64 "+%" PRIu64 " %s", at->block, at->offset, text);
	if (tail->name != NULL)
		fprintf(d->out, " name=\"%s\"", tail->name);
	if (tail->value != NULL)
		fprintf(d->out, " value=%s", tail->value);
	fputc('\n', d->out);
}

static void put(struct dump *d, const struct format_struct *s, const struct scan_at *at, const void *bytes)
{
	put_tail(d, s, at, bytes, &(struct tail){NULL, NULL});
}

static void dump_super(void *ctx, const struct super *s, uint32_t copy, const void *bytes)
{
	const struct scan_at at = {copy != 0 ? s->blocks - 1 : 0, 0, 0};

	put(ctx, &format_structs[FORMAT_SUPER], &at, bytes);
	put(ctx, &format_structs[FORMAT_WORDS], &(struct scan_at){at.block, FORMAT_ROOT_OFFSET, 0},
	    (const uint8_t *)bytes + FORMAT_ROOT_OFFSET);
}

static void dump_checkpoint(void *ctx, const struct checkpoint_head *h, const void *bytes)
{
	put(ctx, &format_structs[FORMAT_CHECKPOINT], &(struct scan_at){h->block, 0, 0}, bytes);
}

static void dump_chunk(void *ctx, const struct chunk_head *h, const void *bytes)
{
	put(ctx, &format_structs[FORMAT_CHUNK], &(struct scan_at){h->block, 0, 0}, bytes);
}

static void dump_segment(void *ctx, const struct segment_head *h, const void *bytes)
{
	put(ctx, &format_structs[FORMAT_SEGMENT], &(struct scan_at){h->block, 0, 0}, bytes);
}

static void dump_record(void *ctx, const struct record_head *h, const struct scan_at *at, const void *bytes)
{
	bool link = (h->flags & RECORD_LINK) != 0 && h->length == sizeof(struct m_link);

	put(ctx, &format_structs[link ? FORMAT_LINK : FORMAT_RECORD], at, bytes);
}

/* "text" when all of it is printable, else 0x and hexadecimal digits. room: at least 4 bytes a byte and 4. */
static void value_text(const uint8_t *value, uint32_t len, char *buf, size_t room)
{
	bool printable = len > 0;
	size_t at = 2;

	for (uint32_t i = 0; i < len; i++)
		printable = printable && value[i] >= 0x20 && value[i] < 0x7f;
	if (printable || len == 0) {
		buf[0] = '"';
		fsck_name((const char *)value, len, buf + 1, room - 2);
		strcat(buf, "\"");
		return;
	}
	memcpy(buf, "0x", 3);
	for (uint32_t i = 0; i < len; i++, at += 2)
		snprintf(buf + at, room - at, "%02x", value[i]);
}

static const char *dump_item(void *ctx, const struct item *it, const struct scan_at *at, const void *bytes)
{
	char name[4 * FORMAT_TARGET_MAX + 8], *value = NULL;
	struct tail tail = {NULL, NULL};
	struct dump *d = ctx;

	if (it->type == ITEM_DIRENT || it->type == ITEM_SYMLINK) {
		fsck_name(it->name.name, it->name.len, name, sizeof(name));
		tail.name = name;
	} else if (it->type == ITEM_XATTR) {
		size_t room = 4 * (size_t)it->xattr.value_len + 8;

		fsck_name(it->xattr.name, it->xattr.name_len, name, sizeof(name));
		value = malloc(room);
		if (value == NULL) {
			d->error = -ENOMEM;
			return NO_MEMORY;
		}
		value_text(it->xattr.value, it->xattr.value_len, value, room);
		tail = (struct tail){name, value};
	}
	put_tail(d, format_item_struct(it->type), at, bytes, &tail);
	free(value);
	return d->error == 0 ? NULL : NO_MEMORY;
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

static void dump_damage(void *ctx, const char *rule, const char *consequence, const char *object)
{
	const struct dump *d = ctx;

	(void)consequence;
	if (!d->as_json)
		fprintf(d->out, "# damage: format %s: %s\n", rule, object);
}

static const struct scan_ops silent_ops = {0};

/* Returns what the strict walk said: the pool can be mounted, or not. */
static int dump_walk(struct dump *d, struct pool *pool)
{
	struct salvage salvage = {.pool = pool, .ops = &dump_ops, .ctx = d, .damage = dump_damage};
	struct scan s;
	int err = scan_pool(&s, pool, &silent_ops, d), again;

	scan_fini(&s);
	if (err == 0) {
		err = scan_pool(&s, pool, &dump_ops, d);
		if (err == 0 && !d->as_json)
			fprintf(d->out, "# end of the log: record %" PRIu64 " would be next\n", s.end_seq);
		scan_fini(&s);
		return err;
	}
	if (err == -EPROTONOSUPPORT || err == -ENOMEM)
		return err;
	again = salvage_pool(&salvage);
	salvage_fini(&salvage);
	if (again != 0)
		return again;
	/* The text of the first walk's error once more: it names the rule. */
	err = scan_pool(&s, pool, &silent_ops, d);
	scan_fini(&s);
	return err;
}

int tool_dump_pool(struct pool *pool, FILE *out, bool json)
{
	struct dump d = {.out = out, .as_json = json};
	int err;

	if (json)
		fputc('[', out);
	err = dump_walk(&d, pool);
	if (json)
		fputs(d.any ? "\n]\n" : "]\n", out);
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
