/* SPDX-License-Identifier: BSD-2-Clause */
#include "fsrig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static void say(void *ctx, const char *finding)
{
	(void)ctx;
	fprintf(stderr, "fs_verify: %s\n", finding);
}

int rig_new(struct rig *r, uint64_t size)
{
	struct pool_create_args args = {.path = NULL, .size = size};
	struct pool *pool;
	int err = pool_create(&args, &pool);

	return err ? err : rig_new_in(r, pool);
}

int rig_new_in(struct rig *r, struct pool *pool)
{
	int err;

	memset(r, 0, sizeof(*r));
	r->user.cred = (struct fs_cred){.uid = 1000, .gid = 1000};
	r->other.cred = (struct fs_cred){.uid = 1001, .gid = 1001};
	r->mount.no_checkpoint_thread = true;
	/* A polite holder must not be forced because the machine is busy. */
	r->mount.lease.deadline_ns = 40 * NS_PER_SEC;
	r->pool = pool;
	err = fs_format(r->pool, NULL);
	if (!err)
		err = fs_mount(r->pool, &r->mount, &r->fs);
	if (err)
		fprintf(stderr, "rig: error %d: %s\n", err, fail_text());
	return err;
}

void rig_check(struct rig *r)
{
	assert_int_equal(fs_verify(r->fs, say, NULL), 0);
}

void rig_free(struct rig *r)
{
	rig_check(r);
	assert_int_equal(fs_unmount(r->fs), 0);
	pool_close(r->pool);
}

void rig_remount(struct rig *r, bool crash)
{
	int err = 0;

	if (crash)
		fs_abandon(r->fs);
	else
		err = fs_unmount(r->fs);
	assert_int_equal(err, 0);
	err = fs_mount(r->pool, &r->mount, &r->fs);
	if (err)
		fprintf(stderr, "mount: error %d: %s\n", err, fail_text());
	assert_int_equal(err, 0);
	rig_check(r);
}

int rig_setup(void **state)
{
	struct rig *r = malloc(sizeof(*r));

	*state = r;
	return rig_new(r, 64 * MIB);
}

int rig_teardown(void **state)
{
	rig_free(*state);
	free(*state);
	return 0;
}

struct fs_handle *rig_open(struct rig *r, const char *path, int flags)
{
	struct fs_handle *h;
	int err = fs_open(r->fs, &r->root, path, flags, 0644, &h);

	if (err)
		fprintf(stderr, "open %s: error %d\n", path, err);
	assert_int_equal(err, 0);
	return h;
}

void rig_write(struct rig *r, struct fs_handle *h, const void *buf, size_t len, uint64_t off)
{
	assert_int_equal(fs_write(h, &r->root, buf, len, off), (ssize_t)len);
}

void rig_fill(struct rig *r, struct fs_handle *h, int c, size_t len, uint64_t off)
{
	uint8_t *buf = malloc(len);

	memset(buf, c, len);
	rig_write(r, h, buf, len, off);
	free(buf);
}

void rig_expect(struct rig *r, struct fs_handle *h, int c, size_t len, uint64_t off)
{
	uint8_t *buf = malloc(len);

	memset(buf, ~c, len);
	assert_int_equal(fs_read(h, &r->root, buf, len, off), (ssize_t)len);
	for (size_t k = 0; k < len; k++) {
		if (buf[k] != (uint8_t)c) {
			fprintf(stderr, "byte %llu is %d, not %d\n", (unsigned long long)(off + k), buf[k], c);
			assert_int_equal(buf[k], (uint8_t)c);
		}
	}
	free(buf);
}

uint64_t rig_size(struct fs_handle *h)
{
	struct fs_attr a;

	assert_int_equal(fs_fstat(h, &a), 0);
	return a.size;
}

void rig_file(struct rig *r, const char *path, int c, size_t len)
{
	struct fs_handle *h = rig_open(r, path, O_RDWR | O_CREAT | O_TRUNC);

	if (len)
		rig_fill(r, h, c, len, 0);
	fs_close(h, NULL, 0);
}

uint64_t rig_free_blocks(struct rig *r)
{
	struct fs_statfs s;

	fs_statfs(r->fs, &s);
	return s.free_blocks;
}

/* --- pins ----------------------------------------------------------------------------------------------------------
 */

static void runs_cut(struct fake_pin *p, struct range range)
{
	struct fs_run kept[PIN_RUNS_MAX];
	unsigned n = 0;

	for (unsigned k = 0; k < p->count; k++) {
		struct fs_run run = p->runs[k];
		struct range whole = {run.file_off, run.file_off + run.len};
		struct range cut[2] = {{whole.start, min_u64(whole.end, range.start)},
				       {max_u64(whole.start, range.end), whole.end}};

		for (unsigned s = 0; s < 2; s++) {
			if (range_empty(cut[s]))
				continue;
			assert_true(n < PIN_RUNS_MAX);
			kept[n++] = (struct fs_run){cut[s].start, cut[s].end - cut[s].start,
						    run.pool_off + (cut[s].start - whole.start)};
		}
	}
	memcpy(p->runs, kept, n * sizeof(*kept));
	p->count = n;
}

static void fake_drain(void *ctx, struct range range)
{
	struct fake_pin *p = ctx;

	for (unsigned k = 0; k < p->count; k++)
		fs_run_flush(p->fs, p->runs[k].pool_off, p->runs[k].len);
	p->drains++;
	p->last_drain = range;
	runs_cut(p, range);
}

static void fake_gone(void *ctx)
{
	struct fake_pin *p = ctx;

	p->gone++;
}

static int fake_place(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range range,
		      const struct fs_run *runs, unsigned count)
{
	struct fake_pin *p = ctx;

	(void)lease, (void)seq, (void)mode;
	p->places++;
	for (unsigned k = 0; k < count; k++) {
		assert_true(p->count < PIN_RUNS_MAX);
		assert_true(runs[k].file_off >= range.start && runs[k].file_off + runs[k].len <= range.end);
		p->runs[p->count++] = runs[k];
	}
	return 0;
}

void pin_init(struct fake_pin *p, struct rig *r)
{
	static const struct lease_pin_ops ops = {.drain = fake_drain, .gone = fake_gone};

	memset(p, 0, sizeof(*p));
	p->fs = r->fs;
	p->pin = (struct fs_pin){.ops = &ops, .place = fake_place, .pin = p};
}

uint8_t *pin_at(struct fake_pin *p, uint64_t file_off)
{
	for (unsigned k = 0; k < p->count; k++) {
		const struct fs_run *run = &p->runs[k];

		if (file_off >= run->file_off && file_off - run->file_off < run->len)
			return (uint8_t *)fs_run_window(p->fs, run) + (file_off - run->file_off);
	}
	return NULL;
}

/* --- holders --------------------------------------------------------------------------------------------------------
 */

static void on_recall(void *ctx, const struct lease_recall *r)
{
	struct holder *o = ctx;

	o->last = *r;
	o->queue[o->recalls % NOTES_MAX] = *r;
	atomic_fetch_add(&o->recalls, 1);
}

static void on_revoked(void *ctx, const struct lease_recall *r)
{
	struct holder *o = ctx;

	o->last = *r;
	atomic_fetch_add(&o->revokes, 1);
}

/* Releases what is recalled, as a polite client does from its event loop. */
static void *releaser(void *ctx)
{
	struct holder *o = ctx;
	unsigned seen = 0;

	while (!atomic_load(&o->stop)) {
		if (atomic_load(&o->recalls) == seen) {
			nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
			continue;
		}
		assert(lease_release(o->session, o->queue[seen % NOTES_MAX].lease, o->queue[seen % NOTES_MAX].range) ==
		       0);
		seen++;
	}
	return NULL;
}

void holder_open(struct holder *o, struct rig *r, const char *path, bool release)
{
	static const struct lease_session_ops ops = {.recall = on_recall, .revoked = on_revoked};
	struct lease_identity id = {.pid = 1};

	memset(o, 0, sizeof(*o));
	o->rig = r;
	o->release = release;
	assert_int_equal(lease_session_open(fs_arbiter(r->fs), &ops, o, &id, &o->session), 0);
	o->who = r->root;
	o->who.session = o->session;
	assert_int_equal(fs_open(r->fs, &o->who, path, O_RDWR, 0, &o->h), 0);
	if (release)
		assert_int_equal(pthread_create(&o->thread, NULL, releaser, o), 0);
}

int holder_try(struct holder *o, enum lease_mode mode, uint64_t off, uint64_t len)
{
	struct fs_lease_args args = {.range = {off, off + len}, .mode = mode, .handle_number = 7, .pin = &o->pin.pin};

	pin_init(&o->pin, o->rig);
	return fs_lease_get(o->h, &o->who, &args, &o->lease);
}

void holder_get(struct holder *o, enum lease_mode mode, uint64_t off, uint64_t len)
{
	assert_int_equal(holder_try(o, mode, off, len), 0);
}

void holder_close(struct holder *o)
{
	if (o->release) {
		atomic_store(&o->stop, true);
		pthread_join(o->thread, NULL);
	}
	fs_close(o->h, o->session, 7);
	lease_session_close(o->session);
}
