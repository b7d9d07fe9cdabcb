/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L10, L12, L15, L22, L23 under load: threads change their leases between READ, WRITE and EXCLUSIVE, write, and
 * read back what they wrote, while another session moves and shares the blocks and a third thread interrupts both
 * sessions all the time. No byte is ever another one, a change that fails changes nothing, every call ends, and no gate
 * is left. Prints its seed; CHANGE_HAMMER_SEED and CHANGE_HAMMER_MS set seed and length.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOLDERS  3u
#define BREAKERS 2u
#define SLICE    (128 * KIB)
#define D_NS     (60 * SECONDS)

static bool holder_is_local;
static uint64_t seed;
static _Atomic bool stop, quiet;
static struct lh_fs *owner, *holder, *other;

static struct {
	_Atomic unsigned long changes, stale, reads, writes, interrupted, moved, cloned, denied;
} totals;

static uint64_t rnd(uint64_t *s, uint64_t below)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return (*s >> 11) % below;
}

#define check(cond, ...)                                                                                               \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: broken: %s (seed %llu): ", __FILE__, __LINE__, #cond,                  \
				(unsigned long long)seed);                                                             \
			fprintf(stderr, __VA_ARGS__);                                                                  \
			fprintf(stderr, ": %s\n", lh_error_text());                                                    \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* --- holders ------------------------------------------------------------------------------------------------------ */

struct slice {
	unsigned index, version;
	uint64_t s;
	uint32_t mode, flags;
	struct lh_lease *lease;
	uint8_t *buf;
};

static uint64_t base(const struct slice *t)
{
	return t->index * SLICE;
}

static void write_slice(struct slice *t)
{
	size_t done = 0;

	t->version++;
	rig_fill(t->buf, SLICE, t->version, base(t));
	while (done < SLICE) {
		ssize_t n = lh_lease_write(t->lease, t->buf + done, SLICE - done, base(t) + done);

		if (n == -EINTR) {
			totals.interrupted++;
			continue;
		}
		check(n > 0, "write %zd at %zu", n, done);
		done += (size_t)n;
	}
	totals.writes++;
}

static void read_slice(struct slice *t)
{
	size_t off = rnd(&t->s, SLICE / 2);
	size_t len = 1 + rnd(&t->s, SLICE - off);
	ssize_t n;

	do {
		n = lh_lease_read(t->lease, t->buf, len, base(t) + off);
		totals.interrupted += n == -EINTR;
	} while (n == -EINTR);
	check(n > 0, "read %zd", n);
	for (ssize_t i = 0; i < n; i++)
		check(t->buf[i] == rig_byte(t->version, base(t) + off + (uint64_t)i), "byte %zu of version %u",
		      off + (size_t)i, t->version);
	totals.reads++;
}

static void change_slice(struct slice *t)
{
	uint32_t mode = rnd(&t->s, 2) ? LH_LEASE_WRITE : LH_LEASE_READ;
	uint32_t also = rnd(&t->s, 3) ? 0 : LH_LEASE_EXCLUSIVE;
	struct lh_lease_state st = {.size = sizeof(st)};
	int err = lh_lease_change(t->lease, mode | also, (1 + rnd(&t->s, 5)) * MS);

	switch (err) {
	case 0:
		totals.changes++;
		t->mode = mode;
		break;
	case -ESTALE:
		totals.stale++;
		break;
	case -EINTR:
		totals.interrupted++;
		break;
	case -ETIMEDOUT: /* denied long enough: a new lease starts anew */
		check(also, "age without EXCLUSIVE");
		check(lh_lease_release(t->lease) == 0, "release");
		t->lease = NULL;
		return;
	case -EDEADLK: /* another thread of the session denies: its WRITE needs a copy there */
	case -ETXTBSY:
		totals.denied++;
		break;
	default:
		check(false, "change: %d", err);
	}
	check(lh_lease_state(t->lease, &st) == 0 && st.mode == t->mode, "mode %u, not %u, after %d", st.mode, t->mode,
	      err);
}

static void lease_slice(struct slice *t, struct lh_file *file)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = t->flags | LH_LEASE_READ};
	int err;

	do {
		err = lh_lease_get(file, base(t), SLICE, &o, &t->lease);
		totals.interrupted += err == -EINTR;
	} while (err == -EINTR);
	check(err == 0, "lease %d", err);
	t->mode = LH_LEASE_READ;
}

static void *hold(void *ctx)
{
	struct slice *t = ctx;
	struct lh_file *file = NULL;
	int err;

	t->buf = malloc(SLICE);
	err = lh_file_open(holder, "/f", O_RDWR, 0, &file);
	check(err == 0, "open %d", err);
	while (!stop) {
		if (!t->lease)
			lease_slice(t, file);
		if (rnd(&t->s, 3) == 0)
			change_slice(t);
		else if (t->mode == LH_LEASE_WRITE)
			write_slice(t);
		else
			read_slice(t);
	}
	if (t->lease)
		check(lh_lease_release(t->lease) == 0, "release");
	check(lh_file_close(file) == 0, "close");
	free(t->buf);
	return NULL;
}

/* --- the others --------------------------------------------------------------------------------------------------- */

static bool may_fail(int64_t err)
{
	if (err == -EINTR)
		totals.interrupted++;
	if (err == -ETXTBSY)
		totals.denied++;
	return err == -EINTR || err == -ETXTBSY || err == -ENOSPC;
}

static void *disturb(void *ctx)
{
	uint64_t s = (uintptr_t)ctx * 7919 + seed;
	struct lh_file *file = NULL, *copy = NULL;
	char name[16];

	snprintf(name, sizeof(name), "/copy%u", (unsigned)(uintptr_t)ctx);
	check(lh_file_open(other, "/f", O_RDWR, 0, &file) == 0, "open");
	check(lh_file_open(other, name, O_RDWR | O_CREAT, 0600, &copy) == 0, "open");
	while (!stop) {
		uint64_t off = rnd(&s, HOLDERS * SLICE / BLOCK) * BLOCK;
		uint64_t len = BLOCK * (1 + rnd(&s, (HOLDERS * SLICE - off) / BLOCK));

		if (rnd(&s, 2)) {
			int64_t n = lh_file_relocate(file, off, len);

			check(n >= 0 || may_fail(n), "relocate %lld", (long long)n);
			totals.moved += n > 0;
		} else {
			int err = lh_file_clone_range(copy, off, file, off, len);

			check(err == 0 || may_fail(err), "clone %d", err);
			totals.cloned += err == 0;
		}
		/* Else nobody gets anything done but healing. */
		nanosleep(&(struct timespec){.tv_nsec = (long)(rnd(&s, 4) * MS)}, NULL);
	}
	check(lh_file_close(copy) == 0, "close");
	check(lh_file_close(file) == 0, "close");
	return NULL;
}

static void *interrupt(void *ctx)
{
	uint64_t s = seed + 99;

	while (!quiet) {
		lh_fs_interrupt(rnd(&s, 2) ? holder : other);
		nanosleep(&(struct timespec){.tv_nsec = (long)(rnd(&s, 3) * MS)}, NULL);
	}
	return NULL;
}

static struct lh_fs *client(const char *address)
{
	struct lh_open_options o = {.size = sizeof(o),
				    .fabric = rig_way == WAY_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM,
				    .ring_bytes = 4 * MIB};
	struct lh_fs *fs = NULL;

	check(lh_fs_open(address, &o, &fs) == 0, "open");
	return fs;
}

static void run(uint32_t flags)
{
	uint64_t ms = getenv("CHANGE_HAMMER_MS") ? strtoull(getenv("CHANGE_HAMMER_MS"), NULL, 0) : 1500;
	struct slice slices[HOLDERS];
	pthread_t threads[HOLDERS + BREAKERS], nagger;
	struct lh_file *file = rig_file(holder, "/f", HOLDERS * SLICE, 1);
	struct lh_lease *lease;

	stop = quiet = false;
	for (unsigned i = 0; i < HOLDERS; i++) {
		slices[i] = (struct slice){.index = i, .version = 1, .s = seed * 31 + i + 1, .flags = flags};
		check(pthread_create(&threads[i], NULL, hold, &slices[i]) == 0, "thread");
	}
	for (unsigned i = 0; i < BREAKERS; i++)
		check(pthread_create(&threads[HOLDERS + i], NULL, disturb, (void *)(uintptr_t)(i + 1)) == 0, "thread");
	check(pthread_create(&nagger, NULL, interrupt, NULL) == 0, "thread");
	nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * MS)}, NULL);
	stop = true;
	for (unsigned i = 0; i < HOLDERS + BREAKERS; i++)
		pthread_join(threads[i], NULL);
	quiet = true;
	pthread_join(nagger, NULL);

	/* No gate is left, and the content is what each wrote last. */
	lease = rig_lease(file, 0, HOLDERS * SLICE, LH_LEASE_READ | LH_LEASE_NOWAIT);
	for (unsigned i = 0; i < HOLDERS; i++)
		rig_read_same(lease, SLICE, slices[i].version, i * SLICE);
	assert_ok(lh_lease_release(lease));
	assert_ok(lh_file_close(file));
	assert_ok(lh_path_unlink(holder, "/f"));
	printf("%lu changes, %lu stale, %lu reads, %lu writes, %lu interrupted, %lu moves, %lu clones, %lu denied\n",
	       totals.changes, totals.stale, totals.reads, totals.writes, totals.interrupted, totals.moved,
	       totals.cloned, totals.denied);
}

int main(int argc, char **argv)
{
	struct lh_open_options o = {.size = sizeof(o), .deadline_ns = D_NS, .deadline_max_ns = D_NS};
	struct lh_server_options options = {
	    .size = sizeof(options), .tcp_as_given = true, .tcp_uid = geteuid(), .tcp_gid = getegid()};
	char dir[] = "/tmp/leasehold-change-XXXXXX", address[128];
	struct lh_server *server;

	holder_is_local = argc > 1 && strcmp(argv[1], "local") == 0;
	if (holder_is_local)
		argv[1] = "stream";
	rig_init(argc, argv);
	seed = getenv("CHANGE_HAMMER_SEED") ? strtoull(getenv("CHANGE_HAMMER_SEED"), NULL, 0) : rig_now();
	printf("seed %llu\n", (unsigned long long)seed);
	assert_non_null(mkdtemp(dir));
	snprintf(address, sizeof(address), "unix:%s/s", dir);
	assert_ok(lh_fs_open("mem:64M", &o, &owner));
	assert_ok(lh_server_start(owner, rig_way == WAY_TCP ? "tcp:127.0.0.1:0" : address, &options, &server));
	holder = holder_is_local ? owner : client(lh_server_address(server));
	other = client(lh_server_address(server));
	run(0);
	run(LH_LEASE_FAULTING);
	assert_ok(lh_fs_close(other));
	if (!holder_is_local)
		assert_ok(lh_fs_close(holder));
	lh_server_stop(server);
	assert_ok(lh_fs_close(owner));
	rmdir(dir);
	return 0;
}
