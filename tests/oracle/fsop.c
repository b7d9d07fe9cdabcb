/* SPDX-License-Identifier: BSD-2-Clause */
#include "fsop.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pool/sim.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#endif

const uint64_t fsop_missing = 0;

const char *const fsop_path[FSOP_PATHS] = {"/a",     "/b",    "/d",      "/d/a", "/d/b",    "/e",   "/e/a", "/d/f",
					   "/d/f/a", "/link", "/link/a", "/c",   "/d/../b", "/d/.", "/s",   "/e/.."};
const char *const fsop_xattr[FSOP_XATTRS] = {"user.a", "user.bb", "trusted.t", "security.s", "nonsense.x"};
const struct fs_caller fsop_caller[FSOP_USERS] = {
    {.cred = {.uid = 0, .gid = 0}},
    {.cred = {.uid = 1000, .gid = 1000}},
    {.cred = {.uid = 1001, .gid = 1001, .group_count = 1, .groups = {1000}}},
};

static const char *const names[FSOP_KINDS] = {
    "open",       "close",      "mkdir",    "rmdir",          "unlink",      "rename",     "link",     "symlink",
    "readlink",   "stat",       "setattr",  "fsetattr",       "readdir",     "read",       "write",    "truncate",
    "allocate",   "clone",      "relocate", "sync",           "syncall",     "checkpoint", "mknod",    "tmpfile",
    "linkhandle", "xattrset",   "xattrget", "xattrlist",      "xattrremove", "dedupe",     "exchange", "copy",
    "seek",       "defragment", "snapshot", "snapshotdelete", "direct"};

const char *fsop_name(enum fsop_kind kind)
{
	return names[kind];
}

/* --- decoding ------------------------------------------------------------------------------------------------------
 */

static const int open_flags[16] = {O_RDWR | O_CREAT,
				   O_RDWR | O_CREAT,
				   O_RDWR | O_CREAT,
				   O_RDWR | O_CREAT,
				   O_RDWR | O_CREAT,
				   O_RDWR,
				   O_RDWR | O_CREAT | O_EXCL,
				   O_RDWR | O_TRUNC,
				   O_RDONLY,
				   O_WRONLY,
				   O_RDWR | O_CREAT | O_TRUNC,
				   O_RDWR | O_CREAT | O_APPEND,
				   O_RDONLY | O_DIRECTORY,
				   O_RDONLY | O_NOFOLLOW,
				   O_WRONLY | O_CREAT | O_NOFOLLOW,
				   O_RDONLY | O_TRUNC};
static const int fallocate_modes[16] = {0,
					0,
					FALLOC_FL_KEEP_SIZE,
					FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					FALLOC_FL_ZERO_RANGE,
					FALLOC_FL_ZERO_RANGE,
					FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
					FALLOC_FL_COLLAPSE_RANGE,
					FALLOC_FL_COLLAPSE_RANGE,
					FALLOC_FL_INSERT_RANGE,
					FALLOC_FL_INSERT_RANGE,
					FALLOC_FL_UNSHARE_RANGE,
					FALLOC_FL_UNSHARE_RANGE,
					FALLOC_FL_PUNCH_HOLE};
static const uint32_t modes[8] = {0644, 0600, 0755, 0777, 01777, 02775, 06755, 0000};
static const uint32_t node_types[4] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFREG};

/* Mostly whole blocks, near the beginning; sometimes beside them; rarely far out. */
static uint64_t decode_off(unsigned block, unsigned how)
{
	uint64_t off = (uint64_t)(block % FSOP_BLOCKS) * LH_BLOCK_SIZE;

	if (how >= 250)
		return ((uint64_t)1 << 40) + off;
	if (how >= 160)
		off += (uint64_t)(how - 159) * 37;
	return off;
}

static uint64_t decode_len(unsigned blocks, unsigned how)
{
	uint64_t len = (uint64_t)(1 + blocks % 6) * LH_BLOCK_SIZE;

	if (how >= 250)
		return 0;
	if (how >= 150)
		return len - 4096 + (uint64_t)(how - 149) * 39;
	return len;
}

static int decode_flags(enum fsop_kind kind, uint8_t byte)
{
	static const int rename_flags[8] = {
	    0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_NOREPLACE};
	static const int xattr_flags[4] = {0, 0, XATTR_CREATE, XATTR_REPLACE};

	switch ((int)kind) {
	case OP_OPEN:
		return open_flags[byte % 16];
	case OP_TMPFILE:
		return byte % 8 == 0 ? O_EXCL : 0;
	case OP_RENAME:
		return rename_flags[byte % 8];
	case OP_ALLOCATE:
		return fallocate_modes[byte % 16];
	case OP_SETATTR:
	case OP_FSETATTR:
		return byte % 8;
	case OP_XATTR_SET:
		return xattr_flags[byte % 4];
	case OP_SEEK:
		return byte % 16 == 0 ? SEEK_SET : byte % 2 ? SEEK_DATA : SEEK_HOLE;
	}
	return byte % 2;
}

void fsop_decode(const uint8_t b[FSOP_BYTES], struct fsop *op)
{
	memset(op, 0, sizeof(*op));
	op->kind = (enum fsop_kind)(b[0] % FSOP_KINDS);
	op->who = b[1] < 200 ? 0 : b[1] % FSOP_USERS;
	op->a = b[2] % FSOP_PATHS;
	op->b = b[3] % FSOP_PATHS;
	op->h = b[4] % FSOP_SLOTS;
	op->h2 = (b[4] >> 4) % FSOP_SLOTS;
	op->name = b[5] % FSOP_XATTRS;
	op->fill = b[6];
	op->flags = decode_flags(op->kind, b[7]);
	op->mode = modes[b[8] % 8];
	if (op->kind == OP_MKNOD)
		op->mode = (op->mode & 0777) | node_types[(b[8] >> 3) % 4];
	op->uid = fsop_caller[b[9] % FSOP_USERS].cred.uid;
	op->gid = fsop_caller[(b[9] >> 4) % FSOP_USERS].cred.gid;
	op->off = decode_off(b[10], b[11]);
	op->off2 = decode_off(b[12], b[11] >= 160 && b[11] < 200 ? 0 : b[11]);
	op->len = decode_len(b[13], b[14]);
	/* Who may is tested elsewhere. */
	if (op->kind == OP_SNAPSHOT || op->kind == OP_SNAPSHOT_DELETE)
		op->who = 0;
	if (op->kind == OP_TRUNCATE && b[14] % 3 == 0)
		op->off += b[15];
	if (op->kind == OP_XATTR_SET)
		op->len = (b[13] % 16) * (uint64_t)(b[14] % 16 + 1);
}

/* --- making ---------------------------------------------------------------------------------------------------------
 */

/* How often each kind comes, in 1/256. The rest: any. */
static const uint8_t likely[] = {OP_WRITE,    OP_WRITE,     OP_WRITE,    OP_WRITE,    OP_WRITE,    OP_WRITE,
				 OP_TRUNCATE, OP_TRUNCATE,  OP_ALLOCATE, OP_ALLOCATE, OP_ALLOCATE, OP_CLONE,
				 OP_CLONE,    OP_RENAME,    OP_RENAME,   OP_UNLINK,   OP_LINK,     OP_MKDIR,
				 OP_SYMLINK,  OP_OPEN,      OP_OPEN,     OP_SYNC,     OP_EXCHANGE, OP_COPY,
				 OP_DEDUPE,   OP_XATTR_SET, OP_SYNC_ALL, OP_SNAPSHOT};

static bool needs_handle(enum fsop_kind kind, unsigned *count)
{
	*count = 0;
	switch ((int)kind) {
	case OP_CLONE:
	case OP_DEDUPE:
	case OP_EXCHANGE:
	case OP_COPY:
		*count = 2;
		break;
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
		*count = 1;
		break;
	}
	return *count > 0;
}

static void make_open(struct fsop_maker *m, struct fsop *op, unsigned slot)
{
	uint64_t r = sim_random(&m->random);

	op->kind = OP_OPEN;
	op->h = (uint8_t)slot;
	op->flags = open_flags[r % 5];
	m->open |= 1u << slot;
}

void fsop_make(struct fsop_maker *m, struct fsop *op)
{
	uint8_t bytes[FSOP_BYTES];
	uint64_t r;
	unsigned count;

	do {
		for (unsigned i = 0; i < FSOP_BYTES; i += 8) {
			r = sim_random(&m->random);
			memcpy(bytes + i, &r, 8);
		}
		r = sim_random(&m->random);
		if (m->only)
			bytes[0] = (uint8_t)(m->only - 1);
		else if (r % 3)
			bytes[0] = likely[(r >> 8) % sizeof(likely)];
		else
			bytes[0] = (uint8_t)((r >> 8) % FSOP_KINDS);
		fsop_decode(bytes, op);
	} while (!m->only && (m->without & FSOP_BIT(op->kind)));
	if (m->root_only)
		op->who = 0;
	if (!needs_handle(op->kind, &count)) {
		if (op->kind == OP_OPEN || op->kind == OP_TMPFILE)
			m->open |= 1u << op->h;
		return;
	}
	if (count == 2 && op->h2 == op->h && (r >> 40) % 4)
		op->h2 = (op->h + 1) % FSOP_SLOTS;
	/* Near the beginning both files mostly have something. */
	if (count == 2 && (r >> 48) % 3) {
		op->off = ((r >> 50) % 6) * LH_BLOCK_SIZE;
		op->off2 = ((r >> 53) % 4) * LH_BLOCK_SIZE;
		op->len = op->kind == OP_CLONE && (r >> 56) % 2 ? 0 : (1 + (r >> 57) % 2) * LH_BLOCK_SIZE;
	}
	if (!(m->open >> op->h & 1))
		make_open(m, op, op->h);
	else if (count == 2 && !(m->open >> op->h2 & 1))
		make_open(m, op, op->h2);
	else if (op->kind == OP_CLOSE)
		m->open &= ~(1u << op->h);
}

/* --- text ------------------------------------------------------------------------------------------------------------
 */

void fsop_text(const struct fsop *op, char *to, size_t size)
{
	snprintf(to, size,
		 "%s user %u, a %s, b %s, h%u h%u, flags %#x, mode %o, owner %u:%u, off %" PRIu64 " off2 %" PRIu64
		 " len %" PRIu64 " fill %u name %s",
		 names[op->kind], op->who, fsop_path[op->a], fsop_path[op->b], op->h, op->h2, (unsigned)op->flags,
		 op->mode, op->uid, op->gid, op->off, op->off2, op->len, op->fill, fsop_xattr[op->name]);
}
