/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/copy.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/types.h"

int copy_begin(struct copy *c, const char *verb, bool progress)
{
	if (cli_open(&c->fs, false) != CLI_OK)
		return CLI_FAILED;
	c->direct = lh_fs_is_remote(c->fs);
	c->buf = lh_buffer_get(c->fs, COPY_REQUEST);
	c->buf_own = c->buf == NULL;
	if (c->buf_own)
		c->buf = malloc(COPY_REQUEST);
	if (c->buf == NULL)
		return cli_close(c->fs, cli_error(-ENOMEM, "buffer"));
	progress_begin(&c->progress, verb, progress);
	return CLI_OK;
}

/* --- hard links --- */

struct link_seen {
	uint64_t dev, ino;
	char path[];
};

static int link_compare(const void *a, const void *b)
{
	const struct link_seen *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

void copy_failed(struct copy *c, int err, const char *what)
{
	c->status = cli_error(err, "%s", what);
}

void copy_failed_here(struct copy *c, const char *what)
{
	c->status = cli_fail("%s: %s", what, strerror(errno));
}

const char *copy_link(struct copy *c, uint64_t dev, uint64_t ino, const char *path)
{
	size_t len = strlen(path) + 1;
	struct link_seen *fresh = malloc(sizeof(*fresh) + len);
	struct link_seen **found;

	/* Without memory the link becomes a copy. */
	if (fresh == NULL)
		return NULL;
	fresh->dev = dev;
	fresh->ino = ino;
	memcpy(fresh->path, path, len);
	found = tsearch(fresh, &c->links, link_compare);
	if (found != NULL && *found == fresh)
		return NULL;
	free(fresh);
	return found != NULL ? (*found)->path : NULL;
}

int copy_end(struct copy *c)
{
	progress_end(&c->progress);
	tdestroy(c->links, free);
	if (c->buf_own)
		free(c->buf);
	else
		lh_buffer_put(c->fs, c->buf);
	return cli_close(c->fs, c->status);
}

uint32_t copy_mode(uint32_t mode, uint32_t uid, uint32_t gid)
{
	mode &= 07777;
	if (uid != geteuid())
		mode &= ~(uint32_t)S_ISUID;
	if (gid != getegid())
		mode &= ~(uint32_t)S_ISGID;
	return mode;
}

/* --- ranges --- */

/* One end of the filesystem's side: under the lease, or by a call when there is none. */
static ssize_t inside_move(struct lh_file *file, struct lh_lease *lease, char *buf, size_t len, uint64_t off,
			   bool writing)
{
	if (lease != NULL)
		return writing ? lh_lease_write(lease, buf, len, off) : lh_lease_read(lease, buf, len, off);
	return writing ? lh_file_write(file, buf, len, off) : lh_file_read(file, buf, len, off);
}

static ssize_t request(struct copy *c, struct lh_file *file, struct lh_lease *lease, const struct copy_outside *outside,
		       bool writing, uint64_t off, size_t len)
{
	ssize_t n;

	if (writing) {
		n = outside->move(outside->fd, c->buf, len, off);
		return n <= 0 ? n : inside_move(file, lease, c->buf, (size_t)n, off, true);
	}
	n = inside_move(file, lease, c->buf, len, off, false);
	return n <= 0 ? n : outside->move(outside->fd, c->buf, (size_t)n, off);
}

/* The lease for a window, or NULL when it goes by calls. */
static struct lh_lease *window_lease(struct copy *c, struct lh_file *file, bool writing, uint64_t off, uint64_t len)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = writing ? LH_LEASE_WRITE : LH_LEASE_READ};
	struct lh_lease *lease;
	int err;

	if (!c->direct || len < COPY_DIRECT_MIN)
		return NULL;
	err = lh_lease_get(file, off, len, &opt, &lease);
	if (err == -EOPNOTSUPP)
		c->direct = false;
	return err ? NULL : lease;
}

static int64_t window(struct copy *c, struct lh_file *file, const struct copy_outside *outside, bool writing,
		      uint64_t off, uint64_t len)
{
	struct lh_lease *lease = window_lease(c, file, writing, off, len);
	uint64_t done = 0;
	ssize_t n = 0;
	int err = 0;

	while (done < len) {
		n = request(c, file, lease, outside, writing, off + done, (size_t)min_u64(len - done, COPY_REQUEST));
		if (n <= 0)
			break;
		done += (uint64_t)n;
		if (lease != NULL)
			c->progress.direct_bytes += (uint64_t)n;
		progress_add(&c->progress, 0, (uint64_t)n);
	}
	if (lease != NULL && writing && done > 0 && n >= 0)
		err = lh_lease_commit(lease, off, done);
	lh_lease_release(lease);
	if (n < 0)
		return n;
	return err ? err : (int64_t)done;
}

int64_t copy_range(struct copy *c, struct lh_file *file, const struct copy_outside *outside, bool writing, uint64_t off,
		   uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t want = min_u64(len - done, COPY_LEASE_MAX);
		int64_t n = window(c, file, outside, writing, off + done, want);

		if (n < 0)
			return n;
		done += (uint64_t)n;
		if ((uint64_t)n < want)
			break;
	}
	return (int64_t)done;
}
