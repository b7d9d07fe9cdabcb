/* SPDX-License-Identifier: BSD-2-Clause */
#include "drive.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/error.h"
#include "base/types.h"

static uint8_t *filled(const struct fsop *op, uint64_t *len)
{
	uint8_t *buf;

	*len = min_u64(op->len, FSOP_WRITE_MAX);
	buf = malloc(*len + 1);
	if (!buf)
		abort();
	for (uint64_t i = 0; i < *len; i++)
		buf[i] = fsop_byte(op->fill, i);
	return buf;
}

static int64_t do_open(struct drive *d, const struct fsop *op, int flags)
{
	struct fs_handle *h;
	int err = fs_open(d->fs, &fsop_caller[op->who], fsop_path[op->a], flags, op->mode & 07777, &h);

	if (!err)
		d->h[op->h] = h;
	return err;
}

static int64_t do_read(struct drive *d, const struct fsop *op, uint32_t *crc)
{
	uint64_t len;
	uint8_t *buf = filled(op, &len);
	ssize_t n = fs_read(d->h[op->h], &fsop_caller[op->who], buf, len, op->off);

	if (n > 0)
		*crc = crc32c(0, buf, (size_t)n);
	free(buf);
	return n;
}

static int64_t do_write(struct drive *d, const struct fsop *op)
{
	uint64_t len;
	uint8_t *buf = filled(op, &len);
	ssize_t n = fs_write(d->h[op->h], &fsop_caller[op->who], buf, len, op->off);

	free(buf);
	return n;
}

/* --- a device that writes at once when it is given its runs ---------------------------------------------------------
 */

struct device {
	struct fs *fs;
	struct range range;
	const uint8_t *bytes;
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
			memcpy(fs_run_window(d->fs, &run), d->bytes + (part.start - d->range.start), run.len);
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

/* By a WRITE lease and its memory, committed. The handle's leases end with another handle number. */
static int64_t do_direct(struct drive *d, const struct fsop *op)
{
	static const struct lease_pin_ops pin_ops = {.drain = device_drain, .gone = device_gone};
	static const struct lease_session_ops session_ops;
	struct lease_identity id = {.pid = 1};
	struct fs_caller who = fsop_caller[op->who];
	struct device dev = {.fs = d->fs};
	const struct fs_pin pin = {.ops = &pin_ops, .place = device_place, .pin = &dev};
	struct fs_lease_args args = {.mode = LEASE_WRITE, .handle_number = 1, .pin = &pin};
	struct fs_lease lease;
	uint64_t len;
	uint8_t *bytes = filled(op, &len);
	int err = lease_session_open(fs_arbiter(d->fs), &session_ops, NULL, &id, &who.session);

	dev.bytes = bytes;
	dev.range = args.range = (struct range){op->off, op->off + len};
	if (!err) {
		err = fs_lease_get(d->h[op->h], &who, &args, &lease);
		if (!err)
			err = fs_commit(d->h[op->h], &who, op->off, len);
		lease_handle_close(who.session, 1);
		lease_session_close(who.session);
	}
	free(bytes);
	return err ? err : (int64_t)len;
}

/* --- attributes ------------------------------------------------------------------------------------------------------
 */

static struct fs_setattr setattr_of(const struct fsop *op)
{
	return (struct fs_setattr){.mask = (uint32_t)op->flags & (FS_SET_MODE | FS_SET_UID | FS_SET_GID),
				   .mode = op->mode,
				   .uid = op->uid,
				   .gid = op->gid};
}

static int64_t do_stat(struct drive *d, const struct fsop *op, uint32_t *crc)
{
	struct fs_attr a;
	uint64_t v[6];
	int err = fs_stat(d->fs, &fsop_caller[op->who], fsop_path[op->a], op->flags, &a);

	if (err)
		return err;
	v[0] = a.mode;
	v[1] = a.nlink;
	v[2] = a.uid;
	v[3] = a.gid;
	v[4] = S_ISDIR(a.mode) ? 0 : a.size;
	v[5] = a.rdev;
	*crc = crc32c(0, v, sizeof(v));
	return 0;
}

static int64_t do_readlink(struct drive *d, const struct fsop *op, uint32_t *crc)
{
	char target[256];
	ssize_t n = fs_readlink(d->fs, &fsop_caller[op->who], fsop_path[op->a], target, sizeof(target));

	if (n >= 0)
		*crc = crc32c(0, target, (size_t)n);
	return n;
}

struct list {
	uint32_t crc;
	unsigned count;
};

static bool each_name(void *ctx, const struct fs_dirent *e)
{
	struct list *l = ctx;

	l->crc += crc32c(e->type, e->name, e->name_len);
	l->count++;
	return true;
}

static int64_t do_readdir(struct drive *d, const struct fsop *op, uint32_t *crc)
{
	struct list l = {0};
	int err = fs_readdir(d->h[op->h], &fsop_caller[op->who], 0, each_name, &l);

	*crc = err ? 0 : l.crc;
	return err ? err : (int64_t)l.count;
}

static int64_t do_xattr(struct drive *d, const struct fsop *op, uint32_t *crc)
{
	const struct fs_caller *who = &fsop_caller[op->who];
	const char *path = fsop_path[op->a], *name = fsop_xattr[op->name];
	uint64_t len;
	uint8_t *bytes, value[4096];
	ssize_t n;

	switch ((int)op->kind) {
	case OP_XATTR_SET:
		bytes = filled(op, &len);
		n = fs_xattr_set(d->fs, who, path, true, name, bytes, len, op->flags);
		free(bytes);
		return n;
	case OP_XATTR_GET:
		n = fs_xattr_get(d->fs, who, path, true, name, value, sizeof(value));
		if (n >= 0)
			*crc = crc32c(0, value, (size_t)n);
		return n;
	case OP_XATTR_REMOVE:
		return fs_xattr_remove(d->fs, who, path, true, name);
	}
	n = fs_xattr_list(d->fs, who, path, true, (char *)value, sizeof(value));
	for (const char *p = (const char *)value; n > 0 && p < (const char *)value + n; p += strlen(p) + 1)
		*crc += crc32c(0, p, strlen(p));
	return n;
}

/* --- all -------------------------------------------------------------------------------------------------------------
 */

static bool one_handle(enum fsop_kind kind)
{
	switch ((int)kind) {
	case OP_CLOSE:
	case OP_FSETATTR:
	case OP_READDIR:
	case OP_READ:
	case OP_WRITE:
	case OP_TRUNCATE:
	case OP_ALLOCATE:
	case OP_RELOCATE:
	case OP_SYNC:
	case OP_LINK_HANDLE:
	case OP_SEEK:
	case OP_DEFRAGMENT:
	case OP_DIRECT:
		return true;
	}
	return false;
}

static bool two_handles(enum fsop_kind kind)
{
	return kind == OP_CLONE || kind == OP_DEDUPE || kind == OP_EXCHANGE || kind == OP_COPY;
}

static int64_t run_handle(struct drive *d, const struct fsop *op, uint32_t *crc)
{
	const struct fs_caller *who = &fsop_caller[op->who];
	const struct fs_setattr set = setattr_of(op);
	struct fs_handle *h = d->h[op->h];

	switch ((int)op->kind) {
	case OP_CLOSE:
		d->h[op->h] = NULL;
		fs_close(h, NULL, 0);
		return 0;
	case OP_FSETATTR:
		return fs_fsetattr(h, who, &set);
	case OP_READDIR:
		return do_readdir(d, op, crc);
	case OP_READ:
		return do_read(d, op, crc);
	case OP_WRITE:
		return do_write(d, op);
	case OP_TRUNCATE:
		return fs_truncate(h, who, op->off);
	case OP_ALLOCATE:
		return fs_allocate(h, who, op->flags, op->off, op->len);
	case OP_RELOCATE:
		return fs_relocate(h, who, op->off, op->len, NULL);
	case OP_SYNC:
		return fs_sync(h, op->flags);
	case OP_LINK_HANDLE:
		return fs_link_handle(h, who, fsop_path[op->a]);
	case OP_SEEK:
		return fs_seek(h, op->off, op->flags);
	case OP_DEFRAGMENT:
		return fs_defragment(h, who, NULL, NULL);
	case OP_DIRECT:
		return do_direct(d, op);
	}
	return -EINVAL;
}

static int64_t run_two(struct drive *d, const struct fsop *op)
{
	const struct fs_caller *who = &fsop_caller[op->who];
	struct fs_handle *a = d->h[op->h], *b = d->h[op->h2];

	switch ((int)op->kind) {
	case OP_CLONE:
		return fs_clone_range(a, op->off, b, op->off2, op->len, who);
	case OP_DEDUPE:
		return fs_dedupe_range(a, op->off, b, op->off2, op->len, who);
	case OP_EXCHANGE:
		return fs_exchange_range(a, op->off, b, op->off2, op->len, who);
	case OP_COPY:
		return fs_copy_range(a, op->off, b, op->off2, op->len, who);
	}
	return -EINVAL;
}

static int64_t run_path(struct drive *d, const struct fsop *op, uint32_t *crc)
{
	const struct fs_caller *who = &fsop_caller[op->who];
	const char *a = fsop_path[op->a], *b = fsop_path[op->b];
	const struct fs_setattr set = setattr_of(op);

	switch ((int)op->kind) {
	case OP_OPEN:
		return do_open(d, op, op->flags);
	case OP_TMPFILE:
		return do_open(d, op, O_TMPFILE | O_RDWR | op->flags);
	case OP_MKDIR:
		return fs_mkdir(d->fs, who, a, op->mode);
	case OP_RMDIR:
		return fs_rmdir(d->fs, who, a);
	case OP_UNLINK:
		return fs_unlink(d->fs, who, a);
	case OP_RENAME:
		return fs_rename(d->fs, who, a, b, (unsigned)op->flags);
	case OP_LINK:
		return fs_link(d->fs, who, a, b);
	case OP_SYMLINK:
		return fs_symlink(d->fs, who, b, a);
	case OP_READLINK:
		return do_readlink(d, op, crc);
	case OP_STAT:
		return do_stat(d, op, crc);
	case OP_SETATTR:
		return fs_setattr(d->fs, who, a, false, &set);
	case OP_SYNC_ALL:
		return fs_sync_all(d->fs);
	case OP_CHECKPOINT:
		return fs_checkpoint(d->fs);
	case OP_MKNOD:
		return fs_mknod(d->fs, who, a, op->mode, S_ISCHR(op->mode) ? op->off : 0);
	case OP_SNAPSHOT:
		return fs_snapshot(d->fs, who, a, b, false);
	case OP_SNAPSHOT_DELETE:
		return fs_snapshot_delete(d->fs, who, a);
	case OP_XATTR_SET:
	case OP_XATTR_GET:
	case OP_XATTR_LIST:
	case OP_XATTR_REMOVE:
		return do_xattr(d, op, crc);
	}
	return -EOPNOTSUPP;
}

void drive_do(struct drive *d, const struct fsop *op, struct fsop_result *out)
{
	*out = (struct fsop_result){.value = -EBADF};
	if (one_handle(op->kind)) {
		if (d->h[op->h])
			out->value = run_handle(d, op, &out->crc);
	} else if (two_handles(op->kind)) {
		if (d->h[op->h] && d->h[op->h2])
			out->value = run_two(d, op);
	} else if ((op->kind != OP_OPEN && op->kind != OP_TMPFILE) || !d->h[op->h]) {
		out->value = run_path(d, op, &out->crc);
	}
}

void drive_close_all(struct drive *d)
{
	for (unsigned s = 0; s < FSOP_SLOTS; s++) {
		if (d->h[s])
			fs_close(d->h[s], NULL, 0);
		d->h[s] = NULL;
	}
}

bool drive_both(struct drive *d, struct oracle *o, const struct fsop *op)
{
	struct fsop_result real, model;
	char text[256];

	drive_do(d, op, &real);
	oracle_do(o, op, &model);
	if (real.value == model.value && (real.value < 0 || real.crc == model.crc))
		return true;
	fsop_text(op, text, sizeof(text));
	fprintf(stderr, "%s\n  answered %" PRId64 " (%s), data %08x; the reference says %" PRId64 " (%s), data %08x\n",
		text, real.value, real.value < 0 ? strerror((int)-real.value) : "ok", real.crc, model.value,
		model.value < 0 ? strerror((int)-model.value) : "ok", model.crc);
	return false;
}

static void say(void *ctx, const char *finding)
{
	(void)ctx;
	fprintf(stderr, "fs_verify: %s\n", finding);
}

bool drive_same(struct drive *d, struct oracle *o)
{
	struct tree *t = tree_read(d->fs);
	bool same = t && tree_same(t, o, stderr);

	tree_free(t);
	return same && fs_verify(d->fs, say, NULL) == 0;
}
