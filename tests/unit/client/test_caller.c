/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: what a thread's caller says goes with its requests, as far as it may and no further; an older server is never
 * asked what it does not know, and a wrong answer ends the session (P22, P69 to P73, I8).
 */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FEATURES (PROTO_FEATURE_STREAM | PROTO_FEATURE_AS | PROTO_FEATURE_WATCH)

static struct lh_caller caller_at(uint64_t at, struct lh_stat *st)
{
	return (struct lh_caller){.size = sizeof(struct lh_caller),
				  .flags = LH_CALLER_CHECKED,
				  .uid = 5,
				  .gid = 6,
				  .umask = 01022,
				  .at = {at, at + 1},
				  .stat = st};
}

/* --- an older server --- */

static void script_old(struct fake *f)
{
	fake_greet(f);
	/* What can be said as ever is. */
	if (!fake_expect(f, PROTO_PATH_RMDIR))
		return;
	fake_reply(f, NULL);
	fake_drain(f);
}

static void told(void *ctx, const struct lh_change *change)
{
}

static void an_older_server_is_not_asked(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_caller who = caller_at(9, &st);
	struct lh_fs *fs;
	struct fake f;

	fake_start(&f, script_old);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_act(fs), -EOPNOTSUPP);
	assert_true(strlen(lh_error_text()) > 10);
	assert_int_equal(lh_fs_watch(fs, told, NULL), -EOPNOTSUPP);
	assert_int_equal(lh_fs_watch_behind(fs, 1), 0);
	assert_int_equal(lh_thread_caller(&who), 0);
	assert_int_equal(lh_path_stat(fs, "", false, &st), -EOPNOTSUPP);
	assert_int_equal(lh_path_mkdir(fs, "x", 0755), -EOPNOTSUPP);
	assert_true(strlen(lh_error_text()) > 10);
	who = (struct lh_caller){.size = sizeof(who), .uid = 5};
	assert_int_equal(lh_path_rmdir(fs, "/x"), 0);
	assert_int_equal(lh_thread_caller(NULL), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

/* --- what is sent, and what comes back --- */

static const struct proto_attr some_attr = {.ino = 77, .mode = S_IFDIR | 0750, .nlink = 2, .uid = 5, .gid = 6};

/* The next message is an AS that carries this type. */
static bool carried(struct fake *f, unsigned type)
{
	if (!fake_expect(f, PROTO_AS))
		return false;
	if (f->body.as.inner.type != type)
		fake_wrong(f, "%s is carried instead of %s", proto_type_name(f->body.as.inner.type),
			   proto_type_name(type));
	return f->body.as.inner.type == type;
}

static void answer(struct fake *f, unsigned type, const union proto_body *inner, bool attr)
{
	static const union proto_body nothing;
	union proto_body b = {.as_reply = {.inner = {.type = type, .host = inner ? inner : &nothing}}};

	if (attr)
		b.as_reply.attr = (struct proto_list){.host = &some_attr, .count = 1};
	fake_reply(f, &b);
}

static void need(struct fake *f, bool what, const char *text)
{
	if (!what)
		fake_wrong(f, "%s", text);
}

static void script_plain(struct fake *f)
{
	const struct proto_as *as = &f->body.as;

	f->features = FEATURES;
	fake_greet(f);
	if (!fake_expect(f, PROTO_ACT))
		return;
	fake_refuse(f, EPERM, "no");
	if (!carried(f, PROTO_PATH_MKDIR))
		return;
	need(f, as->flags == PROTO_AS_ATTR, "an identity that is not allowed");
	need(f, as->at[0] == 9 && as->at[1] == 0, "a place that the call does not have");
	need(f, as->umask == 022, "umask");
	need(f, as->groups.count == 0, "groups that are not asked for");
	answer(f, PROTO_PATH_MKDIR, NULL, true);
	if (!carried(f, PROTO_PATH_RENAME))
		return;
	need(f, as->at[0] == 9 && as->at[1] == 10, "two places");
	answer(f, PROTO_PATH_RENAME, NULL, false);
	/* Neither names nor people: as ever. */
	fake_opened(f, 0);
	if (!fake_expect(f, PROTO_FILE_WRITE))
		return;
	fake_reply(f, &(union proto_body){.count = {1}});
	if (!fake_expect(f, PROTO_FILE_CLOSE))
		return;
	fake_reply(f, NULL);
	fake_drain(f);
}

static void who_may_not_act_names_only_places(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_caller who = caller_at(9, &st);
	struct lh_file *file;
	struct lh_fs *fs;
	struct fake f;

	fake_start(&f, script_plain);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_act(fs), -EPERM);
	assert_int_equal(lh_thread_caller(&who), 0);
	assert_int_equal(lh_path_mkdir(fs, "x", 0755), 0);
	assert_int_equal(st.ino, 77);
	assert_int_equal(st.mode, S_IFDIR | 0750);
	assert_int_equal(lh_path_rename(fs, "x", "y", 0), 0);
	assert_int_equal(lh_thread_caller(NULL), 0);
	assert_int_equal(lh_file_open(fs, "/f", O_RDWR, 0, &file), 0);
	who.at[0] = who.at[1] = 0;
	assert_int_equal(lh_thread_caller(&who), 0);
	assert_int_equal(lh_file_write(file, "x", 1, 0), 1);
	assert_int_equal(lh_thread_caller(NULL), 0);
	assert_int_equal(lh_file_close(file), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

static void script_acts(struct fake *f)
{
	const struct proto_as *as = &f->body.as;
	struct proto_group g;
	uint32_t cursor = 0;
	struct proto_header ih;
	union proto_body inner;

	f->features = FEATURES;
	fake_greet(f);
	if (!fake_expect(f, PROTO_ACT))
		return;
	fake_reply(f, NULL);
	if (!carried(f, PROTO_FILE_OPEN))
		return;
	need(f, as->flags == (PROTO_AS_IDENTITY | PROTO_AS_CHECKED), "identity");
	need(f, as->uid == 5 && as->gid == 6 && as->groups.count == 2, "who");
	need(f, proto_group_next(&as->groups, &cursor, &g) && g.gid == 70, "first group");
	need(f, proto_group_next(&as->groups, &cursor, &g) && g.gid == 71, "second group");
	answer(f, PROTO_FILE_OPEN, &(union proto_body){.opened = {.handle = 5, .attr = some_attr}}, false);
	if (!carried(f, PROTO_FILE_WRITE))
		return;
	need(f, as->at[0] == 0 && as->umask == 0, "a write starts nowhere");
	proto_inner_decode(&f->h, &as->inner, &ih, &inner);
	need(f, inner.file_write.handle == 5 && inner.file_write.data.len == 3, "the write");
	need(f, memcmp(inner.file_write.data.bytes, "abc", 3) == 0, "its data");
	answer(f, PROTO_FILE_WRITE, &(union proto_body){.count = {3}}, false);
	/* Reading is nobody's in particular. */
	if (!fake_expect(f, PROTO_FILE_STAT))
		return;
	fake_reply(f, &(union proto_body){.attr = some_attr});
	if (!carried(f, PROTO_PATH_GETXATTR))
		return;
	fake_refuse(f, ENODATA, "none of that name");
	if (!fake_expect(f, PROTO_FILE_CLOSE))
		return;
	fake_reply(f, NULL);
	fake_drain(f);
}

static void who_may_act_says_for_whom(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_caller who = caller_at(9, &st);
	uint32_t groups[] = {70, 71};
	struct lh_file *file;
	struct lh_fs *fs;
	struct fake f;
	char value[8];

	who.groups = groups;
	who.group_count = 2;
	fake_start(&f, script_acts);
	fs = fake_open(&f, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_act(fs), 0);
	assert_int_equal(lh_thread_caller(&who), 0);
	assert_int_equal(lh_file_open(fs, "x", O_RDWR, 0, &file), 0);
	assert_int_equal(st.ino, 77);
	assert_int_equal(lh_file_write(file, "abc", 3, 0), 3);
	assert_int_equal(lh_file_stat(file, &st), 0);
	assert_int_equal(lh_path_getxattr(fs, "x", false, "user.a", value, sizeof(value)), -ENODATA);
	assert_string_equal(lh_error_text(), "none of that name");
	assert_int_equal(lh_file_close(file), 0);
	assert_int_equal(lh_thread_caller(NULL), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&f);
}

/* --- wrong answers --- */

static void script_other_type(struct fake *f)
{
	f->features = FEATURES;
	fake_greet(f);
	if (carried(f, PROTO_PATH_MKDIR))
		answer(f, PROTO_PATH_RMDIR, NULL, true);
	fake_drain(f);
}

static void script_uncarried(struct fake *f)
{
	struct proto_header h;

	f->features = FEATURES;
	fake_greet(f);
	if (carried(f, PROTO_PATH_MKDIR)) {
		h = (struct proto_header){
		    .type = PROTO_PATH_MKDIR, .flags = PROTO_REPLY, .seq = f->h.seq, .epoch = f->h.epoch};
		fake_send(f, &h, NULL);
	}
	fake_drain(f);
}

static void a_wrong_answer_ends_the_session(void **state)
{
	static void (*const scripts[])(struct fake * f) = {script_other_type, script_uncarried};

	for (unsigned i = 0; i < 2; i++) {
		struct lh_stat st = {.size_of = sizeof(st)};
		struct lh_caller who = caller_at(9, &st);
		struct lh_fs *fs;
		struct fake f;

		fake_start(&f, scripts[i]);
		fs = fake_open(&f, LH_FABRIC_NONE);
		assert_int_equal(lh_thread_caller(&who), 0);
		assert_int_equal(lh_path_mkdir(fs, "x", 0755), -EPROTO);
		assert_int_equal(st.ino, 0);
		assert_int_equal(lh_thread_caller(NULL), 0);
		assert_int_equal(lh_fs_ping(fs), -EPROTO);
		assert_int_equal(lh_fs_close(fs), 0);
		fake_end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_older_server_is_not_asked),
	    cmocka_unit_test(who_may_not_act_names_only_places),
	    cmocka_unit_test(who_may_act_says_for_whom),
	    cmocka_unit_test(a_wrong_answer_ends_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
