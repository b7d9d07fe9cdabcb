/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The target end of a ring: takes entries, copies between exposed memory and the peer's arena a chunk at a time,
 * completes.
 *
 * The peer can change every shared byte at any time and keeps its own copies of all three descriptors. So: counters and
 * geometry are kept here and never read back, entries are snatched before they're judged, the memory is sealed (its
 * pages can't be taken away under us) and the descriptors are used only in ways that can't block: bell_target is waited
 * for, edge triggered, and never read; bell_conn is a socket because a send can refuse to wait by itself, while a write
 * to an eventfd waits when its owner filled it and cleared O_NONBLOCK behind our back.
 */
#include "fabric/ring.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "fabric/move.h"
#include "fabric/status.h"
#include "fabric/target.h"

#define TURN_BYTES     262144u /* moved for one path before the next one's turn */
#define TURN_ENTRIES   64u
#define POPULATE_MOST  ((size_t)64 << 20) /* larger ones are mapped page by page as used */
#define SEALS_WANTED   (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEALS_UNWANTED (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

struct ring_path {
	struct fabric_path path;
	struct ring_map map;
	int bell_target, bell_conn;
	uint32_t sq_head, cq_tail; /* ours, and the only ones believed */
	bool busy;                 /* with `now` */
	struct ring_request now;
	uint64_t done;
};

static struct ring_path *ring_of(struct fabric_path *p)
{
	return container_of(p, struct ring_path, path);
}

/* --- serving --- */

/* One chunk of the current request. 0, why the key refuses, or -EIO. */
static int chunk_move(struct ring_path *rp)
{
	const struct ring_request *r = &rp->now;
	struct key_want want = {.owner = &rp->path.domain->owner,
				.number = r->key,
				.access = r->dir == FABRIC_OP_READ ? FABRIC_READ : FABRIC_WRITE,
				.offset = r->offset + rp->done,
				.len = r->len - rp->done};
	size_t step;
	char *arena = rp->map.arena + r->arena + rp->done;
	struct key_hold hold;
	int err = key_enter(rp->path.domain->target->keys, &want, &hold);

	if (err)
		return err;
	step = hold.len;
	if (r->dir == FABRIC_OP_READ) {
		err = move_exposed(arena, hold.mem, step, BUSGUARD_FROM);
	} else if (step > 0) {
		err = move_exposed(hold.mem, arena, step, BUSGUARD_TO);
		key_dirty(&hold, step);
	}
	key_leave(&hold);
	rp->done += step;
	return r->len == 0 ? -EINVAL : err;
}

static const char *entry_take(struct ring_path *rp)
{
	struct ring_w_entry w;

	ring_snatch(&w, &rp->map.sq[rp->sq_head % RING_ENTRIES], sizeof(w));
	rp->sq_head++;
	rp->busy = true;
	rp->done = 0;
	return ring_request_decode(&w, rp->map.arena_len, &rp->now);
}

static const char *entry_complete(struct ring_path *rp, int status)
{
	uint32_t head = ring_load(&rp->map.head->rh_cq_head);

	if (rp->cq_tail - head > RING_ENTRIES - 1)
		return "F23: completion ring overrun";
	rp->map.cq[rp->cq_tail % RING_ENTRIES] = (struct ring_w_completion){
	    .cq_tag = le32_of(rp->now.tag),
	    .cq_status = le32_of(status_to_wire(status)),
	};
	ring_store(&rp->map.head->rh_cq_tail, ++rp->cq_tail);
	rp->busy = false;
	target_count(rp->path.domain->target, rp->now.dir, rp->now.len, status);
	return NULL;
}

/* NULL, or the rule that was broken. */
static const char *ring_serve(struct ring_path *rp, uint32_t tail)
{
	const char *broken = NULL;
	uint64_t bytes = 0;

	for (unsigned n = 0; !broken && n < TURN_ENTRIES && bytes < TURN_BYTES; n++) {
		uint64_t before;
		int err;

		if (!rp->busy && rp->sq_head == tail)
			return NULL;
		if (!rp->busy)
			broken = entry_take(rp);
		if (broken)
			return broken;
		before = rp->done;
		err = chunk_move(rp);
		bytes += rp->done - before;
		rp->path.moved += rp->done - before;
		if (err || rp->done == rp->now.len)
			broken = entry_complete(rp, err);
	}
	return broken;
}

static enum turn ring_turn(struct fabric_path *p)
{
	struct ring_path *rp = ring_of(p);
	uint32_t tail = ring_load(&rp->map.head->rh_sq_tail), completed = rp->cq_tail;
	const char *broken = NULL;

	if (tail == rp->sq_head && !rp->busy)
		return TURN_IDLE;
	if (tail - rp->sq_head > RING_ENTRIES)
		broken = "F23: submission ring overrun";
	if (!broken)
		broken = ring_serve(rp, tail);
	if (broken) {
		target_broken(p, broken);
		return TURN_END;
	}
	if (rp->cq_tail != completed) {
		ring_fence();
		/* A full socket means that enough bells are on their way; a closed one shows in epoll. */
		if (ring_load(&rp->map.head->rh_conn_sleeps) == 1)
			send(rp->bell_conn, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	return TURN_MOVED;
}

static bool ring_arm(struct fabric_path *p)
{
	struct ring_path *rp = ring_of(p);

	ring_store(&rp->map.head->rh_target_sleeps, 1);
	ring_fence();
	if (ring_load(&rp->map.head->rh_sq_tail) == rp->sq_head)
		return true;
	ring_store(&rp->map.head->rh_target_sleeps, 0);
	return false;
}

static bool ring_event(struct fabric_path *p, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		return false;
	ring_store(&ring_of(p)->map.head->rh_target_sleeps, 0);
	return true;
}

static void ring_hangup(struct fabric_path *p)
{
	struct ring_path *rp = ring_of(p);

	ring_store(&rp->map.head->rh_closed, RING_CLOSED);
	/* The peer may hold this end too; closing alone would tell it nothing. */
	shutdown(rp->bell_conn, SHUT_RDWR);
	close(rp->bell_conn);
	close(rp->bell_target);
}

static void ring_free(struct fabric_path *p)
{
	struct ring_path *rp = ring_of(p);

	ring_map_drop(&rp->map);
	free(rp);
}

static const struct path_ops ring_ops = {
    .turn = ring_turn,
    .arm = ring_arm,
    .event = ring_event,
    .hangup = ring_hangup,
    .free = ring_free,
};

/* --- attaching --- */

/* F20. The seals come first: without them the size means nothing. */
static int memfd_check(int fd, size_t *len)
{
	struct statfs fs;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return fail(-EINVAL, "fabric: the ring's memory is no memfd");
	if ((seals & SEALS_WANTED) != SEALS_WANTED || (seals & SEALS_UNWANTED))
		return fail(-EPERM, "fabric: the ring's memory is not sealed as F20 says (seals %#x)", (unsigned)seals);
	if (fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		return fail(-EINVAL, "fabric: the ring's memory is not of ordinary pages");
	if (fstat(fd, &st) < 0 || st.st_size < (off_t)(RING_ARENA_START + RING_ARENA_LEAST) ||
	    st.st_size > (off_t)(RING_ARENA_START + RING_ARENA_MOST))
		return fail(-EINVAL, "fabric: the ring's memory is too small or too large");
	*len = (size_t)st.st_size;
	return 0;
}

static bool fd_is_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[64], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link));
	return n == (ssize_t)sizeof(want) - 1 && memcmp(link, want, sizeof(want) - 1) == 0;
}

static int socket_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int v = -1;

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) < 0 ? -1 : v;
}

/* F21. Anything else could make epoll or a write of ours wait for the peer. */
static int bells_check(int bell_target, int bell_conn)
{
	if (!fd_is_eventfd(bell_target))
		return fail(-EINVAL, "fabric: the ring's bell for the target is no eventfd");
	if (socket_option(bell_conn, SO_DOMAIN) != AF_UNIX || socket_option(bell_conn, SO_TYPE) != SOCK_STREAM)
		return fail(-EINVAL, "fabric: the ring's bell for the initiator is no unix stream socket");
	return 0;
}

static int ring_open(struct ring_path *rp, int memfd)
{
	struct ring_w_header head;
	const char *broken;
	size_t len = 0;
	int err = memfd_check(memfd, &len);

	if (!err)
		err = ring_map_make(memfd, len, len <= POPULATE_MOST, &rp->map);
	if (err)
		return err;
	memset(&head, 0, sizeof(head));
	ring_snatch(&head, rp->map.head, offsetof(struct ring_w_header, rh_pad0));
	broken = ring_header_decode(&head, len);
	if (!broken)
		return 0;
	ring_map_drop(&rp->map);
	return fail(-EINVAL, "fabric: the ring is refused, %s", broken);
}

int fabric_ring_attach(struct fabric_domain *d, int memfd, int bell_target, int bell_conn, struct fabric_path **out)
{
	struct ring_path *rp = NULL;
	int err = bells_check(bell_target, bell_conn);

	if (err)
		goto close;
	err = -ENOMEM;
	rp = calloc(1, sizeof(*rp));
	if (!rp)
		goto close;
	err = ring_open(rp, memfd);
	if (err)
		goto close;
	close(memfd);
	rp->bell_target = bell_target;
	rp->bell_conn = bell_conn;
	rp->path = (struct fabric_path){.ops = &ring_ops, .fds = {bell_target, bell_conn}};
	rp->path.events[0] = EPOLLET | EPOLLIN;
	rp->path.events[1] = EPOLLET | EPOLLRDHUP;
	err = target_attach(d, &d->target->ring, &rp->path);
	if (err) {
		ring_free(&rp->path);
		return err;
	}
	*out = &rp->path;
	return 0;
close:
	free(rp);
	close(memfd);
	close(bell_target);
	close(bell_conn);
	return err;
}
