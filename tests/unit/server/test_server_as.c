/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: requests done as somebody else and from inodes on, for whom it is allowed, with every answer that the request
 * has alone; whatever else is carried ends its session and no other: P69 to P73.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h" /* before cmocka, whose fail() is a macro */

#include <cmocka.h>

#include "fixture.h"
#include "proto/internal.h"
#include "server/told.h"

#define NOBODY 65534u /* who TCP clients are */
#define FRIEND 1234u

struct world {
	struct rig rig;
	struct raw *r;
};

static int start(void **state, const char *address)
{
	struct world *w = calloc(1, sizeof(*w));

	rig_start(&w->rig, D_LONG, NULL, address);
	rig_file(&w->rig, "/f", 4 * BLOCK, 'a');
	w->r = raw_new(w->rig.address);
	raw_hello(w->r, 1, 1, 0, UINT64_MAX);
	*state = w;
	return 0;
}

/* Its session is whoever runs the test: the owner of the root directory. */
static int owner_setup(void **state)
{
	return start(state, NULL);
}

static int plain_setup(void **state)
{
	return start(state, "tcp:127.0.0.1:0");
}

static int teardown(void **state)
{
	struct world *w = *state;

	raw_close(w->r);
	rig_wait_stats(&w->rig, 0, 1);
	rig_stop(&w->rig);
	free(w);
	return 0;
}

static struct proto_as from(uint64_t at)
{
	return (struct proto_as){.flags = PROTO_AS_ATTR, .at = {at, at}};
}

static struct proto_as who(uint32_t uid, unsigned flags)
{
	return (struct proto_as){.flags = flags | PROTO_AS_IDENTITY, .uid = uid, .gid = uid};
}

/* The answer of the request is in *out, what was told in *attr; ino 0: nothing. */
static int as_flags(struct raw *r, const struct proto_as *as, unsigned type, unsigned flags,
		    const union proto_body *inner, union proto_body *out, struct proto_attr *attr)
{
	union proto_body b = {.as = *as};
	struct proto_header ih;
	uint32_t cursor = 0;
	int err;

	b.as.inner = (struct proto_inner){.type = type, .host = inner};
	err = raw_call(r, PROTO_AS, flags, &b);
	assert_int_equal(r->h.type, PROTO_AS);
	attr->ino = 0;
	if (err)
		return err;
	assert_int_equal(r->body.as_reply.inner.type, type);
	proto_attr_next(&r->body.as_reply.attr, &cursor, attr);
	proto_inner_decode(&r->h, &r->body.as_reply.inner, &ih, out);
	return 0;
}

static int as(struct raw *r, const struct proto_as *a, unsigned type, const union proto_body *inner,
	      union proto_body *out)
{
	struct proto_attr attr;

	return as_flags(r, a, type, 0, inner, out, &attr);
}

static int as_stat(struct raw *r, uint64_t at, const char *path, uint64_t *ino)
{
	union proto_body in = {.path_stat = {.path = proto_str_of(path)}}, out;
	struct proto_as a = from(at);
	int err = as(r, &a, PROTO_PATH_STAT, &in, &out);

	if (!err)
		*ino = out.attr.ino;
	return err;
}

static int as_mkdir(struct raw *r, const struct proto_as *a, const char *path, struct proto_attr *attr)
{
	union proto_body in = {.path_mode = {.mode = 0777, .path = proto_str_of(path)}}, out;

	return as_flags(r, a, PROTO_PATH_MKDIR, 0, &in, &out, attr);
}

static int plain_stat(struct raw *r, const char *path, uint64_t *ino)
{
	union proto_body in = {.path_stat = {.path = proto_str_of(path)}};
	int err = raw_call(r, PROTO_PATH_STAT, 0, &in);

	if (!err)
		*ino = r->body.attr.ino;
	return err;
}

static uint64_t ino_of(struct rig *rig, const char *path)
{
	struct fs_attr attr;

	assert_int_equal(fs_stat(rig->fs, &rig->root, path, false, &attr), 0);
	return attr.ino;
}

static void made(struct rig *rig, const char *path, uint32_t mode)
{
	assert_int_equal(fs_mkdir(rig->fs, &rig->root, path, mode), 0);
}

/* --- administrators --- */

/* P70, P71: identity, umask, groups, CHECKED, and what the inode is like. */
static void the_owner_acts_for_others(void **state)
{
	struct world *w = *state;
	struct proto_as a = who(FRIEND, PROTO_AS_ATTR);
	struct proto_group group = {77};
	struct proto_attr attr;

	assert_int_equal(raw_call(w->r, PROTO_ACT, 0, NULL), 0);
	made(&w->rig, "/open", 0777);
	made(&w->rig, "/team", 0770);
	assert_int_equal(
	    fs_setattr(w->rig.fs, &w->rig.root, "/team", true, &(struct fs_setattr){.mask = FS_SET_GID, .gid = 77}), 0);
	a.umask = 027;
	assert_int_equal(as_mkdir(w->r, &a, "/open/his", &attr), 0);
	assert_int_equal(attr.uid, FRIEND);
	assert_int_equal(attr.mode, S_IFDIR | 0750);
	assert_int_equal(attr.ino, ino_of(&w->rig, "/open/his"));
	assert_int_equal(as_mkdir(w->r, &a, "/team/his", &attr), -EACCES);
	a.groups = (struct proto_list){.host = &group, .count = 1};
	assert_int_equal(as_mkdir(w->r, &a, "/team/his", &attr), 0);
	a.groups.count = 0;
	a.flags |= PROTO_AS_CHECKED;
	assert_int_equal(as_mkdir(w->r, &a, "/team/checked", &attr), 0);
	assert_int_equal(attr.uid, FRIEND);
	/* Not asked for, not told; and errors are the request's. */
	a.flags &= ~PROTO_AS_ATTR;
	assert_int_equal(as_mkdir(w->r, &a, "/team/quiet", &attr), 0);
	assert_int_equal(attr.ino, 0);
	assert_int_equal(as_mkdir(w->r, &a, "/team/quiet", &attr), -EEXIST);
	assert_int_equal(as_mkdir(w->r, &a, "/nowhere/x", &attr), -ENOENT);
}

/* P72: whose session it is may name any inode; what is gone is gone. */
static void the_owner_starts_from_any_inode(void **state)
{
	struct world *w = *state;
	uint64_t f = ino_of(&w->rig, "/f"), ino = 0;

	assert_int_equal(as_stat(w->r, f, "", &ino), 0);
	assert_int_equal(ino, f);
	assert_int_equal(as_stat(w->r, f, "x", &ino), -ENOTDIR);
	assert_int_equal(as_stat(w->r, 1, "f", &ino), 0);
	assert_int_equal(as_stat(w->r, 1u << 30, "", &ino), -ESTALE);
	assert_int_equal(as_stat(w->r, UINT64_MAX, "", &ino), -ESTALE);
	assert_int_equal(as_stat(w->r, 0, "", &ino), -ENOENT);
}

/* P69: data at the end of a carried request arrives whole; so does the longest one. */
static void a_carried_write_is_a_write(void **state)
{
	struct world *w = *state;
	struct proto_as a = who(FRIEND, PROTO_AS_CHECKED);
	char *data = malloc(PROTO_DATA_MAX);
	union proto_body in = {0}, out;
	struct fs_handle *h;
	uint64_t handle;
	char back[16];

	memset(data, 'w', PROTO_DATA_MAX);
	assert_int_equal(raw_file_open(w->r, "/f", PROTO_O_READ | PROTO_O_WRITE, &handle), 0);
	in.file_write = (struct proto_file_write){.handle = handle, .off = 3, .data = {data, PROTO_DATA_MAX}};
	assert_int_equal(as(w->r, &a, PROTO_FILE_WRITE, &in, &out), 0);
	assert_int_equal(out.count.count, PROTO_DATA_MAX);
	h = rig_open(&w->rig, "/f", O_RDONLY);
	assert_int_equal(fs_read(h, &w->rig.root, back, 5, 0), 5);
	assert_memory_equal(back, "aaaww", 5);
	fs_close(h, NULL, 0);
	/* As anybody's write of a file that runs as its owner: the bit goes, unless the kernel was to see to that. */
	assert_int_equal(
	    fs_setattr(w->rig.fs, &w->rig.root, "/f", true, &(struct fs_setattr){.mask = FS_SET_MODE, .mode = 06755}),
	    0);
	in.file_write.data.len = 1;
	assert_int_equal(as(w->r, &a, PROTO_FILE_WRITE, &in, &out), 0);
	assert_int_equal(raw_call(w->r, PROTO_FILE_STAT, 0, &(union proto_body){.handle = {handle}}), 0);
	assert_int_equal(w->r->body.attr.mode, S_IFREG | 06755);
	a.flags &= ~PROTO_AS_CHECKED;
	assert_int_equal(as(w->r, &a, PROTO_FILE_WRITE, &in, &out), 0);
	assert_int_equal(raw_call(w->r, PROTO_FILE_STAT, 0, &(union proto_body){.handle = {handle}}), 0);
	assert_int_equal(w->r->body.attr.mode, S_IFREG | 0755);
	free(data);
}

/* P18, P65, L9: what holds for a request holds for one that is carried: NOWAIT, CANCEL. */
static void waiting_ends_as_it_does_alone(void **state)
{
	struct world *w = *state;
	struct raw *holder = raw_open(w->rig.address);
	struct proto_as a = who(0, 0);
	union proto_body in = {0}, out, b;
	struct proto_attr attr;
	uint64_t h, mine, seq;

	assert_int_equal(raw_file_open(holder, "/f", PROTO_O_READ, &h), 0);
	assert_int_equal(raw_lease(holder, h, PROTO_READ, 0, 4 * BLOCK, 0, NULL), 0);
	assert_int_equal(raw_file_open(w->r, "/f", PROTO_O_READ | PROTO_O_WRITE, &mine), 0);
	in.file_truncate = (struct proto_file_truncate){.handle = mine, .size = 0};
	assert_int_equal(as_flags(w->r, &a, PROTO_FILE_TRUNCATE, PROTO_NOWAIT, &in, &out, &attr), -EWOULDBLOCK);
	b.as = a;
	b.as.inner = (struct proto_inner){.type = PROTO_FILE_TRUNCATE, .host = &in};
	seq = raw_send(w->r, PROTO_AS, 0, &b);
	assert_int_equal(raw_recv(w->r, 100 * NS_PER_MS), -ETIMEDOUT);
	b = (union proto_body){.cancel = {.request = seq}};
	raw_send(w->r, PROTO_CANCEL, 0, &b);
	for (unsigned answers = 0; answers < 2;) {
		assert_int_equal(raw_recv(w->r, RAW_WAIT_NS), 1);
		if (w->r->h.seq == seq)
			assert_int_equal(w->r->h.status, EINTR);
		answers += (w->r->h.flags & PROTO_REPLY) != 0;
	}
	raw_close(holder);
	rig_wait_stats(&w->rig, 0, 2);
}

/* --- everybody else --- */

/* P71: another identity is not for them. */
static void others_act_for_nobody(void **state)
{
	struct world *w = *state;
	struct proto_as a = who(FRIEND, 0);
	struct proto_attr attr;

	assert_int_equal(w->r->uid, NOBODY);
	assert_int_equal(raw_call(w->r, PROTO_ACT, 0, NULL), -EPERM);
	assert_int_equal(as_mkdir(w->r, &a, "/his", &attr), -EPERM);
	a = who(NOBODY, PROTO_AS_CHECKED);
	assert_int_equal(as_mkdir(w->r, &a, "/his", &attr), -EPERM);
	a = who(0, 0);
	assert_int_equal(as_mkdir(w->r, &a, "/his", &attr), -EPERM);
	/* CHECKED alone counts for nothing. */
	a = (struct proto_as){.flags = PROTO_AS_CHECKED};
	assert_int_equal(as_mkdir(w->r, &a, "/his", &attr), -EACCES);
}

/* P72: a number does not lead around a directory that one may not search. */
static void others_start_from_what_they_were_told_of(void **state)
{
	struct world *w = *state;
	uint64_t secret, dir, ino = 0;

	made(&w->rig, "/closed", 0700);
	made(&w->rig, "/closed/dir", 0777);
	made(&w->rig, "/open", 0755);
	rig_file(&w->rig, "/closed/dir/secret", BLOCK, 's');
	rig_file(&w->rig, "/open/file", BLOCK, 'o');
	secret = ino_of(&w->rig, "/closed/dir/secret");
	dir = ino_of(&w->rig, "/closed/dir");
	assert_int_equal(as_stat(w->r, secret, "", &ino), -ESTALE);
	assert_int_equal(as_stat(w->r, dir, "", &ino), -ESTALE);
	assert_int_equal(as_stat(w->r, dir, "secret", &ino), -ESTALE);
	assert_int_equal(as_stat(w->r, ino_of(&w->rig, "/open/file"), "", &ino), -ESTALE);
	assert_int_equal(as_stat(w->r, UINT64_MAX, "", &ino), -ESTALE);
	/* From the root down, each is told of the next. */
	assert_int_equal(as_stat(w->r, 1, "open", &ino), 0);
	assert_int_equal(as_stat(w->r, ino, "file", &ino), 0);
	assert_int_equal(as_stat(w->r, ino, "", &ino), 0);
	assert_int_equal(ino, ino_of(&w->rig, "/open/file"));
	assert_int_equal(as_stat(w->r, 1, "closed", &ino), 0);
	assert_int_equal(as_stat(w->r, ino, "dir", &ino), -EACCES);
	/* By whole paths too; and it stays true, as an open directory does. */
	assert_int_equal(plain_stat(w->r, "/closed/dir", &ino), -EACCES);
	assert_int_equal(fs_setattr(w->rig.fs, &w->rig.root, "/closed", true,
				    &(struct fs_setattr){.mask = FS_SET_MODE, .mode = 0711}),
			 0);
	assert_int_equal(plain_stat(w->r, "/closed/dir", &ino), 0);
	assert_int_equal(fs_setattr(w->rig.fs, &w->rig.root, "/closed", true,
				    &(struct fs_setattr){.mask = FS_SET_MODE, .mode = 0700}),
			 0);
	assert_int_equal(as_stat(w->r, dir, "secret", &ino), 0);
	assert_int_equal(ino, secret);
}

/* P72: of two paths, either; and another session knows nothing of it. */
static void what_was_told_was_told_to_one(void **state)
{
	struct world *w = *state;
	union proto_body in = {.rename = {.from = {"a", 1}, .to = {"b", 1}}}, out;
	struct raw *other = raw_new(w->rig.address);
	struct proto_as a = from(1);
	struct proto_attr attr;
	uint64_t mine = 0, foreign, ino;

	raw_hello(other, 1, 1, 0, UINT64_MAX);
	made(&w->rig, "/mine", 0777);
	made(&w->rig, "/foreign", 0777);
	foreign = ino_of(&w->rig, "/foreign");
	assert_int_equal(plain_stat(w->r, "/mine", &mine), 0);
	a = from(mine);
	assert_int_equal(as_mkdir(w->r, &a, "a", &attr), 0);
	assert_int_equal(as_stat(w->r, attr.ino, "", &ino), 0);
	assert_int_equal(as_stat(other, attr.ino, "", &ino), -ESTALE);
	a.at[1] = foreign;
	assert_int_equal(as(w->r, &a, PROTO_PATH_RENAME, &in, &out), -ESTALE);
	a.at[0] = foreign;
	a.at[1] = mine;
	assert_int_equal(as(w->r, &a, PROTO_PATH_RENAME, &in, &out), -ESTALE);
	assert_int_equal(plain_stat(w->r, "/foreign", &ino), 0);
	a.at[0] = mine;
	a.at[1] = foreign;
	assert_int_equal(as(w->r, &a, PROTO_PATH_RENAME, &in, &out), 0);
	raw_close(other);
	rig_wait_stats(&w->rig, 0, 2);
}

static int list(struct raw *r, unsigned type, uint64_t handle)
{
	union proto_body in = {.dir_read = {.handle = handle, .max = PROTO_DIRENTS_MAX}};

	return raw_call(r, type, 0, &in);
}

static uint64_t dir_open(struct raw *r, const char *path)
{
	union proto_body in = {.path = {.path = proto_str_of(path)}};

	assert_int_equal(raw_call(r, PROTO_DIR_OPEN, 0, &in), 0);
	return r->body.opened.handle;
}

/* P73: attributes of entries are for who may search; names alone tell of no inode (P72). */
static void a_listing_tells_what_its_reader_may_know(void **state)
{
	struct world *w = *state;
	struct proto_listed_entry e;
	uint64_t h, ino, file;
	uint32_t cursor = 0;

	made(&w->rig, "/read", 0744);
	made(&w->rig, "/search", 0755);
	rig_file(&w->rig, "/read/file", BLOCK, 'r');
	rig_file(&w->rig, "/search/file", BLOCK, 's');
	file = ino_of(&w->rig, "/read/file");
	h = dir_open(w->r, "/read");
	assert_int_equal(list(w->r, PROTO_DIR_READ, h), 0);
	assert_int_equal(w->r->body.dirents.entries.count, 1);
	assert_int_equal(list(w->r, PROTO_DIR_LIST, h), -EACCES);
	assert_int_equal(as_stat(w->r, file, "", &ino), -ESTALE);
	h = dir_open(w->r, "/search");
	assert_int_equal(list(w->r, PROTO_DIR_LIST, h), 0);
	assert_int_equal(w->r->body.listed.end, 1);
	assert_true(proto_listed_entry_next(&w->r->body.listed.entries, &cursor, &e));
	assert_int_equal(e.attr.ino, e.ino);
	assert_int_equal(e.attr.size, BLOCK);
	assert_int_equal(e.type, DT_REG);
	assert_false(proto_listed_entry_next(&w->r->body.listed.entries, &cursor, &e));
	assert_int_equal(as_stat(w->r, e.ino, "", &ino), 0);
}

/* --- hostile and old peers --- */

/* The carried type as it would come from somebody who does not care: the encoder would refuse. */
static void send_carried(struct raw *r, uint32_t type, const void *bytes, uint32_t len)
{
	union proto_body in = {.path = {.path = {"/", 1}}};
	union proto_body b = {.as = {.inner = {.type = PROTO_PATH_RMDIR, .host = &in}}};
	struct proto_header h = {.type = PROTO_AS, .seq = r->seq + 1, .epoch = r->epoch};
	uint8_t m[512];
	ssize_t n = proto_encode(&h, &b, m, sizeof(m));
	uint32_t whole;

	assert_true(n > 0);
	n -= 3; /* the path */
	memcpy(m + n - 8, &type, 4);
	memcpy(m + n - 4, &len, 4);
	memcpy(m + n, bytes, len);
	whole = (uint32_t)n + len;
	memcpy(m, &whole, 4);
	r->seq++;
	raw_send_bytes(r, m, whole);
}

static void ends(struct rig *rig, uint32_t type, const void *bytes, uint32_t len, const char *rule)
{
	struct raw *r = raw_new(rig->address);

	raw_hello(r, 1, 1, 0, UINT64_MAX);
	send_carried(r, type, bytes, len);
	raw_expect_goodbye(r, PROTO_BYE_PROTOCOL, rule);
	raw_close(r);
}

/* P69, I8: greetings, events, releases, answers, another AS, types that are none; bodies that end early or late. */
static void what_cannot_be_carried_ends_its_session(void **state)
{
	struct world *w = *state;
	uint8_t zeroes[64] = {0};
	unsigned carried = 0;

	for (uint32_t type = 0; type < 140; type++) {
		if (proto_may_be_inner(type)) {
			carried++;
			continue;
		}
		ends(&w->rig, type, zeroes, sizeof(zeroes), "P69");
	}
	assert_true(carried > 30);
	ends(&w->rig, UINT32_MAX, zeroes, 0, "P69");
	ends(&w->rig, PROTO_PATH_RMDIR, zeroes, 1, "P10");
	ends(&w->rig, PROTO_PATH_RMDIR, zeroes, 3, "P11");
	ends(&w->rig, PROTO_PATH_RMDIR, "\x02\0a\0", 4, "P13");
	ends(&w->rig, PROTO_PATH_STAT, "\x02\0\0\0\0\0", 6, "P14");
	assert_int_equal(raw_ping(w->r), 0);
}

/* P22: what was not agreed on. */
static void who_did_not_ask_for_it_does_not_have_it(void **state)
{
	struct world *w = *state;
	struct raw *r = raw_new(w->rig.address);
	uint64_t ino;

	raw_hello(r, 1, 1, 0, PROTO_FEATURE_STREAM);
	assert_false(r->features & PROTO_FEATURE_AS);
	assert_int_equal(as_stat(r, 1, "f", &ino), -EOPNOTSUPP);
	assert_int_equal(raw_call(r, PROTO_ACT, 0, NULL), -EOPNOTSUPP);
	assert_int_equal(list(r, PROTO_DIR_LIST, dir_open(r, "/")), -EOPNOTSUPP);
	raw_close(r);
	rig_wait_stats(&w->rig, 0, 2);
}

/* P51, P55: carried out once and answered again, whole, over another connection. */
static void an_answer_that_was_missed_comes_again(void **state)
{
	struct world *w = *state;
	struct raw *r = raw_new(w->rig.address);
	union proto_body in = {.path_mode = {.mode = 0700, .path = proto_str_of("once")}};
	union proto_body b = {.as = who(FRIEND, PROTO_AS_CHECKED | PROTO_AS_ATTR)};
	struct proto_attr attr;
	uint32_t cursor = 0;
	uint64_t seq, had;

	r->resumable = r->silent_acks = true;
	raw_hello(r, 1, 1, 0, UINT64_MAX);
	assert_int_equal(raw_ping(r), 0);
	had = r->received;
	b.as.at[0] = 1;
	b.as.inner = (struct proto_inner){.type = PROTO_PATH_MKDIR, .host = &in};
	seq = raw_send(r, PROTO_AS, 0, &b);
	assert_int_equal(raw_answer(r, seq), 0);
	for (unsigned i = 0; i < 2; i++) {
		raw_cut(r);
		assert_int_equal(raw_resume(r, w->rig.address, had), 0);
		assert_int_equal(r->seq, seq);
		assert_int_equal(raw_recv(r, RAW_WAIT_NS), 1);
		assert_int_equal(r->h.seq, seq);
		assert_int_equal(r->h.status, 0);
		assert_true(proto_attr_next(&r->body.as_reply.attr, &cursor, &attr));
		assert_int_equal(attr.uid, FRIEND);
		assert_int_equal(attr.ino, ino_of(&w->rig, "/once"));
		cursor = 0;
	}
	r->seq = UINT64_MAX; /* GOODBYE has none */
	raw_send(r, PROTO_GOODBYE, 0, &(union proto_body){0});
	raw_close(r);
	rig_wait_stats(&w->rig, 0, 2);
}

/* P72: bounded, never says that it told what it did not; what it forgets is told again. */
static void what_was_told_is_bounded(void **state)
{
	struct told t = {0};
	unsigned kept = 0;

	assert_false(told_has(&t, 5));
	for (uint64_t i = 0; i < 1u << 20; i++)
		told_add(&t, i * 2);
	for (uint64_t i = 0; i < 1u << 20; i++) {
		assert_true(told_has(&t, i * 2));
		assert_false(told_has(&t, i * 2 + 1));
	}
	for (uint64_t i = 1; i <= 4 * TOLD_SETS_MAX * TOLD_WAYS; i++)
		told_add(&t, i << 32);
	assert_true(t.count <= TOLD_SETS_MAX);
	for (uint64_t i = 1; i <= 4 * TOLD_SETS_MAX * TOLD_WAYS; i++) {
		kept += told_has(&t, i << 32);
		assert_false(told_has(&t, (i << 32) + 1));
	}
	assert_true(kept > TOLD_SETS_MAX * TOLD_WAYS / 2);
	assert_true(kept <= TOLD_SETS_MAX * TOLD_WAYS);
	told_add(&t, 1ull << 32);
	assert_true(told_has(&t, 1ull << 32));
	told_add(&t, UINT64_MAX);
	assert_true(told_has(&t, UINT64_MAX));
	told_fini(&t);
}

#define OWNER(test) cmocka_unit_test_setup_teardown(test, owner_setup, teardown)
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, plain_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    OWNER(the_owner_acts_for_others),
	    OWNER(the_owner_starts_from_any_inode),
	    OWNER(a_carried_write_is_a_write),
	    OWNER(waiting_ends_as_it_does_alone),
	    PLAIN(others_act_for_nobody),
	    PLAIN(others_start_from_what_they_were_told_of),
	    PLAIN(what_was_told_was_told_to_one),
	    PLAIN(a_listing_tells_what_its_reader_may_know),
	    PLAIN(what_cannot_be_carried_ends_its_session),
	    PLAIN(who_did_not_ask_for_it_does_not_have_it),
	    OWNER(an_answer_that_was_missed_comes_again),
	    cmocka_unit_test(what_was_told_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
