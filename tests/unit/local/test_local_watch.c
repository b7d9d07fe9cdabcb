/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: lh_fs_watch in process: others' changes come in order, soon and from a thread of the library, which may call
 * the library; one's own do not; the end waits for the call that runs, and cannot be asked for from inside; behind says
 * what each() was not told yet.
 */
#include "local_test.h"

#include <semaphore.h>
#include <stdatomic.h>

#define SEEN_MAX 64u

struct seen {
	struct lh_fs *fs;
	struct lh_change list[SEEN_MAX];
	_Atomic unsigned count;
	sem_t came;
	sem_t *hold; /* each() waits for it */
	int end_error, begin_error;
	_Atomic bool over;
};

static void each(void *ctx, const struct lh_change *change)
{
	struct seen *s = ctx;
	unsigned n = s->count;

	if (n < SEEN_MAX)
		s->list[n] = *change;
	s->count = n + 1;
	sem_post(&s->came);
	if (s->hold)
		sem_wait(s->hold);
	s->over = true;
}

static void seen_init(struct seen *s, struct lh_fs *fs)
{
	memset(s, 0, sizeof(*s));
	s->fs = fs;
	sem_init(&s->came, 0, 0);
}

static const struct lh_change *next_of(struct seen *s, unsigned n)
{
	while (s->count <= n)
		sem_wait(&s->came);
	assert_int_equal(s->list[n].size, sizeof(struct lh_change));
	return &s->list[n];
}

/* All that happened so far was told: nothing is left. */
static void drained(struct lh_fs *fs)
{
	while (lh_fs_watch_behind(fs, 1))
		usleep(1000);
}

static void others_changes_come_and_own_do_not(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *file = file_make(fs, "/f");
	struct fs_lease_args args = {.range = {0, BLOCK}, .mode = LEASE_WRITE, .handle_number = 1};
	const struct lh_change *c;
	struct fs_lease lease;
	struct other o;
	struct lh_stat st = {.size_of = sizeof(st)};
	struct seen s;

	write_pattern(file, 0, 4 * BLOCK, 1);
	ok(lh_file_stat(file, &st));
	other_open(&o, fs, "/f");
	seen_init(&s, fs);
	assert_int_equal(lh_fs_watch_behind(fs, st.ino), 0);
	ok(lh_fs_watch(fs, NULL, NULL));
	ok(lh_fs_watch(fs, each, &s));
	refused(-EBUSY, lh_fs_watch(fs, each, &s));
	/* Own ones. */
	write_pattern(file, 0, BLOCK, 2);
	ok(lh_path_mkdir(fs, "/own", 0755));
	ok(lh_path_rename(fs, "/own", "/owned", 0));
	lh_lease_release(lease_get(file, 0, BLOCK, LH_LEASE_WRITE));
	/* Others'. */
	assert_int_equal(fs_write(o.handle, &o.who, "x", 1, 0), 1);
	c = next_of(&s, 0);
	assert_int_equal(c->type, LH_CHANGE_DATA);
	assert_int_equal(c->ino, st.ino);
	assert_int_equal(fs_mkdir(o.fs, &o.who, "/theirs", 0755), 0);
	c = next_of(&s, 1);
	assert_int_equal(c->type, LH_CHANGE_ENTRY);
	assert_int_equal(c->ino, 1);
	assert_string_equal(c->name, "theirs");
	ok(fs_lease_get(o.handle, &o.who, &args, &lease));
	c = next_of(&s, 2);
	assert_int_equal(c->type, LH_CHANGE_DATA);
	assert_true(c->writers);
	assert_int_equal(lease_release(o.session, lease.lease, RANGE_ALL), 0);
	c = next_of(&s, 3);
	assert_int_equal(c->type, LH_CHANGE_DATA);
	assert_false(c->writers);
	drained(fs);
	assert_int_equal(s.count, 4);
	ok(lh_fs_watch(fs, NULL, NULL));
	assert_int_equal(fs_write(o.handle, &o.who, "x", 1, 0), 1);
	assert_int_equal(lh_fs_watch_behind(fs, st.ino), 0);
	assert_int_equal(s.count, 4);
	/* And again. Closing ends it too. */
	ok(lh_fs_watch(fs, each, &s));
	assert_int_equal(fs_fsetattr(o.handle, &o.who, &(struct fs_setattr){.mask = FS_SET_MODE, .mode = 0600}), 0);
	assert_int_equal(next_of(&s, 4)->type, LH_CHANGE_ATTR);
	other_close(&o);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

static void each_inside(void *ctx, const struct lh_change *change)
{
	struct seen *s = ctx;
	struct lh_stat st = {.size_of = sizeof(st)};

	/* Any call of the library, but the end of the watch and another one. */
	ok(lh_path_stat(s->fs, "/f", true, &st));
	ok(lh_path_chmod(s->fs, "/f", 0600));
	s->end_error = lh_fs_watch(s->fs, NULL, NULL);
	s->begin_error = lh_fs_watch(s->fs, each, ctx);
	each(ctx, change);
}

static void it_calls_the_library_but_cannot_end_itself(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *file = file_make(fs, "/f");
	struct other o;
	struct seen s;

	other_open(&o, fs, "/f");
	seen_init(&s, fs);
	ok(lh_fs_watch(fs, each_inside, &s));
	assert_int_equal(fs_write(o.handle, &o.who, "x", 1, 0), 1);
	(void)next_of(&s, 0);
	ok(lh_fs_watch(fs, NULL, NULL));
	assert_int_equal(s.end_error, -EDEADLK);
	assert_int_equal(s.begin_error, -EBUSY);
	assert_int_equal(s.count, 1);
	other_close(&o);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

static void *end_it(void *ctx)
{
	struct seen *s = ctx;

	ok(lh_fs_watch(s->fs, NULL, NULL));
	assert_true(s->over);
	return NULL;
}

/* Also when two ask for it. */
static void the_end_waits_for_the_call_that_runs(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *file = file_make(fs, "/f");
	struct lh_stat st = {.size_of = sizeof(st)};
	pthread_t thread[2];
	struct other o;
	struct seen s;
	sem_t hold;

	ok(lh_file_stat(file, &st));
	other_open(&o, fs, "/f");
	seen_init(&s, fs);
	sem_init(&hold, 0, 0);
	s.hold = &hold;
	ok(lh_fs_watch(fs, each, &s));
	assert_int_equal(fs_write(o.handle, &o.who, "x", 1, 0), 1);
	(void)next_of(&s, 0);
	/* It is being told: whoever opens the file now cannot trust his copies yet. */
	assert_int_equal(lh_fs_watch_behind(fs, st.ino), LH_BEHIND_DATA | LH_BEHIND_ATTR);
	assert_int_equal(fs_fsetattr(o.handle, &o.who, &(struct fs_setattr){.mask = FS_SET_MODE, .mode = 0600}), 0);
	for (unsigned k = 0; k < 2; k++)
		assert_int_equal(pthread_create(&thread[k], NULL, end_it, &s), 0);
	usleep(20000);
	assert_false(s.over);
	sem_post(&hold);
	for (unsigned k = 0; k < 2; k++)
		pthread_join(thread[k], NULL);
	/* What came behind is not told any more. */
	assert_int_equal(s.count, 1);
	other_close(&o);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* More than is kept, while nobody listens: all may have changed. */
static void what_was_lost_is_all(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *file = file_make(fs, "/f");
	struct other o;
	struct seen s;
	sem_t hold;

	other_open(&o, fs, "/f");
	seen_init(&s, fs);
	sem_init(&hold, 0, 0);
	s.hold = &hold;
	ok(lh_fs_watch(fs, each, &s));
	assert_int_equal(fs_write(o.handle, &o.who, "x", 1, 0), 1);
	(void)next_of(&s, 0);
	for (unsigned k = 0; k < 5000; k++) {
		char name[16];

		snprintf(name, sizeof(name), "/n%u", k);
		assert_int_equal(fs_link_handle(o.handle, &o.who, name), 0);
	}
	assert_int_equal(lh_fs_watch_behind(fs, 1), LH_BEHIND_DATA | LH_BEHIND_ATTR | LH_BEHIND_NAMES);
	sem_post(&hold);
	assert_int_equal(next_of(&s, 1)->type, LH_CHANGE_ALL);
	sem_post(&hold);
	drained(fs);
	assert_int_equal(s.count, 2);
	ok(lh_fs_watch(fs, NULL, NULL));
	other_close(&o);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(others_changes_come_and_own_do_not),
	    cmocka_unit_test(it_calls_the_library_but_cannot_end_itself),
	    cmocka_unit_test(the_end_waits_for_the_call_that_runs),
	    cmocka_unit_test(what_was_lost_is_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
