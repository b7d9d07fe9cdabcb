/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * POSIX ACLs: checking, asking, and keeping them in step with the mode. The owner's, the group's (or the mask's) and
 * the others' entries of an access ACL always agree with the mode's permission bits; an ACL that says nothing more than
 * the mode is not kept at all.
 *
 * A user or group that has an entry and an empty mask is refused, as acl(5) says (the kernel looks at "other" then).
 */
#include "fs/acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/perm.h"

#define ACL_VERSION 2u
#define ACL_NO_ID   UINT32_MAX
#define ACL_ALL     7u

enum acl_tag {
	ACL_USER_OBJ = 0x01,
	ACL_USER = 0x02,
	ACL_GROUP_OBJ = 0x04,
	ACL_GROUP = 0x08,
	ACL_MASK = 0x10,
	ACL_OTHER = 0x20,
};

struct m_acl_entry {
	le16 ae_tag;
	le16 ae_perm;
	le32 ae_id;
};
static_assert(sizeof(struct m_acl_entry) == 8, "linux/posix_acl_xattr.h");

#define ACL_HEAD_SIZE sizeof(le32)

static uint32_t count_of(uint32_t size)
{
	return (uint32_t)((size - ACL_HEAD_SIZE) / sizeof(struct m_acl_entry));
}

/* Values lie at multiples of 4, which is all that entries need. */
static struct m_acl_entry *entries_of(const void *value)
{
	return (struct m_acl_entry *)((char *)value + ACL_HEAD_SIZE);
}

static uint32_t tag_of(const struct m_acl_entry *e)
{
	return le16_to(e->ae_tag);
}

static uint32_t perm_of(const struct m_acl_entry *e)
{
	return le16_to(e->ae_perm);
}

static void set_perm(struct m_acl_entry *e, uint32_t perm)
{
	e->ae_perm = le16_of((uint16_t)(perm & ACL_ALL));
}

static bool is_named(uint32_t tag)
{
	return tag == ACL_USER || tag == ACL_GROUP;
}

/* --- checking ------------------------------------------------------------------------------------------------------
 */

#define WRONG_VERSION "its version is not 2"

static const char *head_check(const void *value, uint32_t size)
{
	le32 version;

	if (size < ACL_HEAD_SIZE)
		return "its size is that of no ACL";
	memcpy(&version, value, sizeof(version));
	if (le32_to(version) != ACL_VERSION)
		return WRONG_VERSION;
	return (size - ACL_HEAD_SIZE) % sizeof(struct m_acl_entry) ? "its size is that of no ACL" : NULL;
}

static const char *entry_check(const struct m_acl_entry *e)
{
	switch ((enum acl_tag)tag_of(e)) {
	case ACL_USER:
	case ACL_GROUP:
		if (le32_to(e->ae_id) == ACL_NO_ID)
			return "an entry names nobody";
		break;
	case ACL_USER_OBJ:
	case ACL_GROUP_OBJ:
	case ACL_MASK:
	case ACL_OTHER:
		break;
	default:
		return "an entry's tag is unknown";
	}
	return perm_of(e) & ~ACL_ALL ? "an entry's permissions are unknown" : NULL;
}

const char *acl_check(const void *value, uint32_t size)
{
	const struct m_acl_entry *e = entries_of(value);
	const char *wrong = head_check(value, size);
	unsigned seen = 0;

	for (uint32_t k = 0; !wrong && k < count_of(size); k++) {
		uint32_t tag = tag_of(&e[k]);

		wrong = entry_check(&e[k]);
		if (!wrong && (seen & ~(tag | (tag - 1))))
			wrong = "its entries are out of order";
		if (!wrong && (seen & tag) && !(is_named(tag) && le32_to(e[k].ae_id) > le32_to(e[k - 1].ae_id)))
			wrong = "an entry is there twice, or named ones are out of order";
		seen |= tag;
	}
	if (!wrong && (~seen & (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER)))
		return "owner, owning group or others are missing";
	if (!wrong && (seen & (ACL_USER | ACL_GROUP)) && !(seen & ACL_MASK))
		return "named entries have no mask";
	return wrong;
}

static int entry_order(const void *a, const void *b)
{
	const struct m_acl_entry *x = a;
	const struct m_acl_entry *y = b;
	uint64_t left = (uint64_t)tag_of(x) << 32 | le32_to(x->ae_id);
	uint64_t right = (uint64_t)tag_of(y) << 32 | le32_to(y->ae_id);

	return left < right ? -1 : left > right;
}

static int refused(const char *wrong)
{
	return fail(-EINVAL, "the ACL cannot be used: %s", wrong);
}

int acl_canonical(void *value, uint32_t size, uint32_t *entries)
{
	struct m_acl_entry *e = entries_of(value);
	const char *wrong = head_check(value, size);

	*entries = 0;
	if (wrong)
		return strcmp(wrong, WRONG_VERSION) == 0 ? fail(-EOPNOTSUPP, "the ACL cannot be used: %s", wrong)
							 : refused(wrong);
	*entries = count_of(size);
	for (uint32_t k = 0; k < *entries; k++) {
		switch ((enum acl_tag)tag_of(&e[k])) {
		case ACL_USER_OBJ:
		case ACL_GROUP_OBJ:
		case ACL_MASK:
		case ACL_OTHER:
			e[k].ae_id = le32_of(ACL_NO_ID);
			break;
		case ACL_USER:
		case ACL_GROUP:
			break;
		default:
			return refused("an entry's tag is unknown");
		}
	}
	return 0;
}

int acl_accept(void *value, uint32_t size)
{
	struct m_acl_entry *e = entries_of(value);
	const char *wrong;

	for (uint32_t k = 1; k < count_of(size); k++) {
		if (tag_of(&e[k]) < tag_of(&e[k - 1]))
			return refused("its entries are out of order");
	}
	qsort(e, count_of(size), sizeof(*e), entry_order);
	wrong = acl_check(value, size);
	return wrong ? refused(wrong) : 0;
}

/* --- in step with the mode -----------------------------------------------------------------------------------------
 */

uint32_t acl_mode(const void *value, uint32_t size, bool *minimal)
{
	const struct m_acl_entry *e = entries_of(value);
	uint32_t mode = 0;
	uint32_t group = 0;

	*minimal = true;
	for (uint32_t k = 0; k < count_of(size); k++) {
		switch ((enum acl_tag)tag_of(&e[k])) {
		case ACL_USER_OBJ:
			mode |= perm_of(&e[k]) << 6;
			break;
		case ACL_GROUP_OBJ:
			group = perm_of(&e[k]) << 3;
			break;
		case ACL_MASK:
			group = perm_of(&e[k]) << 3;
			*minimal = false;
			break;
		case ACL_OTHER:
			mode |= perm_of(&e[k]);
			break;
		case ACL_USER:
		case ACL_GROUP:
			*minimal = false;
			break;
		}
	}
	return mode | group;
}

/* The entry that the mode's group bits mean: the mask, or without one the owning group. */
static struct m_acl_entry *group_class(const void *value, uint32_t size)
{
	struct m_acl_entry *e = entries_of(value);
	struct m_acl_entry *found = NULL;

	for (uint32_t k = 0; k < count_of(size); k++) {
		if (tag_of(&e[k]) == ACL_GROUP_OBJ || tag_of(&e[k]) == ACL_MASK)
			found = &e[k];
	}
	return found;
}

void acl_set_mode(void *value, uint32_t size, uint32_t mode)
{
	struct m_acl_entry *e = entries_of(value);

	set_perm(&e[0], mode >> 6);
	set_perm(group_class(value, size), mode >> 3);
	set_perm(&e[count_of(size) - 1], mode);
}

/* --- asking --------------------------------------------------------------------------------------------------------
 */

int acl_permits(const struct xattr *acl, const struct inode_attr *a, const struct fs_cred *c, unsigned want)
{
	const struct m_acl_entry *e = entries_of(xattr_value(acl));
	uint32_t count = count_of(acl->size);
	uint32_t mask = perm_of(group_class(xattr_value(acl), acl->size));
	bool in_group = false;

	if (!(tag_of(&e[count - 2]) == ACL_MASK))
		mask = ACL_ALL;
	for (uint32_t k = 0; k < count; k++) {
		uint32_t tag = tag_of(&e[k]);
		uint32_t id = le32_to(e[k].ae_id);

		if (tag == ACL_USER && id == c->uid)
			return want & ~(perm_of(&e[k]) & mask) ? -EACCES : 0;
		if (tag == ACL_GROUP_OBJ)
			id = a->gid;
		if ((tag == ACL_GROUP_OBJ || tag == ACL_GROUP) && cred_in_group(c, id)) {
			in_group = true;
			if (!(want & ~(perm_of(&e[k]) & mask)))
				return 0;
		}
	}
	return in_group || (want & ~perm_of(&e[count - 1])) ? -EACCES : 0;
}

/* --- making --------------------------------------------------------------------------------------------------------
 */

/* The new inode's access ACL: the default ACL, cut down to what the maker's mode allows. */
static int inherit_access(const struct xattr *dflt, struct inode *child)
{
	struct xattr *acl = xattr_new(ACL_ACCESS_NAME, sizeof(ACL_ACCESS_NAME) - 1, xattr_value(dflt), dflt->size);
	uint32_t mode;
	bool minimal;

	if (!acl || xattrs_reserve(child)) {
		free(acl);
		return -ENOMEM;
	}
	mode = acl_mode(xattr_value(acl), acl->size, &minimal) & child->attr.mode & 0777;
	child->attr.mode = (child->attr.mode & ~0777u) | mode;
	if (minimal) {
		free(acl);
		return 0;
	}
	acl_set_mode(xattr_value(acl), acl->size, mode);
	xattrs_put(child, acl);
	return 0;
}

int acl_inherit(const struct inode *dir, struct inode *child, uint32_t umask)
{
	const struct xattr *dflt = xattrs_default(dir);
	struct xattr *copy;
	int err;

	if (child->type == DT_LNK)
		return 0;
	if (!dflt) {
		child->attr.mode &= ~(umask & 0777);
		return 0;
	}
	err = inherit_access(dflt, child);
	if (err || child->type != DT_DIR)
		return err;
	copy = xattr_new(dflt->name, dflt->name_len, xattr_value(dflt), dflt->size);
	if (!copy || xattrs_reserve(child)) {
		free(copy);
		return -ENOMEM;
	}
	xattrs_put(child, copy);
	return 0;
}

const char *acl_rule(const struct inode *i)
{
	const struct xattr *access = xattrs_access(i);
	const struct xattr *dflt = xattrs_default(i);
	bool minimal;

	if ((access && acl_check(xattr_value(access), access->size)) ||
	    (dflt && acl_check(xattr_value(dflt), dflt->size)))
		return "6.12 ACLs are valid";
	if ((access && i->type == DT_LNK) || (dflt && i->type != DT_DIR))
		return "6.12 ACLs are valid, and belong to what can have one";
	if (access && acl_mode(xattr_value(access), access->size, &minimal) != (i->attr.mode & 0777))
		return "6.13 an access ACL agrees with the mode";
	return NULL;
}
