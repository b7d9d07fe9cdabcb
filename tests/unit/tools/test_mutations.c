/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal (L39, I8; docs/format.md, every rule): damage that breaks a rule is told by that rule's number; whatever is
 * damaged, fsck and mount agree, repair makes it sound, and a single flipped bit costs nothing.
 *
 *	test_mutations [SEED]		MUTATION=name: only this row of the table
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/crc.h"
#include "base/error.h"
#include "look.h"
#include "seed_pool.h"

#include <cmocka.h>
#undef fail

#define FLIPS         1500u
#define PROMISE_EVERY 25u

/* fail_msg of cmocka would call our fail(). */
#define bad(...)                                                                                                       \
	do {                                                                                                           \
		print_error(__VA_ARGS__);                                                                              \
		print_error("\n");                                                                                     \
		assert_true(false);                                                                                    \
	} while (0)

static struct seed seed;
static uint64_t good;
static uint64_t first_random = 1;

/* One change: `width` bytes at `at` + off become value; at a name of the seed pool, or "#BLOCK". */
struct patch {
	const char *at;
	unsigned off, width;
	uint64_t value;
};
enum { RAW = 0, SEAL = 1, WORDS = 2, ALL = 4 };
struct mutation {
	const char *name, *rule;
	unsigned
	    how; /* SEAL: crcs are put right afterwards; WORDS: the words' checks too; ALL: at every item so called */
	struct patch patch[3];
	const char *text; /* also to be found in what fsck says */
};

/* A row says what it has to say. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

static const struct mutation table[] = {
    {"magic", "2.1a", RAW, {{"super", 0, 1, 'x'}}},
    {"super crc", "2.1b", RAW, {{"super", 64, 4, 0x12345678}}},
    {"block size", "2.1e", SEAL, {{"super", 12, 4, 8192}}},
    {"too small", "2.1f", SEAL, {{"super", 56, 8, 100}}},
    {"truncated", "2.1f", SEAL, {{"super", 56, 8, 5000}}},
    {"exchanged", "2.1g", SEAL, {{"super", 72, 4, 1}}},
    {"super zero", "2.1h", SEAL, {{"super", 80, 1, 1}}},
    {"block 0 zero", "2.1h", RAW, {{"super", 300, 1, 1}}},
    {"copy crc", "2.2a", RAW, {{"copy", 60, 4, 7}}},
    {"copy of another", "2.2a", SEAL, {{"copy", 40, 8, 7}}},
    {"root word", "2.3a", RAW, {{"words", 0, 8, 0x123456}}},
    {"root outside", "2.3b", SEAL | WORDS, {{"words", 0, 8, SEED_BLOCKS - 1}}},
    {"size word", "2.4a", RAW, {{"words", 8, 8, 0x12345678}}},
    {"size small", "2.4b", SEAL | WORDS, {{"words", 8, 8, 100}}},
    {"size large", "2.4b", SEAL | WORDS, {{"words", 8, 8, 5000}}},
    {"header magic", "3.1a", RAW, {{"header", 0, 1, 'x'}}},
    {"header crc", "3.1b", RAW, {{"header", 96, 8, 0x99999}}},
    {"header uuid", "3.1c", SEAL, {{"header", 8, 8, 1}}},
    {"header place", "3.1c", SEAL, {{"header", 40, 8, 77}}},
    {"header number", "3.1d", SEAL, {{"header", 24, 8, 0}}},
    {"header flags", "3.1e", SEAL, {{"header", 32, 8, 4}}},
    {"header log", "3.1f", SEAL, {{"header", 48, 8, 0}}},
    {"next inode", "3.1g", SEAL, {{"header", 96, 8, 1}}},
    {"header chunks", "3.1h", SEAL, {{"header", 116, 4, 0}}},
    {"header zero", "3.1i", SEAL, {{"header", 60, 4, 1}}},
    {"header block zero", "3.1i", RAW, {{"header", 1000, 1, 1}}},
    {"log starts late", "3.1j", SEAL, {{"header", 64, 8, 106}}},
    {"chunk magic", "3.2a", RAW, {{"chunk 1", 0, 8, 0x1234}}},
    {"chunk long", "3.2b", RAW, {{"chunk 1", 52, 4, 0xfffffff8}}},
    {"chunk crc", "3.2c", RAW, {{"chunk 1", 200, 8, 0x777777}}},
    {"chunk index", "3.2d", SEAL, {{"chunk 1", 32, 4, 3}}},
    {"chunk next", "3.2e", SEAL, {{"chunk 1", 40, 8, 5000}}},
    {"chunk ends early", "3.2e", SEAL, {{"chunk 1", 40, 8, 0}, {"chunk 1", 48, 4, 0}}},
    {"chunk zero", "3.2f", SEAL, {{"chunk 1", 56, 8, 1}}},
    {"sums", "3.2g", SEAL, {{"header", 128, 8, 41000}}},
    {"item cut", "4.1a", SEAL, {{"claim", 2, 2, 128}}},
    {"item length", "4.1b", SEAL, {{"inode 3", 2, 2, 88}}},
    {"item length odd", "4.1b", SEAL, {{"inode 3", 2, 2, 83}}},
    {"item type", "4.1c", SEAL, {{"map 3", 0, 2, 99}}},
    {"item padding", "4.1d", SEAL, {{"name d", 33, 1, 1}}},
    {"item inode", "4.1e", SEAL, {{"map 3", 8, 8, 0}}},
    {"item count", "4.1f", SEAL, {{"chunk 0", 12, 4, 3}}},
    {"extent empty", "4.2a", SEAL, {{"map 3", 32, 8, 0}}},
    {"extent outside", "4.2b", SEAL, {{"map 3", 24, 8, 5000}}},
    {"extent beyond", "4.2c", SEAL, {{"map 3", 16, 8, (uint64_t)1 << 51}}},
    {"extent flag", "4.2d", SEAL, {{"map 3", 4, 4, 4}}},
    {"unmap empty", "4.3a", SEAL, {{"unmap", 24, 8, 0}}},
    {"mode", "4.4a", SEAL, {{"inode 3", 4, 4, 0644}}},
    {"type changes", "4.4a", SEAL, {{"inode 11", 4, 4, S_IFIFO | 0644}}},
    {"size", "4.4b", SEAL, {{"inode 3", 16, 8, (uint64_t)1 << 63}}},
    {"inode flag", "4.4c", SEAL, {{"inode 3", 40, 4, 8}}},
    {"forget the root", "4.5a", SEAL, {{"forget", 8, 8, 1}}},
    {"target length", "4.6a", SEAL, {{"target 5", 4, 4, 0}}},
    {"target NUL", "4.6b", SEAL, {{"target 5", 25, 1, 0}}},
    {"name slash", "4.7a", SEAL, {{"name a", 32, 1, '/'}}},
    {"name dot", "4.7a", SEAL, {{"name a", 32, 1, '.'}}},
    {"cookie", "4.7b", SEAL, {{"name a", 16, 8, 0}}},
    {"entry's inode", "4.7c", SEAL, {{"name a", 24, 8, 0}}},
    {"entry of itself", "4.7c", SEAL, {{"name a", 24, 8, 1}}},
    {"entry's type", "4.7d", SEAL, {{"name a", 4, 1, 3}}},
    {"undirent cookie", "4.8a", SEAL, {{"undirent", 16, 8, 0}}},
    {"xattr name", "4.9a", SEAL, {{"xattr small", 17, 1, 0}}},
    {"xattr flags", "4.9b", SEAL, {{"xattr small", 5, 1, 7}}},
    {"xattr removed with a value", "4.9c", SEAL, {{"xattr small", 5, 1, 2}}},
    {"xattr without beginning", "4.9d", SEAL, {{"xattr big", 21, 1, 'B'}}},
    {"limit kind", "4.10a", SEAL, {{"limit uid", 4, 4, 9}}},
    {"limit of tree 0", "4.10b", SEAL, {{"limit tree", 16, 4, 0}}},
    {"limit of all with a number", "4.10c", SEAL, {{"limit uid", 4, 4, 5}}},
    {"half a limit of pins", "4.10d", SEAL, {{"limit uid", 4, 4, 3}, {"limit uid", 32, 8, 0}, {"limit uid", 24, 8, 7}}},
    {"bad outside", "4.11a", SEAL, {{"bad", 16, 8, SEED_BLOCKS - 2}}},
    {"bad flag", "4.11b", SEAL, {{"bad", 4, 4, 2}}},
    {"claim 0", "4.12a", SEAL, {{"claim", 16, 8, 0}}},
    {"claim of a part of a block", "4.12b", SEAL, {{"claim", 48, 8, 100}}},
    {"claim mode", "4.12d", SEAL, {{"claim", 64, 4, 3}}},
    {"claim 0", "4.12a", SEAL, {{"claim", 16, 8, 0}}},
    {"claim of nothing", "4.12b", SEAL, {{"claim", 40, 8, 4096}}},
    {"claim of half a block", "4.12b", SEAL, {{"claim", 48, 8, 100}}},
    {"claim of no mode", "4.12d", SEAL, {{"claim", 64, 4, 3}}},
    {"segment magic", "5.1a", RAW, {{"segment 1", 0, 8, 1}}},
    {"segment crc", "5.1b", RAW, {{"segment 1", 56, 4, 0x10101}}},
    {"segment generation", "5.1c", SEAL, {{"segment 1", 16, 8, 9}}},
    {"segment next", "5.1d", SEAL, {{"segment 1", 40, 8, 5000}}},
    {"segment zero", "5.1e", SEAL, {{"segment 1", 56, 4, 1}}},
    {"record magic", "5.4b", RAW, {{"record 101", 42, 2, 0}}, "5.2a"},
    {"record length", "5.4b", RAW, {{"record 101", 4, 4, 16}}, "5.2b"},
    {"record salt", "5.4b", SEAL, {{"record 101", 24, 8, 5}}, "5.2c"},
    {"record number", "5.4b", SEAL, {{"record 101", 8, 8, 500}}, "5.2d"},
    {"record crc", "5.4b", RAW, {{"record 101", 60, 8, 5}}, "5.2e"},
    {"record proven", "5.4a", RAW, {{"record 107", 60, 8, 5}}, "5.2e"},
    {"record flags", "5.2f", SEAL, {{"record 107", 40, 2, 8}}},
    {"record durable", "5.2g", SEAL, {{"record 107", 32, 8, 107}}},
    {"link outside", "5.3b", SEAL, {{"record 105", 48, 8, 5000}}},
    {"link generation", "5.3c", SEAL, {{"record 105", 64, 8, 2}}},
    {"link salt", "5.3c", SEAL, {{"record 105", 72, 8, 2}}},
    {"link zero", "5.3d", SEAL, {{"record 105", 60, 4, 1}}},
    {"log tail gone before must",
     "5.4b",
     RAW,
     {{"record 104", 0, 8, 0}, {"record 105", 0, 8, 0}, {"segment 1", 0, 8, 0}}},
    {"no beginning", "5.5a", SEAL, {{"record 102", 40, 2, 0}}},
    {"not continued", "5.5b", SEAL, {{"record 103", 40, 2, 0}}},
    {"root is a file", "6.1", SEAL | ALL, {{"inode 1", 4, 4, S_IFREG | 0644}}},
    {"dangling name", "6.2", SEAL, {{"name a", 24, 8, 33}}},
    {"name's type", "6.2", SEAL, {{"name a", 4, 1, 10}}},
    {"entry of a file", "6.3", SEAL, {{"name f", 8, 8, 11}, {"name f", 24, 8, 12}}},
    {"entry of nothing", "6.3", SEAL, {{"name f", 8, 8, 33}}},
    {"two names", "6.4", SEAL, {{"name h2", 24, 8, 10}, {"name h2", 4, 1, 4}}},
    {"no name", "6.4", SEAL, {{"name d", 24, 8, 10}}},
    {"loop", "6.4", SEAL, {{"name d", 8, 8, 10}}},
    {"name of the root", "6.4", SEAL, {{"name e", 24, 8, 1}}},
    {"equal names", "6.5", SEAL, {{"name b", 32, 1, 'a'}}},
    {"extent of a pipe", "6.6", SEAL, {{"map 11", 8, 8, 7}}},
    {"extent over a chunk", "6.6", SEAL, {{"map 6", 24, 8, 60}}, "6.6 extents lie"},
    {"extent over a segment", "6.6", SEAL, {{"map 6", 24, 8, 99}, {"map 6", 32, 8, 2}}, "6.6 extents lie"},
    {"chunk over the log", "6.7", SEAL, {{"chunk 2", 48, 4, 40}, {"chunk 3", 36, 4, 40}}},
    {"symlink's size", "6.8", SEAL, {{"inode 5", 16, 8, 4}}},
    {"target of a file", "6.8", SEAL, {{"target 5", 8, 8, 3}}},
    {"inode too high", "6.9", SEAL, {{"inode 12", 8, 8, 50}, {"map 12", 8, 8, 50}}},
    {"xattr of nothing", "6.11", SEAL, {{"xattr small", 8, 8, 33}}},
    {"ACL that is none", "6.12", SEAL, {{"xattr acl", 35 + 16, 4, 9}}},
    {"ACL of a symlink", "6.12", SEAL, {{"xattr acl", 8, 8, 5}}},
    {"ACL and mode", "6.13", SEAL, {{"inode 9", 4, 4, S_IFREG | 0600}}},
};

static void patch_at(uint64_t where, const struct patch *p)
{
	uint64_t value = htole64(p->value);

	memcpy(seed.pool.base + where + p->off, &value, p->width);
}

static void mutate(const struct mutation *m)
{
	seed_reset(&seed);
	for (unsigned i = 0; i < 3 && m->patch[i].at != NULL; i++) {
		patch_at(seed_find(&seed, m->patch[i].at), &m->patch[i]);
		for (unsigned k = 0; (m->how & ALL) != 0 && k < seed.mark_count; k++) {
			if (strcmp(seed.marks[k].name, m->patch[i].at) == 0)
				patch_at(seed.marks[k].off, &m->patch[i]);
		}
	}
	if ((m->how & SEAL) != 0)
		seed_seal(&seed, (m->how & WORDS) != 0);
}

/* A line that begins with "format RULE" and no digit or letter behind it. */
static bool tells(const char *text, const char *rule)
{
	size_t len = strlen(rule);

	for (const char *p = text; (p = strstr(p, "format ")) != NULL; p += 7) {
		if (strncmp(p + 7, rule, len) == 0 && p[7 + len] == ' ')
			return true;
	}
	return false;
}

static void the_seed_is_sound(void **state)
{
	char *text;

	seed_reset(&seed);
	if (look_fsck(&seed.pool, &text) != 0)
		bad("the seed has findings:\n%s", text);
	free(text);
	assert_int_equal(look_mount(&seed.pool, false, &good), 0);
	look_promises(&seed.pool, "seed");
}

static void every_rule_is_told_and_repaired(void **state)
{
	const char *only = getenv("MUTATION");
	unsigned failed = 0;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct mutation *m = &table[i];
		char *text;
		int n;

		if (only != NULL && strcmp(only, m->name) != 0)
			continue;
		mutate(m);
		n = look_fsck(&seed.pool, &text);
		if (n <= 0 || !tells(text, m->rule) || (m->text != NULL && strstr(text, m->text) == NULL)) {
			fprintf(stderr, "\"%s\" wants %s%s%s, got %d findings:\n%s%s\n", m->name, m->rule,
				m->text != NULL ? ", " : "", m->text != NULL ? m->text : "", n, text, fail_text());
			failed++;
		} else {
			look_promises(&seed.pool, m->name);
		}
		if (only != NULL) {
			mutate(m);
			free(text);
			look_repair(&seed.pool, &text);
			fputs(text, stderr);
		}
		free(text);
	}
	assert_int_equal(failed, 0);
}

/* A record that says link and is longer than one: its crc is right. */
static void a_long_link_is_5_3a(void **state)
{
	uint8_t *link;
	uint32_t word = htole32(88);
	char *text;

	seed_reset(&seed);
	link = seed.pool.base + seed_find(&seed, "record 105");
	memcpy(link + 4, &word, sizeof(word));
	word = htole32(crc32c(0, link + 4, 84));
	memcpy(link, &word, sizeof(word));
	assert_true(look_fsck(&seed.pool, &text) > 0);
	assert_true(tells(text, "5.3a"));
	free(text);
	look_promises(&seed.pool, "long link");
}

static void other_versions_are_no_damage(void **state)
{
	static const struct mutation newer[] = {
	    {"version", "2.1c", SEAL, {{"super", 8, 4, 2}}},
	    {"incompat", "2.1d", SEAL, {{"super", 32, 8, 4}}},
	};
	unsigned n;

	for (unsigned i = 0; i < 2; i++) {
		mutate(&newer[i]);
		assert_int_equal(look_fsck(&seed.pool, NULL), -EPROTONOSUPPORT);
		assert_int_equal(look_repair(&seed.pool, NULL), -EPROTONOSUPPORT);
		assert_non_null(strstr(fail_text(), newer[i].rule));
	}
	/* 2.1i: may be read. Repair would write. */
	mutate(&(struct mutation){"ro_compat", "2.1i", SEAL, {{"super", 24, 8, 4}, {"copy", 24, 8, 4}}});
	assert_int_equal(look_fsck(&seed.pool, NULL), 0);
	n = (unsigned)seed_find(&seed, "name a");
	seed.pool.base[n + 32] = 'b';
	seed_seal(&seed, false);
	assert_true(look_fsck(&seed.pool, NULL) > 0);
	assert_int_equal(look_repair(&seed.pool, NULL), -EROFS);
}

/* The last record is the log's end, whatever is in it (5.4). */
static const struct seed_part *part_random(uint64_t *random)
{
	const struct seed_part *p;

	do {
		*random = *random * 6364136223846793005ull + 1442695040888963407ull;
		p = &seed.parts[(*random >> 33) % seed.part_count];
	} while (strcmp(p->name, "record 111") == 0);
	return p;
}

static void one_flipped_bit_is_found_and_put_right(void **state)
{
	uint64_t random = first_random, digest;

	for (unsigned i = 0; i < FLIPS; i++) {
		const struct seed_part *p = part_random(&random);
		uint64_t bit;
		int n, err;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		bit = p->off * 8 + (random >> 20) % (p->len * 8);
		seed_reset(&seed);
		seed.pool.base[bit / 8] ^= (uint8_t)(1u << bit % 8);
		n = look_fsck(&seed.pool, NULL);
		err = look_mount(&seed.pool, false, &digest);
		if (n < 0 && n != -EPROTONOSUPPORT)
			bad("seed %llu, flip %u of %s, bit %llu: %d", (unsigned long long)first_random, i, p->name,
			    (unsigned long long)bit, n);
		if (n == 0 && (err != 0 || digest != good))
			bad("seed %llu, flip %u of %s, bit %llu: not found, and not harmless",
			    (unsigned long long)first_random, i, p->name, (unsigned long long)bit);
		if (i % PROMISE_EVERY == 0)
			look_promises(&seed.pool, p->name);
		else if (n > 0)
			assert_true(look_repair(&seed.pool, NULL) > 0);
		err = look_mount(&seed.pool, false, &digest);
		if (err != 0 || digest != good)
			bad("seed %llu, flip %u of %s, bit %llu: repair did not bring everything back (%d)",
			    (unsigned long long)first_random, i, p->name, (unsigned long long)bit, err);
	}
	printf("%u flipped bits, seed %llu\n", FLIPS, (unsigned long long)first_random);
}

/* Lines, sectors and blocks that were never written, or hold other metadata, or noise. */
static void torn_structures_keep_the_promises(void **state)
{
	static const uint64_t sizes[] = {64, 512, 4096};
	char what[64];

	for (unsigned i = 0; i < seed.part_count; i++) {
		const struct seed_part *p = &seed.parts[i];

		for (unsigned k = 0; k < 9; k++) {
			uint64_t size = sizes[k % 3], steps = (p->len + size - 1) / size;
			uint64_t from = (p->off & ~(size - 1)) + (k * 7 % steps) * size;

			seed_reset(&seed);
			for (uint64_t b = 0; b < size; b++)
				seed.pool.base[from + b] = (uint8_t)(k < 3   ? 0
								     : k < 6 ? seed.pool.base[60 * 4096 + b]
									     : b * 167 + k * 31 + b / 3);
			snprintf(what, sizeof(what), "%s torn (%u)", p->name, k);
			look_promises(&seed.pool, what);
		}
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_seed_is_sound),
	    cmocka_unit_test(every_rule_is_told_and_repaired),
	    cmocka_unit_test(a_long_link_is_5_3a),
	    cmocka_unit_test(other_versions_are_no_damage),
	    cmocka_unit_test(one_flipped_bit_is_found_and_put_right),
	    cmocka_unit_test(torn_structures_keep_the_promises),
	};
	int failed;

	setenv("LEASEHOLD_LOG", "error", 1);
	if (argc > 1)
		first_random = strtoull(argv[1], NULL, 10);
	seed_new(&seed);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	seed_free(&seed);
	return failed;
}
