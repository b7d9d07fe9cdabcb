/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bad line between clients and their server: passes bytes and descriptors on, and now and then cuts a connection,
 * holds it, or loses what was on its way. Data paths are connections as well.
 */
#ifndef LH_TESTS_E2E_PROXY_H
#define LH_TESTS_E2E_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct proxy {
	char address[128]; /* where clients connect */
	char target[128];
	int listener;
	pthread_t thread;
	unsigned seed;
	atomic_bool stop;
	atomic_bool calm;    /* no accidents now */
	atomic_bool held;    /* nothing passes, nothing ends: a partition */
	atomic_uint all;     /* raised: every connection of before ends */
	atomic_bool refuse;  /* new connections end at once */
	atomic_uint mean_us; /* between two accidents of one connection */
	atomic_uint cuts, conns;
	atomic_uint alive;
};

/* dir: where a unix socket may be made. target: the server's address. */
void proxy_start(struct proxy *p, const char *dir, const char *target, unsigned seed, unsigned mean_us);
void proxy_stop(struct proxy *p);

#endif
