/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plain reads of a remote file through leases of the session's own (L32).
 *
 * A file that is read has one internal READ lease over all of it. It holds nothing until its windows (64 MiB, aligned)
 * are asked for: one by one, when reading them has become worth a grant. A read goes by key as far as the map knows the
 * bytes; the rest of it goes as a call, which is what a fault is here. So a read never waits for a grant, a recall or
 * somebody's gate, and never answers anything that a call would not: bytes behind what the file's end was when the
 * window was granted are not in the map (client_granted cuts them off), and whoever cuts the file takes its leases away
 * before it returns.
 *
 * Asking is done by one thread of the session, which starts with the first wish. It asks without waiting (NOWAIT); what
 * it is refused is asked for again later, at the earliest after ASK_AGAIN_NS.
 *
 * Memory is bounded: windows and runs of all files of a session are counted, the least recently used go first.
 */
#include "client/cache.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* The largest piece that is asked for at once. A tighter limit on pinned bytes (L18) halves it, down to SPAN_MIN. */
#define WINDOW_BYTES ((uint64_t)64 << 20)
#define SPAN_MIN     ((uint64_t)1 << 20)
#define WINDOWS_MAX  256u   /* of a session */
#define RUNS_MAX     49152u /* of a session: 2 MB here, and as many keys there */
/*
 * When a window is worth it (docs/design.md has the measurements): a grant and its release cost two round trips, a
 * small read by call one, and every 64 runs of a grant some more. A window is asked for when a reader has come by so
 * many times, or has read so much in sequence, unless the file's pieces are so small that long reads are better off as
 * calls.
 */
#define TOUCHES_MIN    16u
#define RUNS_PER_TOUCH 64u
#define SEQUENCE_BYTES ((uint64_t)256 << 10)
#define RUNS_MANY      1024u /* of a window: pieces of 64 KiB */
#define ASK_AGAIN_NS   NS_PER_MS
#define ASK_LIMITED_NS NS_PER_SEC /* after a limit */
#define STREAMS        4u         /* sequential readers of one file that are told apart */
#define BREAKS_SOON_NS (20 * NS_PER_MS)
#define PENALTY_MAX    256u

struct window {
	uint64_t index;    /* its start / WINDOW_BYTES */
	uint64_t used;     /* the session's count of reads */
	uint64_t after_ns; /* do not ask before */
	uint64_t asked_ns; /* when it was granted last */
	uint32_t touches;  /* reads that missed it since */
	uint32_t runs;     /* it had when it was granted */
	uint32_t penalty;  /* touches more, because it is taken away all the time */
	bool asking;
};

/* One reader that goes forward. */
struct stream {
	uint64_t next;
	uint64_t bytes;
};

/* Of one file. Under the lease's lock, but for its place in the session's list. */
struct cache {
	TAILQ_ENTRY(cache) in_session;
	struct lh_lease *lease;
	struct window *windows; /* ascending */
	unsigned count, room;
	struct stream streams[STREAMS];
	unsigned oldest_stream;
	uint64_t ahead; /* where the last read-ahead was asked for */
	uint32_t runs;  /* of the last window that was granted: the others will be alike */
};

struct wish {
	struct lh_lease *lease;
	uint64_t off;
};
#define WISHES_MAX 32u

struct session_cache {
	/* Under lh_fs.lock. */
	TAILQ_HEAD(, cache) files;
	struct wish wishes[WISHES_MAX];
	unsigned first_wish, wish_count;
	struct cond wished;
	bool thread_runs, closing;
	unsigned windows;
	pthread_t thread;
	atomic_ullong reads;
	atomic_ullong span;
	atomic_ullong limited_ns; /* no asking before */
};

/* --- windows --- */

static unsigned window_find(const struct cache *c, uint64_t index)
{
	unsigned low = 0;
	unsigned high = c->count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (c->windows[mid].index >= index)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static struct window *window_at(struct cache *c, uint64_t off)
{
	unsigned i = window_find(c, off / WINDOW_BYTES);

	return i < c->count && c->windows[i].index == off / WINDOW_BYTES ? &c->windows[i] : NULL;
}

static struct range window_range(const struct window *w)
{
	return (struct range){w->index * WINDOW_BYTES, (w->index + 1) * WINDOW_BYTES};
}

/* Caller holds both locks. NULL: no memory. */
static struct window *window_add(struct session_cache *sc, struct cache *c, uint64_t off)
{
	unsigned i = window_find(c, off / WINDOW_BYTES);

	if (c->count == c->room) {
		unsigned room = c->room ? c->room * 2 : 4;
		struct window *windows = reallocarray(c->windows, room, sizeof(*windows));

		if (!windows)
			return NULL;
		c->windows = windows;
		c->room = room;
	}
	memmove(&c->windows[i + 1], &c->windows[i], (c->count - i) * sizeof(*c->windows));
	c->windows[i] = (struct window){.index = off / WINDOW_BYTES};
	c->count++;
	sc->windows++;
	return &c->windows[i];
}

/* Caller holds both locks. Forgets the window and gives its part of the lease back. */
static void window_evict(struct lh_fs *fs, struct cache *c, unsigned i)
{
	struct range r = window_range(&c->windows[i]);

	memmove(&c->windows[i], &c->windows[i + 1], (c->count - i - 1) * sizeof(*c->windows));
	c->count--;
	fs->cache->windows--;
	client_lease_forget(fs, c->lease, r);
}

/* Caller holds lh_fs.lock. The least recently used window of the session goes. false: there is none that may. */
static bool evict_oldest(struct lh_fs *fs, const struct lh_lease *keep, uint64_t keep_index)
{
	struct cache *oldest = NULL;
	uint64_t used = UINT64_MAX;
	uint64_t index = 0;
	struct cache *c;

	TAILQ_FOREACH (c, &fs->cache->files, in_session) {
		lock_take(&c->lease->lock);
		for (unsigned i = 0; i < c->count; i++) {
			const struct window *w = &c->windows[i];

			if (w->asking || w->used >= used || (c->lease == keep && w->index == keep_index))
				continue;
			oldest = c;
			used = w->used;
			index = w->index;
		}
		lock_drop(&c->lease->lock);
	}
	if (!oldest)
		return false;
	lock_take(&oldest->lease->lock);
	window_evict(fs, oldest, window_find(oldest, index));
	lock_drop(&oldest->lease->lock);
	return true;
}

/* Caller holds lh_fs.lock. */
static unsigned runs_of_all(struct lh_fs *fs)
{
	unsigned sum = 0;
	struct cache *c;

	TAILQ_FOREACH (c, &fs->cache->files, in_session) {
		lock_take(&c->lease->lock);
		sum += c->lease->map.count;
		lock_drop(&c->lease->lock);
	}
	return sum;
}

/* --- asking --- */

/* What to ask for around off: a span of what is unknown. Caller holds the lock. */
static struct range ask_range(struct session_cache *sc, const struct lh_lease *lease, uint64_t off)
{
	uint64_t span = atomic_load(&sc->span);
	uint64_t start = round_down_u64(off, span);

	return map_gap(&lease->map, off, (struct range){start, start + span});
}

static uint32_t runs_in(const struct map *m, struct range r)
{
	return map_find(m, r.end) - map_find(m, r.start);
}

/* Over a limit of pinned bytes or leases: our own older windows go first, then the pieces get smaller. */
static void ask_limited(struct lh_fs *fs, const struct lh_lease *lease, uint64_t index)
{
	struct session_cache *sc = fs->cache;
	uint64_t span = atomic_load(&sc->span);
	bool evicted;

	lock_take(&fs->lock);
	evicted = evict_oldest(fs, lease, index);
	lock_drop(&fs->lock);
	if (evicted)
		return;
	if (span > SPAN_MIN)
		atomic_store(&sc->span, span / 2);
	else
		atomic_store(&sc->limited_ns, clock_now_ns() + ASK_LIMITED_NS);
}

/* The asking thread's. No lock held; lease->asking keeps the lease. */
static void wish_ask(struct lh_fs *fs, const struct wish *wish)
{
	struct session_cache *sc = fs->cache;
	struct lh_lease *lease = wish->lease;
	struct range r;
	int err = -EALREADY;

	lock_take(&lease->lock);
	r = ask_range(sc, lease, wish->off);
	lock_drop(&lease->lock);
	if (!range_empty(r) && r.start <= wish->off && wish->off < r.end)
		err = client_lease_ask(lease, r, true);
	if (err == -ENOMEM || err == -EDQUOT || err == -ENOSPC)
		ask_limited(fs, lease, wish->off / WINDOW_BYTES);
	lock_take(&fs->lock);
	while (!err && runs_of_all(fs) > RUNS_MAX && evict_oldest(fs, lease, wish->off / WINDOW_BYTES))
		;
	lock_take(&lease->lock);
	if (lease->cache) {
		struct window *w = window_at(lease->cache, wish->off);

		if (w) {
			uint64_t now = clock_now_ns();

			w->asking = false;
			w->after_ns = now + (err ? ASK_AGAIN_NS : 0);
			w->asked_ns = err ? w->asked_ns : now;
			w->runs = err ? w->runs : runs_in(&lease->map, window_range(w));
			w->touches = 0;
			lease->cache->runs = w->runs ? w->runs : lease->cache->runs;
		}
	}
	lease->asking--;
	cond_wake_all(&lease->changed);
	lock_drop(&lease->lock);
	lock_drop(&fs->lock);
}

static void *ask_thread(void *arg)
{
	struct lh_fs *fs = arg;
	struct session_cache *sc = fs->cache;

	lock_take(&fs->lock);
	while (!sc->closing) {
		struct wish wish;

		if (sc->wish_count == 0) {
			cond_wait(&sc->wished, &fs->lock);
			continue;
		}
		wish = sc->wishes[sc->first_wish];
		sc->first_wish = (sc->first_wish + 1) % WISHES_MAX;
		sc->wish_count--;
		lock_drop(&fs->lock);
		wish_ask(fs, &wish);
		lock_take(&fs->lock);
	}
	lock_drop(&fs->lock);
	return NULL;
}

/* Caller holds both locks. */
static void wish_for(struct lh_fs *fs, struct lh_lease *lease, struct window *w, uint64_t off)
{
	struct session_cache *sc = fs->cache;

	if (sc->wish_count == WISHES_MAX || sc->closing)
		return;
	if (!sc->thread_runs) {
		if (pthread_create(&sc->thread, NULL, ask_thread, fs))
			return;
		sc->thread_runs = true;
	}
	sc->wishes[(sc->first_wish + sc->wish_count) % WISHES_MAX] = (struct wish){.lease = lease, .off = off};
	sc->wish_count++;
	w->asking = true;
	lease->asking++;
	cond_wake_all(&sc->wished);
}

/* --- reading --- */

/* The bytes that have been read in sequence, with these. Caller holds the lease's lock. */
static uint64_t stream_note(struct cache *c, uint64_t off, uint64_t len)
{
	struct stream *s = NULL;

	for (unsigned i = 0; i < STREAMS && !s; i++) {
		if (c->streams[i].next == off)
			s = &c->streams[i];
	}
	if (!s) {
		s = &c->streams[c->oldest_stream++ % STREAMS];
		s->bytes = 0;
	}
	s->next = off + len;
	s->bytes += len;
	return s->bytes;
}

/* Whether the window is worth a grant by now. */
static bool worth(const struct cache *c, struct window *w, uint64_t in_sequence, uint64_t now)
{
	uint32_t runs = w->runs ? w->runs : c->runs;

	if (w->asking || now < w->after_ns)
		return false;
	w->touches++;
	if (w->touches == 1 && w->asked_ns) {
		bool soon = now - w->asked_ns < BREAKS_SOON_NS;

		w->penalty = soon ? (uint32_t)min_u64(w->penalty * 2 + 1, PENALTY_MAX) : 0;
	}
	if (in_sequence >= SEQUENCE_BYTES && runs <= RUNS_MANY)
		return w->touches > w->penalty;
	return w->touches > TOUCHES_MIN + runs / RUNS_PER_TOUCH + w->penalty;
}

/* A read of [off, off + len) was not served, or the bytes from off on will be needed soon. */
static void miss(struct lh_file *file, uint64_t off, uint64_t in_sequence)
{
	struct lh_fs *fs = file->head.fs;
	struct session_cache *sc = fs->cache;
	struct cache *c = file->cache;
	uint64_t now = clock_now_ns();
	struct window *w;

	if (now < atomic_load(&sc->limited_ns))
		return;
	lock_take(&fs->lock);
	if (sc->windows >= WINDOWS_MAX)
		evict_oldest(fs, NULL, 0);
	lock_take(&c->lease->lock);
	w = window_at(c, off);
	if (!w && sc->windows < WINDOWS_MAX)
		w = window_add(sc, c, off);
	if (w) {
		w->used = atomic_load(&sc->reads);
		if (worth(c, w, in_sequence, now) && !c->lease->dead)
			wish_for(fs, c->lease, w, off);
	}
	lock_drop(&c->lease->lock);
	lock_drop(&fs->lock);
}

/* Where the next window is to be asked for, when a reader has come half through this one; 0: not now. Caller holds the
 * lease's lock. */
static uint64_t ahead_of(struct session_cache *sc, struct cache *c, uint64_t end, uint64_t in_sequence)
{
	uint64_t span = atomic_load(&sc->span);
	uint64_t next = round_down_u64(end, span) + span;

	if (in_sequence < SEQUENCE_BYTES || next - end > span / 2 || next >= c->lease->size || next == c->ahead)
		return 0;
	if (map_at(&c->lease->map, next))
		return 0;
	c->ahead = next;
	return next;
}

/* By key, as far as one look at the map goes. 0: nothing of it can be; -EAGAIN: it could, but a call does better. */
static ssize_t read_known(struct lh_file *file, char *buf, size_t len, uint64_t off)
{
	struct lh_fs *fs = file->head.fs;
	struct session_cache *sc = fs->cache;
	struct cache *c = file->cache;
	struct lh_lease *lease = c->lease;
	uint64_t ahead = 0;
	uint64_t in_sequence;
	struct window *w;
	ssize_t n;

	n = client_lease_step(lease, buf, len, off);
	if (n <= 0)
		return n;
	lock_take(&lease->lock);
	in_sequence = stream_note(c, off, (uint64_t)n);
	w = window_at(c, off);
	if (w)
		w->used = atomic_fetch_add_explicit(&sc->reads, 1, memory_order_relaxed);
	ahead = ahead_of(sc, c, off + (uint64_t)n, in_sequence);
	lock_drop(&lease->lock);
	if (ahead)
		miss(file, ahead, in_sequence);
	return n;
}

/* The file's cache, made with the first read that is not short. */
static bool cache_ready(struct lh_file *file)
{
	struct lh_fs *fs = file->head.fs;
	struct cache *c = atomic_load_explicit(&file->cache, memory_order_acquire);

	if (likely(c))
		return true;
	c = calloc(1, sizeof(*c));
	if (!c)
		return false;
	c->lease = client_lease_internal(file);
	if (!c->lease) {
		free(c);
		return false;
	}
	c->lease->cache = c;
	lock_take(&fs->lock);
	if (!file->cache) {
		TAILQ_INSERT_TAIL(&file->leases, c->lease, in_file);
		TAILQ_INSERT_TAIL(&fs->cache->files, c, in_session);
		atomic_store_explicit(&file->cache, c, memory_order_release);
		c = NULL;
	}
	lock_drop(&fs->lock);
	if (c) {
		client_lease_internal_free(c->lease);
		free(c);
	}
	return true;
}

ssize_t client_file_read(struct lh_file *file, void *buf, size_t len, uint64_t off)
{
	struct cache *c = atomic_load_explicit(&file->cache, memory_order_acquire);
	uint64_t in_sequence = 0;
	size_t done = 0;
	bool missed = true;
	ssize_t n;

	while (c && done < len) {
		n = read_known(file, (char *)buf + done, len - done, off + done);
		missed = n == 0;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (likely(done == len && len))
		return (ssize_t)done;
	n = client_call_read(file, (char *)buf + done, len - done, off + done);
	if (n < 0)
		return done ? (ssize_t)done : n;
	if (!file->head.fs->cache || (file->flags & O_ACCMODE) == O_WRONLY || n == 0)
		return (ssize_t)done + n;
	/* What ends at the end of the file is no reason for a lease: a small file has none. */
	if (!c && ((size_t)n < len || !cache_ready(file)))
		return n;
	c = file->cache;
	lock_take(&c->lease->lock);
	in_sequence = stream_note(c, off + done, (uint64_t)n);
	lock_drop(&c->lease->lock);
	if (missed && done + (size_t)n == len)
		miss(file, off + done, in_sequence);
	return (ssize_t)done + n;
}

/* --- life --- */

int client_cache_new(struct lh_fs *fs)
{
	struct session_cache *sc = calloc(1, sizeof(*sc));

	if (!sc)
		return -ENOMEM;
	TAILQ_INIT(&sc->files);
	cond_init(&sc->wished);
	atomic_store(&sc->span, WINDOW_BYTES);
	fs->cache = sc;
	return 0;
}

void client_cache_free(struct lh_fs *fs)
{
	struct session_cache *sc = fs->cache;

	if (!sc)
		return;
	lock_take(&fs->lock);
	sc->closing = true;
	cond_wake_all(&sc->wished);
	lock_drop(&fs->lock);
	if (sc->thread_runs)
		pthread_join(sc->thread, NULL);
	assert(TAILQ_EMPTY(&sc->files) && sc->wish_count == 0);
	cond_destroy(&sc->wished);
	free(sc);
	fs->cache = NULL;
}

void client_cache_close(struct lh_file *file)
{
	struct lh_fs *fs = file->head.fs;
	struct cache *c = file->cache;
	struct lh_lease *lease;

	if (!c)
		return;
	lease = c->lease;
	lock_take(&fs->lock);
	TAILQ_REMOVE(&fs->cache->files, c, in_session);
	fs->cache->windows -= c->count;
	lock_drop(&fs->lock);
	lock_take(&lease->lock);
	while (lease->asking)
		cond_wait(&lease->changed, &lease->lock);
	lease->cache = NULL;
	lock_drop(&lease->lock);
	file->cache = NULL;
	free(c->windows);
	free(c);
	client_lease_internal_end(lease);
}

void client_cache_shrunk(struct lh_fs *fs, struct lh_lease *lease)
{
	lock_assert_held(RANK_CLIENT);
	lock_assert_held(RANK_PIN);
	lease->shrinks++;
	client_lease_forget(fs, lease, RANGE_ALL);
}

bool client_cache_yield(struct lh_fs *fs)
{
	bool any = false;

	if (!fs->cache)
		return false;
	lock_take(&fs->lock);
	while (evict_oldest(fs, NULL, 0))
		any = true;
	lock_drop(&fs->lock);
	return any;
}
