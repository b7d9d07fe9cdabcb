/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance, L17 to L19: who may hold what, and what it is charged. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define SIZE      (64 * CF_KIB)
#define BATCH     200u
#define STRANGER  65533u /* a uid that nobody has */
#define WORK_NS   (10 * NS_PER_MS)
#define GROWTH    (64 * CF_MIB) /* of the server's memory; allocators keep some */
#define SETTLE_NS (15 * NS_PER_SEC)

/* --- L17 --- */

static int try_mode(struct cf *c, struct lh_file *f, uint32_t flags)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = flags | (c->variant.faulting ? LH_LEASE_FAULTING : 0)};
	struct lh_lease *lease = NULL;
	int err = cf_try_lease(c, f, 0, CF_BLOCK, &o, &lease);

	if (!err)
		cf_release(c, lease);
	return err;
}

static void modes_need_their_opens(struct cf *c)
{
	struct cf_made made;
	struct lh_file *both = cf_make(c, c->a, SIZE, &made), *r = cf_open(c, c->a, &made, O_RDONLY);
	struct lh_file *w = cf_open(c, c->a, &made, O_WRONLY);

	IS(c, try_mode(c, both, LH_LEASE_READ), 0);
	IS(c, try_mode(c, both, LH_LEASE_WRITE), 0);
	IS(c, try_mode(c, r, LH_LEASE_READ), 0);
	IS(c, try_mode(c, r, LH_LEASE_WRITE), -EBADF);
	IS(c, try_mode(c, w, LH_LEASE_WRITE), 0);
	IS(c, try_mode(c, w, LH_LEASE_READ), -EBADF);
}

static void must_refuse(struct cf *c, struct lh_fs *fs, const struct lh_lease_extent *e, bool writing,
			const uint64_t *off, const uint64_t *len, unsigned count)
{
	static uint8_t buf[128 * CF_KIB];

	for (unsigned i = 0; i < count; i++) {
		ssize_t n;

		memset(buf, 0xbd, sizeof(buf));
		n = writing ? lh_raw_write(fs, e->key, off[i], buf, len[i])
			    : lh_raw_read(fs, e->key, off[i], buf, len[i]);
		NEED(c, n < 0, "%s of %llu bytes at %llu of a key of [%llu, +%llu): %zd",
		     writing ? "a write" : "a read", (unsigned long long)len[i], (unsigned long long)off[i],
		     (unsigned long long)e->key_off, (unsigned long long)e->len, n);
		/* A long read goes in pieces, so that those inside the key may have come. */
		for (size_t k = off[i] == e->key_off ? e->len : 0; k < len[i] && !writing; k++)
			NEED(c, buf[k] == 0xbd, "a refused read moved bytes");
	}
}

static void keys_reach_their_range(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, 4 * SIZE, &made);
	struct lh_lease *r = cf_lease(c, f, SIZE, SIZE, LH_LEASE_READ),
			*w = cf_lease(c, f, 2 * SIZE, SIZE, LH_LEASE_WRITE);
	struct lh_lease_extent re = cf_key(c, r), we = cf_key(c, w);
	uint8_t buf[CF_BLOCK];

	for (unsigned i = 0; i < 2; i++) {
		const struct lh_lease_extent *e = i ? &we : &re;
		const uint64_t end = e->key_off + e->len;
		const uint64_t off[] = {
		    end,        end - 1,    e->key_off, UINT64_MAX,       UINT64_MAX - 7, UINT64_MAX - CF_BLOCK + 1,
		    1ull << 63, 1ull << 40, INT64_MAX,  UINT64_MAX - SIZE};
		const uint64_t len[] = {1, 2, e->len + 1, 1, 8, CF_BLOCK, CF_BLOCK, 8, 2, 2 * SIZE};

		must_refuse(c, c->a, e, i == 1, off, len, ARRAY_LEN(off));
	}
	/* A READ key cannot write, a WRITE key cannot read. */
	memset(buf, 0xbd, sizeof(buf));
	IS(c, lh_raw_write(c->a, re.key, re.key_off, buf, CF_BLOCK), -EACCES);
	IS(c, lh_raw_read(c->a, we.key, we.key_off, buf, CF_BLOCK), -EACCES);
	NEED(c, lh_lease_write(r, buf, CF_BLOCK, SIZE) < 0, "a READ lease wrote");
	/* And nobody else's key is one. */
	IS(c, lh_raw_read(c->b, re.key, re.key_off, buf, CF_BLOCK), -ESTALE);
	IS(c, lh_raw_write(c->b, we.key, we.key_off, buf, CF_BLOCK), -ESTALE);
	/* What lies inside the WRITE key may have been written by the first pieces of a long write. */
	cf_same(c, f, 0, 2 * SIZE, made.owner);
	cf_same(c, f, 3 * SIZE, SIZE, made.owner);
	cf_saw(c,
	       "20 ranges that end behind the key or wrap, the wrong direction, another session's keys: all refused");
}

static void nonsense_is_refused(struct cf *c)
{
	static const struct {
		uint64_t off, len;
		uint32_t flags;
	} asked[] = {{0, 0, LH_LEASE_READ},
		     {0, CF_BLOCK, LH_LEASE_READ | LH_LEASE_WRITE},
		     {0, CF_BLOCK, LH_LEASE_READ | 0x4000},
		     {UINT64_MAX - CF_BLOCK, 2 * CF_BLOCK, LH_LEASE_READ},
		     {UINT64_MAX, 1, LH_LEASE_WRITE},
		     {1ull << 62, 1ull << 62, LH_LEASE_WRITE},
		     {CF_MIB, CF_BLOCK, LH_LEASE_READ}};
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, SIZE, &made);
	struct lh_lease *lease;

	for (unsigned i = 0; i < ARRAY_LEN(asked); i++) {
		struct lh_lease_options o = {.size = sizeof(o), .flags = asked[i].flags};
		int err = lh_lease_get(f, asked[i].off, asked[i].len, &o, &lease);

		NEED(c, err < 0 && lh_error_text()[0], "lease request %u: %d without a reason", i, err);
	}
	OK(c, lh_fs_ping(c->a));
}

/* What somebody would try who knows a key: its neighbours, its bits, small numbers; and just numbers. */
static uint64_t guess(struct cf *c, unsigned i, uint64_t known)
{
	switch (i % 4) {
	case 0:
		return known + i / 4 % 4096 - 2048;
	case 1:
		return known ^ 1ull << (i / 4 % 64) ^ i / 256;
	case 2:
		return i / 4;
	default:
		return cf_draw(c, 0);
	}
}

static void put64(uint8_t *p, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void take_all(struct cf *c, int fd, uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = recv(fd, p, len, 0);

		NEED(c, n > 0, "the data path ended at a guessed key");
		p += n;
		len -= (size_t)n;
	}
}

/* Reads of 8 bytes, BATCH at once; every answer is 16 bytes and says stale. */
static void guess_by_stream(struct cf *c, unsigned tries, uint64_t known)
{
	enum cf_end end = c->variant.holder == CF_END_LOCAL ? CF_END_STREAM : c->variant.holder;
	uint8_t rq[BATCH][32], an[BATCH][16];
	struct cf_wire w;
	int fd;

	cf_wire_open(c, &w, end);
	fd = cf_wire_data(c, &w, end);
	for (unsigned done = 0; done < tries; done += BATCH) {
		for (unsigned i = 0; i < BATCH; i++) {
			memset(rq[i], 0, 32);
			memcpy(rq[i], "\x4c\x46\x01", 3);
			put64(rq[i] + 8, guess(c, done + i, known));
			put64(rq[i] + 16, (done + i) % 8 * CF_BLOCK);
			put64(rq[i] + 24, 8);
		}
		NEED(c, send(fd, rq, sizeof(rq), MSG_NOSIGNAL) == sizeof(rq), "the data path ended");
		take_all(c, fd, an[0], sizeof(an));
		for (unsigned i = 0; i < BATCH; i++)
			NEED(c, an[i][2] == 0x81 && an[i][3] == 1, "a guessed key was answered with status %u",
			     an[i][3]);
		cf_wire_alive(c, &w);
	}
	close(fd);
	cf_wire_close(&w);
}

static void guesses_are_worth_nothing(struct cf *c)
{
	unsigned by_stream = cf_scaled(c, 1000000, 20000), by_calls = cf_scaled(c, 20000, 2000);
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct lh_lease *w = cf_lease(c, f, 0, SIZE, LH_LEASE_WRITE), *r = cf_lease(c, f, 0, SIZE, LH_LEASE_READ);
	uint64_t known = cf_key(c, w).key, other = cf_key(c, r).key;
	uint8_t buf[64];

	memset(buf, 0xbd, sizeof(buf));
	for (unsigned i = 0; i < by_calls; i++) {
		uint64_t key = guess(c, i, i % 8 < 4 ? known : other);

		NEED(c, lh_raw_write(c->a, key, 0, buf, sizeof(buf)) == -ESTALE, "a guessed key %llu wrote",
		     (unsigned long long)key);
		NEED(c, lh_raw_read(c->a, key, 0, buf, sizeof(buf)) == -ESTALE, "a guessed key %llu read",
		     (unsigned long long)key);
	}
	guess_by_stream(c, by_stream, known);
	cf_same(c, f, 0, SIZE, made.owner);
	cf_saw(c,
	       "%u keys guessed (neighbours and bits of real ones, small, random), those of others among them: all "
	       "refused",
	       by_stream + 2 * by_calls);
}

static void permission_comes_first(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct cf_child *h = cf_child_new(c, CF_HOLD, &made);

	if (c->variant.holder == CF_END_TCP)
		cf_skip(c, "all TCP clients are one user");
	OK(c, lh_file_chmod(f, 0600));
	h->board->uid = STRANGER;
	cf_child_expect(c, h, -EACCES);
	OK(c, lh_file_chmod(f, 0644));
	h = cf_child_new(c, CF_HOLD, &made);
	h->board->uid = STRANGER;
	h->board->flags = LH_LEASE_WRITE | LH_LEASE_MANUAL;
	cf_child_expect(c, h, -EACCES);
}

/* --- L18 --- */

struct sum {
	uint64_t leases, pinned;
};

static void add(void *ctx, const struct lh_lease_info *i)
{
	struct sum *s = ctx;

	s->leases++;
	s->pinned += i->pinned_bytes;
}

static void charges_are_their_sum(struct cf *c)
{
	struct lh_lease_stats before = cf_stats(c, c->b), during, after;
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, 4 * SIZE, &made);
	struct lh_lease *lease[8];
	struct sum s = {0};

	for (unsigned i = 0; i < 8; i++)
		lease[i] = cf_lease_within(c, f, i % 4 * SIZE, SIZE,
					   (i % 2 ? LH_LEASE_READ : LH_LEASE_WRITE) | LH_LEASE_MANUAL, CF_DEADLINE);
	during = cf_stats(c, c->b);
	OK(c, lh_fs_leases(c->b, NULL, add, &s));
	NEED(c, during.leases == before.leases + 8 && s.leases == during.leases, "%llu leases, %llu listed",
	     (unsigned long long)during.leases, (unsigned long long)s.leases);
	NEED(c, s.pinned == during.pinned_bytes, "%llu pinned bytes charged, %llu in the list",
	     (unsigned long long)during.pinned_bytes, (unsigned long long)s.pinned);
	NEED(c, c->variant.faulting || during.pinned_bytes == before.pinned_bytes + 8 * SIZE,
	     "%llu bytes charged for 8 leases of 64 KiB",
	     (unsigned long long)(during.pinned_bytes - before.pinned_bytes));
	/* Released, revoked by force, released after the force: once each. */
	cf_release(c, lease[0]);
	if (c->variant.holder != c->variant.changer || c->a != c->b)
		OK(c, lh_path_stat(c->b, made.path, true, &(struct lh_stat){.size_of = sizeof(struct lh_stat)}));
	OK(c, lh_file_truncate(cf_open(c, c->b, &made, O_RDWR), 0));
	for (unsigned i = 1; i < 8; i++)
		cf_release(c, lease[i]);
	after = cf_stats(c, c->b);
	NEED(c, after.leases == before.leases && after.pinned_bytes == before.pinned_bytes,
	     "%lld leases and %lld bytes are left", (long long)(after.leases - before.leases),
	     (long long)(after.pinned_bytes - before.pinned_bytes));
	cf_saw(c,
	       "8 leases: %llu bytes charged, as the list says; after release and force (and release again) as before",
	       (unsigned long long)(during.pinned_bytes - before.pinned_bytes));
}

struct settled {
	struct cf *c;
	struct lh_lease_stats want, got;
};

static bool is_settled(void *arg)
{
	struct settled *s = arg;

	s->got = cf_stats(s->c, s->c->b);
	return s->got.leases <= s->want.leases && s->got.pinned_bytes <= s->want.pinned_bytes &&
	       s->got.sessions <= s->want.sessions;
}

static void wait_settled(struct cf *c, const struct lh_lease_stats *want, const char *after)
{
	struct settled s = {.c = c, .want = *want};

	NEED(c, cf_until(is_settled, &s, SETTLE_NS), "after %s: %llu leases, %llu pinned bytes, %llu sessions too many",
	     after, (unsigned long long)(s.got.leases - want->leases),
	     (unsigned long long)(s.got.pinned_bytes - want->pinned_bytes),
	     (unsigned long long)(s.got.sessions - want->sessions));
}

static void crashes_return_charges(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct lh_lease_stats before = cf_stats(c, c->b);
	unsigned times = cf_scaled(c, 6, 3);

	(void)f;
	for (unsigned i = 0; i < times; i++) {
		struct cf_child *h = cf_child_new(c, i % 2 ? CF_READ : CF_HOLD, &made);

		h->board->flags |= i % 2 ? 0 : LH_LEASE_MANUAL;
		cf_child_start(c, h);
		NEED(c, cf_stats(c, c->b).leases > before.leases, "the holder's lease is not counted");
		cf_child_signal(c, h, SIGKILL);
	}
	wait_settled(c, &before, "kill -9 of holders");
	cf_saw(c, "%u holders killed by kill -9: leases, bytes and sessions came back", times);
}

static void set_limit(struct cf *c, uint32_t uid, uint64_t bytes, uint64_t leases)
{
	struct lh_limit l = {.size = sizeof(l), .kind = LH_LIMIT_PINS, .id = uid, .bytes = bytes, .inodes = leases};

	OK(c, lh_fs_limit_set(c->b, NULL, &l));
}

static void clear_limit(struct cf *c, uint32_t uid)
{
	struct lh_limit l = {.size = sizeof(l), .kind = LH_LIMIT_PINS, .id = uid};

	OK(c, lh_fs_limit_clear(c->b, &l));
	IS(c, lh_fs_limit_get(c->b, NULL, &l), -ENODATA);
}

static void limits_hold(struct cf *c)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_MANUAL};
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->a, 8 * SIZE, &made);
	struct lh_lease *one, *two = NULL;
	struct lh_lease_stats before;

	set_limit(c, geteuid(), 2 * SIZE, UINT64_MAX);
	one = cf_lease(c, f, 0, SIZE, LH_LEASE_READ | LH_LEASE_MANUAL);
	before = cf_stats(c, c->b);
	IS(c, cf_try_lease(c, f, SIZE, SIZE + CF_BLOCK, &o, &two), -EDQUOT);
	NEED(c, cf_stats(c, c->b).pinned_bytes == before.pinned_bytes && cf_stats(c, c->b).leases == before.leases,
	     "a lease over the limit was granted in part");
	OK(c, cf_try_lease(c, f, SIZE, SIZE, &o, &two));
	IS(c, cf_try_lease(c, f, 2 * SIZE, CF_BLOCK, &o, &two), -EDQUOT);
	cf_release(c, one);
	OK(c, cf_try_lease(c, f, 2 * SIZE, SIZE, &o, &one));
	/* By number. */
	set_limit(c, geteuid(), UINT64_MAX, 2);
	IS(c, cf_try_lease(c, f, 4 * SIZE, CF_BLOCK, &o, &two), -EDQUOT);
	cf_release(c, one);
	OK(c, cf_try_lease(c, f, 4 * SIZE, CF_BLOCK, &o, &one));
	set_limit(c, geteuid(), 0, 0);
	IS(c, cf_try_lease(c, f, 5 * SIZE, CF_BLOCK, &o, &two), -EDQUOT);
	clear_limit(c, geteuid());
	OK(c, cf_try_lease(c, f, 5 * SIZE, CF_BLOCK, &o, &two));
	cf_saw(c, "limits of bytes, of leases and of nothing: EDQUOT at the first byte over, nothing half granted, "
		  "room again "
		  "after a release");
}

static void memlock_is_the_default(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, 4 * SIZE, &made);
	struct cf_child *h = cf_child_new(c, CF_HOLD, &made);

	(void)f;
	if (c->variant.holder == CF_END_TCP)
		cf_skip(c, "a TCP client has no RLIMIT_MEMLOCK that the server could see");
	h->board->uid = STRANGER;
	h->board->memlock = 2 * SIZE;
	cf_child_expect(c, h, -ENOMEM);
	h = cf_child_new(c, CF_HOLD, &made);
	h->board->uid = STRANGER;
	h->board->memlock = 2 * SIZE;
	h->board->len = 2 * SIZE;
	cf_child_start(c, h);
	cf_child_end(c, h);
	cf_saw(c, "a user with an RLIMIT_MEMLOCK of 128 KiB: 256 KiB are ENOMEM, 128 KiB are granted");
}

static uint64_t memory_of(pid_t pid)
{
	char path[64], line[256];
	uint64_t kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "VmRSS:", 6) == 0)
			kib = strtoull(line + 6, NULL, 10);
	}
	fclose(f);
	return kib * CF_KIB;
}

static void vanishing_sessions_leave_nothing(struct cf *c)
{
	unsigned sessions = cf_scaled(c, 10000 / (c->config->way == CF_UNIX ? 2 : 1), 500), refused = 0;
	enum cf_end end = c->variant.holder == CF_END_LOCAL ? CF_END_STREAM : c->variant.holder;
	pid_t server = c->local != NULL ? getpid() : c->config->server;
	struct linger gone = {.l_onoff = 1};
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct lh_lease *mine = cf_lease(c, f, 0, SIZE, LH_LEASE_READ);
	struct lh_lease_stats before = cf_stats(c, c->b);
	uint64_t memory = memory_of(server), grown;
	struct cf_wire w;

	for (unsigned i = 0; i < sessions; i++) {
		struct cf_wire_lease lease;

		if (i % 3 == 0) {
			int fd = cf_wire_connect(c, end);

			refused += fd < 0;
			if (fd >= 0 && i % 2)
				refused += send(fd, "LHP1 half of a hello", 20, MSG_NOSIGNAL) < 0;
			if (fd >= 0)
				close(fd);
			continue;
		}
		cf_wire_open(c, &w, end);
		if (i % 3 == 1)
			IS(c,
			   cf_wire_lease(&w, cf_wire_file(c, &w, made.path, false), 0, SIZE, LH_LEASE_READ, CF_DEADLINE,
					 &lease),
			   0);
		setsockopt(w.fd, SOL_SOCKET, SO_LINGER, &gone, sizeof(gone));
		cf_wire_close(&w);
		if (i % 500 == 0)
			cf_lease_same(c, mine, 0, SIZE, made.owner);
		atomic_store(&c->board->progress, i);
	}
	wait_settled(c, &before, "sessions that vanished");
	grown = memory_of(server);
	grown = grown > memory ? grown - memory : 0;
	NEED(c, server == 0 || grown < GROWTH, "the server's memory grew by %llu MiB",
	     (unsigned long long)(grown / CF_MIB));
	cf_lease_same(c, mine, 0, SIZE, made.owner);
	cf_saw(c, "%u connections and sessions came and vanished, a third with leases: all came back, memory +%llu KiB",
	       sessions, (unsigned long long)(grown / CF_KIB));
}

static void vanishing_clients_leave_nothing(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct lh_lease_stats before = cf_stats(c, c->b);
	unsigned times = cf_scaled(c, 4, 2);

	(void)f;
	for (unsigned i = 0; i < times; i++) {
		struct cf_child *h = cf_child_new(c, CF_COME, &made);

		cf_child_start(c, h);
		cf_child_rounds(c, h, cf_scaled(c, 40, 10));
		cf_child_signal(c, h, SIGKILL);
	}
	wait_settled(c, &before, "clients killed between opening and closing");
}

/* --- L19 --- */

/* As many leases as the limit allows, all deaf, on everything that the victim wants to cut. */
static unsigned hold_all(struct cf *c, struct lh_file *held, uint64_t size)
{
	struct lh_lease_options o = {
	    .size = sizeof(o), .flags = LH_LEASE_READ | LH_LEASE_MANUAL, .deadline_ns = CF_DEADLINE};
	struct lh_lease *lease;
	unsigned n = 0;
	int err = 0;

	while (!err && n < 300) {
		err = cf_try_lease(c, held, n * CF_BLOCK % size, CF_BLOCK, &o, &lease);
		n += !err;
	}
	NEED(c, err == -EDQUOT, "the limit did not stop the holder after %u leases (%d)", n, err);
	return n;
}

static void a_user_at_the_limit_delays_nobody(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made), *held = cf_open(c, c->a, &made, O_RDONLY);
	uint64_t took, explained;
	struct cf_late l;
	unsigned n;

	set_limit(c, geteuid(), 200 * CF_BLOCK, 200);
	n = hold_all(c, held, SIZE);
	cf_late_begin(c, &l);
	took = clock_now_ns();
	OK(c, lh_file_truncate(f, 0));
	took = clock_now_ns() - took;
	explained = cf_late_take(&l, NULL);
	cf_late_end(&l);
	clear_limit(c, geteuid());
	NEED(c, took <= CF_DEADLINE + WORK_NS + explained, "a truncate took %.1f ms against a user at the limit",
	     (double)took / 1e6);
	cf_saw(c, "a user with %u deaf leases, at the limit: the victim's truncate took %.2f ms, D is 100 ms", n,
	       (double)took / 1e6);
}

static void others_keep_their_share(struct cf *c)
{
	struct cf_made made;
	struct lh_file *f = cf_make(c, c->b, SIZE, &made);
	struct cf_child *h = cf_child_new(c, CF_ASK, &made);
	struct lh_lease *lease;

	if (c->variant.holder == CF_END_TCP)
		cf_skip(c, "all TCP clients are one user");
	set_limit(c, STRANGER, SIZE, 16);
	h->board->uid = STRANGER;
	h->board->deadline_ns = CF_DEADLINE;
	cf_child_start(c, h);
	cf_sleep(50 * NS_PER_MS);
	for (unsigned i = 0; i < 20; i++) {
		lease = cf_lease(c, f, 0, SIZE, LH_LEASE_READ);
		cf_lease_same(c, lease, 0, SIZE, made.owner);
		cf_release(c, lease);
	}
	NEED(c, atomic_load(&h->board->refused) > 0, "the other user was never stopped by its limit");
	NEED(c, cf_stats(c, c->b).leases <= 17, "the other user holds %llu leases, its limit is 16",
	     (unsigned long long)cf_stats(c, c->b).leases);
	cf_child_end(c, h);
	clear_limit(c, STRANGER);
	cf_saw(c, "another user asked %llu times beyond its limit of 16 leases; ours were granted all the while",
	       (unsigned long long)atomic_load(&h->board->refused));
}

static const struct cf_case cases_17[] = {
    {"asks for READ and WRITE on handles opened for reading, writing and both", modes_need_their_opens, CF_FAULTING,
     "a mode is granted on a handle that was not opened for it"},
    {"uses keys beyond their range, in the wrong direction, and another session's", keys_reach_their_range, CF_FAULTING,
     "a byte is moved, or anything but a refusal is answered"},
    {"guesses 10^6 keys", guesses_are_worth_nothing, 0, "one of them is not refused"},
    {"asks for ranges that wrap, are empty or nowhere, and for unknown flags", nonsense_is_refused, 0,
     "it is granted, or refused without a reason"},
    {"asks for another user's file", permission_comes_first, CF_ROOT | CF_ONCE, "it is granted"},
};
CF_RULE(17, "no key without a grant, no grant without permission; a READ key cannot write");
static const struct cf_case cases_18[] = {
    {"takes, releases and loses leases and compares charges with the list", charges_are_their_sum,
     CF_ALONE | CF_FAULTING, "charges differ from what is held, or come back not at all or twice"},
    {"kills holders (kill -9)", crashes_return_charges, CF_ALONE | CF_ONCE, "something of them is left"},
    {"sets limits of pinned bytes and leases", limits_hold, CF_ALONE | CF_ADMIN,
     "more is granted, part of it is, the error is not EDQUOT, or a release gives no room"},
    {"asks for more than RLIMIT_MEMLOCK", memlock_is_the_default, CF_ROOT | CF_ONCE, "it is granted, or not ENOMEM"},
    {"10,000 connections and sessions that vanish, by hand", vanishing_sessions_leave_nothing, CF_ALONE,
     "a lease, byte or session is left, memory grows, or somebody beside them is disturbed"},
    {"processes that come, lease, and are killed", vanishing_clients_leave_nothing, CF_ALONE | CF_ONCE,
     "a lease, byte or session is left"},
};
CF_RULE(18, "every pinned byte is charged to its uid, within limits, and returned exactly once");
static const struct cf_case cases_19[] = {
    {"holds all that the limit allows, deaf, against a truncate", a_user_at_the_limit_delays_nobody,
     CF_ALONE | CF_ADMIN, "the truncate takes longer than D and 10 ms"},
    {"asks in a loop beyond another user's limit", others_keep_their_share, CF_ALONE | CF_ADMIN | CF_ROOT | CF_ONCE,
     "others are refused, or the user gets more"},
};
CF_RULE(19, "a user at the limit delays nobody beyond the deadline, nor uses up what others are entitled to");
