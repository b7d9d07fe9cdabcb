/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L16, L34: a connection that is lost and comes back within the lease time is nothing that an application sees:
 * no error, no lease lost, every operation done exactly once.
 */
#include "proxy.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CUTS     1000u
#define FILE_LEN MIB
#define STEP     (64 * KIB)

struct world {
	struct rig rig;
	struct proxy proxy;
	struct lh_fs *fs;   /* over the bad line */
	struct lh_fs *calm; /* straight to the server */
	atomic_bool stop;
	atomic_uint errors;
	char why[512];
	uint64_t done[8];
};

static void wrong(struct world *w, const char *what, int64_t n)
{
	if (atomic_fetch_add(&w->errors, 1) == 0)
		snprintf(w->why, sizeof(w->why), "%s: %lld: %s", what, (long long)n, lh_error_text());
	atomic_store(&w->stop, true);
}

#define NEED(w, what, expect, call)                                                                                    \
	do {                                                                                                           \
		int64_t need_ = (call);                                                                                \
		if (need_ != (int64_t)(expect)) {                                                                      \
			wrong(w, what, need_);                                                                         \
			return NULL;                                                                                   \
		}                                                                                                      \
	} while (0)

static struct lh_fs *open_at(const char *address)
{
	struct lh_open_options o = {.size = sizeof(o),
				    .fabric = rig_way == WAY_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM,
				    .ring_bytes = 4 * MIB};
	struct lh_fs *fs = NULL;

	assert_ok(lh_fs_open(address, &o, &fs));
	return fs;
}

/* Reads through a lease whose blocks somebody moves. */
static void *reader(void *arg)
{
	struct world *w = arg;
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ};
	struct lh_lease *lease = NULL;
	struct lh_file *file = NULL;
	uint8_t *buf = malloc(STEP);

	NEED(w, "open", 0, lh_file_open(w->fs, "/read", O_RDONLY, 0, &file));
	NEED(w, "lease", 0, lh_lease_get(file, 0, FILE_LEN, &o, &lease));
	for (uint64_t i = 0; !atomic_load(&w->stop); i++) {
		uint64_t off = i * STEP % FILE_LEN;

		NEED(w, "read", STEP, lh_lease_read(lease, buf, STEP, off));
		for (unsigned k = 0; k < STEP; k += 509) {
			if (buf[k] != rig_byte(1, off + k))
				wrong(w, "foreign byte", buf[k]);
		}
		w->done[0]++;
	}
	NEED(w, "release", 0, lh_lease_release(lease));
	NEED(w, "close", 0, lh_file_close(file));
	free(buf);
	return NULL;
}

/* Writes through a lease, commits, and reads back by a call of the other session. */
static void *writer(void *arg)
{
	struct world *w = arg;
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_WRITE};
	struct lh_lease *lease = NULL;
	struct lh_file *file = NULL, *other = NULL;
	uint8_t *buf = malloc(STEP), *back = malloc(STEP);

	NEED(w, "open", 0, lh_file_open(w->fs, "/write", O_RDWR, 0, &file));
	NEED(w, "open", 0, lh_file_open(w->calm, "/write", O_RDONLY, 0, &other));
	NEED(w, "lease", 0, lh_lease_get(file, 0, FILE_LEN, &o, &lease));
	for (uint64_t i = 0; !atomic_load(&w->stop); i++) {
		uint64_t off = i * STEP % FILE_LEN;

		rig_fill(buf, STEP, (unsigned)i, off);
		NEED(w, "write", STEP, lh_lease_write(lease, buf, STEP, off));
		NEED(w, "commit", 0, lh_lease_commit(lease, off, STEP));
		NEED(w, "read back", STEP, lh_file_read(other, back, STEP, off));
		if (memcmp(buf, back, STEP))
			wrong(w, "written and not there", (int64_t)off);
		w->done[1]++;
	}
	NEED(w, "release", 0, lh_lease_release(lease));
	NEED(w, "close", 0, lh_file_close(file));
	NEED(w, "close", 0, lh_file_close(other));
	free(buf);
	free(back);
	return NULL;
}

/* What shows when it is done twice, or not at all. */
static void *names(void *arg)
{
	struct world *w = arg;
	struct lh_file *file = NULL;
	char path[64], to[64];

	for (uint64_t i = 0; !atomic_load(&w->stop); i++) {
		snprintf(path, sizeof(path), "/d%llu", (unsigned long long)i);
		snprintf(to, sizeof(to), "/e%llu", (unsigned long long)i);
		NEED(w, "mkdir", 0, lh_path_mkdir(w->fs, path, 0755));
		NEED(w, "rename", 0, lh_path_rename(w->fs, path, to, 0));
		NEED(w, "rmdir", 0, lh_path_rmdir(w->fs, to));
		NEED(w, "create", 0, lh_file_open(w->fs, path, O_RDWR | O_CREAT | O_EXCL, 0644, &file));
		NEED(w, "close", 0, lh_file_close(file));
		NEED(w, "unlink", 0, lh_path_unlink(w->fs, path));
		w->done[2]++;
	}
	return NULL;
}

/* The same as somebody else and from an inode on (P69): carried once, answered once. */
static void *others(void *arg)
{
	struct world *w = arg;
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_caller who = {
	    .size = sizeof(who), .flags = LH_CALLER_CHECKED, .uid = 1234, .gid = 1235, .at = {1, 1}, .stat = &st};
	struct lh_file *file = NULL;
	char path[64], to[64];

	NEED(w, "act", 0, lh_fs_act(w->fs));
	NEED(w, "caller", 0, lh_thread_caller(&who));
	for (uint64_t i = 0; !atomic_load(&w->stop); i++) {
		snprintf(path, sizeof(path), "o%llu", (unsigned long long)i);
		snprintf(to, sizeof(to), "p%llu", (unsigned long long)i);
		NEED(w, "mkdir", 0, lh_path_mkdir(w->fs, path, 0755));
		NEED(w, "owner", 1234, st.uid);
		NEED(w, "rename", 0, lh_path_rename(w->fs, path, to, 0));
		who.at[0] = st.ino;
		NEED(w, "create", 0, lh_file_open(w->fs, "f", O_RDWR | O_CREAT | O_EXCL, 0644, &file));
		NEED(w, "write", 4, lh_file_write(file, "mine", 4, 0));
		NEED(w, "close", 0, lh_file_close(file));
		NEED(w, "unlink", 0, lh_path_unlink(w->fs, "f"));
		who.at[0] = 1;
		NEED(w, "rmdir", 0, lh_path_rmdir(w->fs, to));
		w->done[6]++;
	}
	NEED(w, "caller", 0, lh_thread_caller(NULL));
	return NULL;
}

static void *appender(void *arg)
{
	struct world *w = arg;
	struct lh_file *file = NULL;

	NEED(w, "open", 0, lh_file_open(w->fs, "/append", O_WRONLY | O_CREAT | O_APPEND, 0644, &file));
	for (uint64_t i = 0; !atomic_load(&w->stop); i++) {
		NEED(w, "append", sizeof(i), lh_file_write(file, &i, sizeof(i), 0));
		w->done[3]++;
	}
	NEED(w, "close", 0, lh_file_close(file));
	return NULL;
}

/* Big answers and big requests. */
static void *calls(void *arg)
{
	struct world *w = arg;
	struct lh_file *file = NULL;
	uint8_t *buf = malloc(MIB);

	NEED(w, "open", 0, lh_file_open(w->fs, "/calls", O_RDWR, 0, &file));
	for (uint64_t i = 0; !atomic_load(&w->stop); i++) {
		rig_fill(buf, 4096, (unsigned)i, 0);
		NEED(w, "write", MIB, lh_file_write(file, buf, MIB, 0));
		memset(buf, 0, 4096);
		NEED(w, "read", MIB, lh_file_read(file, buf, MIB, 0));
		for (unsigned k = 0; k < 4096; k += 61) {
			if (buf[k] != rig_byte((unsigned)i, k))
				wrong(w, "not what was written", (int64_t)i);
		}
		w->done[4]++;
	}
	NEED(w, "close", 0, lh_file_close(file));
	free(buf);
	return NULL;
}

/* Moves the reader's blocks: recalls cross the cuts. */
static void *mover(void *arg)
{
	struct world *w = arg;
	struct lh_file *file = NULL;

	NEED(w, "open", 0, lh_file_open(w->calm, "/read", O_RDWR, 0, &file));
	while (!atomic_load(&w->stop)) {
		NEED(w, "relocate", 4, lh_file_relocate(file, 0, 4 * BLOCK));
		w->done[5]++;
		usleep(20000);
	}
	NEED(w, "close", 0, lh_file_close(file));
	return NULL;
}

static unsigned seed_of_test(void)
{
	const char *text = getenv("LH_SEED");
	unsigned seed = text ? (unsigned)atoi(text) : (unsigned)time(NULL);

	printf("LH_SEED=%u\n", seed);
	return seed;
}

static void world_start(struct world *w, unsigned mean_us)
{
	memset(w, 0, sizeof(*w));
	rig_start(&w->rig, "mem:64M", 20 * SECONDS);
	proxy_start(&w->proxy, w->rig.dir, rig_way == WAY_TCP ? w->rig.tcp_address : w->rig.unix_address,
		    seed_of_test(), mean_us);
	atomic_store(&w->proxy.calm, true);
	w->calm = rig_open(&w->rig);
	lh_file_close(rig_file(w->calm, "/read", FILE_LEN, 1));
	lh_file_close(rig_file(w->calm, "/write", FILE_LEN, 2));
	lh_file_close(rig_file(w->calm, "/calls", FILE_LEN, 3));
	lh_file_close(rig_file(w->calm, "/manual", FILE_LEN, 4));
	w->fs = open_at(w->proxy.address);
}

static void world_stop(struct world *w)
{
	assert_ok(lh_fs_close(w->fs));
	assert_ok(lh_fs_close(w->calm));
	proxy_stop(&w->proxy);
	rig_stop(&w->rig);
}

static void appended_once(struct world *w)
{
	struct lh_file *file = rig_reopen(w->calm, "/append", O_RDONLY);
	struct lh_stat st = {.size_of = sizeof(st)};
	uint64_t value;

	assert_ok(lh_file_stat(file, &st));
	assert_int_equal(st.size, w->done[3] * sizeof(value));
	for (uint64_t i = 0; i < w->done[3]; i += 7) {
		assert_int_equal(lh_file_read(file, &value, sizeof(value), i * sizeof(value)), sizeof(value));
		assert_int_equal(value, i);
	}
	lh_file_close(file);
}

/* L16: a thousand cuts, at any byte, under all kinds of work. */
static void a_thousand_cuts_are_not_noticed(void **state)
{
	void *(*const work[])(void *) = {reader, writer, names, appender, calls, mover, others};
	struct lh_event e = {.size = sizeof(e)};
	struct lh_lease *manual;
	struct lh_file *file;
	pthread_t threads[7];
	struct world w;
	uint64_t until;

	world_start(&w, 8000);
	file = rig_reopen(w.fs, "/manual", O_RDONLY);
	manual = rig_lease(file, 0, FILE_LEN, LH_LEASE_READ | LH_LEASE_MANUAL);
	atomic_store(&w.proxy.calm, false);
	for (unsigned i = 0; i < 7; i++)
		pthread_create(&threads[i], NULL, work[i], &w);
	until = rig_now() + 60 * SECONDS;
	while (atomic_load(&w.proxy.cuts) < CUTS && rig_now() < until && !atomic_load(&w.stop))
		usleep(10000);
	atomic_store(&w.stop, true);
	atomic_store(&w.proxy.calm, true);
	for (unsigned i = 0; i < 7; i++)
		pthread_join(threads[i], NULL);
	printf("%u cuts; reads %llu, writes %llu, names %llu, appends %llu, calls %llu, moves %llu, others %llu\n",
	       atomic_load(&w.proxy.cuts), (unsigned long long)w.done[0], (unsigned long long)w.done[1],
	       (unsigned long long)w.done[2], (unsigned long long)w.done[3], (unsigned long long)w.done[4],
	       (unsigned long long)w.done[5], (unsigned long long)w.done[6]);
	if (atomic_load(&w.errors))
		fail_msg("an application would have seen: %s", w.why);
	assert_true(atomic_load(&w.proxy.cuts) >= CUTS / 10);
	appended_once(&w);
	/* No lease was lost, nobody was forced. */
	assert_int_equal(rig_stats(w.calm).forced, 0);
	assert_int_equal(rig_state(manual).revocations, 0);
	assert_true(rig_state(manual).held);
	assert_int_equal(lh_event_next(w.fs, &e), 0);
	rig_read_same(manual, FILE_LEN, 4, 0);
	lh_lease_release(manual);
	lh_file_close(file);
	world_stop(&w);
}

struct outage {
	struct world *w;
	unsigned kind;
};

/* A second without a server, of one kind or the other. */
static void *outage_main(void *arg)
{
	struct outage *o = arg;
	struct proxy *p = &o->w->proxy;

	if (o->kind == 0)
		atomic_store(&p->held, true);
	atomic_store(&p->refuse, o->kind == 1);
	if (o->kind == 1)
		atomic_fetch_add(&p->all, 1);
	sleep(1);
	atomic_store(&p->held, false);
	atomic_store(&p->refuse, false);
	return NULL;
}

/* L16: a line that is dead for a second, or a server that cannot be reached for one: calls and direct access wait,
 * nothing is lost. */
static void an_outage_is_a_wait(void **state)
{
	struct lh_lease *manual;
	struct lh_file *file;
	struct world w;

	world_start(&w, 1000000);
	file = rig_reopen(w.fs, "/manual", O_RDWR);
	manual = rig_lease(file, 0, FILE_LEN, LH_LEASE_READ | LH_LEASE_MANUAL);
	for (unsigned i = 0; i < 4; i++) {
		struct outage o = {&w, i % 2};
		pthread_t thread;
		uint64_t until = rig_now() + SECONDS + SECONDS / 5;

		pthread_create(&thread, NULL, outage_main, &o);
		while (rig_now() < until) {
			assert_ok(lh_fs_ping(w.fs));
			rig_read_same(manual, FILE_LEN, 4, 0);
			assert_int_equal(lh_file_write(file, "x", 1, FILE_LEN + i), 1);
		}
		pthread_join(thread, NULL);
	}
	assert_true(rig_state(manual).held);
	assert_int_equal(rig_state(manual).revocations, 0);
	lh_lease_release(manual);
	assert_ok(lh_file_sync(file));
	assert_ok(lh_file_close(file));
	world_stop(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_outage_is_a_wait),
	    cmocka_unit_test(a_thousand_cuts_are_not_noticed),
	};

	rig_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
