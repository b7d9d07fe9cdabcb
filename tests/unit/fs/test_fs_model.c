/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L37: files behave as arrays of bytes: random writes, truncates, every mode of fallocate, clones, dedupes, exchanges,
 * copies, relocations, leases with direct writes on four files against four arrays, with remounts and crashes (of the
 * program) between, on a pool that is full now and then. What fails for lack of space changes nothing, or as much as it
 * says (short writes).
 */
#include "pool/sim.h"

#include "fsrig.h"
#include "rnd.h"

#define FILES      4
#define FILE_BYTES (2 * MIB)
#define ROUNDS     2500

struct model {
	struct rig rig;
	struct rnd rnd;
	uint8_t *bytes[FILES];
	uint64_t size[FILES];
	struct fs_handle *h[FILES];
	uint8_t *buf;
	unsigned full;
	const struct fs_caller *who; /* of the operations */
	struct holder watch[2];      /* leases that stay while everything happens */
	int watched[2];              /* the file; -1: none held */
	bool watching;
	unsigned recalls, places; /* of the watchers */
};

static void open_all(struct model *m)
{
	for (int k = 0; k < FILES; k++) {
		char path[8];

		snprintf(path, sizeof(path), "/%d", k);
		m->h[k] = rig_open(&m->rig, path, O_RDWR | O_CREAT);
	}
}

static void close_all(struct model *m)
{
	for (int k = 0; k < FILES; k++)
		fs_close(m->h[k], NULL, 0);
}

/* Whatever is not zero lies in what SEEK_DATA finds. */
static void check_seek(struct model *m, int k)
{
	uint64_t at = 0;

	while (at < m->size[k]) {
		int64_t data = fs_seek(m->h[k], at, SEEK_DATA);
		uint64_t to = data < 0 ? m->size[k] : (uint64_t)data;
		int64_t hole;

		assert_true(data >= (int64_t)at || data == -ENXIO);
		/* All are zero when the first is and each equals the next. */
		if (to > at)
			assert_int_equal(m->bytes[k][at], 0);
		if (to > at + 1)
			assert_memory_equal(m->bytes[k] + at, m->bytes[k] + at + 1, to - at - 1);
		at = to;
		if (data < 0)
			break;
		hole = fs_seek(m->h[k], at, SEEK_HOLE);
		assert_true(hole > data && (uint64_t)hole <= m->size[k]);
		at = (uint64_t)hole;
	}
	assert_int_equal(fs_seek(m->h[k], m->size[k], SEEK_HOLE), -ENXIO);
}

static void compare(struct model *m, int k)
{
	assert_int_equal(rig_size(m->h[k]), m->size[k]);
	check_seek(m, k);
	assert_int_equal(fs_read(m->h[k], m->who, m->buf, FILE_BYTES, 0), (ssize_t)m->size[k]);
	if (memcmp(m->buf, m->bytes[k], m->size[k]) == 0)
		return;
	for (uint64_t b = 0; b < m->size[k]; b++) {
		if (m->buf[b] != m->bytes[k][b])
			fprintf(stderr, "file %d byte %llu of %llu: %02x, not %02x\n", k, (unsigned long long)b,
				(unsigned long long)m->size[k], m->buf[b], m->bytes[k][b]);
		assert_int_equal(m->buf[b], m->bytes[k][b]);
	}
}

/* Small or large, aligned or not, often around the end of file. */
static uint64_t some_off(struct model *m, int k)
{
	uint64_t off = rnd_below(&m->rnd, FILE_BYTES);

	if (rnd_below(&m->rnd, 3) == 0)
		off = min_u64(FILE_BYTES - 1, m->size[k] + rnd_below(&m->rnd, 3 * BLK));
	if (rnd_below(&m->rnd, 2) == 0)
		off = round_down_u64(off, BLK);
	return off;
}

static uint64_t some_len(struct model *m, uint64_t off)
{
	uint64_t len = 1 + rnd_below(&m->rnd, rnd_below(&m->rnd, 4) ? 4 * BLK : 100 * BLK);

	if (rnd_below(&m->rnd, 2) == 0)
		len = round_up_u64(len, BLK);
	return min_u64(len, FILE_BYTES - off);
}

static bool is_full(struct model *m, ssize_t err)
{
	if (err == -ENOSPC)
		m->full++;
	else
		assert_true(err >= 0);
	return err == -ENOSPC;
}

static void grow(struct model *m, int k, uint64_t size)
{
	if (size <= m->size[k])
		return;
	memset(m->bytes[k] + m->size[k], 0, size - m->size[k]);
	m->size[k] = size;
}

static void do_write(struct model *m, int k)
{
	uint64_t off = some_off(m, k);
	uint64_t len = some_len(m, off);
	ssize_t done;

	for (uint64_t b = 0; b < len; b++)
		m->buf[b] = (uint8_t)rnd_next(&m->rnd);
	done = fs_write(m->h[k], m->who, m->buf, len, off);
	if (is_full(m, done) || done == 0)
		return;
	grow(m, k, off);
	memcpy(m->bytes[k] + off, m->buf, (size_t)done);
	m->size[k] = max_u64(m->size[k], off + (uint64_t)done);
}

static void do_truncate(struct model *m, int k)
{
	uint64_t size = some_off(m, k);

	if (is_full(m, fs_truncate(m->h[k], m->who, size)))
		return;
	grow(m, k, size);
	m->size[k] = size;
}

static void do_punch(struct model *m, int k)
{
	uint64_t off = some_off(m, k);
	uint64_t len = some_len(m, off);
	int err = fs_allocate(m->h[k], m->who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);

	/* An edge in a shared block may need a block; it may have been zeroed at the other edge. */
	if (is_full(m, err)) {
		assert_int_equal(fs_read(m->h[k], m->who, m->bytes[k], FILE_BYTES, 0), (ssize_t)m->size[k]);
		return;
	}
	if (off < m->size[k])
		memset(m->bytes[k] + off, 0, min_u64(len, m->size[k] - off));
}

static void do_preallocate(struct model *m, int k)
{
	uint64_t off = some_off(m, k);
	uint64_t len = some_len(m, off);
	int mode = rnd_below(&m->rnd, 2) ? FALLOC_FL_KEEP_SIZE : 0;

	if (!is_full(m, fs_allocate(m->h[k], m->who, mode, off, len)) && mode == 0)
		grow(m, k, off + len);
}

static void do_clone(struct model *m, int k)
{
	int to = (int)rnd_below(&m->rnd, FILES);
	uint64_t src = round_down_u64(some_off(m, k), BLK);
	uint64_t dst = round_down_u64(some_off(m, to), BLK);
	uint64_t len = round_up_u64(some_len(m, max_u64(src, dst)), BLK);
	int err;

	if (src >= m->size[k])
		return;
	if (len > m->size[k] - src)
		len = m->size[k] - src;
	err = fs_clone_range(m->h[to], dst, m->h[k], src, len, m->who);
	if (err == -EINVAL) {
		assert_true(to == k || len % BLK);
		return;
	}
	if (is_full(m, err))
		return;
	grow(m, to, dst + len);
	memmove(m->bytes[to] + dst, m->bytes[k] + src, len);
}

static void do_relocate(struct model *m, int k)
{
	uint64_t off = some_off(m, k);

	is_full(m, fs_relocate(m->h[k], m->who, off, some_len(m, off), NULL));
}

/* What the file shows is believed: an operation that failed may have zeroed an edge. */
static void believe(struct model *m, int k)
{
	assert_int_equal(fs_read(m->h[k], m->who, m->bytes[k], FILE_BYTES, 0), (ssize_t)m->size[k]);
}

static void do_zero(struct model *m, int k)
{
	uint64_t off = some_off(m, k);
	uint64_t len = some_len(m, off);
	int keep = rnd_below(&m->rnd, 2) ? FALLOC_FL_KEEP_SIZE : 0;

	if (is_full(m, fs_allocate(m->h[k], m->who, FALLOC_FL_ZERO_RANGE | keep, off, len))) {
		believe(m, k);
		return;
	}
	if (!keep)
		grow(m, k, off + len);
	if (off < m->size[k])
		memset(m->bytes[k] + off, 0, min_u64(len, m->size[k] - off));
}

static void do_unshare(struct model *m, int k)
{
	uint64_t off = some_off(m, k);
	uint64_t len = some_len(m, off);
	int keep = rnd_below(&m->rnd, 2) ? FALLOC_FL_KEEP_SIZE : 0;

	if (!is_full(m, fs_allocate(m->h[k], m->who, FALLOC_FL_UNSHARE_RANGE | keep, off, len)) && !keep)
		grow(m, k, off + len);
}

static void do_collapse(struct model *m, int k)
{
	uint64_t off = round_down_u64(some_off(m, k), BLK);
	uint64_t len = round_up_u64(some_len(m, off), BLK);
	int err = fs_allocate(m->h[k], m->who, FALLOC_FL_COLLAPSE_RANGE, off, len);

	if (off + len >= m->size[k]) {
		assert_int_equal(err, -EINVAL);
		return;
	}
	if (is_full(m, err))
		return;
	m->size[k] -= len;
	memmove(m->bytes[k] + off, m->bytes[k] + off + len, m->size[k] - off);
}

static void do_insert(struct model *m, int k)
{
	uint64_t off = round_down_u64(some_off(m, k), BLK);
	uint64_t len = round_up_u64(some_len(m, off), BLK);
	int err;

	if (off < m->size[k] && m->size[k] + len > FILE_BYTES)
		return;
	err = fs_allocate(m->h[k], m->who, FALLOC_FL_INSERT_RANGE, off, len);
	if (off >= m->size[k]) {
		assert_int_equal(err, -EINVAL);
		return;
	}
	if (is_full(m, err))
		return;
	memmove(m->bytes[k] + off + len, m->bytes[k] + off, m->size[k] - off);
	memset(m->bytes[k] + off, 0, len);
	m->size[k] += len;
}

static void do_exchange(struct model *m, int k)
{
	int to = (int)rnd_below(&m->rnd, FILES);
	uint64_t a = round_down_u64(some_off(m, k), BLK);
	uint64_t b = round_down_u64(some_off(m, to), BLK);
	uint64_t len = round_up_u64(some_len(m, max_u64(a, b)), BLK);
	bool apart = k != to || a + len <= b || b + len <= a;
	int err;

	if (rnd_below(&m->rnd, 4) == 0 && a < m->size[k] && m->size[to] >= m->size[k] - a) {
		len = m->size[k] - a;
		b = m->size[to] - len;
		apart = k != to;
	}
	err = fs_exchange_range(m->h[k], a, m->h[to], b, len, m->who);
	if (err == -EINVAL) {
		assert_true(!apart || b % BLK || a + len > m->size[k] || b + len > m->size[to]);
		return;
	}
	if (is_full(m, err))
		return;
	memcpy(m->buf, m->bytes[k] + a, len);
	memmove(m->bytes[k] + a, m->bytes[to] + b, len);
	memcpy(m->bytes[to] + b, m->buf, len);
}

static void do_dedupe(struct model *m, int k)
{
	int to = (int)rnd_below(&m->rnd, FILES);
	uint64_t src = round_down_u64(some_off(m, k), BLK);
	uint64_t dst = round_down_u64(some_off(m, to), BLK);
	uint64_t len = round_up_u64(some_len(m, max_u64(src, dst)), BLK);
	bool inside = src + len <= m->size[k] && dst + len <= m->size[to];
	bool apart = k != to || src + len <= dst || dst + len <= src;
	bool same;
	int err;

	if (inside && apart && rnd_below(&m->rnd, 3)) {
		ssize_t n = fs_write(m->h[to], m->who, m->bytes[k] + src, len, dst);

		if (is_full(m, n))
			return;
		memcpy(m->bytes[to] + dst, m->bytes[k] + src, (size_t)n);
	}
	same = inside && memcmp(m->bytes[k] + src, m->bytes[to] + dst, len) == 0;
	err = fs_dedupe_range(m->h[to], dst, m->h[k], src, len, m->who);
	if (!inside || !apart)
		assert_int_equal(err, -EINVAL);
	else if (!is_full(m, err))
		assert_int_equal(err, same ? 0 : 1);
}

static void do_copy(struct model *m, int k)
{
	int to = (int)rnd_below(&m->rnd, FILES);
	uint64_t src = some_off(m, k);
	uint64_t dst = some_off(m, to);
	uint64_t len = some_len(m, max_u64(src, dst));
	ssize_t done;

	if (rnd_below(&m->rnd, 2))
		dst = round_down_u64(dst, BLK) + src % BLK;
	dst = min_u64(dst, FILE_BYTES - len);
	done = fs_copy_range(m->h[to], dst, m->h[k], src, len, m->who);
	if (done == -EINVAL) {
		assert_int_equal(to, k);
		return;
	}
	if (is_full(m, done) || done == 0)
		return;
	assert_true((uint64_t)done <= m->size[k] - src);
	grow(m, to, dst);
	memmove(m->bytes[to] + dst, m->bytes[k] + src, (size_t)done);
	m->size[to] = max_u64(m->size[to], dst + (uint64_t)done);
}

/* A WRITE lease, bytes through it, commit or (inside the file) not. */
static void do_direct(struct model *m, int k)
{
	uint64_t off = some_off(m, k);
	uint64_t len = min_u64(some_len(m, off), 16 * BLK);
	struct holder o;
	char path[8];
	int err;

	snprintf(path, sizeof(path), "/%d", k);
	holder_open(&o, &m->rig, path, false);
	err = holder_try(&o, LEASE_WRITE, off, len);
	if (!is_full(m, err)) {
		grow(m, k, off);
		for (uint64_t b = off; b < off + len; b++) {
			uint8_t v = (uint8_t)rnd_next(&m->rnd);

			uint8_t *at = pin_at(&o.pin, b);

			if (!at)
				assert_non_null(at);
			*at = v;
			m->bytes[k][b] = v;
		}
		assert_int_equal(fs_commit(o.h, &o.who, off, len), 0);
		m->size[k] = max_u64(m->size[k], off + len);
	}
	holder_close(&o);
}

static void do_read_lease(struct model *m, int k)
{
	uint64_t off = some_off(m, k);
	uint64_t len = min_u64(some_len(m, off), 16 * BLK);
	struct holder o;
	char path[8];
	int err;

	snprintf(path, sizeof(path), "/%d", k);
	holder_open(&o, &m->rig, path, false);
	err = holder_try(&o, LEASE_READ, off, len);
	if (err)
		assert_int_equal(err, -ENODATA);
	for (uint64_t b = off; !err && b < min_u64(off + len, m->size[k]); b++) {
		const uint8_t *at = pin_at(&o.pin, b);

		if ((at ? *at : 0) != m->bytes[k][b])
			assert_int_equal(at ? *at : 0, m->bytes[k][b]);
	}
	holder_close(&o);
}

/* A new lease, somewhere, for a watcher that has lost all of its own, and now and then for another. */
static void watch_again(struct model *m, int k)
{
	struct holder *o = &m->watch[k];
	uint64_t off;
	char path[8];

	if (m->watched[k] >= 0 && o->pin.count > 0 && rnd_below(&m->rnd, 12) > 0)
		return;
	if (m->watched[k] >= 0) {
		m->recalls += o->recalls;
		m->places += o->pin.places;
		holder_close(o);
	}
	m->watched[k] = (int)rnd_below(&m->rnd, FILES);
	snprintf(path, sizeof(path), "/%d", m->watched[k]);
	holder_open(o, &m->rig, path, true);
	off = some_off(m, m->watched[k]);
	if (holder_try(o, rnd_below(&m->rnd, 2) ? LEASE_READ : LEASE_WRITE, off,
		       min_u64(16 * some_len(m, off), FILE_BYTES - off)) != 0) {
		holder_close(o);
		m->watched[k] = -1;
	}
}

/* What a device reaches is the file, whatever has happened to it (I3, L5, L12). */
static void watch_check(struct model *m, int k)
{
	const struct fake_pin *p = &m->watch[k].pin;
	int file = m->watched[k];

	for (unsigned n = 0; file >= 0 && n < p->count; n++) {
		const struct fs_run *run = &p->runs[n];
		const uint8_t *at = fs_run_window(m->rig.fs, run);
		uint64_t end = min_u64(run->file_off + run->len, m->size[file]);

		for (uint64_t b = run->file_off; b < end; b++) {
			if (at[b - run->file_off] != m->bytes[file][b])
				fprintf(stderr, "watcher %d, file %d, byte %llu\n", k, file, (unsigned long long)b);
			if (at[b - run->file_off] != m->bytes[file][b])
				assert_int_equal(at[b - run->file_off], m->bytes[file][b]);
		}
	}
}

static void watch_end(struct model *m)
{
	for (int k = 0; k < 2 && m->watching; k++) {
		if (m->watched[k] < 0)
			continue;
		m->recalls += m->watch[k].recalls;
		m->places += m->watch[k].pin.places;
		holder_close(&m->watch[k]);
		m->watched[k] = -1;
	}
}

static void random_ops(struct model *m, unsigned rounds)
{
	for (unsigned n = 0; n < rounds; n++) {
		int k = (int)rnd_below(&m->rnd, FILES);

		m->who = &m->rig.root;
		for (int w = 0; w < 2 && m->watching; w++) {
			watch_again(m, w);
			if (m->watched[w] >= 0 && rnd_below(&m->rnd, 3) == 0)
				m->who = &m->watch[w].who;
		}
		switch (rnd_below(&m->rnd, 19)) {
		case 0:
		case 1:
		case 2:
		case 3:
			do_write(m, k);
			break;
		case 4:
			do_truncate(m, k);
			break;
		case 5:
			do_punch(m, k);
			break;
		case 6:
			do_preallocate(m, k);
			break;
		case 7:
		case 8:
			do_clone(m, k);
			break;
		case 9:
			do_relocate(m, k);
			break;
		case 10:
			do_direct(m, k);
			break;
		case 11:
			do_read_lease(m, k);
			break;
		case 12:
			do_zero(m, k);
			break;
		case 13:
			do_unshare(m, k);
			break;
		case 14:
			do_collapse(m, k);
			break;
		case 15:
			do_insert(m, k);
			break;
		case 16:
			do_exchange(m, k);
			break;
		case 17:
			do_dedupe(m, k);
			break;
		case 18:
			do_copy(m, k);
			break;
		}
		for (int w = 0; w < 2 && m->watching; w++)
			watch_check(m, w);
		m->who = &m->rig.root;
		if (n % 16 == 0)
			compare(m, k);
		if (n % 64 == 0)
			rig_check(&m->rig);
		if (n % 200 == 0 && rnd_below(&m->rnd, 2) == 0)
			assert_int_equal(fs_checkpoint(m->rig.fs), 0);
		if (n % 250 == 249) {
			/* POOL_MSYNC: records wait in memory. */
			assert_int_equal(fs_sync_all(m->rig.fs), 0);
			watch_end(m);
			close_all(m);
			rig_remount(&m->rig, rnd_below(&m->rnd, 2) == 0);
			open_all(m);
			for (k = 0; k < FILES; k++)
				compare(m, k);
		}
	}
}

static void run(uint64_t pool_size, enum pool_class class, unsigned rounds, bool want_full, bool watching)
{
	static struct model m;
	struct pool_create_args args = {.size = pool_size};
	struct pool *pool;

	memset(&m, 0, sizeof(m));
	m.rnd = rnd_start();
	m.watching = watching;
	m.watched[0] = m.watched[1] = -1;
	if (class == POOL_MSYNC)
		assert_int_equal(sim_create(pool_size, class, NULL, &pool), 0);
	else
		assert_int_equal(pool_create(&args, &pool), 0);
	assert_int_equal(rig_new_in(&m.rig, pool), 0);
	m.buf = malloc(FILE_BYTES);
	for (int k = 0; k < FILES; k++)
		m.bytes[k] = calloc(1, FILE_BYTES);
	m.who = &m.rig.root;
	open_all(&m);
	if (want_full) {
		/* Ballast: the four files cannot all be written in full. */
		struct fs_statfs s;
		struct fs_handle *h = rig_open(&m.rig, "/ballast", O_RDWR | O_CREAT);

		fs_statfs(m.rig.fs, &s);
		assert_int_equal(fs_allocate(h, &m.rig.root, 0, 0, (s.avail_blocks - 400) * BLK), 0);
		fs_close(h, NULL, 0);
	}
	random_ops(&m, rounds);
	watch_end(&m);
	printf("%u operations found the pool full; %u recalls, %u placements\n", m.full, m.recalls, m.places);
	if (watching)
		assert_true(m.recalls > 0 && m.places > 0);
	if (want_full)
		assert_true(m.full > 0);
	close_all(&m);
	rig_free(&m.rig);
	for (int k = 0; k < FILES; k++)
		free(m.bytes[k]);
	free(m.buf);
}

static void files_behave_as_arrays_of_bytes(void **state)
{
	(void)state;
	run(64 * MIB, POOL_VOLATILE, ROUNDS, false, false);
}

static void a_full_pool_leaves_everything_whole(void **state)
{
	(void)state;
	run(16 * MIB, POOL_VOLATILE, 2 * ROUNDS, true, false);
}

/* Half of the changes are the watchers' own. */
static void leases_show_the_file_whatever_happens_to_it(void **state)
{
	(void)state;
	run(32 * MIB, POOL_VOLATILE, ROUNDS / 2, false, true);
}

/* Freed blocks wait there until the record that freed them is durable. */
static void so_it_is_on_a_pool_that_is_synced_by_pages(void **state)
{
	(void)state;
	run(16 * MIB, POOL_MSYNC, ROUNDS, true, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files_behave_as_arrays_of_bytes),
	    cmocka_unit_test(leases_show_the_file_whatever_happens_to_it),
	    cmocka_unit_test(a_full_pool_leaves_everything_whole),
	    cmocka_unit_test(so_it_is_on_a_pool_that_is_synced_by_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
