/* SPDX-License-Identifier: BSD-2-Clause */
/* In pieces of 1 MiB. A fault of the application's memory in the middle ends the transfer with what was done. */
#include "api/bounce.h"

#include <errno.h>
#include <stdlib.h>

#include "base/busguard.h"

#define PIECE ((size_t)1 << 20)

/* What is behind the call: a file or a lease. */
struct target {
	bounce_reader read;
	bounce_writer write;
	struct lh_file *file;
	struct lh_lease *lease;
};

static ssize_t target_read(const struct target *t, void *buf, size_t len, uint64_t off)
{
	return t->file ? t->read(t->file, buf, len, off) : lease_be(t->lease)->lease_read(t->lease, buf, len, off);
}

static ssize_t target_write(const struct target *t, const void *buf, size_t len, uint64_t off)
{
	return t->file ? t->write(t->file, buf, len, off) : lease_be(t->lease)->lease_write(t->lease, buf, len, off);
}

static int copy(void *to, const void *from, size_t len, unsigned theirs)
{
	if (busguard_copy(to, from, len, theirs) == 0)
		return 0;
	return fail(-EFAULT, "the buffer is in a mapping, and beyond the end of its file at %p", busguard_address());
}

static ssize_t bounce_in(const struct target *t, char *buf, size_t len, uint64_t off)
{
	size_t piece = len < PIECE ? len : PIECE;
	char *own = malloc(piece);
	ssize_t result = own ? 0 : -ENOMEM;
	size_t done = 0;

	while (result >= 0 && done < len) {
		size_t n = len - done < piece ? len - done : piece;

		result = target_read(t, own, n, off + done);
		if (result <= 0)
			break;
		n = (size_t)result;
		result = copy(buf + done, own, n, BUSGUARD_TO);
		if (!result)
			done += n;
	}
	free(own);
	return done > 0 ? (ssize_t)done : result;
}

static ssize_t bounce_out(const struct target *t, const char *buf, size_t len, uint64_t off)
{
	size_t piece = len < PIECE ? len : PIECE;
	char *own = malloc(piece);
	ssize_t result = own ? 0 : -ENOMEM;
	size_t done = 0;

	while (result >= 0 && done < len) {
		size_t n = len - done < piece ? len - done : piece;

		result = copy(own, buf + done, n, BUSGUARD_FROM);
		if (!result)
			result = target_write(t, own, n, off + done);
		if (result <= 0)
			break;
		done += (size_t)result;
	}
	free(own);
	return done > 0 ? (ssize_t)done : result;
}

ssize_t bounce_read(bounce_reader read, struct lh_file *file, void *buf, size_t len, uint64_t off)
{
	return bounce_in(&(struct target){.read = read, .file = file}, buf, len, off);
}

ssize_t bounce_write(bounce_writer write, struct lh_file *file, const void *buf, size_t len, uint64_t off)
{
	return bounce_out(&(struct target){.write = write, .file = file}, buf, len, off);
}

ssize_t bounce_lease_read(struct lh_lease *lease, void *buf, size_t len, uint64_t off)
{
	return bounce_in(&(struct target){.lease = lease}, buf, len, off);
}

ssize_t bounce_lease_write(struct lh_lease *lease, const void *buf, size_t len, uint64_t off)
{
	return bounce_out(&(struct target){.lease = lease}, buf, len, off);
}
