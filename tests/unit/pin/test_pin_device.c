/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: a device reaches what it was given until it is told, is told before blocks move (L12, L13), and again after
 * (L5, L15); pins end with their file (L24). */
#include "pin_test.h"

/* Notes what it is told, and holds it against what it knows. */
struct device {
	pthread_mutex_t lock;
	uint8_t *at[256]; /* by block; NULL: not attached */
	bool hole[256];
	unsigned attaches, detaches, gone;
	int refuse;
	bool wrote;
	atomic_bool asked, let_go; /* of a slow one */
};

static int on_attach(void *ctx, uint64_t off, uint64_t len, const struct lh_pin_run *runs, unsigned count)
{
	struct device *d = ctx;

	if (d->refuse)
		return d->refuse;
	pthread_mutex_lock(&d->lock);
	d->attaches++;
	for (uint64_t b = off / BLOCK; b < (off + len) / BLOCK; b++) {
		assert_true(b < 256 && !d->at[b] && !d->hole[b]);
		d->hole[b] = !d->wrote; /* a writer reaches nothing there */
	}
	for (unsigned k = 0; k < count; k++) {
		assert_true(runs[k].off >= off && runs[k].off + runs[k].len <= off + len);
		assert_true(runs[k].fd >= 0);
		for (uint64_t at = 0; at < runs[k].len; at += BLOCK) {
			d->at[(runs[k].off + at) / BLOCK] = (uint8_t *)runs[k].addr + at;
			d->hole[(runs[k].off + at) / BLOCK] = false;
		}
	}
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static void on_detach(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *out)
{
	struct device *d = ctx;

	pthread_mutex_lock(&d->lock);
	d->detaches++;
	assert_int_equal(off % BLOCK, 0);
	assert_int_equal(len % BLOCK, 0);
	for (uint64_t b = off / BLOCK; b < (off + len) / BLOCK; b++) {
		assert_true(d->at[b] || d->hole[b]);
		d->at[b] = NULL;
		d->hole[b] = false;
	}
	assert_int_equal(out->off, off);
	assert_int_equal(out->len, d->wrote ? len : 0);
	pthread_mutex_unlock(&d->lock);
}

static void on_gone(void *ctx)
{
	((struct device *)ctx)->gone++;
}

static const struct lh_pin_device kind = {
    .size = sizeof(kind), .name = "notes", .attach = on_attach, .detach = on_detach, .gone = on_gone};
static const struct lh_pin_options reader = {.size = sizeof(reader), .flags = LH_LEASE_READ};
static const struct lh_pin_options writer = {.size = sizeof(writer), .flags = LH_LEASE_WRITE};

static void start(struct device *d)
{
	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
}

static unsigned attached(const struct device *d)
{
	unsigned n = 0;

	for (unsigned b = 0; b < 256; b++)
		n += d->at[b] != NULL;
	return n;
}

static bool shows(const struct device *d, uint64_t from, uint64_t blocks, uint8_t version)
{
	for (uint64_t b = from; b < from + blocks; b++) {
		if (!d->at[b] || !is_pattern(d->at[b], b * BLOCK, BLOCK, version))
			return false;
	}
	return true;
}

/* L12, L13: what a stranger moves is let go first, and only that (L4); a fault finds the new place (L15). */
static void test_stranger(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_pin_state st = {.size = sizeof(st)};
	struct stranger s;
	struct device d;
	struct lh_pin *pin;
	uint8_t *old;

	(void)state;
	write_pattern(file, 0, 64 * BLOCK, 1);
	stranger_open(&s, fs, "/a");
	start(&d);
	ok(lh_pin_get(file, 0, 64 * BLOCK, &reader, &kind, &d, &pin));
	assert_true(shows(&d, 0, 64, 1));
	old = d.at[20];
	ok(fs_relocate(s.handle, &s.who, 16 * BLOCK, 8 * BLOCK, NULL));
	assert_int_equal(attached(&d), 56);
	assert_true(shows(&d, 0, 16, 1) && shows(&d, 24, 40, 1));
	ok(lh_pin_fault(pin, 0, 64 * BLOCK));
	assert_true(shows(&d, 0, 64, 1));
	assert_ptr_not_equal(d.at[20], old);
	ok(lh_pin_state(pin, &st));
	assert_int_equal(st.attached, 64 * BLOCK);
	assert_int_equal(st.faults, 1);
	assert_int_equal(st.recalls, 1);
	/* Cut off: there is nothing to get any more. */
	ok(fs_truncate(s.handle, &s.who, 32 * BLOCK));
	assert_int_equal(attached(&d), 32);
	refused(-ENODATA, lh_pin_fault(pin, 40 * BLOCK, 1));
	refused(-ERANGE, lh_pin_fault(pin, 64 * BLOCK, 1));
	ok(lh_pin_release(pin));
	assert_int_equal(d.gone, 1);
	assert_int_equal(attached(&d), 0);
	stranger_close(&s);
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* L5: the session's own changes are followed at once. */
static void test_own(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_file *copy = file_make(fs, "/b");
	struct device r, w;
	struct lh_pin *reads, *writes;

	(void)state;
	write_pattern(file, 0, 64 * BLOCK, 1);
	start(&r);
	start(&w);
	w.wrote = true;
	ok(lh_pin_get(file, 0, 64 * BLOCK, &reader, &kind, &r, &reads));
	ok(lh_pin_get(file, 0, 64 * BLOCK, &writer, &kind, &w, &writes));
	assert_true(lh_file_relocate(file, 8 * BLOCK, 8 * BLOCK) > 0);
	assert_true(shows(&r, 0, 64, 1) && shows(&w, 0, 64, 1));
	ok(lh_file_punch(file, 32 * BLOCK, 4 * BLOCK));
	assert_true(r.hole[32] && !w.at[32] && w.at[31] && w.at[36]);
	/* Shared now: who writes must ask first, who reads is not concerned. */
	ok(lh_file_clone_range(copy, 0, file, 0, 16 * BLOCK));
	assert_true(shows(&r, 0, 16, 1));
	assert_null(w.at[0]);
	ok(lh_pin_fault(writes, 0, 16 * BLOCK));
	assert_true(shows(&r, 0, 16, 1) && shows(&w, 0, 16, 1));
	memset(w.at[3], 'x', BLOCK);
	ok(lh_pin_commit(writes, 3 * BLOCK, BLOCK));
	assert_int_equal(r.at[3][0], 'x');
	ok(lh_pin_release(reads));
	ok(lh_pin_release(writes));
	ok(lh_file_close(copy));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* L24: the pin ends with its file; L30: the size grows at commit, and not by lh_file_commit. */
static void test_close(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_stat st = {.size_of = sizeof(st)};
	struct device d;
	struct lh_pin *pin;

	(void)state;
	start(&d);
	d.wrote = true;
	ok(lh_pin_get(file, 100, 2 * BLOCK, &writer, &kind, &d, &pin));
	assert_int_equal(attached(&d), 3);
	memset(d.at[0], 1, BLOCK);
	ok(lh_file_commit(file, 0, BLOCK));
	ok(lh_file_stat(file, &st));
	assert_int_equal(st.size, 0);
	ok(lh_pin_commit(pin, 0, 10));
	ok(lh_file_stat(file, &st));
	assert_int_equal(st.size, 10);
	ok(lh_file_close(file));
	assert_int_equal(d.gone, 1);
	assert_int_equal(attached(&d), 0);
	ok(lh_fs_close(fs));
}

struct seen {
	unsigned leases;
	char pin[32];
};

static void see(void *ctx, const struct lh_lease_info *info)
{
	struct seen *s = ctx;

	s->leases++;
	memcpy(s->pin, info->pin, sizeof(s->pin));
}

/* What cannot be right, a device that refuses, and nothing left behind. */
static void test_refused(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_pin_device bad = kind;
	struct lh_pin_options opt = reader;
	struct lh_file *readable;
	struct seen seen = {0};
	struct device d;
	struct lh_pin *pin;

	(void)state;
	start(&d);
	refused(-ENODATA, lh_pin_get(file, 0, BLOCK, &reader, &kind, &d, &pin));
	write_pattern(file, 0, 4 * BLOCK, 1);
	refused(-EINVAL, lh_pin_get(file, 0, 0, &reader, &kind, &d, &pin));
	bad.detach = NULL;
	refused(-EINVAL, lh_pin_get(file, 0, BLOCK, &reader, &bad, &d, &pin));
	bad = kind;
	bad.name = "";
	refused(-EINVAL, lh_pin_get(file, 0, BLOCK, &reader, &bad, &d, &pin));
	opt.flags = LH_LEASE_MANUAL;
	refused(-EINVAL, lh_pin_get(file, 0, BLOCK, &opt, &kind, &d, &pin));
	ok(lh_file_open(fs, "/a", O_RDONLY, 0, &readable));
	refused(-EBADF, lh_pin_get(readable, 0, BLOCK, &writer, &kind, &d, &pin));
	d.refuse = -ENOBUFS;
	refused(-ENOBUFS, lh_pin_get(file, 0, BLOCK, &reader, &kind, &d, &pin));
	d.refuse = 0;
	ok(lh_fs_leases(fs, NULL, see, &seen));
	assert_int_equal(seen.leases, 0);
	ok(lh_pin_get(file, 0, BLOCK, &reader, &kind, &d, &pin));
	ok(lh_fs_leases(fs, NULL, see, &seen));
	assert_int_equal(seen.leases, 1);
	assert_string_equal(seen.pin, "notes");
	ok(lh_pin_release(pin));
	ok(lh_pin_release(NULL));
	assert_int_equal(d.gone, 1);
	ok(lh_file_close(readable));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

/* A server's files are not for devices of its clients. */
static void test_remote(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file;
	struct lh_server *server;
	struct lh_fs *remote;
	struct device d;
	struct lh_pin *pin;
	char address[64];
	void *addr;

	(void)state;
	start(&d);
	snprintf(address, sizeof(address), "unix:/tmp/lh-pin-%d.sock", getpid());
	ok(lh_server_start(fs, address, NULL, &server));
	ok(lh_fs_open(address, NULL, &remote));
	file = file_make(remote, "/a");
	write_pattern(file, 0, BLOCK, 1);
	refused(-EOPNOTSUPP, lh_pin_get(file, 0, BLOCK, &reader, &kind, &d, &pin));
	refused(-EOPNOTSUPP, lh_map(file, 0, BLOCK, PROT_READ, &addr));
	ok(lh_file_commit(file, 0, BLOCK));
	assert_ptr_equal(lh_file_fs(file), remote);
	ok(lh_file_close(file));
	ok(lh_fs_close(remote));
	lh_server_stop(server);
	ok(lh_fs_close(fs));
}

/* L7, L20: a device that is slow to let go holds up who needs the blocks, and nobody else; and it is asked once. */
static void *slow_relocate(void *arg)
{
	struct stranger *s = arg;

	ok(fs_relocate(s->handle, &s->who, 0, 4 * BLOCK, NULL));
	return NULL;
}

static void on_slow_detach(void *ctx, uint64_t off, uint64_t len, struct lh_pin_receipt *out)
{
	struct device *d = ctx;

	/* As long as the test wants, within reason. */
	d->asked = true;
	for (unsigned k = 0; k < 5000 && !d->let_go; k++)
		usleep(1000);
	on_detach(ctx, off, len, out);
}

static void test_slow(void **state)
{
	struct lh_fs *fs = mem_open();
	struct lh_file *file = file_make(fs, "/a");
	struct lh_file *other = file_make(fs, "/b");
	struct lh_pin_device slow = kind;
	struct stranger s;
	struct device d;
	struct lh_pin *pin;
	pthread_t thread;

	(void)state;
	slow.detach = on_slow_detach;
	write_pattern(file, 0, 8 * BLOCK, 1);
	write_pattern(other, 0, 8 * BLOCK, 2);
	stranger_open(&s, fs, "/a");
	start(&d);
	ok(lh_pin_get(file, 0, 8 * BLOCK, &reader, &slow, &d, &pin));
	pthread_create(&thread, NULL, slow_relocate, &s);
	while (!d.asked)
		usleep(1000);
	assert_true(lh_file_relocate(other, 0, 8 * BLOCK) > 0);
	assert_int_equal(attached(&d), 8);
	d.let_go = true;
	pthread_join(thread, NULL);
	assert_int_equal(d.detaches, 1);
	assert_int_equal(attached(&d), 4);
	ok(lh_pin_fault(pin, 0, 8 * BLOCK));
	assert_true(shows(&d, 0, 8, 1));
	ok(lh_pin_release(pin));
	stranger_close(&s);
	ok(lh_file_close(other));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_stranger), cmocka_unit_test(test_own),    cmocka_unit_test(test_close),
	    cmocka_unit_test(test_refused),  cmocka_unit_test(test_remote), cmocka_unit_test(test_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
