/* SPDX-License-Identifier: BSD-2-Clause */
#include "seed_pool.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"

#define HEAD_BLOCK 20u
#define OLD_HEAD   12u
#define SALT_3     0x1122334455667788ull
#define SALT_4     0x99aabbccddeeff00ull
#define FIRST_SEQ  101u

struct build {
	struct seed *s;
	uint8_t *base;
	uint8_t *at; /* the next item */
	uint32_t items;
};

static uint8_t *block_of(const struct build *b, uint64_t block)
{
	return b->base + block * LH_BLOCK_SIZE;
}

static void part_add(struct build *b, const char *name, char kind, const void *at, uint64_t len, uint64_t crc_off,
		     uint64_t from, uint64_t to)
{
	uint64_t off = (uint64_t)((const uint8_t *)at - b->base);
	struct seed_part *p = &b->s->parts[b->s->part_count++];

	assert(b->s->part_count <= SEED_PARTS_MAX);
	*p = (struct seed_part){
	    .kind = kind, .off = off, .len = len, .crc_off = off + crc_off, .from = off + from, .to = off + to};
	snprintf(p->name, sizeof(p->name), "%s", name);
}

static void put(struct build *b, const char *mark, const struct item *it)
{
	struct seed_mark *m = &b->s->marks[b->s->mark_count++];

	assert(b->s->mark_count <= SEED_MARKS_MAX);
	snprintf(m->name, sizeof(m->name), "%s", mark);
	m->off = (uint64_t)(b->at - b->base);
	m->len = item_size(it);
	item_encode(it, b->at);
	b->at += m->len;
	b->items++;
}

static void put_inode(struct build *b, uint64_t ino, uint32_t mode, uint64_t size, uint32_t tree)
{
	struct item it = {.type = ITEM_INODE, .ino = ino};
	char mark[24];

	it.inode.mode = mode;
	it.inode.size = size;
	it.inode.tree = tree;
	it.inode.uid = 1000;
	it.inode.gid = 100;
	it.inode.rdev = S_ISCHR(mode) ? 0x103 : 0;
	it.inode.atime_ns = it.inode.mtime_ns = it.inode.ctime_ns = it.inode.btime_ns =
	    1700000000000000000ll + (int64_t)ino;
	snprintf(mark, sizeof(mark), "inode %u", (unsigned)ino);
	put(b, mark, &it);
}

static void put_name(struct build *b, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name)
{
	struct item it = {.type = ITEM_DIRENT, .ino = dir};
	char mark[24];

	it.name.name = name;
	it.name.len = (uint32_t)strlen(name);
	it.name.cookie = cookie;
	it.name.target_ino = ino;
	it.name.dtype = type;
	snprintf(mark, sizeof(mark), "name %.16s", name);
	put(b, mark, &it);
}

static void put_map(struct build *b, const char *mark, uint64_t ino, uint64_t off, uint64_t start, uint64_t blocks,
		    uint32_t flags)
{
	struct item it = {.type = ITEM_MAP, .ino = ino};

	it.map.off = off;
	it.map.start = start;
	it.map.blocks = blocks;
	it.map.flags = flags;
	put(b, mark, &it);
}

static void put_xattr(struct build *b, const char *mark, uint64_t ino, const char *name, const void *value,
		      uint32_t len, uint32_t flags)
{
	/* The value lies behind the name in memory as well as on the medium; the encoder takes them apart. */
	struct item it = {.type = ITEM_XATTR, .ino = ino};

	it.xattr.name = name;
	it.xattr.name_len = (uint32_t)strlen(name);
	it.xattr.value = value;
	it.xattr.value_len = len;
	it.xattr.flags = flags;
	put(b, mark, &it);
}

/* --- the checkpoint ------------------------------------------------------------------------------------------------
 */

static void chunk_begin(struct build *b, uint64_t block)
{
	b->at = block_of(b, block) + sizeof(struct m_chunk);
	b->items = 0;
}

static uint32_t chunk_end(struct build *b, const char *name, struct chunk_head h)
{
	uint8_t *chunk = block_of(b, h.block);

	h.number = 7;
	h.items = b->items;
	h.bytes = (uint32_t)(b->at - chunk - sizeof(struct m_chunk));
	assert(h.bytes + sizeof(struct m_chunk) <= h.blocks * LH_BLOCK_SIZE);
	chunk_seal(&h, chunk);
	part_add(b, name, 'C', chunk, sizeof(struct m_chunk) + h.bytes, offsetof(struct m_chunk, ck_crc),
		 offsetof(struct m_chunk, ck_items), sizeof(struct m_chunk) + h.bytes);
	return h.bytes;
}

static void checkpoint_build(struct build *b)
{
	static uint8_t big[40000];
	/* user::rw- user:7:rw- group::r-- mask::r-- other::r-- of mode 0644 */
	static const uint8_t acl[44] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  6,
					0, 7, 0,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
					4, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255};
	struct checkpoint_head h = {.number = 9,
				    .block = HEAD_BLOCK,
				    .log_block = 100,
				    .log_blocks = 2,
				    .log_seq = FIRST_SEQ,
				    .log_generation = 3,
				    .log_salt = SALT_3,
				    .must_seq = 104,
				    .next_ino = 40,
				    .chunk_start = 30,
				    .chunk_blocks = 2,
				    .chunks = 4,
				    .chunk_number = 7};
	struct item it;
	struct m_checkpoint m;

	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	chunk_begin(b, 30);
	put_inode(b, 1, S_IFDIR | 0755, 0, 0);
	put_name(b, 1, 1, 2, DT_DIR, "d");
	put_name(b, 1, 2, 3, DT_REG, "a");
	put_name(b, 1, 3, 4, DT_REG, "b");
	put_name(b, 1, 4, 5, DT_LNK, "l");
	put_name(b, 1, 5, 6, DT_REG, "h1");
	put_name(b, 1, 6, 7, DT_FIFO, "fifo");
	put_name(b, 1, 7, 8, DT_CHR, "null");
	put_inode(b, 2, S_IFDIR | 0700, 0, 5);
	put_name(b, 2, 1, 6, DT_REG, "h2");
	put_name(b, 2, 2, 10, DT_DIR, "e");
	put_name(b, 2, 9, 9, DT_REG, "x");
	h.bytes +=
	    chunk_end(b, "chunk 0", (struct chunk_head){.block = 30, .blocks = 2, .next_start = 40, .next_blocks = 12});
	h.items += b->items;
	chunk_begin(b, 40);
	put_inode(b, 9, S_IFREG | 0644, 9000, 5);
	put_xattr(b, "xattr small", 9, "user.note", "hello", 5, 0);
	put_xattr(b, "xattr big", 9, "user.big", big, FORMAT_XATTR_PIECE_MAX, 0);
	put_xattr(b, "xattr rest", 9, "user.big", big + FORMAT_XATTR_PIECE_MAX, sizeof(big) - FORMAT_XATTR_PIECE_MAX,
		  ITEM_XATTR_APPEND);
	put_xattr(b, "xattr acl", 9, "system.posix_acl_access", acl, sizeof(acl), 0);
	put_map(b, "map 9", 9, 0, 1030, 3, 0);
	h.bytes +=
	    chunk_end(b, "chunk 1",
		      (struct chunk_head){.block = 40, .blocks = 12, .index = 1, .next_start = 60, .next_blocks = 1});
	h.items += b->items;
	chunk_begin(b, 60);
	put_inode(b, 3, S_IFREG | 0640, 20000, 0);
	put_map(b, "map 3", 3, 0, 1000, 2, 0);
	put_map(b, "map 3b", 3, 4, 1010, 1, ITEM_MAP_UNWRITTEN);
	put_inode(b, 4, S_IFREG | 04711, 8192, 0);
	put_map(b, "map 4", 4, 0, 1000, 1, 0);
	put_map(b, "map 4b", 4, 1, 1020, 1, 0);
	put_inode(b, 5, S_IFLNK | 0777, 5, 0);
	it = (struct item){.type = ITEM_SYMLINK, .ino = 5};
	it.name.name = "d/e/f";
	it.name.len = 5;
	put(b, "target 5", &it);
	put_inode(b, 6, S_IFREG | 0600, 100, 5);
	put_map(b, "map 6", 6, 0, 1040, 1, 0);
	h.bytes +=
	    chunk_end(b, "chunk 2",
		      (struct chunk_head){.block = 60, .blocks = 1, .index = 2, .next_start = 70, .next_blocks = 1});
	h.items += b->items;
	chunk_begin(b, 70);
	put_inode(b, 7, S_IFIFO | 0600, 0, 0);
	put_inode(b, 8, S_IFCHR | 0666, 0, 0);
	put_inode(b, 10, S_IFDIR | 0755, 0, 5);
	put_name(b, 10, 1, 11, DT_REG, "f");
	put_inode(b, 11, S_IFREG | 0644, 4096, 5);
	put_map(b, "map 11", 11, 0, 1050, 1, 0);
	put_inode(b, 12, S_IFREG | 0644, 10, 0);
	put_map(b, "map 12", 12, 0, 1060, 1, 0);
	it = (struct item){.type = ITEM_LIMIT, .ino = 1};
	it.limit.kind = ITEM_LIMIT_UID;
	it.limit.id = 1000;
	it.limit.blocks = 1000;
	put(b, "limit uid", &it);
	it.ino = 2;
	it.limit.kind = ITEM_LIMIT_TREE;
	it.limit.id = 5;
	it.limit.inodes = 100;
	put(b, "limit tree", &it);

	it.limit.kind = ITEM_LIMIT_PINS;
	it.limit.id = 1000;
	it.limit.blocks = (1u << 30) + 1;
	put(b, "limit of pins", &it);
	it = (struct item){.type = ITEM_BAD, .ino = 1};
	it.map.start = 3000;
	it.map.blocks = 4;
	put(b, "bad", &it);
	it = (struct item){.type = ITEM_CLAIM, .ino = 12};
	it.claim.id = 3;
	it.claim.end = 4096;
	it.claim.client[0] = 1;
	it.claim.mode = ITEM_CLAIM_WRITE;
	put(b, "claim", &it);
	h.bytes += chunk_end(b, "chunk 3", (struct chunk_head){.block = 70, .blocks = 1, .index = 3});
	h.items += b->items;
	memcpy(h.uuid, b->s->uuid, sizeof(h.uuid));
	checkpoint_encode(&h, &m);
	memcpy(block_of(b, HEAD_BLOCK), &m, sizeof(m));
	part_add(b, "header", 'H', block_of(b, HEAD_BLOCK), sizeof(m), offsetof(struct m_checkpoint, cp_crc), 0,
		 offsetof(struct m_checkpoint, cp_crc));
	/* The one before, which nothing names any more. */
	h.number = 8;
	h.block = OLD_HEAD;
	h.must_seq = 100;
	checkpoint_encode(&h, &m);
	memcpy(block_of(b, OLD_HEAD), &m, sizeof(m));
}

/* --- the log -------------------------------------------------------------------------------------------------------
 */

static void segment_build(struct build *b, const char *name, const struct segment_head *h)
{
	uint8_t *p = block_of(b, h->block);
	struct m_segment m;

	segment_encode(h, &m);
	memcpy(p, &m, sizeof(m));
	part_add(b, name, 'L', p, sizeof(m), offsetof(struct m_segment, sg_crc), 0, offsetof(struct m_segment, sg_crc));
	b->at = p + sizeof(m);
}

static uint8_t *record_begin(struct build *b)
{
	uint8_t *record = b->at;

	b->at += sizeof(struct m_record);
	b->items = 0;
	return record;
}

static void record_part(struct build *b, const void *record, uint64_t seq, uint32_t len)
{
	char name[16];

	snprintf(name, sizeof(name), "record %u", (unsigned)seq);
	part_add(b, name, 'R', record, len, 0, 4, len);
}

static void record_end(struct build *b, uint8_t *record, uint64_t *seq, uint32_t flags, uint64_t generation,
		       uint64_t salt)
{
	struct record_head h = {.seq = *seq,
				.generation = generation,
				.salt = salt,
				.durable_seq = *seq - 1,
				.length = (uint32_t)(b->at - record),
				.flags = flags,
				.items = b->items};

	record_seal(&h, record);
	record_part(b, record, *seq, h.length);
	(*seq)++;
}

static void link_put(struct build *b, uint64_t *seq, uint64_t block, uint64_t generation, uint64_t salt)
{
	struct record_head h = {.seq = *seq, .generation = 3, .salt = SALT_3, .durable_seq = *seq - 1};
	struct m_link m;

	link_encode(&h, &(struct link_to){.start = block, .generation = generation, .salt = salt, .blocks = 2}, &m);
	memcpy(b->at, &m, sizeof(m));
	record_part(b, b->at, *seq, sizeof(m));
	(*seq)++;
}

static void put_undirent(struct build *b, uint64_t dir, uint64_t cookie)
{
	struct item it = {.type = ITEM_UNDIRENT, .ino = dir};

	it.name.cookie = cookie;
	put(b, "undirent", &it);
}

static void log_build(struct build *b)
{
	uint64_t seq = FIRST_SEQ;
	struct item it;
	uint8_t *r;

	segment_build(b, "segment 0", &(struct segment_head){100, 3, SALT_3, seq, 110, 2, 2});
	r = record_begin(b);
	put_inode(b, 1, S_IFDIR | 0755, 0, 0);
	put_inode(b, 13, S_IFREG | 0644, 5000, 0);
	put_name(b, 1, 8, 13, DT_REG, "new");
	put_map(b, "map 13", 13, 0, 1070, 2, 0);
	record_end(b, r, &seq, 0, 3, SALT_3);
	r = record_begin(b);
	put_inode(b, 14, S_IFREG | 0644, 8192, 0);
	put_map(b, "map 14", 14, 0, 1080, 1, 0);
	record_end(b, r, &seq, RECORD_MORE, 3, SALT_3);
	r = record_begin(b);
	put_map(b, "map 14b", 14, 1, 1081, 1, 0);
	put_inode(b, 1, S_IFDIR | 0755, 0, 0);
	put_name(b, 1, 9, 14, DT_REG, "two");
	record_end(b, r, &seq, RECORD_CONTINUED, 3, SALT_3);
	r = record_begin(b);
	put_inode(b, 3, S_IFREG | 0640, 20000, 0);
	put_xattr(b, "xattr log", 3, "user.k", "v", 1, 0);
	record_end(b, r, &seq, 0, 3, SALT_3);
	link_put(b, &seq, 110, 3, SALT_3);

	segment_build(b, "segment 1", &(struct segment_head){110, 3, SALT_3, seq, 130, 2, 2});
	r = record_begin(b);
	put_inode(b, 1, S_IFDIR | 0755, 0, 0);
	put_undirent(b, 1, 8);
	it = (struct item){.type = ITEM_FORGET, .ino = 13};
	put(b, "forget", &it);
	record_end(b, r, &seq, 0, 3, SALT_3);
	r = record_begin(b);
	put_inode(b, 11, S_IFREG | 0644, 4096, 5);
	it = (struct item){.type = ITEM_UNMAP, .ino = 11};
	it.map.off = 4;
	it.map.blocks = 100;
	put(b, "unmap", &it);
	put_map(b, "map 11b", 11, 0, 1090, 1, 0);
	record_end(b, r, &seq, 0, 3, SALT_3);
	link_put(b, &seq, 120, 4, SALT_4);

	segment_build(b, "segment 2", &(struct segment_head){120, 4, SALT_4, seq, 140, 2, 2});
	r = record_begin(b);
	put_inode(b, 2, S_IFDIR | 0700, 0, 5);
	put_inode(b, 15, S_IFREG | 0644, 1, 5);
	put_name(b, 2, 10, 15, DT_REG, "last");
	put_map(b, "map 15", 15, 0, 1100, 1, 0);
	record_end(b, r, &seq, 0, 4, SALT_4);
	r = record_begin(b);
	put_inode(b, 15, S_IFREG | 0644, 2, 5);
	record_end(b, r, &seq, 0, 4, SALT_4);
}

/* --- all -----------------------------------------------------------------------------------------------------------
 */

static void supers_build(struct build *b)
{
	struct super super = {.blocks = SEED_BLOCKS, .made_blocks = SEED_BLOCKS, .created_ns = 1700000000000000000ll};
	le64 root;

	memcpy(super.uuid, b->s->uuid, sizeof(super.uuid));
	super_block_encode(&super, 0, b->base);
	super_block_encode(&super, 1, block_of(b, SEED_BLOCKS - 1));
	root = root_encode(super.uuid, HEAD_BLOCK);
	memcpy(b->base + FORMAT_ROOT_OFFSET, &root, sizeof(root));
	part_add(b, "super", 'S', b->base, sizeof(struct m_super), offsetof(struct m_super, sb_crc), 0,
		 offsetof(struct m_super, sb_crc));
	part_add(b, "copy", 'S', block_of(b, SEED_BLOCKS - 1), sizeof(struct m_super), offsetof(struct m_super, sb_crc),
		 0, offsetof(struct m_super, sb_crc));
	part_add(b, "words", 'W', b->base + FORMAT_ROOT_OFFSET, sizeof(struct m_words), 0, 0, 0);
}

void seed_new(struct seed *s)
{
	struct build b = {.s = s};
	int fd = memfd_create("seed", MFD_CLOEXEC);

	memset(s, 0, sizeof(*s));
	if (fd < 0 || ftruncate(fd, (off_t)SEED_BYTES) != 0)
		abort();
	b.base = mmap(NULL, SEED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (b.base == MAP_FAILED)
		abort();
	memcpy(s->uuid, "seed of a pool..", sizeof(s->uuid));
	for (uint64_t block = 1000; block < 1110; block++)
		memset(block_of(&b, block), (int)(block & 0xff), LH_BLOCK_SIZE);
	supers_build(&b);
	checkpoint_build(&b);
	log_build(&b);
	munmap(b.base, SEED_BYTES);
	s->pool = (struct pool){
	    .size = SEED_BYTES, .room = SEED_BYTES, .class = POOL_VOLATILE, .kind = POOL_KIND_SIM, .fd = -1};
	snprintf(s->pool.name, sizeof(s->pool.name), "seed");
	s->pool.base = mmap(NULL, SEED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (s->pool.base == MAP_FAILED)
		abort();
	close(fd);
}

void seed_free(struct seed *s)
{
	munmap(s->pool.base, SEED_BYTES);
}

void seed_reset(struct seed *s)
{
	/* Private pages go, the template's are there again. */
	if (madvise(s->pool.base, SEED_BYTES, MADV_DONTNEED) != 0)
		abort();
	s->pool.size = SEED_BYTES;
}

void seed_seal(struct seed *s, bool words)
{
	le64 w[2];

	for (unsigned i = 0; i < s->part_count; i++) {
		const struct seed_part *p = &s->parts[i];
		le32 crc;

		if (p->kind == 'W')
			continue;
		crc = le32_of(crc32c(0, s->pool.base + p->from, p->to - p->from));
		if (memcmp(s->pool.base + p->crc_off, &crc, sizeof(crc)) != 0)
			memcpy(s->pool.base + p->crc_off, &crc, sizeof(crc));
	}
	if (!words)
		return;
	memcpy(w, s->pool.base + FORMAT_ROOT_OFFSET, sizeof(w));
	w[0] = root_encode(s->uuid, le64_to(w[0]) & (((uint64_t)1 << 48) - 1));
	if (le64_to(w[1]) != 0)
		w[1] = size_encode(s->uuid, le64_to(w[1]) & (((uint64_t)1 << 48) - 1));
	memcpy(s->pool.base + FORMAT_ROOT_OFFSET, w, sizeof(w));
}

uint64_t seed_find(const struct seed *s, const char *name)
{
	for (unsigned i = 0; i < s->part_count; i++) {
		if (strcmp(s->parts[i].name, name) == 0)
			return s->parts[i].off;
	}
	for (unsigned i = 0; i < s->mark_count; i++) {
		if (strcmp(s->marks[i].name, name) == 0)
			return s->marks[i].off;
	}
	fprintf(stderr, "the seed has no \"%s\"\n", name);
	abort();
}
