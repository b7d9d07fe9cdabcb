/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making and opening pools. Order: open, look what it is, lock, judge or set the size, allocate, map. The lock comes
 * before anything is changed, so that creating over a pool that somebody owns harms nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "pool/internal.h"

#define MIB ((uint64_t)1 << 20)

static bool is_anonymous(const char *path)
{
	return !path || strncmp(path, "mem:", 4) == 0;
}

static struct pool *pool_new(const char *name)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->fd = -1;
	snprintf(p->name, sizeof(p->name), "%s", name);
	return p;
}

static int check_size(uint64_t size, const char *name)
{
	if (size < POOL_SIZE_MIN)
		return fail(-EINVAL, "pool %s: %" PRIu64 " bytes is too small: at least %" PRIu64 " MiB", name, size,
			    POOL_SIZE_MIN / MIB);
	if (size > POOL_SIZE_MAX)
		return fail(-EINVAL, "pool %s: %" PRIu64 " MiB is too large: at most %" PRIu64 " MiB (16 TiB)", name,
			    size / MIB, POOL_SIZE_MAX / MIB);
	return 0;
}

static int create_memfd(struct pool *p, uint64_t size)
{
	int err;

	p->size = round_down_u64(size, LH_BLOCK_SIZE);
	err = check_size(p->size, p->name);
	if (err)
		return err;
	/* Its size is not sealed: pool_resize. Nobody gets the descriptor. */
	p->fd = memfd_create("leasehold", MFD_CLOEXEC);
	if (p->fd < 0 || ftruncate(p->fd, (off_t)p->size) != 0) {
		err = -errno;
		return fail(err, "pool %s: making %" PRIu64 " MiB of anonymous memory failed (%s)", p->name,
			    p->size / MIB, strerror(-err));
	}
	return pool_map(p, POOL_KIND_MEMFD);
}

/* Sets p->fd. *made tells whether the file is new. */
static int open_for_create(struct pool *p, const char *path, bool *made)
{
	*made = true;
	p->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (p->fd < 0 && errno == EEXIST) {
		*made = false;
		p->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	}
	if (p->fd < 0) {
		int err = -errno;

		return fail(err, "pool %s: creating it failed (%s)%s", path, strerror(-err),
			    err == -EISDIR ? ": give the path of a file in it" : "");
	}
	return 0;
}

/* Decides p->size from what was asked and what is there. Changes nothing. */
static int choose_size(struct pool *p, const struct pool_place *place, const struct pool_create_args *args)
{
	uint64_t size = args->size;

	if (place->kind == POOL_KIND_DEVDAX) {
		if (size == 0)
			size = place->size;
		if (size > place->size)
			return fail(-EINVAL,
				    "pool %s: %" PRIu64 " MiB asked, the device has %" PRIu64
				    " MiB: ask for less, or for 0 to take it all",
				    p->name, size / MIB, place->size / MIB);
	} else if (place->size > 0 && !args->overwrite) {
		return fail(
		    -EEXIST,
		    "%s exists and is not empty: say overwrite (--force) to lose what is in it, or give another name",
		    p->name);
	}
	p->size = round_down_u64(size, place->grain);
	return check_size(p->size, p->name);
}

static int create_place(struct pool *p, const struct pool_create_args *args)
{
	struct pool_place place;
	int err;

	err = place_probe(p->fd, p->name, &place);
	if (err)
		return err;
	err = owner_lock(p->fd, true, p->name);
	if (err)
		return err;
	/* Again, under the lock: somebody may have made a pool here since. */
	err = place_probe(p->fd, p->name, &place);
	if (err)
		return err;
	err = choose_size(p, &place, args);
	if (err)
		return err;
	if (place.kind != POOL_KIND_DEVDAX && (ftruncate(p->fd, 0) != 0 || ftruncate(p->fd, (off_t)p->size) != 0)) {
		err = -errno;
		return fail(err, "pool %s: setting its size to %" PRIu64 " MiB failed (%s)%s", p->name, p->size / MIB,
			    strerror(-err), err == -EFBIG ? ": its filesystem does not take files that large" : "");
	}
	err = place_allocate(p->fd, &place, p->size, p->name);
	if (err)
		return err;
	return pool_map(p, place.kind);
}

int pool_create(const struct pool_create_args *args, struct pool **out)
{
	bool anonymous = is_anonymous(args->path);
	struct pool *p = pool_new(anonymous ? "memfd" : args->path);
	bool made = false;
	int err;

	if (!p)
		return fail(-ENOMEM, "no memory for a pool's handle");
	if (anonymous) {
		err = create_memfd(p, args->size);
	} else {
		err = open_for_create(p, args->path, &made);
		if (!err)
			err = create_place(p, args);
	}
	if (err) {
		if (made)
			unlink(args->path);
		pool_close(p);
		return err;
	}
	*out = p;
	return 0;
}

/* p->size from what is there; damage of the medium, so -EUCLEAN. */
static int judge_size(struct pool *p, const struct pool_place *place)
{
	uint64_t size = place->size;

	if (place->kind == POOL_KIND_DEVDAX)
		size = round_down_u64(size, place->grain);
	if (size < POOL_SIZE_MIN)
		return fail(-EUCLEAN,
			    "%s is no pool: %" PRIu64 " bytes, a pool has at least %" PRIu64
			    " MiB: check the name, or make one with mkfs",
			    p->name, size, POOL_SIZE_MIN / MIB);
	if (size > POOL_SIZE_MAX)
		return fail(-EUCLEAN, "%s is no pool: %" PRIu64 " MiB, a pool has at most 16 TiB: check the name",
			    p->name, size / MIB);
	if (size % place->grain != 0)
		return fail(-EUCLEAN,
			    "%s is no pool or was cut: its %" PRIu64 " bytes are not whole blocks of %" PRIu64
			    ": restore it from a copy",
			    p->name, size, place->grain);
	p->size = size;
	return 0;
}

static int open_place(struct pool *p)
{
	struct pool_place place;
	int err;

	err = place_probe(p->fd, p->name, &place);
	if (err)
		return err;
	err = owner_lock(p->fd, !p->read_only, p->name);
	if (err)
		return err;
	err = place_probe(p->fd, p->name, &place);
	if (err)
		return err;
	err = judge_size(p, &place);
	if (err)
		return err;
	/* A pool that was copied without its holes filled in. */
	if (!p->read_only) {
		err = place_allocate(p->fd, &place, p->size, p->name);
		if (err)
			return err;
	}
	return pool_map(p, place.kind);
}

int pool_open(const char *path, bool read_only, struct pool **out)
{
	struct pool *p;
	int err;

	if (is_anonymous(path))
		return fail(-EINVAL,
			    "mem: names no pool that could be opened: an anonymous pool is gone when it is closed");
	p = pool_new(path);
	if (!p)
		return fail(-ENOMEM, "no memory for a pool's handle");
	p->read_only = read_only;
	p->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (p->fd < 0) {
		err = -errno;
		err = fail(err, "pool %s: opening it failed (%s)%s", path, strerror(-err),
			   err == -ENOENT ? ": check the name, or make one with mkfs" : "");
	} else {
		err = open_place(p);
	}
	if (err) {
		pool_close(p);
		return err;
	}
	*out = p;
	return 0;
}
