/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A real server in a process of its own, and real clients over the data path that the test's first argument names:
 * ring, stream (both over a unix socket), tcp. The server ends when the test process does, whatever happens to that.
 */
#ifndef LH_TESTS_E2E_RIG_H
#define LH_TESTS_E2E_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "leasehold/leasehold.h"

#define KIB     1024ull
#define MIB     (1024ull * KIB)
#define BLOCK   4096ull
#define MS      1000000ull
#define SECONDS 1000000000ull

enum way { WAY_RING, WAY_STREAM, WAY_TCP };
extern enum way rig_way;

struct rig {
	pid_t pid;
	int stop; /* closing it asks the server to end */
	char dir[64];
	char unix_address[128], tcp_address[64];
};

/* Before rig_start: the server's lease time; 0: the product's own. */
extern uint64_t rig_lease_time_ns;
/* Sessions of rig_open end with their connection, at once. */
extern bool rig_no_resume;

/* Reads the way from argv; 77 for the test runner when it is none. */
void rig_init(int argc, char **argv);
/* Serves pool ("mem:64M", or a path) with default deadline D. Must be called before this process has threads. */
void rig_start(struct rig *rig, const char *pool, uint64_t deadline_ns);
/* L36: asks the server to end and asserts that it did with 0. */
void rig_stop(struct rig *rig);
void rig_kill(struct rig *rig);
/* One more session. */
struct lh_fs *rig_open(const struct rig *rig);

/* A new file of size bytes, byte i of which is rig_byte(seed, i), written by calls; open for reading and writing. */
struct lh_file *rig_file(struct lh_fs *fs, const char *path, uint64_t size, unsigned seed);
struct lh_file *rig_reopen(struct lh_fs *fs, const char *path, int flags);
uint8_t rig_byte(unsigned seed, uint64_t i);
void rig_fill(uint8_t *buf, size_t len, unsigned seed, uint64_t off);
/* Whether buf holds rig_byte(seed, off...). Fails the test with the place if not. */
void rig_same(const uint8_t *buf, size_t len, unsigned seed, uint64_t off);
/* Reads [off, off + len) through the lease and compares. */
void rig_read_same(struct lh_lease *lease, size_t len, unsigned seed, uint64_t off);
struct lh_lease *rig_lease(struct lh_file *file, uint64_t off, uint64_t len, uint32_t flags);
struct lh_lease_state rig_state(struct lh_lease *lease);
struct lh_lease_stats rig_stats(struct lh_fs *fs);
uint64_t rig_now(void);
/* The next event within some seconds; fails the test if there is none. */
struct lh_event rig_event(struct lh_fs *fs);

/* assert_int_equal with the library's sentence. */
#define assert_ok(call)                                                                                                \
	do {                                                                                                           \
		int64_t ok_ = (call);                                                                                  \
		if (ok_ < 0)                                                                                           \
			fail_msg("%s: %s (%lld)", #call, lh_error_text(), (long long)ok_);                             \
	} while (0)

#endif
