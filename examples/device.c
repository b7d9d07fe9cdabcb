/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device in one file: a "DMA engine" that copies a file's bytes out of the pool, while the filesystem moves them.
 *
 * The engine stands for anything that reaches memory by itself. All that it needs to work with Leasehold is in the two
 * callbacks:
 *
 *	attach	these bytes of the file are at these addresses now: program the device with them
 *	detach	let go of these bytes; return when the device provably does not touch them any more
 *
 * The rest is the engine itself, and a program that uses it: it reads one file round after round through the engine,
 * while another thread relocates, clones, overwrites and cuts that file. No round may show a byte that was never there.
 *
 *	cc device.c -lleasehold -lpthread && ./a.out [POOL]
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <leasehold/leasehold.h>

#define RUNS_MAX  1024u /* a run has one block at least, so that these are enough for FILE_SIZE */
#define BURST     ((size_t)64 << 10)
#define FILE_SIZE ((size_t)4 << 20)
#define ROUNDS    200u

/* ---- the device ---- */

struct engine {
	pthread_mutex_t lock; /* held for one burst; so whoever has it knows that nothing is in flight */
	pthread_cond_t change;
	struct lh_pin_run runs[RUNS_MAX]; /* what is attached, in no order */
	unsigned count;
	/* The job: a file's bytes to a buffer. The thread that asked waits for `state`. */
	enum { IDLE, RUNNING, STUCK, DONE, QUIT } state;
	uint64_t off, end;
	char *to;
	unsigned long bursts, detached, stuck;
	pthread_t thread;
};

static struct lh_pin_run *engine_find(struct engine *e, uint64_t off)
{
	for (unsigned k = 0; k < e->count; k++) {
		if (e->runs[k].off <= off && off < e->runs[k].off + e->runs[k].len)
			return &e->runs[k];
	}
	return NULL;
}

/* Moves bytes as long as it has addresses for them. At a byte that is not attached it stops, and says so. */
static void *engine_main(void *arg)
{
	struct engine *e = arg;

	pthread_mutex_lock(&e->lock);
	while (e->state != QUIT) {
		struct lh_pin_run *r;
		size_t n;

		if (e->state != RUNNING) {
			pthread_cond_wait(&e->change, &e->lock);
			continue;
		}
		r = engine_find(e, e->off);
		if (!r || e->off == e->end) {
			e->state = r || e->off == e->end ? DONE : STUCK;
			pthread_cond_broadcast(&e->change);
			continue;
		}
		n = r->off + r->len - e->off;
		if (n > BURST)
			n = BURST;
		if (n > e->end - e->off)
			n = e->end - e->off;
		memcpy(e->to, (char *)r->addr + (e->off - r->off), n);
		e->to += n;
		e->off += n;
		e->bursts++;
		/* Between two bursts somebody may want the memory. */
		pthread_mutex_unlock(&e->lock);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* ---- what Leasehold wants of it ---- */

static int engine_attach(void *ctx, uint64_t off, uint64_t len, const struct lh_pin_run *runs, unsigned count)
{
	struct engine *e = ctx;
	int err = 0;

	(void)off;
	(void)len; /* bytes of the range without a run are holes: this engine gets stuck there, and is told zeroes */
	pthread_mutex_lock(&e->lock);
	if (count > RUNS_MAX - e->count)
		err = -ENOBUFS; /* nothing of it is attached then, and whoever asked gets this error */
	else
		memcpy(&e->runs[e->count], runs, count * sizeof(*runs));
	if (!err)
		e->count += count;
	pthread_mutex_unlock(&e->lock);
	return err;
}

/*
 * The bytes lie inside one run (or are a hole, of which we keep nothing). We hold the engine's lock, so no burst is on
 * its way; and when we drop it, the next burst does not find the address any more. That is the whole proof. A device
 * with a queue of its own would be told to stop, and waited for, here.
 */
static void engine_detach(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *wrote)
{
	struct engine *e = ctx;
	struct lh_pin_run *r;

	pthread_mutex_lock(&e->lock);
	r = engine_find(e, off);
	if (r) {
		struct lh_pin_run all = *r;
		uint64_t before = off - all.off, behind = all.off + all.len - (off + len);

		*r = e->runs[--e->count];
		if (before)
			e->runs[e->count++] = (struct lh_pin_run){.off = all.off, .len = before, .addr = all.addr};
		if (behind)
			e->runs[e->count++] = (struct lh_pin_run){
			    .off = off + len, .len = behind, .addr = (char *)all.addr + before + len};
		e->detached++;
	}
	pthread_mutex_unlock(&e->lock);
	wrote->len = 0; /* it only reads; a device that writes says what it may have written, and that gets flushed */
}

static const struct lh_pin_device engine_device = {
    .size = sizeof(engine_device),
    .name = "dma-engine",
    .attach = engine_attach,
    .detach = engine_detach,
};

/* ---- how it is used ---- */

/* Fills buf with [off, off + len) of the file. Where the engine lost the bytes they are got again: the file has moved.
 */
static int engine_read(struct engine *e, struct lh_pin *pin, char *buf, uint64_t off, size_t len)
{
	int err = 0;

	pthread_mutex_lock(&e->lock);
	e->off = off;
	e->end = off + len;
	e->to = buf;
	e->state = RUNNING;
	pthread_cond_broadcast(&e->change);
	while (!err && e->state != DONE) {
		if (e->state == RUNNING) {
			pthread_cond_wait(&e->change, &e->lock);
			continue;
		}
		off = e->off;
		e->stuck++;
		pthread_mutex_unlock(&e->lock);
		err = lh_pin_fault(pin, off, 1);
		pthread_mutex_lock(&e->lock);
		if (!err) {
			e->state = RUNNING;
			pthread_cond_broadcast(&e->change);
		}
	}
	e->state = IDLE;
	pthread_mutex_unlock(&e->lock);
	return err;
}

static void check(int64_t result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, lh_error_text());
		exit(1);
	}
}

struct mover {
	struct lh_file *file, *copy;
	_Atomic bool stop;
	unsigned changes;
};

/* Every way to take blocks away from a reader that leaves the bytes as they are. */
static void *mover_main(void *arg)
{
	struct mover *m = arg;
	static char block[4096];

	for (unsigned k = 0; !m->stop; k++, m->changes++) {
		uint64_t at = (uint64_t)(k * 7919u % (FILE_SIZE / 4096)) * 4096;

		check(lh_file_relocate(m->file, at, FILE_SIZE / 8 < FILE_SIZE - at ? FILE_SIZE / 8 : FILE_SIZE - at),
		      "relocate");
		check(lh_file_clone_range(m->copy, 0, m->file, 0, FILE_SIZE), "clone");
		/* The same bytes again, into blocks that are shared now: copy on write. */
		check(lh_file_read(m->copy, block, sizeof(block), at), "read");
		check(lh_file_write(m->file, block, sizeof(block), at), "write");
	}
	return NULL;
}

static void fill(struct lh_file *file)
{
	uint64_t *word = malloc(FILE_SIZE);

	for (size_t k = 0; k < FILE_SIZE / sizeof(*word); k++)
		word[k] = k * 0x9e3779b97f4a7c15u;
	check(lh_file_write(file, word, FILE_SIZE, 0), "fill");
	free(word);
}

static size_t wrong_words(const uint64_t *word)
{
	size_t wrong = 0;

	for (size_t k = 0; k < FILE_SIZE / sizeof(*word); k++)
		wrong += word[k] != k * 0x9e3779b97f4a7c15u;
	return wrong;
}

int main(int argc, char **argv)
{
	struct engine e = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};
	struct lh_pin_options opt = {.size = sizeof(opt), .flags = LH_LEASE_READ};
	struct lh_pin_state state = {.size = sizeof(state)};
	struct mover m = {0};
	uint64_t *buf = malloc(FILE_SIZE);
	size_t wrong = 0;
	pthread_t mover;
	struct lh_fs *fs;
	struct lh_pin *pin;

	check(lh_fs_open(argc > 1 ? argv[1] : "mem:64M", NULL, &fs), "open");
	check(lh_file_open(fs, "/data", O_RDWR | O_CREAT, 0644, &m.file), "create");
	check(lh_file_open(fs, "/copy", O_RDWR | O_CREAT, 0644, &m.copy), "create");
	fill(m.file);
	/* The one line: from here on the engine may reach the file's memory. */
	check(lh_pin_get(m.file, 0, FILE_SIZE, &opt, &engine_device, &e, &pin), "pin");
	pthread_create(&e.thread, NULL, engine_main, &e);
	pthread_create(&mover, NULL, mover_main, &m);
	for (unsigned k = 0; k < ROUNDS; k++) {
		check(engine_read(&e, pin, (char *)buf, 0, FILE_SIZE), "engine");
		wrong += wrong_words(buf);
	}
	m.stop = true;
	pthread_join(mover, NULL);
	check(lh_pin_state(pin, &state), "state");
	check(lh_pin_release(pin), "release");
	pthread_mutex_lock(&e.lock);
	e.state = QUIT;
	pthread_cond_broadcast(&e.change);
	pthread_mutex_unlock(&e.lock);
	pthread_join(e.thread, NULL);
	printf("%u rounds in %lu bursts while the file changed %u times: the engine let go %lu times, asked again %lu "
	       "times,"
	       " %zu wrong words\n",
	       ROUNDS, e.bursts, m.changes, e.detached, e.stuck, wrong);
	lh_file_close(m.copy);
	lh_file_close(m.file);
	lh_fs_close(fs);
	free(buf);
	return wrong || e.count ? 1 : 0;
}
