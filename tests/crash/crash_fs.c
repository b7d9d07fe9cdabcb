/* SPDX-License-Identifier: BSD-2-Clause */
#include "crash_fs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/crc.h"

#undef fail /* cmocka's; ours is a function */

#define TEXT_MAX  8192u
#define FILE_MAX_ (256u << 10)

const struct fs_caller x_root;

struct world {
	const struct fscrash *c;
	enum pool_class class;
	struct fs *fs;
	unsigned ops;
	char text[FSCRASH_OPS_MAX + 1][TEXT_MAX];
	bool synced[FSCRASH_OPS_MAX + 1]; /* the operation before this state made everything durable */
	uint8_t *mixed[FSCRASH_OPS_MAX + 1];
	uint64_t mixed_size[FSCRASH_OPS_MAX + 1];
};

/* --- describing ----------------------------------------------------------------------------------------------------
 */

struct describe {
	struct fs *fs;
	char *text;
	size_t len;
	const char *mixed;
	char path[512];
};

static void add(struct describe *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct describe *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	d->len += (size_t)vsnprintf(d->text + d->len, TEXT_MAX - d->len, fmt, ap);
	va_end(ap);
	assert_true(d->len < TEXT_MAX);
}

static uint8_t *content(struct fs *fs, const char *path, uint64_t *size)
{
	struct fs_handle *h;
	uint8_t *buf = malloc(FILE_MAX_);
	ssize_t n;

	if (fs_open(fs, &x_root, path, O_RDONLY, 0, &h) != 0) {
		free(buf);
		return NULL;
	}
	n = fs_read(h, &x_root, buf, FILE_MAX_, 0);
	assert_true(n >= 0 && n < (ssize_t)FILE_MAX_);
	fs_close(h, NULL, 0);
	*size = (uint64_t)n;
	return buf;
}

static void describe_dir(struct describe *d, const char *path);

static void describe_xattrs(struct describe *d)
{
	static char names[4096];
	static uint8_t value[FS_XATTR_SIZE_MAX];
	ssize_t n = fs_xattr_list(d->fs, &x_root, d->path, false, names, sizeof(names));

	assert_true(n >= 0);
	for (ssize_t k = 0; k < n; k += (ssize_t)strlen(names + k) + 1) {
		ssize_t size = fs_xattr_get(d->fs, &x_root, d->path, false, names + k, value, sizeof(value));

		assert_true(size >= 0);
		add(d, "%s: %s size %zd content %08x\n", d->path, names + k, size, crc32c(0, value, (size_t)size));
	}
}

/* By name order does not matter: cookies are the order of making, the same in every run. */
static bool describe_entry(void *ctx, const struct fs_dirent *e)
{
	struct describe *d = ctx;
	struct fs_attr a = {0};
	size_t base = strlen(d->path);
	uint64_t size = 0;
	uint8_t *buf;

	snprintf(d->path + base, sizeof(d->path) - base, "%s%s", base > 1 ? "/" : "", e->name);
	if (fs_stat(d->fs, &x_root, d->path, false, &a) != 0) {
		add(d, "%s: cannot be found\n", d->path);
	} else if (S_ISDIR(a.mode)) {
		char path[512];

		add(d, "%s: dir %o links %u\n", d->path, a.mode, a.nlink);
		memcpy(path, d->path, sizeof(path));
		describe_dir(d, path);
	} else if (S_ISLNK(a.mode)) {
		char target[256] = "";

		fs_readlink(d->fs, &x_root, d->path, target, sizeof(target) - 1);
		add(d, "%s: link to %s\n", d->path, target);
	} else if (!S_ISREG(a.mode)) {
		add(d, "%s: node %o links %u device %" PRIu64 "\n", d->path, a.mode, a.nlink, a.rdev);
	} else {
		buf = content(d->fs, d->path, &size);
		add(d, "%s: file %o links %u size %" PRIu64, d->path, a.mode, a.nlink, a.size);
		if (!d->mixed || strcmp(d->mixed, d->path) != 0)
			add(d, " content %08x", buf ? crc32c(0, buf, size) : 0);
		add(d, "\n");
		free(buf);
	}
	if (a.ino)
		describe_xattrs(d);
	if (a.flags || a.tree)
		add(d, "  flags %u tree %u\n", a.flags, a.tree);
	d->path[base] = '\0';
	return true;
}

static void describe_limit(void *ctx, const struct fs_limit *l)
{
	add(ctx, "limit %u %u: blocks %" PRIu64 "/%" PRIu64 " inodes %" PRIu64 "/%" PRIu64 "\n", l->kind, l->id,
	    l->blocks_used, l->blocks, l->inodes_used, l->inodes);
}

static void describe_dir(struct describe *d, const char *path)
{
	struct fs_handle *h;

	assert_int_equal(fs_open(d->fs, &x_root, path, O_RDONLY, 0, &h), 0);
	assert_int_equal(fs_readdir(h, &x_root, 0, describe_entry, d), 0);
	fs_close(h, NULL, 0);
}

static void describe(struct fs *fs, const char *mixed, char text[TEXT_MAX])
{
	struct describe d = {.fs = fs, .text = text, .mixed = mixed, .path = "/"};
	struct fs_statfs s;

	text[0] = '\0';
	describe_dir(&d, "/");
	assert_int_equal(fs_limits(fs, describe_limit, &d), 0);
	fs_statfs(fs, &s);
	add(&d, "blocks %" PRIu64 "\n", s.blocks);
}

/* --- the runner's functions -----------------------------------------------------------------------------------------
 */

static const struct fs_mount_options quiet = {
    .no_checkpoint_thread = true, .commit_interval_ns = UINT64_MAX / 4, .lease = {.no_timer_thread = true}};

static int setup(struct pool *p, void *ctx)
{
	struct world *w = ctx;
	struct fs *fs;
	int err = fs_format(p, NULL);

	if (!err)
		err = fs_mount(p, &quiet, &fs);
	if (err)
		return err;
	err = w->c->prepare(fs);
	return err ? err : fs_unmount(fs);
}

static int begin(struct pool *p, void *ctx)
{
	struct world *w = ctx;

	return fs_mount(p, &quiet, &w->fs);
}

static int act(struct pool *p, void *ctx)
{
	struct world *w = ctx;
	int err = 0;

	for (unsigned k = 0; k < w->ops && !err; k++) {
		if (w->c->checkpoint_at == (int)k)
			err = fs_checkpoint(w->fs);
		if (!err)
			err = w->c->op[k](w->fs);
		sim_mark(p, k + 1);
	}
	return err;
}

static int end(struct pool *p, void *ctx)
{
	struct world *w = ctx;

	(void)p;
	fs_abandon(w->fs);
	w->fs = NULL;
	return 0;
}

static void say(void *ctx, const char *finding)
{
	(void)ctx;
	fprintf(stderr, "fs_verify: %s\n", finding);
}

/* Each word of the mixed file is as before or as after. */
static bool mix_of(const uint8_t *now, uint64_t size, const uint8_t *a, uint64_t a_size, const uint8_t *b,
		   uint64_t b_size)
{
	for (uint64_t k = 0; k < size; k += 8) {
		uint64_t n = size - k < 8 ? size - k : 8;
		bool like_a = k + n <= a_size && memcmp(now + k, a + k, n) == 0;
		bool like_b = k + n <= b_size && memcmp(now + k, b + k, n) == 0;

		if (!like_a && !like_b)
			return false;
	}
	return true;
}

static bool mixed_ok(struct world *w, struct fs *fs, unsigned lowest, unsigned highest)
{
	uint64_t size = 0;
	uint8_t *now = content(fs, w->c->mixed, &size);
	bool ok = false;

	for (unsigned a = lowest; now && a <= highest && !ok; a++) {
		for (unsigned b = a; b <= highest && !ok; b++)
			ok = mix_of(now, size, w->mixed[a], w->mixed_size[a], w->mixed[b], w->mixed_size[b]);
	}
	free(now);
	return ok;
}

static int judge(struct world *w, struct fs *fs, unsigned lowest, unsigned highest)
{
	static char text[TEXT_MAX];
	bool found = false;

	if (fs_verify(fs, say, NULL) != 0)
		return fail(-EUCLEAN, "fs_verify has findings");
	describe(fs, w->c->mixed, text);
	for (unsigned k = lowest; k <= highest; k++)
		found = found || strcmp(text, w->text[k]) == 0;
	if (!found) {
		fprintf(stderr, "--- found:\n%s--- states %u to %u were allowed; the first:\n%s--- the last:\n%s", text,
			lowest, highest, w->text[lowest], w->text[highest]);
		return fail(-EUCLEAN, "the tree is in no state that it was in");
	}
	if (w->c->mixed && !mixed_ok(w, fs, lowest, highest))
		return fail(-EUCLEAN, "%s holds bytes that were never there", w->c->mixed);
	return 0;
}

static int verify(struct pool *crashed, bool act_finished, void *ctx)
{
	struct world *w = ctx;
	unsigned done = (unsigned)sim_marked(crashed);
	unsigned highest = act_finished ? w->ops : done + 1 < w->ops ? done + 1 : w->ops;
	unsigned lowest = done;
	struct fs *fs;
	int err = fs_mount(crashed, &quiet, &fs);

	if (err)
		return err;
	/* Nor are bytes in place durable before a sync, on any medium. */
	if (w->class == POOL_MSYNC || w->c->mixed) {
		while (lowest > 0 && !w->synced[lowest])
			lowest--;
	}
	err = judge(w, fs, lowest, highest);
	if (err) {
		fs_abandon(fs);
		return err;
	}
	/* And it is usable: something is made, unmounted, mounted, and gone again. */
	err = x_create(fs, "/after the crash");
	if (!err)
		err = fs_unlink(fs, &x_root, "/after the crash");
	if (err) {
		fs_abandon(fs);
		return err;
	}
	err = fs_unmount(fs);
	if (!err)
		err = fs_mount(crashed, &quiet, &fs);
	if (err)
		return err;
	err = judge(w, fs, lowest, highest);
	fs_abandon(fs);
	return err;
}

static int recover(struct pool *crashed, void *ctx)
{
	struct fs *fs;
	int err = fs_mount(crashed, &quiet, &fs);

	(void)ctx;
	if (!err)
		fs_abandon(fs);
	return err;
}

/* --- running --------------------------------------------------------------------------------------------------------
 */

static void note_state(struct world *w, struct fs *fs, unsigned k)
{
	describe(fs, w->c->mixed, w->text[k]);
	if (w->c->mixed)
		w->mixed[k] = content(fs, w->c->mixed, &w->mixed_size[k]);
	w->synced[k] = k == 0 || w->c->op[k - 1] == x_sync || (w->c->durable >> (k - 1) & 1);
}

static void make_oracle(struct world *w)
{
	struct pool *p;
	struct fs *fs;

	uint64_t size = w->c->pool_size ? w->c->pool_size : POOL_SIZE_MIN;

	assert_int_equal(sim_create_room(size, max_u64(size, w->c->pool_room), w->class, NULL, &p), 0);
	assert_int_equal(fs_format(p, NULL), 0);
	assert_int_equal(fs_mount(p, &quiet, &fs), 0);
	assert_int_equal(w->c->prepare(fs), 0);
	note_state(w, fs, 0);
	for (w->ops = 0; w->c->op[w->ops]; w->ops++) {
		int err = w->c->op[w->ops](fs);

		if (err)
			fprintf(stderr, "%s: operation %u: error %d %s\n", w->c->name, w->ops, err, fail_text());
		assert_int_equal(err, 0);
		note_state(w, fs, w->ops + 1);
	}
	fs_abandon(fs);
	pool_close(p);
}

static void run_class(const struct fscrash *c, enum pool_class class)
{
	struct world *w = calloc(1, sizeof(*w));
	char name[64];
	struct crash_case cc = {.name = name,
				.pool_size = c->pool_size,
				.pool_room = c->pool_room,
				.class = class,
				.setup = setup,
				.begin = begin,
				.act = act,
				.end = end,
				.verify = verify,
				.recover = recover,
				.ctx = w,
				.outcomes_max = 100,
				.torn = 4,
				.recovery_states = 1,
				.recovery_events = 2,
				.recovery_outcomes = 2};
	struct crash_result result;

	snprintf(name, sizeof(name), "%s-%s", c->name, pool_class_name(class));
	w->c = c;
	w->class = class;
	make_oracle(w);
	assert_int_equal(crash_run(&cc, &result), 0);
	assert_int_equal(result.failed, 0);
	for (unsigned k = 0; k <= FSCRASH_OPS_MAX; k++)
		free(w->mixed[k]);
	free(w);
}

void fscrash_run(const struct fscrash *c)
{
	run_class(c, POOL_CACHE_FLUSH);
	run_class(c, POOL_MSYNC);
}

/* --- operations -----------------------------------------------------------------------------------------------------
 */

static int x_open(struct fs *fs, const char *path, int flags, struct fs_handle **h)
{
	return fs_open(fs, &x_root, path, flags, 0644, h);
}

int x_create(struct fs *fs, const char *path)
{
	struct fs_handle *h;
	int err = x_open(fs, path, O_RDWR | O_CREAT | O_EXCL, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}

int x_write(struct fs *fs, const char *path, int c, size_t len, uint64_t off)
{
	struct fs_handle *h;
	uint8_t *buf = malloc(len);
	ssize_t n;
	int err = x_open(fs, path, O_RDWR, &h);

	if (!err) {
		memset(buf, c, len);
		n = fs_write(h, &x_root, buf, len, off);
		err = n == (ssize_t)len ? 0 : n < 0 ? (int)n : -EIO;
		fs_close(h, NULL, 0);
	}
	free(buf);
	return err;
}

int x_truncate(struct fs *fs, const char *path, uint64_t size)
{
	struct fs_handle *h;
	int err = x_open(fs, path, O_RDWR, &h);

	if (err)
		return err;
	err = fs_truncate(h, &x_root, size);
	fs_close(h, NULL, 0);
	return err;
}

int x_allocate(struct fs *fs, const char *path, int mode, uint64_t off, uint64_t len)
{
	struct fs_handle *h;
	int err = x_open(fs, path, O_RDWR, &h);

	if (err)
		return err;
	err = fs_allocate(h, &x_root, mode, off, len);
	fs_close(h, NULL, 0);
	return err;
}

int x_clone(struct fs *fs, const char *from, const char *to, uint64_t from_off, uint64_t to_off, uint64_t len)
{
	struct fs_handle *a, *b;
	int err = x_open(fs, from, O_RDONLY, &a);

	if (err)
		return err;
	err = x_open(fs, to, O_RDWR, &b);
	if (!err) {
		err = fs_clone_range(b, to_off, a, from_off, len, &x_root);
		fs_close(b, NULL, 0);
	}
	fs_close(a, NULL, 0);
	return err;
}

int x_relocate(struct fs *fs, const char *path, uint64_t off, uint64_t len)
{
	struct fs_handle *h;
	int err = x_open(fs, path, O_RDWR, &h);

	if (err)
		return err;
	err = fs_relocate(h, &x_root, off, len, NULL);
	fs_close(h, NULL, 0);
	return err;
}

/* A device that writes at once when it is given its runs. */
struct device {
	struct fs *fs;
	struct range range;
	int c;
};

static int device_place(void *pin, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range range,
			const struct fs_run *runs, unsigned count)
{
	struct device *d = pin;

	(void)lease, (void)seq, (void)mode, (void)range;
	for (unsigned k = 0; k < count; k++) {
		struct range whole = {runs[k].file_off, runs[k].file_off + runs[k].len};
		struct range part = range_cut(whole, d->range);
		struct fs_run run = {part.start, part.end - part.start, runs[k].pool_off + (part.start - whole.start)};

		if (!range_empty(part))
			memset(fs_run_window(d->fs, &run), d->c, run.len);
	}
	return 0;
}

static void device_drain(void *pin, struct range range)
{
	(void)pin, (void)range;
}

static void device_gone(void *pin)
{
	(void)pin;
}

int x_direct_during(struct fs *fs, const char *path, int c, size_t len, uint64_t off,
		    int (*change)(struct fs_handle *h, const struct fs_caller *who))
{
	static const struct lease_pin_ops pin_ops = {.drain = device_drain, .gone = device_gone};
	static const struct lease_session_ops session_ops;
	struct device d = {fs, {off, off + len}, c};
	const struct fs_pin pin = {.ops = &pin_ops, .place = device_place, .pin = &d};
	struct fs_lease_args args = {.range = d.range, .mode = LEASE_WRITE, .handle_number = 1, .pin = &pin};
	struct lease_identity id = {.pid = 1};
	struct fs_caller who = x_root;
	struct fs_handle *h;
	struct fs_lease lease;
	int err = lease_session_open(fs_arbiter(fs), &session_ops, NULL, &id, &who.session);

	if (err)
		return err;
	err = x_open(fs, path, O_RDWR, &h);
	if (!err) {
		err = fs_lease_get(h, &who, &args, &lease);
		if (!err && change)
			err = change(h, &who);
		if (!err)
			err = fs_commit(h, &who, off, len);
		fs_close(h, who.session, 1);
	}
	lease_session_close(who.session);
	return err;
}

int x_direct(struct fs *fs, const char *path, int c, size_t len, uint64_t off)
{
	return x_direct_during(fs, path, c, len, off, NULL);
}

int x_sync(struct fs *fs)
{
	return fs_sync_all(fs);
}
