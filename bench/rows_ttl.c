/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ttl_exposure: readers fetch objects directly, by one-sided reads, while an evictor reclaims objects and writes others
 * into their memory; under time-to-live leases as object stores use them, and under ours. Every 512 bytes of an object
 * carry its number and version, so that a read which returned without an error can be judged: *foreign* when it holds
 * bytes of another object, *mixed* when it holds two versions.
 *
 * Both sides have the same objects, readers, stalls and movers (stream over a unix socket). What stands for the rest of
 * the world is the stall: one read of STALL_ONE_IN stops in the middle for up to three lease times, as a paused
 * machine, a congested link or a debugger does. Time-to-live: a lookup (one message round trip) renews the object's
 * lease; the evictor takes the object out of the table, waits until its last lease is over, and reuses the memory.
 * *Strict* readers look at the clock again when the bytes are there, and refuse what came too late: right as long as
 * clocks agree and nothing lies between the last byte and the clock. Ours: a MANUAL READ lease, kept until it is
 * recalled; the evictor truncates and writes. Its deadline is the lease time.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <leasehold/leasehold.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "fabric/fabric.h"

#define OBJECTS      24u
#define SLOTS        28u /* time-to-live: places for them */
#define OBJECT_BYTES ((size_t)256 << 10)
#define PARTS        4u
#define PART_BYTES   (OBJECT_BYTES / PARTS)
#define STAMP_EVERY  512u
#define READERS      2u
#define LEASE_NS     (5 * NS_PER_MS)
#define STALL_ONE_IN 32u
#define ROUND_NS     (400 * NS_PER_MS)
#define EVICT_NS     (500 * NS_PER_US) /* between evictions: as if memory were asked for at that rate */
#define WAITS_MAX    65536u
#define MILLION      1e6

enum side { TTL, TTL_STRICT, OURS, SIDES };
static const char *const side_name[] = {"time-to-live", "time-to-live, strict", "leasehold"};

struct stamp {
	uint32_t object, version;
};

/* What a side did, over all rounds. */
struct tally {
	uint64_t reads, foreign, mixed, refused, evictions, ns;
	uint64_t waits[WAITS_MAX]; /* the evictor's, ns; the first ones */
};

struct object {
	pthread_mutex_t lock;
	bool published;
	uint32_t version;
	unsigned slot;
	uint64_t leased_until; /* time-to-live */
};

struct reader {
	pthread_t thread;
	unsigned index;
	uint64_t seed;
	uint8_t *buf;
	struct fabric_domain *domain;
	struct fabric_conn *conn;
	struct fabric_key key;
	struct lh_fs *fs;
	struct lh_file *file[OBJECTS];
	struct lh_lease *lease[OBJECTS];
	uint64_t reads, foreign, mixed, refused; /* of a round */
	int err;
};

static struct {
	bool ready;
	enum side side; /* of the running round */
	atomic_bool stop;
	struct object objects[OBJECTS];
	struct reader readers[READERS];
	struct tally tally[SIDES];
	uint8_t *fill;
	/* time-to-live */
	uint8_t *arena;
	struct fabric_target *target;
	unsigned free_slots[SLOTS], free_count, free_first;
	/* ours */
	char address[160];
	struct lh_fs *fs;
	struct lh_server *server;
	struct lh_file *file[OBJECTS];
} ttl;

static void stamp_fill(uint8_t *bytes, uint32_t object, uint32_t version)
{
	const struct stamp s = {object, version};

	for (size_t at = 0; at < OBJECT_BYTES; at += STAMP_EVERY)
		memcpy(bytes + at, &s, sizeof(s));
}

static void judge(struct reader *r, uint32_t object)
{
	struct stamp first, s;

	memcpy(&first, r->buf, sizeof(first));
	r->reads++;
	for (size_t at = 0; at < OBJECT_BYTES; at += STAMP_EVERY) {
		memcpy(&s, r->buf + at, sizeof(s));
		if (s.object != object) {
			r->foreign++;
			return;
		}
		if (s.version != first.version) {
			r->mixed++;
			return;
		}
	}
}

/* How long this read stops in the middle. */
static uint64_t stall_ns(struct reader *r)
{
	if (next_random(&r->seed) % STALL_ONE_IN)
		return 0;
	return next_random(&r->seed) % (3 * LEASE_NS);
}

static void stall(uint64_t ns)
{
	const struct timespec t = {0, (long)ns};

	if (ns)
		nanosleep(&t, NULL);
}

/* --- readers --- */

static int fabric_read(struct reader *r, uint64_t off, uint8_t *buf)
{
	struct fabric_op op = {.key = r->key.number,
			       .offset = off,
			       .buf = buf,
			       .len = PART_BYTES,
			       .dir = FABRIC_OP_READ,
			       .flags = FABRIC_OP_WAITED};
	struct fabric_op *list = &op;
	int err = fabric_post(r->conn, &op);

	if (!err)
		err = fabric_wait(r->conn, &list, 1, UINT64_MAX);
	return err ? err : op.status;
}

static int ttl_read(struct reader *r, unsigned i)
{
	struct object *o = &ttl.objects[i];
	uint64_t until = 0, pause = stall_ns(r);
	unsigned slot = 0;
	int err = lh_fs_ping(r->fs); /* the lookup is a message to the store's master and back */

	pthread_mutex_lock(&o->lock);
	if (o->published) {
		until = clock_now_ns() + LEASE_NS;
		o->leased_until = max_u64(o->leased_until, until);
		slot = o->slot;
	}
	pthread_mutex_unlock(&o->lock);
	if (!until || err)
		return err;
	for (unsigned part = 0; part < PARTS && !err; part++) {
		if (part == PARTS / 2)
			stall(pause);
		err = fabric_read(r, slot * OBJECT_BYTES + part * PART_BYTES, r->buf + part * PART_BYTES);
	}
	if (err)
		return err;
	if (ttl.side == TTL_STRICT && clock_now_ns() > until)
		r->refused++;
	else
		judge(r, i);
	return 0;
}

/* What was asked back goes back. */
static void ours_answer(struct reader *r)
{
	struct lh_event e = {.size = sizeof(e)};

	while (lh_event_next(r->fs, &e) == 1) {
		for (unsigned i = 0; i < OBJECTS; i++) {
			if (r->lease[i] != e.lease)
				continue;
			lh_lease_release(r->lease[i]);
			r->lease[i] = NULL;
		}
	}
}

static int ours_read(struct reader *r, unsigned i)
{
	struct lh_lease_options opt = {
	    .size = sizeof(opt), .flags = LH_LEASE_READ | LH_LEASE_MANUAL, .deadline_ns = LEASE_NS};
	uint64_t pause = stall_ns(r);
	bool published;
	ssize_t n = 0;

	ours_answer(r);
	pthread_mutex_lock(&ttl.objects[i].lock);
	published = ttl.objects[i].published;
	pthread_mutex_unlock(&ttl.objects[i].lock);
	if (!published)
		return 0;
	if (!r->lease[i]) {
		int err = lh_lease_get(r->file[i], 0, OBJECT_BYTES, &opt, &r->lease[i]);

		if (err)
			return err == -ENODATA ? 0 : err; /* cut since we looked */
	}
	for (unsigned part = 0; part < PARTS && n >= 0; part++) {
		if (part == PARTS / 2)
			stall(pause);
		n = lh_lease_read(r->lease[i], r->buf + part * PART_BYTES, PART_BYTES, part * PART_BYTES);
		if (n >= 0 && n < (ssize_t)PART_BYTES)
			n = -ESTALE; /* it was being written when the lease was granted */
	}
	if (n >= 0) {
		judge(r, i);
		return 0;
	}
	r->refused++;
	lh_lease_release(r->lease[i]);
	r->lease[i] = NULL;
	return n == -ESTALE ? 0 : (int)n;
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(&ttl.stop) && !r->err) {
		unsigned i = (unsigned)(next_random(&r->seed) % OBJECTS);

		r->err = ttl.side == OURS ? ours_read(r, i) : ttl_read(r, i);
	}
	for (unsigned i = 0; i < OBJECTS; i++) {
		lh_lease_release(r->lease[i]);
		r->lease[i] = NULL;
	}
	return NULL;
}

/* --- the evictor --- */

static void unpublish(struct object *o)
{
	pthread_mutex_lock(&o->lock);
	o->published = false;
	pthread_mutex_unlock(&o->lock);
}

static void publish(struct object *o, unsigned slot)
{
	pthread_mutex_lock(&o->lock);
	o->slot = slot;
	o->published = true;
	pthread_mutex_unlock(&o->lock);
}

static void ttl_put(unsigned i)
{
	struct object *o = &ttl.objects[i];
	unsigned slot = ttl.free_slots[ttl.free_first];

	ttl.free_first = (ttl.free_first + 1) % SLOTS;
	ttl.free_count--;
	stamp_fill(ttl.arena + slot * OBJECT_BYTES, i, ++o->version);
	publish(o, slot);
}

static int ttl_evict(unsigned i, uint64_t *waited)
{
	struct object *o = &ttl.objects[i];
	uint64_t start = clock_now_ns();
	uint64_t now = start;

	unpublish(o);
	while (now <= o->leased_until) {
		stall(o->leased_until - now + 1);
		now = clock_now_ns();
	}
	*waited = now - start;
	ttl.free_slots[(ttl.free_first + ttl.free_count++) % SLOTS] = o->slot;
	ttl_put(i);
	return 0;
}

static int ours_put(unsigned i)
{
	ssize_t n;

	stamp_fill(ttl.fill, i, ++ttl.objects[i].version);
	n = lh_file_write(ttl.file[i], ttl.fill, OBJECT_BYTES, 0);
	if (n != (ssize_t)OBJECT_BYTES)
		return n < 0 ? (int)n : -ENOSPC;
	publish(&ttl.objects[i], ttl.objects[i].slot);
	return 0;
}

static int ours_evict(unsigned i, uint64_t *waited)
{
	uint64_t start = clock_now_ns();
	int err;

	unpublish(&ttl.objects[i]);
	err = lh_file_truncate(ttl.file[i], 0);
	*waited = clock_now_ns() - start;
	return err ? err : ours_put(i);
}

/* --- rounds --- */

static int round_run(enum side side)
{
	struct tally *t = &ttl.tally[side];
	uint64_t start = clock_now_ns(), seed = start | 1;
	int err = 0;

	ttl.side = side;
	atomic_store(&ttl.stop, false);
	for (unsigned i = 0; i < READERS; i++) {
		struct reader *r = &ttl.readers[i];

		r->reads = r->foreign = r->mixed = r->refused = 0;
		r->err = -pthread_create(&r->thread, NULL, reader_main, r);
		if (r->err)
			return r->err;
	}
	while (!err && clock_now_ns() - start < ROUND_NS) {
		unsigned i = (unsigned)(next_random(&seed) % OBJECTS);
		uint64_t waited = 0;

		err = side == OURS ? ours_evict(i, &waited) : ttl_evict(i, &waited);
		if (t->evictions < WAITS_MAX)
			t->waits[t->evictions] = waited;
		t->evictions++;
		stall(EVICT_NS);
	}
	atomic_store(&ttl.stop, true);
	for (unsigned i = 0; i < READERS; i++) {
		struct reader *r = &ttl.readers[i];

		pthread_join(r->thread, NULL);
		t->reads += r->reads;
		t->foreign += r->foreign;
		t->mixed += r->mixed;
		t->refused += r->refused;
		err = err ? err : r->err;
	}
	t->ns += clock_now_ns() - start;
	return err;
}

static double exposed(enum side side)
{
	const struct tally *t = &ttl.tally[side];

	return t->reads ? (double)(t->foreign + t->mixed) * MILLION / (double)t->reads : 0;
}

static int ours_round(const struct row *r, double *out)
{
	int err = round_run(OURS);

	*out = exposed(OURS);
	return err;
}

static int peer_round(const struct row *r, double *out)
{
	int err = round_run(TTL);

	if (!err)
		err = round_run(TTL_STRICT);
	*out = exposed(TTL);
	return err;
}

/* --- making and ending --- */

static int store_make(void)
{
	int err;

	ttl.arena = mmap(NULL, SLOTS * OBJECT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ttl.arena == MAP_FAILED)
		return -ENOMEM;
	err = fabric_target_new(NULL, &ttl.target);
	for (unsigned i = 0; i < SLOTS; i++)
		ttl.free_slots[i] = i;
	ttl.free_count = SLOTS;
	return err;
}

static int pool_make(void)
{
	int err = lh_fs_open("mem:16M", NULL, &ttl.fs);

	snprintf(ttl.address, sizeof(ttl.address), "unix:%s/ttl.sock", tmpfs_dir());
	if (!err)
		err = lh_server_start(ttl.fs, ttl.address, NULL, &ttl.server);
	for (unsigned i = 0; i < OBJECTS && !err; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/object%02u", i);
		err = lh_file_open(ttl.fs, path, O_RDWR | O_CREAT, 0600, &ttl.file[i]);
	}
	return err;
}

static int reader_make(struct reader *r, unsigned index)
{
	struct lh_open_options opt = {.size = sizeof(opt), .fabric = LH_FABRIC_STREAM};
	struct fabric_path *path;
	int pair[2], err;

	r->index = index;
	r->seed = 88172645463325252ull + index;
	r->buf = aligned_alloc(4096, OBJECT_BYTES);
	if (!r->buf)
		return -ENOMEM;
	err = fabric_domain_new(ttl.target, &r->domain);
	if (!err)
		err = fabric_expose(r->domain, ttl.arena, SLOTS * OBJECT_BYTES, FABRIC_READ, &r->key);
	if (!err && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		err = -errno;
	if (err)
		return err;
	err = fabric_stream_attach(r->domain, pair[0], &path);
	if (err) {
		close(pair[1]);
		return err;
	}
	err = fabric_stream_connect(pair[1], NULL, &r->conn);
	if (!err)
		err = lh_fs_open(ttl.address, &opt, &r->fs);
	for (unsigned i = 0; i < OBJECTS && !err; i++) {
		char name[32];

		snprintf(name, sizeof(name), "/object%02u", i);
		err = lh_file_open(r->fs, name, O_RDONLY, 0, &r->file[i]);
	}
	return err;
}

static void all_end(void)
{
	for (unsigned k = 0; k < READERS; k++) {
		struct reader *r = &ttl.readers[k];

		for (unsigned i = 0; i < OBJECTS; i++)
			lh_file_close(r->file[i]);
		lh_fs_close(r->fs);
		if (r->conn)
			fabric_conn_close(r->conn);
		if (r->domain)
			fabric_domain_free(r->domain);
		free(r->buf);
		memset(r, 0, sizeof(*r));
	}
	if (ttl.target)
		fabric_target_free(ttl.target);
	lh_server_stop(ttl.server);
	for (unsigned i = 0; i < OBJECTS; i++)
		lh_file_close(ttl.file[i]);
	lh_fs_close(ttl.fs);
	if (ttl.arena && ttl.arena != MAP_FAILED)
		munmap(ttl.arena, SLOTS * OBJECT_BYTES);
	free(ttl.fill);
}

static int ready(const struct row *row, char *why)
{
	int err = 0;

	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	ttl.fill = aligned_alloc(4096, OBJECT_BYTES);
	if (!ttl.fill)
		return -ENOMEM;
	memset(ttl.fill, 0, OBJECT_BYTES);
	err = store_make();
	if (!err)
		err = pool_make();
	for (unsigned i = 0; i < READERS && !err; i++)
		err = reader_make(&ttl.readers[i], i);
	for (unsigned i = 0; i < OBJECTS && !err; i++) {
		pthread_mutex_init(&ttl.objects[i].lock, NULL);
		ttl_put(i);
		err = ours_put(i);
	}
	if (err) {
		bench_skip(why, err, "cannot be set up: %s", lh_error_text());
		all_end();
	}
	return err;
}

static void done(const struct row *row)
{
	all_end();
}

/* --- what people look at --- */

static double per_second(uint64_t count, const struct tally *t)
{
	return (double)count * (double)NS_PER_SEC / (double)t->ns;
}

static double wait_ms(enum side side, double p)
{
	struct tally *t = &ttl.tally[side];
	unsigned n = (unsigned)min_u64(t->evictions, WAITS_MAX);

	return n ? (double)quantile_u64(t->waits, n, p) / (double)NS_PER_MS : 0;
}

static void report(const struct row *row)
{
	printf("  %-22s %9s %8s %8s %8s %8s %9s %9s\n", "", "reads", "reads/s", "foreign", "mixed", "refused",
	       "evict/s", "wait ms");
	printf("  %-22s %9s %8s %8s %8s %8s %9s %9s\n", "", "", "", "", "", "", "", "p50/p99");
	for (unsigned s = 0; s < SIDES; s++) {
		const struct tally *t = &ttl.tally[s];

		printf("  %-22s %9llu %8.0f %8llu %8llu %8llu %9.0f %4.2f/%.2f\n", side_name[s],
		       (unsigned long long)t->reads, per_second(t->reads, t), (unsigned long long)t->foreign,
		       (unsigned long long)t->mixed, (unsigned long long)t->refused, per_second(t->evictions, t),
		       wait_ms(s, 0.5), wait_ms(s, 0.99));
	}
}

static json_t *details(const struct row *row)
{
	json_t *all = json_array();

	for (unsigned s = 0; s < SIDES; s++) {
		const struct tally *t = &ttl.tally[s];

		json_array_append_new(all,
				      json_pack("{ss sI sI sI sI sI sf sf sf sf}", "side", side_name[s], "reads",
						(json_int_t)t->reads, "foreign", (json_int_t)t->foreign, "mixed",
						(json_int_t)t->mixed, "refused", (json_int_t)t->refused, "evictions",
						(json_int_t)t->evictions, "reads_per_second", per_second(t->reads, t),
						"evictions_per_second", per_second(t->evictions, t), "wait_ms_p50",
						wait_ms(s, 0.5), "wait_ms_p99", wait_ms(s, 0.99)));
	}
	return all;
}

const struct row ttl_rows[] = {{.name = "ttl_exposure",
				.unit = "per 10^6",
				.peer_name = "time-to-live leases",
				.goal = 1.0,
				.must_be_zero = true,
				.ready = ready,
				.ours = ours_round,
				.peer = peer_round,
				.done = done,
				.report = report,
				.details = details}};
const unsigned ttl_row_count = ARRAY_LEN(ttl_rows);
