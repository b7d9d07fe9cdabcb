/* SPDX-License-Identifier: BSD-2-Clause */
/* See fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fixture.h"

struct fixture *fixture_start(void **state, uint64_t deadline_ns, const struct server_limits *limits)
{
	struct fixture *f = calloc(1, sizeof(*f));

	rig_start(&f->rig, deadline_ns, limits, NULL);
	rig_file(&f->rig, "/f", 16 * BLOCK, 'a');
	f->r = raw_open(f->rig.address);
	assert_int_equal(raw_file_open(f->r, "/f", PROTO_O_READ | PROTO_O_WRITE, &f->h), 0);
	*state = f;
	return f;
}

int fixture_setup(void **state)
{
	fixture_start(state, D_LONG, NULL);
	return 0;
}

int fixture_short(void **state)
{
	fixture_start(state, D_SHORT, NULL);
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	raw_close(f->r);
	rig_wait_stats(&f->rig, 0, 1);
	rig_stop(&f->rig);
	free(f);
	return 0;
}

struct fabric_conn *stream_open(struct fixture *f)
{
	struct fabric_conn *c = NULL;
	int fd;

	assert_int_equal(raw_data(f->r, f->rig.address, f->r->token, &fd), 0);
	assert_int_equal(fabric_stream_connect(fd, NULL, &c), 0);
	return c;
}

int move(struct fabric_conn *c, enum fabric_dir dir, uint64_t key, uint64_t off, void *buf, uint64_t len)
{
	struct fabric_op op = {.key = key, .offset = off, .buf = buf, .len = len, .dir = dir};
	struct fabric_op *done = NULL;
	int err = fabric_post(c, &op);

	if (err)
		return err;
	assert_int_equal(fabric_reap(c, &done, 1, RAW_WAIT_NS), 1);
	assert_ptr_equal(done, &op);
	return op.status;
}

int move_read(struct fabric_conn *c, uint64_t key, uint64_t off, uint64_t len, int expect)
{
	unsigned char buf[BLOCK];
	int err = move(c, FABRIC_OP_READ, key, off, buf, len);

	for (uint64_t i = 0; !err && i < len; i++)
		assert_int_equal(buf[i], expect);
	return err;
}
