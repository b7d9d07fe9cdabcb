/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: I8, docs/format.md 3.2g, 4.1f, 5.2f, 5.2g, 5.3, 5.5, 6.7, 6.9: structures that are each sound, with right
 * checksums, but contradict each other. A pool that somebody forged is refused with the rule, and no chain leads the
 * reader round and round.
 */
#include "journal_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/crc.h"
#include "format/format.h"
#include "fs/scan.h"
#include "pool/sim.h"

#define POOL_SIZE ((uint64_t)16 << 20)
#define RECORDS   8u

/* A pool with records 2 .. 9 in its log, and where everything lies. */
struct forge {
	struct pool *p;
	struct scan scan;
	uint64_t record[64], length[64];
	unsigned count;
};

static void note_record(void *ctx, const struct record_head *h, const struct scan_at *at, const void *bytes)
{
	struct forge *f = ctx;

	f->record[f->count] = (at->block << LH_BLOCK_SHIFT) + at->offset;
	f->length[f->count++] = h->length;
}

static void forge_begin(struct forge *f)
{
	static const struct scan_ops ops = {.record = note_record};
	struct pool_create_args args = {.size = POOL_SIZE};
	struct rig r;

	memset(f, 0, sizeof(*f));
	assert_int_equal(pool_create(&args, &f->p), 0);
	assert_int_equal(rig_format(f->p), 0);
	assert_int_equal(rig_open(&r, f->p, false), 0);
	for (uint64_t i = 0; i < RECORDS; i++)
		assert_int_equal(rig_set(&r, 2 + i, i, false), 0);
	rig_close(&r);
	assert_int_equal(scan_pool(&f->scan, f->p, &ops, f), 0);
	assert_int_equal(f->count, RECORDS);
}

/* What a mount says: refused, with this rule. */
static void forge_end(struct forge *f, const char *rule)
{
	char word[64];
	struct rig r;
	int err = rig_open(&r, f->p, true);

	snprintf(word, sizeof(word), "format %s ", rule);
	if (err == 0 || strstr(fail_text(), word) == NULL)
		fprintf(stderr, "%d \"%s\", not \"%s\"\n", err, fail_text(), word);
	assert_true(err == -EUCLEAN || err == -EBADMSG);
	assert_non_null(strstr(fail_text(), word));
	scan_fini(&f->scan);
	pool_close(f->p);
}

static struct m_checkpoint *forge_head(struct forge *f)
{
	return (struct m_checkpoint *)(f->p->base + (f->scan.head.block << LH_BLOCK_SHIFT));
}

static void head_reseal(struct forge *f)
{
	struct m_checkpoint *m = forge_head(f);

	m->cp_crc = le32_of(crc32c(0, m, offsetof(struct m_checkpoint, cp_crc)));
}

static void chunk_change(struct forge *f, struct chunk_head h)
{
	chunk_seal(&h, f->p->base + (f->scan.chunks[0].start << LH_BLOCK_SHIFT));
}

static struct chunk_head chunk_now(const struct forge *f)
{
	const struct m_chunk *m = (const struct m_chunk *)(f->p->base + (f->scan.chunks[0].start << LH_BLOCK_SHIFT));

	return (struct chunk_head){
	    .block = le64_to(m->ck_block),
	    .number = le64_to(m->ck_number),
	    .index = le32_to(m->ck_index),
	    .blocks = le32_to(m->ck_blocks),
	    .bytes = le32_to(m->ck_bytes),
	    .items = le32_to(m->ck_items),
	};
}

/* Seals record n again after its header's or items' fields were changed. */
static void record_change(struct forge *f, unsigned n, uint32_t flags, uint64_t durable_seq, uint32_t items)
{
	uint8_t *bytes = f->p->base + f->record[n];
	const struct m_record *m = (const struct m_record *)bytes;
	const struct record_head h = {
	    .seq = le64_to(m->rc_seq),
	    .generation = le64_to(m->rc_generation),
	    .salt = le64_to(m->rc_salt),
	    .durable_seq = durable_seq,
	    .length = le32_to(m->rc_length),
	    .flags = flags,
	    .items = items,
	};

	record_seal(&h, bytes);
}

static void sums_that_differ_are_3_2g(void **state)
{
	struct forge f;

	forge_begin(&f);
	forge_head(&f)->cp_items = le64_of(2);
	head_reseal(&f);
	forge_end(&f, "3.2g");
}

static void a_wrong_count_of_items_is_4_1f(void **state)
{
	struct chunk_head h;
	struct forge f;

	forge_begin(&f);
	h = chunk_now(&f);
	h.items++;
	chunk_change(&f, h);
	forge_end(&f, "4.1f");
	forge_begin(&f);
	record_change(&f, 3, 0, 2, 0);
	forge_end(&f, "4.1f");
}

static void a_broken_item_in_a_good_record_is_damage_at_once(void **state)
{
	struct forge f;

	forge_begin(&f);
	f.p->base[f.record[RECORDS - 1] + sizeof(struct m_record) + 4 + 1] = 0;
	record_change(&f, RECORDS - 1, 0, RECORDS - 1, 1);
	forge_end(&f, "4.4a");
}

static void unknown_flags_are_5_2f(void **state)
{
	struct forge f;

	forge_begin(&f);
	record_change(&f, RECORDS - 1, 8, 2, 1);
	forge_end(&f, "5.2f");
}

static void a_record_more_durable_than_itself_is_5_2g(void **state)
{
	struct forge f;

	forge_begin(&f);
	record_change(&f, RECORDS - 1, 0, 100, 1);
	forge_end(&f, "5.2g");
}

static void a_continuation_of_nothing_is_5_5a(void **state)
{
	struct forge f;

	forge_begin(&f);
	record_change(&f, 4, RECORD_CONTINUED, 2, 1);
	forge_end(&f, "5.5a");
}

static void an_operation_without_its_end_is_5_5b(void **state)
{
	struct forge f;

	forge_begin(&f);
	record_change(&f, 4, RECORD_MORE, 2, 1);
	forge_end(&f, "5.5b");
}

/* The last record says "more": an unfinished operation at the log's end is dropped. */
static void an_unfinished_operation_at_the_end_is_dropped(void **state)
{
	struct forge f;
	struct rig r;

	forge_begin(&f);
	record_change(&f, RECORDS - 1, RECORD_MORE, 2, 1);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(rig_open(&r, f.p, false), 0);
		assert_true(r.state->ino[RECORDS].there);
		assert_false(r.state->ino[RECORDS + 1].there);
		rig_close(&r);
	}
	scan_fini(&f.scan);
	pool_close(f.p);
}

static void link_at_the_end(struct forge *f, struct link_to to)
{
	struct m_link m;
	const struct record_head h = {.seq = f->scan.end_seq,
				      .generation = f->scan.end_generation,
				      .salt = f->scan.end_salt,
				      .durable_seq = f->scan.end_seq - 1};

	link_encode(&h, &to, &m);
	memcpy(f->p->base + f->record[RECORDS - 1] + f->length[RECORDS - 1], &m, sizeof(m));
}

static void a_link_back_to_the_same_segment_is_5_1c(void **state)
{
	struct forge f;
	struct run seg;

	forge_begin(&f);
	seg = f.scan.segments[0].run;
	link_at_the_end(&f, (struct link_to){.start = seg.start,
					     .blocks = (uint32_t)seg.blocks,
					     .generation = f.scan.end_generation,
					     .salt = f.scan.end_salt});
	forge_end(&f, "5.1c");
}

static void a_link_to_what_is_no_segment_is_5_1a(void **state)
{
	struct forge f;

	forge_begin(&f);
	link_at_the_end(&f, (struct link_to){.start = 3000, .blocks = 1, .generation = 77, .salt = 5});
	forge_end(&f, "5.1a");
}

static void a_link_out_of_the_pool_is_5_3b(void **state)
{
	struct forge f;

	forge_begin(&f);
	link_at_the_end(&f, (struct link_to){.start = UINT64_MAX, .blocks = 1, .generation = 77, .salt = 5});
	forge_end(&f, "5.3b");
}

static void chunks_in_a_ring_are_3_2d(void **state)
{
	struct chunk_head h;
	struct forge f;

	forge_begin(&f);
	h = chunk_now(&f);
	h.next_start = h.block;
	h.next_blocks = h.blocks;
	chunk_change(&f, h);
	forge_head(&f)->cp_chunks = le32_of(UINT32_MAX);
	head_reseal(&f);
	forge_end(&f, "3.2d");
}

static void a_log_that_ends_too_early_is_5_4b(void **state)
{
	struct forge f;

	forge_begin(&f);
	forge_head(&f)->cp_must_seq = le64_of(f.scan.end_seq);
	head_reseal(&f);
	forge_end(&f, "5.4b");
}

static void overlapping_runs_are_6_7(void **state)
{
	struct chunk_head h;
	struct forge f;

	forge_begin(&f);
	h = chunk_now(&f);
	h.blocks = 200; /* over the log */
	chunk_change(&f, h);
	forge_head(&f)->cp_chunk_blocks = le32_of(200);
	head_reseal(&f);
	forge_end(&f, "6.7");
}

static void an_inode_beyond_the_next_number_is_6_9(void **state)
{
	struct m_inode *m;
	struct forge f;

	forge_begin(&f);
	m = (struct m_inode *)(f.p->base + (f.scan.chunks[0].start << LH_BLOCK_SHIFT) + sizeof(struct m_chunk));
	m->in_item.it_ino = le64_of(2);
	chunk_change(&f, chunk_now(&f));
	forge_end(&f, "6.9");
}

/* The file got longer than the pool: what follows the superblock's copy is never given away. */
static void a_longer_file_keeps_the_pools_size(void **state)
{
	uint8_t *image = calloc(1, POOL_SIZE + (1 << 20));
	struct pool *p, *longer;
	struct run run;
	struct rig r;

	assert_int_equal(sim_create(POOL_SIZE, POOL_VOLATILE, NULL, &p), 0);
	assert_int_equal(rig_format(p), 0);
	memcpy(image, p->base, POOL_SIZE);
	assert_int_equal(sim_create(POOL_SIZE + (1 << 20), POOL_VOLATILE, image, &longer), 0);
	assert_int_equal(rig_open(&r, longer, false), 0);
	while (alloc_take(r.alloc, 512, 0, &run) == 0)
		assert_true(run.start + run.blocks < POOL_SIZE / LH_BLOCK_SIZE);
	rig_close(&r);
	assert_int_equal(rig_open(&r, longer, false), 0);
	rig_close(&r);
	pool_close(longer);
	pool_close(p);
	free(image);
}

/* Every byte of the metadata set to every one of a few values, checksums not mended: refused or a tail, never a crash.
 */
static void random_damage_never_leads_astray(void **state)
{
	uint64_t x = 0x9e3779b97f4a7c15ull;
	struct forge f;
	struct rig r;

	forge_begin(&f);
	for (unsigned round = 0; round < 4000; round++) {
		uint64_t off, old;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		off = x % (40 * LH_BLOCK_SIZE / 8) * 8;
		memcpy(&old, f.p->base + off, 8);
		memcpy(f.p->base + off, &x, 8);
		if (rig_open(&r, f.p, true) == 0)
			rig_close(&r);
		memcpy(f.p->base + off, &old, 8);
	}
	scan_fini(&f.scan);
	pool_close(f.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sums_that_differ_are_3_2g),
	    cmocka_unit_test(a_wrong_count_of_items_is_4_1f),
	    cmocka_unit_test(a_broken_item_in_a_good_record_is_damage_at_once),
	    cmocka_unit_test(unknown_flags_are_5_2f),
	    cmocka_unit_test(a_record_more_durable_than_itself_is_5_2g),
	    cmocka_unit_test(a_continuation_of_nothing_is_5_5a),
	    cmocka_unit_test(an_operation_without_its_end_is_5_5b),
	    cmocka_unit_test(an_unfinished_operation_at_the_end_is_dropped),
	    cmocka_unit_test(a_link_back_to_the_same_segment_is_5_1c),
	    cmocka_unit_test(a_link_to_what_is_no_segment_is_5_1a),
	    cmocka_unit_test(a_link_out_of_the_pool_is_5_3b),
	    cmocka_unit_test(chunks_in_a_ring_are_3_2d),
	    cmocka_unit_test(a_log_that_ends_too_early_is_5_4b),
	    cmocka_unit_test(overlapping_runs_are_6_7),
	    cmocka_unit_test(an_inode_beyond_the_next_number_is_6_9),
	    cmocka_unit_test(a_longer_file_keeps_the_pools_size),
	    cmocka_unit_test(random_damage_never_leads_astray),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
