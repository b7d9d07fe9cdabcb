/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold acl: access control lists as getfacl(1) writes them, to and from the kernel's binary form (a version, then
 * tag, permissions and id of each entry, ascending). The filesystem checks and enforces them; this only translates.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/types.h"
#include "cli/cli.h"

#define ACL_VERSION 2u
#define ACL_NO_ID   UINT32_MAX
#define ACL_MAX     1024u /* entries */

struct wire_head {
	le32 version;
};
struct wire_entry {
	le16 tag, perm;
	le32 id;
};
static_assert(sizeof(struct wire_entry) == 8, "posix_acl_xattr_entry");

struct entry {
	uint32_t tag, perm, id;
};
struct acl {
	unsigned count;
	struct entry at[ACL_MAX];
};

enum tag { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

enum { OPT_DEFAULT = 'd', OPT_SET = 's', OPT_REMOVE = 'b' };

static const struct cli_option options[] = {
    {OPT_DEFAULT, "default", NULL, "of a directory: what is made in it begins with this list"},
    {OPT_SET, "set", "ENTRIES", "the whole list, for example u::rwx,u:1000:r-x,g::r-x,m::r-x,o::---"},
    {OPT_REMOVE, "remove", NULL, "no list; only the mode counts"},
    {0},
};
static const struct cli_verb verb = {
    .name = "acl",
    .operands = "PATH",
    .text =
	"Shows, sets or removes an access control list: user, group, mask and other with permissions, as getfacl(1). "
	"Ids are\n"
	"numbers.\n",
    .example = "leasehold -p /dev/shm/a.pool acl --set u::rw-,u:1000:r--,g::r--,m::r--,o::--- /data/table\n"
	       "leasehold -p /dev/shm/a.pool acl /data/table\n",
    .options = options,
    .min = 1,
    .max = 1,
    .paths = PATHS_FIRST,
};

static const struct {
	const char *name;
	enum tag bare, named; /* without and with an id */
} kinds[] = {{"user", USER_OBJ, USER}, {"group", GROUP_OBJ, GROUP}, {"mask", MASK, MASK}, {"other", OTHER, OTHER}};

/* --- text to entries --- */

static void parse_entry(struct acl *acl, char *text)
{
	struct entry e = {.id = ACL_NO_ID};
	char *fields[3] = {text};
	size_t n;

	for (unsigned i = 1; i < 3; i++) {
		fields[i] = strchr(fields[i - 1], ':');
		if (fields[i] == NULL)
			cli_usage("entry %s is not KIND:ID:PERMISSIONS", text);
		*fields[i]++ = '\0';
	}
	n = strlen(fields[0]);
	for (unsigned i = 0; n > 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(fields[0], kinds[i].name, n) == 0)
			e.tag = fields[1][0] ? kinds[i].named : kinds[i].bare;
	}
	if (e.tag == 0)
		cli_usage("%s is none of user, group, mask, other", fields[0]);
	if (fields[1][0] != '\0' && e.tag != USER && e.tag != GROUP)
		cli_usage("%s has no id", fields[0]);
	if (e.tag == USER || e.tag == GROUP)
		e.id = (uint32_t)cli_number(fields[1], "id", UINT32_MAX - 1);
	for (const char *p = fields[2]; *p; p++) {
		if (strchr("rwx-", *p) == NULL)
			cli_usage("permissions %s are not of r, w, x and -", fields[2]);
		e.perm |= *p == 'r' ? 4u : *p == 'w' ? 2u : *p == 'x' ? 1u : 0u;
	}
	if (acl->count == ACL_MAX)
		cli_usage("more than %u entries", ACL_MAX);
	acl->at[acl->count++] = e;
}

static int entry_compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->tag != y->tag)
		return x->tag < y->tag ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void parse(struct acl *acl, char *text)
{
	char *save = NULL;

	acl->count = 0;
	for (char *e = strtok_r(text, ", \n", &save); e != NULL; e = strtok_r(NULL, ", \n", &save))
		parse_entry(acl, e);
	qsort(acl->at, acl->count, sizeof(acl->at[0]), entry_compare);
}

/* --- entries to text --- */

static void print(const struct acl *acl, const char *before)
{
	for (unsigned i = 0; i < acl->count; i++) {
		const struct entry *e = &acl->at[i];

		for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			if (e->tag == kinds[k].bare || e->tag == kinds[k].named)
				printf("%s%s:", before, kinds[k].name);
		}
		if (e->tag == USER || e->tag == GROUP)
			printf("%u", e->id);
		printf(":%c%c%c\n", e->perm & 4 ? 'r' : '-', e->perm & 2 ? 'w' : '-', e->perm & 1 ? 'x' : '-');
	}
}

/* --- the binary form --- */

static size_t encode(const struct acl *acl, uint8_t *out)
{
	struct wire_head head = {le32_of(ACL_VERSION)};
	size_t at = sizeof(head);

	memcpy(out, &head, sizeof(head));
	for (unsigned i = 0; i < acl->count; i++) {
		struct wire_entry w = {le16_of((uint16_t)acl->at[i].tag), le16_of((uint16_t)acl->at[i].perm),
				       le32_of(acl->at[i].id)};

		memcpy(out + at, &w, sizeof(w));
		at += sizeof(w);
	}
	return at;
}

static int decode(struct acl *acl, const uint8_t *bytes, size_t len)
{
	struct wire_head head;
	size_t rest = len - sizeof(head);

	if (len < sizeof(head) || rest % sizeof(struct wire_entry) || rest / sizeof(struct wire_entry) > ACL_MAX)
		return -EINVAL;
	memcpy(&head, bytes, sizeof(head));
	if (le32_to(head.version) != ACL_VERSION)
		return -EINVAL;
	acl->count = (unsigned)(rest / sizeof(struct wire_entry));
	for (unsigned i = 0; i < acl->count; i++) {
		struct wire_entry w;

		memcpy(&w, bytes + sizeof(head) + i * sizeof(w), sizeof(w));
		acl->at[i] = (struct entry){le16_to(w.tag), le16_to(w.perm), le32_to(w.id)};
	}
	return 0;
}

/* --- the verb --- */

static uint8_t bytes[sizeof(struct wire_head) + ACL_MAX * sizeof(struct wire_entry)];

static int show(struct lh_fs *fs, const char *path, const char *name, bool is_default)
{
	static struct acl acl;
	struct lh_stat st = {.size_of = sizeof(st)};
	ssize_t n = lh_path_getxattr(fs, path, true, name, bytes, sizeof(bytes));
	int err = n < 0 ? (int)n : decode(&acl, bytes, (size_t)n);

	if (err == -ENODATA && is_default)
		return CLI_OK;
	if (err == -ENODATA) {
		err = lh_path_stat(fs, path, true, &st);
		acl = (struct acl){
		    3, {{USER_OBJ, st.mode >> 6 & 7, 0}, {GROUP_OBJ, st.mode >> 3 & 7, 0}, {OTHER, st.mode & 7, 0}}};
	}
	if (err)
		return cli_error(err, "%s", path);
	print(&acl, is_default ? "default:" : "");
	return CLI_OK;
}

static int change(struct lh_fs *fs, const char *path, const char *name, char *set)
{
	static struct acl acl;
	int err;

	if (set != NULL) {
		parse(&acl, set);
		err = lh_path_setxattr(fs, path, true, name, bytes, encode(&acl, bytes), 0);
	} else {
		err = lh_path_removexattr(fs, path, true, name);
		/* As setfacl -b: there is nothing to remove. */
		err = err == -ENODATA ? 0 : err;
	}
	return err ? cli_error(err, "%s", path) : CLI_OK;
}

int verb_acl(int argc, char **argv)
{
	bool is_default = false, removes = false;
	const char *path, *name;
	char *set = NULL;
	struct lh_fs *fs;
	int status, key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		is_default |= key == OPT_DEFAULT;
		removes |= key == OPT_REMOVE;
		if (key == OPT_SET)
			set = optarg;
	}
	if (set != NULL && removes)
		cli_usage("--set and --remove contradict each other");
	path = argv[optind];
	name = is_default ? "system.posix_acl_default" : "system.posix_acl_access";
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	if (set != NULL || removes)
		status = change(fs, path, name, set);
	else
		status = show(fs, path, name, is_default);
	return cli_close(fs, status);
}
