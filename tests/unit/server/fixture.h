/* SPDX-License-Identifier: BSD-2-Clause */
/* A server with one file and one welcomed client that has it open; and what a client does on a data path. */
#ifndef TEST_SERVER_FIXTURE_H
#define TEST_SERVER_FIXTURE_H

#include "base/clock.h"
#include "raw.h"

#define BLOCK   4096u
#define D_LONG  (10 * NS_PER_SEC) /* nobody is forced within it, even on a busy machine */
#define D_SHORT (150 * NS_PER_MS)

struct fixture {
	struct rig rig;
	struct raw *r;
	uint64_t h; /* of /f, 16 blocks of 'a', read and write */
};

struct fixture *fixture_start(void **state, uint64_t deadline_ns, const struct server_limits *limits);
/* With D_LONG and D_SHORT. */
int fixture_setup(void **state);
int fixture_short(void **state);
/* Also checks that nothing of the client is left. */
int fixture_teardown(void **state);

/* A stream of the fixture's session. */
struct fabric_conn *stream_open(struct fixture *f);
/* One operation; its status. */
int move(struct fabric_conn *c, enum fabric_dir dir, uint64_t key, uint64_t off, void *buf, uint64_t len);
/* Reads at most a block and checks that every byte is `expect`. */
int move_read(struct fabric_conn *c, uint64_t key, uint64_t off, uint64_t len, int expect);

#endif
