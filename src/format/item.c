/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * docs/format.md 4: items. Each type has one encoder and one verifier; the verifier copies the fixed part out first, so
 * that nothing depends on the alignment of the bytes or on their staying the same between check and use.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "format/check.h"
#include "format/format.h"

static uint32_t padded(uint64_t len)
{
	return (uint32_t)round_up_u64(len, 8);
}

uint32_t item_size(const struct item *it)
{
	switch (it->type) {
	case ITEM_INODE:
		return sizeof(struct m_inode);
	case ITEM_FORGET:
		return sizeof(struct m_item);
	case ITEM_SYMLINK:
		return padded(sizeof(struct m_symlink) + it->name.len);
	case ITEM_DIRENT:
		return padded(sizeof(struct m_dirent) + it->name.len);
	case ITEM_UNDIRENT:
		return sizeof(struct m_undirent);
	case ITEM_MAP:
		return sizeof(struct m_map);
	case ITEM_UNMAP:
		return sizeof(struct m_unmap);
	case ITEM_XATTR:
		return padded(sizeof(struct m_xattr) + it->xattr.name_len + it->xattr.value_len);
	case ITEM_LIMIT:
		return sizeof(struct m_limit);
	case ITEM_BAD:
		return sizeof(struct m_bad);
	case ITEM_CLAIM:
		return sizeof(struct m_claim);
	}
	return 0;
}

bool format_xattr_name_ok(const char *name, uint32_t len)
{
	return len >= 1 && len <= FORMAT_XATTR_NAME_MAX && memchr(name, '\0', len) == NULL;
}

bool format_name_ok(const char *name, uint32_t len)
{
	if (len < 1 || len > FORMAT_NAME_MAX || memchr(name, '/', len) != NULL || memchr(name, '\0', len) != NULL)
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

static struct m_item head_of(const struct item *it, uint32_t field)
{
	return (struct m_item){
	    .it_type = le16_of((uint16_t)it->type),
	    .it_length = le16_of((uint16_t)item_size(it)),
	    .it_field = le32_of(field),
	    .it_ino = le64_of(it->ino),
	};
}

/* The fixed part, then bytes, then zeroes up to a multiple of 8. */
static void put_named(void *out, const void *fixed, size_t fixed_len, const struct item *it)
{
	uint8_t *p = out;
	uint32_t size = item_size(it);

	memset(p + size - 8, 0, 8);
	memcpy(p, fixed, fixed_len);
	memcpy(p + fixed_len, it->name.name, it->name.len);
}

static void inode_encode(const struct item *it, void *out)
{
	struct m_inode m = {
	    .in_item = head_of(it, it->inode.mode),
	    .in_size = le64_of(it->inode.size),
	    .in_rdev = le64_of(it->inode.rdev),
	    .in_uid = le32_of(it->inode.uid),
	    .in_gid = le32_of(it->inode.gid),
	    .in_flags = le32_of(it->inode.flags),
	    .in_tree = le32_of(it->inode.tree),
	    .in_atime_ns = le64_of((uint64_t)it->inode.atime_ns),
	    .in_mtime_ns = le64_of((uint64_t)it->inode.mtime_ns),
	    .in_ctime_ns = le64_of((uint64_t)it->inode.ctime_ns),
	    .in_btime_ns = le64_of((uint64_t)it->inode.btime_ns),
	};

	memcpy(out, &m, sizeof(m));
}

static void dirent_encode(const struct item *it, void *out)
{
	struct m_dirent m = {
	    .de_type = le16_of(ITEM_DIRENT),
	    .de_length = le16_of((uint16_t)item_size(it)),
	    .de_dtype = it->name.dtype,
	    .de_name_len = (uint8_t)it->name.len,
	    .de_dir = le64_of(it->ino),
	    .de_cookie = le64_of(it->name.cookie),
	    .de_ino = le64_of(it->name.target_ino),
	};

	assert(it->name.len <= FORMAT_NAME_MAX);
	put_named(out, &m, sizeof(m), it);
}

static void xattr_encode(const struct item *it, void *out)
{
	uint32_t size = item_size(it);
	uint8_t *p = out;
	struct m_xattr m = {
	    .xa_type = le16_of(ITEM_XATTR),
	    .xa_length = le16_of((uint16_t)size),
	    .xa_name_len = (uint8_t)it->xattr.name_len,
	    .xa_flags = (uint8_t)it->xattr.flags,
	    .xa_value_len = le16_of((uint16_t)it->xattr.value_len),
	    .xa_ino = le64_of(it->ino),
	};

	assert(it->xattr.name_len <= FORMAT_XATTR_NAME_MAX && it->xattr.value_len <= FORMAT_XATTR_PIECE_MAX);
	memset(p + size - 8, 0, 8);
	memcpy(p, &m, sizeof(m));
	memcpy(p + sizeof(m), it->xattr.name, it->xattr.name_len);
	if (it->xattr.value_len > 0)
		memcpy(p + sizeof(m) + it->xattr.name_len, it->xattr.value, it->xattr.value_len);
}

void item_encode(const struct item *it, void *out)
{
	switch (it->type) {
	case ITEM_INODE:
		inode_encode(it, out);
		return;
	case ITEM_FORGET: {
		struct m_item m = head_of(it, 0);

		memcpy(out, &m, sizeof(m));
		return;
	}
	case ITEM_SYMLINK: {
		struct m_symlink m = {.sl_item = head_of(it, it->name.len)};

		assert(it->name.len <= FORMAT_TARGET_MAX);
		put_named(out, &m, sizeof(m), it);
		return;
	}
	case ITEM_DIRENT:
		dirent_encode(it, out);
		return;
	case ITEM_UNDIRENT: {
		struct m_undirent m = {head_of(it, 0), le64_of(it->name.cookie)};

		memcpy(out, &m, sizeof(m));
		return;
	}
	case ITEM_MAP: {
		struct m_map m = {head_of(it, it->map.flags), le64_of(it->map.off), le64_of(it->map.start),
				  le64_of(it->map.blocks)};

		memcpy(out, &m, sizeof(m));
		return;
	}
	case ITEM_UNMAP: {
		struct m_unmap m = {head_of(it, 0), le64_of(it->map.off), le64_of(it->map.blocks)};

		memcpy(out, &m, sizeof(m));
		return;
	}
	case ITEM_XATTR:
		xattr_encode(it, out);
		return;
	case ITEM_LIMIT: {
		struct m_limit m = {.lm_item = head_of(it, it->limit.kind),
				    .lm_id = le32_of(it->limit.id),
				    .lm_blocks = le64_of(it->limit.blocks),
				    .lm_inodes = le64_of(it->limit.inodes)};

		memcpy(out, &m, sizeof(m));
		return;
	}
	case ITEM_BAD: {
		struct m_bad m = {head_of(it, it->map.flags), le64_of(it->map.start), le64_of(it->map.blocks)};

		memcpy(out, &m, sizeof(m));
		return;
	}
	case ITEM_CLAIM: {
		struct m_claim m = {.cl_item = head_of(it, it->claim.uid),
				    .cl_id = le64_of(it->claim.id),
				    .cl_start = le64_of(it->claim.start),
				    .cl_end = le64_of(it->claim.end),
				    .cl_until_ns = le64_of((uint64_t)it->claim.until_ns),
				    .cl_mode = le32_of(it->claim.mode)};

		memcpy(m.cl_client, it->claim.client, sizeof(m.cl_client));
		memcpy(out, &m, sizeof(m));
		return;
	}
	}
}

/* --- verifiers ------------------------------------------------------------------------------------------------------
 */

#define BAD_LENGTH "4.1b item length"
#define BAD_ZERO   "4.1d item bytes that must be zero are not"

static const char *inode_decode(const void *bytes, uint32_t length, struct item *it)
{
	struct m_inode m;
	uint32_t mode;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	mode = le32_to(m.in_item.it_field);
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return "4.4a unknown file type";
	}
	if ((mode & ~(uint32_t)(S_IFMT | 07777)) != 0)
		return "4.4a unknown mode bits";
	if (le64_to(m.in_size) > (uint64_t)INT64_MAX)
		return "4.4b size over the largest file";
	if ((le32_to(m.in_flags) & ~INODE_FLAGS_KNOWN) != 0)
		return "4.4c unknown inode flag";
	it->inode.mode = mode;
	it->inode.size = le64_to(m.in_size);
	it->inode.rdev = le64_to(m.in_rdev);
	it->inode.uid = le32_to(m.in_uid);
	it->inode.gid = le32_to(m.in_gid);
	it->inode.flags = le32_to(m.in_flags);
	it->inode.tree = le32_to(m.in_tree);
	it->inode.atime_ns = (int64_t)le64_to(m.in_atime_ns);
	it->inode.mtime_ns = (int64_t)le64_to(m.in_mtime_ns);
	it->inode.ctime_ns = (int64_t)le64_to(m.in_ctime_ns);
	it->inode.btime_ns = (int64_t)le64_to(m.in_btime_ns);
	return NULL;
}

static const char *forget_decode(const void *bytes, uint32_t length, struct item *it)
{
	struct m_item m;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	if (le32_to(m.it_field) != 0)
		return BAD_ZERO;
	if (it->ino == FORMAT_ROOT_INO)
		return "4.5a the root is forgotten";
	return NULL;
}

static const char *symlink_decode(const void *bytes, uint32_t length, struct item *it)
{
	const char *target = (const char *)bytes + sizeof(struct m_symlink);
	struct m_symlink m;

	if (length < sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	it->name.len = le32_to(m.sl_item.it_field);
	if (it->name.len < 1 || it->name.len > FORMAT_TARGET_MAX)
		return "4.6a target length";
	if (length != padded(sizeof(m) + it->name.len))
		return BAD_LENGTH;
	if (memchr(target, '\0', it->name.len) != NULL)
		return "4.6b NUL in a symlink's target";
	if (le64_to(m.sl_zero) != 0 || !check_zero(target + it->name.len, length - sizeof(m) - it->name.len))
		return BAD_ZERO;
	it->name.name = target;
	return NULL;
}

static const char *dirent_decode(const void *bytes, uint32_t length, struct item *it)
{
	const char *name = (const char *)bytes + sizeof(struct m_dirent);
	struct m_dirent m;

	if (length < sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	if (length != padded(sizeof(m) + m.de_name_len))
		return BAD_LENGTH;
	if (!format_name_ok(name, m.de_name_len))
		return "4.7a name";
	it->name.cookie = le64_to(m.de_cookie);
	it->name.target_ino = le64_to(m.de_ino);
	if (it->name.cookie < 1 || it->name.cookie > (uint64_t)INT64_MAX)
		return "4.7b cookie";
	if (it->name.target_ino < 1 || it->name.target_ino > FORMAT_INO_MAX || it->name.target_ino == it->ino)
		return "4.7c inode number of an entry";
	switch (m.de_dtype) {
	case DT_REG:
	case DT_DIR:
	case DT_LNK:
	case DT_FIFO:
	case DT_SOCK:
	case DT_CHR:
	case DT_BLK:
		break;
	default:
		return "4.7d unknown entry type";
	}
	if (le16_to(m.de_zero) != 0 || !check_zero(name + m.de_name_len, length - sizeof(m) - m.de_name_len))
		return BAD_ZERO;
	it->name.dtype = m.de_dtype;
	it->name.name = name;
	it->name.len = m.de_name_len;
	return NULL;
}

static const char *undirent_decode(const void *bytes, uint32_t length, struct item *it)
{
	struct m_undirent m;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	if (le32_to(m.ud_item.it_field) != 0)
		return BAD_ZERO;
	it->name.cookie = le64_to(m.ud_cookie);
	if (it->name.cookie < 1 || it->name.cookie > (uint64_t)INT64_MAX)
		return "4.8a cookie";
	return NULL;
}

static const char *map_decode(const void *bytes, uint32_t length, uint64_t pool_blocks, struct item *it)
{
	struct m_map m;
	uint64_t end;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	it->map.flags = le32_to(m.mp_item.it_field);
	it->map.off = le64_to(m.mp_off);
	it->map.start = le64_to(m.mp_start);
	it->map.blocks = le64_to(m.mp_blocks);
	if (it->map.blocks == 0)
		return "4.2a extent of length zero";
	if (!check_run(it->map.start, it->map.blocks, pool_blocks))
		return "4.2b extent outside the pool";
	if (add_overflows(it->map.off, it->map.blocks, &end) || end > FORMAT_FILE_BLOCKS_MAX)
		return "4.2c extent beyond the largest file";
	if ((it->map.flags & ~ITEM_MAP_UNWRITTEN) != 0)
		return "4.2d unknown extent flag";
	return NULL;
}

static const char *unmap_decode(const void *bytes, uint32_t length, struct item *it)
{
	struct m_unmap m;
	uint64_t end;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	if (le32_to(m.um_item.it_field) != 0)
		return BAD_ZERO;
	it->map.off = le64_to(m.um_off);
	it->map.blocks = le64_to(m.um_blocks);
	if (it->map.blocks == 0 || add_overflows(it->map.off, it->map.blocks, &end))
		return "4.3a range to unmap";
	return NULL;
}

static const char *xattr_decode(const void *bytes, uint32_t length, struct item *it)
{
	const char *name = (const char *)bytes + sizeof(struct m_xattr);
	struct m_xattr m;
	uint32_t used;

	memcpy(&m, bytes, sizeof(m));
	it->xattr.name_len = m.xa_name_len;
	it->xattr.value_len = le16_to(m.xa_value_len);
	it->xattr.flags = m.xa_flags;
	used = (uint32_t)sizeof(m) + it->xattr.name_len + it->xattr.value_len;
	if (length != padded(used))
		return BAD_LENGTH;
	if (!format_xattr_name_ok(name, it->xattr.name_len))
		return "4.9a name of an extended attribute";
	if (it->xattr.flags > ITEM_XATTR_REMOVE)
		return "4.9b flags of an extended attribute";
	if (it->xattr.value_len > (it->xattr.flags == ITEM_XATTR_REMOVE ? 0 : FORMAT_XATTR_PIECE_MAX))
		return "4.9c value of an extended attribute";
	if (!check_zero((const char *)bytes + used, length - used))
		return BAD_ZERO;
	it->xattr.name = name;
	it->xattr.value = name + it->xattr.name_len;
	return NULL;
}

const char *item_limit_name(uint32_t kind)
{
	switch ((enum item_limit_kind)kind) {
	case ITEM_LIMIT_UID:
		return "uid";
	case ITEM_LIMIT_TREE:
		return "tree";
	case ITEM_LIMIT_PINS:
		return "the pins of uid";
	case ITEM_LIMIT_PINS_DEFAULT:
		return "the pins of every uid";
	case ITEM_LIMIT_PINS_POOL:
		return "the pins of the pool";
	}
	return "?";
}

static const char *limit_decode(const void *bytes, uint32_t length, struct item *it)
{
	struct m_limit m;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	it->limit.kind = le32_to(m.lm_item.it_field);
	it->limit.id = le32_to(m.lm_id);
	it->limit.blocks = le64_to(m.lm_blocks);
	it->limit.inodes = le64_to(m.lm_inodes);
	if (it->limit.kind < ITEM_LIMIT_UID || it->limit.kind > ITEM_LIMIT_PINS_POOL)
		return "4.10a unknown kind of limit";
	if (it->limit.kind == ITEM_LIMIT_TREE && it->limit.id == 0)
		return "4.10b tree 0 has no limit";
	if (it->limit.kind > ITEM_LIMIT_PINS && it->limit.id != 0)
		return "4.10c only a uid's limit of pins has a number";
	if (it->limit.kind >= ITEM_LIMIT_PINS && (it->limit.blocks == 0) != (it->limit.inodes == 0))
		return "4.10d a limit of pins is whole";
	if (le32_to(m.lm_zero) != 0)
		return BAD_ZERO;
	return NULL;
}

static const char *bad_decode(const void *bytes, uint32_t length, uint64_t pool_blocks, struct item *it)
{
	struct m_bad m;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	it->map.flags = le32_to(m.bd_item.it_field);
	it->map.start = le64_to(m.bd_start);
	it->map.blocks = le64_to(m.bd_blocks);
	if (it->map.blocks == 0 || !check_run(it->map.start, it->map.blocks, pool_blocks))
		return "4.11a bad blocks outside the pool";
	if ((it->map.flags & ~ITEM_BAD_GOOD) != 0)
		return "4.11b unknown flag of bad blocks";
	return NULL;
}

static const char *claim_decode(const void *bytes, uint32_t length, struct item *it)
{
	struct m_claim m;

	if (length != sizeof(m))
		return BAD_LENGTH;
	memcpy(&m, bytes, sizeof(m));
	it->claim.uid = le32_to(m.cl_item.it_field);
	it->claim.id = le64_to(m.cl_id);
	it->claim.start = le64_to(m.cl_start);
	it->claim.end = le64_to(m.cl_end);
	it->claim.until_ns = (int64_t)le64_to(m.cl_until_ns);
	it->claim.mode = le32_to(m.cl_mode);
	memcpy(it->claim.client, m.cl_client, sizeof(m.cl_client));
	if (it->claim.id < 1 || it->claim.id > FORMAT_CLAIM_MAX)
		return "4.12a number of a claim";
	if (it->claim.end == 0 && it->claim.start == 0) {
		if (it->claim.uid != 0 || !check_zero(&m.cl_client, sizeof(m) - offsetof(struct m_claim, cl_client)))
			return BAD_ZERO;
		return NULL;
	}
	if (it->claim.start >= it->claim.end || it->claim.start % LH_BLOCK_SIZE != 0 ||
	    it->claim.end % LH_BLOCK_SIZE != 0 || it->claim.end > (uint64_t)1 << 63)
		return "4.12b range of a claim";
	if (it->claim.mode != ITEM_CLAIM_READ && it->claim.mode != ITEM_CLAIM_WRITE)
		return "4.12d mode of a claim";
	return le32_to(m.cl_zero) == 0 ? NULL : BAD_ZERO;
}

const char *item_decode(const void *bytes, uint64_t room, uint64_t pool_blocks, struct item *out, uint32_t *length)
{
	struct m_item m;
	uint32_t type, len;

	if (room < sizeof(m))
		return "4.1a item cut off";
	memcpy(&m, bytes, sizeof(m));
	type = le16_to(m.it_type);
	len = le16_to(m.it_length);
	if (len < FORMAT_ITEM_MIN || len % 8 != 0)
		return BAD_LENGTH;
	if (len > room)
		return "4.1a item cut off";
	memset(out, 0, sizeof(*out));
	out->ino = le64_to(m.it_ino);
	if (out->ino < 1 || out->ino > FORMAT_INO_MAX)
		return "4.1e inode number";
	*length = len;
	out->type = (enum item_type)type;
	switch (type) {
	case ITEM_INODE:
		return inode_decode(bytes, len, out);
	case ITEM_FORGET:
		return forget_decode(bytes, len, out);
	case ITEM_SYMLINK:
		return symlink_decode(bytes, len, out);
	case ITEM_DIRENT:
		return dirent_decode(bytes, len, out);
	case ITEM_UNDIRENT:
		return undirent_decode(bytes, len, out);
	case ITEM_MAP:
		return map_decode(bytes, len, pool_blocks, out);
	case ITEM_UNMAP:
		return unmap_decode(bytes, len, out);
	case ITEM_XATTR:
		return xattr_decode(bytes, len, out);
	case ITEM_LIMIT:
		return limit_decode(bytes, len, out);
	case ITEM_BAD:
		return bad_decode(bytes, len, pool_blocks, out);
	case ITEM_CLAIM:
		return claim_decode(bytes, len, out);
	default:
		return "4.1c unknown item type";
	}
}

void item_about(const struct item *it, char *buf, size_t room)
{
	switch (it->type) {
	case ITEM_INODE:
	case ITEM_FORGET:
	case ITEM_SYMLINK:
	case ITEM_MAP:
	case ITEM_UNMAP:
	case ITEM_XATTR:
		break;
	case ITEM_LIMIT:
		snprintf(buf, room, "limit of %s %u", item_limit_name(it->limit.kind), it->limit.id);
		return;
	case ITEM_BAD:
		snprintf(buf, room, "bad blocks at %llu", (unsigned long long)it->map.start);
		return;
	case ITEM_CLAIM:
		snprintf(buf, room, "claim %llu on inode %llu", (unsigned long long)it->claim.id,
			 (unsigned long long)it->ino);
		return;
	case ITEM_DIRENT:
	case ITEM_UNDIRENT:
		snprintf(buf, room, "directory %llu cookie %llu", (unsigned long long)it->ino,
			 (unsigned long long)it->name.cookie);
		return;
	}
	snprintf(buf, room, "inode %llu", (unsigned long long)it->ino);
}
