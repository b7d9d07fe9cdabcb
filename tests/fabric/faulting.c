/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L33, for every member: keys that are looked up for every chunk. A toy file of blocks that move, go away and come back
 * while peers read and write it through faulting keys; places that were left are poisoned and watched (L12), and keys
 * die while they are used (L13: nobody is inside any more when fabric_revoke returns; the resolver's memory goes at
 * once).
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"
#include "conformance.h"

#define BLOCK       4096u
#define WORDS       (BLOCK / 8)
#define FILE_BLOCKS 96u
#define FILE_BYTES  ((uint64_t)FILE_BLOCKS * BLOCK)
#define POOL_BLOCKS (POOL_BYTES / BLOCK)
#define HOLE        UINT32_MAX
#define POISON      0xc7
#define PEERS       3u
#define MOVES       6000u
#define REVOKE_EACH 50u
#define OP_MOST     (40u * BLOCK)

struct file {
	pthread_rwlock_t lock; /* what INODE is to the fs */
	unsigned char *pool;
	uint32_t map[FILE_BLOCKS];
	bool used[POOL_BLOCKS];
	uint64_t random;
};

struct view {
	struct fabric_resolver resolver;
	struct file *file;
	_Atomic int inside;
	struct fabric_key key;
};

struct peer {
	struct file *file;
	struct fabric_conn *conn;
	enum fabric_dir dir;
	_Atomic uint64_t key;
	_Atomic bool stop;
	uint64_t random, ok, faults, stale;
	pthread_t thread;
};

static uint64_t word_of(uint64_t block, unsigned i)
{
	return (block + 1) << 32 | i;
}

/* --- the file --- */

static unsigned char *slot(const struct file *f, uint32_t s)
{
	return f->pool + (size_t)s * BLOCK;
}

/* A place that nobody names; it must be as it was left. */
static uint32_t slot_take(struct file *f)
{
	uint32_t s;

	do
		s = (uint32_t)(test_random(&f->random) % POOL_BLOCKS);
	while (f->used[s]);
	CHECK(bytes_differ(slot(f, s), 0, BLOCK, POISON) == BLOCK, "something landed in a place that was left");
	f->used[s] = true;
	return s;
}

static void slot_leave(struct file *f, uint32_t s)
{
	memset(slot(f, s), POISON, BLOCK);
	f->used[s] = false;
}

/* lock held exclusively. */
static void block_fill(struct file *f, uint32_t b)
{
	uint64_t *w;

	f->map[b] = slot_take(f);
	w = (uint64_t *)(void *)slot(f, f->map[b]);
	for (unsigned i = 0; i < WORDS; i++)
		w[i] = word_of(b, i);
}

static void block_move(struct file *f, uint32_t b)
{
	uint32_t old = f->map[b];

	f->map[b] = slot_take(f);
	memcpy(slot(f, f->map[b]), slot(f, old), BLOCK);
	slot_leave(f, old);
}

/* What the server does about a fault. */
static void file_fault(struct file *f, uint64_t off, uint64_t len)
{
	pthread_rwlock_wrlock(&f->lock);
	for (uint64_t b = off / BLOCK; b <= (off + len - 1) / BLOCK; b++) {
		if (f->map[b] == HOLE)
			block_fill(f, (uint32_t)b);
	}
	pthread_rwlock_unlock(&f->lock);
}

static void file_change(struct file *f)
{
	uint32_t b;

	pthread_rwlock_wrlock(&f->lock);
	b = (uint32_t)(test_random(&f->random) % FILE_BLOCKS);
	if (f->map[b] == HOLE) {
		block_fill(f, b);
	} else if (test_random(&f->random) % 16 == 0) {
		slot_leave(f, f->map[b]);
		f->map[b] = HOLE;
	} else {
		block_move(f, b);
	}
	pthread_rwlock_unlock(&f->lock);
}

static void file_open(struct file *f)
{
	*f = (struct file){.pool = pool_map(), .random = test_seed ^ 0x77};
	pthread_rwlock_init(&f->lock, NULL);
	memset(f->pool, POISON, POOL_BYTES);
	for (uint32_t b = 0; b < FILE_BLOCKS; b++)
		block_fill(f, b);
}

static void file_close(struct file *f)
{
	for (uint32_t b = 0; b < FILE_BLOCKS; b++) {
		if (f->map[b] != HOLE)
			slot_leave(f, f->map[b]);
	}
	CHECK(bytes_differ(f->pool, 0, POOL_BYTES, POISON) == POOL_BYTES, "something landed in a place that was left");
	pool_unmap(f->pool);
	pthread_rwlock_destroy(&f->lock);
}

/* --- the resolver --- */

static int view_enter(struct fabric_resolver *r, enum fabric_access access, uint64_t at, uint64_t len,
		      struct fabric_place *out)
{
	struct view *v = container_of(r, struct view, resolver);
	struct file *f = v->file;
	uint64_t b = at / BLOCK;

	CHECK(at < FILE_BYTES && len <= FILE_BYTES - at && len <= FABRIC_CHUNK, "asked for what the key does not name");
	if (pthread_rwlock_tryrdlock(&f->lock))
		return -EAGAIN;
	if (f->map[b] == HOLE && access == FABRIC_WRITE) {
		pthread_rwlock_unlock(&f->lock);
		return -EAGAIN;
	}
	atomic_fetch_add(&v->inside, 1);
	*out = (struct fabric_place){.len = min_u64(len, BLOCK - at % BLOCK)};
	if (f->map[b] == HOLE)
		return 0;
	out->mem = slot(f, f->map[b]) + at % BLOCK;
	/* What continues in memory is one place. */
	for (uint64_t next = b + 1; out->len < len && f->map[next] == f->map[b] + (next - b); next++)
		out->len = min_u64(len, out->len + BLOCK);
	return 0;
}

static void view_leave(struct fabric_resolver *r, enum fabric_access access)
{
	struct view *v = container_of(r, struct view, resolver);

	atomic_fetch_sub(&v->inside, 1);
	pthread_rwlock_unlock(&v->file->lock);
}

static struct view *view_new(struct file *f, struct fabric_domain *d, unsigned access)
{
	struct view *v = calloc(1, sizeof(*v));

	CHECK(v, "memory");
	*v = (struct view){.resolver = {.enter = view_enter, .leave = view_leave}, .file = f};
	MUST(fabric_expose_faulting(d, &v->resolver, 0, FILE_BYTES, access, &v->key));
	return v;
}

static void view_end(struct view *v, struct fabric_domain *d)
{
	struct fabric_receipt gone;

	MUST(fabric_revoke(d, v->key, &gone));
	CHECK(atomic_load(&v->inside) == 0, "somebody is inside of a key that is dead");
	CHECK(gone.dirty_end <= FILE_BYTES, "dirty where the key does not reach");
	memset(v, 0xa5, sizeof(*v));
	free(v);
}

/* --- peers --- */

static void words_check(const uint64_t *w, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len / 8; i++) {
		uint64_t at = off / 8 + i;

		CHECK(w[i] == 0 || w[i] == word_of(at / WORDS, (unsigned)(at % WORDS)), "word %llu is %#llx",
		      (unsigned long long)at, (unsigned long long)w[i]);
	}
}

static void *peer_run(void *arg)
{
	struct peer *p = arg;
	uint64_t *buf = fabric_buffer_get(p->conn, OP_MOST);

	CHECK(buf, "no buffer");
	while (!atomic_load(&p->stop)) {
		uint64_t off = test_random(&p->random) % FILE_BYTES / 8 * 8;
		uint64_t len = min_u64(8 + test_random(&p->random) % (OP_MOST - 8) / 8 * 8, FILE_BYTES - off);
		int status;

		for (uint64_t i = 0; p->dir == FABRIC_OP_WRITE && i < len / 8; i++)
			buf[i] = word_of((off / 8 + i) / WORDS, (unsigned)((off / 8 + i) % WORDS));
		status = op_run(p->conn, p->dir, atomic_load(&p->key), off, buf, len);
		CHECK(status == 0 || status == -EAGAIN || status == -ESTALE, "status %d", status);
		if (status == 0 && p->dir == FABRIC_OP_READ)
			words_check(buf, off, len);
		if (status == -EAGAIN && p->dir == FABRIC_OP_WRITE)
			file_fault(p->file, off, len);
		p->ok += status == 0;
		p->faults += status == -EAGAIN;
		p->stale += status == -ESTALE;
	}
	fabric_buffer_put(p->conn, buf);
	return NULL;
}

static unsigned access_of(const struct peer *p)
{
	return p->dir == FABRIC_OP_READ ? FABRIC_READ : FABRIC_WRITE;
}

static void hammer(enum member m, struct file *f, struct fabric_domain *d)
{
	struct peer peers[PEERS];
	struct view *views[PEERS];
	uint64_t ok = 0, faults = 0, stale = 0;
	struct fabric_path *path;

	for (unsigned i = 0; i < PEERS; i++) {
		struct peer *p = &peers[i];

		*p = (struct peer){.file = f, .random = test_seed + 17 * i + 1};
		p->dir = i == 0 ? FABRIC_OP_READ : FABRIC_OP_WRITE;
		p->conn = pair_conn(m, d, &path);
		views[i] = view_new(f, d, access_of(p));
		atomic_store(&p->key, views[i]->key.number);
		MUST(pthread_create(&p->thread, NULL, peer_run, p));
	}
	for (unsigned i = 0; i < MOVES; i++) {
		unsigned which = i / REVOKE_EACH % PEERS;

		file_change(f);
		/* The peers shall get a word in. */
		if (i % 4 == 0)
			usleep(100);
		if (i % REVOKE_EACH)
			continue;
		view_end(views[which], d);
		views[which] = view_new(f, d, access_of(&peers[which]));
		atomic_store(&peers[which].key, views[which]->key.number);
	}
	for (unsigned i = 0; i < PEERS; i++) {
		atomic_store(&peers[i].stop, true);
		pthread_join(peers[i].thread, NULL);
		view_end(views[i], d);
		fabric_conn_close(peers[i].conn);
		ok += peers[i].ok;
		faults += peers[i].faults;
		stale += peers[i].stale;
	}
	printf("faulting: %u changes, %llu operations, %llu faults, %llu on dead keys\n", MOVES, (unsigned long long)ok,
	       (unsigned long long)faults, (unsigned long long)stale);
	CHECK(ok > 0 && faults > 0, "the peers did nothing");
}

/* Everything that a pinned key refuses, before anything is looked up. */
static void refusals(enum member m, struct fabric_target *t, struct file *f, struct fabric_domain *d)
{
	static unsigned char buf[2 * BLOCK];
	struct fabric_domain *other;
	struct view *v = view_new(f, d, FABRIC_READ), *w = view_new(f, d, FABRIC_WRITE);
	struct fabric_path *path, *other_path;
	struct fabric_conn *c = pair_conn(m, d, &path), *stranger;
	struct fabric_stats before, after;
	uint64_t key = v->key.number;

	MUST(fabric_domain_new(t, &other));
	stranger = pair_conn(m, other, &other_path);
	fabric_stats_read(t, &before);
	CHECK(op_run(c, FABRIC_OP_WRITE, key, 0, buf, 64) == -EACCES, "direction");
	CHECK(op_run(c, FABRIC_OP_READ, w->key.number, 0, buf, 64) == -EACCES, "direction");
	CHECK(op_run(c, FABRIC_OP_READ, key, FILE_BYTES - 63, buf, 64) == -ERANGE, "outside");
	CHECK(op_run(c, FABRIC_OP_READ, key, UINT64_MAX - 4096, buf, 4096) == -ERANGE, "far outside");
	CHECK(op_run(c, FABRIC_OP_READ, key, 0, buf, 0) == -EINVAL, "empty");
	CHECK(op_run(stranger, FABRIC_OP_READ, key, 0, buf, 64) == -ESTALE, "another domain's key");
	CHECK(op_run(c, FABRIC_OP_READ, key ^ (1ull << 40), 0, buf, 64) == -ESTALE, "a guessed key");
	fabric_stats_read(t, &after);
	CHECK(after.faults == before.faults && after.protocol_errors == before.protocol_errors, "counted elsewhere");
	/* A place that is not there: zeroes, and a fault. */
	pthread_rwlock_wrlock(&f->lock);
	slot_leave(f, f->map[1]);
	f->map[1] = HOLE;
	pthread_rwlock_unlock(&f->lock);
	memset(buf, 0xff, sizeof(buf));
	CHECK(op_run(c, FABRIC_OP_READ, key, 0, buf, 2 * BLOCK) == 0, "a hole is no error for readers");
	CHECK(bytes_differ(buf, BLOCK, 2 * BLOCK, 0) == 2 * BLOCK, "a hole is not of zeroes");
	words_check((const uint64_t *)(const void *)buf, 0, BLOCK);
	CHECK(op_run(c, FABRIC_OP_WRITE, w->key.number, BLOCK - 64, buf + BLOCK - 64, 128) == -EAGAIN,
	      "a write into a hole");
	fabric_stats_read(t, &after);
	CHECK(after.faults == before.faults + 1, "a fault is not counted");
	file_fault(f, BLOCK, 1);
	CHECK(op_run(c, FABRIC_OP_READ, key, 0, buf, 2 * BLOCK) == 0, "after the fault");
	words_check((const uint64_t *)(const void *)(buf + BLOCK), BLOCK, BLOCK);
	view_end(v, d);
	CHECK(op_run(c, FABRIC_OP_READ, key, 0, buf, 64) == -ESTALE, "a dead key");
	view_end(w, d);
	fabric_conn_close(c);
	fabric_conn_close(stranger);
	fabric_domain_free(other);
}

void test_faulting(enum member m)
{
	struct fabric_target *t;
	struct fabric_domain *d;
	struct file f;

	file_open(&f);
	MUST(fabric_target_new(NULL, &t));
	MUST(fabric_domain_new(t, &d));
	refusals(m, t, &f, d);
	hammer(m, &f, d);
	fabric_domain_free(d);
	fabric_target_free(t);
	file_close(&f);
}
