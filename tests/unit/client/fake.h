/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server by script: listens on a unix socket, speaks just enough of the protocol, and says what the test tells it to,
 * right or wrong. The script runs in a thread of its own; the test is the client.
 */
#ifndef LH_TESTS_CLIENT_FAKE_H
#define LH_TESTS_CLIENT_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>

#include "fabric/fabric.h"
#include "leasehold/leasehold.h"
#include "proto/proto.h"

#define FAKE_EPOCH 0x1122334455667788ull
#define FAKE_BOOT  77ull
#define BLOCK      4096u

struct fake {
	char dir[64];
	char address[128];
	int listener;
	int fd; /* the control connection */
	void (*script)(struct fake *f);
	pthread_t thread;
	uint64_t features;
	struct proto_header h; /* of the last message */
	union proto_body body;
	uint8_t *in;
	bool failed; /* the script found something wrong */
	char why[256];
	/* What the fabric exposes, for scripts that attach real data paths. */
	struct fabric_target *target;
	struct fabric_domain *domain;
	uint8_t *memory;
};

/* Runs script in a thread, once the client has connected (after WELCOME when greet). */
void fake_start(struct fake *f, void (*script)(struct fake *f));
/* Waits for the script; fails the test with the script's complaint. */
void fake_end(struct fake *f);
/* The same after the thread was joined. */
void fake_join(struct fake *f);
/* For fake_start's caller: a session with that server. fabric: LH_FABRIC_*. */
struct lh_fs *fake_open(struct fake *f, enum lh_fabric fabric);

/* --- for scripts --- */

/* A complaint; the script should return. */
void fake_wrong(struct fake *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int fake_accept(struct fake *f);
/* Accepts, reads HELLO, sends WELCOME. */
void fake_greet(struct fake *f);
/* The next message into f->h and f->body; false: the client has gone (also GOODBYE). */
bool fake_next(struct fake *f);
/* The next message, which must be of this type. */
bool fake_expect(struct fake *f, unsigned type);
/* Until the client goes: nothing but that may come. */
void fake_drain(struct fake *f);
void fake_send(struct fake *f, const struct proto_header *h, const union proto_body *body);
/* Answers the last message, or the one of h. */
void fake_reply(struct fake *f, const union proto_body *body);
void fake_reply_to(struct fake *f, struct proto_header h, const union proto_body *body, unsigned flags);
void fake_refuse(struct fake *f, int error, const char *text);
void fake_event(struct fake *f, unsigned type, unsigned flags, const union proto_body *body);
void fake_bytes(struct fake *f, const void *bytes, size_t len);
/* Accepts a data connection and answers its DATA_HELLO; returns the descriptor. */
int fake_data(struct fake *f);
/* Exposes memory of `blocks` blocks, byte i of which is i / 4096 + 1, for READ and WRITE. */
void fake_memory(struct fake *f, unsigned blocks);
uint64_t fake_key(struct fake *f, uint64_t off, uint64_t len);
void fake_kill_key(struct fake *f, uint64_t key);
/* FILE_OPEN: handle 5, inode 9. */
void fake_opened(struct fake *f, uint64_t size);
/* LEASE_GET: the answer, with runs. */
void fake_granted(struct fake *f, uint64_t lease, uint32_t seq, uint64_t off, uint64_t len, uint64_t size,
		  const struct proto_run *runs, unsigned count);
void fake_recall(struct fake *f, unsigned type, uint64_t lease, uint32_t seq, uint64_t off, uint64_t len,
		 unsigned kind);
/* The next message must be the RELEASE of this; answers it. */
bool fake_released(struct fake *f, uint64_t lease, uint64_t off, uint64_t len);

#endif
