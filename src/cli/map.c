/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold map */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/types.h"
#include "cli/show.h"

#define BATCH 256u

enum { OPT_JSON = 256, OPT_DATA };

static const struct cli_option options[] = {
    {OPT_DATA, "data", NULL, "only where data and holes are, as lseek(2) finds them; unwritten blocks are holes"},
    {OPT_JSON, "json", NULL, "an array of objects"},
    {0},
};
static const struct cli_verb verb = {
    .name = "map",
    .operands = "PATH",
    .text = "Shows the extents of a file with the holes between them, as filefrag(8) does: where in the pool they are "
	    "(unless the\n"
	    "pool is another process's), which are unwritten, which are shared with other files.\n",
    .example = "leasehold -p /dev/shm/a.pool map /data/table\n",
    .options = options,
    .min = 1,
    .max = 1,
    .paths = PATHS_ALL,
};

struct map {
	json_t *json; /* NULL: text */
	struct lh_file *file;
	uint64_t size;
	uint64_t rows;
};

static void row(struct map *m, uint64_t off, uint64_t len, uint64_t at, const char *what)
{
	m->rows++;
	if (m->json != NULL) {
		json_t *j = json_pack("{s:I, s:I, s:s}", "off", (json_int_t)off, "len", (json_int_t)len, "what", what);

		if (at != UINT64_MAX)
			json_object_set_new(j, "pool_off", json_integer((json_int_t)at));
		json_array_append_new(m->json, j);
		return;
	}
	if (m->rows == 1)
		printf("%16s %16s %18s  %s\n", "OFFSET", "BYTES", "IN THE POOL AT", "WHAT");
	printf("%16llu %16llu ", (unsigned long long)off, (unsigned long long)len);
	if (at == UINT64_MAX)
		printf("%18s", "-");
	else
		printf("%18llu", (unsigned long long)at);
	printf("  %s\n", what);
}

static const char *what_of(const struct lh_extent *e)
{
	bool shared = e->flags & LH_EXTENT_SHARED;

	if (e->flags & LH_EXTENT_UNWRITTEN)
		return shared ? "unwritten, shared" : "unwritten";
	return shared ? "data, shared" : "data";
}

static int extents(struct map *m, bool remote)
{
	struct lh_extent batch[BATCH];
	uint64_t at = 0;
	int n;

	for (;;) {
		n = lh_file_extents(m->file, at, INT64_MAX - at, batch, BATCH);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++) {
			if (batch[i].file_off > at)
				row(m, at, batch[i].file_off - at, UINT64_MAX, "hole");
			row(m, batch[i].file_off, batch[i].len, remote ? UINT64_MAX : batch[i].pool_off,
			    what_of(&batch[i]));
			at = batch[i].file_off + batch[i].len;
		}
	}
	if (n == 0 && at < m->size)
		row(m, at, m->size - at, UINT64_MAX, "hole");
	return n;
}

static int data(struct map *m)
{
	uint64_t at = 0;

	while (at < m->size) {
		int64_t from = lh_file_seek(m->file, at, SEEK_DATA);
		int64_t to;

		if (from < 0 && from != -ENXIO)
			return (int)from;
		if (from == -ENXIO)
			from = (int64_t)m->size;
		if ((uint64_t)from > at)
			row(m, at, (uint64_t)from - at, UINT64_MAX, "hole");
		if ((uint64_t)from >= m->size)
			break;
		to = lh_file_seek(m->file, (uint64_t)from, SEEK_HOLE);
		/* Somebody may cut the file meanwhile. */
		if (to == -ENXIO)
			break;
		if (to <= from)
			return to < 0 ? (int)to : -EIO;
		row(m, (uint64_t)from, (uint64_t)(to - from), UINT64_MAX, "data");
		at = (uint64_t)to;
	}
	return 0;
}

static int show(struct lh_fs *fs, const char *path, bool only_data, bool json)
{
	struct map m = {.json = json ? json_array() : NULL};
	struct lh_stat st = {.size_of = sizeof(st)};
	int err;

	err = lh_file_open(fs, path, O_RDONLY, 0, &m.file);
	if (!err)
		err = lh_file_stat(m.file, &st);
	m.size = st.size;
	if (!err)
		err = only_data ? data(&m) : extents(&m, lh_fs_is_remote(fs));
	if (err)
		cli_error(err, "%s", path);
	else if (json)
		show_json(json_incref(m.json));
	else if (m.rows == 0)
		puts("no extents");
	json_decref(m.json);
	lh_file_close(m.file);
	return err ? CLI_FAILED : CLI_OK;
}

int verb_map(int argc, char **argv)
{
	bool json = false, only_data = false;
	struct lh_fs *fs;
	int key;

	for (key = cli_next(&verb, argc, argv); key != -1; key = cli_next(&verb, argc, argv)) {
		json |= key == OPT_JSON;
		only_data |= key == OPT_DATA;
	}
	if (cli_open(&fs, false) != CLI_OK)
		return CLI_FAILED;
	return cli_close(fs, show(fs, argv[optind], only_data, json));
}
