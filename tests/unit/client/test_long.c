/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: what a server tells of a long request reaches the thread that made it, in order and before its end (P36, P37);
 * what makes no sense ends the session or the call, never the program (I8).
 */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1ull << 20)

static struct fake fake;

static void say_progress(struct fake *f, uint64_t request, uint64_t done)
{
	union proto_body b = {.progress = {.request = request, .done = done, .total = 100}};

	fake_event(f, PROTO_PROGRESS, 0, &b);
}

static void say_loss(struct fake *f, uint64_t request, uint64_t ino, unsigned count)
{
	struct proto_lost lost[PROTO_LOSSES_MAX];
	union proto_body b = {.loss = {.request = request, .losses = {.host = lost, .count = count}}};

	for (unsigned i = 0; i < count; i++)
		lost[i] = (struct proto_lost){.ino = ino + i, .range = {4096 * i, 4096}, .path = {"/lost", 5}};
	fake_event(f, PROTO_LOSS, 0, &b);
}

/* --- progress --- */

static void script_resize(struct fake *f)
{
	union proto_body none = {0};
	struct proto_header resize;

	fake_greet(f);
	if (!fake_expect(f, PROTO_FS_RESIZE))
		return;
	resize = f->h;
	if (f->body.resize.bytes != 32 * MIB)
		fake_wrong(f, "%llu bytes", (unsigned long long)f->body.resize.bytes);
	for (unsigned i = 1; i <= 100; i++) {
		say_progress(f, resize.seq, i);
		/* Somebody else calls meanwhile, and reads the connection for both. */
		if (i % 10 == 0 && fake_expect(f, PROTO_PING))
			fake_reply(f, &none);
	}
	fake_reply_to(f, resize, &none, 0);
	fake_drain(f);
}

struct told {
	struct lh_fs *fs;
	pthread_t thread, other;
	unsigned count;
	uint64_t last;
};

static void *pings(void *fs)
{
	for (unsigned i = 0; i < 10; i++) {
		if (lh_fs_ping(fs))
			return fs;
	}
	return NULL;
}

static void told(void *ctx, uint64_t done, uint64_t total)
{
	struct told *t = ctx;

	assert_true(pthread_equal(t->thread, pthread_self()));
	assert_int_equal(total, 100);
	assert_int_equal(done, t->last + 1);
	if (t->count == 0)
		assert_int_equal(pthread_create(&t->other, NULL, pings, t->fs), 0);
	t->last = done;
	t->count++;
}

static void progress_comes_in_the_callers_thread(void **state)
{
	struct told t = {.thread = pthread_self()};
	void *failed;

	fake_start(&fake, script_resize);
	t.fs = fake_open(&fake, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_resize(t.fs, 32 * MIB, told, &t), 0);
	assert_int_equal(t.count, 100);
	pthread_join(t.other, &failed);
	assert_null(failed);
	assert_int_equal(lh_fs_close(t.fs), 0);
	fake_end(&fake);
}

/* --- losses --- */

static void script_evacuate(struct fake *f)
{
	union proto_body b = {.count = {.count = 200}};

	fake_greet(f);
	if (!fake_expect(f, PROTO_FS_EVACUATE))
		return;
	say_loss(f, f->h.seq, 0, PROTO_LOSSES_MAX);
	say_loss(f, f->h.seq, 64, PROTO_LOSSES_MAX);
	say_loss(f, f->h.seq, 128, 0);
	say_loss(f, f->h.seq, 128, PROTO_LOSSES_MAX);
	say_loss(f, f->h.seq, 192, 8);
	fake_reply(f, &b);
	fake_expect(f, PROTO_FS_EVACUATE);
	say_loss(f, f->h.seq, 200, 1);
	fake_refuse(f, ENOSPC, "half way");
	fake_drain(f);
}

static void lost(void *ctx, const struct lh_loss *l)
{
	unsigned *n = ctx;

	assert_int_equal(l->size, sizeof(*l));
	assert_int_equal(l->ino, *n);
	assert_int_equal(l->len, 4096);
	assert_string_equal(l->path, "/lost");
	++*n;
}

static void losses_come_before_the_end(void **state)
{
	struct lh_fs *fs;
	unsigned n = 0;

	fake_start(&fake, script_evacuate);
	fs = fake_open(&fake, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_evacuate(fs, MIB, MIB, lost, &n), 200);
	assert_int_equal(n, 200);
	/* Also of one that failed. */
	assert_int_equal(lh_fs_evacuate(fs, MIB, MIB, lost, &n), -ENOSPC);
	assert_string_equal(lh_error_text(), "half way");
	assert_int_equal(n, 201);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&fake);
}

/* --- what makes no sense --- */

static void script_progress_of_nothing(struct fake *f)
{
	fake_greet(f);
	fake_expect(f, PROTO_FS_RESIZE);
	say_progress(f, f->h.seq + 1, 1);
	fake_drain(f);
}

static void script_loss_of_a_resize(struct fake *f)
{
	fake_greet(f);
	fake_expect(f, PROTO_FS_RESIZE);
	say_loss(f, f->h.seq, 1, 1);
	fake_drain(f);
}

static void script_ends(struct fake *f)
{
	fake_greet(f);
	fake_expect(f, PROTO_FS_RESIZE);
	say_progress(f, f->h.seq, 1);
}

/* More than anybody keeps, while nobody listens. */
static void script_floods(struct fake *f)
{
	static char path[PROTO_PATH_MAX];
	struct proto_lost lost[PROTO_LOSSES_MAX];
	union proto_body b = {.loss = {.losses = {.host = lost, .count = PROTO_LOSSES_MAX}}};

	memset(path, 'x', sizeof(path));
	for (unsigned i = 0; i < PROTO_LOSSES_MAX; i++)
		lost[i] = (struct proto_lost){.path = {path, sizeof(path)}};
	fake_greet(f);
	fake_expect(f, PROTO_FS_EVACUATE);
	b.loss.request = f->h.seq;
	for (unsigned i = 0; i < 400 && !f->failed; i++)
		fake_event(f, PROTO_LOSS, 0, &b);
	fake_next(f);
}

struct flood {
	struct lh_fs *fs;
	pthread_t other;
	atomic_bool started, over;
};

static void *until_dead(void *arg)
{
	struct flood *f = arg;

	while (lh_fs_ping(f->fs) == 0)
		;
	atomic_store(&f->over, true);
	return NULL;
}

/* Stays in its first notice until the session has ended, which another thread's calls show. */
static void slow(void *ctx, const struct lh_loss *l)
{
	struct flood *f = ctx;

	if (!atomic_exchange(&f->started, true))
		assert_int_equal(pthread_create(&f->other, NULL, until_dead, f), 0);
	while (!atomic_load(&f->over))
		usleep(1000);
}

static void nonsense_ends_the_session(void **state)
{
	static void (*const scripts[])(struct fake * f) = {script_progress_of_nothing, script_loss_of_a_resize};
	struct lh_fs *fs;

	for (unsigned i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		fake_start(&fake, scripts[i]);
		fs = fake_open(&fake, LH_FABRIC_NONE);
		assert_int_equal(lh_fs_resize(fs, 32 * MIB, NULL, NULL), -EPROTO);
		assert_non_null(strstr(lh_error_text(), "P36"));
		assert_int_equal(lh_fs_close(fs), 0);
		fake_end(&fake);
	}
	fake_start(&fake, script_ends);
	fs = fake_open(&fake, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_resize(fs, 32 * MIB, NULL, NULL), -ENOTCONN);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&fake);
}

static void a_flood_is_not_kept(void **state)
{
	struct flood f = {0};

	fake_start(&fake, script_floods);
	f.fs = fake_open(&fake, LH_FABRIC_NONE);
	assert_int_equal(lh_fs_evacuate(f.fs, MIB, MIB, slow, &f), -EPROTO);
	assert_non_null(strstr(lh_error_text(), "P37"));
	pthread_join(f.other, NULL);
	assert_int_equal(lh_fs_close(f.fs), 0);
	fake_end(&fake);
}

/* --- answers that cannot be --- */

static void script_wrong_answers(struct fake *f)
{
	static const char bytes[10] = "0123456789";
	struct proto_snapshot_info shot = {.ino = 5};
	struct proto_limit limit = {.kind = 1, .id = 7};
	union proto_body b;

	fake_greet(f);
	fake_opened(f, 100);
	fake_expect(f, PROTO_FILE_COPY_RANGE);
	b = (union proto_body){.count = {.count = 1001}};
	fake_reply(f, &b);
	fake_expect(f, PROTO_FILE_DEDUPE_RANGE);
	b = (union proto_body){.count = {.count = 2}};
	fake_reply(f, &b);
	fake_expect(f, PROTO_FILE_SEEK);
	b = (union proto_body){.count = {.count = UINT64_MAX}};
	fake_reply(f, &b);
	fake_expect(f, PROTO_PATH_GETXATTR);
	b = (union proto_body){.xattr = {.length = 10, .value = {bytes, 10}}};
	fake_reply(f, &b);
	fake_expect(f, PROTO_PATH_LISTXATTR);
	b = (union proto_body){.xattr = {.length = 3, .value = {bytes, 5}}};
	fake_reply(f, &b);
	/* More, and then the same again. */
	for (unsigned i = 0; i < 2; i++) {
		fake_expect(f, PROTO_FS_SNAPSHOTS);
		b = (union proto_body){.snapshots = {.more = 1, .snapshots = {.host = &shot, .count = 1}}};
		fake_reply(f, &b);
	}
	for (unsigned i = 0; i < 2; i++) {
		fake_expect(f, PROTO_FS_LIMITS);
		b = (union proto_body){.limits = {.more = 1, .limits = {.host = &limit, .count = 1}}};
		fake_reply(f, &b);
	}
	fake_expect(f, PROTO_FILE_CLOSE);
	b = (union proto_body){0};
	fake_reply(f, &b);
	fake_drain(f);
}

static void nothing_snapshot(void *ctx, const struct lh_snapshot_info *s)
{
}

static void nothing_limit(void *ctx, const struct lh_limit *l)
{
}

static void answers_that_cannot_be_are_errors(void **state)
{
	struct lh_file *file = NULL;
	struct lh_fs *fs;
	uint8_t room[8];

	fake_start(&fake, script_wrong_answers);
	fs = fake_open(&fake, LH_FABRIC_NONE);
	assert_int_equal(lh_file_open(fs, "/f", O_RDWR, 0, &file), 0);
	assert_int_equal(lh_file_copy_range(file, 0, file, 5000, 1000), -EPROTO);
	assert_int_equal(lh_file_dedupe_range(file, 0, file, 8192, 4096), -EPROTO);
	assert_int_equal(lh_file_seek(file, 0, SEEK_DATA), -EPROTO);
	assert_int_equal(lh_path_getxattr(fs, "/f", true, "user.a", room, sizeof(room)), -EPROTO);
	assert_int_equal(lh_path_listxattr(fs, "/f", true, (char *)room, sizeof(room)), -EPROTO);
	assert_int_equal(lh_fs_snapshots(fs, nothing_snapshot, NULL), -EPROTO);
	assert_int_equal(lh_fs_limits(fs, nothing_limit, NULL), -EPROTO);
	assert_int_equal(lh_file_close(file), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&fake);
}

/* --- stretches (P38) --- */

static void script_stretches(struct fake *f)
{
	static const uint64_t sizes[] = {PROTO_STRETCH_MAX, PROTO_STRETCH_MAX, 4096};
	union proto_body b;

	fake_greet(f);
	fake_opened(f, 100);
	for (unsigned k = 0; k < 2; k++) {
		for (unsigned i = 0; i < 3; i++) {
			fake_expect(f, k ? PROTO_FILE_COPY_RANGE : PROTO_FILE_DEDUPE_RANGE);
			if (f->body.clone_range.len != sizes[i] || f->body.clone_range.dst_off != i * PROTO_STRETCH_MAX)
				fake_wrong(f, "piece %u is %llu bytes", i, (unsigned long long)f->body.clone_range.len);
			b = (union proto_body){.count = {.count = k ? f->body.clone_range.len : 0}};
			fake_reply(f, &b);
		}
	}
	/* Short: the end of the source. Different: the end of the sharing. */
	fake_expect(f, PROTO_FILE_COPY_RANGE);
	b = (union proto_body){.count = {.count = 77}};
	fake_reply(f, &b);
	fake_expect(f, PROTO_FILE_DEDUPE_RANGE);
	b = (union proto_body){.count = {.count = 1}};
	fake_reply(f, &b);
	/* An error behind bytes that were copied is told by the next call. */
	fake_expect(f, PROTO_FILE_COPY_RANGE);
	b = (union proto_body){.count = {.count = PROTO_STRETCH_MAX}};
	fake_reply(f, &b);
	fake_expect(f, PROTO_FILE_COPY_RANGE);
	fake_refuse(f, ENOSPC, "full");
	fake_expect(f, PROTO_FILE_CLOSE);
	b = (union proto_body){0};
	fake_reply(f, &b);
	fake_drain(f);
}

static void long_ranges_go_in_stretches(void **state)
{
	uint64_t len = 2 * PROTO_STRETCH_MAX + 4096, far = 1ull << 40;
	struct lh_file *file = NULL;
	struct lh_fs *fs;

	fake_start(&fake, script_stretches);
	fs = fake_open(&fake, LH_FABRIC_NONE);
	assert_int_equal(lh_file_open(fs, "/f", O_RDWR, 0, &file), 0);
	assert_int_equal(lh_file_dedupe_range(file, 0, file, far, len), 0);
	assert_int_equal(lh_file_copy_range(file, 0, file, far, len), len);
	assert_int_equal(lh_file_copy_range(file, 0, file, far, len), 77);
	assert_int_equal(lh_file_dedupe_range(file, 0, file, far, len), 1);
	assert_int_equal(lh_file_copy_range(file, 0, file, far, len), PROTO_STRETCH_MAX);
	assert_int_equal(lh_file_close(file), 0);
	assert_int_equal(lh_fs_close(fs), 0);
	fake_end(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(progress_comes_in_the_callers_thread),
	    cmocka_unit_test(losses_come_before_the_end),
	    cmocka_unit_test(nonsense_ends_the_session),
	    cmocka_unit_test(a_flood_is_not_kept),
	    cmocka_unit_test(answers_that_cannot_be_are_errors),
	    cmocka_unit_test(long_ranges_go_in_stretches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
