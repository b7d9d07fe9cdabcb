/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conformance: holders in processes of their own, which can be stopped and killed, and their owner's side. What a
 * holder has seen is on its board, also after its death.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/conformance.h"

#define READY_NS   (20 * NS_PER_SEC)
#define CHUNK      (64 * CF_KIB)
#define ASK_LEASES 64u

/* --- the holder's process --- */

struct holder {
	struct cf_child_board *b;
	struct lh_fs *fs;
	struct lh_file *file;
	struct lh_lease *lease;
	uint8_t buf[CHUNK];
};

static int complain(struct holder *h, int err, const char *what)
{
	h->b->error = err ? err : -EIO;
	snprintf(h->b->text, sizeof(h->b->text), "%s: %s", what, lh_error_text());
	return h->b->error;
}

static int begin(struct holder *h)
{
	struct lh_open_options o = {
	    .size = sizeof(o), .fabric = (enum lh_fabric)h->b->fabric, .ring_bytes = 4 * CF_MIB};
	int err;

	err = lh_fs_open(h->b->address, &o, &h->fs);
	if (err)
		return complain(h, err, "open of the filesystem");
	err = lh_file_open(h->fs, h->b->path, h->b->flags & LH_LEASE_WRITE ? O_RDWR : O_RDONLY, 0, &h->file);
	return err ? complain(h, err, "open of the file") : 0;
}

static int take(struct holder *h)
{
	struct cf_child_board *b = h->b;
	struct lh_lease_options o = {.size = sizeof(o), .flags = b->flags, .deadline_ns = b->deadline_ns};
	int err, n;

	err = lh_lease_get(h->file, b->off, b->len, &o, &h->lease);
	if (err)
		return complain(h, err, "lease");
	n = lh_lease_extents(h->lease, b->keys, CF_KEYS_MAX);
	atomic_store(&b->key_count, n > 0 ? (uint32_t)n : 0);
	return 0;
}

static bool going(struct holder *h)
{
	return !atomic_load(&h->b->stop);
}

/* Reads or writes its range again and again, as an application: no error may be seen. */
static int traffic(struct holder *h, bool writing)
{
	struct cf_child_board *b = h->b;
	uint64_t at = 0, version = 2;

	while (going(h)) {
		uint64_t len = min_u64(CHUNK, b->len - at);
		struct cf_seen s = {0};
		ssize_t n;

		if (writing) {
			cf_stamp(h->buf, len, b->owner, b->off + at, version);
			n = lh_lease_write(h->lease, h->buf, len, b->off + at);
		} else {
			n = lh_lease_read(h->lease, h->buf, len, b->off + at);
			cf_look(h->buf, n > 0 ? (size_t)n : 0, b->owner, b->off + at, &s);
			atomic_fetch_add(&b->foreign, s.foreign + (b->zeroes ? 0 : s.zero));
		}
		if (n < 0 || (n != (ssize_t)len && !b->zeroes)) {
			atomic_fetch_add(&b->errors, 1);
			return complain(h, (int)n, writing ? "direct write" : "direct read");
		}
		at = (at + CHUNK) % b->len;
		version += at == 0;
		atomic_fetch_add(&b->rounds, 1);
	}
	return 0;
}

/* Leases without end, none of them ever given back. */
static int ask(struct holder *h)
{
	struct lh_lease *held[ASK_LEASES] = {NULL};

	for (unsigned i = 0; going(h); i++) {
		struct lh_lease_options o = {.size = sizeof(o),
					     .flags = h->b->flags | LH_LEASE_MANUAL | (i % 2 ? LH_LEASE_NOWAIT : 0),
					     .deadline_ns = h->b->deadline_ns};
		struct lh_lease *lease;
		int err = lh_lease_get(h->file, h->b->off, h->b->len, &o, &lease);

		if (err && err != -EAGAIN && err != -EDQUOT)
			return complain(h, err, "asking again");
		atomic_fetch_add(err ? &h->b->refused : &h->b->rounds, 1);
		if (err)
			continue;
		/* The handle of an old one is dropped: by now its range was broken or is doubled. */
		lh_lease_release(held[i % ASK_LEASES]);
		held[i % ASK_LEASES] = lease;
	}
	return 0;
}

/* Acknowledges like a good client and goes on by its old keys like a bad one. */
static int raw(struct holder *h)
{
	struct cf_child_board *b = h->b;
	struct lh_event e = {.size = sizeof(e)};

	memset(h->buf, 0xbd, sizeof(h->buf));
	while (going(h)) {
		for (unsigned i = 0; i < atomic_load(&b->key_count); i++) {
			const struct lh_lease_extent *k = &b->keys[i];
			ssize_t n = lh_raw_write(h->fs, k->key, k->key_off, h->buf, (size_t)min_u64(CHUNK, k->len));

			atomic_fetch_add(n < 0 ? &b->refused : &b->rounds, 1);
		}
		while (h->lease != NULL && lh_event_next(h->fs, &e) == 1) {
			lh_lease_release(h->lease);
			h->lease = NULL;
		}
	}
	return 0;
}

/* Comes, takes, and vanishes without a word: the sockets are cut under the library. */
static int come(struct holder *h)
{
	for (unsigned i = 0; going(h); i++) {
		int err = begin(h);

		if (!err)
			err = take(h);
		if (err)
			return err;
		atomic_fetch_add(&h->b->rounds, 1);
		lh_lease_release(h->lease);
		lh_file_close(h->file);
		lh_fs_close(h->fs);
	}
	return 0;
}

static int work(struct holder *h)
{
	int err;

	if (h->b->work == CF_COME) {
		atomic_store(&h->b->ready, 1);
		return come(h);
	}
	if (h->b->work == CF_ATTACK) {
		err = cf_attack(h->b);
		return err ? complain(h, err, "attack") : 0;
	}
	err = begin(h);
	if (!err && h->b->work != CF_ASK)
		err = take(h);
	if (err)
		return err;
	atomic_store(&h->b->ready, 1);
	switch ((enum cf_work)h->b->work) {
	case CF_HOLD:
		while (going(h))
			cf_sleep(2 * NS_PER_MS);
		return 0;
	case CF_READ:
	case CF_WRITE:
		return traffic(h, h->b->work == CF_WRITE);
	case CF_ASK:
		return ask(h);
	case CF_RAW:
		return raw(h);
	case CF_COME:
	case CF_ATTACK:
		break;
	}
	return 0;
}

int cf_child_main(const char *fd)
{
	static struct holder h;
	struct cf_child_board *b = cf_board_map(fd, sizeof(*b));

	if (b == NULL)
		return 2;
	if (b->memlock > 0 && setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){b->memlock, b->memlock}))
		return 2;
	if (b->uid != UINT32_MAX && (setgroups(0, NULL) || setgid(b->uid) || setuid(b->uid)))
		return 2;
	/* Another uid has forgotten whose death is ours. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	h.b = b;
	if (work(&h))
		atomic_store(&b->ready, 2);
	atomic_store(&b->ended, 1);
	/* Its leases and sessions end with the process, as those of any client. */
	_exit(b->error ? 1 : 0);
}

/* --- its owner --- */

struct cf_child *cf_child_new(struct cf *c, enum cf_work how, const struct cf_made *made)
{
	enum cf_end end = c->variant.holder == CF_END_LOCAL ? c->variant.changer : c->variant.holder;
	struct cf_child *h = calloc(1, sizeof(*h));

	NEED(c, h != NULL, "no memory");
	h->board = cf_board_make(sizeof(*h->board), &h->fd);
	NEED(c, h->board != NULL, "no memory for a board");
	h->pid = -1;
	*h->board = (struct cf_child_board){.work = how,
					    .fabric = end == CF_END_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM,
					    .uid = UINT32_MAX,
					    .flags = LH_LEASE_READ,
					    .seed = cf_draw(c, 0)};
	snprintf(h->board->address, sizeof(h->board->address), "%s", cf_address(c, end));
	if (made != NULL) {
		snprintf(h->board->path, sizeof(h->board->path), "%s", made->path);
		h->board->len = made->size;
		h->board->owner = made->owner;
	}
	if (c->variant.faulting)
		h->board->flags |= LH_LEASE_FAULTING;
	cf_keep_child(c, h);
	return h;
}

void cf_child_start(struct cf *c, struct cf_child *h)
{
	uint64_t end = clock_now_ns() + READY_NS;

	NEED(c, cf_spawn("child", h->fd, &h->pid) == 0, "no process for a holder");
	while (atomic_load(&h->board->ready) != 1) {
		if (h->board->error == -EOPNOTSUPP)
			cf_absent(c, h->board->text);
		NEED(c, atomic_load(&h->board->ready) == 0 && clock_now_ns() < end, "a holder did not start: %s",
		     h->board->text);
		cf_sleep(NS_PER_MS);
	}
}

void cf_child_expect(struct cf *c, struct cf_child *h, int err)
{
	uint64_t end = clock_now_ns() + READY_NS;

	NEED(c, cf_spawn("child", h->fd, &h->pid) == 0, "no process for a holder");
	while (!atomic_load(&h->board->ended) && atomic_load(&h->board->ready) != 1) {
		NEED(c, clock_now_ns() < end, "a holder does not end");
		cf_sleep(NS_PER_MS);
	}
	if (h->board->error == -EOPNOTSUPP)
		cf_absent(c, h->board->text);
	NEED(c, h->board->error == err, "instead of \"%s\" a holder got \"%s\" (%s)", strerror(-err),
	     strerror(-h->board->error), h->board->text);
}

void cf_child_rounds(struct cf *c, struct cf_child *h, uint64_t more)
{
	uint64_t end = clock_now_ns() + READY_NS, want = atomic_load(&h->board->rounds) + more;

	while (atomic_load(&h->board->rounds) < want) {
		NEED(c, !atomic_load(&h->board->ended), "the holder ended: %s", h->board->text);
		NEED(c, clock_now_ns() < end, "the holder stands still after %llu rounds",
		     (unsigned long long)atomic_load(&h->board->rounds));
		cf_sleep(NS_PER_MS);
	}
}

void cf_child_signal(struct cf *c, struct cf_child *h, int sig)
{
	siginfo_t info;

	NEED(c, kill(h->pid, sig) == 0, "cannot signal a holder: %s", strerror(errno));
	/* Stopped means that no thread of it runs any more. */
	if (sig == SIGSTOP)
		NEED(c, waitid(P_PID, (id_t)h->pid, &info, WSTOPPED | WEXITED | WNOWAIT) == 0, "waiting for the stop");
}

void cf_child_kill(struct cf_child *h)
{
	if (h->pid > 0) {
		kill(h->pid, SIGKILL);
		waitpid(h->pid, NULL, 0);
	}
	munmap(h->board, sizeof(*h->board));
	close(h->fd);
	free(h);
}

void cf_child_end(struct cf *c, struct cf_child *h)
{
	uint64_t end = clock_now_ns() + READY_NS;

	atomic_store(&h->board->stop, 1);
	while (!atomic_load(&h->board->ended)) {
		NEED(c, clock_now_ns() < end, "the holder does not end");
		NEED(c, waitpid(h->pid, NULL, WNOHANG) == 0, "the holder has died");
		cf_sleep(NS_PER_MS);
	}
	waitpid(h->pid, NULL, 0);
	h->pid = -1;
	NEED(c, h->board->error == 0, "the holder saw an error: %s", h->board->text);
	NEED(c, atomic_load(&h->board->foreign) == 0, "the holder saw %llu foreign cells",
	     (unsigned long long)atomic_load(&h->board->foreign));
}
