/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: fsck names rule, object and consequence of everything in docs/format.md 6, and of damage; dump shows every
 * structure. */
#include "../fs/journal_rig.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/crc.h"
#include "format/format.h"
#include "tools/tools.h"

#define POOL_SIZE ((uint64_t)16 << 20)

/* What replay delivers does not matter here: fsck is to judge it. */
static const char *any_inode(void *ctx, const struct inode_attr *a)
{
	return NULL;
}
static const char *any_forget(void *ctx, uint64_t ino)
{
	return NULL;
}
static const char *any_symlink(void *ctx, uint64_t ino, const char *target, uint32_t len)
{
	return NULL;
}
static const char *any_dirent(void *ctx, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name,
			      uint32_t len)
{
	return NULL;
}
static const char *any_undirent(void *ctx, uint64_t dir, uint64_t cookie)
{
	return NULL;
}
static const char *any_map(void *ctx, uint64_t ino, const struct extent *e)
{
	return NULL;
}
static const char *any_unmap(void *ctx, uint64_t ino, uint64_t off, uint64_t blocks)
{
	return NULL;
}
static const struct journal_apply any_apply = {
    .inode = any_inode,
    .forget = any_forget,
    .symlink = any_symlink,
    .dirent = any_dirent,
    .undirent = any_undirent,
    .map = any_map,
    .unmap = any_unmap,
};

struct bad {
	struct pool *pool;
	struct journal *j;
	struct alloc *alloc;
	struct jtxn t;
};

static void bad_begin(struct bad *b)
{
	struct pool_create_args args = {.size = POOL_SIZE};

	assert_int_equal(pool_create(&args, &b->pool), 0);
	assert_int_equal(rig_format(b->pool), 0);
	assert_int_equal(journal_open(b->pool, &any_apply, NULL, &b->j), 0);
	assert_int_equal(alloc_new(POOL_SIZE / LH_BLOCK_SIZE, false, &b->alloc), 0);
	assert_int_equal(journal_mark_space(b->j, b->alloc), 0);
	assert_int_equal(journal_start(b->j, b->alloc, false), 0);
	jtxn_init(&b->t);
}

static void put_inode(struct bad *b, uint64_t ino, uint32_t mode, uint64_t size)
{
	jtxn_inode(&b->t, &(struct inode_attr){.ino = ino, .mode = mode, .size = size});
}

static void put_name(struct bad *b, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name)
{
	jtxn_dirent(&b->t, dir, cookie, ino, type, name, (uint32_t)strlen(name));
}

static char *run_fsck(struct pool *p, bool json, unsigned *findings)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	assert_int_equal(tool_fsck_pool(p, out, json, findings), 0);
	fclose(out);
	return text;
}

static void expect_text(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fprintf(stderr, "no \"%s\" in:\n%s", part, text);
	assert_non_null(strstr(text, part));
}

/* Commits what was put, expects exactly `count` findings, one of them with `rule` about `object`. */
static void bad_end(struct bad *b, unsigned count, const char *rule, const char *object)
{
	uint64_t seq;
	unsigned findings;
	char *text;

	if (b->t.items > 0)
		assert_int_equal(jtxn_commit(b->j, &b->t, &seq), 0);
	jtxn_fini(&b->t);
	journal_close(b->j);
	alloc_free(b->alloc);
	text = run_fsck(b->pool, false, &findings);
	if (findings != count)
		fprintf(stderr, "%s", text);
	assert_int_equal(findings, count);
	expect_text(text, rule);
	expect_text(text, object);
	free(text);
	pool_close(b->pool);
}

static void a_good_pool_has_no_findings(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFDIR | 0755, 0);
	put_inode(&b, 3, S_IFREG | 0644, 5000);
	put_inode(&b, 4, S_IFLNK | 0777, 3);
	put_inode(&b, 5, S_IFREG | 0644, 0);
	jtxn_symlink(&b.t, 4, "a/b", 3);
	put_name(&b, 1, 1, 2, DT_DIR, "a");
	put_name(&b, 2, 1, 3, DT_REG, "b");
	put_name(&b, 1, 2, 3, DT_REG, "hard link");
	put_name(&b, 2, 7, 4, DT_LNK, "c");
	jtxn_map(&b.t, 3, &(struct extent){0, 1000, 2, 0});
	jtxn_map(&b.t, 5, &(struct extent){0, 1001, 2, 0});
	bad_end(&b, 0, "5 inodes, 4 names, 2 extents, 1 orphans, 0 findings", "not unmounted, generation 1");
}

static void a_root_that_is_no_directory_is_6_1(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 1, S_IFREG | 0755, 0);
	bad_end(&b, 1, "format 6.1", "inode 1");
}

static void a_name_of_nothing_is_6_2(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_name(&b, 1, 9, 77, DT_REG, "gone\n");
	bad_end(&b, 1, "format 6.2", "directory 1 cookie 9 \"gone\\x0a\" to inode 77");
}

static void a_name_of_another_type_is_6_2(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFREG | 0644, 0);
	put_name(&b, 1, 9, 2, DT_LNK, "x");
	bad_end(&b, 1, "format 6.2 an entry has its inode's type", "directory 1 cookie 9");
}

static void an_entry_of_no_directory_is_6_3(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFREG | 0644, 0);
	put_inode(&b, 3, S_IFREG | 0644, 0);
	put_name(&b, 1, 1, 2, DT_REG, "x");
	put_name(&b, 2, 1, 3, DT_REG, "y");
	bad_end(&b, 1, "format 6.3", "directory 2 cookie 1");
}

static void a_directory_with_two_names_is_6_4(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFDIR | 0755, 0);
	put_name(&b, 1, 1, 2, DT_DIR, "x");
	put_name(&b, 1, 2, 2, DT_DIR, "y");
	bad_end(&b, 1, "format 6.4", "directory 2 has 2 names");
}

static void a_directory_without_a_name_is_6_4(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFDIR | 0755, 0);
	bad_end(&b, 1, "format 6.4", "directory 2 has no name");
}

static void a_loop_of_directories_is_6_4(void **state)
{
	struct bad b;

	bad_begin(&b);
	for (uint64_t i = 2; i < 6; i++)
		put_inode(&b, i, S_IFDIR | 0755, 0);
	put_name(&b, 2, 1, 3, DT_DIR, "x");
	put_name(&b, 3, 1, 4, DT_DIR, "x");
	put_name(&b, 4, 1, 2, DT_DIR, "x");
	put_name(&b, 1, 1, 5, DT_DIR, "good");
	bad_end(&b, 1, "format 6.4", "is in a loop");
}

static void equal_names_in_a_directory_are_6_5(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFREG | 0644, 0);
	put_name(&b, 1, 1, 2, DT_REG, "x");
	put_name(&b, 1, 2, 2, DT_REG, "xy");
	put_name(&b, 1, 3, 2, DT_REG, "x");
	bad_end(&b, 1, "format 6.5", "directory 1 cookies");
}

static void extents_of_a_directory_are_6_6(void **state)
{
	struct bad b;

	bad_begin(&b);
	jtxn_map(&b.t, 1, &(struct extent){0, 1000, 1, 0});
	bad_end(&b, 1, "format 6.6 extents belong to regular files", "inode 1");
}

/* Block 2 is the checkpoint's chunk of a fresh pool. */
static void extents_over_metadata_are_6_6(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFREG | 0644, 0);
	put_name(&b, 1, 1, 2, DT_REG, "x");
	jtxn_map(&b.t, 2, &(struct extent){7, 2, 1, 0});
	bad_end(&b, 1, "format 6.6 extents lie over no metadata", "inode 2 blocks 7 to 8 at pool block 2");
}

static void a_symlink_without_its_target_is_6_8(void **state)
{
	struct bad b;

	bad_begin(&b);
	put_inode(&b, 2, S_IFLNK | 0777, 4);
	put_name(&b, 1, 1, 2, DT_LNK, "x");
	bad_end(&b, 1, "format 6.8", "inode 2: size 4, target of 0 bytes");
}

static void an_inode_without_attributes_is_found(void **state)
{
	struct bad b;

	bad_begin(&b);
	jtxn_map(&b.t, 9, &(struct extent){0, 1000, 1, 0});
	bad_end(&b, 1, "format 4.4", "inode 9 has only extents");
}

/* Format 6.7: a link to a segment that is the checkpoint header's block cannot be made by us, so the header is forged.
 */
static void overlapping_metadata_is_6_7(void **state)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	struct m_chunk *ck;
	struct m_checkpoint *cp;
	struct chunk_head h;
	struct pool *p;
	unsigned findings;
	char *text;

	assert_int_equal(pool_create(&args, &p), 0);
	assert_int_equal(rig_format(p), 0);
	/* The header moves to block 3, and the chunk says it has two blocks: 2 and 3. */
	memcpy(p->base + 3 * LH_BLOCK_SIZE, p->base + LH_BLOCK_SIZE, LH_BLOCK_SIZE);
	cp = (struct m_checkpoint *)(p->base + 3 * LH_BLOCK_SIZE);
	cp->cp_block = le64_of(3);
	cp->cp_chunk_blocks = le32_of(2);
	cp->cp_crc = le32_of(crc32c(0, cp, offsetof(struct m_checkpoint, cp_crc)));
	ck = (struct m_chunk *)(p->base + 2 * LH_BLOCK_SIZE);
	h = (struct chunk_head){.block = 2, .number = 1, .blocks = 2, .items = 1, .bytes = le32_to(ck->ck_bytes)};
	chunk_seal(&h, ck);
	*(le64 *)(p->base + FORMAT_ROOT_OFFSET) = root_encode(cp->cp_uuid, 3);
	text = run_fsck(p, false, &findings);
	assert_int_equal(findings, 1);
	expect_text(text, "format 6.7");
	expect_text(text, "blocks 2 to 4");
	free(text);
	pool_close(p);
}

static void damage_is_a_finding_with_its_rule(void **state)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	struct pool *p;
	unsigned findings;
	char *text;
	json_t *o, *first;

	assert_int_equal(pool_create(&args, &p), 0);
	assert_int_equal(rig_format(p), 0);
	p->base[2 * LH_BLOCK_SIZE + 70] ^= 1;
	p->base[POOL_SIZE - 100] ^= 1;
	text = run_fsck(p, false, &findings);
	assert_int_equal(findings, 2);
	expect_text(text, "format 3.2c");
	expect_text(text, "at block 2 offset 0");
	expect_text(text, "format 2.2a");
	free(text);
	text = run_fsck(p, true, &findings);
	o = json_loads(text, 0, NULL);
	assert_non_null(o);
	assert_int_equal(json_integer_value(json_object_get(o, "count")), 2);
	first = json_array_get(json_object_get(o, "findings"), 1);
	assert_string_equal(json_string_value(json_object_get(first, "rule")), "3.2c");
	json_decref(o);
	free(text);
	pool_close(p);
}

static void what_is_no_pool_is_an_error(void **state)
{
	struct pool_create_args args = {.size = POOL_SIZE};
	struct pool *p;
	unsigned findings;

	assert_int_equal(pool_create(&args, &p), 0);
	assert_int_equal(tool_fsck_pool(p, stdout, false, &findings), -EMEDIUMTYPE);
	assert_int_equal(tool_dump_pool(p, stdout, false), -EMEDIUMTYPE);
	pool_close(p);
}

static char *run_dump(struct pool *p, bool json)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	assert_int_equal(tool_dump_pool(p, out, json), 0);
	fclose(out);
	return text;
}

static void dump_shows_every_structure(void **state)
{
	struct bad b;
	uint64_t seq;
	char *text;
	json_t *o;

	bad_begin(&b);
	put_inode(&b, 2, S_IFREG | 0644, 12345);
	put_inode(&b, 3, S_IFLNK | 0777, 3);
	jtxn_symlink(&b.t, 3, "t\"t", 3);
	put_name(&b, 1, 5, 2, DT_REG, "name\x01");
	jtxn_undirent(&b.t, 1, 4);
	jtxn_map(&b.t, 2, &(struct extent){3, 1000, 2, EXT_UNWRITTEN});
	jtxn_unmap(&b.t, 2, 4, 1);
	jtxn_forget(&b.t, 3);
	jtxn_xattr(&b.t, 2, "user.text", 9, "it is \"so\"", 10);
	jtxn_xattr(&b.t, 2, "user.bytes", 10, "\1\xff", 2);
	jtxn_limit(&b.t, ITEM_LIMIT_TREE, 5, 1, 100, 7);
	jtxn_bad(&b.t, (struct run){3000, 4}, false);
	jtxn_claim(&b.t, &(struct journal_claim){.id = 7,
						 .ino = 2,
						 .start = 4096,
						 .end = 8192,
						 .until_ns = 9,
						 .uid = 10,
						 .mode = ITEM_CLAIM_WRITE,
						 .client = {0xab}});
	assert_int_equal(jtxn_commit(b.j, &b.t, &seq), 0);
	jtxn_fini(&b.t);
	journal_close(b.j);
	alloc_free(b.alloc);
	text = run_dump(b.pool, false);
	expect_text(text, "superblock: magic=LEASEHLD version=1");
	expect_text(text, "copy=1");
	expect_text(text, "checkpoint: magic=LHCHKPT1");
	expect_text(text, "chunk: magic=LHCHUNK1");
	expect_text(text, "segment: magic=LHLOGSEG");
	expect_text(text, "record: crc=0x");
	expect_text(text, "inode: type=1 length=80 ino=2 mode=0x81a4 size=12345");
	expect_text(text, "symlink: type=3 length=32 ino=3 target_len=3 name=\"t\\x22t\"");
	expect_text(text, "cookie=5 ino=2 name=\"name\\x01\"");
	expect_text(text, "map: type=6 length=40 ino=2 flags=0x1 off=3 start=1000 blocks=2");
	expect_text(text, "forget: type=2");
	expect_text(text, "name=\"user.text\" value=\"it is \\x22so\\x22\"");
	expect_text(text, "name=\"user.bytes\" value=0x01ff");
	expect_text(text, "limit: type=9");
	expect_text(text,
		    "claim: type=11 length=72 ino=2 uid=10 id=7 client=ab000000000000000000000000000000 start=4096 "
		    "end=8192 until_ns=9 mode=2");
	expect_text(text, "blocks=100 inodes=7");
	expect_text(text, "start=3000 blocks=4");
	free(text);
	text = run_dump(b.pool, true);
	o = json_loads(text, 0, NULL);
	assert_non_null(o);
	assert_true(json_array_size(o) > 10);
	json_decref(o);
	free(text);
	pool_close(b.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_good_pool_has_no_findings),
	    cmocka_unit_test(a_root_that_is_no_directory_is_6_1),
	    cmocka_unit_test(a_name_of_nothing_is_6_2),
	    cmocka_unit_test(a_name_of_another_type_is_6_2),
	    cmocka_unit_test(an_entry_of_no_directory_is_6_3),
	    cmocka_unit_test(a_directory_with_two_names_is_6_4),
	    cmocka_unit_test(a_directory_without_a_name_is_6_4),
	    cmocka_unit_test(a_loop_of_directories_is_6_4),
	    cmocka_unit_test(equal_names_in_a_directory_are_6_5),
	    cmocka_unit_test(extents_of_a_directory_are_6_6),
	    cmocka_unit_test(extents_over_metadata_are_6_6),
	    cmocka_unit_test(a_symlink_without_its_target_is_6_8),
	    cmocka_unit_test(an_inode_without_attributes_is_found),
	    cmocka_unit_test(overlapping_metadata_is_6_7),
	    cmocka_unit_test(damage_is_a_finding_with_its_rule),
	    cmocka_unit_test(what_is_no_pool_is_an_error),
	    cmocka_unit_test(dump_shows_every_structure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
