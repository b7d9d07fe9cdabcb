/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making a pool: a superblock, its copy, and a clean checkpoint that holds the root directory. The root word is
 * published last, so that a crash on the way leaves something that is not a pool, and never half of one.
 */
#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "fs/journal_impl.h"

#define FORMAT_HEAD_BLOCK  1u
#define FORMAT_CHUNK_BLOCK 2u

/* A whole block: the bytes, then zeroes. Durable on return. */
static int block_write(struct pool *pool, uint64_t block, const void *bytes, uint64_t len)
{
	uint8_t buf[LH_BLOCK_SIZE] = {0};

	assert(len <= sizeof(buf));
	memcpy(buf, bytes, len);
	pool_store(pool, block << LH_BLOCK_SHIFT, buf, sizeof(buf));
	return pool_sync(pool, block << LH_BLOCK_SHIFT, sizeof(buf));
}

/* Chunk and header of checkpoint 1. */
static int first_checkpoint(struct pool *pool, const struct super *s, const struct inode_attr *root)
{
	uint8_t chunk[LH_BLOCK_SIZE] __attribute__((aligned(8))) = {0};
	struct chunk_head c = {.block = FORMAT_CHUNK_BLOCK, .number = 1, .blocks = 1, .items = 1};
	struct checkpoint_head h = {
	    .number = 1,
	    .flags = CHECKPOINT_CLEAN,
	    .block = FORMAT_HEAD_BLOCK,
	    .log_seq = 1,
	    .next_ino = root->ino + 1,
	    .chunk_start = FORMAT_CHUNK_BLOCK,
	    .chunk_blocks = 1,
	    .chunks = 1,
	    .chunk_number = 1,
	    .items = 1,
	};
	struct m_checkpoint m;
	struct jtxn t;
	int err;

	jtxn_init(&t);
	jtxn_inode(&t, root);
	c.bytes = t.len - (uint32_t)sizeof(struct m_record);
	memcpy(chunk + sizeof(struct m_chunk), t.buf + sizeof(struct m_record), c.bytes);
	jtxn_fini(&t);
	chunk_seal(&c, chunk);
	h.bytes = c.bytes;
	memcpy(h.uuid, s->uuid, sizeof(h.uuid));
	checkpoint_encode(&h, &m);
	err = block_write(pool, FORMAT_CHUNK_BLOCK, chunk, sizeof(chunk));
	return err != 0 ? err : block_write(pool, FORMAT_HEAD_BLOCK, &m, sizeof(m));
}

int journal_format(struct pool *pool, const struct inode_attr *root)
{
	struct super s = {.blocks = pool->size >> LH_BLOCK_SHIFT, .created_ns = (int64_t)clock_real_ns()};
	struct m_super m;
	int err;

	assert(root->ino == FORMAT_ROOT_INO);
	if (pool->read_only)
		return fail(-EROFS, "pool %s: opened read-only, cannot be formatted", pool->name);
	if (s.blocks < FORMAT_POOL_BLOCKS_MIN)
		return fail(-EINVAL, "pool %s: smaller than 16 MiB, cannot be formatted", pool->name);
	if (getrandom(s.uuid, sizeof(s.uuid), 0) != (ssize_t)sizeof(s.uuid))
		return fail(-EIO, "pool %s: no random numbers for its uuid", pool->name);
	err = block_write(pool, 0, "", 0);
	if (err == 0)
		err = first_checkpoint(pool, &s, root);
	super_encode(&s, 1, &m);
	if (err == 0)
		err = block_write(pool, s.blocks - 1, &m, sizeof(m));
	super_encode(&s, 0, &m);
	if (err == 0)
		err = block_write(pool, 0, &m, sizeof(m));
	return err != 0 ? err : pool_publish(pool, FORMAT_ROOT_OFFSET, root_encode(s.uuid, FORMAT_HEAD_BLOCK));
}
