/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L37, a directory holds the names that it was given, finds each, and lists them once, in order of cookies, after
 * any changes (dir.h); and no change takes longer because it is large (issue 3, "no operation blocks the world").
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/dir.h"
#include "rnd.h"

/* Last: it has a macro called fail. */
#include <cmocka.h>

#define NAMES 6000u

static struct fs fs;
static struct inode file = {.type = DT_REG};

static struct entry *add(struct dir *d, unsigned number)
{
	char name[32];
	struct entry *e;

	snprintf(name, sizeof(name), "name-%u", number);
	e = entry_new(d, &file, name, (unsigned)strlen(name));
	assert_non_null(e);
	assert_int_equal(dir_reserve(d, e), 0);
	dir_add(d, e);
	return e;
}

static struct entry *look(const struct dir *d, unsigned number)
{
	char name[32];

	snprintf(name, sizeof(name), "name-%u", number);
	return dir_find(d, name, (unsigned)strlen(name));
}

/* The model: the entry of each name, NULL when it is not there. */
static void check(const struct dir *d, struct entry *const *model)
{
	uint64_t last = 0;
	uint32_t live = 0, listed = 0;
	struct dir_walk w;
	struct entry *e;

	for (unsigned k = 0; k < NAMES; k++) {
		assert_ptr_equal(look(d, k), model[k]);
		live += model[k] != NULL;
	}
	assert_int_equal(d->live, live);
	dir_walk_begin(&w, &d->list, 0);
	for (e = dir_walk_next(&w); e; e = dir_walk_next(&w)) {
		assert_true(e->cookie > last);
		last = e->cookie;
		listed++;
	}
	assert_int_equal(listed, live);
}

static void remove_one(struct dir *d, struct entry **model, unsigned k)
{
	dir_remove(d, model[k]);
	free(model[k]);
	model[k] = NULL;
}

static void random_changes_match_a_naive_model(void **state)
{
	static struct entry *model[NAMES];
	struct rnd r = rnd_start();
	struct dir *d;

	assert_int_equal(dir_new(&fs, &d), 0);
	/* Fuller and emptier in turns, down to nothing. */
	for (unsigned turn = 0; turn < 8; turn++) {
		for (unsigned k = 0; k < 12000; k++) {
			unsigned name = (unsigned)rnd_below(&r, NAMES);
			bool more = rnd_below(&r, 10) < (turn % 2 ? 1u : 9u);

			if (!model[name] && more)
				model[name] = add(d, name);
			else if (model[name] && !more)
				remove_one(d, model, name);
		}
		check(d, model);
	}
	for (unsigned k = 0; k < NAMES; k++) {
		if (model[k])
			remove_one(d, model, k);
	}
	check(d, model);
	assert_null(d->names.at);
	assert_null(d->list.refs);
	dir_free(d);
}

static void a_listing_goes_on_behind_any_cookie(void **state)
{
	struct rnd r = rnd_start();
	struct dir *d;
	uint64_t last;

	assert_int_equal(dir_new(&fs, &d), 0);
	for (unsigned k = 0; k < 3000; k++)
		add(d, k);
	for (unsigned k = 0; k < 3000; k++) {
		struct entry *e = look(d, k);

		if (rnd_below(&r, 4) == 0)
			continue;
		dir_remove(d, e);
		free(e);
	}
	last = d->next_cookie;
	for (uint64_t after = 0; after < last + 2; after++) {
		uint64_t want = after + 1;
		struct dir_walk w;
		struct entry *e;

		while (want < last && !dir_list_find(&d->list, want))
			want++;
		dir_walk_begin(&w, &d->list, after);
		e = dir_walk_next(&w);
		assert_int_equal(e ? e->cookie : last, want < last ? want : last);
	}
	dir_clear(d);
	assert_int_equal(d->live, 0);
	assert_null(look(d, 1));
	dir_free(d);
}

/* Records of replay come in any order, say things twice and take things back. */
static void replay_in_any_order_gives_the_last_state(void **state)
{
	struct rnd r = rnd_start();
	static uint64_t model[2000];
	struct dir *d;
	uint32_t live = 0;

	memset(model, 0, sizeof(model));
	assert_int_equal(dir_new(&fs, &d), 0);
	for (unsigned k = 0; k < 20000; k++) {
		uint64_t cookie = 1 + rnd_below(&r, ARRAY_LEN(model) - 1);
		char name[32];

		if (rnd_below(&r, 3) == 0) {
			dir_replay_clear(d, cookie);
			model[cookie] = 0;
			continue;
		}
		snprintf(name, sizeof(name), "n%llu", (unsigned long long)cookie);
		model[cookie] = 1 + rnd_below(&r, 1000);
		assert_int_equal(dir_replay_set(d, cookie, model[cookie], DT_REG, name, (unsigned)strlen(name)), 0);
	}
	assert_int_equal(dir_finish(d), 0);
	for (uint64_t cookie = 1; cookie < ARRAY_LEN(model); cookie++) {
		struct entry **e = dir_list_find(&d->list, cookie);
		char name[32];

		snprintf(name, sizeof(name), "n%llu", (unsigned long long)cookie);
		assert_int_equal(e ? (*e)->ino : 0, model[cookie]);
		assert_ptr_equal(dir_find(d, name, (unsigned)strlen(name)), e ? *e : NULL);
		live += e != NULL;
	}
	assert_int_equal(d->live, live);
	dir_free(d);
}

/* format 6.5 */
static void a_name_that_is_there_twice_is_found(void **state)
{
	struct dir *d;

	assert_int_equal(dir_new(&fs, &d), 0);
	for (uint64_t c = 1; c < 500; c++) {
		char name[16];

		snprintf(name, sizeof(name), "n%llu", (unsigned long long)(c == 499 ? 17 : c));
		assert_int_equal(dir_replay_set(d, c, 5, DT_REG, name, (unsigned)strlen(name)), 0);
	}
	assert_int_equal(dir_finish(d), -EUCLEAN);
	dir_free(d);
}

/* All in one bucket: refused, and what is there is still found. */
static void names_of_one_hash_are_refused_in_time(void **state)
{
	struct dir_names n = {0};
	struct entry *all[400];
	unsigned count = 0;
	int err = 0;

	for (; !err && count < ARRAY_LEN(all); count++) {
		struct entry *e = calloc(1, sizeof(*e) + 8);

		e->hash = 0x12345678;
		e->len = (uint8_t)snprintf(e->name, 8, "%u", count);
		all[count] = e;
		err = dir_names_reserve(&n, e);
		if (!err)
			dir_names_put(&n, e);
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(count > 200);
	for (unsigned k = 0; k + 1 < count; k++)
		assert_ptr_equal(dir_names_find(&n, 0x12345678, all[k]->name, all[k]->len), all[k]);
	assert_null(dir_names_find(&n, 0x12345678, "x", 1));
	for (unsigned k = 0; k < count; k++) {
		if (k + 1 < count)
			dir_names_remove(&n, all[k]);
		free(all[k]);
	}
	dir_names_free(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_changes_match_a_naive_model),
	    cmocka_unit_test(a_listing_goes_on_behind_any_cookie),
	    cmocka_unit_test(replay_in_any_order_gives_the_last_state),
	    cmocka_unit_test(a_name_that_is_there_twice_is_found),
	    cmocka_unit_test(names_of_one_hash_are_refused_in_time),
	};

	fs.name_seed = 0x1234567890abcdef;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
