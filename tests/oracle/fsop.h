/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One operation on a filesystem as a small struct: made from a seed or from a fuzzer's bytes, run on the real
 * filesystem (drive.h) and on the reference (oracle.h), printed for people. Paths, names, users and contents come from
 * fixed small tables, so that operations meet each other.
 *
 * Every struct is a legal operation: what makes no sense must be refused by both alike.
 */
#ifndef LH_TESTS_ORACLE_FSOP_H
#define LH_TESTS_ORACLE_FSOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/fs.h"

enum fsop_kind {
	OP_OPEN,
	OP_CLOSE,
	OP_MKDIR,
	OP_RMDIR,
	OP_UNLINK,
	OP_RENAME,
	OP_LINK,
	OP_SYMLINK,
	OP_READLINK,
	OP_STAT,
	OP_SETATTR,
	OP_FSETATTR,
	OP_READDIR,
	OP_READ,
	OP_WRITE,
	OP_TRUNCATE,
	OP_ALLOCATE,
	OP_CLONE,
	OP_RELOCATE,
	OP_SYNC,
	OP_SYNC_ALL,
	OP_CHECKPOINT,
	OP_MKNOD,
	OP_TMPFILE,
	OP_LINK_HANDLE,
	OP_XATTR_SET,
	OP_XATTR_GET,
	OP_XATTR_LIST,
	OP_XATTR_REMOVE,
	OP_DEDUPE,
	OP_EXCHANGE,
	OP_COPY,
	OP_SEEK,
	OP_DEFRAGMENT,
	OP_SNAPSHOT,
	OP_SNAPSHOT_DELETE,
	OP_DIRECT, /* a WRITE lease, bytes through its memory, commit */
	FSOP_KINDS
};

#define FSOP_BYTES     16u /* that make one operation */
#define FSOP_SLOTS     4u  /* open handles */
#define FSOP_PATHS     16u
#define FSOP_USERS     3u
#define FSOP_XATTRS    5u
#define FSOP_BLOCKS    24u /* offsets are mostly below so many blocks */
#define FSOP_WRITE_MAX (8u * 4096u)

struct fsop {
	enum fsop_kind kind;
	uint8_t who;
	uint8_t a, b;  /* paths */
	uint8_t h, h2; /* handle slots */
	uint8_t name;  /* of an xattr */
	uint8_t fill;  /* bytes written: fsop_byte */
	int flags;     /* of open, rename, fallocate, xattr, seek's whence, setattr's mask */
	uint32_t mode, uid, gid;
	uint64_t off, off2, len;
};

/* What an operation answered. Data is compared by its checksum. */
struct fsop_result {
	int64_t value; /* 0, a count or -errno */
	uint32_t crc;
	uint64_t extra;
};

extern const char *const fsop_path[FSOP_PATHS];
extern const char *const fsop_xattr[FSOP_XATTRS];
extern const struct fs_caller fsop_caller[FSOP_USERS];
const char *fsop_name(enum fsop_kind kind);

/* Byte i of what an operation with this fill writes. */
static inline uint8_t fsop_byte(uint8_t fill, uint64_t i)
{
	return (uint8_t)(fill * 31u + i * 7u + (i >> 8) + 1u);
}

/* Decodes 16 bytes; any bytes are an operation. */
void fsop_decode(const uint8_t bytes[FSOP_BYTES], struct fsop *op);
/* A likely one, seeded: slots that are not open get opened first. Remembers in *open which are. */
struct fsop_maker {
	uint64_t random;
	unsigned open;    /* slots */
	uint64_t without; /* bit per kind: not made */
	bool root_only;
	unsigned only; /* 0, or the one kind to make, and one */
};
void fsop_make(struct fsop_maker *m, struct fsop *op);
/* "write h0 off 4096 len 100 fill 3"; fits 200 bytes. */
void fsop_text(const struct fsop *op, char *to, size_t size);

/* Kinds whose calls are not there yet: they are left out. Bits by kind. */
extern const uint64_t fsop_missing;
#define FSOP_BIT(kind) ((uint64_t)1 << (kind))

#endif
