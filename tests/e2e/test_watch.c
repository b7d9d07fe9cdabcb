/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: what others change is heard of on a server's address: all of it, in order, over lost connections too; what
 * cannot be kept is said to be lost; and who asks after a call knows what he has not heard yet (P51, P59, P74, P75).
 */
#include "proxy.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SEEN_MAX 256u
#define NAMES    2000u
#define MANY     30000u /* more than all rings on the way hold */

struct seen {
	struct lh_change list[SEEN_MAX];
	atomic_uint count, alls;
	atomic_uint next_name, wrong_names; /* of "n0", "n1"... in order */
	sem_t came;
	atomic_bool hold;
};

static void each(void *ctx, const struct lh_change *c)
{
	struct seen *s = ctx;
	unsigned n = atomic_load(&s->count);

	while (atomic_load(&s->hold))
		usleep(1000);
	if (n < SEEN_MAX)
		s->list[n] = *c;
	atomic_fetch_add(&s->alls, c->type == LH_CHANGE_ALL);
	if (c->type == LH_CHANGE_ENTRY && c->name[0] == 'n') {
		if ((unsigned)atoi(c->name + 1) == atomic_load(&s->next_name))
			atomic_fetch_add(&s->next_name, 1);
		else
			atomic_fetch_add(&s->wrong_names, 1);
	}
	atomic_store(&s->count, n + 1);
	sem_post(&s->came);
}

static void seen_init(struct seen *s)
{
	memset(s, 0, sizeof(*s));
	sem_init(&s->came, 0, 0);
}

/* The next event that was told. */
static const struct lh_change *next_of(struct seen *s, unsigned n)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	while (atomic_load(&s->count) <= n) {
		if (sem_timedwait(&s->came, &until) && errno == ETIMEDOUT)
			fail_msg("event %u did not come", n);
	}
	assert_int_equal(s->list[n].size, sizeof(struct lh_change));
	return &s->list[n];
}

static const struct lh_change *told_entry(struct seen *s, const char *name)
{
	for (unsigned n = 0;; n++) {
		const struct lh_change *c = next_of(s, n);

		if (c->type == LH_CHANGE_ENTRY && strcmp(c->name, name) == 0)
			return c;
	}
}

/* Nothing of what was done so far is left to be told. */
static void drained(struct lh_fs *fs, uint64_t ino)
{
	uint64_t until = rig_now() + 60 * SECONDS;

	assert_ok(lh_fs_ping(fs));
	while (lh_fs_watch_behind(fs, ino)) {
		assert_true(rig_now() < until);
		usleep(1000);
	}
}

static uint64_t ino_of(struct lh_fs *fs, const char *path)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	assert_ok(lh_path_stat(fs, path, false, &st));
	return st.ino;
}

/* P74: by kind, with whether somebody goes on writing; own ones are not told. */
static void others_changes_are_told(void **state)
{
	struct lh_fs *mine, *other;
	const struct lh_change *c;
	struct lh_lease *lease;
	struct lh_file *file;
	struct rig rig;
	struct seen s;
	uint64_t ino;

	seen_init(&s);
	rig_start(&rig, "mem:64M", 20 * SECONDS);
	mine = rig_open(&rig);
	other = rig_open(&rig);
	file = rig_file(other, "/f", MIB, 1);
	ino = ino_of(mine, "/f");
	assert_int_equal(lh_fs_watch_behind(mine, ino), 0);
	assert_ok(lh_fs_watch(mine, NULL, NULL));
	assert_ok(lh_fs_watch(mine, each, &s));
	assert_int_equal(lh_fs_watch(mine, each, &s), -EBUSY);
	assert_ok(lh_path_mkdir(mine, "/own", 0755));
	assert_ok(lh_path_chmod(mine, "/f", 0600));
	assert_int_equal(lh_file_write(file, "x", 1, 0), 1);
	c = next_of(&s, 0);
	assert_int_equal(c->type, LH_CHANGE_DATA);
	assert_int_equal(c->ino, ino);
	assert_false(c->writers);
	assert_ok(lh_path_rename(other, "/f", "/renamed", 0));
	assert_int_equal(told_entry(&s, "f")->ino, 1);
	assert_int_equal(told_entry(&s, "renamed")->ino, 1);
	drained(mine, ino);
	lease = rig_lease(file, 0, MIB, LH_LEASE_WRITE);
	drained(mine, ino);
	c = next_of(&s, atomic_load(&s.count) - 1);
	assert_int_equal(c->type, LH_CHANGE_DATA);
	assert_int_equal(c->ino, ino);
	assert_true(c->writers);
	/* Who begins later hears of it first. */
	assert_ok(lh_fs_watch(mine, NULL, NULL));
	seen_init(&s);
	assert_ok(lh_fs_watch(mine, each, &s));
	c = next_of(&s, 0);
	assert_int_equal(c->type, LH_CHANGE_DATA);
	assert_int_equal(c->ino, ino);
	assert_true(c->writers);
	assert_ok(lh_lease_release(lease));
	c = next_of(&s, 1);
	assert_int_equal(c->type, LH_CHANGE_DATA);
	assert_false(c->writers);
	assert_ok(lh_file_close(file));
	/* Closing ends it. */
	assert_ok(lh_fs_close(mine));
	assert_ok(lh_fs_close(other));
	rig_stop(&rig);
}

/* P75: what was done before a call is known, at the latest, when that call has returned. */
static void behind_is_known_after_any_call(void **state)
{
	struct lh_fs *mine, *other;
	struct lh_file *file;
	struct rig rig;
	struct seen s;
	uint64_t ino;

	seen_init(&s);
	rig_start(&rig, "mem:64M", 20 * SECONDS);
	mine = rig_open(&rig);
	other = rig_open(&rig);
	file = rig_file(other, "/f", BLOCK, 1);
	ino = ino_of(mine, "/f");
	assert_ok(lh_fs_watch(mine, each, &s));
	for (unsigned i = 0; i < 200; i++) {
		drained(mine, ino);
		atomic_store(&s.hold, true);
		switch (i % 3) {
		case 0:
			assert_int_equal(lh_file_write(file, "y", 1, i), 1);
			assert_ok(lh_fs_ping(mine));
			assert_true(lh_fs_watch_behind(mine, ino) & LH_BEHIND_DATA);
			assert_false(lh_fs_watch_behind(mine, ino + 1) & LH_BEHIND_DATA);
			break;
		case 1:
			assert_ok(lh_path_chmod(other, "/f", 0600 | (i & 077)));
			assert_ok(lh_fs_ping(mine));
			assert_int_equal(lh_fs_watch_behind(mine, ino), LH_BEHIND_ATTR);
			break;
		default:
			assert_ok(lh_path_symlink(other, "x", i % 2 ? "/a" : "/b"));
			assert_int_equal(ino_of(mine, "/f"), ino);
			assert_true(lh_fs_watch_behind(mine, ino) & LH_BEHIND_NAMES);
			assert_ok(lh_path_unlink(other, i % 2 ? "/a" : "/b"));
			break;
		}
		atomic_store(&s.hold, false);
	}
	assert_int_equal(atomic_load(&s.alls), 0);
	assert_ok(lh_file_close(file));
	assert_ok(lh_fs_close(mine));
	assert_ok(lh_fs_close(other));
	rig_stop(&rig);
}

/* P74: who does not listen holds nobody up, and hears at last that he missed something; then all is as before. */
static void what_is_too_much_is_all(void **state)
{
	struct lh_fs *mine, *other;
	struct rig rig;
	struct seen s;
	unsigned n;

	seen_init(&s);
	rig_start(&rig, "mem:64M", 20 * SECONDS);
	mine = rig_open(&rig);
	other = rig_open(&rig);
	assert_ok(lh_fs_watch(mine, each, &s));
	atomic_store(&s.hold, true);
	for (unsigned i = 0; i < MANY; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/m%u", i % 10000);
		if (i / 10000 % 2)
			assert_ok(lh_path_unlink(other, path));
		else
			assert_ok(lh_path_symlink(other, "x", path));
	}
	assert_ok(lh_fs_ping(mine));
	assert_int_equal(lh_fs_watch_behind(mine, 77), LH_BEHIND_DATA | LH_BEHIND_ATTR | LH_BEHIND_NAMES);
	atomic_store(&s.hold, false);
	drained(mine, 77);
	assert_true(atomic_load(&s.alls) > 0);
	n = atomic_load(&s.count);
	assert_true(n < MANY);
	for (unsigned i = 0; i < 10; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/n%u", i);
		assert_ok(lh_path_mkdir(other, path, 0755));
	}
	drained(mine, 77);
	assert_int_equal(atomic_load(&s.next_name), 10);
	assert_int_equal(atomic_load(&s.wrong_names), 0);
	assert_ok(lh_fs_close(mine));
	assert_ok(lh_fs_close(other));
	rig_stop(&rig);
}

/* P51: over a bad line every one is told once, in order. */
static void a_lost_connection_loses_no_change(void **state)
{
	struct lh_open_options o = {.size = sizeof(o), .fabric = LH_FABRIC_NONE};
	struct lh_fs *mine, *other;
	struct proxy proxy;
	struct rig rig;
	struct seen s;

	seen_init(&s);
	rig_start(&rig, "mem:64M", 20 * SECONDS);
	memset(&proxy, 0, sizeof(proxy));
	proxy_start(&proxy, rig.dir, rig_way == WAY_TCP ? rig.tcp_address : rig.unix_address, 7, 10000);
	atomic_store(&proxy.calm, true);
	other = rig_open(&rig);
	assert_ok(lh_fs_open(proxy.address, &o, &mine));
	assert_ok(lh_fs_watch(mine, each, &s));
	atomic_store(&proxy.calm, false);
	for (unsigned i = 0; i < NAMES; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/n%u", i);
		assert_ok(lh_path_mkdir(other, path, 0755));
		if (i % 8 == 0)
			assert_ok(lh_fs_ping(mine));
	}
	atomic_store(&proxy.calm, true);
	drained(mine, 1);
	printf("%u cuts\n", atomic_load(&proxy.cuts));
	assert_int_equal(atomic_load(&s.wrong_names), 0);
	assert_int_equal(atomic_load(&s.next_name), NAMES);
	assert_int_equal(atomic_load(&s.alls), 0);
	assert_ok(lh_fs_close(mine));
	assert_ok(lh_fs_close(other));
	proxy_stop(&proxy);
	rig_stop(&rig);
}

/* P59: another server, another watch: first of all ALL, and then what happens there. The server is in this process:
 * the last test. */
static void another_server_is_all(void **state)
{
	struct lh_server_options serve = {
	    .size = sizeof(serve), .tcp_as_given = true, .tcp_uid = geteuid(), .tcp_gid = getegid()};
	char dir[] = "/tmp/leasehold-e2e-XXXXXX";
	char address[128] = "tcp:127.0.0.1:0";
	struct lh_server *server;
	struct lh_fs *pool, *mine;
	struct seen s;

	seen_init(&s);
	assert_non_null(mkdtemp(dir));
	if (rig_way != WAY_TCP)
		snprintf(address, sizeof(address), "unix:%s/s", dir);
	assert_ok(lh_fs_open("mem:64M", NULL, &pool));
	assert_ok(lh_server_start(pool, address, &serve, &server));
	snprintf(address, sizeof(address), "%s", lh_server_address(server));
	assert_ok(lh_fs_open(address, NULL, &mine));
	assert_ok(lh_fs_act(mine));
	assert_ok(lh_fs_watch(mine, each, &s));
	assert_ok(lh_path_mkdir(pool, "/n0", 0755));
	drained(mine, 1);
	assert_int_equal(atomic_load(&s.next_name), 1);
	atomic_store(&s.hold, true);
	lh_server_stop(server);
	assert_ok(lh_path_mkdir(pool, "/unheard", 0755));
	assert_ok(lh_server_start(pool, address, &serve, &server));
	assert_ok(lh_fs_ping(mine));
	assert_int_equal(lh_fs_watch_behind(mine, 77), LH_BEHIND_DATA | LH_BEHIND_ATTR | LH_BEHIND_NAMES);
	atomic_store(&s.hold, false);
	drained(mine, 77);
	assert_true(atomic_load(&s.alls) > 0);
	assert_ok(lh_path_mkdir(pool, "/n1", 0755));
	drained(mine, 1);
	assert_int_equal(atomic_load(&s.next_name), 2);
	assert_int_equal(atomic_load(&s.wrong_names), 0);
	assert_ok(lh_fs_close(mine));
	lh_server_stop(server);
	assert_ok(lh_fs_close(pool));
	rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(others_changes_are_told), cmocka_unit_test(behind_is_known_after_any_call),
	    cmocka_unit_test(what_is_too_much_is_all), cmocka_unit_test(a_lost_connection_loses_no_change),
	    cmocka_unit_test(another_server_is_all),
	};

	rig_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
