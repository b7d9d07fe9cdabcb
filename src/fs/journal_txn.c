/* SPDX-License-Identifier: BSD-2-Clause */
/* Building the items of one record. The first bytes of the buffer are kept for the record's header. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/journal_impl.h"

/* An operation of more bytes of items is refused: a snapshot of some 18 million small files. */
#define TXN_MAX ((uint64_t)3 << 30)

void jtxn_init(struct jtxn *t)
{
	t->buf = t->inline_buf;
	t->len = sizeof(struct m_record);
	t->room = sizeof(t->inline_buf);
	t->error = 0;
	t->frees = false;
	t->items = 0;
	t->max_ino = 0;
}

void jtxn_fini(struct jtxn *t)
{
	if (t->buf != t->inline_buf)
		free(t->buf);
	t->buf = NULL;
}

static int txn_grow(struct jtxn *t, uint64_t need)
{
	uint64_t room = (uint64_t)t->room * 2;
	bool was_inline = t->buf == t->inline_buf;
	uint8_t *buf;

	while (room < need)
		room *= 2;
	if (need > TXN_MAX)
		return -ENOMEM;
	room = min_u64(room, TXN_MAX);
	buf = realloc(was_inline ? NULL : t->buf, room);
	if (buf == NULL)
		return -ENOMEM;
	if (was_inline)
		memcpy(buf, t->inline_buf, t->len);
	t->buf = buf;
	t->room = (uint32_t)room;
	return 0;
}

static void txn_add(struct jtxn *t, const struct item *it)
{
	uint32_t size = item_size(it);

	if (t->error != 0)
		return;
	if (unlikely(size > t->room - t->len)) {
		t->error = txn_grow(t, (uint64_t)t->len + size);
		if (t->error != 0)
			return;
	}
	item_encode(it, t->buf + t->len);
	t->len += size;
	t->items++;
}

struct inode_attr inode_attr_of_item(const struct item *it)
{
	return (struct inode_attr){
	    .ino = it->ino,
	    .size = it->inode.size,
	    .rdev = it->inode.rdev,
	    .mode = it->inode.mode,
	    .uid = it->inode.uid,
	    .gid = it->inode.gid,
	    .flags = it->inode.flags,
	    .tree = it->inode.tree,
	    .atime_ns = it->inode.atime_ns,
	    .mtime_ns = it->inode.mtime_ns,
	    .ctime_ns = it->inode.ctime_ns,
	    .btime_ns = it->inode.btime_ns,
	};
}

void jtxn_inode(struct jtxn *t, const struct inode_attr *a)
{
	struct item it = {.type = ITEM_INODE, .ino = a->ino};

	it.inode.size = a->size;
	it.inode.rdev = a->rdev;
	it.inode.mode = a->mode;
	it.inode.uid = a->uid;
	it.inode.gid = a->gid;
	it.inode.flags = a->flags;
	it.inode.tree = a->tree;
	/* Readers touch an inode's own one under the shared lock too. */
	it.inode.atime_ns = __atomic_load_n(&a->atime_ns, __ATOMIC_RELAXED);
	it.inode.mtime_ns = a->mtime_ns;
	it.inode.ctime_ns = a->ctime_ns;
	it.inode.btime_ns = a->btime_ns;
	if (a->ino > t->max_ino)
		t->max_ino = a->ino;
	txn_add(t, &it);
}

void jtxn_forget(struct jtxn *t, uint64_t ino)
{
	txn_add(t, &(struct item){.type = ITEM_FORGET, .ino = ino});
}

void jtxn_symlink(struct jtxn *t, uint64_t ino, const char *target, uint32_t len)
{
	struct item it = {.type = ITEM_SYMLINK, .ino = ino, .name = {.name = target, .len = len}};

	assert(len >= 1 && len <= FORMAT_TARGET_MAX);
	txn_add(t, &it);
}

void jtxn_dirent(struct jtxn *t, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name,
		 uint32_t len)
{
	struct item it = {
	    .type = ITEM_DIRENT,
	    .ino = dir,
	    .name = {.name = name, .len = len, .dtype = type, .cookie = cookie, .target_ino = ino},
	};

	assert(format_name_ok(name, len) && cookie != 0);
	txn_add(t, &it);
}

void jtxn_undirent(struct jtxn *t, uint64_t dir, uint64_t cookie)
{
	struct item it = {.type = ITEM_UNDIRENT, .ino = dir, .name = {.cookie = cookie}};

	txn_add(t, &it);
}

void jtxn_map(struct jtxn *t, uint64_t ino, const struct extent *e)
{
	struct item it = {.type = ITEM_MAP, .ino = ino};

	it.map.off = e->off;
	it.map.start = e->start;
	it.map.blocks = e->blocks;
	/* EXT_ZEROED is memory's knowledge; on the medium the blocks are still unwritten. */
	it.map.flags = (e->flags & (EXT_UNWRITTEN | EXT_ZEROED)) != 0 ? ITEM_MAP_UNWRITTEN : 0;
	txn_add(t, &it);
}

void jtxn_unmap(struct jtxn *t, uint64_t ino, uint64_t off, uint64_t blocks)
{
	struct item it = {.type = ITEM_UNMAP, .ino = ino, .map = {.off = off, .blocks = blocks}};

	assert(blocks > 0 && blocks <= UINT64_MAX - off);
	txn_add(t, &it);
}

void jtxn_xattr(struct jtxn *t, uint64_t ino, const char *name, uint32_t name_len, const void *value, uint32_t len)
{
	struct item it = {.type = ITEM_XATTR, .ino = ino, .xattr = {.name = name, .name_len = name_len}};
	uint32_t done = 0;

	assert(format_xattr_name_ok(name, name_len) && len <= FORMAT_XATTR_VALUE_MAX);
	if (value == NULL) {
		it.xattr.flags = ITEM_XATTR_REMOVE;
		txn_add(t, &it);
		return;
	}
	do {
		it.xattr.value = (const uint8_t *)value + done;
		it.xattr.value_len = len - done < FORMAT_XATTR_PIECE_MAX ? len - done : FORMAT_XATTR_PIECE_MAX;
		it.xattr.flags = done > 0 ? ITEM_XATTR_APPEND : 0;
		txn_add(t, &it);
		done += it.xattr.value_len;
	} while (done < len);
}

void jtxn_limit(struct jtxn *t, uint32_t kind, uint32_t id, uint64_t root, uint64_t blocks, uint64_t inodes)
{
	struct item it = {.type = ITEM_LIMIT, .ino = root};

	it.limit.kind = kind;
	it.limit.id = id;
	it.limit.blocks = blocks;
	it.limit.inodes = inodes;
	txn_add(t, &it);
}

void jtxn_bad(struct jtxn *t, struct run r, bool good)
{
	struct item it = {.type = ITEM_BAD, .ino = FORMAT_ROOT_INO};

	it.map.start = r.start;
	it.map.blocks = r.blocks;
	it.map.flags = good ? ITEM_BAD_GOOD : 0;
	txn_add(t, &it);
}

void jtxn_claim(struct jtxn *t, const struct journal_claim *c)
{
	struct item it = {.type = ITEM_CLAIM, .ino = c->ino, .claim = {.id = c->id}};

	if (c->end != 0) {
		it.claim.start = c->start;
		it.claim.end = c->end;
		it.claim.until_ns = c->until_ns;
		it.claim.uid = c->uid;
		it.claim.mode = c->mode;
		memcpy(it.claim.client, c->client, sizeof(it.claim.client));
	}
	txn_add(t, &it);
}
