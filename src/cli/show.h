/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes as JSON and directory listings in order. */
#ifndef LH_CLI_SHOW_H
#define LH_CLI_SHOW_H

#include <jansson.h>

#include "cli/cli.h"

/* {"path", "type", "mode", "ino", ...}; target: of a symlink, or NULL. */
json_t *show_stat_json(const char *path, const struct lh_stat *st, const char *target);
/* Prints and frees it. */
void show_json(json_t *j);
/* The target of a symlink, terminated, fresh; NULL on failure (*err). */
char *show_target(struct lh_fs *fs, const char *path, int *err);

struct show_entry {
	char *name;
	uint32_t type;
};
/* All entries of a directory, by name. Freed with show_entries_free. */
int show_entries(struct lh_fs *fs, const char *path, struct show_entry **out, size_t *count);
void show_entries_free(struct show_entry *entries, size_t count);

#endif
