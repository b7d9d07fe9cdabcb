/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: a mounted pool grows and shrinks (format 2.4); what lies in a run can be moved out of it (L1, relocate row),
 * and failing memory is given up with what it loses named (issue 3: space).
 */
#include "fsrig.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/busguard.h"
#include "base/crc.h"
#include "format/format.h"
#include "fs/core.h"
#include "rnd.h"

static char pool_path[64];

static struct pool *file_pool(const char *dir, uint64_t size)
{
	struct pool_create_args args = {.path = pool_path, .size = size, .overwrite = true};
	struct pool *p;

	snprintf(pool_path, sizeof(pool_path), "%s/lh-resize-%ld", dir, (long)getpid());
	assert_int_equal(pool_create(&args, &p), 0);
	return p;
}

static void rig_of(struct rig *r, struct pool *p)
{
	assert_int_equal(rig_new_in(r, p), 0);
}

static uint64_t pool_blocks(struct rig *r)
{
	struct fs_statfs s;

	fs_statfs(r->fs, &s);
	return s.blocks;
}

static void expect_file(struct rig *r, const char *path, int c, size_t len)
{
	struct fs_handle *h = rig_open(r, path, O_RDONLY);

	assert_int_equal(rig_size(h), len);
	rig_expect(r, h, c, len, 0);
	fs_close(h, NULL, 0);
}

/* Closes the pool and opens it anew: nothing is left in memory. */
static void reopen(struct rig *r)
{
	assert_int_equal(fs_unmount(r->fs), 0);
	pool_close(r->pool);
	assert_int_equal(pool_open(pool_path, false, &r->pool), 0);
	assert_int_equal(fs_mount(r->pool, &r->mount, &r->fs), 0);
	rig_check(r);
}

static struct fs_run first_run;

static bool take_run(void *ctx, const struct fs_run *run, unsigned flags)
{
	(void)ctx, (void)flags;
	first_run = *run;
	return false;
}

static uint64_t pool_offset(struct rig *r, const char *path, uint64_t off)
{
	struct fs_handle *h = rig_open(r, path, O_RDONLY);

	assert_int_equal(fs_extents(h, off, BLK, take_run, NULL), 0);
	fs_close(h, NULL, 0);
	return first_run.pool_off;
}

static void grow_shrink(const char *dir)
{
	struct rig r;
	unsigned files = 0;
	char name[32];

	rig_of(&r, file_pool(dir, 32 * MIB));
	rig_file(&r, "/before", 'b', 20 * MIB);
	assert_int_equal(fs_resize(r.fs, &r.root, 100 * MIB, NULL, NULL), 0);
	assert_int_equal(pool_blocks(&r), 100 * MIB / BLK);
	rig_check(&r);
	for (; files < 30; files++) {
		snprintf(name, sizeof(name), "/f%u", files);
		rig_file(&r, name, (int)('A' + files), 2 * MIB);
	}
	expect_file(&r, "/before", 'b', 20 * MIB);
	reopen(&r);
	assert_int_equal(pool_blocks(&r), 100 * MIB / BLK);
	assert_int_equal(fs_resize(r.fs, &r.root, 60 * MIB, NULL, NULL), -ENOSPC);
	rig_check(&r);
	for (unsigned k = 0; k < 20; k++) {
		snprintf(name, sizeof(name), "/f%u", k);
		assert_int_equal(fs_unlink(r.fs, &r.root, name), 0);
	}
	assert_int_equal(fs_resize(r.fs, &r.root, 48 * MIB, NULL, NULL), 0);
	assert_int_equal(pool_blocks(&r), 48 * MIB / BLK);
	assert_int_equal(r.pool->size, 48 * MIB);
	rig_check(&r);
	reopen(&r);
	assert_int_equal(pool_blocks(&r), 48 * MIB / BLK);
	expect_file(&r, "/before", 'b', 20 * MIB);
	for (unsigned k = 20; k < files; k++) {
		snprintf(name, sizeof(name), "/f%u", k);
		expect_file(&r, name, (int)('A' + k), 2 * MIB);
	}
	/* Shorter than it was made. */
	assert_int_equal(fs_unlink(r.fs, &r.root, "/before"), 0);
	for (unsigned k = 22; k < files; k++) {
		snprintf(name, sizeof(name), "/f%u", k);
		assert_int_equal(fs_unlink(r.fs, &r.root, name), 0);
	}
	assert_int_equal(fs_resize(r.fs, &r.root, 16 * MIB, NULL, NULL), 0);
	reopen(&r);
	assert_int_equal(pool_blocks(&r), 4096);
	expect_file(&r, "/f20", 'A' + 20, 2 * MIB);
	rig_free(&r);
	unlink(pool_path);
}

static void a_pool_in_memory_grows_and_shrinks(void **state)
{
	(void)state;
	grow_shrink("/dev/shm");
}

static void a_plain_file_grows_and_shrinks(void **state)
{
	(void)state;
	grow_shrink("/tmp");
}

static void what_cannot_be_is_refused(void **state)
{
	struct rig r;

	(void)state;
	assert_int_equal(rig_new(&r, 32 * MIB), 0);
	assert_int_equal(fs_resize(r.fs, &r.user, 64 * MIB, NULL, NULL), -EPERM);
	assert_int_equal(fs_resize(r.fs, &r.root, 8 * MIB, NULL, NULL), -EINVAL);
	assert_int_equal(fs_resize(r.fs, &r.root, (uint64_t)17 << 40, NULL, NULL), -EINVAL);
	assert_int_equal(fs_resize(r.fs, &r.root, (uint64_t)15 << 40, NULL, NULL), -ENOMEM);
	assert_int_equal(fs_evacuate(r.fs, &r.user, MIB, MIB, NULL, NULL), -EPERM);
	assert_int_equal(fs_evacuate(r.fs, &r.root, 0, BLK, NULL, NULL), -EINVAL);
	assert_int_equal(fs_evacuate(r.fs, &r.root, 32 * MIB, BLK, NULL, NULL), -EINVAL);
	assert_int_equal(fs_evacuate(r.fs, &r.root, MIB, 0, NULL, NULL), -EINVAL);
	rig_free(&r);
}

struct told {
	uint64_t done, total;
	unsigned calls;
};

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct told *t = ctx;

	assert_true(done >= t->done && done <= total);
	t->done = done;
	t->total = total;
	t->calls++;
}

/* Clones stay clones: what shrinking moves takes no more space than before. */
static void shared_blocks_stay_shared_when_they_move(void **state)
{
	struct told told = {0};
	struct fs_handle *src, *dst;
	struct rig r;
	char name[16];
	uint64_t before;

	(void)state;
	assert_int_equal(rig_new(&r, 128 * MIB), 0);
	rig_file(&r, "/front", 'x', 28 * MIB);
	rig_file(&r, "/front2", 'x', 31 * MIB);
	rig_file(&r, "/src", 's', 20 * MIB);
	assert_true(pool_offset(&r, "/src", 0) > 48 * MIB);
	src = rig_open(&r, "/src", O_RDWR);
	for (unsigned k = 0; k < 5; k++) {
		snprintf(name, sizeof(name), "/c%u", k);
		dst = rig_open(&r, name, O_RDWR | O_CREAT);
		assert_int_equal(fs_clone_range(dst, 0, src, 0, 0, &r.root), 0);
		/* Not all of it. */
		rig_fill(&r, dst, 'c', 10, (k * 3 + 1) * MIB);
		fs_close(dst, NULL, 0);
	}
	fs_close(src, NULL, 0);
	assert_int_equal(fs_unlink(r.fs, &r.root, "/front"), 0);
	assert_int_equal(fs_unlink(r.fs, &r.root, "/front2"), 0);
	before = rig_free_blocks(&r);
	assert_int_equal(fs_resize(r.fs, &r.root, 48 * MIB, on_progress, &told), 0);
	assert_true(told.calls > 1 && told.total > 0);
	assert_true(rig_free_blocks(&r) + 64 >= before - 80 * MIB / BLK);
	rig_check(&r);
	for (unsigned k = 0; k < 5; k++) {
		snprintf(name, sizeof(name), "/c%u", k);
		dst = rig_open(&r, name, O_RDWR);
		rig_expect(&r, dst, 's', MIB, 0);
		rig_expect(&r, dst, 'c', 10, (k * 3 + 1) * MIB);
		rig_expect(&r, dst, 's', MIB - 10, (k * 3 + 1) * MIB + 10);
		/* The copy is one of its own as soon as it is written. */
		rig_fill(&r, dst, 'n', MIB, 19 * MIB);
		fs_close(dst, NULL, 0);
	}
	expect_file(&r, "/src", 's', 20 * MIB);
	rig_remount(&r, true);
	expect_file(&r, "/src", 's', 20 * MIB);
	rig_free(&r);
}

/* L6, L5: holders in the tail are asked to drain, those in front are not. */
static void only_leases_behind_the_new_end_are_broken(void **state)
{
	const struct fs_lease_args deny = {.mode = LEASE_WRITE, .exclusive = true};
	struct holder front, tail;
	struct fs_handle *h;
	struct rig r;

	(void)state;
	assert_int_equal(rig_new(&r, 64 * MIB), 0);
	rig_file(&r, "/front", 'f', MIB);
	rig_file(&r, "/filler", 'x', 50 * MIB);
	rig_file(&r, "/tail", 't', 2 * MIB);
	holder_open(&front, &r, "/front", true);
	holder_open(&tail, &r, "/tail", true);
	holder_get(&front, LEASE_WRITE, 0, MIB);
	holder_get(&tail, LEASE_WRITE, 0, 2 * MIB);
	memset(pin_at(&tail.pin, MIB), 'w', 100);
	/* L22: what denies changes is moved with all the rest. */
	assert_int_equal(fs_lease_change(tail.h, &tail.who, tail.lease.lease, &deny, &tail.lease), 0);
	h = rig_open(&r, "/tail", O_RDWR);
	assert_int_equal(fs_truncate(h, &r.root, 0), -ETXTBSY);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_unlink(r.fs, &r.root, "/filler"), 0);
	assert_int_equal(fs_resize(r.fs, &r.root, 24 * MIB, NULL, NULL), 0);
	assert_int_equal(front.recalls, 0);
	assert_true(tail.recalls > 0);
	assert_int_equal(tail.last.kind, LEASE_DRAIN);
	h = rig_open(&r, "/tail", O_RDONLY);
	rig_expect(&r, h, 'w', 100, MIB);
	rig_expect(&r, h, 't', MIB, 0);
	fs_close(h, NULL, 0);
	holder_close(&front);
	holder_close(&tail);
	rig_free(&r);
}

struct churn {
	struct rig *r;
	_Atomic bool stop;
	unsigned id;
	_Atomic uint64_t writes;
};

static void *churn_main(void *ctx)
{
	struct churn *c = ctx;
	char name[32];
	uint8_t buf[64 << 10];

	for (unsigned k = 0; !atomic_load(&c->stop); k++) {
		struct fs_handle *h;
		uint8_t byte = (uint8_t)(k * 7 + c->id);

		snprintf(name, sizeof(name), "/t%u-%u", c->id, k % 8);
		memset(buf, byte, sizeof(buf));
		if (fs_open(c->r->fs, &c->r->root, name, O_RDWR | O_CREAT | (k % 16 < 8 ? O_TRUNC : 0), 0644, &h))
			continue;
		if (fs_write(h, &c->r->root, buf, sizeof(buf), (k % 5) * sizeof(buf)) == (ssize_t)sizeof(buf)) {
			assert(fs_read(h, &c->r->root, buf, sizeof(buf), (k % 5) * sizeof(buf)) ==
			       (ssize_t)sizeof(buf));
			for (size_t b = 0; b < sizeof(buf); b++)
				assert(buf[b] == byte);
			c->writes++;
		}
		fs_close(h, NULL, 0);
		if (k % 11 == 0)
			(void)fs_unlink(c->r->fs, &c->r->root, name);
	}
	return NULL;
}

/* Traffic goes on, and reads what it wrote, while the pool grows and shrinks and files are defragmented. */
static void resizing_beside_traffic(void **state)
{
	struct rnd rnd = rnd_start();
	struct churn c[3];
	pthread_t t[3];
	struct rig r;

	(void)state;
	assert_int_equal(rig_new(&r, 64 * MIB), 0);
	for (unsigned k = 0; k < 3; k++) {
		c[k] = (struct churn){.r = &r, .id = k};
		assert_int_equal(pthread_create(&t[k], NULL, churn_main, &c[k]), 0);
	}
	for (unsigned k = 0; k < 25; k++) {
		uint64_t mib = 24 + rnd_below(&rnd, 100);
		int err = fs_resize(r.fs, &r.root, mib * MIB, NULL, NULL);

		if (err)
			fprintf(stderr, "resize to %u MiB: %d %s\n", (unsigned)mib, err, fail_text());
		assert_true(err == 0 || err == -ENOSPC);
		if (!err)
			assert_int_equal(pool_blocks(&r), mib * MIB / BLK);
	}
	for (unsigned k = 0; k < 3; k++) {
		/* On a busy machine a thread may not have begun yet. */
		while (atomic_load(&c[k].writes) == 0)
			usleep(1000);
		atomic_store(&c[k].stop, true);
		pthread_join(t[k], NULL);
	}
	rig_check(&r);
	rig_remount(&r, true);
	rig_free(&r);
}

/* --- evacuate ------------------------------------------------------------------------------------------------------
 */

struct losses {
	unsigned count;
	struct fs_loss last;
	char path[FS_PATH_MAX];
	uint64_t bytes;
};

static void on_loss(void *ctx, const struct fs_loss *loss)
{
	struct losses *l = ctx;

	l->count++;
	l->last = *loss;
	l->bytes += loss->len;
	snprintf(l->path, sizeof(l->path), "%s", loss->path);
}

/* Memory that gives SIGBUS: a mapping beyond its file's end. */
static void poison(struct pool *p, uint64_t off, uint64_t len)
{
	int fd = memfd_create("poison", 0);

	assert_true(fd >= 0);
	assert_ptr_equal(mmap(p->base + off, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			 p->base + off);
	close(fd);
}

static void good_memory_is_given_up_without_loss(void **state)
{
	struct rig *r = *state;
	struct losses l = {0};
	struct fs_statfs s;
	struct fs_handle *h;
	uint64_t at;

	rig_file(r, "/f", 'f', 8 * MIB);
	at = pool_offset(r, "/f", 2 * MIB);
	assert_int_equal(fs_evacuate(r->fs, &r->root, at, 3 * MIB, on_loss, &l), 0);
	assert_int_equal(l.count, 0);
	expect_file(r, "/f", 'f', 8 * MIB);
	fs_statfs(r->fs, &s);
	assert_int_equal(s.held_blocks, 3 * MIB / BLK);
	rig_check(r);
	/* Log and checkpoint too: all of the first MiB but the superblock. */
	assert_int_equal(fs_checkpoint(r->fs), 0);
	assert_int_equal(fs_evacuate(r->fs, &r->root, BLK, MIB, on_loss, &l), 0);
	/* Remembered by log and by checkpoint, and never handed out again. */
	for (unsigned k = 0; k < 2; k++) {
		rig_remount(r, k == 0);
		fs_statfs(r->fs, &s);
		assert_int_equal(s.held_blocks, 4 * MIB / BLK);
	}
	h = rig_open(r, "/all", O_RDWR | O_CREAT);
	fs_statfs(r->fs, &s);
	assert_int_equal(fs_allocate(h, &r->root, 0, 0, s.avail_blocks * BLK), 0);
	assert_true(pool_offset(r, "/all", 0) < at || pool_offset(r, "/all", 0) >= at + 3 * MIB);
	fs_close(h, NULL, 0);
	rig_check(r);
}

/* Issue 3: what is readable moves, and the files that lost bytes are named. */
static void poisoned_memory_loses_its_bytes_and_nothing_else(void **state)
{
	struct losses l = {0};
	struct fs_handle *h;
	struct rig r;
	uint64_t at;

	(void)state;
	if (!BUSGUARD_WORKS)
		skip();
	assert_int_equal(rig_new(&r, 64 * MIB), 0);
	assert_int_equal(fs_mkdir(r.fs, &r.root, "/deep", 0755), 0);
	assert_int_equal(fs_mkdir(r.fs, &r.root, "/deep/er", 0755), 0);
	rig_file(&r, "/deep/er/hurt", 'h', 4 * MIB);
	rig_file(&r, "/well", 'w', 4 * MIB);
	at = pool_offset(&r, "/deep/er/hurt", MIB);
	poison(r.pool, at + 5 * BLK, 2 * BLK);
	/* Reading says where, and nothing dies. */
	h = rig_open(&r, "/deep/er/hurt", O_RDWR);
	{
		static uint8_t buf[4 << 20];

		assert_int_equal(fs_read(h, &r.root, buf, sizeof(buf), 0), -EIO);
		assert_non_null(strstr(fail_text(), "inode"));
		assert_int_equal(fs_write(h, &r.root, buf, 100, MIB + 5 * BLK), -EIO);
		assert_int_equal(fs_relocate(h, &r.root, 0, 4 * MIB, NULL), -EIO);
	}
	rig_expect(&r, h, 'h', MIB, 0);
	rig_check(&r);
	assert_int_equal(fs_evacuate(r.fs, &r.root, at, 16 * BLK, on_loss, &l), 1);
	assert_int_equal(l.count, 1);
	assert_int_equal(l.last.ino, fs_handle_ino(h));
	assert_int_equal(l.last.off, MIB + 5 * BLK);
	assert_int_equal(l.bytes, 2 * BLK);
	assert_string_equal(l.path, "/deep/er/hurt");
	rig_expect(&r, h, 'h', MIB + 5 * BLK, 0);
	rig_expect(&r, h, 0, 2 * BLK, MIB + 5 * BLK);
	rig_expect(&r, h, 'h', 3 * MIB - 7 * BLK, MIB + 7 * BLK);
	fs_close(h, NULL, 0);
	expect_file(&r, "/well", 'w', 4 * MIB);
	rig_check(&r);
	rig_remount(&r, true);
	expect_file(&r, "/well", 'w', 4 * MIB);
	rig_free(&r);
}

/* format 4.11c. */
static void too_many_bad_runs_are_refused(void **state)
{
	struct fs *fs;
	struct rig r;

	(void)state;
	assert_int_equal(rig_new(&r, 64 * MIB), 0);
	for (unsigned k = 0; k <= 4096; k++) {
		struct jtxn t;
		uint64_t seq;

		jtxn_init(&t);
		jtxn_bad(&t, (struct run){5000 + 2 * k, 1}, false);
		assert_int_equal(jtxn_commit(r.fs->journal, &t, &seq), 0);
		jtxn_fini(&t);
	}
	fs_abandon(r.fs);
	assert_int_equal(fs_mount(r.pool, &r.mount, &fs), -EUCLEAN);
	assert_non_null(strstr(fail_text(), "4.11c"));
	pool_close(r.pool);
}

/* --- defragment ----------------------------------------------------------------------------------------------------
 */

static void make_scattered(struct rig *r, const char *path, unsigned blocks)
{
	struct fs_handle *h = rig_open(r, path, O_RDWR | O_CREAT);
	struct fs_handle *other = rig_open(r, "/other", O_RDWR | O_CREAT);

	for (unsigned k = 0; k < blocks; k++) {
		rig_fill(r, h, (int)(k % 251), BLK, k * BLK);
		rig_fill(r, other, 'o', BLK, k * BLK);
	}
	fs_close(other, NULL, 0);
	fs_close(h, NULL, 0);
}

static void expect_scattered(struct rig *r, const char *path, unsigned blocks)
{
	struct fs_handle *h = rig_open(r, path, O_RDONLY);

	for (unsigned k = 0; k < blocks; k++)
		rig_expect(r, h, (int)(k % 251), BLK, k * BLK);
	fs_close(h, NULL, 0);
}

static void a_scattered_file_becomes_one_run(void **state)
{
	struct rig *r = *state;
	struct holder o;
	struct fs_handle *h;
	uint64_t before, after;

	make_scattered(r, "/s", 600);
	holder_open(&o, r, "/s", true);
	holder_get(&o, LEASE_WRITE, 0, 64 * BLK);
	h = rig_open(r, "/s", O_RDWR);
	assert_int_equal(fs_defragment(h, &r->root, &before, &after), 0);
	assert_true(before > 100);
	assert_int_equal(after, 1);
	assert_true(o.recalls > 0);
	assert_int_equal(o.last.kind, LEASE_DRAIN);
	expect_scattered(r, "/s", 600);
	/* Nothing to do. */
	assert_int_equal(fs_defragment(h, &r->root, &before, &after), 0);
	assert_int_equal(before, 1);
	fs_close(h, NULL, 0);
	holder_close(&o);
	rig_check(r);
	rig_remount(r, true);
	expect_scattered(r, "/s", 600);
}

/* As few runs as there are; with no better place nothing moves, and nothing is kept. */
static void a_full_pool_defragments_what_it_can(void **state)
{
	struct rig *r = *state;
	struct fs_statfs s;
	struct fs_handle *h, *fill;
	uint64_t before, after, left;

	make_scattered(r, "/s", 600);
	h = rig_open(r, "/s", O_RDWR);
	fill = rig_open(r, "/fill", O_RDWR | O_CREAT);
	fs_statfs(r->fs, &s);
	assert_int_equal(fs_allocate(fill, &r->root, 0, 0, (s.avail_blocks - 300) * BLK), 0);
	left = rig_free_blocks(r);
	assert_int_equal(fs_defragment(h, &r->root, &before, &after), 0);
	assert_int_equal(before, after);
	assert_int_equal(rig_free_blocks(r), left);
	assert_int_equal(fs_truncate(fill, &r->root, 0), 0);
	fs_close(fill, NULL, 0);
	assert_int_equal(fs_defragment(h, &r->root, &before, &after), 0);
	assert_int_equal(after, 1);
	fs_close(h, NULL, 0);
	expect_scattered(r, "/s", 600);
}

struct defrag_writer {
	struct rig *r;
	struct fs_handle *h;
	_Atomic bool stop;
};

static void *writer_main(void *ctx)
{
	struct defrag_writer *w = ctx;
	uint8_t buf[LH_BLOCK_SIZE];

	for (unsigned k = 0; !atomic_load(&w->stop); k++) {
		unsigned at = (k * 37) % 600;

		memset(buf, (int)(at % 251), sizeof(buf));
		assert(fs_write(w->h, &w->r->root, buf, sizeof(buf), at * BLK) == (ssize_t)sizeof(buf));
		assert(fs_read(w->h, &w->r->root, buf, sizeof(buf), ((at + 5) % 600) * BLK) == (ssize_t)sizeof(buf));
		for (size_t b = 0; b < sizeof(buf); b++)
			assert(buf[b] == (uint8_t)((at + 5) % 600 % 251));
	}
	return NULL;
}

static void content_stays_under_readers_and_writers(void **state)
{
	struct rig *r = *state;
	struct defrag_writer w = {.r = r};
	uint64_t before, after;
	pthread_t t[2];

	make_scattered(r, "/s", 600);
	w.h = rig_open(r, "/s", O_RDWR);
	for (unsigned k = 0; k < 2; k++)
		assert_int_equal(pthread_create(&t[k], NULL, writer_main, &w), 0);
	for (unsigned k = 0; k < 20; k++) {
		assert_int_equal(fs_defragment(w.h, &r->root, &before, &after), 0);
		assert_int_equal(fs_relocate(w.h, &r->root, (k % 7) * 13 * BLK, 5 * BLK, NULL), 0);
	}
	atomic_store(&w.stop, true);
	for (unsigned k = 0; k < 2; k++)
		pthread_join(t[k], NULL);
	fs_close(w.h, NULL, 0);
	expect_scattered(r, "/s", 600);
}

/* --- memory that fails underneath ----------------------------------------------------------------------------------
 */

/* The pool's file is cut under the mounted fs: each call says so, the rest goes on, nothing dies. */
static void a_pool_file_cut_underneath(void **state)
{
	static uint8_t buf[1 << 20];
	struct fs_handle *h, *front;
	struct holder o;
	struct fs_statfs s;
	struct rig r;
	uint64_t at;
	ssize_t n;

	(void)state;
	if (!BUSGUARD_WORKS)
		skip();
	rig_of(&r, file_pool("/dev/shm", 64 * MIB));
	rig_file(&r, "/front", 'f', MIB);
	rig_file(&r, "/filler", 'x', 30 * MIB);
	rig_file(&r, "/back", 'b', MIB);
	at = pool_offset(&r, "/back", 0);
	assert_true(at >= 32 * MIB);
	h = rig_open(&r, "/back", O_RDWR);
	front = rig_open(&r, "/front", O_RDWR);
	assert_int_equal(truncate(pool_path, (off_t)(32 * MIB)), 0);
	assert_int_equal(fs_read(h, &r.root, buf, sizeof(buf), 0), -EIO);
	assert_non_null(strstr(fail_text(), "pool"));
	assert_int_equal(fs_write(h, &r.root, buf, 4096, 0), -EIO);
	holder_open(&o, &r, "/back", false);
	n = holder_try(&o, LEASE_READ, 0, MIB);
	assert_true(n == 0 || n == -EIO);
	holder_close(&o);
	/* The rest keeps working. */
	rig_expect(&r, front, 'f', MIB, 0);
	rig_fill(&r, front, 'g', 4096, 0);
	rig_file(&r, "/new", 'n', 100);
	assert_int_equal(fs_unlink(r.fs, &r.root, "/new"), 0);
	fs_close(h, NULL, 0);
	/* Now the log too: no more changes, with the reason; reading goes on where there is memory. */
	assert_int_equal(truncate(pool_path, (off_t)BLK), 0);
	n = fs_mkdir(r.fs, &r.root, "/d", 0755);
	assert_int_equal(n, -EIO);
	n = fs_mkdir(r.fs, &r.root, "/d", 0755);
	assert_int_equal(n, -EIO);
	assert_non_null(strstr(fail_text(), "only reading"));
	assert_true(fs_checkpoint(r.fs) < 0);
	assert_int_equal(fs_read(front, &r.root, buf, 4096, 0), -EIO);
	fs_statfs(r.fs, &s);
	fs_close(front, NULL, 0);
	fs_abandon(r.fs);
	pool_close(r.pool);
	/* And a mount of what is left is refused. */
	assert_true(pool_open(pool_path, false, &r.pool) < 0);
	unlink(pool_path);
}

/* A checkpoint whose memory fails: changes stop, with the reason; what was acknowledged is there after a mount. */
static void a_checkpoint_that_fails_makes_it_read_only(void **state)
{
	struct fs *fs;
	struct rig r;

	(void)state;
	if (!BUSGUARD_WORKS)
		skip();
	assert_int_equal(rig_new(&r, 32 * MIB), 0);
	rig_file(&r, "/f", 'f', MIB);
	/* Everything that is free: where the next checkpoint goes, wherever it is. */
	{
		uint64_t end = pool_offset(&r, "/f", 0) + MIB;

		poison(r.pool, end, 30 * MIB - end);
	}
	assert_true(fs_checkpoint(r.fs) < 0);
	fs = r.fs;
	assert_true(fs_mkdir(fs, &r.root, "/d", 0755) < 0);
	expect_file(&r, "/f", 'f', MIB);
	fs_abandon(r.fs);
	pool_close(r.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_pool_in_memory_grows_and_shrinks),
	    cmocka_unit_test(a_plain_file_grows_and_shrinks),
	    cmocka_unit_test(what_cannot_be_is_refused),
	    cmocka_unit_test(shared_blocks_stay_shared_when_they_move),
	    cmocka_unit_test(only_leases_behind_the_new_end_are_broken),
	    cmocka_unit_test(resizing_beside_traffic),
	    cmocka_unit_test_setup_teardown(good_memory_is_given_up_without_loss, rig_setup, rig_teardown),
	    cmocka_unit_test(poisoned_memory_loses_its_bytes_and_nothing_else),
	    cmocka_unit_test(too_many_bad_runs_are_refused),
	    cmocka_unit_test_setup_teardown(a_scattered_file_becomes_one_run, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(a_full_pool_defragments_what_it_can, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(content_stays_under_readers_and_writers, rig_setup, rig_teardown),
	    cmocka_unit_test(a_pool_file_cut_underneath),
	    cmocka_unit_test(a_checkpoint_that_fails_makes_it_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
