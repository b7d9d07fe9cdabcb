/* SPDX-License-Identifier: BSD-2-Clause */
/* The members by name, and a data path between two processes: made before the fork, one end used in each. */
#ifndef LH_TESTS_FABRIC_MEMBER_H
#define LH_TESTS_FABRIC_MEMBER_H

#include "fabric/fabric.h"

enum member { MEMBER_STREAM_UNIX, MEMBER_STREAM_TCP, MEMBER_RING, MEMBER_LOOP, MEMBERS };

struct member_link {
	enum member member;
	int talk[2]; /* a socket pair for the test's own words: 0 target, 1 initiator */
	int data[2]; /* stream: the connected pair */
};

const char *member_name(enum member m);
/* Aborts when it can't: tests only. */
void member_link_make(enum member m, struct member_link *out);
void member_link_close(struct member_link *l);
/* A further connected stream pair of the same kind. */
void member_pair(enum member m, int out[2]);

/* The initiator's process. A ring's descriptors go over talk. */
struct fabric_conn *member_connect(struct member_link *l, const struct fabric_conn_options *opt);
/* The target's process. */
struct fabric_path *member_attach(struct member_link *l, struct fabric_domain *d);
void member_fds_send(int sock, const int *fds, unsigned n);
void member_fds_recv(int sock, int *fds, unsigned n);

#endif
